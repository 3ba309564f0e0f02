//! The sequence against its textbook: order, histories, states, bytes, traces.

mod histories;
mod interleaving;
mod promises;
mod spec;
mod states;
mod traces;
mod world;

/// More of them: `cargo run --release -p dwcp-crdt --example rga_hunt`.
#[test]
fn every_replica_reads_as_the_textbook_says() {
    for seed in 0..4000 {
        if let Err(story) = histories::run(seed, histories::steps(seed)) {
            panic!("{story}");
        }
    }
}
