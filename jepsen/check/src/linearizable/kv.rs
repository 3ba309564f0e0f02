//! A map with etcd's operations on single keys: put, get, delete, compare-and-put. Keys
//! begin absent.
//!
//! A refused compare-and-put *observed* that the key held something else; it counts. If
//! the client cannot tell a refusal from a failure it must report the operation pending.

use super::machine::{Cell, CellOp, Dense, KEEP, Need};
use super::{Contradiction, Model, Operation};
use crate::history::Value;

/// The map model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kv;

/// What was done to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvAction {
    /// A put.
    Put(Value),
    /// A get and what it saw. (Pending: what it saw does not count.)
    Get(Option<Value>),
    /// A delete, and whether something was there to delete; `None` if the client did not
    /// ask or the operation is pending.
    Delete {
        /// Whether the key existed.
        existed: Option<bool>,
    },
    /// A put on the condition of the value found. (Pending: put `succeeded: true`.)
    Cas {
        /// What it must find; `None` is absent.
        expected: Option<Value>,
        /// What it leaves.
        new: Value,
        /// False if it was refused because it found something else.
        succeeded: bool,
    },
}

/// An operation on a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvOp {
    /// Which key.
    pub key: Value,
    /// What was done.
    pub action: KvAction,
}

/// The value "absent".
const ABSENT: u32 = 0;

impl Model for Kv {
    type Op = KvOp;
    type Machine = Cell;

    fn key(&self, op: &KvOp) -> Value {
        op.key
    }

    fn compile(&self, ops: &[&Operation<KvOp>]) -> Result<Cell, Contradiction> {
        let mut values = Dense::default();
        let compile = |operation: &&Operation<KvOp>| {
            let (need, make) = match operation.op.action {
                KvAction::Put(value) => (Need::Any, values.id(value)),
                KvAction::Get(seen) => (Need::Is(values.optional(seen)), KEEP),
                KvAction::Delete { existed: None } => (Need::Any, ABSENT),
                KvAction::Delete { existed: Some(true) } => (Need::Not(ABSENT), ABSENT),
                KvAction::Delete { existed: Some(false) } => (Need::Is(ABSENT), KEEP),
                KvAction::Cas { expected, new, succeeded: true } => {
                    (Need::Is(values.optional(expected)), values.id(new))
                }
                KvAction::Cas { expected, .. } => (Need::Not(values.optional(expected)), KEEP),
            };
            CellOp { need, make }
        };
        let compiled = ops.iter().map(compile).collect();
        Ok(Cell::new(compiled, values.len(), values.names("absent")))
    }

    fn describe(&self, op: &KvOp) -> String {
        let show = |value: Option<Value>| value.map_or("absent".to_owned(), |v| v.to_string());
        match op.action {
            KvAction::Put(value) => format!("put {value}"),
            KvAction::Get(seen) => format!("get -> {}", show(seen)),
            KvAction::Delete { existed: None } => "delete".to_owned(),
            KvAction::Delete { existed: Some(existed) } => format!("delete -> existed: {existed}"),
            KvAction::Cas { expected, new, succeeded } => {
                let result = if succeeded { "ok" } else { "refused" };
                format!("cas {} to {new} -> {result}", show(expected))
            }
        }
    }
}
