//! A plan from a specification and a seed.
//!
//! **Promise.** [`expand`] is a pure function of (specification, seed). It draws which
//! families of faults this seed has at all, how strongly each acts, and every window; the
//! result is a plain [`Plan`], which the run then consults instead of the seed.
//!
//! **Swarm.** Each seed draws a *subset* of the families allowed, and the rest are fully off
//! (Groce et al., ISSTA 2012: 42 % more distinct bugs than with everything always slightly
//! on, where one fault hides another). Intensities are drawn per family as well.
//!
//! **Survivable.** Targets of what destroys data come from the [`crate::atlas`].
//!
//! **Keyed.** Every draw is keyed by (purpose, family, number of the window): a family that
//! is struck off the specification leaves the windows of all others where they were.

use crate::atlas::{Atlas, Tolerates};
use crate::fault::{Effect, Fault, FaultKind, Target};
use crate::plan::{DiskSettings, Latency, NetSettings, NodePlan, Plan, ProcessSettings};
use dwcp_env::{ByteCount, Duration, Instant, NodeId, Purpose, Rate, Ratio, Seed};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Faults that are drawn together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// partition, partition_one_way
    Partitions,
    /// clog, delay, bandwidth
    Congestion,
    /// reorder, duplicate, drop, corrupt_packet
    Messages,
    /// clock_skew, clock_drift, clock_jump
    Clocks,
    /// crash, torn_write
    Crashes,
    /// pause
    Pauses,
    /// slow_disk
    SlowDisks,
    /// disk_full, disk_error
    DiskErrors,
    /// latent_sector_error, bit_rot, misdirected_read
    Decay,
    /// phantom_write, misdirected_write, wipe
    Amnesia,
    /// version_change
    Upgrades,
    /// byzantine
    Liars,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 12] = [
        Self::Partitions,
        Self::Congestion,
        Self::Messages,
        Self::Clocks,
        Self::Crashes,
        Self::Pauses,
        Self::SlowDisks,
        Self::DiskErrors,
        Self::Decay,
        Self::Amnesia,
        Self::Upgrades,
        Self::Liars,
    ];
    /// What belongs to it.
    #[must_use]
    pub const fn kinds(self) -> &'static [FaultKind] {
        use FaultKind as K;
        match self {
            Self::Partitions => &[K::Partition, K::PartitionOneWay],
            Self::Congestion => &[K::Clog, K::Delay, K::Bandwidth],
            Self::Messages => &[K::Reorder, K::Duplicate, K::Drop, K::CorruptPacket],
            Self::Clocks => &[K::ClockSkew, K::ClockDrift, K::ClockJump],
            Self::Crashes => &[K::Crash, K::TornWrite],
            Self::Pauses => &[K::Pause],
            Self::SlowDisks => &[K::SlowDisk],
            Self::DiskErrors => &[K::DiskFull, K::DiskError],
            Self::Decay => &[K::LatentSectorError, K::BitRot, K::MisdirectedRead],
            Self::Amnesia => &[K::PhantomWrite, K::MisdirectedWrite, K::Wipe],
            Self::Upgrades => &[K::VersionChange],
            Self::Liars => &[K::Byzantine],
        }
    }
    /// The family a kind belongs to.
    ///
    /// # Panics
    /// Never: every kind has one, which a test proves.
    #[must_use]
    pub fn of(kind: FaultKind) -> Self {
        let found = Self::ALL.into_iter().find(|f| f.kinds().contains(&kind));
        found.expect("every kind belongs to a family")
    }
}

/// What plans are drawn from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// The nodes.
    pub nodes: Vec<NodePlan>,
    /// How far apart they are.
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
    /// Handed on.
    #[serde(default)]
    pub clients: u32,
    /// Handed on.
    #[serde(default)]
    pub knobs: BTreeMap<String, i64>,
    /// Whether nodes may misbehave within their contract.
    #[serde(default)]
    pub buggify: bool,
    /// Families that may be drawn.
    pub families: Vec<Family>,
    /// Families that every seed has.
    #[serde(default)]
    pub always: Vec<Family>,
    /// Mean time between two windows of one family, before its intensity is drawn.
    pub every: Duration,
    /// The longest window.
    pub longest: Duration,
    /// No fault before this.
    #[serde(default)]
    pub quiet_until: Instant,
    /// When the liveness phase begins.
    pub heal_at: Instant,
    /// When the run ends.
    pub horizon: Instant,
    /// Draw a majority as the core in half of the seeds; otherwise everybody is healed.
    #[serde(default)]
    pub draw_core: bool,
    /// What the protocol under test survives.
    #[serde(default)]
    pub tolerates: Tolerates,
    /// Replica sets: data lives on the nodes of one set. None named means one set of all.
    #[serde(default)]
    pub groups: Vec<Vec<NodeId>>,
    /// Versions that upgrades go through, in order.
    #[serde(default)]
    pub versions: Vec<u32>,
    /// Written out, for scenarios that name their disasters.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

const ON: Purpose = Purpose::named("swarm.family");
const KIND_ON: Purpose = Purpose::named("swarm.kind");
const INTENSITY: Purpose = Purpose::named("swarm.intensity");
const CORE: Purpose = Purpose::named("swarm.core");
const CORE_ORDER: Purpose = Purpose::named("swarm.core_order");

/// The draws of one window: keyed by family and number, then by what is asked.
struct Window {
    seed: Seed,
    entity: u64,
    asked: std::cell::Cell<u64>,
}

impl Window {
    const fn new(seed: Seed, family: Family, number: u64) -> Self {
        Self { seed, entity: ((family as u64) << 32) | number, asked: std::cell::Cell::new(0) }
    }
    fn below(&self, n: u64) -> u64 {
        const P: Purpose = Purpose::named("swarm.window");
        let k = self.asked.get();
        self.asked.set(k + 1);
        self.seed.below(n, P, self.entity, Instant::ZERO, k)
    }
    /// `min..=max`.
    fn between(&self, min: u64, max: u64) -> u64 {
        min + self.below(max - min + 1)
    }
    fn ppm(&self, min: u64, max: u64) -> Ratio {
        Ratio::ppm(self.between(min, max) as u32)
    }
    fn span(&self, min: Duration, max: Duration) -> Duration {
        Duration::nanos(self.between(min.as_nanos(), max.as_nanos().max(min.as_nanos())))
    }
    /// Up to `max` either way, never zero.
    fn signed(&self, max: u64) -> i64 {
        let size = self.between(1, max) as i64;
        if self.below(2) == 0 { size } else { -size }
    }
    fn pick<T: Copy>(&self, of: &[T]) -> Option<T> {
        if of.is_empty() { None } else { of.get(self.below(of.len() as u64) as usize).copied() }
    }
    fn subset(&self, of: &[NodeId]) -> Vec<NodeId> {
        of.iter().copied().filter(|_| self.below(2) == 0).collect()
    }
}

/// Draws a plan.
#[must_use]
pub fn expand(spec: &Spec, seed: Seed) -> Plan {
    let all: Vec<NodeId> = spec.nodes.iter().map(|n| n.id).collect();
    let atlas = Atlas::draw(seed, &all, &spec.groups, spec.tolerates);
    let mut plan = Plan {
        seed,
        nodes: spec.nodes.clone(),
        latency: spec.latency.clone(),
        net: spec.net.clone(),
        disk: spec.disk.clone(),
        process: spec.process.clone(),
        clients: spec.clients,
        knobs: spec.knobs.clone(),
        buggify: spec.buggify,
        heal_at: spec.heal_at,
        horizon: spec.horizon,
        core: draw_core(spec, seed, &all, &atlas),
        faults: spec.faults.clone(),
        rekey: Vec::new(),
    };
    for family in families(spec, seed) {
        draw_family(spec, seed, family, &atlas, &mut plan.faults);
    }
    plan.faults.sort_by_key(|f| f.at);
    plan
}

/// The families this seed has.
#[must_use]
pub fn families(spec: &Spec, seed: Seed) -> Vec<Family> {
    let drawn = |f: &Family| {
        spec.always.contains(f)
            || spec.families.contains(f) && seed.below(2, ON, *f as u64, Instant::ZERO, 0) == 0
    };
    Family::ALL.into_iter().filter(drawn).collect()
}

/// A majority or more. Where disks decay, all whose disks may not are of it: a voter that lost part of its log
/// takes nothing before `n - q + 1` that lost nothing have told it what they know.
fn draw_core(spec: &Spec, seed: Seed, all: &[NodeId], atlas: &Atlas) -> Vec<NodeId> {
    if !spec.draw_core || seed.below(2, CORE, 0, Instant::ZERO, 0) == 0 {
        return Vec::new();
    }
    let mut order = crate::atlas::shuffled(seed, CORE_ORDER, all);
    let majority = all.len() / 2 + 1;
    let size = majority as u64 + seed.below((all.len() - majority) as u64 + 1, CORE, 1, Instant::ZERO, 0);
    if families(spec, seed).contains(&Family::Decay) {
        let decays = atlas.candidates(FaultKind::BitRot);
        order.sort_by_key(|n| decays.contains(n));
    }
    order.truncate(size as usize);
    order.sort_unstable();
    order
}

fn draw_family(spec: &Spec, seed: Seed, family: Family, atlas: &Atlas, out: &mut Vec<Fault>) {
    // Each kind of the family is on with three chances in four; the first drawn one always.
    let chosen = seed.below(family.kinds().len() as u64, KIND_ON, family as u64, Instant::ZERO, 0) as usize;
    let on = |(i, k): (usize, &FaultKind)| {
        let lucky = seed.below(4, KIND_ON, *k as u64, Instant::ZERO, 1) != 0;
        (i == chosen || lucky).then_some(*k)
    };
    let kinds: Vec<FaultKind> = family.kinds().iter().enumerate().filter_map(on).collect();
    // From a quarter of the stated frequency to four times it.
    let scale = 1 << seed.below(5, INTENSITY, family as u64, Instant::ZERO, 0);
    let every = (spec.every * 4 / scale).as_nanos().max(1_000_000);
    let mut at = spec.quiet_until;
    for number in 0.. {
        let w = Window::new(seed, family, number);
        at += Duration::nanos(w.between(every / 4, every * 7 / 4));
        if at >= spec.heal_at {
            break;
        }
        let Some(kind) = w.pick(&kinds) else { break };
        let until = at + w.span(Duration::millis(10).min(spec.longest), spec.longest);
        if let Some(fault) = draw_fault(spec, &w, atlas, kind, number, at, until) {
            out.push(fault);
        }
    }
}

fn draw_fault(
    spec: &Spec,
    w: &Window,
    atlas: &Atlas,
    kind: FaultKind,
    number: u64,
    at: Instant,
    until: Instant,
) -> Option<Fault> {
    let effect = draw_effect(spec, w, atlas, kind, number)?;
    let target = if effect.on_links() {
        draw_links(spec, w, kind)?
    } else {
        Target::Node(w.pick(atlas.candidates(kind))?)
    };
    Some(Fault { at, until, target, effect })
}

/// Both sides of a cut are never empty; other link faults may hit every link.
fn draw_links(spec: &Spec, w: &Window, kind: FaultKind) -> Option<Target> {
    let all: Vec<NodeId> = spec.nodes.iter().map(|n| n.id).collect();
    let cut = matches!(kind, FaultKind::Partition | FaultKind::PartitionOneWay);
    let left = match w.below(3) {
        // One node, a region, any subset.
        0 => vec![w.pick(&all)?],
        1 => {
            let region = &spec.nodes[w.below(spec.nodes.len() as u64) as usize].region;
            spec.nodes.iter().filter(|n| n.region == *region).map(|n| n.id).collect()
        }
        _ => w.subset(&all),
    };
    let right: Vec<NodeId> = all.iter().copied().filter(|n| !left.contains(n)).collect();
    if cut {
        let whole = left.is_empty() || right.is_empty();
        return (!whole).then_some(Target::Links { from: left, to: right });
    }
    Some(match w.below(3) {
        0 => Target::all_links(),
        1 if !left.is_empty() => Target::Links { from: left, to: Vec::new() },
        _ if !left.is_empty() => Target::Links { from: Vec::new(), to: left },
        _ => Target::all_links(),
    })
}

fn draw_effect(spec: &Spec, w: &Window, atlas: &Atlas, kind: FaultKind, number: u64) -> Option<Effect> {
    let ms = Duration::millis;
    Some(match kind {
        FaultKind::Partition => Effect::Partition {},
        FaultKind::PartitionOneWay => Effect::PartitionOneWay {},
        FaultKind::Clog => Effect::Clog {},
        FaultKind::Delay => Effect::Delay { extra: w.span(ms(1), ms(300)), jitter: w.span(ms(0), ms(300)) },
        FaultKind::Reorder => Effect::Reorder { rate: w.ppm(10_000, 500_000), extra: w.span(ms(1), ms(200)) },
        FaultKind::Duplicate => {
            Effect::Duplicate { rate: w.ppm(10_000, 500_000), extra: w.span(ms(1), ms(500)) }
        }
        FaultKind::Drop => Effect::Drop {
            rate: w.ppm(1_000, 300_000),
            burst: if w.below(2) == 0 { 1 } else { 1 + w.below(32) as u32 },
        },
        FaultKind::Bandwidth => Effect::Bandwidth {
            rate: Rate { bytes_per_s: w.between(16 << 10, 4 << 20) },
            queue: ByteCount(w.between(8 << 10, 1 << 20)),
        },
        FaultKind::CorruptPacket => {
            Effect::CorruptPacket { rate: w.ppm(1_000, 200_000), bits: 1 + w.below(16) as u32 }
        }
        FaultKind::ClockSkew => Effect::ClockSkew { nanos: w.signed(500_000_000), honest: w.below(2) == 0 },
        FaultKind::ClockDrift => Effect::ClockDrift { ppm: w.signed(20_000) as i32 },
        FaultKind::ClockJump => Effect::ClockJump { nanos: w.signed(30_000_000_000) },
        FaultKind::Crash => Effect::Crash { mid_write: w.below(2) == 0 },
        FaultKind::TornWrite => Effect::TornWrite {},
        FaultKind::LatentSectorError => {
            Effect::LatentSectorError { sectors: 1 + w.below(8) as u32, spare_tail: atlas.spares_tails() }
        }
        FaultKind::BitRot => Effect::BitRot { bits: 1 + w.below(8) as u32, spare_tail: atlas.spares_tails() },
        FaultKind::MisdirectedWrite => Effect::MisdirectedWrite { rate: w.ppm(1_000, 50_000) },
        FaultKind::MisdirectedRead => Effect::MisdirectedRead { rate: w.ppm(1_000, 50_000) },
        FaultKind::PhantomWrite => {
            Effect::PhantomWrite { rate: w.ppm(1_000, 100_000), lying_sync: w.ppm(0, 300_000) }
        }
        FaultKind::DiskFull => Effect::DiskFull { free: ByteCount(w.below(1 << 20)) },
        FaultKind::DiskError => Effect::DiskError {
            reads: w.ppm(0, 20_000),
            writes: w.ppm(0, 20_000),
            syncs: w.ppm(1_000, 50_000),
        },
        FaultKind::SlowDisk => Effect::SlowDisk { extra: w.span(ms(1), ms(200)), stalled: w.below(4) == 0 },
        FaultKind::Pause => Effect::Pause {},
        FaultKind::Wipe => Effect::Wipe {},
        FaultKind::VersionChange => {
            let last = spec.versions.len().checked_sub(1)?;
            // Forward through the list, now and then a step back.
            let step = (number as usize / spec.nodes.len().max(1)).min(last);
            let step = if w.below(8) == 0 { step.saturating_sub(1) } else { step };
            Effect::VersionChange { version: spec.versions[step] }
        }
        FaultKind::Byzantine => Effect::Byzantine {
            mutate: w.ppm(0, 100_000),
            duplicate: w.ppm(0, 200_000),
            replay: w.ppm(0, 200_000),
            withhold: w.ppm(0, 300_000),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn spec() -> Spec {
        let nodes =
            (0..9).map(|i| NodePlan::new(i + 1, ["eu-west-1", "us-east-1", "sa-east-1"][i as usize / 3]));
        Spec {
            nodes: nodes.collect(),
            latency: Latency::Measured("aws-2020".into()),
            net: NetSettings::default(),
            disk: DiskSettings::default(),
            process: ProcessSettings::default(),
            clients: 30,
            knobs: BTreeMap::new(),
            buggify: true,
            families: Family::ALL.to_vec(),
            always: vec![],
            every: Duration::secs(5),
            longest: Duration::secs(6),
            quiet_until: Instant::ZERO + Duration::secs(5),
            heal_at: Instant::ZERO + Duration::secs(60),
            horizon: Instant::ZERO + Duration::secs(90),
            draw_core: true,
            tolerates: Tolerates { decay: true, amnesia: true, liars: 1 },
            groups: vec![],
            versions: vec![1, 2],
            faults: vec![],
        }
    }

    #[test]
    fn every_kind_belongs_to_one_family() {
        for k in FaultKind::ALL {
            assert_eq!(Family::ALL.iter().filter(|f| f.kinds().contains(&k)).count(), 1, "{k}");
            assert!(Family::of(k).kinds().contains(&k));
        }
    }

    #[test]
    fn plans_are_sound_and_reach_every_kind() {
        let mut seen = BTreeSet::new();
        let mut subsets = BTreeSet::new();
        for seed in 0..120 {
            let p = expand(&spec(), Seed(seed));
            p.check().unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            assert!(p.faults.iter().all(|f| f.at < p.heal_at));
            seen.extend(p.faults.iter().map(Fault::kind));
            subsets.insert(families(&spec(), Seed(seed)));
        }
        assert_eq!(seen.len(), FaultKind::ALL.len(), "{seen:?}");
        assert!(subsets.len() > 100);
    }

    #[test]
    fn the_core_has_every_disk_that_can_not_decay() {
        let mut drawn = 0;
        for seed in 0..200 {
            let spec = Spec { always: vec![Family::Decay], ..spec() };
            let p = expand(&spec, Seed(seed));
            let all = p.node_ids();
            let atlas = Atlas::draw(p.seed, &all, &spec.groups, spec.tolerates);
            let sound = all.iter().filter(|n| !atlas.candidates(FaultKind::BitRot).contains(n));
            if !p.core.is_empty() {
                drawn += 1;
                assert!(sound.clone().all(|n| p.core.contains(n)), "seed {seed}: {:?}", p.core);
            }
        }
        assert!(drawn > 50);
    }

    #[test]
    fn striking_a_family_leaves_the_others_where_they_were() {
        let mut less = spec();
        less.families.retain(|f| *f != Family::Crashes);
        for seed in 0..20 {
            let kept = |p: Plan| -> Vec<Fault> {
                p.faults.into_iter().filter(|f| Family::of(f.kind()) != Family::Crashes).collect()
            };
            assert_eq!(kept(expand(&spec(), Seed(seed))), kept(expand(&less, Seed(seed))));
        }
    }

    #[test]
    fn plans_survive_json_and_toml() {
        let p = expand(&spec(), Seed(3));
        assert!(!p.faults.is_empty());
        let json = serde_json::to_string(&p).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), p);
        let text = toml::to_string(&p).unwrap();
        assert_eq!(toml::from_str::<Plan>(&text).unwrap(), p);
        assert!(serde_json::from_str::<Plan>(&json.replacen("\"seed\"", "\"sede\"", 1)).is_err());
    }
}
