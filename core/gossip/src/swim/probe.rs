//! Rounds of probes: every member once a round in a fresh random order, so that the time to the first probe
//! of a dead one is bounded (SWIM §4.3), and helpers before a verdict.
//!
//! ```text
//!  0          probe_timeout              + indirect_timeout
//!  Ping →     no Ack: PingFor → helpers  neither Ack: suspect; missing Nacks count against ourselves
//! ```
//!
//! All of it times (1 + local health). Helpers come from the target's region first, which spares the far
//! link, and one from anywhere, for the case that it is this link that is broken.

use super::{Detector, Spread};
use crate::member::{Claim, Update};
use crate::message::Body;
use crate::settings::ACCUSED_MAX;
use crate::step::Step;
use alloc::vec::Vec;
use dwcp_env::{Instant, NodeId, Purpose};

const ORDER: Purpose = Purpose::named("gossip.order");
const HELPER: Purpose = Purpose::named("gossip.helper");
/// Probes and forwarded probes in flight.
const IN_FLIGHT: usize = 64;
/// Accused members asked in one period.
const ACCUSED_AT_ONCE: usize = 8;

/// A probe in flight.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    target: NodeId,
    /// When helpers are asked; `FAR` once they are.
    ask_at: Instant,
    verdict_at: Instant,
    helpers: Vec<NodeId>,
    nacks: Vec<NodeId>,
}

/// A probe for somebody else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forward {
    origin: NodeId,
    number: u32,
    target: NodeId,
    until: Instant,
}

impl Detector {
    /// One period: the accused first, then the next of the round.
    pub(super) fn probe_round(&mut self, step: &mut Step<'_>) {
        let mut asked = 0;
        while asked < ACCUSED_AT_ONCE {
            let Some(accusation) = self.accused.pop_front() else { break };
            let current = self
                .table
                .get(accusation.id)
                .is_some_and(|k| k.is_live() && k.incarnation <= accusation.incarnation);
            if current {
                self.probe(step, accusation.id, Some(accusation));
                asked += 1;
            }
        }
        if let Some(target) = self.next_target(step) {
            self.probe(step, target, None);
        }
    }

    fn next_target(&mut self, step: &mut Step<'_>) -> Option<NodeId> {
        for _ in 0..2 {
            while let Some(id) = self.order.pop() {
                if id != self.me && self.table.is_live(id) {
                    return Some(id);
                }
            }
            // Fisher and Yates' shuffle of those there.
            self.order.extend_from_slice(self.table.live());
            for i in (1..self.order.len()).rev() {
                let j = step.below(i + 1, ORDER);
                self.order.swap(i, j);
            }
        }
        None
    }

    fn probe(&mut self, step: &mut Step<'_>, target: NodeId, accusation: Option<Update>) {
        if self.probes.len() >= IN_FLIGHT {
            return;
        }
        self.counts.probes += 1;
        self.number = self.number.wrapping_add(1);
        let ask_at = step.now + self.health.scale(self.settings.probe_timeout);
        let verdict_at = ask_at + self.health.scale(self.settings.indirect_timeout);
        let probe = Probe { target, ask_at, verdict_at, helpers: Vec::new(), nacks: Vec::new() };
        self.probes.insert(self.number, probe);
        let first = accusation.or_else(|| self.doubt_of(target));
        self.say(step, target, &Body::Ping { number: self.number }, first);
    }

    /// Probes a member now: somebody says that it is gone.
    pub(crate) fn probe_now(&mut self, step: &mut Step<'_>, target: NodeId) {
        let running = self.probes.values().any(|p| p.target == target);
        if target != self.me && self.table.is_live(target) && !running && !self.is_leaving() {
            self.probe(step, target, None);
        }
    }

    /// Somebody calls dead whom we hold alive: the accused itself will be asked.
    pub(super) fn accuse(&mut self, accusation: Update) {
        let known = self.accused.iter().any(|a| a.id == accusation.id);
        if !known && self.accused.len() < ACCUSED_MAX {
            self.accused.push_back(accusation);
        }
    }

    pub(super) fn ack(&mut self, step: &mut Step<'_>, from: NodeId, number: u32) {
        if let Some(f) = self.forwards.get(&number).copied()
            && f.target == from
        {
            self.forwards.remove(&number);
            self.say(step, f.origin, &Body::Ack { number: f.number }, None);
            return;
        }
        let answers = self.probes.get(&number).is_some_and(|p| p.target == from || p.helpers.contains(&from));
        if answers {
            self.probes.remove(&number);
            self.health.better();
        }
    }

    pub(super) fn nack(&mut self, from: NodeId, number: u32) {
        if let Some(p) = self.probes.get_mut(&number)
            && p.helpers.contains(&from)
            && !p.nacks.contains(&from)
        {
            p.nacks.push(from);
        }
    }

    pub(super) fn ping_for(&mut self, step: &mut Step<'_>, origin: NodeId, number: u32, target: NodeId) {
        if target == self.me {
            self.say(step, origin, &Body::Ack { number }, None);
            return;
        }
        if self.forwards.len() >= IN_FLIGHT {
            return;
        }
        self.number = self.number.wrapping_add(1);
        let until = step.now + self.settings.indirect_timeout / 2;
        self.forwards.insert(self.number, Forward { origin, number, target, until });
        let doubt = self.doubt_of(target);
        self.say(step, target, &Body::Ping { number: self.number }, doubt);
    }

    pub(super) fn probe_timers(&mut self, step: &mut Step<'_>) {
        let late: Vec<u32> =
            self.forwards.iter().filter(|(_, f)| f.until <= step.now).map(|(n, _)| *n).collect();
        for n in late {
            if let Some(f) = self.forwards.remove(&n) {
                self.say(step, f.origin, &Body::Nack { number: f.number }, None);
            }
        }
        let ask: Vec<u32> =
            self.probes.iter().filter(|(_, p)| p.ask_at <= step.now).map(|(n, _)| *n).collect();
        for n in ask {
            self.ask_helpers(step, n);
        }
        let over: Vec<u32> =
            self.probes.iter().filter(|(_, p)| p.verdict_at <= step.now).map(|(n, _)| *n).collect();
        for n in over {
            self.verdict(step, n);
        }
    }

    fn ask_helpers(&mut self, step: &mut Step<'_>, number: u32) {
        let Some(target) = self.probes.get(&number).map(|p| p.target) else { return };
        let mut helpers: Vec<NodeId> = Vec::new();
        let near = self.table.region(target);
        for i in 0..self.settings.indirect {
            let from = match near {
                Some(r) if i + 1 < self.settings.indirect => self.table.in_region(r),
                _ => self.table.live(),
            };
            let me = self.me;
            let fits = |n| n != me && n != target && !helpers.contains(&n);
            let helper = step.pick(from, HELPER, fits).or_else(|| step.pick(self.table.live(), HELPER, fits));
            helpers.extend(helper);
        }
        for helper in &helpers {
            self.say(step, *helper, &Body::PingFor { number, target }, None);
        }
        if let Some(p) = self.probes.get_mut(&number) {
            p.ask_at = Instant::FAR;
            p.helpers = helpers;
        }
    }

    fn verdict(&mut self, step: &mut Step<'_>, number: u32) {
        let Some(p) = self.probes.remove(&number) else { return };
        self.counts.unanswered += 1;
        let missing = p.helpers.len() - p.nacks.len();
        self.health.worse(if p.helpers.is_empty() { 1 } else { missing as u32 });
        let Some(k) = self.table.get(p.target).filter(|k| k.is_live()) else { return };
        self.counts.suspected += u64::from(k.status.is_live());
        let suspect =
            Update { id: p.target, incarnation: k.incarnation, claim: Claim::Suspect { by: self.me } };
        self.learn(step, suspect, Spread::Widely);
    }

    pub(super) fn probe_wake_at(&self) -> Instant {
        let probes = self.probes.values().map(|p| p.ask_at.min(p.verdict_at)).min();
        let forwards = self.forwards.values().map(|f| f.until).min();
        probes.unwrap_or(Instant::FAR).min(forwards.unwrap_or(Instant::FAR))
    }
}
