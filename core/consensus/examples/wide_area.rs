//! Five and three regions of AWS, EPaxos and Multi-Paxos and PBFT with measured round trips, and what the selection picks.
//!
//! ```text
//! cargo run --profile sim -p dwcp-consensus --features rehearsal --example wide_area -- --help
//! ```
#![allow(clippy::disallowed_types, clippy::disallowed_macros, reason = "a command line prints")]

#[path = "../tests/weather/mod.rs"]
#[allow(dead_code, reason = "of the weather only the round trips are needed here")]
mod weather;
#[path = "../tests/wide/mod.rs"]
mod wide;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use std::process::ExitCode;
use wide::table::{Bench, CONFLICTS, FIVE, Sites, THREE, beside_fantoch, byzantine, latencies, pick, rules};

/// Measures commit latencies in the wide area and prints the golden table.
///
/// Deterministic: equal builds print equal tables. `core/consensus/tests/golden/wide_area.txt` holds one; after a change
/// of a protocol write it anew and read the difference. Exit codes: 0 printed; 1 a pick is more than a tenth dearer than
/// the best of its cell (said in the table); 2 the command line makes no sense.
#[derive(Parser)]
#[command(name = "wide_area")]
struct Args {
    /// Only this part: latencies, picks, fantoch or rules.
    #[arg(long, value_parser = ["latencies", "picks", "fantoch", "rules"])]
    only: Option<String>,
    /// Sentences or JSON: one object with the parts as arrays of lines.
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
}

fn cells() -> impl Iterator<Item = (&'static Sites, usize, u64)> {
    let all = [&FIVE, &THREE].into_iter();
    all.flat_map(|sites| (0..sites.spreads.len()).map(move |s| (sites, s)))
        .flat_map(|(sites, spread)| CONFLICTS.into_iter().map(move |c| (sites, spread, c)))
}

fn main() -> ExitCode {
    let args = Args::parse();
    let wants = |part: &str| args.only.as_deref().is_none_or(|only| only == part);
    let bar = ProgressBar::new(cells().count() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} cells").expect("a template"));
    let (mut bench, mut worst) = (Bench::default(), 0.0_f64);
    let [mut slow, mut picks, mut beside] = [const { String::new() }; 3];
    for (sites, spread, conflict) in cells() {
        if wants("latencies") {
            slow += &latencies(&mut bench, sites, spread, conflict);
        }
        if wants("picks") {
            let (line, ratio) = pick(&mut bench, sites, spread, conflict);
            picks += &line;
            worst = worst.max(ratio);
        }
        bar.inc(1);
    }
    if wants("latencies") {
        slow += &byzantine(&mut bench, &FIVE);
    }
    if wants("fantoch") {
        beside = beside_fantoch(&mut bench);
    }
    let mut both = String::new();
    if wants("rules") {
        for sites in [&FIVE, &THREE] {
            CONFLICTS.into_iter().for_each(|conflict| both += &rules(&mut bench, sites, conflict));
        }
    }
    bar.finish_and_clear();
    if args.output == "json" {
        let lines = |text: &str| text.lines().map(str::to_string).collect::<Vec<_>>();
        let parts = serde_json::json!({ "latencies": lines(&slow), "picks": lines(&picks), "fantoch": lines(&beside), "rules": lines(&both), "worst": worst });
        println!("{parts}");
    } else {
        let parts = [
            (
                "# sites, clients, conflicts, engine, clients of; mean p50 p99 measured (ms); mean p99 predicted",
                &slow,
            ),
            (
                "# sites, clients, conflicts; the best and its cost (ms); the pick and its cost to the best's; the same where it comes to rest from each leader",
                &picks,
            ),
            ("# mean ours, fantoch's, difference; p99 ours, fantoch's, difference", &beside),
            ("# rule of the fast path, sites, clients, conflicts; mean p50 p99 (ms)", &both),
        ];
        for (title, text) in parts.iter().filter(|(_, text)| !text.is_empty()) {
            println!("{title}\n{}", text.trim_end());
        }
    }
    if worst > 1.1 { ExitCode::from(1) } else { ExitCode::SUCCESS }
}
