//! Which states runs have reached, and how many.

use super::{RARE, Seen};
use dwcp_env::Instant;
use std::collections::{BTreeMap, BTreeSet};

/// A probe or event that happened for the 2^`times`-th time in a run.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct State {
    /// Its name.
    pub name: String,
    /// The power of two.
    pub times: u32,
}

/// How many runs reached a state.
#[derive(Clone, Copy, Debug, Default)]
struct Runs {
    plain: u64,
    branched: u64,
    by_branch: bool,
}

/// All states of a search.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    runs: u64,
    states: BTreeMap<State, Runs>,
    /// States of the last run taken that no run before it had reached.
    fresh: BTreeSet<State>,
}

impl Coverage {
    /// Takes what a run reached; gives each state with the moment.
    pub fn take(
        &mut self,
        reached: &BTreeMap<String, Vec<Instant>>,
        branched: bool,
    ) -> Vec<(State, Instant)> {
        self.runs += 1;
        self.fresh.clear();
        let mut out = Vec::new();
        for (name, moments) in reached {
            for (times, at) in moments.iter().enumerate() {
                let state = State { name: name.clone(), times: times as u32 };
                let runs = self.states.entry(state.clone()).or_insert_with(|| {
                    self.fresh.insert(state.clone());
                    Runs { by_branch: branched, ..Runs::default() }
                });
                *if branched { &mut runs.branched } else { &mut runs.plain } += 1;
                out.push((state, *at));
            }
        }
        out
    }
    /// Runs taken.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        self.runs
    }
    /// States known.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.states.len() as u64
    }
    /// Whether nothing is known yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.states.is_empty()
    }
    /// Whether the run taken last was the first to reach it.
    #[must_use]
    pub fn is_new(&self, state: &State) -> bool {
        self.fresh.contains(state)
    }
    /// How many runs reached it.
    #[must_use]
    pub fn plain_or_branched(&self, state: &State) -> u64 {
        self.states.get(state).map_or(0, |r| r.plain + r.branched)
    }
    /// Whether fewer than one run in [`RARE`] reached it; of few runs, whether only one did.
    #[must_use]
    pub fn is_rare(&self, state: &State) -> bool {
        self.plain_or_branched(state) <= (self.runs / RARE).max(1)
    }
    /// All of them, the rarest first.
    #[must_use]
    pub fn seen(&self) -> Vec<Seen> {
        let mut all: Vec<Seen> = self
            .states
            .iter()
            .map(|(s, r)| Seen {
                name: s.name.clone(),
                times: 1 << s.times,
                plain: r.plain,
                branched: r.branched,
                by_branch: r.by_branch,
            })
            .collect();
        all.sort_by_key(|s| s.plain + s.branched);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(what: &[(&str, usize)]) -> BTreeMap<String, Vec<Instant>> {
        let moments = |n: usize| (0..n as u64).map(Instant::from_nanos).collect();
        what.iter().map(|(name, n)| ((*name).to_owned(), moments(*n))).collect()
    }

    #[test]
    fn more_of_the_same_is_a_state_of_its_own() {
        let mut c = Coverage::default();
        assert_eq!(c.take(&reached(&[("a", 2), ("b", 1)]), false).len(), 3);
        let again = c.take(&reached(&[("a", 3)]), true);
        let fresh: Vec<u32> = again.iter().filter(|s| c.is_new(&s.0)).map(|s| s.0.times).collect();
        assert_eq!((fresh, c.len(), c.runs()), (vec![2], 4, 2));
        let seen = c.seen();
        let four = seen.iter().find(|s| s.name == "a" && s.times == 4).unwrap();
        assert!(four.by_branch && four.plain == 0 && four.branched == 1);
    }

    #[test]
    fn rare_is_a_share_of_the_runs_and_once_is_always_rare() {
        let mut c = Coverage::default();
        let a = State { name: "a".into(), times: 0 };
        let _first = c.take(&reached(&[("a", 1)]), false);
        assert!(c.is_rare(&a));
        let _second = c.take(&reached(&[("a", 1)]), false);
        assert!(!c.is_rare(&a), "two of two");
        for _ in 0..RARE * 2 - 2 {
            let _none = c.take(&reached(&[]), false);
        }
        assert!(c.is_rare(&a), "two of {}", RARE * 2);
    }
}
