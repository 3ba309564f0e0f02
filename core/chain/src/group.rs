//! One group on this node: its chain of epochs, the engines of those that run, where its peers are.

use crate::adapt::{Eye, applicable};
use crate::behind;
use crate::bugs::bug;
use crate::driver::{Driver, Seat, StepEngine};
use crate::fetch::Fetch;
use crate::journal::{Journal, Told};
use crate::lens::Lens;
use crate::manifest::{Manifest, Slot};
use crate::record::{ChainRecord, Past, Tail, outer, term};
use crate::spec::{EngineKind, Spec, times};
use crate::trust::Wish;
use bytes::Bytes;
use dwcp_consensus::pbft::Pbft;
use dwcp_consensus::select::Policy;
use dwcp_consensus::step::Protocol;
use dwcp_consensus::{Checkpointed, Members, Position, Role, StateMachine, Status, epaxos, paxos};
use dwcp_env::{Duration, GroupId, Instant, Lane, NodeId, Now, Probe, Purpose, Seed};
use dwcp_raft::{Brief as RaftBrief, GroupConfig, RaftHost, SharedWal};
use dwcp_wal::{GroupLog, Record};
use spin::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Messages of the next epoch that wait until this node has its seal.
const EARLY_MAX: usize = 1_024;
/// Epochs ahead that are believed to be near.
const EARLY_EPOCHS: u32 = 2;
/// Bytes of them.
const EARLY_BYTES_MAX: usize = 8 << 20;

/// For so long a later state is waited for, by who can't go on from the one it has.
const AWAITED_FOR: Duration = Duration::secs(10);
/// Beacons after which what a peer said is not gone by any more.
const HEARD_BEATS: u64 = 4;
/// A peer is shunned for so long at first, and twice as long each time.
const SHUN_FIRST: Duration = Duration::secs(1);
/// Until it is 64 s of one that lied, and 16 s of one that was silent.
const SHUN_WRONG_MAX: u32 = 7;
const SHUN_SILENT_MAX: u32 = 5;

const DRAWS: Purpose = Purpose::named("chain.engine_draws");

/// What a group is given when it is added.
#[derive(Clone, Debug)]
pub struct ChainConfig {
    /// Times and bounds, for every engine; Raft's own beside them. `initial` is taken from `genesis`.
    pub raft: GroupConfig,
    /// The first epoch; `None` on a node that joins a group and has no state of it yet.
    pub genesis: Option<Spec>,
    /// Whom to ask for state while no members are known.
    pub known: Vec<NodeId>,
    /// This node's key, without which it takes no part in an epoch whose members may lie.
    pub secret: Option<Secret>,
    /// By what the engine and its leader are chosen; `None`: by operators only.
    pub policy: Option<Policy>,
    /// Known bugs, for the simulator's own test.
    #[cfg(feature = "planted-bugs")]
    pub bugs: crate::ChainBugs,
}

/// The secret of a node's consensus key: an Ed25519 seed, the world's to give. It is printed nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How a group is doing, in brief.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Brief {
    /// This node's role.
    pub role: Role,
    /// The current term; of a later epoch it is higher.
    pub term: u64,
    /// Where commands and barriers go: the leader; this node, where every member serves.
    pub leader: Option<NodeId>,
    /// Who keeps time for leases: the leader; one of the voters where every member serves, until it is silent.
    pub keeper: Option<NodeId>,
    /// The last entry in its log.
    pub last_index: u64,
    /// The last entry known to be decided.
    pub committed_index: u64,
    /// The last entry applied here.
    pub applied_index: u64,
    /// The epoch the state is in.
    pub epoch: u32,
    /// Its engine.
    pub engine: EngineKind,
}

/// Where a peer is, by its own word.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) epoch: u32,
    pub(crate) applied: u64,
    pub(crate) silent: bool,
    pub(crate) leader: Option<NodeId>,
    pub(crate) offered_at: Instant,
    /// When it said so last; `None`: it has said nothing, and only what was made of it is here.
    pub(crate) heard_at: Option<Instant>,
    pub(crate) shunned: Shunned,
}

/// A peer whose states came to nothing, again and again: for a while none is asked of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shunned {
    times: u32,
    pub(crate) until: Instant,
}

impl Shunned {
    /// One more came to nothing: because it was wrong, or because it did not come.
    pub(crate) fn again(&mut self, now: Instant, wrong: bool) {
        self.times =
            (self.times + 1).min(if wrong { SHUN_WRONG_MAX } else { SHUN_SILENT_MAX.max(self.times) });
        self.until = now + SHUN_FIRST * (1 << (self.times - 1));
    }
}

/// The engine of an epoch.
pub(crate) enum Running<R> {
    /// openraft, under this number.
    Raft(GroupId),
    /// A protocol's driver.
    Step(Box<dyn StepEngine<R> + Send>),
    /// No part in it: not a voter, or what was promised is lost.
    Aside { silent: bool },
}

pub(crate) struct Epoch<R> {
    pub(crate) running: Running<R>,
    pub(crate) spec: Spec,
    pub(crate) id: u64,
    pub(crate) base: u64,
    pub(crate) opened_at: Instant,
}

pub(crate) struct Early {
    pub(crate) from: NodeId,
    pub(crate) lane: Lane,
    pub(crate) epoch: u32,
    pub(crate) id: u64,
    pub(crate) body: Bytes,
}

/// An epoch whose journal begins behind the state.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Awaited {
    pub(crate) epoch: u32,
    since: Instant,
}

/// One group of a [`crate::ChainHost`].
pub struct ChainGroup<SM: StateMachine> {
    pub(crate) id: GroupId,
    pub(crate) config: ChainConfig,
    pub(crate) machine: Arc<Mutex<SM>>,
    pub(crate) tail: Tail,
    pub(crate) probe: Probe,
    pub(crate) wal: SharedWal,
    pub(crate) manifest: Manifest,
    /// Of slots not opened yet.
    pub(crate) logs: BTreeMap<GroupId, GroupLog>,
    /// Whether the state is what this node left: else one must be fetched before an engine runs.
    pub(crate) whole: bool,
    /// Its log stays in `logs` meanwhile.
    awaited: Option<Awaited>,
    pub(crate) epochs: BTreeMap<u32, Epoch<SM::Response>>,
    early: VecDeque<Early>,
    early_bytes: usize,
    pub(crate) seen: BTreeMap<NodeId, Seen>,
    pub(crate) fetch: Option<Fetch>,
    /// Transfers begun.
    pub(crate) fetches: u64,
    /// Transfers that passed their allowance, since one came to its end.
    pub(crate) passed: u32,
    /// Begun for peers.
    pub(crate) serving: BTreeMap<NodeId, (Checkpointed, Bytes)>,
    /// A switch that waits for the members' keys.
    pub(crate) wish: Option<Wish>,
    pub(crate) beacon_at: Instant,
    /// The last turn's.
    pub(crate) clock: Instant,
    /// Before that this node does not ask for the keeper's role again.
    pub(crate) keep_at: Instant,
    /// Applied at the last beacon, and for how many it has not moved while a peer was ahead.
    pub(crate) stuck: (u64, u32),
    pub(crate) rolled_at: Option<Instant>,
    /// Before that no other state is asked for, but where one is offered.
    pub(crate) follow_at: Instant,
    pub(crate) fatal: Option<String>,
    pub(crate) eye: Eye,
    seed: Seed,
}

impl<SM: StateMachine> std::fmt::Debug for ChainGroup<SM> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChainGroup({})", self.id)
    }
}

/// What every command of a store touches: its revisions number all of them in one order.
fn all(_: &[u8]) -> epaxos::Footprint {
    epaxos::Footprint::All
}

impl<SM: StateMachine> ChainGroup<SM> {
    pub(crate) fn new(
        id: GroupId,
        config: ChainConfig,
        machine: Arc<Mutex<SM>>,
        wal: SharedWal,
        probe: Probe,
        found: crate::Found,
        seed: Seed,
    ) -> Result<Self, String> {
        let record = ChainRecord::decode(&machine.lock().applied().1)?;
        // A state that knows no chain, beside logs that it must have come before: it was lost, and came back empty.
        let purged = found.logs.get(&id).is_some_and(|log| log.purged.is_some());
        let stepped = config.genesis.as_ref().is_some_and(|g| g.engine != EngineKind::Raft);
        let beyond = found.has_later_epochs() || (stepped && purged);
        let lost = record.is_none() && beyond && !found.replays(id);
        let genesis = || ChainRecord::genesis(config.genesis.clone().unwrap_or_default());
        let tail = Tail::new(record.unwrap_or_else(genesis));
        let mut found = found;
        found.end_before(id, tail.epoch(), &wal);
        // A state that was there, and a log that is not: what was promised is gone with it.
        let emptied = !found.state_whole && !found.has_later_epochs() && found.is_blank();
        if found.doubtful || emptied {
            // A doubt outlives the lifetime that had the reason: the next one finds nothing missing.
            found.manifest.doubt = Some(None);
            found.manifest.write(id, &wal);
        }
        Ok(Self {
            id,
            machine,
            tail,
            probe,
            wal,
            manifest: found.manifest,
            logs: found.logs,
            whole: found.state_whole && !lost,
            awaited: None,
            epochs: BTreeMap::new(),
            early: VecDeque::new(),
            early_bytes: 0,
            seen: BTreeMap::new(),
            fetch: None,
            fetches: 0,
            passed: 0,
            serving: BTreeMap::new(),
            wish: None,
            beacon_at: Instant::ZERO,
            clock: Instant::ZERO,
            keep_at: Instant::ZERO,
            stuck: (0, 0),
            rolled_at: None,
            follow_at: Instant::ZERO,
            fatal: None,
            eye: Eye::default(),
            seed,
            config: ChainConfig { policy: config.policy.map(applicable), ..config },
        })
    }

    pub(crate) const fn me(&self) -> NodeId {
        self.config.raft.node
    }

    /// The number of the epoch the state is in.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.tail.epoch()
    }
    /// The epoch the state is in.
    #[must_use]
    pub fn spec(&self) -> Spec {
        self.tail.with(|t| t.spec.clone())
    }
    /// The index of the seal that began it, and the epochs before it, as far as they are remembered.
    #[must_use]
    pub fn history(&self) -> (u64, Vec<Past>) {
        self.tail.with(|t| (t.base, t.past.clone()))
    }
    /// Why the group can't go on, if so.
    pub(crate) fn fatal(&self, raft: &RaftHost<Lens<SM>>) -> Option<String> {
        let engines = self.epochs.values().find_map(|e| match &e.running {
            Running::Raft(slot) => raft.group(*slot).and_then(dwcp_raft::RaftGroup::fatal),
            _ => None,
        });
        self.fatal.clone().or_else(|| self.tail.lost()).or(engines)
    }

    pub(crate) fn current(&self) -> Option<&Epoch<SM::Response>> {
        self.epochs.get(&self.tail.epoch())
    }
    pub(crate) fn current_mut(&mut self) -> Option<&mut Epoch<SM::Response>> {
        self.epochs.get_mut(&self.tail.epoch())
    }

    /// Opens the engine of the epoch the state is in, unless it runs or can't run yet; the epoch that was opened. The state may be in
    /// a later one by then: a Raft carries out what it has on disk as it starts, and a seal may be among it.
    pub(crate) fn open(
        &mut self,
        now: Now,
        raft: &mut RaftHost<Lens<SM>>,
        next_slot: &mut u32,
    ) -> Result<Option<u32>, String> {
        let swapping = self.fetch.as_ref().is_some_and(|f| f.swapping);
        if self.epochs.contains_key(&self.tail.epoch()) || !self.whole || swapping {
            return Ok(None);
        }
        let record = self.tail.get();
        let spec = record.spec.clone();
        let me = self.me();
        let votes = spec.members.voters.contains(&me);
        // Raft carries learners itself; and one that joins its first epoch is told by its leader that it does.
        let part = match spec.engine {
            EngineKind::Raft => {
                spec.members.nodes.contains_key(&me) || spec.epoch == 0 || !record.inner.is_empty()
            }
            EngineKind::Paxos | EngineKind::EPaxos | EngineKind::Pbft => votes,
        };
        let running = if part {
            let (slot, silent) = self.slot(&spec, next_slot);
            let running =
                if silent { Running::Aside { silent } } else { self.start(now, &record, slot, raft)? };
            if self.awaited.is_none_or(|awaited| awaited.epoch != spec.epoch) {
                self.logs.remove(&slot);
            }
            running
        } else {
            Running::Aside { silent: false }
        };
        self.probe.sometimes("chain.member_of_no_engine", matches!(running, Running::Aside { .. }));
        let (epoch, id, base) = (spec.epoch, spec.id(), record.base);
        self.epochs.insert(epoch, Epoch { running, spec, id, base, opened_at: now.mono });
        Ok(Some(epoch))
    }

    /// The slot of an epoch, given out if it has none; and whether this node must keep silent in it.
    fn slot(&mut self, spec: &Spec, next_slot: &mut u32) -> (GroupId, bool) {
        if spec.epoch < self.manifest.floor {
            // It was in there once, and has ended what it had promised; its state is an older one than that.
            self.probe.reachable("chain.silent_behind_its_past");
            return (self.id, true);
        }
        let doubted = self.manifest.doubts(spec.epoch);
        if let Some(slot) = self.manifest.slot(self.id, spec) {
            let named = self.manifest.slots.iter().find(|s| GroupId(s.slot) == slot && s.epoch == spec.epoch);
            // The first epoch's slot is named by no manifest: without a log it is as good as new. (Raft's node judges its own.)
            let log = self.logs.get(&slot).is_some_and(|log| *log != GroupLog::default());
            let new = named.is_none() && !log && spec.engine != EngineKind::Raft;
            return (slot, named.map_or(new && doubted, |s| s.silent));
        }
        let silent = doubted;
        self.probe.sometimes("chain.silent_for_doubt", silent);
        let slot = *next_slot;
        *next_slot += 1;
        self.manifest.slots.push(Slot { epoch: spec.epoch, id: spec.id(), slot, silent });
        self.manifest.next = *next_slot;
        if !bug!(self.config.bugs, slot_forgotten) {
            self.manifest.write(self.id, &self.wal);
        }
        (GroupId(slot), silent)
    }

    /// Notes for good that this node takes no part in an epoch.
    fn keep_silent(&mut self, spec: &Spec, slot: GroupId) -> Running<SM::Response> {
        self.probe.reachable("chain.silent_for_damage");
        let (epoch, id) = (spec.epoch, spec.id());
        self.manifest.slots.retain(|s| s.epoch != epoch);
        self.manifest.slots.push(Slot { epoch, id, slot: slot.0, silent: true });
        self.manifest.write(self.id, &self.wal);
        Running::Aside { silent: true }
    }

    /// The journal begins behind this state. If that is a peer's, in the place of one that was lost, a later one is waited for;
    /// if none comes in time, or helps, this node keeps silent. Not so of Raft, whose vote and log are whole: it waits as long as it takes, and is a
    /// voter again then.
    fn await_state(&mut self, now: Instant, spec: &Spec, slot: GroupId) -> Running<SM::Response> {
        let since = match self.awaited {
            Some(awaited) if awaited.epoch == spec.epoch => awaited.since,
            _ => now,
        };
        if spec.engine != EngineKind::Raft && now.since(since) >= AWAITED_FOR {
            self.awaited = None;
            return self.keep_silent(spec, slot);
        }
        self.probe.reachable("chain.awaits_a_later_state");
        self.awaited = Some(Awaited { epoch: spec.epoch, since });
        Running::Aside { silent: false }
    }

    /// The engine that waits for a later state is to be tried again: one has come, or none does.
    pub(crate) fn try_awaited(&mut self, now: Instant, came: bool) {
        let Some(Awaited { epoch, since }) = self.awaited else { return };
        if epoch != self.tail.epoch() {
            // What came is of a later epoch: this one ends like others that were left.
            self.awaited = None;
            if let Some(slot) = self.epochs.get(&epoch).and_then(|e| self.manifest.slot(self.id, &e.spec)) {
                self.logs.remove(&slot);
            }
            return;
        }
        let waits = matches!(self.epochs.get(&epoch).map(|e| &e.running), Some(Running::Aside { .. }));
        let raft = self.spec().engine == EngineKind::Raft;
        if waits && (came || !raft && now.since(since) >= AWAITED_FOR) {
            self.epochs.remove(&epoch);
        }
    }

    /// Who was no member as an epoch of Raft began may be one by the state that came: Raft knows.
    pub(crate) fn try_raft(&mut self) {
        let here = self.current().map(|e| (&e.running, e.spec.engine, e.spec.epoch));
        let members = self.tail.with(|t| dwcp_raft::members_of(&t.inner));
        if let Some((Running::Aside { silent: false }, EngineKind::Raft, epoch)) = here
            && members.is_some_and(|m| m.nodes.contains_key(&self.me()))
        {
            self.probe.reachable("chain.raft_begins_late");
            self.epochs.remove(&epoch);
        }
    }

    fn start(
        &mut self,
        now: Now,
        record: &ChainRecord,
        slot: GroupId,
        raft: &mut RaftHost<Lens<SM>>,
    ) -> Result<Running<SM::Response>, String> {
        let log = self.logs.get(&slot).cloned().unwrap_or_default();
        let spec = &record.spec;
        let seat = self.seat();
        let draws = self.seed.part(DRAWS, u64::from(slot.0)).0;
        let me = self.me();
        let voters: Vec<NodeId> = spec.members.voters.iter().copied().collect();
        match spec.engine {
            EngineKind::Raft if log.vote_lost => Ok(self.keep_silent(spec, slot)),
            // Raft votes before it takes a second entry in; other engines' records are entries without votes. (Later epochs' engines
            // are named by the record, not by a file; and of a log that has lost something nobody knows.)
            EngineKind::Raft
                if spec.epoch == 0 && !log.suspect && log.vote.is_none() && log.entries.len() > 1 =>
            {
                Err(format!(
                    "its log was begun under another engine than raft, which its configuration names: set `engine` to what it \
                 was (the default is {}), and change it with `dwcp consensus switch`",
                    EngineKind::Paxos
                ))
            }
            // Its log begins behind what the epoch began with, and that is all this state holds.
            EngineKind::Raft if log.purged.is_some() && spec.epoch > 0 && self.applied() <= record.base => {
                Ok(self.await_state(now.mono, spec, slot))
            }
            EngineKind::Raft => {
                self.start_raft(now, record, slot, log, raft)?;
                self.awaited = None;
                Ok(Running::Raft(slot))
            }
            EngineKind::Paxos => {
                let mut config =
                    paxos::Config::new(me, voters, spec.system(), draws, times(&self.config.raft))
                        .map_err(|e| e.to_string())?;
                if let Some(first) = spec.first {
                    config = config.first_leader(first);
                }
                self.start_step::<paxos::Paxos>(now, record, slot, log, seat, config)
            }
            EngineKind::EPaxos => {
                let times = &self.config.raft;
                let settings = epaxos::Settings {
                    me,
                    quorums: spec.system(),
                    members: voters,
                    footprint: all,
                    buckets: 1,
                    resend: times.append_timeout,
                    recover_after: times.append_timeout * 2 + times.election_min,
                    beat: times.heartbeat,
                    give_up_after: times.election_max * 8,
                    chain_max: 4_096,
                    retain: 4_096,
                    marker_every: 1_024,
                    seed: draws,
                };
                let config = settings.check().map_err(|e| e.to_string())?;
                self.start_step::<epaxos::Epaxos>(now, record, slot, log, seat, config)
            }
            EngineKind::Pbft => match self.member_config(spec) {
                Some(config) => self.start_step::<Pbft>(now, record, slot, log, seat, config),
                None => {
                    // What it holds is not what the epoch knows of it: it could say nothing that is believed.
                    self.probe.reachable("chain.silent_for_another_key");
                    Ok(Running::Aside { silent: true })
                }
            },
        }
    }

    fn start_raft(
        &mut self,
        now: Now,
        record: &ChainRecord,
        slot: GroupId,
        mut log: GroupLog,
        raft: &mut RaftHost<Lens<SM>>,
    ) -> Result<(), String> {
        let spec = &record.spec;
        let fresh = log == GroupLog::default();
        let applied = self.machine.lock().applied_at().and_then(|at| record.inner(at));
        if let Some(at) = applied.filter(|_| spec.epoch > 0) {
            self.begin_log_behind(slot, &mut log, at);
        }
        let members = match &self.config.genesis {
            Some(genesis) if spec.epoch == 0 => &genesis.members,
            _ => &spec.members,
        };
        let founder = members.voters.contains(&self.me()) && applied.is_none();
        let forms = fresh && spec.first.is_none_or(|f| f == self.me());
        let initial = (founder && forms).then(|| founders(members));
        if spec.epoch > 0 && founder && initial.is_none() {
            self.found_log(slot, &mut log, members);
        }
        let config = GroupConfig { initial, ..self.config.raft.clone() };
        let lens = Arc::new(Mutex::new(Lens::new(self.machine.clone(), self.tail.clone())));
        raft.add_group(now, slot, config, lens, log).map_err(|e| e.to_string())
    }

    /// Who is not to lead first begins with the same first entry: whoever is left can elect another, and who has voted before it
    /// heard of any entry is a member all the same. Who lost it to its disk has it again in the same way, the one who was to lead too.
    fn found_log(&self, slot: GroupId, log: &mut GroupLog, members: &Members) {
        if log.purged.is_some() || log.entries.first().is_some_and(|e| e.index == 1) {
            return;
        }
        let nodes = founders(members);
        let Some(first) = dwcp_raft::founding(&Members { nodes, ..members.clone() }) else { return };
        let dwcp_wal::LogEntry { index, term, payload } = first.clone();
        self.wal.lock().append(slot, Record::Entry { index, term, payload });
        log.last = log.last.max(Some(index));
        log.entries.insert(0, first);
    }

    /// The log goes on behind the state ([`behind`]).
    fn begin_log_behind(&self, slot: GroupId, log: &mut GroupLog, at: Position) {
        let Some(behind) = behind::begin(log, at) else { return };
        self.probe.sometimes("chain.undecided_where_the_state_is", behind.overwritten);
        self.probe.reachable("chain.log_begins_behind_a_state");
        let mut wal = self.wal.lock();
        if behind.suspect && !bug!(self.config.raft.bugs, hole_untold) {
            wal.suspect(slot);
        }
        behind.records.into_iter().for_each(|record| {
            wal.append(slot, record);
        });
    }

    fn start_step<P: Protocol + Send + 'static>(
        &mut self,
        now: Now,
        record: &ChainRecord,
        slot: GroupId,
        log: GroupLog,
        seat: Seat<SM>,
        config: P::Config,
    ) -> Result<Running<SM::Response>, String>
    where
        P::Message: Send,
        P::Record: Send,
    {
        let spec = &record.spec;
        // Only Raft casts votes there. (A state that nothing was checkpointed of names no engine: its configuration does.)
        if log.vote.is_some() {
            return Err(format!(
                "its log was begun under raft, and its configuration says {}: set `engine = \"raft\"`, and change it with \
                 `dwcp consensus switch`",
                spec.engine
            ));
        }
        let forgiving = bug!(self.config.bugs, damage_ignored);
        let told = Journal::open::<P::Record>(self.wal.clone(), slot, log, forgiving);
        let Some(Told { journal, records }) = told else {
            return Ok(self.keep_silent(spec, slot));
        };
        let mark = Some(&record.inner).filter(|m| !m.is_empty());
        let Ok(protocol) = P::recover(config, mark, records, now.mono) else {
            return Ok(self.await_state(now.mono, spec, slot));
        };
        self.awaited = None;
        Ok(Running::Step(Box::new(Driver::<P, SM>::new(seat, spec.clone(), protocol, journal))))
    }

    fn seat(&self) -> Seat<SM> {
        let raft = &self.config.raft;
        Seat {
            group: self.id,
            me: self.me(),
            machine: self.machine.clone(),
            tail: self.tail.clone(),
            probe: self.probe.clone(),
            snapshot_after: (raft.snapshot_entries, raft.snapshot_bytes.0),
            #[cfg(feature = "planted-bugs")]
            bugs: self.config.bugs,
        }
    }

    /// Keeps a message of an epoch that this node has not come to.
    pub(crate) fn keep_early(&mut self, early: Early) {
        let size = early.body.len();
        if early.epoch > self.tail.epoch().saturating_add(EARLY_EPOCHS) {
            return;
        }
        if self.early.len() < EARLY_MAX && self.early_bytes + size <= EARLY_BYTES_MAX {
            self.early_bytes += size;
            self.early.push_back(early);
        }
    }
    /// Those of the epoch the state is in now; older ones are forgotten.
    pub(crate) fn take_early(&mut self) -> Vec<Early> {
        let epoch = self.tail.epoch();
        let (now, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.early)
            .into_iter()
            .filter(|e| e.epoch >= epoch)
            .partition(|e| e.epoch == epoch);
        self.early = later.into();
        self.early_bytes = self.early.iter().map(|e| e.body.len()).sum();
        now
    }

    /// Members of the epoch, as its engine sees them.
    pub(crate) fn members(&self, raft: &RaftHost<Lens<SM>>) -> Members {
        if let Some(Epoch { running: Running::Raft(slot), .. }) = self.current()
            && let Some(group) = raft.group(*slot)
        {
            let members = group.status().members;
            if !members.nodes.is_empty() {
                return members;
            }
        }
        self.tail.with(|t| t.spec.members.clone())
    }

    /// Whom to tell where this node is.
    pub(crate) fn peers(&self, raft: &RaftHost<Lens<SM>>) -> Vec<NodeId> {
        let mut peers: Vec<NodeId> = self.members(raft).nodes.into_keys().collect();
        let earlier = self.epochs.values().flat_map(|e| e.spec.members.nodes.keys());
        peers.extend(earlier.chain(self.seen.keys()).chain(&self.config.known));
        peers.sort_unstable();
        peers.dedup();
        peers.retain(|p| *p != self.me());
        peers
    }

    pub(crate) fn applied(&self) -> u64 {
        self.machine.lock().applied_at().map_or(0, |at| at.index)
    }

    /// The epoch of the last durable checkpoint. What an epoch of Raft began with is none of it yet: it bears the position of the seal, as
    /// an entry of the epoch before, whose log answers until a checkpoint of Raft's own does.
    pub(crate) fn durable_epoch(&self) -> u32 {
        let checkpoint = self.machine.lock().current_checkpoint();
        let read = |c: &Checkpointed| ChainRecord::decode(&c.engine_record).ok().flatten();
        checkpoint.and_then(|c| Some((read(&c)?, c.at.index))).map_or(0, |(record, index)| {
            let beginning = record.spec.engine == EngineKind::Raft && index <= record.base;
            record.spec.epoch.saturating_sub(u32::from(beginning))
        })
    }

    /// How it is doing.
    pub(crate) fn brief(&self, raft: &RaftHost<Lens<SM>>) -> Brief {
        let (epoch, engine, base) = self.tail.with(|t| (t.spec.epoch, t.spec.engine, t.base));
        let applied_index = self.applied();
        let nothing = Brief { epoch, engine, applied_index, term: term(epoch, 0), ..Brief::default() };
        match self.current().map(|e| (&e.running, &e.spec)) {
            Some((Running::Raft(slot), _)) => {
                let b = raft.group(*slot).map(dwcp_raft::RaftGroup::brief).unwrap_or_default();
                let RaftBrief { role, leader, last_index, committed_index, .. } = b;
                Brief {
                    role,
                    term: term(epoch, b.term),
                    leader,
                    keeper: leader,
                    last_index: base + last_index,
                    committed_index: base + committed_index,
                    // Of the engine: what it has applied it may answer.
                    applied_index: base + b.applied_index,
                    ..nothing
                }
            }
            Some((Running::Step(step), spec)) => {
                let s = step.standing();
                let leaderless = engine.serves_everywhere();
                let me = Some(self.me());
                // Both only rise, and the clocks of leases start anew with either.
                let turn = if leaderless { self.tail.with(|t| t.kept.turn) } else { 0 };
                Brief {
                    role: s.role,
                    term: term(epoch, s.ballot + turn),
                    leader: if leaderless { me } else { s.leader },
                    keeper: if leaderless { self.keeper(spec) } else { s.leader },
                    last_index: applied_index,
                    committed_index: applied_index,
                    ..nothing
                }
            }
            Some((Running::Aside { .. }, spec)) => {
                let leader = self.pointed_to();
                let keeper = if engine.serves_everywhere() { self.keeper(spec) } else { leader };
                Brief { leader, keeper, ..nothing }
            }
            None => nothing,
        }
    }

    /// Who keeps time for leases, where every member serves.
    pub(crate) fn keeper(&self, spec: &Spec) -> Option<NodeId> {
        self.tail.with(|t| t.kept.keeper).or_else(|| spec.members.voters.first().copied())
    }
    /// How often beacons go out.
    pub(crate) fn beat(&self) -> Duration {
        self.config.raft.heartbeat * 4
    }
    /// Where those who take part in the epoch send commands: whoever was heard last tells. Where members may lie nobody does.
    fn pointed_to(&self) -> Option<NodeId> {
        let epoch = self.tail.epoch();
        let told = self.seen.values().filter(|s| s.epoch == epoch && s.leader.is_some());
        let fresh = told.filter_map(|s| {
            let at = s.heard_at.filter(|at| self.clock.since(*at) <= self.beat() * HEARD_BEATS)?;
            Some((at, s.leader?))
        });
        fresh.max().map(|(_, leader)| leader).filter(|leader| *leader != self.me())
    }

    /// How this node sees the group.
    pub(crate) fn status(&self, raft: &RaftHost<Lens<SM>>) -> Status {
        let brief = self.brief(raft);
        let (epoch, base) = (brief.epoch, self.tail.with(|t| t.base));
        let inner = match self.current().map(|e| &e.running) {
            Some(Running::Raft(slot)) => raft.group(*slot).map(dwcp_raft::RaftGroup::status),
            _ => None,
        };
        let applied = self.machine.lock().applied_at();
        let snapshot_index = self.machine.lock().current_checkpoint().map_or(0, |c| c.at.index);
        let mut status = Status {
            role: brief.role,
            term: brief.term,
            leader: brief.leader,
            last_index: brief.last_index,
            committed_index: brief.committed_index,
            applied,
            snapshot_index,
            members: self.members(raft),
            matched: BTreeMap::new(),
            fatal: self.fatal(raft),
        };
        match inner {
            Some(inner) => {
                status.matched = inner.matched.into_iter().map(|(n, i)| (n, base + i)).collect();
                status.applied =
                    inner.applied.map(|at| outer(epoch, base, at)).or(applied.filter(|_| base > 0));
                status.snapshot_index =
                    if inner.snapshot_index > 0 { base + inner.snapshot_index } else { snapshot_index };
            }
            None => status.matched = self.seen.iter().map(|(n, s)| (*n, s.applied)).collect(),
        }
        status
    }

    /// The Raft epoch that wrote a position, and the position there.
    pub(crate) fn raft_place(&self, at: Position) -> Option<(GroupId, Position)> {
        self.epochs.values().find_map(|e| {
            let Running::Raft(slot) = e.running else { return None };
            let record = ChainRecord { spec: e.spec.clone(), base: e.base, ..ChainRecord::default() };
            Some((slot, record.inner(at)?))
        })
    }

    /// The silence after which a peer is asked again.
    pub(crate) const fn patience(&self) -> Duration {
        self.config.raft.piece_timeout
    }
}

pub(crate) fn founders(members: &Members) -> BTreeMap<NodeId, dwcp_consensus::Member> {
    members
        .nodes
        .iter()
        .filter(|(id, _)| members.voters.contains(id))
        .map(|(id, m)| (*id, m.clone()))
        .collect()
}
