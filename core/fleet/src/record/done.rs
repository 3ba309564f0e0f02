//! Requests that were done: asked again, they are not done again over what came after them.

use crate::name::RequestKey;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// How many requests a record remembers. A retry that comes after so many others were done is done again.
pub const DONE_MAX: usize = 16;

/// The latest requests that a record has taken, newest last: those that changed it, and those that found it so already.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Done(Vec<RequestKey>);

impl Done {
    /// Whether this request was done.
    #[must_use]
    pub fn has(&self, key: RequestKey) -> bool {
        self.0.contains(&key)
    }
    /// It is done.
    pub fn add(&mut self, key: RequestKey) {
        self.0.push(key);
        if self.0.len() > DONE_MAX {
            self.0.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut done = Done::default();
        for key in 0..=DONE_MAX as u128 {
            done.add(RequestKey(key));
        }
        assert!(
            !done.has(RequestKey(0)) && done.has(RequestKey(1)) && done.has(RequestKey(DONE_MAX as u128))
        );
    }
}
