//! A machine moves between regions A → B: one ownership, handed over in two phases over three stores.
//!
//! | step | store | from | to | what it rests on elsewhere |
//! |---|---|---|---|---|
//! | begin | fleet | owner A, epoch e | A → B, e | A's record: advice only |
//! | leave | A | `Active`, no place, power off | `Leaving` | owner A → B |
//! | arrive | B | no record | `Arriving`, e + 1: name, addresses, rights taken | A `Leaving` |
//! | **commit** | fleet | A → B, e | owner B, e + 1 | B `Arriving` at e + 1 |
//! | settle in | B | `Arriving` | `Active` | owner B, e + 1 |
//! | clear out | A | `Leaving` | no record; the name stays, if it was born here | owner elsewhere, or above e |
//! | *call back* | fleet | A → B, e | owner A, e + 2 | – |
//! | stay | A | `Leaving` | `Active` | owner A, above e |
//! | turn away | B | `Arriving` | no record | owner's epoch past it, or gone |
//!
//! **Why this holds.** The commit compares the owner record, so that of commit and call-back one wins. What the commit read at B
//! is stable: `Arriving` at e + 1 goes only after the owner record has changed. What `leave` and `arrive` read may be
//! called back before they commit; what they then wrote has an epoch that the owner record has passed, by which everyone knows it
//! for a leftover. The machine can start at A only while `Active` there, at B only once `Active` there: never both.
//!
//! A machine without an owner record belongs to where it was born, under epoch 1. The placement's fencing epoch travels
//! with it, since storage may be one for both regions.

use super::charter::{chartered, giving};
use super::desk::Desk;
use super::fleet::active;
use super::machine::{allocate, bad_state, charge, clear, image_there, placement, take_name};
use super::place::unbook_all;
use super::{Planned, Step, Stop, Then};
use crate::command::{Answer, At};
use crate::key::{Key, Scope};
use crate::life::life_may;
use crate::name::Region;
use crate::planted::{self, Bug};
use crate::record::{Done, Hold, Life, NameUse, Owner, Placement, Power, Vm};
use crate::refusal::{Code, Refusal};
use crate::view::Fetch;
use alloc::format;

fn set_life(desk: &mut Desk<'_>, region: &Region, vm: &Vm, life: Life, epoch: u64, then: Then) -> Planned {
    assert!(life_may(Some(&vm.life), Some(&life)), "plans keep to the table");
    desk.put(Key::vm(region, vm.id), &Vm { life, epoch, ..vm.clone() });
    desk.commit(Scope::Region(region.clone()), then)
}

fn set_owner(desk: &mut Desk<'_>, vm: crate::name::VmId, owner: &Owner, then: Then) -> Planned {
    desk.put(Key::owner(vm), owner);
    desk.commit(Scope::Global, then)
}

/// The record of a machine that is at home elsewhere goes, with all it has here. Its name stays where it was given.
fn clear_out(desk: &mut Desk<'_>, region: &Region, vm: &Vm) -> Planned {
    assert!(life_may(Some(&vm.life), None), "plans keep to the table");
    // What leaves has no place, unless a restored store has brought one back.
    let place = placement(desk, &At { region: region.clone(), vm: vm.id })?;
    unbook_all(desk, region, &place.hold)?;
    clear(desk, region, vm)?;
    desk.remove(Key::vm(region, vm.id));
    let name = Key::name(region, &vm.spec.name);
    if vm.birth != *region && desk.get::<NameUse>(&name)?.is_some_and(|used| used.vm == vm.id) {
        desk.remove(name);
    }
    desk.commit(Scope::Region(region.clone()), Then::Again)
}

/// Whether a machine could leave now.
fn may_leave(desk: &mut Desk<'_>, at: &At, vm: &Vm) -> Result<(), Stop> {
    match &vm.life {
        Life::Active => {}
        Life::Deleting | Life::Gone => {
            return Err(bad_state(vm, "the machine is being deleted", "create another"));
        }
        Life::Leaving { .. } | Life::Arriving { .. } => {
            return Err(bad_state(vm, "the machine is moving already", "wait until it has arrived"));
        }
    }
    let place = placement(desk, at)?;
    if planted::is(Bug::LeaveWhileRunning) {
        return Ok(());
    }
    if vm.spec.power == Power::On {
        return Err(bad_state(vm, "the machine is to run", "stop it first: dwcp vm stop"));
    }
    if !place.is_vacant() {
        return Err(bad_state(vm, "its host has not stopped it yet", "wait until it has stopped"));
    }
    Ok(())
}

fn elsewhere(at: &At, owner: &Owner) -> Stop {
    let what = match &owner.to {
        Some(to) => format!("it is being moved from {} to {to}", owner.region),
        None => format!("it is at home in {}", owner.region),
    };
    Refusal::new(Code::BadState, at.vm, what, "ask for the move from where it is, when it has arrived").into()
}

fn gone(at: &At) -> Stop {
    Refusal::new(Code::NotFound, at.vm, "the machine was deleted", "create another").into()
}

pub(super) fn moving(desk: &mut Desk<'_>, at: &At, to: &Region) -> Planned {
    let (from, id) = (&at.region, at.vm);
    if from == to {
        return Err(
            Refusal::new(Code::Invalid, "to", format!("{to} is where it is"), "name another region").into()
        );
    }
    desk.want([Key::owner(id), Key::vm(from, id), Key::vm(to, id), Key::place(from, id)].map(Fetch::One))?;
    let a = desk.get::<Vm>(&Key::vm(from, id))?;
    let b = desk.get::<Vm>(&Key::vm(to, id))?;
    let known = desk.get::<Owner>(&Key::owner(id))?;
    let native = || a.as_ref().filter(|vm| vm.birth == *from).map(|vm| vm.epoch);
    let owner = match known {
        Some(owner) => owner,
        None => match native() {
            Some(epoch) => {
                Owner { region: from.clone(), epoch, to: None, done: Done::default(), gone: false }
            }
            None => return Err(gone(at)),
        },
    };
    if owner.gone {
        return Err(gone(at));
    }
    if owner.region == *to && owner.to.is_none() {
        return arrived(desk, at, to, &owner, a, b);
    }
    if owner.region != *from || owner.to.as_ref().is_some_and(|t| t != to) {
        return Err(elsewhere(at, &owner));
    }
    let Some(a) = a else {
        // Owned here and no record: it was deleted before it left, and no record of it will come back.
        return set_owner(desk, id, &Owner { gone: true, to: None, ..owner }, Then::Again);
    };
    // Leftovers of an earlier handover first.
    if matches!(a.life, Life::Leaving { .. }) && a.epoch < owner.epoch {
        return set_life(desk, from, &a, Life::Active, owner.epoch, Then::Again);
    }
    if matches!(a.life, Life::Arriving { .. }) && a.epoch == owner.epoch {
        return set_life(desk, from, &a, Life::Active, owner.epoch, Then::Again);
    }
    match &b {
        Some(b)
            if b.epoch <= owner.epoch && matches!(b.life, Life::Arriving { .. } | Life::Leaving { .. }) =>
        {
            return clear_out(desk, to, b);
        }
        _ => {}
    }
    if owner.to.is_none() {
        if owner.done.has(desk.key) {
            let what =
                format!("the move to {to} was called back, or has ended and the machine has moved since");
            return Err(bad_state(&a, what, "see what stood in its way (dwcp vm show), then ask anew"));
        }
        active(desk, to)?;
        may_leave(desk, at, &a)?;
        let mut begun = Owner { to: Some(to.clone()), ..owner };
        begun.done.add(desk.key);
        return set_owner(desk, id, &begun, Then::Again);
    }
    hand_over(desk, at, to, owner, a, b)
}

/// From begun to committed; what stands in the way calls the handover back.
fn hand_over(desk: &mut Desk<'_>, at: &At, to: &Region, owner: Owner, a: Vm, b: Option<Vm>) -> Planned {
    let (from, id) = (&at.region, at.vm);
    let call_back = |desk: &mut Desk<'_>, owner: Owner, stop: Stop| match stop {
        Stop::Want(_) => Err(stop),
        Stop::Refused(refusal) => {
            desk.abandon();
            let back = Owner { epoch: owner.epoch + 2, to: None, ..owner };
            set_owner(desk, id, &back, Then::Refuse(refusal))
        }
    };
    if a.life == (Life::Leaving { to: to.clone() }) && a.epoch == owner.epoch {
        return match b {
            None => match arrive(desk, at, to, &owner, &a) {
                Ok(step) => Ok(step),
                Err(stop) => call_back(desk, owner, stop),
            },
            Some(b) if b.epoch == owner.epoch + 1 && matches!(b.life, Life::Arriving { .. }) => {
                let next = Owner { region: to.clone(), epoch: owner.epoch + 1, to: None, ..owner };
                set_owner(desk, id, &next, Then::Again)
            }
            Some(_) => {
                let refusal = Refusal::new(
                    Code::Exists,
                    to,
                    "another record of the machine is there",
                    "look at it: dwcp vm show",
                );
                call_back(desk, owner, refusal.into())
            }
        };
    }
    match may_leave(desk, at, &a) {
        Ok(()) => set_life(desk, from, &a, Life::Leaving { to: to.clone() }, owner.epoch, Then::Again),
        Err(stop) => call_back(desk, owner, stop),
    }
}

/// The machine's record at its new home: everything it needs there is taken now, or the handover is called back.
fn arrive(desk: &mut Desk<'_>, at: &At, to: &Region, owner: &Owner, a: &Vm) -> Planned {
    let place = placement(desk, at)?;
    // What the region that it leaves may have given and forgotten stays below.
    let floor = chartered(desk, &at.region)?.floor();
    giving(desk, to)?;
    image_there(desk, to, &a.spec)?;
    take_name(desk, to, at.vm, &a.spec.name, false)?;
    charge(desk, to, &a.spec.group, &a.charged)?;
    let addresses = allocate(desk, to, at.vm, &a.spec.nics)?;
    let life = Life::Arriving { from: at.region.clone() };
    let vm = Vm { life, epoch: owner.epoch + 1, addresses, ..a.clone() };
    desk.put(Key::vm(to, at.vm), &vm);
    desk.put(Key::place(to, at.vm), &Placement { epoch: place.epoch.max(floor), hold: Hold::Vacant });
    desk.commit(Scope::Region(to.clone()), Then::Again)
}

/// Committed: both sides tidy up.
fn arrived(
    desk: &mut Desk<'_>,
    at: &At,
    to: &Region,
    owner: &Owner,
    a: Option<Vm>,
    b: Option<Vm>,
) -> Planned {
    if let Some(b) = &b
        && matches!(b.life, Life::Arriving { .. })
        && b.epoch == owner.epoch
    {
        return set_life(desk, to, b, Life::Active, owner.epoch, Then::Again);
    }
    if let Some(a) = &a
        && matches!(a.life, Life::Leaving { .. } | Life::Arriving { .. })
        && a.epoch < owner.epoch
    {
        return clear_out(desk, &at.region, a);
    }
    let generation = b.map_or(0, |vm| vm.generation);
    Ok(Step::Done(Answer::Vm { at: At { region: to.clone(), vm: at.vm }, generation }))
}

/// A handover that is not committed ends where it began; what it has left behind is settled by its region.
pub(super) fn call_back(desk: &mut Desk<'_>, at: &At) -> Planned {
    let owner = desk.get::<Owner>(&Key::owner(at.vm))?;
    match owner {
        Some(owner) if owner.gone => Err(gone(at)),
        Some(owner) if owner.region != at.region => Err(elsewhere(at, &owner)),
        Some(owner) if owner.to.is_some() && !owner.done.has(desk.key) => {
            let mut back = Owner { epoch: owner.epoch + 2, to: None, ..owner };
            back.done.add(desk.key);
            set_owner(desk, at.vm, &back, Then::Answer(Answer::Done))
        }
        _ => Ok(Step::Done(Answer::Done)),
    }
}

pub(super) fn settle(desk: &mut Desk<'_>, at: &At) -> Planned {
    let (here, id) = (&at.region, at.vm);
    desk.want([Key::owner(id), Key::vm(here, id)].map(Fetch::One))?;
    let vm = desk.get::<Vm>(&Key::vm(here, id))?;
    let owner = desk.get::<Owner>(&Key::owner(id))?;
    let at_rest = Ok(Step::Done(Answer::Done));
    let Some(vm) = vm else {
        return match owner {
            Some(owner) if owner.region == *here && !owner.gone => {
                // Only a record that was here could have been deleted, and none of it comes back.
                set_owner(desk, id, &Owner { gone: true, to: None, ..owner }, Then::Again)
            }
            _ => at_rest,
        };
    };
    let mine = owner.as_ref().filter(|o| o.region == *here && !o.gone);
    match (&vm.life, &owner) {
        // Gone at home, or a restored store's leftover of a machine that is at home elsewhere.
        (Life::Gone, Some(owner)) if owner.gone || owner.region != *here => {
            desk.remove(Key::vm(here, id));
            desk.commit(Scope::Region(here.clone()), Then::Again)
        }
        (Life::Gone, Some(owner)) if owner.region == *here => {
            set_owner(desk, id, &Owner { gone: true, to: None, ..owner.clone() }, Then::Again)
        }
        (Life::Active | Life::Leaving { .. }, Some(Owner { to: Some(to), .. })) if mine.is_some() => {
            moving(desk, at, &to.clone())
        }
        (Life::Leaving { .. }, Some(owner)) if mine.is_some() && owner.epoch > vm.epoch => {
            set_life(desk, here, &vm, Life::Active, owner.epoch, Then::Again)
        }
        (Life::Leaving { .. }, Some(owner)) if owner.gone || owner.epoch > vm.epoch => {
            clear_out(desk, here, &vm)
        }
        (Life::Arriving { .. }, Some(owner)) if mine.is_some() && owner.epoch == vm.epoch => {
            set_life(desk, here, &vm, Life::Active, owner.epoch, Then::Again)
        }
        (Life::Arriving { .. }, Some(owner))
            if !owner.gone && owner.to.as_ref() == Some(here) && owner.epoch + 1 == vm.epoch =>
        {
            moving(desk, &At { region: owner.region.clone(), vm: id }, here)
        }
        (Life::Arriving { .. }, owner)
            if owner.as_ref().is_none_or(|o| o.gone || o.epoch >= vm.epoch || o.to.is_none()) =>
        {
            if planted::is(Bug::CallBackIgnored) {
                return set_life(desk, here, &vm, Life::Active, vm.epoch, Then::Again);
            }
            clear_out(desk, here, &vm)
        }
        _ => at_rest,
    }
}
