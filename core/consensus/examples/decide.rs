//! How fast three members of Multi-Paxos decide, in one process, on one thread, without disks.
//!
//! ```text
//! cargo run --release -p dwcp-consensus --example decide
//! ```
//!
//! Messages are handed over by reference count, records are dropped and reported as persisted at once:
//! what is measured is the protocol. A write is done when the leader gives it out as decided; time is from
//! the proposal until then, the steps of both followers included.
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a command line reads a clock and prints"
)]

use bytes::Bytes;
use clap::Parser;
use dwcp_consensus::Token;
use dwcp_consensus::paxos::{Config, Message, Paxos, Record, Times};
use dwcp_consensus::quorum::System;
use dwcp_consensus::step::{Input, Output, Payload, Protocol};
use dwcp_env::{Instant, NodeId};
use std::collections::VecDeque;
use std::time::Duration;

/// Measures decisions of Multi-Paxos in one process: latency of one at a time, writes a second with many
/// outstanding.
///
/// Exit codes: 0 measured; 2 the command line makes no sense.
#[derive(Parser)]
#[command(name = "decide")]
struct Args {
    /// Bytes of a command.
    #[arg(long, default_value_t = 40)]
    bytes: usize,
    /// Members, from 1 to 9.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    members: u8,
    /// Writes of each measurement.
    #[arg(long, default_value_t = 1_000_000)]
    writes: u64,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Members, and the messages between them in the order they were sent.
struct Group {
    members: Vec<Paxos>,
    now: Instant,
    wire: VecDeque<(usize, usize, Message)>,
    out: Vec<Output<Message, Record>>,
    decided: u64,
    begin: std::time::Instant,
}

impl Group {
    fn new(count: u8) -> Self {
        let ids: Vec<NodeId> = (1..=u64::from(count)).map(NodeId).collect();
        let system = System::Majority { members: count };
        let member = |id: &NodeId| {
            let config = Config::new(*id, ids.clone(), system.clone(), 1, Times::default());
            let config = config.expect("members in order").first_leader(ids[0]).keep_slots(0);
            Paxos::recover(config, None, [], Instant::ZERO).expect("a first start")
        };
        let members = ids.iter().map(member).collect();
        let begin = std::time::Instant::now();
        let (wire, out) = (VecDeque::new(), Vec::new());
        let mut group = Self { members, now: Instant::ZERO, wire, out, decided: 0, begin };
        group.step(0, Input::Tick);
        group.settle();
        assert!(group.decided > 0, "the first leader leads");
        group
    }

    fn step(&mut self, at: usize, input: Input<Message>) {
        let mut out = core::mem::take(&mut self.out);
        self.members[at].step(self.now, input, &mut out);
        let mut persisted = None;
        for output in out.drain(..) {
            match output {
                Output::Persist { ticket, .. } => persisted = Some(ticket),
                Output::Send { to, message, .. } => self.wire.push_back((at, to.0 as usize - 1, message)),
                Output::Decided { .. } if at == 0 => self.decided += 1,
                Output::Refused { error, .. } => panic!("a proposal was refused: {error}"),
                _ => {}
            }
        }
        self.out = out;
        if let Some(ticket) = persisted {
            self.step(at, Input::Persisted(ticket));
        }
    }

    /// Delivers until nothing is on its way.
    fn settle(&mut self) {
        while let Some((from, to, message)) = self.wire.pop_front() {
            self.step(to, Input::Message { from: NodeId(from as u64 + 1), message });
        }
    }

    /// Time passes as it does outside; what is due happens; logs are cut now and then, as checkpoints do.
    fn breathe(&mut self) {
        self.now = Instant::from_nanos(self.begin.elapsed().as_nanos() as u64);
        for at in 0..self.members.len() {
            if self.members[at].wake_at() <= self.now {
                self.step(at, Input::Tick);
            }
            let mark = self.members[at].mark();
            self.step(at, Input::Checkpointed { mark });
        }
        self.settle();
    }
}

/// One at a time: the time of each.
fn latency(args: &Args, command: &Bytes) -> (Duration, Duration) {
    let mut group = Group::new(args.members);
    let count = (args.writes / 4).max(1);
    let mut times = Vec::with_capacity(count as usize);
    for i in 0..count {
        if i % 1_024 == 0 {
            group.breathe();
        }
        let (wanted, begin) = (group.decided + 1, std::time::Instant::now());
        group.step(0, Input::Propose(vec![(Token(i), Payload::Command(command.clone()))]));
        while group.decided < wanted {
            let (from, to, message) = group.wire.pop_front().expect("a decision is under way");
            group.step(to, Input::Message { from: NodeId(from as u64 + 1), message });
        }
        times.push(begin.elapsed());
        group.settle();
    }
    times.sort_unstable();
    (times[times.len() / 2], times[times.len() * 99 / 100])
}

/// So many outstanding: each round proposes what was answered in the last.
fn throughput(args: &Args, command: &Bytes, outstanding: u64) -> f64 {
    let mut group = Group::new(args.members);
    let (begin, mut done) = (std::time::Instant::now(), 0);
    while done < args.writes {
        if (done / outstanding).is_multiple_of(64) {
            group.breathe();
        }
        let list = (0..outstanding).map(|i| (Token(done + i), Payload::Command(command.clone()))).collect();
        let wanted = group.decided + outstanding;
        group.step(0, Input::Propose(list));
        group.settle();
        assert_eq!(group.decided, wanted, "all was decided");
        done += outstanding;
    }
    done as f64 / begin.elapsed().as_secs_f64()
}

fn main() {
    let args = Args::parse();
    let command = Bytes::from(vec![7; args.bytes]);
    let (p50, p99) = latency(&args, &command);
    let rates = [1, 64, 1_024].map(|n| (n, throughput(&args, &command, n)));
    if args.json {
        let rates: Vec<_> = rates
            .iter()
            .map(|(n, r)| serde_json::json!({ "outstanding": n, "writes_per_second": r }))
            .collect();
        let (p50, p99) = (p50.as_nanos() as u64, p99.as_nanos() as u64);
        let line = serde_json::json!({
            "members": args.members, "bytes": args.bytes, "p50_ns": p50, "p99_ns": p99, "rates": rates });
        println!("{line}");
    } else {
        println!("{} members, commands of {} bytes, one thread", args.members, args.bytes);
        println!("one at a time: p50 {p50:?}, p99 {p99:?}");
        for (n, rate) in rates {
            println!("{n:>5} outstanding: {rate:>10.0} writes/s");
        }
    }
}
