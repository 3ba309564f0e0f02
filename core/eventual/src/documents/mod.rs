//! Documents: objects of declared kinds in an eventual keyspace, and what becomes of the conflicts in them.
//!
//! **Promise.** Every node that has the same writes, schemas and policies shows the same document. What several wrote who did not see each other is
//! settled by the policy in force, once, and written down; what did not prevail can be had back on any node. What the policy leaves to
//! people stays open until they answer or their time is over.
//!
//! **Model.** A keyspace holds documents if its specification says so ([`EventualSpec::documents`](crate::EventualSpec)); Redis' commands are then refused there. A
//! document is split by its schema into places: fields of records and entries of maps are places of their own, everything else is one. Each place is
//! a register of the space that keeps all writes nobody saw, and holds a [`dwcp_conflict::lineage::Envelope`].
//!
//! ```text
//! in the space   <kind> / <key> / <JSON pointer>       envelopes
//!                \0audit / <replica> / <number>        a replica's chain, record by record
//!                \0value / <hash>                      values too long for records
//!                \0point / <name> / <id>               notes of checkpoints
//!                \0piece / <id> / <number>             what was there then
//!                \0rolled / <id>                       how far who went back has come
//! decided        \0dwcp/eventual/<keyspace>/heads/<replica>     how far its chain has come
//!                \0dwcp/eventual/<keyspace>/schema/<kind>/<version>
//!                \0dwcp/eventual/<keyspace>/policy/<version>
//! ```
//!
//! So the audit is as durable as the writes it is about (a resolution and its record are one transaction), spreads like them, and is there on every
//! node; after a restart it is made again of the space, each record verified.
//!
//! | who | does |
//! |---|---|
//! | every node | shows documents, siblings resolved as the policy says |
//! | the first node that lives | writes resolutions, and puts questions; on each side of a cut the first that lives there |
//! | the strong keyspace | decides which schemas and policies there are |
//!
//! **Epochs.** A policy counts from the second (since 1970) that it names. Nodes whose clocks differ settle under different versions for as long as they
//! differ; such resolutions have different names, so they meet as siblings and are not taken for one.
//!
//! **Invariants.** 1. Nothing is settled without its record. 2. What a person has not seen, their answer does not overwrite. 3. A deadline counts
//! from when the question was put, and is in its record.
//!
//! **Limits.** 1024 open questions; beyond, defaults count at once. 64 MiB of long values. 1024 open places a look, 256 of them settled. 4096 places a document. Records and what did not prevail are kept in the space for thirty days
//! ([`EventualSpec::retention`](crate::EventualSpec)); then a record leaves a hundred bytes behind for good.
//!
//! **Rejected.** Settling inside `dwcp-crdt`: it knows no clock and no policy. A resolution by every node: *n* siblings would breed *n* more. A
//! strong keyspace for the audit: what is settled in a cut must be recorded there and then.
//!
//! | file | holds |
//! |---|---|
//! | `ask` | the words |
//! | `view` | documents into places and back |
//! | `write` | what a change comes to; whether there is a document |
//! | `join` | versions without a history |
//! | `settle` | what is found, settled and recorded |
//! | `between` | references that lead nowhere, or in a circle; names that two have |
//! | `fallen` | names where nothing is any more, and documents that are no more |
//! | `past` | what is over |
//! | `heads` | what of the audit is promised to consensus, and whether it is there |
//! | `checkpoints` | what was there at a moment, under a name |
//! | `rollback` | the way back to one |
//! | `serve` | questions of clients |

pub mod ask;
mod between;
mod checkpoints;
mod fallen;
mod heads;
mod join;
mod past;
mod rollback;
mod serve;
mod settle;
mod view;
mod write;

use crate::roster::{Kept, prefix};
pub use dwcp_conflict::Value;
use dwcp_conflict::audit::{Audit, Retention};
use dwcp_conflict::lineage::{Envelope, Meeting, Name, Written, meet};
use dwcp_conflict::policy::{Versions, class_of};
use dwcp_conflict::{Answer, Base, Place, Pointer, Policy, Question, Schema};
use dwcp_crdt::code::Reader;
use dwcp_crdt::{Address, Dot, Kind, ReplicaIndex, Space};
use dwcp_env::Instant;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Where a replica's records lie.
const AUDIT: &[u8] = b"\0audit";
/// Where long values lie.
const VALUE: &[u8] = b"\0value";
/// Where notes of checkpoints lie.
const POINT: &[u8] = b"\0point";
/// Where their pieces lie.
const PIECE: &[u8] = b"\0piece";
/// Where ways back are noted.
const ROLLED: &[u8] = b"\0rolled";
/// Bytes of long values that are kept in memory.
const VALUES_MAX: usize = 64 << 20;
/// Questions that are open at once.
const TICKETS_MAX: usize = 1_024;

/// A schema, and its file.
#[derive(Clone, Debug)]
struct Known {
    schema: Arc<Schema>,
    digest: [u8; 32],
    file: Vec<u8>,
}

/// What a replica knows of its documents besides the space.
#[derive(Debug)]
pub(crate) struct Documents {
    schemas: BTreeMap<Arc<str>, Known>,
    policies: Versions,
    /// The policies' files, by version.
    files: BTreeMap<u32, (Arc<Policy>, Vec<u8>)>,
    faults: Vec<String>,
    /// The revisions that the above were read at.
    read: BTreeMap<bytes::Bytes, i64>,
    audit: Audit,
    owner: ReplicaIndex,
    /// Places where something stood beside something when it was looked last.
    open: BTreeSet<Place>,
    /// What the space holds is to be looked through.
    scan: bool,
    /// Records came that were not taken in.
    records_came: bool,
    /// What came in other ways than in batches, as it was counted last.
    fetched: (u64, u64, u64),
    next_look: Instant,
    next_past: Instant,
    next_points: Instant,
    /// References that are broken.
    found: between::Found,
    /// Who has which name.
    names: between::Names,
    retention: Retention,
    /// Why a place is not settled.
    unsettled: BTreeMap<Place, String>,
    /// Places about which people are asked.
    asking: BTreeSet<Place>,
    /// The place of the open ones that was looked at last.
    looked: Option<Place>,
    /// Places where nothing is, or a document that is no more, as they were seen last.
    fallen: BTreeSet<Place>,
    /// The one of them that was looked at last.
    swept: Option<Place>,
    next_sweep: Instant,
    /// Chains of the audit that do not go on as they should, and why.
    broken: BTreeMap<ReplicaIndex, String>,
    /// Those that are not what was promised.
    rounds: heads::Rounds,
    /// [`crate::EventualSpec::own_view`].
    #[cfg(feature = "planted-bugs")]
    pub(crate) own_view: bool,
}

impl Documents {
    pub(crate) fn new(retention: Retention) -> Self {
        let nobody = ReplicaIndex(u16::MAX);
        Self {
            schemas: BTreeMap::new(),
            policies: Versions::default(),
            files: BTreeMap::new(),
            faults: Vec::new(),
            read: BTreeMap::new(),
            audit: Audit::new(nobody, retention, VALUES_MAX),
            owner: nobody,
            open: BTreeSet::new(),
            scan: true,
            records_came: true,
            fetched: (0, 0, 0),
            next_look: Instant::ZERO,
            next_past: Instant::ZERO,
            next_points: Instant::ZERO,
            found: between::Found::default(),
            names: between::Names::default(),
            retention,
            unsettled: BTreeMap::new(),
            asking: BTreeSet::new(),
            looked: None,
            fallen: BTreeSet::new(),
            swept: None,
            next_sweep: Instant::ZERO,
            broken: BTreeMap::new(),
            rounds: heads::Rounds::default(),
            #[cfg(feature = "planted-bugs")]
            own_view: false,
        }
    }

    /// Reads what consensus decided, if it has changed. What can't be read is told, and passed over.
    pub(crate) fn on_decided(&mut self, keyspace: &str, kept: &[Kept]) {
        let prefix = prefix(keyspace);
        let ours = |k: &&Kept| {
            let rest = k.key.strip_prefix(&prefix[..]).unwrap_or_default();
            rest.starts_with(b"schema/") || rest.starts_with(b"policy/")
        };
        let ours: Vec<&Kept> = kept.iter().filter(ours).collect();
        let read: BTreeMap<_, _> = ours.iter().map(|k| (k.key.clone(), k.revision)).collect();
        if read == self.read {
            return;
        }
        self.read = read;
        self.schemas.clear();
        self.files.clear();
        self.faults.clear();
        for k in ours {
            let name = String::from_utf8_lossy(&k.key[prefix.len()..]).into_owned();
            if let Err(why) = self.take(&name, &k.value) {
                self.faults.push(format!("{name}: {why}"));
            }
        }
        self.policies = Versions::default();
        for (policy, _) in self.files.values() {
            if let Err(why) = self.policies.add((**policy).clone(), 0) {
                self.faults.push(format!("policy/{}: {why}", policy.version()));
            }
        }
        self.scan = true;
    }
    fn take(&mut self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let mut from = Reader::new(bytes);
        let file = Value::decode(&mut from).map_err(|e| e.to_string())?;
        if name.starts_with("policy/") {
            let policy = Policy::read(&file).map_err(|e| e.to_string())?;
            self.files.insert(policy.version(), (Arc::new(policy), bytes.to_vec()));
            return Ok(());
        }
        let schema = Schema::read(&file).map_err(|e| e.to_string())?;
        let newer = self.schemas.get(schema.name()).is_none_or(|k| k.schema.version() < schema.version());
        if newer {
            let digest = file.digest();
            let known = Known { schema: Arc::new(schema.clone()), digest, file: bytes.to_vec() };
            self.schemas.insert(schema.name().clone(), known);
        }
        Ok(())
    }
    /// The policy in force at a moment.
    fn active(&self, millis: u64) -> Option<&Arc<Policy>> {
        self.policies.active(millis / 1_000)
    }
    /// What a resolution of these is called under the rules in force.
    fn name(&self, place: &Place, meeting: &Meeting, millis: u64) -> Name {
        let policy = self.active(millis).map_or(&[][..], |p| &p.digest()[..]);
        let schema = self.schemas.get(&place.kind).map_or(&[][..], |k| &k.digest[..]);
        Name::resolution(meeting.names.iter().copied(), &[policy, schema])
    }
    /// What the policy in force makes of siblings, if there is one.
    fn answer(&self, place: &Place, meeting: &Meeting, millis: u64) -> Option<(Arc<Policy>, Answer)> {
        let policy = self.active(millis)?;
        Some((policy.clone(), self.ask(place, meeting, |q| policy.settle(q))))
    }
    /// Puts the question of siblings to somebody.
    fn ask<T>(&self, place: &Place, meeting: &Meeting, to: impl FnOnce(&Question<'_>) -> T) -> T {
        let schema = self.schemas.get(&place.kind);
        let field = schema.and_then(|k| k.schema.field(&place.pointer));
        let siblings = &meeting.siblings[..];
        let class = class_of(field, siblings);
        to(&Question { place, class, field, base: meeting.base.as_ref(), siblings })
    }
}

/// What lies at a place. What is no envelope is passed over: no replica of ours wrote it.
fn written(space: &Space, place: &Place) -> Vec<Written> {
    let all = space.siblings(&place.address()).into_iter();
    all.filter_map(|s| {
        Some(Written { dot: s.dot, at: s.hlc, envelope: Envelope::from_bytes(&s.value).ok()? })
    })
    .collect()
}

/// What lies at a place and what it comes to: its dots, and the meeting.
fn met(space: &Space, place: &Place) -> (Vec<Dot>, Vec<Written>, Meeting) {
    let all = written(space, place);
    let meeting = meet(&all);
    (all.iter().map(|w| w.dot).collect(), all, meeting)
}

/// The place that an address is of, if it is one of a document.
fn place_of(names: &[&[u8]]) -> Option<Place> {
    let [kind, key, pointer] = names else { return None };
    if kind.first() == Some(&0) {
        return None;
    }
    let text = |b: &[u8]| std::str::from_utf8(b).ok().map(str::to_owned);
    let pointer = Pointer::parse(&text(pointer)?).ok()?;
    Some(Place::new(&text(kind)?, &text(key)?, pointer))
}

fn audit_address(of: ReplicaIndex, sequence: u64) -> Address {
    let names = [AUDIT.to_vec(), of.0.to_be_bytes().to_vec(), sequence.to_be_bytes().to_vec()];
    Address { names: names.into(), kind: Kind::Mv }
}

fn value_address(hash: &[u8; 32]) -> Address {
    Address { names: [VALUE.to_vec(), hash.to_vec()].into(), kind: Kind::Mv }
}

/// What was there before, in bytes.
fn before(base: Base<&Value>) -> ask::Before {
    match base {
        Base::Known(v) => ask::Before::Value(v.to_bytes().into()),
        Base::Nothing => ask::Before::Nothing,
        Base::Unknown => ask::Before::Unknown,
    }
}
