//! The answers of a real etcd 3.4.23 to random requests, given by the store word for word.
//!
//! `testdata/etcd_oracle.py` asked etcd and wrote `testdata/etcd-3.4.txt`; it explains the lines.

use super::replica::Replica;
use crate::api::{
    Applied, Body, Compare, CompareOp, CompareTarget, DeleteRangeRequest, KeyValue, Op, PutRequest,
    RangeRequest, RangeResponse, Response, SortOrder, SortTarget, TxnOp, TxnRequest,
};
use bytes::Bytes;
use std::str::SplitWhitespace;

struct Words<'a>(SplitWhitespace<'a>);

impl Words<'_> {
    fn word(&mut self) -> &str {
        self.0.next().expect("a word")
    }
    fn number(&mut self) -> i64 {
        self.word().parse().expect("a number")
    }
    fn bytes(&mut self) -> Bytes {
        match self.word() {
            "-" => Bytes::new(),
            "0" => Bytes::from_static(b"\0"),
            word => Bytes::from(word.to_owned()),
        }
    }
    fn list<T>(&mut self, item: impl Fn(&mut Self) -> T) -> Vec<T> {
        let n = self.number();
        (0..n).map(|_| item(self)).collect()
    }
    fn put(&mut self) -> PutRequest {
        let (key, value, lease) = (self.bytes(), self.bytes(), self.number());
        let flags = self.word();
        PutRequest {
            key,
            value,
            lease,
            prev_kv: flags.contains('p'),
            ignore_value: flags.contains('v'),
            ignore_lease: flags.contains('l'),
        }
    }
    fn delete(&mut self) -> DeleteRangeRequest {
        DeleteRangeRequest { key: self.bytes(), range_end: self.bytes(), prev_kv: self.word().contains('p') }
    }
    fn range(&mut self) -> RangeRequest {
        let (key, range_end, limit, revision) = (self.bytes(), self.bytes(), self.number(), self.number());
        let sort_order = match self.word() {
            "NONE" => SortOrder::None,
            "ASCEND" => SortOrder::Ascend,
            _ => SortOrder::Descend,
        };
        let sort_target = match self.word() {
            "KEY" => SortTarget::Key,
            "VERSION" => SortTarget::Version,
            "CREATE" => SortTarget::Create,
            "MOD" => SortTarget::Mod,
            _ => SortTarget::Value,
        };
        let flags = self.word();
        let (keys_only, count_only) = (flags.contains('k'), flags.contains('c'));
        RangeRequest {
            key,
            range_end,
            limit,
            revision,
            sort_order,
            sort_target,
            keys_only,
            count_only,
            min_mod_revision: self.number(),
            max_mod_revision: self.number(),
            min_create_revision: self.number(),
            max_create_revision: self.number(),
        }
    }
    fn compare(&mut self) -> Compare {
        let (key, range_end) = (self.bytes(), self.bytes());
        let op = match self.word() {
            "EQUAL" => CompareOp::Equal,
            "GREATER" => CompareOp::Greater,
            "LESS" => CompareOp::Less,
            _ => CompareOp::NotEqual,
        };
        let target = match self.word() {
            "VERSION" => CompareTarget::Version(self.number()),
            "CREATE" => CompareTarget::Create(self.number()),
            "MOD" => CompareTarget::Mod(self.number()),
            "LEASE" => CompareTarget::Lease(self.number()),
            _ => CompareTarget::Value(self.bytes()),
        };
        Compare { key, range_end, op, target }
    }
    fn txn(&mut self) -> TxnRequest {
        let compare = self.list(Self::compare);
        TxnRequest { compare, success: self.list(Self::txn_op), failure: self.list(Self::txn_op) }
    }
    fn txn_op(&mut self) -> TxnOp {
        match self.word() {
            "put" => TxnOp::Put(self.put()),
            "del" => TxnOp::DeleteRange(self.delete()),
            "get" => TxnOp::Range(self.range()),
            _ => TxnOp::Txn(self.txn()),
        }
    }
}

/// Gives a request to the store, and its answer in etcd's words.
fn ask(replica: &mut Replica, request: &str) -> String {
    let mut words = Words(request.split_whitespace());
    let op = match words.word() {
        "get" => {
            let answer = replica.store.range(&words.range());
            return match answer {
                Ok((header, found)) => get(header.revision, &found),
                Err(e) => format!("! {e}"),
            };
        }
        "put" => Op::Put(words.put()),
        "del" => Op::DeleteRange(words.delete()),
        "txn" => Op::Txn(words.txn()),
        "compact" => Op::Compact { revision: words.number() },
        "grant" => Op::LeaseGrant { id: words.number(), ttl_s: words.number() },
        _ => Op::LeaseRevoke { id: words.number(), expired: false },
    };
    let read_only =
        if let Op::Txn(txn) = &op { Some(txn.clone()).filter(TxnRequest::is_read_only) } else { None };
    let without_log = read_only.map(|txn| replica.store.read_txn(&txn));
    let answer: Applied = replica.run(op);
    if let Some(without_log) = without_log {
        assert_eq!(without_log, answer, "a transaction that only reads needs no log");
    }
    match answer {
        Ok(response) => text(&response, response.header.revision),
        Err(e) => format!("! {e}"),
    }
}

fn text(response: &Response, r: i64) -> String {
    match &response.body {
        Body::Put { prev_kv } => {
            format!("put r{r} {}", prev_kv.as_ref().map_or_else(|| "-".into(), key_value))
        }
        Body::DeleteRange { deleted, prev_kvs } => format!("del r{r} n{deleted} {}", key_values(prev_kvs)),
        Body::Range(found) => get(r, found),
        Body::Txn { succeeded, responses } => {
            let inner = |inner: &Response| {
                // etcd leaves the headers of inner transactions empty.
                let nested = matches!(inner.body, Body::Txn { .. });
                text(inner, if nested { 0 } else { inner.header.revision })
            };
            let inner: Vec<String> = responses.iter().map(inner).collect();
            format!("txn r{r} {succeeded} {{ {} }}", inner.join(" ; "))
        }
        Body::Compact => format!("compact r{r}"),
        Body::LeaseGrant { id, ttl_s } => format!("grant r{r} {id} {ttl_s}"),
        Body::LeaseRevoke { .. } => format!("revoke r{r}"),
        other => panic!("{other:?}"),
    }
}

fn get(r: i64, found: &RangeResponse) -> String {
    format!("get r{r} n{} {} {}", found.count, found.more, key_values(&found.kvs))
}

fn key_values(kvs: &[KeyValue]) -> String {
    format!("[{}]", kvs.iter().map(key_value).collect::<Vec<_>>().join(" "))
}

fn key_value(kv: &KeyValue) -> String {
    let word = |bytes: &Bytes| {
        if bytes.is_empty() { "-".into() } else { String::from_utf8_lossy(bytes).into_owned() }
    };
    let (key, value) = (word(&kv.key), word(&kv.value));
    format!("{key}:{value}:{}:{}:{}:{}", kv.create_revision, kv.mod_revision, kv.version, kv.lease)
}

#[test]
fn the_store_answers_what_etcd_answered() {
    let mut replica = Replica::new();
    for (i, line) in include_str!("../../testdata/etcd-3.4.txt").lines().enumerate() {
        let (request, answer) = line.split_once(" > ").expect("a request and its answer");
        assert_eq!(ask(&mut replica, request), answer.trim_end(), "line {}: {request}", i + 1);
        match i % 200 {
            99 => replica.checkpoint(),
            199 => replica.crash(i as u64),
            _ => {}
        }
    }
}
