//! Multi-Paxos as the rehearsal sees it.

use super::{Ballot, Config, Paxos, Record, Times};
use crate::quorum::{NodeSet, Phase, Quorums, RegionRule, System};
use crate::rehearsal::{Evidence, Held, Place, Subject};
use crate::step::Payload;
use alloc::vec::Vec;
use dwcp_env::Duration;

/// Which quorums.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Quorum {
    /// More than half.
    #[default]
    Majority,
    /// Three members with votes 2, 1, 1; a grid of four; five of which two decide and four elect; two
    /// regions of three, one of which decides; seven, two of them witnesses; three regions of three, two of which decide.
    Uneven,
}

/// Multi-Paxos with tight timeouts and small logs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rehearsed {
    /// Under these quorums.
    pub quorum: Quorum,
}

impl Rehearsed {
    fn system(self, members: usize) -> System {
        match (self.quorum, members) {
            (Quorum::Uneven, 3) => {
                System::Weighted { weights: [2, 1, 1].into(), prepare: 3, accept: 2, fast: 4 }
            }
            (Quorum::Uneven, 4) => System::Grid { rows: 2, columns: 2 },
            (Quorum::Uneven, 5) => System::flexible(5, 4, 2),
            (Quorum::Uneven, 6) => {
                System::Regional { regions: [0, 0, 0, 1, 1, 1].into(), rule: RegionRule::InRegion }
            }
            (Quorum::Uneven, 7) => {
                System::Witness { members: 7, witnesses: [5, 6].into_iter().fold(NodeSet::EMPTY, with) }
            }
            (Quorum::Uneven, 9) => {
                let regions = [0, 0, 0, 1, 1, 1, 2, 2, 2].into();
                System::Regional { regions, rule: RegionRule::MajorityOfMajorities }
            }
            _ => System::Majority { members: members as u8 },
        }
    }
}

fn with(mut set: NodeSet, place: usize) -> NodeSet {
    set.insert(place);
    set
}

/// Bytes of a log that is soon full: some two hundred short commands, some ten long ones.
const TIGHT: usize = 12_000;
/// An election timeout in round trips.
const ELECTION: u64 = 4;

/// A ballot as one number.
const fn number(ballot: Ballot) -> u64 {
    ballot.round * 128 + ballot.node.0
}

impl Subject for Rehearsed {
    type P = Paxos;

    fn name(&self) -> &'static str {
        match self.quorum {
            Quorum::Majority => "paxos",
            Quorum::Uneven => "paxos-uneven",
        }
    }
    fn sizes(&self) -> &'static [usize] {
        match self.quorum {
            Quorum::Majority => &[3, 3, 3, 5, 5, 1, 2, 4, 7],
            Quorum::Uneven => &[3, 4, 5, 6, 7, 9],
        }
    }
    fn bears_gone(&self, members: usize) -> usize {
        match self.quorum {
            Quorum::Majority => (members - 1) / 2,
            Quorum::Uneven => 0,
        }
    }
    fn enough(&self, members: usize, disks: NodeSet) -> bool {
        self.system(members).is_quorum(Phase::Accept, disks)
    }
    fn config(&self, place: &Place<'_>) -> Config {
        let times = Times {
            heartbeat: place.round_trip,
            election: place.round_trip * ELECTION,
            retry: place.round_trip * 2,
            announce: place.round_trip / 4,
        };
        let system = self.system(place.members.len());
        let config = Config::new(place.me, place.members.to_vec(), system, place.seed, times);
        // Small, so that hard paths are taken: proposals wait for the window, promises and lessons come in
        // pieces, those a little late are taught and those later are brought checkpoints.
        let config = config.expect("the world's members are in order");
        let config = config.keep_slots(16).window_batches(8).piece_slots(if place.fine { 3 } else { 16 });
        if place.tight { config.log_bytes_max(TIGHT).keep_slots(0) } else { config }
    }
    /// A patience of two election timeouts, a canvass and a takeover; once more if two stood at a time.
    fn timeout(&self, round_trip: Duration) -> Duration {
        round_trip * ELECTION * 4
    }
    fn lives_through_partial_cuts(&self) -> bool {
        self.quorum == Quorum::Majority
    }
    fn holds(&self, disk: Evidence<'_, Record>, index: u64, payload: &Payload) -> Option<bool> {
        let held = disk.records.iter().rev().find_map(|record| match record {
            Record::Accepted { run, .. } => run.within(index..=index),
            Record::Chosen(runs) => runs.iter().find_map(|r| r.within(index..=index)),
            Record::Promised(_) | Record::Base(_) => None,
        });
        Some(held.is_some_and(|run| run.at(index) == payload))
    }
    fn accepted_in(&self, disk: Evidence<'_, Record>, index: u64, payload: &Payload) -> Option<Vec<u64>> {
        let mut all = Vec::new();
        for record in disk.records {
            match record {
                Record::Accepted { run, .. } => {
                    let run = run.within(index..=index).filter(|run| run.at(index) == payload);
                    all.extend(run.map(|run| number(run.ballot)));
                }
                // Known to be decided; or what it was accepted in first is no longer told.
                Record::Chosen(runs) if runs.iter().any(|r| r.within(index..=index).is_some()) => {
                    return None;
                }
                Record::Base(_) => return None,
                Record::Chosen(_) | Record::Promised(_) => {}
            }
        }
        Some(all)
    }
    fn log_at<'a>(&self, state: &'a Paxos, index: u64) -> Held<'a> {
        if index <= state.base {
            return Held::Untold;
        }
        state.log.get(index).map_or(Held::Nothing, |(_, payload)| Held::Value(payload))
    }
    fn accepted(&self, record: &Record, each: &mut dyn FnMut(u64, u64, &Payload)) {
        if let Record::Accepted { run, .. } = record {
            let ballot = number(run.ballot);
            run.batch.payloads().iter().zip(run.first..).for_each(|(p, slot)| each(slot, ballot, p));
        }
    }
    fn refuses_when_sealed(&self) -> bool {
        true
    }
    /// Four elections' worth of patience is a timeout; the paper's bound is four election timeouts for what it recovers.
    fn silent_within(&self) -> u64 {
        4
    }
    fn serves_within(&self) -> u64 {
        2
    }
}
