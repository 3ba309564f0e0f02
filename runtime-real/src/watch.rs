//! Whoever watches a real node: events become log lines and counters, a broken invariant the
//! end of the process. Of one kind of event at most [`LINES_PER_SECOND`] lines a second are logged; all
//! are counted, and those that say that someone has to act are always logged.

use crate::metrics::Registry;
use dwcp_env::Event;
use dwcp_env::event::Level;
use dwcp_env::probe::Watch;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// What happens when an invariant of ours is broken or the node panics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnBroken {
    /// The process ends at once (`abort`), like a power cut: what is durable is all that counts,
    /// and nothing that may be wrong is written or sent any more.
    #[default]
    Abort,
    /// The loop ends with [`Ended::Broken`](crate::Ended::Broken); the process lives. For tests.
    End,
}

impl OnBroken {
    /// Carries it out; returns only if the process is to live.
    pub(crate) fn act(self, why: &str) {
        if self == Self::Abort {
            // On standard error too: whether a subscriber listens is not ours to know.
            eprintln!("dwcp: {why}; ending this process at once: it can't be sure that it is right");
            std::process::abort();
        }
    }
}

/// Lines of one kind that may be logged a second; more are only counted.
pub const LINES_PER_SECOND: u32 = 10;

/// Keeps a kind of line from filling the log.
#[derive(Debug, Default)]
pub(crate) struct Throttle(Mutex<BTreeMap<&'static str, Window>>);

#[derive(Debug)]
struct Window {
    since: Instant,
    lines: u32,
}

impl Throttle {
    /// Whether a line of this kind may be logged now.
    pub(crate) fn lets(&self, kind: &'static str) -> bool {
        let now = Instant::now();
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let window = kinds.entry(kind).or_insert(Window { since: now, lines: 0 });
        if now.duration_since(window.since).as_secs() >= 1 {
            *window = Window { since: now, lines: 0 };
        }
        window.lines += 1;
        if window.lines == LINES_PER_SECOND {
            tracing::warn!(kind, "more lines of this kind are left out for the rest of this second");
        }
        window.lines < LINES_PER_SECOND
    }
}

/// The watcher of a real node.
pub(crate) struct LogWatch {
    registry: Arc<Registry>,
    on_broken: OnBroken,
    throttle: Throttle,
}

impl LogWatch {
    pub(crate) fn new(registry: Arc<Registry>, on_broken: OnBroken) -> Self {
        Self { registry, on_broken, throttle: Throttle::default() }
    }
}

impl Watch for LogWatch {
    fn event(&self, event: &Event) {
        self.registry.event(event);
        // A refused request under overload must not cost more than an accepted one.
        if event.level() != Level::Error && !self.throttle.lets(event.name()) {
            return;
        }
        match event.level() {
            Level::Debug => tracing::debug!(event = event.name(), "{event}"),
            Level::Info => tracing::info!(event = event.name(), "{event}"),
            Level::Warn => tracing::warn!(event = event.name(), "{event}"),
            Level::Error => tracing::error!(event = event.name(), "{event}"),
        }
    }
    fn sometimes(&self, _: &'static str) {}
    fn buggify(&self, _: &'static str) -> bool {
        false
    }
    fn violated(&self, name: &'static str, detail: &dyn fmt::Display) {
        tracing::error!(invariant = name, "an invariant is broken: {detail}");
        self.on_broken.act(&format!("invariant {name} is broken: {detail}"));
        panic!("always {name}: {detail}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_leaves_the_others_their_lines() {
        let t = Throttle::default();
        let let_through = (0..1_000).filter(|_| t.lets("flood")).count();
        assert!(let_through < 2 * LINES_PER_SECOND as usize, "{let_through}");
        assert!(t.lets("other"));
    }
}
