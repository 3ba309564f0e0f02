//! The store against a naive model: a copy of all keys for every revision there ever was.

use super::replica::{Replica, open, options};
use crate::StoreOptions;
use crate::api::{
    Applied, Body, Compare, CompareOp, CompareTarget, DeleteRangeRequest, Header, KeyRange, KeyValue,
    LEASE_TTL_MIN_S, LeaseId, Op, OpError, PutRequest, RangeRequest, RangeResponse, Response, Revision,
    SessionId, SortOrder, SortTarget, Stamp, TxnOp, TxnRequest,
};
use bytes::Bytes;
use dwcp_consensus::StateMachine;
use dwcp_env::Duration;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Keys = BTreeMap<Bytes, KeyValue>;

/// All states there ever were.
#[derive(Clone)]
struct Model {
    /// By revision; 0 is not used.
    states: Vec<Keys>,
    compacted: Revision,
    leases: BTreeMap<LeaseId, i64>,
    answers: BTreeMap<(SessionId, u64), Applied>,
    sessions: BTreeMap<SessionId, u64>,
}

impl Model {
    fn new() -> Self {
        Self {
            states: vec![Keys::new(), Keys::new()],
            compacted: -1,
            leases: BTreeMap::new(),
            answers: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }
    fn revision(&self) -> Revision {
        self.states.len() as i64 - 1
    }
    fn readable(&self, revision: Revision) -> Result<(), OpError> {
        if revision > self.revision() {
            return Err(OpError::FutureRev);
        }
        if revision > 0 && revision < self.compacted {
            return Err(OpError::Compacted { compact_revision: self.compacted });
        }
        Ok(())
    }
    fn answer(&self, body: Body) -> Applied {
        Ok(Response { header: Header { revision: self.revision() }, body })
    }
    fn range(&self, q: &RangeRequest, now: &Keys) -> Result<RangeResponse, OpError> {
        self.readable(q.revision)?;
        let keys = if q.revision > 0 { &self.states[q.revision as usize] } else { now };
        let range = KeyRange::new(&q.key, &q.range_end);
        let mut kvs: Vec<KeyValue> = keys.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
        let count = kvs.len() as i64;
        if q.count_only {
            return Ok(RangeResponse { count, ..RangeResponse::default() });
        }
        let bounded = |n: i64, min: i64, max: i64| (min == 0 || n >= min) && (max == 0 || n <= max);
        let filtered =
            q.min_mod_revision + q.max_mod_revision + q.min_create_revision + q.max_create_revision > 0;
        // etcd fetches one more than the limit, and sorts those, if it was not told an order.
        if q.limit > 0 && q.sort_order == SortOrder::None && !filtered {
            kvs.truncate(q.limit as usize + 1);
        }
        kvs.retain(|kv| {
            bounded(kv.mod_revision, q.min_mod_revision, q.max_mod_revision)
                && bounded(kv.create_revision, q.min_create_revision, q.max_create_revision)
        });
        match q.sort_target {
            SortTarget::Key => kvs.sort_by_key(|kv| kv.key.clone()),
            SortTarget::Version => kvs.sort_by_key(|kv| kv.version),
            SortTarget::Create => kvs.sort_by_key(|kv| kv.create_revision),
            SortTarget::Mod => kvs.sort_by_key(|kv| kv.mod_revision),
            SortTarget::Value => kvs.sort_by_key(|kv| kv.value.clone()),
        }
        if q.sort_order == SortOrder::Descend {
            kvs.reverse();
            // Among equals: by key.
            let rank = |kv: &KeyValue| match q.sort_target {
                SortTarget::Key => Bytes::new(),
                SortTarget::Version => kv.version.to_be_bytes().to_vec().into(),
                SortTarget::Create => kv.create_revision.to_be_bytes().to_vec().into(),
                SortTarget::Mod => kv.mod_revision.to_be_bytes().to_vec().into(),
                SortTarget::Value => kv.value.clone(),
            };
            if q.sort_target != SortTarget::Key {
                kvs.chunk_by_mut(|a, b| rank(a) == rank(b)).for_each(|c| c.sort_by_key(|kv| kv.key.clone()));
            }
        }
        let more = q.limit > 0 && kvs.len() as i64 > q.limit;
        if more {
            kvs.truncate(q.limit as usize);
        }
        if q.keys_only {
            kvs.iter_mut().for_each(|kv| kv.value = Bytes::new());
        }
        Ok(RangeResponse { kvs, more, count })
    }

    fn run(&mut self, index: u64, stamp: Option<Stamp>, op: &Op) -> Applied {
        let Some(stamp) = stamp else { return self.perform(index, op) };
        let Some(ack_below) = self.sessions.get_mut(&stamp.session) else {
            return Err(OpError::SessionExpired);
        };
        *ack_below = (*ack_below).max(stamp.ack_below.min(stamp.seq));
        if stamp.seq < *ack_below {
            return Err(OpError::AlreadyAcknowledged { seq: stamp.seq });
        }
        let name = (stamp.session, stamp.seq);
        if !self.answers.contains_key(&name) {
            let answer = self.perform(index, op);
            if self.sessions.contains_key(&stamp.session) {
                self.answers.insert(name, answer.clone());
            }
            return answer;
        }
        self.answers[&name].clone()
    }
    fn perform(&mut self, index: u64, op: &Op) -> Applied {
        op.check()?;
        let mut now = self.states.last().unwrap().clone();
        let mut wrote = false;
        let body = match op {
            Op::Put(put) => {
                if put.lease != 0 && !self.leases.contains_key(&put.lease) {
                    return Err(OpError::LeaseNotFound);
                }
                self.check_put(put)?;
                self.put(put, &mut now, &mut wrote)
            }
            Op::DeleteRange(delete) => self.delete(delete, &mut now, &mut wrote),
            Op::Txn(txn) => {
                self.check_txn(txn, true)?;
                self.check_txn(txn, false)?;
                let (_, body) = self.txn(txn, &mut now, &mut wrote)?;
                body
            }
            Op::Compact { revision } => {
                if *revision <= self.compacted {
                    return Err(OpError::Compacted { compact_revision: self.compacted });
                }
                if *revision > self.revision() {
                    return Err(OpError::FutureRev);
                }
                self.compacted = *revision;
                Body::Compact
            }
            Op::LeaseGrant { id, ttl_s } => {
                if self.leases.contains_key(id) {
                    return Err(OpError::LeaseExists);
                }
                let ttl_s = LEASE_TTL_MIN_S.max(*ttl_s);
                self.leases.insert(*id, ttl_s);
                Body::LeaseGrant { id: *id, ttl_s }
            }
            Op::LeaseRevoke { id, .. } => {
                self.leases.remove(id).ok_or(OpError::LeaseNotFound)?;
                let before = now.len();
                now.retain(|_, kv| kv.lease != *id);
                wrote = now.len() < before;
                Body::LeaseRevoke { deleted: (before - now.len()) as i64 }
            }
            Op::OpenSession { .. } => {
                self.sessions.insert(SessionId(index), 0);
                Body::SessionOpened { session: SessionId(index) }
            }
            Op::CloseSession { session } => {
                self.sessions.remove(session).ok_or(OpError::SessionExpired)?;
                Body::SessionClosed
            }
            Op::Noop => Body::Noop,
        };
        if wrote {
            self.states.push(now);
        }
        self.answer(body)
    }
    fn now_is(&self, wrote: bool) -> Revision {
        self.revision() + i64::from(wrote)
    }
    fn check_put(&self, put: &PutRequest) -> Result<(), OpError> {
        let known = self.states.last().unwrap().contains_key(&put.key);
        if (put.ignore_value || put.ignore_lease) && !known {
            return Err(OpError::KeyNotFound);
        }
        Ok(())
    }
    fn put(&self, put: &PutRequest, now: &mut Keys, wrote: &mut bool) -> Body {
        *wrote = true;
        let revision = self.now_is(true);
        let prev = now.get(&put.key).cloned();
        let kept = prev.clone().unwrap_or_default();
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: prev.as_ref().map_or(revision, |p| p.create_revision),
            mod_revision: revision,
            version: kept.version + 1,
            value: if put.ignore_value { kept.value } else { put.value.clone() },
            lease: if put.ignore_lease { kept.lease } else { put.lease },
        };
        now.insert(put.key.clone(), kv);
        Body::Put { prev_kv: prev.filter(|_| put.prev_kv) }
    }
    fn delete(&self, delete: &DeleteRangeRequest, now: &mut Keys, wrote: &mut bool) -> Body {
        let range = KeyRange::new(&delete.key, &delete.range_end);
        let gone: Vec<KeyValue> = now.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
        now.retain(|key, _| !range.contains(key));
        *wrote |= !gone.is_empty();
        let deleted = gone.len() as i64;
        Body::DeleteRange { deleted, prev_kvs: if delete.prev_kv { gone } else { Vec::new() } }
    }
    fn holds(&self, c: &Compare) -> bool {
        let range = KeyRange::new(&c.key, &c.range_end);
        let keys = self.states.last().unwrap();
        let mut kvs: Vec<KeyValue> = keys.values().filter(|kv| range.contains(&kv.key)).cloned().collect();
        if kvs.is_empty() {
            if matches!(c.target, CompareTarget::Value(_)) {
                return false;
            }
            kvs.push(KeyValue::default());
        }
        kvs.iter().all(|kv| {
            let order = match &c.target {
                CompareTarget::Version(n) => kv.version.cmp(n),
                CompareTarget::Create(n) => kv.create_revision.cmp(n),
                CompareTarget::Mod(n) => kv.mod_revision.cmp(n),
                CompareTarget::Lease(n) => kv.lease.cmp(n),
                CompareTarget::Value(v) => kv.value.cmp(v),
            };
            match c.op {
                CompareOp::Equal => order.is_eq(),
                CompareOp::NotEqual => order.is_ne(),
                CompareOp::Greater => order.is_gt(),
                CompareOp::Less => order.is_lt(),
            }
        })
    }
    fn list<'a>(&self, txn: &'a TxnRequest) -> (bool, &'a [TxnOp]) {
        let succeeded = txn.compare.iter().all(|c| self.holds(c));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }
    fn check_txn(&self, txn: &TxnRequest, puts: bool) -> Result<(), OpError> {
        self.list(txn).1.iter().try_for_each(|op| match op {
            TxnOp::Range(q) if !puts => self.readable(q.revision),
            TxnOp::Put(put) if puts => {
                self.check_put(put)?;
                let unknown = put.lease != 0 && !self.leases.contains_key(&put.lease);
                if unknown { Err(OpError::LeaseNotFound) } else { Ok(()) }
            }
            TxnOp::Txn(inner) => self.check_txn(inner, puts),
            _ => Ok(()),
        })
    }
    fn txn(&self, txn: &TxnRequest, now: &mut Keys, wrote: &mut bool) -> Result<(bool, Body), OpError> {
        let (succeeded, ops) = self.list(txn);
        let mut responses = Vec::new();
        for op in ops {
            let body = match op {
                TxnOp::Range(q) => Body::Range(self.range(q, now)?),
                TxnOp::Put(put) => self.put(put, now, wrote),
                TxnOp::DeleteRange(delete) => self.delete(delete, now, wrote),
                TxnOp::Txn(inner) => self.txn(inner, now, wrote)?.1,
            };
            responses.push(Response { header: Header { revision: self.now_is(*wrote) }, body });
        }
        Ok((succeeded, Body::Txn { succeeded, responses }))
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Run(Op),
    /// Which of the open sessions, number, acknowledged below.
    Stamped(prop::sample::Index, u64, u64, Op),
    Checkpoint,
    /// The job runs, and what follows happens before its completion is seen.
    Begin,
    End,
    Crash(u64),
    /// The machine goes down so many disk operations into a checkpoint.
    CrashInCheckpoint(u64, u64),
    Read(RangeRequest),
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "ba", "c", "d"]).prop_map(Bytes::from)
}
fn range_end() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "", "\0", "a", "c", "e"]).prop_map(Bytes::from)
}
fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "2", "3"]).prop_map(Bytes::from)
}
fn lease() -> impl Strategy<Value = LeaseId> {
    prop::sample::select(vec![0, 0, 0, 1, 2])
}
fn put() -> impl Strategy<Value = PutRequest> {
    (key(), value(), lease(), any::<bool>(), prop::sample::select(vec![(false, false); 4]), any::<u8>())
        .prop_map(|(key, value, lease, prev_kv, _, dice)| {
            let (ignore_value, ignore_lease) = (dice % 8 == 0, dice % 8 == 1);
            let value = if ignore_value { Bytes::new() } else { value };
            PutRequest {
                key,
                value,
                lease: if ignore_lease { 0 } else { lease },
                prev_kv,
                ignore_value,
                ignore_lease,
            }
        })
}
fn delete() -> impl Strategy<Value = DeleteRangeRequest> {
    (key(), range_end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}
fn read() -> impl Strategy<Value = RangeRequest> {
    let orders =
        prop::sample::select(vec![SortOrder::None, SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let targets = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let bound = || prop::sample::select(vec![0_i64, 0, 0, 2, 4, 8]);
    let flags = (any::<u8>(), -1_i64..12);
    (key(), range_end(), 0_i64..4, flags, orders, targets, (bound(), bound(), bound(), bound())).prop_map(
        |(key, range_end, limit, (dice, revision), sort_order, sort_target, bounds)| RangeRequest {
            key,
            range_end,
            limit,
            revision: if dice & 3 == 0 { revision } else { 0 },
            sort_order,
            sort_target,
            keys_only: dice & 12 == 0,
            count_only: dice & 0x70 == 0,
            min_mod_revision: bounds.0,
            max_mod_revision: bounds.1,
            min_create_revision: bounds.2,
            max_create_revision: bounds.3,
        },
    )
}
fn compare() -> impl Strategy<Value = Compare> {
    let ops = vec![CompareOp::Equal, CompareOp::Greater, CompareOp::Less, CompareOp::NotEqual];
    let target = prop_oneof![
        (0_i64..3).prop_map(CompareTarget::Version),
        (0_i64..9).prop_map(CompareTarget::Create),
        (0_i64..9).prop_map(CompareTarget::Mod),
        value().prop_map(CompareTarget::Value),
        lease().prop_map(CompareTarget::Lease),
    ];
    (key(), range_end(), prop::sample::select(ops), target).prop_map(|(key, range_end, op, target)| Compare {
        key,
        range_end,
        op,
        target,
    })
}
fn txn() -> impl Strategy<Value = TxnRequest> {
    let leaf = prop_oneof![
        3 => put().prop_map(TxnOp::Put),
        1 => delete().prop_map(TxnOp::DeleteRange),
        2 => read().prop_map(TxnOp::Range),
    ];
    let op = leaf.prop_recursive(2, 8, 3, |inner| {
        let list = || prop::collection::vec(inner.clone(), 0..3);
        (prop::collection::vec(compare(), 0..2), list(), list())
            .prop_map(|(compare, success, failure)| TxnOp::Txn(TxnRequest { compare, success, failure }))
    });
    let list = move || prop::collection::vec(op.clone(), 0..3);
    (prop::collection::vec(compare(), 0..3), list(), list())
        .prop_map(|(compare, success, failure)| TxnRequest { compare, success, failure })
}
fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => put().prop_map(Op::Put),
        3 => delete().prop_map(Op::DeleteRange),
        6 => txn().prop_map(Op::Txn),
        2 => (-1_i64..14).prop_map(|revision| Op::Compact { revision }),
        2 => (1_i64..3, 0_i64..9).prop_map(|(id, ttl_s)| Op::LeaseGrant { id, ttl_s }),
        1 => (1_i64..3, any::<bool>()).prop_map(|(id, expired)| Op::LeaseRevoke { id, expired }),
        1 => Just(Op::OpenSession { ttl: Duration::secs(1_000_000) }),
        1 => Just(Op::Noop),
    ]
}
fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => op().prop_map(Step::Run),
        3 => (any::<prop::sample::Index>(), 0_u64..6, 0_u64..4, op())
            .prop_map(|(session, seq, ack, op)| Step::Stamped(session, seq, ack, op)),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Begin),
        1 => Just(Step::End),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => (any::<u64>(), 0_u64..40).prop_map(|(seed, n)| Step::CrashInCheckpoint(seed, n)),
        6 => read().prop_map(Step::Read),
    ]
}

/// A replica and its model, side by side.
struct Pair {
    replica: Replica,
    model: Model,
    in_flight: Option<Box<dyn std::any::Any + Send>>,
}

impl Pair {
    fn step(&mut self, step: Step) {
        match step {
            Step::Run(op) => self.run(None, op),
            Step::Stamped(session, seq, ack_below, op) => {
                let open: Vec<SessionId> = self.model.sessions.keys().copied().collect();
                let session = if open.is_empty() { SessionId(0) } else { *session.get(&open) };
                self.run(Some(Stamp { session, seq, ack_below }), op);
            }
            Step::Checkpoint => {
                self.step(Step::End);
                self.replica.checkpoint();
            }
            Step::Begin => {
                if let Some(work) = self.replica.store.checkpoint() {
                    self.in_flight = Some((work.run)());
                }
            }
            Step::End => {
                if let Some(done) = self.in_flight.take() {
                    self.replica.store.checkpoint_done(Some(done)).unwrap();
                }
            }
            Step::Crash(seed) => {
                self.in_flight = None;
                self.replica.crash(seed);
            }
            Step::CrashInCheckpoint(seed, operations) => {
                self.step(Step::End);
                self.replica.disk.fail_after(operations);
                if let Some(work) = self.replica.store.checkpoint() {
                    let _failed_or_not = (work.run)();
                }
                self.replica.crash(seed);
            }
            Step::Read(q) => {
                let want = self.model.range(&q, self.model.states.last().unwrap());
                assert_eq!(self.replica.store.range(&q).map(|(_, r)| r), want, "{q:?}");
            }
        }
    }
    fn run(&mut self, stamp: Option<Stamp>, op: Op) {
        let want = self.model.run(self.replica.log.len() as u64 + 1, stamp, &op);
        let got = self.replica.run_stamped(stamp, op.clone());
        assert_eq!(got, want, "{op:?}");
    }
    /// All that can be read.
    fn compare_all(&self) {
        let all = |revision| RangeRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            revision,
            ..RangeRequest::default()
        };
        for revision in 0..=self.model.revision() + 1 {
            let q = all(revision);
            let want = self.model.range(&q, self.model.states.last().unwrap());
            assert_eq!(self.replica.store.range(&q).map(|(_, r)| r), want, "at {revision}");
        }
        let leases: BTreeMap<LeaseId, i64> = self.replica.store.leases().map(|l| (l.id, l.ttl_s)).collect();
        assert_eq!(leases, self.model.leases);
        for lease in self.replica.store.leases() {
            let now = self.model.states.last().unwrap();
            let keys: Vec<&Bytes> =
                now.values().filter(|kv| kv.lease == lease.id).map(|kv| &kv.key).collect();
            assert_eq!(lease.keys.iter().collect::<Vec<_>>(), keys);
        }
    }
}

/// Whatever happens and whenever the machine goes down, the store answers as the model, and
/// equal logs make equal stores.
pub(super) fn law(options: &StoreOptions, steps: Vec<Step>) {
    let mut pair = Pair { replica: Replica::with(options.clone()), model: Model::new(), in_flight: None };
    for step in steps {
        pair.step(step);
    }
    pair.compare_all();
    // A replica that only ever applied the log has the same content.
    let mut other = Replica::with(options.clone());
    other.log = std::mem::take(&mut pair.replica.log);
    other.replay();
    assert_eq!(other.store.hash_kv(0), pair.replica.store.hash_kv(0));
    // And so has one that starts from the file.
    other.checkpoint();
    let reopened = open(options.clone(), &other.disk.crashed(1)).unwrap();
    assert_eq!(reopened.hash_kv(0), other.store.hash_kv(0));
}

pub(super) fn story() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 384, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_its_model(steps in story()) {
        law(&options(), steps);
    }
}
