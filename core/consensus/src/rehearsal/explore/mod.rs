//! Explorer: every state a small group can reach, not some of them.
//!
//! **Promise.** Within [`Bounds`] every order of delivery, loss (a message that is never delivered),
//! tick, proposal, sync and crash is tried. The first violation found breadth first is a shortest one,
//! and is told as the actions that lead there. [`Explored::complete`] says whether everything was seen.
//!
//! **Model.** Nodes are clones of the protocol. A message is delivered once, or never; one that is sent
//! again while its equal is on its way is one message. A node's clock stands still except at its ticks,
//! where it jumps to what it wished for ([`crate::step::Protocol::wake_at`]), so that any order of timeouts is tried.
//! A crash keeps what is safe and every possible prefix of the rest, and restarts at once (a longer
//! absence is a node to which nothing is delivered). With [`Bounds::late_syncs`] a sync is an action of its
//! own; without it everything is on disk at once, which is far fewer states.
//!
//! With [`Bounds::fifo`] links keep order: only the oldest message of a link arrives, or is lost, of which
//! there are [`Bounds::losses`]. That is what talkative protocols can be explored under.
//!
//! **Reduction.** Where messages overtake, a delivery that changes nothing but that the message is gone leads to a state whose
//! futures are all futures of the state before: it is not kept. Nothing else is left out.
//!
//! **Invariants** are those of [`super::invariant`], restated over states: agreement, order, only what was
//! proposed, one answer, certain refusals, durability on each first decision, right blame, reads.
//!
//! **Rejected.** *stateright*: its actor model owns the network and would want the protocol wrapped in
//! its own message and storage types, and knows no disk that keeps a prefix; its explicit search is what
//! these two files do. *Symmetry between nodes*: ballots order nodes, so they are not symmetric.
//!
//! **Limits.** Digests of 128 bits stand for states. Liveness is not judged here.

mod cosmos;
mod digest;

use super::invariant::Broken;
use super::subject::Subject;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use cosmos::{Action, Cosmos};
use digest::Met;

/// How much of everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Members.
    pub nodes: usize,
    /// Commands proposed, in order, each at any node that leads (or any, if none does).
    pub commands: u8,
    /// Whether the commands touch one key.
    pub conflict: bool,
    /// Ticks in all.
    pub ticks: u8,
    /// Ticks of one member (at most 15).
    pub ticks_each: u8,
    /// How many members' timers run, from the first on.
    pub tickers: usize,
    /// Crashes in all.
    pub crashes: u8,
    /// Reads in all.
    pub reads: u8,
    /// Links keep order, as those of production do within a lane; otherwise messages overtake freely.
    pub fifo: bool,
    /// With links that keep order: messages lost in all while later ones arrive.
    pub losses: u8,
    /// Checkpoints in all: durable with the log that goes on behind them. Who needs one is brought it, at any time.
    pub checkpoints: u8,
    /// Whether a sync is an action of its own.
    pub late_syncs: bool,
    /// Depth first finds deep violations with little memory; breadth first finds shortest ones.
    pub depth_first: bool,
    /// Where to stop.
    pub states_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            nodes: 3,
            commands: 2,
            conflict: true,
            ticks: 2,
            ticks_each: 15,
            tickers: 2,
            crashes: 0,
            reads: 0,
            fifo: false,
            losses: 0,
            checkpoints: 0,
            late_syncs: false,
            depth_first: false,
            states_max: 2_000_000,
        }
    }
}

/// What was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explored {
    /// Different states.
    pub states: usize,
    /// Actions tried.
    pub transitions: u64,
    /// The longest way to a state, as the search met it.
    pub depth: usize,
    /// States in which all commands are acknowledged: if there is none, nothing was tested.
    pub finished: u64,
    /// Whether all states within the bounds were seen.
    pub complete: bool,
    /// What was broken, and the actions that lead there.
    pub violation: Option<(Broken, Vec<String>)>,
}

/// How a state was reached first: from which, by what, and how far from the start.
struct Origin {
    parent: u32,
    depth: u32,
    action: Action,
}

/// Explores.
pub fn explore<S: Subject>(subject: &S, bounds: Bounds) -> Explored {
    explore_with(subject, bounds, &mut |_, _| {})
}

/// Explores; `progress` hears of the number of states and of those still to be expanded, now and then.
pub fn explore_with<S: Subject>(
    subject: &S,
    bounds: Bounds,
    progress: &mut dyn FnMut(usize, usize),
) -> Explored {
    let mut met = Met::new();
    let mut origins: Vec<Origin> = Vec::new();
    let mut frontier = VecDeque::new();
    let mut explored =
        Explored { states: 0, transitions: 0, depth: 0, finished: 0, complete: false, violation: None };
    match Cosmos::new(subject, bounds) {
        Ok(start) => {
            met.insert(start.digest());
            origins.push(Origin { parent: u32::MAX, depth: 0, action: Action::Start });
            frontier.push_back((0_u32, start));
        }
        Err(broken) => explored.violation = Some((broken, Vec::new())),
    }
    let mut actions = Vec::new();
    while let Some((at, state)) = if bounds.depth_first { frontier.pop_back() } else { frontier.pop_front() }
    {
        let depth = origins[at as usize].depth + 1;
        actions.clear();
        state.actions(subject, &mut actions);
        for action in &actions {
            explored.transitions += 1;
            let mut next = state.clone();
            if let Err(broken) = next.act(subject, *action) {
                let trace = told(subject, bounds, &origins, at, *action);
                explored.violation = Some((broken, trace));
                explored.states = met.count();
                return explored;
            }
            if next.only_lost_a_letter(&state) {
                continue;
            }
            if met.insert(next.digest()) {
                explored.finished += u64::from(next.finished());
                explored.depth = explored.depth.max(depth as usize);
                frontier.push_back((origins.len() as u32, next));
                origins.push(Origin { parent: at, depth, action: *action });
            }
        }
        if explored.transitions % 4_096 < actions.len() as u64 {
            progress(met.count(), frontier.len());
        }
        if met.count() >= bounds.states_max {
            explored.states = met.count();
            return explored;
        }
    }
    explored.states = met.count();
    explored.complete = explored.violation.is_none();
    explored
}

/// The actions that lead to a state and one more, told one by one.
fn told<S: Subject>(
    subject: &S,
    bounds: Bounds,
    origins: &[Origin],
    mut at: u32,
    last: Action,
) -> Vec<String> {
    let mut actions = alloc::vec![last];
    while origins[at as usize].parent != u32::MAX {
        actions.push(origins[at as usize].action);
        at = origins[at as usize].parent;
    }
    let Ok(mut state) = Cosmos::new(subject, bounds) else { return Vec::new() };
    let mut lines = Vec::new();
    for (number, action) in actions.iter().rev().enumerate() {
        lines.push(format!("{:>3} {}", number + 1, state.tell(action)));
        if state.act(subject, *action).is_err() {
            break;
        }
    }
    lines
}
