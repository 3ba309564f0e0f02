//! One catalogue of metrics: docs/operations/metrics.md names exactly those the code has.

use crate::{Source, holds, sources};
use std::collections::BTreeSet;

/// Every `dwcp_…` name in quotes in the sources, or in backquotes on the page.
fn names(text: &str, quote: char) -> BTreeSet<String> {
    text.split(quote)
        .filter(|w| {
            w.starts_with("dwcp_")
                && w.len() > 5
                && w.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
        })
        .filter(|w| {
            ["_total", "_seconds", "_bytes", "_ratio", "_index", "_count", "_term", "_info"]
                .iter()
                .any(|e| w.ends_with(e))
        })
        .map(str::to_string)
        .collect()
}

fn complaints(files: &[Source]) -> Vec<String> {
    let page = files.iter().find(|f| f.path == "docs/operations/metrics.md").map_or("", |f| &f.text);
    let listed = names(page, '`');
    let mut used = BTreeSet::new();
    for f in files.iter().filter(|f| f.path.ends_with(".rs") && f.path.contains("src/")) {
        used.extend(names(&f.text, '"'));
    }
    let mut out = Vec::new();
    out.extend(used.difference(&listed).map(|m| format!("{m} is not in docs/operations/metrics.md")));
    out.extend(
        listed
            .difference(&used)
            .map(|m| format!("docs/operations/metrics.md names {m}, which nothing feeds")),
    );
    out
}

#[test]
fn the_catalogue_is_true() {
    holds(complaints(&sources()));
}

#[test]
fn an_unlisted_and_an_unfed_metric_are_found() {
    let bad = [
        Source { path: "docs/operations/metrics.md".into(), text: "`dwcp_ghost_total`".into() },
        Source { path: "core/env/src/event.rs".into(), text: "Count(\"dwcp_real_total\", \"x\")".into() },
    ];
    assert_eq!(complaints(&bad).len(), 2);
}
