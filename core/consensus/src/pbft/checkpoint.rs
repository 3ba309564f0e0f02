//! Checkpoints: what members sign, what a quorum's signatures prove, what is forgotten then.
//!
//! At each multiple of `interval` the driver is asked for a checkpoint of the state; when that is durable
//! with a digest, this member signs both digests: of the mark and of the state. A quorum of equal
//! signatures is a **certificate**: f + 1 correct members have that state on disk, so what led to
//! it may be forgotten, and whoever lacks it can get it from one of them and see that it is right.
//!
//! The low watermark follows when this member has applied as much and has a checkpoint of its own as new:
//! a slow disk holds back nobody but its owner. One `interval` below it is kept for those who lag a little:
//! they are told decisions instead of being brought a state.

use super::config::{Config, INTERVALS_MAX, Watched};
use super::crypto::{Digest, Kind};
use super::message::{Certificate, Vote};
use super::{Bug, Message, Out, Own, Pbft, Record, planted};
use crate::quorum::NodeSet;
use crate::step::{Fault, Output};
use alloc::collections::BTreeSet;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Instant, wire};
use serde::{Deserialize, Serialize};

/// Certificates and own checkpoints that are kept: the newest few. Above the one that is announced there are as many own ones as
/// the window has room for, and one may wait for its announcement to reach the disk.
const KEPT: usize = INTERVALS_MAX as usize + 2;
/// Votes kept of each member; correct ones are at most a window apart while they make progress.
const VOTES_MAX: usize = INTERVALS_MAX as usize + 1;

/// How far the order was applied: all that the rest of the order's effect depends on.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) struct Point {
    /// The last place applied.
    pub(super) seq: u64,
    /// The last index given out.
    pub(super) index: u64,
    /// The digest of the order so far.
    pub(super) order: Digest,
    /// Which bundles have taken effect, by origin.
    pub(super) seen: Vec<super::bundle::Seen>,
}

impl Point {
    pub(super) fn begin(n: usize) -> Self {
        Self { seq: 0, index: 0, order: Digest::default(), seen: vec![super::bundle::Seen::default(); n] }
    }
    pub(super) fn advance(&mut self, digest: Digest, realm: &[u8; 32]) {
        self.seq += 1;
        self.order = Digest::of(Kind::Order, realm, &[&self.order.0, &digest.0]);
    }
    pub(super) fn mark(&self) -> Bytes {
        wire::encode(self).into()
    }
    pub(super) fn parse(mark: &Bytes, n: usize) -> Option<Self> {
        wire::decode::<Self>(mark).ok().filter(|point| point.seen.len() == n)
    }
}

fn newest<V>(map: &mut alloc::collections::BTreeMap<u64, V>, kept: usize) {
    while map.len() > kept {
        map.pop_first();
    }
}

/// The digest that a quorum of an epoch's members has signed for the state of this mark, if the message proves one: for
/// who is no member, or whose protocol does not run.
#[must_use]
pub fn vouched(by: &Watched, mark: &Bytes, proof: &Message) -> Option<[u8; 32]> {
    let Message::Stable(certificate) = proof else { return None };
    let config = Config::watching(by)?;
    let marked = certificate.mark == Digest::of(Kind::Mark, &by.realm, &[mark]);
    (certificate.seq > 0 && marked && certificate.holds(&config)).then_some(certificate.state.0)
}

impl Pbft {
    fn mark_digest(&self, mark: &Bytes) -> Digest {
        Digest::of(Kind::Mark, &self.config.realm, &[mark])
    }

    pub(super) fn on_vouched(&mut self, mark: &Bytes, state: &[u8; 32], out: &mut Out) {
        let Some(point) = Point::parse(mark, self.config.n()) else { return };
        let seq = point.seq;
        self.durable = self.durable.max(seq);
        if seq.is_multiple_of(self.config.interval) && !self.vouched.contains_key(&seq) {
            let (digest, state) = (self.mark_digest(mark), Digest(*state));
            let signed = Vote::signed(seq, &digest, &state, &self.config.realm);
            let signature = self.config.sign(Kind::Checkpoint, &signed);
            let vote = Vote { seq, mark: digest, state, signature };
            let ticket = self.persist(Record::Vouched { mark: mark.clone(), vote: vote.clone() }, out);
            self.send_all(&Message::Checkpoint(vote.clone()), Some(ticket), out);
            self.vouched.insert(seq, (mark.clone(), vote));
            newest(&mut self.vouched, KEPT);
            self.pending.push_back((ticket, Own::Vote(seq)));
        }
        self.rise(out);
    }

    pub(super) fn count_own_vote(&mut self, seq: u64, out: &mut Out) {
        if let Some((_, vote)) = self.vouched.get(&seq) {
            let vote = vote.clone();
            self.count_vote(self.me(), vote, out);
            self.proclaim(seq, out);
        }
    }

    pub(super) fn on_vote(&mut self, from: usize, vote: Vote, out: &mut Out) -> Result<(), Fault> {
        let known = self.votes.get(&(from as u8));
        if let Some(same) = known.and_then(|votes| votes.get(&vote.seq)) {
            let equal = (same.mark, same.state) == (vote.mark, vote.state);
            return equal.then_some(()).ok_or(Fault::Contradiction);
        }
        if vote.seq <= self.stable.seq {
            return Ok(());
        }
        let signed = Vote::signed(vote.seq, &vote.mark, &vote.state, &self.config.realm);
        if !vote.seq.is_multiple_of(self.config.interval)
            || !self.config.signed_by(from, Kind::Checkpoint, &signed, &vote.signature)
        {
            return Err(Fault::Forged);
        }
        self.count_vote(from, vote, out);
        Ok(())
    }

    fn count_vote(&mut self, from: usize, vote: Vote, out: &mut Out) {
        let (seq, mark, state) = (vote.seq, vote.mark, vote.state);
        let votes = self.votes.entry(from as u8).or_default();
        votes.insert(seq, vote);
        newest(votes, VOTES_MAX);
        let equal = self.votes.iter().filter_map(|(place, votes)| {
            let vote = votes.get(&seq)?;
            ((vote.mark, vote.state) == (mark, state)).then_some((*place, vote.signature))
        });
        let certificate = Certificate { seq, mark, state, votes: equal.collect() };
        let who =
            certificate.votes.iter().fold(NodeSet::EMPTY, |s, (p, _)| s.or(NodeSet::one(usize::from(*p))));
        if self.config.is_quorum(who) || planted::is(Bug::CheckpointOfOne) {
            self.learn(&certificate, out);
        }
    }

    pub(super) fn on_stable(&mut self, certificate: Certificate, out: &mut Out) -> Result<(), Fault> {
        if certificate.seq <= self.point.seq.min(self.stable.seq)
            || self.certificates.contains_key(&certificate.seq)
        {
            return Ok(());
        }
        if !certificate.holds(&self.config) {
            return Err(Fault::Forged);
        }
        self.learn(&certificate, out);
        Ok(())
    }

    /// Whether this very certificate was verified before.
    pub(super) fn is_known(&self, certificate: &Certificate) -> bool {
        self.certificates.get(&certificate.seq) == Some(certificate)
    }

    /// Takes a proved checkpoint into account.
    pub(super) fn learn(&mut self, certificate: &Certificate, out: &mut Out) {
        let seq = certificate.seq;
        if seq == 0 || self.certificates.contains_key(&seq) {
            return;
        }
        self.certificates.insert(seq, certificate.clone());
        // What was just proved stays, however old: a transfer that took long is about to need it.
        while self.certificates.len() > KEPT {
            let Some(oldest) = self.certificates.keys().copied().find(|kept| *kept != seq) else { break };
            self.certificates.remove(&oldest);
        }
        if seq > self.stable.seq {
            self.counts.stable += 1;
            self.stable = certificate.clone();
            self.persist(Record::Stable(certificate.clone()), out);
        }
        self.rise(out);
        self.proclaim(seq, out);
    }

    /// Says which of its own checkpoints is proved, once the proof is on disk.
    pub(super) fn proclaim(&mut self, seq: u64, out: &mut Out) {
        let proved =
            self.certificates.get(&seq).zip(self.vouched.get(&seq)).is_some_and(|(c, (mark, vote))| {
                seq > self.announced && c.mark == self.mark_digest(mark) && c.state == vote.state
            });
        if proved {
            if self.ticket <= self.persisted {
                self.announce(seq, out);
            } else {
                self.pending.push_back((self.ticket, Own::Stable(seq)));
            }
        }
    }

    pub(super) fn announce(&mut self, seq: u64, out: &mut Out) {
        if let Some((mark, _)) = self.vouched.get(&seq)
            && seq > self.announced
        {
            self.announced = seq;
            out.push(Output::Stable { mark: mark.clone() });
        }
    }

    /// Raises the low watermark; forgets what lies an interval below it.
    fn rise(&mut self, out: &mut Out) {
        let reached = self.point.seq.min(self.durable);
        let proved = self.certificates.keys().copied().rfind(|seq| *seq <= reached);
        let Some(low) = proved.filter(|seq| *seq > self.low) else { return };
        self.low = low;
        let floor = low.saturating_sub(self.config.interval);
        self.slots = self.slots.split_off(&(floor + 1));
        self.next = self.next.max(low + 1);
        self.drop_batches();
        self.carry_on(out);
    }

    /// Forgets batches that no place refers to. What no record of an open place has, the next compaction
    /// leaves out: it is written with the next record that names it.
    pub(super) fn drop_batches(&mut self) {
        let named = |slot: &super::slot::Slot| {
            slot.ever_noted.iter().map(|(_, d)| *d).chain(slot.decided).collect::<Vec<_>>()
        };
        let kept: BTreeSet<Digest> =
            self.slots.values().flat_map(named).chain(core::iter::once(self.nothing)).collect();
        for (digest, held) in &mut self.batches {
            held.logged &= kept.contains(digest);
        }
        let slots = self.slots.values();
        let referred: BTreeSet<Digest> = slots
            .flat_map(|slot| {
                let decisions = slot.commits.all().chain(slot.decisions.all()).map(|(digest, _)| digest);
                slot.ever_noted
                    .iter()
                    .chain(&slot.last_prepared)
                    .map(|(_, d)| *d)
                    .chain(slot.decided)
                    .chain(decisions)
            })
            .chain(self.entered.iter().flat_map(|view| view.chosen.iter().copied()))
            .chain(core::iter::once(self.nothing))
            .collect();
        self.batches.retain(|digest, _| referred.contains(digest));
        self.fetches.retain(|digest, _| referred.contains(digest));
    }

    /// What proves the checkpoint of this mark, if anything does.
    pub(super) fn certificate_of(&self, mark: &Bytes) -> Option<&Certificate> {
        let point = Point::parse(mark, self.config.n())?;
        self.certificates.get(&point.seq).filter(|c| c.mark == self.mark_digest(mark))
    }

    /// Whether a quorum signed this mark and this state, and it is ahead of what is here.
    pub(super) fn proves(&self, mark: &Bytes, state: &[u8; 32]) -> bool {
        let Some(point) = Point::parse(mark, self.config.n()) else { return false };
        let proved = self
            .certificates
            .get(&point.seq)
            .is_some_and(|c| c.mark == self.mark_digest(mark) && c.state.0 == *state);
        point.seq > self.point.seq && (proved || planted::is(Bug::AdmitsAnything))
    }

    pub(super) fn on_installed(&mut self, now: Instant, mark: &Bytes, out: &mut Out) {
        let Some(point) = Point::parse(mark, self.config.n()).filter(|p| p.seq > self.point.seq) else {
            return;
        };
        self.counts.installed += 1;
        self.durable = self.durable.max(point.seq);
        let seq = point.seq;
        self.point = point;
        self.slots.retain(|at, slot| *at > seq || slot.noted.is_some() || !slot.ever_noted.is_empty());
        self.drop_batches();
        self.forget_past();
        self.answer_past(out);
        self.outlived(out);
        self.status_at = seq;
        self.entered_at = now;
        if let Some(state) = self.certificates.get(&seq).map(|c| c.state.0) {
            // It has this state on disk now, and may vouch for it like everybody else.
            self.on_vouched(mark, &state, out);
        }
        self.rise(out);
    }
}
