//! Places: who may run a machine. The lease, its fencing epoch, and its handover inside a region.
//!
//! ```text
//!            Place, epoch + 1                Migrate
//!   Vacant ───────────────────► Held by A ─────────────► Handing A → B
//!     ▲                          │  ▲  │     StayPut          │
//!     │  Release (A stopped it)  │  │  └◄─────────────────────┤
//!     └──────────────────────────┘  └── Held by B, epoch + 1 ◄┘ Yield (A stopped it)
//!     └── Recover: the lease has surely ended (from Held and Handing)
//! ```
//!
//! Room is booked on a host in the transaction that gives it the place, and freed in the one that takes it away.

use super::desk::Desk;
use super::machine::{bad_state, machine, placement};
use super::{Planned, Step, Stop, Then};
use crate::command::{Answer, At, Seat};
use crate::key::{Key, Scope};
use crate::life::{phase_may, phase_may_begin};
use crate::name::{HostName, Region};
use crate::planted::{self, Bug};
use crate::record::{Hold, Host, HostState, Life, Phase, Placement, Power, Status};
use crate::refusal::{Code, Refusal};
use crate::resources::Resources;
use crate::time::{LEASE_MAX, LEASE_MIN, lease_end, surely_past};
use crate::view::Fetch;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;
use dwcp_env::{Duration, WallTime};

/// The longest message of a report, in bytes.
const MESSAGE_MAX: usize = 1024;

fn check_lease(lease: Duration) -> Result<(), Refusal> {
    if (LEASE_MIN..=LEASE_MAX).contains(&lease) {
        return Ok(());
    }
    let remedy = format!("from {LEASE_MIN} to {LEASE_MAX}");
    Err(Refusal::new(Code::Invalid, "lease", format!("a lease of {lease}"), remedy))
}

/// Whether a host has room for something more.
fn room(host: &Host, wanted: &Resources) -> bool {
    host.state == HostState::Ready && host.booked.plus(wanted).is_some_and(|sum| within(&sum, &host.capacity))
}

/// Of a host only these count: disks lie elsewhere, addresses are the region's.
fn within(sum: &Resources, capacity: &Resources) -> bool {
    sum.vms <= capacity.vms && sum.vcpus <= capacity.vcpus && sum.memory_mib <= capacity.memory_mib
}

/// Books room on a host: the one that is named, or the one with most memory free.
fn book(
    desk: &mut Desk<'_>,
    region: &Region,
    wanted: &Resources,
    named: Option<&HostName>,
    but: Option<&HostName>,
) -> Result<HostName, Stop> {
    let chosen = match named {
        Some(name) => Some(name.clone()),
        None => desk
            .list::<Host>(&Scope::Region(region.clone()), "host")?
            .into_iter()
            .filter_map(|(key, host)| Some((key.last().parse::<HostName>().ok()?, host)))
            .filter(|(name, host)| Some(name) != but && room(host, wanted))
            // The first of equals, by name.
            .min_by_key(|(name, host)| {
                (u64::MAX - host.capacity.memory_mib.saturating_sub(host.booked.memory_mib), name.clone())
            })
            .map(|(name, _)| name),
    };
    let refused = |at: &str, what: &str, remedy: &str| {
        Stop::Refused(Refusal::new(Code::NoCapacity, at, format!("{what} in {region}"), remedy))
    };
    let Some(name) = chosen else {
        return Err(refused(
            "host",
            "no host is ready and has room",
            "add a host, make one ready, or free room",
        ));
    };
    let key = Key::host(region, &name);
    match desk.get::<Host>(&key)? {
        Some(mut host) if room(&host, wanted) => {
            host.booked = host.booked.plus(wanted).unwrap_or(host.booked);
            desk.put(key, &host);
            Ok(name)
        }
        Some(_) => {
            Err(refused(name.as_str(), "the host is not ready or has no room", "choose another, or none"))
        }
        None => Err(refused(name.as_str(), "there is no such host", "choose another, or none")),
    }
}

fn unbook(desk: &mut Desk<'_>, region: &Region, name: &HostName, booked: &Resources) -> Result<(), Stop> {
    let key = Key::host(region, name);
    if let Some(mut host) = desk.get::<Host>(&key)? {
        host.booked = host.booked.beyond(booked);
        desk.put(key, &host);
    }
    Ok(())
}

/// Frees all that a hold has booked.
fn unbook_all(desk: &mut Desk<'_>, region: &Region, hold: &Hold) -> Result<(), Stop> {
    match hold {
        Hold::Vacant => Ok(()),
        Hold::Held { host, booked, .. } => unbook(desk, region, host, booked),
        Hold::Handing { host, booked, to, .. } => {
            unbook(desk, region, host, booked)?;
            unbook(desk, region, to, booked)
        }
    }
}

fn write(desk: &mut Desk<'_>, at: &At, place: &Placement) -> Planned {
    desk.put(Key::place(&at.region, at.vm), place);
    let answer = place.holder().map_or(Answer::Done, |(host, until)| Answer::Place {
        host: host.clone(),
        epoch: place.epoch,
        until,
    });
    desk.commit(Scope::Region(at.region.clone()), Then::Answer(answer))
}

pub(super) fn place(desk: &mut Desk<'_>, at: &At, lease: Duration) -> Planned {
    check_lease(lease)?;
    desk.want([Key::vm(&at.region, at.vm), Key::place(&at.region, at.vm)].map(Fetch::One))?;
    let vm = machine(desk, at)?;
    let mut place = placement(desk, at)?;
    if let Some((host, until)) = place.holder() {
        return Ok(Step::Done(Answer::Place { host: host.clone(), epoch: place.epoch, until }));
    }
    if vm.life != Life::Active || vm.spec.power != Power::On {
        return Err(bad_state(&vm, "the machine is not to run", "start it: dwcp vm start"));
    }
    let booked = vm.spec.booking();
    let host = book(desk, &at.region, &booked, None, None)?;
    if !planted::is(Bug::LeaseWithoutEpoch) || place.epoch == 0 {
        place.epoch += 1;
    }
    place.hold = Hold::Held { host, until: lease_end(desk.now, lease), booked };
    write(desk, at, &place)
}

pub(super) fn migrate(desk: &mut Desk<'_>, at: &At, to: Option<&HostName>) -> Planned {
    desk.want([Key::vm(&at.region, at.vm), Key::place(&at.region, at.vm)].map(Fetch::One))?;
    let vm = machine(desk, at)?;
    let mut place = placement(desk, at)?;
    let (host, until, booked) = match &place.hold {
        Hold::Vacant => return Err(bad_state(&vm, "the machine has no place", "start it: dwcp vm start")),
        Hold::Handing { host, until, to: target, .. } => {
            if to.is_some_and(|to| to != target) {
                let what = format!("the machine is already migrating to {target}");
                return Err(bad_state(&vm, what, "call it back first: dwcp vm stay"));
            }
            return Ok(Step::Done(Answer::Place { host: host.clone(), epoch: place.epoch, until: *until }));
        }
        Hold::Held { host, until, booked } => (host.clone(), *until, *booked),
    };
    if to == Some(&host) {
        return Ok(Step::Done(Answer::Place { host, epoch: place.epoch, until }));
    }
    if vm.life != Life::Active || vm.spec.power != Power::On {
        return Err(bad_state(&vm, "the machine is not to run", "start it first: dwcp vm start"));
    }
    let to = book(desk, &at.region, &booked, to, Some(&host))?;
    place.hold = Hold::Handing { host, until, booked, to };
    write(desk, at, &place)
}

pub(super) fn stay_put(desk: &mut Desk<'_>, at: &At) -> Planned {
    machine(desk, at)?;
    let mut place = placement(desk, at)?;
    let Hold::Handing { host, until, booked, to } = place.hold else { return Ok(Step::Done(Answer::Done)) };
    unbook(desk, &at.region, &to, &booked)?;
    place.hold = Hold::Held { host, until, booked };
    write(desk, at, &place)
}

pub(super) fn recover(desk: &mut Desk<'_>, at: &At) -> Planned {
    let mut place = placement(desk, at)?;
    let Some((host, until)) = place.holder() else { return Ok(Step::Done(Answer::Done)) };
    let early = if planted::is(Bug::TakenEarly) {
        desk.get::<Host>(&Key::host(&at.region, host))?.is_none_or(|h| h.state != HostState::Lost)
    } else {
        true
    };
    if early && !surely_past(until, desk.now) {
        let what = format!("{host} may hold it until {} ns of the calendar", until.as_nanos());
        return Err(Refusal::new(
            Code::NotYet,
            at.vm,
            what,
            "wait for the end of the lease; it can't be shortened",
        )
        .into());
    }
    unbook_all(desk, &at.region, &place.hold)?;
    place.hold = Hold::Vacant;
    write(desk, at, &place)
}

/// The place of a machine, if this host has it under this epoch.
fn held(desk: &mut Desk<'_>, seat: &Seat) -> Result<Placement, Stop> {
    let place = placement(desk, &seat.at)?;
    if place.epoch == seat.epoch && place.holder().is_some_and(|(host, _)| *host == seat.host) {
        return Ok(place);
    }
    let now = match place.holder() {
        Some((host, _)) => format!("{host} has it under epoch {}", place.epoch),
        None => format!("nobody has it; the last epoch was {}", place.epoch),
    };
    let what = format!("{} does not hold the machine under epoch {}: {now}", seat.host, seat.epoch);
    Err(Refusal::new(Code::LeaseLost, seat.at.vm, what, "stop it there").into())
}

pub(super) fn renew(desk: &mut Desk<'_>, seat: &Seat, lease: Duration) -> Planned {
    check_lease(lease)?;
    let mut place = held(desk, seat)?;
    let end = lease_end(desk.now, lease);
    let until = match &mut place.hold {
        Hold::Held { until, .. } | Hold::Handing { until, .. } => until,
        Hold::Vacant => return Ok(Step::Done(Answer::Done)),
    };
    // What ran under a lease that has surely ended is over: a new start takes a new epoch.
    if surely_past(*until, desk.now) {
        let what = format!("the lease of {} has ended", seat.host);
        return Err(Refusal::new(
            Code::LeaseLost,
            seat.at.vm,
            what,
            "stop the machine, and wait to be given a place",
        )
        .into());
    }
    *until = (*until).max(end);
    write(desk, &seat.at, &place)
}

pub(super) fn release(desk: &mut Desk<'_>, seat: &Seat) -> Planned {
    let mut place = placement(desk, &seat.at)?;
    if place.epoch > seat.epoch || place.is_vacant() {
        return Ok(Step::Done(Answer::Done));
    }
    held(desk, seat)?;
    unbook_all(desk, &seat.at.region, &place.hold)?;
    place.hold = Hold::Vacant;
    write(desk, &seat.at, &place)
}

pub(super) fn hand_over(desk: &mut Desk<'_>, seat: &Seat, lease: Duration) -> Planned {
    check_lease(lease)?;
    let now = placement(desk, &seat.at)?;
    if now.epoch > seat.epoch {
        return Ok(Step::Done(Answer::Done));
    }
    let mut place = held(desk, seat)?;
    let Hold::Handing { host, booked, to, .. } = place.hold else {
        let what = "the machine does not migrate any more";
        return Err(Refusal::new(Code::BadState, seat.at.vm, what, "keep it").into());
    };
    unbook(desk, &seat.at.region, &host, &booked)?;
    place.epoch += 1;
    place.hold = Hold::Held { host: to, until: lease_end(desk.now, lease), booked };
    write(desk, &seat.at, &place)
}

pub(super) fn report(
    desk: &mut Desk<'_>,
    seat: &Seat,
    index: u64,
    phase: Phase,
    since: WallTime,
    message: &str,
) -> Planned {
    held(desk, seat)?;
    let key = Key::status(&seat.at.region, seat.at.vm);
    let before = desk.get::<Status>(&key)?;
    let known = before.as_ref().map_or((0, 0), |s| (s.epoch, s.index));
    if known >= (seat.epoch, index) {
        return Ok(Step::Done(Answer::Done));
    }
    // Reports between may have been lost on the way: only what follows at once is held against the table.
    let fits = match &before {
        Some(s) if s.epoch == seat.epoch => index > s.index + 1 || phase_may(s.phase, phase),
        _ => index > 1 || phase_may_begin(phase),
    };
    if !fits {
        let from = before.map_or("nothing".to_string(), |s| format!("{:?}", s.phase));
        let what = format!("{phase:?} can't follow {from}");
        return Err(Refusal::new(
            Code::InvalidTransition,
            seat.at.vm,
            what,
            "report what the machine did in between",
        )
        .into());
    }
    let mut message = message.to_string();
    while message.len() > MESSAGE_MAX {
        message.pop();
    }
    desk.put(key, &Status { host: seat.host.clone(), epoch: seat.epoch, index, phase, since, message });
    desk.commit(Scope::Region(seat.at.region.clone()), Then::Answer(Answer::Done))
}

/// Hosts that machines are to leave, or have left for good.
pub(super) fn unfit(hosts: &[(Key, Host)], state: HostState) -> Vec<HostName> {
    let unfit = hosts.iter().filter(|(_, host)| host.state == state);
    unfit.filter_map(|(key, _)| key.last().parse().ok()).collect()
}
