//! Hybrid keyspaces on this node: the home's chain or a copy of it, and the way from one to the other.
//!
//! **Promise.** As `dwcp_consensus::hybrid` says: one region answers at a time; what another lacks when it takes over is
//! within the bound, and told; a state that took another way is kept aside and never merged.
//!
//! **Model.** A hybrid group of a node has one [`Part`]. At *home* the group's chain runs here as any group's does. A *copy* has
//! no chain: it pulls what the home has applied from the home's tape (`dwcp_store::Tape`), writes it to a log of its own, and
//! plays it. *Leaving* is a home that was deposed while it was away: it lets its chain settle, writes what nobody took over
//! into a file, and becomes a copy with nothing.
//!
//! ```text
//!              the deed names my region, my state ends at the cut (or at a seal that makes me a voter)
//!   copy ──────────────────────────────────────────────────────────────────────▶ home
//!    ▲                                                                             │ the deed is of a later era
//!    └───────── state forgotten, fetched anew ◀──────── leaving ◀──────────────────┘
//! ```
//!
//! | message | says | answered by |
//! |---|---|---|
//! | `Where` | what I have, on disk; whether I lead, have stopped taking entries, have handed over | – |
//! | `Pull` | what comes behind this entry? | `Haul`, when there is something; `Gone` if it is not on the tape |
//!
//! A copy's log lies in a slot of its own (the group's number with bit 29). Its *standing*, a vote record, says which part
//! this node had last and whether its state is one to go on from.
//!
//! **Durable before what.** An entry before it is reported in `Where`; the standing of a copy without a state before that state is
//! thrown away; the file of what is kept aside before the chain that decided it ends; the seal that begins an era, in the
//! copy's log, before the first record of its epoch (one log, in order).
//!
//! **Invariants.**
//! 1. An answer to a client that is not stale by request leaves a home node only while its [`Fence`] holds, and a write's only
//!    while enough regions are within the bound.
//! 2. A copy takes an entry only behind the very entry it has (position compared by its source), from a source of its era or a
//!    later one, and none once it is frozen for a move.
//! 3. A node becomes home with a state that ends at a seal, or with a checkpoint as it came: a protocol's mark of what is applied is
//!    in neither or exact.
//!
//! **Limits.** One pull under way a copy, 2 MiB each: 2 MiB a round trip. A tape of [`TAPE`]; who is further behind gets a checkpoint. A
//! state is forgotten whole when its node was home before: also after a planned move. Of what is kept aside, so many
//! changes of keys as fit [`ASIDE_MAX`]; sessions and leases without keys are not shown.
//!
//! **Files**: `message`, `ship` (copies), `home` (fence, bound), `reign` (the deed, changes of parts), `aside`, `status`.

mod aside;
mod home;
mod message;
mod reign;
mod ship;
mod status;

pub use aside::Aside;
pub(crate) use home::Way;
pub(crate) use message::HybridMessage;
pub use message::Part;
pub use status::{AsideBrief, HybridAsk, HybridStatus, RegionLag};

use crate::Node;
use crate::config::GroupSpec;
use bytes::Bytes;
use dwcp_chain::{ChainRecord, Found};
use dwcp_consensus::hybrid::{Bound, Deed, Fence, Ledger, era_of};
use dwcp_consensus::{Member, Position, StateMachine as _, Token};
use dwcp_env::{ByteCount, Duration, GroupId, Instant, NodeId, RegionId, Storage, World, wire};
use dwcp_store::api::Revision;
use dwcp_store::{Store, StoreOptions, Taped};
use dwcp_wal::{GroupLog, Lsn, Recovered};
use message::Heard;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A copy's log is this far from its group.
const SLOTS: u32 = 1 << 29;
/// Bits of a term that count within an epoch (`dwcp_chain`).
const TERM_BITS: u32 = 40;
/// Memory for the last entries, at home and in copies.
pub(crate) const TAPE: ByteCount = ByteCount::mib(64);
/// Bytes of what is kept aside.
pub(crate) const ASIDE_MAX: ByteCount = ByteCount::mib(32);

/// What is the same on all nodes of a hybrid keyspace, and where this one stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HybridSpec {
    /// The group, one of `NodeConfig::groups`; formed by the nodes of the home.
    pub group: GroupId,
    /// The strong keyspace of all regions that holds the deed.
    pub strong: String,
    /// Who owns it first.
    pub home: RegionId,
    /// Where this node stands.
    pub region: RegionId,
    /// The regions' names, by number.
    pub names: Vec<String>,
    /// How far regions may be behind.
    pub bound: Bound,
    /// For how long a home answers after it has asked whether it still is.
    pub fence: Duration,
}

/// What a copy has, and where it gets more.
#[derive(Debug)]
pub(crate) struct CopyState {
    /// The era of its state.
    era: u32,
    /// Whether the state is one to go on from.
    whole: bool,
    /// The state is a checkpoint as it came, or ends at a seal: an engine may begin with it.
    exact: bool,
    /// Written and not yet on disk.
    pending: VecDeque<(Lsn, u64)>,
    durable: u64,
    source: Option<NodeId>,
    again_at: Instant,
    turn: usize,
    /// Who does not have what comes next.
    gone: BTreeSet<NodeId>,
    /// It takes no entries any more: for the move that the deed has told of since this revision.
    frozen: Option<Revision>,
    checkpointing: bool,
    entries_since: u64,
    /// The state is to be thrown away when this is on disk; `None` in it: it is being thrown away.
    forgetting: Option<Option<Lsn>>,
}

/// A deposed home that has not become a copy yet.
#[derive(Debug)]
pub(crate) struct Leaving {
    since: Instant,
    asked: Option<Token>,
    settled: bool,
    writing: bool,
}

/// What became of a planned move at home.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    asked: Option<Token>,
    again_at: Instant,
    /// For the move told of since that revision, all that was ever decided here lies up to this index.
    done: Option<(Revision, u64)>,
}

/// One hybrid group of a node.
#[derive(Debug)]
pub(crate) struct HybridGroup {
    pub(crate) spec: HybridSpec,
    pub(crate) keyspace: String,
    strong: GroupId,
    slot: GroupId,
    pub(crate) part: Part,
    /// The deed, and the revision that wrote it.
    pub(crate) deed: Option<(Deed, Revision)>,
    seen_revision: Option<Revision>,
    members_at: Option<u64>,
    places: BTreeMap<NodeId, Member>,
    pub(crate) fence: Fence,
    /// Reads of the deed under way, and when each began.
    reading: BTreeMap<Token, Instant>,
    pub(crate) ledger: Ledger,
    heard: BTreeMap<NodeId, Heard>,
    beat_at: Instant,
    wish_at: Instant,
    /// Since when a move is known, by the revision of the deed that told of it.
    wanted: Option<(Revision, Instant)>,
    pub(crate) copy: CopyState,
    pulls: BTreeMap<NodeId, (Option<Position>, Instant)>,
    /// Answers that wait for regions to come within the bound.
    held: VecDeque<(Token, crate::Response)>,
    drain: Drain,
    leaving: Option<Leaving>,
    aside: Vec<AsideBrief>,
    /// What its chain left.
    found: Option<Found>,
    storage: Arc<dyn Storage>,
    options: StoreOptions,
    /// Whether too few regions were within the bound when it was looked last.
    lagging: bool,
    /// Answers given as home in this life, and writes among them, and the index that the state was at with the last of these.
    pub(crate) answers: (u64, u64, u64),
}

/// Which part a node had, and whether its state is one to go on from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Standing {
    home: bool,
    whole: bool,
}

impl Standing {
    fn record(self) -> dwcp_wal::Record {
        dwcp_wal::Record::Vote(wire::encode(&self).into())
    }
}

/// The key of a keyspace's deed.
fn deed_key(keyspace: &str) -> Bytes {
    format!("\0dwcp/hybrid/{keyspace}").into()
}

/// The era of a state, by the record of the chain that it carries.
fn era_of_state(store: &Store) -> u32 {
    let record = ChainRecord::decode(&store.applied().1).ok().flatten();
    record.map_or(0, |r| era_of(r.spec.epoch))
}

/// What the log and the store give back of a hybrid group, before any chain is started.
pub(crate) struct Boot {
    pub(crate) group: HybridGroup,
    /// Whether the state holds what this node left.
    pub(crate) whole: bool,
}

impl HybridGroup {
    /// Recovers: plays the copy's log to the store, and finds which part this node had.
    pub(crate) fn boot(
        node: &Node,
        spec: HybridSpec,
        group: &GroupSpec,
        (store, options): (&mut Store, StoreOptions),
        recovered: &mut Recovered,
        world: &World,
    ) -> Result<Boot, String> {
        let keyspace = group.keyspace.clone();
        let strong = node.config.groups.iter().find(|g| g.keyspace == spec.strong && g.id != spec.group);
        let strong = strong.map(|g| g.id).ok_or_else(|| {
            format!("the hybrid keyspace '{keyspace}' names '{}' for its deed, and there is no such strong keyspace", spec.strong)
        })?;
        let slot = GroupId(spec.group.0 | SLOTS);
        let damaged = recovered.suspect(slot) || recovered.damage.iter().any(|d| d.group == Some(slot));
        let log = recovered.groups.remove(&slot).unwrap_or_default();
        let standing = log.vote.as_deref().and_then(|v| wire::decode::<Standing>(v).ok());
        let first = Standing { home: group.initial.is_some(), whole: true };
        let standing = standing.unwrap_or(first);
        store.keep_tape(TAPE);
        let whole = standing.whole && !log.vote_lost && replay(store, &log) && !damaged;
        let durable = store.position().map_or(0, |p| p.index);
        let copy = CopyState {
            era: era_of_state(store),
            whole,
            exact: false,
            pending: VecDeque::new(),
            durable,
            source: None,
            again_at: Instant::ZERO,
            turn: 0,
            gone: BTreeSet::new(),
            frozen: None,
            checkpointing: false,
            entries_since: log.entries.len() as u64,
            forgetting: None,
        };
        let mut ledger = Ledger::default();
        ledger.begin(world.now.mono, durable, 0);
        let aside = aside::found(&*world.storage, spec.group);
        let part = if standing.home { Part::Home } else { Part::Copy };
        let group = Self {
            fence: Fence::new(spec.fence),
            spec,
            keyspace,
            strong,
            slot,
            part,
            deed: None,
            seen_revision: None,
            members_at: None,
            places: BTreeMap::new(),
            reading: BTreeMap::new(),
            ledger,
            heard: BTreeMap::new(),
            beat_at: world.now.mono,
            wish_at: world.now.mono,
            wanted: None,
            copy,
            pulls: BTreeMap::new(),
            held: VecDeque::new(),
            drain: Drain::default(),
            leaving: None,
            aside,
            found: None,
            storage: world.storage.clone(),
            options,
            lagging: false,
            answers: (0, 0, 0),
        };
        Ok(Boot { group, whole })
    }
    /// What a chain that is not started found of its log.
    pub(crate) fn keep(&mut self, found: Found) {
        self.found = Some(found);
    }
    pub(crate) const fn state_era(&self) -> u32 {
        self.copy.era
    }
    pub(crate) const fn durable(&self) -> u64 {
        self.copy.durable
    }
    pub(crate) const fn is_whole(&self) -> bool {
        self.copy.whole && self.copy.forgetting.is_none()
    }
    pub(crate) fn aside_of(&self, era: u32) -> Option<Aside> {
        Aside::load(&*self.storage, self.spec.group, era)
    }
    fn deed(&self) -> Option<&Deed> {
        self.deed.as_ref().map(|(deed, _)| deed)
    }
    /// Who owns it, as far as this node knows.
    pub(crate) fn owner(&self) -> RegionId {
        self.deed().map_or(self.spec.home, |d| d.owner)
    }
    fn era(&self) -> u32 {
        self.deed().map_or(0, |d| d.era)
    }
    /// The nodes of a region.
    fn nodes_of(&self, region: RegionId) -> Vec<NodeId> {
        self.places.iter().filter(|(_, m)| m.region == region).map(|(n, _)| *n).collect()
    }
    /// Regions with nodes, but the home.
    fn others(&self) -> BTreeSet<RegionId> {
        let owner = self.owner();
        self.places.values().map(|m| m.region).filter(|r| *r != owner).collect()
    }
}

/// Plays what the log holds behind the state; false if something is missing between.
fn replay(store: &mut Store, log: &GroupLog) -> bool {
    for entry in &log.entries {
        let here = store.position().map_or(0, |p| p.index);
        if entry.index <= here {
            continue;
        }
        let Ok(taped) = wire::decode::<Taped>(&entry.payload) else { return false };
        // Indices of a chain rise by one, but for an empty store that begins at a checkpoint.
        if entry.index != here + 1 || !store.play(Position { term: entry.term, index: entry.index }, &taped) {
            return false;
        }
    }
    log.last.is_none_or(|last| store.position().map_or(0, |p| p.index) >= last)
}
