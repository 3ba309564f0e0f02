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
    core.step(now, Input::Tick, &mut Vec::new());
    let opinion = Message::Opinion { round: 1, hears: None, promised: ballot(1, 2), decided: 0, base: 0 };
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
    let config = config(1).log_bytes_max(1_000);
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
