//! gRPC over HTTP/2, server side: framing, deadlines and statuses, on the `h2` crate alone.
//!
//! **Promise.** Each call gets exactly one status; no input of a client makes this code panic;
//! what a client can make the server hold is bounded.
//!
//! **Model.** One task per connection drives the HTTP/2 state *and* all of its short calls,
//! which live in one [`FuturesUnordered`]. The node answers a group of requests at once (one
//! disk sync for all); the task wakes once for the group, writes all answers, and h2 puts them
//! into one `write`. Long calls (streams, waits for a lock) get a task of their own.
//!
//! **Invariants.**
//! 1. *Decoding copies nothing* when a message lies in one DATA frame, as all small ones do:
//!    its byte strings are slices of the frame.
//! 2. *Bounded memory.* A client's unfinished messages count against the connection's
//!    receive window until they are whole ([`CONNECTION_WINDOW`]); a client that fills it
//!    with halves stops only its own connection, until the deadlines of those calls end them.
//! 3. *Every wait ends.* Short calls have a deadline (`grpc-timeout`, [`DEADLINE`] without
//!    one); long ones end with their client, which a reset, a closed connection or an
//!    unanswered ping tells.
//!
//! **Rejected:** tonic, with figures in docs/decisions/0003-grpc-on-h2.md.

use super::status::{self, Code, Status};
use bytes::{BufMut, Bytes, BytesMut};
use dwcp_env::bound;
use futures_util::stream::{FuturesUnordered, Stream};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Response, header, request};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// How long a call may take that states no `grpc-timeout`.
pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
/// The largest message decoded: the largest request and etcd's allowance for its envelope.
const MESSAGE_MAX: usize = bound::REQUEST_MAX.as_usize() + 512 * 1024;
/// What one stream may have on the way: a largest message at once.
const STREAM_WINDOW: u32 = MESSAGE_MAX as u32 + 64 * 1024;
/// What one connection may have on the way, unfinished messages included.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// How long a client may take to say hello.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often a connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long calls may go on when the door closes.
const DRAIN: Duration = Duration::from_secs(5);

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const APPLICATION_GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// A call as it arrives.
pub(crate) struct Call {
    /// Method, path and metadata.
    pub(crate) head: request::Parts,
    /// What the client sends.
    pub(crate) inbound: Inbound,
    /// Where the answer goes.
    pub(crate) respond: SendResponse<Bytes>,
}

/// Serves one connection until its client leaves, fails, or `closing` says so.
///
/// `handler` makes one short future of each call; what is long it spawns, and gives back none.
pub(crate) async fn serve<IO, H, F>(io: IO, handler: H, mut closing: watch::Receiver<bool>)
where
    IO: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Call) -> Option<F>,
    F: Future<Output = ()>,
{
    let mut builder = h2::server::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(bound::REQUESTS_IN_FLIGHT as u32)
        .max_header_list_size(16 * 1024)
        .max_send_buffer_size(4 * 1024 * 1024);
    // Whoever does not speak HTTP/2 is not answered: there is no common language to do it in.
    let Ok(Ok(mut connection)) = timeout(HANDSHAKE, builder.handshake(io)).await else { return };
    let ping = connection.ping_pong();
    let mut calls = FuturesUnordered::new();
    let drive = poll_fn(|cx| poll_connection(&mut connection, &mut calls, &handler, cx));
    tokio::select! {
        () = drive => return,
        () = lost(ping) => return,
        _ = closing.wait_for(|closing| *closing) => {}
    }
    connection.graceful_shutdown();
    let drive = poll_fn(|cx| poll_connection(&mut connection, &mut calls, &handler, cx));
    let _cut_off: Result<(), _> = timeout(DRAIN, drive).await;
}

/// Answers first, then reading: so the answers of one wake leave in one write.
fn poll_connection<IO, H, F>(
    connection: &mut h2::server::Connection<IO, Bytes>,
    calls: &mut FuturesUnordered<F>,
    handler: &H,
    cx: &mut Context<'_>,
) -> Poll<()>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    H: Fn(Call) -> Option<F>,
    F: Future<Output = ()>,
{
    loop {
        while let Poll::Ready(Some(())) = Pin::new(&mut *calls).poll_next(cx) {}
        let mut arrived = false;
        loop {
            match connection.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let (head, body) = request.into_parts();
                    calls.extend(handler(Call { head, inbound: Inbound::new(body), respond }));
                    arrived = true;
                }
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => break,
            }
        }
        if !arrived {
            return Poll::Pending;
        }
    }
}

/// Ends when a ping stays unanswered for a whole period: the client's machine is gone.
async fn lost(ping: Option<h2::PingPong>) {
    let Some(mut ping) = ping else { return std::future::pending().await };
    loop {
        tokio::time::sleep(PING_EVERY).await;
        if !matches!(timeout(PING_EVERY, ping.ping(h2::Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}

/// The messages of a client, one after the other.
pub(crate) struct Inbound {
    body: RecvStream,
    /// Bytes received that are not yet a whole message; still counted against the windows.
    partial: BytesMut,
    /// Whole frames or their rests that nothing has been decoded from yet.
    ready: Bytes,
}

/// Length prefix of a message: one byte of flags, four of length.
const PREFIX: usize = 5;

impl Inbound {
    fn new(body: RecvStream) -> Self {
        Self { body, partial: BytesMut::new(), ready: Bytes::new() }
    }

    /// The only message of a call.
    pub(crate) async fn only<M: prost::Message + Default>(&mut self) -> Result<M, Status> {
        decode(poll_fn(|cx| self.poll_only(cx)).await?)
    }

    /// The bytes of the only message of a call.
    pub(crate) fn poll_only(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, Status>> {
        self.poll_message(cx).map(|message| message?.ok_or(status::NO_MESSAGE))
    }

    /// The next message, or `None` when the client has said all.
    pub(crate) async fn next<M: prost::Message + Default>(&mut self) -> Result<Option<M>, Status> {
        poll_fn(|cx| self.poll_message(cx)).await?.map(decode).transpose()
    }

    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Status>> {
        loop {
            if let Some(message) = self.take()? {
                return Poll::Ready(Ok(Some(message)));
            }
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(frame)) => self.keep(frame),
                Some(Err(_)) => return Poll::Ready(Err(status::CANCELED)),
                None if self.partial.is_empty() && self.ready.is_empty() => return Poll::Ready(Ok(None)),
                None => return Poll::Ready(Err(status::CUT_SHORT)),
            }
        }
    }

    fn keep(&mut self, frame: Bytes) {
        if self.partial.is_empty() && self.ready.is_empty() {
            self.ready = frame;
        } else {
            // A message in pieces is put together; its bytes are given back when it is whole.
            self.partial.extend_from_slice(&std::mem::take(&mut self.ready));
            self.partial.extend_from_slice(&frame);
        }
    }

    /// Takes one whole message off what has been received.
    fn take(&mut self) -> Result<Option<Bytes>, Status> {
        let held: &[u8] = if self.ready.is_empty() { &self.partial } else { &self.ready };
        let Some(prefix) = held.first_chunk::<PREFIX>() else { return Ok(None) };
        if prefix[0] != 0 {
            return Err(status::COMPRESSED);
        }
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        if length > MESSAGE_MAX {
            return Err(Status::told(
                Code::ResourceExhausted,
                format!("grpc: received message larger than max ({length} vs. {MESSAGE_MAX})"),
            ));
        }
        if held.len() < PREFIX + length {
            return Ok(None);
        }
        if self.ready.is_empty() {
            self.ready = self.partial.split().freeze();
        }
        let mut message = self.ready.split_to(PREFIX + length);
        // The stream may be closed already; then there is no window to widen.
        let _closed = self.body.flow_control().release_capacity(message.len());
        Ok(Some(message.split_off(PREFIX)))
    }
}

/// A message out of its bytes.
pub(crate) fn decode<M: prost::Message + Default>(message: Bytes) -> Result<M, Status> {
    M::decode(message).map_err(|_| status::NOT_A_MESSAGE)
}

/// When a call must have ended, and what is said if it has not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// The end of waiting.
    pub(crate) at: Instant,
    /// Whether the client asked for it.
    theirs: bool,
}

impl Limit {
    /// The limit of a call that begins now.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let asked = headers.get(&GRPC_TIMEOUT).and_then(|v| parse_timeout(v.as_bytes()));
        let theirs = asked.is_some_and(|t| t < DEADLINE);
        Self { at: Instant::now() + asked.map_or(DEADLINE, |t| t.min(DEADLINE)), theirs }
    }
    /// A limit of our own making.
    pub(crate) const fn ours(at: Instant) -> Self {
        Self { at, theirs: false }
    }
    /// The limit of a call that waits for others: what the client asked for, else none.
    pub(crate) fn patient(headers: &HeaderMap) -> Option<Self> {
        let asked = headers.get(&GRPC_TIMEOUT).and_then(|v| parse_timeout(v.as_bytes()))?;
        Some(Self { at: Instant::now().checked_add(asked)?, theirs: true })
    }
    /// This limit, or one this soon.
    pub(crate) fn at_most(self, span: Duration) -> Self {
        Self { at: self.at.min(Instant::now() + span), ..self }
    }
    /// Whether it has passed.
    pub(crate) fn is_past(self) -> bool {
        Instant::now() >= self.at
    }
    /// What is said when it has passed.
    pub(crate) const fn passed(self) -> Status {
        if self.theirs { status::DEADLINE_EXCEEDED } else { status::TIMED_OUT }
    }
}

/// `grpc-timeout`: at most eight digits and a unit.
fn parse_timeout(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = digits.iter().fold(0_u64, |n, d| n * 10 + u64::from(d - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(n * 3600),
        b'M' => Duration::from_secs(n * 60),
        b'S' => Duration::from_secs(n),
        b'm' => Duration::from_millis(n),
        b'u' => Duration::from_micros(n),
        b'n' => Duration::from_nanos(n),
        _ => return None,
    })
}

/// Answers a call that has one answer. Errors of sending mean that the client has left.
pub(crate) fn answer<M: prost::Message>(respond: &mut SendResponse<Bytes>, result: Result<M, Status>) {
    match result {
        Err(status) => refuse(respond, &status),
        Ok(message) => {
            let Ok(mut stream) = respond.send_response(head(), false) else { return };
            if stream.send_data(frame(&message), false).is_ok() {
                let _left = stream.send_trailers(trailers(&status::OK));
            }
        }
    }
}

/// Answers with a status and nothing else.
pub(crate) fn refuse(respond: &mut SendResponse<Bytes>, status: &Status) {
    let mut response = head();
    fill(response.headers_mut(), status);
    let _left = respond.send_response(response, true);
}

/// Headers begin with room for one: a map that grows by itself takes room for six, most of a kilobyte.
fn head() -> Response<()> {
    let mut response = Response::new(());
    *response.headers_mut() = HeaderMap::with_capacity(1);
    response.headers_mut().insert(header::CONTENT_TYPE, APPLICATION_GRPC);
    response
}

fn trailers(status: &Status) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(1);
    fill(&mut map, status);
    map
}

fn fill(map: &mut HeaderMap, status: &Status) {
    map.insert(GRPC_STATUS, HeaderValue::from(status.code as u16));
    if !status.message.is_empty() {
        map.insert(GRPC_MESSAGE, percent_encoded(&status.message));
    }
}

/// gRPC's encoding of texts: printable ASCII as it is, the rest as `%` and two digits.
fn percent_encoded(text: &str) -> HeaderValue {
    let mut out = Vec::with_capacity(text.len());
    for &b in text.as_bytes() {
        if (0x20..=0x7e).contains(&b) && b != b'%' {
            out.push(b);
        } else {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        }
    }
    HeaderValue::from_maybe_shared(Bytes::from(out)).expect("printable ASCII is a header value")
}

fn frame<M: prost::Message>(message: &M) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(PREFIX + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).expect("an answer is smaller than 4 GiB"));
    message.encode(&mut out).expect("the buffer has been sized for the message");
    out.freeze()
}

/// The client has left: nobody reads what would be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Left;

/// The answers of a call that has many.
pub(crate) struct Outbound {
    stream: SendStream<Bytes>,
}

impl Outbound {
    /// Opens the answer.
    pub(crate) fn open(respond: &mut SendResponse<Bytes>) -> Result<Self, Left> {
        respond.send_response(head(), false).map(|stream| Self { stream }).map_err(|_| Left)
    }

    /// Sends one message, at the pace at which the client reads.
    pub(crate) async fn send<M: prost::Message>(&mut self, message: &M) -> Result<(), Left> {
        let mut rest = frame(message);
        while !rest.is_empty() {
            self.stream.reserve_capacity(rest.len());
            let granted = match poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                Some(Ok(n)) => n.min(rest.len()),
                Some(Err(_)) | None => return Err(Left),
            };
            self.stream.send_data(rest.split_to(granted), false).map_err(|_| Left)?;
        }
        Ok(())
    }

    /// Ends the answer.
    pub(crate) fn finish(mut self, status: &Status) {
        let _left = self.stream.send_trailers(trailers(status));
    }

    /// Waits until the client leaves.
    pub(crate) async fn left(&mut self) {
        let _reason: Result<Reason, _> = poll_fn(|cx| self.stream.poll_reset(cx)).await;
    }
}

/// Runs `work` while the client waits for it.
pub(crate) async fn while_wanted<T>(
    respond: &mut SendResponse<Bytes>,
    work: impl Future<Output = T>,
) -> Result<T, Left> {
    tokio::select! {
        done = work => Ok(done),
        _reason = poll_fn(|cx| respond.poll_reset(cx)) => Err(Left),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        for (text, want) in [
            ("5S", Some(Duration::from_secs(5))),
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("100m", Some(Duration::from_millis(100))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("5", None),
            ("123456789S", None),
            ("-1S", None),
            ("5x", None),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), want, "{text}");
        }
    }

    #[test]
    fn texts_survive_the_header() {
        for (text, want) in
            [("etcdserver: no leader", "etcdserver: no leader"), ("100% ü\n", "100%25 %C3%BC%0A")]
        {
            assert_eq!(percent_encoded(text), want);
        }
    }

    #[test]
    fn a_frame_is_flag_length_and_message() {
        let message = super::super::message::LeaseGrantRequest { ttl: 60, id: 0 };
        assert_eq!(&frame(&message)[..], &[0, 0, 0, 0, 2, 8, 60]);
    }
}
