//! Site streams: what this region wrote, shipped to the other regions over links that carry datagrams.
//!
//! **Promise.** With `gossip.streams`, relays push nothing over a WAN: each ships what its log holds of its region's replicas
//! to the relays of its own rank in the other regions ([`Gossip::partners`](dwcp_gossip::Gossip::partners)), over a stream that loses
//! nothing to the loss of packets but bytes ([`dwcp_gossip::site`]). What comes spreads in the region as if it had been
//! pushed. With two relays a region there are two streams a pair of regions, and any one node of the four may fail.
//!
//! ```text
//!  region A                                          region B
//!  writer ──tree──▶ relay 1 ═══ batches, parity ═══▶ relay 1 ──tree──▶ …
//!            └────▶ relay 2 ═══════════════════════▶ relay 2 ──tree──▶ …
//! ```
//!
//! **What is shipped** is read from the log: of this node's own place what is durable, of other nodes of the region all there is
//! (it left its maker, so it is durable there). What a turn takes in is offered at once; what a stream can't take then (it has
//! no room, it just begins, something came by repair) it takes later, from the log, and from where it stands. Operations that
//! the log no longer holds, and those over 256 KiB at once, are passed over: the ladder brings them. Places take turns of
//! 64 KiB, so that the backlog of one does not hold up the others.
//!
//! **What waits for the disk.** Own operations, as for every copy of them; at the receiver the acknowledgement of a batch, which
//! says when what could be taken of it is on disk. It counts for the stream and its lag alone: what peers have
//! acknowledged, and the log is kept for, only versions and digests say.
//!
//! **What is not taken in** at the receiver (its roster is older than the maker's place; something before it was passed over) is
//! asked for by the ladder, as with a push.
//!
//! **Who streams to whom changes** with the view: a new partner is begun with, one that is none any more goes on for
//! [`LINGER`], so that a doubt about a relay that is soon refuted costs nothing.

use crate::api::StreamStatus;
use crate::look::Rung;
use crate::message::{self, Message};
use crate::replica::{Eventual, Held, Outbox};
use bytes::Bytes;
use dwcp_crdt::{Batch, ReplicaIndex, VersionVector};
use dwcp_env::{Duration, Instant, Lane, NodeId, Now, PeerFault};
use dwcp_gossip::RumourId;
use dwcp_gossip::site::{
    ITEM_MAX, Inbound, Item, Letter, Offer, Outbound, Received, Sent, SiteSettings, Vector,
};
use std::collections::{BTreeMap, VecDeque};

/// A stream to one that is no partner any more goes on for so long.
pub(crate) const LINGER: Duration = Duration::secs(10);
/// A sender that is silent for so long is forgotten; one that is there asks three times as often.
const FORGET: Duration = Duration::secs(60);
/// Senders listened to at once; beyond, the one heard longest ago is forgotten.
const SENDERS_MAX: usize = 64;
/// Bytes read from the log at once, of one place for one stream.
const READ_BYTES: usize = 64 * 1024;

/// A stream to a relay of another region.
#[derive(Debug)]
struct Shipping {
    to: Outbound,
    /// It has to read from the log,
    behind: bool,
    /// from this place on; the others are after it.
    turn: ReplicaIndex,
    /// When its receiver was a partner last.
    partner_at: Instant,
    lag: Lagged,
}

/// What came of reading on at one place.
enum Read {
    /// It is through.
    All,
    /// Some was taken, and there may be more.
    More,
    /// The next was not taken.
    Later,
}

/// How far one receiver was behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Lagged {
    latest: Duration,
    worst: Duration,
    batches: u64,
}

/// All streams of a replica.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    shipping: BTreeMap<NodeId, Shipping>,
    senders: BTreeMap<NodeId, Inbound>,
    /// Of our own place: what is durable, and may be shipped.
    own: Option<(ReplicaIndex, u64)>,
    sends: Vec<(NodeId, Lane, Bytes)>,
    sent: Vec<Sent>,
    received: Vec<Received>,
}

impl Streams {
    /// None yet. All of a state that was read back from the disk is durable.
    pub(crate) fn new(place: Option<ReplicaIndex>, version: &VersionVector) -> Self {
        Self { own: place.map(|p| (p, version.get(p))), ..Self::default() }
    }

    /// Something came to the log that was not offered: all read on from it.
    pub(crate) fn fall_behind(&mut self) {
        self.shipping.values_mut().for_each(|s| s.behind = true);
    }
}

impl Eventual {
    /// How the stream to a node is, if there is one.
    pub(crate) fn stream(&self, to: NodeId, now: Now) -> Option<StreamStatus> {
        let s = self.streams.shipping.get(&to)?;
        Some(StreamStatus {
            connected: s.to.is_connected(),
            exposure_us: s.to.exposure(now.mono).as_micros(),
            lag_us: s.lag.latest.as_micros(),
            worst_lag_us: s.lag.worst.as_micros(),
            batches: s.lag.batches,
            again: s.to.again(),
            flying: s.to.bytes().1 as u64,
        })
    }

    // --- what leaves -----------------------------------------------------------------------

    /// A batch of our own is durable.
    pub(crate) fn ship_own(&mut self, now: Now, first: u64, id: RumourId, bytes: &Bytes) {
        let place = ReplicaIndex(id.origin);
        if self.spec.gossip.streams && self.place() == Some(place) {
            self.streams.own = Some((place, id.sequence));
            self.ship(now, first, id, bytes);
        }
    }

    /// A batch was taken in; it is shipped on if it is of another node of this region.
    pub(crate) fn ship_received(&mut self, now: Now, batch: &Batch) {
        if self.streams.shipping.is_empty() || self.shippable(batch.replica()) == 0 {
            return;
        }
        let id = RumourId::from_dot(batch.last().bits());
        self.ship(now, batch.first().sequence(), id, &batch.to_bytes().into());
        if self.space.version().get(batch.replica()) > id.sequence {
            // It let in what had waited for it.
            self.streams.fall_behind();
        }
    }

    fn ship(&mut self, now: Now, first: u64, id: RumourId, bytes: &Bytes) {
        let streams = &mut self.streams;
        for (to, s) in &mut streams.shipping {
            let fits = bytes.len() <= ITEM_MAX;
            let item = Item { id, bytes: bytes.clone() };
            if !fits || s.to.offer(now.mono, first, item, now.mono, &mut streams.sent) == Offer::Later {
                s.behind = true;
            }
            post(*to, s, &mut streams.sent, &mut streams.sends);
        }
    }

    /// Up to where a replica's operations may be shipped: 0 if they are not ours to ship.
    fn shippable(&self, replica: ReplicaIndex) -> u64 {
        let Some(member) = self.space.roster().get(replica) else { return 0 };
        if member.node == self.node {
            return self.streams.own.filter(|own| own.0 == replica).map_or(0, |own| own.1);
        }
        let near = self.gossip.region(member.node) == Some(self.spec.region);
        if near { self.space.version().get(replica) } else { 0 }
    }

    /// Begins streams and ends them, as the view asks for, and lets those read on that are behind.
    pub(crate) fn run_streams(&mut self, now: Now, out: &mut Outbox) {
        if !self.spec.gossip.streams {
            return;
        }
        self.pair_up(now);
        let peers: Vec<NodeId> = self.streams.shipping.keys().copied().collect();
        for peer in peers {
            self.read_on(now, peer);
            let streams = &mut self.streams;
            let Some(s) = streams.shipping.get_mut(&peer) else { continue };
            if s.to.wake_at() <= now.mono {
                s.to.wake(now.mono, &mut streams.sent);
                post(peer, s, &mut streams.sent, &mut streams.sends);
            }
            out.wake_by(s.to.wake_at().max(now.mono));
        }
        for (to, lane, letter) in self.streams.sends.drain(..) {
            let body = Message::Site(letter).encode(&self.envelope);
            self.rungs.sent(Rung::Stream, body.len());
            out.sends.push((to, lane, body));
        }
    }

    fn pair_up(&mut self, now: Now) {
        for partner in self.gossip.partners() {
            if let Some(s) = self.streams.shipping.get_mut(&partner) {
                s.partner_at = now.mono;
                continue;
            }
            // Of all sessions there ever were: 48 bits drawn.
            let session = self.draw(now) >> 16;
            let to = Outbound::new(SiteSettings::default(), session, now.mono);
            let new = Shipping {
                to,
                behind: true,
                turn: ReplicaIndex(0),
                partner_at: now.mono,
                lag: Lagged::default(),
            };
            self.streams.shipping.insert(partner, new);
        }
        self.streams.shipping.retain(|_, s| now.mono.since(s.partner_at) < LINGER);
        self.streams.senders.retain(|_, s| now.mono.since(s.heard_at()) < FORGET);
    }

    /// Offers a stream that is behind what the log holds beyond it.
    fn read_on(&mut self, now: Now, peer: NodeId) {
        let ready = |s: &&Shipping| s.behind && s.to.has_room();
        if self.streams.shipping.get(&peer).filter(ready).is_none() {
            return;
        }
        let places = self.space.roster().iter().map(|(r, _)| (r, self.shippable(r)));
        let mut waiting: VecDeque<_> = places.filter(|(_, upto)| *upto > 0).collect();
        let Some(s) = self.streams.shipping.get_mut(&peer) else { return };
        let turn = waiting.partition_point(|(r, _)| *r < s.turn);
        waiting.rotate_left(turn % waiting.len().max(1));
        s.behind = false;
        while let Some((replica, upto)) = waiting.pop_front() {
            let read = self.read_place(now, peer, replica, upto);
            let Some(s) = self.streams.shipping.get_mut(&peer) else { return };
            match read {
                Read::All => {}
                Read::More => waiting.push_back((replica, upto)),
                Read::Later => s.behind = true,
            }
            if let Some((next, _)) = waiting.front().filter(|_| !s.to.has_room()) {
                (s.behind, s.turn) = (true, *next);
                break;
            }
        }
        let streams = &mut self.streams;
        if let Some(s) = streams.shipping.get_mut(&peer) {
            post(peer, s, &mut streams.sent, &mut streams.sends);
        }
    }

    /// Offers the next of what one place made, up to here.
    fn read_place(&mut self, now: Now, peer: NodeId, replica: ReplicaIndex, upto: u64) -> Read {
        let streams = &mut self.streams;
        let Some(s) = streams.shipping.get_mut(&peer) else { return Read::All };
        let offered = s.to.offered(replica.0);
        if offered >= upto {
            return Read::All;
        }
        let Some(batches) = self.space.made(replica, offered, upto, READ_BYTES) else {
            self.probe.reachable("eventual.stream_below_log");
            s.to.pass_over(replica.0, upto);
            return Read::All;
        };
        if batches.is_empty() {
            return Read::All;
        }
        for batch in batches {
            let id = RumourId::from_dot(batch.last().bits());
            let bytes: Bytes = batch.to_bytes().into();
            if bytes.len() > ITEM_MAX {
                s.to.pass_over(id.origin, id.sequence);
                continue;
            }
            self.probe.reachable("eventual.stream_read_on");
            let (first, item) = (batch.first().sequence(), Item { id, bytes });
            if s.to.offer(now.mono, first, item, now.mono, &mut streams.sent) == Offer::Later {
                return Read::Later;
            }
        }
        Read::More
    }

    // --- what comes ------------------------------------------------------------------------

    /// A letter of a stream, of either end.
    ///
    /// # Errors
    /// The sender's fault.
    pub(crate) fn on_letter(&mut self, now: Now, from: NodeId, body: &[u8]) -> Result<(), PeerFault> {
        let letter = Letter::read(from, body)?;
        if matches!(letter, Letter::Hello { .. } | Letter::Ack { .. } | Letter::Unknown { .. }) {
            let streams = &mut self.streams;
            if let Some(s) = streams.shipping.get_mut(&from) {
                s.to.receive(now.mono, &letter, &mut streams.sent);
                post(from, s, &mut streams.sent, &mut streams.sends);
            }
            return Ok(());
        }
        let senders = &mut self.streams.senders;
        if senders.len() >= SENDERS_MAX && !senders.contains_key(&from) {
            let idlest = senders.iter().min_by_key(|(_, s)| s.heard_at()).map(|(n, _)| *n);
            idlest.and_then(|n| senders.remove(&n));
        }
        let mut sender = senders.remove(&from).unwrap_or_else(|| Inbound::new(now.mono));
        let mut received = std::mem::take(&mut self.streams.received);
        sender.receive(now.mono, letter, || self.held_of(from), &mut received);
        let session = sender.session().unwrap_or(0);
        self.streams.senders.insert(from, sender);
        let mut fault = Ok(());
        for r in received.drain(..) {
            match r {
                Received::Letter(letter) => self.streams.sends.push(addressed(from, &letter)),
                Received::Malformed { why } => fault = Err(message::fault(from, &why)),
                Received::Apply { number, items } => self.on_items(now, from, session, number, items),
            }
        }
        self.streams.received = received;
        fault
    }

    /// What we hold of the replicas of a sender's region. It is no acknowledgement, and so need not be durable; of our own
    /// it says nothing.
    fn held_of(&self, sender: NodeId) -> Vector {
        let region = self.gossip.region(sender);
        let version = self.space.version();
        let theirs = self.space.roster().iter().filter(|(_, m)| m.node != self.node);
        theirs
            .filter(|(_, m)| m.node == sender || (region.is_some() && self.gossip.region(m.node) == region))
            .map(|(r, _)| (r.0, version.get(r)))
            .filter(|(_, sequence)| *sequence > 0)
            .collect()
    }

    /// A batch whose turn it is: it spreads here as if it had been pushed, and is acknowledged once it is on disk.
    fn on_items(&mut self, now: Now, from: NodeId, session: u64, number: u64, items: Vec<Item>) {
        self.probe.reachable("eventual.streamed");
        let home = self.gossip.region(from);
        for Item { id, bytes } in items {
            match home {
                Some(home) => self.gossip(now, dwcp_gossip::Input::Carried { from, home, id, bytes }),
                None => self.on_pushed(now, id, from, &bytes),
            }
        }
        self.fresh.push(Held::Landed { from, session, number });
    }

    /// What could be taken of a batch is on disk.
    pub(crate) fn on_landed(&mut self, now: Now, from: NodeId, session: u64, number: u64) {
        let streams = &mut self.streams;
        let Some(sender) = streams.senders.get_mut(&from) else { return };
        sender.durable(now.mono, session, number, &mut streams.received);
        for r in streams.received.drain(..) {
            if let Received::Letter(letter) = r {
                streams.sends.push(addressed(from, &letter));
            }
        }
    }
}

/// Sends what a stream says, and notes how far its receiver was behind.
fn post(to: NodeId, s: &mut Shipping, sent: &mut Vec<Sent>, sends: &mut Vec<(NodeId, Lane, Bytes)>) {
    for said in sent.drain(..) {
        match said {
            Sent::Letter(letter) => sends.push(addressed(to, &letter)),
            Sent::Stands => s.behind = true,
            Sent::Durable { lag, .. } => {
                s.lag.latest = lag.estimate;
                s.lag.worst = s.lag.worst.max(lag.estimate);
                s.lag.batches += 1;
            }
        }
    }
}

/// A letter, still without what messages of the keyspace begin with.
fn addressed(to: NodeId, letter: &Letter) -> (NodeId, Lane, Bytes) {
    let lane = if letter.is_datagram() { Lane::Datagram } else { Lane::Data };
    (to, lane, letter.write())
}
