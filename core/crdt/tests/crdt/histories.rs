//! Histories against the specification, in the seconds that CI has; `--example histories` runs as many as one likes.

use crate::{rival, world};
use std::sync::Mutex;

/// A planted bug is the whole process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn every_replica_shows_what_the_specification_says() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut counts = world::Counts::default();
    for seed in 0..2_000 {
        let (result, c, _) = world::run(seed, false);
        counts.add(&c);
        if let Err(v) = result {
            let (_, _, story) = world::run(seed, true);
            panic!("seed {seed}\n{story}{}", v.0);
        }
    }
    // What did not happen was not tested.
    let happened = [
        counts.duplicates,
        counts.early,
        counts.pending,
        counts.crashes,
        counts.lost_disks,
        counts.snapshots,
        counts.evictions,
        counts.unaware,
        counts.together,
        counts.salvaged,
        counts.diverged,
        counts.rosters,
        counts.old_rosters,
        counts.refused,
        counts.trims,
        counts.reconciled,
        counts.lists,
        counts.tombstones,
    ];
    assert!(happened.iter().all(|n| *n > 5), "{counts:?}");
}

#[test]
fn the_harness_finds_what_is_wrong_with_crdts_map() {
    let found = (0..20_000).filter(|seed| !rival::converges(*seed)).count();
    assert!(found > 0, "a harness that finds nothing in a type known not to converge");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn every_planted_bug_is_found_within_ten_thousand_histories() {
    use dwcp_crdt::planted::{Bug, plant};
    use dwcp_crdt::rga::planted::{Slip, plant as slip};
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    std::panic::set_hook(Box::new(|_| {}));
    let find = || {
        (0..10_000).find(|seed| {
            let caught = std::panic::catch_unwind(|| world::run(*seed, false).0.is_err());
            caught.unwrap_or(true)
        })
    };
    let mut found = Vec::new();
    for bug in Bug::ALL {
        plant(Some(bug));
        found.push((format!("{bug:?}"), find()));
        plant(None);
    }
    // The sequences' own, in a space. The others change what is typed, not whether replicas agree: `rga_mutants` finds them.
    for bug in [Slip::TieBreak, Slip::NameRetired, Slip::PurgeParents, Slip::ContractEarly] {
        slip(Some(bug));
        found.push((format!("{bug:?}"), find()));
        slip(None);
    }
    let _ours = std::panic::take_hook();
    for (bug, seed) in found {
        println!("{bug}: found by seed {seed:?}");
        assert!(seed.is_some(), "{bug} was not found in 10,000 histories");
    }
}
