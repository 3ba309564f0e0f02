//! Cycles and transactions in words.

use super::index::{Index, shown};
use super::order::Why;
use super::{Anomaly, Kind, Step, Transaction};
use crate::append::Status;
use crate::level::Through;

/// Steps of a transaction that are shown.
const SHOWN: usize = 12;

/// A transaction in one line.
pub(crate) fn transaction(transaction: &Transaction) -> String {
    let step = |step: &Step| match step {
        Step::Write { key, value } => format!("write {key} {value}"),
        Step::Read { key, value } => format!("read {key} -> {}", shown(*value)),
    };
    let mut steps: Vec<String> = transaction.steps.iter().take(SHOWN).map(step).collect();
    if transaction.steps.len() > SHOWN {
        steps.push(format!("and {} more", transaction.steps.len() - SHOWN));
    }
    let unknown = if transaction.status == Status::Unknown { " (no answer)" } else { "" };
    format!("client {}: {}{unknown}", transaction.process, steps.join(", "))
}

/// The value that a transaction left in a key.
fn left(index: &Index<'_>, at: u32, key: u32) -> String {
    let name = index.keys[key as usize].name;
    let steps = index.transactions[at as usize].steps.iter().rev();
    let mut last = steps.filter_map(|step| match step {
        Step::Write { key, value } if *key == name => Some(value.to_string()),
        Step::Write { .. } | Step::Read { .. } => None,
    });
    last.next().unwrap_or_else(|| "its write".to_owned())
}

/// Why one is before the other.
pub(crate) fn edge(index: &Index<'_>, from: u32, to: u32, why: Why) -> (String, &'static str) {
    let name = |key: u32| index.keys[key as usize].name;
    match why {
        Why::Wr(key) => {
            (format!("it wrote {} to {}, which the other read (wr)", left(index, from, key), name(key)), "wr")
        }
        Why::Ww(key) => (
            format!(
                "its {} in {} is older than {} (ww)",
                left(index, from, key),
                name(key),
                left(index, to, key)
            ),
            "ww",
        ),
        Why::Rw(key) => (format!("it read {} without {} (rw)", name(key), left(index, to, key)), "rw"),
        Why::Process => ("the same client ran it first (process)".to_owned(), "process"),
        Why::Realtime => ("it had returned when the other was called (realtime)".to_owned(), "realtime"),
        Why::On => (String::new(), ""),
    }
}

/// A cycle as an anomaly.
pub(crate) fn cycle(index: &Index<'_>, kind: Kind, through: Through, steps: &[(u32, Why)]) -> Anomaly {
    let mut transactions: Vec<usize> = Vec::new();
    for (at, _) in steps {
        if !transactions.contains(&(*at as usize)) {
            transactions.push(*at as usize);
        }
    }
    let place = |at: u32| transactions.iter().position(|other| *other == at as usize).expect("it was put in");
    let names: Vec<String> = transactions.iter().map(|at| format!("T{at}")).collect();
    let mut text =
        format!("{} would each come before the next, and the last before the first", names.join(", "));
    for at in &transactions {
        text.push_str(&format!("\n  T{at} = {}", transaction(&index.transactions[*at])));
    }
    let mut edges = Vec::new();
    for (n, (from, why)) in steps.iter().enumerate() {
        let to = steps[(n + 1) % steps.len()].0;
        let (reason, label) = edge(index, *from, to, *why);
        edges.push((place(*from), place(to), label.to_owned()));
        text.push_str(&format!("\n  T{from} before T{to}: {reason}"));
    }
    let lost = steps.len() == 2 && steps.iter().all(|(_, why)| matches!(why, Why::Rw(_) | Why::Ww(_)));
    let kind = if lost && both_wrote(index, steps) { Kind::LostUpdate } else { kind };
    Anomaly { kind, through, transactions, edges, text }
}

/// Both transactions of a cycle of two read and wrote its key.
fn both_wrote(index: &Index<'_>, steps: &[(u32, Why)]) -> bool {
    steps.iter().any(|(_, why)| match why {
        Why::Rw(key) | Why::Ww(key) => steps.iter().all(|(at, _)| {
            index.writes(*at, *key) && index.reads[*at as usize].iter().any(|read| read.key == *key)
        }),
        _ => false,
    })
}
