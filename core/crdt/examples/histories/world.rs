//! A small world drawn from a seed: two to five replicas and everything that may happen to them. After every step each replica
//! that was touched is compared with the specification; at the end all is healed and everyone must be equal, byte for byte.

use crate::draw::Draw;
use crate::spec::{Spec, View};
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit, EditFault};
use dwcp_crdt::planted::{self, Bug};
use dwcp_crdt::range::{self, Difference};
use dwcp_crdt::space::{Config, Digest, Missing, Received, Refused, Rejected, Restore, SnapshotHeader};
use dwcp_crdt::{Batch, Member, ReplicaIndex, Roster, Space, Standing, VersionVector};
use dwcp_env::{NodeId, Probe};
use std::fmt::Write as _;

#[path = "peace.rs"]
mod peace;

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
    /// Edits salvaged by evicted members.
    pub(crate) salvaged: u64,
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
        self.salvaged += o.salvaged;
        self.trims += o.trims;
        self.reconciled += o.reconciled;
        self.lists += o.lists;
        self.tombstones += o.tombstones;
    }
}

type Disk = (Vec<u8>, Vec<u8>, Vec<Batch>);

struct Node {
    space: Space,
    /// State and log as of the last checkpoint, then all batches since.
    disk: Option<Disk>,
    wal: Vec<Batch>,
    synced: usize,
    durable: VersionVector,
    outbox: Vec<Batch>,
    offset_millis: i64,
    group: usize,
    lagging: bool,
    /// What it was when it was last compared with the specification, and under which roster's epoch. None if something
    /// happened to it since that may show in neither.
    checked: Option<(Digest, u64)>,
}

/// One history.
pub(crate) struct World {
    draw: Draw,
    config: Config,
    roster: Roster,
    nodes: Vec<Node>,
    spec: Spec,
    /// What must be seen of a version under a roster: the last that was asked for.
    wanted: Option<(VersionVector, u64, View)>,
    network: Vec<(NodeId, usize, Batch)>,
    now: u64,
    /// Nearly all happens in one or two lists.
    lists: bool,
    /// Of these, one that is pushed at its end and cut at its beginning.
    queue: bool,
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
        result = world.step();
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
            // An hour either way; or all alike, so that moments collide.
            let offset = if skewed { draw.below(7_200_001) as i64 - 3_600_000 } else { 0 };
            Node {
                space,
                disk: None,
                wal: Vec::new(),
                synced: 0,
                durable: VersionVector::new(),
                outbox: Vec::new(),
                offset_millis: offset,
                group: 0,
                lagging: false,
                checked: None,
            }
        };
        let nodes: Vec<Node> = (0..n).map(|i| node(i, &mut draw)).collect();
        let lists = draw.once_in(3);
        let queue = lists && draw.once_in(3);
        Self {
            lists,
            queue,
            draw,
            config,
            roster,
            nodes,
            spec: Spec::default(),
            wanted: None,
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
        match self.draw.below(100) {
            0..40 => {
                let n = self.any();
                self.transact(n)
            }
            40..62 => self.deliver(),
            62..74 => {
                let (a, b) = self.pair();
                self.ask(a, b)
            }
            74..78 => {
                let n = self.any();
                self.sync(n);
                Ok(())
            }
            78..84 => {
                let (a, b) = self.pair();
                self.acknowledge(a, b);
                Ok(())
            }
            84..86 => {
                let n = self.any();
                self.trim(n);
                self.check(n)
            }
            86..88 => self.calm(),
            88..90 => {
                let n = self.any();
                self.crash(n)
            }
            90..92 => {
                let n = self.any();
                self.checkpoint(n);
                Ok(())
            }
            92..94 => {
                let groups = 1 + self.draw.below(2);
                for n in 0..self.nodes.len() {
                    self.nodes[n].group = self.draw.below(groups);
                }
                self.tell(|| format!("partition into {groups}"));
                Ok(())
            }
            94..96 => {
                let n = self.any();
                self.lose_disk(n)
            }
            96..97 => self.lag(),
            97..98 => {
                let n = self.any();
                self.evict_living(n)
            }
            98..99 if !self.network.is_empty() => {
                let at = self.draw.below(self.network.len());
                self.network.swap_remove(at);
                self.tell(|| "a batch is lost".into());
                Ok(())
            }
            _ => {
                let (a, b) = self.pair();
                self.reconcile(a, b)
            }
        }
    }

    fn address(&mut self) -> Address {
        if self.lists && !self.draw.once_in(8) {
            return Address::key(Kind::Sequence, ["a", "b"][self.draw.below(9) / 8]);
        }
        const LEAVES: [Kind; 10] = [
            Kind::Lww,
            Kind::Mv,
            Kind::PnCounter,
            Kind::GCounter,
            Kind::Bounded,
            Kind::OrSet,
            Kind::TwoPhaseSet,
            Kind::GSet,
            Kind::Sequence,
            Kind::Sequence,
        ];
        const NAMES: [&str; 3] = ["a", "b", "a-long-name"];
        let mut at = Address::root();
        while at.names.len() < 2 && self.draw.once_in(3) {
            at = at.field(Kind::Map, NAMES[self.draw.below(2)]);
        }
        let kind = LEAVES[self.draw.below(10)];
        at.field(kind, NAMES[self.draw.below(3)])
    }
    fn edit(&mut self, n: usize) -> Edit {
        let at = self.address();
        if self.draw.once_in(7) {
            let depth = 1 + self.draw.below(at.names.len());
            let kind = if depth == at.names.len() { at.kind } else { Kind::Map };
            return Edit::new(Address { names: at.names[..depth].to_vec(), kind }, Change::Delete);
        }
        if self.draw.once_in(20) {
            return Edit::new(at, Change::Expire(self.now + self.draw.next() % 5000));
        }
        const ELEMENTS: [&str; 3] = ["x", "y", "an-element"];
        let element = ELEMENTS[self.draw.below(3)].as_bytes().to_vec();
        let amount = self.draw.next() % 5;
        let change = match at.kind {
            Kind::Lww | Kind::Mv => Change::Write(vec![self.draw.below(4) as u8; self.draw.below(3) * 60]),
            Kind::GCounter => Change::Increase(amount),
            Kind::PnCounter if self.draw.once_in(2) => Change::Decrease(amount),
            Kind::PnCounter => Change::Increase(amount),
            Kind::Bounded => match self.draw.below(4) {
                0 => Change::Increase(amount),
                1 | 2 => Change::Decrease(amount),
                _ => {
                    let to = self.nodes[(n + 1) % self.nodes.len()].space.me();
                    Change::Transfer { to, amount }
                }
            },
            Kind::GSet => Change::Add(element),
            Kind::Sequence => self.splice(n, &at),
            _ if self.draw.once_in(3) => Change::Remove(element),
            _ => Change::Add(element),
        };
        Edit::new(at, change)
    }
    fn splice(&mut self, n: usize, at: &Address) -> Change {
        let len = self.nodes[n].space.length(at);
        let values: Vec<Vec<u8>> = (0..1 + self.draw.below(3))
            .map(|_| vec![b'a' + self.draw.below(26) as u8; self.draw.below(3)])
            .collect();
        if self.queue && !self.draw.once_in(6) {
            let cut = len > 1 && self.draw.once_in(2);
            return if cut {
                Change::Erase { from: 0, count: 1 + self.draw.below(len.min(3) - 1) }
            } else {
                Change::Insert { at: len, values }
            };
        }
        let position = match self.draw.below(4) {
            0 => 0,
            1 => len,
            _ => self.draw.below(len + 1),
        };
        match self.draw.below(10) {
            0..5 => Change::Insert { at: position, values },
            5 if len > 0 => Change::Replace { at: self.draw.below(len), value: values[0].clone() },
            6 if len > 0 => {
                let all = self.nodes[n].space.placed(at, 0, len);
                Change::EraseNamed(all.into_iter().map(|e| e.dot).filter(|_| self.draw.once_in(3)).collect())
            }
            7..10 if len > 0 => {
                let from = self.draw.below(len);
                Change::Erase { from, count: 1 + self.draw.below((len - from).min(3)) }
            }
            _ => Change::Insert { at: len, values },
        }
    }
    fn transact(&mut self, n: usize) -> Result<(), Violation> {
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
                let again = Batch::from_bytes(&batch.to_bytes());
                if again.as_ref() != Ok(&batch) {
                    return fail(format!("a batch reads back as {again:?}, was {batch:?}"));
                }
                self.spec.add(&batch);
                self.wanted = None;
                self.counts.transactions += 1;
                node.wal.push(batch.clone());
                node.outbox.push(batch.clone());
                self.tell(|| format!("{n} makes {}..{}: {edits:?}", batch.first(), batch.last()));
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
        node.durable = node.space.version().clone();
        let out = std::mem::take(&mut node.outbox);
        for batch in out {
            for to in (0..self.nodes.len()).filter(|to| *to != n) {
                if !self.draw.once_in(4) {
                    self.network.push((NodeId(to as u64), n, batch.clone()));
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
        let (to, from, batch) = self.network[at].clone();
        let to = to.0 as usize;
        if !self.connected(to, from) {
            return Ok(());
        }
        if !self.draw.once_in(4) {
            self.network.swap_remove(at);
        }
        self.receive(to, &batch)?;
        self.check(to)
    }
    fn receive(&mut self, n: usize, batch: &Batch) -> Result<(), Violation> {
        let wall = self.wall(n);
        let node = &mut self.nodes[n];
        let got = node.space.receive(batch, wall);
        match got {
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
            // The new incarnation of an evicted or wiped replica may meet what its old one sent.
            Err(Refused::NotAdmitted(dot, _)) if !self.roster.admits(dot) => {}
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
        let version = self.nodes[a].space.version().clone();
        match self.nodes[b].space.missing(&version, budget) {
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
                if !self.nodes[a].lagging {
                    return fail(format!("{a} is active at {version}, and {b} trimmed what it lacks of {r}"));
                }
                self.rejoin(a, b)
            }
        }
    }
    fn acknowledge(&mut self, a: usize, b: usize) {
        if !self.connected(a, b) {
            return;
        }
        let (me, durable) = (self.nodes[a].space.me(), self.nodes[a].durable.clone());
        self.tell(|| format!("{a} acknowledges {durable} to {b}"));
        let epoch = self.nodes[a].space.roster().epoch;
        self.nodes[b].space.acknowledged(me, &durable, epoch);
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
        let (config, roster) = (self.config, self.roster.clone());
        let node = &mut self.nodes[n];
        let me = node.space.me();
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
        space.open();
        node.space = space;
        node.checked = None;
        node.durable = node.space.version().clone();
        self.counts.crashes += 1;
        self.tell(|| format!("{n} crashes and comes back"));
        self.check(n)
    }
    /// Reads `b`'s state in small chunks, with operations going on between them, and what `a` needs to go on from it.
    fn restore_from(&mut self, b: usize, me: ReplicaIndex) -> Result<Space, Violation> {
        self.sync(b);
        let header = self.nodes[b].space.snapshot();
        let log = self.nodes[b].space.unstable();
        let mut restore = Restore::new(self.config, self.roster.clone(), me, header.clone());
        let mut cursor = None;
        loop {
            let chunk = self.nodes[b].space.chunk(cursor.as_ref(), 1 + self.draw.below(60));
            restore.absorb(&chunk.bytes).map_err(|e| Violation(format!("a chunk: {e}")))?;
            cursor = chunk.next;
            if cursor.is_none() {
                break;
            }
            match self.draw.below(5) {
                0 => self.transact(b)?,
                1 => self.deliver()?,
                _ => {}
            }
        }
        self.sync(b);
        log.into_iter().for_each(|batch| restore.log(batch));
        let tail = match self.nodes[b].space.missing(&header.version, usize::MAX) {
            Missing::Operations { batches, .. } => batches,
            Missing::BelowLog(r) => return fail(format!("{b} trimmed {r} while its snapshot was read")),
        };
        self.counts.snapshots += 1;
        restore.finish(&tail, self.now).map_err(|e| Violation(format!("the tail: {e}")))
    }
    fn replace(&mut self, n: usize, mut space: Space) -> Result<(), Violation> {
        space.open();
        let node = &mut self.nodes[n];
        node.space = space;
        node.checked = None;
        node.wal.clear();
        node.outbox.clear();
        node.disk = None;
        self.checkpoint(n);
        self.nodes[n].durable = self.nodes[n].space.version().clone();
        self.check(n)
    }
    fn lose_disk(&mut self, n: usize) -> Result<(), Violation> {
        let Some(from) = self.source_for(n) else { return Ok(()) };
        let old = self.nodes[n].space.me();
        self.counts.lost_disks += 1;
        if planted::is(Bug::ReuseDot) {
            self.tell(|| format!("{n} loses its disk and goes on under {old}, from {from}'s state"));
            let space = self.restore_from(from, old)?;
            return self.replace(n, space);
        }
        let (roster, me) = self.roster.admit(NodeId(n as u64)).expect("there is room");
        self.set_roster(roster)?;
        self.tell(|| format!("{n} loses its disk and comes back as {me}, from {from}'s state"));
        let space = self.restore_from(from, me)?;
        self.nodes[n].lagging = false;
        self.nodes[n].wal.clear();
        self.replace(n, space)?;
        if self.draw.once_in(2) {
            self.evict(old, Some(me))?;
        }
        Ok(())
    }
    /// Another replica from which state may be taken: one that is not behind what was trimmed.
    fn source_for(&mut self, n: usize) -> Option<usize> {
        let from = (n + 1 + self.draw.below(self.nodes.len() - 1)) % self.nodes.len();
        (!self.nodes[from].lagging).then_some(from)
    }
    fn set_roster(&mut self, roster: Roster) -> Result<(), Violation> {
        self.roster = roster;
        for node in &mut self.nodes {
            let next = self.roster.clone();
            node.space.set_roster(next).map_err(|e| Violation(format!("a roster: {e}")))?;
        }
        Ok(())
    }
    /// Consensus evicts: closes, asks the others how far they have come, names the last operation that counts.
    fn evict(&mut self, gone: ReplicaIndex, heir: Option<ReplicaIndex>) -> Result<(), Violation> {
        let standing = self.roster.get(gone).map(|m| m.standing);
        if matches!(standing, None | Some(Standing::Evicted { .. })) {
            return Ok(());
        }
        self.set_roster(self.roster.with(gone, Standing::Closing))?;
        // What is reported must not be taken back: it is on the disk before.
        for n in 0..self.nodes.len() {
            self.sync(n);
        }
        let held =
            |r| self.nodes.iter().filter(|n| n.space.me() != gone).map(|n| n.space.version().get(r)).max();
        let last = held(gone).unwrap_or(0);
        let roster = self.roster.with(gone, Standing::Evicted { last, heir });
        self.set_roster(roster)?;
        self.counts.evictions += 1;
        let standing = self.roster.get(gone).map(|m| m.standing);
        self.tell(|| format!("{gone} is now {standing:?}"));
        Ok(())
    }
    /// Consensus names anew the last operations of the evicted, as far as anybody still holds them.
    fn restate(&mut self) -> Result<(), Violation> {
        let mut roster = self.roster.clone();
        for (r, m) in self.roster.iter() {
            let held = self.nodes.iter().map(|n| n.space.version().get(r)).max().unwrap_or(0);
            if let Standing::Evicted { last, heir } = m.standing
                && held < last
            {
                roster = roster.with(r, Standing::Evicted { last: held, heir });
            }
        }
        if roster == self.roster { Ok(()) } else { self.set_roster(roster) }
    }
    /// A member that still lives is evicted behind its back; it returns as another, and writes anew what nobody had received.
    fn evict_living(&mut self, n: usize) -> Result<(), Violation> {
        if self.nodes.len() < 3 {
            return Ok(());
        }
        let Some(from) = self.source_for(n) else { return Ok(()) };
        let old = self.nodes[n].space.me();
        // Nothing is made anew before the end of each former place is decided.
        let open = |(r, m): (ReplicaIndex, &Member)| r != old && m.node == NodeId(n as u64) && m.takes_part();
        if self.roster.iter().any(open) {
            return Ok(());
        }
        self.sync(n);
        self.evict(old, Some(self.nodes[from].space.me()))?;
        let Some(Standing::Evicted { last, .. }) = self.roster.get(old).map(|m| m.standing) else {
            return Ok(());
        };
        let tail = self.nodes[n].space.tail_of(old, last);
        let (roster, me) = self.roster.readmit(NodeId(n as u64)).expect("there is room");
        self.set_roster(roster)?;
        let mut space = self.restore_from(from, me)?;
        // What others made and only this node received is not lost with it.
        space
            .carry_over(&self.nodes[n].space, self.now)
            .map_err(|e| Violation(format!("carried over: {e}")))?;
        self.nodes[n].lagging = false;
        self.replace(n, space)?;
        self.counts.salvaged += tail.count() as u64;
        self.tell(|| format!("{n} returns as {me} and writes anew {tail:?}"));
        let before = self.nodes[n].space.version().clone();
        // In one go, or a few at a time as if it were asked for by turns.
        let most = if self.draw.once_in(2) { usize::MAX } else { 1 };
        loop {
            let space = &mut self.nodes[n].space;
            let made = space.version().get(me);
            let done = space.write_anew(core::slice::from_ref(&tail), most);
            if done.map_err(|e| Violation(e.to_string()))? {
                break;
            }
            if space.version().get(me) == made {
                return fail(format!("{n} does not go on with {tail:?} under {:?}", space.roster()));
            }
        }
        let Missing::Operations { batches, .. } = self.nodes[n].space.missing(&before, usize::MAX) else {
            return fail("what was written anew is not in the log");
        };
        for batch in batches {
            self.spec.add(&batch);
            self.wanted = None;
            self.nodes[n].wal.push(batch.clone());
            self.nodes[n].outbox.push(batch);
        }
        self.sync(n);
        self.check(n)
    }
    /// A member is marked lagging and the others no longer keep their logs for it; or it is active again.
    fn lag(&mut self) -> Result<(), Violation> {
        let (a, b) = self.pair();
        let me = self.nodes[a].space.me();
        if self.nodes[a].lagging {
            return self.rejoin(a, b);
        }
        if self.nodes.iter().any(|n| n.lagging) {
            return Ok(());
        }
        self.nodes[a].lagging = true;
        self.tell(|| format!("{a} lags"));
        self.set_roster(self.roster.with(me, Standing::Lagging))
    }
    fn rejoin(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        if self.nodes[b].lagging {
            return Ok(());
        }
        let me = self.nodes[a].space.me();
        self.tell(|| format!("{a} returns from {b}'s state"));
        self.set_roster(self.roster.with(me, Standing::Active))?;
        let mut space = self.restore_from(b, me)?;
        self.sync(a);
        space
            .carry_over(&self.nodes[a].space, self.now)
            .map_err(|e| Violation(format!("carried over: {e}")))?;
        self.nodes[a].lagging = false;
        self.replace(a, space)
    }
    /// `a` makes its state `b`'s by ranges, with operations going on at `b` in between.
    fn reconcile(&mut self, a: usize, b: usize) -> Result<(), Violation> {
        if self.nodes[b].lagging || self.nodes[a].lagging {
            return Ok(());
        }
        self.sync(a);
        self.sync(b);
        let (header, log) = (self.nodes[b].space.snapshot(), self.nodes[b].space.unstable());
        let ours = self.nodes[a].space.items();
        let mut difference = Difference::default();
        let mut question = Some(range::open(&ours));
        while let Some(q) = question {
            let bad = |e| Violation(format!("ranges: {e}"));
            let answer = range::answer(&self.nodes[b].space.items(), &q).map_err(bad)?;
            question = range::resolve(&ours, &answer, &mut difference).map_err(bad)?;
            if self.draw.once_in(3) {
                self.transact(b)?;
            }
        }
        let entries = self.nodes[b].space.entries(&difference.need, &header.version);
        self.sync(b);
        self.tell(|| format!("{a} reconciles with {b}: {difference:?}"));
        let mut restore = Restore::amend(&self.nodes[a].space, header.clone(), &difference.extra);
        restore.absorb(&entries).map_err(|e| Violation(format!("entries: {e}")))?;
        log.into_iter().for_each(|batch| restore.log(batch));
        let tail = match self.nodes[b].space.missing(&header.version, usize::MAX) {
            Missing::Operations { batches, .. } => batches,
            Missing::BelowLog(r) => return fail(format!("{b} trimmed {r} while it was reconciled with")),
        };
        let mut space = restore.finish(&tail, self.now).map_err(|e| Violation(format!("the tail: {e}")))?;
        space
            .carry_over(&self.nodes[a].space, self.now)
            .map_err(|e| Violation(format!("carried over: {e}")))?;
        self.counts.reconciled += 1;
        self.replace(a, space)
    }
}
