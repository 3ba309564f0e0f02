//! This replica's place in the roster, and what it does for the others'.

use crate::identity::Identity;
use crate::message::Message;
use crate::refusal::Refusal;
use crate::replica::{Eventual, Intent, Outbox};
use crate::roster::{self, Decided, Heard, Kept, Proposer, places};
use dwcp_crdt::{Batch, Member, ReplicaIndex, Roster, Space, Standing, VersionVector};
use dwcp_env::{Duration, Event, Instant, NodeId, Now};
use dwcp_gossip::Metadata;

/// Between wishes; a wish that was lost is made again then.
const WISH_AGAIN: Duration = Duration::secs(2);
/// An operator's word that a node will not come back is good for so long.
const EVICT_WITHIN: Duration = Duration::secs(60);
/// So long the next in line is waited for, if it does nothing.
const TURN: Duration = Duration::millis(400);
/// So long a proposal may be under way.
const PROPOSAL: Duration = Duration::secs(60);
/// Within this the end of a closing place is decided, usually.
const CLOSING_SOON: Duration = Duration::secs(5);
/// Peers that one that is not whole asks in a second.
const ASKED_AT_ONCE: usize = 3;

impl Eventual {
    /// What lies below the keyspace's prefix in the strong keyspace, read from this node's own copy of it.
    pub fn on_decided(&mut self, now: Now, kept: &[Kept]) {
        let before = self.decided.roster.as_ref().map(|(_, revision)| *revision);
        self.decided = Decided::read(&self.spec.keyspace, kept);
        if self.decided.roster.as_ref().map(|(_, revision)| *revision) != before {
            self.next_wish = now.mono + self.turn_after(now);
            self.next_tick = self.next_tick.min(self.next_wish);
        }
        self.decided_known = true;
        if let Some(documents) = &mut self.documents {
            documents.on_decided(&self.spec.keyspace, kept);
        }
        if let Some((roster, _)) = &self.decided.roster {
            let roster = roster.clone();
            self.adopt(&roster);
        }
    }

    /// How long after a change of the roster this replica wishes for the next. Those without a place stand in line, so that none
    /// waits for a race it would lose: the first wishes at once, and each change makes another the first. Who is down is passed over.
    fn turn_after(&mut self, now: Now) -> Duration {
        let Some((roster, _)) = &self.decided.roster else { return Duration::ZERO };
        let places = places(roster);
        if self.identity.is_some() && self.place_lost.is_none() {
            // All that is left to wish for has many who could.
            return Duration::millis(self.draw(now) % 400);
        }
        let before = |n: &&NodeId| **n < self.node && !places.contains_key(*n);
        let place_in_line = self.members.iter().filter(before).count() as u64;
        let jitter = Duration::millis(self.draw(now) % 50);
        if place_in_line == 0 { Duration::ZERO } else { (TURN * place_in_line).min(WISH_AGAIN) + jitter }
    }

    /// The prefix below which the roster lies.
    #[must_use]
    pub fn roster_prefix(&self) -> bytes::Bytes {
        roster::prefix(&self.spec.keyspace)
    }

    /// Takes a roster that consensus decided, from whomever.
    pub(crate) fn adopt(&mut self, next: &Roster) {
        if next.epoch <= self.space.roster().epoch || self.space.set_roster(next.clone()).is_err() {
            return;
        }
        self.append_roster(next);
        self.places = places(next);
        self.take_claimed(next);
        self.mind_standing();
    }

    /// Does what our own standing in the roster asks for.
    pub(crate) fn mind_standing(&mut self) {
        // A state that is given up may be all there is of what it took in last.
        self.drain();
        self.set_tails_aside();
        let Some((me, lost)) = self.identity.map(|i| (i.replica, i.lost)) else { return };
        match self.space.roster().get(me).map(|m| m.standing) {
            Some(Standing::Evicted { last, .. }) if self.place_lost.is_none() => {
                self.probe.reachable("eventual.evicted");
                if !lost && self.space.version().get(me) < last {
                    self.lose_records("it was evicted, and others have more of what it made than it has");
                }
                self.forget_state("it was evicted while it was silent");
            }
            Some(_) if self.is_superseded(me) => {
                self.lose_place("a place of this node after it was decided, and not taken before a crash");
            }
            Some(_) if self.diverged() => {
                self.forget_state("it has operations that were cut off when their maker was evicted");
            }
            Some(_) => {}
            None => self.lose_place("its place is not in the roster"),
        }
    }

    /// Whether this place was evicted.
    pub(crate) fn is_ended(&self, place: ReplicaIndex) -> bool {
        matches!(self.space.roster().get(place).map(|m| m.standing), Some(Standing::Evicted { .. }))
    }

    /// Whether a later place of this node takes part. Nobody will write there: whoever asked for it has forgotten.
    fn is_superseded(&self, me: ReplicaIndex) -> bool {
        let asked = self.claim.map(|(replica, _)| replica);
        let later = |(r, m): (ReplicaIndex, &Member)| {
            r > me && m.node == self.node && m.takes_part() && Some(r) != asked
        };
        self.space.roster().iter().any(later)
    }

    /// Whether we have operations that others will never have.
    fn diverged(&self) -> bool {
        let roster = self.space.roster();
        roster.iter().any(|(r, _)| self.space.version().get(r) > roster.last(r))
    }

    /// Begins anew with an empty state, to be filled from a peer.
    fn forget_state(&mut self, why: &'static str) {
        self.lose_place(why);
        // What perhaps only we have and still counts is passed on once there is a state to apply it to.
        self.leftover.extend(self.space.unstable_that_counts());
        let (config, roster) = (self.spec.space_config(), self.space.roster().clone());
        let me = self.space.me();
        self.space = Space::new(config, roster, me);
        (self.logged, self.writing, self.fetch) = (VersionVector::new(), None, None);
        self.covered.clear();
        if let Some(identity) = self.identity {
            self.append_identity(Identity { whole: false, ..identity });
        }
    }

    /// Our place was asked for, and here it is.
    fn take_claimed(&mut self, roster: &Roster) {
        let Some((replica, incarnation)) = self.claim else { return };
        let is_ours = |m: &Member| m.node == self.node && m.incarnation == incarnation && m.takes_part();
        let ours = roster.get(replica).is_some_and(is_ours);
        if !ours {
            return;
        }
        self.claim = None;
        // One that kept its state is as whole as it was. One that lost records may have lost removals that it said it had, and that
        // others have buried since: nothing may hang on what they removed.
        let kept = self.place_lost.is_some() && !self.records_lost;
        let whole = self.covers_all() || (self.identity.is_some_and(|i| i.whole) && kept);
        (self.place_lost, self.records_lost) = (None, false);
        self.space.take_place(replica);
        self.space.open();
        self.append_healed();
        self.append_identity(Identity { replica, incarnation, whole, lost: false, unsure: false });
        self.probe.sometimes("eventual.new_incarnation", incarnation > 1);
        self.probe.event(&Event::PlaceTaken { group: self.spec.group, replica: replica.0, incarnation });
        // Who hears our operations first must know our place by then: else it drops them, and they come by repair. The rest
        // learn it where we have.
        for to in self.gossip.all_relays().filter(|n| *n != self.node).collect::<Vec<_>>() {
            let message = Message::Roster(crate::identity::roster_bytes(roster));
            self.intents.push(Intent::Plain { to, message });
        }
        self.checkpoint_wanted = true;
    }

    /// The place can't be written from any more.
    pub(crate) fn lose_place(&mut self, why: &'static str) {
        if self.place_lost.is_none() {
            self.place_lost = Some(why);
            self.claim = None;
        }
        self.remember_loss();
    }

    /// That, and not all that we made there is known.
    pub(crate) fn lose_records(&mut self, why: &'static str) {
        self.records_lost = true;
        self.lose_place(why);
    }

    /// A checkpoint may replace what the loss was seen by: it is written down first.
    fn remember_loss(&mut self) {
        let Some(identity) = self.identity else { return };
        let next = Identity { lost: true, unsure: identity.unsure || self.records_lost, ..identity };
        if next != identity {
            self.append_identity(next);
        }
    }

    /// Whether nobody in the roster has anything that we lack: what all of them have together is all there is. So the first of
    /// all is whole, and so are those who began together, none of whom could learn it from another.
    pub(crate) fn covers_all(&self) -> bool {
        self.places.iter().all(|(n, r)| *n == self.node || self.covered.contains(n) || self.is_ended(*r))
    }

    /// The state is as whole as that of a peer.
    pub(crate) fn become_whole(&mut self) {
        let Some(identity) = self.identity.filter(|_| !self.unacknowledged) else { return };
        if identity.whole || self.place_lost.is_some() {
            return;
        }
        self.append_identity(Identity { whole: true, ..identity });
        self.probe.reachable("eventual.whole");
    }

    /// One that is not whole asks some each second: first those that have not answered yet.
    pub(crate) fn seek_company(&mut self, now: Now) {
        if self.serves() || self.identity.is_none() || self.fetch.is_some() {
            return;
        }
        let live = self.gossip.live().iter().copied().filter(|n| *n != self.node);
        let (known, strangers): (Vec<NodeId>, Vec<NodeId>) = live.partition(|n| self.covered.contains(n));
        for others in [strangers, known] {
            if !others.is_empty() {
                let start = self.draw(now) as usize % others.len();
                for i in 0..others.len().min(ASKED_AT_ONCE) {
                    self.ask(now, others[(start + i) % others.len()]);
                }
                return;
            }
        }
    }

    /// Wishes for what is due in the roster: our own place first.
    pub(crate) fn consider(&mut self, now: Now, out: &mut Outbox) {
        self.note_silence(now);
        if now.mono < self.next_wish || !self.decided_known {
            return;
        }
        if let Some(wish) = self.wish(now).or_else(|| self.promise_records(now)) {
            let jitter = Duration::millis(self.draw(now) % 1_000);
            self.next_wish = now.mono + WISH_AGAIN + jitter;
            out.wishes.push(wish);
        }
    }

    fn wish(&mut self, now: Now) -> Option<roster::Wish> {
        let keyspace = self.spec.keyspace.clone();
        if self.identity.is_none() || self.place_lost.is_some() {
            let next = match &self.decided.roster {
                // Without a free place the replica serves nobody, and says that it has none.
                Some((roster, _)) if self.records_lost => roster.admit(self.node)?,
                Some((roster, _)) => roster.readmit(self.node)?,
                None => (Roster::founding([self.node]), ReplicaIndex(0)),
            };
            let incarnation = next.0.get(next.1).map_or(1, |m| m.incarnation);
            self.claim = Some((next.1, incarnation));
            return Some(roster::wish(&keyspace, &self.decided, &next.0));
        }
        let me = self.place()?;
        let (roster, _) = self.decided.roster.as_ref()?;
        let mut said_all = true;
        for (r, m) in roster.iter() {
            let far = self.come_with(r);
            // A state that was fetched since may have brought more.
            let reported = self.decided.reports.get(&(r.0, me.0)).is_some_and(|said| said.0 >= far);
            // What a crash could take back is not reported, nor is less than what is about to be taken from our own log.
            let durable = self.wal.lock().durable() >= self.last_lsn && !self.unacknowledged;
            let more = !self.serves() && self.leftover.iter().any(|b| b.replica() == r);
            let ready = durable && !more && self.may_report(roster, me);
            said_all &= m.standing != Standing::Closing || reported;
            if m.standing == Standing::Closing && !reported && ready {
                return Some(roster::report_wish(&keyspace, &self.decided, r, me, far));
            }
            if let Standing::Evicted { last, .. } = m.standing
                && let Some(far) = self.short_of(now, r, last).filter(|_| durable)
            {
                return Some(roster::short_wish(&keyspace, &self.decided, (r, last), me, far));
            }
        }
        if !self.is_active(roster, me) {
            return None;
        }
        if let Some(next) = self.asked_to_evict(now, roster) {
            return Some(roster::wish(&keyspace, &self.decided, &next));
        }
        let by = Proposer { me, whole: self.serves(), reported: said_all, covered: &self.covered };
        let next = roster::due(now.mono, self.spec.patience, &by, &self.decided, &self.heard)?;
        let standing = |roster: &Roster, r| roster.get(r).map(|m| m.standing);
        let back = |r| standing(roster, r) == Some(Standing::Lagging) && self.is_active(&next, r);
        let ends = |r| {
            standing(roster, r) == Some(Standing::Closing) && standing(&next, r) != Some(Standing::Closing)
        };
        if next.iter().any(|(r, _)| back(r)) {
            self.promoting = Some((roster.epoch, now.mono));
        }
        if next.iter().any(|(r, _)| ends(r)) {
            self.deciding = Some((roster.epoch, now.mono));
        }
        Some(roster::wish(&keyspace, &self.decided, &next))
    }

    /// Takes an operator's word that a node will not come back soon.
    ///
    /// # Errors
    /// If it has no place that could be closed, or this replica can't see to it.
    pub(crate) fn evict(&mut self, now: Now, node: NodeId) -> Result<(), Refusal> {
        let roster = self.space.roster();
        if node == self.node {
            return Err(Refusal::Argument(format!("{node} is this node: ask another one to evict it")));
        }
        let Some(place) =
            self.places.get(&node).copied().filter(|r| roster.get(*r).is_some_and(Member::takes_part))
        else {
            return Err(Refusal::Argument(format!(
                "{node} has no place in this keyspace: `dwcp crdt status` lists those that have"
            )));
        };
        if !self.place().is_some_and(|me| self.is_active(roster, me)) {
            return Err(Refusal::NotReady("it is no active member itself: ask one that is".into()));
        }
        self.evict_asked = Some((place, now.mono + EVICT_WITHIN));
        self.next_wish = now.mono;
        Ok(())
    }

    /// The roster an operator asked for, until it is decided.
    fn asked_to_evict(&self, now: Now, roster: &Roster) -> Option<Roster> {
        let (place, _) = self.evict_asked.filter(|(_, until)| now.mono < *until)?;
        let standing = roster.get(place)?.standing;
        matches!(standing, Standing::Active | Standing::Lagging)
            .then(|| roster.with(place, Standing::Closing))
    }

    /// Whether this replica says how far it has come with one that closes: a lagging one, too, may have what no other has.
    fn may_report(&self, roster: &Roster, me: ReplicaIndex) -> bool {
        roster.get(me).is_some_and(|m| matches!(m.standing, Standing::Active | Standing::Lagging))
    }

    /// How far this replica has come with a place: with what waits here for its end to be decided, if that follows.
    fn come_with(&self, r: ReplicaIndex) -> u64 {
        let mut far = self.logged.get(r);
        if self.serves() {
            let mut waits: Vec<(u64, u64)> =
                self.leftover.iter().filter(|b| b.replica() == r).map(numbers).collect();
            waits.sort_unstable();
            for (first, last) in waits {
                if first <= far + 1 {
                    far = far.max(last);
                }
            }
        }
        far
    }

    /// How far this replica has come with an evicted one, if it has long lacked some of what counts of it and has not said so, or has
    /// said so and has come further.
    fn short_of(&self, now: Now, r: ReplicaIndex, last: u64) -> Option<u64> {
        let far = self.logged.get(r);
        let said = self.decided.short(r, last, self.place()?);
        let since = self.heard.get(&r).and_then(|h| h.short_since);
        // What waits here for the roster to count it is not lacked.
        let comes = self.leftover.iter().any(|b| b.replica() == r);
        let long = since.is_some_and(|s| now.mono.since(s) >= self.spec.patience.lagging);
        let long = long && self.serves() && !comes;
        let news = if far < last { long && said != Some(far) } else { said.is_some_and(|s| s < last) };
        news.then_some(far)
    }

    /// Whether it may have been decided that one who lagged is active again, because our log reaches back to what it has: so it must do
    /// then. Else what we alone had besides would be in no log, and if our own end were decided next, nobody could make it anew. A proposal
    /// is decided, or fails for good with the next epoch, or is given up.
    pub(crate) fn is_promoting(&self, now: Now) -> bool {
        self.is_under_way(now, self.promoting)
    }

    /// Whether it may have been decided, at what we have now, what of a closing place counts.
    pub(crate) fn is_deciding(&self, now: Now) -> bool {
        self.is_under_way(now, self.deciding)
    }

    fn is_under_way(&self, now: Now, proposal: Option<(u64, Instant)>) -> bool {
        proposal
            .is_some_and(|(epoch, at)| self.space.roster().epoch == epoch && now.mono.since(at) < PROPOSAL)
    }

    fn is_active(&self, roster: &Roster, r: ReplicaIndex) -> bool {
        roster.get(r).is_some_and(|m| m.standing == Standing::Active)
    }

    /// Whether somebody hears the node at this place, as gossip says: one broken link is no silence.
    fn is_live(&self, r: ReplicaIndex) -> bool {
        let Some(node) = self.space.roster().get(r).map(|m| m.node) else { return false };
        self.places.get(&node) == Some(&r) && self.gossip.member(node).is_some_and(|k| k.status.is_live())
    }

    /// Keeps the times of silence, by our own clock. Of one that lives and is never heard here (most of a large cluster are not)
    /// silence begins half of the patience before gossip takes it for dead.
    fn note_silence(&mut self, now: Now) {
        let standings: Vec<(ReplicaIndex, Standing)> =
            self.space.roster().iter().map(|(r, m)| (r, m.standing)).collect();
        for (r, standing) in standings {
            let reached = self.space.reaches(r);
            let live = self.is_live(r);
            let heard = self.heard.entry(r).or_insert(Heard::now(now.mono, reached));
            (heard.reached, heard.live) = (reached, live);
            if live {
                heard.at = heard.at.max(now.mono - self.spec.patience.lagging / 2);
            }
            let keep = |since: &mut Option<Instant>, so: bool| {
                *since = since.filter(|_| so).or(so.then_some(now.mono));
            };
            keep(&mut heard.lagging_since, standing == Standing::Lagging);
            keep(&mut heard.closing_since, standing == Standing::Closing);
            let short =
                matches!(standing, Standing::Evicted { last, .. } if self.space.version().get(r) < last);
            keep(&mut heard.short_since, short);
        }
    }

    /// Whether all that a peer has and we lack is of places that have been closing for some time. Of these nothing is taken one by one, so
    /// it comes with the peer's state.
    pub(crate) fn lacks_only_what_closes(&self, now: Now, theirs: &VersionVector) -> bool {
        let closes = |r| {
            let since = self.heard.get(&r).and_then(|h| h.closing_since);
            since.is_some_and(|s| now.mono.since(s) >= CLOSING_SOON)
        };
        theirs.iter().filter(|(r, s)| *s > self.space.version().get(*r)).all(|(r, _)| closes(r))
    }

    /// How this node describes itself to gossip.
    pub(crate) fn metadata(spec: &crate::EventualSpec, replica: Option<ReplicaIndex>) -> Metadata {
        Metadata { region: spec.region, replica: replica.map(|r| r.0), address: String::new() }
    }
}

/// The first and the last number of a batch.
fn numbers(batch: &Batch) -> (u64, u64) {
    (batch.first().sequence(), batch.last().sequence())
}
