//! A region's store is opened, and opened anew after it was restored; a host's agent begins a life.
//!
//! ```text
//!   the fleet:   (absent) ──► opening 1, not open ──────────────────────────► opening 1, open
//!   the region:                      └─► charter 1 ───────────────────────────────┘
//!
//!   Reopen:      opening n, open ──► opening n + 1, not open ─────────────────────► opening n + 1, open
//!   the region:        └─► machines and blocks that are not its own any more leave ─► charter n + 1 ┘
//! ```
//!
//! The fleet's store counts first, so that no opening is had twice, whatever the region's store has forgotten. What the
//! backup has of machines that have moved or gone since, and of blocks that went back, would be believed by the region alone:
//! it is put right before the charter is there. Anybody goes on with an opening that somebody began.

use super::desk::Desk;
use super::{Planned, Step, Stop, Then};
use crate::command::Answer;
use crate::key::{Key, Scope};
use crate::name::{HostName, Region};
use crate::planted::{self, Bug};
use crate::record::{Charter, Held, HeldState, Host, Lent, Life, Owner, RegionRecord, Tenure, Vm};
use crate::refusal::{Code, Refusal};
use crate::time::{latest_end, misdated, surely_past};
use crate::view::Fetch;
use alloc::format;
use alloc::vec::Vec;
use dwcp_env::WallTime;

/// How many blocks one step of an opening puts right.
const AT_ONCE: usize = 32;

fn closed(region: &Region) -> Refusal {
    let what = "its store was restored from a backup, and nobody has opened it since";
    Refusal::new(Code::Closed, region, what, "open it: dwcp region reopen")
}

/// By what a region's store gives lives: it was opened.
pub(super) fn chartered(desk: &mut Desk<'_>, region: &Region) -> Result<Charter, Stop> {
    Ok(desk.get::<Charter>(&Key::charter(region))?.ok_or_else(|| closed(region))?)
}

/// By what it gives everything else: nothing that it may have forgotten is still in use.
pub(super) fn giving(desk: &mut Desk<'_>, region: &Region) -> Result<Charter, Stop> {
    let charter = chartered(desk, region)?;
    if charter.opening > 1 && !surely_past(charter.from, desk.now) && !planted::is(Bug::OpenedAtOnce) {
        // Nobody knows when it really was, so that only who opens it anew can say from when to wait.
        let (what, remedy) = if misdated(charter.from, desk.now) {
            ("its opening was dated by a clock that was wrong", "open it anew: dwcp region reopen")
        } else {
            ("its store was restored, and leases that it has forgotten may not have ended", "wait a minute")
        };
        return Err(Refusal::new(Code::NotYet, region, what, remedy).into());
    }
    Ok(charter)
}

fn known(desk: &mut Desk<'_>, region: &Region) -> Result<RegionRecord, Stop> {
    let there = desk.get::<RegionRecord>(&Key::region(region))?;
    Ok(there.ok_or_else(|| {
        Refusal::new(Code::NotFound, region, "there is no such region", "add it first: dwcp region add")
    })?)
}

pub(super) fn reopen(desk: &mut Desk<'_>, region: &Region) -> Planned {
    let mut record = known(desk, region)?;
    if !record.done.has(desk.key) {
        record.opening += 1;
        record.open = false;
        record.done.add(desk.key);
        desk.put(Key::region(region), &record);
        return desk.commit(Scope::Global, Then::Again);
    }
    open(desk, region)
}

pub(super) fn open(desk: &mut Desk<'_>, region: &Region) -> Planned {
    let record = known(desk, region)?;
    if record.open {
        return Ok(Step::Done(Answer::Done));
    }
    let key = Key::charter(region);
    if desk.get::<Charter>(&key)?.is_some_and(|charter| charter.opening >= record.opening) {
        desk.put(Key::region(region), &RegionRecord { open: true, ..record });
        return desk.commit(Scope::Global, Then::Again);
    }
    let anew = record.opening > 1;
    if anew && put_right(desk, region)? {
        return desk.commit(Scope::Region(region.clone()), Then::Again);
    }
    let from = if anew { latest_end(desk.now) } else { WallTime::default() };
    desk.put(key, &Charter { opening: record.opening, from });
    desk.commit(Scope::Region(region.clone()), Then::Again)
}

/// What the backup has and the region has not; whether anything was written.
fn put_right(desk: &mut Desk<'_>, region: &Region) -> Result<bool, Stop> {
    let scope = Scope::Region(region.clone());
    let regional = ["block", "prefix", "vm"].map(|kind| Fetch::beginning(&Key::all(&scope, kind)));
    let global = ["block", "prefix", "owner"].map(|kind| Fetch::beginning(&Key::all(&Scope::Global, kind)));
    desk.want(regional.into_iter().chain(global))?;
    let mut things = Vec::new();
    for kind in ["block", "prefix"] {
        let held = desk.list::<Held>(&scope, kind)?;
        things.extend(held.into_iter().filter(|(_, held)| held.state != HeldState::Returned));
    }
    let mut put = 0;
    for (key, held) in things {
        let Some(thing) = key.thing() else { continue };
        let ours = desk.get::<Lent>(&Key::lent(&thing))?.is_some_and(|lent| lent.to.as_ref() == Some(region));
        if !ours && desk.get::<Held>(&key)?.as_ref() == Some(&held) {
            desk.put(key, &Held { state: HeldState::Returned, ..held });
            put += 1;
        }
        if put == AT_ONCE {
            return Ok(true);
        }
    }
    for (key, vm) in desk.list::<Vm>(&scope, "vm")? {
        if vm.life != Life::Active || planted::is(Bug::OwnersUnasked) {
            continue;
        }
        // It has moved, or was deleted elsewhere: the leftover of a handover, which is settled like any other.
        let owner = desk.get::<Owner>(&Key::owner(vm.id))?;
        if let Some(owner) = owner.filter(|owner| owner.gone || owner.region != *region)
            && desk.get::<Vm>(&key)?.as_ref() == Some(&vm)
        {
            desk.put(key, &Vm { life: Life::Leaving { to: owner.region }, ..vm });
            return Ok(true);
        }
    }
    Ok(put > 0)
}

pub(super) fn attach(desk: &mut Desk<'_>, region: &Region, host: &HostName) -> Planned {
    let key = Key::agent(region, host);
    desk.want([Key::host(region, host), key.clone(), Key::charter(region)].map(Fetch::One))?;
    if desk.get::<Host>(&Key::host(region, host))?.is_none() {
        let what = format!("{region} has no such host");
        return Err(Refusal::new(Code::NotFound, host, what, "let it join first: dwcp host join").into());
    }
    let charter = chartered(desk, region)?;
    let mut tenure = desk.get::<Tenure>(&key)?.unwrap_or_default();
    match tenure.given(desk.key) {
        Some(life) if life == tenure.life => return Ok(Step::Done(Answer::Life { life })),
        Some(life) => return Err(superseded(host, life, Some(tenure.life)).into()),
        None => tenure.begin(desk.key, &charter),
    }
    let life = tenure.life;
    desk.put(key, &tenure);
    desk.commit(Scope::Region(region.clone()), Then::Answer(Answer::Life { life }))
}

/// Refused: somebody else speaks for the host.
pub(super) fn superseded(host: &HostName, life: u64, current: Option<u64>) -> Refusal {
    let what = match current {
        Some(current) => format!("life {life} of its agent is over, {current} has begun"),
        None => format!("the region does not know of life {life} of its agent: its store was restored"),
    };
    let remedy = "let one process of a name run, and start it again if it is to be this one";
    Refusal::new(Code::Superseded, host, what, remedy)
}
