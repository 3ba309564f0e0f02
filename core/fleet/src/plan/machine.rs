//! Machines: created, switched, resized, labelled, deleted.
//!
//! Everything a machine needs is taken in the transaction that creates it (name, addresses, rights) and freed in the one
//! that purges it, after it has no place. What lies between changes its record only.

use super::charter::giving;
use super::desk::Desk;
use super::fleet::check_labels;
use super::{Planned, Step, Stop, Then};
use crate::cidr::Cidr;
use crate::command::{Answer, At};
use crate::key::{Key, Scope};
use crate::life::life_may;
use crate::name::{Group, Region, VmId, VmName};
use crate::planted::{self, Bug};
use crate::record::{
    AddressUse, Assigned, Done, Held, HeldState, ImageRecord, Life, NameUse, Owner, PAST_KEPT, Past,
    Placement, Power, Rights, Spec, Thing, Vm,
};
use crate::record::{Hold, Nic};
use crate::refusal::{Code, Refusal};
use crate::resources::Resources;
use crate::time::{lease_end, surely_past};
use crate::view::Fetch;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::Now;

/// The most interfaces of a machine.
pub(super) const NICS_MAX: usize = 8;
/// The most disks of a machine.
const DISKS_MAX: usize = 16;
/// The most virtual processors.
const VCPUS_MAX: u64 = 1024;
/// The most memory: 64 TiB.
const MEMORY_MIB_MAX: u64 = 64 << 20;
/// The largest disk: 64 TiB.
const DISK_GIB_MAX: u64 = 64 << 10;

fn invalid(at: impl core::fmt::Display, what: impl Into<String>, remedy: impl Into<String>) -> Refusal {
    Refusal::new(Code::Invalid, at, what, remedy)
}

fn check_size(vcpus: u64, memory_mib: u64) -> Result<(), Refusal> {
    if !(1..=VCPUS_MAX).contains(&vcpus) {
        return Err(invalid(
            "vcpus",
            format!("{vcpus} virtual processors"),
            format!("from 1 to {VCPUS_MAX}"),
        ));
    }
    if !(1..=MEMORY_MIB_MAX).contains(&memory_mib) {
        return Err(invalid(
            "memory_mib",
            format!("{memory_mib} MiB of memory"),
            format!("from 1 to {MEMORY_MIB_MAX}"),
        ));
    }
    Ok(())
}

/// A specification from outside.
fn check_spec(spec: &Spec) -> Result<(), Refusal> {
    check_size(spec.vcpus, spec.memory_mib)?;
    check_labels(&spec.labels)?;
    if spec.disks.len() > DISKS_MAX {
        return Err(invalid("disks", format!("{} disks", spec.disks.len()), format!("at most {DISKS_MAX}")));
    }
    if spec.nics.len() > NICS_MAX {
        return Err(invalid(
            "nics",
            format!("{} interfaces", spec.nics.len()),
            format!("at most {NICS_MAX}"),
        ));
    }
    if let Some((i, d)) = spec.disks.iter().enumerate().find(|(_, d)| !(1..=DISK_GIB_MAX).contains(&d.gib)) {
        return Err(invalid(
            format_args!("disks/{i}/gib"),
            format!("{} GiB", d.gib),
            format!("from 1 to {DISK_GIB_MAX}"),
        ));
    }
    let mut seen = BTreeSet::new();
    let disks = spec.disks.iter().map(|d| &d.name).enumerate().map(|(i, n)| ("disks", i, n));
    let nics = spec.nics.iter().map(|n| &n.name).enumerate().map(|(i, n)| ("nics", i, n));
    for (kind, i, name) in disks.chain(nics) {
        if !seen.insert((kind, name)) {
            let what = format!("{name} is there twice");
            return Err(invalid(
                format_args!("{kind}/{i}/name"),
                what,
                "names of parts are unique in a machine",
            ));
        }
    }
    Ok(())
}

/// What a group's machines use of its rights in a region changes.
fn account(
    desk: &mut Desk<'_>,
    region: &Region,
    group: &Group,
    change: impl FnOnce(&Rights) -> Result<Resources, Refusal>,
) -> Result<(), Stop> {
    let key = Key::rights(region, group);
    let rights = desk.get::<Rights>(&key)?.unwrap_or_default();
    let used = change(&rights)?;
    desk.put(key, &Rights { used, ..rights });
    Ok(())
}

/// Books a machine's charge on its group's rights, or refuses.
pub(super) fn charge(
    desk: &mut Desk<'_>,
    region: &Region,
    group: &Group,
    amount: &Resources,
) -> Result<(), Stop> {
    account(desk, region, group, |rights| {
        let used = rights.used.plus(amount).unwrap_or(Resources { vms: u64::MAX, ..Resources::NONE });
        used.lacking(&rights.limit()).map_or(Ok(used), |(part, asked, there)| {
            let what =
                format!("{asked} {part} would be in use in {region}, the group's share there is {there}");
            let remedy = "raise its share (dwcp quota share), or choose another region";
            Err(Refusal::new(Code::QuotaExceeded, format_args!("group {group}"), what, remedy))
        })
    })
}

/// Takes a charge back.
pub(super) fn discharge(
    desk: &mut Desk<'_>,
    region: &Region,
    group: &Group,
    amount: &Resources,
) -> Result<(), Stop> {
    account(desk, region, group, |rights| Ok(rights.used.beyond(amount)))
}

/// Gives each interface a free address of a block that the region holds.
///
/// Each block counts its uses, so that only blocks are looked into in which one is free, however many are full. Where in a
/// block the search begins, and in which, is drawn from the machine's number: machines that are created at the same time
/// seldom want the same address.
pub(super) fn allocate(
    desk: &mut Desk<'_>,
    region: &Region,
    vm: VmId,
    nics: &[Nic],
) -> Result<Vec<Assigned>, Stop> {
    if nics.is_empty() {
        return Ok(Vec::new());
    }
    let usable = |state: HeldState| state == HeldState::Active || planted::is(Bug::AllocatorOutsideBlock);
    let room = |held: &Held, block: &Cidr| u128::from(held.used) < block.size();
    let blocks: Vec<Cidr> = desk
        .list::<Held>(&Scope::Region(region.clone()), "block")?
        .into_iter()
        .filter_map(|(key, held)| match key.thing()? {
            Thing::Block(block) if usable(held.state) && room(&held, &block) => Some(block),
            Thing::Block(_) | Thing::Prefix(_) => None,
        })
        .collect();
    let mut given: Vec<Assigned> = Vec::new();
    for (i, nic) in nics.iter().enumerate() {
        let fit: Vec<Cidr> = blocks.iter().copied().filter(|block| block.family() == nic.family).collect();
        let begin = (vm.0 >> 64) as usize % fit.len().max(1);
        let mut found = None;
        for block in fit[begin..].iter().chain(&fit[..begin]) {
            found = address_of(desk, region, vm, block, &given)?;
            if found.is_some() {
                break;
            }
        }
        let Some(assigned) = found else {
            let what = format!("{region} has no free {:?} address in its blocks", nic.family).to_lowercase();
            let remedy = "lend it another block: dwcp address lend";
            return Err(Refusal::new(Code::NoAddress, format_args!("nics/{i}"), what, remedy).into());
        };
        given.push(assigned);
    }
    Ok(given)
}

/// Takes a free address of a block, if there is one. Both are checked at commit: that the block is still to be given of,
/// and that the address is still free.
fn address_of(
    desk: &mut Desk<'_>,
    region: &Region,
    vm: VmId,
    block: &Cidr,
    given: &[Assigned],
) -> Result<Option<Assigned>, Stop> {
    let (thing, size) = (Thing::Block(*block), block.size());
    let key = Key::held(region, &thing);
    let Some(mut held) = desk.get::<Held>(&key)?.filter(|held| u128::from(held.used) < size) else {
        return Ok(None);
    };
    let (first, end) = Key::uses(region, &thing);
    let taken: BTreeSet<Key> = desk.keys(&first, &end)?.into_iter().collect();
    let begin = (vm.0 ^ (vm.0 >> 64)) % size;
    let free = (0..size)
        .filter_map(|i| block.at((begin + i) % size))
        .find(|ip| !taken.contains(&Key::address(region, *ip)) && given.iter().all(|a| a.ip != *ip));
    let Some(ip) = free else { return Ok(None) };
    let used = Key::address(region, ip);
    desk.get::<AddressUse>(&used)?;
    desk.put(used, &AddressUse { vm });
    held.used += 1;
    desk.put(key, &held);
    Ok(Some(Assigned { ip, block: *block, epoch: held.epoch }))
}

/// Frees a machine's addresses, those that are still its own.
pub(super) fn free(desk: &mut Desk<'_>, region: &Region, vm: &Vm) -> Result<(), Stop> {
    for assigned in &vm.addresses {
        let key = Key::address(region, assigned.ip);
        if desk.get::<AddressUse>(&key)?.is_none_or(|used| used.vm != vm.id) {
            continue;
        }
        desk.remove(key);
        let block = Key::held(region, &Thing::Block(assigned.block));
        if let Some(held) = desk.get::<Held>(&block)? {
            desk.put(block, &Held { used: held.used.saturating_sub(1), ..held });
        }
    }
    Ok(())
}

/// An image that hosts of the region can start from.
pub(super) fn image_there(desk: &mut Desk<'_>, region: &Region, spec: &Spec) -> Result<(), Stop> {
    if desk.get::<ImageRecord>(&Key::image(region, &spec.image))?.is_some() {
        return Ok(());
    }
    let what = format!("{region} has no image {}", spec.image);
    Err(Refusal::new(Code::NoImage, "image", what, "add it: dwcp region image").into())
}

/// Takes a name for a machine. `ours`: the region must hold a prefix of it.
pub(super) fn take_name(
    desk: &mut Desk<'_>,
    region: &Region,
    vm: VmId,
    name: &VmName,
    ours: bool,
) -> Result<(), Stop> {
    if ours {
        let held = desk.list::<Held>(&Scope::Region(region.clone()), "prefix")?;
        let fits = held
            .into_iter()
            .find(|(key, held)| held.state == HeldState::Active && name.as_str().starts_with(key.last()));
        let Some((key, _)) = fits else {
            let what = format!("{region} holds no prefix that {name} begins with");
            let remedy = "choose a name with one of its prefixes (dwcp region show), or lend it one";
            return Err(Refusal::new(Code::NoPrefix, "name", what, remedy).into());
        };
        desk.get::<Held>(&key)?;
    }
    let key = Key::name(region, name);
    if let Some(used) = desk.get::<NameUse>(&key)?
        && used.vm != vm
    {
        let what = format!("{name} is the name of machine {}", used.vm);
        return Err(Refusal::new(Code::NameTaken, "name", what, "choose another").into());
    }
    desk.put(key, &NameUse { vm });
    Ok(())
}

pub(super) fn create(desk: &mut Desk<'_>, region: &Region, spec: &Spec) -> Planned {
    check_spec(spec)?;
    let id = VmId::born(region, desk.key);
    let at = At { region: region.clone(), vm: id };
    let key = Key::vm(region, id);
    let (past, rights) = (Key::past(region, id), Key::rights(region, &spec.group));
    let (image, name) = (Key::image(region, &spec.image), Key::name(region, &spec.name));
    let ones = [key.clone(), past.clone(), image, rights, name, Key::charter(region)];
    let scope = Scope::Region(region.clone());
    let ranges = [Key::all(&scope, "block"), Key::all(&scope, "prefix")];
    desk.want(ones.map(Fetch::One).into_iter().chain(ranges.iter().map(Fetch::beginning)))?;
    if let Some(there) = desk.get::<Vm>(&key)? {
        return Ok(Step::Done(Answer::Vm { at, generation: there.generation }));
    }
    if desk.get::<Past>(&past)?.is_some() && !planted::is(Bug::CreatedAgain) {
        let what = "this request has created the machine, which was deleted or has moved since";
        return Err(Refusal::new(Code::Exists, id, what, "ask for another under a number of its own").into());
    }
    giving(desk, region)?;
    image_there(desk, region, spec)?;
    take_name(desk, region, id, &spec.name, true)?;
    let charged = spec.charge();
    charge(desk, region, &spec.group, &charged)?;
    let addresses = allocate(desk, region, id, &spec.nics)?;
    let vm = Vm {
        id,
        birth: region.clone(),
        epoch: 1,
        life: Life::Active,
        generation: 1,
        spec: spec.clone(),
        addresses,
        charged,
        done: Done::default(),
        created: desk.now.wall,
    };
    desk.put(key, &vm);
    desk.put(Key::place(region, id), &Placement { epoch: 0, hold: Hold::Vacant });
    desk.commit(scope, Then::Answer(Answer::Vm { at, generation: 1 }))
}

/// A machine that is at home here.
pub(super) fn machine(desk: &mut Desk<'_>, at: &At) -> Result<Vm, Stop> {
    match desk.get::<Vm>(&Key::vm(&at.region, at.vm))? {
        Some(vm) if vm.life != Life::Gone => Ok(vm),
        _ => {
            let what = format!("{} has no such machine", at.region);
            let remedy = "it may have been deleted or moved: dwcp vm list shows those there are";
            Err(Refusal::new(Code::NotFound, at.vm, what, remedy).into())
        }
    }
}

pub(super) fn bad_state(vm: &Vm, what: impl Into<String>, remedy: impl Into<String>) -> Stop {
    Refusal::new(Code::BadState, &vm.spec.name, what, remedy).into()
}

/// The place of a machine; a machine without one has none yet.
pub(super) fn placement(desk: &mut Desk<'_>, at: &At) -> Result<Placement, Stop> {
    let place = desk.get::<Placement>(&Key::place(&at.region, at.vm))?;
    Ok(place.unwrap_or(Placement { epoch: 0, hold: Hold::Vacant }))
}

/// Changes a machine's record once for each request.
fn change(
    desk: &mut Desk<'_>,
    at: &At,
    apply: impl FnOnce(&mut Desk<'_>, &mut Vm) -> Result<(), Stop>,
) -> Planned {
    let mut vm = machine(desk, at)?;
    let so = |vm: &Vm| Answer::Vm { at: at.clone(), generation: vm.generation };
    if vm.done.has(desk.key) && !planted::is(Bug::DoneTwice) {
        return Ok(Step::Done(so(&vm)));
    }
    let before = vm.clone();
    apply(desk, &mut vm)?;
    assert!(life_may(Some(&before.life), Some(&vm.life)), "plans keep to the table");
    // What found it so already is remembered, too: asked again it must not undo what came after.
    if vm != before {
        vm.generation += 1;
    }
    vm.done.add(desk.key);
    let answer = so(&vm);
    desk.put(Key::vm(&at.region, at.vm), &vm);
    desk.commit(Scope::Region(at.region.clone()), Then::Answer(answer))
}

pub(super) fn at_home(vm: &Vm) -> Result<(), Stop> {
    match &vm.life {
        Life::Active => Ok(()),
        Life::Deleting | Life::Gone => Err(bad_state(vm, "the machine is being deleted", "create another")),
        Life::Leaving { to } => Err(bad_state(
            vm,
            format!("the machine is moving to {to}"),
            format!("ask {to} when it has arrived"),
        )),
        Life::Arriving { from } => Err(bad_state(
            vm,
            format!("the machine is moving here from {from}"),
            "ask again when it has arrived",
        )),
    }
}

pub(super) fn set_power(desk: &mut Desk<'_>, at: &At, power: Power) -> Planned {
    change(desk, at, |_, vm| {
        at_home(vm)?;
        vm.spec.power = power;
        Ok(())
    })
}

pub(super) fn resize(desk: &mut Desk<'_>, at: &At, vcpus: u64, memory_mib: u64) -> Planned {
    check_size(vcpus, memory_mib)?;
    change(desk, at, |desk, vm| {
        at_home(vm)?;
        if vm.spec.vcpus == vcpus && vm.spec.memory_mib == memory_mib {
            return Ok(());
        }
        if !placement(desk, at)?.is_vacant() {
            return Err(bad_state(vm, "the machine has a place on a host", "stop it first: dwcp vm stop"));
        }
        vm.spec.vcpus = vcpus;
        vm.spec.memory_mib = memory_mib;
        discharge(desk, &at.region, &vm.spec.group, &vm.charged)?;
        vm.charged = vm.spec.charge();
        charge(desk, &at.region, &vm.spec.group, &vm.charged)
    })
}

pub(super) fn label(
    desk: &mut Desk<'_>,
    at: &At,
    set: &BTreeMap<String, String>,
    remove: &BTreeSet<String>,
) -> Planned {
    check_labels(set)?;
    change(desk, at, |_, vm| {
        at_home(vm)?;
        vm.spec.labels.retain(|key, _| !remove.contains(key));
        vm.spec.labels.extend(set.clone());
        check_labels(&vm.spec.labels)?;
        Ok(())
    })
}

pub(super) fn delete(desk: &mut Desk<'_>, at: &At) -> Planned {
    change(desk, at, |desk, vm| {
        if vm.life == Life::Deleting {
            return Ok(());
        }
        at_home(vm)?;
        vm.life = Life::Deleting;
        vm.spec.power = Power::Off;
        if planted::is(Bug::DeleteFreesFirst) {
            free(desk, &at.region, vm)?;
        }
        Ok(())
    })
}

pub(super) fn purge(desk: &mut Desk<'_>, at: &At) -> Planned {
    let key = Key::vm(&at.region, at.vm);
    let Some(mut vm) = desk.get::<Vm>(&key)? else { return Ok(Step::Done(Answer::Done)) };
    match vm.life {
        Life::Gone => return Ok(Step::Done(Answer::Done)),
        Life::Deleting => {}
        _ => {
            return Err(bad_state(
                &vm,
                "the machine is not being deleted",
                "delete it first: dwcp vm delete",
            ));
        }
    }
    if !placement(desk, at)?.is_vacant() && !planted::is(Bug::PurgedWhilePlaced) {
        return Err(
            Refusal::new(Code::NotYet, &vm.spec.name, "its host has not stopped it yet", "wait").into()
        );
    }
    clear(desk, &at.region, &vm)?;
    let name = Key::name(&at.region, &vm.spec.name);
    if desk.get::<NameUse>(&name)?.is_some_and(|used| used.vm == vm.id) {
        desk.remove(name);
    }
    // A machine that may have moved has an owner record, which must learn of its end before this one goes.
    if vm.epoch == 1 {
        desk.remove(key);
    } else {
        vm.life = Life::Gone;
        vm.addresses.clear();
        vm.charged = Resources::NONE;
        desk.put(key, &vm);
    }
    desk.commit(Scope::Region(at.region.clone()), Then::Answer(Answer::Done))
}

/// Takes back what a machine has in a region, save its record and its name.
pub(super) fn clear(desk: &mut Desk<'_>, region: &Region, vm: &Vm) -> Result<(), Stop> {
    free(desk, region, vm)?;
    discharge(desk, region, &vm.spec.group, &vm.charged)?;
    desk.remove(Key::place(region, vm.id));
    desk.remove(Key::status(region, vm.id));
    if vm.birth == *region {
        desk.put(Key::past(region, vm.id), &Past { since: desk.now.wall });
    }
    Ok(())
}

/// Whether a number that was used may be forgotten.
pub(super) fn forgettable(past: &Past, now: Now) -> bool {
    surely_past(lease_end(Now { wall: past.since, ..now }, PAST_KEPT), now)
}

pub(super) fn forget(desk: &mut Desk<'_>, at: &At) -> Planned {
    let key = Key::past(&at.region, at.vm);
    match desk.get::<Past>(&key)? {
        Some(past) if forgettable(&past, desk.now) => {
            desk.remove(key);
            desk.commit(Scope::Region(at.region.clone()), Then::Answer(Answer::Done))
        }
        _ => Ok(Step::Done(Answer::Done)),
    }
}

pub(super) fn release_name(desk: &mut Desk<'_>, region: &Region, name: &VmName) -> Planned {
    let key = Key::name(region, name);
    let Some(used) = desk.get::<NameUse>(&key)? else { return Ok(Step::Done(Answer::Done)) };
    if desk.get::<Vm>(&Key::vm(region, used.vm))?.is_some() {
        return Ok(Step::Done(Answer::Done));
    }
    // `gone` stays; and a machine without an owner record never left the region of its birth, where name and record go together.
    if desk.get::<Owner>(&Key::owner(used.vm))?.is_some_and(|owner| !owner.gone) {
        return Ok(Step::Done(Answer::Done));
    }
    desk.remove(key);
    desk.commit(Scope::Region(region.clone()), Then::Answer(Answer::Done))
}
