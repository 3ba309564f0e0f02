//! What may be asked, and the run that is asked about.
//!
//! | question | answer |
//! |---|---|
//! | `{"do":"catalogue"}` | scenarios and regressions of this build, and which build it is |
//! | `{"do":"open","text":…,"seed":"7"}` | a capsule's file, or a scenario's; the world and its faults |
//! | `{"do":"open","scenario":"failover/region_loss","seed":"7"}` | the same of one built in |
//! | `{"do":"go","until":µs,"steps":n,"known":n}` | what happened on the way, but for the first `known` events of the run; the verdict if that was the end |
//! | `{"do":"where"}` | as `go` without going |
//! | `{"do":"state"}` | every node, link, client at this moment |
//!
//! Seeds are strings: JSON's numbers in a browser hold 53 bits.

use crate::gather::{Gather, ROW};
use dwcp_env::{Instant, NodeId, Seed};
use dwcp_runtime_sim::{Fault, Keep};
use dwcp_scenarios::capsule::{Build, Capsule};
use dwcp_scenarios::catalogue;
use dwcp_scenarios::expand::{RunPlan, expand};
use dwcp_scenarios::file::Scenario;
use dwcp_scenarios::run::live::Live;
use dwcp_scenarios::run::moment::Standing;
use dwcp_scenarios::run::picture::us;
use dwcp_scenarios::run::{Options, Outcome, picture};
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest run, in microseconds: what 32 bits hold.
const LONGEST_US: u64 = u32::MAX as u64;

#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
enum Asked {
    Catalogue,
    Open { text: Option<String>, scenario: Option<String>, seed: Option<String> },
    Go { until: Option<u64>, steps: Option<u64>, known: u64 },
    Where,
    State,
}

/// A run, or none yet.
#[derive(Default)]
pub(crate) struct Session {
    run: Option<Run>,
}

struct Run {
    plan: RunPlan,
    why: String,
    capsule: Option<Capsule>,
    live: Option<Live>,
    gather: Gather,
    /// How many faults the page has been told of.
    faults: usize,
    /// The last state before the verdict was made of the run, and the verdict.
    end: Option<(Value, Value)>,
}

impl Session {
    /// Answers a question.
    pub(crate) fn answer(&mut self, asked: &[u8]) -> Value {
        let answer = match serde_json::from_slice::<Asked>(asked) {
            Err(e) => Err(format!("not a question: {e}")),
            Ok(Asked::Catalogue) => Ok(list()),
            Ok(Asked::Open { text, scenario, seed }) => self.open(text, scenario, seed),
            Ok(Asked::Go { until, steps, known }) => self.with(|run| run.go(until, steps, known)),
            Ok(Asked::Where) => self.with(|run| run.position()),
            Ok(Asked::State) => self.with(|run| run.state()),
        };
        answer.unwrap_or_else(|e| json!({ "error": e }))
    }
    /// The rows of messages that the last answer speaks of.
    pub(crate) fn messages(&self) -> &[u8] {
        self.run.as_ref().map_or(&[], |r| &r.gather.messages)
    }
    fn with(&mut self, f: impl FnOnce(&mut Run) -> Value) -> Result<Value, String> {
        self.run.as_mut().map(f).ok_or_else(|| "nothing is open yet".to_owned())
    }
    fn open(
        &mut self,
        text: Option<String>,
        scenario: Option<String>,
        seed: Option<String>,
    ) -> Result<Value, String> {
        let seed = match seed.as_deref().map(str::trim) {
            None | Some("") => 1,
            Some(s) => s.parse().map_err(|_| format!("{s:?} is no seed: a number from 0 to {}", u64::MAX))?,
        };
        let run = match (text, scenario) {
            (Some(text), None) => Run::of_text(&text, Seed(seed))?,
            (None, Some(name)) => {
                let scenario = catalogue::find(&name).map_err(|e| e.to_string())?;
                Run::new(expand(&scenario, Seed(seed)), scenario.why, None)?
            }
            _ => return Err("open says either text or scenario".to_owned()),
        };
        let told = run.opened();
        self.run = Some(run);
        Ok(told)
    }
}

fn list() -> Value {
    let scenarios: Vec<Value> = catalogue::all()
        .into_iter()
        .map(|s| json!({ "name": s.name, "why": s.why, "tier": s.tier.name(), "nodes": s.nodes() }))
        .collect();
    let regressions: Vec<(&str, &str)> = catalogue::REGRESSIONS.to_vec();
    json!({ "scenarios": scenarios, "regressions": regressions, "build": Build::current() })
}

/// Faults as rows of a picture, and whether each is one of links.
fn told_faults<'f>(faults: impl Iterator<Item = &'f Fault>, ids: &[NodeId], end: Instant) -> Value {
    let row = |f: &Fault| {
        let (kind, from, until, hit, says) = picture::fault(f, ids, end);
        json!([kind, from, until, hit, says, f.effect.on_links()])
    };
    json!(faults.map(row).collect::<Vec<_>>())
}

impl Run {
    /// Of a file's text: a capsule if it has a plan in it, else a scenario.
    fn of_text(text: &str, seed: Seed) -> Result<Self, String> {
        if text.lines().any(|l| l.trim_end() == "[plan]") {
            let capsule = Capsule::parse(text).map_err(|e| format!("as a capsule: {e}"))?;
            return Self::new(capsule.plan.clone(), capsule.about.clone(), Some(capsule));
        }
        let scenario = Scenario::parse("a file", text).map_err(|e| format!("as a scenario: {e}"))?;
        Self::new(expand(&scenario, seed), scenario.why, None)
    }
    fn new(plan: RunPlan, why: String, capsule: Option<Capsule>) -> Result<Self, String> {
        if us(plan.world.horizon) >= LONGEST_US {
            return Err(format!(
                "the run may take until {}; the longest a page takes is 71 minutes",
                plan.world.horizon
            ));
        }
        if plan.bug.is_some() {
            return Err(
                "the capsule names a bug planted on purpose, which this build does not have".to_owned()
            );
        }
        let options = Options { keep: Keep::Everything, ..Options::default() };
        let live = Live::new(&plan, &options).map_err(|e| e.to_string())?;
        let gather = Gather::new(plan.world.nodes.iter().map(|n| n.id));
        Ok(Self { plan, why, capsule, live: Some(live), gather, faults: 0, end: None })
    }
    fn opened(&self) -> Value {
        let member = |id| self.plan.members.contains(&id);
        let nodes: Vec<Value> = self
            .plan
            .world
            .nodes
            .iter()
            .map(|n| json!({ "id": n.id.0, "region": n.region, "member": member(n.id) }))
            .collect();
        let loads: Vec<String> =
            self.plan.loads.iter().map(|l| format!("{} × {}", l.clients, l.kind.name())).collect();
        let heal = us(self.plan.world.heal_at);
        json!({
            "scenario": self.plan.scenario, "seed": self.plan.world.seed.0.to_string(), "why": self.why,
            "nodes": nodes, "loads": loads, "clients": self.plan.world.clients, "always": self.plan.always,
            "heal": heal, "first_event": self.plan.first_event.map(us),
            // When it ends if all goes well; the latest it can.
            "expected": heal + (self.plan.serve_for.as_nanos() / 1_000), "horizon": us(self.plan.world.horizon),
            "capsule": self.capsule.as_ref().map(|c| json!({
                "about": c.about, "trace": c.trace, "violation": c.violation, "build": c.build,
                "same_build": c.build.commit == Build::current().commit,
            })),
        })
    }
    fn go(&mut self, until: Option<u64>, steps: Option<u64>, known: u64) -> Value {
        let until = until.map_or(Instant::FAR, |us| Instant::from_nanos(us.saturating_mul(1_000)));
        let mut told = json!({});
        let ids = self.plan.world.node_ids();
        if let Some(live) = &mut self.live {
            let goes_on = live.go(until, steps.unwrap_or(u64::MAX));
            let events = live.take_events();
            let rows = self.gather.take(&events, live.log(), known);
            told["rows"] = json!(rows);
            told["messages"] = json!(self.gather.messages.len() / ROW);
            let faults = live.faults();
            if faults.len() > self.faults {
                told["faults"] = told_faults(live.faults().iter(), &ids, self.plan.world.horizon);
            }
            self.faults = faults.len();
            if !goes_on {
                self.finish();
            }
        } else {
            self.gather.messages.clear();
        }
        let at = self.position();
        if let (Value::Object(told), Value::Object(at)) = (&mut told, at) {
            told.extend(at);
        }
        told
    }
    /// Where the run is.
    fn position(&self) -> Value {
        match (&self.live, &self.end) {
            (Some(live), _) => json!({
                "now": us(live.now()), "now_ns": live.now().as_nanos().to_string(), "steps": live.steps(),
                "events": live.events(), "over": false, "violation": live.violation(),
            }),
            (None, Some((state, verdict))) => json!({
                "now": state["now"], "now_ns": state["now_ns"], "steps": state["steps"], "events": state["events"],
                "over": true, "violation": verdict["violation"], "verdict": verdict,
            }),
            (None, None) => json!({}),
        }
    }
    fn finish(&mut self) {
        let state = self.state();
        if let Some(live) = self.live.take() {
            let outcome = live.finish();
            self.end = Some((state, self.verdict(&outcome)));
        }
    }
    fn verdict(&self, outcome: &Outcome) -> Value {
        let figures: Vec<_> = outcome.figures.iter().map(|(f, n)| (f.name(), f.show(*n))).collect();
        let trace = outcome.trail.id();
        let same = self.capsule.as_ref().map(|c| c.trace == trace);
        json!({
            "trace": trace, "same_as_capsule": same, "violation": outcome.violation, "figures": figures,
            "sometimes": outcome.sometimes, "stats": outcome.stats,
        })
    }
    fn state(&self) -> Value {
        let Some(live) = &self.live else {
            let state = self.end.as_ref().map(|e| e.0.clone());
            let mut state = state.unwrap_or_default();
            state["over"] = json!(true);
            return state;
        };
        let nodes = live.nodes();
        let leading =
            nodes.iter().filter(|n| n.standing == Standing::Up && n.role.as_deref() == Some("leader"));
        let leader = leading.max_by_key(|n| n.term).map(|n| n.node);
        let now = live.now();
        let ids = self.plan.world.node_ids();
        let active = live.faults().iter().filter(|f| f.at <= now && now < f.until);
        let count = |o| live.log().records.iter().filter(|r| r.outcome == o).count();
        json!({
            "now": us(now), "now_ns": now.as_nanos().to_string(), "steps": live.steps(), "events": live.events(),
            "nodes": nodes, "leader": leader,
            "faults": told_faults(active, &ids, self.plan.world.horizon),
            "open": self.gather.open(live.log()), "under_way": self.gather.under_way(),
            "operations": {
                "ok": count(dwcp_workload::Outcome::Ok), "fail": count(dwcp_workload::Outcome::Fail),
                "unknown": count(dwcp_workload::Outcome::Info), "open": count(dwcp_workload::Outcome::Open),
            },
            "violation": live.violation(), "over": false,
        })
    }
}
