//! A small group as one value: what it is, what may happen to it next, and what that does.

use super::super::command::Mint;
use super::super::fact::Value;
use super::super::invariant::Broken;
use super::super::plan::ROUND_TRIP;
use super::super::state::{State, fold};
use super::super::subject::{Evidence, Order, Place, Subject};
use super::Bounds;
use super::digest::Digest;
use crate::engine::{EngineError, Role, Token};
use crate::quorum::NodeSet;
use crate::step::{Input, Output, Outputs, Payload, Protocol, Ticket};
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Instant, NodeId};

/// The seed of the commands and of the protocols' own draws; all else is tried.
const SEED: u64 = 5;
/// Tokens of reads begin here; those of proposals are the command's number.
const READS: u64 = 1_000;

/// What may happen next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    /// Nothing: the start.
    Start,
    /// The message at this place of the list arrives.
    Deliver(u16),
    /// It is lost, and does not hold up those behind it any more.
    Lose(u16),
    /// A sync of all that was appended ends.
    Sync(u8),
    /// The clock jumps to the next tick.
    Tick(u8),
    /// The next command is proposed.
    Propose(u8),
    /// A read.
    Read(u8),
    /// A crash that keeps so many records that were not safe.
    Crash(u8, u16),
    /// A checkpoint of all that was given out is durable, and the log holds what it does not.
    Checkpoint(u8),
    /// The checkpoint at this place of the list arrives, durable.
    Bring(u8),
}

type Held<M> = (u64, u8, M);

/// One node.
#[derive(Clone, Debug, Hash)]
struct Cell<P: Protocol> {
    protocol: P,
    now: Instant,
    records: Vec<P::Record>,
    safe: usize,
    /// Tickets appended and persisted in this lifetime.
    last: u64,
    persisted: u64,
    held: Vec<Held<P::Message>>,
    state: State,
    /// The durable checkpoint.
    checkpoint: Option<Rc<Snapshot>>,
    /// Questions open here, with the index that was acknowledged when they were asked.
    open: Vec<(u64, u64)>,
}

/// A state with its mark.
#[derive(Clone, PartialEq, Eq, Debug, Hash)]
struct Snapshot {
    mark: Bytes,
    state: State,
}

/// A message on its way, with its digest.
#[derive(Clone, Debug)]
struct Letter<M> {
    from: u8,
    to: u8,
    message: M,
    digest: u128,
}

/// What has been seen of the whole: part of the state, for invariants are judged by it.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Default)]
struct Seen {
    /// By class and place: what was decided first.
    decided: Vec<(u16, u64, Value)>,
    proposed: u8,
    acknowledged: u8,
    /// Numbers refused for certain.
    refused: Vec<u64>,
    /// The highest index acknowledged or read; by key: how many commands.
    floor: u64,
    ticks: u8,
    /// Ticks by node, four bits each.
    ticked: u64,
    crashes: u8,
    reads: u8,
    losses: u8,
    checkpoints: u8,
    /// Checkpoints on their way: to whom, and what.
    brought: Vec<(u8, Rc<Snapshot>)>,
}

/// A group, its messages and its past.
#[derive(Debug)]
pub(super) struct Cosmos<P: Protocol> {
    bounds: Bounds,
    cells: Vec<(Rc<Cell<P>>, u128)>,
    letters: Vec<Rc<Letter<P::Message>>>,
    seen: Seen,
    commands: Rc<(Mint, Vec<Payload>)>,
}

impl<P: Protocol> Clone for Cosmos<P> {
    fn clone(&self) -> Self {
        Self {
            bounds: self.bounds,
            cells: self.cells.clone(),
            letters: self.letters.clone(),
            seen: self.seen.clone(),
            commands: Rc::clone(&self.commands),
        }
    }
}

fn broken(invariant: &'static str, what: String) -> Broken {
    Broken { invariant, what }
}

fn members(nodes: usize) -> Vec<NodeId> {
    (1..=nodes as u64).map(NodeId).collect()
}

impl<P: Protocol> Cosmos<P> {
    pub(super) fn new<S: Subject<P = P>>(subject: &S, bounds: Bounds) -> Result<Self, Broken> {
        let mut mint = Mint::new(SEED, if bounds.conflict { 65_536 } else { 0 }, 0);
        let commands = (0..bounds.commands).map(|_| Payload::Command(mint.strike().1)).collect();
        let commands = Rc::new((mint, commands));
        let mut made =
            Self { bounds, cells: Vec::new(), letters: Vec::new(), seen: Seen::default(), commands };
        for node in 0..bounds.nodes {
            // Clocks differ, so that no protocol compares them.
            let now = Instant::from_nanos(1_000_000_000 * (node as u64 + 1));
            let protocol = Self::recover(subject, bounds, node, None, &[], now)?;
            let cell = Cell {
                protocol,
                now,
                records: Vec::new(),
                safe: 0,
                last: 0,
                persisted: 0,
                held: Vec::new(),
                state: State::default(),
                checkpoint: None,
                open: Vec::new(),
            };
            let digest = Digest::of(&cell);
            made.cells.push((Rc::new(cell), digest));
        }
        Ok(made)
    }

    fn recover<S: Subject<P = P>>(
        subject: &S,
        bounds: Bounds,
        node: usize,
        mark: Option<&Bytes>,
        records: &[P::Record],
        now: Instant,
    ) -> Result<P, Broken> {
        let members = members(bounds.nodes);
        let place = Place {
            me: members[node],
            members: &members,
            seed: SEED + node as u64,
            round_trip: ROUND_TRIP,
            tight: bounds.checkpoints > 0,
            fine: false,
        };
        P::recover(subject.config(&place), mark, records.iter().cloned(), now)
            .map_err(|e| broken("contract", format!("n{} can't restart: {e}", node + 1)))
    }

    pub(super) fn digest(&self) -> u128 {
        let mut sum = Digest::of(&self.seen);
        for (place, (_, digest)) in self.cells.iter().enumerate() {
            sum = sum
                .wrapping_add(digest.rotate_left(place as u32 * 11 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        // Letters are a set: their order says nothing.
        let letters = self.letters.iter().enumerate().fold(0_u128, |sum, (at, l)| {
            let digest =
                if self.bounds.fifo { Digest::of(&(l.digest, self.before(at).count())) } else { l.digest };
            sum.wrapping_add(digest)
        });
        Digest::of(&(sum, letters))
    }

    /// Whether all that happened since `before` is that one letter is no longer on its way. Whatever can
    /// follow could also follow in `before`, where that letter need never arrive.
    pub(super) fn only_lost_a_letter(&self, before: &Self) -> bool {
        !self.bounds.fifo
            && self.letters.len() + 1 == before.letters.len()
            && self.cells.iter().zip(&before.cells).all(|((_, a), (_, b))| a == b)
            && self.seen == before.seen
    }

    /// Letters sent earlier on the same link.
    fn before(&self, at: usize) -> impl Iterator<Item = &Rc<Letter<P::Message>>> {
        let letter = &self.letters[at];
        self.letters[..at].iter().filter(move |l| (l.from, l.to) == (letter.from, letter.to))
    }

    pub(super) fn finished(&self) -> bool {
        self.seen.acknowledged == self.bounds.commands
    }

    /// All that may happen next.
    pub(super) fn actions<S: Subject<P = P>>(&self, subject: &S, out: &mut Vec<Action>) {
        for at in (0..self.letters.len()).filter(|at| !self.bounds.fifo || self.before(*at).next().is_none())
        {
            out.push(Action::Deliver(at as u16));
            if self.bounds.fifo && self.seen.losses < self.bounds.losses {
                out.push(Action::Lose(at as u16));
            }
        }
        out.extend((0..self.seen.brought.len()).map(|at| Action::Bring(at as u8)));
        let leads = |cell: &Cell<P>| subject.leaderless() || cell.protocol.standing().role == Role::Leader;
        for (node, (cell, _)) in self.cells.iter().enumerate() {
            let n = node as u8;
            if self.bounds.late_syncs && cell.last > cell.persisted {
                out.push(Action::Sync(n));
            }
            if self.seen.ticks < self.bounds.ticks
                && node < self.bounds.tickers
                && self.seen.ticked >> (4 * node) & 15 < u64::from(self.bounds.ticks_each.min(15))
                && cell.protocol.wake_at() != Instant::FAR
            {
                out.push(Action::Tick(n));
            }
            if self.seen.proposed < self.bounds.commands && leads(cell) {
                out.push(Action::Propose(n));
            }
            // A read before anything is acknowledged can't be stale.
            if self.seen.reads < self.bounds.reads && self.seen.acknowledged > 0 {
                out.push(Action::Read(n));
            }
            let covered = cell.checkpoint.as_ref().map_or(0, |c| c.state.applied);
            if self.seen.checkpoints < self.bounds.checkpoints && cell.state.applied > covered {
                out.push(Action::Checkpoint(n));
            }
            if self.seen.crashes < self.bounds.crashes {
                out.extend((0..=cell.records.len() - cell.safe).map(|k| Action::Crash(n, k as u16)));
            }
        }
    }

    pub(super) fn tell(&self, action: &Action) -> String {
        match action {
            Action::Deliver(at) | Action::Lose(at) => {
                let verb = if matches!(action, Action::Lose(_)) { "lose" } else { "deliver" };
                let letter = &self.letters[usize::from(*at)];
                format!("{verb} {} to {}: {:?}", letter.from + 1, letter.to + 1, letter.message)
            }
            Action::Crash(node, keep) => {
                format!("crash {}, keeping {keep} records that were not safe", node + 1)
            }
            Action::Sync(node) => format!("sync {}", node + 1),
            Action::Tick(node) => format!("tick {}", node + 1),
            Action::Propose(node) => format!("propose command {} at {}", self.seen.proposed + 1, node + 1),
            Action::Read(node) => format!("read at {}", node + 1),
            Action::Checkpoint(node) => format!("checkpoint at {}", node + 1),
            Action::Bring(at) => {
                let (to, what) = &self.seen.brought[usize::from(*at)];
                format!("a checkpoint up to {} comes to {}", what.state.applied, to + 1)
            }
            Action::Start => "start".into(),
        }
    }

    /// Does it.
    pub(super) fn act<S: Subject<P = P>>(&mut self, subject: &S, action: Action) -> Result<(), Broken> {
        match action {
            Action::Start => Ok(()),
            Action::Deliver(at) => {
                let letter = self.letters.remove(usize::from(at));
                let from = NodeId(u64::from(letter.from) + 1);
                let message = Rc::try_unwrap(letter).unwrap_or_else(|l| (*l).clone());
                self.input(subject, message.to, Input::Message { from, message: message.message })
            }
            Action::Lose(at) => {
                self.seen.losses += 1;
                self.letters.remove(usize::from(at));
                Ok(())
            }
            Action::Sync(node) => {
                self.sync(subject, node)?;
                self.seal(node);
                Ok(())
            }
            Action::Tick(node) => {
                self.seen.ticks += 1;
                self.seen.ticked += 1 << (4 * node);
                let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
                cell.now = cell.now.max(cell.protocol.wake_at());
                self.input(subject, node, Input::Tick)
            }
            Action::Propose(node) => {
                self.seen.proposed += 1;
                let payload = self.commands.1[usize::from(self.seen.proposed) - 1].clone();
                let token = u64::from(self.seen.proposed);
                let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
                cell.open.push((token, 0));
                self.input(subject, node, Input::Propose([(Token(token), payload)].into()))
            }
            Action::Read(node) => {
                self.seen.reads += 1;
                let token = READS + u64::from(self.seen.reads);
                let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
                cell.open.push((token, self.seen.floor));
                self.input(subject, node, Input::Read(Token(token)))
            }
            Action::Checkpoint(node) => self.checkpoint(subject, node),
            Action::Bring(at) => self.bring(subject, at),
            Action::Crash(node, keep) => {
                self.seen.crashes += 1;
                let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
                cell.records.truncate(cell.safe + usize::from(keep));
                cell.safe = cell.records.len();
                (cell.last, cell.persisted) = (0, 0);
                cell.held.clear();
                cell.open.clear();
                cell.state = cell.checkpoint.as_ref().map_or_else(State::default, |c| c.state.clone());
                let mark = cell.checkpoint.as_ref().map(|c| &c.mark);
                cell.protocol =
                    Self::recover(subject, self.bounds, usize::from(node), mark, &cell.records, cell.now)?;
                self.seal(node);
                Ok(())
            }
        }
    }

    /// A checkpoint becomes durable with all records before it, and then the log in its place.
    fn checkpoint<S: Subject<P = P>>(&mut self, subject: &S, node: u8) -> Result<(), Broken> {
        self.seen.checkpoints += 1;
        if self.cells[usize::from(node)].0.last > self.cells[usize::from(node)].0.persisted {
            self.sync(subject, node)?;
        }
        let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
        let mark = cell.protocol.mark();
        cell.checkpoint = Some(Rc::new(Snapshot { mark: mark.clone(), state: cell.state.clone() }));
        self.step(subject, node, Input::Checkpointed { mark })?;
        self.compact(node);
        Ok(())
    }

    fn compact(&mut self, node: u8) {
        let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
        // What was appended and not synced stays as it is: the log in its place holds the rest.
        if cell.last == cell.persisted {
            cell.records = cell.protocol.compact();
            cell.safe = cell.records.len();
        }
        self.seal(node);
    }

    /// A peer's checkpoint comes: it is swapped in if it is ahead.
    fn bring<S: Subject<P = P>>(&mut self, subject: &S, at: u8) -> Result<(), Broken> {
        let (to, what) = self.seen.brought.remove(usize::from(at));
        let cell = Rc::make_mut(&mut self.cells[usize::from(to)].0);
        if what.state.applied <= cell.state.applied || !cell.protocol.admits(&what.mark, &what.state.digest())
        {
            return Ok(());
        }
        cell.state = what.state.clone();
        let mark = what.mark.clone();
        cell.checkpoint = Some(what);
        self.input(subject, to, Input::Installed { mark })
    }

    /// A peer needs the checkpoint of a node, if it has one; what is on its way already is not sent again.
    fn behind(&mut self, node: u8, peer: NodeId) {
        let Some(what) = self.cells[usize::from(node)].0.checkpoint.clone() else { return };
        let letter = (peer.0 as u8 - 1, what);
        if !self.seen.brought.contains(&letter) {
            self.seen.brought.push(letter);
        }
    }

    fn seal(&mut self, node: u8) {
        let (cell, digest) = &mut self.cells[usize::from(node)];
        *digest = Digest::of(&**cell);
    }

    fn input<S: Subject<P = P>>(
        &mut self,
        subject: &S,
        node: u8,
        input: Input<P::Message>,
    ) -> Result<(), Broken> {
        self.step(subject, node, input)?;
        while !self.bounds.late_syncs && {
            let cell = &self.cells[usize::from(node)].0;
            cell.last > cell.persisted
        } {
            self.sync(subject, node)?;
        }
        self.seal(node);
        Ok(())
    }

    fn sync<S: Subject<P = P>>(&mut self, subject: &S, node: u8) -> Result<(), Broken> {
        let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
        cell.persisted = cell.last;
        cell.safe = cell.records.len();
        let (persisted, held) = (cell.persisted, core::mem::take(&mut cell.held));
        for (_, to, message) in held {
            self.send(node, to, message);
        }
        self.step(subject, node, Input::Persisted(Ticket(persisted)))
    }

    fn send(&mut self, from: u8, to: u8, message: P::Message) {
        let digest = Digest::of(&(from, to, &message));
        // On a link that keeps order only the message right before can be its equal.
        let equal = if self.bounds.fifo {
            let last = self.letters.iter().rev().find(|l| (l.from, l.to) == (from, to));
            last.is_some_and(|l| l.digest == digest)
        } else {
            self.letters.iter().any(|l| l.digest == digest)
        };
        if !equal {
            self.letters.push(Rc::new(Letter { from, to, message, digest }));
        }
    }

    fn step<S: Subject<P = P>>(
        &mut self,
        subject: &S,
        node: u8,
        input: Input<P::Message>,
    ) -> Result<(), Broken> {
        let mut out: Outputs<P> = Vec::new();
        let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
        cell.protocol.step(cell.now, input, &mut out);
        out.into_iter().try_for_each(|output| self.carry(subject, node, output))
    }

    fn carry<S: Subject<P = P>>(
        &mut self,
        subject: &S,
        node: u8,
        output: Output<P::Message, P::Record>,
    ) -> Result<(), Broken> {
        let name = NodeId(u64::from(node) + 1);
        let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
        match output {
            Output::Persist { ticket, record } => {
                cell.last += 1;
                cell.records.push(record);
                if ticket.0 != cell.last {
                    return Err(broken("contract", format!("{name} appends {ticket:?}, not the next")));
                }
            }
            Output::Send { to, message, after } => {
                let after = after.map_or(0, |t| t.0);
                let to = (to.0 as usize).wrapping_sub(1);
                if to >= self.bounds.nodes || to == usize::from(node) || after > cell.last {
                    return Err(broken(
                        "contract",
                        format!("{name} sends to itself, to no member or after no record"),
                    ));
                }
                if after > cell.persisted {
                    cell.held.push((after, to as u8, message));
                } else {
                    self.send(node, to as u8, message);
                }
            }
            Output::Decided { index, payload, token } => {
                return self.decided(subject, node, index, &payload, token.map(|t| t.0));
            }
            Output::Readable { token } => {
                let floor = Self::close(cell, name, token.0)?;
                let shown = Self::shown(subject, cell);
                if shown < floor {
                    return Err(broken(
                        "linearizable reads",
                        format!("{name} serves a read at {shown}, {floor} was acknowledged before"),
                    ));
                }
                self.seen.floor = self.seen.floor.max(shown);
            }
            Output::Refused { token, error } => {
                Self::close(cell, name, token.0)?;
                if matches!(error, EngineError::NotLeader { .. } | EngineError::Refused(_)) && token.0 < READS
                {
                    self.seen.refused.push(token.0);
                    if self.seen.decided.iter().any(|(_, _, v)| *v == Value::Command(token.0 as u32)) {
                        return Err(broken(
                            "non-triviality",
                            format!("{name} refuses for certain what was decided"),
                        ));
                    }
                }
            }
            Output::Blame { peer, fault } => {
                return Err(broken(
                    "right blame",
                    format!("{name} blames {peer}, which is correct: {fault}"),
                ));
            }
            Output::Behind { peer } => self.behind(node, peer),
            Output::Checkpoint { .. } | Output::Stable { .. } => {}
        }
        Ok(())
    }

    /// What a read shows: the index, or by key the number of commands.
    fn shown<S: Subject<P = P>>(subject: &S, cell: &Cell<P>) -> u64 {
        match subject.order() {
            Order::Total => cell.state.applied,
            Order::ByKey => cell.state.keys.iter().map(|(_, n)| n).sum(),
        }
    }

    fn close(cell: &mut Cell<P>, name: NodeId, token: u64) -> Result<u64, Broken> {
        match cell.open.iter().position(|(t, _)| *t == token) {
            Some(at) => Ok(cell.open.remove(at).1),
            None => Err(broken("one answer", format!("{name} answers {token}, which is not open there"))),
        }
    }

    fn decided<S: Subject<P = P>>(
        &mut self,
        subject: &S,
        node: u8,
        index: u64,
        payload: &Payload,
        token: Option<u64>,
    ) -> Result<(), Broken> {
        let name = NodeId(u64::from(node) + 1);
        let (value, key) = match payload {
            Payload::Blank => (Value::Blank, 0),
            Payload::Command(bytes) => match self.commands.0.number(bytes) {
                Some(number) if number <= u32::from(self.seen.proposed) => {
                    (Value::Command(number), subject.key(bytes))
                }
                _ => {
                    return Err(broken(
                        "non-triviality",
                        format!("{name} decided bytes nobody proposed at {index}"),
                    ));
                }
            },
            Payload::Seal(bytes) => (Value::Seal(bytes.iter().fold(0, |h, b| fold(h, u64::from(*b)))), 0),
        };
        let cell = Rc::make_mut(&mut self.cells[usize::from(node)].0);
        if index != cell.state.applied + 1 {
            return Err(broken("order", format!("{name} decided {index} after {}", cell.state.applied)));
        }
        let new = cell.state.apply(index, key, value);
        if !new && !subject.may_double() {
            return Err(broken("non-triviality", format!("{name} decided {value:?} twice")));
        }
        if let Value::Command(number) = value
            && self.seen.refused.contains(&u64::from(number))
        {
            return Err(broken(
                "non-triviality",
                format!("{name} decided {value:?}, refused for certain before"),
            ));
        }
        let by_key = subject.order() == Order::ByKey;
        let (class, place) = if by_key { (key + 1, cell.state.keys[usize::from(key)].1) } else { (0, index) };
        if let Some(token) = token {
            Self::close(cell, name, token)?;
            if value != Value::Command(token as u32) && !matches!(value, Value::Seal(_)) {
                return Err(broken("one answer", format!("{name} answers {token} with {value:?}")));
            }
            self.seen.acknowledged += 1;
            let shown = Self::shown(subject, cell);
            self.seen.floor = self.seen.floor.max(shown);
        }
        if by_key && value == Value::Blank {
            return Ok(());
        }
        match self.seen.decided.binary_search_by_key(&(class, place), |(c, p, _)| (*c, *p)) {
            Ok(at) if self.seen.decided[at].2 == value => Ok(()),
            Ok(at) => Err(broken(
                "agreement",
                format!(
                    "{name} decided {value:?} at place {place}, {:?} was decided there",
                    self.seen.decided[at].2
                ),
            )),
            Err(at) => {
                self.seen.decided.insert(at, (class, place, value));
                self.weigh(subject, name, index, payload)
            }
        }
    }

    fn weigh<S: Subject<P = P>>(
        &self,
        subject: &S,
        name: NodeId,
        index: u64,
        payload: &Payload,
    ) -> Result<(), Broken> {
        let mut disks = NodeSet::EMPTY;
        for (place, (cell, _)) in self.cells.iter().enumerate() {
            let mark = cell.checkpoint.as_ref().map(|c| &c.mark);
            let covered = cell.checkpoint.as_ref().is_some_and(|c| c.state.applied >= index);
            let evidence = Evidence { records: &cell.records[..cell.safe], mark };
            match subject.holds(evidence, index, payload) {
                None => return Ok(()),
                Some(false) if !covered => {}
                Some(_) => disks = disks.or(NodeSet::one(place)),
            }
        }
        if subject.enough(self.bounds.nodes, disks) {
            return Ok(());
        }
        Err(broken("durability", format!("{name} decided {index}, which only the disks at {disks:?} hold")))
    }
}
