//! `dwcp consensus status`, `policy --in-force`, `explain --now`: what is in force, since when, who wanted it, and why.
//!
//! Each node tells what its own process has seen ([`dwcp_node::Origin`]); what it has not, another may have. So all are asked,
//! and the answers are put together: the time at which the first of them came to the epoch, and the cause that anybody
//! knows. Where nobody knows, that is what is said. A policy lies in the nodes' configurations and should be the same in
//! all: where it is not, each node's is named.

use crate::client::{Client, Endpoints};
use crate::consensus::{as_json, asked};
use crate::quorums;
use dwcp_consensus::quorum::System;
use dwcp_consensus::select::Policy;
use dwcp_env::{NodeId, WallTime};
use dwcp_node::{Cause, ConsensusStatus, EngineKind};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// A node answers within this, or is silent.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What all nodes said.
struct Seen {
    found: Vec<(String, ConsensusStatus)>,
    silent: Vec<(String, String)>,
}

async fn look(endpoints: &Endpoints) -> Result<Seen, String> {
    let one = async |(name, address)| {
        let answer = async {
            let client = Client::connect(address, endpoints.keyspace.clone()).await;
            asked(&client.map_err(|e| e.to_string())?).await.map_err(|e| e.to_string())
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, answer).await;
        (name, answer.unwrap_or_else(|_| Err("no answer in time".into())))
    };
    let mut seen = Seen { found: Vec::new(), silent: Vec::new() };
    for (name, answer) in futures_util::future::join_all(endpoints.all()?.into_iter().map(one)).await {
        match answer {
            Ok(status) => seen.found.push((name, status)),
            Err(why) => seen.silent.push((name, why)),
        }
    }
    Ok(seen)
}

/// The epoch in force, as all nodes together know it.
struct InForce<'a> {
    newest: &'a ConsensusStatus,
    since: Option<WallTime>,
    cause: Cause,
    /// Whose word the cause is.
    by: Option<&'a str>,
    /// Each policy there is, and who goes by it.
    policies: Vec<(Option<&'a Policy>, Vec<&'a str>)>,
}

impl Seen {
    fn in_force(&self) -> Result<InForce<'_>, String> {
        let newest = self.found.iter().max_by_key(|(_, s)| (s.spec.epoch, s.applied));
        let (_, newest) = newest.ok_or("no node answers; is the cluster running? (`dwcp dev`)")?;
        let there = || self.found.iter().filter(|(_, s)| s.spec.epoch == newest.spec.epoch);
        let knows = there().find(|(_, s)| s.origin.cause != Cause::Unseen);
        let mut policies: Vec<(Option<&Policy>, Vec<&str>)> = Vec::new();
        for (name, status) in &self.found {
            match policies.iter_mut().find(|(p, _)| *p == status.policy.as_ref()) {
                Some((_, who)) => who.push(name),
                None => policies.push((status.policy.as_ref(), vec![name])),
            }
        }
        Ok(InForce {
            newest,
            since: there().filter_map(|(_, s)| s.origin.since).min(),
            cause: knows.map(|(_, s)| s.origin.cause.clone()).unwrap_or_default(),
            by: knows.map(|(name, _)| name.as_str()),
            policies,
        })
    }
    /// What the selection says where it sits.
    fn advice(&self) -> Option<(&str, &str)> {
        self.found.iter().find_map(|(name, s)| Some((name.as_str(), s.advice.as_deref()?)))
    }
}

impl InForce<'_> {
    fn begun(&self) -> String {
        let by = self.by.unwrap_or_default();
        match &self.cause {
            Cause::Configured => "the nodes' configurations name it for the first epoch".into(),
            Cause::Asked => format!("an operator asked for it (`dwcp consensus switch`); {by} proposed it"),
            Cause::Chosen(_) => format!("the selection of {by} chose it"),
            Cause::Members => "the members changed; engine and quorums went on".into(),
            Cause::Unseen => "for what no node knows any more: their processes began since".into(),
        }
    }
    fn policy(&self) -> String {
        let who = |names: &[&str]| names.join(", ");
        let told = |policy: Option<&Policy>| match policy {
            None => "none, operators choose".to_string(),
            Some(policy) => {
                let others = differences(policy);
                let others =
                    if others.is_empty() { "all as in the defaults".into() } else { others.join(", ") };
                format!("{} ({others})", mode(policy))
            }
        };
        match self.policies.as_slice() {
            [(policy, names)] => {
                format!("policy: {}; in the configurations of {}", told(*policy), who(names))
            }
            several => {
                let each: Vec<String> =
                    several.iter().map(|(p, n)| format!("{}: {}", who(n), told(*p))).collect();
                format!(
                    "policy: NOT THE SAME on all nodes; who leads goes by its own\n  {}",
                    each.join("\n  ")
                )
            }
        }
    }
    fn document(&self) -> Value {
        let (cause, why) = match &self.cause {
            Cause::Configured => ("configured", None),
            Cause::Asked => ("asked", None),
            Cause::Chosen(why) => ("chosen", Some(why)),
            Cause::Members => ("members", None),
            Cause::Unseen => ("unseen", None),
        };
        json!({
            "epoch": self.newest.spec.epoch, "engine": self.newest.spec.engine, "since": self.since.map(calendar),
            "begun": { "cause": cause, "why": why, "by": self.by },
            "policies": self.policies.iter().map(|(p, who)| json!({ "policy": p, "nodes": who })).collect::<Vec<_>>(),
        })
    }
}

fn mode(policy: &Policy) -> String {
    serde_json::to_value(policy.mode).ok().and_then(|v| Some(v.as_str()?.to_owned())).unwrap_or_default()
}

/// Keys of a policy that are not as in the defaults, but the mode.
fn differences(policy: &Policy) -> Vec<String> {
    let (Ok(Value::Object(this)), Ok(Value::Object(other))) =
        (serde_json::to_value(policy), serde_json::to_value(Policy::default()))
    else {
        return Vec::new();
    };
    let differs = |(key, value): &(&String, &Value)| *key != "mode" && other.get(*key) != Some(*value);
    this.iter().filter(differs).map(|(key, value)| format!("{key} = {value}")).collect()
}

/// A point of time as people write it, to the second, UTC.
fn calendar(at: WallTime) -> String {
    let seconds = at.as_nanos() / 1_000_000_000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant, *chrono-compatible low-level date algorithms*: years that begin in March, eras of 400.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (day, month) = (of_year - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", rest / 3_600, rest / 60 % 60, rest % 60)
}

fn ago(at: WallTime) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let passed = now.saturating_sub(at.as_nanos() / 1_000_000_000);
    match passed {
        0..120 => format!("{passed} s ago"),
        120..7_200 => format!("{} min ago", passed / 60),
        7_200..172_800 => format!("{} h ago", passed / 3_600),
        _ => format!("{} days ago", passed / 86_400),
    }
}

fn since(in_force: &InForce<'_>) -> String {
    match in_force.since {
        Some(at) => format!("since {} ({})", calendar(at), ago(at)),
        None if in_force.newest.spec.epoch == 0 => "from the beginning".into(),
        None => "since before its nodes began".into(),
    }
}

/// `dwcp consensus status`.
pub(crate) async fn status(endpoints: &Endpoints, json: bool) -> Result<(), String> {
    let seen = look(endpoints).await?;
    let in_force = seen.in_force();
    if json {
        let mut document = as_json(&seen.found, &seen.silent);
        if let Ok(in_force) = &in_force {
            document["in_force"] = in_force.document();
        }
        println!("{document}");
    } else {
        print_nodes(&seen);
        if let Ok(in_force) = &in_force {
            print_epoch(&seen, in_force);
        }
    }
    in_force.map(drop)
}

fn print_nodes(seen: &Seen) {
    println!(
        "{:<20} {:>5} {:<8} {:<10} {:>6} {:<8} {:>9}",
        "NODE", "EPOCH", "ENGINE", "ROLE", "TERM", "LEADER", "APPLIED"
    );
    for (name, s) in &seen.found {
        let role = format!("{:?}", s.role).to_lowercase();
        let leader = match s.leader {
            _ if s.spec.engine.serves_everywhere() => "all".to_string(),
            Some(leader) => leader.to_string(),
            None => "none".to_string(),
        };
        // Of later epochs the term counts within the epoch.
        let term = s.term & ((1 << 40) - 1);
        let note =
            if s.silent { "  takes no part: its disk lost what it had promised in this epoch" } else { "" };
        println!(
            "{name:<20} {:>5} {:<8} {role:<10} {term:>6} {leader:<8} {:>9}{note}",
            s.spec.epoch,
            s.spec.engine.name(),
            s.applied,
        );
    }
    for (name, why) in &seen.silent {
        println!("{name:<20} silent: {why}");
    }
}

fn print_epoch(seen: &Seen, in_force: &InForce<'_>) {
    let newest = in_force.newest;
    let voters: Vec<NodeId> = newest.spec.members.voters.iter().copied().collect();
    let members = voters.len() as u8;
    let quorums = match &newest.spec.quorums {
        Some(q) => quorums::told(q, &voters),
        None if newest.spec.engine == EngineKind::Pbft => {
            quorums::told(&System::Byzantine { members }, &voters)
        }
        None => quorums::told(&System::Majority { members }, &voters),
    };
    println!(
        "\nepoch {} under {}: {quorums} of {}",
        newest.spec.epoch,
        newest.spec.engine,
        voters.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    );
    println!("{}: {}", since(in_force), in_force.begun());
    println!("{}", in_force.policy());
    for (name, status) in &seen.found {
        if let Some(configured) = status.configured {
            println!(
                "{name}: its configuration says engine = \"{configured}\", and the first epoch was under another: what runs is the cluster's own \
                 decision; make the configurations of all nodes alike, by the first epoch's"
            );
        }
    }
    if let Some((_, advice)) = seen.advice() {
        println!("{advice}");
    }
    for past in newest.past.iter().rev() {
        println!(
            "  epoch {} under {}: entries {} to {}",
            past.epoch,
            past.engine,
            past.base + 1,
            past.sealed
        );
    }
}

/// `dwcp consensus explain --now`.
pub(crate) async fn explain(endpoints: &Endpoints, json: bool) -> Result<(), String> {
    let seen = look(endpoints).await?;
    let in_force = seen.in_force()?;
    let advice = seen.advice();
    if json {
        let mut document = in_force.document();
        document["now"] = json!(advice.map(|(node, says)| json!({ "node": node, "says": says })));
        println!("{document}");
        return Ok(());
    }
    println!("{}", epoch(&in_force));
    if let Cause::Chosen(why) = &in_force.cause {
        println!("What it said then:");
        why.lines().for_each(|line| println!("  {line}"));
    }
    match advice {
        Some((node, says)) => {
            println!("What the selection says now, on {node}:");
            says.lines().for_each(|line| println!("  {line}"));
        }
        None if in_force.newest.spec.engine == EngineKind::Pbft => {
            println!("Under pbft nothing is chosen: an operator ends it.");
        }
        None if in_force.policies.iter().all(|(policy, _)| policy.is_none()) => {
            println!(
                "No node's configuration has a [policy]: operators choose. `dwcp consensus explain --at …` says what would be chosen."
            );
        }
        None => println!("The selection has not measured enough yet, or its node does not answer."),
    }
    Ok(())
}

/// The newest epoch in a line: since when, and where it comes from.
fn epoch(in_force: &InForce<'_>) -> String {
    let spec = &in_force.newest.spec;
    format!("epoch {} under {}, {}: {}", spec.epoch, spec.engine, since(in_force), in_force.begun())
}

/// `dwcp consensus policy --in-force`.
pub(crate) async fn policy(endpoints: &Endpoints, json: bool) -> Result<(), String> {
    let seen = look(endpoints).await?;
    let in_force = seen.in_force()?;
    if json {
        println!("{}", in_force.document());
        return Ok(());
    }
    println!("# {}", in_force.policy().replace('\n', "\n# "));
    println!("# {}", epoch(&in_force));
    for (policy, who) in &in_force.policies {
        if in_force.policies.len() > 1 {
            println!("# {}:", who.join(", "));
        }
        if let Some(policy) = policy {
            print!("{}", toml::to_string_pretty(policy).map_err(|e| e.to_string())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_node::{Origin, Spec};

    fn at(seconds: u64) -> WallTime {
        WallTime::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (951_868_799, "2000-02-29 23:59:59 UTC"),
            (1_795_392_000 + 3_725, "2026-11-23 01:02:05 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(calendar(at(seconds)), text);
        }
    }

    fn status(epoch: u32, cause: Cause, since: Option<u64>, policy: Option<Policy>) -> ConsensusStatus {
        let status = json!({
            "node": 1, "group": 0, "spec": Spec { epoch, ..Spec::default() }, "base": 0, "past": [], "role": "Follower", "term": 0,
            "leader": null, "applied": 9, "silent": false, "advice": null, "peers": {},
        });
        let mut status: ConsensusStatus =
            serde_json::from_value(status).expect("as an earlier version tells it");
        status.origin = Origin { since: since.map(at), cause };
        status.policy = policy;
        status
    }
    fn seen(statuses: Vec<ConsensusStatus>) -> Seen {
        let named = statuses.into_iter().zip(1..).map(|(s, n)| (format!("n{n}"), s));
        Seen { found: named.collect(), silent: Vec::new() }
    }

    #[test]
    fn the_one_node_that_knows_is_believed_of_the_newest_epoch_only() {
        let policy = || Some(Policy { mode: dwcp_consensus::select::Mode::DryRun, ..Policy::default() });
        let all = seen(vec![
            status(1, Cause::Unseen, Some(30), policy()),
            status(1, Cause::Asked, Some(20), policy()),
            status(0, Cause::Members, Some(10), policy()),
        ]);
        let now = all.in_force().expect("somebody answers");
        assert_eq!((now.newest.spec.epoch, now.since, now.by), (1, Some(at(20)), Some("n2")));
        assert!(now.begun().contains("operator") && now.begun().contains("n2"), "{}", now.begun());
        assert_eq!(
            now.policy(),
            "policy: dry-run (all as in the defaults); in the configurations of n1, n2, n3"
        );
        let document = now.document();
        assert_eq!(document["begun"]["cause"], "asked");
        assert_eq!(document["policies"][0]["policy"]["mode"], "dry-run");
    }

    #[test]
    fn policies_that_differ_are_named_with_what_differs() {
        let other = Policy { bear_members: Some(1), ..Policy::default() };
        let all = seen(vec![
            status(0, Cause::Configured, None, None),
            status(0, Cause::Configured, None, Some(other)),
        ]);
        let told = all.in_force().expect("somebody answers").policy();
        assert!(told.contains("NOT THE SAME") && told.contains("n2: act (bear-members = 1)"), "{told}");
        assert!(seen(Vec::new()).in_force().is_err());
    }
}
