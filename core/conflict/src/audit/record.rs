//! One resolution, and its bytes.

use crate::conflict::{Base, Class, ConflictId, Place, Sibling, Writer as Person};
use crate::pointer::Pointer;
use crate::policy::{Answer, Question, Resolved};
use crate::queue::Closed;
use crate::strategy::{Lack, Named, Ordered, Outcome, Reason, Why};
use crate::value::{Value, text};
use alloc::sync::Arc;
use alloc::vec::Vec;
use dwcp_crdt::code::{Malformed, Reader, Writer};
use dwcp_crdt::{Dot, Hlc};

/// Values up to so many canonical bytes stand in the record; longer ones by their hash.
pub const INLINE_MAX: usize = 64;
/// The version of the layout.
const VERSION: u8 = 1;
/// Inputs of one record. What is written is held to it as well as what is read.
pub const INPUTS_MAX: usize = 256;
/// Bytes of one record.
pub const RECORD_MAX: usize = 1 << 20;

/// A value, or what it hashes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Held {
    /// The value.
    Value(Value),
    /// BLAKE3 of its canonical bytes.
    Hash([u8; 32]),
}

/// A write that took part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Its name.
    pub dot: Dot,
    /// When it was made.
    pub hlc: Hlc,
    /// By whom.
    pub writer: Person,
    /// What it said; nothing if it deleted.
    pub value: Option<Held>,
    /// Whether that stands.
    pub prevails: bool,
}

/// What stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Output {
    /// The write that persists it, if it was made.
    pub dot: Option<Dot>,
    /// What; nothing if that is a deletion. Of several values the one shown first.
    pub value: Option<Held>,
    /// Until when a person is asked, in milliseconds since 1970.
    pub asked_until: Option<u64>,
}

/// One resolution.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// When it was recorded.
    pub at: Hlc,
    /// The conflict's name.
    pub id: ConflictId,
    /// Where.
    pub place: Place,
    /// Of which class.
    pub class: Class,
    /// The policy's version.
    pub policy: u32,
    /// Its rule, counted from 0.
    pub rule: u16,
    /// The strategy that was asked.
    pub strategy: Named,
    /// What was there before.
    pub base: Base<Held>,
    /// The writes that took part, the latest first.
    pub inputs: Vec<Input>,
    /// What stands.
    pub output: Output,
    /// Why.
    pub reason: Reason,
    /// Who decided, if a person did.
    pub by: Option<Person>,
    /// The checkpoint to which they went back, if they did.
    pub back_to: Option<Arc<str>>,
}

/// What is to be recorded.
#[derive(Clone, Copy, Debug)]
pub struct Settlement<'a> {
    /// When.
    pub at: Hlc,
    /// Under which version of the policy.
    pub policy: u32,
    /// Where, and of which class.
    pub place: &'a Place,
    /// Of which class.
    pub class: Class,
    /// What was there before.
    pub base: Base<&'a Value>,
    /// What was written.
    pub siblings: &'a [Sibling],
    /// What the policy said.
    pub answer: &'a Answer,
    /// What a document holds there now, where a merge settled it.
    pub stands: Option<Option<&'a Value>>,
    /// When a person was asked, in milliseconds since 1970, if one is.
    pub asked_at: u64,
    /// The write that persists it, if it was made.
    pub output: Option<Dot>,
    /// A person's decision, where one was made.
    pub decision: Option<&'a Closed>,
    /// The checkpoint to which they went back, if they did.
    pub back_to: Option<&'a str>,
}

impl<'a> Settlement<'a> {
    /// Of a question and its answer.
    #[must_use]
    pub const fn new(question: &Question<'a>, answer: &'a Answer, policy: u32, at: Hlc) -> Self {
        let Question { place, class, base, siblings, .. } = *question;
        let (stands, asked_at) = (None, at.millis());
        Self {
            at,
            policy,
            place,
            class,
            base,
            siblings,
            answer,
            stands,
            asked_at,
            output: None,
            decision: None,
            back_to: None,
        }
    }
    /// Of a clash that a merge settled.
    #[must_use]
    pub const fn of_merge(r: &'a Resolved, policy: u32, at: Hlc) -> Self {
        Self {
            at,
            policy,
            place: &r.place,
            class: r.class,
            base: r.base.as_ref(),
            siblings: r.siblings.as_slice(),
            answer: &r.answer,
            stands: Some(r.stands.as_ref()),
            asked_at: at.millis(),
            output: None,
            decision: None,
            back_to: None,
        }
    }
}

/// A value as a record holds it; if it is long, also what is to be kept.
fn hold(value: &Value, bytes: &mut Writer, long: &mut Vec<([u8; 32], Value, usize)>) -> Held {
    bytes.clear();
    value.encode(bytes);
    if bytes.len() <= INLINE_MAX {
        return Held::Value(value.clone());
    }
    let hash = *blake3::hash(bytes.as_slice()).as_bytes();
    if long.iter().all(|(h, ..)| *h != hash) {
        long.push((hash, value.clone(), bytes.len()));
    }
    Held::Hash(hash)
}

impl Record {
    /// The record, and the values that are too long for it.
    pub(super) fn of(s: &Settlement<'_>) -> (Self, Vec<([u8; 32], Value, usize)>) {
        let (mut bytes, mut long) = (Writer::new(), Vec::new());
        let mut held = |v: Option<&Value>| v.map(|v| hold(v, &mut bytes, &mut long));
        let settled = &s.answer.settled;
        let decided = s.decision.map(|d| d.write.value.as_ref());
        // In a document one value stands, whatever was to be kept: the others are not there.
        let stands =
            decided.or(s.stands.filter(|_| !matches!(settled.reason.why, Why::Joined | Why::Replayed)));
        let value = decided.or(s.stands).unwrap_or(settled.outcome.shown());
        let input = |sibling: &&Sibling| Input {
            dot: sibling.dot,
            hlc: sibling.hlc,
            writer: sibling.writer.clone(),
            value: held(sibling.value.as_ref()),
            prevails: match stands {
                Some(value) => sibling.value.as_ref() == value,
                None => settled.prevails.contains(&sibling.dot),
            },
        };
        let inputs: Vec<Input> = Ordered::new(s.siblings).all().iter().map(input).collect();
        let asked_until = match &settled.outcome {
            Outcome::Asked { within, .. } if s.decision.is_none() => Some(s.asked_at.saturating_add(*within)),
            _ => None,
        };
        let record = Self {
            at: s.at,
            // Where nothing lay, it is called by what was written.
            id: match &inputs[..] {
                [] => ConflictId::of(s.output),
                some => ConflictId::of(some.iter().map(|i| i.dot)),
            },
            place: s.place.clone(),
            class: s.class,
            policy: s.policy,
            rule: s.answer.rule,
            strategy: s.answer.strategy,
            base: match s.base {
                Base::Known(v) => held(Some(v)).map_or(Base::Unknown, Base::Known),
                Base::Nothing => Base::Nothing,
                Base::Unknown => Base::Unknown,
            },
            output: Output { dot: s.output, value: held(value), asked_until },
            inputs,
            reason: settled.reason,
            by: s.decision.and_then(|d| d.by.clone()),
            back_to: s.back_to.map(Arc::from),
        };
        (record, long)
    }
    /// The hashes of the long values that it names, as often as it does.
    pub fn long(&self) -> impl Iterator<Item = &[u8; 32]> {
        let values = self.inputs.iter().filter_map(|i| i.value.as_ref());
        let all = values.chain(self.base.as_ref().value()).chain(&self.output.value);
        all.filter_map(|held| if let Held::Hash(hash) = held { Some(hash) } else { None })
    }
    /// What did not prevail, the latest first.
    pub fn losers(&self) -> impl Iterator<Item = &Input> {
        self.inputs.iter().filter(|i| !i.prevails)
    }
    /// Writes the canonical bytes.
    pub fn encode(&self, out: &mut Writer) {
        out.byte(VERSION);
        out.fixed(self.at.0);
        out.raw(&self.id.0);
        out.byte(self.class as u8);
        out.byte(self.strategy as u8);
        out.varint(u64::from(self.policy));
        out.varint(u64::from(self.rule));
        out.bytes(self.place.kind.as_bytes());
        out.bytes(self.place.key.as_bytes());
        out.bytes(self.place.pointer.as_str().as_bytes());
        match &self.base {
            Base::Unknown => out.byte(3),
            base => write_held(base.as_ref().value(), out),
        }
        out.varint(self.inputs.len() as u64);
        for i in &self.inputs {
            out.dot(i.dot);
            out.fixed(i.hlc.0);
            write_person(&i.writer, out);
            out.byte(u8::from(i.prevails));
            write_held(i.value.as_ref(), out);
        }
        let o = &self.output;
        out.byte(
            u8::from(o.dot.is_some())
                | u8::from(o.asked_until.is_some()) << 1
                | u8::from(self.by.is_some()) << 2
                | u8::from(self.back_to.is_some()) << 3,
        );
        o.dot.into_iter().for_each(|d| out.dot(d));
        o.asked_until.into_iter().for_each(|t| out.varint(t));
        self.by.iter().for_each(|w| write_person(w, out));
        self.back_to.iter().for_each(|name| out.bytes(name.as_bytes()));
        write_held(o.value.as_ref(), out);
        let (why, numbers) = number(self.reason.why);
        out.byte(why);
        numbers.into_iter().flatten().for_each(|n| out.varint(u64::from(n)));
        out.byte(self.reason.lack.map_or(0, |l| l as u8));
    }
    /// Reads what [`Record::encode`] wrote, all of it.
    ///
    /// # Errors
    /// If the bytes are no record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader::new(bytes);
        let r = Self::read(&mut from)?;
        if from.is_empty() { Ok(r) } else { Err(from.malformed("bytes behind a record")) }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        if from.byte()? != VERSION {
            return Err(from.malformed("a record of an unknown version"));
        }
        let at = Hlc(from.fixed()?);
        let mut id = ConflictId([0; 32]);
        id.0.copy_from_slice(from.raw(32)?);
        let class = Class::from_number(from.byte()?).ok_or(from.malformed("an unknown class"))?;
        let strategy = Named::from_number(from.byte()?).ok_or(from.malformed("an unknown strategy"))?;
        let policy = u32::try_from(from.varint()?).map_err(|_| from.malformed("a version beyond 32 bits"))?;
        let rule = small(from)?;
        let (kind, key, pointer) = (text(from)?, text(from)?, text(from)?);
        let pointer = Pointer::parse(&pointer).map_err(|_| from.malformed("no JSON pointer"))?;
        let base = match read_held_or(from, 3)? {
            Some(held) => Base::known(held),
            None => Base::Unknown,
        };
        let mut inputs = Vec::new();
        for _ in 0..from.count(INPUTS_MAX)? {
            let (dot, hlc) = (from.dot()?, Hlc(from.fixed()?));
            let writer = read_person(from)?;
            let prevails = match from.byte()? {
                0 => false,
                1 => true,
                _ => return Err(from.malformed("neither yes nor no")),
            };
            inputs.push(Input { dot, hlc, writer, prevails, value: read_held(from)? });
        }
        let flags = from.byte()?;
        if flags > 15 {
            return Err(from.malformed("unknown flags"));
        }
        let dot = if flags & 1 != 0 { Some(from.dot()?) } else { None };
        let asked_until = if flags & 2 != 0 { Some(from.varint()?) } else { None };
        let by = if flags & 4 != 0 { Some(read_person(from)?) } else { None };
        let back_to = if flags & 8 != 0 { Some(text(from)?) } else { None };
        let output = Output { dot, asked_until, value: read_held(from)? };
        let why = read_why(from)?;
        let lack = match from.byte()? {
            0 => None,
            n => Some(Lack::from_number(n).ok_or(from.malformed("an unknown lack"))?),
        };
        let place = Place { kind, key, pointer };
        let reason = Reason { why, lack };
        Ok(Self { at, id, place, class, policy, rule, strategy, base, inputs, output, reason, by, back_to })
    }
}

fn write_held(held: Option<&Held>, out: &mut Writer) {
    match held {
        None => out.byte(0),
        Some(Held::Value(v)) => {
            out.byte(1);
            v.encode(out);
        }
        Some(Held::Hash(hash)) => {
            out.byte(2);
            out.raw(hash);
        }
    }
}

fn read_held(from: &mut Reader<'_>) -> Result<Option<Held>, Malformed> {
    // No byte is 0 and a value at once.
    read_held_or(from, 0).map(Option::flatten)
}

/// The same, or nothing at all where this byte stands.
fn read_held_or(from: &mut Reader<'_>, other: u8) -> Result<Option<Option<Held>>, Malformed> {
    Ok(match from.byte()? {
        n if n == other => None,
        0 => Some(None),
        1 => Some(Some(Held::Value(Value::decode(from)?))),
        2 => {
            let mut hash = [0; 32];
            hash.copy_from_slice(from.raw(32)?);
            Some(Some(Held::Hash(hash)))
        }
        _ => return Err(from.malformed("neither a value nor a hash")),
    })
}

fn write_person(w: &Person, out: &mut Writer) {
    out.bytes(w.name.as_bytes());
    out.bytes(w.role.as_bytes());
    out.bytes(w.region.as_bytes());
}

fn read_person(from: &mut Reader<'_>) -> Result<Person, Malformed> {
    Ok(Person { name: text(from)?, role: text(from)?, region: text(from)? })
}

fn small(from: &mut Reader<'_>) -> Result<u16, Malformed> {
    u16::try_from(from.varint()?).map_err(|_| from.malformed("a number beyond 16 bits"))
}

const fn number(why: Why) -> (u8, [Option<u16>; 2]) {
    match why {
        Why::Alone => (1, [None, None]),
        Why::Latest => (2, [None, None]),
        Why::All => (3, [None, None]),
        Why::Replayed => (4, [None, None]),
        Why::Joined => (5, [None, None]),
        Why::Restored => (6, [None, None]),
        Why::Asked => (7, [None, None]),
        Why::Ranked(at) => (8, [Some(at), None]),
        Why::Voted { votes, of } => (9, [Some(votes), Some(of)]),
        Why::Greatest => (10, [None, None]),
        Why::RankedText(at) => (11, [Some(at), None]),
    }
}

fn read_why(from: &mut Reader<'_>) -> Result<Why, Malformed> {
    Ok(match from.byte()? {
        1 => Why::Alone,
        2 => Why::Latest,
        3 => Why::All,
        4 => Why::Replayed,
        5 => Why::Joined,
        6 => Why::Restored,
        7 => Why::Asked,
        8 => Why::Ranked(small(from)?),
        9 => Why::Voted { votes: small(from)?, of: small(from)? },
        10 => Why::Greatest,
        11 => Why::RankedText(small(from)?),
        _ => return Err(from.malformed("an unknown reason")),
    })
}
