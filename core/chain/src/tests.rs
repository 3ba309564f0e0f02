//! What tests of this crate share.

use bytes::Bytes;
use dwcp_env::Probe;
use dwcp_raft::SharedWal;
use dwcp_wal::{Wal, WalConfig};
use spin::Mutex;
use std::sync::Arc;

/// A log on an empty disk in memory.
pub(crate) fn wal() -> SharedWal {
    open(&disk::MemDisk::default()).0
}

fn open(disk: &disk::MemDisk) -> (SharedWal, dwcp_wal::Recovered) {
    let world = dwcp_env::World {
        now: dwcp_env::Now::default(),
        storage: Arc::new(disk.clone()),
        probe: Probe::silent(),
        seed: dwcp_env::Seed(1),
    };
    let (wal, recovered) = Wal::open(&world, WalConfig::default()).expect("a directory in memory");
    (Arc::new(Mutex::new(wal)), recovered)
}

#[path = "../../raft/tests/raft/harness/disk.rs"]
#[allow(dead_code)]
mod disk;
#[path = "../../raft/tests/raft/harness/ledger.rs"]
#[allow(dead_code)]
mod ledger;

#[test]
fn a_seal_of_another_version_stops_the_group_and_changes_nothing() {
    use crate::lens::Lens;
    use crate::record::{ChainRecord, Tail};
    use crate::spec::Spec;
    use dwcp_consensus::{Position, StateMachine};

    let machine = Arc::new(Mutex::new(ledger::Ledger::open(disk::MemDisk::default(), dwcp_env::GroupId(0))));
    let tail = Tail::new(ChainRecord::genesis(Spec::default()));
    let mut lens = Lens::new(machine.clone(), tail.clone());
    let at = |index| Position { term: 1, index };
    lens.apply(at(1), &Bytes::from_static(b"before"));
    let skips = Spec { epoch: 2, ..Spec::default() }.encode();
    for unreadable in [Bytes::from_static(b"\xffa spec of another version"), skips] {
        lens.note(at(2), Some(dwcp_raft::sealed_record(&unreadable)));
        let why = tail.lost().expect("it can't be followed");
        assert!(why.contains("epoch 0") && why.contains("version"), "{why}");
    }
    lens.apply(at(3), &Bytes::from_static(b"behind"));
    assert_eq!(machine.lock().state.commands, [&b"before"[..]]);
    assert_eq!(tail.epoch(), 0);
    assert!(tail.is_overtaken(0, 3) && !tail.is_overtaken(0, 1));
}

#[test]
fn a_doubt_outlives_the_lifetime_that_had_the_reason() {
    use crate::group::{ChainConfig, ChainGroup};
    use crate::manifest::Found;
    use dwcp_env::{GroupId, NodeId, Seed};

    let disk = disk::MemDisk::default();
    let id = GroupId(3);
    let born = |disk: &disk::MemDisk, unknown_lost| {
        let (wal, mut recovered) = open(disk);
        recovered.unknown_lost = unknown_lost;
        let found = Found::take(&mut recovered, id, true);
        let config = ChainConfig {
            raft: dwcp_raft::GroupConfig::lan(NodeId(1)),
            genesis: None,
            known: Vec::new(),
            policy: None,
            secret: None,
            #[cfg(feature = "planted-bugs")]
            bugs: crate::ChainBugs::default(),
        };
        let machine = Arc::new(Mutex::new(ledger::Ledger::open(disk.clone(), id)));
        let group =
            ChainGroup::new(id, config, machine, wal.clone(), Probe::silent(), found, Seed(1)).unwrap();
        (group, wal)
    };
    let (group, wal) = born(&disk, true);
    assert!(group.manifest.doubts(7), "what was lost nobody names");
    let (mut ticket, mut requests) = (1, Vec::new());
    wal.lock().flush(&mut ticket, &mut requests);
    for request in requests {
        request.ops.iter().for_each(|op| disk.carry_out(op).unwrap());
    }
    disk.crash();
    let (group, _) = born(&disk, false);
    assert!(group.manifest.doubts(7), "the log is whole now, and tells of the doubt");
}

#[test]
fn a_raft_that_is_over_writes_no_checkpoint_of_a_later_epochs_state() {
    use crate::lens::Lens;
    use crate::record::{ChainRecord, Tail};
    use crate::spec::Spec;
    use dwcp_consensus::{Checkpointed, Position, StateMachine};

    let machine = Arc::new(Mutex::new(ledger::Ledger::open(disk::MemDisk::default(), dwcp_env::GroupId(0))));
    let first = ChainRecord::genesis(Spec::default());
    let tail = Tail::new(first.clone());
    let mut lens = Lens::new(machine.clone(), tail.clone());
    let at = |index| Position { term: 1, index };
    lens.apply(at(1), &Bytes::from_static(b"before"));
    tail.set(first.next(Spec { epoch: 1, ..Spec::default() }, 2));
    // Sent what the state has: taken, and nothing done.
    lens.begin_install(Checkpointed { at: at(5), engine_record: Bytes::new() });
    let swapped = (lens.finish_install().run)();
    assert_eq!(lens.install_done(Some(swapped)), Ok(()));
    assert_eq!(lens.applied().0, Some(at(5)), "as far as Raft knows");
    lens.apply(at(6), &Bytes::from_static(b"void"));
    assert!(lens.checkpoint().is_none(), "the next epoch's mark would be missing in it");
    assert_eq!(machine.lock().state.commands, [&b"before"[..]]);
}

#[test]
fn what_has_ended_at_a_boot_the_manifest_says_at_once() {
    use crate::manifest::{Found, Manifest, SLOTS, Slot, home};
    use dwcp_env::GroupId;

    let (disk, id) = (disk::MemDisk::default(), GroupId(3));
    let flush = |wal: &SharedWal| {
        let (mut ticket, mut requests) = (1, Vec::new());
        wal.lock().flush(&mut ticket, &mut requests);
        requests.iter().flat_map(|r| &r.ops).for_each(|op| disk.carry_out(op).unwrap());
    };
    let slot = |epoch| Slot { epoch, id: 5, slot: SLOTS + epoch, silent: false };
    let (wal, _) = open(&disk);
    Manifest { slots: vec![slot(2), slot(3)], next: SLOTS + 4, ..Manifest::default() }.write(id, &wal);
    flush(&wal);
    let (wal, mut recovered) = open(&disk);
    Found::take(&mut recovered, id, true).end_before(id, 3, &wal);
    flush(&wal);
    let (_, mut recovered) = open(&disk);
    assert!(recovered.groups.contains_key(&home(id)));
    let manifest = Found::take(&mut recovered, id, true).manifest;
    assert_eq!((manifest.floor, manifest.slots), (3, vec![slot(3)]));
}

#[test]
fn a_state_that_was_lost_beside_an_empty_log_is_a_doubt() {
    use crate::group::{ChainConfig, ChainGroup, Running};
    use crate::manifest::Found;
    use crate::spec::{EngineKind, Spec};
    use dwcp_consensus::{Member, Members};
    use dwcp_env::{GroupId, NodeId, Now, Seed};
    use dwcp_raft::RaftHost;

    let id = GroupId(3);
    let nodes: std::collections::BTreeMap<_, _> = (1..=3).map(|n| (NodeId(n), Member::default())).collect();
    let members = Members { voters: nodes.keys().copied().collect(), nodes, ..Members::default() };
    let genesis = Spec { engine: EngineKind::Paxos, members, ..Spec::default() };
    // A fresh node; one whose state was damaged and whose log is empty; and that one after a crash, when the state is empty and whole.
    let disk = disk::MemDisk::default();
    let opened = |state_whole: bool| {
        let (wal, mut recovered) = open(&disk);
        let found = Found::take(&mut recovered, id, state_whole);
        let config = ChainConfig {
            raft: dwcp_raft::GroupConfig::lan(NodeId(1)),
            genesis: Some(genesis.clone()),
            known: Vec::new(),
            policy: None,
            secret: None,
            #[cfg(feature = "planted-bugs")]
            bugs: crate::ChainBugs::default(),
        };
        let machine = Arc::new(Mutex::new(ledger::Ledger::open(disk.clone(), id)));
        let probe = Probe::silent();
        let mut group =
            ChainGroup::new(id, config, machine, wal.clone(), probe.clone(), found, Seed(1)).unwrap();
        // As if a peer's had come.
        group.whole = true;
        let mut raft = RaftHost::new(dwcp_env::exec::Pick::Fifo, Seed(1), wal.clone(), probe);
        group.open(Now::default(), &mut raft, &mut 7).unwrap();
        let silent = matches!(group.current().unwrap().running, Running::Aside { silent: true });
        let (mut ticket, mut requests) = (1, Vec::new());
        wal.lock().flush(&mut ticket, &mut requests);
        requests.iter().flat_map(|r| &r.ops).for_each(|op| disk.carry_out(op).unwrap());
        silent
    };
    assert!(!opened(true), "a fresh node has a voice");
    assert!(opened(false), "what it promised is gone with the log");
    assert!(opened(true), "a crash does not make it forget that");
}
