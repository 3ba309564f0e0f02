//! Epochs whose members may lie.
#![allow(missing_docs)]

#[path = "../chain/harness.rs"]
mod harness;

use crate::harness::{Answered, G, World, n};
use bytes::Bytes;
use dwcp_chain::{EngineKind, Spec, Switch};
use dwcp_consensus::pbft::{keys, seal};
use dwcp_consensus::{EngineError, Token};
use dwcp_env::{Duration, NodeId};

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
