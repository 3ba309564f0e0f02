//! **Order**: what a node gives out as decided comes by index, by one, without gap or repetition.
//!
//! Lamport, *Paxos Made Simple* (2001), §3: commands are executed in the order of their instances;
//! invariant 1 of [`crate::step`].

use super::super::fact::Fact;
use super::Invariant;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use dwcp_env::NodeId;

/// No gap, no repetition.
#[derive(Clone, Debug, Default)]
pub struct InOrder {
    last: BTreeMap<NodeId, u64>,
}

impl Invariant for InOrder {
    const NAME: &'static str = "order";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Decided { node, index, class, .. } => {
                let last = self.last.entry(node).or_insert(0);
                // A seal of a protocol that orders by key is told once per class.
                if index != *last + 1 && !(class > 1 && index == *last) {
                    return Err(format!("{node} decided index {index} after {last}"));
                }
                *last = index;
            }
            Fact::Based { node, state, protocol, total } => {
                if total && state != protocol {
                    return Err(format!(
                        "{node}'s state holds index {state}, its protocol goes on after {protocol}"
                    ));
                }
                self.last.insert(node, protocol);
            }
            _ => {}
        }
        Ok(())
    }
}
