//! From the history to the groups: what each record did, and what a missing one may have done.
//!
//! | missing | what is done |
//! |---|---|
//! | entry | it is a hole, and takes the place of an older entry of its index |
//! | truncation, purge | done all the same: the index of the next batch says all of it |
//! | vote, both copies | the group must not vote until a later vote is found |
//! | note | the older one counts |
//! | end | done all the same |
//! | state, both copies (a segment's head, or a group told suspect) | the group is suspect; its vote too if nothing earlier told it |
//! | unidentified | every group is suspect until a later state tells what it had, and as long as it holds entries from before: they may have been truncated and rewritten |

use crate::format::{Ident, Kind};
use crate::item::{State, truncate_after};
use crate::merge::{Place, Step};
use crate::record::LogEntry;
use crate::recovered::{Damage, GroupLog, Lost};
use crate::scan::Trust;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::GroupId;

/// An entry, and where it lies.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) term: u64,
    pub(crate) payload: Bytes,
    pub(crate) segment: u64,
    /// The step that brought it.
    step: u64,
    /// Whether the segment is proven to hold it durably.
    pub(crate) proven: bool,
}

#[derive(Clone, Copy, Debug)]
struct Hole {
    term: u64,
    crc: u32,
    place: Place,
    step: u64,
}

/// One group being replayed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Group {
    pub(crate) state: State,
    pub(crate) entries: BTreeMap<u64, Held>,
    holes: BTreeMap<u64, Hole>,
    /// The last step that lost something unidentified: a truncation and a rewriting of any older
    /// entry may have been in it.
    doubted: Option<u64>,
    vote_lost_at: Option<Place>,
}

/// All groups being replayed.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pub(crate) groups: BTreeMap<GroupId, Group>,
    pub(crate) damage: Vec<(Option<GroupId>, Lost, Option<Place>)>,
    pub(crate) records: u64,
    /// Something unidentified was lost.
    pub(crate) unknown: bool,
    /// Anything was lost.
    lossy: bool,
    steps: u64,
    trust: Trust,
}

impl Replay {
    /// Nothing replayed yet.
    pub(crate) fn trusting(trust: Trust) -> Self {
        Self { trust, ..Self::default() }
    }
    fn group(&mut self, id: GroupId) -> &mut Group {
        let suspect = self.unknown;
        let fresh = || Group { state: State { suspect, ..State::default() }, ..Group::default() };
        self.groups.entry(id).or_insert_with(fresh)
    }
    /// Takes one step of the history.
    pub(crate) fn step(&mut self, step: Step) {
        self.steps += 1;
        match step {
            Step::Read { found, proven } => {
                self.records += 1;
                let payload = found.payload.unwrap_or_default();
                self.read(&found.id, payload, found.segment, found.offset, proven);
            }
            Step::Lost { id, place } => {
                self.lossy = true;
                self.lost(&id, place);
            }
            Step::Unknown { records, place } => {
                (self.lossy, self.unknown) = (true, true);
                for group in self.groups.values_mut() {
                    group.state.suspect = true;
                    group.doubted = Some(self.steps);
                }
                self.damage.push((None, Lost::Unknown { records }, Some(place)));
            }
        }
    }
    fn read(&mut self, id: &Ident, payload: Bytes, segment: u64, offset: u64, proven: bool) {
        let (step, oldest_first) = (self.steps, self.trust.oldest_first);
        if id.kind == Kind::Ended {
            self.groups.remove(&id.group);
            return;
        }
        let group = self.group(id.group);
        match id.kind {
            Kind::Entry if oldest_first && group.entries.contains_key(&id.index) => {}
            Kind::Truncate if oldest_first => {}
            Kind::Entry => {
                let held = Held { term: id.term, payload, segment, step, proven };
                group.entry(id.index, held);
            }
            Kind::Truncate => group.truncate(truncate_after(id.term, id.index)),
            Kind::Purge => group.purge(id.term, id.index),
            Kind::Vote => {
                group.state.vote = Some(payload);
                group.state.vote_lost = false;
            }
            Kind::Note => group.state.note = Some(payload),
            Kind::Healed => {
                (group.state.suspect, group.state.holed) = (false, false);
                group.doubted = None;
            }
            Kind::Ended => {}
            Kind::State => match State::decode(&payload) {
                Some(state) => group.set_state(state, Place { segment, offset }),
                None => self.lost(id, Place { segment, offset }),
            },
        }
    }
    fn lost(&mut self, id: &Ident, place: Place) {
        if id.kind == Kind::Ended {
            self.groups.remove(&id.group);
            return;
        }
        let (known, step) = (self.groups.contains_key(&id.group), self.steps);
        let group = self.group(id.group);
        match id.kind {
            Kind::Entry => {
                group.entries.remove(&id.index);
                group.holes.insert(id.index, Hole { term: id.term, crc: id.sum, place, step });
                group.state.extend(id.index);
            }
            Kind::Truncate => group.truncate(truncate_after(id.term, id.index)),
            Kind::Purge => group.purge(id.term, id.index),
            Kind::Vote => {
                group.state.vote_lost = true;
                group.vote_lost_at = Some(place);
            }
            Kind::State => {
                group.state.suspect = true;
                if !known {
                    group.state.vote_lost = true;
                    group.vote_lost_at = Some(place);
                }
            }
            Kind::Note | Kind::Healed | Kind::Ended => {}
        }
    }
    /// Ends the replay: notes what is missing for good in each group.
    pub(crate) fn finish(&mut self) {
        for (id, group) in &mut self.groups {
            group.state.suspect |= group.is_doubtful();
            let before = self.damage.len();
            if self.lossy || group.state.holed || group.state.suspect {
                group.gaps(*id, &mut self.damage);
            }
            group.state.holed = self.damage.len() > before;
            if group.state.vote_lost {
                self.damage.push((Some(*id), Lost::Vote, group.vote_lost_at));
            }
        }
    }
}

impl Group {
    fn entry(&mut self, index: u64, held: Held) {
        self.holes.remove(&index);
        self.entries.insert(index, held);
        self.state.extend(index);
    }
    fn keep(&mut self, after: Option<u64>) {
        let from = after.map_or(Some(0), |after| after.checked_add(1));
        if let Some(from) = from {
            self.entries.split_off(&from);
            self.holes.split_off(&from);
        }
    }
    fn truncate(&mut self, after: Option<u64>) {
        self.keep(after);
        self.state.truncate(after);
    }
    fn purge(&mut self, term: u64, index: u64) {
        match index.checked_add(1) {
            Some(next) => {
                self.entries = self.entries.split_off(&next);
                self.holes = self.holes.split_off(&next);
            }
            None => {
                self.entries.clear();
                self.holes.clear();
            }
        }
        self.state.purge(term, index);
    }
    fn set_state(&mut self, state: State, place: Place) {
        if let Some((term, index)) = state.purged {
            self.purge(term, index);
        }
        self.keep(state.last);
        self.vote_lost_at = state.vote_lost.then_some(self.vote_lost_at.unwrap_or(place));
        self.state = state;
    }
    /// Whether it holds anything that a lost record may have made void.
    fn is_doubtful(&self) -> bool {
        let Some(doubted) = self.doubted else { return false };
        self.entries.values().any(|e| e.step < doubted) || self.holes.values().any(|h| h.step < doubted)
    }
    /// Notes every index that should be there and is not.
    fn gaps(&self, id: GroupId, damage: &mut Vec<(Option<GroupId>, Lost, Option<Place>)>) {
        let Some(last) = self.state.last else { return };
        let begin = match self.state.purged {
            Some((_, index)) => index.checked_add(1),
            None => self.state.first,
        };
        let Some(mut next) = begin else { return };
        let mut missing = |from: u64, to: u64| {
            damage.extend((from..to).map(|index| match self.holes.get(&index) {
                Some(h) => {
                    let lost = Lost::Entry { index, term: Some(h.term), crc: Some(h.crc) };
                    (Some(id), lost, Some(h.place))
                }
                None => (Some(id), Lost::Entry { index, term: None, crc: None }, None),
            }));
        };
        for index in self.entries.keys() {
            missing(next, *index);
            next = index.saturating_add(1);
        }
        missing(next, last.saturating_add(1));
    }
    /// The group as the caller gets it. Payloads are copied, so that the segments they were read
    /// from can be let go.
    pub(crate) fn log(&self) -> GroupLog {
        let own = |b: &Option<Bytes>| b.as_deref().map(Bytes::copy_from_slice);
        let entry = |(index, h): (&u64, &Held)| LogEntry {
            index: *index,
            term: h.term,
            payload: Bytes::copy_from_slice(&h.payload),
        };
        GroupLog {
            vote: own(&self.state.vote),
            vote_lost: self.state.vote_lost,
            note: own(&self.state.note),
            purged: self.state.purged,
            last: self.state.last,
            suspect: self.state.suspect,
            entries: self.entries.iter().map(entry).collect(),
        }
    }
}

/// A damage as the caller gets it.
pub(crate) fn told(damage: &(Option<GroupId>, Lost, Option<Place>)) -> Damage {
    let (group, lost, place) = *damage;
    Damage {
        group,
        lost,
        file: place.map(|p| crate::log::segment_name(p.segment).as_str().into()),
        offset: place.map_or(0, |p| p.offset),
    }
}
