//! Whoever watches a real node: events become log lines and counters, a broken invariant the
//! end of the process.

use crate::metrics::Registry;
use dwcp_env::Event;
use dwcp_env::event::Level;
use dwcp_env::probe::Watch;
use std::fmt;
use std::sync::Arc;

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
    pub(crate) fn act(self) {
        if self == Self::Abort {
            tracing::error!("ending this process at once: it can't be sure that it is right");
            std::process::abort();
        }
    }
}

/// The watcher of a real node.
pub(crate) struct LogWatch {
    pub(crate) registry: Arc<Registry>,
    pub(crate) on_broken: OnBroken,
}

impl Watch for LogWatch {
    fn event(&self, event: &Event) {
        self.registry.event(event);
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
        self.on_broken.act();
        panic!("always {name}: {detail}");
    }
}
