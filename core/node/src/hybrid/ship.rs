//! Copies: entries pulled from the home's tape, written, played; and the tape given to who asks.

use super::message::{HybridMessage, Part, Where};
use super::{HybridGroup, Standing, TERM_BITS};
use crate::node::{Node, Out};
use crate::peer::hybrid_body;
use crate::repair::{Fetch, Place, Repair};
use crate::serve::NodeJob;
use dwcp_chain::{ChainRecord, Found};
use dwcp_consensus::hybrid::{Lineage, era_of, first_epoch};
use dwcp_consensus::{Position, StateMachine as _, Work};
use dwcp_env::bound::REPLICATION_BATCH_MAX;
use dwcp_env::{Duration, GroupId, Instant, JobResult, Lane, NodeId, Now, Send, wire};
use dwcp_store::{Store, StoreError, Taped};
use dwcp_wal::{GroupLog, Record};
use std::collections::BTreeMap;

/// What simulation believes of making an empty state.
const COST_OF_RESET: Duration = Duration::millis(2);

impl HybridGroup {
    /// Whether the state is a prefix of the owner's order.
    fn is_sound(&self, index: u64) -> bool {
        let known = self.deed().is_none_or(|d| d.lineage(self.copy.era, index) == Lineage::Prefix);
        self.copy.whole && self.copy.forgetting.is_none() && known
    }
    /// Whom to pull from: the home's nodes, then all others, in turn; last who has not been heard of late.
    fn next_source(&self, now: Now, me: NodeId, patience: Duration) -> Option<NodeId> {
        let owner = self.owner();
        let mut nodes: Vec<NodeId> = self.places.keys().copied().filter(|n| *n != me).collect();
        // A source that has never been heard in this era gives nothing.
        let era = self.era();
        let gives = |n: &NodeId| {
            self.heard
                .get(n)
                .is_some_and(|h| h.word.era >= era && h.word.sound && h.word.part != Part::Leaving)
        };
        nodes.retain(gives);
        let silent = |n: &NodeId| self.heard.get(n).is_none_or(|h| h.at + patience < now.mono);
        let elsewhere = |n: &NodeId| self.places.get(n).map(|m| m.region) != Some(owner);
        nodes.sort_by_key(|n| (silent(n), elsewhere(n), self.copy.gone.contains(n), *n));
        nodes.get(self.copy.turn % nodes.len().max(1)).copied()
    }
    /// All of the home's nodes that were heard have said that they don't have what comes next.
    fn must_fetch(&self) -> bool {
        let home = self.nodes_of(self.owner());
        let era = self.era();
        let mut heard = home
            .iter()
            .filter(|n| self.heard.get(n).is_some_and(|h| h.word.era >= era && h.word.part == Part::Home))
            .peekable();
        heard.peek().is_some() && heard.all(|n| self.copy.gone.contains(n))
    }
}

impl Node {
    /// A message about a hybrid keyspace.
    pub(crate) fn on_hybrid(
        &mut self,
        now: Now,
        from: NodeId,
        group: GroupId,
        message: HybridMessage,
        out: &mut Out,
    ) {
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        if !h.places.contains_key(&from) {
            return;
        }
        match message {
            HybridMessage::Where(word) => {
                h.heard.insert(from, super::Heard { at: now.mono, word });
                if word.sound && word.era == h.era() {
                    h.ledger.heard(from, word.durable);
                }
            }
            HybridMessage::Pull { after, era } => {
                // Who knows of a later era must not be given what this one goes on with.
                if h.part != Part::Leaving && era <= h.era() {
                    h.pulls.insert(from, (after, now.mono + self.config.engine.heartbeat));
                }
            }
            HybridMessage::Haul { after, era, entries } => {
                self.on_haul(now, (from, group), after, era, entries);
            }
            HybridMessage::Gone { after } => {
                let here = self.groups.get(&group).and_then(|g| g.store().position());
                if h.copy.source == Some(from) && here == after {
                    h.copy.gone.insert(from);
                    (h.copy.source, h.copy.again_at) = (None, now.mono);
                    h.copy.turn += 1;
                    self.probe.reachable("hybrid.tape_has_not");
                }
            }
        }
        out.wake_by(now.mono);
    }

    fn on_haul(
        &mut self,
        now: Now,
        (from, group): (NodeId, GroupId),
        after: Option<Position>,
        era: u32,
        entries: Vec<(Position, Taped)>,
    ) {
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get(&group)) else { return };
        let here = g.store().position();
        let asked = h.part == Part::Copy && h.copy.source == Some(from) && here == after;
        let index = here.map_or(0, |p| p.index);
        if !asked || h.copy.frozen.is_some() || era < h.era() || !h.is_sound(index) || g.repair.is_some() {
            return;
        }
        let rising = entries.windows(2).all(|w| w[0].0 < w[1].0 && w[0].0.index < w[1].0.index);
        if !rising || entries.first().is_some_and(|(at, _)| at.index <= index) {
            let why = "a haul that does not go on from what was asked".to_string();
            let fault = dwcp_env::PeerFault::Body { from, what: "hybrid message", why };
            return self.on_fault(from, &fault);
        }
        h.copy.again_at = now.mono;
        if !entries.is_empty() {
            h.copy.gone.clear();
        } else if h.places.get(&from).map(|m| m.region) != Some(h.owner()) {
            // Another copy, that has no more either: copies that ask each other alone would never hear of a home that is back.
            h.copy.turn += 1;
        }
        self.play(group, entries);
    }

    /// Writes entries to the copy's log and plays them, up to a seal that makes this node a voter of its home.
    fn play(&mut self, group: GroupId, entries: Vec<(Position, Taped)>) {
        let me = self.config.node;
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get(&group)) else { return };
        let mut store = g.store.lock();
        let mut wal = self.wal.lock();
        for (at, entry) in entries {
            let payload = wire::encode(&entry).into();
            let lsn = wal.append(h.slot, Record::Entry { index: at.index, term: at.term, payload });
            if !store.play(at, &entry) {
                return;
            }
            h.copy.pending.push_back((lsn, at.index));
            (h.copy.entries_since, h.copy.exact) = (h.copy.entries_since + 1, false);
            let Taped::Note(Some(record)) = entry else { continue };
            let Some(record) = ChainRecord::decode(&record).ok().flatten() else { continue };
            h.copy.era = era_of(record.spec.epoch);
            let calls_me = record.base == at.index && record.spec.members.voters.contains(&me);
            if calls_me && h.owner() == h.spec.region && h.copy.era == h.era() {
                h.copy.exact = true;
                return;
            }
        }
    }

    /// Gives tapes to who asked for them, as far as there is something; in the end of a turn.
    pub(super) fn answer_pulls(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let repairing = self.repairing(group);
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get(&group)) else { return };
        let store = g.store();
        let index = store.position().map_or(0, |p| p.index);
        if repairing || h.part == Part::Leaving || !h.is_sound(index) {
            h.pulls.clear();
            return;
        }
        let room = dwcp_env::ByteCount(REPLICATION_BATCH_MAX.0);
        let (era, mut answers) = (h.era(), Vec::new());
        h.pulls.retain(|to, (after, until)| {
            let found = store.tape().and_then(|t| t.behind(*after, room));
            let answer = match found {
                Some(entries) if entries.is_empty() && now.mono < *until => {
                    out.wake_by(*until);
                    return true;
                }
                Some(entries) => HybridMessage::Haul { after: *after, era, entries },
                None => HybridMessage::Gone { after: *after },
            };
            answers.push((*to, answer));
            false
        });
        for (to, answer) in answers {
            out.sends.push(Send { to, lane: Lane::Data, body: hybrid_body(group, &answer), after: None });
        }
    }

    /// What has reached the disk since the last turn.
    pub(super) fn note_durable(&mut self, group: GroupId) {
        let durable = self.wal.lock().durable();
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        while let Some((_, index)) = h.copy.pending.pop_front_if(|(lsn, _)| *lsn <= durable) {
            h.copy.durable = index;
        }
    }

    /// Asks for what comes next, if it is time.
    pub(super) fn pull(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let me = self.config.node;
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get(&group)) else { return };
        let here = g.store().position();
        let index = here.map_or(0, |p| p.index);
        let idle = h.copy.frozen.is_some() || h.places.is_empty() || !h.is_sound(index) || g.repair.is_some();
        if idle || now.mono < h.copy.again_at {
            return out.wake_by(if idle { Instant::FAR } else { h.copy.again_at });
        }
        if h.must_fetch() {
            return self.fetch_copy(group, out, now);
        }
        if h.copy.source.is_some() && h.copy.again_at < now.mono {
            // It was asked and has not answered in time.
            h.copy.turn += 1;
        }
        let source = h.next_source(now, me, self.patience.ask_again);
        h.copy.source = source;
        h.copy.again_at = now.mono + self.patience.ask_again;
        let era = h.era();
        match source {
            Some(to) => {
                let pull = HybridMessage::Pull { after: here, era };
                out.sends.push(Send { to, lane: Lane::Data, body: hybrid_body(group, &pull), after: None });
            }
            None => h.copy.again_at = now.mono + self.config.engine.heartbeat,
        }
        out.wake_by(h.copy.again_at);
    }

    /// Asks the home for a whole state.
    pub(super) fn fetch_copy(&mut self, group: GroupId, out: &mut Out, now: Now) {
        let me = self.config.node;
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get_mut(&group)) else { return };
        let mut peers = h.nodes_of(h.owner());
        peers.retain(|n| *n != me);
        if peers.is_empty() {
            return;
        }
        self.probe.reachable("hybrid.fetched_a_state");
        let here = g.store().position().map_or(0, |p| p.index);
        let began = h.deed().and_then(|d| d.began()).map_or(0, |c| c.at.index);
        let term = u64::from(first_epoch(h.era())) << TERM_BITS;
        let reach = Position { term, index: here.max(began) + 1 };
        let place = Place { slot: h.slot, record: ChainRecord::default(), found: Found::nothing() };
        let fetch = Some(Fetch::reaching(reach));
        g.repair = Some(Box::new(Repair::new(place, GroupLog::default(), fetch, BTreeMap::new(), peers)));
        h.copy.gone.clear();
        out.wake_by(now.mono);
    }

    /// The state is the home's, as of its checkpoint.
    pub(crate) fn copy_fetched(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get_mut(&group)) else { return };
        let store = g.store();
        let at = store.position().unwrap_or_default();
        h.copy.era = super::era_of_state(&store);
        (h.copy.whole, h.copy.exact, h.copy.durable) = (true, true, at.index);
        h.copy.pending.clear();
        let mut wal = self.wal.lock();
        wal.append(h.slot, Record::Purge { term: at.term, index: at.index });
        wal.append(h.slot, Standing { home: false, whole: true }.record());
        h.copy.again_at = now.mono;
        out.wake_by(now.mono);
    }

    /// Throws the state away: first says so on the disk.
    pub(super) fn forget_copy(&mut self, group: GroupId) {
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        if h.copy.forgetting.is_some() {
            return;
        }
        self.probe.reachable("hybrid.state_forgotten");
        let mut wal = self.wal.lock();
        wal.append(h.slot, Record::Truncate { after: None });
        let lsn = wal.append(h.slot, Standing { home: false, whole: false }.record());
        (h.copy.whole, h.copy.exact) = (false, false);
        h.copy.pending.clear();
        h.copy.forgetting = Some(Some(lsn));
    }

    /// Goes on with a state that is being thrown away, or is not there.
    pub(super) fn go_on_forgetting(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let durable = self.wal.lock().durable();
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get(&group)) else { return };
        match h.copy.forgetting {
            Some(Some(lsn)) if lsn <= durable => {
                h.copy.forgetting = Some(None);
                let (options, storage, probe) = (h.options.clone(), h.storage.clone(), self.probe.clone());
                let run = Box::new(move || {
                    Box::new(Store::reset(options, storage, probe))
                        as Box<dyn std::any::Any + core::marker::Send>
                });
                let work = Work { name: "hybrid.reset", cost: COST_OF_RESET, run };
                self.start_job(NodeJob::HybridReset { group }, work, out);
            }
            None if !h.copy.whole && g.repair.is_none() => {
                // A lifetime before this one had begun to.
                if g.store().position().is_some() {
                    self.forget_copy(group)
                } else {
                    self.fetch_copy(group, out, now)
                }
            }
            _ => {}
        }
    }

    /// An empty state has been made.
    pub(crate) fn on_hybrid_reset(&mut self, now: Now, group: GroupId, result: JobResult, out: &mut Out) {
        let made = result.and_then(|r| r.downcast::<Result<Store, StoreError>>().ok()).map(|r| *r);
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get_mut(&group)) else { return };
        let mut store = match made {
            Some(Ok(store)) => store,
            Some(Err(why)) => return self.fail(why.to_string(), out),
            None => {
                return self
                    .fail("the job that makes an empty state was lost; start the node again".into(), out);
            }
        };
        store.keep_tape(super::TAPE);
        *g.store.lock() = store;
        g.leases = dwcp_store::LeaseClock::new();
        g.leases_term = 0;
        (h.copy.forgetting, h.copy.durable, h.copy.era) = (None, 0, 0);
        self.end_watches(group, out);
        self.fetch_copy(group, out, now);
    }

    /// Writes a copy's state to its file now and then, so that its log may go.
    pub(super) fn checkpoint_copy(&mut self, group: GroupId, out: &mut Out) {
        let after = self.config.engine.snapshot_entries.max(1);
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get(&group)) else { return };
        if h.copy.checkpointing
            || h.copy.entries_since < after
            || g.repair.is_some()
            || h.copy.forgetting.is_some()
        {
            return;
        }
        let work = g.store.lock().checkpoint();
        if let Some(work) = work {
            (h.copy.checkpointing, h.copy.entries_since) = (true, 0);
            self.start_job(NodeJob::HybridCheckpoint { group }, work, out);
        }
    }

    /// A copy's state is in its file: its log before that may go.
    pub(crate) fn on_copy_checkpoint(&mut self, group: GroupId, result: JobResult, out: &mut Out) {
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&group), self.groups.get(&group)) else { return };
        h.copy.checkpointing = false;
        if h.copy.forgetting.is_some() || !h.copy.whole {
            return;
        }
        let done = g.store.lock().checkpoint_done(result);
        match done {
            Ok(done) => {
                let upto = done.at;
                if upto.index <= h.copy.durable {
                    self.wal.lock().append(h.slot, Record::Purge { term: upto.term, index: upto.index });
                }
            }
            Err(why) => self.fail(why, out),
        }
    }

    /// Tells the others where this node is.
    pub(super) fn say_where(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let me = self.config.node;
        let leads = self.leader(group) == Some(me);
        let applied = self.groups.get(&group).and_then(|g| g.store().position());
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        if now.mono < h.beat_at {
            return out.wake_by(h.beat_at);
        }
        h.beat_at = now.mono + self.config.engine.heartbeat;
        out.wake_by(h.beat_at);
        let index = applied.map_or(0, |p| p.index);
        #[cfg(feature = "planted-bugs")]
        let durable = if self.config.bugs.hybrid_unsynced_counts { index } else { h.copy.durable };
        #[cfg(not(feature = "planted-bugs"))]
        let durable = h.copy.durable;
        let settled = h.copy.pending.is_empty();
        let word = Where {
            era: h.era(),
            part: h.part,
            sound: h.is_sound(index),
            at: applied,
            durable: if h.part == Part::Home { index } else { durable },
            leads: leads && h.part == Part::Home,
            frozen: h.copy.frozen.filter(|_| settled),
            drained: h.drain.done,
        };
        let body = hybrid_body(group, &HybridMessage::Where(word));
        for to in h.places.keys().filter(|n| **n != me) {
            out.sends.push(Send { to: *to, lane: Lane::Control, body: body.clone(), after: None });
        }
    }
}
