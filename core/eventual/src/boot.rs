//! From what the last incarnation made durable to a replica.
//!
//! | found | then |
//! |---|---|
//! | nothing | a place in the roster is asked for; the state comes from a peer, or is the first |
//! | identity, state's file, log | they are read: the state of the last durable operation |
//! | a durable entry or the identity lost, or records unknown | what can be read is kept and passed on; a new place, for the old one's dots are not all known |
//! | the state's file gone or corrupt | the same, and the state comes from a peer; the log's operations are carried over |

use crate::checkpoint::{self, Unread};
use crate::config::EventualSpec;
use crate::identity::{Identity, Logged, read_entry};
use crate::look::Rungs;
use crate::ranges::Serving;
use crate::replica::{Counts, Eventual, millis};
use crate::roster::{Decided, places};
use crate::streams::Streams;
use bytes::Bytes;
use dwcp_crdt::space::{Config, Received};
use dwcp_crdt::{Batch, ReplicaIndex, Roster, Space};
use dwcp_env::{ClusterId, DiskError, Event, Instant, NodeId, Purpose, World};
use dwcp_gossip::{Gossip, Incarnation};
use dwcp_wal::{GroupLog, Lsn, Wal};
use spin::Mutex;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const SEED: Purpose = Purpose::named("eventual");
/// A replica without a place.
const NOBODY: ReplicaIndex = ReplicaIndex(u16::MAX);
/// Failed reads of the state's file after which it is taken for lost.
const READS: u32 = 3;

/// What the node knows about itself.
#[derive(Clone, Debug)]
pub struct Host {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// Its log.
    pub wal: Arc<Mutex<Wal>>,
    /// What every message of this keyspace begins with: written in front of it here, so that the node need not copy it to do so.
    pub envelope: Bytes,
}

/// What was read back.
struct Found {
    space: Space,
    leftover: Vec<Batch>,
    lost: Option<&'static str>,
    whole: bool,
}

impl Eventual {
    /// Recovers what the last incarnation made durable. `damaged`: durable entries of this group are known to be lost.
    ///
    /// # Errors
    /// The disk's, if the state's file can't be opened at all.
    pub fn boot(
        spec: EventualSpec,
        host: Host,
        log: &GroupLog,
        damaged: bool,
        world: &World,
    ) -> Result<Self, DiskError> {
        let ms = millis(world.now);
        let config = spec.space_config();
        let identity = log.vote.as_deref().and_then(Identity::decode);
        let found = read(&spec, host.cluster, log, damaged, identity, config, world)?;
        let seed = world.seed.part(SEED, u64::from(spec.group.0));
        let metadata = Self::metadata(&spec, identity.map(|i| i.replica));
        let incarnation = Incarnation(ms.min(dwcp_gossip::settings::INCARNATION_MAX / 2));
        let gossip = Gossip::new(host.node, incarnation, metadata, spec.gossip.clone(), world.now.mono, seed)
            .expect("gossip's settings were checked with the configuration");
        let whole = identity.is_some_and(|i| i.whole) && found.whole;
        let now = world.now.mono;
        let mut this = Self {
            cluster: host.cluster,
            node: host.node,
            storage: world.storage.clone(),
            probe: world.probe.clone(),
            seed,
            draws: 0,
            wal: host.wal,
            envelope: host.envelope,
            identity: identity.map(|i| Identity { whole, ..i }),
            place_lost: None,
            records_lost: identity.is_none_or(|i| i.unsure),
            claim: None,
            decided: Decided::default(),
            decided_known: false,
            places: places(found.space.roster()),
            members: Vec::new(),
            heard: BTreeMap::new(),
            heard_any: now,
            next_wish: now,
            // The last life may have said of one that it is back, or what of another counts.
            promoting: Some((found.space.roster().epoch, now)),
            deciding: Some((found.space.roster().epoch, now)),
            covered: BTreeSet::new(),
            logged: found.space.version().clone(),
            next_entry: log.last.max(log.purged.map(|(_, i)| i)).map_or(1, |i| i + 1),
            last_lsn: Lsn(0),
            held: VecDeque::new(),
            held_bytes: 0,
            fresh: Vec::new(),
            gathering: None,
            owed: VecDeque::new(),
            ending: false,
            fresh_keys: Vec::new(),
            unsynced: BTreeMap::new(),
            unsynced_any: None,
            unsynced_order: VecDeque::new(),
            drained: Vec::new(),
            drained_seen: false,
            leftover: found.leftover,
            leftover_seen: None,
            evict_asked: None,
            reminded: BTreeMap::new(),
            salvaged: Vec::new(),
            anew_waits: None,
            writing: None,
            job_out: false,
            since_checkpoint: log.entries.iter().map(|e| e.payload.len() as u64 + 64).sum(),
            checkpoint_wanted: false,
            checkpoint_not_before: now,
            unacknowledged: false,
            unstable_bytes: 0,
            gossip,
            gossip_out: Vec::new(),
            intents: Vec::new(),
            floors: crate::floors::Floors::default(),
            streams: Streams::new(identity.map(|i| i.replica), found.space.version()),
            budgets: BTreeMap::new(),
            asked: BTreeMap::new(),
            fetch: None,
            below: None,
            serving: Serving::default(),
            subscriptions: BTreeMap::new(),
            offsets: BTreeMap::new(),
            clocks: Some(world.now),
            next_tick: now,
            next_due: now,
            earliest_deadline: Instant::FAR,
            counts: Counts::default(),
            rungs: Rungs::default(),
            failure: None,
            documents: spec.documents.then(|| crate::documents::Documents::new(spec.retention)),
            space: found.space,
            spec,
        };
        #[cfg(feature = "planted-bugs")]
        if let Some(documents) = &mut this.documents {
            documents.own_view = this.spec.own_view;
        }
        if let Some(why) = found.lost {
            this.lose_records(why);
        } else if identity.is_some_and(|i| i.lost && !this.is_ended(i.replica)) {
            this.lose_place("its place was given up before it ended");
        } else {
            this.space.open();
        }
        this.mind_standing();
        Ok(this)
    }
}

fn read(
    spec: &EventualSpec,
    cluster: ClusterId,
    log: &GroupLog,
    damaged: bool,
    identity: Option<Identity>,
    config: Config,
    world: &World,
) -> Result<Found, DiskError> {
    let ms = millis(world.now);
    let fresh = *log == GroupLog::default();
    let mut lost = None;
    if damaged || log.suspect || log.vote_lost {
        lost = Some("durable records of this replica were lost to the disk");
    }
    let file = read_file(spec, cluster, world)?;
    let corrupt = matches!(file, Err(true));
    let missing = matches!(file, Err(false)) && log.purged.is_some();
    if corrupt || missing {
        lost = Some("the state's file was lost to the disk");
    }
    let file = file.ok();
    let (mut roster, mut batches) =
        (file.as_ref().map_or_else(Roster::default, |f| f.roster.clone()), Vec::new());
    let from = file.as_ref().map_or(0, |f| f.from_entry);
    for entry in &log.entries {
        match read_entry(&entry.payload) {
            Some(Logged::Roster(r)) if r.epoch > roster.epoch => roster = r,
            Some(Logged::Batch(b)) if entry.index >= from => batches.push(b),
            Some(_) => {}
            None => lost = Some("an entry of the log is of a newer format, or is no entry"),
        }
    }
    let me = identity.map_or(NOBODY, |i| i.replica);
    if !fresh && identity.is_some() && roster.get(me).is_none() {
        lost = Some("its place is not in the roster that it remembers");
    }
    if !fresh && identity.is_none() && file.is_some() {
        lost = Some("the record of its place was lost to the disk");
    }
    let mut whole = !(corrupt || missing);
    let restored = file.map(|f| f.restore(config, roster.clone(), me, &[], ms));
    let mut space = match restored {
        Some(Ok(space)) => space,
        Some(Err(_)) => {
            (lost, whole) = (Some("the state's file contradicts itself"), false);
            Space::new(config, roster, me)
        }
        None => Space::new(config, roster, me),
    };
    let mut leftover = Vec::new();
    for batch in batches {
        match space.receive(&batch, ms) {
            Ok(Received::Applied(_) | Received::Duplicate) => {}
            Ok(Received::Early | Received::Dropped) | Err(_) => leftover.push(batch),
        }
    }
    world.probe.sometimes("eventual.place_lost", lost.is_some());
    Ok(Found { space, leftover, lost, whole })
}

/// The state's file; without one, whether there should be.
fn read_file(
    spec: &EventualSpec,
    cluster: ClusterId,
    world: &World,
) -> Result<Result<checkpoint::Read, bool>, DiskError> {
    let mut failed = 0;
    loop {
        let (offset, why) = match checkpoint::read(&*world.storage, cluster, spec.group) {
            Ok(read) => return Ok(Ok(read)),
            Err(Unread::Absent) => return Ok(Err(false)),
            Err(Unread::Corrupt(at)) => (at, None),
            Err(Unread::Disk(e @ DiskError::Io { doing: "read", .. })) if failed < READS => (0, Some(e)),
            Err(Unread::Disk(DiskError::Io { doing: "read", offset, .. })) => (offset, None),
            Err(Unread::Disk(e)) => return Err(e),
        };
        if why.is_some() {
            failed += 1;
            continue;
        }
        let file = checkpoint::name(spec.group).as_str().to_string();
        world.probe.event(&Event::CorruptionFound { file, offset });
        return Ok(Err(true));
    }
}
