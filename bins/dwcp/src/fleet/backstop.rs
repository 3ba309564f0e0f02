//! Announcements at a node: what its regions and hosts believe is said, what all say is heard and judged, and told.
//!
//! **Promise.** Every node that hears the same finds the same, cut off or not; what it finds is in its log, its metrics, its
//! door and `dwcp vm findings` until the announcements end. What can be done without a person is done by the node that leads the region
//! which yields, by commands that the region's own records bear out ([`due::contested`](dwcp_fleet::plan::due::contested)).
//!
//! ```text
//!   controller, leading: the region's belief ─┐
//!   agents, through a door: what they run ────┴─► Voice ─► Air ─► … ─► Ear ─► findings ─► log, metrics, door
//!                                                                                  └────► controller, leading: what yields
//! ```
//!
//! **Limits.** A host says at most what fits the door (64 KiB: some five hundred machines). Clocks that are off by more than
//! an announcement lasts are refused.

use super::air::{Air, Fields};
use dwcp_env::{Duration, Now, WallTime};
use dwcp_fleet::announce::{Announcer, Belief, Ear, Read, Topic, Voice};
use dwcp_fleet::finding::{ANNOUNCED_MAX, Finding};
use dwcp_fleet::name::{HostName, Region, VmId};
use dwcp_fleet::record::{Phase, What};
use dwcp_fleet::refusal::{Code, Refusal};
use dwcp_runtime_real::Registry;
use dwcp_runtime_real::clock::Clock;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Between two times that it is listened.
const HEAR_EVERY: std::time::Duration = std::time::Duration::from_secs(3);
/// And so many times as long as it took to judge, so that a large fleet takes a twentieth of a core.
const RARELY: u32 = 20;

/// A machine that may be running, as a host's agent posts it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Runs {
    pub(super) vm: VmId,
    pub(super) epoch: u64,
    #[serde(default)]
    pub(super) seen: Vec<(u64, Phase)>,
}

/// What a host's agent posts.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Posted {
    pub(super) region: Region,
    pub(super) host: HostName,
    /// When it was so, by the host's calendar, in nanoseconds since 1970,
    pub(super) at: WallTime,
    /// and by how much that may be off.
    pub(super) uncertainty: Duration,
    pub(super) runs: Vec<Runs>,
}

/// What came of listening, for whoever asks.
#[derive(Debug, Default)]
struct Heard {
    findings: Vec<Finding>,
    /// How many announcers are heard, of how many things.
    size: (usize, usize),
    /// Announcers of whom not all has come, or of whom two spoke.
    torn: BTreeSet<Announcer>,
    /// Announcers and keys that can't be read.
    unreadable: BTreeSet<Announcer>,
    strange: usize,
}

/// Whose keys there are, and how many are nobody's.
type There = (BTreeSet<Announcer>, usize);
/// What came of taking an announcer's fields.
type Took = Result<bool, &'static str>;

/// What has been said.
#[derive(Debug, Default)]
struct Said {
    /// By whom, and all of it, where it is not what was heard.
    fields: Vec<(Announcer, Fields)>,
    there: Option<There>,
}

/// Announcements at a node.
#[derive(Clone, Debug)]
pub struct Backstop {
    air: Air,
    clock: Clock,
    heard: Arc<Mutex<Heard>>,
    /// The regions that this node speaks for.
    voices: Arc<tokio::sync::Mutex<BTreeMap<Region, Voice>>>,
}

impl Backstop {
    /// With nothing heard yet; its figures are in the registry.
    #[must_use]
    pub fn new(air: Air, clock: Clock, registry: &Registry) -> Self {
        let new = Self { air, clock, heard: Arc::default(), voices: Arc::default() };
        let gauge = |name: &str, help: &str, of: fn(&Heard) -> usize| {
            let heard = new.heard.clone();
            let value = move || of(&heard.lock().unwrap_or_else(PoisonError::into_inner)) as f64;
            registry.gauge(name, help, &[], value);
        };
        let help = "Contradictions between what regions and hosts announce, as this node hears them.";
        gauge("dwcp_fleet_findings_count", help, |heard| heard.findings.len());
        gauge("dwcp_fleet_announcers_count", "Regions and hosts that this node hears.", |heard| heard.size.0);
        let help = "Machines that regions and hosts announce; one at home and running counts twice.";
        gauge("dwcp_fleet_announced_count", help, |heard| heard.size.1);
        let help =
            "Announcers that can't be read, and keys that are no announcer's: nothing of them is believed.";
        gauge("dwcp_fleet_unreadable_announcers_count", help, |heard| heard.unreadable.len() + heard.strange);
        new
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is wrong, by all that was heard.
    pub(super) fn findings(&self) -> Vec<Finding> {
        self.heard().findings.clone()
    }

    /// Says what a region believes that this node leads.
    pub(super) async fn region_says(&self, region: &Region, believed: &Belief, read: Read) {
        let who = Announcer::Region(region.clone());
        let mut voices = self.voices.lock().await;
        if self.heard().torn.contains(&who) {
            voices.remove(region);
        }
        let mut voice = match voices.remove(region) {
            Some(voice) => voice,
            None => match self.air.fields(&who).await {
                Ok(fields) => Voice::following(&who, &fields),
                Err(why) => return tracing::debug!("{region} can't announce for now: {why}"),
            },
        };
        if let Some(saying) = voice.say(believed, read)
            && let Err(why) = self.air.write(&who, saying).await
        {
            // What has come of it is read before it is gone on with.
            return tracing::debug!("{region} can't announce for now: {why}");
        }
        voices.insert(region.clone(), voice);
    }
    /// Another node speaks for a region.
    pub(super) async fn hushed(&self, region: &Region) {
        self.voices.lock().await.remove(region);
    }

    /// Says what a host's agent posts.
    pub(super) async fn host_says(&self, posted: Posted) -> Result<Value, Refusal> {
        let now = self.clock.now();
        let refused = |code, at: &str, what: String, remedy: &str| Refusal::new(code, at, what, remedy);
        if posted.at.as_nanos().abs_diff(now.wall.as_nanos()) > ANNOUNCED_MAX.as_nanos() {
            let what = "is more than five minutes from this node's calendar".to_string();
            return Err(refused(Code::Invalid, "at", what, "set the host's clock"));
        }
        let at = Now { wall: posted.at, uncertainty: posted.uncertainty, ..Now::default() };
        let runs = |one: Runs| (Topic::Vm(one.vm), What::Runs { epoch: one.epoch, seen: one.seen });
        let who = Announcer::Host(posted.region, posted.host);
        let believed: Belief = posted.runs.into_iter().map(runs).collect();
        let unheard =
            |why: String| refused(Code::Contention, "the announcements", why, "ask again, or another node");
        let fields = self.air.fields(&who).await.map_err(unheard)?;
        let saying = Voice::following(&who, &fields).say(&believed, Read::between(at, at));
        let said = saying.is_some();
        if let Some(saying) = saying {
            self.air.write(&who, saying).await.map_err(unheard)?;
        }
        Ok(json!({ "said": said }))
    }

    /// Listens, judges and tells until it is dropped.
    pub async fn listen(self) {
        let mut tick = tokio::time::interval(HEAR_EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut ear = Ear::default();
        loop {
            tick.tick().await;
            let said = self.said(&mut ear).await.unwrap_or_else(|why| {
                tracing::debug!("announcements can't be heard for now: {why}");
                Said::default()
            });
            let (now, there, begun) = (self.clock.now(), said.there.clone(), Instant::now());
            // Ten thousand machines take a tenth of a second: the node's own thread has better things to do.
            let judged = tokio::task::spawn_blocking(move || {
                let took = said.fields.into_iter().map(|(who, fields)| {
                    let took = ear.take(&who, &fields);
                    (who, took)
                });
                let took: Vec<_> = took.collect();
                if let Some((there, _)) = &said.there {
                    ear.keep(there, now);
                }
                let found = ear.findings(now);
                (ear, took, found)
            });
            // It ends without an answer only when the node does.
            let Ok((back, took, found)) = judged.await else { return };
            ear = back;
            self.tell(&ear, there, took, found);
            tick.reset_after(HEAR_EVERY.max(begun.elapsed() * RARELY));
        }
    }

    /// What has been said since, as far as it has come.
    async fn said(&self, ear: &mut Ear) -> Result<Said, String> {
        let (announcers, strange) = self.air.announcers().await?;
        let beats = self.air.beats(&announcers).await?;
        let mut fields = Vec::new();
        for (who, beat) in announcers.iter().zip(&beats) {
            // What has no beat that can be read is read as a whole, and refused as such.
            let changed = beat.as_deref().is_none_or(|beat| ear.beat(who, beat).unwrap_or(true));
            if changed {
                fields.push((who.clone(), self.air.fields(who).await?));
            }
        }
        Ok(Said { fields, there: Some((announcers.into_iter().collect(), strange)) })
    }

    fn tell(&self, ear: &Ear, there: Option<There>, took: Vec<(Announcer, Took)>, found: Vec<Finding>) {
        let heard = &mut *self.heard();
        for (who, took) in took {
            match took {
                Ok(true) => {
                    heard.unreadable.remove(&who);
                    heard.torn.remove(&who);
                }
                Ok(false) => {
                    heard.unreadable.remove(&who);
                    heard.torn.insert(who);
                }
                Err(why) => {
                    heard.torn.insert(who.clone());
                    let key = who.key();
                    if heard.unreadable.insert(who) {
                        tracing::warn!("what lies under {key} {why}: it is not heard");
                    }
                }
            }
        }
        if let Some((there, strange)) = there {
            heard.torn.retain(|who| there.contains(who));
            heard.unreadable.retain(|who| there.contains(who));
            heard.strange = strange;
        }
        for new in found.iter().filter(|one| !heard.findings.contains(one)) {
            tracing::warn!("the fleet contradicts itself: {}; {}", told(new), follows(new));
        }
        for old in heard.findings.iter().filter(|one| !found.contains(one)) {
            tracing::info!("the fleet contradicts itself no more: {}", told(old));
        }
        (heard.findings, heard.size) = (found, ear.size());
    }

    /// All of it, for the door.
    pub(super) fn shown(&self) -> Value {
        let heard = self.heard();
        let items = heard
            .findings
            .iter()
            .map(|one| json!({ "finding": one, "told": told(one), "follows": follows(one) }))
            .collect::<Vec<_>>();
        let (announcers, announced) = heard.size;
        let unreadable = heard.unreadable.len() + heard.strange;
        json!({ "items": items, "announcers": announcers, "announced": announced, "unreadable": unreadable })
    }
}

/// Names with their epochs.
fn each(all: &[(impl std::fmt::Display, u64)]) -> String {
    all.iter().map(|(who, epoch)| format!("{who} under epoch {epoch}")).collect::<Vec<_>>().join(", ")
}

/// A finding, for people.
fn told(finding: &Finding) -> String {
    match finding {
        Finding::RunsTwice { vm, keeps: (host, epoch), fence, .. } => {
            format!("{vm} runs on {host} under epoch {epoch} and on {}", each(fence))
        }
        Finding::OwnedTwice { vm, keeps: (region, epoch), quarantine, .. } => {
            format!("{vm} is at home in {region} under epoch {epoch} and in {}", each(quarantine))
        }
        Finding::AddressTwice { ip, keeps, down, .. } => {
            let down: Vec<String> = down.iter().map(ToString::to_string).collect();
            format!("{ip} is {keeps}'s and {}'s", down.join("'s and "))
        }
        Finding::NameTwice { name, keeps, renamed } => {
            let others: Vec<String> =
                renamed.iter().map(|(vm, other)| format!("{vm} (called {other})")).collect();
            format!("{name} is the name of {keeps} and of {}", others.join(", "))
        }
        Finding::OverCommitted { host, part, claimed, there } => {
            format!("{claimed} {part} are booked on {host}, which has {there}")
        }
        Finding::InvalidTransition { vm, epoch, from, to } => {
            format!("{vm} was {from:?} and then {to:?} under epoch {epoch}")
        }
    }
}

/// What follows from it.
const fn follows(finding: &Finding) -> &'static str {
    match finding {
        Finding::RunsTwice { tie: true, .. } | Finding::OwnedTwice { tie: true, .. } => {
            "both under one epoch, which nothing can have given: stop one of them"
        }
        Finding::RunsTwice { .. } => "storage serves the higher epoch only; the other's lease ends",
        Finding::OwnedTwice { .. } => {
            "the lower epoch's is switched off and kept; if its region's store was restored, `dwcp region reopen` puts it right"
        }
        Finding::AddressTwice { tie: true, .. } => "both under one epoch: stop one of them",
        Finding::AddressTwice { .. } => "the first keeps it: stop the other, or delete it",
        Finding::NameTwice { .. } => {
            "the first keeps it: the other is called so here, until one of them is deleted"
        }
        Finding::OverCommitted { .. } => {
            "the host is cordoned; migrate machines away, or let it join with what it has"
        }
        Finding::InvalidTransition { .. } => "look at the host's agent",
    }
}
