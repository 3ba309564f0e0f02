//! Each planted bug does harm that a test like this one sees.

use super::model;
use super::replica::{Replica, options, put};
use crate::api::{Body, Compare, CompareOp, CompareTarget, Op, PutRequest, SessionId, Stamp, TxnRequest};
use crate::{Store, StoreBugs};
use bytes::Bytes;
use dwcp_consensus::{Piece, StateMachine};
use dwcp_env::{Duration, Probe};
use proptest::test_runner::{Config as ProptestConfig, TestRunner};

fn with(bug: &str) -> Replica {
    let mut options = options();
    options.bugs = StoreBugs::named(bug).unwrap();
    Replica::with(options)
}

/// The store with the bug and the one without, in that order, after the same story.
fn both<T>(bug: &str, story: impl Fn(&mut Replica) -> T) -> (T, T) {
    (story(&mut with(bug)), story(&mut Replica::new()))
}

/// What stories of a single replica, like these, can show.
const SEEN_HERE: [&str; 6] = [
    "double_apply_after_retry",
    "checkpoint_claims_too_much",
    "snapshot_without_sessions",
    "compaction_eats_live",
    "lease_keys_leak",
    "stale_compare",
];

/// All others are hunted by scenarios (`dwcp sim mutants`).
#[test]
fn bugs_have_names() {
    assert!(SEEN_HERE.iter().all(|bug| StoreBugs::named(bug).is_some()));
    assert!(StoreBugs::NAMES.iter().all(|bug| StoreBugs::named(bug).is_some()));
    assert_eq!(StoreBugs::named("no such bug"), None);
}

/// The law of the model is not blind: it finds each bug it can meet.
#[test]
fn the_model_finds_them() {
    for bug in SEEN_HERE.iter().filter(|b| **b != "snapshot_without_sessions") {
        let mut options = options();
        options.bugs = StoreBugs::named(bug).unwrap();
        let config = ProptestConfig {
            cases: 500,
            max_shrink_iters: 0,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let found = TestRunner::new(config).run(&model::story(), |steps| {
            model::law(&options, steps);
            Ok(())
        });
        assert!(found.is_err(), "{bug} was not found");
    }
}

fn retried(replica: &mut Replica) -> i64 {
    replica.run(Op::OpenSession { ttl: Duration::secs(1_000) }).unwrap();
    let stamp = Stamp { session: SessionId(1), seq: 1, ack_below: 0 };
    replica.run_stamped(Some(stamp), put("a", "1")).unwrap();
    replica.run_stamped(Some(stamp), put("a", "1")).unwrap();
    replica.get("a", 0).unwrap().unwrap().version
}

#[test]
fn double_apply_after_retry() {
    assert_eq!(both("double_apply_after_retry", retried), (2, 1));
}

#[test]
fn checkpoint_claims_too_much() {
    let story = |replica: &mut Replica| {
        replica.put("a", "1");
        replica.checkpoint();
        assert!(replica.get("a", 0).unwrap().is_some(), "as long as it runs, all is well");
        replica.crash(0);
        replica.get("a", 0).unwrap().is_some()
    };
    assert_eq!(both("checkpoint_claims_too_much", story), (false, true));
}

#[test]
fn snapshot_without_sessions() {
    let story = |from: &mut Replica| {
        retried(from);
        from.checkpoint();
        let of = from.store.current_checkpoint().unwrap();
        let mut to = Replica::with(from.options.clone());
        to.store = Store::reset(to.options.clone(), to.disk.clone(), Probe::silent()).unwrap();
        to.store.begin_install(of.clone());
        let work = from.store.read_piece(of.at, Bytes::new()).unwrap();
        let piece = (work.run)().downcast::<Result<Piece, String>>().unwrap().unwrap();
        let taken = (to.store.install_piece(piece.data).run)();
        taken.downcast::<Result<(), String>>().unwrap().unwrap();
        let done = (to.store.finish_install().run)();
        to.store.install_done(Some(done)).unwrap();
        to.store.session_count()
    };
    assert_eq!(both("snapshot_without_sessions", story), (0, 1));
}

#[test]
fn compaction_eats_live() {
    let story = |replica: &mut Replica| {
        replica.put("a", "1");
        replica.run(Op::Compact { revision: 2 }).unwrap();
        replica.get("a", 0).unwrap().is_some()
    };
    assert_eq!(both("compaction_eats_live", story), (false, true));
}

#[test]
fn lease_keys_leak() {
    let story = |replica: &mut Replica| {
        replica.run(Op::LeaseGrant { id: 1, ttl_s: 9 }).unwrap();
        replica.run(Op::Put(PutRequest { key: "a".into(), lease: 1, ..PutRequest::default() })).unwrap();
        replica.run(Op::LeaseRevoke { id: 1, expired: true }).unwrap();
        replica.checkpoint();
        replica.crash(0);
        replica.get("a", 0).unwrap().is_some()
    };
    assert_eq!(both("lease_keys_leak", story), (true, false));
}

#[test]
fn stale_compare() {
    let story = |replica: &mut Replica| {
        replica.put("a", "1");
        replica.put("a", "2");
        let target = CompareTarget::Value("1".into());
        let compare = Compare { key: "a".into(), range_end: Bytes::new(), op: CompareOp::Equal, target };
        let txn = TxnRequest { compare: vec![compare], ..TxnRequest::default() };
        match replica.run(Op::Txn(txn)).unwrap().body {
            Body::Txn { succeeded, .. } => succeeded,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(both("stale_compare", story), (true, false));
}
