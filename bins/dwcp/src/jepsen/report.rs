//! Runs for people: lines on a terminal, and a page with a picture.

use super::run::{Order, Ran};
use super::verdict::Verdict;
use dwcp_env::{Duration, Instant};
use dwcp_nemesis::Nemesis;
use dwcp_workload::{Outcome, Use};
use serde_json::json;
use std::fmt::Write as _;
use std::io::Write as _;

fn seconds(d: Duration) -> String {
    format!("{:.1} s", d.as_millis() as f64 / 1_000.0)
}

fn millis(d: Duration) -> String {
    format!("{:.1} ms", d.as_micros() as f64 / 1_000.0)
}

/// `dwcp jepsen list`.
pub(super) fn list(json: bool) {
    if json {
        let nemeses: Vec<_> = Nemesis::ALL
            .iter()
            .map(|n| {
                let card = n.card();
                let lacks = super::possible(*n).err();
                json!({ "name": card.name, "scenario": card.scenario, "what": card.what, "proof": card.proof, "lacks": lacks })
            })
            .collect();
        let workloads: Vec<&str> = Use::LIVE.iter().map(|u| u.name()).collect();
        println!("{}", json!({ "workloads": workloads, "nemeses": nemeses }));
        return;
    }
    let mut out = crate::say::coloured();
    let names: Vec<&str> = Use::LIVE.iter().map(|u| u.name()).collect();
    let _closed = writeln!(out, "workloads: {}\n\nnemeses (in scenario files):", names.join(", "));
    for nemesis in Nemesis::ALL {
        let card = nemesis.card();
        let _closed = writeln!(out, "  \x1b[1m{:<14}\x1b[0m {} ({})", card.name, card.what, card.scenario);
        if let Err(why) = super::possible(nemesis) {
            let _closed = writeln!(out, "  {:<14} \x1b[33mnot here: {why}\x1b[0m", "");
        }
    }
}

/// A run, after it.
pub(super) fn text(order: &Order, ran: &Ran, verdict: &Verdict) {
    let mut out = crate::say::coloured();
    let _closed = out.write_all(lines(order, ran, verdict).as_bytes());
}

fn lines(order: &Order, ran: &Ran, verdict: &Verdict) -> String {
    let f = &verdict.figures;
    let colour = if verdict.is_broken() {
        31
    } else if verdict.is_sound() {
        32
    } else {
        33
    };
    let names: Vec<&str> = order.nemeses.iter().map(|n| n.card().name).collect();
    let mut s = format!(
        "{} under {}: {} nodes, {}, seed {}: \x1b[1;{colour}m{}\x1b[0m\n",
        order.kind.name(),
        if names.is_empty() { "nobody".into() } else { names.join(", ") },
        order.nodes,
        seconds(ran.lasted),
        order.seed.0,
        verdict.word(),
    );
    // Writing to a String can't fail.
    let _fine = writeln!(
        s,
        "  {} operations, {:.0}/s; {} not done, {} unknown; p50 {}, p99 {}, worst {}; acknowledged writes lost: {}",
        f.ok,
        f.per_second,
        f.failed,
        f.unknown,
        millis(f.p50),
        millis(f.p99),
        millis(f.worst),
        f.lost
    );
    for (struck, gap) in ran.struck.iter().zip(&f.gaps) {
        let evidence: Vec<String> = struck.evidence.iter().map(|(what, n)| format!("{n} {what}")).collect();
        let _fine = writeln!(
            s,
            "  {:>7} to {:>7}  {:<44} {:<28} no write for {}",
            seconds(struck.begin.since(Instant::ZERO)),
            seconds(struck.end.since(Instant::ZERO)),
            struck.words,
            evidence.join(", "),
            seconds(*gap)
        );
    }
    for j in &verdict.judged {
        let _fine = match &j.broken {
            None => writeln!(s, "  kept: {}", j.promise),
            Some(b) if b.certain => {
                writeln!(
                    s,
                    "  \x1b[31mbroken: {}\x1b[0m at {}: {}",
                    j.promise,
                    seconds(b.at.since(Instant::ZERO)),
                    b.detail
                )
            }
            Some(_) => Ok(()),
        };
    }
    for doubt in &verdict.doubts {
        let _fine = writeln!(s, "  \x1b[33mproves nothing about\x1b[0m {doubt}");
    }
    s
}

/// The last lines of a matrix: one a workload, one column a nemesis.
pub(super) fn matrix(rows: &[(Use, Nemesis, Verdict)]) {
    let mut nemeses: Vec<Nemesis> = rows.iter().map(|r| r.1).collect();
    nemeses.sort_unstable();
    nemeses.dedup();
    let mut out = crate::say::coloured();
    let mut s = format!("\n{:<12}", "");
    for n in &nemeses {
        let _fine = write!(s, " {:<13}", n.card().name);
    }
    for kind in Use::LIVE {
        let row: Vec<_> = rows.iter().filter(|r| r.0 == kind).collect();
        if row.is_empty() {
            continue;
        }
        let _fine = write!(s, "\n{:<12}", kind.name());
        for n in &nemeses {
            let cell = row.iter().find(|r| r.1 == *n).map_or("-", |r| r.2.word());
            let _fine = write!(s, " {cell:<13}");
        }
    }
    let _closed = writeln!(out, "{s}");
}

/// Pixels a picture is wide, and a row of it high.
const WIDTH: f64 = 1_000.0;
const ROW: f64 = 26.0;
/// Height of the picture of operations.
const HEIGHT: f64 = 160.0;

/// A page: the picture, windows, promises.
pub(super) fn html(order: &Order, ran: &Ran, verdict: &Verdict) -> String {
    let end = ran.lasted.as_nanos().max(1) as f64;
    let x = |at: Instant| at.as_nanos().min(ran.lasted.as_nanos()) as f64 / end * WIDTH;
    let mut svg = String::new();
    for (i, s) in ran.struck.iter().enumerate() {
        let (from, to) = (x(s.begin), x(s.end));
        let y = HEIGHT + ROW * (i % 6) as f64;
        let _fine = write!(
            svg,
            "<rect x='{from:.1}' y='0' width='{:.1}' height='{HEIGHT}' fill='#d33' opacity='0.12'/>\
             <text x='{from:.1}' y='{:.1}' font-size='11'>{}</text>",
            (to - from).max(1.0),
            y + 18.0,
            escape(&s.words)
        );
    }
    // A dot an operation: how long it took, on a scale of decades from 0.1 ms to 10 s.
    for r in ran.log.records.iter().filter(|r| r.ret != Instant::FAR && r.call != r.ret) {
        let took = r.ret.since(r.call).as_micros().max(1) as f64;
        let y = HEIGHT - ((took.log10() - 2.0) / 5.0).clamp(0.0, 1.0) * HEIGHT;
        let fill = match r.outcome {
            Outcome::Ok => "#2a7",
            Outcome::Fail => "#999",
            _ => "#d60",
        };
        let _fine = write!(svg, "<circle cx='{:.1}' cy='{y:.1}' r='1.6' fill='{fill}'/>", x(r.call));
    }
    let height = HEIGHT + ROW * 6.0;
    let mut page = format!(
        "<!doctype html><meta charset='utf-8'><title>dwcp jepsen: {kind}</title>\
         <style>body{{font:14px system-ui;margin:2em;max-width:{WIDTH}px}}pre{{white-space:pre-wrap}}</style>\
         <h1>{kind}: {word}</h1><p>Each dot is an operation: when it began, how long it took (0.1 ms to 10 s, by decades); \
         green done, orange unknown, grey not done. Red: a nemesis at work.</p>\
         <svg viewBox='0 0 {WIDTH} {height}' width='100%' role='img'>{svg}</svg>",
        kind = order.kind.name(),
        word = verdict.word(),
    );
    let _fine = write!(page, "<pre>{}</pre>", escape(&plain(&lines(order, ran, verdict))));
    let left: Vec<String> = ran.surprises.iter().map(|s| escape(s)).collect();
    if !left.is_empty() {
        let _fine = write!(page, "<h2>Surprises</h2><p>{}</p>", left.join("<br>"));
    }
    page
}

/// Without a terminal's colours.
fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
