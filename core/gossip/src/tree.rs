//! How a rumour reaches all: relays between regions, a tree inside each (Plumtree, SRDS'07), repair by
//! announcements, and behind all of it the digest.
//!
//! ```text
//!   origin ──eager──▶ neighbours ──▶ …  its region
//!      └───direct──▶ relays ──direct──▶ the relays of every other region ──eager──▶ … those regions
//! ```
//!
//! * Links are those of the [`crate::overlay`]. An eager link carries payloads, a lazy one announcements
//!   (`Have`), gathered for 5 ms.
//! * A payload that comes twice along eager links: the second link becomes lazy on both sides (`Prune`).
//! * A rumour announced and not received in time is asked for (`Want`): that link becomes eager again. The first
//!   node of a branch that was cut is nearest to the relay and so asks first; those behind it get the rumour from
//!   it before their own time is up ([`Settings::graft_hop`]). Without the stagger the whole branch asks at once.
//! * Only relays of the rumour's home region push it over a WAN, to all relays of all other regions: with 2 relays
//!   and 5 regions 16 copies, of which a region needs one. With [`Settings::streams`] they push nothing there: the caller ships
//!   what its log holds ([`crate::site`]), to half as many.
//! * Relays push to each other *directly*: such copies never prune a link, else two waves that meet in a region
//!   would cut its tree in two.
//!
//! **Bounds.** Rumours seen, bytes kept, rumours missing, sources each, announcements, links: in
//! [`crate::settings`]. A peer above its byte budget is announced to, not pushed to.
//!
//! **Invariants.** (1) A rumour is delivered at most once while it is remembered as seen or the store holds
//! it. (2) What is missing has a deadline in `due`, and only that. (3) A message of this layer never says
//! anything about members.

mod push;
mod repair;

use crate::budget::Budget;
use crate::gossip::Output;
use crate::member::Incarnation;
use crate::message::{Body, RumourId, Way, write};
use crate::overlay::Overlay;
use crate::rumours::{Rumours, Store};
use crate::settings::{IDS_MAX, Settings, Spread};
use crate::step::Step;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Instant, Lane, NodeId, RegionId};

/// Links beyond those of the overlay: peers whose view differs from ours.
const GUESTS_MAX: usize = 16;
/// Peers with a budget of their own.
const BUDGETS_MAX: usize = 1_024;
/// Bytes of a rumour's envelope, for the budget.
const ENVELOPE: u64 = 32;

/// Counts of what the layer did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SpreadCounts {
    /// Rumours that came for the first time.
    pub delivered: u64,
    /// Payloads that came again.
    pub duplicates: u64,
    /// Payloads sent.
    pub payloads: u64,
    /// Announcements sent, in messages.
    pub announcements: u64,
    /// Rumours asked for because nobody pushed them in time.
    pub grafts: u64,
    /// Links made lazy because they carried a payload twice.
    pub prunes: u64,
    /// Payloads not sent because the peer's budget was used up.
    pub held_back: u64,
    /// Missing rumours given up; the digest has to find them.
    pub given_up: u64,
}

/// A rumour on its way.
#[derive(Clone, Debug)]
pub(crate) struct Rumour {
    pub(crate) id: RumourId,
    pub(crate) home: RegionId,
    pub(crate) hops: u8,
    pub(crate) bytes: Bytes,
}

/// What the tree is told about the node at each step.
pub(crate) struct Here<'a> {
    pub(crate) me: NodeId,
    pub(crate) region: RegionId,
    pub(crate) incarnation: Incarnation,
    pub(crate) settings: &'a Settings,
    pub(crate) overlay: &'a Overlay,
    pub(crate) live: &'a [NodeId],
}

impl Here<'_> {
    fn is_relay(&self) -> bool {
        self.overlay.of(self.region).contains(&self.me)
    }
}

/// The layer's state.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    links: BTreeMap<NodeId, bool>,
    rumours: Rumours,
    missing: BTreeMap<RumourId, repair::Missing>,
    due: BTreeSet<(Instant, RumourId)>,
    announce: BTreeMap<NodeId, Vec<RumourId>>,
    announce_at: Option<Instant>,
    budgets: BTreeMap<NodeId, Budget>,
    hot: Vec<push::Hot>,
    next_push: Option<Instant>,
    /// Hops from the relay, as the latest payloads came, in 1/8.
    depth: u64,
    counts: SpreadCounts,
}

impl Tree {
    /// Takes over a changed view: new neighbours are eager, those gone are dropped.
    pub(crate) fn relink(&mut self, overlay: &Overlay, live: &[NodeId]) {
        let guests = self.links.len().saturating_sub(overlay.neighbours.len());
        self.links.retain(|n, _| {
            let neighbour = overlay.neighbours.binary_search(n).is_ok();
            neighbour || (guests <= GUESTS_MAX && live.binary_search(n).is_ok())
        });
        for n in &overlay.neighbours {
            self.links.entry(*n).or_insert(true);
        }
        self.announce.retain(|n, _| live.binary_search(n).is_ok());
        if self.budgets.len() > BUDGETS_MAX {
            self.budgets.retain(|n, _| live.binary_search(n).is_ok());
        }
    }

    /// A rumour of this node's own.
    pub(crate) fn broadcast(&mut self, step: &mut Step<'_>, here: &Here<'_>, id: RumourId, bytes: Bytes) {
        if self.rumours.see(id) {
            self.forget_missing(id);
            let rumour = Rumour { id, home: here.region, hops: 0, bytes };
            self.spread(step, here, &rumour, None);
        }
    }

    /// A rumour that a repair brought: its region may lack it too, so it is announced.
    pub(crate) fn repaired(&mut self, step: &mut Step<'_>, here: &Here<'_>, id: RumourId) {
        if here.settings.spread == Spread::Tree && self.rumours.see(id) {
            self.forget_missing(id);
            let links: Vec<NodeId> = self.links.keys().copied().collect();
            for to in links {
                self.announce(step, here, to, id);
            }
        }
    }

    /// A payload came.
    pub(crate) fn payload<S: Store + ?Sized>(
        &mut self,
        step: &mut Step<'_>,
        here: &Here<'_>,
        store: &S,
        from: NodeId,
        way: Way,
        rumour: Rumour,
    ) {
        if self.rumours.knows(rumour.id, store) {
            self.counts.duplicates += 1;
            self.rumours.see(rumour.id);
            self.forget_missing(rumour.id);
            if way == Way::Tree {
                self.prune(step, here, from);
            }
            return;
        }
        self.rumours.see(rumour.id);
        self.counts.delivered += 1;
        self.forget_missing(rumour.id);
        if way == Way::Tree
            && let Some(eager) = self.links.get_mut(&from)
        {
            *eager = true;
        }
        // An average of eight, kept in eighths: depth + (8 * hops - depth) / 8.
        self.depth = self.depth - self.depth / 8 + u64::from(rumour.hops);
        step.out.push(Output::Deliver { id: rumour.id, from, bytes: rumour.bytes.clone() });
        self.spread(step, here, &rumour, Some(from));
    }

    /// Passes a rumour on, as a new one.
    fn spread(&mut self, step: &mut Step<'_>, here: &Here<'_>, rumour: &Rumour, from: Option<NodeId>) {
        self.rumours.keep(rumour.id, rumour.home, rumour.bytes.clone());
        if let Spread::Push { every, rounds, .. } = here.settings.spread {
            self.heat(step, here, rumour.clone(), every, rounds);
            return;
        }
        let links: Vec<(NodeId, bool)> =
            self.links.iter().filter(|(n, _)| Some(**n) != from).map(|(n, e)| (*n, *e)).collect();
        let relay = here.is_relay();
        for (to, eager) in &links {
            if *eager {
                self.push(step, here, *to, rumour, Way::Tree);
            } else {
                self.announce(step, here, *to, rumour.id);
            }
        }
        // Relays hear of it at once: from the origin, and from each other.
        if from.is_none() || relay {
            for to in here.overlay.of(here.region) {
                let served = Some(*to) == from || links.contains(&(*to, true));
                if *to != here.me && !served {
                    self.push(step, here, *to, rumour, Way::Direct);
                }
            }
        }
        if relay && rumour.home == here.region && !here.settings.streams {
            for (region, relays) in &here.overlay.relays {
                if *region != here.region {
                    for to in relays {
                        self.push(step, here, *to, rumour, Way::Direct);
                    }
                }
            }
        }
    }

    /// Sends a payload, or announces it when the peer's budget or its length says so.
    fn push(&mut self, step: &mut Step<'_>, here: &Here<'_>, to: NodeId, rumour: &Rumour, way: Way) {
        if rumour.bytes.len() > here.settings.eager_max || !self.afford(step.now, here, to, rumour) {
            self.announce(step, here, to, rumour.id);
            return;
        }
        self.send(step, here, to, rumour, way);
    }

    fn afford(&mut self, now: Instant, here: &Here<'_>, to: NodeId, rumour: &Rumour) -> bool {
        let s = here.settings;
        let budget = self.budgets.entry(to).or_insert_with(|| Budget::new(now, s.peer_rate, s.peer_burst));
        let fits = budget.take(now, rumour.bytes.len() as u64 + ENVELOPE);
        self.counts.held_back += u64::from(!fits);
        fits
    }

    fn send(&mut self, step: &mut Step<'_>, here: &Here<'_>, to: NodeId, rumour: &Rumour, way: Way) {
        self.counts.payloads += 1;
        let hops = rumour.hops.saturating_add(1);
        let Rumour { id, home, ref bytes, .. } = *rumour;
        let body = Body::Rumour { id, home, hops, way, bytes: bytes.clone() };
        step.send(to, Lane::Data, write(here.incarnation, &body, &[]));
    }

    fn announce(&mut self, step: &mut Step<'_>, here: &Here<'_>, to: NodeId, id: RumourId) {
        let waiting = self.announce.entry(to).or_default();
        waiting.push(id);
        if waiting.len() >= IDS_MAX {
            let ids = core::mem::take(waiting);
            self.announce.remove(&to);
            self.have(step, here, to, ids);
        } else if self.announce_at.is_none() {
            self.announce_at = Some(step.now + here.settings.announce_every);
        }
    }

    fn have(&mut self, step: &mut Step<'_>, here: &Here<'_>, to: NodeId, ids: Vec<RumourId>) {
        self.counts.announcements += 1;
        step.send(to, Lane::Data, write(here.incarnation, &Body::Have { ids }, &[]));
    }

    fn prune(&mut self, step: &mut Step<'_>, here: &Here<'_>, from: NodeId) {
        if let Some(eager) = self.links.get_mut(&from) {
            *eager = false;
        }
        self.counts.prunes += 1;
        step.send(from, Lane::Data, write(here.incarnation, &Body::Prune, &[]));
    }

    /// A peer wants no payloads of ours any more.
    pub(crate) fn pruned(&mut self, from: NodeId) {
        if let Some(eager) = self.links.get_mut(&from) {
            *eager = false;
        }
    }

    /// Does what is due.
    pub(crate) fn wake(&mut self, step: &mut Step<'_>, here: &Here<'_>) {
        if self.announce_at.is_some_and(|at| at <= step.now) {
            self.announce_at = None;
            for (to, ids) in core::mem::take(&mut self.announce) {
                self.have(step, here, to, ids);
            }
        }
        self.graft(step, here);
        self.push_round(step, here);
    }

    /// When something is due next.
    pub(crate) fn wake_at(&self) -> Instant {
        let due = self.due.first().map(|d| d.0);
        let push = self.next_push.filter(|_| !self.hot.is_empty());
        [due, push, self.announce_at].into_iter().flatten().min().unwrap_or(Instant::FAR)
    }

    pub(crate) const fn counts(&self) -> SpreadCounts {
        self.counts
    }
    /// Rumours remembered, bytes kept, rumours missing.
    pub(crate) fn sizes(&self) -> (usize, usize, usize) {
        let (seen, bytes) = self.rumours.sizes();
        (seen, bytes, self.missing.len())
    }
    /// Eager and all links.
    pub(crate) fn links(&self) -> (usize, usize) {
        (self.links.values().filter(|e| **e).count(), self.links.len())
    }
}
