//! `dwcp jepsen`: real processes, real sockets, real faults, judged.
//!
//! **Promise.** A run starts a cluster of its own, drives it through its public doors with the clients of
//! `jepsen/workload`, lets nemeses of `jepsen/nemesis` strike, heals, reads everything back from every node,
//! and says whether every promise was kept. It leaves nothing behind on the machine.
//!
//! | file | holds |
//! |---|---|
//! | [`run`] | a run from its beginning to its end |
//! | [`cluster`] | the processes |
//! | [`strike`] | acts carried out, undone, and their evidence |
//! | [`drive`], [`door`], [`eventual`] | clients at work; their questions in etcd's words, and in Redis' |
//! | [`last`], [`eventual`] | what every node holds at the end, with its past; and of an eventual keyspace |
//! | [`verdict`] | promises judged, figures |
//! | [`report`] | for people |
//!
//! **Exit codes.** 0: sound. 1: a promise is broken, the witness is printed. 2: it could not run, and
//! what to install or change. 3: nothing was found broken, but the run proves less than was asked for
//! (a nemesis never fired, a check ended without a verdict).

mod cluster;
mod door;
mod drive;
mod eventual;
mod last;
mod report;
mod run;
mod strike;
mod verdict;

use crate::config::duration;
use clap::{Args, Subcommand};
use dwcp_check::history::{edn, jsonl};
use dwcp_env::{Duration, Seed};
use dwcp_nemesis::{Need, Nemesis};
use dwcp_workload::Use;
use dwcp_workload::history::history;
use indicatif::{ProgressBar, ProgressStyle};
use run::Order;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::sync::watch;
use verdict::Verdict;

/// Breaks real clusters on purpose and judges what clients saw.
///
/// Each run starts a cluster of its own in a folder of its own, on addresses of its own, and removes it.
/// Nemeses that touch the network or the disk need root: see `dwcp jepsen list`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  dwcp jepsen list\n  dwcp jepsen run register --nemesis kill,pause --time 60s\n  dwcp jepsen run bank --nemesis partition --nodes 9 --history bank.edn --html bank.html\n  dwcp jepsen matrix --time 20s\n\nExit codes: 0 sound; 1 a promise is broken; 2 it could not run; 3 the run proves less than was asked for."
)]
pub struct Jepsen {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand, Debug)]
enum What {
    /// Lists workloads and nemeses, and what this machine lacks for them.
    List,
    /// One workload under some nemeses, in turn.
    Run(RunArgs),
    /// Every workload under every nemesis this machine can do, one run each.
    Matrix(MatrixArgs),
}

#[derive(Args, Clone, Debug)]
struct Shape {
    /// How long nemeses have, each run: `20s`, `5min`. Starting, healing and judging come on top.
    #[arg(long, default_value = "60s", value_parser = duration)]
    time: Duration,
    /// How many nodes, over three regions.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=15))]
    nodes: u16,
    /// The engine that the strong keyspace begins with: raft, paxos, epaxos or pbft (which needs four nodes).
    #[arg(long, default_value = "paxos")]
    engine: dwcp_node::EngineKind,
    /// How many clients.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Operations a second, all clients together.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,
    /// How many keys, lists, accounts or locks.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    keys: u32,
    /// What is asked when, and what strikes whom; drawn if not given, and printed.
    #[arg(long)]
    seed: Option<u64>,
    /// Where clusters lie while they run; kept afterwards if this is given, or if a promise is broken.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// A known bug to start the nodes with (a build with `--features planted-bugs`).
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_enum)]
    planted_bug: Option<crate::run_node::PlantedBug>,
}

#[derive(Args, Debug)]
struct RunArgs {
    /// What clients do: register, list-append, bank, lock, watch, eventual or collections.
    #[arg(value_parser = workload)]
    workload: Use,
    /// Who strikes, in turn: names of `dwcp jepsen list` with commas between; nobody if left out.
    #[arg(long, value_delimiter = ',', value_parser = Nemesis::named)]
    nemesis: Vec<Nemesis>,
    #[command(flatten)]
    shape: Shape,
    /// Writes the history here: JSON lines, or Jepsen's EDN if the name ends in `.edn`.
    #[arg(long)]
    history: Option<PathBuf>,
    /// Writes a page with a picture of the run here.
    #[arg(long)]
    html: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct MatrixArgs {
    /// Only these workloads.
    #[arg(long, value_delimiter = ',', value_parser = workload)]
    workload: Vec<Use>,
    /// Only these nemeses.
    #[arg(long, value_delimiter = ',', value_parser = Nemesis::named)]
    nemesis: Vec<Nemesis>,
    #[command(flatten)]
    shape: Shape,
}

fn workload(name: &str) -> Result<Use, String> {
    Use::named(name).ok_or_else(|| {
        let names: Vec<&str> = Use::LIVE.iter().map(|u| u.name()).collect();
        format!("there is no workload {name:?}; there are {}", names.join(", "))
    })
}

/// It could not run.
const COULD_NOT: u8 = 2;
/// Nothing broken was found, and less was shown than was asked for.
const NO_EVIDENCE: u8 = 3;

/// Runs the command.
#[must_use]
pub fn main(args: Jepsen, json: bool) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => return could_not(&format!("can't start the runtime: {e}"), json),
    };
    let done = match args.what {
        What::List => {
            report::list(json);
            return ExitCode::SUCCESS;
        }
        What::Run(args) => runtime.block_on(one(args, json)),
        What::Matrix(args) => runtime.block_on(matrix(args, json)),
    };
    match done {
        Ok(code) => code,
        Err(why) => could_not(&why, json),
    }
}

fn could_not(why: &str, json: bool) -> ExitCode {
    if json {
        eprintln!("{}", serde_json::json!({ "error": why }));
    } else {
        eprintln!("dwcp jepsen: {why}");
    }
    ExitCode::from(COULD_NOT)
}

fn code(words: &[&str]) -> ExitCode {
    if words.contains(&"broken") {
        ExitCode::FAILURE
    } else if words.iter().all(|w| *w == "sound") {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NO_EVIDENCE)
    }
}

async fn one(args: RunArgs, json: bool) -> Result<ExitCode, String> {
    for nemesis in &args.nemesis {
        possible(*nemesis)?;
    }
    let stop = on_ctrl_c();
    let order = order(&args.shape, args.workload, &args.nemesis, 0)?;
    let page = Page { history: args.history, html: args.html };
    let verdict = judged_run(&order, &args.shape, stop, &page, json).await?;
    Ok(code(&[verdict.word()]))
}

async fn matrix(args: MatrixArgs, json: bool) -> Result<ExitCode, String> {
    let workloads = if args.workload.is_empty() { Use::LIVE.to_vec() } else { args.workload };
    let nemeses: Vec<Nemesis> = if args.nemesis.is_empty() {
        let can = |n: &Nemesis| match possible(*n) {
            Ok(()) => true,
            Err(why) => {
                eprintln!("left out: {why}");
                false
            }
        };
        Nemesis::ALL.into_iter().filter(can).collect()
    } else {
        args.nemesis.iter().try_for_each(|n| possible(*n))?;
        args.nemesis
    };
    let stop = on_ctrl_c();
    let mut rows = Vec::new();
    for kind in workloads {
        for nemesis in &nemeses {
            if *stop.borrow() {
                break;
            }
            let order = order(&args.shape, kind, &[*nemesis], rows.len() as u64)?;
            let verdict = judged_run(&order, &args.shape, stop.clone(), &Page::default(), json).await?;
            rows.push((kind, *nemesis, verdict));
        }
    }
    if !json {
        report::matrix(&rows);
    }
    let words: Vec<&str> = rows.iter().map(|r| r.2.word()).collect();
    Ok(code(&words))
}

/// What a mix may draw and what a matrix tries: whatever this machine has the needs for.
fn possible(nemesis: Nemesis) -> Result<(), String> {
    let card = nemesis.card();
    let needs: BTreeSet<Need> = card.needs.iter().copied().collect();
    needs.into_iter().try_for_each(|n| n.check().map_err(|e| format!("nemesis {}: {e}", card.name)))
}

fn order(shape: &Shape, kind: Use, nemeses: &[Nemesis], nth: u64) -> Result<Order, String> {
    let drawn = || crate::identity::draw_cluster().map_err(|e| format!("no randomness: {e}"));
    let seed = match shape.seed {
        Some(seed) => seed.wrapping_add(nth),
        None => u64::from(u32::from_str_radix(&drawn()?[..8], 16).map_err(|e| e.to_string())?),
    };
    let name = format!("dwcp-jepsen-{}-{nth}", std::process::id());
    let dir = shape.dir.clone().unwrap_or_else(std::env::temp_dir).join(name);
    #[cfg(feature = "planted-bugs")]
    let extra = shape.planted_bug.and_then(|b| clap::ValueEnum::to_possible_value(&b));
    #[cfg(feature = "planted-bugs")]
    let extra = extra.map_or_else(Vec::new, |b| vec![format!("--planted-bug={}", b.get_name())]);
    #[cfg(not(feature = "planted-bugs"))]
    let extra = Vec::new();
    Ok(Order {
        kind,
        nemeses: nemeses.to_vec(),
        allowed: Nemesis::ALL.into_iter().filter(|n| possible(*n).is_ok()).collect(),
        time: shape.time,
        nodes: usize::from(shape.nodes),
        engine: shape.engine,
        clients: u32::from(shape.clients),
        rate: shape.rate,
        keys: shape.keys,
        seed: Seed(seed),
        dir,
        extra,
    })
}

/// What is written besides the verdict.
#[derive(Default)]
struct Page {
    history: Option<PathBuf>,
    html: Option<PathBuf>,
}

async fn judged_run(
    order: &Order,
    shape: &Shape,
    stop: watch::Receiver<bool>,
    page: &Page,
    json: bool,
) -> Result<Verdict, String> {
    std::fs::create_dir_all(&order.dir).map_err(|e| format!("can't make {}: {e}", order.dir.display()))?;
    let folder = Folder { dir: order.dir.clone(), keep: shape.dir.is_some() };
    let bar = progress(order, json);
    let tell = |at: Duration, tally: &drive::Tally, doing: &str| {
        use std::sync::atomic::Ordering::Relaxed;
        bar.set_position(at.as_millis());
        let (ok, unknown) = (tally.ok.load(Relaxed), tally.unknown.load(Relaxed));
        bar.set_message(format!("{ok} done, {unknown} unknown; {doing}"));
    };
    let ran = run::run(order, stop, &tell).await;
    bar.finish_and_clear();
    let ran = ran.map_err(|e| format!("{e} (seed {})", order.seed.0))?;
    let history = history(&ran.log, &ran.remarks);
    let verdict = verdict::judge(order, &ran, &history);
    if let Some(path) = &page.history {
        let file = std::fs::File::create(path).map_err(|e| format!("can't write {}: {e}", path.display()))?;
        let out = std::io::BufWriter::new(file);
        let is_edn = path.extension().is_some_and(|e| e == "edn");
        let written = if is_edn { edn::write(&history, out) } else { jsonl::write(&history, out) };
        written.map_err(|e| format!("can't write {}: {e}", path.display()))?;
    }
    if let Some(path) = &page.html {
        let text = report::html(order, &ran, &verdict);
        std::fs::write(path, text).map_err(|e| format!("can't write {}: {e}", path.display()))?;
    }
    if json {
        println!("{}", verdict.json(order, &ran));
    } else {
        report::text(order, &ran, &verdict);
    }
    folder.end(&verdict);
    Ok(verdict)
}

/// A run's folder; removed unless somebody wants to look at it.
struct Folder {
    dir: PathBuf,
    keep: bool,
}

impl Folder {
    fn end(mut self, verdict: &Verdict) {
        self.keep |= verdict.is_broken();
        if self.keep {
            eprintln!("logs and data of the nodes: {}", self.dir.display());
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            remove(&self.dir);
        }
    }
}

fn remove(dir: &Path) {
    if let Err(e) = std::fs::remove_dir_all(dir) {
        eprintln!("can't remove {}: {e}", dir.display());
    }
}

fn progress(order: &Order, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(order.time.as_millis());
    let names: Vec<&str> = order.nemeses.iter().map(|n| n.card().name).collect();
    let names = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    bar.set_prefix(format!("{} under {names}", order.kind.name()));
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {elapsed} {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

/// Becomes true at the first Ctrl-C or SIGTERM: the run then heals, and judges what it has.
fn on_ctrl_c() -> watch::Receiver<bool> {
    let (tell, stop) = watch::channel(false);
    tokio::spawn(async move {
        let term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        let terminated = async {
            match term {
                Ok(mut term) => term.recv().await,
                Err(_) => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
        let _closed = writeln!(std::io::stderr(), "stopping: healing, then judging what was recorded");
        tell.send_replace(true);
        // Held open to the end of the process: waiters must not take a closed channel for a change.
        std::future::pending::<()>().await;
    });
    stop
}
