//! Standard output: one thread writes lines, in the order they were said.
//!
//! Nobody waits for it. At most [`LINES_MAX`] lines wait; one more is lost, which is what a network may do:
//! a peer's frame is sent again, and a client that hears nothing knows that nothing is known.

use super::protocol::{Body, Message};
use serde_json::Value;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// Lines that may wait.
const LINES_MAX: usize = 16_384;

/// Where lines go. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<String>,
    name: Arc<OnceLock<String>>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the writer; `closed` is told when nobody reads any more.
    pub(super) fn start(closed: Arc<Notify>) -> std::io::Result<Self> {
        let (queue, lines) = sync_channel(LINES_MAX);
        let write = move || {
            if let Err(e) = write_all(&lines) {
                tracing::error!("standard output can't be written to: {e}");
            }
            closed.notify_one();
        };
        std::thread::Builder::new().name("dwcp-stdout".into()).spawn(write)?;
        Ok(Self { queue, name: Arc::default(), lost: Arc::default() })
    }

    /// From now on messages are sent in this name.
    pub(super) fn speak_as(&self, name: &str) {
        let _named_before = self.name.set(name.into());
    }

    /// Says something; lost if too much waits.
    pub(super) fn say(&self, dest: &str, body: Body) {
        let src = self.name.get().cloned().unwrap_or_default();
        let message = Message { src, dest: dest.into(), body };
        let Ok(line) = serde_json::to_string(&message) else { return };
        if let Err(TrySendError::Full(_)) = self.queue.try_send(line) {
            let lost = self.lost.fetch_add(1, Ordering::Relaxed) + 1;
            if lost.is_power_of_two() {
                tracing::warn!(lost, "standard output is not read fast enough: messages are lost");
            }
        }
    }

    /// Says something that has no answer.
    pub(super) fn tell(
        &self,
        dest: &str,
        kind: &str,
        fields: impl IntoIterator<Item = (&'static str, Value)>,
    ) {
        let mut body: Body = fields.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        body.insert("type".into(), kind.into());
        self.say(dest, body);
    }
}

#[allow(clippy::disallowed_methods)] // That nobody reads is told to the node here, which then ends well.
fn write_all(lines: &Receiver<String>) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
    while let Ok(line) = lines.recv() {
        let mut next = Some(line);
        while let Some(line) = next {
            out.write_all(line.as_bytes())?;
            out.write_all(b"\n")?;
            next = lines.try_recv().ok();
        }
        out.flush()?;
    }
    Ok(())
}
