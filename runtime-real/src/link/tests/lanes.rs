//! What travels, in which order, how fast, and again after a break.

use super::*;

async fn every_lane_carries_both_ways(transport: Transport) {
    let (a, b) = Hood::new(transport).pair();
    a.until_up().await;
    b.until_up().await;
    for lane in Lane::ALL {
        for n in 0..300_u32 {
            a.send(2, lane, n.to_le_bytes().to_vec());
        }
        let large = Bytes::from(vec![lane as u8; FRAME_BODY_MAX.as_usize()]);
        a.send(2, lane, large.clone());
        for n in 0..300_u32 {
            assert_eq!(b.ear.next().await, (NodeId(1), lane, Bytes::from(n.to_le_bytes().to_vec())));
        }
        assert_eq!(b.ear.next().await, (NodeId(1), lane, large));
        b.send(1, lane, "back");
        assert_eq!(a.ear.next().await, (NodeId(2), lane, Bytes::from("back")));
    }
    assert_eq!(a.links.status()[0].dropped, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lane_carries_both_ways_over_tcp() {
    every_lane_carries_both_ways(Transport::Tcp).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_lane_carries_both_ways_over_quic() {
    every_lane_carries_both_ways(Transport::Quic).await;
}

async fn a_restarted_peer_is_found_again(transport: Transport) {
    let hood = Hood::new(transport);
    let (a, b) = hood.pair();
    a.until_up().await;
    let port = b.links.local_address().port();
    b.links.close().await;
    drop(b);
    a.until("down", |s| s.connected.is_empty()).await;
    // Said into the void: bounded, and gone when it comes back.
    for _ in 0..10_000 {
        a.send(2, Lane::Data, "stale");
    }
    a.until("tried", |s| s.waiting == 0).await;
    let again = loop {
        let free = std::net::UdpSocket::bind(("127.0.0.1", port)).is_ok();
        if free {
            break hood.party(hood.identity(CLUSTER, 2), port, Ear::default());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let start = Instant::now();
    hood.introduce(&again, &a);
    a.until_up().await;
    let took = start.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    a.send(2, Lane::Data, "fresh");
    assert_eq!(again.ear.next().await.2, "fresh");
    let status = &a.links.status()[0];
    assert!(status.dropped >= 10_000 && status.last_error.is_empty(), "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_found_again_over_tcp() {
    a_restarted_peer_is_found_again(Transport::Tcp).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_is_found_again_over_quic() {
    a_restarted_peer_is_found_again(Transport::Quic).await;
}

type Times = hdrhistogram::Histogram<u64>;

/// Microseconds of a heartbeat's round trip, and of a bulk frame from its push to its delivery while
/// `flood` keeps the bulk lane full.
async fn heartbeats(a: &Party, b: &Party, flood: bool) -> (Times, Times) {
    let begin = Instant::now();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let filler = flood.then(|| {
        let (links, stop) = (a.links.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                if links.status()[0].waiting < 128 {
                    let mut chunk = vec![7; 256 * 1024];
                    chunk[..8].copy_from_slice(&(begin.elapsed().as_micros() as u64).to_le_bytes());
                    links.carry(ToPeer { to: NodeId(2), lane: Lane::Bulk, body: chunk.into(), after: None });
                    links.flush();
                } else {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        })
    });
    let echo = {
        let (links, ear) = (b.links.clone(), b.ear.clone());
        tokio::spawn(async move {
            let mut bulk = Times::new(3).unwrap();
            loop {
                let (_, lane, body) = ear.next().await;
                if lane == Lane::Bulk {
                    let pushed = u64::from_le_bytes(*body.first_chunk().unwrap());
                    bulk.record(begin.elapsed().as_micros() as u64 - pushed).unwrap();
                } else if body == "last" {
                    return bulk;
                } else {
                    links.carry(ToPeer { to: NodeId(1), lane, body, after: None });
                    links.flush();
                }
            }
        })
    };
    let mut times = Times::new(3).unwrap();
    for n in 0..400_u32 {
        let start = Instant::now();
        a.send(2, Lane::Control, n.to_le_bytes().to_vec());
        assert_eq!(a.ear.next().await.2, n.to_le_bytes()[..]);
        times.record(start.elapsed().as_micros() as u64).unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.store(true, Ordering::Relaxed);
    a.send(2, Lane::Control, "last");
    let bulk = echo.await.unwrap();
    if let Some(f) = filler {
        f.await.unwrap();
    }
    (times, bulk)
}

async fn bulk_never_delays_a_heartbeat(transport: Transport, deaf: bool) {
    let hood = Hood::new(transport);
    let ear = if deaf { Ear::deaf_to_bulk() } else { Ear::default() };
    let (a, b) = (hood.node(1), hood.party(hood.identity(CLUSTER, 2), 0, ear));
    hood.introduce(&a, &b);
    hood.introduce(&b, &a);
    a.until_up().await;
    b.until_up().await;
    let (calm, _) = heartbeats(&a, &b, false).await;
    let (storm, bulk) = heartbeats(&a, &b, true).await;
    let p = |h: &Times| [0.5, 0.99, 1.0].map(|q| h.value_at_quantile(q));
    println!(
        "{transport:?} deaf={deaf}: µs at p50 p99 max: calm {:?}, under bulk {:?}, bulk itself {:?}",
        p(&calm),
        p(&storm),
        p(&bulk)
    );
    // Two cores do everything at once here, so the figures are those of a starved machine; that a
    // heartbeat does not queue behind bulk shows in what bulk itself waits. If nothing of bulk is
    // ever taken, queueing would be for ever.
    if !deaf {
        let (heartbeat, bulk) = (storm.value_at_quantile(0.99), bulk.value_at_quantile(0.5));
        assert!(heartbeat < bulk / 2, "a heartbeat takes {heartbeat} µs, bulk {bulk} µs");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_never_delays_a_heartbeat_over_tcp() {
    bulk_never_delays_a_heartbeat(Transport::Tcp, false).await;
    bulk_never_delays_a_heartbeat(Transport::Tcp, true).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bulk_never_delays_a_heartbeat_over_quic() {
    bulk_never_delays_a_heartbeat(Transport::Quic, false).await;
    bulk_never_delays_a_heartbeat(Transport::Quic, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_injected_delay_and_cut_act_on_one_direction() {
    let (a, b) = Hood::new(Transport::Tcp).pair();
    a.until_up().await;
    b.until_up().await;
    let inject = a.links.inject().unwrap();
    inject.delay(NodeId(2), Duration::from_millis(80));
    let start = Instant::now();
    a.send(2, Lane::Control, "late");
    a.send(2, Lane::Control, "too");
    assert_eq!(b.ear.next().await.2, "late");
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(80) && took < Duration::from_secs(2), "{took:?}");
    assert_eq!(b.ear.next().await.2, "too");
    inject.delay(NodeId(2), Duration::ZERO);
    inject.cut(NodeId(2), true);
    a.send(2, Lane::Control, "lost");
    b.send(1, Lane::Control, "other way");
    assert_eq!(a.ear.next().await.2, "other way");
    inject.heal();
    a.send(2, Lane::Control, "mended");
    assert_eq!(b.ear.next().await.2, "mended");
    assert_eq!(a.links.status()[0].dropped, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_is_removed_is_hung_up_on() {
    let (a, b) = Hood::new(Transport::Tcp).pair();
    a.until_up().await;
    a.links.set_peers(Vec::new());
    assert!(a.links.status().is_empty());
    a.send(2, Lane::Data, "to nobody");
    assert_eq!(b.ear.try_next(), None);
}

async fn last_words_leave_before_the_end(transport: Transport) {
    let (a, b) = Hood::new(transport).pair();
    a.until_up().await;
    for n in 0..1_000_u32 {
        a.links.carry(ToPeer {
            to: NodeId(2),
            lane: Lane::Data,
            body: n.to_le_bytes().to_vec().into(),
            after: None,
        });
    }
    a.links.flush();
    a.links.close().await;
    for n in 0..1_000_u32 {
        assert_eq!(b.ear.next().await.2, n.to_le_bytes().to_vec());
    }
    // Whoever ends well is not logged as a fault.
    assert!(!b.registry.render().contains("dwcp_link_refused_total{"), "{}", b.registry.render());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_words_leave_before_the_end_over_tcp() {
    last_words_leave_before_the_end(Transport::Tcp).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_words_leave_before_the_end_over_quic() {
    last_words_leave_before_the_end(Transport::Quic).await;
}
