//! The end of a run: the clients' logs against each other and against what a replica holds,
//! and the figures.

use super::door::{EVENTUAL, GROUP};
use crate::expand::RunPlan;
use crate::file::Figure;
use crate::invariant::Property;
use dwcp_crdt::{Address, Kind, Member, Space, Standing};
use dwcp_env::{Duration, Instant, NodeId};
use dwcp_eventual::SyncPolicy;
use dwcp_node::Node;
use dwcp_runtime_sim::trace::Violation;
use dwcp_store::api::RangeRequest;
use dwcp_workload::converged::{self, Excuses, Holds};
use dwcp_workload::judge::{self, Held};
use dwcp_workload::script::{counter_key, list_key, map_key, register_key, set_key};
use dwcp_workload::{Log, Outcome, Record};
use std::collections::BTreeMap;

/// A node as something that holds keys.
struct Replica<'a>(&'a Node);

impl Held for Replica<'_> {
    fn at(&self, key: &[u8], revision: i64) -> Result<Option<(Vec<u8>, i64)>, String> {
        let range = RangeRequest { key: key.to_vec().into(), revision, ..RangeRequest::default() };
        let found = self.0.read(GROUP, &range).map_err(|e| e.to_string())?;
        Ok(found.1.kvs.into_iter().next().map(|kv| (kv.value.to_vec(), kv.mod_revision)))
    }
    fn revision(&self) -> i64 {
        self.0.look(GROUP).revision
    }
}

/// A replica of an eventual keyspace as something that holds values.
struct Convergent<'a>(&'a Space);

impl Holds for Convergent<'_> {
    fn contains(&self, set: u64, element: u64) -> bool {
        self.0.contains(&Address::key(Kind::OrSet, set_key(set)), &element.to_be_bytes())
    }
    fn total(&self, counter: u64) -> Option<i128> {
        self.0.counter(&Address::key(Kind::PnCounter, counter_key(counter)))
    }
    fn value(&self, register: u64) -> Option<Vec<u8>> {
        self.0.value(&Address::key(Kind::Lww, register_key(register)))
    }
    fn field(&self, map: u64, field: u64) -> bool {
        let at = Address::key(Kind::Map, map_key(map)).field(Kind::Lww, field.to_be_bytes());
        self.0.value(&at).is_some()
    }
    fn list(&self, list: u64) -> Vec<Vec<u8>> {
        let at = Address::key(Kind::Sequence, list_key(list));
        self.0.range(&at, 0, self.0.length(&at))
    }
}

/// Judges the logs. The replica is the one of the core that has come furthest; without one
/// only the logs are judged.
///
/// What a replica is judged by shows at the end of the run, `now`; `ends` is when processes ended.
pub(super) fn judge(
    plan: &RunPlan,
    log: &Log,
    replica: Option<&Node>,
    now: Instant,
    ends: &[(Instant, NodeId)],
    figures: &mut BTreeMap<Figure, u64>,
) -> Option<Violation> {
    let mut first: Option<Violation> = None;
    for property in &plan.always {
        let broken = match property {
            Property::Linearizable => judge::linearizable(log).err(),
            Property::ListAppendSerializable => judge::lists(log).err(),
            Property::BankSum => judge::bank(log).err(),
            Property::LocksExclusive => judge::locks(log).err(),
            Property::WatchComplete => judge::watches(log).err(),
            Property::ExactlyOnce => replica.and_then(|n| judge::exactly_once(log, &Replica(n)).err()),
            Property::NoAcknowledgedLoss => replica.and_then(|n| {
                let (lost, first) = judge::acknowledged(log, &Replica(n));
                figures.insert(Figure::Rpo, lost);
                first
            }),
            Property::EventualNoAcknowledgedLoss => replica.and_then(|n| {
                let held = n.eventual(EVENTUAL).map(|e| Convergent(e.space()))?;
                // What a node answered in the second before its process ended it need not have had on its disk.
                let ahead = plan.node.sync == SyncPolicy::EverySecond;
                let may_be_lost = |r: &Record| {
                    let soon = |at: Instant| at >= r.call && at.since(r.ret) <= SyncPolicy::LOST_MAX;
                    ahead && ends.iter().any(|(at, node)| r.node == Some(*node) && soon(*at))
                };
                let was_evicted = |node: NodeId| {
                    let ended = |m: &Member| m.node == node && matches!(m.standing, Standing::Evicted { .. });
                    held.0.roster().iter().any(|(_, m)| ended(m))
                };
                let excuses = Excuses { may_be_lost: &may_be_lost, was_evicted: &was_evicted };
                let (lost, first) = converged::eventual(log, &held, &excuses);
                figures.insert(Figure::Rpo, lost);
                first
            }),
            _ => None,
        };
        if let Some(b) = broken {
            let at_end = matches!(
                property,
                Property::ExactlyOnce | Property::NoAcknowledgedLoss | Property::EventualNoAcknowledgedLoss
            );
            let at = if at_end || b.at == Instant::ZERO { now } else { b.at };
            let found = Violation { name: property.name().to_owned(), detail: b.detail, at, node: None };
            // The most telling property comes first in a file; keep the first.
            first.get_or_insert(found);
        }
    }
    first
}

/// The figures that the log alone gives.
pub(super) fn measure(
    plan: &RunPlan,
    log: &Log,
    messages: u64,
    disk_requests: u64,
    figures: &mut BTreeMap<Figure, u64>,
) {
    let end = plan.world.heal_at + plan.serve_for;
    let writes = log.acknowledged().count() as u64;
    // Without an event: from when the clients are at work.
    let from = plan.first_event.unwrap_or(Instant::ZERO + Duration::secs(4));
    figures.insert(Figure::Rto, longest_gap(log, from, end));
    let slowest =
        log.records.iter().filter(|r| r.outcome == Outcome::Ok).map(|r| r.ret.since(r.call).as_nanos()).max();
    figures.insert(Figure::WorstLatency, slowest.unwrap_or(0));
    if let Some(messages_each) = (messages * 100).checked_div(writes) {
        figures.insert(Figure::MessagesPerWrite, messages_each);
        figures.insert(Figure::SyncsPerWrite, disk_requests * 100 / writes);
    }
}

/// The longest time without a write that succeeded, between the last before `from` and `end`.
fn longest_gap(log: &Log, from: Instant, end: Instant) -> u64 {
    let mut times: Vec<Instant> = log.acknowledged().map(|r| r.ret).filter(|t| *t <= end).collect();
    times.sort_unstable();
    let after = times.partition_point(|t| *t < from);
    let mut last = if after == 0 { from } else { times[after - 1] };
    let mut longest = 0;
    for t in times[after..].iter().copied().chain([end]) {
        longest = longest.max(t.since(last).as_nanos());
        last = t;
    }
    longest
}

/// The node of the core that has come furthest.
pub(super) fn furthest<'n>(
    core: &[NodeId],
    machine: impl Fn(NodeId) -> Option<&'n Node>,
) -> Option<&'n Node> {
    core.iter().filter_map(|n| machine(*n)).max_by_key(|n| n.look(GROUP).applied)
}
