//! Where everything of a development cluster lies, and what its nodes are configured with.
//!
//! ```text
//! DIR/cluster.toml      what was asked for: so that a second `dwcp dev` continues it
//! DIR/authority/        the development authority
//! DIR/operator.key      the key that ends epochs under pbft
//! DIR/<name>/node.toml  a node's configuration, certificate and key
//! DIR/<name>/data/      its data
//! DIR/<name>/log        what it prints
//! DIR/control.sock      the supervisor's ear, while it runs
//! ```

use crate::config::{
    self, FleetDoor, Inject, Keyspace, KeyspaceKind, MemberEntry, RedisDoor, Timing, Tls, Transport,
};
use crate::consensus_key;
use dwcp_consensus::pbft::keys as pbft_keys;
use dwcp_consensus::select::Policy;
use dwcp_env::{ClusterId, NodeId};
use dwcp_eventual::SyncPolicy;
use dwcp_node::EngineKind;
use dwcp_runtime_real::authority::{Authority, Name};
use dwcp_runtime_sim::net::Matrix;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

/// The regions of a development cluster: names of the measured matrix.
pub const REGIONS: [&str; 3] = ["eu-west-1", "us-east-1", "ap-southeast-1"];

/// The operator's key of a development cluster.
pub const OPERATOR_KEY: &str = "operator.key";

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// The cluster's identity.
    pub cluster: String,
    /// How many nodes, spread over the regions.
    pub nodes: usize,
    /// The first client port; the others follow.
    pub port: u16,
    /// What peers speak.
    pub transport: Transport,
    /// The matrix whose delays are injected between regions, if any.
    pub latency: Option<String>,
    /// What answers of the eventual keyspace wait for.
    #[serde(default)]
    pub sync: SyncPolicy,
    /// The engine that strong keyspaces begin with.
    #[serde(default)]
    pub engine: EngineKind,
    /// Whether the cluster chooses engines and leaders by itself.
    #[serde(default)]
    pub adapt: bool,
    /// The home of a hybrid keyspace, if there is to be one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hybrid: Option<String>,
    /// Whether each region has a keyspace of its own for its machines. Clusters that were made before there were any have none.
    #[serde(default)]
    pub regional: bool,
}

/// One node of the cluster.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its number.
    pub id: u64,
    /// Its name: region and number.
    pub name: String,
    /// Its region.
    pub region: &'static str,
    /// Its etcd door.
    pub client: SocketAddr,
    /// Where peers reach it.
    pub peer: SocketAddr,
    /// Its admin address.
    pub admin: SocketAddr,
    /// Its Redis door.
    pub redis: SocketAddr,
    /// Its fleet's door.
    pub fleet: SocketAddr,
}

/// Where one node listens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub(crate) client: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) redis: SocketAddr,
    pub(crate) fleet: SocketAddr,
}

/// So many nodes, dealt out to the regions in turn; `listens` says where the i-th, from 0, listens.
pub(crate) fn spread(nodes: usize, listens: impl Fn(usize) -> Addresses) -> Vec<Place> {
    let place = |i: usize| {
        let region = REGIONS[i % REGIONS.len()];
        let letter = char::from(b'a' + (i / REGIONS.len() % 26) as u8);
        let Addresses { client, peer, admin, redis, fleet } = listens(i);
        Place {
            id: i as u64 + 1,
            name: format!("{region}-{letter}"),
            region,
            client,
            peer,
            admin,
            redis,
            fleet,
        }
    };
    (0..nodes).map(place).collect()
}

/// A cluster's directory.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Where it lies.
    pub dir: PathBuf,
    /// What was asked for.
    pub shape: Shape,
}

impl Layout {
    /// Opens the cluster in `dir`, or makes one of this shape.
    ///
    /// # Errors
    /// What is wrong and what to do.
    pub fn open(dir: &Path, wanted: &Shape) -> Result<Self, String> {
        let file = dir.join("cluster.toml");
        if file.exists() {
            let found = Self::existing(dir)?;
            let cluster = found.shape.cluster.clone();
            let same = Shape { cluster, regional: found.shape.regional, ..wanted.clone() } == found.shape;
            if !same {
                return Err(format!(
                    "{} holds a cluster of another shape ({} nodes, port {}, {:?}, latency {}, sync {}, engine {}); continue it by the same \
                     options, start over with `--fresh`, or choose another `--dir`",
                    dir.display(),
                    found.shape.nodes,
                    found.shape.port,
                    found.shape.transport,
                    found.shape.latency.as_deref().unwrap_or("none"),
                    found.shape.sync.name(),
                    found.shape.engine,
                ));
            }
            return Ok(found);
        }
        let layout = Self { dir: dir.into(), shape: wanted.clone() };
        layout.write().map_err(|e| format!("can't write {}: {e}", dir.display()))?;
        Ok(layout)
    }

    /// The cluster in `dir`.
    ///
    /// # Errors
    /// There is none, or its file is not sound.
    pub fn existing(dir: &Path) -> Result<Self, String> {
        let file = dir.join("cluster.toml");
        let text = std::fs::read_to_string(&file).map_err(|e| {
            format!("no development cluster in {}: {e}; start one with `dwcp dev`", dir.display())
        })?;
        let shape = toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
        Ok(Self { dir: dir.into(), shape })
    }

    /// The nodes, by number.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        let on =
            |i: usize, base: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, self.shape.port + base + i as u16));
        spread(self.shape.nodes, |i| Addresses {
            client: on(i, 0),
            peer: on(i, 1000),
            admin: on(i, 2000),
            redis: on(i, 4000),
            fleet: on(i, 5000),
        })
    }

    /// The nodes that a word names: a node's name, its number, or a region.
    #[must_use]
    pub fn named(&self, word: &str) -> Vec<Place> {
        let fits = |p: &Place| {
            p.name == word || p.id.to_string() == word || p.region == word || format!("n{}", p.id) == word
        };
        self.places().into_iter().filter(fits).collect()
    }

    /// A node's folder.
    #[must_use]
    pub fn folder(&self, place: &Place) -> PathBuf {
        self.dir.join(&place.name)
    }

    /// The supervisor's ear.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// The ports that are taken by somebody else.
    #[must_use]
    pub fn taken_ports(&self) -> Vec<SocketAddr> {
        let places = self.places();
        let wanted = places.iter().flat_map(|p| [p.client, p.peer, p.admin, p.redis, p.fleet]);
        wanted.filter(|a| TcpListener::bind(a).is_err()).collect()
    }

    fn write(&self) -> Result<(), Box<dyn std::error::Error>> {
        let cluster = u128::from_str_radix(&self.shape.cluster, 16).map(ClusterId)?;
        std::fs::create_dir_all(&self.dir)?;
        let timing = if self.shape.latency.is_some() { Timing::Wan } else { Timing::Lan };
        let delays = |p: &Place| self.delays(p.region);
        let ways = Ways {
            transport: self.shape.transport,
            timing,
            sync: self.shape.sync,
            engine: self.shape.engine,
            adapt: self.shape.adapt,
            hybrid: self.shape.hybrid.as_deref().and_then(|h| REGIONS.into_iter().find(|r| *r == h)),
            regional: self.shape.regional,
        };
        write_nodes(&self.dir, cluster, &self.places(), ways, &delays)?;
        // Last: a folder without it is not a cluster, so a half-made one is made again.
        std::fs::write(self.dir.join("cluster.toml"), toml::to_string_pretty(&self.shape)?)?;
        Ok(())
    }

    fn delays(&self, from: &str) -> BTreeMap<String, String> {
        let Some(matrix) = self.shape.latency.as_deref().and_then(Matrix::named) else {
            return BTreeMap::new();
        };
        let one_way = |to: &str| {
            let path = matrix.path(matrix.region(from)?, matrix.region(to)?);
            Some(format!("{}us", path.mean.as_micros()))
        };
        REGIONS.iter().filter(|r| **r != from).filter_map(|r| Some(((*r).to_string(), one_way(r)?))).collect()
    }
}

/// How the nodes of a cluster go about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ways {
    pub(crate) transport: Transport,
    pub(crate) timing: Timing,
    /// What answers of the eventual keyspace wait for.
    pub(crate) sync: SyncPolicy,
    /// The engine that strong keyspaces begin with.
    pub(crate) engine: EngineKind,
    /// Whether the cluster chooses engines and leaders by itself.
    pub(crate) adapt: bool,
    /// The home of a hybrid keyspace, if there is to be one.
    pub(crate) hybrid: Option<&'static str>,
    /// Whether each region has a keyspace of its own for its machines.
    pub(crate) regional: bool,
}

/// The keyspace of a region's machines.
fn of_region(region: &str) -> String {
    format!("fleet-{region}")
}

/// The regions that have a keyspace of their own.
fn regions(ways: Ways, places: &[Place]) -> Vec<&'static str> {
    REGIONS.into_iter().filter(|r| ways.regional && places.iter().any(|p| p.region == *r)).collect()
}

/// The keyspace in which regions and hosts announce what they have.
const ANNOUNCED: &str = "announcements";

/// The keyspaces besides the default one.
fn keyspaces(ways: Ways, places: &[Place]) -> Vec<Keyspace> {
    let plain = |name: &str, group, kind| Keyspace {
        name: name.into(),
        group,
        kind,
        region: None,
        sync: None,
        documents: false,
        keep_days: None,
        home: None,
        max_lag: None,
        max_lag_entries: None,
        max_lag_bytes: None,
        copies: None,
    };
    let eventual = Keyspace { sync: Some(ways.sync), ..plain("eventual", 1, KeyspaceKind::Eventual) };
    let documents = Keyspace {
        sync: Some(SyncPolicy::Always),
        documents: true,
        ..plain("documents", 2, KeyspaceKind::Eventual)
    };
    let hybrid =
        |home: &str| Keyspace { home: Some(home.into()), ..plain("hybrid", 3, KeyspaceKind::Hybrid) };
    let announced =
        Keyspace { sync: Some(SyncPolicy::EverySecond), ..plain(ANNOUNCED, 4, KeyspaceKind::Eventual) };
    // Behind those that may be added by hand.
    let regional = (10..).zip(regions(ways, places)).map(|(group, region)| Keyspace {
        region: Some(region.into()),
        ..plain(&of_region(region), group, KeyspaceKind::Strong)
    });
    [eventual, documents, announced].into_iter().chain(ways.hybrid.map(hybrid)).chain(regional).collect()
}

/// Writes each node's folder under `dir`: its certificate and its configuration, faults allowed.
pub(crate) fn write_nodes(
    dir: &Path,
    cluster: ClusterId,
    places: &[Place],
    ways: Ways,
    delays: &dyn Fn(&Place) -> BTreeMap<String, String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let authority = Authority::load_or_create(&dir.join("authority"))?;
    let operator = consensus_key::load_or_create(&dir.join(OPERATOR_KEY))?;
    let mut keys = BTreeMap::new();
    for p in places {
        let folder = dir.join(&p.name);
        std::fs::create_dir_all(&folder)?;
        let secret = consensus_key::load_or_create(&folder.join("consensus.key"))?;
        keys.insert(p.id, consensus_key::hex(&pbft_keys::public(&secret.0)));
    }
    let distrusts = ways.engine == EngineKind::Pbft;
    let member = |p: &Place| MemberEntry {
        key: keys.get(&p.id).cloned().filter(|_| distrusts),
        id: p.id,
        name: p.name.clone(),
        region: p.region.into(),
        peer: p.peer,
        client: p.client,
    };
    let members: Vec<MemberEntry> = places.iter().map(member).collect();
    for p in places {
        let folder = dir.join(&p.name);
        authority.issue(Name { cluster, node: NodeId(p.id) })?.save(&folder)?;
        let file = config::File {
            cluster: cluster.to_string(),
            node: p.id,
            data: "data".into(),
            client: p.client,
            peer: p.peer,
            admin: p.admin,
            transport: ways.transport,
            timing: ways.timing,
            engine: ways.engine,
            consensus_key: "consensus.key".into(),
            operator_key: distrusts.then(|| consensus_key::hex(&pbft_keys::public(&operator.0))),
            join: false,
            clock_uncertainty: "1ms".into(),
            threads: 1,
            tls: Tls { authority: "ca.pem".into(), certificate: "node.pem".into(), key: "node.key".into() },
            member: members.clone(),
            keyspace: keyspaces(ways, places),
            redis: Some(RedisDoor { address: p.redis, password_file: None }),
            fleet: Some(FleetDoor {
                address: p.fleet,
                keyspace: String::new(),
                announcements: Some(ANNOUNCED.into()),
                regions: regions(ways, places).into_iter().map(|r| (r.to_owned(), of_region(r))).collect(),
            }),
            policy: ways.adapt.then(Policy::default),
            inject: Some(Inject { delay: delays(p) }),
        };
        std::fs::write(folder.join("node.toml"), toml::to_string_pretty(&file)?)?;
    }
    Ok(())
}
