//! Sets that only grow: each element's fate, from its addition to the last read.
//!
//! An element is *known* from the moment that its addition was acknowledged, or that the
//! first read that showed it returned, whichever is earlier. A read called later must show
//! it. One that does not is stale if a read called later still shows the element; if none
//! does, the element is lost.
//!
//! | fate | what was seen | wrong? |
//! |---|---|---|
//! | stable | every read called after it was known shows it | no |
//! | never read | acknowledged, and no read was called afterwards | no, but nothing was tested |
//! | stale | a later read lacks it, the last ones show it | only if reads must be linearizable |
//! | lost | known, and absent from every read from some point to the end | yes |
//! | unexpected | read, and never added, or added and refused | yes |
//!
//! Cost: each read costs its length plus the number of elements known.

use crate::history::Value;
use crate::linearizable::Operation;
use crate::mistake::{Mistake, planted};
use std::collections::{BTreeMap, BTreeSet};

/// What was done to the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SetOp {
    /// An addition (acknowledged or pending; leave out what was refused).
    Add(Value),
    /// A read of the whole. Pending reads are ignored.
    Read(Vec<Value>),
}

/// The fates of all elements, each list ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Additions asked for.
    pub attempted: usize,
    /// Additions acknowledged.
    pub acknowledged: usize,
    /// Shown by every read called after they were known, and by at least one.
    pub stable: usize,
    /// Of unknown outcome, and seen.
    pub recovered: Vec<Value>,
    /// Acknowledged, and never tested by a later read.
    pub never_read: Vec<Value>,
    /// Missing from some read and shown by a later one.
    pub stale: Vec<Value>,
    /// Missing to the end.
    pub lost: Vec<Value>,
    /// Never added.
    pub unexpected: Vec<Value>,
    /// Shown more than once by one read.
    pub duplicated: Vec<Value>,
}

impl Report {
    /// Whether nothing is lost, invented or doubled and, where reads must be
    /// `linearizable`, nothing stale.
    #[must_use]
    pub fn is_valid(&self, linearizable: bool) -> bool {
        let stale = linearizable && !self.stale.is_empty();
        self.lost.is_empty() && self.unexpected.is_empty() && self.duplicated.is_empty() && !stale
    }
}

#[derive(Default)]
struct Element {
    attempted: bool,
    acknowledged: bool,
    seen: bool,
    /// When it was certain to be in the set.
    known: Option<u64>,
    /// Calls of the last read that shows it and of the last that should and does not.
    shown: Option<u64>,
    missing: Option<u64>,
}

/// The fate of each element.
#[must_use]
pub fn check(operations: &[Operation<SetOp>]) -> Report {
    let mut report = Report::default();
    let mut elements: BTreeMap<Value, Element> = BTreeMap::new();
    let mut duplicated = BTreeSet::new();
    let mut reads: Vec<(u64, BTreeSet<Value>)> = Vec::new();
    for operation in operations {
        match &operation.op {
            SetOp::Add(value) => {
                let element = elements.entry(*value).or_default();
                element.attempted = true;
                report.attempted += 1;
                if operation.returned() {
                    report.acknowledged += 1;
                    element.acknowledged = true;
                    element.know(operation.ret);
                }
            }
            SetOp::Read(_) if !operation.returned() => {}
            SetOp::Read(list) => {
                let set: BTreeSet<Value> = list.iter().copied().collect();
                for value in &set {
                    let element = elements.entry(*value).or_default();
                    element.seen = true;
                    element.know(operation.ret);
                    element.shown = element.shown.max(Some(operation.call));
                }
                if set.len() < list.len() && !planted(Mistake::DoubledElementsPass) {
                    duplicated.extend(doubled(list));
                }
                reads.push((operation.call, set));
            }
        }
    }
    for (call, set) in &reads {
        for (value, element) in &mut elements {
            let due = element.known.is_some_and(|known| known < *call);
            if due && !set.contains(value) {
                element.missing = element.missing.max(Some(*call));
            }
        }
    }
    for (value, element) in elements {
        report.file(value, &element, reads.iter().map(|(call, _)| *call).max());
    }
    report.duplicated = duplicated.into_iter().collect();
    report
}

impl Element {
    fn know(&mut self, at: u64) {
        self.known = Some(self.known.map_or(at, |known| known.min(at)));
    }
}

impl Report {
    fn file(&mut self, value: Value, element: &Element, last_read: Option<u64>) {
        if !element.attempted {
            if !planted(Mistake::UnexpectedElementsPass) {
                self.unexpected.push(value);
            }
            return;
        }
        if element.seen && !element.acknowledged {
            self.recovered.push(value);
        }
        match element.missing {
            Some(missing) if element.shown.is_some_and(|shown| shown > missing) => {
                let passes = planted(Mistake::StaleIsStable);
                self.stale.extend((!passes).then_some(value));
            }
            Some(_) if planted(Mistake::LostIsNeverRead) => self.never_read.push(value),
            Some(_) => self.lost.push(value),
            None if element.seen => self.stable += 1,
            None if element.acknowledged => {
                debug_assert!(last_read <= element.known);
                self.never_read.push(value);
            }
            None => {}
        }
    }
}

fn doubled(list: &[Value]) -> Vec<Value> {
    let mut sorted = list.to_vec();
    sorted.sort_unstable();
    let pairs = sorted.windows(2).filter(|pair| pair[0] == pair[1]);
    pairs.map(|pair| pair[0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(value: Value, call: u64, ret: u64) -> Operation<SetOp> {
        Operation { process: 0, call, ret, op: SetOp::Add(value) }
    }

    fn read(list: &[Value], call: u64, ret: u64) -> Operation<SetOp> {
        Operation { process: 1, call, ret, op: SetOp::Read(list.to_vec()) }
    }

    #[test]
    fn each_fate() {
        const PENDING: u64 = Operation::<()>::PENDING;
        let report = check(&[
            add(1, 0, 1),       // stable
            add(2, 0, 1),       // stale
            add(3, 0, 1),       // lost, never seen
            add(4, 0, 1),       // lost after it was seen
            add(5, 0, PENDING), // recovered
            add(6, 0, PENDING), // never happened: no fault
            add(7, 50, 60),     // never read
            read(&[1, 4, 9, 9], 2, 3),
            read(&[1, 2, 5], 4, 5),
            read(&[1], 4, PENDING),
        ]);
        let expected = Report {
            attempted: 7,
            acknowledged: 5,
            stable: 2,
            recovered: vec![5],
            never_read: vec![7],
            stale: vec![2],
            lost: vec![3, 4],
            unexpected: vec![9],
            duplicated: vec![9],
        };
        assert_eq!(report, expected);
        assert!(!report.is_valid(false));
    }

    #[test]
    fn a_concurrent_read_may_lack_it() {
        let report = check(&[add(1, 0, 5), read(&[], 5, 9), read(&[1], 6, 7)]);
        assert!(report.is_valid(true), "{report:?}");
        let report = check(&[add(1, 0, 5), read(&[], 6, 9), read(&[1], 7, 8)]);
        assert!(report.is_valid(false) && !report.is_valid(true), "{report:?}");
    }
}
