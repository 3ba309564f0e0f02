//! What operators ask of a hybrid keyspace, and what they are told.

use super::HybridGroup;
use super::message::Part;
use crate::api::{Answer, Ask, AskError, Response};
use crate::node::{Node, Out};
use crate::question::Origin;
use crate::route::reply;
use dwcp_consensus::hybrid::{Bound, Deed, Lag};
use dwcp_env::{Duration, GroupId, Instant, NodeId, Now, RegionId, RequestId};
use dwcp_store::api::{Compare, CompareOp, CompareTarget, Op, PutRequest, Revision, TxnOp, TxnRequest};
use serde::{Deserialize, Serialize};

/// A question about a hybrid keyspace, answered by the node that is asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum HybridAsk {
    /// How this node sees it.
    Status,
    /// Another region is to own it. Answered when the wish is in the deed: it takes a fence's time until it is so.
    Promote {
        /// Which region, by name.
        to: String,
        /// The home hands over all it has first.
        planned: bool,
        /// Though the home is heard.
        force: bool,
    },
    /// A move under way is given up, if it can be.
    Abandon,
    /// What this node keeps aside of an era.
    Aside(u32),
}

/// How far a region is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RegionLag {
    /// Its name.
    pub region: String,
    /// Its nodes.
    pub nodes: Vec<NodeId>,
    /// The last index that a majority of them has on disk; `None`: too few have said.
    pub held: Option<u64>,
    /// What it lacks.
    pub lag: Lag,
    /// Whether that is within the bound.
    pub within: bool,
}

/// What a node keeps aside of an era.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AsideBrief {
    /// The era that ended.
    pub era: u32,
    /// The last index that counts, and the revision there.
    pub cut: (u64, Revision),
    /// The last index decided, and the revision there.
    pub end: (u64, Revision),
    /// Whether the old quorum agreed that this was all.
    pub settled: bool,
    /// Whether there was more than is kept.
    pub truncated: bool,
    /// Changes kept.
    pub changes: u64,
}

/// How a node sees a hybrid keyspace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HybridStatus {
    /// Which node says so.
    pub node: NodeId,
    /// Where it stands.
    pub region: String,
    /// What it is to the keyspace.
    pub part: Part,
    /// Who owns it, since which era; `None`: no deed is known yet.
    pub deed: Option<Deed>,
    /// The owner's name.
    pub owner: String,
    /// The last index applied here, and the revision.
    pub applied: (u64, Revision),
    /// For how long this node may still answer.
    pub fence: Duration,
    /// How long ago the home was heard of; `None`: not in this life.
    pub home_heard: Option<Duration>,
    /// By how many entries this node is behind what the home said last.
    pub behind: u64,
    /// The bound.
    pub bound: Bound,
    /// Of a home node: how far the other regions are.
    pub regions: Vec<RegionLag>,
    /// What is kept aside here.
    pub aside: Vec<AsideBrief>,
}

impl HybridGroup {
    /// A region's name.
    pub(super) fn name(&self, region: RegionId) -> String {
        self.spec.names.get(region.0 as usize).cloned().unwrap_or_else(|| region.to_string())
    }
    /// How far the other regions are, by what was heard.
    pub(crate) fn lags(&self, now: Instant) -> Vec<RegionLag> {
        let lag_of = |region: RegionId| {
            let nodes = self.nodes_of(region);
            let held = self.ledger.held_by(&nodes);
            let lag = self.ledger.lag(now, held.unwrap_or(0));
            let within = held.is_some() && self.spec.bound.allows(&lag);
            RegionLag { region: self.name(region), nodes, held, lag, within }
        };
        self.others().into_iter().map(lag_of).collect()
    }
    /// When one of the home's nodes was heard last, and the furthest index that any has told.
    pub(super) fn home_heard(&self) -> (Option<Instant>, u64) {
        let owner = self.nodes_of(self.owner());
        let era = self.era();
        let of_home = self.heard.iter().filter(|(n, h)| owner.contains(n) && h.word.era == era);
        let home = of_home.filter(|(_, h)| h.word.part == Part::Home);
        let told = home.map(|(_, h)| (h.at, h.word.at.map_or(0, |p| p.index)));
        told.fold((None, 0), |(at, index), (a, i)| (at.max(Some(a)), index.max(i)))
    }
}

impl Node {
    /// How this node sees a hybrid keyspace.
    #[must_use]
    pub fn hybrid(&self, now: Now, group: GroupId) -> Option<HybridStatus> {
        let h = self.hybrid.get(&group)?;
        let store = self.groups.get(&group)?.store();
        let index = store.position().map_or(0, |p| p.index);
        let (home_at, told) = h.home_heard();
        let is_home = h.part == Part::Home;
        Some(HybridStatus {
            node: self.config.node,
            region: h.name(h.spec.region),
            part: h.part,
            deed: h.deed().cloned(),
            owner: h.name(h.owner()),
            applied: (index, store.revision()),
            fence: if is_home { h.fence.left(now.mono) } else { Duration::ZERO },
            home_heard: home_at.map(|at| now.mono.since(at)),
            behind: told.saturating_sub(index),
            bound: h.spec.bound,
            regions: if is_home { h.lags(now.mono) } else { Vec::new() },
            aside: h.aside.clone(),
        })
    }

    /// A client's question about a hybrid keyspace.
    pub(crate) fn ask_hybrid(
        &mut self,
        now: Now,
        (id, deadline): (RequestId, Instant),
        group: GroupId,
        ask: HybridAsk,
        out: &mut Out,
    ) {
        let Some(h) = self.hybrid.get(&group) else {
            let why = "this keyspace is not hybrid: it has no home region to move".to_string();
            return reply(out, id, Err(AskError::Refused(why)), true);
        };
        let next = match ask {
            HybridAsk::Status => {
                let status = self.hybrid(now, group).ok_or(AskError::NoGroup(group));
                return reply(out, id, status.map(|s| Answer::Hybrid(Box::new(s))), true);
            }
            HybridAsk::Aside(era) => {
                let found = h.aside_of(era);
                let why = || AskError::Refused(format!("this node keeps nothing aside of era {era}"));
                return reply(out, id, found.map(|a| Answer::Aside(Box::new(a))).ok_or_else(why), true);
            }
            HybridAsk::Promote { to, planned, force } => self.wanted(now, group, &to, planned, force),
            HybridAsk::Abandon => h.deed.clone().ok_or_else(no_deed).map(|(d, seen)| (d.abandoned(), seen)),
        };
        match next {
            Err(why) => reply(out, id, Err(AskError::Refused(why)), true),
            Ok((deed, seen)) => {
                self.ask_for_deed(now, group, (&deed, seen), Origin::Client(id), deadline, out)
            }
        }
    }

    /// The deed with the wish of a region, if that makes sense.
    fn wanted(
        &self,
        now: Now,
        group: GroupId,
        to: &str,
        planned: bool,
        force: bool,
    ) -> Result<(Deed, Revision), String> {
        let h = self.hybrid.get(&group).ok_or_else(no_deed)?;
        let place = h.spec.names.iter().position(|n| n == to);
        let known = place.map(|p| RegionId(p as u16)).filter(|r| !h.nodes_of(*r).is_empty());
        let to = known.ok_or_else(|| {
            format!("there is no region {to:?} with nodes; there are {}", h.spec.names.join(", "))
        })?;
        let (deed, seen) = h.deed.clone().ok_or_else(no_deed)?;
        let (home_at, _) = h.home_heard();
        let lives = home_at.is_some_and(|at| now.mono.since(at) < h.spec.fence);
        if lives && !planned && !force {
            return Err(
                "the home is heard: move it with --graceful, which loses nothing; or --force, if you know better".into(),
            );
        }
        if !lives && planned {
            return Err("the home is not heard, and could hand over nothing; without --graceful what it has not shipped \
                        is left behind"
                .into());
        }
        deed.wanted(to, planned).map(|next| (next, seen)).map_err(|e| e.to_string())
    }

    /// Asks for a deed in place of the one seen at a revision.
    pub(super) fn ask_for_deed(
        &mut self,
        now: Now,
        group: GroupId,
        (deed, seen): (&Deed, Revision),
        origin: Origin,
        deadline: Instant,
        out: &mut Out,
    ) {
        let Some(h) = self.hybrid.get(&group) else { return };
        let (key, strong) = (super::deed_key(&h.keyspace), h.strong);
        let unchanged = Compare {
            key: key.clone(),
            range_end: bytes::Bytes::new(),
            op: CompareOp::Equal,
            target: CompareTarget::Mod(seen),
        };
        let put = PutRequest { key, value: deed.encode(), ..PutRequest::default() };
        let txn =
            TxnRequest { compare: vec![unchanged], success: vec![TxnOp::Put(put)], failure: Vec::new() };
        let ask = Ask::Write { session: None, op: Op::Txn(txn) };
        match self.questions.open(strong, ask, origin, deadline) {
            Ok(token) => self.route(now, token, None, out),
            Err(refused) => {
                if let Origin::Client(id) = origin {
                    reply(out, id, Err(refused) as Response, true);
                }
            }
        }
    }
}

impl Node {
    /// Why a question about a hybrid keyspace found no answer here.
    pub(crate) fn why_not_home(&self, group: GroupId) -> String {
        let Some(h) = self.hybrid.get(&group) else { return no_deed() };
        let (owner, here) = (h.name(h.owner()), h.name(h.spec.region));
        match (h.deed(), h.part) {
            (None, _) => no_deed(),
            (Some(d), _) if d.next.is_some() => {
                format!(
                    "the keyspace is moving away from {owner}; try again in a moment (`dwcp consensus hybrid`)"
                )
            }
            (_, Part::Home) if h.lagging => format!(
                "too few regions have what {here} has decided: the bound on what may be lost is reached \
                 (`dwcp consensus hybrid` shows which)"
            ),
            (_, Part::Home) => format!(
                "{here} can't make sure that it is still the home: a quorum of the keyspace '{}' is out of its reach",
                h.spec.strong
            ),
            _ => format!(
                "the home of this keyspace, {owner}, is out of reach; this node holds a copy, for stale reads"
            ),
        }
    }
}

fn no_deed() -> String {
    "no deed of this keyspace is known here yet: its home has not come up".into()
}
