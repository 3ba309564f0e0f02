//! Numbered commands: 16 bytes and padding, self-checking, so that nothing can be decided that nobody proposed.
//!
//! ```text
//!  0        4      6      8                16
//!  +--------+------+------+----------------+
//!  | number | key  | pad  | check          | pad bytes of the check's lowest   little endian
//!  +--------+------+------+----------------+
//! ```

use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Instant, Purpose, Seed};

/// Bytes of a command without padding.
pub const LENGTH: usize = 16;
/// Keys there are; commands on one key conflict.
pub const KEYS: u16 = 8;

const CHECK: Purpose = Purpose::named("rehearsal command check");
const PAD: Purpose = Purpose::named("rehearsal command pad");
const KEY: Purpose = Purpose::named("rehearsal command key");
/// How many are made at once.
const CHUNK: u32 = 256;

/// The key a command touches (0 for bytes that are no command).
#[must_use]
pub fn key(bytes: &Bytes) -> u16 {
    if bytes.len() >= LENGTH { u16::from_le_bytes([bytes[4], bytes[5]]) } else { 0 }
}

/// Makes the commands of a run, numbered from 1.
#[derive(Clone, Debug)]
pub struct Mint {
    seed: Seed,
    /// Of 65,536 commands, how many go to key 0 whatever else.
    conflict: u32,
    /// Bytes of padding at most.
    pad: u16,
    made: u32,
    /// Commands made ahead, and where each ends.
    chunk: Bytes,
    ends: Vec<usize>,
}

impl Mint {
    /// A mint of this seed; `conflict` of 65,536 commands go to key 0, the others anywhere; padded by up to `pad` bytes.
    #[must_use]
    pub fn new(seed: u64, conflict: u32, pad: u16) -> Self {
        Self { seed: Seed(seed), conflict, pad, made: 0, chunk: Bytes::new(), ends: Vec::new() }
    }

    fn check(&self, number: u32, key: u16) -> [u8; 8] {
        self.seed.draw(CHECK, u64::from(number), Instant::ZERO, u64::from(key)).to_le_bytes()
    }

    fn write(&self, number: u32, out: &mut Vec<u8>) {
        let at = Instant::ZERO;
        let key = if self.seed.below(65_536, KEY, u64::from(number), at, 0) < u64::from(self.conflict) {
            0
        } else {
            self.seed.below(u64::from(KEYS), KEY, u64::from(number), at, 1) as u16
        };
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&key.to_le_bytes());
        let pad = self.seed.below(u64::from(self.pad) + 1, PAD, u64::from(number), at, 0) as u16;
        out.extend_from_slice(&pad.to_le_bytes());
        let check = self.check(number, key);
        out.extend_from_slice(&check);
        out.resize(out.len() + usize::from(pad), check[0]);
    }

    /// The next command and its number.
    pub fn strike(&mut self) -> (u32, Bytes) {
        let within = (self.made % CHUNK) as usize;
        if within == 0 {
            let mut bytes = Vec::with_capacity(CHUNK as usize * (LENGTH + usize::from(self.pad) / 2));
            self.ends.clear();
            for number in 1..=CHUNK {
                self.write(self.made + number, &mut bytes);
                self.ends.push(bytes.len());
            }
            self.chunk = bytes.into();
        }
        self.made += 1;
        let from = if within == 0 { 0 } else { self.ends[within - 1] };
        (self.made, self.chunk.slice(from..self.ends[within]))
    }

    /// The number of a command this mint made.
    #[must_use]
    pub fn number(&self, bytes: &Bytes) -> Option<u32> {
        let number = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
        let pad = u16::from_le_bytes(bytes.get(6..8)?.try_into().ok()?);
        let check = self.check(number, key(bytes));
        let whole = bytes.len() == LENGTH + usize::from(pad) && bytes[8..LENGTH] == check;
        (whole && bytes[LENGTH..].iter().all(|b| *b == check[0]) && (1..=self.made).contains(&number))
            .then_some(number)
    }
}
