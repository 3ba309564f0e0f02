//! From the pieces of all segments to one history: what was written, in order, and what of it
//! is missing.
//!
//! **What was durable.** A batch is written when all before its first record is durable, and
//! every record and batch says which that is. The highest such statement that checks is the
//! line: what lies at or below it was durable, so what is missing there is damage; what
//! lies above belongs to the one last request, which may never have been acknowledged. Of that
//! one the beginning that checks is kept and the rest is cut.
//!
//! **Void serials.** Each incarnation writes the kept part of the tail anew and goes on with
//! fresh serials. Every batch says which serials its incarnation skipped; they are neither
//! history nor damage.

use crate::format::{Ident, SegmentHeader};
use crate::scan::{Found, FoundBatch, Scan};
use alloc::vec::Vec;

/// One segment, as read.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) seq: u64,
    pub(crate) header: Option<SegmentHeader>,
    pub(crate) scan: Scan,
}

/// Where something is, or about where it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

/// One step of the history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A record; `proven` if it was durable before the last request.
    Read { found: Found, proven: bool },
    /// A record is missing, and this is what it was.
    Lost { id: Ident, place: Place },
    /// Records are missing.
    Unknown { records: u64, place: Place },
}

/// The history.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) steps: Vec<Step>,
    /// The last serial that was durable for certain.
    pub(crate) proven: u64,
    /// The last serial kept.
    pub(crate) accepted: u64,
    /// A serial above all that was ever seen.
    pub(crate) fresh: u64,
    /// A batch says that unidentified records were lost in an earlier life.
    pub(crate) unknown_lost: bool,
    voids: Vec<(u64, u64)>,
}

/// The oldest segment that is still part of the log. A batch is believed only if it was durable
/// or is whole: what made the older segments dead may be in its missing part.
pub(crate) fn oldest(pieces: &[Piece]) -> u64 {
    let batches: Vec<FoundBatch> = pieces.iter().flat_map(|p| p.scan.batches.iter().copied()).collect();
    let records = || pieces.iter().flat_map(|p| &p.scan.records);
    let proven = proven(pieces, &batches, records());
    let is_whole = |b: &FoundBatch| {
        let serials = b.header.first..b.header.first.saturating_add(u64::from(b.header.count));
        if serials.end <= proven.saturating_add(1) {
            return true;
        }
        let whole = records().filter(|f| serials.contains(&f.id.serial) && f.payload.is_some());
        let mut whole: Vec<u64> = whole.map(|f| f.id.serial).collect();
        whole.sort_unstable();
        whole.dedup();
        whole.len() == b.header.count as usize
    };
    let void =
        |serial: u64| batches.iter().any(|b| b.header.era_prior < serial && serial < b.header.era_first);
    let mut oldest = 0;
    for batch in batches.iter().filter(|b| !void(b.header.first)) {
        if batch.header.oldest > oldest && is_whole(batch) {
            oldest = batch.header.oldest;
        }
    }
    oldest
}

/// Orders the pieces of the segments that are part of the log.
pub(crate) fn merge(pieces: &mut [Piece], oldest: u64) -> History {
    let batches: Vec<FoundBatch> = pieces.iter().flat_map(|p| p.scan.batches.iter().copied()).collect();
    let mut found: Vec<Found> =
        pieces.iter_mut().flat_map(|p| core::mem::take(&mut p.scan.records)).collect();
    let mut idents: Vec<Ident> =
        pieces.iter_mut().flat_map(|p| core::mem::take(&mut p.scan.idents)).collect();
    let mut voids: Vec<(u64, u64)> =
        batches.iter().map(|b| (b.header.era_prior, b.header.era_first)).collect();
    voids.sort_unstable();
    voids.dedup();
    let mut history = History {
        steps: Vec::with_capacity(found.len()),
        proven: proven(pieces, &batches, found.iter()),
        accepted: 0,
        fresh: fresh(pieces, &batches, &found, &idents),
        unknown_lost: batches.iter().max_by_key(|b| b.header.first).is_some_and(|b| b.header.unknown_lost),
        voids,
    };
    let start = start(pieces, &found, oldest);
    found.retain(|f| !history.is_void(f.id.serial));
    found.sort_by_key(|f| (f.id.serial, f.payload.is_none(), f.copy, f.segment));
    found.dedup_by_key(|f| f.id.serial);
    drop_unlinked(&mut found, &batches);
    idents.sort_unstable_by_key(|id| id.serial);
    idents.dedup_by_key(|id| id.serial);
    history.walk(found, &idents, start);
    history
}

fn proven<'a>(pieces: &[Piece], batches: &[FoundBatch], found: impl Iterator<Item = &'a Found>) -> u64 {
    let headers = pieces.iter().filter_map(|p| p.header).map(|h| h.proven);
    let batches = batches.iter().map(|b| b.header.first.saturating_sub(1));
    let records = found.map(|f| f.id.serial.saturating_sub(u64::from(f.base) + 1));
    headers.chain(batches).chain(records).max().unwrap_or(0)
}

fn fresh(pieces: &[Piece], batches: &[FoundBatch], found: &[Found], idents: &[Ident]) -> u64 {
    let headers = pieces.iter().filter_map(|p| p.header).map(|h| h.first.max(h.proven));
    let batches = batches.iter().map(|b| b.header.first.saturating_add(u64::from(b.header.count)));
    let records = found.iter().map(|f| f.id.serial);
    let idents = idents.iter().map(|id| id.serial);
    headers.chain(batches).chain(records).chain(idents).max().unwrap_or(0).saturating_add(1)
}

/// The first serial of the log, where it begins, and whether something before that is missing.
struct Start {
    serial: u64,
    place: Place,
    front_lost: bool,
}

fn start(pieces: &[Piece], found: &[Found], oldest: u64) -> Start {
    let first_of = |p: &Piece| {
        let header = p.header.map(|h| h.first);
        let batches = p.scan.batches.iter().map(|b| b.header.first);
        let records = found.iter().filter(|f| f.segment == p.seq);
        let records = records.map(|f| f.id.serial.saturating_sub(u64::from(f.base)));
        header.or_else(|| batches.chain(records).min())
    };
    let begins = pieces.iter().enumerate().find_map(|(i, p)| first_of(p).map(|serial| (i, p.seq, serial)));
    match begins {
        Some((i, segment, serial)) => {
            let front_lost = i > 0 || (oldest > 0 && segment > oldest);
            Start { serial, place: Place { segment, offset: 0 }, front_lost }
        }
        None => Start { serial: 1, place: Place { segment: 0, offset: 0 }, front_lost: !pieces.is_empty() },
    }
}

/// A record whose successor was linked to another one is not what was written there.
fn drop_unlinked(found: &mut Vec<Found>, batches: &[FoundBatch]) {
    let begins_era = |serial| batches.iter().any(|b| b.header.era_first == serial);
    let wrong: Vec<u64> = found
        .windows(2)
        .filter(|w| w[0].id.serial.checked_add(1) == Some(w[1].id.serial) && !w[0].copy)
        .filter(|w| w[1].link != w[0].check && !begins_era(w[1].id.serial))
        .map(|w| w[0].id.serial)
        .collect();
    if !wrong.is_empty() {
        found.retain(|f| wrong.binary_search(&f.id.serial).is_err());
    }
}

impl History {
    /// Whether an incarnation skipped this serial.
    pub(crate) fn is_void(&self, serial: u64) -> bool {
        self.voids.iter().any(|(prior, first)| *prior < serial && serial < *first)
    }
    /// The first serial from here on that is not void.
    fn skip_void(&self, mut serial: u64) -> u64 {
        while let Some((_, first)) =
            self.voids.iter().find(|(prior, first)| *prior < serial && serial < *first)
        {
            serial = *first;
        }
        serial
    }
    fn walk(&mut self, found: Vec<Found>, idents: &[Ident], start: Start) {
        let mut place = start.place;
        if start.front_lost {
            self.steps.push(Step::Unknown { records: 0, place });
        }
        let mut expect = start.serial;
        self.accepted = start.serial.saturating_sub(1);
        for found in found.into_iter().filter(|f| f.id.serial >= start.serial) {
            let serial = found.id.serial;
            let proven = serial <= self.proven;
            self.lose(expect, serial.min(self.proven.saturating_add(1)), idents, place);
            expect = self.skip_void(expect.max(self.proven.saturating_add(1).min(serial)));
            place = Place { segment: found.segment, offset: found.offset };
            match (proven, found.payload.is_some()) {
                (true, false) => self.steps.push(Step::Lost { id: found.id, place }),
                (false, _) if serial != expect || found.payload.is_none() => return,
                _ => {
                    place.offset = found.end();
                    self.steps.push(Step::Read { found, proven });
                }
            }
            self.accepted = serial;
            expect = serial.saturating_add(1);
        }
        self.lose(expect, self.proven.saturating_add(1), idents, place);
        self.accepted = self.accepted.max(self.proven);
    }
    /// Notes that the serials `from..to` are missing, but for those that are void.
    fn lose(&mut self, mut from: u64, to: u64, idents: &[Ident], place: Place) {
        while from < to {
            from = self.skip_void(from);
            let void_ahead = self.voids.iter().filter(|v| v.0 >= from && v.0.saturating_add(1) < v.1);
            let end = void_ahead.map(|v| v.0.saturating_add(1)).min().unwrap_or(to).min(to);
            if from >= end {
                return;
            }
            let known = &idents[idents.partition_point(|id| id.serial < from)..];
            let known = &known[..known.partition_point(|id| id.serial < end)];
            let unknown = (end - from) - known.len() as u64;
            if unknown > 0 {
                self.steps.push(Step::Unknown { records: unknown, place });
            }
            self.steps.extend(known.iter().map(|id| Step::Lost { id: *id, place }));
            from = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{BatchHeader, Kind};
    use bytes::Bytes;
    use dwcp_env::GroupId;

    fn found(serial: u64, check: u32, link: u32) -> Found {
        let id = Ident { serial, kind: Kind::Entry, group: GroupId(1), term: 1, index: serial, sum: 0 };
        let payload = Some(Bytes::new());
        Found { id, copy: false, base: 0, link, check, segment: 1, offset: 512 * serial, payload }
    }

    fn history(records: Vec<Found>, era: (u64, u64)) -> Vec<(char, u64)> {
        let header = BatchHeader {
            first: 1,
            era_first: era.1,
            era_prior: era.0,
            oldest: 1,
            count: 0,
            index_len: 0,
            body_len: 0,
            copies_at: 0,
            copies_len: 0,
            unknown_lost: false,
        };
        let batches = Vec::from([FoundBatch { header, offset: 0 }]);
        let scan = Scan { batches, records, ..Scan::default() };
        let steps = merge(&mut [Piece { seq: 1, header: None, scan }], 1).steps;
        let told = steps.into_iter().map(|step| match step {
            Step::Read { found, .. } => ('r', found.id.serial),
            Step::Lost { id, .. } => ('l', id.serial),
            Step::Unknown { records, .. } => ('u', records),
        });
        told.collect()
    }

    #[test]
    fn a_record_that_its_successor_was_not_linked_to_is_lost() {
        let good = Vec::from([found(1, 10, 0), found(2, 20, 10), found(3, 30, 20)]);
        assert_eq!(history(good, (0, 1)), [('r', 1), ('r', 2), ('r', 3)]);
        let stale = Vec::from([found(1, 10, 0), found(2, 21, 10), found(3, 30, 20)]);
        assert_eq!(history(stale, (0, 1)), [('r', 1), ('u', 1), ('r', 3)]);
    }

    #[test]
    fn void_serials_are_neither_read_nor_lost() {
        let records = Vec::from([found(1, 10, 0), found(3, 30, 9), found(7, 70, 0), found(8, 80, 70)]);
        assert_eq!(history(records.clone(), (1, 7)), [('r', 1), ('r', 7), ('r', 8)]);
        assert_eq!(history(records, (0, 1)), [('r', 1), ('u', 1), ('r', 3), ('u', 3), ('r', 7), ('r', 8)]);
    }
}
