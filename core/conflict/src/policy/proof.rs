//! What a policy must be to be the same everywhere, tried out at load: sets of siblings drawn from a fixed seed, answered in several
//! orders, with a sibling that comes twice, and again after the answer was written.
//!
//! Strategies are functions of ordered siblings, so this holds by construction; it is tried because a policy that breaks it makes replicas differ for ever, and
//! because construction is code. The bound of work is [`SETS`] sets for each rule, each asked eight times at most.

use super::rule::{Rule, Step};
use super::{Answer, Question};
use crate::conflict::{Base, Class, Place, Sibling, Writer};
use crate::pointer::Pointer;
use crate::schema::{Field, FieldKind, Type};
use crate::strategy::{By, Outcome, Strategy};
use crate::value::Value;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use dwcp_crdt::{Dot, Hlc, ReplicaIndex};

/// Sets of siblings tried for each rule.
pub const SETS: u64 = 24;

/// A law that does not hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The rule that answered.
    pub rule: u16,
    /// What was tried.
    pub law: Law,
    /// Which set, for whoever mends it.
    pub set: u64,
}

/// What must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Law {
    /// Asked twice, it answers the same.
    Repeatable,
    /// The order of siblings changes nothing.
    Permutation,
    /// A sibling that comes twice changes nothing.
    Duplicate,
    /// An answer that was written, and stands alone, is its own answer.
    Idempotent,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let law = match self.law {
            Law::Repeatable => "asked twice it answers differently",
            Law::Permutation => "its answer changes with the order of siblings",
            Law::Duplicate => "its answer changes if a sibling comes twice",
            Law::Idempotent => "its answer, once written, is answered differently",
        };
        write!(f, "replicas would differ: {law} (set {})", self.set)
    }
}

/// A stream of numbers, the same on every machine (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn pick<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len() as u64) as usize]
    }
}

/// Tries the laws on sets drawn for each of these rules.
///
/// # Errors
/// The first that does not hold.
pub fn prove(rules: &[Rule], settle: impl Fn(&Question<'_>) -> Answer) -> Result<(), Broken> {
    for (i, rule) in rules.iter().enumerate() {
        for set in 0..SETS {
            let mut draw = Draw((i as u64) << 32 | set);
            try_one(rule, set, &mut draw, &settle)?;
        }
    }
    Ok(())
}

fn try_one(
    rule: &Rule,
    set: u64,
    draw: &mut Draw,
    settle: &impl Fn(&Question<'_>) -> Answer,
) -> Result<(), Broken> {
    let place = place_of(rule, draw);
    let class = Class::ALL.into_iter().filter(|c| rule.when.has_class(*c)).nth(draw.below(2) as usize);
    let kind = kind_of(draw);
    let field = Field { kind, required: false, owner: None, counts: false };
    let base = match draw.below(4) {
        0 => Base::Nothing,
        1 => Base::Unknown,
        _ => Base::Known(value_of(&field.kind, draw)),
    };
    let mut siblings: Vec<Sibling> =
        (0..2 + draw.below(4)).map(|n| sibling(rule, n, &field.kind, draw)).collect();
    let ask = |siblings: &[Sibling]| {
        let class = class.unwrap_or(Class::Value);
        settle(&Question { place: &place, class, field: Some(&field), base: base.as_ref(), siblings })
    };
    let answer = ask(&siblings);
    let broken = |law| Err(Broken { rule: answer.rule, law, set });
    if ask(&siblings) != answer {
        return broken(Law::Repeatable);
    }
    for _ in 0..4 {
        let a = draw.below(siblings.len() as u64) as usize;
        siblings.rotate_left(a);
        siblings.swap(0, 1);
        if ask(&siblings) != answer {
            return broken(Law::Permutation);
        }
    }
    let again = siblings[draw.below(siblings.len() as u64) as usize].clone();
    siblings.insert(0, again);
    if ask(&siblings) != answer {
        return broken(Law::Duplicate);
    }
    if let Outcome::One(value) = &answer.settled.outcome {
        let dot = Dot::new(ReplicaIndex(9), 1);
        let written = Sibling { dot, value: value.clone(), ..siblings[0].clone() };
        if ask(&[written]).settled.outcome != answer.settled.outcome {
            return broken(Law::Idempotent);
        }
    }
    Ok(())
}

fn place_of(rule: &Rule, draw: &mut Draw) -> Place {
    let kind = rule.when.kinds.as_ref().map_or("any", |kinds| &kinds[0]);
    let mut pointer = Pointer::root();
    if let Some(path) = &rule.when.path {
        for step in &path.steps {
            match step {
                Step::Name(name) => pointer.enter(name),
                Step::Any => pointer.enter(draw.pick(&["0", "a"])),
            };
        }
        if path.deep && draw.below(2) == 1 {
            pointer.enter("below");
        }
    } else {
        pointer.enter("a");
    }
    Place::new(kind, "k", pointer)
}

fn kind_of(draw: &mut Draw) -> FieldKind {
    match draw.below(7) {
        0 => FieldKind::Set(Type::Any),
        1 => FieldKind::Counter { min: -20, max: 20 },
        2 => FieldKind::Max(Type::Any),
        3 => FieldKind::Text,
        4 => FieldKind::List(Type::Any),
        _ => FieldKind::Atomic(Type::Any),
    }
}

fn value_of(kind: &FieldKind, draw: &mut Draw) -> Value {
    let number = |draw: &mut Draw| Value::Int(draw.below(4) as i64);
    match kind {
        FieldKind::Text => Value::from(draw.pick(&["", "a b", "a c", "b"])),
        FieldKind::Counter { .. } => Value::Int(draw.below(41) as i64 - 20),
        FieldKind::Set(_) => {
            Value::from((0..3).filter(|_| draw.below(2) == 0).map(Value::Int).collect::<Vec<_>>())
        }
        FieldKind::List(_) => Value::from((0..draw.below(4)).map(|_| number(draw)).collect::<Vec<_>>()),
        _ => number(draw),
    }
}

/// The texts that a strategy ranks.
fn value_words(strategy: &Strategy) -> &[Arc<str>] {
    match strategy {
        Strategy::Priority { by: By::Value, order, .. } => order,
        Strategy::Priority { ties: Some(ties), .. } => value_words(ties),
        _ => &[],
    }
}

fn sibling(rule: &Rule, n: u64, kind: &FieldKind, draw: &mut Draw) -> Sibling {
    let mut word = |own: Option<&Vec<Arc<str>>>, ranked: &[Arc<str>]| -> Arc<str> {
        let known = own.into_iter().flatten().chain(ranked);
        let mut all: Vec<Arc<str>> = known.cloned().collect();
        all.extend(["x".into(), "y".into()]);
        all[draw.below(all.len() as u64) as usize].clone()
    };
    let (roles, regions) = match &rule.then {
        Strategy::Priority { by: By::Role, order, .. } => (&order[..], &[][..]),
        Strategy::Priority { by: By::Region, order, .. } => (&[][..], &order[..]),
        _ => (&[][..], &[][..]),
    };
    let role = word(rule.when.roles.as_ref(), roles);
    let region = word(rule.when.regions.as_ref(), regions);
    // Times and replicas collide on purpose; dots never.
    let dot = Dot::new(ReplicaIndex(draw.below(3) as u16), n + 1);
    let hlc = Hlc::at(1_000 + draw.below(3) * 60_000);
    let writer = Writer { name: draw.pick(&["ana", "ben"]).into(), role, region };
    let value = (draw.below(5) > 0).then(|| value_of(kind, draw));
    let words = rule.when.values.iter().flatten().chain(value_words(&rule.then));
    let words: Vec<&Arc<str>> = words.collect();
    let value = match value {
        Some(_) if !words.is_empty() && draw.below(4) > 0 => {
            Some(Value::from(&**words[draw.below(words.len() as u64) as usize]))
        }
        drawn => drawn,
    };
    Sibling { dot, hlc, writer, value }
}
