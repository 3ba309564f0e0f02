//! A sample of `examples/intent`, and that its oracle sees a policy that does not do what people mean.

#[path = "../examples/intent/fleet.rs"]
mod fleet;
#[path = "../examples/intent/oracle.rs"]
#[allow(dead_code, reason = "the example prints more than is asserted here")]
mod oracle;
#[path = "../examples/intent/run.rs"]
mod run;

use dwcp_conflict::Class;

#[test]
fn conflicts_come_out_as_their_writers_meant() {
    let mut all = oracle::Tally::default();
    for seed in 1_000..1_004 {
        all.add(run::run(seed, run::POLICY));
    }
    let broken = all.broken();
    assert!(broken.is_empty(), "{broken:#?}\n{}\n{:#?}", all.table(), all.wrong_told);
    for class in [Class::Value, Class::Intent, Class::Structure, Class::Invariant] {
        assert!(
            all.classes.get(&class).is_some_and(|c| c.right > 10),
            "{class} was not met:\n{}",
            all.table()
        );
    }
}

/// Each of these policies loads: it is the same everywhere, and wrong.
#[test]
fn the_oracle_sees_a_policy_that_does_not_do_what_people_mean() {
    for (right, wrong, class) in [
        (
            "order = [\"oncall\", \"operator\", \"autoscaler\"",
            "order = [\"autoscaler\", \"operator\", \"oncall\"",
            Class::Intent,
        ),
        (
            "use = { strategy = \"transform\", otherwise = \"last-writer\" }",
            "use = \"last-writer\"",
            Class::Value,
        ),
        (
            "use = { strategy = \"semantic\", otherwise = \"rollback\" }",
            "use = { strategy = \"priority\", by = \"region\", order = [\"ap-south\"] }",
            Class::Invariant,
        ),
        // Work on a machine outlives it; nobody is asked; a program's word counts as much as a person's.
        (
            "order = [\"wanted\", \"deleted\", \"present\"]",
            "order = [\"wanted\", \"present\", \"deleted\"]",
            Class::Structure,
        ),
        ("wrote = [\"deleted\", \"wanted\"]", "wrote = [\"nobody writes this\"]", Class::Structure),
        (
            "by = \"role\"\norder = [\"oncall\", \"operator\", \"autoscaler\", \"inventory\", \"host\"]\nties",
            "by = \"role\"\norder = [\"nobody\"]\nties",
            Class::Structure,
        ),
    ] {
        assert!(run::POLICY.contains(right), "{right}");
        let policy = run::POLICY.replace(right, wrong);
        let mut tally = oracle::Tally::default();
        (1_000..1_008).for_each(|seed| tally.add(run::run(seed, &policy)));
        let wrong = tally.classes[&class].wrong;
        assert!(wrong > 0, "{class}:\n{}", tally.table());
        assert_eq!((tally.recovered, tally.silent), (tally.losers, 0), "wrong, and still nothing is lost");
    }
}

/// What a node does not know taken for nothing, as it was once. (What else was wrong is too rare here: `tests/conflict/lineage.rs`.)
#[test]
fn the_oracle_sees_that_what_is_not_known_is_not_nothing() {
    let tally = run::run_with(1_000, run::POLICY, run::Mutant::Forgetful);
    let wrong: u64 = tally.classes.values().map(|c| c.wrong).sum();
    assert!(wrong > 0, "{}", tally.table());
}

/// The limits can fail, each alone: a policy that asks about every deletion asks too often, and one that asks nobody and lets the lowest rank
/// prevail asks nobody too often, and is wrong in more than three of a hundred.
#[test]
fn the_limits_of_asking_and_of_being_right_can_fail() {
    let often = run::POLICY.replace("wrote = [\"deleted\", \"wanted\"], ", "");
    let upside_down = run::POLICY.replace(
        "order = [\"oncall\", \"operator\", \"autoscaler\", \"inventory\", \"host\"]",
        "order = [\"host\", \"inventory\", \"autoscaler\", \"operator\", \"oncall\"]",
    );
    for (policy, breaks, holds) in [
        (often, ["3 % queued at most", "97 % right without a person"], "none to be written again"),
        (upside_down, ["none to be written again", "97 % right without a person"], "3 % queued at most"),
    ] {
        assert_ne!(policy, run::POLICY);
        let mut all = oracle::Tally::default();
        (1_000..1_004).for_each(|seed| all.add(run::run(seed, &policy)));
        let broken = all.broken();
        let says = |what: &str| broken.iter().any(|claim| claim.starts_with(what));
        assert!(breaks.iter().all(|what| says(what)) && !says(holds), "{broken:#?}\n{}", all.table());
    }
}
