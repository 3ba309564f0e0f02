//! Carrying acts out, and undoing them.
//!
//! An act begins, lasts, and ends; [`heal`] undoes whatever is still broken, in whatever state a run ends.
//! The evidence of each act is what the kernel, the disk or the node itself says happened, never what we
//! believe to have asked for.

use super::cluster::{Cluster, READY_WITHIN};
use crate::http;
use dwcp_env::{NodeId, Seed};
use dwcp_nemesis::Act;
use dwcp_nemesis::disk::Counts;
use dwcp_nemesis::link::{self, Shape};
use dwcp_nemesis::netns::Namespaces;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// That an act fired: what was seen, how often.
pub(super) type Evidence = (&'static str, u64);

/// A node restarted in its turn serves within this, or the next one's turn comes.
const NEXT_WITHIN: Duration = Duration::from_secs(8);
/// A calendar counts as put off when it is off by at least this part of what was asked.
const HALF: f64 = 0.5;

/// What counters said before an act.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    disks: Counts,
    link: link::Counts,
}

/// What counters say now.
pub(super) fn before(cluster: &Cluster) -> Before {
    let link = cluster.network.as_ref().and_then(|n| n.counts()).unwrap_or_default();
    Before { disks: cluster.disk_counts(), link }
}

/// Begins an act.
pub(super) async fn begin(cluster: &mut Cluster, act: &Act, seed: Seed) -> Result<Option<Evidence>, String> {
    match act {
        Act::Kill { nodes, lose_unsynced: false } => {
            Ok(Some(("processes killed", cluster.kill(nodes).await?)))
        }
        Act::Kill { nodes, lose_unsynced: true } => {
            cluster.kill(nodes).await?;
            cluster.disks(nodes).for_each(|d| d.lose_power(seed));
            Ok(Some(("disks lost power", cluster.disks(nodes).count() as u64)))
        }
        Act::DiskFull { nodes } => {
            cluster.may_end.extend(nodes.iter().map(|n| n.0));
            cluster.disks(nodes).for_each(|d| d.set_full(true));
            Ok(None)
        }
        Act::FsyncFail { nodes } => {
            cluster.may_end.extend(nodes.iter().map(|n| n.0));
            cluster.disks(nodes).for_each(|d| d.set_sync_fails(true));
            Ok(None)
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
        Act::Cut { pairs } => {
            let pairs = pairs.clone();
            on_network(cluster, move |n| n.cut(&pairs)).await?;
            Ok(None)
        }
        Act::Delay { millis, jitter_millis } => {
            let (delay, jitter) = (Duration::from_millis(*millis), Duration::from_millis(*jitter_millis));
            shape(cluster, |s| Shape { delay, jitter, ..s });
            Ok(None)
        }
        Act::Loss { per_mille } => {
            shape(cluster, |s| Shape { loss_per_mille: *per_mille, ..s });
            Ok(None)
        }
    }
}

/// Ends an act: what it broke is whole again, and serves soon.
pub(super) async fn end(
    cluster: &mut Cluster,
    act: &Act,
    before: Before,
) -> Result<Option<Evidence>, String> {
    match act {
        Act::DiskFull { nodes } => {
            cluster.disks(nodes).for_each(|d| d.set_full(false));
            back_from_a_bad_disk(cluster, nodes)?;
            return Ok(Some((
                "writes ended in ENOSPC",
                cluster.disk_counts().no_space - before.disks.no_space,
            )));
        }
        Act::FsyncFail { nodes } => {
            cluster.disks(nodes).for_each(|d| d.set_sync_fails(false));
            back_from_a_bad_disk(cluster, nodes)?;
            let failed = cluster.disk_counts().failed_syncs - before.disks.failed_syncs;
            return Ok(Some(("syncs ended in EIO", failed)));
        }
        Act::Kill { nodes, lose_unsynced } => {
            cluster.ensure(nodes)?;
            let forgotten = |c: Counts| c.lost_pages + c.lost_names;
            let lost = forgotten(cluster.disk_counts()) - forgotten(before.disks);
            return Ok(lose_unsynced.then_some(("unsynced pages and names lost", lost)));
        }
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
        Act::Cut { .. } => {
            return Ok(Some(("packets dropped", on_network(cluster, Namespaces::mend).await?)));
        }
        Act::Delay { .. } => {
            shape(cluster, |s| Shape { delay: Duration::ZERO, jitter: Duration::ZERO, ..s });
            let now = before_of_link(cluster);
            return Ok(Some(("packets delayed", now.delayed - before.link.delayed)));
        }
        Act::Loss { .. } => {
            shape(cluster, |s| Shape { loss_per_mille: 0, ..s });
            let now = before_of_link(cluster);
            return Ok(Some(("packets lost", now.lost - before.link.lost)));
        }
    }
    Ok(None)
}

/// Makes everything whole, whatever was broken. What can't be healed is said, the rest is done all the same.
pub(super) async fn heal(cluster: &mut Cluster) -> Vec<String> {
    let mut failed = Vec::new();
    let all = cluster.nodes();
    for disk in cluster.disks(&all) {
        disk.set_full(false);
        disk.set_sync_fails(false);
    }
    shape(cluster, |_| Shape::default());
    if cluster.network.is_some()
        && let Err(e) = on_network(cluster, Namespaces::mend).await
    {
        failed.push(e);
    }
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

fn before_of_link(cluster: &Cluster) -> link::Counts {
    before(cluster).link
}

fn shape(cluster: &Cluster, change: impl Fn(Shape) -> Shape) {
    if let Some(network) = &cluster.network {
        network.reshape(change);
    }
}

/// Programs are started for it: not on the thread that the clients are on.
async fn on_network<T: Send + 'static>(
    cluster: &Cluster,
    work: impl FnOnce(&Namespaces) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let network = cluster.network.clone().ok_or("the nodes are not in namespaces of their own")?;
    tokio::task::spawn_blocking(move || work(&network)).await.map_err(|e| e.to_string())?
}

/// Whoever ended because of its disk is started again; from now on an end is a surprise again.
fn back_from_a_bad_disk(cluster: &mut Cluster, nodes: &[NodeId]) -> Result<(), String> {
    cluster.ensure(nodes)?;
    cluster.may_end.clear();
    Ok(())
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
