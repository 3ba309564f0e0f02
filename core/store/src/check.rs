//! What a request may not be, whatever the state: etcd's checks at the door (`v3rpc/key.go`).
//!
//! The door asks before it proposes, to answer early; the store asks again when it applies,
//! because a log has many doors.

use crate::api::{DeleteRangeRequest, KeyRange, Op, OpError, PutRequest, RangeRequest, TXN_OPS_MAX};
use crate::api::{TxnOp, TxnRequest};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

impl Op {
    /// Whether the request is sound in itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), OpError> {
        match self {
            Self::Put(put) => put.check(),
            Self::DeleteRange(delete) => delete.check(),
            Self::Txn(txn) => txn.check(),
            _ => Ok(()),
        }
    }
}

fn some_key(key: &Bytes) -> Result<(), OpError> {
    if key.is_empty() { Err(OpError::EmptyKey) } else { Ok(()) }
}

impl PutRequest {
    /// Whether the request is sound in itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), OpError> {
        some_key(&self.key)?;
        if self.ignore_value && !self.value.is_empty() {
            return Err(OpError::ValueProvided);
        }
        if self.ignore_lease && self.lease != 0 {
            return Err(OpError::LeaseProvided);
        }
        Ok(())
    }
}

impl RangeRequest {
    /// Whether the request is sound in itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), OpError> {
        some_key(&self.key)
    }
}

impl DeleteRangeRequest {
    /// Whether the request is sound in itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), OpError> {
        some_key(&self.key)
    }
}

impl TxnRequest {
    /// Whether the request is sound in itself.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), OpError> {
        self.check_ops(TXN_OPS_MAX)?;
        Touched::of(&self.success)?;
        Touched::of(&self.failure)?;
        Ok(())
    }
    /// Every level takes its longest list off the allowance, so depth is bounded with it.
    fn check_ops(&self, allowed: usize) -> Result<(), OpError> {
        let most = self.compare.len().max(self.success.len()).max(self.failure.len());
        let left = allowed.checked_sub(most).ok_or(OpError::TooManyOps)?;
        self.compare.iter().try_for_each(|c| some_key(&c.key))?;
        self.success.iter().chain(&self.failure).try_for_each(|op| match op {
            TxnOp::Range(range) => range.check(),
            TxnOp::Put(put) => put.check(),
            TxnOp::DeleteRange(delete) => delete.check(),
            TxnOp::Txn(txn) => txn.check_ops(left),
        })
    }
}

/// What a list of operations writes, whichever way its conditions go: no key is written twice,
/// nor written where the list deletes (etcd's `checkIntervals`).
///
/// One difference: etcd 3.4 does not see that a delete up to `"\0"` (to the end of all keys) covers
/// a put beside it, and such a put with `ignore_value` stops its server. Here it is a duplicate.
#[derive(Default)]
struct Touched {
    puts: BTreeSet<Bytes>,
    deletes: Spans,
}

impl Touched {
    fn of(ops: &[TxnOp]) -> Result<Self, OpError> {
        let mut touched = Self::default();
        for op in ops {
            if let TxnOp::DeleteRange(delete) = op {
                touched.deletes.add(&KeyRange::new(&delete.key, &delete.range_end));
            }
        }
        for op in ops {
            if let TxnOp::Txn(txn) = op {
                touched.nested(txn)?;
            }
        }
        for op in ops {
            if let TxnOp::Put(put) = op {
                touched.put(&put.key)?;
            }
        }
        Ok(touched)
    }
    fn put(&mut self, key: &Bytes) -> Result<(), OpError> {
        if self.deletes.contain(key) || !self.puts.insert(key.clone()) {
            return Err(OpError::DuplicateKey);
        }
        Ok(())
    }
    fn nested(&mut self, txn: &TxnRequest) -> Result<(), OpError> {
        let (then, otherwise) = (Self::of(&txn.success)?, Self::of(&txn.failure)?);
        for key in &then.puts {
            self.put(key)?;
        }
        for key in &otherwise.puts {
            // Only one of the two lists is done: both may write a key.
            if !then.puts.contains(key) {
                self.put(key)?;
            }
        }
        self.deletes.merge(then.deletes);
        self.deletes.merge(otherwise.deletes);
        Ok(())
    }
}

/// A union of key ranges: starts with their exclusive ends (`None`: no end), apart from each other.
#[derive(Default)]
struct Spans(BTreeMap<Bytes, Option<Bytes>>);

impl Spans {
    fn add(&mut self, range: &KeyRange) {
        let (start, end) = match range {
            KeyRange::One(key) => {
                let mut end = key.to_vec();
                end.push(0);
                (key.clone(), Some(Bytes::from(end)))
            }
            KeyRange::Between(a, b) if a >= b => return,
            KeyRange::Between(a, b) => (a.clone(), Some(b.clone())),
            KeyRange::From(a) => (a.clone(), None),
        };
        self.insert(start, end);
    }
    fn insert(&mut self, mut start: Bytes, mut end: Option<Bytes>) {
        // Swallow every span that begins at or before our end and ends at or after our start.
        loop {
            let before = match &end {
                Some(end) => self.0.range(..=end.clone()).next_back(),
                None => self.0.iter().next_back(),
            };
            let Some((a, b)) = before.map(|(a, b)| (a.clone(), b.clone())) else { break };
            if b.as_ref().is_some_and(|b| *b < start) {
                break;
            }
            self.0.remove(&a);
            start = start.min(a);
            end = match (end, b) {
                (Some(x), Some(y)) => Some(x.max(y)),
                _ => None,
            };
        }
        self.0.insert(start, end);
    }
    fn merge(&mut self, other: Self) {
        for (start, end) in other.0 {
            self.insert(start, end);
        }
    }
    fn contain(&self, key: &Bytes) -> bool {
        let at_or_before = self.0.range(..=key.clone()).next_back();
        at_or_before.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| key < end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn put(key: &'static str) -> TxnOp {
        TxnOp::Put(PutRequest { key: key.into(), ..PutRequest::default() })
    }
    fn del(key: &'static str, range_end: &'static str) -> TxnOp {
        TxnOp::DeleteRange(DeleteRangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            prev_kv: false,
        })
    }
    fn txn(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnRequest {
        TxnRequest { compare: Vec::new(), success, failure }
    }
    fn inner(success: Vec<TxnOp>, failure: Vec<TxnOp>) -> TxnOp {
        TxnOp::Txn(txn(success, failure))
    }

    /// The cases of etcd's `checkIntervals`.
    #[test]
    fn a_key_is_written_once() {
        let ok: [TxnRequest; 7] = [
            txn(vec![put("a"), put("b")], vec![put("a")]),
            txn(vec![del("a", ""), put("b")], vec![]),
            txn(vec![del("a", "c"), del("b", "d")], vec![]),
            txn(vec![inner(vec![put("a")], vec![put("a")])], vec![]),
            txn(vec![del("b", "d"), put("d")], vec![]),
            txn(vec![inner(vec![put("a")], vec![]), inner(vec![del("a", "")], vec![])], vec![]),
            txn(vec![del("c", "a"), put("b")], vec![]),
        ];
        for case in ok {
            assert_eq!(case.check(), Ok(()), "{case:?}");
        }
        let twice: [TxnRequest; 8] = [
            txn(vec![put("a"), put("a")], vec![]),
            txn(vec![], vec![put("a"), put("a")]),
            txn(vec![put("b"), del("a", "c")], vec![]),
            txn(vec![put("b"), del("a", "\0")], vec![]),
            txn(vec![put("a"), inner(vec![put("a")], vec![])], vec![]),
            txn(vec![inner(vec![put("a")], vec![]), inner(vec![], vec![put("a")])], vec![]),
            txn(vec![inner(vec![del("a", "")], vec![]), put("a")], vec![]),
            txn(vec![inner(vec![del("a", "")], vec![]), inner(vec![put("a")], vec![])], vec![]),
        ];
        for case in twice {
            assert_eq!(case.check(), Err(OpError::DuplicateKey), "{case:?}");
        }
    }

    #[test]
    fn operations_are_counted_along_the_depth() {
        let puts = |n: usize| (0..n).map(|i| TxnOp::Range(range(i))).collect::<Vec<_>>();
        let mut nested = txn(puts(1), vec![]);
        assert_eq!(txn(puts(TXN_OPS_MAX), vec![]).check(), Ok(()));
        assert_eq!(txn(puts(TXN_OPS_MAX + 1), vec![]).check(), Err(OpError::TooManyOps));
        for _ in 1..TXN_OPS_MAX {
            nested = txn(vec![TxnOp::Txn(nested)], vec![]);
        }
        assert_eq!(nested.check(), Ok(()));
        assert_eq!(txn(vec![TxnOp::Txn(nested)], vec![]).check(), Err(OpError::TooManyOps));
    }
    fn range(i: usize) -> RangeRequest {
        RangeRequest { key: i.to_string().into(), ..RangeRequest::default() }
    }

    #[test]
    fn contradictions_are_named() {
        let sound = PutRequest { key: "k".into(), ..PutRequest::default() };
        let cases = [
            (PutRequest { key: "".into(), ..sound.clone() }, OpError::EmptyKey),
            (PutRequest { ignore_value: true, value: "v".into(), ..sound.clone() }, OpError::ValueProvided),
            (PutRequest { ignore_lease: true, lease: 1, ..sound }, OpError::LeaseProvided),
        ];
        for (put, want) in cases {
            assert_eq!(Op::Put(put).check(), Err(want));
        }
    }

    proptest! {
        #[test]
        fn spans_contain_what_their_ranges_contain(
            ranges in prop::collection::vec(("[a-d]{1,2}", prop_oneof![Just(String::new()), Just("\0".into()), "[a-d]{1,2}"]), 0..8),
            key in "[a-d]{1,3}",
        ) {
            let ranges: Vec<KeyRange> =
                ranges.iter().map(|(a, b)| KeyRange::new(&a.clone().into(), &b.clone().into())).collect();
            let mut spans = Spans::default();
            ranges.iter().for_each(|r| spans.add(r));
            let key = Bytes::from(key);
            prop_assert_eq!(spans.contain(&key), ranges.iter().any(|r| r.contains(&key)));
        }
    }
}
