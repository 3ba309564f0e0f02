//! What is below a peer's log: the difference by ranges, or the whole state.
//!
//! ```text
//! we                              the holder
//!                           ←    Below
//!   RangesWanted …          →                        | SnapshotWanted(begin)   →
//!                           ←    Ranges …            |                         ←  Snapshot(head, first part)
//!   EntriesWanted …         →                        | SnapshotWanted(next)    →
//!                           ←    Entries …           |                         ←  Snapshot(part) …
//!   TailWanted(head's version) →
//!                           ←    Tail(operations since then) … digest
//! ```
//!
//! The left way is `ranges`; the right one is taken by who has little, and when too much differs. Either way the result is
//! *the holder's state at one version*, and is believed only if it has the holder's digest of that version. The nearest
//! holder is asked: one of the own region if any is live.
//!
//! **A fetch never brings back what was removed.** What we hold may be older than the holder's in one place and newer in
//! another: a removal that only we have received, of an entry that the holder still has. The fetched state shows that entry.
//! But it is not merged into ours, entry by entry, with a guess at what its absence means: its version vector says
//! exactly which operations it lacks, and those we know beyond it, the removal among them, are applied from our log
//! before anybody sees it ([`Space::carry_over`](dwcp_crdt::Space::carry_over)), in one step. The log holds them: it is cut only up to what all
//! active members acknowledged, the holder too. A holder behind what it acknowledged is one that lost its disk; it is
//! refused (`eventual.holder_behind`), and the state stays as it was. The other way round, an entry that we have and the
//! fetched state has not was removed, or is of an operation that its version does not cover: struck in the one case, made again
//! from the log in the other. No age and no clock decides.
//!
//! **What goes on meanwhile.** Here: everything, for what is fetched lies apart; what we take in is beyond the holder's
//! version and carried over, or in it. There: everything, for the tail makes it whole (`dwcp_crdt::space`, "a snapshot of a moving
//! state"); the holder only does not cut its log for as long as it is asked, within a half of the log's bound.
//! It keeps nothing else between two questions but a view for ranges, that anybody may share.
//!
//! Nothing is acknowledged before the new state is in its file. Questions are repeated each second. A holder that falls
//! silent is given up after [`GIVE_UP`] and the fetch begins anew with whoever answers the next digest.

use crate::look::Rung;
use crate::message::{self, CHUNK_BYTES, Message, version_bytes};
use crate::ranges::Stage;
use crate::replica::{Eventual, Intent, millis};
use bytes::Bytes;
use dwcp_crdt::code::{Reader, Writer};
use dwcp_crdt::space::{Cursor, Digest, Received, Refused, Restore, RestoreFault, SnapshotHeader};
use dwcp_crdt::{Batch, Member, Roster, Standing, VersionVector};
use dwcp_env::{Duration, Event, Instant, Lane, NodeId, Now, PeerFault};

/// A holder that is silent for so long is given up.
const GIVE_UP: Duration = Duration::secs(5);
/// A question without an answer is asked again.
const AGAIN: Duration = Duration::secs(1);
/// A near holder is waited for this long before the far one is asked.
const NEAR: Duration = Duration::secs(2);
/// Bytes of operations a tail may have; beyond, the fetch begins anew, from a newer state.
const TAIL_BYTES: u64 = 256 * 1024 * 1024;
/// Who has fewer entries takes the whole state.
const RANGES_LEAST: usize = 256;

/// A state being received.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) from: NodeId,
    heard_at: Instant,
    asked_at: Instant,
    asked: Message,
    pub(crate) restore: Option<Restore>,
    /// The header's; then with what the tail brought.
    pub(crate) version: VersionVector,
    pub(crate) stage: Stage,
    pub(crate) by: Rung,
    pub(crate) bytes: u64,
    /// The roster that the holder knew when it began.
    roster: Roster,
    tail: Vec<Batch>,
    tail_bytes: u64,
}

impl Fetch {
    pub(crate) fn new(from: NodeId, now: Now, by: Rung, stage: Stage, asked: Message) -> Self {
        Self {
            from,
            heard_at: now.mono,
            asked_at: now.mono,
            asked,
            restore: None,
            version: VersionVector::new(),
            stage,
            by,
            bytes: 0,
            roster: Roster::default(),
            tail: Vec::new(),
            tail_bytes: 0,
        }
    }
}

impl Eventual {
    /// A peer's log does not reach back to what we have.
    pub(crate) fn on_below(&mut self, now: Now, from: NodeId, tail: bool) {
        if self.identity.is_none() {
            return;
        }
        if let Some(fetch) = &self.fetch {
            if tail && fetch.from == from && matches!(fetch.stage, Stage::Tail) {
                // What happened since the state was begun is gone there already: begin anew.
                self.begin_fetch(now, from);
            }
            return;
        }
        if tail {
            return;
        }
        let near: Vec<NodeId> = {
            let live = self.gossip.live_in(self.spec.region).iter().copied();
            live.filter(|n| *n != self.node).collect()
        };
        if near.is_empty() || near.contains(&from) {
            return self.begin_fetch(now, from);
        }
        if self.below.is_none() {
            self.below = Some((now.mono + NEAR, from));
            let pick = (self.draw(now) % near.len() as u64) as usize;
            self.ask(now, near[pick]);
        }
    }

    pub(crate) fn begin_fetch(&mut self, now: Now, from: NodeId) {
        self.below = None;
        if self.space.len() < RANGES_LEAST {
            self.begin_state(now, from);
        } else {
            self.begin_ranges(now, from);
        }
    }

    /// Asks for the whole state.
    pub(crate) fn begin_state(&mut self, now: Now, from: NodeId) {
        let wanted = Message::SnapshotWanted { from: None };
        let fetch = Fetch::new(from, now, Rung::State, Stage::Parts { next: None }, wanted.clone());
        self.fetch = Some(fetch);
        self.intents.push(Intent::Plain { to: from, message: wanted });
    }

    /// Asks the holder for the next piece; it has answered the last question.
    pub(crate) fn ask_on(&mut self, now: Now, message: Message) {
        let Some(fetch) = &mut self.fetch else { return };
        (fetch.heard_at, fetch.asked_at, fetch.asked) = (now.mono, now.mono, message.clone());
        self.intents.push(Intent::Plain { to: fetch.from, message });
    }

    /// Asks for what happened at the holder's since the header.
    pub(crate) fn ask_for_tail(&mut self, now: Now) {
        let Some(fetch) = &mut self.fetch else { return };
        fetch.stage = Stage::Tail;
        let message = Message::TailWanted { version: version_bytes(&fetch.version) };
        self.ask_on(now, message);
    }

    /// Repeats a question, gives up a silent holder, asks the far one if no near one has answered; forgets what was kept for
    /// pullers.
    pub(crate) fn fetch_tick(&mut self, now: Now) {
        if self.fetch.as_ref().is_some_and(|f| now.mono.since(f.heard_at) >= GIVE_UP) {
            self.probe.reachable("eventual.fetch_given_up");
            self.fetch = None;
        }
        if let Some(fetch) = self.fetch.as_mut().filter(|f| now.mono.since(f.asked_at) >= AGAIN) {
            fetch.asked_at = now.mono;
            let (to, message) = (fetch.from, fetch.asked.clone());
            self.intents.push(Intent::Plain { to, message });
        }
        if let Some((_, far)) = self.below.take_if(|(until, _)| *until <= now.mono)
            && self.fetch.is_none()
        {
            self.begin_fetch(now, far);
        }
        self.serving.tick(now);
    }

    /// Whether the log must not be cut: somebody takes our state and will ask for what happened meanwhile.
    pub(crate) fn is_pulled(&self, now: Now) -> bool {
        self.serving.has_pullers(now) && self.unstable_bytes < self.spec.unstable_max.0 / 2
    }

    /// Sends a part of our state.
    pub(crate) fn send_part(&mut self, now: Now, to: NodeId, from: Option<Bytes>) {
        if self.room(now, to) < CHUNK_BYTES {
            // The receiver asks again.
            self.probe.reachable("eventual.peer_budget_spent");
            return;
        }
        self.serving.asked(now, to);
        let cursor = match &from {
            None => None,
            Some(bytes) => {
                let mut reader = Reader::new(bytes);
                match Cursor::decode(&mut reader) {
                    Ok(cursor) => Some(cursor),
                    Err(e) => return self.faulted(&message::fault(to, &e.to_string())),
                }
            }
        };
        let head = from.is_none().then(|| self.head());
        let part = self.space.chunk(cursor.as_ref(), CHUNK_BYTES);
        let next = part.next.map(|c| {
            let mut out = Writer::new();
            c.encode(&mut out);
            out.into_bytes().into()
        });
        self.spend(now, to, part.bytes.len());
        self.send(to, Lane::Bulk, &Message::Snapshot { head, from, chunk: part.bytes.into(), next });
    }

    /// The header of our state as it is now, and the roster it is read by.
    pub(crate) fn head(&self) -> (Bytes, Bytes) {
        let mut header = Writer::new();
        self.space.snapshot().encode(&mut header);
        (header.into_bytes().into(), crate::identity::roster_bytes(self.space.roster()))
    }

    /// Reads a head that the holder sent, and takes over the roster. The fetch may be over after that.
    pub(crate) fn read_head(
        &mut self,
        from: NodeId,
        (header, roster): &(Bytes, Bytes),
    ) -> Result<SnapshotHeader, PeerFault> {
        let roster = crate::identity::read_roster(roster);
        let roster = roster.ok_or_else(|| message::fault(from, "a roster that is none"))?;
        if let Some(fetch) = &mut self.fetch {
            fetch.roster.clone_from(&roster);
        }
        self.adopt(&roster);
        SnapshotHeader::decode(&mut Reader::new(header)).map_err(|e| message::fault(from, &e.to_string()))
    }

    pub(crate) fn on_part(
        &mut self,
        now: Now,
        from: NodeId,
        head: Option<(Bytes, Bytes)>,
        place: Option<Bytes>,
        chunk: &[u8],
        next: Option<Bytes>,
    ) -> Result<(), PeerFault> {
        let Some(me) = self.identity.map(|i| i.replica) else { return Ok(()) };
        let expected =
            |f: &Fetch| f.from == from && matches!(&f.stage, Stage::Parts { next } if *next == place);
        if !self.fetch.as_ref().is_some_and(expected) {
            return Ok(());
        }
        if let Some(head) = head {
            let header = self.read_head(from, &head)?;
            let (config, roster) = (self.spec.space_config(), self.space.roster().clone());
            if let Some(fetch) = &mut self.fetch {
                fetch.version = header.version.clone();
                fetch.restore = Some(Restore::new(config, roster, me, header));
            }
        }
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        let Some(restore) = &mut fetch.restore else { return Ok(()) };
        if let Err(e) = restore.absorb(chunk) {
            self.fetch = None;
            return Err(message::fault(from, &e.to_string()));
        }
        fetch.bytes += chunk.len() as u64;
        self.counts.repair_received += chunk.len() as u64;
        if next.is_none() {
            self.ask_for_tail(now);
        } else {
            fetch.stage = Stage::Parts { next: next.clone() };
            self.ask_on(now, Message::SnapshotWanted { from: next });
        }
        Ok(())
    }

    /// What happened at the holder's since the header; with the last of it what the holder is then.
    pub(crate) fn on_tail(
        &mut self,
        now: Now,
        from: NodeId,
        batches: &[Bytes],
        digest: Option<[u8; 32]>,
    ) -> Result<(), PeerFault> {
        let here = |f: &&mut Fetch| f.from == from && matches!(f.stage, Stage::Tail);
        let Some(fetch) = self.fetch.as_mut().filter(here) else { return Ok(()) };
        let mut news = false;
        for bytes in batches {
            let batch = message::batch(from, bytes)?;
            if batch.last().sequence() <= fetch.version.get(batch.replica()) {
                continue;
            }
            news = true;
            fetch.tail_bytes += bytes.len() as u64;
            fetch.version.raise(batch.replica(), batch.last().sequence());
            fetch.tail.push(batch);
        }
        if fetch.tail_bytes > TAIL_BYTES {
            self.fetch = None;
            return Ok(());
        }
        match digest {
            Some(bytes) => {
                let digest = Digest::decode(&mut Reader::new(&bytes));
                self.install(now, from, digest.map_err(|e| message::fault(from, &e.to_string()))?)
            }
            None if news => {
                self.ask_for_tail(now);
                Ok(())
            }
            // Said before, by an answer to a repeated question.
            None => Ok(()),
        }
    }

    /// Puts the fetched state in the place of ours, with what only we have.
    fn install(&mut self, now: Now, from: NodeId, digest: Digest) -> Result<(), PeerFault> {
        let Some(mut fetch) = self.fetch.take() else { return Ok(()) };
        let Some(mut restore) = fetch.restore.take() else { return Ok(()) };
        let ms = millis(now);
        let knows = |place| fetch.roster.get(place).is_some_and(Member::takes_part);
        if self.identity.is_some_and(|i| !knows(i.replica)) {
            // A holder that did not know our place acknowledged as if we were not there, and what it acknowledged may be purged elsewhere
            // while it still lives in this state (`dwcp_crdt::space`, "stability").
            self.probe.reachable("eventual.fetched_before_the_roster");
            let roster = crate::identity::roster_bytes(self.space.roster());
            self.intents.push(Intent::Plain { to: from, message: Message::Roster(roster) });
            return Ok(());
        }
        // Whoever was admitted meanwhile may have written what the tail brings.
        let adopted = restore.adopt(self.space.roster());
        let mut space = match restore.finish(&fetch.tail, ms) {
            Ok(space) if adopted.is_ok() => space,
            Ok(_) | Err(RestoreFault::Refused(Refused::NotAdmitted(..))) => {
                self.probe.reachable("eventual.fetched_before_the_roster");
                return Ok(());
            }
            Err(e) => return Err(message::fault(from, &e.to_string())),
        };
        let holder = self.place_of(from).and_then(|r| self.space.roster().get(r)).map(|m| m.standing);
        let taker =
            Taker { serves: self.serves(), decides: self.is_deciding(now), version: self.space.version() };
        if taker.refuses(self.space.roster(), holder, space.version()) {
            self.probe.reachable("eventual.fetched_what_ends");
            let roster = crate::identity::roster_bytes(self.space.roster());
            self.intents.push(Intent::Plain { to: from, message: Message::Roster(roster) });
            return Ok(());
        }
        if space.digest() != digest {
            // The holder came back from a crash with less than it had, or an answer was lost to chance.
            self.probe.reachable("eventual.fetched_another_state");
            if fetch.by == Rung::Ranges {
                self.begin_state(now, from);
            }
            return Ok(());
        }
        if space.roster().epoch < self.space.roster().epoch {
            let newer = self.space.roster().clone();
            if space.set_roster(newer).is_err() {
                return Ok(());
            }
        }
        let fetched = space.version().clone();
        // What the old log no longer holds is stable; a holder that lacks it is behind, and another is asked.
        if space.carry_over(&self.space, ms).is_err() {
            self.probe.reachable("eventual.holder_behind");
            return Ok(());
        }
        for batch in std::mem::take(&mut self.leftover) {
            // What still does not fit has been superseded by the fetched state, or is lost with what came before it; of our own, what
            // their eviction cuts off will be made anew.
            let maker = space.roster().get(batch.replica());
            let (own, closing) =
                maker.map_or((false, false), |m| (m.node == self.node, m.standing == Standing::Closing));
            // How far we have come with one that is closing may have been told.
            let taken = !closing
                && matches!(space.receive(&batch, ms), Ok(Received::Applied(_) | Received::Duplicate));
            if !taken && (own || closing) {
                self.leftover.push(batch);
            }
        }
        for (peer, offset) in &self.offsets {
            space.clock_mut().measured(*peer, *offset);
        }
        if let Some(me) = self.identity.map(|i| i.replica).filter(|me| *me != space.me()) {
            // The place was taken while the state was under way.
            space.take_place(me);
        }
        space.open();
        // What we made or took in during this turn is not in the log yet, and is still to go there.
        self.logged.join(&fetched);
        self.logged.meet(space.version());
        self.space = space;
        self.streams.fall_behind();
        self.serving.forget();
        (self.unacknowledged, self.checkpoint_wanted, self.writing) = (true, true, None);
        self.rungs.repaired(fetch.by);
        if fetch.by == Rung::State {
            self.counts.snapshots += 1;
            self.probe.reachable("eventual.state_fetched");
            let group = self.spec.group;
            self.probe.event(&Event::StateFetched { group, from, bytes: fetch.bytes });
        } else {
            self.probe.reachable("eventual.difference_fetched");
        }
        Ok(())
    }
}

/// Who is about to put a fetched state in the place of its own.
struct Taker<'v> {
    serves: bool,
    /// It may have been decided, at what it has now, what of a closing place counts.
    decides: bool,
    version: &'v VersionVector,
}

impl Taker<'_> {
    /// Whether a state has operations that an eviction cut off, of which its holder does not know; or, of a member whose end is being decided,
    /// more than we have and may have reported, and its holder is not asked how far it has come, or it may be decided already at what we have.
    /// With either we would have to give up our state again, and if that happened to all who are active nobody had any. Who has no state to give
    /// up takes what there is: ends are decided by those who have one ([`roster`](crate::roster)), so if this is the last, nothing of
    /// it is cut off; and if not, there is another to begin anew from.
    fn refuses(&self, roster: &Roster, holder: Option<Standing>, fetched: &VersionVector) -> bool {
        let asked = holder == Some(Standing::Active) && !self.decides;
        let gains = |r| fetched.get(r) > self.version.get(r);
        let ends = |(r, m): (_, &Member)| {
            let undecided = m.standing == Standing::Closing && self.serves && !asked && gains(r);
            fetched.get(r) > roster.last(r) || undecided
        };
        roster.iter().any(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_crdt::ReplicaIndex;

    #[test]
    fn what_ends_is_not_taken_by_who_has_a_state_to_lose() {
        let closing = ReplicaIndex(1);
        let founded = Roster::founding([NodeId(1), NodeId(2), NodeId(3)]);
        let roster = founded.with(closing, Standing::Closing);
        let version = |far| {
            let mut v = VersionVector::new();
            v.raise(closing, far);
            v
        };
        let (ours, more) = (version(3), version(4));
        let taker = |serves, decides| Taker { serves, decides, version: &ours };
        let active = Some(Standing::Active);
        for not_asked in [Some(Standing::Lagging), Some(Standing::Closing), None] {
            assert!(taker(true, false).refuses(&roster, not_asked, &more), "{not_asked:?} is not asked");
            assert!(!taker(true, false).refuses(&roster, not_asked, &ours), "it has no more");
            assert!(
                !taker(false, false).refuses(&roster, not_asked, &more),
                "it may be the last state there is"
            );
        }
        assert!(!taker(true, false).refuses(&roster, active, &more), "it reports that, or has");
        assert!(taker(true, true).refuses(&roster, active, &more), "the end may be decided at what is here");
        let ended = roster.with(closing, Standing::Evicted { last: 3, heir: None });
        for serves in [true, false] {
            assert!(taker(serves, false).refuses(&ended, active, &more), "it is cut off");
            assert!(!taker(serves, false).refuses(&ended, active, &ours));
        }
    }
}
