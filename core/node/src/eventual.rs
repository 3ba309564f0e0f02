//! The eventual keyspaces of a node: what their replicas need of it.
//!
//! A replica reads its roster from the node's own copy of a strong keyspace and wishes for changes of it, which the
//! node proposes like a client's; it shares the node's log, its links and its jobs.

use crate::api::{Answer, Ask, AskError};
use crate::node::{Node, Out};
use crate::peer::envelope;
use crate::question::Origin;
use crate::route::reply;
use crate::serve::NodeJob;
use bytes::Bytes;
use dwcp_consensus::Work;
use dwcp_env::{Duration, GroupId, Instant, NodeId, Now, RequestId, Send, World};
use dwcp_eventual::{Eventual, EventualSpec, Host, Kept, Outbox, Refusal, Wish};
use dwcp_store::api::{
    Compare, CompareOp, CompareTarget, Op, PutRequest, RangeRequest, Revision, TxnOp, TxnRequest,
};
use dwcp_wal::Recovered;

/// A wish that was not fulfilled by then is made anew by its replica.
const WISH_WITHIN: Duration = Duration::secs(5);

/// One eventual keyspace of a node.
#[derive(Debug)]
pub(crate) struct EventualGroup {
    pub(crate) replica: Eventual,
    /// The group of the strong keyspace that holds the roster.
    strong: GroupId,
    /// Its revision when the roster was read last,
    seen_revision: Option<Revision>,
    /// and where in its log the members stood that the replica knows.
    told_members_at: Option<u64>,
    outbox: Outbox,
}

impl EventualGroup {
    /// Recovers a replica.
    ///
    /// # Errors
    /// Says what can't work, and what would.
    pub(crate) fn boot(
        node: &Node,
        spec: EventualSpec,
        recovered: &mut Recovered,
        world: &World,
    ) -> Result<Self, String> {
        let group = spec.group;
        let strong = node.config.groups.iter().find(|g| g.keyspace == spec.strong).map(|g| g.id);
        let strong = strong.ok_or_else(|| {
            let (name, strong) = (&spec.keyspace, &spec.strong);
            format!("the eventual keyspace '{name}' names '{strong}' for its roster, and there is no such strong keyspace")
        })?;
        if node.config.groups.iter().any(|g| g.id == group) {
            return Err(format!("'{}' has the number of a strong keyspace", spec.keyspace));
        }
        spec.gossip.check().map_err(|e| e.to_string())?;
        let damaged = recovered.suspect(group) || recovered.damage.iter().any(|d| d.group == Some(group));
        let log = recovered.groups.remove(&group).unwrap_or_default();
        let host = Host {
            cluster: node.config.cluster,
            node: node.config.node,
            wal: node.wal.clone(),
            envelope: envelope(group),
        };
        let replica = Eventual::boot(spec, host, &log, damaged, world).map_err(|e| e.to_string())?;
        let outbox = Outbox::default();
        Ok(Self { replica, strong, seen_revision: None, told_members_at: None, outbox })
    }
}

impl Node {
    /// A client's question to an eventual keyspace.
    pub(crate) fn ask_eventual(
        &mut self,
        now: Now,
        id: RequestId,
        deadline: Instant,
        group: GroupId,
        ask: Ask,
        out: &mut Out,
    ) {
        let Some(e) = self.eventual.get_mut(&group) else { return };
        match ask {
            Ask::Eventual(query) => e.replica.on_query(now, id, deadline, query, &mut e.outbox),
            _ => {
                let why = "this keyspace is eventual: it takes Redis' commands only".to_string();
                reply(out, id, Err(AskError::Refused(why)), true);
            }
        }
    }

    /// A peer's message for an eventual keyspace.
    pub(crate) fn on_eventual(&mut self, now: Now, from: NodeId, group: GroupId, message: &Bytes) {
        let Some(e) = self.eventual.get_mut(&group) else { return };
        if let Err(fault) = e.replica.on_message(now, from, message) {
            self.on_fault(from, &fault);
        }
    }

    /// The replicas' part of the turn.
    pub(crate) fn settle_eventual(&mut self, now: Now, out: &mut Out) {
        if self.eventual.is_empty() {
            return;
        }
        let ids: Vec<GroupId> = self.eventual.keys().copied().collect();
        for id in ids {
            self.tell_roster(now, id);
            let Some(e) = self.eventual.get_mut(&id) else { continue };
            let mut outbox = std::mem::take(&mut e.outbox);
            let strong = e.strong;
            e.replica.settle(now, &mut outbox);
            for (to, lane, message) in outbox.sends.drain(..) {
                out.sends.push(Send { to, lane, body: message, after: None });
            }
            for (request, answer, end) in outbox.replies.drain(..) {
                let response = answer.map(Answer::Eventual).map_err(|refusal| match refusal {
                    Refusal::Unknown => AskError::Unknown,
                    Refusal::Overloaded => AskError::Overloaded,
                    other => AskError::Eventual(other),
                });
                reply(out, request, response, end);
            }
            if let Some(job) = outbox.job.take() {
                let work = Work { name: "eventual.checkpoint", cost: job.cost, run: job.run };
                self.start_job(NodeJob::Eventual { group: id }, work, out);
            }
            for wish in outbox.wishes.drain(..) {
                self.fulfil(now, strong, wish, out);
            }
            if let Some(at) = outbox.wake_at.take() {
                out.wake_by(at);
            }
            if let Some(e) = self.eventual.get_mut(&id) {
                e.outbox = outbox;
            }
        }
    }

    /// Tells a replica what its strong keyspace says, if that has changed.
    fn tell_roster(&mut self, now: Now, id: GroupId) {
        let Some(e) = self.eventual.get(&id) else { return };
        let Some(strong) = self.groups.get(&e.strong).filter(|g| g.repair.is_none()) else { return };
        let members_at = self.host.members_at(e.strong);
        let revision = strong.store().revision();
        let kept = (Some(revision) != e.seen_revision).then(|| {
            let prefix = e.replica.roster_prefix();
            let range =
                RangeRequest { range_end: after_prefix(&prefix), key: prefix, ..RangeRequest::default() };
            strong.store().range(&range).map(|(_, found)| found.kvs).unwrap_or_default()
        });
        let members = (members_at != e.told_members_at).then(|| self.engine_status(e.strong).members.nodes);
        let Some(e) = self.eventual.get_mut(&id) else { return };
        (e.seen_revision, e.told_members_at) = (Some(revision), members_at);
        if let Some(nodes) = members {
            let nodes: Vec<NodeId> = nodes.into_keys().collect();
            e.replica.on_members(now, &nodes);
        }
        if let Some(kept) = kept {
            let kept =
                kept.into_iter().map(|kv| Kept { key: kv.key, revision: kv.mod_revision, value: kv.value });
            e.replica.on_decided(now, &kept.collect::<Vec<_>>());
        }
    }

    /// Proposes a replica's wish. What becomes of it the replica sees in the keyspace.
    fn fulfil(&mut self, now: Now, group: GroupId, wish: Wish, out: &mut Out) {
        let unchanged = Compare {
            key: wish.key.clone(),
            range_end: Bytes::new(),
            op: CompareOp::Equal,
            target: CompareTarget::Mod(wish.seen),
        };
        let put = PutRequest { key: wish.key, value: wish.value, ..PutRequest::default() };
        let txn =
            TxnRequest { compare: vec![unchanged], success: vec![TxnOp::Put(put)], failure: Vec::new() };
        let ask = Ask::Write { session: None, op: Op::Txn(txn) };
        let deadline = now.mono + WISH_WITHIN;
        if let Ok(token) = self.questions.open(group, ask, Origin::Node, deadline) {
            self.route(now, token, None, out);
        }
    }
}

/// The end of the range of keys that begin with this.
fn after_prefix(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            break;
        }
    }
    end.into()
}
