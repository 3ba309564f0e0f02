//! All that the store can do: ranges and their past, conditions of every kind, deletes of ranges, leases that run out,
//! compaction, watches that come back from the past. Judged by the [oracle](crate::oracle), which knows
//! every answer, so that nothing here need be simple.
//!
//! Of four clients, one watches, one is *plain* — it has no session, as etcd's own clients have none, so that it never
//! asks again what may have been done — and two do everything else. Client 0 compacts.

use super::{Begun, Draw, Then, put, range};
use crate::Use;
use crate::ask::{Answer, Ask};
use crate::record::What;
use bytes::Bytes;
use dwcp_env::Purpose;
use dwcp_store::api::{
    Body, Compare, CompareOp, CompareTarget, DeleteRangeRequest, LeaseId, Op, OpError, PutRequest,
    RangeRequest, Response, Revision, SortOrder, SortTarget, TxnOp, TxnRequest, WatchEvent,
};

const WHAT: Purpose = Purpose::named("store.what");
const KEY: Purpose = Purpose::named("store.key");
const HOW: Purpose = Purpose::named("store.how");
/// The shortest life of a lease, and how much longer it may be.
const TTL_S: i64 = 2;
const TTL_MORE_S: u64 = 3;

/// A client of everything.
#[derive(Debug)]
pub struct Store {
    nth: u32,
    keys: u64,
    lease: Option<LeaseId>,
    /// The newest revision heard of.
    seen: Revision,
    /// The newest at which a key of this client's was deleted.
    deleted: Revision,
}

impl Store {
    pub(super) const fn new(nth: u32, keys: u64) -> Self {
        Self { nth, keys: if keys < 4 { 4 } else { keys }, lease: None, seen: 1, deleted: 0 }
    }
    /// Whether client `nth` has no session.
    const fn plain(nth: u32) -> bool {
        nth % 4 == 2
    }
    /// Whether it is one of those.
    pub(super) const fn is_plain(&self) -> bool {
        Self::plain(self.nth)
    }
    /// Whether client `nth` watches.
    pub(super) const fn watches(nth: u32) -> bool {
        nth % 4 == 3
    }

    fn key(&self, draw: Draw, ordinal: u64) -> Bytes {
        Use::Store.key(draw.below(self.keys, KEY, ordinal))
    }
    /// Two neighbouring keys and the one behind them, as the bounds of a range.
    fn bounds(&self, draw: Draw, ordinal: u64) -> (Bytes, Bytes) {
        let from = draw.below(self.keys, KEY, ordinal);
        let wide = 1 + draw.below(3, KEY, ordinal + 1);
        (Use::Store.key(from), Use::Store.key(from + wide))
    }
    fn past(&self, draw: Draw, back: u64) -> Revision {
        (self.seen - draw.below(back, HOW, 7) as Revision).max(1)
    }

    pub(super) fn begin(&mut self, draw: Draw) -> Begun {
        if Self::plain(self.nth) {
            return write(Op::Put(self.put(draw, 0)));
        }
        match draw.below(100, WHAT, 0) {
            0..20 => {
                write(Op::Put(self.put(draw, self.lease.filter(|_| draw.below(2, HOW, 0) == 0).unwrap_or(0))))
            }
            20..36 => write(Op::Txn(self.txn(draw))),
            36..42 => {
                let (key, range_end) = self.bounds(draw, 0);
                write(Op::DeleteRange(DeleteRangeRequest {
                    key,
                    range_end,
                    prev_kv: draw.below(2, HOW, 1) == 0,
                }))
            }
            42..50 => {
                let key = self.key(draw, 0);
                write(Op::DeleteRange(DeleteRangeRequest {
                    key,
                    prev_kv: true,
                    ..DeleteRangeRequest::default()
                }))
            }
            50..64 => read(self.look(draw)),
            64..78 => read(RangeRequest { revision: self.past(draw, 24), ..self.look(draw) }),
            78..84 if self.nth == 0 => {
                let own = self.deleted > 0 && draw.below(2, HOW, 2) == 0;
                let revision = if own { self.deleted } else { self.past(draw, 16) };
                write(Op::Compact { revision })
            }
            84..87 => {
                // Left to run out.
                self.lease = None;
                read(self.look(draw))
            }
            _ => self.lease(draw),
        }
    }
    fn lease(&self, draw: Draw) -> Begun {
        match self.lease {
            None => {
                let ttl_s = TTL_S + draw.below(TTL_MORE_S, HOW, 3) as i64;
                write(Op::LeaseGrant { id: 0, ttl_s })
            }
            Some(id) if draw.below(8, HOW, 4) == 0 => write(Op::LeaseRevoke { id, expired: false }),
            Some(id) => Begun { what: Some(What::Store { write: false }), ask: Ask::KeepAlive(id) },
        }
    }
    fn put(&self, draw: Draw, lease: LeaseId) -> PutRequest {
        let value = Bytes::copy_from_slice(&draw.unique(0).to_be_bytes());
        PutRequest {
            key: self.key(draw, 0),
            value,
            lease,
            prev_kv: draw.below(2, HOW, 5) == 0,
            ..PutRequest::default()
        }
    }
    fn look(&self, draw: Draw) -> RangeRequest {
        let (key, range_end) = match draw.below(3, HOW, 6) {
            0 => (Bytes::from_static(Use::Store.prefix().as_bytes()), Use::Store.range_end()),
            1 => self.bounds(draw, 2),
            _ => return range(self.key(draw, 2)),
        };
        let mut q = RangeRequest { key, range_end, ..RangeRequest::default() };
        match draw.below(6, HOW, 8) {
            0 => q.limit = 1 + draw.below(3, HOW, 9) as i64,
            1 => {
                q.sort_order = SortOrder::Descend;
                q.sort_target = [SortTarget::Mod, SortTarget::Version, SortTarget::Create]
                    [draw.below(3, HOW, 10) as usize];
                q.limit = 2;
            }
            2 => q.count_only = true,
            3 => q.min_mod_revision = self.past(draw, 30),
            _ => {}
        }
        q
    }
    fn compare(&self, draw: Draw, ordinal: u64) -> Compare {
        let op = [CompareOp::Equal, CompareOp::NotEqual, CompareOp::Greater, CompareOp::Less]
            [draw.below(4, HOW, ordinal) as usize];
        let near = self.past(draw, 12);
        let target = match draw.below(5, HOW, ordinal + 1) {
            0 => CompareTarget::Version(draw.below(4, HOW, ordinal + 2) as i64),
            1 => CompareTarget::Create(near),
            2 => CompareTarget::Lease(self.lease.unwrap_or(0)),
            _ => CompareTarget::Mod(near),
        };
        let (key, range_end) = if draw.below(3, HOW, ordinal + 3) == 0 {
            self.bounds(draw, ordinal + 4)
        } else {
            (self.key(draw, ordinal + 4), Bytes::new())
        };
        Compare { key, range_end, op, target }
    }
    /// Two keys are written, or a third is deleted and what is left is read; all under conditions.
    fn txn(&self, draw: Draw) -> TxnRequest {
        let first = draw.below(self.keys, KEY, 30);
        let other = |n: u64| Use::Store.key((first + n) % self.keys);
        let all = RangeRequest {
            key: Bytes::from_static(Use::Store.prefix().as_bytes()),
            range_end: Use::Store.range_end(),
            ..RangeRequest::default()
        };
        let delete = DeleteRangeRequest { key: other(2), prev_kv: true, ..DeleteRangeRequest::default() };
        TxnRequest {
            compare: (0..1 + draw.below(2, HOW, 31)).map(|i| self.compare(draw, 40 + 10 * i)).collect(),
            success: vec![
                put(other(0), &draw.unique(1).to_be_bytes()),
                TxnOp::Range(all.clone()),
                put(other(1), &draw.unique(2).to_be_bytes()),
                TxnOp::DeleteRange(delete.clone()),
            ],
            failure: vec![
                TxnOp::DeleteRange(delete),
                TxnOp::Range(all),
                put(other(3), &draw.unique(3).to_be_bytes()),
            ],
        }
    }

    pub(super) fn answered(&mut self, answer: &Result<Answer, OpError>) -> Then {
        match answer {
            Ok(Answer::Said(Response { header, body })) => {
                self.seen = self.seen.max(header.revision);
                match body {
                    Body::LeaseGrant { id, .. } => self.lease = Some(*id),
                    Body::LeaseRevoke { .. } => self.lease = None,
                    Body::DeleteRange { deleted, .. } if *deleted > 0 => self.deleted = header.revision,
                    _ => {}
                }
                Then::ok(header.revision)
            }
            Ok(Answer::Alive(left)) => {
                self.lease = self.lease.filter(|_| *left > 0);
                Then::ok(0)
            }
            Err(OpError::LeaseNotFound) => {
                self.lease = None;
                Then::fail()
            }
            _ => Then::fail(),
        }
    }
}

const fn write(op: Op) -> Begun {
    Begun { what: Some(What::Store { write: true }), ask: Ask::Do { stamp: None, op } }
}
const fn read(q: RangeRequest) -> Begun {
    Begun { what: Some(What::Store { write: false }), ask: Ask::Range(q) }
}

/// A watcher of a part of the keys, that after some events comes back elsewhere, at times from the past.
#[derive(Debug)]
pub struct StoreWatch {
    nth: u32,
    keys: u64,
    next: Revision,
    told: u32,
}

/// After so many messages a watcher goes elsewhere.
const HOP: u32 = 12;

impl StoreWatch {
    pub(super) const fn new(nth: u32, keys: u64) -> Self {
        Self { nth, keys, next: 2, told: 0 }
    }
    pub(super) fn open(&self) -> Ask {
        let (key, range_end) = if self.nth % 8 == 3 {
            (Bytes::from_static(Use::Store.prefix().as_bytes()), Use::Store.range_end())
        } else {
            (Use::Store.key(1), Use::Store.key(1 + self.keys / 2))
        };
        Ask::Watch { key, range_end, from: self.next, prev_kv: true }
    }
    /// Takes what it is told; whether it goes elsewhere now.
    pub(super) fn saw(&mut self, events: &[WatchEvent], revision: Revision) -> bool {
        if events.is_empty() {
            return false;
        }
        self.next = self.next.max(revision + 1);
        self.told += 1;
        let hop = self.told.is_multiple_of(HOP);
        if hop && self.told.is_multiple_of(2 * HOP) {
            // What it has seen it will be told again, and nothing else; or that it has been compacted.
            let back = if self.told.is_multiple_of(4 * HOP) { 6 } else { 150 };
            self.next = (self.next - back).max(2);
        }
        hop
    }
    pub(super) fn refused(&mut self, answer: &Result<Answer, OpError>) -> Then {
        if let Err(OpError::Compacted { compact_revision }) = answer {
            self.next = self.next.max(*compact_revision);
        }
        Then::fail()
    }
}
