//! What lies in the stores, decoded as it is committed: the invariants look here, never into a plan.

use crate::cidr::Cidr;
use crate::key::{Key, Scope};
use crate::name::{Group, HostName, Region, VmId, VmName};
use crate::record::{
    AddressUse, Held, Host, Ledger, Lent, NameUse, Owner, Placement, Record, Rights, Status, Thing, Vm,
};
use crate::transaction::Write;
use alloc::collections::BTreeMap;
use alloc::string::String;
use core::net::IpAddr;

/// A region's records.
#[derive(Clone, Debug, Default)]
pub(super) struct Regional {
    pub(super) vms: BTreeMap<VmId, Vm>,
    pub(super) places: BTreeMap<VmId, Placement>,
    pub(super) statuses: BTreeMap<VmId, Status>,
    pub(super) hosts: BTreeMap<HostName, Host>,
    pub(super) things: BTreeMap<Thing, Held>,
    pub(super) rights: BTreeMap<Group, Rights>,
    pub(super) names: BTreeMap<VmName, VmId>,
    pub(super) addresses: BTreeMap<String, VmId>,
}

/// All records.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirror {
    pub(super) regions: BTreeMap<Region, Regional>,
    pub(super) lent: BTreeMap<Thing, Lent>,
    pub(super) ledgers: BTreeMap<Group, Ledger>,
    pub(super) owners: BTreeMap<VmId, Owner>,
}

fn decode<T: Record>(write: &Write) -> Option<T> {
    match write {
        Write::Put(_, bytes) => Some(T::decode(bytes).expect("plans write what they read")),
        Write::Delete(_) => None,
    }
}

fn set<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

fn parsed<T: core::str::FromStr>(key: &Key) -> T {
    key.last().parse().ok().expect("keys are made of names")
}

impl Mirror {
    pub(super) fn apply(&mut self, write: &Write) {
        let key = write.key();
        let kind = kind(key);
        let thing = || key.thing().expect("a block or prefix");
        match key.scope().expect("a key of the fleet's") {
            Scope::Global => match kind {
                "owner" => set(&mut self.owners, parsed(key), decode(write)),
                "block" | "prefix" => set(&mut self.lent, thing(), decode(write)),
                "quota" => set(&mut self.ledgers, parsed(key), decode(write)),
                _ => {}
            },
            Scope::Region(region) => {
                let here = self.regions.entry(region).or_default();
                match kind {
                    "vm" => set(&mut here.vms, parsed(key), decode(write)),
                    "place" => set(&mut here.places, parsed(key), decode(write)),
                    "status" => set(&mut here.statuses, parsed(key), decode(write)),
                    "host" => set(&mut here.hosts, parsed(key), decode(write)),
                    "block" | "prefix" => set(&mut here.things, thing(), decode(write)),
                    "quota" => set(&mut here.rights, parsed(key), decode(write)),
                    "name" => set(&mut here.names, parsed(key), decode::<NameUse>(write).map(|u| u.vm)),
                    "addr" => {
                        let used = decode::<AddressUse>(write).map(|u| u.vm);
                        set(&mut here.addresses, key.last().into(), used);
                    }
                    _ => {}
                }
            }
        }
    }
    /// Whether a region holds a block with this address.
    pub(super) fn holds(&self, region: &Region, ip: IpAddr) -> bool {
        let fits = |block: &Cidr| block.holds(ip);
        self.regions.get(region).is_some_and(|here| {
            here.things.iter().any(|(thing, held)| {
                matches!(thing, Thing::Block(block) if fits(block))
                    && held.state != crate::record::HeldState::Returned
            })
        })
    }
    /// A machine's records, by region.
    pub(super) fn records(&self, vm: VmId) -> impl Iterator<Item = (&Region, &Vm)> {
        self.regions.iter().filter_map(move |(region, here)| Some((region, here.vms.get(&vm)?)))
    }
}

/// The part of a key that says what lies there.
pub(super) fn kind(key: &Key) -> &str {
    let skip = if key.scope() == Some(Scope::Global) { 4 } else { 5 };
    key.as_str().split('/').nth(skip).unwrap_or_default()
}
