//! Every figure the project states, as rows that runs fill in.
//!
//! **Promise.** `[check] claims` of the scenarios, and nothing else, become the rows of
//! `docs/claims.md`: a claim with no scenario is not made, and one that is not met is printed
//! as not met. The page is a function of (build, seeds): the same command on the same commit
//! writes the same bytes, so that a diff of it is a change of behaviour.
//!
//! **What "met" says.** A claim is *figure ≤ bound in every run*. It is met if every one of the
//! page's seeds measured the figure, none broke a property (a run that broke a promise has
//! measured nothing), and the worst is within the bound. That is a statement about those seeds;
//! about all others the column *beyond* says what they allow: after `n` runs of which `k` were
//! over the bound, the share of all seeds that are is below the number in brackets with 95 %
//! confidence (Clopper and Pearson 1934, one-sided; for `k` = 0 nearly 3/`n`).
//!
//! **What the check says** ([`compare`]). A run is a function of (plan, build). A few of the
//! page's own seeds, run again, can therefore only contradict the page, never fail to confirm
//! it by chance: one run over the bound refutes "in every run" whatever the other seeds do.
//! So a red check is never noise, and a green one says that the seeds tried still hold: the
//! seeds that came nearest to the bound when the page was written, then the first ones.
//!
//! Files: `claims` (rows), `page` (as text, and back), `badge` (as a picture), `compare`.

pub mod badge;
pub mod compare;
pub mod page;

use crate::capsule::Build;
use crate::file::{Figure, Scenario};
use crate::sweep::{Spread, Summary, Verdict};
use dwcp_runtime_sim::plan::Latency;
use serde::Serialize;

/// One claim and what was found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    /// Which scenario claims it.
    pub scenario: String,
    /// Which figure.
    pub figure: Figure,
    /// At most this: nanoseconds for spans, a plain count or hundredths otherwise.
    pub at_most: u64,
    /// What was measured.
    pub found: Spread,
    /// Runs over the bound.
    pub beyond: u64,
    /// Runs in all, measured or not.
    pub runs: u64,
    /// Runs that broke a property.
    pub broken: u64,
    /// Whether it holds in every run.
    pub met: bool,
}

/// A scenario that claims something, in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct About {
    /// Theme and name.
    pub name: String,
    /// The promise it defends.
    pub why: String,
    /// Its world in a few words.
    pub world: String,
}

/// All claims of some scenarios.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Table {
    /// The build that was measured.
    pub build: Build,
    /// The command that measures it again.
    pub command: String,
    /// Runs in all.
    pub runs: u64,
    /// The scenarios, in the catalogue's order.
    pub scenarios: Vec<About>,
    /// Their claims, in the order of the scenarios and then of [`Figure::ALL`].
    pub rows: Vec<Row>,
}

impl Row {
    /// Why it is not met, in words; nothing if it is.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let show = |n| self.figure.show(n);
        let (runs, worst, seed) = (self.runs, self.found.worst, self.found.worst_seed);
        let measured = self.found.runs;
        match self {
            _ if self.met => None,
            Self { beyond: 1.., .. } => Some(format!(
                "{} of {runs} runs beyond, the worst {} with seed {seed}",
                self.beyond,
                show(worst)
            )),
            Self { broken: 1.., .. } => Some(format!("{} of {runs} runs broke a property", self.broken)),
            _ => Some(format!("{measured} of {runs} runs measured it")),
        }
    }
}

impl Table {
    /// The claims of `scenarios`, of which `summary` is the sweep.
    #[must_use]
    pub fn of(scenarios: &[Scenario], summary: &Summary, command: String) -> Self {
        let claiming = scenarios.iter().filter(|s| !s.check.claims.is_empty());
        let rows = summary.verdicts.iter().flat_map(rows).collect();
        Self {
            build: summary.build.clone(),
            command,
            runs: summary.verdicts.iter().filter(|v| !v.claims.is_empty()).map(|v| v.runs).sum(),
            scenarios: claiming.map(about).collect(),
            rows,
        }
    }
    /// How many are met.
    #[must_use]
    pub fn met(&self) -> usize {
        self.rows.iter().filter(|r| r.met).count()
    }
}

fn rows(v: &Verdict) -> Vec<Row> {
    let mut rows: Vec<Row> = v
        .claims
        .iter()
        .map(|c| Row {
            scenario: v.scenario.clone(),
            figure: c.figure,
            at_most: c.at_most,
            found: c.found,
            beyond: c.beyond,
            runs: v.runs,
            broken: v.failed,
            met: c.met,
        })
        .collect();
    rows.sort_by_key(|r| r.figure);
    rows
}

fn about(s: &Scenario) -> About {
    let (nodes, regions) = (s.nodes(), s.world.regions.len());
    let apart = match &s.world.latency {
        Latency::Measured(name) => name.clone(),
        Latency::Uniform { min, max } => format!("{min} to {max} one way"),
    };
    let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let world = format!("{}, {}, {apart}", many(nodes as usize, "node"), many(regions, "region"));
    About { name: s.name.clone(), why: s.why.clone(), world }
}

/// The share of all seeds that are over a bound, at most, with 95 % confidence, after `runs` of
/// which `beyond` were.
///
/// For reports alone: nothing is decided by it.
#[must_use]
pub fn share_beyond(beyond: u64, runs: u64) -> f64 {
    if beyond >= runs {
        return 1.0;
    }
    // The chance of seeing so few, were the share p, falls with p: bisect to 5 %.
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let p = f64::midpoint(low, high);
        if chance_of_at_most(beyond, runs, p) > 0.05 { low = p } else { high = p }
    }
    high
}

/// P(X ≤ k) of a binomial with `n` tries of chance `p`, summed in logarithms.
fn chance_of_at_most(k: u64, n: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let mut term = n as f64 * (-p).ln_1p();
    let mut sum = term.exp();
    for i in 1..=k {
        term += ((n - i + 1) as f64 / i as f64).ln() + p.ln() - (-p).ln_1p();
        sum += term.exp();
    }
    sum
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::sweep::Claimed;
    use std::collections::BTreeMap;

    /// A table of two scenarios, one of whose claims is not met.
    pub(crate) fn table() -> Table {
        let found = |worst: u64, seed| Spread {
            runs: 300,
            median: worst / 3,
            p99: worst / 2,
            p999: worst,
            worst,
            worst_seed: seed,
        };
        let claimed = |figure, at_most, found: Spread, beyond| Claimed {
            figure,
            at_most,
            found,
            beyond,
            met: beyond == 0,
        };
        let verdict = |scenario: &str, claims| Verdict {
            scenario: scenario.into(),
            why: "Why.".into(),
            runs: 300,
            failed: 0,
            broken: BTreeMap::new(),
            failures: Vec::new(),
            sometimes: BTreeMap::new(),
            never: Vec::new(),
            claims,
            figures: BTreeMap::new(),
            totals: crate::run::Stats::default(),
            took_us: 1,
        };
        let rpo = claimed(Figure::Rpo, 0, found(0, 1), 0);
        let summary = Summary {
            build: Build { commit: "abc".into(), toolchain: "rustc 1".into(), target: "x".into() },
            verdicts: vec![
                verdict("calm/idle", vec![]),
                verdict(
                    "failover/region_loss",
                    vec![rpo, claimed(Figure::Rto, 5_000_000_000, found(4_500_000_000, 9), 0)],
                ),
                verdict(
                    "disk/full",
                    vec![rpo, claimed(Figure::Rto, 6_000_000_000, found(7_000_000_000, 12), 2)],
                ),
            ],
            wall_ms: 5,
        };
        let all = crate::catalogue::all();
        let chosen: Vec<Scenario> =
            all.into_iter().filter(|s| summary.verdicts.iter().any(|v| v.scenario == s.name)).collect();
        Table::of(&chosen, &summary, "dwcp sim claims --seeds 300".into())
    }

    #[test]
    fn rows_come_in_the_order_of_figures_and_say_why_they_are_not_met() {
        let t = table();
        let figures: Vec<Figure> = t.rows.iter().map(|r| r.figure).collect();
        assert_eq!(figures, [Figure::Rto, Figure::Rpo, Figure::Rto, Figure::Rpo]);
        assert_eq!((t.met(), t.runs), (3, 600));
        let bad = t.rows.iter().find(|r| !r.met).unwrap();
        assert_eq!(bad.complaint().unwrap(), "2 of 300 runs beyond, the worst 7.000s with seed 12");
        assert_eq!(t.rows[0].complaint(), None);
    }

    #[test]
    fn what_runs_allow_to_say_is_the_rule_of_three_and_known_values() {
        let close = |a: f64, b: f64| (a - b).abs() < 5e-4;
        assert!(close(share_beyond(0, 300), 0.00994), "{}", share_beyond(0, 300));
        assert!(close(share_beyond(0, 10_000), 0.0003), "{}", share_beyond(0, 10_000));
        // Found by exact arithmetic over the binomial.
        assert!(close(share_beyond(1, 10), 0.3942), "{}", share_beyond(1, 10));
        assert!(close(share_beyond(5, 50), 0.1988), "{}", share_beyond(5, 50));
        assert!(close(share_beyond(10, 10), 1.0));
        assert!(close(share_beyond(0, 0), 1.0));
        // No underflow where the first term is far below the smallest float.
        assert!(share_beyond(900, 1_000_000) < 0.001);
    }
}
