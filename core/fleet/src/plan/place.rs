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

use super::charter::{giving, superseded};
use super::desk::Desk;
use super::machine::{at_home, bad_state, machine, placement};
use super::{Planned, Step, Stop, Then};
use crate::command::{Answer, At, Seat};
use crate::key::{Key, Scope};
use crate::life::{phase_may, phase_may_begin};
use crate::name::{HostName, Region};
use crate::planted::{self, Bug};
use crate::record::{
    Assigned, Charter, Held, HeldState, Hold, Host, HostState, Life, Phase, Placement, Power, Status, Tenure,
    Thing, Vm,
};
use crate::refusal::{Code, Refusal};
use crate::resources::Resources;
use crate::time::{LEASE_MAX, LEASE_MIN, absurd, latest_end, lease_end, surely_past};
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
pub(super) fn unbook_all(desk: &mut Desk<'_>, region: &Region, hold: &Hold) -> Result<(), Stop> {
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
    let read = [Key::vm(&at.region, at.vm), Key::place(&at.region, at.vm), Key::charter(&at.region)];
    desk.want(read.map(Fetch::One))?;
    let vm = machine(desk, at)?;
    let mut place = placement(desk, at)?;
    if let Some((host, until)) = place.holder() {
        return Ok(Step::Done(Answer::Place { host: host.clone(), epoch: place.epoch, until }));
    }
    if vm.life != Life::Active || vm.spec.power != Power::On {
        return Err(bad_state(&vm, "the machine is not to run", "start it: dwcp vm start"));
    }
    let charter = giving(desk, &at.region)?;
    addresses_ours(desk, at, &vm)?;
    let booked = vm.spec.booking();
    let host = book(desk, &at.region, &booked, None, None)?;
    if !planted::is(Bug::LeaseWithoutEpoch) || place.epoch == 0 {
        place.epoch = charter.after(place.epoch);
    }
    place.hold = Hold::Held { host, life: 0, until: lease_end(desk.now, lease), booked };
    write(desk, at, &place)
}

/// A machine starts only with addresses of blocks that its region has: a restored store may know of others.
fn addresses_ours(desk: &mut Desk<'_>, at: &At, vm: &Vm) -> Result<(), Stop> {
    let key = |assigned: &Assigned| Key::held(&at.region, &Thing::Block(assigned.block));
    desk.want(vm.addresses.iter().map(key).map(Fetch::One))?;
    for assigned in &vm.addresses {
        let held = desk.get::<Held>(&key(assigned))?;
        if held.is_none_or(|held| held.state == HeldState::Returned || held.epoch < assigned.epoch) {
            let what = format!("{} is of {}, which the region has no more", assigned.ip, assigned.block);
            let remedy = "move the machine to another region, where it gets others, or delete it";
            return Err(bad_state(vm, what, remedy));
        }
    }
    Ok(())
}

pub(super) fn migrate(desk: &mut Desk<'_>, at: &At, to: Option<&HostName>) -> Planned {
    desk.want([Key::vm(&at.region, at.vm), Key::place(&at.region, at.vm)].map(Fetch::One))?;
    let mut vm = machine(desk, at)?;
    let mut place = placement(desk, at)?;
    if vm.done.has(desk.key) && !planted::is(Bug::DoneTwice) {
        return Ok(Step::Done(place.holder().map_or(Answer::Done, |(host, until)| Answer::Place {
            host: host.clone(),
            epoch: place.epoch,
            until,
        })));
    }
    let (host, life, until, booked) = match &place.hold {
        Hold::Vacant => return Err(bad_state(&vm, "the machine has no place", "start it: dwcp vm start")),
        Hold::Handing { host, until, to: target, .. } => {
            if to.is_some_and(|to| to != target) {
                let what = format!("the machine is already migrating to {target}");
                return Err(bad_state(&vm, what, "call it back first: dwcp vm stay"));
            }
            return Ok(Step::Done(Answer::Place { host: host.clone(), epoch: place.epoch, until: *until }));
        }
        Hold::Held { host, life, until, booked } => (host.clone(), *life, *until, *booked),
    };
    if to == Some(&host) {
        return Ok(Step::Done(Answer::Place { host, epoch: place.epoch, until }));
    }
    if vm.life != Life::Active || vm.spec.power != Power::On {
        return Err(bad_state(&vm, "the machine is not to run", "start it first: dwcp vm start"));
    }
    let to = book(desk, &at.region, &booked, to, Some(&host))?;
    place.hold = Hold::Handing { host, life, until, booked, to };
    vm.done.add(desk.key);
    desk.put(Key::vm(&at.region, at.vm), &vm);
    write(desk, at, &place)
}

pub(super) fn stay_put(desk: &mut Desk<'_>, at: &At) -> Planned {
    let mut vm = machine(desk, at)?;
    // A restored store can have brought back the place of a machine that has moved: it goes with the record.
    if vm.life != Life::Deleting {
        at_home(&vm)?;
    }
    let mut place = placement(desk, at)?;
    if vm.done.has(desk.key) {
        return Ok(Step::Done(Answer::Done));
    }
    let Hold::Handing { host, life, until, booked, to } = place.hold else {
        return Ok(Step::Done(Answer::Done));
    };
    unbook(desk, &at.region, &to, &booked)?;
    place.hold = Hold::Held { host, life, until, booked };
    vm.done.add(desk.key);
    desk.put(Key::vm(&at.region, at.vm), &vm);
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
    let not_yet = |host: &HostName, until: WallTime| {
        let what = format!("{host} may hold it until {} ns of the calendar", until.as_nanos());
        Refusal::new(Code::NotYet, at.vm, what, "wait for the end of the lease; it can't be shortened")
    };
    if early && absurd(until, desk.now) {
        // Nobody believes it; a lease from now everybody does who was given one.
        let (end, host) = (latest_end(desk.now), host.clone());
        if let Hold::Held { until, .. } | Hold::Handing { until, .. } = &mut place.hold {
            *until = end;
        }
        desk.put(Key::place(&at.region, at.vm), &place);
        return desk.commit(Scope::Region(at.region.clone()), Then::Refuse(not_yet(&host, end)));
    }
    if early && !surely_past(until, desk.now) {
        return Err(not_yet(host, until).into());
    }
    unbook_all(desk, &at.region, &place.hold)?;
    place.hold = Hold::Vacant;
    write(desk, at, &place)
}

/// What a seat says counts only while its life of the host's agent is the current one: what an earlier one has asked may
/// come at any time, and is planned anew over whatever has become of the place.
fn current(desk: &mut Desk<'_>, seat: &Seat) -> Result<(), Stop> {
    let key = Key::agent(&seat.at.region, &seat.host);
    desk.want([key.clone(), Key::place(&seat.at.region, seat.at.vm)].map(Fetch::One))?;
    let life = desk.get::<Tenure>(&key)?.map(|tenure| tenure.life);
    if life == Some(seat.life) || planted::is(Bug::LivesUncounted) {
        return Ok(());
    }
    Err(superseded(&seat.host, seat.life, life).into())
}

/// The place of a machine, if this life of the host's agent has it under this epoch.
fn held(desk: &mut Desk<'_>, seat: &Seat) -> Result<Placement, Stop> {
    current(desk, seat)?;
    let place = placement(desk, &seat.at)?;
    let life = place.life();
    // Not taken up yet; its own; or an earlier life's, and found running where the agent is: then it ran nowhere else.
    let ours = life == 0 || life == seat.life || seat.found && life < seat.life;
    let ours = ours || planted::is(Bug::LivesUncounted);
    if place.epoch == seat.epoch && ours && place.holder().is_some_and(|(host, _)| *host == seat.host) {
        return Ok(place);
    }
    let now = match place.holder() {
        Some((host, _)) => format!("life {life} of {host} has it under epoch {}", place.epoch),
        None => format!("nobody has it; the last epoch was {}", place.epoch),
    };
    let what = format!(
        "life {} of {} does not hold the machine under epoch {}: {now}",
        seat.life, seat.host, seat.epoch
    );
    Err(Refusal::new(Code::LeaseLost, seat.at.vm, what, "stop it there").into())
}

pub(super) fn renew(desk: &mut Desk<'_>, seat: &Seat, lease: Duration) -> Planned {
    check_lease(lease)?;
    let mut place = held(desk, seat)?;
    let end = lease_end(desk.now, lease);
    let (life, until) = match &mut place.hold {
        Hold::Held { life, until, .. } | Hold::Handing { life, until, .. } => (life, until),
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
    // Given before the store was restored, and taken up by nobody, as far as it remembers: a life that it has forgotten may have, on
    // another machine of the host's name, and storage could not tell the two apart.
    if *life == 0 && !seat.found && Charter::opening_of(place.epoch) < Charter::opening_of(seat.life) {
        let what =
            "it was given before the region's store was restored, and who has taken it up since is forgotten";
        let remedy = "wait until its lease has ended, to be given a place";
        return Err(Refusal::new(Code::LeaseLost, seat.at.vm, what, remedy).into());
    }
    // What this life has been given so far ends within a lease from now, whatever its end says: it counts from its asking.
    // So an end that lies too far ahead, as a calendar gave that was wrong for a while, is set back.
    let longest = if seat.found { LEASE_MAX } else { lease };
    let latest = lease_end(desk.now, longest + desk.now.uncertainty);
    let believed = *life != seat.life || planted::is(Bug::AnyEndBelieved);
    *until = if believed { (*until).max(end) } else { (*until).clamp(end, latest) };
    *life = seat.life;
    write(desk, &seat.at, &place)
}

pub(super) fn release(desk: &mut Desk<'_>, seat: &Seat) -> Planned {
    current(desk, seat)?;
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
    current(desk, seat)?;
    let now = placement(desk, &seat.at)?;
    if now.epoch > seat.epoch {
        return Ok(Step::Done(Answer::Done));
    }
    let mut place = held(desk, seat)?;
    let charter = giving(desk, &seat.at.region)?;
    let Hold::Handing { host, booked, to, .. } = place.hold else {
        let what = "the machine does not migrate any more";
        return Err(Refusal::new(Code::BadState, seat.at.vm, what, "keep it").into());
    };
    unbook(desk, &seat.at.region, &host, &booked)?;
    place.epoch = charter.after(place.epoch);
    place.hold = Hold::Held { host: to, life: 0, until: lease_end(desk.now, lease), booked };
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
