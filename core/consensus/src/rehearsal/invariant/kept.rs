//! **Nothing acknowledged is lost, and all end alike**: after the calm every node has applied every
//! acknowledged command, in states that are equal.
//!
//! Schneider, *Implementing fault-tolerant services using the state machine approach* (1990), §2.

use super::super::fact::Fact;
use super::Invariant;
use alloc::format;
use alloc::string::String;
use dwcp_env::NodeId;

/// Nothing lost, nothing diverged.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    end: Option<(NodeId, u64)>,
}

impl Invariant for Kept {
    const NAME: &'static str = "nothing lost";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        let Fact::Ended { node, chain, missing, .. } = *fact else { return Ok(()) };
        if let Some(number) = missing {
            return Err(format!("{node} ends without command {number}, which was acknowledged"));
        }
        match self.end {
            Some((first, other)) if other != chain => {
                Err(format!("{first} and {node} end in different states"))
            }
            _ => {
                self.end = Some((node, chain));
                Ok(())
            }
        }
    }
}
