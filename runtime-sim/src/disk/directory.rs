//! The names of a node's files: seen at once, durable after `sync_dir`.
//!
//! A crash keeps a part of what was not synced: in half of the crashes a prefix, as a
//! journaling file system would, in the other half any subset, which is all that the contract
//! promises. Changes of a running job are deferred as those of files are ([`super::inode`]).

use dwcp_env::disk::FileName;
use std::collections::{BTreeMap, VecDeque};

/// A change of names.
#[derive(Clone, Debug)]
pub(crate) enum Entry {
    /// A new file, or another one under this name.
    Link(FileName, u32),
    /// Another name.
    Move(FileName, FileName),
    /// No name any more.
    Unlink(FileName),
}

type Names = BTreeMap<FileName, u32>;

/// Which file has which name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directory {
    live: Names,
    durable: Names,
    unsynced: Vec<Entry>,
    /// With their times; none is a sync.
    deferred: VecDeque<(u64, Option<Entry>)>,
}

fn apply(names: &mut Names, entry: &Entry) {
    match entry {
        Entry::Link(name, ino) => {
            names.insert(name.clone(), *ino);
        }
        Entry::Move(from, to) => {
            if let Some(ino) = names.remove(from) {
                names.insert(to.clone(), ino);
            }
        }
        Entry::Unlink(name) => {
            names.remove(name);
        }
    }
}

impl Directory {
    pub(crate) fn find(&self, name: &FileName) -> Option<u32> {
        self.live.get(name).copied()
    }
    pub(crate) fn names(&self) -> impl Iterator<Item = (&FileName, u32)> {
        self.live.iter().map(|(n, i)| (n, *i))
    }
    /// Whether some view, or some change on its way, still names this file.
    pub(crate) fn refers(&self, ino: u32) -> bool {
        let links = |e: &Entry| matches!(e, Entry::Link(_, i) if *i == ino);
        self.live.values().any(|i| *i == ino)
            || self.durable.values().any(|i| *i == ino)
            || self.unsynced.iter().any(links)
            || self.deferred.iter().any(|(_, e)| e.as_ref().is_some_and(links))
    }
    /// Changes a name; effective at `at` if deferred.
    pub(crate) fn change(&mut self, entry: Entry, now: u64, at: Option<u64>) {
        apply(&mut self.live, &entry);
        self.settle(now);
        match at {
            Some(at) => self.defer(at, Some(entry)),
            None => self.unsynced.push(entry),
        }
    }
    /// Makes durable what has been changed. What a job will change a moment later is no part of that: its rename must not be
    /// durable before the file it names.
    pub(crate) fn sync(&mut self, now: u64, at: Option<u64>) {
        if let Some(at) = at {
            return self.defer(at, None);
        }
        self.settle(now);
        self.commit();
    }
    fn defer(&mut self, at: u64, entry: Option<Entry>) {
        let at = at.max(self.deferred.back().map_or(0, |d| d.0));
        self.deferred.push_back((at, entry));
    }
    /// Carries out deferred changes up to and including `now`.
    pub(crate) fn settle(&mut self, now: u64) {
        while let Some((at, _)) = self.deferred.front()
            && *at <= now
        {
            match self.deferred.pop_front() {
                Some((_, Some(entry))) => self.unsynced.push(entry),
                Some((_, None)) => self.commit(),
                None => break,
            }
        }
    }
    fn commit(&mut self) {
        for e in self.unsynced.drain(..) {
            apply(&mut self.durable, &e);
        }
    }
    /// Power is lost; returns how many changes did not survive. `below(n)` draws in `0..n`.
    pub(crate) fn crash(&mut self, now: u64, below: &mut dyn FnMut(u64, u64) -> u64) -> u64 {
        self.settle(now);
        self.deferred.clear();
        let changes = std::mem::take(&mut self.unsynced);
        let prefix = below(0, 2) == 0;
        let kept = below(1, changes.len() as u64 + 1);
        let mut lost = 0;
        for (i, e) in changes.iter().enumerate() {
            let i = i as u64;
            if if prefix { i < kept } else { below(2 + i, 2) == 0 } {
                apply(&mut self.durable, e);
            } else {
                lost += 1;
            }
        }
        self.live.clone_from(&self.durable);
        lost
    }
    /// The process ended, the power did not.
    pub(crate) fn kill(&mut self, now: u64) {
        self.settle(now);
        if self.deferred.is_empty() {
            return;
        }
        self.deferred.clear();
        self.live.clone_from(&self.durable);
        for e in &self.unsynced {
            apply(&mut self.live, e);
        }
    }
}
