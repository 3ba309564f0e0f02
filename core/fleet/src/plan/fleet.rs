//! Regions, images, hosts.

use super::desk::Desk;
use super::{Planned, Step, Stop, Then};
use crate::command::Answer;
use crate::key::{Key, Scope};
use crate::life::host_may;
use crate::name::{HostName, Image, Region};
use crate::planted::{self, Bug};
use crate::record::{Host, HostState, ImageRecord, RegionRecord, RegionState, RosterEntry};
use crate::refusal::{Code, Refusal};
use crate::resources::Resources;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};

/// The most labels of a host or machine.
pub(super) const LABELS_MAX: usize = 64;
/// The longest key or value of a label, in bytes.
const LABEL_MAX: usize = 253;

/// Labels of a request, checked.
pub(super) fn check_labels(labels: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let invalid = |what: String| {
        let remedy = "keys of 1 to 253 bytes, values of at most 253, without control characters";
        Err(Refusal::new(Code::Invalid, "labels", what, remedy))
    };
    if labels.len() > LABELS_MAX {
        return invalid(format!("{} labels; at most {LABELS_MAX} are allowed", labels.len()));
    }
    for (key, value) in labels {
        let long = key.is_empty() || key.len() > LABEL_MAX || value.len() > LABEL_MAX;
        if long || key.chars().chain(value.chars()).any(char::is_control) {
            return invalid(format!("the label {key:?} = {value:?} does not fit"));
        }
    }
    Ok(())
}

/// A region that may be given something.
pub(super) fn active(desk: &mut Desk<'_>, region: &Region) -> Result<(), Stop> {
    match desk.get::<RegionRecord>(&Key::region(region))? {
        Some(RegionRecord { state: RegionState::Active, .. }) => Ok(()),
        Some(RegionRecord { state: RegionState::Draining, .. }) => {
            let remedy = "choose another region, or make it active again";
            Err(Refusal::new(Code::BadState, region, "the region is being drained", remedy).into())
        }
        None => Err(Refusal::new(
            Code::NotFound,
            region,
            "there is no such region",
            "add it first: dwcp region add",
        )
        .into()),
    }
}

pub(super) fn region(desk: &mut Desk<'_>, region: &Region, state: RegionState) -> Planned {
    let key = Key::region(region);
    let before = desk.get::<RegionRecord>(&key)?;
    let mut record = before.unwrap_or_else(|| RegionRecord { opening: 1, ..RegionRecord::default() });
    if record.done.has(desk.key) {
        return super::charter::open(desk, region);
    }
    record.state = state;
    record.done.add(desk.key);
    desk.put(key, &record);
    desk.commit(Scope::Global, Then::Again)
}

pub(super) fn image(desk: &mut Desk<'_>, region: &Region, image: &Image, source: Option<&str>) -> Planned {
    if source.is_some_and(|s| s.len() > 1024 || s.chars().any(char::is_control)) {
        let remedy = "give a path or URL of at most 1024 bytes";
        return Err(Refusal::new(
            Code::Invalid,
            "source",
            "the source is too long or has control characters",
            remedy,
        )
        .into());
    }
    let key = Key::image(region, image);
    let wanted = source.map(|s| ImageRecord { source: s.to_string() });
    if desk.get::<ImageRecord>(&key)? == wanted {
        return Ok(Step::Done(Answer::Done));
    }
    match wanted {
        Some(record) => desk.put(key, &record),
        None => desk.remove(key),
    }
    desk.commit(Scope::Region(region.clone()), Then::Answer(Answer::Done))
}

/// A host joins: first the roster, which makes its name unique, then its region.
pub(super) fn join(
    desk: &mut Desk<'_>,
    region: &Region,
    host: &HostName,
    capacity: &Resources,
    labels: &BTreeMap<String, String>,
) -> Planned {
    check_labels(labels)?;
    if let Some((part, n)) = capacity.absurd() {
        let remedy = format!("at most {} of each", crate::resources::AMOUNT_MAX);
        return Err(Refusal::new(
            Code::Invalid,
            format_args!("capacity.{part}"),
            format!("{n} is too much"),
            remedy,
        )
        .into());
    }
    desk.want(
        [Key::region(region), Key::roster(host), Key::host(region, host)].map(crate::view::Fetch::One),
    )?;
    let roster = Key::roster(host);
    match desk.get::<RosterEntry>(&roster)? {
        None => {
            active(desk, region)?;
            desk.put(roster, &RosterEntry { region: region.clone() });
            return desk.commit(Scope::Global, Then::Again);
        }
        Some(entry) if entry.region != *region => {
            let what = format!("a host of this name stands in {}", entry.region);
            return Err(Refusal::new(
                Code::Exists,
                host,
                what,
                "names of hosts are unique in the fleet: use another",
            )
            .into());
        }
        // Entries are never removed: this one stays what it is.
        Some(_) => {}
    }
    let key = Key::host(region, host);
    let before = desk.get::<Host>(&key)?;
    let mut done = before.as_ref().map(|h| h.done.clone()).unwrap_or_default();
    if done.has(desk.key) {
        return Ok(Step::Done(Answer::Done));
    }
    done.add(desk.key);
    let booked = before.as_ref().map_or(Resources::NONE, |h| h.booked);
    if let Some((part, asked, there)) = booked.lacking(capacity) {
        let what = format!("{asked} of it are booked, more than the {there} offered");
        return Err(Refusal::new(
            Code::InUse,
            format_args!("capacity.{part}"),
            what,
            "drain the host before making it smaller",
        )
        .into());
    }
    // Joining again ends `Lost`; what an operator has ordered beside that stays.
    let state = before
        .as_ref()
        .map_or(HostState::Ready, |h| if h.state == HostState::Lost { HostState::Ready } else { h.state });
    desk.put(key, &Host { capacity: *capacity, booked, state, labels: labels.clone(), done });
    desk.commit(Scope::Region(region.clone()), Then::Answer(Answer::Done))
}

pub(super) fn host_state(desk: &mut Desk<'_>, region: &Region, host: &HostName, state: HostState) -> Planned {
    let key = Key::host(region, host);
    let Some(mut record) = desk.get::<Host>(&key)? else {
        let what = format!("{region} has no such host");
        return Err(Refusal::new(Code::NotFound, host, what, "dwcp host list shows those there are").into());
    };
    if record.done.has(desk.key) && !planted::is(Bug::DoneTwice) {
        return Ok(Step::Done(Answer::Done));
    }
    if record.state != state && !host_may(record.state, state) {
        let what = format!("a host that is {:?} can't be declared {state:?}", record.state);
        return Err(Refusal::new(
            Code::InvalidTransition,
            host,
            what.to_lowercase(),
            "a lost host comes back by joining again",
        )
        .into());
    }
    record.state = state;
    record.done.add(desk.key);
    desk.put(key, &record);
    desk.commit(Scope::Region(region.clone()), Then::Answer(Answer::Done))
}
