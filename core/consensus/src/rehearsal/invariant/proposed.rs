//! **Non-triviality**: nothing is decided that nobody proposed, and nothing that was refused for certain.
//!
//! Lamport, *Paxos Made Simple* (2001), §1: "only a value that has been proposed may be chosen".
//! That a command is not decided twice is ours: the proposer's number names one proposal.

use super::super::fact::{Fact, Value};
use super::super::state::Numbers;
use super::Invariant;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// Only what was proposed.
#[derive(Clone, Debug, Default)]
pub struct OnlyProposed {
    proposed: Numbers,
    /// By question less 1: its number, 0 when it has none.
    asked: Vec<u32>,
    seals: BTreeSet<u64>,
    refused: Numbers,
    decided: Numbers,
    /// By number: the class and place decided first; empty where doubling is allowed.
    places: Vec<(u16, u64)>,
    pub(crate) may_double: bool,
}

impl Invariant for OnlyProposed {
    const NAME: &'static str = "non-triviality";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Proposed { token, number, .. } => {
                self.proposed.insert(number);
                put(&mut self.asked, token as usize - 1, number);
            }
            Fact::Ends { seal } => {
                self.seals.insert(seal);
            }
            Fact::Refused { token, certain, .. } => {
                let number = self.asked.get(token as usize - 1).copied().filter(|n| *n > 0 && certain);
                if let Some(number) = number {
                    self.refused.insert(number);
                    if self.decided.has(number) {
                        return Err(format!("command {number} was decided and then refused for certain"));
                    }
                }
            }
            Fact::Decided { node, index, class, place, value, .. } => {
                let number = match value {
                    Value::Command(number) => number,
                    Value::Foreign(digest) => {
                        return Err(format!(
                            "{node} decided bytes nobody made at {index} (digest {digest:x})"
                        ));
                    }
                    Value::Seal(digest) if self.seals.contains(&digest) => return Ok(()),
                    Value::Seal(digest) => {
                        return Err(format!(
                            "{node} decided a seal nobody proposed at {index} (digest {digest:x})"
                        ));
                    }
                    Value::Blank => return Ok(()),
                };
                if !self.proposed.has(number) {
                    return Err(format!("{node} decided command {number} at {index}, which nobody proposed"));
                }
                if self.refused.has(number) {
                    return Err(format!(
                        "{node} decided command {number} at {index}, refused for certain before"
                    ));
                }
                let new = self.decided.insert(number);
                if self.may_double {
                    return Ok(());
                }
                let at = number as usize;
                if new {
                    put(&mut self.places, at, (class, place));
                } else if self.places[at] != (class, place) {
                    return Err(format!(
                        "{node} decided command {number} at place {place}, after place {} before",
                        self.places[at].1
                    ));
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Writes at a place of a list that grows.
fn put<T: Copy + Default>(list: &mut Vec<T>, at: usize, value: T) {
    if list.len() <= at {
        list.resize(at + 1, T::default());
    }
    list[at] = value;
}
