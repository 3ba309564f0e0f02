//! Later faults, changed a little.
//!
//! **Invariant.** A fault is never given to another node, nor turned into another kind: who may
//! be hit by what was decided by the plan's atlas, and stays so. Times and lengths are free:
//! every plan of the atlas may hit the same node again, at any time before the heal.

use crate::expand::RunPlan;
use dwcp_env::{Duration, Instant, Purpose, Seed};
use dwcp_runtime_sim::fault::Fault;

const WHICH: Purpose = Purpose::named("search.mutate");
const BY: Purpose = Purpose::named("search.mutate_by");

/// Faults are shifted by up to this much.
const SHIFT: Duration = Duration::secs(3);
/// The shortest window that stretching leaves.
const SHORTEST: Duration = Duration::millis(10);

/// Changes faults that begin behind `from`: a quarter each is kept, shifted, stretched or
/// shrunk, and doubled or dropped. What began before stays, to the nanosecond.
pub fn faults(plan: &mut RunPlan, from: Instant, seed: Seed) {
    let heal_at = plan.world.heal_at;
    let (past, future): (Vec<Fault>, Vec<Fault>) = plan.world.faults.drain(..).partition(|f| f.at <= from);
    let mut kept = past;
    for (nth, fault) in future.into_iter().enumerate() {
        let below = |n: u64, purpose, k| seed.below(n, purpose, nth as u64, Instant::ZERO, k);
        let lasting = fault.until.since(fault.at);
        let moved = |f: &Fault, k: u64| {
            let room = SHIFT.as_nanos();
            let by = below(2 * room, BY, k);
            let at = (f.at + Duration::nanos(by)).as_nanos().saturating_sub(room);
            // Never into the past that is to stay, never behind the heal.
            let at = Instant::from_nanos(at.max(from.as_nanos() + 1)).min(heal_at);
            Fault { at, until: at + lasting, ..f.clone() }
        };
        match below(8, WHICH, 0) {
            0 | 1 => kept.push(fault),
            2 | 3 => kept.push(moved(&fault, 1)),
            4 | 5 => {
                // From a quarter of its length to four times it.
                let quarters = 1 + below(16, BY, 2);
                let until = fault.at + (lasting * quarters / 4).max(SHORTEST);
                kept.push(Fault { until, ..fault });
            }
            6 => {
                kept.push(moved(&fault, 3));
                kept.push(fault);
            }
            _ => {}
        }
    }
    kept.retain(|f| f.at < heal_at);
    kept.sort_by_key(|f| f.at);
    plan.world.faults = kept;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue;
    use crate::expand::expand;
    use dwcp_runtime_sim::fault::{FaultKind, Target};
    use std::collections::BTreeSet;

    #[test]
    fn the_past_stays_and_nobody_is_hit_by_what_the_plan_spared_them() {
        let swarm = catalogue::find("swarm/nine_nodes").unwrap();
        let mut differ = 0;
        for seed in 0..30 {
            let before = expand(&swarm, Seed(seed));
            let from = Instant::ZERO + Duration::secs(20);
            let mut after = before.clone();
            faults(&mut after, from, Seed(99));
            after.world.check().unwrap();
            let past =
                |p: &RunPlan| p.world.faults.iter().filter(|f| f.at <= from).cloned().collect::<Vec<_>>();
            assert_eq!(past(&after), past(&before), "seed {seed}");
            assert!(after.world.faults.iter().all(|f| f.at < after.world.heal_at));
            let hit = |p: &RunPlan| -> BTreeSet<(FaultKind, Option<u64>)> {
                let who = |f: &Fault| if let Target::Node(n) = f.target { Some(n.0) } else { None };
                p.world.faults.iter().map(|f| (f.kind(), who(f))).collect()
            };
            assert!(hit(&after).is_subset(&hit(&before)), "seed {seed}");
            differ += usize::from(after.world.faults != before.world.faults);
        }
        assert!(differ > 20, "{differ} of 30 were changed");
    }
}
