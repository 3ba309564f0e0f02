//! A finding as a picture: a lane for each client, a bar for each operation from its call to
//! its return, an arrow for each edge of a cycle. SVG, whole in itself; readable on a light
//! and on a dark ground by the reader's own setting.
//!
//! Time is not to scale: calls and returns stand in their order, equally far apart, so that
//! a picture of an hour is as readable as one of a millisecond. A bar without an end has no
//! return; a dashed one may not have happened.

use crate::report::{Finding, Outcome, Report};
use std::collections::BTreeSet;
use std::fmt::Write;

const LANE: usize = 64;
const BAR: usize = 26;
const LEFT: usize = 130;
const TOP: usize = 44;
const STEP: usize = 90;

/// Operations drawn; a picture of more helps nobody.
const MOST: usize = 24;

const STYLE: &str = "\
.dwcp{font:13px ui-sans-serif,system-ui,sans-serif;--ink:#1b1f24;--soft:#6b7280;--bar:#dbeafe;--edge:#1d4ed8;\
--bad:#b91c1c;--ground:#ffffff}\
@media(prefers-color-scheme:dark){.dwcp{--ink:#e5e7eb;--soft:#9ca3af;--bar:#1e3a5f;--edge:#93c5fd;--bad:#fca5a5;\
--ground:#111418}}\
.dwcp .ground{fill:var(--ground)}.dwcp text{fill:var(--ink)}.dwcp .soft{fill:var(--soft)}\
.dwcp .lane{stroke:var(--soft);stroke-width:1;stroke-dasharray:2 5}\
.dwcp .bar{fill:var(--bar);stroke:var(--edge);stroke-width:1.5}.dwcp .maybe{stroke-dasharray:5 4}\
.dwcp .arrow{fill:none;stroke:var(--bad);stroke-width:1.7}.dwcp .head,.dwcp .label{fill:var(--bad)}\
.dwcp .label{font-size:11px;paint-order:stroke;stroke:var(--ground);stroke-width:3px}";

/// Text for XML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML has no other control characters.
            c if c.is_control() && c != '\n' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most - 1).collect();
    short.push('…');
    short
}

struct Bar {
    left: usize,
    right: usize,
    top: usize,
    open: bool,
}

/// Draws one finding.
#[must_use]
pub fn svg(finding: &Finding) -> String {
    let shown = &finding.operations[..finding.operations.len().min(MOST)];
    let mut lanes: Vec<&str> = Vec::new();
    for operation in shown {
        if !lanes.contains(&operation.lane.as_str()) {
            lanes.push(&operation.lane);
        }
    }
    let times: BTreeSet<u64> = shown.iter().flat_map(|o| [Some(o.call), o.ret]).flatten().collect();
    let times: Vec<u64> = times.into_iter().collect();
    let x = |time: u64| LEFT + 20 + STEP * times.partition_point(|other| *other < time);
    let right = LEFT + 20 + STEP * times.len();
    // Bars of one lane that would cover each other stand below each other.
    let mut rows: Vec<Vec<usize>> = vec![Vec::new(); lanes.len()];
    let mut places = Vec::new();
    for operation in shown {
        let lane = lanes.iter().position(|lane| *lane == operation.lane).unwrap_or(0);
        let (left, open) = (x(operation.call), operation.ret.is_none());
        let end = operation.ret.map_or(right, x).max(left + STEP * 3 / 5);
        let row = rows[lane].iter().position(|until| *until < left).unwrap_or(rows[lane].len());
        if row == rows[lane].len() {
            rows[lane].push(end);
        } else {
            rows[lane][row] = end;
        }
        places.push((lane, row, left, end, open));
    }
    let heights: Vec<usize> =
        rows.iter().map(|rows| LANE + (BAR + 22) * rows.len().saturating_sub(1)).collect();
    let lane_top = |lane: usize| TOP + heights[..lane].iter().sum::<usize>();
    let bars: Vec<Bar> = places
        .iter()
        .map(|&(lane, row, left, right, open)| Bar {
            left,
            right,
            top: lane_top(lane) + 18 + row * (BAR + 22),
            open,
        })
        .collect();
    let widest =
        places.iter().zip(shown).map(|((_, _, left, ..), o)| left + 8 * cut(&label(o), 60).chars().count());
    let width = widest.max().unwrap_or(0).max(right) + 40;
    let height = lane_top(lanes.len()) + 20;
    let mut out = String::new();
    open(&mut out, finding, width, height);
    for (lane, name) in lanes.iter().enumerate() {
        let y = lane_top(lane) + 18 + BAR / 2;
        let name = escaped(&cut(name, 16));
        line(&mut out, format_args!("<text class=\"soft\" x=\"12\" y=\"{}\">{name}</text>", y + 4));
        line(
            &mut out,
            format_args!("<line class=\"lane\" x1=\"{LEFT}\" y1=\"{y}\" x2=\"{}\" y2=\"{y}\"/>", width - 20),
        );
    }
    for (bar, operation) in bars.iter().zip(shown) {
        let maybe = if operation.certain { "" } else { " maybe" };
        let (left, top, length) = (bar.left, bar.top, bar.right - bar.left);
        let shape = if bar.open {
            format!("<path class=\"bar{maybe}\" d=\"M{} {top}H{left}v{BAR}H{}\"/>", bar.right, bar.right)
        } else {
            format!(
                "<rect class=\"bar{maybe}\" x=\"{left}\" y=\"{top}\" width=\"{length}\" height=\"{BAR}\" rx=\"4\"/>"
            )
        };
        let tip = escaped(&format!("{}: {}", operation.name, operation.text));
        line(&mut out, format_args!("<g>{shape}<title>{tip}</title></g>"));
        let text = escaped(&cut(&label(operation), 60));
        line(&mut out, format_args!("<text x=\"{}\" y=\"{}\">{text}</text>", left + 6, top + BAR - 8));
    }
    for (n, arrow) in finding.arrows.iter().enumerate() {
        if let (Some(from), Some(to)) = (bars.get(arrow.from), bars.get(arrow.to)) {
            arrow_between(&mut out, from, to, &arrow.label, n);
        }
    }
    out.push_str("</svg>\n");
    out
}

fn label(operation: &crate::report::Shown) -> String {
    // The lane says already who it was.
    let text = operation.text.split_once(": ").map_or(operation.text.as_str(), |(who, what)| {
        if who.starts_with("client ") { what } else { operation.text.as_str() }
    });
    format!("{} {text}", operation.name)
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    writeln!(out, "{text}").expect("a String grows");
}

fn open(out: &mut String, finding: &Finding, width: usize, height: usize) {
    let title = escaped(&finding.name);
    let what = escaped(&cut(finding.text.lines().next().unwrap_or(""), 200));
    line(
        out,
        format_args!(
            "<svg class=\"dwcp\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\"><title>{title}</title><desc>{what}</desc><style>{STYLE}</style>\
             <defs><marker id=\"head\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             orient=\"auto\"><path class=\"head\" d=\"M0 0L8 4L0 8z\"/></marker></defs>"
        ),
    );
    line(out, format_args!("<rect class=\"ground\" width=\"{width}\" height=\"{height}\"/>"));
    line(out, format_args!("<text x=\"12\" y=\"24\" font-weight=\"600\">{title}</text>"));
}

fn arrow_between(out: &mut String, from: &Bar, to: &Bar, label: &str, n: usize) {
    let bend = 18 + 14 * (n % 3);
    let (x1, y1) = (from.right.saturating_sub(14), from.top + if to.top > from.top { BAR } else { 0 });
    let (x2, y2) = (to.left + 14, to.top + if to.top >= from.top { 0 } else { BAR });
    let same = from.top == to.top;
    let path = if same {
        let y = from.top.saturating_sub(bend);
        format!("M{x1} {} C{x1} {y} {x2} {y} {x2} {}", from.top, to.top)
    } else {
        let middle = (y1 + y2) / 2;
        format!("M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {y2}")
    };
    line(out, format_args!("<path class=\"arrow\" marker-end=\"url(#head)\" d=\"{path}\"/>"));
    let y = if same { from.top.saturating_sub(bend / 2) } else { (y1 + y2) / 2 + 12 * (n % 2) };
    let label = escaped(label);
    line(out, format_args!("<text class=\"label\" x=\"{}\" y=\"{y}\">{label}</text>", (x1 + x2) / 2 + 6));
}

const PAGE_STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 ui-sans-serif,system-ui,sans-serif;margin:2rem auto;max-width:72rem;\
padding:0 1rem;color:#1b1f24;background:#fff}@media(prefers-color-scheme:dark){body{color:#e5e7eb;background:#111418}}\
pre{overflow-x:auto;white-space:pre-wrap}table{border-collapse:collapse}td,th{padding:.2rem 1rem .2rem 0;text-align:left}\
.picture{overflow-x:auto}.invalid,.violated{color:#b91c1c}.valid,.holds{color:#15803d}.unknown{color:#b45309}\
@media(prefers-color-scheme:dark){.invalid,.violated{color:#fca5a5}.valid,.holds{color:#86efac}.unknown{color:#fcd34d}}";

/// A page about a report, whole in itself: no script, nothing fetched.
#[must_use]
pub fn page(report: &Report, source: &str) -> String {
    let word = match report.outcome {
        Outcome::Valid => "valid",
        Outcome::Invalid => "invalid",
        Outcome::Unknown => "unknown",
    };
    let mut out = String::new();
    let (source, claim) = (escaped(source), escaped(&report.claim));
    line(
        &mut out,
        format_args!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{word}: {source}</title><style>{PAGE_STYLE}</style></head><body>"
        ),
    );
    line(
        &mut out,
        format_args!(
            "<h1 class=\"{word}\">{word}</h1><p>{claim}</p><p>{source}, judged as {}</p>",
            escaped(&report.model)
        ),
    );
    if !report.levels.is_empty() {
        line(&mut out, format_args!("<table><tr><th>level</th><th></th></tr>"));
        for held in &report.levels {
            let word = match held.outcome {
                Outcome::Valid => "holds",
                Outcome::Invalid => "violated",
                Outcome::Unknown => "unknown",
            };
            line(&mut out, format_args!("<tr><td>{}</td><td class=\"{word}\">{word}</td></tr>", held.level));
        }
        line(&mut out, format_args!("</table>"));
    }
    for finding in &report.findings {
        let (name, text) = (escaped(&finding.name), escaped(&finding.text));
        line(
            &mut out,
            format_args!("<h2>{name}</h2><div class=\"picture\">{}</div><pre>{text}</pre>", svg(finding)),
        );
    }
    for note in &report.notes {
        line(&mut out, format_args!("<p>note: {}</p>", escaped(note)));
    }
    line(&mut out, format_args!("</body></html>"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Arrow, Shown};

    fn shown(name: &str, lane: &str, call: u64, ret: Option<u64>) -> Shown {
        let text = format!("{lane}: write <x> & \"y\"");
        Shown { name: name.into(), lane: lane.into(), call, ret, text, certain: ret.is_some(), line: None }
    }

    #[test]
    fn a_picture_is_whole_and_escaped() {
        let finding = Finding {
            name: "G0 <&>".to_owned(),
            text: "T1 and T2".to_owned(),
            operations: vec![shown("T1", "client 1", 5, Some(9)), shown("T2", "client 2", 7, None)],
            arrows: vec![
                Arrow { from: 0, to: 1, label: "ww".into() },
                Arrow { from: 1, to: 0, label: "rw".into() },
            ],
        };
        let drawn = svg(&finding);
        assert!(drawn.starts_with("<svg") && drawn.ends_with("</svg>\n"));
        assert!(drawn.contains("G0 &lt;&amp;&gt;") && !drawn.contains("<x>"), "{drawn}");
        assert_eq!(drawn.matches("class=\"arrow\"").count(), 2);
        assert_eq!(drawn.matches("<rect class=\"bar").count(), 1, "the other has no return");
        assert!(!drawn.contains("href") && !drawn.contains("script"));
        let opened = drawn.matches("<g>").count();
        assert_eq!((opened, drawn.matches("</g>").count()), (2, 2));
    }
}
