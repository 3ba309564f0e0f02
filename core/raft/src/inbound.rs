//! What peers ask of a group. Nothing they send is believed before it is checked, and nothing
//! they send can make openraft panic: what it would assert is asked here first.

use crate::config::bug;
use crate::group::{Core, ballot};
use crate::message::{self, Answer, AppendAnswer, AppendHead, Message, PieceHead, TransferHead, VoteHead};
use crate::runtime::{Moment, Runtime};
use crate::transfer::{self, Arrived};
use crate::types::{Ballot, Entry, LogId, log_id, payload, position};
use bytes::Bytes;
use dwcp_consensus::{Position, StateMachine};
use dwcp_env::{Lane, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use openraft::{AsyncRuntime, Instant as _, entry::RaftEntry};
use std::sync::Arc;

/// Requests of peers being answered at once in one group; more are dropped, and come again.
const INBOUND_MAX: usize = 1_024;

/// One of the requests being answered.
struct Slot<SM: StateMachine>(Arc<Core<SM>>);

impl<SM: StateMachine> Slot<SM> {
    fn take(core: &Arc<Core<SM>>) -> Option<Self> {
        let mut inbound = core.inbound.lock();
        if *inbound >= INBOUND_MAX {
            core.shared.probe.reachable("raft.request_dropped");
            return None;
        }
        *inbound += 1;
        drop(inbound);
        Some(Self(core.clone()))
    }
}

impl<SM: StateMachine> Drop for Slot<SM> {
    fn drop(&mut self) {
        *self.0.inbound.lock() -= 1;
    }
}

pub(crate) fn message<SM: StateMachine>(core: &Arc<Core<SM>>, from: NodeId, lane: Lane, body: &Bytes) {
    let (message, tail) = match message::decode(body) {
        Ok(decoded) => decoded,
        Err(why) => return core.shared.fault(from, why),
    };
    // An empty append may come on either lane; nothing else has a choice.
    let proper = message.lane() == lane || (matches!(message, Message::Append(..)) && lane == Lane::Data);
    if !proper {
        return core
            .shared
            .fault(from, format_args!("a message on the lane {lane:?}, where it does not belong"));
    }
    match message {
        Message::Answer(id, answer) => core.shared.answered(from, id, answer),
        Message::Append(id, head) => append(core, from, id, head, &tail),
        Message::Vote(id, head) => vote(core, from, id, head, false),
        Message::PreVote(id, head) => vote(core, from, id, head, true),
        Message::Transfer(id, head) => transfer_leader(core, from, id, head),
        Message::Piece(id, head) => piece(core, from, id, head, tail),
    }
}

fn vote<SM: StateMachine>(core: &Arc<Core<SM>>, from: NodeId, id: u64, head: VoteHead, pre: bool) {
    if head.ballot.committed || head.ballot.node != from || head.last.term > head.ballot.term {
        return core.shared.fault(from, "a request for a vote that no candidate makes");
    }
    if core.suspect.lock().is_some() && !bug!(core.shared.config, suspect_votes) {
        // Not even "no": another suspect that asks around must not count this answer.
        core.shared.probe.reachable("raft.suspect_does_not_vote");
        return;
    }
    let (ours, lease) = (ballot(&core.raft), core.shared.config.election_max);
    if !head.transfer && core.gone.lock().sticks(ours, lease, Moment::now().0) {
        core.shared.probe.reachable("raft.vote_refused_for_a_living_leader");
        let last = core.log.last();
        return core.shared.answer(from, id, Answer::Vote { ballot: ours, granted: false, last });
    }
    let Some(slot) = Slot::take(core) else { return };
    let mut last = head.last;
    if bug!(core.shared.config, vote_ignores_log) {
        last = Position { term: head.ballot.term, index: u64::from(u32::MAX) };
    }
    let request = VoteRequest {
        vote: head.ballot.into(),
        last_log_id: log_id(last),
        leadership_transfer: head.transfer,
    };
    drop(Runtime::spawn(async move {
        let core = &slot.0;
        let response = if pre { core.raft.pre_vote(request).await } else { core.raft.vote(request).await };
        // A stopped engine does not answer.
        let Ok(response) = response else { return };
        let ballot = Ballot::from(&response.vote);
        let last = position(response.last_log_id.as_ref());
        core.shared.answer(from, id, Answer::Vote { ballot, granted: response.vote_granted, last });
    }));
}

/// Whether this node forgot too much to take anything from that leader yet.
fn refused_by_suspect<SM: StateMachine>(core: &Core<SM>, leader: Ballot) -> bool {
    let suspect = *core.suspect.lock();
    let refused = suspect.is_some_and(|s| s.floor.is_none_or(|floor| leader.term < floor))
        && !bug!(core.shared.config, suspect_votes);
    core.shared.probe.sometimes("raft.suspect_takes_nothing", refused);
    refused
}

/// The entries of an append; the reason if they can't be a leader's.
fn entries(head: &AppendHead, tail: &Bytes) -> Result<Vec<Entry>, &'static str> {
    let mut previous = head.previous;
    let mut start = 0;
    let mut made = Vec::with_capacity(head.entries.len());
    for e in &head.entries {
        if e.term < previous.term || e.term > head.ballot.term {
            return Err("an append whose terms do not rise");
        }
        previous = Position { term: e.term, index: previous.index + 1 };
        let end = start + e.length as usize;
        let id = log_id(previous).ok_or("an entry before the first")?;
        made.push(Entry::new(id, payload(tail.slice(start..end))?));
        start = end;
    }
    Ok(made)
}

fn append<SM: StateMachine>(core: &Arc<Core<SM>>, from: NodeId, id: u64, head: AppendHead, tail: &Bytes) {
    let leads = head.ballot.committed && head.ballot.node == from && head.previous.term <= head.ballot.term;
    let entries = if leads { entries(&head, tail) } else { Err("an append from a node that does not lead") };
    let entries = match entries {
        Ok(entries) => entries,
        Err(why) => return core.shared.fault(from, why),
    };
    if refused_by_suspect(core, head.ballot) {
        return;
    }
    let committed = core.metrics.borrow_watched().local_committed;
    if core.log.contradicts(head.previous, &entries, committed) {
        return core.shared.fault(from, "an append that contradicts what is decided here");
    }
    core.gone.lock().hears(head.ballot, Moment::now().0);
    let Some(slot) = Slot::take(core) else { return };
    let request = AppendEntriesRequest {
        vote: head.ballot.into(),
        prev_log_id: log_id(head.previous),
        leader_commit: log_id(head.committed),
        entries,
    };
    drop(Runtime::spawn(async move {
        let core = &slot.0;
        let Ok(response) = core.raft.append_entries(request).await else { return };
        let answer = match response {
            AppendEntriesResponse::Success => AppendAnswer::Durable,
            AppendEntriesResponse::PartialSuccess(to) => AppendAnswer::DurableTo(position(to.as_ref())),
            AppendEntriesResponse::Conflict if bug!(core.shared.config, conflict_ignored) => {
                AppendAnswer::Durable
            }
            AppendEntriesResponse::Conflict => AppendAnswer::Conflict,
            AppendEntriesResponse::HigherVote(vote) => AppendAnswer::Higher(Ballot::from(&vote)),
        };
        core.shared.answer(from, id, Answer::Append(answer));
    }));
}

fn transfer_leader<SM: StateMachine>(core: &Arc<Core<SM>>, from: NodeId, id: u64, head: TransferHead) {
    if !head.ballot.committed || head.ballot.node != from || head.last.term > head.ballot.term {
        return core.shared.fault(from, "leadership handed over by a node that does not lead");
    }
    if core.suspect.lock().is_some() {
        return core.shared.answer(from, id, Answer::Transfer(false));
    }
    let Some(slot) = Slot::take(core) else { return };
    let last: Option<LogId> = log_id(head.last);
    let request = TransferLeaderRequest::new(head.ballot.into(), head.to.0, last);
    drop(Runtime::spawn(async move {
        let core = &slot.0;
        let Ok(accepted) = core.raft.handle_transfer_leader(request).await else { return };
        core.shared.answer(from, id, Answer::Transfer(accepted.is_ok()));
    }));
}

fn piece<SM: StateMachine>(core: &Arc<Core<SM>>, from: NodeId, id: u64, head: PieceHead, data: Bytes) {
    let newer = head.checkpoint.as_ref().is_some_and(|c| c.at.term > head.ballot.term);
    if !head.ballot.committed || head.ballot.node != from || newer {
        return core.shared.fault(from, "a checkpoint from a node that does not lead");
    }
    if refused_by_suspect(core, head.ballot) {
        return;
    }
    core.gone.lock().hears(head.ballot, Moment::now().0);
    transfer::arrived(&core.receiving, &core.shared, &core.raft, Arrived { from, id, head, data });
}
