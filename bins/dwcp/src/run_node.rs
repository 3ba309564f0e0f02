//! `dwcp node`: one node of a cluster as a process, with its doors.

use crate::admin;
use crate::config::{File, Keyspace, Regional, Timing, Transport};
use crate::documents::Documents;
use crate::etcd::Door;
use crate::face::Face;
use crate::fleet::{self, Fleet, Keyspaces};
use crate::redis;
use clap::Args;
use dwcp_conflict::audit::Retention;
use dwcp_consensus::Members;
use dwcp_env::{Duration, GroupId, NodeId, RegionId};
use dwcp_eventual::EventualSpec;
use dwcp_node::{GroupSpec, HybridSpec, Node, NodeConfig, OutsideSpec};
use dwcp_raft::GroupConfig;
use dwcp_runtime_real::authority::Identity;
use dwcp_runtime_real::{self as real, Ended, OnBroken, Peer, Registry, Settings};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Runs one node of a cluster until SIGTERM or Ctrl-C.
///
/// See docs/operations/configuration.md for the file.
#[derive(Args, Debug)]
pub struct NodeArgs {
    /// The node's configuration.
    #[arg(long)]
    pub config: PathBuf,
    /// Check the configuration and say what it means; start nothing.
    #[arg(long)]
    pub check: bool,
    /// End when standard input ends: for a parent that must not leave orphans.
    #[arg(long, hide = true)]
    pub end_with_stdin: bool,
    /// A known bug put back in, so that `dwcp jepsen` can be seen to find it.
    #[cfg(feature = "planted-bugs")]
    #[arg(long, value_enum, hide = true)]
    pub planted_bug: Option<PlantedBug>,
}

/// Known bugs of the node that real processes can be started with.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum PlantedBug {
    /// Writes are acknowledged before they are on the disk.
    AckBeforeSync,
    /// Linearizable reads are answered from local state.
    ReadWithoutBarrier,
    /// Replicas of eventual keyspaces throw away what peers send because it is missing.
    DropRepairs,
}

#[cfg(feature = "planted-bugs")]
fn plant(bug: Option<PlantedBug>, config: &mut NodeConfig) {
    match bug {
        Some(PlantedBug::AckBeforeSync) => config.wal.bugs.ack_before_sync = true,
        Some(PlantedBug::ReadWithoutBarrier) => config.bugs.read_without_barrier = true,
        Some(PlantedBug::DropRepairs) => config.eventual.iter_mut().for_each(|e| e.drops_repairs = true),
        None => {}
    }
}

/// How long a node may take to hand over and flush when it is asked to stop.
const STOP_WITHIN: Duration = Duration::secs(8);

/// Runs it.
///
/// # Errors
/// What is wrong and what to do.
pub fn run(args: &NodeArgs) -> Result<(), String> {
    let file = File::load(&args.config).map_err(|e| e.to_string())?;
    if args.check {
        println!(
            "{} is sound: node {} of {} members, {} keyspaces",
            args.config.display(),
            file.node,
            file.member.len(),
            file.keyspaces().len()
        );
        for k in file.regional() {
            println!("{}", of_region(&k));
        }
        return Ok(());
    }
    init_log();
    // The node brings one thread; this one serves pages and signals.
    let mut builder = match file.threads {
        1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder
        .worker_threads(file.threads.saturating_sub(1).max(1))
        .enable_all()
        .build()
        .map_err(|e| format!("can't start the runtime: {e}"))?;
    let mut config = node_config(&file);
    config.secret = Some(crate::consensus_key::load_or_create(&file.consensus_key)?);
    #[cfg(feature = "planted-bugs")]
    let config = {
        let mut config = config;
        plant(args.planted_bug, &mut config);
        config
    };
    let done = runtime.block_on(serve(file, config, args.end_with_stdin));
    // The node has ended and synced. A read of standard input can't be cancelled: waiting for its thread
    // would keep the process until its parent closes the pipe.
    runtime.shutdown_background();
    done
}

/// What it means that a region's nodes form a keyspace.
fn of_region(k: &Regional<'_>) -> String {
    let (name, region, nodes) = (&k.keyspace.name, k.region, k.nodes.len());
    let bears = match nodes {
        0 => "this file names none of them".to_owned(),
        1 => "it stands still while that one is down, and is lost with its disk".to_owned(),
        _ => format!("{} of them may be down", (nodes - 1) / 2),
    };
    let part = if k.here { "one of them is this node" } else { "this node reaches it through them" };
    format!("keyspace {name:?} is formed by the nodes of {region} ({nodes}): {bears}; {part}")
}

/// Our own lines only: the engine's library tells each of its steps, which costs more than the step.
pub(crate) fn init_log() {
    use std::io::IsTerminal;
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::prelude::*;
    let ours = ["dwcp", "dwcp_runtime_real"].map(|target| (target, tracing::Level::INFO));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines.with_filter(Targets::new().with_targets(ours))).init();
}

async fn bind(what: &str, key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|e| {
        format!("can't listen for {what} on {address}: {e}; stop what uses the port, or change `{key}` in the configuration")
    })
}

async fn serve(file: File, config: NodeConfig, end_with_stdin: bool) -> Result<(), String> {
    // Ports before data: an occupied one is found before anything is touched.
    let door_listener = bind("clients", "client", file.client).await?;
    let redis_bound = bind_redis(&file).await?;
    let fleet_bound = match &file.fleet {
        Some(door) => Some(bind("the fleet's clients", "fleet.address", door.address).await?),
        None => None,
    };
    let registry = Arc::new(Registry::new());
    let settings = settings(&file)?;
    let node = real::Node::start(settings, registry.clone(), move |world| Node::boot(config, &world))
        .await
        .map_err(|e| e.to_string())?;
    inject_delays(&file, &node)?;
    let cluster = file.cluster_id().unwrap_or_default();
    // etcd's headers have room for 64 bits.
    let face = Face::new(node.handle(), ((cluster.0 >> 64) as u64, file.node), file.keyspaces())
        .with_eventual(file.served().into_iter().map(seen_keyspace));
    let (close, closing) = watch::channel(false);
    let door_on = if file.threads == 1 { node.runtime().clone() } else { tokio::runtime::Handle::current() };
    let door_listener = rehome(door_listener, &door_on).map_err(|e| format!("the clients' port: {e}"))?;
    let door = door_on.spawn(Door::new(face.clone()).serve(door_listener, closing.clone()));
    let fleet_door = open_fleet(&file, &face, fleet_bound, &door_on, &closing, &registry)?;
    let redis_door =
        redis_bound.map(|bound| bound.serve(&face, &door_on, closing, registry.clone())).transpose()?;
    let seen = admin::Seen::default();
    admin::register(&registry, &face, &seen);
    let pages = admin::pages(&registry, &face, &seen, node.links(), file.inject.is_some());
    let pages = real::http::serve(file.admin, pages).map_err(|e| e.to_string())?;
    let looking = tokio::spawn(admin::watch_node(face, seen, registry.clone()));
    let ended = tokio::select! {
        ended = node.ended() => ended,
        () = told_to_end(end_with_stdin) => {
            tracing::info!("stopping");
            node.stop(STOP_WITHIN).await
        }
    };
    close.send_replace(true);
    let both = async {
        // A door that broke has nobody left to serve.
        let _ended = door.await;
        if let Some(redis_door) = redis_door {
            let _ended = redis_door.await;
        }
        if let Some(fleet_door) = fleet_door {
            let _ended = fleet_door.await;
        }
    };
    let drained = tokio::time::timeout(std::time::Duration::from_secs(2), both).await;
    if drained.is_err() {
        tracing::warn!("clients still held connections when the node had ended");
    }
    looking.abort();
    drop(pages);
    match ended {
        Ended::Well | Ended::Late => Ok(()),
        Ended::Failed(why) | Ended::Broken(why) => Err(why),
    }
}

/// Opens the fleet's door, and begins to look after what is due.
fn open_fleet(
    file: &File,
    face: &Face,
    bound: Option<TcpListener>,
    on: &tokio::runtime::Handle,
    closing: &watch::Receiver<bool>,
    registry: &Registry,
) -> Result<Option<tokio::task::JoinHandle<()>>, String> {
    let (Some(door), Some(listener)) = (&file.fleet, bound) else { return Ok(None) };
    let listener = rehome(listener, on).map_err(|e| format!("the fleet's port: {e}"))?;
    let keyspaces = Keyspaces { default: door.keyspace.clone(), regions: door.regions.clone() };
    let announced = file.eventual().into_iter().find(|k| door.announcements.as_ref() == Some(&k.name));
    let air = announced.map(|k| fleet::Air::new(face.clone(), GroupId(k.group)));
    let backstop = air.map(|air| fleet::Backstop::new(air, face.clock(), registry));
    let fleet = Fleet::new(face.clone(), keyspaces, face.clock()).announcing(backstop.clone());
    let holds = file.keyspace.iter().find(|k| k.documents);
    let documents = holds.map(|k| Documents::new(face.clone(), &k.name, GroupId(k.group)));
    let served = fleet::Door::new(fleet.clone()).beside(documents).serve(listener, closing.clone());
    let closing = closing.clone();
    let damaged = fleet::Damaged::default();
    let counted = damaged.clone();
    let help = "Records of the fleet that can't be read, in regions that this node leads.";
    registry.gauge("dwcp_fleet_damaged_records_count", help, &[], move || counted.count() as f64);
    Ok(Some(on.spawn(async move {
        let mut closing = closing;
        tokio::select! {
            () = served => {}
            () = fleet::control(fleet, damaged, backstop.clone()) => {}
            () = listened(backstop) => {}
            _ = closing.changed() => {}
        }
    })))
}

/// Listens to announcements, if there are any.
async fn listened(backstop: Option<fleet::Backstop>) {
    match backstop {
        Some(backstop) => backstop.listen().await,
        None => std::future::pending().await,
    }
}

/// What the Redis door needs, got hold of before the node starts.
struct RedisBound {
    listener: TcpListener,
    address: SocketAddr,
    password: Option<String>,
}

async fn bind_redis(file: &File) -> Result<Option<RedisBound>, String> {
    let Some(redis) = &file.redis else { return Ok(None) };
    let listener = bind("Redis' clients", "redis.address", redis.address).await?;
    Ok(Some(RedisBound { listener, address: redis.address, password: redis.password()? }))
}

impl RedisBound {
    fn serve(
        self,
        face: &Face,
        on: &tokio::runtime::Handle,
        closing: watch::Receiver<bool>,
        registry: Arc<Registry>,
    ) -> Result<tokio::task::JoinHandle<()>, String> {
        let listener = rehome(self.listener, on).map_err(|e| format!("the Redis door's port: {e}"))?;
        let door = redis::Door::new(face.clone(), self.password, self.address.port(), registry);
        Ok(on.spawn(door.serve(listener, closing)))
    }
}

/// A listener is woken by the runtime that bound it: by this one from now on.
fn rehome(listener: TcpListener, runtime: &tokio::runtime::Handle) -> std::io::Result<TcpListener> {
    let plain = listener.into_std()?;
    let _on_it = runtime.enter();
    TcpListener::from_std(plain)
}

async fn told_to_end(end_with_stdin: bool) {
    let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(term) => term,
        Err(e) => {
            tracing::error!("no SIGTERM handler: {e}");
            return std::future::pending().await;
        }
    };
    let stdin_ends = async {
        if end_with_stdin {
            let mut rest = Vec::new();
            let _end_or_error = tokio::io::stdin().read_to_end(&mut rest).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
        () = stdin_ends => {}
    }
}

fn settings(file: &File) -> Result<Settings, String> {
    let identity = Identity::load(&file.tls.authority, &file.tls.certificate, &file.tls.key)
        .map_err(|e| e.to_string())?;
    let others = file.member.iter().filter(|m| m.id != file.node);
    Ok(Settings {
        cluster: file.cluster_id().unwrap_or_default(),
        node: NodeId(file.node),
        data_dir: file.data.clone(),
        listen: file.peer,
        peers: others.map(|m| Peer { node: NodeId(m.id), address: m.peer.to_string() }).collect(),
        transport: match file.transport {
            Transport::Tcp => real::Transport::Tcp,
            Transport::Quic => real::Transport::Quic,
        },
        identity,
        clock_uncertainty: crate::config::duration(&file.clock_uncertainty)?,
        seed: None,
        inject: file.inject.is_some(),
        on_broken: OnBroken::Abort,
    })
}

fn node_config(file: &File) -> NodeConfig {
    let cluster = file.cluster_id().unwrap_or_default();
    let initial = if file.join { None } else { Some(file.members()) };
    let known: Vec<NodeId> = file.member.iter().map(|m| NodeId(m.id)).collect();
    let regional = file.regional();
    let region_of = |keyspace: &str| regional.iter().find(|k| k.keyspace.name == keyspace);
    let mut groups: Vec<GroupSpec> = file
        .keyspaces()
        .into_iter()
        .filter(|(keyspace, _)| region_of(keyspace).is_none_or(|k| k.here))
        .map(|(keyspace, id)| {
            let hybrid = file.hybrid().into_iter().find(|k| k.name == keyspace);
            let region = region_of(&keyspace);
            let initial = match (hybrid, region) {
                (Some(k), _) => initial.as_ref().and_then(|m| at_home(file, k, m)),
                (None, Some(k)) => initial.as_ref().map(|m| only(m, &k.nodes)),
                (None, None) => initial.clone(),
            };
            let known = region.map_or_else(|| known.clone(), |k| k.nodes.iter().copied().collect());
            let (engine, distrust) = (file.engine, file.distrust());
            GroupSpec { id, keyspace, engine, distrust, initial, known }
        })
        .collect();
    groups.sort_by_key(|g: &GroupSpec| g.id);
    debug_assert_eq!(groups.first().map(|g| g.id), Some(GroupId(0)));
    let node = NodeId(file.node);
    let engine = match file.timing {
        Timing::Lan => GroupConfig::lan(node),
        Timing::Wan => GroupConfig::wan(node),
    };
    let eventual = file.eventual().into_iter().map(|k| eventual_spec(file, k)).collect();
    // A home asks again three times while its lease lasts, over links as long as elections are patient.
    let fence = engine.election_max * 2;
    let hybrid = file.hybrid().into_iter().map(|k| hybrid_spec(file, k, fence)).collect();
    NodeConfig {
        groups,
        eventual,
        hybrid,
        outside: regional.iter().filter(|k| !k.here).map(outside).collect(),
        regions: regional.iter().map(|k| (GroupId(k.keyspace.group), k.region.to_owned())).collect(),
        engine,
        policy: file.policy.clone(),
        ..NodeConfig::new(cluster, node)
    }
}

/// A keyspace that another region's nodes form.
fn outside(k: &Regional<'_>) -> OutsideSpec {
    OutsideSpec {
        id: GroupId(k.keyspace.group),
        keyspace: k.keyspace.name.clone(),
        region: k.region.to_owned(),
        known: k.nodes.clone(),
    }
}

/// A group that these nodes form alone.
fn only(all: &Members, voters: &BTreeSet<NodeId>) -> Members {
    let nodes = all.nodes.iter().filter(|(n, _)| voters.contains(n)).map(|(n, m)| (*n, m.clone())).collect();
    Members { voters: voters.clone(), nodes, ..Members::default() }
}

fn region_number(file: &File, name: &str) -> RegionId {
    let place = file.regions().iter().position(|r| r == name).unwrap_or(0);
    RegionId(u16::try_from(place).unwrap_or(u16::MAX))
}

/// Who forms a hybrid keyspace's first home, on those that do.
fn at_home(file: &File, keyspace: &Keyspace, all: &Members) -> Option<Members> {
    let home = region_number(file, keyspace.home.as_deref()?);
    let nodes: BTreeMap<_, _> =
        all.nodes.iter().filter(|(_, m)| m.region == home).map(|(n, m)| (*n, m.clone())).collect();
    let voters: BTreeSet<NodeId> = nodes.keys().copied().collect();
    voters.contains(&NodeId(file.node)).then(|| Members { voters, nodes, ..Members::default() })
}

/// A hybrid keyspace; its deed lies in the default strong one.
fn hybrid_spec(file: &File, keyspace: &Keyspace, fence: dwcp_env::Duration) -> HybridSpec {
    let me = file.member.iter().find(|m| m.id == file.node);
    HybridSpec {
        group: GroupId(keyspace.group),
        strong: String::new(),
        home: region_number(file, keyspace.home.as_deref().unwrap_or_default()),
        region: region_number(file, me.map_or("", |m| &m.region)),
        names: file.regions(),
        // Checked when the file was read.
        bound: keyspace.bound().unwrap_or_default(),
        fence,
    }
}

/// An eventual keyspace as the Redis door sees it.
fn seen_keyspace(keyspace: &Keyspace) -> redis::Keyspace {
    let sync = keyspace.sync.unwrap_or_default();
    redis::Keyspace { name: keyspace.name.clone(), group: GroupId(keyspace.group), sync }
}

/// An eventual keyspace; its roster lies in the default strong one.
fn eventual_spec(file: &File, keyspace: &Keyspace) -> EventualSpec {
    let members = file.members();
    let region = members.nodes.get(&NodeId(file.node)).map(|m| m.region).unwrap_or_default();
    let mut spec = EventualSpec::new(GroupId(keyspace.group), &keyspace.name, "", region);
    spec.sync = keyspace.sync.unwrap_or_default();
    spec.documents = keyspace.documents;
    // Checked when the file was read.
    if let Some(Ok(retention)) = keyspace.keep_days.map(|days| Retention::of_days(u64::from(days))) {
        spec.retention = retention;
    }
    // Only QUIC's links carry datagrams.
    spec.gossip.streams = file.transport == Transport::Quic;
    // Clients are not told the cluster's identity; whoever holds it could only make fingerprints collide.
    let id = file.cluster_id().unwrap_or_default().0.to_le_bytes();
    spec.secret[..16].copy_from_slice(&id);
    spec.secret[16..].copy_from_slice(&id);
    spec
}

fn inject_delays(
    file: &File,
    node: &real::Node<dwcp_node::Request, dwcp_node::Response>,
) -> Result<(), String> {
    let Some(inject) = &file.inject else { return Ok(()) };
    let Some(faults) = node.links().inject() else { return Ok(()) };
    for member in file.member.iter().filter(|m| m.id != file.node) {
        if let Some(delay) = inject.delay.get(&member.region) {
            faults.delay(NodeId(member.id), crate::config::duration(delay)?.to_std());
        }
    }
    Ok(())
}
