//! The steps that lives may take, as tables: what stands in none is refused.
//!
//! ```text
//!  a machine's record                       what its host reports                 a host
//!
//!   (absent) ──► Active ──► Deleting         Stopped ─► Starting ─► Running        Ready ⇄ Cordoned ⇄ Drained
//!                ▲  │           │               ▲          │  │        │             ▲        (and back)
//!   Arriving ────┘  ▼           ▼               │          │  ▼        ▼             │ joins again
//!      ▲         Leaving     (absent)           └─ Stopping ◄────── Failed          Lost ◄── any
//!      │            │         or Gone
//!   (absent)        ▼
//!               (absent)
//! ```
//!
//! A host's reports are numbered (epoch, index). A higher epoch is another host's account of the same machine and may begin
//! anywhere but in the middle: `Starting`, or an end. Inside an epoch the table rules.

use crate::record::{HostState, Life, Phase};

/// Whether a report may follow another of the same epoch.
#[must_use]
pub const fn phase_may(from: Phase, to: Phase) -> bool {
    use Phase::{Failed, Running, Starting, Stopped, Stopping};
    matches!(
        (from, to),
        (Stopped | Failed, Starting)
            | (Starting, Running | Stopping | Stopped | Failed)
            | (Running, Stopping | Stopped | Failed)
            | (Stopping, Stopped | Failed)
            | (Failed, Stopping | Stopped)
    )
}

/// Whether a report may be the first of its epoch.
#[must_use]
pub const fn phase_may_begin(at: Phase) -> bool {
    matches!(at, Phase::Starting | Phase::Stopped | Phase::Failed)
}

/// Whether a machine's record may take a step; `None` is a record that is not there.
#[must_use]
pub const fn life_may(from: Option<&Life>, to: Option<&Life>) -> bool {
    use Life::{Active, Arriving, Deleting, Gone, Leaving};
    matches!(
        (from, to),
        (None, Some(Active | Arriving { .. }))
            | (Some(Active), Some(Active | Deleting | Leaving { .. }))
            | (Some(Deleting), Some(Deleting | Gone) | None)
            | (Some(Leaving { .. } | Arriving { .. }), Some(Active) | None)
            | (Some(Gone), None)
    )
}

/// Whether a host may be declared so. `Lost` ends by joining again only: until then nobody knows what it runs.
#[must_use]
pub const fn host_may(from: HostState, to: HostState) -> bool {
    use HostState::{Cordoned, Drained, Lost, Ready};
    matches!(
        (from, to),
        (Ready, Cordoned | Drained)
            | (Cordoned, Ready | Drained)
            | (Drained, Ready | Cordoned)
            | (Ready | Cordoned | Drained, Lost)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    const PHASES: [Phase; 5] =
        [Phase::Stopped, Phase::Starting, Phase::Running, Phase::Stopping, Phase::Failed];

    /// Rows: from; columns: to; in the order of `PHASES`.
    #[test]
    fn the_table_of_phases() {
        let table: String = PHASES
            .iter()
            .flat_map(|from| {
                let row = PHASES.iter().map(|to| if phase_may(*from, *to) { 'x' } else { '.' });
                row.chain(['\n'])
            })
            .collect();
        assert_eq!(table, ".x...\nx.xxx\nx..xx\nx...x\nxx.x.\n");
    }

    #[test]
    fn every_phase_can_be_left_and_ends() {
        for from in PHASES {
            assert!(!phase_may(from, from), "a report that says nothing");
            assert!(from == Phase::Stopped || phase_may(from, Phase::Stopped), "{from:?} can't end");
        }
    }

    #[test]
    fn lost_hosts_come_back_by_joining_only() {
        use HostState::{Cordoned, Drained, Lost, Ready};
        for to in [Ready, Cordoned, Drained, Lost] {
            assert!(!host_may(Lost, to));
            assert!(to == Lost || host_may(to, Lost));
        }
    }
}
