//! Checkpoints where peers may lie: of the state as the epoch found it, and at the places that the protocol names.
//!
//! **Model.** A named checkpoint is of exactly its place, has an index of its own, and is vouched for when it is durable; once a
//! quorum's words prove it, it is what peers are given. Before the first is proved they are given the state as the epoch found
//! it. Each is held in the state machine until a later one is proved.

use super::Driver;
use crate::bugs::bug;
use crate::record::{ChainRecord, term};
use bytes::Bytes;
use dwcp_consensus::step::{Input, Output, Protocol};
use dwcp_consensus::{Checkpointed, Position, StateMachine, pbft};
use dwcp_env::Instant;

/// Checkpoints taken that nothing proves yet; a protocol's window has room for no more, and the proof of one may be on its way to
/// the disk.
const UNPROVED_MAX: usize = pbft::config::INTERVALS_MAX as usize + 1;

/// Where peers may lie: the checkpoint of the state as the epoch found it.
#[derive(Debug)]
pub(super) enum Begun {
    /// Nothing was applied yet, nor may be before it is taken.
    Due,
    /// It is being written.
    Written,
    /// It is durable, and can be read.
    Kept(Checkpointed),
    /// Something was proved since, or an earlier lifetime has gone on from it.
    Past,
}

impl<P: Protocol, SM: StateMachine> Driver<P, SM> {
    /// Begins the checkpoint of the state as the epoch found it; tells whether the state may move on.
    pub(super) fn keep_the_begin(&mut self) -> bool {
        let record = self.seat.tail.get();
        let mut machine = self.seat.machine.lock();
        let ours = |c: &Checkpointed| {
            c.at.index == record.base
                && ChainRecord::decode(&c.engine_record).is_ok_and(|r| r.as_ref() == Some(&*record))
        };
        if let Some(kept) = machine.current_checkpoint().filter(ours) {
            machine.hold();
            self.begun = Begun::Kept(kept);
            return true;
        }
        // Another one may be under way: the end of its job is what is waited for.
        let Some(work) = machine.checkpoint() else { return false };
        drop(machine);
        (self.begun, self.taken) = (Begun::Written, Bytes::new());
        (self.checkpointing, self.named_work) = (true, Some(work));
        true
    }

    /// Begins the checkpoint that the protocol has named, at the place the state is at now.
    pub(super) fn name_checkpoint(&mut self, mark: Bytes) -> Option<Output<P::Message, P::Record>> {
        if !self.is_current() {
            // Behind the seal nothing is left to vouch for.
            return None;
        }
        #[cfg(feature = "planted-bugs")]
        if self.seat.bugs.named_checkpoint_late && !std::mem::take(&mut self.late_now) {
            self.late = Some((mark, self.applied));
            return None;
        }
        if self.checkpointing {
            self.seat.probe.reachable("chain.waited_for_a_checkpoint");
            return Some(Output::Checkpoint { mark });
        }
        self.taken = mark.clone();
        let mut first = false;
        let record = self.seat.tail.change(|tail| {
            first = tail.inner != mark;
            tail.inner = mark.clone();
            tail.encode()
        });
        if first {
            // Reads take places and no index: without one of its own this checkpoint would pass for the one before.
            self.applied += 1;
            self.remember(None);
            let at = Position { term: term(self.spec.epoch, 0), index: self.applied };
            self.seat.machine.lock().note(at, None);
        }
        let mut machine = self.seat.machine.lock();
        machine.record(record);
        let Some(work) = machine.checkpoint_with_digest() else {
            // Another one is being written: the end of its job is what is waited for.
            return Some(Output::Checkpoint { mark });
        };
        drop(machine);
        (self.checkpointing, self.naming, self.named_work) = (true, Some(mark), Some(work));
        None
    }

    /// A checkpoint of this node's is proved: peers may be given it, older ones and the log below may go.
    pub(super) fn note_proved(&mut self, mark: Bytes) {
        let known = self.unproved.iter().find(|(m, _)| *m == mark).map(|(_, c)| c.clone());
        let found = known.or_else(|| {
            // Taken by an earlier lifetime, or a peer's.
            let mut machine = self.seat.machine.lock();
            let current = machine.current_checkpoint()?;
            let record = ChainRecord::decode(&current.engine_record).ok()??;
            (record.spec.epoch == self.spec.epoch && record.inner == mark).then(|| machine.hold())?;
            Some(current)
        });
        let Some(found) = found else { return };
        self.seat.probe.reachable("chain.checkpoint_proved");
        self.seat.machine.lock().release_before(found.at);
        self.unproved.retain(|(_, c)| c.at > found.at);
        self.proved = Some((mark, found));
        self.begun = Begun::Past;
        self.compaction_due = true;
    }

    /// A checkpoint that the protocol named is durable.
    pub(super) fn vouch(&mut self, now: Instant, mark: Bytes, done: Checkpointed, digest: [u8; 32]) {
        self.seat.machine.lock().hold();
        self.unproved.push_back((mark.clone(), done));
        if self.unproved.len() > UNPROVED_MAX {
            self.unproved.pop_front();
        }
        let digest = if bug!(self.seat.bugs, digest_unseen) { [0; 32] } else { digest };
        self.step(now, Input::Vouched { mark, digest });
    }

    /// The state as the epoch found it is durable.
    pub(super) fn keep_begun(&mut self, done: Checkpointed) {
        if matches!(self.begun, Begun::Written) {
            self.seat.machine.lock().hold();
            self.begun = Begun::Kept(done);
        }
    }
}
