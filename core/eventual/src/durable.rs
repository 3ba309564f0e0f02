//! The log and the state's file: what is appended, what waits for it, and when the log may go.

use crate::checkpoint::Writing;
use crate::config::SyncPolicy;
use crate::identity::{Identity, batch_entry, batch_of, roster_entry};
use crate::message::BATCH_BYTES;
use crate::notice;
use crate::replica::{Eventual, Held, Outbox, Work};
use bytes::Bytes;
use dwcp_crdt::space::Missing;
use dwcp_crdt::{Batch, Roster};
use dwcp_env::{Duration, Event, Instant, Now};
use dwcp_gossip::RumourId;
use dwcp_wal::{Lsn, Record};

/// Bytes of one record, about.
const RECORD_BYTES: usize = 32 * 1024;
/// All entries are of one term: there is no leader here.
const TERM: u64 = 1;
/// While answers do not wait for the disk, operations gather for so long before they are logged as one.
pub(crate) const GATHER: Duration = Duration::millis(20);
/// Answered operations that are not durable by then keep further answers waiting.
pub(crate) const OWED_MAX: Duration = Duration::secs(1);
/// After a failed checkpoint.
const CHECKPOINT_AGAIN: Duration = Duration::secs(10);

impl Eventual {
    pub(crate) fn append(&mut self, payload: Bytes) -> Lsn {
        let index = self.next_entry;
        self.next_entry += 1;
        self.since_checkpoint += payload.len() as u64 + 64;
        let lsn = self.wal.lock().append(self.spec.group, Record::Entry { index, term: TERM, payload });
        self.last_lsn = lsn;
        lsn
    }

    /// Writes down who we are from now on.
    pub(crate) fn append_identity(&mut self, identity: Identity) {
        let mut wal = self.wal.lock();
        wal.append(self.spec.group, Record::Vote(identity.encode()));
        self.last_lsn = wal.last();
        drop(wal);
        self.identity = Some(identity);
    }

    /// States that nothing this replica relies on was lost before: it has a new place.
    pub(crate) fn append_healed(&mut self) {
        self.last_lsn = self.wal.lock().healed(self.spec.group);
    }

    pub(crate) fn append_roster(&mut self, roster: &Roster) {
        self.append(roster_entry(roster));
    }

    /// Whether answers may leave before what they speak of is durable.
    pub(crate) fn answers_ahead(&self, now: Now) -> bool {
        let since = self.owed.front().map(|(_, since)| *since).or(self.gathering);
        let late = since.is_some_and(|at| now.mono.since(at) >= OWED_MAX);
        if late {
            self.probe.reachable("eventual.answers_wait_for_the_disk");
        }
        self.spec.sync == SyncPolicy::EverySecond && !self.ending && !late
    }

    /// Nothing gathers from now on: the node is to end.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Whether what the space has taken in is to be logged in this turn; if not, it gathers.
    pub(crate) fn is_drain_due(&mut self, now: Now) -> bool {
        if self.drained_seen {
            self.drained.clear();
        }
        if self.space.version() == &self.logged {
            // A drain has nothing to do but give what is fresh its place.
            return !self.fresh.is_empty();
        }
        let since = *self.gathering.get_or_insert(now.mono);
        let ahead = self.spec.sync == SyncPolicy::EverySecond && !self.ending;
        !ahead || !self.fresh.is_empty() || now.mono.since(since) >= GATHER
    }

    /// Appends what the space has taken in since the last time, own and received alike.
    pub(crate) fn drain(&mut self) {
        if std::mem::take(&mut self.drained_seen) {
            self.drained.clear();
        }
        let gathered = self.gathering.take().or(self.clocks.map(|c| c.mono)).unwrap_or(Instant::ZERO);
        let owed = Some(gathered).filter(|_| self.space.version() != &self.logged);
        while self.space.version() != &self.logged {
            let Missing::Operations { batches, .. } = self.space.missing(&self.logged, RECORD_BYTES) else {
                self.failure = Some("operations were trimmed before they were logged: a bug of ours".into());
                return;
            };
            let none = batches.is_empty();
            self.probe.always("eventual.drained", !none, || "a version without its operations");
            if none {
                return;
            }
            for batch in batches {
                self.log_batch(batch);
            }
        }
        let lsn = self.last_lsn;
        if let Some(since) = owed.filter(|_| self.spec.sync == SyncPolicy::EverySecond) {
            self.owed.push_back((lsn, since));
        }
        if self.unsynced_any == Some(Lsn(u64::MAX)) {
            self.unsynced_any = Some(lsn);
        }
        for key in std::mem::take(&mut self.fresh_keys) {
            self.unsynced.insert(key.clone(), lsn);
            self.unsynced_order.push_back((lsn, key));
        }
        for held in std::mem::take(&mut self.fresh) {
            self.hold(lsn, held);
        }
    }

    fn log_batch(&mut self, batch: Batch) {
        let size = batch.size();
        self.probe
            .always("eventual.batch_bounded", size <= BATCH_BYTES, || format!("a batch of {size} bytes"));
        let entry = batch_entry(&batch);
        let lsn = self.append(entry.clone());
        self.logged.raise(batch.replica(), batch.last().sequence());
        self.unstable_bytes += batch.size() as u64;
        if self.identity.is_some_and(|i| i.replica == batch.replica()) {
            let id = RumourId::from_dot(batch.last().bits());
            let first = batch.first().sequence();
            self.hold(lsn, Held::Push { first, id, bytes: batch_of(&entry) });
        }
        self.drained.push(batch);
    }

    /// Tells subscribers of what was logged in this turn.
    pub(crate) fn tell(&mut self, out: &mut Outbox) {
        if !self.subscriptions.is_empty() && !self.drained_seen {
            notice::tell(&mut self.subscriptions, &self.drained, out);
        }
        self.drained_seen = true;
    }

    /// Keeps something until a record is durable.
    pub(crate) fn hold(&mut self, lsn: Lsn, held: Held) {
        if let Held::Reply { deadline, .. } = &held {
            self.earliest_deadline = self.earliest_deadline.min(*deadline);
        }
        if let Held::Send { body, .. } = &held {
            self.held_bytes += body.len();
        }
        let at = self.held.partition_point(|(l, _)| *l <= lsn);
        self.held.insert(at, (lsn, held));
    }

    /// Lets go what waited for the disk. Whether there was anything.
    pub(crate) fn release(&mut self, now: Now, out: &mut Outbox) -> bool {
        let durable = self.wal.lock().durable();
        while self.owed.pop_front_if(|(lsn, _)| *lsn <= durable).is_some() {}
        while let Some((_, key)) = self.unsynced_order.pop_front_if(|(lsn, _)| *lsn <= durable) {
            if self.unsynced.get(&key).is_some_and(|lsn| *lsn <= durable) {
                self.unsynced.remove(&key);
            }
        }
        self.unsynced_any = self.unsynced_any.filter(|lsn| *lsn > durable);
        let mut any = false;
        while let Some((_, held)) = self.held.pop_front_if(|(lsn, _)| *lsn <= durable) {
            any = true;
            match held {
                Held::Reply { id, answer, .. } => out.replies.push((id, Ok(answer), true)),
                Held::Send { to, lane, body } => {
                    self.held_bytes -= body.len();
                    out.sends.push((to, lane, body));
                }
                Held::Push { first, id, bytes } => {
                    self.ship_own(now, first, id, &bytes);
                    self.gossip(now, dwcp_gossip::Input::Broadcast { id, bytes });
                }
                Held::Landed { from, session, number } => self.on_landed(now, from, session, number),
            }
        }
        if self.held.is_empty() {
            self.earliest_deadline = Instant::FAR;
        }
        any
    }

    // --- checkpoints -----------------------------------------------------------------------

    /// Begins or goes on with writing the state to its file.
    pub(crate) fn checkpoint(&mut self, now: Now, out: &mut Outbox) {
        if self.job_out || self.identity.is_none() {
            return;
        }
        if self.writing.is_none() {
            let due = self.checkpoint_wanted || self.since_checkpoint >= self.spec.checkpoint_every.0;
            if !due || now.mono < self.checkpoint_not_before || self.space.version() != &self.logged {
                return;
            }
            self.writing = Some(Writing::new(self.spec.group, self.next_entry));
            // What can't be applied yet is not in the state: it goes behind it.
            for batch in std::mem::take(&mut self.leftover) {
                self.append(batch_entry(&batch));
                self.leftover.push(batch);
            }
            self.keep_tails();
            (self.checkpoint_wanted, self.since_checkpoint) = (false, 0);
        }
        if self.space.version() != &self.logged && self.writing.as_ref().is_some_and(Writing::shows_more) {
            // What a part shows must have its place in the log.
            return;
        }
        let Some(writing) = self.writing.as_mut().filter(|w| !w.ended()) else { return };
        let step = if writing.is_taken() {
            // The file counts once it has its name: all that it shows must be durable by then, or a crash would leave
            // effects of operations whose dots are given away again.
            if self.wal.lock().durable() < writing.shows {
                return;
            }
            writing.finish(&self.storage)
        } else {
            writing.next(self.cluster, &self.space, &self.storage, self.last_lsn)
        };
        self.job_out = true;
        let run = step.run;
        out.job = Some(Work { cost: step.cost, run: Box::new(move || Box::new(run())) });
    }

    pub(crate) fn on_part_written(&mut self) {
        let Some(writing) = self.writing.take_if(|w| w.ended()) else { return };
        let index = writing.from_entry.saturating_sub(1);
        if index > 0 {
            self.last_lsn = self.wal.lock().append(self.spec.group, Record::Purge { term: TERM, index });
        }
        self.counts.checkpoints += 1;
        self.probe.event(&Event::CheckpointWritten { group: self.spec.group, index });
        self.probe.reachable("eventual.checkpointed");
        self.unacknowledged = false;
    }

    pub(crate) fn on_checkpoint_failed(&mut self, now: Now, why: &str) {
        // Nothing durable has changed: the old file counts, and the log was not cut.
        self.probe.event(&Event::CheckpointFailed { group: self.spec.group, why: why.to_string() });
        self.writing = None;
        self.checkpoint_wanted = true;
        self.checkpoint_not_before = now.mono + CHECKPOINT_AGAIN;
    }
}
