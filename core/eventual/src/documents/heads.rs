//! How far each node's chain of records has come, promised to consensus; and chains against what was promised.
//!
//! **Promise.** What a chain held a minute ago can't be replaced or cut off without a trace, not even by who can write to the disks of all nodes that hold the space: the strong keyspace
//! holds its head. [`verify`](Eventual::verify_records) goes through the records as they lie in the space, byte by byte, and names the first that is not as it was written, or between which
//! two the first lies that is another than was promised.
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
use dwcp_crdt::ReplicaIndex;
use dwcp_env::Now;

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
        let mut all: Vec<ReplicaIndex> = self.decided.heads.keys().map(|r| ReplicaIndex(*r)).collect();
        let lie = self.space.fields(&[AUDIT.to_vec()], None, usize::from(u16::MAX)).into_iter();
        let number = |bytes: Vec<u8>| <[u8; 2]>::try_from(bytes).ok().map(u16::from_be_bytes);
        all.extend(lie.filter_map(|f| number(f.name)).map(ReplicaIndex));
        all.sort_unstable();
        all.dedup();
        Ok((ask::Answer::Verified(all.into_iter().map(|of| self.verdict(documents, of)).collect()), false))
    }

    fn verdict(&self, documents: &Documents, of: ReplicaIndex) -> Verdict {
        let mut chain = Chain::new(of);
        let mut fault = None;
        loop {
            let next = chain.head().sequence + 1;
            let found = self.space.siblings(&audit_address(of, next));
            let Some(first) = found.first() else { break };
            // Of several that stand there one may follow.
            let mut rest = found.iter().skip(1);
            if let Err(why) = chain.take(next, &first.value)
                && !rest.any(|s| chain.take(next, &s.value).is_ok())
            {
                fault = Some((next, format!("record {next}: {why}")));
                break;
            }
        }
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
