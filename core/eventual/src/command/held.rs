//! What a key holds, in one look: enough for the commands that are asked most.

use super::{View, integer, type_of};
use crate::api::Type;
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::space::Inside;
use dwcp_crdt::{Dot, Edit, Hlc, Kind};

/// What lies under a key at the view's moment; nothing if its deadline has passed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held<'s> {
    /// The string's write that is shown.
    text: Option<(Hlc, Dot, &'s [u8])>,
    /// What was counted beside it.
    counted: Option<i128>,
    /// By number of the kind.
    kinds: u32,
    /// The sets.
    sets: [Option<Inside<'s>>; 3],
    /// There is a deadline, passed or not.
    pub(super) expires: bool,
    /// The deadline has passed: what is there is the rest of an ended life.
    pub(super) ended: bool,
}

impl<'s> View<'s> {
    pub(super) fn look(self, key: &'s [u8]) -> Held<'s> {
        let mut held = Held::default();
        let mut deadline: Option<(Hlc, Dot, u64)> = None;
        for seen in self.space.glance(key) {
            let stamp = (seen.hlc, seen.dot);
            match seen.kind {
                Kind::Deadline => {
                    let at = seen.value().try_into().map_or(0, u64::from_le_bytes);
                    if deadline.is_none_or(|(hlc, dot, _)| (hlc, dot) < stamp) {
                        deadline = Some((seen.hlc, seen.dot, at));
                    }
                    continue;
                }
                Kind::Lww | Kind::Mv if held.text.is_none_or(|(hlc, dot, _)| (hlc, dot) < stamp) => {
                    held.text = Some((seen.hlc, seen.dot, seen.value()));
                }
                kind if kind.is_counter() => {
                    held.counted = Some(held.counted.unwrap_or(0).saturating_add(seen.total()));
                }
                kind if kind.is_set() => {
                    if let Some(free) = held.sets.iter_mut().find(|s| s.is_none()) {
                        *free = self.space.inside(&seen);
                    }
                }
                _ => {}
            }
            held.kinds |= 1 << (seen.kind as u32);
        }
        match deadline {
            Some((_, _, at)) if at <= self.millis => Held { expires: true, ended: true, ..Held::default() },
            found => Held { expires: found.is_some(), ..held },
        }
    }
    /// The edits that remove what an ended life of a key has left, before it is written to.
    pub(super) fn rest_of(self, key: &[u8], held: &Held<'_>) -> Vec<Edit> {
        if held.is_nothing() { Vec::new() } else { self.space.delete_all(&[key.to_vec()]) }
    }
}

impl Held<'_> {
    fn has(&self, kind: Kind) -> bool {
        self.kinds & (1 << (kind as u32)) != 0
    }
    /// Whether a bounded counter is among it.
    pub(super) fn is_bounded(&self) -> bool {
        self.has(Kind::Bounded)
    }
    /// Whether nothing lies there but perhaps a plain string: a write of it has nothing else to see to.
    pub(super) fn is_plain(&self) -> bool {
        self.kinds & !(1 << (Kind::Lww as u32)) == 0 && !self.expires
    }
    /// Whether nothing lies there, not even the rest of an ended life.
    pub(super) const fn is_nothing(&self) -> bool {
        self.kinds == 0 && !self.expires
    }
    /// Whether there is a part of this type.
    ///
    /// # Errors
    /// There are others only.
    pub(super) fn expect(&self, wanted: Type) -> Result<bool, Refusal> {
        if self.kinds & kinds_of(wanted) != 0 {
            return Ok(true);
        }
        let holds = [Type::String, Type::Hash, Type::List, Type::Set];
        match holds.into_iter().find(|t| self.kinds & kinds_of(*t) != 0) {
            None => Ok(false),
            Some(holds) => Err(Refusal::WrongType { holds }),
        }
    }
    /// Whether a set that lies there has a member.
    pub(super) fn contains(&self, member: &[u8]) -> bool {
        self.sets.iter().flatten().any(|set| set.contains(member))
    }
    /// The string as it is shown: the latest write, and what was counted since if it is a number.
    pub(super) fn text(&self) -> Option<Bytes> {
        let Some(counted) = self.counted else {
            return self.text.map(|(_, _, text)| Bytes::copy_from_slice(text));
        };
        match self.text {
            None => Some(counted.to_string().into()),
            Some((_, _, text)) => match integer(text) {
                Some(base) => Some((i128::from(base) + counted).to_string().into()),
                None => Some(Bytes::copy_from_slice(text)),
            },
        }
    }
    /// The number that is shown.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn number(&self) -> Result<i128, Refusal> {
        let base = match self.text {
            Some((_, _, text)) => i128::from(integer(text).ok_or(Refusal::NotInteger)?),
            None => 0,
        };
        Ok(base + self.counted.unwrap_or(0))
    }
}

/// The kinds of a type, each by the bit of its number.
const fn kinds_of(wanted: Type) -> u32 {
    /// By number of the type: found once, asked for each command.
    const KINDS: [u32; Type::Set as usize + 1] = {
        let (mut kinds, mut i) = ([0; Type::Set as usize + 1], 0);
        while i < Kind::ALL.len() {
            kinds[type_of(Kind::ALL[i]) as usize] |= 1 << (Kind::ALL[i] as u32);
            i += 1;
        }
        kinds
    };
    KINDS[wanted as usize]
}
