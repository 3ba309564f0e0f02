//! From any value to the one form that fits a schema, or to what is wrong with it.

use super::{Field, FieldKind, entry};
use crate::pointer::Pointer;
use crate::reading::{Fault, any_of};
use crate::value::{Entry, Value};
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What of a record tells it apart.
pub(crate) fn key_of<'v>(key: &[Arc<str>], record: &'v Value) -> Vec<Option<&'v Value>> {
    key.iter().map(|name| record.get(name)).collect()
}

/// Compares two records of a keyed list by their merge keys.
pub(crate) fn by_key(key: &[Arc<str>], a: &Value, b: &Value) -> core::cmp::Ordering {
    key.iter().map(|name| a.get(name)).cmp(key.iter().map(|name| b.get(name)))
}

fn wrong<T>(at: &Pointer, field: &Field, v: &Value, want: &str) -> Result<T, Fault> {
    let kind = field.kind.name();
    Err(Fault::new(at, format!("{} in a field of kind {kind}", v.what()), format!("write {want}")))
}

pub(crate) fn admit(field: &Field, v: &Value, at: &mut Pointer) -> Result<Value, Fault> {
    match &field.kind {
        FieldKind::Atomic(t) | FieldKind::Max(t) | FieldKind::Min(t) => {
            if t.takes(v) {
                Ok(v.clone())
            } else {
                wrong(at, field, v, t.words())
            }
        }
        FieldKind::Text => {
            if matches!(v, Value::Text(_)) {
                Ok(v.clone())
            } else {
                wrong(at, field, v, "a text")
            }
        }
        FieldKind::Reference { to, .. } => match v {
            Value::Text(t) if !t.is_empty() => Ok(v.clone()),
            _ => wrong(at, field, v, &format!("the key of a {to}")),
        },
        FieldKind::Counter { min, max } => match v {
            Value::Int(n) if (min..=max).contains(&n) => Ok(v.clone()),
            Value::Int(n) => {
                Err(Fault::new(at, format!("{n} is out of range"), format!("{min} to {max} are allowed")))
            }
            _ => wrong(at, field, v, "a whole number"),
        },
        FieldKind::List(t) => {
            let Value::List(items) = v else { return wrong(at, field, v, "a list") };
            match items.iter().position(|i| !t.takes(i)) {
                None => Ok(v.clone()),
                Some(i) => {
                    at.enter_at(i);
                    wrong(at, field, &items[i], t.words())
                }
            }
        }
        FieldKind::Set(t) => {
            let Value::List(items) = v else { return wrong(at, field, v, "a list") };
            if let Some(i) = items.iter().position(|i| !t.takes(i)) {
                at.enter_at(i);
                return wrong(at, field, &items[i], t.words());
            }
            if items.is_sorted_by(|a, b| a < b) {
                return Ok(v.clone());
            }
            let mut all = items.to_vec();
            all.sort();
            match all.windows(2).find(|w| w[0] == w[1]) {
                Some(twice) => Err(Fault::new(at, format!("{} is in the set twice", twice[0]), "keep one")),
                None => Ok(Value::from(all)),
            }
        }
        FieldKind::Record(fields) => record(field, fields, v, at),
        FieldKind::Map(of) => {
            let Value::Map(entries) = v else { return wrong(at, field, v, "a map") };
            let mut all: Vec<Entry> = Vec::with_capacity(entries.len());
            for (name, v) in entries.iter() {
                let was = at.enter(name);
                all.push((name.clone(), admit(of, v, at)?));
                at.leave(was);
            }
            Ok(Value::map(all))
        }
        FieldKind::Keyed { key, of } => keyed(field, key, of, v, at),
    }
}

fn record(field: &Field, fields: &[(Arc<str>, Field)], v: &Value, at: &mut Pointer) -> Result<Value, Fault> {
    let Value::Map(entries) = v else { return wrong(at, field, v, "a map") };
    if let Some((name, _)) = fields.iter().find(|(name, f)| f.required && v.get(name).is_none()) {
        return Err(Fault::new(at, format!("`{name}` is missing"), format!("add `{name}`")));
    }
    let mut all: Vec<Entry> = Vec::with_capacity(entries.len());
    for (name, v) in entries.iter() {
        // The schema's own copy of the name: documents share it, and a merge knows it by its place.
        let Some((name, f)) = entry(fields, name) else {
            let known = any_of(fields.iter().map(|(n, _)| &**n));
            return Err(Fault::new(at, format!("unknown field `{name}`"), format!("write {known}")));
        };
        let was = at.enter(name);
        all.push((name.clone(), admit(f, v, at)?));
        at.leave(was);
    }
    Ok(Value::map(all))
}

fn keyed(field: &Field, key: &[Arc<str>], of: &Field, v: &Value, at: &mut Pointer) -> Result<Value, Fault> {
    let Value::List(items) = v else { return wrong(at, field, v, "a list") };
    let mut all = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let was = at.enter_at(i);
        all.push(admit(of, item, at)?);
        at.leave(was);
    }
    all.sort_by(|a, b| by_key(key, a, b));
    match all.windows(2).find(|w| by_key(key, &w[0], &w[1]).is_eq()) {
        None => Ok(Value::from(all)),
        Some(twice) => {
            let name: Vec<_> = key_of(key, &twice[0]).into_iter().flatten().map(|v| format!("{v}")).collect();
            let what = format!("two elements with the merge key {}", name.join(", "));
            Err(Fault::new(at, what, "keep one, or give them different keys"))
        }
    }
}
