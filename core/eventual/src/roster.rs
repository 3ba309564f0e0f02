//! The keyspace's roster, as it lies in a strong keyspace, and what this replica wishes to be changed in it.
//!
//! ```text
//! \0dwcp/eventual/<keyspace>/roster                       the roster's canonical bytes
//! \0dwcp/eventual/<keyspace>/closing/<replica>/<reporter> how far the reporter has come with the replica, decimal
//! \0dwcp/eventual/<keyspace>/heads/<replica>             heads of the replica's chain of records ([`crate::documents`])
//! \0dwcp/eventual/<keyspace>/short/<replica>/<last>/<reporter>   the same, of one evicted at `last`, which the reporter has long lacked
//! ```
//!
//! Every change is a compare-and-set on the key's revision; whoever proposes it may be anybody, and a proposal made from
//! an old state fails. A replica without a quorum in reach goes on with the roster it knows.
//!
//! | wish | made by | when |
//! |---|---|---|
//! | found, admit | the node itself | it has no place, or can't be sure to know all it sent from the one it had |
//! | active → lagging | any *active* member that can reach a quorum | silent for [`Patience::lagging`], while others were heard |
//! | lagging → active | the same, if it serves | it is heard again, says that it knows this very roster, and the log reaches back to what it has: from now on it is kept |
//! | → closing | any active member | lagging for [`Patience::evict`] longer; at once if the node has a later place |
//! | closing → evicted | the same, if it serves; or if there is nobody left to take a state from | every active member has reported how far it has come, and each lagging one that is heard or live in gossip (for [`LAGGING_REPORTS`]): the most of these counts. From now on the node is awaited at its next place |
//! | evicted → evicted lower | the same | all who take part are active, each has reported for the patience of a silence that it lacks some of what counts, and nobody is awaited who made it |
//! | awaited → active | the node itself | it is back, and has its log. Without it, it is admitted at another place |
//!
//! **Only an active member changes another's standing.** The log is kept for active members; so whoever cut an operation from its
//! log knows that each of them has it. A lagging member that returns takes their state and adds from its own
//! log what they lack. If it could declare *them* lagging first — after an hour alone it has heard nobody for an hour —
//! it would cut its log as they have cut theirs, and neither could ever take what the other has.
//!
//! **A whole state is never given up but for another.** Whoever has operations that an eviction cut off must begin anew with a peer's state
//! (`membership`, `forget_state`). For one to be left, two things are seen to:
//!
//! 1. *An end is decided by one who serves*, at no less than it has itself: so after every eviction there is one whole state of
//!    which all counts. The most that those have who lost theirs may be nothing, and the one they would have to learn it from may lag, or be closing
//!    itself; they take its state ([`fetch`](crate::fetch)) and decide then. Only if all other nodes have nothing that it lacks, or close and are silent
//!    for as long as one that lags, does a member that is not whole decide: nothing more is to be had.
//! 2. *Who is called active again knows all ends that were decided.* In those to come it has a say, so who is active and serves never has
//!    what is cut off, and its state outlives the loss of any other's. Histories found what happens otherwise: members that were called active before they
//!    heard of an eviction took in what it cut off, and all of them gave up their states at once.
//!
//! "Silent" is who is not heard here and not live in gossip either: if it were direct hearing alone, one broken link would make a member lag
//! and return for ever, and in a cluster of a thousand most pairs never speak. It is measured by each member's own
//! monotonic clock; no operation, tombstone or value ever ends by one.
//!
//! **Evicted anew, lower.** Who reported the most may lose its disk before it has passed on what it reported. Then the roster counts
//! operations that nobody has, and every floor of tombstones waits for them. Who lacks some for so long as a silence is borne
//! ([`Patience::lagging`]) says so, and takes it back should they come. Once nobody is left who has not said it, nobody has them:
//! whoever had would have sent them within seconds. But for their maker: while its next place awaits it, it may come with them.

use crate::identity::{read_roster, roster_bytes};
use bytes::Bytes;
use dwcp_conflict::audit::Promised;
use dwcp_crdt::{Member, ReplicaIndex, Roster, Standing};
use dwcp_env::{Duration, Instant, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// How long a closing place waits for the word of a lagging member; its node's next place serves nobody meanwhile.
const LAGGING_REPORTS: Duration = Duration::secs(60);

/// How long a silent member is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Before the log is no longer kept for it.
    pub lagging: Duration,
    /// After that, before it is evicted.
    pub evict: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { lagging: Duration::secs(3_600), evict: Duration::secs(23 * 3_600) }
    }
}

/// A write to the strong keyspace, done only if the key is still as it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wish {
    /// Which key.
    pub key: Bytes,
    /// Its modification revision when it was seen; 0: it was not there.
    pub seen: i64,
    /// What to write.
    pub value: Bytes,
}

/// The prefix under which a keyspace's keys lie.
#[must_use]
pub fn prefix(keyspace: &str) -> Bytes {
    format!("\0dwcp/eventual/{keyspace}/").into()
}

/// A key of the strong keyspace below the prefix, with its modification revision.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The whole key.
    pub key: Bytes,
    /// Its modification revision.
    pub revision: i64,
    /// Its value.
    pub value: Bytes,
}

/// What the strong keyspace says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    /// The roster and its revision.
    pub(crate) roster: Option<(Roster, i64)>,
    /// How far reporters have come with a closing replica.
    pub(crate) reports: BTreeMap<(u16, u16), (u64, i64)>,
    /// The same of one evicted at a number, by who lacks some of that.
    short: BTreeMap<(u16, u64, u16), (u64, i64)>,
    /// What was promised of replicas' chains of records.
    pub(crate) heads: BTreeMap<u16, (Promised, i64)>,
}

impl Decided {
    /// Reads all keys below the prefix. What can't be read is passed over: it is no roster of ours.
    pub(crate) fn read(keyspace: &str, kept: &[Kept]) -> Self {
        let prefix = prefix(keyspace);
        let mut out = Self::default();
        for k in kept {
            let Some(rest) = k.key.strip_prefix(&prefix[..]) else { continue };
            if rest == b"roster" {
                out.roster = read_roster(&k.value).map(|r| (r, k.revision));
            } else if let Some(([of, by], far)) = report(rest, b"closing/", &k.value) {
                out.reports.insert((of as u16, by as u16), (far, k.revision));
            } else if let Some(([of, last, by], far)) = report(rest, b"short/", &k.value) {
                out.short.insert((of as u16, last, by as u16), (far, k.revision));
            } else if let Some(of) = rest.strip_prefix(b"heads/").and_then(number)
                && let Ok(promised) = Promised::from_bytes(&k.value)
            {
                out.heads.insert(of, (promised, k.revision));
            }
        }
        out
    }
    /// How far a member said it has come with one evicted at `last`.
    pub(crate) fn short(&self, of: ReplicaIndex, last: u64, by: ReplicaIndex) -> Option<u64> {
        self.short.get(&(of.0, last, by.0)).map(|(far, _)| *far)
    }
}

/// A place's number.
fn number(text: &[u8]) -> Option<u16> {
    core::str::from_utf8(text).ok()?.parse().ok()
}

/// The numbers in a key, places first and last, and in its value.
fn report<const N: usize>(rest: &[u8], of: &[u8], value: &[u8]) -> Option<([u64; N], u64)> {
    let text = core::str::from_utf8(rest.strip_prefix(of)?).ok()?;
    let far = core::str::from_utf8(value).ok()?.parse().ok()?;
    let numbers: Option<Vec<u64>> = text.split('/').map(|n| n.parse().ok()).collect();
    let numbers: [u64; N] = numbers?.try_into().ok()?;
    let places = [numbers.first()?, numbers.last()?];
    places.into_iter().all(|p| *p <= u64::from(u16::MAX)).then_some((numbers, far))
}

/// A wish for another roster.
pub(crate) fn wish(keyspace: &str, decided: &Decided, next: &Roster) -> Wish {
    let key = [&prefix(keyspace)[..], b"roster"].concat().into();
    Wish { key, seen: decided.roster.as_ref().map_or(0, |(_, r)| *r), value: roster_bytes(next) }
}

/// A promise of how far a replica's chain of records has come.
pub(crate) fn heads_wish(keyspace: &str, decided: &Decided, of: ReplicaIndex, heads: &Promised) -> Wish {
    let key = [&prefix(keyspace)[..], format!("heads/{}", of.0).as_bytes()].concat().into();
    Wish { key, seen: decided.heads.get(&of.0).map_or(0, |(_, r)| *r), value: heads.to_bytes().into() }
}

/// A report of how far `by` has come with `of`.
pub(crate) fn report_wish(
    keyspace: &str,
    decided: &Decided,
    of: ReplicaIndex,
    by: ReplicaIndex,
    far: u64,
) -> Wish {
    let key = [&prefix(keyspace)[..], format!("closing/{}/{}", of.0, by.0).as_bytes()].concat().into();
    let seen = decided.reports.get(&(of.0, by.0)).map_or(0, |(_, r)| *r);
    Wish { key, seen, value: far.to_string().into() }
}

/// A report that `by` has come so far, and no further, with `of`, which was evicted at this number.
pub(crate) fn short_wish(
    keyspace: &str,
    decided: &Decided,
    (of, last): (ReplicaIndex, u64),
    by: ReplicaIndex,
    far: u64,
) -> Wish {
    let key = [&prefix(keyspace)[..], format!("short/{}/{last}/{}", of.0, by.0).as_bytes()].concat().into();
    let seen = decided.short.get(&(of.0, last, by.0)).map_or(0, |(_, r)| *r);
    Wish { key, seen, value: far.to_string().into() }
}

/// What one member knows about another's silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    /// When it was heard last, or when we began to listen.
    pub(crate) at: Instant,
    /// Whether gossip takes it for live.
    pub(crate) live: bool,
    /// When it was first seen to be lagging.
    pub(crate) lagging_since: Option<Instant>,
    /// Whether our log holds all that it is not known to have.
    pub(crate) reached: bool,
    /// The epoch of the latest roster that it said it goes by.
    pub(crate) epoch: u64,
    /// When it was first seen to be closing.
    pub(crate) closing_since: Option<Instant>,
    /// Since when some of what counts of it is missing here, once it is evicted.
    pub(crate) short_since: Option<Instant>,
}

impl Heard {
    /// One that is heard now for the first time.
    pub(crate) const fn now(at: Instant, reached: bool) -> Self {
        Self {
            at,
            live: false,
            lagging_since: None,
            reached,
            epoch: 0,
            closing_since: None,
            short_since: None,
        }
    }
}

/// The member that proposes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proposer<'c> {
    /// Its place.
    pub(crate) me: ReplicaIndex,
    /// It serves.
    pub(crate) whole: bool,
    /// It has said how far it has come with all that close, and has not come further since.
    pub(crate) reported: bool,
    /// Nodes that had nothing it lacks.
    pub(crate) covered: &'c BTreeSet<NodeId>,
}

impl Proposer<'_> {
    /// Whether it may decide what counts of a closing place, see the module's header.
    fn may_end(&self, roster: &Roster, silent: impl Fn(ReplicaIndex) -> bool) -> bool {
        let nothing_to_take = |(node, r): (NodeId, ReplicaIndex)| {
            let gone = match roster.get(r).map(|m| m.standing) {
                Some(Standing::Closing) => silent(r),
                Some(Standing::Active | Standing::Lagging) => false,
                _ => true,
            };
            r == self.me || gone || self.covered.contains(&node)
        };
        self.reported && (self.whole || places(roster).into_iter().all(nothing_to_take))
    }
}

/// The place of each node's latest life.
pub(crate) fn places(roster: &Roster) -> BTreeMap<NodeId, ReplicaIndex> {
    roster.iter().filter(|(_, m)| m.standing != Standing::Awaited).map(|(r, m)| (m.node, r)).collect()
}

/// The next roster, if one is due. Only one that serves can say of another that it has caught up, and of a third what of it counts; the rest
/// any member may propose, or members none of whom serves would wait for a dead one for ever.
pub(crate) fn due(
    now: Instant,
    patience: Patience,
    by: &Proposer<'_>,
    decided: &Decided,
    heard: &BTreeMap<ReplicaIndex, Heard>,
) -> Option<Roster> {
    let (roster, _) = decided.roster.as_ref()?;
    let me = by.me;
    let silence = |r| heard.get(&r).map_or(Duration::ZERO, |h: &Heard| now.since(h.at));
    let is_back = |r, m: &Member| {
        let knows = |h: &Heard| h.reached && h.epoch >= roster.epoch;
        m.standing == Standing::Lagging
            && silence(r) < patience.lagging / 4
            && heard.get(&r).is_some_and(knows)
    };
    for (r, m) in roster.iter().filter(|(r, _)| *r != me) {
        let silent = silence(r);
        let superseded = roster.iter().any(|(o, n)| o > r && n.node == m.node);
        match m.standing {
            Standing::Active | Standing::Lagging if superseded => {
                return Some(roster.with(r, Standing::Closing));
            }
            Standing::Active if silent >= patience.lagging => return Some(roster.with(r, Standing::Lagging)),
            Standing::Lagging => {
                let Some(h) = heard.get(&r) else { continue };
                if by.whole && is_back(r, m) {
                    // All at once: each change of the roster is news that the next has to have heard of.
                    let back = roster.iter().filter(|(r, m)| *r != me && is_back(*r, m));
                    return Some(back.fold(roster.clone(), |next, (r, _)| next.with(r, Standing::Active)));
                }
                if h.lagging_since.is_some_and(|s| now.since(s) >= patience.evict)
                    && silent >= patience.lagging
                {
                    return Some(roster.with(r, Standing::Closing));
                }
            }
            Standing::Closing if by.may_end(roster, |r| silence(r) >= patience.lagging) => {
                let since = heard.get(&r).and_then(|h| h.closing_since);
                let patient = LAGGING_REPORTS.min(patience.lagging / 4);
                let waits = since.is_none_or(|s| now.since(s) < patient);
                let is_heard =
                    |by| heard.get(&by).is_some_and(|h| h.live || now.since(h.at) < patience.lagging / 4);
                if let Some(last) = most_of_all(decided, roster, r, |by| by != me && waits && is_heard(by)) {
                    let heir = heir(roster, r);
                    return Some(roster.with(r, Standing::Evicted { last, heir }));
                }
            }
            Standing::Evicted { last, heir } => {
                if let Some(last) = most_of_the_short(decided, roster, r, last) {
                    return Some(roster.with(r, Standing::Evicted { last, heir }));
                }
            }
            Standing::Active | Standing::Closing | Standing::Awaited => {}
        }
    }
    None
}

/// The most that anybody has of a closing one, if all active members have said, and those lagging that are waited for.
fn most_of_all(
    decided: &Decided,
    roster: &Roster,
    of: ReplicaIndex,
    waited: impl Fn(ReplicaIndex) -> bool,
) -> Option<u64> {
    let mut most = 0;
    for (by, m) in roster.iter() {
        let far = decided.reports.get(&(of.0, by.0)).map(|(far, _)| *far);
        match m.standing {
            Standing::Active => most = most.max(far?),
            Standing::Lagging if waited(by) => most = most.max(far?),
            Standing::Lagging => most = most.max(far.unwrap_or(0)),
            _ => {}
        }
    }
    Some(most)
}

/// The most that anybody has of one evicted at `last`, if all who take part are active, and each has said that it has less. While its
/// maker is awaited, it may have what nobody else has; it counts its tail from the end it was told.
fn most_of_the_short(decided: &Decided, roster: &Roster, of: ReplicaIndex, last: u64) -> Option<u64> {
    if roster.next_place(of).is_some_and(|m| m.standing == Standing::Awaited) {
        return None;
    }
    let mut most = None;
    for (by, m) in roster.iter().filter(|(_, m)| m.takes_part()) {
        let far = decided.short(of, last, by).filter(|far| *far < last && m.standing == Standing::Active)?;
        most = most.max(Some(far));
    }
    most
}

/// Who inherits: the node's next life, or the first active member.
fn heir(roster: &Roster, of: ReplicaIndex) -> Option<ReplicaIndex> {
    let node: Option<NodeId> = roster.get(of).map(|m| m.node);
    let active = || roster.iter().filter(|(_, m)| m.standing == Standing::Active);
    let next_life = active().filter(|(r, m)| *r > of && Some(m.node) == node).last();
    next_life.or_else(|| active().next()).map(|(r, _)| r)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(roster: Roster, reports: &[(u16, u16, u64)]) -> Decided {
        let reports = reports.iter().map(|(of, by, far)| ((*of, *by), (*far, 5))).collect();
        Decided { roster: Some((roster, 3)), reports, ..Decided::default() }
    }

    fn heard(seconds: u64, lagging: Option<u64>, reached: bool) -> Heard {
        let at = |s| Instant::ZERO + Duration::secs(s);
        Heard { lagging_since: lagging.map(at), epoch: 99, ..Heard::now(at(seconds), reached) }
    }

    static NOBODY: BTreeSet<NodeId> = BTreeSet::new();

    fn whole(place: u16) -> Proposer<'static> {
        Proposer { me: ReplicaIndex(place), whole: true, reported: true, covered: &NOBODY }
    }

    #[test]
    fn what_a_lagging_member_that_is_heard_has_counts_in_an_eviction() {
        let p = Patience { lagging: Duration::secs(100), evict: Duration::secs(200) };
        let (roster, _) = Roster::founding([NodeId(1), NodeId(2), NodeId(3)]).admit(NodeId(3)).unwrap();
        let (old, lagging) = (ReplicaIndex(2), ReplicaIndex(1));
        let roster = roster.with(old, Standing::Closing).with(lagging, Standing::Lagging);
        let closing = |since: u64| Heard {
            closing_since: Some(Instant::ZERO + Duration::secs(since)),
            ..heard(0, None, true)
        };
        let last = |reports: &[(u16, u16, u64)], since, lagging_heard| {
            let heard =
                BTreeMap::from([(old, closing(since)), (lagging, heard(lagging_heard, Some(450), false))]);
            let now = Instant::ZERO + Duration::secs(500);
            let next = due(now, p, &whole(0), &decided(roster.clone(), reports), &heard)?;
            Some(next.last(old))
        };
        let active = [(2, 0, 3), (2, 3, 0)];
        assert_eq!(last(&active, 490, 499), None, "it is heard: it may have more");
        assert_eq!(last(&[(2, 0, 3), (2, 3, 0), (2, 1, 9)], 490, 499), Some(9));
        assert_eq!(last(&active, 490, 410), Some(3), "it is silent");
        assert_eq!(last(&active, 450, 499), Some(3), "it does not answer");
        let live = Heard { live: true, ..heard(410, Some(450), false) };
        let near = BTreeMap::from([(old, closing(490)), (lagging, live)]);
        let told = decided(roster.clone(), &active);
        let now = Instant::ZERO + Duration::secs(500);
        assert_eq!(due(now, p, &whole(0), &told, &near), None, "it is heard by others");
        assert_eq!(last(&[(2, 0, 3), (2, 3, 0), (2, 1, 9)], 490, 410), Some(9), "it had answered");
    }

    #[test]
    fn who_is_called_active_again_knows_the_roster_and_all_who_do_are_called_so_at_once() {
        let p = Patience { lagging: Duration::secs(100), evict: Duration::secs(200) };
        let (one, two) = (ReplicaIndex(1), ReplicaIndex(2));
        let founded = Roster::founding([NodeId(1), NodeId(2), NodeId(3)]);
        let roster = founded.with(one, Standing::Lagging).with(two, Standing::Lagging);
        let now = Instant::ZERO + Duration::secs(500);
        let active = |epochs: [u64; 2], by: &Proposer<'_>| {
            let said = |epoch| Heard { epoch, ..heard(499, Some(450), true) };
            let all = BTreeMap::from([(one, said(epochs[0])), (two, said(epochs[1]))]);
            let next = due(now, p, by, &decided(roster.clone(), &[]), &all)?;
            Some(next.kept_for().map(|r| r.0).collect::<Vec<_>>())
        };
        let latest = roster.epoch;
        assert_eq!(
            active([latest - 1, 0], &whole(0)),
            None,
            "they may have what was cut off and not know it"
        );
        assert_eq!(active([latest, latest - 1], &whole(0)), Some(vec![0, 1]));
        assert_eq!(active([latest, latest], &whole(0)), Some(vec![0, 1, 2]));
        assert_eq!(active([latest, latest], &Proposer { whole: false, ..whole(0) }), None);
    }

    #[test]
    fn what_counts_is_decided_by_one_that_serves_or_if_there_is_nobody_left_to_take_a_state_from() {
        let p = Patience { lagging: Duration::secs(100), evict: Duration::secs(200) };
        let (other, closing) = (ReplicaIndex(1), ReplicaIndex(2));
        let founded = Roster::founding([NodeId(1), NodeId(2), NodeId(3)]);
        let roster = founded.with(closing, Standing::Closing);
        let now = Instant::ZERO + Duration::secs(500);
        let ended = |by: &Proposer<'_>, closing_heard: u64| {
            let all = BTreeMap::from([
                (other, heard(499, None, true)),
                (closing, heard(closing_heard, None, true)),
            ]);
            let next = due(now, p, by, &decided(roster.clone(), &[(2, 0, 3), (2, 1, 0)]), &all);
            next.map(|n| n.last(closing))
        };
        assert_eq!(ended(&whole(0), 499), Some(3));
        assert_eq!(
            ended(&Proposer { reported: false, ..whole(0) }, 499),
            None,
            "it has come further than it said"
        );
        let (none, some, all) =
            (BTreeSet::new(), BTreeSet::from([NodeId(2)]), BTreeSet::from([NodeId(2), NodeId(3)]));
        let empty = |covered| Proposer { whole: false, covered, ..whole(0) };
        assert_eq!(ended(&empty(&none), 300), None, "node 2 may have a state");
        assert_eq!(ended(&empty(&some), 499), None, "the closing one has one, and may be asked for it");
        assert_eq!(ended(&empty(&some), 300), Some(3), "it is silent");
        assert_eq!(ended(&empty(&all), 499), Some(3), "it has nothing that is not here");
    }

    #[test]
    fn what_nobody_has_any_more_is_not_waited_for() {
        let p = Patience { lagging: Duration::secs(100), evict: Duration::secs(200) };
        let gone = ReplicaIndex(2);
        let evicted = Standing::Evicted { last: 9, heir: Some(ReplicaIndex(0)) };
        let founded = Roster::founding([NodeId(1), NodeId(2), NodeId(3)]);
        // Its node has another place by now.
        let roster = founded.admit(NodeId(3)).unwrap().0.with(gone, evicted);
        let now = Instant::ZERO + Duration::secs(50);
        let others = BTreeMap::from([(ReplicaIndex(1), heard(49, None, false))]);
        let last = |roster: &Roster, short: &[(u16, u64, u64)]| {
            let mut d = decided(roster.clone(), &[]);
            d.short = short.iter().map(|(by, last, far)| ((2, *last, *by), (*far, 7))).collect();
            due(now, p, &whole(0), &d, &others).map(|next| next.last(gone))
        };
        assert_eq!(last(&roster, &[(0, 9, 3), (3, 9, 0)]), None, "one has not said that it lacks any");
        assert_eq!(last(&roster, &[(0, 9, 3), (1, 9, 9), (3, 9, 0)]), None, "it has come");
        assert_eq!(last(&roster, &[(0, 9, 3), (1, 8, 5), (3, 9, 0)]), None, "said of another end");
        assert_eq!(last(&roster, &[(0, 9, 3), (1, 9, 5), (3, 9, 0)]), Some(5));
        let lagging = roster.with(ReplicaIndex(1), Standing::Lagging);
        assert_eq!(last(&lagging, &[(0, 9, 3), (1, 9, 5), (3, 9, 0)]), None, "one that lags may have it");
        let awaited = founded.with(gone, evicted);
        let next = awaited.next_place(gone).map(|m| m.standing);
        assert_eq!(next, Some(Standing::Awaited), "the next place comes with the eviction");
        assert_eq!(last(&awaited, &[(0, 9, 3), (1, 9, 5)]), None, "its maker may come with it");
        let lower = roster.with(gone, Standing::Evicted { last: 5, heir: Some(ReplicaIndex(0)) });
        assert_eq!(roster.check_next(&lower), Ok(()));
    }

    #[test]
    fn a_silent_member_lags_then_closes_then_is_evicted_at_the_most_anybody_has() {
        let p = Patience { lagging: Duration::secs(100), evict: Duration::secs(200) };
        let now = Instant::ZERO + Duration::secs(500);
        let r2 = ReplicaIndex(2);
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        let first = Roster::founding(nodes);
        let silent = |h| BTreeMap::from([(ReplicaIndex(1), heard(499, None, true)), (r2, h)]);
        let go = |roster: &Roster, reports: &[(u16, u16, u64)], h| {
            let next = due(now, p, &whole(0), &decided(roster.clone(), reports), &silent(h));
            next.and_then(|n| n.get(r2).map(|m| m.standing))
        };
        assert_eq!(go(&first, &[], heard(450, None, false)), None);
        assert_eq!(go(&first, &[], heard(300, None, false)), Some(Standing::Lagging));
        let lagging = first.with(r2, Standing::Lagging);
        assert_eq!(go(&lagging, &[], heard(300, Some(400), false)), None, "not yet");
        assert_eq!(go(&lagging, &[], heard(499, Some(400), true)), Some(Standing::Active), "it is back");
        assert_eq!(go(&lagging, &[], heard(499, Some(10), false)), None, "back, and not caught up");
        assert_eq!(go(&lagging, &[], heard(100, Some(200), false)), Some(Standing::Closing));
        let closing = lagging.with(r2, Standing::Closing);
        assert_eq!(go(&closing, &[(2, 0, 7)], heard(100, Some(200), false)), None, "one has not said");
        let evicted = Standing::Evicted { last: 8, heir: Some(ReplicaIndex(0)) };
        assert_eq!(go(&closing, &[(2, 0, 7), (2, 1, 8)], heard(100, Some(200), false)), Some(evicted));
    }

    #[test]
    fn a_place_whose_node_has_a_later_life_is_closed_at_once_and_inherited_by_it() {
        let (roster, new) = Roster::founding([NodeId(1), NodeId(2)]).admit(NodeId(2)).unwrap();
        let old = ReplicaIndex(1);
        let next =
            due(Instant::ZERO, Patience::default(), &whole(0), &decided(roster, &[]), &BTreeMap::new())
                .unwrap();
        assert_eq!(next.get(old).unwrap().standing, Standing::Closing);
        let all = decided(next, &[(1, 0, 3), (1, new.0, 5)]);
        let next = due(Instant::ZERO, Patience::default(), &whole(0), &all, &BTreeMap::new()).unwrap();
        assert_eq!(next.get(old).unwrap().standing, Standing::Evicted { last: 5, heir: Some(new) });
    }

    #[test]
    fn what_is_decided_is_read_back() {
        let roster = Roster::founding([NodeId(1)]);
        let w = wish("r", &Decided::default(), &roster);
        assert_eq!(w.seen, 0);
        let none = Decided::default();
        let report = report_wish("r", &none, ReplicaIndex(4), ReplicaIndex(1), 77);
        let kept = |w: Wish, revision| Kept { key: w.key, revision, value: w.value };
        let short = short_wish("r", &none, (ReplicaIndex(4), 99), ReplicaIndex(1), 77);
        let read = Decided::read("r", &[kept(w, 9), kept(report, 11), kept(short, 12)]);
        assert_eq!(read.roster, Some((roster, 9)));
        assert_eq!(read.short(ReplicaIndex(4), 99, ReplicaIndex(1)), Some(77));
        assert_eq!(read.reports.get(&(4, 1)), Some(&(77, 11)));
        assert_eq!(Decided::read("other", &[]).roster, None);
    }
}
