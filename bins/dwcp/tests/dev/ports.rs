//! Ports for a cluster of `dwcp dev`: free ones, below those that the system gives to outgoing connections (from 32,768
//! on), where any client of another test may sit on a port that a node is about to want.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// What `dwcp dev` listens on, counted from the first port: clients, peers, admin, Redis' clients, the fleet's.
const DOORS: [u16; 5] = [0, 1_000, 2_000, 4_000, 5_000];
/// The lowest port of an outgoing connection (`net.ipv4.ip_local_port_range`).
const OUTGOING: u16 = 32_768;

/// A first port in this range such that all that `dwcp dev` wants for so many nodes are free.
pub(crate) fn free(range: Range<u16>, nodes: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    assert!(
        range.end + DOORS[4] + nodes <= OUTGOING,
        "{range:?} reaches into the ports of outgoing connections"
    );
    let width = range.end - range.start;
    let seed = u16::try_from(std::process::id() % 600).expect("below 600") * 10;
    for _ in 0..600 {
        let first = range.start + (seed + NEXT.fetch_add(10, Ordering::Relaxed)) % width;
        let wanted = (0..nodes).flat_map(|n| DOORS.map(|door| first + door + n));
        let free = wanted.map(|port| TcpListener::bind(("127.0.0.1", port))).collect::<Result<Vec<_>, _>>();
        if free.is_ok() {
            return first;
        }
    }
    panic!("no free ports from {} on", range.start);
}
