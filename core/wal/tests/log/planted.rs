//! Each planted bug breaks the promise it is meant to break: `--features planted-bugs`.
#![cfg(feature = "planted-bugs")]

use crate::disk::{CrashDisk, Dice};
use bytes::Bytes;
use dwcp_env::{ByteCount, ClusterId, GroupId};
use dwcp_wal::{Record, Recovered, Wal, WalBugs, WalConfig};

const GROUP: GroupId = GroupId(1);

fn config(bugs: WalBugs) -> WalConfig {
    let (segment, cluster) = (ByteCount::kib(32), ClusterId(7));
    WalConfig { segment, cluster, bugs, ..WalConfig::default() }
}

/// Appends, one batch a record, and acknowledges all; then the power goes.
fn run(bugs: WalBugs, seed: u64, records: &[Record], harm: impl Fn(&CrashDisk)) -> Recovered {
    let disk = CrashDisk::default();
    let (mut wal, _) = Wal::open(&disk.world(seed), config(bugs)).unwrap();
    let (mut ticket, mut out) = (1, Vec::new());
    for record in records {
        wal.append(GROUP, record.clone());
        wal.flush(&mut ticket, &mut out);
        for request in out.drain(..) {
            disk.carry_out(&request, usize::MAX).unwrap();
            wal.completed(request.ticket, Ok(())).unwrap();
        }
    }
    disk.crash(&mut Dice::new(seed));
    harm(&disk);
    Wal::open(&disk.world(seed + 1), config(bugs)).unwrap().1
}

fn entry(index: u64) -> Record {
    Record::Entry { index, term: 1, payload: Bytes::from(vec![index as u8; 600]) }
}

fn indexes(found: &Recovered) -> Vec<u64> {
    found.groups.get(&GROUP).map_or(Vec::new(), |g| g.entries.iter().map(|e| e.index).collect())
}

/// Whether some of 32 crashes loses an acknowledged entry.
fn loses(bugs: WalBugs, entries: u64) -> bool {
    let records: Vec<Record> = (1..=entries).map(entry).collect();
    (0..32).any(|seed| indexes(&run(bugs, seed, &records, |_| {})) != (1..=entries).collect::<Vec<_>>())
}

#[test]
fn without_bugs_nothing_is_lost() {
    assert!(!loses(WalBugs::default(), 4) && !loses(WalBugs::default(), 60));
}

#[test]
fn acknowledged_before_the_sync() {
    assert!(loses(WalBugs { ack_before_sync: true, ..WalBugs::default() }, 4));
}

#[test]
fn a_directory_not_synced() {
    assert!(loses(WalBugs { directory_not_synced: true, ..WalBugs::default() }, 60));
}

#[test]
fn a_vote_forgotten() {
    let vote = Record::Vote(Bytes::from_static(b"term 3 for n1"));
    let votes = |bugs| {
        run(bugs, 1, std::slice::from_ref(&vote), |_| {}).groups.get(&GROUP).is_some_and(|g| g.vote.is_some())
    };
    assert!(votes(WalBugs::default()));
    assert!(!votes(WalBugs { vote_forgotten: true, ..WalBugs::default() }));
}

#[test]
fn a_truncation_passed_over() {
    let anew = Record::Entry { index: 2, term: 2, payload: Bytes::from(vec![9; 600]) };
    let records = [entry(1), entry(2), entry(3), Record::Truncate { after: Some(1) }, anew];
    let kept = |bugs| indexes(&run(bugs, 1, &records, |_| {}));
    assert_eq!(kept(WalBugs::default()), [1, 2]);
    assert_eq!(kept(WalBugs { truncate_wrongly: true, ..WalBugs::default() }), [1, 2, 3]);
}

#[test]
fn a_checksum_unchecked() {
    let records = [entry(1), entry(2), entry(3)];
    let flip = |disk: &CrashDisk| {
        let file = disk.files()[0].clone();
        disk.alter(&file, |b| {
            let at = b.windows(8).position(|w| w == [2; 8]).unwrap();
            b[at] ^= 1;
        });
    };
    let found = run(WalBugs::default(), 1, &records, flip);
    assert_eq!((indexes(&found), found.damage.len()), (vec![1, 3], 1));
    let found = run(WalBugs { checksum_unchecked: true, ..WalBugs::default() }, 1, &records, flip);
    assert_eq!((indexes(&found), found.damage.len()), (vec![1, 2, 3], 0));
    assert_eq!(found.groups[&GROUP].entries[1].payload[0], 3, "a wrong byte is believed");
}
