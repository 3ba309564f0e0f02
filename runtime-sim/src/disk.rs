//! A node's disk: one flat directory whose bytes and names become durable separately.
//!
//! **Promise.** Exactly the contract of [`dwcp_env::disk`]: bytes are durable after `sync`,
//! names after `sync_dir`, neither implies the other; at a crash what was not synced is lost,
//! kept or torn by draws keyed by (node, file, time, block, sector).
//!
//! **Two doors, one model.** Disk requests are carried out in order of their tickets, take
//! time, and take effect when they complete. [`dwcp_env::Storage`] answers at once; what it
//! cost is added to the turn, job or boot that asked. The changes of jobs and boots carry the
//! times at which the work would have reached them ([`inode`]), so that a crash in the middle
//! of a job finds the job half done.
//!
//! | fault | here |
//! |---|---|
//! | torn_write | a crash that draws per sector and not per block |
//! | latent_sector_error | reads that touch a bad sector fail until it is written whole |
//! | bit_rot | a bit of a durable block flips; the cache shows it |
//! | misdirected_write | the bytes land at another sector, of the same file or another |
//! | misdirected_read | the bytes come from another sector of the file |
//! | phantom_write | a sync leaves blocks out, or does nothing, and says that all is well |
//! | disk_full | growth beyond what is left fails; overwriting does not |
//! | disk_error | operations fail; a failed sync drops what it could not write (Rebello et al., ATC 2020) |
//! | slow_disk | operations take longer, or until the window ends |
//!
//! **Cost.** Blocks of 4 KiB, shared until written; zeros take no memory. A crash is linear
//! in the unsynced blocks and in the blocks of the files there are.

pub(crate) mod directory;
pub(crate) mod inode;
pub(crate) mod requests;
pub(crate) mod storage;
#[cfg(test)]
mod tests;

use crate::fault::{FaultKind, Fired};
use crate::plan::DiskSettings;
use directory::{Directory, Entry};
use dwcp_env::disk::FileName;
use dwcp_env::{ByteCount, DiskError, Duration, Instant, Purpose, Ratio, Seed};
use inode::{BLOCK, Fate, Honest, Inode, Phantom, SECTOR, SECTORS};
pub(crate) use requests::Requests;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const SYNC_TIME: Purpose = Purpose::named("disk.sync_time");
const EIO: Purpose = Purpose::named("disk.eio");
const MISREAD: Purpose = Purpose::named("disk.misdirected_read");
const MISWRITE: Purpose = Purpose::named("disk.misdirected_write");
const PHANTOM: Purpose = Purpose::named("disk.phantom");
const LYING: Purpose = Purpose::named("disk.lying_sync");
const CRASH_FILE: Purpose = Purpose::named("disk.crash_file");
const CRASH_PIECE: Purpose = Purpose::named("disk.crash_piece");
const CRASH_NAMES: Purpose = Purpose::named("disk.crash_names");
const CRASH_LENGTH: Purpose = Purpose::named("disk.crash_length");
const DECAY: Purpose = Purpose::named("disk.decay");

/// A node's disk behind the lock that its handles need because the contract lets them travel
/// between threads; in simulation nobody ever waits for it.
#[derive(Debug)]
pub(crate) struct Shared {
    disk: Mutex<Disk>,
    /// Simulated time, for handles that are used inside a turn.
    time: Arc<AtomicU64>,
    /// Nanoseconds that turns have spent on the disk since last asked.
    spent: Arc<AtomicU64>,
}

impl Shared {
    pub(crate) fn new(node: u64, seed: Seed, settings: DiskSettings, time: Arc<AtomicU64>) -> Arc<Self> {
        let spent = Arc::new(AtomicU64::new(0));
        let disk = Disk::new(node, seed, settings, spent.clone());
        Arc::new(Self { disk: Mutex::new(disk), time, spent })
    }
    pub(crate) fn lock(&self) -> MutexGuard<'_, Disk> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        disk.set_time(self.time.load(Ordering::Relaxed));
        disk
    }
    /// For a handle of an incarnation, which must be the one that lives.
    fn enter(&self, incarnation: u32) -> Result<MutexGuard<'_, Disk>, DiskError> {
        let disk = self.lock();
        if disk.incarnation == incarnation { Ok(disk) } else { Err(DiskError::Stopped) }
    }
    /// What turns have spent on the disk since last asked.
    #[inline]
    pub(crate) fn take_spent(&self) -> u64 {
        match self.spent.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.spent.swap(0, Ordering::Relaxed),
        }
    }
}

/// What a disk does wrong at the moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ills {
    pub(crate) extra: Duration,
    /// When the last window of it ends.
    pub(crate) extra_until: u64,
    pub(crate) stalled_until: u64,
    pub(crate) eio_reads: Ratio,
    pub(crate) eio_writes: Ratio,
    pub(crate) eio_syncs: Ratio,
    pub(crate) misdirected_writes: Ratio,
    pub(crate) misdirected_reads: Ratio,
    pub(crate) phantom: Ratio,
    pub(crate) lying_sync: Ratio,
    /// What is left for growth, if the disk is full by a fault.
    pub(crate) free: Option<u64>,
}

/// A job or a boot at work.
#[derive(Clone, Copy, Debug)]
struct Worker {
    began: u64,
    cost: u64,
}

/// A node's disk.
#[derive(Debug)]
pub(crate) struct Disk {
    node: u64,
    seed: Seed,
    settings: DiskSettings,
    inodes: Vec<Option<Inode>>,
    directory: Directory,
    used: u64,
    /// Whose handles are answered.
    pub(crate) incarnation: u32,
    time: u64,
    /// Operations within this instant: the last part of a draw's key.
    ordinal: u64,
    worker: Option<Worker>,
    spent: Arc<AtomicU64>,
    pub(crate) ills: Ills,
    pub(crate) fired: Fired,
}

/// What a crash did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CrashReport {
    pub(crate) lost: u64,
    pub(crate) torn: u64,
}

impl Disk {
    /// Keys what is drawn from now on anew.
    pub(crate) const fn rekey(&mut self, seed: Seed) {
        self.seed = seed;
    }
    fn new(node: u64, seed: Seed, settings: DiskSettings, spent: Arc<AtomicU64>) -> Self {
        Self {
            node,
            seed,
            settings,
            inodes: Vec::new(),
            directory: Directory::default(),
            used: 0,
            incarnation: 0,
            time: 0,
            ordinal: 0,
            worker: None,
            spent,
            ills: Ills::default(),
            fired: Fired::default(),
        }
    }

    // --- time and draws ---

    fn set_time(&mut self, now: u64) {
        if self.time != now {
            self.time = now;
            self.ordinal = 0;
        }
    }
    /// From here on, changes belong to work that began at `began`.
    pub(crate) fn begin_work(&mut self, began: u64) {
        self.worker = Some(Worker { began, cost: 0 });
    }
    /// Ends the work; how long the disk took for it.
    pub(crate) fn end_work(&mut self) -> u64 {
        self.worker.take().map_or(0, |w| w.cost)
    }
    fn charge(&mut self, nanos: u64) {
        match &mut self.worker {
            Some(w) => w.cost = w.cost.saturating_add(nanos),
            None => {
                self.spent.fetch_add(nanos, Ordering::Relaxed);
            }
        }
    }
    /// When a change made now takes effect; none is at once.
    fn effective(&self) -> Option<u64> {
        self.worker.map(|w| w.began.saturating_add(w.cost))
    }
    fn tick(&mut self) -> u64 {
        self.ordinal += 1;
        self.ordinal
    }
    fn draw(&self, purpose: Purpose, ordinal: u64) -> u64 {
        self.seed.draw(purpose, self.node, Instant::from_nanos(self.time), ordinal)
    }
    fn hits(&self, rate: Ratio, purpose: Purpose, ordinal: u64) -> bool {
        rate.num > 0 && rate.hit(self.draw(purpose, ordinal))
    }

    /// How long an operation on so many bytes takes.
    fn op_time(&self, base: Duration, bytes: u64) -> u64 {
        let time = base + self.settings.rate.time_for(ByteCount(bytes)) + self.extra();
        time.as_nanos().max(self.ills.stalled_until.saturating_sub(self.position()))
    }
    /// Where in time the next operation begins.
    fn position(&self) -> u64 {
        self.effective().unwrap_or(self.time)
    }
    fn sync_time(&self, ordinal: u64) -> u64 {
        let (min, max) = (self.settings.sync_min.as_nanos(), self.settings.sync_max.as_nanos());
        let drawn = (u128::from(self.draw(SYNC_TIME, ordinal)) * u128::from(max - min + 1)) >> 64;
        self.op_time(Duration::nanos(min + drawn as u64), 0)
    }
    /// What a slow disk adds to an operation: only while the window lasts, wherever in a long boot or job the
    /// operation lies.
    fn extra(&self) -> Duration {
        if self.position() < self.ills.extra_until { self.ills.extra } else { Duration::ZERO }
    }
    const fn is_slow(&self) -> bool {
        self.ills.extra.as_nanos() > 0 || self.ills.stalled_until > self.time
    }
    fn note_slow(&mut self) {
        if self.is_slow() {
            self.fired.count(FaultKind::SlowDisk);
        }
    }

    // --- names ---

    pub(crate) fn list(&mut self) -> Vec<FileName> {
        self.directory.names().map(|(n, _)| n.clone()).collect()
    }
    fn find(&self, file: &FileName) -> Result<u32, DiskError> {
        self.directory.find(file).ok_or_else(|| DiskError::NotFound(file.as_str().to_owned()))
    }
    fn name_of(&self, ino: u32) -> String {
        let found = self.directory.names().find(|(_, i)| *i == ino);
        found.map_or_else(|| "(removed)".to_owned(), |(n, _)| n.as_str().to_owned())
    }
    fn inode(&mut self, ino: u32) -> &mut Inode {
        self.inodes[ino as usize].as_mut().expect("a file with a name or a handle exists")
    }
    fn new_inode(&mut self) -> u32 {
        let free = self.inodes.iter().position(Option::is_none);
        let ino = free.unwrap_or_else(|| {
            self.inodes.push(None);
            self.inodes.len() - 1
        });
        self.inodes[ino] = Some(Inode::default());
        ino as u32
    }
    /// Frees a file that nothing names and nobody holds.
    fn release(&mut self, ino: u32) {
        let idle = self.inodes[ino as usize].as_ref().is_some_and(|i| i.opens == 0);
        if idle && !self.directory.refers(ino) {
            self.inodes[ino as usize] = None;
        }
    }
    fn release_all(&mut self) {
        for ino in 0..self.inodes.len() as u32 {
            self.release(ino);
        }
    }

    pub(crate) fn open(&mut self, file: &FileName) -> Result<u32, DiskError> {
        let ino = self.find(file)?;
        self.inode(ino).opens += 1;
        Ok(ino)
    }
    pub(crate) fn close(&mut self, ino: u32) {
        let inode = self.inode(ino);
        inode.opens -= 1;
        if inode.opens == 0 {
            self.release(ino);
        }
    }
    /// `Storage::create`: an existing file is emptied in place, as `O_TRUNC` does.
    pub(crate) fn create_or_empty(&mut self, file: &FileName) -> Result<u32, DiskError> {
        self.refuse_write("create", file.as_str(), 0)?;
        self.charge(self.op_time(self.settings.write, 0));
        let ino = if let Some(ino) = self.directory.find(file) {
            self.resize(ino, 0)?;
            ino
        } else {
            let ino = self.new_inode();
            let at = self.effective();
            self.directory.change(Entry::Link(file.clone(), ino), self.time, at);
            ino
        };
        self.inode(ino).opens += 1;
        Ok(ino)
    }
    /// `DiskOp::Create`: a new file of zeros, its space taken.
    pub(crate) fn create_reserved(&mut self, file: &FileName, len: u64) -> Result<(), DiskError> {
        self.refuse_write("create", file.as_str(), 0)?;
        self.take_space(len)?;
        let replaced = self.directory.find(file);
        let ino = self.new_inode();
        let (now, at) = (self.time, self.effective());
        self.inode(ino).set_len(len, now, at);
        self.directory.change(Entry::Link(file.clone(), ino), now, at);
        self.replaced(replaced);
        Ok(())
    }
    pub(crate) fn rename(&mut self, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        self.refuse_write("rename", from.as_str(), 0)?;
        self.charge(self.op_time(self.settings.write, 0));
        self.find(from)?;
        let replaced = if from == to { None } else { self.directory.find(to) };
        let at = self.effective();
        self.directory.change(Entry::Move(from.clone(), to.clone()), self.time, at);
        self.replaced(replaced);
        Ok(())
    }
    pub(crate) fn remove(&mut self, file: &FileName) -> Result<(), DiskError> {
        let Some(ino) = self.directory.find(file) else { return Ok(()) };
        self.refuse_write("remove", file.as_str(), 0)?;
        self.charge(self.op_time(self.settings.write, 0));
        let at = self.effective();
        self.directory.change(Entry::Unlink(file.clone()), self.time, at);
        self.replaced(Some(ino));
        Ok(())
    }
    fn replaced(&mut self, ino: Option<u32>) {
        if let Some(ino) = ino {
            self.used -= self.inode(ino).len();
            self.release(ino);
        }
    }
    pub(crate) fn sync_dir(&mut self) -> Result<(), DiskError> {
        let ordinal = self.tick();
        self.note_slow();
        self.charge(self.sync_time(ordinal));
        self.refuse(self.ills.eio_syncs, ordinal, "sync", "the directory", 0)?;
        let at = self.effective();
        self.directory.sync(self.time, at);
        self.release_all();
        Ok(())
    }

    // --- bytes ---

    pub(crate) fn len(&mut self, ino: u32) -> u64 {
        self.inode(ino).len()
    }

    pub(crate) fn read(&mut self, ino: u32, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let ordinal = self.tick();
        self.note_slow();
        self.charge(self.op_time(self.settings.read, out.len() as u64));
        let (len, want) = (self.inode(ino).len(), offset + out.len() as u64);
        if want > len {
            return Err(DiskError::Short { file: self.name_of(ino), len, want });
        }
        if self.hits(self.ills.eio_reads, EIO, ordinal) {
            self.fired.count(FaultKind::DiskError);
            return Err(self.io("read", self.name_of(ino), offset, "input/output error"));
        }
        let sectors = offset / SECTOR as u64..want.div_ceil(SECTOR as u64);
        let bad = self.inode(ino).bad.range(sectors).next().copied();
        if let Some(s) = bad {
            self.fired.count(FaultKind::LatentSectorError);
            return Err(self.io("read", self.name_of(ino), s * SECTOR as u64, "unreadable sector"));
        }
        let from = if self.hits(self.ills.misdirected_reads, MISREAD, ordinal) {
            self.elsewhere(ino, offset, out.len() as u64, MISREAD, ordinal)
        } else {
            offset
        };
        self.inode(ino).read(from, out);
        if from != offset {
            let mut right = vec![0; out.len()];
            self.inode(ino).read(offset, &mut right);
            if right != out {
                self.fired.count(FaultKind::MisdirectedRead);
            }
        }
        Ok(())
    }

    /// Another place in the file where so many bytes fit, as many sectors off.
    fn elsewhere(&mut self, ino: u32, offset: u64, len: u64, purpose: Purpose, ordinal: u64) -> u64 {
        let room = self.inode(ino).len().saturating_sub(len + offset % SECTOR as u64) / SECTOR as u64;
        let pick = (u128::from(self.draw(purpose, !ordinal)) * u128::from(room + 1)) >> 64;
        pick as u64 * SECTOR as u64 + offset % SECTOR as u64
    }

    pub(crate) fn write(&mut self, ino: u32, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.charge(self.op_time(self.settings.write, data.len() as u64));
        self.note_slow();
        self.put(ino, offset, data)
    }

    /// A write without its time.
    fn put(&mut self, ino: u32, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let ordinal = self.refuse_write("write", "", offset).map_err(|e| self.named(e, ino))?;
        let len = self.inode(ino).len();
        let end = offset + data.len() as u64;
        if end > len {
            self.take_space(end - len)?;
        }
        let (now, at) = (self.time, self.effective());
        if self.hits(self.ills.misdirected_writes, MISWRITE, ordinal) && !data.is_empty() {
            // It grows the file all the same: the length is not what the device got wrong.
            self.inode(ino).set_len(len.max(end), now, at);
            let there = self.elsewhere(ino, offset, data.len() as u64, MISWRITE, ordinal);
            self.inode(ino).write(there, data, now, at);
            if there != offset {
                self.fired.count(FaultKind::MisdirectedWrite);
            }
            return Ok(());
        }
        self.inode(ino).write(offset, data, now, at);
        Ok(())
    }

    pub(crate) fn set_len(&mut self, ino: u32, len: u64) -> Result<(), DiskError> {
        self.refuse_write("set the length of", "", len).map_err(|e| self.named(e, ino))?;
        self.charge(self.op_time(self.settings.write, 0));
        self.resize(ino, len)
    }
    fn resize(&mut self, ino: u32, len: u64) -> Result<(), DiskError> {
        let old = self.inode(ino).len();
        if len > old {
            self.take_space(len - old)?;
        } else {
            self.used -= old - len;
        }
        let (now, at) = (self.time, self.effective());
        self.inode(ino).set_len(len, now, at);
        Ok(())
    }

    pub(crate) fn sync(&mut self, ino: u32) -> Result<(), DiskError> {
        let ordinal = self.tick();
        self.note_slow();
        self.charge(self.sync_time(ordinal));
        self.flush(ino, ordinal)
    }

    /// A sync without its time.
    fn flush(&mut self, ino: u32, ordinal: u64) -> Result<(), DiskError> {
        if self.hits(self.ills.eio_syncs, EIO, ordinal) {
            self.fired.count(FaultKind::DiskError);
            self.inode(ino).fail_sync();
            return Err(self.io(
                "sync",
                self.name_of(ino),
                0,
                "input/output error; what was not synced is lost",
            ));
        }
        if self.hits(self.ills.lying_sync, LYING, ordinal) {
            if self.inode(ino).has_unsynced() {
                self.fired.count(FaultKind::PhantomWrite);
            }
            return Ok(());
        }
        let (now, at) = (self.time, self.effective());
        let mut phantom =
            Ghost { rate: self.ills.phantom, seed: self.seed, node: self.node, now, ordinal, hits: 0 };
        self.inode(ino).sync(at, now, &mut phantom);
        self.fired.add(FaultKind::PhantomWrite, phantom.hits);
        Ok(())
    }

    // --- refusals ---

    fn take_space(&mut self, more: u64) -> Result<(), DiskError> {
        let free = self.settings.capacity.0.saturating_sub(self.used);
        if let Some(left) = self.ills.free
            && more > left
        {
            self.fired.count(FaultKind::DiskFull);
            return Err(DiskError::NoSpace);
        }
        if more > free {
            return Err(DiskError::NoSpace);
        }
        if let Some(left) = &mut self.ills.free {
            *left -= more;
        }
        self.used += more;
        Ok(())
    }
    fn refuse_write(&mut self, doing: &'static str, file: &str, offset: u64) -> Result<u64, DiskError> {
        let ordinal = self.tick();
        self.refuse(self.ills.eio_writes, ordinal, doing, file, offset)?;
        Ok(ordinal)
    }
    fn refuse(
        &mut self,
        rate: Ratio,
        ordinal: u64,
        doing: &'static str,
        file: &str,
        offset: u64,
    ) -> Result<(), DiskError> {
        if self.hits(rate, EIO, ordinal) {
            self.fired.count(FaultKind::DiskError);
            return Err(self.io(doing, file.to_owned(), offset, "input/output error"));
        }
        Ok(())
    }
    fn io(&self, doing: &'static str, file: String, offset: u64, why: &str) -> DiskError {
        DiskError::Io { doing, file, offset, why: why.to_owned() }
    }
    fn named(&self, e: DiskError, ino: u32) -> DiskError {
        match e {
            DiskError::Io { doing, offset, why, .. } => {
                DiskError::Io { doing, file: self.name_of(ino), offset, why }
            }
            other => other,
        }
    }

    // --- fates ---

    /// Carries out what jobs have reached by now.
    pub(crate) fn settle(&mut self) {
        let now = self.time;
        self.directory.settle(now);
        for inode in self.inodes.iter_mut().flatten().filter(|i| i.is_deferring()) {
            inode.settle(now, &mut Honest);
        }
    }

    /// Power is lost.
    pub(crate) fn crash(&mut self, torn: bool) -> CrashReport {
        self.end_work();
        let (seed, node, at, now) = (self.seed, self.node, Instant::from_nanos(self.time), self.time);
        let mut report = CrashReport::default();
        report.lost += self.directory.crash(now, &mut |k, n| seed.below(n, CRASH_NAMES, node, at, k));
        for (ino, inode) in self.inodes.iter_mut().enumerate() {
            let Some(inode) = inode else { continue };
            inode.opens = 0;
            let entity = node << 24 | ino as u64;
            // Of four files one loses all, one keeps all, two are drawn piece by piece.
            let mode = if torn { 2 } else { seed.below(4, CRASH_FILE, entity, at, 0) };
            let damage = inode.crash(
                now,
                &mut Fate {
                    keep: &mut |b, sector| match mode {
                        0 => false,
                        1 => true,
                        _ => {
                            let piece = u64::from(b) * (SECTORS + 1) + sector.map_or(0, |s| s + 1);
                            seed.draw(CRASH_PIECE, entity, at, piece) & 1 == 0
                        }
                    },
                    torn,
                    below: &mut |n| seed.below(n, CRASH_LENGTH, entity, at, n),
                },
            );
            report.lost += damage.lost;
            report.torn += damage.torn;
        }
        self.after_end();
        report
    }

    /// The process ended, the power did not.
    pub(crate) fn kill(&mut self) {
        self.end_work();
        let now = self.time;
        self.directory.kill(now);
        for inode in self.inodes.iter_mut().flatten() {
            inode.opens = 0;
            inode.kill(now);
        }
        self.after_end();
    }

    /// Another disk, empty; says whether the old one held anything.
    pub(crate) fn wipe(&mut self) -> bool {
        let held = self.directory.names().next().is_some();
        self.end_work();
        self.inodes.clear();
        self.directory = Directory::default();
        self.after_end();
        held
    }

    fn after_end(&mut self) {
        // No handle of the old incarnation is answered any more.
        self.incarnation += 1;
        self.release_all();
        let names: Vec<u32> = self.directory.names().map(|(_, i)| i).collect();
        self.used = names.into_iter().map(|i| self.inode(i).len()).sum();
    }

    /// Blocks with something durable in files that have a name, in order of file and block.
    fn decayable(&mut self, spare_tail: bool) -> Vec<(u32, u32)> {
        let inos: Vec<u32> = self.directory.names().map(|(_, i)| i).collect();
        let mut all = Vec::new();
        for ino in inos {
            all.extend(self.inode(ino).allocated(spare_tail).into_iter().map(|b| (ino, b)));
        }
        all
    }

    /// Flips `n` bits, or makes `n` sectors unreadable; says how many places were hit.
    pub(crate) fn decay(&mut self, n: u32, spare_tail: bool, unreadable: bool) -> u32 {
        self.settle();
        let places = self.decayable(spare_tail);
        if places.is_empty() {
            return 0;
        }
        let at = Instant::from_nanos(self.time);
        let mut hit = 0;
        for k in 0..u64::from(n) {
            let (ino, b) = places[self.seed.below(places.len() as u64, DECAY, self.node, at, k * 2) as usize];
            let left = self.inode(ino).len().saturating_sub(u64::from(b) * BLOCK as u64).min(BLOCK as u64);
            if left == 0 {
                continue;
            }
            let bit = self.seed.below(left * 8, DECAY, self.node, at, k * 2 + 1);
            if unreadable {
                let sector = u64::from(b) * SECTORS + bit / 8 / SECTOR as u64;
                self.inode(ino).bad.insert(sector);
            } else {
                self.inode(ino).rot(b, bit as u32);
            }
            hit += 1;
        }
        hit
    }

    /// Every file as reads without faults would see it.
    pub(crate) fn contents(&mut self) -> Vec<(String, Vec<u8>)> {
        let names: Vec<(String, u32)> =
            self.directory.names().map(|(n, i)| (n.as_str().to_owned(), i)).collect();
        let whole = |(name, ino)| {
            let inode = self.inode(ino);
            let mut bytes = vec![0; inode.len() as usize];
            inode.read(0, &mut bytes);
            (name, bytes)
        };
        names.into_iter().map(whole).collect()
    }

    /// Bytes of memory that contents take.
    pub(crate) fn memory(&self) -> u64 {
        self.inodes.iter().flatten().map(Inode::memory).sum()
    }
}

/// A sync that leaves blocks out.
struct Ghost {
    rate: Ratio,
    seed: Seed,
    node: u64,
    now: u64,
    ordinal: u64,
    hits: u64,
}

impl Phantom for Ghost {
    fn leaves_out(&mut self, block: u32) -> bool {
        let key = self.ordinal << 32 | u64::from(block);
        let hit = self.rate.num > 0
            && self.rate.hit(self.seed.draw(PHANTOM, self.node, Instant::from_nanos(self.now), key));
        self.hits += u64::from(hit);
        hit
    }
}
