//! Conflicts between documents, which none of them shows by itself (class C3): references to what is not there, and in a circle.
//!
//! **Promise.** Nodes that show the same documents find the same, and call it by one name. Nothing is written: the reference is kept as it is and *marked*, in the document, in the
//! list of conflicts and in what is explained; whoever reads it treats it as absent. It is over when somebody writes another, or what it leads to is there again.
//!
//! What one document is part of is found when it is read ([`Documents::broken_of`]): its own references, and where they must form a tree, those that they lead to. For the
//! list every node goes through the documents of kinds that may refer, [`AT_ONCE`] a look; what was found in the last round is listed if it still is so.
//!
//! **Limits.** Of a tree [`REACH_MAX`] documents are followed: a longer circle is not seen. A round takes half a second for each [`AT_ONCE`] documents, so the list may be so much behind.
//!
//! **Rejected**: refusing a deletion that something refers to: what refers may be written on the other side of a cut. Deleting what refers: it would be lost over a name. Writing the mark: each node would, and
//! it would have to be taken back.

use super::ask::{Before, Open};
use super::serve::{at, bytes};
use super::view::keys;
use super::{Documents, met};
use crate::replica::Eventual;
use dwcp_conflict::reference::{Broken, Name, examine, links, may_refer};
use dwcp_conflict::{Class, ConflictId, Place, Pointer, Value};
use dwcp_crdt::Space;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Documents of one look.
const AT_ONCE: usize = 256;
/// Documents of a tree that are followed.
const REACH_MAX: usize = 256;
/// Broken references that are remembered for the list.
const KNOWN_MAX: usize = 4_096;

/// References that were found to be broken, and how far the round is that looks for the next.
#[derive(Debug, Default)]
pub(super) struct Found {
    last: BTreeSet<Place>,
    next: BTreeSet<Place>,
    upto: Option<Name>,
}

impl Documents {
    /// What is wrong with the references of a document.
    pub(super) fn broken_of(&self, space: &Space, kind: &str, key: &str, ms: u64) -> Vec<Broken> {
        let schema = |kind: &str| self.schemas.get(kind).map(|k| &*k.schema);
        let Some(value) =
            schema(kind).filter(|s| may_refer(s)).and_then(|_| self.document(space, kind, key, ms))
        else {
            return Vec::new();
        };
        let name: Name = (kind.into(), key.into());
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

    /// References of a document that are broken, as conflicts.
    pub(super) fn between(&self, space: &Space, kind: &str, key: &str, ms: u64) -> Vec<Open> {
        let broken = self.broken_of(space, kind, key, ms);
        broken.iter().filter_map(|b| self.open_between(space, kind, key, b, ms)).collect()
    }

    fn open_between(&self, space: &Space, kind: &str, key: &str, broken: &Broken, ms: u64) -> Option<Open> {
        let (pointer, told) = told(broken)?;
        let place = Place::new(kind, key, pointer.clone());
        let shown = self.document(space, kind, key, ms).and_then(|v| v.at(pointer).cloned());
        Some(Open {
            at: at(&place),
            conflict: self.name_between(space, &place, &told).to_string(),
            class: Class::Structure.name().into(),
            base: Before::Unknown,
            sides: Vec::new(),
            shown: shown.as_ref().map(bytes),
            by: None,
            asked: None,
            waits: told,
        })
    }

    /// What everyone calls it: the writes at the field, and what is wrong.
    fn name_between(&self, space: &Space, place: &Place, told: &str) -> ConflictId {
        // A reference in a field that is written as a whole lies below that.
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

    /// Broken references of the last round, after a place.
    pub(super) fn between_after(&self, after: Option<&Place>) -> impl Iterator<Item = &Place> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        self.found.last.range::<Place, _>((from, std::ops::Bound::Unbounded))
    }

    /// What is explained of a document besides its records.
    pub(super) fn told_between(&self, space: &Space, kind: &str, key: &str, ms: u64) -> String {
        let broken = self.broken_of(space, kind, key, ms);
        let line = |b: &Broken| {
            told(b).map(|(pointer, told)| format!("{kind} {key}{pointer}: {told} (C3 structure).\n"))
        };
        broken.iter().filter_map(line).collect()
    }
}

impl Eventual {
    /// Goes on through the documents that may refer to others.
    pub(super) fn look_between(&self, documents: &mut Documents, ms: u64) {
        let mut found = std::mem::take(&mut documents.found);
        let refers = |documents: &Documents| -> Vec<std::sync::Arc<str>> {
            let all = documents.schemas.iter().filter(|(_, k)| may_refer(&k.schema));
            all.map(|(kind, _)| kind.clone()).collect()
        };
        let mut left = AT_ONCE;
        for kind in refers(documents) {
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
                    for broken in documents.broken_of(&self.space, &kind, &key, ms) {
                        if let Some((pointer, _)) = told(&broken)
                            && found.next.len() < KNOWN_MAX
                        {
                            self.probe.reachable("documents.broken_reference");
                            found.next.insert(Place::new(&kind, &key, pointer.clone()));
                        }
                    }
                    found.upto = Some((kind.clone(), key.as_str().into()));
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
    }
}

/// In which field, and what is wrong, for people.
fn told(broken: &Broken) -> Option<(&Pointer, String)> {
    match broken {
        Broken::Dangling { at, to: (kind, key), .. } => Some((
            at,
            format!(
                "it refers to {kind} {key}, which is not there: it is kept, and to be read as if it were not; write another, or put {kind} {key} again"
            ),
        )),
        Broken::Circle { through, at } => {
            let names: Vec<String> = through.iter().map(|(kind, key)| format!("{kind} {key}")).collect();
            Some((
                at,
                format!(
                    "{} refer to each other in a circle: this reference is the one to be cut",
                    names.join(", ")
                ),
            ))
        }
        Broken::Name { .. } => None,
    }
}
