//! A group whose log has ended for good.

use crate::disk::{CrashDisk, flush};
use crate::model;
use bytes::Bytes;
use dwcp_env::{ByteCount, ClusterId, GroupId};
use dwcp_wal::{Record, Wal, WalConfig};

#[test]
fn an_ended_group_is_gone_with_its_segments_and_the_others_are_not() {
    let config = WalConfig { segment: ByteCount::kib(64), cluster: ClusterId(7), ..WalConfig::default() };
    let disk = CrashDisk::default();
    let (mut wal, _) = Wal::open(&disk.world(1), config).unwrap();
    let (stays, goes, mut ticket) = (GroupId(1), GroupId(9), 1);
    wal.append(goes, Record::Vote(Bytes::from_static(b"a vote")));
    wal.append(stays, Record::Vote(Bytes::from_static(b"another")));
    for index in 1..=400_u64 {
        wal.append(goes, Record::Entry { index, term: 1, payload: vec![7; 1_000].into() });
        flush(&disk, &mut wal, &mut ticket);
    }
    wal.append(stays, Record::Entry { index: 1, term: 1, payload: Bytes::from_static(b"x") });
    flush(&disk, &mut wal, &mut ticket);
    let before = wal.segments();
    assert!(before > 4, "{before}");
    wal.end(goes);
    flush(&disk, &mut wal, &mut ticket);
    wal.append(stays, Record::Note(Bytes::from_static(b"n")));
    flush(&disk, &mut wal, &mut ticket);
    assert!(wal.segments() < before, "its segments leave: {} of {before}", wal.segments());
    wal.idle_mark();
    flush(&disk, &mut wal, &mut ticket);
    for boot in 2..4 {
        let (_, found) = Wal::open(&disk.world(boot), config).unwrap();
        assert_eq!(found.damage, [], "boot {boot}");
        let groups = model::of_all(&found.groups);
        assert_eq!(groups.keys().copied().collect::<Vec<_>>(), [stays], "boot {boot}");
        assert_eq!(groups[&stays].entries.len(), 1);
    }
}

#[test]
fn a_number_used_again_begins_empty() {
    let config = WalConfig { cluster: ClusterId(7), ..WalConfig::default() };
    let disk = CrashDisk::default();
    let (mut wal, _) = Wal::open(&disk.world(1), config).unwrap();
    let (group, mut ticket) = (GroupId(9), 1);
    for index in 1..=9 {
        wal.append(group, Record::Entry { index, term: 1, payload: Bytes::from_static(b"old") });
    }
    wal.append(group, Record::Purge { term: 1, index: 4 });
    wal.end(group);
    wal.append(group, Record::Entry { index: 1, term: 1, payload: Bytes::from_static(b"new") });
    flush(&disk, &mut wal, &mut ticket);
    wal.idle_mark();
    flush(&disk, &mut wal, &mut ticket);
    let (_, found) = Wal::open(&disk.world(2), config).unwrap();
    let log = &found.groups[&group];
    assert_eq!((log.entries.len(), log.purged, log.last), (1, None, Some(1)));
    assert_eq!(&log.entries[0].payload[..], b"new");
}
