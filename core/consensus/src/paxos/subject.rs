//! Multi-Paxos as the rehearsal sees it.

use super::{Config, Paxos, Record, Times};
use crate::quorum::System;
use crate::rehearsal::{Evidence, Place, Subject};
use crate::step::Payload;
use dwcp_env::Duration;

/// Multi-Paxos with majorities, tight timeouts and small logs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rehearsed;

/// An election timeout in round trips.
const ELECTION: u64 = 4;

impl Subject for Rehearsed {
    type P = Paxos;

    fn name(&self) -> &'static str {
        "paxos"
    }
    fn config(&self, place: &Place<'_>) -> Config {
        let times = Times {
            heartbeat: place.round_trip,
            election: place.round_trip * ELECTION,
            retry: place.round_trip * 2,
            announce: place.round_trip / 4,
        };
        let system = System::Majority { members: place.members.len() as u8 };
        let config = Config::new(place.me, place.members.to_vec(), system, place.seed, times);
        // Small, so that hard paths are taken: proposals wait for the window, promises and lessons come in
        // pieces, those a little late are taught and those later are brought checkpoints.
        config.expect("the world's members are in order").keep_slots(16).window_batches(8).piece_slots(16)
    }
    /// A patience of two election timeouts, a canvass and a takeover; once more if two stood at a time.
    fn timeout(&self, round_trip: Duration) -> Duration {
        round_trip * ELECTION * 4
    }
    fn lives_through_partial_cuts(&self) -> bool {
        true
    }
    fn holds(&self, disk: Evidence<'_, Record>, index: u64, payload: &Payload) -> Option<bool> {
        let held = disk.records.iter().rev().find_map(|record| match record {
            Record::Accepted { run, .. } => run.within(index..=index),
            Record::Chosen(runs) => runs.iter().find_map(|r| r.within(index..=index)),
            Record::Promised(_) | Record::Base(_) => None,
        });
        Some(held.is_some_and(|run| run.at(index) == payload))
    }
    fn counts(&self, state: &Paxos, each: &mut dyn FnMut(&'static str, u64)) {
        state.counts().all().into_iter().for_each(|(name, n)| each(name, n));
    }
}
