//! The keyspace's roster, as it lies in a strong keyspace, and what this replica wishes to be changed in it.
//!
//! ```text
//! \0dwcp/eventual/<keyspace>/roster                       the roster's canonical bytes
//! \0dwcp/eventual/<keyspace>/closing/<replica>/<reporter> how far the reporter has come with the replica, decimal
//! ```
//!
//! Every change is a compare-and-set on the key's revision; whoever proposes it may be anybody, and a proposal made from
//! an old state fails. A replica without a quorum in reach goes on with the roster it knows.
//!
//! | wish | made by | when |
//! |---|---|---|
//! | found, admit | the node itself | it has no place, or can't be sure to know all it sent from the one it had |
//! | active → lagging | any *active* member that can reach a quorum | silent for [`Patience::lagging`], while others were heard |
//! | lagging → active | the same, if it serves | it is heard again, and the log reaches back to what it has: from now on it is kept |
//! | → closing | the same | lagging for [`Patience::evict`] longer; at once if the node has a later place |
//! | closing → evicted | the same | every active member has reported how far it has come: the most of these counts. From now on the node is awaited at its next place |
//! | awaited → active | the node itself | it is back, and has its log. Without it, it is admitted at another place |
//!
//! **Only an active member changes another's standing.** The log is kept for active members; so whoever cut an operation from its
//! log knows that each of them has it. A lagging member that returns takes their state and adds from its own
//! log what they lack. If it could declare *them* lagging first — after an hour alone it has heard nobody for an hour —
//! it would cut its log as they have cut theirs, and neither could ever take what the other has.
//!
//! "Silent" is measured by each member's own monotonic clock; no operation, tombstone or value ever ends by one.

use crate::identity::{read_roster, roster_bytes};
use bytes::Bytes;
use dwcp_crdt::{ReplicaIndex, Roster, Standing};
use dwcp_env::{Duration, Instant, NodeId};
use std::collections::BTreeMap;

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
            } else if let Some(report) = report(rest, &k.value) {
                out.reports.insert(report.0, (report.1, k.revision));
            }
        }
        out
    }
}

fn report(rest: &[u8], value: &[u8]) -> Option<((u16, u16), u64)> {
    let text = core::str::from_utf8(rest).ok()?.strip_prefix("closing/")?;
    let (of, by) = text.split_once('/')?;
    let far = core::str::from_utf8(value).ok()?.parse().ok()?;
    Some(((of.parse().ok()?, by.parse().ok()?), far))
}

/// A wish for another roster.
pub(crate) fn wish(keyspace: &str, decided: &Decided, next: &Roster) -> Wish {
    let key = [&prefix(keyspace)[..], b"roster"].concat().into();
    Wish { key, seen: decided.roster.as_ref().map_or(0, |(_, r)| *r), value: roster_bytes(next) }
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

/// What one member knows about another's silence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    /// When it was heard last, or when we began to listen.
    pub(crate) at: Instant,
    /// When it was first seen to be lagging.
    pub(crate) lagging_since: Option<Instant>,
    /// Whether our log holds all that it is not known to have.
    pub(crate) reached: bool,
}

/// The next roster, if one is due. Only one that is `whole` can say of another that it has caught up; the rest any member
/// may propose, or members none of whom is whole would wait for a dead one for ever.
pub(crate) fn due(
    now: Instant,
    patience: Patience,
    me: ReplicaIndex,
    whole: bool,
    decided: &Decided,
    heard: &BTreeMap<ReplicaIndex, Heard>,
) -> Option<Roster> {
    let (roster, _) = decided.roster.as_ref()?;
    for (r, m) in roster.iter().filter(|(r, _)| *r != me) {
        let silent = heard.get(&r).map_or(Duration::ZERO, |h| now.since(h.at));
        let superseded = roster.iter().any(|(o, n)| o > r && n.node == m.node);
        match m.standing {
            Standing::Active | Standing::Lagging if superseded => {
                return Some(roster.with(r, Standing::Closing));
            }
            Standing::Active if silent >= patience.lagging => return Some(roster.with(r, Standing::Lagging)),
            Standing::Lagging => {
                let Some(h) = heard.get(&r) else { continue };
                if whole && silent < patience.lagging / 4 && h.reached {
                    return Some(roster.with(r, Standing::Active));
                }
                if h.lagging_since.is_some_and(|s| now.since(s) >= patience.evict)
                    && silent >= patience.lagging
                {
                    return Some(roster.with(r, Standing::Closing));
                }
            }
            Standing::Closing => {
                if let Some(last) = most_of_all(decided, roster, r) {
                    let heir = heir(roster, r);
                    return Some(roster.with(r, Standing::Evicted { last, heir }));
                }
            }
            Standing::Active | Standing::Evicted { .. } | Standing::Awaited => {}
        }
    }
    None
}

/// The most that any active member has of a closing one, if all of them have said.
fn most_of_all(decided: &Decided, roster: &Roster, of: ReplicaIndex) -> Option<u64> {
    let mut most = 0;
    for by in roster.kept_for() {
        most = most.max(decided.reports.get(&(of.0, by.0))?.0);
    }
    Some(most)
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
        Decided { roster: Some((roster, 3)), reports }
    }

    fn heard(seconds: u64, lagging: Option<u64>, reached: bool) -> Heard {
        let at = |s| Instant::ZERO + Duration::secs(s);
        Heard { at: at(seconds), lagging_since: lagging.map(at), reached }
    }

    #[test]
    fn a_silent_member_lags_then_closes_then_is_evicted_at_the_most_anybody_has() {
        let p = Patience { lagging: Duration::secs(100), evict: Duration::secs(200) };
        let now = Instant::ZERO + Duration::secs(500);
        let me = ReplicaIndex(0);
        let r2 = ReplicaIndex(2);
        let nodes = [NodeId(1), NodeId(2), NodeId(3)];
        let first = Roster::founding(nodes);
        let silent = |h| BTreeMap::from([(ReplicaIndex(1), heard(499, None, true)), (r2, h)]);
        let go = |roster: &Roster, reports: &[(u16, u16, u64)], h| {
            let next = due(now, p, me, true, &decided(roster.clone(), reports), &silent(h));
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
        let me = ReplicaIndex(0);
        let old = ReplicaIndex(1);
        let next = due(Instant::ZERO, Patience::default(), me, true, &decided(roster, &[]), &BTreeMap::new())
            .unwrap();
        assert_eq!(next.get(old).unwrap().standing, Standing::Closing);
        let all = decided(next, &[(1, 0, 3), (1, new.0, 5)]);
        let next = due(Instant::ZERO, Patience::default(), me, true, &all, &BTreeMap::new()).unwrap();
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
        let read = Decided::read("r", &[kept(w, 9), kept(report, 11)]);
        assert_eq!(read.roster, Some((roster, 9)));
        assert_eq!(read.reports.get(&(4, 1)), Some(&(77, 11)));
        assert_eq!(Decided::read("other", &[]).roster, None);
    }
}
