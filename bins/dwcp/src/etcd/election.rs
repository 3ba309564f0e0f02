//! `v3electionpb.Election`: one leader at a time, and a value that it proclaims.

use super::backend::Backend;
use super::convert;
use super::door::{Context, Door, refuse_path, required};
use super::grpc::{self, Call, Left, Outbound};
use super::message as pb;
use super::status::{self, Status};
use super::wait::{self, Place};
use bytes::Bytes;
use dwcp_env::GroupId;
use dwcp_node::{Answer, Ask, AskError, Request, WatchRequest};
use dwcp_store::api::{self, Body, EventKind, KeyValue, LeaseId, Op, OpError, Revision, TxnOp, TxnRequest};
use futures_util::StreamExt;
use std::sync::Mutex;

impl<B: Backend> Door<B> {
    pub(super) async fn election_service(self, call: Call, method: &str) {
        match method {
            "Campaign" => {
                let taken = Mutex::new(None);
                self.patient(
                    call,
                    |group, r| self.campaign(group, r, &taken),
                    |group| self.give_back(group, &taken),
                )
                .await;
            }
            "Proclaim" => self.unary(call, |c, r| self.proclaim(c, r)).await,
            "Leader" => self.unary(call, |c, r| self.leader(c, r)).await,
            "Resign" => self.unary(call, |c, r| self.resign(c, r)).await,
            "Observe" => self.observe(call).await,
            _ => refuse_path(call),
        }
    }

    async fn campaign(
        &self,
        group: GroupId,
        r: pb::CampaignRequest,
        taken: &Mutex<Option<Place>>,
    ) -> Result<pb::CampaignResponse, Status> {
        let lease = self.session(group, r.lease).await?;
        let prefix = wait::prefix(&r.name);
        let (place, mine, _, revision) = self.take_place(group, &prefix, lease, r.value.clone()).await?;
        if let Ok(mut taken) = taken.lock() {
            *taken = Some(place.clone());
        }
        // The same lease stood before with another value: it stands with the new one.
        if mine.is_some_and(|kv| kv.value != r.value) {
            self.put_value(wait::step(group), &place.key, place.revision, lease, r.value).await?;
        }
        self.wait_for_turn(group, &prefix, &place).await?;
        let leader = pb::LeaderKey { name: r.name, key: place.key, rev: place.revision, lease };
        Ok(pb::CampaignResponse { header: Some(self.header(group, revision)), leader: Some(leader) })
    }

    /// Changes the value of a place that is still the one taken.
    async fn put_value(
        &self,
        c: Context,
        key: &Bytes,
        since: Revision,
        lease: LeaseId,
        value: Bytes,
    ) -> Result<Revision, Status> {
        super::reserved::refuse(key, &[])?;
        let put = api::PutRequest { key: key.clone(), value, lease, ..api::PutRequest::default() };
        let txn = TxnRequest {
            compare: vec![wait::created_at(key, since)],
            success: vec![TxnOp::Put(put)],
            failure: Vec::new(),
        };
        let done = self.write(c, Op::Txn(txn)).await?;
        match done.body {
            Body::Txn { succeeded: true, .. } => Ok(done.header.revision),
            Body::Txn { succeeded: false, .. } => Err(status::ELECTION_NOT_LEADER),
            other => Err(convert::mismatch("a txn", &other)),
        }
    }

    async fn proclaim(&self, c: Context, r: pb::ProclaimRequest) -> Result<pb::HeaderResponse, Status> {
        let leader = required(r.leader)?;
        let revision = self.put_value(c, &leader.key, leader.rev, leader.lease, r.value).await?;
        Ok(pb::HeaderResponse { header: Some(self.header(c.group, revision)) })
    }

    async fn resign(&self, c: Context, r: pb::ResignRequest) -> Result<pb::HeaderResponse, Status> {
        let leader = required(r.leader)?;
        let place = Place { key: leader.key, revision: leader.rev };
        let revision = self.leave_place(c.group, &place).await?;
        Ok(pb::HeaderResponse { header: Some(self.header(c.group, revision)) })
    }

    async fn leader(&self, c: Context, r: pb::LeaderRequest) -> Result<pb::LeaderResponse, Status> {
        let (revision, found) = self.read(c, wait::oldest(&wait::prefix(&r.name))).await?;
        let kv = found.kvs.into_iter().next().ok_or(status::ELECTION_NO_LEADER)?;
        Ok(self.leader_response(c.group, revision, kv))
    }

    fn leader_response(&self, group: GroupId, revision: Revision, kv: KeyValue) -> pb::LeaderResponse {
        pb::LeaderResponse { header: Some(self.header(group, revision)), kv: Some(convert::key_value(kv)) }
    }

    async fn observe(self, mut call: Call) {
        let asked = match self.context(&call.head) {
            Ok(c) => call.inbound.only::<pb::LeaderRequest>().await.map(|r| (c.group, r)),
            Err(status) => Err(status),
        };
        let (group, request) = match asked {
            Ok(asked) => asked,
            Err(status) => return grpc::refuse(&mut call.respond, &status),
        };
        let Ok(mut out) = Outbound::open(&mut call.respond) else { return };
        let prefix = wait::prefix(&request.name);
        loop {
            match self.observe_one(group, &prefix, &mut out).await {
                Ok(()) => {}
                Err(Observed::Left) => return,
                Err(Observed::Failed(status)) => return out.finish(&status),
            }
        }
    }

    /// Tells who leads and what it proclaims, until its key is deleted.
    async fn observe_one(&self, group: GroupId, prefix: &Bytes, out: &mut Outbound) -> Result<(), Observed> {
        let (now, found) = self.read(wait::step(group), wait::oldest(prefix)).await?;
        let (key, from) = match found.kvs.into_iter().next() {
            Some(kv) => {
                let key = kv.key.clone();
                out.send(&self.leader_response(group, now, kv)).await?;
                (key, now + 1)
            }
            None => {
                let wanted = WatchRequest {
                    key: prefix.clone(),
                    range_end: wait::prefix_end(prefix),
                    start_revision: now,
                    no_delete: true,
                    ..WatchRequest::default()
                };
                let Some((_, kv)) = self.first_event(group, wanted, out).await? else { return Ok(()) };
                let (key, from) = (kv.key.clone(), kv.mod_revision + 1);
                out.send(&self.leader_response(group, kv.mod_revision, kv)).await?;
                (key, from)
            }
        };
        let mut from = from;
        loop {
            let wanted = WatchRequest { key: key.clone(), start_revision: from, ..WatchRequest::default() };
            match self.first_event(group, wanted, out).await? {
                Some((EventKind::Put, kv)) => {
                    from = kv.mod_revision + 1;
                    out.send(&self.leader_response(group, kv.mod_revision, kv)).await?;
                }
                Some((EventKind::Delete, _)) | None => return Ok(()),
            }
        }
    }

    /// The first change that a watch tells; `None` if the watch ended without one.
    async fn first_event(
        &self,
        group: GroupId,
        wanted: WatchRequest,
        out: &mut Outbound,
    ) -> Result<Option<(EventKind, KeyValue)>, Observed> {
        let mut replies = self.backend.open(Request { group, ask: Ask::Watch(wanted) });
        loop {
            let answer = tokio::select! {
                answer = replies.next() => answer,
                () = out.left() => return Err(Observed::Left),
            };
            match answer {
                Some(Ok(Answer::Watched { events, .. })) => {
                    if let Some(event) = events.into_iter().next() {
                        return Ok(Some((event.kind, event.kv)));
                    }
                }
                // History is gone, or this watch was too slow: look again at what is.
                Some(Err(AskError::Op(OpError::Compacted { .. }))) | None => return Ok(None),
                Some(Err(e)) => return Err(Observed::Failed(convert::refusal(&e))),
                Some(Ok(other)) => return Err(Observed::Failed(convert::mismatch("a watch", &other))),
            }
        }
    }
}

/// Why observing ended.
enum Observed {
    Left,
    Failed(Status),
}

impl From<Left> for Observed {
    fn from(_: Left) -> Self {
        Self::Left
    }
}

impl From<Status> for Observed {
    fn from(status: Status) -> Self {
        Self::Failed(status)
    }
}
