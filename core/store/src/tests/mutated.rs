//! Altered files: an error that names the fault, or the content that was written. Nothing else.

use super::replica::{Replica, open, options, put};
use crate::StoreError;
use crate::api::{Op, PutRequest, SessionId, Stamp};
use crate::memory::MemoryDisk;
use dwcp_consensus::StateMachine;
use dwcp_env::Duration;
use dwcp_env::disk::{FileName, Storage, read_all};
use dwcp_env::draw::{Purpose, Seed};
use dwcp_env::time::Instant;
use std::collections::BTreeMap;
use std::sync::Arc;

const CASES: u64 = 10_000;
const SEED: Seed = Seed(0x5702);

/// What a store holds, for comparison.
#[derive(PartialEq, Debug)]
struct Content {
    revision: i64,
    hash: [u8; 32],
    sessions: usize,
    leases: Vec<(i64, i64, usize)>,
}

fn content(store: &crate::Store) -> Result<Content, crate::api::OpError> {
    Ok(Content {
        revision: store.revision(),
        hash: store.hash_kv(0)?.hash,
        sessions: store.session_count(),
        leases: store.leases().map(|l| (l.id, l.ttl_s, l.keys.len())).collect(),
    })
}

type Files = Vec<(FileName, Vec<u8>)>;

/// A directory with some history, and the contents at each of its checkpoints.
fn written() -> (Files, BTreeMap<u64, Content>) {
    let mut replica = Replica::new();
    let mut contents = BTreeMap::new();
    replica.run(Op::OpenSession { ttl: Duration::secs(1_000_000) }).unwrap();
    replica.run(Op::LeaseGrant { id: 5, ttl_s: 60 }).unwrap();
    for i in 0..120_u64 {
        let stamp = Stamp { session: SessionId(1), seq: i, ack_below: i.saturating_sub(9) };
        let key = format!("key-{:02}", i % 40);
        replica.run_stamped(Some(stamp), put(&key, &"value ".repeat(i as usize % 30))).unwrap();
        if i % 7 == 0 {
            let under = PutRequest { key: key.into(), lease: 5, ..PutRequest::default() };
            replica.run(Op::Put(under)).unwrap();
        }
        if i == 60 {
            replica.run(Op::Compact { revision: 40 }).unwrap();
        }
        if i % 30 == 29 {
            replica.checkpoint();
            contents.insert(replica.store.applied().0.unwrap().index, content(&replica.store).unwrap());
        }
    }
    let disk = replica.disk.clone();
    drop(replica);
    let names = disk.list().unwrap();
    (names.into_iter().map(|n| (n.clone(), read_all(&*disk, &n).unwrap())).collect(), contents)
}

struct Dice {
    case: u64,
    ordinal: u64,
}

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.ordinal += 1;
        SEED.below(n as u64, Purpose::named("mutate"), self.case, Instant::ZERO, self.ordinal) as usize
    }
}

/// One way or another of a disk to be wrong.
fn mutate(bytes: &mut Vec<u8>, used: &[usize], dice: &mut Dice) {
    let len = bytes.len();
    // Most of the file is free pages: aim at what is written.
    let aim = |dice: &mut Dice| {
        if used.is_empty() || dice.below(8) == 0 {
            dice.below(len)
        } else {
            used[dice.below(used.len())] + dice.below(512).min(len - 1)
        }
        .min(len - 1)
    };
    match dice.below(8) {
        0..=2 => {
            for _ in 0..=dice.below(4) {
                let at = aim(dice);
                bytes[at] ^= 1 << dice.below(8);
            }
        }
        3 => {
            let at = aim(dice);
            bytes[at] = dice.below(256) as u8;
        }
        4 => {
            let at = aim(dice) / 512 * 512;
            let end = (at + 512).min(len);
            bytes[at..end].fill(0);
        }
        5 => {
            let (from, to) = (aim(dice) / 512 * 512, aim(dice) / 512 * 512);
            let n = 512.min(len - from).min(len - to);
            bytes.copy_within(from..from + n, to);
        }
        6 => bytes.truncate(dice.below(len)),
        // The header decides everything: it gets more than its share.
        _ => {
            let at = dice.below(len.min(320));
            bytes[at] ^= 1 << dice.below(8);
        }
    }
}

fn disk_of(files: &[(FileName, Vec<u8>)]) -> Arc<MemoryDisk> {
    let disk = MemoryDisk::new();
    for (name, bytes) in files {
        let file = disk.create(name).unwrap();
        file.write_at(0, bytes).unwrap();
        file.sync().unwrap();
    }
    disk.sync_dir().unwrap();
    disk
}

#[test]
fn an_altered_file_is_refused_or_right() {
    let (files, contents) = written();
    assert_eq!(files.len(), 2, "{:?}", files.iter().map(|f| &f.0).collect::<Vec<_>>());
    let used: Vec<Vec<usize>> = files
        .iter()
        .map(|(_, bytes)| {
            (0..bytes.len()).step_by(512).filter(|i| bytes[*i..].iter().take(512).any(|b| *b != 0)).collect()
        })
        .collect();
    let (mut refused, mut right) = (0, 0);
    for case in 0..CASES {
        let mut dice = Dice { case, ordinal: 0 };
        let mut files = files.clone();
        // The state file, and now and then the file that names it.
        let which = usize::from(dice.below(50) != 0);
        mutate(&mut files[which].1, &used[which], &mut dice);
        let store = match open(options(), &disk_of(&files)) {
            Ok(store) => store,
            Err(StoreError::Corrupt { .. } | StoreError::NewerFormat { .. }) => {
                refused += 1;
                continue;
            }
            Err(e) => panic!("case {case}: {e}"),
        };
        let at = store.applied().0.unwrap().index;
        match content(&store) {
            Ok(found) => assert_eq!(Some(&found), contents.get(&at), "case {case} at {at}"),
            Err(_) => assert!(matches!(store.failure(), Some(StoreError::Corrupt { .. })), "case {case}"),
        }
        right += 1;
    }
    assert!(refused > CASES / 4 && right > CASES / 100, "refused {refused}, right {right}");
}

/// A store that opens on an altered file and goes on writing never loses or invents anything either.
#[test]
fn writing_on_after_an_alteration_is_right_or_refused() {
    let (files, _) = written();
    let used: Vec<usize> = (0..files[1].1.len())
        .step_by(512)
        .filter(|i| files[1].1[*i..].iter().take(512).any(|b| *b != 0))
        .collect();
    for case in CASES..CASES + 500 {
        let mut dice = Dice { case, ordinal: 0 };
        let mut files = files.clone();
        mutate(&mut files[1].1, &used, &mut dice);
        let disk = disk_of(&files);
        let Ok(store) = open(options(), &disk) else { continue };
        let applied = store.applied().0.unwrap().index;
        let mut replica = Replica { options: options(), disk, store, log: Vec::new() };
        // Entries go on behind what is applied.
        replica.log = vec![(bytes::Bytes::new(), replica.store.blank_response()); applied as usize];
        for i in 0..20 {
            replica.put(&format!("new-{i}"), "value");
        }
        if let Some(work) = replica.store.checkpoint() {
            let done = (work.run)();
            if replica.store.checkpoint_done(Some(done)).is_err() {
                continue;
            }
        }
        let Ok(before) = content(&replica.store) else { continue };
        match open(options(), &replica.disk.crashed(case)) {
            Ok(store) => assert_eq!(content(&store).unwrap(), before, "case {case}"),
            Err(e) => assert!(matches!(e, StoreError::Corrupt { .. }), "case {case}: {e}"),
        }
    }
}
