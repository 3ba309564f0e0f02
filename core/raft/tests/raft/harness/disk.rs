//! A directory whose unsynced bytes are gone after a crash.

use bytes::Bytes;
use dwcp_env::disk::{DiskError, DiskOp, File, FileName, Storage};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default, Debug)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Where `now` may differ from `durable`.
    dirty: std::ops::Range<usize>,
}

impl Content {
    fn touch(&mut self, start: usize, end: usize) {
        let d = &mut self.dirty;
        *d = if d.start == d.end { start..end } else { d.start.min(start)..d.end.max(end) };
    }
    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        let dirty = std::mem::take(&mut self.dirty);
        let dirty = dirty.start.min(self.now.len())..dirty.end.min(self.now.len());
        self.durable[dirty.clone()].copy_from_slice(&self.now[dirty]);
    }
}

/// Names are durable at once; bytes when synced.
#[derive(Clone, Default, Debug)]
pub(crate) struct MemDisk(Arc<Mutex<BTreeMap<FileName, Content>>>);

impl MemDisk {
    fn with<T>(&self, file: &FileName, f: impl FnOnce(&mut Content) -> T) -> Result<T, DiskError> {
        let mut files = self.0.lock().unwrap();
        files.get_mut(file).map(f).ok_or_else(|| DiskError::NotFound(file.as_str().into()))
    }
    fn write(&self, file: &FileName, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.with(file, |c| {
            let (start, end) = (offset as usize, offset as usize + data.len());
            if c.now.len() < end {
                c.now.resize(end, 0);
            }
            c.now[start..end].copy_from_slice(data);
            c.touch(start, end);
        })
    }
    /// Carries out one operation of a request.
    pub(crate) fn carry_out(&self, op: &DiskOp) -> Result<(), DiskError> {
        match op {
            DiskOp::Create { file, len } => {
                let zeros = vec![0; *len as usize];
                let content = Content { now: zeros.clone(), durable: zeros, dirty: 0..0 };
                self.0.lock().unwrap().insert(file.clone(), content);
                Ok(())
            }
            DiskOp::Write { file, offset, data } => {
                self.0.lock().unwrap().entry(file.clone()).or_default();
                self.write(file, *offset, data)
            }
            DiskOp::Sync { file } => self.with(file, Content::sync),
            DiskOp::Rename { from, to } => self.rename(from, to),
            DiskOp::Remove { file } => self.remove(file),
            DiskOp::SyncDir => Ok(()),
        }
    }
    /// Another that holds the same.
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }
    /// The medium turns over a bit of the last of the places where this stands in files whose names begin so; how many there are.
    pub(crate) fn rot(&self, files: &str, text: &[u8]) -> usize {
        let mut all = self.0.lock().unwrap();
        let mut last = None;
        let mut places = 0;
        for (file, content) in all.iter().filter(|(f, _)| f.as_str().starts_with(files)) {
            for at in (0..content.durable.len()).filter(|at| content.durable[*at..].starts_with(text)) {
                last = Some((file.clone(), at));
                places += 1;
            }
        }
        if let Some((content, at)) = last.and_then(|(file, at)| Some((all.get_mut(&file)?, at))) {
            content.durable[at] ^= 4;
            content.now.clone_from(&content.durable);
            content.dirty = 0..0;
        }
        places
    }
    /// Forgets what was not synced.
    pub(crate) fn crash(&self) {
        for content in self.0.lock().unwrap().values_mut() {
            content.now.clone_from(&content.durable);
            content.dirty = 0..0;
        }
    }
}

#[derive(Debug)]
struct Handle(MemDisk, FileName);

impl File for Handle {
    fn len(&self) -> Result<u64, DiskError> {
        self.0.with(&self.1, |c| c.now.len() as u64)
    }
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<(), DiskError> {
        self.0.with(&self.1, |c| {
            let end = offset as usize + out.len();
            let short =
                DiskError::Short { file: self.1.as_str().into(), len: c.now.len() as u64, want: end as u64 };
            out.copy_from_slice(c.now.get(offset as usize..end).ok_or(short)?);
            Ok(())
        })?
    }
    fn write_at(&self, offset: u64, data: &[u8]) -> Result<(), DiskError> {
        self.0.write(&self.1, offset, data)
    }
    fn set_len(&self, len: u64) -> Result<(), DiskError> {
        self.0.with(&self.1, |c| {
            let old = c.now.len();
            c.now.resize(len as usize, 0);
            c.touch(old.min(len as usize), len as usize);
        })
    }
    fn sync(&self) -> Result<(), DiskError> {
        self.0.with(&self.1, Content::sync)
    }
}

impl Storage for MemDisk {
    fn list(&self) -> Result<Vec<FileName>, DiskError> {
        Ok(self.0.lock().unwrap().keys().cloned().collect())
    }
    fn open(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        self.with(file, |_| ())?;
        Ok(Box::new(Handle(self.clone(), file.clone())))
    }
    fn create(&self, file: &FileName) -> Result<Box<dyn File>, DiskError> {
        self.0.lock().unwrap().insert(file.clone(), Content::default());
        self.open(file)
    }
    fn rename(&self, from: &FileName, to: &FileName) -> Result<(), DiskError> {
        let mut files = self.0.lock().unwrap();
        let content = files.remove(from).ok_or_else(|| DiskError::NotFound(from.as_str().into()))?;
        files.insert(to.clone(), content);
        Ok(())
    }
    fn remove(&self, file: &FileName) -> Result<(), DiskError> {
        self.0.lock().unwrap().remove(file);
        Ok(())
    }
    fn sync_dir(&self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// Reads a whole file, if it is there.
pub(crate) fn read(disk: &MemDisk, file: &FileName) -> Option<Bytes> {
    dwcp_env::disk::read_all(disk, file).ok().map(Bytes::from)
}
