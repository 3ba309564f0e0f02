//! Scenarios by name, and a seed expanded into what will go wrong.

use super::subject::Subject;
use crate::quorum::NodeSet;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, Purpose, Seed};

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// What the world puts a protocol through.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Scenario { $($(#[$doc])* $name),* }
        impl Scenario {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
            /// Its name.
            #[must_use]
            pub const fn name(self) -> &'static str { match self { $(Self::$name => $text),* } }
            /// By its name.
            #[must_use]
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|s| s.name() == name)
            }
        }
    };
}

scenarios! {
    /// Nothing goes wrong.
    Steady = "steady";
    /// Nodes crash, also several at once, also the leader.
    Crashes = "crashes";
    /// Messages are lost, doubled, late.
    Links = "links";
    /// Splits, one-way cuts, partial cuts, the leader alone.
    Partitions = "partitions";
    /// All nodes reach only one (Omni-Paxos: quorum loss).
    QuorumLoss = "quorum-loss";
    /// The leader is gone and only one other node has a quorum (Omni-Paxos: constrained election).
    Constrained = "constrained";
    /// A line of nodes with the leader at its end (Omni-Paxos).
    Chained = "chained";
    /// The old leader reaches one voter of the only quorum (openraft #2080).
    Bridge = "bridge";
    /// Slow and stalled disks.
    Disks = "disks";
    /// Nodes pause and come back with what they knew.
    Pauses = "pauses";
    /// Clocks run at different speeds.
    Drift = "drift";
    /// Checkpoints, trimmed logs, laggards brought up by checkpoints.
    Checkpoints = "checkpoints";
    /// A member loses its disk (protocols that bear it).
    Wipes = "wipes";
    /// Members lie, and others crash (protocols that bear it).
    Liars = "liars";
    /// An epoch is sealed while nodes crash and links are cut.
    Seals = "seals";
    /// Logs that are small and seldom trimmed, payloads of any length, slow checkpoints.
    Full = "full";
    /// Everything together.
    Storm = "storm";
    /// One short fault after the other, mostly at the leader, over bad links: many leaders in a row, each
    /// of whom leaves something half done.
    Upheaval = "upheaval";
    /// Up to half of all messages are lost, syncs take as long as round trips, everybody crashes for a moment, and what is told in
    /// pieces comes in small ones: those who would lead, or recover a command, undo each other.
    Duels = "duels";
    /// Over cut and bad links as many nodes as the protocol bears end at one moment, and never come back: what they had begun the others
    /// find out.
    Gone = "gone";
}

/// A way to cut links.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// Two sides.
    Split,
    /// One node is not heard, or hears nothing.
    OneWay,
    /// A third of all directions.
    Partial,
    /// The leader alone.
    Isolate,
    /// Everybody reaches only one who is not the leader.
    QuorumLoss,
    /// The leader alone, the others reach only one of them.
    Constrained,
    /// A line with the leader at its end.
    Chained,
    /// The leader reaches one member of the only quorum; one node reaches nobody.
    OldLeader,
    /// A node reaches only one other.
    Confides {
        /// Its place.
        who: usize,
        /// That of the other.
        to: usize,
    },
}

/// Something that goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A node loses its memory (none: the leader).
    Crash {
        /// Its place.
        node: Option<usize>,
        /// Until it starts again.
        down: Duration,
        /// Its disk is lost too.
        wipe: bool,
    },
    /// A node does nothing for a while.
    Pause {
        /// Its place.
        node: Option<usize>,
        /// How long.
        lasts: Duration,
    },
    /// Syncs take longer.
    Slow {
        /// Its place.
        node: usize,
        /// How long.
        lasts: Duration,
        /// How many times.
        factor: u64,
    },
    /// The leader is told to hand over ([`crate::step::Input::Transfer`]).
    Transfer {
        /// The place of the successor.
        to: usize,
    },
    /// Links are cut.
    Cut {
        /// How.
        shape: Shape,
        /// How long.
        lasts: Duration,
    },
}

/// A world and all that goes wrong in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// What it was made from.
    pub seed: u64,
    /// What it was made for.
    pub scenario: Scenario,
    /// How many nodes.
    pub nodes: usize,
    /// How many commands must be acknowledged.
    pub commands: u32,
    /// When all faults end.
    pub calm: Instant,
    /// How long after it everything must be decided everywhere.
    pub patience: Duration,
    /// One way: at least, and up to so much more.
    pub delay: (Duration, Duration),
    /// Of 65,536 messages, how many are lost.
    pub loss: u32,
    /// How many come twice.
    pub double: u32,
    /// How many may overtake and be overtaken.
    pub overtake: u32,
    /// Links keep order whatever else.
    pub fifo: bool,
    /// A sync: at least, and up to so much more.
    pub sync: (Duration, Duration),
    /// Clocks run up to so many millionths faster or slower.
    pub drift: u64,
    /// Of 65,536 messages, how many come long after they were sent.
    pub late: u32,
    /// They come so much later, up to twenty times.
    pub old: Duration,
    /// Of 65,536 cuts, how many hold what is sent until they are mended (else it is lost).
    pub holds: u32,
    /// A checkpoint each so many indices (0: none).
    pub checkpoint_every: u64,
    /// A checkpoint takes up to so long to a peer.
    pub brought: Duration,
    /// A file takes up to so many syncs to write.
    pub writes: u64,
    /// Of 65,536 installations, how many are followed by a crash.
    pub falls: u32,
    /// Of 65,536 messages that leave before what their sender recorded in the same step is on disk, how many it falls over, at
    /// once, to come back a millisecond later.
    pub ambush: u32,
    /// From then on clients try to seal the epoch.
    pub seals_from: Instant,
    /// Commands are padded by up to so many bytes.
    pub pad: u16,
    /// Logs are small: [`super::Place::tight`].
    pub tight: bool,
    /// Pieces are small: [`super::Place::fine`].
    pub fine: bool,
    /// Questions open at one node at most.
    pub window: usize,
    /// Commands proposed together.
    pub batch: usize,
    /// Batches proposed in one turn, one after the other.
    pub burst: u64,
    /// Between two turns of the clients.
    pub gap: Duration,
    /// Of 65,536 turns, how many also read.
    pub reads: u32,
    /// Of 65,536 commands, how many go to one key.
    pub conflict: u32,
    /// How many members lie: those at the last places.
    pub traitors: usize,
    /// Who never comes back when the faults end.
    pub gone: NodeSet,
    /// What goes wrong, in order of time.
    pub faults: Vec<(Instant, Fault)>,
}

const PLAN: Purpose = Purpose::named("rehearsal plan");
/// A round trip without faults, at most.
pub(super) const ROUND_TRIP: Duration = Duration::millis(4);

/// Numbers drawn for a plan, one after the other by name of their place.
struct Dice {
    seed: Seed,
}

impl Dice {
    fn below(&self, what: u64, n: u64) -> u64 {
        self.seed.below(n, PLAN, what, Instant::ZERO, 0)
    }
    fn pick<T: Copy>(&self, what: u64, from: &[T]) -> T {
        from[self.below(what, from.len() as u64) as usize]
    }
}

impl Plan {
    /// What this seed of this scenario holds.
    #[must_use]
    pub fn expand<S: Subject>(subject: &S, scenario: Scenario, seed: u64) -> Self {
        let dice = Dice { seed: Seed(seed) };
        let timeout = subject.timeout(ROUND_TRIP);
        let partial = matches!(
            scenario,
            Scenario::QuorumLoss | Scenario::Constrained | Scenario::Chained | Scenario::Bridge
        );
        let mut nodes = dice.pick(1, subject.sizes());
        if partial && nodes < 5 && matches!(scenario, Scenario::QuorumLoss | Scenario::Constrained)
            || partial && nodes < 3
        {
            nodes = subject.sizes().iter().copied().find(|n| *n >= 5).unwrap_or(nodes);
        }
        let span = timeout * if partial { 40 } else { 12 };
        let batch = dice.pick(2, &[1, 2, 2, 4, 8]);
        let turns = u64::from(subject.commands()) / batch as u64;
        let storm = scenario == Scenario::Storm;
        let upheaval = scenario == Scenario::Upheaval;
        let rough = storm
            || upheaval
            || scenario == Scenario::Duels
            || matches!(scenario, Scenario::Links | Scenario::Seals | Scenario::Gone);
        let duels = scenario == Scenario::Duels;
        let full = scenario == Scenario::Full;
        // Now and then all at once, and then nothing: what found no room is asked for by nobody again.
        let bursts = matches!(scenario, Scenario::Steady | Scenario::Disks);
        let burst = if bursts { dice.pick(29, &[1, 1, 16]) } else { 1 };
        let trims = storm || upheaval || full || matches!(scenario, Scenario::Checkpoints | Scenario::Seals);
        let mut plan = Self {
            seed,
            scenario,
            nodes,
            commands: subject.commands(),
            calm: Instant::ZERO + span,
            patience: timeout * 40,
            delay: (Duration::micros(200), Duration::micros(dice.pick(3, &[50, 400, 1_500]))),
            loss: if rough { dice.pick(4, &[0, 60, 650, 3_300]) } else { 0 },
            double: if rough { dice.pick(5, &[0, 650, 3_300]) } else { 0 },
            overtake: if rough { dice.pick(6, &[0, 650, 13_000]) } else { 0 },
            fifo: subject.needs_fifo(),
            sync: (Duration::micros(50), Duration::micros(dice.pick(7, &[50, 300]))),
            drift: if storm || scenario == Scenario::Drift { 20_000 } else { 100 },
            late: if rough { dice.pick(14, &[0, 650, 650]) } else { 0 },
            old: timeout / 4,
            holds: if rough || scenario == Scenario::Partitions {
                dice.pick(15, &[0, 32_768, 65_536])
            } else {
                0
            },
            checkpoint_every: if trims { dice.pick(8, &[20, 100, 300]) } else { 0 },
            brought: if trims { timeout * dice.pick(16, &[0, 1, 3]) } else { Duration::ZERO },
            writes: dice.pick(17, &[0, 4, 10]),
            falls: if rough || scenario == Scenario::Checkpoints {
                dice.pick(18, &[0, 16_384, 65_536])
            } else {
                0
            },
            ambush: 0,
            seals_from: Instant::FAR,
            pad: if full { dice.pick(19, &[0, 100, 2_000]) } else { 0 },
            tight: full,
            fine: duels,
            window: 64,
            batch,
            burst,
            gap: Duration::nanos(span.as_nanos() / (turns + turns / 8 + 1)) * burst,
            reads: dice.pick(9, &[0, 4_000, 16_000]),
            conflict: dice.pick(10, &[0, 6_554, 65_536]),
            traitors: 0,
            gone: NodeSet::EMPTY,
            faults: Vec::new(),
        };
        if scenario == Scenario::Liars || ((storm || upheaval) && dice.below(11, 2) == 0) {
            plan.traitors = subject.traitors(plan.nodes);
        }
        if upheaval {
            plan.loss = dice.pick(12, &[650, 3_300, 13_000]);
            plan.checkpoint_every = dice.pick(13, &[0, 20, 100]);
            plan.upheave(&dice, timeout);
        }
        if duels {
            plan.loss = dice.pick(12, &[6_500, 16_000, 30_000]);
            plan.sync.1 = Duration::micros(dice.pick(30, &[300, 1_500, 4_000]));
            plan.ambush = dice.pick(31, &[0, 8_192, 32_768]);
            plan.upheave(&dice, timeout);
        }
        if scenario == Scenario::Seals {
            plan.seals_from = Instant::from_nanos(dice.below(24, span.as_nanos()));
            plan.upheave(&dice, timeout);
        }
        if scenario == Scenario::Gone {
            let first = dice.below(32, nodes as u64) as usize;
            for nth in 0..subject.bears_gone(nodes) {
                plan.gone.insert((first + nth) % nodes);
            }
        }
        plan.fill(subject, &dice, timeout);
        plan.faults.sort_by_key(|(at, _)| *at);
        plan
    }

    /// Short faults in a row: some three to a timeout.
    fn upheave(&mut self, dice: &Dice, timeout: Duration) {
        for k in 0..20 + dice.below(30, 20) {
            let at = Instant::from_nanos(dice.below(1_000 + k, self.calm.as_nanos()));
            let node =
                (dice.below(2_000 + k, 3) > 0).then(|| dice.below(3_000 + k, self.nodes as u64) as usize);
            let short = Duration::nanos(dice.below(4_000 + k, (timeout / 4).as_nanos()) + 1_000_000);
            let fault = match dice.below(5_000 + k, 9) {
                0 => Fault::Transfer { to: node.unwrap_or(0) },
                1..4 => Fault::Crash { node, down: short, wipe: false },
                4 => Fault::Pause { node, lasts: short * 4 },
                5 => Fault::Slow {
                    node: node.unwrap_or(0),
                    lasts: short * 4,
                    factor: dice.pick(6_000 + k, &[10, 100]),
                },
                _ => {
                    let shape = dice
                        .pick(7_000 + k, &[Shape::OneWay, Shape::Partial, Shape::Partial, Shape::Isolate]);
                    Fault::Cut { shape, lasts: short * 4 }
                }
            };
            self.faults.push((at, fault));
        }
    }

    fn fill<S: Subject>(&mut self, subject: &S, dice: &Dice, timeout: Duration) {
        let calm = self.calm.as_nanos();
        let at = |k: u64| Instant::from_nanos(dice.below(100 + k, calm));
        let node = |k: u64| dice.below(300 + k, self.nodes as u64) as usize;
        let lasts = |k: u64| Duration::nanos(dice.below(400 + k, (timeout * 3).as_nanos()) + 1_000_000);
        let leader_or = |k: u64| (dice.below(500 + k, 3) > 0).then(|| node(k));
        let mut faults = core::mem::take(&mut self.faults);
        let is = |s: Scenario| self.scenario == s || self.scenario == Scenario::Storm;
        if is(Scenario::Crashes)
            || matches!(self.scenario, Scenario::Checkpoints | Scenario::Liars | Scenario::Full)
        {
            for k in 0..1 + dice.below(20, 6) {
                faults.push((at(k), Fault::Crash { node: leader_or(k), down: lasts(k), wipe: false }));
            }
        }
        if is(Scenario::Partitions) || self.scenario == Scenario::Checkpoints {
            for k in 10..11 + dice.below(21, 4) {
                let shape =
                    dice.pick(600 + k, &[Shape::Split, Shape::OneWay, Shape::Partial, Shape::Isolate]);
                faults.push((at(k), Fault::Cut { shape, lasts: lasts(k) }));
            }
        }
        if is(Scenario::Pauses) {
            for k in 20..21 + dice.below(22, 4) {
                faults.push((at(k), Fault::Pause { node: leader_or(k), lasts: lasts(k) }));
            }
        }
        if is(Scenario::Disks) {
            for k in 30..31 + dice.below(23, 4) {
                let factor = dice.pick(700 + k, &[10, 100, 100_000]);
                faults.push((at(k), Fault::Slow { node: node(k), lasts: lasts(k), factor }));
            }
        }
        if self.scenario == Scenario::Wipes && subject.bears_wipe() {
            faults.push((at(40), Fault::Crash { node: Some(node(40)), down: lasts(40), wipe: true }));
        }
        if self.scenario == Scenario::Gone {
            // Some of the last words reach one, and not the other.
            let who = (0..self.nodes)
                .find(|n| self.gone.has(*n) && !self.gone.has((n + self.nodes - 1) % self.nodes));
            let confides = who.map(|who| Shape::Confides { who, to: (who + 1) % self.nodes });
            let shape = confides.filter(|_| dice.below(800, 2) == 0).unwrap_or(Shape::Partial);
            let lasts = Duration::nanos(1 + dice.below(801, timeout.as_nanos()));
            faults.push((self.calm - lasts, Fault::Cut { shape, lasts }));
        }
        let shape = match self.scenario {
            Scenario::QuorumLoss => Some(Shape::QuorumLoss),
            Scenario::Constrained => Some(Shape::Constrained),
            Scenario::Chained => Some(Shape::Chained),
            Scenario::Bridge => Some(Shape::OldLeader),
            _ => None,
        };
        if let Some(shape) = shape {
            let start = Instant::ZERO + timeout * 6 + Duration::nanos(dice.below(50, timeout.as_nanos()));
            faults.push((start, Fault::Cut { shape, lasts: timeout * 24 }));
            // Half of the worlds have more to bear than the cut.
            self.loss = dice.pick(25, &[0, 0, 0, 650]);
            if dice.below(26, 4) == 0 {
                let down = Duration::nanos(dice.below(27, (timeout * 3).as_nanos()) + 1_000_000);
                let within = Duration::nanos(dice.below(28, (timeout * 24).as_nanos()));
                faults.push((start + within, Fault::Crash { node: Some(node(28)), down, wipe: false }));
            }
        }
        self.faults = faults;
    }
}
