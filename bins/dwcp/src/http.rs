//! The little HTTP that the command line speaks to a node's admin address: one request a connection.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A node answers its admin address in this time, or it is in trouble.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer believed.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

/// Gets a page: its status code and its body.
///
/// # Errors
/// Nobody answers there, or not HTTP.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    ask(address, "GET", path).await
}

/// Asks for something to be done.
///
/// # Errors
/// As [`get`].
pub async fn post(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    ask(address, "POST", path).await
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Result<(u16, String), String> {
    let conversation = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, conversation)
        .await
        .map_err(|_| format!("{address} does not answer"))?
        .map_err(|e| format!("{address}: {e}"))?;
    parse(&answer).ok_or_else(|| format!("{address} does not speak HTTP; is it a node's admin address?"))
}

fn parse(answer: &[u8]) -> Option<(u16, String)> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((code, body.to_string()))
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn an_answer_is_taken_apart() {
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nfine"), Some((200, "fine".into())));
        assert_eq!(parse(b"SSH-2.0-OpenSSH\r\n\r\n"), None);
        assert_eq!(parse(b""), None);
    }
}
