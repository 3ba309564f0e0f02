//! Two states become one.

use super::Rga;
use super::apply::PARKED_MAX;
use super::content::Content;
use super::delta::{Delta, Stretch};
use super::op::Refused;
use super::order::Origin;
use super::purge::Epochs;
use super::tree::{ROOT, Run};
use crate::dot::Dot;
use crate::version::VersionVector;
use alloc::vec;
use alloc::vec::Vec;

impl<C: Content> Rga<C> {
    /// Takes in all that `delta` holds: idempotent, in any order of whole states. Parts ([`Delta::split`]) come in
    /// their order. What was seen here and is gone stays gone, however old the delta.
    ///
    /// # Errors
    /// If it is malformed, hangs on elements of which nothing is known here, or leaves too much waiting. Then
    /// nothing changed.
    pub fn join(&mut self, delta: &Delta<C>) -> Result<(), Refused> {
        let seen = self.seen.clone();
        if seen.is_empty() && self.parked.is_empty() && self.deleted.is_empty() {
            let tree = delta.tree()?;
            self.check_room(delta)?;
            self.tree = tree;
            self.epochs = Epochs::default();
            self.seen = delta.seen.clone();
        } else {
            let plan = self.plan(delta)?;
            self.check_room(delta)?;
            self.seen.join(&delta.seen);
            let stretches = delta.stretches();
            for at in plan {
                let chain = delta.chains[at];
                let from = chain.first.max(first_new(&seen, chain.first));
                let at = stretches.partition_point(|s| s.end <= from);
                let rest = stretches[at..].iter().take_while(|s| s.first < chain.end);
                let origin = if from == chain.first { chain.origin } else { behind(from) };
                self.hang_stretches(from, origin, rest);
            }
            let death = self.epochs.quiet();
            for (first, end) in &delta.dead {
                self.kill_span(*first, *end, death, None);
            }
        }
        // Who deleted what is not in a state: it may be what others think retired.
        let death = self.epochs.quiet();
        self.deleted.join(&delta.deleted);
        for (first, origin, content) in &delta.parked {
            self.take_parked(&seen, *first, *origin, content);
        }
        for (first, end) in &delta.doomed {
            self.kill_span(*first, *end, death, None);
        }
        Ok(())
    }

    fn check_room(&self, delta: &Delta<C>) -> Result<(), Refused> {
        let elements: usize = delta.parked.iter().map(|(.., c)| C::count(c.as_slice())).sum();
        self.parked.has_room(elements)?;
        let doomed = self.parked.doomed.len() + delta.doomed.len();
        let live = self.len() + C::count(delta.content.as_slice()) + elements;
        if doomed > PARKED_MAX || live >= u32::MAX as usize {
            return Err(Refused::Full { held: doomed.max(live) });
        }
        Ok(())
    }

    /// The chains of which something is new, each after the one it hangs on.
    fn plan(&self, delta: &Delta<C>) -> Result<Vec<usize>, Refused> {
        let mut order = Vec::new();
        let mut state = vec![Visit::Not; delta.chains.len()];
        for at in 0..delta.chains.len() {
            let mut path = Vec::from([at]);
            while let Some(at) = path.last().copied() {
                let chain = delta.chains[at];
                let from = chain.first.max(first_new(&self.seen, chain.first));
                if from >= chain.end || state[at] == Visit::Done {
                    state[at] = Visit::Done;
                    path.pop();
                    continue;
                }
                let origin = if from == chain.first { chain.origin.name } else { from - 1 };
                let origin = self.parked.waits_for(origin);
                let ring = Err(Refused::Malformed { what: "elements hang on each other in a ring" });
                if origin == ROOT || self.tree.find(origin).is_some() {
                    state[at] = Visit::Done;
                    order.push(at);
                    path.pop();
                    continue;
                }
                let holder = delta.chain_of(origin).filter(|_| !self.seen.contains(Dot::from_bits(origin)));
                match holder.map(|h| (h, state[h])) {
                    None => {
                        return Err(Refused::Malformed { what: "an element hangs on one that is not there" });
                    }
                    Some((_, Visit::Under)) => return ring,
                    Some((holder, _)) if holder == at => return ring,
                    Some((holder, Visit::Not)) => {
                        state[at] = Visit::Under;
                        path.push(holder);
                    }
                    Some((_, Visit::Done)) => {
                        state[at] = Visit::Done;
                        order.push(at);
                        path.pop();
                    }
                }
            }
        }
        Ok(order)
    }

    /// Puts in a chain from the name `from` on, live and dead, and then whatever waited for it.
    fn hang_stretches<'a>(
        &mut self,
        from: u64,
        origin: Origin,
        stretches: impl Iterator<Item = &'a Stretch<'a, C::Slice>>,
    ) where
        C: 'a,
    {
        let mut origin = origin;
        let mut first = from;
        for stretch in stretches {
            let n = (stretch.end - first) as usize;
            if stretch.dead {
                self.hang_dead(first, origin, n as u32);
            } else {
                let skip = C::count(stretch.slice) - n;
                self.hang(first, origin, C::cut(stretch.slice, skip).1, n);
            }
            first = stretch.end;
            origin = behind(first);
        }
    }

    fn hang_dead(&mut self, first: u64, origin: Origin, n: u32) {
        self.tree.lift_cursor();
        let place = self.tree.place_for(first, origin);
        let place = self.tree.cut(place);
        self.mark_origin(place, origin);
        let mut run = Run::new(first, origin.name, origin.left, n);
        run.die(self.epochs.quiet());
        self.tree.put(place, run, C::default().as_slice());
        self.settle(first, first + u64::from(n));
    }

    /// Takes an insertion that waits in another state, unless it was seen here: puts it in, or parks it.
    fn take_parked(&mut self, seen: &VersionVector, first: u64, origin: Origin, content: &C) {
        let n = C::count(content.as_slice());
        let from = first.max(first_new(seen, first));
        if from >= first + n as u64 {
            return;
        }
        let origin = if from == first { origin } else { behind(from) };
        let (_, slice) = C::cut(content.as_slice(), (from - first) as usize);
        if origin.name == ROOT || self.tree.find(origin.name).is_some() {
            self.hang(from, origin, slice, n - (from - first) as usize);
        } else {
            let mut rest = C::default();
            rest.push(slice);
            self.parked.park(from, origin, rest);
        }
    }
}

/// Right of the element before `name`.
const fn behind(name: u64) -> Origin {
    Origin { name: name - 1, left: false }
}

/// The first name of `name`'s replica that is not seen.
fn first_new(seen: &VersionVector, name: u64) -> u64 {
    let replica = Dot::from_bits(name).replica();
    (name >> 48 << 48) + seen.get(replica) + 1
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Visit {
    Not,
    Under,
    Done,
}
