//! What is measured of a sequence, and ours.

use crate::trace::Patch;
use dwcp_crdt::rga::Text;
use dwcp_crdt::{Dot, ReplicaIndex};

/// A sequence under test.
pub(crate) trait Peer: Sized {
    const NAME: &'static str;
    /// Its replay takes seconds: once is enough.
    const SLOW: bool = false;
    fn new() -> Self;
    fn edit(&mut self, patch: &Patch);
    /// Ends whatever is open.
    fn finish(&mut self) {}
    /// The text, or `None` if it keeps none.
    fn text(&self) -> Option<String>;
    fn save(&mut self) -> Vec<u8>;
    fn load(bytes: &[u8]) -> Self;
}

/// Ours.
pub(crate) struct Ours {
    text: Text,
    deletes: u64,
}

impl Peer for Ours {
    const NAME: &'static str = "dwcp";
    fn new() -> Self {
        Self { text: Text::new(), deletes: 0 }
    }
    fn edit(&mut self, patch: &Patch) {
        let replica = ReplicaIndex(1);
        if patch.gone > 0 {
            self.deletes += 1;
            let by = Dot::new(replica, self.deletes);
            self.text.delete(by, patch.at..patch.at + patch.gone).expect("in range");
        }
        if !patch.new.is_empty() {
            let first = self.text.next(replica);
            self.text.insert(first, patch.at, &patch.new).expect("in range");
        }
    }
    fn text(&self) -> Option<String> {
        Some(self.text.content())
    }
    fn save(&mut self) -> Vec<u8> {
        self.text.encode()
    }
    fn load(bytes: &[u8]) -> Self {
        Self { text: Text::decode(bytes).expect("own bytes"), deletes: 0 }
    }
}

/// Ours when all deletions are stable everywhere and purged.
pub(crate) struct Purged(Ours);

impl Peer for Purged {
    const NAME: &'static str = "dwcp, purged";
    fn new() -> Self {
        Self(Ours::new())
    }
    fn edit(&mut self, patch: &Patch) {
        self.0.edit(patch);
    }
    fn finish(&mut self) {
        let line = self.0.text.deleted().clone();
        self.0.text.purge(&line);
    }
    fn text(&self) -> Option<String> {
        self.0.text()
    }
    fn save(&mut self) -> Vec<u8> {
        self.0.save()
    }
    fn load(bytes: &[u8]) -> Self {
        Self(Ours::load(bytes))
    }
}
