//! What the log must hold, however it was compacted.

use super::super::bundle::Batch;
use super::super::message::Message;
use super::super::{Message as M, Pbft};
use super::table::Table;
use crate::step::{Input, Protocol};
use dwcp_env::{Duration, Instant, NodeId};

fn all(_: usize, _: usize, _: &Message) -> bool {
    true
}

/// A view carries a batch on; its place is behind a checkpoint; the log is compacted; a primary that lies has the same
/// batch ordered again. Who takes note of it must be able to start from its log.
#[test]
fn a_batch_ordered_again_is_logged_again() {
    let mut t = Table::of(4);
    t.propose(0, 1, b"again");
    t.settle(|_, _, m| !matches!(m, M::Commit { .. }));
    let without_first =
        |from: usize, to: usize, m: &M| from != 0 && to != 0 && !matches!(m, M::Commit { view: 0, .. });
    for _ in 0..60 {
        t.wait(Duration::millis(10));
        t.settle(without_first);
    }
    assert_eq!(t.order(2), ["again"]);
    let view = t.nodes[2].view;
    let primary = t.nodes[2].config.primary(view);
    assert!(view > 0 && primary != 2);
    let digest = t.nodes[2].entered.as_ref().unwrap().chosen[0];
    let batch: Batch = (*t.nodes[2].batches[&digest].batch).clone();
    // The order goes on until the place is forgotten.
    for token in 2..8 {
        t.propose(2, token, b"more");
        t.settle(without_first);
        t.vouch(1..4, [token as u8; 32]);
        t.settle(without_first);
    }
    assert!(!t.nodes[2].slots.contains_key(&1), "low is {}", t.nodes[2].low);
    assert_eq!(t.nodes[2].view, view);
    t.disks[2] = t.nodes[2].compact();
    let seq = t.nodes[2].point.seq + 1;
    let message = t.pre_prepare(primary, 2, view, seq, &batch);
    t.input(2, Input::Message { from: NodeId(primary as u64 + 1), message });
    assert!(t.nodes[2].slots[&seq].noted.is_some());
    let config = t.nodes[2].config.clone();
    let mark = t.marks[2].last().cloned();
    let again = Pbft::recover(config, mark.as_ref(), t.disks[2].clone(), Instant::ZERO);
    assert!(again.is_ok(), "{again:?}");
}

/// The same without a liar: what a new view leaves behind its base is proposed again.
#[test]
fn every_compaction_then_every_suffix_is_a_start() {
    let mut t = Table::of(4);
    for token in 1..20_u64 {
        t.propose((token % 4) as usize, token, b"x");
        t.settle(all);
        t.vouch(0..4, [token as u8; 32]);
        t.settle(all);
        for node in 0..4 {
            let config = t.nodes[node].config.clone();
            let mark = t.nodes[node].mark();
            assert!(Pbft::recover(config, Some(&mark), t.nodes[node].compact(), t.now).is_ok());
            let named: std::vec::Vec<_> = t.nodes[node]
                .slots
                .values()
                .flat_map(|s| s.ever_noted.iter().map(|(_, d)| *d).chain(s.decided))
                .collect();
            let nothing = t.nodes[node].nothing;
            for (digest, held) in &t.nodes[node].batches {
                assert!(
                    !held.logged || *digest == nothing || named.contains(digest),
                    "logged, and nobody names it"
                );
            }
        }
    }
}
