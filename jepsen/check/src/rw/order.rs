//! Begins and commits: the edges that hold in every explanation.
//!
//! Points of a transaction: its begin and its commit, one point where a serial order is
//! asked for. After them come *clocks*, one for each return in the order of time, so that
//! real time costs a linear number of edges: a commit leads to the clock of its return, each
//! clock to the next, and the last clock before a call to the begin of what was called.

use super::index::{BEGINNING, Index};
use super::{Anomaly, Kind, Options};
use crate::append::Status;
use crate::digraph::{Digraph, Edges, Reach};
use crate::level::{Level, Through};
use crate::mistake::{Mistake, planted};

/// Kinds of edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The life of a transaction, and from clock to clock.
    On,
    Wr(u32),
    Ww(u32),
    Rw(u32),
    Process,
    Realtime,
}

/// The graph, and what it stands for.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) serial: bool,
    pub(crate) nodes: u32,
    /// Edges with the place of their reason.
    pub(crate) edges: Vec<(u32, u32, u32)>,
    pub(crate) whys: Vec<Why>,
    /// Paths known beforehand, see [`Reach::of`].
    pub(crate) next: Vec<u32>,
    points: u32,
}

impl Order {
    #[inline]
    pub(crate) fn begin(&self, at: u32) -> u32 {
        if self.serial { at } else { at * 2 }
    }

    #[inline]
    pub(crate) fn commit(&self, at: u32) -> u32 {
        if self.serial { at } else { at * 2 + 1 }
    }

    /// The transaction of a point.
    pub(crate) fn transaction(&self, node: u32) -> Option<u32> {
        (node < self.points).then_some(if self.serial { node } else { node / 2 })
    }

    fn add(&mut self, from: u32, to: u32, why: Why) {
        if from == to {
            return;
        }
        let label = self.whys.len() as u32;
        self.whys.push(why);
        self.edges.push((from, to, label));
    }

    /// An edge that is also a step of a chain.
    fn chain(&mut self, from: u32, to: u32, why: Why) {
        self.next[from as usize] = to;
        self.add(from, to, why);
    }

    /// The edge that says: `a` wrote the key before `b`.
    pub(crate) fn ww_edge(&self, a: u32, b: u32) -> (u32, u32) {
        if planted(Mistake::NoFirstCommitter) {
            return (self.commit(a), self.commit(b));
        }
        (self.commit(a), self.begin(b))
    }

    /// The edge that says: `reader` did not see the write of `b`.
    pub(crate) fn rw_edge(&self, reader: u32, b: u32) -> (u32, u32) {
        (self.begin(reader), self.commit(b))
    }

    pub(crate) fn ww(&mut self, a: u32, b: u32, key: u32) {
        if !planted(Mistake::NoWw) {
            let (from, to) = self.ww_edge(a, b);
            self.add(from, to, Why::Ww(key));
        }
    }

    pub(crate) fn rw(&mut self, reader: u32, b: u32, key: u32) {
        if reader != b && !planted(Mistake::NoRw) {
            let (from, to) = self.rw_edge(reader, b);
            self.add(from, to, Why::Rw(key));
        }
    }

    pub(crate) fn packed(&self) -> Digraph {
        self.packed_of(|_| true)
    }

    fn packed_of(&self, keep: impl Fn(Why) -> bool) -> Digraph {
        let mut edges = Edges::new();
        for &(from, to, label) in self.edges.iter().filter(|edge| keep(self.whys[edge.2 as usize])) {
            edges.add(from, to, label);
        }
        edges.packed(self.nodes)
    }

    /// Everything that is known without search.
    pub(crate) fn of(index: &Index<'_>, options: &Options) -> Self {
        let count = index.transactions.len() as u32;
        let serial = options.level.is_serial()
            || options.level == Level::ReadUncommitted
            || planted(Mistake::SnapshotIsSerial);
        let points = if serial { count } else { count * 2 };
        let mut order = Self {
            serial,
            nodes: points,
            edges: Vec::new(),
            whys: Vec::new(),
            next: vec![Reach::NEXT; points as usize],
            points,
        };
        for at in (0..count).filter(|_| !serial) {
            order.chain(order.begin(at), order.commit(at), Why::On);
        }
        order.reads(index);
        let through = options.level.through();
        if (through == Through::Process || options.sessions) && !planted(Mistake::NoProcess) {
            for session in &index.sessions {
                for pair in session.windows(2) {
                    order.chain(order.commit(pair[0]), order.begin(pair[1]), Why::Process);
                }
            }
        }
        if through == Through::Realtime && !planted(Mistake::NoRealtime) {
            order.clocks(index);
        }
        order
    }

    fn reads(&mut self, index: &Index<'_>) {
        let readers = index.readers();
        for (at, reads) in index.reads.iter().enumerate() {
            let at = at as u32;
            for read in reads {
                let writers = &index.keys[read.key as usize].writers;
                if read.from == BEGINNING {
                    for writer in writers.iter().filter(|_| !planted(Mistake::BeginningIsAnytime)) {
                        self.rw(at, *writer, read.key);
                    }
                    continue;
                }
                if !planted(Mistake::NoWr) {
                    self.add(self.commit(read.from), self.begin(at), Why::Wr(read.key));
                }
                // Who reads a version and writes the key writes the next version.
                if index.writes(at, read.key) {
                    self.ww(read.from, at, read.key);
                    if let Ok(place) = writers.binary_search(&read.from) {
                        for reader in &readers[read.key as usize][place] {
                            self.rw(*reader, at, read.key);
                        }
                    }
                }
            }
        }
    }

    fn clocks(&mut self, index: &Index<'_>) {
        let transactions = index.transactions;
        let mut calls: Vec<u32> =
            (0..transactions.len() as u32).filter(|at| index.happened[*at as usize]).collect();
        calls.sort_by_key(|at| transactions[*at as usize].call);
        let committed = |at: &u32| transactions[*at as usize].status == Status::Committed;
        let mut returns: Vec<u32> = calls.iter().copied().filter(committed).collect();
        returns.sort_by_key(|at| transactions[*at as usize].ret);
        let mut returns = returns.into_iter().peekable();
        let mut clock = None;
        for at in calls {
            let call = transactions[at as usize].call;
            while let Some(done) = returns.next_if(|r| transactions[*r as usize].ret < call) {
                let next = self.nodes;
                self.nodes += 1;
                self.add(self.commit(done), next, Why::Realtime);
                self.next.push(Reach::NEXT);
                if let Some(clock) = clock {
                    self.chain(clock, next, Why::On);
                }
                clock = Some(next);
            }
            if let Some(clock) = clock {
                self.add(clock, self.begin(at), Why::On);
            }
        }
    }

    /// The most severe cycle, the shortest of its kind: data alone before sessions before
    /// real time, writes alone before reads.
    pub(crate) fn cycle(&self, index: &Index<'_>) -> Option<Anomaly> {
        let ww = |why: Why| matches!(why, Why::Ww(_) | Why::On);
        let g1 = |why: Why| ww(why) || matches!(why, Why::Wr(_));
        let data = |why: Why| g1(why) || matches!(why, Why::Rw(_));
        let session = |why: Why| why == Why::Process;
        let tries: [(Through, &dyn Fn(Why) -> bool); 7] = [
            (Through::Data, &ww),
            (Through::Data, &g1),
            (Through::Data, &data),
            (Through::Process, &|why| g1(why) || session(why)),
            (Through::Process, &|why| data(why) || session(why)),
            (Through::Realtime, &|why| g1(why) || why == Why::Realtime),
            (Through::Realtime, &|_| true),
        ];
        tries.iter().find_map(|(through, keep)| {
            let cycle = self.packed_of(keep).cycle()?;
            Some(self.name(index, *through, &cycle))
        })
    }

    /// A cycle of points as a cycle of transactions with the edges that count.
    pub(crate) fn by_transaction(&self, cycle: &[(u32, u32)]) -> Vec<(u32, Why)> {
        let mut steps: Vec<(u32, Why)> = Vec::new();
        let start = cycle.iter().position(|(node, label)| {
            self.transaction(*node).is_some() && self.whys[*label as usize] != Why::On
        });
        let start = start.expect("a cycle has an edge that is no clock's");
        for n in 0..cycle.len() {
            let (node, label) = cycle[(start + n) % cycle.len()];
            let why = self.whys[label as usize];
            if let Some(at) = self.transaction(node).filter(|_| why != Why::On) {
                steps.push((at, why));
            }
        }
        steps
    }

    fn name(&self, index: &Index<'_>, through: Through, cycle: &[(u32, u32)]) -> Anomaly {
        let steps = self.by_transaction(cycle);
        let rw = |step: &(u32, Why)| matches!(step.1, Why::Rw(_));
        let count = steps.iter().filter(|step| rw(step)).count();
        let wr = steps.iter().any(|(_, why)| matches!(why, Why::Wr(_)));
        let adjacent = (0..steps.len()).any(|n| rw(&steps[n]) && rw(&steps[(n + 1) % steps.len()]));
        let kind = match count {
            0 if wr => Kind::G1c,
            0 => Kind::G0,
            1 => Kind::GSingle,
            _ if adjacent => Kind::G2Item,
            _ => Kind::GNonadjacent,
        };
        let through = steps
            .iter()
            .fold(Through::Data, |most, (_, why)| match why {
                Why::Process => most.max(Through::Process),
                Why::Realtime => Through::Realtime,
                _ => most,
            })
            .min(through);
        super::words::cycle(index, kind, through, &steps)
    }
}
