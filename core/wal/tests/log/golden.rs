//! The format as text: a change of a byte is a change of the format, and shows here.

use crate::disk::CrashDisk;
use bytes::Bytes;
use dwcp_env::{ByteCount, ClusterId, GroupId};
use dwcp_wal::{Record, Wal, WalConfig, WalError};
use std::fmt::Write as _;

const GOLDEN: &str = include_str!("golden/first_log.txt");

fn config() -> WalConfig {
    WalConfig { segment: ByteCount::kib(32), cluster: ClusterId(0xc1), ..WalConfig::default() }
}

fn first_log() -> CrashDisk {
    let disk = CrashDisk::default();
    let (mut wal, _) = Wal::open(&disk.world(42), config()).unwrap();
    let (mut ticket, mut out) = (1, Vec::new());
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    wal.append(GroupId(1), Record::Vote(bytes("term 1 for n2")));
    wal.append(GroupId(1), Record::Entry { index: 1, term: 1, payload: bytes("first") });
    wal.append(GroupId(1), Record::Entry { index: 2, term: 1, payload: bytes("second, of 24 bytes long") });
    for step in 0..3 {
        wal.flush(&mut ticket, &mut out);
        for request in out.drain(..) {
            disk.carry_out(&request, usize::MAX).unwrap();
            wal.completed(request.ticket, Ok(())).unwrap();
        }
        if step == 0 {
            wal.append(GroupId(2), Record::Note(bytes("committed 1")));
            wal.append(GroupId(1), Record::Truncate { after: Some(1) });
            wal.append(GroupId(1), Record::Purge { term: 1, index: 1 });
        } else {
            wal.idle_mark();
        }
    }
    disk
}

/// Sixteen bytes a line, lines of zeros left out.
fn dump(disk: &CrashDisk) -> String {
    let mut text = String::new();
    for file in disk.files() {
        let data = disk.bytes(&file);
        writeln!(text, "{} {} bytes", file.as_str(), data.len()).unwrap();
        for (i, line) in data.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|b| *b != 0)) {
            let hex: String = line.iter().map(|b| format!("{b:02x} ")).collect();
            let shown = |b: &u8| if b.is_ascii_graphic() || *b == b' ' { *b as char } else { '.' };
            let chars: String = line.iter().map(shown).collect();
            writeln!(text, "{:6} {hex} {}", i * 16, chars.trim_end()).unwrap();
        }
    }
    text
}

#[test]
fn the_first_log_is_as_documented() {
    let text = dump(&first_log());
    assert!(text == GOLDEN, "the format has changed; was this meant? Now it is:\n{text}");
}

#[test]
fn a_newer_format_is_named() {
    let disk = first_log();
    let file = disk.files()[0].clone();
    disk.alter(&file, |b| {
        for at in [0, 4096] {
            b[at + 8] = 9;
            let mut sum = b[at..at + 12].to_vec();
            sum.extend_from_slice(&b[at + 16..at + 64]);
            b[at + 12..at + 16].copy_from_slice(&crc32fast::hash(&sum).to_le_bytes());
        }
    });
    let error = Wal::open(&disk.world(1), config()).unwrap_err();
    assert_eq!(error, WalError::Newer { file: file.as_str().into(), found: 9, ours: 1 });
    assert!(error.to_string().contains("start the version that wrote it"), "{error}");
}

#[test]
fn another_clusters_log_is_refused() {
    let disk = first_log();
    let other = WalConfig { cluster: ClusterId(0xc2), ..config() };
    let error = Wal::open(&disk.world(1), other).unwrap_err();
    assert!(
        matches!(error, WalError::Cluster { found: ClusterId(0xc1), ours: ClusterId(0xc2), .. }),
        "{error}"
    );
}

#[test]
fn a_log_without_a_readable_header_is_refused() {
    let disk = first_log();
    for file in disk.files() {
        disk.alter(&file, |b| b[..8192].fill(0));
    }
    let error = Wal::open(&disk.world(1), config()).unwrap_err();
    assert!(matches!(error, WalError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("join under a new id"), "{error}");
}
