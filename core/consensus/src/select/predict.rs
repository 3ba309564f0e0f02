//! How long a write takes under each engine, from round trips alone.
//!
//! | engine | a write of a client in region c |
//! |---|---|
//! | Raft, Multi-Paxos | c to the leader and back, and the leader to its nearest accept quorum and back |
//! | EPaxos | its member's nearest fast quorum and back; a write that meets another one on its way also the vote of a classic quorum, and the other's decision, told by the member that saw both |
//! | PBFT | to the primary, then three times to everybody (pre-prepare, prepare, commit), by the time at which each has a quorum |
//! | eventual | the nearest member |
//! | hybrid | by keyspace: as its own chain under its own leader, or as eventual |
//!
//! Each round that must be on disk costs one sync ([`SYNCS`]). A link that loses messages costs a further round trip for
//! each lost one. p99 takes every link at its own p99: an upper bound, as not all are slow at once.
//!
//! **EPaxos under conflicts.** The length of chains of dependencies has no closed form; [`CHAIN`] is fitted to what
//! the protocol did with measured round trips (`core/consensus/examples/wide_area`).

use super::choice::{Forecast, Latency};
use super::measure::{NEVER, Path, View};
use super::policy::Policy;
use super::quantity::Share;
use crate::quorum::{NodeSet, Phase, Quorums, System};
use alloc::vec;
use alloc::vec::Vec;
use dwcp_env::Duration;

/// Syncs one after the other in a write.
struct Syncs {
    leader: u64,
    fast: u64,
    slow: u64,
    byzantine: u64,
}

/// Leader: its own and its followers' at the same time. EPaxos: the command, the answers, the fast decision or the
/// votes (two, again one behind the other). PBFT: taken note of by the primary, by the others, prepared.
const SYNCS: Syncs = Syncs { leader: 1, fast: 3, slow: 4, byzantine: 3 };

/// What chains of dependencies add to a write that meets others, as shares of the longest single wait.
struct Chain {
    /// At few conflicts and at nothing but conflicts, on average.
    base: u64,
    /// Added to that where half of the writes conflict.
    half: u64,
    /// Added to the slowest where half of the writes conflict.
    tail: u64,
}

/// In hundredths.
const CHAIN: Chain = Chain { base: 80, half: 30, tail: 60 };
/// Between these shares of conflicts the 99th percentile goes over from the fast path to chains.
const TAIL: (Share, Share) = (Share::percent(2), Share::percent(6));
/// Writers in one region do not surprise each other: what conflicts is counted in full once this many times the share
/// that is written elsewhere makes a whole.
const ELSEWHERE: u128 = 4;
/// The slowest share of writes whose mean is told as p99 of all regions together: 98th to 100th percentile, so that it
/// does not jump where a region's share of the writes crosses one in a hundred.
const SLOWEST: Share = Share::percent(2);

/// Which figure of each link is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Mean = 0,
    P99 = 1,
}

/// Round trips between regions and members, with what losses cost.
pub(super) struct Model<'a> {
    pub(super) view: &'a View,
    policy: &'a Policy,
    /// By region and region, for each [`At`].
    regions: [Vec<Vec<u64>>; 2],
    /// By member and member, for each [`At`]: to and from those that are down never.
    members: [Vec<Vec<u64>>; 2],
    /// By region: the member that serves its clients, the nearest.
    contacts: Vec<Option<usize>>,
}

impl<'a> Model<'a> {
    pub(super) fn new(view: &'a View, policy: &'a Policy) -> Self {
        let regions = [expected, slow].map(|figure: fn(&Path) -> u64| -> Vec<Vec<u64>> {
            view.paths.iter().map(|row| row.iter().map(figure).collect()).collect()
        });
        let n = view.members.len();
        let members = [At::Mean, At::P99].map(|at| {
            let between = |a: usize, b: usize| match (view.up[a] && view.up[b], a == b) {
                (false, _) => NEVER,
                (true, true) => 0,
                (true, false) => regions[at as usize][view.home[a]][view.home[b]],
            };
            (0..n).map(|a| (0..n).map(|b| between(a, b)).collect()).collect()
        });
        let near = |client: usize, member: usize| regions[At::Mean as usize][client][view.home[member]];
        let contact = |client| {
            let reached = (0..n).filter(|m| view.up[*m] && near(client, *m) != NEVER);
            reached.min_by_key(|m| (near(client, *m), *m))
        };
        let contacts = (0..view.regions.len()).map(contact).collect();
        Self { view, policy, regions, members, contacts }
    }

    pub(super) fn rtt(&self, at: At, a: usize, b: usize) -> u64 {
        self.regions[at as usize][a][b]
    }
    /// By member: a round trip from member `from`.
    fn from(&self, at: At, from: usize) -> &[u64] {
        &self.members[at as usize][from]
    }
    /// The member that serves a client, and the round trip to it.
    fn contact(&self, at: At, client: usize) -> Option<(usize, u64)> {
        let member = self.contacts[client]?;
        Some((member, self.rtt(at, client, self.view.home[member])))
    }

    /// The member through which a client's writes are done first, and both round trips to it. Not the nearest one: where
    /// two are as near, a breath of wind would move the forecast from one's quorums to the other's.
    fn best_contact(&self, client: usize, through: impl Fn(usize) -> u64) -> Option<(usize, u64, u64)> {
        let way = |at, m: usize| self.rtt(at, client, self.view.home[m]);
        let total = |m: usize| add(&[way(At::Mean, m), through(m)]);
        let up = (0..self.view.members.len()).filter(|m| self.view.up[*m] && total(*m) != NEVER);
        let member = up.min_by_key(|m| (total(*m), *m))?;
        Some((member, way(At::Mean, member), way(At::P99, member)))
    }

    /// Under a leader.
    pub(super) fn led(&self, system: &System, leader: usize, writes: &[u64]) -> Forecast {
        let commit = |at| reach(system, Phase::Accept, self.from(at, leader));
        let syncs = self.view.sync.saturating_mul(SYNCS.leader);
        let (mean, p99) = (commit(At::Mean), commit(At::P99));
        let home = self.view.home[leader];
        self.forecast(writes, |client| {
            let mean = add(&[self.rtt(At::Mean, client, home), mean, syncs]);
            let p99 = add(&[self.rtt(At::P99, client, home), p99, syncs]);
            Latency::of(mean, mean, p99)
        })
    }

    /// Without a leader.
    pub(super) fn leaderless(&self, system: &System) -> Forecast {
        let (mean, p99) = (self.rounds(At::Mean, system), self.rounds(At::P99, system));
        let conflict = self.surprised();
        let met = u64::from(conflict.as_millionths());
        // Most chains where half of the writes conflict: 4x(1 - x), in millionths.
        let half = met * (1_000_000 - met) / 250_000;
        let (from, full) = (u64::from(TAIL.0.as_millionths()), u64::from(TAIL.1.as_millionths()));
        let ramp = Share::of(u128::from(met.saturating_sub(from)), u128::from(full - from));
        self.forecast(&self.view.writes, |client| {
            let (member, entry, entry_p99) = self.best_contact(client, |m| mean[m].0)?;
            let (fast, wait) = mean[member];
            let chained = percent(wait, CHAIN.base * 1_000_000 + CHAIN.half * half);
            let chained = chained.max(fast);
            let (fast_p99, wait_p99) = p99[member];
            let worst = percent(wait_p99, 100 * 1_000_000 + CHAIN.tail * half).max(fast_p99);
            let usual = if conflict < Share::percent(50) { fast } else { chained };
            let blend = |from: u64, to: u64, share: Share| {
                if to == NEVER { NEVER } else { from + share.part(to.saturating_sub(from)) }
            };
            Latency::of(
                add(&[entry, blend(fast, chained, conflict)]),
                add(&[entry, usual]),
                add(&[entry_p99, blend(fast_p99, worst, ramp)]),
            )
        })
    }

    /// Writes that meet another one of which a fast quorum's members have not heard alike.
    fn surprised(&self) -> Share {
        let all: u128 = self.view.writes.iter().map(|w| u128::from(*w)).sum();
        let most = self.view.writes.iter().map(|w| u128::from(*w)).max().unwrap_or(0);
        let elsewhere = Share::of((all - most).saturating_mul(ELSEWHERE), all);
        Share::millionths(elsewhere.part(u64::from(self.view.conflict.as_millionths())))
    }

    /// By member: the fast path, and the longest single wait of a write that meets another one: of the members of its
    /// fast quorum one has seen a write that must be decided, slowly, and told first.
    fn rounds(&self, at: At, system: &System) -> Vec<(u64, u64)> {
        let sync = self.view.sync;
        let n = self.view.members.len();
        let after = &self.members[at as usize];
        let fast: Vec<u64> = after.iter().map(|a| reach(system, Phase::Fast, a)).collect();
        let slow: Vec<u64> = after
            .iter()
            .zip(&fast)
            .map(|(a, fast)| add(&[*fast, reach(system, Phase::Accept, a), sync.saturating_mul(SYNCS.slow)]))
            .collect();
        let wait = |m: usize| {
            let seen = (0..n).filter(|j| after[m][*j] <= fast[m] && after[m][*j] != NEVER);
            seen.map(|j| add(&[after[m][j], slow[j]])).max().unwrap_or(NEVER)
        };
        (0..n).map(|m| (add(&[fast[m], sync.saturating_mul(SYNCS.fast)]), wait(m))).collect()
    }

    /// Under a primary, among whom a third may lie.
    pub(super) fn byzantine(&self, system: &System, primary: usize) -> Forecast {
        let done = |at| -> Vec<u64> {
            let after = &self.members[at as usize];
            let way = |time: u64| if time == NEVER { NEVER } else { time / 2 };
            let mut arrives = vec![0; after.len()];
            let mut round = |begin: &[u64], phase| -> Vec<u64> {
                let mut done = Vec::with_capacity(begin.len());
                for row in after {
                    // There as long as back: half of a round trip either way.
                    for ((arrives, begin), time) in arrives.iter_mut().zip(begin).zip(row) {
                        *arrives = add(&[*begin, way(*time)]);
                    }
                    done.push(reach(system, phase, &arrives));
                }
                done
            };
            let told: Vec<u64> = after[primary].iter().map(|time| way(*time)).collect();
            let prepared = round(&told, Phase::Prepare);
            round(&prepared, Phase::Accept)
        };
        let (mean, p99) = (done(At::Mean), done(At::P99));
        let (syncs, home) = (self.view.sync.saturating_mul(SYNCS.byzantine), self.view.home[primary]);
        let request = |at, member: usize| {
            let way = self.rtt(at, self.view.home[member], home);
            if member == primary {
                0
            } else if way == NEVER {
                NEVER
            } else {
                way / 2
            }
        };
        self.forecast(&self.view.writes, |client| {
            let through = |m| add(&[request(At::Mean, m), mean[m]]);
            let (member, entry, entry_p99) = self.best_contact(client, through)?;
            let usual = add(&[entry, through(member), syncs]);
            let p99 = add(&[entry_p99, request(At::P99, member), p99[member], syncs]);
            Latency::of(usual, usual, p99)
        })
    }

    /// Locally.
    pub(super) fn local(&self, writes: &[u64]) -> Forecast {
        self.forecast(writes, |client| {
            let (_, mean) = self.contact(At::Mean, client)?;
            let (_, p99) = self.contact(At::P99, client)?;
            let mean = add(&[mean, self.view.sync]);
            Latency::of(mean, mean, add(&[p99, self.view.sync]))
        })
    }

    /// Several keyspaces, each as forecast for itself.
    pub(super) fn together(&self, parts: &[(&[u64], &Forecast)]) -> Forecast {
        self.forecast(&self.view.writes, |client| {
            let (mut sum, mut p50, mut weight, mut p99) = (0_u128, 0_u128, 0_u128, 0);
            for (writes, forecast) in parts {
                let w = u128::from(writes[client]).max(u128::from(self.view.writes[client] == 0));
                if w == 0 {
                    continue;
                }
                let latency = forecast.by_region[client]?;
                weight += w;
                sum = sum.saturating_add(w * u128::from(latency.mean.as_nanos()));
                p50 = p50.saturating_add(w * u128::from(latency.p50.as_nanos()));
                p99 = latency.p99.as_nanos().max(p99);
            }
            let mean = |sum: u128| u64::try_from(sum.checked_div(weight)?).ok();
            Latency::of(mean(sum)?, mean(p50)?, p99)
        })
    }

    /// All regions' latencies as one figure each.
    fn forecast(&self, writes: &[u64], latency: impl Fn(usize) -> Option<Latency>) -> Forecast {
        let by_region: Vec<Option<Latency>> = (0..self.view.regions.len()).map(latency).collect();
        let weight = |r: usize| u128::from(writes[r]);
        let weights = (0..by_region.len()).map(weight);
        let all: u128 = weights.clone().sum();
        let served: u128 = by_region.iter().zip(weights).filter(|(l, _)| l.is_some()).map(|(_, w)| w).sum();
        let unserved = if all == 0 { Share::NONE } else { Share::of(all - served, all) };
        let (mut sum, mut slowest) = (0_u128, Vec::with_capacity(by_region.len()));
        for (region, latency) in by_region.iter().enumerate() {
            if let Some(latency) = latency
                && weight(region) > 0
            {
                sum = sum.saturating_add(weight(region) * u128::from(latency.mean.as_nanos()));
                slowest.push((latency.p99.as_nanos(), weight(region)));
            }
        }
        let mean = sum.checked_div(served).map_or(NEVER, |m| u64::try_from(m).unwrap_or(NEVER));
        let p99 = if served == 0 { NEVER } else { mean_of_slowest(slowest, served) };
        let cost = self.policy.cost(mean, p99);
        let span = Duration::nanos;
        Forecast { by_region, mean: span(mean), p99: span(p99), cost: span(cost), unserved }
    }
}

/// The mean of the slowest writes: `(latency, writes)` by region, of `all` writes.
fn mean_of_slowest(mut of: Vec<(u64, u128)>, all: u128) -> u64 {
    of.sort_unstable_by(|a, b| b.cmp(a));
    // In units that make the slowest share of a single write whole.
    let scale = 1_000_000_u128;
    let wanted = all.saturating_mul(u128::from(SLOWEST.as_millionths()));
    let (mut taken, mut sum) = (0_u128, 0_u128);
    for (latency, writes) in of {
        let take = writes.saturating_mul(scale).min(wanted - taken);
        sum = sum.saturating_add(take.saturating_mul(u128::from(latency)));
        taken += take;
    }
    sum.checked_div(taken).map_or(NEVER, |m| u64::try_from(m).unwrap_or(NEVER))
}

/// When a quorum has answered, if member `place` answers after `after[place]`.
pub(super) fn reach(system: &System, phase: Phase, after: &[u64]) -> u64 {
    if system.members() != after.len() {
        return NEVER;
    }
    if let Some(size) = system.size(phase) {
        if size == 0 || size > after.len() {
            return NEVER;
        }
        let mut order = after.to_vec();
        return *order.select_nth_unstable(size - 1).1;
    }
    let mut order: Vec<(u64, usize)> =
        after.iter().copied().zip(0..).filter(|(time, _)| *time != NEVER).collect();
    order.sort_unstable();
    let mut set = NodeSet::EMPTY;
    order
        .into_iter()
        .find_map(|(time, place)| {
            set.insert(place);
            system.is_quorum(phase, set).then_some(time)
        })
        .unwrap_or(NEVER)
}

/// A sum that is never once a part of it is.
pub(super) fn add(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |sum: u64, part| if *part == NEVER { NEVER } else { sum.saturating_add(*part) })
}

/// So many hundredths of millionths of a span.
fn percent(span: u64, of: u64) -> u64 {
    if span == NEVER {
        NEVER
    } else {
        u64::try_from(u128::from(span) * u128::from(of) / 100_000_000).unwrap_or(NEVER)
    }
}

/// A round trip with what its losses cost: a lost message, or its answer, is sent again after a round trip.
fn expected(path: &Path) -> u64 {
    if path.median == NEVER {
        NEVER
    } else {
        path.median.saturating_add(path.loss.part(path.median).saturating_mul(2))
    }
}

/// What 99 of 100 need, losses included: from one message in a hundred on that is one more round trip.
fn slow(path: &Path) -> u64 {
    if path.median == NEVER {
        return NEVER;
    }
    let hit = Share::millionths(u64::from(path.loss.as_millionths()) * 2 * 100);
    path.p99.saturating_add(hit.part(path.median)).max(expected(path))
}

/// The systems the selection considers for so many members: majorities, and the smallest accept quorums that bear what
/// the policy asks for. All of them keep the intersections of Paxos by construction.
pub(super) fn systems(view: &View, policy: &Policy) -> Vec<System> {
    let members = view.members.len() as u8;
    let mut systems = vec![System::Majority { members }];
    let majority = members / 2 + 1;
    if let Some(bear) = policy.bear_members.filter(|bear| *bear >= 1 && *bear < majority - 1) {
        systems.push(System::flexible(members, members - bear, bear + 1));
    }
    let homes = view.homes();
    let roomy = |r: &usize| view.home.iter().filter(|h| *h == r).count() >= 3;
    if !policy.bear_region && homes.len() > 1 && homes.iter().all(roomy) {
        let regions = view.home.iter().map(|h| homes.binary_search(h).unwrap_or(0) as u8).collect();
        systems.push(System::Regional { regions, rule: crate::quorum::RegionRule::InRegion });
    }
    systems
}

/// Whether every region may be lost and both phases still have quorums.
pub(super) fn bears_regions(view: &View, system: &System) -> bool {
    let all = NodeSet::first(view.members.len());
    view.homes().into_iter().all(|region| {
        let lost = (0..view.members.len())
            .filter(|m| view.home[*m] == region)
            .fold(NodeSet::EMPTY, |set, m| set.or(NodeSet::one(m)));
        let left = all.without(lost);
        system.is_quorum(Phase::Prepare, left) && system.is_quorum(Phase::Accept, left)
    })
}
