//! Judgement: a replica against the specification after each step; all of them against each other once everything is mended.

use super::{Node, Violation, World, fail};
use crate::spec::drop_empty;
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::space::{Compared, Field, Restore, Value};
use dwcp_crdt::{Member, Standing};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Views that are kept: those of the versions that were looked at last.
const WANTED: usize = 4;

impl World {
    /// Works out what a replica must show, if that was not asked for lately.
    fn want(&mut self, n: usize) -> usize {
        let space = &self.nodes[n].space;
        let (version, epoch) = (space.version(), space.roster().epoch);
        if let Some(at) = self.wanted.iter().position(|(v, e, _)| (v, *e) == (version, epoch)) {
            return at;
        }
        let view = self.spec.view(version, space.roster());
        if self.wanted.len() == WANTED {
            self.wanted.remove(0);
        }
        self.wanted.push((version.clone(), epoch, view));
        self.wanted.len() - 1
    }
    /// What a replica shows is what the specification says of its version. One that is as it was when that was asked last is not asked again.
    pub(super) fn check(&mut self, n: usize) -> Result<(), Violation> {
        let digest = self.nodes[n].space.digest();
        let now = Some((digest, self.nodes[n].space.roster().epoch));
        if self.nodes[n].checked == now {
            return Ok(());
        }
        self.nodes[n].checked = now;
        self.counts.checks += 1;
        let at = self.want(n);
        let (space, want) = (&self.nodes[n].space, &self.wanted[at].2);
        let mut got = space.get(&Address::root()).unwrap_or(Value::Map(Vec::new()));
        if let Value::Map(fields) = &mut got {
            drop_empty(fields);
        }
        if got != want.value {
            let mut lines = String::new();
            tell_apart("", Some(&got), Some(&want.value), &mut lines);
            return fail(format!("{n} at {} shows{lines}", space.version()));
        }
        for (at, names) in &want.lists {
            let all = space.placed(at, 0, usize::MAX);
            if !all.iter().map(|e| e.dot).eq(names.iter().copied()) {
                return fail(format!(
                    "{n} at {} shows {at} as\n  {all:?}\nnot\n  {names:?}",
                    space.version()
                ));
            }
        }
        self.counts.lists += want.lists.len() as u64;
        for other in &self.nodes {
            if other.space.version() == space.version() && other.space.fingerprint() != digest.state {
                return fail(format!("{n}: two states of version {}", space.version()));
            }
        }
        Ok(())
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
    /// Everything is mended; everyone exchanges until nothing is missing, nobody lacks a place and nothing is left to be decided.
    pub(super) fn heal(&mut self) -> Result<(), Violation> {
        self.tell(|| "all is healed".into());
        for n in 0..self.nodes.len() {
            self.nodes[n].group = 0;
            self.sync(n);
        }
        for _ in 0..60 {
            if self.is_at_rest() {
                return self.peace();
            }
            self.report_and_decide(true)?;
            self.is_kept()?;
            for n in 0..self.nodes.len() {
                self.learn(n, self.latest().clone())?;
                self.go_on(n)?;
                for b in (0..self.nodes.len()).filter(|b| *b != n) {
                    self.ask(n, b)?;
                }
                self.sync(n);
                for b in (0..self.nodes.len()).filter(|b| *b != n) {
                    self.acknowledge(n, b);
                }
                if self.latest().iter().any(|(_, m)| m.standing == Standing::Lagging) {
                    self.reactivate(n)?;
                }
            }
        }
        fail(format!("healed, and still apart after 60 rounds: {:?}", self.latest()))
    }
    fn is_at_rest(&self) -> bool {
        let (first, roster) = (&self.nodes[0].space, self.latest());
        let settled = |m: &Member| !m.takes_part() || m.standing == Standing::Active;
        let here = |n: &Node| n.space.roster().epoch == roster.epoch && n.space.version() == first.version();
        let superseded = |r| self.nodes.iter().all(|n| n.space.me() != r);
        (0..self.nodes.len()).all(|n| self.may_write(n))
            && self.nodes.iter().all(here)
            && roster.iter().all(|(_, m)| settled(m))
            && !roster.kept_for().any(superseded)
    }
    /// Consensus names anew the last operations of the evicted, as far as anybody still holds them.
    fn restate(&mut self) -> Result<(), Violation> {
        let mut roster = self.latest().clone();
        for (r, m) in self.latest().iter() {
            let held = self.nodes[0].space.version().get(r);
            if let Standing::Evicted { last, heir } = m.standing
                && held < last
            {
                roster = roster.with(r, Standing::Evicted { last: held, heir });
            }
        }
        if roster == *self.latest() {
            return Ok(());
        }
        self.rosters.push(roster);
        (0..self.nodes.len()).try_for_each(|n| self.learn(n, self.latest().clone()))
    }
    fn peace(&mut self) -> Result<(), Violation> {
        let digest = self.nodes[0].space.digest();
        for n in 0..self.nodes.len() {
            self.sync(n);
            if self.nodes[n].space.compare(&digest, &self.probe) != Compared::Same {
                return fail(format!("healed, and {n} differs from 0"));
            }
            self.check(n)?;
            let (lost, twice) = self.spec.amiss(self.nodes[n].space.version(), &self.nodes[n].promised);
            if !lost.is_empty() || !twice.is_empty() {
                return fail(format!("{n}: lost {lost:?}, had twice {twice:?}"));
            }
        }
        self.nonnegative(0)?;
        self.restate()?;
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                self.acknowledge(a, b);
            }
        }
        let mut whole = Vec::new();
        for n in 0..self.nodes.len() {
            // A list in which something has died since the last time is buried the time after.
            self.trim(n);
            self.trim(n);
            // Only now: operations of an old incarnation may be lost with whoever had received them.
            let space = &self.nodes[n].space;
            let waiting = space.waiting().0;
            if waiting != 0 {
                return fail(format!("{n}: {waiting} removals or elements wait for what nobody will send"));
            }
            let (ops, _) = space.logged();
            if ops != 0 || space.stable() != *space.version() {
                return fail(format!("{n} keeps {ops} operations that everyone has"));
            }
            // Nothing is buried later than now, and what stays is the same everywhere: the dead that live elements hang on.
            let (kept, mourned) = space.tombstones();
            self.counts.tombstones += kept;
            let bytes = space.to_bytes();
            if n == 0 {
                whole = bytes;
                self.is_restored_from(&whole)?;
            } else if bytes != whole {
                return fail(format!("everyone has everything, and {n} differs from 0"));
            }
            if mourned != 0 {
                return fail(format!("everyone has everything, and {n} mourns {mourned} lists"));
            }
            self.check(n)?;
        }
        Ok(())
    }
    /// The first replica is the same when it is restored from its own state, whose bytes these are; everyone has the same.
    fn is_restored_from(&self, bytes: &[u8]) -> Result<(), Violation> {
        let space = &self.nodes[0].space;
        let mut again = Restore::new(self.config, space.roster().clone(), space.me(), space.snapshot());
        again.absorb(&space.chunk(None, usize::MAX).bytes).expect("its own state");
        let again = again.finish(&[], self.now).map_err(|e| Violation(format!("its own state: {e}")))?;
        if again.to_bytes() != bytes || again.digest() != space.digest() || again.len() != space.len() {
            return fail("0 is another when it is restored from its own state");
        }
        Ok(())
    }
    /// Nobody overspent, but who did while it did not know that its rights were its heir's.
    fn nonnegative(&mut self, n: usize) -> Result<(), Violation> {
        let at = self.want(n);
        if !self.spec.spent_anew
            && let Value::Map(fields) = &self.wanted[at].2.value
            && let Some(overspent) = overspent(fields)
        {
            return fail(format!("bounded counter {overspent:?} is below zero"));
        }
        Ok(())
    }
}

/// Where two values differ.
pub(super) fn tell_apart(at: &str, got: Option<&Value>, want: Option<&Value>, out: &mut String) {
    if got == want {
        return;
    }
    let (Some(Value::Map(got)), Some(Value::Map(want))) = (got, want) else {
        let _ = write!(out, "\n  {at}: {got:?}\n  {at} should be {want:?}");
        return;
    };
    let fields: BTreeSet<&Field> = got.iter().chain(want).map(|(f, _)| f).collect();
    for f in fields {
        let of = |all: &'_ [(Field, Value)]| all.iter().position(|(g, _)| g == f);
        let at = format!("{at}/{} ({})", String::from_utf8_lossy(&f.name), f.kind);
        tell_apart(&at, of(got).map(|i| &got[i].1), of(want).map(|i| &want[i].1), out);
    }
}

fn overspent(fields: &[(Field, Value)]) -> Option<&Field> {
    fields.iter().find_map(|(f, v)| match v {
        Value::Counter(t) if f.kind == Kind::Bounded && *t < 0 => Some(f),
        Value::Map(below) => overspent(below),
        _ => None,
    })
}
