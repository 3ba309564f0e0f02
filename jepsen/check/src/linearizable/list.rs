//! An append-only list a key: append an element, read the whole list. It begins empty.
//!
//! Elements are unique a key (workloads see to it). Then the longest list that anybody
//! read fixes the place of every element in it, and each key becomes one cell that holds
//! a length:
//!
//! | operation | needs the length | leaves the length |
//! |---|---|---|
//! | read of n elements | n | n |
//! | append of the element at place p (from 0) | p | p + 1 |
//! | append of an element that no read shows | any | beyond, where nobody needs to be |
//!
//! The compilation is exact: since nothing is ever removed, an element that is missing from
//! the longest list was appended after the last of that list, and after every read. Here it
//! leads to where neither a read nor an append with a place is possible, which says the same.

use super::machine::{Cell, CellOp, KEEP, Need};
use super::{Contradiction, Model, Operation};
use crate::history::Value;
use std::collections::BTreeMap;

/// The append-only list model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct List;

/// What was done to a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListAction {
    /// An append; elements are unique a key.
    Append(Value),
    /// A read of the whole. (Pending: what it saw does not count.)
    Read(Box<[Value]>),
}

/// An operation on the list of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOp {
    /// Which list.
    pub key: Value,
    /// What was done.
    pub action: ListAction,
}

/// The longest list read, and who read it.
fn longest<'o>(ops: &[&'o Operation<ListOp>]) -> Option<(usize, &'o [Value])> {
    let reads = ops.iter().enumerate().filter(|(_, op)| op.returned());
    let lists = reads.filter_map(|(at, op)| match &op.op.action {
        ListAction::Read(list) => Some((at, &**list)),
        ListAction::Append(_) => None,
    });
    lists.max_by_key(|(at, list)| (list.len(), std::cmp::Reverse(*at)))
}

/// The place of each element; a list that shows one twice is a contradiction.
fn places(at: usize, list: &[Value]) -> Result<BTreeMap<Value, u32>, Contradiction> {
    let mut places = BTreeMap::new();
    for (place, element) in list.iter().enumerate() {
        if places.insert(*element, place as u32).is_some() {
            return Err(Contradiction {
                ops: vec![at],
                why: format!("element {element} appears twice in one list"),
            });
        }
    }
    Ok(places)
}

impl Model for List {
    type Op = ListOp;
    type Machine = Cell;

    fn key(&self, op: &ListOp) -> Value {
        op.key
    }

    fn compile(&self, ops: &[&Operation<ListOp>]) -> Result<Cell, Contradiction> {
        let (reader, order) = longest(ops).unwrap_or((0, &[]));
        let places = places(reader, order)?;
        let end = order.len() as u32;
        let mut appended: BTreeMap<Value, usize> = BTreeMap::new();
        let mut compiled = Vec::with_capacity(ops.len());
        for (at, operation) in ops.iter().enumerate() {
            compiled.push(match &operation.op.action {
                ListAction::Read(list) => {
                    if operation.returned() && !order.starts_with(list) {
                        return Err(Contradiction {
                            ops: vec![at.min(reader), at.max(reader)],
                            why: "two lists read of which neither begins the other".to_owned(),
                        });
                    }
                    CellOp { need: Need::Is(list.len().min(order.len()) as u32), make: KEEP }
                }
                ListAction::Append(element) => {
                    if let Some(first) = appended.insert(*element, at) {
                        return Err(Contradiction {
                            ops: vec![first, at],
                            why: format!("the workload appends {element} twice to one key"),
                        });
                    }
                    match places.get(element) {
                        Some(&place) => CellOp { need: Need::Is(place), make: place + 1 },
                        None => CellOp { need: Need::Any, make: end + 1 },
                    }
                }
            });
        }
        if let Some(element) = order.iter().find(|element| !appended.contains_key(element)) {
            return Err(Contradiction {
                ops: vec![reader],
                why: format!("element {element} was read but never appended"),
            });
        }
        let names = (0..=end).map(|n| format!("{n} elements"));
        let names = names.chain([format!("more than {end} elements")]).collect();
        Ok(Cell::new(compiled, order.len() + 2, names))
    }

    fn describe(&self, op: &ListOp) -> String {
        match &op.action {
            ListAction::Append(element) => format!("append {element}"),
            ListAction::Read(list) => match &**list {
                [.., last] if list.len() > 8 => {
                    format!("read -> {} elements, the last is {last}", list.len())
                }
                list => format!("read -> {list:?}"),
            },
        }
    }
}
