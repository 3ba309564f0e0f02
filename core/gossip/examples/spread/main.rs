//! What gossip achieves, measured: `cargo run --profile sim -p dwcp-gossip --example spread -- --help`.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool at the edge: it prints, and it runs worlds on threads of its own"
)]

#[path = "../../tests/world/link.rs"]
#[allow(dead_code, missing_docs, unreachable_pub, reason = "shared with the tests")]
mod link;
mod measure;
#[path = "../../tests/world/mod.rs"]
mod world;

use clap::{Parser, ValueEnum};
use dwcp_env::{Duration, Ratio, Seed};
use dwcp_gossip::Settings;
use dwcp_gossip::site::SiteSettings;
use indicatif::{ProgressBar, ProgressStyle};
use measure::{Row, table};
use std::process::ExitCode;

/// Measures gossip in a simulated cluster: five regions of the measured AWS matrix, links that lose messages.
///
/// Every run is a function of (arguments, build): the same command prints the same figures. The step functions are
/// those of the crate; around them are only a heap of events, virtual clocks and keyed draws. 1,000 nodes take about
/// 300 MB a thread, and a quiet core about ten minutes for 1,000 updates.
///
/// spread: updates of random nodes, one after another in worlds of 25 updates after some unmeasured ones; the time until
/// each node has each, payload copies, copies over a WAN. Default and original settings.
/// detect: crashes, and false deaths with and without slow members; Lifeguard on and off on the same seeds.
/// heal: two of five regions cut off for an hour; the time until all views are whole again.
/// site: 10,000 updates a second between two sites 160 ms apart; the lag from durable here to durable there.
///
/// Exit codes: 0 measured; 1 a figure is beyond its goal (with --check); 2 wrong arguments.
#[derive(Parser)]
#[command(name = "spread", verbatim_doc_comment)]
struct Args {
    /// What to measure; repeat it, or leave it out for spread alone
    #[arg(long, value_enum, default_values_t = [What::Spread])]
    what: Vec<What>,
    /// Nodes of the cluster
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=5_000))]
    nodes: u64,
    /// Updates measured with the default settings
    #[arg(long, default_value_t = 1_000)]
    runs: u64,
    /// Updates measured with the original settings, which take a minute each; a tenth of --runs if left out
    #[arg(long)]
    original_runs: Option<u64>,
    /// Messages lost, in percent
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=50))]
    loss: u32,
    /// Worlds run at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    threads: u64,
    /// Begins no world after so many minutes, and reports what was measured until then
    #[arg(long)]
    minutes: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// `json` prints one object
    #[arg(long, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Ends with 1 if a figure is beyond its goal
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Spread,
    Detect,
    Heal,
    Site,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Text,
    Json,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut rows: Vec<Row> = Vec::new();
    for what in &args.what {
        match what {
            What::Spread => {
                let original = args.original_runs.unwrap_or(args.runs.div_ceil(10));
                if args.runs > 0 {
                    rows.push(spread(&args, "spread, default", &Settings::default(), args.runs, true));
                }
                if original > 0 {
                    rows.push(spread(&args, "spread, original", &Settings::original(), original, false));
                }
            }
            What::Detect => {
                for lifeguard in [true, false] {
                    rows.extend(detect(&args, lifeguard));
                }
            }
            What::Heal => rows.push(measure::heal(args.nodes as usize, loss(&args), Seed(args.seed))),
            What::Site => rows.extend(site(&args)),
        }
    }
    match args.output {
        Format::Text => print!("{}", table(&rows)),
        Format::Json => {
            let all: serde_json::Map<String, serde_json::Value> =
                rows.iter().map(|r| (r.name.clone(), r.json())).collect();
            println!("{}", serde_json::Value::Object(all));
        }
    }
    let beyond: Vec<&Row> = rows.iter().filter(|r| r.is_beyond()).collect();
    for r in &beyond {
        eprintln!("{}: beyond its goal", r.name);
    }
    if args.check && !beyond.is_empty() { ExitCode::from(1) } else { ExitCode::SUCCESS }
}

fn loss(args: &Args) -> Ratio {
    Ratio::ppm(args.loss * 10_000)
}

fn bar(name: &str, length: u64) -> ProgressBar {
    let bar = ProgressBar::new(length);
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(name.to_string());
    bar
}

/// Worlds side by side, each with its own seed; their parts in the order of the seeds.
fn side_by_side<T: Send>(args: &Args, worlds: u64, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let (threads, begun) = (args.threads, std::time::Instant::now());
    let time_is_up = || args.minutes.is_some_and(|m| begun.elapsed().as_secs() >= m * 60);
    let next = std::sync::atomic::AtomicU64::new(0);
    let mut all: Vec<(u64, T)> = std::thread::scope(|s| {
        let hands: Vec<_> = (0..threads)
            .map(|_| {
                s.spawn(|| {
                    let mut mine = Vec::new();
                    loop {
                        let w = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if w >= worlds || (w > 0 && time_is_up()) {
                            return mine;
                        }
                        mine.push((w, one(w)));
                    }
                })
            })
            .collect();
        hands.into_iter().flat_map(|h| h.join().expect("a world ran to its end")).collect()
    });
    all.sort_by_key(|x| x.0);
    all.into_iter().map(|x| x.1).collect()
}

fn spread(args: &Args, name: &str, settings: &Settings, runs: u64, goals: bool) -> Row {
    const EACH: u64 = 25;
    let bar = bar(name, runs);
    let gap = if goals { Duration::secs(4) } else { Duration::secs(60) };
    let parts = side_by_side(args, runs.div_ceil(EACH), |w| {
        let (nodes, seed) = (args.nodes as usize, Seed(args.seed + w));
        measure::spread(nodes, loss(args), settings, seed, EACH.min(runs - w * EACH), gap, &bar)
    });
    bar.finish_and_clear();
    measure::spread_row(name, args.nodes, parts, goals)
}

fn detect(args: &Args, lifeguard: bool) -> Vec<Row> {
    let settings = Settings { lifeguard, ..Settings::default() };
    let name = if lifeguard { "Lifeguard" } else { "plain SWIM" };
    let nodes = args.nodes as usize;
    // The same seeds for both.
    side_by_side(args, 3, |part| match part {
        0 => measure::crashes(&format!("crash, {name}"), nodes, loss(args), &settings, Seed(args.seed)),
        1 => measure::rest(&format!("rest, {name}"), nodes, loss(args), &settings, Seed(args.seed), 0),
        _ => measure::rest(&format!("slow, {name}"), nodes, loss(args), &settings, Seed(args.seed), 50),
    })
}

fn site(args: &Args) -> Vec<Row> {
    use link::{Carrier, Link};
    let whole = SiteSettings { datagram: 0, ..SiteSettings::default() };
    let bare = SiteSettings { parity_max: 0, ..SiteSettings::default() };
    let base = Link { seconds: 30, ..Link::default() };
    let lossy = |ppm| Link { loss: Ratio::ppm(ppm), ..base };
    let stream = Link { carrier: Carrier::Stream, settings: whole, ..lossy(10_000) };
    let links = [
        ("no loss", base),
        ("0.1 % of packets lost", lossy(1_000)),
        ("1 % of packets lost", lossy(10_000)),
        ("1 % lost, three in a row", Link { burst: 3, ..lossy(10_000) }),
        ("3 % of packets lost", lossy(30_000)),
        ("1 % lost, without parity", Link { settings: bare, ..lossy(10_000) }),
        ("1 % lost, over an ordered stream", stream),
    ];
    let row = |(name, link): (&str, Link)| {
        let came = link::run(link, Seed(args.seed));
        let goals = link.settings == SiteSettings::default();
        measure::site_row(&format!("site stream, {name}"), &came, goals)
    };
    links.into_iter().map(row).collect()
}
