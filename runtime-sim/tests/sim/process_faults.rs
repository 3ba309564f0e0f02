//! Each fault of processes and clocks fires and has its effect.
use crate::machines::{Ask, Chatter, Flaw, Ledger, ms, on_node, plan};
use dwcp_env::{Duration, Instant, NodeId, Ratio};
use dwcp_runtime_sim::{Advance, Effect, Fault, FaultKind, Heard, Keep, SimWorld};

fn run(fault: Fault, until: u64) -> SimWorld<Chatter> {
    let kind = fault.kind();
    let mut p = plan(1, 2, until);
    p.faults.push(fault);
    let mut w = SimWorld::new(p, Chatter::boot(2, 64)).unwrap();
    w.run_until(ms(until)).unwrap();
    assert!(w.fired().of(kind) > 0, "{kind} never fired");
    w
}

fn machine(w: &SimWorld<Chatter>, n: u64) -> &Chatter {
    w.view().machine(NodeId(n)).unwrap()
}

#[test]
fn skew_moves_the_calendar_and_goes_back() {
    for honest in [true, false] {
        let nanos = -70_000_000;
        let w = run(on_node(1, 20, 40, Effect::ClockSkew { nanos, honest }), 60);
        for c in &machine(&w, 1).clocks {
            let at = c.mono.as_nanos() / 1_000_000;
            let real = 1_767_225_600_000_000_000 + c.mono.as_nanos();
            let inside = (20..40).contains(&at);
            let off = c.wall.as_nanos().abs_diff(real);
            assert_eq!(off, if inside { 70_000_000 } else { 0 }, "at {at}");
            assert_eq!(c.uncertainty.as_nanos() >= off, honest || !inside, "at {at}");
        }
    }
}

#[test]
fn drift_bends_the_monotonic_clock_and_its_timers() {
    let w = run(on_node(1, 100, 900, Effect::ClockDrift { ppm: 50_000 }), 1_000);
    let (fast, sound) = (machine(&w, 1).next, machine(&w, 2).next);
    // 800 ms at 5 % more: 40 timers of a millisecond.
    assert!((38..=42).contains(&(fast - sound)), "{fast} against {sound}");
    assert!(machine(&w, 1).clocks.is_sorted_by_key(|c| c.mono));
}

#[test]
fn a_jump_moves_the_calendar_for_good() {
    let w = run(on_node(1, 20, 20, Effect::ClockJump { nanos: -3_000_000_000 }), 60);
    let c = machine(&w, 1).clocks.clone();
    let walls: Vec<_> = c.iter().map(|c| c.wall).collect();
    assert!(!walls.is_sorted(), "the calendar went back");
    assert!(c.is_sorted_by_key(|c| c.mono));
    let last = c.last().unwrap();
    assert_eq!(last.wall.as_nanos() + 3_000_000_000, 1_767_225_600_000_000_000 + last.mono.as_nanos());
}

#[test]
fn a_paused_process_hears_everything_late() {
    let w = run(on_node(1, 20, 50, Effect::Pause {}), 100);
    let m = machine(&w, 1);
    assert!(m.clocks.iter().all(|c| c.mono < ms(20) || c.mono >= ms(50)));
    assert_eq!(m.from(2)[..90], (0..90).collect::<Vec<_>>()[..]);
    // Its own timer stood still as well.
    assert!((65..75).contains(&m.next), "{}", m.next);
}

#[test]
fn a_crash_ends_and_boots_again() {
    let w = run(on_node(1, 20, 50, Effect::Crash { mid_write: false }), 100);
    assert_eq!(w.view().incarnation(NodeId(1)), 2);
    let m = machine(&w, 1);
    // What 2 sent before 45 ms came while 1 was down.
    assert_eq!(m.from(2)[0], 45);
    assert!(m.clocks.iter().all(|c| c.mono >= ms(50)), "the clock does not start over");
    assert_eq!(w.fired().of(FaultKind::Crash), 1);
}

#[test]
fn a_version_change_asks_and_then_boots_the_other() {
    let w = run(on_node(1, 20, 50, Effect::VersionChange { version: 7 }), 100);
    assert_eq!(machine(&w, 1).version, 7);
    assert_eq!(machine(&w, 2).version, 0);
    assert_eq!(w.view().incarnation(NodeId(1)), 2);
}

#[test]
fn a_liar_alters_repeats_replays_and_withholds() {
    let rate = Ratio { num: 1, den: 4 };
    let none = Ratio::NEVER;
    let lie = |mutate, duplicate, replay, withhold| {
        let e = Effect::Byzantine { mutate, duplicate, replay, withhold };
        let w = run(on_node(2, 20, 80, e), 100);
        let m = machine(&w, 1);
        let mut sorted = m.from(2);
        sorted.sort_unstable();
        let repeats = sorted.windows(2).filter(|p| p[0] == p[1]).count();
        let missing = (0..90).filter(|n| !sorted.contains(n)).count();
        (m.odd, repeats, missing, m.from(2).is_sorted())
    };
    let (odd, _, missing, _) = lie(rate, none, none, none);
    assert!(odd > 5 && missing as u64 >= odd);
    let (odd, repeats, missing, sorted) = lie(none, rate, none, none);
    assert!(odd == 0 && repeats > 5 && missing == 0 && sorted);
    let (odd, repeats, missing, sorted) = lie(none, none, rate, none);
    assert!(odd == 0 && repeats > 5 && missing == 0 && !sorted);
    let (odd, repeats, missing, _) = lie(none, none, none, rate);
    assert!(odd == 0 && repeats == 0 && missing > 5);
}

#[test]
fn a_wipe_leaves_nothing() {
    let mut p = plan(1, 1, 1_000);
    p.faults.push(on_node(1, 500, 600, Effect::Wipe {}));
    let mut w = SimWorld::new(p, Ledger::boot(Flaw::None)).unwrap();
    w.timer(ms(100), 0);
    while !matches!(w.advance(ms(400)), Advance::Limit) {
        w.request(NodeId(1), Ask::Append(5), Instant::FAR);
        assert!(matches!(w.advance(ms(400)), Advance::Client(_)));
    }
    assert_eq!(w.view().machine(NodeId(1)).unwrap().values, [5]);
    w.run_until(ms(900)).unwrap();
    assert!(w.view().machine(NodeId(1)).unwrap().values.is_empty());
    assert_eq!(w.fired().of(FaultKind::Wipe), 1);
}

#[test]
fn a_panic_is_a_violation_with_its_place_and_ends_the_run() {
    struct Bomb;
    impl dwcp_env::Machine for Bomb {
        type Request = ();
        type Response = ();
        fn step(&mut self, now: dwcp_env::Now, _: dwcp_env::Input<()>, out: &mut dwcp_env::Outputs<()>) {
            assert!(now.mono < ms(50), "boom at {}", now.mono);
            out.wake_at = Some(now.mono + Duration::millis(10));
        }
    }
    let mut w = SimWorld::new(plan(1, 2, 100), |_, _, _| Ok(Bomb)).unwrap();
    let v = w.run_until(ms(100)).unwrap_err();
    assert_eq!((v.name.as_str(), v.at, v.node), ("panic", ms(50), Some(NodeId(1))));
    assert!(v.detail.contains("boom at") && v.detail.contains("process_faults.rs"), "{v}");
    assert_eq!(w.now(), ms(50));
}

#[test]
fn a_ticket_that_was_never_handed_out_is_a_violation() {
    struct Liar;
    impl dwcp_env::Machine for Liar {
        type Request = ();
        type Response = ();
        fn step(&mut self, _: dwcp_env::Now, _: dwcp_env::Input<()>, out: &mut dwcp_env::Outputs<()>) {
            let (lane, body) = (dwcp_env::Lane::Data, bytes::Bytes::new());
            let after = Some(dwcp_env::Ticket(1));
            out.sends.push(dwcp_env::Send { to: NodeId(1), lane, body, after });
        }
    }
    let mut w = SimWorld::new(plan(1, 1, 100), |_, _, _| Ok(Liar)).unwrap();
    assert_eq!(w.run_until(ms(100)).unwrap_err().name, "contract.ticket");
}

#[test]
fn clients_learn_of_broken_connections_and_deadlines() {
    let mut p = plan(1, 1, 1_000);
    p.faults.push(on_node(1, 100, 200, Effect::Crash { mid_write: false }));
    p.faults.push(on_node(1, 300, 500, Effect::Pause {}));
    let mut w = SimWorld::new(p, Ledger::boot(Flaw::None)).unwrap();
    for (token, at) in [50, 99, 150, 310].into_iter().enumerate() {
        w.timer(Instant::ZERO + Duration::micros(at * 1_000 + 700), token as u64);
    }
    let mut told = Vec::new();
    loop {
        match w.advance(ms(900)) {
            Advance::Timer(t) => {
                w.request(NodeId(1), Ask::Append(t), w.now() + Duration::millis(100));
            }
            Advance::Client(e) => told.push(match e.heard {
                Heard::Reply { response, end: true } => format!("{response}"),
                Heard::Reply { .. } => "partial".into(),
                Heard::Broken => "broken".into(),
                Heard::Expired => "expired".into(),
            }),
            Advance::Limit => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["0", "broken", "broken", "expired"]);
    assert_eq!(w.open_requests(), 0);
    assert_eq!(w.stats().late_replies, 1);
}

#[test]
fn steps_that_take_time_saturate_a_node() {
    // 2 and 3 send 1 a message a millisecond each; a turn takes 0.3 ms and each input 0.4.
    let mut p = plan(1, 3, 400);
    p.process.turn = Duration::micros(300);
    p.process.input = Duration::micros(400);
    let mut w = SimWorld::new(p.clone(), Chatter::boot(3, 64)).unwrap();
    w.run_until(ms(400)).unwrap();
    let late = |w: &SimWorld<Chatter>| {
        let heard = &w.view().machine(NodeId(1)).unwrap().heard;
        heard.iter().map(|h| h.2.since(ms(h.1 + 5)).as_millis()).max().unwrap()
    };
    let busy = late(&w);
    p.process.input = Duration::micros(10);
    p.process.turn = Duration::micros(10);
    let mut w = SimWorld::new(p, Chatter::boot(3, 64)).unwrap();
    w.run_until(ms(400)).unwrap();
    assert!(late(&w) < 20 && busy > 100, "{busy} ms against {} ms", late(&w));
}

#[test]
fn a_stopped_node_stays_down_and_a_failed_one_comes_back() {
    let mut w = SimWorld::new(plan(1, 2, 1_000), Chatter::boot(2, 64)).unwrap();
    w.keep(Keep::Everything);
    w.run_until(ms(50)).unwrap();
    w.stop(NodeId(1), ms(80));
    w.run_until(ms(900)).unwrap();
    assert!(w.view().machine(NodeId(1)).is_none());
    let json = serde_json::to_string(w.events()).unwrap();
    assert!(json.contains(r#""kind":"stopped""#) && json.contains(r#""asked":true"#));
}

/// Puts its wake off when it hears something, and notes when it is woken.
struct PutsOff {
    id: NodeId,
    woken: Vec<Instant>,
}

impl dwcp_env::Machine for PutsOff {
    type Request = ();
    type Response = ();
    fn step(&mut self, now: dwcp_env::Now, input: dwcp_env::Input<()>, out: &mut dwcp_env::Outputs<()>) {
        match input {
            dwcp_env::Input::Wake => {
                self.woken.push(now.mono);
                if self.woken.len() == 1 {
                    let (lane, body) = (dwcp_env::Lane::Control, bytes::Bytes::new());
                    let to = NodeId(3 - self.id.0);
                    out.sends.push(dwcp_env::Send { to, lane, body, after: None });
                    out.wake_at = Some(ms(50));
                }
            }
            dwcp_env::Input::Message { .. } => out.wake_at = Some(ms(80)),
            _ => {}
        }
    }
}

#[test]
fn a_wake_that_was_put_off_comes_at_its_new_time_and_once() {
    for turn in [0, 100] {
        let mut p = plan(1, 2, 400);
        p.process.turn = Duration::micros(turn);
        let mut w = SimWorld::new(p, |id, _, _| Ok(PutsOff { id, woken: Vec::new() })).unwrap();
        w.run_until(ms(400)).unwrap();
        for n in [1, 2] {
            let woken = &w.view().machine(NodeId(n)).unwrap().woken;
            assert_eq!(woken[1..], [ms(80) + Duration::micros(turn)], "a turn takes {turn} us");
        }
    }
}
