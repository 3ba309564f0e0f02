//! What a client asks of a node and what it is told, free of any door.

use dwcp_env::NodeId;
use dwcp_store::api::{LeaseId, Op, OpError, RangeRequest, Response, Revision, Stamp, WatchEvent};

/// A question.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// A linearizable read.
    Range(RangeRequest),
    /// A command.
    Do {
        /// What makes its retry safe.
        stamp: Option<Stamp>,
        /// The command.
        op: Op,
    },
    /// More life for a lease.
    KeepAlive(LeaseId),
    /// A command of an eventual keyspace.
    Eventual(dwcp_eventual::Command),
    /// Commands of an eventual keyspace, as one.
    Together(Vec<dwcp_eventual::Command>),
    /// A question to a keyspace of documents.
    Documents(Box<dwcp_eventual::documents::ask::Question>),
    /// The changes of all keys with a prefix, from a revision on. Answered many times.
    Watch {
        /// First key.
        key: bytes::Bytes,
        /// The end of the range.
        range_end: bytes::Bytes,
        /// The first revision wanted.
        from: Revision,
        /// Whether to tell what was there before.
        prev_kv: bool,
    },
}

impl Ask {
    /// Whether it may be answered more than once.
    #[must_use]
    pub const fn is_stream(&self) -> bool {
        matches!(self, Self::Watch { .. })
    }
    /// Whether it can change anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Self::Do { .. } => true,
            Self::Eventual(command) => command.writes(),
            Self::Documents(question) => {
                use dwcp_eventual::documents::ask::Question;
                matches!(**question, Question::Write { .. } | Question::Answer { .. } | Question::Undo { .. })
            }
            Self::Together(commands) => commands.iter().any(dwcp_eventual::Command::writes),
            _ => false,
        }
    }
}

/// A good answer.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// To a range or a command.
    Said(Response),
    /// To a keep-alive: what is left, in seconds; nothing is left of a lease that is gone.
    Alive(i64),
    /// To a command of an eventual keyspace.
    Replied(dwcp_eventual::Reply),
    /// To commands that were asked as one, each; nothing to one that was refused and did nothing.
    Replies(Vec<Option<dwcp_eventual::Reply>>),
    /// To a watch: changes, complete up to a revision.
    Changes {
        /// In the order of their revisions.
        events: Vec<WatchEvent>,
        /// The store's revision when they were sent.
        revision: Revision,
    },
}

/// A bad one.
#[derive(Clone, PartialEq, Debug)]
pub enum Refusal {
    /// It certainly was not done here; another node may know better.
    NotDone {
        /// Where to ask instead, if known.
        hint: Option<NodeId>,
    },
    /// It may have been done, or may still be.
    Unknown,
    /// The store refused it.
    Op(OpError),
}
