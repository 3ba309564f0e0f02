//! Where the others are: beacons, offers, checkpoints to and from peers, epochs let go.
//!
//! **Model.** Once a group has left its first epoch under Raft, each node tells the others now and then where it is. Who
//! finds itself in an epoch that others have left, and does not move any more, asks one of them for a checkpoint; so does who
//! takes no part in the epoch, and who is offered one. An engine of an ended epoch goes on answering the late until all its
//! members have left it, or [`LINGER`] has passed, and a checkpoint behind it is durable here; after that the late get
//! the checkpoint. A member that lost what it promised makes the leader begin another epoch, in which it can vote again.
//!
//! **Of an epoch of Raft in which nothing was applied** Raft makes no checkpoint: there is nothing that its log could be shortened by. But
//! who is late may need just what that epoch began with: an engine's blanks move its mark and no index, so the newest checkpoint
//! before the seal may be at the very index where the late one is, and can't be offered, while the ended engine's log begins behind
//! its mark. If that epoch can't elect without the late one, no entry ever comes. So the chain writes that state itself when
//! somebody asks for it ([`ChainGroup::as_it_began`]): the index is the seal's and so beyond all that the epoch before could give,
//! the record says that nothing of the epoch's engine is in it, and who takes it founds Raft as if it had met the seal itself.
//!
//! **Rejected.** *Such a checkpoint behind each seal*: a write of the state on top of what a switch costs, for what Raft's own first
//! one mends a moment later wherever it has a leader. *Offers by mark in place of index*: only its own engine can compare two marks, and the epoch
//! would still end where its seal can be learned of nobody. *The ended engine's checkpoint*: the state is the next epoch's by then.

use crate::bugs::bug;
use crate::fetch::{Allowance, Fetch, Taken};
use crate::group::{ChainGroup, Running, Seen, Shunned};
use crate::host::{ChainHost, OWN, Purpose, Switch, earlier};
use crate::message::{self, ChainMessage};
use crate::order::Order;
use crate::record::ChainRecord;
use crate::spec::EngineKind;
use crate::trust::Judged;
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, EngineOutput, Piece, Position, StateMachine, Work};
use dwcp_env::{Duration, Event, GroupId, Instant, JobResult, Lane, NodeId, Now};

/// How long an ended epoch is kept for members that have not left it.
const LINGER: Duration = Duration::secs(30);
/// Beacons without progress, while a peer is in a later epoch, after which a checkpoint is asked for.
const STUCK: u32 = 3;
/// One that takes no part asks for state no more often than this.
const FOLLOW_EVERY: Duration = Duration::secs(2);
/// A leader begins an epoch for a silent member no more often than this.
const ROLL_EVERY: Duration = Duration::secs(10);
/// Jobs for peers and transfers of one host; more are put off.
const JOBS_MAX: usize = 64;
/// Beacons missed after which a keeper of leases counts as silent.
const KEEPER_BEATS: u64 = 10;
/// Its role is asked for no more often than this.
const KEEP_EVERY: Duration = Duration::secs(2);
/// Pieces that are being read for one peer.
const PARTS_MAX: usize = 2;
/// A peer is offered a checkpoint no more often than this.
const OFFER_EVERY: Duration = Duration::secs(1);

impl<SM: StateMachine> ChainHost<SM> {
    pub(crate) fn say(&mut self, id: GroupId, to: NodeId, lane: Lane, message: &ChainMessage) {
        let Some(group) = self.groups.get(&id) else { return };
        let (epoch, about) = group.tail.name();
        let body = message::chain(epoch, about, message);
        self.out.push((id, EngineOutput::Send { to, lane, body }));
    }

    /// What is due by the clock.
    pub(crate) fn keep_company(&mut self, now: Now) -> Option<Instant> {
        let mut wake = None;
        let ids: Vec<GroupId> = self.groups.keys().copied().collect();
        for id in ids {
            if let Some(group) = self.groups.get_mut(&id) {
                group.clock = now.mono;
            }
            self.answer_the_late(now, id);
            wake = earlier(wake, self.beacon(now, id));
            wake = earlier(wake, self.fetch(now, id));
            wake = earlier(wake, self.pursue_wish(now, id));
        }
        wake
    }

    /// Offers checkpoints to peers whose engines need what was forgotten here.
    fn answer_the_late(&mut self, now: Now, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let mut behind = Vec::new();
        for e in group.epochs.values_mut() {
            if let Running::Step(step) = &mut e.running {
                behind.extend(step.take_behind());
            }
        }
        for peer in behind {
            self.probe.reachable("chain.peer_behind");
            self.offer(now, id, peer);
        }
    }

    /// Offers a peer the newest checkpoint.
    pub(crate) fn offer(&mut self, now: Now, id: GroupId, to: NodeId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let seen = group.seen.entry(to).or_default();
        if now.mono < seen.offered_at {
            return;
        }
        seen.offered_at = now.mono + OFFER_EVERY;
        let (has, here) = (seen.applied, group.applied());
        // Where members may lie the protocol says where checkpoints are.
        let named = group.tail.with(|t| t.spec.engine == EngineKind::Pbft);
        let servable = group.servable();
        if !named && has < here && servable.as_ref().is_none_or(|(c, _)| c.at.index <= has) {
            // Nothing that the peer has not. (What a protocol decided without a command moves its mark, and no index.)
            self.probe.reachable("chain.checkpoint_for_the_late");
            self.take_for_the_late(id);
        } else if let Some((checkpoint, _)) = servable {
            self.say(id, to, Lane::Control, &ChainMessage::Offer { at: checkpoint.at });
        }
    }

    /// Begins a checkpoint that is newer than those which can be given.
    fn take_for_the_late(&mut self, id: GroupId) {
        let free = !self.checkpoint_under_way(id);
        let began = self.groups.get_mut(&id).filter(|_| free).and_then(ChainGroup::as_it_began);
        match began {
            Some((epoch, work)) => {
                self.probe.reachable("chain.checkpoint_of_a_beginning");
                self.job(id, Purpose::Checkpoint { epoch }, work);
            }
            None => {
                self.snapshot(id, OWN);
            }
        }
    }

    fn beacon(&mut self, now: Now, id: GroupId) -> Option<Instant> {
        let group = self.groups.get_mut(&id)?;
        if !group.keeps_company() {
            return None;
        }
        let epoch = group.tail.epoch();
        if now.mono < group.beacon_at {
            return Some(group.beacon_at);
        }
        let every = group.beat();
        group.beacon_at = now.mono + every;
        let (applied, durable) = (group.applied(), group.durable_epoch());
        let silent = matches!(group.current().map(|e| &e.running), Some(Running::Aside { silent: true }));
        let pulse = group.config.policy.is_some().then(|| group.eye.pulse(now.mono));
        let part = matches!(group.current().map(|e| &e.running), Some(Running::Step(_)));
        let leader = group.brief(&self.raft).leader.filter(|_| part && !group.judges());
        let here = ChainMessage::Here { applied, silent, leader, pulse };
        let peers = group.peers(&self.raft);
        for peer in peers {
            self.say(id, peer, Lane::Control, &here);
        }
        if let Some(group) = self.groups.get_mut(&id) {
            group.try_awaited(now.mono, false);
        }
        if durable < epoch {
            self.snapshot(id, OWN);
        }
        self.let_go(now, id, durable);
        self.roll_for_the_silent(now, id);
        self.take_the_keep(now, id);
        self.follow(now, id);
        self.adapt(now, id, every);
        Some(now.mono + every)
    }

    /// Ends epochs that nobody needs any more.
    fn let_go(&mut self, now: Now, id: GroupId, durable: u32) {
        let Some(group) = self.groups.get(&id) else { return };
        let tail = group.tail.epoch();
        let me = group.me();
        // Who belonged to a first epoch under Raft only Raft knew; its successor began with the same.
        let successors = group.spec().members.voters;
        let since = group.current().map_or(now.mono, |e| e.opened_at);
        let over = |epoch: u32, e: &crate::group::Epoch<SM::Response>| {
            let left = |n: &NodeId| *n == me || group.seen.get(n).is_some_and(|s| s.epoch > epoch);
            let members = Some(&e.spec.members.voters).filter(|v| !v.is_empty()).unwrap_or(&successors);
            let anchored = durable > epoch || bug!(group.config.bugs, log_ended_early);
            epoch < tail && anchored && (members.iter().all(left) || now.mono >= since + LINGER)
        };
        let ended: Vec<u32> = group.epochs.iter().filter(|(n, e)| over(**n, e)).map(|(n, _)| *n).collect();
        for epoch in ended {
            self.end_epoch(id, epoch);
        }
    }

    /// A member that lost what it promised can vote in the next epoch.
    fn roll_for_the_silent(&mut self, now: Now, id: GroupId) {
        let Some(group) = self.groups.get(&id) else { return };
        let spec = group.spec();
        let me = group.me();
        let silent = |n: &NodeId| group.seen.get(n).is_some_and(|s| s.silent && s.epoch == spec.epoch);
        let part = |n: &NodeId| !silent(n) && *n != me;
        let own = matches!(group.current().map(|e| &e.running), Some(Running::Aside { .. }) | None);
        // Where all serve, the first who counts.
        let leads = match spec.engine {
            EngineKind::EPaxos => !own && !spec.members.voters.range(..me).any(part),
            // Its members are its keys': who lost a disk counts as a liar until an operator ends the epoch.
            EngineKind::Pbft => false,
            EngineKind::Raft | EngineKind::Paxos => group.brief(&self.raft).leader == Some(me),
        };
        let early = group.rolled_at.is_some_and(|at| now.mono < at + ROLL_EVERY);
        let members = group.members(&self.raft);
        if !leads || early || !members.voters.iter().any(silent) {
            return;
        }
        self.probe.reachable("chain.rolled_for_the_silent");
        if let Some(group) = self.groups.get_mut(&id) {
            group.rolled_at = Some(now.mono);
        }
        let (engine, quorums, first) = (spec.engine, spec.quorums, Some(me));
        let next = Switch { engine, quorums, first, ..Switch::default() };
        self.switch(id, OWN, Some(spec.epoch), next);
    }

    /// Where every member serves, the first voter behind a keeper of leases that is silent takes its role.
    fn take_the_keep(&mut self, now: Now, id: GroupId) {
        let Some(group) = self.groups.get(&id) else { return };
        let (spec, me) = (group.spec(), group.me());
        let part = matches!(group.current().map(|e| &e.running), Some(Running::Step(_)));
        if !spec.engine.serves_everywhere() || !part || now.mono < group.keep_at {
            return;
        }
        let since = group.current().map_or(now.mono, |e| e.opened_at);
        let quiet = |n: &NodeId| {
            let seen = group.seen.get(n);
            let heard = seen.and_then(|s| s.heard_at).map_or(since, |at| at.max(since));
            seen.is_some_and(|s| s.silent && s.epoch == spec.epoch)
                || now.mono.since(heard) > group.beat() * KEEPER_BEATS
        };
        let Some(keeper) = group.keeper(&spec).filter(|k| *k != me && quiet(k)) else { return };
        let voters = &spec.members.voters;
        let behind = voters.iter().filter(|v| **v > keeper).chain(voters.iter().filter(|v| **v < keeper));
        let next = behind.copied().find(|v| *v == me || !quiet(v));
        if next != Some(me) {
            return;
        }
        self.probe.reachable("chain.keeper_silent");
        let turn = group.tail.with(|t| t.kept.turn);
        if let Some(group) = self.groups.get_mut(&id) {
            group.keep_at = now.mono + KEEP_EVERY;
        }
        self.propose(id, OWN, &Order::Keep { turn, keeper: me }.encode());
    }

    /// Asks for state if this node can't come to it by itself.
    fn follow(&mut self, now: Now, id: GroupId) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let (epoch, applied) = (group.tail.epoch(), group.applied());
        let ahead = group.seen.iter().filter(|(_, s)| (s.epoch, s.applied) > (epoch, applied));
        let ahead = ahead.filter(|(_, s)| now.mono >= s.shunned.until);
        let mut ahead: Vec<(u32, u64, NodeId)> = ahead.map(|(n, s)| (s.epoch, s.applied, *n)).collect();
        ahead.sort_unstable();
        // Where members may lie who boasts most is not asked first, but one after the other.
        let believed = group.tail.with(|t| t.spec.engine != EngineKind::Pbft);
        let turn = (now.mono.as_nanos() / FOLLOW_EVERY.as_nanos()) as usize;
        let nth = if believed { ahead.len().saturating_sub(1) } else { turn % ahead.len().max(1) };
        let best = ahead.get(nth).map(|(epoch, _, n)| (*n, *epoch));
        let passive = matches!(group.current().map(|e| &e.running), Some(Running::Aside { .. }) | None);
        let left_behind = best.is_some_and(|(_, e)| e > epoch);
        group.stuck = match group.stuck {
            (at, n) if left_behind && at == applied => (at, n + 1),
            _ => (applied, 0),
        };
        let Some((from, _)) = best.filter(|_| passive || group.stuck.1 >= STUCK) else { return };
        if group.fetch.is_none() && now.mono >= group.follow_at {
            group.follow_at = now.mono + FOLLOW_EVERY;
            self.probe.sometimes("chain.left_behind", left_behind && !passive);
            group.stuck.1 = 0;
            group.begin_fetch(now.mono, from);
        }
    }

    /// Says what a transfer needs next.
    fn fetch(&mut self, now: Now, id: GroupId) -> Option<Instant> {
        let group = self.groups.get_mut(&id)?;
        if group.fetch.is_none() && !group.whole {
            // Nothing to go on from: whoever is known is asked, one after the other.
            let mut known = group.peers(&self.raft);
            known.retain(|peer| !group.shuns(now.mono, *peer));
            let turn = (now.mono.as_nanos() / group.patience().as_nanos().max(1)) as usize;
            let from = *known.get(turn % known.len().max(1))?;
            group.begin_fetch(now.mono, from);
        }
        group.fetch.as_ref()?;
        let (patience, beyond, whole) = (group.patience(), group.applied(), group.whole);
        if group.outlived_its_trust() {
            self.probe.reachable("chain.transfer_of_another_trust");
            group.end_fetch();
        }
        let fetch = group.fetch.as_mut()?;
        let Some(due) = fetch.due(now.mono, patience) else {
            self.probe.reachable("chain.transfer_given_up");
            group.shun(now.mono, false);
            return Some(now.mono + FOLLOW_EVERY);
        };
        // While a job holds a piece, its end is what wakes.
        let (to, again_at) = (fetch.from, Some(fetch.again_at).filter(|_| !fetch.busy));
        if due {
            let (begun, cursor) = match &fetch.begun {
                Some((checkpoint, Some(next))) => (Some(checkpoint.at), next.clone()),
                _ => (None, Bytes::new()),
            };
            let beyond = if whole { beyond } else { 0 };
            self.say(id, to, Lane::Bulk, &ChainMessage::Want { beyond, begun, cursor });
        }
        again_at
    }

    /// A chain's message.
    pub(crate) fn on_chain(
        &mut self,
        now: Now,
        id: GroupId,
        from: NodeId,
        epoch: u32,
        message: ChainMessage,
    ) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let tail = group.tail.epoch();
        match message {
            ChainMessage::Here { applied, silent, leader, pulse } => {
                let before = group.seen.get(&from).copied().unwrap_or_default();
                group.seen.insert(
                    from,
                    Seen { epoch, applied, silent, leader, heard_at: Some(now.mono), ..before },
                );
                group.settle_doubt();
                if let Some(pulse) = pulse {
                    let me = group.me();
                    group.eye.hear(now.mono, me, from, &pulse);
                }
                let engine_runs = group.epochs.contains_key(&epoch);
                if epoch < tail && !engine_runs {
                    self.offer(now, id, from);
                }
            }
            ChainMessage::Offer { at } => {
                if at.index > group.applied() && group.fetch.is_none() && !group.shuns(now.mono, from) {
                    group.begin_fetch(now.mono, from);
                }
            }
            ChainMessage::Want { beyond, begun, cursor } => self.serve(id, from, beyond, begun, cursor),
            ChainMessage::Part { checkpoint, cursor, piece, proof } => {
                self.on_part(now, id, from, checkpoint, (&cursor, &proof), piece);
            }
            ChainMessage::KeyWanted => self.tell_key(id, from),
            ChainMessage::Key { public } => {
                if let Some(wish) = &mut group.wish {
                    wish.hear(from, public);
                }
            }
            ChainMessage::Later => {
                if let Some(fetch) = group.fetch.as_mut().filter(|f| f.from == from && !f.busy) {
                    // What was begun there is gone: any other will do.
                    fetch.begun = None;
                }
            }
        }
    }

    fn serve(&mut self, id: GroupId, to: NodeId, beyond: u64, begun: Option<Position>, cursor: Bytes) {
        let busy = self.jobs_under_way() >= JOBS_MAX || self.parts_under_way(id, to) >= PARTS_MAX;
        let Some(group) = self.groups.get_mut(&id) else { return };
        let fits = match begun {
            Some(at) => group.serving.get(&to).filter(|(c, _)| c.at == at).cloned(),
            None => group.servable().filter(|(c, _)| c.at.index > beyond),
        };
        if begun.is_some() && fits.is_some() && busy {
            // What it asks for is on its way, or will be asked for again: nothing of what it has is lost.
            return;
        }
        let read = |(c, _): &(Checkpointed, Bytes)| group.machine.lock().read_piece(c.at, cursor.clone());
        let work = fits.as_ref().filter(|_| !busy).and_then(read);
        match (fits, work) {
            (Some((checkpoint, proof)), Some(work)) => {
                group.serving.insert(to, (checkpoint.clone(), proof.clone()));
                self.job(id, Purpose::Part { to, checkpoint, cursor, proof }, work);
            }
            _ => {
                group.serving.remove(&to);
                // Where members may lie the protocol says where checkpoints are.
                let named = group.tail.with(|t| t.spec.engine == EngineKind::Pbft);
                let worth = begun.is_none() && !busy && !named && group.applied() > beyond;
                self.say(id, to, Lane::Bulk, &ChainMessage::Later);
                if worth {
                    self.take_for_the_late(id);
                }
            }
        }
    }

    fn on_part(
        &mut self,
        now: Now,
        id: GroupId,
        from: NodeId,
        checkpoint: Checkpointed,
        (cursor, proof): (&Bytes, &Bytes),
        piece: Piece,
    ) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let (applied, tail, whole) = (group.applied(), group.tail.epoch(), group.whole);
        if group.outlived_its_trust() {
            self.probe.reachable("chain.transfer_of_another_trust");
            group.end_fetch();
            return;
        }
        // A piece that nobody asked for, or one that comes late, says nothing of the transfer that is under way.
        let Some(fetch) = group.fetch.as_mut().filter(|f| f.from == from && !f.busy) else { return };
        let record = ChainRecord::decode(&checkpoint.engine_record).ok().flatten();
        let epoch = record.as_ref().map_or(0, |r| r.spec.epoch);
        let raft_runs = matches!(group.epochs.get(&epoch).map(|e| &e.running), Some(Running::Raft(_)));
        let useful = epoch >= tail && !raft_runs && (checkpoint.at.index > applied || !whole);
        if !useful {
            self.probe.reachable("chain.transfer_overtaken");
            group.end_fetch();
            return;
        }
        let taken = fetch.take(from, &checkpoint, cursor, &piece);
        if taken != Taken::Odd && !fetch.allows(now.mono, &piece) {
            self.probe.reachable("chain.transfer_without_end");
            group.passed += 1;
            group.shun(now.mono, true);
            return;
        }
        match taken {
            Taken::Odd => return,
            Taken::First if !group.tail.chain_takes_in() => {
                self.probe.reachable("chain.transfer_behind_rafts");
                group.end_fetch();
                return;
            }
            Taken::First => match group.judge(now.mono, from, checkpoint.at.index, record.as_ref(), proof) {
                Ok(Judged::Behind) => {
                    self.probe.reachable("chain.transfer_overtaken");
                    group.end_fetch();
                    return;
                }
                Ok(judged) => {
                    let mut machine = group.machine.lock();
                    machine.begin_install(checkpoint);
                    if let Judged::Proved(digest) = judged {
                        machine.expect_digest(digest);
                    }
                }
                Err(why) => {
                    self.probe.reachable("chain.state_not_believed");
                    self.probe.event(&Event::PeerFaulted { from, why: why.to_string() });
                    group.shun(now.mono, true);
                    return;
                }
            },
            Taken::Next => {}
        }
        let Some(fetch) = group.fetch.as_mut() else { return };
        if taken == Taken::First {
            fetch.proof = proof.clone();
        }
        fetch.again_at = now.mono;
        let transfer = fetch.number;
        let work = group.machine.lock().install_piece(piece.data);
        self.job(id, Purpose::Install { transfer }, work);
    }

    /// A job of the chain's has ended.
    pub(crate) fn on_job(&mut self, now: Now, id: GroupId, purpose: Purpose, result: JobResult) {
        match purpose {
            Purpose::Checkpoint { epoch } => {
                let Some(group) = self.groups.get_mut(&id) else { return };
                let done = match group.epochs.get_mut(&epoch).map(|e| &mut e.running) {
                    Some(Running::Step(step)) => step.checkpoint_done(now.mono, result),
                    // The epoch was let go meanwhile.
                    _ => group.machine.lock().checkpoint_done(result).map(drop),
                };
                if let Err(why) = done {
                    group.fatal = Some(why);
                }
            }
            Purpose::Part { to, checkpoint, cursor, proof } => {
                if let Some(Ok(piece)) =
                    result.and_then(|r| r.downcast::<Result<Piece, String>>().ok()).map(|p| *p)
                {
                    let part = ChainMessage::Part { checkpoint, cursor, piece, proof };
                    self.say(id, to, Lane::Bulk, &part);
                }
            }
            Purpose::Install { transfer } => self.on_piece_taken(now, id, transfer, result),
            Purpose::Swap => self.on_swapped(now, id, result),
        }
    }

    fn on_piece_taken(&mut self, now: Now, id: GroupId, transfer: u64, result: JobResult) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let taken = result.and_then(|r| r.downcast::<Result<(), String>>().ok()).map(|t| *t);
        let (applied, whole) = (group.applied(), group.whole);
        if group.fetch.as_ref().is_some_and(|f| f.number == transfer) && group.outlived_its_trust() {
            self.probe.reachable("chain.transfer_of_another_trust");
            group.end_fetch();
            return;
        }
        let Some(fetch) = group.fetch.as_mut().filter(|f| f.number == transfer) else { return };
        if !matches!(taken, Some(Ok(()))) {
            self.probe.reachable("chain.piece_refused");
            group.shun(now.mono, true);
            return;
        }
        if fetch.taken(now.mono) {
            return;
        }
        let (from, proof) = (fetch.from, fetch.proof.clone());
        let at = fetch.begun.as_ref().map_or(0, |(c, _)| c.at.index);
        let record =
            fetch.begun.as_ref().and_then(|(c, _)| ChainRecord::decode(&c.engine_record).ok().flatten());
        let epoch = record.as_ref().map_or(0, |r| r.spec.epoch);
        // Raft can't be told that its state was replaced; nor need it be, it catches up by itself.
        let raft_runs = matches!(group.epochs.get(&epoch).map(|e| &e.running), Some(Running::Raft(_)));
        if (at <= applied && whole) || raft_runs {
            // The engine was faster.
            self.probe.reachable("chain.transfer_overtaken");
            group.end_fetch();
            return;
        }
        let mark = record.map_or_else(Bytes::new, |r| r.inner);
        if let Some(Running::Step(step)) = group.epochs.get_mut(&epoch).map(|e| &mut e.running) {
            if !proof.is_empty() {
                // Later ones were proved while it came.
                step.learn(now.mono, from, &proof);
            }
            if !step.admits(&mark) {
                self.probe.reachable("chain.checkpoint_not_admitted");
                group.end_fetch();
                return;
            }
        }
        if let Some(fetch) = &mut group.fetch {
            (fetch.busy, fetch.swapping) = (true, true);
        }
        group.deafen(now.mono, true);
        let work = group.machine.lock().finish_install();
        self.job(id, Purpose::Swap, work);
    }

    fn on_swapped(&mut self, now: Now, id: GroupId, result: JobResult) {
        let Some(group) = self.groups.get_mut(&id) else { return };
        let mut machine = group.machine.lock();
        if let Err(why) = machine.install_done(result) {
            drop(machine);
            self.probe.reachable("chain.swap_failed");
            self.probe.event(&Event::CheckpointFailed { group: id, why });
            group.shun(now.mono, true);
            group.deafen(now.mono, false);
            return;
        }
        let (at, record) = machine.applied();
        drop(machine);
        let Ok(Some(record)) = ChainRecord::decode(&record) else {
            group.fatal = Some("a checkpoint was installed that knows no chain".into());
            return;
        };
        let index = at.map_or(0, |at| at.index);
        self.probe.reachable("chain.checkpoint_installed");
        self.probe.event(&Event::SnapshotInstalled { group: id, index });
        let (epoch, mark) = (record.spec.epoch, record.inner.clone());
        if let Some(seen) = group.fetch.as_ref().map(|f| f.from).and_then(|from| group.seen.get_mut(&from)) {
            seen.shunned = Shunned::default();
        }
        group.passed = 0;
        group.end_fetch();
        group.whole = true;
        group.tail.set(record);
        group.try_awaited(now.mono, true);
        group.try_raft();
        if let Some(Running::Step(step)) = group.epochs.get_mut(&epoch).map(|e| &mut e.running) {
            step.installed(now.mono, &mark);
        }
        group.deafen(now.mono, false);
    }
}

impl<SM: StateMachine> ChainGroup<SM> {
    fn begin_fetch(&mut self, now: Instant, from: NodeId) {
        self.fetches += 1;
        let allowed = if self.judges() { Allowance::after(now, self.passed) } else { Allowance::ANY };
        let mut fetch = Fetch::new(self.fetches, from, now, allowed);
        fetch.begun_in = self.tail.epoch();
        self.fetch = Some(fetch);
    }
    /// Whether the transfer was begun, and its sender believed, before this node came to where nobody is believed alone. (One that is
    /// being swapped in may end: its state is what this node then has, and nothing has come to it otherwise meanwhile.)
    fn outlived_its_trust(&self) -> bool {
        let begun_in = self.fetch.as_ref().filter(|f| !f.swapping).map(|f| f.begun_in);
        begun_in.is_some_and(|epoch| epoch != self.tail.epoch()) && self.judges()
    }
    /// The state as an epoch of Raft found it, to be written, while it is in no checkpoint of Raft's.
    fn as_it_began(&mut self) -> Option<(u32, Work)> {
        let raft = self.current().is_some_and(|e| e.spec.engine == EngineKind::Raft);
        let swapping = self.fetch.as_ref().is_some_and(|f| f.swapping) || self.tail.raft_swaps();
        if !raft || swapping {
            return None;
        }
        let (epoch, base) = self.tail.with(|t| (t.spec.epoch, t.base));
        let mut machine = self.machine.lock();
        machine.applied_at().filter(|at| at.index == base)?;
        machine.checkpoint().map(|work| (epoch, work))
    }
    /// The transfer came to nothing, by its sender's fault: others are asked first.
    fn shun(&mut self, now: Instant, wrong: bool) {
        if let Some(fetch) = &self.fetch {
            self.seen.entry(fetch.from).or_default().shunned.again(now, wrong);
        }
        self.end_fetch();
    }
    fn shuns(&self, now: Instant, peer: NodeId) -> bool {
        self.seen.get(&peer).is_some_and(|s| now < s.shunned.until)
    }
    /// Whether this node believes no single member.
    fn judges(&self) -> bool {
        self.tail.with(|t| t.spec.engine == EngineKind::Pbft)
    }
    fn end_fetch(&mut self) {
        self.fetch = None;
        self.tail.chain_took_in();
    }

    /// Whether engines hear: not while a checkpoint is swapped in.
    fn deafen(&mut self, now: Instant, deaf: bool) {
        for e in self.epochs.values_mut() {
            if let Running::Step(step) = &mut e.running {
                step.deafen(now, deaf);
            }
        }
    }

    /// What this node may have forgotten ends with what a majority of the members has seen.
    fn settle_doubt(&mut self) {
        if self.manifest.doubt != Some(None) {
            return;
        }
        let mut voters = self.tail.with(|t| t.spec.members.voters.clone());
        if voters.is_empty() {
            voters.extend(&self.config.known);
        }
        let seen = voters.iter().filter_map(|v| self.seen.get(v)).filter(|s| s.heard_at.is_some());
        let heard: Vec<u32> = seen.map(|s| s.epoch).collect();
        if heard.len() > voters.len() / 2 {
            // The one behind the last seen may have been sealed with this node's word.
            self.manifest.doubt = Some(heard.into_iter().max().map(|e| e.saturating_add(1)));
            self.manifest.write(self.id, &self.wal);
        }
    }
}
