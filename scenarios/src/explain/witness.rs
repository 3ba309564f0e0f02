//! Which operations show that a property is broken.
//!
//! A judge says what it found in words, with the values, tokens and revisions it is about.
//! Values written are unique over a run, and so are revisions of acknowledged writes: an
//! operation that carries one of the numbers said is a witness. Of many the nearest to the
//! violation are kept.

use dwcp_runtime_sim::trace::Violation;
use dwcp_workload::record::{Deed, Micro};
use dwcp_workload::{Log, Outcome, Record, What};
use std::collections::BTreeSet;

/// Witnesses kept.
pub const MANY: usize = 10;
/// Smaller numbers are counts, clients or keys, not values.
const SMALLEST: u64 = 1 << 16;

/// Places in the log, in the order of their beginnings.
#[must_use]
pub fn of(log: &Log, violation: &Violation) -> Vec<usize> {
    let said = numbers(&violation.detail);
    let revisions = violation.detail.contains("revision");
    let bears = |r: &Record| {
        values(&r.what).iter().any(|v| *v >= SMALLEST && said.contains(v))
            || (revisions && r.revision > 1 && said.contains(&r.revision.unsigned_abs()))
    };
    let mut found: Vec<usize> = log
        .records
        .iter()
        .enumerate()
        .filter(|(_, r)| r.what.name() != "saw" && bears(r))
        .map(|f| f.0)
        .collect();
    let distance = |place: &usize| {
        let r = &log.records[*place];
        violation.at.as_nanos().abs_diff(r.call.as_nanos())
    };
    found.sort_by_key(distance);
    found.truncate(MANY);
    found.sort_unstable();
    found
}

fn numbers(text: &str) -> BTreeSet<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

/// What an operation wrote or saw that is unique over the run.
fn values(what: &What) -> Vec<u64> {
    match what {
        What::Get { seen, .. } => seen.iter().copied().collect(),
        What::Put { value, .. } => vec![*value],
        What::Cas { expected, new, .. } => expected.iter().chain([new]).copied().collect(),
        What::Saw { value, .. } => value.iter().copied().collect(),
        What::Lists(micros) => micros
            .iter()
            .flat_map(|m| match m {
                Micro::Append { element, .. } => vec![*element],
                // Every later read has seen it: the last element says when.
                Micro::Read { seen, .. } => seen.last().copied().into_iter().collect(),
            })
            .collect(),
        What::Acquire { token, .. } | What::Fenced { token, .. } | What::Release { token, .. } => {
            vec![token.unsigned_abs()]
        }
        What::Eventual(_) | What::Together(_) => what.deeds().iter().flat_map(elements).collect(),
        What::Delete { .. } | What::Transfer { .. } | What::Audit { .. } | What::Store { .. } => Vec::new(),
    }
}

fn elements(deed: &Deed) -> Vec<u64> {
    match deed {
        Deed::Add { element: n, .. }
        | Deed::Remove { element: n, .. }
        | Deed::Write { value: n, .. }
        | Deed::Field { field: n, .. } => vec![*n],
        Deed::Push { element, many, .. } => (*element..element + many).collect(),
        Deed::Empty { seen, .. } => seen.clone(),
        Deed::Count { .. } | Deed::Read { .. } => Vec::new(),
    }
}

/// An operation in one line.
#[must_use]
pub fn line(r: &Record) -> String {
    let when = match r.outcome {
        Outcome::Open => format!("{} and never answered", super::words::moment(r.call)),
        _ => format!("{} to {}", super::words::moment(r.call), super::words::moment(r.ret)),
    };
    let how = match r.outcome {
        Outcome::Ok if r.revision > 0 => format!("ok at revision {}", r.revision),
        Outcome::Ok => "ok".to_owned(),
        Outcome::Fail => "not done".to_owned(),
        Outcome::Info => "outcome unknown".to_owned(),
        Outcome::Open => "open".to_owned(),
    };
    format!("client {} {}: {}, {how}", r.client, when, action(&r.what))
}

/// What an operation did, in words.
#[must_use]
pub fn action(what: &What) -> String {
    let held = |v: &Option<u64>| v.map_or_else(|| "nothing".to_owned(), |v| v.to_string());
    match what {
        What::Get { key, seen } => format!("reads key {key}, sees {}", held(seen)),
        What::Put { key, value } => format!("writes {value} to key {key}"),
        What::Cas { key, expected, new, succeeded } => {
            let went = if *succeeded { "it was" } else { "it was not" };
            format!("sets key {key} to {new} if it is {}; {went}", held(expected))
        }
        What::Delete { key, existed } => {
            format!("deletes key {key}, {}", if *existed { "which was there" } else { "which was not there" })
        }
        What::Lists(micros) => {
            let parts: Vec<String> = micros
                .iter()
                .map(|m| match m {
                    Micro::Append { key, element } => format!("appends {element} to list {key}"),
                    Micro::Read { key, seen } => {
                        let last = seen.last().map_or_else(String::new, |e| format!(" ending in {e}"));
                        format!("reads list {key}: {} elements{last}", seen.len())
                    }
                })
                .collect();
            parts.join(", ")
        }
        What::Transfer { from, to, amount } => format!("moves {amount} from account {from} to {to}"),
        What::Store { write } => (if *write { "commands something" } else { "asks something" }).to_owned(),
        What::Audit { total, accounts } => format!("reads all accounts: {total} in {accounts}"),
        What::Acquire { key, token } => format!("takes lock {key} with token {token}"),
        What::Fenced { key, token, passed } => {
            let went = if *passed { "let through" } else { "refused" };
            format!("writes under lock {key} with token {token}, {went}")
        }
        What::Release { key, token } => format!("gives lock {key} back, token {token}"),
        What::Eventual(_) | What::Together(_) => {
            let each: Vec<String> = what.deeds().iter().map(done).collect();
            each.join(", and at once ")
        }
        What::Saw { key, value } => format!("is told that key {key} is {}", held(value)),
    }
}

fn done(deed: &Deed) -> String {
    match deed {
        Deed::Add { key, element } => format!("adds {element} to set {key}"),
        Deed::Remove { of, key, element, seen } => {
            let was = if *seen > 0 { "where it was" } else { "where it was not" };
            format!("removes {element} from {} {key}, {was}", of.name())
        }
        Deed::Count { key, by } => format!("adds {by} to counter {key}"),
        Deed::Write { key, value } => format!("writes {value} to register {key}"),
        Deed::Field { key, field } => format!("writes field {field} of map {key}"),
        Deed::Push { key, element, many, left } => {
            let end = if *left { "left" } else { "right" };
            let more = many.checked_sub(2).map_or_else(String::new, |n| format!(" and {} more", n + 1));
            format!("pushes {element}{more} to the {end} end of list {key}")
        }
        Deed::Empty { of, key, seen } => format!("empties {} {key}, where {} were", of.name(), seen.len()),
        Deed::Read { key, total } => {
            let total = total.map_or_else(|| "nothing".to_owned(), |t| t.to_string());
            format!("reads counter {key}, sees {total}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_env::{Duration, Instant};

    fn log() -> Log {
        let mut log = Log::default();
        for nth in 0..40_u64 {
            let at = Instant::ZERO + Duration::millis(nth);
            let what = if nth % 2 == 0 {
                What::Put { key: 3, value: 1 << 32 | nth }
            } else {
                What::Get { key: 3, seen: Some(1 << 32 | (nth - 1)) }
            };
            log.begin(nth as u32, nth, at, what);
        }
        // A value as small as a client's number.
        log.begin(50, 50, Instant::ZERO, What::Put { key: 9, value: 4 });
        log
    }

    #[test]
    fn who_carries_a_number_said_is_a_witness_and_nobody_else() {
        let at = Instant::ZERO + Duration::millis(20);
        let says = |detail: &str| Violation { name: "x".into(), detail: detail.into(), at, node: None };
        let v = says(&format!("key 3: client 4 wrote {} and it is gone", 1_u64 << 32 | 10));
        assert_eq!(of(&log(), &v), [10, 11], "the write and the read of it; 3 and 4 are no values");
        assert_eq!(of(&log(), &says("two leaders in term 7")), Vec::<usize>::new());
        let all: Vec<String> = (0..40).map(|n| (1_u64 << 32 | n).to_string()).collect();
        let near = of(&log(), &says(&all.join(" ")));
        assert_eq!((near.len(), near[0]), (MANY, 15), "the nearest in time are kept, in order: {near:?}");
    }

    #[test]
    fn an_operation_is_told_in_one_line() {
        let log = log();
        assert_eq!(
            line(&log.records[1]),
            format!("client 1 0.001 s and never answered: reads key 3, sees {}, open", 1_u64 << 32)
        );
    }
}
