//! Selection: which engine, under which quorums, led from where, and whether to change.
//!
//! **Promise.** [`choose`] and [`decide`] are pure functions of measurements, a policy and what runs: no clock, no
//! memory of their own, no floating point. The same input gives the same answer on every node, in whatever order
//! regions and members are listed; any input gives an answer. An answer carries its reason: the rule that matched with
//! the numbers it looked at, and what speaks against every other candidate.
//!
//! **Model.** A *candidate* is a [`Placement`] (engine, quorum system, leader) with a [`Forecast`]: how long writes of
//! each region's clients take, computed from round trips (`predict`). What is minimised is the *cost*, the mean of
//! all writes with a weight on the slowest. A [`Policy`] is data. Rules, the first that matches decides:
//!
//! | rule | pick |
//! |---|---|
//! | PBFT runs | PBFT: leaving it trusts more, which only an operator may |
//! | members may lie | PBFT, at once |
//! | all data is declared mergeable, and a quorum is out of reach or beyond its writers' budget | eventual |
//! | keyspaces of both classes, or owned by different regions | hybrid |
//! | members within 50 ms in up to 3 regions | Multi-Paxos under the best leader and quorums |
//! | 3 regions or more, few conflicts, and it costs less than the best leader | EPaxos |
//! | else, and for many conflicts | Multi-Paxos under the best leader and quorums |
//!
//! A change must then get past the brakes (`decision`): it saves at least 20 % (a transfer 9 %), ten seconds have passed since the last,
//! twice as long after each return, one seal at a time; and a transfer within the epoch comes before any seal.
//!
//! **Invariants.** 1. A strong keyspace is never eventual. 2. PBFT is entered by itself and never left. 3. Every quorum
//! system picked is admitted by [`crate::quorum::admit`]. 4. A region's loss is borne wherever a majority bears it,
//! unless the policy says otherwise. 5. No change is undone unless what was measured has moved (`core/consensus/tests/weather`).
//!
//! **Rejected.** *A score over everything, no rules*: nobody could say why, and trust and classes have no exchange rate
//! to milliseconds. *"Many conflicts: EPaxos"* (the first specification): each conflict costs EPaxos a slow path and a
//! wait; "more than 200 ms: eventual" would change a contract in silence. *Learning*: cannot be replayed, explained or
//! tested against a law. *Smoothing in here*: the measurer knows how many samples stand behind a figure.
//!
//! **Limits.** 64 regions, 128 members, 128 keyspaces or more at more cost; some tens of microseconds for nine regions.
//! Weighted, grid and witness quorums are operators' choices: where one runs it is kept and its leader placed.
//!
//! **Not yet.** Reads are not weighed. No engine serves lease reads, so no bound on clocks is asked for.
//!
//! Read `choice`, `measure`, `policy`, `predict`, `rules`, `decision`, `explain`.

mod choice;
mod decision;
mod explain;
mod measure;
mod policy;
mod predict;
mod quantity;
mod rules;

pub use choice::{Candidate, Choice, EngineKind, Facts, Forecast, Latency, Part, Placement, Refused, Rule};
pub use decision::{Brake, Current, Decision, PAST_MAX, Past, Verdict, Why, decide};
pub use measure::{Class, Keyspace, Link, Measurements, Member, REGIONS_MAX, Region, Trust};
pub use policy::{Mode, Policy, PolicyError};
pub use quantity::Share;
pub use rules::choose;
