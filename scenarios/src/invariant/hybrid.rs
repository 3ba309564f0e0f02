//! **One home**, **the bound kept**, **copies are prefixes**: what is seen of the nodes of a hybrid keyspace.
//!
//! The first is Gray and Cheriton's condition on leases (1989, §2): while one is held nobody else acts. An answer counts at the
//! true time at which a node gives it, whatever its own clock says.

use super::{Broken, Property};
use dwcp_consensus::Position;
use dwcp_env::{Instant, NodeId, RegionId};
use dwcp_node::HybridSight;
use dwcp_node::hybrid::Part;
use std::collections::BTreeMap;

/// All nodes of a hybrid keyspace, as they were seen so far.
#[derive(Debug)]
pub struct Homes {
    watched: Vec<Property>,
    region_of: BTreeMap<NodeId, RegionId>,
    entries: u64,
    copies: usize,
    last: BTreeMap<NodeId, (u32, HybridSight)>,
    /// Who answered in which era, and the last era that anybody answered in.
    reigns: BTreeMap<u32, RegionId>,
    era: u32,
    /// When each era was first answered in.
    pub since: Vec<(u32, Instant)>,
    /// The revision at each place.
    places: BTreeMap<Position, i64>,
}

impl Homes {
    /// Watches these properties, where so many regions must be behind by no more than so many entries.
    #[must_use]
    pub fn new(
        watched: &[Property],
        region_of: BTreeMap<NodeId, RegionId>,
        (entries, copies): (u64, u32),
    ) -> Self {
        Self {
            watched: watched.to_vec(),
            region_of,
            entries,
            copies: copies as usize,
            last: BTreeMap::new(),
            reigns: BTreeMap::new(),
            era: 0,
            since: Vec::new(),
            places: BTreeMap::new(),
        }
    }
    /// The era that was answered in at a time.
    #[must_use]
    pub fn era_at(&self, at: Instant) -> u32 {
        self.since.iter().rev().find(|(_, since)| *since <= at).map_or(0, |(era, _)| *era)
    }
    fn break_on(&self, property: Property, detail: String) -> Option<Broken> {
        self.watched.contains(&property).then_some(Broken { property, detail })
    }
    /// Looks at a node after a turn, in this of its lives.
    pub fn look(&mut self, at: Instant, node: NodeId, life: u32, now: HybridSight) -> Option<Broken> {
        let before = self.last.insert(node, (life, now));
        let (answers, writes) =
            before.filter(|(l, _)| *l == life).map_or((0, 0), |(_, s)| (s.answers, s.writes));
        if let Some(place) = now.applied.filter(|_| now.whole) {
            let revision = *self.places.entry(place).or_insert(now.revision);
            if revision != now.revision {
                let found = now.revision;
                let detail = format!("at {place:?} {node} is at revision {found}, another at {revision}");
                return self.break_on(Property::HybridPrefix, detail);
            }
        }
        if now.answers > answers {
            return self
                .answered(at, node, &now)
                .or_else(|| (now.writes > writes).then(|| self.short(node, &now)).flatten());
        }
        None
    }
    fn answered(&mut self, at: Instant, node: NodeId, now: &HybridSight) -> Option<Broken> {
        let era = now.state_era;
        if era > self.era || self.since.is_empty() {
            self.since.push((era, at));
        }
        let last = self.era;
        self.era = last.max(era);
        let home = *self.reigns.entry(era).or_insert(now.region);
        let detail = if era < last {
            format!("{node} answers in era {era} after others have answered in era {last}")
        } else if home != now.region {
            format!("{node} of {} answers in era {era}, which is that of {home}", now.region)
        } else {
            return None;
        };
        self.break_on(Property::HybridOneHome, detail)
    }
    /// Whether too few regions have what a home has when it answers a write.
    fn short(&self, node: NodeId, now: &HybridSight) -> Option<Broken> {
        let index = now.answered_at;
        let mut held: BTreeMap<RegionId, Vec<u64>> = BTreeMap::new();
        for (n, region) in self.region_of.iter().filter(|(_, r)| **r != now.region) {
            // What a copy has of an earlier era counts up to the cut at least; of a later one, nothing can be said.
            let has = self
                .last
                .get(n)
                .filter(|(_, s)| s.whole && s.part == Part::Copy)
                .map_or(0, |(_, s)| s.durable);
            held.entry(*region).or_default().push(has);
        }
        let holds = |mut of: Vec<u64>| {
            of.sort_unstable();
            of.get(of.len().saturating_sub(1) / 2).copied().unwrap_or(0)
        };
        let lacks: Vec<u64> = held.into_values().map(|of| index.saturating_sub(holds(of))).collect();
        let within = lacks.iter().filter(|lack| **lack <= self.entries).count();
        (within < self.copies)
            .then(|| {
                let detail = format!(
                    "{node} answers a write at index {index} while regions lack {lacks:?} entries, of which {} may",
                    self.entries
                );
                self.break_on(Property::HybridBoundKept, detail)
            })
            .flatten()
    }
    /// Whether one home answers and all of these are its copies, at one place; else what is missing, for people.
    ///
    /// # Errors
    /// It.
    pub fn converged(&self, core: &[NodeId]) -> Result<(), String> {
        let mut first: Option<(NodeId, HybridSight)> = None;
        let era = core.iter().filter_map(|n| self.last.get(n)).map(|(_, s)| s.era).max().unwrap_or(0);
        for node in core {
            let Some((_, sight)) = self.last.get(node) else { return Err(format!("{node} was never seen")) };
            if sight.part == Part::Leaving || !sight.whole || sight.era != era {
                return Err(format!(
                    "{node} is {:?}, knows era {} of {era}, whole: {}",
                    sight.part, sight.era, sight.whole
                ));
            }
            let (other, known) = *first.get_or_insert((*node, *sight));
            if known.applied != sight.applied {
                return Err(format!("{other} is at {:?}, {node} at {:?}", known.applied, sight.applied));
            }
        }
        let homes =
            core.iter().filter(|n| self.last.get(n).is_some_and(|(_, s)| s.part == Part::Home)).count();
        if homes == 0 { Err("no home is left in the core".into()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(region: u16, era: u32, index: u64, answers: u64) -> HybridSight {
        HybridSight {
            part: if answers > 0 { Part::Home } else { Part::Copy },
            state_era: era,
            era,
            region: RegionId(region),
            applied: Some(Position { term: u64::from(era), index }),
            revision: index as i64,
            durable: index,
            answers,
            writes: answers,
            answered_at: index,
            whole: true,
        }
    }

    fn judge(looks: &[(u64, HybridSight)]) -> Option<Property> {
        let regions = [(1, 0), (2, 1), (3, 2)].map(|(n, r)| (NodeId(n), RegionId(r))).into();
        let mut homes = Homes::new(Property::ALL, regions, (5, 1));
        let mut at = Instant::ZERO;
        looks.iter().find_map(|(node, sight)| {
            at += dwcp_env::Duration::millis(1);
            homes.look(at, NodeId(*node), 1, *sight).map(|b| b.property)
        })
    }

    #[test]
    fn a_move_is_not_accused() {
        let moved = [
            (2, sight(1, 0, 4, 0)),
            (1, sight(0, 0, 9, 1)),
            (1, sight(0, 0, 9, 1)),
            (3, sight(2, 1, 9, 0)),
            (2, sight(1, 1, 10, 1)),
            (2, sight(1, 1, 12, 2)),
        ];
        assert_eq!(judge(&moved), None);
    }

    #[test]
    fn each_can_break() {
        let here = (3, sight(2, 0, 9, 0));
        for (property, looks) in [
            (Property::HybridOneHome, vec![here, (1, sight(0, 0, 9, 1)), (2, sight(1, 0, 9, 1))]),
            (Property::HybridOneHome, vec![here, (2, sight(1, 1, 9, 1)), (1, sight(0, 0, 9, 1))]),
            (Property::HybridBoundKept, vec![here, (1, sight(0, 0, 15, 1))]),
            (Property::HybridPrefix, vec![here, (2, HybridSight { revision: 3, ..sight(1, 0, 9, 0) })]),
        ] {
            assert_eq!(judge(&looks), Some(property));
        }
    }
}
