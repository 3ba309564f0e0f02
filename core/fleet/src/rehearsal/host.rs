//! A host: its hypervisor with a watchdog, and its agent, which may die without it.

use super::judge::Running;
use super::plan::Fault;
use super::world::{Event, Who, World};
use crate::agent::{Agent, Input, Output};
use crate::command::{At, Command, Request};
use crate::name::{HostName, Region, VmId};
use crate::planted::{self, Bug};
use crate::record::{Life, Placement, Power, Status, Vm};
use crate::resources::Resources;
use crate::storage::Storage;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec::Vec;
use core::net::IpAddr;
use dwcp_env::{Duration, Instant};

/// An order to the hypervisor.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Start(VmId, u64, Instant),
    Extend(VmId, u64, Instant),
    Stop(VmId, u64),
    Kill(VmId, u64),
}

/// A machine that runs, or dies.
#[derive(Clone, Debug)]
pub(super) struct Process {
    epoch: u64,
    until: Instant,
    serial: u64,
    dying: bool,
}

pub(super) struct Site {
    pub(super) name: HostName,
    pub(super) region: usize,
    pub(super) capacity: Resources,
    pub(super) agent: Option<Agent>,
    /// Counts processes of the agent, so that what one is told no other hears. The store gives lives their numbers.
    pub(super) life: u64,
    /// The registration of the process, until it is answered.
    joining: Option<Request>,
    /// The life that the hypervisor listens to.
    session: u64,
    processes: BTreeMap<VmId, Process>,
    /// What the agent last read of its machines.
    specs: BTreeMap<VmId, (Vec<IpAddr>, Resources)>,
    serial: u64,
    next_tick: Instant,
    /// When the latest order arrives.
    ordered: Instant,
}

impl Site {
    pub(super) const fn new(name: HostName, region: usize, capacity: Resources) -> Self {
        Self {
            name,
            region,
            capacity,
            agent: None,
            life: 0,
            joining: None,
            session: 0,
            processes: BTreeMap::new(),
            specs: BTreeMap::new(),
            serial: 0,
            next_tick: Instant::FAR,
            ordered: Instant::ZERO,
        }
    }
}

impl Site {
    /// The machines that run here.
    pub(super) fn running(&self) -> impl Iterator<Item = VmId> + '_ {
        self.processes.keys().copied()
    }
    /// The machines that a poll is about: those that have a place here, and those the agent knows.
    pub(super) fn concerned(&self, places: &BTreeMap<VmId, Placement>) -> BTreeSet<VmId> {
        let here =
            places.iter().filter(|(_, place)| place.holder().is_some_and(|(host, _)| *host == self.name));
        here.map(|(vm, _)| *vm).chain(self.agent.iter().flat_map(Agent::known)).collect()
    }
}

impl World {
    /// A new process of an agent: it registers before it does anything.
    pub(super) fn attach(&mut self, host: usize) {
        let twin = host >= self.plan.hosts.len() && !self.plan.holds(self.now, Fault::Twin { host });
        let down = self.plan.holds(self.now, Fault::Power { host })
            || self.plan.holds(self.now, Fault::Dead { host });
        if twin || down || self.sites[host].agent.is_some() || self.sites[host].joining.is_some() {
            return;
        }
        let key = self.fresh_key();
        let site = &mut self.sites[host];
        site.life += 1;
        let region = self.regions[site.region].clone();
        site.joining =
            Some(Request { key, command: Command::HostAttach { region, host: site.name.clone() } });
        let life = site.life;
        self.register(host, life);
    }
    /// Asks again under the same number until there is an answer.
    pub(super) fn register(&mut self, host: usize, life: u64) {
        let Some(request) = self.sites[host].joining.clone().filter(|_| self.sites[host].life == life) else {
            return;
        };
        let again = self.now + Duration::millis(1_000 + self.draw(3_000));
        self.at(again, Event::Register(host, life));
        let asked = self.plan.clocks[host].at(self.now).mono;
        if let Some(travels) = self.way_to_door(host) {
            self.at(self.now + travels, Event::AtDoor(host, life, asked, Box::new(request)));
        }
    }
    /// The agent, told what runs. From now on the hypervisor listens to it alone.
    pub(super) fn registered(&mut self, host: usize, process: u64, life: u64) {
        let now = self.plan.clocks[host].at(self.now);
        let terms = self.plan.terms;
        let site = &mut self.sites[host];
        if site.life != process || site.joining.take().is_none() {
            return;
        }
        site.session = site.life;
        let region: Region = self.regions[site.region].clone();
        let mut agent = Agent::new(region, site.name.clone(), life, terms);
        let found: Vec<(VmId, u64, Instant)> =
            site.processes.iter().map(|(vm, p)| (*vm, p.epoch, p.until)).collect();
        if !found.is_empty() {
            self.judge.tally.add("an agent came back and found machines running");
        }
        let mut out = Vec::new();
        for (vm, epoch, until) in found {
            agent.step(now, Input::Found { vm, epoch, until }, &mut out);
        }
        self.sites[host].agent = Some(agent);
        self.carry_out(host, out);
    }

    /// The agent learns something, now or when it goes on.
    pub(super) fn tell(&mut self, host: usize, life: u64, input: Input) {
        if let Some(resumes) = self.plan.paused(self.now, host) {
            self.judge.tally.add("an agent was paused");
            self.at(resumes, Event::Tell(host, life, Box::new(input)));
            return;
        }
        let now = self.plan.clocks[host].at(self.now);
        let site = &mut self.sites[host];
        if site.life != life {
            return;
        }
        let Some(agent) = &mut site.agent else { return };
        let mut out = Vec::new();
        agent.step(now, input, &mut out);
        self.carry_out(host, out);
    }

    fn carry_out(&mut self, host: usize, out: Vec<Output>) {
        let life = self.sites[host].life;
        for output in out {
            // Orders arrive in the order they were given.
            let usual = Duration::micros(200 + self.draw(5_000));
            let slow = if let Output::Start(vm, ..) = output { self.slow_start(host, vm) } else { None };
            let soon = (self.now + slow.unwrap_or(usual)).max(self.sites[host].ordered);
            if !planted::is(Bug::OrdersOvertake) {
                self.sites[host].ordered = soon;
            }
            match output {
                Output::Admit(vm, epoch) => {
                    let slow = self.plan.holds(self.now, Fault::SlowStorage) && self.draw(2) == 0;
                    let after = if slow { 500_000 + self.draw(8_000_000) } else { 1_000 + self.draw(40_000) };
                    self.at(self.now + Duration::micros(after), Event::Admit(host, life, vm, epoch));
                }
                Output::Start(vm, epoch, until) => {
                    self.at(soon, Event::Order(host, life, Order::Start(vm, epoch, until)))
                }
                Output::Extend(vm, epoch, until) => {
                    self.at(soon, Event::Order(host, life, Order::Extend(vm, epoch, until)));
                }
                Output::Stop(vm, epoch) => self.at(soon, Event::Order(host, life, Order::Stop(vm, epoch))),
                Output::Kill(vm, epoch) => self.at(soon, Event::Order(host, life, Order::Kill(vm, epoch))),
                Output::Ask(command) => self.ask_door(host, life, command),
                Output::Superseded => {
                    self.judge.tally.add("an agent was superseded");
                    self.agent_dies(host);
                    self.attach_again(host);
                }
            }
        }
        let wake = self.sites[host].agent.as_ref().and_then(Agent::wake);
        if let Some(wake) = wake {
            let at = self.plan.clocks[host].truth(wake).max(self.now + Duration::millis(50));
            let site = &mut self.sites[host];
            if at < site.next_tick || site.next_tick <= self.now {
                site.next_tick = at;
                self.at(at, Event::Tick(host, life));
            }
        }
    }

    /// A request goes to the region's door, where it lives on without the agent.
    fn ask_door(&mut self, host: usize, life: u64, command: Command) {
        let Some(travels) = self.way_to_door(host) else { return };
        let travels = self.late_release(host, &command).unwrap_or(travels);
        let key = self.fresh_key();
        let request = Box::new(Request { key, command });
        let asked = self.plan.clocks[host].at(self.now).mono;
        self.at(self.now + travels, Event::AtDoor(host, life, asked, request));
    }
    /// How long a message between a host and its region's door takes; `None`: it is lost.
    pub(super) fn way_to_door(&mut self, host: usize) -> Option<Duration> {
        if self.plan.holds(self.now, Fault::HostCut { host }) || self.lossy(60) {
            return None;
        }
        let micros = if self.lossy(25) { 1_000_000 + self.draw(25_000_000) } else { 200 + self.draw(600) };
        Some(Duration::micros(micros))
    }

    pub(super) fn admit(&mut self, host: usize, life: u64, vm: VmId, epoch: u64) {
        let granted = self.gate.admit(vm, epoch).is_ok();
        if !granted {
            self.judge.tally.add("storage refused a lower epoch");
        }
        self.story(|w| format!("{} shows storage epoch {epoch} of {vm}: {granted}", w.sites[host].name));
        let back = self.now + Duration::micros(500 + self.draw(20_000));
        self.at(back, Event::Tell(host, life, Box::new(Input::Admitted { vm, epoch, granted })));
    }

    pub(super) fn order(&mut self, host: usize, life: u64, order: Order) {
        if life < self.sites[host].session || self.plan.holds(self.now, Fault::Power { host }) {
            return;
        }
        self.story(|w| format!("{} is ordered {order:?}", w.sites[host].name));
        let mono = self.plan.clocks[host].at(self.now).mono;
        match order {
            Order::Start(vm, epoch, until) => {
                match self.sites[host].processes.get(&vm).map(|process| process.epoch) {
                    // It runs already.
                    Some(running) if running == epoch => self.tell(host, life, Input::Started { vm, epoch }),
                    // Another life of it has to end first.
                    Some(_) => {}
                    None if mono >= until => {
                        let failed = Some("its time was over before it began".into());
                        self.tell(host, life, Input::Stopped { vm, epoch, failed });
                    }
                    None => self.run_machine(host, vm, epoch, until),
                }
            }
            Order::Extend(vm, epoch, until) => {
                let process = self.sites[host].processes.get_mut(&vm);
                if let Some(process) = process.filter(|p| p.epoch == epoch && !p.dying) {
                    process.until = until;
                    self.watch(host, vm, until);
                }
            }
            Order::Stop(vm, epoch) => {
                // One in eight hangs; the watchdog has to end it.
                let after = 50_000 + self.draw(1_200_000);
                if self.draw(8) > 0 {
                    self.ends(host, vm, epoch, after);
                }
            }
            Order::Kill(vm, epoch) => {
                let after = 1_000 + self.draw(200_000);
                self.ends(host, vm, epoch, after);
            }
        }
    }

    fn run_machine(&mut self, host: usize, vm: VmId, epoch: u64, until: Instant) {
        let honest = self.honest();
        let site = &mut self.sites[host];
        site.serial += 1;
        let serial = site.serial;
        site.processes.insert(vm, Process { epoch, until, serial, dying: false });
        let (addresses, booked) = site.specs.get(&vm).cloned().unwrap_or_default();
        let run = Running { site: host, host: site.name.clone(), epoch, addresses, booked };
        let capacity = site.capacity;
        let verdict = self.judge.starts(vm, run, honest, &capacity);
        self.hold(verdict);
        self.watch(host, vm, until);
        let life = self.sites[host].life;
        let up = self.now + Duration::millis(20 + self.draw(700));
        self.at(up, Event::Tell(host, life, Box::new(Input::Started { vm, epoch })));
        let write = self.now + Duration::millis(10 + self.draw(300));
        self.at(write, Event::Write(host, vm, serial));
    }

    fn watch(&mut self, host: usize, vm: VmId, until: Instant) {
        if until < Instant::FAR {
            let at = self.plan.clocks[host].truth(until).max(self.now);
            self.at(at, Event::Watchdog(host, vm));
        }
    }

    /// A machine dies a little later, if it is the one that is meant.
    fn ends(&mut self, host: usize, vm: VmId, epoch: u64, after_micros: u64) {
        let Some(process) = self.sites[host].processes.get(&vm).filter(|p| p.epoch == epoch) else {
            let life = self.sites[host].life;
            self.tell(host, life, Input::Stopped { vm, epoch, failed: None });
            return;
        };
        let serial = process.serial;
        self.at(self.now + Duration::micros(after_micros), Event::Died(host, vm, serial, false));
    }

    pub(super) fn watchdog(&mut self, host: usize, vm: VmId) {
        // `truth` rounds up by less than this.
        let mono = self.plan.clocks[host].at(self.now).mono;
        let Some(process) = self.sites[host].processes.get_mut(&vm) else { return };
        if process.dying || process.until > mono {
            return;
        }
        process.dying = true;
        let serial = process.serial;
        self.judge.tally.add("the watchdog killed a machine");
        let after = self.draw(self.plan.terms.kill.as_micros() - 5_000);
        self.at(self.now + Duration::micros(after), Event::Died(host, vm, serial, false));
    }

    pub(super) fn died(&mut self, host: usize, vm: VmId, serial: u64, by_itself: bool) {
        let site = &mut self.sites[host];
        let Some(process) = site.processes.get(&vm).filter(|p| p.serial == serial) else { return };
        let (epoch, life, name) = (process.epoch, site.life, site.name.clone());
        site.processes.remove(&vm);
        self.judge.stops(vm, host);
        self.story(|_| format!("{vm} is dead on {name}"));
        let failed = by_itself.then(|| "the guest ended".into());
        self.tell(host, life, Input::Stopped { vm, epoch, failed });
    }

    /// A machine writes to its disk; the write lands a little later, whatever has become of the machine.
    pub(super) fn writes(&mut self, host: usize, vm: VmId, serial: u64) {
        let Some(process) = self.sites[host].processes.get(&vm).filter(|p| p.serial == serial) else {
            return;
        };
        let epoch = process.epoch;
        let slow = self.plan.holds(self.now, Fault::SlowStorage) || self.draw(12) == 0;
        let lands = if slow { 1_000 + self.draw(6_000_000) } else { 200 + self.draw(5_000) };
        self.at(self.now + Duration::micros(lands), Event::Landed(host, vm, epoch));
        let next = self.now + Duration::millis(400 + self.draw(2_000));
        self.at(next, Event::Write(host, vm, serial));
        if self.draw(150) == 0 && self.now < self.plan.calm {
            self.at(self.now + Duration::millis(5), Event::Died(host, vm, serial, true));
        }
    }

    pub(super) fn landed(&mut self, host: usize, vm: VmId, epoch: u64) {
        let name = self.sites[host].name.clone();
        if let Err(fenced) = self.gate.write(vm, epoch) {
            self.judge.tally.add("a late write was refused");
            let verdict = self.judge.unwritten(vm, epoch, fenced.newest, &name);
            self.hold(verdict);
            return;
        }
        let verdict = self.judge.written(vm, epoch, host, &name);
        self.hold(verdict);
    }

    pub(super) fn looked(&mut self) {
        let sites = &self.sites;
        let verdict = self.judge.kept(|host, life| {
            let theirs = |agent: &Agent| life == 0 || agent.life() == life;
            sites.iter().any(|site| site.name == *host && site.agent.as_ref().is_some_and(theirs))
        });
        self.hold(verdict);
    }

    pub(super) fn fault(&mut self, fault: Fault, begins: bool) {
        self.story(|_| format!("{fault:?} {}", if begins { "begins" } else { "ends" }));
        match fault {
            Fault::Twin { host } => {
                if begins {
                    self.judge.tally.add("two processes had one name");
                    self.attach(host);
                } else {
                    self.power_off(host);
                }
            }
            Fault::Power { host } | Fault::Dead { host } => {
                let off = matches!(fault, Fault::Power { .. });
                if begins {
                    self.judge.tally.add(if off { "a host lost its power" } else { "an agent died" });
                    if off {
                        self.power_off(host);
                    } else {
                        self.agent_dies(host);
                    }
                } else {
                    self.attach(host);
                }
            }
            _ => {}
        }
    }

    /// Somebody starts the agent's process again.
    pub(super) fn attach_again(&mut self, host: usize) {
        let wait = if self.plan.hasty { 100 + self.draw(400) } else { 300 + self.draw(8_000) };
        self.at(self.now + Duration::millis(wait), Event::Attach(host));
    }
    /// What the agent has asked lives on at the door.
    pub(super) fn agent_dies(&mut self, host: usize) {
        self.sites[host].agent = None;
        self.sites[host].joining = None;
        self.sites[host].life += 1;
        self.jobs.retain(|_, job| !matches!(job.who, Who::Host(h, _) if h == host));
    }
    fn power_off(&mut self, host: usize) {
        self.agent_dies(host);
        for vm in core::mem::take(&mut self.sites[host].processes).into_keys() {
            self.judge.stops(vm, host);
        }
    }

    /// What a poll has read of the region: the agent's machines and places.
    pub(super) fn polled(
        &mut self,
        host: usize,
        life: u64,
        vms: &BTreeMap<VmId, Vm>,
        places: &BTreeMap<VmId, Placement>,
        statuses: &BTreeMap<VmId, Status>,
    ) {
        let site = &mut self.sites[host];
        if site.agent.is_none() {
            return;
        }
        let concerned = site.concerned(places);
        let (seen, unseen): (Vec<VmId>, Vec<VmId>) =
            concerned.into_iter().partition(|vm| places.contains_key(vm));
        for vm in &seen {
            if let Some(record) = vms.get(vm) {
                let addresses = record.addresses.iter().map(|a| a.ip).collect();
                site.specs.insert(*vm, (addresses, record.spec.booking()));
            }
        }
        let region = self.regions[site.region].clone();
        for vm in unseen {
            self.tell(host, life, Input::Unseen(vm));
        }
        for vm in seen {
            let wanted = vms.get(&vm).is_some_and(|v| v.life == Life::Active && v.spec.power == Power::On);
            let place = places[&vm].clone();
            let reported = statuses.get(&vm).filter(|s| s.epoch == place.epoch).map_or(0, |s| s.index);
            let at = At { region: region.clone(), vm };
            self.tell(host, life, Input::Seen { at, place, wanted, reported });
        }
        self.host_says(host);
    }
}
