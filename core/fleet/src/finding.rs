//! What announcements that have met say together, and what follows: the backstop behind leases and epochs.
//!
//! Eventual documents carry no decisions: a region or host announces what it believes it has, with the epoch by which
//! it believes so. Merged, two announcements may contradict each other: because one is old, because a clock lied, because somebody
//! wrote past the doors. [`judge`] is a pure function of the *set* of announcements: every node finds the same and nobody
//! needs to be asked. The rule is one: **the higher epoch wins**; the loser is fenced, its interface goes down, it is
//! told of, and nothing of it is deleted.
//!
//! An announcement ends: who still believes it says it again. What has surely ended by the clock at hand is not heard, so
//! that what a machine had long ago takes nothing down that somebody has now. Nodes whose clocks differ may for as long
//! differ about it; what they do about a finding is decided by epochs and not by who was first.

use crate::cidr::Cidr;
use crate::life::phase_may;
use crate::name::{HostName, Region, VmId, VmName};
use crate::record::Phase;
use crate::resources::Resources;
use crate::time::{UNCERTAINTY_MAX, lease_end, surely_past};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use dwcp_env::{Duration, Now, WallTime};
use serde::{Deserialize, Serialize};

/// What somebody believes of a machine.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Announcement {
    /// Which machine.
    pub vm: VmId,
    /// Its name.
    pub name: VmName,
    /// At home where, and under which epoch of ownership.
    pub home: (Region, u64),
    /// Run by whom, and under which fencing epoch.
    pub runs: Option<(HostName, u64)>,
    /// Its addresses: which, of which block, held under which epoch.
    pub addresses: Vec<(IpAddr, Cidr, u64)>,
    /// What it was seen doing, by (epoch, index).
    pub seen: Vec<((u64, u64), Phase)>,
    /// Until when it stands, unless it is said again: at most [`ANNOUNCED_MAX`] from when it was said.
    pub until: WallTime,
}

/// How long an announcement stands at most; who reads one that goes on longer holds it for ended by then.
pub const ANNOUNCED_MAX: Duration = Duration::secs(300);

/// What is wrong, and what follows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Two hosts claim to run a machine: those of lower epochs are to be fenced, storage first.
    RunsTwice {
        /// Which machine.
        vm: VmId,
        /// Who keeps it.
        keeps: (HostName, u64),
        /// Who is to be fenced.
        fence: Vec<(HostName, u64)>,
        /// Whether the highest epoch is claimed twice, which no lease can have given: a person must look.
        tie: bool,
    },
    /// Two regions claim to be a machine's home.
    OwnedTwice {
        /// Which machine.
        vm: VmId,
        /// Which keeps it.
        keeps: (Region, u64),
        /// Which are to quarantine theirs.
        quarantine: Vec<(Region, u64)>,
    },
    /// Two machines claim an address: the losers' interfaces go down.
    AddressTwice {
        /// Which address.
        ip: IpAddr,
        /// Who keeps it.
        keeps: VmId,
        /// Whose interfaces go down.
        down: Vec<VmId>,
        /// Whether epochs did not decide: a person must look.
        tie: bool,
    },
    /// Two machines have one name: the losers are known by others until a person chooses.
    NameTwice {
        /// Which name.
        name: VmName,
        /// Who keeps it.
        keeps: VmId,
        /// What the others are called.
        renamed: Vec<(VmId, VmName)>,
    },
    /// More is booked on a host than it has: nothing further is placed there, a person is told.
    OverCommitted {
        /// Which host.
        host: HostName,
        /// Of what.
        part: alloc::string::String,
        /// How much is claimed.
        claimed: u64,
        /// How much there is.
        there: u64,
    },
    /// A machine was seen to do what can't follow: for a person.
    InvalidTransition {
        /// Which machine.
        vm: VmId,
        /// Under which epoch.
        epoch: u64,
        /// Between which.
        from: Phase,
        /// And which.
        to: Phase,
    },
}

/// What the announcements that stand say together, in order; the same for every order and repetition of them.
#[must_use]
pub fn judge(announced: &[Announcement], now: Now) -> Vec<Finding> {
    // An end further ahead than anybody may say is a mad calendar's.
    let latest = lease_end(now, now.uncertainty * 2 + ANNOUNCED_MAX + UNCERTAINTY_MAX);
    let stands = |one: &&Announcement| !surely_past(one.until, now) && one.until <= latest;
    let all: BTreeSet<&Announcement> = announced.iter().filter(stands).collect();
    let mut by_vm: BTreeMap<VmId, Vec<&Announcement>> = BTreeMap::new();
    for one in &all {
        by_vm.entry(one.vm).or_default().push(one);
    }
    let mut found = Vec::new();
    for (vm, said) in &by_vm {
        twice_run(*vm, said, &mut found);
        twice_owned(*vm, said, &mut found);
        odd_steps(*vm, said, &mut found);
    }
    twice_given(&all, &mut found);
    twice_named(&by_vm, &mut found);
    found.sort();
    found
}

fn twice_run(vm: VmId, said: &[&Announcement], found: &mut Vec<Finding>) {
    let mut claims: Vec<(u64, &HostName)> =
        said.iter().filter_map(|a| a.runs.as_ref().map(|(h, e)| (*e, h))).collect();
    claims.sort_by_key(|(epoch, host)| (u64::MAX - epoch, *host));
    claims.dedup();
    let hosts: BTreeSet<&HostName> = claims.iter().map(|(_, host)| *host).collect();
    let (Some((top, keeps)), true) = (claims.first().copied(), hosts.len() > 1) else { return };
    let fence: Vec<_> =
        claims.iter().filter(|(_, host)| *host != keeps).map(|(e, h)| ((*h).clone(), *e)).collect();
    let tie = fence.iter().any(|(_, epoch)| *epoch == top);
    found.push(Finding::RunsTwice { vm, keeps: (keeps.clone(), top), fence, tie });
}

fn twice_owned(vm: VmId, said: &[&Announcement], found: &mut Vec<Finding>) {
    let mut homes: Vec<(u64, &Region)> = said.iter().map(|a| (a.home.1, &a.home.0)).collect();
    homes.sort_by_key(|(epoch, region)| (u64::MAX - epoch, *region));
    homes.dedup();
    let Some((top, keeps)) = homes.first().copied() else { return };
    let quarantine: Vec<_> =
        homes.iter().filter(|(_, r)| *r != keeps).map(|(e, r)| ((*r).clone(), *e)).collect();
    if !quarantine.is_empty() {
        found.push(Finding::OwnedTwice { vm, keeps: (keeps.clone(), top), quarantine });
    }
}

fn odd_steps(vm: VmId, said: &[&Announcement], found: &mut Vec<Finding>) {
    let seen: BTreeMap<(u64, u64), Phase> = said.iter().flat_map(|a| a.seen.iter().copied()).collect();
    for ((at, from), (next, to)) in seen.iter().zip(seen.iter().skip(1)) {
        if at.0 == next.0 && at.1 + 1 == next.1 && !phase_may(*from, *to) {
            found.push(Finding::InvalidTransition { vm, epoch: at.0, from: *from, to: *to });
        }
    }
}

fn twice_given(all: &BTreeSet<&Announcement>, found: &mut Vec<Finding>) {
    let mut claims: BTreeMap<IpAddr, BTreeMap<VmId, u64>> = BTreeMap::new();
    for one in all {
        for (ip, _, epoch) in &one.addresses {
            let known = claims.entry(*ip).or_default().entry(one.vm).or_default();
            *known = (*known).max(*epoch);
        }
    }
    for (ip, claims) in claims {
        let mut ranked: Vec<(u64, VmId)> = claims.into_iter().map(|(vm, epoch)| (epoch, vm)).collect();
        ranked.sort_by_key(|(epoch, vm)| (u64::MAX - epoch, *vm));
        if let [(top, keeps), losers @ ..] = ranked.as_slice()
            && !losers.is_empty()
        {
            let tie = losers.iter().any(|(epoch, _)| epoch == top);
            found.push(Finding::AddressTwice {
                ip,
                keeps: *keeps,
                down: losers.iter().map(|(_, vm)| *vm).collect(),
                tie,
            });
        }
    }
}

/// The machine that has the name longest keeps it: the lowest number, since nobody's clock decides.
fn twice_named(by_vm: &BTreeMap<VmId, Vec<&Announcement>>, found: &mut Vec<Finding>) {
    let mut names: BTreeMap<&VmName, BTreeSet<VmId>> = BTreeMap::new();
    for (vm, said) in by_vm {
        // What the newest owner calls it.
        if let Some(newest) = said.iter().max_by_key(|a| (a.home.1, *a)) {
            names.entry(&newest.name).or_default().insert(*vm);
        }
    }
    let mut taken: BTreeSet<VmName> = names.keys().map(|name| (*name).clone()).collect();
    for (name, vms) in names {
        let mut vms = vms.into_iter();
        if let Some(keeps) = vms.next() {
            // With as many digits of its number as it takes to be alone; names and numbers are in order, so all find the same.
            let mut another = |vm: VmId| {
                let alone = (8..=32).map(|digits| name.beside(vm, digits)).find(|name| !taken.contains(name));
                let alone = alone.unwrap_or_else(|| name.beside(vm, 32));
                taken.insert(alone.clone());
                (vm, alone)
            };
            let renamed: Vec<_> = vms.map(&mut another).collect();
            if !renamed.is_empty() {
                found.push(Finding::NameTwice { name: name.clone(), keeps, renamed });
            }
        }
    }
}

/// Hosts on which more is claimed than they have.
#[must_use]
pub fn over_committed(
    hosts: &BTreeMap<HostName, Resources>,
    claims: impl IntoIterator<Item = (HostName, Resources)>,
) -> Vec<Finding> {
    let mut sums: BTreeMap<HostName, Resources> = BTreeMap::new();
    for (host, claim) in claims {
        let sum = sums.entry(host).or_default();
        *sum = sum.plus(&claim).unwrap_or(Resources { vms: u64::MAX, ..*sum });
    }
    let mut found = Vec::new();
    for (host, sum) in sums {
        let there = hosts.get(&host).copied().unwrap_or_default();
        if let Some((part, claimed, there)) = sum.lacking(&there) {
            found.push(Finding::OverCommitted { host, part: part.into(), claimed, there });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    fn said(vm: u128, name: &str, home: (&str, u64), runs: Option<(&str, u64)>) -> Announcement {
        Announcement {
            vm: VmId(vm),
            name: name.parse().unwrap(),
            home: (home.0.parse().unwrap(), home.1),
            runs: runs.map(|(h, e)| (h.parse().unwrap(), e)),
            addresses: vec![],
            seen: vec![],
            until: lease_end(NOW, Duration::secs(60)),
        }
    }

    const NOW: Now = Now {
        mono: dwcp_env::Instant::ZERO,
        wall: WallTime::from_nanos(1_000_000_000_000),
        uncertainty: Duration::millis(100),
    };

    #[test]
    fn what_has_ended_takes_nothing_down() {
        let block: Cidr = "10.0.0.0/24".parse().unwrap();
        let (mut old, mut now) = (said(1, "a", ("eu", 1), None), said(2, "b", ("us", 1), None));
        (old.addresses, now.addresses) =
            (vec![("10.0.0.7".parse().unwrap(), block, 2)], vec![("10.0.0.7".parse().unwrap(), block, 1)]);
        assert_eq!(judge(&[old.clone(), now.clone()], NOW).len(), 1);
        let later = Now { wall: lease_end(NOW, Duration::secs(61)), ..NOW };
        now.until = lease_end(later, Duration::secs(60));
        assert_eq!(judge(&[old.clone(), now.clone()], later), []);
        // Nor does one that a mad calendar made to stand for a year.
        old.until = lease_end(later, Duration::secs(86_400 * 365));
        assert_eq!(judge(&[old, now], later), []);
    }

    #[test]
    fn no_second_name_is_a_third_ones() {
        let web = |n: u128| said(n, "web", ("eu", 1), None);
        let found =
            judge(&[web(1), web(7 << 96), web(7 << 96 | 1), said(3, "web-x00000007", ("eu", 1), None)], NOW);
        let [Finding::NameTwice { renamed, .. }] = &found[..] else { panic!("{found:?}") };
        let names: BTreeSet<&str> = renamed.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(names, ["web-x000000070", "web-x0000000700"].into());
    }

    #[test]
    fn the_higher_epoch_keeps_and_the_lower_is_fenced() {
        let all = [said(1, "a", ("eu", 1), Some(("h1", 3))), said(1, "a", ("eu", 1), Some(("h2", 4)))];
        let fence = vec![("h1".parse().unwrap(), 3)];
        let keeps = ("h2".parse().unwrap(), 4);
        assert_eq!(judge(&all, NOW), [Finding::RunsTwice { vm: VmId(1), keeps, fence, tie: false }]);
        let tie = [said(1, "a", ("eu", 1), Some(("h1", 3))), said(1, "a", ("eu", 1), Some(("h2", 3)))];
        assert!(matches!(&judge(&tie, NOW)[..], [Finding::RunsTwice { tie: true, .. }]));
        let again = [said(1, "a", ("eu", 1), Some(("h1", 3))), said(1, "a", ("eu", 1), Some(("h1", 4)))];
        assert_eq!(judge(&again, NOW), []);
    }

    #[test]
    fn an_address_twice_takes_the_older_interface_down() {
        let block: Cidr = "10.0.0.0/24".parse().unwrap();
        let ip = "10.0.0.7".parse().unwrap();
        let (mut a, mut b) = (said(1, "a", ("eu", 1), None), said(2, "b", ("us", 1), None));
        a.addresses = vec![(ip, block, 1)];
        b.addresses = vec![(ip, block, 2)];
        let down = vec![VmId(1)];
        assert_eq!(judge(&[a, b], NOW), [Finding::AddressTwice { ip, keeps: VmId(2), down, tie: false }]);
    }

    #[test]
    fn one_name_for_two_gets_the_second_another() {
        let found = judge(&[said(7 << 96, "web", ("us", 1), None), said(1, "web", ("eu", 1), None)], NOW);
        let renamed = vec![(VmId(7 << 96), "web-x00000007".parse().unwrap())];
        assert_eq!(found, [Finding::NameTwice { name: "web".parse().unwrap(), keeps: VmId(1), renamed }]);
    }

    #[test]
    fn odd_steps_are_for_a_person() {
        let (mut a, mut b) = (said(1, "a", ("eu", 1), None), said(1, "a", ("eu", 1), None));
        a.seen = vec![((2, 1), Phase::Starting), ((2, 2), Phase::Running)];
        b.seen = vec![((2, 3), Phase::Starting), ((3, 1), Phase::Starting)];
        let (from, to) = (Phase::Running, Phase::Starting);
        assert_eq!(judge(&[a, b], NOW), [Finding::InvalidTransition { vm: VmId(1), epoch: 2, from, to }]);
    }

    #[test]
    fn more_than_there_is_is_told() {
        let h: HostName = "h".parse().unwrap();
        let one = Resources { vms: 1, vcpus: 4, ..Resources::NONE };
        let hosts = [(h.clone(), Resources { vms: 9, vcpus: 7, ..Resources::NONE })].into();
        assert_eq!(over_committed(&hosts, [(h.clone(), one)]), []);
        let found = over_committed(&hosts, [(h.clone(), one), (h.clone(), one)]);
        assert_eq!(found, [Finding::OverCommitted { host: h, part: "vcpus".into(), claimed: 8, there: 7 }]);
    }

    fn anything() -> impl Strategy<Value = Announcement> {
        let host = prop::sample::select(vec!["h1", "h2", "h3"]);
        let region = prop::sample::select(vec!["eu", "us"]);
        let name = prop::sample::select(vec!["a", "b"]);
        (1_u128..4, name, region, 1_u64..4, prop::option::of((host, 1_u64..4)), 0_u8..4, 1_u64..4).prop_map(
            |(vm, name, region, home, runs, ip, epoch)| {
                let mut one = said(vm, name, (region, home), runs);
                let block = "10.0.0.0/24".parse().unwrap();
                one.addresses = vec![(core::net::Ipv4Addr::new(10, 0, 0, ip).into(), block, epoch)];
                one
            },
        )
    }

    proptest! {
        #[test]
        fn everyone_finds_the_same(mut all in prop::collection::vec(anything(), 0..12), turn in 0_usize..12) {
            let found = judge(&all, NOW);
            if !all.is_empty() {
                let turn = turn % all.len();
                all.rotate_left(turn);
                all.push(all[0].clone());
            }
            all.reverse();
            prop_assert_eq!(found, judge(&all, NOW));
        }
    }
}
