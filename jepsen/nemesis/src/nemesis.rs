//! Every nemesis: its name, its card, and how it draws.
//!
//! One file each; this one only lists them. A new one is a file, a line in [`Nemesis`], a line in
//! [`Nemesis::card`] and one in [`Nemesis::draw`]: the compiler asks for the last two.

mod clock;
mod delay;
mod disk_full;
mod fsync_fail;
mod kill;
mod lose_unsynced;
mod loss;
mod mix;
mod one_way;
mod partition;
mod pause;
mod region_loss;
mod restart;

use crate::{Act, Need, Seen};
use dwcp_env::{Instant, NodeId, Purpose, Seed};

/// A nemesis by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Nemesis {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Pause,
    /// Rolling restarts.
    Restart,
    /// All nodes of a region die.
    RegionLoss,
    /// Cuts both ways.
    Partition,
    /// Cuts one way.
    OneWay,
    /// Slow links.
    Delay,
    /// Lossy links.
    Loss,
    /// Wrong calendars.
    Clock,
    /// No room.
    DiskFull,
    /// Failing syncs.
    FsyncFail,
    /// Power loss: SIGKILL, and what was not synced is gone.
    LoseUnsynced,
    /// Two of the others at once.
    Mix,
}

/// What a nemesis is, for lists and documentation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Card {
    /// Its name on the command line.
    pub name: &'static str,
    /// The `do` of a scenario file that is the same in simulation.
    pub scenario: &'static str,
    /// What happens, in a sentence.
    pub what: &'static str,
    /// What of the machine it needs.
    pub needs: &'static [Need],
    /// How a run knows that it fired.
    pub proof: &'static str,
}

impl Nemesis {
    /// Every nemesis.
    pub const ALL: [Self; 13] = [
        Self::Kill,
        Self::Pause,
        Self::Restart,
        Self::RegionLoss,
        Self::Partition,
        Self::OneWay,
        Self::Delay,
        Self::Loss,
        Self::Clock,
        Self::DiskFull,
        Self::FsyncFail,
        Self::LoseUnsynced,
        Self::Mix,
    ];
    /// Its card.
    #[must_use]
    pub const fn card(self) -> Card {
        match self {
            Self::Kill => kill::CARD,
            Self::Pause => pause::CARD,
            Self::Restart => restart::CARD,
            Self::RegionLoss => region_loss::CARD,
            Self::Partition => partition::CARD,
            Self::OneWay => one_way::CARD,
            Self::Delay => delay::CARD,
            Self::Loss => loss::CARD,
            Self::Clock => clock::CARD,
            Self::DiskFull => disk_full::CARD,
            Self::FsyncFail => fsync_fail::CARD,
            Self::LoseUnsynced => lose_unsynced::CARD,
            Self::Mix => mix::CARD,
        }
    }
    /// The nemesis of this name, or of this scenario action.
    ///
    /// # Errors
    /// The names there are.
    pub fn named(name: &str) -> Result<Self, String> {
        let fits = |n: &Self| n.card().name == name;
        let simulated = |n: &Self| n.card().scenario == name;
        let found = Self::ALL.into_iter().find(fits).or_else(|| Self::ALL.into_iter().find(simulated));
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|n| n.card().name).collect();
            format!("there is no nemesis {name:?}; there are {}", names.join(", "))
        })
    }
    /// Who strikes when this one's window comes: itself, or those of a mix.
    #[must_use]
    pub fn strikers(self, seed: Seed, nth: u64, allowed: &[Self]) -> Vec<Self> {
        match self {
            Self::Mix => mix::pair(Draw { seed, nth }, allowed),
            other => vec![other],
        }
    }
    /// What it does in its window number `nth`, to the cluster as it is seen then.
    #[must_use]
    pub fn draw(self, seed: Seed, nth: u64, seen: &Seen) -> Act {
        let draw = Draw { seed, nth };
        match self {
            Self::Kill => kill::act(draw, seen),
            Self::Pause => pause::act(draw, seen),
            Self::Restart => restart::act(draw, seen),
            Self::RegionLoss => region_loss::act(draw, seen),
            Self::Partition => partition::act(draw, seen),
            Self::OneWay => one_way::act(draw, seen),
            Self::Delay => delay::act(draw, seen),
            Self::Loss => loss::act(draw),
            Self::Clock => clock::act(draw, seen),
            Self::DiskFull => disk_full::act(draw, seen),
            Self::FsyncFail => fsync_fail::act(draw, seen),
            // A mix is drawn through its strikers; on its own it is its plainest part.
            Self::LoseUnsynced | Self::Mix => lose_unsynced::act(draw, seen),
        }
    }
}

/// The draws of one window.
#[derive(Clone, Copy, Debug)]
struct Draw {
    seed: Seed,
    nth: u64,
}

const WHOM: Purpose = Purpose::named("nemesis.whom");

impl Draw {
    fn below(self, n: u64, what: Purpose, ordinal: u64) -> u64 {
        self.seed.below(n.max(1), what, self.nth, Instant::ZERO, ordinal)
    }
    /// All nodes in an order of this window's own.
    fn shuffled(self, seen: &Seen) -> Vec<NodeId> {
        let mut nodes = seen.nodes();
        for i in (1..nodes.len()).rev() {
            let j = self.below(i as u64 + 1, WHOM, i as u64) as usize;
            nodes.swap(i, j);
        }
        nodes
    }
    /// A set as most nemeses want it, in turn: the leader, one follower, a minority, a majority.
    /// Recovery from each is another one.
    fn some(self, seen: &Seen) -> Vec<NodeId> {
        let shuffled = self.shuffled(seen);
        let minority = (shuffled.len().saturating_sub(1) / 2).max(1);
        let first = shuffled.first().copied();
        let follower = shuffled.iter().copied().find(|n| Some(*n) != seen.leader);
        match self.nth % 4 {
            0 => seen.leader.or(first).into_iter().collect(),
            1 => shuffled[..minority.min(shuffled.len())].to_vec(),
            2 => follower.or(first).into_iter().collect(),
            _ => shuffled[..(minority + 1).min(shuffled.len())].to_vec(),
        }
    }
    /// A set that leaves a quorum.
    fn minority(self, seen: &Seen) -> Vec<NodeId> {
        let shuffled = self.shuffled(seen);
        let most = (shuffled.len().saturating_sub(1) / 2).max(1) as u64;
        let n = 1 + self.below(most, WHOM, 1_000) as usize;
        if self.nth.is_multiple_of(2)
            && let Some(leader) = seen.leader
        {
            return vec![leader];
        }
        shuffled[..n.min(shuffled.len())].to_vec()
    }
}
