//! What clients do: propose and read where they believe the leader is, and remember what was answered.

use super::fact::{Fact, Value};
use super::invariant::Broken;
use super::state::Numbers;
use super::subject::{Order, Subject};
use super::tally::Seen;
use super::world::{Event, Question, World};
use crate::engine::Token;
use crate::step::{Input, Payload};
use alloc::vec::Vec;
use dwcp_env::{NodeId, Purpose};

const TARGET: Purpose = Purpose::named("rehearsal target");
const READ: Purpose = Purpose::named("rehearsal read");
const SEAL: Purpose = Purpose::named("rehearsal seal");
/// When the epoch is to be sealed, one proposal of so many is a seal.
const SEALED: u64 = 16;
/// Questions of a run at most.
const QUESTIONS_MAX: usize = 60_000;

impl<S: Subject> World<'_, S> {
    /// Where to ask next: mostly where the leader is believed to be.
    fn target(&mut self) -> Option<usize> {
        let n = self.sites.len() as u64;
        let stray = self.subject.leaderless() || self.below(16, TARGET, 0) == 0;
        let first = if stray { self.below(n, TARGET, 1) as usize } else { self.clients.hint };
        let serves = |world: &Self, node: usize| {
            let site = &world.sites[node];
            site.protocol.is_some()
                && site.liar.is_none()
                && site.paused_until <= world.now
                && site.open < world.plan.window
        };
        if serves(self, first) {
            return Some(first);
        }
        let other = self.below(n, TARGET, 2) as usize;
        self.clients.hint = other;
        serves(self, other).then_some(other)
    }

    fn ask(&mut self, node: usize, known: Option<Numbers>) -> u64 {
        let site = &mut self.sites[node];
        site.open += 1;
        let floor = self.clients.floor;
        let sealed = site.state.sealed.is_some();
        let question = Question { node: node as u8, life: site.life, open: true, sealed, floor, known };
        self.clients.questions.push(question);
        self.clients.questions.len() as u64
    }

    pub(super) fn client(&mut self) -> Result<(), Broken> {
        self.clients.turns += 1;
        let done = self.done();
        if !done {
            self.push(self.now + self.plan.gap, Event::Client);
        }
        if done || self.clients.questions.len() >= QUESTIONS_MAX {
            return Ok(());
        }
        for _ in 0..self.plan.burst {
            self.propose()?;
        }
        if self.plan.reads > 0 && self.below(65_536, READ, 0) < u64::from(self.plan.reads) {
            self.read()?;
        }
        Ok(())
    }

    /// A batch, where there is room for its questions.
    fn propose(&mut self) -> Result<(), Broken> {
        let Some(node) = self.target() else { return Ok(()) };
        let mut batch = Vec::with_capacity(self.plan.batch);
        for _ in 0..self.plan.batch {
            let (number, bytes) = self.mint.strike();
            let token = self.ask(node, None);
            self.see(node, Fact::Proposed { node: self.members[node], token, number })?;
            let seals = self.now >= self.plan.seals_from && self.below(SEALED, SEAL, 0) == 0;
            let payload =
                if seals { Payload::Seal(self.subject.seal(bytes)) } else { Payload::Command(bytes) };
            if let (Value::Seal(seal), _) = self.value(&payload) {
                self.see(node, Fact::Ends { seal })?;
            }
            batch.push((Token(token), payload));
        }
        self.step(node, Input::Propose(batch))
    }

    /// A read at a node that was paused: it has heard of nothing that happened meanwhile.
    pub(super) fn knock(&mut self, node: usize) -> Result<(), Broken> {
        let site = &self.sites[node];
        let serves = site.protocol.is_some() && site.liar.is_none() && site.paused_until <= self.now;
        if serves && self.plan.reads > 0 { self.read_at(node) } else { Ok(()) }
    }

    fn read(&mut self) -> Result<(), Broken> {
        self.target().map_or(Ok(()), |node| self.read_at(node))
    }

    fn read_at(&mut self, node: usize) -> Result<(), Broken> {
        let known = (self.order == Order::ByKey).then(|| self.clients.known.clone());
        let token = self.ask(node, known);
        self.see(node, Fact::Asked { node: self.members[node], token })?;
        self.step(node, Input::Read(Token(token)))
    }

    /// Closes a question.
    pub(super) fn close(&mut self, token: u64) {
        let Some(question) = self.clients.questions.get_mut(token as usize - 1) else { return };
        let site = &mut self.sites[usize::from(question.node)];
        if question.open && question.life == site.life {
            site.open = site.open.saturating_sub(1);
        }
        question.open = false;
    }

    /// Whether enough was acknowledged: after the calm, or behind a seal, nothing more is waited for.
    pub(super) fn done(&self) -> bool {
        self.calm && (self.sealed || self.clients.count >= self.clients.goal)
    }

    pub(super) fn acknowledge(
        &mut self,
        node: usize,
        token: u64,
        index: u64,
        value: Value,
    ) -> Result<(), Broken> {
        self.close(token);
        let Value::Command(number) = value else { return Ok(()) };
        if let Some(cut) = &mut self.cut {
            cut.silent = cut.silent.max(self.now.since(cut.last));
            cut.last = self.now;
        }
        if self.calm && !core::mem::replace(&mut self.served, true) {
            self.serve(node)?;
        }
        self.tally.add(Seen::Acknowledged);
        self.clients.count += 1;
        self.clients.acknowledged.insert(number);
        self.clients.known.insert(number);
        if index > self.clients.floor.0 {
            self.clients.floor = (index, number);
        }
        Ok(())
    }

    pub(super) fn redirect(&mut self, leader: Option<NodeId>) {
        if let Some(place) = leader.and_then(|l| self.members.binary_search(&l).ok()) {
            self.clients.hint = place;
        } else {
            let n = self.sites.len() as u64;
            self.clients.hint = self.below(n, TARGET, 3) as usize;
        }
    }

    pub(super) fn readable(&mut self, node: usize, token: u64) -> Result<(), Broken> {
        let state = &self.sites[node].state;
        let applied = state.applied;
        let question = self.clients.questions.get(token as usize - 1);
        let missing = question.and_then(|q| match &q.known {
            Some(known) => state.numbers.lacks(known),
            None => (applied < q.floor.0).then_some(q.floor.1),
        });
        self.see(node, Fact::Readable { node: self.members[node], token, applied, missing })?;
        if self.sites[node].liar.is_none() {
            self.tally.add(Seen::Read);
            let state = &self.sites[node].state;
            if self.order == Order::ByKey {
                self.clients.known.join(&state.numbers);
            } else if applied > self.clients.floor.0 {
                self.clients.floor.0 = applied;
            }
        }
        self.close(token);
        Ok(())
    }
}
