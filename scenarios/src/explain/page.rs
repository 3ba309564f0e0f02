//! An explanation as text for a terminal, and as one HTML page.

use super::chance::{Curve, Step};
use super::{Explanation, Line, words};
use crate::report::escape;
use std::fmt::Write as _;

/// Columns of the chart in a terminal.
const BAR: u32 = 32;

/// As text.
#[must_use]
pub fn text(e: &Explanation) -> String {
    let mut out = String::new();
    let _ok = writeln!(out, "{}, seed {}: {} is broken\n", e.scenario, e.seed, e.violation.name);
    e.setting.iter().for_each(|s| {
        let _ok = writeln!(out, "  {s}");
    });
    out.push('\n');
    lines(&e.story, &mut out);
    let _ok = writeln!(out, "\n{} at {}:", e.violation.name, words::moment(e.violation.at));
    e.violation.detail.lines().for_each(|l| {
        let _ok = writeln!(out, "  {l}");
    });
    if !e.witnesses.is_empty() {
        out.push_str("\nwitnesses:\n");
        e.witnesses.iter().for_each(|w| {
            let _ok = writeln!(out, "  {w}");
        });
    }
    let _ok =
        writeln!(out, "\nchance of it, given the past up to each moment ({} branches):", e.chance.branches);
    e.chance.steps.iter().for_each(|s| {
        let full = s.failed * BAR / s.branches.max(1);
        let bar: String = (0..BAR).map(|i| if i < full { '█' } else { '·' }).collect();
        let _ok = writeln!(out, "  {:>10}  {bar} {}", words::moment(s.at), measured(s));
    });
    let _ok = writeln!(out, "{}", verdict(&e.chance));
    lines(&e.at_jump, &mut out);
    out
}

fn lines(lines: &[Line], out: &mut String) {
    for l in lines {
        let _ok = writeln!(out, "  {:>10}  {}", words::moment(l.at), l.says);
    }
}

fn measured(s: &Step) -> String {
    let (low, high) = s.interval();
    format!(
        "{:>3.0} %  ({} of {}; {:.0} to {:.0} %)",
        s.share() * 100.0,
        s.failed,
        s.branches,
        low * 100.0,
        high * 100.0
    )
}

/// What the curve says.
fn verdict(c: &Curve) -> String {
    let percent = |s: &Step| format!("{:.0} %", s.share() * 100.0);
    match (c.jump, c.steps.first()) {
        (Some((a, b)), _) => {
            let (a, b) = (&c.steps[a], &c.steps[b]);
            format!(
                "it rises most, from {} to {}, between {} and {}:",
                percent(a),
                percent(b),
                words::moment(a.at),
                words::moment(b.at)
            )
        }
        (None, Some(first)) if first.failed > 0 => {
            format!(
                "it rises nowhere: from the start on the faults alone bring it about, {} of the time",
                percent(first)
            )
        }
        _ => "no branch failed: the draws of this run are needed from the start".to_owned(),
    }
}

/// As one HTML file that needs nothing but itself.
///
/// # Panics
/// Never: a picture is plain data.
#[must_use]
pub fn html(e: &Explanation) -> String {
    let mut body = String::new();
    let _ok = writeln!(
        body,
        "<header><h1>{} <span class=\"bad\">broken</span></h1>\n<p class=\"dim\">{}, seed {}</p></header>",
        escape(&e.violation.name),
        escape(&e.scenario),
        e.seed
    );
    body.push_str("<section><h2>What happened</h2>\n<p>");
    body.push_str(&escape(&e.setting.join(" ")));
    body.push_str("</p>\n");
    rows(&e.story, &mut body);
    let _ok = writeln!(
        body,
        "</section>\n<section><h2>What broke</h2>\n<pre class=\"bad\">{}</pre>",
        escape(&e.violation.to_string())
    );
    if !e.witnesses.is_empty() {
        body.push_str("<p>The operations that show it, outlined in the picture:</p>\n<ul>");
        e.witnesses.iter().for_each(|w| {
            let _ok = writeln!(body, "<li>{}</li>", escape(w));
        });
        body.push_str("</ul>\n");
    }
    let _ok = writeln!(
        body,
        "</section>\n<section><h2>When it was decided</h2>\n<p>The share of the run's other futures that fail in the same \
         way, given its past up to each moment; {} branches, the bars are 95 % intervals.</p>\n{}\n<p>{}</p>",
        e.chance.branches,
        chart(e),
        escape(&verdict(&e.chance))
    );
    rows(&e.at_jump, &mut body);
    body.push_str("</section>\n");
    crate::report::page(&format!("{} explained", e.violation.name), &body, std::slice::from_ref(&e.picture))
}

fn rows(lines: &[Line], out: &mut String) {
    out.push_str("<table><tbody>\n");
    for l in lines {
        let _ok = writeln!(
            out,
            "<tr><td style=\"white-space:nowrap\">{}</td><td>{}</td></tr>",
            words::moment(l.at),
            escape(&l.says)
        );
    }
    out.push_str("</tbody></table>\n");
}

/// The curve: time to the right as far as the run went, the chance upwards, the jump marked,
/// faults underneath.
fn chart(e: &Explanation) -> String {
    const LEFT: f64 = 48.0;
    const WIDTH: f64 = 900.0;
    const TOP: f64 = 12.0;
    const HEIGHT: f64 = 150.0;
    let c = &e.chance;
    let end = c.steps.last().map_or(1, |s| s.at.as_nanos()).max(1) as f64;
    let x = |ns: u64| LEFT + ns as f64 / end * (WIDTH - LEFT - 12.0);
    let y = |p: f64| TOP + (1.0 - p) * HEIGHT;
    let mut out = format!(
        "<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-label=\"chance of the violation over time\" \
         style=\"max-width:{WIDTH}px;width:100%\" font-size=\"11\" fill=\"currentColor\">\n",
        TOP + HEIGHT + 40.0
    );
    for percent in [0_u32, 50, 100] {
        let at = y(f64::from(percent) / 100.0);
        let _ok = writeln!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"var(--line)\"/>\
             <text x=\"4\" y=\"{:.1}\">{percent} %</text>",
            at + 4.0
        );
    }
    if let Some((a, b)) = c.jump {
        let (from, to) = (x(c.steps[a].at.as_nanos()), x(c.steps[b].at.as_nanos()));
        let _ok = writeln!(
            out,
            "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{:.1}\" height=\"{HEIGHT}\" fill=\"var(--bad)\" opacity=\".25\"/>",
            (to - from).max(2.0)
        );
    }
    for (_, from, to, _, says) in &e.picture.faults {
        let (from, to) = (x((from * 1_000).min(end as u64)), x((to * 1_000).min(end as u64)));
        let _ok = writeln!(
            out,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"5\" fill=\"var(--bad)\" opacity=\".6\"><title>{}</title></rect>",
            TOP + HEIGHT + 6.0,
            (to - from).max(1.5),
            escape(says)
        );
    }
    let mut path = String::new();
    for (i, s) in c.steps.iter().enumerate() {
        let (px, py, (low, high)) = (x(s.at.as_nanos()), y(s.share()), s.interval());
        let _ok = write!(path, "{}{px:.1},{py:.1}", if i == 0 { "M" } else { " L" });
        let _ok = writeln!(
            out,
            "<line x1=\"{px:.1}\" x2=\"{px:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"var(--dim)\" opacity=\".5\"/>\
             <circle cx=\"{px:.1}\" cy=\"{py:.1}\" r=\"3\" fill=\"var(--accent)\"><title>{}: {}</title></circle>",
            y(low),
            y(high),
            words::moment(s.at),
            measured(s)
        );
    }
    let _ok = writeln!(
        out,
        "<path d=\"{path}\" fill=\"none\" stroke=\"var(--accent)\" stroke-width=\"2\"/>\n\
         <text x=\"{LEFT}\" y=\"{base:.1}\">0 s</text><text x=\"{:.1}\" y=\"{base:.1}\" text-anchor=\"end\">{}</text>\n</svg>",
        WIDTH - 12.0,
        words::moment(e.violation.at),
        base = TOP + HEIGHT + 28.0
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::chance::Step;
    use crate::run::picture::Picture;
    use dwcp_env::{Duration, Instant};
    use dwcp_runtime_sim::Violation;

    fn explanation() -> Explanation {
        let at = |ms| Instant::ZERO + Duration::millis(ms);
        let step = |ms, failed| Step { at: at(ms), branches: 8, failed };
        Explanation {
            scenario: "partition/<minority>".into(),
            seed: 7,
            faults: 1,
            setting: vec!["Three nodes.".into()],
            story: vec![Line { at: at(8_000), says: "for 3 s, n1 is cut off from everybody else.".into() }],
            violation: Violation {
                name: "linearizable".into(),
                detail: "key 3: a & b\nsecond line".into(),
                at: at(12_000),
                node: None,
            },
            witnesses: vec!["client 1 reads".into()],
            chance: Curve {
                steps: vec![step(0, 1), step(9_000, 1), step(9_500, 8), step(12_000, 8)],
                jump: Some((1, 2)),
                branches: 32,
                cut_short: false,
            },
            at_jump: vec![Line { at: at(9_200), says: "n2 ends itself".into() }],
            picture: Picture::default(),
        }
    }

    #[test]
    fn text_tells_the_story_then_the_chance_then_the_moment() {
        let text = text(&explanation());
        let places: Vec<usize> = [
            "linearizable is broken",
            "Three nodes.",
            "       8 s  for 3 s, n1 is cut off",
            "  second line",
            "client 1 reads",
            "     9.5 s  ████████████████████████████████ 100 %  (8 of 8; 68 to 100 %)",
            "it rises most, from 12 % to 100 %, between 9 s and 9.5 s:",
            "     9.2 s  n2 ends itself",
        ]
        .iter()
        .map(|part| text.find(part).unwrap_or_else(|| panic!("{part} in\n{text}")))
        .collect();
        assert!(places.is_sorted(), "{text}");
    }

    #[test]
    fn a_flat_curve_says_what_that_means() {
        let mut e = explanation();
        e.chance.jump = None;
        assert!(text(&e).contains("from the start on the faults alone bring it about, 12 % of the time"));
        e.chance.steps.iter_mut().for_each(|s| s.failed = 0);
        assert!(text(&e).contains("no branch failed"));
        e.chance.steps.clear();
        assert!(text(&e).contains("no branch failed") && html(&e).contains("<svg"));
    }

    #[test]
    fn the_page_escapes_what_it_quotes_and_needs_nothing_else() {
        let page = html(&explanation());
        assert!(page.contains("partition/&lt;minority&gt;") && page.contains("key 3: a &amp; b"));
        assert!(page.contains("aria-label=\"chance of the violation over time\""));
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
        }
    }
}
