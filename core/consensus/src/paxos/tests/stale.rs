//! What comes late, again or from a life before changes nothing that counts, and is nobody's fault.

use crate::engine::{Role, Token};
use crate::paxos::log::{Batch, Run};
use crate::paxos::{Ballot, Config, Message, Paxos, Record, Times};
use crate::quorum::System;
use crate::step::{Input, Output, Outputs, Payload, Protocol, Ticket};
use dwcp_env::{Duration, Instant, NodeId};
use std::vec;
use std::vec::Vec;

fn config(node: u64) -> Config {
    let all = (1..=3).map(NodeId).collect();
    Config::new(NodeId(node), all, System::Majority { members: 3 }, 1, Times::default()).unwrap()
}

fn fresh() -> Paxos {
    Paxos::recover(config(1), None, [], Instant::ZERO).unwrap()
}

const fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round, node: NodeId(node) }
}

fn blank(first: u64, ballot: Ballot) -> Run {
    Run { first, ballot, batch: Batch::new(vec![Payload::Blank]) }
}

fn hear(core: &mut Paxos, now: Instant, from: u64, message: Message) -> Outputs<Paxos> {
    let mut out = Vec::new();
    core.step(now, Input::Message { from: NodeId(from), message }, &mut out);
    out
}

fn accept(ballot: Ballot, first: u64, payload: Payload) -> Message {
    Message::Accept { ballot, first, batch: Batch::new(vec![payload]), decided: first - 1 }
}

const fn ping(ballot: Ballot, upto: u64) -> Message {
    Message::Ping { ballot, seq: 1, connected: true, decided: upto, proposed: upto }
}

fn sent(out: &Outputs<Paxos>) -> Vec<Message> {
    let each = out.iter().filter_map(|o| match o {
        Output::Send { message, .. } => Some(message.clone()),
        _ => None,
    });
    each.collect()
}

/// A leader that crashed had sent `a`; its successor's quorum did not have it, and chose a blank there.
#[test]
fn a_late_accept_of_a_deposed_leader_is_refused_and_not_blamed() {
    let late = || accept(ballot(1, 2), 2, Payload::Command("a".into()));
    let refused = |core: &mut Paxos| {
        let out = hear(core, Instant::ZERO, 2, late());
        assert_eq!(sent(&out), [Message::Reject { ballot: ballot(1, 2), promised: ballot(2, 3) }]);
        assert!(!out.iter().any(|o| matches!(o, Output::Blame { .. })), "{out:?}");
    };
    let mut core = fresh();
    hear(&mut core, Instant::ZERO, 2, accept(ballot(1, 2), 1, Payload::Blank));
    hear(&mut core, Instant::ZERO, 3, ping(ballot(2, 3), 2));
    let mut only_pinged = core.clone();
    let told = Message::Learn { runs: vec![blank(1, ballot(1, 2)), blank(2, ballot(2, 3))], decided: 2 };
    hear(&mut core, Instant::ZERO, 3, told);
    assert_eq!(core.standing().decided, 2);
    refused(&mut core);
    refused(&mut only_pinged);
    // What it learned is on disk, and says so after a crash too.
    let chosen = vec![Record::Chosen(vec![blank(1, ballot(1, 2)), blank(2, ballot(2, 3))])];
    let mut core = Paxos::recover(config(1), None, chosen, Instant::ZERO).unwrap();
    refused(&mut core);
}

/// Hearing of a leader is no promise: what others count on goes to the disk first.
#[test]
fn a_ballot_heard_of_is_promised_on_disk_before_anybody_is_told() {
    for first in [ping(ballot(2, 3), 0), Message::Learn { runs: vec![blank(1, ballot(2, 3))], decided: 1 }] {
        let mut core = fresh();
        let noted = hear(&mut core, Instant::ZERO, 3, first);
        let noted = noted.iter().filter(|o| matches!(o, Output::Persist { .. })).count() as u64;
        core.step(Instant::ZERO, Input::Persisted(Ticket(noted)), &mut Vec::new());
        let out = hear(&mut core, Instant::ZERO, 3, Message::Prepare { ballot: ballot(2, 3), from: 2 });
        let ticket = Ticket(noted + 1);
        let record = Record::Promised(ballot(2, 3));
        assert_eq!(out[0], Output::Persist { ticket, record });
        let waits = |o: &Output<Message, Record>| matches!(o, Output::Send { message: Message::Promise { .. }, after: Some(t), .. } if *t == ticket);
        assert!(waits(&out[1]), "{out:?}");
        // Asked again, it has promised already.
        core.step(Instant::ZERO, Input::Persisted(ticket), &mut Vec::new());
        let again = hear(&mut core, Instant::ZERO, 3, Message::Prepare { ballot: ballot(2, 3), from: 2 });
        assert_eq!(again.len(), 1, "{again:?}");
    }
}

/// The leader of ballot 1.2 goes on sending heartbeats that were on their way when 2.3 took over.
#[test]
fn heartbeats_of_a_deposed_leader_do_not_hide_its_successor() {
    let mut core = fresh();
    hear(&mut core, Instant::ZERO, 3, ping(ballot(2, 3), 0));
    let out = hear(&mut core, Instant::ZERO, 2, ping(ballot(1, 2), 0));
    assert_eq!(sent(&out), [Message::Reject { ballot: ballot(1, 2), promised: ballot(2, 3) }]);
    let out = hear(&mut core, Instant::ZERO, 2, Message::Canvass { round: 1 });
    let heard = matches!(sent(&out)[..], [Message::Opinion { hears: Some(b), .. }] if b == ballot(2, 3));
    assert!(heard, "{out:?}");
}

/// What was learned of a later leadership ends one's own candidacy.
#[test]
fn who_learns_of_a_higher_ballot_does_not_go_on_standing() {
    let mut core = leader_to_be();
    let told = Message::Learn { runs: vec![blank(1, ballot(9, 3))], decided: 1 };
    hear(&mut core, Instant::ZERO, 3, told);
    assert_eq!(core.standing().role, Role::Follower);
}

/// n1, which has asked and waits for promises.
fn leader_to_be() -> Paxos {
    let mut core = fresh();
    let now = core.wake_at();
    let mut out = Vec::new();
    core.step(now, Input::Tick, &mut out);
    let Some(Message::Canvass { round }) = sent(&out).first().cloned() else { panic!("{out:?}") };
    let free = Message::Opinion { round, hears: None, promised: ballot(0, 0), decided: 0, base: 0 };
    hear(&mut core, now, 2, free);
    core.step(now, Input::Persisted(Ticket(1)), &mut Vec::new());
    assert_eq!(core.standing().role, Role::Candidate);
    core
}

/// n1, which leads with n2's promise; n3 was never heard.
fn leader() -> (Paxos, Instant) {
    let mut core = leader_to_be();
    let now = core.wake_at();
    let promise = Message::Promise { ballot: ballot(1, 1), from: 1, next: None, decided: 0, runs: vec![] };
    hear(&mut core, now, 2, promise);
    core.step(now, Input::Persisted(Ticket(2)), &mut Vec::new());
    hear(&mut core, now, 2, Message::AcceptOk { ballot: ballot(1, 1), first: 1, last: 1 });
    assert_eq!((core.standing().role, core.standing().decided), (Role::Leader, 1));
    (core, now)
}

#[test]
fn leadership_is_handed_to_those_who_are_heard_only() {
    let (mut core, now) = leader();
    let mut out = Vec::new();
    core.step(now, Input::Transfer(NodeId(3)), &mut out);
    assert_eq!(sent(&out), [], "nobody knows whether n3 is alive");
    core.step(now, Input::Propose(vec![(Token(1), Payload::Blank)]), &mut out);
    assert!(!out.iter().any(|o| matches!(o, Output::Refused { .. })), "it goes on leading: {out:?}");
    hear(&mut core, now, 2, Message::AcceptOk { ballot: ballot(1, 1), first: 2, last: 2 });
    core.step(now, Input::Persisted(Ticket(3)), &mut Vec::new());
    out.clear();
    core.step(now, Input::Transfer(NodeId(2)), &mut out);
    assert_eq!(sent(&out), [Message::Yield { ballot: ballot(1, 1), base: 0, proposed: 2 }]);
}

#[test]
fn a_call_to_lead_that_is_late_or_can_not_be_followed_is_ignored() {
    let now = Instant::ZERO + Duration::millis(1);
    let call = |base, proposed| Message::Yield { ballot: ballot(1, 2), base, proposed };
    let prepares = |out: &Outputs<Paxos>| sent(out).iter().any(|m| matches!(m, Message::Prepare { .. }));
    let mut core = fresh();
    hear(&mut core, now, 2, accept(ballot(1, 2), 1, Payload::Blank));
    hear(&mut core, now, 2, accept(ballot(1, 2), 2, Payload::Blank));
    // The leader has gone on since.
    assert!(!prepares(&hear(&mut core.clone(), now, 2, call(0, 1))));
    // What follows on what is decided here was forgotten there.
    assert!(!prepares(&hear(&mut core.clone(), now, 2, call(2, 2))));
    assert!(prepares(&hear(&mut core.clone(), now, 2, call(1, 2))));
    // Another leads by now.
    hear(&mut core, now, 3, ping(ballot(2, 3), 2));
    assert!(!prepares(&hear(&mut core, now, 2, call(1, 2))));
}

#[test]
fn an_opinion_given_to_a_life_before_is_none() {
    let first = |at: Instant| {
        let mut core = Paxos::recover(config(1), None, [], at).unwrap();
        let (now, mut out) = (core.wake_at(), Vec::new());
        core.step(now, Input::Tick, &mut out);
        let Some(Message::Canvass { round }) = sent(&out).first().cloned() else { panic!("{out:?}") };
        (core, now, round)
    };
    let (.., before) = first(Instant::ZERO);
    let (mut core, now, round) = first(Instant::ZERO + Duration::millis(1));
    assert_ne!(before, round);
    let free = Message::Opinion { round: before, hears: None, promised: ballot(0, 0), decided: 0, base: 0 };
    assert_eq!(hear(&mut core, now, 2, free), []);
}

#[test]
fn two_leaderships_of_a_round_do_not_show_one_number() {
    let number = |node| {
        let promised = vec![Record::Promised(ballot(4, node))];
        Paxos::recover(config(1), None, promised, Instant::ZERO).unwrap().standing().ballot
    };
    assert!(number(1) < number(2) && number(2) < number(3));
}
