//! Versions of one document into one, by what each field is.
//!
//! **Promise.** Given the last version that all sides had seen (the *base*) and up to sixteen sides, the result holds every change that
//! does not contradict another; each contradiction is a [`Clash`] with its JSON pointer, never a silent choice. The result fits the
//! schema, and does not depend on the order in which sides are given.
//!
//! **When.** Between replicas of a space there is nothing to merge: each field is a place of its own, and dots say what is
//! concurrent. A merge is for versions without such a history: a client that edited a stale copy, an imported file, a
//! partition's backup. Its base is the object at the common stable cut, which the store has; so none has to be made up, as git must.
//!
//! **Laws** (`tests/laws.rs`, over generated schemas; `b` base, `x` and `y` sides):
//!
//! 1. `merge(b, x, b) = x`, and no clash.
//! 2. `merge(b, x, x) = x` of one write twice; of two writes with equal contents too, but for counters, whose equal
//!    changes are two changes: `b + 2(x − b)`.
//! 3. Permuting the sides permutes the sides of the clashes, and changes nothing else.
//! 4. Sides that changed different fields do not clash.
//! 5. The result fits the schema.
//!
//! **What stands where sides clash**, unless somebody decides ([`merge_with`]): the base; of two additions the greater in canonical
//! order; of a deletion and a change the change. That is a value to go on with, not a resolution.
//!
//! Read this file, then `sequence` (texts and lists) and `difference`.

pub(crate) mod difference;
pub(crate) mod sequence;

use crate::conflict::{Base, Class};
use crate::pointer::Pointer;
use crate::reading::Fault;
use crate::schema::{Document, Field, FieldKind, Schema, by_key};
use crate::value::{Entry, Oversize, Value};
use alloc::sync::Arc;
use alloc::vec::Vec;
use dwcp_crdt::Dot;

/// Sides of one merge.
pub const SIDES_MAX: usize = 16;

/// A version to be merged.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// The write that made it. Two sides of one dot are one.
    pub dot: Dot,
    /// The role of who made it.
    pub role: &'a str,
    /// What it holds; nothing if the object was deleted.
    pub document: Option<&'a Document>,
}

/// Why sides clash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// They changed one thing differently.
    Both,
    /// One deleted what another changed.
    DeletedAndChanged,
    /// Together their changes leave the range of a counter.
    Range,
}

impl What {
    /// In words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Both => "changed differently",
            Self::DeletedAndChanged => "deleted by one, changed by another",
            Self::Range => "together beyond the counter's range",
        }
    }
}

/// A contradiction between sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clash {
    /// Where in the merged document.
    pub at: Pointer,
    /// Of which class.
    pub class: Class,
    /// Why.
    pub what: What,
    /// What was there.
    pub base: Option<Value>,
    /// The sides that changed it, by their place among the sides given, and what each made of it.
    pub sides: Vec<(usize, Option<Value>)>,
    /// What stands there now.
    pub stands: Option<Value>,
}

/// What is to stand where sides clash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Decision {
    /// What would stand undecided.
    Leave,
    /// This, or nothing.
    Take(Option<Value>),
}

/// What came of a merge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Merged {
    /// The document, or that it is deleted.
    pub document: Option<Document>,
    /// What contradicts.
    pub clashes: Vec<Clash>,
}

/// Why sides can't be merged. Nothing changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MergeFault {
    /// A version of another schema: class C5.
    #[error(
        "side {side} is a {found_name} of version {found}, the schema in force is {name} {version}: convert it first, or park it"
    )]
    Version {
        /// Which side; the number of sides for the base.
        side: usize,
        /// Its kind.
        found_name: Arc<str>,
        /// Its version.
        found: u32,
        /// The schema's kind.
        name: Arc<str>,
        /// The schema's version.
        version: u32,
    },
    /// None, or more than sixteen.
    #[error("{0} sides, 1 to {SIDES_MAX} can be merged at once: merge some of them first")]
    Sides(usize),
    /// Two contents under one dot.
    #[error("{0} names two different versions: its replica reused a dot and must take a new incarnation")]
    Reused(Dot),
    /// The result is too large.
    #[error(transparent)]
    Oversize(#[from] Oversize),
    /// What was decided does not fit the field.
    #[error("a decision that does not fit: {0}")]
    Decision(Fault),
}

/// Merges sides over a base; what clashes stands as the module's header says.
///
/// # Errors
/// If the sides can't be merged at all.
pub fn merge(schema: &Schema, base: Option<&Document>, sides: &[Side<'_>]) -> Result<Merged, MergeFault> {
    merge_with(schema, base, sides, &mut |_| Decision::Leave)
}

/// The same, asking at each clash.
///
/// # Errors
/// If the sides can't be merged at all, or what was decided does not fit.
pub fn merge_with<'a>(
    schema: &'a Schema,
    base: Option<&'a Document>,
    sides: &[Side<'a>],
    decide: &mut dyn FnMut(&Clash) -> Decision,
) -> Result<Merged, MergeFault> {
    check(schema, base, sides)?;
    let base = base.map(Document::value);
    let deleted = sides.iter().any(|s| s.document.is_none());
    let mut row = Row::default();
    for (i, side) in sides.iter().enumerate() {
        let again = sides[..i].iter().any(|s| s.dot == side.dot);
        let value = side.document.map(Document::value);
        // The root is compared field by field below, and not as a whole before; unless one says that all of it is gone.
        let changed = match (base, value) {
            (Some(b), Some(v)) if deleted => b != v,
            (Some(b), Some(v)) => !same_memory(b, v),
            (b, v) => b.is_some() != v.is_some(),
        };
        if changed && !again {
            row.push(i, value);
        }
    }
    let mut m = Merger { sides, at: Pointer::root(), clashes: Vec::new(), decide };
    let value = match row.n {
        0 => base.cloned(),
        1 => row.value[0].cloned(),
        _ => m.meet(&schema.root, base, &row)?,
    };
    if let Some(v) = &value
        && row.n > 1
    {
        v.size()?;
    }
    Ok(Merged { document: value.map(|v| schema.document(v)), clashes: m.clashes })
}

/// What siblings wrote in one field into one; nothing if that needs a choice, a base that is not known, or they are more than a
/// merge takes. What is made number by number or element by element takes any number of them.
pub(crate) fn values(field: &Field, base: Base<&Value>, sides: &[Option<&Value>]) -> Option<Option<Value>> {
    let needs_base = !matches!(field.kind, FieldKind::Max(_) | FieldKind::Min(_));
    let there: Option<Vec<&Value>> = sides.iter().copied().collect();
    if !base.is_known() && needs_base {
        // All wrote the same: it stands, whatever was there, unless equal changes are several.
        let alike = sides.windows(2).all(|w| w[0] == w[1]);
        let one = sides.first().copied().flatten();
        return (alike && !(field.counts && one.is_some())).then(|| one.cloned());
    }
    let base = base.value();
    if sides.len() > SIDES_MAX {
        let there = there?;
        return match &field.kind {
            FieldKind::Max(_) => Some(there.into_iter().max().cloned()),
            FieldKind::Min(_) => Some(there.into_iter().min().cloned()),
            FieldKind::Counter { min, max } => sum(*min, *max, base, &there).map(|n| Some(Value::Int(n))),
            FieldKind::Set(_) => Some(Some(set(base, &there))),
            _ => None,
        };
    }
    // Each is a write that somebody made: to write what was there before is not to leave it alone.
    let mut row = Row::default();
    sides.iter().enumerate().for_each(|(i, v)| row.push(i, *v));
    let nobody = [Side { dot: Dot::from_bits(0), role: "", document: None }; SIDES_MAX];
    let mut m =
        Merger { sides: &nobody, at: Pointer::root(), clashes: Vec::new(), decide: &mut |_| Decision::Leave };
    let value = match row.n {
        0 => base.cloned(),
        1 => row.value[0].cloned(),
        _ => m.meet(field, base, &row).ok()?,
    };
    m.clashes.is_empty().then_some(value)
}

fn same_memory(a: &Value, b: &Value) -> bool {
    matches!((a, b), (Value::Map(a), Value::Map(b)) if core::ptr::eq::<[Entry]>(&**a, &**b))
}

fn check(schema: &Schema, base: Option<&Document>, sides: &[Side<'_>]) -> Result<(), MergeFault> {
    if sides.is_empty() || sides.len() > SIDES_MAX {
        return Err(MergeFault::Sides(sides.len()));
    }
    let documents = sides.iter().map(|s| s.document).chain([base]);
    for (side, d) in documents.enumerate().filter_map(|(i, d)| Some((i, d?))) {
        let (found_name, found) = (&d.schema.0, d.schema.1);
        if *found_name != schema.name || found != schema.version {
            return Err(MergeFault::Version {
                side,
                found_name: found_name.clone(),
                found,
                name: schema.name.clone(),
                version: schema.version,
            });
        }
    }
    for (i, side) in sides.iter().enumerate() {
        if sides[..i].iter().any(|s| s.dot == side.dot && s.document != side.document) {
            return Err(MergeFault::Reused(side.dot));
        }
    }
    Ok(())
}

/// Sides at one place: which, and what each has there.
#[derive(Default)]
struct Row<'d> {
    n: usize,
    side: [u8; SIDES_MAX],
    value: [Option<&'d Value>; SIDES_MAX],
}

impl<'d> Row<'d> {
    fn push(&mut self, side: usize, value: Option<&'d Value>) {
        self.side[self.n] = side as u8;
        self.value[self.n] = value;
        self.n += 1;
    }
    fn values(&self) -> &[Option<&'d Value>] {
        &self.value[..self.n]
    }
    fn iter(&self) -> impl Iterator<Item = (usize, Option<&'d Value>)> {
        self.side.iter().map(|s| usize::from(*s)).zip(self.value.iter().copied()).take(self.n)
    }
    /// What is there, of those where something is.
    fn there(&self) -> Vec<&'d Value> {
        self.values().iter().copied().flatten().collect()
    }
}

/// The way to a child.
#[derive(Clone, Copy)]
enum Step<'n> {
    Name(&'n str),
    Position(usize),
}

struct Merger<'s, 'a, 'f> {
    sides: &'s [Side<'a>],
    at: Pointer,
    clashes: Vec<Clash>,
    decide: &'f mut dyn FnMut(&Clash) -> Decision,
}

type Found = Result<Option<Value>, MergeFault>;

impl Merger<'_, '_, '_> {
    /// One child, of which each side of `above` has what `values` says.
    fn child<'d>(
        &mut self,
        field: &Field,
        step: Step<'_>,
        base: Option<&'d Value>,
        above: &Row<'d>,
        values: &[Option<&'d Value>],
    ) -> Found {
        let mut changed = 0;
        let mut last = base;
        for v in values {
            if *v != base {
                changed += 1;
                last = *v;
            }
        }
        if changed < 2 {
            return Ok(last.cloned());
        }
        let mut row = Row::default();
        for ((side, _), v) in above.iter().zip(values).filter(|(_, v)| **v != base) {
            row.push(side, *v);
        }
        let was = match step {
            Step::Name(name) => self.at.enter(name),
            Step::Position(i) => self.at.enter_at(i),
        };
        let found = self.meet(field, base, &row);
        self.at.leave(was);
        found
    }
    /// Two or more that changed.
    fn meet<'d>(&mut self, field: &Field, base: Option<&'d Value>, row: &Row<'d>) -> Found {
        let first = row.value[0];
        let alike = row.values()[1..].iter().all(|v| *v == first);
        if alike && !(field.counts && first.is_some()) {
            return Ok(first.cloned());
        }
        let mut there = Row::default();
        row.iter().filter(|(_, v)| v.is_some()).for_each(|(side, v)| there.push(side, v));
        let merged = match there.n {
            0 | 1 => there.value[0].cloned(),
            _ => self.join(field, base, &there)?,
        };
        if there.n == row.n {
            return Ok(merged);
        }
        self.clash(field, Class::Structure, What::DeletedAndChanged, base, row, merged)
    }
    /// Two or more that changed and did not delete.
    fn join<'d>(&mut self, field: &Field, base: Option<&'d Value>, row: &Row<'d>) -> Found {
        match &field.kind {
            FieldKind::Atomic(_) | FieldKind::Reference { .. } => {
                let stands = base.or(row.values().iter().copied().max().flatten()).cloned();
                self.clash(field, self.class(field, row), What::Both, base, row, stands)
            }
            FieldKind::Max(_) => Ok(row.values().iter().copied().max().flatten().cloned()),
            FieldKind::Min(_) => Ok(row.values().iter().copied().min().flatten().cloned()),
            FieldKind::Counter { min, max } => match sum(*min, *max, base, &row.there()) {
                Some(sum) => Ok(Some(Value::Int(sum))),
                None => {
                    let stands = base.or(row.values().iter().copied().max().flatten()).cloned();
                    self.clash(field, Class::Invariant, What::Range, base, row, stands)
                }
            },
            FieldKind::Set(_) => Ok(Some(set(base, &row.there()))),
            FieldKind::Text => {
                let text = |v: &Value| if let Value::Text(t) = v { t.clone() } else { "".into() };
                let sides: Vec<Arc<str>> = row.there().into_iter().map(text).collect();
                let was = base.map_or_else(|| "".into(), text);
                match sequence::text(&was, sides.iter().map(|s| &**s)) {
                    Some(text) => Ok(Some(Value::Text(text.into()))),
                    None => self.too_long(field, base, row),
                }
            }
            FieldKind::List(_) => {
                let sides = row.there().into_iter().map(Value::items);
                match sequence::list(base.map_or(&[], Value::items), sides) {
                    Some(list) => Ok(Some(Value::from(list))),
                    None => self.too_long(field, base, row),
                }
            }
            FieldKind::Record(fields) => self.record(fields, base, row).map(Some),
            FieldKind::Map(of) => self.map(of, base, row).map(Some),
            FieldKind::Keyed { key, of } => self.keyed(key, of, base, row).map(Some),
        }
    }
    fn record<'d>(
        &mut self,
        fields: &[(Arc<str>, Field)],
        base: Option<&'d Value>,
        row: &Row<'d>,
    ) -> Result<Value, MergeFault> {
        let mut values = [None; SIDES_MAX];
        let (mut at_base, mut at) = (0, [0; SIDES_MAX]);
        let of_base = base.map_or(&[][..], Value::fields);
        let mut out: Vec<Entry> = Vec::with_capacity(fields.len());
        for (name, field) in fields {
            let b = step(of_base, &mut at_base, name);
            for i in 0..row.n {
                values[i] = step(row.value[i].map_or(&[][..], Value::fields), &mut at[i], name);
            }
            let v = self.child(field, Step::Name(name), b, row, &values[..row.n])?;
            out.extend(v.map(|v| (name.clone(), v)));
        }
        Ok(Value::map(out))
    }
    fn map<'d>(&mut self, of: &Field, base: Option<&'d Value>, row: &Row<'d>) -> Result<Value, MergeFault> {
        let mut heads: Vec<&'d [Entry]> = Vec::with_capacity(row.n + 1);
        heads.extend(row.values().iter().map(|v| v.map_or(&[][..], Value::fields)));
        heads.push(base.map_or(&[], Value::fields));
        let mut values = [None; SIDES_MAX + 1];
        let mut out: Vec<Entry> = Vec::new();
        while let Some(name) = heads.iter().filter_map(|h| Some(&h.first()?.0)).min() {
            for (head, value) in heads.iter_mut().zip(&mut values) {
                *value = match head.split_first() {
                    Some(((n, v), rest)) if n == name => {
                        *head = rest;
                        Some(v)
                    }
                    _ => None,
                };
            }
            let v = self.child(of, Step::Name(name), values[row.n], row, &values[..row.n])?;
            out.extend(v.map(|v| (name.clone(), v)));
        }
        Ok(Value::map(out))
    }
    fn keyed<'d>(
        &mut self,
        key: &[Arc<str>],
        of: &Field,
        base: Option<&'d Value>,
        row: &Row<'d>,
    ) -> Result<Value, MergeFault> {
        let mut heads: Vec<&'d [Value]> = Vec::with_capacity(row.n + 1);
        heads.extend(row.values().iter().map(|v| v.map_or(&[][..], Value::items)));
        heads.push(base.map_or(&[], Value::items));
        let mut values = [None; SIDES_MAX + 1];
        let mut out: Vec<Value> = Vec::new();
        while let Some(next) = heads.iter().filter_map(|h| h.first()).min_by(|a, b| by_key(key, a, b)) {
            for (head, value) in heads.iter_mut().zip(&mut values) {
                *value = match head.split_first() {
                    Some((v, rest)) if by_key(key, v, next).is_eq() => {
                        *head = rest;
                        Some(v)
                    }
                    _ => None,
                };
            }
            // Elements come in order, so this is where it will stand.
            let v = self.child(of, Step::Position(out.len()), values[row.n], row, &values[..row.n])?;
            out.extend(v);
        }
        Ok(Value::from(out))
    }
    /// More than a sequence holds: told as two changes of one thing, of which one stands.
    fn too_long<'d>(&mut self, field: &Field, base: Option<&'d Value>, row: &Row<'d>) -> Found {
        let stands = base.or(row.values().iter().copied().max().flatten()).cloned();
        self.clash(field, self.class(field, row), What::Both, base, row, stands)
    }
    /// C2 if the field's owner is among the writers and not alone.
    fn class(&self, field: &Field, row: &Row<'_>) -> Class {
        let Some(owner) = &field.owner else { return Class::Value };
        let owners = row.iter().filter(|(side, _)| self.sides[*side].role == &**owner).count();
        if owners > 0 && owners < row.n { Class::Intent } else { Class::Value }
    }
    fn clash(
        &mut self,
        field: &Field,
        class: Class,
        what: What,
        base: Option<&Value>,
        row: &Row<'_>,
        stands: Option<Value>,
    ) -> Found {
        let sides = row.iter().map(|(i, v)| (i, v.cloned())).collect();
        let mut clash = Clash { at: self.at.clone(), class, what, base: base.cloned(), sides, stands };
        if let Decision::Take(v) = (self.decide)(&clash) {
            if let Some(v) = &v {
                let fits = crate::schema::admit(field, v, &mut self.at.clone());
                fits.map_err(MergeFault::Decision)?;
            } else if field.required {
                let missing = Fault::new(&self.at, "a required field can't be deleted", "decide on a value");
                return Err(MergeFault::Decision(missing));
            }
            clash.stands = v;
        }
        let stands = clash.stands.clone();
        self.clashes.push(clash);
        Ok(stands)
    }
}

/// The value of the next field if it has this name; fields come in order.
fn step<'d>(entries: &'d [Entry], at: &mut usize, name: &Arc<str>) -> Option<&'d Value> {
    let (n, v) = entries.get(*at)?;
    if Arc::ptr_eq(n, name) || n == name {
        *at += 1;
        return Some(v);
    }
    None
}

/// The changes together; nothing beyond the range.
fn sum(min: i64, max: i64, base: Option<&Value>, sides: &[&Value]) -> Option<i64> {
    let n = |v: Option<&Value>| if let Some(Value::Int(n)) = v { i128::from(*n) } else { 0 };
    let sum = sides.iter().fold(n(base), |sum, v| sum + n(Some(*v)) - n(base));
    i64::try_from(sum).ok().filter(|sum| (min..=max).contains(sum))
}

/// In, if all have it; or if the base had it not and one has.
fn set(base: Option<&Value>, sides: &[&Value]) -> Value {
    let base = base.map_or(&[][..], Value::items);
    let mut all: Vec<&Value> = sides.iter().flat_map(|s| s.items()).collect();
    all.sort();
    let kept = all
        .chunk_by(|a, b| a == b)
        .filter(|one| one.len() == sides.len() || base.binary_search(one[0]).is_err());
    Value::from(kept.map(|one| one[0].clone()).collect::<Vec<_>>())
}
