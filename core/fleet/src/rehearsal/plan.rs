//! A seed expanded into a plan: the world, its clocks, every window of every fault.

use super::clock::Clock;
use crate::agent::Terms;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, Purpose, Seed};

const P: Purpose = Purpose::named("fleet.plan");

/// Something that goes wrong from one time to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// A region reaches its own store only, and only from inside.
    Cut {
        /// Which.
        region: usize,
    },
    /// A host does not reach its region's store.
    HostCut {
        /// Which.
        host: usize,
    },
    /// A store answers nobody.
    StoreDown {
        /// Which; 0 is the fleet's.
        store: usize,
    },
    /// A host has no power.
    Power {
        /// Which.
        host: usize,
    },
    /// A host's agent is dead; its machines run.
    Dead {
        /// Which.
        host: usize,
    },
    /// A host's agent stands still and then goes on as if nothing had been.
    Pause {
        /// Which.
        host: usize,
    },
    /// Storage takes long.
    SlowStorage,
    /// A second process of one host's name runs, on a hypervisor of its own.
    Twin {
        /// Which; it has clocks and a site like any host.
        host: usize,
    },
}

/// Someone who asks: where, and with which clock.
pub(super) const CLIENTS: usize = 3;
/// Controllers: each region's own, and one for it that stands in the next region.
pub(super) const CONTROLLERS: usize = 6;
pub(super) const REGIONS: usize = 3;

/// The plan of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) seed: Seed,
    /// The hosts' regions.
    pub(super) hosts: Vec<usize>,
    /// Of whom each host beyond those is a twin.
    pub(super) twins: Vec<usize>,
    /// When a region's store is what it was earlier: which region, then as of when, then from when.
    pub(super) restored: Option<(usize, Instant, Instant)>,
    pub(super) faults: Vec<(Instant, Instant, Fault)>,
    /// Hosts', clients' and controllers' clocks, in this order.
    pub(super) clocks: Vec<Clock>,
    /// When a calendar begins to lie, if one does.
    pub(super) liar: Option<Instant>,
    /// Whether it lies by a year.
    pub(super) mad: bool,
    /// Whether doors are late by all they state, and those who take leases early.
    pub(super) apart: bool,
    /// Whether what has ended is started again at once.
    pub(super) hasty: bool,
    pub(super) terms: Terms,
    /// When faults and clients end.
    pub(super) calm: Instant,
    /// When everything must be at rest.
    pub(super) end: Instant,
}

/// The longest lie that lasts until it is calm. What it gives ends a lease of 10 s after that at the latest, by all clocks, which
/// state 3 s, within 20 s.
const LIE_MAX: Duration = Duration::secs(61);

fn secs(n: u64) -> Instant {
    Instant::ZERO + Duration::secs(n)
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn expand(seed: u64) -> Self {
        let seed = Seed(seed);
        let draw = |what: u64, n: u64| seed.below(n, P, what, Instant::ZERO, 0);
        let hosts: Vec<usize> =
            (0..REGIONS).flat_map(|r| (0..2 + draw(r as u64, 2)).map(move |_| r)).collect();
        let calm = secs(45 + draw(10, 30));
        let end = calm + Duration::secs(60);
        let twins: Vec<usize> = (0..draw(17, 3)).map(|t| draw(18 + t, hosts.len() as u64) as usize).collect();
        let nodes = hosts.len() + twins.len() + CLIENTS + CONTROLLERS;
        let mut clocks: Vec<Clock> = {
            let doubt = draw(56, 6) == 0;
            (0..nodes).map(|n| Clock::draw(seed, n as u64, end, doubt)).collect()
        };
        let apart = draw(57, 12) == 0;
        if apart {
            // Hosts, and a region's own controller, whose clock is its door's, are late; controllers from elsewhere are early.
            let early = nodes - CONTROLLERS / 2;
            for (n, clock) in clocks.iter_mut().enumerate() {
                clock.apart(n >= early);
            }
        }
        let mut faults = Vec::new();
        for i in 0..if apart { 4 } else { 0 } {
            let from = Instant::from_nanos(draw(60 + i, calm.as_nanos()));
            let to = (from + Duration::millis(12_000 + draw(65 + i, 8_000))).min(calm);
            faults.push((from, to, Fault::Dead { host: draw(70 + i, hosts.len() as u64) as usize }));
        }
        for i in 0..draw(11, 14) {
            let entity = 100 + i * 10;
            let from = Instant::from_nanos(draw(entity, calm.as_nanos()));
            // Most are short; a third outlast a lease.
            let long = if draw(entity + 1, 3) == 0 { 30_000 } else { 6_000 };
            let to = (from + Duration::millis(200 + draw(entity + 2, long))).min(calm);
            let host = draw(entity + 3, hosts.len() as u64) as usize;
            let fault = match draw(entity + 4, 9) {
                0 | 1 => Fault::Cut { region: draw(entity + 5, REGIONS as u64) as usize },
                2 => Fault::HostCut { host },
                3 => Fault::StoreDown { store: draw(entity + 5, REGIONS as u64 + 1) as usize },
                4 => Fault::Power { host },
                5 | 6 => Fault::Dead { host },
                7 => Fault::Pause { host },
                _ => Fault::SlowStorage,
            };
            faults.push((from, to, fault));
        }
        for (i, _) in twins.iter().enumerate() {
            let from = Instant::from_nanos(draw(30 + i as u64, calm.as_nanos()));
            let to = (from + Duration::millis(500 + draw(40 + i as u64, 30_000))).min(calm);
            faults.push((from, to, Fault::Twin { host: hosts.len() + i }));
        }
        // Which host hears nothing of it is arranged when it is restored.
        let restored = (draw(50, 8) == 0).then(|| {
            let at = Instant::from_nanos(draw(51, calm.as_nanos()));
            let back = Duration::millis(500 + draw(52, 20_000));
            let as_of = Instant::from_nanos(at.as_nanos().saturating_sub(back.as_nanos()));
            let region = draw(53, REGIONS as u64) as usize;
            (region, as_of, at)
        });
        let mut mad = false;
        let liar = (draw(12, 5) == 0).then(|| {
            let from = Instant::from_nanos(draw(13, calm.as_nanos()));
            let by = (2 + draw(14, LIE_MAX.as_secs() - 1)) as i64 * 1_000_000_000;
            let by = if draw(15, 2) == 0 { by } else { -by };
            let node = draw(16, nodes as u64) as usize;
            if draw(54, 4) == 0 {
                // For a moment: long enough to give a lease that ends next year.
                clocks[node].lie(from, from + Duration::secs(3), 365 * 86_400 * 1_000_000_000);
                mad = true;
            } else {
                clocks[node].lie(from, calm, by);
            }
            from
        });
        // A restored region gives nothing, and an end that a wrong calendar gave whose holder is dead is not taken, until the
        // longest lease must have ended: nobody can know that no such lease was asked for. What the living hold runs meanwhile.
        let end = end + Duration::secs(if restored.is_some() || mad { 90 } else { 0 });
        let end = if liar.is_some() && !mad { end.max(calm + LIE_MAX + Duration::secs(50)) } else { end };
        let terms = Terms { lease: Duration::secs(10), stop: Duration::secs(2), kill: Duration::secs(1) };
        Self {
            seed,
            hosts,
            twins,
            restored,
            faults,
            clocks,
            liar,
            mad,
            terms,
            calm,
            end,
            apart,
            hasty: draw(58, 2) == 0,
        }
    }
    /// Whether a fault holds at a time.
    pub(super) fn holds(&self, at: Instant, fault: Fault) -> bool {
        self.faults.iter().any(|(from, to, f)| *f == fault && *from <= at && at < *to)
    }
    /// Whether somebody in a region, or on a host, reaches a store.
    pub(super) fn reaches(&self, at: Instant, region: usize, host: Option<usize>, store: usize) -> bool {
        let own = store == region + 1;
        !self.holds(at, Fault::StoreDown { store })
            && !host.is_some_and(|host| self.holds(at, Fault::HostCut { host }))
            && (own
                || !(self.holds(at, Fault::Cut { region })
                    || store > 0 && self.holds(at, Fault::Cut { region: store - 1 })))
    }
    /// Whether a region is cut off.
    pub(super) fn cut_off(&self, at: Instant, region: usize) -> bool {
        self.holds(at, Fault::Cut { region })
    }
    /// Until when a host's agent stands still.
    pub(super) fn paused(&self, at: Instant, host: usize) -> Option<Instant> {
        let now = |f: &&(Instant, Instant, Fault)| f.2 == Fault::Pause { host } && f.0 <= at && at < f.1;
        self.faults.iter().find(now).map(|f| f.1)
    }
}
