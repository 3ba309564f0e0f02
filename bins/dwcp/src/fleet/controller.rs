//! What is due in the regions, done by whichever node leads their keyspace.
//!
//! Every node looks; only the leader acts, so that several don't plan the same. It is no matter of safety: each command is a
//! transaction that one of them gets through ([`dwcp_fleet::plan::due`]).

use super::drive::{Fleet, unavailable};
use crate::etcd::Backend;
use dwcp_consensus::Role;
use dwcp_env::Duration;
use dwcp_fleet::command::{Command, Request};
use dwcp_fleet::key::Scope;
use dwcp_fleet::name::{Region, RequestKey};
use dwcp_fleet::plan::{Stop, due};
use dwcp_fleet::refusal::Refusal;
use dwcp_fleet::view::View;
use dwcp_node::{Answer, Ask, AskError};
use std::time::Instant;

/// Between two looks.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(1);
/// So many looks at a region go by for one at what it has to settle with the fleet.
const BETWEEN_EVERY: u64 = 3;
/// What new places are given for; agents renew them.
const LEASE: Duration = Duration::secs(30);

/// Looks and acts until it is dropped.
pub async fn control<B: Backend>(fleet: Fleet<B>) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for nth in 0_u64.. {
        tick.tick().await;
        if let Err(refusal) = look(&fleet, nth % BETWEEN_EVERY == 0).await {
            tracing::debug!("the fleet is not looked after for now: {refusal}");
        }
    }
}

async fn leads<B: Backend>(fleet: &Fleet<B>, scope: &Scope) -> Result<bool, Refusal> {
    let request = dwcp_node::Request { group: fleet.group(scope)?, ask: Ask::Status };
    match fleet.node.begin(request, Instant::now() + LOOK_EVERY).await {
        Ok(Answer::Status(status)) => Ok(status.role == Role::Leader),
        Ok(_) => Err(unavailable(scope, &AskError::Unknown)),
        Err(why) => Err(unavailable(scope, &why)),
    }
}

async fn look<B: Backend>(fleet: &Fleet<B>, between: bool) -> Result<(), Refusal> {
    for region in fleet.known_regions().await? {
        if !leads(fleet, &Scope::Region(region.clone())).await? {
            continue;
        }
        // A region whose fleet's store can't be reached still looks after itself.
        act(fleet, &region, false).await?;
        if between {
            act(fleet, &region, true).await?;
        }
    }
    Ok(())
}

async fn act<B: Backend>(fleet: &Fleet<B>, region: &Region, between: bool) -> Result<(), Refusal> {
    let mut view = View::new();
    loop {
        let found = if between {
            due::between(&view, region, fleet.now())
        } else {
            due::here(&view, region, LEASE, fleet.now())
        };
        match found {
            Err(Stop::Want(wanted)) => {
                for fetch in wanted.0 {
                    let (revision, found) = fleet.read(&fetch).await?;
                    view.take(&fetch, revision, found);
                }
            }
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Ok(commands) => {
                for command in commands {
                    carry_out(fleet, region, command).await;
                }
                return Ok(());
            }
        }
    }
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
