//! Rumours that were announced and did not come: waited for, then asked for, then left to the digest.

use super::{GUESTS_MAX, Here, Rumour, Tree};
use crate::message::{Body, RumourId, Way, write};
use crate::rumours::Store;
use crate::settings::{GRAFTS_MAX, IDS_MAX, MISSING_MAX, SOURCES_MAX};
use crate::step::Step;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use dwcp_env::{Instant, Lane, NodeId};

/// A rumour known to exist.
#[derive(Clone, Debug)]
pub(crate) struct Missing {
    /// Who could give it, and whether it is of our region; in the order of their announcements.
    sources: Vec<(NodeId, bool)>,
    at: Instant,
    tries: u32,
}

impl Tree {
    /// A peer announces rumours.
    pub(crate) fn announced<S: Store + ?Sized>(
        &mut self,
        step: &mut Step<'_>,
        here: &Here<'_>,
        store: &S,
        from: NodeId,
        near: bool,
        ids: &[RumourId],
    ) {
        for id in ids {
            if self.rumours.knows(*id, store) {
                continue;
            }
            let wait = if near {
                // A stagger by distance: the first node of a branch that was cut asks first.
                here.settings.graft_near + here.settings.graft_hop * (self.depth / 8).min(8)
            } else {
                here.settings.graft_far
            };
            let at = step.now + wait;
            if let Some(m) = self.missing.get_mut(id) {
                if m.sources.len() < SOURCES_MAX && !m.sources.contains(&(from, near)) {
                    m.sources.push((from, near));
                }
                // A source nearby shortens the wait for one far away.
                if at < m.at {
                    self.due.remove(&(m.at, *id));
                    m.at = at;
                    self.due.insert((at, *id));
                }
            } else if self.missing.len() < MISSING_MAX {
                self.missing.insert(*id, Missing { sources: alloc::vec![(from, near)], at, tries: 0 });
                self.due.insert((at, *id));
            } else {
                self.counts.given_up += 1;
            }
        }
    }

    /// Asks for what has not come in time.
    pub(super) fn graft(&mut self, step: &mut Step<'_>, here: &Here<'_>) {
        let mut wants: BTreeMap<(NodeId, bool), Vec<RumourId>> = BTreeMap::new();
        while let Some((at, id)) = self.due.first().copied() {
            if at > step.now {
                break;
            }
            self.due.remove(&(at, id));
            let Some(m) = self.missing.get_mut(&id) else { continue };
            if m.tries >= GRAFTS_MAX {
                self.missing.remove(&id);
                self.counts.given_up += 1;
                continue;
            }
            let (source, near) = m.sources[m.tries as usize % m.sources.len()];
            m.tries += 1;
            m.at = step.now + if near { here.settings.graft_near } else { here.settings.graft_far * 2 };
            self.due.insert((m.at, id));
            self.counts.grafts += 1;
            wants.entry((source, near)).or_default().push(id);
        }
        for ((source, near), ids) in wants {
            if near && let Some(eager) = self.links.get_mut(&source) {
                *eager = true;
            }
            for some in ids.chunks(IDS_MAX) {
                let body = Body::Want { ids: some.to_vec(), eager: near };
                step.send(source, Lane::Data, write(here.incarnation, &body, &[]));
            }
        }
    }

    /// A peer asks for rumours; what neither the cache nor the store gives, its other sources or a digest will.
    pub(crate) fn wanted<S: Store + ?Sized>(
        &mut self,
        step: &mut Step<'_>,
        here: &Here<'_>,
        store: &S,
        from: NodeId,
        near: bool,
        (ids, eager): (&[RumourId], bool),
    ) {
        let eager = eager && near;
        if eager
            && (self.links.contains_key(&from) || self.links.len() < 2 * here.settings.rings + GUESTS_MAX)
        {
            self.links.insert(from, true);
        }
        for id in ids {
            let Some((home, bytes)) = self.rumours.find(*id, here.region, store) else { continue };
            let hops = u8::try_from(self.depth / 8).unwrap_or(u8::MAX);
            let rumour = Rumour { id: *id, home, hops, bytes };
            if self.afford(step.now, here, from, &rumour) {
                self.send(step, here, from, &rumour, if eager { Way::Tree } else { Way::Direct });
            }
        }
    }

    pub(super) fn forget_missing(&mut self, id: RumourId) {
        if let Some(m) = self.missing.remove(&id) {
            self.due.remove(&(m.at, id));
        }
    }
}
