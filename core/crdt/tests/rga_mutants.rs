//! The histories find each bug that is planted: `cargo test -p dwcp-crdt --features planted-bugs --test rga_mutants`.
#![cfg(feature = "planted-bugs")]
#![allow(clippy::disallowed_macros, reason = "says which history found each")]

#[path = "rga/histories.rs"]
mod histories;
#[path = "rga/spec.rs"]
mod spec;
#[path = "rga/world.rs"]
mod world;

use dwcp_crdt::rga::planted::{Bug, plant};
use std::panic::catch_unwind;

/// Histories within which each must be found.
const WITHIN: u64 = 10_000;

#[test]
fn each_planted_bug_is_found() {
    // One after another: what is planted is planted for the process.
    std::panic::set_hook(Box::new(|_| {}));
    // Chains are shortened in a space's lists only: the histories of `--test crdt` find that one.
    for slip in Bug::ALL.into_iter().filter(|slip| *slip != Bug::ContractEarly) {
        plant(Some(slip));
        let finds = |seed: &u64| {
            !matches!(catch_unwind(|| histories::run(*seed, histories::steps(*seed))), Ok(Ok(())))
        };
        let found = (0..WITHIN).find(finds);
        plant(None);
        eprintln!(
            "{slip:?}: {}",
            found.map_or("not found".to_owned(), |seed| format!("history {}", seed + 1))
        );
        assert!(found.is_some(), "{slip:?} was not found within {WITHIN} histories");
    }
    for seed in 0..4000 {
        assert!(
            histories::run(seed, histories::steps(seed)).is_ok(),
            "with nothing planted seed {seed} holds"
        );
    }
}
