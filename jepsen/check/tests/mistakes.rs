//! Mistakes planted in the checkers turn the table of anomalies red.
#![cfg(feature = "planted-mistakes")]

mod table;

use dwcp_check::mistake::{Mistake, plant};
use table::TABLE;

#[test]
fn every_mistake_is_caught() {
    let mut missed = Vec::new();
    for mistake in Mistake::ALL {
        plant(Some(*mistake));
        let by = TABLE.iter().filter(|case| case.is_red()).count();
        plant(None);
        println!("{mistake:?}: {by} cases are red");
        if by == 0 {
            missed.push(*mistake);
        }
    }
    let green = TABLE.iter().all(|case| !case.is_red());
    assert!(green, "without a mistake the table is green");
    let (all, caught) = (Mistake::ALL.len(), Mistake::ALL.len() - missed.len());
    println!("{caught} of {all} caught");
    assert!(caught * 100 >= all * 95, "missed: {missed:?}");
}
