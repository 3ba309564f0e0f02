//! Runs as a whole: plans are data, runs are functions of them, and what once failed holds.

use dwcp_env::{Duration, Instant, Seed};
use dwcp_runtime_sim::fault::Target;
use dwcp_runtime_sim::trace::{Keep, Violation};
use dwcp_scenarios::capsule::Capsule;
use dwcp_scenarios::catalogue;
use dwcp_scenarios::expand::{RunPlan, expand};
use dwcp_scenarios::explain::chance::branch;
use dwcp_scenarios::file::{Figure, Scenario};
use dwcp_scenarios::run::moment::{Moment, Standing};
use dwcp_scenarios::run::{Options, Outcome, run};

const SMALL: &str = r#"
why   = "Three nodes near each other; the leader dies once."
tier  = "fast"
seeds = 4

[world]
latency = "200us..2ms"
regions = { here = 3 }

[node]
checkpoint_after = 40

[[workload]]
use = "register"
clients = 4
rate = "40/s"
keys = 3

[[workload]]
use = "list-append"
clients = 2
rate = "10/s"
keys = 2

[[workload]]
use = "watch"
clients = 2
rate = "10/s"
keys = 2

[[event]]
at = "4s..5s"
for = "700ms"
do = "crash leader"

[heal]
at = "8s"
converge_within = "8s"
serve_for = "2s"

[check]
always = [
    "election_safety", "log_matching", "leader_completeness", "committed_on_quorum", "state_machine_safety", "monotone",
    "no_acknowledged_loss", "exactly_once", "linearizable", "list_append_serializable", "watch_complete", "convergence",
]
sometimes = ["fault.crash"]
claims = { rto = "<= 4s", rpo = "<= 0 writes" }
"#;

fn outcome(seed: u64) -> Outcome {
    let scenario = Scenario::parse("test/small", SMALL).unwrap();
    run(&expand(&scenario, Seed(seed)), &Options::default()).unwrap()
}

#[test]
fn a_leader_dies_and_every_promise_holds() {
    let one = outcome(1);
    assert_eq!(one.violation, None);
    assert!(one.stats.writes > 100, "{:?}", one.stats);
    assert_eq!(one.sometimes.get("fault.crash"), Some(&1), "whoever led was hit");
    assert_eq!(one.figures.get(&Figure::Rpo), Some(&0));
    assert!(one.figures[&Figure::Rto] > 100_000_000, "a death is felt: {:?}", one.figures);
    assert_eq!(one.resolved.len(), 1);
    let again = outcome(1);
    assert_eq!(one.trail, again.trail, "the same plan is the same run");
    assert_ne!(one.trail, outcome(2).trail, "another seed is another");
}

#[test]
fn a_moment_shows_each_node_and_changes_nothing() {
    let plan = expand(&Scenario::parse("test/small", SMALL).unwrap(), Seed(1));
    let whole = run(&plan, &Options { keep: Keep::Everything, ..Options::default() }).unwrap();
    let crash = &whole.resolved[0];
    let Target::Node(dead) = crash.target else { panic!("{crash}") };
    let moment = Moment { at: crash.at + Duration::millis(300), window: Duration::millis(20) };
    let keep = Keep::Between { from: moment.from(), to: moment.to() };
    let seen = run(&plan, &Options { keep, moment: Some(moment), ..Options::default() }).unwrap();
    let around = whole.events.iter().filter(|e| moment.from() <= e.at && e.at <= moment.to());
    assert_eq!(seen.events, around.cloned().collect::<Vec<_>>(), "the same run, up to there");
    assert!(!seen.events.is_empty() && seen.violation.is_none());
    for state in &seen.states {
        let (is, role) = (state.standing, state.role.as_deref());
        if state.node == dead.0 {
            assert_eq!((is, role, state.faults.len()), (Standing::Down, None, 1), "{state:?}");
        } else {
            assert!(is == Standing::Up && role.is_some() && state.committed > 0, "{state:?}");
        }
    }
    // At the very end nothing is down any more, and all are equal.
    let late = Moment { at: Instant::FAR, window: Duration::ZERO };
    let end = run(&plan, &Options { moment: Some(late), ..Options::default() }).unwrap();
    assert_eq!(end.trail, whole.trail);
    assert!(end.states.iter().all(|s| s.standing == Standing::Up && s.life >= 1));
}

#[test]
fn a_branch_has_the_past_of_its_run_and_clients_of_its_own() {
    let plan = expand(&Scenario::parse("test/small", SMALL).unwrap(), Seed(1));
    let keep = |plan: &RunPlan| run(plan, &Options { keep: Keep::Everything, ..Options::default() }).unwrap();
    let at = Instant::ZERO + Duration::secs(5);
    let (trunk, one) = (keep(&plan), keep(&branch(&plan, at, 7)));
    let past = |o: &Outcome| o.events.iter().filter(|e| e.at < at).cloned().collect::<Vec<_>>();
    assert_eq!(past(&trunk), past(&one));
    assert_ne!(trunk.trail, one.trail);
    let calls = |o: &Outcome| {
        let late = o.log.records.iter().filter(|r| r.call > at + Duration::secs(1));
        late.map(|r| (r.client, r.what.clone())).collect::<Vec<_>>()
    };
    assert_ne!(calls(&trunk), calls(&one), "clients ask other things");
    assert_eq!(one.trail, keep(&branch(&plan, at, 7)).trail);
}

#[test]
fn every_plan_survives_its_capsule() {
    for scenario in catalogue::all() {
        for seed in [1, 7] {
            let plan = expand(&scenario, Seed(seed));
            plan.world.check().unwrap_or_else(|e| panic!("{} seed {seed}: {e}", scenario.name));
            let violation = Violation {
                name: "election_safety".into(),
                detail: "two".into(),
                at: Instant::ZERO,
                node: None,
            };
            let capsule = Capsule::new(plan, violation, "00".into());
            let text = capsule.text().unwrap();
            assert_eq!(Capsule::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", scenario.name)), capsule);
        }
    }
}

#[test]
fn what_once_failed_holds() {
    for (name, capsule) in catalogue::regressions() {
        assert_eq!(capsule.plan.bug, None, "{name}: a planted bug is no regression");
        let outcome = run(&capsule.plan, &Options::default()).unwrap();
        assert_eq!(outcome.violation, None, "{name} fails again");
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn a_planted_bug_is_found_and_shrunk_to_a_capsule_that_fails_again() {
    use dwcp_runtime_sim::shrink::Budget;
    let scenario = Scenario::parse("test/small", SMALL).unwrap();
    let failing = (1..40).find_map(|seed| {
        let mut plan = expand(&scenario, Seed(seed));
        plan.bug = Some("store.stale_compare".to_owned());
        run(&plan, &Options::default()).unwrap().violation.map(|_| plan)
    });
    let plan = failing.expect("compares that look into the past are noticed");
    let budget = Budget { runs: 30, ..Budget::default() };
    let shrunk = dwcp_scenarios::shrink::shrink(&plan, budget, &mut |_| {}).unwrap();
    assert!(shrunk.faults <= shrunk.faults_before);
    let capsule = Capsule::parse(&shrunk.capsule.text().unwrap()).unwrap();
    let again = run(&capsule.plan, &Options::default()).unwrap();
    assert_eq!(again.violation.as_ref(), Some(&capsule.violation));
    assert_eq!(again.trail.id(), capsule.trace, "a replay is the same run");
}

/// A handful of each kind, each within some seeds of the scenario that is best at it, without shrinking: what CI has time
/// for. `dwcp sim mutants` hunts all of them.
#[cfg(feature = "planted-bugs")]
#[test]
fn a_handful_of_planted_bugs_is_found() {
    use dwcp_scenarios::mutants::{MUTANTS, Mutant};
    const HANDFUL: [&str; 14] = [
        "wal.ack_before_sync",
        "wal.recovery_skips_last",
        "raft.conflict_ignored",
        "raft.stale_read",
        "raft.minority_commit",
        "node.read_without_barrier",
        "lease.keepalive_without_barrier",
        "lease.clock_kept",
        "session.double_apply",
        "session.not_in_snapshot",
        "store.checkpoint_claims_too_much",
        "store.past_read_sees_present",
        "watch.skips_first",
        "watch.jumps_compaction",
    ];
    const SEEDS: u64 = 12;
    let breaks = |mutant: &Mutant, nth: u64| {
        let (scenario, seed) = mutant.place(nth);
        let mut plan = expand(&catalogue::find(scenario).unwrap(), Seed(1 + seed));
        plan.bug = Some(mutant.name.to_owned());
        run(&plan, &Options::default()).unwrap().violation.is_some()
    };
    for name in HANDFUL {
        let mutant =
            MUTANTS.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("no bug is called {name}"));
        assert!((0..SEEDS).any(|nth| breaks(mutant, nth)), "{name} is not found within {SEEDS} runs");
    }
}
