//! How many operations a second four PBFT replicas decide in one process, honest and with a liar among them.
//!
//! Signatures and codes are those of production; the network is a queue, the disk is instant. Time is the CPU time
//! of the one thread that runs all four, plus what they wait for timers while nothing else is to be done: the
//! load of the machine does not count, a liar's delays do.
//!
//! ```text
//! cargo run --profile sim -p dwcp-consensus --features rehearsal --example pbft_speed -- --help
//! ```
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a command line reads a clock and prints"
)]

use bytes::Bytes;
use clap::Parser;
use dwcp_consensus::Token;
use dwcp_consensus::pbft::liar::{Manner, Tongue};
use dwcp_consensus::pbft::rehearsed::parameters;
use dwcp_consensus::pbft::{Config, Message, Pbft};
use dwcp_consensus::rehearsal::Liar;
use dwcp_consensus::step::{Input, Output, Outputs, Payload, Protocol, Ticket};
use dwcp_env::{Duration, Instant, NodeId};
use std::collections::VecDeque;
use std::process::ExitCode;

/// Measures four PBFT replicas in one process.
///
/// Prints operations a second of all that a thread does for four replicas, without liars and with one of each
/// kind, and the ratio. Exit codes: 0 measured; 1 a run did not finish within a minute of its own time; 2 the
/// command line makes no sense.
#[derive(Parser)]
#[command(name = "pbft_speed")]
struct Args {
    /// Operations to decide in each run.
    #[arg(long, default_value_t = 200_000)]
    operations: u64,
    /// Operations proposed together.
    #[arg(long, default_value_t = 256)]
    batch: u64,
    /// Bytes of an operation.
    #[arg(long, default_value_t = 64)]
    bytes: usize,
    /// Operations under way at each honest replica that proposes.
    #[arg(long, default_value_t = 2_048)]
    open: u64,
    /// How many replicas propose, from the first on; the liar is the last of four and never does.
    #[arg(long, default_value_t = 3)]
    proposers: usize,
    /// How long a replica bears a primary that does nothing, in milliseconds.
    #[arg(long, default_value_t = 100)]
    patience_ms: u64,
    /// Only this kind of liar, beside nobody: its place in the list, from 0.
    #[arg(long)]
    only: Option<u64>,
}

/// Four replicas, a queue between them.
struct Table {
    nodes: Vec<Pbft>,
    liar: Option<Tongue>,
    members: Vec<NodeId>,
    wire: VecDeque<(usize, usize, Message)>,
    tickets: [u64; 4],
    /// The newest checkpoint that each can prove.
    stable: [Option<Bytes>; 4],
    /// States on their way: to whom, with which mark.
    brought: Vec<(usize, Bytes)>,
    open: [u64; 4],
    views: u64,
    skipped: Duration,
    begin: std::time::Duration,
}

fn cpu() -> std::time::Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    std::time::Duration::new(t.tv_sec as u64, t.tv_nsec as u32)
}

impl Table {
    fn new(args: &Args, liar: Option<u64>) -> Self {
        let members: Vec<NodeId> = (1..=4).map(NodeId).collect();
        let config = |me: NodeId| {
            let mut p = parameters(me, &members, Duration::millis(args.patience_ms));
            // The liar leads first.
            p.first = if liar.is_some() { 3 } else { 0 };
            Config::new(p).expect("consistent")
        };
        let nodes =
            members.iter().map(|m| Pbft::recover(config(*m), None, [], Instant::ZERO).expect("no records"));
        Self {
            nodes: nodes.collect(),
            liar: liar.map(|kind| Tongue::new(config(members[3]), 1, kind)),
            members,
            wire: VecDeque::new(),
            tickets: [0; 4],
            stable: [const { None }; 4],
            brought: Vec::new(),
            open: [0; 4],
            views: 0,
            skipped: Duration::ZERO,
            begin: cpu(),
        }
    }

    fn now(&self) -> Instant {
        Instant::ZERO + Duration::from_std(cpu() - self.begin) + self.skipped
    }

    fn input(&mut self, node: usize, input: Input<Message>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let now = self.now();
            let before = self.tickets[node];
            let mut out: Outputs<Pbft> = Vec::new();
            if node == 3
                && let Some(liar) = &mut self.liar
            {
                if let Input::Message { from, message } = &input {
                    liar.hear(now, *from, message);
                }
                self.nodes[node].step(now, input, &mut out);
                liar.speak(now, self.members[node], &self.members, &mut out);
                for (from, to, message) in liar.forge() {
                    self.wire.push_back((from.0 as usize - 1, to.0 as usize - 1, message));
                }
            } else {
                self.nodes[node].step(now, input, &mut out);
            }
            let mut held = Vec::new();
            for output in out {
                match output {
                    Output::Persist { ticket, .. } => self.tickets[node] = ticket.0,
                    Output::Send { to, message, .. } => held.push((node, to.0 as usize - 1, message)),
                    Output::Decided { token, .. } => self.open[node] -= u64::from(token.is_some()),
                    Output::Refused { .. } => self.open[node] -= 1,
                    Output::Stable { mark } => self.stable[node] = Some(mark),
                    Output::Behind { peer } => {
                        let to = self.members.binary_search(&peer).expect("a member");
                        self.brought.extend(self.stable[node].clone().map(|mark| (to, mark)));
                    }
                    Output::Checkpoint { mark } => {
                        inputs.push_back(Input::Vouched { digest: *blake3::hash(&mark).as_bytes(), mark });
                    }
                    _ => {}
                }
            }
            // The disk is instant: what waited for it leaves.
            self.wire.extend(held);
            if self.tickets[node] > before {
                inputs.push_back(Input::Persisted(Ticket(self.tickets[node])));
            }
        }
        self.views = self.views.max(self.nodes[0].standing().ballot);
    }

    /// Who lacks what was forgotten is brought the state; here a state is no more than its mark.
    fn bring(&mut self) {
        for (to, mark) in std::mem::take(&mut self.brought) {
            if self.nodes[to].admits(&mark, blake3::hash(&mark).as_bytes()) {
                self.input(to, Input::Installed { mark });
            }
        }
    }

    /// Operations that took effect at the first replica.
    fn decided(&self) -> u64 {
        self.nodes[0].standing().decided
    }

    /// Decides `operations` at the first replica; says how long that took.
    fn run(&mut self, args: &Args) -> Option<f64> {
        let body = Bytes::from(vec![7_u8; args.bytes]);
        let mut token = 0;
        let mut since_ticks = 0;
        while self.decided() < args.operations {
            self.bring();
            let proposers = args.proposers.min(3);
            for node in 0..proposers {
                if self.open[node] + args.batch <= args.open {
                    self.open[node] += args.batch;
                    let proposals =
                        (0..args.batch).map(|i| (Token(token + i), Payload::Command(body.clone())));
                    let proposals = proposals.collect();
                    token += args.batch;
                    self.input(node, Input::Propose(proposals));
                }
            }
            since_ticks += 1;
            if since_ticks % 64 == 0 || self.wire.is_empty() {
                let next = (0..4).map(|n| self.nodes[n].wake_at()).min().unwrap_or(Instant::FAR);
                if self.wire.is_empty() && next > self.now() {
                    self.skipped += next.since(self.now());
                }
                for node in 0..4 {
                    if self.nodes[node].wake_at() <= self.now() {
                        self.input(node, Input::Tick);
                    }
                }
            }
            if let Some((from, to, message)) = self.wire.pop_front() {
                self.input(to, Input::Message { from: self.members[from], message });
            }
            if self.now() > Instant::ZERO + Duration::secs(60) {
                return None;
            }
        }
        Some(self.now().since(Instant::ZERO).as_nanos() as f64 / 1e9)
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.batch == 0 || args.batch > 4_096 || args.open < args.batch || args.proposers == 0 {
        eprintln!("1 <= batch <= 4096, batch <= open, 1 <= proposers <= 3");
        return ExitCode::from(2);
    }
    let mut honest = None;
    let kinds = (0..Manner::ALL.len() as u64).filter(|k| args.only.is_none_or(|only| only == *k));
    for kind in std::iter::once(None).chain(kinds.map(Some)) {
        let mut table = Table::new(&args, kind);
        let name = kind.map_or("nobody lies".into(), |k| format!("{:?}", Manner::ALL[k as usize]));
        let Some(seconds) = table.run(&args) else {
            println!("{name:<12} {} of {} operations in a minute", table.decided(), args.operations);
            for node in &table.nodes {
                println!("  {:?} {:?}", node.standing(), node.counts());
            }
            return ExitCode::FAILURE;
        };
        let rate = args.operations as f64 / seconds;
        let whole = *honest.get_or_insert(rate);
        println!(
            "{name:<12} {rate:>9.0} operations/s  {:>5.2} us each for all four  {:>4.0} % of honest  view {}",
            1e6 / rate,
            100.0 * rate / whole,
            table.views
        );
    }
    ExitCode::SUCCESS
}
