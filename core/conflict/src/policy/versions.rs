//! Which policy is in force: decided by consensus, by epoch.

use super::{Answer, Policy, Question};
use alloc::collections::BTreeMap;
use alloc::sync::Arc;

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
}

impl Versions {
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
