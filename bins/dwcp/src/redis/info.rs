//! The node described: `INFO`, `CLIENT INFO`, and the JSON that `dwcp crdt` reads.

use super::backend::{Backend, Keyspace};
use super::door::Shared;
use super::local::REDIS_VERSION;
use super::session::Session;
use base64::Engine;
use bytes::Bytes;
use dwcp_eventual::api::{Entry, Explanation, Status};
use dwcp_runtime_real::metrics::{cpu_seconds, resident_bytes};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// All sections, in their order.
const SECTIONS: [&str; 9] =
    ["server", "clients", "memory", "persistence", "stats", "replication", "cpu", "commandstats", "keyspace"];
/// Those that are shown only if they are asked for by name, or all are.
const ASKED_FOR: [&str; 1] = ["commandstats"];

/// `INFO`, of these sections or of all.
pub(super) fn render<B: Backend>(
    shared: &Shared<B>,
    keyspace: &Keyspace,
    place: usize,
    status: &Status,
    asked: &[Bytes],
) -> String {
    let named =
        |names: &[&str]| asked.iter().any(|s| names.iter().any(|n| s.eq_ignore_ascii_case(n.as_bytes())));
    let (usual, everything) = (asked.is_empty() || named(&["default"]), named(&["all", "everything"]));
    let mut text = String::new();
    for section in SECTIONS {
        let shown = everything || (usual && !ASKED_FOR.contains(&section)) || named(&[section]);
        if !shown {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let (first, rest) = section.split_at(1);
        let _infallible = write!(text, "# {}{rest}\r\n", first.to_uppercase());
        for (name, value) in lines(section, shared, keyspace, place, status) {
            let _infallible = write!(text, "{name}:{value}\r\n");
        }
    }
    text
}

fn lines<B: Backend>(
    section: &str,
    shared: &Shared<B>,
    keyspace: &Keyspace,
    place: usize,
    status: &Status,
) -> Vec<(String, String)> {
    let line = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
    let counts = &shared.counts;
    let counted = |n: &std::sync::atomic::AtomicU64| n.load(Ordering::Relaxed);
    let (cluster, node) = shared.backend.identity();
    match section {
        "server" => vec![
            line("redis_version", &REDIS_VERSION),
            line("redis_mode", &"standalone"),
            line("dwcp_version", &env!("CARGO_PKG_VERSION")),
            line("os", &std::env::consts::OS),
            line("arch_bits", &usize::BITS),
            line("process_id", &std::process::id()),
            line("run_id", &format!("{cluster:016x}{node:024x}")),
            line("tcp_port", &shared.port),
            line("uptime_in_seconds", &shared.since.elapsed().as_secs()),
        ],
        "clients" => vec![
            line("connected_clients", &counted(&counts.clients)),
            line("maxclients", &super::door::CONNECTIONS),
            line("blocked_clients", &0),
        ],
        "memory" => memory(),
        "cpu" => vec![line("used_cpu_user", &format!("{:.6}", cpu_seconds()))],
        "commandstats" => shared.meter.asked().map(command).collect(),
        "persistence" => vec![
            line("loading", &u8::from(status.waiting_for.is_some())),
            line("rdb_bgsave_in_progress", &0),
            line("aof_rewrite_in_progress", &0),
            line("aof_enabled", &1),
            line("aof_last_write_status", &"ok"),
            line("rdb_last_bgsave_status", &"ok"),
        ],
        "stats" => vec![
            line("total_connections_received", &counted(&counts.connections)),
            line("total_commands_processed", &counted(&counts.commands)),
            line("total_net_input_bytes", &counted(&counts.bytes_in)),
            line("total_net_output_bytes", &counted(&counts.bytes_out)),
            line("rejected_connections", &counted(&counts.rejected)),
            line("pubsub_clients", &counted(&counts.listening)),
            line("client_output_buffer_limit_disconnections", &counted(&counts.slow)),
        ],
        "replication" => replication(keyspace, status),
        "keyspace" => {
            vec![line(&format!("db{place}"), &format!("keys={},expires=0,avg_ttl=0", status.keys))]
        }
        _ => Vec::new(),
    }
}

fn memory() -> Vec<(String, String)> {
    let bytes = resident_bytes();
    let human = format!("{:.2}M", bytes / 1_048_576.0);
    let (plain, none) = (format!("{bytes:.0}"), || "0".to_owned());
    [
        ("used_memory", plain.clone()),
        ("used_memory_human", human.clone()),
        ("used_memory_rss", plain),
        ("used_memory_rss_human", human),
        ("maxmemory", none()),
        ("maxmemory_human", "0B".to_owned()),
        ("maxmemory_policy", "noeviction".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

fn command((name, calls, took): (&'static str, u64, Duration)) -> (String, String) {
    let micros = took.as_micros();
    let each = micros as f64 / calls.max(1) as f64;
    (format!("cmdstat_{name}"), format!("calls={calls},usec={micros},usec_per_call={each:.2}"))
}

fn replication(keyspace: &Keyspace, status: &Status) -> Vec<(String, String)> {
    let mut lines: Vec<(String, String)> = [
        // Every replica takes writes.
        ("role", "master".to_owned()),
        ("connected_slaves", status.peers.len().to_string()),
        ("dwcp_keyspace", keyspace.name.clone()),
        ("dwcp_replica", status.replica.map_or("none".into(), |(r, i)| format!("{r}@{i}"))),
        ("dwcp_roster_epoch", status.epoch.to_string()),
        ("dwcp_fingerprint", format!("{:016x}{:016x}", status.fingerprint[0], status.fingerprint[1])),
        ("dwcp_unstable_operations", status.unstable_operations.to_string()),
        ("dwcp_unstable_log", status.unstable_bytes.to_string()),
        ("dwcp_pending_batches", status.pending.to_string()),
        ("dwcp_repair_bytes_sent", status.repair_bytes.0.to_string()),
        ("dwcp_repair_bytes_received", status.repair_bytes.1.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for (i, peer) in status.peers.iter().enumerate() {
        let text = format!(
            "node={},behind={},silent_ms={},state={}",
            peer.node, peer.behind, peer.silent_ms, peer.standing
        );
        lines.push((format!("peer{i}"), text));
    }
    if let Some(why) = &status.waiting_for {
        lines.push(("dwcp_waiting_for".into(), why.replace(['\r', '\n'], " ")));
    }
    lines
}

/// `CLIENT INFO`.
pub(super) fn client<B: Backend>(session: &Session<B>) -> String {
    let text = |b: &Bytes| String::from_utf8_lossy(b).into_owned();
    format!(
        "id={} addr={} name={} age={} db={} sub={} resp={} lib-name={} lib-ver={}\n",
        session.id,
        session.address,
        text(&session.name),
        session.since.elapsed().as_secs(),
        session.keyspace,
        session.listening.count(),
        if session.out.resp3 { 3 } else { 2 },
        text(&session.library.0),
        text(&session.library.1),
    )
}

/// Bytes as text where they are text, else as `{"base64": …}`.
fn bytes(b: &Bytes) -> Value {
    match std::str::from_utf8(b) {
        Ok(text) => json!(text),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(b) }),
    }
}

/// A key explained.
pub(super) fn explanation_json(e: &Explanation) -> Value {
    let entry = |e: &Entry| {
        json!({
            "path": e.path.iter().map(bytes).collect::<Vec<_>>(),
            "kind": e.kind,
            "dot": { "replica": e.dot.0, "sequence": e.dot.1 },
            "writer": e.writer.map(|(node, incarnation)| json!({ "node": node, "incarnation": incarnation })),
            "time": e.time.map(|(ms, counter)| json!({ "ms": ms, "counter": counter })),
            "value": e.value.as_ref().map(bytes),
            "shown": e.shown,
        })
    };
    json!({
        "key": bytes(&e.key),
        "shown": e.shown.as_ref().map(bytes),
        "entries": e.entries.iter().map(entry).collect::<Vec<_>>(),
        "deadline_ms": e.deadline_ms,
        "cut": e.cut,
    })
}

/// How a replica fares.
pub(super) fn status_json(s: &Status) -> Value {
    let stream = |s: dwcp_eventual::api::StreamStatus| {
        json!({
            "connected": s.connected, "exposure_us": s.exposure_us, "lag_us": s.lag_us, "worst_lag_us": s.worst_lag_us,
            "batches": s.batches, "again": s.again, "flying": s.flying,
        })
    };
    let peer = |p: &dwcp_eventual::api::PeerStatus| {
        json!({
            "node": p.node, "behind": p.behind, "silent_ms": p.silent_ms, "standing": p.standing,
            "stream": p.stream.map(stream),
        })
    };
    json!({
        "keyspace": s.keyspace,
        "replica": s.replica.map(|(replica, incarnation)| json!({ "replica": replica, "incarnation": incarnation })),
        "epoch": s.epoch,
        "keys": s.keys,
        "version": s.version.iter().map(|(r, n)| (r.to_string(), json!(n))).collect::<serde_json::Map<_, _>>(),
        "fingerprint": format!("{:016x}{:016x}", s.fingerprint[0], s.fingerprint[1]),
        "unstable_operations": s.unstable_operations,
        "unstable_bytes": s.unstable_bytes,
        "pending": s.pending,
        "repair_bytes": { "sent": s.repair_bytes.0, "received": s.repair_bytes.1 },
        "digests": { "equal": s.digests.0, "unequal": s.digests.1 },
        "rungs": s.rungs.iter().map(|(rung, sent, received, repairs)| {
            (rung.clone(), json!({ "sent": sent, "received": received, "repairs": repairs }))
        }).collect::<serde_json::Map<_, _>>(),
        "peers": s.peers.iter().map(peer).collect::<Vec<_>>(),
        "waiting_for": s.waiting_for,
    })
}
