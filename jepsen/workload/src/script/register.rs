//! Single keys: get, put, compare-and-put, delete. Each client keeps to three keys, so that
//! few clients share one and the checker stays fast.

use super::{Begun, Draw, Then, found, number_of, put, range, txn};
use crate::Use;
use crate::ask::{Answer, Ask};
use crate::record::What;
use bytes::Bytes;
use dwcp_env::Purpose;
use dwcp_store::api::{
    Body, Compare, CompareOp, CompareTarget, DeleteRangeRequest, Op, OpError, PutRequest, TxnOp, TxnRequest,
};

const WHAT: Purpose = Purpose::named("register.what");
const KEY: Purpose = Purpose::named("register.key");

/// Keys from here on are those that watchers watch.
pub(crate) const WATCHED: u64 = 1 << 32;

/// A client of single keys.
#[derive(Debug)]
pub struct Register {
    kind: Use,
    /// The number of the workload's first key: two workloads never share a number.
    base: u64,
    first: u64,
    keys: u64,
    /// What this client last knew of each of its keys: what a compare will expect.
    known: [Option<u64>; 3],
}

impl Register {
    pub(super) const fn new(kind: Use, nth: u32, keys: u64) -> Self {
        let base = if matches!(kind, Use::Watch) { WATCHED } else { 0 };
        Self { kind, base, first: nth as u64, keys, known: [None; 3] }
    }

    pub(super) fn begin(&mut self, draw: Draw) -> Begun {
        let slot = draw.below(3, KEY, 0);
        let key = self.base + (self.first + slot) % self.keys;
        let name = self.kind.key(key);
        match draw.below(100, WHAT, 0) {
            0..45 => Begun { what: Some(What::Get { key, seen: None }), ask: Ask::Range(range(name)) },
            45..75 => self.begin_put(draw),
            75..93 => {
                let expected = self.known[slot as usize];
                let new = draw.unique(0);
                let target = expected.map_or(CompareTarget::Version(0), |v| {
                    CompareTarget::Value(Bytes::copy_from_slice(&v.to_be_bytes()))
                });
                let compare =
                    Compare { key: name.clone(), range_end: Bytes::new(), op: CompareOp::Equal, target };
                let op = Op::Txn(TxnRequest {
                    compare: vec![compare],
                    success: vec![put(name.clone(), &new.to_be_bytes())],
                    failure: vec![TxnOp::Range(range(name))],
                });
                let what = What::Cas { key, expected, new, succeeded: true };
                Begun { what: Some(what), ask: Ask::Do { stamp: None, op } }
            }
            _ => {
                let op = Op::DeleteRange(DeleteRangeRequest { key: name, ..DeleteRangeRequest::default() });
                Begun { what: Some(What::Delete { key, existed: false }), ask: Ask::Do { stamp: None, op } }
            }
        }
    }

    pub(super) fn begin_put(&self, draw: Draw) -> Begun {
        let key = self.base + (self.first + draw.below(3, KEY, 0)) % self.keys;
        let value = draw.unique(0);
        let op = Op::Put(PutRequest {
            key: self.kind.key(key),
            value: Bytes::copy_from_slice(&value.to_be_bytes()),
            ..PutRequest::default()
        });
        Begun { what: Some(What::Put { key, value }), ask: Ask::Do { stamp: None, op } }
    }

    pub(super) fn answered(&mut self, what: Option<&mut What>, answer: Result<Answer, OpError>) -> Then {
        let (Some(what), Ok(Answer::Said(response))) = (what, answer) else { return Then::fail() };
        let (key, now) = match (what, &response.body) {
            (What::Get { key, seen }, Body::Range(_)) => {
                *seen = found(&response).first().and_then(|kv| number_of(&kv.value));
                (*key, *seen)
            }
            (What::Put { key, value }, Body::Put { .. }) => (*key, Some(*value)),
            (What::Cas { key, new, succeeded, .. }, Body::Txn { .. }) => {
                let Some((held, answers)) = txn(&response) else { return Then::fail() };
                *succeeded = held;
                let there =
                    answers.first().and_then(|r| found(r).first()).and_then(|kv| number_of(&kv.value));
                (*key, if held { Some(*new) } else { there })
            }
            (What::Delete { key, existed }, Body::DeleteRange { deleted, .. }) => {
                *existed = *deleted > 0;
                (*key, None)
            }
            _ => return Then::fail(),
        };
        let slot = (key - self.base + self.keys - self.first % self.keys) % self.keys;
        if let Some(known) = self.known.get_mut(slot as usize) {
            *known = now;
        }
        Then::ok(response.header.revision)
    }
}
