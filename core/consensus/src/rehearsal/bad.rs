//! Bad input: honest messages, damaged in every way, to honest members. Nothing may come of them.
//!
//! A group runs in lockstep with losses and a silent member now and then, so that its messages are of every kind and its
//! states of every shape. Between rounds, messages it sent lately or long ago are bent, encoded or not, and given to
//! copies of its members:
//!
//! | damage | what is done |
//! |---|---|
//! | bits, bytes | some are changed, left out, cut off or added |
//! | numbers | an integer becomes another: 0, the next, the largest; a length too |
//! | spliced | the begin of one message, the end of another |
//! | huge | a part is repeated until the frame is full |
//! | replayed | as it was, from another, to another, or late |
//! | strangers | from who is no member |
//!
//! **What must hold.** No panic. Who is blamed changed nothing: the state's hash is what it was, and nothing else was put
//! out ([`crate::step`], invariant 3). Where members may lie, a message that no member ever sent changes nothing
//! at all, blamed or not: everything in it stands under somebody's code or signature.

use super::lockstep::{Lockstep, OnTheWay};
use super::subject::Subject;
use crate::step::{Input, Output, Outputs, Protocol, Ticket};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use dwcp_env::{Instant, NodeId, Purpose, Seed, bound, wire};

const DRAW: Purpose = Purpose::named("bad input");
/// Samples that are kept: the newest, and some older ones.
const SAMPLES_MAX: usize = 4_096;
/// Bad inputs between two rounds.
const A_ROUND: u64 = 64;
/// Rounds until the group begins anew, from another seed.
const LIFE: u64 = 600;
/// Rounds between two checkpoints, behind which members forget: else the hash of all they know costs more than all steps.
const CHECKPOINT: u64 = 25;

/// What became of bad inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bad {
    /// Given.
    pub given: u64,
    /// No message any more: a driver drops these.
    pub unreadable: u64,
    /// Blamed on their sender.
    pub blamed: u64,
    /// Without effect.
    pub ignored: u64,
    /// Replays and, where members do not lie, plausible ones: taken as what they say.
    pub taken: u64,
}

struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        let words = bytes.chunks_exact(8);
        let rest = words.remainder();
        words.for_each(|word| self.write_u64(u64::from_le_bytes(word.try_into().expect("eight bytes"))));
        rest.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = Fnv(0xcbf2_9ce4_8422_2325);
    value.hash(&mut hasher);
    hasher.0
}

struct Bench<'a, S: Subject> {
    subject: &'a S,
    members: usize,
    seed: u64,
    draws: u64,
    group: Lockstep<S>,
    /// Of each member, as it is between two rounds: a copy, its hash. Where members do not lie bad inputs are given to the copy, for
    /// as long as it is equal; PBFT keeps more than its hash shows, and gets a new one each time.
    copies: Vec<Option<(S::P, u64)>>,
    samples: Vec<OnTheWay<S::P>>,
    /// Hashes of all that honest members said.
    said: BTreeSet<u64>,
    bad: Bad,
}

/// Gives `count` bad inputs to a group of so many members; `progress` hears how many were given.
///
/// # Errors
/// The first one that had an effect it must not have, in words.
pub fn bad_inputs<S: Subject>(
    subject: &S,
    members: usize,
    seed: u64,
    count: u64,
    mut progress: impl FnMut(u64),
) -> Result<Bad, String> {
    let group = Lockstep::new(subject, members, seed);
    let (samples, said) = (Vec::new(), BTreeSet::new());
    let (bad, copies) = (Bad::default(), Vec::new());
    let mut bench = Bench { subject, members, seed, draws: 0, group, copies, samples, said, bad };
    let mut round = 0;
    while bench.bad.given < count {
        bench.live(round % LIFE);
        bench.copies = (0..members).map(|_| None).collect();
        round += 1;
        if round.is_multiple_of(LIFE) {
            bench.group = Lockstep::new(subject, members, seed + round);
            bench.copies = (0..members).map(|_| None).collect();
        }
        for _ in 0..A_ROUND.min(count - bench.bad.given) {
            bench.once()?;
        }
        progress(bench.bad.given);
    }
    Ok(bench.bad)
}

impl<S: Subject> Bench<'_, S> {
    fn below(&mut self, n: usize) -> usize {
        self.draws += 1;
        Seed(self.seed).below(n as u64, DRAW, 0, Instant::ZERO, self.draws) as usize
    }

    /// One round of an honest life, with losses, and a member that is silent a third of the time.
    fn live(&mut self, round: u64) {
        if round.is_multiple_of(3) {
            let (node, count) = (self.below(self.members), 1 + self.below(3) as u64);
            self.group.propose(node, count);
        }
        if round % CHECKPOINT == CHECKPOINT - 1 {
            self.group.checkpoint();
        }
        self.group.pass();
        self.group.sync();
        for way in &self.group.wire {
            self.said.insert(hash(&way.2));
        }
        let fresh: Vec<OnTheWay<S::P>> = self.group.wire.clone();
        for way in fresh {
            if self.samples.len() < SAMPLES_MAX {
                self.samples.push(way);
            } else {
                // The newest take the places of some, whatever their age.
                let at = self.below(SAMPLES_MAX);
                self.samples[at] = way;
            }
        }
        let silent = (round / 100 % 3 == 1).then_some((round / 300) as usize % self.members);
        let lossy = self.below(8) == 0;
        let mut draws = self.draws;
        let seed = Seed(self.seed);
        self.group.round(|(from, to, _)| {
            draws += 1;
            let lost = lossy && seed.below(4, DRAW, 1, Instant::ZERO, draws) == 0;
            !lost && silent != Some(*from) && silent != Some(*to)
        });
        self.draws = draws;
    }

    fn once(&mut self) -> Result<(), String> {
        self.bad.given += 1;
        if self.samples.is_empty() {
            return Ok(());
        }
        let at = self.below(self.samples.len());
        let (mut from, mut to, message) = self.samples[at].clone();
        let replayed = self.below(8) == 0;
        let message = if replayed { Some(message) } else { self.bend(&message) };
        let Some(message) = message else {
            self.bad.unreadable += 1;
            return Ok(());
        };
        if self.below(4) == 0 {
            (from, to) = (self.below(self.members), self.below(self.members));
        }
        let stranger = self.below(64) == 0;
        let name = if stranger { NodeId(1_000_000) } else { self.group.members[from] };
        if from == to && !stranger {
            return Ok(());
        }
        self.give(name, to, message, stranger)
    }

    fn give(
        &mut self,
        from: NodeId,
        to: usize,
        message: <S::P as Protocol>::Message,
        stranger: bool,
    ) -> Result<(), String> {
        let now = self.group.now;
        let fresh = || {
            let mut node = self.group.nodes[to].clone();
            // Whatever it would do anyway.
            node.step(now, Input::Persisted(Ticket(0)), &mut Vec::new());
            let before = hash(&node);
            (node, before)
        };
        let honest = self.subject.traitors(self.members) == 0;
        let (mut node, before) = if honest {
            self.copies[to].take().unwrap_or_else(fresh)
        } else {
            self.copies[to].get_or_insert_with(fresh).clone()
        };
        let known = self.said.contains(&hash(&message));
        let mut news: Outputs<S::P> = Vec::new();
        node.step(now, Input::Message { from, message: message.clone() }, &mut news);
        let after = hash(&node);
        if honest && after == before {
            self.copies[to] = Some((node, before));
        }
        let blamed = news.iter().any(|o| matches!(o, Output::Blame { peer, .. } if *peer == from));
        let what = if blamed && (news.len() != 1 || after != before) {
            "was blamed and had an effect"
        } else if stranger && !blamed {
            "came from a stranger, who was not blamed"
        } else if !honest && !known && after != before {
            "was never said, and had an effect"
        } else {
            match (blamed, after == before) {
                (true, _) => self.bad.blamed += 1,
                (false, true) => self.bad.ignored += 1,
                (false, false) => self.bad.taken += 1,
            }
            return Ok(());
        };
        let number = self.bad.given;
        Err(format!("bad input {number}, {message:?} from {from} to {}, {what}", self.group.members[to]))
    }

    /// Damages a message; `None` if it is none any more.
    fn bend(&mut self, message: &<S::P as Protocol>::Message) -> Option<<S::P as Protocol>::Message> {
        let mut bytes = wire::encode(message);
        for _ in 0..1 + self.below(2) {
            self.bend_bytes(&mut bytes);
        }
        bytes.truncate(bound::FRAME_BODY_MAX.0 as usize);
        wire::decode(&bytes).ok()
    }

    fn bend_bytes(&mut self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return bytes.push(self.below(256) as u8);
        }
        let at = self.below(bytes.len());
        match self.below(10) {
            0 => bytes[at] ^= 1 << self.below(8),
            1 => bytes[at] = self.below(256) as u8,
            2 => bytes[at] = bytes[at].wrapping_add(1),
            3 => bytes.truncate(at),
            4 => {
                bytes.remove(at);
            }
            5 => {
                let more = self.below(16);
                for _ in 0..more {
                    let byte = self.below(256) as u8;
                    bytes.push(byte);
                }
            }
            6 | 7 => {
                // An integer of the encoding: a byte that says how long it is, and its bytes.
                let number: &[u8] = match self.below(6) {
                    0 => &[0],
                    1 => &[250],
                    2 => &[251, 255, 255],
                    3 => &[252, 255, 255, 255, 127],
                    4 => &[253, 255, 255, 255, 255, 255, 255, 255, 127],
                    _ => &[253, 255, 255, 255, 255, 255, 255, 255, 255],
                };
                bytes.splice(at..=at, number.iter().copied());
            }
            8 => {
                let other = self.below(self.samples.len());
                let other = wire::encode(&self.samples[other].2);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[at.min(other.len())..]);
            }
            _ => {
                let part: Vec<u8> = bytes[at..].to_vec();
                // Now and then as long as a frame takes.
                let times = if self.below(256) == 0 { (4 << 20) / part.len() } else { self.below(64) };
                for _ in 0..times {
                    bytes.extend_from_slice(&part);
                }
            }
        }
    }
}
