//! When names are to go, by whose word.
//!
//! A deadline is removed by its owner's operation only, so the others keep what has passed until that comes: for hours, if the
//! owner's region is away. Each owner's lie apart: who looks for its own does not walk over theirs.

use crate::dot::{Dot, ReplicaIndex};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// A time in milliseconds, by which operation, of which names.
type Deadline = (u64, Dot, Vec<Vec<u8>>);

/// All deadlines, by who set them; no entry is empty.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines(BTreeMap<ReplicaIndex, BTreeSet<Deadline>>);

impl Deadlines {
    pub(super) fn insert(&mut self, deadline: Deadline) {
        self.0.entry(deadline.1.replica()).or_default().insert(deadline);
    }
    pub(super) fn remove(&mut self, deadline: &Deadline) {
        let maker = deadline.1.replica();
        if let Some(of) = self.0.get_mut(&maker) {
            of.remove(deadline);
            if of.is_empty() {
                self.0.remove(&maker);
            }
        }
    }
    /// Those set by whom `ours` says, each maker's in order.
    pub(super) fn of(
        &self,
        ours: impl Fn(ReplicaIndex) -> bool,
    ) -> impl Iterator<Item = &BTreeSet<Deadline>> {
        self.0.iter().filter(move |(r, _)| ours(**r)).map(|(_, all)| all)
    }
}
