//! fantoch's experiment on our protocols: sites with measured round trips, closed-loop clients, nothing else costs time.
//!
//! As fantoch's simulator has it (`fantoch/src/sim/runner.rs`): a message takes half of the mean round trip, both in
//! whole milliseconds, rounded down; a client is at its site, no time away; a process takes no time, and here a disk
//! takes none either. A client has one command under way; of its commands a share goes to a key that all
//! clients share, the others to a key of its own. Everything is counted from the first command on.
//!
//! Where a leader orders commands a client's goes to it and the answer comes back from it, each half a round trip.
//! What reaches a member in one moment is proposed as one batch, as a driver does.

use bytes::Bytes;
use dwcp_consensus::epaxos::{self, Access, Epaxos, Footprint};
use dwcp_consensus::paxos::{self, Paxos};
use dwcp_consensus::pbft::{self, Pbft};
use dwcp_consensus::quorum::System;
use dwcp_consensus::step::{Input, Output, Outputs, Payload, Protocol, Ticket};
use dwcp_consensus::{Token, pbft::rehearsed::parameters};
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

pub(crate) mod table;

const KEY: Purpose = Purpose::named("wide area key");
/// Longer than any wait of the experiment: no timeout plays a part.
const PATIENCE: Duration = Duration::secs(60);

/// The experiment.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Round trips between sites.
    pub(crate) rtt: Vec<Vec<Duration>>,
    /// Clients at each site.
    pub(crate) clients: Vec<usize>,
    /// Of a hundred commands, how many go to the shared key.
    pub(crate) conflict: u64,
    /// Commands of each client.
    pub(crate) commands: u32,
    /// The root of the draws.
    pub(crate) seed: u64,
}

/// What runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Engine {
    /// EPaxos.
    Leaderless,
    /// EPaxos under Atlas' rule for the fast path: so many may be gone.
    Atlas { bears: u8 },
    /// Multi-Paxos under the member at this site; so many of them decide, the rest that is needed elects.
    Led { leader: usize, accept: u8 },
    /// PBFT with the first primary at this site.
    Byzantine { primary: usize },
}

/// Latencies in milliseconds, by site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Figures {
    /// Sorted.
    pub(crate) by_site: Vec<Vec<u32>>,
    /// Of a thousand commands, how many were decided fast (EPaxos).
    pub(crate) fast_of_1000: Option<u64>,
}

impl Figures {
    /// Mean in tenths of a millisecond, p50 and p99 in milliseconds, of these sites together.
    pub(crate) fn of(&self, sites: impl Iterator<Item = usize>) -> (u64, u32, u32) {
        let mut all: Vec<u32> = sites.flat_map(|s| self.by_site[s].iter().copied()).collect();
        all.sort_unstable();
        if all.is_empty() {
            return (0, 0, 0);
        }
        let at = |share: usize| all[(all.len() * share).div_ceil(100).max(1) - 1];
        let sum: u64 = all.iter().map(|l| u64::from(*l)).sum();
        ((sum * 10 + all.len() as u64 / 2) / all.len() as u64, at(50), at(99))
    }
    /// The same of all.
    pub(crate) fn all(&self) -> (u64, u32, u32) {
        self.of(0..self.by_site.len())
    }
}

/// Runs the experiment under an engine.
pub(crate) fn run(plan: &Plan, engine: &Engine) -> Figures {
    let n = plan.rtt.len();
    let ids: Vec<NodeId> = (1..=n as u64).map(NodeId).collect();
    match engine {
        Engine::Leaderless | Engine::Atlas { .. } => {
            let quorums = match engine {
                Engine::Atlas { bears } => System::atlas(n as u8, *bears),
                _ => System::Majority { members: n as u8 },
            };
            let config = |me: NodeId| {
                let settings = epaxos::Settings {
                    me,
                    members: ids.clone(),
                    quorums: quorums.clone(),
                    footprint,
                    buckets: 1 << 16,
                    resend: PATIENCE,
                    recover_after: PATIENCE * 2,
                    beat: PATIENCE,
                    give_up_after: PATIENCE * 10,
                    chain_max: 4_096,
                    retain: 0,
                    marker_every: 1 << 40,
                    seed: plan.seed,
                };
                settings.check().expect("settings of the experiment")
            };
            let mut world: World<'_, Epaxos> = World::new(plan, None, &ids, config);
            world.play();
            let counts = world.members.iter().map(Epaxos::counts);
            let (fast, slow) = counts.fold((0, 0), |(f, s), c| (f + c.fast, s + c.slow));
            Figures { by_site: world.sorted(), fast_of_1000: Some(fast * 1_000 / (fast + slow).max(1)) }
        }
        Engine::Led { leader, accept } => {
            let system = if usize::from(*accept) == n / 2 + 1 {
                System::Majority { members: n as u8 }
            } else {
                System::flexible(n as u8, n as u8 + 1 - accept, *accept)
            };
            let times = paxos::Times {
                heartbeat: PATIENCE,
                election: PATIENCE * 4,
                retry: PATIENCE,
                announce: Duration::millis(1),
            };
            let config = |me| {
                let config = paxos::Config::new(me, ids.clone(), system.clone(), plan.seed, times);
                config.expect("a configuration of the experiment").first_leader(ids[*leader])
            };
            let mut world: World<'_, Paxos> = World::new(plan, Some(*leader), &ids, config);
            world.play();
            Figures { by_site: world.sorted(), fast_of_1000: None }
        }
        Engine::Byzantine { primary } => {
            let config = |me| {
                let mut p = parameters(me, &ids, PATIENCE);
                (p.first, p.window, p.interval, p.outstanding) = (*primary, 512, 128, 32);
                p.pipeline = pbft::config::PIPELINE_MAX;
                pbft::Config::ideal(p).expect("a configuration of the experiment")
            };
            let mut world: World<'_, Pbft> = World::new(plan, None, &ids, config);
            world.play();
            Figures { by_site: world.sorted(), fast_of_1000: None }
        }
    }
}

/// A command is its key, its client and its number.
fn footprint(command: &[u8]) -> Footprint {
    let key = command.get(..8).and_then(|k| k.try_into().ok()).map_or(0, u64::from_le_bytes);
    Footprint::Keys(vec![(key, Access::Write)])
}

enum Event<M> {
    /// A client's command is at the member that is to propose it.
    Submit {
        client: usize,
    },
    Message {
        from: usize,
        message: M,
    },
    /// The answer is at the client.
    Answer {
        client: usize,
    },
    Tick,
}

struct Client {
    site: usize,
    number: u32,
    since: Instant,
}

struct World<'a, P: Protocol> {
    plan: &'a Plan,
    /// Who proposes for all; else everybody for its own clients.
    leader: Option<usize>,
    members: Vec<P>,
    states: Vec<blake3::Hasher>,
    clients: Vec<Client>,
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    events: BTreeMap<u64, (usize, Event<P::Message>)>,
    sequence: u64,
    now: Instant,
    /// By member: when it is to be woken next.
    armed: Vec<Instant>,
    open: BTreeSet<usize>,
    latencies: Vec<Vec<u32>>,
}

impl<'a, P: Protocol> World<'a, P> {
    fn new(
        plan: &'a Plan,
        leader: Option<usize>,
        ids: &[NodeId],
        config: impl Fn(NodeId) -> P::Config,
    ) -> Self {
        let sites = plan.clients.iter().enumerate();
        let clients: Vec<Client> = sites
            .flat_map(|(site, count)| {
                (0..*count).map(move |_| Client { site, number: 0, since: Instant::ZERO })
            })
            .collect();
        let member = |id: &NodeId| P::recover(config(*id), None, [], Instant::ZERO).expect("a first start");
        Self {
            plan,
            leader,
            members: ids.iter().map(member).collect(),
            states: vec![blake3::Hasher::new(); ids.len()],
            open: (0..clients.len()).collect(),
            latencies: vec![Vec::new(); ids.len()],
            armed: vec![Instant::FAR; ids.len()],
            clients,
            heap: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            now: Instant::ZERO,
        }
    }

    fn push(&mut self, at: Instant, member: usize, event: Event<P::Message>) {
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence)));
        self.events.insert(self.sequence, (member, event));
    }
    /// One way, in whole milliseconds.
    fn way(&self, from: usize, to: usize) -> Duration {
        Duration::millis(self.plan.rtt[from][to].as_millis() / 2)
    }

    fn play(&mut self) {
        for member in 0..self.members.len() {
            self.step(member, Input::Tick);
        }
        // A leader is elected before the first command; clients then begin at once.
        while self.leader.is_some_and(|l| self.members[l].standing().decided == 0) {
            self.next();
        }
        for client in 0..self.clients.len() {
            self.submit(client);
        }
        while !self.open.is_empty() {
            self.next();
        }
    }

    /// The next event, and all that submit to the same member in the same moment.
    fn next(&mut self) {
        let Some(Reverse((at, key))) = self.heap.pop() else { panic!("nothing happens, and clients wait") };
        self.now = at;
        let (member, event) = self.events.remove(&key).expect("every entry has an event");
        match event {
            Event::Message { from, message } => {
                self.step(member, Input::Message { from: NodeId(from as u64 + 1), message });
            }
            Event::Tick if self.armed[member] <= at => {
                self.armed[member] = Instant::FAR;
                self.step(member, Input::Tick);
            }
            Event::Tick => {}
            Event::Answer { client } => self.answer(client),
            Event::Submit { client } => {
                let mut batch = vec![client];
                while let Some(Reverse((then, key))) = self.heap.peek().copied()
                    && then == at
                    && let Some((to, Event::Submit { client })) = self.events.get(&key)
                    && *to == member
                {
                    batch.push(*client);
                    self.heap.pop();
                    self.events.remove(&key);
                }
                let batch = batch.into_iter().map(|c| (Token(c as u64), self.command(c))).collect();
                self.step(member, Input::Propose(batch));
            }
        }
    }

    fn command(&self, client: usize) -> Payload {
        let number = u64::from(self.clients[client].number);
        let draw = Seed(self.plan.seed).below(100, KEY, client as u64, Instant::ZERO, number);
        let key = if draw < self.plan.conflict { 0 } else { client as u64 + 1 };
        let parts = [key, client as u64, number];
        Payload::Command(Bytes::from_iter(parts.iter().flat_map(|n| n.to_le_bytes())))
    }

    fn submit(&mut self, client: usize) {
        let site = self.clients[client].site;
        self.clients[client].since = self.now;
        let to = self.leader.unwrap_or(site);
        self.push(self.now + self.way(site, to), to, Event::Submit { client });
    }

    fn answer(&mut self, client: usize) {
        let one = &mut self.clients[client];
        self.latencies[one.site].push(self.now.since(one.since).as_millis() as u32);
        one.number += 1;
        if one.number < self.plan.commands {
            self.submit(client);
        } else {
            self.open.remove(&client);
        }
    }

    fn step(&mut self, member: usize, input: Input<P::Message>) {
        let mut inputs = vec![input];
        let mut out: Outputs<P> = Vec::new();
        while let Some(input) = inputs.pop() {
            self.members[member].step(self.now, input, &mut out);
            let mut persisted: Option<Ticket> = None;
            for output in out.drain(..) {
                match output {
                    Output::Persist { ticket, .. } => persisted = Some(ticket),
                    Output::Send { to, message, .. } => {
                        // The disk takes no time: what must be on it first is.
                        let to = to.0 as usize - 1;
                        self.push(
                            self.now + self.way(member, to),
                            to,
                            Event::Message { from: member, message },
                        );
                    }
                    Output::Decided { token, payload, .. } => {
                        if let Payload::Command(command) = &payload {
                            self.states[member].update(command);
                        }
                        if let Some(Token(client)) = token {
                            let client = client as usize;
                            let at = self.now + self.way(member, self.clients[client].site);
                            self.push(at, member, Event::Answer { client });
                        }
                    }
                    Output::Checkpoint { mark } => {
                        let digest = self.states[member].finalize().into();
                        inputs.push(Input::Vouched { mark, digest });
                    }
                    Output::Refused { error, .. } => panic!("a proposal is refused: {error}"),
                    Output::Blame { peer, fault } => panic!("{peer} is blamed: {fault}"),
                    Output::Behind { peer } => panic!("{peer} is behind"),
                    Output::Readable { .. } | Output::Stable { .. } => {}
                }
            }
            inputs.extend(persisted.map(Input::Persisted));
        }
        let wake = self.members[member].wake_at().max(self.now);
        if wake < self.armed[member] {
            self.armed[member] = wake;
            self.push(wake, member, Event::Tick);
        }
    }

    fn sorted(&mut self) -> Vec<Vec<u32>> {
        self.latencies.iter_mut().for_each(|l| l.sort_unstable());
        core::mem::take(&mut self.latencies)
    }
}
