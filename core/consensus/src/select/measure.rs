//! What was measured, as the selection is told it, and the same in canonical order.
//!
//! A measurement may be any nonsense: regions named twice, a matrix with holes, no members. What is missing counts as
//! unreachable, what is too much is not looked at; nothing panics.

use super::quantity::Share;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use dwcp_env::{Duration, NodeId, RegionId};
use serde::{Deserialize, Serialize};

/// Regions that are looked at, members among them [`crate::quorum::MEMBERS_MAX`].
pub const REGIONS_MAX: usize = 64;

/// What the network, the clients and the operator show. The measurer smooths: a figure stands for some ten seconds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Measurements {
    /// Regions that have members or clients, in any order.
    pub regions: Vec<Region>,
    /// `links[a][b]`: from the `a`th of `regions` to the `b`th; on the diagonal between nodes of one region.
    pub links: Vec<Vec<Link>>,
    /// What the group keeps.
    pub keyspaces: Vec<Keyspace>,
    /// Whether members may lie.
    pub trust: Trust,
    /// How long a sync of a record takes, at the median.
    pub sync: Duration,
}

/// A region.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Region {
    /// Its name.
    pub id: RegionId,
    /// The group's members in it.
    pub members: Vec<Member>,
}

/// A member of the group.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub node: NodeId,
    /// Whether it is heard of.
    pub up: bool,
}

/// What was measured between two regions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Link {
    /// The median round trip; `None`: nothing comes back.
    pub rtt: Option<Duration>,
    /// What 99 of 100 round trips need at the most; below `rtt` it counts as `rtt`.
    pub rtt_p99: Duration,
    /// Messages that are lost on the way.
    pub loss: Share,
}

/// Something with a class of its own.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Keyspace {
    /// Its number.
    pub id: u32,
    /// What its data types allow.
    pub class: Class,
    /// Writes a second, by the places of [`Measurements::regions`].
    pub writes: Vec<u64>,
    /// Writes that meet another one to the same key that is not decided yet, of all.
    pub conflict: Share,
    /// How long its writers are ready to wait, if they said so.
    pub budget: Option<Duration>,
}

/// What the declared data types allow. A declaration, never a guess.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// One order of everything. Nothing that was measured makes less of it.
    #[default]
    Strong,
    /// Replicas that saw the same writes are equal, in whatever order: may be written locally.
    Mergeable,
}

/// Whether members may lie.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// They crash at the worst.
    #[default]
    Trusted,
    /// One was caught, or the operator said so.
    Untrusted,
}

/// Unreachable, in nanoseconds.
pub(super) const NEVER: u64 = u64::MAX;

/// A link in nanoseconds; [`NEVER`] if nothing comes back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) median: u64,
    pub(super) p99: u64,
    pub(super) loss: Share,
}

/// Measurements in canonical order: regions and members by name, each once.
#[derive(Debug)]
pub(super) struct View {
    pub(super) regions: Vec<RegionId>,
    /// By region and region.
    pub(super) paths: Vec<Vec<Path>>,
    /// Members, sorted; places of quorum systems are places in this list.
    pub(super) members: Vec<NodeId>,
    /// By member: the place of its region.
    pub(super) home: Vec<usize>,
    pub(super) up: Vec<bool>,
    pub(super) keyspaces: Vec<Space>,
    /// Writes a second by region, of all keyspaces; one each if there are none at all.
    pub(super) writes: Vec<u64>,
    pub(super) conflict: Share,
    pub(super) trust: Trust,
    pub(super) sync: u64,
}

/// A keyspace in canonical order.
#[derive(Debug)]
pub(super) struct Space {
    pub(super) id: u32,
    pub(super) class: Class,
    pub(super) writes: Vec<u64>,
    pub(super) conflict: Share,
    pub(super) budget: Option<u64>,
}

/// How many members there are, each counted once, and no more than are looked at.
pub(super) fn members(m: &Measurements) -> u8 {
    let all: BTreeSet<NodeId> = m.regions.iter().flat_map(|r| &r.members).map(|m| m.node).collect();
    all.len().min(crate::quorum::MEMBERS_MAX) as u8
}

impl View {
    pub(super) fn of(m: &Measurements) -> Self {
        // Of regions named twice the first counts.
        let mut by_name = BTreeMap::new();
        for (place, region) in m.regions.iter().enumerate() {
            by_name.entry(region.id).or_insert(place);
        }
        let order: Vec<usize> = by_name.values().copied().take(REGIONS_MAX).collect();
        let path =
            |a: usize, b: usize| m.links.get(a).and_then(|row| row.get(b)).map_or(Path::NONE, Path::of);
        let mut paths: Vec<Vec<Path>> =
            order.iter().map(|a| order.iter().map(|b| path(*a, *b)).collect()).collect();
        for (at, row) in paths.iter_mut().enumerate() {
            // A node hears itself, whatever was measured between it and its neighbours.
            if row[at].median == NEVER {
                row[at] = Path { median: 0, p99: 0, loss: Share::NONE };
            }
        }
        let mut members: BTreeMap<NodeId, (usize, bool)> = BTreeMap::new();
        for (at, place) in order.iter().enumerate() {
            for member in &m.regions[*place].members {
                let (_, up) = members.entry(member.node).or_insert((at, member.up));
                *up &= member.up;
            }
        }
        while members.len() > crate::quorum::MEMBERS_MAX {
            members.pop_last();
        }
        let writes_of = |k: &Keyspace| -> Vec<u64> {
            order.iter().map(|place| k.writes.get(*place).copied().unwrap_or(0)).collect()
        };
        let mut keyspaces: Vec<Space> = m
            .keyspaces
            .iter()
            .map(|k| Space {
                id: k.id,
                class: k.class,
                writes: writes_of(k),
                conflict: k.conflict,
                budget: k.budget.map(Duration::as_nanos),
            })
            .collect();
        keyspaces.sort_by(|a, b| {
            let key = |k: &Space| (k.id, k.class, k.conflict, k.budget);
            key(a).cmp(&key(b)).then_with(|| a.writes.cmp(&b.writes))
        });
        let (writes, conflict) = totals(order.len(), &keyspaces);
        Self {
            regions: by_name.keys().copied().take(order.len()).collect(),
            paths,
            home: members.values().map(|(at, _)| *at).collect(),
            up: members.values().map(|(_, up)| *up).collect(),
            members: members.into_keys().collect(),
            keyspaces,
            writes,
            conflict,
            trust: m.trust,
            sync: m.sync.as_nanos(),
        }
    }

    /// The members of a region that are up, by place.
    pub(super) fn up_in(&self, region: usize) -> impl Iterator<Item = usize> + '_ {
        (0..self.members.len()).filter(move |m| self.home[*m] == region && self.up[*m])
    }
    pub(super) fn place(&self, node: NodeId) -> Option<usize> {
        self.members.binary_search(&node).ok()
    }
    /// Regions with members.
    pub(super) fn homes(&self) -> Vec<usize> {
        (0..self.regions.len()).filter(|r| self.home.contains(r)).collect()
    }
}

impl Path {
    const NONE: Self = Self { median: NEVER, p99: NEVER, loss: Share::WHOLE };

    fn of(link: &Link) -> Self {
        match link.rtt {
            Some(rtt) if link.loss < Share::WHOLE => {
                Self { median: rtt.as_nanos(), p99: link.rtt_p99.max(rtt).as_nanos(), loss: link.loss }
            }
            _ => Self::NONE,
        }
    }
}

/// Writes by region, and the share of them that conflict; if nobody writes, one each, and what the worst keyspace would have.
fn totals(regions: usize, keyspaces: &[Space]) -> (Vec<u64>, Share) {
    let mut writes = vec![0_u64; regions];
    let (mut met, mut all) = (0_u128, 0_u128);
    for space in keyspaces {
        let mut own = 0_u128;
        for (sum, n) in writes.iter_mut().zip(&space.writes) {
            *sum = sum.saturating_add(*n);
            own += u128::from(*n);
        }
        all += own;
        met += own * u128::from(space.conflict.as_millionths());
    }
    if all == 0 {
        writes.fill(1);
        return (writes, keyspaces.iter().map(|k| k.conflict).max().unwrap_or(Share::NONE));
    }
    (writes, Share::millionths(u64::try_from(met / all).unwrap_or(u64::MAX)))
}
