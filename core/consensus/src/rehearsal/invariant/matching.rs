//! **Log matching**: in one ballot one value is accepted at a place, by whomever.
//!
//! Ongaro, Ousterhout, *Raft* (ATC 2014), Fig. 3, *Log Matching* (entries of one index and term are equal); Lamport, *Paxos
//! Made Simple* (2001), §2.2: a proposal is a number with one value. What of it looks at the logs as a whole, equal prefixes, is
//! Raft's own: Multi-Paxos accepts slots side by side.

use super::super::fact::{Fact, Value};
use super::Invariant;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use dwcp_env::NodeId;

/// One value per place and ballot.
#[derive(Clone, Debug, Default)]
pub struct Matching {
    accepted: BTreeMap<(u64, u64), (Value, NodeId)>,
}

impl Invariant for Matching {
    const NAME: &'static str = "log matching";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Accepted { node, index, ballot, value } = *fact else { return Ok(()) };
        match *self.accepted.entry((index, ballot)).or_insert((value, node)) {
            (first, _) if first == value => Ok(()),
            (first, who) => Err(format!(
                "in ballot {ballot} {who} accepted {first:?} at index {index} and {node} {value:?}"
            )),
        }
    }
}
