//! What this node wrote at places that ended, and nobody had taken: kept until it is made anew at the place it has now.
//!
//! It was acknowledged to clients, so it lies in the log, and goes behind each checkpoint anew until the next place has it all
//! (`dwcp_crdt::space`, "salvage": how far that has come is what the next place has made, so that a crash on the way repeats nothing).
//! Before that the next place makes nothing else: clients' writes are refused with `LOADING`.

use crate::identity::batch_entry;
use crate::replica::{Eventual, millis};
use dwcp_crdt::space::{Received, Tail};
use dwcp_crdt::{Batch, Member, ReplicaIndex, Standing};
use dwcp_env::Now;

/// Operations made anew in one turn, about.
const A_TURN: usize = 4_096;

impl Eventual {
    /// Sets aside what counts no longer of this node's former places. Called before the state that holds it is given up.
    pub(crate) fn set_tails_aside(&mut self) {
        let ours = |(r, m): (ReplicaIndex, &Member)| match m.standing {
            Standing::Evicted { last, .. } if m.node == self.node => Some((r, last)),
            _ => None,
        };
        let ended: Vec<(ReplicaIndex, u64)> = self.space.roster().iter().filter_map(ours).collect();
        for (of, last) in ended {
            self.set_aside(of, last);
        }
    }

    fn set_aside(&mut self, of: ReplicaIndex, last: u64) {
        let made = self.space.made(of, last, u64::MAX, 1);
        // All who were active had it once, and each was evicted before one who came back had caught up. What is made at the awaited place would
        // go by the names of what is lost.
        self.records_lost |= made.is_none();
        let beyond = |b: &&Batch| b.replica() == of && b.last().sequence() > last;
        let own: Vec<Batch> = self.leftover.iter().filter(beyond).cloned().collect();
        // What counts is passed on under the old place: the only one who had it besides us may have lost its disk since it said so.
        self.leftover.retain(|b| b.replica() != of || b.first().sequence() <= last);
        let here = self.space.tail_of(of, last);
        let at = self.salvaged.iter().position(|t| t.of() == of);
        if own.is_empty() && (here.is_empty() || at.is_some()) {
            return;
        }
        let before = at.map(|i| self.salvaged.remove(i));
        let kept = before.iter().flat_map(|t| t.batches().to_vec());
        let tail = Tail::new(of, last, own.into_iter().chain(kept).chain(here.batches().to_vec()));
        // What was made in this turn is not in the log yet, and its client will be answered.
        let logged = self.logged.get(of);
        for batch in here.batches().iter().filter(|b| b.last().sequence() > logged) {
            self.append(batch_entry(batch));
        }
        let place = self.salvaged.partition_point(|t| t.of() < of);
        if !tail.is_empty() {
            self.salvaged.insert(place, tail);
        }
    }

    /// Takes in what was kept of others while their places closed, now that the roster says what of it counts.
    pub(crate) fn take_leftover(&mut self, now: Now) {
        let epoch = self.space.roster().epoch;
        if self.leftover.is_empty() || !self.serves() || self.leftover_seen == Some(epoch) {
            return;
        }
        self.leftover_seen = Some(epoch);
        for batch in std::mem::take(&mut self.leftover) {
            let maker = self.space.roster().get(batch.replica());
            // Of our own what an end cuts off is set aside by now.
            let undecided = |m: &Member| m.node == self.node && m.takes_part();
            let waits = maker.is_some_and(|m| undecided(m) || m.standing == Standing::Closing);
            if waits {
                self.leftover.push(batch);
            } else if let Ok(Received::Applied(_)) = self.space.receive(&batch, millis(now)) {
                self.probe.reachable("eventual.leftover_counts");
            }
        }
    }

    /// Keeps what is set aside beyond the checkpoint that now begins.
    pub(crate) fn keep_tails(&mut self) {
        let entries: Vec<_> = self.salvaged.iter().flat_map(Tail::batches).map(batch_entry).collect();
        for entry in entries {
            self.append(entry);
        }
    }

    /// Makes anew some of what is set aside, if this replica may write. Whether more can be at once.
    pub(crate) fn write_anew(&mut self) -> bool {
        if self.salvaged.is_empty() || !self.may_make() {
            return false;
        }
        let epoch = self.space.roster().epoch;
        if self.anew_waits == Some(epoch) {
            return false;
        }
        let tails = std::mem::take(&mut self.salvaged);
        let before = self.place().map(|me| self.space.version().get(me));
        if self.space.write_anew(&tails, A_TURN) == Ok(true) {
            self.probe.reachable("eventual.rewritten");
            // Out of the log with them: were the end of that place lowered later, they would be counted from another one.
            self.checkpoint_wanted = true;
        } else {
            self.salvaged = tails;
        }
        let made = self.place().map(|me| self.space.version().get(me)) != before;
        // Only another roster can let it begin.
        self.anew_waits = (self.owes() && !made).then_some(epoch);
        self.owes() && made
    }

    /// Whether something that clients were promised is still to be made anew here, or may be.
    #[must_use]
    pub fn owes(&self) -> bool {
        !self.salvaged.is_empty() || self.waits_for_an_end()
    }

    /// Nothing new is made before the end of all former places is decided: what is cut off there comes first here, by number, and
    /// which that is only the end says.
    fn waits_for_an_end(&self) -> bool {
        let Some(me) = self.place() else { return false };
        self.space.roster().iter().any(|(r, m)| r < me && m.node == self.node && m.takes_part())
    }
}
