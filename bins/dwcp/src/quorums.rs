//! Quorum systems as an operator writes and reads them.
//!
//! Every system that [`System`] knows and Multi-Paxos can run has a form here. Places in a system are those of the voters in the order of their
//! numbers; what an operator would have to count out by hand (who lives where) is taken from the epoch's members.
//!
//! | written | prepare (elect) | accept (decide) |
//! |---|---|---|
//! | `majority` | more than half | more than half |
//! | `4/2` | four | two |
//! | `grid:2x3` | a row of three | a column of two |
//! | `weights:2,1,1:3/2` | three votes | two votes |
//! | `regions` | majorities in a majority of the regions | the same |
//! | `in-region` | a majority of every region | a majority of one region |
//! | `witness:3` | a majority with one who is no witness | the same |
//! | `atlas:1` (EPaxos) | all but one (recover) | a majority; at once: half, rounded down, and one |
//!
//! Whether the two phases share a member is not looked at here: the cluster admits a system or refuses it, naming the sets that do not meet
//! (`dwcp_consensus::quorum::admit`).

use dwcp_consensus::Members;
use dwcp_consensus::quorum::{NodeSet, RegionRule, System};
use dwcp_env::NodeId;
use dwcp_node::EngineKind;
use std::collections::BTreeMap;

/// How the forms are written.
pub(crate) const FORMS: &str = "write `majority`, or how many elect and how many decide: 4/2, grid:2x3 (a row elects, a column decides), \
     weights:2,1,1:3/2 (votes of the voters in the order of their numbers, and how many elect and decide), regions, in-region, witness:3, or under epaxos atlas:1 \
     (what meets others is decided in one round trip too; one member may be gone)";

/// Quorums as asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// More than half.
    Majority,
    /// So many elect, so many decide.
    Flexible {
        /// Elect.
        elect: u8,
        /// Decide.
        decide: u8,
    },
    /// A row elects, a column decides.
    Grid {
        /// How many rows.
        rows: u8,
        /// How many columns.
        columns: u8,
    },
    /// Votes elect and decide.
    Weighted {
        /// By voter, in the order of their numbers.
        weights: Vec<u16>,
        /// Votes that elect.
        elect: u32,
        /// Votes that decide.
        decide: u32,
    },
    /// By regions.
    Regional(RegionRule),
    /// Atlas' rule for the fast path of EPaxos.
    Atlas {
        /// So many may be gone.
        bears: u8,
    },
    /// Majorities with somebody who is none of these.
    Witness(Vec<NodeId>),
}

/// Reads what was written.
///
/// # Errors
/// How to write it.
pub(crate) fn parse(text: &str) -> Result<Wanted, String> {
    read(text).ok_or_else(|| FORMS.to_owned())
}

fn read(text: &str) -> Option<Wanted> {
    let (form, rest) = text.split_once(':').unwrap_or((text, ""));
    let two = |text: &str, by: char| text.split_once(by).map(|(a, b)| (a.to_owned(), b.to_owned()));
    Some(match (form, rest) {
        ("majority", "") => Wanted::Majority,
        ("regions", "") => Wanted::Regional(RegionRule::MajorityOfMajorities),
        ("atlas", bears) => Wanted::Atlas { bears: bears.parse().ok()? },
        ("in-region", "") => Wanted::Regional(RegionRule::InRegion),
        ("grid", rest) => {
            let (rows, columns) = two(rest, 'x')?;
            Wanted::Grid { rows: rows.parse().ok()?, columns: columns.parse().ok()? }
        }
        ("weights", rest) => {
            let (weights, votes) = two(rest, ':')?;
            let (elect, decide) = two(&votes, '/')?;
            let weights = weights.split(',').map(|w| w.parse().ok()).collect::<Option<_>>()?;
            Wanted::Weighted { weights, elect: elect.parse().ok()?, decide: decide.parse().ok()? }
        }
        ("witness", rest) => {
            Wanted::Witness(rest.split(',').map(|n| n.parse().ok().map(NodeId)).collect::<Option<_>>()?)
        }
        (numbers, "") => {
            let (elect, decide) = two(numbers, '/')?;
            Wanted::Flexible { elect: elect.parse().ok()?, decide: decide.parse().ok()? }
        }
        _ => return None,
    })
}

impl Wanted {
    /// The system over these members; `None`: majorities.
    ///
    /// # Errors
    /// What does not fit the members, or the engine.
    pub fn system(&self, engine: EngineKind, members: &Members) -> Result<Option<System>, String> {
        if matches!(self, Self::Atlas { .. }) && engine != EngineKind::EPaxos {
            return Err(format!(
                "atlas is a rule of epaxos, and {engine} has a leader: give how many elect and decide, as 4/2"
            ));
        }
        let voters: Vec<NodeId> = members.voters.iter().copied().collect();
        let named = || voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Ok(Some(match self {
            Self::Majority => return Ok(None),
            Self::Flexible { elect, decide } => System::flexible(voters.len() as u8, *elect, *decide),
            Self::Grid { rows, columns } => {
                if usize::from(*rows) * usize::from(*columns) != voters.len() {
                    return Err(format!(
                        "a grid of {rows} x {columns} has {} places, and there are {} voters: {}",
                        u32::from(*rows) * u32::from(*columns),
                        voters.len(),
                        named()
                    ));
                }
                System::Grid { rows: *rows, columns: *columns }
            }
            Self::Weighted { weights, elect, decide } => {
                if weights.len() != voters.len() {
                    return Err(format!(
                        "{} weights for {} voters: one for each of {}",
                        weights.len(),
                        voters.len(),
                        named()
                    ));
                }
                let fast = weights.iter().map(|w| u32::from(*w)).sum();
                System::Weighted { weights: weights.clone(), prepare: *elect, accept: *decide, fast }
            }
            Self::Regional(rule) => {
                let mut known = BTreeMap::new();
                let mut number = |n: &NodeId| {
                    let next = known.len() as u8;
                    let region = members.nodes.get(n).map(|m| m.region).unwrap_or_default();
                    *known.entry(region).or_insert(next)
                };
                System::Regional { regions: voters.iter().map(&mut number).collect(), rule: *rule }
            }
            Self::Atlas { bears } => {
                let most = voters.len().saturating_sub(1) / 2;
                if !(1..=most).contains(&usize::from(*bears)) {
                    return Err(format!(
                        "atlas:{bears}: of {} voters ({}) from 1 to {most} may be gone",
                        voters.len(),
                        named()
                    ));
                }
                System::atlas(voters.len() as u8, *bears)
            }
            Self::Witness(nodes) => {
                let mut witnesses = NodeSet::EMPTY;
                for node in nodes {
                    let place = voters.iter().position(|v| v == node);
                    witnesses
                        .insert(place.ok_or_else(|| format!("{node} is no voter: there are {}", named()))?);
                }
                System::Witness { members: voters.len() as u8, witnesses }
            }
        }))
    }
}

/// A system in words.
#[must_use]
pub(crate) fn told(system: &System, voters: &[NodeId]) -> String {
    match system {
        System::Majority { .. } => "majorities".to_owned(),
        System::Threshold { members, prepare, accept, fast }
            if *system == System::atlas(*members, members.saturating_sub(*prepare)) =>
        {
            format!(
                "{fast} decide at once (Atlas' rule), {accept} by vote, and {} may be gone,",
                members.saturating_sub(*prepare)
            )
        }
        System::Threshold { prepare, accept, .. } => format!("{prepare} elect and {accept} decide"),
        System::Grid { rows, columns } => {
            format!("a row of {columns} elects and a column of {rows} decides, in a grid")
        }
        System::Weighted { weights, prepare, accept, .. } => {
            let each = voters.iter().zip(weights).map(|(n, w)| format!("{n} has {w}"));
            let each = each.collect::<Vec<_>>().join(", ");
            format!("{prepare} votes elect and {accept} decide ({each})")
        }
        System::Regional { rule: RegionRule::MajorityOfMajorities, .. } => {
            "majorities in a majority of the regions".to_owned()
        }
        System::Regional { rule: RegionRule::InRegion, .. } => {
            "a majority of every region elects and a majority of one decides".to_owned()
        }
        System::Witness { witnesses, .. } => {
            let them = voters.iter().enumerate().filter(|(place, _)| witnesses.has(*place));
            let them = them.map(|(_, n)| n.to_string()).collect::<Vec<_>>().join(", ");
            format!("majorities with one who is no witness ({them})")
        }
        System::Byzantine { members } => {
            let (n, liars) = (usize::from(*members), usize::from(*members).saturating_sub(1) / 3);
            format!("{} alike, so that {liars} may lie,", (n + liars) / 2 + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_consensus::Member;
    use dwcp_consensus::quorum::{Needs, admit};
    use dwcp_env::RegionId;

    /// Members 1 to n, by turns in three regions.
    fn members(n: u64) -> Members {
        let nodes = (1..=n).map(|n| {
            let region = RegionId(((n - 1) % 3) as u16);
            let (peer_address, client_address, name) = Default::default();
            (NodeId(n), Member { region, peer_address, client_address, name })
        });
        Members { voters: (1..=n).map(NodeId).collect(), nodes: nodes.collect(), ..Members::default() }
    }

    #[test]
    fn every_form_is_read_fits_its_members_is_admitted_and_told() {
        for (text, n, words) in [
            ("4/2", 5, "4 elect and 2 decide"),
            ("grid:2x3", 6, "a row of 3 elects and a column of 2 decides, in a grid"),
            ("weights:2,1,1:3/2", 3, "3 votes elect and 2 decide (n1 has 2, n2 has 1, n3 has 1)"),
            ("regions", 9, "majorities in a majority of the regions"),
            ("in-region", 9, "a majority of every region elects and a majority of one decides"),
            ("witness:3", 3, "majorities with one who is no witness (n3)"),
        ] {
            let of = members(n);
            let system = parse(text).unwrap().system(EngineKind::EPaxos, &of).unwrap();
            let system = system.expect("none of them is a majority");
            let voters: Vec<NodeId> = of.voters.iter().copied().collect();
            assert_eq!(told(&system, &voters), words, "{text}");
            admit(&system, &voters, Needs::Paxos).unwrap_or_else(|why| panic!("{text}: {why}"));
        }
        for (text, n, words) in [
            ("atlas:1", 3, "2 decide at once (Atlas' rule), 2 by vote, and 1 may be gone,"),
            ("atlas:2", 5, "4 decide at once (Atlas' rule), 3 by vote, and 2 may be gone,"),
        ] {
            let of = members(n);
            let system = parse(text).unwrap().system(EngineKind::EPaxos, &of).unwrap().expect("no majority");
            let voters: Vec<NodeId> = of.voters.iter().copied().collect();
            assert_eq!(told(&system, &voters), words, "{text}");
            dwcp_consensus::epaxos::admits(&system, &voters).unwrap_or_else(|why| panic!("{text}: {why}"));
        }
        assert_eq!(parse("majority").unwrap().system(EngineKind::Raft, &members(3)), Ok(None));
    }

    #[test]
    fn what_is_no_system_or_does_not_fit_says_what_would() {
        for bad in [
            "",
            "4",
            "4/",
            "/2",
            "4/x",
            "300/1",
            "grid",
            "grid:2",
            "grid:2x",
            "weights:1,1",
            "weights::1/1",
            "weights:1,x:1/1",
            "weights:70000:1/1",
            "witness:",
            "witness:a",
            "atlas",
            "atlas:x",
            "regions:3",
            "majority:2",
            "rows",
        ] {
            assert!(parse(bad).unwrap_err().contains("4/2"), "{bad}");
        }
        for (text, why) in [
            ("grid:2x2", "has 4 places, and there are 3 voters: n1, n2, n3"),
            ("weights:1,1:1/1", "2 weights for 3 voters"),
            ("witness:4", "n4 is no voter"),
            ("atlas:2", "of 3 voters (n1, n2, n3) from 1 to 1 may be gone"),
            ("atlas:0", "from 1 to 1"),
        ] {
            let refused = parse(text).unwrap().system(EngineKind::EPaxos, &members(3)).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
        let refused = parse("atlas:1").unwrap().system(EngineKind::Paxos, &members(3)).unwrap_err();
        assert!(refused.contains("a rule of epaxos"), "{refused}");
    }
}
