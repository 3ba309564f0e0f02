//! The state after a crash, and the records that may stand for it.

use super::bundle::Batch;
use super::checkpoint::Point;
use super::crypto::Digest;
use super::message::Claim;
use super::select::select;
use super::{Held, Out, Pbft, Record};
use crate::step::{Corrupt, Output};
use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;

impl Pbft {
    /// The first act of a lifetime. What its log says is on disk: the driver is told again what was stable and
    /// where a checkpoint is due, and what the view carries on is noted before anything else leaves.
    pub(super) fn resume(&mut self, out: &mut Out) {
        if !core::mem::take(&mut self.resumed) {
            return;
        }
        let proved: Vec<u64> = self.certificates.keys().rev().copied().collect();
        proved.into_iter().for_each(|seq| self.proclaim(seq, out));
        if core::mem::take(&mut self.ask_again) {
            out.push(Output::Checkpoint { mark: self.point.mark() });
        }
        self.carry_on(out);
    }

    pub(super) fn replay(
        mut self,
        mark: Option<&Bytes>,
        records: impl IntoIterator<Item = Record>,
    ) -> Result<Self, Corrupt> {
        if let Some(mark) = mark {
            self.point = Point::parse(mark, self.config.n()).ok_or(Corrupt("a mark that none here made"))?;
            self.durable = self.point.seq;
            self.counts.recovered = 1;
        }
        for record in records {
            self.counts.recovered = 1;
            self.replay_one(record)?;
        }
        self.low = if self.stable.seq <= self.point.seq { self.stable.seq } else { self.point.seq };
        let noted_here = self.slots.iter().rev().find(|(_, slot)| slot.noted.is_some());
        let last = noted_here.map_or(0, |(seq, _)| *seq);
        let chosen = self.entered.as_ref().map_or(0, |view| view.chosen.len() as u64);
        self.next = 1 + last.max(self.base + chosen).max(self.low);
        let keeps = self.low.saturating_sub(self.config.interval);
        self.slots.retain(|seq, _| *seq > keeps);
        self.drop_batches();
        self.status_at = self.point.seq;
        let at_checkpoint = self.point.seq > 0 && self.point.seq.is_multiple_of(self.config.interval);
        self.ask_again = at_checkpoint && !self.vouched.contains_key(&self.point.seq);
        self.resumed = self.counts.recovered > 0;
        if !self.active {
            let own = Arc::new(self.leaf());
            self.changes.insert(own.place, own);
        }
        Ok(self)
    }

    fn replay_one(&mut self, record: Record) -> Result<(), Corrupt> {
        let me = self.me();
        match record {
            Record::Lifetime(lifetime) => self.lifetime = self.lifetime.max(lifetime),
            Record::Noted { view, seq, digest, batch } => {
                self.replay_batch(digest, batch)?;
                let primary = self.config.primary(view);
                let current = self.active && view == self.view;
                let slot = self.slot(seq);
                let before = slot.noted;
                slot.note(view, digest);
                if current {
                    slot.prepares.add(primary, digest);
                    slot.prepares.add(me, digest);
                } else {
                    slot.noted = before;
                }
            }
            Record::Prepared { view, seq, digest } => {
                let current = self.active && view == self.view;
                let slot = self.slot(seq);
                slot.last_prepared = Some((view, digest));
                if current {
                    slot.prepared = true;
                    slot.commits.add(me, digest);
                }
            }
            Record::Decided { seq, digest, batch } => {
                self.replay_batch(digest, batch)?;
                self.slot(seq).decided = Some(digest);
            }
            Record::Asked(view) => {
                self.view = view;
                self.active = false;
                self.entered = None;
                self.slots.values_mut().for_each(super::slot::Slot::renew);
            }
            Record::Entered(view) => {
                let selected = select(&self.config, &view.changes, self.nothing);
                let base = selected.ok_or(Corrupt("a new view that its leaves do not determine"))?.base;
                if base.seq > self.stable.seq {
                    self.certificates.insert(base.seq, base.clone());
                    self.stable = base.clone();
                }
                self.take_up(Arc::new(view), base.seq);
            }
            Record::Vouched { mark, vote } => {
                self.votes.entry(me as u8).or_default().insert(vote.seq, vote.clone());
                self.vouched.insert(vote.seq, (mark, vote));
            }
            Record::Stable(certificate) => {
                self.certificates.insert(certificate.seq, certificate.clone());
                if certificate.seq > self.stable.seq {
                    self.stable = certificate;
                }
            }
        }
        Ok(())
    }

    fn replay_batch(&mut self, digest: Digest, batch: Option<Batch>) -> Result<(), Corrupt> {
        match batch {
            Some(batch)
                if batch.digest(&self.config.realm) == digest
                    || super::planted::is(super::Bug::FetchedUncompared) =>
            {
                self.batches.insert(digest, Held { batch: Arc::new(batch), logged: true });
            }
            Some(_) => return Err(Corrupt("a batch under a digest that is not its own")),
            None if self.batches.contains_key(&digest) => {}
            None => return Err(Corrupt("a digest without its batch")),
        }
        Ok(())
    }

    /// Records that stand for all that were written.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut out = Vec::new();
        if self.lifetime > 0 {
            out.push(Record::Lifetime(self.lifetime));
        }
        // What is announced is proved by it too, after a restart; it may be older than the newest.
        let announced = self.certificates.get(&self.announced).filter(|c| c.seq < self.stable.seq);
        out.extend(announced.cloned().map(Record::Stable));
        if self.stable.seq > 0 {
            out.push(Record::Stable(self.stable.clone()));
        }
        out.extend(
            self.vouched
                .values()
                .map(|(mark, vote)| Record::Vouched { mark: mark.clone(), vote: vote.clone() }),
        );
        let mut given = BTreeSet::from([self.nothing]);
        let mut with = |digest: Digest| {
            let held = self.batches.get(&digest)?;
            given.insert(digest).then(|| (*held.batch).clone())
        };
        let mut noted: Vec<Claim> = self.slots.iter().flat_map(|(seq, slot)| slot.claims(*seq)).collect();
        noted.sort_unstable_by_key(|c| (c.view, c.seq, c.digest));
        let prepared: Vec<Claim> = self
            .slots
            .iter()
            .filter_map(|(seq, slot)| {
                slot.last_prepared.map(|(view, digest)| Claim { seq: *seq, view, digest })
            })
            .collect();
        let now = |c: &Claim| self.active && c.view == self.view;
        let mut write = |out: &mut Vec<Record>, current: bool| {
            for c in noted.iter().filter(|c| now(c) == current) {
                out.push(Record::Noted { view: c.view, seq: c.seq, digest: c.digest, batch: with(c.digest) });
            }
            for c in prepared.iter().filter(|c| now(c) == current) {
                out.push(Record::Prepared { view: c.view, seq: c.seq, digest: c.digest });
            }
        };
        write(&mut out, false);
        if let Some(view) = &self.entered {
            out.push(Record::Entered((**view).clone()));
        } else if self.view > 0 {
            out.push(Record::Asked(self.view));
        }
        write(&mut out, true);
        for (seq, slot) in &self.slots {
            if let Some(digest) = slot.decided {
                out.push(Record::Decided { seq: *seq, digest, batch: with(digest) });
            }
        }
        out
    }
}
