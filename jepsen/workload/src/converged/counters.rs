//! Counters. Here they only rise, so what a node shows of one can't fall either.

use super::{Done, Holds, Wrong, at};
use crate::record::{Deed, Outcome, Record};
use std::collections::BTreeMap;

#[derive(Default)]
struct Counter<'a> {
    counts: Vec<(u128, Done<'a>)>,
    reads: Vec<(u128, Done<'a>)>,
}

pub(super) fn judge(done: &[Done<'_>], held: &dyn Holds, wrong: &mut Wrong) {
    let mut counters: BTreeMap<u64, Counter<'_>> = BTreeMap::new();
    for one in done.iter().filter(|d| !d.failed) {
        match one.deed {
            Deed::Count { key, by } => {
                counters.entry(*key).or_default().counts.push((u128::from(*by), *one));
            }
            Deed::Read { key, total } if one.record.outcome == Outcome::Ok => {
                let total = u128::from(total.unwrap_or(0));
                counters.entry(*key).or_default().reads.push((total, *one));
            }
            _ => {}
        }
    }
    for (key, counter) in &counters {
        counter.ends_with(*key, held, wrong);
        counter.was_shown(*key, wrong);
    }
}

impl Counter<'_> {
    fn ends_with(&self, key: u64, held: &dyn Holds, wrong: &mut Wrong) {
        let Some((_, first)) = self.counts.first() else { return };
        let least: u128 = self.counts.iter().filter(|(_, d)| d.promised).map(|(by, _)| by).sum();
        let most: u128 = self.counts.iter().map(|(by, _)| by).sum();
        let total = u128::try_from(held.total(key).unwrap_or(0)).unwrap_or(0);
        if total < least || total > most {
            let told = format!("counter {key} is {total}; {least} were acknowledged, {most} asked for");
            wrong.say(first.record, total < least, told);
        }
    }

    /// What each node showed, read by read.
    fn was_shown(&self, key: u64, wrong: &mut Wrong) {
        for (total, read) in &self.reads {
            let known = |d: &Done<'_>| d.is_known_to(read.record);
            let least: u128 = self.counts.iter().filter(|(_, d)| known(d)).map(|(by, _)| by).sum();
            let begun = |r: &Record| r.call_place < read.record.ret_place;
            let most: u128 = self.counts.iter().filter(|(_, d)| begun(d.record)).map(|(by, _)| by).sum();
            let before = self.reads.iter().filter(|(_, d)| known(d)).map(|(t, _)| *t).max().unwrap_or(0);
            let node = at(read.record);
            let told = if *total < least {
                format!("counter {key} was {total} at {node}, which had acknowledged {least}")
            } else if *total < before {
                format!("counter {key} was {total} at {node}, which had shown {before}")
            } else if *total > most {
                format!("counter {key} was {total} at {node} when {most} had been asked for")
            } else {
                continue;
            };
            wrong.say(read.record, false, told);
        }
    }
}
