//! A client of the etcd door, as small as it can be: one HTTP/2 connection, calls and streams, no retries of its own.
//!
//! It speaks plain gRPC, so it talks to etcd just as well: the benchmarks use it for both.

use crate::dev::layout::Layout;
use bytes::{BufMut, Bytes, BytesMut};
use clap::Args;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, header};
use prost::Message;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpStream;

/// A connection has this long to come about.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The largest answer taken.
const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// Why a call has no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody there, or not HTTP/2.
    #[error("{address}: {why}")]
    Connect {
        /// Who was called.
        address: SocketAddr,
        /// What happened.
        why: String,
    },
    /// The connection broke, or the time passed: the request may have taken effect.
    #[error("the connection was lost before the answer: {0}; it may or may not have been done")]
    Lost(String),
    /// The server's refusal.
    #[error("{message}")]
    Status {
        /// gRPC's code.
        code: u32,
        /// What it said.
        message: String,
    },
}

/// Whom a command asks, and about which keyspace.
#[derive(Args, Clone, Debug)]
pub struct Endpoints {
    /// Client addresses of the nodes; without them, those of the development cluster in `--dir`.
    #[arg(long, global = true, value_delimiter = ',')]
    pub endpoints: Vec<SocketAddr>,
    /// Where the development cluster lies.
    #[arg(long, global = true, default_value = ".dwcp-dev")]
    pub dir: PathBuf,
    /// Which keyspace; left out: the default one.
    #[arg(long, global = true)]
    pub keyspace: Option<String>,
}

impl Endpoints {
    /// All of them, with their names.
    ///
    /// # Errors
    /// None are named, and there is no development cluster.
    pub fn all(&self) -> Result<Vec<(String, SocketAddr)>, String> {
        if self.endpoints.is_empty() {
            let places = Layout::existing(&self.dir)?.places();
            return Ok(places.into_iter().map(|p| (p.name, p.client)).collect());
        }
        Ok(self.endpoints.iter().map(|a| (a.to_string(), *a)).collect())
    }

    /// A connection to the first node that answers.
    ///
    /// # Errors
    /// None does; what each said.
    pub async fn connect(&self) -> Result<Client, String> {
        let mut silent = Vec::new();
        for (_, endpoint) in self.all()? {
            match Client::connect(endpoint, self.keyspace.clone()).await {
                Ok(client) => return Ok(client),
                Err(e) => silent.push(e.to_string()),
            }
        }
        Err(format!("no node answers: {}", silent.join("; ")))
    }
}

/// One connection.
#[derive(Clone, Debug)]
pub struct Client {
    send: SendRequest<Bytes>,
    authority: String,
    keyspace: Option<String>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// `Connect`.
    pub async fn connect(address: SocketAddr, keyspace: Option<String>) -> Result<Self, ClientError> {
        let failed = |why: String| ClientError::Connect { address, why };
        let socket = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(address))
            .await
            .map_err(|_| failed("no answer".into()))?
            .map_err(|e| failed(e.to_string()))?;
        socket.set_nodelay(true).map_err(|e| failed(e.to_string()))?;
        let (send, connection) = h2::client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .handshake(socket)
            .await
            .map_err(|e| failed(e.to_string()))?;
        tokio::spawn(async move {
            // Calls in flight learn of its end by themselves.
            let _ended = connection.await;
        });
        Ok(Self { send, authority: address.to_string(), keyspace })
    }

    /// One question, one answer.
    ///
    /// # Errors
    /// `Lost`, `Status`.
    pub async fn call<Q: Message, A: Message + Default>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<A, ClientError> {
        let (mut stream, _ended) = self.ask(path, question, true).await?;
        let mut data = BytesMut::new();
        while let Some(chunk) = stream.data().await {
            take_in(&mut stream, &mut data, chunk)?;
        }
        if let Some(trailers) = stream.trailers().await.map_err(lost)? {
            judge(&trailers)?;
        }
        decode(data.get(5..).unwrap_or_default())
    }

    /// One question, answers until either side ends it.
    ///
    /// # Errors
    /// `Lost`, `Status`.
    pub async fn stream<Q: Message, A: Message + Default>(
        &self,
        path: &str,
        question: &Q,
    ) -> Result<Answers<A>, ClientError> {
        let (body, open) = self.ask(path, question, false).await?;
        Ok(Answers { body, _open: open, data: BytesMut::new(), of: PhantomData })
    }

    async fn ask<Q: Message>(
        &self,
        path: &str,
        question: &Q,
        ends: bool,
    ) -> Result<(RecvStream, SendStream<Bytes>), ClientError> {
        let mut send = self.send.clone().ready().await.map_err(lost)?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{}{path}", self.authority))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header("te", "trailers");
        if let Some(keyspace) = &self.keyspace {
            request = request.header("dwcp-keyspace", keyspace);
        }
        let request = request.body(()).map_err(|e| ClientError::Lost(e.to_string()))?;
        let (answer, mut body) = send.send_request(request, false).map_err(lost)?;
        body.send_data(framed(question), ends).map_err(lost)?;
        let answer = answer.await.map_err(lost)?;
        judge(answer.headers())?;
        Ok((answer.into_body(), body))
    }
}

/// The answers to a stream's question. Dropped, it ends the stream.
#[derive(Debug)]
pub struct Answers<A> {
    body: RecvStream,
    /// The way to ask on, held open: closing it would end the stream.
    _open: SendStream<Bytes>,
    data: BytesMut,
    of: PhantomData<fn() -> A>,
}

impl<A: Message + Default> Answers<A> {
    /// The next answer; nothing after the last.
    ///
    /// # Errors
    /// `Lost`, `Status`.
    pub async fn next(&mut self) -> Result<Option<A>, ClientError> {
        loop {
            if let Some((head, _)) = self.data.split_first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if length > ANSWER_MAX {
                    return Err(ClientError::Lost("an answer is larger than 64 MiB".into()));
                }
                if self.data.len() >= 5 + length {
                    let message = self.data.split_to(5 + length);
                    return decode(&message[5..]).map(Some);
                }
            }
            match self.body.data().await {
                Some(chunk) => take_in(&mut self.body, &mut self.data, chunk)?,
                None => {
                    if let Some(trailers) = self.body.trailers().await.map_err(lost)? {
                        judge(&trailers)?;
                    }
                    return Ok(None);
                }
            }
        }
    }
}

fn lost(e: h2::Error) -> ClientError {
    ClientError::Lost(e.to_string())
}

fn take_in(
    stream: &mut RecvStream,
    data: &mut BytesMut,
    chunk: Result<Bytes, h2::Error>,
) -> Result<(), ClientError> {
    let chunk = chunk.map_err(lost)?;
    stream.flow_control().release_capacity(chunk.len()).map_err(lost)?;
    if data.len() + chunk.len() > ANSWER_MAX + 5 {
        return Err(ClientError::Lost("the answer is larger than 64 MiB; use a limit".into()));
    }
    data.extend_from_slice(&chunk);
    Ok(())
}

fn decode<A: Message + Default>(message: &[u8]) -> Result<A, ClientError> {
    A::decode(message).map_err(|e| ClientError::Lost(format!("the answer does not decode: {e}")))
}

fn framed<Q: Message>(question: &Q) -> Bytes {
    let length = question.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer has room for exactly this message.
    question.encode_raw(&mut out);
    out.freeze()
}

fn judge(headers: &HeaderMap) -> Result<(), ClientError> {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    match text("grpc-status").and_then(|c| c.parse().ok()) {
        None | Some(0) => Ok(()),
        Some(code) => {
            let message = text("grpc-message").map_or_else(|| format!("gRPC status {code}"), unescape);
            Err(ClientError::Status { code, message })
        }
    }
}

/// gRPC escapes what is not printable ASCII as `%XX`.
fn unescape(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&b, tail)) = rest.split_first() {
        let hex =
            |t: &[u8]| std::str::from_utf8(t.get(..2)?).ok().and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex(tail) {
            Some(value) if b == b'%' => {
                out.push(value);
                rest = &tail[2..];
            }
            _ => {
                out.push(b);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn escaped_text_comes_back() {
        assert_eq!(unescape("a%20b%C3%BC 100%"), "a bü 100%");
    }
}
