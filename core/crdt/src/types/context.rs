//! A causal context: the dots that a state or a delta knows, whether they live in it or were removed.
//!
//! A state's context has no holes; a delta's may be any set of dots. Both are one type: a version vector, and beside
//! it the dots that lie beyond it (Almeida et al. 2018, §7.2). What closes a hole is folded into the vector, so
//! equal sets have equal forms.

use crate::code::{Malformed, Reader, Writer};
use crate::dot::{Dot, ReplicaIndex};
use crate::version::VersionVector;
use alloc::collections::BTreeSet;

/// The dots that are known.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Context {
    whole: VersionVector,
    beyond: BTreeSet<Dot>,
}

impl Context {
    /// Whether a dot is known.
    #[must_use]
    pub fn contains(&self, dot: Dot) -> bool {
        self.whole.contains(dot) || self.beyond.contains(&dot)
    }
    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.beyond.is_empty()
    }
    /// How many are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.whole.total() as usize + self.beyond.len()
    }
    /// The next dot of a replica that knows all of its own.
    #[must_use]
    pub fn next(&self, replica: ReplicaIndex) -> Dot {
        Dot::new(replica, self.whole.get(replica) + 1)
    }
    /// Takes a dot.
    pub fn insert(&mut self, dot: Dot) {
        if !self.contains(dot) {
            self.beyond.insert(dot);
            self.fold(dot.replica());
        }
    }
    /// Takes another's.
    pub fn join(&mut self, other: &Self) {
        self.whole.join(&other.whole);
        self.beyond.extend(other.beyond.iter().copied());
        let whole = &self.whole;
        self.beyond.retain(|d| !whole.contains(*d));
        let replicas: BTreeSet<ReplicaIndex> = self.beyond.iter().map(|d| d.replica()).collect();
        replicas.into_iter().for_each(|r| self.fold(r));
    }
    fn fold(&mut self, replica: ReplicaIndex) {
        while self.beyond.remove(&Dot::new(replica, self.whole.get(replica) + 1)) {
            self.whole.raise(replica, self.whole.get(replica) + 1);
        }
    }
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = Dot> + '_ {
        let whole = self.whole.iter().flat_map(|(r, s)| (1..=s).map(move |s| Dot::new(r, s)));
        whole.chain(self.beyond.iter().copied())
    }
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        self.whole.encode(out);
        out.varint(self.beyond.len() as u64);
        self.beyond.iter().for_each(|d| out.dot(*d));
    }
    /// Reads what [`Context::encode`] wrote.
    ///
    /// # Errors
    /// If the bytes are no context.
    pub fn decode(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let whole = VersionVector::decode(from)?;
        let mut beyond = BTreeSet::new();
        for _ in 0..from.count(1 << 24)? {
            let d = from.dot()?;
            let in_order = beyond.last().is_none_or(|last| *last < d);
            if !in_order || d.sequence() <= whole.get(d.replica()) + 1 {
                return Err(from.malformed("dots out of order, or that belong to the vector"));
            }
            beyond.insert(d);
        }
        Ok(Self { whole, beyond })
    }
}

impl FromIterator<Dot> for Context {
    fn from_iter<I: IntoIterator<Item = Dot>>(dots: I) -> Self {
        let mut out = Self::default();
        dots.into_iter().for_each(|d| out.insert(d));
        out
    }
}
