//! Comparing whole views: what rounds of facts have missed, joining, and the way back from a partition.
//!
//! ```text
//!  A: Compare(64 sums over the living) →  B: equal? nothing.
//!                                         ← Page(want: buckets that differ; B's living in them)
//!  A: Page(want: none; A's living in them) →
//!  A: Page(those whom B calls alive and A knows dead) →   B asks the accused themselves
//! ```
//!
//! A summary is 64 numbers whatever the size of the cluster: it fits a datagram at 16,384 members
//! (Quickwit #6653: a digest of members outgrew its packet at 500). Pages are bounded to [`PAGES_MAX`] a
//! comparison, from a bucket drawn at random, so that several comparisons together carry any difference.

use super::{Detector, Spread};
use crate::member::{Claim, Knowledge, Update};
use crate::message::{Body, room, size, write};
use crate::step::Step;
use crate::table::{BUCKETS, bucket};
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, Lane, NodeId, Purpose};

/// How long a comparison may take, and how many may run.
const COMPARED_FOR: Duration = Duration::secs(5);
const COMPARED_MAX: usize = 256;
const SYNC: Purpose = Purpose::named("gossip.sync");
/// Pages of one comparison: 150 KB.
const PAGES_MAX: usize = 128;
/// Between tries to join while nobody is known. Seeds that are still strangers after that are asked as often as the dead.
const JOIN_EVERY: Duration = Duration::secs(1);

impl Detector {
    /// Seeds to ask until each of them is known; their addresses are the caller's.
    ///
    /// To stop at the first that answers would be wrong: two that begin together and know only each other would be a
    /// cluster of their own for good, with nobody dead to reach for.
    pub(crate) fn join(&mut self, now: Instant, seeds: Vec<NodeId>) {
        self.seeds = seeds;
        self.seeds.retain(|s| *s != self.me);
        self.next_join = now;
    }

    pub(super) fn sync_timers(&mut self, step: &mut Step<'_>) {
        if self.is_leaving() {
            (self.next_sync, self.next_reconnect, self.next_join) =
                (Instant::FAR, Instant::FAR, Instant::FAR);
            return;
        }
        let me = self.me;
        if step.now >= self.next_join {
            self.ask_a_seed(step);
        }
        if step.now >= self.next_sync {
            self.next_sync = step.now + self.settings.sync_every;
            if let Some(peer) = step.pick(self.table.live(), SYNC, |n| n != me) {
                self.ask_view(step, peer);
            }
        }
        if step.now >= self.next_reconnect {
            self.next_reconnect = step.now + self.settings.reconnect_every;
            self.reach_for_the_dead(step);
        }
    }

    fn ask_a_seed(&mut self, step: &mut Step<'_>) {
        let alone = self.table.live().len() <= 1;
        let stranger = |s: NodeId| self.table.get(s).is_none() && !self.table.is_retired(s);
        let seed = step.pick(&self.seeds, SYNC, |s| alone || stranger(s));
        self.next_join = match seed {
            Some(_) if alone => step.now + JOIN_EVERY,
            Some(_) => step.now + self.settings.reconnect_every,
            None => Instant::FAR,
        };
        if let Some(seed) = seed {
            self.ask_view(step, seed);
        }
    }

    /// One of the dead is tried: a partition looks the same from here.
    fn reach_for_the_dead(&mut self, step: &mut Step<'_>) {
        let graves = self.table.graves();
        if graves.is_empty() {
            return;
        }
        let start = step.below(graves.len(), SYNC);
        let dead = (0..graves.len().min(64)).map(|i| graves[(start + i) % graves.len()]).find(|id| {
            self.table
                .get(*id)
                .is_some_and(|k| k.status == crate::member::Status::Dead && k.described.is_some())
        });
        if let Some(dead) = dead {
            self.ask_view(step, dead);
        }
    }

    /// Compares views with a peer of whom a message shows that it knows more about itself than we do.
    pub(super) fn ask_for_view(&mut self, step: &mut Step<'_>, peer: NodeId) {
        if !self.is_leaving() && !self.table.is_retired(peer) && self.may_tell(step.now, peer) {
            self.ask_view(step, peer);
        }
    }

    fn ask_view(&mut self, step: &mut Step<'_>, peer: NodeId) {
        let body = Body::Compare { summary: self.table.summary().to_vec() };
        // The own fact first: who asks may be new, or dead to the peer.
        let mine = self.fact_of(self.me);
        if self.compared.len() >= COMPARED_MAX {
            self.compared.clear();
        }
        self.compared.insert(peer, step.now);
        self.say(step, peer, &body, mine);
    }

    pub(super) fn compare(&mut self, step: &mut Step<'_>, from: NodeId, summary: &[u64]) {
        let mine = self.table.summary();
        let differ = (0..BUCKETS).filter(|b| mine[*b] != summary[*b]).fold(0, |m, b| m | (1_u64 << b));
        if differ != 0 {
            self.send_view(step, from, differ, differ);
        }
    }

    /// Sends those of some buckets who are there; asks for the peer's of `want`.
    fn send_view(&self, step: &mut Step<'_>, to: NodeId, buckets: u64, want: u64) {
        let first = step.below(BUCKETS, SYNC);
        let mut facts: Vec<(usize, Update)> = Vec::new();
        for id in self.table.live() {
            let b = bucket(*id);
            if buckets & (1 << b) == 0 {
                continue;
            }
            let Some(k) = self.table.get(*id) else { continue };
            let place = (b + BUCKETS - first) % BUCKETS;
            facts.extend(described(*id, k).map(|u| (place, u)));
            if k.status == crate::member::Status::Suspect {
                facts.extend(self.fact_of(*id).map(|u| (place, u)));
            }
        }
        facts.sort_by_key(|f| f.0);
        self.send_pages(step, to, want, facts.into_iter().map(|f| f.1));
    }

    fn send_pages(&self, step: &mut Step<'_>, to: NodeId, want: u64, facts: impl Iterator<Item = Update>) {
        let (mut want, mut pages) = (want, 0);
        let mut page: Vec<Update> = Vec::new();
        let full = room(self.incarnation, &Body::Page { want: u64::MAX });
        let mut left = full;
        let mut send = |page: &mut Vec<Update>, want: &mut u64| {
            let refs: Vec<&Update> = page.iter().collect();
            step.send(to, Lane::Bulk, write(self.incarnation, &Body::Page { want: *want }, &refs));
            *want = 0;
            page.clear();
        };
        for fact in facts {
            let bytes = size(&fact);
            if bytes > left || page.len() == 250 {
                send(&mut page, &mut want);
                pages += 1;
                left = full;
                if pages == PAGES_MAX {
                    return;
                }
            }
            left -= bytes;
            page.push(fact);
        }
        if !page.is_empty() || want != 0 {
            send(&mut page, &mut want);
        }
    }

    pub(super) fn page(&mut self, step: &mut Step<'_>, from: NodeId, want: u64, updates: Vec<Update>) {
        let mut wrong: Vec<Update> = Vec::new();
        for update in updates {
            let held = self.table.get(update.id);
            match &update.claim {
                Claim::Dead { .. } if update.id != self.me => {
                    if held.is_some_and(|k| k.is_live() && k.incarnation <= update.incarnation) {
                        self.accuse(update);
                    }
                }
                Claim::Alive(_) | Claim::Suspect { .. }
                    if held.is_some_and(|k| {
                        !k.status.is_live() && k.incarnation >= update.incarnation && update.id != self.me
                    }) =>
                {
                    wrong.extend(self.fact_of(update.id));
                }
                _ => self.learn(step, update, Spread::Briefly),
            }
        }
        if !wrong.is_empty() {
            self.send_pages(step, from, 0, wrong.into_iter());
        }
        // Only a peer whose view we asked to compare, lately and once, may ask for ours.
        if want != 0 && self.compared.remove(&from).is_some_and(|at| step.now.since(at) <= COMPARED_FOR) {
            self.send_view(step, from, want, 0);
        }
    }
}

/// The fact of a member's own description.
fn described(id: NodeId, k: &Knowledge) -> Option<Update> {
    let (incarnation, m) = k.described.as_ref()?;
    Some(Update { id, incarnation: *incarnation, claim: Claim::Alive(m.clone()) })
}
