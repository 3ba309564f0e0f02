//! Snapshots of many objects that cost nothing to take, and the way back to one.
//!
//! **Promise.** [`Tree::clone`] is one pointer: a checkpoint. What changes afterwards shares all else with it. [`rollback`] tells the writes that lead back; they are new
//! writes, with new dots: nothing that others have seen is undone behind their backs, no version vector runs backward.
//!
//! [`taken`] is a checkpoint in bytes: for who has to keep it through a restart.
//!
//! A persistent B-tree: nodes behind [`Arc`], copied on the way down where somebody else holds them ([`Arc::make_mut`]), changed in place where nobody
//! does. [`Tree::differences`] skips what two trees share, so going back costs by what changed, not by what there is.
//!
//! **Invariants.** 1. Keys ascend across the leaves. 2. All leaves lie at one depth. 3. A node holds at most [`WIDE`] entries, and all but the root at least a
//! quarter of that.

pub mod taken;

use crate::conflict::Place;
use crate::pointer::Pointer;
use crate::queue::Write;
use crate::reference::Name;
use crate::value::Value;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// Entries of a node.
pub const WIDE: usize = 32;
/// Fewer than this, and a node joins its neighbour.
const NARROW: usize = WIDE / 4;

/// Objects by kind and key. Not all that is there need fit the schema in force: it may be older.
pub type Objects = Tree<Name, Value>;

#[derive(Clone, Debug)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    /// Each child with a key that none of its own is below, but for the first child, whose key says nothing.
    Branch(Vec<(K, Arc<Self>)>),
}

/// A sorted map whose copies are checkpoints.
#[derive(Clone, Debug)]
pub struct Tree<K, V> {
    root: Arc<Node<K, V>>,
    height: usize,
    len: usize,
}

impl<K: Ord + Clone, V: Clone> Default for Tree<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())), height: 0, len: 0 }
    }
}

/// A key, and what each of two trees has there.
pub type Difference<'t, K, V> = (&'t K, Option<&'t V>, Option<&'t V>);

impl<K: Ord + Clone, V: Clone> Tree<K, V> {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }
    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// What a key has.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(all) => {
                    return all.binary_search_by(|(k, _)| k.cmp(key)).ok().map(|at| &all[at].1);
                }
                Node::Branch(all) => node = &all[child(all, key)].1,
            }
        }
    }
    /// A key has this now; tells what it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let mut had = None;
        if let Some(split) = Arc::make_mut(&mut self.root).insert(key.clone(), value, &mut had) {
            let first = core::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            self.root = Arc::new(Node::Branch(Vec::from([(key, first), split])));
            self.height += 1;
        }
        self.len += usize::from(had.is_none());
        had
    }
    /// A key has nothing now; tells what it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        // A key that is not there copies nothing.
        self.get(key)?;
        let had = Arc::make_mut(&mut self.root).remove(key);
        while let Node::Branch(all) = &*self.root
            && let [(_, only)] = &all[..]
        {
            self.root = only.clone();
            self.height -= 1;
        }
        self.len -= usize::from(had.is_some());
        had
    }
    /// All entries, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let mut walk = Walk::new(self);
        core::iter::from_fn(move || {
            while let Some(next) = walk.0.pop() {
                match next {
                    Next::Entry(k, v) => return Some((k, v)),
                    Next::Node(node, height) => walk.open(node, height),
                }
            }
            None
        })
    }
}

impl<K: Ord + Clone, V: Clone + PartialEq> Tree<K, V> {
    /// Where two trees differ, ascending; what they share is not looked at.
    #[must_use]
    pub fn differences<'t>(&'t self, other: &'t Self) -> Vec<Difference<'t, K, V>> {
        let (mut a, mut b) = (Walk::new(self), Walk::new(other));
        let mut out = Vec::new();
        loop {
            match (a.0.pop(), b.0.pop()) {
                (None, None) => return out,
                (Some(Next::Node(x, _)), Some(Next::Node(y, _))) if Arc::ptr_eq(x, y) => {}
                // The higher is opened first, so that equal nodes meet.
                (Some(Next::Node(x, h)), y) if y.as_ref().is_none_or(|y| y.height() <= h) => {
                    b.0.extend(y);
                    a.open(x, h);
                }
                (x, Some(Next::Node(y, h))) => {
                    a.0.extend(x);
                    b.open(y, h);
                }
                (Some(Next::Entry(k, v)), Some(Next::Entry(l, w))) => match k.cmp(l) {
                    Ordering::Less => {
                        out.push((k, Some(v), None));
                        b.0.push(Next::Entry(l, w));
                    }
                    Ordering::Greater => {
                        out.push((l, None, Some(w)));
                        a.0.push(Next::Entry(k, v));
                    }
                    Ordering::Equal if v != w => out.push((k, Some(v), Some(w))),
                    Ordering::Equal => {}
                },
                (Some(Next::Entry(k, v)), None) => out.push((k, Some(v), None)),
                (None, Some(Next::Entry(l, w))) => out.push((l, None, Some(w))),
                (Some(Next::Node(x, h)), y) => {
                    b.0.extend(y);
                    a.open(x, h);
                }
            }
        }
    }
}

/// Which child holds a key.
fn child<K: Ord, C>(all: &[(K, C)], key: &K) -> usize {
    all.partition_point(|(k, _)| k <= key).saturating_sub(1)
}

impl<K: Ord + Clone, V: Clone> Node<K, V> {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(all) => all.len(),
            Self::Branch(all) => all.len(),
        }
    }
    /// Inserts; if the node was full, its second half is given back, with a key that none of its own is below.
    fn insert(&mut self, key: K, value: V, had: &mut Option<V>) -> Option<(K, Arc<Self>)> {
        match self {
            Self::Leaf(all) => match all.binary_search_by(|(k, _)| k.cmp(&key)) {
                Ok(at) => *had = Some(core::mem::replace(&mut all[at].1, value)),
                Err(at) => all.insert(at, (key, value)),
            },
            Self::Branch(all) => {
                let at = child(all, &key);
                let split = Arc::make_mut(&mut all[at].1).insert(key, value, had)?;
                all.insert(at + 1, split);
            }
        }
        (self.len() > WIDE).then(|| self.halve())
    }
    fn halve(&mut self) -> (K, Arc<Self>) {
        let at = self.len() / 2;
        match self {
            Self::Leaf(all) => {
                let rest = all.split_off(at);
                (rest[0].0.clone(), Arc::new(Self::Leaf(rest)))
            }
            Self::Branch(all) => {
                let rest = all.split_off(at);
                (rest[0].0.clone(), Arc::new(Self::Branch(rest)))
            }
        }
    }
    fn remove(&mut self, key: &K) -> Option<V> {
        match self {
            Self::Leaf(all) => {
                let at = all.binary_search_by(|(k, _)| k.cmp(key)).ok()?;
                Some(all.remove(at).1)
            }
            Self::Branch(all) => {
                let at = child(all, key);
                let had = Arc::make_mut(&mut all[at].1).remove(key);
                if all[at].1.len() < NARROW && all.len() > 1 {
                    let left = at.saturating_sub(1);
                    let (bound, right) = all.remove(left + 1);
                    let right = Arc::unwrap_or_clone(right);
                    let left_node = Arc::make_mut(&mut all[left].1);
                    left_node.append(bound, right);
                    if left_node.len() > WIDE {
                        let split = left_node.halve();
                        all.insert(left + 1, split);
                    }
                }
                had
            }
        }
    }
    /// Takes all of a right neighbour of one height, none of whose keys is below `bound`.
    fn append(&mut self, bound: K, right: Self) {
        match (self, right) {
            (Self::Leaf(all), Self::Leaf(more)) => all.extend(more),
            (Self::Branch(all), Self::Branch(more)) => {
                let first = all.len();
                all.extend(more);
                // The first child's key said nothing where it was first.
                all[first].0 = bound;
            }
            _ => unreachable!("invariant 2: neighbours are of one height"),
        }
    }
}

/// What comes next of a tree.
enum Next<'t, K, V> {
    Entry(&'t K, &'t V),
    Node(&'t Arc<Node<K, V>>, usize),
}

impl<K, V> Next<'_, K, V> {
    /// Leaves are of height 0, so entries count as lower than any node.
    const fn height(&self) -> usize {
        match self {
            Self::Entry(..) => 0,
            Self::Node(_, h) => *h,
        }
    }
}

/// What is still to come of a tree; the next is last.
struct Walk<'t, K, V>(Vec<Next<'t, K, V>>);

impl<'t, K, V> Walk<'t, K, V> {
    fn new(tree: &'t Tree<K, V>) -> Self {
        Self(Vec::from([Next::Node(&tree.root, tree.height)]))
    }
    fn open(&mut self, node: &'t Arc<Node<K, V>>, height: usize) {
        match &**node {
            Node::Leaf(all) => self.0.extend(all.iter().rev().map(|(k, v)| Next::Entry(k, v))),
            Node::Branch(all) => self.0.extend(all.iter().rev().map(|(_, c)| Next::Node(c, height - 1))),
        }
    }
}

/// The writes that lead from what objects are now back to what they were. `splits` tells whether the fields below one are places of their
/// own: what lies in a field that is written as a whole is not named by itself.
#[must_use]
pub fn rollback(now: &Objects, then: &Objects, splits: impl Fn(&str, &Pointer) -> bool) -> Vec<Write> {
    let mut out = Vec::new();
    for ((kind, key), was, is) in then.differences(now) {
        let mut at = Pointer::root();
        fields(was, is, &mut at, &|at| splits(kind, at), &mut |at, value| {
            let place = Place { kind: kind.clone(), key: key.clone(), pointer: at.clone() };
            // What lies there now is superseded by whoever makes the write: only a space knows its dots.
            out.push(Write { place, value, supersedes: Vec::new() });
        });
    }
    out
}

/// The smallest fields in which two values differ, with what the first has there.
fn fields(
    was: Option<&Value>,
    is: Option<&Value>,
    at: &mut Pointer,
    splits: &impl Fn(&Pointer) -> bool,
    found: &mut impl FnMut(&Pointer, Option<Value>),
) {
    if was == is {
        return;
    }
    let (Some(Value::Map(was_map)), Some(Value::Map(is_map))) = (was, is) else {
        return found(at, was.cloned());
    };
    if !splits(at) {
        return found(at, was.cloned());
    }
    let (mut a, mut b) = (was_map.iter().peekable(), is_map.iter().peekable());
    loop {
        let (name, was, is) = match (a.peek(), b.peek()) {
            (None, None) => return,
            (Some((n, v)), other) if other.is_none_or(|(m, _)| n < m) => {
                a.next();
                (n, Some(v), None)
            }
            (Some((n, v)), Some((m, w))) if n == m => {
                a.next();
                b.next();
                (n, Some(v), Some(w))
            }
            (_, Some((m, w))) => {
                b.next();
                (m, None, Some(w))
            }
            (Some(_), None) => unreachable!("taken by the second arm"),
        };
        let here = at.enter(name);
        fields(was, is, at, splits, found);
        at.leave(here);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check<K: Ord + Clone, V: Clone>(node: &Node<K, V>, height: usize, root: bool) {
        assert!(node.len() <= WIDE && (root || node.len() >= NARROW), "invariant 3: {}", node.len());
        if let Node::Branch(all) = node {
            all.iter().for_each(|(_, c)| check(c, height - 1, false));
        } else {
            assert_eq!(height, 0, "invariant 2");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

        #[test]
        fn a_tree_is_a_map_and_its_copies_stay_what_they_were(
            steps in prop::collection::vec((0u32..10, 0u32..400, 0u32..3), 0..900)
        ) {
            let (mut tree, mut map) = (Tree::new(), BTreeMap::new());
            let mut kept: Vec<(Tree<u32, u32>, BTreeMap<u32, u32>)> = Vec::new();
            for (what, key, value) in steps {
                match what {
                    0..=5 => prop_assert_eq!(tree.insert(key, value), map.insert(key, value)),
                    6..=8 => prop_assert_eq!(tree.remove(&key), map.remove(&key)),
                    _ => kept.push((tree.clone(), map.clone())),
                }
                prop_assert_eq!(tree.get(&key), map.get(&key));
                prop_assert_eq!(tree.len(), map.len());
            }
            check(&tree.root, tree.height, true);
            prop_assert!(tree.iter().eq(map.iter()));
            for (t, m) in &kept {
                prop_assert!(t.iter().eq(m.iter()));
                let mut want = Vec::new();
                let keys: std::collections::BTreeSet<_> = m.keys().chain(map.keys()).collect();
                for k in keys.into_iter().filter(|k| m.get(k) != map.get(k)) {
                    want.push((k, m.get(k), map.get(k)));
                }
                prop_assert_eq!(t.differences(&tree), want);
            }
        }
    }

    /// High enough that branches join branches.
    #[test]
    fn a_high_tree_shrinks_in_order() {
        let scrambled = |n: u32| n.wrapping_mul(2_654_435_761) % 30_011;
        let (mut tree, mut map) = (Tree::new(), BTreeMap::new());
        for n in 0..30_000 {
            assert_eq!(tree.insert(scrambled(n), n), map.insert(scrambled(n), n));
        }
        assert!(tree.height >= 2);
        for n in 0..30_000_u32 {
            let key = scrambled((n * 7) % 30_000);
            assert_eq!(tree.remove(&key), map.remove(&key));
            if n % 3_000 == 0 {
                check(&tree.root, tree.height, true);
                assert!(tree.iter().eq(map.iter()) && map.keys().all(|k| tree.get(k) == map.get(k)));
            }
        }
        assert!(tree.iter().eq(map.iter()));
        check(&tree.root, tree.height, true);
    }

    #[test]
    fn differences_cost_by_what_differs() {
        /// A value that counts how often it is compared.
        #[derive(Clone, Debug)]
        struct Counted(u32, std::rc::Rc<core::cell::Cell<usize>>);
        impl PartialEq for Counted {
            fn eq(&self, other: &Self) -> bool {
                self.1.set(self.1.get() + 1);
                self.0 == other.0
            }
        }
        let count = std::rc::Rc::new(core::cell::Cell::new(0));
        let mut tree = Tree::new();
        for k in 0..100_000 {
            tree.insert(k, Counted(0, count.clone()));
        }
        let then = tree.clone();
        for k in [5, 50_000, 99_999] {
            tree.insert(k, Counted(1, count.clone()));
        }
        assert_eq!(then.differences(&tree).len(), 3);
        assert!(count.get() <= 3 * WIDE, "{} comparisons", count.get());
    }
}
