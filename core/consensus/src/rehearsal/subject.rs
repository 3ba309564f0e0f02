//! What the world must know of a protocol beside its steps.

use super::command;
use crate::quorum::NodeSet;
use crate::step::{Output, Outputs, Payload, Protocol};
use alloc::boxed::Box;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Debug;
use dwcp_env::{Duration, Instant, NodeId};

/// Whether all commands are ordered, or only those that conflict.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Order {
    /// One order of everything, by index.
    Total,
    /// An order for each [`command::key`]; indices are local.
    ByKey,
}

/// Where a protocol is to run.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Who it is.
    pub me: NodeId,
    /// All members, sorted.
    pub members: &'a [NodeId],
    /// The root of its own draws.
    pub seed: u64,
    /// A message and its answer take at most this long on a link without faults.
    pub round_trip: Duration,
    /// Whether the bounds of its log and its queues are to be small, so that they are met.
    pub tight: bool,
    /// Whether what is told in pieces is to come in small ones, so that much happens between two of them.
    pub fine: bool,
}

/// What a log holds at an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Held<'a> {
    /// Not told, or it lies in a checkpoint.
    Untold,
    /// Nothing.
    Nothing,
    /// This.
    Value(&'a Payload),
}

/// An instance of a protocol that agrees on dependencies, as a member has it decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled<'a> {
    /// Place of its replica, and its number there.
    pub instance: (u8, u64),
    /// As what; `None`: as nothing.
    pub payload: Option<&'a Payload>,
    /// By place: it depends on all numbers up to this that interfere with it.
    pub deps: &'a [u64],
}

/// What a disk holds, as a crash of the machine right now would leave it at the least.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a, R> {
    /// The records reported as persisted, oldest first.
    pub records: &'a [R],
    /// The mark of the durable checkpoint.
    pub mark: Option<&'a Bytes>,
}

/// Replaces what a traitor says.
pub trait Liar<P: Protocol> {
    /// A message came to the traitor; it may remember it (to replay it later).
    fn hear(&mut self, _now: Instant, _from: NodeId, _message: &P::Message) {}
    /// What an honest node in its place would do; change, add and remove at will.
    fn speak(&mut self, now: Instant, me: NodeId, members: &[NodeId], out: &mut Outputs<P>);
    /// Words put on the wire in another's name, to get past who trusts the link: (as whom, to whom, what).
    /// A protocol with codes of its own must refuse them, whomever it blames then.
    fn forge(&mut self) -> Vec<(NodeId, NodeId, P::Message)> {
        Vec::new()
    }
}

/// A protocol to be rehearsed, with the settings it is to have.
pub trait Subject: Clone + Debug {
    /// The protocol.
    type P: Protocol;

    /// As it is called on the command line.
    fn name(&self) -> &'static str;
    /// The settings of one member.
    fn config(&self, place: &Place<'_>) -> <Self::P as Protocol>::Config;
    /// The longest it may take from the loss of a leader to the next one, without further faults and
    /// with round trips of `round_trip`. Liveness is judged in multiples of it.
    fn timeout(&self, round_trip: Duration) -> Duration;

    /// Group sizes to draw from; also the place of `f` for those that count traitors.
    fn sizes(&self) -> &'static [usize] {
        &[3, 3, 5]
    }
    /// How many commands a run acknowledges.
    fn commands(&self) -> u32 {
        1_000
    }
    /// What is ordered.
    fn order(&self) -> Order {
        Order::Total
    }
    /// Whether every member serves, so that clients go to any.
    fn leaderless(&self) -> bool {
        false
    }
    /// Whether a member may lose its disk and come back empty, one at a time.
    fn bears_wipe(&self) -> bool {
        false
    }
    /// Whether one proposal may be decided twice (sessions above make that harmless).
    fn may_double(&self) -> bool {
        false
    }
    /// Whether a quorum that is connected, by whatever links, must make progress (Omni-Paxos).
    fn lives_through_partial_cuts(&self) -> bool {
        false
    }
    /// Whether the protocol itself says where checkpoints are taken ([`crate::step::Output::Checkpoint`]).
    fn names_checkpoints(&self) -> bool {
        false
    }
    /// Whether links must keep the order of messages (TLS links do, per lane).
    fn needs_fifo(&self) -> bool {
        false
    }
    /// How many of `members` may be traitors, and their words.
    fn traitors(&self, _members: usize) -> usize {
        0
    }
    /// How many of `members` may be gone for good while the others go on.
    fn bears_gone(&self, _members: usize) -> usize {
        0
    }
    /// A traitor's tongue; `kind` is drawn from the seed.
    fn liar(&self, _place: &Place<'_>, _kind: u64) -> Option<Box<dyn Liar<Self::P>>> {
        None
    }
    /// Whether these members' disks are enough to hold a decision through any crash.
    fn enough(&self, members: usize, disks: NodeSet) -> bool {
        disks.len() * 2 > members
    }
    /// Whether this disk helps to hold that `payload` was decided at `index` (local in
    /// [`Order::ByKey`]: go by the payload). `None`: not told, and not judged.
    fn holds(
        &self,
        _disk: Evidence<'_, <Self::P as Protocol>::Record>,
        _index: u64,
        _payload: &Payload,
    ) -> Option<bool> {
        None
    }
    /// In which ballots this disk, which holds that value, accepted it; `None`: in whichever, as far as is known. Votes of
    /// different ballots decide nothing together.
    fn accepted_in(
        &self,
        _disk: Evidence<'_, <Self::P as Protocol>::Record>,
        _index: u64,
        _payload: &Payload,
    ) -> Option<Vec<u64>> {
        None
    }
    /// What this member's log holds at an index ([`Order::Total`]).
    fn log_at<'a>(&self, _state: &'a Self::P, _index: u64) -> Held<'a> {
        Held::Untold
    }
    /// What this record says was accepted: index, ballot, value.
    fn accepted(&self, _record: &<Self::P as Protocol>::Record, _each: &mut dyn FnMut(u64, u64, &Payload)) {}
    /// What this output shows to be decided at its member, whose state it left behind ([`Order::ByKey`], protocols that agree
    /// on dependencies). A decision that a crash could still take back is none.
    fn settled<'a>(
        &self,
        _state: &'a Self::P,
        _output: &Output<<Self::P as Protocol>::Message, <Self::P as Protocol>::Record>,
    ) -> Option<Settled<'a>> {
        None
    }
    /// A seal as its clients propose it: signed, where the protocol asks for that.
    fn seal(&self, record: Bytes) -> Bytes {
        record
    }
    /// Whether who has given out a seal takes no proposals any more.
    fn refuses_when_sealed(&self) -> bool {
        false
    }
    /// While a lasting cut leaves a connected quorum, something is acknowledged at least each so many timeouts.
    fn silent_within(&self) -> u64 {
        12
    }
    /// When all faults are over, something is acknowledged within so many timeouts.
    fn serves_within(&self) -> u64 {
        40
    }
    /// Hard paths the protocol counted, by name; summed over a sweep, so that it can be demanded that
    /// they were taken.
    fn counts(&self, state: &Self::P, each: &mut dyn FnMut(&'static str, u64)) {
        state.tally(each);
    }
    /// The key that a command counts under, where orders go by key: its own, or one of all if all meet.
    fn key(&self, command: &Bytes) -> u16 {
        command::key(command)
    }
    /// Whether two commands may trade places.
    fn commute(&self, a: &Bytes, b: &Bytes) -> bool {
        self.order() == Order::ByKey && self.key(a) != self.key(b)
    }
}
