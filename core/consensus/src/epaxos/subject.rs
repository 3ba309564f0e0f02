//! EPaxos as the rehearsal sees it.

use super::message::{Message, Phase};
use super::{Access, Config, Epaxos, Footprint, Record, Settings};
use crate::quorum::System;
use crate::rehearsal::{Evidence, Order, Place, Settled, Subject, command};
use crate::step::{Output, Payload};
use alloc::vec;
use bytes::Bytes;
use dwcp_env::Duration;

/// EPaxos with bounds small enough that a run meets all of them.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsed {
    /// Buckets of keys: fewer than the rehearsal's keys, so that strangers meet.
    pub buckets: u32,
    /// As in [`Settings`].
    pub chain_max: usize,
    /// As in [`Settings`].
    pub retain: usize,
    /// As in [`Settings`].
    pub marker_every: u64,
    /// Groups of seven, whose fast quorums are larger than slow ones; else of three and five.
    pub seven: bool,
    /// Atlas' rule, and how many members may be gone under it: in groups of three and five, or of five and seven.
    pub atlas: Option<u8>,
    /// As a store runs it: every command meets every other one, and all are executed in one order.
    pub store: bool,
}

impl Default for Rehearsed {
    fn default() -> Self {
        Self {
            buckets: 6,
            chain_max: 24,
            retain: 8,
            marker_every: 60,
            seven: false,
            atlas: None,
            store: false,
        }
    }
}

/// A command of the rehearsal writes its key.
#[must_use]
pub fn footprint(command: &[u8]) -> Footprint {
    Footprint::Keys(vec![(u64::from(command::key(&Bytes::copy_from_slice(command))), Access::Write)])
}

impl Subject for Rehearsed {
    type P = Epaxos;

    fn name(&self) -> &'static str {
        match (self.atlas, self.seven, self.store) {
            (Some(0 | 1), ..) => "epaxos-atlas",
            (Some(_), ..) => "epaxos-atlas-2",
            (None, true, _) => "epaxos-7",
            (None, false, true) => "epaxos-store",
            (None, false, false) => "epaxos",
        }
    }
    fn config(&self, place: &Place<'_>) -> Config {
        let settings = Settings {
            me: place.me,
            members: place.members.to_vec(),
            quorums: match (place.members.len() as u8, self.atlas) {
                (members, None) => System::Majority { members },
                (members, Some(bears)) => System::atlas(members, bears),
            },
            footprint: if self.store { |_| Footprint::All } else { footprint },
            buckets: if self.store { 1 } else { self.buckets },
            resend: place.round_trip * 2,
            recover_after: place.round_trip * 5,
            beat: place.round_trip * 2,
            give_up_after: place.round_trip * 200,
            chain_max: self.chain_max,
            retain: self.retain,
            marker_every: self.marker_every,
            seed: place.seed,
        };
        settings.check().expect("the rehearsal's settings are admitted")
    }
    fn timeout(&self, round_trip: Duration) -> Duration {
        round_trip * 15
    }
    fn sizes(&self) -> &'static [usize] {
        match self.atlas {
            Some(2..) => &[5, 5, 7],
            _ if self.seven => &[7],
            _ => &[3, 3, 5],
        }
    }
    fn bears_gone(&self, members: usize) -> usize {
        self.atlas.map_or((members - 1) / 2, usize::from)
    }
    fn order(&self) -> Order {
        // Also of a store: its index counts commands, and replicas have their blanks at different places.
        Order::ByKey
    }
    fn key(&self, command: &Bytes) -> u16 {
        if self.store { 0 } else { command::key(command) }
    }
    fn leaderless(&self) -> bool {
        true
    }
    fn lives_through_partial_cuts(&self) -> bool {
        // In a line of seven nobody reaches a quorum.
        !self.seven
    }
    fn holds(&self, disk: Evidence<'_, Record>, _index: u64, payload: &Payload) -> Option<bool> {
        Some(disk.records.iter().rev().any(|record| match record {
            Record::Vote { vote, .. } => vote.command.as_ref() == Some(payload),
            Record::Promise { .. } | Record::Decided { .. } => false,
        }))
    }
    fn settled<'a>(&self, state: &'a Epaxos, output: &Output<Message, Record>) -> Option<Settled<'a>> {
        let id = match output {
            Output::Persist { record: Record::Decided { id, .. }, .. }
            | Output::Send { message: Message::Commit { id, .. }, .. } => *id,
            Output::Persist { record: Record::Vote { id, vote }, .. } if vote.phase == Phase::Committed => {
                *id
            }
            _ => return None,
        };
        // A fast decision on its way to disk is not announced yet.
        let instance = state.instances.get(&id).filter(|i| i.announced)?;
        let vote = &instance.vote;
        let payload = vote.command.as_ref().filter(|_| !vote.noop);
        Some(Settled { instance: (id.replica, id.number), payload, deps: &vote.deps.0 })
    }
}
