//! A directory in memory for tests: what is not synced may be lost or torn at a crash, as
//! `dwcp_env::disk` says.

use dwcp_env::disk::{DiskError, File, FileName, Storage};
use dwcp_env::draw::{Purpose, Seed};
use dwcp_env::time::Instant;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct Content {
    live: Vec<u8>,
    synced: Vec<u8>,
    /// Writes since the sync, in order: offset and length.
    pending: Vec<(usize, usize)>,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    files: Vec<Content>,
    names: BTreeMap<FileName, usize>,
    durable_names: BTreeMap<FileName, usize>,
    /// Operations that change something, until the device fails; `None`: for ever.
    operations_left: Option<u64>,
}

impl Disk {
    fn change(&mut self) -> Result<(), DiskError> {
        match &mut self.operations_left {
            Some(0) => return Err(DiskError::Stopped),
            Some(n) => *n -= 1,
            None => {}
        }
        Ok(())
    }
}

/// The directory.
#[derive(Debug)]
pub(crate) struct MemoryDisk(Arc<Mutex<Disk>>);

impl MemoryDisk {
    /// An empty one.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Arc::default()))
    }
    /// From now on only so many changes succeed: then the machine is off.
    #[allow(dead_code, reason = "not every test crashes")]
    pub(crate) fn fail_after(&self, operations: u64) {
        self.0.lock().unwrap().operations_left = Some(operations);
    }
    /// The directory as a machine finds it after the crash of this one. Old handles go on with
    /// the old directory.
    #[allow(dead_code, reason = "not every test crashes")]
    pub(crate) fn crashed(&self, seed: u64) -> Arc<Self> {
        let mut disk = self.0.lock().unwrap().clone();
        disk.operations_left = None;
        let mut ordinal = 0;
        let mut draw = || {
            ordinal += 1;
            Seed(seed).draw(Purpose::named("crash"), 0, Instant::ZERO, ordinal)
        };
        if draw() % 2 == 0 {
            disk.names = disk.durable_names.clone();
        }
        disk.durable_names = disk.names.clone();
        for file in &mut disk.files {
            let mut after = file.synced.clone();
            for (offset, len) in std::mem::take(&mut file.pending) {
                for at in (offset..offset + len).step_by(SECTOR) {
                    let end = (at + SECTOR).min(offset + len).min(file.live.len());
                    if draw() % 2 == 0 && at < end {
                        after.resize(after.len().max(end), 0);
                        after[at..end].copy_from_slice(&file.live[at..end]);
                    }
                }
            }
            file.live = after.clone();
            file.synced = after;
        }
        Arc::new(Self(Arc::new(Mutex::new(disk))))
    }
}

#[derive(Debug)]
struct Handle {
    disk: Arc<Mutex<Disk>>,
    file: usize,
    name: FileName,
}

impl File for Handle {
    fn len(&self) -> Result<u64, DiskError> {
        Ok(self.disk.lock().unwrap().files[self.file].live.len() as u64)
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        let disk = self.disk.lock().unwrap();
        let live = &disk.files[self.file].live;
        let (from, want) = (offset as usize, offset.saturating_add(out.len() as u64));
        if want > live.len() as u64 {
            let file = self.name.as_str().into();
            return Err(DiskError::Short { file, len: live.len() as u64, want });
        }
        out.copy_from_slice(&live[from..from + out.len()]);
        Ok(())
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        let mut disk = self.disk.lock().unwrap();
        disk.change()?;
        let file = &mut disk.files[self.file];
        let offset = offset as usize;
        let end = offset + data.len();
        if file.live.len() < end {
            file.live.resize(end, 0);
        }
        file.live[offset..end].copy_from_slice(data);
        file.pending.push((offset, data.len()));
        Ok(())
    }
    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        let mut disk = self.disk.lock().unwrap();
        disk.change()?;
        let file = &mut disk.files[self.file];
        file.live.resize(len as usize, 0);
        Ok(())
    }
    fn sync(&self) -> Result<(), DiskError> {
        let mut disk = self.disk.lock().unwrap();
        disk.change()?;
        let file = &mut disk.files[self.file];
        // Only what was written: a copy of the whole file at each sync would dominate the tests.
        let len = file.live.len();
        file.synced.resize(len, 0);
        for (offset, written) in std::mem::take(&mut file.pending) {
            let end = (offset + written).min(len);
            if offset < end {
                file.synced[offset..end].copy_from_slice(&file.live[offset..end]);
            }
        }
        Ok(())
    }
}

impl Storage for MemoryDisk {
    fn list(&self) -> Result<Vec<FileName>, DiskError> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }
    fn open(&self, name: &FileName) -> Result<Box<dyn File>, DiskError> {
        let file = self.0.lock().unwrap().names.get(name).copied();
        let file = file.ok_or_else(|| DiskError::NotFound(name.as_str().into()))?;
        Ok(Box::new(Handle { disk: self.0.clone(), file, name: name.clone() }))
    }
    fn create(&self, name: &FileName) -> Result<Box<dyn File>, DiskError> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        let file = disk.files.len();
        disk.files.push(Content::default());
        disk.names.insert(name.clone(), file);
        drop(disk);
        Ok(Box::new(Handle { disk: self.0.clone(), file, name: name.clone() }))
    }
    fn rename(&self, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        let file = disk.names.remove(from).ok_or_else(|| DiskError::NotFound(from.as_str().into()))?;
        disk.names.insert(to.clone(), file);
        Ok(())
    }
    fn remove(&self, name: &FileName) -> Result<(), DiskError> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        disk.names.remove(name);
        Ok(())
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        let mut disk = self.0.lock().unwrap();
        disk.change()?;
        disk.durable_names = disk.names.clone();
        Ok(())
    }
}
