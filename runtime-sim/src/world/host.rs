//! One node's place in the world: its process, its clocks, its disk, and what waits for it.

use crate::clock::Clock;
use crate::disk::{Requests, Shared};
use crate::fault::{Effect, FaultKind};
use dwcp_env::{Input, JobId, JobResult, Machine, NodeId, Ratio, Reply, Send};
use std::collections::VecDeque;
use std::sync::Arc;

/// What leaves the node once a disk request is durable.
#[derive(Debug)]
pub(super) enum Gated<R> {
    Send(Send),
    Reply(Reply<R>),
}

/// A job that has run and not yet completed.
pub(super) struct Running {
    pub(super) id: JobId,
    pub(super) name: &'static str,
    pub(super) result: JobResult,
}

/// How a node under a Byzantine fault lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lies {
    pub(super) mutate: Ratio,
    pub(super) duplicate: Ratio,
    pub(super) replay: Ratio,
    pub(super) withhold: Ratio,
}

/// Sends a liar remembers, to replay them.
pub(super) const MEMORY: usize = 64;

pub(super) struct Host<M: Machine> {
    pub(super) id: NodeId,
    pub(super) machine: Option<M>,
    /// The time of its first boot has come.
    pub(super) started: bool,
    pub(super) version: u32,
    /// Boots so far.
    pub(super) incarnation: u32,
    /// Rises whenever a process ends: what was meant for an earlier one is not delivered.
    pub(super) life: u32,
    pub(super) clock: Clock,
    pub(super) disk: Arc<Shared>,
    pub(super) requests: Requests<Gated<M::Response>>,

    pub(super) inbox: VecDeque<Input<M::Request>>,
    pub(super) busy_until: u64,
    pub(super) resume_scheduled: bool,
    /// Outputs that a paused process could not let go.
    pub(super) held: Vec<Gated<M::Response>>,

    /// A wake has come and waits for the process; it is given only if it is still wished for.
    pub(super) wake_due: bool,
    /// The wake after boot has not been given yet.
    pub(super) newborn: bool,
    pub(super) wake_at: Option<u64>,
    pub(super) wake_event: Option<u64>,
    pub(super) wake_generation: u32,
    pub(super) last_mono: u64,

    pub(super) jobs: Vec<Option<Running>>,

    /// Windows that stop it, keep it down, or are about to change its version.
    pub(super) pauses: u32,
    pub(super) downs: u32,
    pub(super) upgrades: u32,
    /// It was asked to stop, and is not started again when it does.
    pub(super) stopping: bool,
    pub(super) boot_failures: u32,
    pub(super) lies: Option<Lies>,
    pub(super) said: VecDeque<Send>,
    /// Clock faults that its process has not seen yet.
    pub(super) unseen: Vec<FaultKind>,
    /// Crashes that wait for a write: the windows' places.
    pub(super) strikes: Vec<u32>,
    /// Disk faults that are on: the windows' places.
    pub(super) ills: Vec<u32>,
}

impl<M: Machine> Host<M> {
    pub(super) fn new(id: NodeId, version: u32, clock: Clock, disk: Arc<Shared>) -> Self {
        Self {
            id,
            machine: None,
            started: false,
            version,
            incarnation: 0,
            life: 0,
            clock,
            disk,
            requests: Requests::default(),
            inbox: VecDeque::new(),
            busy_until: 0,
            resume_scheduled: false,
            held: Vec::new(),
            wake_due: false,
            newborn: false,
            wake_at: None,
            wake_event: None,
            wake_generation: 0,
            last_mono: 0,
            jobs: Vec::new(),
            pauses: 0,
            downs: 0,
            upgrades: 0,
            stopping: false,
            boot_failures: 0,
            lies: None,
            said: VecDeque::new(),
            unseen: Vec::new(),
            strikes: Vec::new(),
            ills: Vec::new(),
        }
    }
    /// Whether nothing keeps it from booting.
    pub(super) const fn may_boot(&self) -> bool {
        self.started && self.machine.is_none() && self.downs == 0 && self.upgrades == 0
    }
    /// Whether nothing waits for the process.
    pub(super) fn has_nothing(&self) -> bool {
        self.inbox.is_empty() && !self.wake_due
    }
    /// Takes the wake that is due, if it is still wished for.
    pub(super) fn take_wake(&mut self, now: u64) -> bool {
        if !std::mem::take(&mut self.wake_due) {
            return false;
        }
        let wished = self.wake_at.is_some_and(|at| self.clock.mono(now) >= at);
        if wished {
            self.wake_at = None;
        }
        std::mem::take(&mut self.newborn) || wished
    }
    /// Forgets all that belongs to the process that has ended.
    pub(super) fn end(&mut self) -> Option<M> {
        self.life += 1;
        self.requests = Requests::default();
        self.inbox.clear();
        self.held.clear();
        self.busy_until = 0;
        self.resume_scheduled = false;
        self.wake_due = false;
        self.newborn = false;
        self.wake_at = None;
        self.wake_event = None;
        self.wake_generation += 1;
        self.jobs.clear();
        self.said.clear();
        self.machine.take()
    }
}

/// How a node lies under this effect.
pub(super) const fn lies(effect: &Effect) -> Option<Lies> {
    match effect {
        Effect::Byzantine { mutate, duplicate, replay, withhold } => {
            Some(Lies { mutate: *mutate, duplicate: *duplicate, replay: *replay, withhold: *withhold })
        }
        _ => None,
    }
}
