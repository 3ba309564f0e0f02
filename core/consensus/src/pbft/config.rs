//! Who the members are, their keys, bounds and times; checked when built.

use crate::quorum::NodeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::ops::Deref;
use dwcp_env::bound::VOTERS_MAX;
use dwcp_env::{Duration, NodeId};
use ed25519_dalek::{SigningKey, VerifyingKey};
use thiserror::Error;

/// The widest window: a new view carries up to two claims for each of its places, from each member.
pub const WINDOW_MAX: u64 = 512;
/// How many checkpoints a window has room for, at most.
pub const INTERVALS_MAX: u64 = 4;
/// The most members: traffic is quadratic, and a new view shows a leave of each in one record.
pub const GROUP_MAX: usize = VOTERS_MAX;
/// The widest pipeline.
pub const PIPELINE_MAX: u64 = 32;
/// The most bundles of one member that may be under way: the width of [`super::bundle::Seen`]'s mask.
pub const OUTSTANDING_MAX: u64 = 64;

/// What an epoch is run with. All but `me`, `shared` and `secret` is equal on all members.
#[derive(Clone)]
pub struct Parameters {
    /// Names the group and the epoch: nothing signed under one realm counts in another.
    pub realm: [u8; 32],
    /// This member.
    pub me: NodeId,
    /// All members; four at least.
    pub members: Vec<NodeId>,
    /// Who is primary of view 0, as a place among the sorted members; the others follow in order.
    pub first: usize,
    /// The key this member shares with each, in the order of the sorted members; its own is not used.
    pub shared: Vec<[u8; 32]>,
    /// The seed of this member's Ed25519 key.
    pub secret: [u8; 32],
    /// Everybody's public keys, in the order of the sorted members.
    pub public: Vec<[u8; 32]>,
    /// The operator's Ed25519 key: ends the epoch ([`super::seal`]).
    pub operator: [u8; 32],
    /// How many places of the order may be open above the last stable checkpoint; at least twice `interval`, at most
    /// [`INTERVALS_MAX`] times.
    pub window: u64,
    /// A checkpoint is taken at each multiple of this many places.
    pub interval: u64,
    /// How many batches the primary keeps under way.
    pub pipeline: u64,
    /// How many bundles of its own proposals a member keeps under way; what comes meanwhile is bundled.
    pub outstanding: u64,
    /// How long a known request may wait before its replica gives up the primary; doubles with each view
    /// that brings nothing. Well above five one-way delays and three syncs.
    pub patience: Duration,
    /// How often one that waits says what it has, so that peers send again what it lacks.
    pub resend: Duration,
    /// How often one that does not wait says so.
    pub idle: Duration,
}

/// An epoch as one sees it who is no member of it: enough to judge what its members signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watched {
    /// Names the group and the epoch.
    pub realm: [u8; 32],
    /// All members, in order.
    pub members: Vec<NodeId>,
    /// Their public keys, in the same order.
    pub public: Vec<[u8; 32]>,
}

/// Why a configuration is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ConfigError {
    /// Fewer than four tolerate no liar.
    #[error("fewer than four members tolerate no liar; or more than {GROUP_MAX}, or one twice")]
    Members,
    /// Not a member.
    #[error("this node is not among the members")]
    Stranger,
    /// The first primary is no place.
    #[error("the first primary is not a place among the members")]
    First,
    /// Keys are missing, or are none.
    #[error("one shared and one public key for each member, the own public one of the secret")]
    Keys,
    /// The operator's key is none.
    #[error("the operator's key is no Ed25519 public key")]
    Operator,
    /// Bounds that contradict each other.
    #[error(
        "window, interval, pipeline, outstanding: 1 <= interval, 2 * interval <= window <= {INTERVALS_MAX} * interval and {WINDOW_MAX}, 1 <= pipeline <= window and {PIPELINE_MAX}, 1 <= outstanding <= {OUTSTANDING_MAX}"
    )]
    Bounds,
    /// Times that contradict each other.
    #[error("0 < resend < patience, and resend <= idle")]
    Times,
}

/// A checked configuration; cheap to clone. It is not part of a state's hash: it never changes.
#[derive(Clone)]
pub struct Config(Arc<Inner>);

/// What a configuration holds; read through it.
pub struct Inner {
    pub(super) realm: [u8; 32],
    pub(super) place: usize,
    pub(super) first: usize,
    pub(super) members: Vec<NodeId>,
    pub(super) shared: Vec<[u8; 32]>,
    pub(super) secret: SigningKey,
    #[cfg_attr(not(feature = "rehearsal"), expect(dead_code))]
    pub(super) public: Vec<[u8; 32]>,
    pub(super) verifying: Vec<VerifyingKey>,
    pub(super) operator: VerifyingKey,
    #[cfg(feature = "rehearsal")]
    pub(super) ideal: bool,
    pub(super) liars_max: usize,
    pub(super) quorum: usize,
    pub(super) window: u64,
    pub(super) interval: u64,
    pub(super) pipeline: u64,
    pub(super) outstanding: u64,
    pub(super) patience: Duration,
    pub(super) resend: Duration,
    pub(super) idle: Duration,
}

impl Config {
    /// Checks and seals.
    ///
    /// # Errors
    /// What contradicts what.
    pub fn new(p: Parameters) -> Result<Self, ConfigError> {
        Self::checked(p, true).map(|inner| Self(Arc::new(inner)))
    }

    /// For who only looks on: it holds no key, and nobody would believe what it says.
    pub(super) fn watching(w: &Watched) -> Option<Self> {
        let second = Duration::secs(1);
        let p = Parameters {
            realm: w.realm,
            me: *w.members.first()?,
            members: w.members.clone(),
            first: 0,
            shared: w.public.clone(),
            secret: [0; 32],
            public: w.public.clone(),
            operator: *w.public.first()?,
            window: 2,
            interval: 1,
            pipeline: 1,
            outstanding: 1,
            patience: second * 2,
            resend: second,
            idle: second,
        };
        Self::checked(p, false).ok().map(|inner| Self(Arc::new(inner)))
    }

    /// The same with signatures that only the rehearsal may use: as unforgeable for a liar who uses its own
    /// keys only, and a hundred times cheaper.
    ///
    /// # Errors
    /// What contradicts what.
    #[cfg(feature = "rehearsal")]
    pub fn ideal(p: Parameters) -> Result<Self, ConfigError> {
        let mut inner = Self::checked(p, true)?;
        inner.ideal = true;
        Ok(Self(Arc::new(inner)))
    }

    fn checked(p: Parameters, member: bool) -> Result<Inner, ConfigError> {
        let mut members = p.members;
        members.sort_unstable();
        let n = members.len();
        if !(4..=GROUP_MAX).contains(&n) || members.windows(2).any(|w| w[0] == w[1]) {
            return Err(ConfigError::Members);
        }
        let place = members.binary_search(&p.me).map_err(|_| ConfigError::Stranger)?;
        if p.first >= n {
            return Err(ConfigError::First);
        }
        let secret = SigningKey::from_bytes(&p.secret);
        let verifying: Vec<VerifyingKey> =
            p.public.iter().filter_map(|k| VerifyingKey::from_bytes(k).ok()).collect();
        let own = || !member || verifying[place] == secret.verifying_key();
        if p.shared.len() != n || verifying.len() != n || !own() {
            return Err(ConfigError::Keys);
        }
        let operator = VerifyingKey::from_bytes(&p.operator).ok().filter(|key| !key.is_weak());
        let operator = operator.ok_or(ConfigError::Operator)?;
        let bounds = p.interval >= 1
            && p.interval.checked_mul(2).is_some_and(|double| double <= p.window)
            && p.window <= WINDOW_MAX.min(p.interval * INTERVALS_MAX)
            && (1..=p.window.min(PIPELINE_MAX)).contains(&p.pipeline)
            && (1..=OUTSTANDING_MAX).contains(&p.outstanding);
        if !bounds {
            return Err(ConfigError::Bounds);
        }
        if p.resend == Duration::ZERO || p.resend >= p.patience || p.idle < p.resend {
            return Err(ConfigError::Times);
        }
        let liars_max = (n - 1) / 3;
        Ok(Inner {
            realm: p.realm,
            place,
            first: p.first,
            members,
            shared: p.shared,
            secret,
            public: p.public,
            verifying,
            operator,
            #[cfg(feature = "rehearsal")]
            ideal: false,
            liars_max,
            // Any two share f + 1 members: 2q - n >= f + 1. With n = 3f + 1 this is 2f + 1.
            quorum: (n + liars_max) / 2 + 1,
            window: p.window,
            interval: p.interval,
            pipeline: p.pipeline,
            outstanding: p.outstanding,
            patience: p.patience,
            resend: p.resend,
            idle: p.idle,
        })
    }

    /// How many liars are tolerated: f.
    #[must_use]
    pub fn liars_max(&self) -> usize {
        self.0.liars_max
    }
}

impl Inner {
    pub(super) fn n(&self) -> usize {
        self.members.len()
    }
    pub(super) fn primary(&self, view: u64) -> usize {
        ((view % self.n() as u64) as usize + self.first) % self.n()
    }
    pub(super) fn place_of(&self, node: NodeId) -> Option<usize> {
        self.members.binary_search(&node).ok()
    }
    pub(super) fn others(&self) -> impl Iterator<Item = usize> + use<> {
        let place = self.place;
        (0..self.n()).filter(move |p| *p != place)
    }
    pub(super) fn is_quorum(&self, set: NodeSet) -> bool {
        let least = if super::planted::is(super::Bug::QuorumOfTwoF) { self.quorum - 1 } else { self.quorum };
        set.len() >= least
    }
    /// Whether at least one of these is correct.
    pub(super) fn has_correct(&self, set: NodeSet) -> bool {
        set.len() > self.liars_max
    }
}

impl Deref for Config {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Hash for Config {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys are nobody's to read.
        write!(f, "Config({} of {:?})", self.members[self.place], self.members)
    }
}
