//! `Maintenance.Snapshot`: the keyspace as etcd's own database file.
//!
//! **Promise.** What `etcdctl snapshot save` writes here, `etcdctl snapshot status` and `snapshot
//! restore` of an etcd read: a keyspace can always be taken home. The image holds every key
//! as of one revision, and all leases; history before that revision is left out and marked
//! as compacted. (Backups of a cluster for itself are another matter: they hold history,
//! sessions and members, and are made by the node.)
//!
//! The node is asked for the keys in pieces of about [`PIECE`], all at one revision, so that its
//! loop is never held up; if history is compacted away meanwhile, it begins again.

use super::backend::Backend;
use super::bolt::{Bucket, Image};
use super::convert;
use super::door::Door;
use super::grpc::{self, Call, Left, Outbound};
use super::message as pb;
use super::status::{Code, Status};
use super::wait::step;
use bytes::{BufMut, Bytes, BytesMut};
use dwcp_env::GroupId;
use dwcp_node::{Answer, Ask};
use dwcp_store::api::{KeyValue, LeaseId, RangeRequest, Revision};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use prost::Message as _;

/// How much is asked of the node at once, in bytes.
const PIECE: usize = 1 << 20;
/// How much is sent at once, in bytes.
const CHUNK: usize = 256 * 1024;
/// The largest state handed out this way, in bytes: it is held in memory to be put in order.
const STATE_MAX: usize = 2 << 30;
/// How often it begins again when history is compacted away underneath.
const ATTEMPTS: usize = 5;
/// Leases asked about at once.
const LEASES_AT_ONCE: usize = 64;

impl<B: Backend> Door<B> {
    pub(super) async fn snapshot(self, mut call: Call) {
        let asked = match self.context(&call.head) {
            Ok(c) => call.inbound.only::<pb::SnapshotRequest>().await.map(|_| c.group),
            Err(status) => Err(status),
        };
        let gathered = match asked {
            Ok(group) => grpc::while_wanted(&mut call.respond, self.gather(group)).await,
            Err(status) => Ok(Err(status)),
        };
        match gathered {
            Ok(Ok(image)) => {
                let Ok(mut out) = Outbound::open(&mut call.respond) else { return };
                if send(&mut out, &image).await.is_ok() {
                    out.finish(&super::status::OK);
                }
            }
            Ok(Err(status)) => grpc::refuse(&mut call.respond, &status),
            Err(Left) => {}
        }
    }

    /// The image of the keyspace: at least what was acknowledged before; without a quorum as this node has it.
    async fn gather(&self, group: GroupId) -> Result<Image, Status> {
        // A count behind a barrier shows this door the revision that its own reads then wait for.
        let all = Bytes::from_static(&[0]);
        let count =
            RangeRequest { key: all.clone(), range_end: all, count_only: true, ..RangeRequest::default() };
        match self.read(step(group), count).await {
            Err(status) if status.code != Code::Unavailable => return Err(status),
            _ => {}
        }
        let mut attempt = 1;
        let (revision, keys) = loop {
            match self.all_keys(group).await {
                Ok(found) => break found,
                Err(status) if status.code == Code::OutOfRange && attempt < ATTEMPTS => attempt += 1,
                Err(status) => return Err(status),
            }
        };
        let leases = self.all_leases(group).await?;
        Ok(Image::plan(buckets(revision, keys, &leases)))
    }

    async fn all_keys(&self, group: GroupId) -> Result<(Revision, Vec<KeyValue>), Status> {
        let mut request = RangeRequest {
            key: Bytes::from_static(&[0]),
            range_end: Bytes::from_static(&[0]),
            limit: 64,
            ..RangeRequest::default()
        };
        let (mut keys, mut bytes) = (Vec::new(), 0);
        loop {
            let (now, found) = self.read_own(step(group), request.clone()).await?;
            if request.revision == 0 {
                request.revision = now;
            }
            let size: usize = found.kvs.iter().map(|kv| kv.key.len() + kv.value.len() + 64).sum();
            bytes += size;
            if bytes > STATE_MAX {
                return Err(Status::told(
                    Code::ResourceExhausted,
                    format!("dwcp: the keyspace is larger than {STATE_MAX} bytes; use `dwcp backup`"),
                ));
            }
            // The next piece is as long as pieces like this one may be.
            let each = (size / found.kvs.len().max(1)).max(1);
            request.limit = (PIECE / each).clamp(1, 16_384) as i64;
            let Some(last) = found.kvs.last().filter(|_| found.more) else {
                keys.extend(found.kvs);
                return Ok((request.revision, keys));
            };
            request.key = [&last.key[..], &[0]].concat().into();
            keys.extend(found.kvs);
        }
    }

    async fn all_leases(&self, group: GroupId) -> Result<Vec<(LeaseId, i64)>, Status> {
        let ids = match self.ask(step(group), Ask::Leases).await? {
            Answer::Leases { ids, .. } => ids,
            other => return Err(convert::mismatch("the leases", &other)),
        };
        let one = |id| async move {
            match self.ask(step(group), Ask::LeaseTimeToLive { id, keys: false }).await? {
                Answer::Lease { lease, .. } => Ok(lease.map(|l| (id, l.granted_ttl_s))),
                other => Err(convert::mismatch("a lease's time to live", &other)),
            }
        };
        let found: Vec<Option<(LeaseId, i64)>> =
            stream::iter(ids).map(one).buffered(LEASES_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }
}

/// Sends an image, and the SHA-256 of it as the last 32 bytes, as etcd does.
async fn send(out: &mut Outbound, image: &Image) -> Result<(), Left> {
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let mut remaining = image.size();
    let mut chunk = BytesMut::new();
    for piece in image.pieces() {
        digest.update(&piece);
        remaining -= piece.len() as u64;
        chunk.extend_from_slice(&piece);
        if chunk.len() >= CHUNK {
            send_chunk(out, remaining, chunk.split().freeze()).await?;
        }
    }
    if !chunk.is_empty() {
        send_chunk(out, 0, chunk.freeze()).await?;
    }
    send_chunk(out, 0, Bytes::copy_from_slice(digest.finish().as_ref())).await
}

async fn send_chunk(out: &mut Outbound, remaining_bytes: u64, blob: Bytes) -> Result<(), Left> {
    out.send(&pb::SnapshotResponse { header: None, remaining_bytes, blob }).await
}

/// The buckets of etcd 3.4 (`mvcc/kvstore.go`, `lease/lessor.go`, `etcdserver`), by name.
fn buckets(revision: Revision, mut keys: Vec<KeyValue>, leases: &[(LeaseId, i64)]) -> Vec<Bucket> {
    // etcd keeps keys by revision; those of one revision by their place in its transaction,
    // for which their order will do.
    keys.sort_by(|a, b| (a.mod_revision, &a.key).cmp(&(b.mod_revision, &b.key)));
    let (mut main, mut sub) = (0, 0);
    let entries = keys
        .into_iter()
        .map(|kv| {
            sub = if kv.mod_revision == main { sub + 1 } else { 0 };
            main = kv.mod_revision;
            (revision_key(main, sub), Bytes::from(convert::key_value(kv).encode_to_vec()))
        })
        .collect();
    let mut leases: Vec<(Bytes, Bytes)> = leases.iter().map(|(id, ttl_s)| lease_entry(*id, *ttl_s)).collect();
    leases.sort();
    let mark = |name: &'static str| (Bytes::from_static(name.as_bytes()), revision_key(revision, 0));
    let meta = vec![
        (Bytes::from_static(b"consistent_index"), Bytes::copy_from_slice(&0_u64.to_be_bytes())),
        mark("finishedCompactRev"),
        mark("scheduledCompactRev"),
    ];
    let empty = |name| Bucket { name, entries: Vec::new() };
    vec![
        empty("alarm"),
        empty("auth"),
        empty("authRoles"),
        empty("authUsers"),
        empty("cluster"),
        Bucket { name: "key", entries },
        Bucket { name: "lease", entries: leases },
        empty("members"),
        empty("members_removed"),
        Bucket { name: "meta", entries: meta },
    ]
}

/// A revision as etcd writes it: main, `_`, sub; big endian.
fn revision_key(main: Revision, sub: i64) -> Bytes {
    let mut key = BytesMut::with_capacity(17);
    key.put_i64(main);
    key.put_u8(b'_');
    key.put_i64(sub);
    key.freeze()
}

/// `leasepb.Lease`: the id, and the seconds granted; both as etcd tags them.
fn lease_entry(id: LeaseId, ttl_s: i64) -> (Bytes, Bytes) {
    let lease = pb::StoredLease { id, ttl: ttl_s };
    (Bytes::copy_from_slice(&id.to_be_bytes()), lease.encode_to_vec().into())
}
