//! A leader whose process is gone is followed by another without waiting out its lease.
//!
//! **Promise.** Told by the world that a leader's process is gone
//! ([`Input::Unreachable`](dwcp_env::Input::Unreachable)), its followers elect another after about a
//! heartbeat and a half, not after lease and election timeout (eight to sixteen heartbeats). A hint that
//! is wrong costs nobody a leader that a quorum hears.
//!
//! **Source.** Pre-vote and leader stickiness, Raft dissertation §9.6 and §4.2.3. There a follower counts
//! silence; here a reset connection behind which nothing listens stands in the place of most of it.
//!
//! | when | what |
//! |---|---|
//! | the hint | noted, if that node leads |
//! | a heartbeat later, the leader silent since | the lease is void: pre-votes and votes are granted |
//! | [`turn`]s of half a heartbeat later, still silent | pre-vote; with a quorum's, an election |
//!
//! **Invariants.**
//! 1. Nothing is done while the leader is heard: each step looks again. A living leader is heard within
//!    a heartbeat.
//! 2. A lease that was void counts again as soon as the leader is heard ([`Gone::sticks`]); so one
//!    follower with a wrong hint can neither campaign nor help another to.
//! 3. A quorum of voters must have found the leader gone, or silent for a whole lease, before any term
//!    rises: that is what pre-votes ask.
//!
//! **Rejected.** Shorter leases and timeouts: on two busy cores heartbeats 200 ms late are common, and
//! leaders came and went for seconds. Voting without pre-vote at a hint: one lost connection would depose.

use crate::group::{Core, ballot};
use crate::runtime::{Moment, Runtime};
use crate::types::Ballot;
use dwcp_consensus::StateMachine;
use dwcp_env::{Duration, Instant, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use openraft::{AsyncRuntime, Instant as _};
use rand::TryRng;
use std::sync::{Arc, Weak};

/// Pre-votes asked for at one hint; then silence is counted as ever.
const ATTEMPTS: u32 = 4;

/// What a node knows about its leader's life.
#[derive(Debug, Default)]
pub(crate) struct Gone {
    /// The leader that spoke last, and when.
    heard: Option<(Ballot, Instant)>,
    /// The leader a hint was about, and when it came.
    hinted: Option<(Ballot, Instant)>,
    /// The leader whose lease is void in openraft.
    void: Option<Ballot>,
}

impl Gone {
    /// A leader has spoken; one that was deposed meanwhile is no sign of life.
    pub(crate) fn hears(&mut self, leader: Ballot, now: Instant) {
        if self.heard.is_none_or(|(l, _)| l.term <= leader.term) {
            self.heard = Some((leader, now));
        }
    }

    /// Whether the leader of a hint has not been heard since.
    fn silent(&self, leader: Ballot) -> bool {
        let Some((_, since)) = self.hinted.filter(|(l, _)| *l == leader) else { return false };
        self.heard.is_none_or(|(l, at)| l != leader || at <= since)
    }

    /// Whether a vote must be refused because the leader lives after all, and openraft no longer
    /// counts its lease.
    pub(crate) fn sticks(&self, leader: Ballot, lease: Duration, now: Instant) -> bool {
        let heard = self.heard.is_some_and(|(l, at)| l == leader && now < at + lease);
        self.void == Some(leader) && heard && !self.silent(leader)
    }
}

/// The world says that a peer's process is gone.
pub(crate) fn unreachable<SM: StateMachine>(core: &Arc<Core<SM>>, peer: NodeId) {
    let leader = ballot(&core.raft);
    let me = core.shared.config.node;
    let votes = core.metrics.borrow_watched().membership_config.voter_ids().any(|v| v == me.0);
    if !leader.committed || leader.node != peer || peer == me || !votes || core.suspect.lock().is_some() {
        return;
    }
    let mut gone = core.gone.lock();
    // One hint at a time: the peers of a node that is gone are told on every lane, again and again.
    if gone.silent(leader) {
        return;
    }
    gone.hinted = Some((leader, Moment::now().0));
    drop(gone);
    core.shared.probe.reachable("raft.leader_gone");
    drop(Runtime::spawn(follow(Arc::downgrade(core), leader)));
}

/// Nobody has led yet, and the process of who was to lead first is gone: members stand in turn, as for a leader.
pub(crate) fn unled<SM: StateMachine>(core: &Arc<Core<SM>>, first: NodeId) {
    let me = core.shared.config.node;
    if first == me || core.suspect.lock().is_some() {
        return;
    }
    let beat = core.shared.config.heartbeat;
    let weak = Arc::downgrade(core);
    drop(Runtime::spawn(async move {
        for attempt in 0..ATTEMPTS {
            // openraft knows who votes a moment after it was started; later those who would vote may not have come yet.
            Runtime::sleep(if attempt == 0 { beat / 4 } else { beat }.to_std()).await;
            let Some(core) = weak.upgrade() else { return };
            let now = ballot(&core.raft);
            if now.committed {
                // Perhaps it has led after all, for as long as it lived: then it is a leader that is gone.
                return unreachable(&core, first);
            }
            let votes = core.metrics.borrow_watched().membership_config.voter_ids().any(|v| v == me.0);
            let pause = turn(&core, Ballot { node: first, ..now });
            drop(core);
            Runtime::sleep(pause.to_std()).await;
            let Some(core) = weak.upgrade().filter(|_| votes) else { return };
            if !ballot(&core.raft).committed {
                core.shared.probe.reachable("raft.campaign_for_a_first_leader_gone");
                if core.raft.trigger().elect(true).await.is_err() {
                    return;
                }
            }
        }
    }));
}

/// Whose turn it is first: half a heartbeat apart by the order of numbers behind the leader's, and within
/// that drawn, so that two seldom campaign at once.
fn turn<SM: StateMachine>(core: &Core<SM>, leader: Ballot) -> Duration {
    let me = core.shared.config.node;
    let m = core.metrics.borrow_watched();
    let voters: Vec<u64> = m.membership_config.voter_ids().filter(|v| *v != leader.node.0).collect();
    drop(m);
    let first = voters.iter().position(|v| *v > leader.node.0).unwrap_or(0);
    let place = voters.iter().position(|v| *v == me.0).unwrap_or(0);
    let rank = (place + voters.len() - first) % voters.len().max(1);
    let beat = core.shared.config.heartbeat;
    let Ok(drawn) = Runtime::thread_rng().try_next_u64();
    beat / 4 + beat / 2 * rank as u64 + Duration::nanos(drawn % (beat / 4).as_nanos().max(1))
}

/// From the hint to an election, as long as the leader stays silent.
async fn follow<SM: StateMachine>(weak: Weak<Core<SM>>, leader: Ballot) {
    let still = |weak: &Weak<Core<SM>>| {
        let core = weak.upgrade()?;
        let silent = ballot(&core.raft) == leader && core.gone.lock().silent(leader);
        core.shared.probe.sometimes("raft.gone_leader_lives", !silent && ballot(&core.raft) == leader);
        silent.then_some(core)
    };
    let Some(beat) = weak.upgrade().map(|c| c.shared.config.heartbeat) else { return };
    for _ in 0..ATTEMPTS {
        Runtime::sleep(beat.to_std()).await;
        let Some(core) = still(&weak) else { return };
        core.gone.lock().void = Some(leader);
        // What a leader says that hands over: openraft's only way to void a lease.
        let voids = TransferLeaderRequest::new(leader.into(), leader.node.0, None);
        let Ok(_) = core.raft.handle_transfer_leader(voids).await else { return };
        let pause = turn(&core, leader);
        drop(core);
        Runtime::sleep(pause.to_std()).await;
        let Some(core) = still(&weak) else { return };
        core.shared.probe.reachable("raft.campaign_for_a_gone_leader");
        if core.raft.trigger().elect(true).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::millis(ms)
    }

    #[test]
    fn a_void_lease_counts_again_once_the_leader_is_heard() {
        let leader = Ballot { term: 3, node: NodeId(1), committed: true };
        let lease = Duration::millis(800);
        let mut gone = Gone::default();
        gone.hears(leader, at(900));
        assert!(!gone.silent(leader), "no hint");
        gone.hinted = Some((leader, at(950)));
        gone.void = Some(leader);
        assert!(gone.silent(leader) && !gone.sticks(leader, lease, at(1_000)));
        gone.hears(leader, at(1_010));
        assert!(!gone.silent(leader) && gone.sticks(leader, lease, at(1_500)));
        assert!(!gone.sticks(leader, lease, at(1_810)), "silent for a lease");
        gone.hears(Ballot { term: 2, node: NodeId(3), committed: true }, at(1_100));
        assert!(gone.sticks(leader, lease, at(1_500)), "a deposed leader's word changes nothing");
        let next = Ballot { term: 4, node: NodeId(2), committed: true };
        assert!(!gone.sticks(next, lease, at(1_020)), "openraft counts that one's");
    }
}
