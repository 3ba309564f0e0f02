//! One lane of one link: what is said on a pair of byte streams once TLS stands.
//!
//! The dialler sends, the listener receives; a node has a link in each direction. Nothing here
//! knows whether the bytes travel over TCP, QUIC or a test's pipe.
//!
//! | kind | from | body | when |
//! |---|---|---|---|
//! | 0, 1, 2 | dialler | a message; the kind is its lane | after `Welcome` |
//! | 16 `Hello` | dialler | version, cluster, from, to, lane | first |
//! | 17 `Welcome` | listener | empty | once the hello is believed |
//! | 18 `Refused` | listener | why, as text | before it closes |
//! | 19 `Ping` | dialler | empty | every [`PING_EVERY`] |
//! | 20 `Pong` | listener | empty | at a ping |
//!
//! **Invariants.**
//! 1. A message is delivered only if its frame passed every check and its kind is the lane of the
//!    hello; the first frame that fails one ends the connection.
//! 2. No wait is without end: a greeting has [`GREETING`], a frame must be whole [`SILENCE`] after
//!    the one before, a batch must be written within [`SILENCE`].
//! 3. While the node has no room nothing is read: the sender's queue fills, not our memory.

use super::Deliver;
use super::fault::LinkError;
use super::outbox::Outbox;
use crate::authority::Name;
use bytes::{Buf, Bytes, BytesMut};
use dwcp_env::wire::{self, HEADER, WireError};
use dwcp_env::{ClusterId, Lane, NodeId, PeerFault};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

/// How long hello and answer may take, the handshake before them not included.
pub const GREETING: Duration = Duration::from_secs(5);
/// How often a dialler asks whether the listener still hears it.
pub const PING_EVERY: Duration = Duration::from_secs(2);
/// After this long without a whole frame, or with a write that does not end, a link is dead.
pub const SILENCE: Duration = Duration::from_secs(10);
/// How long the last frames of a node that ends may take to be confirmed.
const FAREWELL: Duration = Duration::from_millis(300);
/// The largest hello or refusal.
const GREETING_MAX: usize = 1_024;
/// Queued bytes that are written in one go. On the bulk lane a batch, and a frame received, is also
/// all that is done before other tasks of the thread have their turn: encrypting is work, and a
/// heartbeat must not wait for megabytes of it.
const BATCH: usize = 128 * 1024;
/// Bodies larger than this are written from where they lie instead of being copied.
const COPY_MAX: usize = 16 * 1024;
/// Bodies smaller than this are copied out of the read buffer, so that a small message that the
/// node keeps does not keep the buffer.
const DETACH_MAX: usize = 8 * 1024;
/// Bytes asked of the socket at a time.
const READ: usize = 64 * 1024;
/// The version of this conversation.
const VERSION: u16 = 1;

mod kind {
    pub(super) const HELLO: u8 = 16;
    pub(super) const WELCOME: u8 = 17;
    pub(super) const REFUSED: u8 = 18;
    pub(super) const PING: u8 = 19;
    pub(super) const PONG: u8 = 20;
}

/// What a dialler says first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Hello {
    version: u16,
    cluster: ClusterId,
    from: NodeId,
    to: NodeId,
    lane: u8,
}

/// Reads frames, each checked before it is handed on.
pub(crate) struct FrameReader<R> {
    from: NodeId,
    io: R,
    buf: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(crate) fn new(from: NodeId, io: R) -> Self {
        Self { from, io, buf: BytesMut::new() }
    }

    /// The next frame; `max` bounds its body.
    pub(crate) async fn next(&mut self, max: usize, within: Duration) -> Result<(u8, Bytes), LinkError> {
        if let Some(frame) = self.parse(max)? {
            return Ok(frame);
        }
        timeout(within, self.read(max))
            .await
            .unwrap_or(Err(LinkError::Deadline { what: "whole frame", seconds: within.as_secs() }))
    }

    async fn read(&mut self, max: usize) -> Result<(u8, Bytes), LinkError> {
        loop {
            self.buf.reserve(READ);
            if self.io.read_buf(&mut self.buf).await? == 0 {
                return Err(if self.buf.is_empty() {
                    LinkError::Closed
                } else {
                    LinkError::Network(format!("closed inside a frame, {} bytes into it", self.buf.len()))
                });
            }
            if let Some(frame) = self.parse(max)? {
                return Ok(frame);
            }
        }
    }

    fn parse(&mut self, max: usize) -> Result<Option<(u8, Bytes)>, LinkError> {
        let bad = |why| LinkError::frame(self.from, why);
        let Some(head) = self.buf.first_chunk::<HEADER>() else {
            // Whoever does not even begin with the magic need not be waited for.
            return match self.buf.first_chunk::<2>() {
                Some(m) if *m != wire::MAGIC => Err(bad(WireError::Magic(*m))),
                _ => Ok(None),
            };
        };
        let head = wire::parse_header(head).map_err(bad)?;
        if head.length > max {
            return Err(bad(WireError::Length { length: head.length as u64, max: max as u64 }));
        }
        if self.buf.len() < HEADER + head.length {
            self.buf.reserve(HEADER + head.length - self.buf.len());
            return Ok(None);
        }
        head.check(&self.buf[HEADER..HEADER + head.length]).map_err(bad)?;
        self.buf.advance(HEADER);
        let body = if head.length < DETACH_MAX {
            let body = Bytes::copy_from_slice(&self.buf[..head.length]);
            self.buf.advance(head.length);
            body
        } else {
            self.buf.split_to(head.length).freeze()
        };
        Ok(Some((head.kind, body)))
    }
}

async fn write_within(w: &mut (impl AsyncWrite + Unpin), data: &[u8]) -> Result<(), LinkError> {
    let write = async {
        w.write_all(data).await?;
        w.flush().await
    };
    match timeout(SILENCE, write).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(LinkError::Deadline { what: "progress in writing", seconds: SILENCE.as_secs() }),
    }
}

fn small(kind: u8, body: &[u8]) -> Bytes {
    wire::frame(kind, body).expect("a body under the bound")
}

/// The dialler's greeting.
pub(crate) async fn greet<R, W>(
    us: Name,
    to: NodeId,
    lane: Lane,
    reader: &mut FrameReader<R>,
    w: &mut W,
) -> Result<(), LinkError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let hello = Hello { version: VERSION, cluster: us.cluster, from: us.node, to, lane: lane as u8 };
    write_within(w, &small(kind::HELLO, &wire::encode(&hello))).await?;
    match reader.next(GREETING_MAX, GREETING).await? {
        (kind::WELCOME, _) => Ok(()),
        (kind::REFUSED, why) => {
            Err(LinkError::Refused { by: to, why: String::from_utf8_lossy(&why).into_owned() })
        }
        (k, _) => Err(LinkError::body(to, "greeting", format!("frame of kind {k} in place of a welcome"))),
    }
}

/// Sends what the outbox holds until the link or the node ends.
pub(crate) async fn send<R, W>(
    peer: NodeId,
    lane: Lane,
    outbox: &Outbox,
    mut reader: FrameReader<R>,
    mut w: W,
    ending: watch::Receiver<bool>,
) -> LinkError
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (tell, mut heard) = watch::channel(0_u64);
    let listen = async {
        loop {
            match reader.next(GREETING_MAX, SILENCE).await {
                Ok((kind::PONG, _)) => tell.send_modify(|n| *n += 1),
                Ok((kind::REFUSED, why)) => {
                    let why = String::from_utf8_lossy(&why).into_owned();
                    return LinkError::Refused { by: peer, why };
                }
                Ok((k, _)) => return LinkError::body(peer, "answer", format!("frame of kind {k}")),
                Err(e) => return e,
            }
        }
    };
    let write = async {
        match write_out(lane, outbox, &mut w, ending).await {
            // The last pong says that everything before it has arrived.
            Ok(pings) => {
                let confirmed = timeout(FAREWELL, heard.wait_for(|pongs| *pongs >= pings)).await.is_ok();
                tracing::debug!(%peer, ?lane, confirmed, "last words");
                let _best_effort = timeout(FAREWELL, w.shutdown()).await;
                LinkError::Ending
            }
            Err(e) => e,
        }
    };
    tokio::select! {
        e = listen => e,
        e = write => e,
    }
}

/// Writes what there is until the node ends; tells how many pings were sent, the last behind
/// everything else.
async fn write_out<W: AsyncWrite + Unpin>(
    lane: Lane,
    outbox: &Outbox,
    w: &mut W,
    mut ending: watch::Receiver<bool>,
) -> Result<u64, LinkError> {
    let ping = small(kind::PING, &[]);
    let mut pings = 0;
    let mut next_ping = Instant::now() + PING_EVERY;
    let mut batch = Vec::new();
    let mut buf = BytesMut::with_capacity(8 * 1024);
    loop {
        let due = outbox.take(&mut batch, BATCH);
        if Instant::now() >= next_ping {
            next_ping = Instant::now() + PING_EVERY;
            buf.extend_from_slice(&ping);
            pings += 1;
        }
        if !batch.is_empty() || !buf.is_empty() {
            write_batch(lane, &mut batch, &mut buf, w).await?;
            if lane == Lane::Bulk {
                tokio::task::yield_now().await;
            }
            continue;
        }
        if *ending.borrow() {
            write_within(w, &ping).await?;
            return Ok(pings + 1);
        }
        let due = due.map_or(next_ping, |d| next_ping.min(d.into()));
        tokio::select! {
            () = outbox.ready() => {}
            () = sleep_until(due) => {}
            _ = ending.changed() => {}
        }
    }
}

/// Small frames are gathered into one write, large bodies go from where they lie.
async fn write_batch<W: AsyncWrite + Unpin>(
    lane: Lane,
    batch: &mut Vec<Bytes>,
    buf: &mut BytesMut,
    w: &mut W,
) -> Result<(), LinkError> {
    let write = async {
        for body in batch.drain(..) {
            let Ok(head) = wire::header(lane as u8, &body) else {
                debug_assert!(false, "checked when it was pushed");
                continue;
            };
            buf.extend_from_slice(&head);
            if body.len() <= COPY_MAX {
                buf.extend_from_slice(&body);
                continue;
            }
            w.write_all(buf).await?;
            buf.clear();
            w.write_all(&body).await?;
        }
        w.write_all(buf).await?;
        buf.clear();
        w.flush().await
    };
    match timeout(SILENCE, write).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(LinkError::Deadline { what: "progress in writing", seconds: SILENCE.as_secs() }),
    }
}

/// The listener's side of the greeting: which lane this is, once the hello is believed.
pub(crate) async fn welcome<R, W>(
    us: Name,
    from: NodeId,
    reader: &mut FrameReader<R>,
    w: &mut W,
) -> Result<Lane, LinkError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (k, body) = reader.next(GREETING_MAX, GREETING).await?;
    let verdict = if k == kind::HELLO {
        wire::decode::<Hello>(&body)
            .map_err(|why| LinkError::frame(from, why))
            .and_then(|hello| believe(us, from, &hello))
    } else {
        Err(LinkError::body(from, "greeting", format!("frame of kind {k} in place of a hello")))
    };
    match verdict {
        Ok(lane) => {
            write_within(w, &small(kind::WELCOME, &[])).await?;
            Ok(lane)
        }
        Err(e) => {
            refuse(w, &e).await;
            Err(e)
        }
    }
}

/// Says why, as far as the other side still listens.
pub(crate) async fn refuse<W: AsyncWrite + Unpin>(w: &mut W, e: &LinkError) {
    let mut why = e.to_string();
    why.truncate(why.floor_char_boundary(GREETING_MAX));
    let _best_effort = write_within(w, &small(kind::REFUSED, why.as_bytes())).await;
    let _best_effort = timeout(GREETING, w.shutdown()).await;
}

fn believe(us: Name, from: NodeId, hello: &Hello) -> Result<Lane, LinkError> {
    let bad = |why: String| LinkError::body(from, "hello", why);
    if hello.version != VERSION {
        return Err(bad(format!(
            "link version {}, this build speaks {VERSION}: upgrade the older side first",
            hello.version
        )));
    }
    if hello.cluster != us.cluster {
        let (theirs, ours) = (hello.cluster, us.cluster);
        return Err(PeerFault::Cluster { from, theirs, ours }.into());
    }
    if hello.from != from {
        return Err(bad(format!("it says {} and its certificate {from}", hello.from)));
    }
    if hello.to != us.node {
        return Err(bad(format!(
            "meant for {}, and this is {}: check the peers' addresses",
            hello.to, us.node
        )));
    }
    // Datagrams have no stream and no hello.
    let ordered = Lane::from_u8(hello.lane).filter(|l| *l != Lane::Datagram);
    ordered.ok_or_else(|| bad(format!("lane {}", hello.lane)))
}

/// Receives messages until the link or the node ends.
pub(crate) async fn receive<R, W>(
    from: NodeId,
    lane: Lane,
    mut reader: FrameReader<R>,
    w: &mut W,
    deliver: &dyn Deliver,
) -> LinkError
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let max = dwcp_env::bound::FRAME_BODY_MAX.as_usize();
    loop {
        let (k, body) = match reader.next(max, SILENCE).await {
            Ok(frame) => frame,
            Err(e) => return e,
        };
        if k == lane as u8 {
            match deliver.try_deliver(from, lane, body) {
                Ok(()) => {}
                Err(None) => return LinkError::Ending,
                Err(Some(body)) => {
                    if deliver.deliver(from, lane, body).await.is_err() {
                        return LinkError::Ending;
                    }
                }
            }
            if lane == Lane::Bulk {
                tokio::task::yield_now().await;
            }
        } else if k == kind::PING {
            if let Err(e) = write_within(w, &small(kind::PONG, &[])).await {
                return e;
            }
        } else {
            return LinkError::body(from, "frame", format!("kind {k} on the {lane:?} lane"));
        }
    }
}
