//! What a driver does with the outputs of a protocol: disks, messages, checkpoints, answers.

use super::fact::{Fact, NODES_MAX, Value};
use super::invariant::Broken;
use super::site::{Held, Snapshot};
use super::state::fold;
use super::subject::{Evidence, Order, Subject};
use super::tally::Seen;
use super::world::{Event, World};
use crate::engine::EngineError;
use crate::quorum::NodeSet;
use crate::step::{Input, Output, Payload, Protocol};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::rc::Rc;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Duration, NodeId, Purpose};

const SYNC: Purpose = Purpose::named("rehearsal sync");
const CODE: Purpose = Purpose::named("rehearsal codec");
const WEIGH: Purpose = Purpose::named("rehearsal weigh");
const BRING: Purpose = Purpose::named("rehearsal bring");
const AMBUSH: Purpose = Purpose::named("rehearsal ambush");
const FALL: Purpose = Purpose::named("rehearsal fall");
const CHECKPOINT: Purpose = Purpose::named("rehearsal checkpoint");
/// One message of so many goes through the codec.
const CODED: u64 = 64;
/// Acceptances at one index of so many are compared.
const MATCHED: u64 = 4;
/// One decision of so many is weighed on the disks.
const WEIGHED: u64 = 4;

fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(bytes.len() as u64, |h, b| fold(h, u64::from(*b)))
}

impl<S: Subject> World<'_, S> {
    pub(super) fn carry(
        &mut self,
        node: usize,
        output: Output<<S::P as Protocol>::Message, <S::P as Protocol>::Record>,
    ) -> Result<(), Broken> {
        self.settled(node, &output)?;
        match output {
            Output::Persist { ticket, record } => {
                self.tally.add(Seen::Appended);
                self.tell(|| format!("{} appends {ticket:?} {record:?}", NodeId(node as u64 + 1)));
                self.accepted(node, &record)?;
                self.sites[node].wrote = true;
                if !self.sites[node].disk.append(ticket.0, record) {
                    let id = self.members[node];
                    return Err(Self::odd(format!(
                        "{id} appends {ticket:?}, which does not follow its last"
                    )));
                }
                Ok(())
            }
            Output::Send { to, message, after } => self.hold(node, to, message, after.map_or(0, |t| t.0)),
            Output::Decided { index, payload, token } => {
                self.decided(node, index, &payload, token.map(|t| t.0))
            }
            Output::Readable { token } => self.readable(node, token.0),
            Output::Refused { token, error } => self.refused(node, token.0, &error),
            Output::Checkpoint { mark } => {
                self.take_asked(node, mark);
                Ok(())
            }
            Output::Stable { mark } => {
                self.sites[node].stabilise(&mark);
                Ok(())
            }
            Output::Behind { peer } => {
                self.behind(node, peer);
                Ok(())
            }
            Output::Blame { peer, fault } => {
                let place = self.members.binary_search(&peer).unwrap_or(usize::MAX);
                let guilty =
                    self.sites.get(place).is_some_and(|s| s.liar.is_some() || s.wiped) || self.forged;
                self.tell(|| format!("{} blames {peer}: {fault}", NodeId(node as u64 + 1)));
                self.see(node, Fact::Blamed { node: self.members[node], peer, guilty })
            }
        }
    }

    /// What a payload is, and the key it touches.
    pub(super) fn value(&self, payload: &Payload) -> (Value, u16) {
        match payload {
            Payload::Blank => (Value::Blank, 0),
            Payload::Command(bytes) => match self.mint.number(bytes) {
                Some(number) => (Value::Command(number), self.subject.key(bytes)),
                None => (Value::Foreign(digest(bytes)), 0),
            },
            Payload::Seal(bytes) => (Value::Seal(digest(bytes)), 0),
        }
    }

    /// Shows what an output says is decided, with what it depends on.
    fn settled(
        &mut self,
        node: usize,
        output: &Output<<S::P as Protocol>::Message, <S::P as Protocol>::Record>,
    ) -> Result<(), Broken> {
        let Some(state) = &self.sites[node].protocol else { return Ok(()) };
        let Some(settled) = self.subject.settled(state, output) else { return Ok(()) };
        let mut deps = [0; NODES_MAX];
        deps.iter_mut().zip(settled.deps).for_each(|(to, from)| *to = *from);
        let (value, key) = match settled.payload {
            None => (None, None),
            Some(payload) => match self.value(payload) {
                (value @ Value::Command(_), key) => (Some(value), Some(key)),
                // Blanks that were proposed and seals come between all.
                (value, _) => (Some(value), None),
            },
        };
        let fact = Fact::Settled { node: self.members[node], instance: settled.instance, value, key, deps };
        self.tally.add(Seen::Settled);
        self.see(node, fact)
    }

    /// Shows what a record says was accepted.
    fn accepted(&mut self, node: usize, record: &<S::P as Protocol>::Record) -> Result<(), Broken> {
        let mut all = Vec::new();
        self.subject.accepted(record, &mut |index, ballot, payload| {
            if index % MATCHED == 0 {
                all.push((index, ballot, self.value(payload).0));
            }
        });
        let id = self.members[node];
        all.into_iter().try_for_each(|(index, ballot, value)| {
            self.tally.add(Seen::Matched);
            self.see(node, Fact::Accepted { node: id, index, ballot, value })
        })
    }

    fn hold(
        &mut self,
        node: usize,
        to: NodeId,
        message: <S::P as Protocol>::Message,
        after: u64,
    ) -> Result<(), Broken> {
        let site = &mut self.sites[node];
        let to = match self.members.binary_search(&to) {
            Ok(to) if to != node => to,
            _ => return Err(Self::odd(format!("{} sends to {to}, which is itself or no member", site.id))),
        };
        if after > site.disk.last() {
            return Err(Self::odd(format!("{} sends after ticket {after}, not appended yet", site.id)));
        }
        if after > site.disk.persisted {
            self.tally.add(Seen::Waited);
            site.held.push_back(Held { after, to, message });
        } else {
            self.send(node, to, message);
            self.ambush(node);
        }
        Ok(())
    }

    /// Who speaks before what it recorded just now is on disk may fall over it.
    fn ambush(&mut self, node: usize) {
        let site = &self.sites[node];
        let (wrote, life) = (site.wrote && site.led.is_none(), site.life);
        if wrote && !self.calm && self.below(65_536, AMBUSH, node as u64) < u64::from(self.plan.ambush) {
            self.push(self.now, Event::Fall { node: node as u8, life });
        }
    }

    pub(super) fn send(&mut self, from: usize, to: usize, mut message: <S::P as Protocol>::Message) {
        self.ordinal += 1;
        if self.below(CODED, CODE, (from * 16 + to) as u64) == 0 {
            let bytes = dwcp_env::wire::encode(&message);
            let back = dwcp_env::wire::decode(&bytes).expect("what was encoded decodes");
            assert_eq!(message, back, "the codec gives back what it was given");
            message = back;
            self.tally.add(Seen::Coded);
        }
        let (now, ordinal) = (self.now, self.ordinal);
        let arrivals = self.network.send(&self.plan, now, from, to, ordinal, &mut self.tally);
        let (from, to) = (from as u8, to as u8);
        if let Some(at) = arrivals.second {
            self.push(at, Event::Message { from, to, message: message.clone() });
        }
        if let Some(at) = arrivals.first {
            self.push(at, Event::Message { from, to, message });
        }
    }

    /// Begins a sync where there is something to sync.
    pub(super) fn sync(&mut self, node: usize) {
        if self.sites[node].disk.begin_sync() {
            let drawn = self.below(self.plan.sync.1.as_nanos() + 1, SYNC, node as u64);
            let site = &self.sites[node];
            let (at, life) = (self.now + site.sync_time(&self.plan, self.now, drawn), site.life);
            self.push(at, Event::Synced { node: node as u8, life });
        }
    }

    fn decided(
        &mut self,
        node: usize,
        index: u64,
        payload: &Payload,
        token: Option<u64>,
    ) -> Result<(), Broken> {
        let (value, key) = self.value(payload);
        let by_key = self.order == Order::ByKey;
        let site = &mut self.sites[node];
        let void = site.state.sealed.is_some();
        if !site.state.apply(index, key, value) {
            self.tally.add(Seen::Twice);
        }
        let (id, order) = (site.id, site.state.ordered());
        let own = 1_000 + node as u16;
        if void && by_key {
            // Without effect it has no place among those of its key.
            self.see(
                node,
                Fact::Decided { node: id, index, class: own, place: index, value: Value::Blank, token: None },
            )?;
            return token.map_or(Ok(()), |token| self.voided(node, token, index, true));
        }
        let (class, place) = match (by_key, value) {
            (false, _) => (0, index),
            // A blank of its own local index orders nothing; it is shown as the node's own class.
            (true, Value::Blank) => (own, index),
            (true, _) => (key + 1, site.state.keys[usize::from(key)].1),
        };
        if !by_key && index > self.under.len() as u64 {
            self.under.resize(index as usize, self.highest);
        }
        self.trace = fold(self.trace ^ index, value.digest());
        let first = !self.invariants.knows(class, place);
        self.see(node, Fact::Decided { node: id, index, class, place, value, token })?;
        if !void && matches!(value, Value::Seal(_)) {
            self.tally.add(Seen::Sealed);
            self.sealed |= self.sites[node].liar.is_none();
            self.see(node, Fact::Sealed { node: id, order })?;
        }
        if let Some(token) = token {
            if void {
                self.voided(node, token, index, false)?;
            } else {
                self.acknowledge(node, token, index, value)?;
            }
        }
        if first && value != Value::Blank && self.below(WEIGHED, WEIGH, node as u64) == 0 {
            self.weigh(node, index, payload, value)?;
        }
        Ok(())
    }

    /// A proposal was decided behind a seal: it has no effect, and is proposed to the successor if anywhere.
    fn voided(&mut self, node: usize, token: u64, index: u64, unanswered: bool) -> Result<(), Broken> {
        self.tally.add(Seen::Void);
        let asked_late = self.clients.questions.get(token as usize - 1).is_some_and(|q| q.sealed);
        if asked_late && self.subject.refuses_when_sealed() {
            self.see(node, Fact::Unsealed { node: self.members[node], index })?;
        }
        if unanswered {
            self.see(node, Fact::Refused { node: self.members[node], token, certain: false })?;
        }
        self.close(token);
        Ok(())
    }

    /// Counts the disks that hold what was just decided.
    fn weigh(&mut self, node: usize, index: u64, payload: &Payload, value: Value) -> Result<(), Broken> {
        // Who holds it: in whichever ballot, and by ballots.
        let (mut disks, mut any, mut ballots) = (NodeSet::EMPTY, NodeSet::EMPTY, BTreeMap::new());
        for (place, site) in self.sites.iter().enumerate().filter(|(_, s)| s.liar.is_none()) {
            let covered = site.checkpoint.as_ref().is_some_and(|c| match (self.order, value) {
                (Order::Total, _) => c.state.applied >= index,
                (Order::ByKey, Value::Command(number)) => c.state.numbers.has(number),
                (Order::ByKey, _) => false,
            });
            let mark = site.checkpoint.as_ref().map(|c| &c.mark);
            let evidence = Evidence { records: site.disk.safe(), mark };
            let accepted = match self.subject.holds(evidence.clone(), index, payload) {
                None => return Ok(()),
                _ if covered => None,
                Some(true) => self.subject.accepted_in(evidence, index, payload),
                Some(false) => continue,
            };
            disks.insert(place);
            for ballot in accepted.iter().flatten() {
                ballots.entry(*ballot).or_insert(NodeSet::EMPTY).insert(place);
            }
            if accepted.is_none() {
                any.insert(place);
            }
        }
        self.tally.add(Seen::Weighed);
        let nodes = self.plan.nodes;
        let in_one = |set: NodeSet| self.subject.enough(nodes, set.or(any));
        let enough = in_one(NodeSet::EMPTY) || ballots.into_values().any(in_one);
        self.see(node, Fact::Held { node: self.members[node], index, enough, disks: disks.0 })
    }

    fn refused(&mut self, node: usize, token: u64, error: &EngineError) -> Result<(), Broken> {
        self.tally.add(Seen::Refused);
        let certain = matches!(error, EngineError::NotLeader { .. } | EngineError::Refused(_));
        match error {
            EngineError::NotLeader { leader } => self.redirect(*leader),
            EngineError::Refused(_) => self.sites[node].refused = true,
            EngineError::Unknown | EngineError::Stopped(_) => {}
        }
        self.see(node, Fact::Refused { node: self.members[node], token, certain })?;
        self.close(token);
        Ok(())
    }

    /// Takes a checkpoint when it is time.
    pub(super) fn checkpoint(&mut self, node: usize) {
        let every = if self.subject.names_checkpoints() { 0 } else { self.plan.checkpoint_every };
        let site = &mut self.sites[node];
        // Where logs are small, one is taken after a refusal and now and then, however little it frees.
        let now_and_then = site.refused || self.now >= site.taken_at + self.plan.old * 4;
        let due = site.state.applied >= site.taken + every
            || self.plan.tight && site.state.applied > site.taken && now_and_then;
        if every == 0 || !due || site.writing.is_some() {
            return;
        }
        let Some(protocol) = &site.protocol else { return };
        (site.taken, site.taken_at, site.refused) = (site.state.applied, self.now, false);
        site.writing = Some(Rc::new(Snapshot { mark: protocol.mark(), state: site.state.clone() }));
        let life = site.life;
        let takes = self.disk_time(node);
        self.push(self.now + takes, Event::Checkpointed { node: node as u8, life });
    }

    /// How long writing a file takes here: some syncs, or none.
    fn disk_time(&mut self, node: usize) -> Duration {
        let drawn = self.below(self.plan.sync.1.as_nanos() + 1, CHECKPOINT, node as u64);
        let writes = self.below(self.plan.writes + 1, CHECKPOINT, node as u64);
        self.sites[node].sync_time(&self.plan, self.now, drawn) * writes
    }

    pub(super) fn checkpointed(&mut self, node: usize) -> Result<(), Broken> {
        let Some(snapshot) = self.sites[node].writing.take() else { return Ok(()) };
        self.tally.add(Seen::Checkpointed);
        let mark = snapshot.mark.clone();
        self.sites[node].checkpoint = Some(snapshot);
        self.step(node, Input::Checkpointed { mark })?;
        self.compact(node);
        Ok(())
    }

    /// Takes a checkpoint at a place the protocol named.
    fn take_asked(&mut self, node: usize, mark: Bytes) {
        let site = &mut self.sites[node];
        site.asked.push_back(Rc::new(Snapshot { mark, state: site.state.clone() }));
        let life = site.life;
        let takes = self.disk_time(node);
        self.push(self.now + takes, Event::Vouched { node: node as u8, life });
    }

    /// A checkpoint the protocol asked for is durable.
    pub(super) fn vouched(&mut self, node: usize) -> Result<(), Broken> {
        let site = &mut self.sites[node];
        let Some(snapshot) = site.asked.pop_front() else { return Ok(()) };
        let (mark, digest) = (snapshot.mark.clone(), snapshot.state.digest());
        site.vouched.push_back(Rc::clone(&snapshot));
        site.checkpoint = Some(snapshot);
        if site.stable_mark.as_ref() == Some(&mark) {
            site.stabilise(&mark);
        }
        self.tally.add(Seen::Checkpointed);
        self.step(node, Input::Vouched { mark, digest })?;
        self.compact(node);
        Ok(())
    }

    /// Replaces the log by what is still needed; effective when it is durable as a whole.
    fn compact(&mut self, node: usize) {
        let site = &mut self.sites[node];
        let Some(protocol) = &site.protocol else { return };
        let records = protocol.compact();
        site.disk.begin_compaction(records);
        site.compacting += 1;
        let (life, number) = (site.life, site.compacting);
        let takes = self.disk_time(node);
        self.push(self.now + takes, Event::Compacted { node: node as u8, life, number });
    }

    /// Sends the durable checkpoint to a peer, unless one is on its way.
    fn behind(&mut self, node: usize, peer: NodeId) {
        let Ok(to) = self.members.binary_search(&peer) else { return };
        let site = &self.sites[node];
        let what = if self.subject.names_checkpoints() { &site.stable } else { &site.checkpoint };
        let Some(mut what) = what.clone() else { return };
        if site.liar.is_some() {
            // A traitor's checkpoint is not what its mark says.
            let mut state = what.state.clone();
            state.chain ^= 1;
            what = Rc::new(Snapshot { mark: what.mark.clone(), state });
        }
        if to == node || !self.network.reaches(node, to) || self.sites[node].bringing.has(to) {
            return;
        }
        self.sites[node].bringing.insert(to);
        let longer =
            if self.calm { 0 } else { self.below(self.plan.brought.as_nanos() + 1, BRING, to as u64) };
        let at = self.now + (self.plan.delay.0 + self.plan.delay.1) * 3 + Duration::nanos(longer);
        self.push(at, Event::Bring { from: node as u8, to: to as u8, what });
    }

    /// A peer's checkpoint has come: takes it if it holds something that this node has not applied, and
    /// the protocol admits it.
    pub(super) fn bring(&mut self, from: usize, to: usize, what: &Rc<Snapshot>) -> Result<(), Broken> {
        self.sites[from].bringing.remove(to);
        let site = &mut self.sites[to];
        let useful = match self.order {
            // A protocol that names checkpoints may go on without indices (places without effect).
            Order::Total if self.subject.names_checkpoints() => what.state.applied >= site.state.applied,
            Order::Total => what.state.applied > site.state.applied,
            // Marks need not be comparable: what may be forgotten is the protocol's to say (`admits`).
            Order::ByKey => {
                site.state.numbers.lacks(&what.state.numbers).is_some()
                    || site.state.sealed.is_none() && what.state.sealed.is_some()
            }
        };
        let Some(protocol) = site.protocol.as_ref().filter(|_| useful && site.liar.is_none()) else {
            return Ok(());
        };
        if !protocol.admits(&what.mark, &what.state.digest()) {
            self.tally.add(Seen::NotAdmitted);
            return Ok(());
        }
        self.tally.add(Seen::Installed);
        site.state = what.state.clone();
        site.taken = site.state.applied;
        site.checkpoint = Some(Rc::clone(what));
        site.writing = None;
        site.asked.clear();
        site.vouched = [Rc::clone(what)].into();
        site.stable = Some(Rc::clone(what));
        let id = self.members[to];
        self.tell(|| format!("{id} installs a checkpoint of n{} up to {}", from + 1, what.state.applied));
        // What the step puts out comes behind the mark: the base is told to the invariants first.
        let fact =
            Fact::Based { node: id, state: what.state.applied, protocol: what.state.applied, total: true };
        self.see(to, fact)?;
        self.step(to, Input::Installed { mark: what.mark.clone() })?;
        self.compact(to);
        if !self.calm && self.below(65_536, FALL, to as u64) < u64::from(self.plan.falls) {
            let within = (self.plan.sync.0 + self.plan.sync.1) * 2;
            let at = self.now + Duration::nanos(self.below(within.as_nanos(), FALL, to as u64));
            let life = self.sites[to].life;
            self.push(at, Event::Fall { node: to as u8, life });
        }
        Ok(())
    }
}
