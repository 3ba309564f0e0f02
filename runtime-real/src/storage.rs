//! A node's directory.
//!
//! **Promise.** One process at a time; only our cluster's, our node's and our format's data; only
//! plain files with sound names. Whatever is amiss is an error that says what to do, and the
//! directory is left as it was.
//!
//! **What lies there.**
//!
//! | file | holds |
//! |---|---|
//! | `.lock` | nothing; locked (`flock`) while a process owns the directory |
//! | `dwcp.toml` | format version, cluster, node: whose data this is |
//! | everything else | the node's |
//!
//! **Durability** is as [`dwcp_env::disk`] says: `sync` is `fdatasync` (which also makes the
//! length durable), `sync_dir` is `fsync` of the directory. `Create` reserves blocks with
//! `fallocate`, so that a full disk is met before the first record and not in the midst of
//! one; where the file system can't, zeros are written instead.
//!
//! Files are opened relative to the directory's own descriptor with `O_NOFOLLOW`: neither a
//! symbolic link nor a directory that is moved meanwhile leads elsewhere.

use dwcp_env::disk::FileName;
use dwcp_env::{ClusterId, DiskError, File, NodeId, Storage};
use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// The version of what lies in a data directory; a newer one is refused.
pub const FORMAT: u32 = 1;
const LOCK: &str = ".lock";
const META: &str = "dwcp.toml";
const META_TEMP: &str = ".dwcp.toml.tmp";

/// Why a data directory can't be used. Nothing in it was changed.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It can't be made, opened or read.
    #[error("data directory {} can't be used: {why}", dir.display())]
    Unusable {
        /// Which directory.
        dir: PathBuf,
        /// What the operating system said, and what to do.
        why: String,
    },
    /// Another process has it.
    #[error(
        "data directory {} is in use by another process; stop that one first, or give this node a directory of its own",
        dir.display()
    )]
    InUse {
        /// Which directory.
        dir: PathBuf,
    },
    /// Another cluster's data.
    #[error(
        "data directory {} belongs to cluster {theirs}, and this node is configured for cluster {ours}; \
         point data_dir elsewhere, or correct the cluster in the configuration",
        dir.display()
    )]
    Cluster {
        /// Which directory.
        dir: PathBuf,
        /// Whose data it holds.
        theirs: ClusterId,
        /// Whose we wanted.
        ours: ClusterId,
    },
    /// Another node's data.
    #[error(
        "data directory {} belongs to node {}, and this is node {}; each node needs a directory of its own",
        dir.display(), theirs.0, ours.0
    )]
    Node {
        /// Which directory.
        dir: PathBuf,
        /// Whose data it holds.
        theirs: NodeId,
        /// Whose we wanted.
        ours: NodeId,
    },
    /// Written by a newer build.
    #[error(
        "data directory {} has format {found}, and this build knows formats up to {FORMAT}; \
         start it with the build that wrote it, or a newer one",
        dir.display()
    )]
    Newer {
        /// Which directory.
        dir: PathBuf,
        /// Its format.
        found: u32,
    },
    /// The meta file is not one.
    #[error(
        "{} is not readable as a node's meta file ({why}); restore it, or start with an empty directory \
         and let the peers bring the data",
        file.display()
    )]
    Meta {
        /// Which file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something that a node never puts there.
    #[error(
        "data directory {} holds {name:?}, which is {what}; a node keeps only plain files with simple names \
         there: move it away",
        dir.display()
    )]
    Stranger {
        /// Which directory.
        dir: PathBuf,
        /// What was found.
        name: String,
        /// What it is.
        what: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Meta {
    format: u32,
    /// 32 hexadecimal digits.
    cluster: String,
    node: u64,
}

/// Only the field that every format has, so that a newer one is recognised whatever else it holds.
#[derive(Deserialize)]
struct AnyMeta {
    format: u32,
}

/// A node's directory, held by this process until it is dropped.
pub struct RealStorage {
    dir: Arc<OwnedFd>,
    path: PathBuf,
    _lock: OwnedFd,
}

impl fmt::Debug for RealStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RealStorage({})", self.path.display())
    }
}

impl RealStorage {
    /// Takes `path` for `node` of `cluster`; makes it if it does not exist.
    ///
    /// # Errors
    /// See [`OpenError`]; the directory is then as it was.
    pub fn open(path: &Path, cluster: ClusterId, node: NodeId) -> Result<Self, OpenError> {
        let unusable = |why: &dyn fmt::Display| unusable(path, why);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|e| unusable(&e))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty()).map_err(|e| unusable(&e))?;
        let lock = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = rustix::fs::openat(&dir, LOCK, lock, MODE).map_err(|e| unusable(&e))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(OpenError::InUse { dir: path.into() }),
            Err(e) => return Err(unusable(&e)),
        }
        let storage = Self { dir: Arc::new(dir), path: path.into(), _lock: lock };
        storage.check_entries()?;
        match storage.read_meta()? {
            Some(meta) => storage.check_meta(&meta, cluster, node)?,
            None => storage
                .write_meta(cluster, node)
                .map_err(|e| OpenError::Unusable { dir: path.into(), why: e.to_string() })?,
        }
        Ok(storage)
    }

    /// The directory's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn check_entries(&self) -> Result<(), OpenError> {
        let stranger =
            |name: &str, what| OpenError::Stranger { dir: self.path.clone(), name: name.into(), what };
        let unusable = |why: &dyn fmt::Display| unusable(&self.path, why);
        for entry in std::fs::read_dir(&self.path).map_err(|e| unusable(&e))? {
            let entry = entry.map_err(|e| unusable(&e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(|e| unusable(&e))?;
            // What a file system puts at the root of a volume is nobody's doing.
            if name == LOCK || name == META_TEMP || name == "lost+found" {
                continue;
            }
            if kind.is_symlink() {
                return Err(stranger(&name, "a symbolic link"));
            }
            if !kind.is_file() {
                return Err(stranger(&name, "not a plain file"));
            }
            if FileName::new(&name).is_none() {
                return Err(stranger(&name, "not a name that a node gives"));
            }
        }
        Ok(())
    }

    fn read_meta(&self) -> Result<Option<Meta>, OpenError> {
        let file = self.path.join(META);
        let bad = |why: String| OpenError::Meta { file: file.clone(), why };
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(bad(e.to_string())),
        };
        let any: AnyMeta = toml::from_str(&text).map_err(|e| bad(e.message().into()))?;
        if any.format > FORMAT {
            return Err(OpenError::Newer { dir: self.path.clone(), found: any.format });
        }
        toml::from_str(&text).map(Some).map_err(|e| bad(e.message().into()))
    }

    fn check_meta(&self, meta: &Meta, cluster: ClusterId, node: NodeId) -> Result<(), OpenError> {
        let dir = self.path.clone();
        let theirs = u128::from_str_radix(&meta.cluster, 16).map(ClusterId).map_err(|_| OpenError::Meta {
            file: self.path.join(META),
            why: format!("cluster {:?} is not a hexadecimal number", meta.cluster),
        })?;
        if theirs != cluster {
            return Err(OpenError::Cluster { dir, theirs, ours: cluster });
        }
        if meta.node != node.0 {
            return Err(OpenError::Node { dir, theirs: NodeId(meta.node), ours: node });
        }
        Ok(())
    }

    /// A new directory is a node's once this file's name is durable. Before that it may hold
    /// nothing of a node's, so a crash here leaves an empty directory.
    fn write_meta(&self, cluster: ClusterId, node: NodeId) -> Result<(), DiskError> {
        let others = self.list()?;
        if let Some(found) = others.first() {
            return Err(DiskError::Io {
                doing: "adopt",
                file: found.as_str().into(),
                offset: 0,
                why: format!("the directory has files but no {META}: it is not a node's; use an empty one"),
            });
        }
        let meta = Meta { format: FORMAT, cluster: cluster.to_string(), node: node.0 };
        let text = toml::to_string(&meta).expect("three plain fields are TOML");
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*self.dir, META_TEMP, flags, MODE)
            .map_err(|e| fault("create", META_TEMP, 0, e))?;
        write_all(&fd, META_TEMP, 0, text.as_bytes())?;
        rustix::fs::fdatasync(&fd).map_err(|e| fault("sync", META_TEMP, 0, e))?;
        rustix::fs::renameat(&*self.dir, META_TEMP, &*self.dir, META)
            .map_err(|e| fault("rename", META_TEMP, 0, e))?;
        self.sync_dir()?;
        // The directory's own name, as far as we may have made it.
        if let Some(parent) = self.path.parent().filter(|p| !p.as_os_str().is_empty())
            && let Ok(parent) = std::fs::File::open(parent)
        {
            parent.sync_all().map_err(|e| fault_io("sync", ".", 0, &e))?;
        }
        Ok(())
    }

    pub(crate) fn open_file(&self, file: &FileName, flags: OFlags) -> Result<RealFile, DiskError> {
        refuse_own(file)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | flags;
        let fd = rustix::fs::openat(&*self.dir, file.as_str(), flags, MODE)
            .map_err(|e| fault("open", file.as_str(), 0, e))?;
        Ok(RealFile { fd, name: file.clone() })
    }

    /// Makes (or replaces) a file of `len` zero bytes with its blocks reserved. If that fails
    /// there is no file of that name.
    pub(crate) fn create_reserved(&self, file: &FileName, len: u64) -> Result<RealFile, DiskError> {
        let f = self.open_file(file, OFlags::CREATE | OFlags::TRUNC)?;
        match reserve(&f, len) {
            Ok(()) => Ok(f),
            Err(e) => {
                // Half a file would hold the room that others may need. If it can't be removed
                // either, recovery meets a file without records.
                let _best_effort = self.remove(file);
                Err(e)
            }
        }
    }
}

fn reserve(f: &RealFile, len: u64) -> Result<(), DiskError> {
    if len == 0 {
        return Ok(());
    }
    match rustix::fs::fallocate(&f.fd, FallocateFlags::empty(), 0, len) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
            let zeros = vec![0; 64 * 1024];
            let mut at = 0;
            while at < len {
                let n = (len - at).min(zeros.len() as u64);
                write_all(&f.fd, f.name.as_str(), at, &zeros[..n as usize])?;
                at += n;
            }
            Ok(())
        }
        Err(e) => Err(fault("reserve", f.name.as_str(), 0, e)),
    }
}

fn unusable(dir: &Path, why: &dyn fmt::Display) -> OpenError {
    let why = format!("{why}; check that it exists, and that this user may read and write it");
    OpenError::Unusable { dir: dir.into(), why }
}

const MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The meta file is ours: the node neither sees nor touches it.
fn refuse_own(file: &FileName) -> Result<(), DiskError> {
    if file.as_str() == META { Err(DiskError::NotFound(META.into())) } else { Ok(()) }
}

pub(crate) fn fault(doing: &'static str, file: &str, offset: u64, e: Errno) -> DiskError {
    match e {
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => DiskError::NoSpace,
        Errno::NOENT => DiskError::NotFound(file.into()),
        e => DiskError::Io { doing, file: file.into(), offset, why: std::io::Error::from(e).to_string() },
    }
}

fn fault_io(doing: &'static str, file: &str, offset: u64, e: &std::io::Error) -> DiskError {
    match e.raw_os_error() {
        Some(n) => fault(doing, file, offset, Errno::from_raw_os_error(n)),
        None => DiskError::Io { doing, file: file.into(), offset, why: e.to_string() },
    }
}

fn write_all(fd: &OwnedFd, name: &str, mut offset: u64, mut data: &[u8]) -> Result<(), DiskError> {
    while !data.is_empty() {
        match rustix::io::pwrite(fd, data, offset) {
            Ok(0) => return Err(DiskError::NoSpace),
            Ok(n) => {
                data = &data[n..];
                offset += n as u64;
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(fault("write", name, offset, e)),
        }
    }
    Ok(())
}

impl Storage for RealStorage {
    fn list(&self) -> Result<Vec<FileName>, DiskError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.path).map_err(|e| fault_io("list", ".", 0, &e))? {
            let entry = entry.map_err(|e| fault_io("list", ".", 0, &e))?;
            let plain = entry.file_type().is_ok_and(|t| t.is_file());
            if let Some(name) = entry.file_name().to_str().and_then(FileName::new).filter(|_| plain)
                && name.as_str() != META
            {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }
    fn open(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        Ok(Box::new(self.open_file(file, OFlags::empty())?))
    }
    fn create(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        Ok(Box::new(self.open_file(file, OFlags::CREATE | OFlags::TRUNC)?))
    }
    fn rename(&self, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        refuse_own(from)?;
        refuse_own(to)?;
        rustix::fs::renameat(&*self.dir, from.as_str(), &*self.dir, to.as_str())
            .map_err(|e| fault("rename", from.as_str(), 0, e))
    }
    fn remove(&self, file: &FileName) -> Result<(), DiskError> {
        refuse_own(file)?;
        match rustix::fs::unlinkat(&*self.dir, file.as_str(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(fault("remove", file.as_str(), 0, e)),
        }
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        rustix::fs::fsync(&*self.dir).map_err(|e| fault("sync", ".", 0, e))
    }
}

/// An open file of a node's directory.
pub(crate) struct RealFile {
    fd: OwnedFd,
    name: FileName,
}

impl fmt::Debug for RealFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RealFile({})", self.name.as_str())
    }
}

impl File for RealFile {
    fn len(&self) -> Result<u64, DiskError> {
        let stat = rustix::fs::fstat(&self.fd).map_err(|e| fault("measure", self.name.as_str(), 0, e))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let mut done = 0;
        while done < out.len() {
            match rustix::io::pread(&self.fd, &mut out[done..], offset + done as u64) {
                Ok(0) => {
                    let want = offset + out.len() as u64;
                    return Err(DiskError::Short { file: self.name.as_str().into(), len: self.len()?, want });
                }
                Ok(n) => done += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(fault("read", self.name.as_str(), offset + done as u64, e)),
            }
        }
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        write_all(&self.fd, self.name.as_str(), offset, data)
    }
    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        rustix::fs::ftruncate(&self.fd, len).map_err(|e| fault("resize", self.name.as_str(), len, e))
    }
    fn sync(&self) -> Result<(), DiskError> {
        rustix::fs::fdatasync(&self.fd).map_err(|e| fault("sync", self.name.as_str(), 0, e))
    }
}
