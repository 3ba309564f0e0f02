//! Clients at work: the state machines of `jepsen/workload` on real sockets and real time.
//!
//! One task owns all clients and the log, so that the log's order is the order of one observer. Each
//! attempt is a task of its own with a connection of its client's own to that node; what it
//! hears comes back through one bounded queue. Time is the monotonic clock since the run began.

use super::{door, eventual};
use crate::client::Client as Etcd;
use crate::redis::client::Client as Redis;
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
use dwcp_workload::script::Script;
use dwcp_workload::{Answer, Ask, Client, Do, Log, Outcome, Refusal, Use};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// What clients are to do.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) kind: Use,
    pub(super) clients: u32,
    /// Operations a second, all clients together.
    pub(super) rate: u32,
    pub(super) keys: u32,
    pub(super) seed: Seed,
}

/// What the world may know while clients are at work.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) ok: AtomicU64,
    pub(super) unknown: AtomicU64,
}

/// Answers that wait to be taken in; one more makes its task wait.
const HEARD_MAX: usize = 1_024;
/// Clients told to stop have this long for their last operations.
const LAST_WITHIN: Duration = Duration::secs(15);
/// The longest sleep of the loop: how soon it sees that it is to stop.
const LOOK_EVERY: Duration = Duration::millis(50);

const HOME: Purpose = Purpose::named("jepsen.home");

type Heard = (usize, u64, Result<Answer, Refusal>);
type Connections = Arc<tokio::sync::Mutex<BTreeMap<NodeId, Connection>>>;

/// A client's line to a node.
enum Connection {
    Etcd(Etcd),
    Redis(Redis),
}

struct Attempt {
    number: u64,
    node: NodeId,
    task: JoinHandle<()>,
}

/// All clients, their connections and what they wait for.
struct Crowd {
    origin: std::time::Instant,
    doors: Arc<BTreeMap<NodeId, SocketAddr>>,
    clients: Vec<Client>,
    connections: Vec<Connections>,
    attempts: Vec<Option<Attempt>>,
    wakes: BTreeSet<(Instant, usize)>,
    wake_of: Vec<Instant>,
    log: Log,
    out: Vec<Do>,
    tell: mpsc::Sender<Heard>,
}

/// Lets clients work until told to stop; gives what they did.
pub(super) async fn drive(
    load: Load,
    doors: BTreeMap<NodeId, SocketAddr>,
    origin: std::time::Instant,
    mut stop: watch::Receiver<bool>,
    tally: Arc<Tally>,
) -> Log {
    let (tell, mut hear) = mpsc::channel(HEARD_MAX);
    let mut crowd = Crowd::new(&load, doors, origin, tell);
    let mut stopping: Option<Instant> = None;
    let mut counted = Counted::default();
    loop {
        let now = crowd.now();
        if stopping.is_none() && *stop.borrow_and_update() {
            crowd.clients.iter_mut().for_each(|c| c.stop_at(now));
            stopping = Some(now + LAST_WITHIN);
        }
        crowd.wake(now);
        if let Some(deadline) = stopping
            && (now >= deadline || crowd.clients.iter().all(|c| c.is_done(now) && !c.is_busy()))
        {
            break;
        }
        let next = crowd.next_wake().min(now + LOOK_EVERY);
        let until = tokio::time::Instant::from_std(origin + next.since(Instant::ZERO).to_std());
        tokio::select! {
            Some((client, attempt, answer)) = hear.recv() => crowd.hears(client, attempt, answer),
            () = tokio::time::sleep_until(until) => {}
        }
        counted.count(&crowd.log, &tally);
    }
    for attempt in crowd.attempts.iter().flatten() {
        attempt.task.abort();
    }
    crowd.log
}

/// Which records are counted already.
#[derive(Default)]
struct Counted {
    /// Records before this have been looked at.
    seen: usize,
    /// Those of them that had not ended: at most one a client.
    open: Vec<usize>,
}

impl Counted {
    /// Counts what has ended since.
    fn count(&mut self, log: &Log, tally: &Tally) {
        self.open.extend(self.seen..log.records.len());
        self.seen = log.records.len();
        self.open.retain(|at| {
            match log.records[*at].outcome {
                Outcome::Open => return true,
                Outcome::Ok => tally.ok.fetch_add(1, Ordering::Relaxed),
                Outcome::Info => tally.unknown.fetch_add(1, Ordering::Relaxed),
                Outcome::Fail => 0,
            };
            false
        });
    }
}

impl Crowd {
    fn new(
        load: &Load,
        doors: BTreeMap<NodeId, SocketAddr>,
        origin: std::time::Instant,
        tell: mpsc::Sender<Heard>,
    ) -> Self {
        let interval = Duration::nanos(1_000_000_000 * u64::from(load.clients) / u64::from(load.rate.max(1)));
        let from = Instant::ZERO + Duration::from_std(origin.elapsed());
        let client = |id: u32| {
            let script = Script::new(load.kind, id, load.keys);
            let mut nodes: Vec<NodeId> = doors.keys().copied().collect();
            nodes.sort_by_key(|n| load.seed.draw(HOME, u64::from(id), Instant::ZERO, n.0));
            let mut client = Client::new(id, load.seed, script, nodes, interval, from);
            client.without_sessions();
            client
        };
        let clients: Vec<Client> = (0..load.clients).map(client).collect();
        let wake_of: Vec<Instant> = clients.iter().map(Client::wake_at).collect();
        Self {
            origin,
            doors: Arc::new(doors),
            connections: clients.iter().map(|_| Connections::default()).collect(),
            attempts: clients.iter().map(|_| None).collect(),
            wakes: wake_of.iter().copied().enumerate().map(|(c, at)| (at, c)).collect(),
            wake_of,
            clients,
            log: Log::default(),
            out: Vec::new(),
            tell,
        }
    }
    fn now(&self) -> Instant {
        Instant::ZERO + Duration::from_std(self.origin.elapsed())
    }
    fn next_wake(&self) -> Instant {
        self.wakes.first().map_or(Instant::FAR, |w| w.0)
    }
    fn wake(&mut self, now: Instant) {
        while let Some((at, client)) = self.wakes.first().copied()
            && at <= now
        {
            self.clients[client].wake(now, &mut self.log, &mut self.out);
            self.settle(client);
            if self.wake_of[client] <= now {
                // It has nothing to do now and says "now": it is looked at again a moment later.
                self.set_wake(client, now + Duration::millis(1));
            }
        }
    }
    fn hears(&mut self, client: usize, attempt: u64, answer: Result<Answer, Refusal>) {
        let now = self.now();
        self.clients[client].answered(now, attempt, answer, &mut self.log, &mut self.out);
        self.settle(client);
    }
    fn settle(&mut self, client: usize) {
        for action in std::mem::take(&mut self.out) {
            match action {
                Do::Send { node, attempt, deadline, ask } => self.send(client, node, attempt, deadline, ask),
                Do::Cancel { attempt } => {
                    if let Some(a) = self.attempts[client].take_if(|a| a.number == attempt) {
                        a.task.abort();
                        // Nobody answered there in time: the next attempt takes a new connection.
                        if let Ok(mut connections) = self.connections[client].try_lock() {
                            connections.remove(&a.node);
                        }
                    }
                }
            }
        }
        let at = self.clients[client].wake_at();
        self.set_wake(client, at);
    }
    fn send(&mut self, client: usize, node: NodeId, attempt: u64, deadline: Instant, ask: Ask) {
        let Some(address) = self.doors.get(&node).copied() else { return };
        let connections = self.connections[client].clone();
        let tell = self.tell.clone();
        let within = deadline.since(self.now()).to_std();
        let task = tokio::spawn(async move {
            match ask {
                Ask::Watch { key, range_end, from, .. } => {
                    let say = |answer| tell.send((client, attempt, answer));
                    let mut why = Refusal::Unknown;
                    if let Ok(connection) = Etcd::connect(address, None).await {
                        match door::watch(&connection, &key, &range_end, from).await {
                            Ok(mut watching) => loop {
                                match watching.next().await {
                                    Ok(answer) => {
                                        if say(Ok(answer)).await.is_err() {
                                            return;
                                        }
                                    }
                                    Err(refusal) => {
                                        why = refusal;
                                        break;
                                    }
                                }
                            },
                            Err(refusal) => why = refusal,
                        }
                    }
                    let _nobody_listens = say(Err(why)).await;
                }
                ask => {
                    let asked = tokio::time::timeout(within, once(&connections, node, address, &ask)).await;
                    let answer = asked.unwrap_or(Err(Refusal::Unknown));
                    let _nobody_listens = tell.send((client, attempt, answer)).await;
                }
            }
        });
        if let Some(before) = self.attempts[client].replace(Attempt { number: attempt, node, task }) {
            before.task.abort();
        }
    }
    fn set_wake(&mut self, client: usize, at: Instant) {
        let before = std::mem::replace(&mut self.wake_of[client], at);
        if before != at {
            self.wakes.remove(&(before, client));
            self.wakes.insert((at, client));
        }
    }
}

/// Asks on the connection to a node, which is taken meanwhile: it comes back only if it was answered. Whatever is wrong
/// with it, the next attempt takes a new one, and no late answer is taken for another's.
async fn once(
    connections: &Connections,
    node: NodeId,
    address: SocketAddr,
    ask: &Ask,
) -> Result<Answer, Refusal> {
    let known = connections.lock().await.remove(&node);
    let (answer, connection) = match ask {
        Ask::Eventual(_) | Ask::Together(_) => {
            let mut connection = match known {
                Some(Connection::Redis(connection)) => connection,
                _ => Redis::connect(address, None).await.map_err(|e| eventual::refusal(&e))?,
            };
            let answer = match ask {
                Ask::Together(commands) => eventual::ask_together(&mut connection, commands).await,
                Ask::Eventual(command) => eventual::ask(&mut connection, command).await,
                _ => Err(Refusal::NotDone { hint: None }),
            };
            (answer, Connection::Redis(connection))
        }
        ask => {
            let connection = match known {
                Some(Connection::Etcd(connection)) => connection,
                _ => Etcd::connect(address, None).await.map_err(|e| door::refusal(&e))?,
            };
            (door::ask(&connection, ask).await, Connection::Etcd(connection))
        }
    };
    if !matches!(answer, Err(Refusal::Unknown)) {
        connections.lock().await.insert(node, connection);
    }
    answer
}
