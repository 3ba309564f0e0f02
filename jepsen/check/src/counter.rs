//! Counters: every read lies between what must and what can have been added.
//!
//! At a read, an addition acknowledged before the read was called is in; one called before
//! the read returned may be; one called later is not. So a read is wrong below the sum of
//! what is in and all negatives that may be, and above the sum of what is in and all
//! positives that may be. A final read, when nothing is open and nothing unknown, is exact.
//!
//! The bounds are necessary, not sufficient: two reads that contradict each other within
//! their bounds pass. Cost O(n log n).

use crate::linearizable::Operation;
use crate::mistake::{Mistake, planted};

/// What was done to the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CounterOp {
    /// An addition, acknowledged or pending; leave out what was refused.
    Add(i64),
    /// A read. Pending reads are ignored.
    Read(i64),
}

/// A read outside its bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfBounds {
    /// Index of the read.
    pub index: usize,
    /// What it saw.
    pub seen: i64,
    /// The least that it could have seen.
    pub least: i128,
    /// The most.
    pub most: i128,
}

/// Additions by the time that counts, with running sums of one sign.
struct Sums {
    times: Vec<u64>,
    sums: Vec<i128>,
}

impl Sums {
    fn of(mut list: Vec<(u64, i64)>) -> Self {
        list.sort_unstable();
        let mut sum = 0;
        let sums = list.iter().map(|(_, amount)| {
            sum += i128::from(*amount);
            sum
        });
        Self { sums: sums.collect(), times: list.into_iter().map(|(time, _)| time).collect() }
    }

    /// The sum of all with a time before `limit`, or at it if `also`.
    fn until(&self, limit: u64, also: bool) -> i128 {
        let counted = |time: &u64| *time < limit || also && *time == limit;
        match self.times.partition_point(counted) {
            0 => 0,
            count => self.sums[count - 1],
        }
    }
}

/// All reads outside their bounds, in the order given.
#[must_use]
pub fn check(operations: &[Operation<CounterOp>]) -> Vec<OutOfBounds> {
    let additions = |negative: bool, acknowledged: bool| {
        let select = move |operation: &Operation<CounterOp>| match operation.op {
            CounterOp::Add(amount) if (amount < 0) == negative => {
                let time = if acknowledged { operation.ret } else { operation.call };
                (!acknowledged || operation.returned()).then_some((time, amount))
            }
            CounterOp::Add(_) | CounterOp::Read(_) => None,
        };
        Sums::of(operations.iter().filter_map(select).collect())
    };
    let (gains_in, gains_may) = (additions(false, true), additions(false, false));
    let (losses_in, losses_may) = (additions(true, true), additions(true, false));
    let judge = |(index, operation): (usize, &Operation<CounterOp>)| {
        let CounterOp::Read(seen) = operation.op else {
            return None;
        };
        if !operation.returned() {
            return None;
        }
        let least = gains_in.until(operation.call, false) + losses_may.until(operation.ret, true);
        let most = gains_may.until(operation.ret, true) + losses_in.until(operation.call, false);
        let low = i128::from(seen) >= least || planted(Mistake::NoLowerBound);
        let inside = low && (i128::from(seen) <= most || planted(Mistake::NoUpperBound));
        (!inside).then_some(OutOfBounds { index, seen, least, most })
    };
    operations.iter().enumerate().filter_map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(list: &[(u64, u64, CounterOp)]) -> Vec<(i64, i128, i128)> {
        let operation = |&(call, ret, op): &(u64, u64, CounterOp)| Operation { process: 0, call, ret, op };
        let operations: Vec<_> = list.iter().map(operation).collect();
        let found = check(&operations);
        found.iter().map(|o| (o.seen, o.least, o.most)).collect()
    }

    #[test]
    fn reads_lie_within_bounds() {
        use CounterOp::{Add, Read};
        const PENDING: u64 = Operation::<()>::PENDING;
        assert_eq!(wrong(&[(0, 1, Read(0)), (2, 3, Read(1))]), [(1, 0, 0)]);
        assert_eq!(wrong(&[(0, 1, Add(5)), (2, 3, Read(5))]), []);
        assert_eq!(wrong(&[(0, 1, Add(5)), (2, 3, Read(4))]), [(4, 5, 5)]);
        // Open, and concurrent at equal instants: in or not.
        assert_eq!(wrong(&[(0, 2, Add(5)), (2, 3, Read(0)), (0, 0, Read(5))]), []);
        assert_eq!(wrong(&[(0, PENDING, Add(5)), (9, 9, Read(0)), (9, 9, Read(5))]), []);
        assert_eq!(wrong(&[(5, 6, Add(5)), (2, 3, Read(5))]), [(5, 0, 0)]);
        // Down as well as up.
        let mixed = [(0, 1, Add(5)), (0, 9, Add(-2)), (0, 9, Add(7)), (2, 3, Read(13)), (2, 3, Read(2))];
        assert_eq!(wrong(&mixed), [(13, 3, 12), (2, 3, 12)]);
        assert_eq!(wrong(&[(0, 1, Add(-2)), (2, 3, Read(0))]), [(0, -2, -2)]);
    }
}
