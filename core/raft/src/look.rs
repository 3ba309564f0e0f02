//! What a node's repair reads of a group from outside: entries for peers, members of a stored record.

use crate::group::RaftGroup;
use crate::types::{EngineRecord, kind, membership, payload_bytes, position};
use bytes::Bytes;
use dwcp_consensus::{Members, StateMachine};
use dwcp_wal::LogEntry;
use openraft::EntryPayload;
use openraft::async_runtime::watch::WatchReceiver as _;

/// The members in an engine record, as the state machine keeps it; `None` if it knows none yet.
#[must_use]
pub fn members_of(record: &Bytes) -> Option<Members> {
    let members = EngineRecord::decode(record).ok()?.into_members();
    (!members.nodes.is_empty()).then_some(members)
}

/// The record of the next epoch in an engine record, once the group's seal is applied.
#[must_use]
pub fn seal_of(record: &Bytes) -> Option<Bytes> {
    EngineRecord::decode(record).ok()?.sealed
}

/// An engine record with a group's seal applied, and nothing else: what [`seal_of`] reads.
#[must_use]
pub fn sealed_record(next: &Bytes) -> Bytes {
    let mut record = EngineRecord::default();
    record.sealed = Some(next.clone());
    record.encode()
}

/// The entry that a group of these voters begins with, the same for all of them (openraft's `initialize` writes it where it is
/// asked for); `None` if a voter is no node.
#[must_use]
pub fn founding(members: &Members) -> Option<LogEntry> {
    let payload = EntryPayload::Membership(membership(members)?);
    Some(LogEntry { index: 1, term: 0, payload: payload_bytes(&payload) })
}

/// A command as an entry's payload: the opposite of [`command_of`].
#[must_use]
pub fn payload_of(command: &[u8]) -> Bytes {
    crate::types::Command::new(kind::COMMAND, command).0
}

/// The command in an entry's payload, if it carries one.
#[must_use]
pub fn command_of(payload: &Bytes) -> Option<Bytes> {
    (payload.first() == Some(&kind::COMMAND)).then(|| payload.slice(1..))
}

impl<SM: StateMachine> RaftGroup<SM> {
    /// Term and payload of an entry, if the log still holds it here.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<(u64, Bytes)> {
        let entry = self.0.log.entry(index)?;
        Some((position(Some(&entry.log_id)).term, payload_bytes(&entry.payload)))
    }

    /// Where in the log the members it goes by were written: changes when they do.
    #[must_use]
    pub fn members_at(&self) -> u64 {
        position(self.0.metrics.borrow_watched().membership_config.log_id().as_ref()).index
    }

    /// Why the engine can't go on, if so.
    #[must_use]
    pub fn fatal(&self) -> Option<String> {
        self.0.metrics.borrow_watched().running_state.as_ref().err().map(ToString::to_string)
    }
}
