//! The scenario file: what a person writes, as a typed value.
//!
//! **Promise.** A file is either understood whole or refused, with the line, what is wrong
//! there and what would be right. A key nobody reads is an error: a misspelt `sometimes`
//! would otherwise make a scenario that tests nothing.
//!
//! The sections, in the order a reader wants them (docs/scenarios.md draws each):
//! `why tier seeds`, `[world]`, `[node]`, `[[workload]]`, `[[event]]`, `[swarm]`, `[heal]`,
//! `[check]`. Quantities are strings with units ([`quantity`]); what goes wrong is a short
//! sentence ([`action`]).

pub mod action;
pub mod quantity;
mod raw;

use crate::invariant::Property;
use action::Action;
use dwcp_consensus::select::Policy;
use dwcp_env::{ByteCount, Duration, Rate, Ratio};
use dwcp_eventual::SyncPolicy;
use dwcp_node::EngineKind;
use dwcp_runtime_sim::plan::Latency;
use dwcp_runtime_sim::swarm::Family;
use dwcp_workload::{Sizes, Use};
use quantity::Span;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a file is refused.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{file}:{line}: {what}")]
pub struct FileError {
    /// Its path.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// What is wrong and what would be right.
    pub what: String,
}

/// How much a scenario costs, and so where it runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Every change.
    Fast,
    /// Every night.
    Slow,
    /// When there is time.
    Soak,
}

impl Tier {
    /// Its name in a file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow => "slow",
            Self::Soak => "soak",
        }
    }
}

/// A scenario, checked.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    /// Theme and name: `failover/leader_crash`.
    pub name: String,
    /// The promise it defends, in words.
    pub why: String,
    /// Where it runs.
    pub tier: Tier,
    /// How many seeds CI takes.
    pub seeds: u32,
    /// The world.
    pub world: World,
    /// The nodes' settings.
    pub node: NodeSettings,
    /// What clients do.
    pub workloads: Vec<Load>,
    /// What goes wrong, in the order of the file.
    pub events: Vec<Event>,
    /// Random faults besides.
    pub swarm: Option<Swarm>,
    /// When peace returns.
    pub heal: Heal,
    /// What must be true.
    pub check: Check,
}

/// The world before anything goes wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct World {
    /// A measured matrix by name, or a range.
    pub latency: Latency,
    /// Regions and how many nodes each has, in the order of their names.
    pub regions: Vec<(String, u32)>,
    /// Nodes that exist and are not yet members, in the first region.
    pub spares: u32,
    /// Messages lost.
    pub loss: Ratio,
    /// Bandwidth of a link between regions.
    pub bandwidth: Rate,
    /// The disks.
    pub disk: DiskWorld,
    /// How far calendar clocks are apart.
    pub skew: Duration,
    /// How wrong clocks run, parts in a million either way.
    pub drift_ppm: u32,
    /// Whether nodes may misbehave within the contract.
    pub buggify: bool,
}

/// Disks before anything goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DiskWorld {
    /// One write.
    pub write: Duration,
    /// One sync, drawn for each.
    pub sync: Span,
}

/// The nodes' settings a scenario may choose; the rest stay at their defaults.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NodeSettings {
    /// Between heartbeats.
    pub heartbeat: Option<Duration>,
    /// Without a heartbeat for so long, an election.
    pub election: Option<Duration>,
    /// Entries between checkpoints of the store, after which the log is trimmed.
    pub checkpoint_after: Option<u64>,
    /// The engine of the strong keyspace's first epoch.
    #[serde(default)]
    pub engine: EngineKind,
    /// Whether the nodes choose engine and leader by themselves …
    #[serde(default)]
    pub adapt: bool,
    /// … and by which policy, if not by the default one.
    #[serde(default)]
    pub policy: Option<Policy>,
    /// The size of a segment of the log; small ones are changed and removed often.
    #[serde(default)]
    pub wal_segment: Option<ByteCount>,
    /// What an eventual keyspace's answers to writes wait for.
    #[serde(default)]
    pub sync: SyncPolicy,
    /// Bytes of an eventual keyspace's operations that may wait for members that have not acknowledged them.
    #[serde(default)]
    pub unstable_max: Option<ByteCount>,
    /// What the nodes speak with each other.
    #[serde(default)]
    pub transport: Transport,
    /// A hybrid keyspace besides, with clients of its own.
    #[serde(default)]
    pub hybrid: Option<Hybrid>,
    /// The region whose nodes form the strong keyspace; the others bring questions to it. `None`: all nodes form it.
    #[serde(default)]
    pub region: Option<String>,
}

/// A hybrid keyspace of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hybrid {
    /// Its first home.
    pub home: String,
    /// Its clients, at home in all regions in turn.
    pub clients: u32,
    /// Operations a second of all together, in thousandths.
    pub per_second_milli: u64,
    /// Over how many keys.
    pub keys: u32,
    /// How far regions may be behind: entries,
    pub entries: u64,
    /// time,
    pub time: Duration,
    /// and how many must be within.
    pub copies: u32,
    /// For how long a home answers after it has asked whether it still is.
    pub fence: Duration,
}

/// What nodes speak with each other, named as in their settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Ordered lanes only.
    #[default]
    Tcp,
    /// Datagrams beside them: regions ship eventual keyspaces over site streams.
    Quic,
}

impl Transport {
    /// Both, with their names.
    pub const ALL: [(&'static str, Self); 2] = [("tcp", Self::Tcp), ("quic", Self::Quic)];
}

/// One workload.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Load {
    /// What its clients do.
    pub kind: Use,
    /// How many.
    pub clients: u32,
    /// Operations a second of all together, in thousandths.
    pub per_second_milli: u64,
    /// Over how many keys.
    pub keys: u32,
    /// How much a write carries; little without it.
    #[serde(default)]
    pub carries: Option<Sizes>,
    /// When they begin; before it they are silent. By default when a group has a leader, usually.
    #[serde(default)]
    pub from: Option<Duration>,
}

/// One thing that happens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: Span,
    /// For how long, if it lasts.
    pub lasting: Option<Span>,
    /// How often.
    pub times: u32,
    /// How long from one time to the next.
    pub every: Duration,
    /// What.
    pub action: Action,
}

/// Random faults.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Swarm {
    /// Families each seed draws a subset of.
    pub families: Vec<Family>,
    /// Families every seed has.
    pub always: Vec<Family>,
    /// Mean time between two faults of a family.
    pub every: Duration,
    /// The longest fault.
    pub longest: Duration,
    /// No fault before this.
    pub from: Duration,
    /// Whether in half of the seeds only a majority is healed, and the rest stays as broken as
    /// it was.
    pub draw_core: bool,
}

/// The liveness phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heal {
    /// When the core is healed and the rest frozen.
    pub at: Duration,
    /// By when all of the core must agree and serve.
    pub converge_within: Duration,
    /// How long clients go on after that, so that service is seen and not only agreement.
    pub serve_for: Duration,
}

/// What must be true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// At every moment or at the end, in every run.
    pub always: Vec<Property>,
    /// At least once over the seeds.
    pub sometimes: Vec<String>,
    /// Figures that are claimed.
    pub claims: Vec<Claim>,
}

/// What is claimed about a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Which figure.
    pub figure: Figure,
    /// At most this: nanoseconds for spans, a plain count otherwise.
    pub at_most: u64,
}

/// Figures measured in every run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// The longest time without a successful write after the first event (recovery time).
    Rto,
    /// Acknowledged writes lost (recovery point).
    Rpo,
    /// From the end of a leader's process until another node stands for election: the longest.
    Detection,
    /// From healing until every replica of the core is equal.
    Convergence,
    /// The slowest successful operation.
    WorstLatency,
    /// Messages between nodes for one acknowledged write, in hundredths.
    MessagesPerWrite,
    /// What 99 of 100 operations of an eventual keyspace need to reach a node of each other region.
    EventualLag,
    /// Disk syncs, over all nodes, for one acknowledged write, in hundredths.
    SyncsPerWrite,
}

impl Figure {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Rto,
        Self::Rpo,
        Self::Detection,
        Self::Convergence,
        Self::WorstLatency,
        Self::EventualLag,
        Self::MessagesPerWrite,
        Self::SyncsPerWrite,
    ];
    /// Its name in files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rto => "rto",
            Self::Rpo => "rpo",
            Self::Detection => "detection",
            Self::Convergence => "convergence",
            Self::WorstLatency => "worst_latency",
            Self::EventualLag => "eventual_lag",
            Self::MessagesPerWrite => "messages_per_write",
            Self::SyncsPerWrite => "syncs_per_write",
        }
    }
    /// Whether it is a span of time.
    #[must_use]
    pub const fn is_span(self) -> bool {
        matches!(
            self,
            Self::Rto | Self::Detection | Self::Convergence | Self::WorstLatency | Self::EventualLag
        )
    }
    /// A value of it, for people.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            _ if self.is_span() => Duration::nanos(value).to_string(),
            Self::Rpo => format!("{value} writes"),
            _ => format!("{}.{:02}", value / 100, value % 100),
        }
    }
}

impl Scenario {
    /// Reads a file's text. `name` is theme and name without the ending.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(name: &str, text: &str) -> Result<Self, FileError> {
        raw::parse(name, text)
    }
    /// Reads a file from the disk; its name is its folder's and its own.
    ///
    /// # Errors
    /// That it can't be read, or the first thing that is wrong in it.
    pub fn load(path: &std::path::Path) -> Result<Self, FileError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| FileError {
            file: shown.clone(),
            line: 1,
            what: format!("can't be read: {e}"),
        })?;
        let stem = |p: Option<&std::ffi::OsStr>| p.map(|s| s.to_string_lossy().into_owned());
        let own = stem(path.file_stem()).unwrap_or_default();
        let theme = stem(path.parent().and_then(std::path::Path::file_name));
        let name = theme.map_or(own.clone(), |t| format!("{t}/{own}"));
        Self::parse(&name, &text).map_err(|e| FileError { file: shown, ..e })
    }
    /// The same under another first engine, and called after it: `failover/leader_crash@raft`.
    #[must_use]
    pub fn under(mut self, engine: EngineKind) -> Self {
        self.name = format!("{}@{engine}", self.name);
        self.node.engine = engine;
        self
    }
    /// How many nodes the world has, spares included.
    #[must_use]
    pub fn nodes(&self) -> u32 {
        self.world.regions.iter().map(|r| r.1).sum::<u32>() + self.world.spares
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
why   = "A leader dies. Nothing acknowledged is lost, and writes flow again soon."
tier  = "fast"
seeds = 64

[world]
latency = "aws-2020"
regions = { eu-west-1 = 3, ca-central-1 = 3, us-west-1 = 3 }
disk    = { sync = "1ms..2ms" }

[[workload]]
use = "register"
clients = 12
rate = "200/s"
keys = 6

[[event]]
at = "10s..12s"
for = "5s"
do = "crash leader"

[heal]
at = "30s"
converge_within = "15s"

[check]
always    = ["linearizable", "no_acknowledged_loss"]
sometimes = ["fault.crash"]
claims    = { rto = "<= 5s", rpo = "<= 0 writes" }
"#;

    #[test]
    fn a_file_becomes_a_scenario() {
        let s = Scenario::parse("failover/leader_crash", GOOD).unwrap();
        assert_eq!((s.tier, s.seeds, s.nodes()), (Tier::Fast, 64, 9));
        assert_eq!(
            s.world.regions[0],
            ("ca-central-1".to_owned(), 3),
            "regions come in the order of their names"
        );
        assert_eq!(s.world.disk.sync.high, Duration::millis(2));
        assert_eq!(s.workloads[0].per_second_milli, 200_000);
        assert_eq!(s.events[0].action, Action::Crash(action::Who::Leader));
        assert_eq!(s.check.claims.len(), 2);
        assert_eq!(s.check.claims[1], Claim { figure: Figure::Rto, at_most: 5_000_000_000 });
    }

    #[test]
    fn each_mistake_is_named_with_its_line() {
        let line_of = |part: &str| GOOD.lines().position(|l| l.contains(part)).unwrap() + 1;
        for (from, to, at, says) in [
            ("seeds = 64", "sedes = 64", "seeds = 64", "unknown field `sedes`"),
            ("tier  = \"fast\"", "tier = \"quick\"", "tier  =", "unknown variant `quick`"),
            ("at = \"10s..12s\"", "at = \"ten\"", "at = \"10s..12s\"", "is not a span of time"),
            ("do = \"crash leader\"", "do = \"crush leader\"", "do =", "is no action"),
            ("for = \"5s\"", "for = \"5\"", "for =", "is not a span of time"),
            ("\"linearizable\"", "\"linearisable\"", "always", "is no property; the properties are"),
            ("rto = \"<= 5s\"", "rto = \"5s\"", "claims", "starts with \"<= \""),
            ("rto = \"<= 5s\"", "rtx = \"<= 5s\"", "claims", "is no figure"),
            ("rate = \"200/s\"", "rate = \"200\"", "rate", "is not a rate"),
            ("use = \"register\"", "use = \"regsiter\"", "use =", "is no workload"),
            ("clients = 12", "clients = 0", "clients", "at least one client"),
            ("latency = \"aws-2020\"", "latency = \"mars\"", "latency", "no latency matrix \"mars\""),
            ("at = \"30s\"", "at = \"9s\"", "[heal]", "before the last event"),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let err = Scenario::parse("x", &GOOD.replace(from, to)).unwrap_err();
            assert!(err.what.contains(says), "{to}: {err}");
            let near = line_of(at);
            assert!((near..=near + 1).contains(&err.line), "{to}: {err}, wanted line {near}");
        }
    }

    #[test]
    fn every_prefix_is_refused_or_understood_without_panic() {
        for end in 0..GOOD.len() {
            let _either = Scenario::parse("x", GOOD.get(..end).unwrap_or_default());
        }
    }
}
