//! How many small records a second the log takes: `cargo run --release -p dwcp-wal --example rate`.
//!
//! Only the log's own work: nothing is written anywhere.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "it measures real time"
)]

use bytes::Bytes;
use dwcp_env::disk::FileName;
use dwcp_env::{DiskError, File, GroupId, Probe, Seed, Storage, World};
use dwcp_wal::{Record, Wal, WalConfig};
use std::sync::Arc;
use std::time::Instant;

/// A disk that takes everything and keeps nothing.
#[derive(Debug)]
struct Nowhere;

impl File for Nowhere {
    fn len(&self) -> Result<u64, DiskError> {
        Ok(0)
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), DiskError> {
        Ok(())
    }
    fn write_at(&self, _: u64, _: &[u8]) -> Result<(), DiskError> {
        Ok(())
    }
    fn set_len(&self, _: u64) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

impl Storage for Nowhere {
    fn list(&self) -> Result<Vec<FileName>, DiskError> {
        Ok(Vec::new())
    }
    fn open(&self, _: &FileName) -> Result<Box<dyn File>, DiskError> {
        Ok(Box::new(Self))
    }
    fn create(&self, _: &FileName) -> Result<Box<dyn File>, DiskError> {
        Ok(Box::new(Self))
    }
    fn rename(&self, _: &FileName, _: &FileName) -> Result<(), DiskError> {
        Ok(())
    }
    fn remove(&self, _: &FileName) -> Result<(), DiskError> {
        Ok(())
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

fn main() {
    let now = dwcp_env::Now {
        mono: dwcp_env::Instant::ZERO,
        wall: dwcp_env::WallTime::from_nanos(0),
        uncertainty: dwcp_env::Duration::ZERO,
    };
    let world = World { now, storage: Arc::new(Nowhere), probe: Probe::silent(), seed: Seed(1) };
    for batch in [1u64, 64, 1024] {
        let (mut wal, _) = Wal::open(&world, WalConfig::default()).expect("nowhere never fails");
        let payload = Bytes::from(vec![7; 64]);
        let (mut ticket, mut out, mut bytes) = (1, Vec::new(), 0);
        let records = 1_000_000;
        let start = Instant::now();
        for index in 1..=records {
            wal.append(GroupId(0), Record::Entry { index, term: 1, payload: payload.clone() });
            if index % batch == 0 {
                wal.flush(&mut ticket, &mut out);
                for request in out.drain(..) {
                    for op in &request.ops {
                        if let dwcp_env::DiskOp::Write { data, .. } = op {
                            bytes += data.len();
                        }
                    }
                    wal.completed(request.ticket, Ok(())).expect("nothing failed");
                }
            }
            if index % 100_000 == 0 {
                wal.append(GroupId(0), Record::Purge { term: 1, index });
            }
        }
        let rate = records as f64 / start.elapsed().as_secs_f64() / 1e6;
        println!(
            "batches of {batch}: {rate:.2} M records/s of 64 bytes, {} bytes written each",
            bytes / records as usize
        );
    }
}
