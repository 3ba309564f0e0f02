//! Strings and the numbers in them.

use super::cost::gather;
use super::{Plan, Planned, View, length};
use crate::api::{Command, Expiry, Reply, Type};
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::{Address, Change, Edit, Kind};

pub(super) fn plan(view: View<'_>, command: &Command) -> Planned {
    match command {
        Command::Get { key } => Ok(Plan::reads(Reply::Value(read(view, key)?))),
        Command::StrLen { key } => Ok(Plan::reads(length(read(view, key)?.map_or(0, |t| t.len())))),
        Command::GetRange { key, start, end } => {
            let text = read(view, key)?.unwrap_or_default();
            Ok(Plan::reads(Reply::Value(Some(range(&text, *start, *end)))))
        }
        Command::MGet { keys } => {
            // What is no string counts as absent here, as in Redis.
            let values = keys.iter().map(|k| read(view, k).unwrap_or(None));
            Ok(Plan::reads(Reply::Values(gather(values)?)))
        }
        Command::Set { key, value, expiry } => {
            let mut edits = Vec::new();
            set(view, key, Kind::Lww, value, *expiry, &mut edits);
            Ok(Plan { edits, reply: Reply::Done })
        }
        Command::SetMulti { key, value } => {
            let mut edits = Vec::new();
            set(view, key, Kind::Mv, value, Expiry::Never, &mut edits);
            Ok(Plan { edits, reply: Reply::Done })
        }
        Command::MSet { pairs } => {
            let mut edits = Vec::new();
            for (key, value) in pairs {
                set(view, key, Kind::Lww, value, Expiry::Never, &mut edits);
            }
            Ok(Plan { edits, reply: Reply::Done })
        }
        Command::GetDel { key } => {
            let value = read(view, key)?;
            let edits = if value.is_some() { view.space.delete_all(&[key.to_vec()]) } else { Vec::new() };
            Ok(Plan { edits, reply: Reply::Value(value) })
        }
        Command::GetEx { key, expiry } => {
            let value = read(view, key)?;
            let mut edits = Vec::new();
            if value.is_some() {
                view.expire(key, *expiry, &mut edits);
            }
            Ok(Plan { edits, reply: Reply::Value(value) })
        }
        Command::IncrBy { key, by } => {
            let held = view.look(key);
            let there = held.expect(Type::String)?;
            if there && held.is_bounded() {
                let why =
                    "the key holds a bounded counter: DWCP.BGRANT adds to it, DWCP.BSPEND takes from it";
                return Err(Refusal::Argument(why.into()));
            }
            let now = if there { held.number()? } else { 0 };
            let total = i64::try_from(now + i128::from(*by)).map_err(|_| Refusal::Overflow)?;
            // What an ended life of the key has left is to be removed first.
            let mut edits = if there { Vec::new() } else { view.rest_of(key, &held) };
            edits.push(View::counts(Address::key(Kind::PnCounter, key), *by));
            Ok(Plan { edits, reply: Reply::Number(total) })
        }
        Command::Siblings { key } => {
            let there = view.expect(key, Type::String)?;
            let all = if there { view.writes(&[key.to_vec()]) } else { Vec::new() };
            Ok(Plan::reads(Reply::Elements(all.into_iter().map(|s| s.value.into()).collect())))
        }
        other => unreachable!("{} is no command of strings", other.name()),
    }
}

fn read(view: View<'_>, key: &[u8]) -> Result<Option<Bytes>, Refusal> {
    let held = view.look(key);
    Ok(if held.expect(Type::String)? { held.text() } else { None })
}

fn set(view: View<'_>, key: &[u8], kind: Kind, value: &[u8], expiry: Expiry, edits: &mut Vec<Edit>) {
    let held = view.look(key);
    if held.is_plain() && kind == Kind::Lww && matches!(expiry, Expiry::Never | Expiry::Keep) {
        edits.push(Edit::new(Address::key(kind, key), Change::Write(value.to_vec())));
        return;
    }
    let path = [key.to_vec()];
    let ended = held.ended;
    view.overwrite(&path, kind, value, edits);
    match expiry {
        // The deadline of a life that is over is not kept.
        Expiry::Keep if ended => view.forget_deadline(key, edits),
        Expiry::In(_) | Expiry::At(_) => match view.moment(expiry) {
            Some(at) => {
                let at_key = Address::key(Kind::Deadline, key);
                edits.push(Edit::new(at_key, Change::Expire(at)));
            }
            None => {
                edits.retain(|e| e.at.names != path);
                edits.extend(view.space.delete_all(&path));
            }
        },
        other => view.expire(key, other, edits),
    }
}

/// Bytes from `start` to `end`, both included, counted from the end if negative.
fn range(text: &Bytes, start: i64, end: i64) -> Bytes {
    let n = i64::try_from(text.len()).unwrap_or(i64::MAX);
    // Redis looks at the order before it cuts: from -100 to -200 is nothing, from -200 to -100 is cut to the first byte.
    if start < 0 && end < 0 && start > end {
        return Bytes::new();
    }
    let from = |i: i64| if i < 0 { n.saturating_add(i).max(0) } else { i };
    let (start, end) = (from(start), from(end).min(n - 1));
    if start > end || n == 0 {
        return Bytes::new();
    }
    text.slice(start as usize..=end as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_redis() {
        let text = Bytes::from_static(b"This is a string");
        for (start, end, want) in
            [(0, 3, "This"), (-3, -1, "ing"), (0, -1, "This is a string"), (10, 100, "string"), (5, 2, "")]
        {
            assert_eq!(range(&text, start, end), want, "{start} {end}");
        }
        assert_eq!(range(&Bytes::new(), 0, -1), "");
        let text = Bytes::from_static(b"abc");
        for (start, end, want) in
            [(-100, -200, ""), (-200, -100, "a"), (i64::MIN, i64::MAX, "abc"), (-1, -3, "")]
        {
            assert_eq!(range(&text, start, end), want, "{start} {end}");
        }
    }
}
