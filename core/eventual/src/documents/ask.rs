//! What a keyspace of documents is asked and what it answers. Values travel in their canonical bytes (`docs/formats/audit.md`, "Values"); doors
//! turn them into JSON and back.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Who acts: as records and policies know them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// What they are here: what policies rank.
    pub role: String,
    /// Where they are.
    pub region: String,
}

/// A place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct At {
    /// The object's kind.
    pub kind: String,
    /// Its key.
    pub key: String,
    /// A JSON pointer.
    pub pointer: String,
}

/// What is to become of a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// It is to be this; what it holds besides goes.
    Put(Bytes),
    /// It was edited from a base, and is to be what that comes to beside what is there now.
    Merge {
        /// What the editor began with.
        base: Bytes,
        /// What they made of it.
        document: Bytes,
    },
    /// These fields are to be this; nothing deletes one.
    Patch(Vec<(String, Option<Bytes>)>),
    /// It is to be no more.
    Delete,
}

/// A person's answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Choice {
    /// What this write said.
    Side(u16, u64),
    /// What was there before.
    Base,
    /// What was suggested.
    Suggestion,
    /// What stands.
    Default,
    /// Something else; nothing deletes.
    Value(Option<Bytes>),
}

/// A question to a keyspace of documents.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Question {
    /// A document is written, field by field.
    Write {
        /// Its kind; its schema must be known.
        kind: String,
        /// Its key.
        key: String,
        /// By whom.
        by: Person,
        /// What.
        change: Change,
    },
    /// A document is read.
    Read {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
    },
    /// Keys of a kind, in order.
    List {
        /// Which kind.
        kind: String,
        /// After this key.
        after: Option<String>,
    },
    /// Places where writes stand beside each other, and what people are asked, in order.
    Conflicts {
        /// After this place.
        after: Option<At>,
    },
    /// What is on record of an object.
    Explain {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
        /// At this place only.
        pointer: Option<String>,
    },
    /// What is on record of a conflict, by the first digits of its name.
    Conflict(String),
    /// A person decides.
    Answer {
        /// Where.
        at: At,
        /// The conflict, by the first digits of its name: an answer to another question is none.
        conflict: String,
        /// What is to stand.
        choice: Choice,
        /// Who decides.
        by: Person,
    },
    /// What did not prevail is to stand again.
    Undo {
        /// The conflict, by the first digits of its name.
        conflict: String,
        /// Which write; nothing: the latest that did not prevail.
        which: Option<(u16, u64)>,
        /// Even over what was written there since.
        force: bool,
        /// Who wants it.
        by: Person,
    },
    /// What versions of a document come to; nothing is written.
    Merge {
        /// Its kind.
        kind: String,
        /// What all began with; nothing if there was no document.
        base: Option<Bytes>,
        /// What became of it.
        sides: Vec<Version>,
    },
    /// Schemas, policies, and how far the chains of the audit have come.
    Rules,
    /// What would have come out otherwise under this policy.
    DryRun(Bytes),
}

/// A version of a document.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Version {
    /// The role of who made it; empty if that is not known.
    pub role: String,
    /// What it holds; nothing if it was deleted.
    pub document: Option<Bytes>,
}

/// A place at which versions clash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Clash {
    /// Where: a JSON pointer.
    pub at: String,
    /// Its class.
    pub class: String,
    /// Why.
    pub why: String,
    /// What was there.
    pub base: Option<Bytes>,
    /// The sides that changed it, counted from 1, and what each made of it.
    pub sides: Vec<(u64, Option<Bytes>)>,
    /// What stands there in the merged document.
    pub stands: Option<Bytes>,
}

/// What versions came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Joined {
    /// The document; nothing if it is to be no more.
    pub document: Option<Bytes>,
    /// Where versions clash, the first of them.
    pub clashes: Vec<Clash>,
    /// How many clash.
    pub all: u64,
}

/// A write, as people are shown it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Side {
    /// Its name: replica and sequence.
    pub dot: (u16, u64),
    /// When it was meant, milliseconds since 1970.
    pub at_ms: u64,
    /// By whom.
    pub by: Person,
    /// What; nothing deletes.
    pub value: Option<Bytes>,
}

/// What was there before.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Before {
    /// This.
    Value(Bytes),
    /// Nothing.
    Nothing,
    /// It can't be told.
    Unknown,
}

/// A place where writes stand beside each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Open {
    /// Where.
    pub at: At,
    /// The conflict's name.
    pub conflict: String,
    /// Its class.
    pub class: String,
    /// What was there before.
    pub base: Before,
    /// What was written, the latest first.
    pub sides: Vec<Side>,
    /// What readers are shown meanwhile.
    pub shown: Option<Bytes>,
    /// What the policy makes of it: the rule's name and strategy.
    pub by: Option<(String, String)>,
    /// If a person is asked: what is suggested, and until when, milliseconds since 1970.
    pub asked: Option<(Option<Bytes>, Option<u64>)>,
    /// Why it is not settled.
    pub waits: String,
}

/// A write of a record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// The write. Its value is missing, too, where that is no longer kept: then `kept` says no.
    pub side: Side,
    /// Whether its value stands.
    pub prevails: bool,
    /// Whether its value is kept.
    pub kept: bool,
}

/// A resolution on record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resolution {
    /// The conflict's name.
    pub conflict: String,
    /// Where.
    pub at: At,
    /// When it was recorded, milliseconds since 1970.
    pub at_ms: u64,
    /// Its class.
    pub class: String,
    /// The policy's version, the rule counted from 0, its strategy.
    pub by: (u32, u16, String),
    /// Who decided, if a person did.
    pub person: Option<Person>,
    /// Why it came out so.
    pub why: String,
    /// What took part.
    pub inputs: Vec<Told>,
    /// What stands; nothing if that is a deletion.
    pub stands: Option<Bytes>,
    /// The write that made it so.
    pub output: Option<(u16, u64)>,
    /// Until when a person was asked.
    pub asked_until_ms: Option<u64>,
}

/// A policy or schema that is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// Its name; a schema's kind.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Of a policy: the second since 1970 from which on it counts.
    pub activates: Option<u64>,
    /// Of a policy: whether it counts now.
    pub active: bool,
    /// Its file's canonical bytes.
    pub file: Bytes,
}

/// A conflict that would have come out otherwise.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Otherwise {
    /// Where.
    pub at: At,
    /// The conflict's name.
    pub conflict: String,
    /// What stands, and by which strategy.
    pub stands: (Option<Bytes>, String),
    /// What would, and by which.
    pub would: (Option<Bytes>, String),
}

/// What a trial of a policy found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Trial {
    /// Conflicts that would have come out the same.
    pub same: u64,
    /// Those that would not; the first thousand.
    pub otherwise: Vec<Otherwise>,
    /// Those beyond.
    pub cut: u64,
    /// Records that can't be tried.
    pub unknown: u64,
    /// How often each rule would have been asked: its name, and that.
    pub by_rule: Vec<(String, u64)>,
}

/// What comes back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// So many fields were written.
    Written(u32),
    /// A document, and where in it writes stand beside each other.
    Document(Option<(Bytes, Vec<Open>)>),
    /// Keys, in order; if there are more, the last that was looked at: the next page is what comes after it. Not each key that was looked at has a document.
    Keys(Vec<String>, Option<String>),
    /// Open conflicts, in order; if there are more, the last place that was looked at.
    Conflicts(Vec<Open>, Option<At>),
    /// A story for people, and the records it is told from.
    Explained(String, Vec<Resolution>),
    /// Policies and schemas; what of them could not be read; the chains' heads: replica, records, check.
    Rules {
        /// Schemas, the newest of each kind.
        schemas: Vec<Rule>,
        /// Policies.
        policies: Vec<Rule>,
        /// What could not be read, and why.
        faults: Vec<String>,
        /// The audit's chains: replica, records, check in hexadecimal digits.
        chains: Vec<(u16, u64, String)>,
    },
    /// What a trial found.
    Trial(Trial),
    /// What a merge came to.
    Joined(Joined),
}
