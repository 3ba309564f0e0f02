//! Law: whatever happens to durable bytes, recovery neither panics nor invents, and what was
//! acknowledged is either recovered or reported.

use crate::disk::{CrashDisk, Dice, SECTOR, flush};
use crate::model::{self, Groups};
use bytes::Bytes;
use dwcp_env::disk::FileName;
use dwcp_env::{ByteCount, ClusterId, GroupId};
use dwcp_wal::{Lost, Record, Recovered, Wal, WalConfig, WalError};
use std::collections::{BTreeMap, BTreeSet};

/// Mutated logs tried.
const MUTATED: u64 = 10_000;
const PAGE: usize = 4096;

/// A log written, sealed and closed, and all that was ever in it.
struct Written {
    disk: CrashDisk,
    config: WalConfig,
    truth: Groups,
    /// Every version of every entry, and every vote and note.
    versions: BTreeSet<(GroupId, u64, u64, Bytes)>,
    small: BTreeSet<(GroupId, Bytes)>,
    /// Entries in the last batch.
    newest: BTreeSet<(GroupId, u64)>,
}

fn payload(dice: &mut Dice, longest: usize) -> Bytes {
    let len = dice.below(longest);
    (0..len).map(|_| dice.next() as u8).collect::<Vec<u8>>().into()
}

fn write(seed: u64, batches: u64, segment_kib: u64) -> Written {
    let config =
        WalConfig { segment: ByteCount::kib(segment_kib), cluster: ClusterId(7), ..WalConfig::default() };
    let disk = CrashDisk::default();
    let mut dice = Dice::new(seed);
    let (mut wal, _) = Wal::open(&disk.world(seed), config).unwrap();
    let mut ticket = 1;
    let mut w = Written {
        disk,
        config,
        truth: Groups::new(),
        versions: BTreeSet::new(),
        small: BTreeSet::new(),
        newest: BTreeSet::new(),
    };
    for term in 1..=batches {
        w.newest.clear();
        for _ in 0..1 + dice.below(5) {
            let group = GroupId(dice.below(3) as u32);
            let log = w.truth.get(&group).cloned().unwrap_or_default();
            let next = log.last.map_or(1, |l| l + 1);
            let record = match dice.below(12) {
                0 => Record::Vote(payload(&mut dice, 40)),
                1 => Record::Note(payload(&mut dice, 20)),
                2 if log.entries.len() > 2 => Record::Truncate { after: Some(next - 2) },
                3 if log.entries.len() > 4 => Record::Purge { term, index: next - 4 },
                _ => Record::Entry { index: next, term, payload: payload(&mut dice, 300) },
            };
            match &record {
                Record::Entry { index, payload, .. } => {
                    w.versions.insert((group, *index, term, payload.clone()));
                    w.newest.insert((group, *index));
                }
                Record::Vote(p) | Record::Note(p) => {
                    w.small.insert((group, p.clone()));
                }
                _ => {}
            }
            model::apply(&mut w.truth, group, &record);
            wal.append(group, record);
        }
        flush(&w.disk, &mut wal, &mut ticket);
    }
    assert!(wal.idle_mark());
    flush(&w.disk, &mut wal, &mut ticket);
    assert!(!wal.idle_mark());
    w
}

impl Written {
    /// What is wrong with a recovery, if anything is. `sealed`: at most one page was hit, so
    /// that nothing may hide behind a torn tail.
    fn judge(&self, found: &Recovered, sealed: bool) -> Result<(), String> {
        for (id, log) in &found.groups {
            for e in &log.entries {
                if !self.versions.contains(&(*id, e.index, e.term, e.payload.clone())) {
                    return Err(format!("{id} has an entry that was never written: {e:?}"));
                }
            }
            for small in log.vote.iter().chain(&log.note) {
                if !self.small.contains(&(*id, small.clone())) {
                    return Err(format!("{id} has a vote or note that was never written: {small:?}"));
                }
            }
        }
        let cut = !sealed && found.tail_cut.is_some();
        let lost: BTreeMap<(GroupId, u64), Lost> = found
            .damage
            .iter()
            .filter_map(|d| match d.lost {
                Lost::Entry { index, .. } => Some(((d.group?, index), d.lost)),
                Lost::Vote | Lost::Unknown { .. } => None,
            })
            .collect();
        for (id, truth) in self.truth.iter().filter(|(id, _)| !found.suspect(**id)) {
            let Some(log) = found.groups.get(id) else {
                if cut && truth.entries.keys().all(|i| self.newest.contains(&(*id, *i))) {
                    continue;
                }
                return Err(format!("{id} is gone without a word"));
            };
            let log = model::of(log);
            if log.vote != truth.vote && found.may_vote(*id) && !cut {
                return Err(format!("{id} votes {:?}, its vote was {:?}", log.vote, truth.vote));
            }
            for (index, (term, payload)) in &truth.entries {
                let known = match lost.get(&(*id, *index)) {
                    Some(Lost::Entry { term: t, crc, .. }) => {
                        t.is_none_or(|t| t == *term) && crc.is_none_or(|c| c == crc32fast::hash(payload))
                    }
                    _ => log.entries.get(index) == Some(&(*term, payload.clone())),
                };
                if !(known || cut && self.newest.contains(&(*id, *index))) {
                    return Err(format!("{id} has lost its entry {index} of term {term} without a word"));
                }
            }
            let more = log.entries.keys().find(|i| !truth.entries.contains_key(i));
            if let Some(index) = more.filter(|_| !cut) {
                return Err(format!("{id} has again an entry {index} that was truncated or purged"));
            }
        }
        Ok(())
    }
}

#[test]
fn a_flipped_byte_is_repaired_reported_or_irrelevant() {
    let w = write(11, 5, 32);
    let mut reported = 0;
    for file in w.disk.files() {
        let bytes = w.disk.bytes(&file);
        let used = bytes.iter().rposition(|b| *b != 0).map_or(8, |last| last + 600);
        for at in 0..used.min(bytes.len()) {
            // Every bit of a header's copy would only repeat itself.
            let disk = w.disk.copy();
            disk.alter(&file, |b| b[at] ^= 1 << (at % 8));
            let (_, found) = Wal::open(&disk.world(1), w.config).unwrap();
            let verdict = w.judge(&found, true);
            assert_eq!(verdict, Ok(()), "byte {at} of {file:?}: {:?} {:?}", found.damage, found.tail_cut);
            assert!(!found.unknown_lost, "one byte leaves every record named: {at} of {file:?}");
            reported += u32::from(!found.damage.is_empty());
        }
    }
    assert!(reported > 200, "{reported}");
}

#[test]
fn a_lost_page_is_reported() {
    for seed in 0..6 {
        let w = write(seed, 60, 32);
        for file in w.disk.files() {
            for page in 0..w.disk.bytes(&file).len() / PAGE {
                for unreadable in [false, true] {
                    let disk = w.disk.copy();
                    if unreadable {
                        (0..PAGE / SECTOR).for_each(|s| disk.lose_sector(&file, page * PAGE / SECTOR + s));
                    } else {
                        disk.alter(&file, |b| b[page * PAGE..(page + 1) * PAGE].fill(0));
                    }
                    let (_, found) = Wal::open(&disk.world(1), w.config).unwrap();
                    let verdict = w.judge(&found, true);
                    assert_eq!(verdict, Ok(()), "seed {seed} page {page} of {file:?}: {:#?}", found.damage);
                    let votes_kept = |(id, t): (&GroupId, &model::Group)| {
                        found.groups.get(id).is_some_and(|g| g.vote == t.vote && !g.vote_lost)
                    };
                    assert!(
                        w.truth.iter().all(votes_kept),
                        "seed {seed} page {page}: votes have a second copy"
                    );
                    assert!(!found.unknown_lost, "seed {seed} page {page} of {file:?}: {:#?}", found.damage);
                }
            }
        }
    }
}

/// Harms a log in one of the ways disks have.
/// Tells where, and whether no more than a sector was hit.
fn mutate(w: &Written, disk: &CrashDisk, dice: &mut Dice) -> (String, bool) {
    let files: Vec<FileName> = disk.files();
    let file = files[dice.below(files.len())].clone();
    let len = disk.bytes(&file).len();
    let used = disk.bytes(&file).iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
    if len == 0 || used == 0 {
        return (format!("{file:?} is empty"), true);
    }
    let at = dice.below(used);
    let sector = at / SECTOR * SECTOR;
    let sector_end = (sector + SECTOR).min(len);
    let blow = dice.below(8);
    match blow {
        0 => disk.alter(&file, |b| b[at] ^= 1 << dice.below(8)),
        1 => disk.alter(&file, |b| b[sector..sector_end].fill(0)),
        2 => disk.alter(&file, |b| b[sector..sector_end].iter_mut().for_each(|x| *x = dice.next() as u8)),
        3 => disk.lose_sector(&file, sector / SECTOR),
        4 => {
            // A misdirected write: another sector's bytes, perhaps of another file.
            let other = w.disk.bytes(&files[dice.below(files.len())]);
            let from = dice.below(other.len().div_ceil(SECTOR)) * SECTOR;
            let n = (other.len() - from).min(sector_end - sector);
            disk.alter(&file, |b| b[sector..sector + n].copy_from_slice(&other[from..from + n]));
        }
        5 => disk.alter(&file, |b| b.truncate(at)),
        6 => {
            let end = (at + dice.below(3 * PAGE)).min(len);
            disk.alter(&file, |b| b[at..end].fill(dice.next() as u8));
        }
        _ if files.len() > 2 => disk.remove_file(&file),
        _ => {}
    }
    (format!("{file:?} at {at}, blow {blow}"), blow < 5)
}

#[test]
fn ten_thousand_mutated_logs() {
    let logs: Vec<Written> = (0..8).map(|seed| write(100 + seed, 10 + 6 * seed, 32)).collect();
    let (mut refused, mut damaged, mut cut) = (0, 0, 0);
    for n in 0..MUTATED {
        let mut dice = Dice::new(n);
        let w = &logs[dice.below(logs.len())];
        let disk = w.disk.copy();
        let blows = if n % 2 == 0 { 1 } else { 1 + dice.below(6) };
        let what: Vec<(String, bool)> = (0..blows).map(|_| mutate(w, &disk, &mut dice)).collect();
        let whole_end = end_is_whole(w, &disk) || blows == 1 && what[0].1;
        match Wal::open(&disk.world(n), w.config) {
            Ok((_, found)) => {
                damaged += u32::from(!found.damage.is_empty());
                cut += u32::from(found.tail_cut.is_some());
                if whole_end {
                    assert_eq!(w.judge(&found, true), Ok(()), "log {n}: {what:?} {:#?}", found.damage);
                }
                let (_, again) = Wal::open(&disk.world(n + 1), w.config).unwrap();
                assert_eq!(again.groups, found.groups, "log {n}: opened again");
                assert_eq!(again.tail_cut, None, "log {n}: opened again");
                if whole_end {
                    assert_eq!(w.judge(&again, true), Ok(()), "log {n}, opened again: {what:?}");
                }
            }
            Err(WalError::Unreadable { .. }) => refused += 1,
            Err(error) => panic!("log {n}: {error}"),
        }
    }
    assert!(
        damaged > MUTATED as u32 / 4 && cut > 10 && refused < MUTATED as u32 / 10,
        "{damaged} {cut} {refused}"
    );
}

/// Whether the newest segment is untouched: without its seal no log can know where it ended.
fn end_is_whole(w: &Written, disk: &CrashDisk) -> bool {
    let blank = |f: &FileName| w.disk.bytes(f).iter().all(|b| *b == 0);
    let newest = w.disk.files().into_iter().rfind(|f| !blank(f)).unwrap();
    disk.files().contains(&newest)
        && disk.bytes(&newest) == w.disk.bytes(&newest)
        && !disk.has_lost_sectors(&newest)
}

#[test]
fn what_was_lost_is_repaired_for_good() {
    let w = write(11, 20, 32);
    let file = w.disk.files()[1].clone();
    let disk = w.disk.copy();
    disk.alter(&file, |b| b[3 * PAGE..4 * PAGE].fill(0));
    let (mut wal, found) = Wal::open(&disk.world(1), w.config).unwrap();
    assert!(!found.damage.is_empty());
    for damage in &found.damage {
        let (Some(group), Lost::Entry { index, term: Some(term), .. }) = (damage.group, damage.lost) else {
            panic!("{damage:?}")
        };
        let (_, payload) = &w.truth[&group].entries[&index];
        wal.repair(group, index, term, payload.clone());
        wal.healed(group);
    }
    flush(&disk, &mut wal, &mut 1);
    let (_, found) = Wal::open(&disk.world(2), w.config).unwrap();
    assert_eq!(found.damage, []);
    assert_eq!(model::of_all(&found.groups), w.truth);
}

/// A log of one group: a vote, then entries, a batch each; and where in the file a text stands.
fn votes_and_entries() -> (CrashDisk, WalConfig, FileName) {
    let config = WalConfig { segment: ByteCount::kib(64), cluster: ClusterId(7), ..WalConfig::default() };
    let disk = CrashDisk::default();
    let (mut wal, _) = Wal::open(&disk.world(1), config).unwrap();
    let mut ticket = 1;
    wal.append(GroupId(1), Record::Vote(Bytes::from_static(b"an early vote")));
    flush(&disk, &mut wal, &mut ticket);
    wal.append(GroupId(1), Record::Vote(Bytes::from_static(b"the latest vote")));
    flush(&disk, &mut wal, &mut ticket);
    for index in 1..=20_u64 {
        wal.append(GroupId(1), Record::Entry { index, term: 1, payload: vec![index as u8; 700].into() });
        flush(&disk, &mut wal, &mut ticket);
    }
    wal.idle_mark();
    flush(&disk, &mut wal, &mut ticket);
    let file = disk.files()[0].clone();
    (disk, config, file)
}

fn places(disk: &CrashDisk, file: &FileName, text: &[u8]) -> Vec<usize> {
    disk.bytes(file).windows(text.len()).enumerate().filter(|(_, w)| *w == text).map(|(at, _)| at).collect()
}

#[test]
fn a_vote_lost_twice_forbids_voting_until_a_new_one() {
    let (disk, config, file) = votes_and_entries();
    let copies = places(&disk, &file, b"the latest vote");
    assert_eq!(copies.len(), 2);
    assert!(copies[1] - copies[0] >= PAGE, "{copies:?}");
    for at in &copies {
        disk.alter(&file, |b| b[*at] ^= 4);
    }
    for boot in 2..4 {
        let (_, found) = Wal::open(&disk.world(boot), config).unwrap();
        assert!(!found.may_vote(GroupId(1)) && !found.suspect(GroupId(1)));
        assert_eq!(found.damage.iter().filter(|d| d.lost == Lost::Vote).count(), 1, "{:?}", found.damage);
        assert_eq!(found.groups[&GroupId(1)].vote.as_deref(), Some(&b"an early vote"[..]));
        assert_eq!(found.groups[&GroupId(1)].entries.len(), 20);
    }
    let (mut wal, _) = Wal::open(&disk.world(4), config).unwrap();
    wal.append(GroupId(1), Record::Vote(Bytes::from_static(b"a vote far above")));
    flush(&disk, &mut wal, &mut 1);
    let (_, found) = Wal::open(&disk.world(5), config).unwrap();
    assert!(found.may_vote(GroupId(1)));
    assert_eq!(found.damage, []);
}

#[test]
fn what_nothing_names_makes_groups_suspect_until_they_are_healed() {
    let (disk, config, file) = votes_and_entries();
    let from = places(&disk, &file, &[5; 700])[0];
    let to = places(&disk, &file, &[15; 700])[0];
    disk.alter(&file, |b| b[from..to].fill(0));
    for boot in 2..4 {
        let (_, found) = Wal::open(&disk.world(boot), config).unwrap();
        assert!(found.suspect(GroupId(1)) && !found.may_vote(GroupId(1)));
        assert!(found.suspect(GroupId(9)), "a group that may have been lost whole");
        let holes = found.damage.iter().filter(|d| matches!(d.lost, Lost::Entry { .. })).count();
        assert_eq!(found.groups[&GroupId(1)].entries.len() + holes, 20, "boot {boot}: {:?}", found.damage);
    }
    let (mut wal, found) = Wal::open(&disk.world(4), config).unwrap();
    for damage in &found.damage {
        if let Lost::Entry { index, .. } = damage.lost {
            wal.repair(GroupId(1), index, 1, vec![index as u8; 700].into());
        }
    }
    wal.healed(GroupId(1));
    wal.healed(GroupId(9));
    flush(&disk, &mut wal, &mut 1);
    let (_, found) = Wal::open(&disk.world(5), config).unwrap();
    assert!(found.may_vote(GroupId(1)) && found.may_vote(GroupId(9)) && !found.may_vote(GroupId(10)));
    assert!(found.damage.iter().all(|d| d.group.is_none()), "{:?}", found.damage);
    assert_eq!(found.groups[&GroupId(1)].entries.len(), 20);
}

/// Who cuts off what lies behind a hole makes the log look whole: that it is not is told, and kept until it is healed.
#[test]
fn a_group_that_is_told_suspect_stays_so_through_crashes_and_segments() {
    for lost in [false, true] {
        let (disk, config, file) = votes_and_entries();
        let (mut wal, _) = Wal::open(&disk.world(2), config).unwrap();
        let mut ticket = 1;
        wal.append(GroupId(1), Record::Truncate { after: Some(18) });
        wal.suspect(GroupId(1));
        wal.append(GroupId(1), Record::Truncate { after: Some(16) });
        wal.suspect(GroupId(2));
        assert_eq!(wal.backlog().0, 0);
        flush(&disk, &mut wal, &mut ticket);
        wal.append(GroupId(1), Record::Entry { index: 17, term: 2, payload: vec![99; 700].into() });
        flush(&disk, &mut wal, &mut ticket);
        wal.idle_mark();
        flush(&disk, &mut wal, &mut ticket);
        let written =
            disk.files().into_iter().rfind(|f| *f != file && disk.bytes(f).iter().any(|b| *b != 0)).unwrap();
        if lost {
            // Both copies of what was told, and nothing else: the vote stands in no other record of that batch.
            let told = places(&disk, &written, b"the latest vote");
            for at in &told[told.len() - 2..] {
                disk.alter(&written, |b| b[*at] ^= 4);
            }
        }
        for boot in 3..5 {
            let (mut wal, found) = Wal::open(&disk.world(boot), config).unwrap();
            assert!(found.suspect(GroupId(1)) && !found.may_vote(GroupId(1)), "{lost} {boot}");
            assert!(found.suspect(GroupId(2)) && !found.suspect(GroupId(3)), "{lost} {boot}");
            let log = &found.groups[&GroupId(1)];
            assert_eq!(
                (log.last, log.entries.len(), log.vote.as_deref()),
                (Some(17), 17, Some(&b"the latest vote"[..]))
            );
            // More than a segment goes by: its head says it again.
            for index in 18..=160_u64 {
                wal.append(GroupId(1), Record::Entry { index, term: 2, payload: vec![7; 700].into() });
                flush(&disk, &mut wal, &mut ticket);
            }
            wal.append(GroupId(1), Record::Truncate { after: Some(17) });
            flush(&disk, &mut wal, &mut ticket);
        }
        let (mut wal, _) = Wal::open(&disk.world(5), config).unwrap();
        wal.healed(GroupId(1));
        flush(&disk, &mut wal, &mut ticket);
        let (_, found) = Wal::open(&disk.world(6), config).unwrap();
        assert!(found.may_vote(GroupId(1)) && found.suspect(GroupId(2)), "{lost}: one is healed");
        assert_eq!(found.groups[&GroupId(1)].entries.len(), 17);
    }
}
