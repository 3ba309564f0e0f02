//! **Durability**: what is decided is on the disks of a quorum, and not only in memories; of a protocol that tells in
//! which ballots its disks accepted it, of a quorum in one ballot.
//!
//! Lamport, *The Part-Time Parliament* (TOCS 1998), §2.1 (ledgers in indelible ink); Vanlightly's
//! `RaftFsync.tla`: a member that answers before its sync loses acknowledged writes.

use super::super::fact::Fact;
use super::Invariant;
use crate::quorum::NodeSet;
use alloc::format;
use alloc::string::String;

/// Held by a quorum's disks.
#[derive(Clone, Debug, Default)]
pub struct Durable;

impl Invariant for Durable {
    const NAME: &'static str = "durability";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Held { node, index, enough: false, disks } => Err(format!(
                "{node} decided index {index}, which only the disks at places {:?} hold, in whatever ballots",
                NodeSet(disks)
            )),
            _ => Ok(()),
        }
    }
}
