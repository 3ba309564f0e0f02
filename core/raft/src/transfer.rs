//! Checkpoints on their way to a peer, piece by piece, and from one.
//!
//! **Promise.** A checkpoint is swapped in only when all its pieces were taken in order, each
//! checked by the state machine, and openraft agrees that it is newer than what is here. A
//! transfer that breaks leaves nothing behind but a half that the next one forgets.
//!
//! **Model.** The sender reads a piece by a job, sends it on the bulk lane, and has up to
//! [`WINDOW`] unanswered; a piece without an answer is sent again. The receiver takes pieces in
//! order, parks those that came early, answers repeated ones again, and takes one job at a time:
//! no job of an old transfer runs beside one of a new. A transfer with a vote lower than ours is
//! answered with ours, so that a deposed leader can't disturb its successor's.

use crate::config::bug;
use crate::machine::{Carried, Machine, snapshot};
use crate::message::{Answer, Message, PieceAnswer, PieceHead};
use crate::runtime::Runtime;
use crate::shared::{Call, Shared};
use crate::types::{Ballot, EngineRecord, Types, Vote, position};
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Piece, Stage, StateMachine};
use dwcp_env::bound::Bounded;
use dwcp_env::{JobResult, Lane, NodeId};
use openraft::async_runtime::watch::WatchReceiver as _;
use openraft::{AsyncRuntime, Raft};
use spin::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Pieces in flight.
pub(crate) const WINDOW: u64 = 4;
/// How often a piece is sent before the transfer is given up.
const ATTEMPTS: u32 = 4;
/// As often the last one: its answer comes when all is installed, which takes longer. It is sent again all the
/// same, because the receiver may have been down when it came; one that is installing answers the copy.
const ATTEMPTS_LAST: u32 = 10;
/// Pieces that wait for the receiver's jobs; more are dropped and come again.
const QUEUE: usize = 16;

struct Sent<SM: StateMachine> {
    head: PieceHead,
    data: Bytes,
    attempts: u32,
    call: Call<SM>,
}

fn dispatch<SM: StateMachine>(
    shared: &Arc<Shared<SM>>,
    to: NodeId,
    head: PieceHead,
    data: Bytes,
    attempts: u32,
) -> Result<Sent<SM>, String> {
    let request = |id| Message::Piece(id, head.clone());
    let call = shared.call(to, Lane::Bulk, request, std::iter::once(&data));
    let call = call.ok_or_else(|| String::from("too many requests to peers are open"))?;
    Ok(Sent { head, data, attempts, call })
}

/// What a job of the state machine gave.
fn given<T: 'static>(result: JobResult, what: &str) -> Result<T, String> {
    match result.map(|r| r.downcast::<Result<T, String>>()) {
        Some(Ok(given)) => *given,
        Some(Err(_)) => Err(format!("{what} gave a result of another type")),
        None => Err(format!("{what} was lost")),
    }
}

/// Sends a checkpoint; the receiver's vote once it is installed there.
pub(crate) async fn send<SM: StateMachine>(
    shared: &Arc<Shared<SM>>,
    to: NodeId,
    ballot: Ballot,
    checkpoint: Checkpointed,
) -> Result<Ballot, String> {
    let transfer = shared.new_transfer();
    let at = checkpoint.at;
    let mut flying: VecDeque<Sent<SM>> = VecDeque::new();
    let (mut cursor, mut number) = (Some(Bytes::new()), 0);
    let mut first = Some(checkpoint);
    loop {
        while flying.len() < WINDOW as usize
            && let Some(from) = cursor.take()
        {
            let work = shared.machine.lock().read_piece(at, from);
            let work = work.ok_or_else(|| String::from("a newer checkpoint took its place"))?;
            let piece: Piece = given(shared.job(work).await, "reading a piece")?;
            cursor = piece.next;
            let last = cursor.is_none();
            let head = PieceHead { ballot, transfer, number, last, checkpoint: first.take() };
            flying.push_back(dispatch(shared, to, head, piece.data, 1)?);
            number += 1;
        }
        let Some(mut sent) = flying.pop_front() else { return Err(String::from("an empty checkpoint")) };
        let within = shared.config.piece_timeout.to_std();
        let attempts = if sent.head.last { ATTEMPTS_LAST } else { ATTEMPTS };
        match Runtime::timeout(within, &mut sent.call).await {
            Ok(Ok(Answer::Piece(PieceAnswer::Taken))) if !sent.head.last => {}
            Ok(Ok(Answer::Piece(PieceAnswer::Installed(ballot)))) => return Ok(ballot),
            Ok(Ok(Answer::Piece(_))) => return Err(String::from("the receiver asks to begin anew")),
            Ok(Ok(_)) => {
                shared.fault(to, "an answer of another kind than the request");
                return Err(String::from("an answer of another kind"));
            }
            _ if sent.attempts < attempts => {
                shared.probe.reachable("raft.piece_sent_again");
                flying.push_front(dispatch(shared, to, sent.head, sent.data, sent.attempts + 1)?);
            }
            _ => return Err(format!("piece {} stays without an answer", sent.head.number)),
        }
    }
}

/// A piece that has come.
pub(crate) struct Arrived {
    pub(crate) from: NodeId,
    pub(crate) id: u64,
    pub(crate) head: PieceHead,
    pub(crate) data: Bytes,
}

struct Incoming {
    from: NodeId,
    transfer: u64,
    checkpoint: Checkpointed,
    /// The next piece to be taken.
    expected: u64,
    /// Came early, by number.
    early: BTreeMap<u64, Arrived>,
    /// Once installed: what was answered.
    installed: Option<Ballot>,
}

/// The receiving end of a group.
pub(crate) struct Receiving {
    queue: Mutex<Queue>,
}

struct Queue {
    pieces: Bounded<Arrived>,
    /// A task is taking pieces.
    busy: bool,
    incoming: Option<Incoming>,
}

impl Default for Receiving {
    fn default() -> Self {
        let queue = Queue { pieces: Bounded::new(QUEUE), busy: false, incoming: None };
        Self { queue: Mutex::new(queue) }
    }
}

type RaftOf<SM> = Raft<Types<<SM as StateMachine>::Response>, Machine<SM>>;

/// Takes a piece: at once, or behind those that wait.
pub(crate) fn arrived<SM: StateMachine>(
    receiving: &Arc<Receiving>,
    shared: &Arc<Shared<SM>>,
    raft: &RaftOf<SM>,
    piece: Arrived,
) {
    let mut queue = receiving.queue.lock();
    if queue.pieces.push(piece).is_err() {
        shared.probe.reachable("raft.piece_dropped");
        return;
    }
    if queue.busy {
        return;
    }
    queue.busy = true;
    drop(queue);
    let taker = Taker { receiving: receiving.clone(), shared: shared.clone(), raft: raft.clone() };
    drop(Runtime::spawn(taker.run()));
}

struct Taker<SM: StateMachine> {
    receiving: Arc<Receiving>,
    shared: Arc<Shared<SM>>,
    raft: RaftOf<SM>,
}

impl<SM: StateMachine> Taker<SM> {
    async fn run(self) {
        let mut incoming = self.receiving.queue.lock().incoming.take();
        loop {
            let next = {
                let mut queue = self.receiving.queue.lock();
                match queue.pieces.pop() {
                    Some(next) => next,
                    None => {
                        queue.incoming = incoming;
                        queue.busy = false;
                        return;
                    }
                }
            };
            incoming = self.take(incoming, next).await;
        }
    }

    fn reply(&self, to: NodeId, id: u64, answer: PieceAnswer) {
        self.shared.answer(to, id, Answer::Piece(answer));
    }

    /// Whether the state takes this transfer's next step; else the sender begins anew, later.
    fn goes_on(&self, from: NodeId, id: u64, stage: Stage) -> bool {
        let goes_on = self.shared.machine.lock().may_install(stage);
        if !goes_on {
            self.shared.probe.reachable("raft.transfer_gave_way");
            self.reply(from, id, PieceAnswer::Restart);
        }
        goes_on
    }

    async fn take(&self, incoming: Option<Incoming>, piece: Arrived) -> Option<Incoming> {
        let ours = crate::group::ballot(&self.raft);
        if piece.head.ballot.term < ours.term {
            self.reply(piece.from, piece.id, PieceAnswer::Installed(ours));
            return incoming;
        }
        let same = |i: &Incoming| i.from == piece.from && i.transfer == piece.head.transfer;
        let mut incoming = match (incoming, &piece.head.checkpoint) {
            (Some(i), _) if same(&i) => i,
            (old, Some(checkpoint)) if piece.head.number == 0 => {
                self.shared
                    .probe
                    .sometimes("raft.half_snapshot_forgotten", old.is_some_and(|o| o.installed.is_none()));
                if EngineRecord::decode(&checkpoint.engine_record).is_err() || checkpoint.at.index == 0 {
                    self.shared.fault(piece.from, "a checkpoint with an engine record that does not decode");
                    self.reply(piece.from, piece.id, PieceAnswer::Restart);
                    return None;
                }
                if !self.goes_on(piece.from, piece.id, Stage::Begin) {
                    return None;
                }
                self.shared.machine.lock().begin_install(checkpoint.clone());
                Incoming {
                    from: piece.from,
                    transfer: piece.head.transfer,
                    checkpoint: checkpoint.clone(),
                    expected: 0,
                    early: BTreeMap::new(),
                    installed: None,
                }
            }
            (other, _) => {
                self.reply(piece.from, piece.id, PieceAnswer::Restart);
                return other;
            }
        };
        if piece.head.number < incoming.expected {
            let answer = match incoming.installed {
                Some(ballot) if piece.head.last => PieceAnswer::Installed(ballot),
                _ => PieceAnswer::Taken,
            };
            self.reply(piece.from, piece.id, answer);
            return Some(incoming);
        }
        if piece.head.number >= incoming.expected + WINDOW {
            self.shared.fault(piece.from, "a piece far ahead of those answered");
            return Some(incoming);
        }
        incoming.early.insert(piece.head.number, piece);
        while let Some(piece) = incoming.early.remove(&incoming.expected) {
            if !self.goes_on(piece.from, piece.id, Stage::Piece) {
                return None;
            }
            let work = self.shared.machine.lock().install_piece(piece.data);
            if let Err(why) = given::<()>(self.shared.job(work).await, "taking a piece") {
                self.shared.fault(piece.from, format!("a piece of a checkpoint was refused: {why}"));
                self.reply(piece.from, piece.id, PieceAnswer::Restart);
                return None;
            }
            incoming.expected += 1;
            if !piece.head.last {
                self.reply(piece.from, piece.id, PieceAnswer::Taken);
                continue;
            }
            if !self.goes_on(piece.from, piece.id, Stage::Swap) {
                return None;
            }
            let ballot = self.finish(&incoming.checkpoint, piece.head.ballot).await;
            self.shared.machine.lock().install_over();
            let ballot = ballot?;
            incoming.installed = Some(ballot);
            self.reply(piece.from, piece.id, PieceAnswer::Installed(ballot));
        }
        Some(incoming)
    }

    /// All pieces are here: openraft decides whether they count.
    async fn finish(&self, checkpoint: &Checkpointed, from: Ballot) -> Option<Ballot> {
        let committed = position(self.raft.metrics().borrow_watched().local_committed.as_ref());
        if checkpoint.at > committed && checkpoint.at.index <= committed.index {
            self.shared.fault(from.node, "a checkpoint that contradicts what is decided here");
            return None;
        }
        if bug!(self.shared.config, snapshot_out_of_order) && checkpoint.at <= committed {
            Machine::install(&self.shared).await.ok()?;
            return Some(from);
        }
        if bug!(self.shared.config, snapshot_not_installed) {
            return Some(from);
        }
        let snapshot = snapshot(checkpoint, Carried::Received).ok()?;
        let response = self.raft.install_full_snapshot(Vote::from(from), snapshot).await.ok()?;
        Some(Ballot::from(&response.vote))
    }
}
