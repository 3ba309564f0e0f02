//! What of the log still matters: the state of each group, and which segments hold entries
//! that no truncation or purge has made void.
//!
//! Invariants:
//!
//! 1. A segment leaves only from the old end, and only when no group has a live entry in it.
//!    So a truncation never leaves before the entries it made void.
//! 2. Every segment begins with the state of every group, so that with a segment nothing but
//!    dead entries goes.

use crate::format::Kind;
use crate::item::{Item, State};
use crate::record::Record;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use dwcp_env::GroupId;

/// Live entries of one group in one segment: none outside `first..=last`.
#[derive(Clone, Copy, Debug)]
struct Extent {
    segment: u64,
    first: u64,
    last: u64,
}

#[derive(Debug, Default)]
struct Group {
    state: State,
    /// A rewritten index may lie in two; the older then lives longer than it had to.
    extents: Vec<Extent>,
}

/// What of the log still matters.
#[derive(Debug, Default)]
pub(crate) struct Live {
    groups: BTreeMap<GroupId, Group>,
    /// Every segment of the log, and how many extents lie in it.
    segments: BTreeMap<u64, u64>,
}

impl Live {
    /// Takes up a segment.
    pub(crate) fn add_segment(&mut self, seq: u64) {
        self.segments.entry(seq).or_default();
    }
    /// Takes up a group as recovery found it.
    pub(crate) fn add_group(&mut self, group: GroupId, state: State) {
        self.groups.entry(group).or_default().state = state;
    }
    /// Takes up an entry that lies in `segment`.
    pub(crate) fn add_entry(&mut self, group: GroupId, index: u64, segment: u64) {
        let extents = &mut self.groups.entry(group).or_default().extents;
        match extents.last_mut() {
            Some(e) if e.segment == segment && e.last.checked_add(1) == Some(index) => e.last = index,
            _ => {
                extents.push(Extent { segment, first: index, last: index });
                *self.segments.entry(segment).or_default() += 1;
            }
        }
    }
    /// What is written of an item behind all that was applied: a kind, term, index and payload. A group that is told suspect has its
    /// state written, which says so: whoever reads it needs to know no other kind of record, and one that is lost makes suspect, too.
    pub(crate) fn written<'a>(&self, group: GroupId, item: &'a Item) -> (Kind, u64, u64, Cow<'a, [u8]>) {
        let (kind, term, index, payload) = item.parts();
        if *item != Item::Suspect {
            return (kind, term, index, Cow::Borrowed(payload));
        }
        let known = self.groups.get(&group).map(|g| g.state.clone());
        let state = State { suspect: true, ..known.unwrap_or_default() };
        (kind, term, index, Cow::Owned(state.encode()))
    }
    /// Does what a record does that is written to `segment`.
    pub(crate) fn apply(&mut self, group: GroupId, item: &Item, segment: u64) {
        let record = match item {
            Item::Record(record) => record,
            Item::Healed => {
                let state = &mut self.groups.entry(group).or_default().state;
                (state.suspect, state.holed) = (false, false);
                return;
            }
            Item::Suspect => {
                self.groups.entry(group).or_default().state.suspect = true;
                return;
            }
            Item::Ended => {
                if let Some(mut ended) = self.groups.remove(&group) {
                    drop_dead(&mut ended.extents, &mut self.segments, |_| false);
                }
                return;
            }
        };
        if let Record::Entry { index, .. } = record {
            self.add_entry(group, *index, segment);
        }
        let Group { state, extents } = self.groups.entry(group).or_default();
        match record {
            Record::Entry { index, .. } => state.extend(*index),
            Record::Truncate { after } => {
                state.truncate(*after);
                let keep = |e: &mut Extent| {
                    e.last = after.map_or(0, |after| e.last.min(after));
                    after.is_some() && e.first <= e.last
                };
                drop_dead(extents, &mut self.segments, keep);
            }
            Record::Purge { term, index } => {
                state.purge(*term, *index);
                let keep = |e: &mut Extent| {
                    e.first = e.first.max(index.saturating_add(1));
                    e.first <= e.last
                };
                drop_dead(extents, &mut self.segments, keep);
            }
            Record::Vote(vote) => (state.vote, state.vote_lost) = (Some(vote.clone()), false),
            Record::Note(note) => state.note = Some(note.clone()),
        }
    }
    /// Gives up the dead segments at the old end, before `current`.
    ///
    /// `regardless` of what lives in them, all but the newest: a planted bug.
    pub(crate) fn trim(&mut self, current: u64, regardless: bool) -> Vec<u64> {
        let mut dead = Vec::new();
        while let Some(first) = self.segments.first_entry()
            && *first.key() < current
            && (*first.get() == 0 || (regardless && *first.key() + 1 < current))
        {
            dead.push(*first.key());
            first.remove();
        }
        dead
    }
    /// The oldest segment of the log.
    pub(crate) fn oldest(&self) -> u64 {
        self.segments.first_key_value().map_or(0, |(seq, _)| *seq)
    }
    /// How many segments there are.
    pub(crate) fn segments(&self) -> u64 {
        self.segments.len() as u64
    }
    /// The groups with live entries in the oldest segment.
    pub(crate) fn held_by(&self) -> Vec<GroupId> {
        let oldest = self.oldest();
        let holds = |g: &Group| g.extents.iter().any(|e| e.segment == oldest);
        self.groups.iter().filter(|(_, g)| holds(g)).map(|(id, _)| *id).collect()
    }
    /// The state of every group, for the head of a segment.
    pub(crate) fn states(&self) -> impl Iterator<Item = (GroupId, State)> {
        self.groups.iter().map(|(id, g)| (*id, g.state.clone()))
    }
}

fn drop_dead(
    extents: &mut Vec<Extent>,
    segments: &mut BTreeMap<u64, u64>,
    mut keep: impl FnMut(&mut Extent) -> bool,
) {
    extents.retain_mut(|e| {
        let live = keep(e);
        if !live {
            // A segment that a planted bug removed too early is in the table no more.
            #[cfg(feature = "planted-bugs")]
            if !segments.contains_key(&e.segment) {
                return live;
            }
            let count = segments.get_mut(&e.segment).expect("a segment with extents is in the table");
            *count -= 1;
        }
        live
    });
}
