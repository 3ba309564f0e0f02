//! From commands to edits and replies: pure functions of the state, the time and a draw.
//!
//! A command is *planned* against what is seen here: which edits it makes and what it answers. Nothing is changed by
//! planning. In a transaction each command is planned after the edits of those before it were made, so it sees them.
//!
//! **Invariants.**
//! 1. A plan names only what was seen: `DEL` removes the values that are here, not those still on their way.
//! 2. A key past its deadline is planned as absent, and whoever writes to it removes its rest first.
//! 3. A refused command makes no edit.
//! 4. What a plan reads is bounded by the answer's bound, what it writes by the log record's.

mod bounded;
mod cost;
mod explain;
mod glob;
mod hash;
mod held;
mod key;
mod list;
mod set;
mod stroke;
mod text;

#[cfg(test)]
mod concurrency;

pub(crate) use cost::Cost;
pub(crate) use explain::explain;
pub(crate) use glob::matches;
pub(crate) use key::count;
pub(crate) use stroke::stroke;

use crate::api::{ANSWER_MAX, Command, ELEMENT_MAX, Expiry, KEY_MAX, Reply, Type, VALUE_MAX, WRITE_MAX};
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::space::{Field, Sibling};
use dwcp_crdt::{Address, Change, Edit, Kind, Space};

/// What a command does and answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    pub(crate) edits: Vec<Edit>,
    pub(crate) reply: Reply,
}

impl Plan {
    const fn reads(reply: Reply) -> Self {
        Self { edits: Vec::new(), reply }
    }
}

type Planned = Result<Plan, Refusal>;

/// Names from the root.
type Path<'p> = &'p [Vec<u8>];

/// The highest in the order in which the kinds of one name are listed.
const LAST_KIND: Kind = Kind::Sequence;

/// A space as a client sees it at a moment.
#[derive(Clone, Copy)]
pub(crate) struct View<'s> {
    pub(crate) space: &'s Space,
    /// The wall clock, milliseconds since 1970.
    pub(crate) millis: u64,
    /// Chance, for commands that ask for it.
    pub(crate) draw: u64,
}

/// Plans one command.
///
/// # Errors
/// Why it can't be done.
pub(crate) fn plan(view: View<'_>, command: &Command) -> Planned {
    check_sizes(command)?;
    let planned = match command {
        Command::Get { .. }
        | Command::Set { .. }
        | Command::MGet { .. }
        | Command::MSet { .. }
        | Command::GetDel { .. }
        | Command::GetEx { .. }
        | Command::StrLen { .. }
        | Command::GetRange { .. }
        | Command::IncrBy { .. }
        | Command::SetMulti { .. }
        | Command::Siblings { .. } => text::plan(view, command),
        Command::BGrant { .. } | Command::BSpend { .. } | Command::BMove { .. } | Command::BGet { .. } => {
            bounded::plan(view, command)
        }
        Command::SAdd { .. }
        | Command::SRem { .. }
        | Command::SMembers { .. }
        | Command::SIsMember { .. }
        | Command::SMIsMember { .. }
        | Command::SCard { .. }
        | Command::SRandMember { .. }
        | Command::SUnion { .. }
        | Command::SInter { .. }
        | Command::SDiff { .. }
        | Command::SScan { .. } => set::plan(view, command),
        Command::HSet { .. }
        | Command::HGet { .. }
        | Command::HMGet { .. }
        | Command::HGetAll { .. }
        | Command::HDel { .. }
        | Command::HExists { .. }
        | Command::HLen { .. }
        | Command::HStrLen { .. }
        | Command::HKeys { .. }
        | Command::HVals { .. }
        | Command::HIncrBy { .. }
        | Command::HScan { .. } => hash::plan(view, command),
        Command::RPush { .. }
        | Command::LPush { .. }
        | Command::LRange { .. }
        | Command::LLen { .. }
        | Command::LIndex { .. }
        | Command::LInsert { .. }
        | Command::LRem { .. }
        | Command::LSet { .. }
        | Command::LTrim { .. }
        | Command::LPos { .. } => list::plan(view, command),
        _ => key::plan(view, command),
    }?;
    within("what the command writes", view.space.weigh(&planned.edits, WRITE_MAX), WRITE_MAX)?;
    Ok(planned)
}

fn within(what: &str, size: usize, limit: usize) -> Result<(), Refusal> {
    if size <= limit {
        return Ok(());
    }
    Err(Refusal::TooLarge { what: what.into(), size: size as u64, limit: limit as u64 })
}

/// Keys, elements and values within their bounds.
fn check_sizes(command: &Command) -> Result<(), Refusal> {
    let mut longest = 0;
    command.each_key(|key| longest = key.len().max(longest));
    within("a key", longest, KEY_MAX)?;
    let elements = |all: &[Bytes]| all.iter().try_for_each(|e| within("an element", e.len(), ELEMENT_MAX));
    let values = |all: &[Bytes]| all.iter().try_for_each(|v| within("a value", v.len(), VALUE_MAX));
    match command {
        Command::Set { value, .. }
        | Command::SetMulti { value, .. }
        | Command::LInsert { value, .. }
        | Command::LSet { value, .. } => within("a value", value.len(), VALUE_MAX),
        Command::MSet { pairs } => pairs.iter().try_for_each(|(_, v)| within("a value", v.len(), VALUE_MAX)),
        Command::RPush { values: all, .. } | Command::LPush { values: all, .. } => values(all),
        Command::SAdd { members, .. } | Command::SRem { members, .. } => elements(members),
        Command::HSet { pairs, .. } => pairs.iter().try_for_each(|(f, v)| {
            within("a field", f.len(), ELEMENT_MAX)?;
            within("a value", v.len(), VALUE_MAX)
        }),
        Command::HIncrBy { field, .. } => within("a field", field.len(), ELEMENT_MAX),
        _ => Ok(()),
    }
}

/// The type to which a kind belongs.
const fn type_of(kind: Kind) -> Type {
    match kind {
        Kind::Map => Type::Hash,
        Kind::Sequence => Type::List,
        Kind::OrSet | Kind::GSet | Kind::TwoPhaseSet => Type::Set,
        Kind::Deadline => Type::None,
        _ => Type::String,
    }
}

impl<'s> View<'s> {
    /// The kinds under a key that are shown; none if its deadline has passed.
    fn kinds(self, key: &[u8]) -> Vec<Kind> {
        let path = [key.to_vec()];
        let mut kinds = self.space.kinds(&path);
        if kinds.contains(&Kind::Deadline) {
            if self.deadline(&path).is_some_and(|at| at <= self.millis) {
                return Vec::new();
            }
            kinds.retain(|k| *k != Kind::Deadline);
        }
        kinds
    }
    fn deadline(self, path: Path<'_>) -> Option<u64> {
        self.space.deadline_of(path).map(|(at, _)| at)
    }
    /// The type that is shown of kinds: the first of string, hash, list, set.
    fn shown(kinds: &[Kind]) -> Type {
        kinds.iter().map(|k| type_of(*k)).filter(|t| *t != Type::None).min().unwrap_or(Type::None)
    }
    /// Whether the key has a part of this type.
    ///
    /// # Errors
    /// It has others only.
    fn expect(self, key: &[u8], wanted: Type) -> Result<bool, Refusal> {
        let kinds = self.kinds(key);
        if kinds.iter().any(|k| type_of(*k) == wanted) {
            return Ok(true);
        }
        match Self::shown(&kinds) {
            Type::None => Ok(false),
            holds => Err(Refusal::WrongType { holds }),
        }
    }
    /// As [`View::expect`], for a command that writes: what an ended life of the key has left is to be removed first.
    fn expect_to_write(self, key: &[u8], wanted: Type) -> Result<(bool, Vec<Edit>), Refusal> {
        let there = self.expect(key, wanted)?;
        Ok((there, if there { Vec::new() } else { self.space.delete_all(&[key.to_vec()]) }))
    }
    /// The edit that forgets a key's deadline, if it has one: a key without elements is no key.
    fn forget_deadline(self, key: &[u8], edits: &mut Vec<Edit>) {
        if self.space.kinds(&[key.to_vec()]).contains(&Kind::Deadline) {
            edits.push(Edit::new(Address::key(Kind::Deadline, key), Change::Delete));
        }
    }
    /// The edits by which a key gets its deadline.
    fn expire(self, key: &[u8], expiry: Expiry, edits: &mut Vec<Edit>) {
        let path = [key.to_vec()];
        match expiry {
            Expiry::Keep => {}
            Expiry::Never => self.forget_deadline(key, edits),
            Expiry::In(_) | Expiry::At(_) => match self.moment(expiry) {
                Some(at) => edits.push(Edit::new(Address::key(Kind::Deadline, key), Change::Expire(at))),
                None => *edits = self.space.delete_all(&path),
            },
        }
    }
    /// When something is to go; nothing if that is now.
    fn moment(self, expiry: Expiry) -> Option<u64> {
        let at = match expiry {
            Expiry::In(ms) => i64::try_from(self.millis).unwrap_or(i64::MAX).saturating_add(ms),
            Expiry::At(ms) => ms,
            Expiry::Keep | Expiry::Never => return None,
        };
        u64::try_from(at).ok().filter(|at| *at > self.millis)
    }
    /// A string as it is shown: the latest write, and what was counted since if it is a number.
    fn text(self, path: Path<'_>) -> Option<Bytes> {
        let register = self.writes(path).into_iter().next().map(|s| s.value);
        let Some(counted) = self.counted(path) else { return register.map(Bytes::from) };
        match register {
            None => Some(counted.to_string().into()),
            Some(text) => match integer(&text) {
                Some(base) => Some((i128::from(base) + counted).to_string().into()),
                None => Some(text.into()),
            },
        }
    }
    /// The writes of a string that no other has superseded, the shown one first.
    fn writes(self, path: Path<'_>) -> Vec<Sibling> {
        let at = |kind| Address { names: path.to_vec(), kind };
        let mut all = self.space.siblings(&at(Kind::Lww));
        let multi = self.space.siblings(&at(Kind::Mv));
        if !multi.is_empty() {
            all.extend(multi);
            all.sort_by_key(|s| core::cmp::Reverse((s.hlc, s.dot)));
        }
        all
    }
    fn counted(self, path: Path<'_>) -> Option<i128> {
        let at = |kind| Address { names: path.to_vec(), kind };
        let kinds = [Kind::PnCounter, Kind::GCounter, Kind::Bounded];
        let totals = kinds.into_iter().filter_map(|k| self.space.counter(&at(k)));
        totals.fold(None, |sum: Option<i128>, t| Some(sum.unwrap_or(0).saturating_add(t)))
    }
    /// Makes a string of what lies at a path, in place of all parts but those of `keep`.
    fn overwrite(self, path: Path<'_>, kind: Kind, value: &[u8], edits: &mut Vec<Edit>) {
        let at = |kind| Address { names: path.to_vec(), kind };
        for other in self.space.kinds(path).into_iter().filter(|k| *k != kind && *k != Kind::Deadline) {
            edits.push(Edit::new(at(other), Change::Delete));
        }
        edits.push(Edit::new(at(kind), Change::Write(value.to_vec())));
    }
    /// Adds to the number in a field; answers with the total as seen here then.
    fn count(self, path: Path<'_>, there: bool, by: i64, edits: &mut Vec<Edit>) -> Result<i64, Refusal> {
        let mut now = 0;
        if there {
            if let Some(text) = self.writes(path).first() {
                now += i128::from(integer(&text.value).ok_or(Refusal::FieldNotInteger)?);
            }
            now += self.counted(path).unwrap_or(0);
        }
        let total = i64::try_from(now + i128::from(by)).map_err(|_| Refusal::Overflow)?;
        edits.push(Self::counts(Address { names: path.to_vec(), kind: Kind::PnCounter }, by));
        Ok(total)
    }
    /// The edit that counts.
    fn counts(at: Address, by: i64) -> Edit {
        let change =
            if by < 0 { Change::Decrease(by.unsigned_abs()) } else { Change::Increase(by.unsigned_abs()) };
        Edit::new(at, change)
    }
    /// The fields below a path after a name, each with its kinds, until `each` says that it is enough.
    fn names(self, path: Path<'_>, after: Option<&[u8]>, mut each: impl FnMut(&[u8], &[Kind]) -> bool) {
        const AT_ONCE: usize = 1_024;
        let mut last = after.map(|name| Field { name: name.to_vec(), kind: LAST_KIND });
        let mut held: Option<(Vec<u8>, Vec<Kind>)> = None;
        loop {
            let found = self.space.fields(path, last.as_ref(), AT_ONCE);
            let full = found.len() == AT_ONCE;
            for field in &found {
                match &mut held {
                    Some((name, kinds)) if *name == field.name => kinds.push(field.kind),
                    _ => {
                        if let Some((name, kinds)) = held.replace((field.name.clone(), vec![field.kind]))
                            && !each(&name, &kinds)
                        {
                            return;
                        }
                    }
                }
            }
            last = found.into_iter().last();
            if !full || last.is_none() {
                break;
            }
        }
        if let Some((name, kinds)) = held {
            each(&name, &kinds);
        }
    }
    /// Whether a key that is listed is past its deadline.
    fn is_past(self, key: &[u8]) -> bool {
        self.deadline(&[key.to_vec()]).is_some_and(|at| at <= self.millis)
    }
}

/// Bytes after which a step of a scan ends, however many elements it was asked for.
const SCAN_BYTES: usize = 4 * 1024 * 1024;

/// An answer of that many elements.
fn answer_within(n: usize) -> Result<(), Refusal> {
    within("the number of elements in the answer (scan instead)", n, ANSWER_MAX)
}

/// A number, spelled as Redis spells it: no sign but a minus, no space, no leading zero.
fn integer(text: &[u8]) -> Option<i64> {
    let text = core::str::from_utf8(text).ok()?;
    let n: i64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

fn length(n: usize) -> Reply {
    Reply::Number(i64::try_from(n).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_spelled_one_way() {
        for (text, n) in [("0", Some(0)), ("-7", Some(-7)), ("9223372036854775807", Some(i64::MAX))] {
            assert_eq!(integer(text.as_bytes()), n, "{text}");
        }
        for text in ["", " 1", "+1", "01", "1.0", "9223372036854775808", "abc", "-0"] {
            assert_eq!(integer(text.as_bytes()), None, "{text}");
        }
    }
}
