//! `etcdserverpb.KV`: the calls a node lives from.
//!
//! **Model.** There may be thousands of these at once, and their speed is the door's. So each is one small value
//! ([`Short`]) that reads its message, gives the node its question and turns the answer into a message. A tree of
//! async functions holds what it was handed once on each of its levels: some kilobytes, written and moved for each
//! call, which then are no longer in the cache when the answer comes.

use super::backend::Backend;
use super::convert;
use super::door::{Context, Door};
use super::grpc::{self, Call, Inbound};
use super::message as pb;
use super::status::Status;
use bytes::Bytes;
use dwcp_node::{Answer, Ask, AskError, Request, Response};
use dwcp_store::api::{self, Body, Op};
use h2::server::SendResponse;
use std::future::Future;
use std::pin::Pin;
use std::task::{self, Poll, ready};
use tokio::time::{Sleep, sleep_until};

/// Which call it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Method {
    Put,
    Range,
    Txn,
    DeleteRange,
}

impl Method {
    /// The method of a path, if it is one of these.
    pub(super) fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/etcdserverpb.KV/Put" => Self::Put,
            "/etcdserverpb.KV/Range" => Self::Range,
            "/etcdserverpb.KV/Txn" => Self::Txn,
            "/etcdserverpb.KV/DeleteRange" => Self::DeleteRange,
            _ => return None,
        })
    }

    /// What a message of it asks of the node.
    fn question(self, message: Bytes) -> Result<Ask, Status> {
        let op = match self {
            Self::Put => {
                let put: pb::PutRequest = grpc::decode(message)?;
                convert::check_size(&put)?;
                Op::Put(convert::put(put)?)
            }
            Self::Range => {
                let range: pb::RangeRequest = grpc::decode(message)?;
                let serializable = range.serializable;
                return Ok(Ask::Range { range: convert::range(range)?, serializable });
            }
            Self::Txn => {
                let txn: pb::TxnRequest = grpc::decode(message)?;
                convert::check_size(&txn)?;
                Op::Txn(convert::whole_txn(txn)?)
            }
            Self::DeleteRange => Op::DeleteRange(convert::delete_range(grpc::decode(message)?)?),
        };
        Ok(Ask::Write { session: None, op })
    }
}

/// A call under way.
pub(super) struct Short<'a, B: Backend> {
    door: &'a Door<B>,
    method: Method,
    context: Context,
    inbound: Inbound,
    respond: SendResponse<Bytes>,
    stage: Stage<'a, B>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

enum Stage<'a, B: Backend> {
    /// The message has not come as a whole. The timer is there once it was missed.
    Message(Option<Pin<Box<Sleep>>>),
    /// The node has the question.
    Node(B::Pending),
    /// A read of the node's own state, which may have to be made up for.
    Own(Boxed<'a, Result<pb::RangeResponse, Status>>),
    Over,
}

impl<'a, B: Backend> Short<'a, B> {
    /// Takes a call up; `None`: it is answered already.
    pub(super) fn begin(door: &'a Door<B>, method: Method, mut call: Call) -> Option<Self> {
        match door.context(&call.head) {
            Ok(context) => {
                let Call { inbound, respond, .. } = call;
                Some(Self { door, method, context, inbound, respond, stage: Stage::Message(None) })
            }
            Err(status) => {
                grpc::refuse(&mut call.respond, &status);
                None
            }
        }
    }

    fn poll_message(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<Bytes, Status>> {
        if let Poll::Ready(message) = self.inbound.poll_only(cx) {
            return Poll::Ready(message);
        }
        let (Stage::Message(timer), limit) = (&mut self.stage, self.context.limit) else {
            return Poll::Pending;
        };
        let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(limit.at)));
        timer.as_mut().poll(cx).map(|()| Err(limit.passed()))
    }

    fn ask(&self, ask: Ask) -> Stage<'a, B> {
        let (door, context) = (self.door, self.context);
        if let Ask::Range { range, serializable: true } = ask {
            return Stage::Own(Box::pin(async move {
                let (revision, found) = door.read_own(context, range).await?;
                Ok(convert::range_response(door.header(context.group, revision), found))
            }));
        }
        let request = Request { group: context.group, ask };
        Stage::Node(door.backend.begin(request, context.limit.at.into_std()))
    }

    fn answer(&mut self, response: Response) {
        let (door, context, to) = (self.door, self.context, &mut self.respond);
        let done = match (door.answered(context, response), self.method) {
            (Err(status), _) => return grpc::refuse(to, &status),
            (Ok(answer), Method::Range) => {
                let found = door.found(context, answer);
                let header = |revision| door.header(context.group, revision);
                return grpc::answer(to, found.map(|(at, found)| convert::range_response(header(at), found)));
            }
            (Ok(answer), _) => door.written(context, answer),
        };
        match self.method {
            Method::Put => grpc::answer(to, done.and_then(|done| door.put_done(context, done))),
            Method::Txn => grpc::answer(to, done.and_then(|done| door.txn_done(context, done))),
            Method::DeleteRange | Method::Range => {
                grpc::answer(to, done.and_then(|done| door.delete_done(context, done)));
            }
        }
    }
}

impl<B: Backend> Future for Short<'_, B> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<()> {
        let me = &mut *self;
        loop {
            match &mut me.stage {
                Stage::Message(_) => {
                    let message = ready!(me.poll_message(cx));
                    match message.and_then(|message| me.method.question(message)) {
                        Ok(ask) => me.stage = me.ask(ask),
                        Err(status) => {
                            grpc::refuse(&mut me.respond, &status);
                            me.stage = Stage::Over;
                        }
                    }
                }
                Stage::Node(pending) => {
                    let response = ready!(Pin::new(pending).poll(cx));
                    me.stage = Stage::Over;
                    me.answer(response);
                }
                Stage::Own(read) => {
                    let result = ready!(read.as_mut().poll(cx));
                    me.stage = Stage::Over;
                    grpc::answer(&mut me.respond, result);
                }
                Stage::Over => return Poll::Ready(()),
            }
        }
    }
}

impl<B: Backend> Door<B> {
    /// The node's answer, or the status that says why there is none.
    pub(super) fn answered(&self, context: Context, response: Response) -> Result<Answer, Status> {
        match response {
            Ok(answer) => Ok(answer),
            Err(AskError::Unknown | AskError::Deadline) if context.limit.is_past() => {
                Err(context.limit.passed())
            }
            Err(e) => Err(convert::refusal(&e)),
        }
    }

    /// The answer to a command.
    pub(super) fn written(&self, context: Context, answer: Answer) -> Result<api::Response, Status> {
        let done = convert::written(answer)?;
        self.show(context.group, done.header.revision);
        Ok(done)
    }

    /// The answer to a read.
    pub(super) fn found(
        &self,
        context: Context,
        answer: Answer,
    ) -> Result<(api::Revision, api::RangeResponse), Status> {
        match answer {
            Answer::Range { revision, range } => {
                self.show(context.group, revision);
                Ok((revision, range))
            }
            other => Err(convert::mismatch("a range", &other)),
        }
    }

    fn put_done(&self, c: Context, done: api::Response) -> Result<pb::PutResponse, Status> {
        let Body::Put { prev_kv } = done.body else { return Err(convert::mismatch("a put", &done.body)) };
        Ok(pb::PutResponse {
            header: Some(self.header(c.group, done.header.revision)),
            prev_kv: prev_kv.map(convert::key_value),
        })
    }

    fn delete_done(&self, c: Context, done: api::Response) -> Result<pb::DeleteRangeResponse, Status> {
        let Body::DeleteRange { deleted, prev_kvs } = done.body else {
            return Err(convert::mismatch("a delete", &done.body));
        };
        Ok(pb::DeleteRangeResponse {
            header: Some(self.header(c.group, done.header.revision)),
            deleted,
            prev_kvs: prev_kvs.into_iter().map(convert::key_value).collect(),
        })
    }

    fn txn_done(&self, c: Context, done: api::Response) -> Result<pb::TxnResponse, Status> {
        let Body::Txn { succeeded, responses } = done.body else {
            return Err(convert::mismatch("a txn", &done.body));
        };
        Ok(pb::TxnResponse {
            header: Some(self.header(c.group, done.header.revision)),
            succeeded,
            responses: convert::responses(responses)?,
        })
    }

    pub(super) async fn delete_range(
        &self,
        c: Context,
        r: pb::DeleteRangeRequest,
    ) -> Result<pb::DeleteRangeResponse, Status> {
        let done = self.write(c, Op::DeleteRange(convert::delete_range(r)?)).await?;
        self.delete_done(c, done)
    }

    pub(super) async fn compact(
        &self,
        c: Context,
        r: pb::CompactionRequest,
    ) -> Result<pb::CompactionResponse, Status> {
        let done = self.write(c, Op::Compact { revision: r.revision }).await?;
        Ok(pb::CompactionResponse { header: Some(self.header(c.group, done.header.revision)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::Face;

    /// What a thousand clients in flight take, and what is moved for each call.
    #[test]
    fn a_call_stays_small() {
        assert!(size_of::<Short<'_, Face>>() <= 384, "{} bytes", size_of::<Short<'_, Face>>());
    }
}
