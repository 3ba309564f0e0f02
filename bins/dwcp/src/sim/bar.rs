//! How far a long command is, on standard error where a person watches.

use dwcp_scenarios::sweep::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::time::Duration;

/// A bar while the length of the work is known, a line of words while it is not.
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Draws nothing unless standard error is a terminal.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        bar.set_style(words());
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }
    /// So many of so many.
    pub(super) fn of(&self, done: u64, of: Option<u64>, text: &str) {
        if self.0.length() != of
            && let Some(n) = of
        {
            self.0.set_length(n);
            self.0.set_style(measured());
        }
        self.0.set_position(done);
        self.0.set_message(text.to_owned());
    }
    pub(super) fn sweep(&self, p: &Progress) {
        let runs = if p.of.is_none() { format!("{} runs, ", p.done) } else { String::new() };
        self.of(p.done, p.of, &format!("{runs}{} failed, {} simulated", p.failed, p.simulated));
    }
    pub(super) fn say(&self, text: &str) {
        self.0.set_message(text.to_owned());
    }
    /// Prints while the bar is out of the way.
    pub(super) fn aside(&self, print: impl FnOnce()) {
        self.0.suspend(print);
    }
    pub(super) fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// Both templates are fixed texts, which a test parses.
fn words() -> ProgressStyle {
    style("{spinner} {elapsed_precise} {msg}")
}
fn measured() -> ProgressStyle {
    style("{elapsed_precise} {bar:32} {pos}/{len} eta {eta} {msg}")
}
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in
            ["{spinner} {elapsed_precise} {msg}", "{elapsed_precise} {bar:32} {pos}/{len} eta {eta} {msg}"]
        {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }
}
