//! The normal case: pre-prepare, prepare, commit, apply.

use super::bundle::{BATCH_BYTES_MAX, Batch, Bundle};
use super::crypto::{Digest, Kind, Tag};
use super::message::{CLAIMS_MAX, NOTED_MAX, covered};
use super::slot::{Counted, Slot};
use super::{Bug, Held, Message, Out, Own, Pbft, Record, planted};
use crate::engine::EngineError;
use crate::step::{Fault, Output};
use alloc::sync::Arc;
use dwcp_env::Instant;

/// After so many lies of its own to this member a primary is left at once: there is no patience with who is
/// caught. (Lies to one member only cost the group one member's votes in this view, as silence towards it would.)
const LIES_MAX: u32 = 3;
/// Votes of views to come that are kept for each sender: both phases of a window.
const AHEAD_MAX: usize = 2 * super::config::WINDOW_MAX as usize;
/// A primary has at most `pipeline` places under way that it has not applied itself; a backup that lags
/// by some rounds still takes note of them. Bounds the claims that one view of a liar's leaves behind.
const PIPELINES_AHEAD: u64 = 4;

impl Pbft {
    pub(super) fn slot(&mut self, seq: u64) -> &mut Slot {
        self.slots.entry(seq).or_default()
    }

    /// What the current view's begin says this place carries.
    pub(super) fn chosen(&self, seq: u64) -> Option<Digest> {
        let chosen = &self.entered.as_ref()?.chosen;
        chosen.get(usize::try_from(seq.checked_sub(self.base + 1)?).ok()?).copied()
    }

    /// Keeps a batch; `logged` says whether a record of a place that is open has it.
    pub(super) fn hold(&mut self, digest: Digest, batch: Arc<Batch>) {
        self.fetches.remove(&digest);
        self.batches.entry(digest).or_insert(Held { batch, logged: false });
    }

    /// The batch, if no record has it yet: to go into the next.
    pub(super) fn unlogged(&mut self, digest: Digest) -> Option<Batch> {
        let held = self.batches.get_mut(&digest).filter(|held| !held.logged)?;
        held.logged = true;
        Some((*held.batch).clone())
    }

    /// Gives batches places, while the window and the pipeline have room.
    pub(super) fn order(&mut self, out: &mut Out) {
        while self.leads()
            && self.open(self.next)
            && self.next.saturating_sub(self.point.seq) <= self.config.pipeline
            && let Some(batch) = self.next_batch()
        {
            let seq = self.next;
            self.next += 1;
            let digest = batch.digest(&self.config.realm);
            self.hold(digest, Arc::new(batch));
            let ticket = self.note(seq, digest, out);
            let batch = (*self.batches[&digest].batch).clone();
            let view = self.view;
            let what = covered(view, seq, digest);
            let with = |tag| Message::PrePrepare { view, seq, batch: batch.clone(), tag };
            self.say_all(Kind::PrePrepare, &what, with, Some(ticket), out);
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the message's fields")]
    pub(super) fn on_pre_prepare(
        &mut self,
        now: Instant,
        from: usize,
        view: u64,
        seq: u64,
        batch: Batch,
        tag: &Tag,
        out: &mut Out,
    ) -> Result<(), Fault> {
        let now_leads = view == self.view && self.active && from == self.config.primary(view);
        let taken = self
            .examine_order(from, view, seq, &batch, tag)
            .and_then(|digest| if now_leads { self.take(now, seq, digest, batch, out) } else { Ok(()) });
        if now_leads && taken.is_err() {
            self.lies.0 += 1;
            if self.lies.0 >= LIES_MAX {
                self.leave(self.view + 1, out);
            }
        }
        taken
    }

    /// The digest of what a primary gives a place, if it is one and said so. The link tells who speaks: a wrong code is a
    /// lie like others.
    fn examine_order(
        &self,
        from: usize,
        view: u64,
        seq: u64,
        batch: &Batch,
        tag: &Tag,
    ) -> Result<Digest, Fault> {
        if !batch.bounded() {
            return Err(Fault::Bound);
        }
        let digest = batch.digest(&self.config.realm);
        self.check(Kind::PrePrepare, from, &covered(view, seq, digest), tag)?;
        if from != self.config.primary(view) {
            return Err(Fault::Sender);
        }
        Ok(digest)
    }

    /// Takes a batch of the primary's of this view, in its own words.
    fn take(
        &mut self,
        now: Instant,
        seq: u64,
        digest: Digest,
        batch: Batch,
        out: &mut Out,
    ) -> Result<(), Fault> {
        if seq <= self.base && !planted::is(Bug::WatermarkUnchecked) {
            return Err(Fault::Bound);
        }
        if !self.open(seq) {
            return Ok(());
        }
        let noted = self.slots.get(&seq).and_then(|slot| slot.noted);
        if let Some(expected) = noted.or(self.chosen(seq)).filter(|_| !planted::is(Bug::SecondPrePrepare))
            && expected != digest
        {
            return Err(Fault::Contradiction);
        }
        if noted == Some(digest) || !self.has_room_for(seq, digest) || !self.bears(seq, &batch) {
            return Ok(());
        }
        for bundle in &batch.bundles {
            self.check_bundle(bundle)?;
        }
        for bundle in &batch.bundles {
            if let Some(since) = self.known_since(bundle.name) {
                self.pace.ordered(now.since(since.max(self.entered_at)));
            }
            self.know(now, bundle.clone(), true);
        }
        self.hold(digest, Arc::new(batch));
        self.note(seq, digest, out);
        Ok(())
    }

    /// Whether this member may take note of this digest there: what it says in its leave has room for all claims.
    pub(super) fn has_room_for(&self, seq: u64, digest: Digest) -> bool {
        let claims: usize =
            self.slots.range(self.stable.seq + 1..).map(|(_, slot)| slot.ever_noted.len()).sum();
        match self.slots.get(&seq) {
            Some(slot) if slot.has_noted(digest) => true,
            Some(slot) => slot.ever_noted.len() < CLAIMS_MAX && claims < NOTED_MAX,
            None => claims < NOTED_MAX,
        }
    }

    /// Whether a batch that is new here is no more than a correct primary has under way: not too far ahead
    /// of what was applied or carried on, and not too much. No accusation follows: who lags sees a correct primary
    /// far ahead too, and gets what it left out again when it is stuck.
    fn bears(&self, seq: u64, batch: &Batch) -> bool {
        let carried = self.entered.as_ref().map_or(0, |view| view.chosen.len() as u64);
        let reached = self.point.seq.max(self.stable.seq).max(self.base + carried);
        let open = self.slots.range(self.point.seq + 1..).filter_map(|(_, slot)| slot.noted);
        let bytes: usize = open.filter_map(|d| self.batches.get(&d)).map(|held| held.batch.size()).sum();
        let most = (self.config.pipeline as usize + 1) * BATCH_BYTES_MAX;
        seq.saturating_sub(reached) <= self.config.pipeline * PIPELINES_AHEAD && bytes + batch.size() <= most
    }

    /// Takes note that this place carries this batch in this view, and says so once it is on disk.
    pub(super) fn note(&mut self, seq: u64, digest: Digest, out: &mut Out) -> crate::step::Ticket {
        let (me, view, primary) = (self.me(), self.view, self.config.primary(self.view));
        let batch = self.unlogged(digest);
        self.pace.noted(seq);
        let slot = self.slot(seq);
        slot.note(view, digest);
        if primary != me {
            slot.prepares.add(primary, digest);
        }
        let ticket = self.persist(Record::Noted { view, seq, digest, batch }, out);
        self.pending.push_back((ticket, Own::Prepare { view, seq, digest }));
        let after = (!planted::is(Bug::VoteBeforeSync)).then_some(ticket);
        if primary != me {
            let with = |tag| Message::Prepare { view, seq, digest, tag };
            self.say_all(Kind::Prepare, &covered(view, seq, digest), with, after, out);
        }
        if planted::is(Bug::CommitUnprepared) {
            self.prepare(seq, digest, out);
        }
        self.try_prepare(seq, out);
        ticket
    }

    pub(super) fn on_prepare(
        &mut self,
        from: usize,
        view: u64,
        seq: u64,
        digest: Digest,
        tag: Tag,
        out: &mut Out,
    ) -> Result<(), Fault> {
        if from == self.config.primary(view) {
            return Err(Fault::Contradiction);
        }
        if !self.of_this_view(from, view, Message::Prepare { view, seq, digest, tag }) || !self.open(seq) {
            return Ok(());
        }
        if self.slot(seq).prepares.add(from, digest) == Counted::Otherwise {
            return Err(Fault::Contradiction);
        }
        self.try_prepare(seq, out);
        Ok(())
    }

    pub(super) fn on_commit(
        &mut self,
        from: usize,
        view: u64,
        seq: u64,
        digest: Digest,
        tag: Tag,
        out: &mut Out,
    ) -> Result<(), Fault> {
        if !self.of_this_view(from, view, Message::Commit { view, seq, digest, tag }) || !self.open(seq) {
            return Ok(());
        }
        if self.slot(seq).commits.add(from, digest) == Counted::Otherwise {
            return Err(Fault::Contradiction);
        }
        self.try_decide(seq, out);
        Ok(())
    }

    /// Whether a vote belongs to the view this member is in; one of a view to come is kept.
    fn of_this_view(&mut self, from: usize, view: u64, message: Message) -> bool {
        if view > self.view || (view == self.view && !self.active) {
            let kept = self.ahead.entry(from as u8).or_default();
            kept.push_back(message);
            if kept.len() > AHEAD_MAX {
                kept.pop_front();
            }
        }
        view == self.view && self.active
    }

    pub(super) fn count_own_prepare(&mut self, view: u64, seq: u64, digest: Digest, out: &mut Out) {
        let me = self.me();
        if view == self.view
            && self.active
            && let Some(slot) = self.slots.get_mut(&seq)
        {
            slot.prepares.add(me, digest);
            self.try_prepare(seq, out);
        }
    }

    pub(super) fn count_own_commit(&mut self, view: u64, seq: u64, digest: Digest, out: &mut Out) {
        let me = self.me();
        if view == self.view
            && self.active
            && let Some(slot) = self.slots.get_mut(&seq)
        {
            slot.commits.add(me, digest);
            self.try_decide(seq, out);
        }
    }

    fn try_prepare(&mut self, seq: u64, out: &mut Out) {
        let Some(slot) = self.slots.get(&seq) else { return };
        let Some(digest) = slot.noted.filter(|_| !slot.prepared) else { return };
        if self.config.is_quorum(slot.prepares.of(digest)) {
            self.prepare(seq, digest, out);
        }
    }

    fn prepare(&mut self, seq: u64, digest: Digest, out: &mut Out) {
        let view = self.view;
        let slot = self.slot(seq);
        slot.prepared = true;
        slot.last_prepared = Some((view, digest));
        let ticket = self.persist(Record::Prepared { view, seq, digest }, out);
        self.pending.push_back((ticket, Own::Commit { view, seq, digest }));
        let after = (!planted::is(Bug::VoteBeforeSync)).then_some(ticket);
        let with = |tag| Message::Commit { view, seq, digest, tag };
        self.say_all(Kind::Commit, &covered(view, seq, digest), with, after, out);
    }

    /// Decides by a quorum's commits, or by f + 1 who know it decided; fetches the batch if it is lacking.
    pub(super) fn try_decide(&mut self, seq: u64, out: &mut Out) {
        let Some(slot) = self.slots.get(&seq).filter(|slot| slot.decided.is_none()) else { return };
        if seq <= self.point.seq {
            return;
        }
        let committed = slot.commits.all().find(|(_, who)| self.config.is_quorum(*who));
        let enough = |who| self.config.has_correct(who) || planted::is(Bug::DecisionOfOne);
        let told = slot.decisions.all().find(|(_, who)| enough(*who));
        let Some((digest, _)) = committed.or(told) else { return };
        if !self.batches.contains_key(&digest) {
            self.fetch(digest, out);
            return;
        }
        self.counts.told += u64::from(committed.is_none());
        self.pace.decided(seq, committed.is_some());
        let batch = self.unlogged(digest);
        self.slot(seq).decided = Some(digest);
        self.persist(Record::Decided { seq, digest, batch }, out);
    }

    /// Applies what is decided next, as far as there is no gap.
    pub(super) fn execute(&mut self, out: &mut Out) {
        while let Some(digest) = self.slots.get(&(self.point.seq + 1)).and_then(|slot| slot.decided) {
            let batch = self.batches[&digest].batch.clone();
            self.point.advance(digest, &self.config.realm);
            for bundle in &batch.bundles {
                self.take_effect(bundle, out);
            }
            if self.point.seq.is_multiple_of(self.config.interval) {
                out.push(Output::Checkpoint { mark: self.point.mark() });
            }
        }
    }

    fn take_effect(&mut self, bundle: &Bundle, out: &mut Out) {
        let name = bundle.name;
        let Some(seen) = self.point.seen.get_mut(usize::from(name.origin)) else { return };
        if seen.fresh(name.lifetime, name.number) {
            if seen.note(name.lifetime, name.number) {
                // What waits of the origin's earlier lifetimes will have no effect any more: nobody orders it.
                self.forget_past();
                self.outlived(out);
            }
        } else {
            self.counts.repeated += 1;
            self.forget(name);
            if !planted::is(Bug::EffectTwice) {
                return;
            }
        }
        let mine =
            (usize::from(name.origin) == self.me() && name.lifetime == self.lifetime && self.born.is_some())
                .then(|| self.mine.remove(&name.number))
                .flatten();
        let (tokens, reads) = mine.map_or_else(Default::default, |m| (m.tokens, m.reads));
        // A malformed body has no effect; f + 1 correct members never take note of one.
        for (i, payload) in bundle.payloads().unwrap_or_default().into_iter().enumerate() {
            self.point.index += 1;
            let token = tokens.get(i).copied();
            out.push(Output::Decided { index: self.point.index, payload, token });
        }
        out.extend(reads.into_iter().map(|token| Output::Readable { token }));
        if self.active {
            self.failed = 0;
        }
        self.forget(name);
    }

    /// A lifetime of this member that it forgot with its disk turns out to be later than the one it proposes under: what is
    /// under way will have no effect, and what comes next goes under a later one.
    pub(super) fn outlived(&mut self, out: &mut Out) {
        if self.born.is_some() && self.point.seen[self.me()].lifetime() > self.lifetime {
            self.answer_past(out);
            self.born = None;
        }
    }

    /// Answers own bundles whose effect came with a peer's state.
    pub(super) fn answer_past(&mut self, out: &mut Out) {
        let seen = self.point.seen[self.me()];
        let past: alloc::vec::Vec<u64> =
            self.mine.keys().copied().filter(|number| seen.past(self.lifetime, *number)).collect();
        for number in past {
            let Some(mine) = self.mine.remove(&number) else { continue };
            out.extend(mine.reads.into_iter().map(|token| Output::Readable { token }));
            let refused = |token| Output::Refused { token, error: EngineError::Unknown };
            out.extend(mine.tokens.into_iter().map(refused));
        }
    }
}
