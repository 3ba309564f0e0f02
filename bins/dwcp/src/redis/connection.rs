//! One connection: bytes in, all that is complete served at once, bytes out.
//!
//! **Bounds.** Input that is not served yet: one request and [`READ_MAX`], or [`INPUT_MAX`] while the client takes its
//! replies slowly. Output: what one batch makes. While replies are on their way, what the client sends meanwhile is
//! taken in (up to the bound): a client that sends a long pipeline before it reads would else wait for us as we for it.
//!
//! **Every wait ends.** A request begun and not finished in 60 s, a stranger who does not say who it is in 30 s, replies
//! of which nothing is taken for 10 s ([`Patience`]): the connection ends. An idle client may stay for ever, as in Redis; one whose machine is gone is noticed by the keep-alive of TCP.

use super::backend::Backend;
use super::door::Shared;
use super::request::{Broken, Reader, Request};
use super::session::Session;
use bytes::BytesMut;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// Bytes read at once, at first and at most.
const READ_MIN: usize = 16 * 1024;
const READ_MAX: usize = 256 * 1024;
/// Bytes taken in while replies are on their way.
const INPUT_MAX: usize = 8 * 1024 * 1024;
/// Requests served at once.
const BATCH_MAX: usize = 4_096;
/// How long a client is waited for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// Replies of which nothing is taken for so long are not wanted.
    pub(super) write: Duration,
    /// A request takes no longer to arrive.
    pub(super) request: Duration,
    /// One says who one is within this time.
    pub(super) login: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            write: Duration::from_secs(10),
            request: Duration::from_secs(60),
            login: Duration::from_secs(30),
        }
    }
}
/// A buffer larger than this is let go when it is empty.
const KEEP: usize = 256 * 1024;

/// Why a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The client has left.
    Left,
    /// It was told the last.
    Said,
    /// It takes nothing, or missed changes.
    Slow,
    /// It said nothing in time.
    Silent,
    /// The door closes.
    Closing,
}

struct Line<R, W> {
    read: R,
    write: W,
    input: BytesMut,
    reader: Reader,
    chunk: usize,
    /// The client sends no more.
    ended: bool,
}

/// Serves one client to its end.
pub(super) async fn serve<B, R, W>(
    shared: Arc<Shared<B>>,
    id: u64,
    address: String,
    (read, write): (R, W),
    mut closing: watch::Receiver<bool>,
) -> End
where
    B: Backend,
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut line = Line {
        read,
        write,
        input: BytesMut::new(),
        reader: Reader::default(),
        chunk: READ_MIN,
        ended: false,
    };
    let mut session = Session::new(shared, id, address);
    let born = Instant::now();
    let mut amid_since = None;
    let closed = async { drop(closing.wait_for(|closing| *closing).await) };
    tokio::pin!(closed);
    loop {
        let (batch, broken) = line.complete(&mut session);
        if !batch.is_empty() || broken.is_some() {
            amid_since = None;
            session.serve(batch.into_iter()).await;
            if let Some(Broken(why)) = &broken {
                session.out.error(&format!("ERR {why}"));
            }
            if let Err(end) = line.say(&mut session).await {
                return end;
            }
            if broken.is_some() || session.ends {
                return End::Said;
            }
            continue;
        }
        if line.ended {
            return End::Left;
        }
        if line.reader.is_amid(&line.input) {
            amid_since.get_or_insert_with(Instant::now);
        }
        let until = match (amid_since, session.known) {
            (Some(since), _) => Some(since + session.shared.patience.request),
            (None, false) => Some(born + session.shared.patience.login),
            (None, true) => None,
        };
        tokio::select! {
            biased;
            read = line.fill(&session.shared) => match read {
                Ok(()) => {}
                Err(end) => return end,
            },
            notices = session.listening.next() => match notices {
                Ok(notices) => {
                    session.listening.tell(&notices, &mut session.out);
                    if let Err(end) = line.say(&mut session).await {
                        return end;
                    }
                }
                Err(_) => return End::Slow,
            },
            () = &mut closed => return End::Closing,
            () = sleep_until(until.unwrap_or(born)), if until.is_some() => return End::Silent,
        }
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Line<R, W> {
    /// All requests that have arrived whole.
    fn complete<B: Backend>(&mut self, session: &mut Session<B>) -> (Vec<Request>, Option<Broken>) {
        let mut batch = Vec::new();
        // One at a time until the client has said who it is: that changes what may follow.
        let most = if session.known { BATCH_MAX } else { 1 };
        while batch.len() < most {
            match self.reader.next(&mut self.input, session.known) {
                Ok(Some(request)) => batch.push(request),
                Ok(None) => break,
                Err(broken) => return (batch, Some(broken)),
            }
        }
        (batch, None)
    }

    fn make_room(&mut self) {
        let wanted = self.reader.wanted(&self.input).max(self.chunk);
        if self.input.is_empty() && self.input.capacity() > KEEP && wanted <= READ_MAX {
            self.input = BytesMut::new();
        }
        if self.input.capacity() - self.input.len() < wanted / 4 + 1 || self.input.capacity() == 0 {
            self.input.reserve(wanted);
        }
    }

    /// Reads once.
    async fn fill<B: Backend>(&mut self, shared: &Shared<B>) -> Result<(), End> {
        self.make_room();
        let room = self.input.capacity() - self.input.len();
        match self.read.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(End::Left),
            Ok(n) => {
                shared.counts.bytes_in.fetch_add(n as u64, Ordering::Relaxed);
                // Who fills what it is given is given more.
                self.chunk = if n == room { (self.chunk * 2).min(READ_MAX) } else { self.chunk };
                Ok(())
            }
        }
    }

    /// Writes all replies; takes in meanwhile what comes.
    async fn say<B: Backend>(&mut self, session: &mut Session<B>) -> Result<(), End> {
        let within = session.shared.patience.write;
        let out = &mut session.out.bytes;
        session.shared.counts.bytes_out.fetch_add(out.len() as u64, Ordering::Relaxed);
        while !out.is_empty() {
            let step = async {
                tokio::select! {
                    biased;
                    written = self.write.write_buf(out) => match written {
                        Ok(0) | Err(_) => Err(End::Left),
                        Ok(_) => Ok(()),
                    },
                    read = self.read.read_buf(&mut self.input), if !self.ended && self.input.len() < INPUT_MAX => match read {
                        // It may still read what it has asked for.
                        Ok(0) => { self.ended = true; Ok(()) }
                        Ok(_) => Ok(()),
                        Err(_) => Err(End::Left),
                    },
                }
            };
            // A client that sends and never reads makes no progress here, for its input has a bound.
            timeout(within, step).await.map_err(|_| End::Slow)??;
        }
        if out.capacity() > KEEP {
            *out = BytesMut::new();
        }
        Ok(())
    }
}
