//! One node in the real world: directory, loop, disk, jobs and links put together.
//!
//! **Order of starting.** The directory is locked and checked, the port bound, the certificate
//! compared with the configuration; only then does the node boot (on its own thread, from what
//! the directory holds), and only when it has does the port accept peers. Whatever fails ends
//! the start with an error that says what to do, and leaves the directory as it was.
//!
//! **Order of ending.** The loop ends; the disk finishes what it was given; frames already queued
//! have a moment to leave; connections are closed; the directory is unlocked; [`Node::ended`]
//! answers. A kill at any instant is safe instead: nothing here is needed for that.
//!
//! **Threads.** The node has one of its own, with a tokio runtime of its own: loop and links are tasks on
//! it, and so are the doors that are started on [`Node::runtime`] (see [`crate::shard`] for why). The
//! thread ends when the links are closed and the [`Node`] is dropped.

use crate::authority::{Identity, IdentityError, Name};
use crate::clock::Clock;
use crate::disk::DiskThread;
use crate::door::{Counts, NodeHandle};
use crate::inbox::{Inbox, Level};
use crate::jobs::{JobThreads, OnJob};
use crate::link::{Deliver, LinkSettings, Links, Peer, Transport};
use crate::metrics::{self, Registry};
use crate::shard::{Carrier, Ended, Entry, Parts, Shard};
use crate::storage::{OpenError, RealStorage};
use crate::watch::{LogWatch, OnBroken};
use bytes::Bytes;
use dwcp_env::{ClusterId, Duration, Lane, Machine, NodeId, Probe, Seed, World};
use std::fmt::Display;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use thiserror::Error;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, oneshot, watch};

/// What one process's configuration says about its node.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which node it is.
    pub node: NodeId,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// Where peers reach it; port zero takes a free one.
    pub listen: SocketAddr,
    /// The other nodes; those it lists itself among are ignored.
    pub peers: Vec<Peer>,
    /// What peers speak; the same on all nodes of a cluster.
    pub transport: Transport,
    /// Its certificate.
    pub identity: Identity,
    /// A bound on the calendar's error; what the time service promises.
    pub clock_uncertainty: Duration,
    /// The root of its randomness; `None` draws one from the operating system. Logged.
    pub seed: Option<Seed>,
    /// Whether delays, cuts and a wrong calendar may be injected (`dwcp dev`, `dwcp jepsen`, tests).
    pub inject: bool,
    /// What happens when an invariant is broken.
    pub on_broken: OnBroken,
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its directory.
    #[error(transparent)]
    Data(#[from] OpenError),
    /// Its certificate.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Its port.
    #[error("can't listen for peers on {address}: {why}; {advice}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// The operating system gives no thread or randomness.
    #[error("the operating system refuses {what}: {why}")]
    System {
        /// What was asked.
        what: &'static str,
        /// What it said.
        why: String,
    },
    /// The node's own boot: what lies in its directory, or what it was configured with.
    #[error("the node can't start: {0}")]
    Boot(String),
}

/// A running node. Dropping this does not stop it; [`stop`](Self::stop) does.
pub struct Node<Q, R> {
    handle: NodeHandle<Q, R>,
    links: Links,
    registry: Arc<Registry>,
    ended: watch::Receiver<Option<Ended>>,
    runtime: Handle,
    /// The node's thread lives as long as one of these does.
    _alive: Alive,
}

pub(crate) fn no_thread(e: std::io::Error) -> StartError {
    StartError::System { what: "a thread", why: e.to_string() }
}

/// Never sent on; the thread waits for the last one to be dropped.
pub(crate) type Alive = mpsc::Sender<()>;

/// A runtime that may be dropped anywhere: a plain one panics when that is on another runtime.
pub(crate) struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    pub(crate) fn start() -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map(|r| Self(Some(r))).map_err(no_thread)
    }
    fn handle(&self) -> Handle {
        self.0.as_ref().expect("it is there until the drop").handle().clone()
    }
    fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.0.as_ref().expect("it is there until the drop").block_on(future)
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl<Q, R> std::fmt::Debug for Node<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({:?})", self.links)
    }
}

impl<Q: Send + 'static, R: Send + 'static> Node<Q, R> {
    /// Starts a node; `boot` builds it from its world, on the thread it will live on. Must be
    /// called on a tokio runtime, on which its end is awaited.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start<M, E>(
        settings: Settings,
        registry: Arc<Registry>,
        boot: impl FnOnce(World) -> Result<M, E> + Send + 'static,
    ) -> Result<Self, StartError>
    where
        M: Machine<Request = Q, Response = R> + Send + 'static,
        E: Display,
    {
        let name = Name { cluster: settings.cluster, node: settings.node };
        if settings.identity.name() != name {
            return Err(IdentityError::Other { expected: name, found: settings.identity.name() }.into());
        }
        let storage = RealStorage::open(&settings.data_dir, settings.cluster, settings.node)?;
        let storage = Arc::new(storage);
        let link_settings = LinkSettings {
            listen: settings.listen,
            peers: settings.peers.clone(),
            transport: settings.transport,
            identity: settings.identity.clone(),
            seed: seed(settings.seed)?,
            inject: settings.inject,
        };
        let seed = link_settings.seed;
        let own = OwnRuntime::start()?;
        let runtime = own.handle();
        let (links, listener) = {
            let _on_it = runtime.enter();
            Links::bind(link_settings, &registry)?
        };
        let inbox = Arc::new(Inbox::new());
        let counts = Arc::new(Counts::new());
        let clock = Clock::start(settings.clock_uncertainty);
        let clock = if settings.inject { clock.adjustable() } else { clock };
        let watch = LogWatch::new(registry.clone(), settings.on_broken);
        let probe = Probe::new(Arc::new(watch));
        let handle = NodeHandle { inbox: inbox.clone(), counts: counts.clone(), clock, probe: probe.clone() };
        let world = World { now: clock.now(), storage: storage.clone(), probe: probe.clone(), seed };
        let carrier: Arc<dyn Carrier> = Arc::new(links.clone());
        let parts = parts(storage, inbox.clone(), clock, carrier, &registry).map_err(no_thread)?;
        let (loop_end, alive) = spawn_loop(boot, world, parts, own, settings.on_broken).await?;
        register(&registry, &handle);
        {
            let _on_it = runtime.enter();
            links.open(listener, Arc::new(Deliveries(inbox)), probe);
        }
        let (tell, ended) = watch::channel(None);
        tokio::spawn(end(loop_end, links.clone(), tell, alive.clone()));
        tracing::info!(node = %settings.node, cluster = %settings.cluster, listen = %links.local_address(),
            seed = seed.0, "node runs");
        Ok(Self { handle, links, registry, ended, runtime, _alive: alive })
    }

    /// The doors' line to it.
    #[must_use]
    pub fn handle(&self) -> NodeHandle<Q, R> {
        self.handle.clone()
    }
    /// Its links: peers, their state, injected faults.
    #[must_use]
    pub fn links(&self) -> &Links {
        &self.links
    }
    /// The runtime of its own thread, for doors that want no thread of theirs. What runs there must never
    /// block: the node waits meanwhile.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }
    /// Its figures.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
    /// Waits until it has ended, all its threads and connections with it.
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(e)) => e.clone(),
            _ => Ended::Broken("the runtime was shut down under the node".into()),
        }
    }
    /// Stops it well, and waits. It has `within`.
    pub async fn stop(&self, within: Duration) -> Ended {
        self.handle.stop(within);
        self.ended().await
    }
}

struct Deliveries<Q, R>(Arc<Inbox<Entry<Q, R>>>);

impl<Q: Send + 'static, R: Send + 'static> Deliver for Deliveries<Q, R> {
    fn try_deliver(&self, from: NodeId, lane: Lane, body: Bytes) -> Result<(), Option<Bytes>> {
        use crate::inbox::Refused;
        self.0.push(level(lane), Entry::Message { from, lane, body }).map_err(|refused| match refused {
            Refused::Full(Entry::Message { body, .. }) => Some(body),
            _ => None,
        })
    }
    fn deliver<'a>(
        &'a self,
        from: NodeId,
        lane: Lane,
        body: Bytes,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), ()>> + Send + 'a>> {
        Box::pin(self.0.push_wait(level(lane), Entry::Message { from, lane, body }))
    }
    fn unreachable(&self, peer: NodeId) {
        // It is told again while it is true.
        let _full = self.0.push(Level::Control, Entry::Unreachable { peer });
    }
}

pub(crate) const fn level(lane: Lane) -> Level {
    match lane {
        Lane::Control => Level::Control,
        Lane::Data | Lane::Datagram => Level::Work,
        Lane::Bulk => Level::Bulk,
    }
}

pub(crate) fn seed(given: Option<Seed>) -> Result<Seed, StartError> {
    if let Some(s) = given {
        return Ok(s);
    }
    let mut bytes = [0; 8];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut bytes)
        .map_err(|e| StartError::System { what: "randomness", why: format!("{e:?}") })?;
    Ok(Seed(u64::from_le_bytes(bytes)))
}

pub(crate) fn parts<Q: Send + 'static, R: Send + 'static>(
    storage: Arc<RealStorage>,
    inbox: Arc<Inbox<Entry<Q, R>>>,
    clock: Clock,
    carrier: Arc<dyn Carrier>,
    registry: &Registry,
) -> std::io::Result<Parts<Q, R>> {
    let syncs = registry.histogram(metrics::DISK_SYNC.name, metrics::DISK_SYNC.help, &[]);
    let on_disk = inbox.clone();
    let done = Box::new(move |ticket, result| on_disk.complete(Entry::Disk { ticket, result }));
    let disk = DiskThread::start(storage, done, syncs)?;
    let on_job = inbox.clone();
    let done: OnJob = Arc::new(move |job, result| on_job.complete(Entry::Job { job, result }));
    let jobs = JobThreads::start(&done)?;
    Ok(Parts { inbox, clock, carrier, disk, jobs })
}

/// Boots the node on a thread of its own; answers when it has booted, with the loop's end and what keeps
/// the thread once the loop has ended.
pub(crate) async fn spawn_loop<M, E>(
    boot: impl FnOnce(World) -> Result<M, E> + Send + 'static,
    world: World,
    parts: Parts<M::Request, M::Response>,
    own: OwnRuntime,
    on_broken: OnBroken,
) -> Result<(oneshot::Receiver<Ended>, Alive), StartError>
where
    M: Machine + Send + 'static,
    M::Request: Send + 'static,
    M::Response: Send + 'static,
    E: Display,
{
    let (booted, boot_result) = oneshot::channel();
    let (tell_end, end) = oneshot::channel();
    let (alive, mut needed) = mpsc::channel(1);
    let looping = alive.clone();
    let run = move || {
        let machine = match catch_unwind(AssertUnwindSafe(|| boot(world).map_err(|e| e.to_string())))
            .unwrap_or_else(|panic| Err(format!("its boot panicked: {}", panic_text(&*panic))))
        {
            Ok(machine) => machine,
            Err(why) => {
                // Whoever is told may start another node on the directory at once.
                parts.wind_up();
                let _gone = booted.send(Err(why));
                return;
            }
        };
        let _gone = booted.send(Ok(()));
        let shard = Shard::new(machine, parts);
        // A task, not what the thread blocks on: waking that costs a system call each time.
        own.handle().spawn(async move {
            let _gone = tell_end.send(run_to_end(shard, on_broken).await);
            drop(looping);
        });
        own.block_on(async { while needed.recv().await.is_some() {} });
    };
    std::thread::Builder::new().name("dwcp-node".into()).spawn(run).map_err(no_thread)?;
    match boot_result.await {
        Ok(Ok(())) => Ok((end, alive)),
        Ok(Err(why)) => Err(StartError::Boot(why)),
        Err(_) => Err(StartError::Boot("its thread ended".into())),
    }
}

async fn run_to_end<M: Machine>(mut shard: Shard<M>, on_broken: OnBroken) -> Ended {
    let outcome = {
        let mut run = pin!(shard.run());
        poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| run.as_mut().poll(cx))) {
            Ok(Poll::Ready(ended)) => Poll::Ready(Ok(ended)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Err(panic)),
        })
        .await
    };
    let ended = outcome.unwrap_or_else(|panic| {
        let why = panic_text(&*panic);
        tracing::error!("the node panicked: {why}");
        on_broken.act(&format!("the node panicked: {why}"));
        Ended::Broken(why)
    });
    match &ended {
        Ended::Well => tracing::info!("the node has ended"),
        Ended::Late => tracing::warn!("the node was not done by the deadline of its stop"),
        Ended::Failed(why) | Ended::Broken(why) => tracing::error!("the node has ended: {why}"),
    }
    shard.wind_up(ended != Ended::Late);
    ended
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".into())
}

async fn end(
    loop_end: oneshot::Receiver<Ended>,
    links: Links,
    tell: watch::Sender<Option<Ended>>,
    _alive: Alive,
) {
    let ended = loop_end.await.unwrap_or_else(|_| Ended::Broken("its thread is gone".into()));
    links.close().await;
    tell.send_replace(Some(ended));
}

fn register<Q: Send + 'static, R: Send + 'static>(registry: &Registry, handle: &NodeHandle<Q, R>) {
    let h = handle.clone();
    registry.gauge(metrics::REQUESTS.name, metrics::REQUESTS.help, &[], move || h.in_flight().0 as f64);
    let h = handle.clone();
    registry.gauge(metrics::STREAMS.name, metrics::STREAMS.help, &[], move || h.in_flight().1 as f64);
    let h = handle.clone();
    registry.gauge(metrics::INPUTS.name, metrics::INPUTS.help, &[], move || h.inbox.waiting() as f64);
}
