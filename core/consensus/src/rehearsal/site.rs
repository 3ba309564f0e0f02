//! A node with all that is its own: protocol, clock, disk, state, checkpoints.

use super::disk::Disk;
use super::plan::Plan;
use super::state::State;
use super::subject::Liar;
use crate::quorum::NodeSet;
use crate::step::{Corrupt, Protocol, Ticket};
use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::rc::Rc;
use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};

const CLOCK: Purpose = Purpose::named("rehearsal clock");

/// A clock that is ahead by a constant and runs too fast or too slow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    ahead: u64,
    /// How far it goes in a million, at least 1.
    pace: u64,
}

impl Clock {
    fn drawn(plan: &Plan, node: usize) -> Self {
        let draw = |n, ordinal| Seed(plan.seed).below(n, CLOCK, node as u64, Instant::ZERO, ordinal);
        Self { ahead: draw(1_000_000_000_000, 0), pace: 1_000_000 - plan.drift + draw(2 * plan.drift + 1, 1) }
    }
    /// What it shows at a true time.
    pub(super) fn local(self, at: Instant) -> Instant {
        let gone = u128::from(at.as_nanos()) * u128::from(self.pace) / 1_000_000;
        Instant::from_nanos(self.ahead + gone as u64)
    }
    /// The true time at which it first shows this, or a moment later.
    pub(super) fn truth(self, local: Instant) -> Instant {
        if local == Instant::FAR {
            return Instant::FAR;
        }
        let gone = u128::from(local.as_nanos().saturating_sub(self.ahead));
        Instant::from_nanos((gone * 1_000_000).div_ceil(u128::from(self.pace)) as u64)
    }
}

/// State with the mark that names what it holds.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) mark: Bytes,
    pub(super) state: State,
}

/// A message that waits for a sync.
pub(super) struct Held<M> {
    pub(super) after: u64,
    pub(super) to: usize,
    pub(super) message: M,
}

/// One node.
pub(super) struct Site<P: Protocol> {
    pub(super) id: NodeId,
    /// `None` while it is down.
    pub(super) protocol: Option<P>,
    /// Counts lifetimes.
    pub(super) life: u32,
    pub(super) clock: Clock,
    /// Nothing happens to it before this.
    pub(super) paused_until: Instant,
    /// Syncs take `slow` times as long until then.
    pub(super) slow_until: Instant,
    pub(super) slow: u64,
    /// The true time of the tick on its way.
    pub(super) armed: Instant,
    /// Ticks at one moment without an end are a bug of the protocol.
    pub(super) spins: u32,
    pub(super) disk: Disk<P::Record>,
    pub(super) held: VecDeque<Held<P::Message>>,
    pub(super) state: State,
    /// Of the newest checkpoint, durable or not: the index.
    pub(super) taken: u64,
    /// When it was taken.
    pub(super) taken_at: Instant,
    /// A question was refused since.
    pub(super) refused: bool,
    /// The durable checkpoint.
    pub(super) checkpoint: Option<Rc<Snapshot>>,
    /// The one on its way to the disk.
    pub(super) writing: Option<Rc<Snapshot>>,
    /// Those the protocol asked for, on their way to the disk.
    pub(super) asked: VecDeque<Rc<Snapshot>>,
    /// Durable ones the protocol asked for, from the stable one on.
    pub(super) vouched: VecDeque<Rc<Snapshot>>,
    /// The one that enough members vouch for.
    pub(super) stable: Option<Rc<Snapshot>>,
    /// The mark of one that became stable before it was durable here.
    pub(super) stable_mark: Option<Bytes>,
    pub(super) compacting: u32,
    /// The ballot it leads in, as seen last.
    pub(super) led: Option<u64>,
    /// To whom a checkpoint is on its way: one at a time.
    pub(super) bringing: NodeSet,
    /// It recorded something in this step.
    pub(super) wrote: bool,
    /// Questions open here.
    pub(super) open: usize,
    /// It lost its disk once: what it says may contradict what it said.
    pub(super) wiped: bool,
    pub(super) liar: Option<Box<dyn Liar<P>>>,
}

impl<P: Protocol> Site<P> {
    pub(super) fn new(plan: &Plan, id: NodeId, place: usize) -> Self {
        Self {
            id,
            protocol: None,
            life: 0,
            clock: Clock::drawn(plan, place),
            paused_until: Instant::ZERO,
            slow_until: Instant::ZERO,
            slow: 1,
            armed: Instant::FAR,
            spins: 0,
            disk: Disk::new(),
            held: VecDeque::new(),
            state: State::default(),
            taken: 0,
            taken_at: Instant::ZERO,
            refused: false,
            checkpoint: None,
            writing: None,
            asked: VecDeque::new(),
            vouched: VecDeque::new(),
            stable: None,
            stable_mark: None,
            compacting: 0,
            led: None,
            bringing: NodeSet::EMPTY,
            wrote: false,
            open: 0,
            wiped: false,
            liar: None,
        }
    }

    /// Starts it from its disk; says from which checkpoint.
    pub(super) fn start(&mut self, config: P::Config, now: Instant) -> Result<bool, Corrupt> {
        let mark = self.checkpoint.as_ref().map(|c| &c.mark);
        let records = self.disk.records.iter().cloned();
        self.protocol = Some(P::recover(config, mark, records, self.clock.local(now))?);
        self.state = self.checkpoint.as_ref().map_or_else(State::default, |c| c.state.clone());
        self.taken = self.state.applied;
        self.armed = Instant::FAR;
        self.open = 0;
        Ok(self.checkpoint.is_some())
    }

    /// Stops it; memory is gone.
    pub(super) fn stop(&mut self) {
        self.protocol = None;
        self.life += 1;
        self.held.clear();
        self.writing = None;
        self.asked.clear();
        self.stable_mark = None;
        self.led = None;
        self.paused_until = Instant::ZERO;
        self.open = 0;
    }

    /// A checkpoint is vouched for by enough: earlier ones go.
    pub(super) fn stabilise(&mut self, mark: &Bytes) {
        let Some(at) = self.vouched.iter().position(|s| s.mark == *mark) else {
            self.stable_mark = Some(mark.clone());
            return;
        };
        self.vouched.drain(..at);
        self.stable = self.vouched.front().cloned();
        self.stable_mark = None;
    }

    /// How long a sync takes that begins now.
    pub(super) fn sync_time(&self, plan: &Plan, now: Instant, drawn: u64) -> Duration {
        let base = plan.sync.0 + Duration::nanos(drawn);
        if now < self.slow_until { base * self.slow } else { base }
    }

    /// The next message that need not wait any longer.
    pub(super) fn release(&mut self) -> Option<Held<P::Message>> {
        let persisted = Ticket(self.disk.persisted);
        self.held.front().is_some_and(|h| h.after <= persisted.0).then(|| self.held.pop_front())?
    }
}
