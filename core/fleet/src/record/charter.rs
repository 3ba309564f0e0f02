//! What ends with a life, and must not come back out of a backup: the charter of a region's store, and the lives of its
//! hosts' agents. They lie under `live/`, which **a backup leaves out** ([`crate::key::Key::of_a_life`]).
//!
//! So a restored store knows that it is one: it has no charter, and gives nothing (no place, no address, no name) until an
//! operator opens it anew ([`crate::command::Command::Reopen`]). The fleet's store counts the openings. An opening is the
//! upper half of every fencing epoch and every agent's life given under it, so that none is given twice however much the
//! store has forgotten; and it begins with a wait as long as the longest lease that the lost history may have given.
//!
//! **Rejected.** *Raising epochs to the highest that storage has seen*: storage sees what is shown to it; an epoch that was
//! given and not shown yet would be given again, and two hosts show it. *Epochs from the fleet's store*: a region that is
//! cut off could place nothing. *Epochs of the calendar*: a clock set back gives them again. *Noticing a restore by
//! itself* (by the store's revision, or the cluster's number): a restore in place changes neither for sure; what is
//! missing can't be mistaken.

use crate::name::RequestKey;
use crate::planted::{self, Bug};
use alloc::vec::Vec;
use dwcp_env::WallTime;
use serde::{Deserialize, Serialize};

/// How many registrations an agent's record remembers.
const ASKED_MAX: usize = 8;

/// A region's store may give: since which opening, and not before when.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charter {
    /// Which opening of the store this is; 1 is the first.
    pub opening: u64,
    /// When every lease that an earlier opening may have given has surely ended.
    pub from: WallTime,
}

impl Charter {
    /// No epoch and no life that an earlier opening gave is above this.
    #[must_use]
    pub fn floor(&self) -> u64 {
        if planted::is(Bug::RestoredAsOne) { 0 } else { self.opening.saturating_sub(1) << 32 }
    }
    /// In which opening, counted from 0, an epoch or a life was given.
    #[must_use]
    pub const fn opening_of(number: u64) -> u64 {
        number >> 32
    }
    /// The number to give after one that is known.
    #[must_use]
    pub fn after(&self, known: u64) -> u64 {
        1 + if known < self.floor() { self.floor() } else { known }
    }
}

/// Which life of a host's agent is the current one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tenure {
    /// Its number; grows with every registration.
    pub life: u64,
    /// The latest registrations, and which life each got: asked again, none ends a later one.
    asked: Vec<(RequestKey, u64)>,
}

impl Tenure {
    /// The life that a registration got, if it was done.
    #[must_use]
    pub fn given(&self, key: RequestKey) -> Option<u64> {
        self.asked.iter().find(|(asked, _)| *asked == key).map(|(_, life)| *life)
    }
    /// The next life begins.
    pub fn begin(&mut self, key: RequestKey, charter: &Charter) {
        self.life = charter.after(self.life);
        self.asked.push((key, self.life));
        if self.asked.len() > ASKED_MAX {
            self.asked.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_opening_gives_what_another_gave() {
        let [first, second] = [1, 2].map(|opening| Charter { opening, from: WallTime::default() });
        assert_eq!((first.after(0), first.after(7)), (1, 8));
        assert_eq!((second.after(0), second.after(7)), ((1 << 32) + 1, (1 << 32) + 1));
        assert_eq!(
            second.after(1 << 33),
            (1 << 33) + 1,
            "a machine that comes from elsewhere brings its epoch"
        );
    }
}
