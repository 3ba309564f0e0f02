//! The textbook: what a sequence is, by definition and in O(n²).
//!
//! A set of elements, each on its origin, and a set of dead names. The document is the tree of those that can
//! be reached from the root, read in order: left children by name, the element, right children by name.
//! Nothing here knows of runs, places or the order in which anything came.

use dwcp_crdt::Dot;
use dwcp_crdt::rga::{Content, Hang, Op, Side};
use std::collections::{BTreeMap, BTreeSet};

/// An element.
#[derive(Clone)]
struct Element {
    hang: Hang,
    value: String,
}

/// The definition of a sequence of characters.
#[derive(Clone, Default)]
pub(crate) struct Spec {
    elements: BTreeMap<Dot, Element>,
    dead: BTreeSet<Dot>,
}

fn after(name: Dot, k: u64) -> Dot {
    Dot::from_bits(name.bits() + k)
}

impl Spec {
    /// Takes in an operation.
    pub(crate) fn receive(&mut self, op: &Op<String>) {
        match op {
            Op::Insert { first, hang, content } => {
                for (k, c) in content.chars().enumerate() {
                    let name = after(*first, k as u64);
                    let hang = match (k as u64).checked_sub(1) {
                        None => *hang,
                        Some(before) => Hang { origin: Some(after(*first, before)), side: Side::Right },
                    };
                    self.elements.insert(name, Element { hang, value: c.to_string() });
                }
            }
            Op::Delete { spans, .. } => {
                for span in spans.iter() {
                    for k in 0..span.len {
                        self.dead.insert(after(span.first, u64::from(k)));
                    }
                }
            }
        }
    }

    fn children(&self, of: Option<Dot>, side: Side) -> Vec<Dot> {
        let hang = Hang { origin: of, side };
        self.elements.iter().filter(|(_, e)| e.hang == hang).map(|(name, _)| *name).collect()
    }

    fn read(&self, at: Option<Dot>, out: &mut Vec<Dot>) {
        for child in self.children(at, Side::Left) {
            self.read(Some(child), out);
        }
        out.extend(at);
        for child in self.children(at, Side::Right) {
            self.read(Some(child), out);
        }
    }

    /// All elements in order, the dead too.
    fn all(&self) -> Vec<Dot> {
        let mut out = Vec::new();
        self.read(None, &mut out);
        out
    }

    /// The live elements in order.
    pub(crate) fn live(&self) -> Vec<Dot> {
        self.all().into_iter().filter(|name| !self.dead.contains(name)).collect()
    }

    /// The document.
    pub(crate) fn text(&self) -> String {
        self.live().iter().map(|name| self.elements[name].value.as_str()).collect()
    }

    /// What an insertion before position `at` hangs on: Fugue's rule, word for word.
    pub(crate) fn hang(&self, at: usize) -> Hang {
        let all = self.all();
        let live = self.live();
        let a = at.checked_sub(1).map(|k| live[k]);
        if self.children(a, Side::Right).is_empty() {
            return Hang { origin: a, side: Side::Right };
        }
        let next = a.map_or(0, |a| all.iter().position(|name| *name == a).expect("it is live") + 1);
        Hang { origin: Some(all[next]), side: Side::Left }
    }
}

/// The live elements of a sequence, by name.
pub(crate) fn names<C: Content>(rga: &dwcp_crdt::rga::Rga<C>) -> Vec<Dot> {
    (0..rga.len()).filter_map(|at| rga.name_at(at)).collect()
}
