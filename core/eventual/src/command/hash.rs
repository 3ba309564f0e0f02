//! Hashes: a map whose fields are strings.

use super::cost::{Gathered, gather};
use super::set::step;
use super::{Plan, Planned, SCAN_BYTES, View, answer_within, length, matches};
use crate::api::{Command, Reply, Span, Type};
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::{Edit, Kind};
use std::collections::BTreeSet;

pub(super) fn plan(view: View<'_>, command: &Command) -> Planned {
    match command {
        Command::HSet { key, pairs } => set(view, key, pairs),
        Command::HIncrBy { key, field, by } => {
            let (there, mut edits) = view.expect_to_write(key, Type::Hash)?;
            let total = view.count(&path(key, field), there, *by, &mut edits)?;
            Ok(Plan { edits, reply: Reply::Number(total) })
        }
        Command::HDel { key, fields } => delete(view, key, fields),
        Command::HGet { key, field } => Ok(Plan::reads(Reply::Value(read(view, key, field)?))),
        Command::HMGet { key, fields } => {
            let there = view.expect(key, Type::Hash)?;
            let value = |f: &Bytes| if there { view.text(&path(key, f)) } else { None };
            Ok(Plan::reads(Reply::Values(gather(fields.iter().map(value))?)))
        }
        Command::HExists { key, field } => {
            Ok(Plan::reads(Reply::Number(i64::from(read(view, key, field)?.is_some()))))
        }
        Command::HStrLen { key, field } => {
            Ok(Plan::reads(length(read(view, key, field)?.map_or(0, |t| t.len()))))
        }
        Command::HLen { key } => {
            let mut n = 0;
            if view.expect(key, Type::Hash)? {
                n = view.space.names_in(&[key.to_vec()]);
            }
            Ok(Plan::reads(length(n)))
        }
        Command::HGetAll { key } => Ok(Plan::reads(Reply::Pairs(pairs(view, key)?))),
        Command::HKeys { key } => {
            let all = pairs(view, key)?.into_iter().map(|(f, _)| f);
            Ok(Plan::reads(Reply::Elements(all.collect())))
        }
        Command::HVals { key } => {
            let all = pairs(view, key)?.into_iter().map(|(_, v)| v);
            Ok(Plan::reads(Reply::Elements(all.collect())))
        }
        Command::HScan { key, span } => scan(view, key, span),
        other => unreachable!("{} is no command of hashes", other.name()),
    }
}

fn path(key: &[u8], field: &[u8]) -> [Vec<u8>; 2] {
    [key.to_vec(), field.to_vec()]
}

fn read(view: View<'_>, key: &[u8], field: &[u8]) -> Result<Option<Bytes>, Refusal> {
    Ok(if view.expect(key, Type::Hash)? { view.text(&path(key, field)) } else { None })
}

fn set(view: View<'_>, key: &[u8], pairs: &[(Bytes, Bytes)]) -> Planned {
    let (there, mut edits) = view.expect_to_write(key, Type::Hash)?;
    let mut new = BTreeSet::new();
    for (field, value) in pairs {
        let at = path(key, field);
        if !there || view.space.kinds(&at).is_empty() {
            new.insert(field);
        }
        view.overwrite(&at, Kind::Lww, value, &mut edits);
    }
    Ok(Plan { edits, reply: length(new.len()) })
}

fn delete(view: View<'_>, key: &[u8], fields: &[Bytes]) -> Planned {
    if !view.expect(key, Type::Hash)? {
        return Ok(Plan::reads(Reply::Number(0)));
    }
    let mut edits: Vec<Edit> = Vec::new();
    let wanted: BTreeSet<&Bytes> = fields.iter().collect();
    let mut gone = 0;
    for field in wanted {
        let below = view.space.delete_all(&path(key, field));
        gone += usize::from(!below.is_empty());
        edits.extend(below);
    }
    let mut left = 0;
    view.names(&[key.to_vec()], None, |_, _| {
        left += 1;
        left <= gone
    });
    if left <= gone && gone > 0 {
        view.forget_deadline(key, &mut edits);
    }
    Ok(Plan { edits, reply: length(gone) })
}

fn pairs(view: View<'_>, key: &[u8]) -> Result<Vec<(Bytes, Bytes)>, Refusal> {
    let (mut out, mut gathered) = (Vec::new(), Gathered::default());
    if view.expect(key, Type::Hash)? {
        view.names(&[key.to_vec()], None, |name, kinds| {
            let value = shown(view, key, name, kinds);
            let room = gathered.take(name.len() + value.len());
            out.push((Bytes::copy_from_slice(name), value));
            room && answer_within(out.len()).is_ok()
        });
    }
    gathered.check()?;
    answer_within(out.len())?;
    Ok(out)
}

/// A field's value; of a field that is no string (no door makes one) its kind.
fn shown(view: View<'_>, key: &[u8], name: &[u8], kinds: &[Kind]) -> Bytes {
    view.text(&path(key, name)).unwrap_or_else(|| kinds.first().map_or("", |k| k.name()).into())
}

fn scan(view: View<'_>, key: &[u8], span: &Span) -> Planned {
    let mut found = Vec::new();
    let mut next = None;
    if view.expect(key, Type::Hash)? {
        let (count, mut seen, mut bytes) = (step(span), 0, 0);
        view.names(&[key.to_vec()], span.after.as_deref(), |name, kinds| {
            seen += 1;
            if span.pattern.as_ref().is_none_or(|p| matches(p, name)) {
                let value = shown(view, key, name, kinds);
                bytes += name.len() + value.len();
                found.extend([Bytes::copy_from_slice(name), value]);
            }
            // A step may be shorter than it was asked to be.
            let more = seen < count && bytes < SCAN_BYTES;
            if !more {
                next = Some(Bytes::copy_from_slice(name));
            }
            more
        });
    }
    Ok(Plan::reads(Reply::Scan { next, found }))
}
