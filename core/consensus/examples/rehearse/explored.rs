//! Every state of a small group, from the command line.

use crate::{Args, Format};
use dwcp_consensus::rehearsal::Subject;
use dwcp_consensus::rehearsal::explore::{Bounds, explore_with};
use indicatif::{ProgressBar, ProgressStyle};
use std::time::Instant;

/// Explores; with a planted bug it must be found, without one everything must hold and be seen.
pub(crate) fn explored<S: Subject>(subject: &S, mutant: Option<&str>, args: &Args) -> bool {
    let bounds = Bounds {
        nodes: args.nodes,
        commands: args.commands,
        conflict: !args.commute,
        ticks: args.ticks,
        ticks_each: args.ticks_each,
        tickers: args.tickers,
        crashes: args.crashes,
        reads: args.reads,
        fifo: args.fifo,
        losses: args.losses,
        checkpoints: args.checkpoints,
        late_syncs: args.late_syncs,
        depth_first: args.depth_first,
        states_max: args.states,
    };
    let style = ProgressStyle::with_template("{msg} {elapsed} {pos} states {wide_msg}");
    let bar = ProgressBar::new_spinner().with_style(style.expect("a sound template"));
    let begin = Instant::now();
    let explored = explore_with(subject, bounds, &mut |states, waiting| {
        bar.set_position(states as u64);
        bar.set_message(format!("{waiting} to be expanded"));
    });
    bar.finish_and_clear();
    let seconds = begin.elapsed().as_secs_f64();
    if args.output == Format::Json {
        say!(
            "{}",
            serde_json::json!({
                "protocol": subject.name(), "mutant": mutant, "states": explored.states,
                "transitions": explored.transitions, "depth": explored.depth, "finished": explored.finished,
                "complete": explored.complete, "seconds": seconds,
                "violation": explored.violation.as_ref().map(|(b, story)| serde_json::json!({
                    "invariant": b.invariant, "what": b.what, "story": story })),
            })
        );
    } else {
        say!(
            "{} {}: {} states, {} transitions, depth {}, {} with all commands acknowledged, {}, {seconds:.1} s",
            subject.name(),
            mutant.unwrap_or(""),
            explored.states,
            explored.transitions,
            explored.depth,
            explored.finished,
            if explored.complete { "all of them" } else { "not all" },
        );
        if let Some((broken, story)) = &explored.violation {
            say!("BROKEN {}: {}", broken.invariant, broken.what);
            for line in story {
                say!("{line}");
            }
        }
    }
    match mutant {
        Some(_) => explored.violation.is_some(),
        None => explored.violation.is_none() && explored.complete && explored.finished > 0,
    }
}
