//! The store as a value: what is in memory, what is in the file, and how it opens.

use crate::api::{LeaseId, OpError, Revision, SessionId};
use crate::bugs::StoreBugs;
use crate::checkpoint::{FORMAT, Frozen, Meta, Segment, seal_meta, state_id};
use crate::current;
use crate::error::StoreError;
use crate::index::Index;
use crate::install::Installer;
use crate::lease::{LeaseView, Leases};
use crate::record::{Record, Rev};
use crate::session::Sessions;
use crate::table::{TableFile, View};
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Position};
use dwcp_env::disk::FileName;
use dwcp_env::{ByteCount, ClusterId, GroupId, Probe, Storage, WallTime};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

/// Keys the compaction's sweep looks at in one apply.
const SWEEP_PER_APPLY: usize = 64;
/// Checkpoints a transfer may let pass between two of its pieces before its view is given up.
const SERVING_IDLE_CHECKPOINTS: u32 = 8;

/// How to open a store.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoreOptions {
    /// Whose data it is.
    pub cluster: ClusterId,
    /// Which group's; a part of the files' names.
    pub group: GroupId,
    /// Memory for pages of the file. 64 MiB suits a node, 1 MiB a simulation.
    pub cache: ByteCount,
    /// Known bugs to plant.
    pub bugs: StoreBugs,
}

/// The replicated state in memory: a function of the commands applied, and of nothing else.
#[derive(Debug)]
pub(crate) struct Data {
    pub(crate) index: Index,
    pub(crate) revision: Revision,
    pub(crate) compact_revision: Revision,
    pub(crate) leases: Leases,
    pub(crate) sessions: Sessions,
    pub(crate) log_time: WallTime,
    pub(crate) applied: Option<Position>,
    pub(crate) engine_record: Bytes,
}

impl Data {
    /// A store in which nothing was ever done.
    fn empty() -> Self {
        Self {
            index: Index::default(),
            revision: 1,
            // As in etcd: below zero, so that a first compaction to 0 is one.
            compact_revision: -1,
            leases: Leases::default(),
            sessions: Sessions::default(),
            log_time: WallTime::default(),
            applied: None,
            engine_record: Bytes::new(),
        }
    }
    /// The state in a file: every row is read and checked.
    ///
    /// # Errors
    /// The disk's; `Corrupt`, `NewerFormat`, `OtherCluster`.
    pub(crate) fn load(view: &View, options: &StoreOptions) -> Result<Self, StoreError> {
        let meta = &view.meta;
        if meta.format > FORMAT {
            return Err(StoreError::NewerFormat { found: meta.format, known: FORMAT });
        }
        if meta.cluster != options.cluster {
            return Err(StoreError::OtherCluster { theirs: meta.cluster, ours: options.cluster });
        }
        if meta.group != options.group {
            return Err(view.corrupt(format!("it holds {}, not {}", meta.group, options.group)));
        }
        let mut data = Self {
            revision: meta.revision,
            compact_revision: meta.compact_revision,
            log_time: meta.log_time,
            applied: meta.at,
            engine_record: meta.engine_record.clone(),
            ..Self::empty()
        };
        data.load_state_rows(view, options)?;
        let lease_of = data.load_records(view)?;
        let bugs = options.bugs;
        for (key, lease) in lease_of {
            if bugs.lease_keys_not_loaded() {
                continue;
            }
            if !data.leases.load_key(&key, lease)
                && !bugs.lease_keys_leak()
                && !bugs.snapshot_without_leases()
            {
                return Err(view.corrupt(format!("a live key under lease {lease}, which does not exist")));
            }
        }
        Ok(data)
    }
    fn load_state_rows(&mut self, view: &View, options: &StoreOptions) -> Result<(), StoreError> {
        view.state_rows(b'l', |key, body| {
            let ttl_s = body.try_into().map_err(|_| "a lease row of a wrong length")?;
            self.leases.load(state_id(key)? as LeaseId, i64::from_le_bytes(ttl_s));
            Ok(())
        })?;
        view.state_rows(b's', |key, body| self.sessions.load(SessionId(state_id(key)?), body))?;
        if options.bugs.answers_not_loaded() {
            self.sessions.forget_answers();
        }
        let (leases, sessions) = (self.leases.len() as u64, self.sessions.len() as u64);
        if (leases != view.meta.leases && !options.bugs.snapshot_without_leases())
            || (sessions != view.meta.sessions && !options.bugs.snapshot_without_sessions())
        {
            let meta = &view.meta;
            return Err(view.corrupt(format!(
                "{leases} leases and {sessions} sessions, not the {} and {} stated",
                meta.leases, meta.sessions
            )));
        }
        Ok(())
    }
    /// Fills the index; answers with the leases of live keys.
    fn load_records(&mut self, view: &View) -> Result<BTreeMap<Bytes, LeaseId>, StoreError> {
        let mut lease_of = BTreeMap::new();
        let revision = self.revision;
        view.scan(Rev::first(0), |rev, record| {
            if rev.main > revision {
                return Err(format!("a record above the revision {revision} stated"));
            }
            self.index.load(rev, &record)?;
            if record.lease == 0 {
                lease_of.remove(&record.key);
            } else {
                lease_of.insert(record.key, record.lease);
            }
            Ok(true)
        })?;
        Ok(lease_of)
    }
    /// The meta row for this state.
    pub(crate) fn meta(&self, options: &StoreOptions) -> Meta {
        Meta {
            cluster: options.cluster,
            group: options.group,
            at: self.applied,
            engine_record: self.engine_record.clone(),
            revision: self.revision,
            compact_revision: self.compact_revision,
            log_time: self.log_time,
            leases: self.leases.len() as u64,
            sessions: self.sessions.len() as u64,
            format: FORMAT,
        }
    }
}

/// Where records are: newest in memory, then what a checkpoint is writing, then the file.
#[derive(Debug)]
pub(crate) struct Records {
    pub(crate) fresh: Segment,
    pub(crate) frozen: Option<Arc<Frozen>>,
    pub(crate) view: Arc<View>,
    /// The view's digest, if it was asked for.
    pub(crate) digest: Option<crate::digest::Digest>,
}

impl Records {
    /// The record at `rev`, which is there.
    ///
    /// # Errors
    /// The disk's; `Corrupt`.
    pub(crate) fn get(&self, rev: Rev) -> Result<Record, StoreError> {
        let in_memory = self.fresh.get(rev).or_else(|| self.frozen.as_ref().and_then(|f| f.records.get(rev)));
        in_memory.map_or_else(|| self.view.record(rev), |record| Ok(record.clone()))
    }
    /// Calls `each` with the records from `from` on, in order, until it says stop.
    ///
    /// # Errors
    /// The disk's; `Corrupt`.
    pub(crate) fn scan(
        &self,
        from: Rev,
        mut each: impl FnMut(Rev, Record) -> bool,
    ) -> Result<(), StoreError> {
        let mut go_on = true;
        // The common question is about the newest, which are in memory.
        if from.main <= self.view.meta.revision {
            self.view.scan(from, |rev, record| {
                go_on = each(rev, record);
                Ok(go_on)
            })?;
        }
        let frozen = self.frozen.iter().flat_map(|f| f.records.from(from));
        for (rev, record) in frozen.chain(self.fresh.from(from)) {
            if !go_on {
                break;
            }
            go_on = each(*rev, record.clone());
        }
        Ok(())
    }
}

/// A sweep of the index after a compaction.
#[derive(Debug, Default)]
struct Sweep {
    cursor: Option<Bytes>,
    /// Compacted further while sweeping: one more lap.
    again: bool,
}

/// A view that a peer is reading piece by piece, kept while newer checkpoints are made.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(crate) view: Arc<View>,
    pub(crate) idle_checkpoints: u32,
}

/// One group's keys, leases and sessions.
#[derive(Debug)]
pub struct Store {
    pub(crate) options: StoreOptions,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) probe: Probe,
    pub(crate) data: Data,
    pub(crate) records: Records,
    sweep: Option<Sweep>,
    /// Swept away and perhaps still in the file.
    pub(crate) dead: Vec<Rev>,
    /// Something was applied or noted since the last checkpoint began.
    pub(crate) changed: bool,
    pub(crate) serving: Mutex<Option<Serving>>,
    /// Views kept for peers, oldest first.
    pub(crate) held: Vec<Arc<View>>,
    /// A job computes the digest of the file as it is.
    pub(crate) hashing: bool,
    pub(crate) installing: Option<Arc<Mutex<Installer>>>,
    /// Files that are no longer the store's, removed by the next job.
    pub(crate) garbage: Vec<FileName>,
    failure: OnceLock<StoreError>,
    /// The last entries, if somebody asks for them.
    pub(crate) tape: Option<crate::tape::Tape>,
}

impl Store {
    /// Opens the store in a node's directory, or makes it if there is none.
    ///
    /// # Errors
    /// The disk's; `Corrupt` (then [`Store::reset`]), `NewerFormat`, `OtherCluster`.
    pub fn open(options: StoreOptions, storage: Arc<dyn Storage>, probe: Probe) -> Result<Self, StoreError> {
        let Some(name) = current::read(&*storage, options.group)? else {
            current::refuse_orphans(&*storage, &options)?;
            return Self::reset(options, storage, probe);
        };
        let file = match TableFile::open(&*storage, name, options.cache) {
            Err(StoreError::Disk(dwcp_env::DiskError::NotFound(lost))) => {
                return Err(StoreError::corrupt(lost.as_str(), "it is not there, and CURRENT names it"));
            }
            opened => Arc::new(opened?),
        };
        let view = Arc::new(file.view()?);
        let data = Data::load(&view, &options)?;
        current::remove_others(&*storage, options.group, file.name())?;
        Ok(Self::over(options, storage, probe, data, view))
    }
    /// A new empty store, whatever was there before: for a node whose store is corrupt, before it
    /// installs a peer's checkpoint or applies the log from its beginning.
    ///
    /// # Errors
    /// The disk's.
    pub fn reset(options: StoreOptions, storage: Arc<dyn Storage>, probe: Probe) -> Result<Self, StoreError> {
        let name = current::next_name(&*storage, options.group)?;
        let file = Arc::new(TableFile::create(&*storage, name, options.cache)?);
        let data = Data::empty();
        let meta = data.meta(&options);
        file.write(true, |rows| seal_meta(rows, &meta))?;
        let view = Arc::new(file.view()?);
        current::write(&*storage, options.group, file.name())?;
        current::remove_others(&*storage, options.group, file.name())?;
        Ok(Self::over(options, storage, probe, data, view))
    }
    fn over(
        options: StoreOptions,
        storage: Arc<dyn Storage>,
        probe: Probe,
        data: Data,
        view: Arc<View>,
    ) -> Self {
        let mut store = Self {
            options,
            storage,
            probe,
            data,
            records: Records { fresh: Segment::default(), frozen: None, view, digest: None },
            sweep: None,
            dead: Vec::new(),
            changed: false,
            serving: Mutex::new(None),
            held: Vec::new(),
            hashing: false,
            installing: None,
            garbage: Vec::new(),
            failure: OnceLock::new(),
            tape: None,
        };
        store.sweep_again();
        store
    }
    /// The state is now that of another file.
    pub(crate) fn replace(&mut self, data: Data, view: Arc<View>, digest: Option<crate::digest::Digest>) {
        let old = std::mem::replace(&mut self.records.view, view);
        old.file().retire();
        self.garbage.push(old.file().name().clone());
        self.data = data;
        self.records.fresh = Segment::default();
        self.records.frozen = None;
        self.records.digest = digest;
        self.held.clear();
        self.hashing = false;
        self.dead.clear();
        self.changed = false;
        *self.serving.get_mut().expect("no holder panics") = None;
        self.sweep = None;
        self.sweep_again();
        self.restart_tape();
    }

    /// The checkpoint at this place, if it can still be read piece by piece: the newest, or the one that is being
    /// read, which is kept for as long as it is asked for.
    #[must_use]
    pub fn servable(&self, at: Position) -> Option<Checkpointed> {
        let serving = self.serving.lock().expect("no holder panics");
        let read = serving.as_ref().map(|s| &s.view);
        let view = read.into_iter().chain(&self.held).chain([&self.records.view]);
        let view = view.into_iter().find(|v| v.meta.at == Some(at))?;
        Some(Checkpointed { at, engine_record: view.meta.engine_record.clone() })
    }

    /// The revision of the last change; 1 if there was none.
    #[must_use]
    pub const fn revision(&self) -> Revision {
        self.data.revision
    }
    /// The last place in the log that this state holds.
    #[must_use]
    pub const fn position(&self) -> Option<dwcp_consensus::Position> {
        self.data.applied
    }
    /// The oldest revision that can be read; -1 if nothing was ever compacted.
    #[must_use]
    pub const fn compact_revision(&self) -> Revision {
        self.data.compact_revision
    }
    /// The highest time of all commands applied.
    #[must_use]
    pub const fn log_time(&self) -> WallTime {
        self.data.log_time
    }
    /// How many keys have any history kept.
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.data.index.len()
    }
    /// How many records wait in memory for a checkpoint: what the node's policy goes by.
    #[must_use]
    pub fn unwritten(&self) -> usize {
        self.records.fresh.len()
    }
    /// Whether a peer's checkpoint is on its way into it, or was when the transfer broke off.
    #[must_use]
    pub const fn is_installing(&self) -> bool {
        self.installing.is_some()
    }
    /// The length of the file, in bytes.
    #[must_use]
    pub fn file_size(&self) -> ByteCount {
        self.records.view.file().len()
    }
    /// How many sessions are open.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.data.sessions.len()
    }
    /// One lease.
    #[must_use]
    pub fn lease(&self, id: LeaseId) -> Option<LeaseView<'_>> {
        self.data.leases.get(id)
    }
    /// All leases, by name.
    pub fn leases(&self) -> impl Iterator<Item = LeaseView<'_>> {
        self.data.leases.iter()
    }
    pub(crate) const fn leases_mut(&mut self) -> &mut Leases {
        &mut self.data.leases
    }
    /// Why this replica can't go on, if so: ask after each step. It applies nothing any more; the
    /// node stops, and repairs at its next boot.
    #[must_use]
    pub fn failure(&self) -> Option<&StoreError> {
        self.failure.get()
    }
    /// The store can't be believed any more.
    pub(crate) fn fail(&self, error: StoreError) -> OpError {
        // Only the first failure counts; those behind it follow from it.
        let why = self.failure.get_or_init(|| error).to_string();
        OpError::Stopped { why }
    }
    /// The checkpoint that is in the file.
    pub(crate) fn durable(&self) -> Option<Checkpointed> {
        let meta = &self.records.view.meta;
        meta.at.map(|at| Checkpointed { at, engine_record: meta.engine_record.clone() })
    }
    /// Starts a sweep of the index, or one more lap of it.
    pub(crate) fn sweep_again(&mut self) {
        if self.data.compact_revision > 0 {
            match &mut self.sweep {
                Some(sweep) => sweep.again = true,
                None => self.sweep = Some(Sweep::default()),
            }
        }
    }
    /// A bounded part of the sweep.
    pub(crate) fn sweep_some(&mut self) {
        let Some(sweep) = &mut self.sweep else { return };
        sweep.cursor = self.data.index.sweep(
            self.data.compact_revision,
            sweep.cursor.as_ref(),
            SWEEP_PER_APPLY,
            self.options.bugs,
            &mut self.dead,
        );
        if sweep.cursor.is_none() && !std::mem::take(&mut sweep.again) {
            self.sweep = None;
        }
    }
    /// A checkpoint was made: transfers that have stopped asking lose their view.
    pub(crate) fn age_serving(&mut self) {
        let serving = self.serving.get_mut().expect("no holder panics");
        if let Some(s) = serving {
            s.idle_checkpoints += 1;
        }
        if serving.as_ref().is_some_and(|s| s.idle_checkpoints > SERVING_IDLE_CHECKPOINTS) {
            *serving = None;
        }
    }
}
