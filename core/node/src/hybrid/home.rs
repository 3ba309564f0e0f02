//! The home: who may answer, and for how far ahead of the other regions.

use super::message::Part;
use super::{Drain, HybridGroup, deed_key, era_of_state};
use crate::api::{Answer, Ask, Response};
use crate::node::{Node, Out};
use crate::question::Origin;
use dwcp_consensus::hybrid::Deed;
use dwcp_consensus::{EngineError, Token};
use dwcp_env::{Event, GroupId, Instant, NodeId, Now};
use dwcp_store::api::RangeRequest;

/// Reads of the deed under way; an older one's answer would prove less than a younger one's.
const READS_MAX: usize = 8;

/// Where a question about a hybrid keyspace goes.
pub(crate) enum Way {
    /// To this node's engine.
    Engine,
    /// To that peer.
    Peer(NodeId),
    /// Not now: the home is not known, can't be sure that it is home, or is as far ahead as it may be.
    Wait,
}

impl HybridGroup {
    /// Whether this node may answer for the home's state of this era now.
    pub(super) fn reigns(&self, now: Instant, era: u32) -> bool {
        let reign = self.deed().is_some_and(|d| d.is_reign_of(self.spec.region, era));
        self.part == Part::Home && reign && self.fence.holds(now)
    }
    /// Whether enough regions are within the bound.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        let within = |region: &dwcp_env::RegionId| {
            let held = self.ledger.held_by(&self.nodes_of(*region));
            held.is_some_and(|held| self.spec.bound.allows(&self.ledger.lag(now, held)))
        };
        let others = self.others();
        // A region that was lost with its home is not waited for before it is back.
        let lost = self.deed().and_then(|d| d.began()).filter(|c| !c.planned).map(|c| c.from);
        let away = lost.is_some_and(|r| self.ledger.held_by(&self.nodes_of(r)).is_none());
        let wanted =
            (self.spec.bound.copies as usize).min(others.len() - usize::from(away && !others.is_empty()));
        others.iter().filter(|r| within(r)).count() >= wanted
    }
    /// The node of the home that said it leads, if one was heard.
    pub(crate) fn leader_heard(&self) -> Option<NodeId> {
        let (owner, era) = (self.nodes_of(self.owner()), self.era());
        let leads = self.heard.iter().filter(|(n, h)| owner.contains(n) && h.word.era == era && h.word.leads);
        leads.max_by_key(|(_, h)| h.at).map(|(n, _)| *n)
    }
    /// A node of the home: one that said it leads, else any that was heard, else any.
    fn door(&self, me: NodeId) -> Option<NodeId> {
        let era = self.era();
        let mut nodes = self.nodes_of(self.owner());
        nodes.retain(|n| *n != me);
        let said = |n: &NodeId| self.heard.get(n).filter(|h| h.word.era == era && h.word.part == Part::Home);
        let leads = nodes.iter().filter(|n| said(n).is_some_and(|h| h.word.leads));
        let leader = leads.max_by_key(|n| said(n).map(|h| h.at));
        let lately = || nodes.iter().max_by_key(|n| said(n).map(|h| h.at));
        leader.or_else(lately).copied()
    }
}

impl Node {
    /// Where a question about a hybrid keyspace goes.
    pub(crate) fn way_home(&self, now: Now, group: GroupId, ask: &Ask, hint: Option<NodeId>) -> Way {
        let me = self.config.node;
        let Some(h) = self.hybrid.get(&group) else { return Way::Wait };
        if h.part != Part::Home {
            let hint = hint.filter(|n| *n != me && h.places.get(n).is_some_and(|m| m.region == h.owner()));
            return hint.or_else(|| h.door(me)).map_or(Way::Wait, Way::Peer);
        }
        let brief = self.host.brief(group);
        let leader = if ask.needs_keeper() { brief.keeper } else { brief.leader };
        match hint.filter(|n| *n != me).or(leader) {
            Some(l) if l == me => {}
            Some(l) => return Way::Peer(l),
            None => return Way::Wait,
        }
        let writes = matches!(ask, Ask::Write { .. });
        let reigns = self.may_answer(now, group);
        let open = !writes || self.is_within(now, group);
        self.probe.sometimes("hybrid.asked_without_the_fence", !reigns);
        self.probe.sometimes("hybrid.held_back", reigns && !open);
        if reigns && open { Way::Engine } else { Way::Wait }
    }

    /// Whether this node may answer for a hybrid keyspace now.
    #[must_use]
    pub fn may_answer(&self, now: Now, group: GroupId) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.config.bugs.hybrid_fence_ignored {
            return self.hybrid.get(&group).is_some_and(|h| h.part == Part::Home);
        }
        let era = self.home_era(group);
        self.hybrid.get(&group).zip(era).is_some_and(|(h, era)| h.reigns(now.mono, era))
    }
    /// Whether enough regions have enough of a hybrid keyspace.
    fn is_within(&self, now: Now, group: GroupId) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.config.bugs.hybrid_bound_ignored {
            return true;
        }
        self.hybrid.get(&group).is_some_and(|h| h.is_open(now.mono))
    }
    /// The era of the chain that runs here.
    pub(super) fn home_era(&self, group: GroupId) -> Option<u32> {
        let chain = self.host.group(group)?;
        Some(dwcp_consensus::hybrid::era_of(chain.spec().epoch))
    }

    /// An answer of a home's engine: given, held until regions have caught up, or not given at all.
    pub(crate) fn answer_from_home(
        &mut self,
        now: Now,
        group: GroupId,
        token: Token,
        response: Response,
        out: &mut Out,
    ) {
        let Some(q) = self.questions.get(token) else { return };
        let (own, writes) = (q.origin == Origin::Node, matches!(q.ask, Ask::Write { .. }));
        if own {
            return self.answer(token, response, out);
        }
        if !self.may_answer(now, group) {
            self.probe.reachable("hybrid.answer_without_the_fence");
            let error = if writes { EngineError::Unknown } else { EngineError::NotLeader { leader: None } };
            return self.on_engine_error(now, token, error, out);
        }
        let index = self.note_applied(now, group);
        if writes && !self.is_within(now, group) {
            self.probe.reachable("hybrid.answer_held");
            if let Some(h) = self.hybrid.get_mut(&group) {
                h.held.push_back((token, response));
            }
            return;
        }
        if let Some(h) = self.hybrid.get_mut(&group) {
            let last = if writes { index } else { h.answers.2 };
            h.answers = (h.answers.0 + 1, h.answers.1 + u64::from(writes), last);
        }
        self.answer(token, response, out);
    }

    /// The home's part of the turn, before the engines run.
    pub(super) fn keep_home(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let Some(era) = self.home_era(group) else { return };
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        let region = h.spec.region;
        match h.deed() {
            None if era == 0 && region == h.spec.home => self.make_first_deed(now, group, out),
            None => {}
            Some(deed) if deed.era > era => self.begin_to_leave(now, group, out),
            Some(deed) if deed.is_reign_of(region, era) => {
                h.drain = Drain::default();
                self.renew_fence(now, group, out);
            }
            Some(_) => {
                h.fence.lose();
                self.hand_over(now, group, out);
            }
        }
    }

    fn make_first_deed(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        out.wake_by(h.wish_at.max(now.mono + self.config.engine.heartbeat));
        if now.mono < h.wish_at {
            return;
        }
        h.wish_at = now.mono + h.spec.fence;
        let deed = Deed::first(h.spec.home);
        let deadline = now.mono + h.spec.fence;
        self.ask_for_deed(now, group, (&deed, 0), Origin::Node, deadline, out);
    }

    fn renew_fence(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        if h.fence.wants(now.mono) {
            h.fence.ask(now.mono);
            let lease = h.spec.fence;
            let range = RangeRequest { key: deed_key(&h.keyspace), ..RangeRequest::default() };
            let ask = Ask::Range { range, serializable: false };
            let strong = h.strong;
            if let Ok(token) = self.questions.open(strong, ask, Origin::Node, now.mono + lease) {
                if let Some(h) = self.hybrid.get_mut(&group) {
                    while h.reading.len() >= READS_MAX {
                        h.reading.pop_first();
                    }
                    h.reading.insert(token, now.mono);
                }
                self.route(now, token, None, out);
            }
        }
        if let Some(h) = self.hybrid.get(&group) {
            out.wake_by(h.fence.next());
        }
    }

    /// An answer to a question of the node's own: the deed as it is read, or the end of what was decided here.
    pub(crate) fn on_own_answer(&mut self, group: GroupId, token: Token, response: &Response) {
        let strong = group;
        for h in self.hybrid.values_mut().filter(|h| h.strong == strong) {
            if let (Some(began), Ok(Answer::Range { range, .. })) = (h.reading.remove(&token), response) {
                let told = range.kvs.first().and_then(|kv| Some((Deed::decode(&kv.value)?, kv.mod_revision)));
                h.read_deed(began, told);
            }
        }
        if let Some(h) = self.hybrid.get_mut(&group) {
            let done = response.is_ok();
            if h.drain.asked.take_if(|t| *t == token).is_some()
                && done
                && let (Some((revision, _)), Some(g)) = (h.wanted, self.groups.get(&group))
            {
                h.drain.done = Some((revision, g.store().position().map_or(0, |p| p.index)));
                h.beat_at = Instant::ZERO;
                self.probe.reachable("hybrid.drained");
            }
            if let Some(leaving) = &mut h.leaving
                && leaving.asked.take_if(|t| *t == token).is_some()
            {
                leaving.settled = done;
            }
        }
    }

    /// A move is under way: when nobody can answer any more, says what was decided in all.
    fn hand_over(&mut self, now: Now, group: GroupId, out: &mut Out) {
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        let Some((revision, since)) = h.wanted else { return };
        let ready = since + h.fence.wait();
        if h.drain.done.is_some_and(|(r, _)| r == revision) {
            return;
        }
        if now.mono < ready || now.mono < h.drain.again_at {
            return out.wake_by(ready.max(h.drain.again_at));
        }
        h.drain.again_at = now.mono + self.config.engine.heartbeat;
        out.wake_by(h.drain.again_at);
        let token = self.ask_chain_for_its_end(now, group);
        if let Some(h) = self.hybrid.get_mut(&group) {
            h.drain.asked = token;
        }
    }

    /// A barrier of this node's own: behind it the state holds all that was ever decided.
    pub(super) fn ask_chain_for_its_end(&mut self, now: Now, group: GroupId) -> Option<Token> {
        let deadline = now.mono + self.patience.ask_again;
        let token = self.own_question(group, Ask::Leases, deadline)?;
        self.host.barrier(group, token);
        Some(token)
    }

    /// Brings the ledger up to what is applied; tells up to where that is.
    fn note_applied(&mut self, now: Now, group: GroupId) -> u64 {
        let told = self.groups.get(&group).and_then(|g| {
            let store = g.store();
            store.tape().and_then(|t| Some((t.end()?.index, t.total())))
        });
        let (Some((index, bytes)), Some(h)) = (told, self.hybrid.get_mut(&group)) else { return 0 };
        h.ledger.applied(now.mono, index, bytes);
        index
    }

    /// The home's part of the turn, behind the engines: what is applied is noted, answers that were held go.
    pub(super) fn settle_home(&mut self, now: Now, group: GroupId, out: &mut Out) {
        self.note_applied(now, group);
        let Some(h) = self.hybrid.get_mut(&group) else { return };
        let lagging = !h.is_open(now.mono);
        if lagging != std::mem::replace(&mut h.lagging, lagging) {
            let worst = h.lags(now.mono).iter().map(|l| l.lag.entries).max().unwrap_or(0);
            self.probe.event(&Event::HybridBound { group, within: !lagging, entries: worst });
        }
        let (open, answers) = (self.is_within(now, group), self.may_answer(now, group));
        if open || !answers {
            let Some(h) = self.hybrid.get_mut(&group) else { return };
            for (token, response) in std::mem::take(&mut h.held) {
                // What the question waits for may have changed: it is judged as if it came now.
                self.answer_from_home(now, group, token, response, out);
            }
        }
    }
}

impl HybridGroup {
    /// The deed was read, linearizably, by a question that began then.
    fn read_deed(&mut self, began: Instant, told: Option<(Deed, i64)>) {
        let Some((deed, revision)) = told else { return };
        if self.deed.as_ref().is_some_and(|(_, r)| *r > revision) {
            return;
        }
        let region = self.spec.region;
        if deed.is_reign_of(region, self.copy.era) {
            self.fence.confirm(began);
        } else {
            self.fence.lose();
        }
        // What it says besides is learned from this node's own copy of the strong keyspace, in order.
    }
    /// Notes the era of the chain that runs here.
    pub(super) fn note_era(&mut self, store: &dwcp_store::Store) {
        self.copy.era = era_of_state(store);
    }
}
