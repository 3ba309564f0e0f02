//! What the door measures: how often each command was asked, and how long what it came with took.
//!
//! A command's time runs from when what the client had sent was taken up to when all replies to it were written out: what a
//! client of a pipeline waits for, not what the command alone costs. A command that was never asked has no figure.

use super::table::TABLE;
use dwcp_runtime_real::Registry;
use dwcp_runtime_real::metrics::Histogram;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

const NAME: &str = "dwcp_redis_command_seconds";
const HELP: &str = "How long Redis' clients waited for a command's reply, by command.";

/// Histograms by the commands' places in the table; the last is for words that are none.
pub(super) struct Meter {
    registry: Arc<Registry>,
    commands: Box<[OnceLock<Histogram>]>,
}

/// The place of what is no command.
pub(super) const UNKNOWN: usize = TABLE.len();

impl Meter {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, commands: (0..=UNKNOWN).map(|_| OnceLock::new()).collect() }
    }
    /// Notes that a command was asked `times`, and answered after this.
    pub(super) fn record(&self, place: usize, took: Duration, times: u64) {
        let Some(cell) = self.commands.get(place) else { return };
        let histogram = cell.get_or_init(|| {
            let name = TABLE.get(place).map_or("unknown", |e| e.name);
            self.registry.histogram(NAME, HELP, &[("command", name)])
        });
        histogram.record_many(took, times);
    }
    /// The commands that were asked: name, how often, how long all together.
    pub(super) fn asked(&self) -> impl Iterator<Item = (&'static str, u64, Duration)> {
        self.commands.iter().enumerate().filter_map(|(place, cell)| {
            let (times, took) = cell.get()?.total();
            Some((TABLE.get(place).map_or("unknown", |e| e.name), times, took))
        })
    }
}
