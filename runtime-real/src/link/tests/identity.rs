//! Who is let in: every stranger gets a reason, on both sides.

use super::*;
use std::io::{Read, Write};

async fn error_of(a: &Party) -> String {
    a.until("failed", |s| !s.last_error.is_empty()).await;
    a.links.status()[0].last_error.clone()
}

async fn strangers_are_refused(transport: Transport) {
    let hood = Hood::new(transport);
    let b = hood.node(2);

    // Another authority.
    let other = Hood::new(transport);
    let a = other.node(1);
    hood.introduce(&a, &b);
    let e = error_of(&a).await;
    assert!(e.contains("do not share an authority"), "{e}");
    a.until("still down", |s| s.connected.is_empty()).await;

    // Another cluster under the same authority.
    let a = hood.party(hood.identity(ClusterId(0xbad), 1), 0, Ear::default());
    hood.introduce(&a, &b);
    let e = error_of(&a).await;
    assert!(e.contains("belongs to cluster 000000000000000000000000000000c1, not to"), "{e}");

    // Another node than the one meant.
    let a = hood.node(1);
    a.links.set_peers(vec![Peer { node: NodeId(3), address: b.links.local_address().to_string() }]);
    let e = error_of(&a).await;
    assert!(e.contains("/node/2's") && e.contains("/node/3 was meant"), "{e}");

    // Ourselves under another address.
    let twin = hood.node(2);
    twin.links.set_peers(vec![Peer { node: NodeId(1), address: b.links.local_address().to_string() }]);
    let e = error_of(&twin).await;
    assert!(e.contains("/node/1 was meant"), "{e}");

    assert_eq!(b.ear.try_next(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_over_tcp() {
    strangers_are_refused(Transport::Tcp).await;
}
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_refused_over_quic() {
    strangers_are_refused(Transport::Quic).await;
}

/// The dialler's own checks aside: the listener judges who comes, too.
#[test]
fn the_listener_judges_the_certificate() {
    let us = Name { cluster: CLUSTER, node: NodeId(2) };
    let name = |cluster, node| Name { cluster: ClusterId(cluster), node: NodeId(node) };
    let judge = super::super::fault::judge;
    assert_eq!(judge(us, name(0xc1, 1), None), Ok(NodeId(1)));
    let e = judge(us, name(0xbad, 1), None).unwrap_err();
    assert_eq!(e.class(), "cluster");
    assert_eq!(judge(us, name(0xc1, 2), None).unwrap_err().class(), "body");
    assert_eq!(judge(us, name(0xc1, 3), Some(NodeId(1))).unwrap_err().class(), "identity");
}

/// A client without a certificate, and one whose certificate is another authority's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dialler_without_our_authoritys_certificate_gets_nowhere() {
    let hood = Hood::new(Transport::Tcp);
    let (a, b) = hood.pair();
    a.until_up().await;
    let stranger = Hood::new(Transport::Tcp);
    // It believes anyone, and says it is node 1.
    let mut identity = stranger.identity(CLUSTER, 1);
    identity.authority = hood.identity(CLUSTER, 1).authority;
    let c = hood.party(identity, 0, Ear::default());
    hood.introduce(&c, &b);
    let e = error_of(&c).await;
    assert!(e.contains("do not share an authority"), "{e}");
    assert!(b.refused("tls") >= 1);
    a.send(2, Lane::Control, "unharmed");
    assert_eq!(b.ear.next().await, (NodeId(1), Lane::Control, Bytes::from("unharmed")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_the_port_is_closed_with_a_reason() {
    let (a, b) = Hood::new(Transport::Tcp).pair();
    a.until_up().await;
    let address = b.links.local_address();
    let seed = Seed(4);
    let throw = move || {
        for n in 0..2_000_u64 {
            let draw = |o| seed.draw(dwcp_env::Purpose::named("garbage"), n, dwcp_env::Instant::ZERO, o);
            let Ok(mut s) = std::net::TcpStream::connect(address) else { continue };
            s.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let junk: Vec<u8> = match n % 4 {
                0 => b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
                1 => (0..1 + draw(0) % 400).map(|i| draw(i + 1) as u8).collect(),
                // A record that claims to be a handshake.
                2 => [&[22, 3, 1, 0, 100][..], &[draw(0) as u8; 100]].concat(),
                _ => Vec::new(),
            };
            let _reset = s.write_all(&junk);
            let _reset = s.shutdown(std::net::Shutdown::Write);
            let mut rest = Vec::new();
            let _reset = s.read_to_end(&mut rest);
        }
    };
    tokio::task::spawn_blocking(throw).await.unwrap();
    assert!(b.refused("tls") >= 1_000, "{}", b.registry.render());
    a.send(2, Lane::Control, "unharmed");
    assert_eq!(b.ear.next().await.2, "unharmed");
    assert_eq!(a.links.status()[0].connected.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_says_nothing_is_closed_in_time() {
    let b = Hood::new(Transport::Tcp).node(2);
    let address = b.links.local_address();
    let start = Instant::now();
    let wait = move || {
        let mut s = std::net::TcpStream::connect(address).unwrap();
        s.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        s.read(&mut [0; 16])
    };
    assert!(matches!(tokio::task::spawn_blocking(wait).await.unwrap(), Ok(0) | Err(_)));
    let took = start.elapsed();
    assert!(took < dial::ATTEMPT + Duration::from_secs(5), "{took:?}");
    // It is counted right after it is closed.
    while b.refused("deadline") == 0 {
        assert!(start.elapsed() < dial::ATTEMPT * 4);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_connections_than_allowed_are_closed_at_once() {
    let b = Hood::new(Transport::Tcp).node(2);
    let address = b.links.local_address();
    let open = move || -> Vec<_> {
        (0..accept::CONNECTIONS + 20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect()
    };
    let held = tokio::task::spawn_blocking(open).await.unwrap();
    let start = Instant::now();
    while b.refused("network") < 20 {
        assert!(start.elapsed() < Duration::from_secs(4), "{}", b.registry.render());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(held);
}

#[tokio::test]
async fn an_occupied_port_says_what_to_do() {
    for transport in [Transport::Tcp, Transport::Quic] {
        let hood = Hood::new(transport);
        let b = hood.node(2);
        let settings = LinkSettings {
            listen: b.links.local_address(),
            peers: Vec::new(),
            transport,
            identity: hood.identity(CLUSTER, 3),
            seed: Seed(1),
            inject: false,
        };
        let e = Links::bind(settings, &Arc::new(Registry::new())).err().unwrap().to_string();
        assert!(e.contains("another process has that port"), "{e}");
    }
}
