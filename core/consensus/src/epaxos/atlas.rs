//! Atlas' rule for the fast path: what was added to a command's dependencies need not be added by all, only by enough.
//!
//! Enes, Baquero, Rezende, Gotsman, Perrin, Sutra: *State-Machine Replication for Planet-Scale Systems* (EuroSys 2020). The
//! group says how many members, *f*, may be gone at once, at most a minority. A command's replica names its *fast quorum* Q of
//! ⌊n/2⌋ + f, itself included, and asks only them. Each answers with the proposed set and what it knows beside. D is the union.
//! **Fast path**: everything in D was reported by at least f of Q (or proposed: then by all). With f = 1 that is always so: any
//! command is decided in one round trip to a majority, whatever it meets. EPaxos\* asks that nobody has anything to add.
//!
//! **Is our recovery compatible?** The ballots are: two an instance, promises of a majority R, the vote of the highest ballot voted
//! in, and "its own replica answers, so ballot 0 decides nothing fast any more". The *validation* is not: it proposes the very set
//! that the replica proposed, and here a decision may hold more. It is not needed either. The paper's own recovery gets D back from
//! those of Q who are left; that is what happens here (`conclude_promises`), with nothing where the paper goes on with a smaller union:
//!
//! | of R's promises | then | why no fast decision is lost |
//! |---|---|---|
//! | one has voted | the vote of the highest ballot voted in | Paxos; a vote of a ballot above a fast decision is for it, by this table |
//! | the instance's own replica is in R | nothing | it decides alone, tells a decision instead of promising, and has promised now |
//! | one of Q in R had not answered | nothing | a fast decision has answers of all of Q, each before the promise |
//! | more than f of Q are not in R | wait for more promises | |
//! | at most f of Q are not in R | the union over Q ∩ R | the own replica is one of those missing, so at most f - 1 of at least f who reported a dependency are, and one tells it; what is told is in D, as all of D's reports are counted |
//!
//! So whatever Q ∩ R tells is D, if D was decided. Q is told by any of Q ∩ R who answered, and is the same in all words of it: it is in
//! the replica's own record before it is named, and is not chosen again after a restart.
//!
//! **Interfering commands see each other** (invariant 2), without validation. Every set that is ever voted for or decided with a command
//! is at least the union of what *a majority* knew as it noted the command, each on its disk before it was told:
//! - fast: Q, ⌊n/2⌋ + f ≥ ⌊n/2⌋ + 1. Slow, in ballot 0: of a majority's answers.
//! - recovered: Q ∩ R, and the own replica, whose knowledge is in the proposed set and so in every answer: at least
//!   ⌊n/2⌋ + f - f + 1 members.
//!
//! Two majorities share a member; of two commands it noted one first, and told the other's replica so. Markers and seals are commands here.
//!
//! **Intersections**, checked at admission ([`crate::quorum::Needs::Atlas`]): accept with prepare (Paxos), with accept and with fast
//! (a read's majority meets every decision), prepare with fast in ⌊n/2⌋ (the last two rows of the table, with the own replica a majority).
//!
//! **What it costs.** With more than f members gone a recovery may have to wait for one of them, and what depends on the instance with it;
//! EPaxos\* bears any minority. With three members and f = 1 there is no difference. With five and f = 2 the fast quorum is four instead of three.
//!
//! **Who is asked**: those whose answers came soonest of late. Who does not answer is asked last from then on, the round goes on by votes
//! of whoever answers, all being asked. One of [`LOOK_AROUND`] commands asks all, so that distances stay known.
//!
//! **Rejected.** *Slow quorums of f + 1, as the paper has*: reads and disks would count differently by rule, for one round trip
//! of few commands. *Asking all and counting the first ⌊n/2⌋ + f*: a recovery could not know whose answers counted. *The smaller union
//! where a fast decision is excluded*: as safe, and one more kind of recovery; its replica proposes the command again.

use super::instance::Drive;
use super::message::{Deps, InstanceId, Phase, Value, Vote};
use super::planted::{self, Bug};
use super::protocol::{Epaxos, Out};
use crate::quorum::NodeSet;
use crate::step::Payload;
use alloc::collections::BTreeMap;
use dwcp_env::Instant;

/// Of so many commands one asks everybody.
const LOOK_AROUND: u64 = 32;
/// The same, while it is not known of all how far they are.
const LOOK_AROUND_AT_FIRST: u64 = 4;

/// What the promises of a majority allow.
enum Recovered {
    /// The vote of the highest ballot.
    Vote(Value, Deps),
    /// No fast decision is possible.
    Nothing,
    /// If there was a fast decision, it is this.
    Union(Payload, Deps),
    /// There may have been one, and too few are here to say which.
    Blocked,
}

impl Epaxos {
    /// In which phase a command of ours begins, and who is asked: under Atlas' rule a fast quorum, else all.
    pub(super) fn whom_to_ask(&self, id: InstanceId) -> (Phase, NodeSet) {
        let all = NodeSet::first(self.config.n);
        if self.config.reported.is_none() {
            return (Phase::PreAccepted, all);
        }
        let mut quorum = NodeSet::one(id.at());
        for place in self.peers.nearest(self.config.place).into_iter().take(self.config.fast_size() - 1) {
            quorum.insert(usize::from(place));
        }
        let each = if self.peers.untimed(self.config.place) { LOOK_AROUND_AT_FIRST } else { LOOK_AROUND };
        let asked = if id.number % each == 1 { all } else { quorum };
        (Phase::Collected(quorum), asked)
    }

    /// Decides fast, or by votes; `hurry`: with a majority, though the fast quorum might still answer.
    pub(super) fn conclude_collect(
        &mut self,
        now: Instant,
        id: InstanceId,
        quorum: NodeSet,
        hurry: bool,
        out: &mut Out,
    ) {
        let instance = &self.instances[&id];
        let (Drive::PreAccept { replies }, Some(initial)) = (&instance.drive, &instance.vote.initial) else {
            return;
        };
        let unnamed = planted::is(Bug::UnnamedQuorum);
        let counted = |p: &u8| unnamed || quorum.has(usize::from(*p));
        let named = || replies.iter().filter(|(p, _)| counted(p));
        let whole = named().count() >= quorum.len();
        if whole && id.number % LOOK_AROUND_AT_FIRST == 1 {
            let have = replies.keys().fold(NodeSet::EMPTY, |set, p| set.or(NodeSet::one(usize::from(*p))));
            let asked = instance.due.since(Instant::ZERO + self.config.set.resend);
            self.peers.outlasted(have, now.since(Instant::ZERO + asked).as_nanos());
        }
        let mut union = initial.clone();
        named().for_each(|(_, d)| union.join(d));
        let wanted = self.config.reported.unwrap_or_default() - usize::from(planted::is(Bug::OneReportLess));
        let reported = |(at, highest): (usize, &u64)| {
            *highest == initial.0[at] || named().filter(|(_, d)| d.0[at] == *highest).count() >= wanted
        };
        if whole && union.0.iter().enumerate().all(reported) {
            return self.decide_fast(now, id, union, out);
        }
        let majority = replies.len() >= self.config.n - self.config.slow_misses;
        if majority && (whole || hurry || instance.attempts > 0) {
            replies.values().for_each(|d| union.join(d));
            let value = instance.vote.value().expect("our own command");
            self.counts.slow += 1;
            self.vote(now, (id, 0), value, union, out);
        }
    }

    /// Goes on with what a majority's promises allow; `bears` of all may be gone.
    pub(super) fn conclude_promises(
        &mut self,
        now: Instant,
        at: (InstanceId, u64),
        (quorum, bears): (NodeSet, usize),
        out: &mut Out,
    ) {
        let Some(Drive::Prepare { replies, .. }) = self.instances.get(&at.0).map(|i| &i.drive) else {
            return;
        };
        match recovered(at.0, replies, quorum, bears) {
            Recovered::Vote(value, deps) => {
                self.counts.recovered_vote += 1;
                self.vote(now, at, value, deps, out);
            }
            Recovered::Nothing => self.nothing(now, at, out),
            Recovered::Union(command, deps) => {
                self.counts.recovered_union += 1;
                self.vote(now, at, Value::Command(command), deps, out);
            }
            // Who has not promised is asked again.
            Recovered::Blocked => self.counts.recovered_blocked += 1,
        }
    }
}

/// The table of the header.
fn recovered(id: InstanceId, replies: &BTreeMap<u8, Vote>, quorum: NodeSet, bears: usize) -> Recovered {
    // Nobody who has decided promises: it shows the decision instead.
    let last = replies.values().filter(|v| v.phase == Phase::Accepted).max_by_key(|v| v.voted);
    if let Some((value, deps)) = last.and_then(|v| Some((v.value()?, v.deps.clone()))) {
        return Recovered::Vote(value, deps);
    }
    let collected = replies.values().find_map(|v| match (v.phase, &v.command) {
        (Phase::Collected(named), Some(command)) => Some((named, command.clone())),
        _ => None,
    });
    // Of any fast quorum somebody is in any majority, and had not answered.
    let Some((named, command)) = collected else { return Recovered::Nothing };
    let mut left = named.and(quorum).places().map(|p| &replies[&(p as u8)]);
    if quorum.has(id.at()) || left.any(|v| !v.answered()) {
        return Recovered::Nothing;
    }
    if named.without(quorum).len() > bears && !planted::is(Bug::ShortOfReports) {
        return Recovered::Blocked;
    }
    let told = || named.and(quorum).places().map(|p| &replies[&(p as u8)].deps);
    let mut union = Deps::none(told().next().map_or(0, |d| d.0.len()));
    told().for_each(|d| union.join(d));
    if planted::is(Bug::MostForUnion) {
        for (at, highest) in union.0.iter_mut().enumerate() {
            let mut all: alloc::vec::Vec<u64> = told().map(|d| d.0[at]).collect();
            all.sort_unstable();
            *highest = all[(all.len() - 1) / 2];
        }
    }
    Recovered::Union(command, union)
}
