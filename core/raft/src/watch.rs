//! What a group tells the world about itself: one task that sleeps until something changes.

use crate::group::Core;
use crate::runtime::Runtime;
use crate::types::position;
use dwcp_consensus::StateMachine;
use dwcp_env::{Event, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{AsyncRuntime, ServerState};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, Weak};

#[derive(Clone, PartialEq, Eq, Default)]
struct Seen {
    leads: bool,
    term: u64,
    leader: Option<u64>,
    voters: BTreeSet<u64>,
}

/// Starts the task; it ends with the group.
pub(crate) fn spawn<SM: StateMachine>(core: &Arc<Core<SM>>) {
    let weak = Arc::downgrade(core);
    let mut server = core.raft.server_metrics();
    drop(Runtime::spawn(async move {
        let mut seen = Seen::default();
        while server.changed().await.is_ok() {
            let now = {
                let m = server.borrow_watched();
                Seen {
                    leads: m.state == ServerState::Leader,
                    term: m.vote.leader_id.term,
                    leader: m.current_leader,
                    voters: m.membership_config.voter_ids().collect(),
                }
            };
            let Some(core) = weak.upgrade() else { return };
            tell(&core, &seen, &now);
            seen = now;
        }
    }));
    if core.suspect.lock().is_some() {
        drop(Runtime::spawn(heal(Arc::downgrade(core))));
    }
}

fn tell<SM: StateMachine>(core: &Core<SM>, before: &Seen, now: &Seen) {
    let (group, term) = (core.shared.group, now.term);
    let probe = &core.shared.probe;
    probe.sometimes("raft.leader_stepped_down", before.leads && !now.leads);
    match now.leader {
        Some(leader) if now.leader != before.leader || now.term != before.term => {
            probe.event(&Event::LeaderChanged { group, term, leader: NodeId(leader) });
        }
        None if before.leader.is_some() => probe.event(&Event::LeaderLost { group, term }),
        _ => {}
    }
    if now.voters != before.voters && !now.voters.is_empty() {
        let mut voters = String::new();
        for v in &now.voters {
            let comma = if voters.is_empty() { "" } else { "," };
            let _infallible = write!(voters, "{comma}{}", NodeId(*v));
        }
        probe.event(&Event::MembersChanged { group, voters });
    }
}

/// Waits until a node whose disk lost entries holds them again, then lets it vote.
///
/// What it may have acknowledged and lost was in its log, at most up to the last index it had, in
/// a term not above that of its vote. It is restored once everything up to that index is
/// applied, or once an entry of a later term is: that term's leader had all that was decided
/// before it, and so has this log now.
async fn heal<SM: StateMachine>(core: Weak<Core<SM>>) {
    let Some(this) = core.upgrade() else { return };
    let mut data = this.raft.data_metrics();
    let term = this.metrics.borrow_watched().vote.leader_id.term;
    let Some(lost) = *this.suspect.lock() else { return };
    drop(this);
    loop {
        let applied = position(data.borrow_and_update().last_applied.as_ref());
        let Some(core) = core.upgrade() else { return };
        if applied.index > 0 && (applied.term > term || (lost.index > 0 && applied.index >= lost.index)) {
            *core.suspect.lock() = None;
            core.log.healed();
            core.raft.runtime_config().elect(true);
            core.shared.probe.reachable("raft.suspect_healed");
            return;
        }
        drop(core);
        if data.changed().await.is_err() {
            return;
        }
    }
}
