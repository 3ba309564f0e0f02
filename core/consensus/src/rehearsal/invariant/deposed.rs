//! **No read of the deposed**: once a successor has acknowledged a command, nobody who led before it serves a read that is asked
//! for from then on.
//!
//! Gray, Cheriton, *Leases* (SOSP 1989), §2; Raft dissertation, §6.4: a leader that serves reads must be the last one. The issue asks
//! it of reads under a lease; there are none here, every read goes through a round of its quorum, so it is asked of all reads.
//! *Linearizable reads* sees a stale answer where something new was written; this sees the wrong authority, whether
//! anything was missed by it or not. It judges protocols with leaders.

use super::super::fact::Fact;
use super::Invariant;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use dwcp_env::NodeId;

/// No read under an authority that is over.
#[derive(Clone, Debug, Default)]
pub struct Deposed {
    /// The ballot each node led in last, in this life.
    led: BTreeMap<NodeId, u64>,
    /// The highest ballot in which something was acknowledged.
    acknowledged: u64,
    /// What that was when a read was asked for.
    asked: BTreeMap<u64, u64>,
}

impl Invariant for Deposed {
    const NAME: &'static str = "no read of the deposed";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Elected { node, ballot } => {
                self.led.insert(node, ballot);
            }
            Fact::Crashed { node } => {
                self.led.remove(&node);
            }
            // Who was deposed meanwhile and hears of its command's end from others counts for less than it could.
            Fact::Decided { node, token: Some(_), .. } => {
                let ballot = self.led.get(&node).copied().unwrap_or(0);
                self.acknowledged = self.acknowledged.max(ballot);
            }
            Fact::Asked { token, .. } => {
                self.asked.insert(token, self.acknowledged);
            }
            Fact::Refused { token, .. } => {
                self.asked.remove(&token);
            }
            Fact::Readable { node, token, .. } => {
                let before = self.asked.remove(&token).unwrap_or(0);
                if let Some(ballot) = self.led.get(&node).filter(|ballot| **ballot < before) {
                    return Err(format!(
                        "{node}, which leads in ballot {ballot}, served read {token}, which was asked for after ballot {before} had acknowledged"
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
