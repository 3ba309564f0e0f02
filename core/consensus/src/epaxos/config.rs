//! What a replica is told when it is built, and what it may not be told.

use super::message::Deps;
use crate::quorum::{Needs, NodeSet, Phase, Quorums, Refusal, System, admit};
use crate::step::Payload;
use alloc::vec::Vec;
use dwcp_env::{Duration, NodeId};
use thiserror::Error;

/// Keys a command may name before it counts as touching everything.
pub const KEYS_MAX: usize = 64;
/// The most members: a recovery validates against every one, and a fast quorum of 15 is 11.
pub const GROUP_MAX: usize = 15;

/// What a command does to a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Access {
    /// Leaves it as it is: commutes with other reads.
    Read,
    /// May change it.
    Write,
}

/// What a command touches. Two commands interfere if they touch a key in common and one of them writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Footprint {
    /// Everything.
    All,
    /// These keys, by a 64-bit hash each; at most [`KEYS_MAX`], else it counts as `All`.
    Keys(Vec<(u64, Access)>),
}

/// What a replica is told. Everything but `me` and `seed` must be equal in the whole group.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This replica.
    pub me: NodeId,
    /// All replicas, sorted.
    pub members: Vec<NodeId>,
    /// Who must answer, and with it the rule of the fast path: [`System::Majority`], all of a fast quorum know nothing to add;
    /// [`System::atlas`], whatever was added was added by as many as may be gone (`atlas.rs`).
    pub quorums: System,
    /// What a command touches. Pure: the same bytes touch the same keys on every replica.
    pub footprint: fn(&[u8]) -> Footprint,
    /// Keys fall into this many buckets, and interfere by bucket: bounds the memory of dependencies.
    pub buckets: u32,
    /// An unanswered message is sent again after this; several round trips.
    pub resend: Duration,
    /// An instance that others began and that is not decided after this is recovered; well above `resend`.
    pub recover_after: Duration,
    /// What is known is told to peers that lag, this often.
    pub beat: Duration,
    /// A proposal or read without outcome is given up after this.
    pub give_up_after: Duration,
    /// A bucket with this many commands not yet executed takes no proposals here until it drains.
    pub chain_max: usize,
    /// Executed instances kept for lagging peers after they are in a checkpoint.
    pub retain: usize,
    /// A marker is proposed when this many instances are executed behind the last.
    pub marker_every: u64,
    /// The root of the draws that spread recoveries.
    pub seed: u64,
}

/// Why settings are refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// The list of members.
    #[error("members must be sorted, without repetition, 1 to {GROUP_MAX}, and include this replica")]
    Members,
    /// The quorum system.
    #[error(
        "EPaxos needs majorities of exactly its members, or those of Atlas: other systems lack its fast intersections"
    )]
    Quorums,
    /// Atlas' quorums do not meet as they must.
    #[error("Atlas' rule: {0}")]
    Atlas(Refusal),
    /// A number out of its range.
    #[error("{0} is out of range")]
    Range(&'static str),
}

/// Settings that were checked.
#[derive(Clone, Debug)]
pub struct Config {
    pub(super) set: Settings,
    /// How many replicas.
    pub(super) n: usize,
    /// Our place among them.
    pub(super) place: u8,
    /// How many a slow quorum misses at most: F of the paper.
    pub(super) slow_misses: usize,
    /// How many a fast quorum misses at most: E of the paper.
    pub(super) fast_misses: usize,
    /// Atlas' rule: what is added must have been added by so many, and so many may be gone at once.
    pub(super) reported: Option<usize>,
}

impl Settings {
    /// Checks them.
    ///
    /// # Errors
    /// The first setting that cannot be.
    pub fn check(self) -> Result<Config, ConfigError> {
        let n = self.members.len();
        if n == 0 || n > GROUP_MAX || !self.members.is_sorted_by(|a, b| a < b) {
            return Err(ConfigError::Members);
        }
        let place = self.members.binary_search(&self.me).map_err(|_| ConfigError::Members)?;
        let (slow_misses, fast_misses, reported) = misses(&self.quorums, &self.members)?;
        let range = |bad: bool, what| if bad { Err(ConfigError::Range(what)) } else { Ok(()) };
        range(self.buckets == 0 || self.buckets > 1 << 20, "buckets (1 to 1,048,576)")?;
        range(self.resend == Duration::ZERO, "resend (above 0)")?;
        range(self.recover_after <= self.resend, "recover_after (above resend)")?;
        range(self.beat == Duration::ZERO, "beat (above 0)")?;
        range(self.give_up_after <= self.recover_after, "give_up_after (above recover_after)")?;
        range(self.chain_max == 0 || self.chain_max > 1 << 12, "chain_max (1 to 4,096)")?;
        range(self.retain > 1 << 16, "retain (at most 65,536)")?;
        range(self.marker_every == 0, "marker_every (above 0)")?;
        Ok(Config { n, place: place as u8, slow_misses, fast_misses, reported, set: self })
    }
}

/// Whether a group of these members (sorted) can run under these quorums.
///
/// # Errors
/// Why not.
pub fn admits(quorums: &System, members: &[NodeId]) -> Result<(), ConfigError> {
    misses(quorums, members).map(|_| ())
}

/// How many a slow and a fast quorum miss at most, and how many must report under Atlas' rule.
fn misses(quorums: &System, members: &[NodeId]) -> Result<(usize, usize, Option<usize>), ConfigError> {
    let n = members.len();
    if quorums.members() != n {
        return Err(ConfigError::Quorums);
    }
    let least = |phase| (1..=n).find(|k| quorums.is_quorum(phase, NodeSet::first(*k))).unwrap_or(n);
    let (prepare, accept, fast) = (least(Phase::Prepare), least(Phase::Accept), least(Phase::Fast));
    match quorums {
        System::Majority { .. } => {
            let (f, e) = (n - accept.max(prepare), n - fast);
            // The theorem of the paper: n >= max(2e + f - 1, 2f + 1), and fast quorums are no smaller than slow ones.
            if n + 1 < 2 * e + f || n < 2 * f + 1 || e > f {
                return Err(ConfigError::Quorums);
            }
            Ok((f, e, None))
        }
        System::Threshold { .. } => {
            admit(quorums, members, Needs::Atlas).map_err(ConfigError::Atlas)?;
            let bears = n - prepare;
            let sized = accept == n / 2 + 1 && fast == n / 2 + bears;
            if !sized || bears == 0 || bears > n - accept {
                return Err(ConfigError::Quorums);
            }
            Ok((n - accept, n - fast, Some(bears)))
        }
        _ => Err(ConfigError::Quorums),
    }
}

/// A footprint by bucket, in canonical form: sorted, one entry a bucket, writing outweighs reading.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Touch {
    Nothing,
    All,
    Buckets(Vec<(u32, Access)>),
}

impl Config {
    pub(super) fn touch(&self, payload: &Payload) -> Touch {
        let command = match payload {
            // A marker: see `marker.rs`.
            Payload::Blank | Payload::Seal(_) => return Touch::All,
            Payload::Command(c) => c,
        };
        match (self.set.footprint)(command) {
            Footprint::Keys(keys) if keys.len() <= KEYS_MAX => {
                let mut buckets: Vec<_> =
                    keys.into_iter().map(|(k, a)| ((k % u64::from(self.set.buckets)) as u32, a)).collect();
                // A write sorts behind a read of the same bucket: keep the last of each.
                buckets.sort_unstable();
                buckets.reverse();
                buckets.dedup_by_key(|(b, _)| *b);
                buckets.reverse();
                Touch::Buckets(buckets)
            }
            _ => Touch::All,
        }
    }
    pub(super) fn me(&self) -> usize {
        usize::from(self.place)
    }
    /// Others' places, in order.
    pub(super) fn others(&self) -> impl Iterator<Item = u8> + use<> {
        let me = self.place;
        (0..self.n as u8).filter(move |p| *p != me)
    }
    pub(super) fn is_slow_quorum(&self, set: NodeSet) -> bool {
        set.len() >= self.n - self.slow_misses
    }
    pub(super) fn fast_size(&self) -> usize {
        self.n - self.fast_misses
    }
    /// The next ballot of ours above `ballot`.
    pub(super) fn ballot_above(&self, ballot: u64) -> u64 {
        let n = self.n as u64;
        (ballot / n + 1) * n + u64::from(self.place)
    }
    /// Whose ballot it is; ballot 0 belongs to the instance's own replica.
    pub(super) fn owner(&self, replica: u8, ballot: u64) -> u8 {
        if ballot == 0 { replica } else { (ballot % self.n as u64) as u8 }
    }
    pub(super) fn none(&self) -> Deps {
        Deps::none(self.n)
    }
}

impl Touch {
    /// Whether two commands that touch this much interfere.
    pub(super) fn interferes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Nothing, _) | (_, Self::Nothing) => false,
            (Self::All, _) | (_, Self::All) => true,
            (Self::Buckets(a), Self::Buckets(b)) => a.iter().any(|(bucket, access)| {
                b.binary_search_by_key(bucket, |(b, _)| *b)
                    .is_ok_and(|at| *access == Access::Write || b[at].1 == Access::Write)
            }),
        }
    }
}
