//! A state taken from a peer: in parts, or by ranges, with operations going on meanwhile.

use super::membership::is_beyond;
use super::peace::tell_apart;
use super::{Violation, World, fail, standing};
use dwcp_crdt::address::Address;
use dwcp_crdt::planted::{self, Bug};
use dwcp_crdt::range::{self, Difference};
use dwcp_crdt::space::{Missing, Received, Refused, Restore, RestoreFault, SnapshotHeader};
use dwcp_crdt::{Batch, Member, ReplicaIndex, Space, Standing, VersionVector};
use dwcp_env::NodeId;

/// Both ends of a fetch, by number and place.
#[derive(Clone, Copy)]
struct Ends {
    a: usize,
    b: usize,
    here: ReplicaIndex,
    there: ReplicaIndex,
}

impl World {
    /// Whether state may be taken from a node, whatever its standing: it may not know that itself.
    pub(super) fn may_serve(&self, n: usize) -> bool {
        self.nodes[n].whole && !self.nodes[n].lost
    }
    /// `a` takes over the roster of `b`, whose state it is about to take. None if that can't be.
    fn meet(&mut self, a: usize, b: usize) -> Result<Option<Ends>, Violation> {
        if self.nodes[a].lost || !self.may_serve(b) {
            return Ok(None);
        }
        self.sync(a);
        self.sync(b);
        let (here, there) = (self.nodes[a].space.me(), self.nodes[b].space.me());
        let roster = self.nodes[b].space.roster().clone();
        if !roster.get(here).is_some_and(Member::takes_part) {
            if self.nodes[a].space.roster().epoch > roster.epoch {
                self.learn(b, self.nodes[a].space.roster().clone())?;
            }
            return Ok(None);
        }
        if roster.epoch > self.nodes[a].space.roster().epoch {
            self.learn(a, roster)?;
        }
        let ends = Ends { a, b, here, there };
        Ok(self.both_are_there(ends).then_some(ends))
    }
    fn both_are_there(&self, e: Ends) -> bool {
        let (a, b) = (&self.nodes[e.a], &self.nodes[e.b]);
        (a.space.me(), b.space.me()) == (e.here, e.there) && !a.lost && !b.lost && b.whole
    }
    /// What goes on while a state is read.
    fn meanwhile(&mut self, e: Ends) -> Result<(), Violation> {
        match self.draw.below(12) {
            0..2 => self.transact(e.b),
            2..4 => self.deliver(),
            4 if self.unrest => {
                let n = if self.draw.once_in(2) { e.a } else { e.b };
                self.learn(n, self.latest().clone())
            }
            _ => Ok(()),
        }
    }
    /// `a` reads `b`'s state in small chunks, and what it needs to go on from it.
    pub(super) fn fetch(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        let Some(e) = self.meet(a, b)? else { return Ok(()) };
        self.tell(|| format!("{a} takes {b}'s state"));
        let header = self.nodes[b].space.snapshot();
        let log = self.nodes[b].space.unstable();
        let roster = self.nodes[a].space.roster().clone();
        let mut restore = Restore::new(self.config, roster, e.here, header.clone());
        let mut cursor = None;
        loop {
            let chunk = self.nodes[b].space.chunk(cursor.as_ref(), 1 + self.draw.below(60));
            restore.absorb(&chunk.bytes).map_err(|e| Violation(format!("a chunk: {e}")))?;
            cursor = chunk.next;
            if cursor.is_none() {
                break;
            }
            self.meanwhile(e)?;
            if !self.both_are_there(e) {
                return Ok(());
            }
        }
        self.counts.snapshots += 1;
        self.install(e, restore, &header, log)
    }
    /// `a` makes its state `b`'s by ranges.
    pub(super) fn reconcile(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        if !self.nodes[a].whole {
            return Ok(());
        }
        let Some(e) = self.meet(a, b)? else { return Ok(()) };
        let (header, log) = (self.nodes[b].space.snapshot(), self.nodes[b].space.unstable());
        let ours = self.nodes[a].space.items();
        let copy = Restore::copy(&self.nodes[a].space);
        let mut difference = Difference::default();
        let mut question = Some(range::open(&ours));
        while let Some(q) = question {
            let bad = |e| Violation(format!("ranges: {e}"));
            let answer = range::answer(&self.nodes[b].space.items(), &q).map_err(bad)?;
            question = range::resolve(&ours, &answer, &mut difference).map_err(bad)?;
            self.meanwhile(e)?;
            if !self.both_are_there(e) {
                return Ok(());
            }
        }
        let entries = self.nodes[b].space.entries(&difference.need, &header.version);
        self.tell(|| format!("{a} reconciles with {b}: {difference:?}"));
        let mut restore = copy;
        restore.aim(header.clone());
        restore.strike(&difference.extra);
        restore.absorb(&entries).map_err(|e| Violation(format!("entries: {e}")))?;
        self.counts.reconciled += 1;
        self.install(e, restore, &header, log)
    }
    /// Puts the state that was read in the place of `a`'s, with what only `a` has.
    fn install(
        &mut self,
        e: Ends,
        mut restore: Restore,
        header: &SnapshotHeader,
        log: Vec<Batch>,
    ) -> Result<(), Violation> {
        self.sync(e.a);
        self.sync(e.b);
        log.into_iter().for_each(|batch| restore.log(batch));
        let tail = match self.nodes[e.b].space.missing(&header.version, usize::MAX) {
            Missing::Operations { batches, .. } => batches,
            Missing::BelowLog(r) => return fail(format!("{} trimmed {r} while its state was read", e.b)),
        };
        let roster = self.nodes[e.a].space.roster().clone();
        restore.adopt(&roster).map_err(|e| Violation(format!("a roster: {e}")))?;
        let mut space = match restore.finish(&tail, self.now) {
            Ok(space) => space,
            Err(RestoreFault::Refused(Refused::NotAdmitted(..))) => return Ok(()),
            Err(e) => return fail(format!("the tail: {e}")),
        };
        if is_beyond(space.version(), &roster) {
            // The holder has what was cut off and does not know it: it reads names otherwise than we do.
            self.counts.refused += 1;
            return Ok(());
        }
        if space.digest() != self.nodes[e.b].space.digest() {
            let (here, there) = (space.version(), self.nodes[e.b].space.version());
            let at = Address::root();
            let mut lines = String::new();
            tell_apart("", space.get(&at).as_ref(), self.nodes[e.b].space.get(&at).as_ref(), &mut lines);
            return fail(format!(
                "{} at {here} is another than {} at {there} whose state it took{lines}",
                e.a, e.b
            ));
        }
        let gains = self.gains_of_the_closing(e, space.version());
        if gains && self.has_one_to_lose(e) {
            self.counts.refused += 1;
            return Ok(());
        }
        match space.carry_over(&self.nodes[e.a].space, self.now) {
            Ok(_) => {}
            // The log was kept for the holder, and yet the holder lacks what left it.
            Err(RestoreFault::Behind(r)) if self.kept_for(e.a, e.there) => {
                return fail(format!("{} lacks of {r} what {} kept for it", e.b, e.a));
            }
            Err(RestoreFault::Behind(_)) => return Ok(()),
            Err(fault) => {
                let aware = self.nodes[e.b].space.roster().epoch == self.latest().epoch;
                return if aware { fail(format!("carried over: {fault}")) } else { Ok(()) };
            }
        }
        for batch in std::mem::take(&mut self.nodes[e.a].leftover) {
            let maker = space.roster().get(batch.replica());
            let own = maker.is_some_and(|m| m.node == NodeId(e.a as u64));
            let closing = maker.is_some_and(|m| m.standing == Standing::Closing);
            let taken = !closing
                && matches!(space.receive(&batch, self.now), Ok(Received::Applied(_) | Received::Duplicate));
            if !taken && (own || closing) {
                self.nodes[e.a].leftover.push(batch);
            }
        }
        // Its log begins now where that of its source did.
        let (not, known) = (self.nodes[e.b].not_kept_for.clone(), self.nodes[e.b].known_at_trim);
        let node = &mut self.nodes[e.a];
        node.not_kept_for.extend(not);
        node.known_at_trim = node.known_at_trim.min(known);
        (node.whole, node.gambled) = (true, node.gambled || gains);
        self.replace(e.a, space)?;
        self.report(e.a);
        Ok(())
    }
    /// Whether `a` would have more of a closing member than it may have said,
    fn gains_of_the_closing(&self, e: Ends, version: &VersionVector) -> bool {
        let space = &self.nodes[e.a].space;
        let closing = |(_, m): &(ReplicaIndex, &Member)| m.standing == Standing::Closing;
        space.roster().iter().filter(closing).any(|(r, _)| version.get(r) > space.version().get(r))
    }
    /// from one that is not asked how far it has come, and has a state to lose by that.
    fn has_one_to_lose(&self, e: Ends) -> bool {
        let a = &self.nodes[e.a];
        let asked = standing(a.space.roster(), e.there) == Some(Standing::Active);
        !asked && (a.whole || planted::is(Bug::RefuseTheLast))
    }
    fn replace(&mut self, n: usize, mut space: Space) -> Result<(), Violation> {
        space.open();
        let node = &mut self.nodes[n];
        node.space = space;
        node.checked = None;
        node.wal.clear();
        self.checkpoint(n);
        self.check(n)
    }
}
