//! Execution: strongly connected components of decided commands, in the order of their dependencies.
//!
//! Tarjan's algorithm (1972), iterative, at most [`VISITS_A_STEP`] visits a step; an unfinished walk goes on at
//! the next tick. An instance can be placed once everything in its dependencies is decided, which one comparison
//! a replica tells, dependencies being prefixes. Edges lead to those of them that interfere and are not
//! executed, as many as are needed to reach all (`Live::edges`). Inside a component the order is by (number, replica), which is the same everywhere and treats all
//! replicas alike.
//!
//! A walk that meets an instance whose dependencies are not all decided is given up, and all that led to it waits
//! for exactly the number that is missing: nothing is walked twice for the same gap. That number may be known from these dependencies alone,
//! those who saw it being gone: so it is noted here, and looked after like any other that was heard of. What the walk executed until then stays executed: components leave
//! Tarjan's stack only when all they depend on has.

use super::instance::{Timer, WINDOW};
use super::message::{Deps, InstanceId};
use super::planted::{self, Bug};
use super::protocol::{Epaxos, Out};
use crate::step::{Output, Payload};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use dwcp_env::Instant;

/// Instances and edges looked at in one step: some milliseconds.
const VISITS_A_STEP: usize = 16_384;

/// What is ready, what waits, and the walk in progress.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub(super) struct Execution {
    /// Decided instances from which a walk has not begun.
    roots: BTreeSet<InstanceId>,
    /// Decided instances by the one they wait for: all of its replica's numbers up to it must be decided.
    blocked: BTreeMap<InstanceId, BTreeSet<InstanceId>>,
    /// The same the other way round.
    waits: BTreeMap<InstanceId, InstanceId>,
    walk: Option<Walk>,
    /// What something waits for since the last step.
    missed: BTreeSet<InstanceId>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
struct Walk {
    /// Where it begins, until it has.
    root: Option<InstanceId>,
    frames: Vec<Frame>,
    /// Met and not yet in a component, in the order met.
    stack: Vec<InstanceId>,
    marks: BTreeMap<InstanceId, Mark>,
    next: u32,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Frame {
    id: InstanceId,
    edges: Vec<InstanceId>,
    at: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Mark {
    index: u32,
    low: u32,
    on_stack: bool,
}

impl Execution {
    pub(super) fn ready(&mut self, id: InstanceId) {
        self.roots.insert(id);
    }
    /// All numbers of a replica up to this are decided now.
    pub(super) fn wake(&mut self, replica: u8, number: u64) {
        let range = InstanceId::new(replica, 0)..=InstanceId::new(replica, number);
        let woken: Vec<InstanceId> = self.blocked.range(range).map(|(id, _)| *id).collect();
        for on in woken {
            let woken = self.blocked.remove(&on).expect("just listed");
            for id in &woken {
                self.waits.remove(id);
            }
            self.roots.extend(woken);
        }
    }
    fn block(&mut self, id: InstanceId, on: InstanceId) {
        self.roots.remove(&id);
        if let Some(before) = self.waits.insert(id, on)
            && before != on
            && let Some(there) = self.blocked.get_mut(&before)
        {
            there.remove(&id);
        }
        self.blocked.entry(on).or_default().insert(id);
        self.missed.insert(on);
    }
    /// Whether a walk was interrupted or has not begun.
    pub(super) fn unfinished(&self) -> bool {
        self.walk.is_some() || !self.roots.is_empty()
    }
}

impl Epaxos {
    /// Executes what can be, within a step's budget.
    pub(super) fn execute(&mut self, now: Instant, out: &mut Out) {
        if !self.execution.unfinished() {
            return;
        }
        let before = self.executed.count();
        let mut budget = VISITS_A_STEP;
        while let Some(mut walk) = self.execution.walk.take().or_else(|| self.next_root()) {
            if !self.walk(&mut walk, &mut budget, out) {
                self.counts.paused += 1;
                self.execution.walk = Some(walk);
                break;
            }
        }
        if !planted::is(Bug::MissedUnheard) {
            for on in core::mem::take(&mut self.execution.missed) {
                let within = self.executed.frontier[on.at()].saturating_add(WINDOW);
                self.note(now, on.replica, on.number.min(within));
            }
        }
        if self.executed.count() > before {
            self.release(now, out);
            self.answer_reads(out);
        }
    }
    fn next_root(&mut self) -> Option<Walk> {
        let root = self.execution.roots.pop_first()?;
        Some(Walk { root: Some(root), ..Walk::default() })
    }
    /// Goes on with a walk; `false` if the budget ended first.
    fn walk(&mut self, walk: &mut Walk, budget: &mut usize, out: &mut Out) -> bool {
        if let Some(root) = walk.root.take()
            && !self.enter(walk, root)
        {
            return true;
        }
        while let Some(frame) = walk.frames.last_mut() {
            if *budget == 0 {
                return false;
            }
            *budget -= 1;
            let id = frame.id;
            let Some(next) = frame.edges.get(frame.at).copied() else {
                walk.frames.pop();
                self.leave(walk, id, out);
                continue;
            };
            frame.at += 1;
            match walk.marks.get(&next).copied() {
                Some(mark) if mark.on_stack => {
                    let mine = walk.marks.get_mut(&id).expect("entered");
                    mine.low = mine.low.min(mark.index);
                }
                Some(_) => {}
                None => {
                    if !self.enter(walk, next) {
                        return true;
                    }
                }
            }
        }
        true
    }
    /// Meets an instance; `false` if it can't be placed yet: then it waits, and all that led to it.
    fn enter(&mut self, walk: &mut Walk, id: InstanceId) -> bool {
        if self.executed.has(id) {
            return true;
        }
        let instance = &self.instances[&id];
        let deps = &instance.vote.deps;
        debug_assert!(instance.announced, "{id:?} is met before it is decided");
        let missing = deps.0.iter().zip(&self.committed).position(|(d, c)| d > c);
        let on = missing.map(|replica| InstanceId::new(replica as u8, deps.0[replica]));
        if let Some(on) = self.execution.waits.get(&id).copied().or(on)
            && !planted::is(Bug::EagerExecution)
        {
            // All on the stack lead to it, hence wait for the same.
            for waiting in walk.stack.iter().copied().chain([id]) {
                self.execution.block(waiting, on);
            }
            return false;
        }
        let mut edges = self.live.edges(&instance.touch, deps);
        edges.retain(|e| *e != id && self.instances[e].announced);
        let mark = Mark { index: walk.next, low: walk.next, on_stack: true };
        walk.next += 1;
        walk.marks.insert(id, mark);
        walk.stack.push(id);
        walk.frames.push(Frame { id, edges, at: 0 });
        true
    }
    /// All edges of an instance are followed: its component may be complete.
    fn leave(&mut self, walk: &mut Walk, id: InstanceId, out: &mut Out) {
        let mark = walk.marks[&id];
        if let Some(parent) = walk.frames.last() {
            let parent = walk.marks.get_mut(&parent.id).expect("entered");
            parent.low = parent.low.min(mark.low);
        }
        if mark.low != mark.index {
            return;
        }
        let mut component = vec![];
        while let Some(member) = walk.stack.pop() {
            walk.marks.get_mut(&member).expect("entered").on_stack = false;
            component.push(member);
            if member == id {
                break;
            }
        }
        if component.len() > 1 {
            self.counts.cycles += 1;
        }
        if !planted::is(Bug::UnsortedCycle) {
            component.sort_unstable_by_key(|c| (c.number, c.replica));
        }
        component.into_iter().for_each(|member| self.execute_one(member, out));
    }
    fn execute_one(&mut self, id: InstanceId, out: &mut Out) {
        let instance = &self.instances[&id];
        let payload = match &instance.vote.command {
            Some(command) if !instance.vote.noop => command.clone(),
            _ => Payload::Blank,
        };
        let (touch, nothing) = (instance.touch.clone(), instance.vote.noop);
        let marker = (!instance.vote.noop && payload.is_empty()).then(|| instance.vote.deps.clone());
        if let Some(base) = &marker {
            self.execute_nothings(base, out);
        }
        self.live.remove(id, &touch);
        if nothing {
            let highest = &mut self.nothing[id.at()];
            *highest = id.number.max(*highest);
        } else {
            self.done.insert(id, &touch);
        }
        self.executed.insert(id);
        self.execution.roots.remove(&id);
        if let Some(deps) = marker {
            let base = self.executed.within(&deps);
            // In one cycle with another marker it may know less.
            if base.holds(&self.base) {
                self.base = base;
            }
        }
        let token = self.proposals.remove(&id).map(|(token, deadline)| {
            self.timers.remove(&(deadline, Timer::GiveUp(id)));
            token
        });
        out.push(Output::Decided { index: self.executed.count(), payload, token });
    }
    /// Executes what is decided as nothing inside this set, so that all replicas have it behind them at a marker.
    fn execute_nothings(&mut self, base: &Deps, out: &mut Out) {
        let mut nothings = vec![];
        for (replica, number) in base.0.iter().enumerate() {
            let from = InstanceId::new(replica as u8, self.executed.frontier[replica] + 1);
            let to = InstanceId::new(replica as u8, number + 1);
            let range = self.instances.range(from..to.max(from));
            nothings.extend(
                range
                    .filter(|(id, i)| i.announced && i.vote.noop && !self.executed.has(**id))
                    .map(|(id, _)| *id),
            );
        }
        nothings.into_iter().for_each(|id| self.execute_one(id, out));
    }
}
