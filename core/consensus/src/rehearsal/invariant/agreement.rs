//! **Agreement**: no two nodes decide differently at one place.
//!
//! Lamport, *Paxos Made Simple* (2001), §1: "only a single value is chosen"; Raft (ATC 2014), §5.4.3,
//! *State Machine Safety*; EPaxos (SOSP 2013), §4.1, *Execution consistency*: interfering commands are
//! executed in one order everywhere (a class is then a key); PBFT (OSDI 1999), §2, *safety*.

use super::super::fact::{Fact, Value};
use super::Invariant;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::NodeId;

/// One value per place.
#[derive(Clone, Debug, Default)]
pub struct Agreement {
    /// By class, then place less 1: what, and who said so first.
    decided: Vec<Vec<Option<(Value, NodeId)>>>,
}

impl Invariant for Agreement {
    const NAME: &'static str = "agreement";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Decided { node, class, place, value, .. } = *fact else { return Ok(()) };
        let class_at = usize::from(class);
        if self.decided.len() <= class_at {
            self.decided.resize_with(class_at + 1, Vec::new);
        }
        let places = &mut self.decided[class_at];
        let Some(at) = place.checked_sub(1).map(|p| p as usize) else {
            return Err(format!("{node} decided a place 0"));
        };
        if places.len() <= at {
            places.resize(at + 1, None);
        }
        match places[at] {
            None => places[at] = Some((value, node)),
            Some((first, _)) if first == value => {}
            Some((first, who)) => {
                return Err(format!(
                    "at place {place} of class {class} {who} decided {first:?} and {node} {value:?}"
                ));
            }
        }
        Ok(())
    }
}

impl Agreement {
    /// What was decided at this place, if anything.
    pub(crate) fn at(&self, class: u16, place: u64) -> Option<Value> {
        let places = self.decided.get(usize::from(class))?;
        places.get((place as usize).checked_sub(1)?)?.map(|(value, _)| value)
    }
    /// Whether this place was decided by somebody.
    pub(crate) fn knows(&self, class: u16, place: u64) -> bool {
        self.at(class, place).is_some()
    }
}
