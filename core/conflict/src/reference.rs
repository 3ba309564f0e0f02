//! References between objects: to nothing, in a circle; and names that two objects have. Conflicts of class C3 that no single
//! document shows: they are looked for in the merged view of all.
//!
//! **Invariant.** What is found, and which of the objects is named, is a function of the set of objects.

use crate::pointer::Pointer;
use crate::schema::{Field, FieldKind, Schema};
use crate::value::Value;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// An object by kind and key.
pub type Name = (Arc<str>, Arc<str>);

/// What is wrong between objects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Broken {
    /// A reference to an object that is not there. Kept and marked; whoever reads it treats it as absent.
    Dangling {
        /// Who refers.
        from: Name,
        /// In which field.
        at: Pointer,
        /// To what.
        to: Name,
    },
    /// References that must form a tree lead back: from each of these to the next, and from the last to the first. The first is the least by
    /// name; its reference is the one to be cut.
    Circle {
        /// Who takes part.
        through: Vec<Name>,
        /// In which field of the first.
        at: Pointer,
    },
    /// A name that must be one object's own is two objects'. All but the first by key are to be renamed: name, `-`, their key.
    Name {
        /// In which field.
        at: Pointer,
        /// The name.
        name: Value,
        /// Who has it, by key.
        holders: Vec<Name>,
    },
}

/// A reference of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Link {
    /// In which field.
    pub at: Pointer,
    /// To what.
    pub to: Name,
    /// Whether references of this field must form a tree.
    pub tree: bool,
}

/// All references of a document.
#[must_use]
pub fn links(schema: &Schema, document: &Value) -> Vec<Link> {
    let mut out = Vec::new();
    collect(&schema.root, document, &mut Pointer::root(), &mut out);
    out
}

/// Whether documents of this schema may refer to others at all.
#[must_use]
pub fn may_refer(schema: &Schema) -> bool {
    fn below(field: &Field) -> bool {
        match &field.kind {
            FieldKind::Reference { .. } => true,
            FieldKind::Record(fields) => fields.iter().any(|(_, f)| below(f)),
            FieldKind::Map(of) | FieldKind::Keyed { of, .. } => below(of),
            _ => false,
        }
    }
    below(&schema.root)
}

/// Looks at objects of several kinds. `schema` tells the schema of a kind; objects of others are targets only.
pub fn examine<'d>(
    objects: &BTreeMap<Name, &Value>,
    schema: impl Fn(&str) -> Option<&'d Schema>,
) -> Vec<Broken> {
    let mut out = Vec::new();
    // Of each object the references that must form a tree.
    let mut parents: BTreeMap<&Name, Vec<(Pointer, Name)>> = BTreeMap::new();
    for (name, document) in objects {
        let Some(schema) = schema(&name.0) else { continue };
        for link in links(schema, document) {
            if !objects.contains_key(&link.to) {
                out.push(Broken::Dangling { from: name.clone(), at: link.at, to: link.to });
            } else if link.tree {
                parents.entry(name).or_default().push((link.at, link.to));
            }
        }
    }
    circles(&parents, &mut out);
    out.sort();
    out
}

fn collect(field: &Field, v: &Value, at: &mut Pointer, out: &mut Vec<Link>) {
    match (&field.kind, v) {
        (FieldKind::Reference { to, tree }, Value::Text(key)) => {
            out.push(Link { at: at.clone(), to: (to.clone(), key.clone()), tree: *tree });
        }
        (FieldKind::Record(fields), _) => {
            for (name, v) in v.fields() {
                if let Some(f) = crate::schema::find(fields, name) {
                    let was = at.enter(name);
                    collect(f, v, at, out);
                    at.leave(was);
                }
            }
        }
        (FieldKind::Map(of), _) => {
            for (name, v) in v.fields() {
                let was = at.enter(name);
                collect(of, v, at, out);
                at.leave(was);
            }
        }
        (FieldKind::Keyed { of, .. }, _) => {
            for (i, v) in v.items().iter().enumerate() {
                let was = at.enter_at(i);
                collect(of, v, at, out);
                at.leave(was);
            }
        }
        _ => {}
    }
}

/// Depth first, without recursion: a chain of references may be as long as there are objects.
fn circles(parents: &BTreeMap<&Name, Vec<(Pointer, Name)>>, out: &mut Vec<Broken>) {
    let mut done: BTreeMap<&Name, bool> = BTreeMap::new(); // false: on the way
    for start in parents.keys() {
        if done.contains_key(start) {
            continue;
        }
        // The way here, and at each step which link is next.
        let mut way: Vec<(&Name, usize)> = Vec::from([(*start, 0)]);
        done.insert(start, false);
        while let Some((name, next)) = way.last_mut() {
            let links = parents.get(*name).map_or(&[][..], Vec::as_slice);
            let Some((_, to)) = links.get(*next) else {
                done.insert(name, true);
                way.pop();
                continue;
            };
            *next += 1;
            let Some((to, _)) = parents.get_key_value(to) else { continue };
            match done.get(to) {
                Some(true) => {}
                None => {
                    done.insert(to, false);
                    way.push((to, 0));
                }
                Some(false) => {
                    let from = way.iter().position(|(n, _)| n == to).unwrap_or(0);
                    let ring = &way[from..];
                    let least = (0..ring.len()).min_by_key(|i| ring[*i].0).unwrap_or(0);
                    let through = ring.iter().cycle().skip(least).take(ring.len());
                    let at = parents[ring[least].0][ring[least].1 - 1].0.clone();
                    out.push(Broken::Circle { through: through.map(|(n, _)| (*n).clone()).collect(), at });
                }
            }
        }
    }
}

/// Names at a field that must be unique among the objects of one kind, and are not.
pub fn unique(objects: &BTreeMap<Name, &Value>, kind: &str, at: &Pointer) -> Vec<Broken> {
    let mut holders: BTreeMap<&Value, Vec<Name>> = BTreeMap::new();
    for (name, document) in objects.iter().filter(|(n, _)| &*n.0 == kind) {
        if let Some(v) = document.at(at) {
            holders.entry(v).or_default().push(name.clone());
        }
    }
    let twice = holders.into_iter().filter(|(_, h)| h.len() > 1);
    twice.map(|(name, holders)| Broken::Name { at: at.clone(), name: name.clone(), holders }).collect()
}
