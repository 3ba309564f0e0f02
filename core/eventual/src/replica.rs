//! One replica: what it is made of, what it takes, and its turn.
//!
//! A step-like value. Its node hands in what arrived ([`Eventual::on_query`], [`Eventual::on_message`], [`Eventual::on_job`],
//! [`Eventual::on_decided`]) and once a turn calls [`Eventual::settle`], which
//!
//! 1. does what is due (deadlines of keys, probes of peers, the roster);
//! 2. appends what the space has taken in since the last turn to the node's log, as batches: one mechanism for own and
//!    received operations;
//! 3. lets go what waited for the disk: answers, pushes of own operations, versions and digests.
//!
//! **What is durable when.**
//!
//! | before this leaves the replica | this is on its disk |
//! |---|---|
//! | an answer to a write, and a read of a key that is being written | the write |
//! | a push, or any other copy, of an operation of its own | the operation |
//! | a version or digest, which peers take for an acknowledgement | all it speaks of |
//! | the log before a checkpoint is removed | the checkpoint under its name |
//!
//! So no dot that anybody has seen can be given to another operation after a crash. What the disk may still lose — a
//! durable entry, the vote that says who we are, the state's file — is answered by a new place in the roster.
//!
//! **Answers before the disk.** With [`SyncPolicy::EverySecond`](crate::SyncPolicy) the first row is waived: clients are
//! answered from memory, and operations gather for [`GATHER`](crate::durable::GATHER) before they are logged as one batch. The
//! other rows stand, and from them it follows that a crash costs answered writes and nothing else:
//!
//! 1. *No dot that was lost has been seen by a replica.* Whatever speaks of the state to a peer is made of it only when all
//!    of the state is in the log ([`Eventual::drain`] comes before [`Eventual::carry_out`]), and leaves when the log is durable
//!    so far. A push is made when its batch is logged. So all that peers hold, count as acknowledged, or have in
//!    their versions is at or below the maker's durable end of the log, which recovery reads back. The lost dots are those
//!    above it: they were in this process and nowhere else, and the next life numbers on from the durable end.
//! 2. *Nothing durable names a lost dot.* Log entries of one replica are in the order of its dots, and a later one is durable
//!    only if those before it are. The state's file shows operations, too: it gets its name only when the log is
//!    durable up to what its parts show (`checkpoint`). What the roster is told (a report on a closing place) is
//!    `logged`, and durable.
//! 3. *What came from others with a lost operation in view.* None did: to supersede a dot one must have seen it. Nor do
//!    clients bring dots; what `DWCP.EXPLAIN` told one is of no use to a replica.
//! 4. *Times.* Hybrid times of lost operations are forgotten with them; a clock that was set back meanwhile can hand them out
//!    again, to operations that compete with others by (time, dot), which still differ.
//!
//! What is given up: answered writes, reads of them, and what clients did elsewhere on the strength of either. A bounded
//! counter is spent by whoever acts on the answer, so spending waits for the disk under either setting. If what was
//! answered is not durable within a second, answers wait until it is: the loss is at most what was answered in one second.

use crate::api::{Answer, Subscription};
use crate::checkpoint::Writing;
use crate::config::EventualSpec;
use crate::durable::GATHER;
use crate::fetch::Fetch;
use crate::floors::Floors;
use crate::identity::Identity;
use crate::look::{Rung, Rungs};
use crate::message::Message;
use crate::ranges::Serving;
use crate::refusal::Refusal;
use crate::roster::{Decided, Heard, Wish};
use crate::streams::Streams;
use crate::sync::Holds;
use bytes::Bytes;
use dwcp_crdt::space::Tail;
use dwcp_crdt::{Batch, Edit, ReplicaIndex, Space, VersionVector};
use dwcp_env::{
    ClusterId, Duration, Event, Instant, JobResult, Lane, NodeId, Now, PeerFault, Probe, RequestId, Seed,
    Storage,
};
use dwcp_gossip::{Budget, Gossip, RumourId};
use dwcp_wal::{Lsn, Wal};
use spin::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Between looks at what has no moment of its own.
const TICK: Duration = Duration::secs(1);

/// What a replica asks of its node at the end of a turn.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Messages to peers.
    pub sends: Vec<(NodeId, Lane, Bytes)>,
    /// Answers, and whether each is the last to its question.
    pub replies: Vec<(RequestId, Result<Answer, Refusal>, bool)>,
    /// A job, of which there is never more than one in flight.
    pub job: Option<Work>,
    /// Writes to the strong keyspace.
    pub wishes: Vec<Wish>,
    /// When to settle again at the latest.
    pub wake_at: Option<Instant>,
}

/// Work off the loop. Its result goes to [`Eventual::on_job`].
pub struct Work {
    /// How long it takes besides its disk operations; simulation believes this.
    pub cost: Duration,
    /// The work.
    pub run: Box<dyn FnOnce() -> Box<dyn core::any::Any + Send> + Send>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Work({})", self.cost)
    }
}

impl Outbox {
    pub(crate) fn wake_by(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |w| w.min(at)));
    }
}

/// What waits for the disk.
#[derive(Debug)]
pub(crate) enum Held {
    /// An answer; after the deadline the client is told that nothing is known.
    Reply { id: RequestId, deadline: Instant, answer: Answer },
    /// A message.
    Send { to: NodeId, lane: Lane, body: Bytes },
    /// A batch of our own, from its first operation to the one that names it.
    Push { first: u64, id: RumourId, bytes: Bytes },
    /// The acknowledgement of a batch of a site stream.
    Landed { from: NodeId, session: u64, number: u64 },
}

/// What is to be sent once all that this turn has changed is in the log.
#[derive(Debug)]
pub(crate) enum Intent {
    Digest { to: NodeId },
    Version { to: NodeId, answer: bool },
    Floors { to: NodeId, answer: bool },
    Missing { to: NodeId, theirs: VersionVector },
    Part { to: NodeId, from: Option<Bytes> },
    Tail { to: NodeId, since: VersionVector },
    Serve { to: NodeId, question: Message },
    Plain { to: NodeId, message: Message },
}

/// What a replica has counted since it started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Bytes of operations and parts of states sent to repair peers.
    pub repair_sent: u64,
    /// The same, received.
    pub repair_received: u64,
    /// Digests that were equal.
    pub digests_equal: u64,
    /// Digests that were not.
    pub digests_unequal: u64,
    /// States taken from peers.
    pub snapshots: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
}

/// One replica of one eventual keyspace. Made by [`Eventual::boot`].
pub struct Eventual {
    pub(crate) spec: EventualSpec,
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) probe: Probe,
    pub(crate) seed: Seed,
    pub(crate) draws: u64,
    pub(crate) wal: Arc<Mutex<Wal>>,
    pub(crate) envelope: Bytes,

    pub(crate) space: Space,
    pub(crate) identity: Option<Identity>,
    /// Why a new place in the roster is needed, although there is an identity.
    pub(crate) place_lost: Option<&'static str>,
    /// It can't be sure to know all that it made at its place.
    pub(crate) records_lost: bool,
    /// The place last asked for, in this life of the process.
    pub(crate) claim: Option<(ReplicaIndex, u64)>,
    pub(crate) decided: Decided,
    /// Whether the strong keyspace has been read at all.
    pub(crate) decided_known: bool,
    pub(crate) places: BTreeMap<NodeId, ReplicaIndex>,
    /// The nodes of the cluster, as the strong group knows them.
    pub(crate) members: Vec<NodeId>,
    pub(crate) heard: BTreeMap<ReplicaIndex, Heard>,
    /// When any peer was heard last.
    pub(crate) heard_any: Instant,
    pub(crate) next_wish: Instant,
    /// Under this epoch, at that time, it was proposed last that one who lagged is active again.
    pub(crate) promoting: Option<(u64, Instant)>,
    /// The same, what of a closing place counts.
    pub(crate) deciding: Option<(u64, Instant)>,
    /// Nodes that had nothing we lacked when they last said what they have, while we were not whole.
    pub(crate) covered: BTreeSet<NodeId>,

    pub(crate) logged: VersionVector,
    pub(crate) next_entry: u64,
    pub(crate) last_lsn: Lsn,
    pub(crate) held: VecDeque<(Lsn, Held)>,
    /// Bytes of the messages among it.
    pub(crate) held_bytes: usize,
    pub(crate) fresh: Vec<Held>,
    /// Since when there are operations that are not in the log.
    pub(crate) gathering: Option<Instant>,
    /// What was answered before it was durable: by its record, since when.
    pub(crate) owed: VecDeque<(Lsn, Instant)>,
    /// The node is to end: nothing gathers any more.
    pub(crate) ending: bool,
    /// Keys written in this turn,
    pub(crate) fresh_keys: Vec<Bytes>,
    /// and keys whose last write is not durable yet: reads of them wait.
    pub(crate) unsynced: BTreeMap<Bytes, Lsn>,
    /// What was written without naming keys is not durable yet: every read waits.
    pub(crate) unsynced_any: Option<Lsn>,
    pub(crate) unsynced_order: VecDeque<(Lsn, Bytes)>,
    pub(crate) drained: Vec<Batch>,
    /// The turn that these were logged in is over.
    pub(crate) drained_seen: bool,
    /// Batches of the log that could not be applied yet, for something before them is lost.
    pub(crate) leftover: Vec<Batch>,
    /// The place an operator asked to be closed, and until when that is sought.
    pub(crate) evict_asked: Option<(ReplicaIndex, Instant)>,
    /// When each peer was last reminded of what it said it had.
    pub(crate) reminded: BTreeMap<NodeId, Instant>,
    /// The roster's epoch when `leftover` was looked through last.
    pub(crate) leftover_seen: Option<u64>,
    /// What was written under a place that ended, to be written anew.
    pub(crate) salvaged: Vec<Tail>,
    /// The roster's epoch under which that could not begin.
    pub(crate) anew_waits: Option<u64>,

    pub(crate) writing: Option<Writing>,
    pub(crate) job_out: bool,
    pub(crate) since_checkpoint: u64,
    pub(crate) checkpoint_wanted: bool,
    pub(crate) checkpoint_not_before: Instant,
    /// The state came from a peer and is not yet in its file: nothing of it is acknowledged.
    pub(crate) unacknowledged: bool,
    pub(crate) unstable_bytes: u64,

    pub(crate) gossip: Gossip,
    pub(crate) gossip_out: Vec<dwcp_gossip::Output>,
    pub(crate) intents: Vec<Intent>,
    pub(crate) floors: Floors,
    /// Streams to and from other regions.
    pub(crate) streams: Streams,
    pub(crate) budgets: BTreeMap<NodeId, Budget>,
    pub(crate) asked: BTreeMap<NodeId, Instant>,
    pub(crate) fetch: Option<Fetch>,
    /// A far peer said that what we lack is below its log; a near one is asked first, until then.
    pub(crate) below: Option<(Instant, NodeId)>,
    /// What is kept for those who fetch from us.
    pub(crate) serving: Serving,

    pub(crate) subscriptions: BTreeMap<RequestId, Subscription>,
    pub(crate) offsets: BTreeMap<ReplicaIndex, i64>,
    pub(crate) clocks: Option<Now>,
    pub(crate) next_tick: Instant,
    pub(crate) next_due: Instant,
    pub(crate) earliest_deadline: Instant,
    pub(crate) counts: Counts,
    pub(crate) rungs: Rungs,
    pub(crate) failure: Option<String>,
    /// Documents, if it holds any.
    pub(crate) documents: Option<crate::documents::Documents>,
}

impl std::fmt::Debug for Eventual {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Eventual({}, {:?}, {})", self.spec.keyspace, self.identity, self.space.version())
    }
}

/// Milliseconds since 1970.
pub(crate) const fn millis(now: Now) -> u64 {
    now.wall.as_nanos() / 1_000_000
}

impl Eventual {
    /// The keyspace's number.
    #[must_use]
    pub const fn group(&self) -> dwcp_env::GroupId {
        self.spec.group
    }

    /// A peer's message, its envelope taken off.
    ///
    /// # Errors
    /// The sender's fault; nothing has changed.
    pub fn on_message(&mut self, now: Now, from: NodeId, body: &[u8]) -> Result<(), PeerFault> {
        let message = Message::decode(from, body)?;
        self.rungs.received(message.rung(), body.len());
        self.hear(now, from);
        #[cfg(feature = "planted-bugs")]
        if self.spec.drops_repairs && matches!(message, Message::Operations { .. }) {
            return Ok(());
        }
        match message {
            Message::Gossip(body) => {
                self.gossip(now, dwcp_gossip::Input::Message { from, body });
                Ok(())
            }
            other => self.on_sync(now, from, other),
        }
    }

    /// A link says that a peer's process is gone.
    pub fn unreachable(&mut self, now: Now, peer: NodeId) {
        self.gossip(now, dwcp_gossip::Input::Unreachable(peer));
    }

    /// The nodes of the cluster, as the strong group knows them: whom to ask for company.
    pub fn on_members(&mut self, now: Now, nodes: &[NodeId]) {
        self.members = nodes.to_vec();
        let seeds = nodes.iter().copied().filter(|n| *n != self.node).collect();
        self.gossip(now, dwcp_gossip::Input::Join { seeds });
    }

    /// The job has ended.
    pub fn on_job(&mut self, now: Now, result: JobResult) {
        self.job_out = false;
        let done = result.and_then(|r| r.downcast::<Result<(), dwcp_env::DiskError>>().ok());
        match done.map(|d| *d) {
            Some(Ok(())) => self.on_part_written(),
            Some(Err(error)) => self.on_checkpoint_failed(now, &error.to_string()),
            None => self.on_checkpoint_failed(now, "the job was lost"),
        }
    }

    /// Does what is due, appends to the log, lets go what waited for the disk.
    pub fn settle(&mut self, now: Now, out: &mut Outbox) {
        self.watch_clock(now);
        self.tick(now, out);
        self.take_leftover(now);
        if self.write_anew() {
            out.wake_by(now.mono);
        }
        if self.gossip.wake_at() <= now.mono {
            self.gossip(now, dwcp_gossip::Input::Wake);
        }
        self.settle_documents(now);
        if self.is_drain_due(now) {
            self.drain();
        }
        loop {
            if !self.intents.is_empty() {
                // What is sent speaks of all that the state shows.
                self.drain();
                self.carry_out(now);
            }
            let released = self.release(now, out);
            if !released && self.intents.is_empty() {
                break;
            }
        }
        if !self.drained_seen {
            self.note_documents();
        }
        self.tell(out);
        self.run_streams(now, out);
        self.take_sends(out);
        self.checkpoint(now, out);
        if let Some(since) = self.gathering {
            out.wake_by(since + GATHER);
        }
        out.wake_by(self.gossip.wake_at());
        out.wake_by(self.next_tick);
        if let Some(at) = self.documents_wake() {
            out.wake_by(at);
        }
        if !self.held.is_empty() {
            out.wake_by(self.earliest_deadline);
        }
        if let Some(at) = self.space.next_deadline() {
            let left = Duration::millis(at.saturating_sub(millis(now)));
            out.wake_by((now.mono + left).max(self.next_due));
        }
    }

    /// Hands an input to gossip and takes what it says; messages are sent at the turn's end.
    pub(crate) fn gossip(&mut self, now: Now, input: dwcp_gossip::Input) {
        let from = self.gossip_out.len();
        self.gossip.step(now.mono, input, &Holds(&self.space), &mut self.gossip_out);
        let said: Vec<dwcp_gossip::Output> = self.gossip_out.drain(from..).collect();
        for output in said {
            match output {
                dwcp_gossip::Output::Deliver { id, from, bytes } => self.on_pushed(now, id, from, &bytes),
                dwcp_gossip::Output::SendDigest { to } => {
                    self.intents.push(Intent::Digest { to });
                    self.ask_floors(to);
                }
                dwcp_gossip::Output::Changed(change) => {
                    if !change.status.is_live()
                        && let Some(place) = self.places.get(&change.member)
                    {
                        self.offsets.remove(place);
                        self.space.clock_mut().forget(*place);
                    }
                }
                dwcp_gossip::Output::Fault(fault) => self.faulted(&fault),
                send @ dwcp_gossip::Output::Send { .. } => self.gossip_out.push(send),
                dwcp_gossip::Output::NotPushed { .. } | dwcp_gossip::Output::Gone => {}
            }
        }
    }

    fn take_sends(&mut self, out: &mut Outbox) {
        for output in self.gossip_out.drain(..) {
            if let dwcp_gossip::Output::Send { to, lane, body } = output {
                let body = Message::Gossip(body).encode(&self.envelope);
                self.rungs.sent(Rung::Push, body.len());
                out.sends.push((to, lane, body));
            }
        }
    }

    pub(crate) fn faulted(&self, fault: &PeerFault) {
        if let PeerFault::Body { from, .. } = fault {
            self.probe.event(&Event::PeerFaulted { from: *from, why: fault.to_string() });
        }
    }

    /// What has no moment of its own.
    fn tick(&mut self, now: Now, out: &mut Outbox) {
        self.expire(now);
        self.give_up(now, out);
        if now.mono < self.next_tick {
            return;
        }
        self.next_tick = now.mono + TICK;
        // One that is to take another's state carries over from its log what that lacks.
        if self.serves() && !self.is_pulled(now) && !self.is_promoting(now) {
            // What is not in the node's log yet must not leave the space's. Under load something always gathers.
            self.drain();
            // The dead of lists stay while somebody reads our state in parts: a peer, or the job that writes it to its file.
            if self.writing.is_some() || self.serving.has_pullers(now) {
                self.space.trim_log();
            } else {
                self.space.trim();
            }
        }
        self.unstable_bytes = self.space.logged().1 as u64;
        self.fetch_tick(now);
        self.seek_company(now);
        self.consider(now, out);
    }

    /// Removes what has reached its deadline and is ours to remove.
    fn expire(&mut self, now: Now) {
        const AT_ONCE: usize = 1_024;
        // Far below a record of the log, whatever the last of them adds.
        const BYTES: usize = 256 * 1024;
        let ms = millis(now);
        let due = self.space.next_deadline().is_some_and(|at| at <= ms);
        if !due || now.mono < self.next_due {
            return;
        }
        // One that another's at the same time has outdone stays until the key goes: it is not looked at in each turn.
        self.next_due = now.mono + Duration::millis(100);
        if !self.may_write() {
            return;
        }
        let names = self.space.due(ms, AT_ONCE);
        let (mut edits, mut bytes): (Vec<Edit>, usize) = (Vec::new(), 0);
        for path in &names {
            let some = self.space.delete_all(path);
            bytes += self.space.weigh(&some, 0);
            edits.extend(some);
            if bytes >= BYTES {
                // The rest in the next turn.
                self.next_due = now.mono;
                break;
            }
        }
        if !edits.is_empty() && self.space.make(ms, &edits).is_ok() {
            self.probe.reachable("eventual.expired");
            if !self.answers_ahead(now) {
                let keys = edits.iter().filter_map(|e| e.at.names.first());
                let keys: Vec<Bytes> = keys.map(|k| Bytes::copy_from_slice(k)).collect();
                keys.iter().for_each(|key| self.is_fresh(key));
            }
        }
    }

    /// Answers whose client waits no longer: what was asked may be done or not.
    fn give_up(&mut self, now: Now, out: &mut Outbox) {
        if self.held.is_empty() || now.mono < self.earliest_deadline {
            return;
        }
        let (mut next, mut kept) = (Instant::FAR, VecDeque::with_capacity(self.held.len()));
        for (lsn, held) in self.held.drain(..) {
            match held {
                Held::Reply { id, deadline, .. } if deadline <= now.mono => {
                    out.replies.push((id, Err(Refusal::Unknown), true));
                }
                held => {
                    if let Held::Reply { deadline, .. } = &held {
                        next = next.min(*deadline);
                    }
                    kept.push_back((lsn, held));
                }
            }
        }
        (self.held, self.earliest_deadline) = (kept, next);
    }

    /// The calendar clock has jumped: what was measured of the peers' clocks moves with it.
    fn watch_clock(&mut self, now: Now) {
        const JUMP_MS: i64 = 100;
        if let Some(before) = self.clocks.replace(now) {
            let passed = now.mono.since(before.mono).as_millis();
            let moved = millis(now).cast_signed() - millis(before).cast_signed() - passed.cast_signed();
            if moved.abs() > JUMP_MS {
                for (peer, offset) in &mut self.offsets {
                    *offset += moved;
                    self.space.clock_mut().measured(*peer, *offset);
                }
            }
        }
    }

    /// A draw nobody else makes.
    pub(crate) fn draw(&mut self, now: Now) -> u64 {
        const DRAWS: dwcp_env::Purpose = dwcp_env::Purpose::named("eventual.draw");
        self.draws += 1;
        self.seed.draw(DRAWS, self.node.0, now.mono, self.draws)
    }

    /// Why the node can't go on, if so.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}
