//! What is due in the regions, done by whichever node leads their keyspace.
//!
//! Every node looks; only the leader acts, so that several don't plan the same. It is no matter of safety: each command is a
//! transaction that one of them gets through ([`dwcp_fleet::plan::due`]). A node looks after the regions whose keyspace it
//! hosts, whether or not it hosts the others'; a record that can't be read is told once, counted, and left alone.

use super::backstop::Backstop;
use super::drive::Fleet;
use crate::etcd::Backend;
use dwcp_consensus::Role;
use dwcp_env::Duration;
use dwcp_fleet::announce::{Belief, Read, belief};
use dwcp_fleet::command::{Command, Request};
use dwcp_fleet::key::Scope;
use dwcp_fleet::name::{Region, RequestKey};
use dwcp_fleet::plan::{Stop, due};
use dwcp_fleet::refusal::Refusal;
use dwcp_fleet::view::{View, Wanted};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Between two looks.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// So many looks at a region go by for one at what it has to settle with the fleet.
const BETWEEN_EVERY: u32 = 3;
/// What new places are given for; agents renew them.
const LEASE: Duration = Duration::secs(30);

/// Looks and acts until it is dropped; `damaged` is how many records were found that can't be read.
///
/// Which regions there are, and what is between a region and the fleet, is asked beside what a region does for itself: where the
/// fleet's store is out of reach each such question takes its whole patience.
pub async fn control<B: Backend>(fleet: Fleet<B>, damaged: Damaged, backstop: Option<Backstop>) {
    let backstop = backstop.as_ref();
    tokio::select! {
        () = learn(&fleet) => {}
        () = look_after(&fleet, false, LOOK_EVERY, &damaged, backstop) => {}
        () = look_after(&fleet, true, LOOK_EVERY * BETWEEN_EVERY, &damaged, backstop) => {}
    }
}

/// Learns again and again which regions there are.
async fn learn<B: Backend>(fleet: &Fleet<B>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        if let Err(refusal) = fleet.learn_regions().await {
            tracing::debug!("the fleet's regions are those known so far: {refusal}");
        }
    }
}

/// Does what is due in the regions that this node leads: of their own, or between them and the fleet.
async fn look_after<B: Backend>(
    fleet: &Fleet<B>,
    between: bool,
    every: std::time::Duration,
    damaged: &Damaged,
    backstop: Option<&Backstop>,
) {
    let mut tick = tokio::time::interval(every);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut told = BTreeSet::new();
    loop {
        tick.tick().await;
        let mut found = BTreeSet::new();
        for region in fleet.hosted_regions() {
            // One region that can't be looked after stands in no other's way.
            if let Err(refusal) = look(fleet, &region, between, &mut found, backstop).await {
                tracing::debug!("{region} is not looked after for now: {refusal}");
            }
        }
        for what in found.difference(&told) {
            tracing::warn!("a record of the fleet can't be read: {what}");
        }
        damaged.note(between, &found);
        told = found;
    }
}

/// Which records of the regions that this node leads can't be read; none is acted on, nor anything else held up.
#[derive(Clone, Debug, Default)]
pub struct Damaged(Arc<Mutex<[BTreeSet<String>; 2]>>);

impl Damaged {
    /// How many, at the last look at everything.
    #[must_use]
    pub fn count(&self) -> usize {
        let [here, between] = &*self.0.lock().unwrap_or_else(PoisonError::into_inner);
        here.union(between).count()
    }
    fn note(&self, between: bool, found: &BTreeSet<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[usize::from(between)].clone_from(found);
    }
}

async fn look<B: Backend>(
    fleet: &Fleet<B>,
    region: &Region,
    between: bool,
    damaged: &mut BTreeSet<String>,
    backstop: Option<&Backstop>,
) -> Result<(), Refusal> {
    if fleet.role(&Scope::Region(region.clone())).await? != Role::Leader {
        if let Some(backstop) = backstop {
            backstop.hushed(region).await;
        }
        return Ok(());
    }
    if between {
        if let Some(backstop) = backstop {
            let (begun, mut view) = (fleet.now(), View::new());
            let believed: Belief =
                planned(fleet, &mut view, |view| belief(view, region, fleet.now())).await?;
            backstop.region_says(region, &believed, Read::between(begun, fleet.now())).await;
        }
        return act(fleet, region, true, damaged).await;
    }
    act(fleet, region, false, damaged).await?;
    match backstop {
        Some(backstop) => yields(fleet, region, backstop, damaged).await,
        None => Ok(()),
    }
}

/// What follows for a region from what was found, by records that are read anew.
async fn yields<B: Backend>(
    fleet: &Fleet<B>,
    region: &Region,
    backstop: &Backstop,
    damaged: &mut BTreeSet<String>,
) -> Result<(), Refusal> {
    let findings = backstop.findings();
    if findings.is_empty() {
        return Ok(());
    }
    let mut view = View::new();
    let due = planned(fleet, &mut view, |view| due::contested(view, region, &findings, fleet.now())).await?;
    damaged.extend(due.damaged.iter().map(ToString::to_string));
    for command in due.commands {
        tracing::warn!("{region} yields: {command:?}");
        carry_out(fleet, region, command).await;
    }
    Ok(())
}

/// Reads what a plan wants until it is there.
async fn planned<B: Backend, T>(
    fleet: &Fleet<B>,
    view: &mut View,
    plan: impl Fn(&View) -> Result<T, Stop>,
) -> Result<T, Refusal> {
    loop {
        let Wanted(wanted) = match plan(view) {
            Ok(planned) => return Ok(planned),
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Err(Stop::Want(wanted)) => wanted,
        };
        for fetch in wanted {
            let (revision, found) = fleet.read(&fetch).await?;
            view.take(&fetch, revision, found);
        }
    }
}

async fn act<B: Backend>(
    fleet: &Fleet<B>,
    region: &Region,
    between: bool,
    damaged: &mut BTreeSet<String>,
) -> Result<(), Refusal> {
    let mut view = View::new();
    let due = planned(fleet, &mut view, |view| {
        if between {
            due::between(view, region, fleet.now())
        } else {
            due::here(view, region, LEASE, fleet.now())
        }
    });
    let due = due.await?;
    damaged.extend(due.damaged.iter().map(ToString::to_string));
    for command in due.commands {
        carry_out(fleet, region, command).await;
    }
    Ok(())
}

async fn carry_out<B: Backend>(fleet: &Fleet<B>, region: &Region, command: Command) {
    let said = format!("{command:?}");
    // A number of its own each time: what is due is read anew, not repeated.
    let Ok(key) = super::ask::draw() else { return };
    match fleet.carry_out(Request { key: RequestKey(key), command }).await {
        Ok(_) => tracing::debug!("{region}: {said}"),
        Err(refusal) if refusal.passes() => {}
        Err(refusal) => tracing::debug!("{region}: {said}: {refusal}"),
    }
}
