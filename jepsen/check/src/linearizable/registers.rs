//! Several registers read and written atomically, not partitioned: every operation is a
//! list of reads and writes that happens at one instant, in the order listed. This is
//! strict serializability of small transactions by brute force; [`crate::append`] is the
//! tool for large histories.

use super::machine::Machine;
use super::visited::scatter;
use super::{Contradiction, Model, Operation};
use crate::history::Value;
use std::collections::BTreeMap;

/// The multi-register model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registers {
    /// What registers begin with; those not named begin unset.
    pub initial: BTreeMap<Value, Value>,
}

/// One step of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A read of a register and what it saw. (Pending operations: use [`Access::Skip`].)
    Read(Value, Option<Value>),
    /// A write to a register.
    Write(Value, Value),
    /// A read whose result was never seen.
    Skip,
}

/// Each register as far as it is known; `None` inside is unset, outside is unknown.
type Contents = Vec<Option<Option<Value>>>;

#[derive(Debug, Clone, Copy)]
enum Step {
    Read(usize, Option<Value>),
    Write(usize, Value),
}

/// The transactions, compiled.
#[derive(Debug)]
pub struct Transactions {
    start: Vec<Option<Value>>,
    names: Vec<Value>,
    ops: Vec<Vec<Step>>,
}

impl Machine for Transactions {
    type State = Contents;

    fn initial(&self) -> Contents {
        self.start.iter().map(|value| Some(*value)).collect()
    }

    fn unknown(&self) -> Option<Contents> {
        Some(vec![None; self.start.len()])
    }

    fn step(&self, op: usize, state: &Contents) -> Option<Contents> {
        let mut after = state.clone();
        for step in &self.ops[op] {
            match *step {
                Step::Read(at, seen) => match after[at] {
                    Some(held) if held != seen => return None,
                    _ => after[at] = Some(seen),
                },
                Step::Write(at, value) => after[at] = Some(Some(value)),
            }
        }
        Some(after)
    }

    fn passive(&self, op: usize) -> bool {
        let write = |step: &Step| matches!(step, Step::Write(..));
        !self.ops[op].iter().any(write)
    }

    fn fingerprint(&self, state: &Contents) -> u128 {
        let mut sum = scatter(1 << 42);
        for held in state {
            let mark = match held {
                None => 1 << 43,
                Some(None) => 1 << 44,
                Some(Some(value)) => *value,
            };
            sum = scatter((sum as u64) ^ mark) ^ sum.rotate_left(1);
        }
        sum
    }

    fn describe_state(&self, state: &Contents) -> String {
        let show = |(at, held): (usize, &Option<Option<Value>>)| match held {
            None => format!("{}: anything", self.names[at]),
            Some(None) => format!("{}: unset", self.names[at]),
            Some(Some(value)) => format!("{}: {value}", self.names[at]),
        };
        let all: Vec<String> = state.iter().enumerate().map(show).collect();
        format!("{{{}}}", all.join(", "))
    }
}

impl Model for Registers {
    type Op = Vec<Access>;
    type Machine = Transactions;

    fn key(&self, _op: &Vec<Access>) -> Value {
        0
    }

    fn compile(&self, ops: &[&Operation<Vec<Access>>]) -> Result<Transactions, Contradiction> {
        let mut places: BTreeMap<Value, usize> = BTreeMap::new();
        let mut names = Vec::new();
        let mut place = |register: Value| {
            let next = names.len();
            let at = *places.entry(register).or_insert(next);
            if at == next {
                names.push(register);
            }
            at
        };
        let mut compiled = Vec::with_capacity(ops.len());
        for operation in ops {
            let mut steps = Vec::with_capacity(operation.op.len());
            for access in &operation.op {
                match *access {
                    Access::Read(register, seen) => steps.push(Step::Read(place(register), seen)),
                    Access::Write(register, value) => {
                        steps.push(Step::Write(place(register), value));
                    }
                    Access::Skip => {}
                }
            }
            compiled.push(steps);
        }
        let start = names.iter().map(|name| self.initial.get(name).copied());
        Ok(Transactions { start: start.collect(), names, ops: compiled })
    }

    fn describe(&self, op: &Vec<Access>) -> String {
        let show = |access: &Access| match access {
            Access::Read(register, None) => format!("read {register} -> unset"),
            Access::Read(register, Some(value)) => format!("read {register} -> {value}"),
            Access::Write(register, value) => format!("write {register} {value}"),
            Access::Skip => "read".to_owned(),
        };
        op.iter().map(show).collect::<Vec<_>>().join(", ")
    }
}
