//! Leaving a view and entering the next.
//!
//! A member that leaves says so to all and takes part in no view until it has the proof of a new one. It
//! leaves when a bundle has waited for its patience; when the primary was caught lying to it; when f + 1 others ask for later views, for the
//! (f + 1)-th latest of these, which a correct one asks for; and when a quorum has asked for its view
//! and the view has not begun within a patience, which has doubled meanwhile (OSDI 1999, §4.5.2).
//!
//! The primary of the new view begins as soon as the leaves it has determine what the view carries on *and* it
//! has the batches; it shows the leaves, and everybody does the sum again. The proof convinces by itself,
//! whoever brings it: it is kept, on disk too, and passed on to those who missed it.

use super::crypto::{Digest, Kind, Signature};
use super::message::{Claim, NewView, ViewChange};
use super::select::{Selected, select};
use super::{Bug, Message, Out, Own, Pbft, Record, planted};
use crate::step::Fault;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dwcp_env::Instant;

impl Pbft {
    pub(super) fn leave(&mut self, view: u64, out: &mut Out) {
        self.view = view;
        self.active = false;
        self.entered = None;
        self.asked_at = None;
        self.lies.0 = 0;
        self.failed = self.failed.saturating_add(1);
        self.ahead.values_mut().for_each(|kept| kept.retain(|m| view_of(m) >= view));
        let ticket = self.persist(Record::Asked(view), out);
        let change = Arc::new(self.leaf());
        let after = (!planted::is(Bug::VoteBeforeSync)).then_some(ticket);
        self.send_all(&Message::ViewChange((*change).clone()), after, out);
        self.pending.push_back((ticket, Own::Change(change)));
    }

    /// This member's leave of all views below the one it asks for.
    pub(super) fn leaf(&self) -> ViewChange {
        let above = || self.slots.range(self.stable.seq + 1..);
        let prepared = above()
            .filter_map(|(seq, slot)| {
                slot.last_prepared.map(|(view, digest)| Claim { seq: *seq, view, digest })
            })
            .filter(|_| !planted::is(Bug::PreparedForgotten))
            .collect();
        let mut noted: Vec<Claim> = above().flat_map(|(seq, slot)| slot.claims(*seq)).collect();
        noted.sort_unstable();
        let mut change = ViewChange {
            place: self.me() as u8,
            view: self.view,
            stable: self.stable.clone(),
            prepared,
            noted,
            signature: Signature::default(),
        };
        change.signature = self.config.sign(Kind::ViewChange, &change.signed(&self.config.realm));
        change
    }

    pub(super) fn count_own_change(&mut self, now: Instant, change: Arc<ViewChange>, out: &mut Out) {
        if change.view == self.view && !self.active {
            self.changes.insert(change.place, change);
            self.follow(now, out);
        }
    }

    pub(super) fn on_view_change(
        &mut self,
        now: Instant,
        from: usize,
        change: ViewChange,
        out: &mut Out,
    ) -> Result<(), Fault> {
        if usize::from(change.place) != from {
            return Err(Fault::Sender);
        }
        let stale = change.view < self.view
            || (change.view == self.view && self.active)
            || self.changes.get(&change.place).is_some_and(|known| known.view >= change.view);
        if stale {
            return Ok(());
        }
        if !change.holds(&self.config, |c| self.is_known(c)) {
            return Err(Fault::Forged);
        }
        self.learn(&change.stable, out);
        self.changes.insert(change.place, Arc::new(change));
        self.follow(now, out);
        Ok(())
    }

    /// Joins those who leave, starts to wait for the new view, begins it.
    fn follow(&mut self, now: Instant, out: &mut Out) {
        let mut later: Vec<u64> = self.changes.values().map(|c| c.view).filter(|v| *v > self.view).collect();
        later.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(view) = later.get(self.config.liars_max) {
            self.leave(*view, out);
        }
        let asked = self.changes.values().filter(|c| c.view >= self.view).count();
        if !self.active && self.asked_at.is_none() && asked >= self.config.quorum {
            self.asked_at = Some(now);
        }
        self.begin(now, out);
    }

    /// Begins the view as its primary, if the leaves determine it and no batch is lacking.
    pub(super) fn begin(&mut self, now: Instant, out: &mut Out) {
        if self.active
            || self.config.primary(self.view) != self.me()
            || !self.changes.contains_key(&(self.me() as u8))
        {
            return;
        }
        let changes: Vec<ViewChange> =
            self.changes.values().filter(|c| c.view == self.view).map(|c| (**c).clone()).collect();
        if changes.len() < self.config.quorum {
            return;
        }
        let Some(selected) = select(&self.config, &changes, self.nothing) else {
            self.counts.new_view_waited += 1;
            return;
        };
        let lacking: Vec<Digest> =
            selected.chosen.iter().filter(|d| !self.batches.contains_key(*d)).copied().collect();
        if !lacking.is_empty() {
            self.counts.new_view_waited += 1;
            lacking.into_iter().for_each(|digest| self.fetch(digest, out));
            return;
        }
        let mut view = NewView {
            view: self.view,
            changes,
            chosen: selected.chosen.clone(),
            signature: Signature::default(),
        };
        view.signature = self.config.sign(Kind::NewView, &view.signed(&self.config.realm));
        self.enter(now, view, &selected, out);
    }

    pub(super) fn on_new_view(&mut self, now: Instant, view: NewView, out: &mut Out) -> Result<(), Fault> {
        if view.view < self.view || (view.view == self.view && self.active) {
            return Ok(());
        }
        let selected = self.examine(&view)?;
        self.enter(now, view, &selected, out);
        Ok(())
    }

    /// What the view carries on, if its proof holds.
    fn examine(&self, view: &NewView) -> Result<Selected, Fault> {
        let primary = self.config.primary(view.view);
        let places = view.changes.windows(2).all(|w| w[0].place < w[1].place);
        let views = view.changes.iter().all(|c| c.view == view.view);
        if view.view == 0 || view.chosen.len() as u64 > self.config.window || !places || !views {
            return Err(Fault::Bound);
        }
        if !self.config.signed_by(primary, Kind::NewView, &view.signed(&self.config.realm), &view.signature) {
            return Err(Fault::Forged);
        }
        let known = |c: &ViewChange| self.changes.get(&c.place).is_some_and(|k| **k == *c);
        if !view.changes.iter().all(|c| known(c) || c.holds(&self.config, |c| self.is_known(c))) {
            return Err(Fault::Forged);
        }
        let mut selected = select(&self.config, &view.changes, self.nothing).ok_or(Fault::Contradiction)?;
        if planted::is(Bug::NewViewUnverified) {
            selected.chosen.clone_from(&view.chosen);
        }
        (selected.chosen == view.chosen).then_some(selected).ok_or(Fault::Contradiction)
    }

    fn enter(&mut self, now: Instant, view: NewView, selected: &Selected, out: &mut Out) {
        self.counts.views_entered += 1;
        let empty = selected.chosen.iter().filter(|d| **d == self.nothing).count() as u64;
        self.counts.filled += empty;
        self.counts.carried += selected.chosen.len() as u64 - empty;
        self.learn(&selected.base, out);
        self.persist(Record::Entered(view.clone()), out);
        let view = Arc::new(view);
        self.take_up(view.clone(), selected.base.seq);
        self.drop_batches();
        self.entered_at = now;
        self.wait_again();
        self.carry_on(out);
        if self.leads() {
            // It stands for the primary's prepares of what is carried on: they are on disk first.
            self.send_all(&Message::NewView((*view).clone()), Some(self.ticket), out);
        }
        self.hand_in_again(now, out);
        self.hear_ahead(now, out);
    }

    /// The state at the begin of a view.
    pub(super) fn take_up(&mut self, view: Arc<NewView>, base: u64) {
        self.view = view.view;
        self.active = true;
        self.asked_at = None;
        self.lies.0 = 0;
        self.pace.renew();
        self.base = base;
        self.next = base + view.chosen.len() as u64 + 1;
        self.changes.retain(|_, c| c.view > view.view);
        self.entered = Some(view);
        self.fetches.clear();
        self.slots.values_mut().for_each(super::slot::Slot::renew);
        self.slots.retain(|seq, slot| *seq > base || slot.decided.is_some());
    }

    /// Takes note of what the view carries on, as far as places are open and batches are here.
    pub(super) fn carry_on(&mut self, out: &mut Out) {
        let Some(view) = self.entered.clone().filter(|_| self.active) else { return };
        for (seq, digest) in (self.base + 1..).zip(&view.chosen) {
            let noted = self.slots.get(&seq).is_some_and(|slot| slot.noted.is_some());
            if noted || !self.open(seq) || !self.has_room_for(seq, *digest) {
                continue;
            }
            if self.batches.contains_key(digest) {
                self.note(seq, *digest, out);
            } else {
                self.fetch(*digest, out);
            }
        }
    }

    /// Votes for this view that came before its proof.
    fn hear_ahead(&mut self, now: Instant, out: &mut Out) {
        for (from, kept) in core::mem::take(&mut self.ahead) {
            for message in kept {
                if view_of(&message) > self.view {
                    self.ahead.entry(from).or_default().push_back(message);
                } else if view_of(&message) == self.view {
                    // What was wrong with it was its sender's; nothing is changed by it.
                    self.counts.blamed += u64::from(self.hear(now, usize::from(from), message, out).is_err());
                }
            }
        }
    }
}

fn view_of(message: &Message) -> u64 {
    match message {
        Message::Prepare { view, .. } | Message::Commit { view, .. } => *view,
        _ => 0,
    }
}
