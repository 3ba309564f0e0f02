//! Each fault of disks fires and has its effect; a ledger survives what can be survived, and
//! a broken ledger is found out.
use crate::machines::{Ask, Flaw, Ledger, ms, on_node, plan};
use dwcp_env::{ByteCount, Duration, Instant, NodeId, Ratio};
use dwcp_runtime_sim::{Advance, Effect, Fault, FaultKind, Fired, Heard, SimWorld, Violation};

const N1: NodeId = NodeId(1);

/// One client appends rising numbers as fast as it is answered, and takes a snapshot every
/// eighth time. After every boot, what was acknowledged must be there.
fn run(seed: u64, flaw: Flaw, faults: Vec<Fault>, until: u64) -> Result<(SimWorld<Ledger>, u64), Violation> {
    let mut p = plan(seed, 1, until);
    p.process.restart_after = Duration::millis(20);
    p.faults = faults;
    let mut w = SimWorld::new(p, Ledger::boot(flaw)).unwrap();
    let (mut value, mut acked, mut snapped, mut checked) = (0_u64, None, 0, 0);
    // The snapshots sync the directory, which would hide that somebody else forgot to.
    let snapshots = flaw != Flaw::ForgetsDirectory;
    w.timer(ms(1), 0);
    loop {
        match w.advance(ms(until)) {
            Advance::Timer(_) => {
                value += 1;
                let ask = if snapshots && value.is_multiple_of(8) {
                    Ask::Snapshot(value)
                } else {
                    Ask::Append(value)
                };
                w.request(N1, ask, w.now() + Duration::millis(50));
            }
            Advance::Client(e) => {
                let next = match e.heard {
                    Heard::Reply { response, .. } if snapshots && response.is_multiple_of(8) => {
                        snapped = response;
                        Duration::ZERO
                    }
                    Heard::Reply { response, .. } => {
                        acked = Some(response);
                        Duration::ZERO
                    }
                    _ => Duration::millis(5),
                };
                w.timer(w.now() + next, 0);
            }
            Advance::Limit => break,
            Advance::Violated => return Err(w.violation().unwrap().clone()),
            Advance::Reached => {}
        }
        if std::mem::replace(&mut checked, w.view().incarnation(N1)) == checked {
            continue;
        }
        let lost = w.view().machine(N1).and_then(|m| {
            let kept = acked.is_none_or(|a| m.values.contains(&a));
            let snap = snapped == 0 || m.snapshot.is_some_and(|s| s >= snapped);
            let sound = m.values.is_sorted();
            (!kept || !snap || !sound)
                .then(|| format!("{acked:?}, {snapped}: {:?} {:?}", m.values, m.snapshot))
        });
        if let Some(detail) = lost {
            w.fail("acknowledged is kept", detail);
        }
    }
    Ok((w, acked.unwrap_or(0)))
}

fn crashes(effect: &Effect, every: u64, until: u64) -> Vec<Fault> {
    (1..until / every).map(|i| on_node(1, i * every, i * every + 10, effect.clone())).collect()
}

/// The faults that one disk must survive.
fn survivable() -> Vec<Fault> {
    let until = 3_000;
    let mut all = crashes(&Effect::Crash { mid_write: false }, 170, until);
    all.extend(crashes(&Effect::Crash { mid_write: true }, 130, until));
    all.extend(crashes(&Effect::TornWrite {}, 190, until));
    let rate = Ratio { num: 1, den: 20 };
    let refuse = Effect::DiskError { reads: Ratio::NEVER, writes: rate, syncs: rate };
    all.push(on_node(1, 600, 900, refuse));
    all.push(on_node(1, 1_000, 1_200, Effect::DiskFull { free: ByteCount(100) }));
    let slow = Effect::SlowDisk { extra: Duration::millis(3), stalled: false };
    all.push(on_node(1, 1_300, 1_500, slow));
    all.push(on_node(1, 1_700, 1_750, Effect::SlowDisk { extra: Duration::ZERO, stalled: true }));
    all
}

#[test]
fn a_sound_ledger_survives_what_one_disk_can_survive() {
    let mut fired = Fired::default();
    let (mut written, mut recovered) = (0, 0);
    for seed in 0..15 {
        let (w, acked) =
            run(seed, Flaw::None, survivable(), 3_000).unwrap_or_else(|v| panic!("seed {seed}: {v}"));
        fired.merge(&w.fired());
        written += acked;
        recovered += w.sometimes().get("ledger.recovered").copied().unwrap_or(0);
    }
    for kind in [
        FaultKind::Crash,
        FaultKind::TornWrite,
        FaultKind::DiskError,
        FaultKind::DiskFull,
        FaultKind::SlowDisk,
    ] {
        assert!(fired.of(kind) > 0, "{kind} never fired");
    }
    assert!(written > 5_000, "{written}");
    assert!(recovered > 500, "{recovered}");
}

#[test]
fn every_flaw_of_a_ledger_is_found() {
    use Flaw as F;
    for flaw in
        [F::AnswersEarly, F::ForgetsDirectory, F::NeverSyncs, F::GoesOnAfterFailure, F::RenamesUnsynced]
    {
        let found = (0..40).find_map(|seed| run(seed, flaw, survivable(), 3_000).err());
        let v = found.unwrap_or_else(|| panic!("{flaw:?} was not found"));
        let expected = ["acknowledged is kept", "snapshot is whole"];
        assert!(expected.contains(&v.name.as_str()), "{flaw:?}: {v}");
    }
}

/// A world whose ledger has `n` numbers, all durable, and the time.
fn written(faults: Vec<Fault>, n: u64) -> SimWorld<Ledger> {
    let mut p = plan(3, 1, 10_000);
    p.faults = faults;
    let mut w = SimWorld::new(p, Ledger::boot(Flaw::None)).unwrap();
    for value in 1..=n {
        w.request(N1, Ask::Append(value), Instant::FAR);
        while !matches!(w.advance(ms(5_000)), Advance::Client(_)) {}
    }
    assert!(w.now() < ms(5_000));
    w
}

fn ask(w: &mut SimWorld<Ledger>, what: Ask) {
    w.request(N1, what, w.now() + Duration::secs(1));
    assert!(matches!(w.advance(Instant::FAR), Advance::Client(_)));
}

fn ledger(w: &SimWorld<Ledger>) -> &Ledger {
    w.view().machine(N1).unwrap()
}

#[test]
fn a_bad_sector_fails_reads_until_it_is_written() {
    let mut w = written(
        vec![on_node(1, 5_000, 5_000, Effect::LatentSectorError { sectors: 1, spare_tail: false })],
        100,
    );
    w.run_until(ms(5_001)).unwrap();
    assert_eq!(w.fired().of(FaultKind::LatentSectorError), 0, "nobody has read it yet");
    ask(&mut w, Ask::Reread);
    assert_eq!(ledger(&w).reread_failed, 1);
    assert_eq!(w.fired().of(FaultKind::LatentSectorError), 1);
}

#[test]
fn rot_shows_and_spares_the_tail_if_asked() {
    let mut w = written(vec![on_node(1, 5_000, 5_000, Effect::BitRot { bits: 1, spare_tail: false })], 100);
    let before = w.view().files(N1);
    w.run_until(ms(5_001)).unwrap();
    let after = w.view().files(N1);
    let flipped: u32 = before[0].1.iter().zip(&after[0].1).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((flipped, w.fired().of(FaultKind::BitRot)), (1, 1));
    ask(&mut w, Ask::Reread);
    assert_eq!(ledger(&w).reread_differs, 0, "the ledger cuts what does not check");

    // 300 records fill two blocks; the last sync touched the second alone.
    let mut w = written(vec![on_node(1, 5_000, 5_000, Effect::BitRot { bits: 64, spare_tail: true })], 300);
    let before = w.view().files(N1);
    w.run_until(ms(5_001)).unwrap();
    let after = w.view().files(N1);
    assert_ne!(before[0].1[..4_096], after[0].1[..4_096]);
    assert_eq!(before[0].1[4_096..], after[0].1[4_096..]);
}

#[test]
fn a_misdirected_read_answers_with_other_bytes() {
    let mut w = written(vec![on_node(1, 5_000, 5_100, Effect::MisdirectedRead { rate: Ratio::ALWAYS })], 300);
    w.run_until(ms(5_001)).unwrap();
    // The whole file can't come from elsewhere: read a piece through the log's tail.
    let storage = ledger(&w).storage.clone();
    let f = storage.open(&dwcp_env::disk::FileName::new("log").unwrap()).unwrap();
    let (mut right, mut got) = ([0; 24], [0; 24]);
    right.copy_from_slice(&w.view().files(N1)[0].1[..24]);
    let wrong = (0..20).filter(|_| {
        f.read_at(0, &mut got).unwrap();
        got != right
    });
    assert!(wrong.count() > 10);
    assert!(w.fired().of(FaultKind::MisdirectedRead) > 10);
}

#[test]
fn a_misdirected_write_lands_elsewhere() {
    let mut w =
        written(vec![on_node(1, 5_000, 5_100, Effect::MisdirectedWrite { rate: Ratio::ALWAYS })], 300);
    w.run_until(ms(5_001)).unwrap();
    let before = w.view().files(N1)[0].1.clone();
    for value in 301..310 {
        ask(&mut w, Ask::Append(value));
    }
    let after = w.view().files(N1)[0].1.clone();
    assert_ne!(before[..], after[..before.len()], "old records were overwritten");
    assert!(w.fired().of(FaultKind::MisdirectedWrite) > 5);
}

/// How many of eleven records are left when the last was written under this fault.
fn left_after_phantom(rate: Ratio, lying_sync: Ratio, crash_at: u64) -> usize {
    let mut w = written(vec![on_node(1, 5_000, 6_000, Effect::PhantomWrite { rate, lying_sync })], 10);
    w.run_until(ms(5_001)).unwrap();
    ask(&mut w, Ask::Append(11));
    assert!(w.fired().of(FaultKind::PhantomWrite) > 0);
    w.inject(on_node(1, crash_at, crash_at + 5, Effect::Crash { mid_write: false })).unwrap();
    w.run_until(ms(5_900)).unwrap();
    ledger(&w).values.len()
}

#[test]
fn a_phantom_write_is_gone_after_a_crash() {
    for k in 0..10 {
        assert_eq!(left_after_phantom(Ratio::ALWAYS, Ratio::NEVER, 5_100 + k), 10);
    }
    // A sync that did nothing leaves it to the crash's draws.
    let left: Vec<_> = (0..20).map(|k| left_after_phantom(Ratio::NEVER, Ratio::ALWAYS, 5_100 + k)).collect();
    assert!(left.contains(&10) && left.contains(&11), "{left:?}");
}

#[test]
fn a_full_disk_refuses_growth() {
    let mut w = written(vec![on_node(1, 5_000, 6_000, Effect::DiskFull { free: ByteCount(30) })], 10);
    w.run_until(ms(5_001)).unwrap();
    ask(&mut w, Ask::Append(11));
    assert_eq!(w.fired().of(FaultKind::DiskFull), 0, "24 bytes are left");
    ask(&mut w, Ask::Append(12));
    assert_eq!(w.fired().of(FaultKind::DiskFull), 1);
    assert!(w.view().machine(N1).is_none(), "it ended itself");
    w.run_until(ms(8_000)).unwrap();
    assert_eq!(ledger(&w).values.len(), 11);
}

#[test]
fn a_failed_sync_loses_what_was_not_synced() {
    let syncs = Ratio::ALWAYS;
    let e = Effect::DiskError { reads: Ratio::NEVER, writes: Ratio::NEVER, syncs };
    let mut w = written(vec![on_node(1, 5_000, 5_100, e)], 10);
    w.run_until(ms(5_001)).unwrap();
    ask(&mut w, Ask::Append(11));
    assert_eq!(w.fired().of(FaultKind::DiskError), 1);
    w.run_until(ms(8_000)).unwrap();
    assert_eq!(ledger(&w).values.len(), 10);
    assert_eq!(w.view().incarnation(N1), 2);
}

#[test]
fn a_slow_disk_is_slow_and_a_stalled_one_waits_for_the_end() {
    for (extra, stalled, least) in [(20, false, 40), (0, true, 99)] {
        let e = Effect::SlowDisk { extra: Duration::millis(extra), stalled };
        let mut w = written(vec![on_node(1, 5_000, 5_100, e)], 10);
        w.run_until(ms(5_001)).unwrap();
        ask(&mut w, Ask::Append(11));
        let took = w.now().since(ms(5_001)).as_millis();
        assert!((least..least + 5).contains(&took), "{took} ms");
        assert!(w.fired().of(FaultKind::SlowDisk) > 0);
    }
}

#[test]
fn a_torn_write_leaves_some_sectors() {
    // A snapshot is 40,000 bytes in ten blocks, written by a job and torn inside of it.
    let mut torn = 0;
    for seed in 0..30 {
        let faults = crashes(&Effect::TornWrite {}, 40, 2_000);
        let (w, _) = run(seed, Flaw::None, faults, 2_000).unwrap();
        torn += w.fired().of(FaultKind::TornWrite);
    }
    assert!(torn > 10, "{torn}");
}

#[test]
fn disks_take_little_memory() {
    let mut w = written(vec![], 300);
    let before = w.disk_memory();
    w.run_until(ms(5_001)).unwrap();
    let storage = ledger(&w).storage.clone();
    // A preallocated segment of zeros.
    let f = storage.create(&dwcp_env::disk::FileName::new("segment").unwrap()).unwrap();
    f.set_len(16 << 20).unwrap();
    assert_eq!(w.disk_memory(), before);
    f.write_at(1 << 20, &[1; 10_000]).unwrap();
    assert!(w.disk_memory() - before <= 4 * 4_096);
}
