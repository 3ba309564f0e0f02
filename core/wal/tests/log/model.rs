//! What a log must hold after a list of records: the law the tests compare with.

use bytes::Bytes;
use dwcp_env::GroupId;
use dwcp_wal::{GroupLog, Record};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) vote: Option<Bytes>,
    pub(crate) note: Option<Bytes>,
    pub(crate) purged: Option<(u64, u64)>,
    pub(crate) last: Option<u64>,
    pub(crate) entries: BTreeMap<u64, (u64, Bytes)>,
}

pub(crate) type Groups = BTreeMap<GroupId, Group>;

pub(crate) fn apply(groups: &mut Groups, id: GroupId, record: &Record) {
    let g = groups.entry(id).or_default();
    match record {
        Record::Entry { index, term, payload } => {
            g.entries.insert(*index, (*term, payload.clone()));
            g.last = g.last.max(Some(*index));
        }
        Record::Truncate { after } => {
            g.entries.retain(|i, _| Some(*i) <= *after);
            g.last = g.last.min(*after);
        }
        Record::Purge { term, index } => {
            g.entries.retain(|i, _| i > index);
            g.last = g.last.max(Some(*index));
            if g.purged.is_none_or(|(_, i)| i <= *index) {
                g.purged = Some((*term, *index));
            }
        }
        Record::Vote(vote) => g.vote = Some(vote.clone()),
        Record::Note(note) => g.note = Some(note.clone()),
    }
}

pub(crate) fn of(log: &GroupLog) -> Group {
    Group {
        vote: log.vote.clone(),
        note: log.note.clone(),
        purged: log.purged,
        last: log.last,
        entries: log.entries.iter().map(|e| (e.index, (e.term, e.payload.clone()))).collect(),
    }
}

pub(crate) fn of_all(groups: &BTreeMap<GroupId, GroupLog>) -> Groups {
    groups.iter().map(|(id, log)| (*id, of(log))).collect()
}

/// A line per group, for a person.
pub(crate) fn brief(groups: &Groups) -> String {
    let entry =
        |(i, (term, payload)): (&u64, &(u64, Bytes))| format!("{i}:{term}/{:08x}", crc32fast::hash(payload));
    let line = |(id, g): (&GroupId, &Group)| {
        let entries: Vec<String> = g.entries.iter().map(entry).collect();
        format!(
            "{id} vote {:?} note {:?} purged {:?} last {:?} {}",
            g.vote,
            g.note,
            g.purged,
            g.last,
            entries.join(" ")
        )
    };
    groups.iter().map(line).collect::<Vec<_>>().join("\n")
}
