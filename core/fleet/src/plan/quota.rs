//! Quotas: the fleet's ledger and the regions' rights ([`crate::record::Rights`] says how the accounts work).
//!
//! The order is the invariant: a right grows in the ledger first and in the region after, and shrinks in the region first. So
//! the ledger never counts less than the regions have, and the regions together never have more than the total.

use super::desk::Desk;
use super::fleet::active;
use super::{Planned, Step, Then};
use crate::command::Answer;
use crate::key::{Key, Scope};
use crate::name::{Group, Region};
use crate::planted::{self, Bug};
use crate::record::{Ledger, Rights};
use crate::refusal::{Code, Refusal};
use crate::resources::{AMOUNT_MAX, Resources};
use crate::view::Fetch;
use alloc::format;

fn check(at: &str, amount: &Resources) -> Result<(), Refusal> {
    amount.absurd().map_or(Ok(()), |(part, n)| {
        let remedy = format!("at most {AMOUNT_MAX} of each");
        Err(Refusal::new(Code::Invalid, format_args!("{at}.{part}"), format!("{n} is too much"), remedy))
    })
}

/// Refuses to lend out more than there is.
fn covered(group: &Group, ledger: &Ledger) -> Result<(), Refusal> {
    let out = ledger.outstanding().unwrap_or(Resources { vms: u64::MAX, ..Resources::NONE });
    out.lacking(&ledger.total).map_or(Ok(()), |(part, asked, there)| {
        let what = format!("the regions' shares would come to {asked} {part} of {there}");
        Err(Refusal::new(
            Code::QuotaExceeded,
            group,
            what,
            "raise the total, or lower another region's share first",
        ))
    })
}

pub(super) fn total(desk: &mut Desk<'_>, group: &Group, total: &Resources) -> Planned {
    check("total", total)?;
    let key = Key::ledger(group);
    let before = desk.get::<Ledger>(&key)?;
    let mut ledger = before.unwrap_or_default();
    if ledger.done.has(desk.key) {
        return Ok(Step::Done(Answer::Done));
    }
    ledger.total = *total;
    ledger.done.add(desk.key);
    covered(group, &ledger)?;
    desk.put(key, &ledger);
    desk.commit(Scope::Global, Then::Answer(Answer::Done))
}

/// Moves a region's share towards `right`; without one, only lets both sides learn of each other.
pub(super) fn share(
    desk: &mut Desk<'_>,
    group: &Group,
    region: &Region,
    right: Option<&Resources>,
) -> Planned {
    if let Some(right) = right {
        check("right", right)?;
    }
    let (global, regional) = (Key::ledger(group), Key::rights(region, group));
    desk.want([global.clone(), regional.clone()].map(Fetch::One))?;
    let Some(mut ledger) = desk.get::<Ledger>(&global)? else {
        let remedy = "set its total first: dwcp quota set";
        return Err(Refusal::new(Code::NotFound, group, "there is no such quota group", remedy).into());
    };
    let mut rights = desk.get::<Rights>(&regional)?.unwrap_or_default();
    let mut share = ledger.shares.get(region).copied().unwrap_or_default();
    // What a region gave back stays given back.
    let returned = share.returned.max(&rights.returned);
    if returned != share.returned {
        share.returned = returned;
        ledger.shares.insert(region.clone(), share);
        desk.put(global, &ledger);
        return desk.commit(Scope::Global, Then::Again);
    }
    let more = right.map_or(Resources::NONE, |right| right.beyond(&share.outstanding()));
    if more != Resources::NONE {
        active(desk, region)?;
        share.granted = share.granted.plus(&more).ok_or_else(|| exhausted(group))?;
        ledger.shares.insert(region.clone(), share);
        covered(group, &ledger)?;
        desk.put(global, &ledger);
        return desk.commit(Scope::Global, Then::Again);
    }
    // What was granted stays granted; and what a restored region has forgotten to have given back stays given back.
    let granted = rights.granted.max(&share.granted);
    let returned = rights.returned.max(&share.returned);
    if (granted, returned) != (rights.granted, rights.returned) {
        (rights.granted, rights.returned) = (granted, returned);
        desk.put(regional, &rights);
        return desk.commit(Scope::Region(region.clone()), Then::Again);
    }
    let less = right.map_or(Resources::NONE, |right| rights.limit().beyond(right));
    if less == Resources::NONE {
        return Ok(Step::Done(Answer::Done));
    }
    if planted::is(Bug::EscrowSpentTwice) && share.returned == rights.returned {
        share.returned = share.returned.plus(&less).ok_or_else(|| exhausted(group))?;
        ledger.shares.insert(region.clone(), share);
        desk.put(global, &ledger);
        return desk.commit(Scope::Global, Then::Again);
    }
    if let Some((part, asked, there)) = less.lacking(&rights.limit().beyond(&rights.used)) {
        let what =
            format!("{region} would have to give back {asked} {part} and has {there} that are not in use");
        return Err(Refusal::new(
            Code::InUse,
            group,
            what,
            "delete or move machines of the group there first",
        )
        .into());
    }
    rights.returned = rights.returned.plus(&less).ok_or_else(|| exhausted(group))?;
    desk.put(regional, &rights);
    desk.commit(Scope::Region(region.clone()), Then::Again)
}

fn exhausted(group: &Group) -> Refusal {
    let remedy = "begin a new group and move its machines there";
    Refusal::new(Code::Invalid, group, "the account's counters have reached their end", remedy)
}
