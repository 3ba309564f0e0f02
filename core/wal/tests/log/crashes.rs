//! Law: after any crash the log holds exactly what the first so many records made of it, and
//! nothing acknowledged is beyond them.

use crate::disk::{CrashDisk, Dice};
use crate::model::{self, Groups};
use bytes::Bytes;
use dwcp_env::probe::Watch;
use dwcp_env::{ByteCount, ClusterId, DiskRequest, GroupId, Probe};
use dwcp_wal::{Lsn, Record, Wal, WalConfig};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

fn config(segment_kib: u64) -> WalConfig {
    WalConfig { segment: ByteCount::kib(segment_kib), cluster: ClusterId(7), ..WalConfig::default() }
}

#[derive(Clone, Debug)]
enum Op {
    Append { group: u32, len: usize },
    Truncate { group: u32, back: u64 },
    Purge { group: u32, part: u64 },
    Rewrite { group: u32, back: u64 },
    Vote { group: u32 },
    Note { group: u32 },
    Flush,
    Complete,
    Mark,
    Crash,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let group = 0..3u32;
    prop_oneof![
        12 => (group.clone(), prop_oneof![8 => 0..200usize, 1 => 0..9000usize, 1 => Just(40_000usize)])
            .prop_map(|(group, len)| Op::Append { group, len }),
        2 => (group.clone(), 0..5u64).prop_map(|(group, back)| Op::Truncate { group, back }),
        2 => (group.clone(), 0..100u64).prop_map(|(group, part)| Op::Purge { group, part }),
        1 => (group.clone(), 0..4u64).prop_map(|(group, back)| Op::Rewrite { group, back }),
        2 => group.clone().prop_map(|group| Op::Vote { group }),
        2 => group.prop_map(|group| Op::Note { group }),
        6 => Just(Op::Flush),
        6 => Just(Op::Complete),
        1 => Just(Op::Mark),
        1 => Just(Op::Crash),
        1 => Just(Op::Restart),
    ]
}

/// Lets the log misbehave within its contract: batches cut short, segments given up early.
struct Mischief(Mutex<Dice>);

impl Watch for Mischief {
    fn event(&self, _: &dwcp_env::Event) {}
    fn sometimes(&self, _: &'static str) {}
    fn buggify(&self, _: &'static str) -> bool {
        self.0.lock().unwrap().below(8) == 0
    }
    fn violated(&self, name: &'static str, detail: &dyn std::fmt::Display) {
        panic!("{name}: {detail}");
    }
}

/// A log on a crashing disk, and what it must hold.
struct Bench {
    disk: CrashDisk,
    dice: Dice,
    config: WalConfig,
    wal: Wal,
    ticket: u64,
    flying: Option<DiskRequest>,
    /// What earlier incarnations left.
    base: Groups,
    /// Appended since, in order.
    records: Vec<(GroupId, Record)>,
    now: Groups,
    serial: u64,
    term: u64,
    trimmed: bool,
    probe: Probe,
}

impl Bench {
    fn new(seed: u64, config: WalConfig) -> Self {
        Self::watched(seed, config, Probe::silent())
    }
    fn watched(seed: u64, config: WalConfig, probe: Probe) -> Self {
        let disk = CrashDisk::default();
        let (wal, recovered) = Wal::open(&disk.world_watched(seed, probe.clone()), config).unwrap();
        assert!(recovered.groups.is_empty());
        Self {
            disk,
            dice: Dice::new(seed),
            config,
            wal,
            ticket: 1,
            flying: None,
            base: Groups::new(),
            records: Vec::new(),
            now: Groups::new(),
            serial: 0,
            term: 1,
            trimmed: false,
            probe,
        }
    }
    fn append(&mut self, group: u32, record: Record) {
        let group = GroupId(group);
        model::apply(&mut self.now, group, &record);
        let lsn = self.wal.append(group, record.clone());
        self.records.push((group, record));
        assert_eq!(lsn, Lsn(self.records.len() as u64));
    }
    fn payload(&mut self, len: usize) -> Bytes {
        self.serial += 1;
        let mut payload = vec![(self.serial % 251) as u8; len];
        let stamp = self.serial.to_le_bytes();
        let n = stamp.len().min(len);
        payload[..n].copy_from_slice(&stamp[..n]);
        payload.into()
    }
    fn step(&mut self, op: &Op) {
        let last = |b: &Self, group: &u32| b.now.get(&GroupId(*group)).and_then(|g| g.last);
        match op {
            Op::Append { group, len } => {
                let index = last(self, group).map_or(0, |l| l + 1);
                let (term, payload) = (self.term, self.payload(*len));
                self.append(*group, Record::Entry { index, term, payload });
            }
            Op::Rewrite { group, back } => {
                let purged = self.now.get(&GroupId(*group)).and_then(|g| g.purged).map(|p| p.1);
                let index = last(self, group).and_then(|l| l.checked_sub(*back));
                if let Some(index) = index.filter(|i| Some(*i) > purged) {
                    let (term, payload) = (self.term, self.payload(10));
                    self.append(*group, Record::Entry { index, term, payload });
                }
            }
            Op::Truncate { group, back } => {
                self.term += 1;
                let after = last(self, group).and_then(|l| l.checked_sub(*back));
                let purged = self.now.get(&GroupId(*group)).and_then(|g| g.purged).map(|p| p.1);
                self.append(*group, Record::Truncate { after: after.max(purged) });
            }
            Op::Purge { group, part } => {
                if let Some(last) = last(self, group) {
                    let (term, index) = (self.term, last * part / 100);
                    self.append(*group, Record::Purge { term, index });
                }
            }
            Op::Vote { group } => {
                let vote = self.payload(20);
                self.append(*group, Record::Vote(vote));
            }
            Op::Note { group } => {
                let note = self.payload(9);
                self.append(*group, Record::Note(note));
            }
            Op::Flush => self.flush(),
            Op::Complete => self.complete(),
            Op::Mark => {
                self.wal.idle_mark();
            }
            Op::Crash => self.crash(true),
            Op::Restart => self.crash(false),
        }
    }
    fn flush(&mut self) {
        let mut out = Vec::new();
        self.wal.flush(&mut self.ticket, &mut out);
        assert!(out.len() <= 1 && (out.is_empty() || self.flying.is_none()), "one request in flight");
        self.flying = self.flying.take().or_else(|| out.pop());
    }
    fn complete(&mut self) {
        if let Some(request) = self.flying.take() {
            self.disk.carry_out(&request, usize::MAX).unwrap();
            self.trimmed |= request.ops.iter().any(|op| matches!(op, dwcp_env::DiskOp::Remove { .. }));
            assert_eq!(self.wal.completed(request.ticket, Ok(())), Ok(true));
        }
    }
    fn crash(&mut self, power: bool) {
        if let Some(request) = self.flying.take() {
            let ops = self.dice.below(request.ops.len() + 1);
            self.disk.carry_out(&request, ops).unwrap();
        }
        if power {
            self.disk.crash(&mut self.dice);
        }
        let acknowledged = self.wal.durable().0 as usize;
        let seed = self.dice.next();
        let (wal, recovered) =
            Wal::open(&self.disk.world_watched(seed, self.probe.clone()), self.config).unwrap();
        assert_eq!(recovered.damage, [], "no byte was altered");
        assert!(!recovered.unknown_lost);
        assert!(recovered.groups.values().all(|g| !g.suspect && !g.vote_lost));
        let found = model::of_all(&recovered.groups);
        let mut expected = self.base.clone();
        for (group, record) in &self.records[..acknowledged] {
            model::apply(&mut expected, *group, record);
        }
        let mut kept = acknowledged;
        while expected != found {
            let Some((group, record)) = self.records.get(kept) else {
                let records: Vec<String> = self.records.iter().map(|(g, r)| format!("{g} {r:?}")).collect();
                let records: Vec<&str> = records.iter().map(|r| &r[..r.len().min(60)]).collect();
                panic!(
                    "{}\nis not what {acknowledged} or more of {records:#?} make of\n{}\nwhich is\n{}",
                    model::brief(&found),
                    model::brief(&self.base),
                    model::brief(&expected)
                );
            };
            model::apply(&mut expected, *group, record);
            kept += 1;
        }
        (self.wal, self.base, self.now) = (wal, expected.clone(), expected);
        self.records.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_crash_keeps_a_prefix_with_all_that_was_acknowledged(
        seed in any::<u64>(),
        segment in prop_oneof![Just(32u64), Just(64), Just(256)],
        mischief in any::<bool>(),
        ops in prop::collection::vec(op(), 1..160),
    ) {
        let probe = Probe::new(Arc::new(Mischief(Mutex::new(Dice::new(seed)))));
        let probe = if mischief { probe } else { Probe::silent() };
        let mut bench = Bench::watched(seed, config(segment), probe);
        for op in &ops {
            bench.step(op);
        }
        bench.crash(true);
        bench.crash(false);
    }
}

#[test]
fn a_long_life_is_trimmed_and_loses_nothing() {
    let mut bench = Bench::new(3, config(32));
    for round in 0..400u64 {
        for group in 0..3 {
            bench.step(&Op::Append { group, len: 300 });
        }
        if round % 10 == 9 {
            (0..3).for_each(|group| bench.step(&Op::Purge { group, part: 99 }));
        }
        if round % 16 == 0 {
            bench.step(&Op::Vote { group: (round / 16 % 3) as u32 });
        }
        bench.step(&Op::Flush);
        if round % 50 == 49 {
            bench.step(&Op::Crash);
        }
        bench.step(&Op::Complete);
    }
    assert!(bench.trimmed, "segments were removed");
    assert!(bench.wal.segments() < 8, "{} segments are left", bench.wal.segments());
    assert!(bench.disk.files().len() < 10, "{:?}", bench.disk.files());
}

#[test]
fn a_write_torn_at_any_byte_keeps_what_was_before_and_a_prefix_of_itself() {
    let mut bench = Bench::new(5, config(64));
    for i in 0..6 {
        bench.step(&Op::Append { group: i % 2, len: 30 });
    }
    bench.step(&Op::Vote { group: 1 });
    bench.step(&Op::Flush);
    bench.step(&Op::Complete);
    let before = bench.now.clone();
    for i in 0..5 {
        bench.step(&Op::Append { group: i % 2, len: 100 + 100 * i as usize });
    }
    bench.step(&Op::Vote { group: 0 });
    bench.step(&Op::Flush);
    let request = bench.flying.take().unwrap();
    let dwcp_env::DiskOp::Write { file, offset, data } = &request.ops[0] else { panic!("{request:?}") };
    let new = &bench.records[7..];
    let mut seen = std::collections::BTreeSet::new();
    for torn in 0..=data.len() {
        let disk = bench.disk.copy();
        let short = dwcp_env::DiskOp::Write { file: file.clone(), offset: *offset, data: data.slice(..torn) };
        disk.carry_out(&DiskRequest { ticket: request.ticket, ops: vec![short] }, 1).unwrap();
        let (_, recovered) = Wal::open(&disk.world(1), bench.config).unwrap();
        assert_eq!(recovered.damage, [], "torn at {torn}");
        let found = model::of_all(&recovered.groups);
        let mut expected = before.clone();
        let kept = (0..=new.len()).find(|n| {
            if *n > 0 {
                model::apply(&mut expected, new[n - 1].0, &new[n - 1].1);
            }
            expected == found
        });
        seen.insert(kept.unwrap_or_else(|| panic!("torn at {torn}: {found:#?}")));
        // What is cut stays cut, and what is kept stays kept.
        let (_, again) = Wal::open(&disk.world(2), bench.config).unwrap();
        assert_eq!(model::of_all(&again.groups), found, "torn at {torn}, opened again");
        assert_eq!((again.damage, again.tail_cut), (vec![], None), "torn at {torn}, opened again");
    }
    assert_eq!(seen.len(), new.len() + 1, "every prefix was met: {seen:?}");
}

#[test]
fn callbacks_come_in_the_order_of_the_lsns() {
    let mut bench = Bench::new(5, config(64));
    let told = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..4 {
        bench.step(&Op::Append { group: 0, len: 10 });
    }
    for lsn in [3, 1, 4, 2] {
        let told = told.clone();
        bench.wal.on_durable(Lsn(lsn), Box::new(move |r| told.lock().unwrap().push((lsn, r.is_ok()))));
    }
    bench.step(&Op::Flush);
    assert_eq!(*told.lock().unwrap(), []);
    bench.step(&Op::Complete);
    assert_eq!(*told.lock().unwrap(), [(1, true), (2, true), (3, true), (4, true)]);
    bench.step(&Op::Append { group: 0, len: 10 });
    let after = told.clone();
    bench.wal.on_durable(Lsn(5), Box::new(move |r| after.lock().unwrap().push((5, r.is_ok()))));
    bench.step(&Op::Flush);
    let ticket = bench.flying.take().unwrap().ticket;
    let error = bench.wal.completed(ticket, Err(dwcp_env::DiskError::NoSpace)).unwrap_err();
    assert!(error.to_string().contains("nothing acknowledged is lost"), "{error}");
    assert_eq!(told.lock().unwrap().last(), Some(&(5, false)));
    bench.step(&Op::Append { group: 0, len: 10 });
    bench.step(&Op::Flush);
    assert!(bench.flying.is_none(), "a closed log asks for nothing more");
}

#[test]
fn a_full_disk_stops_the_log_and_loses_nothing() {
    let mut bench = Bench::new(5, config(32));
    bench.disk.limit(Some(100 * 1024));
    loop {
        bench.step(&Op::Append { group: 0, len: 1000 });
        bench.step(&Op::Flush);
        let request = bench.flying.take().unwrap();
        let result = bench.disk.carry_out(&request, usize::MAX);
        if let Err(error) = bench.wal.completed(request.ticket, result) {
            assert!(matches!(error, dwcp_wal::WalError::NoSpace { .. }), "{error}");
            break;
        }
    }
    bench.disk.limit(Some(0));
    let error = Wal::open(&bench.disk.world(1), bench.config).unwrap_err();
    assert!(matches!(error, dwcp_wal::WalError::NoSpace { .. }), "{error}");
    bench.disk.limit(None);
    bench.crash(true);
}
