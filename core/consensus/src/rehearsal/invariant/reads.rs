//! **Linearizable reads**: a read shows everything that was acknowledged, or shown by a read, before it
//! was asked for.
//!
//! Herlihy, Wing, *Linearizability* (TOPLAS 1990), §2; Raft dissertation, §6.4. Since the order of
//! commands is one (agreement), real time is all that is left to check.

use super::super::fact::Fact;
use super::Invariant;
use alloc::format;
use alloc::string::String;

/// No stale read.
#[derive(Clone, Debug, Default)]
pub struct Reads;

impl Invariant for Reads {
    const NAME: &'static str = "linearizable reads";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Readable { node, token, applied, missing: Some(number) } => Err(format!(
                "{node} served read {token} at index {applied} without command {number}, acknowledged before it was asked"
            )),
            _ => Ok(()),
        }
    }
}
