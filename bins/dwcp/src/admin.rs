//! A node's admin address: what operators and monitors ask of it.
//!
//! | page | says | code |
//! |---|---|---|
//! | `/metrics` | Prometheus' text format | 200 |
//! | `/healthz` | the loop turns | 200, or 503 |
//! | `/readyz` | every strong keyspace that this node hosts has a leader and is not being repaired, every eventual one serves | 200, or 503 with what is missing |
//! | `/status` | groups and peers as JSON | 200 |
//! | `/inject/cut?to=N`, `/inject/heal`, `/inject/clock?ms=N` | faults on purpose (POST; `dwcp dev` and `dwcp jepsen` only) | 200, or 404 |
//!
//! Pages answer at once from what [`watch_node`] last saw. The address has no authentication: it belongs on
//! loopback or a management network, and no page changes anything but `/inject`, which a production node
//! does not have.

use crate::engines::{self, Taken};
use crate::face::Face;
use crate::figures;
use crate::hybrid;
use crate::redis;
use dwcp_consensus::Role;
use dwcp_env::{GroupId, NodeId};
use dwcp_node::{AskError, GroupStatus};
use dwcp_runtime_real::clock::Clock;
use dwcp_runtime_real::http::{Answer, Ask, Pages};
use dwcp_runtime_real::{Links, Registry};
use hyper::StatusCode;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How old what the pages say may be.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Figures of eventual keyspaces are looked at each so many looks.
const FIGURES_EVERY: u64 = 10;

/// What was last seen of each group, and whether each eventual keyspace serves.
#[derive(Clone, Debug, Default)]
pub struct Seen(
    Arc<Mutex<BTreeMap<GroupId, Result<GroupStatus, AskError>>>>,
    Arc<Mutex<BTreeMap<String, Result<(), String>>>>,
);

impl Seen {
    fn all(&self) -> BTreeMap<GroupId, Result<GroupStatus, AskError>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
    pub(crate) fn value(&self, group: GroupId, of: impl Fn(&GroupStatus) -> u64) -> f64 {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&group).and_then(|s| s.as_ref().ok()).map_or(0.0, |s| of(s) as f64)
    }
    fn eventual(&self) -> BTreeMap<String, Result<(), String>> {
        self.1.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Looks at the node again and again, until it is dropped.
pub async fn watch_node(face: Face, seen: Seen, registry: Arc<Registry>) {
    let mut figures = figures::All::new(registry.clone(), redis::Backend::eventual(&face));
    let mut homes = hybrid::Figures::new(registry.clone(), face.keyspaces());
    let mut taken = Taken::new(registry, seen.clone());
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for nth in 0_u64.. {
        tick.tick().await;
        if nth % FIGURES_EVERY == 0 {
            figures.look(&face).await;
            homes.look(&face).await;
        }
        for group in face.keyspaces().values() {
            let status = face.status(*group).await;
            if let Ok(status) = &status {
                taken.look(status);
            }
            seen.0.lock().unwrap_or_else(PoisonError::into_inner).insert(*group, status);
        }
        for keyspace in redis::Backend::eventual(&face) {
            let serves = face.serves(keyspace.group).await;
            seen.1.lock().unwrap_or_else(PoisonError::into_inner).insert(keyspace.name.clone(), serves);
        }
    }
}

/// A figure of a group: its name, its help, and how to read it.
type Gauge = (&'static str, &'static str, fn(&GroupStatus) -> u64);

const GAUGES: [Gauge; 7] = [
    (
        "dwcp_raft_term",
        "The term of a keyspace's group under any engine; of later epochs with the epoch in its upper bits.",
        |s| s.term,
    ),
    (
        "dwcp_raft_last_index",
        "Last entry in the log; under other engines than raft the last one applied.",
        |s| s.last_index,
    ),
    (
        "dwcp_raft_committed_index",
        "Last entry known decided; under other engines than raft the last one applied.",
        |s| s.committed_index,
    ),
    ("dwcp_raft_applied_index", "Last entry applied, under any engine.", |s| s.applied_index),
    ("dwcp_raft_leader_count", "1 on the node that leads, else 0.", |s| u64::from(s.role == Role::Leader)),
    ("dwcp_store_keys_count", "Keys alive.", |s| s.keys),
    ("dwcp_store_file_bytes", "Bytes of the state's file.", |s| s.state_bytes),
];

/// Registers the figures only the groups know.
pub fn register(registry: &Registry, face: &Face, seen: &Seen) {
    let clock = face.clock();
    registry.gauge("dwcp_clock_calendar_seconds", "The node's calendar, since 1970.", &[], move || {
        clock.now().wall.as_nanos() as f64 / 1e9
    });
    for (name, help, of) in GAUGES {
        for (keyspace, group) in face.keyspaces() {
            let (seen, group) = (seen.clone(), *group);
            registry.gauge(name, help, &[("keyspace", keyspace)], move || seen.value(group, of));
        }
    }
    for (keyspace, group) in face.keyspaces() {
        engines::register(registry, keyspace, *group, seen);
    }
}

/// All pages of a node.
#[must_use]
pub fn pages(registry: &Arc<Registry>, face: &Face, seen: &Seen, links: &Links, inject: bool) -> Pages {
    let (healthy, ready, status) = (seen.clone(), seen.clone(), seen.clone());
    let (names, told) = (face.keyspaces().clone(), links.clone());
    let eventual = redis::Backend::eventual(face).to_vec();
    let pages =
        Pages::standard(registry, move || health(&healthy), move || readiness(&ready, &names, &eventual))
            .get("/status", move |_| Answer::json(status_text(&status, &told)));
    if !inject {
        return pages;
    }
    let (cutting, healing, clock) = (links.clone(), links.clone(), face.clock());
    let pages = pages.post("/inject/clock", move |ask| put_off(clock, ask));
    pages.post("/inject/cut", move |ask| cut(&cutting, ask)).post("/inject/heal", move |_| {
        if let Some(faults) = healing.inject() {
            faults.heal();
        }
        Answer::text("mended\n")
    })
}

fn health(seen: &Seen) -> Result<String, String> {
    match seen.all().into_values().find_map(Result::err) {
        Some(error) => Err(error.to_string()),
        None => Ok("ok".into()),
    }
}

fn readiness(
    seen: &Seen,
    names: &BTreeMap<String, GroupId>,
    eventual: &[redis::Keyspace],
) -> Result<String, String> {
    let all = seen.all();
    for (name, group) in names {
        let what = if name.is_empty() { "the default keyspace" } else { name };
        match all.get(group) {
            None => return Err(format!("{what}: not looked at yet")),
            Some(Err(e)) => return Err(format!("{what}: {e}")),
            Some(Ok(GroupStatus { repairing: Some(why), .. })) => return Err(format!("{what}: {why}")),
            // Another region's, which may be lost: this node is no less ready for its own.
            Some(Ok(GroupStatus { role: Role::Outside, .. })) => {}
            Some(Ok(GroupStatus { leader: None, .. })) => return Err(format!("{what}: no leader is known")),
            Some(Ok(_)) => {}
        }
    }
    let serving = seen.eventual();
    for keyspace in eventual {
        let name = &keyspace.name;
        match serving.get(name) {
            None => return Err(format!("{name}: not looked at yet")),
            Some(Err(why)) => return Err(format!("{name}: {why}")),
            Some(Ok(())) => {}
        }
    }
    Ok("ready".into())
}

fn status_text(seen: &Seen, links: &Links) -> String {
    let groups: Vec<GroupStatus> = seen.all().into_values().filter_map(Result::ok).collect();
    let peers: Vec<_> = links
        .status()
        .into_iter()
        .map(|p| {
            serde_json::json!({
                "node": p.peer.node.0, "address": p.peer.address, "lanes_connected": p.connected.len(),
                "frames_waiting": p.waiting, "frames_dropped": p.dropped, "last_error": p.last_error,
            })
        })
        .collect();
    serde_json::json!({ "groups": groups, "peers": peers }).to_string()
}

fn put_off(clock: Clock, ask: &Ask) -> Answer {
    let nanos = ask.value("ms").and_then(|n| n.parse().ok()).and_then(|ms: i64| ms.checked_mul(1_000_000));
    match (clock.offset(), nanos) {
        (Some(offset), Some(nanos)) => {
            offset.set(nanos);
            Answer::text("put off\n")
        }
        _ => Answer::error(StatusCode::BAD_REQUEST, "say by how much: /inject/clock?ms=-500\n"),
    }
}

fn cut(links: &Links, ask: &Ask) -> Answer {
    let target = ask.value("to").and_then(|n| n.parse().ok());
    match (links.inject(), target) {
        (Some(faults), Some(target)) => {
            faults.cut(NodeId(target), true);
            Answer::text("cut\n")
        }
        _ => Answer::error(StatusCode::BAD_REQUEST, "say whom: /inject/cut?to=2\n"),
    }
}
