//! A node whose messages travel by its host's means: the loop, the disk and the jobs of a real node, and
//! no sockets.
//!
//! **Promise.** The contract of [`dwcp_env::contract`], kept by the same loop as in [`Node`](crate::Node):
//! only sending and delivering are the host's, through [`Carrier`] and [`Arrivals::deliver`]. Messages may be
//! lost, repeated, late and out of order; that they come from whom they name is the host's word.
//!
//! **Order of starting and ending** is [`node`](crate::node)'s, less the links.

use crate::clock::Clock;
use crate::door::{Counts, NodeHandle};
use crate::inbox::Inbox;
use crate::metrics::Registry;
use crate::node::{self, StartError};
use crate::shard::{Carrier, Ended, Entry};
use crate::storage::RealStorage;
use crate::watch::{LogWatch, OnBroken};
use bytes::Bytes;
use dwcp_env::{ClusterId, Duration, Lane, Machine, NodeId, Probe, Seed, World};
use std::fmt::Display;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What a hosted node is told.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// Which cluster it belongs to.
    pub cluster: ClusterId,
    /// Which node it is.
    pub node: NodeId,
    /// Where its data lies.
    pub data_dir: PathBuf,
    /// A bound on the calendar's error.
    pub clock_uncertainty: Duration,
    /// The root of its randomness; `None` draws one from the operating system.
    pub seed: Option<Seed>,
    /// What happens when an invariant is broken.
    pub on_broken: OnBroken,
}

/// A running node without sockets. Dropping this does not stop it; [`stop`](Self::stop) does.
pub struct Hosted<Q, R> {
    handle: NodeHandle<Q, R>,
    inbox: Arc<Inbox<Entry<Q, R>>>,
    loop_end: oneshot::Receiver<Ended>,
}

impl<Q, R> std::fmt::Debug for Hosted<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hosted({:?})", self.handle)
    }
}

/// The host's line for what arrives.
pub struct Arrivals<Q, R>(Arc<Inbox<Entry<Q, R>>>);

impl<Q, R> std::fmt::Debug for Arrivals<Q, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Arrivals")
    }
}

impl<Q: Send + 'static, R: Send + 'static> Arrivals<Q, R> {
    /// Delivers a peer's message. `false`: there was no room or nobody to take it, and it is lost, as messages may be.
    #[must_use]
    pub fn deliver(&self, from: NodeId, lane: Lane, body: Bytes) -> bool {
        self.0.push(node::level(lane), Entry::Message { from, lane, body }).is_ok()
    }
}

impl<Q: Send + 'static, R: Send + 'static> Hosted<Q, R> {
    /// Starts a node; `boot` builds it from its world, on the thread it will live on. Must be called on a
    /// tokio runtime.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start<M, E>(
        settings: HostSettings,
        registry: Arc<Registry>,
        carrier: Arc<dyn Carrier>,
        boot: impl FnOnce(World) -> Result<M, E> + Send + 'static,
    ) -> Result<Self, StartError>
    where
        M: Machine<Request = Q, Response = R> + Send + 'static,
        E: Display,
    {
        let storage = Arc::new(RealStorage::open(&settings.data_dir, settings.cluster, settings.node)?);
        let seed = node::seed(settings.seed)?;
        let inbox = Arc::new(Inbox::new());
        let clock = Clock::start(settings.clock_uncertainty);
        let probe = Probe::new(Arc::new(LogWatch::new(registry.clone(), settings.on_broken)));
        let counts = Arc::new(Counts::new());
        let handle = NodeHandle { inbox: inbox.clone(), counts, clock, probe: probe.clone() };
        let world = World { now: clock.now(), storage: storage.clone(), probe, seed };
        let parts =
            node::parts(storage, inbox.clone(), clock, carrier, &registry).map_err(node::no_thread)?;
        let own = node::OwnRuntime::start()?;
        // The loop keeps its thread, and nobody needs it longer.
        let (loop_end, _) = node::spawn_loop(boot, world, parts, own, settings.on_broken).await?;
        tracing::info!(node = %settings.node, cluster = %settings.cluster, seed = seed.0, "node runs");
        Ok(Self { handle, inbox, loop_end })
    }

    /// The doors' line to it.
    #[must_use]
    pub fn handle(&self) -> NodeHandle<Q, R> {
        self.handle.clone()
    }
    /// Where its peers' messages go.
    #[must_use]
    pub fn arrivals(&self) -> Arrivals<Q, R> {
        Arrivals(self.inbox.clone())
    }
    /// Waits until it has ended by itself or was stopped through its handle.
    pub async fn ended(&mut self) -> Ended {
        (&mut self.loop_end).await.unwrap_or_else(|_| Ended::Broken("its thread is gone".into()))
    }
    /// Stops it well, and waits. It has `within`.
    pub async fn stop(mut self, within: Duration) -> Ended {
        self.handle.stop(within);
        self.ended().await
    }
}
