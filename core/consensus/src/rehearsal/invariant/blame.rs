//! **No correct node is accused**: what a correct member sends never counts as a fault.
//!
//! Haeberlen, Kouznetsov, Druschel, *PeerReview* (SOSP 2007), §3.1, *accuracy*.

use super::super::fact::Fact;
use super::Invariant;
use alloc::format;
use alloc::string::String;

/// Accusations are right.
#[derive(Clone, Debug, Default)]
pub struct Blame;

impl Invariant for Blame {
    const NAME: &'static str = "right blame";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Blamed { node, peer, guilty: false } => {
                Err(format!("{node} blames {peer}, which is correct"))
            }
            _ => Ok(()),
        }
    }
}
