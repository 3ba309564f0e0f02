//! `dwcp consensus hybrid|promote|abandon|aside`: where a keyspace with a home region has it, how far the others are, and
//! how another region takes it over.

use crate::client::{Client, ClientError, Endpoints};
use crate::etcd::message as pb;
use crate::face::Face;
use clap::Args;
use dwcp_consensus::hybrid::Deed;
use dwcp_env::GroupId;
use dwcp_node::hybrid::{Aside, Part, RegionLag};
use dwcp_node::{HybridAsk, HybridStatus};
use dwcp_runtime_real::Registry;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a move is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// gRPC's codes for what may have been done, and may be asked again.
const UNAVAILABLE: u32 = 14;
const DEADLINE_EXCEEDED: u32 = 4;

/// Which region is to own which keyspace.
#[derive(Args, Debug)]
pub struct PromoteArgs {
    /// The hybrid keyspace.
    pub name: String,
    /// The region that takes it over.
    #[arg(long)]
    pub to: String,
    /// The home is there, and hands over all it has: nothing is lost.
    #[arg(long)]
    pub graceful: bool,
    /// Though the home is heard of: what it has not shipped is left behind.
    #[arg(long, conflicts_with = "graceful")]
    pub force: bool,
    /// How long to wait until the new home answers, seconds.
    #[arg(long, default_value_t = 60)]
    pub wait: u64,
}

/// Asks a node about a hybrid keyspace.
async fn ask<T: DeserializeOwned>(client: &Client, ask: &HybridAsk) -> Result<T, ClientError> {
    let lost = |e: serde_json::Error| ClientError::Lost(format!("not an answer: {e}"));
    let question =
        pb::ConsensusSwitchRequest { after: None, json: serde_json::to_string(ask).map_err(lost)? };
    let answer: pb::ConsensusAnswer = client.call("/dwcp.v1.Consensus/Hybrid", &question).await?;
    serde_json::from_str(&answer.json).map_err(lost)
}

async fn ask_at<T: DeserializeOwned>(
    address: SocketAddr,
    keyspace: Option<String>,
    what: &HybridAsk,
) -> Result<T, String> {
    try_at(address, keyspace, what).await.map_err(|e| e.to_string())
}

async fn try_at<T: DeserializeOwned>(
    address: SocketAddr,
    keyspace: Option<String>,
    what: &HybridAsk,
) -> Result<T, ClientError> {
    ask(&Client::connect(address, keyspace).await?, what).await
}

/// How all nodes see it; those that don't answer with their reasons.
type Seen = (Vec<(String, HybridStatus)>, Vec<(String, String)>);

async fn look(endpoints: &Endpoints, keyspace: &Option<String>) -> Result<Seen, String> {
    let (mut found, mut silent) = (Vec::new(), Vec::new());
    for (name, address) in endpoints.all()? {
        match ask_at(address, keyspace.clone(), &HybridAsk::Status).await {
            Ok(status) => found.push((name, status)),
            Err(why) => silent.push((name, why)),
        }
    }
    Ok((found, silent))
}

/// Prints where the keyspace is and how far the others are.
///
/// # Errors
/// No node answers.
pub async fn status(endpoints: &Endpoints, json: bool) -> Result<(), String> {
    let (found, silent) = look(endpoints, &endpoints.keyspace).await?;
    if json {
        println!("{}", crate::consensus::as_json(&found, &silent));
    } else {
        print(&found, &silent);
    }
    match found.is_empty() {
        true => Err(silent.into_iter().next().map_or_else(|| "no node is named".into(), |(_, why)| why)),
        false => Ok(()),
    }
}

fn print(found: &[(String, HybridStatus)], silent: &[(String, String)]) {
    println!(
        "{:<20} {:<16} {:<8} {:>4} {:>10} {:>10} {:>8} {:>9}",
        "NODE", "REGION", "IS", "ERA", "APPLIED", "REVISION", "BEHIND", "FENCE"
    );
    for (name, s) in found {
        let part = format!("{:?}", s.part).to_lowercase();
        let era = s.deed.as_ref().map_or("?".to_string(), |d| d.era.to_string());
        let fence = if s.part == Part::Home { s.fence.to_string() } else { String::new() };
        let (index, revision) = s.applied;
        println!(
            "{name:<20} {:<16} {part:<8} {era:>4} {index:>10} {revision:>10} {:>8} {fence:>9}",
            s.region, s.behind
        );
    }
    for (name, why) in silent {
        println!("{name:<20} silent: {why}");
    }
    let newest = found.iter().max_by_key(|(_, s)| s.deed.as_ref().map(|d| d.era));
    let Some((_, newest)) = newest else { return };
    let Some(deed) = &newest.deed else { return println!("\nno deed yet: the home has not come up") };
    println!("\nhome: {}, era {}", newest.owner, deed.era);
    if let Some(next) = deed.next {
        println!(
            "moving to region {}, {}",
            next.to.0,
            if next.planned { "as planned" } else { "its home being lost" }
        );
    }
    for cut in deed.cuts.iter().rev() {
        let lost = cut.heard.saturating_sub(cut.at.index);
        let how = if cut.planned {
            "handed over".to_string()
        } else {
            format!("taken over; {lost} entries were heard of and lost, at least")
        };
        println!("  era {} began behind entry {}, revision {}: {how}", cut.era, cut.at.index, cut.revision);
    }
    let home = found.iter().filter(|(_, s)| s.part == Part::Home && !s.regions.is_empty());
    let Some((_, home)) = home.max_by_key(|(_, s)| s.fence) else { return };
    let bound = &home.bound;
    println!(
        "bound: {} entries, {} bytes, {}; {} region(s) must be within",
        bound.entries, bound.bytes.0, bound.time, bound.copies
    );
    for r in &home.regions {
        let held = r.held.map_or("nothing was heard".to_string(), |h| format!("holds entry {h}"));
        let within = if r.within { "" } else { "  BEYOND THE BOUND" };
        println!(
            "  {:<16} {held}, lacks {} entries, {} bytes, {}{within}",
            r.region, r.lag.entries, r.lag.bytes.0, r.lag.time
        );
    }
    for (name, s) in found {
        for a in &s.aside {
            let (from, to) = (a.cut.1 + 1, a.end.1);
            let sure =
                if a.settled { "" } else { "; its old quorum was not back, there may be more elsewhere" };
            println!(
                "  aside on {name}: era {}, revisions {from} to {to}, {} changes (`dwcp consensus aside {}`){sure}",
                a.era, a.changes, a.era
            );
        }
    }
}

/// Writes the wish into the deed. Whose answer was lost, or came from who leads no longer, may have been
/// done: the deed tells, and the same wish is asked again only if it does not stand there.
async fn wish(
    address: SocketAddr,
    keyspace: &Option<String>,
    args: &PromoteArgs,
    era: u32,
    until: Instant,
) -> Result<(), String> {
    let wish = HybridAsk::Promote { to: args.to.clone(), planned: args.graceful, force: args.force };
    let mut asked_before = false;
    loop {
        let why = match try_at::<bool>(address, keyspace.clone(), &wish).await {
            Ok(true) => return Ok(()),
            // Our own earlier one, perhaps.
            Ok(false) if asked_before => "the keyspace's deed has changed meanwhile".into(),
            Ok(false) => return Err("somebody else changed the keyspace's deed at the same time; look at it (`dwcp consensus hybrid`) and ask again".into()),
            Err(e @ (ClientError::Lost(_) | ClientError::Status { code: UNAVAILABLE | DEADLINE_EXCEEDED, .. })) => {
                e.to_string()
            }
            Err(e) => return Err(e.to_string()),
        };
        asked_before = true;
        let status = ask_at::<HybridStatus>(address, keyspace.clone(), &HybridAsk::Status).await;
        let stands = |d: &Deed| d.era > era || d.next.is_some_and(|n| n.planned == args.graceful);
        if status.is_ok_and(|s| s.deed.as_ref().is_some_and(stands)) {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(why);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Another region takes a keyspace over.
///
/// # Errors
/// What speaks against it, and what to do.
pub async fn promote(endpoints: &Endpoints, args: &PromoteArgs, json: bool) -> Result<(), String> {
    let keyspace = Some(args.name.clone());
    let (found, silent) = look(endpoints, &keyspace).await?;
    if found.is_empty() {
        return Err(silent.into_iter().next().map_or_else(|| "no node is named".into(), |(_, why)| why));
    }
    let era = found.iter().filter_map(|(_, s)| s.deed.as_ref()).map(|d| d.era).max().unwrap_or(0);
    // Who is to take over is asked: it knows best whether it hears the home.
    let there = found.iter().find(|(_, s)| s.region == args.to).or_else(|| found.first());
    let name = there.map(|(name, _)| name.clone()).unwrap_or_default();
    let address = endpoints.all()?.into_iter().find(|(n, _)| *n == name).map(|(_, a)| a);
    let address = address.ok_or("the node that was to be asked is gone")?;
    let began = Instant::now();
    let until = began + Duration::from_secs(args.wait);
    wish(address, &keyspace, args, era, until).await?;
    loop {
        let status: Result<HybridStatus, String> =
            ask_at(address, keyspace.clone(), &HybridAsk::Status).await;
        if let Ok(status) = &status
            && let Some(deed) = status.deed.as_ref().filter(|d| d.era > era && d.next.is_none())
            && status.owner != args.to
        {
            return Err(format!(
                "somebody else moved it meanwhile: {} is home, in era {}",
                status.owner, deed.era
            ));
        }
        if let Ok(status) = &status
            && let Some(deed) = status.deed.as_ref().filter(|d| d.era > era && d.next.is_none())
            && (status.fence > dwcp_env::Duration::ZERO
                || status.part != Part::Home && status.region != args.to)
        {
            let took = began.elapsed();
            let cut = deed.cuts.last();
            if json {
                println!("{}", serde_json::json!({ "took_ms": took.as_secs_f64() * 1e3, "status": status }));
            } else {
                let at = cut.map_or((0, 0), |c| (c.at.index, c.revision));
                println!(
                    "{} is home of {} in era {}, {:.1} s after it was asked for; it goes on behind entry {}, revision {}",
                    args.to,
                    args.name,
                    deed.era,
                    took.as_secs_f64(),
                    at.0,
                    at.1
                );
                if let Some(cut) = cut.filter(|c| !c.planned) {
                    let lost = cut.heard.saturating_sub(cut.at.index);
                    println!(
                        "the old home was heard of up to entry {}: {lost} entries are lost, at least; when it is back it tells all (`dwcp consensus hybrid`)",
                        cut.heard
                    );
                }
            }
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(format!(
                "{} is not home after {} s; the wish stands, look at it with `dwcp consensus hybrid --keyspace {}`, or take it back with `abandon`",
                args.to, args.wait, args.name
            ));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A move is given up.
///
/// # Errors
/// It can't be, and why.
pub async fn abandon(endpoints: &Endpoints, json: bool) -> Result<(), String> {
    let client = endpoints.connect().await?;
    let done: bool = ask(&client, &HybridAsk::Abandon).await.map_err(|e| e.to_string())?;
    if !done {
        return Err("too late: the deed has changed meanwhile".into());
    }
    if json {
        println!("{}", serde_json::json!({ "abandoned": true }))
    } else {
        println!("the keyspace stays where it is")
    }
    Ok(())
}

/// Prints what a deposed home keeps aside of an era.
///
/// # Errors
/// No node keeps anything.
pub async fn aside(endpoints: &Endpoints, era: u32, json: bool) -> Result<(), String> {
    let mut best: Option<(String, Aside)> = None;
    for (name, address) in endpoints.all()? {
        let found = ask_at::<Aside>(address, endpoints.keyspace.clone(), &HybridAsk::Aside(era)).await;
        // Who was behind when the era ended keeps less.
        if let Ok(aside) = found
            && best.as_ref().is_none_or(|(_, b)| b.end < aside.end)
        {
            best = Some((name, aside));
        }
    }
    let (name, aside) =
        best.ok_or_else(|| format!("no node that answers keeps anything aside of era {era}"))?;
    if json {
        println!("{}", serde_json::to_string(&aside).map_err(|e| e.to_string())?);
        return Ok(());
    }
    println!("{name}: behind revision {}, {} changes", aside.cut.1, aside.events.len());
    for event in &aside.events {
        let (key, value) = (String::from_utf8_lossy(&event.kv.key), String::from_utf8_lossy(&event.kv.value));
        let revision = event.kv.mod_revision;
        match event.kind {
            dwcp_store::api::EventKind::Put => println!("{revision:>10} put    {key:?} {value:?}"),
            dwcp_store::api::EventKind::Delete => println!("{revision:>10} delete {key:?}"),
        }
    }
    Ok(())
}

type Last = Arc<Mutex<BTreeMap<GroupId, HybridStatus>>>;

/// Figures of hybrid keyspaces, for `/metrics`.
pub(crate) struct Figures {
    registry: Arc<Registry>,
    keyspaces: BTreeMap<String, GroupId>,
    last: Last,
    known: BTreeSet<(GroupId, String)>,
}

impl Figures {
    /// None yet: which keyspaces are hybrid shows when they answer.
    pub(crate) fn new(registry: Arc<Registry>, keyspaces: &BTreeMap<String, GroupId>) -> Self {
        let (last, known) = (Last::default(), BTreeSet::new());
        Self { registry, keyspaces: keyspaces.clone(), last, known }
    }

    /// Looks once at each.
    pub(crate) async fn look(&mut self, face: &Face) {
        for (name, group) in self.keyspaces.clone() {
            // One that is not hybrid says so, and one that does not answer keeps the figures it had.
            let Ok(status) = face.hybrid(group).await else { continue };
            self.watch(&name, group);
            for region in &status.regions {
                self.watch_region(&name, group, &region.region);
            }
            self.last.lock().unwrap_or_else(PoisonError::into_inner).insert(group, status);
        }
    }

    fn watch(&mut self, keyspace: &str, group: GroupId) {
        if !self.known.insert((group, String::new())) {
            return;
        }
        let gauge = |name, help, of: fn(&HybridStatus) -> f64| {
            let last = self.last.clone();
            self.registry.gauge(name, help, &[("keyspace", keyspace)], move || {
                last.lock().unwrap_or_else(PoisonError::into_inner).get(&group).map_or(0.0, of)
            });
        };
        gauge(
            "dwcp_hybrid_answers_count",
            "1 while this node may answer as home of a hybrid keyspace, else 0.",
            |s| f64::from(u8::from(s.fence > dwcp_env::Duration::ZERO)),
        );
        gauge("dwcp_hybrid_behind_count", "Entries that this node is behind what the home said last.", |s| {
            s.behind as f64
        });
        gauge("dwcp_hybrid_aside_count", "Changes of keys kept aside here.", |s| {
            s.aside.iter().map(|a| a.changes).sum::<u64>() as f64
        });
    }

    fn watch_region(&mut self, keyspace: &str, group: GroupId, region: &str) {
        if !self.known.insert((group, region.to_owned())) {
            return;
        }
        let gauge = |name, help, of: fn(&RegionLag) -> f64| {
            let (last, of_region) = (self.last.clone(), region.to_owned());
            self.registry.gauge(name, help, &[("keyspace", keyspace), ("region", region)], move || {
                let last = last.lock().unwrap_or_else(PoisonError::into_inner);
                let found = last.get(&group).and_then(|s| s.regions.iter().find(|r| r.region == of_region));
                found.map_or(0.0, of)
            });
        };
        gauge("dwcp_hybrid_lag_count", "Entries that a region lacks, as its home sees it.", |r| {
            r.lag.entries as f64
        });
        gauge("dwcp_hybrid_lag_bytes", "Bytes of these.", |r| r.lag.bytes.0 as f64);
        gauge(
            "dwcp_hybrid_lag_seconds",
            "How long ago the first of them was decided: the RPO if the home were lost now.",
            |r| r.lag.time.as_nanos() as f64 / 1e9,
        );
        gauge("dwcp_hybrid_within_count", "1 if the region is within the bound, else 0.", |r| {
            f64::from(u8::from(r.within))
        });
    }
}
