//! **Election safety**: at most one leader in one ballot.
//!
//! Ongaro, Ousterhout, *Raft* (ATC 2014), Fig. 3, *Election Safety*; Lamport, *Paxos Made Simple* (2001), §2.2: proposers
//! choose their numbers from disjoint sets.

use super::super::fact::Fact;
use super::Invariant;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use dwcp_env::NodeId;

/// One leader per ballot.
#[derive(Clone, Debug, Default)]
pub struct Elected {
    leaders: BTreeMap<u64, NodeId>,
}

impl Invariant for Elected {
    const NAME: &'static str = "election safety";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Elected { node, ballot } = *fact else { return Ok(()) };
        match *self.leaders.entry(ballot).or_insert(node) {
            first if first == node => Ok(()),
            first => Err(format!("{first} and {node} both lead in ballot {ballot}")),
        }
    }
}
