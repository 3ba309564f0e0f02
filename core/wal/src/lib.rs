//! The write-ahead log every engine of a node shares, and its recovery.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod batch;
mod boot;
mod config;
mod error;
mod format;
mod item;
mod live;
mod log;
mod merge;
mod record;
mod recovered;
mod replay;
mod scan;

#[cfg(feature = "planted-bugs")]
pub use config::WalBugs;
pub use config::WalConfig;
pub use error::WalError;
pub use log::{Done, Wal};
pub use record::{LogEntry, Lsn, PAYLOAD_MAX, Record};
pub use recovered::{Damage, GroupLog, Lost, Recovered, TailCut};
