//! A node's process: booting, taking turns, ending.

use super::{INCARNATION, Next, SimWorld};
use crate::disk::storage::SimStorage;
use crate::fault::FaultKind;
use crate::trace::{Lost, What};
use bytes::Bytes;
use dwcp_env::bound::INPUT_QUEUE;
use dwcp_env::contract::Stopped;
use dwcp_env::{Input, Instant, Lane, Machine, World};
use std::sync::Arc;

/// A timer set for a moment that has passed fires this much later: a node that asks for it
/// again and again makes no progress, but time does.
const WAKE_SOON: u64 = 1_000;

/// How a process ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// With the power: what was not synced meets its fate.
    Power { torn: bool },
    /// Alone: the disk keeps what was written.
    Killed,
    /// With its disk.
    Wiped,
}

impl<M: Machine> SimWorld<M> {
    // --- inputs ---

    pub(super) fn deliver(&mut self, to: u16, from: u16, lane: Lane, body: Bytes, digest: u64, message: u64) {
        let i = to as usize;
        let (sender, receiver) = (self.hosts[from as usize].id, self.hosts[i].id);
        let host = &self.hosts[i];
        let lost = if host.machine.is_none() {
            Some(Lost::Down)
        } else if host.inbox.len() >= INPUT_QUEUE {
            Some(Lost::Inbox)
        } else {
            None
        };
        if let Some(why) = lost {
            self.note(message, || What::Drop { message, from: sender, to: receiver, why });
            return;
        }
        self.note(digest ^ message, || What::Deliver {
            message,
            from: sender,
            to: receiver,
            lane: lane as u8,
        });
        self.arrive(i, Input::Message { from: sender, lane, body });
    }

    /// Gives a node its input: at once if it is free and steps take no time, else to its inbox.
    pub(super) fn arrive(&mut self, i: usize, input: Input<M::Request>) {
        let host = &mut self.hosts[i];
        if host.machine.is_none() {
            return;
        }
        if self.timed || host.must_wait(self.now) {
            host.inbox.push_back(input);
            self.schedule_resume(i);
        } else {
            self.inputs.push(input);
            self.turn(i);
        }
    }

    /// The inbox is looked at when the process is free and its work is done.
    pub(super) fn schedule_resume(&mut self, i: usize) {
        let work = self.plan.process.turn + self.plan.process.input;
        let host = &mut self.hosts[i];
        if host.resume_scheduled || host.pauses > 0 || host.has_nothing() {
            return;
        }
        host.resume_scheduled = true;
        let at = host.busy_until.max(self.now).saturating_add(work.as_nanos());
        self.queue.push(at, Next::Resume { node: i as u16, life: host.life });
    }

    pub(super) fn resume(&mut self, i: usize, life: u32) {
        let host = &mut self.hosts[i];
        if host.life != life {
            return;
        }
        host.resume_scheduled = false;
        if host.pauses > 0 {
            return;
        }
        if host.busy_until > self.now {
            self.schedule_resume(i);
            return;
        }
        if host.take_wake(self.now) {
            self.inputs.push(Input::Wake);
        }
        let n = host.inbox.len().min(self.plan.process.turn_inputs as usize);
        self.inputs.extend(host.inbox.drain(..n));
        if self.inputs.is_empty() {
            return;
        }
        let more = self.plan.process.input * (self.inputs.len() as u64 - 1);
        host.busy_until = self.now + more.as_nanos();
        self.turn(i);
        self.schedule_resume(i);
    }

    /// One turn with what is in `inputs`.
    pub(super) fn turn(&mut self, i: usize) {
        self.stats.turns += 1;
        let host = &mut self.hosts[i];
        let Some(machine) = &mut host.machine else { return };
        let now = host.clock.now(self.now);
        assert!(now.mono.as_nanos() >= host.last_mono, "the clock of {} went back", host.id);
        host.last_mono = now.mono.as_nanos();
        for kind in host.unseen.drain(..) {
            self.fired.count(kind);
        }
        let mut out = self.out.take().unwrap_or_default();
        let inputs = &mut self.inputs;
        let result = crate::catch::catch(|| machine.turn(now, inputs, &mut out));
        self.inputs.clear();
        if let Err(said) = result {
            let node = host.id;
            self.violate("panic", format!("{node}: {said}"), Some(node));
            self.end(i, End::Killed);
            out.clear();
            self.out = Some(out);
            return;
        }
        let spent = host.disk.take_spent();
        if spent > 0 {
            host.busy_until = host.busy_until.max(self.now) + spent;
        }
        let wake_at = out.wake_at;
        self.carry_out(i, &mut out);
        self.arm(i, wake_at);
        let stopped = out.stopped.take();
        out.clear();
        self.out = Some(out);
        if let Some(why) = stopped {
            self.ended_itself(i, why);
        }
    }

    // --- timers ---

    /// Sets the node's timer: replaces the wish of the turn before.
    fn arm(&mut self, i: usize, wake_at: Option<Instant>) {
        let host = &mut self.hosts[i];
        host.wake_at = wake_at.map(Instant::as_nanos);
        let Some(at) = host.wake_at else { return };
        let due = host.clock.when(at);
        if due == u64::MAX {
            return;
        }
        let due = due.max(self.now + WAKE_SOON);
        // An event that comes earlier anyway will look again.
        if host.wake_event.is_some_and(|e| e <= due) {
            return;
        }
        host.wake_event = Some(due);
        host.wake_generation += 1;
        let generation = host.wake_generation;
        self.queue.push(due, Next::Wake { node: i as u16, generation });
    }

    /// A clock was bent: its timer comes at another time.
    pub(super) fn rearm(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        host.wake_event = None;
        host.wake_generation += 1;
        let wish = host.wake_at.map(Instant::from_nanos);
        self.arm(i, wish);
    }

    pub(super) fn wake(&mut self, i: usize, generation: u32) {
        let host = &mut self.hosts[i];
        if host.wake_generation != generation {
            return;
        }
        host.wake_event = None;
        let Some(at) = host.wake_at else { return };
        if host.clock.mono(self.now) < at {
            // The wish was put off since.
            self.arm(i, Some(Instant::from_nanos(at)));
            return;
        }
        let node = host.id;
        self.note(at, || What::Wake { node });
        self.wake_process(i);
    }

    /// Gives a process its wake: at once, or when it looks at what waits for it.
    fn wake_process(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        let waits = self.timed || host.must_wait(self.now);
        host.wake_due = true;
        if waits {
            self.schedule_resume(i);
        } else if host.take_wake(self.now) {
            self.inputs.push(Input::Wake);
            self.turn(i);
        }
    }

    // --- life ---

    pub(super) fn start(&mut self, i: usize) {
        self.hosts[i].started = true;
        if self.hosts[i].may_boot() {
            self.boot(i);
        }
    }

    pub(super) fn boot_due(&mut self, i: usize, life: u32) {
        if self.hosts[i].life == life && self.hosts[i].may_boot() {
            self.boot(i);
        }
    }

    pub(super) fn boot(&mut self, i: usize) {
        let host = &mut self.hosts[i];
        host.incarnation += 1;
        host.stopping = false;
        let (node, version, incarnation) = (host.id, host.version, host.incarnation);
        let storage = {
            let mut disk = host.disk.lock();
            disk.begin_work(self.now);
            Arc::new(SimStorage::new(host.disk.clone(), disk.incarnation))
        };
        let entity = node.0 << 32 | u64::from(incarnation);
        let now = host.clock.now(self.now);
        host.last_mono = now.mono.as_nanos();
        let world = World {
            now,
            storage,
            probe: self.witness.probe(node),
            seed: self.seed.part(INCARNATION, entity),
        };
        let boot = &mut self.boot;
        let result = crate::catch::catch(|| boot(node, world, version));
        let host = &mut self.hosts[i];
        let spent = host.disk.lock().end_work();
        match result {
            Ok(Ok(machine)) => {
                host.machine = Some(machine);
                host.boot_failures = 0;
                host.newborn = true;
                host.busy_until = self.now + spent;
                self.note(u64::from(incarnation), || What::Boot { node, incarnation, version });
                self.wake_process(i);
                self.strike_within(i, self.now, self.now + spent);
            }
            Ok(Err(why)) => {
                host.boot_failures += 1;
                host.life += 1;
                host.disk.lock().kill();
                self.note(u64::from(incarnation), || What::BootFailed { node, why });
                self.start_again_later(i);
            }
            Err(said) => {
                host.life += 1;
                host.disk.lock().kill();
                self.violate("panic", format!("boot of {node}: {said}"), Some(node));
            }
        }
    }

    fn start_again_later(&mut self, i: usize) {
        let after = self.plan.process.restart_after.as_nanos();
        let host = &self.hosts[i];
        if after > 0 && !host.stopping {
            self.queue.push(self.now.saturating_add(after), Next::Boot { node: i as u16, life: host.life });
        }
    }

    fn ended_itself(&mut self, i: usize, why: Stopped) {
        let node = self.hosts[i].id;
        let asked = why == Stopped::Asked;
        self.note(u64::from(asked), || What::Stopped { node, asked });
        self.end(i, End::Killed);
        if !asked {
            self.start_again_later(i);
        }
    }

    pub(super) fn ask_to_stop(&mut self, i: usize, deadline: u64) {
        let host = &mut self.hosts[i];
        if host.machine.is_none() {
            return;
        }
        host.stopping = true;
        let at = Instant::from_nanos(host.clock.mono(deadline.max(self.now)));
        self.queue.push(deadline.max(self.now), Next::Overdue { node: i as u16, life: host.life });
        self.arrive(i, Input::Stop { deadline: at });
    }

    /// A node that was asked to stop has had its time.
    pub(super) fn overdue(&mut self, i: usize, life: u32) {
        let host = &self.hosts[i];
        if host.life == life && host.machine.is_some() {
            let node = host.id;
            self.note(1, || What::Stopped { node, asked: true });
            self.end(i, End::Killed);
        }
    }

    /// Ends a node's process, if there is one; whether there was, and what its disk says.
    pub(super) fn end(&mut self, i: usize, how: End) -> Option<crate::disk::CrashReport> {
        // What it did in its last turn, from which answers may have left, is looked at while it is still there.
        if self.noting {
            self.show();
        }
        let host = &mut self.hosts[i];
        let was_up = host.machine.is_some();
        let mut disk = host.disk.lock();
        let mut report = crate::disk::CrashReport::default();
        host.requests.cut(self.now, &mut disk);
        match how {
            End::Power { torn } => report = disk.crash(torn),
            End::Killed => disk.kill(),
            End::Wiped => {
                if disk.wipe() {
                    self.fired.count(FaultKind::Wipe);
                }
            }
        }
        drop(disk);
        let machine = host.end();
        self.connections_break(i);
        if was_up {
            self.links_reset(i, how);
        }
        // Its handles are of an incarnation that has ended: dropping it does nothing.
        drop(machine);
        was_up.then_some(report)
    }
}
