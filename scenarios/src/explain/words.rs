//! A run in sentences that a person can retell.
//!
//! Times are rounded to the millisecond, spans to three digits: the plan holds the exact ones.

use crate::expand::{Act, RunPlan};
use crate::file::Load;
use crate::file::action::{Action, Who};
use dwcp_env::{Duration, Instant, NodeId, Ratio};
use dwcp_runtime_sim::fault::{Effect, Fault, Target};
use dwcp_runtime_sim::plan::Latency;
use dwcp_workload::Use;

/// A moment: `12.5 s`.
#[must_use]
pub fn moment(at: Instant) -> String {
    let ms = at.as_nanos() / 1_000_000;
    let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
    format!("{} s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A span: `300 ms`, `1.25 s`.
#[must_use]
pub fn span(d: Duration) -> String {
    let ns = d.as_nanos();
    let (unit, name) = match ns {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let text = format!("{}.{:03}", ns / unit, ns % unit * 1_000 / unit);
    format!("{} {name}", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A list: `a, b and c`.
#[must_use]
pub fn list<T: std::fmt::Display>(items: &[T]) -> String {
    match items {
        [] => "nobody".to_owned(),
        [one] => one.to_string(),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("{} and {last}", first.join(", "))
        }
    }
}

fn share(r: Ratio) -> String {
    let tenths = u64::from(r.num) * 1_000 / u64::from(r.den).max(1);
    format!("{}.{} %", tenths / 10, tenths % 10).replace(".0 %", " %")
}

/// The world and its clients.
#[must_use]
pub fn setting(plan: &RunPlan) -> Vec<String> {
    let mut regions: Vec<(String, Vec<NodeId>)> = Vec::new();
    for node in &plan.world.nodes {
        match regions.iter_mut().find(|r| r.0 == node.region) {
            Some(region) => region.1.push(node.id),
            None => regions.push((node.region.clone(), vec![node.id])),
        }
    }
    let stands: Vec<String> =
        regions.iter().map(|(name, nodes)| format!("{} in {name}", list(nodes))).collect();
    let apart = match &plan.world.latency {
        Latency::Measured(name) => format!("as far apart as measured ({name})"),
        Latency::Uniform { min, max } => format!("{} to {} apart", span(*min), span(*max)),
    };
    let mut out = vec![format!("The world: {}; {apart}.", stands.join("; "))];
    let spares: Vec<NodeId> =
        plan.world.nodes.iter().map(|n| n.id).filter(|n| !plan.members.contains(n)).collect();
    if !spares.is_empty() {
        out.push(format!("{} no member at the start.", be(&spares)));
    }
    let mut left = plan.world.clients;
    for load in &plan.loads {
        let clients = load.clients.min(left);
        left -= clients;
        if clients > 0 {
            out.push(workload(load, clients));
        }
    }
    out
}

fn workload(load: &Load, clients: u32) -> String {
    let what = match load.kind {
        Use::Register => "read, write, compare-and-set and delete",
        Use::ListAppend => "append to and read lists in transactions over",
        Use::Bank => "move money between and read all of",
        Use::Lock => "take locks and write under them, of",
        Use::Watch => "write and watch",
        Use::Store => "do all that the store can do with",
        Use::Eventual => "change sets, counters, registers and maps, of each",
        Use::Collections => "fill and empty sets, maps, lists, registers and counters, of each",
        Use::Documents => "write fields of documents, of which there are",
        Use::Checkpoints => {
            "write fields of documents, take checkpoints of them and go back to those; of documents there are"
        }
    };
    // A shrunk plan has fewer clients than its loads; each keeps its own pace.
    let rate = load.per_second_milli * u64::from(clients) / u64::from(load.clients.max(1));
    let per_second = format!("{}.{}", rate / 1_000, rate % 1_000 / 100);
    let (who, keys) = (plural(clients, "client"), plural(load.keys, "key"));
    let carries = load.carries.map_or_else(String::new, |sizes| {
        let kib = |bytes: u32| bytes / 1_024;
        format!(" A write carries {} to {} KiB.", kib(sizes.low), kib(sizes.high))
    });
    format!("{who} {what} {keys}, {} operations a second.{carries}", per_second.trim_end_matches(".0"))
}

fn plural(n: u32, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn be(nodes: &[NodeId]) -> String {
    format!("{} {}", list(nodes), if nodes.len() == 1 { "is" } else { "are" })
}

/// Two sides of some links, in words.
struct Sides {
    from: String,
    to: String,
    /// One side alone, cut from all others.
    alone: Option<String>,
}

fn sides(target: &Target, all: &[NodeId]) -> Sides {
    let Target::Links { from, to } = target else {
        return Sides { from: String::new(), to: String::new(), alone: None };
    };
    let rest_of = |side: &[NodeId], other: &[NodeId]| {
        !side.is_empty() && all.iter().all(|n| side.contains(n) != other.contains(n))
    };
    let name = |side: &[NodeId]| {
        if side.is_empty() || side.len() == all.len() { "everybody".to_owned() } else { list(side) }
    };
    let alone = rest_of(from, to).then(|| {
        let small = if to.len() < from.len() { to } else { from };
        be(small)
    });
    Sides { from: name(from), to: name(to), alone }
}

/// What a fault does, as a sentence without its time.
#[must_use]
pub fn fault(f: &Fault, all: &[NodeId]) -> String {
    let node = match &f.target {
        Target::Node(n) => n.to_string(),
        Target::Links { .. } => String::new(),
    };
    match &f.effect {
        e if e.on_links() => links(e, &sides(&f.target, all)),
        e => of_node(e, &node, f),
    }
}

fn links(effect: &Effect, s: &Sides) -> String {
    let way = format!("from {} to {}", s.from, s.to);
    match effect {
        Effect::Partition {} => match &s.alone {
            Some(who) => format!("{who} cut off from everybody else"),
            None => format!("{} and {} can't reach each other", s.from, s.to),
        },
        Effect::PartitionOneWay {} => format!("nothing sent {way} arrives"),
        Effect::Clog {} => format!("messages {way} are held back, then all let through at once"),
        Effect::Delay { extra, jitter } if jitter.as_nanos() == 0 => {
            format!("messages {way} take {} longer", span(*extra))
        }
        Effect::Delay { extra, jitter } => {
            format!("messages {way} take {} to {} longer", span(*extra), span(*extra + *jitter))
        }
        Effect::Reorder { rate, extra } => {
            format!("{} of the messages {way} are late by up to {} and overtaken", share(*rate), span(*extra))
        }
        Effect::Duplicate { rate, extra } => {
            format!("{} of the messages {way} arrive again, up to {} later", share(*rate), span(*extra))
        }
        Effect::Drop { rate, burst } if *burst > 1 => {
            format!("messages {way} are lost {burst} in a row, {} of the time", share(*rate))
        }
        Effect::Drop { rate, .. } => format!("{} of the messages {way} are lost", share(*rate)),
        Effect::Bandwidth { rate, .. } => format!("links {way} carry {} bytes a second", rate.bytes_per_s),
        Effect::CorruptPacket { rate, .. } => format!("{} of the messages {way} are damaged", share(*rate)),
        _ => format!("{} {way}", effect.kind()),
    }
}

fn of_node(effect: &Effect, n: &str, f: &Fault) -> String {
    let signed = |nanos: i64| {
        let size = span(Duration::nanos(nanos.unsigned_abs()));
        if nanos < 0 { format!("{size} back") } else { format!("{size} ahead") }
    };
    let back = format!("and boots again at {}", moment(f.until));
    match effect {
        Effect::Crash { mid_write: false } => format!("{n} loses power {back}"),
        Effect::Crash { mid_write: true } => {
            format!("{n} loses power in the middle of its next write {back}")
        }
        Effect::TornWrite {} => {
            format!("{n} loses power in the middle of its next write, half of which stays, {back}")
        }
        Effect::Wipe {} => format!("{n} loses its disk {back}, empty"),
        Effect::Pause {} => format!("{n} stands still while the world goes on"),
        Effect::VersionChange { .. } => format!("{n} is stopped in good order {back}"),
        Effect::ClockSkew { nanos, honest: true } => {
            format!("the calendar of {n} is {}, and it knows", signed(*nanos))
        }
        Effect::ClockSkew { nanos, .. } => {
            format!("the calendar of {n} is {}, and it does not know", signed(*nanos))
        }
        Effect::ClockDrift { ppm } => {
            let how = if *ppm < 0 { "slow" } else { "fast" };
            format!("the clocks of {n} run {} ppm too {how}", ppm.unsigned_abs())
        }
        Effect::ClockJump { nanos } => format!("the calendar of {n} jumps {}", signed(*nanos)),
        Effect::LatentSectorError { sectors, .. } => {
            format!("{sectors} sectors of {n}'s disk can't be read any more")
        }
        Effect::BitRot { bits, .. } => format!("{bits} bits on {n}'s disk flip"),
        Effect::MisdirectedWrite { rate } => format!("{} of {n}'s writes land elsewhere", share(*rate)),
        Effect::MisdirectedRead { rate } => format!("{} of {n}'s reads come from elsewhere", share(*rate)),
        Effect::PhantomWrite { rate, lying_sync } => format!(
            "{n}'s disk leaves out {} of the blocks of a sync and does nothing in {} of the syncs",
            share(*rate),
            share(*lying_sync)
        ),
        Effect::DiskFull { free } => format!("{n}'s disk is full but for {} bytes", free.0),
        Effect::DiskError { reads, writes, syncs } => format!(
            "{n}'s disk fails {} of the reads, {} of the writes and {} of the syncs",
            share(*reads),
            share(*writes),
            share(*syncs)
        ),
        Effect::SlowDisk { stalled: true, .. } => format!("{n}'s disk completes nothing"),
        Effect::SlowDisk { extra, .. } => {
            format!("each operation of {n}'s disk takes {} longer", span(*extra))
        }
        Effect::Byzantine { .. } => format!("{n} lies to its peers"),
        other => format!("{} on {n}", other.kind()),
    }
}

/// When and for how long a fault acts, and what it does.
#[must_use]
pub fn event(f: &Fault, all: &[NodeId]) -> String {
    let what = fault(f, all);
    let takes_down = matches!(
        f.effect,
        Effect::Crash { .. } | Effect::TornWrite {} | Effect::Wipe {} | Effect::VersionChange { .. }
    );
    if takes_down || f.effect.at_a_point() {
        format!("{what}.")
    } else {
        format!("for {}, {what}.", span(f.until.since(f.at)))
    }
}

/// Something asked of the group; nothing if the act is a fault.
#[must_use]
pub fn request(a: &Act) -> Option<String> {
    Some(match &a.action {
        Action::MembersAdd(w) => format!("{} is asked into the group.", who(w)),
        Action::MembersRemove(w) => format!("{} is asked out of the group.", who(w)),
        Action::HybridMove(to, true) => {
            format!("the home of the hybrid keyspace is asked to hand over to {to}.")
        }
        Action::HybridMove(to, false) => format!("{to} is asked to take the hybrid keyspace over."),
        Action::Switch(engine) => format!("the group is asked to go on under {engine}."),
        Action::Transfer(w) => format!("the leader is asked to hand over to {}.", who(w)),
        Action::Snapshot(w) => format!("{} is asked for a snapshot.", who(w)),
        _ => return None,
    })
}

fn who(w: &Who) -> String {
    match w {
        Who::Nodes(nodes) => list(nodes),
        Who::Region(name) => name.clone(),
        other => format!("{other:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_runtime_sim::fault::FaultKind;

    const ALL: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn at(ms: u64) -> Instant {
        Instant::ZERO + Duration::millis(ms)
    }

    #[test]
    fn faults_are_told_as_a_person_would() {
        let n = NodeId;
        let cut = Fault::links(&[n(1)], &[n(2), n(3)], at(8_000), at(11_000), Effect::Partition {});
        assert_eq!(event(&cut, &ALL), "for 3 s, n1 is cut off from everybody else.");
        let minority = Fault::links(&[n(2), n(3)], &[n(1)], at(0), at(500), Effect::Partition {});
        assert_eq!(event(&minority, &ALL), "for 500 ms, n1 is cut off from everybody else.");
        let pair = Fault::links(&[n(1)], &[n(3)], at(0), at(1_250), Effect::Partition {});
        assert_eq!(event(&pair, &ALL), "for 1.25 s, n1 and n3 can't reach each other.");
        let crash = Fault::node(n(2), at(8_000), at(9_500), Effect::Crash { mid_write: true });
        assert_eq!(
            event(&crash, &ALL),
            "n2 loses power in the middle of its next write and boots again at 9.5 s."
        );
        let loss = Effect::Drop { rate: Ratio { num: 1, den: 8 }, burst: 1 };
        let loss = Fault { at: at(0), until: at(20), target: Target::all_links(), effect: loss };
        assert_eq!(
            event(&loss, &ALL),
            "for 20 ms, 12.5 % of the messages from everybody to everybody are lost."
        );
    }

    #[test]
    fn every_kind_of_fault_has_words_of_its_own() {
        let specs = crate::catalogue::all();
        let swarm = specs.iter().find(|s| s.name == "swarm/nine_nodes").expect("it exists");
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..60 {
            let plan = crate::expand::expand(swarm, dwcp_env::Seed(seed));
            for f in &plan.world.faults {
                let says = event(f, &plan.world.node_ids());
                let bare = says.contains(f.kind().name()) && f.kind().name().contains('_');
                assert!(!bare && says.ends_with('.'), "{f}: {says}");
                seen.insert(f.kind());
            }
        }
        assert!(seen.len() >= 15 && seen.contains(&FaultKind::SlowDisk), "{seen:?}");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(moment(at(12_500)), "12.5 s");
        assert_eq!(moment(at(60_000)), "60 s");
        assert_eq!(span(Duration::micros(1_500)), "1.5 ms");
        assert_eq!(span(Duration::millis(900)), "900 ms");
        assert_eq!(span(Duration::ZERO), "0 ns");
        assert_eq!(list(&["a", "b", "c"]), "a, b and c");
    }
}
