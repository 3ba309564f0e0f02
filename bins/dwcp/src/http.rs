//! The little HTTP that the command line speaks to a node: one request a connection.

use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
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
    ask(address, "GET", path, "", PATIENCE).await
}

/// Asks for something to be done.
///
/// # Errors
/// As [`get`].
pub async fn post(address: SocketAddr, path: &str) -> Result<(u16, String), String> {
    ask(address, "POST", path, "", PATIENCE).await
}

/// What goes out.
fn request(address: SocketAddr, method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Asks with a body, and with a patience of one's own.
///
/// # Errors
/// As [`get`].
pub async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    body: &str,
    patience: Duration,
) -> Result<(u16, String), String> {
    let conversation = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request(address, method, path, body).as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(patience, conversation)
        .await
        .map_err(|_| format!("{address} does not answer"))?
        .map_err(|e| format!("{address}: {e}"))?;
    if answer.len() as u64 == ANSWER_MAX {
        let mib = ANSWER_MAX >> 20;
        return Err(format!(
            "{address} answers with {mib} MiB or more, and {mib} MiB at most are read; ask for less at once"
        ));
    }
    parse(&answer).ok_or_else(|| format!("{address} does not speak HTTP; is it a node's admin address?"))
}

/// Reads an answer that does not end, line by line. It is taken as HTTP/1.1 sends it: chunk sizes, which stand on lines of
/// their own and are no JSON, are left out.
///
/// # Errors
/// Nobody answers there, or not with lines; or the answer ended.
pub async fn lines(address: SocketAddr, path: &str, mut each: impl FnMut(&str)) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("{address}: {e}");
    let mut stream = tokio::time::timeout(PATIENCE, TcpStream::connect(address))
        .await
        .map_err(|_| format!("{address} does not answer"))?
        .map_err(failed)?;
    stream.write_all(request(address, "GET", path, "").as_bytes()).await.map_err(failed)?;
    let mut read = tokio::io::BufReader::new(stream);
    let mut line = String::new();
    let mut head = true;
    loop {
        line.clear();
        // A line is a record: at most some tens of kilobytes.
        let took = (&mut read).take(ANSWER_MAX).read_line(&mut line).await.map_err(failed)?;
        let text = line.trim_end();
        match took {
            0 => {
                return Err(format!(
                    "{address} ended the stream; begin again, and read what changed meanwhile"
                ));
            }
            _ if head && text.starts_with("HTTP/1.1 ") && !text.starts_with("HTTP/1.1 200") => {
                return Err(format!("{address} answers {text}"));
            }
            _ if head => head = !text.is_empty(),
            _ if text.starts_with('{') => each(text),
            _ => {}
        }
    }
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
