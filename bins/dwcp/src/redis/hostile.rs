//! What a client that errs or means harm can send: never a panic, never an endless wait.

use super::client::encoded;
use super::door::Door;
use super::memory::Memory;
use super::request::{ARGUMENT_MAX, LINE_MAX, Reader, Request};
use super::table::TABLE;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

/// Numbers that look random and are the same in each run.
struct Draws(u64);

impl Draws {
    fn below(&mut self, n: usize) -> usize {
        // xorshift64*, Vigna 2016.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n.max(1)
    }
}

/// What may stand where a word is expected.
const WORDS: [&[u8]; 22] = [
    b"",
    b"0",
    b"-1",
    b"1",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"99999999999999999999",
    b"1.5",
    b"nx",
    b"ex",
    b"get",
    b"match",
    b"count",
    b"*",
    b"before",
    b"persist",
    b"auth",
    b"setname",
    b"usage",
    b"3",
    b"\r\n",
    b"\xff\x00",
];

/// A conversation of some requests that make sense, more or less.
fn conversation(draws: &mut Draws) -> Vec<u8> {
    let mut all = Vec::new();
    for _ in 0..=draws.below(4) {
        let entry = &TABLE[draws.below(TABLE.len())];
        let mut words: Vec<&[u8]> = vec![entry.name.as_bytes()];
        let wanted = entry.arity.unsigned_abs() as usize - 1 + draws.below(4);
        words.extend((0..wanted).map(|_| WORDS[draws.below(WORDS.len())]));
        all.extend(encoded(&words));
    }
    all
}

fn mutate(draws: &mut Draws, bytes: &mut Vec<u8>) {
    for _ in 0..=draws.below(3) {
        if bytes.is_empty() {
            return;
        }
        let at = draws.below(bytes.len());
        match draws.below(6) {
            0 => bytes[at] = draws.below(256) as u8,
            1 => bytes.truncate(at),
            2 => bytes.insert(at, b"*$\r\n-019\"' "[draws.below(12).min(10)]),
            3 => drop(bytes.remove(at)),
            4 => bytes[at] ^= 1 << draws.below(8),
            _ => {
                let copy = bytes[at..(at + 8).min(bytes.len())].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
}

#[test]
fn no_bytes_make_the_reader_panic_or_hold_more_than_its_bounds() {
    let mut draws = Draws(0x5eed);
    let (mut whole, mut broken) = (0, 0);
    for _ in 0..100_000 {
        let mut bytes = conversation(&mut draws);
        mutate(&mut draws, &mut bytes);
        let (mut reader, mut buffer) = (Reader::default(), BytesMut::new());
        let piece = 1 + draws.below(40);
        'sent: for piece in bytes.chunks(piece) {
            buffer.extend_from_slice(piece);
            loop {
                match reader.next(&mut buffer, true) {
                    Ok(Some(Request::Words(words))) => {
                        assert!(!words.is_empty());
                        whole += 1;
                    }
                    Ok(Some(Request::TooLarge { .. })) => {}
                    Ok(None) => break,
                    Err(_) => {
                        broken += 1;
                        break 'sent;
                    }
                }
            }
            assert!(reader.wanted(&buffer) <= ARGUMENT_MAX + 2);
            assert!(buffer.len() <= bytes.len().max(LINE_MAX));
        }
    }
    // Else nothing was tried.
    assert!(whole > 50_000 && broken > 10_000, "{whole} {broken}");
}

#[tokio::test]
async fn no_conversation_makes_the_door_panic_or_hang() {
    let mut draws = Draws(0xd00d);
    for round in 0..2_000 {
        let mut bytes = conversation(&mut draws);
        if round % 2 == 0 {
            mutate(&mut draws, &mut bytes);
        }
        let door = Door::new(Memory::new(), (round % 7 == 0).then(|| "p".to_owned()), 1, Arc::default());
        let (mut io, theirs) = tokio::io::duplex(1 << 20);
        let (close, closing) = watch::channel(false);
        let serving = door.serve_on(tokio::io::split(theirs), String::new(), closing);
        let client = async {
            io.write_all(&bytes).await.unwrap();
            io.shutdown().await.unwrap();
            let mut said = Vec::new();
            io.read_to_end(&mut said).await.unwrap();
        };
        let both = async { tokio::join!(serving, client) };
        let ended = tokio::time::timeout(Duration::from_secs(20), both).await;
        assert!(ended.is_ok(), "{:?}", String::from_utf8_lossy(&bytes));
        drop(close);
    }
}
