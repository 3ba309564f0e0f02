//! Read committed, read atomic and causal consistency, by saturation.
//!
//! Source: Biswas and Enea (OOPSLA 2019), with the observation of AWDIT (PLDI 2025) that of
//! each session only the latest writer matters. All three levels have one shape of axiom:
//!
//! > if T3 reads x from T1, and T2 also writes x, and T2 is *visible* to T3, then T2 comes
//! > before T1 in the order of commits.
//!
//! | level | T2 is visible to T3 if |
//! |---|---|
//! | read committed | T3 read something from T2 *before* that read of x |
//! | read atomic | T3 read something from T2, or T2 is earlier in T3's session |
//! | causal | a path of sessions and reads leads from T2 to T3 |
//!
//! An order of commits that contains sessions, reads and these demands exists if and only
//! if their union has no cycle. The beginning of a register is before everything, so a
//! demand that somebody be before it is a cycle at once.

use super::index::{BEGINNING, Index};
use super::{Anomaly, Kind, Options};
use crate::digraph::{Digraph, Edges};
use crate::level::{Level, Through};
use crate::mistake::{Mistake, planted};

/// Why one transaction is before another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// The later reads the earlier's write of this key.
    Wr(u32),
    /// The same session.
    Session,
    /// This reader reads the key from the later, and the earlier is visible to it.
    Demand { reader: u32, key: u32 },
    /// The known order of versions.
    Ww(u32),
    /// Nothing is before the beginning.
    Begin,
}

/// The graph of demands.
#[derive(Debug)]
pub(crate) struct Demands {
    edges: Edges,
    whys: Vec<Why>,
    nodes: u32,
}

impl Demands {
    fn add(&mut self, from: u32, to: u32, why: Why) {
        self.edges.add(from, to, self.whys.len() as u32);
        self.whys.push(why);
    }

    /// A known order of versions, from a source other than this history's reads.
    pub(crate) fn known(&mut self, from: u32, to: u32, key: u32) {
        if from != to {
            self.add(from, to, Why::Ww(key));
        }
    }

    /// A cycle, each transaction with why it is before the next; one without demands if there
    /// is one. The node after the last transaction is the beginning.
    pub(crate) fn cycle(&self) -> Option<Vec<(u32, Why)>> {
        let demanded = |label: u32| matches!(self.whys[label as usize], Why::Demand { .. });
        let certain = self.edges.packed_of(self.nodes, |label| !demanded(label));
        let cycle = certain.cycle().or_else(|| self.edges.packed(self.nodes).cycle())?;
        Some(cycle.into_iter().map(|(node, label)| (node, self.whys[label as usize])).collect())
    }
}

/// Sessions and reads, and what `level` demands of the order of commits.
///
/// # Errors
/// The table of clocks would be too large, in words.
pub(crate) fn demands(index: &Index<'_>, options: &Options) -> Result<Demands, String> {
    let nodes = index.transactions.len() as u32 + 1;
    let mut demands = Demands { edges: Edges::new(), whys: Vec::new(), nodes };
    let sessions = options.level >= Level::ReadAtomic || options.sessions;
    if sessions && !planted(Mistake::NoProcess) {
        for session in &index.sessions {
            for pair in session.windows(2) {
                demands.add(pair[0], pair[1], Why::Session);
            }
        }
    }
    if !planted(Mistake::NoWr) {
        for (at, reads) in index.reads.iter().enumerate() {
            for read in reads.iter().filter(|read| read.from != BEGINNING) {
                demands.add(read.from, at as u32, Why::Wr(read.key));
            }
        }
    }
    match options.level {
        Level::ReadUncommitted => {}
        Level::ReadCommitted => committed(index, &mut demands),
        Level::ReadAtomic => {
            seen_directly(index, &mut demands);
            if !planted(Mistake::ReadAtomicWithoutSessions) {
                let places = places(index);
                let earlier = |at: u32| {
                    let (session, place) = places[at as usize];
                    vec![(session, place.saturating_sub(1))]
                };
                by_session(index, earlier, &mut demands);
            }
        }
        _ if planted(Mistake::CausalWithoutClosure) => seen_directly(index, &mut demands),
        _ => causal(index, options, &mut demands)?,
    }
    Ok(demands)
}

impl Demands {
    fn demand(&mut self, visible: u32, from: u32, reader: u32, key: u32) {
        let why = Why::Demand { reader, key };
        if from != BEGINNING {
            self.add(visible, from, why);
        } else if !planted(Mistake::BeginningIsAnytime) {
            let beginning = self.nodes - 1;
            self.add(visible, beginning, why);
            self.add(beginning, visible, Why::Begin);
        }
    }
}

/// Everything that T3 read from before must be older than what it reads now.
fn committed(index: &Index<'_>, demands: &mut Demands) {
    if planted(Mistake::NoReadCommittedDemands) {
        return;
    }
    let mut seen: Vec<u32> = Vec::new();
    for (at, reads) in index.reads.iter().enumerate() {
        seen.clear();
        for read in reads {
            visible_writers(index, &seen, read.key, |visible| {
                if visible != read.from {
                    demands.demand(visible, read.from, at as u32, read.key);
                }
            });
            if read.from != BEGINNING && !seen.contains(&read.from) {
                seen.push(read.from);
            }
        }
    }
}

fn seen_directly(index: &Index<'_>, demands: &mut Demands) {
    for (at, reads) in index.reads.iter().enumerate() {
        let mut seen: Vec<u32> =
            reads.iter().map(|read| read.from).filter(|from| *from != BEGINNING).collect();
        seen.sort_unstable();
        seen.dedup();
        for read in reads {
            visible_writers(index, &seen, read.key, |visible| {
                if visible != read.from {
                    demands.demand(visible, read.from, at as u32, read.key);
                }
            });
        }
    }
}

/// Those of `seen` that write `key`: by the shorter of the two lists.
fn visible_writers(index: &Index<'_>, seen: &[u32], key: u32, mut visible: impl FnMut(u32)) {
    let writers = &index.keys[key as usize].writers;
    if writers.len() < seen.len() {
        for writer in writers.iter().filter(|writer| seen.contains(writer)) {
            visible(*writer);
        }
    } else {
        for other in seen.iter().filter(|other| index.writes(**other, key)) {
            visible(*other);
        }
    }
}

/// Session and place in it from 1, per transaction; 0 for what did not happen.
fn places(index: &Index<'_>) -> Vec<(u32, u32)> {
    let mut places = vec![(0, 0); index.transactions.len()];
    for (session, list) in index.sessions.iter().enumerate() {
        for (place, at) in list.iter().enumerate() {
            places[*at as usize] = (session as u32, place as u32 + 1);
        }
    }
    places
}

/// Per key and session, the places of the writers: of each session the latest that is
/// visible must be older than what was read.
fn by_session(index: &Index<'_>, visible: impl Fn(u32) -> Vec<(u32, u32)>, demands: &mut Demands) {
    let places = places(index);
    let mut by_key: Vec<Vec<(u32, u32)>> = vec![Vec::new(); index.keys.len()];
    for (key, list) in by_key.iter_mut().enumerate() {
        list.extend(index.keys[key].writers.iter().map(|writer| places[*writer as usize]));
        list.sort_unstable();
    }
    for (at, reads) in index.reads.iter().enumerate() {
        let at = at as u32;
        if reads.is_empty() {
            continue;
        }
        let until = visible(at);
        for read in reads {
            let writers = &by_key[read.key as usize];
            for &(session, place) in &until {
                // The last writer of that session at or before the place.
                let end = writers.partition_point(|writer| *writer <= (session, place));
                let Some(&(found, place)) = end.checked_sub(1).map(|last| &writers[last]) else { continue };
                if found != session {
                    continue;
                }
                let writer = index.sessions[session as usize][place as usize - 1];
                if writer != read.from && writer != at {
                    demands.demand(writer, read.from, at, read.key);
                }
            }
        }
    }
}

/// Clocks: per transaction and session, how much of the session leads to it.
fn causal(index: &Index<'_>, options: &Options, demands: &mut Demands) -> Result<(), String> {
    let (count, sessions) = (index.transactions.len(), index.sessions.len());
    if count.saturating_mul(sessions) > options.budget.table {
        return Err(format!(
            "{count} transactions of {sessions} sessions need more than {} clock entries",
            options.budget.table
        ));
    }
    let graph: Digraph = demands.edges.packed(demands.nodes);
    // A cycle of sessions and reads alone is found by the caller.
    let Ok(order) = graph.order() else { return Ok(()) };
    let places = places(index);
    let mut clocks = vec![0_u32; count * sessions];
    for &node in order.iter().filter(|node| (**node as usize) < count) {
        let row = node as usize * sessions;
        let own: Vec<u32> = clocks[row..row + sessions].to_vec();
        let (session, place) = places[node as usize];
        for &(to, _) in graph.out(node).iter().filter(|(to, _)| (*to as usize) < count) {
            let to = to as usize * sessions;
            for (at, known) in own.iter().enumerate() {
                clocks[to + at] = clocks[to + at].max(*known);
            }
            clocks[to + session as usize] = clocks[to + session as usize].max(place);
        }
    }
    let visible = |at: u32| {
        let row = &clocks[at as usize * sessions..(at as usize + 1) * sessions];
        row.iter().enumerate().filter(|(_, place)| **place > 0).map(|(s, place)| (s as u32, *place)).collect()
    };
    by_session(index, visible, demands);
    Ok(())
}

/// Names a cycle of demands and tells it.
pub(crate) fn anomaly(index: &Index<'_>, level: Level, cycle: &[(u32, Why)]) -> Anomaly {
    let beginning = index.transactions.len() as u32;
    let has = |wanted: fn(&Why) -> bool| cycle.iter().any(|(_, why)| wanted(why));
    let session = has(|why| matches!(why, Why::Session));
    let kind = if !has(|why| matches!(why, Why::Demand { .. })) {
        if has(|why| matches!(why, Why::Wr(_))) { Kind::G1c } else { Kind::G0 }
    } else {
        match level {
            Level::ReadCommitted => Kind::ReadCommitted,
            Level::ReadAtomic => Kind::Fractured,
            _ => Kind::Causality,
        }
    };
    let through =
        if matches!(kind, Kind::G0 | Kind::G1c) && session { Through::Process } else { Through::Data };
    let mut transactions: Vec<usize> = Vec::new();
    let mut place = |at: u32| {
        let known = transactions.iter().position(|known| *known == at as usize);
        known.unwrap_or_else(|| {
            transactions.push(at as usize);
            transactions.len() - 1
        })
    };
    let mut lines = Vec::new();
    let mut edges = Vec::new();
    for (n, (from, why)) in cycle.iter().enumerate() {
        let to = cycle[(n + 1) % cycle.len()].0;
        if *from == beginning {
            continue;
        }
        let name = |key: &u32| index.keys[*key as usize].name;
        let reason = match why {
            Why::Wr(key) => format!("the other read its write of key {} (wr)", name(key)),
            Why::Session => "the same client ran it first (process)".to_owned(),
            Why::Ww(key) => format!("its version of key {} is older (ww)", name(key)),
            Why::Begin => continue,
            Why::Demand { reader, key } => {
                let whose = if to == beginning { "the beginning".to_owned() } else { format!("T{to}") };
                place(*reader);
                format!("T{reader} can see T{from} and yet read key {} from {whose} (co)", name(key))
            }
        };
        let from_place = place(*from);
        if to == beginning {
            lines.push(format!("T{from} before the beginning: {reason}"));
        } else {
            let to_place = place(to);
            let label = match why {
                Why::Wr(_) => "wr",
                Why::Session => "process",
                Why::Ww(_) => "ww",
                Why::Demand { .. } | Why::Begin => "co",
            };
            edges.push((from_place, to_place, label.to_owned()));
            lines.push(format!("T{from} before T{to}: {reason}"));
        }
    }
    let mut text = "each would have to commit before the next, and the last before the first".to_owned();
    for at in &transactions {
        text.push_str(&format!("\n  T{at} = {}", super::words::transaction(&index.transactions[*at])));
    }
    for line in lines {
        text.push_str(&format!("\n  {line}"));
    }
    Anomaly { kind, through, transactions, edges, text }
}
