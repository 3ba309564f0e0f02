//! What a node may ask of a disk.
//!
//! A node owns one flat directory. Two doors lead to it:
//!
//! * [`DiskRequest`], an output: operations carried out in order, completed later as
//!   [`Input::Disk`](crate::Input::Disk). The write-ahead log lives here, so that waiting for
//!   a sync never holds up a heartbeat (etcd #13527 is what happens otherwise).
//! * [`Storage`], a handle that answers at once: recovery at boot, and jobs off the loop
//!   (checkpoints, snapshots). Never used inside `step` for anything that syncs.
//!
//! **What is durable when.** A file's bytes are durable after `sync`; its *name* (created,
//! renamed or removed) after `sync_dir`. Neither implies the other. A write that was not
//! synced may after a crash be absent, whole, or torn at a sector of 512 bytes; the
//! file's length may be anything between the synced and the written one.
//!
//! **Errors.** A failed sync is final: the kernel may have dropped the pages it could not
//! write, and a second sync that succeeds proves nothing (Rebello et al., ATC 2020). The node
//! stops and recovers from what is on the disk. `NoSpace` on a write harms nothing that was
//! durable before.

use crate::id::Ticket;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt::Debug;
use thiserror::Error;

/// A file's name in the node's directory: letters, digits, `-`, `_`, `.`; at most 64 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileName(Arc<str>);

impl FileName {
    /// A name, if it is one.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let sound = (1..=64).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(legal);
        sound.then(|| Self(Arc::from(name)))
    }
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One operation of a [`DiskRequest`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DiskOp {
    /// Makes a file of `len` zero bytes, its blocks reserved. Fails with `NoSpace` before it
    /// could matter; replaces a file of that name.
    Create {
        /// Which file.
        file: FileName,
        /// Its length in bytes.
        len: u64,
    },
    /// Writes at an offset; never past the end of a file made by `Create` unless it grows.
    Write {
        /// Which file.
        file: FileName,
        /// Where, in bytes.
        offset: u64,
        /// What.
        data: Bytes,
    },
    /// Makes all earlier writes to the file durable.
    Sync {
        /// Which file.
        file: FileName,
    },
    /// Renames, replacing the target.
    Rename {
        /// Old name.
        from: FileName,
        /// New name.
        to: FileName,
    },
    /// Removes a file; removing one that does not exist is no error.
    Remove {
        /// Which file.
        file: FileName,
    },
    /// Makes all earlier creations, renames and removals durable.
    SyncDir,
}

/// Operations in order, with one completion.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskRequest {
    /// Names the completion; rises by one with each request of an incarnation.
    pub ticket: Ticket,
    /// Carried out in order; the first failure ends the request.
    pub ops: Vec<DiskOp>,
}

/// What the environment did to us.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DiskError {
    /// No such file.
    #[error("no file {0:?} in the data directory")]
    NotFound(String),
    /// No room left. What was durable stays so.
    #[error("no space left on the device; free some or grow it, then start the node again")]
    NoSpace,
    /// The device refused: a failed read (latent sector error), write or sync.
    #[error("the device failed to {doing} {file:?} at byte {offset}: {why}")]
    Io {
        /// read, write, sync…
        doing: &'static str,
        /// Which file.
        file: String,
        /// Where.
        offset: u64,
        /// What the operating system said.
        why: String,
    },
    /// A read past the end.
    #[error("{file:?} ends at byte {len}, and {want} were wanted")]
    Short {
        /// Which file.
        file: String,
        /// Its length.
        len: u64,
        /// The end of the range wanted.
        want: u64,
    },
    /// The node has been stopped or killed; nothing more reaches its disk.
    #[error("the node is stopped")]
    Stopped,
}

/// An open file. Reads see earlier writes at once; durability is as the module says.
pub trait File: core::marker::Send + Sync + Debug {
    /// Its length in bytes.
    ///
    /// # Errors
    /// The device's.
    fn len(&self) -> Result<u64, DiskError>;
    /// Whether it has no bytes.
    ///
    /// # Errors
    /// The device's.
    fn is_empty(&self) -> Result<bool, DiskError> {
        Ok(self.len()? == 0)
    }
    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// `Short` past the end; the device's.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError>;
    /// Writes `data` at `offset`, growing the file if need be.
    ///
    /// # Errors
    /// `NoSpace`; the device's.
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError>;
    /// Cuts or grows (with zeros) to `len`.
    ///
    /// # Errors
    /// `NoSpace`; the device's.
    fn set_len(&self, len: u64) -> Result<(), DiskError>;
    /// Makes earlier writes and the length durable.
    ///
    /// # Errors
    /// The device's; final, see the module.
    fn sync(&self) -> Result<(), DiskError>;
}

/// The node's directory, answering at once.
pub trait Storage: core::marker::Send + Sync + Debug {
    /// All names, sorted.
    ///
    /// # Errors
    /// The device's.
    fn list(&self) -> Result<Vec<FileName>, DiskError>;
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound` if it does not exist.
    fn open(&self, file: &FileName) -> Result<Box<dyn File>, DiskError>;
    /// Makes an empty file, or empties an existing one, and opens it.
    ///
    /// # Errors
    /// `NoSpace`; the device's.
    fn create(&self, file: &FileName) -> Result<Box<dyn File>, DiskError>;
    /// Renames, replacing the target.
    ///
    /// # Errors
    /// `NotFound`; the device's.
    fn rename(&self, from: &FileName, to: &FileName) -> Result<(), DiskError>;
    /// Removes a file; one that does not exist is no error.
    ///
    /// # Errors
    /// The device's.
    fn remove(&self, file: &FileName) -> Result<(), DiskError>;
    /// Makes creations, renames and removals durable.
    ///
    /// # Errors
    /// The device's; final, see the module.
    fn sync_dir(&self) -> Result<(), DiskError>;
}

/// Reads a whole file.
///
/// # Errors
/// As [`Storage::open`] and [`File::read_at`].
pub fn read_all(storage: &dyn Storage, file: &FileName) -> Result<Vec<u8>, DiskError> {
    let f = storage.open(file)?;
    let mut data = alloc::vec![0; usize::try_from(f.len()?).unwrap_or(0)];
    f.read_at(0, &mut data)?;
    Ok(data)
}

/// Replaces a small file atomically: a temporary one, synced, renamed, the directory synced.
/// After a crash the file holds the old bytes or the new, never a mixture.
///
/// # Errors
/// The device's.
pub fn replace(storage: &dyn Storage, file: &FileName, data: &[u8]) -> Result<(), DiskError> {
    let temp = FileName::new(&alloc::format!("{}.tmp", file.as_str()))
        .ok_or_else(|| DiskError::NotFound(String::from(file.as_str())))?;
    let f = storage.create(&temp)?;
    f.write_at(0, data)?;
    f.sync()?;
    storage.rename(&temp, file)?;
    storage.sync_dir()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_none() {
        for bad in ["", ".", "..", "a/b", ".hidden", "a\0b", "ü"] {
            assert_eq!(FileName::new(bad), None, "{bad:?}");
        }
        assert!(FileName::new("wal-000000000001.log").is_some());
    }
}
