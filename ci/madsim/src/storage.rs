//! A disk in memory: what is written is there at once, and outlives the process, as a page cache
//! outlives `kill -9`. Handles belong to one life; those of an ended life do nothing.

use dwcp_env::{DiskError, DiskOp, File, Storage, disk::FileName};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Contents = Arc<Mutex<Vec<u8>>>;

#[derive(Debug, Default)]
struct Held {
    files: BTreeMap<FileName, Contents>,
    life: u32,
}

/// One machine's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Held>>);

/// The directory, as one life of the node sees it.
#[derive(Clone, Debug)]
pub struct Directory {
    disk: Disk,
    life: u32,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk {
    /// Ends the life that was, whose handles fail from now on, and begins one.
    #[must_use]
    pub fn begin_life(&self) -> Directory {
        let mut held = lock(&self.0);
        held.life += 1;
        Directory { disk: self.clone(), life: held.life }
    }
}

impl Directory {
    fn alive(&self) -> Result<MutexGuard<'_, Held>, DiskError> {
        let held = lock(&self.disk.0);
        if held.life == self.life { Ok(held) } else { Err(DiskError::Stopped) }
    }
    fn contents(&self, file: &FileName) -> Result<Contents, DiskError> {
        let none = || DiskError::NotFound(file.as_str().into());
        self.alive()?.files.get(file).cloned().ok_or_else(none)
    }
    /// Carries out one operation of a request.
    ///
    /// # Errors
    /// As [`Storage`].
    pub fn apply(&self, op: &DiskOp) -> Result<(), DiskError> {
        match op {
            DiskOp::Create { file, len } => {
                let zeros = Arc::new(Mutex::new(vec![0; *len as usize]));
                self.alive()?.files.insert(file.clone(), zeros);
                Ok(())
            }
            DiskOp::Write { file, offset, data } => self.open(file)?.write_at(*offset, data),
            DiskOp::Sync { file } => self.open(file)?.sync(),
            DiskOp::Rename { from, to } => self.rename(from, to),
            DiskOp::Remove { file } => self.remove(file),
            DiskOp::SyncDir => self.sync_dir(),
        }
    }
}

impl Storage for Directory {
    fn list(&self) -> Result<Vec<FileName>, DiskError> {
        Ok(self.alive()?.files.keys().cloned().collect())
    }
    fn open(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        let contents = self.contents(file)?;
        Ok(Box::new(Open { directory: self.clone(), file: file.clone(), contents }))
    }
    fn create(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        self.apply(&DiskOp::Create { file: file.clone(), len: 0 })?;
        self.open(file)
    }
    fn rename(&self, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        let mut held = self.alive()?;
        let contents = held.files.remove(from).ok_or_else(|| DiskError::NotFound(from.as_str().into()))?;
        held.files.insert(to.clone(), contents);
        Ok(())
    }
    fn remove(&self, file: &FileName) -> Result<(), DiskError> {
        self.alive()?.files.remove(file);
        Ok(())
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        self.alive().map(drop)
    }
}

#[derive(Debug)]
struct Open {
    directory: Directory,
    file: FileName,
    contents: Contents,
}

impl File for Open {
    fn len(&self) -> Result<u64, DiskError> {
        let _alive = self.directory.alive()?;
        Ok(lock(&self.contents).len() as u64)
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let _alive = self.directory.alive()?;
        let contents = lock(&self.contents);
        let (start, want) = (offset as usize, offset + out.len() as u64);
        let short = || DiskError::Short { file: self.file.as_str().into(), len: contents.len() as u64, want };
        out.copy_from_slice(contents.get(start..want as usize).ok_or_else(short)?);
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let _alive = self.directory.alive()?;
        let (mut contents, end) = (lock(&self.contents), offset as usize + data.len());
        if contents.len() < end {
            contents.resize(end, 0);
        }
        contents[offset as usize..end].copy_from_slice(data);
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        let _alive = self.directory.alive()?;
        lock(&self.contents).resize(len as usize, 0);
        Ok(())
    }
    fn sync(&self) -> Result<(), DiskError> {
        self.directory.alive().map(drop)
    }
}
