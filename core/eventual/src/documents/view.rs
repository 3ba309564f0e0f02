//! Documents into places, and back.

use super::write::is_deleted;
use super::{Documents, met};
use crate::refusal::Refusal;
use dwcp_conflict::audit::Held;
use dwcp_conflict::schema::{Field, FieldKind, Schema};
use dwcp_conflict::{Outcome, Place, Pointer, Value};
use dwcp_crdt::address::Kind;
use dwcp_crdt::space::Field as Name;
use dwcp_crdt::{Dot, Space};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Places of one document with something in them.
pub(super) const PLACES_MAX: usize = 4_096;
/// Names that are read at once.
const PAGE: usize = 1_024;
/// Keys of one step of a list.
pub(super) const KEYS_MAX: usize = 1_000;

/// A document that is put together.
enum Tree {
    Leaf(Value),
    Map(BTreeMap<String, Self>),
}

impl Tree {
    fn graft(&mut self, way: &[String], value: Value) {
        let Some((first, rest)) = way.split_first() else {
            *self = Self::Leaf(value);
            return;
        };
        // A place below one that is whole now is of an older schema.
        let Self::Map(fields) = self else { return };
        fields.entry(first.clone()).or_insert_with(|| Self::Map(BTreeMap::new())).graft(rest, value);
    }
    fn value(self) -> Value {
        match self {
            Self::Leaf(v) => v,
            Self::Map(fields) => {
                Value::map(fields.into_iter().map(|(name, t)| (Arc::from(name.as_str()), t.value())))
            }
        }
    }
}

/// The places of a value by its schema, and what is at each.
pub(super) fn places(field: &Field, at: &mut Pointer, value: &Value, out: &mut Vec<(Pointer, Value)>) {
    let mut below = |name: &str, field: &Field, value: &Value| {
        let was = at.enter(name);
        places(field, at, value, out);
        at.leave(was);
    };
    match &field.kind {
        FieldKind::Record(fields) => {
            for (name, value) in value.fields() {
                if let Some((_, field)) = fields.iter().find(|(n, _)| n == name) {
                    below(name, field, value);
                }
            }
        }
        FieldKind::Map(of) => value.fields().iter().for_each(|(name, value)| below(name, of, value)),
        _ => out.push((at.clone(), value.clone())),
    }
}

/// Whether a field's places are those below it.
pub(super) const fn is_split(field: &Field) -> bool {
    matches!(field.kind, FieldKind::Record(_) | FieldKind::Map(_))
}

/// The schema of a kind.
pub(super) fn schema_of(documents: &Documents, kind: &str) -> Result<Arc<Schema>, Refusal> {
    documents.schemas.get(kind).map(|k| k.schema.clone()).ok_or_else(|| {
        let known: Vec<&str> = documents.schemas.keys().map(|k| &**k).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        Refusal::Argument(format!(
            "no schema of kind {kind:?} is known here; there is {known}: apply one with `dwcp schema apply`"
        ))
    })
}

/// The places that something lies at in an object.
pub(super) fn places_of(space: &Space, kind: &str, key: &str) -> Vec<Place> {
    let names = [kind.as_bytes().to_vec(), key.as_bytes().to_vec()];
    let pointer = |f: &Name| Pointer::parse(std::str::from_utf8(&f.name).ok()?).ok();
    let mut out = Vec::new();
    let mut after: Option<Name> = None;
    loop {
        let found = space.fields(&names, after.as_ref(), PAGE);
        let values = found.iter().filter(|f| f.kind == Kind::Mv);
        out.extend(values.filter_map(pointer).map(|p| Place::new(kind, key, p)));
        let full = found.len() == PAGE;
        after = found.into_iter().last();
        if !full {
            return out;
        }
    }
}

/// Keys of a kind after one, in order; if there are more, the last that was looked at.
pub(super) fn keys(space: &Space, kind: &str, after: Option<&str>) -> (Vec<String>, Option<String>) {
    let after = after.map(|a| Name { name: a.as_bytes().to_vec(), kind: Kind::Map });
    let found = space.fields(&[kind.as_bytes().to_vec()], after.as_ref(), KEYS_MAX + 1);
    let more = found.len() > KEYS_MAX;
    let keys = found.into_iter().take(KEYS_MAX).filter_map(|f| String::from_utf8(f.name).ok());
    let keys: Vec<String> = keys.collect();
    let next = keys.last().cloned().filter(|_| more);
    (keys, next)
}

impl Documents {
    /// All documents, and the places that are to be settled and are not.
    pub(crate) fn seen(&self, space: &Space) -> (Vec<(String, String, String)>, Vec<String>) {
        let (mut shown, mut open) = (Vec::new(), Vec::new());
        for kind in self.schemas.keys() {
            let mut after: Option<String> = None;
            loop {
                let (found, next) = keys(space, kind, after.as_deref());
                for key in &found {
                    let document = self.document(space, kind, key, u64::MAX).map(|v| v.to_string());
                    shown.push((kind.to_string(), key.clone(), document.unwrap_or_default()));
                    for place in places_of(space, kind, key) {
                        let (_, _, meeting) = met(space, &place);
                        let answer = self.answer(&place, &meeting, u64::MAX);
                        let settles =
                            answer.is_some_and(|(_, a)| matches!(a.settled.outcome, Outcome::One(_)));
                        if meeting.siblings.len() > 1 && settles {
                            open.push(place.to_string());
                        }
                    }
                }
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        (shown, open)
    }
    /// See [`crate::Eventual::rules_of_siblings`].
    pub(crate) fn rules_of_siblings(&self) -> Option<Vec<(Vec<u8>, i64)>> {
        (!self.open.is_empty()).then(|| self.read.iter().map(|(k, r)| (k.to_vec(), *r)).collect())
    }
    /// The writes that are on record with their values.
    pub(crate) fn on_record(&self) -> BTreeSet<Dot> {
        let kept = |v: &Held| self.audit.value(v).is_some();
        let inputs = self.audit.records().into_iter().flat_map(|r| r.inputs);
        inputs.filter(|i| i.value.as_ref().is_none_or(kept)).map(|i| i.dot).collect()
    }
    /// What a place shows: what stands, or what the policy makes of siblings; without a policy the latest.
    pub(super) fn shown(&self, space: &Space, place: &Place, millis: u64) -> (Vec<Dot>, Option<Value>) {
        let (dots, _, meeting) = met(space, place);
        let value = match &meeting.siblings[..] {
            [] => None,
            [one] => one.value.clone(),
            #[cfg(feature = "planted-bugs")]
            many if self.own_view => {
                let own = many.iter().find(|s| s.dot.replica() == space.me());
                own.unwrap_or(&many[0]).value.clone()
            }
            many => match self.answer(place, &meeting, millis) {
                Some((_, answer)) => answer.settled.outcome.shown().cloned(),
                None => many.iter().max_by_key(|s| (s.hlc, s.dot)).and_then(|s| s.value.clone()),
            },
        };
        (dots, value)
    }
    /// A document as it is shown; nothing if nothing is there, or its lifecycle says so.
    pub(super) fn document(&self, space: &Space, kind: &str, key: &str, millis: u64) -> Option<Value> {
        let life = self.schemas.get(kind).and_then(|k| k.schema.lifecycle());
        if let Some(life) = life.map(|p| Place::new(kind, key, p.clone()))
            && is_deleted(self.shown(space, &life, millis).1.as_ref())
        {
            return None;
        }
        let mut tree = Tree::Map(BTreeMap::new());
        let mut any = false;
        for place in places_of(space, kind, key) {
            if let (_, Some(value)) = self.shown(space, &place, millis) {
                any = true;
                let way: Vec<String> = place.pointer.segments().map(|s| s.into_owned()).collect();
                tree.graft(&way, value);
            }
        }
        any.then(|| tree.value())
    }
}
