//! Each invariant is shown a history that is good and histories that are known to be bad.
#![cfg(feature = "rehearsal")]

use dwcp_consensus::rehearsal::invariant::{
    Agreement, All, Answered, Blame, Complete, Dependencies, Deposed, Durable, Elected, InOrder, Kept, Live,
    Matching, OnlyProposed, Reads, Sealed,
};
use dwcp_consensus::rehearsal::{Fact, Invariant, NODES_MAX, Value};
use dwcp_env::NodeId;

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);

fn decided(node: NodeId, index: u64, value: Value, token: Option<u64>) -> Fact {
    Fact::Decided { node, index, class: 0, place: index, value, token }
}
fn of_key(node: NodeId, index: u64, class: u16, place: u64, number: u32) -> Fact {
    Fact::Decided { node, index, class, place, value: Value::Command(number), token: None }
}
const fn proposed(token: u64, number: u32) -> Fact {
    Fact::Proposed { node: A, token, number }
}
const fn command(number: u32) -> Value {
    Value::Command(number)
}
const fn refused(token: u64, certain: bool) -> Fact {
    Fact::Refused { node: A, token, certain }
}
const fn ended(node: NodeId, chain: u64, missing: Option<u32>, open: Option<u64>) -> Fact {
    Fact::Ended { node, chain, missing, open }
}
const fn readable(missing: Option<u32>) -> Fact {
    Fact::Readable { node: A, token: 1, applied: 7, missing }
}

/// `number`: nothing, or a command; `key`: all, or one.
fn settled(node: NodeId, instance: (u8, u64), number: Option<u32>, key: Option<u16>, on: &[u64]) -> Fact {
    let mut deps = [0; NODES_MAX];
    deps[..on.len()].copy_from_slice(on);
    Fact::Settled { node, instance, value: number.map(command), key, deps }
}

/// The fact, counted from 0, at which the history breaks the invariant.
fn breaks<I: Invariant + Default>(history: &[Fact]) -> Option<usize> {
    let mut invariant = I::default();
    history.iter().position(|fact| invariant.see(fact).is_err())
}

#[test]
fn a_good_history_passes_all() {
    let mut all = All::default();
    let history = [
        proposed(1, 1),
        proposed(2, 2),
        decided(A, 1, Value::Blank, None),
        decided(A, 2, command(1), Some(1)),
        Fact::Held { node: A, index: 2, enough: true, disks: 3 },
        decided(B, 1, Value::Blank, None),
        decided(B, 2, command(1), None),
        Fact::Asked { node: B, token: 3 },
        Fact::Readable { node: B, token: 3, applied: 2, missing: None },
        Fact::Crashed { node: A },
        Fact::Based { node: A, state: 0, protocol: 0, total: true },
        decided(A, 1, Value::Blank, None),
        decided(A, 2, command(1), None),
        decided(A, 3, command(2), None),
        Fact::Blamed { node: A, peer: NodeId(9), guilty: true },
        Fact::Elected { node: A, ballot: 3 },
        Fact::Complete { node: A, index: 1, decided: Value::Blank, held: Some(Value::Blank) },
        Fact::Accepted { node: A, index: 1, ballot: 3, value: Value::Blank },
        settled(A, (0, 1), Some(1), Some(1), &[]),
        settled(B, (0, 1), Some(1), Some(1), &[]),
        settled(B, (1, 1), Some(2), Some(1), &[1]),
        Fact::Sealed { node: A, order: 4 },
        Fact::Survived { silent: (1, 1) },
        Fact::Served { after: (1, 1) },
        ended(A, 5, None, None),
        ended(B, 5, None, None),
    ];
    for fact in &history {
        assert_eq!(all.see(fact), Ok(()), "{fact:?}");
    }
}

#[test]
fn agreement_sees_two_values_at_one_place() {
    let split = [decided(A, 1, command(1), None), decided(B, 1, command(2), None)];
    assert_eq!(breaks::<Agreement>(&split), Some(1));
    let blank = [decided(A, 1, command(1), None), decided(B, 1, Value::Blank, None)];
    assert_eq!(breaks::<Agreement>(&blank), Some(1));
    // The same node says something else after a crash.
    let changed =
        [decided(A, 1, command(1), None), Fact::Crashed { node: A }, decided(A, 1, command(2), None)];
    assert_eq!(breaks::<Agreement>(&changed), Some(2));
    // Two commands of one key trade places; those of two keys may.
    let conflict = [of_key(A, 1, 1, 1, 1), of_key(A, 2, 1, 2, 2), of_key(B, 1, 1, 1, 2)];
    assert_eq!(breaks::<Agreement>(&conflict), Some(2));
    let commute =
        [of_key(A, 1, 1, 1, 1), of_key(A, 2, 2, 1, 2), of_key(B, 1, 2, 1, 2), of_key(B, 2, 1, 1, 1)];
    assert_eq!(breaks::<Agreement>(&commute), None);
}

#[test]
fn order_sees_gaps_repetition_and_a_false_base() {
    let one = decided(A, 1, command(1), None);
    assert_eq!(breaks::<InOrder>(&[one, decided(A, 3, command(3), None)]), Some(1));
    assert_eq!(breaks::<InOrder>(&[one, one]), Some(1));
    assert_eq!(breaks::<InOrder>(&[decided(A, 2, command(1), None)]), Some(0));
    // A checkpoint holds 5; the protocol goes on behind 4, or repeats 5.
    let base = |protocol| Fact::Based { node: A, state: 5, protocol, total: true };
    assert_eq!(breaks::<InOrder>(&[base(4)]), Some(0));
    assert_eq!(breaks::<InOrder>(&[base(5), decided(A, 5, command(1), None)]), Some(1));
    assert_eq!(breaks::<InOrder>(&[base(5), decided(A, 6, command(1), None)]), None);
}

#[test]
fn only_what_was_proposed_and_not_refused_for_certain() {
    assert_eq!(breaks::<OnlyProposed>(&[decided(A, 1, command(1), None)]), Some(0));
    assert_eq!(breaks::<OnlyProposed>(&[decided(A, 1, Value::Foreign(7), None)]), Some(0));
    let lied = [proposed(1, 1), refused(1, true), decided(B, 1, command(1), None)];
    assert_eq!(breaks::<OnlyProposed>(&lied), Some(2));
    let late = [proposed(1, 1), decided(B, 1, command(1), None), refused(1, true)];
    assert_eq!(breaks::<OnlyProposed>(&late), Some(2));
    let unknown = [proposed(1, 1), refused(1, false), decided(B, 1, command(1), None)];
    assert_eq!(breaks::<OnlyProposed>(&unknown), None);
    let twice = [proposed(1, 1), decided(A, 1, command(1), None), decided(A, 2, command(1), None)];
    assert_eq!(breaks::<OnlyProposed>(&twice), Some(2));
}

#[test]
fn every_question_has_one_answer_of_its_own() {
    let answer = decided(A, 1, command(1), Some(1));
    assert_eq!(breaks::<Answered>(&[proposed(1, 1), answer, refused(1, false)]), Some(2));
    assert_eq!(breaks::<Answered>(&[answer]), Some(0));
    assert_eq!(breaks::<Answered>(&[proposed(1, 1), decided(B, 1, command(1), Some(1))]), Some(1));
    assert_eq!(breaks::<Answered>(&[proposed(1, 2), answer]), Some(1));
    assert_eq!(breaks::<Answered>(&[proposed(1, 1), readable(None)]), Some(1));
    // A new lifetime answers what the last one was asked.
    assert_eq!(breaks::<Answered>(&[proposed(1, 1), Fact::Crashed { node: A }, answer]), Some(2));
    assert_eq!(breaks::<Answered>(&[proposed(1, 1), ended(A, 0, None, Some(1))]), Some(1));
}

#[test]
fn the_others_see_what_the_world_weighed() {
    assert_eq!(breaks::<Reads>(&[readable(None), readable(Some(3))]), Some(1));
    let held = |enough| Fact::Held { node: A, index: 1, enough, disks: 1 };
    assert_eq!(breaks::<Durable>(&[held(true), held(false)]), Some(1));
    let blamed = |guilty| Fact::Blamed { node: A, peer: B, guilty };
    assert_eq!(breaks::<Blame>(&[blamed(true), blamed(false)]), Some(1));
    assert_eq!(breaks::<Kept>(&[ended(A, 1, None, None), ended(B, 2, None, None)]), Some(1));
    assert_eq!(breaks::<Kept>(&[ended(A, 1, Some(4), None)]), Some(0));
    assert_eq!(breaks::<Live>(&[Fact::Stuck { applied: (1, 2), left: 0 }]), Some(0));
    assert_eq!(
        breaks::<Live>(&[Fact::Survived { silent: (5, 5) }, Fact::Survived { silent: (6, 5) }]),
        Some(1)
    );
    assert_eq!(breaks::<Live>(&[Fact::Served { after: (5, 5) }, Fact::Served { after: (6, 5) }]), Some(1));
}

#[test]
fn one_leader_a_ballot_who_holds_what_is_decided_and_one_value_a_ballot() {
    let elected = |node, ballot| Fact::Elected { node, ballot };
    assert_eq!(breaks::<Elected>(&[elected(A, 1), elected(B, 2), elected(A, 1), elected(B, 1)]), Some(3));
    let holds = |held| Fact::Complete { node: A, index: 7, decided: command(1), held };
    assert_eq!(breaks::<Complete>(&[holds(Some(command(1))), holds(None)]), Some(1));
    assert_eq!(breaks::<Complete>(&[holds(Some(Value::Blank))]), Some(0));
    let accepted = |node, ballot, number| Fact::Accepted { node, index: 7, ballot, value: command(number) };
    let good = [accepted(A, 1, 1), accepted(B, 1, 1), accepted(B, 2, 2)];
    assert_eq!(breaks::<Matching>(&good), None);
    assert_eq!(breaks::<Matching>(&[accepted(A, 1, 1), accepted(B, 1, 2)]), Some(1));
}

#[test]
fn dependencies_are_agreed_on_and_join_all_that_interfere() {
    const K: Option<u16> = Some(1);
    let first = settled(A, (0, 1), Some(1), K, &[]);
    // One instance: another value, nothing instead, other dependencies.
    assert_eq!(breaks::<Dependencies>(&[first, first, settled(B, (0, 1), Some(2), K, &[])]), Some(2));
    assert_eq!(breaks::<Dependencies>(&[first, settled(B, (0, 1), None, K, &[])]), Some(1));
    assert_eq!(breaks::<Dependencies>(&[first, settled(B, (0, 1), Some(1), K, &[0, 1])]), Some(1));
    // Two that interfere: either may depend on the other, or both, but not neither.
    let second = |key, on: &[u64]| settled(B, (1, 4), Some(2), key, on);
    assert_eq!(breaks::<Dependencies>(&[first, second(K, &[1, 3])]), None);
    assert_eq!(breaks::<Dependencies>(&[second(K, &[0, 3]), settled(A, (0, 1), Some(1), K, &[0, 4])]), None);
    assert_eq!(breaks::<Dependencies>(&[first, second(K, &[0, 3])]), Some(1));
    assert_eq!(
        breaks::<Dependencies>(&[second(K, &[0, 3]), settled(A, (0, 1), Some(1), K, &[0, 3])]),
        Some(1)
    );
    // Another key does not interfere, what touches everything does, and nothing never does.
    assert_eq!(breaks::<Dependencies>(&[first, second(Some(2), &[0, 3])]), None);
    assert_eq!(breaks::<Dependencies>(&[first, second(None, &[0, 3])]), Some(1));
    assert_eq!(breaks::<Dependencies>(&[second(None, &[0, 3]), first]), Some(1));
    assert_eq!(breaks::<Dependencies>(&[first, settled(B, (1, 4), None, None, &[0, 3])]), None);
    // A replica's own commands too, and none waits for itself.
    assert_eq!(breaks::<Dependencies>(&[first, settled(A, (0, 2), Some(2), K, &[])]), Some(1));
    assert_eq!(breaks::<Dependencies>(&[settled(A, (0, 1), Some(1), K, &[1])]), Some(0));
}

#[test]
fn an_epoch_is_ended_by_who_asked_for_it() {
    let end = decided(A, 1, Value::Seal(7), None);
    assert_eq!(breaks::<OnlyProposed>(&[end]), Some(0));
    assert_eq!(breaks::<OnlyProposed>(&[Fact::Ends { seal: 7 }, end]), None);
}

#[test]
fn an_epoch_ends_at_one_place_and_takes_nothing_behind_it() {
    let sealed = |node, order| Fact::Sealed { node, order };
    assert_eq!(breaks::<Sealed>(&[sealed(A, 4), sealed(B, 4), sealed(A, 5)]), Some(2));
    assert_eq!(breaks::<Sealed>(&[sealed(A, 4), Fact::Unsealed { node: A, index: 9 }]), Some(1));
}

#[test]
fn who_looks_away_lets_others_see() {
    let mut all = All::default();
    all.blind = &["durability"];
    assert_eq!(all.see(&Fact::Held { node: A, index: 1, enough: false, disks: 1 }), Ok(()));
    assert!(all.see(&Fact::Stuck { applied: (1, 2), left: 0 }).is_err());
}

#[test]
fn the_deposed_serve_no_read_that_was_asked_for_after_a_successor_acknowledged() {
    let elected = |node, ballot| Fact::Elected { node, ballot };
    let served = Fact::Readable { node: A, token: 9, applied: 7, missing: None };
    let asked = Fact::Asked { node: A, token: 9 };
    let done = decided(B, 1, command(1), Some(1));
    assert_eq!(breaks::<Deposed>(&[elected(A, 3), elected(B, 4), done, asked, served]), Some(4));
    assert_eq!(
        breaks::<Deposed>(&[elected(A, 3), elected(B, 4), asked, done, served]),
        None,
        "asked for before"
    );
    assert_eq!(
        breaks::<Deposed>(&[elected(A, 3), elected(B, 4), asked, served]),
        None,
        "nothing was acknowledged"
    );
    assert_eq!(
        breaks::<Deposed>(&[elected(A, 3), elected(B, 4), done, elected(A, 5), asked, served]),
        None,
        "it leads again"
    );
}
