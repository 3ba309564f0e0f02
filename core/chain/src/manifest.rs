//! Which part of the node's log belongs to which epoch of a group.
//!
//! **Model.** Each epoch writes to a log group of its own, a *slot*: the first epoch to the one with the group's number,
//! later ones to numbers that are given out once on a node and never again. The manifest of a group is a record of
//! the log itself, in a log group beside, as a *vote*: the latest counts, and it is kept twice. It is appended before
//! the first record of a slot, so whatever a slot holds its manifest is there.

use crate::spec::Spec;
use bytes::Bytes;
use dwcp_env::{GroupId, wire};
use dwcp_raft::SharedWal;
use dwcp_wal::{GroupLog, Record, Recovered};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Slots have numbers from here on; groups and manifests below.
pub(crate) const SLOTS: u32 = 1 << 31;
/// A group's manifest is this far from the group.
const MANIFESTS: u32 = 1 << 30;

/// A slot of an epoch.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Slot {
    pub(crate) epoch: u32,
    /// The epoch's id: an epoch that lost its race has another.
    pub(crate) id: u64,
    pub(crate) slot: u32,
    /// This node lost what it promised in that epoch, and takes no part in it.
    pub(crate) silent: bool,
}

/// The slots of a group's epochs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub(crate) slots: Vec<Slot>,
    /// The first number this group has not taken yet.
    pub(crate) next: u32,
    /// Epochs below this have ended here: their promises are gone, and are not made again.
    pub(crate) floor: u32,
    /// Records were lost that nothing names: of the epochs up to the one named, if it is known yet, this node may have
    /// forgotten what it promised.
    pub(crate) doubt: Option<Option<u32>>,
}

impl Manifest {
    /// Whether promises of an epoch may be forgotten.
    pub(crate) fn doubts(&self, epoch: u32) -> bool {
        self.doubt.is_some_and(|known| known.is_none_or(|through| epoch <= through))
    }
    /// The slot of an epoch, if it has one.
    pub(crate) fn slot(&self, group: GroupId, spec: &Spec) -> Option<GroupId> {
        if spec.epoch == 0 {
            return Some(group);
        }
        let id = spec.id();
        self.slots.iter().find(|s| s.epoch == spec.epoch && s.id == id).map(|s| GroupId(s.slot))
    }
    pub(crate) fn write(&self, group: GroupId, wal: &SharedWal) {
        let bytes = Bytes::from(wire::encode(self));
        wal.lock().append(home(group), Record::Vote(bytes));
    }
}

/// The log group of a group's manifest.
pub(crate) fn home(group: GroupId) -> GroupId {
    GroupId(group.0 | MANIFESTS)
}

/// What the node's log holds of one group.
#[derive(Debug, Default)]
pub struct Found {
    pub(crate) manifest: Manifest,
    pub(crate) logs: BTreeMap<GroupId, GroupLog>,
    /// The manifest is lost: what was promised in later epochs is not known.
    pub(crate) manifest_lost: bool,
    /// Records were lost that nothing names: the manifest's may have been among them.
    pub(crate) doubtful: bool,
    /// The state is as it was left: not one that came back empty because its file was damaged.
    pub(crate) state_whole: bool,
}

impl Found {
    /// Takes what belongs to a group.
    #[must_use]
    pub fn take(recovered: &mut Recovered, group: GroupId, state_whole: bool) -> Self {
        let doubtful = recovered.suspect(home(group));
        let told = recovered.groups.remove(&home(group)).unwrap_or_default();
        let manifest = told.vote.as_deref().map(wire::decode::<Manifest>);
        let manifest_lost = told.vote_lost || manifest.as_ref().is_some_and(Result::is_err);
        let manifest = manifest.and_then(Result::ok).unwrap_or_default();
        let numbers = manifest.slots.iter().map(|s| GroupId(s.slot)).chain([group]);
        // A slot that the manifest names and the log does not know may have been lost whole.
        let lost = |slot: GroupId| {
            let lost = slot != group && recovered.suspect(slot);
            lost.then(|| GroupLog { suspect: true, vote_lost: true, ..GroupLog::default() })
        };
        let known: Vec<GroupId> = numbers.collect();
        let mut logs: BTreeMap<_, _> = known
            .iter()
            .filter(|slot| !recovered.groups.contains_key(slot))
            .filter_map(|slot| lost(*slot).map(|log| (*slot, log)))
            .collect();
        logs.extend(known.iter().filter_map(|slot| recovered.groups.remove(slot).map(|log| (*slot, log))));
        Self { manifest, logs, manifest_lost, doubtful, state_whole }
    }
    /// Of a group that has written nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { state_whole: true, ..Self::default() }
    }
    /// Of a group that was let go.
    pub(crate) fn left(manifest: Manifest) -> Self {
        Self { manifest, ..Self::nothing() }
    }
    /// The slot of an epoch, if it has one.
    #[must_use]
    pub fn slot(&self, group: GroupId, spec: &Spec) -> Option<GroupId> {
        self.manifest.slot(group, spec)
    }
    /// The state has been made good.
    pub const fn state_is_whole(&mut self) {
        self.state_whole = true;
    }
    /// Whether the log knows nothing of the group.
    pub(crate) fn is_blank(&self) -> bool {
        self.logs.values().all(|log| *log == GroupLog::default())
    }
    /// Whether the group has left its first epoch, as far as the log tells.
    #[must_use]
    pub const fn has_later_epochs(&self) -> bool {
        !self.manifest.slots.is_empty() || self.manifest.floor > 0
    }
    /// Whether the first epoch's log is there from its beginning, so that the state can be made anew from it and those behind:
    /// nothing was checkpointed before the node went down, or nothing that any log was shortened by.
    #[must_use]
    pub fn replays(&self, group: GroupId) -> bool {
        let whole = |log: &GroupLog| log.purged.is_none() && *log != GroupLog::default();
        self.manifest.floor == 0 && self.logs.get(&group).is_some_and(whole)
    }
    /// Takes the log of a slot out, to be repaired.
    pub fn log_mut(&mut self, slot: GroupId) -> &mut GroupLog {
        self.logs.entry(slot).or_default()
    }
    /// Ends the logs of epochs that a durable checkpoint has left behind.
    pub(crate) fn end_before(&mut self, group: GroupId, epoch: u32, wal: &SharedWal) {
        if epoch == 0 {
            return;
        }
        let (over, stay): (Vec<Slot>, Vec<Slot>) =
            std::mem::take(&mut self.manifest.slots).into_iter().partition(|s| s.epoch < epoch);
        let floor = self.manifest.floor.max(epoch);
        let changed = !over.is_empty() || floor != self.manifest.floor;
        (self.manifest.slots, self.manifest.floor) = (stay, floor);
        if changed {
            // First: what has ended is never to be taken for an epoch that this node has not been in.
            self.manifest.write(group, wal);
        }
        for slot in over.into_iter().map(|s| GroupId(s.slot)).chain([group]) {
            if self.logs.remove(&slot).is_some() {
                wal.lock().end(slot);
            }
        }
    }
    /// Whether what this node promised in some epoch may be lost without a trace.
    #[must_use]
    pub const fn is_amnesiac(&self) -> bool {
        self.manifest_lost
    }
}

/// The first slot number that no group of this node has taken, whichever of them is added when.
#[must_use]
pub(crate) fn next_slot(recovered: &Recovered) -> u32 {
    let taken = |(id, log): (&GroupId, &GroupLog)| match id.0 {
        slot if slot >= SLOTS => slot.saturating_add(1),
        home if home >= MANIFESTS => {
            let told = log.vote.as_deref().map(wire::decode::<Manifest>);
            told.and_then(Result::ok).map_or(SLOTS, |m| m.next)
        }
        _ => SLOTS,
    };
    recovered.groups.iter().map(taken).max().unwrap_or(SLOTS).max(SLOTS)
}

/// Ends the logs of slots that no manifest names: epochs that ended while the end was not yet durable.
pub fn end_unknown_slots(recovered: &Recovered, wal: &SharedWal) {
    for slot in recovered.groups.keys().filter(|g| g.0 >= SLOTS) {
        wal.lock().end(*slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_the_slot_of_its_content() {
        let group = GroupId(3);
        let spec = |epoch, n: u64| Spec { epoch, first: Some(dwcp_env::NodeId(n)), ..Spec::default() };
        let manifest = Manifest {
            slots: vec![Slot { epoch: 1, id: spec(1, 1).id(), slot: 7, silent: false }],
            next: 8,
            ..Manifest::default()
        };
        let doubting = |doubt| Manifest { doubt, ..Manifest::default() };
        assert!(!doubting(None).doubts(0) && doubting(Some(None)).doubts(9), "nothing, or nobody knows what");
        assert!(doubting(Some(Some(3))).doubts(3) && !doubting(Some(Some(3))).doubts(4));
        assert_eq!(manifest.slot(group, &spec(0, 9)), Some(group));
        assert_eq!(manifest.slot(group, &spec(1, 1)), Some(GroupId(7)));
        assert_eq!(manifest.slot(group, &spec(1, 2)), None, "one that lost its race");
        assert_eq!(manifest.slot(group, &spec(2, 1)), None);
    }

    #[test]
    fn a_groups_logs_are_found_by_its_manifest_and_others_are_ended() {
        let group = GroupId(3);
        let manifest = Manifest {
            slots: vec![Slot { epoch: 1, id: 5, slot: SLOTS, silent: false }],
            next: SLOTS + 1,
            ..Manifest::default()
        };
        let log = |vote: Option<Vec<u8>>| GroupLog { vote: vote.map(Bytes::from), ..GroupLog::default() };
        let mut recovered = Recovered::default();
        recovered.groups.insert(group, log(None));
        recovered.groups.insert(GroupId(4), log(None));
        recovered.groups.insert(home(group), log(Some(wire::encode(&manifest))));
        recovered.groups.insert(GroupId(SLOTS), log(None));
        recovered.groups.insert(GroupId(SLOTS + 1), log(None));
        assert_eq!(next_slot(&recovered), SLOTS + 2, "whoever is added first gets none that another has");
        assert_eq!(next_slot(&Recovered::default()), SLOTS);
        let found = Found::take(&mut recovered, group, true);
        assert_eq!(found.logs.keys().copied().collect::<Vec<_>>(), [group, GroupId(SLOTS)]);
        assert!(!found.is_amnesiac());
        assert_eq!(recovered.groups.keys().copied().collect::<Vec<_>>(), [GroupId(4), GroupId(SLOTS + 1)]);
        let wal = crate::tests::wal();
        let before = wal.lock().last();
        end_unknown_slots(&recovered, &wal);
        assert_eq!(wal.lock().last().0, before.0 + 1, "one slot is nobody's");
        let manifest =
            Manifest { slots: vec![Slot { epoch: 1, id: 5, slot: SLOTS, silent: false }], ..manifest };
        let mut holed = Recovered { unknown_lost: true, ..Recovered::default() };
        holed.groups.insert(home(group), log(Some(wire::encode(&manifest))));
        let found = Found::take(&mut holed, group, true);
        assert!(found.logs[&GroupId(SLOTS)].vote_lost, "a named slot that is lost whole is not an empty one");
        recovered.groups.insert(home(group), GroupLog { vote_lost: true, ..GroupLog::default() });
        assert!(Found::take(&mut recovered, group, true).is_amnesiac());
    }
}
