//! The file as the TOML reader gives it, and its translation. Every string that will be
//! interpreted keeps its place in the text, so that an error can name the line.

use super::action;
use super::quantity as q;
use super::{
    Check, Claim, DiskWorld, Event, Figure, FileError, Heal, Hybrid, Load, NodeSettings, Scenario, Swarm,
    Tier, Transport, World,
};
use crate::invariant::Property;
use dwcp_consensus::hybrid::Bound;
use dwcp_consensus::select::Policy;
use dwcp_env::{Duration, Rate, Ratio};
use dwcp_eventual::SyncPolicy;
use dwcp_node::EngineKind;
use dwcp_runtime_sim::net::Matrix;
use dwcp_runtime_sim::plan::{DiskSettings, Latency};
use dwcp_runtime_sim::swarm::Family;
use dwcp_workload::Use;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

type Text = Spanned<String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    why: String,
    tier: Tier,
    seeds: Spanned<u32>,
    world: RawWorld,
    #[serde(default)]
    node: RawNode,
    #[serde(default)]
    workload: Vec<RawLoad>,
    #[serde(default)]
    event: Vec<RawEvent>,
    swarm: Option<RawSwarm>,
    heal: Spanned<RawHeal>,
    check: RawCheck,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWorld {
    latency: Text,
    regions: Spanned<BTreeMap<String, u32>>,
    #[serde(default)]
    spares: u32,
    loss: Option<Text>,
    bandwidth: Option<Text>,
    #[serde(default)]
    disk: RawDisk,
    #[serde(default)]
    clock: RawClock,
    #[serde(default)]
    buggify: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawDisk {
    write: Option<Text>,
    sync: Option<Text>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawClock {
    skew: Option<Text>,
    drift: Option<Text>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct RawNode {
    heartbeat: Option<Text>,
    election: Option<Text>,
    checkpoint_after: Option<u64>,
    engine: Option<Text>,
    #[serde(default)]
    adapt: bool,
    policy: Option<Spanned<Policy>>,
    wal_segment: Option<Text>,
    sync: Option<Text>,
    unstable_max: Option<Text>,
    transport: Option<Text>,
    hybrid: Option<RawHybrid>,
    region: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHybrid {
    home: Text,
    clients: u32,
    rate: Text,
    keys: Option<u32>,
    entries: Option<u64>,
    time: Option<Text>,
    copies: Option<u32>,
    fence: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLoad {
    r#use: Text,
    clients: Spanned<u32>,
    rate: Text,
    #[serde(default)]
    keys: Option<Spanned<u32>>,
    /// How much a write carries.
    carries: Option<Text>,
    from: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEvent {
    at: Text,
    r#for: Option<Text>,
    times: Option<Spanned<u32>>,
    every: Option<Text>,
    r#do: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSwarm {
    families: Option<Vec<Text>>,
    #[serde(default)]
    always: Vec<Text>,
    every: Text,
    longest: Text,
    from: Option<Text>,
    #[serde(default)]
    draw_core: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawHeal {
    at: Text,
    converge_within: Text,
    serve_for: Option<Text>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheck {
    always: Vec<Text>,
    #[serde(default)]
    sometimes: Vec<Text>,
    #[serde(default)]
    claims: BTreeMap<String, Text>,
}

/// Where errors are placed.
struct Place<'t> {
    file: &'t str,
    text: &'t str,
}

impl Place<'_> {
    fn error(&self, at: usize, what: impl Into<String>) -> FileError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        FileError { file: self.file.to_owned(), line, what: what.into() }
    }
    fn on<S, T>(&self, at: &Spanned<S>, result: Result<T, String>) -> Result<T, FileError> {
        result.map_err(|what| self.error(at.span().start, what))
    }
    fn read<T>(&self, at: &Text, reader: impl Fn(&str) -> Result<T, String>) -> Result<T, FileError> {
        self.on(at, reader(at.get_ref()))
    }
    fn read_or<T>(
        &self,
        at: Option<&Text>,
        default: T,
        reader: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, FileError> {
        at.map_or(Ok(default), |t| self.read(t, reader))
    }
    fn maybe<T>(
        &self,
        at: Option<&Text>,
        reader: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, FileError> {
        at.map(|t| self.read(t, reader)).transpose()
    }
}

/// A run that never ends finds nothing out.
const LONGEST_RUN: Duration = Duration::secs(3_600 * 24 * 7);

pub(super) fn parse(name: &str, text: &str) -> Result<Scenario, FileError> {
    let file = format!("{name}.toml");
    let place = Place { file: &file, text };
    let raw: RawFile = toml::from_str(text)
        .map_err(|e| place.error(e.span().map_or(0, |s| s.start), e.message().replace('\n', " ")))?;
    let regions: Vec<String> = raw.world.regions.get_ref().keys().cloned().collect();
    let scenario = Scenario {
        name: name.to_owned(),
        why: raw.why,
        tier: raw.tier,
        seeds: *raw.seeds.get_ref(),
        world: world(&place, &raw.world)?,
        node: node(&place, &raw.node, &regions)?,
        workloads: raw.workload.iter().map(|l| load(&place, l)).collect::<Result<_, _>>()?,
        events: raw.event.iter().map(|e| event(&place, e, &regions)).collect::<Result<_, _>>()?,
        swarm: raw.swarm.as_ref().map(|s| swarm(&place, s)).transpose()?,
        heal: heal(&place, raw.heal.get_ref())?,
        check: check(&place, &raw.check)?,
    };
    if scenario.seeds == 0 {
        return Err(place.error(raw.seeds.span().start, "seeds = 0 runs nothing; take at least 1"));
    }
    let late = scenario.events.iter().any(|e| {
        let last = e.every * u64::from(e.times.saturating_sub(1));
        e.at.high + last > scenario.heal.at
    });
    if late {
        let what = "the heal comes before the last event has begun; move it behind";
        return Err(place.error(raw.heal.span().start, what));
    }
    if scenario.heal.at + scenario.heal.converge_within + scenario.heal.serve_for > LONGEST_RUN {
        return Err(place.error(raw.heal.span().start, "a run may last a week of simulated time at most"));
    }
    Ok(scenario)
}

fn world(place: &Place<'_>, raw: &RawWorld) -> Result<World, FileError> {
    let names = raw.regions.get_ref();
    let nodes: u32 = names.values().sum();
    place.on(
        &raw.regions,
        match nodes {
            0 => Err("the world has no node; write regions = { eu-west-1 = 3 }".to_owned()),
            n if n as usize > dwcp_env::bound::VOTERS_MAX => {
                Err(format!("{n} nodes are more than one group may have ({})", dwcp_env::bound::VOTERS_MAX))
            }
            _ => Ok(()),
        },
    )?;
    let latency = place.read(&raw.latency, |text| latency(text, names.keys()))?;
    let ppm = |text: &str| {
        let n = text.strip_suffix("ppm").and_then(|n| n.trim().parse().ok());
        n.ok_or_else(|| format!("{text:?} is no drift; write \"200ppm\""))
    };
    let defaults = DiskSettings::default();
    let sync = q::Span { low: defaults.sync_min, high: defaults.sync_max };
    Ok(World {
        latency,
        regions: names.iter().map(|(n, c)| (n.clone(), *c)).collect(),
        spares: raw.spares,
        loss: place.read_or(raw.loss.as_ref(), Ratio::NEVER, q::chance)?,
        bandwidth: place.read_or(raw.bandwidth.as_ref(), Rate::default(), q::bandwidth)?,
        disk: DiskWorld {
            write: place.read_or(raw.disk.write.as_ref(), defaults.write, q::duration)?,
            sync: place.read_or(raw.disk.sync.as_ref(), sync, q::span)?,
        },
        skew: place.read_or(raw.clock.skew.as_ref(), Duration::ZERO, q::duration)?,
        drift_ppm: place.read_or(raw.clock.drift.as_ref(), 0, ppm)?,
        buggify: raw.buggify,
    })
}

fn hybrid(place: &Place<'_>, raw: &RawHybrid, regions: &[String]) -> Result<Hybrid, FileError> {
    let home = place.read(&raw.home, |name| region_of(name, regions))?;
    let bound = Bound::default();
    Ok(Hybrid {
        home,
        clients: raw.clients,
        per_second_milli: place.read(&raw.rate, q::per_second)?,
        keys: raw.keys.unwrap_or(8).max(1),
        entries: raw.entries.unwrap_or(bound.entries),
        time: place.read_or(raw.time.as_ref(), bound.time, q::duration)?,
        copies: raw.copies.unwrap_or(bound.copies),
        fence: place.read_or(raw.fence.as_ref(), Duration::secs(4), q::duration)?,
    })
}

fn region_of(name: &str, regions: &[String]) -> Result<String, String> {
    match regions.iter().any(|r| r == name) {
        true => Ok(name.to_owned()),
        false => Err(format!("{name:?} is no region of the world: {}", regions.join(", "))),
    }
}

fn node(place: &Place<'_>, raw: &RawNode, regions: &[String]) -> Result<NodeSettings, FileError> {
    Ok(NodeSettings {
        heartbeat: place.maybe(raw.heartbeat.as_ref(), q::duration)?,
        election: place.maybe(raw.election.as_ref(), q::duration)?,
        checkpoint_after: raw.checkpoint_after,
        adapt: raw.adapt || raw.policy.is_some(),
        policy: raw.policy.as_ref().map(|p| policy(place, p)).transpose()?,
        engine: place.maybe(raw.engine.as_ref(), str::parse::<EngineKind>)?.unwrap_or(EngineKind::Paxos),
        wal_segment: place.maybe(raw.wal_segment.as_ref(), q::bytes)?,
        sync: place.maybe(raw.sync.as_ref(), sync_policy)?.unwrap_or_default(),
        unstable_max: place.maybe(raw.unstable_max.as_ref(), q::bytes)?,
        transport: place.maybe(raw.transport.as_ref(), transport)?.unwrap_or_default(),
        hybrid: raw.hybrid.as_ref().map(|h| hybrid(place, h, regions)).transpose()?,
        region: place.maybe(raw.region.as_ref(), |name| region_of(name, regions))?,
    })
}

fn policy(place: &Place<'_>, policy: &Spanned<Policy>) -> Result<Policy, FileError> {
    place.on(policy, policy.get_ref().check().map_err(|e| e.to_string()))?;
    Ok(policy.get_ref().clone())
}

fn transport(text: &str) -> Result<Transport, String> {
    Transport::ALL.into_iter().find(|t| t.0 == text).map(|t| t.1).ok_or_else(|| {
        let names: Vec<&str> = Transport::ALL.iter().map(|t| t.0).collect();
        format!("there is no {text:?}; there are {}", names.join(" and "))
    })
}

fn sync_policy(text: &str) -> Result<SyncPolicy, String> {
    SyncPolicy::named(text).ok_or_else(|| {
        let names: Vec<&str> = SyncPolicy::ALL.iter().map(|p| p.name()).collect();
        format!("there is no {text:?}; there are {}", names.join(" and "))
    })
}

fn load(place: &Place<'_>, raw: &RawLoad) -> Result<Load, FileError> {
    let kind = place.read(&raw.r#use, |name| {
        Use::SIMULATED.into_iter().find(|u| u.name() == name).ok_or_else(|| {
            let all: Vec<&str> = Use::SIMULATED.iter().map(|u| u.name()).collect();
            format!("{name:?} is no workload; the workloads are {}", all.join(", "))
        })
    })?;
    let clients = *raw.clients.get_ref();
    place.on(
        &raw.clients,
        match clients {
            0 => Err("a workload needs at least one client".to_owned()),
            c if c > 10_000 => Err(format!("{c} clients are more than a run can hold; take 10000 at most")),
            _ => Ok(()),
        },
    )?;
    let keys = raw.keys.as_ref().map_or(1, |k| *k.get_ref());
    if let Some(at) = raw.keys.as_ref().filter(|_| keys == 0) {
        return Err(place.error(at.span().start, "a workload needs at least one key"));
    }
    let carries = place.maybe(raw.carries.as_ref(), |text| match kind {
        Use::Eventual => q::sizes(text),
        other => Err(format!(
            "what {:?} writes has a size of its own; only \"eventual\" carries more",
            other.name()
        )),
    })?;
    let per_second_milli = place.read(&raw.rate, q::per_second)?;
    let from = place.maybe(raw.from.as_ref(), q::duration)?;
    Ok(Load { kind, clients, per_second_milli, keys, carries, from })
}

fn event(place: &Place<'_>, raw: &RawEvent, regions: &[String]) -> Result<Event, FileError> {
    let action = place.read(&raw.r#do, |text| action::parse(text, regions))?;
    let lasting = place.maybe(raw.r#for.as_ref(), q::span)?;
    if let Some(at) = raw.r#for.as_ref().filter(|_| !action.lasts()) {
        return Err(place.error(at.span().start, "\"for\" has no meaning here: this happens in an instant"));
    }
    let times = raw.times.as_ref().map_or(1, |t| *t.get_ref());
    if let Some(at) = raw.times.as_ref().filter(|_| !(1..=1_000).contains(&times) || raw.every.is_none()) {
        return Err(place.error(at.span().start, "\"times\" is 1 to 1000 and needs \"every\" beside it"));
    }
    Ok(Event {
        at: place.read(&raw.at, q::span)?,
        lasting,
        times,
        every: place.read_or(raw.every.as_ref(), Duration::ZERO, q::duration)?,
        action,
    })
}

/// A measured matrix that knows the regions, or a range such as `1ms..10ms`.
fn latency<'r>(text: &str, regions: impl Iterator<Item = &'r String>) -> Result<Latency, String> {
    if text.contains("..") {
        let q::Span { low: min, high: max } = q::span(text)?;
        return Ok(Latency::Uniform { min, max });
    }
    let names = Matrix::NAMES.join(", ");
    let matrix = Matrix::named(text).ok_or_else(|| {
        format!("no latency matrix {text:?}; there are {names}, or write a range as \"1ms..10ms\"")
    })?;
    for region in regions {
        if matrix.region(region).is_none() {
            return Err(format!("{text} has no region {region:?}; it has {}", matrix.regions().join(", ")));
        }
    }
    Ok(Latency::Measured(text.to_owned()))
}

/// A family of faults by its name.
fn family(name: &str) -> Result<Family, String> {
    let known = |f: &Family| toml::Value::try_from(f).ok().and_then(|v| v.as_str().map(str::to_owned));
    let found = Family::ALL.into_iter().find(|f| known(f).as_deref() == Some(name));
    found.ok_or_else(|| {
        let all: Vec<String> = Family::ALL.iter().filter_map(known).collect();
        format!("{name:?} is no family of faults; the families are {}", all.join(", "))
    })
}

fn swarm(place: &Place<'_>, raw: &RawSwarm) -> Result<Swarm, FileError> {
    let list = |names: &[Text]| names.iter().map(|n| place.read(n, family)).collect::<Result<Vec<_>, _>>();
    Ok(Swarm {
        families: raw.families.as_ref().map_or(Ok(Family::ALL.to_vec()), |f| list(f))?,
        always: list(&raw.always)?,
        every: place.read(&raw.every, q::duration)?,
        longest: place.read(&raw.longest, q::duration)?,
        from: place.read_or(raw.from.as_ref(), Duration::secs(5), q::duration)?,
        draw_core: raw.draw_core,
    })
}

fn heal(place: &Place<'_>, raw: &RawHeal) -> Result<Heal, FileError> {
    Ok(Heal {
        at: place.read(&raw.at, q::duration)?,
        converge_within: place.read(&raw.converge_within, q::duration)?,
        serve_for: place.read_or(raw.serve_for.as_ref(), Duration::secs(5), q::duration)?,
    })
}

fn check(place: &Place<'_>, raw: &RawCheck) -> Result<Check, FileError> {
    let mut claims = Vec::new();
    for (name, text) in &raw.claims {
        claims.push(place.read(text, |bound| claim(name, bound))?);
    }
    let always = |t: &Text| {
        place.read(t, |name| {
            Property::named(name).ok_or_else(|| {
                let all: Vec<&str> = Property::ALL.iter().map(|p| p.name()).collect();
                format!("{name:?} is no property; the properties are {}", all.join(", "))
            })
        })
    };
    Ok(Check {
        always: raw.always.iter().map(always).collect::<Result<_, _>>()?,
        sometimes: raw.sometimes.iter().map(|t| t.get_ref().clone()).collect(),
        claims,
    })
}

fn claim(name: &str, bound: &str) -> Result<Claim, String> {
    let figure = Figure::ALL.into_iter().find(|f| f.name() == name).ok_or_else(|| {
        let all: Vec<&str> = Figure::ALL.iter().map(|f| f.name()).collect();
        format!("{name:?} is no figure; the figures are {}", all.join(", "))
    })?;
    let text = bound
        .strip_prefix("<=")
        .ok_or_else(|| format!("the claim {bound:?} starts with \"<= \", as in \"<= 5s\""))?
        .trim();
    let count = || {
        let number = text.split_whitespace().next().unwrap_or_default();
        number.parse::<u64>().map_err(|_| format!("{text:?} is not a count"))
    };
    let at_most = match figure {
        f if f.is_span() => q::duration(text)?.as_nanos(),
        Figure::Rpo => count()?,
        _ => count()? * 100,
    };
    Ok(Claim { figure, at_most })
}
