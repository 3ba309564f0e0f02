//! **One view** and **nothing lost**: what replicas of a keyspace of documents show, and what resolutions leave behind, from outside.
//!
//! The first is the promise of a resolution as a view: who has the same writes and the same rules shows the same document. The second
//! takes every write as its replica logged it, knows which of them resolutions superseded, and asks every replica's audit for each: on record, with its
//! value. It does not ask the code that settles what it thinks it did.

use dwcp_conflict::lineage::Envelope;
use dwcp_crdt::code::Reader;
use dwcp_crdt::op::Action;
use dwcp_crdt::{Address, Dot};
use dwcp_env::NodeId;
use dwcp_eventual::Eventual;
use std::collections::{BTreeMap, BTreeSet};

/// Writes that were seen, and those among them that a resolution superseded.
#[derive(Debug, Default)]
pub struct Settled {
    /// Whether each write at a place is a resolution.
    writes: BTreeMap<Dot, bool>,
    superseded: BTreeSet<Dot>,
}

impl Settled {
    /// Looks at what a replica has logged in its last turn.
    pub fn look(&mut self, replica: &Eventual) {
        // What has reached another is durable where it was made: its dot names nothing else any more.
        let left = replica.drained().iter().filter(|b| replica.place() != Some(b.replica()));
        for op in left.flat_map(dwcp_crdt::Batch::ops).flatten() {
            let Action::Write(bytes) = op.action else { continue };
            let container = Address::decode(&mut Reader::new(op.container));
            if container.is_ok_and(|c| c.names.first().is_some_and(|n| n.first() == Some(&0))) {
                continue;
            }
            let Ok(envelope) = Envelope::from_bytes(bytes) else { continue };
            let resolves = envelope.resolves.is_some();
            if self.writes.insert(op.dot, resolves).is_none() && resolves {
                self.superseded.extend(op.supersedes.as_slice().iter().copied());
            }
        }
    }
    /// Resolutions seen so far, and what they superseded.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.writes.values().filter(|r| **r).count(), self.superseded.len())
    }
    /// Whether all that resolutions superseded is on record at all of these. A resolution that was superseded as the twin of another
    /// says nothing of its own.
    ///
    /// # Errors
    /// What is missing, for people.
    pub fn on_record<'e>(
        &self,
        replicas: impl Iterator<Item = (NodeId, Option<&'e Eventual>)>,
    ) -> Result<(), String> {
        let all: Vec<Dot> =
            self.superseded.iter().copied().filter(|d| self.writes.get(d) == Some(&false)).collect();
        for (node, replica) in replicas {
            let Some(replica) = replica else { return Err(format!("{node} does not run")) };
            let known = replica.writes_on_record();
            if let Some(lost) = all.iter().find(|d| !known.contains(*d)) {
                return Err(format!("{lost} was superseded by a resolution, and {node} has no record of it"));
            }
        }
        Ok(())
    }
}

/// Whether all of these show the same documents, with nothing left to settle; else who differs.
///
/// # Errors
/// What differs, for people.
pub fn one_view<'e>(replicas: impl Iterator<Item = (NodeId, Option<&'e Eventual>)>) -> Result<(), String> {
    let mut first = None;
    for (node, replica) in replicas {
        let Some(replica) = replica else { return Err(format!("{node} does not run")) };
        let (shown, open) = replica.documents_shown();
        if let Some(place) = open.first() {
            return Err(format!("{node} has not settled {place}"));
        }
        let (other, known) = &*first.get_or_insert_with(|| (node, shown.clone()));
        let differs = known.iter().zip(&shown).find(|(a, b)| a != b);
        if let Some(((kind, key, there), (.., here))) = differs {
            return Err(format!("of {kind} {key} {other} shows {there}, {node} {here}"));
        }
        if known.len() != shown.len() {
            return Err(format!("{other} shows {} documents, {node} {}", known.len(), shown.len()));
        }
    }
    Ok(())
}
