//! Lists: a sequence of values.
//!
//! Indices count what is shown here. What a command takes out it names: elements that another region pushes meanwhile are neither
//! taken out nor counted, wherever they come to stand.

use super::cost::Gathered;
use super::{Plan, Planned, View, answer_within, length};
use crate::api::{ANSWER_MAX, Command, Reply, Type};
use crate::refusal::Refusal;
use bytes::Bytes;
use core::ops::Range;
use dwcp_crdt::space::Placed;
use dwcp_crdt::{Address, Change, Dot, Edit, Kind};

/// Elements that a search looks at in one go.
const AT_ONCE: usize = 1_024;
/// Elements, as large as they may be, that are copied before their size is looked at.
const FEW: usize = 64;

pub(super) fn plan(view: View<'_>, command: &Command) -> Planned {
    match command {
        Command::RPush { key, values } => push(view, key, values.iter().collect(), false),
        Command::LPush { key, values } => push(view, key, values.iter().rev().collect(), true),
        Command::LLen { key } => Ok(Plan::reads(length(size(view, key)?))),
        Command::LRange { key, start, stop } => {
            let range = span(*start, *stop, size(view, key)?);
            answer_within(range.len())?;
            let (mut found, mut gathered) = (Vec::new(), Gathered::default());
            for from in range.clone().step_by(FEW) {
                let some = view.space.range(&at(key), from, FEW.min(range.end - from));
                gathered.take(some.iter().map(Vec::len).sum());
                gathered.check()?;
                found.extend(some.into_iter().map(Bytes::from));
            }
            Ok(Plan::reads(Reply::Elements(found)))
        }
        Command::LIndex { key, index } => {
            let place = place(*index, size(view, key)?);
            let found = place.and_then(|i| view.space.range(&at(key), i, 1).pop());
            Ok(Plan::reads(Reply::Value(found.map(Bytes::from))))
        }
        Command::LInsert { key, before, pivot, value } => insert(view, key, *before, pivot, value),
        Command::LRem { key, count, value } => remove(view, key, *count, value),
        Command::LSet { key, index, value } => {
            let len = size(view, key)?;
            if len == 0 {
                return Err(Refusal::NoSuchKey);
            }
            let place = place(*index, len).ok_or(Refusal::IndexOutOfRange)?;
            let edits = vec![Edit::new(at(key), Change::Replace { at: place, value: value.to_vec() })];
            Ok(Plan { edits, reply: Reply::Done })
        }
        Command::LTrim { key, start, stop } => {
            let len = size(view, key)?;
            let keep = span(*start, *stop, len);
            let named = |from, count| view.space.placed(&at(key), from, count).into_iter().map(|e| e.dot);
            let gone = named(0, keep.start).chain(named(keep.end, len - keep.end)).collect();
            Ok(Plan { edits: take_out(view, key, gone, len), reply: Reply::Done })
        }
        Command::LPos { key, value, rank, count, maxlen } => find(view, key, value, *rank, *count, *maxlen),
        other => unreachable!("{} is no command of lists", other.name()),
    }
}

fn at(key: &[u8]) -> Address {
    Address::key(Kind::Sequence, key)
}

/// The length of the list under a key; 0 without one.
fn size(view: View<'_>, key: &[u8]) -> Result<usize, Refusal> {
    Ok(if view.expect(key, Type::List)? { view.space.length(&at(key)) } else { 0 })
}

/// The position that an index names, from the end if it is negative.
fn place(index: i64, len: usize) -> Option<usize> {
    let from_end = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    let place = if index < 0 { len.checked_sub(from_end) } else { usize::try_from(index).ok() };
    place.filter(|at| *at < len)
}

/// The positions from one index to another, cut to the list. Nothing is a range at the start: `LTRIM` then takes out all.
fn span(start: i64, stop: i64, len: usize) -> Range<usize> {
    let bound = |index: i64| {
        let from_end = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
        if index < 0 { len.checked_sub(from_end) } else { Some(from_end) }
    };
    let start = bound(start).unwrap_or(0);
    let end = bound(stop).map_or(0, |stop| stop.saturating_add(1).min(len));
    if start < end { start..end } else { 0..0 }
}

fn push(view: View<'_>, key: &[u8], values: Vec<&Bytes>, first: bool) -> Planned {
    let (there, mut edits) = view.expect_to_write(key, Type::List)?;
    let len = if there { view.space.length(&at(key)) } else { 0 };
    let reply = length(len + values.len());
    let values = values.into_iter().map(|v| v.to_vec()).collect();
    edits.push(Edit::new(at(key), Change::Insert { at: if first { 0 } else { len }, values }));
    Ok(Plan { edits, reply })
}

/// Shows the elements with their positions until told to stop: forward, or from the end back.
fn each(view: View<'_>, key: &[u8], len: usize, back: bool, mut see: impl FnMut(usize, Placed) -> bool) {
    let mut done = 0;
    while done < len {
        let n = AT_ONCE.min(len - done);
        let from = if back { len - done - n } else { done };
        let mut some: Vec<(usize, Placed)> = (from..).zip(view.space.placed(&at(key), from, n)).collect();
        if back {
            some.reverse();
        }
        if some.is_empty() || !some.into_iter().all(|(i, e)| see(i, e)) {
            return;
        }
        done += n;
    }
}

fn insert(view: View<'_>, key: &[u8], before: bool, pivot: &Bytes, value: &Bytes) -> Planned {
    let len = size(view, key)?;
    if len == 0 {
        return Ok(Plan::reads(Reply::Number(0)));
    }
    let mut found = None;
    each(view, key, len, false, |i, e| {
        found = (e.value == pivot[..]).then_some(i);
        found.is_none()
    });
    let Some(i) = found else { return Ok(Plan::reads(Reply::Number(-1))) };
    let change = Change::Insert { at: i + usize::from(!before), values: vec![value.to_vec()] };
    Ok(Plan { edits: vec![Edit::new(at(key), change)], reply: length(len + 1) })
}

fn remove(view: View<'_>, key: &[u8], count: i64, value: &Bytes) -> Planned {
    let len = size(view, key)?;
    let most =
        if count == 0 { usize::MAX } else { usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX) };
    let mut gone = Vec::new();
    each(view, key, len, count < 0, |_, e| {
        if e.value == value[..] {
            gone.push(e.dot);
        }
        gone.len() < most
    });
    let reply = length(gone.len());
    Ok(Plan { edits: take_out(view, key, gone, len), reply })
}

/// The edits by which elements go; with the last of them the deadline.
fn take_out(view: View<'_>, key: &[u8], gone: Vec<Dot>, len: usize) -> Vec<Edit> {
    if gone.is_empty() {
        return Vec::new();
    }
    let all = gone.len() == len;
    let mut edits = vec![Edit::new(at(key), Change::EraseNamed(gone))];
    if all {
        view.forget_deadline(key, &mut edits);
    }
    edits
}

fn find(view: View<'_>, key: &[u8], value: &Bytes, rank: i64, count: Option<u64>, maxlen: u64) -> Planned {
    let len = size(view, key)?;
    if rank == 0 {
        let why = "RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list";
        return Err(Refusal::Argument(why.into()));
    }
    let wanted = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(n) => usize::try_from(n).unwrap_or(usize::MAX),
    };
    let look_at = if maxlen == 0 { usize::MAX } else { usize::try_from(maxlen).unwrap_or(usize::MAX) };
    let (mut skip, mut looked, mut found) = (rank.unsigned_abs() - 1, 0, Vec::new());
    each(view, key, len, rank < 0, |i, e| {
        looked += 1;
        if e.value == value[..] {
            if skip == 0 {
                found.push(i64::try_from(i).unwrap_or(i64::MAX));
            } else {
                skip -= 1;
            }
        }
        looked < look_at && found.len() < wanted && found.len() <= ANSWER_MAX
    });
    answer_within(found.len())?;
    Ok(Plan::reads(match (count, found.first()) {
        (Some(_), _) => Reply::Numbers(found),
        (None, Some(first)) => Reply::Number(*first),
        (None, None) => Reply::Value(None),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_redis_indices() {
        for (index, len, want) in [
            (0, 3, Some(0)),
            (2, 3, Some(2)),
            (3, 3, None),
            (-1, 3, Some(2)),
            (-3, 3, Some(0)),
            (-4, 3, None),
            (0, 0, None),
            (i64::MIN, 3, None),
        ] {
            assert_eq!(place(index, len), want, "{index} of {len}");
        }
        for (start, stop, len, want) in [
            (0, -1, 3, 0..3),
            (1, 1, 3, 1..2),
            (-2, -1, 3, 1..3),
            (-9, 9, 3, 0..3),
            (2, 1, 3, 0..0),
            (3, 9, 3, 0..0),
            (0, -4, 3, 0..0),
            (0, -1, 0, 0..0),
            (i64::MIN, i64::MAX, 3, 0..3),
        ] {
            assert_eq!(span(start, stop, len), want, "{start} to {stop} of {len}");
        }
    }
}
