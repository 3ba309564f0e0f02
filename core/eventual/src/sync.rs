//! The ladder: what peers say about what they hold, and what is sent for it.
//!
//! | rung | costs | taken when |
//! |---|---|---|
//! | push along the tree | the batch | always, at once |
//! | digest | 32 bytes | each second, with one peer |
//! | version, then exactly what is missing | 60-130 bytes and the operations | digests differ; a push came with a gap |
//! | ranges, then the entries that differ (`ranges`) | 5 to 15 bytes an entry, and the entries | what is missing is below the peer's log |
//! | the state in parts (`fetch`) | the state | that too, and little is here, or more than half of it differs |
//!
//! The cost follows the difference. What a repair brought is announced to the neighbours, who ask for it by its name (`graft`)
//! before their own digest would have told them. Each peer has a budget of bytes; what does not fit is asked for again by the one who
//! lacks it, so nothing queues here. Bulk goes on the bulk lane, where it delays nothing else.

use crate::look::Rung;
use crate::message::{self, Message, OPERATIONS_BYTES, version_bytes};
use crate::replica::{Eventual, Held, Intent, millis};
use crate::roster::Heard;
use bytes::Bytes;
use dwcp_crdt::code::Reader;
use dwcp_crdt::space::{Compared, Digest, Missing, Received, Refused};
use dwcp_crdt::{Batch, Dot, ReplicaIndex, Space, VersionVector};
use dwcp_env::{Duration, Lane, NodeId, Now, PeerFault};
use dwcp_gossip::settings::RUMOUR_MAX;
use dwcp_gossip::{Budget, RumourId};
use std::collections::BTreeMap;

/// Between questions after what one peer has, when pushes come with gaps.
const ASK_AGAIN: Duration = Duration::millis(50);
/// Between two reminders of one peer.
const REMIND_AGAIN: Duration = Duration::secs(1);
/// Names announced of what one message repaired: one a replica.
const ANNOUNCED: usize = 64;
/// Bytes of messages that wait for the disk, beyond which nothing is answered that its asker can ask for again.
const HELD_MAX: usize = 8 * 1024 * 1024;
/// Bytes for which an answer is not worth its message.
const LEAST: usize = 16 * 1024;
/// Seconds' worth of a peer's budget that may go at once.
const BURST_SECONDS: u64 = 1;

impl Eventual {
    /// The place of a node in the roster: of its latest life.
    pub(crate) fn place_of(&self, node: NodeId) -> Option<ReplicaIndex> {
        self.places.get(&node).copied()
    }

    pub(crate) fn hear(&mut self, now: Now, from: NodeId) {
        // Who heard nobody for long was cut off itself: that tells nothing about the others.
        if now.mono.since(self.heard_any) >= self.spec.patience.lagging / 4 {
            self.heard.values_mut().for_each(|h| h.at = now.mono);
        }
        self.heard_any = now.mono;
        if let Some(place) = self.place_of(from) {
            let new = Heard::now(now.mono, true);
            self.heard.entry(place).or_insert(new).at = now.mono;
        }
    }

    /// A peer says by which roster it goes; that is on its disk.
    fn goes_by(&mut self, from: NodeId, epoch: u64) {
        if let Some(heard) = self.place_of(from).and_then(|place| self.heard.get_mut(&place)) {
            heard.epoch = heard.epoch.max(epoch);
        }
    }

    /// Takes the state of a peer that serves, if no other way is left: what we lack is of places that close, whose end waits for somebody who
    /// serves, or for our own report, and that for a state.
    fn take_what_closes(&mut self, now: Now, from: NodeId, theirs: &VersionVector) {
        if !self.space.version().covers(theirs) && self.lacks_only_what_closes(now, theirs) {
            self.probe.reachable("eventual.state_of_what_closes");
            self.begin_fetch(now, from);
        }
    }

    /// A peer's clock was read when it stood so.
    fn measure(&mut self, now: Now, from: NodeId, wall_ms: u64) {
        if let Some(place) = self.place_of(from) {
            let offset = millis(now).cast_signed().saturating_sub(wall_ms.cast_signed());
            self.offsets.insert(place, offset);
            self.space.clock_mut().measured(place, offset);
        }
    }

    /// A batch that was pushed along the tree.
    pub(crate) fn on_pushed(&mut self, now: Now, id: RumourId, from: NodeId, bytes: &Bytes) {
        let batch = match message::batch(from, bytes) {
            Ok(batch) if batch.last().bits() == id.dot() => batch,
            Ok(_) => return self.faulted(&message::fault(from, "a batch under another's name")),
            Err(fault) => return self.faulted(&fault),
        };
        match self.receive(now, from, &batch) {
            Some(Received::Applied(_)) => self.probe.reachable("eventual.pushed"),
            Some(Received::Early | Received::Dropped) => {
                self.probe.reachable("eventual.pushed_early");
                self.ask(now, from);
            }
            Some(Received::Duplicate) | None => {}
        }
    }

    /// Takes a batch in; what can't be taken is the sender's fault, or waits for the roster.
    pub(crate) fn receive(&mut self, now: Now, from: NodeId, batch: &Batch) -> Option<Received> {
        let own = self.place_of(from) == Some(batch.replica());
        let ms = millis(now);
        let result = if own {
            self.space.receive_own_of(batch.replica(), batch, ms)
        } else {
            self.space.receive(batch, ms)
        };
        match result {
            Ok(received) => {
                if let Received::Applied(_) = received {
                    self.ship_received(now, batch);
                }
                Some(received)
            }
            Err(Refused::OwnDot(_)) => {
                self.lose_records("a peer has operations of this replica that it lost to its disk");
                None
            }
            Err(refused @ (Refused::NotAdmitted(..) | Refused::Closing(_))) => {
                self.probe.reachable("eventual.not_admitted");
                if let Refused::NotAdmitted(..) = refused {
                    // Ours is the older roster, likely: with what we lack comes the sender's.
                    self.ask(now, from);
                }
                None
            }
            Err(other) => {
                self.faulted(&message::fault(from, &other.to_string()));
                None
            }
        }
    }

    /// Asks a peer for what it has and we lack, not too often.
    pub(crate) fn ask(&mut self, now: Now, to: NodeId) {
        let again = self.asked.get(&to).is_none_or(|at| now.mono.since(*at) >= ASK_AGAIN);
        if again {
            self.asked.insert(to, now.mono);
            self.intents.push(Intent::Version { to, answer: false });
        }
    }

    /// A message of the ladder.
    ///
    /// # Errors
    /// The sender's fault.
    pub(crate) fn on_sync(&mut self, now: Now, from: NodeId, message: Message) -> Result<(), PeerFault> {
        match message {
            Message::Digest { digest, wall_ms, epoch } => {
                self.measure(now, from, wall_ms);
                self.goes_by(from, epoch);
                self.on_digest(from, digest, epoch)
            }
            Message::Version { version, durable, whole, answer, wall_ms, epoch } => {
                self.measure(now, from, wall_ms);
                let theirs = message::version(from, &version)?;
                self.goes_by(from, epoch);
                if epoch < self.space.roster().epoch {
                    let roster = crate::identity::roster_bytes(self.space.roster());
                    self.intents.push(Intent::Plain { to: from, message: Message::Roster(roster) });
                }
                self.remind(now, from, &theirs);
                // Under an older roster it may not know of places whose removals it lacks.
                let whole = whole && epoch >= self.space.roster().epoch;
                if whole && !self.serves() && self.fetch.is_none() && self.identity.is_some() {
                    self.take_what_closes(now, from, &theirs);
                }
                self.on_version(from, theirs, durable.then_some(epoch), whole, answer);
                Ok(())
            }
            Message::Operations { batches, more } => self.on_operations(now, from, &batches, more),
            Message::Roster(bytes) => {
                let roster = crate::identity::read_roster(&bytes);
                let roster = roster.ok_or_else(|| message::fault(from, "a roster that is none"))?;
                self.adopt(&roster);
                Ok(())
            }
            Message::Below { tail } => {
                self.on_below(now, from, tail);
                Ok(())
            }
            Message::SnapshotWanted { from: place } => {
                if self.serves() {
                    self.intents.push(Intent::Part { to: from, from: place });
                }
                Ok(())
            }
            Message::TailWanted { version } => {
                let since = message::version(from, &version)?;
                self.intents.push(Intent::Tail { to: from, since });
                Ok(())
            }
            Message::Snapshot { head, from: place, chunk, next } => {
                self.on_part(now, from, head, place, &chunk, next)
            }
            Message::Tail { batches, digest } => self.on_tail(now, from, &batches, digest),
            question @ (Message::RangesWanted { .. } | Message::EntriesWanted { .. }) => {
                if self.serves() {
                    self.intents.push(Intent::Serve { to: from, question });
                }
                Ok(())
            }
            Message::Ranges { pull, round, head, entries, answer } => {
                self.on_ranges(now, from, (pull, round), head, entries, &answer)
            }
            Message::RangesRefused { pull } => {
                self.on_ranges_refused(now, from, pull);
                Ok(())
            }
            Message::Entries { pull, round, entries, left, version } => {
                self.on_entries(now, from, (pull, round), &entries, &left, &version)
            }
            Message::Floors { floors, epoch, answer } => self.on_floors(from, &floors, epoch, answer),
            Message::Site(body) => self.on_letter(now, from, &body),
            Message::Reminder { place, version } => {
                let said = message::version(from, &version)?;
                if self.place() == Some(ReplicaIndex(place)) && !self.space.version().covers(&said) {
                    self.lose_records(
                        "a peer knows that it had what it has no longer: an older disk was put back",
                    );
                }
                Ok(())
            }
            Message::Gossip(_) => Err(message::fault(from, "gossip inside of gossip")),
        }
    }

    /// Tells a peer what it said it had, if it seems to have less: it may have been given an older disk back. Only it can say:
    /// its message may have been on the way for long.
    fn remind(&mut self, now: Now, from: NodeId, theirs: &VersionVector) {
        let Some(place) = self.place_of(from) else { return };
        let Some(said) = self.space.acknowledged_by(place).filter(|said| !theirs.covers(said)) else {
            return;
        };
        let again = self.reminded.get(&from).is_none_or(|at| now.mono.since(*at) >= REMIND_AGAIN);
        if again {
            let message = Message::Reminder { place: place.0, version: version_bytes(said) };
            self.reminded.insert(from, now.mono);
            self.intents.push(Intent::Plain { to: from, message });
        }
    }

    fn on_digest(&mut self, from: NodeId, bytes: [u8; 32], epoch: u64) -> Result<(), PeerFault> {
        let theirs = Digest::decode(&mut Reader::new(&bytes));
        let theirs = theirs.map_err(|e| message::fault(from, &e.to_string()))?;
        match self.space.compare(&theirs, &self.probe) {
            Compared::Same => {
                self.counts.digests_equal += 1;
                self.probe.reachable("eventual.digest_equal");
                let version = self.space.version().clone();
                self.acknowledge(from, &version, epoch);
            }
            Compared::Differ => {
                self.counts.digests_unequal += 1;
                self.probe.reachable("eventual.digest_unequal");
                self.intents.push(Intent::Version { to: from, answer: false });
            }
            // Said so already, by the invariant; a third replica is asked by the next digest.
            Compared::Broken => {}
        }
        Ok(())
    }

    /// Counts what a peer has on its disk. If its roster is later than ours it doesn't count: we ask for the roster by our version.
    fn acknowledge(&mut self, from: NodeId, version: &VersionVector, epoch: u64) {
        if epoch > self.space.roster().epoch {
            self.intents.push(Intent::Version { to: from, answer: true });
        } else if let Some(place) = self.place_of(from) {
            self.space.acknowledged(place, version, epoch);
        }
    }

    /// `durable` is the epoch of the roster under which the sender says that it has all this on its disk, if it has.
    fn on_version(
        &mut self,
        from: NodeId,
        theirs: VersionVector,
        durable: Option<u64>,
        whole: bool,
        answer: bool,
    ) {
        if let Some(epoch) = durable {
            self.acknowledge(from, &theirs, epoch);
        }
        if let Some(me) = self.place()
            && theirs.get(me) > self.space.version().get(me)
        {
            self.lose_records("a peer has operations of this replica that it lost to its disk");
        }
        let (we_lack, they_lack) =
            (!self.space.version().covers(&theirs), !theirs.covers(self.space.version()));
        if they_lack {
            self.intents.push(Intent::Missing { to: from, theirs });
        }
        if we_lack {
            self.covered.remove(&from);
        } else if !self.serves() {
            self.covered.insert(from);
            if whole || self.covers_all() {
                self.become_whole();
            }
        }
        // One that is not whole has to hear from one that is that it lacks nothing.
        if !answer && (we_lack || !whole) {
            self.intents.push(Intent::Version { to: from, answer: true });
        }
    }

    fn on_operations(
        &mut self,
        now: Now,
        from: NodeId,
        batches: &[Bytes],
        more: bool,
    ) -> Result<(), PeerFault> {
        let mut last: BTreeMap<ReplicaIndex, Dot> = BTreeMap::new();
        for bytes in batches {
            self.counts.repair_received += bytes.len() as u64;
            let batch = message::batch(from, bytes)?;
            if let Some(Received::Applied(_)) = self.receive(now, from, &batch) {
                last.insert(batch.replica(), batch.last());
            }
        }
        let any = !last.is_empty();
        if any {
            self.rungs.repaired(Rung::Operations);
            self.probe.reachable("eventual.repaired");
        }
        // Those around us lack it too, likely.
        for dot in last.values().take(ANNOUNCED) {
            let id = RumourId::from_dot(dot.bits());
            self.gossip(now, dwcp_gossip::Input::Repaired { id });
        }
        if any && more {
            self.intents.push(Intent::Version { to: from, answer: true });
        } else if any && !self.serves() {
            // Without progress nobody is asked at once: what could not be taken comes with the roster, and [`Self::seek_company`] asks.
            self.intents.push(Intent::Version { to: from, answer: false });
        }
        Ok(())
    }

    // --- what is sent ----------------------------------------------------------------------

    /// Makes messages of what this turn intends, all of which wait for what they speak of.
    pub(crate) fn carry_out(&mut self, now: Now) {
        for intent in std::mem::take(&mut self.intents) {
            match intent {
                Intent::Digest { to } => self.send_digest(now, to),
                Intent::Version { to, answer } => self.send_version(now, to, answer),
                Intent::Floors { to, answer } => self.send_floors(to, answer),
                Intent::Missing { to, theirs } => self.send_missing(now, to, &theirs),
                Intent::Part { to, from } => self.send_part(now, to, from),
                Intent::Tail { to, since } => self.send_tail(now, to, &since),
                Intent::Serve { to, question } => self.serve(now, to, question),
                Intent::Plain { to, message } => self.send(to, Lane::Data, &message),
            }
        }
    }

    /// Sends a message once all that the state shows is durable.
    pub(crate) fn send(&mut self, to: NodeId, lane: Lane, message: &Message) {
        let (lsn, body) = (self.last_lsn, message.encode(&self.envelope));
        self.rungs.sent(message.rung(), body.len());
        self.hold(lsn, Held::Send { to, lane, body });
    }

    fn send_digest(&mut self, now: Now, to: NodeId) {
        if self.unacknowledged || !self.serves() {
            return self.send_version(now, to, false);
        }
        let message = Message::Digest {
            digest: self.space.digest().to_bytes(),
            wall_ms: millis(now),
            epoch: self.space.roster().epoch,
        };
        self.send(to, Lane::Data, &message);
    }

    fn send_version(&mut self, now: Now, to: NodeId, answer: bool) {
        let message = Message::Version {
            version: version_bytes(self.space.version()),
            durable: !self.unacknowledged,
            whole: self.serves(),
            answer,
            wall_ms: millis(now),
            epoch: self.space.roster().epoch,
        };
        self.send(to, Lane::Data, &message);
    }

    /// Bytes that may go to a peer now.
    pub(crate) fn room(&mut self, now: Now, to: NodeId) -> usize {
        if self.held_bytes >= HELD_MAX {
            self.probe.reachable("eventual.sends_wait_for_the_disk");
            return 0;
        }
        let rate = self.spec.repair_rate.0.max(1);
        let burst = (rate * BURST_SECONDS).max(2 * OPERATIONS_BYTES as u64);
        let budget = self.budgets.entry(to).or_insert_with(|| Budget::new(now.mono, rate, burst));
        (budget.room(now.mono) as usize).min(OPERATIONS_BYTES)
    }

    pub(crate) fn spend(&mut self, now: Now, to: NodeId, bytes: usize) {
        self.counts.repair_sent += bytes as u64;
        if let Some(budget) = self.budgets.get_mut(&to) {
            let room = budget.room(now.mono);
            budget.take(now.mono, (bytes as u64).min(room));
        }
    }

    fn send_missing(&mut self, now: Now, to: NodeId, theirs: &VersionVector) {
        let room = self.room(now, to);
        if room < LEAST {
            self.probe.reachable("eventual.peer_budget_spent");
            return;
        }
        match self.space.missing(theirs, room) {
            Missing::Operations { batches, more } if !batches.is_empty() => {
                let (batches, size) = encoded(&batches);
                self.spend(now, to, size);
                self.probe.reachable("eventual.missing_sent");
                self.send(to, Lane::Bulk, &Message::Operations { batches, more });
            }
            Missing::Operations { .. } => {}
            Missing::BelowLog(_) => {
                self.probe.reachable("eventual.below_log");
                self.send(to, Lane::Data, &Message::Below { tail: false });
            }
        }
    }

    fn send_tail(&mut self, now: Now, to: NodeId, since: &VersionVector) {
        let room = self.room(now, to);
        if room < LEAST {
            // The one who fetches asks again.
            self.probe.reachable("eventual.peer_budget_spent");
            return;
        }
        self.serving.asked(now, to);
        match self.space.missing(since, room) {
            Missing::Operations { batches, more } => {
                let (batches, size) = encoded(&batches);
                self.spend(now, to, size);
                let digest = (!more).then(|| self.space.digest().to_bytes());
                if digest.is_some() {
                    self.serving.answered(now, to);
                }
                self.send(to, Lane::Bulk, &Message::Tail { batches, digest });
            }
            Missing::BelowLog(_) => self.send(to, Lane::Data, &Message::Below { tail: true }),
        }
    }
}

/// What the spreading of rumours asks about the space.
pub(crate) struct Holds<'s>(pub(crate) &'s Space);

impl dwcp_gossip::Store for Holds<'_> {
    fn holds(&self, id: RumourId) -> bool {
        self.0.version().contains(Dot::from_bits(id.dot()))
    }
    /// A batch that ends with the operation that names it, from the log: what the spreading itself remembers no longer, or what
    /// came by repair. Our own come from the spreading's memory only, which has what is durable here.
    fn fetch(&self, id: RumourId) -> Option<Bytes> {
        const SMALL: usize = 2 * 1024;
        const SOME: u64 = 64;
        let last = Dot::from_bits(id.dot());
        if last.replica() == self.0.me() {
            return None;
        }
        let one = self.0.ending_with(last, 1)?;
        let several = if one.size() <= SMALL { self.0.ending_with(last, SOME) } else { None };
        let bytes = [several, Some(one)].into_iter().flatten().map(|b| b.to_bytes());
        bytes.into_iter().find(|b| b.len() <= RUMOUR_MAX).map(Bytes::from)
    }
}

fn encoded(batches: &[Batch]) -> (Vec<Bytes>, usize) {
    let out: Vec<Bytes> = batches.iter().map(|b| b.to_bytes().into()).collect();
    let size = out.iter().map(Bytes::len).sum();
    (out, size)
}
