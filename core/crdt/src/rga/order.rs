//! Where an element belongs: Fugue's order, on runs.
//!
//! Every element is a left or a right child of another (its origin) or of the root. The document is
//! the tree read in order: an element's left children, itself, its right children, siblings by name. A
//! run is a chain of right children. The tree is never built: the list *is* its reading, and the two
//! questions asked of it, "is what follows below this element?" and "where does this sibling end?", are
//! answered by climbing from the neighbour.
//!
//! **Climbing right to left.** What follows `p` in the document is below `p`'s right side exactly if the way up from it,
//! over left edges only, ends with a right edge to `p`. So a new right child of `p` goes straight behind `p` unless
//! one climb, nearly always of length 0, says that somebody concurrently did the same. Then the
//! siblings with smaller names are skipped, run by run, each known by its origin to belong to what was skipped.
//! Left children are the mirror image; a mark on the run tells whether there are any.
//!
//! **Which origin a local insertion takes** ([`Tree::origin_at`]). Fugue's: with `a` the live element before,
//! right child of `a` if that has no right child, else left child of what follows `a`, dead or not. The dead matter:
//! who replaces `.` by `,` while another types behind the `.` means the comma to stand where the dot stood.
//!
//! But what may be named can't be purged. So a replica names only the live and the *fresh* dead; the others are dead
//! for everybody long since ([`purge`](super::purge) says from when on). With `b` the first element behind `a` that may be named:
//!
//! 1. `a` has no right children: right child of `a`.
//! 2. What follows `a` is `b`: left child of `b`. (Up to here it is Fugue.)
//! 3. `b` has no left children: left child of `b`.
//! 4. `b` is below `a`: left child of `b`. All of `b`'s left children may not be named.
//! 5. Otherwise right child of `a`. All that is below `a` on the right, up to `b`, may not be named.
//!
//! Cases 3 to 5 order the new element only among such dead. In all of them Fugue's argument against interleaving
//! holds: whoever types forward hangs each character on the one before, whoever types backward on the one behind, and
//! nothing can come between an element and the subtree on which it is the only child.

use super::content::Content;
use super::planted::{self, Bug};
use super::tree::{Place, ROOT, Run, Tree};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// Steps up from an element that are taken before it is looked for otherwise.
const WAY: usize = 32;

/// On which element a run hangs, and on which side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Origin {
    pub(super) name: u64,
    pub(super) left: bool,
}

/// Elements seen on the way, as runs of names: the first, and the last.
#[derive(Default)]
struct Seen(BTreeMap<u64, u64>);

impl Seen {
    fn add(&mut self, first: u64, last: u64) {
        let end = self.0.entry(first).or_insert(last);
        *end = last.max(*end);
    }
    fn has(&self, name: u64) -> bool {
        self.0.range(..=name).next_back().is_some_and(|(_, last)| *last >= name)
    }
}

/// Whether an element met while skipping lies below the one whose siblings are skipped.
enum Met {
    /// Below a sibling that was met before.
    Below,
    /// It opens another sibling, of this name.
    Sibling(u64),
    /// Not below it: the skipping ends.
    Out,
}

impl<C: Content> Tree<C> {
    fn held(&self, name: u64) -> Place {
        match self.find(name) {
            Some(place) => place,
            None => unreachable!("the origin of an element is in the tree"),
        }
    }

    /// Whether the run's first element, the first behind `p`, is the first below the right side of `p`.
    fn opens_right_of(&self, run: &Run, p: u64) -> bool {
        if p == ROOT {
            return true;
        }
        let mut at = *run;
        while at.is_left() {
            // What hangs on `p`, over others or not, is younger where one replica made both. So the way up a list that was
            // built from its end to its beginning is short.
            if at.first >> 48 == p >> 48 && at.first < p {
                return false;
            }
            let up = self.held(at.origin);
            at = *self.run(up.leaf, up.run);
        }
        at.origin == p
    }

    /// The live element at a place, as a name.
    pub(super) fn name_at(&self, at: u32) -> u64 {
        let place = self.seek(at);
        self.run(place.leaf, place.run).first + u64::from(place.k)
    }

    /// The origin of the new element `name` behind the live element at `left`, or at the beginning, and its
    /// place. `may` says of dead runs whether they may be named; without it none may.
    pub(super) fn origin_at(
        &self,
        name: u64,
        left: Option<Place>,
        may: Option<impl Fn(&Run) -> bool>,
    ) -> (Origin, Place) {
        let (a, behind, next) = match left {
            None => (ROOT, Place { leaf: self.first, run: 0, k: 0 }, self.head()),
            Some(at) => {
                let run = self.run(at.leaf, at.run);
                let a = run.first + u64::from(at.k);
                if at.k + 1 < run.len {
                    let left = !planted::is(Bug::RightOrigin);
                    return (Origin { name: a + u64::from(left), left }, Place { k: at.k + 1, ..at });
                }
                (a, Place { leaf: at.leaf, run: at.run + 1, k: 0 }, self.next_run(at.leaf, at.run))
            }
        };
        let right_of_a = Origin { name: a, left: false };
        let Some((leaf, run)) = next else { return (right_of_a, behind) };
        if !self.opens_right_of(self.run(leaf, run), a) || planted::is(Bug::RightOrigin) {
            return (right_of_a, behind);
        }
        let b = match may.filter(|_| !planted::is(Bug::NameRetired)) {
            Some(may) => self.find_from(next, |run| !run.is_dead() || may(run)),
            None if planted::is(Bug::NameRetired) => next,
            None if self.run(leaf, run).is_dead() => self.live_behind(left),
            None => next,
        };
        let Some((leaf, run)) = b else { return (right_of_a, self.place_for(name, right_of_a)) };
        let left_of_b = Origin { name: self.run(leaf, run).first, left: true };
        if b == next {
            return (left_of_b, behind);
        }
        let free = !self.run(leaf, run).has_left() || self.is_right_below(left_of_b.name, a);
        let origin = if free { left_of_b } else { right_of_a };
        (origin, self.place_for(name, origin))
    }

    /// The first run from this one on of which something is so.
    fn find_from(&self, from: Option<(u32, usize)>, is: impl Fn(&Run) -> bool) -> Option<(u32, usize)> {
        let mut at = from;
        while let Some((leaf, run)) = at.filter(|(leaf, run)| !is(self.run(*leaf, *run))) {
            at = self.next_run(leaf, run);
        }
        at
    }

    /// The first live run behind an element, or the first of all: by the counts, however many dead ones are before it.
    fn live_behind(&self, place: Option<Place>) -> Option<(u32, usize)> {
        let before = place.map_or(0, |p| self.position(p) + u32::from(!self.run(p.leaf, p.run).is_dead()));
        (before < self.live()).then(|| self.seek(before)).map(|p| (p.leaf, p.run))
    }

    /// Whether `b`, which begins a run, is below the right side of `a`.
    fn is_right_below(&self, b: u64, a: u64) -> bool {
        if a == ROOT {
            return true;
        }
        let mut found = false;
        self.skip_right(a, |tree, (leaf, run), met| {
            found = !matches!(met, Met::Out) && tree.run(leaf, run).first == b;
            found || matches!(met, Met::Out)
        });
        found
    }

    /// Where a new element `name` with this origin goes: between runs or inside one.
    pub(super) fn place_for(&self, name: u64, origin: Origin) -> Place {
        if origin.left { self.place_left(name, origin.name) } else { self.place_right(name, origin.name) }
    }

    fn place_right(&self, name: u64, p: u64) -> Place {
        let next = if p == ROOT {
            self.head()
        } else {
            let at = self.held(p);
            let run = self.run(at.leaf, at.run);
            if at.k + 1 < run.len {
                if name < p + 1 || planted::is(Bug::TieBreak) {
                    return Place { k: at.k + 1, ..at };
                }
                Some((at.leaf, at.run))
            } else {
                let next = self.next_run(at.leaf, at.run);
                if !next.is_some_and(|(l, r)| self.opens_right_of(self.run(l, r), p)) {
                    return Place { leaf: at.leaf, run: at.run + 1, k: 0 };
                }
                next
            }
        };
        if next.is_none() {
            return Place { leaf: self.last, run: self.leaf(self.last).runs.len(), k: 0 };
        }
        if let Some(place) = self.place_last(name, p) {
            return place;
        }
        let mut end = None;
        self.skip_right(p, |_, at, met| {
            let stop = match met {
                Met::Below => false,
                Met::Sibling(sibling) => name < sibling || planted::is(Bug::TieBreak),
                Met::Out => true,
            };
            if stop {
                end = Some(at);
            }
            stop
        });
        match end {
            Some((leaf, run)) => Place { leaf, run, k: 0 },
            None => Place { leaf: self.last, run: self.leaf(self.last).runs.len(), k: 0 },
        }
    }

    /// The place of the right child `name` of `p` if it is behind all that is below `p`, found from its end: where much has died
    /// behind `p`, a look at each of the dead would be one too many. None if that can't be told with few steps.
    fn place_last(&self, name: u64, p: u64) -> Option<Place> {
        let from = if p == ROOT { None } else { Some(self.held(p)) };
        if from.is_some_and(|at| at.k + 1 < self.run(at.leaf, at.run).len) {
            return None;
        }
        let behind = self.live_behind(from);
        let z = match behind {
            Some((leaf, run)) => self.prev_run(leaf, run)?,
            None => self.last_run()?,
        };
        if from.is_some_and(|at| (at.leaf, at.run) == z) {
            return None;
        }
        // From the last of the dead up to `p`: they are all below it, and the last is below this sibling.
        let mut way: Vec<(u64, u64)> = Vec::new();
        let mut at = *self.run(z.0, z.1);
        way.push((at.first, at.last()));
        while at.origin != p {
            if at.origin == ROOT || way.len() > WAY {
                return None;
            }
            let up = self.held(at.origin);
            at = *self.run(up.leaf, up.run);
            way.push((at.first, at.first + u64::from(up.k)));
        }
        if at.is_left() || name < at.first || planted::is(Bug::TieBreak) {
            return None;
        }
        let Some((leaf, run)) = behind else {
            return Some(Place { leaf: self.last, run: self.leaf(self.last).runs.len(), k: 0 });
        };
        // What lives behind them must not be below `p` as well: its parent, or that of the first above it that is a right child,
        // would be on the way.
        let on_way =
            |name: u64| name == p || way.iter().any(|(first, last)| (*first..=*last).contains(&name));
        let mut at = *self.run(leaf, run);
        for _ in 0..WAY {
            if on_way(at.first) || on_way(at.origin) {
                return None;
            }
            if !at.is_left() {
                return Some(Place { leaf, run, k: 0 });
            }
            let up = self.held(at.origin);
            at = *self.run(up.leaf, up.run);
        }
        None
    }

    /// Visits the runs behind `p` in order, each with how it relates to `p`, until told to stop.
    fn skip_right(&self, p: u64, mut visit: impl FnMut(&Self, (u32, usize), Met) -> bool) {
        let mut seen = Seen::default();
        let mut at = if p == ROOT {
            self.head()
        } else {
            let place = self.held(p);
            let run = self.run(place.leaf, place.run);
            if place.k + 1 < run.len {
                seen.add(p + 1, run.last());
            }
            self.next_run(place.leaf, place.run)
        };
        while let Some((leaf, i)) = at {
            let run = *self.run(leaf, i);
            let met = self.climb_left(&run, p, &mut seen);
            if visit(self, (leaf, i), met) {
                return;
            }
            at = self.next_run(leaf, i);
        }
    }

    /// How the run, which lies behind `p`, relates to it: up over left edges to the first right one.
    fn climb_left(&self, run: &Run, p: u64, seen: &mut Seen) -> Met {
        if seen.has(run.first) {
            seen.add(run.first, run.last());
            return Met::Below;
        }
        let mut at = *run;
        let met = loop {
            if at.origin == p && !at.is_left() {
                break Met::Sibling(at.first);
            }
            if at.origin != ROOT && seen.has(at.origin) {
                break Met::Below;
            }
            if !at.is_left() {
                return Met::Out;
            }
            let up = self.held(at.origin);
            at = *self.run(up.leaf, up.run);
        };
        // What was climbed over lies further on and belongs to the same sibling.
        let mut over = *run;
        while over.first != at.first {
            seen.add(over.first, over.first);
            let up = self.held(over.origin);
            over = *self.run(up.leaf, up.run);
        }
        seen.add(at.first, at.first);
        seen.add(run.first, run.last());
        met
    }

    fn place_left(&self, name: u64, p: u64) -> Place {
        let at = self.held(p);
        let mut place = at;
        if at.k > 0 || !self.run(at.leaf, at.run).has_left() {
            return place;
        }
        let mut seen = Seen::default();
        let mut before = self.prev_run(at.leaf, at.run);
        while let Some((leaf, i)) = before {
            match self.climb_right(leaf, i, p, &mut seen) {
                Met::Below => {}
                Met::Sibling(sibling) if name < sibling && !planted::is(Bug::TieBreak) => {}
                Met::Sibling(_) | Met::Out => break,
            }
            place = Place { leaf, run: i, k: 0 };
            before = self.prev_run(leaf, i);
        }
        place
    }

    /// How the run, which lies before `p`, relates to it: up over right edges to the first left one.
    fn climb_right(&self, leaf: u32, i: usize, p: u64, seen: &mut Seen) -> Met {
        let run = *self.run(leaf, i);
        let mut over = Vec::from([(run.first, run.last())]);
        let mut at = run;
        let met = loop {
            if seen.has(at.first) {
                break Met::Below;
            }
            if at.is_left() && at.origin == p {
                break Met::Sibling(at.first);
            }
            if at.origin == ROOT {
                return Met::Out;
            }
            if seen.has(at.origin) {
                break Met::Below;
            }
            if at.is_left() {
                return Met::Out;
            }
            let up = self.held(at.origin);
            at = *self.run(up.leaf, up.run);
            over.push((at.first, at.first + u64::from(up.k)));
        };
        for (first, last) in over {
            seen.add(first, last);
        }
        met
    }
}
