//! **Liveness**: after healing everything is decided everywhere within a bound; and while a quorum is
//! connected, however oddly, commands are decided.
//!
//! Ng, Haridi, Carbone, *Omni-Paxos* (EuroSys 2023), §2 (quorum-loss, constrained and chained
//! scenarios); openraft issue #2080 (an old leader's traffic renews a bridge's lease for ever).

use super::super::fact::Fact;
use super::Invariant;
use alloc::format;
use alloc::string::String;

/// Progress comes back.
#[derive(Clone, Debug, Default)]
pub struct Live;

impl Invariant for Live {
    const NAME: &'static str = "liveness";

    fn see(&mut self, fact: &Fact) -> Result<(), String> {
        match *fact {
            Fact::Stuck { applied: (least, most), left } => Err(format!(
                "the bound after healing has passed: nodes have applied {least} to {most}, {left} commands are not acknowledged"
            )),
            Fact::Survived { silent: (most, bound) } if most > bound => Err(format!(
                "a quorum was connected, and nothing was acknowledged for {} ms while {} ms are allowed",
                most / 1_000_000,
                bound / 1_000_000
            )),
            Fact::Served { after: (waited, bound) } if waited > bound => Err(format!(
                "all faults were over, and nothing was acknowledged for {} ms while {} ms are allowed",
                waited / 1_000_000,
                bound / 1_000_000
            )),
            _ => Ok(()),
        }
    }
}
