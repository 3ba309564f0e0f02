//! Known bugs, put back in on purpose: a harness that does not find them proves nothing.
//!
//! Each is a switch in the settings of the part it belongs to, compiled only with the feature
//! `planted-bugs`, off unless a plan names it. A hunt runs scenarios seed by seed until one
//! breaks, and shrinks what it found.
//!
//! | measure | asked for |
//! |---|---|
//! | seeds until found | at most [`SEEDS`] |
//! | faults left after shrinking | at most [`FAULTS`] |
//! | time to shrink | at most [`SHRINK`] |

use crate::expand::{RunPlan, expand};
use crate::pool::{Done, Pool, Program, alone};
use crate::shrink::{Shrunk, shrink};
use crate::worker::{Job, Want};
use dwcp_env::Seed;
use dwcp_node::NodeConfig;
use dwcp_runtime_sim::shrink::Budget;
use dwcp_runtime_sim::trace::Violation;

/// Seeds within which a bug must be found.
pub const SEEDS: u64 = 500;
/// Faults that may be left.
pub const FAULTS: usize = 12;
/// Time that shrinking may take.
pub const SHRINK: std::time::Duration = std::time::Duration::from_secs(30);

/// A bug.
#[derive(Clone, Copy, Debug)]
pub struct Mutant {
    /// Its name: the part and the switch.
    pub name: &'static str,
    /// What is wrong, in words.
    pub what: &'static str,
    /// Where to look for it, in turn.
    pub scenarios: &'static [&'static str],
}

macro_rules! mutants {
    ($($name:literal $what:literal [$($scenario:literal),*] |$config:ident| $plant:expr;)*) => {
        /// Every bug that can be planted.
        pub const MUTANTS: &[Mutant] =
            &[$(Mutant { name: $name, what: $what, scenarios: &[$($scenario),*] },)*];

        /// Plants a bug by its name; nothing without a name.
        ///
        /// # Panics
        /// If there is no such bug, or this build can't plant any.
        pub fn plant(bug: Option<&str>, config: &mut NodeConfig) {
            let Some(bug) = bug else { return };
            assert!(cfg!(feature = "planted-bugs"), "this build can't plant {bug}: build it with --features planted-bugs");
            #[cfg(feature = "planted-bugs")]
            match bug {
                $($name => { let $config = &mut *config; $plant = true; })*
                _ => panic!("no bug is called {bug}"),
            }
            #[cfg(not(feature = "planted-bugs"))]
            let _unused = config;
        }
    };
}

mutants! {
    "wal.ack_before_sync" "writes are acknowledged before they are on the disk"
        ["failover/all_crash", "swarm/crashes"] |c| c.wal.bugs.ack_before_sync;
    "wal.checksum_unchecked" "what is read back from the log is believed unchecked"
        ["disk/bit_rot", "disk/torn_write"] |c| c.wal.bugs.checksum_unchecked;
    "wal.directory_not_synced" "a new segment's name is not durable before it is written to"
        ["failover/all_crash", "swarm/crashes"] |c| c.wal.bugs.directory_not_synced;
    "wal.vote_forgotten" "a vote is acknowledged and not written"
        ["swarm/crashes", "swarm/three_nodes"] |c| c.wal.bugs.vote_forgotten;
    "wal.truncate_wrongly" "a truncation keeps one entry too many"
        ["partition/cut_off_and_crashed"] |c| c.wal.bugs.truncate_wrongly;
    "raft.vote_not_saved" "a vote is answered and never saved"
        ["swarm/crashes", "swarm/three_nodes"] |c| c.engine.bugs.vote_not_saved;
    "raft.ack_append_before_durable" "a follower answers before it has the entries on disk"
        ["failover/all_crash", "swarm/crashes"] |c| c.engine.bugs.ack_append_before_durable;
    "raft.entry_not_logged" "the last entry of an append is answered as durable and not written"
        ["swarm/crashes", "failover/all_crash"] |c| c.engine.bugs.entry_not_logged;
    "raft.stale_read" "a leader reads without asking its quorum whether it still leads"
        ["failover/leader_pause", "partition/minority"] |c| c.engine.bugs.stale_read;
    "raft.snapshot_out_of_order" "a snapshot is installed over newer state"
        ["members/snapshots_to_laggards", "members/snapshot_to_joiner"] |c| c.engine.bugs.snapshot_out_of_order;
    "raft.retry_unknown" "a command of unknown outcome is proposed once more"
        ["partition/cut_off_and_crashed", "members/snapshots_to_laggards"] |c| c.engine.bugs.retry_unknown;
    "raft.suspect_votes" "a node whose disk lost part of its log votes as if nothing had happened"
        ["disk/bit_rot", "disk/unreadable"] |c| c.engine.bugs.suspect_votes;
    "node.read_without_barrier" "a read is answered from local state, behind no barrier"
        ["failover/leader_pause", "partition/minority"] |c| c.bugs.read_without_barrier;
    "node.blind_retry" "a write of unknown outcome is asked again without its session"
        ["members/snapshots_to_laggards", "partition/cut_off_and_crashed"] |c| c.bugs.blind_retry;
    "store.double_apply_after_retry" "a retried command is applied again"
        ["failover/leader_crash", "partition/minority"] |c| c.bugs.store.double_apply_after_retry;
    "store.checkpoint_claims_too_much" "a checkpoint claims what was applied while it was written"
        ["swarm/crashes", "failover/all_crash"] |c| c.bugs.store.checkpoint_claims_too_much;
    "store.snapshot_without_sessions" "a snapshot leaves out what makes retries safe"
        ["members/snapshots_to_laggards"] |c| c.bugs.store.snapshot_without_sessions;
    "store.stale_compare" "a transaction looks one revision into the past"
        ["calm/steady"] |c| c.bugs.store.stale_compare;
}

/// Bugs that [`SEEDS`] seeds have not found yet: hunted only by name. What they break is either made good
/// by another part before it shows, or too rare for the scenarios there are; each is a task, not a success.
pub const ELUSIVE: &[&str] = &[
    "wal.truncate_wrongly",
    "raft.snapshot_out_of_order",
    "raft.retry_unknown",
    "raft.suspect_votes",
    "node.blind_retry",
];

/// What a hunt came to.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The bug.
    pub mutant: Mutant,
    /// Runs made until it showed, and where: the scenario, the seed, what broke.
    pub found: Option<(u64, String, u64, Violation)>,
    /// The smallest run that shows it.
    pub shrunk: Option<Shrunk>,
    /// How long the search took.
    pub took: std::time::Duration,
}

impl Hunt {
    /// Whether it was found and shrunk within what is asked for.
    #[must_use]
    pub fn passed(&self) -> bool {
        let soon = self.found.as_ref().is_some_and(|f| f.0 <= SEEDS);
        soon && self.shrunk.as_ref().is_some_and(|s| s.faults <= FAULTS && s.took <= SHRINK)
    }
}

/// Looks for one bug.
///
/// # Panics
/// If a scenario it names does not exist, which a test excludes.
#[must_use]
pub fn hunt(mutant: &Mutant, program: &Program, workers: usize, first_seed: u64) -> Hunt {
    let began = std::time::Instant::now();
    let scenarios: Vec<_> = mutant
        .scenarios
        .iter()
        .map(|n| crate::catalogue::find(n).unwrap_or_else(|e| panic!("{e}")))
        .collect();
    let of = |nth: u64| {
        let scenario = &scenarios[(nth % scenarios.len() as u64) as usize];
        let mut plan = expand(scenario, Seed(first_seed + nth / scenarios.len() as u64));
        plan.bug = Some(mutant.name.to_owned());
        plan
    };
    let mut pool = Pool::new(program, workers);
    let mut next = 0;
    let mut first: Option<(u64, Violation)> = None;
    loop {
        while first.is_none() && next < SEEDS && pool.open() < workers {
            pool.submit(Job { id: next, plan: of(next), want: Want::Verdict, leak: None });
            next += 1;
        }
        let Some((id, done)) = pool.take() else { break };
        let violation = match done {
            Done::Ran(report) => report.violation,
            Done::Refused(_) | Done::Died(_) => None,
        };
        // A seed that fails without the bug as well says nothing about it.
        let violation = violation.filter(|v| {
            let sound = Job { id: 0, plan: RunPlan { bug: None, ..of(id) }, want: Want::Verdict, leak: None };
            !matches!(alone(program, &sound), Done::Ran(r) if r.violation.as_ref().is_some_and(|b| b.name == v.name))
        });
        // Of those under way at the same time the earliest counts, so that the answer does not
        // depend on which process is faster.
        if let Some(v) = violation.filter(|_| first.as_ref().is_none_or(|f| id < f.0)) {
            first = Some((id, v));
        }
    }
    drop(pool);
    let took = began.elapsed();
    let Some((nth, violation)) = first else {
        return Hunt { mutant: *mutant, found: None, shrunk: None, took };
    };
    let plan = of(nth);
    // The last run and one begun just in time come on top.
    let budget = Budget { wall: SHRINK * 3 / 4, ..Budget::default() };
    let shrunk = shrink(&plan, budget, &mut |_| {});
    let found = Some((nth + 1, plan.scenario.clone(), plan.world.seed.0, violation));
    Hunt { mutant: *mutant, found, shrunk, took }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_enough_and_each_can_be_hunted() {
        assert!(MUTANTS.len() - ELUSIVE.len() >= 12);
        assert!(ELUSIVE.iter().all(|e| MUTANTS.iter().any(|m| m.name == *e)));
        for mutant in MUTANTS {
            assert!(!mutant.scenarios.is_empty());
            for name in mutant.scenarios {
                crate::catalogue::find(name).unwrap_or_else(|e| panic!("{}: {e}", mutant.name));
            }
        }
    }
}
