//! The directory: a disk that fails, files that are not ours, files without a name.

use super::replica::{Replica, open, options};
use crate::StoreError;
use crate::checkpoint::{FORMAT, seal_meta};
use crate::record::seal;
use crate::table::TableFile;
use dwcp_consensus::StateMachine;
use dwcp_env::disk::{FileName, Storage};
use dwcp_env::{DiskError, GroupId};

fn file(name: &str) -> FileName {
    FileName::new(name).unwrap()
}

#[test]
fn a_disk_that_fails_in_a_checkpoint_stops_the_replica_and_harms_nothing() {
    for operations in 0..12 {
        let mut replica = Replica::new();
        replica.put("a", "1");
        replica.checkpoint();
        replica.put("a", "2");
        replica.disk.fail_after(operations);
        let done = (replica.store.checkpoint().unwrap().run)();
        if replica.store.checkpoint_done(Some(done)).is_ok() {
            continue;
        }
        assert_eq!(replica.store.failure(), Some(&StoreError::Disk(DiskError::Stopped)));
        let command = replica.log[0].0.clone();
        let answer = replica.store.apply(super::replica::position(99), &command);
        assert!(answer.unwrap_err().to_string().contains("stopped"));
        assert!(replica.store.checkpoint().is_none());
        assert!(replica.get("a", 0).is_ok(), "what is in memory can still be read");
        replica.crash(operations);
        assert_eq!(replica.get("a", 0).unwrap().unwrap().value, "2");
    }
}

#[test]
fn a_lost_job_stops_the_replica() {
    let mut replica = Replica::new();
    replica.put("a", "1");
    let _lost = replica.store.checkpoint();
    assert!(replica.store.checkpoint_done(None).is_err());
    assert!(replica.store.failure().is_some());
}

#[test]
fn the_leftover_of_a_first_start_is_removed_and_data_without_a_name_is_not() {
    let mut replica = Replica::new();
    replica.disk.remove(&file("g0-CURRENT")).unwrap();
    assert_eq!(open(options(), &replica.disk).unwrap().revision(), 1);
    replica = Replica::new();
    replica.put("a", "1");
    replica.checkpoint();
    replica.disk.remove(&file("g0-CURRENT")).unwrap();
    drop(replica.store);
    let error = open(options(), &replica.disk).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { why, .. } if why.contains("missing")), "{error}");
    assert!(replica.disk.open(&file("g0-state-1.redb")).is_ok());
}

#[test]
fn a_machine_that_goes_down_at_its_first_start_starts_again() {
    for operations in 0..60 {
        let disk = crate::memory::MemoryDisk::new();
        disk.fail_after(operations);
        let _failed_or_not = open(options(), &disk);
        let store = open(options(), &disk.crashed(operations));
        assert_eq!(store.unwrap().revision(), 1, "after {operations}");
    }
}

#[test]
fn groups_share_a_directory() {
    let mut replica = Replica::new();
    replica.put("a", "1");
    replica.checkpoint();
    let mut other = options();
    other.group = GroupId(1);
    assert_eq!(open(other.clone(), &replica.disk).unwrap().revision(), 1);
    assert_eq!(open(options(), &replica.disk).unwrap().revision(), 2);
    // One under the name of another is noticed.
    replica.disk.rename(&file("g0-state-1.redb"), &file("g1-state-1.redb")).unwrap();
    let error = open(other, &replica.disk).unwrap_err();
    assert!(matches!(&error, StoreError::Corrupt { why, .. } if why.contains("g0, not g1")), "{error}");
}

#[test]
fn a_newer_format_is_named_and_left_alone() {
    let mut replica = Replica::new();
    replica.put("a", "1");
    replica.checkpoint();
    drop(replica.store);
    let state = TableFile::open(&*replica.disk, file("g0-state-1.redb"), options().cache).unwrap();
    let meta = std::sync::Arc::new(state).view().unwrap().meta.clone();
    let state = TableFile::open(&*replica.disk, file("g0-state-1.redb"), options().cache).unwrap();
    let mut body = meta.encode();
    body[..4].copy_from_slice(&(FORMAT + 1).to_le_bytes());
    state
        .write(true, |rows| {
            rows.state.insert(&b"m"[..], &seal(b"m", &body)[..])?;
            Ok(())
        })
        .unwrap();
    drop(state);
    let newer = StoreError::NewerFormat { found: FORMAT + 1, known: FORMAT };
    assert_eq!(open(options(), &replica.disk).unwrap_err(), newer);
    let state = TableFile::open(&*replica.disk, file("g0-state-1.redb"), options().cache).unwrap();
    state.write(true, |rows| seal_meta(rows, &meta)).unwrap();
    drop(state);
    assert_eq!(open(options(), &replica.disk).unwrap().revision(), 2);
}

/// A simulated run must be the same run again, down to the bytes on its disks.
#[test]
fn the_same_commands_make_the_same_bytes() {
    let written = || {
        let mut replica = Replica::new();
        for i in 0..300 {
            replica.put(&format!("key-{}", i * 7 % 50), &"value ".repeat(i % 9));
            if i % 40 == 39 {
                replica.run(crate::api::Op::Compact { revision: i as i64 - 20 }).unwrap();
                replica.checkpoint();
            }
        }
        replica.crash(4);
        replica.checkpoint();
        let disk = replica.disk.clone();
        drop(replica.store);
        let names = disk.list().unwrap();
        let bytes = names.iter().map(|name| dwcp_env::disk::read_all(&*disk, name).unwrap());
        bytes.collect::<Vec<_>>()
    };
    assert!(written() == written());
}
