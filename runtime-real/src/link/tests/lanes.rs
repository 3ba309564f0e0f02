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

/// Round trips of a heartbeat, while `flood` keeps the bulk lane full.
async fn heartbeats(a: &Party, b: &Party, flood: bool) -> hdrhistogram::Histogram<u64> {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let filler = flood.then(|| {
        let (links, stop) = (a.links.clone(), stop.clone());
        tokio::spawn(async move {
            let chunk = Bytes::from(vec![7; 256 * 1024]);
            while !stop.load(Ordering::Relaxed) {
                let room = links.status()[0].waiting < 128;
                if room {
                    let send = ToPeer { to: NodeId(2), lane: Lane::Bulk, body: chunk.clone(), after: None };
                    links.carry(send);
                    links.flush();
                } else {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                }
            }
        })
    });
    let echo = {
        let (links, ear, stop) = (b.links.clone(), b.ear.clone(), stop.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let (_, lane, body) = ear.next().await;
                if lane == Lane::Control {
                    links.carry(ToPeer { to: NodeId(1), lane, body, after: None });
                    links.flush();
                }
            }
        })
    };
    let mut times = hdrhistogram::Histogram::new(3).unwrap();
    for n in 0..400_u32 {
        let n = n + if flood { 1_000 } else { 0 };
        let start = Instant::now();
        a.send(2, Lane::Control, n.to_le_bytes().to_vec());
        while a.ear.next().await.2 != n.to_le_bytes()[..] {}
        times.record(start.elapsed().as_micros() as u64).unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.store(true, Ordering::Relaxed);
    a.send(2, Lane::Control, "last");
    echo.await.unwrap();
    if let Some(f) = filler {
        f.await.unwrap();
    }
    times
}

async fn bulk_never_delays_a_heartbeat(transport: Transport, deaf: bool) {
    let hood = Hood::new(transport);
    let ear = if deaf { Ear::deaf_to_bulk() } else { Ear::default() };
    let (a, b) = (hood.node(1), hood.party(hood.identity(CLUSTER, 2), 0, ear));
    hood.introduce(&a, &b);
    hood.introduce(&b, &a);
    a.until_up().await;
    b.until_up().await;
    let calm = heartbeats(&a, &b, false).await;
    let storm = heartbeats(&a, &b, true).await;
    let p = |h: &hdrhistogram::Histogram<u64>| [0.5, 0.99, 1.0].map(|q| h.value_at_quantile(q));
    println!("{transport:?} deaf={deaf}: µs at p50 p99 max: calm {:?}, under bulk {:?}", p(&calm), p(&storm));
    // Two cores that also build: the figure is printed, the bound only catches queueing behind
    // bulk, which would be 32 MiB, some hundred milliseconds or (if deaf) for ever.
    assert!(storm.value_at_quantile(0.99) < 60_000, "{:?}", p(&storm));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_words_leave_before_the_end() {
    let (a, b) = Hood::new(Transport::Tcp).pair();
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
}
