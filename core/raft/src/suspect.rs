//! A node whose disk lost part of a group's log: what it may not do, and how it gets well.
//!
//! Raft rests on what a node remembers: the vote of its term and the entries it acknowledged. A
//! log that lost records without a trace (or has a hole) may have lost either. Such a node could
//! vote twice in a term, elect a leader that lacks what it once acknowledged, or acknowledge
//! entries of a term it had promised to refuse. So it is *suspect*, and stays so through crashes (the log
//! is told, [`dwcp_wal::Wal::suspect`], before it is cut off behind a hole):
//!
//! 1. It grants no vote and stands for no election.
//! 2. It first asks the other voters for their terms and last entries, and takes nothing from a
//!    leader before `n - q + 1` of them have answered (`n` voters, quorums of `q`). Any quorum that
//!    this node was part of has `q - 1` others, so at least one of those that answered was in it:
//!    it knows the term of every vote, and holds every decided entry, that this node forgot.
//! 3. From then on it takes entries of terms not below the highest told (`floor`).
//! 4. It is well again once it has applied up to the highest last entry told (`mark`), by term
//!    and then index: whatever was decided with its help it holds again.
//!
//! The rule is that of protocol-aware recovery (Alagappan et al., FAST 2018) for a node that can't
//! tell what it lost. A node that knows no voters has voted in no group it could name: it
//! waits for a leader's entry of a later term instead.

use crate::group::Core;
use crate::message::{Answer, Message, VoteHead};
use crate::runtime::Runtime;
use crate::types::{Ballot, position};
use dwcp_consensus::{Position, StateMachine};
use dwcp_env::{Lane, NodeId};
use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

/// What is still to be restored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Suspect {
    /// Nothing is taken from a leader of a lower term; `None` until enough voters have answered.
    pub(crate) floor: Option<u64>,
    /// Applied up to here, it is well.
    mark: Position,
}

/// Starts getting well.
pub(crate) fn spawn<SM: StateMachine>(core: &Arc<Core<SM>>) {
    let weak = Arc::downgrade(core);
    drop(Runtime::spawn(async move {
        if ask_around(&weak).await.is_some() {
            heal(&weak).await;
        }
    }));
}

/// The sets of voters, without this node, and how many of each must answer. Of openraft's state, which is asked for once it has read
/// the log: what it shows of itself knows no voters before its first turn, and a node without voters would be well at once.
async fn electorate<SM: StateMachine>(core: &Core<SM>) -> Option<Vec<(BTreeSet<u64>, usize)>> {
    let me = core.shared.config.node;
    let known = core
        .raft
        .with_raft_state(|state| state.membership_state.effective().membership().get_joint_config().clone());
    let mut sets: Vec<BTreeSet<u64>> = known.await.ok()?;
    if sets.is_empty() {
        sets.extend(core.shared.config.initial.as_ref().map(|m| m.keys().map(|id| id.0).collect()));
    }
    let count = |set: BTreeSet<u64>| {
        let needed = set.len() - (set.len() / 2 + 1) + 1;
        (set.into_iter().filter(|id| *id != me.0).collect::<BTreeSet<_>>(), needed)
    };
    Some(sets.into_iter().map(count).collect())
}

/// Asks the other voters until enough have answered. `None` if the group is gone.
async fn ask_around<SM: StateMachine>(weak: &Weak<Core<SM>>) -> Option<()> {
    let mut told: BTreeMap<u64, (u64, Position)> = BTreeMap::new();
    loop {
        let core = weak.upgrade()?;
        let sets = electorate(&core).await?;
        let enough = |(set, needed): &(BTreeSet<u64>, usize)| {
            set.iter().filter(|id| told.contains_key(id)).count() >= (*needed).min(set.len())
        };
        if sets.iter().all(enough) {
            let own = core.log.term();
            let mut suspect = core.suspect.lock();
            let state = suspect.as_mut()?;
            state.floor = Some(told.values().map(|t| t.0).max().unwrap_or(own).max(own));
            let nobody = Position { term: own + 1, index: 0 };
            state.mark = told.values().map(|t| t.1).max().unwrap_or(nobody);
            return Some(());
        }
        let missing: BTreeSet<u64> =
            sets.iter().flat_map(|(set, _)| set).filter(|id| !told.contains_key(id)).copied().collect();
        let ballot = Ballot { committed: false, ..crate::group::ballot(&core.raft) };
        let ballot = Ballot { node: core.shared.config.node, ..ballot };
        let head = VoteHead { ballot, last: Position::default(), transfer: false };
        // A question about a vote that can't be granted: it changes nothing at the voter.
        let ask = |id: &u64| {
            let request = |call| Message::PreVote(call, head.clone());
            Some((*id, core.shared.call(NodeId(*id), Lane::Control, request, [].iter())?))
        };
        let calls: Vec<_> = missing.iter().filter_map(ask).collect();
        let patience = core.shared.config.election_min.to_std();
        drop(core);
        Runtime::sleep(patience).await;
        for (id, call) in calls {
            // Those that have answered have done so by now.
            if let Some(Ok(Answer::Vote { ballot, last, .. })) = crate::group::at_once(call) {
                told.insert(id, (ballot.term, last));
            }
        }
    }
}

/// Waits until what was lost is held again, then lets the node vote.
async fn heal<SM: StateMachine>(weak: &Weak<Core<SM>>) {
    let Some(core) = weak.upgrade() else { return };
    let mut data = core.raft.data_metrics();
    drop(core);
    loop {
        let applied = position(data.borrow_and_update().last_applied.as_ref());
        let Some(core) = weak.upgrade() else { return };
        let Some(suspect) = *core.suspect.lock() else { return };
        if applied.index > 0 && applied >= suspect.mark {
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
