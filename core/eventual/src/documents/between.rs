//! Conflicts between documents, which none of them shows by itself (class C3): references to what is not there, and in a circle; names that two have.
//!
//! **Promise.** Nodes that show the same documents find the same, and call it by one name. Nothing is written: what is there is kept as it is and *marked*, in the document, in the
//! list of conflicts and in what is explained; whoever reads a reference that is marked treats it as absent, and of those who have one name the first by key has it. It is over when somebody writes another, or what it leads to is there again.
//!
//! What one document is part of is found when it is read ([`Documents::broken_of`]): its own references, and where they must form a tree, those that they lead to. For the
//! list every node goes through the documents of kinds that may refer, [`AT_ONCE`] a look; what was found in the last round is listed if it still is so.
//!
//! Names are known by who had them when the round came by, this one or the last; whether they still do is looked at when it is told.
//!
//! **Limits.** [`NAMES_MAX`] names; of more it is told that not all are compared. Of a name [`HOLDERS_MAX`] former holders are looked at. Of a tree [`REACH_MAX`] documents are followed: a longer circle is not seen. A round takes half a second for each [`AT_ONCE`] documents, so the list may be so much behind.
//!
//! **Rejected**: refusing a deletion that something refers to: what refers may be written on the other side of a cut. Deleting what refers: it would be lost over a name. Writing the mark: each node would, and
//! it would have to be taken back.

use super::ask::{Before, Open};
use super::serve::{at, bytes};
use super::view::keys;
use super::{Documents, met};
use crate::replica::Eventual;
use dwcp_conflict::reference::{Broken, Name, examine, links, may_refer};
use dwcp_conflict::{Class, ConflictId, Place, Pointer, Schema, Value};
use dwcp_crdt::Space;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

/// Documents of one look.
const AT_ONCE: usize = 256;
/// Documents of a tree that are followed.
const REACH_MAX: usize = 256;
/// What is broken, and remembered for the list.
const KNOWN_MAX: usize = 4_096;
/// Names that are remembered with those who have them.
const NAMES_MAX: usize = 65_536;

/// Who had a name when the round came by, that are asked whether they still do.
const HOLDERS_MAX: usize = 16;

/// Letters of a name that are told.
const SHOWN_MAX: usize = 80;

/// A name, by its digest: of which kind, in which of its fields.
type Given = (Arc<str>, Pointer, [u8; 32]);

/// What was found to be broken, and how far the round is that looks for the next.
#[derive(Debug, Default)]
pub(super) struct Found {
    last: BTreeSet<Place>,
    next: BTreeSet<Place>,
    upto: Option<Name>,
}

/// Who has which name.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// In the last round.
    last: BTreeMap<Given, BTreeSet<Arc<str>>>,
    /// In this one, so far; and how many that are.
    next: BTreeMap<Given, BTreeSet<Arc<str>>>,
    count: usize,
    /// Whether there were more, in the last round and in this one.
    more: (bool, bool),
}

impl Names {
    fn note(&mut self, given: Given, key: Arc<str>) {
        if self.count == NAMES_MAX {
            self.more.1 = true;
        } else if self.next.entry(given).or_default().insert(key) {
            self.count += 1;
        }
    }
    /// Who had it before a key, by key: the first few.
    fn holders_before(&self, given: &Given, key: &str) -> BTreeSet<&Arc<str>> {
        let before = (Bound::Unbounded, Bound::Excluded(key));
        let all = [&self.last, &self.next].into_iter().filter_map(|all| all.get(given));
        let few = all.flat_map(|keys| keys.range::<str, _>(before).take(HOLDERS_MAX));
        few.collect::<BTreeSet<_>>().into_iter().take(HOLDERS_MAX).collect()
    }
    fn end_round(&mut self) {
        self.last = std::mem::take(&mut self.next);
        self.count = 0;
        self.more = (self.more.1, false);
    }
    /// What people should know.
    pub(super) fn fault(&self) -> Option<String> {
        let told =
            || format!("more than {NAMES_MAX} names that are to be unique: the others are not compared");
        self.more.0.then(told)
    }
}

impl Documents {
    /// What is wrong with the references of a document, and with its names.
    pub(super) fn broken_of(&self, space: &Space, kind: &str, key: &str, ms: u64) -> Vec<Broken> {
        let schema = self.schemas.get(kind).filter(|k| looks_beyond(&k.schema));
        let Some((schema, value)) = schema.zip(self.document(space, kind, key, ms)) else {
            return Vec::new();
        };
        let name: Name = (kind.into(), key.into());
        let mut found = self.names_twice(space, &schema.schema, &name, &value, ms);
        if may_refer(&schema.schema) {
            found.extend(self.references_of(space, name, value, ms));
        }
        found
    }

    /// Its names that a document before it has, too.
    fn names_twice(
        &self,
        space: &Space,
        schema: &Schema,
        (kind, key): &Name,
        value: &Value,
        ms: u64,
    ) -> Vec<Broken> {
        let twice = |at: &Pointer| {
            let name = value.at(at)?;
            let given = (kind.clone(), at.clone(), name.digest());
            let has = |key: &str| self.document(space, kind, key, ms).is_some_and(|d| d.at(at) == Some(name));
            let first = self.names.holders_before(&given, key).into_iter().find(|other| has(other))?;
            let holders = [first, key].map(|k| (kind.clone(), k.clone())).into();
            Some(Broken::Name { at: at.clone(), name: name.clone(), holders })
        };
        schema.unique().iter().filter_map(twice).collect()
    }

    fn references_of(&self, space: &Space, name: Name, value: Value, ms: u64) -> Vec<Broken> {
        let schema = |kind: &str| self.schemas.get(kind).map(|k| &*k.schema);
        let links_of = |of: &Name, value: &Value| schema(&of.0).map(|s| links(s, value)).unwrap_or_default();
        let mut todo: VecDeque<_> = links_of(&name, &value).into();
        let own = todo.len();
        let mut objects: BTreeMap<Name, Value> = [(name.clone(), value)].into();
        let mut looked = 0;
        while let Some(link) = todo.pop_front() {
            looked += 1;
            // Its own references are all looked at.
            if objects.contains_key(&link.to) || looked > own + REACH_MAX {
                continue;
            }
            if let Some(value) = self.document(space, &link.to.0, &link.to.1, ms) {
                if link.tree {
                    todo.extend(links_of(&link.to, &value).into_iter().filter(|l| l.tree));
                }
                objects.insert(link.to, value);
            }
        }
        let shown: BTreeMap<Name, &Value> = objects.iter().map(|(n, v)| (n.clone(), v)).collect();
        let mut found = examine(&shown, schema);
        found.retain(|b| match b {
            Broken::Dangling { from, .. } => *from == name,
            Broken::Circle { through, .. } => through.first() == Some(&name),
            Broken::Name { .. } => false,
        });
        found
    }

    /// What of a document is broken, as conflicts.
    pub(super) fn between(&self, space: &Space, kind: &str, key: &str, ms: u64) -> Vec<Open> {
        let broken = self.broken_of(space, kind, key, ms);
        broken.iter().map(|b| self.open_between(space, kind, key, b, ms)).collect()
    }

    fn open_between(&self, space: &Space, kind: &str, key: &str, broken: &Broken, ms: u64) -> Open {
        let (pointer, told) = told(broken);
        let place = Place::new(kind, key, pointer.clone());
        let shown = self.document(space, kind, key, ms).and_then(|v| v.at(pointer).cloned());
        Open {
            at: at(&place),
            conflict: self.name_between(space, &place, &told).to_string(),
            class: Class::Structure.name().into(),
            base: Before::Unknown,
            sides: Vec::new(),
            shown: shown.as_ref().map(bytes),
            by: None,
            asked: None,
            waits: told,
        }
    }

    /// What everyone calls it: the writes at the field, and what is wrong.
    fn name_between(&self, space: &Space, place: &Place, told: &str) -> ConflictId {
        // What is in a field that is written as a whole lies below that.
        let mut text = place.pointer.as_str();
        let mut name = format!("{}/{}{text}: {told}", place.kind, place.key);
        while let Ok(pointer) = Pointer::parse(text) {
            let (dots, ..) = met(space, &Place { pointer, ..place.clone() });
            if !dots.is_empty() {
                dots.iter().for_each(|d| name += &format!(" {d}"));
                break;
            }
            let Some((above, _)) = text.rsplit_once('/') else { break };
            text = above;
        }
        ConflictId(Value::from(&*name).digest())
    }

    /// What was broken in the last round, after a place.
    pub(super) fn between_after(&self, after: Option<&Place>) -> impl Iterator<Item = &Place> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.found.last.range::<Place, _>((from, Bound::Unbounded))
    }

    /// What is explained of a document besides its records.
    pub(super) fn told_between(&self, space: &Space, kind: &str, key: &str, ms: u64) -> String {
        let broken = self.broken_of(space, kind, key, ms);
        let line = |b: &Broken| {
            let (pointer, told) = told(b);
            format!("{kind} {key}{pointer}: {told} (C3 structure).\n")
        };
        broken.iter().map(line).collect()
    }
}

impl Eventual {
    /// Goes on through the documents that may refer to others, or have names.
    pub(super) fn look_between(&self, documents: &mut Documents, ms: u64) {
        let mut found = std::mem::take(&mut documents.found);
        let all = documents.schemas.iter().filter(|(_, k)| looks_beyond(&k.schema));
        let kinds: Vec<(Arc<str>, Arc<Schema>)> =
            all.map(|(kind, k)| (kind.clone(), k.schema.clone())).collect();
        let mut left = AT_ONCE;
        for (kind, schema) in kinds {
            if found.upto.as_ref().is_some_and(|(last, _)| kind < *last) {
                continue;
            }
            let mut after =
                found.upto.as_ref().filter(|(last, _)| *last == kind).map(|(_, key)| key.to_string());
            loop {
                let (all, next) = keys(&self.space, &kind, after.as_deref());
                for key in all {
                    if left == 0 {
                        documents.found = found;
                        return;
                    }
                    left -= 1;
                    let name: Name = (kind.clone(), key.as_str().into());
                    self.look_beyond(documents, &mut found, &schema, &name, ms);
                    found.upto = Some(name);
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        found.last = std::mem::take(&mut found.next);
        found.upto = None;
        documents.found = found;
        documents.names.end_round();
    }

    fn look_beyond(
        &self,
        documents: &mut Documents,
        found: &mut Found,
        schema: &Schema,
        name: &Name,
        ms: u64,
    ) {
        let (kind, key) = name;
        if !schema.unique().is_empty()
            && let Some(value) = documents.document(&self.space, kind, key, ms)
        {
            for at in schema.unique() {
                let Some(given) = value.at(at) else { continue };
                documents.names.note((kind.clone(), at.clone(), given.digest()), key.clone());
            }
        }
        for broken in documents.broken_of(&self.space, kind, key, ms) {
            if found.next.len() < KNOWN_MAX {
                match broken {
                    Broken::Name { .. } => self.probe.reachable("documents.name_twice"),
                    _ => self.probe.reachable("documents.broken_reference"),
                }
                found.next.insert(Place::new(kind, key, told(&broken).0.clone()));
            }
        }
    }
}

/// Whether what is written elsewhere may break documents of this kind.
fn looks_beyond(schema: &Schema) -> bool {
    may_refer(schema) || !schema.unique().is_empty()
}

/// In which field, and what is wrong, for people.
fn told(broken: &Broken) -> (&Pointer, String) {
    let named =
        |all: &[Name]| -> Vec<String> { all.iter().map(|(kind, key)| format!("{kind} {key}")).collect() };
    match broken {
        Broken::Dangling { at, to: (kind, key), .. } => (
            at,
            format!(
                "it refers to {kind} {key}, which is not there: it is kept, and to be read as if it were not; write another, or put {kind} {key} again"
            ),
        ),
        Broken::Circle { through, at } => (
            at,
            format!(
                "{} refer to each other in a circle: this reference is the one to be cut",
                named(through).join(", ")
            ),
        ),
        Broken::Name { at, name, holders } => {
            let first = named(&holders[..1]).concat();
            let name: String = name.to_string().chars().take(SHOWN_MAX).collect();
            (
                at,
                format!(
                    "{name} is the name of {first}, which has it by the order of keys: give another here"
                ),
            )
        }
    }
}
