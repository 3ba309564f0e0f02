//! Links between all pairs: delay, loss, doubling, overtaking, and cuts by direction.

use super::plan::{Plan, Shape};
use super::tally::{Seen, Tally};
use crate::quorum::NodeSet;
use alloc::vec;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, Purpose, Seed};

const LOSS: Purpose = Purpose::named("rehearsal loss");
const DELAY: Purpose = Purpose::named("rehearsal delay");
const DOUBLE: Purpose = Purpose::named("rehearsal double");
const OVERTAKE: Purpose = Purpose::named("rehearsal overtake");
const LATE: Purpose = Purpose::named("rehearsal late");
const SHAPE: Purpose = Purpose::named("rehearsal shape");

/// Messages a cut holds in each direction; more are lost.
const HELD_MAX: u32 = 1_000;

/// When a message arrives, once or twice.
pub(super) struct Arrivals {
    pub(super) first: Option<Instant>,
    pub(super) second: Option<Instant>,
}

/// All links.
#[derive(Clone, Debug)]
pub(super) struct Network {
    seed: Seed,
    nodes: usize,
    /// By sender: whom its messages don't reach.
    cut: Vec<NodeSet>,
    /// By sender and receiver: the last arrival, for links that keep order.
    last: Vec<Instant>,
    /// The cut holds what is sent until then, as TCP does; else it is lost.
    holds_until: Option<Instant>,
    /// By sender and receiver: messages it holds.
    held: Vec<u32>,
    calm: bool,
}

impl Network {
    pub(super) fn new(plan: &Plan) -> Self {
        let n = plan.nodes;
        Self {
            seed: Seed(plan.seed),
            nodes: n,
            cut: vec![NodeSet::EMPTY; n],
            last: vec![Instant::ZERO; n * n],
            holds_until: None,
            held: vec![0; n * n],
            calm: false,
        }
    }
    pub(super) fn reaches(&self, from: usize, to: usize) -> bool {
        !self.cut[from].has(to)
    }
    /// Ends all cuts.
    pub(super) fn mend(&mut self) {
        self.cut.fill(NodeSet::EMPTY);
        self.held.fill(0);
        self.holds_until = None;
    }
    /// The cut in force holds what is sent until it is mended.
    pub(super) fn hold(&mut self, until: Instant) {
        self.holds_until = Some(until);
    }
    /// Ends all faults for good.
    pub(super) fn calm(&mut self) {
        self.mend();
        self.calm = true;
    }

    /// Sends a message; `ordinal` tells apart several of one moment.
    pub(super) fn send(
        &mut self,
        plan: &Plan,
        now: Instant,
        from: usize,
        to: usize,
        ordinal: u64,
        tally: &mut Tally,
    ) -> Arrivals {
        let link = (from * self.nodes + to) as u64;
        let seed = self.seed;
        let chance = |purpose, of_65536: u32| {
            of_65536 > 0 && seed.below(65_536, purpose, link, now, ordinal) < u64::from(of_65536)
        };
        let mut leaves = now;
        if !self.reaches(from, to) || !self.calm && chance(LOSS, plan.loss) {
            let held = &mut self.held[link as usize];
            match self.holds_until.filter(|_| *held < HELD_MAX) {
                Some(until) if self.cut[from].has(to) => {
                    *held += 1;
                    leaves = until;
                    tally.add(Seen::Held);
                }
                _ => {
                    tally.add(Seen::Lost);
                    return Arrivals { first: None, second: None };
                }
            }
        }
        let spread = seed.below(plan.delay.1.as_nanos() + 1, DELAY, link, now, ordinal);
        let mut at = leaves + plan.delay.0 + Duration::nanos(spread);
        if !plan.fifo && !self.calm && chance(LATE, plan.late) {
            // Of an earlier leadership, more often than not; nothing is on its way for longer than the faults last.
            let late = plan.old * (1 + seed.below(20, LATE, link, now, ordinal | 1 << 34));
            at = at.max((at + late).min(plan.calm));
            tally.add(Seen::Late);
        } else if !plan.fifo && !self.calm && chance(OVERTAKE, plan.overtake) {
            at += plan.delay.1 * seed.below(8, DELAY, link, now, ordinal | 1 << 32);
            tally.add(Seen::Overtook);
        } else {
            let last = &mut self.last[link as usize];
            at = at.max(*last);
            *last = at;
        }
        let second = (!self.calm && chance(DOUBLE, plan.double)).then(|| {
            tally.add(Seen::Doubled);
            at + plan.delay.1 * seed.below(16, DELAY, link, now, ordinal | 1 << 33)
        });
        Arrivals { first: Some(at), second }
    }

    /// Cuts links in a shape; says whether a majority is left whose members all reach each other.
    pub(super) fn shape(&mut self, shape: Shape, leader: usize, now: Instant) -> bool {
        self.mend();
        let n = self.nodes;
        if n == 1 {
            return true;
        }
        let draw = |k: usize, ordinal: u64| self.seed.below(k as u64, SHAPE, 0, now, ordinal) as usize;
        // Places other than the leader's, turned by a draw.
        let turn = draw(n - 1, 1);
        let other = |i: usize| (leader + 1 + (turn + i) % (n - 1)) % n;
        let both = |cut: &mut Vec<NodeSet>, a: usize, b: usize| {
            cut[a].insert(b);
            cut[b].insert(a);
        };
        let mut cut = core::mem::take(&mut self.cut);
        let mut keep_only = |linked: &dyn Fn(usize, usize) -> bool| {
            for a in 0..n {
                for b in 0..a {
                    if !linked(a, b) && !linked(b, a) {
                        both(&mut cut, a, b);
                    }
                }
            }
        };
        let connected = match shape {
            Shape::Split => {
                let side = NodeSet(u128::from(self.seed.draw(SHAPE, 1, now, 0)));
                keep_only(&|a, b| side.has(a) == side.has(b));
                false
            }
            Shape::OneWay => {
                let victim = draw(n, 2);
                for other in (0..n).filter(|o| *o != victim) {
                    if self.seed.below(2, SHAPE, 2, now, 3) == 0 {
                        cut[victim].insert(other);
                    } else {
                        cut[other].insert(victim);
                    }
                }
                false
            }
            Shape::Partial => {
                for (a, cut) in cut.iter_mut().enumerate() {
                    for b in (0..n).filter(|b| *b != a) {
                        if self.seed.below(3, SHAPE, (a * n + b) as u64, now, 4) == 0 {
                            cut.insert(b);
                        }
                    }
                }
                false
            }
            Shape::Confides { who, to } => {
                keep_only(&|a, b| a != who && b != who || a == who && b == to);
                false
            }
            Shape::Isolate => {
                keep_only(&|a, b| a != leader && b != leader);
                true
            }
            // Omni-Paxos, Fig. 1a: the leader and all others reach only one.
            Shape::QuorumLoss => {
                keep_only(&|a, b| a == other(0) || b == other(0));
                n == 3
            }
            // Fig. 1b: the leader is gone, and only one of the others has a quorum.
            Shape::Constrained => {
                keep_only(&|a, b| a != leader && b != leader && (a == other(0) || b == other(0)));
                n == 3
            }
            // Fig. 1c: a line, the leader at its end.
            Shape::Chained => {
                let rank = |x: usize| (0..n - 1).position(|i| other(i) == x).map_or(0, |i| i + 1);
                keep_only(&|a, b| rank(a) == rank(b) + 1);
                n == 3
            }
            // openraft #2080: the old leader reaches one voter of the only quorum; the last node nobody.
            Shape::OldLeader => {
                let bridge = other(0);
                let dead = if n > 3 { other(n - 2) } else { n };
                keep_only(&|a, b| {
                    a != dead && b != dead && (a != leader && b != leader || a == bridge || b == bridge)
                });
                n % 2 == 1
            }
        };
        self.cut = cut;
        connected
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::Scenario;

    fn plan(nodes: usize) -> Plan {
        Plan {
            seed: 3,
            scenario: Scenario::Steady,
            nodes,
            commands: 0,
            calm: Instant::FAR,
            patience: Duration::ZERO,
            delay: (Duration::micros(100), Duration::micros(400)),
            loss: 0,
            double: 0,
            overtake: 0,
            fifo: true,
            sync: (Duration::ZERO, Duration::ZERO),
            drift: 0,
            late: 0,
            old: Duration::ZERO,
            holds: 0,
            checkpoint_every: 0,
            brought: Duration::ZERO,
            writes: 4,
            falls: 0,
            ambush: 0,
            seals_from: Instant::FAR,
            pad: 0,
            tight: false,
            fine: false,
            window: 1,
            batch: 1,
            burst: 1,
            gap: Duration::ZERO,
            reads: 0,
            conflict: 0,
            traitors: 0,
            gone: NodeSet::EMPTY,
            faults: Vec::new(),
        }
    }

    /// Whom each node hears and is heard by.
    fn links(shape: Shape, nodes: usize, leader: usize, at: u64) -> (Vec<usize>, bool) {
        let mut network = Network::new(&plan(nodes));
        let connected = network.shape(shape, leader, Instant::from_nanos(at));
        let degree = |a: usize| {
            (0..nodes).filter(|b| *b != a && network.reaches(a, *b) && network.reaches(*b, a)).count()
        };
        ((0..nodes).map(degree).collect(), connected)
    }

    #[test]
    fn shapes_are_what_their_papers_draw() {
        for at in 0..50 {
            let leader = at as usize % 5;
            let (degree, _) = links(Shape::QuorumLoss, 5, leader, at);
            let mut sorted = degree.clone();
            sorted.sort_unstable();
            assert_eq!(
                (sorted, degree[leader]),
                (alloc::vec![1, 1, 1, 1, 4], 1),
                "all reach one that is not the leader"
            );
            let (degree, _) = links(Shape::Constrained, 5, leader, at);
            assert_eq!((degree[leader], degree.iter().max()), (0, Some(&3)));
            let (degree, connected) = links(Shape::Chained, 5, leader, at);
            assert_eq!((degree[leader], degree.iter().sum::<usize>(), connected), (1, 8, false), "a line");
            assert!(degree.iter().all(|d| *d <= 2));
            let (degree, connected) = links(Shape::OldLeader, 5, leader, at);
            let mut sorted = degree.clone();
            sorted.sort_unstable();
            assert_eq!((sorted, degree[leader], connected), (alloc::vec![0, 1, 2, 2, 3], 1, true));
            let (degree, connected) = links(Shape::Isolate, 3, leader % 3, at);
            assert_eq!((degree[leader % 3], degree.iter().sum::<usize>(), connected), (0, 2, true));
        }
    }

    #[test]
    fn a_link_that_keeps_order_keeps_it_and_others_do_not() {
        let mut tally = Tally::default();
        let arrivals = |plan: &Plan, tally: &mut Tally| -> Vec<Instant> {
            let mut network = Network::new(plan);
            let send = |n: u64| network.send(plan, Instant::from_nanos(n * 10_000), 0, 1, 0, tally).first;
            (0..200).filter_map(send).collect()
        };
        let ordered = plan(2);
        assert!(arrivals(&ordered, &mut tally).is_sorted());
        let rough = Plan { fifo: false, overtake: 20_000, loss: 6_554, double: 6_554, ..ordered };
        let came = arrivals(&rough, &mut tally);
        assert!(!came.is_sorted());
        assert!((160..200).contains(&came.len()) && tally.of(Seen::Lost) == 200 - came.len() as u64);
        assert!(tally.of(Seen::Doubled) > 5 && tally.of(Seen::Overtook) > 20);
    }

    #[test]
    fn a_cut_that_holds_gives_all_back_in_order_and_late_ones_come_within_the_faults() {
        let mut tally = Tally::default();
        let mut plan = Plan { calm: Instant::from_nanos(50_000_000), ..plan(2) };
        let mut network = Network::new(&plan);
        network.shape(Shape::Isolate, 0, Instant::ZERO);
        network.hold(Instant::from_nanos(9_000_000));
        let send = |network: &mut Network, plan: &Plan, n: u64, tally: &mut Tally| {
            network.send(plan, Instant::from_nanos(n * 10_000), 0, 1, 0, tally).first
        };
        let came: Vec<_> = (0..2_000).filter_map(|n| send(&mut network, &plan, n, &mut tally)).collect();
        assert_eq!((came.len(), tally.of(Seen::Held), tally.of(Seen::Lost)), (1_000, 1_000, 1_000));
        assert!(came.is_sorted() && came[0] > Instant::from_nanos(9_000_000));
        network.mend();
        (plan.fifo, plan.late, plan.old) = (false, 65_536, Duration::millis(4));
        let came: Vec<_> = (0..2_000).filter_map(|n| send(&mut network, &plan, n, &mut tally)).collect();
        assert!(came.len() == 2_000 && !came.is_sorted() && came.iter().all(|at| *at <= plan.calm));
        assert_eq!(tally.of(Seen::Late), 2_000);
    }
}
