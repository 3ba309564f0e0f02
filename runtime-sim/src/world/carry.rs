//! Carrying out what a node asks: disk requests, sends, replies, jobs.

use super::host::{Gated, Host, Lies, MEMORY, Running};
use super::{Next, SimWorld};
use crate::disk::requests::Standing;
use crate::fault::FaultKind;
use crate::fingerprint::digest;
use crate::net;
use crate::trace::{Lost, What};
use bytes::Bytes;
use dwcp_env::bound::DATAGRAM_MAX;
use dwcp_env::{DiskOp, Instant, Job, Lane, Machine, Outputs, Purpose, Send, Ticket};

const STRIKE: Purpose = Purpose::named("world.strike");
const LIE_MUTATE: Purpose = Purpose::named("byzantine.mutate");
const LIE_BYTE: Purpose = Purpose::named("byzantine.byte");
const LIE_DUPLICATE: Purpose = Purpose::named("byzantine.duplicate");
const LIE_REPLAY: Purpose = Purpose::named("byzantine.replay");
const LIE_WHICH: Purpose = Purpose::named("byzantine.which");
const LIE_WITHHOLD: Purpose = Purpose::named("byzantine.withhold");

impl<M: Machine> SimWorld<M> {
    /// Carries out a turn's outputs: the disk first, so that tickets are known; then what may
    /// wait for them.
    pub(super) fn carry_out(&mut self, i: usize, out: &mut Outputs<M::Response>) {
        for request in out.disk.drain(..) {
            self.submit(i, request);
        }
        for send in out.sends.drain(..) {
            match send.after {
                None => self.send(i, send),
                Some(ticket) => self.gate(i, ticket, Gated::Send(send)),
            }
        }
        for reply in out.replies.drain(..) {
            match reply.after {
                None => self.reply(i, reply),
                Some(ticket) => self.gate(i, ticket, Gated::Reply(reply)),
            }
        }
        for job in out.jobs.drain(..) {
            self.start_job(i, job);
        }
    }

    fn submit(&mut self, i: usize, request: dwcp_env::DiskRequest) {
        let host = &mut self.hosts[i];
        let (node, life, ticket) = (host.id, host.life, request.ticket);
        let Some((began, ends)) = host.requests.submit(self.now, request, &host.disk) else {
            let detail = format!("{node} skips to {ticket}: tickets rise by one");
            self.violate("contract.ticket", detail, Some(node));
            return;
        };
        self.queue.push(ends, Next::Disk { node: i as u16, life });
        self.strike_within(i, began, ends);
    }

    fn gate(&mut self, i: usize, ticket: Ticket, gated: Gated<M::Response>) {
        let host = &mut self.hosts[i];
        match host.requests.standing(ticket.0) {
            Standing::Done => self.let_go(i, gated),
            Standing::Failed => {}
            Standing::Waits(place) => host.requests.queue[place].gated.push(gated),
            Standing::Unknown => {
                let node = host.id;
                let detail = format!("{node} waits for {ticket}, which it never asked for");
                self.violate("contract.ticket", detail, Some(node));
            }
        }
    }

    pub(super) fn let_go(&mut self, i: usize, gated: Gated<M::Response>) {
        match gated {
            Gated::Send(send) => self.send(i, send),
            Gated::Reply(reply) => self.reply(i, reply),
        }
    }

    fn send(&mut self, i: usize, send: Send) {
        match self.hosts[i].lies {
            None => self.transmit(i, send),
            Some(lies) => self.send_lying(i, send, lies),
        }
    }

    /// A liar's outbox; each message is judged by draws of its own, so that two peers may be
    /// told different things.
    fn send_lying(&mut self, i: usize, send: Send, lies: Lies) {
        let entity = self.hosts[i].id.0 << 20 | send.to.0;
        let (seed, at) = (self.seed, Instant::from_nanos(self.now));
        // Keyed by the message's content and not by how many there were.
        let k = digest(&send.body);
        let hit = |rate: dwcp_env::Ratio, p| rate.num > 0 && rate.hit(seed.draw(p, entity, at, k));
        let memory = &mut self.hosts[i].said;
        let old = if memory.is_empty() || !hit(lies.replay, LIE_REPLAY) {
            None
        } else {
            let which = seed.below(memory.len() as u64, LIE_WHICH, entity, at, k) as usize;
            memory.get(which).map(|s| Send { to: send.to, after: None, ..s.clone() })
        };
        memory.push_back(send.clone());
        if memory.len() > MEMORY {
            memory.pop_front();
        }
        if hit(lies.withhold, LIE_WITHHOLD) {
            self.fired.count(FaultKind::Byzantine);
            let (message, from, to) = (self.next_message, self.hosts[i].id, send.to);
            self.next_message += 1;
            self.note(message, || What::Drop { message, from, to, why: Lost::Withheld });
            return;
        }
        let mut said = send;
        if !said.body.is_empty() && hit(lies.mutate, LIE_MUTATE) {
            let byte = seed.below(said.body.len() as u64, LIE_BYTE, entity, at, k) as usize;
            let flip = 1 + seed.below(255, LIE_BYTE, entity, at, !k) as u8;
            let mut body = said.body.to_vec();
            body[byte] ^= flip;
            said.body = Bytes::from(body);
            self.fired.count(FaultKind::Byzantine);
        }
        let twice = hit(lies.duplicate, LIE_DUPLICATE).then(|| said.clone());
        self.transmit(i, said);
        for extra in [twice, old].into_iter().flatten() {
            self.fired.count(FaultKind::Byzantine);
            self.transmit(i, extra);
        }
    }

    fn transmit(&mut self, i: usize, send: Send) {
        let (from, to, lane) = (self.hosts[i].id, send.to, send.lane);
        let message = self.next_message;
        self.next_message += 1;
        self.stats.messages += 1;
        self.stats.message_bytes += send.body.len() as u64;
        let content = digest(&send.body);
        let bytes = send.body.len() as u32;
        self.note(content, || What::Send { message, from, to, lane: lane as u8, bytes });
        if lane == Lane::Datagram && bytes as usize > DATAGRAM_MAX.as_usize() {
            let detail = format!("{from} sends {bytes} bytes in a datagram, at most {DATAGRAM_MAX} fit");
            self.violate("contract.datagram", detail, Some(from));
        }
        let Some(target) = self.index(to) else {
            self.note(message, || What::Drop { message, from, to, why: Lost::Nobody });
            return;
        };
        let passage = self.net.pass(self.now, i, target, lane, &send.body, &mut self.fired);
        match passage.fate {
            net::Fate::Lost(why) => {
                self.stats.bad_frames += u64::from(why == Lost::Corrupt);
                self.note(message, || What::Drop { message, from, to, why });
            }
            net::Fate::Arrives(at) => {
                let body = passage.altered.unwrap_or(send.body);
                let (to, from) = (target as u16, i as u16);
                if let Some(again) = passage.copy {
                    let body = body.clone();
                    self.queue.push(again, Next::Deliver { to, from, lane, body, digest: content, message });
                }
                self.queue.push(at, Next::Deliver { to, from, lane, body, digest: content, message });
            }
        }
    }

    fn start_job(&mut self, i: usize, job: Job) {
        let host = &mut self.hosts[i];
        let (node, life, name) = (host.id, host.life, job.name);
        host.disk.lock().begin_work(self.now + job.cost.as_nanos());
        let result = crate::catch::catch(job.run);
        let spent = host.disk.lock().end_work();
        let result = match result {
            Ok(made) => Some(made),
            Err(said) => {
                if self.plan.process.job_panics_violate {
                    self.violate("panic", format!("job {name} of {node}: {said}"), Some(node));
                }
                None
            }
        };
        let host = &mut self.hosts[i];
        let slot = host.jobs.iter().position(Option::is_none).unwrap_or_else(|| {
            host.jobs.push(None);
            host.jobs.len() - 1
        });
        host.jobs[slot] = Some(Running { id: job.id, name, result });
        let ends = self.now.saturating_add(job.cost.as_nanos()).saturating_add(spent);
        self.queue.push(ends, Next::Job { node: i as u16, life, slot: slot as u32 });
        if spent > 0 {
            self.strike_within(i, self.now + job.cost.as_nanos(), ends);
        }
    }

    /// If a crash waits for a write: strikes at a moment of this one.
    pub(super) fn strike_within(&mut self, i: usize, began: u64, ends: u64) {
        let host = &mut self.hosts[i];
        let Some(fault) = host.strikes.pop() else { return };
        let span = ends.saturating_sub(began).saturating_sub(1);
        let within = self.seed.below(span, STRIKE, host.id.0, Instant::from_nanos(began), 0);
        let at = (began + 1 + within).max(self.now);
        self.queue.push(at, Next::Strike { node: i as u16, life: host.life, fault });
    }

    pub(super) fn disk_done(&mut self, i: usize, life: u32) {
        let host = &mut self.hosts[i];
        if host.life != life {
            return;
        }
        let Some(first) = host.requests.queue.front() else { return };
        let result = host.disk.lock().carry_out_all(&first.request);
        let content = first.request.ops.iter().fold(0, |h, op| h ^ op_digest(op));
        let Some(mut done) = host.requests.complete(result) else { return };
        self.stats.disk_requests += 1;
        let (node, ticket, ok) = (self.hosts[i].id, done.ticket, done.result.is_ok());
        self.note(content ^ ticket.0 << 1 ^ u64::from(ok), || What::Disk { node, ticket, ok });
        if ok {
            let paused = self.hosts[i].pauses > 0;
            for gated in done.gated.drain(..) {
                if paused {
                    self.hosts[i].held.push(gated);
                } else {
                    self.let_go(i, gated);
                }
            }
        }
        self.hosts[i].requests.recycle(done.gated);
        self.arrive(i, dwcp_env::Input::Disk { ticket, result: done.result });
    }

    pub(super) fn job_done(&mut self, i: usize, life: u32, slot: u32) {
        let host = &mut self.hosts[i];
        if host.life != life {
            return;
        }
        let Some(job) = host.jobs.get_mut(slot as usize).and_then(Option::take) else { return };
        host.disk.lock().settle();
        let (node, name, ok) = (host.id, job.name, job.result.is_some());
        self.note(job.id.0, || What::Job { node, name, ok });
        self.arrive(i, dwcp_env::Input::Job { job: job.id, result: job.result });
    }

    /// What a paused process had to keep back, in order.
    pub(super) fn let_go_held(&mut self, i: usize) {
        for gated in std::mem::take(&mut self.hosts[i].held) {
            self.let_go(i, gated);
        }
    }
}

/// What an operation writes, for the fingerprint.
fn op_digest(op: &DiskOp) -> u64 {
    let (file, number, data) = match op {
        DiskOp::Create { file, len } => (file, *len, None),
        DiskOp::Write { file, offset, data } => (file, *offset, Some(data)),
        DiskOp::Sync { file } | DiskOp::Remove { file } => (file, 1, None),
        DiskOp::Rename { from, to } => (from, digest(to.as_str().as_bytes()), None),
        DiskOp::SyncDir => return 1,
    };
    let name = digest(file.as_str().as_bytes());
    name.rotate_left(17) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ data.map_or(0, |d| digest(d))
}

impl<M: Machine> Host<M> {
    /// Whether an input must wait for the process.
    pub(super) fn must_wait(&self, now: u64) -> bool {
        self.pauses > 0 || self.busy_until > now || !self.has_nothing()
    }
}
