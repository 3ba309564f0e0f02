//! Locks under leases, as etcd's clients take them: a key created under a lease if nobody
//! has it; work that holds only while that creation stands; a release.

use super::{Begun, Draw, Then, put, txn};
use crate::Use;
use crate::ask::{Answer, Ask};
use crate::record::{Outcome, What};
use bytes::Bytes;
use dwcp_env::Purpose;
use dwcp_store::api::{
    Body, Compare, CompareOp, CompareTarget, DeleteRangeRequest, LeaseId, Op, OpError, PutRequest, TxnOp,
    TxnRequest,
};

const WHAT: Purpose = Purpose::named("lock.what");
/// A lease's life without a keep-alive.
const TTL_S: i64 = 4;
/// Keys from here on hold what is written under a lock, one for each.
pub(crate) const WORK: u64 = 1 << 32;

/// A client of locks.
#[derive(Debug)]
pub struct Lock {
    keys: u64,
    lease: Option<LeaseId>,
    held: Option<(u64, i64)>,
}

impl Lock {
    pub(super) const fn new(keys: u64) -> Self {
        Self { keys, lease: None, held: None }
    }

    pub(super) fn begin(&self, draw: Draw) -> Begun {
        let Some(lease) = self.lease else {
            return Begun { what: None, ask: command(Op::LeaseGrant { id: 0, ttl_s: TTL_S }) };
        };
        let Some((key, token)) = self.held else {
            let key = draw.below(self.keys, WHAT, 1);
            let name = Use::Lock.key(key);
            let owner = Bytes::copy_from_slice(&draw.unique(0).to_be_bytes());
            let take = PutRequest { key: name.clone(), value: owner, lease, ..PutRequest::default() };
            let op = Op::Txn(TxnRequest {
                compare: vec![created(name, 0)],
                success: vec![TxnOp::Put(take)],
                failure: Vec::new(),
            });
            return Begun { what: Some(What::Acquire { key, token: 0 }), ask: command(op) };
        };
        let name = Use::Lock.key(key);
        match draw.below(100, WHAT, 0) {
            0..55 => {
                let work = put(Use::Lock.key(WORK + key), &token.to_be_bytes());
                let op = Op::Txn(TxnRequest {
                    compare: vec![created(name, token)],
                    success: vec![work],
                    failure: Vec::new(),
                });
                Begun { what: Some(What::Fenced { key, token, passed: true }), ask: command(op) }
            }
            55..80 => Begun { what: None, ask: Ask::KeepAlive(lease) },
            _ => {
                let gone = DeleteRangeRequest { key: name.clone(), ..DeleteRangeRequest::default() };
                let op = Op::Txn(TxnRequest {
                    compare: vec![created(name, token)],
                    success: vec![TxnOp::DeleteRange(gone)],
                    failure: Vec::new(),
                });
                Begun { what: Some(What::Release { key, token }), ask: command(op) }
            }
        }
    }

    pub(super) fn answered(&mut self, what: Option<&mut What>, answer: Result<Answer, OpError>) -> Then {
        match (what, answer) {
            (None, Ok(Answer::Said(response))) => {
                if let Body::LeaseGrant { id, .. } = response.body {
                    self.lease = Some(id);
                }
                Then::ok(0)
            }
            (None, Ok(Answer::Alive(left))) => {
                if left <= 0 {
                    self.forget();
                }
                Then::ok(0)
            }
            (Some(what), Ok(Answer::Said(response))) => {
                let Some((held, _)) = txn(&response) else { return Then::fail() };
                let revision = response.header.revision;
                match what {
                    What::Acquire { key, token } if held => {
                        *token = revision;
                        self.held = Some((*key, revision));
                    }
                    What::Acquire { .. } => return Then::fail(),
                    What::Fenced { passed, .. } => {
                        *passed = held;
                        if !held {
                            self.forget();
                        }
                    }
                    What::Release { .. } if held => self.held = None,
                    _ => {
                        self.forget();
                        return Then::fail();
                    }
                }
                Then::ok(revision)
            }
            // The lease is gone, or was never granted.
            _ => {
                self.forget();
                Then::fail()
            }
        }
    }

    pub(super) const fn ended(&mut self, outcome: Outcome) {
        if matches!(outcome, Outcome::Info) {
            // Whether we hold anything is not known: let the lease run out and begin anew.
            self.forget();
        }
    }

    const fn forget(&mut self) {
        self.lease = None;
        self.held = None;
    }
}

const fn command(op: Op) -> Ask {
    Ask::Do { stamp: None, op }
}

/// That a key was created at this revision; 0: that it is absent.
const fn created(key: Bytes, revision: i64) -> Compare {
    Compare { key, range_end: Bytes::new(), op: CompareOp::Equal, target: CompareTarget::Create(revision) }
}
