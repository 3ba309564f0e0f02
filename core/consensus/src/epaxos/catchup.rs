//! Who lacks what: replicas tell how far they are while anyone seems behind, and fetch decisions they missed.
//!
//! A `Commit` is sent once. What is lost is fetched, from a peer that says it has it; no ballot is needed. A peer
//! that asks for what is forgotten here is given a checkpoint by the driver. When all replicas are known to
//! be equal, nothing is sent.

use super::message::{FETCH_MAX, InstanceId, Message, Phase};
use super::protocol::{Epaxos, Out};
use crate::quorum::NodeSet;
use crate::step::Output;
use alloc::vec;
use alloc::vec::Vec;
use dwcp_env::Instant;

/// Times an instance is fetched from those said to have it before its recovery is tried.
const FETCHES: u8 = 3;

/// What the others said last.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Peers {
    /// By place.
    heard: Vec<Heard>,
    beat_at: Instant,
    /// By place: when anything last came from it.
    last: Vec<Instant>,
    /// Whether to ask who is there, though all seem equal.
    probe: bool,
    /// By place: how long its answers take, about (ns); 0: not known; the most there is: it did not answer.
    took: Vec<u64>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Heard {
    /// By replica: all up to this are decided there.
    committed: Vec<u64>,
    seen: Vec<u64>,
    /// Whether it is known to know as much as we do.
    equal: bool,
}

impl Peers {
    pub(super) fn new(n: usize, now: Instant) -> Self {
        Self {
            heard: vec![Heard { committed: vec![0; n], seen: vec![0; n], equal: false }; n],
            beat_at: now,
            last: vec![Instant::ZERO; n],
            probe: false,
            took: vec![0; n],
        }
    }
    /// A question of this time was answered.
    pub(super) fn answered(&mut self, from: u8, (asked, now): (Instant, Instant)) {
        let (took, new) = (&mut self.took[usize::from(from)], now.since(asked).as_nanos());
        // What is far off the mark, as after a silence, is not averaged.
        let new = new.max(1);
        *took = if *took == 0 || *took / 4 > new { new } else { (*took * 3 + new) / 4 };
    }
    /// Of a fast quorum only these answered in time: the others are asked last from now on.
    pub(super) fn kept_waiting(&mut self, phase: Phase, have: &[u8]) {
        let Phase::Collected(quorum) = phase else { return };
        for late in quorum.places().filter(|p| !have.contains(&(*p as u8))) {
            self.took[late] = u64::MAX;
        }
    }
    /// A round in which all were asked is over after this time, with the answers of these: who was never timed takes longer.
    pub(super) fn outlasted(&mut self, have: NodeSet, time: u64) {
        for (_, took) in self.took.iter_mut().enumerate().filter(|(p, took)| !have.has(*p) && **took == 0) {
            *took = time + 1;
        }
    }
    /// Whether somebody's answers were never timed.
    pub(super) fn untimed(&self, me: u8) -> bool {
        self.took.iter().enumerate().any(|(place, took)| *took == 0 && place != usize::from(me))
    }
    /// Whose answers come soonest, in the order of their places behind `me`; who was not timed yet, though all are asked at first,
    /// is farther than who was.
    pub(super) fn nearest(&self, me: u8) -> Vec<u8> {
        let n = self.took.len() as u8;
        let mut others: Vec<u8> = (1..n).map(|turn| (me + turn) % n).collect();
        others.sort_by_key(|p| match self.took[usize::from(*p)] {
            0 => u64::MAX / 2,
            took => took,
        });
        others
    }
    pub(super) fn came(&mut self, now: Instant, from: u8) {
        self.last[usize::from(from)] = now;
    }
    /// Whether every peer has said that it has this decision; our own entry is never filled.
    pub(super) fn all_have(&self, id: InstanceId) -> bool {
        let has = |h: &&Heard| h.committed[id.at()] >= id.number;
        self.heard.iter().filter(has).count() + 1 >= self.heard.len()
    }
}

impl Epaxos {
    /// Whether some peer may not know all we know, or we not all it knows.
    fn uneven(&self) -> bool {
        self.peers.probe
            || (0..self.config.n).any(|at| !self.unnoted(at).is_empty())
            || self.config.others().any(|p| {
                let h = &self.peers.heard[usize::from(p)];
                !h.equal || h.committed != self.committed || h.seen != self.seen
            })
    }
    pub(super) fn beat_at(&self) -> Instant {
        if self.uneven() { self.peers.beat_at } else { Instant::FAR }
    }
    /// Asks all at the next beat who is there.
    pub(super) fn probe(&mut self) {
        self.peers.probe = true;
    }
    pub(super) fn tick_beat(&mut self, now: Instant, out: &mut Out) {
        if self.peers.beat_at > now || !self.uneven() {
            return;
        }
        self.peers.beat_at = now + self.config.set.beat;
        self.peers.probe = false;
        (0..self.config.n).for_each(|at| self.note_more(now, at));
        self.config.others().for_each(|to| self.tell_beat(to, true, out));
    }
    pub(super) fn tell_beat(&self, to: u8, ask: bool, out: &mut Out) {
        self.tell(to, Message::Beat { committed: self.committed.clone(), seen: self.seen.clone(), ask }, out);
    }
    pub(super) fn on_beat(
        &mut self,
        now: Instant,
        from: u8,
        committed: Vec<u64>,
        seen: Vec<u64>,
        ask: bool,
        out: &mut Out,
    ) {
        for (replica, seen) in seen.iter().enumerate() {
            self.note(now, replica as u8, *seen);
        }
        // What it had by the beat before and we still lack is lost, not under way.
        for (replica, claimed) in committed.iter().enumerate() {
            let (mine, before) =
                (self.committed[replica], self.peers.heard[usize::from(from)].committed[replica]);
            let to = before.min(*claimed).min(mine + FETCH_MAX);
            if to > mine {
                self.counts.fetched += 1;
                self.tell(from, Message::Fetch { replica: replica as u8, from: mine + 1, to }, out);
            }
        }
        if self.peers.beat_at <= now {
            self.peers.beat_at = now + self.config.set.beat;
        }
        let equal = committed == self.committed && seen == self.seen;
        self.peers.heard[usize::from(from)] = Heard { committed, seen, equal };
        if ask {
            self.tell_beat(from, false, out);
        }
    }
    /// Whether a quorum spoke to us of late. A recovery without one would only disturb those that have one: in a
    /// star of links every ray would undo the hub's promises for ever (Omni-Paxos' quorum loss).
    pub(super) fn connected(&self, now: Instant) -> bool {
        let fresh = |p: &u8| now.since(self.peers.last[usize::from(*p)]) <= self.config.set.resend * 2;
        self.config.others().filter(fresh).count() + 1 >= self.config.n - self.config.slow_misses
    }
    /// Asks a peer that says it has this decision; `false` if none says so, or asking did not help.
    pub(super) fn fetch_one(&mut self, now: Instant, id: InstanceId, attempts: u8, out: &mut Out) -> bool {
        let has = |p: &u8| self.peers.heard[usize::from(*p)].committed[id.at()] >= id.number;
        let mut able: Vec<u8> = self.config.others().filter(has).collect();
        if able.is_empty() || attempts > FETCHES {
            return false;
        }
        let to = able.swap_remove(usize::from(attempts) % able.len());
        self.counts.fetched += 1;
        self.tell(to, Message::Fetch { replica: id.replica, from: id.number, to: id.number }, out);
        self.schedule(id, now + self.config.set.resend);
        true
    }
    pub(super) fn on_fetch(&mut self, from: u8, replica: u8, first: u64, to: u64, out: &mut Out) {
        for number in first..=to {
            let id = InstanceId::new(replica, number);
            match self.instances.get(&id) {
                Some(instance) if instance.announced => self.show(from, id, out),
                _ if self.executed.has(id) => {
                    return out.push(Output::Behind { peer: self.node(from) });
                }
                _ => {}
            }
        }
    }
}
