//! A [`Disk`] mounted as a node's data folder, through FUSE.
//!
//! Nothing is cached by the kernel (direct I/O, no lifetimes on names and attributes), so that what the disk
//! forgot nobody remembers. Mounted by root with the system call itself: no helper program is needed.
//! The mount ends when the [`Mount`] is dropped; what a killed run left behind is found by its folder's
//! name and taken away by the next ([`clear`]).

use crate::disk::{Counts, Disk, Fault, Number};
use dwcp_env::Seed;
use fuser::{
    BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, SessionACL, TimeOrNow, WriteFlags,
};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How the kernel's table of mounts names ours.
const SOURCE: &str = "dwcp-jepsen";
/// Nothing is remembered.
const NO_LIFETIME: Duration = Duration::ZERO;
/// A sync takes at least this long, as on a good disk: what was written meanwhile is still unsynced.
const SYNC: Duration = Duration::from_millis(1);
/// The bytes of a block as `stat` counts them.
const BLOCK: u64 = 512;

/// A mounted disk. Dropped, it is taken off.
#[derive(Debug)]
pub struct Mount {
    disk: Arc<Mutex<Disk>>,
    at: PathBuf,
    session: Option<fuser::BackgroundSession>,
}

impl Mount {
    /// Mounts an empty disk on a folder, which is made.
    ///
    /// # Errors
    /// What the operating system said, and what to do.
    pub fn new(at: &Path) -> Result<Self, String> {
        let failed = |e: std::io::Error| {
            format!("can't mount a disk on {}: {e}; it needs root and /dev/fuse", at.display())
        };
        std::fs::create_dir_all(at).map_err(failed)?;
        let disk = Arc::new(Mutex::new(Disk::default()));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName(SOURCE.into()), MountOption::NoAtime];
        config.acl = SessionACL::All;
        let session = fuser::spawn_mount(Served(disk.clone()), at, &config).map_err(failed)?;
        Ok(Self { disk, at: at.into(), session: Some(session) })
    }
    /// No room from now on, or room again.
    pub fn set_full(&self, full: bool) {
        locked(&self.disk).set_full(full);
    }
    /// Syncs fail from now on, or succeed again.
    pub fn set_sync_fails(&self, fails: bool) {
        locked(&self.disk).set_sync_fails(fails);
    }
    /// The power goes. The process that used the disk must have been killed.
    pub fn lose_power(&self, seed: Seed) {
        locked(&self.disk).lose_power(seed);
    }
    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        locked(&self.disk).counts()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(session) = self.session.take()
            && session.umount_and_join().is_err()
        {
            // Somebody still stands in it: it goes when they do.
            detach(&self.at);
        }
    }
}

/// Takes off what an earlier run left: mounts of ours under `dir` that nobody serves any more.
pub fn clear(dir: &Path) {
    let table = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    for line in table.lines() {
        let mut words = line.split(' ');
        if words.next() == Some(SOURCE)
            && let Some(at) = words.next().map(Path::new)
            && at.starts_with(dir)
            && std::fs::metadata(at).is_err()
        {
            detach(at);
        }
    }
}

fn detach(at: &Path) {
    let _best_effort = std::process::Command::new("umount").arg("--lazy").arg(at).status();
}

fn locked(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Served(Arc<Mutex<Disk>>);

const fn errno(fault: Fault) -> Errno {
    match fault {
        Fault::Missing => Errno::ENOENT,
        Fault::NoSpace => Errno::ENOSPC,
        Fault::Failed => Errno::EIO,
        Fault::TooLong => Errno::EFBIG,
    }
}

fn attributes(number: Number, length: u64) -> FileAttr {
    let folder = number == INodeNo::ROOT.0;
    FileAttr {
        ino: INodeNo(number),
        size: length,
        blocks: length.div_ceil(BLOCK),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: if folder { FileType::Directory } else { FileType::RegularFile },
        perm: if folder { 0o700 } else { 0o600 },
        nlink: if folder { 2 } else { 1 },
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: crate::disk::PAGE as u32,
        flags: 0,
    }
}

fn finish(reply: ReplyEmpty, done: Result<(), Fault>) {
    match done {
        Ok(()) => reply.ok(),
        Err(fault) => reply.error(errno(fault)),
    }
}

impl Served {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        locked(&self.0)
    }
    fn attributes_of(&self, number: INodeNo) -> Option<FileAttr> {
        if number == INodeNo::ROOT {
            return Some(attributes(number.0, 0));
        }
        let length = self.disk().length(number.0)?;
        Some(attributes(number.0, length))
    }
}

impl Filesystem for Served {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = name.to_str().and_then(|n| self.disk().find(n));
        match found.and_then(|n| self.attributes_of(INodeNo(n))) {
            Some(attr) => reply.entry(&NO_LIFETIME, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }
    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes_of(ino) {
            Some(attr) => reply.attr(&NO_LIFETIME, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }
    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = size.map_or(Ok(()), |s| self.disk().set_length(ino.0, s));
        match (done, self.attributes_of(ino)) {
            (Ok(()), Some(attr)) => reply.attr(&NO_LIFETIME, &attr),
            (Err(fault), _) => reply.error(errno(fault)),
            (_, None) => reply.error(Errno::ENOENT),
        }
    }
    fn create(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let Some(name) = name.to_str() else { return reply.error(Errno::EINVAL) };
        let made = self.disk().create(name);
        match made {
            Ok(number) => {
                let attr = attributes(number, 0);
                reply.created(&NO_LIFETIME, &attr, Generation(0), FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(fault) => reply.error(errno(fault)),
        }
    }
    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.disk().open(ino.0);
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }
    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.disk().close(ino.0);
        reply.ok();
    }
    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.disk().read(ino.0, offset, size as usize);
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(fault) => reply.error(errno(fault)),
        }
    }
    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.disk().write(ino.0, offset, data);
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(fault) => reply.error(errno(fault)),
        }
    }
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }
    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        std::thread::sleep(SYNC);
        let done = self.disk().sync(ino.0);
        finish(reply, done);
    }
    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        std::thread::sleep(SYNC);
        let done = self.disk().sync_names();
        finish(reply, done);
    }
    fn unlink(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = name.to_str().map_or(Err(Fault::Missing), |n| self.disk().remove(n));
        finish(reply, done);
    }
    fn rename(
        &self,
        _: &Request,
        _: INodeNo,
        name: &OsStr,
        _: INodeNo,
        to: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let done = match (name.to_str(), to.to_str()) {
            (Some(from), Some(to)) => self.disk().rename(from, to),
            _ => Err(Fault::Missing),
        };
        finish(reply, done);
    }
    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let done = self.disk().reserve(ino.0, offset.saturating_add(length));
        finish(reply, done);
    }
    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        if ino != INodeNo::ROOT {
            return reply.error(Errno::ENOTDIR);
        }
        let disk = self.disk();
        let dots = [(INodeNo::ROOT, FileType::Directory, "."), (INodeNo::ROOT, FileType::Directory, "..")];
        let files = disk.names().map(|(name, n)| (INodeNo(n), FileType::RegularFile, name));
        for (i, (number, kind, name)) in dots.into_iter().chain(files).enumerate().skip(offset as usize) {
            // The offset of an entry is where the next question goes on.
            if reply.add(number, i as u64 + 1, kind, name) {
                break;
            }
        }
        drop(disk);
        reply.ok();
    }
    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let pages = crate::disk::ROOM / crate::disk::PAGE as u64;
        reply.statfs(pages, pages, pages, 0, 0, crate::disk::PAGE as u32, 255, 0);
    }
}
