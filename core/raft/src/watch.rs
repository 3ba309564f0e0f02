//! What a group tells the world about itself: one task that sleeps until something changes.

use crate::group::Core;
use crate::runtime::Runtime;
use dwcp_consensus::StateMachine;
use dwcp_env::{Event, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{AsyncRuntime, ServerState};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

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
