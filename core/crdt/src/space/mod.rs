//! One replica of one space.
//!
//! **Promise.** [`Space::transact`] makes operations of a client's edits, at once and without asking anybody.
//! [`Space::receive`] takes other replicas' operations, in any order between replicas, any number of times. Two spaces
//! of the same version have the same fingerprint ([`Space::compare`]).
//!
//! **Model.** State is a function of the set of operations received, and that set is named by one
//! version vector. An entry is live if nothing received supersedes it. The index holds live entries only: no
//! tombstones. The log holds the operations that some member has not acknowledged.
//!
//! **What must be durable first.** The caller writes the batch that `transact` returned to its log before it sends
//! it anywhere or answers the client, and a received batch before it acknowledges its version. Then no dot
//! that anybody saw is ever given to another operation, without reserving numbers. A replica whose
//! disk came back older than what it sent is told so ([`Refused::OwnDot`]) and must ask for a new place in the roster.
//!
//! **Invariants.**
//! 1. Operations of one replica are applied in order, without holes; a transaction as a whole or not.
//! 2. Equal version vectors ⇒ equal pending removals, equal live entries, equal fingerprints.
//! 3. A counter's instance that lives has at least one entry.
//! 4. The log holds every operation received beyond its base; the base is at most what every active member acknowledged.
//! 5. Bad input changes nothing.
//! 6. A dead element of a sequence is kept until no operation that is still to come can name it, and no longer than that.
//!
//! **Limits.** Names of 64 KiB, values of 8 MiB, paths of 8 names, 65,536 operations a batch, batches of 16 MiB, of which
//! what is given out of the log gathers 64 KiB unless one transaction is larger ([`Space::weigh`] says how large one gets); of batches that
//! came too early [`Config::early_bytes`]; of removals that came too early [`Config::pending_max`].
//!
//! **Rejected.** Causal delivery (waits for what a removal does not need; FIFO by replica suffices, model-checked in
//! the memo); a clock a key (30 replicas × 8 bytes × 100,000 keys); removals without dots (then a gap in a vector
//! names only some of what is missing); tombstones with an age (zombies: Cassandra, Scylla #23712).
//!
//! Read `tree`, `apply`, `sequence`, `mutate`, `stroke`, `splice`, `weigh`, then `read`, `sync`, `stability`, `snapshot`, `rename`, `salvage`, `reconcile`.

mod apply;
mod deadlines;
mod elements;
mod glance;
mod leaf;
mod log;
mod mutate;
mod pending;
mod read;
mod reconcile;
mod rename;
mod salvage;
mod sequence;
mod snapshot;
mod splice;
mod spots;
mod stability;
mod stroke;
mod sync;
mod table;
mod tree;
mod weigh;

pub use glance::{Inside, Seen};
pub use mutate::Transaction;
pub use read::{CounterShare, Element, Field, Placed, Sibling, Value};
pub use salvage::Tail;
pub use snapshot::{Chunk, Cursor, Restore, RestoreFault, SnapshotHeader};
pub use stability::{Floor, Stability};
pub use sync::{Compared, Digest, Missing};

use crate::batch::Batch;
use crate::code::Malformed;
use crate::dot::{Dot, ReplicaIndex, SEQUENCE_MAX};
use crate::edit::EditFault;
use crate::fingerprint::Secret;
use crate::hlc::{self, Clock, Drift};
use crate::op::Op;
use crate::planted::{self, Bug};
use crate::roster::{Roster, RosterFault, Standing};
use crate::version::VersionVector;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use apply::Hot;
use deadlines::Deadlines;
use log::Log;
use pending::Pending;
use sequence::Sequences;
use thiserror::Error;
use tree::Tree;

/// Operations that are read before the first of them is applied: their places are looked up together.
const AT_ONCE: usize = 64;
/// Fewer operations than this are applied as they are read.
const FEW: u64 = 4;

/// What a space is told once.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The cluster's secret; the same on each replica.
    pub secret: Secret,
    /// How far clocks may stray.
    pub clocks: hlc::Bounds,
    /// Bytes of batches that are kept although one before them is missing; beyond, they are asked for again.
    pub early_bytes: usize,
    /// Removals that are kept although what they remove is missing, and elements of sequences although what they hang on is.
    pub pending_max: usize,
    /// Bytes of its own operations that the only active member keeps because no other has them.
    pub alone_max: usize,
}

impl Config {
    /// Defaults, with this secret.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self {
            secret: Secret::new(secret),
            clocks: hlc::Bounds::default(),
            early_bytes: 1 << 20,
            pending_max: 1 << 20,
            alone_max: 1 << 28,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// Operations were applied; so many, with those that had waited for them.
    Applied(u64),
    /// All of it was known.
    Duplicate,
    /// It is kept until what comes before it arrives: ask for that.
    Early,
    /// What comes before it is missing and there is no room to keep it: ask for all of it.
    Dropped,
}

/// Why a batch was not taken. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Refused {
    /// It is not what it should be.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It was sent as another replica's own.
    #[error(
        "{sender} sent operations of {made_by} as its own: dropped; a replica makes dots of its own index only"
    )]
    Forged {
        /// Who sent it.
        sender: ReplicaIndex,
        /// Whose dots it holds.
        made_by: ReplicaIndex,
    },
    /// Its replica has no place in this roster, or the operation comes after the last that counts.
    #[error("{0} is beyond what roster epoch {1} admits: fetch the roster, then send again")]
    NotAdmitted(Dot, u64),
    /// An eviction of its replica is being decided.
    #[error("{0} is being evicted: nothing new of it is taken until that is decided")]
    Closing(ReplicaIndex),
    /// A peer knows operations of this replica that it doesn't know itself.
    #[error(
        "a peer knows {0}, which this replica made and no longer has: its disk went back; it must take a new incarnation"
    )]
    OwnDot(Dot),
    /// It names too many operations that have not come.
    #[error(
        "{0} removals and elements wait for what they remove or hang on, {1} are allowed: exchange versions first"
    )]
    Pending(usize, usize),
}

/// Why a transaction was not made. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Rejected {
    /// An edit can't be done; its place among the transaction's.
    #[error("edit {0}: {1}")]
    Edit(usize, EditFault),
    /// The clock strays.
    #[error(transparent)]
    Drift(#[from] Drift),
    /// This replica may not write: it was evicted, or that is being decided.
    #[error("{0} may not write under roster epoch {1}: take a new incarnation")]
    Standing(ReplicaIndex, u64),
    /// More operations than a transaction may have.
    #[error("a transaction of more than {0} operations")]
    Large(usize),
}

/// Whether operations have other names by this roster than they had.
fn renames(roster: &Roster) -> bool {
    roster.renames() && !planted::is(Bug::OldNames)
}

/// One replica of one space.
#[derive(Clone, Debug)]
pub struct Space {
    config: Config,
    me: ReplicaIndex,
    roster: Roster,
    /// Whether operations may name others by what they were called before an eviction.
    renames: bool,
    vv: VersionVector,
    clock: Clock,
    tree: Tree,
    sequences: Sequences,
    hot: Hot,
    pending: Pending,
    logs: Vec<Log>,
    early: BTreeMap<Dot, Batch>,
    early_bytes: usize,
    stability: Stability,
    deadlines: Deadlines,
    /// Room for a path that is spelled to be looked for.
    path: Vec<u8>,
    /// While the own log is read at start, own operations are taken from outside.
    replaying: bool,
}

impl Space {
    /// An empty replica, at place `me` of the roster.
    #[must_use]
    pub fn new(config: Config, roster: Roster, me: ReplicaIndex) -> Self {
        Self {
            me,
            renames: renames(&roster),
            roster,
            vv: VersionVector::new(),
            clock: Clock::new(config.clocks),
            tree: Tree::new(config.secret),
            sequences: Sequences::default(),
            hot: Hot::default(),
            pending: Pending::default(),
            logs: Vec::new(),
            early: BTreeMap::new(),
            early_bytes: 0,
            stability: Stability::default(),
            deadlines: Deadlines::default(),
            path: Vec::new(),
            replaying: true,
            config,
        }
    }
    /// This replica's place.
    #[must_use]
    pub const fn me(&self) -> ReplicaIndex {
        self.me
    }
    /// Goes on at another place of the roster: this replica can't be sure to know all that it made at the old one. What
    /// it has from there it keeps and passes on like anybody's.
    pub fn take_place(&mut self, me: ReplicaIndex) {
        self.me = me;
        self.replaying = true;
    }
    /// What was received.
    #[must_use]
    pub const fn version(&self) -> &VersionVector {
        &self.vv
    }
    /// Who takes part.
    #[must_use]
    pub const fn roster(&self) -> &Roster {
        &self.roster
    }
    /// The clock, to be told of peers' offsets.
    pub const fn clock_mut(&mut self) -> &mut Clock {
        &mut self.clock
    }
    /// Takes the next roster that consensus decided.
    ///
    /// # Errors
    /// If it does not follow the one in force.
    pub fn set_roster(&mut self, next: Roster) -> Result<(), RosterFault> {
        self.roster.check_next(&next)?;
        for (r, m) in next.iter() {
            if let Standing::Evicted { last, .. } = m.standing {
                self.clock.forget(r);
                self.early.retain(|first, b| first.replica() != r || b.last().sequence() <= last);
            }
        }
        self.early_bytes = self.early.values().map(Batch::size).sum();
        (self.renames, self.roster) = (renames(&next), next);
        self.rename_pending();
        self.adopt_elements();
        Ok(())
    }
    /// Ends the reading of the own log: from now on our own operations come from nowhere else.
    pub fn open(&mut self) {
        self.replaying = false;
    }
    /// Takes operations, whoever passed them on. `millis` is what the wall clock reads.
    ///
    /// # Errors
    /// Says why they can't be taken; then nothing changed.
    pub fn receive(&mut self, batch: &Batch, millis: u64) -> Result<Received, Refused> {
        let (first, last, maker) = (batch.first(), batch.last(), batch.replica());
        let have = self.vv.get(maker);
        if last.sequence() <= have {
            return Ok(Received::Duplicate);
        }
        self.admit(batch)?;
        if first.sequence() > have + 1 {
            return Ok(self.keep_early(batch));
        }
        let mut applied = self.take(batch)?;
        self.clock.observe(batch.last_hlc(), millis);
        if maker == self.me {
            self.clock.resume(batch.last_hlc());
        }
        // What had waited for these.
        while let Some((&first, _)) =
            self.early.range(Dot::new(maker, 0)..=Dot::new(maker, SEQUENCE_MAX)).next()
        {
            if first.sequence() > self.vv.get(maker) + 1 {
                break;
            }
            let Some(next) = self.early.remove(&first) else { break };
            self.early_bytes -= next.size();
            if let Ok(n) = self.take(&next) {
                applied += n;
                self.clock.observe(next.last_hlc(), millis);
            }
        }
        Ok(Received::Applied(applied))
    }
    /// Takes operations from their maker itself.
    ///
    /// # Errors
    /// As [`Space::receive`], and if they are not the sender's own.
    pub fn receive_own_of(
        &mut self,
        sender: ReplicaIndex,
        batch: &Batch,
        millis: u64,
    ) -> Result<Received, Refused> {
        if batch.replica() != sender {
            return Err(Refused::Forged { sender, made_by: batch.replica() });
        }
        self.receive(batch, millis)
    }
    fn admit(&self, batch: &Batch) -> Result<(), Refused> {
        let maker = batch.replica();
        if !self.roster.admits(batch.last()) {
            return Err(Refused::NotAdmitted(batch.last(), self.roster.epoch));
        }
        if self.replaying {
            return Ok(());
        }
        if maker == self.me {
            return Err(Refused::OwnDot(batch.last()));
        }
        match self.roster.get(maker).map(|m| m.standing) {
            Some(Standing::Closing) => Err(Refused::Closing(maker)),
            _ => Ok(()),
        }
    }
    fn keep_early(&mut self, batch: &Batch) -> Received {
        if self.early.contains_key(&batch.first()) {
            return Received::Early;
        }
        if self.early_bytes + batch.size() > self.config.early_bytes {
            return Received::Dropped;
        }
        self.early_bytes += batch.size();
        self.early.insert(batch.first(), batch.clone());
        Received::Early
    }
    /// Applies the part of a batch that is not known; all of it can be, or nothing is.
    fn take(&mut self, batch: &Batch) -> Result<u64, Refused> {
        let maker = batch.replica();
        let have = self.vv.get(maker);
        let waiting = self.pending.len() + self.sequences.waiting();
        if waiting > self.config.pending_max && !self.awaits(maker) {
            return Err(Refused::Pending(waiting, self.config.pending_max));
        }
        if batch.replicas() as usize > self.roster.len() {
            let stranger = ReplicaIndex((batch.replicas() - 1) as u16);
            return Err(Refused::NotAdmitted(Dot::new(stranger, 1), self.roster.epoch));
        }
        let whole = batch.first().sequence() == have + 1;
        if whole {
            self.log(maker).push_batch(batch);
        }
        let mut applied = 0;
        let mut one = |space: &mut Self, op: &Op<'_>| {
            if op.dot.sequence() > have {
                space.apply(op);
                if !whole {
                    space.log(maker).push(op);
                }
                applied += 1;
            }
        };
        if batch.count() < FEW {
            for op in batch.ops() {
                one(self, &op?);
            }
            return Ok(applied);
        }
        let mut ops = batch.ops();
        let mut some: Vec<Op<'_>> = Vec::with_capacity(AT_ONCE.min(batch.count() as usize));
        loop {
            some.clear();
            while some.len() < AT_ONCE
                && let Some(op) = ops.next()
            {
                some.push(op?);
            }
            if some.is_empty() {
                return Ok(applied);
            }
            self.warm(&some);
            some.iter().for_each(|op| one(self, op));
        }
    }
    /// Whether what is under way waits for something of this maker: that is taken however much waits, or nothing would ever settle.
    fn awaits(&self, maker: ReplicaIndex) -> bool {
        let have = self.vv.get(maker);
        let (next, end) = (Dot::new(maker, have + 1), Dot::new(maker, SEQUENCE_MAX));
        self.pending.dots.range(next..=end).next().is_some()
            || self.pending.clears.iter().any(|c| c.upto.0.get(maker) > have)
            || self.sequences.waiting() > 0
    }
    fn log(&mut self, replica: ReplicaIndex) -> &mut Log {
        let at = usize::from(replica.0);
        while self.logs.len() <= at {
            let r = ReplicaIndex(self.logs.len() as u16);
            self.logs.push(Log::new(r, 0));
        }
        &mut self.logs[at]
    }
    /// Begins a replica's log after what a snapshot brought.
    fn begin_log(
        &mut self,
        replica: ReplicaIndex,
        base: u64,
        batches: &[&Batch],
        upto: u64,
    ) -> Result<(), Malformed> {
        let mut log = Log::new(replica, base);
        for batch in batches {
            for op in batch.ops() {
                let op = op?;
                if op.dot.sequence() <= upto {
                    log.push(&op);
                }
            }
        }
        *self.log(replica) = log;
        Ok(())
    }
    /// Live entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tree.len()
    }
    /// Whether nothing is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.len() == 0
    }
    /// Operations in the log, and their bytes.
    #[must_use]
    pub fn logged(&self) -> (u64, usize) {
        (self.logs.iter().map(Log::len).sum(), self.logs.iter().map(Log::bytes).sum())
    }
    /// Removals that wait for what they remove, with elements that wait for what they hang on; and batches that wait for
    /// those before them. Removals of what an eviction cut off are kept (a counter's increments may still name it) but wait
    /// for nothing.
    #[must_use]
    pub fn waiting(&self) -> (usize, usize) {
        (self.pending.len() + self.sequences.waiting(), self.early.len())
    }
    /// Gives back all room that is not used; after a large import or a large removal.
    pub fn shrink(&mut self) {
        self.tree.shrink();
        self.sequences.shrink();
    }
}
