//! **Agreement on dependencies**: an instance is decided as one value with one set of dependencies by whomever, it never
//! depends on itself, and of two decided commands that interfere one is in the other's dependencies.
//!
//! Moraru, Andersen, Kaminsky, *There Is More Consensus in Egalitarian Parliaments* (SOSP 2013), §4.3: all replicas commit the
//! same attributes of an instance, from which one order of execution follows; Ryabinin, Gotsman, Sutra,
//! *Making Democracy Work* (OPODIS 2025), invariants *agreement* and *visibility*. There are no sequence numbers to agree on here
//! (`epaxos/mod.rs`), so the value and the dependencies are all there is.
//!
//! What is decided as nothing interferes with nothing. Commands interfere by their key, whatever coarser notion the protocol goes by;
//! seals and proposed blanks interfere with everything. *Agreement* judges the order that follows: it sees a disagreement only where
//! two replicas happen to execute differently for it, and never one about a blank.

use super::super::fact::{Fact, NODES_MAX, Value};
use super::Invariant;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use dwcp_env::NodeId;

type Id = (u8, u64);

#[derive(Clone, Copy, Debug)]
struct First {
    node: NodeId,
    value: Option<Value>,
    deps: [u64; NODES_MAX],
}

impl First {
    fn has(&self, (replica, number): Id) -> bool {
        self.deps.get(usize::from(replica)).is_some_and(|d| number <= *d)
    }
    fn told(&self) -> String {
        let behind = self.deps.iter().rposition(|d| *d > 0).map_or(0, |last| last + 1);
        match self.value {
            None => format!("decided as nothing, behind {:?}", &self.deps[..behind]),
            Some(value) => format!("decided as {value:?}, behind {:?}", &self.deps[..behind]),
        }
    }
}

/// One value and one set of dependencies an instance; no two interfering strangers.
#[derive(Clone, Debug, Default)]
pub struct Dependencies {
    decided: BTreeMap<Id, First>,
    /// Those that touch anything.
    any: BTreeSet<Id>,
    /// Those that touch everything.
    all: BTreeSet<Id>,
    /// Those of one key.
    keys: BTreeMap<u16, BTreeSet<Id>>,
}

impl Dependencies {
    /// A decided one that interferes, is not in `mine`'s dependencies and does not depend on `id`.
    fn stranger(&self, id: Id, mine: &First, key: Option<u16>) -> Option<Id> {
        let (first, second) = match key {
            None => (Some(&self.any), None),
            Some(key) => (Some(&self.all), self.keys.get(&key)),
        };
        let outside = |(replica, upto): (usize, &u64)| (replica as u8, upto + 1)..=(replica as u8, u64::MAX);
        let mut found = first.into_iter().chain(second).flat_map(|set| {
            mine.deps.iter().enumerate().map(outside).flat_map(|beyond| set.range(beyond).copied())
        });
        found.find(|other| *other != id && !self.decided[other].has(id))
    }
}

impl Invariant for Dependencies {
    const NAME: &'static str = "dependencies";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Settled { node, instance: id, value, key, deps } = *fact else { return Ok(()) };
        let mine = First { node, value, deps };
        if let Some(first) = self.decided.get(&id) {
            if (first.value, first.deps) == (value, deps) {
                return Ok(());
            }
            return Err(format!("{} has {id:?} {}, {node} {}", first.node, first.told(), mine.told()));
        }
        if mine.has(id) {
            return Err(format!("{node} has {id:?} {}: behind itself", mine.told()));
        }
        if value.is_some()
            && let Some(other) = self.stranger(id, &mine, key)
        {
            let theirs = &self.decided[&other];
            let (mine, who, theirs) = (mine.told(), theirs.node, theirs.told());
            return Err(format!(
                "{node} has {id:?} {mine}, {who} has {other:?} {theirs}: they interfere and neither depends on the other"
            ));
        }
        self.decided.insert(id, mine);
        if value.is_some() {
            self.any.insert(id);
            match key {
                None => self.all.insert(id),
                Some(key) => self.keys.entry(key).or_default().insert(id),
            };
        }
        Ok(())
    }
}
