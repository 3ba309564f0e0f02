//! The specification: what is seen is a function of the set of operations received. Written from the definitions, quadratic,
//! and sharing no code with the space but the format of operations.

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::code::Reader;
use dwcp_crdt::op::{Action, Op};
use dwcp_crdt::rga::Side;
use dwcp_crdt::splice::Splice;
use dwcp_crdt::{Batch, Dot, ReplicaIndex, Roster, VersionVector};
use std::collections::{BTreeMap, BTreeSet};

/// An operation, spelled out.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    dot: Dot,
    hlc: u64,
    /// Names down to the member; for an element of a set, of the set.
    names: Vec<Vec<u8>>,
    kind: Kind,
    element: Vec<u8>,
    supersedes: Vec<Dot>,
    does: Does,
}

#[derive(Clone, Debug)]
enum Does {
    Value(Vec<u8>),
    Add,
    Retire,
    Remove,
    Clear(VersionVector),
    Count {
        instance: Dot,
        plus: u64,
        minus: u64,
    },
    /// What comes hangs on this; what goes.
    Splice {
        hang: Option<Place>,
        values: Vec<Vec<u8>>,
        gone: Vec<Dot>,
    },
}

/// On what an element of a sequence hangs, nothing being the root, and whether left of it.
type Place = (Option<Dot>, bool);

/// One thing that is seen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Seen {
    /// Of a register: its values, the shown one first.
    Values(Vec<(u64, Dot, Vec<u8>)>),
    /// Of a counter.
    Total(i128),
    /// Of a set.
    Elements(Vec<Vec<u8>>),
    /// Of a sequence, in order.
    List(Vec<(Dot, Vec<u8>)>),
}

/// Everything that is seen, by place.
pub(crate) type View = BTreeMap<(Vec<Vec<u8>>, Kind), Seen>;

/// A replica's part in one instance of a counter.
type Share<'m> = (&'m Vec<Vec<u8>>, Kind, Dot, ReplicaIndex);

/// Every operation ever made.
#[derive(Clone, Default, Debug)]
pub(crate) struct Spec {
    made: BTreeMap<Dot, Made>,
}

impl Spec {
    /// Takes note of what was made. A dot that a crash took back may come again, as another operation.
    pub(crate) fn add(&mut self, batch: &Batch) {
        for op in batch.ops() {
            let op = op.expect("we made it");
            let taken_back: Vec<Dot> = self.made.range(op.dot..=op.last()).map(|(dot, _)| *dot).collect();
            for dot in taken_back {
                self.made.remove(&dot);
            }
            self.made.insert(op.dot, spell(&op));
        }
    }
    /// What a replica of that version must show.
    pub(crate) fn view(&self, version: &VersionVector, roster: &Roster) -> View {
        let received: Vec<&Made> = self.made.values().filter(|m| version.contains(m.dot)).collect();
        let mut out = View::new();
        let mut retired: Vec<(&Vec<Vec<u8>>, &Vec<u8>)> = Vec::new();
        let mut counts: BTreeMap<Share<'_>, (u64, u64, u64)> = BTreeMap::new();
        let lost = |origin| roster.cuts_off(origin) && !version.contains(origin);
        lists(&received, lost, &mut out);
        for m in &received {
            let named = match m.does {
                Does::Count { instance, .. } => instance,
                _ => m.dot,
            };
            let gone = received.iter().any(|by| match &by.does {
                _ if by.supersedes.contains(&named) => true,
                Does::Clear(upto) => upto.contains(named) && below(m, by),
                _ => false,
            });
            if gone {
                continue;
            }
            let place = (m.names.clone(), m.kind);
            match &m.does {
                Does::Value(v) => {
                    let Seen::Values(all) = out.entry(place).or_insert(Seen::Values(Vec::new())) else {
                        panic!()
                    };
                    all.push((m.hlc, m.dot, v.clone()));
                }
                Does::Add => {
                    let Seen::Elements(all) = out.entry(place).or_insert(Seen::Elements(Vec::new())) else {
                        panic!()
                    };
                    all.push(m.element.clone());
                }
                Does::Retire => retired.push((&m.names, &m.element)),
                Does::Count { instance, plus, minus } => {
                    let share = counts.entry((&m.names, m.kind, *instance, m.dot.replica())).or_default();
                    *share = (*share).max((m.dot.sequence(), *plus, *minus));
                }
                Does::Remove | Does::Clear(_) | Does::Splice { .. } => {}
            }
        }
        for ((names, kind, _, _), (_, plus, minus)) in counts {
            let place = (names.clone(), kind);
            let Seen::Total(t) = out.entry(place).or_insert(Seen::Total(0)) else { panic!() };
            *t += i128::from(plus) - i128::from(minus);
        }
        for (names, element) in retired {
            let place = (names.clone(), Kind::TwoPhaseSet);
            let Seen::Elements(all) = out.entry(place).or_insert(Seen::Elements(Vec::new())) else {
                panic!()
            };
            all.retain(|e| e != element);
        }
        for seen in out.values_mut() {
            match seen {
                Seen::Values(all) => all.sort_by_key(|v| std::cmp::Reverse((v.0, v.1))),
                Seen::Elements(all) => {
                    all.sort();
                    all.dedup();
                }
                Seen::Total(_) | Seen::List(_) => {}
            }
        }
        // A set whose elements all went is no set, whether retired records keep its place or not.
        out.retain(|_, seen| !matches!(seen, Seen::Elements(all) if all.is_empty()));
        out
    }
}

/// Sequences, from their definition: elements are the nodes of a tree, each on the side of another on which it hangs; the tree is
/// read left children, element, right children, siblings by name; the dead are passed over, and what hangs on
/// nothing that has come is not reached.
fn lists(received: &[&Made], lost: impl Fn(Dot) -> bool, out: &mut View) {
    let mut gone: BTreeSet<Dot> = BTreeSet::new();
    let mut trees: BTreeMap<&Vec<Vec<u8>>, Tree<'_>> = BTreeMap::new();
    for m in received {
        let Does::Splice { hang, values, gone: named } = &m.does else { continue };
        gone.extend(named);
        let Some(hang) = hang else { continue };
        let tree = trees.entry(&m.names).or_default();
        // What an eviction has cut off will never come: the root stands for it.
        let cut = hang.0.is_some_and(&lost);
        let mut hang = if cut { (None, false) } else { *hang };
        for k in 0..values.len() as u64 {
            let name = Dot::new(m.dot.replica(), m.dot.sequence() + k);
            tree.entry(hang).or_default().insert(name, m);
            hang = (Some(name), false);
        }
    }
    for (names, tree) in trees {
        let mut shown = Vec::new();
        read(&tree, &mut |name, m| {
            let cleared = received.iter().any(|by| {
                let upto = matches!(&by.does, Does::Clear(upto) if upto.contains(name) && below(m, by));
                upto || by.supersedes.contains(&name)
            });
            if let (false, Does::Splice { values, .. }) = (cleared || gone.contains(&name), &m.does) {
                shown.push((name, values[(name.sequence() - m.dot.sequence()) as usize].clone()));
            }
        });
        if !shown.is_empty() {
            out.insert((names.clone(), Kind::Sequence), Seen::List(shown));
        }
    }
}

type Tree<'m> = BTreeMap<Place, BTreeMap<Dot, &'m Made>>;

fn read<'m>(tree: &Tree<'m>, see: &mut impl FnMut(Dot, &'m Made)) {
    for (name, m) in tree.get(&(None, false)).into_iter().flatten() {
        read_one(tree, *name, m, see);
    }
}

fn read_one<'m>(tree: &Tree<'m>, name: Dot, m: &'m Made, see: &mut impl FnMut(Dot, &'m Made)) {
    for (child, m) in tree.get(&(Some(name), true)).into_iter().flatten() {
        read_one(tree, *child, m, see);
    }
    see(name, m);
    for (child, m) in tree.get(&(Some(name), false)).into_iter().flatten() {
        read_one(tree, *child, m, see);
    }
}

/// Whether clearing the one place takes the other along.
fn below(m: &Made, by: &Made) -> bool {
    m.names.starts_with(&by.names)
        && if m.names.len() == by.names.len() { m.kind == by.kind } else { by.kind == Kind::Map }
}

fn spell(op: &Op<'_>) -> Made {
    let container = Address::decode(&mut Reader::new(op.container)).expect("checked");
    let (mut names, mut element) = (container.names, Vec::new());
    if op.container_kind == Kind::Map {
        names.push(op.name.to_vec())
    } else {
        element = op.name.to_vec()
    }
    let does = match &op.action {
        Action::Write(v) => Does::Value(v.to_vec()),
        Action::Add => Does::Add,
        Action::Retire => Does::Retire,
        Action::Remove => Does::Remove,
        Action::Clear(upto) => Does::Clear(upto.clone().unwrap_or_default()),
        Action::Count { instance, plus, minus } => {
            Does::Count { instance: *instance, plus: *plus, minus: *minus }
        }
        Action::Escrow { instance, granted, spent, .. } => {
            Does::Count { instance: *instance, plus: *granted, minus: *spent }
        }
        Action::Splice { width, bytes } => {
            let splice = Splice::decode(op.dot, *width, bytes).expect("checked");
            Does::Splice {
                hang: splice.hang.map(|h| (h.origin, h.side == Side::Left)),
                values: splice.elements().map(<[u8]>::to_vec).collect(),
                gone: splice
                    .spans
                    .iter()
                    .flat_map(|s| (0..u64::from(s.len)).map(|k| Dot::from_bits(s.first.bits() + k)))
                    .collect(),
            }
        }
    };
    let supersedes = op.supersedes.as_slice().to_vec();
    Made { dot: op.dot, hlc: op.hlc.0, names, kind: op.kind, element, supersedes, does }
}
