//! The histories find each bug that is planted in a space, and in the rules its nodes keep:
//! `cargo test --profile sim -p dwcp-crdt --features planted-bugs --test mutants`. A binary of its own: what is planted is planted for the process.
#![cfg(feature = "planted-bugs")]
#![allow(clippy::disallowed_macros, reason = "says which history found each")]

#[path = "../examples/histories/draw.rs"]
mod draw;
#[path = "../examples/histories/spec.rs"]
mod spec;
#[path = "../examples/histories/world.rs"]
#[allow(dead_code, reason = "what is counted and told is for those who look at a history")]
mod world;

use dwcp_crdt::planted::{Bug, plant};
use dwcp_crdt::rga::planted::{Bug as Slip, plant as slip};
use std::panic::catch_unwind;

/// Histories within which each must be found.
const WITHIN: u64 = 20_000;

fn find() -> Option<u64> {
    (0..WITHIN).find(|seed| catch_unwind(|| world::run(*seed, false).0.is_err()).unwrap_or(true))
}

#[test]
fn each_planted_bug_is_found() {
    std::panic::set_hook(Box::new(|_| {}));
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
    for (bug, seed) in &found {
        println!("{bug}: found by seed {seed:?}");
    }
    let missed: Vec<&String> = found.iter().filter(|(_, seed)| seed.is_none()).map(|(bug, _)| bug).collect();
    assert!(missed.is_empty(), "not found: {missed:?}");
}
