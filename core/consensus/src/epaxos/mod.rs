//! EPaxos: every replica proposes; only commands that interfere are ordered.
//!
//! **Promise.** Commands that interfere are executed in the same order on every replica, each as decided by a
//! quorum's disks; any minority may crash, forget what it had not synced, and come back. A command that meets
//! no other is decided in one round trip to the nearest fast quorum, whoever proposes it.
//!
//! **Which EPaxos.** The commit and recovery protocol is **EPaxos\*** (Ryabinin, Gotsman, Sutra: *Making
//! Democracy Work*, OPODIS 2025, arXiv 2511.02743, figures 3 and 5), not that of Moraru et al. (SOSP 2013):
//! its recovery is short, is proved, and was checked by others with TLC; of the old one it is known that one
//! ballot an instance is unsafe (Sutra, arXiv 1906.10917) and that its `TryPreAccept` can deadlock and needs to
//! know who was in a fast quorum. Where we differ from the paper, and why it still holds:
//! - *Crashes forget.* The paper's processes stop for ever. Ours come back with their disk, so every variable
//!   of the paper is on disk before a message leaves that shows it. This costs two syncs the paper has not:
//!   a replica's own record of its command before `PreAccept` (else its number could be given twice, and a
//!   command it answered for could be missing from a later answer), and a **fast decision before it is told or
//!   executed**: the decision exists nowhere else, and recovery takes the word of a command's own replica that
//!   there was none. Slow decisions are in a quorum's votes and are not waited for.
//! - *Ballot 0 goes on* after a restart: the record has what was proposed, and answers are given again.
//! - *No sequence numbers.* The paper drops them: they order commands that were answered before they were
//!   executed. Here an answer is an execution, so a command proposed after it depends on it outright, and a
//!   cycle is broken by (number, replica). The condition of the fast path is on dependencies alone.
//! - *Sets of instances are prefixes*: [`Deps`] holds one number a replica and means all up to it. A set too
//!   large is as safe: it waits for more. Only members that interfere order execution. What comes later from
//!   the same replica is never added: it depends on us already.
//! - *A decision is believed in any ballot.* All decisions of an instance are equal.
//!
//! **The round of a command** (n replicas, F = ⌊(n-1)/2⌋; slow quorum n - F; fast quorum n - E, 3→2, 5→3, 7→5).
//!
//! | message | says | on disk before |
//! |---|---|---|
//! | `PreAccept` | my command, what it depends on as I know | the same |
//! | `PreAcceptOk` | these, and what I know beside | the same |
//! | — | n - E agree with the proposed set: decided. Else their union is voted on | decision; vote |
//! | `Accept`/`AcceptOk` | a vote in a ballot; n - F decide | the vote |
//! | `Commit` | decided | the decision, if fast |
//! | `Prepare`/`PrepareOk` | promise a ballot, tell the vote, its ballot, the set first proposed | the promise |
//! | `Validate`/`ValidateOk` | would it contradict what you know? what you learn from now depends on it | the command and its set |
//! | `Waiting` | a recovery that waits for others; `Nack`: a higher ballot is promised | — |
//! | `Beat`, `Fetch` | what is decided here; send me what I lack | — |
//! | `ReadAsk`/`ReadOk` | the highest numbers heard of | — |
//!
//! **Recovery** of an instance (`recovery.rs`), with n - F promises: a decision is taken; else the vote of the
//! highest ballot *voted in*; else, if the command's own replica answers, nothing (it now can't decide fast);
//! else, if fewer than |Q| - E answered with the very set proposed, nothing; else the quorum validates: a
//! decided interfering command that neither depends on it nor it on that refutes it; an undecided one blocks
//! it, until it is decided, or enough is known of it to exclude a fast decision of ours. A command whose instance
//! is decided as nothing is proposed again by its replica under a new number.
//!
//! **Reads** (`reads.rs`) are not commands. A majority says which numbers it has heard of; once all of these are
//! executed here, local state shows every command that was decided, hence answered, before the question: any
//! decision, fast or slow, has a member of any majority among its voters. Two reads in sequence can't go back,
//! because what the first saw was decided before the second asked.
//!
//! **Invariants.**
//! 1. An instance is decided as one (value, dependencies).
//! 2. Of two interfering decided commands one is in the other's dependencies.
//! 3. A command is executed behind all it depends on, or in one cycle with them in the order of (number, replica).
//! 4. A replica's numbers are given once, also across crashes.
//! 5. `deps` of an instance never holds the instance nor later ones of its replica.
//!
//! **Endless chains.** A cycle may grow as long as commands keep arriving, and then nothing of it is executed.
//! A bucket with `chain_max` commands not yet executed takes no new ones here; they wait (bounded, with a
//! deadline) until it drains. Every replica hears of the chain, so a chain is bounded by n · `chain_max`.
//!
//! **Checkpoints and forgetting** (`marker.rs`). Replicas execute commuting commands in different orders, so
//! checkpoints are not comparable, and two replicas could each forget what the other lacks. Markers, commands that
//! interfere with everything, put an order into that; only what lies before one is forgotten.
//!
//! **Blank and seal.** A proposed [`crate::step::Payload::Blank`] is a marker and interferes with everything, as a seal
//! does. A *decision* for nothing interferes with nothing.
//!
//! **Recovering only with a quorum near.** A replica that does not hear a quorum begins no ballots and no
//! commands: in a star of links each ray would undo the promises that the hub collects, for ever.
//!
//! **Limits.** 15 replicas; 65,536 numbers of each replica past what is executed here ([`WINDOW`]), 1,024 more by one message; 4,096 own in
//! flight; 8,192 waiting; payloads to 4 MiB. Interference is by bucket: with 16,384 buckets and 80 commands in
//! flight, one in 200 meets a stranger. Memory for dependencies: buckets × replicas × 16 bytes.
//!
//! **Rejected.** *Reads as commands*: they would interfere with every write. *Forgetting dependencies behind a
//! floor all replicas passed*: a dead replica stops the floor, and a recovery older than the floor can't be
//! validated; buckets bound the memory without it. *Waiting for a larger fast quorum after a disagreement*:
//! one slow round is shorter than the farthest replica. *Dependencies as lists*: unbounded.
//!
//! **Atlas' rule** (`atlas.rs`) is an option of the group: with [`crate::quorum::System::atlas`] a command that meets others is decided
//! fast too where enough members report what it meets; recovery then needs no validation, and waits where too many are gone.
//!
//! **Not yet.** Quorum systems other than majorities. One sync more than the paper on the fast path. Beside fantoch's EPaxos
//! (`tests/golden/wide_area.txt`): as fast at five sites, slower at three once commands conflict. Swept with some
//! thousand seeds, not 100,000; the exploration with recoveries is not exhausted.
//!
//! Read: `message`, `commit`, `recovery`, `atlas`, `execution`, then the rest.

mod atlas;
mod catchup;
mod commit;
mod config;
mod executed;
mod execution;
mod instance;
mod interference;
mod marker;
mod message;
#[cfg_attr(not(feature = "planted-bugs"), allow(dead_code))]
pub mod planted;
mod protocol;
mod reads;
mod recovery;
#[cfg(feature = "rehearsal")]
mod subject;
#[cfg(test)]
mod tests;

pub use config::{Access, Config, ConfigError, Footprint, GROUP_MAX, KEYS_MAX, Settings, admits};
pub use instance::WINDOW;
pub use message::{
    BLOCKERS_MAX, Deps, FETCH_MAX, InstanceId, Message, NUMBER_MAX, PAYLOAD_MAX, Phase, Record, Value, Vote,
};
pub use protocol::{Counts, Epaxos};
#[cfg(feature = "rehearsal")]
pub use subject::{Rehearsed, footprint};
