//! What a home had decided and nobody took over: kept in a file, shown, never merged.

use super::ASIDE_MAX;
use super::status::AsideBrief;
use dwcp_env::disk::{self, FileName};
use dwcp_env::{DiskError, GroupId, Storage, wire};
use dwcp_store::api::{Revision, WatchEvent};
use dwcp_store::{Store, WatchId, WatchRequest, WatchUpdate, Watchers};
use serde::{Deserialize, Serialize};

/// Changes of keys behind a cut.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Aside {
    /// The era that ended.
    pub era: u32,
    /// The last index that counts, and the revision there.
    pub cut: (u64, Revision),
    /// The last index that was decided here, and the revision there.
    pub end: (u64, Revision),
    /// Whether this node's old quorum agreed that this was all; else more may have been acknowledged by a node that is not back.
    pub settled: bool,
    /// Whether there was more than is kept (or history was compacted).
    pub truncated: bool,
    /// The changes, in order of revisions.
    pub events: Vec<WatchEvent>,
}

fn name(group: GroupId, era: u32) -> Option<FileName> {
    FileName::new(&format!("aside-{}-{era}.bin", group.0))
}

impl Aside {
    /// Reads the changes behind a revision out of a store's history.
    pub(crate) fn read(store: &Store, era: u32, cut: (u64, Revision), settled: bool) -> Self {
        let end = (store.position().map_or(0, |p| p.index), store.revision());
        let mut aside = Self { era, cut, end, settled, ..Self::default() };
        let mut watchers = Watchers::new();
        let all = WatchRequest {
            key: vec![0].into(),
            range_end: vec![0].into(),
            start_revision: cut.1 + 1,
            ..WatchRequest::default()
        };
        watchers.add(WatchId(1), all, store);
        let mut room = ASIDE_MAX.0;
        loop {
            let mut over = false;
            let more = watchers.drain(store, 4_096, &mut |_, update| match update {
                WatchUpdate::Events { events, .. } => {
                    for event in events {
                        let size = (event.kv.key.len() + event.kv.value.len() + 64) as u64;
                        over |= size > room;
                        if over {
                            break;
                        }
                        room -= size;
                        aside.events.push(event);
                    }
                }
                WatchUpdate::Compacted { .. } => over = true,
            });
            aside.truncated |= over;
            if over || !more {
                return aside;
            }
        }
    }
    /// Writes it, and makes it durable.
    pub(crate) fn write(&self, storage: &dyn Storage, group: GroupId) -> Result<(), DiskError> {
        let name = name(group, self.era).ok_or_else(|| DiskError::NotFound("aside".into()))?;
        let body = wire::encode(self);
        let mut data = crc32fast::hash(&body).to_le_bytes().to_vec();
        data.extend_from_slice(&body);
        disk::replace(storage, &name, &data)
    }
    /// Reads it back; `None` if there is none that can be believed.
    pub(crate) fn load(storage: &dyn Storage, group: GroupId, era: u32) -> Option<Self> {
        let data = disk::read_all(storage, &name(group, era)?).ok()?;
        let (crc, body) = data.split_first_chunk::<4>()?;
        (crc32fast::hash(body) == u32::from_le_bytes(*crc)).then(|| wire::decode(body).ok())?
    }
    pub(crate) const fn brief(&self) -> AsideBrief {
        let Self { era, cut, end, settled, truncated, .. } = *self;
        AsideBrief { era, cut, end, settled, truncated, changes: self.events.len() as u64 }
    }
}

/// All that lies aside of a group.
pub(crate) fn found(storage: &dyn Storage, group: GroupId) -> Vec<AsideBrief> {
    let prefix = format!("aside-{}-", group.0);
    let names = storage.list().unwrap_or_default();
    let era = |n: &FileName| n.as_str().strip_prefix(&prefix)?.strip_suffix(".bin")?.parse().ok();
    let eras: Vec<u32> = names.iter().filter_map(era).collect();
    eras.into_iter().filter_map(|era| Aside::load(storage, group, era)).map(|a| a.brief()).collect()
}
