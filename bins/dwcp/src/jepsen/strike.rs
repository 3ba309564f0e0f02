//! Carrying acts out, and undoing them.
//!
//! An act begins, lasts, and ends; [`heal`] undoes whatever is still broken, in whatever state a run ends.
//! The evidence of each act is what the kernel, the disk or the node itself says happened, never what we
//! believe to have asked for.

use super::cluster::{Cluster, READY_WITHIN};
use crate::http;
use dwcp_nemesis::Act;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// That an act fired: what was seen, how often.
pub(super) type Evidence = (&'static str, u64);

/// A node restarted in its turn serves within this, or the next one's turn comes.
const NEXT_WITHIN: Duration = Duration::from_secs(8);
/// A calendar counts as put off when it is off by at least this part of what was asked.
const HALF: f64 = 0.5;

/// Begins an act.
pub(super) async fn begin(cluster: &mut Cluster, act: &Act) -> Result<Option<Evidence>, String> {
    match act {
        Act::Kill { nodes, .. } => {
            let killed = cluster.kill(nodes).await?;
            Ok(Some(("processes killed", killed)))
        }
        Act::Pause { nodes } => Ok(Some(("processes stopped", cluster.pause(nodes).await))),
        Act::Restart { nodes } => {
            let mut well = 0;
            for node in nodes {
                well += u64::from(cluster.stop(*node).await?);
                cluster.ensure(&[*node])?;
                // With another nemesis at work it may wait for a quorum: the next goes on all the same.
                let _late = cluster.wait_ready(&[*node], NEXT_WITHIN).await;
            }
            Ok(Some(("processes stopped well", well)))
        }
        Act::Clock { offsets } => {
            let mut off = 0;
            for (node, by) in offsets {
                let Some(admin) = cluster.admin(*node) else { continue };
                // Who does not run has no calendar; what did not happen is not counted.
                if put_off(admin, *by).await.is_ok()
                    && let Ok(seen) = calendar_offset_ms(admin).await
                {
                    off += u64::from(seen / *by as f64 > HALF);
                }
            }
            Ok(Some(("calendars put off", off)))
        }
        other => Err(format!("{} is not carried out here", other.words())),
    }
}

/// Ends an act: what it broke is whole again, and serves soon.
pub(super) async fn end(cluster: &mut Cluster, act: &Act) -> Result<Option<Evidence>, String> {
    match act {
        Act::Kill { nodes, .. } => cluster.ensure(nodes)?,
        Act::Pause { nodes } => cluster.resume(nodes),
        Act::Restart { .. } => {}
        Act::Clock { offsets } => {
            for (node, _) in offsets {
                if let Some(admin) = cluster.admin(*node) {
                    // Who was started again has a sound one; [`heal`] insists.
                    let _not_there = put_off(admin, 0).await;
                }
            }
        }
        other => return Err(format!("{} is not carried out here", other.words())),
    }
    Ok(None)
}

/// Makes everything whole, whatever was broken. What can't be healed is said, the rest is done all the same.
pub(super) async fn heal(cluster: &mut Cluster) -> Vec<String> {
    let mut failed = Vec::new();
    let all = cluster.nodes();
    cluster.resume(&all);
    if let Err(e) = cluster.ensure(&all) {
        failed.push(e);
    }
    if let Err(e) = cluster.wait_ready(&all, READY_WITHIN).await {
        failed.push(e);
    }
    for admin in all.iter().filter_map(|n| cluster.admin(*n)) {
        if let Err(e) = put_off(admin, 0).await {
            failed.push(e);
        }
    }
    failed
}

async fn put_off(admin: SocketAddr, by_ms: i64) -> Result<(), String> {
    match http::post(admin, &format!("/inject/clock?ms={by_ms}")).await? {
        (200, _) => Ok(()),
        (code, body) => Err(format!("{admin} answers {code}: {body}")),
    }
}

/// How far a node's own calendar is from ours, in milliseconds.
async fn calendar_offset_ms(admin: SocketAddr) -> Result<f64, String> {
    let (_, text) = http::get(admin, "/metrics").await?;
    let ours = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    let line = text.lines().find_map(|l| l.strip_prefix("dwcp_clock_calendar_seconds "));
    let theirs: f64 = line.and_then(|v| v.trim().parse().ok()).ok_or("no calendar among a node's metrics")?;
    Ok((theirs - ours) * 1_000.0)
}
