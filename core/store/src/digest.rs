//! The digest of a checkpoint: equal wherever the same commands were applied, and nowhere else.
//!
//! **Model.** BLAKE3 over what the state *means*: the meta row, leases, sessions, and every record that can still be read.
//! What compaction has superseded counts for nothing, whether the sweep has come to it on this node or not: files of equal
//! states differ there. So the digest is computed from a view of the file and not from its bytes, and by whoever
//! receives a checkpoint from what it received.
//!
//! **Limits.** Every row is read: about a second for a million of them, off the loop. In memory, 60 bytes and the key
//! for each key whose newest compacted record is still there.
//!
//! **Rejected.** *A sum that is kept up with each write* (LtHash and its like): two microseconds a write under every
//! engine, for what only PBFT needs once in hundreds of batches. *A hash over the pieces sent*: names the file, not the state.

use crate::error::StoreError;
use crate::record::{REV_BYTES, Rev};
use crate::table::View;
use bytes::Bytes;
use std::collections::BTreeMap;

/// A BLAKE3 digest.
pub(crate) type Digest = [u8; 32];

/// Parts of what is hashed, so that rows of one never pass for another's.
mod part {
    pub(super) const META: u8 = 0;
    pub(super) const LEASE: u8 = 1;
    pub(super) const SESSION: u8 = 2;
    pub(super) const COMPACTED: u8 = 3;
    pub(super) const RECORD: u8 = 4;
}

fn add(hasher: &mut blake3::Hasher, part: u8, key: &[u8], body: &[u8]) {
    hasher.update(&[part]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(&(body.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(body);
}

/// The digest of the state in a view.
///
/// # Errors
/// The disk's; `Corrupt`.
pub(crate) fn digest(view: &View) -> Result<Digest, StoreError> {
    let meta = &view.meta;
    let mut hasher = blake3::Hasher::new_derive_key("dwcp 2026-11 digest of a store");
    let said = (&meta.cluster, &meta.group, &meta.at, &meta.engine_record);
    let numbers = (meta.revision, meta.compact_revision, &meta.log_time);
    add(&mut hasher, part::META, &dwcp_env::wire::encode(&numbers), &dwcp_env::wire::encode(&said));
    for (kind, part) in [(b'l', part::LEASE), (b's', part::SESSION)] {
        view.state_rows(kind, |key, body| {
            add(&mut hasher, part, key, body);
            Ok(())
        })?;
    }
    // Of each key the newest record that the compaction reached, which a later one makes superfluous.
    let mut reached: BTreeMap<Bytes, Option<(Rev, Digest)>> = BTreeMap::new();
    let mut told = false;
    let mut row = Vec::new();
    view.scan(Rev::first(0), |rev, record| {
        let key = rev.to_bytes();
        record.seal_into(&key, &mut row);
        if rev.main <= meta.compact_revision {
            let gone = record.is_tombstone() && rev.main < meta.compact_revision;
            let hash = (!gone).then(|| (rev, *blake3::hash(&row).as_bytes()));
            reached.insert(record.key, hash);
            return Ok(true);
        }
        if !std::mem::replace(&mut told, true) {
            tell(&mut hasher, &mut reached);
        }
        add(&mut hasher, part::RECORD, &key, &row);
        Ok(true)
    })?;
    tell(&mut hasher, &mut reached);
    Ok(hasher.finalize().into())
}

/// Adds what the compaction left, in the order of history.
fn tell(hasher: &mut blake3::Hasher, reached: &mut BTreeMap<Bytes, Option<(Rev, Digest)>>) {
    let mut left: Vec<([u8; REV_BYTES], Digest)> =
        std::mem::take(reached).into_values().flatten().map(|(rev, hash)| (rev.to_bytes(), hash)).collect();
    left.sort_unstable();
    for (rev, hash) in left {
        add(hasher, part::COMPACTED, &rev, &hash);
    }
}
