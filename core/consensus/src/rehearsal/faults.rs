//! Faults begin and end; after the calm the world waits until all is decided everywhere.

use super::fact::Fact;
use super::invariant::Broken;
use super::plan::{Fault, Shape};
use super::subject::{Order, Subject};
use super::tally::Seen;
use super::world::{Event, InForce, World};
use crate::step::Input;
use alloc::format;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, NodeId, Purpose};

const HINT: Purpose = Purpose::named("rehearsal hint");
const KEEP: Purpose = Purpose::named("rehearsal keep");
const HOLD: Purpose = Purpose::named("rehearsal hold");
/// A cut must be this many timeouts long before progress in it is demanded.
const DEMAND: u64 = 20;
/// Who fell over its own words is back so soon.
const AMBUSHED: Duration = Duration::millis(1);
/// Commands that are to be acknowledged after the calm.
const AFTERWARDS: u64 = 32;

impl<S: Subject> World<'_, S> {
    pub(super) fn fault(&mut self, number: u32) -> Result<(), Broken> {
        if self.calm {
            return Ok(());
        }
        let (_, fault) = self.plan.faults[number as usize];
        self.tell(|| format!("{fault:?}"));
        self.hint_wrongly(number);
        match fault {
            Fault::Crash { node, down, wipe } => {
                let node = node.unwrap_or_else(|| self.leading());
                self.crash(node, wipe)?;
                self.push(self.now + down, Event::Start { node: node as u8 });
            }
            Fault::Pause { node, lasts } => {
                let node = node.unwrap_or_else(|| self.leading());
                self.tally.add(Seen::Paused);
                // What happens to it meanwhile waits until then: no pause outlasts the faults.
                let until = (self.now + lasts).min(self.plan.calm);
                self.sites[node].paused_until = until;
                self.push(until, Event::Knock { node: node as u8 });
            }
            Fault::Slow { node, lasts, factor } => {
                self.tally.add(Seen::Stalled);
                self.sites[node].slow_until = self.now + lasts;
                // A stall ends with its window, whatever was begun within it.
                let longest = lasts.as_nanos() / (self.plan.sync.0 + self.plan.sync.1).as_nanos() / 4;
                self.sites[node].slow = factor.min(longest.max(1));
            }
            Fault::Transfer { to } => {
                let (leader, to) = (self.leading(), self.members[to]);
                self.step(leader, Input::Transfer(to))?;
            }
            Fault::Cut { shape, lasts } => {
                self.tally.add(Seen::Cut);
                let leader = self.leading();
                let connected = self.network.shape(shape, leader, self.now);
                // In a line of six nobody reaches four.
                let central = matches!(shape, Shape::QuorumLoss | Shape::Constrained)
                    || shape == Shape::Chained && self.plan.nodes <= 5;
                let demanded = (connected || central && self.subject.lives_through_partial_cuts())
                    && self.plan.faults.len() == 1
                    && lasts >= self.subject.timeout(super::plan::ROUND_TRIP) * DEMAND;
                self.cut = Some(InForce { number, demanded, last: self.now, silent: Duration::ZERO });
                if self.below(65_536, HOLD, u64::from(number)) < u64::from(self.plan.holds) {
                    self.network.hold((self.now + lasts).min(self.plan.calm));
                }
                self.push(self.now + lasts, Event::Mend { number });
            }
        }
        Ok(())
    }

    pub(super) fn mend(&mut self, number: u32) -> Result<(), Broken> {
        let Some(cut) = self.cut.filter(|c| c.number == number) else { return Ok(()) };
        self.network.mend();
        self.cut = None;
        if !cut.demanded {
            return Ok(());
        }
        // With losses an election may take a second attempt, and a third.
        let timeouts = self.subject.silent_within() * if self.plan.loss > 0 { 3 } else { 1 };
        let allowed = self.subject.timeout(super::plan::ROUND_TRIP) * timeouts;
        let silent = cut.silent.max(self.now.since(cut.last));
        self.tally.longest("a quorum connected and silent", silent);
        self.invariants.see(&Fact::Survived { silent: (silent.as_nanos(), allowed.as_nanos()) })
    }

    /// Something was acknowledged for the first time since the calm, or should have been.
    pub(super) fn serve(&mut self, node: usize) -> Result<(), Broken> {
        // A takeover in small pieces, each after a sync as long as a round trip, takes some times as long.
        let longer = if self.plan.fine { 8 } else { 1 };
        let allowed = self.subject.timeout(super::plan::ROUND_TRIP) * self.subject.serves_within() * longer;
        let waited = self.now.since(self.plan.calm);
        self.tally.longest("from the calm to an acknowledgement", waited);
        self.see(node, Fact::Served { after: (waited.as_nanos(), allowed.as_nanos()) })
    }

    /// A node crashes for a short while.
    pub(super) fn fall(&mut self, node: usize) -> Result<(), Broken> {
        self.tally.add(Seen::Fell);
        self.crash(node, false)?;
        let down = if self.plan.ambush > 0 { AMBUSHED } else { self.plan.old };
        self.push(self.now + down, Event::Start { node: node as u8 });
        Ok(())
    }

    /// One fault in four lets somebody take another, mostly the leader, for gone.
    fn hint_wrongly(&mut self, number: u32) {
        let drawn = self.seed.below(1 << 16, HINT, u64::from(number), Instant::ZERO, 0);
        let (about, peer) = (drawn % 4, drawn as usize / 4 % self.plan.nodes);
        let node = drawn as usize / 64 % self.plan.nodes;
        let peer = if (drawn / 1_024).is_multiple_of(2) { self.leading() } else { peer };
        if about == 0 && node != peer {
            self.push(self.now, Event::Hint { node: node as u8, peer: peer as u8 });
        }
    }

    /// Half of the others notice soon that a process is gone.
    fn hint(&mut self, gone: usize) {
        for node in (0..self.plan.nodes).filter(|n| *n != gone) {
            let drawn = self.seed.below(1 << 16, HINT, (gone * 16 + node) as u64, self.now, 1);
            if drawn.is_multiple_of(2) {
                // As long as nobody listens there it is told again.
                for again in 0..4 {
                    let after = Duration::nanos(drawn * 30) + Duration::millis(10) * again;
                    self.push(self.now + after, Event::Hint { node: node as u8, peer: gone as u8 });
                }
            }
        }
    }

    fn crash(&mut self, node: usize, wipe: bool) -> Result<(), Broken> {
        if self.sites[node].protocol.is_none() {
            return Ok(());
        }
        self.tally.add(Seen::Crashed);
        let more = self.sites[node].disk.unsafe_count();
        let more = self.below(more as u64 + 1, KEEP, node as u64) as usize;
        let site = &mut self.sites[node];
        let torn = site.disk.crash(more);
        site.stop();
        if wipe {
            site.disk = super::disk::Disk::new();
            site.checkpoint = None;
            site.vouched.clear();
            site.stable = None;
            site.wiped = true;
            self.tally.add(Seen::Wiped);
        }
        if torn.lost > 0 {
            self.tally.add(Seen::Torn);
        }
        if torn.unreported > 0 {
            self.tally.add(Seen::KeptMore);
        }
        if torn.compacting {
            self.tally.add(Seen::MidCompaction);
        }
        for question in &mut self.clients.questions {
            question.open &= usize::from(question.node) != node;
        }
        self.hint(node);
        self.tell(|| format!("{} crashes, {} records lost", NodeId(node as u64 + 1), torn.lost));
        self.see(node, Fact::Crashed { node: self.members[node] })
    }

    pub(super) fn begin_calm(&mut self) -> Result<(), Broken> {
        self.calm = true;
        self.tell(|| "calm".into());
        self.network.calm();
        self.cut = None;
        self.clients.goal = u64::from(self.plan.commands).max(self.clients.count + AFTERWARDS);
        for node in 0..self.sites.len() {
            let site = &mut self.sites[node];
            site.paused_until = Instant::ZERO;
            site.slow_until = Instant::ZERO;
            if self.plan.gone.has(node) {
                self.crash(node, false)?;
                continue;
            }
            let site = &self.sites[node];
            if site.protocol.is_none() {
                self.start(node)?;
            }
        }
        self.push(self.now + self.pause(), Event::Poll);
        Ok(())
    }

    fn pause(&self) -> Duration {
        self.plan.patience / 320
    }

    /// Whether what becomes of this node is looked at in the end.
    fn is_judged(&self, node: usize) -> bool {
        self.sites[node].liar.is_none() && !self.plan.gone.has(node)
    }

    fn alike(&self) -> bool {
        let judged = self.sites.iter().enumerate().filter(|(n, _)| self.is_judged(*n));
        let mut honest = judged.map(|(_, s)| &s.state);
        let Some(first) = honest.next() else { return true };
        honest.all(|s| match self.order {
            Order::Total => s.applied == first.applied,
            Order::ByKey => s.keys == first.keys && s.numbers == first.numbers,
        })
    }

    /// Looks whether the end has come.
    pub(super) fn poll(&mut self) -> Result<Option<Duration>, Broken> {
        self.leading();
        let waited = self.now.since(self.plan.calm);
        let late = waited > self.plan.patience;
        let left = if self.sealed { 0 } else { self.clients.goal.saturating_sub(self.clients.count) };
        let alike = left == 0 && self.alike();
        let open = |world: &Self, node: usize| {
            let questions = world.clients.questions.iter().enumerate();
            questions.filter(|(_, q)| q.open && usize::from(q.node) == node).map(|(i, _)| i as u64 + 1).next()
        };
        let honest: Vec<usize> = (0..self.sites.len()).filter(|n| self.is_judged(*n)).collect();
        // All may be alike and lack what was acknowledged, as long as nobody leads after a crash of all.
        let waits = |n: &usize| {
            open(self, *n).is_some()
                || self.sites[*n].state.numbers.lacks(&self.clients.acknowledged).is_some()
        };
        if !late && (!alike || honest.iter().any(waits)) {
            self.push(self.now + self.pause(), Event::Poll);
            return Ok(None);
        }
        if !alike {
            let applied = honest.iter().map(|n| self.sites[*n].state.applied);
            let applied = (applied.clone().min().unwrap_or(0), applied.max().unwrap_or(0));
            self.invariants.see(&Fact::Stuck { applied, left })?;
        }
        for node in honest {
            let state = &self.sites[node].state;
            let chain = match self.order {
                Order::Total => state.chain,
                Order::ByKey => state.keys.iter().fold(0, |h, (chain, _)| super::state::fold(h, *chain)),
            };
            let missing = state.numbers.lacks(&self.clients.acknowledged);
            let open = open(self, node);
            self.see(node, Fact::Ended { node: self.members[node], chain, missing, open })?;
        }
        let Self { sites, subject, tally, .. } = self;
        for protocol in sites.iter().filter_map(|s| s.protocol.as_ref()) {
            subject.counts(protocol, &mut |name, n| *tally.hard.entry(name).or_default() += n);
        }
        Ok(Some(waited))
    }
}
