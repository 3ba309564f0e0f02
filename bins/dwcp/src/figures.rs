//! Figures of eventual keyspaces, for `/metrics`.
//!
//! Asked of each replica once a second: it answers from numbers that it keeps, whatever it holds. Peers come and go
//! with the roster; the figure of one that left stays at what was seen last.

use crate::face::Face;
use crate::redis::Keyspace;
use dwcp_eventual::api::{DocumentFigures, PeerStatus, Status};
use dwcp_runtime_real::Registry;
use dwcp_runtime_real::metrics::Counter;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

/// A figure: its name, its help, and how to read it.
type Gauge = (&'static str, &'static str, fn(&Status) -> f64);
type DocumentGauge = (&'static str, &'static str, fn(&DocumentFigures) -> u64);
type PeerGauge = (&'static str, &'static str, fn(&PeerStatus) -> f64);

const GAUGES: [Gauge; 5] = [
    ("dwcp_eventual_keys_count", "Keys alive in an eventual keyspace.", |s| s.keys as f64),
    ("dwcp_eventual_unstable_count", "Operations that some member is not known to have on its disk.", |s| {
        s.unstable_operations as f64
    }),
    ("dwcp_eventual_unstable_bytes", "Bytes of these operations.", |s| s.unstable_bytes as f64),
    ("dwcp_eventual_pending_count", "Batches that wait for others before them.", |s| s.pending as f64),
    ("dwcp_eventual_serves_count", "1 if the replica serves, else 0.", |s| {
        f64::from(u8::from(s.waiting_for.is_none()))
    }),
];

const PEERS: [PeerGauge; 4] = [
    ("dwcp_eventual_behind_count", "Operations that a peer is not known to have on its disk.", |p| {
        p.behind as f64
    }),
    ("dwcp_eventual_silent_seconds", "How long a peer has not been heard.", |p| p.silent_ms as f64 / 1e3),
    (
        "dwcp_eventual_exposure_seconds",
        "Age of the oldest operation that was shipped to a peer in another region and is not known to be on its disk.",
        |p| p.stream.map_or(0.0, |s| s.exposure_us as f64 / 1e6),
    ),
    (
        "dwcp_eventual_lag_seconds",
        "From the disk here to the disk of a peer in another region, for the latest batch shipped to it.",
        |p| p.stream.map_or(0.0, |s| s.lag_us as f64 / 1e6),
    ),
];

/// Of those that hold documents.
const DOCUMENTS: [DocumentGauge; 5] = [
    ("dwcp_documents_open_count", "Places where writes stand beside each other.", |d| d.open),
    ("dwcp_documents_asked_count", "Open places about which people are asked.", |d| d.asked),
    ("dwcp_documents_unsettled_count", "Open places that this node would settle and could not.", |d| {
        d.unsettled
    }),
    ("dwcp_documents_records_count", "Records in the chains of the audit.", |d| d.records),
    (
        "dwcp_documents_broken_chains_count",
        "Chains of the audit that are not what was written and promised.",
        |d| d.broken_chains,
    ),
];

const DIGESTS: (&str, &str) =
    ("dwcp_eventual_digests_total", "Digests of peers that were compared with ours, by outcome.");
const SENT: (&str, &str) = ("dwcp_eventual_sent_bytes_total", "Bytes sent to peers, by rung of the ladder.");
const REPAIRS: (&str, &str) =
    ("dwcp_eventual_repairs_total", "Repairs completed here, by rung of the ladder that brought them.");
const RECEIVED: (&str, &str) =
    ("dwcp_eventual_received_bytes_total", "Bytes received from peers, by rung of the ladder.");

/// What was last seen of one keyspace.
type Seen = Arc<Mutex<Status>>;

fn see(seen: &Seen) -> std::sync::MutexGuard<'_, Status> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The figures of one keyspace.
struct Figures {
    keyspace: Keyspace,
    seen: Seen,
    peers: BTreeSet<u64>,
    /// Whether those of documents are registered.
    documents: bool,
    counters: BTreeMap<(&'static str, String), Counter>,
}

/// The figures of all eventual keyspaces of a node.
pub(crate) struct All {
    registry: Arc<Registry>,
    keyspaces: Vec<Figures>,
}

impl All {
    /// Registers what is known from the start.
    pub(crate) fn new(registry: Arc<Registry>, keyspaces: &[Keyspace]) -> Self {
        let figures = |keyspace: &Keyspace| {
            let seen = Seen::default();
            for (name, help, of) in GAUGES {
                let seen = seen.clone();
                registry.gauge(name, help, &[("keyspace", &keyspace.name)], move || of(&see(&seen)));
            }
            Figures {
                keyspace: keyspace.clone(),
                seen,
                peers: BTreeSet::new(),
                documents: false,
                counters: BTreeMap::new(),
            }
        };
        let keyspaces = keyspaces.iter().map(figures).collect();
        Self { registry, keyspaces }
    }

    /// Looks once at each.
    pub(crate) async fn look(&mut self, face: &Face) {
        for figures in &mut self.keyspaces {
            // One that does not answer keeps the figures it had: `/readyz` says what is wrong.
            if let Ok(status) = face.eventual_status(figures.keyspace.group).await {
                figures.take(&self.registry, status);
            }
        }
    }
}

impl Figures {
    fn take(&mut self, registry: &Registry, status: Status) {
        let (equal, unequal) = status.digests;
        self.count(registry, DIGESTS, ("outcome", "equal"), equal);
        self.count(registry, DIGESTS, ("outcome", "unequal"), unequal);
        for (rung, sent, received, repairs) in &status.rungs {
            self.count(registry, SENT, ("rung", rung), *sent);
            self.count(registry, RECEIVED, ("rung", rung), *received);
            self.count(registry, REPAIRS, ("rung", rung), *repairs);
        }
        if status.documents.is_some() && !std::mem::replace(&mut self.documents, true) {
            for (name, help, of) in DOCUMENTS {
                let seen = self.seen.clone();
                let value = move || see(&seen).documents.as_ref().map_or(0.0, |d| of(d) as f64);
                registry.gauge(name, help, &[("keyspace", &self.keyspace.name)], value);
            }
        }
        for peer in &status.peers {
            if self.peers.insert(peer.node) {
                self.watch_peer(registry, peer.node);
            }
        }
        *see(&self.seen) = status;
    }

    /// Brings a counter to where the replica's own stands.
    fn count(&mut self, registry: &Registry, metric: (&'static str, &str), label: (&str, &str), now: u64) {
        let (name, help) = metric;
        let labels = [("keyspace", self.keyspace.name.as_str()), label];
        let counter = self
            .counters
            .entry((name, label.1.to_owned()))
            .or_insert_with(|| registry.counter(name, help, &labels));
        counter.add(now.saturating_sub(counter.get()));
    }

    fn watch_peer(&self, registry: &Registry, node: u64) {
        for (name, help, of) in PEERS {
            let seen = self.seen.clone();
            let value = move || see(&seen).peers.iter().find(|p| p.node == node).map_or(0.0, of);
            let peer = node.to_string();
            registry.gauge(name, help, &[("keyspace", &self.keyspace.name), ("peer", &peer)], value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_env::GroupId;
    use dwcp_eventual::api::StreamStatus;

    #[test]
    fn what_a_replica_says_is_rendered() {
        let registry = Arc::new(Registry::new());
        let keyspace =
            Keyspace { name: "e".into(), group: GroupId(1), sync: dwcp_eventual::SyncPolicy::Always };
        let mut all = All::new(registry.clone(), &[keyspace]);
        let status = |sent| Status {
            keys: 7,
            digests: (5, 1),
            documents: Some(DocumentFigures {
                open: 4,
                asked: 3,
                broken_chains: 1,
                ..DocumentFigures::default()
            }),
            rungs: vec![("operations".into(), sent, 3, 2)],
            peers: vec![PeerStatus {
                node: 2,
                behind: 9,
                silent_ms: 1_500,
                stream: Some(StreamStatus {
                    lag_us: 170_000,
                    exposure_us: 20_000,
                    ..StreamStatus::default()
                }),
                ..PeerStatus::default()
            }],
            ..Status::default()
        };
        all.keyspaces[0].take(&registry, status(40));
        all.keyspaces[0].take(&registry, status(100));
        let text = registry.render();
        for line in [
            "dwcp_eventual_keys_count{keyspace=\"e\"} 7",
            "dwcp_documents_open_count{keyspace=\"e\"} 4",
            "dwcp_documents_asked_count{keyspace=\"e\"} 3",
            "dwcp_documents_broken_chains_count{keyspace=\"e\"} 1",
            "dwcp_eventual_digests_total{keyspace=\"e\",outcome=\"equal\"} 5",
            "dwcp_eventual_sent_bytes_total{keyspace=\"e\",rung=\"operations\"} 100",
            "dwcp_eventual_repairs_total{keyspace=\"e\",rung=\"operations\"} 2",
            "dwcp_eventual_behind_count{keyspace=\"e\",peer=\"2\"} 9",
            "dwcp_eventual_silent_seconds{keyspace=\"e\",peer=\"2\"} 1.5",
            "dwcp_eventual_lag_seconds{keyspace=\"e\",peer=\"2\"} 0.17",
            "dwcp_eventual_exposure_seconds{keyspace=\"e\",peer=\"2\"} 0.02",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
