//! What must hold, watched from outside: at the stores as transactions are committed, at the hypervisors as machines start
//! and stop, at storage as writes land, at the clients as answers come.
//!
//! | invariant | says |
//! |---|---|
//! | `address_once` | no address is two machines', in the stores or among running machines |
//! | `address_in_block` | an address is given only by a region that holds its block |
//! | `lent_once` | a block or prefix is held by one region |
//! | `runs_once` | a machine runs on one host (while clocks keep what they state) |
//! | `one_writer` | storage serves no epoch lower than one that was served or started, and one host under each (always) |
//! | `shown_first` | a machine runs only under an epoch that storage was shown |
//! | `capacity` | a host's bookings are those of its places, and within what it has; so are the machines it runs |
//! | `quota` | rights in use are the machines' charges and within the share; shares are within the total |
//! | `names` | a name means one machine |
//! | `one_home` | a machine is at home in one region |
//! | `epochs_grow` | a machine's fencing epoch never falls, wherever it goes |
//! | `acknowledged` | what was acknowledged stays: no machine is lost, no change undone, none deleted comes back |
//! | `done_once` | a request changes a machine once |
//! | `steps` | lives and phases go by their tables |
//! | `at_rest` | once faults end everything comes to rest in bounded time: handovers end, what was deleted is gone, what is to run runs; what a living agent has runs before that, whatever end a wrong calendar gave its lease |
//! | `unfounded` | what regions and hosts announce contradicts nothing, while clocks keep what they state and no store was restored |

use super::mirror::{Mirror, Regional, kind};
use super::tally::Tally;
use crate::command::{Answer, Command, Request};
use crate::key::Key;
use crate::life::{life_may, phase_may};
use crate::name::{HostName, Region, RequestKey, VmId};
use crate::record::{Assigned, HeldState, Hold, HostState, Life, Placement, Power, Thing, Vm};
use crate::resources::Resources;
use crate::transaction::{Transaction, Write};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;
use core::net::IpAddr;

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Which.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

type Verdict = Result<(), Broken>;

fn broken(invariant: &'static str, what: String) -> Verdict {
    Err(Broken { invariant, what })
}

/// A machine that runs.
#[derive(Clone, Debug)]
pub(super) struct Running {
    /// On which hypervisor: two may go by one name.
    pub(super) site: usize,
    pub(super) host: HostName,
    pub(super) epoch: u64,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) booked: Resources,
}

#[derive(Default)]
pub(super) struct Judge {
    pub(super) mirror: Mirror,
    running: BTreeMap<VmId, Vec<Running>>,
    writers: BTreeMap<(VmId, u64), usize>,
    served: BTreeMap<VmId, u64>,
    generations: BTreeMap<VmId, u64>,
    fences: BTreeMap<VmId, u64>,
    changed: BTreeSet<(VmId, RequestKey)>,
    ordered: BTreeSet<(Key, RequestKey)>,
    created: BTreeSet<VmId>,
    pub(super) deletions: BTreeSet<VmId>,
    deleted: BTreeSet<VmId>,
    pub(super) tally: Tally,
    /// Whether a store was restored, and with it what was acknowledged since its backup is lost.
    loss: bool,
    /// What did not run when it was last looked at, though a living agent has its place: which machine, under which epoch.
    idle: BTreeSet<(VmId, u64)>,
}

impl Judge {
    /// A transaction took effect.
    pub(super) fn committed(&mut self, transaction: &Transaction, request: &Request) -> Verdict {
        self.held(transaction, request).or_else(|broken| self.forgiven(broken))
    }
    /// What was lost with a store that was restored may be asked again, and given again: what runs and what is written may not be.
    fn forgiven(&self, broken: Broken) -> Verdict {
        let lost = [
            "acknowledged",
            "done_once",
            "quota",
            "names",
            "one_home",
            "address_once",
            "address_in_block",
            "lent_once",
        ];
        if self.loss && lost.contains(&broken.invariant) { Ok(()) } else { Err(broken) }
    }

    fn held(&mut self, transaction: &Transaction, request: &Request) -> Verdict {
        let before: Vec<_> = transaction.writes.iter().map(|w| self.old(w)).collect();
        for write in &transaction.writes {
            self.mirror.apply(write);
        }
        for (write, old) in transaction.writes.iter().zip(before) {
            match kind(write.key()) {
                "vm" => self.vm_written(write, old, request)?,
                "addr" => {
                    self.address_written(write)?;
                    self.counted(write)?;
                }
                "block" | "prefix" => {
                    self.lent_once(write)?;
                    self.changed_once(write, &old, request)?;
                }
                "host" => self.changed_once(write, &old, request)?,
                "place" => {
                    self.changed_once(write, &old, request)?;
                    self.place_written(write, old)?;
                }
                "status" => self.status_written(write, old)?,
                _ => {}
            }
        }
        let touched: BTreeSet<&str> = transaction.writes.iter().map(|w| kind(w.key())).collect();
        if touched.contains("host") || touched.contains("place") {
            self.booked()?;
        }
        if touched.contains("quota") || touched.contains("vm") {
            self.quota()?;
        }
        Ok(())
    }

    /// A region's store is again what it was: what it has forgotten may have been acknowledged, done, or given away.
    pub(super) fn restored<'a>(
        &mut self,
        region: &Region,
        records: impl Iterator<Item = (&'a Key, &'a Bytes)>,
    ) {
        self.loss = true;
        self.mirror.regions.remove(region);
        for (key, bytes) in records {
            self.mirror.apply(&Write::Put(key.clone(), bytes.clone()));
        }
    }

    /// Whether a store was restored.
    pub(super) const fn lossy(&self) -> bool {
        self.loss
    }

    /// What was under a key.
    fn old(&self, write: &Write) -> Old {
        let key = write.key();
        let Some(here) = self.region_of(write) else {
            return key
                .thing()
                .map_or(Old::Other, |thing| Old::Lent(self.mirror.lent.get(&thing).map(|l| l.epoch)));
        };
        match (kind(key), key.last().parse()) {
            ("vm", Ok(vm)) => Old::Life(here.vms.get(&vm).map(|v| (v.life.clone(), v.generation))),
            ("host", _) => Old::Host(key.last().parse().ok().and_then(|h| Some(here.hosts.get(&h)?.state))),
            ("place", Ok(vm)) => Old::Place(here.places.get(&vm).cloned()),
            ("status", Ok(vm)) => Old::Status(here.statuses.get(&vm).cloned()),
            _ => Old::Other,
        }
    }
    fn region_of(&self, write: &Write) -> Option<&Regional> {
        match write.key().scope() {
            Some(crate::key::Scope::Region(region)) => self.mirror.regions.get(&region),
            _ => None,
        }
    }

    fn vm_written(&mut self, write: &Write, old: Old, request: &Request) -> Verdict {
        let (Old::Life(old), Ok(id)) = (old, write.key().last().parse::<VmId>()) else { return Ok(()) };
        let Some(here) = self.region_of(write) else { return Ok(()) };
        let new = here.vms.get(&id).cloned();
        let was_arriving = matches!(old, Some((Life::Arriving { .. }, _)));
        let (from, to) = (old.as_ref().map(|(life, _)| life), new.as_ref().map(|vm| &vm.life));
        if !life_may(from, to) {
            return broken("steps", format!("{id}: {from:?} → {to:?} at {}", write.key()));
        }
        if let Some(vm) = &new {
            for assigned in &vm.addresses {
                let key = crate::key::Key::address(&vm.birth, assigned.ip);
                if here.addresses.get(key.last()) != Some(&id) {
                    return broken(
                        "address_once",
                        format!("{id} has {} and its record is not its own", assigned.ip),
                    );
                }
            }
            // Leftovers of handovers are nobody's machine.
            let home = |vm: &Vm| matches!(vm.life, Life::Active | Life::Deleting);
            let mut others = self.mirror.regions.values().flat_map(|r| r.vms.values());
            if let Some(other) = others.find(|o| o.id != id && o.spec.name == vm.spec.name && home(o))
                && home(vm)
            {
                return broken("names", format!("{} is {id} and {}", vm.spec.name, other.id));
            }
            // What arrives may be the leftover of a handover that was called back: it counts once it is at home.
            if !matches!(vm.life, Life::Arriving { .. }) {
                let generation = self.generations.entry(id).or_default();
                if vm.generation < *generation {
                    return broken(
                        "acknowledged",
                        format!("{id} went back from change {generation} to {}", vm.generation),
                    );
                }
                let grew = old.as_ref().is_some_and(|(_, g)| vm.generation > *g);
                *generation = vm.generation;
                if grew && !self.changed.insert((id, request.key)) {
                    return broken("done_once", format!("{id} was changed twice by {:?}", request.command));
                }
            }
        }
        let home = |life: &Life| matches!(life, Life::Active | Life::Deleting);
        let homes: Vec<&Region> =
            self.mirror.records(id).filter(|(_, vm)| home(&vm.life)).map(|(r, _)| r).collect();
        if homes.len() > 1 {
            return broken("one_home", format!("{id} is at home in {homes:?}"));
        }
        if self.mirror.records(id).next().is_none() && !self.deletions.contains(&id) {
            return broken("acknowledged", format!("{id} is gone and nobody deleted it"));
        }
        if self.deleted.contains(&id) && self.mirror.records(id).any(|(_, vm)| vm.life == Life::Active) {
            return broken("acknowledged", format!("{id} was deleted and came back"));
        }
        if was_arriving && new.is_some_and(|vm| vm.life == Life::Active) {
            return self.arrived(write, id);
        }
        Ok(())
    }

    fn address_written(&self, write: &Write) -> Verdict {
        let Write::Put(key, _) = write else { return Ok(()) };
        let Some(crate::key::Scope::Region(region)) = key.scope() else { return Ok(()) };
        let holders = self.mirror.regions.iter().filter(|(_, r)| r.addresses.contains_key(key.last()));
        let holders: Vec<&Region> = holders.map(|(name, _)| name).collect();
        if holders.len() > 1 {
            return broken("address_once", format!("{} is in use in {holders:?}", key.last()));
        }
        let ip = u32::from_str_radix(key.last(), 16).map(core::net::Ipv4Addr::from);
        match ip {
            Ok(ip) if !self.mirror.holds(&region, ip.into()) => {
                broken("address_in_block", format!("{region} gave {ip} of a block that it does not hold"))
            }
            _ => Ok(()),
        }
    }

    fn lent_once(&self, write: &Write) -> Verdict {
        let Some(thing) = write.key().thing() else { return Ok(()) };
        let held = |r: &Regional| r.things.get(&thing).is_some_and(|h| h.state != HeldState::Returned);
        let holders: Vec<&Region> =
            self.mirror.regions.iter().filter(|(_, r)| held(r)).map(|(n, _)| n).collect();
        if holders.len() > 1 {
            return broken("lent_once", format!("{thing} is held by {holders:?}"));
        }
        Ok(())
    }

    /// A block counts what of it is in use.
    fn counted(&self, write: &Write) -> Verdict {
        let Some(here) = self.region_of(write) else { return Ok(()) };
        for (thing, held) in &here.things {
            let Thing::Block(block) = thing else { continue };
            let ip = |key: &String| u32::from_str_radix(key, 16).map(core::net::Ipv4Addr::from);
            let used =
                here.addresses.keys().filter(|key| ip(key).is_ok_and(|ip| block.holds(ip.into()))).count();
            if used as u64 != held.used {
                let what = format!("{thing} counts {}, {used} of it are in use", held.used);
                return broken("address_in_block", what);
            }
        }
        Ok(())
    }

    /// A request lends a thing, or orders a host, once.
    fn changed_once(&mut self, write: &Write, old: &Old, request: &Request) -> Verdict {
        let changed = match old {
            Old::Lent(before) => {
                let now = write.key().thing().and_then(|thing| self.mirror.lent.get(&thing)).map(|l| l.epoch);
                before.is_some() && now > *before
            }
            Old::Host(before) => {
                let host = write.key().last().parse::<HostName>().ok();
                let now = self.region_of(write).and_then(|r| Some(r.hosts.get(&host?)?.state));
                before.is_some() && now != *before
            }
            Old::Place(before) => {
                let vm = write.key().last().parse::<VmId>().ok();
                let now = self.region_of(write).and_then(|r| r.places.get(&vm?));
                let begun = |place: &Placement| matches!(place.hold, Hold::Handing { .. });
                now.is_some_and(begun) && !before.as_ref().is_some_and(begun)
            }
            _ => false,
        };
        if changed && !self.ordered.insert((write.key().clone(), request.key)) {
            return broken(
                "done_once",
                format!("{} was changed twice by {:?}", write.key(), request.command),
            );
        }
        Ok(())
    }

    fn place_written(&mut self, write: &Write, old: Old) -> Verdict {
        let (Old::Place(old), Ok(id)) = (old, write.key().last().parse::<VmId>()) else { return Ok(()) };
        let Some(new) = self.region_of(write).and_then(|r| r.places.get(&id)).cloned() else { return Ok(()) };
        let holder = |place: &Placement| place.holder().map(|(host, _)| host.clone());
        let given = new.holder().is_some() && old.as_ref().and_then(holder) != holder(&new);
        // What arrives may be the leftover of a handover that was called back: it counts once it is at home, or given.
        let arriving = |vm: &Vm| matches!(vm.life, Life::Arriving { .. });
        let here = self.region_of(write).and_then(|r| r.vms.get(&id));
        if new.is_vacant() && here.is_some_and(arriving) {
            return Ok(());
        }
        let known = self.fences.entry(id).or_default();
        if given && new.epoch <= *known {
            return broken(
                "epochs_grow",
                format!("{id} is given under {}, {known} was given before", new.epoch),
            );
        }
        if new.epoch < *known && !self.loss {
            return broken("epochs_grow", format!("{id}: {known}, then {}", new.epoch));
        }
        *known = new.epoch.max(*known);
        Ok(())
    }

    /// A machine that has arrived brings the epochs that were given where it came from.
    fn arrived(&mut self, write: &Write, id: VmId) -> Verdict {
        let place = self.region_of(write).and_then(|r| r.places.get(&id));
        let epoch = place.map_or(0, |place| place.epoch);
        let known = self.fences.entry(id).or_default();
        if epoch < *known && !self.loss {
            return broken("epochs_grow", format!("{id}: {known}, and it has arrived with {epoch}"));
        }
        *known = epoch.max(*known);
        Ok(())
    }

    fn status_written(&self, write: &Write, old: Old) -> Verdict {
        let (Old::Status(Some(old)), Ok(id)) = (old, write.key().last().parse::<VmId>()) else {
            return Ok(());
        };
        let Some(new) = self.region_of(write).and_then(|r| r.statuses.get(&id)) else { return Ok(()) };
        let next = new.epoch == old.epoch && new.index == old.index + 1;
        if (new.epoch, new.index) <= (old.epoch, old.index) || next && !phase_may(old.phase, new.phase) {
            return broken("steps", format!("{id}: {old:?} → {new:?}"));
        }
        Ok(())
    }

    fn booked(&self) -> Verdict {
        for here in self.mirror.regions.values() {
            let mut sums: BTreeMap<&HostName, Resources> = BTreeMap::new();
            let mut add = |host, booked: &Resources| {
                let sum = sums.entry(host).or_default();
                *sum = sum.plus(booked).expect("small numbers");
            };
            for Placement { hold, .. } in here.places.values() {
                match hold {
                    Hold::Vacant => {}
                    Hold::Held { host, booked, .. } => add(host, booked),
                    Hold::Handing { host, booked, to, .. } => {
                        add(host, booked);
                        add(to, booked);
                    }
                }
            }
            for (name, host) in &here.hosts {
                let sum = sums.get(name).copied().unwrap_or_default();
                if sum != host.booked || sum.lacking(&host.capacity).is_some() {
                    let what =
                        format!("{name}: {sum:?} placed, {:?} booked of {:?}", host.booked, host.capacity);
                    return broken("capacity", what);
                }
            }
        }
        Ok(())
    }

    fn quota(&self) -> Verdict {
        for (region, here) in &self.mirror.regions {
            for (group, rights) in &here.rights {
                let vms = here.vms.values().filter(|vm| vm.spec.group == *group);
                let charged =
                    vms.fold(Resources::NONE, |sum, vm| sum.plus(&vm.charged).expect("small numbers"));
                if charged != rights.used || !rights.used.within(&rights.limit()) {
                    let limit = rights.limit();
                    let what = format!(
                        "{group} in {region}: {charged:?} charged, {:?} used of {limit:?}",
                        rights.used
                    );
                    return broken("quota", what);
                }
            }
        }
        for (group, ledger) in &self.mirror.ledgers {
            let limits = self.mirror.regions.values().filter_map(|r| r.rights.get(group)).map(|r| r.limit());
            let sum = limits.fold(Resources::NONE, |sum, l| sum.plus(&l).expect("small numbers"));
            if !sum.within(&ledger.total) {
                return broken("quota", format!("{group}: regions may use {sum:?} of {:?}", ledger.total));
            }
        }
        Ok(())
    }

    /// A machine begins to run. `honest`: no clock has lied.
    pub(super) fn starts(&mut self, vm: VmId, run: Running, honest: bool, capacity: &Resources) -> Verdict {
        if let Some(other) = self.running.get(&vm).and_then(|all| all.first()) {
            if honest {
                let what = format!(
                    "{vm} on {} under {} and on {} under {}",
                    other.host, other.epoch, run.host, run.epoch
                );
                return broken("runs_once", what);
            }
            self.tally.add("two hosts ran a machine while a clock lied");
        }
        let others = self
            .running
            .iter()
            .filter(|(id, _)| **id != vm)
            .flat_map(|(id, all)| all.iter().map(move |r| (id, r)));
        for (id, other) in others {
            if let Some(ip) = run.addresses.iter().find(|ip| honest && other.addresses.contains(ip)) {
                return broken("address_once", format!("{ip} is used by {vm} and {id}, which run"));
            }
        }
        let here = self.running.values().flatten().filter(|r| r.host == run.host);
        let sum = here.fold(run.booked, |sum, r| sum.plus(&r.booked).expect("small numbers"));
        if honest && !sum.within(capacity) {
            return broken("capacity", format!("{} runs {sum:?} of {capacity:?}", run.host));
        }
        let served = self.served.entry(vm).or_default();
        *served = (*served).max(run.epoch);
        self.running.entry(vm).or_default().push(run);
        Ok(())
    }
    /// A machine runs no more on a hypervisor.
    pub(super) fn stops(&mut self, vm: VmId, site: usize) {
        if let Some(all) = self.running.get_mut(&vm) {
            all.retain(|run| run.site != site);
            if all.is_empty() {
                self.running.remove(&vm);
            }
        }
    }
    /// Storage has done a write.
    pub(super) fn written(&mut self, vm: VmId, epoch: u64, site: usize, host: &HostName) -> Verdict {
        let served = self.served.entry(vm).or_default();
        if epoch < *served {
            return broken(
                "one_writer",
                format!("{vm}: {host} wrote under {epoch} after {served} had begun"),
            );
        }
        *served = epoch;
        let writer = *self.writers.entry((vm, epoch)).or_insert(site);
        if writer != site {
            return broken(
                "one_writer",
                format!("{vm}: hypervisors {writer} and {site} ({host}) wrote under {epoch}"),
            );
        }
        Ok(())
    }
    /// Storage has refused a write, since it was shown another epoch.
    pub(super) fn unwritten(&self, vm: VmId, epoch: u64, newest: u64, host: &HostName) -> Verdict {
        if newest < epoch {
            return broken(
                "shown_first",
                format!("{vm} runs on {host} under {epoch}, storage has seen {newest}"),
            );
        }
        Ok(())
    }
    /// A client got an answer.
    pub(super) fn acknowledged(&mut self, request: &Request, answer: &Answer) -> Verdict {
        if let (Command::Delete { at }, Answer::Vm { .. }) = (&request.command, answer) {
            self.deleted.insert(at.vm);
        }
        if let Answer::Vm { at, generation } = answer {
            self.created.insert(at.vm);
            let there = self.generations.get(&at.vm).copied().unwrap_or(0);
            if there < *generation && !self.loss {
                return broken(
                    "acknowledged",
                    format!("{}: change {generation} was acknowledged, {there} is there", at.vm),
                );
            }
        }
        Ok(())
    }

    /// Two looks at what is to run and whose place a living agent has: what runs at neither, under one epoch, is kept from
    /// running by its own holder. `alive`: whether a host has an agent that takes a place of this life for its own. After a
    /// restore storage may refuse the epoch, and the lease is left to end.
    pub(super) fn kept(&mut self, alive: impl Fn(&HostName, u64) -> bool) -> Verdict {
        let mut idle = BTreeSet::new();
        for here in self.mirror.regions.values() {
            for (vm, place) in &here.places {
                let Hold::Held { host, life, .. } = &place.hold else { continue };
                let wanted = |vm: &Vm| vm.life == Life::Active && vm.spec.power == Power::On;
                let runs = |all: &Vec<Running>| all.iter().any(|run| run.host == *host);
                if here.vms.get(vm).is_some_and(wanted)
                    && alive(host, *life)
                    && !self.running.get(vm).is_some_and(runs)
                {
                    idle.insert((*vm, place.epoch));
                }
            }
        }
        let both = idle.intersection(&self.idle).next().copied();
        self.idle = idle;
        match both.filter(|_| !self.loss) {
            None => Ok(()),
            Some((vm, epoch)) => {
                let what =
                    format!("{vm} has a place under epoch {epoch} with a living agent, and does not run");
                broken("at_rest", what)
            }
        }
    }

    /// What must be true once everything has had time to come to rest.
    pub(super) fn at_rest(&self) -> Verdict {
        let rest = |what: String| broken("at_rest", what);
        for vm in &self.created {
            if self.mirror.records(*vm).next().is_none() && !self.deletions.contains(vm) && !self.loss {
                return broken("acknowledged", format!("{vm} was acknowledged and is nowhere"));
            }
        }
        for vm in self.mirror.regions.values().flat_map(|here| here.vms.keys()) {
            if self.mirror.records(*vm).count() > 1 {
                let homes: Vec<&Region> = self.mirror.records(*vm).map(|(region, _)| region).collect();
                return broken("one_home", format!("{vm} is at rest in {homes:?}"));
            }
        }
        for (region, here) in &self.mirror.regions {
            for vm in here.vms.values() {
                if vm.life != Life::Active {
                    return rest(format!("{} in {region} is still {:?}", vm.id, vm.life));
                }
                // What a restored region has of another's addresses by now is for a person.
                let other = |a: &Assigned| {
                    let held = here.things.get(&Thing::Block(a.block));
                    held.is_none_or(|held| held.state == HeldState::Returned)
                };
                if self.loss && vm.addresses.iter().any(other) {
                    continue;
                }
                self.vm_at_rest(here, vm.id, vm.spec.power, &vm.spec.booking())?;
            }
            for (name, vm) in &here.names {
                if self.mirror.records(*vm).next().is_none() {
                    return rest(format!("{name} in {region} is still the name of {vm}, which is gone"));
                }
            }
            for (key, vm) in &here.addresses {
                if !here.vms.contains_key(vm) {
                    return rest(format!("address {key} in {region} is still used by {vm}"));
                }
            }
            for (thing, held) in &here.things {
                let lent = self.mirror.lent.get(thing);
                let ours = lent.is_some_and(|l| l.to.as_ref() == Some(region) && l.epoch == held.epoch);
                let empty = match thing {
                    Thing::Block(block) => {
                        here.vms.values().flat_map(|v| &v.addresses).all(|a| a.block != *block)
                    }
                    Thing::Prefix(p) => here.names.keys().all(|n| !n.as_str().starts_with(p.as_str())),
                };
                if ours && held.state != HeldState::Active && empty {
                    return rest(format!("{thing} is still on its way back from {region}"));
                }
            }
        }
        for (vm, owner) in &self.mirror.owners {
            if owner.to.is_some() {
                return rest(format!("{vm} is still being handed over: {owner:?}"));
            }
        }
        Ok(())
    }

    fn vm_at_rest(&self, here: &Regional, vm: VmId, power: Power, booking: &Resources) -> Verdict {
        let rest = |what: String| broken("at_rest", what);
        let hold = here.places.get(&vm).map_or(&Hold::Vacant, |p| &p.hold);
        match (power, hold) {
            (_, Hold::Handing { .. }) => rest(format!("{vm} still migrates")),
            (Power::Off, Hold::Held { host, .. }) => rest(format!("{vm} is off and {host} still has it")),
            (Power::Off, Hold::Vacant) => Ok(()),
            (Power::On, Hold::Held { host, .. }) => {
                let runs = self.running.get(&vm).is_some_and(|all| all.len() == 1 && all[0].host == *host);
                if runs {
                    Ok(())
                } else {
                    rest(format!("{vm} is {host}'s and does not run there: {:?}", self.running.get(&vm)))
                }
            }
            (Power::On, Hold::Vacant) => {
                let room = here.hosts.iter().find(|(_, h)| {
                    h.state == HostState::Ready
                        && h.booked.plus(booking).is_some_and(|sum| sum.within(&h.capacity))
                });
                room.map_or(Ok(()), |(host, _)| {
                    rest(format!("{vm} is to run, {host} has room, and it has no place"))
                })
            }
        }
    }
}

/// What was under a key before a write, as far as invariants ask.
enum Old {
    Life(Option<(Life, u64)>),
    Place(Option<Placement>),
    Host(Option<HostState>),
    Lent(Option<u64>),
    Status(Option<crate::record::Status>),
    Other,
}
