//! Who takes part: what consensus decides, when nodes learn of it, and what they do then. The rules are `dwcp-eventual`'s.

use super::{Node, Violation, World, fail, standing};
use crate::spec::Old;
use dwcp_crdt::planted::{self, Bug};
use dwcp_crdt::space::{Missing, Tail};
use dwcp_crdt::{Batch, Begins, Dot, Member, ReplicaIndex, Roster, Space, Standing, VersionVector};
use dwcp_env::NodeId;
use std::collections::{BTreeSet, VecDeque};

impl World {
    pub(super) fn latest(&self) -> &Roster {
        self.rosters.last().expect("the founding one")
    }
    fn decide(&mut self, roster: Roster) {
        let changed = roster.iter().filter(|(r, m)| standing(self.latest(), *r) != Some(m.standing));
        let changed: Vec<String> = changed.map(|(r, m)| format!("{r} {:?}", m.standing)).collect();
        self.tell(|| format!("epoch {}: {}", roster.epoch, changed.join(", ")));
        self.spec.decided(&roster);
        self.rosters.push(roster);
    }
    /// Something that has to do with members.
    pub(super) fn govern(&mut self) -> Result<(), Violation> {
        let n = self.any();
        match self.draw.below(14) {
            0..3 => {
                let latest = self.rosters.len() - 1;
                let at = if self.draw.once_in(2) { latest } else { self.draw.below(latest + 1) };
                self.learn(n, self.rosters[at].clone())
            }
            3 => self.lag(n),
            4 => self.reactivate(n),
            5..7 => {
                self.end(n)?;
                if self.draw.once_in(3) {
                    let other = self.any();
                    self.counts.together += u64::from(other != n && self.end(other)?);
                }
                Ok(())
            }
            7..10 => self.report_and_decide(false),
            10..12 => self.go_on(n),
            _ => {
                let returning = |k: &usize| !self.may_write(*k);
                let n = (0..self.nodes.len()).find(returning).unwrap_or(n);
                self.go_on(n)
            }
        }
    }
    /// A roster comes to a node, and may be older than what it knows.
    pub(super) fn learn(&mut self, n: usize, roster: Roster) -> Result<(), Violation> {
        let epoch = self.nodes[n].space.roster().epoch;
        if roster.epoch == epoch {
            return Ok(());
        }
        let taken = self.nodes[n].space.set_roster(roster.clone());
        if roster.epoch < epoch {
            self.counts.old_rosters += 1;
            return if taken.is_err() { Ok(()) } else { fail("a roster went back") };
        }
        taken.map_err(|e| Violation(format!("a roster: {e}")))?;
        self.counts.rosters += 1;
        self.tell(|| format!("{n} learns of epoch {}", roster.epoch));
        self.mind(n)?;
        self.take_leftover(n)?;
        self.check(n)
    }
    /// Does what the standing of its places asks of a node.
    fn mind(&mut self, n: usize) -> Result<(), Violation> {
        self.set_tails_aside(n);
        let node = &mut self.nodes[n];
        let (me, roster) = (node.space.me(), node.space.roster());
        match standing(roster, me) {
            Some(Standing::Evicted { last, .. }) if !node.lost => {
                node.unsure |= node.space.version().get(me) < last;
                self.counts.unaware += u64::from(node.space.version().get(me) > last);
                self.forget_state(n);
                Ok(())
            }
            Some(Standing::Active)
                if node.whole && !node.gambled && is_beyond(node.space.version(), roster) =>
            {
                fail(format!("{n} is active, and has what counts no longer"))
            }
            Some(_) if is_beyond(node.space.version(), roster) => {
                self.counts.diverged += 1;
                self.forget_state(n);
                Ok(())
            }
            Some(_) => Ok(()),
            None => fail(format!("{n} stands in no roster")),
        }
    }
    /// Begins anew with an empty state, at another place.
    fn forget_state(&mut self, n: usize) {
        self.sync(n);
        self.tell(|| format!("{n} gives up its place and its state"));
        let config = self.config;
        let node = &mut self.nodes[n];
        node.leftover.extend(node.space.unstable_that_counts());
        node.space = Space::new(config, node.space.roster().clone(), node.space.me());
        (node.lost, node.whole, node.disk, node.checked) = (true, false, None, None);
        node.wal.clear();
        self.sync(n);
    }
    /// What was kept of others while their places closed is taken in, now that the roster says what of it counts.
    fn take_leftover(&mut self, n: usize) -> Result<(), Violation> {
        if self.nodes[n].lost || !self.nodes[n].whole {
            return Ok(());
        }
        for batch in std::mem::take(&mut self.nodes[n].leftover) {
            let maker = self.nodes[n].space.roster().get(batch.replica());
            let undecided = |m: &Member| m.node == NodeId(n as u64) && m.takes_part();
            if maker.is_some_and(|m| undecided(m) || m.standing == Standing::Closing) {
                self.nodes[n].leftover.push(batch);
            } else {
                self.counts.late += 1;
                self.receive(n, &batch)?;
            }
        }
        Ok(())
    }
    fn set_tails_aside(&mut self, n: usize) {
        let ours = |(r, m): (ReplicaIndex, &Member)| match m.standing {
            Standing::Evicted { last, .. } if m.node == NodeId(n as u64) => Some((r, last)),
            _ => None,
        };
        let ended: Vec<_> = self.nodes[n].space.roster().iter().filter_map(ours).collect();
        for (of, last) in ended {
            let node = &mut self.nodes[n];
            let beyond = |b: &&Batch| b.replica() == of && b.last().sequence() > last;
            let own: Vec<Batch> = node.leftover.iter().filter(beyond).cloned().collect();
            // What counts is passed on under the old place: who said that it had it may be gone.
            node.leftover.retain(|b| b.replica() != of || b.first().sequence() <= last);
            node.unsure |= node.space.made(of, last, u64::MAX, 1).is_none();
            let here = node.space.tail_of(of, last);
            let at = node.tails.iter().position(|t| t.of() == of);
            if own.is_empty() && (here.is_empty() || at.is_some()) {
                node.forget_promises(of, last, &here);
                continue;
            }
            let before = at.map(|i| node.tails.remove(i));
            let kept = before.iter().flat_map(|t| t.batches().to_vec());
            let tail = Tail::new(of, last, own.into_iter().chain(kept).chain(here.batches().to_vec()));
            node.forget_promises(of, last, &tail);
            let place = node.tails.partition_point(|t| t.of() < of);
            if !tail.is_empty() {
                node.tails.insert(place, tail);
                self.sync(n);
                self.tell(|| format!("{n} sets aside what it made as {of} beyond {last}"));
            }
        }
    }
    /// Whether it may make something anew; and something new.
    fn may_make(&self, n: usize) -> bool {
        !self.nodes[n].lost && self.nodes[n].whole
    }
    pub(super) fn may_write(&self, n: usize) -> bool {
        let node = &self.nodes[n];
        let (me, roster) = (node.space.me(), node.space.roster());
        let former = |(r, m): (ReplicaIndex, &Member)| r < me && m.node == NodeId(n as u64) && m.takes_part();
        let may = matches!(standing(roster, me), Some(Standing::Active | Standing::Lagging));
        may && self.may_make(n) && node.tails.is_empty() && !roster.iter().any(former)
    }
    /// Whether it is one of those whom all that was ever forgotten was known to, as far as consensus knows.
    pub(super) fn is_sound(&self, n: usize) -> bool {
        let active = standing(self.latest(), self.nodes[n].space.me()) == Some(Standing::Active);
        active && self.may_make(n) && !is_beyond(self.nodes[n].space.version(), self.latest())
    }
    fn others_are_sound(&self, n: usize) -> bool {
        (0..self.nodes.len()).any(|k| k != n && self.is_sound(k))
    }
    /// Whether another proposes something about a node: any active member may, whole or not, that knows the latest roster.
    fn is_proposed(&mut self, n: usize) -> Result<bool, Violation> {
        for k in (0..self.nodes.len()).filter(|k| *k != n) {
            if self.is_asked(k) {
                self.learn(k, self.latest().clone())?;
            }
            if self.is_asked(k) {
                return Ok(true);
            }
        }
        Ok(false)
    }
    fn is_asked(&self, n: usize) -> bool {
        standing(self.latest(), self.nodes[n].space.me()) == Some(Standing::Active) && !self.nodes[n].lost
    }
    /// Somebody who takes part has a whole state, all of which counts, whether the others may take it yet or not.
    pub(super) fn is_kept(&self) -> Result<(), Violation> {
        let takes_part =
            |k: usize| self.latest().get(self.nodes[k].space.me()).is_some_and(Member::takes_part);
        let counts = |k: usize| !is_beyond(self.nodes[k].space.version(), self.latest());
        let kept = (0..self.nodes.len()).any(|k| self.may_make(k) && takes_part(k) && counts(k));
        if kept { Ok(()) } else { fail("the last whole state was given up") }
    }
    /// A member is silent for long: nobody keeps the log for it any more.
    fn lag(&mut self, n: usize) -> Result<(), Violation> {
        let me = self.nodes[n].space.me();
        if standing(self.latest(), me) == Some(Standing::Active) && self.is_proposed(n)? {
            self.decide(self.latest().with(me, Standing::Lagging));
        }
        Ok(())
    }
    /// `b` says of those who lag that they have caught up.
    pub(super) fn reactivate(&mut self, b: usize) -> Result<(), Violation> {
        if self.is_sound(b) {
            self.learn(b, self.latest().clone())?;
        }
        let lagging = |(r, m): (ReplicaIndex, &Member)| (m.standing == Standing::Lagging).then_some(r);
        for r in self.latest().iter().filter_map(lagging).collect::<Vec<_>>() {
            if self.is_sound(b) && self.nodes[b].space.reaches(r) && self.is_aware(r) {
                self.decide(self.latest().with(r, Standing::Active));
                // It forgets nothing between the two, nor after a crash.
                self.learn(b, self.latest().clone())?;
                self.sync(b);
            }
        }
        Ok(())
    }
    /// Whether the node at a place knows all ends that were decided: what is decided from now on, once it is active, it has a say in. So who is active
    /// never has what counts no longer.
    fn is_aware(&self, place: ReplicaIndex) -> bool {
        let here = |n: &Node| n.space.me() == place && n.space.roster().epoch == self.latest().epoch;
        planted::is(Bug::PromoteUnaware) || self.nodes.iter().any(here)
    }
    /// A member was silent for so long that its end is to be decided. Whether it is.
    fn end(&mut self, n: usize) -> Result<bool, Violation> {
        let me = self.nodes[n].space.me();
        let may = matches!(standing(self.latest(), me), Some(Standing::Active | Standing::Lagging));
        if !may || !self.is_proposed(n)? {
            return Ok(false);
        }
        self.lag(n)?;
        self.decide(self.latest().with(me, Standing::Closing));
        Ok(true)
    }
    /// Members say how far they have come with those that are closing; of whom all who are active have said it, the end is decided, by one who
    /// serves: the most that those have who have no state may be nothing.
    pub(super) fn report_and_decide(&mut self, all: bool) -> Result<(), Violation> {
        let superseded = |(r, m): (ReplicaIndex, &Member)| {
            let takes_part = matches!(m.standing, Standing::Active | Standing::Lagging);
            (takes_part && self.latest().next_place(r).is_some()).then_some(r)
        };
        for r in self.latest().iter().filter_map(superseded).collect::<Vec<_>>() {
            self.decide(self.latest().with(r, Standing::Closing));
        }
        for n in 0..self.nodes.len() {
            if all || self.draw.once_in(2) {
                self.learn(n, self.latest().clone())?;
                self.report(n);
            }
        }
        for k in 0..self.nodes.len() {
            if self.decide_ends((self.rosters.len() + k) % self.nodes.len())? {
                break;
            }
        }
        Ok(())
    }
    /// A node decides what counts of those that are closing, where all are heard. Whether it may.
    fn decide_ends(&mut self, by: usize) -> Result<bool, Violation> {
        let may = |w: &Self| w.is_sound(by) || (planted::is(Bug::EndUnserved) && w.is_asked(by));
        if may(self) {
            self.learn(by, self.latest().clone())?;
        }
        if !may(self) {
            return Ok(false);
        }
        self.report(by);
        let closing = |(r, m): (ReplicaIndex, &Member)| (m.standing == Standing::Closing).then_some(r);
        for r in self.latest().iter().filter_map(closing).collect::<Vec<_>>() {
            let said = self.latest().kept_for().map(|by| self.reports.get(&(r, by)).copied());
            let lagging = self.latest().iter().filter(|(_, m)| m.standing == Standing::Lagging);
            let besides =
                lagging.filter_map(|(by, _)| self.reports.get(&(r, by)).copied()).max().unwrap_or(0);
            if let Some(last) = said.collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max()) {
                let heir = self.heir(r);
                self.decide(self.latest().with(r, Standing::Evicted { last: last.max(besides), heir }));
                self.counts.evictions += 1;
                // It takes nothing more of that place between the two, nor after a crash.
                self.learn(by, self.latest().clone())?;
                self.sync(by);
            }
        }
        Ok(true)
    }
    pub(super) fn report(&mut self, n: usize) {
        let me = self.nodes[n].space.me();
        let asked = matches!(standing(self.latest(), me), Some(Standing::Active | Standing::Lagging));
        if self.nodes[n].lost || !asked {
            return;
        }
        self.sync(n);
        let node = &self.nodes[n];
        for (r, m) in node.space.roster().iter() {
            let mut waits: Vec<&Batch> = node.leftover.iter().filter(|b| b.replica() == r).collect();
            if m.standing == Standing::Closing && (node.whole || waits.is_empty()) {
                waits.sort_unstable_by_key(|b| b.first());
                // What waits for the end to be decided counts, if it follows.
                let far = waits.iter().fold(node.space.version().get(r), |far, b| {
                    if b.first().sequence() <= far + 1 { far.max(b.last().sequence()) } else { far }
                });
                // A state that was fetched since may have brought more.
                let said = self.reports.entry((r, me)).or_insert(far);
                *said = far.max(*said);
            }
        }
    }
    /// Who inherits: the node's next life, or the first active member.
    fn heir(&self, of: ReplicaIndex) -> Option<ReplicaIndex> {
        let roster = self.latest();
        let node = roster.get(of).map(|m| m.node);
        let active = || roster.iter().filter(|(_, m)| m.standing == Standing::Active);
        let next = active().filter(|(r, m)| *r > of && Some(m.node) == node).last();
        next.or_else(|| active().next()).map(|(r, _)| r)
    }
    /// The next step of a node that can't write: a place, a state, what it owes.
    pub(super) fn go_on(&mut self, n: usize) -> Result<(), Violation> {
        if self.nodes[n].lost {
            return self.take_place(n);
        }
        if !self.nodes[n].whole {
            let start = self.draw.below(self.nodes.len());
            for k in 0..self.nodes.len() {
                let from = (start + k) % self.nodes.len();
                if from != n && self.may_serve(from) && self.connected(n, from) {
                    return self.fetch(n, from);
                }
            }
            return Ok(());
        }
        self.write_anew(n)
    }
    /// A node without a place asks for one.
    fn take_place(&mut self, n: usize) -> Result<(), Violation> {
        let node = NodeId(n as u64);
        let next = if self.nodes[n].unsure { self.latest().admit(node) } else { self.latest().readmit(node) };
        let (roster, me) = next.expect("there is room");
        self.decide(roster.clone());
        let node = &mut self.nodes[n];
        node.space.set_roster(roster).map_err(|e| Violation(format!("a roster: {e}")))?;
        (node.lost, node.unsure, node.gambled) = (false, false, false);
        node.space.take_place(me);
        node.space.open();
        node.checked = None;
        self.sync(n);
        self.tell(|| format!("{n} is {me} now"));
        self.mind(n)
    }
    /// A node makes anew what it made at places that ended, or some of it.
    fn write_anew(&mut self, n: usize) -> Result<(), Violation> {
        if !self.may_make(n) || self.nodes[n].tails.is_empty() {
            return Ok(());
        }
        let mut left = self.left_to_make(n);
        let node = &mut self.nodes[n];
        let (me, before) = (node.space.me(), node.space.version().clone());
        let may = matches!(standing(node.space.roster(), me), Some(Standing::Active | Standing::Lagging));
        if !may {
            return Ok(());
        }
        // In one go, or a few at a time as if it were asked for by turns; and not always to the end.
        let (most, turns) = if self.draw.once_in(2) { (usize::MAX, 1) } else { (1, 1 + self.draw.below(4)) };
        let mut done = false;
        for _ in 0..turns {
            let made = node.space.version().get(me);
            done = node.space.write_anew(&node.tails, most).map_err(|e| Violation(e.to_string()))?;
            if done || node.space.version().get(me) == made {
                break;
            }
        }
        let node = &self.nodes[n];
        let Missing::Operations { batches, .. } = node.space.missing(&before, usize::MAX) else {
            return fail("what was made anew is not in the log");
        };
        let known: Vec<ReplicaIndex> =
            node.tails.iter().map(Tail::of).filter(|of| self.goes_on(n, *of)).collect();
        let spelled = known.len() < self.nodes[n].tails.len();
        let mut seen = before;
        for batch in batches {
            for op in batch.ops() {
                let op = op.expect("we made it");
                let Some(old) = left.pop_front() else {
                    return fail(format!("{n} makes {} anew, and nothing was left", op.dot));
                };
                let (old, lost) = old;
                let old = Old { dot: old, lost, known: known.contains(&old.replica()), spelled };
                self.spec.add_anew(&op, old, &seen).map_err(Violation)?;
                seen.raise(me, op.last().sequence());
                self.counts.salvaged += 1;
                self.tell(|| format!("{n} makes {} anew as {}", old.dot, op.dot));
            }
            let node = &mut self.nodes[n];
            node.wal.push(batch.clone());
            node.outbox.push(batch);
        }
        self.wanted.clear();
        if done && !left.is_empty() {
            return fail(format!("{n} makes {left:?} not anew, and {:?} was", self.nodes[n].tails));
        }
        if done {
            self.sync(n);
            self.nodes[n].tails.clear();
        } else if self.draw.once_in(2) {
            self.sync(n);
        }
        self.check(n)
    }
    /// Whether all know by which dots a node makes anew what it made at a place: not if it lost its disk since.
    fn goes_on(&self, n: usize, of: ReplicaIndex) -> bool {
        let mut later =
            self.nodes[n].space.roster().iter().filter(|(r, m)| *r > of && m.node == NodeId(n as u64));
        later.all(|(_, m)| matches!(m.begins, Begins::Beyond(_)))
    }
    /// What of its tails a node has still to make anew: what goes by no dot that counts. The later place first, because what it made first
    /// was of those before it.
    fn left_to_make(&self, n: usize) -> VecDeque<(Dot, bool)> {
        let node = &self.nodes[n];
        let (me, roster) = (node.space.me(), node.space.roster());
        let counts = |dot: Dot| {
            let own = dot.replica() == me;
            dot.sequence() <= if own { node.space.version().get(me) } else { roster.last(dot.replica()) }
        };
        let made = self.spec.made_anew().filter(|(now, _)| counts(*now));
        let mut seen: BTreeSet<Dot> = made.map(|(_, id)| id).collect();
        let mut out = VecDeque::new();
        for tail in node.tails.iter().rev() {
            let mut next = 1 + match roster.next_place(tail.of()).map(|m| m.begins) {
                Some(Begins::Beyond(cut)) => cut,
                _ => roster.last(tail.of()),
            };
            for op in tail.batches().iter().flat_map(Batch::ops) {
                let op = op.expect("it was made");
                if op.last().sequence() < next {
                    continue;
                }
                // What its log no longer has is made anew as nothing.
                let lost = (next..op.dot.sequence()).map(|s| (Dot::new(tail.of(), s), true));
                let all = lost.chain([(op.dot, false)]);
                out.extend(all.filter(|(dot, _)| seen.insert(self.spec.origin(*dot))));
                next = op.last().sequence() + 1;
            }
        }
        out
    }
    /// A disk is lost: the node comes back with nothing.
    pub(super) fn lose_disk(&mut self, n: usize) -> Result<(), Violation> {
        if !self.others_are_sound(n) {
            return Ok(());
        }
        self.counts.lost_disks += 1;
        self.tell(|| format!("{n} loses its disk"));
        let (config, roster) = (self.config, self.latest().clone());
        let reuse = planted::is(Bug::ReuseDot);
        let node = &mut self.nodes[n];
        node.space = Space::new(config, roster, node.space.me());
        (node.lost, node.unsure, node.whole, node.disk, node.checked) = (!reuse, !reuse, false, None, None);
        (node.leftover, node.tails, node.promised) = (Vec::new(), Vec::new(), Vec::new());
        node.wal.clear();
        node.outbox.clear();
        self.sync(n);
        self.go_on(n)?;
        if self.draw.once_in(4) {
            return Ok(());
        }
        self.go_on(n)
    }
    pub(super) fn trim(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        // What it has and others lack is carried over to the state that it takes, from its log.
        if !node.whole {
            return;
        }
        node.space.trim();
        node.checked = None;
        let roster = node.space.roster();
        let not = self.rosters.iter().flat_map(Roster::iter).map(|(r, _)| r);
        let not = not.filter(|r| standing(roster, *r) != Some(Standing::Active));
        node.not_kept_for.extend(not);
        node.known_at_trim = node.known_at_trim.min(roster.len());
        self.counts.trims += 1;
        self.tell(|| format!("{n} trims"));
    }
}

impl Node {
    /// What left the log, because all others who were active had it, and is cut off all the same, because all of these were evicted before one
    /// who had been active again for a moment had caught up: that is lost, and the page says so (`docs/eventual.md`).
    fn forget_promises(&mut self, of: ReplicaIndex, last: u64, tail: &Tail) {
        if self.space.made(of, last, u64::MAX, 1).is_none() {
            let held = tail.batches().first().map_or(u64::MAX, |b| b.first().sequence());
            let elsewhere = self.elsewhere.get(of);
            self.promised.retain(|(from, to)| {
                let seen = to.sequence() <= elsewhere;
                from.replica() != of || to.sequence() <= last || from.sequence() >= held || !seen
            });
        }
    }
}

/// Whether a version has what was cut off.
pub(super) fn is_beyond(version: &VersionVector, roster: &Roster) -> bool {
    version.iter().any(|(r, s)| s > roster.last(r))
}
