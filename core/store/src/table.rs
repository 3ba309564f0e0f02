//! The file: redb over the world's disk, with its panics and errors turned into [`StoreError`].
//!
//! **Promise.** What is read here is what was committed, or an error. A commit is atomic and
//! durable when it returns.
//!
//! redb trusts its own pages between two integrity checks, and walks what it trusts. So the whole
//! tree is checked at boot, every row carries its own checksum ([`crate::record`]), and a panic
//! inside redb is caught here and reported as corruption of the file. Two-phase commits: the
//! newest commit is then never a matter of guessing by checksums, for a second sync each time.
//!
//! **Determinism.** redb 4.4 hashes with a fixed key, starts no thread and reads no clock. The
//! bytes it writes depend on the order of calls and on which read views are alive at a commit;
//! both are functions of the node's inputs.

use crate::checkpoint::Meta;
use crate::error::StoreError;
use crate::record::{REV_BYTES, Record, Rev, unseal};
use dwcp_env::disk::FileName;
use dwcp_env::{ByteCount, DiskError, File, Storage};
use redb::{Builder, Database, ReadOnlyTable, ReadableDatabase, StorageBackend, TableDefinition};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// Bytes of redb's pages.
const PAGE: u64 = 4096;

/// Records by revision.
pub(crate) const RECORDS: TableDefinition<&[u8; REV_BYTES], &[u8]> = TableDefinition::new("records");
/// Everything else: `m` the meta row, `l`+id leases, `s`+id sessions.
pub(crate) const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");

/// What the file's backend shares with its owner.
#[derive(Debug, Default)]
struct Shared {
    /// The first failure of the device, in its own type.
    fault: OnceLock<DiskError>,
    /// The file is no longer the store's: nothing more is written to it.
    retired: AtomicBool,
    /// The file's length, as last set.
    len: AtomicU64,
}

#[derive(Debug)]
struct Backend {
    file: Box<dyn File>,
    shared: Arc<Shared>,
}

impl Backend {
    fn told<T>(&self, result: Result<T, DiskError>) -> Result<T, io::Error> {
        result.map_err(|e| {
            let text = e.to_string();
            // Only the first failure counts; those behind it follow from it.
            let _first = self.shared.fault.set(e);
            io::Error::other(text)
        })
    }
    fn writable(&self) -> Result<(), io::Error> {
        if self.shared.retired.load(Ordering::Relaxed) {
            return Err(io::Error::other("the file has been replaced"));
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> Result<u64, io::Error> {
        self.told(self.file.len())
    }
    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        match self.file.read_at(offset, out) {
            // A page pointer past the end is the file's fault, not the device's.
            Err(e @ DiskError::Short { .. }) => Err(io::Error::other(e.to_string())),
            result => self.told(result),
        }
    }
    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.writable()?;
        self.told(self.file.set_len(len))?;
        self.shared.len.store(len, Ordering::Relaxed);
        Ok(())
    }
    fn sync_data(&self) -> Result<(), io::Error> {
        self.writable()?;
        self.told(self.file.sync())
    }
    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.writable()?;
        self.told(self.file.write_at(offset, data))
    }
}

/// An open file.
#[derive(Debug)]
pub(crate) struct TableFile {
    name: FileName,
    shared: Arc<Shared>,
    /// `None` only while it is being dropped.
    db: Option<Database>,
}

/// A write in progress.
pub(crate) struct Rows<'a> {
    /// Records by revision.
    pub(crate) records: redb::Table<'a, &'static [u8; REV_BYTES], &'static [u8]>,
    /// Everything else.
    pub(crate) state: redb::Table<'a, &'static [u8], &'static [u8]>,
}

impl TableFile {
    /// Makes a new empty file, replacing one of that name.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn create(
        storage: &dyn Storage,
        name: FileName,
        cache: ByteCount,
    ) -> Result<Self, StoreError> {
        let file = storage.create(&name)?;
        let made = Self::over(file, name, cache)?;
        made.write(true, |_| Ok(()))?;
        Ok(made)
    }
    /// Opens a file and checks all of it.
    ///
    /// # Errors
    /// The disk's; `Corrupt`.
    pub(crate) fn open(storage: &dyn Storage, name: FileName, cache: ByteCount) -> Result<Self, StoreError> {
        let file = storage.open(&name)?;
        let len = file.len()?;
        if len == 0 {
            return Err(StoreError::corrupt(name.as_str(), "it is empty"));
        }
        // A crash while the file grew may leave any length above the durable one, and redb refuses
        // one that is no whole number of pages. Nothing committed lies in the part of a page.
        if !len.is_multiple_of(PAGE) {
            file.set_len(len.next_multiple_of(PAGE))?;
        }
        let mut opened = Self::over(file, name, cache)?;
        let mut db = opened.db.take().expect("just opened");
        let (name, shared) = (&opened.name, &opened.shared);
        // An open after a crash has repaired what a crash may do; what still does not check
        // is not a crash's doing.
        let (db, clean) = guard(name, shared, move || {
            let clean = db.check_integrity()?;
            Ok((db, clean))
        })?;
        opened.db = Some(db);
        if !clean {
            return Err(StoreError::corrupt(opened.name.as_str(), "its pages fail the integrity check"));
        }
        Ok(opened)
    }
    fn over(file: Box<dyn File>, name: FileName, cache: ByteCount) -> Result<Self, StoreError> {
        let shared = Arc::new(Shared::default());
        shared.len.store(file.len()?, Ordering::Relaxed);
        let backend = Backend { file, shared: shared.clone() };
        let db = guard(&name, &shared, move || {
            Ok(Builder::new().set_cache_size(cache.as_usize()).create_with_backend(backend)?)
        })?;
        Ok(Self { name, shared, db: Some(db) })
    }
    fn db(&self) -> &Database {
        self.db.as_ref().expect("taken only by drop")
    }
    /// Its name.
    pub(crate) const fn name(&self) -> &FileName {
        &self.name
    }
    /// Its length in bytes.
    pub(crate) fn len(&self) -> ByteCount {
        ByteCount(self.shared.len.load(Ordering::Relaxed))
    }
    /// Never writes to it again, not even at the end.
    pub(crate) fn retire(&self) {
        self.shared.retired.store(true, Ordering::Relaxed);
    }
    /// One transaction. Durable when it returns if `durable`, else with the next durable one.
    ///
    /// # Errors
    /// The disk's; `Corrupt`. Nothing was changed.
    pub(crate) fn write(
        &self,
        durable: bool,
        fill: impl FnOnce(&mut Rows<'_>) -> Result<(), redb::Error>,
    ) -> Result<(), StoreError> {
        guard(&self.name, &self.shared, || {
            let mut txn = self.db().begin_write()?;
            if durable {
                txn.set_two_phase_commit(true);
            } else {
                txn.set_durability(redb::Durability::None)?;
            }
            {
                let mut rows = Rows { records: txn.open_table(RECORDS)?, state: txn.open_table(STATE)? };
                fill(&mut rows)?;
            }
            Ok(txn.commit()?)
        })
    }
    /// A view of the newest commit; it does not change.
    ///
    /// # Errors
    /// The disk's; `Corrupt`.
    pub(crate) fn view(self: &Arc<Self>) -> Result<View, StoreError> {
        let (records, state) = guard(&self.name, &self.shared, || {
            let txn = self.db().begin_read()?;
            Ok((txn.open_table(RECORDS)?, txn.open_table(STATE)?))
        })?;
        let mut view = View { records, state, meta: Meta::default(), file: self.clone() };
        let row = view
            .state_row(b"m")?
            .ok_or_else(|| StoreError::corrupt(self.name.as_str(), "the meta row is missing"))?;
        view.meta = Meta::decode(&row).map_err(|why| StoreError::corrupt(self.name.as_str(), why))?;
        Ok(view)
    }
}

impl Drop for TableFile {
    fn drop(&mut self) {
        // Closing writes; on a file that fails, it must not take the node down.
        if let Some(db) = self.db.take() {
            let _closed = guard(&self.name, &self.shared, move || {
                drop(db);
                Ok(())
            });
        }
    }
}

/// Everything that was committed at some time.
pub(crate) struct View {
    records: ReadOnlyTable<&'static [u8; REV_BYTES], &'static [u8]>,
    state: ReadOnlyTable<&'static [u8], &'static [u8]>,
    /// The meta row.
    pub(crate) meta: Meta,
    /// Behind the tables, so that it is dropped after them.
    file: Arc<TableFile>,
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "View({} at {:?})", self.file.name.as_str(), self.meta.at)
    }
}

/// A row of either table, as it lies there.
pub(crate) struct RawRow {
    /// Whether it is a record.
    pub(crate) is_record: bool,
    /// Its key.
    pub(crate) key: Vec<u8>,
    /// Its sealed value.
    pub(crate) value: Vec<u8>,
}

impl View {
    /// The file it looks at.
    pub(crate) const fn file(&self) -> &Arc<TableFile> {
        &self.file
    }
    pub(crate) fn corrupt(&self, why: impl Into<String>) -> StoreError {
        StoreError::corrupt(self.file.name.as_str(), why)
    }
    fn guard<T>(&self, run: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
        guard(&self.file.name, &self.file.shared, run)
    }
    /// The record at `rev`, which is there.
    ///
    /// # Errors
    /// The disk's; `Corrupt` if it is not there or fails its checks.
    pub(crate) fn record(&self, rev: Rev) -> Result<Record, StoreError> {
        let key = rev.to_bytes();
        let found =
            self.guard(|| Ok(self.records.get(&key)?.map(|row| Record::unseal(&key, row.value()))))?;
        match found {
            Some(Ok(record)) => Ok(record),
            Some(Err(why)) => Err(self.corrupt(format!("{why} at {rev:?}"))),
            None => Err(self.corrupt(format!("no record at {rev:?}"))),
        }
    }
    /// Calls `each` with the records from `from` on, in order, until it says stop.
    ///
    /// # Errors
    /// The disk's; `Corrupt`; those of `each`.
    pub(crate) fn scan(
        &self,
        from: Rev,
        mut each: impl FnMut(Rev, Record) -> Result<bool, String>,
    ) -> Result<(), StoreError> {
        let wrong = self.guard(|| {
            for row in self.records.range::<&[u8; REV_BYTES]>(&from.to_bytes()..)? {
                let (key, row) = row?;
                let (key, rev) = (key.value(), Rev::from_bytes(key.value()));
                let done = match Record::unseal(key, row.value()) {
                    Ok(record) => each(rev, record),
                    Err(why) => Err(why.into()),
                };
                match done {
                    Ok(true) => {}
                    Ok(false) => return Ok(None),
                    Err(why) => return Ok(Some(format!("{why} at {rev:?}"))),
                }
            }
            Ok(None)
        })?;
        wrong.map_or(Ok(()), |why| Err(self.corrupt(why)))
    }
    /// The body of a row of the state table.
    ///
    /// # Errors
    /// The disk's; `Corrupt`.
    pub(crate) fn state_row(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found =
            self.guard(|| Ok(self.state.get(key)?.map(|row| unseal(key, row.value()).map(<[u8]>::to_vec))))?;
        found.transpose().map_err(|why| self.corrupt(why))
    }
    /// Calls `each` with key and body of all rows of the state table that begin with `kind`.
    ///
    /// # Errors
    /// The disk's; `Corrupt`; those of `each`.
    pub(crate) fn state_rows(
        &self,
        kind: u8,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        let wrong = self.guard(|| {
            for row in self.state.range::<&[u8]>(&[kind][..]..&[kind + 1][..])? {
                let (key, row) = row?;
                let key = key.value();
                let done = unseal(key, row.value()).map_err(String::from).and_then(|body| each(key, body));
                if let Err(why) = done {
                    return Ok(Some(why));
                }
            }
            Ok(None)
        })?;
        wrong.map_or(Ok(()), |why| Err(self.corrupt(why)))
    }
    /// Calls `each` with all rows as they lie there, the state table first, from the given row
    /// on, until it says stop.
    ///
    /// # Errors
    /// The disk's; `Corrupt`.
    pub(crate) fn raw_rows(
        &self,
        from: (bool, &[u8]),
        mut each: impl FnMut(RawRow) -> bool,
    ) -> Result<(), StoreError> {
        self.guard(|| {
            let (in_records, from) = from;
            if !in_records {
                for row in self.state.range::<&[u8]>(from..)? {
                    let (key, value) = row?;
                    let (key, value) = (key.value().to_vec(), value.value().to_vec());
                    if !each(RawRow { is_record: false, key, value }) {
                        return Ok(());
                    }
                }
            }
            let from =
                if in_records { from.try_into().unwrap_or([u8::MAX; REV_BYTES]) } else { [0; REV_BYTES] };
            for row in self.records.range::<&[u8; REV_BYTES]>(&from..)? {
                let (key, value) = row?;
                let (key, value) = (key.value().to_vec(), value.value().to_vec());
                if !each(RawRow { is_record: true, key, value }) {
                    return Ok(());
                }
            }
            Ok(())
        })
    }
}

/// Runs redb's code: its errors and panics become ours. The device's own failure, if there was
/// one, is told in its own type.
fn guard<T>(
    file: &FileName,
    shared: &Shared,
    run: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    // What a panic leaves half done is only ever redb's own state, which is not used again:
    // the store that gets this error stops.
    let why = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => error.to_string(),
        Err(panic) => format!("redb panicked: {}", panic_text(&*panic)),
    };
    Err(match shared.fault.get() {
        Some(fault) => StoreError::Disk(fault.clone()),
        None => StoreError::corrupt(file.as_str(), why),
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a word")
}
