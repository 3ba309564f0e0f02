//! One seeded story of a chain: writes, reads, switches between all engines (an operator signs those out of PBFT), changes of
//! members, crashes, cuts, lost promises; judged from outside.
//!
//! **Invariants.**
//! 1. *One order*: what any two nodes have applied is equal as far as both have come (state machine safety through all
//!    epochs; Lamport, *Paxos Made Simple*, 2.4; Ongaro, section 3.6).
//! 2. *Nothing lost, nothing doubled*: what was acknowledged is in the end there once; everything else at most once.
//! 3. *Not done is not done*: what was answered as certainly not done is nowhere.
//! 4. *Reads are not stale*: a barrier passes only where all is applied that was acknowledged before it was asked.
//! 5. *The chain does not fork*: an epoch has one content, on all nodes that come to it.
//! 6. *It ends well*: once nothing goes wrong any more all members come to one state and take writes, within two minutes. (Who
//!    forgot its promises under PBFT counts as a liar: its operator ends the epoch first.)
//! 7. *A change of members is done or not*: who was removed is a member of no later epoch.
//! 8. *Who forgot has no voice* (`rot`): whose disk lost an entry of a Raft epoch does not vote there, in that life or a later one,
//!    before it has again what was decided with its help (Alagappan et al., *Protocol-Aware Recovery*).

use crate::harness::world::Answered;
use crate::harness::{G, World, config, genesis, n};
use bytes::Bytes;
use dwcp_chain::{Distrust, EngineKind, Spec, Switch};
use dwcp_consensus::pbft::{keys, seal};
use dwcp_consensus::{EngineError, Member, MemberChange, Members, Token};
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
use dwcp_wal::GroupLog;
use std::collections::{BTreeMap, BTreeSet};

#[path = "rot.rs"]
mod rot;

const DRAW: Purpose = Purpose::named("trial");
const SLOW: Purpose = Purpose::named("trial.slow_checkpoints");
/// Whose signature ends an epoch under PBFT.
const OPERATOR: [u8; 32] = [99; 32];
/// Things that happen in one story.
const STEPS: u64 = 60;

/// What happened in a story, to see that the hard paths were taken.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Told {
    pub(crate) writes: u64,
    pub(crate) acknowledged: u64,
    pub(crate) unknown: u64,
    pub(crate) reads: u64,
    pub(crate) switches: u64,
    pub(crate) epochs: u64,
    pub(crate) crashes: u64,
    pub(crate) cuts: u64,
    pub(crate) losses: u64,
    /// Epochs under PBFT, and changes of members that were made.
    pub(crate) pbft: u64,
    pub(crate) changes: u64,
}

impl Told {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { writes, acknowledged, unknown, reads, switches, epochs, crashes, cuts, losses, .. } =
            other;
        self.pbft += other.pbft;
        self.changes += other.changes;
        self.writes += writes;
        self.acknowledged += acknowledged;
        self.unknown += unknown;
        self.reads += reads;
        self.switches += switches;
        self.epochs += epochs;
        self.crashes += crashes;
        self.cuts += cuts;
        self.losses += losses;
    }
}

/// Records of a log that the disk lost, and the log knows it.
fn lose(log: &mut GroupLog, left: usize) {
    log.vote_lost |= *log != GroupLog::default();
    log.entries.truncate(left);
}
fn lose_half(log: &mut GroupLog) {
    lose(log, log.entries.len() / 2);
}
fn lose_all(log: &mut GroupLog) {
    lose(log, 0);
}

struct Trial {
    world: World,
    seed: Seed,
    drawn: u64,
    nodes: u64,
    written: Vec<(Token, Bytes)>,
    reading: Vec<(Token, NodeId, BTreeSet<Bytes>)>,
    /// Switches that were asked for, and when.
    switching: Vec<(Token, Instant)>,
    changing: Vec<(Token, MemberChange)>,
    removed: BTreeSet<NodeId>,
    /// What some node has applied, in order.
    order: Vec<Bytes>,
    /// How far each node was when it was looked at last.
    come: BTreeMap<NodeId, usize>,
    epochs: BTreeMap<u32, Spec>,
    /// Who lost what it had promised; others must not, or the group may stop for good.
    amnesiac: Option<NodeId>,
    /// Whether logs of Raft's epochs rot, what was drawn for that, and who lost something and is not well yet.
    rots: bool,
    rot_drawn: u64,
    hurt: Option<rot::Hurt>,
    told: Told,
    /// What happened when, in words.
    story: Vec<String>,
    heard: usize,
}

/// What came of a story.
pub(crate) struct Ended {
    pub(crate) told: Told,
    pub(crate) verdict: Result<(), String>,
    pub(crate) story: Vec<String>,
}

/// Tells a story; with `rots`, the same one but that disks lose entries of Raft's epochs, too.
pub(crate) fn tell(seed: u64, rots: bool, plant: &dyn Fn(&mut dwcp_chain::ChainConfig)) -> Ended {
    let mut trial = Trial::new(seed, rots, plant);
    let verdict = trial.run();
    let pbft = trial.epochs.values().filter(|s| s.engine == EngineKind::Pbft).count() as u64;
    let told = Told { epochs: trial.epochs.len() as u64, pbft, ..trial.told };
    Ended { told, verdict, story: trial.story }
}

impl Trial {
    fn new(seed: u64, rots: bool, plant: &dyn Fn(&mut dwcp_chain::ChainConfig)) -> Self {
        let mut trial = Self {
            world: World::new(seed),
            seed: Seed(seed),
            drawn: 0,
            nodes: 3,
            written: Vec::new(),
            reading: Vec::new(),
            switching: Vec::new(),
            changing: Vec::new(),
            removed: BTreeSet::new(),
            order: Vec::new(),
            come: BTreeMap::new(),
            epochs: BTreeMap::new(),
            amnesiac: None,
            rots,
            rot_drawn: 0,
            hurt: None,
            told: Told::default(),
            story: Vec::new(),
            heard: 0,
        };
        trial.nodes = [3, 3, 4, 5][trial.draw(4) as usize];
        trial.world.pick_drawn = trial.draw(2) == 0;
        trial.world.lossy = trial.draw(3) * 20_000;
        trial.world.latency = (Duration::millis(1), Duration::millis(2 + trial.draw(3) * 10));
        trial.world.disk_slow = Duration::millis([0, 3, 25][trial.draw(3) as usize]);
        trial.world.jobs_early = trial.draw(2) == 0;
        trial.world.job_slow = Duration::millis(trial.draw(3) * 30);
        // The next one begins so much later, too: there is one at a time.
        let slow = trial.seed.below(4, SLOW, 0, Instant::ZERO, 0);
        trial.world.checkpoint_slow = Duration::secs(if slow == 0 { 4 } else { 0 });
        let engine = trial.engine();
        let snapshot = [0, 10, 40][trial.draw(3) as usize];
        let keep = trial.draw(2) * 8;
        let ids: Vec<u64> = (1..=trial.nodes).collect();
        let mut first = genesis(engine, &ids);
        if engine == EngineKind::Pbft {
            let public = ids.iter().map(|id| (n(*id), keys::public(&[*id as u8; 32]))).collect();
            first.distrust = Some(Distrust { operator: keys::public(&OPERATOR), public, interval: 8 });
        }
        // And one that may be added.
        for id in 1..=trial.nodes + 1 {
            let founder = id <= trial.nodes;
            let mut c = config(id, founder.then(|| first.clone()));
            (c.raft.snapshot_entries, c.raft.keep_entries) = (snapshot, keep);
            c.known = if founder { Vec::new() } else { ids.iter().map(|id| n(*id)).collect() };
            plant(&mut c);
            trial.world.add(n(id), BTreeMap::from([(G, c)]));
        }
        trial
    }

    fn say(&mut self, what: impl std::fmt::Display) {
        let heard = self.world.heard.lock().map(|h| h.events[self.heard..].to_vec()).unwrap_or_default();
        self.heard += heard.len();
        let now = self.world.now;
        self.story.extend(heard.into_iter().map(|e| format!("{now}   {e}")));
        self.story.push(format!("{now} {what}"));
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.drawn += 1;
        self.seed.below(below, DRAW, self.drawn, dwcp_env::Instant::ZERO, 0)
    }
    fn node(&mut self) -> NodeId {
        n(1 + self.draw(self.nodes + 1))
    }
    fn up(&mut self) -> Option<NodeId> {
        let up = self.world.up();
        let nth = self.draw(up.len() as u64) as usize;
        up.get(nth).copied()
    }
    fn engine(&mut self) -> EngineKind {
        let kinds = if self.nodes > 3 { 4 } else { 3 };
        [EngineKind::Raft, EngineKind::Paxos, EngineKind::EPaxos, EngineKind::Pbft][self.draw(kinds) as usize]
    }
    /// Who belongs to the group, as whoever has come furthest sees it.
    fn members(&self) -> Members {
        let life = |id: &NodeId| self.world.life(*id).map(|l| &l.host);
        let furthest = self.world.up().into_iter().max_by_key(|id| {
            let brief = life(id).map(|h| h.brief(G)).unwrap_or_default();
            (brief.epoch, brief.term, self.world.commands(*id, G).len())
        });
        furthest.and_then(|id| life(&id)).map(|h| h.members(G)).unwrap_or_default()
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            match self.draw(100) {
                0..50 => self.write(),
                50..62 => self.read(),
                62..71 => self.switch(),
                71..74 => self.change(),
                74..82 => self.crash(),
                82..88 => self.restart(),
                88..94 => self.cut(),
                94..98 => self.heal(),
                98 => self.power(),
                _ => self.snapshot(),
            }
            // Somebody else asks in the same instant what was just changed.
            if self.draw(4) == 0 {
                self.read();
            }
            let time = [1, 4, 30, 200, 1_500][self.draw(5) as usize];
            self.pass(Duration::millis(time))?;
        }
        self.end()
    }

    /// Lets time pass, and looks at everything on the way.
    fn pass(&mut self, time: Duration) -> Result<(), String> {
        let end = self.world.now + time;
        while self.world.now < end {
            let slice = (self.world.now + Duration::millis(20)).min(end);
            // Reads are judged in the instant of their answer.
            let open: Vec<Token> = self.reading.iter().map(|(t, ..)| *t).collect();
            let answered = |w: &World| open.iter().any(|t| w.answers.contains_key(t));
            let within = slice.since(self.world.now);
            if self.world.until(within, answered).is_err() {
                self.world.now = slice;
            }
            self.look()?;
        }
        Ok(())
    }

    fn write(&mut self) {
        let Some(at) = self.up() else { return };
        let leader = self.world.life(at).and_then(|l| l.host.brief(G).leader);
        let to = leader.filter(|l| self.world.is_up(*l)).unwrap_or(at);
        self.told.writes += 1;
        let command = Bytes::from(format!("{:04}", self.told.writes));
        self.say(format_args!("{to} is to write {command:?}"));
        let token = self.world.propose(to, G, command.clone());
        self.written.push((token, command));
    }
    fn read(&mut self) {
        let Some(at) = self.up() else { return };
        let answers = &self.world.answers;
        let acknowledged = |t: &Token| matches!(answers.get(t), Some(Answered::Proposed(Ok(_))));
        let before = self.written.iter().filter(|(t, _)| acknowledged(t)).map(|(_, c)| c.clone()).collect();
        let token = self.world.barrier(at);
        self.reading.push((token, at, before));
        self.told.reads += 1;
    }
    fn switch(&mut self) {
        let Some(at) = self.up() else { return };
        let leader = self.world.life(at).and_then(|l| l.host.brief(G).leader);
        let to = leader.filter(|l| self.world.is_up(*l)).unwrap_or(at);
        let engine = self.engine();
        self.switch_to(to, engine);
    }
    fn switch_to(&mut self, to: NodeId, engine: EngineKind) {
        let after = Some(self.world.epoch(to));
        let operator = (engine == EngineKind::Pbft).then(|| keys::public(&OPERATOR));
        let mut switch = Switch { engine, operator, ..Switch::default() };
        let host = self.world.life(to).map(|l| &l.host);
        if let Some(current) = host.and_then(|h| h.group(G)).map(dwcp_chain::ChainGroup::spec)
            && current.engine == EngineKind::Pbft
        {
            let next = switch.next(&current, current.members.clone(), None);
            switch.signed = Some(seal::seal(&OPERATOR, &current.realm(G), &next.encode()));
        }
        self.say(format_args!("{to} is to switch from epoch {after:?} to {engine}"));
        let token = self.world.ask(to, |h, t| h.switch(G, t, after, switch));
        self.switching.push((token, self.world.now));
    }
    /// The spare node is added, or counts; or somebody goes, for good, while three stay.
    fn change(&mut self) {
        let Some(at) = self.up() else { return };
        let leader = self.world.life(at).and_then(|l| l.host.brief(G).leader);
        let to = leader.filter(|l| self.world.is_up(*l)).unwrap_or(at);
        let (members, spare) = (self.members(), n(self.nodes + 1));
        let gone = n(1 + self.draw(self.nodes + 1));
        let change = match self.draw(3) {
            0 if members.voters.len() > 3 && members.nodes.contains_key(&gone) => {
                MemberChange::Remove(BTreeSet::from([gone]))
            }
            _ if self.removed.contains(&spare) => return,
            1 if members.nodes.contains_key(&spare) => MemberChange::Promote(BTreeSet::from([spare])),
            _ => MemberChange::AddLearner(spare, Member::default()),
        };
        if let MemberChange::Remove(ids) = &change {
            // It may have been done, whatever is answered: nobody comes twice.
            self.removed.extend(ids);
        }
        self.say(format_args!("{to} is to change the members: {change:?}"));
        let token = self.world.change(to, change.clone());
        self.changing.push((token, change));
    }
    fn crash(&mut self) {
        let Some(id) = self.up() else { return };
        self.say(format_args!("{id} goes down in epoch {}", self.world.epoch(id)));
        self.world.crash(id);
        self.come.insert(id, 0);
        self.told.crashes += 1;
    }
    fn restart(&mut self) {
        let id = self.node();
        if self.world.is_up(id) {
            return;
        }
        // Only of a first epoch that is no Raft's: what that one loses its node must not start with.
        let forgets = self.draw(8) == 0 && self.amnesiac.is_none_or(|a| a == id) && self.first_is_ours();
        if forgets {
            self.amnesiac = Some(id);
            self.told.losses += 1;
            self.say(format_args!("{id} has lost its promises of the first epoch"));
            let lost = if self.draw(2) == 0 { lose_half } else { lose_all };
            self.world.start_with(id, lost);
        } else if !(self.rots && self.rot(id)) {
            self.world.start(id);
        }
        let (epoch, held) = (self.world.epoch(id), self.world.commands(id, G));
        self.say(format_args!("{id} is up in epoch {epoch} with {held:?}"));
    }
    /// All lose power at once and come back at once: what was not on disk is nowhere.
    fn power(&mut self) {
        let up = self.world.up();
        self.say(format_args!("{up:?} lose power"));
        up.iter().for_each(|id| self.world.crash(*id));
        for id in up {
            self.come.insert(id, 0);
            self.world.start(id);
            self.told.crashes += 1;
        }
    }
    fn first_is_ours(&self) -> bool {
        self.epochs.get(&0).is_some_and(|s| s.engine != EngineKind::Raft)
    }
    fn cut(&mut self) {
        let (a, b) = (self.node(), self.node());
        self.told.cuts += 1;
        self.say(format_args!("a cut of {a}, or of it and {b}"));
        match self.draw(3) {
            0 => self.world.isolate(a),
            1 => drop(self.world.cut.insert((a, b))),
            _ => self.world.cut.extend([(a, b), (b, a)]),
        }
    }
    fn heal(&mut self) {
        self.say("all cuts are over");
        self.world.cut.clear();
    }
    fn snapshot(&mut self) {
        if let Some(at) = self.up() {
            self.world.snapshot(at);
        }
    }

    /// What must be so at any time.
    fn look(&mut self) -> Result<(), String> {
        for id in self.world.up() {
            if let Some(why) = self.world.fatal(id) {
                return Err(format!("{id} stopped: {why}"));
            }
            let held = self.world.commands(id, G);
            let from = self.come.get(&id).copied().unwrap_or(0).min(held.len()).min(self.order.len());
            let both = held.len().min(self.order.len());
            if held[from..both] != self.order[from..both] {
                return Err(format!("one order: {id} holds {held:?}, somebody held {:?}", self.order));
            }
            self.order.extend_from_slice(&held[both..]);
            self.come.insert(id, held.len());
            self.judge_voice(id)?;
            let spec = self.world.life(id).and_then(|l| l.host.group(G)).map(dwcp_chain::ChainGroup::spec);
            if let Some(spec) = spec.filter(|s| s.epoch > 0 || s.engine != EngineKind::Raft) {
                let first = self.epochs.entry(spec.epoch).or_insert_with(|| spec.clone());
                if *first != spec {
                    return Err(format!("the chain forks: {id} is in {spec:?}, somebody was in {first:?}"));
                }
            }
        }
        for (token, id, before) in std::mem::take(&mut self.reading) {
            match self.world.answers.get(&token) {
                None => self.reading.push((token, id, before)),
                Some(Answered::Barrier(Ok(()))) => {
                    let held: BTreeSet<Bytes> = self.world.commands(id, G).into_iter().collect();
                    if let Some(missed) = before.iter().find(|c| !held.contains(*c)) {
                        return Err(format!(
                            "a stale read at {id}: {missed:?} was acknowledged before it was asked"
                        ));
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// All is well again: what came of it?
    fn end(&mut self) -> Result<(), String> {
        self.world.cut.clear();
        self.world.lossy = 0;
        for id in (1..=self.nodes + 1).map(n) {
            if !self.world.is_up(id) {
                self.world.start(id);
            }
        }
        let deadline = self.world.now + Duration::secs(120);
        let mut last = None;
        let mut again_at = deadline;
        self.say("all is well again");
        loop {
            self.pass(Duration::millis(250))?;
            let done = last.and_then(|t| self.world.answers.get(&t)).cloned();
            if matches!(done, Some(Answered::Proposed(Ok(_)))) && self.together() {
                break;
            }
            if self.world.now > deadline {
                return Err(format!("it ends badly: {}", self.picture()));
            }
            // What an engine was asked that is let go nobody answers: its node gives the question up.
            let given_up = self.world.now >= again_at;
            self.end_distrust();
            if last.is_none() || given_up || matches!(done, Some(Answered::Proposed(Err(_)))) {
                let before = self.written.len();
                self.write();
                last = self.written.get(before).map(|(t, _)| *t);
                again_at = self.world.now + Duration::secs(10);
            }
        }
        self.judge()
    }
    /// An epoch whose members may lie has one that keeps silent, or a learner, which comes as far as the last state that is proved:
    /// only its operator can help that.
    fn end_distrust(&mut self) {
        let silent = |id: &NodeId| self.world.life(*id).is_some_and(|l| l.host.is_suspect(G));
        let pbft =
            |id: &NodeId| self.world.life(*id).is_some_and(|l| l.host.brief(G).engine == EngineKind::Pbft);
        let members = self.members();
        let stuck = members.nodes.len() > members.voters.len()
            || members.voters.iter().any(|id| silent(id) && pbft(id));
        let to = members.voters.iter().copied().find(|id| pbft(id) && !silent(id));
        // Who was asked may have gone down with the question: an operator asks again.
        let answered = |(t, at): &(Token, Instant)| {
            self.world.answers.contains_key(t) || self.world.now >= *at + Duration::secs(10)
        };
        let last = self.switching.last().is_none_or(answered);
        if let Some(to) = to.filter(|_| stuck && last) {
            self.switch_to(to, EngineKind::Paxos);
        }
    }
    fn together(&self) -> bool {
        let members = self.members();
        let all: Vec<_> =
            members.nodes.keys().map(|id| (self.world.epoch(*id), self.world.commands(*id, G))).collect();
        all.windows(2).all(|w| w[0] == w[1])
    }
    fn picture(&self) -> String {
        let one = |id: NodeId| {
            let brief = self.world.life(id).map(|l| l.host.brief(G));
            format!("{id} holds {} in {brief:?}", self.world.commands(id, G).len())
        };
        (1..=self.nodes + 1).map(n).map(one).collect::<Vec<_>>().join("; ")
    }

    fn judge(&mut self) -> Result<(), String> {
        let members = self.members();
        for (token, change) in &self.changing {
            let done = self.world.answers.get(token) == Some(&Answered::Done(Ok(())));
            self.told.changes += u64::from(done);
            if let (true, MemberChange::Remove(ids)) = (done, change)
                && let Some(still) = ids.iter().find(|id| members.nodes.contains_key(id))
            {
                return Err(format!("{still} was removed, and is a member"));
            }
        }
        let one = members.nodes.keys().next().copied().unwrap_or(n(1));
        let held = self.world.commands(one, G);
        let mut times: BTreeMap<&Bytes, u64> = BTreeMap::new();
        held.iter().for_each(|c| *times.entry(c).or_default() += 1);
        for (token, command) in &self.written {
            let times = times.get(command).copied().unwrap_or(0);
            if times > 1 {
                return Err(format!("doubled: {command:?} is there {times} times"));
            }
            match self.world.answers.get(token) {
                Some(Answered::Proposed(Ok(_))) => {
                    self.told.acknowledged += 1;
                    if times == 0 {
                        return Err(format!("lost: {command:?} was acknowledged"));
                    }
                }
                Some(Answered::Proposed(Err(EngineError::NotLeader { .. } | EngineError::Refused(_))))
                    if times > 0 =>
                {
                    return Err(format!("{command:?} was answered as not done, and is there"));
                }
                Some(Answered::Proposed(Err(EngineError::Unknown))) | None => self.told.unknown += 1,
                Some(_) => {}
            }
        }
        let done = |t: &&Token| self.world.answers.get(t) == Some(&Answered::Done(Ok(())));
        self.told.switches += self.switching.iter().map(|(t, _)| t).filter(done).count() as u64;
        Ok(())
    }
}
