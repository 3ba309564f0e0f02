//! The state from a peer, in parts: for a replica that is new, or older than its peers' logs.
//!
//! ```text
//! we                              the holder
//!   SnapshotWanted(begin)   →
//!                           ←    Snapshot(head, first part)
//!   SnapshotWanted(next)    →
//!                           ←    Snapshot(part) …
//!   TailWanted(head's version) →
//!                           ←    Tail(operations since then) …
//! ```
//!
//! The holder keeps nothing between two questions: a cursor is a place in the order of names. The state may change
//! meanwhile; the tail makes the parts whole (`dwcp_crdt::space`, "a snapshot of a moving state"). The nearest holder is asked:
//! one of the own region if any is live. What only we have is carried over, and nothing is acknowledged before the new
//! state is in its file.
//!
//! A holder that falls silent is given up after [`GIVE_UP`] and the fetch begins anew with whoever answers the next digest.

use crate::message::{self, CHUNK_BYTES, Message, version_bytes};
use crate::replica::{Eventual, Intent, millis};
use bytes::Bytes;
use dwcp_crdt::code::{Reader, Writer};
use dwcp_crdt::space::{Cursor, Restore, SnapshotHeader};
use dwcp_crdt::{Batch, VersionVector};
use dwcp_env::{Duration, Event, Instant, Lane, NodeId, Now, PeerFault};

/// A holder that is silent for so long is given up.
const GIVE_UP: Duration = Duration::secs(5);
/// A near holder is waited for this long before the far one is asked.
const NEAR: Duration = Duration::secs(2);
/// Bytes of operations a tail may have; beyond, the fetch begins anew, from a newer state.
const TAIL_BYTES: u64 = 256 * 1024 * 1024;

/// A state being received.
#[derive(Debug)]
pub(crate) struct Fetch {
    from: NodeId,
    asked_at: Instant,
    restore: Option<Restore>,
    version: VersionVector,
    next: Option<Bytes>,
    tail: Vec<Batch>,
    tail_bytes: u64,
    bytes: u64,
    parts_done: bool,
}

impl Fetch {
    fn new(from: NodeId, now: Now) -> Self {
        Self {
            from,
            asked_at: now.mono,
            restore: None,
            version: VersionVector::new(),
            next: None,
            tail: Vec::new(),
            tail_bytes: 0,
            bytes: 0,
            parts_done: false,
        }
    }
}

impl Eventual {
    /// A peer's log does not reach back to what we have.
    pub(crate) fn on_below(&mut self, now: Now, from: NodeId) {
        if self.identity.is_none() {
            return;
        }
        if let Some(fetch) = &self.fetch {
            if fetch.from == from && fetch.parts_done {
                // What happened since the state was begun is gone there already: begin anew.
                self.begin_fetch(now, from);
            }
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

    fn begin_fetch(&mut self, now: Now, from: NodeId) {
        self.below = None;
        self.fetch = Some(Fetch::new(from, now));
        self.intents.push(Intent::Plain { to: from, message: Message::SnapshotWanted { from: None } });
    }

    /// Gives up a silent holder; asks the far one if no near one has answered.
    pub(crate) fn fetch_tick(&mut self, now: Now) {
        if self.fetch.as_ref().is_some_and(|f| now.mono.since(f.asked_at) >= GIVE_UP) {
            self.probe.reachable("eventual.fetch_given_up");
            self.fetch = None;
        }
        if let Some((_, far)) = self.below.take_if(|(until, _)| *until <= now.mono)
            && self.fetch.is_none()
        {
            self.begin_fetch(now, far);
        }
    }

    /// Sends a part of our state.
    pub(crate) fn send_part(&mut self, now: Now, to: NodeId, from: Option<Bytes>) {
        if self.room(now, to) < CHUNK_BYTES {
            // The receiver asks again when it gives up waiting.
            self.probe.reachable("eventual.peer_budget_spent");
            return;
        }
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
        let head = from.is_none().then(|| {
            let mut header = Writer::new();
            self.space.snapshot().encode(&mut header);
            (header.into_bytes().into(), crate::identity::roster_bytes(self.space.roster()))
        });
        let part = self.space.chunk(cursor.as_ref(), CHUNK_BYTES);
        let next = part.next.map(|c| {
            let mut out = Writer::new();
            c.encode(&mut out);
            out.into_bytes().into()
        });
        self.spend(now, to, part.bytes.len());
        self.send(to, Lane::Bulk, &Message::Snapshot { head, from, chunk: part.bytes.into(), next });
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
        let expected = |f: &Fetch| f.from == from && !f.parts_done && f.next == place;
        if !self.fetch.as_ref().is_some_and(expected) {
            return Ok(());
        }
        if let Some((header, roster)) = head {
            let fault = |why: &str| message::fault(from, why);
            let roster =
                crate::identity::read_roster(&roster).ok_or_else(|| fault("a roster that is none"))?;
            self.adopt(&roster);
            let header =
                SnapshotHeader::decode(&mut Reader::new(&header)).map_err(|e| fault(&e.to_string()))?;
            let config = self.space_config();
            let version = header.version.clone();
            let restore = Restore::new(config, self.space.roster().clone(), me, header);
            if let Some(fetch) = &mut self.fetch {
                (fetch.version, fetch.restore) = (version, Some(restore));
            }
        }
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        let Some(restore) = &mut fetch.restore else { return Ok(()) };
        if let Err(e) = restore.absorb(chunk) {
            self.fetch = None;
            return Err(message::fault(from, &e.to_string()));
        }
        fetch.bytes += chunk.len() as u64;
        fetch.asked_at = now.mono;
        self.counts.repair_received += chunk.len() as u64;
        fetch.next = next;
        let message = match &fetch.next {
            Some(next) => Message::SnapshotWanted { from: Some(next.clone()) },
            None => {
                fetch.parts_done = true;
                Message::TailWanted { version: version_bytes(&fetch.version) }
            }
        };
        self.intents.push(Intent::Plain { to: from, message });
        Ok(())
    }

    pub(crate) fn on_tail(
        &mut self,
        now: Now,
        from: NodeId,
        batches: &[Bytes],
        more: bool,
    ) -> Result<(), PeerFault> {
        let Some(fetch) = self.fetch.as_mut().filter(|f| f.from == from && f.parts_done) else {
            return Ok(());
        };
        fetch.asked_at = now.mono;
        for bytes in batches {
            let batch = message::batch(from, bytes)?;
            fetch.tail_bytes += bytes.len() as u64;
            fetch.version.raise(batch.replica(), batch.last().sequence());
            fetch.tail.push(batch);
        }
        if fetch.tail_bytes > TAIL_BYTES {
            self.fetch = None;
            return Ok(());
        }
        if more && !batches.is_empty() {
            let message = Message::TailWanted { version: version_bytes(&fetch.version) };
            self.intents.push(Intent::Plain { to: from, message });
            return Ok(());
        }
        self.install(now, from)
    }

    /// Puts the fetched state in the place of ours, with what only we have.
    fn install(&mut self, now: Now, from: NodeId) -> Result<(), PeerFault> {
        let Some(mut fetch) = self.fetch.take() else { return Ok(()) };
        let Some(restore) = fetch.restore.take() else { return Ok(()) };
        let ms = millis(now);
        let fault = |e: dwcp_crdt::space::RestoreFault| message::fault(from, &e.to_string());
        let mut space = restore.finish(&fetch.tail, ms).map_err(fault)?;
        if space.roster().epoch < self.space.roster().epoch {
            let newer = self.space.roster().clone();
            if space.set_roster(newer).is_err() {
                return Ok(());
            }
        }
        // What the old log no longer holds is stable; a holder that lacks it is behind, and another is asked.
        if space.carry_over(&self.space, ms).is_err() {
            self.probe.reachable("eventual.holder_behind");
            return Ok(());
        }
        for batch in std::mem::take(&mut self.leftover) {
            // What still does not fit has been superseded by the fetched state, or is lost with what came before it.
            let _applied = space.receive(&batch, ms);
        }
        for (peer, offset) in &self.offsets {
            space.clock_mut().measured(*peer, *offset);
        }
        space.open();
        self.logged = space.version().clone();
        self.space = space;
        (self.unacknowledged, self.checkpoint_wanted, self.writing) = (true, true, None);
        self.counts.snapshots += 1;
        self.probe.reachable("eventual.state_fetched");
        let group = self.spec.group;
        self.probe.event(&Event::StateFetched { group, from, bytes: fetch.bytes });
        Ok(())
    }
}
