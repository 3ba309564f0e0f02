//! Convergence of replicated data types: who received the same operations shows the same
//! state, and the state is what those operations mean.
//!
//! Source: Shapiro et al. (SSS 2011) for strong eventual consistency; Burckhardt et al.
//! (POPL 2014) for meaning as a function of the operations received; Attiya et al. (PODC
//! 2016) for lists.
//!
//! The history is a list of what replicas did, in an order that respects each replica's own:
//! it performed an operation, received one of another, or showed its state. Both promises are
//! checked at *every* showing, not only at the end.
//!
//! | type | the state that a set of operations means |
//! |---|---|
//! | g-counter, pn-counter | the sum; a g-counter never falls |
//! | g-set | everything added |
//! | 2p-set | everything added and not removed, ever |
//! | or-set | everything with an addition that no received removal observed |
//! | lww-register | the write with the largest timestamp, then the largest operation number |
//! | mv-register | every write that no received write overwrote, ascending |
//! | sequence | everything inserted and not deleted, once; the order is one for all replicas, and each element stood right after its reference when it was inserted |
//!
//! Cost: sets of received operations are compared by a rolling hash of 128 bits (Zobrist),
//! so equality costs a step; the meaning is recomputed at most once a distinct set. The hash
//! only decides which showings are compared; what is compared is the state.

use crate::digraph::Edges;
use crate::history::Value;
use crate::linearizable::scatter;
use crate::mistake::{Mistake, planted};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Which type the replicas claim to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// Only grows.
    GCounter,
    /// Up and down.
    PnCounter,
    /// Only grows.
    GSet,
    /// What was removed never returns.
    TwoPhaseSet,
    /// An addition wins over a removal that did not observe it.
    OrSet,
    /// The last writer wins.
    LwwRegister,
    /// Concurrent writes are all kept.
    MvRegister,
    /// A list or text.
    Sequence,
}

impl Type {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::GCounter,
        Self::PnCounter,
        Self::GSet,
        Self::TwoPhaseSet,
        Self::OrSet,
        Self::LwwRegister,
        Self::MvRegister,
        Self::Sequence,
    ];

    /// The name in histories and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GCounter => "g-counter",
            Self::PnCounter => "pn-counter",
            Self::GSet => "g-set",
            Self::TwoPhaseSet => "2p-set",
            Self::OrSet => "or-set",
            Self::LwwRegister => "lww-register",
            Self::MvRegister => "mv-register",
            Self::Sequence => "sequence",
        }
    }

    /// The type of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|of| of.name() == name)
    }
}

/// An operation, as its replica performed it. Operations are numbered by the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// Counters.
    Add(i64),
    /// Sets: an element is added.
    Insert(Value),
    /// Sets: an element is removed; an or-set names the additions observed.
    Remove {
        /// Which element.
        element: Value,
        /// Operations that added it, as far as the replica knew.
        observed: Vec<u64>,
    },
    /// Registers: a write with its timestamp; a mv-register names the writes overwritten.
    Write {
        /// What is written.
        value: Value,
        /// When, for lww.
        timestamp: u64,
        /// Operations overwritten, for mv.
        overwritten: Vec<u64>,
    },
    /// Sequences: an element after another, or at the beginning. Elements are unique.
    Place {
        /// Which element.
        element: Value,
        /// After which; `None` is the beginning.
        after: Option<Value>,
    },
    /// Sequences: an element goes.
    Delete {
        /// Which.
        element: Value,
    },
}

/// What a replica shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Counters.
    Sum(i64),
    /// Sets and registers, ascending; sequences in their order.
    Values(Vec<Value>),
}

/// Something that a replica did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// It performed an operation of this number.
    Perform(u64, Update),
    /// It received an operation of another replica. Twice is once.
    Receive(u64),
    /// It showed its state.
    Show(State),
}

/// A promise broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub name: &'static str,
    /// Places in the caller's list, the later last.
    pub acts: Vec<usize>,
    /// What happened.
    pub text: String,
}

#[derive(Default)]
struct Replica {
    received: BTreeSet<u64>,
    hash: u128,
    /// The last showing: what, where.
    last: Option<(State, usize)>,
    /// The last operation was a placement that this showing must confirm.
    placed: Option<(Value, Option<Value>)>,
}

/// Faults told of each kind.
const TELL: usize = 4;

struct Judge<'a> {
    of: Type,
    updates: HashMap<u64, &'a Update>,
    replicas: BTreeMap<u64, Replica>,
    /// Per set of operations: who showed what first.
    shown: HashMap<u128, (State, usize, u64)>,
    /// Sequences: which element was shown before which, and where.
    before: Edges,
    elements: BTreeMap<Value, u32>,
    faults: Vec<Fault>,
}

/// All broken promises, in the order found; `acts` are replicas with what they did.
#[must_use]
pub fn check(of: Type, acts: &[(u64, Act)]) -> Vec<Fault> {
    let mut judge = Judge {
        of,
        updates: HashMap::new(),
        replicas: BTreeMap::new(),
        shown: HashMap::new(),
        before: Edges::new(),
        elements: BTreeMap::new(),
        faults: Vec::new(),
    };
    for (at, (replica, act)) in acts.iter().enumerate() {
        judge.act(at, *replica, act);
    }
    judge.one_order(acts);
    judge.faults
}

impl<'a> Judge<'a> {
    fn tell(&mut self, name: &'static str, acts: Vec<usize>, text: String) {
        if self.faults.iter().filter(|fault| fault.name == name).count() < TELL {
            self.faults.push(Fault { name, acts, text });
        }
    }

    fn act(&mut self, at: usize, replica: u64, act: &'a Act) {
        match act {
            Act::Perform(number, update) => {
                if self.updates.insert(*number, update).is_some() {
                    self.tell("repeated-number", vec![at], format!("operation {number} was performed twice"));
                }
                let known = self.replicas.entry(replica).or_default();
                known.placed = match update {
                    Update::Place { element, after } => Some((*element, *after)),
                    _ => None,
                };
                known.take(*number);
            }
            Act::Receive(number) => {
                if !self.updates.contains_key(number) {
                    let text =
                        format!("replica {replica} received operation {number}, which nobody had performed");
                    self.tell("unknown-operation", vec![at], text);
                    return;
                }
                let known = self.replicas.entry(replica).or_default();
                known.placed = None;
                known.take(*number);
            }
            Act::Show(state) => self.show(at, replica, state),
        }
    }

    fn show(&mut self, at: usize, replica: u64, state: &State) {
        let known = self.replicas.entry(replica).or_default();
        let (hash, placed) = (known.hash, known.placed.take());
        let before = known.last.replace((state.clone(), at));
        let received: Vec<u64> = known.received.iter().copied().collect();
        if let (Type::GCounter, Some((State::Sum(old), earlier)), State::Sum(new)) = (self.of, before, state)
            && *new < old
            && !planted(Mistake::IntentIsNotChecked)
        {
            self.tell(
                "counter-fell",
                vec![earlier, at],
                format!("replica {replica} showed {new} after {old}"),
            );
        }
        if let Some((first, earlier, other)) = self.shown.get(&hash) {
            if first != state && !planted(Mistake::EqualSetsMayDiffer) {
                let text = format!(
                    "replicas {other} and {replica} received the same {} operations; one shows {}, the other {}",
                    received.len(),
                    words(first),
                    words(state)
                );
                let acts = vec![*earlier, at];
                self.tell("diverged", acts, text);
            }
        } else {
            self.shown.insert(hash, (state.clone(), at, replica));
        }
        if !planted(Mistake::IntentIsNotChecked) {
            self.intent(at, replica, state, &received);
        }
        if let State::Values(list) = state
            && self.of == Type::Sequence
        {
            self.sequence(at, list, placed);
        }
    }

    /// Compares the state with what the operations mean.
    fn intent(&mut self, at: usize, replica: u64, state: &State, received: &[u64]) {
        let mut want = self.meaning(received);
        let mut found = state.clone();
        if self.of == Type::Sequence {
            // The order is judged apart; here the elements.
            for state in [&mut want, &mut found] {
                if let State::Values(list) = state {
                    list.sort_unstable();
                }
            }
        }
        if want != found {
            let text = format!(
                "replica {replica} shows {}, but the {} operations that it received mean {}",
                words(state),
                received.len(),
                words(&want)
            );
            self.tell("wrong-state", vec![at], text);
        }
    }

    /// The state that a set of operations means.
    fn meaning(&self, received: &[u64]) -> State {
        let updates = || received.iter().filter_map(|number| Some((*number, *self.updates.get(number)?)));
        match self.of {
            Type::GCounter | Type::PnCounter => {
                let amount = |(_, update): (u64, &Update)| match update {
                    Update::Add(amount) => *amount,
                    _ => 0,
                };
                State::Sum(updates().map(amount).fold(0, i64::wrapping_add))
            }
            Type::GSet | Type::TwoPhaseSet | Type::OrSet | Type::Sequence => {
                let mut live: BTreeMap<u64, Value> = BTreeMap::new();
                for (number, update) in updates() {
                    if let Update::Insert(element) | Update::Place { element, .. } = update {
                        live.insert(number, *element);
                    }
                }
                for (_, update) in updates() {
                    match update {
                        Update::Remove { observed, .. }
                            if self.of == Type::OrSet && !planted(Mistake::RemovesWin) =>
                        {
                            for number in observed {
                                live.remove(number);
                            }
                        }
                        Update::Remove { element, .. } | Update::Delete { element } => {
                            live.retain(|_, other| other != element);
                        }
                        _ => {}
                    }
                }
                let set: BTreeSet<Value> = live.into_values().collect();
                State::Values(set.into_iter().collect())
            }
            Type::LwwRegister => {
                let writes = updates().filter_map(|(number, update)| match update {
                    Update::Write { value, timestamp, .. } => Some(((*timestamp, number), *value)),
                    _ => None,
                });
                let last = if planted(Mistake::OlderTimestampWins) { writes.min() } else { writes.max() };
                State::Values(last.map(|(_, value)| value).into_iter().collect())
            }
            Type::MvRegister => {
                let mut live: BTreeMap<u64, Value> = BTreeMap::new();
                for (number, update) in updates() {
                    if let Update::Write { value, .. } = update {
                        live.insert(number, *value);
                    }
                }
                for (_, update) in updates() {
                    if let Update::Write { overwritten, .. } = update {
                        for number in overwritten {
                            live.remove(number);
                        }
                    }
                }
                let mut values: Vec<Value> = live.into_values().collect();
                values.sort_unstable();
                State::Values(values)
            }
        }
    }

    fn sequence(&mut self, at: usize, list: &[Value], placed: Option<(Value, Option<Value>)>) {
        let distinct: BTreeSet<&Value> = list.iter().collect();
        if distinct.len() < list.len() {
            self.tell(
                "doubled-element",
                vec![at],
                format!("{} shows an element twice", words(&State::Values(list.to_vec()))),
            );
            return;
        }
        let next = self.elements.len() as u32;
        let mut last = None;
        for element in list {
            let fresh = self.elements.len() as u32;
            let node = *self.elements.entry(*element).or_insert(fresh);
            if let Some(last) = last {
                self.before.add(last, node, at as u32);
            }
            last = Some(node);
        }
        debug_assert!(next <= self.elements.len() as u32);
        let Some((element, after)) = placed else { return };
        let Some(place) = list.iter().position(|other| *other == element) else { return };
        let found = place.checked_sub(1).map(|before| list[before]);
        let visible = after.is_none_or(|after| list.contains(&after));
        if visible && found != after && !planted(Mistake::IntentIsNotChecked) {
            let name =
                |value: Option<Value>| value.map_or("the beginning".to_owned(), |value| value.to_string());
            let text = format!("{element} was placed after {} and stands after {}", name(after), name(found));
            self.tell("misplaced", vec![at], text);
        }
    }

    /// All showings of a sequence must fit one order of its elements.
    fn one_order(&mut self, acts: &[(u64, Act)]) {
        if planted(Mistake::SequencesMayDiffer) {
            return;
        }
        let Some(cycle) = self.before.packed(self.elements.len() as u32).cycle() else { return };
        let names: BTreeMap<u32, Value> = self.elements.iter().map(|(value, node)| (*node, *value)).collect();
        let mut places: Vec<usize> = cycle.iter().map(|(_, at)| *at as usize).collect();
        places.sort_unstable();
        places.dedup();
        let line = |n: usize| {
            let (node, at) = cycle[n];
            let to = cycle[(n + 1) % cycle.len()].0;
            format!("replica {} shows {} before {}", acts[at as usize].0, names[&node], names[&to])
        };
        let text: Vec<String> = (0..cycle.len()).map(line).collect();
        self.tell("no-one-order", places, text.join("; "));
    }
}

impl Replica {
    fn take(&mut self, number: u64) {
        if self.received.insert(number) {
            self.hash ^= scatter(number);
        }
    }
}

fn words(state: &State) -> String {
    match state {
        State::Sum(sum) => sum.to_string(),
        State::Values(list) if list.len() > 12 => format!("{} values", list.len()),
        State::Values(list) => format!("{list:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Act::{Perform, Receive, Show};

    fn names(of: Type, acts: &[(u64, Act)]) -> Vec<&'static str> {
        check(of, acts).iter().map(|fault| fault.name).collect()
    }

    fn values(list: &[Value]) -> Act {
        Show(State::Values(list.to_vec()))
    }

    #[test]
    fn counters() {
        let add = |number, amount| Perform(number, Update::Add(amount));
        let sum = |sum| Show(State::Sum(sum));
        let fine =
            [(1, add(1, 5)), (2, add(2, -2)), (1, Receive(2)), (2, Receive(1)), (1, sum(3)), (2, sum(3))];
        assert_eq!(names(Type::PnCounter, &fine), [""; 0]);
        let twice = [(1, add(1, 5)), (2, Receive(1)), (2, Receive(1)), (2, sum(10))];
        assert_eq!(names(Type::PnCounter, &twice), ["wrong-state"]);
        let fell = [(1, add(1, 5)), (1, sum(5)), (1, sum(0))];
        assert_eq!(names(Type::GCounter, &fell), ["counter-fell", "diverged", "wrong-state"]);
        assert_eq!(names(Type::GCounter, &[(1, Receive(7))]), ["unknown-operation"]);
        assert_eq!(names(Type::GCounter, &[(1, add(1, 1)), (2, add(1, 1))]), ["repeated-number"]);
    }

    #[test]
    fn sets() {
        let insert = |number, element| Perform(number, Update::Insert(element));
        let remove = |number, element, observed: &[u64]| {
            Perform(number, Update::Remove { element, observed: observed.to_vec() })
        };
        // Removed here while it was added there once more.
        let race = [
            (1, insert(1, 9)),
            (2, Receive(1)),
            (1, remove(2, 9, &[1])),
            (2, insert(3, 9)),
            (1, Receive(3)),
            (2, Receive(2)),
        ];
        let ending = |list: &[Value]| [&race[..], &[(1, values(list)), (2, values(list))]].concat();
        assert_eq!(names(Type::OrSet, &ending(&[9])), [""; 0]);
        assert_eq!(names(Type::OrSet, &ending(&[])), ["wrong-state", "wrong-state"]);
        assert_eq!(names(Type::TwoPhaseSet, &ending(&[])), [""; 0]);
        assert_eq!(names(Type::TwoPhaseSet, &ending(&[9])), ["wrong-state", "wrong-state"]);
        assert_eq!(names(Type::GSet, &[(1, insert(1, 4)), (1, values(&[4, 5]))]), ["wrong-state"]);
        let differ = [&race[..], &[(1, values(&[9])), (2, values(&[]))]].concat();
        assert_eq!(names(Type::OrSet, &differ), ["diverged", "wrong-state"]);
    }

    #[test]
    fn registers() {
        let write = |number, value, timestamp, overwritten: &[u64]| {
            Perform(number, Update::Write { value, timestamp, overwritten: overwritten.to_vec() })
        };
        let both = [(1, write(1, 10, 5, &[])), (2, write(2, 20, 4, &[])), (1, Receive(2)), (2, Receive(1))];
        let ending = |list: &[Value]| [&both[..], &[(1, values(list)), (2, values(list))]].concat();
        assert_eq!(names(Type::LwwRegister, &ending(&[10])), [""; 0]);
        assert_eq!(names(Type::LwwRegister, &ending(&[20])), ["wrong-state", "wrong-state"]);
        assert_eq!(names(Type::MvRegister, &ending(&[10, 20])), [""; 0]);
        assert_eq!(names(Type::MvRegister, &ending(&[10])), ["wrong-state", "wrong-state"]);
        let over = [&both[..], &[(1, write(3, 30, 6, &[1, 2])), (1, values(&[30]))]].concat();
        assert_eq!(names(Type::MvRegister, &over), [""; 0]);
    }

    #[test]
    fn sequences() {
        let place = |number, element, after| Perform(number, Update::Place { element, after });
        let delete = |number, element| Perform(number, Update::Delete { element });
        let both = [(1, place(1, 7, None)), (2, place(2, 8, None)), (1, Receive(2)), (2, Receive(1))];
        let ending = |a: &[Value], b: &[Value]| [&both[..], &[(1, values(a)), (2, values(b))]].concat();
        assert_eq!(names(Type::Sequence, &ending(&[7, 8], &[7, 8])), [""; 0]);
        assert_eq!(names(Type::Sequence, &ending(&[7, 8], &[8, 7])), ["diverged", "no-one-order"]);
        assert_eq!(
            names(Type::Sequence, &[(1, place(1, 7, None)), (1, values(&[7, 7]))]),
            ["wrong-state", "doubled-element"]
        );
        let wrong = [(1, place(1, 7, None)), (1, place(2, 8, Some(7))), (1, values(&[8, 7]))];
        assert_eq!(names(Type::Sequence, &wrong), ["misplaced"]);
        let gone = [(1, place(1, 7, None)), (1, delete(2, 7)), (1, values(&[7]))];
        assert_eq!(names(Type::Sequence, &gone), ["wrong-state"]);
        // The order of two elements may not turn between different sets either.
        let turned =
            [&both[..], &[(1, values(&[7, 8])), (2, place(3, 9, None)), (2, values(&[9, 8, 7]))]].concat();
        assert_eq!(names(Type::Sequence, &turned), ["no-one-order"]);
    }
}
