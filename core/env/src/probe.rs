//! Probes: what a node says about itself to whoever watches.
//!
//! | probe | says | simulation | production |
//! |---|---|---|---|
//! | [`Probe::always`] | this must hold here | a violation with the run's seed | stops the node |
//! | [`Probe::sometimes`] | this hard path was taken | a scenario can demand it | nothing |
//! | [`Probe::reachable`] | as `sometimes`, without a condition | same | nothing |
//! | [`Probe::buggify`] | may I misbehave here, within the contract? | drawn from the seed | never |
//! | [`Probe::event`] | something happened | part of the trace | logs, metrics |
//!
//! `buggify` (FoundationDB) widens what the simulator can reach: a timer that fires early, a
//! batch cut to one. It never breaks a promise; faults are the simulator's business.
//!
//! The handle is passed, not global: a global would mix the nodes of a simulation, and the
//! runs of a sweep.

use crate::event::Event;
use alloc::sync::Arc;
use core::fmt;

/// Whoever watches: the simulator, or the log and metrics of a real node.
pub trait Watch: core::marker::Send + Sync {
    /// Something happened.
    fn event(&self, event: &Event);
    /// A hard path was taken.
    fn sometimes(&self, name: &'static str);
    /// Whether the code may misbehave here.
    fn buggify(&self, name: &'static str) -> bool;
    /// An invariant of ours is broken. Need not return.
    fn violated(&self, name: &'static str, detail: &dyn fmt::Display);
}

/// A node's line to its watcher.
#[derive(Clone)]
pub struct Probe(Arc<dyn Watch>);

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Probe")
    }
}

impl Probe {
    /// A line to `watch`.
    #[must_use]
    pub fn new(watch: Arc<dyn Watch>) -> Self {
        Self(watch)
    }
    /// A line nobody listens to, for tests and tools. Violations still stop the program.
    #[must_use]
    pub fn silent() -> Self {
        struct Silent;
        impl Watch for Silent {
            fn event(&self, _: &Event) {}
            fn sometimes(&self, _: &'static str) {}
            fn buggify(&self, _: &'static str) -> bool {
                false
            }
            fn violated(&self, name: &'static str, detail: &dyn fmt::Display) {
                panic!("always {name}: {detail}");
            }
        }
        Self(Arc::new(Silent))
    }
    /// States an invariant: `detail` is made only if it is broken.
    pub fn always<D: fmt::Display>(&self, name: &'static str, holds: bool, detail: impl FnOnce() -> D) {
        if !holds {
            self.0.violated(name, &detail());
        }
    }
    /// Marks a hard path when `taken`.
    pub fn sometimes(&self, name: &'static str, taken: bool) {
        if taken {
            self.0.sometimes(name);
        }
    }
    /// Marks that this line was reached.
    pub fn reachable(&self, name: &'static str) {
        self.0.sometimes(name);
    }
    /// Whether to misbehave here, within the contract.
    #[must_use]
    pub fn buggify(&self, name: &'static str) -> bool {
        self.0.buggify(name)
    }
    /// Tells what happened.
    pub fn event(&self, event: &Event) {
        self.0.event(event);
    }
}
