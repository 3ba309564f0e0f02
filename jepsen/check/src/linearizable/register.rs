//! One register, or one a key: read, write, compare-and-set. It begins unset.
//!
//! The data sets decide three questions that flip verdicts: the register begins *unset*,
//! not 0; a read of null observes "unset" (Knossos lets it match anything); a refused
//! compare-and-set observes a mismatch or nothing ([`FailedCas`]).

use super::machine::{Cell, CellOp, Dense, KEEP, Need};
use super::{Contradiction, Model, Operation};
use crate::history::{Event, Kind};
use crate::history::{FailedCas, History, HistoryError, Interner, Pair, Value};
use crate::mistake::{Mistake, planted};

/// The register model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Register;

/// What was done to a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A read and what it saw; `None` is unset. (Pending: what it saw does not count.)
    Read(Option<Value>),
    /// A write.
    Write(Value),
    /// A compare-and-set. (Pending: put `succeeded: true`; it may also not have.)
    Cas {
        /// The value it must find.
        from: Value,
        /// The value it leaves.
        to: Value,
        /// False if it was refused because the register held another value.
        succeeded: bool,
    },
}

/// An operation on the register of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegisterOp {
    /// Which register.
    pub key: Value,
    /// What was done.
    pub action: Action,
}

impl Model for Register {
    type Op = RegisterOp;
    type Machine = Cell;

    fn key(&self, op: &RegisterOp) -> Value {
        op.key
    }

    fn compile(&self, ops: &[&Operation<RegisterOp>]) -> Result<Cell, Contradiction> {
        let mut values = Dense::default();
        let compile = |operation: &&Operation<RegisterOp>| match operation.op.action {
            Action::Read(seen) if planted(Mistake::RegistersBeginAsZero) => {
                let seen = if seen == Some(0) { None } else { Some(seen.unwrap_or(Value::MAX)) };
                CellOp { need: Need::Is(values.optional(seen)), make: KEEP }
            }
            Action::Read(seen) => CellOp { need: Need::Is(values.optional(seen)), make: KEEP },
            Action::Write(value) => CellOp { need: Need::Any, make: values.id(value) },
            Action::Cas { from, to, succeeded: true } => {
                CellOp { need: Need::Is(values.id(from)), make: values.id(to) }
            }
            Action::Cas { from, .. } => CellOp { need: Need::Not(values.id(from)), make: KEEP },
        };
        let compiled = ops.iter().map(compile).collect();
        Ok(Cell::new(compiled, values.len(), values.names("unset")))
    }

    fn describe(&self, op: &RegisterOp) -> String {
        match op.action {
            Action::Read(None) => "read -> unset".to_owned(),
            Action::Read(Some(value)) => format!("read -> {value}"),
            Action::Write(value) => format!("write {value}"),
            Action::Cas { from, to, succeeded } => {
                let result = if succeeded { "ok" } else { "refused" };
                format!("cas {from} to {to} -> {result}")
            }
        }
    }
}

/// Register operations of a recorded history: functions `read`, `write` and `cas`, the
/// latter with `[from, to]`. Positions in the history are the instants.
///
/// # Errors
/// Malformed histories; unknown functions; values that do not fit the function.
pub fn operations(
    history: &History,
    failed_cas: FailedCas,
    names: &mut Interner,
) -> Result<Vec<Operation<RegisterOp>>, HistoryError> {
    let mut operations = Vec::new();
    for pair in history.pair()? {
        let key = pair.invoke.key.as_ref().map_or(0, |key| names.value(key));
        let mismatch = pair.done.is_some_and(|(_, done)| done.kind == Kind::Fail);
        let cas = pair.invoke.function == "cas";
        let observed = cas && failed_cas == FailedCas::ObservedMismatch;
        let observed = observed && !planted(Mistake::RefusalsObserveNothing);
        if mismatch && !observed && !planted(Mistake::FailHappened) {
            continue;
        }
        if pair.done.is_none() && planted(Mistake::InfoIsFail) {
            continue;
        }
        let action = action(&pair, mismatch, names)?;
        operations.push(Operation {
            process: pair.process,
            call: pair.call as u64,
            ret: pair.done.map_or(Operation::<()>::PENDING, |(at, _)| at as u64),
            op: RegisterOp { key, action },
        });
    }
    Ok(operations)
}

fn action(pair: &Pair<'_>, mismatch: bool, names: &mut Interner) -> Result<Action, HistoryError> {
    let asked: &Event = pair.invoke;
    match asked.function.as_str() {
        "read" => {
            let seen = pair.done.map(|(_, done)| &done.value);
            Ok(Action::Read(seen.and_then(|value| names.optional(value))))
        }
        "write" => Ok(Action::Write(names.value(&asked.value))),
        "cas" => match asked.value.as_array().map(Vec::as_slice) {
            Some([from, to]) => {
                Ok(Action::Cas { from: names.value(from), to: names.value(to), succeeded: !mismatch })
            }
            _ => Err(HistoryError::Meaning {
                index: pair.call,
                why: format!("cas needs [from, to], not {}", asked.value),
            }),
        },
        other => Err(HistoryError::Meaning {
            index: pair.call,
            why: format!("a register knows read, write and cas, not {other}"),
        }),
    }
}
