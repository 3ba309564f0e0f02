//! The log of a run: every operation of every client, when it began and ended, and what the
//! client learned.

use dwcp_env::{Instant, NodeId};
use serde::{Deserialize, Serialize};

/// How an operation ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It has not.
    Open,
    /// It happened, and the record holds what was seen.
    Ok,
    /// It did not happen.
    Fail,
    /// Nobody knows.
    Info,
}

/// A part of a transaction over lists.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Micro {
    /// An element goes to the end of a list.
    Append {
        /// Which list.
        key: u64,
        /// Unique over the run.
        element: u64,
    },
    /// A list is read.
    Read {
        /// Which list.
        key: u64,
        /// What it held, once known; appends of the same transaction before it included.
        seen: Vec<u64>,
    },
}

/// A convergent value that elements are put into and can be emptied.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Of {
    /// Elements are members.
    Set,
    /// Elements are fields.
    Map,
    /// Elements have places.
    List,
    /// Its one element is its value.
    Register,
}

impl Of {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Set => "set",
            Self::Map => "map",
            Self::List => "list",
            Self::Register => "register",
        }
    }
    /// What is put into it.
    #[must_use]
    pub const fn holds(self) -> &'static str {
        match self {
            Self::Map => "field",
            Self::Register => "value",
            Self::Set | Self::List => "element",
        }
    }
}

/// Something done to a convergent value. Elements, fields and register values are unique over the run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// An element goes into a set.
    Add {
        /// Which set.
        key: u64,
        /// Added once in the run.
        element: u64,
    },
    /// A counter rises.
    Count {
        /// Which counter.
        key: u64,
        /// So much.
        by: u64,
    },
    /// A register is written.
    Write {
        /// Which register.
        key: u64,
        /// Written once in the run.
        value: u64,
    },
    /// A field of a map is written.
    Field {
        /// Which map.
        key: u64,
        /// Written once in the run.
        field: u64,
    },
    /// Elements go to an end of a list, in one push.
    Push {
        /// Which list.
        key: u64,
        /// The first of them; the others follow it by number.
        element: u64,
        /// How many.
        many: u64,
        /// To the left end, each before the one pushed before it.
        left: bool,
    },
    /// An element goes out of a set, a map or a list, by the client that put it there.
    Remove {
        /// Of what.
        of: Of,
        /// Which.
        key: u64,
        /// Which element.
        element: u64,
        /// How often it was seen where it was removed.
        seen: u64,
    },
    /// Everything goes, by whomever.
    Empty {
        /// Of what.
        of: Of,
        /// Which.
        key: u64,
        /// All that was seen where it was emptied; of a register what was shown.
        seen: Vec<u64>,
    },
    /// A counter is read.
    Read {
        /// Which counter.
        key: u64,
        /// Its total as seen.
        total: Option<u64>,
    },
}

impl Deed {
    /// Its name, for reports and histories.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Add { .. } => "sadd",
            Self::Remove { of: Of::Set, .. } => "srem",
            Self::Remove { of: Of::Map, .. } => "hdel",
            Self::Remove { .. } => "lrem",
            Self::Count { .. } => "incrby",
            Self::Write { .. } => "set",
            Self::Field { .. } => "hset",
            Self::Push { left: false, .. } => "rpush",
            Self::Push { left: true, .. } => "lpush",
            Self::Empty { .. } => "del",
            Self::Read { .. } => "get",
        }
    }
    /// Its key's number.
    #[must_use]
    pub const fn key(&self) -> u64 {
        match self {
            Self::Add { key, .. }
            | Self::Remove { key, .. }
            | Self::Count { key, .. }
            | Self::Write { key, .. }
            | Self::Field { key, .. }
            | Self::Push { key, .. }
            | Self::Empty { key, .. }
            | Self::Read { key, .. } => *key,
        }
    }
}

/// What an operation was, with what was learned once it is `Ok`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A read.
    Get {
        /// Which key.
        key: u64,
        /// What it held.
        seen: Option<u64>,
    },
    /// A write.
    Put {
        /// Which key.
        key: u64,
        /// Unique over the run.
        value: u64,
    },
    /// A write on a condition.
    Cas {
        /// Which key.
        key: u64,
        /// What must be there.
        expected: Option<u64>,
        /// Unique over the run.
        new: u64,
        /// Whether the condition held.
        succeeded: bool,
    },
    /// A delete.
    Delete {
        /// Which key.
        key: u64,
        /// Whether anything was there.
        existed: bool,
    },
    /// A transaction over lists.
    Lists(Vec<Micro>),
    /// Money moves.
    Transfer {
        /// From this account.
        from: u64,
        /// To this one.
        to: u64,
        /// So much.
        amount: u64,
    },
    /// All accounts are read at once.
    Audit {
        /// The sum of what was there.
        total: u64,
        /// How many accounts were there.
        accounts: u64,
    },
    /// A lock is taken.
    Acquire {
        /// Which.
        key: u64,
        /// The revision it was taken at: its fencing token.
        token: i64,
    },
    /// A write that holds only while the lock does.
    Fenced {
        /// Which lock.
        key: u64,
        /// The token it was made under.
        token: i64,
        /// Whether the store let it through.
        passed: bool,
    },
    /// A lock is given back.
    Release {
        /// Which.
        key: u64,
        /// Its token.
        token: i64,
    },
    /// Anything at all; the oracle knows what of it is right.
    Store {
        /// Whether it is a command.
        write: bool,
    },
    /// Something done to a convergent value.
    Eventual(Deed),
    /// Several such things in one transaction.
    Together(Vec<Deed>),
    /// A change seen by a watcher.
    Saw {
        /// Which key.
        key: u64,
        /// What it holds now; nothing after a delete.
        value: Option<u64>,
    },
}

impl What {
    /// Whether it changes anything if it happens.
    #[must_use]
    pub const fn is_write(&self) -> bool {
        match self {
            Self::Get { .. } | Self::Audit { .. } | Self::Saw { .. } => false,
            Self::Cas { succeeded, .. } => *succeeded,
            Self::Fenced { passed, .. } => *passed,
            Self::Store { write } => *write,
            Self::Eventual(deed) => !matches!(deed, Deed::Read { .. }),
            _ => true,
        }
    }
    /// What it does to convergent values.
    #[must_use]
    pub fn deeds(&self) -> &[Deed] {
        match self {
            Self::Eventual(deed) => std::slice::from_ref(deed),
            Self::Together(deeds) => deeds,
            _ => &[],
        }
    }
    /// Its name, for reports and histories.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Get { .. } => "get",
            Self::Put { .. } => "put",
            Self::Cas { .. } => "cas",
            Self::Delete { .. } => "delete",
            Self::Lists(_) => "txn",
            Self::Transfer { .. } => "transfer",
            Self::Audit { .. } => "audit",
            Self::Acquire { .. } => "acquire",
            Self::Fenced { .. } => "fenced",
            Self::Release { .. } => "release",
            Self::Store { write: true } => "command",
            Self::Store { write: false } => "read",
            Self::Eventual(deed) => deed.name(),
            Self::Together(_) => "multi",
            Self::Saw { .. } => "saw",
        }
    }
}

/// One operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The client.
    pub client: u32,
    /// The process; a client takes a new one when it does not know how an operation ended.
    pub process: u64,
    /// What it was.
    pub what: What,
    /// How it ended.
    pub outcome: Outcome,
    /// When it began.
    pub call: Instant,
    /// When it ended; `FAR` while open.
    pub ret: Instant,
    /// Its place among all beginnings and endings.
    pub call_place: u64,
    /// The place of its ending; `u64::MAX` while open.
    pub ret_place: u64,
    /// The store's revision in the answer, once `Ok`.
    pub revision: i64,
    /// How often it was sent,
    pub tries: u32,
    /// and to whom the last time: who answered it, if it was answered.
    pub node: Option<NodeId>,
}

/// Everything clients did.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// In the order of their beginnings.
    pub records: Vec<Record>,
    /// When the last write was acknowledged.
    pub last_acknowledged: Instant,
    places: u64,
}

impl Log {
    /// Notes a beginning; gives the record's number.
    pub fn begin(&mut self, client: u32, process: u64, at: Instant, what: What) -> usize {
        let call_place = self.place();
        self.records.push(Record {
            client,
            process,
            what,
            outcome: Outcome::Open,
            call: at,
            ret: Instant::FAR,
            call_place,
            ret_place: u64::MAX,
            revision: 0,
            tries: 0,
            node: None,
        });
        self.records.len() - 1
    }
    /// Notes an ending.
    ///
    /// # Panics
    /// If that operation has ended already.
    pub fn end(&mut self, record: usize, at: Instant, outcome: Outcome, revision: i64) {
        let place = self.place();
        let r = &mut self.records[record];
        assert_eq!(r.outcome, Outcome::Open, "an operation ends once: {r:?}");
        r.outcome = outcome;
        r.revision = revision;
        r.ret = at;
        r.ret_place = place;
        if outcome == Outcome::Ok && r.what.is_write() {
            self.last_acknowledged = self.last_acknowledged.max(at);
        }
    }
    /// Notes something that is seen at one instant.
    pub fn saw(&mut self, client: u32, at: Instant, revision: i64, what: What) {
        let record = self.begin(client, u64::from(client), at, what);
        self.end(record, at, Outcome::Ok, revision);
    }
    /// Acknowledged operations that changed something.
    pub fn acknowledged(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|r| r.outcome == Outcome::Ok && r.what.is_write())
    }
    const fn place(&mut self) -> u64 {
        self.places += 1;
        self.places
    }
}
