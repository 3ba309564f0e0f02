//! The one client all servers meet: closed loops of puts or linearizable gets over a few HTTP/2 connections.

use bytes::Bytes;
use dwcp::client::Client;
use hdrhistogram::Histogram;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Loops that share a connection, as a fleet of clients behind a few sockets would.
const LOOPS_PER_CONNECTION: usize = 64;
/// Distinct keys: enough that none is hot.
const KEYS: usize = 10_000;

#[derive(Clone, PartialEq, prost::Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// A get: linearizable, as it is unless one asks otherwise.
#[derive(Clone, PartialEq, prost::Message)]
struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Put,
    Get,
}

/// What a run of the load showed.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) done: u64,
    pub(crate) errors: u64,
    pub(crate) took: Duration,
    pub(crate) latency_us: Histogram<u64>,
    /// The longest time between two answers, of all clients together.
    pub(crate) gap: Duration,
    last: Option<Instant>,
    /// Who is told when so much was answered.
    told: (u64, Rc<Notify>),
}

/// Runs `clients` loops against one server for this long.
pub(crate) async fn run(
    server: SocketAddr,
    kind: Kind,
    clients: usize,
    value: usize,
    time: Duration,
) -> Result<Measured, String> {
    run_telling(server, kind, clients, value, time, (u64::MAX, Rc::default())).await
}

/// As that; tells once so much was answered.
pub(crate) async fn run_telling(
    server: SocketAddr,
    kind: Kind,
    clients: usize,
    value: usize,
    time: Duration,
    told: (u64, Rc<Notify>),
) -> Result<Measured, String> {
    let mut connections = Vec::new();
    for _ in 0..clients.div_ceil(LOOPS_PER_CONNECTION) {
        connections.push(Client::connect(server, None).await.map_err(|e| e.to_string())?);
    }
    let histogram = Histogram::new_with_bounds(1, 60_000_000, 3).map_err(|e| e.to_string())?;
    let seen = Rc::new(RefCell::new(Measured {
        done: 0,
        errors: 0,
        took: time,
        latency_us: histogram,
        gap: Duration::ZERO,
        last: None,
        told,
    }));
    let begun = Instant::now();
    let until = begun + time;
    let local = tokio::task::LocalSet::new();
    for i in 0..clients {
        let client = connections[i % connections.len()].clone();
        let seen = seen.clone();
        local.spawn_local(one_loop(client, kind, i, value, until, seen));
    }
    local.await;
    let mut measured = Rc::try_unwrap(seen).map_err(|_| "a loop is still running")?.into_inner();
    measured.took = begun.elapsed();
    Ok(measured)
}

async fn one_loop(
    client: Client,
    kind: Kind,
    number: usize,
    value: usize,
    until: Instant,
    seen: Rc<RefCell<Measured>>,
) {
    let value = Bytes::from(vec![b'v'; value]);
    let mut n = number * 7919;
    while Instant::now() < until {
        n += 1;
        let key = Bytes::from(format!("bench/{:06}", n % KEYS));
        let at = Instant::now();
        let outcome = match kind {
            Kind::Put => {
                let put = Put { key, value: value.clone() };
                client.call::<Put, Nothing>("/etcdserverpb.KV/Put", &put).await
            }
            Kind::Get => client.call::<Range, Nothing>("/etcdserverpb.KV/Range", &Range { key }).await,
        };
        let mut seen = seen.borrow_mut();
        match outcome {
            Ok(_) => {
                seen.done += 1;
                if seen.done == seen.told.0 {
                    seen.told.1.notify_waiters();
                }
                let now = Instant::now();
                let since = seen.last.replace(now).map_or(Duration::ZERO, |last| now - last);
                seen.gap = seen.gap.max(since);
                let us = u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
                seen.latency_us.saturating_record(us);
            }
            Err(_) => seen.errors += 1,
        }
    }
}
