//! Leases: keys that live as long as someone keeps them alive.
//!
//! **Promise.** A lease ends, and its keys go in one revision, only by a command in the log. When
//! its time is over is the leader's opinion, held by a [`LeaseClock`]: it counts on the leader's
//! monotonic clock and asks for `LeaseRevoke { expired: true }`.
//!
//! **Model.** The replicated part (`Leases`) knows lives and keys, no deadlines. A new leader gives
//! every lease its full life again: it can't know what the old one promised, and late is safe
//! where early is not.
//!
//! **Invariants.**
//! 1. A live key's lease exists; a key is attached to at most one lease.
//! 2. A lease is due no earlier than its life after the last renewal this leader answered.
//! 3. What is due stays due until the revocation is applied: a lost proposal is asked for again.

use crate::api::{LEASE_TTL_MAX_S, LEASE_TTL_MIN_S, LeaseId, OpError};
use bytes::Bytes;
use dwcp_env::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};

/// The most changes remembered for clocks that do not ask; behind it, they look at everything.
const CHANGES_MAX: usize = 4_096;

#[derive(Debug)]
struct Lease {
    ttl_s: i64,
    keys: BTreeSet<Bytes>,
}

/// A lease as others see it.
#[derive(Clone, Copy, Debug)]
pub struct LeaseView<'a> {
    /// Its name.
    pub id: LeaseId,
    /// Its life as granted, in seconds.
    pub ttl_s: i64,
    /// The keys that live under it.
    pub keys: &'a BTreeSet<Bytes>,
}

/// What happened to leases since a clock last looked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LeaseChanges {
    /// These, in order: granted with this life, or ended.
    These(Vec<(LeaseId, Option<i64>)>),
    /// Too much: look at all of them.
    Everything,
}

/// All leases.
#[derive(Debug)]
pub(crate) struct Leases {
    leases: BTreeMap<LeaseId, Lease>,
    of_key: BTreeMap<Bytes, LeaseId>,
    /// Changed since the last checkpoint began.
    dirty: BTreeSet<LeaseId>,
    changes: LeaseChanges,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            leases: BTreeMap::new(),
            of_key: BTreeMap::new(),
            dirty: BTreeSet::new(),
            changes: LeaseChanges::Everything,
        }
    }
}

impl Leases {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }
    /// One lease.
    pub(crate) fn get(&self, id: LeaseId) -> Option<LeaseView<'_>> {
        self.leases.get(&id).map(|l| LeaseView { id, ttl_s: l.ttl_s, keys: &l.keys })
    }
    /// All of them, by name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = LeaseView<'_>> {
        self.leases.iter().map(|(id, l)| LeaseView { id: *id, ttl_s: l.ttl_s, keys: &l.keys })
    }
    /// Makes a lease; answers with its name and life. `index` is the command's place in the log:
    /// the store's own choice of a name is a function of it.
    ///
    /// # Errors
    /// `LeaseExists`, `LeaseTtlTooLarge`.
    pub(crate) fn grant(&mut self, id: LeaseId, ttl_s: i64, index: u64) -> Result<(LeaseId, i64), OpError> {
        if ttl_s > LEASE_TTL_MAX_S {
            return Err(OpError::LeaseTtlTooLarge);
        }
        let id = if id == 0 { self.choose(index) } else { id };
        if self.leases.contains_key(&id) {
            return Err(OpError::LeaseExists);
        }
        let ttl_s = ttl_s.max(LEASE_TTL_MIN_S);
        self.leases.insert(id, Lease { ttl_s, keys: BTreeSet::new() });
        self.changed(id, Some(ttl_s));
        Ok((id, ttl_s))
    }
    /// A positive name not in use: the index times an odd constant, so that neighbours look apart.
    fn choose(&self, index: u64) -> LeaseId {
        let mut id = (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1) as LeaseId;
        while id == 0 || self.leases.contains_key(&id) {
            id = (id + 1) & LeaseId::MAX;
        }
        id
    }
    /// Ends a lease; answers with its keys, which the caller deletes.
    pub(crate) fn revoke(&mut self, id: LeaseId) -> Option<BTreeSet<Bytes>> {
        let lease = self.leases.remove(&id)?;
        self.changed(id, None);
        Some(lease.keys)
    }
    /// A key was put under `lease` (0: under none).
    /// `keeps` it with the lease before, too: a planted bug.
    pub(crate) fn attach(&mut self, key: &Bytes, lease: LeaseId, keeps: bool) {
        if lease == 0 {
            // Most keys never had a lease.
            if !self.of_key.is_empty() {
                self.detach(key);
            }
            return;
        }
        // Of its own: what is put is a part of the log's entry.
        let key = &Bytes::copy_from_slice(key);
        let before = self.of_key.insert(key.clone(), lease);
        if before == Some(lease) {
            return;
        }
        let before = before.filter(|_| !keeps);
        if let Some(before) = before.and_then(|b| self.leases.get_mut(&b)) {
            before.keys.remove(key);
        }
        let lease = self.leases.get_mut(&lease).expect("a key is only put under a lease that exists");
        lease.keys.insert(key.clone());
    }
    /// A key was deleted, or put under no lease.
    pub(crate) fn detach(&mut self, key: &Bytes) {
        let lease = self.of_key.remove(key).and_then(|id| self.leases.get_mut(&id));
        if let Some(lease) = lease {
            lease.keys.remove(key);
        }
    }
    /// The lease of a key, or 0.
    #[cfg(test)]
    pub(crate) fn of(&self, key: &[u8]) -> LeaseId {
        self.of_key.get(key).copied().unwrap_or(0)
    }
    fn changed(&mut self, id: LeaseId, ttl_s: Option<i64>) {
        self.dirty.insert(id);
        match &mut self.changes {
            LeaseChanges::These(list) if list.len() < CHANGES_MAX => list.push((id, ttl_s)),
            _ => self.changes = LeaseChanges::Everything,
        }
    }
    /// What happened since the last call.
    pub(crate) fn take_changes(&mut self) -> LeaseChanges {
        std::mem::replace(&mut self.changes, LeaseChanges::These(Vec::new()))
    }
    /// What changed since the last call, as rows: a life, or that it is gone.
    pub(crate) fn take_dirty(&mut self) -> Vec<(LeaseId, Option<i64>)> {
        let row = |id: LeaseId| (id, self.leases.get(&id).map(|l| l.ttl_s));
        std::mem::take(&mut self.dirty).into_iter().map(row).collect()
    }
    /// A row read back at boot.
    pub(crate) fn load(&mut self, id: LeaseId, ttl_s: i64) {
        self.leases.insert(id, Lease { ttl_s, keys: BTreeSet::new() });
    }
    /// A live key read back at boot; false if its lease does not exist.
    pub(crate) fn load_key(&mut self, key: &Bytes, lease: LeaseId) -> bool {
        if !self.leases.contains_key(&lease) {
            return false;
        }
        self.attach(key, lease, false);
        true
    }
}

#[derive(Clone, Copy, Debug)]
struct Deadline {
    ttl_s: i64,
    at: Instant,
    /// Where it stands in the queue: at the deadline, or behind it once it was named.
    queued: Instant,
}

/// The leader's opinion of when leases end. Nothing of it is replicated or stored.
#[derive(Debug, Default)]
pub struct LeaseClock {
    leading: bool,
    deadlines: BTreeMap<LeaseId, Deadline>,
    queue: BTreeSet<(Instant, LeaseId)>,
}

impl LeaseClock {
    /// A clock of a node that does not lead.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
    /// This node leads from now on: every lease has its full life again.
    pub fn lead(&mut self, now: Instant, store: &mut crate::Store) {
        self.leading = true;
        let _seen = store.leases_mut().take_changes();
        self.restart(now, store.leases_mut());
    }
    /// Two planted bugs: a clock that goes on from where it stood when this node led last, or that begins
    /// without the leases there are. Whether it leads now.
    #[cfg(feature = "planted-bugs")]
    pub fn resumes(&mut self, kept: bool, empty: bool, store: &mut crate::Store) -> bool {
        if empty {
            *self = Self { leading: true, ..Self::default() };
            let _seen = store.leases_mut().take_changes();
        }
        if kept {
            self.queue = self.deadlines.iter().map(|(id, d)| (d.at, *id)).collect();
            self.deadlines.values_mut().for_each(|d| d.queued = d.at);
        }
        (kept && self.leading) || empty
    }
    /// The first of them while another leads: nothing is due, and nothing forgotten.
    #[cfg(feature = "planted-bugs")]
    pub fn rest(&mut self) {
        self.queue.clear();
    }
    /// This node no longer leads: it has no opinion.
    pub fn follow(&mut self) {
        *self = Self::default();
    }
    /// Whether it has an opinion.
    #[must_use]
    pub const fn is_leading(&self) -> bool {
        self.leading
    }
    /// Takes over what was granted and ended since the last call. Call after each apply.
    pub fn observe(&mut self, now: Instant, store: &mut crate::Store) {
        let changes = store.leases_mut().take_changes();
        if !self.leading {
            return;
        }
        match changes {
            LeaseChanges::Everything => self.merge(now, store.leases_mut()),
            LeaseChanges::These(list) => {
                for (id, ttl_s) in list {
                    self.forget(id);
                    if let Some(ttl_s) = ttl_s {
                        self.set(now, id, ttl_s);
                    }
                }
            }
        }
    }
    fn restart(&mut self, now: Instant, leases: &Leases) {
        self.deadlines.clear();
        self.queue.clear();
        for lease in leases.iter() {
            self.set(now, lease.id, lease.ttl_s);
        }
    }
    fn merge(&mut self, now: Instant, leases: &Leases) {
        let known: Vec<LeaseId> = self.deadlines.keys().copied().collect();
        for id in known {
            // The same name with another life is another lease.
            if leases.get(id).is_none_or(|l| l.ttl_s != self.deadlines[&id].ttl_s) {
                self.forget(id);
            }
        }
        for lease in leases.iter() {
            if !self.deadlines.contains_key(&lease.id) {
                self.set(now, lease.id, lease.ttl_s);
            }
        }
    }
    fn set(&mut self, now: Instant, id: LeaseId, ttl_s: i64) {
        let at = now + Duration::secs(u64::try_from(ttl_s).unwrap_or(0));
        self.deadlines.insert(id, Deadline { ttl_s, at, queued: at });
        self.queue.insert((at, id));
    }
    fn forget(&mut self, id: LeaseId) {
        if let Some(deadline) = self.deadlines.remove(&id) {
            self.queue.remove(&(deadline.queued, id));
        }
    }
    /// A keep-alive: the full life again; answers with it in seconds. `None` if there is no such
    /// lease, or it is due and being revoked, or this node does not lead.
    pub fn renew(&mut self, now: Instant, id: LeaseId) -> Option<i64> {
        let deadline = *self.deadlines.get(&id)?;
        if deadline.at <= now {
            return None;
        }
        self.forget(id);
        self.set(now, id, deadline.ttl_s);
        Some(deadline.ttl_s)
    }
    /// What is left of a lease's life; zero if it is due.
    #[must_use]
    pub fn remaining(&self, now: Instant, id: LeaseId) -> Option<Duration> {
        self.deadlines.get(&id).map(|d| d.at.since(now))
    }
    /// The leases whose time is over, longest overdue first, at most `max`. Ask for their
    /// revocation; they stay due until it is applied, but are named again only `retry` later.
    pub fn due(&mut self, now: Instant, max: usize, retry: Duration) -> Vec<LeaseId> {
        let due: Vec<(Instant, LeaseId)> =
            self.queue.iter().take_while(|(at, _)| *at <= now).take(max).copied().collect();
        for entry in &due {
            self.queue.remove(entry);
            let deadline = self.deadlines.get_mut(&entry.1).expect("what is queued has a deadline");
            deadline.queued = now + retry;
            self.queue.insert((deadline.queued, entry.1));
        }
        due.into_iter().map(|(_, id)| id).collect()
    }
    /// When [`LeaseClock::due`] has something to say next.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(n: u64) -> Instant {
        Instant::ZERO + Duration::secs(n)
    }
    fn clock(leases: &Leases, now: Instant) -> LeaseClock {
        let mut clock = LeaseClock { leading: true, ..LeaseClock::default() };
        clock.restart(now, leases);
        clock
    }

    #[test]
    fn a_key_has_one_lease_and_a_lease_its_keys() {
        let mut leases = Leases::default();
        assert_eq!(leases.grant(1, 0, 0), Ok((1, LEASE_TTL_MIN_S)));
        assert_eq!(leases.grant(2, 60, 0), Ok((2, 60)));
        assert_eq!(leases.grant(2, 60, 0), Err(OpError::LeaseExists));
        assert_eq!(leases.grant(3, LEASE_TTL_MAX_S + 1, 0), Err(OpError::LeaseTtlTooLarge));
        let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
        leases.attach(&a, 1, false);
        leases.attach(&b, 1, false);
        leases.attach(&a, 2, false);
        assert_eq!((leases.of(b"a"), leases.of(b"b")), (2, 1));
        leases.attach(&b, 0, false);
        assert!(leases.get(1).unwrap().keys.is_empty());
        assert_eq!(leases.revoke(2), Some(BTreeSet::from([a])));
        assert_eq!(leases.revoke(2), None);
    }

    #[test]
    fn the_stores_own_names_are_positive_and_apart() {
        let mut leases = Leases::default();
        let names: BTreeSet<LeaseId> =
            (0..1_000).map(|index| leases.grant(0, 10, index / 2).unwrap().0).collect();
        assert_eq!(names.len(), 1_000);
        assert!(names.iter().all(|id| *id > 0));
    }

    #[test]
    fn due_after_its_life_without_renewal_and_until_revoked() {
        let mut leases = Leases::default();
        leases.grant(1, 10, 0).unwrap();
        leases.grant(2, 10, 0).unwrap();
        let mut clock = clock(&leases, s(0));
        assert_eq!(clock.renew(s(6), 2), Some(10));
        assert_eq!(clock.next(), Some(s(10)));
        assert_eq!(clock.due(s(9), 9, Duration::secs(1)), []);
        assert_eq!(clock.due(s(10), 9, Duration::secs(1)), [1]);
        assert_eq!(clock.due(s(10), 9, Duration::secs(1)), [], "not named twice at once");
        assert_eq!(clock.due(s(11), 9, Duration::secs(1)), [1], "the proposal may be lost");
        assert_eq!(clock.renew(s(11), 1), None, "too late");
        assert_eq!(clock.remaining(s(11), 1), Some(Duration::ZERO));
        assert_eq!(clock.remaining(s(11), 2), Some(Duration::secs(5)));
        assert_eq!(clock.due(s(16), 9, Duration::secs(1)), [1, 2]);
    }

    #[test]
    fn a_new_leader_gives_full_lives_and_merging_keeps_them() {
        let mut leases = Leases::default();
        leases.grant(1, 10, 0).unwrap();
        let mut clock = clock(&leases, s(100));
        assert_eq!(clock.next(), Some(s(110)));
        leases.grant(2, 5, 0).unwrap();
        clock.merge(s(104), &leases);
        assert_eq!((clock.deadlines[&1].at, clock.deadlines[&2].at), (s(110), s(109)));
        assert_eq!(clock.due(s(110), 9, Duration::secs(1)), [2, 1]);
        leases.revoke(1);
        clock.merge(s(110), &leases);
        assert_eq!(clock.deadlines.keys().copied().collect::<Vec<_>>(), [2]);
        assert_eq!(clock.due(s(200), 9, Duration::secs(1)), [2], "nothing is left of 1");
    }
}
