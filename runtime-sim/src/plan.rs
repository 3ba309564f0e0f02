//! The plan: all that a run depends on besides the build.
//!
//! **Promise.** A run is a function of a [`Plan`]: its seed decides only draws that are keyed
//! by the event they belong to, never what is planned. Two runs of one plan have the same
//! trace; a plan with one fault less has the same draws everywhere else, which is what makes
//! it shrink. A plan is plain data: saved, edited, shared.
//!
//! **Two phases.** Until `heal_at` the plan's faults act (safety). From then on the nodes of
//! `core` and the links among them are healed; what else is broken stays as it is, and nothing
//! new breaks (liveness): the caller then demands convergence in bounded time of the core
//! alone. [`Plan::windows`] is the list of faults with that rule applied, and all that the
//! world ever looks at.

use crate::fault::{Effect, Fault, Target};
use crate::net::Matrix;
use dwcp_env::{ByteCount, Duration, Instant, NodeId, Purpose, Rate, Ratio, Seed};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// The most nodes a plan may have.
pub const NODES_MAX: usize = 1_024;

/// All that a run depends on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The root of all draws.
    pub seed: Seed,
    /// The nodes.
    pub nodes: Vec<NodePlan>,
    /// How far apart the regions are.
    pub latency: Latency,
    /// What links do besides taking time.
    #[serde(default)]
    pub net: NetSettings,
    /// The disks.
    #[serde(default)]
    pub disk: DiskSettings,
    /// The processes.
    #[serde(default)]
    pub process: ProcessSettings,
    /// Clients of the workload; the world only hands this on, the shrinker lowers it.
    #[serde(default)]
    pub clients: u32,
    /// Settings of the workload and the nodes; the world only hands them on.
    #[serde(default)]
    pub knobs: BTreeMap<String, i64>,
    /// Whether nodes may misbehave within their contract ([`dwcp_env::Probe::buggify`]).
    #[serde(default)]
    pub buggify: bool,
    /// When the liveness phase begins.
    pub heal_at: Instant,
    /// When the run ends.
    pub horizon: Instant,
    /// Who is healed; nobody named means everybody.
    #[serde(default)]
    pub core: Vec<NodeId>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// When draws are made anew: a branch of this run, equal to it up to the first of these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rekey: Vec<Rekey>,
}

/// From a moment on, all draws of the world come out differently.
///
/// The run without it and the run with it are the same up to `at`, event by event; from there
/// on the same faults meet another fate of every message, sync, torn write and boot. What a
/// node draws from the seed it was booted with is its own and stays, until it boots again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rekey {
    /// From this moment on, its own events included.
    pub at: Instant,
    /// Which of the possible futures.
    pub salt: u64,
}

const REKEY: Purpose = Purpose::named("plan.rekey");

/// A node of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodePlan {
    /// Its name.
    pub id: NodeId,
    /// Where it stands: a name of the latency matrix, or any name with [`Latency::Uniform`].
    pub region: String,
    /// The version of the program that boots first.
    #[serde(default)]
    pub version: u32,
    /// When it boots; a spare that joins later boots later.
    #[serde(default)]
    pub boot_at: Instant,
}

impl NodePlan {
    /// A node in a region, version zero, there from the start.
    #[must_use]
    pub fn new(id: u64, region: &str) -> Self {
        Self { id: NodeId(id), region: region.to_owned(), version: 0, boot_at: Instant::ZERO }
    }
}

/// How far apart nodes are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Latency {
    /// A measured matrix by name: see [`Matrix::NAMES`].
    Measured(String),
    /// One way, drawn evenly for each message, whatever the regions.
    Uniform {
        /// At least.
        min: Duration,
        /// At most.
        max: Duration,
    },
}

/// What links do besides taking time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetSettings {
    /// Messages lost on every link, always.
    pub loss: Ratio,
    /// Each link's rate; zero is unlimited.
    pub bandwidth: Rate,
    /// What may wait for a link before more is lost.
    pub queue: ByteCount,
    /// From a client to its node, and back.
    pub client: Duration,
}

impl Default for NetSettings {
    fn default() -> Self {
        Self {
            loss: Ratio::NEVER,
            bandwidth: Rate { bytes_per_s: 0 },
            queue: ByteCount::mib(16),
            client: Duration::micros(100),
        }
    }
}

/// The disks of a run: the time operations take, and how much fits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSettings {
    /// A write into the cache takes this long.
    pub write: Duration,
    /// A read takes this long.
    pub read: Duration,
    /// A sync takes at least this long,
    pub sync_min: Duration,
    /// and at most this long, drawn for each.
    pub sync_max: Duration,
    /// On top, for the bytes.
    pub rate: Rate,
    /// How much fits on a node's disk.
    pub capacity: ByteCount,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self {
            write: Duration::micros(5),
            read: Duration::micros(5),
            sync_min: Duration::micros(500),
            sync_max: Duration::micros(1_500),
            rate: Rate { bytes_per_s: 1 << 30 },
            capacity: ByteCount::mib(1 << 20),
        }
    }
}

/// The processes of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProcessSettings {
    /// Each turn of a node's loop takes this long; zero means that steps take no time.
    pub turn: Duration,
    /// And each input of it this long.
    pub input: Duration,
    /// The most inputs of one turn.
    pub turn_inputs: u32,
    /// A node that ended itself for a fault of its environment, or could not boot, is started
    /// again after this long; zero means never.
    pub restart_after: Duration,
    /// Each node's calendar is off by up to this much, either way, from the start; the stated
    /// uncertainty covers it.
    pub skew: Duration,
    /// Each node's clocks run off by up to this much from the start, either way.
    pub drift_ppm: u32,
    /// Job panics count as violations, as step panics do.
    pub job_panics_violate: bool,
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            turn: Duration::ZERO,
            input: Duration::ZERO,
            turn_inputs: 64,
            restart_after: Duration::secs(1),
            skew: Duration::ZERO,
            drift_ppm: 0,
            job_panics_violate: true,
        }
    }
}

/// Why a plan can't be run.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlanError {
    /// No node, or too many.
    #[error("a plan has 1 to {NODES_MAX} nodes, this one has {0}")]
    Nodes(usize),
    /// A node named twice.
    #[error("node {0} stands twice in the plan")]
    Twice(NodeId),
    /// A name that is no node.
    #[error("{0} is no node of this plan")]
    Stranger(NodeId),
    /// No such matrix.
    #[error("no latency matrix {0:?}; there are {names:?}", names = Matrix::NAMES)]
    Matrix(String),
    /// No such region.
    #[error("{matrix:?} has no region {region:?}; it has {known:?}")]
    Region {
        /// Of which matrix.
        matrix: String,
        /// Asked for.
        region: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A fault that makes no sense.
    #[error("fault {index} ({fault}): {why}")]
    Fault {
        /// Its place in the list.
        index: usize,
        /// The fault.
        fault: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A setting out of range.
    #[error("{0}")]
    Setting(&'static str),
}

impl Plan {
    /// A plan without faults: these regions, measured latencies, `horizon` long.
    #[must_use]
    pub fn calm(seed: Seed, nodes: Vec<NodePlan>, latency: Latency, horizon: Instant) -> Self {
        Self {
            seed,
            nodes,
            latency,
            net: NetSettings::default(),
            disk: DiskSettings::default(),
            process: ProcessSettings::default(),
            clients: 0,
            knobs: BTreeMap::new(),
            buggify: false,
            heal_at: horizon,
            horizon,
            core: Vec::new(),
            faults: Vec::new(),
            rekey: Vec::new(),
        }
    }

    /// What draws at `now` are keyed by: the seed, and every rekeying up to then.
    #[must_use]
    pub fn seed_at(&self, now: Instant) -> Seed {
        let past = self.rekey.iter().filter(|r| r.at <= now);
        past.fold(self.seed, |seed, r| seed.part(REKEY, r.salt))
    }

    /// The nodes' names.
    #[must_use]
    pub fn node_ids(&self) -> Vec<NodeId> {
        self.nodes.iter().map(|n| n.id).collect()
    }

    /// Who must converge in the liveness phase.
    #[must_use]
    pub fn core_ids(&self) -> Vec<NodeId> {
        if self.core.is_empty() { self.node_ids() } else { self.core.clone() }
    }

    /// Says what is wrong with the plan, if anything.
    ///
    /// # Errors
    /// The first thing wrong.
    pub fn check(&self) -> Result<(), PlanError> {
        if self.nodes.is_empty() || self.nodes.len() > NODES_MAX {
            return Err(PlanError::Nodes(self.nodes.len()));
        }
        let mut known = BTreeSet::new();
        for n in &self.nodes {
            if !known.insert(n.id) {
                return Err(PlanError::Twice(n.id));
            }
        }
        self.check_latency()?;
        let stranger = self.core.iter().find(|n| !known.contains(n));
        if let Some(n) = stranger {
            return Err(PlanError::Stranger(*n));
        }
        for (index, fault) in self.faults.iter().enumerate() {
            check_fault(fault, &known).map_err(|why| PlanError::Fault {
                index,
                fault: fault.to_string(),
                why,
            })?;
        }
        if self.rekey.windows(2).any(|w| w[0].at > w[1].at) {
            return Err(PlanError::Setting("rekey is not in the order of time"));
        }
        if self.disk.sync_min > self.disk.sync_max {
            return Err(PlanError::Setting("disk.sync_min is over disk.sync_max"));
        }
        if self.process.turn_inputs == 0 {
            return Err(PlanError::Setting("process.turn_inputs is zero: no input would ever be taken"));
        }
        if self.process.drift_ppm > 100_000 {
            return Err(PlanError::Setting("process.drift_ppm is over 100000, a tenth"));
        }
        Ok(())
    }

    fn check_latency(&self) -> Result<(), PlanError> {
        match &self.latency {
            Latency::Uniform { min, max } if min > max => Err(PlanError::Setting("latency: min is over max")),
            Latency::Uniform { .. } => Ok(()),
            Latency::Measured(name) => {
                let m = Matrix::named(name).ok_or_else(|| PlanError::Matrix(name.clone()))?;
                let lost = self.nodes.iter().find(|n| m.region(&n.region).is_none());
                match lost {
                    None => Ok(()),
                    Some(n) => Err(PlanError::Region {
                        matrix: name.clone(),
                        region: n.region.clone(),
                        known: m.regions().iter().map(|r| (*r).to_owned()).collect(),
                    }),
                }
            }
        }
    }

    /// Whether a fault that outlives the safety phase stands between two nodes, in either direction.
    #[must_use]
    pub fn apart(&self, a: NodeId, b: NodeId) -> bool {
        let on = |side: &[NodeId], n: NodeId| side.is_empty() || side.contains(&n);
        let lasting = self.windows().into_iter().filter(|f| f.until > self.heal_at);
        lasting.filter(|f| f.effect.on_links()).any(|f| match &f.target {
            Target::Links { from, to } => (on(from, a) && on(to, b)) || (on(from, b) && on(to, a)),
            Target::Node(_) => false,
        })
    }

    /// The faults with the rule of the two phases applied.
    #[must_use]
    pub fn windows(&self) -> Vec<Fault> {
        let core: BTreeSet<NodeId> = self.core_ids().into_iter().collect();
        let mut out = Vec::with_capacity(self.faults.len());
        for fault in self.faults.iter().filter(|f| f.at < self.heal_at) {
            if fault.until < self.heal_at || fault.effect.at_a_point() {
                out.push(fault.clone());
                continue;
            }
            match &fault.target {
                Target::Node(n) => {
                    let until = if core.contains(n) { self.heal_at } else { self.horizon };
                    out.push(Fault { until, ..fault.clone() });
                }
                Target::Links { from, to } => self.split_links(fault, from, to, &core, &mut out),
            }
        }
        out
    }

    /// A fault of links that reaches into the liveness phase ends there among the core and
    /// stays for the rest: the same links as before, in up to three windows.
    fn split_links(
        &self,
        fault: &Fault,
        from: &[NodeId],
        to: &[NodeId],
        core: &BTreeSet<NodeId>,
        out: &mut Vec<Fault>,
    ) {
        let all = self.node_ids();
        let side = |s: &[NodeId], inside: bool| -> Vec<NodeId> {
            let s = if s.is_empty() { &all[..] } else { s };
            s.iter().copied().filter(|n| core.contains(n) == inside).collect()
        };
        let (from_in, from_out, to_in, to_out) =
            (side(from, true), side(from, false), side(to, true), side(to, false));
        let everyone = [&to_in[..], &to_out[..]].concat();
        let parts = [
            (from_in.clone(), to_in, self.heal_at),
            (from_in, to_out, self.horizon),
            (from_out, everyone, self.horizon),
        ];
        for (f, t, until) in parts {
            if !f.is_empty() && !t.is_empty() {
                out.push(Fault { target: Target::Links { from: f, to: t }, until, ..fault.clone() });
            }
        }
    }
}

fn check_fault(fault: &Fault, known: &BTreeSet<NodeId>) -> Result<(), &'static str> {
    if fault.until < fault.at {
        return Err("ends before it begins");
    }
    let strangers = |list: &[NodeId]| list.iter().any(|n| !known.contains(n));
    match &fault.target {
        Target::Node(n) if !known.contains(n) => return Err("names a node that is not in the plan"),
        Target::Links { from, to } if strangers(from) || strangers(to) => {
            return Err("names a node that is not in the plan");
        }
        Target::Node(_) if fault.effect.on_links() => return Err("is a fault of links; name links"),
        Target::Links { .. } if !fault.effect.on_links() => return Err("is a fault of a node; name one"),
        _ => {}
    }
    match fault.effect {
        Effect::ClockDrift { ppm } if ppm.unsigned_abs() > 100_000 => Err("drifts more than a tenth"),
        Effect::Bandwidth { rate, .. } if rate.bytes_per_s == 0 => {
            Err("a rate of zero means no limit; use clog or partition")
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(s: u64) -> Instant {
        Instant::ZERO + Duration::secs(s)
    }

    fn plan() -> Plan {
        let nodes = (1..=3).map(|i| NodePlan::new(i, "eu-west-1")).collect();
        let mut p = Plan::calm(Seed(1), nodes, Latency::Measured("aws-2020".into()), at(100));
        p.heal_at = at(60);
        p.core = vec![NodeId(1), NodeId(2)];
        p
    }

    #[test]
    fn nothing_new_breaks_after_heal_and_the_core_is_healed() {
        let mut p = plan();
        p.faults = vec![
            Fault::node(NodeId(1), at(10), at(80), Effect::Pause {}),
            Fault::node(NodeId(3), at(10), at(80), Effect::Pause {}),
            Fault::node(NodeId(1), at(70), at(80), Effect::Pause {}),
            Fault { at: at(1), until: at(99), target: Target::all_links(), effect: Effect::Clog {} },
        ];
        p.check().unwrap();
        let w = p.windows();
        assert_eq!(w[0].until, at(60));
        assert_eq!(w[1].until, at(100));
        let clogs: Vec<_> = w[2..].iter().map(|f| (f.target.clone(), f.until)).collect();
        let n = NodeId;
        assert_eq!(
            clogs,
            vec![
                (Target::between(&[n(1), n(2)], &[n(1), n(2)]), at(60)),
                (Target::between(&[n(1), n(2)], &[n(3)]), at(100)),
                (Target::between(&[n(3)], &[n(1), n(2), n(3)]), at(100)),
            ]
        );
    }

    #[test]
    fn what_outlives_the_safety_phase_keeps_nodes_apart() {
        let mut p = plan();
        let one_way = |from: &[u64], to: &[u64]| {
            let ids = |s: &[u64]| s.iter().copied().map(NodeId).collect::<Vec<_>>();
            let target = Target::between(&ids(from), &ids(to));
            Fault { at: at(10), until: at(80), target, effect: Effect::PartitionOneWay {} }
        };
        p.faults = vec![one_way(&[1], &[2, 3])];
        assert!(p.apart(NodeId(1), NodeId(3)) && p.apart(NodeId(3), NodeId(1)));
        assert!(!p.apart(NodeId(1), NodeId(2)), "both are in the core: healed");
        assert!(!p.apart(NodeId(2), NodeId(3)));
    }

    #[test]
    fn wrong_plans_say_what_is_wrong() {
        let broken = |f: &dyn Fn(&mut Plan)| {
            let mut p = plan();
            f(&mut p);
            p.check().unwrap_err().to_string()
        };
        assert!(broken(&|p| p.nodes.clear()).contains("1 to 1024"));
        assert!(broken(&|p| p.nodes[0].id = NodeId(2)).contains("n2 stands twice"));
        assert!(broken(&|p| p.nodes[0].region = "mars".into()).contains("no region \"mars\""));
        assert!(broken(&|p| p.core.push(NodeId(9))).contains("n9 is no node"));
        assert!(broken(&|p| p.latency = Latency::Measured("x".into())).contains("aws-2020"));
        let fault = |e, t| {
            move |p: &mut Plan| {
                p.faults.push(Fault { at: at(1), until: at(2), target: t, effect: e });
            }
        };
        let text = |f: Box<dyn FnOnce(&mut Plan)>| {
            let mut p = plan();
            f(&mut p);
            p.check().unwrap_err().to_string()
        };
        assert!(text(Box::new(fault(Effect::Clog {}, Target::Node(NodeId(1))))).contains("name links"));
        assert!(text(Box::new(fault(Effect::Pause {}, Target::all_links()))).contains("name one"));
    }

    #[test]
    fn settings_out_of_range_are_refused_each_by_its_name() {
        let text = |change: &dyn Fn(&mut Plan)| {
            let mut p = plan();
            change(&mut p);
            p.check().unwrap_err().to_string()
        };
        let node = |id, effect| Fault::node(NodeId(id), at(1), at(2), effect);
        let links = |from: u64, to: u64, effect| {
            let target = Target::between(&[NodeId(from)], &[NodeId(to)]);
            Fault { at: at(1), until: at(2), target, effect }
        };
        let mut early = node(1, Effect::Pause {});
        early.until = at(0);
        let rate = |bytes_per_s| Effect::Bandwidth { rate: Rate { bytes_per_s }, queue: ByteCount::kib(1) };
        type Break<'a> = &'a dyn Fn(&mut Plan);
        let table: &[(&str, Break<'_>)] = &[
            ("ends before it begins", &|p| p.faults.push(early.clone())),
            ("names a node that is not", &|p| p.faults.push(node(9, Effect::Pause {}))),
            ("names a node that is not", &|p| p.faults.push(links(9, 1, Effect::Clog {}))),
            ("names a node that is not", &|p| p.faults.push(links(1, 9, Effect::Clog {}))),
            ("more than a tenth", &|p| p.faults.push(node(1, Effect::ClockDrift { ppm: -100_001 }))),
            ("means no limit", &|p| p.faults.push(links(1, 2, rate(0)))),
            ("rekey", &|p| p.rekey = [2, 1].map(|s| Rekey { at: at(s), salt: 0 }).to_vec()),
            ("disk.sync_min", &|p| p.disk.sync_min = p.disk.sync_max + Duration::nanos(1)),
            ("turn_inputs", &|p| p.process.turn_inputs = 0),
            ("drift_ppm", &|p| p.process.drift_ppm = 100_001),
            ("latency", &|p| {
                p.latency = Latency::Uniform { min: Duration::millis(2), max: Duration::millis(1) };
            }),
            ("1 to 1024", &|p| {
                p.nodes = (1..=NODES_MAX as u64 + 1).map(|i| NodePlan::new(i, "eu-west-1")).collect();
            }),
        ];
        for (want, change) in table {
            assert!(text(change).contains(want), "{want}: {}", text(change));
        }
        // The bounds themselves are in.
        let mut p = plan();
        p.faults = vec![node(1, Effect::ClockDrift { ppm: 100_000 }), links(1, 2, rate(1))];
        p.rekey = [1, 1].map(|s| Rekey { at: at(s), salt: 0 }).to_vec();
        p.process.drift_ppm = 100_000;
        p.check().unwrap();
    }

    #[test]
    fn draws_are_made_anew_from_each_rekeying_on_and_not_before() {
        let mut p = plan();
        p.rekey = vec![Rekey { at: at(5), salt: 1 }, Rekey { at: at(9), salt: 2 }];
        let before = Instant::from_nanos(at(5).as_nanos() - 1);
        assert_eq!(p.seed_at(before), p.seed);
        let seeds = [p.seed, p.seed_at(at(5)), p.seed_at(at(9))];
        assert_eq!(p.seed_at(Instant::from_nanos(at(9).as_nanos() - 1)), seeds[1]);
        let mut other = p.clone();
        other.rekey[0].salt = 7;
        let all = [seeds[0], seeds[1], seeds[2], other.seed_at(at(5)), other.seed_at(at(9))];
        let different: BTreeSet<u64> = all.iter().map(|s| s.0).collect();
        assert_eq!(different.len(), 5, "each future has its own draws: {all:?}");
    }

    #[test]
    fn what_begins_with_the_heal_never_begins_and_a_moments_fault_is_none_to_cut_short() {
        let mut p = plan();
        p.core = Vec::new();
        assert_eq!(p.core_ids(), p.node_ids(), "nobody named is everybody");
        p.faults = vec![
            Fault::node(NodeId(1), at(60), at(61), Effect::Pause {}),
            Fault::node(NodeId(1), at(10), at(80), Effect::BitRot { bits: 1, spare_tail: true }),
        ];
        let windows = p.windows();
        assert_eq!(windows.len(), 1, "{windows:?}");
        assert_eq!(windows[0].until, at(80), "it acts at a moment, as it was planned");
    }
}
