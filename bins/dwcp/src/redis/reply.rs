//! From answers to bytes: RESP2 and RESP3.
//!
//! One buffer holds the replies to everything that a client sent in one go; it leaves in one write.

use super::backend::Refused;
use bytes::{BufMut, Bytes, BytesMut};
use dwcp_eventual::Refusal;
use dwcp_node::AskError;

/// Replies, in the version of the protocol that the client chose.
#[derive(Debug, Default)]
pub(super) struct Out {
    /// What is to be written.
    pub(super) bytes: BytesMut,
    /// Whether the client speaks RESP3.
    pub(super) resp3: bool,
}

impl Out {
    fn head(&mut self, mark: u8, n: i64) {
        self.bytes.put_u8(mark);
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = n.unsigned_abs();
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        if n < 0 {
            self.bytes.put_u8(b'-');
        }
        self.bytes.extend_from_slice(&digits[at..]);
        self.bytes.extend_from_slice(b"\r\n");
    }
    fn line(&mut self, mark: u8, text: &str) {
        self.bytes.put_u8(mark);
        // A line must not end early, whatever a client has put into an error's text.
        self.bytes.extend(text.bytes().map(|b| if b == b'\r' || b == b'\n' { b' ' } else { b }));
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// `+OK`.
    pub(super) fn ok(&mut self) {
        self.bytes.extend_from_slice(b"+OK\r\n");
    }
    /// A simple string.
    pub(super) fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }
    /// An error; its first word is its code.
    pub(super) fn error(&mut self, text: &str) {
        self.line(b'-', text);
    }
    /// A number.
    pub(super) fn number(&mut self, n: i64) {
        self.head(b':', n);
    }
    /// A string.
    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        self.head(b'$', bytes.len() as i64);
        self.bytes.extend_from_slice(bytes);
        self.bytes.extend_from_slice(b"\r\n");
    }
    /// A string or nothing.
    pub(super) fn bulk_or_null(&mut self, bytes: Option<&Bytes>) {
        match bytes {
            Some(bytes) => self.bulk(bytes),
            None => self.null(),
        }
    }
    /// Nothing.
    pub(super) fn null(&mut self) {
        self.bytes.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }
    /// The beginning of an array.
    pub(super) fn array(&mut self, n: usize) {
        self.head(b'*', n as i64);
    }
    /// The beginning of a set.
    pub(super) fn set(&mut self, n: usize) {
        self.head(if self.resp3 { b'~' } else { b'*' }, n as i64);
    }
    /// The beginning of `n` pairs.
    pub(super) fn map(&mut self, n: usize) {
        if self.resp3 { self.head(b'%', n as i64) } else { self.head(b'*', 2 * n as i64) }
    }
    /// The beginning of what nobody asked for just now.
    pub(super) fn push(&mut self, n: usize) {
        self.head(if self.resp3 { b'>' } else { b'*' }, n as i64);
    }
    /// Text for people.
    pub(super) fn text(&mut self, text: &str) {
        if !self.resp3 {
            return self.bulk(text.as_bytes());
        }
        self.head(b'=', text.len() as i64 + 4);
        self.bytes.extend_from_slice(b"txt:");
        self.bytes.extend_from_slice(text.as_bytes());
        self.bytes.extend_from_slice(b"\r\n");
    }
    /// Why something was not done.
    pub(super) fn refusal(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::WrongType { .. } => {
                // To the letter: clients compare it.
                self.error("WRONGTYPE Operation against a key holding the wrong kind of value");
            }
            other => self.error(&format!("{} {other}", other.code())),
        }
    }
    /// Why there was no answer.
    pub(super) fn refused(&mut self, refused: &Refused) {
        match refused {
            Refused::Replica(refusal) => self.refusal(refusal),
            Refused::Node(AskError::Overloaded) => self.error(&format!("BUSY {refused}")),
            Refused::Node(AskError::Stopping) => self.error(&format!("LOADING {refused}")),
            Refused::Node(_) => self.error(&format!("ERR {refused}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(resp3: bool, say: impl Fn(&mut Out)) -> String {
        let mut out = Out { resp3, ..Out::default() };
        say(&mut out);
        String::from_utf8(out.bytes.to_vec()).unwrap()
    }

    #[test]
    fn each_kind_in_both_versions() {
        let all = |o: &mut Out| {
            o.ok();
            o.number(i64::MIN);
            o.number(0);
            o.bulk(b"a\r\n");
            o.null();
            o.map(1);
            o.set(2);
            o.push(3);
            o.text("x");
            o.error("ERR a\r\nb");
        };
        assert_eq!(
            said(false, all),
            "+OK\r\n:-9223372036854775808\r\n:0\r\n$3\r\na\r\n\r\n$-1\r\n*2\r\n*2\r\n*3\r\n$1\r\nx\r\n-ERR a  b\r\n"
        );
        assert_eq!(
            said(true, all),
            "+OK\r\n:-9223372036854775808\r\n:0\r\n$3\r\na\r\n\r\n_\r\n%1\r\n~2\r\n>3\r\n=5\r\ntxt:x\r\n-ERR a  b\r\n"
        );
    }
}
