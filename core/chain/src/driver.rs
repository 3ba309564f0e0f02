//! One protocol of one epoch on this node: its records on the log, its messages on the wire, its decisions in the state.
//!
//! **Promise.** What [`dwcp_consensus::step`] asks of a driver: records go to the log in the order of their tickets; a
//! message leaves when what it waits for is on disk; decisions are applied in order, once, and none behind the epoch's
//! seal; every question is answered once.
//!
//! **Model.** Inputs are taken as they come; proposals of one turn become one batch. The state's index counts commands,
//! the seal and what stands below for a checkpoint, not blanks: so it is equal on all members, whatever indices the protocol keeps to itself. The
//! protocol's mark of what is applied is written with the state, by [`StateMachine::record`], just before a checkpoint
//! is taken; what a restart finds is a state with the mark of exactly what it holds.
//!
//! **Where peers may lie** the protocol names the places of checkpoints, and what it decides behind such a place waits until the
//! state there is being written: the digest that is vouched for is of exactly that place. What waits is bounded by the
//! protocol's window. Each such checkpoint has an index of its own, and so a name. Proved checkpoints are held for peers until a later one is proved; the log is compacted then. The first one
//! is taken as the epoch finds the state, before anything is applied: nobody signs it, for it is the end of the epoch before, and
//! who is still in that one believes those it knows from there. A command that this build does not know is void there, lest one
//! liar stops all.
//!
//! **While a peer's checkpoint is swapped in** the protocol hears nothing: what it would decide meanwhile the new
//! state may already hold.

mod named;

use crate::bugs::bug;
use crate::journal::Journal;
use crate::message;
use crate::order::{Kept, Order};
use crate::record::{ChainRecord, Tail, term};
use crate::spec::Spec;
use bytes::Bytes;
use dwcp_consensus::step::{Input, Output, Outputs, Payload, Protocol, Standing, Ticket};
use dwcp_consensus::{Checkpointed, EngineError, EngineOutput, Position, StateMachine, Token, Work};
use dwcp_env::{Event, GroupId, Instant, JobResult, Lane, NodeId, Probe, wire};
use dwcp_wal::Lsn;
use named::Begun;
use spin::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Payloads, and bytes, of one step's proposals.
const PROPOSE_MAX: (usize, usize) = (4_096, 4 << 20);
/// Messages that wait while a checkpoint is swapped in; more are lost, as on a link.
const DEAF_MAX: usize = 4_096;
/// Ticks in one turn: a protocol that wants more at the same instant wants them for ever.
const TICKS_MAX: usize = 64;

/// Commands that can be looked at after they were applied.
const LATELY: usize = 256;

/// What a question was: its kind rides in the token that the protocol carries.
mod kind {
    pub(super) const COMMAND: u64 = 0;
    pub(super) const SEAL: u64 = 1;
    pub(super) const READ: u64 = 2;
    pub(super) const BITS: u32 = 2;
}

/// What all engines of a group on this node share.
#[derive(Debug)]
pub(crate) struct Seat<SM> {
    pub(crate) group: GroupId,
    pub(crate) me: NodeId,
    pub(crate) machine: Arc<Mutex<SM>>,
    pub(crate) tail: Tail,
    pub(crate) probe: Probe,
    /// Records, and bytes, behind which a checkpoint is taken.
    pub(crate) snapshot_after: (u64, u64),
    #[cfg(feature = "planted-bugs")]
    pub(crate) bugs: crate::ChainBugs,
}

impl<SM> Clone for Seat<SM> {
    fn clone(&self) -> Self {
        Self {
            group: self.group,
            me: self.me,
            machine: self.machine.clone(),
            tail: self.tail.clone(),
            probe: self.probe.clone(),
            snapshot_after: self.snapshot_after,
            #[cfg(feature = "planted-bugs")]
            bugs: self.bugs,
        }
    }
}

/// A protocol's driver, whichever protocol it is.
pub(crate) trait StepEngine<R> {
    /// Takes a command.
    fn propose(&mut self, token: Token, command: Bytes);
    /// Takes the record of the next epoch.
    fn seal(&mut self, token: Token, next: Bytes);
    /// Takes a read's barrier.
    fn barrier(&mut self, token: Token);
    /// Hands leadership over.
    fn transfer(&mut self, now: Instant, token: Token, to: NodeId);
    /// Asks for a checkpoint; answered by `Done`, if anybody asks.
    fn snapshot(&mut self, token: Option<Token>);
    /// A hint that a peer's process is gone.
    fn unreachable(&mut self, now: Instant, peer: NodeId);
    /// A message of the same epoch.
    fn message(&mut self, now: Instant, from: NodeId, body: &Bytes);
    /// The checkpoint's job has ended.
    fn checkpoint_done(&mut self, now: Instant, result: JobResult) -> Result<(), String>;
    /// Whether a peer's checkpoint of this epoch with this mark may replace the state. Good until the next input.
    fn admits(&self, mark: &Bytes) -> bool;
    /// Stops or begins to hear.
    fn deafen(&mut self, now: Instant, deaf: bool);
    /// The state was replaced by a peer's checkpoint of this epoch.
    fn installed(&mut self, now: Instant, mark: &Bytes);
    /// Runs until nothing is ready. Work returned is a checkpoint's.
    fn run(&mut self, now: Instant, out: &mut Vec<EngineOutput<R>>) -> (Option<Instant>, Option<Work>);
    /// How it sees the epoch.
    fn standing(&self) -> Standing;
    /// How often its hard paths were taken, by name.
    fn tally(&self, each: &mut dyn FnMut(&'static str, u64));
    /// What was applied at an index a short while ago: a command, or `None` in it for a seal.
    fn lately(&self, index: u64) -> Option<Option<Bytes>>;
    /// Peers that need a checkpoint, since the last call.
    fn take_behind(&mut self) -> Vec<NodeId>;
    /// The newest checkpoint that is proved, and the proof: a message of the protocol. While there is none: the state as the epoch
    /// found it, without a proof. Where peers are believed: none.
    fn proved_checkpoint(&self) -> Option<(Checkpointed, Bytes)>;
    /// Takes a peer's proof of a checkpoint.
    fn learn(&mut self, now: Instant, from: NodeId, proof: &Bytes);
}

/// The driver of one protocol.
pub(crate) struct Driver<P: Protocol, SM: StateMachine> {
    seat: Seat<SM>,
    spec: Spec,
    id: u64,
    protocol: P,
    journal: Journal,
    /// Appended and not yet on disk.
    tickets: VecDeque<(Ticket, Lsn)>,
    persisted: Ticket,
    /// Messages, by what they wait for.
    held: BTreeMap<Ticket, Vec<(NodeId, Bytes)>>,
    proposals: Vec<(Token, Payload)>,
    reads: Vec<Token>,
    steps: Outputs<P>,
    /// The last message of this step, and its bytes.
    last_sent: Option<(P::Message, Bytes)>,
    out: Vec<EngineOutput<SM::Response>>,
    applied: u64,
    /// Present while a checkpoint is swapped in: what waits.
    deaf: Option<VecDeque<Input<P::Message>>>,
    checkpointing: bool,
    /// The mark written with the checkpoint under way.
    taken: Bytes,
    /// What waits until the state may move on: a checkpoint at this very place has not begun yet.
    stalled: VecDeque<Output<P::Message, P::Record>>,
    /// The mark of the named checkpoint that is being written, and its work until it is handed on.
    naming: Option<Bytes>,
    named_work: Option<Work>,
    /// Named checkpoints that are durable and not proved yet.
    unproved: VecDeque<(Bytes, Checkpointed)>,
    /// The newest that is proved.
    proved: Option<(Bytes, Checkpointed)>,
    /// Where peers may lie: the state as the epoch found it.
    begun: Begun,
    compaction_due: bool,
    #[cfg(feature = "planted-bugs")]
    late: Option<(Bytes, u64)>,
    #[cfg(feature = "planted-bugs")]
    late_now: bool,
    wanted: bool,
    askers: Vec<Token>,
    behind: Vec<NodeId>,
    /// The protocol has given out the seal that ended its epoch: what it decides from then on is void. Before that it may be
    /// part of a peer's state that was swapped in.
    sealed: bool,
    /// The last commands applied, up to `applied`.
    lately: VecDeque<Option<Bytes>>,
    seen: (u64, Option<NodeId>),
}

impl<P: Protocol, SM: StateMachine> Driver<P, SM> {
    /// Goes on from what the journal held.
    pub(crate) fn new(seat: Seat<SM>, spec: Spec, protocol: P, journal: Journal) -> Self {
        let applied = seat.machine.lock().applied_at().map_or(0, |at| at.index);
        let untouched = seat.tail.with(|t| t.inner.is_empty() && t.base == applied);
        let begun = if P::LIARS && spec.epoch > 0 && untouched { Begun::Due } else { Begun::Past };
        Self {
            id: spec.id(),
            seat,
            spec,
            protocol,
            journal,
            tickets: VecDeque::new(),
            persisted: Ticket(0),
            held: BTreeMap::new(),
            proposals: Vec::new(),
            reads: Vec::new(),
            steps: Vec::new(),
            last_sent: None,
            out: Vec::new(),
            applied,
            deaf: None,
            checkpointing: false,
            taken: Bytes::new(),
            stalled: VecDeque::new(),
            naming: None,
            named_work: None,
            unproved: VecDeque::new(),
            proved: None,
            begun,
            compaction_due: false,
            #[cfg(feature = "planted-bugs")]
            late: None,
            #[cfg(feature = "planted-bugs")]
            late_now: false,
            wanted: false,
            askers: Vec::new(),
            behind: Vec::new(),
            sealed: false,
            lately: VecDeque::new(),
            seen: (0, None),
        }
    }

    fn is_current(&self) -> bool {
        self.seat.tail.is_in(self.spec.epoch)
    }

    fn step(&mut self, now: Instant, input: Input<P::Message>) {
        if let Some(waiting) = &mut self.deaf {
            // Only what a link may lose is lost.
            if waiting.len() < DEAF_MAX || !matches!(input, Input::Message { .. }) {
                waiting.push_back(input);
            }
            return;
        }
        let mut steps = std::mem::take(&mut self.steps);
        self.protocol.step(now, input, &mut steps);
        for output in steps.drain(..) {
            self.carry(output);
        }
        self.last_sent = None;
        self.steps = steps;
    }

    fn carry(&mut self, output: Output<P::Message, P::Record>) {
        match output {
            Output::Persist { ticket, record } => {
                let lsn = self.journal.append(&record);
                self.tickets.push_back((ticket, lsn));
            }
            Output::Send { to, message, after } => {
                let body = self.encoded(message);
                let waits = |t: &Ticket| *t > self.persisted && !bug!(self.seat.bugs, sent_before_durable);
                match after.filter(waits) {
                    Some(ticket) => self.held.entry(ticket).or_default().push((to, body)),
                    None => self.out.push(EngineOutput::Send { to, lane: Lane::Data, body }),
                }
            }
            Output::Refused { token, error } => self.refused(token, error),
            Output::Behind { peer } => self.behind.push(peer),
            Output::Blame { peer, fault } => {
                self.seat.probe.event(&Event::PeerFaulted { from: peer, why: fault.to_string() });
            }
            told if self.stalled.is_empty() && !matches!(self.begun, Begun::Due) => {
                let waits = self.tell(told);
                self.stalled.extend(waits);
            }
            told => self.stalled.push_back(told),
        }
    }

    /// Carries out what the state is told; gives it back if it has to wait.
    fn tell(&mut self, output: Output<P::Message, P::Record>) -> Option<Output<P::Message, P::Record>> {
        match output {
            Output::Decided { payload, token, .. } => self.decided(payload, token),
            Output::Readable { token } => {
                let passes = self.is_current() || bug!(self.seat.bugs, old_barrier_passes);
                let result = if passes { Ok(()) } else { Err(EngineError::NotLeader { leader: None }) };
                self.out.push(EngineOutput::Barrier { token: plain(token), result });
            }
            Output::Checkpoint { mark } => return self.name_checkpoint(mark),
            Output::Stable { mark } => self.note_proved(mark),
            _ => {}
        }
        None
    }

    /// Goes on with what has waited, as far as it may.
    fn tell_stalled(&mut self) {
        if matches!(self.begun, Begun::Due) && !self.keep_the_begin() {
            return;
        }
        while let Some(output) = self.stalled.pop_front() {
            if let Some(waits) = self.tell(output) {
                self.stalled.push_front(waits);
                return;
            }
        }
    }

    /// A message in bytes; what goes to several peers is encoded once.
    fn encoded(&mut self, message: P::Message) -> Bytes {
        if let Some((last, body)) = &self.last_sent
            && *last == message
        {
            return body.clone();
        }
        let body = message::protocol(self.spec.epoch, self.id, &message);
        self.last_sent = Some((message, body.clone()));
        body
    }

    fn refused(&mut self, token: Token, error: EngineError) {
        let asked = plain(token);
        // What an ended epoch refuses is to be asked of the next one.
        let error = match error {
            EngineError::Refused(_) if !self.is_current() => EngineError::NotLeader { leader: None },
            error => error,
        };
        self.out.push(match token.0 & 3 {
            kind::COMMAND => EngineOutput::Proposed { token: asked, result: Err(error) },
            kind::READ => EngineOutput::Barrier { token: asked, result: Err(error) },
            _ => EngineOutput::Done { token: asked, result: Err(error) },
        });
    }

    /// Takes a command of the chain's. What is left of it is the state's.
    fn ordered(&mut self, order: Option<Order>, token: Option<Token>) -> Option<Bytes> {
        let here = self.seat.tail.get();
        let (kept, spec) = (here.kept, &here.spec);
        match order {
            Some(Order::Guarded { turn, command }) if turn == kept.turn => return Some(command),
            Some(Order::Keep { turn, keeper })
                if turn == kept.turn && spec.members.voters.contains(&keeper) =>
            {
                let record = self.seat.tail.change(|t| {
                    t.kept = Kept { turn: turn + 1, keeper: Some(keeper) };
                    t.encode()
                });
                self.seat.probe.reachable("chain.keeper_moved");
                self.applied += 1;
                let at = Position { term: term(self.spec.epoch, 0), index: self.applied };
                self.remember(None);
                let mut machine = self.seat.machine.lock();
                machine.note(at, Some(record));
                let response = machine.blank_response();
                drop(machine);
                if let Some(token) = token {
                    let result = Ok((at, response));
                    self.out.push(EngineOutput::Proposed { token: plain(token), result });
                }
            }
            // Of a turn that is over, or no order at all: equal on all members.
            _ => {
                self.seat.probe.reachable("chain.order_out_of_turn");
                if let Some(token) = token {
                    self.refused(token, EngineError::NotLeader { leader: kept.keeper });
                }
            }
        }
        None
    }

    fn decided(&mut self, payload: Payload, token: Option<Token>) {
        if !self.is_current() && !bug!(self.seat.bugs, void_applied) {
            // Behind the seal: void, and so certainly not done.
            let ended = matches!(&payload, Payload::Seal(next) if self.successor(next).is_some());
            self.seat.probe.reachable("chain.void_entry");
            if let Some(token) = token {
                let void = EngineError::NotLeader { leader: None };
                self.refused(token, if self.sealed { void } else { EngineError::Unknown });
            }
            self.sealed |= ended;
            return;
        }
        let payload = match payload {
            Payload::Command(command) => match Order::parse(&command) {
                None => Payload::Command(command),
                Some(order) => match self.ordered(order, token) {
                    Some(command) => Payload::Command(command),
                    None => return,
                },
            },
            other => other,
        };
        match payload {
            Payload::Blank => {}
            Payload::Command(command) if P::LIARS && !self.seat.machine.lock().understands(&command) => {
                self.seat.probe.reachable("chain.unknown_command_void");
                if let Some(token) = token {
                    let why = "a command of a newer format: under pbft all members run one version";
                    self.refused(token, EngineError::Refused(why.into()));
                }
            }
            Payload::Command(command) => {
                self.applied += 1;
                if bug!(self.seat.bugs, void_applied) && !self.is_current() {
                    self.applied = self.seat.machine.lock().applied_at().map_or(0, |at| at.index) + 1;
                }
                let at = Position { term: term(self.spec.epoch, 0), index: self.applied };
                let response = self.seat.machine.lock().apply(at, &command);
                self.remember(Some(command));
                if let Some(token) = token {
                    let result = Ok((at, response));
                    self.out.push(EngineOutput::Proposed { token: plain(token), result });
                }
            }
            Payload::Seal(seal) => self.sealed(&seal, token),
        }
    }

    fn remember(&mut self, command: Option<Bytes>) {
        if self.lately.len() == LATELY {
            self.lately.pop_front();
        }
        self.lately.push_back(command);
    }

    /// The epoch that a seal begins, if it is a valid one.
    fn successor(&self, seal: &Bytes) -> Option<Spec> {
        let next = self.protocol.successor(seal).and_then(|next| Spec::decode(&next));
        next.filter(|n| n.follows(self.spec.epoch).is_ok())
    }

    fn sealed(&mut self, seal: &Bytes, token: Option<Token>) {
        if self.protocol.successor(seal).is_some_and(|next| !Spec::is_readable(&next)) {
            // Those who can read it leave the epoch here.
            return self.seat.tail.lose(crate::lens::unreadable(self.spec.epoch, seal));
        }
        let Some(next) = self.successor(seal) else {
            // Equal on all members: who proposed it learns that it was nothing.
            if let Some(token) = token {
                self.refused(
                    token,
                    EngineError::Refused("a seal that names no epoch that can follow".into()),
                );
            }
            return;
        };
        self.sealed = true;
        self.applied += 1;
        let at = Position { term: term(self.spec.epoch, 0), index: self.applied };
        let signed = if P::LIARS { seal.clone() } else { Bytes::new() };
        let record = self.seat.tail.get().next_signed(next, at.index, signed);
        self.seat.machine.lock().note(at, Some(record.encode()));
        self.remember(None);
        self.seat.tail.set(record);
        if let Some(token) = token {
            self.out.push(EngineOutput::Done { token: plain(token), result: Ok(()) });
        }
    }

    /// What has reached the disk since the last turn.
    fn persisted(&mut self, now: Instant) {
        let durable =
            if bug!(self.seat.bugs, durable_at_once) { Lsn(u64::MAX) } else { self.journal.durable() };
        let mut upto = None;
        while self.tickets.front().is_some_and(|(_, lsn)| *lsn <= durable) {
            upto = self.tickets.pop_front().map(|(ticket, _)| ticket);
        }
        let Some(upto) = upto else { return };
        self.persisted = upto;
        let later = self.held.split_off(&Ticket(upto.0 + 1));
        for (to, body) in std::mem::replace(&mut self.held, later).into_values().flatten() {
            self.out.push(EngineOutput::Send { to, lane: Lane::Data, body });
        }
        self.step(now, Input::Persisted(upto));
    }

    fn propose_all(&mut self, now: Instant) {
        let mut proposals = std::mem::take(&mut self.proposals).into_iter().peekable();
        while proposals.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some((_, payload)) = proposals.peek() {
                bytes += payload.len();
                if batch.len() == PROPOSE_MAX.0 || (bytes > PROPOSE_MAX.1 && !batch.is_empty()) {
                    break;
                }
                batch.extend(proposals.next());
            }
            self.step(now, Input::Propose(batch));
        }
    }

    /// Begins a checkpoint if one is asked for or the journal has grown.
    fn checkpoint(&mut self) -> Option<Work> {
        let (bytes, records) = self.journal.grown();
        let (max_records, max_bytes) = self.seat.snapshot_after;
        let grown = !P::LIARS
            && ((max_records > 0 && records >= max_records) || (max_bytes > 0 && bytes >= max_bytes));
        let now = self.wanted || grown;
        // What has waited makes the protocol's mark another place's than the state's.
        let apart = !self.stalled.is_empty();
        if self.checkpointing || apart || self.deaf.is_some() || !now || !self.is_current() {
            return None;
        }
        if P::LIARS && self.askers.is_empty() {
            // What no member names proves nothing: it is written for who asks for it, and for nobody else.
            self.wanted = false;
            return None;
        }
        self.wanted = false;
        if self.seat.machine.lock().applied_at().is_none() {
            // Blanks and reads move the mark, and leave nothing to be written.
            self.answer_askers(&Ok(()));
            return None;
        }
        let mark = self.protocol.mark();
        let record = self.seat.tail.change(|tail| {
            if tail.inner.is_empty() || !bug!(self.seat.bugs, mark_not_renewed) {
                tail.inner = mark;
            }
            self.taken = tail.inner.clone();
            tail.encode()
        });
        let mut machine = self.seat.machine.lock();
        machine.record(record);
        let work = machine.checkpoint();
        drop(machine);
        self.checkpointing = work.is_some();
        if work.is_none() {
            self.answer_askers(&Ok(()));
        }
        work
    }

    /// What has waited is in the state that came in its place.
    fn outlive_stalled(&mut self) {
        for output in std::mem::take(&mut self.stalled) {
            match output {
                Output::Decided { token: Some(token), .. } => self.refused(token, EngineError::Unknown),
                readable @ Output::Readable { .. } => drop(self.tell(readable)),
                _ => {}
            }
        }
    }

    /// Shortens the log, if it is time: between two steps, when all that was put out is appended.
    fn compact(&mut self) {
        if self.deaf.is_none() && std::mem::take(&mut self.compaction_due) {
            self.journal.compact(&self.protocol.compact());
        }
    }

    fn answer_askers(&mut self, result: &Result<(), EngineError>) {
        for token in std::mem::take(&mut self.askers) {
            self.out.push(EngineOutput::Done { token, result: result.clone() });
        }
    }

    fn tell_leader(&mut self) {
        let Standing { ballot, leader, .. } = self.protocol.standing();
        let now = (ballot, leader);
        if now == self.seen {
            return;
        }
        let (group, term) = (self.seat.group, term(self.spec.epoch, ballot));
        match leader {
            Some(leader) => self.seat.probe.event(&Event::LeaderChanged { group, term, leader }),
            None if self.seen.1.is_some() => self.seat.probe.event(&Event::LeaderLost { group, term }),
            None => {}
        }
        self.seen = now;
    }
}

fn tagged(token: Token, kind: u64) -> Token {
    assert!(token.0 >> (64 - kind::BITS) == 0, "a token leaves room for its kind");
    Token(token.0 << kind::BITS | kind)
}

const fn plain(token: Token) -> Token {
    Token(token.0 >> kind::BITS)
}

impl<P: Protocol, SM: StateMachine> StepEngine<SM::Response> for Driver<P, SM> {
    fn propose(&mut self, token: Token, command: Bytes) {
        self.proposals.push((tagged(token, kind::COMMAND), Payload::Command(command)));
    }
    fn seal(&mut self, token: Token, next: Bytes) {
        self.proposals.push((tagged(token, kind::SEAL), Payload::Seal(next)));
    }
    fn barrier(&mut self, token: Token) {
        self.reads.push(tagged(token, kind::READ));
    }
    fn transfer(&mut self, now: Instant, token: Token, to: NodeId) {
        let Standing { leader, .. } = self.protocol.standing();
        let result = match leader {
            Some(l) if l != self.seat.me => Err(EngineError::NotLeader { leader: Some(l) }),
            None => Err(EngineError::NotLeader { leader: None }),
            Some(_) if !self.spec.members.voters.contains(&to) => {
                Err(EngineError::Refused(format!("{to} is no voter of {}", self.seat.group)))
            }
            Some(_) => {
                if to != self.seat.me {
                    self.step(now, Input::Transfer(to));
                }
                Ok(())
            }
        };
        self.out.push(EngineOutput::Done { token, result });
    }
    fn snapshot(&mut self, token: Option<Token>) {
        self.askers.extend(token);
        self.wanted = true;
    }
    fn unreachable(&mut self, now: Instant, peer: NodeId) {
        if peer != self.seat.me && self.spec.members.voters.contains(&peer) {
            self.step(now, Input::Unreachable(peer));
        }
    }
    fn message(&mut self, now: Instant, from: NodeId, body: &Bytes) {
        match wire::decode::<P::Message>(body) {
            Ok(message) => self.step(now, Input::Message { from, message }),
            Err(error) => self.seat.probe.event(&Event::PeerFaulted { from, why: error.to_string() }),
        }
    }
    fn checkpoint_done(&mut self, now: Instant, result: JobResult) -> Result<(), String> {
        self.checkpointing = false;
        let naming = self.naming.take();
        let mut machine = self.seat.machine.lock();
        let done = machine.checkpoint_done(result)?;
        let digest = machine.digest();
        drop(machine);
        let (group, index) = (self.seat.group, done.at.index);
        self.seat.probe.event(&Event::SnapshotTaken { group, index });
        let record = ChainRecord::decode(&done.engine_record)?;
        // A peer's checkpoint may have been swapped in meanwhile: its mark is none that this protocol gave.
        let own = |r: &ChainRecord| r.spec.epoch == self.spec.epoch && r.inner == self.taken;
        if let Some(record) = record.filter(own) {
            match naming.zip(digest) {
                Some((mark, digest)) if record.inner == mark => self.vouch(now, mark, done, digest),
                // A peer's state has taken its place meanwhile.
                Some(_) => {}
                None if P::LIARS && record.inner.is_empty() => self.keep_begun(done),
                None => self.step(now, Input::Checkpointed { mark: record.inner }),
            }
            self.compaction_due |= !P::LIARS && self.deaf.is_none();
        }
        self.compact();
        self.tell_stalled();
        self.answer_askers(&Ok(()));
        Ok(())
    }
    fn admits(&self, mark: &Bytes) -> bool {
        // Where peers may lie the state's digest was compared when it came.
        let admits = if P::LIARS {
            self.protocol.proved(mark).is_some()
        } else {
            self.protocol.admits(mark, &[0; 32])
        };
        self.deaf.is_none() && admits
    }
    fn deafen(&mut self, now: Instant, deaf: bool) {
        if deaf {
            self.deaf.get_or_insert_default();
        } else if let Some(waiting) = self.deaf.take() {
            waiting.into_iter().for_each(|input| self.step(now, input));
        }
    }
    fn installed(&mut self, now: Instant, mark: &Bytes) {
        self.applied = self.seat.machine.lock().applied_at().map_or(0, |at| at.index);
        self.lately.clear();
        (self.proved, self.naming, self.begun) = (None, None, Begun::Past);
        self.unproved.clear();
        self.outlive_stalled();
        let waiting = self.deaf.take();
        self.step(now, Input::Installed { mark: mark.clone() });
        self.deaf = waiting;
        self.deafen(now, false);
    }
    fn run(
        &mut self,
        now: Instant,
        out: &mut Vec<EngineOutput<SM::Response>>,
    ) -> (Option<Instant>, Option<Work>) {
        self.tell_stalled();
        self.persisted(now);
        for token in std::mem::take(&mut self.reads) {
            self.step(now, Input::Read(token));
        }
        self.propose_all(now);
        let mut ticks = 0;
        while self.deaf.is_none() && self.protocol.wake_at() <= now && ticks < TICKS_MAX {
            self.step(now, Input::Tick);
            ticks += 1;
        }
        #[cfg(feature = "planted-bugs")]
        if let Some((mark, _)) = self.late.take_if(|(_, at)| !self.checkpointing && self.applied > *at) {
            self.late_now = true;
            let waits = self.name_checkpoint(mark);
            self.stalled.extend(waits);
        }
        let work = self.named_work.take().or_else(|| self.checkpoint());
        self.compact();
        self.tell_leader();
        out.append(&mut self.out);
        let wake = Some(self.protocol.wake_at()).filter(|at| *at != Instant::FAR && self.deaf.is_none());
        (wake, work)
    }
    fn standing(&self) -> Standing {
        self.protocol.standing()
    }
    fn tally(&self, each: &mut dyn FnMut(&'static str, u64)) {
        self.protocol.tally(each);
    }
    fn lately(&self, index: u64) -> Option<Option<Bytes>> {
        let back = usize::try_from(self.applied.checked_sub(index)?).ok()?;
        let at = self.lately.len().checked_sub(back + 1)?;
        self.lately.get(at).cloned()
    }
    fn take_behind(&mut self) -> Vec<NodeId> {
        std::mem::take(&mut self.behind)
    }
    fn proved_checkpoint(&self) -> Option<(Checkpointed, Bytes)> {
        let Some((mark, checkpoint)) = &self.proved else {
            let Begun::Kept(checkpoint) = &self.begun else { return None };
            return Some((checkpoint.clone(), Bytes::new()));
        };
        let proof = self.protocol.proof(mark)?;
        Some((checkpoint.clone(), wire::encode(&proof).into()))
    }
    fn learn(&mut self, now: Instant, from: NodeId, proof: &Bytes) {
        self.message(now, from, proof);
    }
}
