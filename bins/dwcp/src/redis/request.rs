//! From bytes to requests: RESP arrays and inline commands, as they arrive.
//!
//! **Promise.** No input makes this panic; what an unfinished request can make us hold is bounded; nothing is looked
//! at twice however small the pieces are in which it comes.
//!
//! A request is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or a line of words, quoted as in Redis
//! (`GET "my key"`). Both versions of RESP send the same.
//!
//! **What ends the connection** ([`Broken`], with Redis' texts): lengths that are no lengths, anything but `$` in an array,
//! an endless line, an open quote. After these nobody knows where the next request begins.
//!
//! **What does not**: a request that is only too large. Its bytes are thrown away as they come, it is answered with an
//! error that names the bound, and the connection goes on ([`Request::TooLarge`]).
//!
//! | bound | |
//! |---|---|
//! | [`ARGUMENT_MAX`] | one argument: the largest value and a margin |
//! | [`REQUEST_BYTES`] | one request, all arguments |
//! | [`ARGUMENTS_MAX`] | arguments of one request |
//! | [`LINE_MAX`] | an inline command |
//! | 10 arguments of 16 KiB | who has not authenticated |

use bytes::{Buf, Bytes, BytesMut};
use dwcp_eventual::api::{VALUE_MAX, WRITE_MAX};

/// Bytes of one argument.
pub(super) const ARGUMENT_MAX: usize = VALUE_MAX + 64 * 1024;
/// Bytes of one request.
pub(super) const REQUEST_BYTES: usize = 2 * WRITE_MAX;
/// Arguments of one request.
pub(super) const ARGUMENTS_MAX: usize = 128 * 1024;
/// Bytes of an inline command.
pub(super) const LINE_MAX: usize = 64 * 1024;
/// What Redis calls too long whoever sends it.
const PROTOCOL_MAX: i64 = 512 * 1024 * 1024;
/// Digits of a length, its sign and line end included, and some more.
const LENGTH_MAX: usize = 32;
/// Of those who have not authenticated: arguments, and bytes of each.
const STRANGER: (i64, i64) = (10, 16 * 1024);

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Request {
    /// Its words; never none.
    Words(Vec<Bytes>),
    /// It was thrown away: what was too large, how large it was, and the bound.
    TooLarge {
        /// What.
        what: &'static str,
        /// How large.
        size: u64,
        /// The bound.
        limit: u64,
    },
}

/// Why the stream can't be read on; Redis' text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Broken(pub(super) String);

fn broken<T>(why: impl Into<String>) -> Result<T, Broken> {
    Err(Broken(format!("Protocol error: {}", why.into())))
}

/// Reads requests out of a buffer that grows at its end.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// Arguments the present array still lacks.
    lacking: usize,
    /// The next argument's length, once its header has been read.
    bulk: Option<usize>,
    /// Where each argument lies, from the request's first byte.
    found: Vec<(usize, usize)>,
    /// Bytes of the request that have been looked at.
    at: usize,
    /// Bytes of arguments so far.
    size: usize,
    /// Bytes of a line in which no end was found yet.
    searched: usize,
    /// Set while a request is thrown away.
    too_large: Option<Request>,
    /// Bytes still to be thrown away.
    skipping: usize,
}

enum Step {
    More,
    Lacks,
}

impl Reader {
    /// The next whole request at the beginning of `buffer`, taken out of it; nothing if more bytes are needed.
    ///
    /// # Errors
    /// The stream makes no sense from here on.
    pub(super) fn next(&mut self, buffer: &mut BytesMut, known: bool) -> Result<Option<Request>, Broken> {
        loop {
            if self.lacking > 0 {
                while self.lacking > 0 {
                    match self.argument(buffer, known)? {
                        Step::More => {}
                        Step::Lacks => return Ok(None),
                    }
                }
                return Ok(Some(self.take(buffer)));
            }
            match buffer.first() {
                None => return Ok(None),
                Some(b'*') => {
                    let Some(n) = self.length(buffer, "invalid multibulk length")? else { return Ok(None) };
                    if n > i64::from(i32::MAX) {
                        return broken("invalid multibulk length");
                    }
                    if !known && n > STRANGER.0 {
                        return broken("unauthenticated multibulk length");
                    }
                    self.lacking = usize::try_from(n).unwrap_or(0);
                    if self.lacking == 0 {
                        // An array of nothing is no request, and none at all isn't either.
                        buffer.advance(self.at);
                        self.at = 0;
                    } else if self.lacking > ARGUMENTS_MAX {
                        self.give_up("the number of arguments", self.lacking, ARGUMENTS_MAX, buffer);
                    }
                }
                Some(_) => match self.line(buffer)? {
                    None => return Ok(None),
                    Some(words) if words.is_empty() => {}
                    Some(words) => return Ok(Some(Request::Words(words))),
                },
            }
        }
    }

    /// Bytes that the present argument lacks: worth making room for at once.
    #[must_use]
    pub(super) fn wanted(&self, buffer: &BytesMut) -> usize {
        match self.bulk {
            Some(n) if self.too_large.is_none() => (self.at + n + 2).saturating_sub(buffer.len()),
            _ => 0,
        }
    }

    /// Whether a request has begun to arrive.
    #[must_use]
    pub(super) fn is_amid(&self, buffer: &BytesMut) -> bool {
        self.lacking > 0 || !buffer.is_empty()
    }

    /// A number behind a one-byte mark, up to the line's end.
    fn length(&mut self, buffer: &BytesMut, fault: &str) -> Result<Option<i64>, Broken> {
        let rest = buffer.get(self.at + 1..).unwrap_or_default();
        let window = &rest[..rest.len().min(LENGTH_MAX)];
        let end = window.iter().position(|b| *b == b'\r').filter(|end| end + 1 < window.len());
        let Some(end) = end else {
            return if rest.len() >= LENGTH_MAX { broken(fault) } else { Ok(None) };
        };
        let Some(n) = number(&window[..end]).filter(|_| window[end + 1] == b'\n') else {
            return broken(fault);
        };
        self.at += 1 + end + 2;
        Ok(Some(n))
    }

    fn argument(&mut self, buffer: &mut BytesMut, known: bool) -> Result<Step, Broken> {
        let Some(length) = self.bulk else { return self.header(buffer, known) };
        if self.too_large.is_some() {
            let n = self.skipping.min(buffer.len());
            buffer.advance(n);
            self.skipping -= n;
            if self.skipping > 0 {
                return Ok(Step::Lacks);
            }
        } else {
            if buffer.len() < self.at + length + 2 {
                return Ok(Step::Lacks);
            }
            self.found.push((self.at, self.at + length));
            self.at += length + 2;
        }
        self.bulk = None;
        self.lacking -= 1;
        Ok(Step::More)
    }

    fn header(&mut self, buffer: &mut BytesMut, known: bool) -> Result<Step, Broken> {
        match buffer.get(self.at) {
            None => return Ok(Step::Lacks),
            Some(b'$') => {}
            Some(other) => {
                let got = char::from(*other);
                return broken(format!("expected '$', got '{}'", if got.is_control() { '?' } else { got }));
            }
        }
        let Some(n) = self.length(buffer, "invalid bulk length")? else { return Ok(Step::Lacks) };
        if !(0..=PROTOCOL_MAX).contains(&n) {
            return broken("invalid bulk length");
        }
        if !known && n > STRANGER.1 {
            return broken("unauthenticated bulk length");
        }
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        self.bulk = Some(n);
        self.size += n;
        if self.too_large.is_some() {
            buffer.advance(self.at);
            self.at = 0;
        } else if n > ARGUMENT_MAX {
            self.give_up("an argument", n, ARGUMENT_MAX, buffer);
        } else if self.size > REQUEST_BYTES {
            self.give_up("a request", self.size, REQUEST_BYTES, buffer);
        }
        if self.too_large.is_some() {
            self.skipping = n + 2;
        }
        Ok(Step::More)
    }

    /// From here on the present request's bytes go as they come.
    fn give_up(&mut self, what: &'static str, size: usize, limit: usize, buffer: &mut BytesMut) {
        self.too_large = Some(Request::TooLarge { what, size: size as u64, limit: limit as u64 });
        self.found = Vec::new();
        buffer.advance(self.at);
        self.at = 0;
    }

    /// The request that is whole.
    fn take(&mut self, buffer: &mut BytesMut) -> Request {
        self.size = 0;
        if let Some(refused) = self.too_large.take() {
            return refused;
        }
        let whole = buffer.split_to(self.at).freeze();
        self.at = 0;
        Request::Words(self.found.drain(..).map(|(from, to)| whole.slice(from..to)).collect())
    }

    /// The words of a line; nothing if its end is not there yet.
    fn line(&mut self, buffer: &mut BytesMut) -> Result<Option<Vec<Bytes>>, Broken> {
        let Some(end) = buffer[self.searched..].iter().position(|b| *b == b'\n') else {
            self.searched = buffer.len();
            return if buffer.len() > LINE_MAX { broken("too big inline request") } else { Ok(None) };
        };
        let end = self.searched + end;
        self.searched = 0;
        if end > LINE_MAX {
            return broken("too big inline request");
        }
        let line = buffer.split_to(end + 1).freeze();
        match words(line[..end].strip_suffix(b"\r").unwrap_or(&line[..end])) {
            Some(words) => Ok(Some(words)),
            None => broken("unbalanced quotes in request"),
        }
    }
}

/// A length. Nearly all are a few digits.
fn number(text: &[u8]) -> Option<i64> {
    if (1..=9).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        return Some(text.iter().fold(0, |n, d| n * 10 + i64::from(d - b'0')));
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Splits a line as `sdssplitargs` does; nothing if a quote stays open or is followed by more.
fn words(line: &[u8]) -> Option<Vec<Bytes>> {
    let mut all = Vec::new();
    let mut rest = line;
    loop {
        let begin = rest.iter().position(|b| !b.is_ascii_whitespace() && *b != 0);
        let Some(begin) = begin else { return Some(all) };
        let (word, after) = word(&rest[begin..])?;
        all.push(word.into());
        rest = after;
    }
}

fn word(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut out = Vec::new();
    while let Some((&b, tail)) = rest.split_first() {
        match b {
            b'"' | b'\'' => {
                rest = quoted(tail, b, &mut out)?;
                // A closing quote ends the word.
                return rest.first().is_none_or(u8::is_ascii_whitespace).then_some((out, rest));
            }
            _ if b.is_ascii_whitespace() || b == 0 => return Some((out, rest)),
            _ => out.push(b),
        }
        rest = tail;
    }
    Some((out, rest))
}

fn quoted<'r>(mut rest: &'r [u8], quote: u8, out: &mut Vec<u8>) -> Option<&'r [u8]> {
    loop {
        match rest {
            [q, tail @ ..] if *q == quote => return Some(tail),
            [b'\\', b'x', h, l, tail @ ..]
                if quote == b'"' && h.is_ascii_hexdigit() && l.is_ascii_hexdigit() =>
            {
                let digit = |d: u8| char::from(d).to_digit(16).unwrap_or(0) as u8;
                out.push(digit(*h) << 4 | digit(*l));
                rest = tail;
            }
            [b'\\', c, tail @ ..] if quote == b'"' => {
                out.push(match c {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                rest = tail;
            }
            [b'\\', b'\'', tail @ ..] if quote == b'\'' => {
                out.push(b'\'');
                rest = tail;
            }
            [b, tail @ ..] => {
                out.push(*b);
                rest = tail;
            }
            [] => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8], piece: usize) -> Result<Vec<Request>, Broken> {
        let (mut reader, mut buffer, mut all) = (Reader::default(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            while let Some(request) = reader.next(&mut buffer, true)? {
                all.push(request);
            }
        }
        Ok(all)
    }
    fn of(words: &[&str]) -> Request {
        Request::Words(words.iter().map(|w| Bytes::copy_from_slice(w.as_bytes())).collect())
    }

    #[test]
    fn requests_are_the_same_in_pieces_of_any_size() {
        let bytes = b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*0\r\n\r\nSET \"a b\" 'c\\'d' \"\\x41\\n\"\r\n*-1\r\n*1\r\n$0\r\n\r\nPING\n";
        let want = [of(&["GET", "k"]), of(&["SET", "a b", "c'd", "A\n"]), of(&[""]), of(&["PING"])];
        for piece in [1, 2, 3, 7, 1000] {
            assert_eq!(read(bytes, piece).unwrap(), want, "{piece}");
        }
    }

    #[test]
    fn what_makes_no_sense_ends_the_stream_with_redis_words() {
        for (bytes, says) in [
            (&b"*x\r\n"[..], "Protocol error: invalid multibulk length"),
            (b"*2147483648\r\n", "Protocol error: invalid multibulk length"),
            (b"*1\r\n:1\r\n", "Protocol error: expected '$', got ':'"),
            (b"*1\r\n$-1\r\n", "Protocol error: invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
            (b"*11111111111111111111111111111111111", "Protocol error: invalid multibulk length"),
            (b"SET \"a\r\n", "Protocol error: unbalanced quotes in request"),
            (b"SET \"a\"b\r\n", "Protocol error: unbalanced quotes in request"),
        ] {
            assert_eq!(read(bytes, 1000).unwrap_err().0, says);
        }
        assert!(read(&vec![b'a'; LINE_MAX + 1], 1000).is_err());
    }

    #[test]
    fn a_request_too_large_is_dropped_as_it_comes_and_the_next_one_is_read() {
        let mut bytes = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", ARGUMENT_MAX + 1).into_bytes();
        bytes.resize(bytes.len() + ARGUMENT_MAX + 1, b'v');
        bytes.extend_from_slice(b"\r\n*1\r\n$4\r\nPING\r\n");
        let (mut reader, mut buffer, mut all) = (Reader::default(), BytesMut::new(), Vec::new());
        for piece in bytes.chunks(10_000) {
            buffer.extend_from_slice(piece);
            while let Some(request) = reader.next(&mut buffer, true).unwrap() {
                all.push(request);
            }
            assert!(buffer.len() < 20_100, "{}", buffer.len());
        }
        assert!(matches!(all[0], Request::TooLarge { what: "an argument", .. }));
        assert_eq!(all[1..], [of(&["PING"])]);
        let many =
            format!("*{}\r\n{}*1\r\n$1\r\nx\r\n", ARGUMENTS_MAX + 1, "$0\r\n\r\n".repeat(ARGUMENTS_MAX + 1));
        let all = read(many.as_bytes(), 4_096).unwrap();
        assert!(matches!(all[0], Request::TooLarge { what: "the number of arguments", .. }));
        assert_eq!(all[1..], [of(&["x"])]);
    }

    #[test]
    fn a_stranger_has_little_room() {
        for bytes in [&b"*11\r\n"[..], b"*1\r\n$20000\r\n"] {
            let mut buffer = BytesMut::from(bytes);
            let error = Reader::default().next(&mut buffer, false).unwrap_err();
            assert!(error.0.contains("unauthenticated"), "{error:?}");
        }
    }
}
