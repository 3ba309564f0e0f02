//! What was chosen is found, whatever a crash or a late answer left of it; what is kept gives way to what is to come.

use crate::engine::Token;
use crate::paxos::log::{Batch, Run};
use crate::paxos::{Ballot, Config, Mark, Message, Paxos, Record, Times};
use crate::quorum::System;
use crate::step::{Input, Output, Outputs, Payload, Protocol, Ticket};
use dwcp_env::{Duration, Instant, NodeId};
use std::vec;
use std::vec::Vec;

fn config(members: u8) -> Config {
    let all = (1..=u64::from(members)).map(NodeId).collect();
    Config::new(NodeId(1), all, System::Majority { members }, 1, Times::default()).unwrap()
}

fn commands(text: &[&'static str]) -> Batch {
    Batch::new(text.iter().map(|t| Payload::Command((*t).into())).collect())
}

const fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round, node: NodeId(node) }
}

fn run(first: u64, text: &[&'static str]) -> Run {
    Run { first, ballot: ballot(1, 2), batch: commands(text) }
}

/// Hands a message in and returns what comes out.
fn hear(core: &mut Paxos, now: Instant, message: Message) -> Outputs<Paxos> {
    let mut out = Vec::new();
    core.step(now, Input::Message { from: NodeId(2), message }, &mut out);
    out
}

#[test]
fn a_promise_in_pieces_tells_all_although_its_maker_learns_between_them() {
    let mut core = Paxos::recover(config(3), None, [], Instant::ZERO).unwrap();
    let now = core.wake_at();
    let mut out = Vec::new();
    core.step(now, Input::Tick, &mut out);
    let Some(Output::Send { message: Message::Canvass { round }, .. }) = out.pop() else { panic!("{out:?}") };
    let opinion = Message::Opinion { round, hears: None, promised: ballot(1, 2), decided: 0, base: 0 };
    let out = hear(&mut core, now, opinion);
    let asked = out.iter().find_map(|o| match o {
        Output::Send { message: Message::Prepare { ballot, from: 1 }, .. } => Some(*ballot),
        _ => None,
    });
    let mine = asked.expect("it looks for what was accepted");
    core.step(now, Input::Persisted(Ticket(1)), &mut Vec::new());
    let piece =
        |from, next, decided, run| Message::Promise { ballot: mine, from, next, decided, runs: vec![run] };
    hear(&mut core, now, piece(1, Some(3), 0, run(1, &["a", "b"])));
    let out = hear(&mut core, now, piece(3, None, 4, run(3, &["c", "d"])));
    let proposed = out.iter().find_map(|o| match o {
        Output::Send { message: Message::Accept { first: 1, batch, .. }, .. } => {
            Some(batch.payloads().to_vec())
        }
        _ => None,
    });
    let mut wanted = commands(&["a", "b", "c", "d"]).payloads().to_vec();
    wanted.push(Payload::Blank);
    assert_eq!(proposed, Some(wanted), "{out:?}");
}

#[test]
fn a_checkpoint_newer_than_the_log_leaves_a_log_that_can_be_read() {
    // Of the life before, the record of the checkpoint was lost; what was accepted on top of it was not.
    let mark = Mark { index: 4, sealed: 0 };
    let accepted = |run: Run, decided| Record::Accepted { run, decided };
    let records = vec![accepted(run(1, &["a"]), 0), accepted(run(5, &["e"]), 4)];
    let core = Paxos::recover(config(3), Some(&mark.encode()), records, Instant::ZERO).unwrap();
    assert_eq!(core.standing().decided, 4);
    assert!(core.compact().contains(&accepted(run(5, &["e"]), 4)), "{:?}", core.compact());
    // A hole behind the checkpoint is still nobody's log.
    let records = vec![accepted(run(1, &["a"]), 0), accepted(run(7, &["g"]), 6)];
    assert!(Paxos::recover(config(3), Some(&mark.encode()), records, Instant::ZERO).is_err());
}

#[test]
fn a_checkpoint_makes_room_however_large_what_is_kept_for_late_peers_has_become() {
    let config = config(1).log_bytes_max(1_500);
    let mut core = Paxos::recover(config, None, [], Instant::ZERO).unwrap();
    let (mut out, mut now, mut ticket) = (Vec::new(), Instant::ZERO, Ticket(0));
    let mut step = |core: &mut Paxos, input, out: &mut Outputs<Paxos>| {
        out.clear();
        core.step(now, input, out);
        now += Duration::millis(1);
        for o in out.iter() {
            if let Output::Persist { ticket: t, .. } = o {
                ticket = *t;
            }
        }
        ticket
    };
    for _ in 0..20 {
        let at = core.wake_at();
        core.step(at, Input::Tick, &mut out);
        let ticket = step(&mut core, Input::Read(Token(9)), &mut out);
        step(&mut core, Input::Persisted(ticket.max(Ticket(1))), &mut out);
    }
    for k in 0..10 {
        let payload = Payload::Command(vec![b'x'; 100].into());
        let ticket = step(&mut core, Input::Propose(vec![(Token(k), payload)]), &mut out);
        step(&mut core, Input::Persisted(ticket), &mut out);
    }
    let mark = core.mark();
    step(&mut core, Input::Checkpointed { mark }, &mut out);
    step(&mut core, Input::Propose(vec![(Token(99), Payload::Command("y".into()))]), &mut out);
    assert!(!out.iter().any(|o| matches!(o, Output::Refused { .. })), "{out:?}");
    assert!(out.iter().any(|o| matches!(o, Output::Persist { .. })), "{out:?}");
}

/// Ticks a core until it wants none at once, with the most that a step gave out.
fn given_out(core: &mut Paxos) -> (usize, usize) {
    let (mut all, mut most) = (0, 0);
    while core.wake_at() == Instant::ZERO {
        let mut out = Vec::new();
        core.step(Instant::ZERO, Input::Tick, &mut out);
        let now = out.iter().filter(|o| matches!(o, Output::Decided { .. })).count();
        assert!(now > 0, "a tick that was asked for does something");
        (all, most) = (all + now, most.max(now));
    }
    (all, most)
}

#[test]
fn what_was_decided_before_a_restart_is_given_out_in_steps_of_bounded_work() {
    let run = |first| Run { first, ballot: ballot(1, 2), batch: Batch::new(vec![Payload::Blank; 1_000]) };
    let records = (0..50).map(|k| Record::Chosen(vec![run(k * 1_000 + 1)]));
    let mut core = Paxos::recover(config(3), None, records, Instant::ZERO).unwrap();
    assert_eq!(given_out(&mut core), (50_000, 8_192));
}

/// It leads when all has been given out, and what it decides comes behind it.
#[test]
fn nobody_begins_to_lead_with_decided_slots_in_hand() {
    let run = Run { first: 1, ballot: ballot(1, 2), batch: Batch::new(vec![Payload::Blank; 100]) };
    let small = config(1).piece_slots(8);
    let mut core = Paxos::recover(small, None, [Record::Chosen(vec![run])], Instant::ZERO).unwrap();
    let mut out = Vec::new();
    let now = Instant::ZERO + Duration::secs(9);
    for _ in 0..40 {
        core.step(now, Input::Tick, &mut out);
        let last = out.iter().rev().find_map(|o| match o {
            Output::Persist { ticket, .. } => Some(*ticket),
            _ => None,
        });
        core.step(now, Input::Persisted(last.unwrap_or_default()), &mut out);
    }
    let given = out.iter().filter_map(|o| match o {
        Output::Decided { index, .. } => Some(*index),
        _ => None,
    });
    assert_eq!(given.collect::<Vec<_>>(), (1..=101).collect::<Vec<_>>());
}

#[test]
fn commands_without_bytes_fill_a_log_too() {
    let (mut core, mut out) = (leading(config(1).log_bytes_max(10_000)), Vec::new());
    for k in 0..1_000 {
        core.step(Instant::ZERO, Input::Propose(vec![(Token(k), Payload::Command("".into()))]), &mut out);
        core.step(Instant::ZERO, Input::Persisted(Ticket(3 + k)), &mut out);
    }
    assert!(out.iter().any(|o| matches!(o, Output::Refused { .. })));
}

/// A log that nobody trims takes no more, whoever tells what is decided.
#[test]
fn a_full_log_does_not_learn() {
    let mut core = Paxos::recover(config(3).log_bytes_max(10_000), None, [], Instant::ZERO).unwrap();
    for first in (0..100).map(|k| k * 10 + 1) {
        let run = Run { first, ballot: ballot(1, 2), batch: Batch::new(vec![Payload::Blank; 10]) };
        hear(&mut core, Instant::ZERO, Message::Learn { runs: vec![run], decided: first + 9 });
    }
    assert!((100..900).contains(&core.standing().decided), "{:?}", core.standing());
    // A checkpoint makes room.
    let (mark, before) = (core.mark(), core.standing().decided);
    core.step(Instant::ZERO, Input::Checkpointed { mark }, &mut Vec::new());
    let run = Run { first: before + 1, ballot: ballot(1, 2), batch: Batch::new(vec![Payload::Blank]) };
    hear(&mut core, Instant::ZERO, Message::Learn { runs: vec![run], decided: before + 1 });
    assert_eq!(core.standing().decided, before + 1);
}

/// The only member of its group, leading.
fn leading(config: Config) -> Paxos {
    let mut core = Paxos::recover(config, None, [], Instant::ZERO).unwrap();
    core.step(core.wake_at(), Input::Tick, &mut Vec::new());
    core.step(Instant::ZERO, Input::Persisted(Ticket(1)), &mut Vec::new());
    core.step(Instant::ZERO, Input::Persisted(Ticket(2)), &mut Vec::new());
    core
}

/// What follows on the checkpoint that a late peer fetches is kept until it has it.
#[test]
fn who_was_brought_a_checkpoint_is_taught_what_came_meanwhile() {
    let mut core = Paxos::recover(config(3).keep_slots(0), None, [], Instant::ZERO).unwrap();
    let tell = |core: &mut Paxos, first: u64, n: usize| {
        let run = Run { first, ballot: ballot(1, 2), batch: Batch::new(vec![Payload::Blank; n]) };
        hear(core, Instant::ZERO, Message::Learn { runs: vec![run], decided: first + n as u64 - 1 });
        let mark = core.mark();
        core.step(Instant::ZERO, Input::Checkpointed { mark }, &mut Vec::new());
    };
    let behind = |out: &Outputs<Paxos>| out.iter().any(|o| matches!(o, Output::Behind { .. }));
    let need = |from, to| Message::Need { from, to };
    tell(&mut core, 1, 10);
    assert!(behind(&hear(&mut core, Instant::ZERO, need(1, 10))));
    tell(&mut core, 11, 10);
    assert!(behind(&hear(&mut core, Instant::ZERO, need(1, 20))), "it asks again while it fetches");
    tell(&mut core, 21, 10);
    let out = hear(&mut core, Instant::ZERO, need(11, 30));
    assert!(!behind(&out), "{out:?}");
    // It is taught, and holds nothing back any more: nor does one who went silent.
    let mut silent = core.clone();
    hear(&mut core, Instant::ZERO, need(30, 30));
    tell(&mut core, 31, 1);
    assert!(behind(&hear(&mut core, Instant::ZERO, need(11, 30))));
    let later = Instant::ZERO + Duration::secs(60);
    silent.step(later, Input::Tick, &mut Vec::new());
    let mark = silent.mark();
    silent.step(later, Input::Checkpointed { mark }, &mut Vec::new());
    assert!(behind(&hear(&mut silent, later, need(11, 30))));
}

/// Nothing frees what is not decided: a follower full of it takes what is missing for the decision all the same.
#[test]
fn values_that_are_not_decided_fill_no_log() {
    let mut core = Paxos::recover(config(3).log_bytes_max(1_000), None, [], Instant::ZERO).unwrap();
    for first in 1..=20 {
        let batch = Batch::new(vec![Payload::Command(vec![b'x'; 500].into())]);
        let message = Message::Accept { ballot: ballot(1, 2), first, batch, decided: 0 };
        let out = hear(&mut core, Instant::ZERO, message);
        let taken =
            |o: &Output<Message, Record>| matches!(o, Output::Send { message: Message::AcceptOk { .. }, .. });
        assert!(out.iter().any(taken), "slot {first}: {out:?}");
    }
}
