//! The specification: what is seen is a function of the set of operations received. Written from the definitions, and sharing no code with
//! the space but the format of operations.
//!
//! An operation that an eviction cut off and that its maker made anew is the *same* operation under another dot. So each operation has an
//! identity, the first dot that it had, and whatever names it by any of its dots means it: nothing here is read through a roster. What it says is
//! what it said first; a counter's increment is what it added then, whatever totals it carries now. Only what a sequence's element hangs on is
//! taken from the dot that it goes by, because that is decided anew.
//!
//! A node that lost its disk and got back from others what it had made once does not know how far it had come. What of that is cut off it makes
//! anew as something else: nobody's older removal finds it.

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::code::Reader;
use dwcp_crdt::hlc::Hlc;
use dwcp_crdt::op::{Action, Op};
use dwcp_crdt::rga::Side;
use dwcp_crdt::space::{Field, Sibling, Value};
use dwcp_crdt::splice::Splice;
use dwcp_crdt::{Batch, Begins, Dot, Member, ReplicaIndex, Roster, VersionVector};
use std::collections::{BTreeMap, BTreeSet};

/// An operation, spelled out.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// The dot it goes by, and the first it had.
    dot: Dot,
    id: Dot,
    hlc: u64,
    /// Names down to the member; for an element of a set, of the set.
    names: Vec<Vec<u8>>,
    kind: Kind,
    element: Vec<u8>,
    supersedes: Vec<Dot>,
    does: Does,
    /// What a counter's increment adds to its maker's totals.
    adds: i128,
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

impl Made {
    fn width(&self) -> u64 {
        match &self.does {
            Does::Splice { values, .. } => values.len().max(1) as u64,
            _ => 1,
        }
    }
}

/// An operation that clears a place of what a version knows.
type Clearing<'m> = (&'m Made, &'m VersionVector);

/// On what an element of a sequence hangs, nothing being the root, and whether left of it.
type Place = (Option<Dot>, bool);

/// What is made anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Old {
    /// The dot it went by.
    pub(crate) dot: Dot,
    /// Its maker's log has it no more.
    pub(crate) lost: bool,
    /// Whether it is known to all by the new one: not if its maker lost its disk since.
    pub(crate) known: bool,
    /// Whether what it names is to be read as it is spelled now: its maker made something anew that is not known to all.
    pub(crate) spelled: bool,
}

/// Everything that is seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct View {
    /// As it is read from the root.
    pub(crate) value: Value,
    /// The names of the elements of each sequence, in order.
    pub(crate) lists: Vec<(Address, Vec<Dot>)>,
}

/// Every operation ever made.
#[derive(Clone, Default, Debug)]
pub(crate) struct Spec {
    made: BTreeMap<Dot, Made>,
    /// Of what goes by another dot than its first: the first, element by element.
    first: BTreeMap<Dot, Dot>,
    /// By the first: the others.
    others: BTreeMap<Dot, Vec<Dot>>,
    /// Of what was made anew: what was made first, whether that is who it is or not.
    origin: BTreeMap<Dot, Dot>,
    /// Places that go on with what an eviction cut off at another, and beyond which number.
    next: Vec<(ReplicaIndex, ReplicaIndex, u64)>,
    /// Whether something done to a bounded counter was made anew.
    pub(crate) spent_anew: bool,
}

impl Spec {
    /// Takes note of what was made, and whether an operation was forgotten for it: a dot that a crash took back may come again.
    pub(crate) fn add(&mut self, batch: &Batch) -> bool {
        let mut forgot = false;
        for op in batch.ops() {
            let op = op.expect("we made it");
            forgot |= self.forget(op.dot, op.last());
            let mut made = spell(&op);
            made.adds = self.adds(&made);
            self.made.insert(op.dot, made);
        }
        forgot
    }
    /// Takes note that an operation was made anew, by one that had seen this.
    ///
    /// # Errors
    /// If it is not what it was.
    pub(crate) fn add_anew(&mut self, op: &Op<'_>, old: Old, seen: &VersionVector) -> Result<(), String> {
        self.forget(op.dot, op.last());
        self.origin.insert(op.dot, self.origin(old.dot));
        if old.lost {
            let is = spell(op);
            let nothing = matches!(is.does, Does::Remove) && is.supersedes.is_empty();
            self.made.insert(op.dot, is);
            return if nothing { Ok(()) } else { Err(format!("made anew of {old:?}, which is lost")) };
        }
        let Some(was) = self.made.get(&old.dot).cloned() else {
            return Err(format!("{old:?} was never made"));
        };
        let is = spell(op);
        let same = (is.hlc, &is.names, is.kind, &is.element, is.width())
            == (was.hlc, &was.names, was.kind, &was.element, was.width());
        if !same {
            return Err(format!("made anew of {was:?}: {is:?}"));
        }
        let does = match (was.does, is.does) {
            (_, is) if old.spelled => is,
            (Does::Splice { values, gone, .. }, Does::Splice { hang, .. }) => {
                Does::Splice { hang, values, gone }
            }
            (was, _) => was,
        };
        let supersedes = if old.spelled { is.supersedes } else { was.supersedes };
        let id = if old.known { was.id } else { op.dot };
        for k in 0..op.last().sequence() - op.dot.sequence() + 1 {
            let (now, first) = (Dot::from_bits(op.dot.bits() + k), Dot::from_bits(id.bits() + k));
            if now != first {
                self.first.insert(now, first);
                self.others.entry(first).or_default().push(now);
            }
        }
        self.spent_anew |= was.kind == Kind::Bounded;
        // An increment of a counter that is gone where it is made anew adds nothing anywhere.
        let mut adds = was.adds;
        if let Does::Count { instance, .. } = &does {
            let received = self.received(seen);
            let (gone, clears) = self.removals(&received);
            adds *= i128::from(!self.is_gone(self.id(*instance), &was.names, was.kind, &gone, &clears));
        }
        self.made.insert(op.dot, Made { dot: op.dot, id, supersedes, does, adds, ..was });
        Ok(())
    }
    fn forget(&mut self, from: Dot, to: Dot) -> bool {
        let gone: Vec<Dot> = self.made.range(from..=to).map(|(dot, _)| *dot).collect();
        for dot in &gone {
            self.origin.remove(dot);
            let width = self.made.remove(dot).map_or(0, |m| m.width());
            for now in (0..width).map(|k| Dot::from_bits(dot.bits() + k)) {
                if let Some(others) = self.first.remove(&now).and_then(|first| self.others.get_mut(&first)) {
                    others.retain(|d| *d != now);
                }
            }
        }
        !gone.is_empty()
    }
    /// What an increment adds to what its maker had added before at this place: operations carry totals.
    fn adds(&self, made: &Made) -> i128 {
        let Does::Count { instance, plus, minus } = &made.does else { return 0 };
        let instance = self.id(*instance);
        let same =
            |m: &&Made| matches!(&m.does, Does::Count { instance: of, .. } if self.id(*of) == instance);
        let before = self.made.range(Dot::new(made.dot.replica(), 0)..made.dot).map(|(_, m)| m).filter(same);
        i128::from(*plus) - i128::from(*minus) - before.map(|m| m.adds).sum::<i128>()
    }
    /// The first dot of what goes by this one, or will: what was cut off has its next name from the eviction on.
    pub(crate) fn id(&self, dot: Dot) -> Dot {
        if let Some(first) = self.first.get(&dot) {
            return *first;
        }
        let before = self.next.iter().find(|(next, ..)| *next == dot.replica());
        let was = before.map(|(_, of, cut)| Dot::new(*of, cut + dot.sequence()));
        match was.filter(|_| !self.is_made(dot)).filter(|was| self.is_made(*was)) {
            Some(was) => self.id(was),
            None => dot,
        }
    }
    fn is_made(&self, dot: Dot) -> bool {
        let near = self.made.range(Dot::new(dot.replica(), 0)..=dot).next_back();
        near.is_some_and(|(at, m)| at.bits() + m.width() > dot.bits())
    }
    /// Takes note of who goes on where which place ended.
    pub(crate) fn decided(&mut self, roster: &Roster) {
        let places = || roster.iter();
        let goes_on = |(next, m): (ReplicaIndex, &Member)| {
            let of = places().filter(|(r, o)| *r < next && o.node == m.node).last()?.0;
            if let Begins::Beyond(cut) = m.begins { Some((next, of, cut)) } else { None }
        };
        self.next = places().filter_map(goes_on).collect();
    }
    /// Forgets what a replica made beyond this number: a crash took it back.
    pub(crate) fn take_back(&mut self, of: ReplicaIndex, beyond: u64) -> bool {
        self.forget(Dot::new(of, beyond + 1), Dot::new(of, dwcp_crdt::dot::SEQUENCE_MAX))
    }
    /// Whether a version has what was called so first, by any of its names.
    fn knows(&self, version: &VersionVector, id: Dot) -> bool {
        version.contains(id)
            || self.others.get(&id).is_some_and(|all| all.iter().any(|d| version.contains(*d)))
    }
    fn received(&self, version: &VersionVector) -> Vec<&Made> {
        self.made.values().filter(|m| version.contains(m.dot)).collect()
    }
    /// What an operation was first.
    pub(crate) fn origin(&self, dot: Dot) -> Dot {
        self.origin.get(&dot).copied().unwrap_or(dot)
    }
    /// All operations that were made anew, with what they were first.
    pub(crate) fn made_anew(&self) -> impl Iterator<Item = (Dot, Dot)> + '_ {
        self.origin.iter().map(|(now, first)| (*now, *first))
    }
    /// What of these operations a version does not have by any name, and what it has twice.
    pub(crate) fn amiss(&self, version: &VersionVector, promised: &[(Dot, Dot)]) -> (Vec<Dot>, Vec<Dot>) {
        let (mut all, mut twice) = (BTreeSet::new(), Vec::new());
        let received = self.received(version);
        for m in &received {
            if !all.insert(m.id) {
                twice.push(m.id);
            }
        }
        // What is made anew by one whose log has lost some goes by names that nobody knows.
        let nothing = |m: &&&Made| matches!(m.does, Does::Remove) && m.supersedes.is_empty();
        all.extend(received.iter().filter(|m| !nothing(m)).map(|m| self.origin(m.dot)));
        let promised = promised.iter().flat_map(|(from, to)| self.made.range(*from..=*to));
        (promised.map(|(_, m)| m.id).filter(|id| !all.contains(id)).collect(), twice)
    }
    /// What these operations remove by name, in order, and what they clear.
    fn removals<'m>(&self, received: &[&'m Made]) -> (Vec<Dot>, Vec<Clearing<'m>>) {
        let mut gone: Vec<Dot> = received.iter().flat_map(|by| &by.supersedes).map(|d| self.id(*d)).collect();
        gone.sort_unstable();
        let clearing = |by: &&'m Made| match &by.does {
            Does::Clear(upto) => Some((*by, upto)),
            _ => None,
        };
        (gone, received.iter().filter_map(clearing).collect())
    }
    fn is_gone(&self, id: Dot, names: &[Vec<u8>], kind: Kind, gone: &[Dot], clears: &[Clearing<'_>]) -> bool {
        gone.binary_search(&id).is_ok()
            || clears.iter().any(|(by, upto)| self.knows(upto, id) && below(names, kind, by))
    }
    /// What a replica of that version must show, if it goes by that roster: of that only which elements will never come.
    pub(crate) fn view(&self, version: &VersionVector, roster: &Roster) -> View {
        let received = self.received(version);
        let (gone, clears) = self.removals(&received);
        let is_gone = |id: Dot, m: &Made| self.is_gone(id, &m.names, m.kind, &gone, &clears);
        let (mut top, mut retired) = (Vec::new(), Vec::new());
        for m in &received {
            let named = match &m.does {
                Does::Count { instance, .. } => self.id(*instance),
                Does::Remove | Does::Clear(_) | Does::Splice { .. } => continue,
                _ => m.id,
            };
            if is_gone(named, m) {
                continue;
            }
            match &m.does {
                Does::Value(v) => {
                    let new = Sibling { dot: m.dot, hlc: Hlc(m.hlc), value: v.clone() };
                    let Value::Register(all) =
                        place(&mut top, &m.names, m.kind, || Value::Register(Vec::new()))
                    else {
                        panic!("a register")
                    };
                    all.push(new);
                }
                Does::Add => {
                    let Value::Set(all) = place(&mut top, &m.names, m.kind, || Value::Set(Vec::new())) else {
                        panic!("a set")
                    };
                    all.push(m.element.clone());
                }
                Does::Count { .. } => {
                    let Value::Counter(t) = place(&mut top, &m.names, m.kind, || Value::Counter(0)) else {
                        panic!("a counter")
                    };
                    *t += m.adds;
                }
                _ => retired.push(m),
            }
        }
        for m in retired {
            if let Value::Set(all) = place(&mut top, &m.names, m.kind, || Value::Set(Vec::new())) {
                all.retain(|e| *e != m.element);
            }
        }
        let lost = |origin| roster.cuts_off(origin) && !version.contains(origin);
        let mut lists = Vec::new();
        for (names, shown) in self.lists(&received, lost, is_gone) {
            let (dots, values) = shown.into_iter().unzip();
            *place(&mut top, names, Kind::Sequence, || Value::Counter(0)) = Value::Sequence(values);
            lists.push((Address { names: names.clone(), kind: Kind::Sequence }, dots));
        }
        let mut value = Value::Map(top);
        tidy(&mut value);
        View { value, lists }
    }
    /// Sequences, from their definition: elements are the nodes of a tree, each on the side of another on which it hangs; the tree is
    /// read left children, element, right children, siblings by name; the dead are passed over, and what hangs on
    /// nothing that has come is not reached.
    fn lists<'m>(
        &self,
        received: &[&'m Made],
        lost: impl Fn(Dot) -> bool,
        is_gone: impl Fn(Dot, &Made) -> bool,
    ) -> Vec<List<'m>> {
        let mut gone: Vec<Dot> = Vec::new();
        let mut trees: BTreeMap<&Vec<Vec<u8>>, Tree<'_>> = BTreeMap::new();
        for m in received {
            let Does::Splice { hang, values, gone: named } = &m.does else { continue };
            gone.extend(named.iter().map(|dot| self.id(*dot)));
            let Some(hang) = hang else { continue };
            let tree = trees.entry(&m.names).or_default();
            // What an eviction has cut off will never come by that name: the root stands for it.
            let mut hang = if hang.0.is_some_and(&lost) { (None, false) } else { *hang };
            for k in 0..values.len() as u64 {
                let name = Dot::new(m.dot.replica(), m.dot.sequence() + k);
                tree.push((hang, name, m));
                hang = (Some(name), false);
            }
        }
        gone.sort_unstable();
        let mut out = Vec::new();
        for (names, mut tree) in trees {
            tree.sort_unstable_by_key(|(hang, name, _)| (*hang, *name));
            let mut shown = Vec::new();
            read(&tree, (None, false), &mut |name, m| {
                let id = self.id(name);
                if let Does::Splice { values, .. } = &m.does
                    && gone.binary_search(&id).is_err()
                    && !is_gone(id, m)
                {
                    shown.push((name, values[(name.sequence() - m.dot.sequence()) as usize].clone()));
                }
            });
            if !shown.is_empty() {
                out.push((names, shown));
            }
        }
        out
    }
}

/// What is shown of a sequence, by the names of its place.
type List<'m> = (&'m Vec<Vec<u8>>, Vec<(Dot, Vec<u8>)>);

/// Elements with what they hang on, in that order.
type Tree<'m> = Vec<(Place, Dot, &'m Made)>;

fn read<'m>(tree: &Tree<'m>, at: Place, see: &mut impl FnMut(Dot, &'m Made)) {
    let from = tree.partition_point(|(hang, ..)| *hang < at);
    for (_, name, m) in tree[from..].iter().take_while(|(hang, ..)| *hang == at) {
        read(tree, (Some(*name), true), see);
        see(*name, m);
        read(tree, (Some(*name), false), see);
    }
}

/// What lies at a place of what is seen, made if nothing does.
fn place<'v>(
    mut at: &'v mut Vec<(Field, Value)>,
    names: &[Vec<u8>],
    kind: Kind,
    new: impl Fn() -> Value,
) -> &'v mut Value {
    let (last, above) = names.split_last().expect("nothing but fields");
    let field = |at: &mut Vec<(Field, Value)>, name: &Vec<u8>, kind, new: &dyn Fn() -> Value| {
        let there = at.binary_search_by(|(f, _)| (f.name.as_slice(), f.kind).cmp(&(name, kind)));
        there.unwrap_or_else(|i| {
            at.insert(i, (Field { name: name.clone(), kind }, new()));
            i
        })
    };
    for name in above {
        let i = field(at, name, Kind::Map, &|| Value::Map(Vec::new()));
        let Value::Map(below) = &mut at[i].1 else { panic!("a map") };
        at = below;
    }
    let i = field(at, last, kind, &new);
    &mut at[i].1
}

/// Puts what is seen in the order in which it is shown. A set whose elements all went is no set, whether retired records keep its place or not;
/// and a map of nothing is no map.
fn tidy(value: &mut Value) {
    match value {
        Value::Register(all) => all.sort_unstable_by_key(|s| std::cmp::Reverse((s.hlc, s.dot))),
        Value::Set(all) => {
            all.sort_unstable();
            all.dedup();
        }
        Value::Map(fields) => {
            fields.iter_mut().for_each(|(_, v)| tidy(v));
            drop_empty(fields);
        }
        Value::Counter(_) | Value::Sequence(_) => {}
    }
}

/// Takes away sets and maps of nothing.
pub(crate) fn drop_empty(fields: &mut Vec<(Field, Value)>) {
    fields.retain_mut(|(_, v)| match v {
        Value::Set(all) => !all.is_empty(),
        Value::Map(below) => {
            drop_empty(below);
            !below.is_empty()
        }
        _ => true,
    });
}

/// Whether clearing the one place takes the other along.
fn below(names: &[Vec<u8>], kind: Kind, by: &Made) -> bool {
    names.starts_with(&by.names)
        && if names.len() == by.names.len() { kind == by.kind } else { by.kind == Kind::Map }
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
    Made { dot: op.dot, id: op.dot, hlc: op.hlc.0, names, kind: op.kind, element, supersedes, does, adds: 0 }
}
