//! Operations of other replicas.
//!
//! Each replica's operations come in its order; between replicas nothing is promised. So an insertion may come before
//! the element it hangs on, and a deletion before what it deletes. Both are kept: the insertion
//! is *parked* under the name it waits for, the names the deletion did not find are *doomed* and die
//! when they come. Once everything that was named has come, nothing is parked and nothing doomed.

use super::content::Content;
use super::op::{Applied, Hang, Op, Refused, Spans};
use super::order::Origin;
use super::planted::{self, Bug};
use super::tree::{Death, ROOT};
use super::{Rga, Side};
use crate::dot::Dot;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Most elements that may wait, and most spans that may be doomed.
pub const PARKED_MAX: usize = 1 << 20;

/// An insertion that waits: its first name, what it hangs on, its elements.
type Waiting<C> = (u64, Origin, C);

/// What came before what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parked<C> {
    /// Insertions by their first name.
    pub(super) inserts: BTreeMap<u64, (Origin, C)>,
    /// (the name waited for, the first name of the insertion).
    waits: BTreeSet<(u64, u64)>,
    elements: usize,
    /// Names that die when they come: first, and the name after the last. Disjoint, not touching.
    pub(super) doomed: BTreeMap<u64, u64>,
}

impl<C> Default for Parked<C> {
    fn default() -> Self {
        Self { inserts: BTreeMap::new(), waits: BTreeSet::new(), elements: 0, doomed: BTreeMap::new() }
    }
}

impl<C: Content> Parked<C> {
    pub(super) fn is_empty(&self) -> bool {
        self.inserts.is_empty() && self.doomed.is_empty()
    }

    /// Whether `name` belongs to a parked insertion.
    pub(super) fn holds(&self, name: u64) -> bool {
        let at_or_before = self.inserts.range(..=name).next_back();
        at_or_before.is_some_and(|(first, (_, c))| name - first < C::count(c.as_slice()) as u64)
    }

    pub(super) fn has_room(&self, elements: usize) -> Result<(), Refused> {
        if self.elements + elements > PARKED_MAX {
            Err(Refused::Full { held: self.elements })
        } else {
            Ok(())
        }
    }

    pub(super) fn park(&mut self, first: u64, origin: Origin, content: C) {
        self.elements += C::count(content.as_slice());
        self.waits.insert((origin.name, first));
        self.inserts.insert(first, (origin, content));
    }

    /// What `name` waits for at last if it is parked, else itself.
    pub(super) fn waits_for(&self, name: u64) -> u64 {
        let mut name = name;
        while self.holds(name) {
            let at_or_before = self.inserts.range(..=name).next_back();
            name = at_or_before.map_or(ROOT, |(_, (origin, _))| origin.name);
        }
        name
    }

    /// Takes an insertion that waits for one of the names from `first` up to `end`.
    pub(super) fn wake(&mut self, first: u64, end: u64) -> Option<Waiting<C>> {
        let key = *self.waits.range((first, 0)..(end, 0)).next()?;
        self.waits.remove(&key);
        let (origin, content) = self.inserts.remove(&key.1)?;
        self.elements -= C::count(content.as_slice());
        Some((key.1, origin, content))
    }

    pub(super) fn doom(&mut self, first: u64, end: u64) {
        if planted::is(Bug::Doomed) {
            return;
        }
        let (mut first, mut end) = (first, end);
        while let Some((f, e)) = self.doomed.range(..=end).next_back().map(|(f, e)| (*f, *e))
            && e >= first
        {
            self.doomed.remove(&f);
            first = first.min(f);
            end = end.max(e);
        }
        self.doomed.insert(first, end);
    }

    /// Whether a name is doomed.
    pub(super) fn dooms(&self, name: u64) -> bool {
        self.doomed.range(..=name).next_back().is_some_and(|(_, end)| *end > name)
    }

    /// Takes all that waits for one of the names from `first` up to `end`, and what waits for that in its turn: the
    /// insertions, and the doomed among their names.
    pub(super) fn take_waiting(&mut self, first: u64, end: u64) -> (Vec<Waiting<C>>, Vec<(u64, u64)>) {
        let (mut all, mut doomed) = (Vec::new(), Vec::new());
        let mut gone = Vec::from([(first, end)]);
        while let Some((from, end)) = gone.last().copied() {
            while let Some(span) = self.doomed_in(from, end) {
                doomed.push(span);
            }
            match self.wake(from, end) {
                Some((first, origin, content)) => {
                    gone.push((first, first + C::count(content.as_slice()) as u64));
                    all.push((first, origin, content));
                }
                None => {
                    gone.pop();
                }
            }
        }
        (all, doomed)
    }

    /// The names that are waited for, in order.
    pub(super) fn awaited(&self) -> impl Iterator<Item = u64> + '_ {
        self.waits.iter().map(|(name, _)| *name)
    }

    /// How many elements wait.
    pub(super) const fn elements(&self) -> usize {
        self.elements
    }

    /// Takes the doomed among the names from `first` up to `end`, the last of them.
    fn doomed_in(&mut self, first: u64, end: u64) -> Option<(u64, u64)> {
        let (f, e) =
            self.doomed.range(..end).next_back().map(|(f, e)| (*f, *e)).filter(|(_, e)| *e > first)?;
        self.doomed.remove(&f);
        if f < first {
            self.doomed.insert(f, first);
        }
        if e > end {
            self.doomed.insert(end, e);
        }
        Some((f.max(first), e.min(end)))
    }
}

impl<C: Content> Rga<C> {
    /// Takes in an operation of another replica.
    ///
    /// # Errors
    /// If it is malformed, or must wait and too much waits already. Then nothing changed.
    pub fn apply(&mut self, op: &Op<C>) -> Result<Applied, Refused> {
        op.check()?;
        match op {
            Op::Insert { first, hang, content } => self.apply_insert(*first, *hang, content),
            Op::Delete { by, spans } => self.apply_delete(*by, spans),
        }
    }

    fn apply_insert(&mut self, first: Dot, hang: Hang, content: &C) -> Result<Applied, Refused> {
        let slice = content.as_slice();
        let n = C::count(slice);
        let seen = self.seen.get(first.replica());
        let known = seen.saturating_sub(first.sequence() - 1).min(n as u64) as usize;
        if known == n {
            return Ok(Applied::Known);
        }
        if self.len() + n >= u32::MAX as usize {
            return Err(Refused::Full { held: self.len() });
        }
        // What a state already brought is not taken twice; the rest hangs on it.
        let (_, slice) = C::cut(slice, known);
        let name = first.bits() + known as u64;
        let origin = if known == 0 { Origin::from(hang) } else { Origin { name: name - 1, left: false } };
        let lacks = origin.name != ROOT && self.tree.find(origin.name).is_none();
        if lacks {
            let at = Dot::from_bits(origin.name);
            if self.seen.contains(at) && !self.parked.holds(origin.name) {
                return Err(Refused::Malformed { what: "an element hangs on one that was dead everywhere" });
            }
            self.parked.has_room(n - known)?;
            let mut rest = C::default();
            rest.push(slice);
            self.parked.park(name, origin, rest);
        }
        self.seen.raise(first.replica(), first.sequence() + n as u64 - 1);
        if lacks {
            return Ok(Applied::Waits);
        }
        self.hang(name, origin, slice, n - known);
        Ok(Applied::Now)
    }

    /// Puts in a live run whose origin is here, and then whatever waited for it.
    pub(super) fn hang(&mut self, first: u64, origin: Origin, slice: &C::Slice, n: usize) {
        self.tree.lift_cursor();
        let place = self.tree.place_for(first, origin);
        self.graft(place, origin, first, slice, n);
        self.settle(first, first + n as u64);
    }

    /// Kills what is doomed of the names that came, and puts in what waited for them.
    pub(super) fn settle(&mut self, first: u64, end: u64) {
        if self.parked.is_empty() {
            return;
        }
        let mut came = Vec::from([(first, end)]);
        while let Some((from, end)) = came.last().copied() {
            while let Some((from, end)) = self.parked.doomed_in(from, end) {
                let death = self.epochs.quiet();
                self.kill_span(from, end, death, None);
            }
            let Some((first, origin, content)) = self.parked.wake(from, end) else {
                came.pop();
                continue;
            };
            let n = C::count(content.as_slice());
            self.tree.lift_cursor();
            let place = self.tree.place_for(first, origin);
            self.graft(place, origin, first, content.as_slice(), n);
            came.push((first, first + n as u64));
        }
    }

    fn apply_delete(&mut self, by: Dot, spans: &Spans) -> Result<Applied, Refused> {
        let new = spans.iter().filter(|s| !self.seen.contains(Dot::from_bits(s.end() - 1))).count();
        if self.parked.doomed.len() + new > PARKED_MAX {
            return Err(Refused::Full { held: self.parked.doomed.len() });
        }
        let known = self.deleted.contains(by);
        self.deleted.raise(by.replica(), by.sequence());
        let mut all = true;
        // What is known already is in no epoch to come: see `purge`.
        let death = if known { self.epochs.quiet() } else { self.epochs.fresh() };
        for span in spans.iter() {
            all &= self.kill_span(span.first.bits(), span.end(), death, Some(by));
        }
        Ok(match (all, known) {
            (false, _) => Applied::Waits,
            (true, true) => Applied::Known,
            (true, false) => Applied::Now,
        })
    }

    /// Kills the names from `first` up to `end`; those that have not come are doomed. Says whether all had come. `by` is the
    /// deletion, if one is known.
    pub(super) fn kill_span(&mut self, first: u64, end: u64, death: Death, by: Option<Dot>) -> bool {
        self.tree.lift_cursor();
        let mut all = true;
        let mut name = first;
        while name < end {
            if let Some(place) = self.tree.find(name) {
                let run = *self.tree.run(place.leaf, place.run);
                let n = (run.len - place.k).min((end - name).min(u64::from(u32::MAX)) as u32);
                if run.is_dead() {
                    self.epochs.again(&run, by);
                } else {
                    self.tree.kill(place, n, death);
                }
                name += u64::from(n);
                continue;
            }
            let at = Dot::from_bits(name);
            if self.parked.holds(name) {
                self.parked.doom(name, name + 1);
                all = false;
                name += 1;
            } else if self.seen.contains(at) {
                name += 1;
            } else {
                self.parked.doom(name, end);
                all = false;
                name = end;
            }
        }
        all
    }
}

impl Hang {
    /// Right of the root.
    pub const ROOT: Self = Self { origin: None, side: Side::Right };
}
