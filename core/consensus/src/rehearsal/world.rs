//! The event loop: a heap of (time, sequence), and what each event does.

use super::command::Mint;
use super::fact::{Fact, NODES_MAX};
use super::invariant::{All, Broken};
use super::network::Network;
use super::plan::{Plan, ROUND_TRIP, Scenario};
use super::site::{Site, Snapshot};
use super::state::{Numbers, fold};
use super::subject::{Held, Order, Place, Subject};
use super::tally::{Seen, Tally};
use crate::engine::Role;
use crate::step::{Input, Outputs, Protocol, Ticket};
use alloc::collections::BinaryHeap;
use alloc::format;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Reverse;
use core::fmt;
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};

/// Ticks at one moment before a protocol is said to spin.
const SPINS_MAX: u32 = 1_000;
/// Events of a run before it is said to run away.
const EVENTS_MAX: u64 = 20_000_000;
/// Decided places a new leader is asked for.
const COMPARED: u64 = 64;
/// Lines of the story kept.
const STORY: usize = 400;
const LIAR: Purpose = Purpose::named("rehearsal liar");
const PROTOCOL: Purpose = Purpose::named("rehearsal protocol");

/// What happens next.
pub(super) enum Event<M> {
    Message {
        from: u8,
        to: u8,
        message: M,
    },
    /// A message in another's name.
    Forged {
        from: u8,
        to: u8,
        message: M,
    },
    Tick {
        node: u8,
        life: u32,
    },
    Synced {
        node: u8,
        life: u32,
    },
    Checkpointed {
        node: u8,
        life: u32,
    },
    Vouched {
        node: u8,
        life: u32,
    },
    Compacted {
        node: u8,
        life: u32,
        number: u32,
    },
    Bring {
        from: u8,
        to: u8,
        what: Rc<Snapshot>,
    },
    Start {
        node: u8,
    },
    /// The node is told that a peer's process seems to be gone.
    Hint {
        node: u8,
        peer: u8,
    },
    /// A client that waited for a paused node is its first to be heard.
    Knock {
        node: u8,
    },
    /// A crash for a short time.
    Fall {
        node: u8,
        life: u32,
    },
    Fault {
        number: u32,
    },
    Mend {
        number: u32,
    },
    Client,
    Calm,
    Poll,
}

/// A run that held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// Over every event and fact: equal for equal runs.
    pub trace: u64,
    /// Events.
    pub events: u64,
    /// Simulated time.
    pub lasted: Duration,
    /// From the calm until everything was decided everywhere.
    pub healed: Duration,
    /// What happened how often.
    pub tally: Tally,
}

/// A run that broke an invariant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// Of which seed.
    pub seed: u64,
    /// In which scenario.
    pub scenario: Scenario,
    /// When, in true time.
    pub at: Instant,
    /// What.
    pub broken: Broken,
    /// What led there, if the run was told to remember it.
    pub story: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { invariant, what } = &self.broken;
        write!(f, "{invariant}: {what} ({} seed {}, at {:?})", self.scenario.name(), self.seed, self.at)
    }
}

/// A question of a client.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub(super) node: u8,
    pub(super) life: u32,
    pub(super) open: bool,
    /// It was asked where a seal had been applied.
    pub(super) sealed: bool,
    /// For reads: what was acknowledged before (total order: index and number).
    pub(super) floor: (u64, u32),
    pub(super) known: Option<Numbers>,
}

/// The clients' memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Clients {
    pub(super) questions: Vec<Question>,
    pub(super) acknowledged: Numbers,
    pub(super) count: u64,
    /// The highest index acknowledged or read, and a command there or before.
    pub(super) floor: (u64, u32),
    pub(super) known: Numbers,
    pub(super) hint: usize,
    pub(super) turns: u64,
    /// How many commands are to be acknowledged.
    pub(super) goal: u64,
}

/// A cut in force.
#[derive(Clone, Copy, Debug)]
pub(super) struct InForce {
    pub(super) number: u32,
    /// A quorum is connected: something must be acknowledged.
    pub(super) demanded: bool,
    /// When something was acknowledged last, and the longest time without.
    pub(super) last: Instant,
    pub(super) silent: Duration,
}

/// A world with a protocol in it.
pub struct World<'a, S: Subject> {
    pub(super) subject: &'a S,
    pub(super) plan: Plan,
    pub(super) seed: Seed,
    pub(super) order: Order,
    pub(super) members: Vec<NodeId>,
    pub(super) now: Instant,
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    slots: Vec<Option<Event<<S::P as Protocol>::Message>>>,
    free: Vec<u32>,
    sequence: u64,
    events: u64,
    pub(super) trace: u64,
    pub(super) sites: Vec<Site<S::P>>,
    pub(super) network: Network,
    pub(super) mint: Mint,
    pub(super) clients: Clients,
    pub(super) invariants: All,
    pub(super) tally: Tally,
    /// Tells apart draws of one moment.
    pub(super) ordinal: u64,
    out: Outputs<S::P>,
    pub(super) cut: Option<InForce>,
    pub(super) calm: bool,
    /// Something was acknowledged after the calm.
    pub(super) served: bool,
    /// Somebody applied a seal.
    pub(super) sealed: bool,
    /// By index less 1: the highest ballot anybody had led in when it was first given out. It was decided in none above.
    pub(super) under: Vec<u64>,
    pub(super) highest: u64,
    leader: Option<NodeId>,
    /// The message being heard is not from whom it says: blame for it is nobody's.
    pub(super) forged: bool,
    pub(super) story: Option<Vec<String>>,
}

impl<'a, S: Subject> World<'a, S> {
    /// A world according to a plan, nothing started.
    #[must_use]
    pub fn new(subject: &'a S, plan: Plan) -> Self {
        assert!((1..=NODES_MAX).contains(&plan.nodes), "1 to {NODES_MAX} nodes");
        let members: Vec<NodeId> = (1..=plan.nodes as u64).map(NodeId).collect();
        let sites = members.iter().enumerate().map(|(i, id)| Site::new(&plan, *id, i)).collect();
        let mut invariants = All::default();
        invariants.proposed.may_double = subject.may_double();
        Self {
            subject,
            seed: Seed(plan.seed),
            order: subject.order(),
            network: Network::new(&plan),
            mint: Mint::new(plan.seed, plan.conflict, plan.pad),
            members,
            now: Instant::ZERO,
            heap: BinaryHeap::with_capacity(1024),
            slots: Vec::with_capacity(1024),
            free: Vec::new(),
            sequence: 0,
            events: 0,
            trace: 0,
            sites,
            clients: Clients { goal: u64::MAX, ..Clients::default() },
            invariants,
            tally: Tally::default(),
            ordinal: 0,
            out: Vec::new(),
            cut: None,
            calm: false,
            served: false,
            sealed: false,
            under: Vec::new(),
            highest: 0,
            leader: None,
            forged: false,
            story: None,
            plan,
        }
    }

    /// Remembers what happens, for the report of a failure. Costs a lot.
    #[must_use]
    pub fn with_story(mut self) -> Self {
        self.story = Some(Vec::new());
        self
    }

    /// Makes these invariants look away, so that what is found without them is known.
    #[must_use]
    pub fn blind_to(mut self, names: &'static [&'static str]) -> Self {
        self.invariants.blind = names;
        self
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first invariant broken.
    pub fn run(mut self) -> Result<Report, Failure> {
        match self.play() {
            Ok(healed) => Ok(Report {
                trace: self.trace,
                events: self.events,
                lasted: self.now.since(Instant::ZERO),
                healed,
                tally: self.tally,
            }),
            Err(broken) => Err(Failure {
                seed: self.plan.seed,
                scenario: self.plan.scenario,
                at: self.now,
                broken,
                story: self.story.unwrap_or_default(),
            }),
        }
    }

    fn play(&mut self) -> Result<Duration, Broken> {
        let traitors = self.plan.nodes - self.plan.traitors;
        for node in 0..self.plan.nodes {
            if node >= traitors {
                let kind = self.seed.draw(LIAR, node as u64, Instant::ZERO, 0);
                self.sites[node].liar = self.subject.liar(&self.place(node), kind);
            }
            self.start(node)?;
        }
        for (number, (at, _)) in self.plan.faults.clone().into_iter().enumerate() {
            self.push(at, Event::Fault { number: number as u32 });
        }
        self.push(self.plan.calm, Event::Calm);
        self.push(Instant::ZERO + self.plan.gap, Event::Client);
        while let Some(Reverse((at, sequence, slot))) = self.heap.pop() {
            let event = self.slots[slot as usize].take().expect("every heap entry has a slot");
            self.free.push(slot);
            self.now = at;
            self.ordinal = 0;
            self.events += 1;
            self.trace = fold(self.trace ^ at.as_nanos(), sequence);
            if self.events > EVENTS_MAX {
                return Err(Self::odd(format!("more than {EVENTS_MAX} events: the protocol runs away")));
            }
            if let Some(healed) = self.happen(event)? {
                return Ok(healed);
            }
        }
        unreachable!("the poll goes on until the end")
    }

    /// A fault of the protocol against its contract that no other invariant names.
    pub(super) fn odd(what: String) -> Broken {
        Broken { invariant: "contract", what }
    }

    pub(super) fn push(&mut self, at: Instant, event: Event<<S::P as Protocol>::Message>) {
        let slot = if let Some(slot) = self.free.pop() {
            self.slots[slot as usize] = Some(event);
            slot
        } else {
            self.slots.push(Some(event));
            self.slots.len() as u32 - 1
        };
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, slot)));
    }

    /// A draw in `0..n` of this moment.
    pub(super) fn below(&mut self, n: u64, purpose: Purpose, entity: u64) -> u64 {
        self.ordinal += 1;
        self.seed.below(n, purpose, entity, self.now, self.ordinal)
    }

    pub(super) fn place(&self, node: usize) -> Place<'_> {
        Place {
            me: self.members[node],
            members: &self.members,
            seed: self.seed.draw(PROTOCOL, node as u64, Instant::ZERO, 0),
            round_trip: ROUND_TRIP,
            tight: self.plan.tight,
            fine: self.plan.fine,
        }
    }

    /// Shows a fact to the invariants, unless a traitor is its subject.
    pub(super) fn see(&mut self, node: usize, fact: Fact) -> Result<(), Broken> {
        if self.sites[node].liar.is_some() {
            return Ok(());
        }
        self.tell(|| format!("{fact:?}"));
        self.invariants.see(&fact)
    }

    pub(super) fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            if story.len() == STORY {
                story.drain(..STORY / 2);
            }
            story.push(format!("{:>12} {}", self.now.as_nanos() / 1_000, line()));
        }
    }

    /// When a paused node's turn comes, if it is paused.
    fn paused(&self, node: u8) -> Option<Instant> {
        let until = self.sites[usize::from(node)].paused_until;
        (until > self.now).then_some(until)
    }

    fn alive(&self, node: u8, life: u32) -> bool {
        let site = &self.sites[usize::from(node)];
        site.life == life && site.protocol.is_some()
    }

    fn happen(&mut self, event: Event<<S::P as Protocol>::Message>) -> Result<Option<Duration>, Broken> {
        if let Event::Message { to: node, .. }
        | Event::Forged { to: node, .. }
        | Event::Tick { node, .. }
        | Event::Hint { node, .. }
        | Event::Synced { node, .. }
        | Event::Checkpointed { node, .. }
        | Event::Vouched { node, .. }
        | Event::Compacted { node, .. }
        | Event::Bring { to: node, .. } = event
            && let Some(until) = self.paused(node)
        {
            self.push(until, event);
            return Ok(None);
        }
        match event {
            Event::Message { from, to, message } => self.deliver(from, to, message)?,
            Event::Forged { from, to, message } => {
                self.forged = true;
                let delivered = self.deliver(from, to, message);
                self.forged = false;
                delivered?;
            }
            Event::Tick { node, life } if self.alive(node, life) => self.tick(usize::from(node))?,
            Event::Synced { node, life } if self.alive(node, life) => {
                self.tally.add(Seen::Synced);
                let news = self.sites[usize::from(node)].disk.end_sync();
                self.persisted(usize::from(node), news)?;
                self.sync(usize::from(node));
            }
            Event::Checkpointed { node, life } if self.alive(node, life) => {
                self.checkpointed(usize::from(node))?
            }
            Event::Vouched { node, life } if self.alive(node, life) => self.vouched(usize::from(node))?,
            Event::Compacted { node, life, number }
                if self.alive(node, life) && self.sites[usize::from(node)].compacting == number =>
            {
                self.tally.add(Seen::Compacted);
                let news = self.sites[usize::from(node)].disk.end_compaction();
                self.persisted(usize::from(node), news)?;
            }
            Event::Bring { from, to, what } => self.bring(usize::from(from), usize::from(to), &what)?,
            Event::Start { node } => {
                let gone = self.calm && self.plan.gone.has(usize::from(node));
                if self.sites[usize::from(node)].protocol.is_none() && !gone {
                    self.start(usize::from(node))?;
                }
            }
            Event::Hint { node, peer } if self.sites[usize::from(node)].protocol.is_some() => {
                self.tally.add(Seen::Hinted);
                let peer = self.members[usize::from(peer)];
                self.step(usize::from(node), Input::Unreachable(peer))?;
            }
            Event::Fall { node, life } if self.alive(node, life) && !self.calm => {
                self.fall(usize::from(node))?
            }
            Event::Fault { number } => self.fault(number)?,
            Event::Mend { number } => self.mend(number)?,
            Event::Knock { node } => self.knock(usize::from(node))?,
            Event::Client => self.client()?,
            Event::Calm => self.begin_calm()?,
            Event::Poll => return self.poll(),
            Event::Tick { .. }
            | Event::Synced { .. }
            | Event::Checkpointed { .. }
            | Event::Vouched { .. }
            | Event::Fall { .. }
            | Event::Hint { .. }
            | Event::Compacted { .. } => {}
        }
        Ok(None)
    }

    fn deliver(&mut self, from: u8, to: u8, message: <S::P as Protocol>::Message) -> Result<(), Broken> {
        let (from, to) = (usize::from(from), usize::from(to));
        if self.sites[to].protocol.is_none() {
            self.tally.add(Seen::Lost);
            return Ok(());
        }
        self.tally.add(Seen::Delivered);
        self.trace = fold(self.trace, (from * 16 + to) as u64);
        let sender = self.sites[from].id;
        self.tell(|| format!("{sender} to {} {message:?}", NodeId(to as u64 + 1)));
        if let Some(mut liar) = self.sites[to].liar.take() {
            liar.hear(self.sites[to].clock.local(self.now), sender, &message);
            self.sites[to].liar = Some(liar);
        }
        self.step(to, Input::Message { from: sender, message })
    }

    fn tick(&mut self, node: usize) -> Result<(), Broken> {
        let site = &mut self.sites[node];
        if site.armed > self.now {
            return Ok(()); // a later tick took its place
        }
        site.armed = Instant::FAR;
        let due = site.protocol.as_ref().is_some_and(|p| p.wake_at() <= site.clock.local(self.now));
        if !due {
            return self.arm(node);
        }
        // Ticks are counted, not wishes: after a pause a thousand messages come at one moment.
        site.spins += 1;
        if site.spins > SPINS_MAX {
            return Err(Self::odd(format!("{} wants {SPINS_MAX} ticks at one moment", site.id)));
        }
        self.step(node, Input::Tick)
    }

    /// Sees to it that the tick the protocol wants will come.
    fn arm(&mut self, node: usize) -> Result<(), Broken> {
        let now = self.now;
        let site = &mut self.sites[node];
        let Some(protocol) = &site.protocol else { return Ok(()) };
        let at = site.clock.truth(protocol.wake_at()).max(now);
        if at > now {
            site.spins = 0;
        }
        if at < site.armed {
            site.armed = at;
            let (node, life) = (node as u8, site.life);
            self.push(at, Event::Tick { node, life });
        }
        Ok(())
    }

    /// Gives a node one input and carries out what it says.
    pub(super) fn step(
        &mut self,
        node: usize,
        input: Input<<S::P as Protocol>::Message>,
    ) -> Result<(), Broken> {
        let local = self.sites[node].clock.local(self.now);
        let mut out = core::mem::take(&mut self.out);
        self.sites[node].wrote = false;
        let Some(protocol) = &mut self.sites[node].protocol else { return Ok(()) };
        protocol.step(local, input, &mut out);
        if let Some(mut liar) = self.sites[node].liar.take() {
            self.tally.add(Seen::Lied);
            liar.speak(local, self.members[node], &self.members, &mut out);
            for (from, to, message) in liar.forge() {
                self.put_on_the_wire(from, to, message);
            }
            self.sites[node].liar = Some(liar);
        }
        let carried = out.drain(..).try_for_each(|output| self.carry(node, output));
        self.out = out;
        carried?;
        self.elected(node)?;
        self.sync(node);
        self.checkpoint(node);
        self.arm(node)
    }

    /// Sees whether a node has begun to lead; then it must hold all that is decided.
    fn elected(&mut self, node: usize) -> Result<(), Broken> {
        if self.subject.leaderless() {
            return Ok(());
        }
        let Some(protocol) = &self.sites[node].protocol else { return Ok(()) };
        let standing = protocol.standing();
        let ballot = (standing.role == Role::Leader).then_some(standing.ballot);
        if core::mem::replace(&mut self.sites[node].led, ballot) == ballot {
            return Ok(());
        }
        let (Some(ballot), id) = (ballot, self.members[node]) else { return Ok(()) };
        self.highest = self.highest.max(ballot);
        self.see(node, Fact::Elected { node: id, ballot })?;
        let top = self.under.len() as u64;
        for index in top.saturating_sub(COMPARED) + 1..=top {
            // Who is late may begin to lead below others that have decided since.
            if self.under[index as usize - 1] >= ballot {
                continue;
            }
            let (Some(decided), Some(protocol)) =
                (self.invariants.decided(0, index), &self.sites[node].protocol)
            else {
                continue;
            };
            let held = match self.subject.log_at(protocol, index) {
                Held::Untold => continue,
                Held::Nothing => None,
                Held::Value(payload) => Some(self.value(payload).0),
            };
            self.tally.add(Seen::Compared);
            self.see(node, Fact::Complete { node: id, index, decided, held })?;
        }
        Ok(())
    }

    fn put_on_the_wire(&mut self, from: NodeId, to: NodeId, message: <S::P as Protocol>::Message) {
        if let (Ok(from), Ok(to)) = (self.members.binary_search(&from), self.members.binary_search(&to))
            && from != to
            && self.sites[to].liar.is_none()
        {
            self.tally.add(Seen::Forged);
            let (from, to) = (from as u8, to as u8);
            self.push(self.now + self.plan.delay.0, Event::Forged { from, to, message });
        }
    }

    pub(super) fn persisted(&mut self, node: usize, news: Option<u64>) -> Result<(), Broken> {
        let Some(ticket) = news else { return Ok(()) };
        while let Some(held) = self.sites[node].release() {
            self.send(node, held.to, held.message);
        }
        self.step(node, Input::Persisted(Ticket(ticket)))
    }

    /// Starts a node from what its disk holds.
    pub(super) fn start(&mut self, node: usize) -> Result<(), Broken> {
        let now = self.now;
        let id = self.members[node];
        let config = self.subject.config(&self.place(node));
        let marked = self.sites[node]
            .start(config, now)
            .map_err(|corrupt| Self::odd(format!("{id} can't restart: {corrupt}")))?;
        if marked {
            self.tally.add(Seen::FromMark);
        }
        self.tell(|| format!("{id} starts"));
        self.based(node)?;
        self.arm(node)
    }

    pub(super) fn based(&mut self, node: usize) -> Result<(), Broken> {
        let site = &self.sites[node];
        let Some(protocol) = &site.protocol else { return Ok(()) };
        let fact = Fact::Based {
            node: site.id,
            state: site.state.applied,
            protocol: protocol.standing().decided,
            total: self.order == Order::Total,
        };
        self.see(node, fact)
    }

    /// The place of the node that says it leads, by the highest ballot.
    pub(super) fn leading(&mut self) -> usize {
        let best = (0..self.sites.len())
            .filter_map(|i| {
                let standing = self.sites[i].protocol.as_ref()?.standing();
                (standing.role == Role::Leader).then_some((standing.ballot, i))
            })
            .max();
        let Some((_, node)) = best else { return (self.now.as_nanos() % self.sites.len() as u64) as usize };
        if self.leader != Some(self.members[node]) {
            self.leader = Some(self.members[node]);
            self.tally.add(Seen::Led);
        }
        node
    }
}
