//! Mutated frames: in memory a hundred thousand, over TLS some thousands. Each ends with an error that
//! names the fault; what is delivered is what was sent; nothing panics; good peers notice nothing.

use super::super::fault::LinkError;
use super::super::session::{self, FrameReader};
use super::super::tls;
use super::*;
use dwcp_env::{PeerFault, Purpose, wire};
use rand_core::RngCore;
use tokio::io::AsyncWriteExt;

/// A stream of good frames, and its bodies.
fn good_stream(rng: &mut impl RngCore, lane: Lane) -> (Vec<u8>, Vec<Bytes>) {
    let mut stream = Vec::new();
    let mut bodies = Vec::new();
    for _ in 0..1 + rng.next_u32() % 4 {
        let len = match rng.next_u32() % 8 {
            0 => 0,
            1 => 9_000,
            _ => rng.next_u32() % 200,
        };
        let body: Vec<u8> = (0..len).map(|_| rng.next_u32() as u8).collect();
        stream.extend_from_slice(&wire::frame(lane as u8, &body).unwrap());
        bodies.push(Bytes::from(body));
    }
    (stream, bodies)
}

/// One mutation: flips, cuts, splices, repeats, lies about length or kind.
fn mutate(rng: &mut impl RngCore, stream: &mut Vec<u8>) {
    let at = rng.next_u32() as usize % stream.len();
    let head = at.min(wire::HEADER - 1);
    match rng.next_u32() % 8 {
        0 => stream[at] ^= 1 << (rng.next_u32() % 8),
        1 => stream[head] = rng.next_u32() as u8,
        2 => stream.truncate(at),
        3 => {
            let junk: Vec<u8> = (0..1 + rng.next_u32() % 40).map(|_| rng.next_u32() as u8).collect();
            stream.splice(at..at, junk);
        }
        4 => drop(stream.drain(at..(at + 1 + rng.next_u32() as usize % 20).min(stream.len()))),
        5 => {
            let piece = stream[at..].to_vec();
            stream.extend(piece);
        }
        6 => stream[4..8].copy_from_slice(&rng.next_u32().to_le_bytes()),
        _ => {
            // A whole frame, every check right, of a kind that has no place here.
            let kind = rng.next_u32() as u8;
            let frame = wire::frame(kind, format!("of kind {kind}").as_bytes()).unwrap();
            stream.splice(0..0, frame.to_vec());
        }
    }
}

fn names_the_fault(e: &LinkError) -> bool {
    let text = e.to_string();
    match e {
        LinkError::Fault(PeerFault::Frame { .. }) => text.starts_with("bad frame from n1: "),
        LinkError::Fault(PeerFault::Body { .. }) => text.contains("kind "),
        LinkError::Network(why) => why.contains("closed inside a frame"),
        // Cut exactly between two frames.
        LinkError::Closed => true,
        _ => false,
    }
}

#[tokio::test]
async fn a_hundred_thousand_mutated_streams_in_memory() {
    let mut rng = Seed(11).stream(Purpose::named("frames"), 0);
    let mut faults = 0_u32;
    for n in 0..100_000 {
        let lane = Lane::ALL[n % 3];
        let (mut stream, bodies) = good_stream(&mut rng, lane);
        let original = stream.clone();
        mutate(&mut rng, &mut stream);
        let ear = Ear::default();
        let reader = FrameReader::new(NodeId(1), stream.as_slice());
        let e = session::receive(NodeId(1), lane, reader, &mut tokio::io::sink(), &ear).await;
        assert!(names_the_fault(&e), "{n}: {e:?}");
        faults += u32::from(!matches!(e, LinkError::Closed));
        while let Some((_, _, body)) = ear.try_next() {
            assert!(
                bodies.contains(&body) || body == format!("of kind {}", lane as u8),
                "{n}: {body:?} was not in {original:02x?}, {stream:02x?}"
            );
        }
    }
    // Few mutations leave a stream of whole good frames.
    assert!(faults > 70_000, "{faults}");
}

#[tokio::test]
async fn a_hundred_thousand_mutated_greetings_in_memory() {
    let us = Name { cluster: CLUSTER, node: NodeId(2) };
    let mut hello = Vec::new();
    {
        let them = Name { cluster: CLUSTER, node: NodeId(1) };
        let mut reader = FrameReader::new(NodeId(2), tokio::io::empty());
        let e = session::greet(them, NodeId(2), Lane::Data, &mut reader, &mut hello).await;
        assert_eq!(e, Err(LinkError::Closed));
    }
    let mut rng = Seed(12).stream(Purpose::named("frames"), 0);
    for n in 0..100_000 {
        let mut stream = hello.clone();
        mutate(&mut rng, &mut stream);
        let mut reader = FrameReader::new(NodeId(1), stream.as_slice());
        match session::welcome(us, NodeId(1), &mut reader, &mut tokio::io::sink()).await {
            Ok(lane) => assert!(lane == Lane::Data && stream.starts_with(&hello), "{n}"),
            Err(e) => assert!(names_the_fault(&e), "{n}: {e:?}"),
        }
    }
}

/// Hellos that are well formed and not true.
#[tokio::test]
async fn a_hello_that_lies_is_refused_with_the_reason() {
    let us = Name { cluster: CLUSTER, node: NodeId(2) };
    let cases = [
        (CLUSTER, 1, 3, "meant for n3, and this is n2"),
        (CLUSTER, 7, 2, "it says n7 and its certificate n1"),
        (ClusterId(5), 1, 2, "belongs to cluster"),
    ];
    for (cluster, from, to, reason) in cases {
        let (theirs, ours) = tokio::io::duplex(4_096);
        let (tr, mut tw) = tokio::io::split(theirs);
        let (or, mut ow) = tokio::io::split(ours);
        let them = Name { cluster, node: NodeId(from) };
        let mut reader = FrameReader::new(NodeId(2), tr);
        let mut our_reader = FrameReader::new(NodeId(1), or);
        let (said, judged) = tokio::join!(
            session::greet(them, NodeId(to), Lane::Data, &mut reader, &mut tw),
            session::welcome(us, NodeId(1), &mut our_reader, &mut ow)
        );
        let (said, judged) = (said.unwrap_err().to_string(), judged.unwrap_err().to_string());
        assert!(judged.contains(reason) && said.contains(reason), "{said}; {judged}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_drips_in_is_given_up() {
    let (mut theirs, ours) = tokio::io::duplex(64);
    let drip = tokio::spawn(async move {
        let frame = wire::frame(0, &[1; 4_000]).unwrap();
        for b in frame.iter() {
            if theirs.write_all(&[*b]).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let ear = Ear::default();
    let reader = FrameReader::new(NodeId(1), ours);
    let start = tokio::time::Instant::now();
    let e = session::receive(NodeId(1), Lane::Control, reader, &mut tokio::io::sink(), &ear).await;
    assert_eq!(e.to_string(), "no whole frame within 10 s");
    assert_eq!(start.elapsed().as_secs(), 10);
    drip.abort();
}

/// A listener that accepts and then neither reads nor answers.
#[tokio::test(start_paused = true)]
async fn a_peer_that_stops_reading_is_given_up() {
    let (theirs, ours) = tokio::io::duplex(4_096);
    let (r, w) = tokio::io::split(ours);
    let outbox = Outbox::default();
    (0..100).for_each(|_| assert!(outbox.push(vec![0; 1_000].into(), None)));
    let (_tell, ending) = tokio::sync::watch::channel(false);
    let reader = FrameReader::new(NodeId(1), r);
    let e = session::send(NodeId(1), Lane::Bulk, &outbox, reader, w, ending).await;
    assert_eq!(e.class(), "deadline");
    drop(theirs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_frames_over_tls_close_their_connection_and_no_other() {
    let hood = Hood::new(Transport::Tcp);
    let (a, b) = hood.pair();
    a.until_up().await;
    // Node 9 has a good certificate and bad manners.
    let bad = hood.identity(CLUSTER, 9);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls::client(&bad, NodeId(2)).unwrap().config));
    let mut rng = Seed(13).stream(Purpose::named("frames"), 0);
    let mut bad_streams = 0_u64;
    for n in 0..2_000_u32 {
        let lane = Lane::ALL[n as usize % 3];
        let tcp = tokio::net::TcpStream::connect(b.links.local_address()).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let tls = connector.connect(tls::placeholder(), tcp).await.unwrap();
        let (r, mut w) = tokio::io::split(tls);
        let mut reader = FrameReader::new(NodeId(2), r);
        session::greet(bad.name(), NodeId(2), lane, &mut reader, &mut w).await.unwrap();
        let (mut stream, _) = good_stream(&mut rng, lane);
        mutate(&mut rng, &mut stream);
        let _closed = w.write_all(&stream).await;
        let _closed = w.shutdown().await;
        // Refused with a reason, closed, or (if whole frames were left) closed by us.
        match reader.next(1_024, Duration::from_secs(10)).await {
            Ok(_) => bad_streams += 1,
            Err(LinkError::Closed | LinkError::Network(_)) => {}
            Err(e) => panic!("{n}: {e}"),
        }
        if n % 100 == 0 {
            a.send(2, Lane::Control, "unharmed");
        }
    }
    assert!(bad_streams > 800, "{bad_streams} were refused with a reason");
    assert!(b.refused("frame") > 800, "{}", b.registry.render());
    let mut unharmed = 0;
    while unharmed < 20 {
        let (from, _, body) = b.ear.next().await;
        unharmed += u32::from(from == NodeId(1) && body == "unharmed");
    }
    assert_eq!(a.links.status()[0].connected.len(), 3);
    assert_eq!(a.links.status()[0].dropped, 0);
}
