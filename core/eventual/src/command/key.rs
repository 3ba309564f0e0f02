//! What concerns a key whatever it holds.

use super::cost::Gathered;
use super::set::step;
use super::{Plan, Planned, SCAN_BYTES, View, answer_within, length, matches, within};
use crate::api::{ANSWER_MAX, Command, Expiry, FLUSH_MAX, Reply, WRITE_MAX};
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::{Address, Kind};
use std::collections::BTreeSet;

pub(super) fn plan(view: View<'_>, command: &Command) -> Planned {
    match command {
        Command::Del { keys } => {
            let mut edits = Vec::new();
            let wanted: BTreeSet<&Bytes> = keys.iter().collect();
            let mut gone = 0;
            for key in wanted {
                gone += usize::from(!view.kinds(key).is_empty());
                edits.extend(view.space.delete_all(&[key.to_vec()]));
            }
            Ok(Plan { edits, reply: length(gone) })
        }
        Command::Exists { keys } => {
            Ok(Plan::reads(length(keys.iter().filter(|k| !view.kinds(k).is_empty()).count())))
        }
        Command::Type { key } => Ok(Plan::reads(Reply::Type(View::shown(&view.kinds(key))))),
        Command::Expire { key, expiry } => expire(view, key, *expiry),
        Command::Pttl { key } => {
            let left = |at: u64| i64::try_from(at.saturating_sub(view.millis)).unwrap_or(i64::MAX);
            Ok(Plan::reads(Reply::Number(deadline(view, key).map_or_else(|no| no, left))))
        }
        Command::ExpireTime { key } => {
            let at = |at: u64| i64::try_from(at).unwrap_or(i64::MAX);
            Ok(Plan::reads(Reply::Number(deadline(view, key).map_or_else(|no| no, at))))
        }
        Command::Scan { span, kind } => {
            let (count, mut seen, mut bytes) = (step(span), 0, 0);
            let (mut next, mut found) = (None, Vec::new());
            view.names(&[], span.after.as_deref(), |name, kinds| {
                (seen, bytes) = (seen + 1, bytes + name.len());
                let fits = span.pattern.as_ref().is_none_or(|p| matches(p, name))
                    && kind.is_none_or(|t| View::shown(kinds) == t);
                if fits && !view.is_past(name) {
                    found.push(Bytes::copy_from_slice(name));
                }
                let more = seen < count && bytes < SCAN_BYTES;
                if !more {
                    next = Some(Bytes::copy_from_slice(name));
                }
                more
            });
            Ok(Plan::reads(Reply::Scan { next, found }))
        }
        Command::Keys { pattern } => {
            let (mut found, mut gathered) = (Vec::new(), Gathered::default());
            view.names(&[], None, |name, _| {
                if !matches(pattern, name) || view.is_past(name) {
                    return true;
                }
                found.push(Bytes::copy_from_slice(name));
                gathered.take(name.len()) && found.len() <= ANSWER_MAX
            });
            gathered.check()?;
            answer_within(found.len())?;
            Ok(Plan::reads(Reply::Elements(found)))
        }
        Command::DbSize => Ok(Plan::reads(length(count(view)))),
        Command::RandomKey => Ok(Plan::reads(Reply::Value(any(view)))),
        Command::FlushDb => flush(view),
        other => unreachable!("{} is no command of keys", other.name()),
    }
}

/// Keys that are shown.
pub(crate) fn count(view: View<'_>) -> usize {
    view.space.names_in(&[])
}

/// A key's deadline; -1 without one, -2 without the key.
fn deadline(view: View<'_>, key: &[u8]) -> Result<u64, i64> {
    if view.kinds(key).is_empty() {
        return Err(-2);
    }
    view.deadline(&[key.to_vec()]).ok_or(-1)
}

fn expire(view: View<'_>, key: &[u8], expiry: Expiry) -> Planned {
    let had = deadline(view, key);
    let mut edits = Vec::new();
    let done = match (had, expiry) {
        (Err(-2), _) | (Err(_), Expiry::Never) => false,
        (_, Expiry::Keep) => return Err(Refusal::Argument("a deadline is needed".into())),
        (_, expiry) => {
            view.expire(key, expiry, &mut edits);
            true
        }
    };
    Ok(Plan { edits, reply: Reply::Number(i64::from(done)) })
}

/// A key by chance, as likely as it has entries. Those past their deadline are passed over, and the next one is as good.
fn any(view: View<'_>) -> Option<Bytes> {
    let root = Address { names: Vec::new(), kind: Kind::Map };
    let n = view.space.entries_in(&root);
    let start = if n == 0 { None } else { view.space.name_at(&root, (view.draw % n as u64) as usize) };
    let seen = |name: &[u8]| !view.is_past(name) && !view.kinds(name).is_empty();
    if let Some(name) = start.as_ref().filter(|name| seen(name)) {
        return Some(Bytes::copy_from_slice(name));
    }
    let mut found = None;
    for after in [start.as_deref(), None] {
        view.names(&[], after, |name, _| {
            found = seen(name).then(|| Bytes::copy_from_slice(name));
            found.is_none()
        });
        if found.is_some() {
            break;
        }
    }
    found
}

/// All that is seen goes: named key by key, so that what is written elsewhere meanwhile stays.
fn flush(view: View<'_>) -> Planned {
    let (mut edits, mut keys, mut bytes) = (Vec::new(), 0, 0);
    view.names(&[], None, |name, _| {
        (keys, bytes) = (keys + 1, bytes + name.len());
        edits.extend(view.space.delete_all(&[name.to_vec()]));
        bytes <= WRITE_MAX && keys <= FLUSH_MAX
    });
    within("the number of keys flushed at once (scan and delete instead)", keys, FLUSH_MAX)?;
    Ok(Plan { edits, reply: Reply::Done })
}
