//! Opening the log: read, judge, write what is known anew, go on behind it.
//!
//! Nothing found is changed. What was read but may not be durable (the tail a dead process
//! left in the page cache; after a failed sync a second one proves nothing) is written anew
//! into a segment of its own, together with the state of every group. The segment gets its name
//! when it is durable, so that a crash in here leaves the log as it was.

use crate::batch::{Batch, BatchWriter, LogMarks, Recent};
use crate::config::WalConfig;
use crate::error::WalError;
use crate::format::{DATA, FORMAT, HeaderRead, IndexBuilder, Key, Kind, PAGE, SegmentHeader};
use crate::live::Live;
use crate::log::{Current, Position, Wal, segment_name};
use crate::merge::{History, Piece, Step, merge, oldest};
use crate::recovered::{Recovered, TailCut};
use crate::replay::{Replay, told};
use crate::scan::{Contents, FoundBatch, Trust, scan};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::disk::FileName;
use dwcp_env::{DiskError, Event, Probe, Purpose, Storage, World};

impl Wal {
    /// Reads back what is in the directory and opens a fresh segment behind it.
    ///
    /// Holds the log in memory once while it reads.
    ///
    /// # Errors
    /// See [`WalError`]; damage is not one, it is in [`Recovered::damage`].
    pub fn open(world: &World, config: WalConfig) -> Result<(Self, Recovered), WalError> {
        let config = config.bounded();
        let disk = |doing| move |error| WalError::disk(doing, config.segment.0, error);
        let contents = read_all(&*world.storage).map_err(disk("reading it at boot"))?;
        let contents = config.believed(contents);
        let salt = match check_headers(&contents, &config, &world.probe)? {
            Some(salt) => salt,
            None => world.seed.draw(Purpose::named("wal: salt"), 0, world.now.mono, 0),
        };
        let newest = contents.last().map_or(0, |c| c.seq);
        let blank: Vec<u64> = contents.iter().filter(|c| c.is_blank()).map(|c| c.seq).collect();
        let (mut pieces, oldest, stale) = scan_all(contents, salt, &config);
        let tails = Tails::of(&pieces);
        let history = merge(&mut pieces, oldest);
        let tail_cut = tails.judge(&history, &world.probe);
        let marks = LogMarks {
            era_first: history.fresh,
            era_prior: history.proven,
            oldest,
            unknown_lost: history.unknown_lost,
        };
        let (replay, recent) = replay(history, config.trust());
        let recovered = config.told(recovered(&replay, tail_cut, marks.unknown_lost, &world.probe));
        let marks = LogMarks { unknown_lost: recovered.unknown_lost, ..marks };

        let seq = newest + 1;
        let mut live = take_up(&replay, &pieces, seq);
        // Not only to save space: the next boot must not ask for a segment of which only the tail,
        // never synced, was left.
        let dead = live.trim(seq, false);
        let marks = LogMarks { oldest: live.oldest(), ..marks };
        let batch = boot_batch(&replay, &config, seq, salt, marks, &recent);
        let gone: Vec<u64> = stale.into_iter().chain(blank).chain(dead).collect();
        install(&*world.storage, seq, &batch, &gone).map_err(disk("opening it at boot"))?;
        let wal = go_on(world, config, salt, seq, batch, marks, recent, live);
        Ok((wal, recovered))
    }
}

fn sequence(name: &FileName) -> Option<u64> {
    let seq = name.as_str().strip_prefix("wal-")?.strip_suffix(".log")?.parse().ok()?;
    (segment_name(seq) == *name && seq > 0).then_some(seq)
}

/// Every segment of the directory, by sequence.
fn read_all(storage: &dyn Storage) -> Result<Vec<Contents>, DiskError> {
    let mut all = Vec::new();
    for name in storage.list()? {
        if let Some(seq) = sequence(&name) {
            all.push(Contents::read(seq, &*storage.open(&name)?)?);
        }
    }
    all.sort_by_key(|c| c.seq);
    Ok(all)
}

/// The directory's salt; `None` if there is no log yet.
fn check_headers(contents: &[Contents], config: &WalConfig, probe: &Probe) -> Result<Option<u64>, WalError> {
    let mut salt = None;
    for c in contents {
        let name = || String::from(segment_name(c.seq).as_str());
        let (header, bad_copy) = c.header();
        match header {
            HeaderRead::Newer(found) => {
                return Err(WalError::Newer { file: name(), found, ours: FORMAT });
            }
            HeaderRead::Valid(h) if h.cluster != config.cluster => {
                return Err(WalError::Cluster { file: name(), found: h.cluster, ours: config.cluster });
            }
            HeaderRead::Valid(h) => salt = Some(h.salt),
            HeaderRead::Bad => {}
        }
        if bad_copy && header != HeaderRead::Bad {
            probe.event(&Event::CorruptionFound { file: name(), offset: 0 });
        }
    }
    if salt.is_none() && !contents.is_empty() {
        return Err(WalError::Unreadable {
            why: format!("{} segments, none begins with one", contents.len()),
        });
    }
    Ok(salt)
}

/// Scans the segments that are part of the log; tells which is the oldest, and which are not.
fn scan_all(contents: Vec<Contents>, salt: u64, config: &WalConfig) -> (Vec<Piece>, u64, Vec<u64>) {
    let mut pieces = Vec::new();
    for c in contents.into_iter().filter(|c| !c.is_blank()) {
        let header = match c.header().0 {
            HeaderRead::Valid(header) => Some(header),
            HeaderRead::Newer(_) | HeaderRead::Bad => None,
        };
        let key = Key::new(header.map_or(salt, |h| h.salt), c.seq);
        let scan = scan(&c, key, config.trust());
        pieces.push(Piece { seq: c.seq, header, scan });
    }
    let oldest = oldest(&pieces);
    let stale = pieces.iter().map(|p| p.seq).filter(|seq| *seq < oldest).collect();
    pieces.retain(|p| p.seq >= oldest);
    (pieces, oldest, stale)
}

/// What a segment's end is judged by.
struct Tail {
    seq: u64,
    bad: Vec<(u64, u64)>,
    batches: Vec<FoundBatch>,
}

/// The ends of the segments, to be judged once the history is known.
struct Tails(Vec<Tail>);

impl Tails {
    fn of(pieces: &[Piece]) -> Self {
        let tail = |p: &Piece| Tail { seq: p.seq, bad: p.scan.bad.clone(), batches: p.scan.batches.clone() };
        Self(pieces.iter().map(tail).collect())
    }
    /// Tells of the unfinished write at the end of the log, if there is one, and of bad places
    /// elsewhere.
    fn judge(self, history: &History, probe: &Probe) -> Option<TailCut> {
        let last = self.0.last()?.seq;
        let (good, torn) = self.good_ends(history, last);
        let end_of = |seq: u64| good.get(&seq).copied().unwrap_or(DATA as u64);
        let mut cut = torn;
        for tail in &self.0 {
            for (begin, end) in &tail.bad {
                if *begin < end_of(tail.seq) {
                    let file = String::from(segment_name(tail.seq).as_str());
                    probe.event(&Event::CorruptionFound { file, offset: *begin });
                } else if tail.seq == last {
                    cut = Some(cut.map_or((*begin, *end), |c| (c.0.min(*begin), c.1.max(*end))));
                }
            }
        }
        let (begin, end) = cut?;
        let offset = begin.max(end_of(last));
        let bytes = end.saturating_sub(offset);
        probe.event(&Event::WalTailCut { bytes });
        Some(TailCut { file: segment_name(last).as_str().into(), offset, bytes })
    }
    /// Where in each segment the last thing kept ends; and the batch at the end of the log of which
    /// not all was kept.
    fn good_ends(&self, history: &History, last: u64) -> (BTreeMap<u64, u64>, Option<(u64, u64)>) {
        let mut good: BTreeMap<u64, u64> = BTreeMap::new();
        let mut good_to = |segment: u64, end: u64| {
            let to = good.entry(segment).or_insert(DATA as u64);
            *to = end.max(*to);
        };
        for step in &history.steps {
            if let Step::Read { found, .. } = step {
                good_to(found.segment, found.end());
            }
        }
        let mut torn = None;
        for tail in &self.0 {
            for b in tail.batches.iter().filter(|b| !history.is_void(b.header.first)) {
                let end = b.offset + b.header.size() as u64;
                if b.header.first + u64::from(b.header.count) <= history.accepted.saturating_add(1) {
                    good_to(tail.seq, end);
                } else if tail.seq == last {
                    torn = Some((b.offset, end));
                }
            }
        }
        (good, torn)
    }
}

/// Replays the history; keeps the names of the last records for the next batch's index.
fn replay(history: History, trust: Trust) -> (Replay, Recent) {
    let mut replay = Replay::trusting(trust);
    let mut index = IndexBuilder::default();
    let mut recent = Recent::default();
    let last = history.steps.iter().rev().find_map(|step| match step {
        Step::Read { found, proven: true } => Some(found.clone()),
        _ => None,
    });
    if let Some(last) = last {
        let batch = last.id.serial - u64::from(last.base);
        let reach = last.offset.saturating_sub(PAGE as u64);
        for step in &history.steps {
            if let Step::Read { found, proven: true } = step
                && found.segment == last.segment
                && (found.id.serial >= batch || found.offset >= reach)
            {
                index.push(found.id);
            }
        }
        recent.push(index.finish(), 0);
    }
    history.steps.into_iter().for_each(|step| replay.step(step));
    replay.finish();
    (replay, recent)
}

fn recovered(replay: &Replay, tail_cut: Option<TailCut>, unknown_lost: bool, probe: &Probe) -> Recovered {
    let recovered = Recovered {
        groups: replay.groups.iter().map(|(id, group)| (*id, group.log())).collect(),
        damage: replay.damage.iter().map(told).collect(),
        tail_cut,
        records: replay.records,
        unknown_lost: unknown_lost || replay.unknown,
    };
    for damage in &recovered.damage {
        let file = damage.file.clone().unwrap_or_default();
        probe.event(&Event::CorruptionFound { file, offset: damage.offset });
    }
    probe.sometimes("wal: tail cut", recovered.tail_cut.is_some());
    probe.sometimes("wal: damage found", !recovered.damage.is_empty());
    probe.sometimes("wal: unidentified records lost", replay.unknown);
    recovered
}

/// What of the log matters, with the tail where it will be.
fn take_up(replay: &Replay, pieces: &[Piece], boot: u64) -> Live {
    let mut live = Live::default();
    for seq in pieces.iter().map(|p| p.seq).chain([boot]) {
        live.add_segment(seq);
    }
    for (id, group) in &replay.groups {
        live.add_group(*id, group.state.clone());
        for (index, held) in &group.entries {
            live.add_entry(*id, *index, if held.proven { held.segment } else { boot });
        }
    }
    live
}

/// The segment that holds the state of every group, and the tail.
fn boot_batch(
    replay: &Replay,
    config: &WalConfig,
    seq: u64,
    salt: u64,
    marks: LogMarks,
    recent: &Recent,
) -> Batch {
    let header = SegmentHeader { cluster: config.cluster, seq, salt, first: marks.era_first, proven: 0 };
    let mut head = Vec::new();
    header.place(&mut head);
    let mut batch = BatchWriter::new(head, 0, Key::new(salt, seq), marks.era_first, 0, recent);
    for (id, group) in &replay.groups {
        batch.push(*id, Kind::State, 0, 0, &group.state.encode());
    }
    for (id, group) in &replay.groups {
        for (index, held) in group.entries.iter().filter(|(_, held)| !held.proven && config.rewrites()) {
            batch.push(*id, Kind::Entry, held.term, *index, &held.payload);
        }
    }
    let mut batch = batch.finish(marks);
    let mut head = Vec::new();
    SegmentHeader { proven: batch.next - 1, ..header }.place(&mut head);
    batch.data[..DATA].copy_from_slice(&head);
    batch
}

/// Makes the segment durable under its name; then removes what is no longer part of the log.
fn install(storage: &dyn Storage, seq: u64, batch: &Batch, gone: &[u64]) -> Result<(), DiskError> {
    dwcp_env::disk::replace(storage, &segment_name(seq), &batch.data)?;
    for seq in gone {
        storage.remove(&segment_name(*seq))?;
    }
    if gone.is_empty() { Ok(()) } else { storage.sync_dir() }
}

#[allow(clippy::too_many_arguments, reason = "one call, at the end of boot")]
fn go_on(
    world: &World,
    config: WalConfig,
    salt: u64,
    seq: u64,
    batch: Batch,
    marks: LogMarks,
    mut recent: Recent,
    live: Live,
) -> Wal {
    recent.push(batch.index, batch.size);
    let current = Current { seq, key: Key::new(salt, seq), pos: batch.data.len() as u64 };
    let position = Position {
        era_first: marks.era_first,
        era_prior: marks.era_prior,
        serial: batch.next,
        link: batch.link,
        recent,
    };
    Wal::new(config, world.probe.clone(), salt, marks.unknown_lost, current, position, live)
}

impl WalConfig {
    /// The settings within their bounds.
    fn bounded(mut self) -> Self {
        self.segment.0 = self.segment.0.clamp(Self::SEGMENT_MIN.0, 1 << 30);
        self.batch.0 = self.batch.0.clamp(PAGE as u64, 1 << 26);
        self
    }
}

/// The known bugs that can be planted here.
#[cfg(feature = "planted-bugs")]
impl WalConfig {
    const fn trust(&self) -> Trust {
        Trust { unchecked: self.bugs.checksum_unchecked, oldest_first: self.bugs.truncate_wrongly }
    }
    const fn rewrites(&self) -> bool {
        !self.bugs.boot_tail_not_rewritten
    }
    fn believed(&self, mut contents: Vec<Contents>) -> Vec<Contents> {
        if self.bugs.recovery_skips_last && contents.len() > 1 {
            contents.pop();
        }
        contents
    }
    fn told(&self, mut recovered: Recovered) -> Recovered {
        if self.bugs.damage_ignored {
            recovered.damage.clear();
            recovered.unknown_lost = false;
            for group in recovered.groups.values_mut() {
                let first = group.purged.map_or(1, |(_, index)| index + 1);
                let whole = group.entries.iter().zip(first..).take_while(|(e, i)| e.index == *i).count();
                group.entries.truncate(whole);
                group.last = group.entries.last().map(|e| e.index).or(group.purged.map(|p| p.1));
                (group.suspect, group.vote_lost) = (false, false);
            }
        }
        recovered
    }
}

#[cfg(not(feature = "planted-bugs"))]
#[allow(clippy::unused_self, reason = "with planted bugs it is used")]
impl WalConfig {
    const fn trust(&self) -> Trust {
        Trust { unchecked: false, oldest_first: false }
    }
    const fn rewrites(&self) -> bool {
        true
    }
    const fn believed(&self, contents: Vec<Contents>) -> Vec<Contents> {
        contents
    }
    const fn told(&self, recovered: Recovered) -> Recovered {
        recovered
    }
}
