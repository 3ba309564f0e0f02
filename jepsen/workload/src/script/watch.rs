//! A watcher: sees every change after the last it saw, whichever node tells it.

use super::{Then, number_of};
use crate::Use;
use crate::ask::{Answer, Ask};
use crate::record::{Log, What};
use bytes::Bytes;
use dwcp_env::Instant;
use dwcp_store::api::{EventKind, OpError, Revision, WatchEvent};

/// A watcher of the whole workload.
#[derive(Debug)]
pub struct Watch {
    /// The first revision not told yet.
    next: Revision,
}

impl Default for Watch {
    /// From the store's beginning: a new store is at revision 1.
    fn default() -> Self {
        Self { next: 2 }
    }
}

impl Watch {
    pub(super) fn open(&self) -> Ask {
        let key = Bytes::from_static(Use::Watch.prefix().as_bytes());
        Ask::Watch { key, range_end: Use::Watch.range_end(), from: self.next, prev_kv: false }
    }

    pub(super) fn saw(&mut self, client: u32, at: Instant, events: &[WatchEvent], log: &mut Log) {
        // Only what was told counts: a node's revision may be ahead of what it has told.
        for event in events {
            let Some(key) = Use::Watch.number(&event.kv.key) else { continue };
            let value = match event.kind {
                EventKind::Put => number_of(&event.kv.value),
                EventKind::Delete => None,
            };
            log.saw(client, at, event.kv.mod_revision, What::Saw { key, value });
            self.next = self.next.max(event.kv.mod_revision + 1);
        }
    }

    /// A watch is answered in streams; a single answer is a refusal.
    pub(super) fn refused(&mut self, answer: Result<Answer, OpError>) -> Then {
        if let Err(OpError::Compacted { compact_revision }) = answer {
            self.next = self.next.max(compact_revision);
        }
        Then::fail()
    }
}
