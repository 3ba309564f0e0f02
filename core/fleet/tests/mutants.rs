//! Planted bugs are found by seeds of their own, by an invariant that they break; a seed that has ceased to is found anew by
//! `rehearse_fleet --mutant BUG`.

use dwcp_fleet::planted::{Bug, plant};
use dwcp_fleet::rehearsal::run;

/// The bug, and a seed that finds it. The others take hundreds of runs and more: docs/fleet.md says how many.
const SEEDS: &[(Bug, u64)] = &[
    (Bug::LeaseWithoutEpoch, 0),
    (Bug::StorageUnfenced, 1),
    (Bug::EscrowSpentTwice, 0),
    (Bug::YieldWhileRunning, 0),
    (Bug::AllocatorOutsideBlock, 0),
    (Bug::DeleteFreesFirst, 0),
    (Bug::ClockTrusted, 223),
    (Bug::OrdersOvertake, 6),
    (Bug::OthersReadFirst, 811),
    (Bug::ReadsUnchecked, 322),
    (Bug::OpenedAtOnce, 101),
    (Bug::FoundUnseen, 4),
    (Bug::NumberUnbound, 0),
    (Bug::PurgedWhilePlaced, 0),
    (Bug::CallBackIgnored, 24),
    (Bug::StartUnadmitted, 0),
    (Bug::DoneTwice, 3),
    (Bug::StartUnrenewed, 6),
    (Bug::LeavingTakenBack, 181),
    (Bug::RenewedInVain, 1_587),
    (Bug::OldNewsBelieved, 2),
];

/// One test, since a bug is planted for the whole process.
#[test]
fn every_bug_is_found_by_what_it_breaks() {
    let mut wrong = Vec::new();
    for (bug, seed) in SEEDS.iter().copied() {
        assert!(run(seed).is_ok(), "seed {seed} fails without a bug");
        plant(Some(bug));
        let found = run(seed);
        plant(None);
        match found {
            Err(failure) if bug.breaks().contains(&failure.broken.invariant) => {}
            Err(failure) => wrong.push(format!("{bug:?} by seed {seed}: something else: {failure}")),
            Ok(_) => wrong.push(format!("{bug:?} is not found by seed {seed}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
