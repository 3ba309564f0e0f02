//! **Leader completeness**: who begins to lead holds everything that is decided in lower ballots, or a checkpoint of it.
//!
//! Ongaro, Ousterhout, *Raft* (ATC 2014), Fig. 3, *Leader Completeness*, §5.4.3; Lamport, *Paxos Made Simple* (2001), P2c: a
//! ballot proposes what a lower one may have chosen.

use super::super::fact::Fact;
use super::Invariant;
use alloc::format;
use alloc::string::String;

/// Nothing decided is missing in a new leader.
#[derive(Clone, Debug, Default)]
pub struct Complete;

impl Invariant for Complete {
    const NAME: &'static str = "leader completeness";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Complete { node, index, decided, held } if held != Some(decided) => Err(format!(
                "{node} begins to lead with {held:?} at index {index}, where {decided:?} is decided"
            )),
            _ => Ok(()),
        }
    }
}
