//! Dice that are loaded: paths that need three accidents within a second are not met by chance, so the world helps them on.
//!
//! | hard path | what is arranged | what it shows the mutant of |
//! |---|---|---|
//! | a start is slow on its way to the hypervisor | its machine is to migrate at once | orders that overtake each other |
//! | a placing's commit is seconds late | its machine is stopped, moved, and started elsewhere | reads that are not checked at commit |
//! | an arrival is called back, then a settling reads the owner | the machine moves again, and the settling reads the arrival | other stores read first |
//! | a place is given up, seconds late | its machine is wanted again at once, and its host is cut off when it is given up | agents that take back what they have asked |
//! | a store is restored | the host is cut off, or its agent dies, that runs what the backup does not know | a region that gives at once |
//! | doors are late by all they state, who takes leases early ([`super::plan`]) | agents die | clocks that are trusted |
//!
//! Everything here is an accident that may happen: messages are late, operators change their minds, hosts fail. An honest fleet holds through
//! all of it.

use super::mirror::kind;
use super::plan::{Fault, REGIONS};
use super::world::{Event, Question, World};
use crate::command::{At, Command, Request};
use crate::key::Scope;
use crate::name::{Region, VmId};
use crate::record::{Life, Power, Record, Vm};
use crate::transaction::{Transaction, Write};
use alloc::boxed::Box;
use dwcp_env::{Duration, Instant};

/// A settling's read that is on its way until the machine has arrived again.
pub(super) struct Snare {
    vm: VmId,
    region: usize,
    job: u64,
    token: u64,
    question: Question,
    until: Instant,
}

impl World {
    fn index(&self, region: &Region) -> usize {
        self.regions.iter().position(|r| r == region).unwrap_or(0)
    }
    /// The operator who stands in a region asks for something, a little later.
    fn asks(&mut self, region: usize, after: Duration, command: Command) {
        let request = Box::new(Request { key: self.fresh_key(), command });
        self.at(self.now + after, Event::Again(region, request));
    }

    /// How long a start is on its way to the hypervisor; if long, its machine is to be elsewhere meanwhile.
    pub(super) fn slow_start(&mut self, host: usize, vm: VmId) -> Option<Duration> {
        if !self.lossy(40) {
            return None;
        }
        self.judge.tally.add("a start was slow, and its machine migrates");
        let region = self.sites[host].region;
        let at = At { region: self.regions[region].clone(), vm };
        let soon = Duration::millis(5 + self.draw(300));
        self.asks(region, soon, Command::Migrate { at, to: None });
        Some(Duration::millis(500 + self.draw(3_000)))
    }

    /// A place that is given up seconds after its agent has asked for that: its machine is to run again meanwhile, and the
    /// host does not hear that somebody else has it.
    pub(super) fn late_release(&mut self, host: usize, command: &Command) -> Option<Duration> {
        let Command::Release { seat } = command else { return None };
        if !self.lossy(12) {
            return None;
        }
        self.judge.tally.add("a place was given up late, and its machine wanted again");
        let (region, at, millis) = (self.sites[host].region, seat.at.clone(), Duration::millis);
        let soon = millis(5 + self.draw(100));
        self.asks(region, soon, Command::SetPower { at, power: Power::On });
        let deaf = self.now + millis(2_500 + self.draw(1_500));
        let late = deaf.since(self.now) + millis(1 + self.draw(200));
        self.fault_between(deaf, deaf + Duration::secs(8), Fault::HostCut { host });
        Some(late)
    }

    /// A fault that nobody has planned.
    fn fault_between(&mut self, from: Instant, to: Instant, fault: Fault) {
        let to = to.min(self.plan.calm);
        if from < to {
            self.plan.faults.push((from, to, fault));
            self.at(from, Event::Fault(fault, true));
            self.at(to, Event::Fault(fault, false));
        }
    }

    /// How late a question is beyond what is usual.
    pub(super) fn snared(
        &mut self,
        job: u64,
        token: u64,
        store: usize,
        question: &Question,
    ) -> Option<Duration> {
        match question {
            Question::Commit(commit) => self.late_placing(&commit.1.command),
            Question::Read(_) => self.late_settling(job, token, store, question),
        }
    }

    /// A placing that lands when its machine has long been stopped, moved and placed where it is now.
    fn late_placing(&mut self, command: &Command) -> Option<Duration> {
        let Command::Place { at, .. } = command else { return None };
        if !self.lossy(80) {
            return None;
        }
        self.judge.tally.add("a placing was late, and its machine moved");
        let from = self.index(&at.region);
        let next = (from + 1 + self.draw(REGIONS as u64 - 1) as usize) % REGIONS;
        let to = self.regions[next].clone();
        let there = At { region: to.clone(), vm: at.vm };
        let millis = Duration::millis;
        self.asks(from, millis(2), Command::SetPower { at: at.clone(), power: Power::Off });
        for again in 0..3 {
            let moves = Command::Move { at: at.clone(), to: to.clone() };
            let soon = millis(60 + again * 700 + self.draw(300));
            self.asks(from, soon, moves);
            let starts = Command::SetPower { at: there.clone(), power: Power::On };
            self.asks(next, millis(1_500 + again * 1_500), starts);
        }
        Some(millis(6_000 + self.draw(8_000)))
    }

    /// A settling has read who owns a machine that was called back, and reads the machine when it has arrived again.
    fn late_settling(&mut self, job: u64, token: u64, store: usize, question: &Question) -> Option<Duration> {
        let region = store.checked_sub(1)?;
        let Some(Command::Settle { at }) = self.asked_by(job) else { return None };
        let at = at.clone();
        if at.region != self.regions[region] || self.snare.is_some() {
            return None;
        }
        let owner = self.judge.mirror.owners.get(&at.vm).filter(|o| o.to.is_none() && !o.gone)?.clone();
        let here = self.judge.mirror.regions.get(&at.region)?.vms.get(&at.vm)?;
        if !matches!(here.life, Life::Arriving { .. }) || owner.epoch < here.epoch || !self.lossy(2) {
            return None;
        }
        let long = Duration::millis(3_600);
        let question = question.clone();
        self.snare = Some(Snare { vm: at.vm, region, job, token, question, until: self.now + long });
        let home = At { region: owner.region.clone(), vm: at.vm };
        let from = self.index(&owner.region);
        let soon = Duration::millis(1 + self.draw(100));
        self.asks(from, soon, Command::Move { at: home, to: at.region });
        Some(long)
    }

    /// A transaction has taken effect: what waits for it goes on, and somebody thinks again.
    pub(super) fn stirs(&mut self, transaction: &Transaction, request: &Request) {
        let Scope::Region(region) = &transaction.scope else { return };
        for write in &transaction.writes {
            let Write::Put(key, bytes) = write else { continue };
            let arriving = |vm: &Vm| matches!(vm.life, Life::Arriving { .. });
            let Some(vm) = (kind(key) == "vm").then(|| Vm::decode(bytes).ok()).flatten().filter(arriving)
            else {
                continue;
            };
            let here = self.index(region);
            if let Some(snare) = self.snare.take_if(|s| s.vm == vm.id && s.region == here) {
                if self.now < snare.until {
                    self.judge.tally.add("a settling was slow, and its machine moved again");
                    let soon = self.now + Duration::millis(self.draw(350));
                    self.at(soon, Event::Ask(snare.job, snare.token, here + 1, snare.question));
                }
                return;
            }
            let Command::Move { at, .. } = &request.command else { continue };
            if self.lossy(12) {
                self.judge.tally.add("an arrival was called back");
                let (from, at) = (self.index(&at.region), at.clone());
                let soon = Duration::millis(self.draw(40));
                self.asks(from, soon, Command::CallBack { at });
            }
        }
    }
    /// What nobody waits for any more is forgotten.
    pub(super) fn unsnare(&mut self) {
        self.snare.take_if(|snare| snare.until <= self.now);
    }

    /// A host whose machines the backup does not know of as its own hears nothing of the restore.
    pub(super) fn forgotten(&mut self, region: usize) {
        let held = |world: &Self, host: usize| {
            let site = &world.sites[host];
            let here = &world.judge.mirror.regions[&world.regions[region]];
            let theirs = |vm: VmId| {
                let place = here.places.get(&vm);
                place.and_then(|p| p.holder()).is_some_and(|(holder, _)| *holder == site.name)
            };
            site.running().filter(|vm| !theirs(*vm)).count()
        };
        let hosts = (0..self.plan.hosts.len()).filter(|host| self.sites[*host].region == region);
        let Some(host) = hosts.max_by_key(|host| (held(self, *host), self.sites[*host].running().count()))
        else {
            return;
        };
        if held(self, host) > 0 {
            self.judge.tally.add("a restored store has forgotten a lease that still runs");
        }
        let fault = if self.draw(2) == 0 { Fault::HostCut { host } } else { Fault::Dead { host } };
        self.fault_between(self.now, self.now + Duration::secs(15), fault);
    }
}
