//! `etcdserverpb.Lease`.

use super::backend::Backend;
use super::convert;
use super::door::{Context, Door, refuse_path};
use super::grpc::{self, Call, Limit, Outbound};
use super::message as pb;
use super::status::{self, Status};
use dwcp_node::{Answer, Ask};
use dwcp_store::api::{Body, Op};
use http::HeaderMap;

impl<B: Backend> Door<B> {
    pub(super) async fn lease_service(self, call: Call, method: &str) {
        match method {
            "LeaseGrant" => self.unary(call, |c, r| self.lease_grant(c, r)).await,
            "LeaseRevoke" => self.unary(call, |c, r| self.lease_revoke(c, r)).await,
            "LeaseTimeToLive" => self.unary(call, |c, r| self.lease_time_to_live(c, r)).await,
            "LeaseLeases" => self.unary(call, |c, r| self.lease_leases(c, r)).await,
            "LeaseKeepAlive" => self.lease_keep_alive(call).await,
            _ => refuse_path(call),
        }
    }

    pub(super) async fn lease_grant(
        &self,
        c: Context,
        r: pb::LeaseGrantRequest,
    ) -> Result<pb::LeaseGrantResponse, Status> {
        let done = self.write(c, Op::LeaseGrant { id: r.id, ttl_s: r.ttl }).await?;
        let Body::LeaseGrant { id, ttl_s } = done.body else {
            return Err(convert::mismatch("a lease grant", &done.body));
        };
        let header = Some(self.header(c.group, done.header.revision));
        Ok(pb::LeaseGrantResponse { header, id, ttl: ttl_s, error: String::new() })
    }

    async fn lease_revoke(
        &self,
        c: Context,
        r: pb::LeaseRevokeRequest,
    ) -> Result<pb::LeaseRevokeResponse, Status> {
        let done = self.write(c, Op::LeaseRevoke { id: r.id, expired: false }).await?;
        Ok(pb::LeaseRevokeResponse { header: Some(self.header(c.group, done.header.revision)) })
    }

    async fn lease_time_to_live(
        &self,
        c: Context,
        r: pb::LeaseTimeToLiveRequest,
    ) -> Result<pb::LeaseTimeToLiveResponse, Status> {
        match self.ask(c, Ask::LeaseTimeToLive { id: r.id, keys: r.keys }).await? {
            Answer::Lease { revision, lease } => {
                let header = Some(self.header(c.group, revision));
                Ok(match lease {
                    Some(lease) => pb::LeaseTimeToLiveResponse {
                        header,
                        id: r.id,
                        ttl: lease.ttl_s,
                        granted_ttl: lease.granted_ttl_s,
                        keys: lease.keys,
                    },
                    None => pb::LeaseTimeToLiveResponse { header, id: r.id, ttl: -1, ..Default::default() },
                })
            }
            other => Err(convert::mismatch("a lease's time to live", &other)),
        }
    }

    async fn lease_leases(
        &self,
        c: Context,
        _: pb::LeaseLeasesRequest,
    ) -> Result<pb::LeaseLeasesResponse, Status> {
        match self.ask(c, Ask::Leases).await? {
            Answer::Leases { revision, ids } => Ok(pb::LeaseLeasesResponse {
                header: Some(self.header(c.group, revision)),
                leases: ids.into_iter().map(|id| pb::LeaseStatus { id }).collect(),
            }),
            other => Err(convert::mismatch("the leases", &other)),
        }
    }

    /// Renewals as they come, each with the default deadline; the stream itself has none.
    async fn lease_keep_alive(self, mut call: Call) {
        let group = match self.group(&call.head) {
            Ok(group) => group,
            Err(status) => return grpc::refuse(&mut call.respond, &status),
        };
        let Ok(mut out) = Outbound::open(&mut call.respond) else { return };
        let status = loop {
            let id = match call.inbound.next::<pb::LeaseKeepAliveRequest>().await {
                Ok(Some(r)) => r.id,
                Ok(None) => break status::OK,
                Err(status) => break status,
            };
            let c = Context { group, limit: Limit::of(&HeaderMap::new()) };
            let (revision, ttl_s) = match self.ask(c, Ask::LeaseKeepAlive(id)).await {
                Ok(Answer::KeptAlive { revision, ttl_s }) => (revision, ttl_s),
                Ok(other) => break convert::mismatch("a keep-alive", &other),
                Err(status) => break status,
            };
            let header = Some(self.header(group, revision));
            // A lease that is gone is answered with no time left, not with an error.
            let response = pb::LeaseKeepAliveResponse { header, id, ttl: ttl_s.max(0) };
            if out.send(&response).await.is_err() {
                return;
            }
        };
        out.finish(&status);
    }
}
