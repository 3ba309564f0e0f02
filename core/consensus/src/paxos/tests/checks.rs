//! Messages are checked before they are believed; marks and configurations too.

use crate::paxos::log::{Batch, Run};
use crate::paxos::{Ballot, Config, ConfigError, Mark, Message, Paxos, Record, Times};
use crate::quorum::System;
use crate::step::{Corrupt, Fault, Input, Output, Payload, Protocol};
use dwcp_env::{Duration, Instant, NodeId};
use std::vec;
use std::vec::Vec;

fn config() -> Config {
    let members = vec![NodeId(1), NodeId(2), NodeId(3)];
    Config::new(NodeId(1), members, System::Majority { members: 3 }, 1, Times::default()).unwrap()
}

fn batch(n: usize) -> Batch {
    Batch::new(vec![Payload::Blank; n])
}

const fn ballot(round: u64, node: u64) -> Ballot {
    Ballot { round, node: NodeId(node) }
}

#[test]
fn wrong_messages_are_their_senders_fault_and_change_nothing() {
    let run = |first, n| Run { first, ballot: ballot(1, 2), batch: batch(n) };
    let promise = |runs, next| Message::Promise { ballot: ballot(5, 1), from: 3, next, decided: 0, runs };
    let accept = |ballot, first, n| Message::Accept { ballot, first, batch: batch(n), decided: 0 };
    let table = [
        (9, Message::Canvass { round: 1 }, Fault::Sender),
        (1, Message::Canvass { round: 1 }, Fault::Sender),
        (2, Message::Prepare { ballot: ballot(1, 3), from: 1 }, Fault::Sender),
        (2, Message::Prepare { ballot: ballot(1 << 40, 2), from: 1 }, Fault::Bound),
        (2, Message::Prepare { ballot: ballot(1, 2), from: 0 }, Fault::Contradiction),
        (2, accept(ballot(1, 3), 1, 1), Fault::Sender),
        (2, accept(ballot(1, 2), 0, 1), Fault::Contradiction),
        (2, accept(ballot(1, 2), 1 << 62, 1), Fault::Bound),
        (2, accept(ballot(1, 2), 1, 0), Fault::Contradiction),
        (2, accept(ballot(1, 2), 1, 4_097), Fault::Bound),
        (2, promise(vec![run(2, 1)], None), Fault::Contradiction),
        (2, promise(vec![run(3, 2), run(4, 1)], None), Fault::Contradiction),
        (2, promise(vec![run(3, 0)], None), Fault::Contradiction),
        (2, promise(vec![run(3, 2)], Some(4)), Fault::Contradiction),
        (2, promise(vec![run(3, 8_193)], None), Fault::Bound),
        (2, Message::AcceptOk { ballot: ballot(1, 1), first: 2, last: 1 }, Fault::Contradiction),
        (2, Message::Reject { ballot: ballot(2, 1), promised: ballot(2, 1) }, Fault::Contradiction),
        (2, Message::Need { from: 3, to: 2 }, Fault::Contradiction),
        (2, Message::Learn { runs: vec![run(1, 1), run(3, 1)], decided: 3 }, Fault::Contradiction),
        (2, Message::Learn { runs: vec![run(1, 2)], decided: 1 }, Fault::Contradiction),
        (
            2,
            Message::Ping { ballot: ballot(1, 2), seq: 1, connected: true, decided: 2, proposed: 1 },
            Fault::Contradiction,
        ),
        (
            2,
            Message::Opinion {
                round: 1,
                hears: Some(ballot(1, 9)),
                promised: ballot(0, 0),
                decided: 0,
                base: 0,
            },
            Fault::Sender,
        ),
    ];
    for (from, message, fault) in table {
        let mut core = Paxos::recover(config(), None, [], Instant::ZERO).unwrap();
        let before = std::format!("{core:?}");
        let mut out = Vec::new();
        core.step(Instant::ZERO, Input::Message { from: NodeId(from), message: message.clone() }, &mut out);
        assert_eq!(out, [Output::Blame { peer: NodeId(from), fault }], "{message:?}");
        assert_eq!(before, std::format!("{core:?}"), "{message:?}");
    }
}

#[test]
fn another_value_in_the_same_ballot_is_a_contradiction() {
    let mut core = Paxos::recover(config(), None, [], Instant::ZERO).unwrap();
    let mut out = Vec::new();
    for payload in [Payload::Blank, Payload::Command("x".into())] {
        let batch = Batch::new(vec![payload]);
        let message = Message::Accept { ballot: ballot(1, 2), first: 1, batch, decided: 0 };
        out.clear();
        core.step(Instant::ZERO, Input::Message { from: NodeId(2), message }, &mut out);
    }
    assert_eq!(out, [Output::Blame { peer: NodeId(2), fault: Fault::Contradiction }]);
}

#[test]
fn logs_nobody_wrote_are_corrupt() {
    let recover = |mark: Option<Mark>, records: Vec<Record>| {
        Paxos::recover(config(), mark.map(Mark::encode).as_ref(), records, Instant::ZERO).map(drop)
    };
    let run = |first, n| Run { first, ballot: ballot(1, 2), batch: batch(n) };
    let accepted = |first, decided| Record::Accepted { run: run(first, 1), decided };
    assert_eq!(recover(None, vec![accepted(1, 0), accepted(2, 1), accepted(4, 2)]), Ok(()));
    assert_eq!(recover(None, vec![accepted(2, 1)]), Err(Corrupt("a decided slot holds no value")));
    let late = recover(None, vec![accepted(1, 0), accepted(2, 1), accepted(1, 0)]);
    assert_eq!(late, Err(Corrupt("a value was accepted at a slot that was decided before")));
    let base = Record::Base(Mark { index: 4, sealed: 0 });
    let missing = recover(None, vec![base.clone()]);
    assert_eq!(missing, Err(Corrupt("the log begins behind the checkpoint")));
    assert_eq!(recover(Some(Mark { index: 4, sealed: 0 }), vec![base]), Ok(()));
    for bytes in [&b"short"[..], &[0; 17], &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2]] {
        assert!(Mark::decode(bytes).is_err());
    }
    let mark = Mark { index: 9, sealed: 3 };
    assert_eq!(Mark::decode(&mark.encode()), Ok(mark));
}

#[test]
fn configurations_are_checked_when_built() {
    let n = |ids: &[u64]| ids.iter().map(|i| NodeId(*i)).collect::<Vec<_>>();
    let build = |node, ids: &[u64], members, times| {
        Config::new(NodeId(node), n(ids), System::Majority { members }, 1, times).map(drop)
    };
    let times = Times::default();
    assert_eq!(build(1, &[1, 2, 3], 3, times), Ok(()));
    assert_eq!(build(1, &[], 0, times), Err(ConfigError::Members));
    assert_eq!(build(1, &[1, 1], 2, times), Err(ConfigError::Members));
    assert_eq!(build(1, &[2, 1], 2, times), Err(ConfigError::Members));
    assert_eq!(build(4, &[1, 2, 3], 3, times), Err(ConfigError::Stranger(NodeId(4))));
    assert_eq!(build(1, &[1, 2, 3], 5, times), Err(ConfigError::Count { system: 5, members: 3 }));
    let hasty = Times { election: times.heartbeat * 2, ..times };
    assert_eq!(build(1, &[1], 1, hasty), Err(ConfigError::Times));
    assert_eq!(build(1, &[1], 1, Times { retry: Duration::ZERO, ..times }), Err(ConfigError::Times));
}

#[test]
fn a_state_is_a_value() {
    use core::hash::{Hash, Hasher};
    // FNV-1a: any hash of a known definition serves.
    struct Fnv(u64);
    impl Hasher for Fnv {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, bytes: &[u8]) {
            bytes.iter().for_each(|b| self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3));
        }
    }
    let hash = |core: &Paxos| {
        let mut h = Fnv(0xcbf2_9ce4_8422_2325);
        core.hash(&mut h);
        h.finish()
    };
    let mut core = Paxos::recover(config(), None, [], Instant::ZERO).unwrap();
    let mut twin = core.clone();
    assert_eq!(hash(&core), hash(&twin));
    let at = core.wake_at();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    core.step(at, Input::Tick, &mut a);
    assert_ne!(hash(&core), hash(&twin));
    twin.step(at, Input::Tick, &mut b);
    assert_eq!((a, hash(&core)), (b, hash(&twin)));
}
