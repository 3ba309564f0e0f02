//! The data of a space-time picture: nodes as lanes, time to the right.
//!
//! A minute of nine nodes is half a million messages; a picture holds the messages of a
//! window (the last seconds before the violation, or the first after the first event) and
//! everything else of the whole run, each list bounded.

use super::Outcome;
use crate::expand::RunPlan;
use crate::explain::witness;
use dwcp_env::{Duration, Instant, NodeId};
use dwcp_runtime_sim::fault::{Fault, Target};
use dwcp_runtime_sim::trace::{Event, What};
use dwcp_workload::Outcome as Ended;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most messages, and the most operations, in a picture.
const MANY: usize = 6_000;
/// The most marks.
const MARKS: usize = 2_000;
/// Messages are shown of this long before the violation, and a little after.
const BEFORE: Duration = Duration::secs(3);
const AFTER: Duration = Duration::millis(500);

/// What a picture is drawn from. Times are in microseconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Picture {
    /// The scenario.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Lanes: number and region of each node.
    pub nodes: Vec<(u64, String)>,
    /// When the run ended.
    pub end: u64,
    /// When peace returned.
    pub heal: u64,
    /// Of which stretch messages are shown.
    pub window: (u64, u64),
    /// Changes of a node's life: when, who, `up`, `down`, `paused`, `resumed`, `refused`, and why.
    pub lives: Vec<(u64, u64, String, String)>,
    /// Who was seen to lead: from when, who, which term.
    pub leaders: Vec<(u64, u64, u64)>,
    /// Faults: kind, from, until, who is hit, in words.
    pub faults: Vec<(String, u64, u64, Vec<u64>, String)>,
    /// Messages: sent, by whom, arrived or lost, to whom, lane, whether it was lost.
    pub messages: Vec<(u64, u64, u64, u64, u8, bool)>,
    /// What nodes told: when, who, the event as text.
    pub marks: Vec<(u64, u64, String)>,
    /// Clients' operations: begun, ended, client, what, how it ended.
    pub operations: Vec<(u64, u64, u32, String, String)>,
    /// Places in `operations` of those that show what broke.
    #[serde(default)]
    pub witnesses: Vec<usize>,
    /// What broke: when, which property, in words.
    pub violation: Option<(u64, String, String)>,
}

/// Microseconds of a time.
#[must_use]
pub const fn us(at: Instant) -> u64 {
    at.as_nanos() / 1_000
}

/// A change of a node's life as in [`Picture::lives`]: who, what, why.
#[must_use]
pub fn life(what: &What) -> Option<(NodeId, &'static str, String)> {
    Some(match what {
        What::Boot { node, incarnation, .. } => (*node, "up", format!("life {incarnation}")),
        What::BootFailed { node, why } => (*node, "refused", why.clone()),
        What::Down { node, by } => (*node, "down", by.name().to_owned()),
        What::Stopped { node, asked } => {
            (*node, "down", if *asked { "stopped, as asked" } else { "ended itself" }.to_owned())
        }
        What::Paused { node } => (*node, "paused", String::new()),
        What::Resumed { node } => (*node, "resumed", String::new()),
        _ => return None,
    })
}

/// How an operation ended, in a word.
#[must_use]
pub const fn ended(outcome: Ended) -> &'static str {
    match outcome {
        Ended::Ok => "ok",
        Ended::Fail => "fail",
        Ended::Info => "unknown",
        Ended::Open => "open",
    }
}

/// Gathers the data of a picture from a run that kept its events.
#[must_use]
pub fn draw(plan: &RunPlan, outcome: &Outcome) -> Picture {
    let end = Instant::ZERO + outcome.simulated;
    let focus = outcome.violation.as_ref().map(|v| v.at).filter(|at| *at > Instant::ZERO);
    let focus = focus.or(plan.first_event).unwrap_or(plan.world.heal_at).min(end);
    let from = Instant::from_nanos(focus.as_nanos().saturating_sub(BEFORE.as_nanos()));
    let window = (us(from), us((focus + AFTER).min(end)));
    let mut picture = Picture {
        scenario: plan.scenario.clone(),
        seed: plan.world.seed.0,
        nodes: plan.world.nodes.iter().map(|n| (n.id.0, n.region.clone())).collect(),
        end: us(end),
        heal: us(plan.world.heal_at.min(end)),
        window,
        violation: outcome.violation.as_ref().map(|v| (us(v.at), v.name.clone(), v.detail.clone())),
        ..Picture::default()
    };
    let ids = plan.world.node_ids();
    let windows = plan.world.windows();
    picture.faults = windows.iter().chain(&outcome.resolved).map(|f| fault(f, &ids, end)).collect();
    let mut under_way: BTreeMap<u64, (u64, u64, u64, u8)> = BTreeMap::new();
    for event in &outcome.events {
        take(&mut picture, &mut under_way, event);
    }
    operations(outcome, end, &mut picture);
    picture
}

/// A fault as a row of [`Picture::faults`], among these nodes, in a run that ends then.
#[must_use]
pub fn fault(f: &Fault, ids: &[NodeId], end: Instant) -> (String, u64, u64, Vec<u64>, String) {
    let hit = match &f.target {
        Target::Node(n) => vec![n.0],
        Target::Links { from, to } => {
            let hit = ids.iter().filter(|n| from.contains(n) || (from.is_empty() && to.contains(n)));
            hit.map(|n| n.0).collect()
        }
    };
    (f.kind().name().to_owned(), us(f.at), us(f.until.min(end)), hit, f.to_string())
}

fn take(p: &mut Picture, under_way: &mut BTreeMap<u64, (u64, u64, u64, u8)>, event: &Event) {
    let at = us(event.at);
    p.lives.extend(life(&event.what).map(|(node, what, why)| (at, node.0, what.to_owned(), why)));
    match &event.what {
        What::Send { message, from, to, lane, .. } if p.window.0 <= at && at <= p.window.1 => {
            under_way.insert(*message, (at, from.0, to.0, *lane));
        }
        What::Deliver { message, .. } => arrived(p, under_way.remove(message), at, false),
        What::Drop { message, .. } => arrived(p, under_way.remove(message), at, true),
        What::Told { node, name, text } => {
            if let Some((term, leader)) = leads(name, text)
                && p.leaders.last().is_none_or(|l| term > l.2)
            {
                p.leaders.push((at, leader, term));
            }
            if p.marks.len() < MARKS {
                p.marks.push((at, node.0, text.clone()));
            }
        }
        _ => {}
    }
}

/// Term and leader that a node's event tells of, if it tells of a leader.
#[must_use]
pub fn leads(name: &str, text: &str) -> Option<(u64, u64)> {
    if name != "raft.leader_changed" {
        return None;
    }
    let field = |key: &str, prefix: &str| {
        let word = text.split_whitespace().find_map(|w| w.strip_prefix(key))?;
        word.strip_prefix(prefix).unwrap_or(word).parse::<u64>().ok()
    };
    Some((field("term=", "")?, field("leader=", "n")?))
}

fn arrived(p: &mut Picture, sent: Option<(u64, u64, u64, u8)>, at: u64, lost: bool) {
    if let Some((sent, from, to, lane)) = sent
        && p.messages.len() < MANY
    {
        p.messages.push((sent, from, at, to, lane, lost));
    }
}

/// Clients' operations; if there are too many, evenly thinned, but never those that did not
/// simply succeed, nor a witness of what broke.
fn operations(outcome: &Outcome, end: Instant, picture: &mut Picture) {
    let records = &outcome.log.records;
    let witnesses = outcome.violation.as_ref().map_or_else(Vec::new, |v| witness::of(&outcome.log, v));
    let step = (records.len() / MANY).max(1);
    for (place, r) in records.iter().enumerate().filter(|(_, r)| r.what.name() != "saw") {
        let witnessed = witnesses.contains(&place);
        let told = place % step == 0 || r.outcome == Ended::Info;
        if !witnessed && (!told || picture.operations.len() >= 2 * MANY) {
            continue;
        }
        if witnessed {
            picture.witnesses.push(picture.operations.len());
        }
        let how = ended(r.outcome).to_owned();
        let row = (us(r.call), us(r.ret.min(end)), r.client, witness::action(&r.what), how);
        picture.operations.push(row);
    }
}
