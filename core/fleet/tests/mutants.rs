//! Every planted bug is found by a seed of its own, by an invariant that it breaks; found anew for a bug whose seed has
//! ceased to, by `rehearse_fleet --mutant BUG`.

use dwcp_fleet::planted::{Bug, plant};
use dwcp_fleet::rehearsal::run;

/// The bug, and a seed that finds it.
const SEEDS: &[(Bug, u64)] = &[(Bug::LeaseWithoutEpoch, 1)];

/// One test, since a bug is planted for the whole process.
#[test]
fn every_bug_is_found_by_what_it_breaks() {
    let mut wrong = Vec::new();
    for bug in Bug::ALL {
        let Some((_, seed)) = SEEDS.iter().find(|(known, _)| *known == bug) else {
            wrong.push(format!("{bug:?} has no seed"));
            continue;
        };
        assert!(run(*seed).is_ok(), "seed {seed} fails without a bug");
        plant(Some(bug));
        let found = run(*seed);
        plant(None);
        match found {
            Err(failure) if bug.breaks().contains(&failure.broken.invariant) => {}
            Err(failure) => wrong.push(format!("{bug:?} by seed {seed}: something else: {failure}")),
            Ok(_) => wrong.push(format!("{bug:?} is not found by seed {seed}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
