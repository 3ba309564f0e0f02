//! One machine: a node's turns, its disk and its sockets, by the contract of [`dwcp_env::contract`].

use crate::storage::{Directory, Disk};
use crate::{GROUP, NODES, address, mono};
use bytes::Bytes;
use dwcp_consensus::{Member, Members};
use dwcp_env::bound::INPUT_QUEUE;
use dwcp_env::{
    ByteCount, ClusterId, DiskRequest, Duration, Input, Instant, Job, Lane, Machine, NodeId, Now, Outputs,
    Probe, Reply, RequestId, Seed, Send, Ticket, WallTime, World,
};
use dwcp_node::{EngineKind, GroupSpec, Node, NodeConfig, Request, Response, Sight};
use dwcp_raft::GroupConfig;
use madsim::net::Endpoint;
use madsim::rand::{Rng, random, thread_rng};
use madsim::task::spawn;
use madsim::time::{sleep, timeout};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedSender, channel, unbounded_channel};

/// The tag of questions; a lane's is its number.
pub const ASK: u64 = 3;
/// The tag of answers.
pub const ANSWER: u64 = 4;
/// The calendar at the start of a run.
const EPOCH: Instant = Instant::from_nanos(1_790_000_000_000_000_000);
/// The most inputs of one turn.
const TURN: usize = 64;

/// What travels. madsim carries values, so nothing is encoded but what the node encoded.
pub enum Word {
    /// Between nodes.
    Peer(NodeId, Bytes),
    /// A client's question, its number, and until when it is of interest.
    Ask(u64, Instant, Request),
    /// The answer to it.
    Answer(u64, Response),
}

/// A word that has arrived, with its tag and its sender.
pub type Arrival = (u64, SocketAddr, Word);

/// What the outside sees of a machine, over all its lives.
#[derive(Default)]
pub struct Seen {
    /// The group as the node saw it after its last turn.
    pub sight: Sight,
    /// Folds when every turn came, how much it was given, and every byte that it sent.
    pub trace: DefaultHasher,
}

/// A change to what a node is told at boot.
pub type Plant = fn(&mut NodeConfig);

/// A place for a node.
#[derive(Clone)]
pub struct Machinery {
    /// Whose.
    pub id: NodeId,
    /// Puts known bugs in.
    pub plant: Plant,
    /// Its disk.
    pub disk: Disk,
    /// What is seen of it.
    pub seen: Arc<Mutex<Seen>>,
}

fn config(id: NodeId, plant: Plant) -> NodeConfig {
    let cluster = ClusterId(0xd3c9);
    let nodes = NODES.map(|n| (n, Member { name: n.to_string(), ..Member::default() })).into();
    let members = Members { voters: NODES.into(), nodes, ..Members::default() };
    let mut config = NodeConfig::new(cluster, id);
    config.groups = vec![GroupSpec { id: GROUP, keyspace: "main".into(), engine: EngineKind::Raft, distrust: None, initial: Some(members), known: Vec::new() }];
    config.engine = GroupConfig::lan(id);
    // Small, so that checkpoints, purges and snapshots to a node that was away happen in each run.
    (config.engine.snapshot_entries, config.engine.keep_entries, config.engine.lag_entries) = (100, 50, 100);
    config.wal.segment = ByteCount::kib(64);
    config.store_cache = ByteCount::mib(1);
    plant(&mut config);
    config
}

fn now() -> Now {
    let mono = mono();
    let wall = WallTime::from_nanos(EPOCH.as_nanos() + mono.as_nanos());
    Now { mono, wall, uncertainty: Duration::millis(1) }
}

/// Hands what arrives under a tag to whoever reads; what finds no room is lost.
pub fn listen(endpoint: &Endpoint, tag: u64, into: Sender<Arrival>) {
    let endpoint = endpoint.clone();
    spawn(async move {
        while let Ok((payload, from)) = endpoint.recv_from_raw(tag).await {
            let word = *payload.downcast::<Word>().expect("only words travel");
            let _no_room = into.try_send((tag, from, word));
        }
    });
}

/// One life of a node, until it is killed.
pub async fn live(place: Machinery) {
    let directory = place.disk.begin_life();
    let endpoint = Endpoint::bind(address(place.id)).await.expect("a port of its own");
    let (net, words) = channel(INPUT_QUEUE);
    (0..=ASK).for_each(|tag| listen(&endpoint, tag, net.clone()));
    let (local, done) = unbounded_channel();
    let world = World {
        now: now(),
        storage: Arc::new(directory.clone()),
        probe: Probe::silent(),
        seed: Seed(random()),
    };
    let node = Node::boot(config(place.id, place.plant), &world).expect("what it wrote is what it finds");
    let disk = write(directory, local.clone());
    let (gated, callers) = (BTreeMap::new(), BTreeMap::new());
    let mut driver = Driver { place, node, endpoint, disk, local, durable: None, gated, callers, asked: 0 };
    driver.turns(words, done).await;
}

/// Carries out disk requests one after another, each operation taking its time.
fn write(directory: Directory, local: UnboundedSender<Input<Request>>) -> UnboundedSender<DiskRequest> {
    let (queue, mut requests) = unbounded_channel::<DiskRequest>();
    spawn(async move {
        while let Some(request) = requests.recv().await {
            let mut result = Ok(());
            for op in &request.ops {
                sleep(std::time::Duration::from_micros(thread_rng().gen_range(50..2_000))).await;
                result = result.and_then(|()| directory.apply(op));
            }
            let _ended = local.send(Input::Disk { ticket: request.ticket, result });
        }
    });
    queue
}

enum Gated {
    Send(Send),
    Reply(Reply<Response>),
}

struct Driver {
    place: Machinery,
    node: Node,
    endpoint: Endpoint,
    disk: UnboundedSender<DiskRequest>,
    /// What this machine tells its own node: bounded by what the node has asked for.
    local: UnboundedSender<Input<Request>>,
    /// The last request that completed.
    durable: Option<Ticket>,
    gated: BTreeMap<Ticket, Vec<Gated>>,
    callers: BTreeMap<RequestId, (SocketAddr, u64)>,
    asked: u64,
}

type Done = tokio::sync::mpsc::UnboundedReceiver<Input<Request>>;

impl Driver {
    async fn turns(&mut self, mut words: Receiver<Arrival>, mut done: Done) {
        let (mut inputs, mut out) = (vec![Input::Wake], Outputs::new());
        loop {
            let (now, taken) = (now(), inputs.len());
            self.node.turn(now, &mut inputs, &mut out);
            self.show(now, taken, &out);
            self.carry_out(&mut out).await;
            let wait = out.wake_at.map_or(Duration::secs(3_600), |at| at.since(mono()));
            out.clear();
            let next = async {
                tokio::select! {
                    // Else tokio would draw, and not from our seed.
                    biased;
                    input = done.recv() => input.map(Ok),
                    word = words.recv() => word.map(Err),
                }
            };
            match timeout(wait.to_std(), next).await {
                Ok(first) => self.take(first.expect("both ends are held here"), &mut inputs).await,
                Err(_) => inputs.push(Input::Wake),
            }
            while inputs.len() < TURN {
                let more = done.try_recv().map(Ok).or_else(|_| words.try_recv().map(Err));
                let Ok(more) = more else { break };
                self.take(more, &mut inputs).await;
            }
        }
    }

    fn show(&self, now: Now, taken: usize, out: &Outputs<Response>) {
        let mut seen = self.place.seen.lock().expect("one thread");
        seen.sight = self.node.look(GROUP);
        (now.mono.as_nanos(), taken).hash(&mut seen.trace);
        for send in &out.sends {
            (send.to, send.lane, &send.body).hash(&mut seen.trace);
        }
    }

    /// What has happened, in the node's words; what waited for the disk leaves before it is told.
    async fn take(&mut self, what: Result<Input<Request>, Arrival>, inputs: &mut Vec<Input<Request>>) {
        match what {
            Ok(input) => {
                if let Input::Disk { ticket, result: Ok(()) } = &input {
                    assert!(Some(*ticket) > self.durable, "tickets complete in order");
                    self.durable = Some(*ticket);
                    for gated in self.gated.remove(ticket).unwrap_or_default() {
                        self.let_go(gated).await;
                    }
                }
                inputs.push(input);
            }
            Err((tag, _, Word::Peer(from, body))) => {
                let lane = Lane::from_u8(tag as u8).expect("a lane's tag");
                inputs.push(Input::Message { from, lane, body });
            }
            Err((_, from, Word::Ask(number, deadline, request))) => {
                self.asked += 1;
                self.callers.insert(RequestId(self.asked), (from, number));
                inputs.push(Input::Request { id: RequestId(self.asked), deadline, request });
            }
            Err((_, _, Word::Answer(..))) => unreachable!("nobody answers a node"),
        }
    }

    async fn carry_out(&mut self, out: &mut Outputs<Response>) {
        if let Some(why) = out.stopped.take() {
            panic!("{} ended itself: {why:?}", self.place.id);
        }
        for request in out.disk.drain(..) {
            self.disk.send(request).expect("the disk outlives the node");
        }
        let sends = out.sends.drain(..).map(|s| (s.after, Gated::Send(s)));
        let replies = out.replies.drain(..).map(|r| (r.after, Gated::Reply(r)));
        for (after, gated) in sends.chain(replies) {
            match after {
                Some(ticket) if after > self.durable => self.gated.entry(ticket).or_default().push(gated),
                _ => self.let_go(gated).await,
            }
        }
        for job in out.jobs.drain(..) {
            let Job { id, cost, run, .. } = job;
            let (result, local) = (Some(run()), self.local.clone());
            spawn(async move {
                sleep(cost.to_std()).await;
                let _ended = local.send(Input::Job { job: id, result });
            });
        }
    }

    async fn let_go(&mut self, gated: Gated) {
        let (to, tag, word) = match gated {
            Gated::Send(s) => (address(s.to), s.lane as u64, Word::Peer(self.place.id, s.body)),
            Gated::Reply(r) => {
                let Some((to, number)) = self.callers.remove(&r.id) else { return };
                (to, ANSWER, Word::Answer(number, r.response))
            }
        };
        let _lost = self.endpoint.send_to_raw(to, tag, Box::new(word)).await;
    }
}
