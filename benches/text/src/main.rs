//! Replays recorded edits into our sequence and the peers', in one process, and prints what each cost.

mod heap;
mod ours;
#[cfg(feature = "peers")]
mod peers;
mod trace;

use clap::{Parser, ValueEnum};
use ours::{Ours, Peer, Purged};
use rustix::time::{ClockId, clock_gettime};
use std::path::PathBuf;
use std::process::ExitCode;
use trace::{Trace, load};

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

/// Replay recorded edits into our text sequence and its peers.
///
/// Each trace is replayed locally, edit by edit, with the text kept; times are processor time of the
/// thread, the least of the runs. The end of every replay and of every loaded state is compared with the trace's. Exit code 0: all
/// texts were right; 1: one was wrong or a trace could not be read; 2: wrong arguments.
///
/// Example: cargo run --release -- ../../core/crdt/tests/data/editing-traces/sequential_ascii/automerge-paper.json.gz
#[derive(Parser)]
struct Args {
    /// Sequential traces (gzip, JSON); automerge-paper of the tests if none is named.
    traces: Vec<PathBuf>,
    /// How often the fast ones replay.
    #[arg(long, default_value_t = 7)]
    runs: u32,
    /// Only ours and diamond-types: seconds instead of a minute.
    #[arg(long)]
    quick: bool,
    /// How the figures are printed.
    #[arg(long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// One JSON object a line.
    Json,
}

fn cpu_ns() -> u64 {
    let t = clock_gettime(ClockId::ThreadCPUTime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

struct Figures {
    replay_ns: u64,
    heap: isize,
    bytes: usize,
    load_ns: u64,
    save_ns: u64,
    right: bool,
}

fn measure<P: Peer>(trace: &Trace, runs: u32) -> Figures {
    let runs = if P::SLOW { 1 } else { runs.max(1) };
    let mut out =
        Figures { replay_ns: u64::MAX, heap: 0, bytes: 0, load_ns: u64::MAX, save_ns: u64::MAX, right: true };
    for _ in 0..runs {
        let before = heap::live();
        let start = cpu_ns();
        let mut peer = P::new();
        for patch in &trace.patches {
            peer.edit(patch);
        }
        peer.finish();
        out.replay_ns = out.replay_ns.min(cpu_ns() - start);
        out.heap = heap::live() - before;
        out.right &= peer.text().is_none_or(|text| text == trace.end);
        let start = cpu_ns();
        let bytes = peer.save();
        out.save_ns = out.save_ns.min(cpu_ns() - start);
        out.bytes = bytes.len();
        drop(peer);
        let start = cpu_ns();
        let back = P::load(&bytes);
        out.load_ns = out.load_ns.min(cpu_ns() - start);
        out.right &= back.text().is_none_or(|text| text == trace.end);
    }
    out
}

fn print<P: Peer>(name: &str, trace: &Trace, args: &Args) -> bool {
    let f = measure::<P>(trace, args.runs);
    let each = f.replay_ns / trace.patches.len().max(1) as u64;
    if args.output == Output::Json {
        let line = serde_json::json!({
            "trace": name, "peer": P::NAME, "replay_ns": f.replay_ns, "ns_per_patch": each, "heap_bytes": f.heap,
            "encoded_bytes": f.bytes, "save_ns": f.save_ns, "load_ns": f.load_ns, "right": f.right,
        });
        println!("{line}");
        return f.right;
    }
    let ms = |ns: u64| ns as f64 / 1e6;
    println!(
        "{:<24}{:>10.1}{:>10}{:>12.2}{:>12}{:>10.2}{:>10.2}   {}",
        P::NAME,
        ms(f.replay_ns),
        each,
        f.heap as f64 / 1e6,
        f.bytes,
        ms(f.save_ns),
        ms(f.load_ns),
        if f.right { "right" } else { "WRONG TEXT" },
    );
    f.right
}

fn run(path: &std::path::Path, args: &Args) -> Result<bool, String> {
    let trace = load(path)?;
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if args.output == Output::Table {
        println!("\n{name}: {} patches, {} bytes at the end", trace.patches.len(), trace.end.len());
        println!(
            "{:<24}{:>10}{:>10}{:>12}{:>12}{:>10}{:>10}",
            "", "replay ms", "ns/patch", "heap MB", "encoded B", "save ms", "load ms"
        );
    }
    let mut right = print::<Ours>(&name, &trace, args);
    right &= print::<Purged>(&name, &trace, args);
    #[cfg(feature = "peers")]
    {
        use peers::{Automerge, Loro, Yrs};
        right &= print::<diamond_types::list::ListCRDT>(&name, &trace, args);
        if !args.quick {
            right &= print::<cola::Replica>(&name, &trace, args);
            right &= print::<Loro>(&name, &trace, args);
            if trace.end.is_ascii() && trace.patches.iter().all(|p| p.new.is_ascii()) {
                right &= print::<Yrs>(&name, &trace, args);
            }
            right &= print::<Automerge>(&name, &trace, args);
        }
    }
    Ok(right)
}

fn main() -> ExitCode {
    let mut args = Args::parse();
    if args.traces.is_empty() {
        let data = "../../core/crdt/tests/data/editing-traces/sequential_ascii/automerge-paper.json.gz";
        args.traces.push(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(data));
    }
    let mut code = ExitCode::SUCCESS;
    for path in &args.traces {
        match run(path, &args) {
            Ok(true) => {}
            Ok(false) => code = ExitCode::from(1),
            Err(e) => {
                eprintln!("{e}");
                code = ExitCode::from(1);
            }
        }
    }
    code
}
