//! A client of the Redis protocol, as small as it can be: one connection, one question at a time.

use bytes::{Buf, Bytes, BytesMut};
use std::net::SocketAddr;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A connection has this long to come about, an answer to come.
const WITHIN: Duration = Duration::from_secs(10);
/// The largest answer taken.
const ANSWER_MAX: usize = 256 * 1024 * 1024;
/// Arrays in arrays.
const DEPTH_MAX: usize = 8;

/// An answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `+`
    Simple(String),
    /// `-`
    Error(String),
    /// `:`
    Number(i64),
    /// `$`, and `=` without its kind
    Bulk(Bytes),
    /// `_`, or the `-1` of RESP2
    Null,
    /// `*`, `~`
    Array(Vec<Self>),
    /// `%`
    Map(Vec<(Self, Self)>),
    /// `>`
    Push(Vec<Self>),
}

impl Value {
    /// A string's bytes.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(b) => Some(b),
            Self::Simple(s) => Some(s.as_bytes()),
            _ => None,
        }
    }
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody there.
    #[error("{address}: {why}")]
    Connect {
        /// Who was called.
        address: SocketAddr,
        /// What happened.
        why: String,
    },
    /// The connection broke, or the time passed.
    #[error("no answer: {0}")]
    Lost(String),
    /// What came is not the protocol.
    #[error("the answer makes no sense: {0}")]
    Nonsense(String),
    /// The server's refusal.
    #[error("{0}")]
    Refused(String),
}

/// One connection.
#[derive(Debug)]
pub struct Client<IO = TcpStream> {
    io: IO,
    buffer: BytesMut,
}

impl Client {
    /// Connects, and says the password if there is one.
    ///
    /// # Errors
    /// `Connect`, `Refused`.
    pub async fn connect(address: SocketAddr, password: Option<&str>) -> Result<Self, ClientError> {
        let failed = |why: String| ClientError::Connect { address, why };
        let io = timeout(WITHIN, TcpStream::connect(address))
            .await
            .map_err(|_| failed("no answer".into()))?
            .map_err(|e| failed(e.to_string()))?;
        io.set_nodelay(true).map_err(|e| failed(e.to_string()))?;
        let mut client = Self::on(io);
        if let Some(password) = password {
            client.ask(&[b"AUTH", password.as_bytes()]).await?;
        }
        Ok(client)
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Client<IO> {
    /// Speaks on what is already connected.
    pub fn on(io: IO) -> Self {
        Self { io, buffer: BytesMut::new() }
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// `Refused` for an error; the others if there is no answer.
    pub async fn ask(&mut self, words: &[&[u8]]) -> Result<Value, ClientError> {
        self.send(&encoded(words)).await?;
        match self.next().await? {
            Value::Error(why) => Err(ClientError::Refused(why)),
            value => Ok(value),
        }
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// `Lost`.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        let sent = timeout(WITHIN, self.io.write_all(bytes)).await;
        sent.map_err(|_| ClientError::Lost("the server takes nothing".into()))?.map_err(lost)
    }

    /// The next answer, or push.
    ///
    /// # Errors
    /// `Lost`, `Nonsense`.
    pub async fn next(&mut self) -> Result<Value, ClientError> {
        loop {
            let mut rest = &self.buffer[..];
            if let Some(value) = parse(&mut rest, 0)? {
                let used = self.buffer.len() - rest.len();
                self.buffer.advance(used);
                return Ok(value);
            }
            if self.buffer.len() > ANSWER_MAX {
                return Err(ClientError::Nonsense(format!("it is larger than {ANSWER_MAX} bytes")));
            }
            let read = timeout(WITHIN, self.io.read_buf(&mut self.buffer)).await;
            let read = read.map_err(|_| ClientError::Lost(format!("{} s have passed", WITHIN.as_secs())))?;
            if read.map_err(lost)? == 0 {
                return Err(ClientError::Lost("the connection was closed".into()));
            }
        }
    }
}

fn lost(e: std::io::Error) -> ClientError {
    ClientError::Lost(e.to_string())
}

/// A request's bytes.
#[must_use]
pub fn encoded(words: &[&[u8]]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// A value at the beginning of `rest`, which is moved behind it; nothing if it is not whole.
fn parse(rest: &mut &[u8], depth: usize) -> Result<Option<Value>, ClientError> {
    let nonsense = |why: &str| Err(ClientError::Nonsense(why.to_owned()));
    if depth > DEPTH_MAX {
        return nonsense("arrays nest too deeply");
    }
    let Some(end) = rest.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
    let (mark, text) = match rest[..end].split_first() {
        Some((mark, text)) => (*mark, String::from_utf8_lossy(text).into_owned()),
        None => return nonsense("an empty line"),
    };
    let mut after = &rest[end + 2..];
    let number = || text.parse::<i64>().map_err(|_| ClientError::Nonsense(format!("{text:?} is no number")));
    let value = match mark {
        b'+' => Value::Simple(text),
        b'-' => Value::Error(text),
        b':' => Value::Number(number()?),
        b'_' => Value::Null,
        b'$' | b'=' | b'*' | b'~' | b'>' | b'%' if text == "-1" => Value::Null,
        b'$' | b'=' => {
            let n = usize::try_from(number()?).unwrap_or(usize::MAX);
            if n > ANSWER_MAX {
                return nonsense("a string is too long");
            }
            if after.len() < n + 2 {
                return Ok(None);
            }
            let kind = if mark == b'=' { 4.min(n) } else { 0 };
            let bytes = Bytes::copy_from_slice(&after[kind..n]);
            after = &after[n + 2..];
            Value::Bulk(bytes)
        }
        b'*' | b'~' | b'>' | b'%' => {
            let n = usize::try_from(number()?).unwrap_or(usize::MAX);
            let n = if mark == b'%' { n.saturating_mul(2) } else { n };
            let mut all = Vec::new();
            for _ in 0..n {
                match parse(&mut after, depth + 1)? {
                    Some(value) => all.push(value),
                    None => return Ok(None),
                }
            }
            match mark {
                b'%' => {
                    let mut all = all.into_iter();
                    Value::Map(std::iter::from_fn(|| Some((all.next()?, all.next()?))).collect())
                }
                b'>' => Value::Push(all),
                _ => Value::Array(all),
            }
        }
        other => return nonsense(&format!("a line begins with {:?}", char::from(other))),
    };
    *rest = after;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_read_when_it_is_whole() {
        let bytes = b"*3\r\n:1\r\n$2\r\nab\r\n%1\r\n+k\r\n_\r\n";
        for n in 0..bytes.len() {
            assert_eq!(parse(&mut &bytes[..n], 0).unwrap(), None, "{n}");
        }
        let map = Value::Map(vec![(Value::Simple("k".into()), Value::Null)]);
        let want = Value::Array(vec![Value::Number(1), Value::Bulk("ab".into()), map]);
        assert_eq!(parse(&mut &bytes[..], 0).unwrap(), Some(want));
        assert!(parse(&mut &b"?\r\n"[..], 0).is_err());
        assert!(parse(&mut &b"*1\r\n".repeat(50)[..], 0).is_err());
    }
}
