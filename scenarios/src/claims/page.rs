//! The claims as `docs/claims.md`, and back from there.
//!
//! One row a line and no column padded, so that a figure that moves is a diff of one line.
//! Nothing on the page depends on when or how fast it was made.

use super::{Row, Table, share_beyond};
use crate::file::Figure;
use std::fmt::Write as _;

/// A row as it was written down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recorded {
    /// Which scenario.
    pub scenario: String,
    /// Which figure.
    pub figure: Figure,
    /// The bound, as it is shown.
    pub at_most: String,
    /// The worst, as it is shown.
    pub worst: String,
    /// The seed of the worst; none if no run measured it.
    pub seed: Option<u64>,
    /// Runs in all.
    pub runs: u64,
    /// Whether it was met.
    pub met: bool,
}

const HEAD: &str = "| scenario | claim | p50 | p99 | p99.9 | worst | seed | runs | beyond | |\n\
                    |---|---|---:|---:|---:|---:|---:|---:|---:|---|\n";
const MET: &str = "met";
const NOT_MET: &str = "**NOT MET**";

/// As Markdown.
#[must_use]
pub fn markdown(t: &Table) -> String {
    let mut out = String::new();
    let (met, all, build) = (t.met(), t.rows.len(), &t.build);
    let _ok = write!(
        out,
        "# Claims\n\n\
         Written by `{}`, build {} ({}, {}). Not edited by hand: a figure is changed by changing what it\n\
         measures and running the command again; `dwcp sim claims --check` compares this page with a build.\n\n\
         **{met} of {all} claims are met**, in {} runs under faults in the simulator, where time is exact. A run is a\n\
         function of (build, scenario, seed): `dwcp sim run SCENARIO --seed N` shows any of them again.\n\n\
         * *met*: in every run the figure was within the claim, and no property was broken.\n\
         * *p99* needs 100 runs, *p99.9* a thousand; with fewer there is a dash.\n\
         * *seed*: the first that gave the worst.\n\
         * *beyond*: runs over the claim; in brackets, with 95 % confidence, the largest share of all seeds that may be.\n\n\
         What the figures mean is said in [scenarios.md](scenarios.md#the-file).\n",
        t.command, build.commit, build.toolchain, build.target, t.runs,
    );
    complaints(t, &mut out);
    let theme = |name: &str| name.split('/').next().unwrap_or_default().to_owned();
    let mut themes: Vec<String> = t.scenarios.iter().map(|s| theme(&s.name)).collect();
    themes.dedup();
    for own in themes {
        let _ok = write!(out, "\n## {own}\n\n{HEAD}");
        t.rows.iter().filter(|r| theme(&r.scenario) == own).for_each(|r| row(r, &mut out));
        out.push('\n');
        for s in t.scenarios.iter().filter(|s| theme(&s.name) == own) {
            let _ok = writeln!(out, "* `{}` ({}): {}", s.name, s.world, s.why);
        }
    }
    out
}

fn complaints(t: &Table, out: &mut String) {
    let bad: Vec<(&Row, String)> = t.rows.iter().filter_map(|r| Some((r, r.complaint()?))).collect();
    if bad.is_empty() {
        return;
    }
    out.push_str("\n## Not met\n\n");
    for (r, why) in bad {
        let claim = format!("{} ≤ {}", r.figure.name(), r.figure.show(r.at_most));
        let _ok = writeln!(out, "* `{}`, {claim}: {why}", r.scenario);
    }
}

fn row(r: &Row, out: &mut String) {
    let f = r.found;
    let show = |n: u64, needs: u64| if f.runs < needs { "–".to_owned() } else { r.figure.show(n) };
    let seed = if f.runs == 0 { "–".to_owned() } else { f.worst_seed.to_string() };
    let _ok = writeln!(
        out,
        "| {} | {} ≤ {} | {} | {} | {} | {} | {seed} | {} | {} (< {}) | {} |",
        r.scenario,
        r.figure.name(),
        r.figure.show(r.at_most),
        show(f.median, 1),
        show(f.p99, 100),
        show(f.p999, 1_000),
        show(f.worst, 1),
        r.runs,
        r.beyond,
        percent(share_beyond(r.beyond, f.runs)),
        if r.met { MET } else { NOT_MET },
    );
}

/// Rounded up, so that it stays a bound.
fn percent(share: f64) -> String {
    format!("{:.2} %", (share * 10_000.0).ceil() / 100.0)
}

/// Reads the rows of a page.
///
/// # Errors
/// The first line that is no row of ours, and that the page must be written again.
pub fn parse(text: &str) -> Result<Vec<Recorded>, String> {
    let mut rows = Vec::new();
    for (nth, line) in text.lines().enumerate().filter(|(_, l)| l.starts_with("| ") && l.contains('/')) {
        rows.push(recorded(line).ok_or_else(|| {
            format!("line {}: not a row that this build writes; run `dwcp sim claims` again", nth + 1)
        })?);
    }
    if rows.is_empty() {
        return Err("there is no claim on it; run `dwcp sim claims` to write it".to_owned());
    }
    Ok(rows)
}

fn recorded(line: &str) -> Option<Recorded> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [scenario, claim, _, _, _, worst, seed, runs, _, met] = cells[..] else { return None };
    let (figure, at_most) = claim.split_once(" ≤ ")?;
    Some(Recorded {
        scenario: scenario.to_owned(),
        figure: Figure::ALL.into_iter().find(|f| f.name() == figure)?,
        at_most: at_most.to_owned(),
        worst: worst.to_owned(),
        seed: if seed == "–" { None } else { Some(seed.parse().ok()?) },
        runs: runs.parse().ok()?,
        met: match met {
            MET => true,
            NOT_MET => false,
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::tests::table;

    #[test]
    fn a_row_is_a_line_that_reads_back() {
        let page = markdown(&table());
        assert!(
            page.contains(
                "| failover/region_loss | rto ≤ 5.000s | 1.500s | 2.250s | – | 4.500s | 9 | 300 | 0 (< 1.00 %) | met |\n"
            ),
            "{page}"
        );
        assert!(
            page.contains("* `disk/full`, rto ≤ 6.000s: 2 of 300 runs beyond, the worst 7.000s with seed 12")
        );
        assert!(page.contains("**3 of 4 claims are met**, in 600 runs"));
        let rows = parse(&page).unwrap();
        assert_eq!(rows.len(), 4);
        let shown =
            |r: &Row| (r.scenario.clone(), r.figure, r.figure.show(r.at_most), r.found.worst_seed, r.met);
        let (wrote, read): (Vec<_>, Vec<_>) = (
            table().rows.iter().map(shown).collect(),
            rows.into_iter().map(|r| (r.scenario, r.figure, r.at_most, r.seed.unwrap(), r.met)).collect(),
        );
        // The page is ordered by theme as the scenarios come, the rows as the verdicts do.
        assert!(wrote.iter().all(|w| read.contains(w)), "{wrote:?} {read:?}");
        assert_eq!(markdown(&table()), page, "the same table is the same page");
    }

    #[test]
    fn a_page_that_is_not_ours_is_refused_with_its_line() {
        let page = markdown(&table());
        let broken = page.replace("| 1.500s | 2.250s |", "| 1.500s |");
        let line = page.lines().position(|l| l.contains("| 2.250s |")).unwrap() + 1;
        assert!(parse(&broken).unwrap_err().starts_with(&format!("line {line}: ")));
        assert!(parse(&page.replace("rto ≤ 5", "rtx ≤ 5")).is_err());
        assert!(parse(&page.replace("| met |", "| ok |")).is_err());
        assert!(parse("# Claims\n").unwrap_err().contains("no claim"));
    }
}
