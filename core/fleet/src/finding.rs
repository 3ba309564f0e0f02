//! What announcements that have met say together, and what follows: the backstop behind leases and epochs.
//!
//! Eventual keyspaces carry no decisions: a region or host announces what it believes it has, with the epoch by which
//! it believes so ([`crate::announce`]). Merged, two announcements may contradict each other: because a clock lied, because a store
//! was restored past what it had acknowledged, because somebody wrote past the doors. [`judge`] is a pure function of the
//! *set* of announcements: every node finds the same and nobody needs to be asked. The rule is one: **the higher epoch
//! wins**; the loser is fenced, its interface goes down, it is told of, and nothing of it is deleted.
//!
//! **Old news contradicts nobody.** A machine that moves is announced by its new home while a node that is cut off still holds
//! the old one's word for it. So each announcement says from when to when it was true for sure ([`Announcement::since`],
//! [`Announcement::said`], each moved inwards by what its clock may be off by), and two contradict each other only if both were true
//! at one time. Moves, failovers and cuts then give no finding, however late anything arrives, while clocks keep what they
//! state. What this costs: two that both believe are found once both have said so since, a beat later.
//!
//! An announcement ends: who still believes it says it again. What has surely ended by the clock at hand is not heard.
//! Nodes whose clocks differ may for as long differ about it; what they do about a finding is decided by epochs and not
//! by who was first.
//!
//! **Rejected.** *Waiting before a finding counts, until what is late must have come*: a cut has no longest time.
//! *Demanding an epoch from a third party*: whoever could give it would have prevented the contradiction.

use crate::cidr::Cidr;
use crate::life::phase_may;
use crate::name::{HostName, Region, VmId, VmName};
use crate::planted::{self, Bug};
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
    /// A region: its name.
    pub name: Option<VmName>,
    /// A region: it is at home there, under which epoch of ownership.
    pub home: Option<(Region, u64)>,
    /// A host: it may be running there, under which fencing epoch.
    pub runs: Option<(HostName, u64)>,
    /// A region: its addresses: which, of which block, held under which epoch.
    pub addresses: Vec<(IpAddr, Cidr, u64)>,
    /// A host: what it was seen doing, by (epoch, index).
    pub seen: Vec<((u64, u64), Phase)>,
    /// It was true at this time for sure,
    pub since: WallTime,
    /// and at this one, and between; where this is the earlier of the two, it can't be said when.
    pub said: WallTime,
    /// Until when it stands, unless it is said again: at most [`ANNOUNCED_MAX`] from when it was said.
    pub until: WallTime,
}

/// How long an announcement stands at most; who reads one that goes on longer holds it for ended by then.
pub const ANNOUNCED_MAX: Duration = Duration::secs(300);
/// How many claims to one thing are weighed; beyond, the weakest are left out. In order there are one or two.
const CLAIMS_MAX: usize = 64;

/// Somebody claims what only one may have, and did so from one time to another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Claim<H> {
    /// The highest epoch comes first, then the lowest name or number.
    rank: core::cmp::Reverse<u64>,
    holder: H,
    since: WallTime,
    said: WallTime,
}

/// Who keeps a thing, who yields it, each with its epoch; and whether the highest was claimed twice.
struct Contest<H> {
    keeps: (H, u64),
    yields: Vec<(H, u64)>,
    tie: bool,
}

impl<H: Ord + Clone> Claim<H> {
    const fn new(epoch: u64, holder: H, of: &Announcement) -> Self {
        Self { rank: core::cmp::Reverse(epoch), holder, since: of.since, said: of.said }
    }
    /// Whether both were true at one time.
    fn meets(&self, other: &Self) -> bool {
        self.since.max(other.since) < self.said.min(other.said) || planted::is(Bug::OldNewsBelieved)
    }
    /// Who keeps a thing, and who yields it: those whose claims meet others', each with its highest epoch.
    fn contest(mut all: Vec<Self>) -> Option<Contest<H>> {
        if all.len() < 2 {
            return None;
        }
        all.sort();
        all.dedup();
        all.truncate(CLAIMS_MAX);
        let contested = |one: &Self| all.iter().any(|other| other.holder != one.holder && one.meets(other));
        let mut known = BTreeSet::new();
        let mut ranked = all
            .iter()
            .filter(|one| contested(one))
            .filter(|one| known.insert(one.holder.clone()))
            .map(|one| (one.holder.clone(), one.rank.0));
        let keeps = ranked.next()?;
        let yields: Vec<_> = ranked.collect();
        let tie = yields.iter().any(|(_, epoch)| *epoch == keeps.1);
        Some(Contest { keeps, yields, tie })
    }
}

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
        /// Whether the highest epoch is claimed twice, which no handover can have given: a person must look.
        tie: bool,
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
    let claims = said.iter().filter_map(|a| a.runs.as_ref().map(|(host, epoch)| Claim::new(*epoch, host, a)));
    if let Some(Contest { keeps: (keeps, top), yields, tie }) = Claim::contest(claims.collect()) {
        let fence = yields.into_iter().map(|(host, epoch)| (host.clone(), epoch)).collect();
        found.push(Finding::RunsTwice { vm, keeps: (keeps.clone(), top), fence, tie });
    }
}

fn twice_owned(vm: VmId, said: &[&Announcement], found: &mut Vec<Finding>) {
    let claims =
        said.iter().filter_map(|a| a.home.as_ref().map(|(region, epoch)| Claim::new(*epoch, region, a)));
    if let Some(Contest { keeps: (keeps, top), yields, tie }) = Claim::contest(claims.collect()) {
        let quarantine = yields.into_iter().map(|(region, epoch)| (region.clone(), epoch)).collect();
        found.push(Finding::OwnedTwice { vm, keeps: (keeps.clone(), top), quarantine, tie });
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
    let mut claims: BTreeMap<IpAddr, Vec<Claim<VmId>>> = BTreeMap::new();
    for one in all {
        for (ip, _, epoch) in &one.addresses {
            claims.entry(*ip).or_default().push(Claim::new(*epoch, one.vm, one));
        }
    }
    for (ip, claims) in claims {
        if let Some(Contest { keeps: (keeps, _), yields, tie }) = Claim::contest(claims) {
            let down = yields.into_iter().map(|(vm, _)| vm).collect();
            found.push(Finding::AddressTwice { ip, keeps, down, tie });
        }
    }
}

/// The machine that has the name longest keeps it: the lowest number, since nobody's clock decides.
fn twice_named(by_vm: &BTreeMap<VmId, Vec<&Announcement>>, found: &mut Vec<Finding>) {
    let mut names: BTreeMap<&VmName, Vec<Claim<VmId>>> = BTreeMap::new();
    for (vm, said) in by_vm {
        // What the newest owner calls it.
        let named = said.iter().filter_map(|a| Some((a.home.as_ref()?.1, *a, a.name.as_ref()?)));
        if let Some((_, one, name)) = named.max() {
            names.entry(name).or_default().push(Claim::new(0, *vm, one));
        }
    }
    let mut taken: BTreeSet<VmName> = names.keys().map(|name| (*name).clone()).collect();
    for (name, claims) in names {
        let Some(Contest { keeps: (keeps, _), yields, .. }) = Claim::contest(claims) else { continue };
        // With as many digits of its number as it takes to be alone; names and numbers are in order, so all find the same.
        let mut another = |vm: VmId| {
            let alone = (8..=32).map(|digits| name.beside(vm, digits)).find(|name| !taken.contains(name));
            let alone = alone.unwrap_or_else(|| name.beside(vm, 32));
            taken.insert(alone.clone());
            (vm, alone)
        };
        let renamed = yields.into_iter().map(|(vm, _)| another(vm)).collect();
        found.push(Finding::NameTwice { name: name.clone(), keeps, renamed });
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
            name: Some(name.parse().unwrap()),
            home: Some((home.0.parse().unwrap(), home.1)),
            runs: runs.map(|(h, e)| (h.parse().unwrap(), e)),
            addresses: vec![],
            seen: vec![],
            since: NOW.wall,
            said: lease_end(NOW, Duration::secs(1)),
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
    fn old_news_contradicts_nobody() {
        let at = |secs| lease_end(NOW, Duration::secs(secs));
        let block: Cidr = "10.0.0.0/24".parse().unwrap();
        let (mut old, mut new) =
            (said(1, "a", ("eu", 1), Some(("h1", 3))), said(1, "a", ("us", 2), Some(("h2", 4))));
        let mut other = said(2, "a", ("eu", 1), None);
        for one in [&mut old, &mut other] {
            one.addresses = vec![("10.0.0.7".parse().unwrap(), block, 1)];
        }
        // What was true until another thing became so, arriving after it.
        for (said, since) in [(10, 10), (10, 12), (5, 4)] {
            old.said = at(said.max(since - 2));
            (new.since, new.said) = (at(since.max(said)), at(40));
            (other.since, other.said) = (at(since.max(said) + 1), at(41));
            assert_eq!(judge(&[old.clone(), new.clone(), other.clone()], NOW).len(), 1, "the name alone");
            assert_eq!(judge(&[old.clone(), new.clone()], NOW), []);
            assert_eq!(judge(&[old.clone(), other.clone()], NOW), []);
        }
        // True at one time.
        old.said = at(14);
        let all = [old, new, other];
        assert_eq!(judge(&all, NOW).len(), 4, "{:?}", judge(&all, NOW));
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
        let times = (0_u64..4, 0_u64..4);
        (1_u128..4, name, region, 1_u64..4, prop::option::of((host, 1_u64..4)), 0_u8..4, (1_u64..4, times))
            .prop_map(|(vm, name, region, home, runs, ip, (epoch, times))| {
                let mut one = said(vm, name, (region, home), runs);
                one.since = lease_end(NOW, Duration::secs(times.0));
                one.said = lease_end(NOW, Duration::secs(times.1));
                let block = "10.0.0.0/24".parse().unwrap();
                one.addresses = vec![(core::net::Ipv4Addr::new(10, 0, 0, ip).into(), block, epoch)];
                one
            })
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
