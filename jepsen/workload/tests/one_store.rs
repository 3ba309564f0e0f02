//! Clients against one store in memory, that can be told to break each promise: every judge
//! is silent about the sound store and speaks about the broken one.

use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId, Seed};
use dwcp_store::api::{
    Body, Compare, CompareTarget, EventKind, Header, KeyRange, KeyValue, Op, RangeRequest, RangeResponse,
    Response, SessionId, TxnOp, WatchEvent,
};
use dwcp_workload::judge::{self, Held};
use dwcp_workload::script::Script;
use dwcp_workload::{Answer, Ask, Client, Do, Log, Refusal, Use};
use std::collections::BTreeMap;

/// What the store does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lie {
    None,
    /// Reads answer from ten revisions ago.
    StaleReads,
    /// A retry is applied again.
    AppliesTwice,
    /// Every fiftieth write is acknowledged and not done.
    Forgets,
    /// Conditions are not looked at.
    IgnoresConditions,
    /// Every twentieth change is not told.
    WatchGaps,
}

struct Store {
    lie: Lie,
    revision: i64,
    history: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
    changes: Vec<WatchEvent>,
    answers: BTreeMap<(SessionId, u64), Response>,
    sessions: u64,
    writes: u64,
}

impl Store {
    fn new(lie: Lie) -> Self {
        Self {
            lie,
            revision: 1,
            history: BTreeMap::new(),
            changes: Vec::new(),
            answers: BTreeMap::new(),
            sessions: 0,
            writes: 0,
        }
    }
    fn get(&self, key: &[u8], revision: i64) -> Option<KeyValue> {
        let versions = self.history.get(key)?;
        versions.iter().rev().find(|(at, _)| *at <= revision)?.1.clone()
    }
    fn range(&self, r: &RangeRequest, revision: i64) -> Response {
        let range = KeyRange::new(&r.key, &r.range_end);
        let keys = self.history.keys().filter(|k| range.contains(k));
        let kvs: Vec<_> = keys.filter_map(|k| self.get(k, revision)).collect();
        let body = Body::Range(RangeResponse { count: kvs.len() as i64, kvs, more: false });
        Response { header: Header { revision }, body }
    }
    fn holds(&self, c: &Compare) -> bool {
        let there = self.get(&c.key, self.revision);
        match &c.target {
            CompareTarget::Mod(r) => there.map_or(0, |kv| kv.mod_revision) == *r,
            CompareTarget::Create(r) => there.map_or(0, |kv| kv.create_revision) == *r,
            CompareTarget::Version(v) => there.map_or(0, |kv| kv.version) == *v,
            CompareTarget::Value(v) => there.is_some_and(|kv| kv.value == *v),
            CompareTarget::Lease(_) => false,
        }
    }
    fn write(&mut self, key: &Bytes, value: Option<&Bytes>, revision: i64) -> i64 {
        let before = self.get(key, self.revision);
        if value.is_none() && before.is_none() {
            return 0;
        }
        self.writes += 1;
        if self.lie == Lie::Forgets && self.writes.is_multiple_of(50) {
            return 1;
        }
        let kv = value.map(|value| KeyValue {
            key: key.clone(),
            create_revision: before.as_ref().map_or(revision, |b| b.create_revision),
            mod_revision: revision,
            version: before.map_or(1, |b| b.version + 1),
            value: value.clone(),
            lease: 0,
        });
        let (kind, told) = match &kv {
            Some(kv) => (EventKind::Put, kv.clone()),
            None => (
                EventKind::Delete,
                KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() },
            ),
        };
        self.changes.push(WatchEvent { kind, kv: told, prev_kv: None });
        self.history.entry(key.clone()).or_default().push((revision, kv));
        1
    }
    fn apply(&mut self, op: &Op) -> Response {
        let next = self.revision + 1;
        let body = match op {
            Op::OpenSession { .. } => {
                self.sessions += 1;
                Body::SessionOpened { session: SessionId(self.sessions) }
            }
            Op::LeaseGrant { .. } => Body::LeaseGrant { id: 7, ttl_s: 4 },
            Op::Put(p) => {
                self.write(&p.key, Some(&p.value), next);
                self.revision = next;
                Body::Put { prev_kv: None }
            }
            Op::DeleteRange(d) => {
                let deleted = self.write(&d.key, None, next);
                self.revision += deleted;
                Body::DeleteRange { deleted, prev_kvs: Vec::new() }
            }
            Op::Txn(t) => {
                let succeeded = self.lie == Lie::IgnoresConditions || t.compare.iter().all(|c| self.holds(c));
                let ops = if succeeded { &t.success } else { &t.failure };
                let mut responses = Vec::new();
                let mut wrote = false;
                for op in ops {
                    match op {
                        TxnOp::Range(r) => responses.push(self.range(r, self.revision)),
                        TxnOp::Put(p) => wrote |= self.write(&p.key, Some(&p.value), next) > 0,
                        TxnOp::DeleteRange(d) => wrote |= self.write(&d.key, None, next) > 0,
                        TxnOp::Txn(_) => unreachable!("the scripts nest nothing"),
                    }
                }
                self.revision += i64::from(wrote);
                Body::Txn { succeeded, responses }
            }
            other => unreachable!("the scripts don't ask for {other:?}"),
        };
        Response { header: Header { revision: self.revision }, body }
    }
    fn ask(&mut self, ask: &Ask) -> Answer {
        match ask {
            Ask::Range(r) => {
                let back = if self.lie == Lie::StaleReads { 10 } else { 0 };
                Answer::Said(self.range(r, (self.revision - back).max(1)))
            }
            Ask::Do { stamp: Some(s), .. }
                if self.lie != Lie::AppliesTwice && self.answers.contains_key(&(s.session, s.seq)) =>
            {
                Answer::Said(self.answers[&(s.session, s.seq)].clone())
            }
            Ask::Do { stamp, op } => {
                let response = self.apply(op);
                if let Some(s) = stamp {
                    self.answers.insert((s.session, s.seq), response.clone());
                }
                Answer::Said(response)
            }
            Ask::Eventual(_) | Ask::Together(_) | Ask::Documents(_) => {
                unreachable!("this workload needs replicas")
            }
            Ask::KeepAlive(_) => Answer::Alive(4),
            Ask::Watch { from, .. } => {
                let told = self.changes.iter().filter(|e| e.kv.mod_revision >= *from);
                let gaps = self.lie == Lie::WatchGaps;
                let events = told.filter(|e| !gaps || e.kv.mod_revision % 20 != 0).cloned().collect();
                Answer::Changes { events, revision: self.revision }
            }
        }
    }
}

impl Held for Store {
    fn at(&self, key: &[u8], revision: i64) -> Result<Option<(Vec<u8>, i64)>, String> {
        Ok(self.get(key, revision).map(|kv| (kv.value.to_vec(), kv.mod_revision)))
    }
    fn revision(&self) -> i64 {
        self.revision
    }
}

/// Runs a workload for a simulated minute. One answer in nine is lost, so that clients retry.
fn run(kind: Use, lie: Lie, seed: u64) -> (Log, Store) {
    let (mut log, mut store) = (Log::default(), Store::new(lie));
    let node = vec![NodeId(1), NodeId(2)];
    let end = Instant::ZERO + Duration::secs(60);
    let mut clients: Vec<Client> = (0..6)
        .map(|n| {
            let script = Script::new(kind, n, 3);
            Client::new(n, Seed(seed), script, node.clone(), Duration::millis(200), Instant::ZERO)
        })
        .collect();
    clients.iter_mut().for_each(|c| c.stop_at(end));
    // (when, client, attempt, answer)
    let mut under_way: Vec<(Instant, usize, u64, Answer)> = Vec::new();
    let mut asked = 0_u64;
    let mut out = Vec::new();
    loop {
        let wake = clients.iter().enumerate().map(|(i, c)| (c.wake_at(), i)).min().unwrap();
        let answer = (0..under_way.len()).min_by_key(|i| under_way[*i].0);
        let due = answer.map_or(Instant::FAR, |i| under_way[i].0);
        let now = wake.0.min(due);
        if now >= end + Duration::secs(30) {
            return (log, store);
        }
        let client = if due <= wake.0 {
            let (_, client, attempt, answer) = under_way.swap_remove(answer.unwrap());
            clients[client].answered(now, attempt, Ok(answer), &mut log, &mut out);
            client
        } else {
            clients[wake.1].wake(now, &mut log, &mut out);
            wake.1
        };
        for action in out.drain(..) {
            let Do::Send { attempt, ask, .. } = action else { continue };
            asked += 1;
            let answer = store.ask(&ask);
            if !asked.is_multiple_of(9) {
                let trip = Duration::millis(1 + asked * 7 % 20);
                under_way.push((now + trip, client, attempt, answer));
            }
        }
    }
}

fn judged(kind: Use, log: &Log, store: &Store) -> Vec<String> {
    let kinds = match kind {
        Use::Register => judge::linearizable(log),
        Use::ListAppend => judge::lists(log),
        Use::Bank => judge::bank(log),
        Use::Lock => judge::locks(log),
        Use::Watch => judge::watches(log),
        Use::Store | Use::Eventual | Use::Collections | Use::Documents | Use::Checkpoints => Ok(()),
    };
    let (_, lost) = judge::acknowledged(log, store);
    let verdicts = [kinds.err(), lost, judge::exactly_once(log, store).err()];
    verdicts.into_iter().flatten().map(|b| b.detail).collect()
}

#[test]
fn a_sound_store_is_not_accused() {
    for kind in Use::ALL {
        for seed in 0..4 {
            let (log, store) = run(kind, Lie::None, seed);
            assert_eq!(judged(kind, &log, &store), Vec::<String>::new(), "{kind:?} seed {seed}");
            let acknowledged = log.records.iter().filter(|r| r.outcome == dwcp_workload::Outcome::Ok).count();
            assert!(acknowledged > 300, "{kind:?}: only {acknowledged} operations");
        }
    }
}

#[test]
fn each_lie_is_noticed() {
    for (lie, kind) in [
        (Lie::StaleReads, Use::Register),
        (Lie::StaleReads, Use::ListAppend),
        (Lie::AppliesTwice, Use::Register),
        (Lie::AppliesTwice, Use::Watch),
        (Lie::Forgets, Use::Register),
        (Lie::Forgets, Use::ListAppend),
        (Lie::Forgets, Use::Bank),
        (Lie::IgnoresConditions, Use::Register),
        (Lie::IgnoresConditions, Use::ListAppend),
        (Lie::IgnoresConditions, Use::Bank),
        (Lie::IgnoresConditions, Use::Lock),
        (Lie::WatchGaps, Use::Watch),
    ] {
        let noticed = (0..4).any(|seed| {
            let (log, store) = run(kind, lie, seed);
            !judged(kind, &log, &store).is_empty()
        });
        assert!(noticed, "{lie:?} under {kind:?} went unnoticed");
    }
}

#[test]
fn a_client_that_never_hears_gives_up_and_says_so() {
    let (mut log, mut out) = (Log::default(), Vec::new());
    let script = Script::new(Use::Register, 0, 1);
    let mut client = Client::new(0, Seed(3), script, vec![NodeId(1)], Duration::millis(50), Instant::ZERO);
    client.stop_at(Instant::ZERO + Duration::secs(20));
    let mut sent = 0;
    while client.wake_at() < Instant::FAR {
        let now = client.wake_at();
        client.wake(now, &mut log, &mut out);
        for action in out.drain(..) {
            if let Do::Send { attempt, .. } = action {
                sent += 1;
                // Every second node refuses at once.
                if sent % 2_u32 == 0 {
                    let refusal = Err(Refusal::NotDone { hint: None });
                    client.answered(now, attempt, refusal, &mut log, &mut Vec::new());
                }
            }
        }
    }
    assert!(
        log.records.iter().all(|r| r.outcome == dwcp_workload::Outcome::Fail),
        "only session openings were sent"
    );
    assert!(log.records.iter().all(|r| r.ret.since(r.call) <= dwcp_workload::client::GIVE_UP));
}
