//! From a scenario and a seed to everything a run depends on.
//!
//! **Promise.** [`expand`] is pure. What can be decided from the seed is decided here and
//! stands in the plan as data; what can only be known in the run (who leads at 12 s) stands
//! there as an [`Act`], looked up when its time comes. A run consults only the [`RunPlan`]:
//! that is what is shrunk, edited, saved and replayed.

use crate::file::action::{Action, LEADERS, Who};
use crate::file::{Load, NodeSettings, Scenario};
use crate::invariant::Property;
use dwcp_env::{ByteCount, Duration, Instant, NodeId, Purpose, Ratio, Seed};
use dwcp_runtime_sim::atlas::Tolerates;
use dwcp_runtime_sim::fault::{Effect, Fault, Target};
use dwcp_runtime_sim::plan::{DiskSettings, NetSettings, NodePlan, Plan, ProcessSettings};
use dwcp_runtime_sim::swarm::{self, Spec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Everything a run depends on besides the build.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunPlan {
    /// The scenario it came from.
    pub scenario: String,
    /// Members of the group at the start; other nodes of the world are spare.
    pub members: Vec<NodeId>,
    /// The nodes' settings.
    pub node: NodeSettings,
    /// What clients do.
    pub loads: Vec<Load>,
    /// How long clients go on after the heal.
    pub serve_for: Duration,
    /// By when, after the clients have stopped, all of the core must be equal.
    pub converge_within: Duration,
    /// What must hold.
    pub always: Vec<Property>,
    /// When the first scripted event comes: recovery is measured from then on.
    pub first_event: Option<Instant>,
    /// A bug planted on purpose, by name ([`crate::mutants`]).
    #[serde(default)]
    pub bug: Option<String>,
    /// What is looked up in the run.
    #[serde(default)]
    pub acts: Vec<Act>,
    /// The world and its faults.
    pub world: Plan,
}

/// Something done at its time, to whoever it then concerns.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// When.
    pub at: Instant,
    /// Until when, if it lasts.
    pub until: Instant,
    /// Its number in the scenario: the key of its draws.
    pub nth: u64,
    /// What.
    pub action: Action,
}

const WHEN: Purpose = Purpose::named("scenario.when");
const HOW_LONG: Purpose = Purpose::named("scenario.how_long");
const WHO: Purpose = Purpose::named("scenario.who");
/// How long something lasts if the file does not say.
const LASTING: Duration = Duration::secs(5);
/// Bits that rot and sectors that go in one event: enough to be met.
const ROT: u32 = 24;

/// Who is who when an act is looked up.
#[derive(Clone, Copy, Debug)]
pub struct Cast<'a> {
    /// Everybody, members and spares.
    pub all: &'a [(NodeId, String)],
    /// The group's members.
    pub members: &'a [NodeId],
    /// Who leads, if known.
    pub leader: Option<NodeId>,
    /// The run's seed.
    pub seed: Seed,
}

impl Cast<'_> {
    fn region_of_leader(&self) -> Option<String> {
        let leader = self.leader?;
        self.all.iter().find(|n| n.0 == leader).map(|n| n.1.clone())
    }
    fn pick(&self, from: &[NodeId], nth: u64) -> Vec<NodeId> {
        let at = self.seed.below(from.len().max(1) as u64, WHO, nth, Instant::ZERO, 0);
        from.get(at as usize).copied().into_iter().collect()
    }
    /// Members in an order drawn for event `nth`.
    fn shuffled(&self, nth: u64) -> Vec<NodeId> {
        let mut keyed: Vec<_> =
            self.members.iter().map(|n| (self.seed.draw(WHO, nth, Instant::ZERO, n.0), *n)).collect();
        keyed.sort_unstable();
        keyed.into_iter().map(|k| k.1).collect()
    }
    /// The nodes of a set; empty if it needs a leader and there is none.
    fn set(&self, who: &Who, nth: u64) -> Vec<NodeId> {
        let follows = |n: &NodeId| Some(*n) != self.leader;
        let minority = (self.members.len() - 1) / 2;
        match who {
            Who::Leader => self.leader.into_iter().collect(),
            Who::Followers => self.members.iter().copied().filter(follows).collect(),
            Who::Follower => {
                let others: Vec<NodeId> = self.members.iter().copied().filter(follows).collect();
                self.pick(&others, nth)
            }
            Who::Any => self.pick(self.members, nth),
            Who::Minority => self.shuffled(nth).into_iter().take(minority.max(1)).collect(),
            Who::Majority => self.shuffled(nth).into_iter().take(self.members.len() / 2 + 1).collect(),
            Who::MinorityWithLeader => {
                let mut order = self.shuffled(nth);
                order.sort_by_key(follows);
                order.into_iter().take(minority.max(1)).collect()
            }
            Who::MajorityWithoutLeader => {
                let order = self.shuffled(nth).into_iter().filter(follows);
                order.take(self.members.len() / 2 + 1).collect()
            }
            Who::Region(name) => self.all.iter().filter(|n| n.1 == *name).map(|n| n.0).collect(),
            Who::Nodes(nodes) => nodes.clone(),
            Who::Others => Vec::new(),
        }
    }
    /// Two sets, either of which may be "the others".
    fn pair(&self, a: &Who, b: &Who, nth: u64) -> (Vec<NodeId>, Vec<NodeId>) {
        let rest =
            |of: &[NodeId]| self.all.iter().map(|n| n.0).filter(|n| !of.contains(n)).collect::<Vec<_>>();
        match (a, b) {
            (Who::Others, b) => {
                let b = self.set(b, nth);
                (rest(&b), b)
            }
            (a, Who::Others) => {
                let a = self.set(a, nth);
                let others = rest(&a);
                (a, others)
            }
            (a, b) => (self.set(a, nth), self.set(b, nth)),
        }
    }
}

/// Whether it can only be known in the run whom a set means.
const fn depends_on_run(who: &Who) -> bool {
    matches!(
        who,
        Who::Leader | Who::Followers | Who::Follower | Who::MinorityWithLeader | Who::MajorityWithoutLeader
    )
}

/// The sets an action names.
const fn sets(action: &Action) -> (Option<&Who>, Option<&Who>) {
    match action {
        Action::Crash(a)
        | Action::Restart(a)
        | Action::Pause(a)
        | Action::Wipe(a)
        | Action::DiskFull(a)
        | Action::DiskSlow(a, _)
        | Action::DiskStall(a)
        | Action::DiskFail(a)
        | Action::Lie(a)
        | Action::DiskRot(a)
        | Action::DiskUnreadable(a)
        | Action::DiskTorn(a)
        | Action::ClockJump(a, _)
        | Action::ClockDrift(a, _)
        | Action::MembersRemove(a)
        | Action::MembersAdd(a)
        | Action::Transfer(a)
        | Action::Snapshot(a) => (Some(a), None),
        Action::Partition(a, b) | Action::Cut(a, b) | Action::Clog(a, b) | Action::Slow(a, b, _) => {
            (Some(a), Some(b))
        }
        Action::RegionLose(_) | Action::Switch(_) | Action::HybridMove(..) => (None, None),
    }
}

/// The faults an action means for this cast. Requests to the group (members, transfer,
/// snapshot) mean none: see [`asked`].
#[must_use]
pub fn faults(act: &Act, cast: &Cast<'_>) -> Vec<Fault> {
    let (at, until, nth) = (act.at, act.until, act.nth);
    let each = |who: &Who, effect: Effect| -> Vec<Fault> {
        let nodes = cast.set(who, nth).into_iter();
        nodes.map(|n| Fault::node(n, at, until, effect.clone())).collect()
    };
    let links = |from: Vec<NodeId>, to: Vec<NodeId>, effect: Effect| -> Vec<Fault> {
        let nobody = from.is_empty() || to.is_empty();
        if nobody {
            Vec::new()
        } else {
            vec![Fault { at, until, target: Target::Links { from, to }, effect }]
        }
    };
    match &act.action {
        Action::Crash(a) => each(a, Effect::Crash { mid_write: false }),
        Action::Restart(a) => each(a, Effect::VersionChange { version: 0 }),
        Action::Pause(a) => each(a, Effect::Pause {}),
        Action::Wipe(a) => each(a, Effect::Wipe {}),
        Action::RegionLose(name) => {
            let region = if name == LEADERS { cast.region_of_leader() } else { Some(name.clone()) };
            region.map_or_else(Vec::new, |r| each(&Who::Region(r), Effect::Crash { mid_write: false }))
        }
        Action::Partition(a, b) => {
            let (a, b) = cast.pair(a, b, nth);
            links(a, b, Effect::Partition {})
        }
        Action::Cut(a, b) => {
            let (a, b) = cast.pair(a, b, nth);
            links(a, b, Effect::PartitionOneWay {})
        }
        Action::Clog(a, b) => {
            let (a, b) = cast.pair(a, b, nth);
            links(a, b, Effect::Clog {})
        }
        Action::Slow(a, b, extra) => {
            let (a, b) = cast.pair(a, b, nth);
            let effect = Effect::Delay { extra: *extra, jitter: Duration::ZERO };
            let mut both = links(a.clone(), b.clone(), effect.clone());
            both.extend(links(b, a, effect));
            both
        }
        Action::DiskFull(a) => each(a, Effect::DiskFull { free: ByteCount(0) }),
        Action::DiskSlow(a, extra) => each(a, Effect::SlowDisk { extra: *extra, stalled: false }),
        Action::DiskStall(a) => each(a, Effect::SlowDisk { extra: Duration::ZERO, stalled: true }),
        Action::DiskFail(a) => {
            let some = Ratio { num: 1, den: 50 };
            each(a, Effect::DiskError { reads: Ratio::NEVER, writes: some, syncs: some })
        }
        Action::DiskRot(a) => each(a, Effect::BitRot { bits: ROT, spare_tail: true }),
        Action::DiskUnreadable(a) => each(a, Effect::LatentSectorError { sectors: ROT, spare_tail: true }),
        Action::DiskTorn(a) => each(a, Effect::TornWrite {}),
        Action::Lie(a) => {
            let some = |den: u32| Ratio { num: 1, den };
            let (mutate, duplicate, replay, withhold) = (some(5), some(10), some(10), some(5));
            each(a, Effect::Byzantine { mutate, duplicate, replay, withhold })
        }
        Action::ClockJump(a, nanos) => each(a, Effect::ClockJump { nanos: *nanos }),
        Action::ClockDrift(a, ppm) => each(a, Effect::ClockDrift { ppm: *ppm }),
        Action::MembersRemove(_)
        | Action::MembersAdd(_)
        | Action::Transfer(_)
        | Action::Snapshot(_)
        | Action::Switch(_)
        | Action::HybridMove(..) => Vec::new(),
    }
}

/// Whom a request to the group concerns, if the action is one.
#[must_use]
pub fn asked(act: &Act, cast: &Cast<'_>) -> Vec<NodeId> {
    match &act.action {
        Action::MembersRemove(a) | Action::MembersAdd(a) | Action::Transfer(a) | Action::Snapshot(a) => {
            cast.set(a, act.nth)
        }
        Action::Switch(_) => cast.set(&Who::Any, act.nth).into_iter().take(1).collect(),
        Action::HybridMove(to, _) => {
            cast.set(&Who::Region(to.clone()), act.nth).into_iter().take(1).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether an act asks something of the group instead of breaking something.
#[must_use]
pub const fn is_request(act: &Act) -> bool {
    matches!(
        act.action,
        Action::MembersRemove(_)
            | Action::MembersAdd(_)
            | Action::Transfer(_)
            | Action::Snapshot(_)
            | Action::Switch(_)
            | Action::HybridMove(..)
    )
}

/// Draws the plan of a run.
#[must_use]
pub fn expand(scenario: &Scenario, seed: Seed) -> RunPlan {
    let (nodes, members) = nodes(scenario);
    let all: Vec<(NodeId, String)> = nodes.iter().map(|n| (n.id, n.region.clone())).collect();
    let cast = Cast { all: &all, members: &members, leader: None, seed };
    let mut acts = Vec::new();
    let mut written = Vec::new();
    for (nth, act) in scripted(scenario, seed).into_iter().enumerate() {
        let act = Act { nth: nth as u64, ..act };
        let (a, b) = sets(&act.action);
        let region_waits = matches!(&act.action, Action::RegionLose(name) if name == LEADERS);
        let waits = region_waits || a.is_some_and(depends_on_run) || b.is_some_and(depends_on_run);
        let fixed = if waits { Vec::new() } else { faults(&act, &cast) };
        if fixed.is_empty() { acts.push(act) } else { written.extend(fixed) }
    }
    let heal_at = Instant::ZERO + scenario.heal.at;
    let (serve_for, converge_within) = (scenario.heal.serve_for, scenario.heal.converge_within);
    let horizon = heal_at + serve_for + dwcp_workload::client::GIVE_UP * 2 + converge_within;
    let first_event = acts.iter().map(|a| a.at).chain(written.iter().map(|f| f.at)).min();
    let world = swarm::expand(&spec(scenario, nodes, written, heal_at, horizon), seed);
    RunPlan {
        scenario: scenario.name.clone(),
        members,
        node: scenario.node.clone(),
        loads: scenario.workloads.clone(),
        serve_for,
        converge_within,
        always: scenario
            .check
            .always
            .iter()
            .copied()
            .filter(|p| p.holds_under(scenario.node.engine))
            .collect(),
        first_event,
        bug: None,
        acts,
        world,
    }
}

/// The world's nodes, and which of them are members: numbered from 1 in turn over the
/// regions, the spares last.
fn nodes(scenario: &Scenario) -> (Vec<NodePlan>, Vec<NodeId>) {
    let mut nodes = Vec::new();
    let most = scenario.world.regions.iter().map(|r| r.1).max().unwrap_or(0);
    for turn in 0..most {
        for (region, count) in &scenario.world.regions {
            if turn < *count {
                nodes.push(NodePlan::new(nodes.len() as u64 + 1, region));
            }
        }
    }
    let region = scenario.node.region.as_deref();
    let forms = |n: &&NodePlan| region.is_none_or(|r| n.region == r);
    let members = nodes.iter().filter(forms).map(|n| n.id).collect();
    let home = scenario.world.regions.first().map_or("", |r| r.0.as_str());
    for _ in 0..scenario.world.spares {
        nodes.push(NodePlan::new(nodes.len() as u64 + 1, home));
    }
    (nodes, members)
}

/// The scenario's events with their times drawn.
fn scripted(scenario: &Scenario, seed: Seed) -> Vec<Act> {
    let mut acts = Vec::new();
    for (place, event) in scenario.events.iter().enumerate() {
        let first = Instant::ZERO + event.at.draw(seed, WHEN, place as u64);
        for time in 0..u64::from(event.times) {
            let at = first + event.every * time;
            let key = (place as u64) << 16 | time;
            let lasting = event.lasting.map_or(LASTING, |l| l.draw(seed, HOW_LONG, key));
            acts.push(Act { at, until: at + lasting, nth: key, action: event.action.clone() });
        }
    }
    acts
}

fn spec(s: &Scenario, nodes: Vec<NodePlan>, faults: Vec<Fault>, heal_at: Instant, horizon: Instant) -> Spec {
    let swarm = s.swarm.as_ref();
    Spec {
        nodes,
        latency: s.world.latency.clone(),
        net: NetSettings { loss: s.world.loss, bandwidth: s.world.bandwidth, ..NetSettings::default() },
        disk: DiskSettings {
            write: s.world.disk.write,
            sync_min: s.world.disk.sync.low,
            sync_max: s.world.disk.sync.high,
            ..DiskSettings::default()
        },
        process: ProcessSettings {
            skew: s.world.skew,
            drift_ppm: s.world.drift_ppm,
            ..ProcessSettings::default()
        },
        clients: s.workloads.iter().map(|l| l.clients).sum(),
        knobs: BTreeMap::new(),
        buggify: s.world.buggify,
        families: swarm.map_or_else(Vec::new, |w| w.families.clone()),
        always: swarm.map_or_else(Vec::new, |w| w.always.clone()),
        every: swarm.map_or(Duration::secs(60), |w| w.every),
        longest: swarm.map_or(Duration::secs(1), |w| w.longest),
        quiet_until: Instant::ZERO + swarm.map_or(Duration::ZERO, |w| w.from),
        heal_at,
        horizon,
        draw_core: swarm.is_some_and(|w| w.draw_core),
        tolerates: Tolerates::default(),
        groups: Vec::new(),
        versions: vec![0],
        faults,
    }
}
