//! The eight ways to settle siblings. Each is a function of the set of siblings, the base and the field: no clock, no chance, no order of
//! arrival. [`Ordered`] puts siblings in their one order before a strategy sees them.
//!
//! | strategy | gives | for |
//! |---|---|---|
//! | last-writer | the latest by (time, dot) | labels, descriptions, cached status; refused for C4 |
//! | multi-value | all, up to a cap | what its reader can choose from |
//! | transform | all edits, replayed on the base in the order (time, dot) ([`transform`]) | texts and lists |
//! | semantic | what the field's kind makes of them ([`crate::merge`](mod@crate::merge)) | sets, counters, maps, max and min |
//! | rollback | the base, as a new write; where that is not known the greatest in canonical order | a change of many objects of which a part failed |
//! | manual | a ticket for a person, and a safe default until then ([`crate::queue`]); only where certain words were written, if it names them | the rest |
//! | priority | by role, region or what was written, in a given order; ties by another strategy, or (time, dot) | C2, C3 |
//! | vote | the value that a quorum of replicas wrote | status that several observe |
//!
//! What can't answer (semantic on values that clash, a vote without a quorum) says so and hands on to the strategy it names as
//! `otherwise`; the chain ends, because a policy is read to a bounded depth. What needs the base hands on where the base is not known.
//!
//! **C4.** What must not be is never decided by a clock. There last-writer stands for rollback, whoever names it and however it was come to
//! (a rule for all classes, a hand-on, too many values), and equals in rank or votes are told apart by their values in canonical order.

mod choose;
pub mod transform;

use crate::conflict::{Base, Class, Sibling};
use crate::merge::{self, sequence};
use crate::schema::{Field, FieldKind};
use crate::value::Value;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use dwcp_crdt::Dot;

/// Values that multi-value keeps; beyond, a person decides.
pub const VALUES_MAX: usize = 16;
/// How long a person has where a strategy had too many values, in milliseconds.
pub const TOO_MANY_DEADLINE: u64 = 24 * 3_600_000;

/// How siblings are settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// The latest by (time, dot).
    LastWriter,
    /// All of them.
    MultiValue {
        /// How many at most, up to [`VALUES_MAX`].
        cap: u8,
    },
    /// All edits of a text or list, replayed.
    Transform {
        /// Where the field is neither.
        otherwise: Box<Self>,
    },
    /// What the field's kind makes of them.
    Semantic {
        /// Where they clash.
        otherwise: Box<Self>,
    },
    /// The base.
    Rollback,
    /// A person.
    Manual {
        /// How long they have from when they were asked, in milliseconds.
        deadline: u64,
        /// What stands until then, and for good after.
        default: Box<Self>,
        /// What they are shown as a suggestion.
        suggest: Box<Self>,
        /// They are asked only where each of these texts was written by one of those it is about, ascending; else the default
        /// counts at once. Behind ranks that are those of the first rank: what lower ones wrote asks nobody.
        wrote: Option<Vec<Arc<str>>>,
    },
    /// Whoever ranks first.
    Priority {
        /// What is ranked.
        by: By,
        /// From the first to the last; who is not named comes after them.
        order: Vec<Arc<str>>,
        /// What settles those who share the first rank; left out, the latest by (time, dot).
        ties: Option<Box<Self>>,
    },
    /// What a quorum wrote.
    Vote {
        /// How many replicas.
        quorum: u8,
        /// Where there is none.
        otherwise: Box<Self>,
    },
}

/// The names of strategies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is documented at Strategy")]
pub enum Named {
    LastWriter = 1,
    MultiValue = 2,
    Transform = 3,
    Semantic = 4,
    Rollback = 5,
    Manual = 6,
    Priority = 7,
    Vote = 8,
}

impl Named {
    /// All, in order.
    pub const ALL: [Self; 8] = [
        Self::LastWriter,
        Self::MultiValue,
        Self::Transform,
        Self::Semantic,
        Self::Rollback,
        Self::Manual,
        Self::Priority,
        Self::Vote,
    ];
    /// As policies write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::LastWriter => "last-writer",
            Self::MultiValue => "multi-value",
            Self::Transform => "transform",
            Self::Semantic => "semantic",
            Self::Rollback => "rollback",
            Self::Manual => "manual",
            Self::Priority => "priority",
            Self::Vote => "vote",
        }
    }
    /// From its number.
    #[must_use]
    pub const fn from_number(n: u8) -> Option<Self> {
        if n >= 1 && n <= 8 { Some(Self::ALL[n as usize - 1]) } else { None }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What priority ranks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum By {
    /// Writers' roles.
    Role,
    /// Writers' regions.
    Region,
    /// The texts that they wrote: for a place that knows a few words, such as `present` and `deleted`. What is no text, and a
    /// deletion, is in no order.
    Value,
}

/// What stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// This, or nothing.
    One(Option<Value>),
    /// Each of these was written, the latest first; nothing for a deletion.
    Many(Vec<Option<Value>>),
    /// A person is asked.
    Asked {
        /// What stands meanwhile, and for good if nobody answers.
        default: Option<Value>,
        /// What they are shown as a suggestion.
        suggestion: Option<Value>,
        /// How long they have from when they are asked, in milliseconds. When that is no node can tell from the siblings: it is said
        /// by whoever puts the question, once, and written down.
        within: u64,
    },
}

impl Outcome {
    /// The value that a reader sees who can see one only.
    #[must_use]
    pub fn shown(&self) -> Option<&Value> {
        match self {
            Self::One(v) => v.as_ref(),
            Self::Many(all) => all.first().and_then(Option::as_ref),
            Self::Asked { default, .. } => default.as_ref(),
        }
    }
}

/// Why it came out so.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reason {
    /// What decided.
    pub why: Why,
    /// What the strategy that was asked first lacked.
    pub lack: Option<Lack>,
}

/// What decided.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// There was one sibling.
    Alone,
    /// It was the latest by (time, dot).
    Latest,
    /// All are kept.
    All,
    /// All edits were replayed.
    Replayed,
    /// The field's kind joins them.
    Joined,
    /// The base was restored.
    Restored,
    /// It is the greatest in canonical order.
    Greatest,
    /// A person is asked.
    Asked,
    /// Its writer ranked so, counted from 0; beyond the order's end for who is not in it.
    Ranked(u16),
    /// Its text ranked so, counted as above.
    RankedText(u16),
    /// So many replicas wrote it.
    Voted {
        /// How many.
        votes: u16,
        /// Of how many.
        of: u16,
    },
}

/// Why a strategy handed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Lack {
    /// The field is no text and no list, or one of the siblings deleted it.
    NoSequence = 1,
    /// The field's kind can't join these values.
    Clash = 2,
    /// No value had a quorum.
    NoQuorum = 3,
    /// More values than may be kept.
    TooMany = 4,
    /// What was there before is not known.
    NoBase = 5,
    /// A clock would have decided what must not be.
    NoClock = 6,
    /// What comes of it is larger than a document may be.
    TooLarge = 7,
    /// Several of the first rank wrote different things.
    Tie = 8,
}

impl Lack {
    /// From its number.
    #[must_use]
    pub const fn from_number(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::NoSequence),
            2 => Some(Self::Clash),
            3 => Some(Self::NoQuorum),
            4 => Some(Self::TooMany),
            5 => Some(Self::NoBase),
            6 => Some(Self::NoClock),
            7 => Some(Self::TooLarge),
            8 => Some(Self::Tie),
            _ => None,
        }
    }
    const fn words(self) -> &'static str {
        match self {
            Self::NoSequence => "not all are texts or lists",
            Self::Clash => "the field's kind can't join these values",
            Self::NoQuorum => "no value had a quorum",
            Self::TooMany => "there were more values than may be kept",
            Self::NoBase => "what was there before is not known",
            Self::NoClock => "a clock does not decide what must not be",
            Self::TooLarge => "together they are larger than a document may be",
            Self::Tie => "several of the first rank wrote different things",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(lack) = self.lack {
            write!(f, "{}, so ", lack.words())?;
        }
        match self.why {
            Why::Alone => f.write_str("nothing else was written"),
            Why::Latest => f.write_str("it was written last"),
            Why::All => f.write_str("all values are kept"),
            Why::Replayed => f.write_str("all edits were replayed one after the other"),
            Why::Joined => f.write_str("the field's kind joins the changes"),
            Why::Restored => f.write_str("the value before all of them was restored"),
            Why::Greatest => f.write_str("it is the greatest in canonical order"),
            Why::Asked => f.write_str("a person is asked"),
            Why::Ranked(at) => write!(f, "its writer ranks number {}", at + 1),
            Why::RankedText(at) => write!(f, "its text ranks number {}", at + 1),
            Why::Voted { votes, of } => write!(f, "{votes} of {of} replicas wrote it"),
        }
    }
}

/// Siblings in their one order: the latest by (time, dot) first, each dot once.
#[derive(Clone, Debug)]
pub struct Ordered<'a>(Vec<&'a Sibling>);

impl<'a> Ordered<'a> {
    /// Puts siblings in order.
    #[must_use]
    pub fn new(siblings: &'a [Sibling]) -> Self {
        let mut all: Vec<&Sibling> = siblings.iter().collect();
        let key = |s: &&'a Sibling| (s.hlc, s.dot);
        all.sort_by(|a, b| key(b).cmp(&key(a)).then_with(|| b.value.cmp(&a.value)));
        all.dedup_by_key(|s| s.dot);
        Self(all)
    }
    /// Some of them, in the same order.
    pub(crate) fn some(&self, keep: impl Fn(&Sibling) -> bool) -> Self {
        Self(self.0.iter().copied().filter(|s| keep(s)).collect())
    }
    /// All, the latest first.
    #[must_use]
    pub fn all(&self) -> &[&'a Sibling] {
        &self.0
    }
    /// Whether each of these texts was written.
    pub(crate) fn wrote(&self, words: &[Arc<str>]) -> bool {
        let wrote = |s: &Sibling, w: &str| matches!(&s.value, Some(Value::Text(t)) if **t == *w);
        words.iter().all(|w| self.0.iter().any(|s| wrote(s, w)))
    }
    /// Whether all wrote the same.
    fn agree(&self) -> bool {
        self.0.windows(2).all(|w| w[0].value == w[1].value)
    }
}

/// What a strategy is asked.
#[derive(Clone, Copy, Debug)]
pub struct Case<'a> {
    /// The siblings.
    pub siblings: &'a Ordered<'a>,
    /// What was there before all of them.
    pub base: Base<&'a Value>,
    /// What the field is, where the schema knows it.
    pub field: Option<&'a Field>,
    /// Of which class it is.
    pub class: Class,
}

/// What a strategy answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// What stands.
    pub outcome: Outcome,
    /// The writes that did not lose: those whose value stands, or all where the outcome is made of all.
    pub prevails: Vec<Dot>,
    /// In whose name it stands; of nobody in particular, in that of the latest who prevails. Where ranks decide that is one of the
    /// first rank: who wrote the same in a lower one lends it no rank on the other side of a cut.
    pub author: Option<Dot>,
    /// Why.
    pub reason: Reason,
}

impl Settled {
    fn one(value: Option<Value>, case: &Case<'_>, why: Why) -> Self {
        let theirs = case.siblings.0.iter().filter(|s| s.value == value).map(|s| s.dot);
        let (prevails, reason) = (theirs.collect(), Reason { why, lack: None });
        Self { prevails, outcome: Outcome::One(value), author: None, reason }
    }
    /// What was made of all: nobody lost, but where only one can stand.
    fn together(value: Option<Value>, case: &Case<'_>, why: Why) -> Self {
        let mut settled = Self::one(value, case, why);
        if !case.field.is_some_and(keeps_one) {
            settled.prevails = case.siblings.0.iter().map(|s| s.dot).collect();
        }
        settled
    }
}

/// Whether of several values that lie in it one stands and the others don't.
fn keeps_one(field: &Field) -> bool {
    match &field.kind {
        FieldKind::Max(_) | FieldKind::Min(_) => true,
        FieldKind::Record(fields) => fields.iter().any(|(_, f)| keeps_one(f)),
        FieldKind::Map(of) | FieldKind::Keyed { of, .. } => keeps_one(of),
        _ => false,
    }
}

impl Strategy {
    /// Its name.
    #[must_use]
    pub const fn named(&self) -> Named {
        match self {
            Self::LastWriter => Named::LastWriter,
            Self::MultiValue { .. } => Named::MultiValue,
            Self::Transform { .. } => Named::Transform,
            Self::Semantic { .. } => Named::Semantic,
            Self::Rollback => Named::Rollback,
            Self::Manual { .. } => Named::Manual,
            Self::Priority { .. } => Named::Priority,
            Self::Vote { .. } => Named::Vote,
        }
    }
    /// Settles siblings.
    #[must_use]
    pub fn settle(&self, case: &Case<'_>) -> Settled {
        if let [only] = case.siblings.0[..] {
            return Settled::one(only.value.clone(), case, Why::Alone);
        }
        match self {
            Self::LastWriter => choose::latest(case),
            Self::MultiValue { cap } => choose::all(case, usize::from(*cap)),
            Self::Rollback => choose::restored(case),
            Self::Priority { by, order, ties } => choose::ranked(case, *by, order, ties.as_deref()),
            Self::Vote { quorum, otherwise } => {
                choose::voted(case, *quorum).unwrap_or_else(|| otherwise.instead(case, Lack::NoQuorum))
            }
            Self::Manual { default, wrote: Some(words), .. } if !case.siblings.wrote(words) => {
                default.settle(case)
            }
            Self::Manual { deadline, default, suggest, .. } => asked(case, *deadline, default, suggest),
            Self::Semantic { otherwise } => match joined(case).and_then(|v| v.map(fits).transpose()) {
                Ok(value) => Settled::together(value, case, Why::Joined),
                Err(lack) => otherwise.instead(case, lack),
            },
            Self::Transform { otherwise } => match replayed(case).and_then(fits) {
                Ok(value) => Settled::together(Some(value), case, Why::Replayed),
                Err(lack) => otherwise.instead(case, lack),
            },
        }
    }
    /// Decides where another could not. What that lacked is what is told: it is the reason why this one was asked at all.
    fn instead(&self, case: &Case<'_>, lack: Lack) -> Settled {
        let mut settled = self.settle(case);
        settled.reason.lack = Some(lack);
        settled
    }
}

fn asked(case: &Case<'_>, within: u64, default: &Strategy, suggest: &Strategy) -> Settled {
    let default = default.settle(case).outcome.shown().cloned();
    let suggestion = suggest.settle(case).outcome.shown().cloned();
    let standing = case.siblings.0.iter().filter(|s| s.value == default).map(|s| s.dot).collect();
    Settled {
        outcome: Outcome::Asked { default, suggestion, within },
        prevails: standing,
        author: None,
        reason: Reason { why: Why::Asked, lack: None },
    }
}

/// A value of a size that a document may have.
fn fits(value: Value) -> Result<Value, Lack> {
    if value.size().is_ok() { Ok(value) } else { Err(Lack::TooLarge) }
}

/// What the field's kind makes of it.
fn joined(case: &Case<'_>) -> Result<Option<Value>, Lack> {
    let values: Vec<Option<&Value>> = case.siblings.0.iter().map(|s| s.value.as_ref()).collect();
    let Some(field) = case.field else { return Err(Lack::Clash) };
    match merge::values(field, case.base, &values) {
        Some(value) => Ok(value),
        None if case.base.is_known() => Err(Lack::Clash),
        None => Err(Lack::NoBase),
    }
}

/// All edits of a text or list, replayed on the base in the order (time, dot).
fn replayed(case: &Case<'_>) -> Result<Value, Lack> {
    let earliest_first = case.siblings.0.iter().rev().map(|s| s.value.as_ref());
    let lack = Lack::NoSequence;
    match (case.field.map(|f| &f.kind), case.base) {
        (Some(FieldKind::Text | FieldKind::List(_)), Base::Unknown) => Err(Lack::NoBase),
        (Some(FieldKind::Text), base) => {
            let text = |v: Option<&Value>| if let Some(Value::Text(t)) = v { Some(t.clone()) } else { None };
            let base = if let Base::Known(b) = base { text(Some(b)).ok_or(lack)? } else { "".into() };
            let sides: Vec<Arc<str>> = earliest_first.map(text).collect::<Option<_>>().ok_or(lack)?;
            let text = sequence::replay_text(&base, sides.iter().map(|s| &**s)).ok_or(Lack::TooLarge)?;
            Ok(Value::from(&*text))
        }
        (Some(FieldKind::List(_)), base) => {
            let list = |v: Option<&Value>| if let Some(Value::List(l)) = v { Some(l.clone()) } else { None };
            let base = if let Base::Known(b) = base { list(Some(b)).ok_or(lack)? } else { Vec::new().into() };
            let sides: Vec<Arc<[Value]>> = earliest_first.map(list).collect::<Option<_>>().ok_or(lack)?;
            let list = sequence::replay_list(&base, sides.iter().map(|s| &**s)).ok_or(Lack::TooLarge)?;
            Ok(Value::from(list))
        }
        _ => Err(lack),
    }
}
