//! What the network shows of a group, and what the selection makes of it.
//!
//! **Model.** Each beacon carries the sender's clock, what it heard of others' clocks and how long it held that, so a peer
//! that finds itself in it knows a round trip; the round trips the sender knows; and how many writes its clients ask for a
//! second. Who keeps time for leases (the leader) puts them together, once it has heard enough of everybody who is up, and
//! asks [`dwcp_consensus::select::decide`]: a pure function with its own brakes. What it wants is done by the same calls
//! an operator has: a transfer, a seal.
//!
//! **Never** below what a store is: its data is strong, and all its writes interfere. The eventual tier and hybrids
//! are no engines of an epoch here, and PBFT needs an operator's key: a policy that names them goes on without. Under PBFT nothing is
//! chosen: an operator ends it.

use crate::group::{ChainGroup, Running};
use crate::host::{ChainHost, OWN, Switch};
use crate::spec::EngineKind;
use dwcp_consensus::quorum::System;
use dwcp_consensus::select::{
    self, Class, Current, Decision, Keyspace, Link, Measurements, Member, Placement, Policy, Region, Share,
    Trust, Verdict,
};
use dwcp_consensus::{Members, StateMachine};
use dwcp_env::{Duration, GroupId, Instant, NodeId, Now, RegionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Members that a beacon speaks of; more are not believed.
const PEERS_MAX: usize = 64;
/// Beacons of a peer before its figures count.
const SAMPLES_MIN: u32 = 4;
/// Beacons missed after which a peer counts as down.
const MISSED: u64 = 4;
/// A seal whose outcome is not known is in flight for so long.
const SEAL_WITHIN: Duration = Duration::secs(10);
/// A transfer that does not take is tried again after so long.
const TRANSFER_WITHIN: Duration = Duration::secs(1);
/// What has come to nothing is tried again after twice as long each time, up to so many doublings: about ten minutes.
const SEAL_DOUBLINGS: u32 = 6;
const TRANSFER_DOUBLINGS: u32 = 9;
/// How much of a new sample goes into a smoothed figure: one in so many.
const SMOOTHING: u64 = 8;

/// What a beacon says of the network.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pulse {
    /// The sender's clock, nanoseconds.
    sent: u64,
    /// Of each peer: its clock as last heard, and how long ago that was, nanoseconds.
    heard: Vec<(NodeId, u64, u64)>,
    /// Round trips the sender knows, microseconds: smoothed, and the longest of late.
    rtts: Vec<(NodeId, u32, u32)>,
    /// Writes a second its clients ask for.
    writes: u32,
}

/// What is known of a peer's link and load.
#[derive(Clone, Debug, Default)]
pub(crate) struct Vitals {
    /// Its clock as last heard, and when.
    clock: u64,
    heard_at: Instant,
    /// Round trip to it: smoothed, and a maximum that fades.
    rtt: Option<(u64, u64)>,
    /// Round trips it knows.
    rtts: BTreeMap<NodeId, (u32, u32)>,
    writes: u32,
    samples: u32,
}

/// The eye of a group on one node.
#[derive(Debug, Default)]
pub(crate) struct Eye {
    pub(crate) vitals: BTreeMap<NodeId, Vitals>,
    /// Writes asked for by this node's clients since the last beacon, and the smoothed rate in thousandths.
    asked: u64,
    rate_milli: u64,
    last: Instant,
    current: Option<Current>,
    sealing: Brake,
    transferring: Brake,
    pub(crate) verdict: Option<(Placement, Verdict)>,
}

/// Holds back what was tried and did not take.
#[derive(Debug, Default)]
struct Brake {
    /// When it was tried last.
    at: Option<Instant>,
    until: Instant,
    times: u32,
    /// What was tried: another thing is tried at once.
    what: Option<Placement>,
}

impl Brake {
    /// It took, or something else did.
    fn release(&mut self) {
        *self = Self::default();
    }
    /// Whether to try this now; if so it counts as tried.
    fn tries(&mut self, now: Instant, what: &Placement, within: Duration, doublings: u32) -> bool {
        if self.what.as_ref() != Some(what) {
            *self = Self { what: Some(what.clone()), ..Self::default() };
        }
        if now < self.until {
            return false;
        }
        self.at = Some(now);
        self.until = now + within * (1 << self.times.min(doublings));
        self.times = self.times.saturating_add(1);
        true
    }
    /// Whether what was tried may still take.
    fn is_open(&self, now: Instant, within: Duration) -> bool {
        self.at.is_some_and(|at| now < at + within)
    }
}

impl Eye {
    pub(crate) const fn note_write(&mut self) {
        self.asked += 1;
    }

    /// Writes a second. A few a minute are one, not none: who writes at all is not idle.
    const fn rate(&self) -> u64 {
        self.rate_milli.div_ceil(1_000)
    }

    /// What this node's beacon says.
    pub(crate) fn pulse(&mut self, now: Instant) -> Pulse {
        let span = now.since(self.last).as_millis().max(1);
        let rate = std::mem::take(&mut self.asked) * 1_000_000 / span;
        self.rate_milli = smooth(self.rate_milli, rate);
        self.last = now;
        let vitals = self.vitals.iter().take(PEERS_MAX);
        let micros = |nanos: u64| u32::try_from(nanos / 1_000).unwrap_or(u32::MAX);
        Pulse {
            sent: now.as_nanos(),
            heard: vitals.clone().map(|(n, v)| (*n, v.clock, now.since(v.heard_at).as_nanos())).collect(),
            rtts: vitals
                .filter_map(|(n, v)| v.rtt.map(|(rtt, max)| (*n, micros(rtt), micros(max))))
                .collect(),
            writes: u32::try_from(self.rate()).unwrap_or(u32::MAX),
        }
    }

    /// Takes a peer's.
    pub(crate) fn hear(&mut self, now: Instant, me: NodeId, from: NodeId, pulse: &Pulse) {
        let v = self.vitals.entry(from).or_default();
        (v.clock, v.heard_at, v.writes) = (pulse.sent, now, pulse.writes);
        v.samples = v.samples.saturating_add(1);
        v.rtts = pulse.rtts.iter().take(PEERS_MAX).map(|(n, rtt, max)| (*n, (*rtt, *max))).collect();
        let mine = pulse.heard.iter().take(PEERS_MAX).find(|(n, ..)| *n == me);
        let Some((_, clock, held)) = mine else { return };
        // A peer's word can't make a round trip negative, only shorter than it was.
        let Some(sample) = now.as_nanos().checked_sub(*clock).and_then(|t| t.checked_sub(*held)) else {
            return;
        };
        v.rtt = Some(match v.rtt {
            None => (sample, sample),
            Some((rtt, max)) => (smooth(rtt, sample), sample.max(max - (max - rtt.min(max)) / 16)),
        });
    }

    /// What has been measured, if it is enough to go by.
    fn measured(&self, now: Instant, me: NodeId, members: &Members, every: Duration) -> Option<Measurements> {
        let up = |n: NodeId| {
            n == me || self.vitals.get(&n).is_some_and(|v| now.since(v.heard_at) <= every * MISSED)
        };
        let voters: Vec<NodeId> = members.voters.iter().copied().collect();
        let known = |n: &NodeId| *n == me || self.vitals.get(n).is_some_and(|v| v.samples >= SAMPLES_MIN);
        if voters.iter().any(|n| up(*n) && !known(n)) {
            return None;
        }
        let region = |n: NodeId| members.nodes.get(&n).map(|m| m.region).unwrap_or_default();
        let mut regions: BTreeMap<RegionId, Vec<NodeId>> = BTreeMap::new();
        for n in &voters {
            regions.entry(region(*n)).or_default().push(*n);
        }
        let ids: Vec<RegionId> = regions.keys().copied().collect();
        let links: Vec<Vec<Link>> = ids
            .iter()
            .map(|a| ids.iter().map(|b| self.link(me, &regions[a], &regions[b], a == b)).collect())
            .collect();
        let writes = |n: &NodeId| match self.vitals.get(n) {
            _ if *n == me => self.rate(),
            Some(v) if up(*n) => u64::from(v.writes),
            _ => 0,
        };
        // Clients of learners' regions write too: their writes count where the nearest voter is not known, nowhere.
        let keyspace = Keyspace {
            id: 0,
            class: Class::Strong,
            writes: ids.iter().map(|r| regions[r].iter().map(writes).sum()).collect(),
            conflict: Share::percent(100),
            budget: None,
        };
        let regions = regions.into_iter().map(|(id, nodes)| Region {
            id,
            members: nodes.into_iter().map(|node| Member { node, up: up(node) }).collect(),
        });
        Some(Measurements {
            regions: regions.collect(),
            links,
            keyspaces: vec![keyspace],
            trust: Trust::Trusted,
            sync: Duration::ZERO,
        })
    }

    /// The median link between two regions' members.
    fn link(&self, me: NodeId, from: &[NodeId], to: &[NodeId], same: bool) -> Link {
        let mut found: Vec<(u64, u64)> = Vec::new();
        for a in from {
            for b in to.iter().filter(|b| *b != a) {
                found.extend(self.rtt(me, *a, *b).or_else(|| self.rtt(me, *b, *a)));
            }
        }
        found.sort_unstable();
        match found.get(found.len() / 2) {
            Some((rtt, max)) => Link {
                rtt: Some(Duration::nanos(*rtt)),
                rtt_p99: Duration::nanos(*max),
                loss: Share::percent(0),
            },
            // One member alone in its region.
            None if same => Link { rtt: Some(Duration::ZERO), ..Link::default() },
            None => Link::default(),
        }
    }

    fn rtt(&self, me: NodeId, a: NodeId, b: NodeId) -> Option<(u64, u64)> {
        if a == me {
            return self.vitals.get(&b)?.rtt;
        }
        let (rtt, max) = self.vitals.get(&a)?.rtts.get(&b)?;
        Some((u64::from(*rtt) * 1_000, u64::from(*max) * 1_000))
    }
}

const fn smooth(old: u64, sample: u64) -> u64 {
    if old == 0 { sample } else { (old * (SMOOTHING - 1) + sample) / SMOOTHING }
}

const fn selects(engine: EngineKind) -> select::EngineKind {
    match engine {
        EngineKind::Raft => select::EngineKind::Raft,
        EngineKind::Paxos => select::EngineKind::MultiPaxos,
        EngineKind::EPaxos => select::EngineKind::EPaxos,
        EngineKind::Pbft => select::EngineKind::Pbft,
    }
}

const fn runs(engine: select::EngineKind) -> Option<EngineKind> {
    match engine {
        select::EngineKind::Raft => Some(EngineKind::Raft),
        select::EngineKind::MultiPaxos => Some(EngineKind::Paxos),
        select::EngineKind::EPaxos => Some(EngineKind::EPaxos),
        select::EngineKind::Pbft | select::EngineKind::Eventual | select::EngineKind::Hybrid => None,
    }
}

/// As a seal names them: majorities need no name.
fn sealed_quorums(quorums: Option<System>) -> Option<System> {
    quorums.filter(|q| !matches!(q, System::Majority { .. }))
}

/// The policy without what can't be an epoch of a store.
pub(crate) fn applicable(mut policy: Policy) -> Policy {
    policy.engines.retain(|e| runs(*e).is_some());
    policy
}

impl<SM: StateMachine> ChainHost<SM> {
    /// A client of this node asks for a write.
    pub fn note_write(&mut self, id: GroupId) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.eye.note_write();
        }
    }

    /// Asks the selection, where this node leads, and does what it says.
    pub(crate) fn adapt(&mut self, now: Now, id: GroupId, every: Duration) {
        let Some(group) = self.groups.get(&id) else { return };
        let Some(policy) = group.config.policy.clone() else { return };
        if group.tail.with(|t| t.spec.engine == EngineKind::Pbft) {
            return;
        }
        let (brief, members, spec) = (group.brief(&self.raft), group.members(&self.raft), group.spec());
        let me = group.me();
        let led = !spec.engine.serves_everywhere();
        let placement = Placement {
            engine: selects(spec.engine),
            quorums: Some(match &spec.quorums {
                Some(system) => system.clone(),
                None => System::Majority { members: members.voters.len() as u8 },
            }),
            leader: brief.leader.filter(|_| led),
            parts: Vec::new(),
        };
        let Some(group) = self.groups.get_mut(&id) else { return };
        if led && placement.leader.is_none() {
            return;
        }
        let eye = &mut group.eye;
        let current = eye.current.get_or_insert_with(|| Current::new(placement.clone(), now.mono));
        if current.placement.engine != placement.engine || current.placement.quorums != placement.quorums {
            eye.sealing.release();
        }
        if current.placement.leader != placement.leader {
            eye.transferring.release();
        }
        current.moved(now.mono, placement.clone());
        current.seal_in_flight = eye.sealing.is_open(now.mono, SEAL_WITHIN);
        if brief.keeper != Some(me) {
            eye.verdict = None;
            return;
        }
        let current = current.clone();
        let Some(measured) = eye.measured(now.mono, me, &members, every) else { return };
        let verdict = select::decide(now.mono, &measured, &policy, &current);
        let decision = verdict.decision.clone();
        eye.verdict = Some((placement, verdict));
        self.carry_out(now, id, decision);
    }

    fn carry_out(&mut self, now: Now, id: GroupId, decision: Decision) {
        match decision {
            Decision::Stay => {}
            Decision::Transfer(to) => {
                let Some(group) = self.groups.get_mut(&id) else { return };
                let Some(current) = &group.eye.current else { return };
                let wanted = Placement { leader: Some(to), ..current.placement.clone() };
                let brake = &mut group.eye.transferring;
                if !brake.tries(now.mono, &wanted, TRANSFER_WITHIN, TRANSFER_DOUBLINGS) {
                    return;
                }
                self.probe.reachable("chain.adapted_by_transfer");
                self.transfer_leader(now, id, OWN, to);
            }
            Decision::Seal(to) => {
                let Some(engine) = runs(to.engine) else { return };
                let Some(group) = self.groups.get_mut(&id) else { return };
                if !group.eye.sealing.tries(now.mono, &to, SEAL_WITHIN, SEAL_DOUBLINGS) {
                    return;
                }
                self.probe.reachable("chain.adapted_by_seal");
                let quorums = sealed_quorums(to.quorums);
                let after = Some(group.tail.epoch());
                let switch = Switch { engine, quorums, first: to.leader, ..Switch::default() };
                self.switch(id, OWN, after, switch);
            }
        }
    }

    /// The epoch that the selection wants begun, where this node leads a group under a policy: engine and quorums.
    #[must_use]
    pub fn wanted(&self, id: GroupId) -> Option<(EngineKind, Option<System>)> {
        let (_, verdict) = self.groups.get(&id)?.eye.verdict.as_ref()?;
        let Decision::Seal(to) = &verdict.decision else { return None };
        Some((runs(to.engine)?, sealed_quorums(to.quorums.clone())))
    }
    /// What the selection says, in words: where this node leads a group under a policy.
    #[must_use]
    pub fn advice(&self, id: GroupId) -> Option<String> {
        let (running, verdict) = self.groups.get(&id)?.eye.verdict.as_ref()?;
        Some(verdict.explain(running))
    }
}

impl<SM: StateMachine> ChainGroup<SM> {
    /// Whether its members speak to each other beside their engine.
    pub(crate) fn keeps_company(&self) -> bool {
        let (epoch, engine) = self.tail.with(|t| (t.spec.epoch, t.spec.engine));
        let alone =
            epoch == 0 && engine == EngineKind::Raft && self.epochs.len() == 1 && self.seen.is_empty();
        !alone
            || self.config.policy.is_some()
            || matches!(self.current().map(|e| &e.running), Some(Running::Aside { .. }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::millis(ms)
    }

    /// Two nodes with clocks of their own, 30 ms apart one way.
    #[test]
    fn a_round_trip_is_known_by_two_beacons_whatever_the_clocks_say() {
        let (a, b) = (NodeId(1), NodeId(2));
        let (mut eye_a, mut eye_b) = (Eye::default(), Eye::default());
        let off = 5_000;
        for beat in 0..6 {
            let t = beat * 1_000;
            let pulse = eye_a.pulse(at(t));
            eye_b.hear(at(off + t + 30), b, a, &pulse);
            let pulse = eye_b.pulse(at(off + t + 400));
            eye_a.hear(at(t + 430), a, b, &pulse);
        }
        let (rtt, max) = eye_a.rtt(a, a, b).unwrap();
        assert_eq!((rtt, max), (60_000_000, 60_000_000));
        assert_eq!(eye_a.rtt(a, b, a), Some((60_000_000, 60_000_000)), "as the peer knows it");
    }

    #[test]
    fn what_does_not_take_is_tried_less_and_less() {
        let to = |n| Placement {
            engine: select::EngineKind::MultiPaxos,
            quorums: None,
            leader: Some(NodeId(n)),
            parts: Vec::new(),
        };
        let tried = |brake: &mut Brake, what: &Placement, from: u64, seconds: u64| {
            let beats = (from * 4..(from + seconds) * 4).map(|beat| at(beat * 250));
            beats.filter(|now| brake.tries(*now, what, TRANSFER_WITHIN, TRANSFER_DOUBLINGS)).count()
        };
        let mut brake = Brake::default();
        assert_eq!(tried(&mut brake, &to(1), 0, 1), 1, "four beacons a second");
        assert_eq!(tried(&mut brake, &to(1), 1, 1_022), 9);
        assert_eq!(tried(&mut brake, &to(2), 1_023, 1), 1, "another place is tried at once");
        brake.release();
        assert_eq!(tried(&mut brake, &to(2), 1_024, 1), 1);
        let hours = tried(&mut brake, &to(2), 1_025, 36_000);
        assert!((70..=90).contains(&hours), "{hours} in ten hours");
    }

    #[test]
    fn a_peer_that_lies_about_clocks_makes_no_panic() {
        let mut eye = Eye::default();
        for (clock, held) in [(u64::MAX, 0), (0, u64::MAX), (0, 0), (5, 5)] {
            let pulse = Pulse { sent: 7, heard: vec![(NodeId(1), clock, held)], ..Pulse::default() };
            eye.hear(at(1), NodeId(1), NodeId(2), &pulse);
        }
        eye.pulse(at(0));
    }

    #[test]
    fn a_few_writes_a_minute_are_not_none() {
        let mut eye = Eye::default();
        eye.pulse(at(0));
        assert_eq!(eye.pulse(at(1_000)).writes, 0);
        eye.note_write();
        assert_eq!(eye.pulse(at(11_000)).writes, 1);
    }

    #[test]
    fn the_policy_goes_on_without_what_no_epoch_runs() {
        let engines = applicable(Policy::default()).engines;
        use select::EngineKind as E;
        assert_eq!(engines, [E::Raft, E::MultiPaxos, E::EPaxos]);
    }
}
