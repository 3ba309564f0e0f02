//! What members tell each other, and what is checked before it is believed.
//!
//! | message | from → to | must be on disk first | means |
//! |---|---|---|---|
//! | `Canvass` | who misses a leader → all | – | do you hear a quorum-connected leader? |
//! | `Opinion` | back | – | that leader, or none; what I have |
//! | `Prepare` | candidate → all | its own promise | accept nothing below; tell me from this slot on |
//! | `Promise` | back | the promise | one piece of what I accepted |
//! | `Accept` | leader → all | – | accept these |
//! | `AcceptOk` | back | what was accepted | done |
//! | `Reject` | back | – | I have promised more |
//! | `Ping` | leader → all | – | I lead, I am (not) quorum-connected, this much is decided |
//! | `Pong` | back | – | I have promised nobody higher |
//! | `Need` | who finds a gap → leader or any | – | send me these slots |
//! | `Learn` | back | – | these are decided |
//! | `Yield` | leader → successor | – | stand for leader now |

use super::config::{
    BATCH_BYTES_MAX, BATCH_SLOTS_MAX, Config, PIECE_BYTES_MAX, PIECE_SLOTS_MAX, ROUNDS_AHEAD_MAX, SLOT_MAX,
};
use super::log::{Batch, Run};
use crate::step::Fault;
use core::fmt;
use dwcp_env::NodeId;
use serde::{Deserialize, Serialize};

use alloc::vec::Vec;

/// The number of a leadership. Only its node ever uses it, and only once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Ballot {
    /// Which attempt.
    pub round: u64,
    /// Whose.
    pub node: NodeId,
}

impl fmt::Debug for Ballot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.round, self.node.0)
    }
}

/// What members tell each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Message {
    /// Do you hear a quorum-connected leader?
    Canvass {
        /// Which round of asking, of this sender's lifetime.
        round: u64,
    },
    /// The answer to `Canvass`.
    Opinion {
        /// The round it answers.
        round: u64,
        /// The quorum-connected leader heard, if any.
        hears: Option<Ballot>,
        /// What was promised here.
        promised: Ballot,
        /// Decided up to here.
        decided: u64,
        /// Forgotten up to here.
        base: u64,
    },
    /// Accept nothing below this ballot, and tell what was accepted.
    Prepare {
        /// The ballot.
        ballot: Ballot,
        /// From this slot on.
        from: u64,
    },
    /// One piece of what was accepted, by one who accepts nothing below the ballot any more.
    Promise {
        /// The ballot.
        ballot: Ballot,
        /// The piece begins here. If behind what was asked for, the slots between are forgotten.
        from: u64,
        /// The next piece begins here, if there is one.
        next: Option<u64>,
        /// Decided up to here.
        decided: u64,
        /// What was accepted, in the order of slots.
        runs: Vec<Run>,
    },
    /// Accept these.
    Accept {
        /// The ballot.
        ballot: Ballot,
        /// The slot of the first.
        first: u64,
        /// The payloads.
        batch: Batch,
        /// Decided up to here.
        decided: u64,
    },
    /// Accepted and on disk.
    AcceptOk {
        /// The ballot.
        ballot: Ballot,
        /// The first slot.
        first: u64,
        /// The last slot.
        last: u64,
    },
    /// Another ballot was promised.
    Reject {
        /// The ballot of what is answered.
        ballot: Ballot,
        /// The higher one.
        promised: Ballot,
    },
    /// I lead.
    Ping {
        /// The ballot.
        ballot: Ballot,
        /// Numbers the heartbeats of a ballot.
        seq: u64,
        /// Whether a quorum answers me.
        connected: bool,
        /// Decided up to here.
        decided: u64,
        /// Proposed up to here.
        proposed: u64,
    },
    /// The answer to `Ping`: nothing higher was promised.
    Pong {
        /// The ballot.
        ballot: Ballot,
        /// The heartbeat it answers.
        seq: u64,
    },
    /// Send these slots.
    Need {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// These are decided.
    Learn {
        /// What was decided, in the order of slots, without gaps.
        runs: Vec<Run>,
        /// The sender has decided up to here.
        decided: u64,
    },
    /// Stand for leader now: the ballot's owner makes room.
    Yield {
        /// The ballot that ends.
        ballot: Ballot,
        /// Forgotten there up to here: who has not decided as much can't take over from it.
        base: u64,
        /// Proposed up to here: who knows of more hears this too late.
        proposed: u64,
    },
}

impl Message {
    /// The ballot its sender must own, if it names one.
    const fn own_ballot(&self) -> Option<Ballot> {
        match self {
            Self::Prepare { ballot, .. }
            | Self::Accept { ballot, .. }
            | Self::Ping { ballot, .. }
            | Self::Yield { ballot, .. } => Some(*ballot),
            _ => None,
        }
    }

    /// Checks size, shape and sender; `round` is the highest ballot seen here.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, config: &Config, from: NodeId, round: u64) -> Result<usize, Fault> {
        let place = config.place(from).filter(|_| from != config.node()).ok_or(Fault::Sender)?;
        if self.own_ballot().is_some_and(|b| b.node != from) {
            return Err(Fault::Sender);
        }
        let ballot = |b: &Ballot| {
            if *b != Ballot::default() && config.place(b.node).is_none() {
                return Err(Fault::Sender);
            }
            if b.round > round.saturating_add(ROUNDS_AHEAD_MAX) { Err(Fault::Bound) } else { Ok(()) }
        };
        let slot = |s: u64| if s < SLOT_MAX { Ok(()) } else { Err(Fault::Bound) };
        let from_one = |s: u64| if s == 0 { Err(Fault::Contradiction) } else { slot(s) };
        match self {
            Self::Canvass { .. } => {}
            Self::Opinion { hears, promised, decided, base, .. } => {
                hears.iter().try_for_each(ballot)?;
                ballot(promised)?;
                slot(*decided)?;
                if base > decided {
                    return Err(Fault::Contradiction);
                }
            }
            Self::Prepare { ballot: b, from } => ballot(b).and(from_one(*from))?,
            Self::Promise { ballot: b, from, next, decided, runs } => {
                ballot(b).and(from_one(*from)).and(slot(*decided))?;
                next.iter().try_for_each(|s| slot(*s))?;
                if next.is_some_and(|n| n <= *from) {
                    return Err(Fault::Contradiction);
                }
                check_runs(runs, *from, *next, ballot)?;
                // What is said to be decided must be there, as far as the piece goes.
                let told = runs.iter().fold(*from, |at, r| if r.first == at { r.last() + 1 } else { at });
                if told <= next.map_or(*decided, |n| (n - 1).min(*decided)) {
                    return Err(Fault::Contradiction);
                }
            }
            Self::Accept { ballot: b, first, batch, decided } => {
                ballot(b).and(from_one(*first)).and(slot(*decided))?;
                if batch.len() > BATCH_SLOTS_MAX || batch.bytes() > BATCH_BYTES_MAX {
                    return Err(Fault::Bound);
                }
                if batch.is_empty() {
                    return Err(Fault::Contradiction);
                }
            }
            Self::AcceptOk { ballot: b, first, last } => {
                ballot(b).and(from_one(*first)).and(slot(*last))?;
                if first > last {
                    return Err(Fault::Contradiction);
                }
            }
            Self::Reject { ballot: b, promised } => {
                ballot(b).and(ballot(promised))?;
                if promised <= b {
                    return Err(Fault::Contradiction);
                }
            }
            Self::Ping { ballot: b, decided, proposed, .. } => {
                ballot(b).and(slot(*proposed))?;
                if decided > proposed {
                    return Err(Fault::Contradiction);
                }
            }
            Self::Pong { ballot: b, .. } => ballot(b)?,
            Self::Yield { ballot: b, base, proposed } => {
                ballot(b).and(slot(*proposed))?;
                if base > proposed {
                    return Err(Fault::Contradiction);
                }
            }
            Self::Need { from, to } => {
                from_one(*from).and(slot(*to))?;
                if from > to {
                    return Err(Fault::Contradiction);
                }
            }
            Self::Learn { runs, decided } => {
                slot(*decided)?;
                check_runs(runs, 1, Some(decided + 1), ballot)?;
                if runs.windows(2).any(|w| w[0].last() + 1 != w[1].first) {
                    return Err(Fault::Contradiction);
                }
            }
        }
        Ok(place)
    }
}

/// Runs must be in order, from `from` on, before `next`, within the bounds of a piece.
fn check_runs(
    runs: &[Run],
    from: u64,
    next: Option<u64>,
    ballot: impl Fn(&Ballot) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (mut slot, mut bytes, mut count) = (from, 0_usize, 0_usize);
    for run in runs {
        ballot(&run.ballot)?;
        if run.batch.is_empty() || run.first < slot {
            return Err(Fault::Contradiction);
        }
        (bytes, count) = (bytes + run.batch.bytes(), count + run.batch.len());
        if run.first >= SLOT_MAX || count > PIECE_SLOTS_MAX {
            return Err(Fault::Bound);
        }
        slot = run.last() + 1;
    }
    // One payload may be longer than a piece.
    if bytes > PIECE_BYTES_MAX && (count > 1 || bytes > BATCH_BYTES_MAX) {
        return Err(Fault::Bound);
    }
    if next.is_some_and(|n| slot > n) { Err(Fault::Contradiction) } else { Ok(()) }
}
