//! A small world drawn from a seed: two to five nodes and everything that may happen to them. After every step each replica
//! that was touched is compared with the specification; at the end all is healed and everyone must be equal, byte for byte.
//!
//! Nodes follow the rules of `dwcp-eventual` (its `membership`, `roster`, `fetch` and `salvage`), without its messages: who may propose what, what is
//! given up when, whose state may be taken, and when something new may be made.

use crate::draw::Draw;
use crate::spec::{Spec, View};
use dwcp_crdt::edit::{Edit, EditFault};
use dwcp_crdt::space::{Config, Digest, Missing, Received, Refused, Rejected, Restore, SnapshotHeader, Tail};
use dwcp_crdt::{Batch, Dot, ReplicaIndex, Roster, Space, Standing, VersionVector};
use dwcp_env::{NodeId, Probe};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[path = "edits.rs"]
mod edits;
#[path = "membership.rs"]
mod membership;
#[path = "peace.rs"]
mod peace;
#[path = "repair.rs"]
mod repair;

/// What happened how often, so that a run can show it tested something.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Counts {
    /// Steps that were compared with the specification.
    pub(crate) checks: u64,
    /// Transactions made.
    pub(crate) transactions: u64,
    /// Batches that came again.
    pub(crate) duplicates: u64,
    /// Batches that came before one they follow.
    pub(crate) early: u64,
    /// Times that a removal waited for what it removes.
    pub(crate) pending: u64,
    /// Crashes that took unsynced operations back.
    pub(crate) crashes: u64,
    /// Disks lost.
    pub(crate) lost_disks: u64,
    /// Snapshots restored, and those that were read while operations went on.
    pub(crate) snapshots: u64,
    /// Members evicted.
    pub(crate) evictions: u64,
    /// Members evicted that knew nothing of it for a while, and those of two evicted together.
    pub(crate) unaware: u64,
    pub(crate) together: u64,
    /// Operations made anew by those who returned.
    pub(crate) salvaged: u64,
    /// Batches that waited for the end of their maker's place to be decided.
    pub(crate) late: u64,
    /// States given up for having what was cut off.
    pub(crate) diverged: u64,
    /// Rosters that came late, and those that came after a later one.
    pub(crate) rosters: u64,
    pub(crate) old_rosters: u64,
    /// Batches refused for what a roster says.
    pub(crate) refused: u64,
    /// Logs trimmed.
    pub(crate) trims: u64,
    /// Reconciliations of ranges.
    pub(crate) reconciled: u64,
    /// Sequences that were compared.
    pub(crate) lists: u64,
    /// Dead elements that stayed to the end because live ones hang on them.
    pub(crate) tombstones: u64,
}

impl Counts {
    /// Adds another's.
    pub(crate) fn add(&mut self, o: &Self) {
        self.checks += o.checks;
        self.transactions += o.transactions;
        self.duplicates += o.duplicates;
        self.early += o.early;
        self.pending += o.pending;
        self.crashes += o.crashes;
        self.lost_disks += o.lost_disks;
        self.snapshots += o.snapshots;
        self.evictions += o.evictions;
        self.unaware += o.unaware;
        self.together += o.together;
        self.salvaged += o.salvaged;
        self.late += o.late;
        self.diverged += o.diverged;
        self.rosters += o.rosters;
        self.old_rosters += o.old_rosters;
        self.refused += o.refused;
        self.trims += o.trims;
        self.reconciled += o.reconciled;
        self.lists += o.lists;
        self.tombstones += o.tombstones;
    }
}

type Disk = (Vec<u8>, Vec<u8>, Vec<Batch>);

struct Node {
    space: Space,
    /// Its state is as whole as that of a peer.
    whole: bool,
    /// Its place is given up, and not all that was made there is known.
    lost: bool,
    unsure: bool,
    /// Operations that wait for a state to which they can be applied.
    leftover: Vec<Batch>,
    /// What it made at places that ended and nobody had taken.
    tails: Vec<Tail>,
    /// Members for whom it did not keep its log at some time.
    not_kept_for: BTreeSet<ReplicaIndex>,
    /// How many places it knew of when it forgot something first.
    known_at_trim: usize,
    /// How far others said they had come with its places,
    elsewhere: VersionVector,
    /// and whether it took, of a place that closes, more than it had reported: that may be cut off yet.
    gambled: bool,
    /// State and log as of the last checkpoint, then all batches since.
    disk: Option<Disk>,
    wal: Vec<Batch>,
    synced: usize,
    /// What its disk has, and under which roster it starts again.
    durable: VersionVector,
    durable_roster: Roster,
    outbox: Vec<Batch>,
    /// What clients were told is durable here.
    promised: Vec<(Dot, Dot)>,
    offset_millis: i64,
    group: usize,
    /// What it was when it was last compared with the specification, and under which roster's epoch. None if something
    /// happened to it since that may show in neither.
    checked: Option<(Digest, u64)>,
}

/// One history.
pub(crate) struct World {
    draw: Draw,
    config: Config,
    /// What consensus decided, from the first on, and how far reporters have come with a closing place.
    rosters: Vec<Roster>,
    reports: BTreeMap<(ReplicaIndex, ReplicaIndex), u64>,
    nodes: Vec<Node>,
    spec: Spec,
    /// What must be seen of a version under a roster: the last that were asked for.
    wanted: Vec<(VersionVector, u64, View)>,
    network: Vec<(usize, usize, Batch)>,
    now: u64,
    /// Nearly all happens in one or two lists.
    lists: bool,
    /// Of these, one that is pushed at its end and cut at its beginning.
    queue: bool,
    /// Members come and go all the time.
    unrest: bool,
    story: Option<String>,
    /// What happened how often.
    pub(crate) counts: Counts,
    probe: Probe,
}

/// What a history broke.
#[derive(Debug)]
pub(crate) struct Violation(pub(crate) String);

fn fail<T>(what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation(what.into()))
}

/// Runs the history of a seed. With `tell`, the story is written down.
pub(crate) fn run(seed: u64, tell: bool) -> (Result<(), Violation>, Counts, String) {
    let mut world = World::new(seed, tell);
    let steps = 8 + world.draw.below(28);
    let mut result = Ok(());
    for _ in 0..steps {
        result = world.step().and_then(|()| world.is_kept());
        if result.is_err() {
            break;
        }
    }
    let result = result.and_then(|()| world.heal());
    (result, world.counts, world.story.unwrap_or_default())
}

impl World {
    fn new(seed: u64, tell: bool) -> Self {
        let mut draw = Draw(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 0x5851_f42d_4c95_7f2d);
        let n = 2 + draw.below(4);
        let roster = Roster::founding((0..n as u64).map(NodeId));
        let config = Config { early_bytes: 200 + draw.below(2000), ..Config::new([7; 32]) };
        let skewed = draw.once_in(2);
        let node = |i: usize, draw: &mut Draw| {
            let mut space = Space::new(config, roster.clone(), ReplicaIndex(i as u16));
            space.open();
            Node {
                space,
                whole: true,
                lost: false,
                unsure: false,
                leftover: Vec::new(),
                tails: Vec::new(),
                not_kept_for: BTreeSet::new(),
                known_at_trim: usize::MAX,
                elsewhere: VersionVector::new(),
                gambled: false,
                disk: None,
                wal: Vec::new(),
                synced: 0,
                durable: VersionVector::new(),
                durable_roster: roster.clone(),
                outbox: Vec::new(),
                promised: Vec::new(),
                // An hour either way; or all alike, so that moments collide.
                offset_millis: if skewed { draw.below(7_200_001) as i64 - 3_600_000 } else { 0 },
                group: 0,
                checked: None,
            }
        };
        let nodes: Vec<Node> = (0..n).map(|i| node(i, &mut draw)).collect();
        let lists = draw.once_in(3);
        let queue = lists && draw.once_in(3);
        let unrest = draw.once_in(3);
        Self {
            lists,
            queue,
            unrest,
            draw,
            config,
            rosters: vec![roster],
            reports: BTreeMap::new(),
            nodes,
            spec: Spec::default(),
            wanted: Vec::new(),
            network: Vec::new(),
            now: 1_790_000_000_000,
            story: tell.then(String::new),
            counts: Counts::default(),
            probe: Probe::silent(),
        }
    }
    fn tell(&mut self, line: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            let _ = writeln!(story, "{}", line());
        }
    }
    fn any(&mut self) -> usize {
        self.draw.below(self.nodes.len())
    }
    fn pair(&mut self) -> (usize, usize) {
        let a = self.any();
        let b = (a + 1 + self.draw.below(self.nodes.len() - 1)) % self.nodes.len();
        (a, b)
    }
    fn wall(&self, n: usize) -> u64 {
        self.now.saturating_add_signed(self.nodes[n].offset_millis)
    }

    fn step(&mut self) -> Result<(), Violation> {
        if self.draw.once_in(3) {
            self.now += self.draw.below(3) as u64 * 700;
        }
        if self.unrest && self.draw.once_in(3) {
            self.govern()?;
        }
        let (a, b) = self.pair();
        match self.draw.below(100) {
            0..40 => self.transact(a),
            40..60 => self.deliver(),
            60..72 => self.ask(a, b),
            72..76 => {
                self.sync(a);
                Ok(())
            }
            76..82 => {
                self.acknowledge(a, b);
                Ok(())
            }
            82..84 => {
                self.trim(a);
                self.check(a)
            }
            84..86 => self.calm(),
            86..88 => self.crash(a),
            88..90 => {
                self.checkpoint(a);
                Ok(())
            }
            90..92 => {
                let groups = 1 + self.draw.below(2);
                for n in 0..self.nodes.len() {
                    self.nodes[n].group = self.draw.below(groups);
                }
                self.tell(|| format!("partition into {groups}"));
                Ok(())
            }
            92..94 => self.lose_disk(a),
            94..97 => self.govern(),
            97..98 if !self.network.is_empty() => {
                let at = self.draw.below(self.network.len());
                self.network.swap_remove(at);
                self.tell(|| "a batch is lost".into());
                Ok(())
            }
            _ => self.reconcile(a, b),
        }
    }

    fn transact(&mut self, n: usize) -> Result<(), Violation> {
        if !self.may_write(n) {
            return Ok(());
        }
        let count = 1 + self.draw.below(3);
        let edits: Vec<Edit> = (0..count).map(|_| self.edit(n)).collect();
        self.commit(n, &edits)?;
        self.check(n)
    }
    fn commit(&mut self, n: usize, edits: &[Edit]) -> Result<(), Violation> {
        let wall = self.wall(n);
        let node = &mut self.nodes[n];
        let before = if self.draw.once_in(8) { Some(node.space.to_bytes()) } else { None };
        let made = node.space.transact(wall, edits);
        match made {
            Ok(Some(batch)) => {
                if self.draw.once_in(4) {
                    let again = Batch::from_bytes(&batch.to_bytes());
                    if again.as_ref() != Ok(&batch) {
                        return fail(format!("a batch reads back as {again:?}, was {batch:?}"));
                    }
                }
                if self.spec.add(&batch) {
                    self.wanted.clear();
                }
                self.counts.transactions += 1;
                self.tell(|| format!("{n} makes {}..{}: {edits:?}", batch.first(), batch.last()));
                let node = &mut self.nodes[n];
                node.wal.push(batch.clone());
                node.outbox.push(batch);
                if !self.draw.once_in(4) {
                    self.sync(n);
                }
            }
            Ok(None) => {}
            // Positions are of the state before the transaction.
            Err(Rejected::Edit(
                _,
                EditFault::Rights { .. }
                | EditFault::Retired
                | EditFault::Receiver
                | EditFault::Beyond { .. },
            )) => {
                if before.is_some_and(|b| b != node.space.to_bytes()) {
                    return fail("a rejected transaction changed something");
                }
            }
            Err(e) => return fail(format!("{n} rejects {edits:?}: {e}")),
        }
        Ok(())
    }
    /// What was logged is on the disk now, and may leave.
    fn sync(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        node.synced = node.wal.len();
        node.durable.clone_from(node.space.version());
        if node.durable_roster.epoch != node.space.roster().epoch {
            node.durable_roster = node.space.roster().clone();
        }
        let out = std::mem::take(&mut node.outbox);
        for batch in out {
            self.nodes[n].promised.push((batch.first(), batch.last()));
            for to in (0..self.nodes.len()).filter(|to| *to != n) {
                if !self.draw.once_in(4) {
                    self.network.push((to, n, batch.clone()));
                }
            }
        }
    }
    fn connected(&self, a: usize, b: usize) -> bool {
        self.nodes[a].group == self.nodes[b].group
    }
    fn deliver(&mut self) -> Result<(), Violation> {
        if self.network.is_empty() {
            return Ok(());
        }
        let at = self.draw.below(self.network.len());
        let (to, from, _) = self.network[at];
        if !self.connected(to, from) {
            return Ok(());
        }
        let batch =
            if self.draw.once_in(4) { self.network[at].2.clone() } else { self.network.swap_remove(at).2 };
        self.receive(to, &batch)?;
        self.check(to)
    }
    fn receive(&mut self, n: usize, batch: &Batch) -> Result<(), Violation> {
        let wall = self.wall(n);
        let node = &mut self.nodes[n];
        let got = node.space.receive(batch, wall);
        match &got {
            Ok(Received::Applied(_)) => {
                // What had waited went in too: the disk takes all that is new.
                let mut known = node.durable.clone();
                node.wal[node.synced..].iter().for_each(|b| known.raise(b.replica(), b.last().sequence()));
                let Missing::Operations { batches, .. } = node.space.missing(&known, usize::MAX) else {
                    return fail(format!("{n}: the log lost what it just took"));
                };
                node.wal.extend(batches);
            }
            Ok(Received::Duplicate) => self.counts.duplicates += 1,
            Ok(Received::Early | Received::Dropped) => self.counts.early += 1,
            // The roster says that nobody will have it, or the one that admits it has not come here.
            Err(Refused::NotAdmitted(dot, _)) if !node.space.roster().admits(*dot) => {
                self.counts.refused += 1
            }
            Err(Refused::Closing(r)) if standing(node.space.roster(), *r) == Some(Standing::Closing) => {
                self.counts.refused += 1;
            }
            Err(e) => return fail(format!("{n} refuses {}..{}: {e}", batch.first(), batch.last())),
        }
        self.counts.pending += self.nodes[n].space.waiting().0 as u64;
        self.tell(|| format!("{n} receives {}..{}: {got:?}", batch.first(), batch.last()));
        Ok(())
    }
    /// `a` asks `b` for what it lacks.
    fn ask(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        if !self.connected(a, b) {
            return Ok(());
        }
        self.sync(b);
        let budget = if self.draw.once_in(2) { 40 } else { 100_000 };
        match self.nodes[b].space.missing(self.nodes[a].space.version(), budget) {
            Missing::Operations { mut batches, .. } => {
                if self.draw.once_in(3) && batches.len() > 1 {
                    let at = self.draw.below(batches.len());
                    batches.swap(0, at);
                }
                for batch in batches {
                    self.receive(a, &batch)?;
                }
                self.check(a)
            }
            Missing::BelowLog(r) => {
                let kept = self.kept_for(b, self.nodes[a].space.me());
                if self.nodes[a].whole && !self.nodes[a].lost && kept {
                    return fail(format!("{a} is active, and {b} trimmed what it lacks of {r}"));
                }
                self.fetch(a, b)
            }
        }
    }
    /// Whether a node has always kept its log for this place.
    fn kept_for(&self, n: usize, place: ReplicaIndex) -> bool {
        let node = &self.nodes[n];
        !node.not_kept_for.contains(&place) && usize::from(place.0) < node.known_at_trim
    }
    fn acknowledge(&mut self, a: usize, b: usize) {
        if !self.connected(a, b) || self.nodes[a].lost {
            return;
        }
        let (me, epoch) = (self.nodes[a].space.me(), self.nodes[a].space.roster().epoch);
        let durable = std::mem::take(&mut self.nodes[a].durable);
        let node = &mut self.nodes[b];
        node.space.acknowledged(me, &durable, epoch);
        if a != b {
            let own = node.space.me();
            node.elsewhere.raise(own, durable.get(own));
        }
        self.tell(|| format!("{a} acknowledges {durable} to {b}"));
        self.nodes[a].durable = durable;
    }
    fn checkpoint(&mut self, n: usize) {
        self.sync(n);
        let node = &mut self.nodes[n];
        let mut header = dwcp_crdt::code::Writer::new();
        node.space.snapshot().encode(&mut header);
        let state = node.space.chunk(None, usize::MAX).bytes;
        node.disk = Some((header.into_bytes(), state, node.space.unstable()));
        node.wal.clear();
        node.synced = 0;
        self.tell(|| format!("{n} writes a checkpoint"));
    }
    fn crash(&mut self, n: usize) -> Result<(), Violation> {
        let wall = self.wall(n);
        let config = self.config;
        let node = &mut self.nodes[n];
        let (me, roster) = (node.space.me(), node.durable_roster.clone());
        node.wal.truncate(node.synced);
        node.outbox.clear();
        let mut space = match &node.disk {
            None => Space::new(config, roster, me),
            Some((header, state, log)) => {
                let mut r = dwcp_crdt::code::Reader::new(header);
                let header =
                    SnapshotHeader::decode(&mut r).map_err(|e| Violation(format!("a header: {e}")))?;
                let mut restore = Restore::new(config, roster, me, header);
                restore.absorb(state).map_err(|e| Violation(format!("a checkpoint: {e}")))?;
                log.iter().cloned().for_each(|b| restore.log(b));
                restore.finish(&[], wall).map_err(|e| Violation(format!("a checkpoint: {e}")))?
            }
        };
        for batch in &node.wal {
            space.receive(batch, wall).map_err(|e| Violation(format!("the log: {e}")))?;
        }
        if !node.lost {
            space.open();
        }
        node.space = space;
        node.checked = None;
        node.durable.clone_from(node.space.version());
        let (made, sure) =
            (self.nodes[n].space.version().get(me), self.nodes[n].whole && !self.nodes[n].lost);
        if sure && self.spec.take_back(me, made) {
            self.wanted.clear();
        }
        self.counts.crashes += 1;
        self.tell(|| format!("{n} crashes and comes back"));
        self.check(n)
    }
}

fn standing(roster: &Roster, place: ReplicaIndex) -> Option<Standing> {
    roster.get(place).map(|m| m.standing)
}
