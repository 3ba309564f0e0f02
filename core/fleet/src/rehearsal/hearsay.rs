//! Regions and hosts announce what they believe, and what that says together is judged while the world goes on.
//!
//! Announcements are the backstop for what can't happen while clocks keep what they state and nobody writes past the doors. So
//! in a world that keeps its promises they find nothing, whatever moves, fails and is cut off ([`unfounded`]): every word
//! arrives here, at once, the latest and the oldest beside each other. Where a clock lied, a store was restored or a bug is planted, a
//! finding is right, and counted.
//!
//! It draws no dice and adds no events: a seed means what it meant.

use super::judge::Broken;
use super::world::World;
use crate::announce::{Announcer, BEAT, Belief, Ear, Read, Voice, belief};
use crate::finding::Finding;
use crate::key::Key;
use crate::planted::{self, Bug};
use crate::view::{Fetch, View};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{Instant, Now};

/// So many sayings go by between two judgements.
const JUDGED_EVERY: u64 = 32;

/// What lies in the keyspace, and what is heard of it.
#[derive(Default)]
pub(super) struct Hearsay {
    keys: BTreeMap<Announcer, BTreeMap<Bytes, Bytes>>,
    ear: Ear,
    said: u64,
}

impl World {
    /// A controller has read a region: the region says what it believes. `begun`: when it began to read.
    pub(super) fn region_says(&mut self, region: usize, clock: usize, begun: Instant, mut view: View) {
        let name = self.regions[region].clone();
        let charter = Fetch::One(Key::charter(&name));
        for (fetch, revision, found) in self.stores[region + 1].read(&[charter]) {
            view.take(&fetch, revision, found);
        }
        let now = self.plan.clocks[clock].at(self.now);
        let begun = self.plan.clocks[clock].at(begun);
        if let Ok(believed) = belief(&view, &name, now) {
            self.says(&Announcer::Region(name), &believed, begun, now);
        }
    }

    /// A host's agent says what it runs.
    pub(super) fn host_says(&mut self, host: usize) {
        let now = self.plan.clocks[host].at(self.now);
        let site = &self.sites[host];
        let Some(agent) = &site.agent else { return };
        let (believed, region) = (agent.belief(now), self.regions[site.region].clone());
        self.says(&Announcer::Host(region, site.name.clone()), &believed, now, now);
    }

    fn says(&mut self, who: &Announcer, believed: &Belief, begun: Now, now: Now) {
        let key = self.hearsay.keys.entry(who.clone()).or_default();
        let fields = |key: &BTreeMap<Bytes, Bytes>| -> Vec<(Bytes, Bytes)> {
            key.iter().map(|(field, value)| (field.clone(), value.clone())).collect()
        };
        if let Some(saying) = Voice::following(who, &fields(key)).say(believed, Read::between(begun, now)) {
            saying.gone.iter().for_each(|field| drop(key.remove(field)));
            key.extend(saying.put);
            key.insert(Bytes::from_static(BEAT), saying.beat);
            if self.hearsay.ear.take(who, &fields(key)) != Ok(true) {
                self.hold(unfounded(format!("{who:?} said what can't be heard")));
            }
        }
        self.hearsay.said += 1;
        if self.hearsay.said.is_multiple_of(JUDGED_EVERY) {
            self.overheard(now);
        }
    }

    fn overheard(&mut self, now: Now) {
        let elsewhere = Bug::ALL.iter().any(|bug| planted::is(*bug) && !bug.breaks().contains(&"unfounded"));
        for finding in self.hearsay.ear.findings(now) {
            let twice = matches!(finding, Finding::RunsTwice { .. });
            if self.plan.liar.is_some() {
                self.judge.tally.add("announcements contradicted each other: a clock lied");
            } else if self.judge.lossy() && !twice {
                self.judge.tally.add("announcements contradicted each other: a store was restored");
            } else if elsewhere {
                self.judge.tally.add("announcements contradicted each other: a bug is planted");
            } else {
                self.hold(unfounded(format!("{finding:?}")));
            }
        }
    }
}

fn unfounded(what: alloc::string::String) -> Result<(), Broken> {
    Err(Broken { invariant: "unfounded", what })
}
