//! Datagrams: over QUIC, also when the path is long and loses; over TCP there are none.

use super::*;
use dwcp_env::Purpose;
use tokio::net::UdpSocket;

const LOSS: Purpose = Purpose::named("test.path");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_carries_datagrams_beside_its_lanes() {
    let (a, b) = Hood::new(Transport::Quic).pair();
    a.until_up().await;
    b.until_up().await;
    let largest = vec![7; DATAGRAM_MAX.as_usize()];
    // One may be lost on its way through this machine, and those sent before the welcome are.
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    let heard = loop {
        assert!(tokio::time::Instant::now() < until, "no datagram in 20 s");
        a.send(2, Lane::Datagram, largest.clone());
        tokio::time::sleep(Duration::from_millis(20)).await;
        if let Some(heard) = b.ear.try_next() {
            break heard;
        }
    };
    assert_eq!(heard, (NodeId(1), Lane::Datagram, largest.into()));
    a.send(2, Lane::Datagram, vec![7; DATAGRAM_MAX.as_usize() + 1]);
    assert_eq!(a.links.status()[0].dropped, 1, "it fits no packet");
    a.send(2, Lane::Data, "in order");
    while b.ear.next().await != (NodeId(1), Lane::Data, Bytes::from("in order")) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_drops_datagrams_and_counts_them() {
    let (a, b) = Hood::new(Transport::Tcp).pair();
    a.until_up().await;
    a.send(2, Lane::Datagram, "one");
    a.send(2, Lane::Data, "two");
    assert_eq!(b.ear.next().await.2, "two");
    assert_eq!(a.links.status()[0].dropped, 1);
}

/// What lies between two nodes.
#[derive(Clone, Copy)]
struct Way {
    long: Duration,
    /// One packet in so many is lost in each direction.
    nth_lost: Option<u64>,
    /// Bytes a second that get through, and bytes that wait for their turn.
    narrow: Option<(u64, u64)>,
    /// The largest packet.
    largest: usize,
}

impl Way {
    /// When a packet that comes now arrives, if it does; `free` is when the one before it is through.
    fn arrival(&self, free: &mut Instant, bytes: usize) -> Option<Instant> {
        let now = Instant::now();
        if let Some((rate, room)) = self.narrow {
            let waits = free.saturating_duration_since(now);
            if waits.as_secs_f64() * rate as f64 > room as f64 {
                return None;
            }
            *free = now + waits + Duration::from_secs_f64(bytes as f64 / rate as f64);
        }
        (bytes <= self.largest).then(|| now.max(*free) + self.long)
    }
}

/// Such a way between a dialler and `to`: where to dial.
async fn path(to: SocketAddr, way: Way) -> SocketAddr {
    let near = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    let far = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    far.connect(to).await.unwrap();
    let address = near.local_addr().unwrap();
    let (dialler, who) = watch::channel(None);
    for out in [true, false] {
        let (near, far, dialler, who) = (near.clone(), far.clone(), dialler.clone(), who.clone());
        let (push, mut pull) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
        let (from, into) = if out { (near.clone(), far.clone()) } else { (far.clone(), near.clone()) };
        tokio::spawn(async move {
            let (mut buf, mut free) = (vec![0; 65_536], Instant::now());
            for n in 0_u64.. {
                // A port that nobody listens on any more answers with an error.
                let Ok((length, sender)) = from.recv_from(&mut buf).await else { continue };
                if out {
                    dialler.send_replace(Some(sender));
                }
                let draw = |nth| Seed(5).below(nth, LOSS, u64::from(out), dwcp_env::Instant::ZERO, n);
                if way.nth_lost.is_some_and(|nth| draw(nth) == 0) {
                    continue;
                }
                let Some(due) = way.arrival(&mut free, length) else { continue };
                if push.send((due, buf[..length].to_vec())).is_err() {
                    return;
                }
            }
        });
        tokio::spawn(async move {
            while let Some((due, packet)) = pull.recv().await {
                tokio::time::sleep_until(due.into()).await;
                let back = *who.borrow();
                let _may_be_gone = match back.filter(|_| !out) {
                    Some(dialler) => into.send_to(&packet, dialler).await,
                    None => into.send(&packet).await,
                };
            }
        });
    }
    address
}

/// 13 Mbit/s of datagrams over a path of 160 ms one way that loses one packet in a hundred: those that arrive take what the way
/// takes. With Cubic in the controller's place the window lets half a Mbit/s through, and they wait for seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_way_that_loses_one_in_a_hundred_keeps_its_rate() {
    const PER_TICK: u64 = 15;
    let hood = Hood::new(Transport::Quic);
    let (a, b) = (hood.node(1), hood.node(2));
    let long = Duration::from_millis(160);
    let way = Way { long, nth_lost: Some(100), narrow: None, largest: 65_536 };
    let address = path(b.links.local_address(), way).await;
    a.links.set_peers(vec![Peer { node: NodeId(2), address: address.to_string() }]);
    a.until_up().await;
    let begin = Instant::now();
    let (warm, ticks) = (300, 500);
    let sender = async {
        for tick in 0..ticks {
            for _ in 0..PER_TICK {
                let mut body = vec![0; 1_100];
                body[..8].copy_from_slice(&(begin.elapsed().as_micros() as u64).to_le_bytes());
                body[8..16].copy_from_slice(&u64::from(tick >= warm).to_le_bytes());
                a.links.carry(ToPeer { to: NodeId(2), lane: Lane::Datagram, body: body.into(), after: None });
            }
            a.links.flush();
            tokio::time::sleep_until((begin + Duration::from_millis(10) * (tick + 1)).into()).await;
        }
    };
    let mut lags = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    let hearer = async {
        let end = begin + Duration::from_millis(10) * ticks + Duration::from_secs(2);
        while let Ok((_, _, body)) = tokio::time::timeout_at(end.into(), b.ear.next()).await {
            if body[8] == 1 {
                let sent = u64::from_le_bytes(*body.first_chunk().unwrap());
                lags.record(begin.elapsed().as_micros() as u64 - sent).unwrap();
            }
        }
    };
    tokio::join!(sender, hearer);
    let sent = u64::from(ticks - warm) * PER_TICK;
    let [p50, p99] = [0.5, 0.99].map(|q| lags.value_at_quantile(q) / 1_000);
    println!("{} of {sent} arrived, {p50} ms and {p99} ms (p99)", lags.len());
    assert!(lags.len() * 100 >= sent * 96, "{} of {sent} arrived", lags.len());
    // The machine may be busy; what waits for a window waits for seconds.
    assert!(p50 < 300 && p99 < 1_000, "{p50} ms, {p99} ms (p99)");
}

/// 2 Mbit/s in packets of 1,200 bytes at most, and always more datagrams than that: a frame of an ordered lane leaves no
/// room for a datagram in its packet and has to get packets of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn datagrams_that_wait_leave_room_for_the_ordered_lanes() {
    let hood = Hood::new(Transport::Quic);
    let (a, b) = (hood.node(1), hood.node(2));
    let long = Duration::from_millis(20);
    let way = Way { long, nth_lost: None, narrow: Some((250_000, 64_000)), largest: 1_200 };
    let address = path(b.links.local_address(), way).await;
    a.links.set_peers(vec![Peer { node: NodeId(2), address: address.to_string() }]);
    a.until_up().await;
    let begin = Instant::now();
    let end = begin + Duration::from_secs(6);
    let sender = async {
        let mut beat = begin;
        while Instant::now() < end {
            for _ in 0..40 {
                let body = vec![1; DATAGRAM_MAX.as_usize()].into();
                a.links.carry(ToPeer { to: NodeId(2), lane: Lane::Datagram, body, after: None });
            }
            if Instant::now() >= beat {
                beat += Duration::from_millis(250);
                let mut body = vec![0; 300];
                body[..8].copy_from_slice(&(begin.elapsed().as_micros() as u64).to_le_bytes());
                a.links.carry(ToPeer { to: NodeId(2), lane: Lane::Control, body: body.into(), after: None });
            }
            a.links.flush();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let mut beats = hdrhistogram::Histogram::<u64>::new(3).unwrap();
    let mut carried = 0;
    let hearer = async {
        let last = end + Duration::from_secs(1);
        while let Ok((_, lane, body)) = tokio::time::timeout_at(last.into(), b.ear.next()).await {
            if lane == Lane::Control {
                let sent = u64::from_le_bytes(*body.first_chunk().unwrap());
                beats.record(begin.elapsed().as_micros() as u64 - sent).unwrap();
            } else {
                carried += body.len();
            }
        }
    };
    tokio::join!(sender, hearer);
    let [p50, worst] = [0.5, 1.0].map(|q| beats.value_at_quantile(q) / 1_000);
    println!("{} frames, {p50} ms and {worst} ms (worst), beside {carried} bytes of datagrams", beats.len());
    assert!(beats.len() >= 20 && worst < 2_000, "{} frames, {p50} ms, {worst} ms (worst)", beats.len());
    assert!(carried > 6 * 250_000 * 6 / 10, "{carried} bytes of datagrams");
}
