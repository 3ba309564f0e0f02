//! Event streams: ordered, unique, without gaps, resumable, and nothing invented.
//!
//! The four guarantees of etcd's watch, and one of any: a watcher that asks from a revision
//! is told every change from there on, once, in the order of revisions; when it comes back
//! with the revision after the last that it was told, nothing between is missing.
//!
//! | rule | broken by |
//! |---|---|
//! | ordered | a revision at or below the one told before |
//! | unique | one change told twice on one stream |
//! | no gap | a change of a watched key, made between two that were told, never told |
//! | whole | one change of a revision told without another of it that is watched |
//! | resumable | the same gap across the point of resumption |
//! | nothing invented | a change that nobody made, or with another value |
//!
//! A change of unknown outcome may be told or not. Cost n log n.

use crate::history::Value;
use crate::mistake::{Mistake, planted};
use std::collections::{BTreeMap, BTreeSet};

/// A change of the store, with the revision that it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Its revision; `None` if the outcome is unknown.
    pub revision: Option<u64>,
    /// Which key.
    pub key: Value,
    /// What was put; `None` for a delete.
    pub value: Option<Value>,
}

/// What a watcher was told, or asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It asked for changes from this revision on: at first, or to resume.
    From(u64),
    /// It was told of a change.
    Event {
        /// Its revision.
        revision: u64,
        /// Which key.
        key: Value,
        /// What was put; `None` for a delete.
        value: Option<Value>,
    },
}

/// A rule broken by a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// Place in the stream.
    pub at: usize,
    /// What happened.
    pub text: String,
}

/// Judges one watcher's stream against the changes made. `watched` says which keys it asked
/// for. The first fault of each kind is told.
#[must_use]
pub fn check(changes: &[Change], stream: &[Told], watched: impl Fn(Value) -> bool) -> Vec<Fault> {
    let mut made: BTreeMap<u64, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        if let Some(revision) = change.revision {
            made.entry(revision).or_default().push(change);
        }
    }
    let open: BTreeSet<(Value, Option<Value>)> =
        changes.iter().filter(|c| c.revision.is_none()).map(|c| (c.key, c.value)).collect();
    let mut faults: Vec<Fault> = Vec::new();
    let mut tell = |name, mistake, at, text: String| {
        if !faults.iter().any(|fault| fault.name == name) && !planted(mistake) {
            faults.push(Fault { name, at, text });
        }
    };
    // Everything below this has been told or was not asked for.
    let mut next = None;
    let mut told: BTreeSet<(u64, Value)> = BTreeSet::new();
    let mut resumed = false;
    for (at, item) in stream.iter().enumerate() {
        let (revision, key, value) = match *item {
            Told::From(revision) => {
                let skips = next.filter(|next| *next < revision);
                if let Some(missed) = skips.and_then(|next| first(&made, next, revision, &watched)) {
                    let text = format!("the watcher resumed from {revision} and was never told of {missed}");
                    tell("resume-gap", Mistake::ResumeMaySkip, at, text);
                }
                told.retain(|(known, _)| *known < revision);
                resumed = next.is_some();
                next = Some(revision);
                continue;
            }
            Told::Event { revision, key, value } => (revision, key, value),
        };
        if !told.insert((revision, key)) {
            tell(
                "repeated",
                Mistake::RepeatedEventsPass,
                at,
                format!("revision {revision} of key {key} was told twice"),
            );
            continue;
        }
        let known = made.get(&revision).and_then(|list| list.iter().find(|change| change.key == key));
        let invented = match known {
            Some(change) => change.value != value,
            None => !open.contains(&(key, value)),
        };
        if invented {
            let text =
                format!("revision {revision} of key {key} was told as {}, which nobody made", shown(value));
            tell("invented", Mistake::InventedEventsPass, at, text);
        }
        let Some(due) = next else {
            next = Some(revision + 1);
            continue;
        };
        if revision + 1 < due || revision < due && made.get(&revision).is_none_or(|list| list.len() <= 1) {
            tell(
                "order",
                Mistake::EventOrderIsNotChecked,
                at,
                format!("revision {revision} was told after {}", due - 1),
            );
            continue;
        }
        // A transaction's changes share a revision and come together.
        let due_too = |change: &&&Change| watched(change.key) && !told.contains(&(due - 1, change.key));
        let begun = due > 0 && told.range((due - 1, 0)..=(due - 1, Value::MAX)).next().is_some();
        let split = made.get(&(due.wrapping_sub(1))).filter(|_| begun && revision >= due);
        if let Some(change) = split.and_then(|list| list.iter().find(due_too)) {
            let text = format!("revision {} was told without its change of key {}", due - 1, change.key);
            tell("split", Mistake::GapsPass, at, text);
        }
        if let Some(missed) = first(&made, due, revision, &watched) {
            let text = format!("the watcher was told of revision {revision} and never of {missed}");
            let (name, mistake) =
                if resumed { ("resume-gap", Mistake::ResumeMaySkip) } else { ("gap", Mistake::GapsPass) };
            tell(name, mistake, at, text);
        }
        resumed = false;
        next = Some(revision + 1);
    }
    faults
}

/// The first change of a watched key in `from..to`.
fn first(
    made: &BTreeMap<u64, Vec<&Change>>,
    from: u64,
    to: u64,
    watched: &impl Fn(Value) -> bool,
) -> Option<u64> {
    let range = (from < to).then(|| made.range(from..to))?;
    range.filter(|(_, list)| list.iter().any(|change| watched(change.key))).map(|(at, _)| *at).next()
}

fn shown(value: Option<Value>) -> String {
    value.map_or("a delete".to_owned(), |value| format!("a put of {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(stream: &[Told]) -> Vec<&'static str> {
        let made = |revision, key, value| Change { revision: Some(revision), key, value: Some(value) };
        let changes = [
            made(1, 7, 10),
            made(2, 7, 20),
            made(3, 8, 30),
            made(4, 7, 40),
            made(5, 7, 50),
            // One transaction, two keys.
            made(6, 7, 60),
            made(6, 9, 61),
            Change { revision: None, key: 7, value: Some(70) },
        ];
        check(&changes, stream, |key| key != 8).iter().map(|fault| fault.name).collect()
    }

    #[test]
    fn each_rule() {
        let told = |revision, value| Told::Event { revision, key: 7, value: Some(value) };
        let nine = Told::Event { revision: 6, key: 9, value: Some(61) };
        let all = [Told::From(1), told(1, 10), told(2, 20), told(4, 40), told(5, 50), told(6, 60), nine];
        assert_eq!(names(&all), [""; 0]);
        assert_eq!(names(&[Told::From(1), told(1, 10), told(4, 40)]), ["gap"]);
        assert_eq!(names(&[Told::From(1), told(1, 10), told(2, 20), told(2, 20)]), ["repeated"]);
        assert_eq!(names(&[Told::From(1), told(2, 20), told(1, 10)]), ["gap", "order"]);
        assert_eq!(names(&[told(4, 40), told(2, 20)]), ["order"]);
        assert_eq!(names(&[Told::From(1), told(1, 11)]), ["invented"]);
        assert_eq!(names(&[told(9, 90)]), ["invented"]);
        assert_eq!(names(&[told(5, 50), told(6, 60), told(7, 70)]), ["split"]);
        assert_eq!(names(&[told(5, 50), told(6, 60), nine, told(7, 70)]), [""; 0], "of unknown outcome");
        assert_eq!(names(&[Told::From(1), told(1, 10), Told::From(2), told(2, 20)]), [""; 0]);
        assert_eq!(names(&[Told::From(1), told(1, 10), Told::From(4), told(4, 40)]), ["resume-gap"]);
        assert_eq!(names(&[Told::From(1), told(1, 10), Told::From(2), told(4, 40)]), ["resume-gap"]);
        assert_eq!(names(&[told(4, 40), told(5, 50), Told::From(4), told(4, 40)]), [""; 0], "asked again");
    }
}
