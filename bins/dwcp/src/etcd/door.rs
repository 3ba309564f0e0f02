//! From a connection to a call, from a call's path to its service.
//!
//! Short calls run on their connection's task; streams and waits for others get a task of
//! their own, which ends with its client.

use super::backend::Backend;
use super::convert;
use super::grpc::{self, Call, Limit};
use super::kv::{Method as Kv, Short};
use super::message as pb;
use super::status::{self, Code, Status};
use dwcp_env::GroupId;
use dwcp_node::{Answer, Ask, Request};
use dwcp_store::api;
use http::{HeaderName, Method, Response, StatusCode, header, request};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout_at;

/// Connections served at once; more wait in the listener's queue.
pub const CONNECTIONS: usize = 8_192;
/// How long accepting rests after the operating system refused (out of file descriptors).
const ACCEPT_REST: Duration = Duration::from_millis(50);
/// How long what is asked of this node's own state may wait for the state to catch up.
pub(super) const CATCH_UP: Duration = Duration::from_millis(500);
/// The metadata that names a keyspace.
const KEYSPACE: HeaderName = HeaderName::from_static("dwcp-keyspace");
/// The metadata with which etcd's clients ask for an error when no leader is known.
const REQUIRE_LEADER: HeaderName = HeaderName::from_static("hasleader");

/// The etcd door to a node.
#[derive(Clone, Debug)]
pub struct Door<B> {
    pub(super) backend: B,
    /// The highest revision that an answer of this door has shown, by group. A follower answers a
    /// write when its leader has applied it; etcd's members answer when they have themselves. What
    /// is read from this node's own state is brought up to here first.
    shown: Arc<RwLock<BTreeMap<GroupId, Arc<AtomicI64>>>>,
}

/// What every call has besides its message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context {
    /// The group of the keyspace meant.
    pub(super) group: GroupId,
    /// When the call must have ended.
    pub(super) limit: Limit,
}

impl<B: Backend> Door<B> {
    /// A door to this node.
    pub fn new(backend: B) -> Self {
        Self { backend, shown: Arc::default() }
    }

    /// Serves whoever connects, until `closing` turns true; then lets calls end.
    pub async fn serve(self, listener: TcpListener, mut closing: watch::Receiver<bool>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut accepting = closing.clone();
        let accept = async {
            loop {
                let Ok(seat) = Arc::clone(&room).acquire_owned().await else { return };
                match listener.accept().await {
                    Ok((socket, _)) => {
                        // A socket that can't be told loses speed, not answers.
                        let _slower = socket.set_nodelay(true);
                        let (door, closing) = (self.clone(), closing.clone());
                        tokio::spawn(async move {
                            door.connection(socket, closing).await;
                            drop(seat);
                        });
                    }
                    // Out of file descriptors, or the client was gone before we looked.
                    Err(_) => tokio::time::sleep(ACCEPT_REST).await,
                }
            }
        };
        tokio::select! {
            () = accept => {}
            _ = accepting.wait_for(|closing| *closing) => {}
        }
        // All seats back: every connection has ended, at the latest after the drain of each.
        let _all = room.acquire_many(CONNECTIONS as u32).await;
        let _ended = closing.borrow_and_update();
    }

    /// Serves one connection; for doors behind TLS and for tests.
    pub async fn connection<IO>(&self, io: IO, closing: watch::Receiver<bool>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        grpc::serve(io, |call| self.handle(call), closing).await;
    }

    fn handle(&self, call: Call) -> Option<Short<'_, B>> {
        if let Some(method) = Kv::of(call.head.uri.path()) {
            return Short::begin(self, method, call);
        }
        tokio::spawn(self.clone().handle_rarer(call));
        None
    }

    async fn handle_rarer(self, call: Call) {
        let path = call.head.uri.path().to_owned();
        let Some((service, method)) = path.strip_prefix('/').and_then(|p| p.split_once('/')) else {
            return refuse_path(call);
        };
        match service {
            "etcdserverpb.KV" if method == "Compact" => self.unary(call, |c, r| self.compact(c, r)).await,
            "etcdserverpb.Watch" if method == "Watch" => self.watch(call).await,
            "etcdserverpb.Lease" => self.lease_service(call, method).await,
            "etcdserverpb.Cluster" => self.cluster_service(call, method).await,
            "etcdserverpb.Maintenance" => self.maintenance_service(call, method).await,
            "etcdserverpb.Auth" => self.auth_service(call, method).await,
            "dwcp.v1.Consensus" => self.consensus_service(call, method).await,
            "v3lockpb.Lock" => self.lock_service(call, method).await,
            "v3electionpb.Election" => self.election_service(call, method).await,
            "grpc.health.v1.Health" if method == "Check" => {
                self.unary(call, |_, _: pb::HealthCheckRequest| async {
                    Ok(pb::HealthCheckResponse { status: pb::HEALTH_SERVING })
                })
                .await;
            }
            _ => refuse_path(call),
        }
    }

    /// A call with one message each way.
    pub(super) async fn unary<Q, A, F>(&self, mut call: Call, work: impl FnOnce(Context, Q) -> F)
    where
        Q: prost::Message + Default,
        A: prost::Message,
        F: Future<Output = Result<A, Status>>,
    {
        let result = match self.context(&call.head) {
            Ok(context) => match timeout_at(context.limit.at, call.inbound.only()).await {
                Ok(Ok(message)) => work(context, message).await,
                Ok(Err(status)) => Err(status),
                Err(_) => Err(context.limit.passed()),
            },
            Err(status) => Err(status),
        };
        grpc::answer(&mut call.respond, result);
    }

    /// Reads what every call carries.
    pub(super) fn context(&self, head: &request::Parts) -> Result<Context, Status> {
        Ok(Context { group: self.group(head)?, limit: Limit::of(&head.headers) })
    }

    /// The group meant by a call.
    pub(super) fn group(&self, head: &request::Parts) -> Result<GroupId, Status> {
        let name = head.headers.get(&KEYSPACE).map_or(Some(""), |v| v.to_str().ok());
        name.and_then(|n| self.backend.group(n)).ok_or_else(|| {
            Status::told(
                Code::NotFound,
                format!(
                    "dwcp: no keyspace {:?}; leave the metadata {KEYSPACE} out for the default one",
                    name.unwrap_or("(not text)")
                ),
            )
        })
    }

    /// Whether the client wants an error when no leader is known.
    pub(super) fn requires_leader(head: &request::Parts) -> bool {
        head.headers.get(&REQUIRE_LEADER).is_some_and(|v| v == "true")
    }

    /// The header of an answer.
    pub(super) fn header(&self, group: GroupId, revision: api::Revision) -> pb::ResponseHeader {
        let (cluster_id, member_id) = self.backend.identity();
        pb::ResponseHeader { cluster_id, member_id, revision, raft_term: self.backend.term(group) }
    }

    /// Asks the node.
    pub(super) async fn ask(&self, context: Context, ask: Ask) -> Result<Answer, Status> {
        let request = Request { group: context.group, ask };
        let response = self.backend.begin(request, context.limit.at.into_std()).await;
        self.answered(context, response)
    }

    /// Asks for a command to be done.
    pub(super) async fn write(&self, context: Context, op: api::Op) -> Result<api::Response, Status> {
        let answer = self.ask(context, Ask::Write { session: None, op }).await?;
        self.written(context, answer)
    }

    /// Notes a revision that a client will see.
    pub(super) fn show(&self, group: GroupId, revision: api::Revision) {
        if let Some(shown) = self.shown.read().unwrap_or_else(PoisonError::into_inner).get(&group) {
            shown.fetch_max(revision, Ordering::Relaxed);
            return;
        }
        let mut all = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        all.entry(group).or_default().fetch_max(revision, Ordering::Relaxed);
    }

    /// The highest revision that a client of this door has seen.
    pub(super) fn shown(&self, group: GroupId) -> api::Revision {
        let all = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&group).map_or(0, |shown| shown.load(Ordering::Relaxed))
    }

    /// Asks for keys, behind all that was written before.
    pub(super) async fn read(
        &self,
        context: Context,
        range: api::RangeRequest,
    ) -> Result<(api::Revision, api::RangeResponse), Status> {
        self.read_once(context, range, false).await
    }

    /// Asks for keys in this node's own state (`serializable`). Where that is behind what this door has shown, it is
    /// made up for, if a quorum is there to do it.
    pub(super) async fn read_own(
        &self,
        context: Context,
        range: api::RangeRequest,
    ) -> Result<(api::Revision, api::RangeResponse), Status> {
        let own = self.read_once(context, range.clone(), true).await;
        let behind = match &own {
            Ok((revision, _)) => *revision < self.shown(context.group),
            Err(status) => status.code == Code::OutOfRange && range.revision <= self.shown(context.group),
        };
        if !behind {
            return own;
        }
        let soon = Context { limit: context.limit.at_most(CATCH_UP), ..context };
        self.read_once(soon, range, false).await.or(own)
    }

    async fn read_once(
        &self,
        context: Context,
        range: api::RangeRequest,
        serializable: bool,
    ) -> Result<(api::Revision, api::RangeResponse), Status> {
        let answer = self.ask(context, Ask::Range { range, serializable }).await?;
        self.found(context, answer)
    }

    /// Asks how the node sees the group.
    pub(super) async fn group_status(&self, context: Context) -> Result<dwcp_node::GroupStatus, Status> {
        match self.ask(context, Ask::Status).await? {
            Answer::Status(status) => Ok(*status),
            other => Err(convert::mismatch("a status", &other)),
        }
    }
}

/// Answers a call to nobody.
pub(super) fn refuse_path(mut call: Call) {
    let grpc = call
        .head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|v| v.as_bytes().starts_with(b"application/grpc"));
    if call.head.method == Method::POST && grpc {
        let path = call.head.uri.path();
        let status = Status::told(Code::Unimplemented, format!("unknown method {path}"));
        return grpc::refuse(&mut call.respond, &status);
    }
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let _left = call.respond.send_response(response, true);
}

/// A message that must be there inside another.
pub(super) fn required<T>(field: Option<T>) -> Result<T, Status> {
    field.ok_or(status::MISSING_LEADER_KEY)
}
