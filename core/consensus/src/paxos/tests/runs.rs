//! The log of runs beside a plain map of slots.

use crate::paxos::Ballot;
use crate::paxos::config::SLOT_BYTES;
use crate::paxos::log::{Batch, Log, Run};
use crate::step::Payload;
use bytes::Bytes;
use dwcp_env::{Instant, NodeId, Purpose, Seed};
use std::collections::BTreeMap;
use std::vec::Vec;

type Model = BTreeMap<u64, (Ballot, Payload)>;

fn run(first: u64, round: u64, len: u64, tag: u64) -> Run {
    let payload = |i| Payload::Command(Bytes::from(std::format!("{tag}/{i}")));
    let ballot = Ballot { round, node: NodeId(1) };
    Run { first, ballot, batch: Batch::new((0..len).map(payload).collect()) }
}

fn agree(log: &Log, model: &Model) {
    let flat = |r: &Run| (r.first..=r.last()).map(|s| (s, (r.ballot, r.at(s).clone()))).collect::<Vec<_>>();
    let all: Vec<_> = log.runs().flat_map(flat).collect();
    let told: Vec<_> = model.iter().map(|(s, v)| (*s, v.clone())).collect();
    assert_eq!(all, told);
    assert_eq!(log.bytes(), model.values().map(|(_, p)| p.len() + SLOT_BYTES).sum::<usize>());
    for slot in 0..40 {
        assert_eq!(log.get(slot), model.get(&slot).map(|(b, p)| (*b, p)));
        let within: Vec<_> = log.within(slot..=slot + 7).collect();
        let told: Vec<_> = model.range(slot..=slot + 7).map(|(s, v)| (*s, v.clone())).collect();
        assert_eq!(within.iter().flat_map(flat).collect::<Vec<_>>(), told);
        let unbroken = (slot + 1..).take_while(|s| model.contains_key(s)).last().unwrap_or(slot);
        assert_eq!(log.unbroken(slot + 1), unbroken);
        let ballot = Ballot { round: 2, node: NodeId(1) };
        let has = |s: &u64| model.get(s).is_some_and(|(b, _)| *b == ballot);
        assert_eq!(log.reach(slot + 1, ballot), (slot + 1..).take_while(has).last().unwrap_or(slot));
    }
}

#[test]
fn a_log_of_runs_is_a_map_of_slots() {
    const P: Purpose = Purpose::named("runs");
    for seed in 0..200 {
        let draw = |n, i, k| Seed(seed).below(n, P, i, Instant::ZERO, k);
        let (mut log, mut model) = (Log::default(), Model::new());
        for i in 0..40 {
            let r = run(1 + draw(30, i, 0), draw(4, i, 1), 1 + draw(6, i, 2), i);
            let slots = r.first..=r.last();
            match draw(8, i, 3) {
                0 => {
                    log.forget(r.first);
                    model.retain(|s, _| *s > r.first);
                }
                1..4 => {
                    for s in slots {
                        if model.get(&s).is_none_or(|(b, _)| *b < r.ballot) {
                            model.insert(s, (r.ballot, r.at(s).clone()));
                        }
                    }
                    log.raise(&r);
                }
                _ => {
                    slots.for_each(|s| drop(model.insert(s, (r.ballot, r.at(s).clone()))));
                    log.put(r);
                }
            }
            agree(&log, &model);
        }
        // Pieces put together are the whole.
        let (mut from, mut pieces) = (Some(1), Log::default());
        while let Some(first) = from {
            let (runs, next) = log.piece(first..=u64::MAX, 9, 3);
            assert!(runs.iter().map(|r| r.batch.len()).sum::<usize>() <= 3);
            runs.into_iter().for_each(|r| pieces.put(r));
            from = next;
        }
        agree(&pieces, &model);
    }
}
