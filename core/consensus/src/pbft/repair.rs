//! Sending again what was lost: each member says now and then what it has, and others send what it lacks.
//!
//! Nothing is sent again by a timer of its sender: only who lacks knows. A member that waits says so every
//! `resend`, one that does not every `idle`. If it applied nothing between two of its statuses it is *stuck*, and
//! peers answer with what they have said themselves about the next places, with what they know to be
//! decided, or by bringing it a checkpoint. Answers are rationed by peer: a status costs its sender as much
//! as it costs us at most once a period.

use super::bundle::Batch;
use super::crypto::{Digest, Kind};
use super::message::{Status, covered};
use super::pace::Thought;
use super::slot::Counted;
use super::{Bug, Message, Out, Pbft, planted};
use crate::step::{Fault, Output};
use alloc::sync::Arc;
use alloc::vec::Vec;
use dwcp_env::Instant;

/// Places about which one answer speaks.
const PLACES_MAX: u64 = 32;
/// Bytes of batches and new views sent to one peer in a period, the last one in excess.
const SERVED_MAX: usize = 4 * 1024 * 1024;

impl Pbft {
    /// Whether something is under way.
    fn waits(&self) -> bool {
        !self.active
            || !self.pool.is_empty()
            || !self.mine.is_empty()
            || self.point.seq < self.stable.seq
            || self.slots.last_key_value().is_some_and(|(seq, _)| *seq > self.point.seq)
    }

    /// Does what follows from the change just made.
    pub(super) fn settle(&mut self, now: Instant, out: &mut Out) {
        let before = self.point.seq;
        self.execute(out);
        if self.point.seq > before {
            self.reached(out);
        }
        self.bundle_up(now, out);
        self.order(out);
        let soon = now + self.config.resend;
        if self.next_status > soon && self.waits() {
            self.next_status = soon;
        }
    }

    /// A certificate may have waited for this member to apply as much.
    fn reached(&mut self, out: &mut Out) {
        if self.stable.seq > self.low {
            let certificate = self.stable.clone();
            self.certificates.remove(&certificate.seq);
            let stable = self.stable.seq;
            self.learn(&certificate, out);
            debug_assert_eq!(stable, self.stable.seq);
        }
    }

    pub(super) fn tick(&mut self, now: Instant, out: &mut Out) {
        if now >= self.deadline() {
            self.leave(self.view + 1, out);
        }
        if now < self.next_status {
            return;
        }
        self.judge_pace(out);
        self.served.fill(0);
        self.fetches.values_mut().for_each(|asked| asked.lately = false);
        self.retry(now, out);
        self.appeal(now, out);
        let waits = self.waits();
        let mut status = Status {
            view: self.view,
            active: self.active,
            stuck: self.status_at == self.point.seq,
            executed: self.point.seq,
            stable: self.stable.seq,
            ..Status::default()
        };
        self.status_at = self.point.seq;
        for to in self.config.others() {
            status.tag = self.config.tag(Kind::Status, to, &status.covered());
            self.send(to, Message::Status(status), None, out);
        }
        self.next_status = now + if waits { self.config.resend } else { self.config.idle };
    }

    /// Leaves a primary that is slower than it need be, if others see that too.
    fn judge_pace(&mut self, out: &mut Out) {
        if !self.active || self.leads() {
            return;
        }
        let joined = self.changes.values().any(|change| change.view > self.view);
        let primary = self.config.primary(self.view);
        let leaves = match self.pace.think(primary, self.config.n(), self.config.patience) {
            Thought::Fine => false,
            Thought::Complain => joined,
            Thought::Leave => true,
        };
        if leaves {
            self.counts.slow += 1;
            self.leave(self.view + 1, out);
        }
    }

    /// Whatever waits for a batch asks for it again.
    fn retry(&mut self, now: Instant, out: &mut Out) {
        self.begin(now, out);
        self.carry_on(out);
        let open: Vec<u64> = self.slots.range(self.point.seq + 1..).map(|(seq, _)| *seq).collect();
        for seq in open {
            self.try_decide(seq, out);
        }
    }

    pub(super) fn on_status(&mut self, now: Instant, from: usize, s: &Status, out: &mut Out) {
        let period = self.config.resend / 2;
        if self.answered[from].is_some_and(|at| now.since(at) < period) {
            return;
        }
        self.answered[from] = Some(now);
        if !self.active && s.view <= self.view {
            let own = self.changes.get(&(self.me() as u8)).filter(|c| c.view == self.view);
            if let Some(own) = own {
                self.send(from, Message::ViewChange((**own).clone()), None, out);
            }
        }
        if self.active
            && (s.view < self.view || (s.view == self.view && !s.active))
            && let Some(view) = self.entered.clone()
            && self.rationed(from, view.size())
        {
            // Signed by others: it stands for no record of this member.
            self.send(from, Message::NewView((*view).clone()), self.withheld(), out);
        }
        self.help_with_checkpoints(from, s, out);
        if s.stuck {
            let upto = s.executed.saturating_add(PLACES_MAX).min(self.watermark() + self.config.window);
            for seq in s.executed.saturating_add(1)..=upto {
                self.repeat(from, s, seq, out);
            }
        }
    }

    /// A primary's own new view must be on disk before it leaves; asking for the newest ticket is enough.
    fn withheld(&self) -> Option<crate::step::Ticket> {
        self.leads().then_some(self.ticket)
    }

    fn help_with_checkpoints(&mut self, from: usize, s: &Status, out: &mut Out) {
        for seq in [self.announced, self.stable.seq] {
            if seq > s.stable.min(s.executed)
                && let Some(certificate) = self.certificates.get(&seq)
            {
                self.send(from, Message::Stable(certificate.clone()), None, out);
            }
        }
        let me = self.me() as u8;
        // Counted ones only: those are on disk.
        for vote in self.votes.get(&me).into_iter().flatten().filter(|(seq, _)| **seq > s.stable) {
            self.send(from, Message::Checkpoint(vote.1.clone()), None, out);
        }
        let told = self.slots.get(&(s.executed.saturating_add(1))).is_some_and(|slot| slot.decided.is_some());
        if s.stuck && s.executed < self.announced && !told {
            out.push(Output::Behind { peer: self.config.members[from] });
        }
    }

    /// Says again what this member has said of a place.
    fn repeat(&mut self, to: usize, s: &Status, seq: u64, out: &mut Out) {
        let Some(slot) = self.slots.get(&seq) else { return };
        if let Some(digest) = slot.decided {
            let tag = self.config.tag(Kind::Decision, to, &covered(0, seq, digest));
            self.send(to, Message::Decision { seq, digest, tag }, None, out);
        }
        let (me, view) = (self.me(), self.view);
        let Some(digest) = slot.noted.filter(|_| self.active && s.active && s.view == view) else { return };
        let what = covered(view, seq, digest);
        let (prepared, committed) = (slot.prepares.of(digest).has(me), slot.commits.of(digest).has(me));
        if prepared && self.leads() && self.chosen(seq).is_none() && self.ration(to, digest) {
            let tag = self.config.tag(Kind::PrePrepare, to, &what);
            let batch = (*self.batches[&digest].batch).clone();
            self.send(to, Message::PrePrepare { view, seq, batch, tag }, None, out);
        } else if prepared && !self.leads() {
            let tag = self.config.tag(Kind::Prepare, to, &what);
            self.send(to, Message::Prepare { view, seq, digest, tag }, None, out);
        }
        if committed {
            let tag = self.config.tag(Kind::Commit, to, &what);
            self.send(to, Message::Commit { view, seq, digest, tag }, None, out);
        }
    }

    fn ration(&mut self, to: usize, digest: Digest) -> bool {
        self.rationed(to, self.batches.get(&digest).map_or(0, |held| held.batch.size()))
    }

    /// Whether a peer may be sent so much more in this period.
    fn rationed(&mut self, to: usize, bytes: usize) -> bool {
        let fine = self.served[to] < SERVED_MAX;
        if fine {
            self.served[to] += 64 + bytes;
        }
        fine
    }

    pub(super) fn on_decision(
        &mut self,
        from: usize,
        seq: u64,
        digest: Digest,
        out: &mut Out,
    ) -> Result<(), Fault> {
        if seq <= self.point.seq || seq > self.watermark() + self.config.window {
            return Ok(());
        }
        if self.slot(seq).decisions.add(from, digest) == Counted::Otherwise {
            return Err(Fault::Contradiction);
        }
        self.try_decide(seq, out);
        Ok(())
    }

    /// Asks one peer for a batch, another each time, and once in a period.
    pub(super) fn fetch(&mut self, digest: Digest, out: &mut Out) {
        let asked = self.fetches.entry(digest).or_default();
        if core::mem::replace(&mut asked.lately, true) {
            return;
        }
        let others = self.config.n() - 1;
        let turn = (usize::from(digest.0[0]) + asked.tries as usize) % others;
        asked.tries = asked.tries.wrapping_add(1);
        if let Some(to) = self.config.others().nth(turn) {
            let tag = self.config.tag(Kind::Fetch, to, &covered(0, 0, digest));
            self.send(to, Message::Fetch { digest, tag }, None, out);
        }
    }

    pub(super) fn on_fetch(&mut self, from: usize, digest: Digest, out: &mut Out) {
        if self.batches.contains_key(&digest) && self.ration(from, digest) {
            let batch = (*self.batches[&digest].batch).clone();
            self.send(from, Message::Batch(batch), None, out);
        }
    }

    /// What was asked for by its digest needs no other proof: f + 1 stand for the digest.
    pub(super) fn on_batch(&mut self, now: Instant, batch: Batch, out: &mut Out) -> Result<(), Fault> {
        if !batch.bounded() {
            return Err(Fault::Bound);
        }
        let mut digest = batch.digest(&self.config.realm);
        if planted::is(Bug::FetchedUncompared) {
            digest = self.fetches.keys().next().copied().unwrap_or(digest);
        }
        if self.fetches.contains_key(&digest) {
            self.counts.fetched += 1;
            self.hold(digest, Arc::new(batch));
            self.retry(now, out);
        }
        Ok(())
    }
}
