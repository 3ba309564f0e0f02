//! Whether a converged replica of an eventual keyspace holds what clients were told.
//!
//! | of | must hold at the end |
//! |---|---|
//! | a set | an element whose addition was acknowledged and that nobody removed is there; one that was seen and removed, or whose addition certainly failed, is not |
//! | a counter | at least the sum of what was acknowledged, at most that and what may have been done |
//! | a register | a value that somebody wrote; some value, if any write was acknowledged |
//! | a map | each field whose write was acknowledged |
//!
//! That replicas agree is for `eventual_converged` to say; one of them stands for all here.

use crate::judge::Broken;
use crate::record::{Deed, Log, Outcome, Record, What};
use crate::script::written;
use std::collections::BTreeMap;

/// What a replica holds.
pub trait Holds {
    /// Whether a set has an element.
    fn contains(&self, set: u64, element: u64) -> bool;
    /// A counter's total; nothing if there is none.
    fn total(&self, counter: u64) -> Option<i128>;
    /// A register's value as it is shown.
    fn value(&self, register: u64) -> Option<Vec<u8>>;
    /// Whether a map has a field.
    fn field(&self, map: u64, field: u64) -> bool;
}

#[derive(Default)]
struct Sum {
    least: u128,
    most: u128,
}

/// Judges a log against a replica: how many acknowledged writes are lost, and the first thing that is wrong.
///
/// `may_be_lost`: acknowledged writes that were no promise, for they were answered ahead of the disk right before a
/// crash. They count as writes of which nobody knows.
#[must_use]
pub fn eventual(log: &Log, held: &dyn Holds, may_be_lost: &dyn Fn(&Record) -> bool) -> (u64, Option<Broken>) {
    let promised = |r: &Record| r.outcome == Outcome::Ok && !may_be_lost(r);
    let mut lost = 0;
    let mut first: Option<Broken> = None;
    let mut wrong = |record: &Record, acknowledged: bool, detail: String| {
        lost += u64::from(acknowledged);
        first.get_or_insert_with(|| Broken::by(record, detail));
    };
    let mut removed: BTreeMap<(u64, u64), (&Record, bool)> = BTreeMap::new();
    let mut sums: BTreeMap<u64, (Sum, &Record)> = BTreeMap::new();
    let mut registers: BTreeMap<u64, (Vec<u64>, Option<&Record>)> = BTreeMap::new();
    for (record, deed) in deeds(log) {
        if let Deed::Remove { key, element, seen } = deed
            && record.outcome != Outcome::Fail
        {
            removed.insert((key, element), (record, promised(record) && seen));
        }
    }
    for (record, deed) in deeds(log) {
        let (ok, fail) = (promised(record), record.outcome == Outcome::Fail);
        match deed {
            Deed::Add { key, element } => {
                let there = held.contains(key, element);
                match removed.get(&(key, element)) {
                    None if ok && !there => {
                        wrong(
                            record,
                            true,
                            format!("element {element} of set {key} was acknowledged and is not there"),
                        );
                    }
                    Some((gone, true)) if there => {
                        wrong(
                            gone,
                            true,
                            format!("element {element} of set {key} was removed and is there again"),
                        );
                    }
                    _ if fail && there => {
                        wrong(
                            record,
                            false,
                            format!("element {element} of set {key} was refused and is there"),
                        );
                    }
                    _ => {}
                }
            }
            Deed::Count { key, by } => {
                let sum = &mut sums.entry(key).or_insert_with(|| (Sum::default(), record)).0;
                sum.least += u128::from(by) * u128::from(ok);
                sum.most += u128::from(by) * u128::from(!fail);
            }
            Deed::Write { key, value } if !fail => {
                let (values, acknowledged) = registers.entry(key).or_default();
                values.push(value);
                if ok {
                    *acknowledged = Some(record);
                }
            }
            Deed::Field { key, field } => {
                let there = held.field(key, field);
                if ok && !there {
                    wrong(
                        record,
                        true,
                        format!("field {field} of map {key} was acknowledged and is not there"),
                    );
                } else if fail && there {
                    wrong(record, false, format!("field {field} of map {key} was refused and is there"));
                }
            }
            Deed::Write { .. } | Deed::Remove { .. } | Deed::Read { .. } => {}
        }
    }
    for (key, (sum, record)) in sums {
        let total = u128::try_from(held.total(key).unwrap_or(0)).unwrap_or(0);
        if total < sum.least || total > sum.most {
            let (least, most) = (sum.least, sum.most);
            wrong(
                record,
                total < least,
                format!("counter {key} is {total}; {least} were acknowledged, {most} asked for"),
            );
        }
    }
    for (key, (values, acknowledged)) in registers {
        let shown = held.value(key);
        match (shown.as_deref().map(written), acknowledged) {
            (None, Some(record)) => {
                wrong(record, true, format!("register {key} was written, and is not there"));
            }
            (Some(value), Some(record)) if value.is_none_or(|v| !values.contains(&v)) => {
                wrong(record, true, format!("register {key} holds {shown:?}, which nobody wrote"));
            }
            _ => {}
        }
    }
    (lost, first)
}

fn deeds(log: &Log) -> impl Iterator<Item = (&Record, Deed)> {
    log.records.iter().filter_map(|r| match r.what {
        What::Eventual(deed) => Some((r, deed)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_env::Instant;
    use std::collections::BTreeSet;

    #[derive(Default)]
    struct State {
        elements: BTreeSet<(u64, u64)>,
        totals: BTreeMap<u64, i128>,
        values: BTreeMap<u64, u64>,
        fields: BTreeSet<(u64, u64)>,
    }

    impl Holds for State {
        fn contains(&self, set: u64, element: u64) -> bool {
            self.elements.contains(&(set, element))
        }
        fn total(&self, counter: u64) -> Option<i128> {
            self.totals.get(&counter).copied()
        }
        fn value(&self, register: u64) -> Option<Vec<u8>> {
            self.values.get(&register).map(|v| v.to_be_bytes().to_vec())
        }
        fn field(&self, map: u64, field: u64) -> bool {
            self.fields.contains(&(map, field))
        }
    }

    fn log(deeds: &[(Deed, Outcome)]) -> Log {
        let mut log = Log::default();
        for (deed, outcome) in deeds {
            let r = log.begin(0, 0, Instant::ZERO, What::Eventual(*deed));
            log.end(r, Instant::ZERO, *outcome, 0);
        }
        log
    }

    #[test]
    fn each_kind_of_loss_is_seen() {
        let state = State {
            elements: BTreeSet::from([(1, 10), (1, 11)]),
            totals: BTreeMap::from([(1, 5)]),
            values: BTreeMap::from([(1, 77)]),
            fields: BTreeSet::from([(1, 9)]),
        };
        let add = |element| Deed::Add { key: 1, element };
        let remove = |element, seen| Deed::Remove { key: 1, element, seen };
        let count = |by| Deed::Count { key: 1, by };
        let write = |value| Deed::Write { key: 1, value };
        let field = |field| Deed::Field { key: 1, field };
        let (ok, fail, info) = (Outcome::Ok, Outcome::Fail, Outcome::Info);
        type Told = [(Deed, Outcome)];
        let table: &[(&Told, Option<u64>)] = &[
            (&[(add(10), ok), (add(11), info), (add(12), info), (add(13), fail)], None),
            (&[(add(14), ok)], Some(1)),
            (&[(add(10), fail)], Some(0)),
            (&[(add(14), ok), (remove(14, true), info)], None),
            (&[(add(14), ok), (remove(14, false), ok)], None),
            (&[(add(10), ok), (remove(10, true), ok)], Some(1)),
            (&[(count(3), ok), (count(2), info), (count(9), fail)], None),
            (&[(count(6), ok)], Some(1)),
            (&[(count(4), ok)], Some(0)),
            (&[(write(77), info), (write(1), ok)], None),
            (&[(write(1), ok)], Some(1)),
            (&[(field(9), ok), (field(8), info)], None),
            (&[(field(8), ok)], Some(1)),
        ];
        for (deeds, want) in table {
            let (lost, broken) = eventual(&log(deeds), &state, &|_| false);
            assert_eq!(broken.is_some().then_some(lost), *want, "{deeds:?}: {broken:?}");
            // What was no promise can't be broken; what was refused must not be there all the same.
            let (lost, broken) = eventual(&log(deeds), &state, &|_| true);
            let false_whatever = deeds.contains(&(add(10), fail)) || deeds.contains(&(count(4), ok));
            assert_eq!((lost, broken.is_some()), (0, false_whatever), "{deeds:?}: {broken:?}");
        }
    }
}
