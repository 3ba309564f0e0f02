//! What operators ask: drawn, hasty, sometimes twice, and in whatever state the fleet is.

use super::plan::REGIONS;
use super::world::World;
use crate::command::{At, Command, Request};
use crate::name::VmId;
use crate::record::{Disk, HostState, Life, Nic, Power, Spec, Thing};
use crate::resources::Resources;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

/// Live machines a region's operators are content with.
const CROWD: usize = 7;

impl World {
    /// The next thing that an operator wants.
    pub(super) fn wish(&mut self) -> Option<Command> {
        let region = self.draw(REGIONS as u64) as usize;
        let name = self.regions[region].clone();
        let here = self.judge.mirror.regions.get(&name).map(|r| r.vms.clone()).unwrap_or_default();
        let all: Vec<VmId> = here.values().filter(|v| v.life != Life::Gone).map(|v| v.id).collect();
        let roll = self.draw(100);
        if roll < 22 {
            return (all.len() < CROWD).then(|| self.creation(region));
        }
        if roll < 40 {
            return self.fleet_wish(region);
        }
        let vm = *all.get(self.draw(all.len().max(1) as u64) as usize)?;
        let at = At { region: name, vm };
        Some(match roll {
            40..62 => Command::SetPower { at, power: if self.draw(5) < 3 { Power::On } else { Power::Off } },
            62..70 => Command::Delete { at },
            70..74 => Command::Resize { at, vcpus: 1 + self.draw(3), memory_mib: 256 * (1 + self.draw(4)) },
            74..77 => {
                let set: BTreeMap<_, _> = [("tier".into(), format!("t{}", self.draw(4)))].into();
                Command::Label { at, set, remove: BTreeSet::new() }
            }
            77..88 => {
                // Who wants to move a machine stops it first; some forget.
                let next = (region + 1 + self.draw(REGIONS as u64 - 1) as usize) % REGIONS;
                let off = here
                    .values()
                    .filter(|v| v.spec.power == Power::Off && v.life == Life::Active)
                    .map(|v| v.id);
                let off: Vec<VmId> = off.collect();
                let vm = off
                    .get(self.draw(off.len().max(1) as u64) as usize)
                    .copied()
                    .filter(|_| self.draw(6) > 0);
                let at = At { vm: vm.unwrap_or(at.vm), ..at };
                Command::Move { at, to: self.regions[next].clone() }
            }
            88..96 => Command::Migrate { at, to: None },
            96 => {
                let leaving = here.values().find(|v| matches!(v.life, Life::Leaving { .. })).map(|v| v.id);
                Command::CallBack { at: At { vm: leaving.unwrap_or(at.vm), ..at } }
            }
            _ => Command::StayPut { at },
        })
    }

    /// A creation that is asked in another region under the same number, too.
    pub(super) fn elsewhere(&mut self, request: &Request) -> Option<Request> {
        let Command::Create { region, spec } = &request.command else { return None };
        if self.draw(20) > 0 {
            return None;
        }
        let other = self.regions.iter().find(|r| *r != region)?.clone();
        let name = spec.name.as_str().replacen(region.as_str(), other.as_str(), 1);
        let spec = Spec { name: name.parse().ok()?, ..spec.clone() };
        self.judge.tally.add("one number was asked in two regions");
        Some(Request { key: request.key, command: Command::Create { region: other, spec } })
    }

    fn creation(&mut self, region: usize) -> Command {
        let n = self.draw(40);
        let nics = (0..self.draw(3))
            .map(|i| Nic { name: format!("eth{i}").parse().expect("a name"), family: Default::default() });
        let spec = Spec {
            name: format!("{}-{n}", self.regions[region]).parse().expect("a name"),
            image: "base".parse().expect("a name"),
            vcpus: 1 + self.draw(2),
            memory_mib: 256 * (1 + self.draw(4)),
            disks: vec![Disk { name: "root".parse().expect("a name"), gib: 4 }],
            nics: nics.collect(),
            power: if self.draw(4) > 0 { Power::On } else { Power::Off },
            group: self.group(),
            labels: BTreeMap::new(),
        };
        Command::Create { region: self.regions[region].clone(), spec }
    }
    fn group(&mut self) -> crate::name::Group {
        (if self.draw(2) == 0 { "red" } else { "blue" }).parse().expect("a name")
    }

    fn fleet_wish(&mut self, region: usize) -> Option<Command> {
        let name = self.regions[region].clone();
        match self.draw(10) {
            0..5 => {
                let things: Vec<Thing> =
                    self.judge.mirror.lent.keys().filter(|t| matches!(t, Thing::Block(_))).cloned().collect();
                let thing = things.get(self.draw(things.len().max(1) as u64) as usize)?.clone();
                let holder = self.judge.mirror.lent.get(&thing).and_then(|l| l.to.clone());
                Some(match holder {
                    Some(holder) => Command::Return { thing, region: holder },
                    None => Command::Lend { thing, region: name },
                })
            }
            5..7 => {
                let n = 1 + self.draw(8);
                let right = Resources {
                    vms: n,
                    vcpus: 3 * n,
                    memory_mib: 1024 * n,
                    disk_gib: 8 * n,
                    addresses: 2 * n,
                };
                Some(Command::QuotaShare { group: self.group(), region: name, right })
            }
            _ => {
                let sites: Vec<usize> =
                    (0..self.sites.len()).filter(|h| self.sites[*h].region == region).collect();
                let host = sites[self.draw(sites.len() as u64) as usize];
                let (host, capacity) = (self.sites[host].name.clone(), self.sites[host].capacity);
                let state = self.judge.mirror.regions[&name].hosts.get(&host).map(|h| h.state);
                Some(match (state, self.draw(6)) {
                    (Some(HostState::Lost), _) => {
                        self.judge.tally.add("a lost host joined again");
                        Command::HostJoin { region: name, host, capacity, labels: BTreeMap::new() }
                    }
                    (Some(HostState::Ready), 0) => {
                        Command::HostState { region: name, host, state: HostState::Cordoned }
                    }
                    (Some(HostState::Ready), 1 | 2) => {
                        Command::HostState { region: name, host, state: HostState::Drained }
                    }
                    (Some(HostState::Ready), 3) => {
                        Command::HostState { region: name, host, state: HostState::Lost }
                    }
                    _ => Command::HostState { region: name, host, state: HostState::Ready },
                })
            }
        }
    }
}
