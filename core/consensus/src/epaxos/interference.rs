//! Which instances touch what: those not executed exactly, those executed by their highest number.
//!
//! A new command must depend on every earlier one it interferes with. Sets of instances are prefixes of
//! each replica's numbers ([`Deps`]), so the highest number by replica says it all, and of executed
//! instances nothing else need be kept: the memory is bounded by buckets times replicas, for ever,
//! without forgetting anything. Validation ([`super::recovery`]) needs more: whether an interfering
//! command *outside* a given set exists; for executed ones that again is a question to the maximum,
//! exact because blanks never enter it.

use super::config::{Access, Touch};
use super::message::{Deps, InstanceId};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Executed instances, by what they touch: highest numbers by replica.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub(super) struct Done {
    /// Of all that touch anything.
    any: Vec<u64>,
    /// Of those that touch everything.
    all: Vec<u64>,
    reads: BTreeMap<u32, Vec<u64>>,
    writes: BTreeMap<u32, Vec<u64>>,
}

fn raise(maxima: &mut [u64], id: InstanceId) {
    maxima[id.at()] = maxima[id.at()].max(id.number);
}

fn join(a: &mut [u64], b: &[u64]) {
    a.iter_mut().zip(b).for_each(|(a, b)| *a = (*a).max(*b));
}

impl Done {
    pub(super) fn none(n: usize) -> Self {
        Self { any: vec![0; n], all: vec![0; n], reads: BTreeMap::new(), writes: BTreeMap::new() }
    }
    pub(super) fn sound(&self, n: usize) -> bool {
        let mut vectors = self.reads.values().chain(self.writes.values()).chain([&self.any, &self.all]);
        vectors.all(|v| v.len() == n)
    }
    pub(super) fn insert(&mut self, id: InstanceId, touch: &Touch) {
        let n = self.any.len();
        match touch {
            Touch::Nothing => return,
            Touch::All => raise(&mut self.all, id),
            Touch::Buckets(buckets) => {
                for (bucket, access) in buckets {
                    let side = if *access == Access::Read { &mut self.reads } else { &mut self.writes };
                    raise(side.entry(*bucket).or_insert_with(|| vec![0; n]), id);
                }
            }
        }
        raise(&mut self.any, id);
    }
    /// The highest numbers that interfere with what touches this.
    pub(super) fn highest(&self, touch: &Touch) -> Vec<u64> {
        let mut highest = vec![0; self.any.len()];
        match touch {
            Touch::Nothing => {}
            Touch::All => join(&mut highest, &self.any),
            Touch::Buckets(buckets) => {
                join(&mut highest, &self.all);
                for (bucket, access) in buckets {
                    self.writes.get(bucket).into_iter().for_each(|w| join(&mut highest, w));
                    if *access == Access::Write {
                        self.reads.get(bucket).into_iter().for_each(|r| join(&mut highest, r));
                    }
                }
            }
        }
        highest
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Bucket {
    reads: BTreeSet<InstanceId>,
    writes: BTreeSet<InstanceId>,
}

/// Known instances that are not executed, by what they touch.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Live {
    any: BTreeSet<InstanceId>,
    all: BTreeSet<InstanceId>,
    /// What was decided as nothing: a dependency of all that comes, and in nobody's way.
    nothing: BTreeSet<InstanceId>,
    buckets: BTreeMap<u32, Bucket>,
}

impl Live {
    pub(super) fn insert(&mut self, id: InstanceId, touch: &Touch) {
        match touch {
            Touch::Nothing => return,
            Touch::All => {
                self.all.insert(id);
            }
            Touch::Buckets(buckets) => {
                for (bucket, access) in buckets {
                    let bucket = self.buckets.entry(*bucket).or_default();
                    if *access == Access::Read { &mut bucket.reads } else { &mut bucket.writes }.insert(id);
                }
            }
        }
        self.any.insert(id);
    }
    /// It was decided as nothing.
    pub(super) fn give_up(&mut self, id: InstanceId) {
        self.nothing.insert(id);
    }
    pub(super) fn remove(&mut self, id: InstanceId, touch: &Touch) {
        self.any.remove(&id);
        self.nothing.remove(&id);
        match touch {
            Touch::Nothing => {}
            Touch::All => {
                self.all.remove(&id);
            }
            Touch::Buckets(buckets) => {
                for (number, _) in buckets {
                    if let Some(bucket) = self.buckets.get_mut(number) {
                        bucket.reads.remove(&id);
                        bucket.writes.remove(&id);
                        if bucket.reads.is_empty() && bucket.writes.is_empty() {
                            self.buckets.remove(number);
                        }
                    }
                }
            }
        }
    }
    /// The sets in which those lie that interfere with what touches this; an instance may lie in several.
    fn sets(&self, touch: &Touch) -> Vec<&BTreeSet<InstanceId>> {
        match touch {
            Touch::Nothing => Vec::new(),
            Touch::All => vec![&self.any],
            Touch::Buckets(buckets) => {
                let mut sets = vec![&self.all];
                for (number, access) in buckets {
                    if let Some(bucket) = self.buckets.get(number) {
                        sets.push(&bucket.writes);
                        if *access == Access::Write {
                            sets.push(&bucket.reads);
                        }
                    }
                }
                sets
            }
        }
    }
    /// How many interfere with what touches this, at the most.
    pub(super) fn crowd(&self, touch: &Touch) -> usize {
        let Touch::Buckets(buckets) = touch else {
            return if *touch == Touch::All { self.any.len() } else { 0 };
        };
        let most =
            buckets.iter().filter_map(|(b, _)| self.buckets.get(b)).map(|b| b.reads.len() + b.writes.len());
        self.all.len() + most.max().unwrap_or(0)
    }
    /// Raises `highest` to the highest numbers that interfere with what touches this, `id` and the later ones of
    /// its replica left out: those depend on it, not it on them.
    pub(super) fn raise(&self, id: InstanceId, touch: &Touch, highest: &mut [u64]) {
        let nothing = Some(&self.nothing).filter(|_| *touch != Touch::Nothing);
        for set in self.sets(touch).into_iter().chain(nothing) {
            for (replica, highest) in highest.iter_mut().enumerate() {
                let below = if replica == id.at() { id.number } else { u64::MAX };
                let range = InstanceId::new(replica as u8, *highest)..InstanceId::new(replica as u8, below);
                if *highest < below
                    && let Some(last) = set.range(range).next_back()
                {
                    *highest = (*highest).max(last.number);
                }
            }
        }
    }
    /// Of those inside `deps` as many as are needed to reach all: of each replica's writes of a bucket the last,
    /// which depends on the earlier ones outright (a replica's own commands know each other), and its reads since.
    pub(super) fn edges(&self, touch: &Touch, deps: &Deps) -> Vec<InstanceId> {
        let mut edges = Vec::new();
        for (replica, to) in deps.0.iter().enumerate() {
            let upto = |set: &BTreeSet<InstanceId>, from: u64| -> Vec<InstanceId> {
                let range = InstanceId::new(replica as u8, from)..=InstanceId::new(replica as u8, *to);
                if from <= *to { set.range(range).copied().collect() } else { Vec::new() }
            };
            let last = |set: &BTreeSet<InstanceId>| -> Option<InstanceId> {
                let range = InstanceId::new(replica as u8, 0)..=InstanceId::new(replica as u8, *to);
                set.range(range).next_back().copied()
            };
            let all = last(&self.all);
            edges.extend(all);
            match touch {
                Touch::Nothing => edges.clear(),
                Touch::All => edges.extend(upto(&self.any, all.map_or(0, |a| a.number) + 1)),
                Touch::Buckets(buckets) => {
                    for (number, access) in buckets {
                        let Some(bucket) = self.buckets.get(number) else { continue };
                        let write = last(&bucket.writes);
                        edges.extend(write);
                        if *access == Access::Write {
                            edges.extend(upto(&bucket.reads, write.map_or(0, |w| w.number) + 1));
                        }
                    }
                }
            }
        }
        edges.sort_unstable();
        edges.dedup();
        edges
    }
    /// Those outside `deps`, sorted.
    pub(super) fn outside(&self, touch: &Touch, deps: &Deps) -> Vec<InstanceId> {
        let mut found = Vec::new();
        for set in self.sets(touch) {
            for (replica, to) in deps.0.iter().enumerate() {
                let replica = replica as u8;
                found.extend(set.range(InstanceId::new(replica, to + 1)..InstanceId::new(replica, u64::MAX)));
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Access::{Read, Write};

    fn on(bucket: u32, access: Access) -> Touch {
        Touch::Buckets(vec![(bucket, access)])
    }

    #[test]
    fn reads_commute_and_everything_else_on_a_key_does_not() {
        let mut live = Live::default();
        let (r, w, all) = (InstanceId::new(0, 1), InstanceId::new(1, 1), InstanceId::new(2, 1));
        live.insert(r, &on(7, Read));
        live.insert(w, &on(7, Write));
        let none = Deps::none(3);
        assert_eq!(live.outside(&on(7, Read), &none), [w]);
        assert_eq!(live.outside(&on(7, Write), &none), [r, w]);
        assert_eq!(live.outside(&on(8, Write), &none), []);
        live.insert(all, &Touch::All);
        assert_eq!(live.outside(&on(8, Read), &none), [all]);
        assert_eq!(live.outside(&Touch::All, &Deps(vec![1, 0, 0])), [w, all]);
        assert_eq!(live.edges(&Touch::All, &Deps(vec![1, 0, 0])), [r]);
        assert_eq!(live.crowd(&on(7, Write)), 3);
        live.remove(w, &on(7, Write));
        assert_eq!(live.outside(&on(7, Read), &none), [all]);
    }

    #[test]
    fn an_instance_depends_on_earlier_ones_of_its_replica_only() {
        let mut live = Live::default();
        [1, 2, 4].iter().for_each(|n| live.insert(InstanceId::new(0, *n), &on(7, Write)));
        let mut highest = vec![0, 0];
        live.raise(InstanceId::new(0, 3), &on(7, Write), &mut highest);
        assert_eq!(highest, [2, 0]);
        live.raise(InstanceId::new(1, 1), &on(7, Write), &mut highest);
        assert_eq!(highest, [4, 0]);
    }

    #[test]
    fn edges_reach_everything_through_the_last_write_of_each_replica() {
        let mut live = Live::default();
        let id = |n| InstanceId::new(0, n);
        for (n, access) in [(1, Read), (2, Write), (3, Write), (4, Read), (5, Read)] {
            live.insert(id(n), &on(7, access));
        }
        live.insert(id(6), &Touch::All);
        let upto = |n| Deps(vec![n, 0]);
        assert_eq!(live.edges(&on(7, Write), &upto(5)), [id(3), id(4), id(5)]);
        assert_eq!(live.edges(&on(7, Write), &upto(2)), [id(2)]);
        assert_eq!(live.edges(&on(7, Read), &upto(5)), [id(3)]);
        assert_eq!(live.edges(&on(8, Read), &upto(6)), [id(6)]);
        assert_eq!(live.edges(&Touch::All, &upto(5)), [id(1), id(2), id(3), id(4), id(5)]);
        assert_eq!(live.edges(&Touch::All, &upto(6)), [id(6)]);
        assert_eq!(live.edges(&Touch::Nothing, &upto(6)), []);
    }

    #[test]
    fn what_is_executed_is_found_by_its_highest_number() {
        let mut done = Done::none(2);
        done.insert(InstanceId::new(0, 3), &on(7, Write));
        done.insert(InstanceId::new(0, 5), &on(7, Read));
        done.insert(InstanceId::new(1, 9), &Touch::All);
        done.insert(InstanceId::new(1, 10), &Touch::Nothing);
        assert_eq!(done.highest(&on(7, Read)), [3, 9]);
        assert_eq!(done.highest(&on(7, Write)), [5, 9]);
        assert_eq!(done.highest(&on(8, Write)), [0, 9]);
        assert_eq!(done.highest(&Touch::All), [5, 9]);
        assert_eq!(done.highest(&Touch::Nothing), [0, 0]);
    }
}
