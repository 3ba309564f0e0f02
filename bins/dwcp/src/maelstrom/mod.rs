//! `dwcp maelstrom`: the third world. Lines of JSON instead of links.
//!
//! **Promise.** The node that runs here is the one of production and of the simulator: the same [`Node`], the
//! same loop, log and store on a real disk. Only the network is another: peers' frames travel as Maelstrom
//! messages, so whoever carries these — Maelstrom, or the judge in `jepsen/maelstrom` — delays, loses and cuts
//! them. Every question is answered within [`strong::WITHIN`], and no answer claims more than is known.
//!
//! **Model.** A thread reads lines, a thread writes them, one tokio thread does all between; the node has its own
//! threads ([`dwcp_runtime_real::hosted`]). `init` names the nodes, and from the names each forms the same
//! cluster by itself ([`cluster`]). Frames go to the node; a question becomes a task, of which at most
//! [`QUESTIONS_MAX`] are in progress.
//!
//! **Reading order.** [`protocol`] (lines and error codes), [`cluster`], `frames` and `lines` (in and out),
//! [`strong`] (the store without lies), [`workload`] (one file each).
//!
//! **Rejected.** A loop of its own for this world: the real one keeps the contract already, and is what is to be
//! tested. Guessing the workload from the first question: `read` is of five of them.

mod cluster;
mod frames;
mod lines;
mod protocol;
mod scratch;
mod strong;
mod workload;

use crate::config::Timing;
use clap::Args;
use cluster::Cluster;
use dwcp_consensus::{MemberChange, Role};
use dwcp_env::{ByteCount, Duration, Seed};
use dwcp_node::{Answer, Ask, EngineKind, GroupSpec, Node, NodeConfig, Request, Response};
use dwcp_raft::GroupConfig;
use dwcp_runtime_real::{Arrivals, Ended, HostSettings, Hosted, OnBroken, Registry};
use lines::Lines;
use protocol::{Code, Fault, Message};
use scratch::Scratch;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use strong::{GROUP, Strong};
use tokio::sync::{Notify, Semaphore, mpsc};
pub use workload::Workload;
use workload::broadcast::Broadcast;
use workload::{Names, Server};

/// Runs one node that speaks Maelstrom's protocol on standard input and output.
///
/// Maelstrom (or `jepsen/maelstrom/bench.py`, which needs nothing but Python) starts one for each node, and
/// carries their messages over a network that it breaks on purpose.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  jepsen/maelstrom/bench.py lin-kv --bin \"dwcp maelstrom lin-kv\" --nodes 5 --nemesis partition
  jepsen/maelstrom/bench.py all --bin \"dwcp maelstrom {workload}\"
  maelstrom test -w lin-kv --bin $(which dwcp) --node-count 5 --nemesis partition -- maelstrom lin-kv
  echo '{\"src\":\"c1\",\"dest\":\"n1\",\"body\":{\"type\":\"init\",\"msg_id\":1,\"node_id\":\"n1\",\"node_ids\":[\"n1\"]}}' \\
    | dwcp maelstrom echo

Log lines go to standard error. The node ends, with status 0, when its input ends or at SIGTERM; with 1 when it \
can't go on. See docs/maelstrom.md.")]
pub struct MaelstromArgs {
    /// What it will be asked.
    #[arg(value_enum)]
    pub workload: Workload,
    /// Where nodes keep their data, each in a folder of its own; kept from run to run, so that a killed node comes
    /// back with what it promised. Without it: a temporary folder, removed at the end.
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// How patient elections are: `wan` bears latencies of 100 ms and more.
    #[arg(long, value_enum, default_value_t)]
    pub timing: Timing,
}

/// Questions in progress; one more is refused. Less than a session's window of numbers.
const QUESTIONS_MAX: usize = 512;
/// Lines read ahead.
const READ_AHEAD: usize = 1_024;
/// How long a node may take to hand over and flush when its input ends.
const STOP_WITHIN: Duration = Duration::secs(2);
/// How often a leader looks whether everybody has joined.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(300);

const _: () = assert!(QUESTIONS_MAX < dwcp_env::bound::SESSION_WINDOW);

/// Runs it.
///
/// # Errors
/// What is wrong and what to do.
pub fn run(args: MaelstromArgs) -> Result<(), String> {
    crate::run_node::init_log();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| format!("can't start the runtime: {e}"))?.block_on(World::live(args))
}

/// A node and its surroundings.
struct World {
    args: MaelstromArgs,
    lines: Lines,
    room: Arc<Semaphore>,
    site: Option<Site>,
}

/// What there is once `init` has come.
struct Site {
    cluster: Arc<Cluster>,
    server: Server,
    node: Option<(Hosted<Request, Response>, Arrivals<Request, Response>)>,
    /// Goes last: the folder outlives the node.
    _scratch: Option<Scratch>,
}

impl World {
    async fn live(args: MaelstromArgs) -> Result<(), String> {
        let thread = |e| format!("can't start a thread: {e}");
        let closed = Arc::new(Notify::new());
        let lines = Lines::start(closed.clone()).map_err(thread)?;
        let mut messages = read().map_err(thread)?;
        let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(|e| format!("no SIGTERM handler: {e}"))?;
        let mut world = Self { args, lines, room: Arc::new(Semaphore::new(QUESTIONS_MAX)), site: None };
        loop {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => world.take(message).await?,
                    None => break,
                },
                ended = world.ended() => return Err(ended),
                () = closed.notified() => break,
                _ = term.recv() => break,
                _ = tokio::signal::ctrl_c() => break,
            }
        }
        if let Some(Site { node: Some((node, _)), .. }) = &mut world.site
            && let Ended::Failed(why) | Ended::Broken(why) = stop(node).await
        {
            return Err(why);
        }
        Ok(())
    }

    /// Waits until the node ends by itself, and says why.
    async fn ended(&mut self) -> String {
        match &mut self.site {
            Some(Site { node: Some((node, _)), .. }) => match node.ended().await {
                Ended::Failed(why) | Ended::Broken(why) => why,
                Ended::Well | Ended::Late => "the node has ended and nobody asked it to".into(),
            },
            _ => std::future::pending().await,
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), String> {
        let kind = message.kind();
        if kind == "init" {
            return self.init(&message).await;
        }
        let Some(site) = &self.site else {
            let why = Fault::new(Code::Unavailable, "this node was not told who it is; send init first");
            self.reply(&message, Err(why));
            return Ok(());
        };
        if kind == frames::KIND {
            site.deliver(&message);
        } else if Broadcast::is_gossip(kind) {
            if let (Server::Broadcast(b), Some(from)) = (&site.server, site.cluster.id(&message.src)) {
                b.hear(from, kind, &message.body);
            }
        } else if message.body.contains_key("in_reply_to") {
            tracing::warn!(from = message.src, kind, "an answer to nothing that was asked is left out");
        } else {
            self.question(message);
        }
        Ok(())
    }

    fn question(&self, message: Message) {
        let Some(site) = &self.site else { return };
        let Ok(place) = self.room.clone().try_acquire_owned() else {
            let why = format!("{QUESTIONS_MAX} questions are in progress; ask again later");
            return self.reply(&message, Err(Fault::new(Code::Unavailable, why)));
        };
        let (server, lines) = (site.server.clone(), self.lines.clone());
        tokio::spawn(async move {
            let answer = server.answer(message.kind(), &message.body).await;
            drop(place);
            reply(&lines, &message, answer);
        });
    }

    fn reply(&self, message: &Message, answer: protocol::Answer) {
        reply(&self.lines, message, answer);
    }

    /// Forms the cluster and starts what the workload needs.
    async fn init(&mut self, message: &Message) -> Result<(), String> {
        let cluster = match Cluster::of(&message.body) {
            Ok(cluster) => Arc::new(cluster),
            Err(fault) => {
                self.reply(message, Err(fault));
                return Ok(());
            }
        };
        if let Some(site) = &self.site {
            let same = site.cluster.me == cluster.me && site.cluster.identity() == cluster.identity();
            let other = || Fault::malformed("this node was told before that it is another");
            self.reply(message, if same { protocol::done() } else { Err(other()) });
            return Ok(());
        }
        self.lines.speak_as(cluster.my_name());
        self.site = Some(Site::found(&self.args, cluster, self.lines.clone()).await?);
        self.reply(message, protocol::done());
        Ok(())
    }
}

async fn stop(node: &mut Hosted<Request, Response>) -> Ended {
    node.handle().stop(STOP_WITHIN);
    node.ended().await
}

fn reply(lines: &Lines, message: &Message, answer: protocol::Answer) {
    // Who gives no number wants no answer.
    if let Some(number) = message.number() {
        lines.say(&message.src, protocol::reply(message.kind(), number, answer));
    }
}

impl Site {
    async fn found(args: &MaelstromArgs, cluster: Arc<Cluster>, lines: Lines) -> Result<Self, String> {
        let life = crate::identity::draw_cluster().map_err(|e| format!("no randomness: {e}"))?;
        let seed = Seed(u64::from_str_radix(&life[..16], 16).unwrap_or_default());
        let tag = format!("{}-{}", cluster.my_name(), &life[..16]);
        if !args.workload.needs_store() {
            let server = match args.workload {
                Workload::Broadcast => {
                    let broadcast = Arc::new(Broadcast::new(cluster.clone(), lines, seed));
                    let running = broadcast.clone();
                    tokio::spawn(async move { running.run().await });
                    Server::Broadcast(broadcast)
                }
                Workload::UniqueIds => Server::UniqueIds(Arc::new(Names { tag, given: AtomicU64::new(0) })),
                _ => Server::Echo,
            };
            return Ok(Self { cluster, server, node: None, _scratch: None });
        }
        let (data_dir, scratch) = match &args.data {
            Some(folder) => (folder.join(format!("node-{}", cluster.me.0)), None),
            None => {
                let scratch = Scratch::new(&tag)?;
                (scratch.path().join("data"), Some(scratch))
            }
        };
        let settings = HostSettings {
            cluster: cluster.identity(),
            node: cluster.me,
            data_dir,
            clock_uncertainty: Duration::millis(500),
            seed: Some(seed),
            on_broken: OnBroken::Abort,
        };
        let config = node_config(&cluster, args.timing);
        let postman = Arc::new(frames::Postman { cluster: cluster.clone(), lines });
        let boot = move |world| Node::boot(config, &world);
        let node = Hosted::start(settings, Arc::new(Registry::new()), postman, boot);
        let node = node.await.map_err(|e| e.to_string())?;
        let strong = Arc::new(Strong::new(node.handle(), tag));
        if cluster.is_voter(cluster.me) {
            tokio::spawn(welcome(cluster.clone(), strong.clone()));
        }
        let arrivals = node.arrivals();
        let server = Server::Store(args.workload, strong);
        Ok(Self { cluster, server, node: Some((node, arrivals)), _scratch: scratch })
    }

    fn deliver(&self, message: &Message) {
        let (Some((_, arrivals)), Some(from)) = (&self.node, self.cluster.id(&message.src)) else {
            return tracing::warn!(from = message.src, "a frame from a stranger is left out");
        };
        match frames::open(&message.body) {
            Ok((lane, body)) => {
                if !arrivals.deliver(from, lane, body) {
                    tracing::debug!(from = message.src, "no room for a frame: it is lost");
                }
            }
            Err(why) => tracing::warn!(from = message.src, "a frame that is none is left out: {why}"),
        }
    }
}

fn node_config(cluster: &Cluster, timing: Timing) -> NodeConfig {
    let initial = cluster.is_voter(cluster.me).then(|| cluster.founders());
    let engine = match timing {
        Timing::Lan => GroupConfig::lan(cluster.me),
        Timing::Wan => GroupConfig::wan(cluster.me),
    };
    let mut config = NodeConfig::new(cluster.identity(), cluster.me);
    config.groups = vec![GroupSpec {
        id: GROUP,
        keyspace: "maelstrom".into(),
        engine: EngineKind::Raft,
        distrust: None,
        initial,
        known: Vec::new(),
    }];
    config.engine = engine;
    // Dozens of nodes share a machine here.
    config.store_cache = ByteCount::mib(8);
    config
}

/// While this node leads: takes in those who are no founders. Ends when nobody is missing.
async fn welcome(cluster: Arc<Cluster>, strong: Arc<Strong>) {
    loop {
        if let Some(status) = strong.status().await
            && let Some(Answer::Members(members)) = strong.try_ask(Ask::Members).await
        {
            let missing = cluster.nodes().find(|n| !members.nodes.contains_key(n));
            match missing {
                None if status.leader.is_some() => return,
                Some(node) if status.role == Role::Leader => {
                    let change = MemberChange::AddLearner(node, cluster.member(node));
                    if strong.try_ask(Ask::ChangeMembers(change)).await.is_some() {
                        continue;
                    }
                }
                _ => {}
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Reads standard input on a thread of its own.
fn read() -> std::io::Result<mpsc::Receiver<Message>> {
    let (to, messages) = mpsc::channel(READ_AHEAD);
    let run = move || {
        let mut input = std::io::BufReader::with_capacity(256 * 1024, std::io::stdin().lock());
        loop {
            match protocol::next_message(&mut input) {
                Ok(Some(message)) => {
                    if to.blocking_send(message).is_err() {
                        return;
                    }
                }
                Ok(None) => return,
                Err(e) => return tracing::error!("standard input can't be read: {e}"),
            }
        }
    };
    std::thread::Builder::new().name("dwcp-stdin".into()).spawn(run)?;
    Ok(messages)
}
