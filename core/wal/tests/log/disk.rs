//! A disk in memory that forgets what was not made durable.
//!
//! The model: a file's bytes become durable by sector, at the latest when it is synced; its
//! length is then anything between the durable and the written one; a name made, replaced or
//! removed is durable at the latest when the directory is synced. At a crash every sector and
//! every name that was not synced goes its own way.

use dwcp_env::disk::FileName;
use dwcp_env::{DiskError, DiskOp, DiskRequest, File, Probe, Seed, Storage, World};
use dwcp_wal::Wal;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

pub(crate) const SECTOR: usize = 512;

/// A small stream of numbers, the same for a seed everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next()) * n as u128) >> 64) as usize
    }
    pub(crate) fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
    unreadable: BTreeSet<usize>,
}

impl Inode {
    fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.now.len() < end {
            self.now.resize(end, 0);
        }
        self.now[offset..end].copy_from_slice(data);
        self.dirty.extend(offset / SECTOR..end.div_ceil(SECTOR));
    }
    fn sync(&mut self) {
        self.dirty.clear();
        self.durable = self.now.clone();
    }
    fn crash(&mut self, dice: &mut Dice) {
        let (a, b) = (self.durable.len(), self.now.len());
        let len = match dice.below(4) {
            0 => a,
            1 => b,
            _ => a.min(b) + dice.below(a.abs_diff(b) + 1),
        };
        let mut after = self.durable.clone();
        after.resize(len, 0);
        // All, none, or each its own way: both ends are common on real disks.
        let mode = dice.below(4);
        for sector in &self.dirty {
            let kept = match mode {
                0 => false,
                1 => true,
                _ => dice.coin(),
            };
            let (from, to) = (sector * SECTOR, ((sector + 1) * SECTOR).min(len).min(self.now.len()));
            if kept && from < to {
                after[from..to].copy_from_slice(&self.now[from..to]);
            }
        }
        self.now = after.clone();
        self.durable = after;
        self.dirty.clear();
    }
}

#[derive(Clone, Debug, Default)]
struct Disk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<FileName, u64>,
    durable_names: BTreeMap<FileName, u64>,
    next: u64,
    room: Option<u64>,
}

/// The disk; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct CrashDisk(Arc<Mutex<Disk>>);

impl CrashDisk {
    pub(crate) fn world(&self, seed: u64) -> World {
        self.world_watched(seed, Probe::silent())
    }
    pub(crate) fn world_watched(&self, seed: u64, probe: Probe) -> World {
        let now = dwcp_env::Now {
            mono: dwcp_env::Instant::ZERO,
            wall: dwcp_env::WallTime::from_nanos(0),
            uncertainty: dwcp_env::Duration::ZERO,
        };
        World { now, storage: Arc::new(self.clone()), probe, seed: Seed(seed) }
    }
    /// An independent disk with the same contents.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }
    /// From now on only this many more bytes fit.
    pub(crate) fn limit(&self, room: Option<u64>) {
        self.0.lock().unwrap().room = room;
    }
    /// The power goes.
    pub(crate) fn crash(&self, dice: &mut Dice) {
        let mut d = self.0.lock().unwrap();
        let all: BTreeSet<FileName> = d.names.keys().chain(d.durable_names.keys()).cloned().collect();
        let mut names = BTreeMap::new();
        for name in all {
            let (now, durable) = (d.names.get(&name), d.durable_names.get(&name));
            let kept = if now == durable || dice.coin() { durable } else { now };
            if let Some(inode) = kept {
                names.insert(name, *inode);
            }
        }
        d.names = names.clone();
        d.durable_names = names;
        d.inodes.values_mut().for_each(|i| i.crash(dice));
    }
    /// Removes a file behind everybody's back.
    pub(crate) fn remove_file(&self, file: &FileName) {
        let mut d = self.0.lock().unwrap();
        d.names.remove(file);
        d.durable_names.remove(file);
    }
    pub(crate) fn files(&self) -> Vec<FileName> {
        self.0.lock().unwrap().names.keys().cloned().collect()
    }
    pub(crate) fn bytes(&self, file: &FileName) -> Vec<u8> {
        let d = self.0.lock().unwrap();
        d.inodes[&d.names[file]].now.clone()
    }
    /// Changes a file behind everybody's back.
    pub(crate) fn alter(&self, file: &FileName, change: impl FnOnce(&mut Vec<u8>)) {
        let mut d = self.0.lock().unwrap();
        let inode = d.names[file];
        let inode = d.inodes.get_mut(&inode).unwrap();
        change(&mut inode.now);
        inode.durable = inode.now.clone();
    }
    /// Makes a sector unreadable.
    pub(crate) fn lose_sector(&self, file: &FileName, sector: usize) {
        let mut d = self.0.lock().unwrap();
        let inode = d.names[file];
        d.inodes.get_mut(&inode).unwrap().unreadable.insert(sector);
    }
    /// Whether any sector of it is unreadable.
    pub(crate) fn has_lost_sectors(&self, file: &FileName) -> bool {
        let d = self.0.lock().unwrap();
        !d.inodes[&d.names[file]].unreadable.is_empty()
    }
    /// Carries a request out, up to its `ops`-th operation.
    pub(crate) fn carry_out(&self, request: &DiskRequest, ops: usize) -> Result<(), DiskError> {
        for op in request.ops.iter().take(ops) {
            match op {
                DiskOp::Create { file, len } => {
                    let f = self.create(file)?;
                    f.set_len(*len)?;
                }
                DiskOp::Write { file, offset, data } => self.open(file)?.write_at(*offset, data)?,
                DiskOp::Sync { file } => self.open(file)?.sync()?,
                DiskOp::Rename { from, to } => self.rename(from, to)?,
                DiskOp::Remove { file } => self.remove(file)?,
                DiskOp::SyncDir => self.sync_dir()?,
            }
        }
        Ok(())
    }
}

#[derive(Debug)]
struct Open {
    disk: CrashDisk,
    inode: u64,
    name: String,
}

impl Open {
    fn with<T>(&self, f: impl FnOnce(&mut Inode) -> T) -> T {
        f(self.disk.0.lock().unwrap().inodes.get_mut(&self.inode).unwrap())
    }
    fn take_room(&self, bytes: u64) -> Result<(), DiskError> {
        let mut d = self.disk.0.lock().unwrap();
        match &mut d.room {
            Some(room) if *room < bytes => Err(DiskError::NoSpace),
            Some(room) => {
                *room -= bytes;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl File for Open {
    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.with(|i| i.now.len() as u64))
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.with(|i| {
            let (from, to) = (offset as usize, offset as usize + out.len());
            if to > i.now.len() {
                let (len, want) = (i.now.len() as u64, to as u64);
                return Err(DiskError::Short { file: self.name.clone(), len, want });
            }
            if i.unreadable.range(from / SECTOR..to.div_ceil(SECTOR)).next().is_some() {
                let (file, why) = (self.name.clone(), "medium error".into());
                return Err(DiskError::Io { doing: "read", file, offset, why });
            }
            out.copy_from_slice(&i.now[from..to]);
            Ok(())
        })
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let grows = (offset + data.len() as u64).saturating_sub(self.len()?);
        self.take_room(grows)?;
        self.with(|i| i.write(offset as usize, data));
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.take_room(len.saturating_sub(self.len()?))?;
        self.with(|i| i.now.resize(len as usize, 0));
        Ok(())
    }
    fn sync(&self) -> Result<(), DiskError> {
        self.with(Inode::sync);
        Ok(())
    }
}

impl Storage for CrashDisk {
    fn list(&self) -> Result<Vec<FileName>, DiskError> {
        Ok(self.files())
    }
    fn open(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        let name = file.as_str().to_string();
        let inode = self.0.lock().unwrap().names.get(file).copied();
        let inode = inode.ok_or_else(|| DiskError::NotFound(name.clone()))?;
        Ok(Box::new(Open { disk: self.clone(), inode, name }))
    }
    fn create(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        {
            let mut d = self.0.lock().unwrap();
            d.next += 1;
            let inode = d.next;
            d.inodes.insert(inode, Inode::default());
            d.names.insert(file.clone(), inode);
        }
        self.open(file)
    }
    fn rename(&self, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        let mut d = self.0.lock().unwrap();
        let inode = d.names.remove(from).ok_or_else(|| DiskError::NotFound(from.as_str().to_string()))?;
        d.names.insert(to.clone(), inode);
        Ok(())
    }
    fn remove(&self, file: &FileName) -> Result<(), DiskError> {
        self.0.lock().unwrap().names.remove(file);
        Ok(())
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        let mut d = self.0.lock().unwrap();
        d.durable_names = d.names.clone();
        Ok(())
    }
}

/// Writes and syncs all that a log has to write.
pub(crate) fn flush(disk: &CrashDisk, wal: &mut Wal, ticket: &mut u64) {
    let mut out = Vec::new();
    wal.flush(ticket, &mut out);
    while let Some(request) = out.pop() {
        disk.carry_out(&request, usize::MAX).unwrap();
        wal.completed(request.ticket, Ok(())).unwrap();
        wal.flush(ticket, &mut out);
    }
}
