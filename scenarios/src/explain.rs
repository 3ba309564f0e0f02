//! Why a run failed, for a person: the story, the witnesses, the picture, and the moment that
//! decided.
//!
//! **Promise.** [`explain`] takes the plan of a failing run and gives an [`Explanation`] in
//! bounded time: a run for the picture, then branches until the effort is spent
//! ([`chance::Effort`]). Everything but the number of branches that fit into the time is a
//! function of (plan, build).
//!
//! | part | says |
//! |---|---|
//! | setting ([`words`]) | who stands where, what clients do |
//! | story | who was cut from whom, when, for how long; who died, who led; in order of time |
//! | violation, witnesses ([`witness`]) | what broke, and the operations that show it |
//! | chance ([`chance`]) | how likely the failure was, given the past up to each moment; where that jumped, and what happened there |
//! | picture | the space-time picture, opened around the violation ([`page`]) |
//!
//! A run that has not been shrunk is explained as well, and the explanation is as long as it.

pub mod chance;
pub mod page;
pub mod witness;
pub mod words;

use crate::expand::RunPlan;
use crate::pool::Program;
use crate::run::moment::{notable, says};
use crate::run::picture::{self, Picture};
use crate::run::{Options, Outcome, run};
use chance::{Curve, Effort};
use dwcp_env::{Instant, NodeId};
use dwcp_runtime_sim::fault::{Fault, Target};
use dwcp_runtime_sim::trace::{Event, Keep, Violation, What};
use serde::Serialize;

/// The most lines of a story, and of what happened at the jump.
const LINES: usize = 60;
/// The most events named at the jump.
const AT_JUMP: usize = 12;

/// Why a run failed.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Explanation {
    /// The scenario it came from.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Faults and requests in the plan: whether it is worth shrinking first.
    pub faults: usize,
    /// The world and its clients, in sentences.
    pub setting: Vec<String>,
    /// What happened, in order of time.
    pub story: Vec<Line>,
    /// What broke.
    pub violation: Violation,
    /// The operations that show it.
    pub witnesses: Vec<String>,
    /// How likely it was, over time.
    pub chance: Curve,
    /// What happened between the two moments between which the chance jumped.
    pub at_jump: Vec<Line>,
    /// The space-time picture.
    #[serde(skip)]
    pub picture: Picture,
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Line {
    /// When.
    pub at: Instant,
    /// What, in words.
    pub says: String,
}

/// Explains a failing run. `progress` hears how many branches of at most how many are done.
///
/// # Errors
/// The plan makes no sense, or the run does not fail.
pub fn explain(
    plan: &RunPlan,
    program: &Program,
    effort: Effort,
    progress: &mut dyn FnMut(u32, u32),
) -> Result<Explanation, String> {
    let kept = Options { keep: Keep::Everything, ..Options::default() };
    let outcome = run(plan, &kept).map_err(|e| e.to_string())?;
    let violation = outcome.violation.clone().ok_or("this run does not fail: there is nothing to explain")?;
    let picture = picture::draw(plan, &outcome);
    // Branches hit whom the run hit, whoever leads in them.
    let settled = crate::shrink::settled(plan, &outcome.resolved);
    let same = outcome.resolved.is_empty() || breaks(&settled, &violation);
    let trunk = if same { &settled } else { plan };
    let chance = chance::curve(trunk, &violation, program, effort, progress);
    let witnesses = witness::of(&outcome.log, &violation);
    Ok(Explanation {
        scenario: plan.scenario.clone(),
        seed: plan.world.seed.0,
        faults: plan.world.faults.len() + plan.acts.len(),
        setting: words::setting(plan),
        story: story(plan, &outcome, &picture),
        witnesses: witnesses.iter().map(|p| witness::line(&outcome.log.records[*p])).collect(),
        at_jump: at_jump(&chance, &outcome.events),
        violation,
        chance,
        picture,
    })
}

fn breaks(plan: &RunPlan, violation: &Violation) -> bool {
    run(plan, &Options::default()).is_ok_and(|o| o.violation.is_some_and(|v| v.name == violation.name))
}

/// Who led when a fault began, to name the leader where it is hit.
fn leading(picture: &Picture, at: Instant) -> Option<(NodeId, u64)> {
    let us = at.as_nanos() / 1_000;
    picture.leaders.iter().rev().find(|l| l.0 <= us).map(|l| (NodeId(l.1), l.2))
}

fn fault_line(f: &Fault, all: &[NodeId], picture: &Picture) -> Line {
    let mut says = words::event(f, all);
    let hit = |n: NodeId| match &f.target {
        Target::Node(t) => *t == n,
        Target::Links { from, to } => {
            let named = from.contains(&n) != to.contains(&n);
            named && (from.len() == 1 || to.len() == 1)
        }
    };
    if let Some((leader, term)) = leading(picture, f.at).filter(|l| hit(l.0)) {
        says = format!("{} ({leader} leads in term {term})", says.trim_end_matches('.')) + ".";
    }
    Line { at: f.at, says }
}

fn story(plan: &RunPlan, outcome: &Outcome, picture: &Picture) -> Vec<Line> {
    let all = plan.world.node_ids();
    let windows = plan.world.windows();
    let faults = windows.iter().chain(&outcome.resolved);
    let mut lines: Vec<Line> = faults.map(|f| fault_line(f, &all, picture)).collect();
    let asked = plan.acts.iter().filter_map(|a| Some(Line { at: a.at, says: words::request(a)? }));
    lines.extend(asked);
    let leads = picture.leaders.iter().map(|(us, node, term)| Line {
        at: Instant::from_nanos(us * 1_000),
        says: format!("n{node} leads, term {term}."),
    });
    lines.extend(leads);
    let told = outcome.events.iter().filter(|e| tells(&e.what));
    lines.extend(told.map(|e| Line { at: e.at, says: format!("{}.", says(e)) }));
    let heal = plan.world.heal_at;
    if heal.as_nanos() < outcome.simulated.as_nanos() {
        let who = if plan.world.core.is_empty() {
            "everything is healed".to_owned()
        } else {
            format!(
                "{} and the links among them are healed; the rest stays as it is",
                words::list(&plan.world.core)
            )
        };
        lines.push(Line { at: heal, says: format!("{who}.") });
    }
    let end = Instant::ZERO + outcome.simulated;
    lines.retain(|l| l.at <= end);
    if let Some(v) = &outcome.violation {
        let first = v.detail.lines().next().unwrap_or_default();
        lines.push(Line { at: v.at, says: format!("{} is broken: {first}", v.name) });
    }
    lines.sort();
    if lines.len() > LINES {
        // The end is what is to be explained.
        let left_out = lines.len() - LINES;
        lines.drain(..left_out);
        let says = format!("({left_out} things that happened before are left out; shrink the run first)");
        lines.insert(0, Line { at: Instant::ZERO, says });
    }
    lines
}

/// What belongs into the story besides faults and leaders: what nodes did about them.
const fn tells(what: &What) -> bool {
    matches!(what, What::BootFailed { .. } | What::Stopped { asked: false, .. })
        || matches!(what, What::Boot { incarnation, .. } if *incarnation > 1)
}

/// What happened where the chance jumped: what changes who lives or leads; if there is nothing
/// of the kind, whatever happened.
fn at_jump(chance: &Curve, events: &[Event]) -> Vec<Line> {
    let Some((before, after)) = chance.jump else { return Vec::new() };
    let (from, to) = (chance.steps[before].at, chance.steps[after].at);
    let within: Vec<&Event> = events.iter().filter(|e| from <= e.at && e.at < to).collect();
    let any_notable = within.iter().any(|e| notable(&e.what));
    let shown = within.iter().filter(|e| !any_notable || notable(&e.what));
    shown.take(AT_JUMP).map(|e| Line { at: e.at, says: says(e) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use dwcp_env::{Duration, Seed};

    #[test]
    fn the_story_of_a_lost_region_can_be_retold() {
        let scenario = catalogue::find("failover/leader_crash").unwrap();
        let mut plan = crate::expand::expand(&scenario, Seed(1));
        plan.world.heal_at = Instant::ZERO + Duration::secs(14);
        plan.serve_for = Duration::millis(500);
        let kept = Options { keep: Keep::Everything, ..Options::default() };
        let outcome = run(&plan, &kept).unwrap();
        assert_eq!(outcome.violation, None);
        let told = story(&plan, &outcome, &picture::draw(&plan, &outcome));
        let text: Vec<&str> = told.iter().map(|l| l.says.as_str()).collect();
        let crash = text.iter().position(|t| t.contains("loses power and boots again at"));
        let crash = crash.unwrap_or_else(|| panic!("{text:#?}"));
        assert!(text[crash].contains("leads in term"), "it was the leader: {text:#?}");
        assert!(text[crash..].iter().any(|t| t.contains("leads, term")), "another follows: {text:#?}");
        assert!(text.contains(&"everything is healed."), "{text:#?}");
        assert!(told.is_sorted_by_key(|l| l.at));
    }
}
