//! Judgement: a replica against the specification after each step; all of them against each other once everything is mended.

use super::{Violation, World, fail};
use crate::spec::{Seen, View};
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::space::{Compared, Restore, Value};
use dwcp_crdt::{ReplicaIndex, Space};

impl World {
    /// Works out what a replica must show, if that was not what was asked for last.
    fn want(&mut self, n: usize) {
        let (version, epoch) = (self.nodes[n].space.version(), self.roster.epoch);
        if !self.wanted.as_ref().is_some_and(|(v, e, _)| (v, *e) == (version, epoch)) {
            let view = self.spec.view(version, &self.roster);
            self.wanted = Some((version.clone(), epoch, view));
        }
    }
    /// What a replica shows is what the specification says of its version. One that is as it was when that was asked last is not asked again.
    pub(super) fn check(&mut self, n: usize) -> Result<(), Violation> {
        let digest = self.nodes[n].space.digest();
        let now = Some((digest, self.roster.epoch));
        if self.nodes[n].checked == now {
            return Ok(());
        }
        self.nodes[n].checked = now;
        self.counts.checks += 1;
        self.want(n);
        let Some((_, _, want)) = &self.wanted else { return fail("nothing to compare with") };
        let space = &self.nodes[n].space;
        let mut got = View::new();
        let root = Address::root();
        if let Some(Value::Map(fields)) = space.get(&root) {
            for (f, v) in fields {
                flatten(space, &root.field(f.kind, &f.name), v, &mut got);
            }
        }
        if got != *want {
            return fail(format!("{n} at {} shows\n  {got:?}\nnot\n  {want:?}", space.version()));
        }
        self.counts.lists += got.values().filter(|seen| matches!(seen, Seen::List(_))).count() as u64;
        for other in &self.nodes {
            let theirs = other.space.digest();
            if theirs.version == digest.version && theirs.state != digest.state {
                return fail(format!("{n}: two states of version {}", space.version()));
            }
        }
        Ok(())
    }
    pub(super) fn trim(&mut self, n: usize) {
        self.nodes[n].space.trim();
        self.nodes[n].checked = None;
        self.counts.trims += 1;
        self.tell(|| format!("{n} trims"));
    }
    /// For a moment everyone who can hears of everything and says so; some write again; and some forget what all have, but not what
    /// was written last.
    pub(super) fn calm(&mut self) -> Result<(), Violation> {
        for _ in 0..2 {
            for a in 0..self.nodes.len() {
                for b in (0..self.nodes.len()).filter(|b| *b != a) {
                    self.ask(a, b)?;
                }
                self.sync(a);
            }
        }
        for a in 0..self.nodes.len() {
            for b in (0..self.nodes.len()).filter(|b| *b != a) {
                self.acknowledge(a, b);
            }
        }
        if self.draw.once_in(2) {
            // What died before is dated now.
            (0..self.nodes.len()).for_each(|n| self.trim(n));
            for a in 0..self.nodes.len() {
                self.sync(a);
                for b in (0..self.nodes.len()).filter(|b| *b != a) {
                    self.acknowledge(a, b);
                }
            }
            for _ in 0..1 + self.draw.below(6) {
                let n = self.any();
                if self.draw.once_in(3) { self.deliver()? } else { self.transact(n)? }
            }
        }
        for n in 0..self.nodes.len() {
            if self.draw.once_in(2) {
                self.trim(n);
                self.trim(n);
                self.check(n)?;
            }
        }
        Ok(())
    }
    /// Everything is mended; everyone exchanges until nothing is missing.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.tell(|| "all is healed".into());
        for n in 0..self.nodes.len() {
            self.nodes[n].group = 0;
            self.sync(n);
        }
        for n in 0..self.nodes.len() {
            if self.nodes[n].lagging {
                self.rejoin(n, (n + 1) % self.nodes.len())?;
            }
        }
        for _ in 0..200 {
            let equal = self.nodes.iter().all(|n| n.space.version() == self.nodes[0].space.version());
            if equal {
                return self.peace();
            }
            for a in 0..self.nodes.len() {
                for b in 0..self.nodes.len() {
                    if a != b {
                        self.ask(a, b)?;
                    }
                }
            }
        }
        fail("healed, and still apart after 200 rounds")
    }
    fn peace(&mut self) -> Result<(), Violation> {
        self.restate()?;
        let digest = self.nodes[0].space.digest();
        for n in 0..self.nodes.len() {
            self.sync(n);
            if self.nodes[n].space.compare(&digest, &self.probe) != Compared::Same {
                return fail(format!("healed, and {n} differs from 0"));
            }
            self.check(n)?;
        }
        // Whoever's old incarnation was not evicted yet is now: then everything is stable and nothing is kept.
        let living: Vec<ReplicaIndex> = self.nodes.iter().map(|n| n.space.me()).collect();
        let gone: Vec<ReplicaIndex> =
            self.roster.iter().map(|(r, _)| r).filter(|r| !living.contains(r)).collect();
        for r in gone {
            self.evict(r, None)?;
        }
        self.restate()?;
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                self.acknowledge(a, b);
            }
        }
        for n in 0..self.nodes.len() {
            // A list in which something has died since the last time is buried the time after.
            self.trim(n);
            self.trim(n);
            // Only now: operations of an old incarnation may be lost with whoever had received them.
            let waiting = self.nodes[n].space.waiting().0;
            if waiting != 0 {
                return fail(format!("{n}: {waiting} removals or elements wait for what nobody will send"));
            }
            let (ops, _) = self.nodes[n].space.logged();
            if ops != 0 || self.nodes[n].space.stable() != *self.nodes[n].space.version() {
                return fail(format!("{n} keeps {ops} operations that everyone has"));
            }
            self.nonnegative(n)?;
            // Nothing is buried later than now, and what stays is the same everywhere: the dead that live elements hang on.
            let (kept, mourned) = self.nodes[n].space.tombstones();
            self.counts.tombstones += kept;
            if mourned != 0 || self.nodes[n].space.to_bytes() != self.nodes[0].space.to_bytes() {
                return fail(format!(
                    "everyone has everything, and {n} differs from 0 or mourns {mourned} lists"
                ));
            }
            let header = self.nodes[n].space.snapshot();
            let mut again = Restore::new(self.config, self.roster.clone(), self.nodes[n].space.me(), header);
            again.absorb(&self.nodes[n].space.chunk(None, usize::MAX).bytes).expect("its own state");
            let again = again.finish(&[], self.now).map_err(|e| Violation(format!("its own state: {e}")))?;
            if again.to_bytes() != self.nodes[n].space.to_bytes()
                || again.digest() != self.nodes[n].space.digest()
                || again.len() != self.nodes[n].space.len()
            {
                return fail(format!("{n} is another when it is restored from its own state"));
            }
            self.check(n)?;
        }
        Ok(())
    }
    /// Nobody overspent.
    fn nonnegative(&mut self, n: usize) -> Result<(), Violation> {
        self.want(n);
        for ((names, kind), seen) in self.wanted.iter().flat_map(|(.., view)| view) {
            if *kind == Kind::Bounded && matches!(seen, Seen::Total(t) if *t < 0) {
                return fail(format!("bounded counter {names:?} stands at {seen:?}"));
            }
        }
        Ok(())
    }
}

fn flatten(space: &Space, at: &Address, value: Value, out: &mut View) {
    let seen = match value {
        Value::Register(all) => Seen::Values(all.into_iter().map(|s| (s.hlc.0, s.dot, s.value)).collect()),
        Value::Counter(t) => Seen::Total(t),
        Value::Set(all) if all.is_empty() => return,
        Value::Set(all) => Seen::Elements(all),
        Value::Map(fields) => {
            for (f, v) in fields {
                flatten(space, &at.field(f.kind, &f.name), v, out);
            }
            return;
        }
        Value::Sequence(values) => {
            let all = space.placed(at, 0, usize::MAX);
            assert!(all.iter().map(|e| &e.value).eq(&values) && !values.is_empty(), "two reads of one list");
            Seen::List(all.into_iter().map(|e| (e.dot, e.value)).collect())
        }
    };
    out.insert((at.names.clone(), at.kind), seen);
}
