//! **One end**: the first seal stands at one place of the order everywhere, and who has applied it takes no proposals.
//!
//! Malkhi, Lamport, Zhou, *Stoppable Paxos* (2008), §3: nothing is chosen for good behind a stop; Balakrishnan et al., *Virtual
//! Consensus in Delos* (OSDI 2020), §3.2. What is decided behind it has no effect: that is the driver's.

use super::super::fact::Fact;
use super::Invariant;
use alloc::format;
use alloc::string::String;
use dwcp_env::NodeId;

/// One end of the epoch.
#[derive(Clone, Debug, Default)]
pub struct Sealed {
    first: Option<(NodeId, u64)>,
}

impl Invariant for Sealed {
    const NAME: &'static str = "one end";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Sealed { node, order } => match *self.first.get_or_insert((node, order)) {
                (_, first) if first == order => Ok(()),
                (who, _) => Err(format!("{who} and {node} sealed after different commands")),
            },
            Fact::Unsealed { node, index } => {
                Err(format!("{node} took a proposal after it had applied a seal, and decided it at {index}"))
            }
            _ => Ok(()),
        }
    }
}
