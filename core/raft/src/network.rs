//! openraft's network: requests out with a deadline, answers back in order.
//!
//! **Invariants.**
//! 1. An answer counts for the one request whose id it repeats, from the node that was asked.
//! 2. Answers to appends reach openraft in the order of their requests.
//! 3. At most [`GroupConfig::pipeline`](crate::GroupConfig::pipeline) appends are in flight to a peer.
//!
//! **Pacing.** With appends in flight, the next one waits until a share of the measured round
//! trip has passed: a window of 5 over 70 ms sends each 14 ms. Writes batch meanwhile. Sending
//! at once costs a message per write and peer; sending one at a time costs a round trip of
//! waiting. An idle link sends at once.
//!
//! **Lingering.** An append without entries that only tells how far the log is committed waits a
//! 64th of a heartbeat for entries to ride on: nobody waits for it, and under load it never goes
//! alone.

use crate::config::bug;
use crate::machine::Carried;
use crate::message::{Answer, AppendAnswer, AppendHead, EntryHead, Message, TransferHead, VoteHead};
use crate::runtime::{Moment, Runtime};
use crate::shared::{Call, Shared};
use crate::transfer;
use crate::types::{Ballot, LogId, Snapshot, Types, Vote, log_id, payload_bytes, position};
use dwcp_consensus::{Member, StateMachine};
use dwcp_env::exec::Sleep;
use dwcp_env::{Duration, Instant, Lane, NodeId};
use futures_core::Stream;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AsyncRuntime, Instant as _, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

type C<SM> = Types<<SM as StateMachine>::Response>;

/// Makes the ways to peers.
pub(crate) struct Network<SM: StateMachine>(pub(crate) Arc<Shared<SM>>);

impl<SM: StateMachine> Network<SM> {
    fn peer(&self, to: u64, heartbeat: bool) -> Peer<SM> {
        Peer { shared: self.0.clone(), to: NodeId(to), heartbeat, round_trip: Duration::ZERO, missed: None }
    }
}

impl<SM: StateMachine> RaftNetworkFactory<C<SM>> for Network<SM> {
    type Network = Peer<SM>;
    async fn new_client(&mut self, target: u64, _node: &Member) -> Peer<SM> {
        self.peer(target, false)
    }
    async fn new_heartbeat_client(&mut self, target: u64, _node: &Member) -> Peer<SM> {
        self.peer(target, true)
    }
}

/// The way to one peer, for one use.
pub(crate) struct Peer<SM: StateMachine> {
    shared: Arc<Shared<SM>>,
    to: NodeId,
    /// Carries heartbeats only: they go on the control lane.
    heartbeat: bool,
    /// Smoothed; zero until measured.
    round_trip: Duration,
    /// The last append that was not answered in time: should its answer still come, the link is slow, not dead.
    missed: Option<InFlight<SM>>,
}

impl<SM: StateMachine> Peer<SM> {
    fn late(&self, action: RPCTypes, timeout: std::time::Duration) -> Timeout<C<SM>> {
        self.shared.probe.reachable("raft.rpc_timeout");
        Timeout { action, id: self.shared.config.node.0, target: self.to.0, timeout }
    }
    fn crowded() -> RPCError<C<SM>> {
        RPCError::Unreachable(Unreachable::from_string("too many requests to peers are open"))
    }
    fn wrong(&self) -> RPCError<C<SM>> {
        self.shared.fault(self.to, "an answer of another kind than the request");
        RPCError::Network(NetworkError::from_string("an answer of another kind"))
    }
    async fn ask(
        &self,
        action: RPCTypes,
        within: std::time::Duration,
        request: impl FnOnce(u64) -> Message,
    ) -> Result<Answer, RPCError<C<SM>>> {
        let none = std::iter::empty();
        let call = self.shared.call(self.to, Lane::Control, request, none).ok_or_else(Self::crowded)?;
        match Runtime::timeout(within, call).await {
            Ok(Ok(answer)) => Ok(answer),
            _ => Err(RPCError::Timeout(self.late(action, within))),
        }
    }
    async fn ask_vote(
        &self,
        rpc: VoteRequest<C<SM>>,
        option: RPCOption,
        kind: fn(u64, VoteHead) -> Message,
    ) -> Result<VoteResponse<C<SM>>, RPCError<C<SM>>> {
        let head = VoteHead {
            ballot: Ballot::from(&rpc.vote),
            last: position(rpc.last_log_id.as_ref()),
            transfer: rpc.leadership_transfer,
        };
        match self.ask(RPCTypes::Vote, option.hard_ttl(), |id| kind(id, head)).await? {
            Answer::Vote { ballot, granted, last } => {
                Ok(VoteResponse { vote: ballot.into(), vote_granted: granted, last_log_id: log_id(last) })
            }
            _ => Err(self.wrong()),
        }
    }
    /// Sends one append. It names no indices: its entries are those that follow `previous`, or it is not sent.
    fn append(&self, rpc: &AppendEntriesRequest<C<SM>>) -> Result<InFlight<SM>, RPCError<C<SM>>> {
        let mut follows = rpc.prev_log_id.map_or(0, |id| id.index + 1)..;
        if !rpc.entries.iter().all(|e| follows.next() == Some(e.log_id.index)) {
            self.shared.probe.reachable("raft.append_with_a_gap");
            return Err(RPCError::Unreachable(Unreachable::from_string(
                "entries that do not follow what is before them",
            )));
        }
        let payloads: Vec<_> = rpc.entries.iter().map(|e| payload_bytes(&e.payload)).collect();
        let heads = rpc.entries.iter().zip(&payloads).map(|(e, p)| EntryHead {
            term: e.log_id.leader_id.term,
            length: u32::try_from(p.len()).expect("a payload is far below the frame bound"),
        });
        let head = AppendHead {
            ballot: Ballot::from(&rpc.vote),
            previous: position(rpc.prev_log_id.as_ref()),
            committed: position(rpc.leader_commit.as_ref()),
            entries: heads.collect(),
        };
        // An empty append behind entries must not overtake them.
        let lane = if self.heartbeat { Lane::Control } else { Lane::Data };
        let request = |id| Message::Append(id, head);
        let call = self.shared.call(self.to, lane, request, payloads.iter()).ok_or_else(Self::crowded)?;
        let last = rpc.entries.last().map(|e| e.log_id).or(rpc.prev_log_id);
        let term = rpc.vote.leader_id.term;
        Ok(InFlight { call, sent: Moment::now().0, term, previous: rpc.prev_log_id, last })
    }
    /// What an answer means for an append; and whether the stream may go on behind it.
    fn outcome(&self, of: &InFlight<SM>, answer: Answer) -> (AppendResult<SM>, bool) {
        let Answer::Append(answer) = answer else { return (Err(self.wrong()), false) };
        let response = match answer {
            AppendAnswer::Durable => AppendEntriesResponse::Success,
            AppendAnswer::DurableTo(at) if at > position(of.last.as_ref()) => {
                return (Err(self.wrong()), false);
            }
            AppendAnswer::Conflict if of.previous.is_none() => return (Err(self.wrong()), false),
            AppendAnswer::Higher(ballot) if ballot.term < of.term => return (Err(self.wrong()), false),
            AppendAnswer::DurableTo(at) => AppendEntriesResponse::PartialSuccess(log_id(at)),
            AppendAnswer::Conflict => AppendEntriesResponse::Conflict,
            AppendAnswer::Higher(ballot) => AppendEntriesResponse::HigherVote(ballot.into()),
        };
        let result = response.into_stream_result(of.previous, of.last);
        let whole = matches!(&result, Ok(to) if *to == of.last);
        (Ok(result), whole)
    }
}

type AppendResult<SM> = Result<StreamAppendResult<C<SM>>, RPCError<C<SM>>>;

struct InFlight<SM: StateMachine> {
    call: Call<SM>,
    sent: Instant,
    term: u64,
    previous: Option<LogId>,
    last: Option<LogId>,
}

/// Appends to one peer, in flight together.
struct Pipeline<'s, SM: StateMachine, S> {
    peer: &'s mut Peer<SM>,
    /// Gone once it has ended.
    requests: Option<S>,
    flying: VecDeque<InFlight<SM>>,
    /// The first in flight is late after this; another timer for each.
    late: Option<Sleep>,
    /// No append is sent before this while others fly.
    pace: Option<Sleep>,
    /// The last entry sent on this stream.
    sent: Option<LogId>,
    /// Tells only how far the log is committed, and until when it may wait for entries.
    lingering: Option<(AppendEntriesRequest<C<SM>>, Sleep)>,
    ended: bool,
}

impl<SM: StateMachine, S> Pipeline<'_, SM, S>
where
    S: Stream<Item = AppendEntriesRequest<C<SM>>> + Unpin,
{
    fn timeout(&self) -> Duration {
        let config = &self.peer.shared.config;
        if self.peer.heartbeat {
            return config.heartbeat;
        }
        // On a link that has become slower than the timeout every answer would come too late, for ever, while
        // heartbeats, one way, keep the leader in office. A peer that is gone is asked again as soon as ever.
        config.append_timeout.max(self.peer.round_trip * 2).min(config.append_timeout * 8)
    }
    /// Learns how slow the link is from an answer that came too late.
    fn hear_missed(&mut self, cx: &mut Context<'_>) {
        let Some(missed) = &mut self.peer.missed else { return };
        let Poll::Ready(answer) = Pin::new(&mut missed.call).poll(cx) else { return };
        if answer.is_ok() {
            let took = Moment::now().0.since(missed.sent);
            self.peer.round_trip = self.peer.round_trip.max(took);
            self.peer.shared.probe.reachable("raft.answer_came_late");
        }
        self.peer.missed = None;
    }
    /// Sends while there is room, time and something to send.
    fn send(&mut self, cx: &mut Context<'_>) -> Result<(), RPCError<C<SM>>> {
        let window = self.peer.shared.config.pipeline.max(1);
        while self.flying.len() < window {
            if !self.flying.is_empty()
                && let Some(pace) = &mut self.pace
                && Pin::new(pace).poll(cx).is_pending()
            {
                return Ok(());
            }
            self.pace = None;
            let Some(request) = self.next(cx) else { return Ok(()) };
            let sent = self.peer.append(&request)?;
            let share = self.peer.round_trip / window as u64;
            if share > Duration::ZERO {
                self.pace = Some(Runtime::sleep_until(Moment(sent.sent + share)));
            }
            self.sent = sent.last;
            self.flying.push_back(sent);
            self.peer.shared.probe.sometimes("raft.pipelined", self.flying.len() > 1);
        }
        Ok(())
    }
    /// The next request to send now.
    fn next(&mut self, cx: &mut Context<'_>) -> Option<AppendEntriesRequest<C<SM>>> {
        loop {
            let polled = match &mut self.requests {
                Some(requests) => Pin::new(requests).poll_next(cx),
                None => Poll::Ready(None),
            };
            match polled {
                Poll::Ready(Some(request)) => {
                    let news = !request.entries.is_empty() || request.prev_log_id != self.sent;
                    if self.peer.heartbeat || news || self.sent.is_none() {
                        // What lingered is older news of the same; its answer would say less.
                        self.lingering = None;
                        return Some(request);
                    }
                    let until = Moment::now().0 + self.peer.shared.config.heartbeat / 64;
                    let sleep = match self.lingering.take() {
                        Some((_, sleep)) => sleep,
                        None => Runtime::sleep_until(Moment(until)),
                    };
                    self.lingering = Some((request, sleep));
                }
                Poll::Ready(None) => {
                    self.requests = None;
                    return self.lingering.take().map(|(request, _)| request);
                }
                Poll::Pending => {
                    let (_, sleep) = self.lingering.as_mut()?;
                    return match Pin::new(sleep).poll(cx) {
                        Poll::Ready(()) => self.lingering.take().map(|(request, _)| request),
                        Poll::Pending => None,
                    };
                }
            }
        }
    }
    /// The answer to the first append in flight.
    fn receive(&mut self, cx: &mut Context<'_>) -> Poll<Option<AppendResult<SM>>> {
        self.hear_missed(cx);
        let Some(first) = self.flying.front_mut() else {
            return if self.requests.is_none() { Poll::Ready(None) } else { Poll::Pending };
        };
        if let Poll::Ready(answer) = Pin::new(&mut first.call).poll(cx) {
            self.late = None;
            let Some(first) = self.flying.pop_front() else { return Poll::Ready(None) };
            let Ok(answer) = answer else {
                return Poll::Ready(Some(Err(Peer::<SM>::crowded())));
            };
            let took = Moment::now().0.since(first.sent);
            let smooth = self.peer.round_trip;
            self.peer.round_trip = if smooth == Duration::ZERO { took } else { (smooth * 7 + took) / 8 };
            let (result, whole) = self.peer.outcome(&first, answer);
            self.ended = !whole;
            return Poll::Ready(Some(result));
        }
        let deadline = first.sent + self.timeout();
        let late = self.late.get_or_insert_with(|| Runtime::sleep_until(Moment(deadline)));
        if Pin::new(late).poll(cx).is_pending() {
            return Poll::Pending;
        }
        if bug!(self.peer.shared.config, minority_commit)
            && !self.peer.heartbeat
            && let Some(first) = self.flying.pop_front()
        {
            self.late = None;
            return Poll::Ready(Some(self.peer.outcome(&first, Answer::Append(AppendAnswer::Durable)).0));
        }
        let error = self.peer.late(RPCTypes::AppendEntries, self.timeout().to_std());
        self.peer.missed = self.flying.pop_front();
        Poll::Ready(Some(Err(RPCError::Timeout(error))))
    }
}

impl<SM: StateMachine, S> Stream for Pipeline<'_, SM, S>
where
    S: Stream<Item = AppendEntriesRequest<C<SM>>> + Unpin,
{
    type Item = AppendResult<SM>;
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        if let Err(error) = this.send(cx) {
            this.ended = true;
            return Poll::Ready(Some(Err(error)));
        }
        let next = this.receive(cx);
        if matches!(&next, Poll::Ready(Some(Err(_)) | None)) {
            this.ended = true;
        }
        next
    }
}

impl<SM: StateMachine> RaftNetworkV2<C<SM>> for Peer<SM> {
    type SnapshotData = Carried;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<C<SM>>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<C<SM>>, RPCError<C<SM>>> {
        let mut flying = self.append(&rpc)?;
        match Runtime::timeout(option.hard_ttl(), &mut flying.call).await {
            Ok(Ok(answer)) => self.outcome(&flying, answer).0.map(AppendEntriesResponse::from),
            _ => Err(RPCError::Timeout(self.late(RPCTypes::AppendEntries, option.hard_ttl()))),
        }
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, AppendResult<SM>>, RPCError<C<SM>>>>
    where
        S: Stream<Item = AppendEntriesRequest<C<SM>>> + OptionalSend + Unpin + 'static,
    {
        let pipeline = Pipeline {
            peer: self,
            requests: Some(input),
            flying: VecDeque::new(),
            late: None,
            pace: None,
            sent: None,
            lingering: None,
            ended: false,
        };
        let stream: BoxStream<'s, AppendResult<SM>> = Box::pin(pipeline);
        Box::pin(std::future::ready(Ok(stream)))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<C<SM>>,
        option: RPCOption,
    ) -> Result<VoteResponse<C<SM>>, RPCError<C<SM>>> {
        self.ask_vote(rpc, option, Message::Vote).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<C<SM>>,
        option: RPCOption,
    ) -> Result<VoteResponse<C<SM>>, RPCError<C<SM>>> {
        let answer = self.ask_vote(rpc, option, Message::PreVote).await?;
        self.shared.probe.sometimes("raft.prevote_rejected", !answer.vote_granted);
        Ok(answer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<Carried>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<C<SM>>, StreamingError<C<SM>>> {
        let Carried::Stored(checkpoint) = snapshot.snapshot else {
            return Err(NetworkError::from_string("a snapshot that is not on the disk").into());
        };
        let send = transfer::send(&self.shared, self.to, Ballot::from(&vote), checkpoint);
        match Runtime::select2(cancel, send).await {
            openraft::async_runtime::Select2::First(closed) => Err(StreamingError::Closed(closed)),
            openraft::async_runtime::Select2::Second(Ok(ballot)) => Ok(SnapshotResponse::new(ballot.into())),
            openraft::async_runtime::Select2::Second(Err(why)) => {
                self.shared.probe.reachable("raft.snapshot_transfer_broken");
                // "Unreachable" makes openraft wait before it begins anew.
                Err(StreamingError::Unreachable(Unreachable::from_string(why)))
            }
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<C<SM>>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<C<SM>>, RPCError<C<SM>>> {
        let ballot = Ballot::from(request.from_leader());
        let head =
            TransferHead { ballot, to: NodeId(*request.to_node_id()), last: position(request.last_log_id()) };
        let within = option.hard_ttl();
        match self.ask(RPCTypes::TransferLeader, within, |id| Message::Transfer(id, head)).await? {
            Answer::Transfer(true) => Ok(Ok(())),
            Answer::Transfer(false) => Ok(Err(TransferLeaderError::LogNotFlushed {
                expected: request.last_log_id().copied(),
                actual: None,
            })),
            _ => Err(self.wrong()),
        }
    }
}
