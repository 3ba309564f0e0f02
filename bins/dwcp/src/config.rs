//! A node's configuration file: what an operator writes, checked before anything is touched.
//!
//! TOML; unknown keys are refused with their place. Durations and sizes carry units. No environment variable
//! changes anything. Cluster-wide settings (`cluster`, `timing`, `transport`, `member`, `keyspace`) must be the
//! same on all nodes; the rest is each process's own. See docs/operations/configuration.md.

use crate::consensus_key;
use dwcp_conflict::audit::Retention;
use dwcp_consensus::hybrid::Bound;
use dwcp_consensus::select::Policy;
use dwcp_consensus::{Member, Members};
use dwcp_env::{ByteCount, ClusterId, Duration, GroupId, NodeId, RegionId};
use dwcp_eventual::SyncPolicy;
use dwcp_node::{Distrust, EngineKind, Spec, interval};
use dwcp_raft::GroupConfig;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The cluster's identity: 32 hexadecimal digits, drawn once for a cluster.
    pub cluster: String,
    /// This node's number: given once in the life of a cluster, never reused.
    pub node: u64,
    /// Where its data lies; nobody else's.
    pub data: PathBuf,
    /// Where clients reach it: the etcd door.
    pub client: SocketAddr,
    /// Where peers reach it.
    pub peer: SocketAddr,
    /// Where `/metrics`, `/healthz`, `/readyz` and `/status` are served.
    pub admin: SocketAddr,
    /// What peers speak: `tcp` or `quic`. Cluster-wide.
    #[serde(default)]
    pub transport: Transport,
    /// How patient elections are: `lan` (one site) or `wan` (regions). Cluster-wide.
    #[serde(default)]
    pub timing: Timing,
    /// The engine that strong keyspaces begin with: `raft`, `paxos`, `epaxos` or `pbft`. Cluster-wide; later ones are the cluster's own
    /// decision (`dwcp consensus switch`).
    #[serde(default = "engine")]
    pub engine: EngineKind,
    /// This node's key for epochs under `pbft`; made at the first start if it is not there.
    #[serde(default = "consensus_key")]
    pub consensus_key: PathBuf,
    /// With `engine = "pbft"`: the public half of the key that ends such an epoch, 64 hexadecimal digits. Cluster-wide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator_key: Option<String>,
    /// Set on a node that joins a formed cluster: it waits to be added with `dwcp member add`.
    #[serde(default)]
    pub join: bool,
    /// A bound on the wall clock's error, as the time service promises.
    #[serde(default = "uncertainty")]
    pub clock_uncertainty: String,
    /// Threads: the first runs the node and its links, and clients too if it is the only one.
    #[serde(default = "one")]
    pub threads: usize,
    /// This node's certificate.
    pub tls: Tls,
    /// Who forms the cluster, this node included.
    pub member: Vec<MemberEntry>,
    /// Keyspaces besides the default one (group 0).
    #[serde(default)]
    pub keyspace: Vec<Keyspace>,
    /// Where Redis' clients reach the eventual keyspaces; left out, no such door is opened.
    #[serde(default)]
    pub redis: Option<RedisDoor>,
    /// Where programs reach the fleet: machines, hosts, addresses; left out, no such door is opened.
    #[serde(default)]
    pub fleet: Option<FleetDoor>,
    /// By what the engines of strong keyspaces and their leaders are chosen, cluster-wide (`dwcp consensus policy` prints the
    /// defaults); left out, by operators only.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// Delays and cuts on purpose; `dwcp dev` only.
    #[serde(default)]
    pub inject: Option<Inject>,
}

fn uncertainty() -> String {
    "250ms".into()
}
/// What a new cluster begins with: measured beside Raft it is the faster, with and without disasters
/// (docs/protocols/consensus.md).
const fn engine() -> EngineKind {
    EngineKind::Paxos
}
fn consensus_key() -> PathBuf {
    "consensus.key".into()
}
const fn one() -> usize {
    1
}

/// The fleet's door.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FleetDoor {
    /// Where it listens: plain HTTP, for loopback or a management network.
    pub address: SocketAddr,
    /// The strong keyspace of the fleet's records, and of regions not named below; left out, the default one. Cluster-wide.
    #[serde(default)]
    pub keyspace: String,
    /// The eventual keyspace in which regions and hosts announce what they have; left out, none do. It is the fleet's alone. Cluster-wide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announcements: Option<String>,
    /// Regions with a keyspace of their own. Cluster-wide.
    #[serde(default)]
    pub regions: BTreeMap<String, String>,
}

/// What peers speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP with TLS 1.3, a connection per lane.
    #[default]
    Tcp,
    /// QUIC, a stream per lane, and datagrams: between regions eventual keyspaces are shipped as site streams, which lose no time to
    /// lost packets.
    Quic,
}

/// How patient elections are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Timing {
    /// Round trips of a few milliseconds.
    Lan,
    /// Round trips of up to 400 ms.
    #[default]
    Wan,
}

/// A certificate, its key and the authority both sides believe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The authority's certificate, PEM.
    pub authority: PathBuf,
    /// The node's certificate, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// A member of the cluster as it is formed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberEntry {
    /// Its number.
    pub id: u64,
    /// Its name, for people.
    pub name: String,
    /// Its region's name.
    pub region: String,
    /// Where peers reach it.
    pub peer: SocketAddr,
    /// Where clients reach it.
    pub client: SocketAddr,
    /// With `engine = "pbft"`: the public half of its consensus key, 64 hexadecimal digits (`consensus.key.pub`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// What a keyspace promises.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyspaceKind {
    /// One order for all, decided by a quorum: etcd's API.
    #[default]
    Strong,
    /// Strong, decided in one region, its home; the others hold copies that are a bounded time behind, and can take it over.
    Hybrid,
    /// Written in every region at local speed, through any partition: Redis' API (docs/eventual.md).
    Eventual,
}

/// A keyspace of its own: strong ones are a group with its own log, revisions and leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keyspace {
    /// Its name, as clients say it in the metadata `dwcp-keyspace`.
    pub name: String,
    /// Its group's number, from 1, never reused.
    pub group: u32,
    /// What it promises. Cluster-wide.
    #[serde(default)]
    pub kind: KeyspaceKind,
    /// Of a strong one: the region whose nodes form it; left out, all nodes do. Settled when they start first. Cluster-wide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// What answers to writes of an eventual one wait for: `always`, `everysec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SyncPolicy>,
    /// Whether an eventual one holds documents instead of keys (docs/conflicts.md); one at most. Cluster-wide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub documents: bool,
    /// Of one that holds documents: for how many days records of its conflicts are kept, and what did not prevail (30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u16>,
    /// Of a hybrid one: the region that is its home until another is promoted. Cluster-wide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<String>,
    /// Of a hybrid one: how old what a region lacks may be (5s). Cluster-wide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag: Option<String>,
    /// … how many entries it may lack (10000),
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag_entries: Option<u64>,
    /// … and of how many bytes (16777216).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_lag_bytes: Option<u64>,
    /// Of a hybrid one: how many regions must be within these bounds, or the home waits (1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<u32>,
}

/// A strong keyspace that one region's nodes form.
#[derive(Clone, Debug)]
pub struct Regional<'a> {
    /// Which.
    pub keyspace: &'a Keyspace,
    /// Whose.
    pub region: &'a str,
    /// The region's nodes.
    pub nodes: BTreeSet<NodeId>,
    /// Whether this node is one of them.
    pub here: bool,
}

impl Keyspace {
    /// How far other regions may be behind.
    ///
    /// # Errors
    /// A span that is none.
    pub fn bound(&self) -> Result<Bound, String> {
        let known = Bound::default();
        Ok(Bound {
            entries: self.max_lag_entries.unwrap_or(known.entries),
            bytes: self.max_lag_bytes.map_or(known.bytes, ByteCount),
            time: self.max_lag.as_deref().map_or(Ok(known.time), duration)?,
            copies: self.copies.unwrap_or(known.copies),
        })
    }
    const fn is_bounded(&self) -> bool {
        self.max_lag.is_some()
            || self.max_lag_entries.is_some()
            || self.max_lag_bytes.is_some()
            || self.copies.is_some()
            || self.home.is_some()
    }
}

/// The Redis door.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisDoor {
    /// Where it listens.
    pub address: SocketAddr,
    /// A file whose first line is the password of the one user, `default`. Left out: none is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

impl RedisDoor {
    /// The password, if one is asked for.
    ///
    /// # Errors
    /// What is wrong with its file, and what would be right.
    pub fn password(&self) -> Result<Option<String>, String> {
        let Some(path) = &self.password_file else { return Ok(None) };
        let text =
            std::fs::read_to_string(path).map_err(|e| format!("can't read {}: {e}", path.display()))?;
        let first = text.lines().next().unwrap_or_default();
        // A stranger may send no longer word.
        if first.is_empty() || first.len() > 4_096 {
            return Err(format!(
                "the first line of {} is no password: 1 to 4096 bytes; `openssl rand -hex 32` makes one",
                path.display()
            ));
        }
        Ok(Some(first.to_owned()))
    }
}

/// Delays and cuts on purpose.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// One-way delay towards each region, by its name.
    #[serde(default)]
    pub delay: BTreeMap<String, String>,
}

/// Why a configuration is refused. Nothing has been touched then.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file.
    #[error("can't read {path}: {why}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the operating system said.
        why: std::io::Error,
    },
    /// Its shape.
    #[error("{path} is not a node's configuration: {why}")]
    Shape {
        /// Which file.
        path: PathBuf,
        /// Where and what.
        why: String,
    },
    /// A value.
    #[error("{path}: `{key}`: {why}")]
    Value {
        /// Which file.
        path: PathBuf,
        /// Which key.
        key: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

/// A span of time as text: a number and `us`, `ms`, `s` or `min`.
///
/// # Errors
/// What was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let n: u64 =
        number.parse().map_err(|_| format!("{text:?} is not a duration; write `250ms`, `5s`, `2min`"))?;
    match unit.trim() {
        "us" => Ok(Duration::micros(n)),
        "ms" => Ok(Duration::millis(n)),
        "s" => Ok(Duration::secs(n)),
        "min" => Ok(Duration::secs(n.saturating_mul(60))),
        _ => Err(format!("{text:?} has no unit I know; write `250ms`, `5s`, `2min`")),
    }
}

impl File {
    /// Reads and checks a file. Relative paths in it are relative to it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text =
            std::fs::read_to_string(path).map_err(|why| ConfigError::Read { path: path.into(), why })?;
        let mut file: Self = toml::from_str(&text)
            .map_err(|e| ConfigError::Shape { path: path.into(), why: e.to_string() })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let Self { data, tls, consensus_key, .. } = &mut file;
        for p in [data, &mut tls.authority, &mut tls.certificate, &mut tls.key, consensus_key] {
            if p.is_relative() {
                *p = base.join(&*p);
            }
        }
        if let Some(p) = file.redis.as_mut().and_then(|r| r.password_file.as_mut())
            && p.is_relative()
        {
            *p = base.join(&*p);
        }
        file.check().map_err(|(key, why)| ConfigError::Value { path: path.into(), key, why })?;
        Ok(file)
    }

    fn check(&self) -> Result<(), (String, String)> {
        let bad = |key: &str, why: String| Err((key.to_string(), why));
        if self.cluster_id().is_none() {
            return bad(
                "cluster",
                format!("{:?} is not 32 hexadecimal digits; draw some with `dwcp cluster-id`", self.cluster),
            );
        }
        if self.node == 0 {
            return bad("node", "0 is nobody's number; numbers begin at 1".into());
        }
        if let Err(why) = duration(&self.clock_uncertainty) {
            return bad("clock_uncertainty", why);
        }
        if self.threads == 0 || self.threads > 64 {
            return bad("threads", format!("{} is not between 1 and 64", self.threads));
        }
        let mut ids = BTreeMap::new();
        for m in &self.member {
            if m.id == 0 || ids.insert(m.id, m).is_some() {
                return bad(
                    "member.id",
                    format!("{} is given twice or is 0; each node has a number of its own", m.id),
                );
            }
        }
        match ids.get(&self.node) {
            _ if self.join => {}
            None => {
                return bad(
                    "member",
                    format!("node {} is not among the members; add it, or set `join = true`", self.node),
                );
            }
            Some(me) if me.peer != self.peer => {
                return bad(
                    "peer",
                    format!("members know node {} at {}, this file says {}", self.node, me.peer, self.peer),
                );
            }
            Some(_) => {}
        }
        if self.engine == EngineKind::Pbft && !self.join {
            if let Some(m) = self.member.iter().find(|m| self.key_of(m).is_none()) {
                let why = format!(
                    "under pbft each member's public key is known from the start; node {}'s is `consensus.key.pub` \
                     beside its configuration (`dwcp consensus keygen` makes one)",
                    m.id
                );
                return bad("member.key", why);
            }
            let first = Spec {
                engine: self.engine,
                members: self.members(),
                distrust: self.distrust(),
                ..Spec::default()
            };
            if let Err(why) = first.check() {
                return bad("engine", why.to_string());
            }
        }
        let mut groups = BTreeSet::new();
        for k in &self.keyspace {
            if k.group == 0 || !groups.insert(k.group) || k.name.is_empty() {
                return bad(
                    "keyspace",
                    format!("{:?}: each keyspace has a name and a group number of its own, from 1", k.name),
                );
            }
        }
        self.check_hybrid()?;
        self.check_regions()?;
        if let Some(k) = self.keyspace.iter().find(|k| k.kind != KeyspaceKind::Eventual && k.sync.is_some()) {
            let why = format!(
                "{:?} is strong: its writes are on a quorum of disks before they are answered",
                k.name
            );
            return bad("keyspace.sync", why);
        }
        if let Some(k) = self.keyspace.iter().find(|k| k.kind == KeyspaceKind::Strong && k.documents) {
            return bad(
                "keyspace.documents",
                format!("{:?} is strong: documents lie in an eventual one", k.name),
            );
        }
        if self.keyspace.iter().filter(|k| k.documents).count() > 1 {
            return bad("keyspace.documents", "one keyspace of documents at most".into());
        }
        if self.keyspace.iter().any(|k| k.documents) && self.fleet.is_none() {
            let why = "documents are reached at the fleet's door: add [fleet] with its address";
            return bad("keyspace.documents", why.into());
        }
        if let Some(k) = self.keyspace.iter().find(|k| k.keep_days.is_some() && !k.documents) {
            let why = format!("{:?} holds no documents: it records no conflicts; leave it out", k.name);
            return bad("keyspace.keep_days", why);
        }
        for days in self.keyspace.iter().filter_map(|k| k.keep_days) {
            if let Err(why) = Retention::of_days(u64::from(days)) {
                return bad("keyspace.keep_days", why.to_string());
            }
        }
        if let Some(redis) = &self.redis {
            if self.served().is_empty() {
                let why =
                    "there is no eventual keyspace to serve; add a [[keyspace]] with `kind = \"eventual\"`";
                return bad("redis", why.into());
            }
            if let Err(why) = redis.password() {
                return bad("redis.password_file", why);
            }
        }
        for name in self.fleet.iter().flat_map(|f| f.regions.values().chain([&f.keyspace])) {
            if !self.keyspaces().contains_key(name) {
                let why =
                    format!("there is no strong keyspace {name:?}; add a [[keyspace]], or leave it out");
                return bad("fleet", why);
            }
        }
        if let Some(name) = self.fleet.as_ref().and_then(|f| f.announcements.as_ref())
            && !self.eventual().iter().any(|k| k.name == *name && !k.documents)
        {
            let why = format!("there is no eventual keyspace {name:?} without documents; add a [[keyspace]]");
            return bad("fleet.announcements", why);
        }
        for (region, delay) in self.inject.iter().flat_map(|i| &i.delay) {
            if let Err(why) = duration(delay) {
                return bad(&format!("inject.delay.{region}"), why);
            }
        }
        Ok(())
    }

    fn check_regions(&self) -> Result<(), (String, String)> {
        let regions = self.regions();
        for (k, region) in self.keyspace.iter().filter_map(|k| Some((k, k.region.as_ref()?))) {
            let bad = |why: String| Err(("keyspace.region".to_owned(), format!("{:?}: {why}", k.name)));
            if k.kind != KeyspaceKind::Strong {
                return bad(
                    "only a strong keyspace is formed by one region's nodes; a hybrid one has a `home`"
                        .into(),
                );
            }
            if self.engine == EngineKind::Pbft {
                return bad("under pbft all members form each keyspace: leave `region` out, or begin with another engine".into());
            }
            let Some(me) = self.member.iter().find(|m| m.id == self.node) else {
                return bad(format!(
                    "node {} is not among the members, so its region is not known: add it",
                    self.node
                ));
            };
            // Who joins knows members only as far as its file names them.
            if me.region != *region && !self.join && !regions.contains(region) {
                return bad(format!(
                    "{region:?} is no region of the members; there are {}",
                    regions.join(", ")
                ));
            }
        }
        Ok(())
    }

    /// The strong keyspaces that one region's nodes form, each with those of them that this file names.
    #[must_use]
    pub fn regional(&self) -> Vec<Regional<'_>> {
        let of = |region: &str| {
            let there = self.member.iter().filter(|m| m.region == region);
            there.map(|m| NodeId(m.id)).collect::<BTreeSet<NodeId>>()
        };
        let here = |region: &str| of(region).contains(&NodeId(self.node));
        let regional = self.keyspace.iter().filter_map(|k| Some((k, k.region.as_deref()?)));
        regional
            .map(|(k, region)| Regional { keyspace: k, region, nodes: of(region), here: here(region) })
            .collect()
    }

    fn check_hybrid(&self) -> Result<(), (String, String)> {
        let regions = self.regions();
        for k in &self.keyspace {
            let bad =
                |key: &str, why: String| Err((format!("keyspace.{key}"), format!("{:?}: {why}", k.name)));
            if k.kind != KeyspaceKind::Hybrid {
                if k.is_bounded() {
                    return bad("home", "only a keyspace of `kind = \"hybrid\"` has a home and a lag".into());
                }
                continue;
            }
            let home = k.home.as_deref().unwrap_or_default();
            // Who joins knows members only as far as its file names them.
            let known = regions.iter().any(|r| r == home) || (self.join && k.home.is_some());
            if !known {
                let why = format!("{home:?} is no region of the members; there are {}", regions.join(", "));
                return bad("home", why);
            }
            if self.engine == EngineKind::Pbft {
                return bad("kind", "a hybrid keyspace's home believes its nodes: pbft can't run it".into());
            }
            let bound = match k.bound() {
                Ok(bound) => bound,
                Err(why) => return bad("max_lag", why),
            };
            let others = regions.len().saturating_sub(1) as u32;
            if let Err(why) = bound.check(if self.join { u32::MAX } else { others }) {
                return bad("max_lag", why.to_string());
            }
        }
        Ok(())
    }

    /// The cluster's identity.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        (self.cluster.len() == 32)
            .then(|| u128::from_str_radix(&self.cluster, 16).ok().map(ClusterId))
            .flatten()
    }

    /// The regions' names; a region's number is its place in the list.
    #[must_use]
    pub fn regions(&self) -> Vec<String> {
        let mut names: Vec<String> = self.member.iter().map(|m| m.region.clone()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// The members that form the cluster.
    #[must_use]
    pub fn members(&self) -> Members {
        let regions = self.regions();
        let region = |name: &str| {
            let place = regions.iter().position(|r| r == name).unwrap_or(0);
            RegionId(u16::try_from(place).unwrap_or(u16::MAX))
        };
        let nodes: BTreeMap<NodeId, Member> = self
            .member
            .iter()
            .map(|m| {
                let member = Member {
                    region: region(&m.region),
                    peer_address: m.peer.to_string(),
                    client_address: format!("http://{}", m.client),
                    name: m.name.clone(),
                };
                (NodeId(m.id), member)
            })
            .collect();
        Members { voters: nodes.keys().copied().collect(), outgoing: Default::default(), nodes }
    }

    fn key_of(&self, member: &MemberEntry) -> Option<[u8; 32]> {
        member.key.as_deref().and_then(consensus_key::public)
    }

    /// The keys that a first epoch under `pbft` is begun with.
    #[must_use]
    pub fn distrust(&self) -> Option<Distrust> {
        (self.engine == EngineKind::Pbft && !self.join).then(|| Distrust {
            operator: self.operator_key.as_deref().and_then(consensus_key::public).unwrap_or_default(),
            public: self.member.iter().filter_map(|m| Some((NodeId(m.id), self.key_of(m)?))).collect(),
            interval: interval(GroupConfig::wan(NodeId(self.node)).snapshot_entries),
        })
    }

    /// The eventual keyspaces, in the order of the file.
    #[must_use]
    pub fn eventual(&self) -> Vec<&Keyspace> {
        self.keyspace.iter().filter(|k| k.kind == KeyspaceKind::Eventual).collect()
    }

    /// The eventual keyspaces that clients are served: documents have a door of their own, and announcements are the fleet's.
    #[must_use]
    pub fn served(&self) -> Vec<&Keyspace> {
        let announced = self.fleet.as_ref().and_then(|f| f.announcements.as_ref());
        self.eventual().into_iter().filter(|k| !k.documents && announced != Some(&k.name)).collect()
    }

    /// The hybrid keyspaces, in the order of the file.
    #[must_use]
    pub fn hybrid(&self) -> Vec<&Keyspace> {
        self.keyspace.iter().filter(|k| k.kind == KeyspaceKind::Hybrid).collect()
    }

    /// All strong keyspaces by name, hybrid ones among them; the default one has the empty name.
    #[must_use]
    pub fn keyspaces(&self) -> BTreeMap<String, GroupId> {
        let strong = self.keyspace.iter().filter(|k| k.kind != KeyspaceKind::Eventual);
        let mut all: BTreeMap<String, GroupId> = strong.map(|k| (k.name.clone(), GroupId(k.group))).collect();
        all.insert(String::new(), GroupId(0));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
cluster = "00112233445566778899aabbccddeeff"
node = 1
data = "data"
client = "127.0.0.1:2379"
peer = "127.0.0.1:7001"
admin = "127.0.0.1:9001"
[tls]
authority = "ca.pem"
certificate = "n1.pem"
key = "n1.key"
[[member]]
id = 1
name = "eu-1"
region = "eu"
peer = "127.0.0.1:7001"
client = "127.0.0.1:2379"
"#;

    fn load(text: &str) -> Result<File, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("node.toml");
        std::fs::write(&path, text).unwrap();
        File::load(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn a_sound_file_is_read_and_its_paths_are_relative_to_it() {
        let file = load(GOOD).unwrap();
        assert!(file.data.is_absolute());
        assert_eq!(file.members().voters.len(), 1);
        assert_eq!(file.keyspaces().get(""), Some(&GroupId(0)));
    }

    #[test]
    fn each_fault_is_named_with_its_key_and_what_would_be_right() {
        for (from, to, says) in [
            ("cluster = \"0011", "cluster = \"zz11", "dwcp cluster-id"),
            ("node = 1", "node = 2", "not among the members"),
            ("node = 1", "node = 1\nnoed = 3", "noed"),
            ("peer = \"127.0.0.1:7001\"\nadmin", "peer = \"127.0.0.1:7009\"\nadmin", "127.0.0.1:7001"),
            ("node = 1", "node = 1\nclock_uncertainty = \"5\"", "250ms"),
            ("id = 1", "id = 0", "member.id"),
            ("node = 1", "node = 1\nthreads = 0", "between 1 and 64"),
            ("node = 1", "node = 1\nengine = \"pbft\"", "member.key"),
            ("[tls]", "[redis]\naddress = \"127.0.0.1:6379\"\n[tls]", "kind = \"eventual\""),
            (
                "[tls]",
                "[[keyspace]]\nname = \"h\"\ngroup = 2\nkind = \"hybrid\"\nhome = \"us\"\n[tls]",
                "no region of the members",
            ),
            (
                "[tls]",
                "[[keyspace]]\nname = \"h\"\ngroup = 2\nkind = \"hybrid\"\nhome = \"eu\"\n[tls]",
                "besides the home",
            ),
            ("[tls]", "[[keyspace]]\nname = \"h\"\ngroup = 2\nhome = \"eu\"\n[tls]", "kind = \"hybrid\""),
            (
                "[tls]",
                "[[keyspace]]\nname = \"k\"\ngroup = 1\nregion = \"us\"\n[tls]",
                "\"us\" is no region of the members; there are eu",
            ),
            (
                "[tls]",
                "[[keyspace]]\nname = \"k\"\ngroup = 1\nkind = \"eventual\"\nregion = \"eu\"\n[tls]",
                "only a strong keyspace",
            ),
            (
                "node = 1",
                "node = 2\njoin = true\nkeyspace = [{ name = \"k\", group = 1, region = \"eu\" }]",
                "its region is not known",
            ),
            ("[tls]", "[[keyspace]]\nname = \"k\"\ngroup = 1\nsync = \"always\"\n[tls]", "is strong"),
            (
                "[tls]",
                "[[keyspace]]\nname = \"k\"\ngroup = 1\nkind = \"eventual\"\nsync = \"no\"\n[tls]",
                "everysec",
            ),
            (
                "[tls]",
                "[redis]\naddress = \"127.0.0.1:6379\"\npassword_file = \"none\"\n\
                 [[keyspace]]\nname = \"e\"\ngroup = 1\nkind = \"eventual\"\n[tls]",
                "can't read",
            ),
            (
                "[tls]",
                "[[keyspace]]\nname = \"e\"\ngroup = 1\nkind = \"eventual\"\nkeep_days = 40\n[tls]",
                "holds no documents",
            ),
            (
                "[tls]",
                "[fleet]\naddress = \"127.0.0.1:7080\"\n[[keyspace]]\nname = \"d\"\ngroup = 1\n\
                 kind = \"eventual\"\ndocuments = true\nkeep_days = 29\n[tls]",
                "30 days",
            ),
            (
                "[tls]",
                "[fleet]\naddress = \"127.0.0.1:7080\"\nannouncements = \"d\"\n[[keyspace]]\nname = \"d\"\ngroup = 1\n[tls]",
                "no eventual keyspace",
            ),
            (
                "[tls]",
                "[fleet]\naddress = \"127.0.0.1:7080\"\nannouncements = \"a\"\n[redis]\naddress = \"127.0.0.1:6379\"\n\
                 [[keyspace]]\nname = \"a\"\ngroup = 1\nkind = \"eventual\"\n[tls]",
                "no eventual keyspace to serve",
            ),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD);
            let error = load(&text).unwrap_err();
            assert!(error.contains(says), "{to}: {error}");
        }
    }
}
