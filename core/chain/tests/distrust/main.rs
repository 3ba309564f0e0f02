//! Epochs whose members may lie.
#![allow(missing_docs)]

#[path = "../chain/harness.rs"]
mod harness;

use crate::harness::{Answered, G, World, config, engine_of, genesis, n};
use bytes::Bytes;
use dwcp_chain::{Distrust, EngineKind, Spec, Switch};
use dwcp_consensus::pbft::{keys, seal};
use dwcp_consensus::{EngineError, MemberChange, Position, Token};
use dwcp_env::{Duration, Lane, NodeId};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

const OPERATOR: [u8; 32] = [99; 32];

fn to_pbft() -> Switch {
    Switch { engine: EngineKind::Pbft, operator: Some(keys::public(&OPERATOR)), ..Switch::default() }
}

fn spec(w: &World, id: NodeId) -> Spec {
    w.life(id).and_then(|l| l.host.group(G)).expect("it is up").spec()
}

/// A switch out, signed with this secret.
fn out(w: &World, id: NodeId, engine: EngineKind, secret: &[u8; 32]) -> Switch {
    let current = spec(w, id);
    let to = Switch { engine, ..Switch::default() };
    let next = to.next(&current, current.members.clone(), None);
    Switch { signed: Some(seal::seal(secret, &current.realm(G), &next.encode())), ..to }
}

fn ask(w: &mut World, id: NodeId, to: Switch) -> Token {
    w.ask(id, |h, t| h.switch(G, t, None, to))
}

fn refusal(w: &mut World, id: NodeId, to: Switch) -> String {
    let token = ask(w, id, to);
    match w.answer(token) {
        Answered::Done(Err(EngineError::Refused(why))) => why,
        other => panic!("{other:?}"),
    }
}

/// Four nodes that take checkpoints often, in an epoch under PBFT.
fn distrustful(seed: u64) -> World {
    let mut w = World::cluster(seed, 4, EngineKind::Raft);
    for id in [1, 2, 3, 4].map(n) {
        w.configure(id, |c| c.raft.snapshot_entries = 32);
        w.crash(id);
        w.start(id);
    }
    let leader = w.elect();
    let token = ask(&mut w, leader, to_pbft());
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.until(Duration::secs(20), |w| w.up().into_iter().all(|id| w.epoch(id) == 1)).expect("all come");
    w
}

#[test]
fn in_with_everybodys_keys_and_out_with_the_operators_signature() {
    let mut w = World::cluster(1, 4, EngineKind::Raft);
    let leader = w.elect();
    w.write(G, "under raft");
    let without = Switch { operator: None, ..to_pbft() };
    assert!(refusal(&mut w, leader, without).contains("--operator"));
    let token = ask(&mut w, leader, to_pbft());
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.until(Duration::secs(20), |w| w.up().into_iter().all(|id| w.epoch(id) == 1)).expect("all come");
    let distrust = spec(&w, leader).distrust.expect("keys");
    assert_eq!(distrust.public[&n(3)], keys::public(&[3; 32]));
    w.write_at(n(2), "under pbft");

    let unsigned = Switch { engine: EngineKind::Paxos, ..Switch::default() };
    assert!(refusal(&mut w, n(1), unsigned).contains("--sign-with"));
    let forged = out(&w, n(1), EngineKind::Paxos, &[1; 32]);
    assert!(refusal(&mut w, n(1), forged).contains("signature"));
    let signed = out(&w, n(1), EngineKind::Paxos, &OPERATOR);
    let token = ask(&mut w, n(1), signed);
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    w.until(Duration::secs(20), |w| w.up().into_iter().all(|id| w.epoch(id) == 2)).expect("all come");
    w.write_at(n(1), "under paxos");
    let agreed = w.agreed();
    assert_eq!(agreed, ["under raft", "under pbft", "under paxos"].map(Bytes::from));
}

#[test]
fn who_has_no_key_is_named_and_three_are_too_few() {
    let mut w = World::cluster(2, 4, EngineKind::Raft);
    let leader = w.elect();
    let keyless = w.up().into_iter().find(|id| *id != leader).unwrap();
    w.configure(keyless, |c| c.secret = None);
    w.crash(keyless);
    w.start(keyless);
    let leader = w.elect();
    if leader != keyless {
        let why = refusal(&mut w, leader, to_pbft());
        assert!(why.contains(&keyless.to_string()) && why.contains("keys"), "{why}");
        assert_eq!(w.epoch(leader), 0);
    }
    let mut few = World::cluster(2, 3, EngineKind::Raft);
    let leader = few.elect();
    assert!(refusal(&mut few, leader, to_pbft()).contains("4 members"));
}

#[test]
fn who_was_away_takes_a_state_that_a_quorum_has_signed() {
    let mut w = distrustful(3);
    w.crash(n(4));
    for _ in 0..120 {
        w.write_at(n(1), "while it was away");
    }
    assert!(w.marked("chain.checkpoint_proved"));
    w.start(n(4));
    assert_eq!(w.agreed().len(), 120);
    assert!(w.marked("chain.checkpoint_installed") && !w.marked("chain.state_not_believed"));
    // It goes on as a member like the others.
    w.crash(n(1));
    w.write_at(n(4), "with it");
    assert_eq!(w.agreed().len(), 121);
}

#[test]
fn who_was_left_behind_an_epochs_end_believes_the_operators_seal() {
    let mut w = distrustful(5);
    w.crash(n(4));
    w.write_at(n(1), "before the end");
    let signed = out(&w, n(1), EngineKind::Paxos, &OPERATOR);
    let token = ask(&mut w, n(1), signed);
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    // Longer than an ended epoch is kept for the late.
    for _ in 0..40 {
        w.write_at(n(1), "behind it");
        w.run(Duration::secs(1));
    }
    assert!(w.marked("chain.epoch_let_go"));
    w.start(n(4));
    w.until(Duration::secs(60), |w| w.epoch(n(4)) == 2).expect("it comes");
    assert_eq!(w.agreed().len(), 41);
    assert!(w.marked("chain.checkpoint_installed"));
}

/// The one who is not the leader and comes last.
fn follower(w: &mut World) -> NodeId {
    let leader = w.elect();
    w.up().into_iter().rfind(|id| *id != leader).expect("four nodes")
}

#[test]
fn who_is_behind_by_reads_alone_is_brought_up() {
    let mut w = distrustful(7);
    w.write_at(n(1), "before");
    w.run(Duration::secs(1));
    w.crash(n(4));
    // Each takes a place of the order, and none an index.
    for _ in 0..60 {
        let token = w.barrier(n(1));
        assert_eq!(w.answer(token), Answered::Barrier(Ok(())));
    }
    w.start(n(4));
    w.run(Duration::secs(20));
    w.crash(n(2));
    w.write_at(n(1), "with it");
    assert_eq!(w.agreed().len(), 2);
}

#[test]
fn reads_before_the_first_write_do_not_fill_the_window() {
    let ids = [1, 2, 3, 4];
    let mut first = genesis(EngineKind::Pbft, &ids);
    let public = ids.iter().map(|id| (n(*id), keys::public(&[*id as u8; 32]))).collect();
    first.distrust = Some(Distrust { operator: keys::public(&OPERATOR), public, interval: 8 });
    let mut w = World::new(11);
    for id in ids {
        w.add(n(id), [(G, config(id, Some(first.clone())))].into());
    }
    w.elect_any();
    for nth in 0..60 {
        let token = w.barrier(n(1));
        assert_eq!(w.answer(token), Answered::Barrier(Ok(())), "read {nth}");
    }
    for id in ids {
        assert_eq!(w.fatal(n(id)), None);
    }
    w.write_at(n(2), "after");
    assert_eq!(w.agreed().len(), 1);
}

#[test]
fn who_was_down_at_the_switch_comes_in_before_anything_is_proved() {
    let mut w = World::cluster(13, 4, EngineKind::Raft);
    let late = follower(&mut w);
    w.write(G, "before");
    // It tells its key, and hears nothing of the seal.
    w.sieve = Some(Box::new(move |_, to, _, body| to != late || engine_of(body).is_none()));
    let leader = w.elect();
    let token = ask(&mut w, leader, to_pbft());
    assert_eq!(w.answer(token), Answered::Done(Ok(())));
    let come = |w: &World| w.up().into_iter().all(|id| id == late || w.epoch(id) == 1);
    w.until(Duration::secs(20), come).expect("the others come");
    w.crash(late);
    w.sieve = None;
    w.write_at(leader, "behind it");
    // Longer than an ended epoch is kept for the late.
    w.run(Duration::secs(40));
    assert!(w.marked("chain.epoch_let_go") && !w.marked("chain.checkpoint_proved"));
    w.start(late);
    w.until(Duration::secs(60), |w| w.epoch(late) == 1).expect("it comes");
    assert_eq!(w.agreed().len(), 2);
    let other = w.up().into_iter().find(|id| *id != late).unwrap();
    w.crash(other);
    w.write_at(late, "with it");
}

#[test]
fn a_transfer_that_outlasts_four_checkpoints_counts_all_the_same() {
    let mut w = distrustful(15);
    w.crash(n(4));
    for _ in 0..200 {
        w.write_at(n(1), "while it was away");
    }
    // A piece is 64 bytes: there and back for each takes longer than four intervals of writes.
    w.latency = (Duration::millis(15), Duration::millis(20));
    w.start(n(4));
    for _ in 0..600 {
        w.write_at(n(1), "while it comes");
        if w.marked("chain.checkpoint_installed") {
            break;
        }
    }
    assert!(w.marked("chain.checkpoint_installed") && !w.marked("chain.checkpoint_not_admitted"));
    w.agreed();
}

/// What a chain says first, as the wire has it.
#[derive(serde::Serialize)]
enum Said {
    Here { applied: u64, silent: bool, leader: Option<u64>, pulse: Option<u8> },
    Offer { at: Position },
}

fn said(epoch: u32, what: &Said) -> Bytes {
    let mut body = vec![1];
    body.extend(epoch.to_le_bytes());
    body.extend([0; 8]);
    body.extend(dwcp_env::wire::encode(what));
    body.into()
}

#[test]
fn who_boasts_or_offers_without_end_is_asked_less_and_less() {
    for engine in [EngineKind::Paxos, EngineKind::Pbft] {
        let mut w = distrustful(17);
        if engine == EngineKind::Paxos {
            let signed = out(&w, n(1), engine, &OPERATOR);
            let token = ask(&mut w, n(1), signed);
            assert_eq!(w.answer(token), Answered::Done(Ok(())));
            w.until(Duration::secs(20), |w| w.up().into_iter().all(|id| w.epoch(id) == 2)).expect("all come");
        }
        w.crash(n(4));
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        // Asked for state: on the lane of states, from the first to the fourth.
        w.sieve = Some(Box::new(move |from, to, lane, _| {
            count.set(count.get() + u32::from(from == n(1) && to == n(4) && lane == Lane::Bulk));
            true
        }));
        let (here, at) = (w.epoch(n(1)), Position { term: u64::MAX, index: u64::MAX >> 1 });
        for _ in 0..240 {
            let boast =
                said(here + 5, &Said::Here { applied: 1 << 40, silent: false, leader: None, pulse: None });
            w.inject(n(4), n(1), Lane::Control, boast);
            w.inject(n(4), n(1), Lane::Control, said(here, &Said::Offer { at }));
            w.run(Duration::millis(500));
        }
        assert!((1..=60).contains(&asked.get()), "{engine}: asked {} times in two minutes", asked.get());
        w.write_at(n(1), "all the same");
    }
}

#[test]
fn who_is_removed_while_keys_are_asked_for_is_no_member_of_the_next_epoch() {
    let mut w = World::cluster(19, 5, EngineKind::Raft);
    let leader = w.elect();
    let others: Vec<NodeId> = w.up().into_iter().filter(|id| *id != leader).collect();
    let (slow, gone) = (others[0], others[1]);
    // One key does not come yet.
    w.sieve = Some(Box::new(move |from, _, _, body| from != slow || engine_of(body).is_some()));
    let switch = ask(&mut w, leader, to_pbft());
    w.run(Duration::secs(1));
    let change = w.change(leader, MemberChange::Remove(BTreeSet::from([gone])));
    assert_eq!(w.answer(change), Answered::Done(Ok(())));
    w.sieve = None;
    assert_eq!(w.answer(switch), Answered::Done(Ok(())));
    w.until(Duration::secs(20), |w| w.epoch(leader) == 1).expect("it comes");
    let members = spec(&w, leader).members;
    assert!(members.voters.len() == 4 && !members.voters.contains(&gone), "{members:?}");
    w.write_at(leader, "without it");
}
