//! A mutex a key: acquire when free, release when held. It begins free.
//!
//! As in Knossos it does not care who releases. That a lock has one holder per fencing
//! token is another property, for histories that carry tokens.

use super::machine::{Cell, CellOp, Need};
use super::{Contradiction, Model, Operation};
use crate::history::Value;
use crate::mistake::{Mistake, planted};

/// The mutex model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mutex;

/// What was done to a mutex. Only successes: a refused acquisition did not happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MutexAction {
    /// It was free and is held.
    Acquire,
    /// It was held and is free.
    Release,
}

/// An operation on the mutex of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MutexOp {
    /// Which mutex.
    pub key: Value,
    /// What was done.
    pub action: MutexAction,
}

const FREE: u32 = 0;
const HELD: u32 = 1;

impl Model for Mutex {
    type Op = MutexOp;
    type Machine = Cell;

    fn key(&self, op: &MutexOp) -> Value {
        op.key
    }

    fn compile(&self, ops: &[&Operation<MutexOp>]) -> Result<Cell, Contradiction> {
        let compile = |operation: &&Operation<MutexOp>| match operation.op.action {
            MutexAction::Acquire if planted(Mistake::MutexIsShared) => CellOp { need: Need::Any, make: HELD },
            MutexAction::Acquire => CellOp { need: Need::Is(FREE), make: HELD },
            MutexAction::Release => CellOp { need: Need::Is(HELD), make: FREE },
        };
        let names = vec!["free".to_owned(), "held".to_owned()];
        Ok(Cell::new(ops.iter().map(compile).collect(), 2, names))
    }

    fn describe(&self, op: &MutexOp) -> String {
        match op.action {
            MutexAction::Acquire => "acquire -> ok".to_owned(),
            MutexAction::Release => "release -> ok".to_owned(),
        }
    }
}
