//! A run stopped at a moment: what each node is and knows, and what happens around it.

use super::cluster::look;
use super::door::EVENTUAL;
use crate::explain::words;
use dwcp_consensus::Role;
use dwcp_env::{Duration, Instant, NodeId};
use dwcp_eventual::Eventual;
use dwcp_node::Node;
use dwcp_runtime_sim::SimWorld;
use dwcp_runtime_sim::fault::{Effect, Fault, Target};
use dwcp_runtime_sim::trace::{Event, What};
use serde::{Deserialize, Serialize};

/// Which moment is wanted, and how much around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The moment: everything that happens at it has happened.
    pub at: Instant,
    /// Events are kept from so long before to so long after; the run ends there.
    pub window: Duration,
}

impl Moment {
    /// The first event's time.
    #[must_use]
    pub const fn from(self) -> Instant {
        Instant::from_nanos(self.at.as_nanos().saturating_sub(self.window.as_nanos()))
    }
    /// The last one's.
    #[must_use]
    pub fn to(self) -> Instant {
        self.at + self.window
    }
}

/// Whether a node's process runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It runs.
    Up,
    /// It stands still.
    Paused,
    /// There is none.
    Down,
}

/// One node at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeState {
    /// Who.
    pub node: u64,
    /// Where it stands.
    pub region: String,
    /// Whether it runs.
    pub standing: Standing,
    /// Which of its lives, counted from 1; 0 before the first boot.
    pub life: u32,
    /// Its role in the group, if it runs.
    pub role: Option<String>,
    /// Its term.
    pub term: u64,
    /// The last entry in its log.
    pub last: u64,
    /// The last entry it knows to be decided.
    pub committed: u64,
    /// The last entry it has applied.
    pub applied: u64,
    /// Its store's revision.
    pub revision: i64,
    /// Whom it can't reach or hear, by cuts of links.
    pub cut_from: Vec<u64>,
    /// Other faults that act on it.
    pub faults: Vec<String>,
    /// Its replica of the eventual keyspace, in words; none if the run has no such keyspace.
    pub eventual: Option<String>,
}

/// What the nodes are now.
#[must_use]
pub(super) fn states(world: &SimWorld<Node>, lives: impl Fn(NodeId) -> u32) -> Vec<NodeState> {
    let now = world.now();
    let all = world.plan().node_ids();
    let acting: Vec<&Fault> = world.windows().iter().filter(|f| f.at <= now && now < f.until).collect();
    let view = world.view();
    world
        .plan()
        .nodes
        .iter()
        .map(|n| {
            let machine = view.machine(n.id);
            let seen = machine.map(|m| look(m, lives(n.id)));
            let standing = match machine {
                None => Standing::Down,
                Some(_) if view.runs(n.id) => Standing::Up,
                Some(_) => Standing::Paused,
            };
            let of = seen.unwrap_or_default();
            NodeState {
                node: n.id.0,
                region: n.region.clone(),
                standing,
                life: view.incarnation(n.id),
                role: seen.map(|s| role(s.role).to_owned()),
                term: of.term,
                last: of.last,
                committed: of.committed,
                applied: of.applied.map_or(0, |p| p.index),
                revision: of.revision,
                cut_from: cut_from(n.id, &acting, &all),
                faults: acting.iter().filter(|f| hits(f, n.id)).map(|f| words::event(f, &all)).collect(),
                eventual: machine.and_then(|m| m.eventual(EVENTUAL)).map(replica),
            }
        })
        .collect()
}

/// What a replica is and has: its place, whether it serves or what it waits for, its version.
fn replica(of: &Eventual) -> String {
    let place = of.place().map_or_else(|| "no place".to_owned(), |p| format!("place {}", p.0));
    let waits = of.waiting_for().map_or_else(|| "serves".to_owned(), |why| format!("does not serve: {why}"));
    format!("{place}, roster {}, {waits}; has {}", of.space().roster().epoch, of.version())
}

const fn role(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Candidate => "candidate",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Outside => "outside",
    }
}

const fn is_cut(f: &Fault) -> bool {
    matches!(f.effect, Effect::Partition {} | Effect::PartitionOneWay {})
}

fn hits(f: &Fault, node: NodeId) -> bool {
    match &f.target {
        Target::Node(n) => *n == node,
        Target::Links { from, to } => {
            !is_cut(f) && (from.is_empty() || to.is_empty() || from.contains(&node) || to.contains(&node))
        }
    }
}

fn cut_from(node: NodeId, acting: &[&Fault], all: &[NodeId]) -> Vec<u64> {
    let side = |s: &[NodeId], n: NodeId| s.is_empty() || s.contains(&n);
    let apart = |other: NodeId| {
        acting.iter().filter(|f| is_cut(f)).any(|f| match &f.target {
            Target::Links { from, to } => {
                (side(from, node) && side(to, other)) || (side(from, other) && side(to, node))
            }
            Target::Node(_) => false,
        })
    };
    all.iter().filter(|o| **o != node && apart(**o)).map(|o| o.0).collect()
}

/// An event on one line, in words.
#[must_use]
pub fn says(event: &Event) -> String {
    match &event.what {
        What::Boot { node, incarnation, .. } => format!("{node} boots, life {incarnation}"),
        What::BootFailed { node, why } => format!("{node} can't boot: {why}"),
        What::Down { node, by } => format!("{node} is down: {by}"),
        What::Stopped { node, asked: true } => format!("{node} stops, as asked"),
        What::Stopped { node, .. } => format!("{node} ends itself"),
        What::Paused { node } => format!("{node} stands still"),
        What::Resumed { node } => format!("{node} goes on"),
        What::Send { message, from, to, lane, bytes } => {
            format!("{from} sends {to} message {message}, {bytes} B, {}", lane_name(*lane))
        }
        What::Deliver { message, from, to, lane } => {
            format!("{to} hears message {message} of {from}, {}", lane_name(*lane))
        }
        What::Drop { message, from, to, why } => {
            format!("message {message} of {from} to {to} is lost: {}", format!("{why:?}").to_lowercase())
        }
        What::Unreachable { node, peer, gone: true } => format!("{node} is told that {peer} is gone"),
        What::Unreachable { node, peer, .. } => format!("{node} is told, wrongly, that {peer} is gone"),
        What::Wake { node } => format!("{node} wakes by its timer"),
        What::Disk { node, ticket, ok } => {
            format!("{node} disk request {ticket} {}", if *ok { "is done" } else { "fails" })
        }
        What::Job { node, name, ok } => format!("{node} job {name} {}", if *ok { "ends" } else { "fails" }),
        What::Request { node, id } => format!("a client asks {node}, request {}", id.0),
        What::Reply { node, id, .. } => format!("{node} answers request {}", id.0),
        What::Broken { node, id } => format!("the connection of request {} to {node} breaks", id.0),
        What::Cancel { node, id } => format!("request {} to {node} is given up", id.0),
        What::FaultOn { fault, .. } => format!("a fault begins: {fault}"),
        What::FaultOff { fault, .. } => format!("a fault ends: {fault}"),
        What::Timer { token } => format!("the timer {token} of the caller"),
        What::Told { node, text, .. } => format!("{node} says {text}"),
        What::Violated { name } => format!("{name} BREAKS"),
    }
}

const fn lane_name(lane: u8) -> &'static str {
    match lane {
        0 => "control",
        1 => "data",
        2 => "bulk",
        _ => "datagram",
    }
}

/// Whether an event changes who lives, leads or is cut, and so belongs into a story.
#[must_use]
pub const fn notable(what: &What) -> bool {
    matches!(
        what,
        What::Boot { .. }
            | What::BootFailed { .. }
            | What::Down { .. }
            | What::Stopped { .. }
            | What::Paused { .. }
            | What::Resumed { .. }
            | What::FaultOn { .. }
            | What::FaultOff { .. }
            | What::Told { .. }
            | What::Violated { .. }
    )
}
