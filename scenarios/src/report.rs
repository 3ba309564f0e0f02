//! What came of a sweep, for three kinds of readers: JUnit XML for CI, JSON
//! ([`crate::sweep::Summary::json`]) for programs, and one HTML file for people.
//!
//! The HTML file needs nothing but itself: the claims table, one section a scenario, and for
//! each failing or chosen seed a space-time picture that can be moved and enlarged. It follows
//! the reader's wish for light or dark.

use crate::file::Figure;
use crate::run::picture::Picture;
use crate::sweep::{Spread, Summary, Verdict};
use std::fmt::Write as _;

/// Text between tags, or in an attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // What XML 1.0 does not allow at all.
            c if (c as u32) < 32 && !matches!(c, '\n' | '\t' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// As JUnit XML: a scenario is a test case; what is wrong with it is its failure.
#[must_use]
pub fn junit(summary: &Summary) -> String {
    let failures = summary.verdicts.iter().filter(|v| !v.passed()).count();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let (tests, seconds) = (summary.verdicts.len(), summary.wall_ms as f64 / 1e3);
    let _ok = writeln!(
        out,
        "<testsuites>\n<testsuite name=\"dwcp.scenarios\" tests=\"{tests}\" failures=\"{failures}\" time=\"{seconds:.3}\">"
    );
    for v in &summary.verdicts {
        let (theme, own) = v.scenario.split_once('/').unwrap_or(("", &v.scenario));
        let took = v.took_us as f64 / 1e6;
        let _ok = write!(
            out,
            "<testcase classname=\"dwcp.{}\" name=\"{}\" time=\"{took:.3}\">",
            escape(theme),
            escape(own)
        );
        if !v.passed() {
            let says = complaints(v);
            let first = says.lines().next().unwrap_or_default();
            let _ok = write!(out, "\n<failure message=\"{}\">{}</failure>\n", escape(first), escape(&says));
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("</testsuite>\n</testsuites>\n");
    out
}

/// Everything that is wrong with a scenario, a line each, with the command that shows it.
#[must_use]
pub fn complaints(v: &Verdict) -> String {
    let mut out = String::new();
    for f in &v.failures {
        let again = if f.reproduced {
            ""
        } else {
            " [NOT REPRODUCED in a process of its own: a failure of determinism]"
        };
        let _ok = writeln!(out, "seed {}: {}{again}", f.seed, f.violation);
        let _ok = writeln!(out, "  replay: dwcp sim run {} --seed {}", v.scenario, f.seed);
    }
    for name in &v.never {
        let _ok = writeln!(
            out,
            "{name} never happened in {} seeds: the scenario does not test what it says",
            v.runs
        );
    }
    for c in v.claims.iter().filter(|c| !c.met) {
        let (name, most) = (c.figure.name(), c.figure.show(c.at_most));
        let _ok = match (c.found.runs, c.beyond) {
            (0, _) => writeln!(out, "{name} <= {most} is claimed, and no run measured it"),
            (measured, 0) => writeln!(
                out,
                "{name} <= {most} is claimed; {measured} of {} runs measured it, and {} broke a property",
                v.runs, v.failed
            ),
            _ => writeln!(
                out,
                "{name} <= {most} is claimed; the worst of {} seeds is {} (seed {})",
                c.found.runs,
                c.figure.show(c.found.worst),
                c.found.worst_seed
            ),
        };
    }
    out
}

/// As one HTML file. `pictures` are of failing or chosen seeds.
///
/// # Panics
/// Never: pictures are plain data.
#[must_use]
pub fn html(summary: &Summary, pictures: &[Picture]) -> String {
    let mut body = String::new();
    head(summary, &mut body);
    claims(summary, &mut body);
    for v in &summary.verdicts {
        section(v, &mut body);
    }
    page("dwcp scenarios", &body, pictures)
}

/// A page of its own: style, a body, and pictures below it.
///
/// # Panics
/// Never: pictures are plain data.
pub(crate) fn page(title: &str, body: &str, pictures: &[Picture]) -> String {
    // `</` would end the script early.
    let data = serde_json::to_string(pictures).expect("a picture is plain data").replace("</", "<\\/");
    let style = include_str!("report/report.css");
    let script = include_str!("report/report.js");
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\
         <section id=\"pictures\"></section>\n<script type=\"application/json\" id=\"data\">{data}</script>\n\
         <script>\n{script}</script>\n</body>\n</html>\n",
        escape(title)
    )
}

fn head(s: &Summary, out: &mut String) {
    let runs: u64 = s.verdicts.iter().map(|v| v.runs).sum();
    let failed: u64 = s.verdicts.iter().map(|v| v.failed).sum();
    let simulated: u64 = s.verdicts.iter().map(|v| v.totals.simulated_ns / 1_000_000_000).sum();
    let cpu: f64 = s.verdicts.iter().map(|v| v.took_us as f64 / 1e6).sum();
    let (class, word) = if s.passed() { ("good", "passed") } else { ("bad", "failed") };
    let speed = if cpu > 0.0 { simulated as f64 / cpu } else { 0.0 };
    let _ok = writeln!(
        out,
        "<header><h1>Scenarios <span class=\"{class}\">{word}</span></h1>\n\
         <p>{runs} runs of {} scenarios, {failed} failed; {simulated} simulated seconds in {:.1} s on the clock, \
         {speed:.0} a second of processor time.</p>\n\
         <p class=\"dim\">build {} · {} · {}</p></header>",
        s.verdicts.len(),
        s.wall_ms as f64 / 1e3,
        escape(&s.build.commit),
        escape(&s.build.toolchain),
        escape(&s.build.target),
    );
}

fn claims(s: &Summary, out: &mut String) {
    out.push_str(
        "<section><h2>Claims</h2>\n<table><thead><tr><th>scenario</th><th>claim</th><th>median</th><th>p99</th>\
         <th>worst</th><th>seed of the worst</th><th>runs</th><th></th></tr></thead><tbody>\n",
    );
    for v in &s.verdicts {
        for c in &v.claims {
            let show = |n: u64| if c.found.runs == 0 { "–".to_owned() } else { c.figure.show(n) };
            let (class, word) = if c.met { ("good", "met") } else { ("bad", "not met") };
            let Spread { median, p99, worst, worst_seed, runs, .. } = c.found;
            let _ok = writeln!(
                out,
                "<tr><td><a href=\"#{id}\">{name}</a></td><td>{} ≤ {}</td><td>{}</td><td>{}</td><td>{}</td>\
                 <td>{worst_seed}</td><td>{runs}</td><td class=\"{class}\">{word}</td></tr>",
                c.figure.name(),
                c.figure.show(c.at_most),
                show(median),
                show(p99),
                show(worst),
                id = v.scenario.replace('/', "-"),
                name = escape(&v.scenario),
            );
        }
    }
    out.push_str("</tbody></table></section>\n");
}

fn section(v: &Verdict, out: &mut String) {
    let (class, word) = if v.passed() { ("good", "passed") } else { ("bad", "failed") };
    let open = if v.passed() { "" } else { " open" };
    let _ok = writeln!(
        out,
        "<details id=\"{}\"{open}><summary><b>{}</b> <span class=\"{class}\">{word}</span> \
         <span class=\"dim\">{} runs, {} failed, {} writes acknowledged</span></summary>\n<p>{}</p>",
        v.scenario.replace('/', "-"),
        escape(&v.scenario),
        v.runs,
        v.failed,
        v.totals.writes,
        escape(&v.why),
    );
    let says = complaints(v);
    if !says.is_empty() {
        let _ok = writeln!(out, "<pre class=\"bad\">{}</pre>", escape(&says));
    }
    out.push_str("<table><thead><tr><th>figure</th><th>median</th><th>p99</th><th>worst</th><th>seed</th></tr></thead><tbody>");
    for figure in Figure::ALL {
        if let Some(s) = v.figures.get(figure.name()) {
            let show = |n| figure.show(n);
            let _ok = writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
                figure.name(),
                show(s.median),
                show(s.p99),
                show(s.worst),
                s.worst_seed
            );
        }
    }
    out.push_str("</tbody></table>\n<p class=\"dim\">");
    for (name, n) in &v.sometimes {
        let _ok = write!(out, "<span class=\"mark\">{} {n}</span> ", escape(name));
    }
    out.push_str("</p></details>\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capsule::Build;
    use crate::run::Stats;
    use crate::sweep::Claimed;
    use std::collections::BTreeMap;

    fn summary() -> Summary {
        let found = Spread { runs: 3, median: 1, p99: 2, p999: 2, worst: 6_000_000_000, worst_seed: 9 };
        let verdict = Verdict {
            scenario: "failover/leader_crash".into(),
            why: "A <leader> dies & \"returns\".".into(),
            runs: 3,
            failed: 0,
            broken: BTreeMap::new(),
            failures: Vec::new(),
            sometimes: BTreeMap::from([("fault.crash".to_owned(), 4)]),
            never: vec!["raft.x".into()],
            claims: vec![Claimed {
                figure: Figure::Rto,
                at_most: 5_000_000_000,
                found,
                beyond: 1,
                met: false,
            }],
            figures: BTreeMap::from([("rto", found)]),
            totals: Stats::default(),
            took_us: 10,
        };
        Summary { build: Build::current(), verdicts: vec![verdict], wall_ms: 1_234 }
    }

    #[test]
    fn junit_names_the_failure_and_escapes_what_it_quotes() {
        let xml = junit(&summary());
        assert!(
            xml.contains("failures=\"1\"")
                && xml.contains("classname=\"dwcp.failover\" name=\"leader_crash\"")
        );
        assert!(
            xml.contains("rto &lt;= 5.000s is claimed; the worst of 3 seeds is 6.000s (seed 9)"),
            "{xml}"
        );
    }

    #[test]
    fn html_needs_nothing_but_itself() {
        let picture = Picture { scenario: "</script><b>".into(), ..Picture::default() };
        let page = html(&summary(), &[picture]);
        assert!(page.contains("A &lt;leader&gt; dies &amp; &quot;returns&quot;."));
        assert!(page.contains("<\\/script>") && page.matches("</script>").count() == 2);
        for outside in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!page.replace("http://www.w3.org/2000/svg", "").contains(outside), "{outside}");
        }
    }
}
