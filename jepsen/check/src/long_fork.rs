//! Long fork: two readers see two independent writes in opposite orders.
//!
//! Every key is written once; keys come in groups, and a read reads a whole group. Under
//! snapshot isolation (and any stronger level) snapshots are ordered, so of two reads of one
//! group one must show everything that the other shows. Cost: reads of a group squared at
//! the very worst; reads that show the same count once.

use crate::history::Value;
use crate::mistake::{Mistake, planted};
use std::collections::BTreeMap;

/// One read of a group: each key, and what it showed.
pub type Snapshot = BTreeMap<Value, Option<Value>>;

/// Two reads of which neither can be older.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// Places of the two reads in the caller's list.
    pub reads: [usize; 2],
    /// A key that only the first shows, and one that only the second shows.
    pub keys: [Value; 2],
}

/// All forks, at most one a pair of different snapshots, and at most 16.
#[must_use]
pub fn check(reads: &[Snapshot]) -> Vec<Fork> {
    let mut groups: BTreeMap<Vec<Value>, BTreeMap<Vec<bool>, usize>> = BTreeMap::new();
    for (at, read) in reads.iter().enumerate() {
        let keys: Vec<Value> = read.keys().copied().collect();
        let shown: Vec<bool> = read.values().map(Option::is_some).collect();
        groups.entry(keys).or_default().entry(shown).or_insert(at);
    }
    let mut forks = Vec::new();
    for (keys, snapshots) in &groups {
        let list: Vec<(&Vec<bool>, usize)> = snapshots.iter().map(|(shown, at)| (shown, *at)).collect();
        for (n, (a, first)) in list.iter().enumerate() {
            for (b, second) in &list[n + 1..] {
                let only = |a: &[bool], b: &[bool]| a.iter().zip(b).position(|(a, b)| *a && !*b);
                if let (Some(x), Some(y)) = (only(a, b), only(b, a))
                    && forks.len() < 16
                    && !planted(Mistake::ForksPass)
                {
                    forks.push(Fork { reads: [*first, *second], keys: [keys[x], keys[y]] });
                }
            }
        }
    }
    forks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(shown: &[(Value, bool)]) -> Snapshot {
        shown.iter().map(|(key, seen)| (*key, seen.then_some(1))).collect()
    }

    #[test]
    fn snapshots_must_be_ordered() {
        let ordered = [
            read(&[(0, false), (1, false)]),
            read(&[(0, true), (1, false)]),
            read(&[(0, true), (1, true)]),
            // Another group is another matter.
            read(&[(2, false), (3, true)]),
        ];
        assert_eq!(check(&ordered), []);
        let forked = [read(&[(0, true), (1, false)]), read(&[(0, false), (1, true)])];
        // The snapshots are compared in their own order, not in that of the reads.
        assert_eq!(check(&forked), [Fork { reads: [1, 0], keys: [1, 0] }]);
    }
}
