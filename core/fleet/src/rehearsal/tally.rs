//! What must have happened at least once in a sweep, else it tested nothing.

use alloc::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

/// The hard paths: a sweep that has not taken all of them has shown little.
pub const HARD: &[&str] = &[
    "a region cut off created a machine",
    "a region cut off placed a machine",
    "a message of long ago was done",
    "a transaction met a conflict",
    "an answer was lost",
    "a request was asked twice at once",
    "a host lost its power",
    "an agent died",
    "an agent was paused",
    "an agent came back and found machines running",
    "the watchdog killed a machine",
    "a lease was taken after its end",
    "a renewal was refused",
    "storage refused a lower epoch",
    "a late write was refused",
    "a migration was yielded",
    "a migration was called back",
    "a move between regions was committed",
    "a move between regions was called back",
    "a handover was continued by another",
    "a leftover of a handover was turned away",
    "a moved machine was deleted",
    "a block was lent",
    "a block came back",
    "rights were granted",
    "rights were given back",
    "refused: quota",
    "refused: capacity",
    "refused: addresses",
    "refused: not yet stopped",
    "a lost host joined again",
    "two processes had one name",
    "a request outlived its agent",
    "an agent was superseded",
    "an earlier life was refused",
    "one number was asked in two regions",
    "a region's store was restored",
    "a restored region was opened",
    "refused: restored, and not opened yet",
    "a clock lied",
    "a calendar was a year ahead",
    "two hosts ran a machine while a clock lied",
];

impl Tally {
    /// One more.
    pub fn add(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
    /// How many.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
    /// All of another run too.
    pub fn merge(&mut self, other: &Self) {
        for (name, n) in &other.counts {
            *self.counts.entry(name).or_default() += n;
        }
    }
    /// Names and counts; hard paths that were not taken count zero.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let missing = HARD.iter().filter(|name| !self.counts.contains_key(*name)).map(|name| (*name, 0));
        self.counts.iter().map(|(name, n)| (*name, *n)).chain(missing)
    }
    /// Hard paths that were not taken.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> + '_ {
        HARD.iter().copied().filter(|name| self.of(name) == 0)
    }
}
