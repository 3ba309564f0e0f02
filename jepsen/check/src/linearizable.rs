//! Linearizability: is there one order of the operations, each at an instant between its
//! call and its return, that a single correct object could have answered so?
//!
//! Sources: Herlihy and Wing (TOPLAS 1990); Wing and Gong (JPDC 1993); Lowe (2017);
//! Horn and Kroening's P-compositionality (FORTE 2015): a map is linearizable if each of
//! its keys is. The problem is NP-complete; what makes it near linear in practice is
//! written workloads (unique values, many keys, about ten clients a key) and the
//! reductions of [`search`](self#order-of-reading).
//!
//! # Verdicts
//! * [`Verdict::Linearizable`]: an order was found. This rests on nothing but the model.
//! * [`Verdict::NotLinearizable`]: none exists. The [`Witness`] is a small set of
//!   operations that already contradict each other, proved so by exhaustive search
//!   without hashing where it is small enough ([`Witness::exact`]).
//! * [`Verdict::Unknown`]: the [`Budget`] was spent first. Never taken for either.
//!
//! # Invariants
//! 1. Same operations, model and budget: same verdict, same witness, on every machine.
//!    There is no clock here; budgets are counts.
//! 2. A refusal names operations by their index in the caller's slice.
//! 3. Operations of different keys never meet: verdicts of keys are independent.
//!
//! # Instants
//! `call` and `ret` are positions or nanoseconds, as the caller likes. A is before B if
//! `A.ret < B.call`; equal instants count as concurrent, so that a coarse clock can hide a
//! violation but never invent one.
//!
//! # Limits
//! At most 2^31 operations; memory about 90 bytes an operation of the largest key, plus
//! 16 bytes a configuration (at most [`Budget::states`] of them, times 8/3 while growing).
//!
//! # Order of reading
//! `machine` (what a specification is), `search` (the algorithm), `visited` (its memory),
//! `window` (witnesses), then one model each: [`register`], [`kv`], [`list`], [`mutex`],
//! [`registers`], [`text`], [`queue`].

pub mod kv;
pub mod list;
pub mod machine;
pub mod mutex;
pub mod queue;
pub mod register;
pub mod registers;
mod search;
pub mod text;
mod visited;
mod window;

use crate::history::Value;
use crate::mistake::{Mistake, planted};
use machine::Machine;
use search::{Found, Fuel, NEVER, Search, Span, Spent};
use std::collections::BTreeMap;
use std::fmt;
pub(crate) use visited::scatter;
use window::{Proof, Window};

/// One operation with its result, and when it ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation<O> {
    /// The client, for the report only.
    pub process: u64,
    /// When it was called.
    pub call: u64,
    /// When it returned; [`Operation::PENDING`] if that was never seen.
    pub ret: u64,
    /// What was asked and what was answered. For a pending operation only what was asked
    /// counts; each model says what to put for the answer.
    pub op: O,
}

impl<O> Operation<O> {
    /// The `ret` of an operation that may take effect at any time after its call, or never.
    pub const PENDING: u64 = NEVER;

    /// Whether a return was seen.
    #[must_use]
    pub fn returned(&self) -> bool {
        self.ret != Self::PENDING
    }
}

/// A specification of a sequential object.
pub trait Model {
    /// An operation with its result.
    type Op;
    /// What the operations of one key compile to.
    type Machine: Machine;

    /// The key; operations of different keys do not influence each other.
    fn key(&self, op: &Self::Op) -> Value;

    /// Compiles the operations of one key, in the order of their calls.
    ///
    /// # Errors
    /// Operations that contradict each other whatever the order.
    fn compile(&self, ops: &[&Operation<Self::Op>]) -> Result<Self::Machine, Contradiction>;

    /// The operation in words.
    fn describe(&self, op: &Self::Op) -> String;
}

/// Operations (by position in the slice given to [`Model::compile`]) that no order explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// Which.
    pub ops: Vec<usize>,
    /// Why, in words.
    pub why: String,
}

/// What a check may spend, in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Looks at an operation; 5 to 20 ns each. One key gets at most half of what is left
    /// (the last key all of it), so that a hard key does not starve the others.
    pub steps: u64,
    /// Configurations remembered at one time, 16 bytes each.
    pub states: usize,
}

/// Looks at operations, for each operation of a key, after which a key counts as hard.
const STEPS_IF_EASY: u64 = 200;

impl Default for Budget {
    /// Ten to twenty seconds and 1.3 GiB at the very worst.
    fn default() -> Self {
        Self { steps: 1_000_000_000, states: 1 << 25 }
    }
}

/// The answer of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Some order explains everything.
    Linearizable,
    /// No order does.
    NotLinearizable(Box<Witness>),
    /// The budget ran out.
    Unknown {
        /// The key that was too hard.
        key: Value,
        /// What ran out, in words.
        why: String,
    },
}

/// Operations that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The key they belong to.
    pub key: Value,
    /// The operations, in the order of their calls.
    pub operations: Vec<WitnessOperation>,
    /// Whether the object's beginning is part of the contradiction; otherwise these
    /// operations have no order whatever came before.
    pub from_beginning: bool,
    /// What cannot be explained, in words.
    pub why: String,
    /// Whether the contradiction was proved by exhaustive search without hashing.
    pub exact: bool,
}

/// One operation of a [`Witness`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WitnessOperation {
    /// Index in the caller's slice.
    pub index: usize,
    /// Whether it must have happened within the window; otherwise it may have, and that
    /// does not help.
    pub certain: bool,
    /// Client, interval and content in words.
    pub text: String,
}

impl Verdict {
    /// True for [`Verdict::Linearizable`].
    #[must_use]
    pub fn is_linearizable(&self) -> bool {
        matches!(self, Self::Linearizable)
    }

    /// The witness of a refusal.
    #[must_use]
    pub fn witness(&self) -> Option<&Witness> {
        match self {
            Self::NotLinearizable(witness) => Some(witness),
            Self::Linearizable | Self::Unknown { .. } => None,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("linearizable"),
            Self::NotLinearizable(witness) => write!(f, "not linearizable: {witness}"),
            Self::Unknown { key, why } => write!(f, "unknown: key {key}: {why}"),
        }
    }
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = if self.from_beginning { "from its beginning" } else { "whatever it held before" };
        let count = self.operations.len();
        let key = self.key;
        writeln!(f, "key {key}, {start}: these {count} have no order")?;
        for operation in &self.operations {
            let mark = if operation.certain { ' ' } else { '?' };
            writeln!(f, "  {mark} {}", operation.text)?;
        }
        f.write_str(&self.why)
    }
}

/// Judges `operations` against `model`.
///
/// A refusal of any key beats an unknown one; among refusals the smallest key is reported.
pub fn check<M: Model>(model: &M, operations: &[Operation<M::Op>], budget: &Budget) -> Verdict {
    let mut left = *budget;
    let mut search = Search::new();
    let mut unknown = None;
    let keys = by_key(model, operations);
    let count = if planted(Mistake::FirstKeyOnly) { 1 } else { keys.len() };
    for (at, (key, indices)) in keys.into_iter().take(count).enumerate() {
        let last = at + 1 == count;
        let steps = if last { left.steps } else { left.steps / 2 };
        let mut fuel = Fuel { steps, states: left.states };
        let verdict = check_key(model, operations, key, indices, &mut search, &mut fuel);
        left.steps -= steps - fuel.steps;
        match verdict {
            Verdict::Linearizable => {}
            Verdict::NotLinearizable(_) => return verdict,
            Verdict::Unknown { .. } => unknown = unknown.or(Some(verdict)),
        }
    }
    unknown.unwrap_or(Verdict::Linearizable)
}

/// The operations of each key, keys ascending, each in the order given.
fn by_key<M: Model>(model: &M, operations: &[Operation<M::Op>]) -> Vec<(Value, Vec<u32>)> {
    assert!(operations.len() < 1 << 31, "too many operations");
    let mut dense = machine::Dense::default();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut keys: BTreeMap<Value, usize> = BTreeMap::new();
    for (index, operation) in operations.iter().enumerate() {
        let key = if planted(Mistake::KeysAreOne) { 0 } else { model.key(&operation.op) };
        let at = dense.id(key) as usize - 1;
        if at == groups.len() {
            groups.push(Vec::new());
            keys.insert(key, at);
        }
        groups[at].push(index as u32);
    }
    let take = |(key, at): (Value, usize)| (key, std::mem::take(&mut groups[at]));
    keys.into_iter().map(take).collect()
}

fn check_key<M: Model>(
    model: &M,
    operations: &[Operation<M::Op>],
    key: Value,
    mut indices: Vec<u32>,
    search: &mut Search,
    fuel: &mut Fuel,
) -> Verdict {
    if !indices.is_sorted_by_key(|at| operations[*at as usize].call) {
        indices.sort_by_key(|at| operations[*at as usize].call);
    }
    let ops: Vec<&Operation<M::Op>> = indices.iter().map(|at| &operations[*at as usize]).collect();
    let report = Report { model, key, indices: &indices, ops: &ops };
    let machine = match model.compile(&ops) {
        Ok(machine) => machine,
        Err(contradiction) => return report.contradiction(contradiction),
    };
    let spans: Vec<Span> = ops
        .iter()
        .enumerate()
        .map(|(at, operation)| Span {
            op: at as u32,
            call: if planted(Mistake::CallsAreIgnored) { 0 } else { operation.call },
            ret: if planted(Mistake::ReturnsAreIgnored) { NEVER } else { operation.ret.max(operation.call) },
        })
        .collect();
    report.search(&machine, &spans, search, fuel)
}

/// Turns what the search knows by position into what the caller knows by index.
struct Report<'a, M: Model> {
    model: &'a M,
    key: Value,
    indices: &'a [u32],
    ops: &'a [&'a Operation<M::Op>],
}

impl<M: Model> Report<'_, M> {
    /// An easy history is judged at once. For a hard one short windows are asked first
    /// whether they already refuse it, before the whole budget goes into the search.
    fn search(&self, machine: &M::Machine, spans: &[Span], search: &mut Search, fuel: &mut Fuel) -> Verdict {
        let easy = fuel.steps.min(STEPS_IF_EASY * spans.len() as u64 + 100_000);
        let mut first = Fuel { steps: easy, ..*fuel };
        let mut found = search.run(machine, spans, machine.initial(), &mut first);
        fuel.steps -= easy - first.steps;
        if let Found::Spent { stuck, .. } = found {
            let hint = (stuck, false);
            if let Some(window) = window::minimise(machine, spans, hint, search, fuel.states) {
                return self.window(machine, &window);
            }
            found = search.run(machine, spans, machine.initial(), fuel);
        }
        match found {
            Found::Order => Verdict::Linearizable,
            Found::Spent { why, .. } => Verdict::Unknown {
                key: self.key,
                why: match why {
                    Spent::Steps => "the step budget ran out".to_owned(),
                    Spent::States => "the memory budget ran out".to_owned(),
                },
            },
            Found::None { stuck } => {
                let hint = (stuck, true);
                let window = window::minimise(machine, spans, hint, search, fuel.states);
                let window = window.expect("a refused whole has a refused window");
                self.window(machine, &window)
            }
        }
    }

    fn operation(&self, at: usize, certain: bool) -> WitnessOperation {
        let operation = self.ops[at];
        let what = self.model.describe(&operation.op);
        let (process, call) = (operation.process, operation.call);
        let text = if operation.returned() {
            format!("[{call}..{}] client {process}: {what}", operation.ret)
        } else {
            format!("[{call}..  ] client {process}: {what} (no answer)")
        };
        WitnessOperation { index: self.indices[at] as usize, certain, text }
    }

    fn contradiction(&self, found: Contradiction) -> Verdict {
        let operations = found.ops.iter().map(|at| self.operation(*at, true));
        Verdict::NotLinearizable(Box::new(Witness {
            key: self.key,
            operations: operations.collect(),
            from_beginning: true,
            why: found.why,
            exact: true,
        }))
    }

    fn window(&self, machine: &M::Machine, window: &Window<<M::Machine as Machine>::State>) -> Verdict {
        let (exact, why) = match window::prove(machine, window) {
            Proof::Order => {
                // The fingerprints collided, or a reduction is wrong: either way the
                // refusal does not stand.
                return Verdict::Unknown {
                    key: self.key,
                    why: "the exact search does not confirm the refusal of the fast one".to_owned(),
                };
            }
            Proof::TooLarge => (
                false,
                "the window is too large for the exact proof; the refusal rests on 128-bit fingerprints"
                    .to_owned(),
            ),
            Proof::None { blocked, states } => {
                let blocked = self.operation(window.spans[blocked].op as usize, true);
                let states: Vec<String> = states.iter().map(|s| machine.describe_state(s)).collect();
                let could = states.join(" or ");
                (true, format!("when {} returned, the object could only hold {could}", blocked.text))
            }
        };
        let operation = |span: &Span| self.operation(span.op as usize, span.ret != NEVER);
        Verdict::NotLinearizable(Box::new(Witness {
            key: self.key,
            operations: window.spans.iter().map(operation).collect(),
            from_beginning: window.from_beginning,
            why,
            exact,
        }))
    }
}
