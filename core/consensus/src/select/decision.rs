//! What is done about a choice: nothing, a transfer, or a seal; with brakes.
//!
//! **Invariants.**
//! 1. At most one seal is in flight.
//! 2. A seal saves at least `gain-min` of the predicted cost, a transfer `transfer-gain-min`; or it serves writes that
//!    were not served; or it must be ([`Why::Trust`], [`Why::Class`], [`Why::Policy`], [`Why::Restored`]).
//! 3. After a change nothing is changed for `dwell`, twice as long for each return within `flap-window`, save for
//!    what must be.
//! 4. PBFT is not left, and nothing strong becomes eventual.
//! 5. What needs no epoch comes first: a transfer that saves enough is done before a seal is thought of.

use super::choice::{Choice, EngineKind, Placement};
use super::measure::Measurements;
use super::policy::{Mode, Policy};
use super::quantity::Share;
use super::rules::choose;
use crate::quorum::System;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, NodeId};
use serde::{Deserialize, Serialize};

/// Placements of the past that are remembered: more returns than that in one window change nothing.
pub const PAST_MAX: usize = 16;
/// A change of the part of the writes that reach a quorum counts from here on.
const UNSERVED_MIN: Share = Share::percent(1);

/// What the group has now. Kept by whoever carries decisions out, by the chain's own records.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Current {
    /// The placement.
    pub placement: Placement,
    /// Since when.
    pub since: Instant,
    /// A seal is proposed and its outcome not known.
    pub seal_in_flight: bool,
    /// What there was before, oldest first.
    pub past: Vec<Past>,
}

/// A placement of the past.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Past {
    /// Which.
    pub placement: Placement,
    /// From when.
    pub since: Instant,
    /// Until when.
    pub until: Instant,
}

impl Current {
    /// At the begin of a group.
    #[must_use]
    pub const fn new(placement: Placement, since: Instant) -> Self {
        Self { placement, since, seal_in_flight: false, past: Vec::new() }
    }
    /// The placement changed, by whomever: the epoch's successor began, or another member leads.
    pub fn moved(&mut self, now: Instant, to: Placement) {
        if to == self.placement {
            return;
        }
        if self.past.len() >= PAST_MAX {
            self.past.drain(..=self.past.len() - PAST_MAX);
        }
        let placement = core::mem::replace(&mut self.placement, to);
        self.past.push(Past { placement, since: self.since, until: now });
        self.since = now;
    }
    /// How often, lately, it went back to what it had left.
    #[must_use]
    pub fn returns(&self, now: Instant, window: Duration) -> u32 {
        let count = self.past.len();
        let entered =
            |at: usize| self.past.get(at).map_or((&self.placement, self.since), |p| (&p.placement, p.since));
        let back = (0..=count).filter(|at| {
            let (placement, since) = entered(*at);
            let before = &self.past[..*at];
            now.since(since) <= window
                && before.iter().any(|p| p.placement == *placement && since.since(p.until) <= window)
        });
        back.count() as u32
    }
    /// How long nothing may be changed after the last change.
    #[must_use]
    pub fn dwell(&self, now: Instant, policy: &Policy) -> Duration {
        let returns = self.returns(now, policy.flap_window).min(32);
        (policy.dwell * (1 << returns)).min(policy.dwell_max.max(policy.dwell))
    }
}

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// Nothing.
    Stay,
    /// Within the epoch: this member is to lead.
    Transfer(NodeId),
    /// Propose a seal whose successor is this.
    Seal(Placement),
}

/// Why something is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Members may lie: at once.
    Trust,
    /// A keyspace that is strong is on the eventual tier: at once.
    Class,
    /// The policy does not allow the engine that runs.
    Policy,
    /// Mergeable data goes back to agreement: a quorum is within the budget again.
    Restored,
    /// More writes reach a quorum.
    Serves,
    /// It saves this much of the cost.
    Saves(Share),
    /// The running placement is already what the rules pick.
    Same,
    /// It would save too little.
    TooLittle(Share),
    /// It would be cheaper, and nobody writes: who will, and where, is not known.
    Idle,
    /// Nothing to go to.
    Nothing,
}

/// What holds a decision back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Brake {
    /// A seal is in flight.
    SealInFlight,
    /// The last change is too fresh.
    Dwell {
        /// How long still.
        #[serde(rename = "left_ns")]
        left: Duration,
        /// How often it went back to what it had left.
        returns: u32,
    },
    /// The policy says so.
    DryRun,
}

/// A choice and what is done about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// What was chosen.
    pub choice: Choice,
    /// What is to be done now.
    pub decision: Decision,
    /// What would be done without brakes.
    pub wanted: Decision,
    /// Why.
    pub why: Why,
    /// What holds it back; `None`: nothing, or nothing is wanted.
    pub brake: Option<Brake>,
}

/// Chooses, and decides what to do about it.
#[must_use]
pub fn decide(now: Instant, measured: &Measurements, policy: &Policy, current: &Current) -> Verdict {
    let mut running = current.placement.clone();
    let members = super::measure::members(measured);
    if running.engine == EngineKind::Raft && members > 0 {
        // Raft changes its members by itself, and always needs more than half of them.
        running.quorums = Some(System::Majority { members });
    }
    let choice = choose(measured, policy, Some(&running));
    let (wanted, why) = match want(&choice, policy, &running) {
        (Decision::Transfer(_) | Decision::Seal(_), Why::Saves(_)) if is_idle(measured) => {
            (Decision::Stay, Why::Idle)
        }
        other => other,
    };
    let urgent = matches!(why, Why::Trust | Why::Class);
    let (age, dwell) = (now.since(current.since), current.dwell(now, policy));
    let brake = if wanted == Decision::Stay {
        None
    } else if current.seal_in_flight {
        Some(Brake::SealInFlight)
    } else if age < dwell && !urgent {
        Some(Brake::Dwell { left: dwell - age, returns: current.returns(now, policy.flap_window) })
    } else if policy.mode == Mode::DryRun {
        Some(Brake::DryRun)
    } else {
        None
    };
    let decision = if brake.is_some() { Decision::Stay } else { wanted.clone() };
    Verdict { choice, decision, wanted, why, brake }
}

/// Whether keyspaces are there, and nobody writes to any.
fn is_idle(measured: &Measurements) -> bool {
    let mut all = measured.keyspaces.iter().peekable();
    all.peek().is_some() && all.all(|k| k.writes.iter().all(|n| *n == 0))
}

/// What would be done without brakes.
fn want(choice: &Choice, policy: &Policy, now: &Placement) -> (Decision, Why) {
    use EngineKind::{Eventual, Pbft};
    let Some(pick) = choice.picked() else { return (Decision::Stay, Why::Nothing) };
    let to = &pick.placement;
    if to == now {
        return (Decision::Stay, Why::Same);
    }
    let seal = || Decision::Seal(to.clone());
    if to.engine == Pbft && now.engine != Pbft {
        return (seal(), Why::Trust);
    }
    if now.engine == Eventual && to.engine != Eventual {
        let strong = choice.facts.strong > 0;
        return (seal(), if strong { Why::Class } else { Why::Restored });
    }
    if !policy.allows(now.engine) && now.engine != Pbft {
        return (seal(), Why::Policy);
    }
    // Nobody leads, or one that is down: an election is on, and its outcome is what is judged next.
    let electing = now.engine.is_led() && choice.of(now).is_none();
    let here = if electing { choice.best_of_epoch(now) } else { choice.of(now) };
    let served = |c: &super::Candidate| c.forecast.serves().then_some((c.forecast.unserved, c.forecast.cost));
    let here = here.and_then(served);
    let gain = |there: &super::Candidate| gain(here, served(there));
    let enough = |why: Why, least: Share| match why {
        Why::Saves(share) => share >= least,
        other => other == Why::Serves,
    };
    if now.engine.is_led()
        && now.engine != Pbft
        && !electing
        && let Some(best) = choice.best_of_epoch(now).filter(|best| best.placement != *now)
        && let Some(leader) = best.placement.leader
        && enough(gain(best), policy.transfer_gain_min)
    {
        return (Decision::Transfer(leader), gain(best));
    }
    if to.is_epoch_of(now) || now.engine == Pbft {
        return match gain(pick) {
            Why::Saves(share) => (Decision::Stay, Why::TooLittle(share)),
            // Nobody is there to hand over: the engine elects.
            _ => (Decision::Stay, Why::Nothing),
        };
    }
    match gain(pick) {
        why if enough(why, policy.gain_min) => (seal(), why),
        Why::Saves(share) => (Decision::Stay, Why::TooLittle(share)),
        why => (Decision::Stay, why),
    }
}

/// What going from here to there brings.
fn gain(here: Option<(Share, Duration)>, there: Option<(Share, Duration)>) -> Why {
    let Some((unserved, cost)) = there else { return Why::Nothing };
    let Some((unserved_now, cost_now)) = here else { return Why::Serves };
    let margin = UNSERVED_MIN.as_millionths();
    if unserved.as_millionths() + margin <= unserved_now.as_millionths() {
        return Why::Serves;
    }
    if unserved_now.as_millionths() + margin <= unserved.as_millionths() {
        return Why::Saves(Share::NONE);
    }
    Why::Saves(Share::of(u128::from((cost_now - cost).as_nanos()), u128::from(cost_now.as_nanos())))
}
