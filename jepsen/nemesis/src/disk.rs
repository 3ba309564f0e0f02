//! A disk that forgets what was not synced, as plain data: one flat folder of files.
//!
//! Two truths about everything: what a process sees (*live*), and what would be there after the power went
//! (*durable*). Contents and names are durable separately, as POSIX has it:
//!
//! | operation | live | durable |
//! |---|---|---|
//! | write, truncate, reserve | at once | the file's next sync |
//! | create, rename, remove | at once | the folder's next sync |
//! | power loss | becomes what is durable | of unsynced pages each may have reached the disk by itself |
//!
//! On command a disk has no room (every write, even over old bytes: so it is on disks that copy on write), or
//! its syncs fail: then the sync answers EIO and what it was to sync is gone at once, so that a second
//! sync can't pass for the first (as btrfs does it; Rebello et al., *Can Applications Recover from fsync
//! Failures?*, ATC 2020).
//!
//! **Invariants.** 1. What a successful sync covered survives every power loss. 2. A power loss
//! happens only when no process holds a file: who asks for it has killed the process first.
//! 3. Everything is in memory and bounded by [`ROOM`].

use dwcp_env::{Instant, Purpose, Seed};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes of a page: what is lost or kept as a whole.
pub const PAGE: usize = 4096;
/// The most bytes of pages a disk holds, durable and live together; then it is full.
pub const ROOM: u64 = 2 << 30;
/// A file's longest length: as long as the reservations of a node ever are.
const LONGEST: u64 = 1 << 40;

const KEEP: Purpose = Purpose::named("nemesis.disk.keep");

/// The number of a file.
pub type Number = u64;
type Page = Arc<[u8; PAGE]>;

/// Why an operation was not done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// No such file.
    Missing,
    /// No room.
    NoSpace,
    /// The device failed.
    Failed,
    /// Too long.
    TooLong,
}

#[derive(Clone, Debug, Default)]
struct Content {
    length: u64,
    pages: BTreeMap<u64, Page>,
}

#[derive(Clone, Debug, Default)]
struct File {
    live: Content,
    durable: Content,
    dirty: BTreeSet<u64>,
    opened: u32,
}

/// What happened to a disk, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Syncs that ended in EIO.
    pub failed_syncs: u64,
    /// Writes that ended in ENOSPC.
    pub no_space: u64,
    /// Pages forgotten at power losses.
    pub lost_pages: u64,
    /// Names forgotten, or remembered again, at power losses.
    pub lost_names: u64,
}

/// The disk.
#[derive(Debug, Default)]
pub struct Disk {
    files: BTreeMap<Number, File>,
    live: BTreeMap<String, Number>,
    durable: BTreeMap<String, Number>,
    made: Number,
    pages: u64,
    full: bool,
    sync_fails: bool,
    losses: u64,
    counts: Counts,
}

/// Files are numbered from here; the folder itself is 1.
const FIRST: Number = 2;

impl Disk {
    /// No room from now on, or room again.
    pub const fn set_full(&mut self, full: bool) {
        self.full = full;
    }
    /// Syncs fail from now on, or succeed again.
    pub const fn set_sync_fails(&mut self, fails: bool) {
        self.sync_fails = fails;
    }
    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }
    /// The power goes, and comes back. Every other time nothing unsynced is kept, else each page by
    /// chance: disks write in no order.
    pub fn lose_power(&mut self, seed: Seed) {
        self.losses += 1;
        let loss = self.losses;
        let by_chance = loss.is_multiple_of(2);
        let mut drawn = 0;
        let mut keeps = || {
            drawn += 1;
            by_chance && seed.below(2, KEEP, loss, Instant::ZERO, drawn) == 0
        };
        for file in self.files.values_mut() {
            for page in std::mem::take(&mut file.dirty) {
                if !keeps() {
                    self.counts.lost_pages += 1;
                } else if let Some(content) = file.live.pages.get(&page) {
                    file.durable.pages.insert(page, content.clone());
                }
            }
            if file.live.length != file.durable.length && keeps() {
                file.durable.length = file.live.length;
            }
            file.live = file.durable.clone();
            file.opened = 0;
        }
        let names = |from: &BTreeMap<String, Number>, to: &BTreeMap<String, Number>| {
            from.iter().filter(|(name, number)| to.get(*name) != Some(number)).count() as u64
        };
        self.counts.lost_names += names(&self.live, &self.durable) + names(&self.durable, &self.live);
        self.live = self.durable.clone();
        self.forget_nameless();
    }

    /// The names, with their files.
    pub fn names(&self) -> impl Iterator<Item = (&str, Number)> {
        self.live.iter().map(|(name, number)| (name.as_str(), *number))
    }
    /// The file of a name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Number> {
        self.live.get(name).copied()
    }
    /// A file's length, if there is such a file.
    #[must_use]
    pub fn length(&self, number: Number) -> Option<u64> {
        self.files.get(&number).map(|f| f.live.length)
    }
    /// Makes an empty file and opens it.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn create(&mut self, name: &str) -> Result<Number, Fault> {
        self.room()?;
        let number = FIRST + self.made;
        self.made += 1;
        self.files.insert(number, File { opened: 1, ..File::default() });
        self.live.insert(name.to_owned(), number);
        Ok(number)
    }
    /// Notes that a process opened a file.
    pub fn open(&mut self, number: Number) {
        if let Some(file) = self.files.get_mut(&number) {
            file.opened += 1;
        }
    }
    /// Notes that it closed it.
    pub fn close(&mut self, number: Number) {
        if let Some(file) = self.files.get_mut(&number) {
            file.opened = file.opened.saturating_sub(1);
        }
        self.forget_nameless();
    }
    /// Renames over whatever has the new name.
    ///
    /// # Errors
    /// `Missing`.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), Fault> {
        let number = self.live.remove(from).ok_or(Fault::Missing)?;
        self.live.insert(to.to_owned(), number);
        Ok(())
    }
    /// Removes a name.
    ///
    /// # Errors
    /// `Missing`.
    pub fn remove(&mut self, name: &str) -> Result<(), Fault> {
        self.live.remove(name).map(|_| ()).ok_or(Fault::Missing)
    }
    /// Bytes from `offset` on, as many as there are up to `most`.
    ///
    /// # Errors
    /// `Missing`.
    pub fn read(&self, number: Number, offset: u64, most: usize) -> Result<Vec<u8>, Fault> {
        let content = &self.files.get(&number).ok_or(Fault::Missing)?.live;
        let most = content.length.saturating_sub(offset).min(most as u64) as usize;
        let mut out = vec![0; most];
        let mut at = 0;
        while at < most {
            let (page, within) = split(offset + at as u64);
            let n = (PAGE - within).min(most - at);
            if let Some(bytes) = content.pages.get(&page) {
                out[at..at + n].copy_from_slice(&bytes[within..within + n]);
            }
            at += n;
        }
        Ok(out)
    }
    /// Writes.
    ///
    /// # Errors
    /// `Missing`, `NoSpace`, `TooLong`; nothing was written then.
    pub fn write(&mut self, number: Number, offset: u64, data: &[u8]) -> Result<(), Fault> {
        self.room()?;
        let file = self.files.get_mut(&number).ok_or(Fault::Missing)?;
        let end = offset.checked_add(data.len() as u64).filter(|e| *e <= LONGEST).ok_or(Fault::TooLong)?;
        let mut at = 0;
        while at < data.len() {
            let (page, within) = split(offset + at as u64);
            let n = (PAGE - within).min(data.len() - at);
            let before = file.live.pages.len();
            let bytes = file.live.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(bytes)[within..within + n].copy_from_slice(&data[at..at + n]);
            self.pages += (file.live.pages.len() - before) as u64;
            file.dirty.insert(page);
            at += n;
        }
        file.live.length = file.live.length.max(end);
        Ok(())
    }
    /// Cuts, or makes longer with zeros.
    ///
    /// # Errors
    /// `Missing`, `NoSpace`, `TooLong`.
    pub fn set_length(&mut self, number: Number, length: u64) -> Result<(), Fault> {
        if length > LONGEST {
            return Err(Fault::TooLong);
        }
        if self.files.get(&number).ok_or(Fault::Missing)?.live.length < length {
            self.room()?;
        }
        let file = self.files.get_mut(&number).ok_or(Fault::Missing)?;
        if length < file.live.length {
            let (page, within) = split(length);
            let whole = if within == 0 { page } else { page + 1 };
            let cut = file.live.pages.split_off(&whole);
            self.pages -= cut.len() as u64;
            file.dirty.extend(cut.into_keys());
            if let Some(bytes) = file.live.pages.get_mut(&page).filter(|_| within > 0) {
                Arc::make_mut(bytes)[within..].fill(0);
                file.dirty.insert(page);
            }
        }
        file.live.length = length;
        Ok(())
    }
    /// Makes a file at least so long.
    ///
    /// # Errors
    /// As [`set_length`](Self::set_length).
    pub fn reserve(&mut self, number: Number, length: u64) -> Result<(), Fault> {
        let now = self.length(number).ok_or(Fault::Missing)?;
        self.room()?;
        self.set_length(number, length.max(now))
    }
    /// What is live of a file is durable when this returns.
    ///
    /// # Errors
    /// `Missing`; `Failed`, and what was not durable is gone.
    pub fn sync(&mut self, number: Number) -> Result<(), Fault> {
        let fails = self.sync_fails;
        let file = self.files.get_mut(&number).ok_or(Fault::Missing)?;
        let dirty = std::mem::take(&mut file.dirty);
        if fails {
            file.live = file.durable.clone();
            self.counts.failed_syncs += 1;
            self.forget_nameless();
            return Err(Fault::Failed);
        }
        for page in dirty {
            match file.live.pages.get(&page) {
                Some(bytes) => file.durable.pages.insert(page, bytes.clone()),
                None => file.durable.pages.remove(&page),
            };
        }
        file.durable.length = file.live.length;
        self.counts.syncs += 1;
        Ok(())
    }
    /// The names are durable when this returns.
    ///
    /// # Errors
    /// `Failed`; the names stay as they are, and are not durable.
    pub fn sync_names(&mut self) -> Result<(), Fault> {
        if self.sync_fails {
            self.counts.failed_syncs += 1;
            return Err(Fault::Failed);
        }
        self.durable = self.live.clone();
        self.counts.syncs += 1;
        self.forget_nameless();
        Ok(())
    }

    fn room(&mut self) -> Result<(), Fault> {
        if self.full || self.pages * PAGE as u64 * 2 > ROOM {
            self.counts.no_space += 1;
            return Err(Fault::NoSpace);
        }
        Ok(())
    }
    /// Files that no name leads to, now or after a power loss, and that nobody holds.
    fn forget_nameless(&mut self) {
        let named: BTreeSet<Number> = self.live.values().chain(self.durable.values()).copied().collect();
        self.files.retain(|number, file| file.opened > 0 || named.contains(number));
        self.pages = self.files.values().map(|f| f.live.pages.len() as u64).sum();
    }
}

const fn split(offset: u64) -> (u64, usize) {
    (offset / PAGE as u64, (offset % PAGE as u64) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Seed = Seed(1);

    fn named(disk: &mut Disk, name: &str) -> Number {
        let file = disk.create(name).unwrap();
        disk.sync(file).unwrap();
        disk.sync_names().unwrap();
        file
    }

    #[test]
    fn what_was_synced_survives_and_what_was_not_is_gone() {
        let mut d = Disk::default();
        let f = named(&mut d, "wal");
        d.write(f, 5_000, b"durable").unwrap();
        d.sync(f).unwrap();
        d.write(f, 5_003, b"##########").unwrap();
        assert_eq!(d.read(f, 5_000, 100).unwrap(), b"dur##########");
        d.lose_power(SEED);
        assert_eq!(d.read(f, 5_000, 100).unwrap(), b"durable");
        assert_eq!((d.counts().lost_pages, d.counts().lost_names), (1, 0));
    }

    #[test]
    fn names_are_durable_only_with_their_folder() {
        let mut d = Disk::default();
        let old = named(&mut d, "state");
        d.write(old, 0, b"old").unwrap();
        d.sync(old).unwrap();
        let new = d.create("temp").unwrap();
        d.write(new, 0, b"new").unwrap();
        d.sync(new).unwrap();
        d.rename("temp", "state").unwrap();
        assert_eq!(d.find("state"), Some(new));
        d.lose_power(SEED);
        assert_eq!((d.find("state"), d.find("temp")), (Some(old), None));
        assert_eq!(d.read(old, 0, 9).unwrap(), b"old");
        assert!(d.counts().lost_names > 0);
    }

    #[test]
    fn a_failed_sync_takes_what_it_was_to_sync() {
        let mut d = Disk::default();
        let f = named(&mut d, "wal");
        d.write(f, 0, b"one").unwrap();
        d.set_sync_fails(true);
        assert_eq!(d.sync(f), Err(Fault::Failed));
        assert_eq!(d.sync_names(), Err(Fault::Failed));
        d.set_sync_fails(false);
        d.sync(f).unwrap();
        assert_eq!(d.read(f, 0, 9).unwrap(), b"", "the second sync has nothing to save");
        assert_eq!(d.counts().failed_syncs, 2);
    }

    #[test]
    fn a_full_disk_changes_nothing_and_has_room_again() {
        let mut d = Disk::default();
        let f = named(&mut d, "wal");
        d.write(f, 0, b"old").unwrap();
        d.set_full(true);
        assert_eq!(d.write(f, 0, b"new"), Err(Fault::NoSpace));
        assert_eq!(d.reserve(f, 9_999), Err(Fault::NoSpace));
        assert_eq!(d.create("more"), Err(Fault::NoSpace));
        assert_eq!(d.read(f, 0, 9).unwrap(), b"old");
        d.set_length(f, 1).unwrap();
        d.set_full(false);
        d.write(f, 1, b"k").unwrap();
        assert_eq!(d.read(f, 0, 9).unwrap(), b"ok");
        assert_eq!(d.counts().no_space, 3);
    }

    #[test]
    fn what_was_cut_reads_as_zeros_when_it_grows_again() {
        let mut d = Disk::default();
        let f = named(&mut d, "wal");
        d.write(f, 0, &[7; 9_000]).unwrap();
        d.sync(f).unwrap();
        d.set_length(f, 4_100).unwrap();
        d.set_length(f, 9_000).unwrap();
        let read = d.read(f, 4_096, 9_000).unwrap();
        assert!(read[..4].iter().all(|b| *b == 7) && read[4..].iter().all(|b| *b == 0));
        d.sync(f).unwrap();
        d.lose_power(SEED);
        assert_eq!(d.read(f, 4_096, 9_000).unwrap(), read);
    }

    #[test]
    fn a_removed_file_lives_while_it_is_held_and_no_longer() {
        let mut d = Disk::default();
        let f = named(&mut d, "gone");
        d.write(f, 0, b"here").unwrap();
        d.remove("gone").unwrap();
        d.sync_names().unwrap();
        assert_eq!(d.read(f, 0, 9).unwrap(), b"here");
        d.close(f);
        assert_eq!(d.read(f, 0, 9), Err(Fault::Missing));
    }

    #[test]
    fn every_other_loss_keeps_some_pages_by_chance() {
        let mut d = Disk::default();
        let f = named(&mut d, "wal");
        d.write(f, 0, &[0; 64 * PAGE]).unwrap();
        d.sync(f).unwrap();
        let ones = |d: &Disk| d.read(f, 0, 64 * PAGE).unwrap().chunks(PAGE).filter(|p| p[0] == 1).count();
        for _ in 0..2 {
            d.write(f, 0, &[1; 64 * PAGE]).unwrap();
            d.lose_power(SEED);
            if d.losses == 1 {
                assert_eq!(ones(&d), 0);
            }
        }
        assert!((1..64).contains(&ones(&d)), "{}", ones(&d));
    }
}
