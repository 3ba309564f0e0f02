//! What a question may look at and answer. A turn can't be interrupted and an answer is made whole, so both have bounds, also
//! for all that is sent in one go: a client that needs more asks in several.

use super::{View, within};
use crate::api::{ANSWER_BYTES, Command, FLUSH_MAX, LOOK_MAX, Reply, SCAN_MAX, Span};
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::{Address, Kind};

/// What the commands of one question have cost so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    looked_at: usize,
    answered: usize,
}

impl Cost {
    /// Takes note of a command that is about to be planned.
    ///
    /// # Errors
    /// It would be too much.
    pub(crate) fn begin(&mut self, view: View<'_>, command: &Command) -> Result<(), Refusal> {
        within("what was answered so far (send less at once)", self.answered, ANSWER_BYTES)?;
        let looks_at = looks_at(view, command);
        within("the number of elements to look at (scan instead)", looks_at, LOOK_MAX)?;
        let all = self.looked_at.saturating_add(looks_at);
        within(
            "the number of elements that commands sent together look at (send less at once)",
            all,
            LOOK_MAX,
        )?;
        self.looked_at = all;
        Ok(())
    }
    /// Takes note of its reply.
    pub(crate) fn end(&mut self, reply: &Reply) {
        self.answered = self.answered.saturating_add(bytes_of(reply));
    }
}

/// Elements that planning a command looks at, roughly; told from sizes alone. What goes for good (`DEL`) was paid for when
/// it was put there.
fn looks_at(view: View<'_>, command: &Command) -> usize {
    let set = |key: &Bytes| {
        let kinds = super::set::SETS.into_iter();
        kinds.map(|kind| view.space.entries_in(&Address::key(kind, key))).sum::<usize>()
    };
    let hash = |key: &Bytes| view.space.names_in(&[key.to_vec()]);
    let list = |key: &Bytes| view.space.length(&Address::key(Kind::Sequence, key));
    let step = |span: &Span| span.count.clamp(1, SCAN_MAX) as usize;
    match command {
        Command::SMembers { key } => set(key),
        Command::SUnion { keys } | Command::SInter { keys } | Command::SDiff { keys } => {
            keys.iter().map(|k| 1 + set(k)).fold(0, usize::saturating_add)
        }
        Command::HGetAll { key } | Command::HKeys { key } | Command::HVals { key } => hash(key),
        Command::LRange { key, .. }
        | Command::LInsert { key, .. }
        | Command::LRem { key, .. }
        | Command::LTrim { key, .. }
        | Command::LPos { key, .. } => list(key),
        Command::Scan { span, .. } | Command::SScan { span, .. } | Command::HScan { span, .. } => step(span),
        Command::Keys { .. } => view.space.names_in(&[]),
        Command::FlushDb => view.space.names_in(&[]).min(FLUSH_MAX),
        Command::MGet { keys } | Command::Exists { keys } => keys.len(),
        Command::SMIsMember { members, .. } => members.len(),
        Command::HMGet { fields, .. } => fields.len(),
        _ => 1,
    }
}

/// Bytes of values that are gathered for one answer.
#[derive(Debug, Default)]
pub(super) struct Gathered(usize);

impl Gathered {
    /// Whether there is room for more after so many bytes.
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        self.0 = self.0.saturating_add(bytes);
        self.0 <= ANSWER_BYTES
    }
    /// # Errors
    /// There was too much.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        within("the answer (ask for less, or scan)", self.0, ANSWER_BYTES)
    }
}

/// Values as they come, until they are too many bytes.
///
/// # Errors
/// They are.
pub(super) fn gather(values: impl Iterator<Item = Option<Bytes>>) -> Result<Vec<Option<Bytes>>, Refusal> {
    let (mut gathered, mut out) = (Gathered::default(), Vec::new());
    for value in values {
        if !gathered.take(value.as_ref().map_or(0, Bytes::len)) {
            break;
        }
        out.push(value);
    }
    gathered.check()?;
    Ok(out)
}

fn bytes_of(reply: &Reply) -> usize {
    let all = |values: &[Bytes]| values.iter().map(|v| v.len() + 8).sum::<usize>();
    match reply {
        Reply::Done | Reply::Number(_) | Reply::Type(_) => 8,
        Reply::Value(value) => 8 + value.as_ref().map_or(0, Bytes::len),
        Reply::Values(values) => values.iter().map(|v| 8 + v.as_ref().map_or(0, Bytes::len)).sum(),
        Reply::Elements(values) | Reply::Scan { found: values, .. } => all(values),
        Reply::Pairs(pairs) => pairs.iter().map(|(f, v)| 16 + f.len() + v.len()).sum(),
        Reply::Flags(flags) => flags.len(),
        Reply::Numbers(numbers) => 8 * numbers.len(),
    }
}
