//! What a log gave back at boot: the groups, and what was lost to the disk.

use crate::record::LogEntry;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::GroupId;

/// What recovery found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Recovered {
    /// Every group the log knows.
    pub groups: BTreeMap<GroupId, GroupLog>,
    /// What was durable and is lost, and still matters: nothing later replaced, truncated or
    /// purged it.
    pub damage: Vec<Damage>,
    /// The unfinished last write, if there was one. None of it had been acknowledged.
    pub tail_cut: Option<TailCut>,
    /// Records read back.
    pub records: u64,
    /// Durable records were lost that nothing identifies, so a group the log does not know
    /// may have been among them.
    pub unknown_lost: bool,
}

impl Recovered {
    /// Whether acknowledged records of this group may be lost without a trace. Such a group must
    /// neither vote nor count its log as up to date before it has caught up with a peer; then
    /// [`Wal::healed`](crate::Wal::healed) says so.
    #[must_use]
    pub fn suspect(&self, group: GroupId) -> bool {
        self.groups.get(&group).map_or(self.unknown_lost, |g| g.suspect)
    }
    /// Whether the group's vote is trustworthy: known, or known never to have been cast.
    #[must_use]
    pub fn may_vote(&self, group: GroupId) -> bool {
        !self.suspect(group) && self.groups.get(&group).is_none_or(|g| !g.vote_lost)
    }
}

/// What the log holds of one group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GroupLog {
    /// The latest vote. With `vote_lost`: an older one.
    pub vote: Option<Bytes>,
    /// A vote was cast later than `vote`, and every copy of it is lost: the group must refuse to
    /// vote here until a new vote is appended in a term that the lost one can't have been in.
    pub vote_lost: bool,
    /// The latest note that could be read.
    pub note: Option<Bytes>,
    /// Term and index of the last entry purged.
    pub purged: Option<(u64, u64)>,
    /// The last index that was in the log, lost or not.
    pub last: Option<u64>,
    /// See [`Recovered::suspect`].
    pub suspect: bool,
    /// By index, rising. Holes are in [`Recovered::damage`].
    pub entries: Vec<LogEntry>,
}

/// Something durable that is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// Whose it was; `None` with [`Lost::Unknown`].
    pub group: Option<GroupId>,
    /// What it was.
    pub lost: Lost,
    /// In which file, if that is known.
    pub file: Option<String>,
    /// Where in the file, in bytes; zero if unknown.
    pub offset: u64,
}

/// What was lost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lost {
    /// One entry. With its term and checksum known, a peer's entry can be compared with it
    /// before it is taken for a repair. (Of a suspect group it may be an older version.)
    Entry {
        /// Its index.
        index: u64,
        /// Its term, if known.
        term: Option<u64>,
        /// The CRC-32 of its payload, if known.
        crc: Option<u32>,
    },
    /// The group's latest vote, all copies of it. Advice for the operator: remove the node from
    /// the group and let it join under a new id.
    Vote,
    /// Records of which only the number is known. Every group of the node is suspect.
    Unknown {
        /// How many.
        records: u64,
    },
}

/// An unfinished last write that was cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TailCut {
    /// In which file.
    pub file: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Bytes that did not check.
    pub bytes: u64,
}
