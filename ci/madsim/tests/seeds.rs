//! Seeds under madsim: what clients saw is judged, states agree, a seed means one run.

use dwcp_madsim::driver::Plant;
use dwcp_madsim::{Report, run};
use std::ops::Range;

fn all_hold(seeds: Range<u64>) {
    for seed in seeds {
        let report = run(seed, |_| {});
        println!("seed {seed}: {report:?}");
        assert_eq!(wrong(&report), None, "seed {seed}");
        // A run in which nothing happened proves nothing.
        assert!(report.acknowledged > 1_000, "seed {seed}: {report:?}");
        assert!(report.faults.0 > 0 && report.faults.1 > 0 && report.term > 1, "seed {seed}: {report:?}");
    }
}

/// The promise that was broken, in words.
fn wrong(report: &Report) -> Option<String> {
    if let Err(broken) = &report.judged {
        return Some(broken.detail.clone());
    }
    let agree = report.states.windows(2).all(|s| s[0] == s[1]);
    (!agree).then(|| format!("states differ: {:?}", report.states))
}

// In two parts, for two cores.
#[test]
fn the_first_ten_seeds_hold() {
    all_hold(0..10);
}

#[test]
fn the_second_ten_seeds_hold() {
    all_hold(10..20);
}

#[test]
fn a_seed_means_one_run() {
    assert_eq!(run(3, |_| {}), run(3, |_| {}));
    assert_ne!(run(3, |_| {}).fingerprint, run(4, |_| {}).fingerprint);
}

#[test]
fn known_bugs_are_seen() {
    let bugs: [(&str, Plant); 4] = [
        ("node.read_without_barrier", |c| c.bugs.read_without_barrier = true),
        ("raft.stale_read", |c| c.engine.bugs.stale_read = true),
        ("store.double_apply_after_retry", |c| c.bugs.store.double_apply_after_retry = true),
        ("store.checkpoint_claims_too_much", |c| c.bugs.store.checkpoint_claims_too_much = true),
    ];
    for (name, plant) in bugs {
        let seen = (0..10).find_map(|seed| wrong(&run(seed, plant)).map(|why| (seed, why)));
        println!("{name}: {seen:?}");
        assert!(seen.is_some(), "{name} passes for right");
    }
}
