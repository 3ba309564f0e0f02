//! The deed as this node learns it, and what follows: freezing for a move, cutting, becoming home, leaving.

use super::message::Part;
use super::{Aside, HybridGroup, Leaving, Standing, TERM_BITS, deed_key, era_of_state};
use crate::api::AskError;
use crate::node::{Node, Out};
use crate::question::{Origin, Waits};
use crate::route::reply;
use crate::serve::NodeJob;
use bytes::Bytes;
use dwcp_chain::{ChainRecord, Found, Spec};
use dwcp_consensus::hybrid::{Cut, Deed, Lineage, first_epoch};
use dwcp_consensus::{EngineError, Members, Position, StateMachine as _, Work};
use dwcp_env::{DiskError, Duration, Event, GroupId, JobResult, NodeId, Now, wire};
use dwcp_store::Taped;
use dwcp_store::api::{RangeRequest, Revision};
use dwcp_wal::Record;
use std::collections::BTreeMap;

/// How long a deposed home looks for its old quorum, to know all that it had decided.
const SETTLE: Duration = Duration::secs(10);
/// How long it waits for a transfer into its state to end.
const TRANSFER: Duration = Duration::secs(30);
/// After so long the home takes back what nobody has made of a move.
const ABANDON: Duration = Duration::secs(60);
/// What simulation believes of writing what is kept aside.
const COST_OF_ASIDE: Duration = Duration::millis(5);

impl Node {
    /// All hybrid groups' part of the turn, before the engines run.
    pub(crate) fn keep_hybrid(&mut self, now: Now, out: &mut Out) {
        let ids: Vec<GroupId> = self.hybrid.keys().copied().collect();
        for id in ids {
            self.learn(now, id);
            self.note_durable(id);
            match self.hybrid.get(&id).map(|h| h.part) {
                Some(Part::Home) => self.keep_home(now, id, out),
                Some(Part::Copy) => self.keep_copy(now, id, out),
                Some(Part::Leaving) => self.leave(now, id, out),
                None => {}
            }
            self.give_up_move(now, id, out);
        }
    }

    /// And behind them.
    pub(crate) fn settle_hybrid(&mut self, now: Now, out: &mut Out) {
        let ids: Vec<GroupId> = self.hybrid.keys().copied().collect();
        for id in ids {
            if self.hybrid.get(&id).is_some_and(|h| h.part == Part::Home) {
                if let (Some(h), Some(g)) = (self.hybrid.get_mut(&id), self.groups.get(&id)) {
                    h.note_era(&g.store());
                }
                self.settle_home(now, id, out);
                self.drop_copy_log(id);
            }
            self.answer_pulls(now, id, out);
            self.say_where(now, id, out);
        }
    }

    /// Reads the deed and the members in this node's own copy of the strong keyspace, if they may have changed.
    fn learn(&mut self, now: Now, id: GroupId) {
        let Some(h) = self.hybrid.get(&id) else { return };
        let strong = h.strong;
        let Some(g) = self.groups.get(&strong).filter(|g| g.repair.is_none()) else { return };
        let (members_at, revision) = (self.host.members_at(strong), g.store().revision());
        let told = (Some(revision) != h.seen_revision).then(|| {
            let range = RangeRequest { key: deed_key(&h.keyspace), ..RangeRequest::default() };
            let found = g.store().range(&range).map(|(_, found)| found.kvs).unwrap_or_default();
            found.first().and_then(|kv| Some((Deed::decode(&kv.value)?, kv.mod_revision)))
        });
        let members = (members_at != h.members_at).then(|| self.engine_status(strong).members.nodes);
        let Some(h) = self.hybrid.get_mut(&id) else { return };
        (h.seen_revision, h.members_at) = (Some(revision), members_at);
        if let Some(nodes) = members.filter(|n| !n.is_empty()) {
            h.places = nodes;
        }
        if let Some(Some((deed, at))) = told
            && h.deed.as_ref().is_none_or(|(_, known)| *known < at)
        {
            self.take_deed(now, id, deed, at);
        }
    }

    fn take_deed(&mut self, now: Now, id: GroupId, deed: Deed, at: Revision) {
        let Some(h) = self.hybrid.get_mut(&id) else { return };
        let (era, moved) = (deed.era, h.era() != deed.era);
        h.wanted = deed.next.is_some().then_some((at, now.mono));
        if deed.next.is_some() {
            self.probe.reachable("hybrid.move_wanted");
        }
        h.copy.frozen = None;
        (h.copy.source, h.copy.again_at) = (None, now.mono);
        h.copy.gone.clear();
        h.beat_at = dwcp_env::Instant::ZERO;
        h.deed = Some((deed, at));
        if moved {
            let region = h.name(h.owner());
            self.probe.event(&Event::HybridMoved { group: id, era: era.into(), region });
            // Whom a state was being fetched from has nothing to give any more.
            if let Some(g) = self.groups.get_mut(&id).filter(|_| h.part == Part::Copy) {
                g.repair = None;
            }
            let index = self.groups.get(&id).and_then(|g| g.store().position()).map_or(0, |p| p.index);
            let bytes = self.groups.get(&id).and_then(|g| g.store().tape().map(dwcp_store::Tape::total));
            h.ledger.begin(now.mono, index, bytes.unwrap_or(0));
        }
    }

    /// A copy's part of the turn.
    fn keep_copy(&mut self, now: Now, id: GroupId, out: &mut Out) {
        self.go_on_forgetting(now, id, out);
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&id), self.groups.get(&id)) else { return };
        if g.repair.is_some() || h.copy.forgetting.is_some() || !h.copy.whole {
            return;
        }
        let index = g.store().position().map_or(0, |p| p.index);
        let lineage = h.deed().map_or(Lineage::Prefix, |d| d.lineage(h.copy.era, index));
        if lineage != Lineage::Prefix {
            // It had heard more of a lost home than the one who took over.
            self.probe.reachable("hybrid.copy_beyond_the_cut");
            self.forget_copy(id);
            return out.wake_by(now.mono);
        }
        self.freeze(now, id, out);
        self.cut(now, id, out);
        if self.come_home(now, id, out) {
            return out.wake_by(now.mono);
        }
        self.checkpoint_copy(id, out);
        self.pull(now, id, out);
    }

    /// Takes no entries any more, when nobody can answer for the old home any longer.
    fn freeze(&mut self, now: Now, id: GroupId, out: &mut Out) {
        let Some(h) = self.hybrid.get_mut(&id) else { return };
        let next = h.deed().and_then(|d| d.next).filter(|n| n.to == h.spec.region);
        let (Some(next), Some((revision, since)), None) = (next, h.wanted, h.copy.frozen) else { return };
        let ready = since + h.fence.wait();
        #[cfg(feature = "planted-bugs")]
        let ready = if self.config.bugs.hybrid_wait_skipped { since } else { ready };
        if now.mono < ready {
            return out.wake_by(ready);
        }
        let drained = h.heard.values().filter_map(|w| w.word.drained).find(|(r, _)| *r == revision);
        let has = self.groups.get(&id).and_then(|g| g.store().position()).map_or(0, |p| p.index);
        if next.planned && drained.is_none_or(|(_, all)| has < all) {
            return;
        }
        h.copy.frozen = Some(revision);
        h.beat_at = now.mono;
        self.probe.sometimes("hybrid.frozen_for_a_plan", next.planned);
        self.probe.sometimes("hybrid.frozen_for_a_loss", !next.planned);
    }

    /// Asks for the deed, if this node is frozen with a majority of its region and has most.
    fn cut(&mut self, now: Now, id: GroupId, out: &mut Out) {
        let me = self.config.node;
        let (Some(h), Some(g)) = (self.hybrid.get(&id), self.groups.get(&id)) else { return };
        let Some(frozen) = h.copy.frozen.filter(|_| h.copy.pending.is_empty()) else { return };
        let Some((deed, seen)) = h.deed.clone().filter(|(_, at)| *at == frozen) else { return };
        let (Some(next), Some(at)) = (deed.next, g.store().position()) else { return };
        let region = h.nodes_of(h.spec.region);
        let stands = |n: &NodeId| h.heard.get(n).filter(|w| w.word.frozen == Some(frozen) && w.word.sound);
        let others: Vec<(u64, NodeId)> = region
            .iter()
            .filter(|n| **n != me)
            .filter_map(|n| Some((stands(n)?.word.at?.index, *n)))
            .collect();
        let ahead = |(index, n): &(u64, NodeId)| *index > at.index || (*index == at.index && *n < me);
        let few = (others.len() + 1) * 2 <= region.len();
        if few || others.iter().any(ahead) || now.mono < h.wish_at {
            return out.wake_by(now.mono + self.config.engine.heartbeat);
        }
        let Some(spec) = self.first_spec(id, deed.era + 1) else { return };
        let cut = Cut {
            era: deed.era + 1,
            from: deed.owner,
            at,
            revision: g.store().revision(),
            planned: next.planned,
            heard: h.home_heard().1,
            spec: spec.encode(),
        };
        let after = deed.cut(next.to, cut);
        let deadline = now.mono + h.spec.fence;
        if let Some(h) = self.hybrid.get_mut(&id) {
            h.wish_at = now.mono + h.spec.fence;
        }
        self.probe.reachable("hybrid.cut_asked_for");
        self.ask_for_deed(now, id, (&after, seen), Origin::Node, deadline, out);
    }

    /// The first epoch of an era at this node's region.
    fn first_spec(&self, id: GroupId, era: u32) -> Option<Spec> {
        let h = self.hybrid.get(&id)?;
        let group = self.config.groups.iter().find(|g| g.id == id)?;
        let here = h.nodes_of(h.spec.region);
        let nodes: BTreeMap<_, _> =
            here.iter().filter_map(|n| Some((*n, h.places.get(n)?.clone()))).collect();
        let members = Members { voters: here.into_iter().collect(), nodes, ..Members::default() };
        // Under PBFT an epoch needs keys, and a home that is lost has left none.
        let engine = match group.engine {
            dwcp_chain::EngineKind::Pbft => dwcp_chain::EngineKind::Paxos,
            engine => engine,
        };
        let spec = Spec {
            epoch: first_epoch(era),
            engine,
            members,
            first: Some(self.config.node),
            ..Spec::default()
        };
        spec.check().is_ok().then_some(spec)
    }

    /// Begins or joins the home's chain, if the deed says so and the state is where it can.
    fn come_home(&mut self, now: Now, id: GroupId, out: &mut Out) -> bool {
        let me = self.config.node;
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&id), self.groups.get(&id)) else { return false };
        let Some(deed) = h.deed().filter(|d| d.owner == h.spec.region).cloned() else { return false };
        let mut store = g.store.lock();
        let Ok(record) = ChainRecord::decode(&store.applied().1) else { return false };
        let here = store.position().unwrap_or_default();
        let era = h.copy.era;
        if era < deed.era {
            // The cut itself: the seal is noted by each of the first members, in the same words.
            let Some(cut) = deed.began().filter(|c| c.at == here) else { return false };
            let Some(spec) = Spec::decode(&cut.spec).filter(|s| s.members.voters.contains(&me)) else {
                return false;
            };
            // In the new era's term: at this index of the old one the lost home may have decided something else.
            let sealed = Position { term: u64::from(spec.epoch) << TERM_BITS, index: here.index + 1 };
            let next = record.unwrap_or_default().next(spec, sealed.index).encode();
            let entry = Taped::Note(Some(next));
            let payload = Bytes::from(wire::encode(&entry));
            self.wal.lock().append(h.slot, Record::Entry { index: sealed.index, term: sealed.term, payload });
            store.play(sealed, &entry);
            h.copy.era = era_of_state(&store);
            self.probe.reachable("hybrid.sealed_out_of_band");
        } else {
            let Some(record) = record.filter(|r| r.spec.members.voters.contains(&me)) else { return false };
            if !h.copy.exact && record.base != here.index {
                drop(store);
                // An engine could not tell what of its epoch this state holds.
                self.fetch_copy(id, out, now);
                return true;
            }
        }
        let index = store.position().map_or(0, |p| p.index);
        drop(store);
        h.part = Part::Home;
        h.copy.frozen = None;
        (h.copy.durable, h.copy.entries_since) = (index, h.copy.entries_since + 1);
        h.ledger.begin(now.mono, index, g.store().tape().map_or(0, dwcp_store::Tape::total));
        self.wal.lock().append(h.slot, Standing { home: true, whole: true }.record());
        // What its log held at boot says nothing of the state it has been brought since.
        let mut found = h.found.take().unwrap_or_else(Found::nothing);
        found.state_is_whole();
        self.probe.reachable("hybrid.came_home");
        if let Err(why) = self.start_group(now, id, found) {
            self.fail(why, out);
        }
        true
    }

    /// The copy's log at home holds the seal that the era began with, until a checkpoint does.
    fn drop_copy_log(&mut self, id: GroupId) {
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&id), self.groups.get(&id)) else { return };
        if h.copy.pending.is_empty() && h.copy.entries_since == 0 {
            return;
        }
        let Some(checkpoint) = g.store().current_checkpoint() else { return };
        if checkpoint.at.index >= h.copy.durable {
            let Position { term, index } = checkpoint.at;
            self.wal.lock().append(h.slot, Record::Purge { term, index });
            h.copy.pending.clear();
            h.copy.entries_since = 0;
        }
    }

    /// A later era has begun elsewhere while this home was away.
    pub(super) fn begin_to_leave(&mut self, now: Now, id: GroupId, out: &mut Out) {
        let Some(h) = self.hybrid.get_mut(&id) else { return };
        h.fence.lose();
        h.part = Part::Leaving;
        h.leaving = Some(Leaving { since: now.mono, asked: None, settled: false, writing: false });
        h.pulls.clear();
        self.probe.reachable("hybrid.deposed");
        let held: Vec<_> = std::mem::take(&mut h.held).into_iter().map(|(token, _)| token).collect();
        for token in held {
            self.on_engine_error(now, token, EngineError::Unknown, out);
        }
        self.leave(now, id, out);
    }

    /// Lets the old chain settle, writes what nobody took over, and becomes a copy with nothing.
    fn leave(&mut self, now: Now, id: GroupId, out: &mut Out) {
        let beat = self.config.engine.heartbeat;
        let (Some(h), Some(g)) = (self.hybrid.get_mut(&id), self.groups.get(&id)) else { return };
        let Some(leaving) = &mut h.leaving else { return };
        out.wake_by(now.mono + beat);
        if leaving.writing {
            return;
        }
        let waited = now.mono.since(leaving.since);
        if !leaving.settled && waited < SETTLE {
            if self.questions_idle(id) {
                let token = self.ask_chain_for_its_end(now, id);
                if let Some(leaving) = self.hybrid.get_mut(&id).and_then(|h| h.leaving.as_mut()) {
                    leaving.asked = token;
                }
            }
            return;
        }
        let store = g.store();
        if g.repair.is_some() || (store.is_installing() && waited < TRANSFER) {
            return;
        }
        let (settled, index) = (leaving.settled, store.position().map_or(0, |p| p.index));
        let era = era_of_state(&store);
        let deed = h.deed.as_ref().map(|(d, _)| d.clone());
        let cut = deed.as_ref().and_then(|d| d.cuts.iter().find(|c| c.era == era + 1));
        let beyond = deed.as_ref().is_some_and(|d| d.lineage(era, index) != Lineage::Prefix);
        #[cfg(feature = "planted-bugs")]
        let beyond = beyond && !self.config.bugs.hybrid_tail_forgotten;
        self.probe.sometimes("hybrid.left_with_nothing", !beyond);
        if !beyond {
            drop(store);
            return self.become_copy(now, id, out);
        }
        let at = cut.map_or((0, 0), |c| (c.at.index, c.revision));
        let aside = Aside::read(&store, era, at, settled);
        drop(store);
        leaving.writing = true;
        self.probe.reachable("hybrid.tail_kept_aside");
        self.probe.event(&Event::HybridAside {
            group: id,
            era: era.into(),
            changes: aside.events.len() as u64,
        });
        h.aside.retain(|a| a.era != era);
        h.aside.push(aside.brief());
        let storage = h.storage.clone();
        let run = Box::new(move || {
            Box::new(aside.write(&*storage, id)) as Box<dyn std::any::Any + core::marker::Send>
        });
        let work = Work { name: "hybrid.aside", cost: COST_OF_ASIDE, run };
        self.start_job(NodeJob::HybridAside { group: id }, work, out);
    }

    fn questions_idle(&self, id: GroupId) -> bool {
        let asked = self.hybrid.get(&id).and_then(|h| h.leaving.as_ref()).and_then(|l| l.asked);
        asked.is_none_or(|token| self.questions.get(token).is_none())
    }

    /// What was to be kept aside is on the disk.
    pub(crate) fn on_aside(&mut self, now: Now, id: GroupId, result: JobResult, out: &mut Out) {
        match result.and_then(|r| r.downcast::<Result<(), DiskError>>().ok()).map(|r| *r) {
            Some(Ok(())) => self.become_copy(now, id, out),
            Some(Err(why)) => self.fail(format!("what is to be kept aside can't be written: {why}"), out),
            None => self.fail("the job that keeps a tail aside was lost; start the node again".into(), out),
        }
    }

    fn become_copy(&mut self, now: Now, id: GroupId, out: &mut Out) {
        let left = self.host.remove_group(id);
        let Some(h) = self.hybrid.get_mut(&id) else { return };
        h.found = left.or(h.found.take());
        (h.part, h.leaving, h.drain) = (Part::Copy, None, super::Drain::default());
        h.copy.frozen = None;
        self.forget_copy(id);
        for token in self.questions.waiting(id, |w| w == Waits::Engine) {
            self.on_engine_error(now, token, EngineError::Unknown, out);
        }
        out.wake_by(now.mono);
    }

    /// Ends watches whose history is gone.
    pub(super) fn end_watches(&mut self, id: GroupId, out: &mut Out) {
        let Some(g) = self.groups.get_mut(&id) else { return };
        let why = "this node holds another history of the keyspace now: watch again, from a revision of its new home";
        for (number, request) in std::mem::take(&mut g.watches) {
            g.watchers.remove(number);
            reply(out, request, Err(AskError::Refused(why.into())), true);
        }
    }

    /// A move that nobody made anything of is taken back: the home answers again.
    fn give_up_move(&mut self, now: Now, id: GroupId, out: &mut Out) {
        let Some(h) = self.hybrid.get_mut(&id) else { return };
        let Some(((deed, seen), (_, since))) = h.deed.clone().zip(h.wanted) else { return };
        let late = since + h.fence.wait() + ABANDON;
        if h.part != Part::Home || deed.next.is_none() || now.mono < late.max(h.wish_at) {
            return;
        }
        h.wish_at = now.mono + h.spec.fence;
        let deadline = now.mono + h.spec.fence;
        self.probe.reachable("hybrid.move_given_up");
        self.ask_for_deed(now, id, (&deed.abandoned(), seen), Origin::Node, deadline, out);
    }
}

impl HybridGroup {
    /// Whether this node takes messages of the keyspace's engine from there: one home's nodes never speak to another's.
    pub(crate) fn hears(&self, from: NodeId) -> bool {
        self.part != Part::Copy && self.places.get(&from).is_none_or(|m| m.region == self.spec.region)
    }
}
