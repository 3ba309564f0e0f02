//! What the search needs of a specification, and the machine most models compile to.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{BuildHasherDefault, Hasher};

/// A specification compiled against the operations of one partition, which it numbers
/// from 0 in the order given to it.
///
/// # Contract
/// * `step` is a function: the same state and operation give the same answer.
/// * `passive(op)` promises that the operation helps nobody: without it, any valid order
///   is still valid. Reads and refused conditions are passive; so is a write of a value
///   that nobody looks for.
/// * `unknown()` stands for every state at once. From it, `step` must allow whatever some
///   state allows, and lead to a state that stands for at least all outcomes.
/// * `needs`, `makes` and `value` speak of the same dense numbers below `values()`: an
///   operation that `needs` v is enabled only where the state's `value` is v; a state's
///   value is v only if it is the initial one, or the last state-changing operation
///   `makes` v.
pub trait Machine {
    /// The state of the object.
    type State: Clone + Ord + Debug;

    /// Where the object begins.
    fn initial(&self) -> Self::State;
    /// A state that stands for all states; `None` where the model has no such thing.
    fn unknown(&self) -> Option<Self::State> {
        None
    }
    /// The state after `op`, or `None` where `op` cannot have had its result.
    fn step(&self, op: usize, state: &Self::State) -> Option<Self::State>;
    /// Whether `op` helps nobody.
    fn passive(&self, op: usize) -> bool;
    /// 128 bits that differ where states differ.
    fn fingerprint(&self, state: &Self::State) -> u128;
    /// The value `op` must find.
    fn needs(&self, _op: usize) -> Option<u32> {
        None
    }
    /// The value `op` leaves.
    fn makes(&self, _op: usize) -> Option<u32> {
        None
    }
    /// The value of a state.
    fn value(&self, _state: &Self::State) -> Option<u32> {
        None
    }
    /// One more than the largest value.
    fn values(&self) -> usize {
        0
    }
    /// Whether any operation that makes a value that no other needs is passive.
    fn idle_writes_are_passive(&self) -> bool {
        false
    }
    /// The state in words.
    fn describe_state(&self, state: &Self::State) -> String;
}

/// What a [`CellOp`] must find in the cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Anything.
    Any,
    /// This value.
    Is(u32),
    /// Any value but this one.
    Not(u32),
}

/// An operation on one cell: a condition and, perhaps, a new value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellOp {
    /// When it is possible.
    pub need: Need,
    /// What it leaves; [`KEEP`] for an observation.
    pub make: u32,
}

/// The `make` of an operation that changes nothing.
pub const KEEP: u32 = u32::MAX;

/// The state that stands for all values.
const UNKNOWN: u32 = u32::MAX;

/// One cell that holds one of a finite set of values: registers, one key of a map, a
/// mutex and an append-only list all compile to it.
///
/// Values that no operation looks for are one value, *junk*: nobody can tell them apart.
#[derive(Debug)]
pub struct Cell {
    ops: Vec<CellOp>,
    names: Vec<String>,
    values: usize,
    has_not: bool,
}

impl Cell {
    /// A cell over `values` values, numbered from 0, that starts as value 0. `names` are
    /// for people; a value without a name shows its number.
    #[must_use]
    pub fn new(mut ops: Vec<CellOp>, values: usize, names: Vec<String>) -> Self {
        let mut wanted = vec![false; values];
        wanted[0] = true;
        for op in &ops {
            match op.need {
                Need::Any => {}
                Need::Is(v) | Need::Not(v) => wanted[v as usize] = true,
            }
        }
        let junk = values as u32;
        for op in &mut ops {
            if op.make != KEEP && !wanted[op.make as usize] {
                op.make = junk;
            }
        }
        let has_not = ops.iter().any(|op| matches!(op.need, Need::Not(_)));
        Self { ops, names, values: values + 1, has_not }
    }

    fn junk(&self) -> u32 {
        self.values as u32 - 1
    }
}

impl Machine for Cell {
    type State = u32;

    fn initial(&self) -> u32 {
        0
    }

    fn unknown(&self) -> Option<u32> {
        Some(UNKNOWN)
    }

    #[inline]
    fn step(&self, op: usize, state: &u32) -> Option<u32> {
        let CellOp { need, make } = self.ops[op];
        let found = match need {
            Need::Is(v) if *state == v || *state == UNKNOWN => v,
            Need::Not(v) if *state != v => *state,
            Need::Any => *state,
            Need::Is(_) | Need::Not(_) => return None,
        };
        Some(if make == KEEP { found } else { make })
    }

    /// A write of junk only makes the value before it go, which can help nobody but one
    /// who needs a value to be gone. A condition that is met and leaves junk is passive too.
    #[inline]
    fn passive(&self, op: usize) -> bool {
        let make = self.ops[op].make;
        make == KEEP || make == self.junk() && !self.has_not
    }

    #[inline]
    fn fingerprint(&self, state: &u32) -> u128 {
        super::visited::scatter(u64::from(*state) ^ (1 << 40))
    }

    #[inline]
    fn needs(&self, op: usize) -> Option<u32> {
        match self.ops[op].need {
            Need::Is(v) => Some(v),
            Need::Any | Need::Not(_) => None,
        }
    }

    #[inline]
    fn makes(&self, op: usize) -> Option<u32> {
        let make = self.ops[op].make;
        (make != KEEP).then_some(make)
    }

    #[inline]
    fn value(&self, state: &u32) -> Option<u32> {
        (*state != UNKNOWN).then_some(*state)
    }

    fn values(&self) -> usize {
        self.values
    }

    /// A value can only be useful to somebody who needs it, or to somebody who needs
    /// another value to be gone.
    fn idle_writes_are_passive(&self) -> bool {
        !self.has_not
    }

    fn describe_state(&self, state: &u32) -> String {
        if *state == UNKNOWN {
            return "anything".to_owned();
        }
        if *state == self.junk() {
            return "a value that no operation looks for".to_owned();
        }
        let name = self.names.get(*state as usize);
        name.cloned().unwrap_or_else(|| format!("#{state}"))
    }
}

/// Numbers values from 1 in the order of first sight; 0 is left for "nothing there".
#[derive(Debug, Default)]
pub(crate) struct Dense {
    ids: HashMap<u64, u32, BuildHasherDefault<Spread>>,
    seen: Vec<u64>,
}

impl Dense {
    pub(crate) fn id(&mut self, value: u64) -> u32 {
        let next = self.seen.len() as u32 + 1;
        let id = *self.ids.entry(value).or_insert(next);
        if id == next {
            self.seen.push(value);
        }
        id
    }

    pub(crate) fn optional(&mut self, value: Option<u64>) -> u32 {
        value.map_or(0, |v| self.id(v))
    }

    /// Values including the 0.
    pub(crate) fn len(&self) -> usize {
        self.seen.len() + 1
    }

    /// Names for [`Cell::new`].
    pub(crate) fn names(&self, nothing: &str) -> Vec<String> {
        let values = self.seen.iter().map(u64::to_string);
        std::iter::once(nothing.to_owned()).chain(values).collect()
    }
}

/// A fixed hash of one 64-bit number. Nothing ever iterates over a map that uses it.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    #[inline]
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 32;
    }
}
