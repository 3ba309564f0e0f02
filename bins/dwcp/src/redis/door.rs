//! Accepts clients, bounds them, lets them end.

use super::backend::Backend;
use super::connection::{self, End, Patience};
use super::cursor::Cursors;
use super::meter::Meter;
use dwcp_runtime_real::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// Connections served at once; another one is told so and closed, as by Redis.
pub const CONNECTIONS: usize = 8_192;
/// How long accepting rests after the operating system refused (out of file descriptors).
const ACCEPT_REST: Duration = Duration::from_millis(50);

/// What all connections of a door share.
pub(super) struct Shared<B> {
    pub(super) backend: B,
    pub(super) password: Option<String>,
    pub(super) cursors: Cursors,
    pub(super) counts: Counts,
    pub(super) meter: Meter,
    pub(super) since: Instant,
    pub(super) port: u16,
    pub(super) patience: Patience,
}

/// What a door counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) clients: AtomicU64,
    pub(super) connections: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) commands: AtomicU64,
    pub(super) bytes_in: AtomicU64,
    pub(super) bytes_out: AtomicU64,
    pub(super) slow: AtomicU64,
    /// Connections that listen to changes.
    pub(super) listening: AtomicU64,
}

/// A figure of the door: its name, its help, and where it is counted.
type Gauge = (&'static str, &'static str, fn(&Counts) -> &AtomicU64);

const GAUGES: [Gauge; 6] = [
    ("dwcp_redis_connections_count", "Connections of Redis' clients.", |c| &c.clients),
    ("dwcp_redis_listening_count", "Connections of Redis' clients that listen to changes.", |c| &c.listening),
    ("dwcp_redis_rejected_count", "Connections turned away: there were too many.", |c| &c.rejected),
    ("dwcp_redis_slow_count", "Connections ended because their client took nothing.", |c| &c.slow),
    ("dwcp_redis_received_bytes", "Bytes received from Redis' clients.", |c| &c.bytes_in),
    ("dwcp_redis_sent_bytes", "Bytes sent to Redis' clients.", |c| &c.bytes_out),
];

impl<B> std::fmt::Debug for Shared<B> {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// The Redis door to a node.
#[derive(Debug)]
pub struct Door<B> {
    shared: Arc<Shared<B>>,
}

impl<B> Clone for Door<B> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

impl<B: Backend> Door<B> {
    /// A door to this node. With a password, clients have to say it (`AUTH`, user `default`).
    pub fn new(backend: B, password: Option<String>, port: u16, registry: Arc<Registry>) -> Self {
        let door = Self::with_patience(backend, password, port, Patience::default(), registry.clone());
        for (name, help, of) in GAUGES {
            let shared = door.shared.clone();
            registry.gauge(name, help, &[], move || of(&shared.counts).load(Ordering::Relaxed) as f64);
        }
        door
    }

    pub(super) fn with_patience(
        backend: B,
        password: Option<String>,
        port: u16,
        patience: Patience,
        registry: Arc<Registry>,
    ) -> Self {
        let shared = Shared {
            backend,
            password,
            cursors: Cursors::default(),
            counts: Counts::default(),
            meter: Meter::new(registry),
            since: Instant::now(),
            port,
            patience,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Serves whoever connects, until `closing` turns true; then lets what has been asked be answered.
    pub async fn serve(self, listener: TcpListener, mut closing: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let connections = closing.clone();
        let accept = async {
            loop {
                match listener.accept().await {
                    Ok((socket, peer)) => match Arc::clone(&room).try_acquire_owned() {
                        Ok(seat) => {
                            let (door, closing) = (self.clone(), connections.clone());
                            tokio::spawn(door.connection(socket, peer.to_string(), seat, closing));
                        }
                        Err(_) => self.turn_away(&socket),
                    },
                    // Out of file descriptors, or the client was gone before we looked.
                    Err(_) => tokio::time::sleep(ACCEPT_REST).await,
                }
            }
        };
        tokio::select! {
            () = accept => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        // All seats back: every connection has ended.
        let _all = room.acquire_many(CONNECTIONS as u32).await;
    }

    fn turn_away(&self, socket: &TcpStream) {
        self.shared.counts.rejected.fetch_add(1, Ordering::Relaxed);
        // It fits the empty buffer of a new socket, or the client learns from the close alone.
        let _told = socket.try_write(b"-ERR max number of clients reached\r\n");
    }

    async fn connection(
        self,
        socket: TcpStream,
        address: String,
        seat: OwnedSemaphorePermit,
        closing: watch::Receiver<bool>,
    ) {
        // A socket that can't be told loses speed, not answers.
        let _slower = socket.set_nodelay(true);
        keep_alive(&socket);
        self.serve_on(socket.into_split(), address, closing).await;
        drop(seat);
    }

    /// Serves one connection; for doors behind TLS and for tests.
    pub(super) async fn serve_on<R, W>(
        &self,
        halves: (R, W),
        address: String,
        closing: watch::Receiver<bool>,
    ) -> End
    where
        R: tokio::io::AsyncRead + Unpin,
        W: tokio::io::AsyncWrite + Unpin,
    {
        let counts = &self.shared.counts;
        let id = counts.connections.fetch_add(1, Ordering::Relaxed) + 1;
        counts.clients.fetch_add(1, Ordering::Relaxed);
        let end = connection::serve(self.shared.clone(), id, address, halves, closing).await;
        counts.clients.fetch_sub(1, Ordering::Relaxed);
        if end == End::Slow {
            counts.slow.fetch_add(1, Ordering::Relaxed);
        }
        end
    }
}

/// Has the operating system ask whether the client's machine is still there, as Redis does.
fn keep_alive(socket: &TcpStream) {
    const IDLE: Duration = Duration::from_secs(300);
    // Where it can't, a client that vanished keeps its seat; nothing else is lost.
    let _on = rustix::net::sockopt::set_socket_keepalive(socket, true);
    let _idle = rustix::net::sockopt::set_tcp_keepidle(socket, IDLE);
}
