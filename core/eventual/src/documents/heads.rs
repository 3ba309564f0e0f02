//! How far each node's chain of records has come, promised to consensus; and chains against what was promised.
//!
//! **Promise.** What a chain held a minute ago can't be replaced or cut off without a trace, not even by who can write to the disks of all nodes that hold the space: the strong keyspace
//! holds its head. [`verify`](Eventual::verify_records) goes through the records as they lie in the space, byte by byte, and names the first that is not as it was written, or between which
//! two the first lies that is another than was promised.
//!
//! Nobody has to ask: each node goes through all chains, so many records at a time ([`RECORDS`], 512 a second), and again ten minutes after the end. What it finds is a metric, a fault that is listed, and an event.
//! Of a chain whose owner has left nobody can tell whether its end was cut off or was never sent: `verify` says how many records are missing, and it is no fault.
//!
//! Each node promises its own head, by a compare-and-set like any change of the roster, once a minute while it grows. Only records that no crash takes back are promised. Without a
//! quorum nothing is; then the next promise covers all that was written since.
//!
//! | found | means |
//! |---|---|
//! | a record that does not follow | altered, or in another place |
//! | another check at a promised number | the chain was made anew, consistently |
//! | fewer records than promised, of this node's own | its end was cut off |
//! | fewer, of another's | they have not come yet, or the same: ask the others |
//! | in memory another than in the space | altered since this node read it |
//!
//! **Rejected**: a promise of all chains by one node: it would promise what others can still lose. A signature instead of consensus: whoever has the node has its key.

use super::ask::{self, Verdict};
use super::serve::Asked;
use super::{AUDIT, Documents, audit_address};
use crate::replica::{Eventual, millis};
use crate::roster::{self, Wish};
use dwcp_conflict::audit::Chain;
use dwcp_conflict::audit::promised::{Kept, Promised};
use dwcp_crdt::{ReplicaIndex, Space};
use dwcp_env::{Duration, Event, Instant, Now};
use std::collections::BTreeMap;

/// Records of one look.
const RECORDS: usize = 256;
/// Between the ends of rounds and the next.
const ROUND: Duration = Duration::secs(600);

/// A way through a chain as it lies in the space.
#[derive(Debug)]
struct Walk {
    chain: Chain,
    /// The first record that does not follow, and why.
    fault: Option<(u64, String)>,
}

/// How far the round is, and what was found that is not as it was.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    walk: Option<Walk>,
    next: Instant,
    pub(super) altered: BTreeMap<ReplicaIndex, String>,
}

impl Walk {
    fn new(of: ReplicaIndex) -> Self {
        Self { chain: Chain::new(of), fault: None }
    }
    /// Goes on for so many records; whether it has come to the end.
    fn go_on(&mut self, space: &Space, mut records: usize) -> bool {
        while records > 0 {
            let next = self.chain.head().sequence + 1;
            let found = space.siblings(&audit_address(self.chain.owner(), next));
            let Some(first) = found.first() else { return true };
            // Of several that stand there one may follow.
            let mut rest = found.iter().skip(1);
            if let Err(why) = self.chain.take(next, &first.value)
                && !rest.any(|s| self.chain.take(next, &s.value).is_ok())
            {
                self.fault = Some((next, format!("record {next}: {why}")));
                return true;
            }
            records -= 1;
        }
        false
    }
}

impl Eventual {
    /// What is to be promised of this node's chain, if it is time.
    pub(crate) fn promise_records(&self, now: Now) -> Option<Wish> {
        let (documents, me) = (self.documents.as_ref()?, self.place()?);
        let chain = documents.audit.chain();
        if !self.may_write() || documents.owner != me || !self.is_durable() {
            return None;
        }
        let mut promised = self.decided.heads.get(&me.0).map(|(p, _)| p.clone()).unwrap_or_default();
        // Beside a chain that is not what was promised nothing is made good by another promise.
        let whole = matches!(promised.against(chain), Kept::Whole(_));
        if !whole || !promised.is_due(chain.head(), millis(now)) {
            return None;
        }
        promised.add(chain.head(), millis(now));
        self.probe.reachable("documents.promised");
        Some(roster::heads_wish(&self.spec.keyspace, &self.decided, me, &promised))
    }

    /// Goes through all chains as they lie in the space.
    pub(super) fn verify_records(&self, documents: &Documents) -> Asked {
        let verdict = |of: ReplicaIndex| {
            let mut walk = Walk::new(of);
            walk.go_on(&self.space, usize::MAX);
            self.verdict(documents, walk)
        };
        Ok((ask::Answer::Verified(self.chains().into_iter().map(verdict).collect()), false))
    }

    /// Whose chains there are, or should be.
    fn chains(&self) -> Vec<ReplicaIndex> {
        let mut all: Vec<ReplicaIndex> = self.decided.heads.keys().map(|r| ReplicaIndex(*r)).collect();
        let lie = self.space.fields(&[AUDIT.to_vec()], None, usize::from(u16::MAX)).into_iter();
        let number = |bytes: Vec<u8>| <[u8; 2]>::try_from(bytes).ok().map(u16::from_be_bytes);
        all.extend(lie.filter_map(|f| number(f.name)).map(ReplicaIndex));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Goes on through the chains, if it is time.
    pub(super) fn look_at_records(&self, now: Now, documents: &mut Documents) {
        if now.mono < documents.rounds.next {
            return;
        }
        let mut walk = match documents.rounds.walk.take() {
            Some(walk) => walk,
            None => match self.chains().first() {
                Some(first) => Walk::new(*first),
                None => return,
            },
        };
        let of = walk.chain.owner();
        if !walk.go_on(&self.space, RECORDS) {
            documents.rounds.walk = Some(walk);
            return;
        }
        let fault = self.verdict(documents, walk).fault;
        self.note_altered(documents, of, fault);
        match self.chains().into_iter().find(|next| *next > of) {
            Some(next) => documents.rounds.walk = Some(Walk::new(next)),
            None => {
                let there = self.chains();
                documents.rounds.altered.retain(|of, _| there.contains(of));
                self.probe.reachable("documents.verified");
                documents.rounds.next = now.mono + ROUND;
            }
        }
    }

    fn note_altered(&self, documents: &mut Documents, of: ReplicaIndex, fault: Option<(u64, String)>) {
        let Some((record, why)) = fault else {
            documents.rounds.altered.remove(&of);
            return;
        };
        let told = format!("the audit of {of} is not what was written and promised: {why}");
        if documents.rounds.altered.insert(of, told.clone()).is_none() {
            let file = format!("{}/{told}", self.spec.keyspace);
            self.probe.event(&Event::CorruptionFound { file, offset: record });
            self.probe.reachable("documents.record_altered");
        }
    }

    fn verdict(&self, documents: &Documents, walk: Walk) -> Verdict {
        let Walk { chain, mut fault } = walk;
        let of = chain.owner();
        let head = chain.head();
        let nothing = Promised::default();
        let promised = self.decided.heads.get(&of.0).map_or(&nothing, |(p, _)| p);
        let own = self.place() == Some(of);
        let mut missing = 0;
        if fault.is_none() {
            fault = match promised.against(&chain) {
                Kept::Whole(_) => documents.read_otherwise(of, &chain).map(|n| {
                    (n, format!("record {n} in the space is not the one that this node read at its start or wrote since"))
                }),
                Kept::Short { found, promised } if own => Some((found + 1, format!(
                    "{found} records, and {promised} were promised: record {} and those behind it were cut off", found + 1
                ))),
                Kept::Short { found, promised } => {
                    missing = promised - found;
                    None
                }
                Kept::Differs { after, upto } => Some((after + 1, format!(
                    "it is another than was promised: the first record that differs is one of {} to {upto}", after + 1
                ))),
            };
        }
        let roster = self.space.roster();
        Verdict {
            replica: of.0,
            node: roster.get(of).map(|m| m.node.0),
            records: head.sequence,
            promised: promised.last().map(|(h, at)| (h.sequence, at)),
            missing,
            fault,
        }
    }
}

impl Documents {
    /// The first record that is here another than in this chain.
    fn read_otherwise(&self, of: ReplicaIndex, chain: &Chain) -> Option<u64> {
        let here = self.audit.chains().find(|c| c.owner() == of)?;
        let both = here.head().sequence.min(chain.head().sequence);
        let differs = |n: &u64| here.check_at(*n).zip(chain.check_at(*n)).is_some_and(|(a, b)| a != b);
        (1..=both).find(differs)
    }
}
