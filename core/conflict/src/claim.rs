//! What only one may hold, and what must not exceed a limit: seen where announcements merge.
//!
//! **Promise.** These conflicts should not arise: leases with fencing epochs and escrow prevent them. This is the backstop that sees it if they do,
//! on every node alike, and says who yields. Nothing here grants anything.
//!
//! | found | rule | then |
//! |---|---|---|
//! | two epochs of one lease announced | the higher keeps | the lower is fenced and told; never deleted |
//! | one epoch, two holders ([`Contest::split`]) | the first by (time, dot) keeps | whoever grants has two heads: stop granting, page |
//! | more taken than there is ([`Excess`]) | nobody yields by itself | over-commit report |
//!
//! **Invariant.** What [`Claims`] says of a resource is a function of the set of announcements received: `tests` permute them.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use dwcp_crdt::{Dot, Hlc};

/// Someone announces that they hold something alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// What: `address 10.0.0.7`, `vm web-1 runs`.
    pub resource: Arc<str>,
    /// Who.
    pub holder: Arc<str>,
    /// The lease's fencing epoch.
    pub epoch: u64,
    /// The announcement's name.
    pub dot: Dot,
    /// When it was made.
    pub hlc: Hlc,
}

impl Claim {
    /// The larger the stronger.
    fn strength(&self) -> impl Ord + use<> {
        (self.epoch, core::cmp::Reverse((self.hlc, self.dot)))
    }
}

/// Two hold what only one may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contest {
    /// Who keeps it.
    pub keeps: Claim,
    /// Who is to be fenced.
    pub yields: Claim,
    /// Both under one epoch: it was granted twice.
    pub split: bool,
}

/// Who has announced what.
#[derive(Clone, Debug, Default)]
pub struct Claims(BTreeMap<Arc<str>, Vec<Claim>>);

impl Claims {
    /// Takes an announcement; tells with whom it collides. A holder's later epoch replaces its earlier one; one that was
    /// announced before changes nothing.
    pub fn announce(&mut self, claim: Claim) -> Option<Contest> {
        let all = self.0.entry(claim.resource.clone()).or_default();
        match all.iter_mut().find(|c| c.holder == claim.holder) {
            Some(old) if old.strength() >= claim.strength() => return None,
            Some(old) => *old = claim.clone(),
            None => all.push(claim.clone()),
        }
        let other = all.iter().filter(|c| c.holder != claim.holder).max_by_key(|c| c.strength())?;
        let (keeps, yields) =
            if other.strength() > claim.strength() { (other.clone(), claim) } else { (claim, other.clone()) };
        Some(Contest { split: keeps.epoch == yields.epoch, keeps, yields })
    }
    /// Takes back what a holder announced under an epoch, or earlier.
    pub fn release(&mut self, resource: &str, holder: &str, epoch: u64) {
        if let Some(all) = self.0.get_mut(resource) {
            all.retain(|c| &*c.holder != holder || c.epoch > epoch);
            if all.is_empty() {
                self.0.remove(resource);
            }
        }
    }
    /// Who holds it, as far as announcements tell.
    #[must_use]
    pub fn holder(&self, resource: &str) -> Option<&Claim> {
        self.0.get(resource)?.iter().max_by_key(|c| c.strength())
    }
    /// All that is held twice: who keeps it, and each who yields.
    pub fn contests(&self) -> impl Iterator<Item = Contest> + '_ {
        self.0.values().filter(|all| all.len() > 1).flat_map(|all| {
            let keeps = all.iter().max_by_key(|c| c.strength());
            keeps.into_iter().flat_map(|keeps| {
                let others = all.iter().filter(|c| c.holder != keeps.holder);
                others.map(|c| Contest {
                    keeps: keeps.clone(),
                    yields: c.clone(),
                    split: c.epoch == keeps.epoch,
                })
            })
        })
    }
}

/// More was taken than there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Excess {
    /// What is taken, all together.
    pub taken: u64,
    /// What there is.
    pub limit: u64,
}

/// A limit, and what each has taken of it.
#[derive(Clone, Debug)]
pub struct Capacity {
    limit: u64,
    taken: BTreeMap<Arc<str>, u64>,
    /// The sum; saturated, which is beyond every limit.
    sum: u64,
}

impl Capacity {
    /// With this limit, nothing taken.
    #[must_use]
    pub const fn new(limit: u64) -> Self {
        Self { limit, taken: BTreeMap::new(), sum: 0 }
    }
    /// Someone's share is now this much; tells if that is too much for all together.
    pub fn set(&mut self, holder: &Arc<str>, amount: u64) -> Option<Excess> {
        let had =
            if amount == 0 { self.taken.remove(holder) } else { self.taken.insert(holder.clone(), amount) };
        self.sum = match self.sum {
            u64::MAX => self.taken.values().fold(0, |sum, a| sum.saturating_add(*a)),
            sum => (sum - had.unwrap_or(0)).saturating_add(amount),
        };
        self.excess()
    }
    /// Another limit.
    pub fn set_limit(&mut self, limit: u64) -> Option<Excess> {
        self.limit = limit;
        self.excess()
    }
    /// What is too much.
    #[must_use]
    pub const fn excess(&self) -> Option<Excess> {
        if self.sum > self.limit { Some(Excess { taken: self.sum, limit: self.limit }) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_crdt::ReplicaIndex;
    use proptest::prelude::*;

    fn claim(holder: &str, epoch: u64, millis: u64) -> Claim {
        let dot = Dot::new(ReplicaIndex(u16::from(holder.as_bytes()[0])), millis + 1);
        Claim { resource: "a".into(), holder: holder.into(), epoch, dot, hlc: Hlc::at(millis) }
    }

    #[test]
    fn the_higher_epoch_keeps_and_one_epoch_twice_is_a_split() {
        let mut c = Claims::default();
        assert_eq!(c.announce(claim("x", 3, 10)), None);
        assert_eq!(c.announce(claim("x", 3, 10)), None, "again");
        let contest = c.announce(claim("y", 4, 5)).unwrap();
        assert_eq!((&*contest.keeps.holder, &*contest.yields.holder, contest.split), ("y", "x", false));
        let contest = c.announce(claim("z", 4, 6)).unwrap();
        assert_eq!((&*contest.keeps.holder, &*contest.yields.holder, contest.split), ("y", "z", true));
        c.release("a", "y", 4);
        c.release("a", "z", 3);
        assert_eq!(&*c.holder("a").unwrap().holder, "z", "an older release takes nothing");
    }

    #[test]
    fn too_much_is_told_and_forgotten_when_it_is_given_back() {
        let mut c = Capacity::new(10);
        assert_eq!(c.set(&"x".into(), 6), None);
        assert_eq!(c.set(&"y".into(), 6), Some(Excess { taken: 12, limit: 10 }));
        assert_eq!(c.set(&"y".into(), u64::MAX), Some(Excess { taken: u64::MAX, limit: 10 }));
        assert_eq!(c.set(&"y".into(), 4), None);
        assert_eq!(c.set_limit(9), Some(Excess { taken: 10, limit: 9 }));
    }

    proptest! {
        #[test]
        fn who_holds_does_not_depend_on_the_order_of_announcements(
            claims in prop::collection::vec((0usize..4, 0u64..4, 0u64..9), 1..12), shift in 0usize..12
        ) {
            let all: Vec<Claim> =
                claims.iter().map(|(h, e, t)| claim(["w", "x", "y", "z"][*h], *e, *t)).collect();
            let (mut a, mut b) = (Claims::default(), Claims::default());
            all.iter().for_each(|c| drop(a.announce(c.clone())));
            let mut other = all.clone();
            other.rotate_left(shift % all.len());
            other.reverse();
            other.iter().for_each(|c| drop(b.announce(c.clone())));
            prop_assert_eq!(a.holder("a"), b.holder("a"));
            let key = |c: &Contest| (c.yields.dot, c.keeps.dot);
            let sorted = |c: &Claims| { let mut v: Vec<Contest> = c.contests().collect(); v.sort_by_key(key); v };
            prop_assert_eq!(sorted(&a), sorted(&b));
        }
    }
}
