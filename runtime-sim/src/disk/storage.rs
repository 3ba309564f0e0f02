//! The node's handle on its disk: [`Storage`] and [`File`], answering at once.
//!
//! Time spent is not waited for but added up: to the turn's, the job's or the boot's cost.
//! A handle of an incarnation that has ended answers [`DiskError::Stopped`] to everything.

use super::{Disk, Shared};
use dwcp_env::DiskError;
use dwcp_env::disk::{File, FileName, Storage};
use std::sync::{Arc, MutexGuard};

/// The directory, for one incarnation.
#[derive(Debug)]
pub(crate) struct SimStorage {
    shared: Arc<Shared>,
    incarnation: u32,
}

impl SimStorage {
    pub(crate) const fn new(shared: Arc<Shared>, incarnation: u32) -> Self {
        Self { shared, incarnation }
    }
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, DiskError> {
        self.shared.enter(self.incarnation)
    }
    fn handle(&self, ino: u32) -> Box<dyn File> {
        Box::new(SimFile { shared: self.shared.clone(), incarnation: self.incarnation, ino })
    }
}

impl Storage for SimStorage {
    fn list(&self) -> Result<Vec<FileName>, DiskError> {
        Ok(self.disk()?.list())
    }
    fn open(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        let ino = self.disk()?.open(file)?;
        Ok(self.handle(ino))
    }
    fn create(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        let ino = self.disk()?.create_or_empty(file)?;
        Ok(self.handle(ino))
    }
    fn rename(&self, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        self.disk()?.rename(from, to)
    }
    fn remove(&self, file: &FileName) -> Result<(), DiskError> {
        self.disk()?.remove(file)
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        self.disk()?.sync_dir()
    }
}

#[derive(Debug)]
struct SimFile {
    shared: Arc<Shared>,
    incarnation: u32,
    ino: u32,
}

impl SimFile {
    fn disk(&self) -> Result<MutexGuard<'_, Disk>, DiskError> {
        self.shared.enter(self.incarnation)
    }
}

impl File for SimFile {
    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.disk()?.len(self.ino))
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.disk()?.read(self.ino, offset, out)
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.disk()?.write(self.ino, offset, data)
    }
    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.disk()?.set_len(self.ino, len)
    }
    fn sync(&self) -> Result<(), DiskError> {
        self.disk()?.sync(self.ino)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        if let Ok(mut disk) = self.shared.enter(self.incarnation) {
            disk.close(self.ino);
        }
    }
}
