//! Two texts of transactions by session, without times: who ran what in which order.
//!
//! | format | a step | ends a transaction | ends a session | by |
//! |---|---|---|---|---|
//! | rw | `r(key,value,session,txn)`, `w(...)` | another number | another number | PolySI, IsoVista, Cobra |
//! | awdit | `r key value`, `w key value` | `-----` | `=====` | AWDIT |
//!
//! Registers begin as 0: a read of 0 that nobody wrote saw the beginning. Aborted
//! transactions are left out by whoever wrote the file, so a read of anything else that
//! nobody wrote came out of thin air.

use super::lines::Lines;
use super::{HistoryError, Limits, Value};
use crate::append::Status;
use crate::rw::{Step, Transaction};
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, Write};

/// Reads the rw text. Transactions are told apart by session and number, and keep the order
/// of their first step.
///
/// # Errors
/// The first line that is no step; a transaction that another of its session interrupts.
pub fn read_rw(input: impl BufRead, limits: Limits) -> Result<Vec<Transaction>, HistoryError> {
    let mut lines = Lines::new(input, limits);
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut current: HashMap<u64, (u64, usize)> = HashMap::new();
    let mut ended: HashSet<(u64, u64)> = HashSet::new();
    while let Some((line, text)) = lines.next()? {
        let text = text.trim();
        if text.is_empty() {
            continue;
        }
        let syntax = |why: String| HistoryError::Syntax { line, column: 0, why };
        let (write, [key, value, session, number]) = rw_step(text).map_err(syntax)?;
        let at = match current.get(&session) {
            Some(&(open, at)) if open == number => at,
            before => {
                if let Some((open, _)) = before {
                    ended.insert((session, *open));
                }
                if ended.contains(&(session, number)) {
                    return Err(syntax(format!(
                        "transaction {number} of session {session} goes on after another of its session began"
                    )));
                }
                let at = transactions.len();
                transactions.push(transaction(session, at));
                current.insert(session, (number, at));
                at
            }
        };
        push(&mut transactions, at, write, key, value, limits, line)?;
    }
    beginnings(&mut transactions);
    Ok(transactions)
}

fn transaction(process: u64, at: usize) -> Transaction {
    let call = at as u64;
    Transaction { process, call, ret: call, status: Status::Committed, steps: Vec::new() }
}

fn push(
    transactions: &mut [Transaction],
    at: usize,
    write: bool,
    key: Value,
    value: Value,
    limits: Limits,
    line: usize,
) -> Result<(), HistoryError> {
    if line > limits.events {
        let why = format!("more than {} steps", limits.events);
        return Err(HistoryError::Syntax { line, column: 0, why });
    }
    let step = if write { Step::Write { key, value } } else { Step::Read { key, value: Some(value) } };
    transactions[at].steps.push(step);
    Ok(())
}

fn rw_step(text: &str) -> Result<(bool, [u64; 4]), String> {
    let wrong =
        || format!("a step is r(key,value,session,txn) or w(key,value,session,txn), not {}", cut(text));
    let (head, rest) = text.split_once('(').ok_or_else(wrong)?;
    let write = match head.trim() {
        "w" => true,
        "r" => false,
        _ => return Err(wrong()),
    };
    let fields: Vec<&str> = rest.strip_suffix(')').ok_or_else(wrong)?.split(',').collect();
    let fields: [&str; 4] = fields.try_into().map_err(|_| wrong())?;
    let mut numbers = [0; 4];
    for (number, field) in numbers.iter_mut().zip(fields) {
        *number = whole(field).ok_or_else(wrong)?;
    }
    Ok((write, numbers))
}

/// Negative numbers keep their bits: they are names here, nobody computes with them.
fn whole(text: &str) -> Option<u64> {
    let text = text.trim();
    text.parse::<u64>().ok().or_else(|| text.parse::<i64>().ok().map(i64::cast_unsigned))
}

fn cut(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

/// Reads AWDIT's text.
///
/// # Errors
/// The first line that is neither a step nor an end.
pub fn read_awdit(input: impl BufRead, limits: Limits) -> Result<Vec<Transaction>, HistoryError> {
    let mut lines = Lines::new(input, limits);
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut session = 0;
    let mut open = None;
    while let Some((line, text)) = lines.next()? {
        let text = text.trim();
        let end = |c| text.len() >= 3 && text.chars().all(|other| other == c);
        if text.is_empty() {
            continue;
        }
        if end('-') || end('=') {
            session += u64::from(end('='));
            open = None;
            continue;
        }
        let syntax = || HistoryError::Syntax {
            line,
            column: 0,
            why: format!("a step is r KEY VALUE or w KEY VALUE, not {}", cut(text)),
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let (write, key, value) = match words[..] {
            ["w", key, value] => (true, whole(key), whole(value)),
            ["r", key, value] => (false, whole(key), whole(value)),
            _ => return Err(syntax()),
        };
        let (Some(key), Some(value)) = (key, value) else { return Err(syntax()) };
        let at = *open.get_or_insert_with(|| {
            transactions.push(transaction(session, transactions.len()));
            transactions.len() - 1
        });
        push(&mut transactions, at, write, key, value, limits, line)?;
    }
    beginnings(&mut transactions);
    Ok(transactions)
}

/// A read of 0 that nobody wrote saw the beginning.
fn beginnings(transactions: &mut [Transaction]) {
    let written = |step: &Step| match *step {
        Step::Write { key, value: 0 } => Some(key),
        Step::Write { .. } | Step::Read { .. } => None,
    };
    let zeroes: HashSet<Value> =
        transactions.iter().flat_map(|t| t.steps.iter().filter_map(written)).collect();
    for step in transactions.iter_mut().flat_map(|t| &mut t.steps) {
        if let Step::Read { key, value } = step
            && *value == Some(0)
            && !zeroes.contains(key)
        {
            *value = None;
        }
    }
}

fn parts(step: &Step) -> (char, Value, Value) {
    match *step {
        Step::Write { key, value } => ('w', key, value),
        Step::Read { key, value } => ('r', key, value.unwrap_or(0)),
    }
}

/// Writes the rw text.
///
/// # Errors
/// Whatever the writer answers.
pub fn write_rw(transactions: &[Transaction], mut output: impl Write) -> std::io::Result<()> {
    for (number, transaction) in transactions.iter().enumerate() {
        for step in &transaction.steps {
            let (head, key, value) = parts(step);
            writeln!(output, "{head}({key},{value},{},{number})", transaction.process)?;
        }
    }
    output.flush()
}

/// Writes AWDIT's text: sessions ascending, each in its own order.
///
/// # Errors
/// Whatever the writer answers.
pub fn write_awdit(transactions: &[Transaction], mut output: impl Write) -> std::io::Result<()> {
    let mut order: Vec<&Transaction> = transactions.iter().collect();
    order.sort_by_key(|t| (t.process, t.call));
    for (at, transaction) in order.iter().enumerate() {
        if at > 0 {
            let same = order[at - 1].process == transaction.process;
            writeln!(output, "{}", if same { "-----" } else { "=====" })?;
        }
        for step in &transaction.steps {
            let (head, key, value) = parts(step);
            writeln!(output, "{head} {key} {value}")?;
        }
    }
    output.flush()
}
