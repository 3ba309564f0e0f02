//! What should be done next in a region, read off the records: the same for whoever looks.
//!
//! Controllers ask this every few seconds and do what it says; several may, in the region or not, since each command is a
//! transaction that only one of them gets through. [`here`] needs the region's store alone, so that a region that is cut off goes on
//! placing, recovering and purging; [`between`] needs the fleet's store, too.

use super::Stop;
use super::desk::Desk;
use super::machine::forgettable;
use super::place::unfit;
use crate::command::{At, Command};
use crate::finding::Finding;
use crate::key::{Key, Scope};
use crate::name::{Group, Region, RequestKey, VmId, VmName};
use crate::planted::{self, Bug};
use crate::record::{
    Held, HeldState, Hold, Host, HostState, Ledger, Lent, Life, NameUse, Owner, Past, Placement, Power,
    RegionRecord, Rights, Vm,
};
use crate::refusal::Refusal;
use crate::time::{absurd, surely_past};
use crate::view::{Fetch, View};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use dwcp_env::{Duration, Now};

/// What is due, and what was found that can't be read: it stops itself alone, and somebody is to be told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// What is to be done.
    pub commands: Vec<Command>,
    /// Records that can't be read, by their keys.
    pub damaged: Vec<Refusal>,
}

fn vms(desk: &mut Desk<'_>, scope: &Scope) -> Result<BTreeMap<VmId, Vm>, Stop> {
    Ok(desk.list::<Vm>(scope, "vm")?.into_iter().map(|(_, vm)| (vm.id, vm)).collect())
}

/// What the region can do by itself; `lease` is for new places.
///
/// # Errors
/// [`Stop`]: what is to be read first, or a record that can't be read.
pub fn here(view: &View, region: &Region, lease: Duration, now: Now) -> Result<Due, Stop> {
    let desk = &mut Desk::new(view, now, RequestKey(0));
    let scope = Scope::Region(region.clone());
    desk.want(["vm", "place", "host", "past"].map(|kind| Fetch::beginning(&Key::all(&scope, kind))))?;
    let places: BTreeMap<Key, Placement> = desk.list::<Placement>(&scope, "place")?.into_iter().collect();
    let hosts = desk.list::<Host>(&scope, "host")?;
    let (lost, drained) = (unfit(&hosts, HostState::Lost), unfit(&hosts, HostState::Drained));
    let mut due = Vec::new();
    for (key, past) in desk.list::<Past>(&scope, "past")? {
        if let (true, Ok(vm)) = (forgettable(&past, now), key.last().parse()) {
            due.push(Command::Forget { at: At { region: region.clone(), vm } });
        }
    }
    for vm in vms(desk, &scope)?.into_values() {
        let at = At { region: region.clone(), vm: vm.id };
        let hold = places.get(&Key::place(region, vm.id)).map_or(&Hold::Vacant, |place| &place.hold);
        match hold {
            Hold::Vacant if vm.life == Life::Deleting => due.push(Command::Purge { at }),
            Hold::Vacant if vm.life == Life::Active && vm.spec.power == Power::On => {
                due.push(Command::Place { at, lease })
            }
            Hold::Vacant => {}
            _ if vm.life == Life::Deleting && planted::is(Bug::PurgedWhilePlaced) => {
                due.push(Command::Purge { at })
            }
            Hold::Held { host, until, .. } | Hold::Handing { host, until, .. }
                if surely_past(*until, now)
                    || absurd(*until, now)
                    || planted::is(Bug::TakenEarly) && lost.contains(host) =>
            {
                due.push(Command::Recover { at });
            }
            Hold::Handing { to, .. } if lost.contains(to) => due.push(Command::StayPut { at }),
            Hold::Held { host, .. }
                if drained.contains(host) && vm.life == Life::Active && vm.spec.power == Power::On =>
            {
                due.push(Command::Migrate { at, to: None });
            }
            Hold::Held { .. } | Hold::Handing { .. } => {}
        }
    }
    Ok(Due { commands: due, damaged: core::mem::take(&mut desk.damaged) })
}

/// What follows in this region from findings, as far as that is safe without a person: machines that are at home elsewhere
/// under a higher epoch are switched off here and kept; nothing more is placed on a host that is over-booked.
///
/// A finding is hearsay: each command is asked only if the region's own records, read behind a barrier, still say what the
/// finding says of them. So one that is old, or a lying clock's, does nothing: an epoch that was ever had elsewhere is higher
/// than this region's only if the machine is not its own any more.
///
/// # Errors
/// As [`here`].
pub fn contested(view: &View, region: &Region, findings: &[Finding], now: Now) -> Result<Due, Stop> {
    let desk = &mut Desk::new(view, now, RequestKey(0));
    let mut due = Vec::new();
    let theirs = |finding: &Finding| match finding {
        Finding::OwnedTwice { vm, quarantine, .. } => {
            quarantine.iter().any(|(r, _)| r == region).then(|| Key::vm(region, *vm))
        }
        Finding::OverCommitted { host, .. } => Some(Key::host(region, host)),
        _ => None,
    };
    desk.want(findings.iter().filter_map(theirs).map(Fetch::One))?;
    let mut damaged = Vec::new();
    for finding in findings.iter().filter(|finding| theirs(finding).is_some()) {
        match yields(desk, region, finding) {
            Ok(command) => due.extend(command),
            // It stops itself alone.
            Err(Stop::Refused(refusal)) => damaged.push(refusal),
            Err(stop) => return Err(stop),
        }
    }
    Ok(Due { commands: due, damaged })
}

/// What a region does about a finding, if its own records bear it out.
fn yields(desk: &mut Desk<'_>, region: &Region, finding: &Finding) -> Result<Option<Command>, Stop> {
    let region = region.clone();
    Ok(match finding {
        Finding::OwnedTwice { vm, keeps: (_, epoch), .. } => {
            let here = desk.get::<Vm>(&Key::vm(&region, *vm))?;
            let yields = |vm: &Vm| vm.life == Life::Active && vm.epoch < *epoch && vm.spec.power == Power::On;
            let at = At { region, vm: *vm };
            here.filter(yields).map(|_| Command::SetPower { at, power: Power::Off })
        }
        Finding::OverCommitted { host, .. } => {
            let here = desk.get::<Host>(&Key::host(&region, host))?;
            let ready = here.filter(|here| here.state == HostState::Ready);
            ready.map(|_| Command::HostState { region, host: host.clone(), state: HostState::Cordoned })
        }
        _ => None,
    })
}

/// What the region has to settle with the fleet.
///
/// # Errors
/// As [`here`].
pub fn between(view: &View, region: &Region, now: Now) -> Result<Due, Stop> {
    let desk = &mut Desk::new(view, now, RequestKey(0));
    let scope = Scope::Region(region.clone());
    let regional =
        ["vm", "name", "block", "prefix", "quota"].map(|kind| Fetch::beginning(&Key::all(&scope, kind)));
    let global =
        ["owner", "block", "prefix", "quota"].map(|kind| Fetch::beginning(&Key::all(&Scope::Global, kind)));
    let record = Key::region(region);
    desk.want(regional.into_iter().chain(global).chain([Fetch::One(record.clone())]))?;
    let vms = vms(desk, &scope)?;
    let mut unsettled: BTreeSet<VmId> = BTreeSet::new();
    unsettled
        .extend(vms.values().filter(|vm| !matches!(vm.life, Life::Active | Life::Deleting)).map(|vm| vm.id));
    let mut alive: BTreeSet<VmId> = BTreeSet::new();
    for (key, owner) in desk.list::<Owner>(&Scope::Global, "owner")? {
        let Ok(vm) = key.last().parse() else { continue };
        if owner.region == *region && !owner.gone && (owner.to.is_some() || !vms.contains_key(&vm)) {
            unsettled.insert(vm);
        }
        if !owner.gone {
            alive.insert(vm);
        }
    }
    let at = |vm| At { region: region.clone(), vm };
    let mut due: Vec<Command> = unsettled.into_iter().map(|vm| Command::Settle { at: at(vm) }).collect();
    if desk.get::<RegionRecord>(&record).is_ok_and(|known| known.is_some_and(|known| !known.open)) {
        due.push(Command::Open { region: region.clone() });
    }
    for (key, used) in desk.list::<NameUse>(&scope, "name")? {
        let gone = !vms.contains_key(&used.vm) && !alive.contains(&used.vm);
        if let (true, Ok(name)) = (gone, key.last().parse::<VmName>()) {
            due.push(Command::ReleaseName { region: region.clone(), name });
        }
    }
    for kind in ["block", "prefix"] {
        let held: BTreeMap<Key, Held> = desk.list::<Held>(&scope, kind)?.into_iter().collect();
        for (key, lent) in desk.list::<Lent>(&Scope::Global, kind)? {
            let (true, Some(thing)) = (lent.to.as_ref() == Some(region), key.thing()) else { continue };
            let region = region.clone();
            match held.get(&Key::held(&region, &thing)) {
                Some(held) if held.epoch == lent.epoch && held.state == HeldState::Active => {}
                Some(held) if held.epoch == lent.epoch => due.push(Command::Return { thing, region }),
                _ => due.push(Command::Lend { thing, region }),
            }
        }
    }
    let rights: BTreeMap<Key, Rights> = desk.list::<Rights>(&scope, "quota")?.into_iter().collect();
    for (key, ledger) in desk.list::<Ledger>(&Scope::Global, "quota")? {
        let (Some(share), Ok(group)) = (ledger.shares.get(region), key.last().parse::<Group>()) else {
            continue;
        };
        let known = rights.get(&Key::rights(region, &group)).copied().unwrap_or_default();
        if known.granted != share.granted || known.returned != share.returned {
            due.push(Command::QuotaSync { group, region: region.clone() });
        }
    }
    Ok(Due { commands: due, damaged: core::mem::take(&mut desk.damaged) })
}
