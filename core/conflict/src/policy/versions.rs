//! Which policy is in force: decided by consensus, by epoch.
//!
//! Each policy has a higher version and a later epoch than the one before. So a policy that is decided with an epoch in the far future, or with the highest
//! version there can be, could never be followed, nor taken back: who proposes one is held to [`AHEAD_MAX`] and [`SKIP_MAX`]
//! ([`Versions::follows`]). Who learns what was decided is not ([`Versions::add`]): it is decided, whatever the clock says by then.

use super::{Answer, Policy, Question};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;

/// How far ahead of the present epoch a policy may be proposed, where an epoch is a second: thirty days.
pub const AHEAD_MAX: u64 = 30 * 24 * 3_600;
/// How far above the latest version a proposed one may be; where there is none, above 0.
pub const SKIP_MAX: u32 = 1_000;

/// Policies by the epoch from which on each counts.
#[derive(Clone, Debug, Default)]
pub struct Versions(BTreeMap<u64, Arc<Policy>>);

/// A policy that is not in force. Nothing was settled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotActive {
    /// Another version is.
    #[error(
        "policy version {asked} is not in force in epoch {epoch}, version {active} is: fetch the policies, then settle anew"
    )]
    Other {
        /// The version asked for.
        asked: u32,
        /// The version in force.
        active: u32,
        /// The epoch.
        epoch: u64,
    },
    /// None is yet.
    #[error("no policy is in force in epoch {epoch}: load one that activates by then")]
    None {
        /// The epoch.
        epoch: u64,
    },
}

/// A policy that can't follow those there are. Nothing changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotNext {
    /// Its version is not newer.
    #[error("version {version} does not follow version {last}: give it a higher one")]
    Version {
        /// Its version.
        version: u32,
        /// The newest.
        last: u32,
    },
    /// It would count from an epoch that has begun, or before one that was decided earlier.
    #[error(
        "it activates in epoch {activates}, which is not after {after}: answers were given by then; choose a later one"
    )]
    Epoch {
        /// When it activates.
        activates: u64,
        /// The present epoch, or the last activation.
        after: u64,
    },
    /// It would count from an epoch so far ahead that none could follow it until then.
    #[error(
        "it activates in epoch {activates}, {} ahead of the present, {epoch}: no other policy could count before it. An epoch is a second since 1970; give one within 30 days{}",
        days(activates - epoch), instead(*.activates, *.epoch)
    )]
    Ahead {
        /// When it activates.
        activates: u64,
        /// The present epoch.
        epoch: u64,
    },
    /// Its version is so high that few could follow.
    #[error(
        "version {version} is more than {SKIP_MAX} above {last}, the latest: versions only grow, and what is skipped is lost; give it version {}",
        last.saturating_add(1)
    )]
    Skips {
        /// Its version.
        version: u32,
        /// The newest; 0 if there is none.
        last: u32,
    },
}

fn days(epochs: u64) -> String {
    format!("{} days", epochs / (24 * 3_600))
}

/// What was probably meant: milliseconds are the common mistake.
fn instead(activates: u64, epoch: u64) -> String {
    let seconds = activates / 1_000;
    if seconds.abs_diff(epoch) > AHEAD_MAX {
        return String::new();
    }
    format!(" (these look like milliseconds: in seconds they are {seconds})")
}

impl Versions {
    /// Whether a policy may be proposed now: it follows those there are, and others can follow it.
    ///
    /// # Errors
    /// If it may not.
    pub fn follows(&self, policy: &Policy, epoch: u64) -> Result<(), NotNext> {
        let last = self.0.last_key_value().map_or(0, |(_, p)| p.version);
        if policy.version.saturating_sub(last) > SKIP_MAX {
            return Err(NotNext::Skips { version: policy.version, last });
        }
        if policy.activates > epoch.saturating_add(AHEAD_MAX) {
            return Err(NotNext::Ahead { activates: policy.activates, epoch });
        }
        self.clone().add(policy.clone(), epoch)
    }
    /// Takes a policy that consensus decided in an epoch.
    ///
    /// # Errors
    /// If it does not follow: each node must come to the same history of policies.
    pub fn add(&mut self, policy: Policy, epoch: u64) -> Result<(), NotNext> {
        if let Some((_, last)) = self.0.last_key_value() {
            // The same again is no change.
            if last.version == policy.version && last.digest == policy.digest {
                return Ok(());
            }
            if policy.version <= last.version {
                return Err(NotNext::Version { version: policy.version, last: last.version });
            }
            let after = epoch.max(last.activates);
            if policy.activates <= after {
                return Err(NotNext::Epoch { activates: policy.activates, after });
            }
        }
        self.0.insert(policy.activates, Arc::new(policy));
        Ok(())
    }
    /// The policy in force in an epoch.
    #[must_use]
    pub fn active(&self, epoch: u64) -> Option<&Arc<Policy>> {
        self.0.range(..=epoch).next_back().map(|(_, p)| p)
    }
    /// Settles a question under the version the asker believes to be in force.
    ///
    /// # Errors
    /// If it is not.
    pub fn settle(&self, version: u32, epoch: u64, question: &Question<'_>) -> Result<Answer, NotActive> {
        let active = self.active(epoch).ok_or(NotActive::None { epoch })?;
        if active.version != version {
            return Err(NotActive::Other { asked: version, active: active.version, epoch });
        }
        Ok(active.settle(question))
    }
    /// Forgets what stopped counting before an epoch.
    pub fn forget(&mut self, epoch: u64) {
        if let Some(first) = self.0.range(..=epoch).next_back().map(|(e, _)| *e) {
            self.0 = self.0.split_off(&first);
        }
    }
}
