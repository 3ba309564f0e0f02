//! What a crash leaves, and what a checkpoint lets go.

use super::config::PIECE_BYTES_MAX;
use super::log::{Log, Run};
use super::planted::{self, Bug};
use super::{Ballot, Config, Mark, Out, Paxos, Pin, Record, Tip, counts::Counts, seat::Seat};
use crate::step::{Corrupt, Output, Ticket};
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Instant, NodeId};

/// Election timeouts of a peer's silence after which nothing is kept for it any more. While it fetches a checkpoint
/// it asks at each heartbeat.
const PINNED: u64 = 8;

/// Records told one after the other.
#[derive(Default)]
struct Replay {
    promised: Ballot,
    log: Log,
    base: u64,
    decided: u64,
    any: bool,
    /// The checkpoint that local state begins from.
    mark: u64,
    /// Some of what it holds is not in the log.
    holed: bool,
}

impl Replay {
    fn tell(&mut self, record: Record) -> Result<(), Corrupt> {
        self.any = true;
        match record {
            Record::Promised(ballot) => self.promised = self.promised.max(ballot),
            Record::Accepted { run, decided } => {
                self.promised = self.promised.max(run.ballot);
                self.decide(decided)?;
                self.put(run)?;
            }
            Record::Chosen(runs) => {
                for run in runs {
                    let last = run.last();
                    self.promised = self.promised.max(run.ballot);
                    self.decide(run.first.saturating_sub(1))?;
                    self.put(run)?;
                    self.decided = last;
                }
            }
            Record::Base(mark) => {
                self.log.forget(mark.index);
                self.base = self.base.max(mark.index);
                self.decided = self.decided.max(mark.index);
            }
        }
        Ok(())
    }
    fn put(&mut self, run: Run) -> Result<(), Corrupt> {
        if run.batch.is_empty() || run.first <= self.decided {
            return Err(Corrupt("a value was accepted at a slot that was decided before"));
        }
        self.log.put(run);
        Ok(())
    }
    fn decide(&mut self, decided: u64) -> Result<(), Corrupt> {
        if decided > self.decided {
            if self.log.unbroken(self.decided + 1) < decided {
                // What the checkpoint holds need not be in the log: it may have come from a peer, its record lost in a crash.
                let holed = planted::is(Bug::HoleIsCorrupt);
                if holed
                    || decided > self.mark && self.log.unbroken(self.decided.max(self.mark) + 1) < decided
                {
                    return Err(Corrupt("a decided slot holds no value"));
                }
                self.holed = true;
            }
            self.decided = decided;
        }
        Ok(())
    }
}

impl Paxos {
    pub(super) fn from_records(
        config: Config,
        mark: Option<&Bytes>,
        records: impl IntoIterator<Item = Record>,
        now: Instant,
    ) -> Result<Self, Corrupt> {
        let any = mark.is_some();
        let mark = mark.map(|m| Mark::decode(m)).transpose()?.unwrap_or_default();
        let mut told = Replay { any, mark: mark.index, ..Replay::default() };
        records.into_iter().try_for_each(|r| told.tell(r))?;
        if mark.index < told.base {
            return Err(Corrupt("the log begins behind the checkpoint"));
        }
        if mark.index > told.decided || told.holed {
            // It may be a peer's: nothing says that what was accepted up to there is what was decided.
            told.log.forget(mark.index);
            (told.base, told.decided) = (mark.index, told.decided.max(mark.index));
        }
        let Replay { promised, log, base, decided, any, .. } = told;
        let stands = !any && config.stands_first();
        let patience = config.patience(promised, 0, 0);
        let promised = if planted::is(Bug::PromiseNotPersisted) {
            Ballot::default()
        } else if planted::is(Bug::BallotReused) {
            Ballot {
                round: promised.round.saturating_sub(u64::from(promised.node == config.node())),
                ..promised
            }
        } else {
            promised
        };
        Ok(Self {
            canvass: config.first_canvass(now, promised),
            place: config.place(config.node()).ok_or(Corrupt("the configuration names no place"))?,
            config: Arc::new(config),
            promised,
            vowed: promised,
            log,
            marked: mark.index,
            pins: Vec::new(),
            base,
            decided,
            given: mark.index,
            sealed: mark.sealed,
            issued: Ticket(0),
            persisted: Ticket(0),
            seat: Seat::Following,
            leader: None,
            heard_until: Instant::ZERO,
            last_words: None,
            election_at: if stands { now } else { now + patience },
            tip: Tip { ballot: Ballot::default(), slot: decided },
            asking_until: Instant::ZERO,
            asking_to: 0,
            round: promised.round,
            failures: 0,
            counts: Counts::default(),
        })
    }

    /// A durable checkpoint of this node: what lies behind it by more than is kept for late peers goes.
    pub(super) fn checkpointed(&mut self, now: Instant, mark: &Bytes) {
        let Ok(mark) = Mark::decode(mark) else { return };
        self.marked = self.marked.max(mark.index.min(self.given));
        self.pins.retain(|p| now < p.until);
        let mut upto = self.marked;
        // What is kept for late peers is not worth refusing clients for.
        if self.log.bytes() <= self.config.log_max() / 2 {
            let pinned = self.pins.iter().map(|p| p.slot).min().unwrap_or(u64::MAX);
            upto = upto.saturating_sub(self.config.kept()).min(pinned);
        }
        if upto > self.base {
            self.base = upto;
            self.log.forget(upto);
        }
    }

    /// A peer's checkpoint is durable here.
    pub(super) fn installed(&mut self, now: Instant, mark: &Bytes, out: &mut Out) {
        let Ok(mark) = Mark::decode(mark) else { return };
        if mark.index <= self.given {
            return;
        }
        self.counts.installed += 1;
        if mark.index > self.decided {
            self.stand_down(now, out);
            self.persist(Record::Base(mark), out);
            self.log.forget(mark.index);
            (self.base, self.decided) = (mark.index, mark.index);
            self.extend_tip();
        }
        self.marked = mark.index;
        (self.given, self.sealed) = (mark.index, mark.sealed);
        self.asking_until = Instant::ZERO;
    }

    /// Records that make the durable part anew, over the newest checkpoint.
    pub(super) fn kept_records(&self) -> Vec<Record> {
        let sealed = if self.sealed <= self.base { self.sealed } else { 0 };
        let mut records = Vec::new();
        records.push(Record::Base(Mark { index: self.base, sealed }));
        records.push(Record::Promised(self.promised));
        let mut from = Some(self.base + 1).filter(|f| *f <= self.decided);
        while let Some(first) = from {
            let (runs, next) = self.log.piece(first..=self.decided, PIECE_BYTES_MAX, self.config.piece());
            records.push(Record::Chosen(runs));
            from = next;
        }
        if planted::is(Bug::CompactForgetsUndecided) {
            return records;
        }
        let open = self.log.within(self.decided + 1..=u64::MAX);
        records.extend(open.map(|run| Record::Accepted { run, decided: self.decided }));
        records
    }

    /// Tells the driver that a peer needs a checkpoint. What follows on the newest is kept while the peer asks.
    pub(super) fn is_behind(&mut self, now: Instant, peer: NodeId, out: &mut Out) {
        self.counts.behind += 1;
        self.pins.retain(|p| now < p.until);
        if !self.pins.iter().any(|p| p.peer == peer) {
            self.pins.push(Pin { peer, slot: self.marked, until: now });
        }
        self.pin(now, peer, 0);
        out.push(Output::Behind { peer });
    }

    /// A peer that fetched a checkpoint has all up to a slot, and is still there.
    pub(super) fn pin(&mut self, now: Instant, peer: NodeId, slot: u64) {
        let until = now + self.config.times().election * PINNED;
        if let Some(pin) = self.pins.iter_mut().find(|p| p.peer == peer) {
            (pin.slot, pin.until) = (pin.slot.max(slot), until);
        }
    }
}
