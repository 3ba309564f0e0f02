//! Each fault of links fires and has its effect, and only that.
use crate::machines::{Chatter, ms, on_links, plan};
use dwcp_env::{ByteCount, Duration, NodeId, Rate, Ratio};
use dwcp_runtime_sim::{Effect, Fault, FaultKind, SimWorld};

const HALF: Ratio = Ratio { num: 1, den: 2 };

fn run(fault: Option<Fault>, size: usize) -> SimWorld<Chatter> {
    let kind = fault.as_ref().map(Fault::kind);
    let mut p = plan(1, 3, 100);
    p.faults.extend(fault);
    let mut w = SimWorld::new(p, Chatter::boot(3, size)).unwrap();
    w.run_until(ms(200)).unwrap();
    for (k, n) in w.fired().iter() {
        assert_eq!(n > 0, Some(k) == kind, "{k} fired {n} times");
    }
    w
}

fn heard(w: &SimWorld<Chatter>, at: u64, from: u64) -> Vec<u64> {
    w.view().machine(NodeId(at)).unwrap().from(from)
}

/// What node 1 missed of 2's numbers sent in the window.
fn missing(w: &SimWorld<Chatter>, at: u64, from: u64) -> Vec<u64> {
    let got = heard(w, at, from);
    (0..100).filter(|n| !got.contains(n)).collect()
}

#[test]
fn without_faults_everything_arrives_in_order_after_its_time() {
    let w = run(None, 64);
    let m = w.view().machine(NodeId(1)).unwrap();
    let got = m.from(2);
    assert_eq!(got[..150], (0..150).collect::<Vec<_>>()[..]);
    for (_, n, at) in m.heard.iter().filter(|h| h.0 == NodeId(2)) {
        assert_eq!(*at, ms(n + 5), "number {n}");
    }
}

#[test]
fn a_partition_cuts_both_ways() {
    let w = run(Some(on_links(&[1], &[2], 20, 40, Effect::Partition {})), 64);
    assert_eq!(missing(&w, 1, 2), (20..40).collect::<Vec<_>>());
    assert_eq!(missing(&w, 2, 1), (20..40).collect::<Vec<_>>());
    assert!(missing(&w, 3, 1).is_empty());
}

#[test]
fn a_one_way_partition_cuts_one_way() {
    let w = run(Some(on_links(&[1], &[2], 20, 40, Effect::PartitionOneWay {})), 64);
    assert_eq!(missing(&w, 2, 1), (20..40).collect::<Vec<_>>());
    assert!(missing(&w, 1, 2).is_empty());
}

#[test]
fn a_clog_holds_and_lets_go_in_order() {
    let w = run(Some(on_links(&[2], &[1], 20, 60, Effect::Clog {})), 64);
    assert!(missing(&w, 1, 2).is_empty());
    let m = w.view().machine(NodeId(1)).unwrap();
    let late: Vec<_> = m.heard.iter().filter(|h| h.0 == NodeId(2) && h.2 == ms(60)).map(|h| h.1).collect();
    // Those of 55 and later would have come at 60 and after anyway.
    assert_eq!(late, (20..56).collect::<Vec<_>>());
}

#[test]
fn delay_makes_late_and_keeps_the_order() {
    let e = Effect::Delay { extra: Duration::millis(10), jitter: Duration::millis(3) };
    let w = run(Some(on_links(&[2], &[1], 20, 40, e)), 64);
    let m = w.view().machine(NodeId(1)).unwrap();
    assert!(m.from(2).is_sorted() && missing(&w, 1, 2).is_empty());
    for (_, n, at) in m.heard.iter().filter(|h| h.0 == NodeId(2) && (20..40).contains(&h.1)) {
        assert!(*at >= ms(n + 15) && *at <= ms(n + 22), "number {n} at {at}");
    }
}

#[test]
fn reorder_lets_messages_overtake() {
    let w = run(
        Some(on_links(&[2], &[1], 20, 60, Effect::Reorder { rate: HALF, extra: Duration::millis(5) })),
        64,
    );
    assert!(!heard(&w, 1, 2).is_sorted());
    assert!(missing(&w, 1, 2).is_empty());
    assert!(heard(&w, 3, 2).is_sorted());
}

#[test]
fn duplicates_come_twice() {
    let e = Effect::Duplicate { rate: HALF, extra: Duration::millis(5) };
    let w = run(Some(on_links(&[2], &[1], 20, 60, e)), 64);
    let got = heard(&w, 1, 2);
    let twice = (0..100).filter(|n| got.iter().filter(|g| *g == n).count() == 2).count();
    assert_eq!(twice as u64, w.fired().of(FaultKind::Duplicate));
    assert!((10..30).contains(&twice));
    assert!(missing(&w, 1, 2).is_empty());
}

#[test]
fn drops_come_in_bursts() {
    let e = Effect::Drop { rate: Ratio { num: 1, den: 10 }, burst: 5 };
    let w = run(Some(on_links(&[2], &[1], 10, 90, e)), 64);
    let gone = missing(&w, 1, 2);
    assert_eq!(gone.len() as u64, w.fired().of(FaultKind::Drop));
    // Bursts of five or, where one met the next, more.
    let runs: Vec<usize> = gone.chunk_by(|a, b| a + 1 == *b).map(<[u64]>::len).collect();
    assert!(!runs.is_empty() && runs.iter().all(|r| *r >= 5), "{runs:?}");
}

#[test]
fn a_narrow_link_queues_and_then_loses() {
    let e = Effect::Bandwidth { rate: Rate { bytes_per_s: 500_000 }, queue: ByteCount(10_000) };
    let w = run(Some(on_links(&[2], &[1], 10, 60, e)), 1_000);
    let m = w.view().machine(NodeId(1)).unwrap();
    let times: Vec<_> = m.heard.iter().filter(|h| h.0 == NodeId(2)).map(|h| h.2).collect();
    let gaps: Vec<u64> = times.windows(2).map(|t| t[1].since(t[0]).as_micros()).collect();
    // 1,000 bytes and their headers take 2.148 ms at half a megabyte a second.
    assert!(gaps.iter().filter(|g| (2_147..=2_149).contains(*g)).count() > 15, "{gaps:?}");
    assert!(!missing(&w, 1, 2).is_empty());
    assert!(missing(&w, 3, 2).is_empty());
}

#[test]
fn a_corrupted_frame_is_refused() {
    let w = run(Some(on_links(&[2], &[1], 20, 60, Effect::CorruptPacket { rate: HALF, bits: 8 })), 64);
    let gone = missing(&w, 1, 2).len() as u64;
    assert_eq!(gone, w.fired().of(FaultKind::CorruptPacket));
    assert_eq!(gone, w.stats().bad_frames);
    assert!((10..30).contains(&gone));
    assert_eq!(w.view().machine(NodeId(1)).unwrap().odd, 0, "nothing altered was delivered");
}

#[test]
fn urgent_lanes_do_not_wait_for_bulk() {
    use bytes::Bytes;
    use dwcp_env::{Input, Lane, Machine, Now, Outputs, Send};
    struct Sender(NodeId, Vec<(Lane, dwcp_env::Instant)>);
    impl Machine for Sender {
        type Request = ();
        type Response = ();
        fn step(&mut self, now: Now, input: Input<()>, out: &mut Outputs<()>) {
            match input {
                Input::Wake if self.0 == NodeId(1) => {
                    for (lane, size) in [(Lane::Bulk, 100_000), (Lane::Control, 100)] {
                        let body = Bytes::from(vec![0; size]);
                        out.sends.push(Send { to: NodeId(2), lane, body, after: None });
                    }
                }
                Input::Message { lane, .. } => self.1.push((lane, now.mono)),
                _ => {}
            }
        }
    }
    let mut p = plan(1, 2, 1_000);
    p.net.bandwidth = Rate { bytes_per_s: 1_000_000 };
    let mut w = SimWorld::new(p, |id, _, _| Ok(Sender(id, vec![]))).unwrap();
    w.run_until(ms(500)).unwrap();
    let got = &w.view().machine(NodeId(2)).unwrap().1;
    assert_eq!(got[0].0, Lane::Control);
    assert!(got[0].1 < ms(6) && got[1].1 > ms(105), "{got:?}");
}
