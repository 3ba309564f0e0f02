//! One node's gossip: the detector, the spreading of rumours and the timing of digests behind one door.
//!
//! [`Gossip::step`] takes one input and appends what is to be done. The caller
//!
//! * sends what [`Output::Send`] says and hands in what comes, with the sender its connection proves;
//! * applies what [`Output::Deliver`] brings, after checking it;
//! * sends a digest of its store where [`Output::SendDigest`] says; what is in it, and what a difference leads
//!   to, is the caller's. What a repair brought it tells with [`Input::Repaired`];
//! * calls again with [`Input::Wake`] at [`Gossip::wake_at`], or sooner.
//!
//! A rumour is to be handed to [`Input::Broadcast`] once it is durable here: others may have it a moment later.

use crate::member::{Incarnation, Knowledge, Metadata, Status};
use crate::message::{Body, RumourId, Way, named, read};
use crate::overlay::Overlay;
use crate::rumours::Store;
use crate::settings::{RUMOUR_MAX, Settings, SettingsError, Spread};
use crate::step::Step;
use crate::swim::{Detector, DetectorCounts};
use crate::tree::{Here, Rumour, SpreadCounts, Tree};
use alloc::string::ToString;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Instant, Lane, NodeId, PeerFault, Purpose, RegionId, Seed};

const DIGEST: Purpose = Purpose::named("gossip.digest");
/// Digests are counted from below this.
const DIGESTS_FROM: usize = 4_096;

/// What happens to a node's gossip.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time named by [`Gossip::wake_at`] has come.
    Wake,
    /// A peer's message; `from` is whom its connection proves it to be.
    Message {
        /// The sender.
        from: NodeId,
        /// The bytes of an [`Output::Send`] of its.
        body: Bytes,
    },
    /// Asks these for the view, until each of them is known. Their addresses are the caller's.
    Join {
        /// Whom to ask.
        seeds: Vec<NodeId>,
    },
    /// Members known from elsewhere: the roster, or the last run of this node. Taken as facts, not passed on.
    Introduce {
        /// Who, at which incarnation, with what description.
        members: Vec<(NodeId, Incarnation, Metadata)>,
    },
    /// This node's own metadata has changed.
    Describe(Metadata),
    /// Consensus removed an identifier for good: it is forgotten and never believed again.
    Retire(NodeId),
    /// A connection says that a peer's process is gone: a reason to probe it now, never a proof.
    Unreachable(NodeId),
    /// A rumour of this node's own, durable here.
    Broadcast {
        /// Its name.
        id: RumourId,
        /// Its bytes, at most [`RUMOUR_MAX`].
        bytes: Bytes,
    },
    /// A site stream brought a rumour of another region: it spreads here as if that region's relay had pushed it.
    Carried {
        /// Whose stream.
        from: NodeId,
        /// The region it was made in.
        home: RegionId,
        /// Its name.
        id: RumourId,
        /// Its bytes, unchecked.
        bytes: Bytes,
    },
    /// A repair brought a rumour that may be missing around us too: it is announced.
    Repaired {
        /// Its name; the store now holds it.
        id: RumourId,
    },
    /// Leave: members are told, then [`Output::Gone`] comes.
    Leave,
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Send these bytes. They may be lost; nothing here depends on a single message.
    Send {
        /// To whom.
        to: NodeId,
        /// On which lane.
        lane: Lane,
        /// What.
        body: Bytes,
    },
    /// A rumour not seen before.
    Deliver {
        /// Its name.
        id: RumourId,
        /// Who sent it on; its origin is in its name.
        from: NodeId,
        /// Its bytes, unchecked.
        bytes: Bytes,
    },
    /// Compare stores with this peer now.
    SendDigest {
        /// With whom.
        to: NodeId,
    },
    /// A member's status or description has changed.
    Changed(Change),
    /// A peer's message was wrong; it changed nothing.
    Fault(PeerFault),
    /// A rumour of our own can't be pushed: too long or without a right name. Peers get it by repair.
    NotPushed {
        /// Which.
        id: RumourId,
    },
    /// This node has left: it may stop.
    Gone,
}

/// A change of one member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Who.
    pub member: NodeId,
    /// What it is now; [`Gossip::member`] has the rest.
    pub status: Status,
    /// What it was, if it was known.
    pub was: Option<Status>,
}

/// One node's gossip.
#[derive(Clone, Debug)]
pub struct Gossip {
    me: NodeId,
    settings: Settings,
    seed: Seed,
    steps: u64,
    detector: Detector,
    overlay: Overlay,
    tree: Tree,
    next_digest: Instant,
    /// Counted from a number of its own, so that not all members turn to the same relay.
    digests: u64,
    now: Instant,
}

impl Gossip {
    /// A node that knows itself only. `incarnation` should be above those of its last runs (boots × 2^20 will do);
    /// if it is not, it is raised when somebody remembers better.
    ///
    /// # Errors
    /// A setting that can't work, or an address over the bound.
    pub fn new(
        me: NodeId,
        incarnation: Incarnation,
        metadata: Metadata,
        settings: Settings,
        now: Instant,
        seed: Seed,
    ) -> Result<Self, SettingsError> {
        settings.check()?;
        if !metadata.is_right() {
            return Err(SettingsError { name: "address", why: "must be at most 64 bytes" });
        }
        let mut out = Vec::new();
        let mut step = Step::new(now, seed, 0, &mut out);
        let phase = step.below(settings.digest_every.as_nanos() as usize, DIGEST) as u64;
        let next_digest = now + dwcp_env::Duration::nanos(phase);
        let digests = step.below(DIGESTS_FROM, DIGEST) as u64;
        let detector = Detector::new(me, incarnation, metadata, settings.clone(), &mut step);
        Ok(Self {
            me,
            settings,
            seed,
            steps: 0,
            detector,
            overlay: Overlay::default(),
            tree: Tree::default(),
            next_digest,
            digests,
            now,
        })
    }

    /// Takes one input; appends what is to be done. `now` does not go back.
    pub fn step<S: Store + ?Sized>(&mut self, now: Instant, input: Input, store: &S, out: &mut Vec<Output>) {
        debug_assert!(now >= self.now, "time goes back from {} to {now}", self.now);
        let wished = self.wake_at();
        self.now = now;
        self.steps += 1;
        let mut step = Step::new(now, self.seed, self.steps, out);
        if now.since(wished) >= self.settings.late {
            self.detector.was_late(now, now.since(wished));
        }
        self.take(&mut step, input, store);
        self.relink();
        let (tree, here) = self.split();
        tree.wake(&mut step, &here);
        self.detector.wake(&mut step);
        self.digest(&mut step);
    }

    fn take<S: Store + ?Sized>(&mut self, step: &mut Step<'_>, input: Input, store: &S) {
        match input {
            Input::Wake => {}
            Input::Message { from, body } => self.message(step, from, &body, store),
            Input::Join { seeds } => self.detector.join(step.now, seeds),
            Input::Introduce { members } => self.detector.introduce(step, members),
            Input::Describe(metadata) => self.detector.describe(metadata),
            Input::Retire(id) => self.detector.retire(step, id),
            Input::Unreachable(id) => self.detector.probe_now(step, id),
            Input::Leave => self.detector.leave(step),
            Input::Broadcast { id, bytes } => {
                if bytes.len() > RUMOUR_MAX || !named(id) {
                    step.out.push(Output::NotPushed { id });
                    return;
                }
                self.relink();
                let (tree, here) = self.split();
                tree.broadcast(step, &here, id, bytes);
            }
            Input::Carried { from, home, id, bytes } => {
                self.relink();
                let (tree, here) = self.split();
                tree.payload(step, &here, store, from, Way::Direct, Rumour { id, home, hops: 0, bytes });
            }
            Input::Repaired { id } => {
                self.relink();
                let (tree, here) = self.split();
                tree.repaired(step, &here, id);
            }
        }
    }

    fn message<S: Store + ?Sized>(&mut self, step: &mut Step<'_>, from: NodeId, body: &[u8], store: &S) {
        let message = match read(from, body) {
            Ok(m) => m,
            Err(fault) => {
                step.out.push(Output::Fault(fault));
                return;
            }
        };
        if from == self.me || self.detector.table.is_retired(from) {
            let why = if from == self.me { "sent under our own name" } else { "its sender was retired" };
            step.out.push(Output::Fault(PeerFault::Body {
                from,
                what: "gossip message",
                why: why.to_string(),
            }));
            return;
        }
        self.relink();
        // Asked of the table only where it matters: most messages are about members.
        let near = matches!(message.body, Body::Have { .. } | Body::Want { .. })
            && self.detector.table.region(from) == Some(self.detector.metadata().region);
        let (tree, here) = self.split();
        match message.body {
            Body::Rumour { id, home, hops, way, bytes } => {
                tree.payload(step, &here, store, from, way, Rumour { id, home, hops, bytes });
            }
            Body::Have { ids } => tree.announced(step, &here, store, from, near, &ids),
            Body::Want { ids, eager } => tree.wanted(step, &here, store, from, near, (&ids, eager)),
            Body::Prune => tree.pruned(from),
            body => self.detector.message(step, from, &body, message.updates),
        }
        self.detector.heard(step, from, message.incarnation);
    }

    /// Reads the live view anew if it changed.
    fn relink(&mut self) {
        let region = self.detector.metadata().region;
        let (s, table) = (&self.settings, &self.detector.table);
        if self.overlay.refresh(table, self.me, region, s.rings, s.relays) {
            self.tree.relink(&self.overlay, table.live());
        }
    }

    fn split(&mut self) -> (&mut Tree, Here<'_>) {
        let here = Here {
            me: self.me,
            region: self.detector.metadata().region,
            incarnation: self.detector.incarnation(),
            settings: &self.settings,
            overlay: &self.overlay,
            live: self.detector.table.live(),
        };
        (&mut self.tree, here)
    }

    /// Names the peer of the next digest: mostly one of the own region, sometimes a relay of it or of another. Relays take turns, so
    /// that each hears each member of its region, and each region, in bounded time.
    fn digest(&mut self, step: &mut Step<'_>) {
        if step.now < self.next_digest || self.detector.is_leaving() {
            return;
        }
        self.next_digest = step.now + self.settings.digest_every;
        self.digests += 1;
        let (me, region) = (self.me, self.detector.metadata().region);
        let table = &self.detector.table;
        let mut to = None;
        if self.settings.spread == Spread::Tree {
            let relays = &self.overlay.relays;
            let (far, near) = (u64::from(self.settings.digest_far), u64::from(self.settings.digest_relay));
            // Half a round apart, so that they do not fall on the same beat.
            if far > 0 && self.digests.is_multiple_of(far) {
                let others = relays.iter().filter(|(r, _)| **r != region).flat_map(|(_, v)| v);
                to = in_turn(others, self.digests / far);
            } else if near > 0 && (self.digests + near / 2).is_multiple_of(near) {
                let own = self.overlay.of(region).iter().filter(|n| **n != me);
                to = in_turn(own, self.digests / near);
            }
            to = to.or_else(|| step.pick(table.in_region(region), DIGEST, |n| n != me));
        }
        let to = to.or_else(|| step.pick(table.live(), DIGEST, |n| n != me));
        step.out.extend(to.map(|to| Output::SendDigest { to }));
    }

    /// When to step again at the latest.
    #[must_use]
    pub fn wake_at(&self) -> Instant {
        let digest = if self.detector.is_leaving() { Instant::FAR } else { self.next_digest };
        self.detector.wake_at().min(self.tree.wake_at()).min(digest)
    }
    /// All members known: the living, the dead remembered, this node itself.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Knowledge)> {
        self.detector.table.iter()
    }
    /// What is known about a member.
    #[must_use]
    pub fn member(&self, id: NodeId) -> Option<&Knowledge> {
        self.detector.table.get(id)
    }
    /// Those there, this node included, sorted.
    #[must_use]
    pub fn live(&self) -> &[NodeId] {
        self.detector.table.live()
    }
    /// Those there of a region, sorted.
    #[must_use]
    pub fn live_in(&self, region: RegionId) -> &[NodeId] {
        self.detector.table.in_region(region)
    }
    /// The relays of a region, as of the last step.
    #[must_use]
    pub fn relays(&self, region: RegionId) -> &[NodeId] {
        self.overlay.of(region)
    }
    /// Whom this node is to stream its region's rumours to: nobody unless it is a relay.
    #[must_use]
    pub fn partners(&self) -> Vec<NodeId> {
        self.overlay.partners(self.me, self.detector.metadata().region)
    }
    /// The region of a member, if it is known.
    #[must_use]
    pub fn region(&self, id: NodeId) -> Option<RegionId> {
        self.detector.table.region(id)
    }
    /// The relays of all regions, as of the last step.
    pub fn all_relays(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.overlay.relays.values().flatten().copied()
    }
    /// This node's incarnation: to be kept, so that the next run can start above it.
    #[must_use]
    pub const fn incarnation(&self) -> Incarnation {
        self.detector.incarnation()
    }
    /// How badly this node hears: 0 is well.
    #[must_use]
    pub const fn health(&self) -> u32 {
        self.detector.health()
    }
    /// What the detector counted.
    #[must_use]
    pub const fn detector_counts(&self) -> DetectorCounts {
        self.detector.counts()
    }
    /// What the spreading counted.
    #[must_use]
    pub const fn spread_counts(&self) -> SpreadCounts {
        self.tree.counts()
    }
    /// Rumours remembered as seen, bytes of rumours kept, rumours missing.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        self.tree.sizes()
    }
    /// Eager links, and all links, of this node in its region.
    #[must_use]
    pub fn links(&self) -> (usize, usize) {
        self.tree.links()
    }
}

/// The one whose turn it is.
fn in_turn<'n>(those: impl Iterator<Item = &'n NodeId>, turn: u64) -> Option<NodeId> {
    let those: Vec<NodeId> = those.copied().collect();
    let at = turn.checked_rem(those.len() as u64)?;
    those.get(at as usize).copied()
}
