//! A map of strings: put, append (concatenation), get. Keys begin as the empty string.
//! This is the key-value model of Porcupine's recorded histories.
//!
//! States are a length and two residues of a rolling hash, so that an append costs O(1)
//! and a get compares in O(1), however long the string. Two different strings of equal
//! length agree in both residues with chance about 2^-122; contrary to the search's
//! fingerprints this could also turn "not" into "linearizable".

use super::machine::Machine;
use super::visited::scatter;
use super::{Contradiction, Model, Operation};
use crate::history::{History, HistoryError, Interner, Value};
use std::fmt::Write;

/// The string map model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Text;

/// What was done to a string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextAction {
    /// Replaces the string.
    Put(Box<str>),
    /// Adds to its end.
    Append(Box<str>),
    /// Reads it. (Pending: what it saw does not count.)
    Get(Box<str>),
}

/// An operation on the string of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextOp {
    /// Which key.
    pub key: Value,
    /// What was done.
    pub action: TextAction,
}

/// The Mersenne prime 2^61 - 1.
const PRIME: u64 = (1 << 61) - 1;
/// Two fixed bases below it; larger than a byte so that every byte counts.
const BASES: [u64; 2] = [0x0b_1234_5678_9abc_d1, 0x1d_0fed_cba9_8765_43 % PRIME];

/// A string in 24 bytes. [`Digest::UNKNOWN`] stands for all strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest {
    len: u64,
    residues: [u64; 2],
}

fn times(a: u64, b: u64) -> u64 {
    (u128::from(a) * u128::from(b) % u128::from(PRIME)) as u64
}

impl Digest {
    const EMPTY: Self = Self {
        len: 0,
        residues: [0, 0],
    };
    const UNKNOWN: Self = Self {
        len: u64::MAX,
        residues: [0, 0],
    };

    fn of(text: &str) -> Self {
        let mut residues = [0, 0];
        for byte in text.bytes() {
            for (residue, base) in residues.iter_mut().zip(BASES) {
                *residue = (times(*residue, base) + u64::from(byte) + 1) % PRIME;
            }
        }
        Self {
            len: text.len() as u64,
            residues,
        }
    }

    fn then(self, piece: &Piece) -> Self {
        let mut residues = self.residues;
        for (at, residue) in residues.iter_mut().enumerate() {
            *residue = (times(*residue, piece.powers[at]) + piece.digest.residues[at]) % PRIME;
        }
        Self {
            len: self.len + piece.digest.len,
            residues,
        }
    }
}

/// A string to be appended, with the bases to the power of its length.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    digest: Digest,
    powers: [u64; 2],
}

impl Piece {
    fn of(text: &str) -> Self {
        let power = |base| text.bytes().fold(1, |power, _| times(power, base));
        Self {
            digest: Digest::of(text),
            powers: BASES.map(power),
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Put(Digest),
    Append(Piece),
    Get(Digest),
}

/// The strings of one key, compiled.
#[derive(Debug)]
pub struct Strings {
    steps: Vec<Step>,
}

impl Machine for Strings {
    type State = Digest;

    fn initial(&self) -> Digest {
        Digest::EMPTY
    }

    fn unknown(&self) -> Option<Digest> {
        Some(Digest::UNKNOWN)
    }

    fn step(&self, op: usize, state: &Digest) -> Option<Digest> {
        match &self.steps[op] {
            Step::Put(digest) => Some(*digest),
            Step::Append(_) if *state == Digest::UNKNOWN => Some(*state),
            Step::Append(piece) => Some(state.then(piece)),
            Step::Get(seen) => (*state == *seen || *state == Digest::UNKNOWN).then_some(*seen),
        }
    }

    fn observes(&self, op: usize) -> bool {
        matches!(self.steps[op], Step::Get(_))
    }

    fn fingerprint(&self, state: &Digest) -> u128 {
        let [a, b] = state.residues;
        scatter(state.len ^ 1 << 41) ^ scatter(a ^ 1 << 62) ^ scatter(b ^ 1 << 63)
    }

    fn describe_state(&self, state: &Digest) -> String {
        if *state == Digest::UNKNOWN {
            return "anything".to_owned();
        }
        format!("another string, of {} bytes", state.len)
    }
}

impl Model for Text {
    type Op = TextOp;
    type Machine = Strings;

    fn key(&self, op: &TextOp) -> Value {
        op.key
    }

    fn compile(&self, ops: &[&Operation<TextOp>]) -> Result<Strings, Contradiction> {
        let compile = |operation: &&Operation<TextOp>| match &operation.op.action {
            TextAction::Put(text) => Step::Put(Digest::of(text)),
            TextAction::Append(text) => Step::Append(Piece::of(text)),
            TextAction::Get(text) => Step::Get(Digest::of(text)),
        };
        Ok(Strings {
            steps: ops.iter().map(compile).collect(),
        })
    }

    fn describe(&self, op: &TextOp) -> String {
        match &op.action {
            TextAction::Put(text) => format!("put {}", short(text)),
            TextAction::Append(text) => format!("append {}", short(text)),
            TextAction::Get(text) => format!("get -> {}", short(text)),
        }
    }
}

/// Long strings by their beginning and end.
fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= 60 {
        return format!("{text:?}");
    }
    let mut shown: String = text.chars().take(20).collect();
    shown.push_str(" ... ");
    shown.extend(text.chars().skip(count - 30));
    let mut out = format!("{shown:?}");
    // Writing to a String cannot fail.
    write!(out, " ({} bytes)", text.len()).expect("a String grows");
    out
}

/// Operations of a recorded history with functions `get`, `put` and `append` over string
/// keys and values. Positions in the history are the instants.
///
/// # Errors
/// Malformed histories; unknown functions; values that are not strings.
pub fn operations(
    history: &History,
    names: &mut Interner,
) -> Result<Vec<Operation<TextOp>>, HistoryError> {
    let mut operations = Vec::new();
    for pair in history.pair()? {
        if pair.done.is_some_and(|(_, done)| done.kind == crate::history::Kind::Fail) {
            continue;
        }
        let key = pair.invoke.key.as_ref().map_or(0, |key| names.value(key));
        let text = |value: &serde_json::Value| match value.as_str() {
            Some(text) => Ok(Box::from(text)),
            None => Err(HistoryError::Meaning {
                index: pair.call,
                why: format!("expected a string, not {value}"),
            }),
        };
        let action = match (pair.invoke.function.as_str(), pair.done) {
            ("get", Some((_, done))) => TextAction::Get(text(&done.value)?),
            ("get", None) => TextAction::Get(Box::from("")),
            ("put", _) => TextAction::Put(text(&pair.invoke.value)?),
            ("append", _) => TextAction::Append(text(&pair.invoke.value)?),
            (other, _) => {
                return Err(HistoryError::Meaning {
                    index: pair.call,
                    why: format!("a string map knows get, put and append, not {other}"),
                });
            }
        };
        operations.push(Operation {
            process: pair.process,
            call: pair.call as u64,
            ret: pair.done.map_or(Operation::<()>::PENDING, |(at, _)| at as u64),
            op: TextOp { key, action },
        });
    }
    Ok(operations)
}
