//! A map of strings: put, append (concatenation), get. Keys begin as the empty string.
//! This is the key-value model of Porcupine's recorded histories. Witnesses reach back to
//! the beginning: an append to an unknown string says nothing.
//!
//! # States
//! Only strings that somebody read matter. They form a tree of prefixes; a state is a
//! node of that tree, or *dead*: a string that no string read begins with. All dead
//! strings are one state, since nobody can tell them apart: only a put leads out of it.
//! So the machine is exact, and permutations of appends that nobody saw cost nothing.
//!
//! Memory: 12 bytes a byte of tree; appends are looked for in every string read, so keep
//! to logs of some thousand operations.

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

/// The state of all strings that no string read begins with.
const DEAD: u32 = u32::MAX;

#[derive(Debug, Clone, Copy)]
struct Node {
    byte: u8,
    child: u32,
    sibling: u32,
}

/// The strings read, as a tree of bytes. Node 0 is the empty string.
#[derive(Debug)]
struct Tree {
    nodes: Vec<Node>,
}

impl Tree {
    const ROOT: Node = Node { byte: 0, child: DEAD, sibling: DEAD };

    fn child(&self, node: u32, byte: u8) -> u32 {
        let mut at = self.nodes[node as usize].child;
        while at != DEAD && self.nodes[at as usize].byte != byte {
            at = self.nodes[at as usize].sibling;
        }
        at
    }

    fn walk(&self, from: u32, text: &str) -> u32 {
        let step = |at, byte| match at {
            DEAD => DEAD,
            at => self.child(at, byte),
        };
        text.bytes().fold(from, step)
    }

    fn insert(&mut self, text: &str) {
        let mut at = 0;
        for byte in text.bytes() {
            let mut next = self.child(at, byte);
            if next == DEAD {
                next = self.nodes.len() as u32;
                self.nodes.push(Node { byte, child: DEAD, sibling: self.nodes[at as usize].child });
                self.nodes[at as usize].child = next;
            }
            at = next;
        }
    }
}

#[derive(Debug)]
enum Step {
    Put(u32),
    Append { piece: Box<str>, seen: bool },
    Get(u32),
}

/// The strings of one key, compiled.
#[derive(Debug)]
pub struct Strings {
    tree: Tree,
    steps: Vec<Step>,
}

impl Machine for Strings {
    type State = u32;

    fn initial(&self) -> u32 {
        0
    }

    fn step(&self, op: usize, state: &u32) -> Option<u32> {
        match &self.steps[op] {
            Step::Put(node) => Some(*node),
            Step::Append { seen: false, .. } => Some(DEAD),
            Step::Append { piece, .. } => Some(self.tree.walk(*state, piece)),
            Step::Get(node) => (state == node).then_some(*node),
        }
    }

    /// An append that nobody saw leads from anywhere to the dead state, where whatever
    /// follows it up to the next put can also be done without it.
    fn passive(&self, op: usize) -> bool {
        matches!(self.steps[op], Step::Get(_) | Step::Append { seen: false, .. })
    }

    fn fingerprint(&self, state: &u32) -> u128 {
        scatter(u64::from(*state) ^ 1 << 41)
    }

    fn describe_state(&self, state: &u32) -> String {
        match state {
            &DEAD => "a string that nobody read".to_owned(),
            state => short(&self.text(*state)),
        }
    }
}

impl Strings {
    /// The string of a node; only for reports, hence by search.
    fn text(&self, node: u32) -> String {
        let mut bytes = Vec::new();
        let mut at = node;
        while at != 0 {
            bytes.push(self.tree.nodes[at as usize].byte);
            let mut older = at;
            at = loop {
                let parent = |n: &Node| n.child == older || n.sibling == older;
                let Some(found) = self.tree.nodes.iter().position(parent) else {
                    break 0;
                };
                if self.tree.nodes[found].child == older {
                    break found as u32;
                }
                older = found as u32;
            };
        }
        bytes.reverse();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Model for Text {
    type Op = TextOp;
    type Machine = Strings;

    fn key(&self, op: &TextOp) -> Value {
        op.key
    }

    fn compile(&self, ops: &[&Operation<TextOp>]) -> Result<Strings, Contradiction> {
        let read = |operation: &&'_ Operation<TextOp>| match &operation.op.action {
            TextAction::Get(text) if operation.returned() => Some(text.clone()),
            TextAction::Get(_) | TextAction::Put(_) | TextAction::Append(_) => None,
        };
        let read: Vec<Box<str>> = ops.iter().filter_map(read).collect();
        let mut tree = Tree { nodes: vec![Tree::ROOT] };
        for text in &read {
            tree.insert(text);
        }
        let compile = |operation: &&Operation<TextOp>| match &operation.op.action {
            TextAction::Put(text) => Step::Put(tree.walk(0, text)),
            TextAction::Get(text) => Step::Get(tree.walk(0, text)),
            TextAction::Append(piece) => {
                Step::Append { piece: piece.clone(), seen: read.iter().any(|text| text.contains(&**piece)) }
            }
        };
        let steps = ops.iter().map(compile).collect();
        Ok(Strings { tree, steps })
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
pub fn operations(history: &History, names: &mut Interner) -> Result<Vec<Operation<TextOp>>, HistoryError> {
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
