//! broadcast: messages spread by [`gossip`](super::gossip), in memory.
//!
//! It does not go through the store: an acknowledgement needs no quorum and a read no barrier, so both go on in
//! every part of a partition. The given topology is acknowledged and not used.

use super::gossip::{DIGEST, GOSSIP, Gossip, MESSAGES_MAX, Sends};
use super::not_mine;
use crate::maelstrom::cluster::Cluster;
use crate::maelstrom::lines::Lines;
use crate::maelstrom::protocol::{Answer, Body, Code, Fault, done, field, with};
use dwcp_env::{NodeId, Seed};
use dwcp_runtime_real::clock::Clock;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// A node's gossip, with a clock and a mouth.
#[derive(Debug)]
pub(in crate::maelstrom) struct Broadcast {
    gossip: Mutex<Gossip>,
    cluster: Arc<Cluster>,
    lines: Lines,
    clock: Clock,
    sooner: Notify,
}

impl Broadcast {
    pub(in crate::maelstrom) fn new(cluster: Arc<Cluster>, lines: Lines, seed: Seed) -> Self {
        let clock = Clock::start(dwcp_env::Duration::ZERO);
        let gossip = Gossip::new(cluster.me, cluster.nodes().count() as u64, seed, clock.mono());
        Self { gossip: Mutex::new(gossip), cluster, lines, clock, sooner: Notify::new() }
    }

    fn gossip(&self) -> MutexGuard<'_, Gossip> {
        // One thread; should it ever panic in between, messages are still whole.
        self.gossip.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn answer(&self, kind: &str, body: &Body) -> Answer {
        match kind {
            "broadcast" => {
                let taken = self.gossip().add(self.clock.mono(), field(body, "message")?.clone());
                self.sooner.notify_one();
                let full =
                    || Fault::new(Code::Unavailable, format!("this node holds {MESSAGES_MAX} messages"));
                if taken { done() } else { Err(full()) }
            }
            "read" => with("messages", Value::Array(self.gossip().shown().to_vec())),
            "topology" => done(),
            _ => Err(not_mine(kind)),
        }
    }

    /// Whether a message is gossip.
    pub(in crate::maelstrom) fn is_gossip(kind: &str) -> bool {
        matches!(kind, GOSSIP | DIGEST)
    }

    /// A peer's gossip.
    pub(in crate::maelstrom) fn hear(&self, from: NodeId, kind: &str, body: &Body) {
        let answers = self.gossip().hear(self.clock.mono(), from, kind, body);
        match answers {
            Ok(sends) => self.send(sends),
            Err(why) => tracing::warn!(%from, "gossip that is none is left out: {why}"),
        }
        self.sooner.notify_one();
    }

    /// Sends what is due, for ever.
    pub(in crate::maelstrom) async fn run(&self) {
        loop {
            let (sends, next) = {
                let mut gossip = self.gossip();
                (gossip.due(self.clock.mono()), gossip.next())
            };
            self.send(sends);
            let next = tokio::time::Instant::from_std(self.clock.to_std(next));
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                () = self.sooner.notified() => {}
            }
        }
    }

    fn send(&self, sends: Sends) {
        for (to, body) in sends {
            if let Some(name) = self.cluster.name(to) {
                self.lines.say(name, body);
            }
        }
    }
}
