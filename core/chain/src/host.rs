//! All groups of one node, each with its chain of epochs.
//!
//! **How a node uses it.** As it would a host of one engine: add groups with what the log gave back; in each turn hand in
//! messages, jobs and requests, then [`ChainHost::run`], carry out the outputs, flush the log. Which engine runs
//! shows in [`ChainHost::brief`] and nowhere else.

use crate::bugs::bug;
use crate::group::{Brief, ChainConfig, ChainGroup, Early, Epoch, Running};
use crate::lens::Lens;
use crate::manifest::{Found, SLOTS, next_slot};
use crate::message::{self, Body};
use crate::order::Order;
use crate::record::term;
use crate::spec::{EngineKind, Spec};
use bytes::Bytes;
use dwcp_consensus::quorum::System;
use dwcp_consensus::{
    EngineError, EngineOutput, MemberChange, Members, Position, StateMachine, Status, Token, Work,
};
use dwcp_env::exec::Pick;
use dwcp_env::{Duration, Event, GroupId, Instant, Job, JobId, JobResult, Lane, NodeId, Now, Probe, Seed};
use dwcp_raft::{AddError, RaftHost, SharedWal};
use dwcp_wal::Recovered;
use spin::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The chain's own jobs have numbers from here on; Raft's lie below, and all below [`dwcp_raft::JOBS_END`].
const OWN_JOBS: u64 = dwcp_raft::JOBS_END / 2;
/// Turns of a run: engines that feed each other for longer are cut short and woken at once.
const TURNS_MAX: usize = 1_000;
/// So long a hint that a process is gone counts for epochs that begin: the real world repeats it each second, and a peer that
/// lives may have no reason to write.
const GONE_FOR: Duration = Duration::secs(5);
/// A token nobody asked with: the chain's own wishes.
pub(crate) const OWN: Token = Token((1 << 62) - 1);

/// What the next epoch is to be like.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Switch {
    /// Its engine.
    pub engine: EngineKind,
    /// Its quorums; `None`: majorities.
    pub quorums: Option<System>,
    /// Who leads first; `None`: who leads now.
    pub first: Option<NodeId>,
    /// Of an epoch whose members may lie: the public half of the key that ends it.
    #[serde(default)]
    pub operator: Option<[u8; 32]>,
    /// To leave such an epoch: the seal, signed by its operator (`dwcp_consensus::pbft::seal`).
    #[serde(default)]
    pub signed: Option<Bytes>,
}

impl Switch {
    /// The epoch that this switch makes follow `current`, with these members and this first leader.
    #[must_use]
    pub fn next(&self, current: &Spec, members: Members, first: Option<NodeId>) -> Spec {
        Spec {
            epoch: current.epoch + 1,
            engine: self.engine,
            quorums: self.quorums.clone(),
            first: self.first.or(first).filter(|f| members.voters.contains(f)),
            members,
            distrust: None,
        }
    }
}

/// What a job of the chain is for.
pub(crate) enum Purpose {
    /// A checkpoint, a driver's or the chain's own.
    Checkpoint { epoch: u32 },
    /// A piece for a peer.
    Part { to: NodeId, checkpoint: dwcp_consensus::Checkpointed, cursor: Bytes, proof: Bytes },
    /// A piece of a peer's is taken in, by this transfer.
    Install { transfer: u64 },
    /// All pieces are swapped in.
    Swap,
}

/// The groups of one node incarnation.
pub struct ChainHost<SM: StateMachine> {
    pub(crate) raft: RaftHost<Lens<SM>>,
    pub(crate) groups: BTreeMap<GroupId, ChainGroup<SM>>,
    /// Of slots under Raft.
    slots: BTreeMap<GroupId, (GroupId, u32)>,
    pub(crate) wal: SharedWal,
    pub(crate) probe: Probe,
    seed: Seed,
    jobs: BTreeMap<JobId, (GroupId, Purpose)>,
    next_job: u64,
    next_slot: u32,
    /// Whose process seemed to be gone, since when, and who was not heard since: of the peers that this node has links to.
    gone: BTreeMap<NodeId, Instant>,
    raft_out: Vec<(GroupId, EngineOutput<SM::Response>)>,
    engine_out: Vec<EngineOutput<SM::Response>>,
    pub(crate) out: Vec<(GroupId, EngineOutput<SM::Response>)>,
    ended: Vec<(GroupId, u32)>,
}

impl<SM: StateMachine> std::fmt::Debug for ChainHost<SM> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChainHost({} groups)", self.groups.len())
    }
}

impl<SM: StateMachine> ChainHost<SM> {
    /// A host without groups. `seed` differs between incarnations of a node.
    #[must_use]
    pub fn new(pick: Pick, seed: Seed, wal: SharedWal, probe: Probe) -> Self {
        Self {
            raft: RaftHost::new(pick, seed, wal.clone(), probe.clone()),
            groups: BTreeMap::new(),
            slots: BTreeMap::new(),
            wal,
            probe,
            seed,
            jobs: BTreeMap::new(),
            next_job: OWN_JOBS,
            next_slot: SLOTS,
            gone: BTreeMap::new(),
            raft_out: Vec::new(),
            engine_out: Vec::new(),
            out: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Notes which slots the log knows, before any group is added: none is given out twice.
    pub fn reserve(&mut self, recovered: &Recovered) {
        self.next_slot = self.next_slot.max(next_slot(recovered));
    }

    /// Takes up a group with what the log gave back of it.
    ///
    /// # Errors
    /// Why it can't be hosted, or goes on from what no lifetime can have left.
    pub fn add_group(
        &mut self,
        now: Now,
        id: GroupId,
        config: ChainConfig,
        machine: Arc<Mutex<SM>>,
        found: Found,
    ) -> Result<(), String> {
        if self.groups.contains_key(&id) {
            return Err(AddError::Hosted(id).to_string());
        }
        if self.groups.len() >= dwcp_env::bound::GROUPS_PER_NODE {
            return Err(AddError::Many(dwcp_env::bound::GROUPS_PER_NODE).to_string());
        }
        self.next_slot = self.next_slot.max(found.manifest.next);
        let (wal, probe) = (self.wal.clone(), self.probe.clone());
        let mut group = ChainGroup::new(id, config, machine, wal, probe, found, self.seed)?;
        group.beacon_at = now.mono;
        if let Some(epoch) = group.open(now, &mut self.raft, &mut self.next_slot)? {
            note_slot(&mut self.slots, id, group.epochs.get(&epoch));
        }
        self.groups.insert(id, group);
        Ok(())
    }

    /// A group, to look at.
    #[must_use]
    pub fn group(&self, id: GroupId) -> Option<&ChainGroup<SM>> {
        self.groups.get(&id)
    }
    /// How a group is doing, in brief; all zero if it is not hosted.
    #[must_use]
    pub fn brief(&self, id: GroupId) -> Brief {
        self.groups.get(&id).map(|g| g.brief(&self.raft)).unwrap_or_default()
    }
    /// How this node sees a group.
    #[must_use]
    pub fn status(&self, id: GroupId) -> Status {
        self.groups.get(&id).map(|g| g.status(&self.raft)).unwrap_or_default()
    }
    /// Why a group can't go on, if so.
    #[must_use]
    pub fn fatal(&self, id: GroupId) -> Option<String> {
        self.groups.get(&id).and_then(|g| g.fatal(&self.raft))
    }
    /// How often the hard paths of the engine that runs were taken in this node's life, by name; of openraft nothing is told.
    #[must_use]
    pub fn tally(&self, id: GroupId) -> Vec<(&'static str, u64)> {
        let mut all = Vec::new();
        if let Some(Running::Step(step)) = self.groups.get(&id).and_then(|g| g.current()).map(|e| &e.running)
        {
            step.tally(&mut |name, n| all.push((name, n)));
        }
        all
    }
    /// Whether the disk lost part of a group's log, so that this node does not vote for the time being.
    #[must_use]
    pub fn is_suspect(&self, id: GroupId) -> bool {
        let Some(group) = self.groups.get(&id) else { return false };
        match group.current().map(|e| &e.running) {
            Some(Running::Raft(slot)) => self.raft.group(*slot).is_some_and(dwcp_raft::RaftGroup::is_suspect),
            Some(Running::Aside { silent }) => *silent,
            Some(Running::Step(_)) => false,
            None => true,
        }
    }
    /// Changes when the members of a group do.
    #[must_use]
    pub fn members_at(&self, id: GroupId) -> Option<u64> {
        let group = self.groups.get(&id)?;
        let epoch = group.tail.epoch();
        let inner = match group.current().map(|e| &e.running) {
            Some(Running::Raft(slot)) => self.raft.group(*slot).map_or(0, dwcp_raft::RaftGroup::members_at),
            _ => 0,
        };
        Some(term(epoch, inner))
    }
    /// Term and payload of an entry under Raft, if the log still holds it here.
    #[must_use]
    pub fn entry(&self, id: GroupId, at: Position) -> Option<(Position, Bytes)> {
        let (slot, inner) = self.groups.get(&id)?.raft_place(at)?;
        let (term, payload) = self.raft.group(slot)?.entry(inner.index)?;
        (term == inner.term).then_some((at, payload))
    }
    /// Term and payload (as Raft writes it) of what was applied at an index, if it is still known here: for who looks on.
    #[must_use]
    pub fn entry_at(&self, id: GroupId, index: u64) -> Option<(u64, Bytes)> {
        let group = self.groups.get(&id)?;
        // What an engine decided behind its seal is not what was applied there.
        let record = group.tail.get();
        let tail = record.spec.epoch;
        let ends = |e: u32| match record.past.iter().find(|p| p.epoch == e) {
            _ if e == tail => u64::MAX,
            Some(past) => past.sealed,
            None => 0,
        };
        let epoch =
            group.epochs.iter().find(|(n, e)| e.base < index && index <= ends(**n)).map(|(_, e)| e)?;
        match &epoch.running {
            Running::Raft(slot) => {
                let (inner, payload) = self.raft.group(*slot)?.entry(index - epoch.base)?;
                Some((term(epoch.spec.epoch, inner), payload))
            }
            Running::Step(step) => {
                let command = step.lately(index)?;
                let payload = command.map_or_else(Bytes::new, |c| dwcp_raft::payload_of(&c));
                Some((term(epoch.spec.epoch, 0), payload))
            }
            Running::Aside { .. } => None,
        }
    }

    /// Asks for a command to be decided. See [`dwcp_consensus::Engine::propose`]; like every method that names a
    /// group, it does nothing and says so if the group is not hosted.
    pub fn propose(&mut self, id: GroupId, token: Token, command: &Bytes) -> bool {
        let ask = |raft: &mut RaftHost<Lens<SM>>, slot: GroupId| {
            raft.propose(slot, token, command);
        };
        let result = |error| EngineOutput::Proposed { token, result: Err(error) };
        self.ask(id, ask, |step| step.propose(token, command.clone()), result)
    }
    /// The same for what this node does as keeper of leases: where the role can go on to another member, the command takes effect
    /// only if it has not, in the order.
    pub fn propose_as_keeper(&mut self, id: GroupId, token: Token, command: &Bytes) -> bool {
        let guarded = self.groups.get(&id).and_then(|group| {
            let (engine, turn) = group.tail.with(|t| (t.spec.engine, t.kept.turn));
            let order = Order::Guarded { turn, command: command.clone() };
            engine.serves_everywhere().then(|| order.encode())
        });
        self.propose(id, token, guarded.as_ref().unwrap_or(command))
    }
    /// See [`dwcp_consensus::Engine::barrier`].
    pub fn barrier(&mut self, id: GroupId, token: Token) -> bool {
        let ask = |raft: &mut RaftHost<Lens<SM>>, slot: GroupId| {
            raft.barrier(slot, token);
        };
        let result = |error| EngineOutput::Barrier { token, result: Err(error) };
        self.ask(id, ask, |step| step.barrier(token), result)
    }
    /// See [`dwcp_consensus::Engine::change_members`]. Where the engine can't, the next epoch does.
    pub fn change_members(&mut self, id: GroupId, token: Token, change: MemberChange) -> bool {
        let Some(group) = self.groups.get(&id) else { return false };
        let spec = group.spec();
        if spec.engine != EngineKind::Raft {
            let next = spec.changed(change).map_err(|e| EngineError::Refused(e.to_string()));
            let leader = self.brief(id).leader;
            let led = |next: Spec| {
                let first = leader.filter(|l| next.members.voters.contains(l));
                Spec { first, ..next }
            };
            return self.seal(id, token, next.map(led));
        }
        let ask = |raft: &mut RaftHost<Lens<SM>>, slot: GroupId| {
            raft.change_members(slot, token, change);
        };
        self.ask(id, ask, |_| {}, |error| EngineOutput::Done { token, result: Err(error) })
    }
    /// See [`dwcp_consensus::Engine::transfer_leader`].
    pub fn transfer_leader(&mut self, now: Now, id: GroupId, token: Token, to: NodeId) -> bool {
        let result = |error| EngineOutput::Done { token, result: Err(error) };
        let engine = self.groups.get(&id).map(|g| g.spec().engine);
        if let Some(engine) = engine.filter(|e| e.serves_everywhere()) {
            let why = format!("under {engine} every member serves: there is no leader to move");
            self.out.push((id, result(EngineError::Refused(why))));
            return true;
        }
        let ask = |raft: &mut RaftHost<Lens<SM>>, slot: GroupId| {
            raft.transfer_leader(slot, token, to);
        };
        self.ask(id, ask, |step| step.transfer(now.mono, token, to), result)
    }
    /// Ends epoch `after` (`None`: the one that runs, unless it is as asked already), and begins another with the same
    /// members. Answered by `Done`, once decided; asked again for an epoch that has ended in just this way, at once.
    pub fn switch(&mut self, id: GroupId, token: Token, after: Option<u32>, switch: Switch) -> bool {
        let Some(group) = self.groups.get(&id) else { return false };
        let (spec, members) = (group.spec(), group.members(&self.raft));
        let alike = (spec.engine, &spec.quorums) == (switch.engine, &switch.quorums);
        let settled = match after {
            None => alike.then_some(Ok(())),
            Some(after) if after == spec.epoch => None,
            Some(after) if alike && spec.epoch.wrapping_sub(1) == after => Some(Ok(())),
            Some(after) => {
                let Spec { epoch, engine, .. } = &spec;
                let why = format!(
                    "epoch {after} is not the current one: the group is in epoch {epoch} under {engine}"
                );
                Some(Err(EngineError::Refused(why)))
            }
        };
        if let Some(result) = settled {
            self.out.push((id, EngineOutput::Done { token, result }));
            return true;
        }
        if spec.engine == EngineKind::Pbft {
            return self.seal_signed(id, token, &switch);
        }
        let next = switch.next(&spec, members, self.brief(id).leader);
        if switch.engine == EngineKind::Pbft {
            return self.ask_for_keys(id, token, next, switch.operator);
        }
        let checked = admissible(&next).map(|()| next);
        self.seal(id, token, checked)
    }
    /// Asks for a checkpoint now, so that the log may be trimmed. Answered by `Done`.
    pub fn snapshot(&mut self, id: GroupId, token: Token) -> bool {
        let ask = |raft: &mut RaftHost<Lens<SM>>, slot: GroupId| {
            raft.snapshot(slot, token);
        };
        let asked = (token != OWN).then_some(token);
        let result = |error| EngineOutput::Done { token, result: Err(error) };
        self.ask(id, ask, |step| step.snapshot(asked), result)
    }

    pub(crate) fn seal(&mut self, id: GroupId, token: Token, next: Result<Spec, EngineError>) -> bool {
        self.seal_bytes(id, token, next.map(|next| next.encode()))
    }

    pub(crate) fn seal_bytes(&mut self, id: GroupId, token: Token, seal: Result<Bytes, EngineError>) -> bool {
        let result = |error| EngineOutput::Done { token, result: Err(error) };
        let bytes = match seal {
            Ok(bytes) => bytes,
            Err(error) => {
                self.out.push((id, result(error)));
                return true;
            }
        };
        self.probe.reachable("chain.seal_proposed");
        let ask = |raft: &mut RaftHost<Lens<SM>>, slot: GroupId| {
            raft.seal(slot, token, &bytes);
        };
        self.ask(id, ask, |step| step.seal(token, bytes.clone()), result)
    }

    fn ask(
        &mut self,
        id: GroupId,
        raft: impl FnOnce(&mut RaftHost<Lens<SM>>, GroupId),
        step: impl FnOnce(&mut dyn crate::driver::StepEngine<SM::Response>),
        refused: impl FnOnce(EngineError) -> EngineOutput<SM::Response>,
    ) -> bool {
        let Some(group) = self.groups.get_mut(&id) else { return false };
        match group.current_mut().map(|e| &mut e.running) {
            Some(Running::Raft(slot)) => raft(&mut self.raft, *slot),
            Some(Running::Step(engine)) => step(&mut **engine),
            Some(Running::Aside { .. }) | None => {
                self.out.push((id, refused(EngineError::NotLeader { leader: None })));
            }
        }
        true
    }

    /// Takes a message of a peer; wrong ones are counted against it.
    pub fn message(&mut self, now: Now, id: GroupId, from: NodeId, lane: Lane, body: &Bytes) -> bool {
        let Some(group) = self.groups.get(&id) else { return false };
        // What comes in the first moments was on its way.
        let on_its_way = group.config.raft.heartbeat / 4;
        if self.gone.get(&from).is_some_and(|since| now.mono.since(*since) > on_its_way) {
            self.gone.remove(&from);
        }
        self.hear(now, id, from, lane, body)
    }

    fn hear(&mut self, now: Now, id: GroupId, from: NodeId, lane: Lane, body: &Bytes) -> bool {
        let Some(group) = self.groups.get_mut(&id) else { return false };
        let fault = |why: &str| self.probe.event(&Event::PeerFaulted { from, why: why.to_string() });
        let envelope = match message::parse(body) {
            Ok(envelope) => envelope,
            Err(why) => {
                fault(why);
                return true;
            }
        };
        let (epoch, about) = (envelope.epoch, envelope.id);
        match envelope.body {
            Body::Chain(chain) => self.on_chain(now, id, from, epoch, chain),
            Body::Engine(body) => {
                let tail = group.tail.epoch();
                match group.epochs.get_mut(&epoch) {
                    Some(e) if e.id != about => {
                        fault("speaks of an epoch of other content: its first one is configured differently")
                    }
                    Some(e) => match &mut e.running {
                        Running::Raft(slot) => {
                            self.raft.message(*slot, from, lane, &body);
                        }
                        Running::Step(step) => step.message(now.mono, from, &body),
                        Running::Aside { .. } => {}
                    },
                    // Its seal has not come, or has, a moment ago: the engine opens at the end of this turn.
                    None if epoch >= tail => {
                        self.probe.reachable("chain.message_before_its_seal");
                        group.keep_early(Early { from, lane, epoch, id: about, body });
                    }
                    None => self.offer(now, id, from),
                }
            }
        }
        true
    }

    /// A hint that a peer's process is gone: groups that it leads look for another leader soon.
    pub fn unreachable(&mut self, now: Now, peer: NodeId) {
        self.raft.unreachable(peer);
        let news = self.gone.insert(peer, now.mono).is_none();
        let epochs = self.groups.values_mut().flat_map(|g| g.epochs.values_mut());
        for Epoch { running, spec, .. } in epochs {
            match running {
                Running::Step(step) => step.unreachable(now.mono, peer),
                Running::Raft(slot) if news && spec.first == Some(peer) => {
                    self.raft.unled(*slot, peer);
                }
                Running::Raft(_) | Running::Aside { .. } => {}
            }
        }
    }

    /// An epoch has been opened: who was to lead it may be gone already, and will not be told of again.
    fn tell_gone(&mut self, now: Now, id: GroupId) {
        self.gone.retain(|_, since| now.mono.since(*since) < GONE_FOR);
        let Some(epoch) = self.groups.get_mut(&id).and_then(ChainGroup::current_mut) else { return };
        let first = epoch.spec.first.filter(|f| self.gone.contains_key(f));
        self.probe.sometimes("chain.first_leader_gone", first.is_some());
        match &mut epoch.running {
            Running::Step(step) => self.gone.keys().for_each(|peer| step.unreachable(now.mono, *peer)),
            Running::Raft(slot) => {
                if let Some(first) = first {
                    self.raft.unled(*slot, first);
                }
            }
            Running::Aside { .. } => {}
        }
    }

    /// A job has ended. Tells whether it was one of this host's.
    pub fn job_done(&mut self, now: Now, job: JobId, result: JobResult) -> bool {
        if job.0 < OWN_JOBS {
            return self.raft.job_done(job, result);
        }
        let Some((id, purpose)) = self.jobs.remove(&job) else { return false };
        self.on_job(now, id, purpose, result);
        true
    }

    pub(crate) fn job(&mut self, id: GroupId, purpose: Purpose, work: Work) {
        let job = JobId(self.next_job);
        self.next_job += 1;
        self.jobs.insert(job, (id, purpose));
        let job = Job { id: job, name: work.name, cost: work.cost, run: work.run };
        self.out.push((id, EngineOutput::Job(job)));
    }

    /// How many jobs are under way.
    pub(crate) fn jobs_under_way(&self) -> usize {
        self.jobs.len()
    }

    /// Whether one of them writes a checkpoint of a group.
    pub(crate) fn checkpoint_under_way(&self, id: GroupId) -> bool {
        self.jobs
            .values()
            .any(|(group, purpose)| *group == id && matches!(purpose, Purpose::Checkpoint { .. }))
    }

    /// How many of them read pieces of a group for one peer.
    pub(crate) fn parts_under_way(&self, id: GroupId, peer: NodeId) -> usize {
        let for_peer = |(group, purpose): &&(GroupId, Purpose)| {
            *group == id && matches!(purpose, Purpose::Part { to, .. } if *to == peer)
        };
        self.jobs.values().filter(for_peer).count()
    }

    /// How often a task has been polled: the measure of work.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.raft.polls()
    }

    /// Runs until nothing is ready; adds to `out`; says when it wants to run again.
    pub fn run(&mut self, now: Now, out: &mut Vec<(GroupId, EngineOutput<SM::Response>)>) -> Option<Instant> {
        let mut wake = None;
        for turn in 0..TURNS_MAX {
            wake = self.turn(now);
            let opened = self.open_all(now);
            // The chain's own wishes are nobody's question.
            let own = |o: &EngineOutput<_>| {
                matches!(o, EngineOutput::Done { token: OWN, .. } | EngineOutput::Proposed { token: OWN, .. })
            };
            self.out.retain(|(_, o)| !own(o));
            out.append(&mut self.out);
            if !opened {
                break;
            }
            if turn + 1 == TURNS_MAX {
                wake = Some(now.mono);
            }
        }
        wake
    }

    fn turn(&mut self, now: Now) -> Option<Instant> {
        let mut wake = self.raft.run(now, &mut self.raft_out);
        self.take_raft_outputs();
        let mut works = Vec::new();
        for (id, group) in &mut self.groups {
            for (epoch, e) in &mut group.epochs {
                let Running::Step(step) = &mut e.running else { continue };
                let (at, work) = step.run(now.mono, &mut self.engine_out);
                wake = earlier(wake, at);
                works.extend(work.map(|work| (*id, *epoch, work)));
                self.out.extend(self.engine_out.drain(..).map(|o| (*id, o)));
            }
        }
        for (id, epoch, work) in works {
            self.job(id, Purpose::Checkpoint { epoch }, work);
        }
        earlier(wake, self.keep_company(now))
    }

    fn take_raft_outputs(&mut self) {
        for (slot, output) in self.raft_out.drain(..) {
            let Some((id, epoch)) = self.slots.get(&slot).copied() else { continue };
            let Some(e) = self.groups.get(&id).and_then(|g| g.epochs.get(&epoch)) else { continue };
            let current = self.groups[&id].tail.epoch() == epoch;
            let old_passes = bug!(self.groups[&id].config.bugs, old_barrier_passes);
            let output = match output {
                EngineOutput::Send { to, lane, body } => {
                    EngineOutput::Send { to, lane, body: message::engine(epoch, e.id, &body) }
                }
                EngineOutput::Proposed { token, result: Ok((at, _)) }
                    if self.groups[&id].tail.is_overtaken(epoch, at.index) =>
                {
                    self.probe.reachable("chain.answer_overtaken");
                    EngineOutput::Proposed { token, result: Err(EngineError::Unknown) }
                }
                EngineOutput::Proposed { token, result } => {
                    let outer = |(at, r)| (crate::record::outer(epoch, e.base, at), r);
                    EngineOutput::Proposed { token, result: result.map(outer) }
                }
                // What the next epoch has decided since, this barrier does not see.
                EngineOutput::Barrier { token, result: Ok(()) } if !current && !old_passes => {
                    EngineOutput::Barrier { token, result: Err(EngineError::NotLeader { leader: None }) }
                }
                other => other,
            };
            self.out.push((id, output));
        }
    }

    /// Opens the engines of epochs that the states have come to, and hands them what came early.
    fn open_all(&mut self, now: Now) -> bool {
        let mut any = false;
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            let Some(group) = self.groups.get_mut(&id) else { continue };
            match group.open(now, &mut self.raft, &mut self.next_slot) {
                Ok(None) => {}
                Ok(Some(epoch)) => {
                    any = true;
                    let opened = group.epochs.get(&epoch);
                    note_slot(&mut self.slots, id, opened);
                    let engine = opened.map_or("", |e| e.spec.engine.name()).to_string();
                    group.beacon_at = now.mono;
                    group.eye.verdict = None;
                    self.probe.reachable("chain.epoch_opened");
                    self.probe.event(&Event::EpochBegun { group: id, epoch: epoch.into(), engine });
                    for Early { from, lane, epoch, id: about, body } in group.take_early() {
                        let body = message::engine(epoch, about, &body);
                        self.hear(now, id, from, lane, &body);
                    }
                    self.tell_gone(now, id);
                }
                Err(why) => group.fatal = Some(why),
            }
        }
        any
    }

    /// Lets go of an ended epoch's engine and log.
    pub(crate) fn end_epoch(&mut self, id: GroupId, epoch: u32) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let Some(ended) = group.epochs.remove(&epoch) else { return };
        self.probe.reachable("chain.epoch_let_go");
        if let Running::Raft(slot) = ended.running {
            self.raft.remove_group(slot);
            self.slots.remove(&slot);
        }
        group.tail.forget(epoch);
        self.ended.push((id, epoch));
        let slot = group.manifest.slot(id, &ended.spec);
        group.manifest.slots.retain(|s| s.epoch != epoch);
        group.manifest.floor = group.manifest.floor.max(epoch + 1);
        group.manifest.write(id, &self.wal);
        if let Some(slot) = slot {
            self.wal.lock().end(slot);
        }
    }

    /// Lets go of a group altogether: its engines and its logs end, and its epochs up to this one are never taken part in again.
    /// What is left of it is what it is added with, should it ever be added again. What it was asked nobody answers.
    pub fn remove_group(&mut self, id: GroupId) -> Option<Found> {
        let epochs: Vec<u32> = self.groups.get(&id)?.epochs.keys().copied().collect();
        for epoch in epochs {
            self.end_epoch(id, epoch);
        }
        let mut group = self.groups.remove(&id)?;
        self.out.retain(|(group, _)| *group != id);
        let never_opened = std::mem::take(&mut group.manifest.slots);
        group.manifest.floor = group.manifest.floor.max(group.tail.epoch() + 1);
        group.manifest.write(id, &self.wal);
        let left = never_opened.iter().map(|s| GroupId(s.slot)).chain(group.logs.into_keys());
        for slot in left.collect::<std::collections::BTreeSet<_>>() {
            self.wal.lock().end(slot);
        }
        self.probe.reachable("chain.group_let_go");
        Some(Found::left(group.manifest))
    }

    /// Epochs whose engines were let go since the last call: what they were asked and have not answered, nobody will.
    pub fn take_ended(&mut self) -> Vec<(GroupId, u32)> {
        std::mem::take(&mut self.ended)
    }

    /// Where peers are by their own word: epoch and index applied.
    #[must_use]
    pub fn whereabouts(&self, id: GroupId) -> BTreeMap<NodeId, (u32, u64)> {
        let seen = self.groups.get(&id).into_iter().flat_map(|g| &g.seen);
        seen.map(|(n, s)| (*n, (s.epoch, s.applied))).collect()
    }
    /// Members of a group as its engine sees them.
    #[must_use]
    pub fn members(&self, id: GroupId) -> Members {
        self.groups.get(&id).map(|g| g.members(&self.raft)).unwrap_or_default()
    }
}

/// What Raft can't begin with.
pub(crate) fn admissible(next: &Spec) -> Result<(), EngineError> {
    next.check().map_err(|e| EngineError::Refused(e.to_string()))?;
    let learners = next.members.nodes.len() > next.members.voters.len();
    if next.engine == EngineKind::Raft && learners {
        let why = "an epoch of raft begins with voters only: promote or remove the learners first";
        return Err(EngineError::Refused(why.into()));
    }
    Ok(())
}

fn note_slot<R>(slots: &mut BTreeMap<GroupId, (GroupId, u32)>, id: GroupId, epoch: Option<&Epoch<R>>) {
    if let Some(Epoch { running: Running::Raft(slot), spec, .. }) = epoch {
        slots.insert(*slot, (id, spec.epoch));
    }
}

pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
