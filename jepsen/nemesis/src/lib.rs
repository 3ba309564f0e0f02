//! What goes wrong, on purpose.
//!
//! **Promise.** A [`Nemesis`] is a way in which the world breaks. Asked when its time has come,
//! it draws an [`Act`] from the seed and from who leads just then: plain data that says what
//! happens to whom. Whoever holds the processes carries the act out, and undoes it.
//! The acts that the simulator knows too have the words of a scenario file
//! ([`Act::scenario`]), so that what was found on real processes can be tried under seeds.
//!
//! | file | holds |
//! |---|---|
//! | [`nemesis`] | one file for each nemesis: its card (what, needs, proof) and how it draws |
//! | [`act`] | acts as data, their words in both worlds |
//! | [`schedule`] | when which nemesis strikes: windows drawn from the seed |
//! | [`disk`], [`fuse`] | a disk that forgets, fails and fills up on command; the same, mounted |
//! | [`netns`], [`link`] | a namespace for each node, cut by nftables; a link of our own that delays and loses |
//! | [`need`] | what of the machine a nemesis needs, and what to install where it is missing |
//!
//! **Invariants.** 1. The same seed, nemeses, time and leaders give the same acts. 2. Every window
//! ends before the time does: the world is whole while the last operations run. 3. A nemesis
//! whose proof shows nothing was no nemesis: a run in which one never fired is not evidence.
//!
//! **Rejected.** Faults at random moments of each process alone: they seldom meet, and the one window
//! in which nothing else happened tells nothing about recovery. So windows follow each other with
//! a rest between, and `mix` is the nemesis that lets two overlap.

pub mod act;
pub mod disk;
pub mod fuse;
pub mod link;
pub mod need;
pub mod nemesis;
pub mod netns;
pub mod schedule;

pub use act::Act;
pub use need::Need;
pub use nemesis::{Card, Nemesis};
pub use schedule::{Schedule, Window};

use dwcp_env::NodeId;

/// A node as nemeses see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its number.
    pub node: NodeId,
    /// Its region's name.
    pub region: String,
}

/// The cluster as nemeses see it when their time has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// All nodes.
    pub places: Vec<Place>,
    /// Who leads, if anybody knows.
    pub leader: Option<NodeId>,
}

impl Seen {
    /// All numbers.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeId> {
        self.places.iter().map(|p| p.node).collect()
    }
    /// The regions' names, each once.
    #[must_use]
    pub fn regions(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.places.iter().map(|p| p.region.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
    /// The nodes of a region.
    #[must_use]
    pub fn of(&self, region: &str) -> Vec<NodeId> {
        self.places.iter().filter(|p| p.region == region).map(|p| p.node).collect()
    }
}
