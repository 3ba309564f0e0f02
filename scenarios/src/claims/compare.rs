//! A build against the page that was written down: is what was met still met?

use super::Table;
use super::page::Recorded;
use crate::file::Scenario;
use serde::Serialize;

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Comparison {
    /// Claims that hold in every seed tried.
    pub kept: u64,
    /// Claims that were met and are not any more.
    pub lost: Vec<String>,
    /// Where page and scenarios disagree about what is claimed: the page must be written again.
    pub stale: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl Comparison {
    /// Whether nothing was lost and the page is of these scenarios.
    #[must_use]
    pub const fn passed(&self) -> bool {
        self.lost.is_empty() && self.stale.is_empty()
    }
}

/// Which seeds of each scenario are run again, at most `each`: the worst ones of its claims, in
/// the order of the page, then the first ones. All are seeds of the page.
#[must_use]
pub fn seeds(page: &[Recorded], scenarios: &[Scenario], each: u32) -> Vec<Vec<u64>> {
    let of = |s: &Scenario| {
        let rows: Vec<&Recorded> = page.iter().filter(|r| r.scenario == s.name).collect();
        let runs = rows.iter().map(|r| r.runs).max().unwrap_or(0);
        let mut chosen: Vec<u64> = Vec::new();
        for seed in rows.iter().filter_map(|r| r.seed).chain(1..=runs) {
            if chosen.len() < each as usize && !chosen.contains(&seed) {
                chosen.push(seed);
            }
        }
        chosen
    };
    scenarios.iter().map(of).collect()
}

/// Compares the page with what runs of [`seeds`] came to.
#[must_use]
pub fn compare(page: &[Recorded], scenarios: &[Scenario], found: &Table) -> Comparison {
    let mut out = Comparison::default();
    for s in scenarios {
        for claim in &s.check.claims {
            let says = format!("{} {} ≤ {}", s.name, claim.figure.name(), claim.figure.show(claim.at_most));
            let was = page.iter().find(|r| r.scenario == s.name && r.figure == claim.figure);
            let is = found.rows.iter().find(|r| r.scenario == s.name && r.figure == claim.figure);
            match (was, is) {
                (None, _) => out.stale.push(format!("{says}: claimed, and not on the page")),
                (Some(was), _) if was.at_most != claim.figure.show(claim.at_most) => {
                    out.stale.push(format!("{says}: the page says ≤ {}", was.at_most));
                }
                (Some(_), None) => out.notes.push(format!("{says}: no seed was tried")),
                (Some(was), Some(is)) => match (was.met, is.complaint()) {
                    (true, None) => out.kept += 1,
                    (true, Some(why)) => out.lost.push(format!("{says}: {why}")),
                    (false, None) => {
                        out.notes.push(format!("{says}: not met on the page, met by the seeds tried"))
                    }
                    (false, Some(why)) => out.notes.push(format!("{says}: still not met: {why}")),
                },
            }
        }
        let dropped = page
            .iter()
            .filter(|r| r.scenario == s.name)
            .filter(|r| s.check.claims.iter().all(|c| c.figure != r.figure));
        out.stale.extend(dropped.map(|r| {
            format!("{} {} ≤ {}: on the page, and claimed no more", s.name, r.figure.name(), r.at_most)
        }));
    }
    out
}

/// Claims of scenarios that are no more.
#[must_use]
pub fn orphans(page: &[Recorded], all: &[Scenario]) -> Vec<String> {
    let gone = page.iter().filter(|r| all.iter().all(|s| s.name != r.scenario));
    gone.map(|r| format!("{} {}: on the page, and there is no such scenario", r.scenario, r.figure.name()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::claims::page::{markdown, parse};
    use crate::claims::tests::table;
    use crate::file::{Claim, Figure};

    /// The scenarios of the table, claiming what it says.
    fn scenarios(t: &Table) -> Vec<Scenario> {
        let mut chosen = Vec::new();
        for mut s in catalogue::all() {
            let own = t.rows.iter().filter(|r| r.scenario == s.name);
            s.check.claims = own.map(|r| Claim { figure: r.figure, at_most: r.at_most }).collect();
            if !s.check.claims.is_empty() {
                chosen.push(s);
            }
        }
        chosen
    }

    #[test]
    fn the_same_figures_are_kept_and_what_was_not_met_fails_nothing() {
        let t = table();
        let page = parse(&markdown(&t)).unwrap();
        let c = compare(&page, &scenarios(&t), &t);
        assert!(c.passed() && c.kept == 3, "{c:?}");
        assert_eq!(c.notes.len(), 1);
        assert!(c.notes[0].contains("disk/full rto ≤ 6.000s: still not met"), "{c:?}");
    }

    #[test]
    fn one_run_beyond_one_that_broke_or_did_not_measure_loses_a_claim() {
        let before = table();
        let page = parse(&markdown(&before)).unwrap();
        let lose = |change: fn(&mut crate::claims::Row)| {
            let mut t = before.clone();
            let row = t.rows.iter_mut().find(|r| r.scenario == "failover/region_loss").unwrap();
            row.met = false;
            change(row);
            compare(&page, &scenarios(&before), &t)
        };
        for (change, says) in [
            ((|r| r.beyond = 1) as fn(&mut crate::claims::Row), "1 of 300 runs beyond"),
            (|r| r.broken = 4, "4 of 300 runs broke a property"),
            (|r| r.found.runs = 299, "299 of 300 runs measured it"),
        ] {
            let c = lose(change);
            assert!(!c.passed() && c.lost.len() == 1 && c.lost[0].contains(says), "{says}: {c:?}");
        }
    }

    #[test]
    fn a_page_of_other_claims_is_stale() {
        let t = table();
        let page = parse(&markdown(&t)).unwrap();
        let mut looser = scenarios(&t);
        let own = looser.iter_mut().find(|s| s.name == "failover/region_loss").unwrap();
        own.check.claims[0].at_most += 1_000_000_000;
        own.check.claims[1] = Claim { figure: Figure::Convergence, at_most: 1 };
        let c = compare(&page, &looser, &t);
        let all = c.stale.join("\n");
        assert!(all.contains("rto ≤ 6.000s: the page says ≤ 5.000s"), "{all}");
        assert!(all.contains("convergence ≤ 1ns: claimed, and not on the page"), "{all}");
        assert!(all.contains("rpo ≤ 0 writes: on the page, and claimed no more"), "{all}");
        assert!(!c.passed());
        assert_eq!(orphans(&page, &looser), Vec::<String>::new());
        assert_eq!(orphans(&page, &[]).len(), 4);
    }

    #[test]
    fn the_worst_seeds_come_first_and_all_are_of_the_page() {
        let t = table();
        let page = parse(&markdown(&t)).unwrap();
        let all = scenarios(&t);
        let place = all.iter().position(|s| s.name == "disk/full").unwrap();
        assert_eq!(seeds(&page, &all, 4)[place], [12, 1, 2, 3]);
        assert_eq!(seeds(&page, &all, 1)[place], [12]);
        assert_eq!(seeds(&page, &all, 9_999)[place].len(), 300);
    }
}
