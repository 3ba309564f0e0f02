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
    /// What is there now is to be kept under a name.
    Checkpoint {
        /// The name.
        name: String,
        /// Of these kinds; none: all that have a schema.
        kinds: Vec<String>,
        /// For so many days.
        days: u32,
        /// Who wants it.
        by: Person,
    },
    /// Which checkpoints there are, and who went back to one.
    Checkpoints,
    /// A checkpoint is to be no more.
    Forget {
        /// Its name, or name, `@` and id.
        name: String,
    },
    /// Documents are to be as they were.
    Rollback {
        /// The checkpoint's name, or name, `@` and id.
        name: String,
        /// Which of them.
        which: Which,
        /// Nothing is written; it is told what would be.
        dry: bool,
        /// After this document: what the answer before said is next, and the rollback that it named.
        after: Option<(Name, (u16, u64))>,
        /// Who wants it.
        by: Person,
    },
    /// Whether the chains of the audit are what was written, and promised.
    Verify,
    /// Schemas, policies, and how far the chains of the audit have come.
    Rules,
    /// What would have come out otherwise under this policy.
    DryRun(Bytes),
}

/// A document by kind and key.
pub type Name = (String, String);

/// Which documents go back.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Which {
    /// Of these kinds; none: of all that the checkpoint is about.
    pub kinds: Vec<String>,
    /// With these keys; none: all.
    pub keys: Vec<String>,
    /// Those made since are deleted.
    pub created: bool,
}

/// A checkpoint.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// Its name.
    pub name: String,
    /// Its id: two of one name may have been taken on two sides of a cut.
    pub id: (u16, u64),
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// Until when it is kept.
    pub until_ms: u64,
    /// By whom.
    pub by: Person,
    /// The version of the policy in force then.
    pub policy: Option<u32>,
    /// Places at which writes stood beside each other: what was shown there counts.
    pub open: u64,
    /// Kinds, the versions of their schemas, and how many documents there were.
    pub kinds: Vec<(String, u32, u64)>,
    /// Bytes that it takes.
    pub bytes: u64,
}

/// Somebody's way back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rolled {
    /// Its id.
    pub id: (u16, u64),
    /// The checkpoint.
    pub name: String,
    /// Its id.
    pub of: (u16, u64),
    /// Which documents.
    pub which: Which,
    /// By whom.
    pub by: Person,
    /// When it began, milliseconds since 1970.
    pub begun_ms: u64,
    /// When it wrote last.
    pub at_ms: u64,
    /// Documents that it wrote, and fields of them.
    pub wrote: (u64, u64),
    /// Whether it has come to its end. What has not was broken off, or is under way.
    pub done: bool,
}

/// What a part of a way back wrote, or would write.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Back {
    /// Places, what is shown there, and what is to be; the first of them.
    pub writes: Vec<(At, Option<Bytes>, Option<Bytes>)>,
    /// Fields, and documents that they are of.
    pub wrote: (u64, u64),
    /// Documents that were made since and stay; the first of them.
    pub since: Vec<Name>,
    /// How many those are.
    pub all_since: u64,
    /// The rollback's id, if it has written.
    pub id: Option<(u16, u64)>,
    /// More comes after this document.
    pub next: Option<Name>,
}

/// What a chain of the audit is beside what was promised of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// Whose: a place of the roster.
    pub replica: u16,
    /// The node there.
    pub node: Option<u64>,
    /// Records that lie here, in order.
    pub records: u64,
    /// How many were promised last, and when, milliseconds since 1970.
    pub promised: Option<(u64, u64)>,
    /// Promised records of another node that have not come.
    pub missing: u64,
    /// The first record that is not right, or may not be, and why.
    pub fault: Option<(u64, String)>,
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
    /// The checkpoint to which they went back, if they did.
    pub back_to: Option<String>,
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
    /// A checkpoint was taken.
    Taken(Taken),
    /// Checkpoints, and who went back to one: the latest first.
    Checkpoints(Vec<Taken>, Vec<Rolled>),
    /// A part of the way back.
    Back(Back),
    /// Chain by chain, in order of places.
    Verified(Vec<Verdict>),
}
