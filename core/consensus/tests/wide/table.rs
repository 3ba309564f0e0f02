//! The experiment's table: every cell measured, predicted, picked.
//!
//! A *cell* is a set of sites, a spread of the clients and a share of conflicts. In each EPaxos and Multi-Paxos under
//! every leader run; their *cost* is the policy's, from what was measured. The *pick* is what the selection chooses from the
//! round trips, the writers and the conflicts alone; beside it where it comes to rest, brakes and all, from each leader.

use super::{Engine, Figures, Plan, run};
use crate::weather::{aws, calm};
use dwcp_consensus::quorum::System;
use dwcp_consensus::select::{
    Current, Decision, EngineKind, Forecast, Measurements, Placement, Policy, Share, choose, decide,
};
use dwcp_env::{Duration, Instant, NodeId};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Commands of each client.
const COMMANDS: u32 = 100;
/// Shares of conflicts, in hundredths.
pub(crate) const CONFLICTS: [u64; 5] = [0, 2, 10, 50, 100];

/// Sites with their round trips.
pub(crate) struct Sites {
    pub(crate) names: &'static [&'static str],
    /// Name and clients at each site.
    pub(crate) spreads: &'static [(&'static str, &'static [usize])],
}

/// The sites of fantoch's simulation, and three of AWS.
pub(crate) const FIVE: Sites = Sites {
    names: &["eu-west-1", "us-west-1", "ap-southeast-1", "ca-central-1", "sa-east-1"],
    spreads: &[
        ("even", &[16, 16, 16, 16, 16]),
        ("half-eu", &[32, 8, 8, 8, 8]),
        ("most-ap", &[4, 4, 64, 4, 4]),
        ("all-sa", &[0, 0, 0, 0, 80]),
    ],
};
/// The same, three.
pub(crate) const THREE: Sites = Sites {
    names: &["eu-west-1", "us-east-1", "us-west-2"],
    spreads: &[
        ("even", &[16, 16, 16]),
        ("half-eu", &[24, 12, 12]),
        ("most-usw", &[4, 4, 40]),
        ("all-use", &[0, 48, 0]),
    ],
};

/// fantoch's figures, `(sites, conflict, mean, p99)`: 16 clients a site, milliseconds (shared/research/consensus.md §3.6).
const FANTOCH: &[(usize, u64, f64, f64)] = &[
    (5, 0, 145.2, 186.0),
    (5, 2, 148.0, 280.0),
    (5, 10, 171.0, 529.0),
    (5, 50, 313.0, 754.0),
    (5, 100, 368.0, 467.0),
    (3, 0, 70.7, 72.0),
    (3, 2, 71.0, 72.0),
    (3, 10, 76.0, 176.0),
    (3, 50, 109.0, 268.0),
    (3, 100, 105.0, 105.0),
];

/// Under leaders, `(sites, leader's site, accept quorum, mean, p99)`.
const FANTOCH_LED: &[(usize, usize, u8, f64, f64)] =
    &[(5, 3, 2, 170.0, 292.0), (5, 2, 2, 365.0, 518.0), (3, 1, 2, 117.0, 142.0)];

/// Runs that several cells share are done once.
#[derive(Default)]
pub(crate) struct Bench {
    done: BTreeMap<(Vec<usize>, u64, Engine), Figures>,
}

impl Bench {
    /// What an engine does in a cell.
    pub(crate) fn figures(
        &mut self,
        sites: &Sites,
        clients: &[usize],
        conflict: u64,
        engine: &Engine,
    ) -> Figures {
        // Only EPaxos knows of keys.
        let keyed = matches!(engine, Engine::Leaderless | Engine::Atlas { .. });
        let conflict = if keyed { conflict } else { 0 };
        let plan =
            Plan { rtt: aws(sites.names), clients: clients.to_vec(), conflict, commands: COMMANDS, seed: 1 };
        let key = (clients.to_vec(), conflict, engine.clone());
        self.done.entry(key).or_insert_with(|| run(&plan, engine)).clone()
    }

    fn cost(&mut self, sites: &Sites, clients: &[usize], conflict: u64, placement: &Placement) -> u64 {
        let engine = match placement.leader {
            Some(NodeId(leader)) => Engine::Led { leader: leader as usize - 1, accept: majority(sites) },
            None => Engine::Leaderless,
        };
        cost(&self.figures(sites, clients, conflict, &engine))
    }
}

/// In tenths of a millisecond: half of the mean and half of p99, as the default policy weighs them.
pub(crate) fn cost(figures: &Figures) -> u64 {
    let (mean, _, p99) = figures.all();
    (mean + u64::from(p99) * 10) / 2
}

fn majority(sites: &Sites) -> u8 {
    sites.names.len() as u8 / 2 + 1
}

/// What the selection is told of a cell.
pub(crate) fn measured(sites: &Sites, clients: &[usize], conflict: u64) -> Measurements {
    let mut m = calm(&aws(sites.names));
    m.keyspaces[0].writes = clients.iter().map(|c| *c as u64 * 10).collect();
    m.keyspaces[0].conflict = Share::percent(conflict as u32);
    m
}

fn placements(sites: &Sites) -> Vec<Placement> {
    let members = sites.names.len() as u8;
    let quorums = Some(System::Majority { members });
    let led = (1..=u64::from(members)).map(|leader| Placement {
        engine: EngineKind::MultiPaxos,
        quorums: quorums.clone(),
        leader: Some(NodeId(leader)),
        parts: vec![],
    });
    let leaderless =
        Placement { engine: EngineKind::EPaxos, quorums: quorums.clone(), leader: None, parts: vec![] };
    [leaderless].into_iter().chain(led).collect()
}

fn name(sites: &Sites, placement: &Placement) -> String {
    match placement.leader {
        Some(NodeId(leader)) => format!("{} {}", placement.engine.name(), sites.names[leader as usize - 1]),
        None => placement.engine.name().to_string(),
    }
}

fn predicted(forecast: &Forecast) -> String {
    let tenths = |d: Duration| d.as_micros().div_ceil(100);
    let (mean, p99) = (tenths(forecast.mean), tenths(forecast.p99));
    format!("{:>4}.{} {:>5}", mean / 10, mean % 10, p99 / 10)
}

fn figures(f: (u64, u32, u32)) -> String {
    format!("{:>4}.{} {:>5} {:>5}", f.0 / 10, f.0 % 10, f.1, f.2)
}

/// Latencies of one cell's engines: all clients, then each site's.
pub(crate) fn latencies(bench: &mut Bench, sites: &Sites, spread: usize, conflict: u64) -> String {
    let (label, clients) = sites.spreads[spread];
    let mut text = String::new();
    let choice = choose(&measured(sites, clients, conflict), &Policy::default(), None);
    for placement in placements(sites) {
        let leader = placement.leader.map(|NodeId(l)| l as usize - 1);
        if leader.is_some() && conflict != CONFLICTS[0] {
            continue;
        }
        let engine =
            leader.map_or(Engine::Leaderless, |leader| Engine::Led { leader, accept: majority(sites) });
        let ours = bench.figures(sites, clients, conflict, &engine);
        let model = choice.of(&placement).map(|c| predicted(&c.forecast)).unwrap_or_default();
        let head = format!("{} {label:<8} {conflict:>3}% {:<26}", sites.names.len(), name(sites, &placement));
        let fast = ours.fast_of_1000.map(|f| format!("  fast {:>3}.{}%", f / 10, f % 10)).unwrap_or_default();
        let _ = writeln!(text, "{head} {:<15} {}   {model}{fast}", "all", figures(ours.all()));
        for (site, site_name) in sites.names.iter().enumerate().filter(|(s, _)| clients[*s] > 0) {
            let _ = writeln!(text, "{head} {site_name:<15} {}", figures(ours.of([site].into_iter())));
        }
    }
    text
}

/// The pick of a cell beside the best, and where the selection comes to rest from each leader; the worst of these ratios.
pub(crate) fn pick(bench: &mut Bench, sites: &Sites, spread: usize, conflict: u64) -> (String, f64) {
    let (label, clients) = sites.spreads[spread];
    let m = measured(sites, clients, conflict);
    let policy = Policy::default();
    let costs: Vec<(u64, Placement)> =
        placements(sites).into_iter().map(|p| (bench.cost(sites, clients, conflict, &p), p)).collect();
    let (best, best_placement) = costs.iter().min_by_key(|(cost, _)| *cost).expect("there are placements");
    let ratio = |placement: &Placement| {
        // Raft under majorities takes the messages of Multi-Paxos.
        let same = |p: &Placement| p.leader == placement.leader;
        costs.iter().find(|(_, p)| same(p)).map_or(f64::NAN, |(cost, _)| *cost as f64 / *best as f64)
    };
    let picked = choose(&m, &policy, None).picked().expect("all are up").placement.clone();
    let mut line = format!(
        "{} {label:<8} {conflict:>3}%  best {:<26} {:>4}.{}  pick {:<26} {:>5.2}  at rest",
        sites.names.len(),
        name(sites, best_placement),
        best / 10,
        best % 10,
        name(sites, &picked),
        ratio(&picked),
    );
    let mut worst = ratio(&picked);
    for leader in placements(sites).into_iter().filter(|p| p.leader.is_some()) {
        let rests = ratio(&rest(&m, &policy, leader));
        worst = worst.max(rests);
        let _ = write!(line, " {rests:.2}");
    }
    if worst > 1.1 {
        line.push_str("  MISS");
    }
    line.push('\n');
    (line, worst)
}

/// Does as the selection says until it says nothing more.
fn rest(m: &Measurements, policy: &Policy, from: Placement) -> Placement {
    let mut current = Current::new(from, Instant::ZERO);
    let mut now = Instant::ZERO;
    for _ in 0..8 {
        now += policy.dwell_max;
        match decide(now, m, policy, &current).decision {
            Decision::Stay => break,
            Decision::Seal(to) => current.moved(now, to),
            Decision::Transfer(to) => {
                let to = Placement { leader: Some(to), ..current.placement.clone() };
                current.moved(now, to);
            }
        }
    }
    current.placement
}

/// The fast path by both rules, clients everywhere: how much of it there is, and what it is worth.
pub(crate) fn rules(bench: &mut Bench, sites: &Sites, conflict: u64) -> String {
    let (label, clients) = sites.spreads[0];
    let mut text = String::new();
    let bears = (1..=(sites.names.len() as u8 - 1) / 2).map(|bears| Engine::Atlas { bears });
    for engine in [Engine::Leaderless].into_iter().chain(bears) {
        let rule = match engine {
            Engine::Atlas { bears } => format!("Atlas f={bears}"),
            _ => String::from("EPaxos*"),
        };
        let ours = bench.figures(sites, clients, conflict, &engine);
        let fast = ours.fast_of_1000.unwrap_or_default();
        let _ = writeln!(
            text,
            "{rule:<10} {} {label:<8} {conflict:>3}%  {}  fast {:>3}.{}%",
            sites.names.len(),
            figures(ours.all()),
            fast / 10,
            fast % 10
        );
    }
    text
}

/// PBFT under each first primary, clients everywhere.
pub(crate) fn byzantine(bench: &mut Bench, sites: &Sites) -> String {
    let (label, clients) = sites.spreads[0];
    let mut text = String::new();
    let m = Measurements { trust: dwcp_consensus::select::Trust::Untrusted, ..measured(sites, clients, 0) };
    let choice = choose(&m, &Policy::default(), None);
    for (primary, site) in sites.names.iter().enumerate() {
        let ours = bench.figures(sites, clients, 0, &Engine::Byzantine { primary });
        let of = choice.candidates.iter().find(|c| {
            c.placement.engine == EngineKind::Pbft && c.placement.leader == Some(NodeId(primary as u64 + 1))
        });
        let model = of.map(|c| predicted(&c.forecast)).unwrap_or_default();
        let head = format!("{} {label:<8}   -  {:<26}", sites.names.len(), format!("PBFT {site}"));
        let _ = writeln!(text, "{head} {:<15} {}   {model}", "all", figures(ours.all()));
        for (site, site_name) in sites.names.iter().enumerate() {
            let _ = writeln!(text, "{head} {site_name:<15} {}", figures(ours.of([site].into_iter())));
        }
    }
    text
}

/// Ours beside fantoch's, with the differences in per cent.
pub(crate) fn beside_fantoch(bench: &mut Bench) -> String {
    let mut text = String::new();
    let mut row = |head: String, ours: (u64, u32, u32), mean: f64, p99: f64| {
        let (our_mean, our_p99) = (ours.0 as f64 / 10.0, f64::from(ours.2));
        let off = |ours: f64, theirs: f64| (ours - theirs) / theirs * 100.0;
        let (a, b) = (off(our_mean, mean), off(our_p99, p99));
        let _ = writeln!(
            text,
            "{head:<34} {our_mean:>6.1} {mean:>6.1} {a:>+6.1}%   {our_p99:>4.0} {p99:>4.0} {b:>+6.1}%"
        );
    };
    let of = |n: usize| if n == 5 { &FIVE } else { &THREE };
    for (n, conflict, mean, p99) in FANTOCH {
        let sites = of(*n);
        let ours = bench.figures(sites, sites.spreads[0].1, *conflict, &Engine::Leaderless);
        row(format!("{n} even {conflict:>3}% EPaxos"), ours.all(), *mean, *p99);
    }
    for (n, leader, accept, mean, p99) in FANTOCH_LED {
        let sites = of(*n);
        let engine = Engine::Led { leader: *leader, accept: *accept };
        let ours = bench.figures(sites, sites.spreads[0].1, 0, &engine);
        row(format!("{n} even leader {} of {accept}", sites.names[*leader]), ours.all(), *mean, *p99);
    }
    text
}
