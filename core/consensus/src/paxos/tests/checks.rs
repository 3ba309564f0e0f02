//! Messages are checked before they are believed; marks and configurations too.

use crate::paxos::log::{Batch, Run};
use crate::paxos::{Ballot, Config, ConfigError, Mark, Message, Paxos, Record, Times};
use crate::quorum::{Refusal, System};
use crate::step::{Corrupt, Fault, Input, Output, Payload, Protocol};
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
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
        // A piece that says nothing would be asked for again at the speed of the network.
        (2, promise(vec![], Some(3)), Fault::Contradiction),
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
    let refusal = Refusal::Members { system: 5, given: 3 };
    assert_eq!(build(1, &[1, 2, 3], 5, times), Err(ConfigError::Quorums(refusal)));
    let apart = Config::new(NodeId(1), n(&[1, 2, 3]), System::flexible(3, 1, 2), 1, times).map(drop);
    assert!(matches!(apart, Err(ConfigError::Quorums(Refusal::Apart { .. }))), "{apart:?}");
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

/// Messages with every part drawn: small, at a bound, absurd.
struct Forger {
    seed: Seed,
    step: u64,
    draws: u64,
}

impl Forger {
    fn below(&mut self, n: u64) -> u64 {
        const P: Purpose = Purpose::named("forger");
        self.draws += 1;
        self.seed.below(n, P, self.step, Instant::ZERO, self.draws)
    }
    fn slot(&mut self) -> u64 {
        match self.below(24) {
            0 => u64::MAX,
            1 => 1 << 62,
            2 => (1 << 62) - 1,
            3 => 1 << 21,
            n => n / 2,
        }
    }
    fn ballot(&mut self) -> Ballot {
        let round = if self.below(40) == 0 { u64::MAX } else { self.below(12) };
        ballot(round, self.below(5))
    }
    fn batch(&mut self) -> Batch {
        let n = self.below(4);
        Batch::new((0..n).map(|_| Payload::Command(vec![self.below(3) as u8].into())).collect())
    }
    fn runs(&mut self) -> Vec<Run> {
        let mut first = self.slot();
        let n = self.below(4);
        (0..n)
            .map(|_| {
                let run = Run { first, ballot: self.ballot(), batch: self.batch() };
                let gap = if self.below(4) == 0 { self.slot() } else { 0 };
                first = first.wrapping_add(run.batch.len() as u64).wrapping_add(gap);
                run
            })
            .collect()
    }
    fn message(&mut self) -> Message {
        match self.below(12) {
            0 => Message::Canvass { round: self.below(9) },
            1 => {
                let hears = (self.below(2) == 0).then(|| self.ballot());
                let (promised, decided, base) = (self.ballot(), self.slot(), self.slot());
                Message::Opinion { round: self.below(9), hears, promised, decided, base }
            }
            2 => Message::Prepare { ballot: self.ballot(), from: self.slot() },
            3 => {
                let next = (self.below(2) == 0).then(|| self.slot());
                let (ballot, from, decided) = (self.ballot(), self.slot(), self.slot());
                Message::Promise { ballot, from, next, decided, runs: self.runs() }
            }
            4 => {
                let (ballot, first, decided) = (self.ballot(), self.slot(), self.slot());
                Message::Accept { ballot, first, batch: self.batch(), decided }
            }
            5 => Message::AcceptOk { ballot: self.ballot(), first: self.slot(), last: self.slot() },
            6 => Message::Reject { ballot: self.ballot(), promised: self.ballot() },
            7 => {
                let (ballot, seq, connected) = (self.ballot(), self.below(9), self.below(2) == 0);
                Message::Ping { ballot, seq, connected, decided: self.slot(), proposed: self.slot() }
            }
            8 => Message::Pong { ballot: self.ballot(), seq: self.below(9) },
            9 => Message::Need { from: self.slot(), to: self.slot() },
            10 => Message::Learn { runs: self.runs(), decided: self.slot() },
            _ => Message::Yield { ballot: self.ballot(), base: self.slot(), proposed: self.slot() },
        }
    }
}

/// Liars are not what this protocol is for: it may be made to decide nonsense, but not to stop.
#[test]
fn forged_messages_stop_nobody() {
    for seed in 0..60 {
        let mut forger = Forger { seed: Seed(seed), step: 0, draws: 0 };
        let mut core = Paxos::recover(config(), None, [], Instant::ZERO).unwrap();
        let (mut now, mut ticket, mut blamed, mut out) = (Instant::ZERO, 0, 0, Vec::new());
        for step in 0..2_000 {
            (forger.step, forger.draws) = (step, 0);
            let input = match forger.below(16) {
                0 => {
                    now = now.max(core.wake_at());
                    Input::Tick
                }
                1 => Input::Persisted(crate::step::Ticket(ticket)),
                2 => Input::Propose(vec![(crate::Token(step), Payload::Blank)]),
                3 => Input::Read(crate::Token(step)),
                _ => Input::Message { from: NodeId(1 + forger.below(3)), message: forger.message() },
            };
            core.step(now, input, &mut out);
            for output in out.drain(..) {
                match output {
                    Output::Persist { ticket: t, .. } => ticket = t.0,
                    Output::Blame { .. } => blamed += 1,
                    _ => {}
                }
            }
        }
        assert!(blamed > 500, "{blamed}");
    }
}
