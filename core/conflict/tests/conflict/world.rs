//! Schemas, documents and edits out of a row of bytes: shorter rows and smaller bytes make smaller worlds, so failures shrink.

use dwcp_conflict::schema::{Field, FieldKind, Type};
use dwcp_conflict::{Document, Schema, Value};
use std::sync::Arc;

/// Bytes that decide everything; zero when they have run out.
pub(crate) struct Source<'b>(pub(crate) &'b [u8]);

impl Source<'_> {
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % n
    }
    fn name(&mut self) -> Arc<str> {
        ["a", "b", "c/d", "e~"][self.below(4)].into()
    }
}

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

pub(crate) fn schema_of(text: &str) -> Schema {
    Schema::read(&json(text)).expect("a schema")
}

/// A field's declaration.
fn field(from: &mut Source<'_>, depth: usize) -> Value {
    let kinds = if depth == 0 { 8 } else { 11 };
    let mut map: Vec<(Arc<str>, Value)> = Vec::new();
    let mut put = |name: &str, v: Value| map.push((name.into(), v));
    let typed = ["any", "int", "text", "bool"];
    match from.below(kinds) {
        0 => {
            put("kind", "atomic".into());
            put("type", typed[from.below(4)].into());
        }
        1 => {
            put("kind", "set".into());
            put("type", typed[from.below(3)].into());
        }
        2 => put("kind", "counter".into()),
        3 => put("kind", "max".into()),
        4 => put("kind", "min".into()),
        5 => put("kind", "text".into()),
        6 => {
            put("kind", "ordered-list".into());
            put("type", typed[from.below(3)].into());
        }
        7 => {
            put("kind", "reference".into());
            put("to", "host".into());
        }
        8 => {
            put("kind", "map".into());
            put("of", field(from, depth - 1));
        }
        9 => {
            put("kind", "record".into());
            put("fields", fields(from, depth - 1));
        }
        _ => {
            put("kind", "keyed-list".into());
            put("key", "k".into());
            let k = json(r#"{"kind":"atomic","type":"int","required":true}"#);
            let mut inner: Vec<(Arc<str>, Value)> = fields(from, depth - 1).fields().to_vec();
            inner.push(("k".into(), k));
            let record = Value::map([("kind".into(), "record".into()), ("fields".into(), Value::map(inner))]);
            put("of", record);
        }
    }
    if from.below(3) == 1 {
        put("required", true.into());
    }
    if from.below(4) == 1 {
        put("owner", "boss".into());
    }
    Value::map(map)
}

fn fields(from: &mut Source<'_>, depth: usize) -> Value {
    let n = 1 + from.below(4);
    Value::map((0..n).map(|_| (from.name(), field(from, depth))).collect::<Vec<_>>())
}

/// A schema.
pub(crate) fn schema(from: &mut Source<'_>) -> Schema {
    let file = Value::map([
        ("schema".into(), "thing".into()),
        ("version".into(), Value::Int(1)),
        ("fields".into(), fields(from, 2)),
    ]);
    Schema::read(&file).expect("a generated schema is sound")
}

fn leaf(t: Type, from: &mut Source<'_>) -> Value {
    match t {
        Type::Bool => Value::Bool(from.below(2) == 1),
        Type::Int | Type::Number => Value::Int(from.below(5) as i64 - 1),
        Type::Text => Value::from(["", "x", "xy", "ß"][from.below(4)]),
        Type::Any => match from.below(4) {
            0 => Value::Null,
            1 => Value::Int(from.below(4) as i64),
            2 => Value::from(["x", "y"][from.below(2)]),
            _ => json(r#"{"deep":[1,2]}"#),
        },
    }
}

/// What a field may hold; `was` is changed a little, where there is something.
pub(crate) fn value(field: &Field, was: Option<&Value>, from: &mut Source<'_>) -> Value {
    let some = |from: &mut Source<'_>, t: Type| -> Vec<Value> {
        let mut all = was.map_or(Vec::new(), |v| v.items().to_vec());
        for _ in 0..from.below(3) {
            let at = from.below(all.len() + 1);
            if from.below(2) == 0 { all.insert(at, leaf(t, from)) } else { take(&mut all, at) }
        }
        all
    };
    match &field.kind {
        FieldKind::Atomic(t) | FieldKind::Max(t) | FieldKind::Min(t) => leaf(*t, from),
        FieldKind::Reference { .. } => Value::from(["h1", "h2", "h3"][from.below(3)]),
        FieldKind::Counter { .. } => Value::Int(from.below(9) as i64 - 4),
        FieldKind::Text => {
            let was = if let Some(Value::Text(t)) = was { t.to_string() } else { String::new() };
            let mut all: Vec<char> = was.chars().collect();
            for _ in 0..from.below(4) {
                let at = from.below(all.len() + 1);
                if from.below(3) > 0 {
                    all.insert(at, ['x', 'y', 'é'][from.below(3)])
                } else {
                    take(&mut all, at)
                }
            }
            Value::from(all.into_iter().collect::<String>().as_str())
        }
        FieldKind::List(t) => Value::from(some(from, *t)),
        FieldKind::Set(t) => {
            let mut all = some(from, *t);
            all.sort();
            all.dedup();
            Value::from(all)
        }
        FieldKind::Record(fields) => {
            let mut all = Vec::new();
            for (name, f) in fields {
                all.extend(maybe(f, was.and_then(|w| w.get(name)), from).map(|v| (name.clone(), v)));
            }
            Value::map(all)
        }
        FieldKind::Map(of) => {
            let names: [Arc<str>; 3] = ["p".into(), "q/".into(), "r".into()];
            let mut all = Vec::new();
            for name in names {
                let was = was.and_then(|w| w.get(&name));
                // A map's entries may always go.
                if was.is_none() && from.below(2) == 0 || was.is_some() && from.below(4) == 1 {
                    continue;
                }
                all.push((
                    name,
                    if from.below(2) == 0
                        && let Some(w) = was
                    {
                        w.clone()
                    } else {
                        value(of, was, from)
                    },
                ));
            }
            Value::map(all)
        }
        FieldKind::Keyed { of, .. } => {
            let mut all = Vec::new();
            for k in 0..3 {
                let was = was.and_then(|w| w.items().iter().find(|i| i.get("k") == Some(&Value::Int(k))));
                if was.is_none() && from.below(2) == 0 || was.is_some() && from.below(4) == 1 {
                    continue;
                }
                let v = if from.below(2) == 0
                    && let Some(w) = was
                {
                    w.clone()
                } else {
                    value(of, was, from)
                };
                let others = v.fields().iter().filter(|(n, _)| &**n != "k").cloned();
                all.push(Value::map(others.chain([("k".into(), Value::Int(k))])));
            }
            Value::from(all)
        }
    }
}

/// As it was, changed, or gone.
fn maybe(field: &Field, was: Option<&Value>, from: &mut Source<'_>) -> Option<Value> {
    match (from.below(4), was) {
        (0 | 1, Some(v)) => Some(v.clone()),
        (2, _) if !field.required => None,
        _ => Some(value(field, was, from)),
    }
}

fn root(schema: &Schema) -> Vec<(Arc<str>, Field)> {
    let top = schema.fields().into_iter().filter(|(at, _)| at.segments().count() == 1);
    top.map(|(at, f)| (Arc::from(&*at.segments().next().expect("one")), f.clone())).collect()
}

/// A document of a schema; if there was one, some edits of it.
pub(crate) fn document(schema: &Schema, was: Option<&Document>, from: &mut Source<'_>) -> Document {
    let mut all = Vec::new();
    for (name, f) in root(schema) {
        let was = was.and_then(|d| d.value().get(&name));
        all.extend(maybe(&f, was, from).map(|v| (name, v)));
    }
    admitted(schema, Value::map(all))
}

pub(crate) fn admitted(schema: &Schema, v: Value) -> Document {
    schema.admit(&v).unwrap_or_else(|e| panic!("{e}\n{v}\n{schema:?}"))
}

/// `was` with some of its root fields edited: those for which `mine` says so.
pub(crate) fn edited(
    schema: &Schema,
    was: &Document,
    from: &mut Source<'_>,
    mine: impl Fn(usize) -> bool,
) -> Document {
    let mut all = Vec::new();
    for (i, (name, f)) in root(schema).into_iter().enumerate() {
        let here = was.value().get(&name);
        let v = if mine(i) { maybe(&f, here, from) } else { here.cloned() };
        all.extend(v.map(|v| (name, v)));
    }
    admitted(schema, Value::map(all))
}

/// Whether a counter lies in it.
pub(crate) fn has_counter(schema: &Schema) -> bool {
    schema.fields().iter().any(|(_, f)| matches!(f.kind, FieldKind::Counter { .. }))
}

fn take<T>(all: &mut Vec<T>, at: usize) {
    if at < all.len() {
        all.remove(at);
    }
}
