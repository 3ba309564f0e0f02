//! A first-in-first-out queue a key. It begins empty.

use super::machine::Machine;
use super::visited::scatter;
use super::{Contradiction, Model, Operation};
use crate::history::Value;
use crate::mistake::{Mistake, planted};
use std::collections::VecDeque;

/// The queue model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue;

/// What was done to a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueAction {
    /// An element joins the end.
    Enqueue(Value),
    /// The first element leaves; `None` if the queue was empty.
    Dequeue(Option<Value>),
    /// A dequeue whose answer was never seen: it took the first element, whichever, or
    /// found none.
    DequeueUnseen,
}

/// An operation on the queue of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueOp {
    /// Which queue.
    pub key: Value,
    /// What was done.
    pub action: QueueAction,
}

/// The operations of one queue.
#[derive(Debug)]
pub struct Fifo {
    ops: Vec<QueueAction>,
}

impl Machine for Fifo {
    type State = VecDeque<Value>;

    fn initial(&self) -> VecDeque<Value> {
        VecDeque::new()
    }

    fn step(&self, op: usize, state: &VecDeque<Value>) -> Option<VecDeque<Value>> {
        let mut after = state.clone();
        match self.ops[op] {
            QueueAction::Enqueue(value) => after.push_back(value),
            QueueAction::Dequeue(value) if after.front() == value.as_ref() => {
                after.pop_front();
            }
            QueueAction::Dequeue(Some(value)) if planted(Mistake::QueueIsABag) => {
                let at = after.iter().position(|other| *other == value)?;
                after.remove(at);
            }
            QueueAction::Dequeue(_) => return None,
            QueueAction::DequeueUnseen => {
                after.pop_front();
            }
        }
        Some(after)
    }

    fn passive(&self, op: usize) -> bool {
        self.ops[op] == QueueAction::Dequeue(None)
    }

    fn fingerprint(&self, state: &VecDeque<Value>) -> u128 {
        let mut sum = scatter(1 << 45);
        for value in state {
            sum = scatter((sum as u64) ^ value) ^ sum.rotate_left(1);
        }
        sum
    }

    fn describe_state(&self, state: &VecDeque<Value>) -> String {
        format!("{state:?}")
    }
}

impl Model for Queue {
    type Op = QueueOp;
    type Machine = Fifo;

    fn key(&self, op: &QueueOp) -> Value {
        op.key
    }

    fn compile(&self, ops: &[&Operation<QueueOp>]) -> Result<Fifo, Contradiction> {
        let ops = ops.iter().map(|operation| operation.op.action).collect();
        Ok(Fifo { ops })
    }

    fn describe(&self, op: &QueueOp) -> String {
        match op.action {
            QueueAction::Enqueue(value) => format!("enqueue {value}"),
            QueueAction::Dequeue(Some(value)) => format!("dequeue -> {value}"),
            QueueAction::Dequeue(None) => "dequeue -> empty".to_owned(),
            QueueAction::DequeueUnseen => "dequeue".to_owned(),
        }
    }
}
