//! A simulated hypervisor for `dwcp host run`, and storage as a folder of fencing epochs.
//!
//! Machines are entries in a table; what is real is the contract: a watchdog for each that ends it at its time whatever
//! the agent does, and epochs that survive, shared by all hosts of the machine through the folder.

use dwcp_env::Instant;
use dwcp_fleet::name::VmId;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A folder with a file for each machine: the newest epoch that was shown, as text.
#[derive(Debug)]
pub(super) struct Epochs {
    folder: PathBuf,
}

impl Epochs {
    pub(super) fn open(folder: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|e| format!("can't make {}: {e}", folder.display()))?;
        Ok(Self { folder: folder.into() })
    }

    fn file(&self, vm: VmId) -> std::io::Result<File> {
        let path = self.folder.join(format!("{vm}.epoch"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        // Other hosts' agents show their epochs to the same file.
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        Ok(file)
    }

    /// Shows an epoch: granted unless a higher one was shown, and durable before it is answered.
    pub(super) fn admit(&self, vm: VmId, epoch: u64) -> std::io::Result<bool> {
        let mut file = self.file(vm)?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let newest: u64 = match text.trim() {
            "" => 0,
            text => text.parse().map_err(|_| std::io::Error::other(format!("{vm}.epoch holds no number")))?,
        };
        if epoch < newest {
            return Ok(false);
        }
        file.rewind()?;
        // Longer numbers overwrite shorter ones whole; epochs never shrink.
        writeln!(file, "{epoch}")?;
        file.sync_all()?;
        Ok(true)
    }
}

/// The machines that run.
#[derive(Debug, Default)]
pub(super) struct Table(BTreeMap<VmId, (u64, Instant)>);

impl Table {
    /// Starts one, unless its time is over.
    pub(super) fn start(&mut self, now: Instant, vm: VmId, epoch: u64, until: Instant) -> bool {
        let free = now < until && !self.0.contains_key(&vm);
        if free {
            self.0.insert(vm, (epoch, until));
        }
        free
    }
    pub(super) fn extend(&mut self, vm: VmId, epoch: u64, until: Instant) {
        if let Some(entry) = self.0.get_mut(&vm).filter(|(e, _)| *e == epoch) {
            entry.1 = until;
        }
    }
    /// Ends one; whether it ran.
    pub(super) fn end(&mut self, vm: VmId, epoch: u64) -> bool {
        let there = self.0.get(&vm).is_some_and(|(e, _)| *e == epoch);
        if there {
            self.0.remove(&vm);
        }
        there
    }
    /// Those whose time is over.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<(VmId, u64)> {
        let over: Vec<(VmId, u64)> = self
            .0
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(vm, (epoch, _))| (*vm, *epoch))
            .collect();
        self.0.retain(|_, (_, until)| *until > now);
        over
    }
    /// When the next one's time is over.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.values().map(|(_, until)| *until).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_outlive_whoever_showed_them() {
        let dir = tempfile::tempdir().unwrap();
        let vm = VmId(1);
        let first = Epochs::open(dir.path()).unwrap();
        assert!(first.admit(vm, 9).unwrap());
        assert!(first.admit(vm, 10).unwrap());
        let second = Epochs::open(dir.path()).unwrap();
        assert!(!second.admit(vm, 9).unwrap());
        assert!(second.admit(vm, 10).unwrap() && second.admit(vm, 100).unwrap());
        std::fs::write(dir.path().join(format!("{vm}.epoch")), "junk").unwrap();
        assert!(second.admit(vm, 200).is_err());
    }

    #[test]
    fn what_is_over_does_not_start() {
        let (vm, mut table) = (VmId(1), Table::default());
        let at = Instant::from_nanos;
        assert!(!table.start(at(5), vm, 1, at(5)));
        assert!(table.start(at(4), vm, 1, at(5)));
        assert!(!table.start(at(4), vm, 2, at(9)));
        table.extend(vm, 1, at(7));
        assert_eq!(table.overdue(at(6)), []);
        assert_eq!(table.overdue(at(7)), [(vm, 1)]);
        assert!(!table.end(vm, 1));
    }
}
