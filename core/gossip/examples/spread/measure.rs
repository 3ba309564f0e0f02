//! The measurements: each builds a world, does one thing to it, and counts.

use crate::link::Came;
use crate::world::{Net, World, id};
use dwcp_env::{Duration, Purpose, Ratio, Seed};
use dwcp_gossip::{Settings, Spread, Status};
use indicatif::ProgressBar;
use std::fmt::Write as _;

const WHO: Purpose = Purpose::named("spread.who");
const WHEN: Purpose = Purpose::named("spread.when");

/// One line of figures: name, value, unit, goal.
pub(crate) struct Row {
    pub(crate) name: String,
    figures: Vec<(&'static str, f64, &'static str, Option<f64>)>,
}

impl Row {
    fn new(name: &str) -> Self {
        Self { name: name.to_string(), figures: Vec::new() }
    }
    fn add(&mut self, name: &'static str, value: f64, unit: &'static str, goal: Option<f64>) {
        self.figures.push((name, value, unit, goal));
    }
    pub(crate) fn is_beyond(&self) -> bool {
        self.figures.iter().any(|f| f.3.is_some_and(|goal| f.1 > goal))
    }
    pub(crate) fn json(&self) -> serde_json::Value {
        let all: serde_json::Map<String, serde_json::Value> =
            self.figures.iter().map(|f| (format!("{} [{}]", f.0, f.2), f.1.into())).collect();
        serde_json::Value::Object(all)
    }
}

/// The rows as text.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut out = String::new();
    for r in rows {
        let _ = writeln!(out, "{}", r.name);
        for (name, value, unit, goal) in &r.figures {
            let _ = write!(out, "  {name:<44} {value:>10.3} {unit:<8}");
            if let Some(goal) = goal {
                let met = if value <= goal { "met" } else { "NOT MET" };
                let _ = write!(out, " goal {goal} {met}");
            }
            out.push('\n');
        }
    }
    out
}

fn quantile(sorted: &[u64], per_mille: usize) -> f64 {
    if sorted.is_empty() {
        return f64::NAN;
    }
    sorted[(sorted.len() - 1) * per_mille / 1_000] as f64
}

/// What one world's updates came to; microseconds.
pub(crate) struct Part {
    times: Vec<u64>,
    t99: Vec<u64>,
    worst: Vec<u64>,
    copies: Vec<u64>,
    wan: Vec<u64>,
    unreached: u64,
    repaired: u64,
    events: u64,
}

/// `runs` updates in one world, after some that only let the trees settle.
pub(crate) fn spread(
    nodes: usize,
    loss: Ratio,
    settings: &Settings,
    seed: Seed,
    runs: u64,
    gap: Duration,
    bar: &ProgressBar,
) -> Part {
    // Trees need some updates to settle; rounds of pushes remember nothing.
    let settle = if settings.spread == Spread::Tree { 8 } else { 1 };
    let mut w = World::new(nodes, Net::measured(5, loss), settings, seed, true);
    w.run_for(Duration::secs(2));
    let mut part = Part {
        times: Vec::new(),
        t99: Vec::new(),
        worst: Vec::new(),
        copies: Vec::new(),
        wan: Vec::new(),
        unreached: 0,
        repaired: 0,
        events: 0,
    };
    for k in 0..settle + runs {
        let now = dwcp_env::Instant::ZERO;
        // At a random moment: the phases of the nodes' periods are not those of the updates.
        w.run_for(Duration::nanos(seed.below(1_000_000_000, WHEN, k, now, 0)));
        let (start, before) = (w.now, w.wire);
        let rumour = w.broadcast(seed.below(nodes as u64, WHO, k, now, 0) as usize, k + 1);
        w.run_for(gap);
        if k >= settle {
            let mut t: Vec<u64> = w.got[&rumour].iter().flatten().map(|at| (at - start) / 1_000).collect();
            t.sort_unstable();
            part.unreached += (nodes - t.len()) as u64;
            part.t99.push(quantile(&t, 990) as u64);
            part.worst.extend(t.last());
            part.times.extend(t);
            part.copies.push(w.wire.payloads - before.payloads);
            part.wan.push(w.wire.wan_payloads - before.wan_payloads);
            part.repaired += w.wire.repaired - before.repaired;
            bar.inc(1);
        }
        w.forget_rumours();
    }
    part.events = w.events;
    part
}

/// The parts of all worlds as one row.
pub(crate) fn spread_row(name: &str, nodes: u64, parts: Vec<Part>, goals: bool) -> Row {
    let all = |f: fn(&Part) -> &Vec<u64>| {
        let mut v: Vec<u64> = parts.iter().flat_map(|p| f(p).iter().copied()).collect();
        v.sort_unstable();
        v
    };
    let (times, t99, worst) = (all(|p| &p.times), all(|p| &p.t99), all(|p| &p.worst));
    let (copies, wan) = (all(|p| &p.copies), all(|p| &p.wan));
    let mean = |v: &[u64]| v.iter().sum::<u64>() as f64 / v.len().max(1) as f64;
    let s = |us: f64| us / 1e6;
    let goal = |g: f64| goals.then_some(g);
    let mut r = Row::new(name);
    r.add("updates", worst.len() as f64, "", None);
    r.add("median, all nodes of all updates", s(quantile(&times, 500)), "s", None);
    r.add("p99, all nodes of all updates", s(quantile(&times, 990)), "s", goal(0.25));
    r.add("p99.9", s(quantile(&times, 999)), "s", None);
    r.add("99 % of the nodes, median update", s(quantile(&t99, 500)), "s", None);
    r.add("all nodes, median update", s(quantile(&worst, 500)), "s", None);
    r.add("worst", s(quantile(&worst, 1_000)), "s", goal(3.0));
    r.add("payload copies a node", mean(&copies) / nodes as f64, "", goal(1.3));
    r.add("WAN copies an update, mean", mean(&wan), "", goal(50.0));
    r.add("WAN copies, worst update", quantile(&wan, 1_000), "", None);
    let reached = times.len().max(1) as f64;
    let repaired = parts.iter().map(|p| p.repaired).sum::<u64>() as f64;
    r.add("reached by a digest's repair", repaired * 1e6 / reached, "ppm", None);
    r.add("not reached in time", parts.iter().map(|p| p.unreached).sum::<u64>() as f64, "", goal(0.0));
    r.add("events", parts.iter().map(|p| p.events).sum::<u64>() as f64, "", None);
    r
}

fn deaths(w: &World, of: impl Fn(usize) -> bool) -> u64 {
    w.said.iter().filter(|x| x.change.status == Status::Dead && of(x.change.member.0 as usize - 1)).count()
        as u64
}

/// Crashes, one every ten seconds: how long until the first node declares it, until all know.
pub(crate) fn crashes(name: &str, nodes: usize, loss: Ratio, settings: &Settings, seed: Seed) -> Row {
    let mut w = World::new(nodes, Net::measured(5, loss), settings, seed, true);
    w.run_for(Duration::secs(10));
    w.said.clear();
    let (mut first, mut most, mut all) = (Vec::new(), Vec::new(), Vec::new());
    let mut down = Vec::new();
    for k in 0..20 {
        let dead = 7 + k * (nodes / 25);
        down.push((dead, w.now));
        w.crash(dead);
        w.run_for(Duration::secs(10));
    }
    w.run_for(Duration::secs(60));
    for (dead, at) in &down {
        let mut t: Vec<u64> = w
            .said
            .iter()
            .filter(|x| x.change.member == id(*dead) && x.change.status == Status::Dead)
            .map(|x| (x.at - at) / 1_000)
            .collect();
        t.sort_unstable();
        first.extend(t.first());
        most.push(quantile(&t, 990) as u64);
        all.extend(t.last());
    }
    let wrong = deaths(&w, |m| down.iter().all(|d| d.0 != m));
    for v in [&mut first, &mut most, &mut all] {
        v.sort_unstable();
    }
    let mut r = Row::new(name);
    r.add("crashes", down.len() as f64, "", None);
    r.add("first node declares it, median", quantile(&first, 500) / 1e6, "s", None);
    r.add("first node declares it, worst", quantile(&first, 1_000) / 1e6, "s", None);
    r.add("99 % of the nodes know, median", quantile(&most, 500) / 1e6, "s", None);
    r.add("all nodes know, worst", quantile(&all, 1_000) / 1e6, "s", None);
    r.add("false deaths told", wrong as f64, "", None);
    r.add("bytes a second and node", w.wire.bytes as f64 / nodes as f64 / (w.now as f64 / 1e9), "B", None);
    r
}

/// Five minutes in which nobody dies; `slow` members in a thousand stand still now and then.
pub(crate) fn rest(
    name: &str,
    nodes: usize,
    loss: Ratio,
    settings: &Settings,
    seed: Seed,
    slow: usize,
) -> Row {
    let mut w = World::new(nodes, Net::measured(5, loss), settings, seed, true);
    let slow: Vec<usize> =
        (0..nodes * slow / 1_000).map(|k| 3 + k * (nodes - 4) / (nodes * slow / 1_000)).collect();
    w.run_for(Duration::secs(10));
    w.said.clear();
    for k in 0..150_u64 {
        for i in &slow {
            // Half of the time it stands for 1 to 8 seconds.
            let now = dwcp_env::Instant::from_nanos(w.now);
            let stands = seed.below(16_000, WHEN, *i as u64, now, k);
            if stands < 8_000 && w.nodes[*i].paused_until <= w.now {
                w.nodes[*i].paused_until = w.now + (1_000 + stands * 7 / 8) * 1_000_000;
            }
        }
        w.run_for(Duration::secs(2));
    }
    let wrong = |s: Status, of_slow: bool| {
        let mut about: Vec<_> = w
            .said
            .iter()
            .filter(|x| x.change.status == s && slow.contains(&(x.change.member.0 as usize - 1)) == of_slow)
            .map(|x| x.change.member)
            .collect();
        let told = about.len();
        about.sort_unstable();
        about.dedup();
        (told as f64, about.len() as f64)
    };
    let mut r = Row::new(name);
    r.add("minutes", 5.0, "", None);
    r.add("slow members", slow.len() as f64, "", None);
    r.add("healthy members called dead", wrong(Status::Dead, false).1, "", None);
    r.add("times a node was told so", wrong(Status::Dead, false).0, "", None);
    r.add("healthy members suspected", wrong(Status::Suspect, false).1, "", None);
    r.add("slow members called dead", wrong(Status::Dead, true).1, "", None);
    let suspected: u64 = w.nodes.iter().map(|n| n.gossip.detector_counts().suspected).sum();
    r.add("suspicions begun", suspected as f64, "", None);
    r.add("bytes a second and node", w.wire.bytes as f64 / nodes as f64 / (w.now as f64 / 1e9), "B", None);
    r
}

/// Regions 0 and 1 against the rest for an hour; then until every view is whole.
pub(crate) fn heal(nodes: usize, loss: Ratio, seed: Seed) -> Row {
    let mut w = World::new(nodes, Net::measured(5, loss), &Settings::default(), seed, true);
    w.run_for(Duration::secs(10));
    w.cut = Some((0..nodes).map(|i| u8::from(i % 5 < 2)).collect());
    w.run_for(Duration::secs(120));
    let apart = w.nodes[0].gossip.live().len() == nodes * 2 / 5;
    let split = (w.now, w.wire.bytes);
    w.run_for(Duration::secs(3_480));
    let rate = (w.wire.bytes - split.1) as f64 / nodes as f64 / ((w.now - split.0) as f64 / 1e9);
    w.cut = None;
    w.said.clear();
    let (start, before) = (w.now, w.wire);
    while !w.views_whole() && w.now < start + 600_000_000_000 {
        w.run_for(Duration::millis(250));
    }
    let took = (w.now - start) as f64 / 1e9;
    let mut r = Row::new("heal after an hour");
    r.add("each side held the other dead", f64::from(u8::from(apart)), "yes", None);
    r.add("all views whole again", took, "s", Some(60.0));
    r.add("deaths told in the heal", deaths(&w, |_| true) as f64, "", None);
    r.add("bytes a node for it", (w.wire.bytes - before.bytes) as f64 / nodes as f64, "B", None);
    r.add("bytes a second and node while cut", rate, "B", None);
    r
}

/// A site stream's run as a row.
pub(crate) fn site_row(name: &str, came: &Came, goals: bool) -> Row {
    let ms = |us: f64| us / 1e3;
    let mut r = Row::new(name);
    r.add("updates durable there", came.lag.len() as f64, "", None);
    r.add("RPO median", ms(quantile(&came.lag, 500)), "ms", None);
    r.add("RPO p99", ms(quantile(&came.lag, 990)), "ms", goals.then_some(250.0));
    r.add("RPO worst", ms(quantile(&came.lag, 1_000)), "ms", None);
    let said = came.estimates.iter().copied().max().unwrap_or(0);
    r.add("worst, as the sender says", ms(said as f64), "ms", None);
    r.add("bytes an update", came.bytes as f64 / came.lag.len().max(1) as f64, "B", None);
    r.add("batches sent again", came.again as f64, "", None);
    r
}
