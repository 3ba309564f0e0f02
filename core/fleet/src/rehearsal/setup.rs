//! The fleet as it is before anything goes wrong: small, so that everything runs short.

use super::host::Site;
use super::plan::REGIONS;
use super::world::World;
use crate::command::Command;
use crate::record::{RegionState, Thing};
use crate::resources::Resources;
use alloc::collections::BTreeMap;
use alloc::format;

fn thing(text: &str) -> Thing {
    text.parse().expect("a block or prefix")
}

pub(super) fn fill(world: &mut World) {
    for region in world.regions.clone() {
        world.prepare(Command::Region { region: region.clone(), state: RegionState::Active });
        world.prepare(Command::ImageSet {
            region: region.clone(),
            image: "base".parse().expect("a name"),
            source: Some("/images/base".into()),
        });
        let prefix: crate::name::Prefix = format!("{region}-").parse().expect("a prefix");
        world.prepare(Command::PrefixAdd { prefix: prefix.clone() });
        world.prepare(Command::Lend { thing: Thing::Prefix(prefix), region });
    }
    world.prepare(Command::BlockAdd { block: "10.0.0.0/26".parse().expect("a block") });
    world.prepare(Command::BlockSplit { block: "10.0.0.0/26".parse().expect("a block"), length: 30 });
    for (i, region) in world.regions.clone().into_iter().enumerate() {
        for part in 0..2 {
            let block = thing(&format!("10.0.0.{}/30", (2 * i + part) * 4));
            world.prepare(Command::Lend { thing: block, region: region.clone() });
        }
    }
    let total = Resources { vms: 14, vcpus: 40, memory_mib: 16 * 1024, disk_gib: 120, addresses: 24 };
    let right = Resources { vms: 4, vcpus: 10, memory_mib: 4 * 1024, disk_gib: 32, addresses: 7 };
    for group in ["red", "blue"] {
        let group: crate::name::Group = group.parse().expect("a name");
        world.prepare(Command::QuotaTotal { group: group.clone(), total });
        for region in world.regions.clone() {
            world.prepare(Command::QuotaShare { group: group.clone(), region, right });
        }
    }
    let mut count = [0; REGIONS];
    for region in world.plan.hosts.clone() {
        count[region] += 1;
        let host: crate::name::HostName =
            format!("{}-h{}", world.regions[region], count[region]).parse().expect("a name");
        let capacity = Resources { vms: 3, vcpus: 6, memory_mib: 3 * 1024, disk_gib: 0, addresses: 0 };
        let command = Command::HostJoin {
            region: world.regions[region].clone(),
            host: host.clone(),
            capacity,
            labels: BTreeMap::new(),
        };
        world.prepare(command);
        world.sites.push(Site::new(host, region, capacity));
    }
    for twin in world.plan.twins.clone() {
        let Site { name, region, capacity, .. } = &world.sites[twin];
        let twin = Site::new(name.clone(), *region, *capacity);
        world.sites.push(twin);
    }
}
