//! Made-up weather for the selection: measurements that walk, swing, spike and break, from a seed; and the judge that
//! says whether a change was undone for nothing.
//!
//! A third of the traces are *still*: everything stays where it is but for noise of some per cent. There any return to a
//! placement that was left is a flap. In the others a return within twice the dwell is one, unless the two placements'
//! predicted costs have moved against each other by more than the hysteresis, or one of them served nobody in between.

use dwcp_consensus::select::{
    Candidate, Class, Current, Decision, EngineKind, Keyspace, Link, Measurements, Member, Placement, Policy,
    Region, Share, Trust, choose, decide,
};
use dwcp_env::{Duration, Instant, NodeId, Purpose, RegionId, Seed};

const MATRIX: &str = include_str!("../../../../runtime-sim/data/aws-2020.csv");
const WEATHER: Purpose = Purpose::named("selection weather");
/// Steps of a trace.
pub(crate) const STEPS: u64 = 240;
/// Between two looks of the selection.
const STEP: Duration = Duration::secs(2);

/// The measured round trips between some regions of AWS (2020, fantoch), the mean in whole milliseconds as fantoch takes it.
#[must_use]
pub(crate) fn aws(names: &[&str]) -> Vec<Vec<Duration>> {
    let row = |from: &str, to: &str| {
        let line = MATRIX.lines().find(|l| {
            let mut parts = l.split(',');
            parts.next() == Some(from) && parts.next() == Some(to)
        });
        let mean = line.and_then(|l| l.split(',').nth(3)).unwrap_or_else(|| panic!("no row {from} {to}"));
        let whole: u64 = mean.split('.').next().and_then(|w| w.parse().ok()).expect("a number");
        Duration::millis(if from == to { 0 } else { whole })
    };
    names.iter().map(|a| names.iter().map(|b| row(a, b)).collect()).collect()
}

/// Measurements of sites with one member each, equal writers, one strong keyspace, no syncs.
#[must_use]
pub(crate) fn calm(rtt: &[Vec<Duration>]) -> Measurements {
    let n = rtt.len();
    let member = |at: usize| Member { node: NodeId(at as u64 + 1), up: true };
    let link = |rtt: &Duration| Link { rtt: Some(*rtt), rtt_p99: *rtt, loss: Share::NONE };
    Measurements {
        regions: (0..n).map(|r| Region { id: RegionId(r as u16 + 1), members: vec![member(r)] }).collect(),
        links: rtt.iter().map(|row| row.iter().map(link).collect()).collect(),
        keyspaces: vec![Keyspace { writes: vec![100; n], ..Keyspace::default() }],
        trust: Trust::Trusted,
        sync: Duration::ZERO,
    }
}

/// What weather a trace has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sky {
    /// Noise only.
    Still,
    /// Random walks of round trips, loss, conflicts and writers; daily swings.
    Drifting,
    /// The same with spikes, cuts, crashes and, rarely, distrust.
    Stormy,
}

/// One trace.
pub(crate) struct Weather {
    seed: Seed,
    sky: Sky,
    base: Measurements,
    /// Factors in thousandths: of each link, of conflicts, of each region's writes.
    links: Vec<Vec<u64>>,
    conflict: u64,
    writers: Vec<u64>,
    step: u64,
}

/// How a trace went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Traces.
    pub(crate) traces: u64,
    /// Changes, and of them within an epoch.
    pub(crate) changes: u64,
    /// Of them.
    pub(crate) transfers: u64,
    /// Changes that went back to what had been left.
    pub(crate) returns: u64,
    /// Of them for nothing.
    pub(crate) flaps: u64,
    /// Steps under each engine.
    pub(crate) under: [u64; 6],
}

impl Tally {
    /// Both together.
    pub(crate) fn add(&mut self, other: &Self) {
        self.traces += other.traces;
        self.changes += other.changes;
        self.transfers += other.transfers;
        self.returns += other.returns;
        self.flaps += other.flaps;
        self.under.iter_mut().zip(other.under).for_each(|(a, b)| *a += b);
    }
}

impl Weather {
    /// The trace of a seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        let seed = Seed(seed);
        let draw = |n: u64, what: u64, which: u64| seed.below(n, WEATHER, what, Instant::ZERO, which);
        let sky = [Sky::Still, Sky::Drifting, Sky::Stormy][draw(3, 0, 0) as usize];
        let names: Vec<&str> = {
            let mut all: Vec<&str> = MATRIX.lines().skip(1).filter_map(|l| l.split(',').next()).collect();
            all.dedup();
            all.sort_by_key(|name| {
                seed.draw(
                    WEATHER,
                    1,
                    Instant::ZERO,
                    name.bytes().fold(0, |h: u64, b| (h << 5) ^ (h >> 48) ^ u64::from(b)),
                )
            });
            all.truncate(1 + draw(9, 2, 0) as usize);
            all
        };
        let n = names.len();
        let mut base = calm(&aws(&names));
        // Some groups live in fewer regions than their clients, some have several members in each.
        let (each, homes) = (1 + draw(3, 3, 0), 1 + draw(n as u64, 3, 1));
        for (at, region) in base.regions.iter_mut().enumerate() {
            let count = if (at as u64) < homes { each } else { 0 };
            region.members =
                (0..count).map(|i| Member { node: NodeId(at as u64 * 10 + i), up: true }).collect();
        }
        base.sync = Duration::micros(draw(3_000, 4, 0));
        let spaces = 1 + draw(4, 5, 0) / 3 * (1 + draw(2, 5, 1));
        base.keyspaces = (0..spaces)
            .map(|k| {
                let focus = draw(n as u64, 6, k) as usize;
                let share = 1 + draw(30, 7, k);
                let writes = (0..n).map(|r| if r == focus { 100 * share } else { 100 }).collect();
                let mergeable = draw(4, 8, k) == 0;
                Keyspace {
                    id: k as u32,
                    class: if mergeable { Class::Mergeable } else { Class::Strong },
                    writes,
                    conflict: Share::millionths(1 << draw(20, 9, k)),
                    budget: (draw(2, 10, k) == 0).then(|| Duration::millis(20 + draw(300, 11, k))),
                }
            })
            .collect();
        let links = vec![vec![1_000; n]; n];
        Self { seed, sky, base, links, conflict: 1_000, writers: vec![1_000; n], step: 0 }
    }

    fn below(&self, n: u64, what: u64, which: u64) -> u64 {
        self.seed.below(n, WEATHER, 100 + what, Instant::from_nanos(self.step + 1), which)
    }

    /// The next measurements.
    pub(crate) fn blow(&mut self) -> Measurements {
        self.step += 1;
        let n = self.base.regions.len();
        let wander =
            |old: u64, draw: u64, range: (u64, u64)| (old * (950 + draw) / 1_000).clamp(range.0, range.1);
        for a in 0..n {
            let writer = self.below(101, 1, a as u64);
            self.writers[a] = if self.sky == Sky::Still {
                950 + writer
            } else {
                wander(self.writers[a], writer, (100, 10_000))
            };
            for b in 0..n {
                let link = self.below(101, 2, (a * n + b) as u64);
                self.links[a][b] = if self.sky == Sky::Still {
                    950 + link
                } else {
                    wander(self.links[a][b], link, (400, 4_000))
                };
            }
        }
        let conflict = self.below(101, 3, 0);
        self.conflict = if self.sky == Sky::Still {
            950 + conflict
        } else {
            wander(self.conflict, conflict, (10, 100_000))
        };
        let mut now = self.base.clone();
        for (a, row) in now.links.iter_mut().enumerate() {
            for (b, link) in row.iter_mut().enumerate() {
                let rtt = link.rtt.unwrap_or_default() * self.links[a][b] / 1_000;
                *link = Link {
                    rtt: Some(rtt),
                    rtt_p99: rtt + rtt / 20,
                    loss: Share::millionths(self.links[a][b] / 4),
                };
            }
        }
        for space in &mut now.keyspaces {
            space.conflict =
                Share::millionths(u64::from(space.conflict.as_millionths()) * self.conflict / 1_000);
            for (r, writes) in space.writes.iter_mut().enumerate() {
                *writes = *writes * self.writers[r] / 1_000 * self.daylight(r) / 1_000;
            }
        }
        if self.sky == Sky::Stormy {
            self.storm(&mut now);
        }
        now
    }
    /// In thousandths: by day thrice as much as by night, each region at its hour.
    fn daylight(&self, region: usize) -> u64 {
        if self.sky == Sky::Still {
            return 1_000;
        }
        let hour = (self.step + region as u64 * 17) % 120;
        500 + hour.min(120 - hour) * 1_000 / 60
    }
    /// Spikes, cuts, crashes, distrust: each for some steps of its own.
    fn storm(&self, now: &mut Measurements) {
        let n = now.regions.len() as u64;
        let spell = |what: u64, rare: u64, which: u64| {
            let begin = self.seed.below(STEPS * rare, WEATHER, 200 + what, Instant::ZERO, which);
            let length = 2 + self.seed.below(30, WEATHER, 300 + what, Instant::ZERO, which);
            (begin..begin + length).contains(&self.step)
        };
        for (a, row) in now.links.iter_mut().enumerate() {
            for (b, link) in row.iter_mut().enumerate() {
                let which = a as u64 * n + b as u64;
                if spell(1, 3, which) {
                    link.rtt = link.rtt.map(|rtt| rtt * 5);
                }
                if a != b && (spell(2, 8, which) || spell(3, 6, a as u64)) {
                    link.rtt = None;
                }
            }
        }
        for (at, member) in now.regions.iter_mut().flat_map(|r| &mut r.members).enumerate() {
            member.up = !spell(4, 6, at as u64);
        }
        for (at, space) in now.keyspaces.iter_mut().enumerate() {
            if spell(5, 2, at as u64) {
                space.conflict = Share::percent(40);
            }
        }
        let distrusted = self.seed.below(STEPS * 40, WEATHER, 206, Instant::ZERO, 0);
        if self.step >= distrusted {
            now.trust = Trust::Untrusted;
        }
    }
}

/// Predicted costs, where they could be told.
type Costs = (Option<u64>, Option<u64>);

/// A change that happened.
struct Change {
    /// When it took effect.
    at: Instant,
    from: Placement,
    to: Placement,
    /// What both were to cost when it was decided.
    costs: Costs,
}

/// A change that is decided.
struct Decided {
    /// The step at which it takes effect.
    until: u64,
    to: Placement,
    now: Instant,
    /// What both were to cost then.
    costs: Costs,
    /// And what those of the change before.
    before: Option<Costs>,
}

/// The costs of two placements. Whether mergeable data waits for a quorum depends on the cost of agreeing alone, however
/// it would be done.
fn costs(m: &Measurements, policy: &Policy, running: &Placement, of: (&Placement, &Placement)) -> Costs {
    let served = |c: &&Candidate| c.forecast.serves() && c.forecast.unserved == Share::NONE;
    let cost = |c: &Candidate| c.forecast.cost.as_nanos();
    if [of.0, of.1].iter().any(|p| p.engine == EngineKind::Eventual) {
        let engines = EngineKind::ALL.into_iter().filter(|e| *e != EngineKind::Eventual).collect();
        let agreeing = choose(m, &Policy { engines, ..policy.clone() }, Some(running));
        return (Some(1), agreeing.picked().filter(served).map(cost));
    }
    let choice = choose(m, policy, Some(running));
    let cost = |p| choice.of(p).filter(served).map(cost);
    (cost(of.0), cost(of.1))
}

/// Whether the costs moved against each other by more than a share of `gain`, or one of them could not be told.
fn moved(a: Costs, b: Costs, gain: Share) -> bool {
    let ((Some(a0), Some(a1)), (Some(b0), Some(b1))) = (a, b) else { return true };
    let (left, right) = (u128::from(a0) * u128::from(b1), u128::from(a1) * u128::from(b0));
    let (less, more) = (left.min(right), left.max(right));
    less * 1_000_000 < more * u128::from(gain.rest().as_millionths())
}

/// Follows a trace, doing as the selection says; `Err` tells of the first breach of a law other than flaps.
pub(crate) fn follow(seed: u64, policy: &Policy) -> Result<Tally, String> {
    let mut weather = Weather::new(seed);
    let mut tally = Tally { traces: 1, ..Tally::default() };
    let mut current: Option<Current> = None;
    let mut sealing: Option<Decided> = None;
    let mut changes: Vec<Change> = Vec::new();
    for step in 0..STEPS {
        let now = Instant::ZERO + STEP * step;
        let m = weather.blow();
        let Some(current) = &mut current else {
            let first = choose(&m, policy, None);
            current = first.picked().map(|c| Current::new(c.placement.clone(), now));
            continue;
        };
        tally.under[EngineKind::ALL.iter().position(|e| *e == current.placement.engine).expect("listed")] +=
            1;
        let verdict = decide(now, &m, policy, current);
        let say = |what: &str| {
            Err(format!("seed {seed}, step {step}: {what}\n{}", verdict.explain(&current.placement)))
        };
        let strong = m.keyspaces.iter().any(|k| k.class == Class::Strong);
        let placed = current.placement.clone();
        let seen = |to: &Placement| {
            let before = changes.last().map(|c| costs(&m, policy, &placed, (&c.from, &c.to)));
            (costs(&m, policy, &placed, (&placed, to)), before)
        };
        let change = match (&verdict.decision, sealing.take()) {
            (Decision::Seal(_), Some(_)) => return say("a second seal in flight"),
            (Decision::Seal(to), None) => {
                if to.engine == EngineKind::Eventual && strong {
                    return say("a strong class is weakened");
                }
                if current.placement.engine == EngineKind::Pbft {
                    return say("PBFT is left");
                }
                current.seal_in_flight = true;
                let (costs, before) = seen(to);
                sealing = Some(Decided { until: step + 1 + seed % 2, to: to.clone(), now, costs, before });
                continue;
            }
            (Decision::Transfer(to), _) => {
                tally.transfers += 1;
                let to = Placement { leader: Some(*to), ..placed.clone() };
                let (costs, before) = seen(&to);
                Decided { until: step, to, now, costs, before }
            }
            (Decision::Stay, Some(sealed)) if step >= sealed.until => {
                current.seal_in_flight = false;
                sealed
            }
            (Decision::Stay, waiting) => {
                sealing = waiting;
                continue;
            }
        };
        let Decided { to, costs, before, now: decided, .. } = change;
        tally.changes += 1;
        let back = changes.iter().rev().find(|c| c.from == to);
        tally.returns += u64::from(back.is_some());
        let near = changes.last().filter(|c| c.from == to && decided.since(c.at) <= policy.dwell * 2);
        let flap = match (weather.sky, back, near) {
            (Sky::Still, Some(_), _) => true,
            (_, _, Some(last)) => {
                let within = to.is_epoch_of(&placed);
                let gain = if within { policy.transfer_gain_min } else { policy.gain_min };
                !moved(last.costs, before.unwrap_or((None, None)), gain)
            }
            _ => false,
        };
        tally.flaps += u64::from(flap);
        changes.push(Change { at: now, from: placed, to: to.clone(), costs });
        current.moved(now, to);
    }
    Ok(tally)
}
