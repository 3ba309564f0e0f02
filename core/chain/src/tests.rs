//! What tests of this crate share.

use dwcp_env::Probe;
use dwcp_raft::SharedWal;
use dwcp_wal::{Wal, WalConfig};
use spin::Mutex;
use std::sync::Arc;

/// A log on an empty disk in memory.
pub(crate) fn wal() -> SharedWal {
    let world = dwcp_env::World {
        now: dwcp_env::Now::default(),
        storage: Arc::new(disk::MemDisk::default()),
        probe: Probe::silent(),
        seed: dwcp_env::Seed(1),
    };
    let (wal, _) = Wal::open(&world, WalConfig::default()).expect("an empty directory");
    Arc::new(Mutex::new(wal))
}

#[path = "../../raft/tests/raft/harness/disk.rs"]
#[allow(dead_code)]
mod disk;
