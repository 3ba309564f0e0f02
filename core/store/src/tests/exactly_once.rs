//! Log entries that must not change anything, or not twice; and what watchers of the node see.

use super::replica::{Replica, position, put};
use crate::api::{Body, COMMAND_VERSION, Command, Op, OpError, SessionId, Stamp};
use crate::{LeaseClock, StoreError};
use bytes::Bytes;
use dwcp_consensus::StateMachine;
use dwcp_env::{Duration, Instant, WallTime};

fn opened(replica: &mut Replica, ttl: Duration) -> SessionId {
    match replica.run(Op::OpenSession { ttl }).unwrap().body {
        Body::SessionOpened { session } => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_retry_is_answered_across_checkpoint_and_crash() {
    let mut replica = Replica::new();
    let session = opened(&mut replica, Duration::secs(1_000));
    let stamp = Stamp { session, seq: 3, ack_below: 0 };
    let first = replica.run_stamped(Some(stamp), put("a", "1"));
    replica.checkpoint();
    replica.put("a", "2");
    replica.crash(5);
    assert_eq!(replica.run_stamped(Some(stamp), put("a", "1")), first);
    assert_eq!(replica.get("a", 0).unwrap().unwrap().value, "2");
}

#[test]
fn an_expired_session_refuses_instead_of_applying_again() {
    let mut replica = Replica::new();
    // A second passes with each command.
    let session = opened(&mut replica, Duration::secs(3));
    let stamp = Stamp { session, seq: 1, ack_below: 0 };
    replica.run_stamped(Some(stamp), put("a", "1")).unwrap();
    for _ in 0..4 {
        replica.run(Op::Noop).unwrap();
    }
    assert_eq!(replica.run_stamped(Some(stamp), put("a", "again")), Err(OpError::SessionExpired));
    assert_eq!(replica.get("a", 0).unwrap().unwrap().version, 1);
}

#[test]
fn log_time_never_goes_back() {
    let mut replica = Replica::new();
    for (i, ns) in [5, 3, 9, 1].into_iter().enumerate() {
        let command = Command { session: None, time: WallTime::from_nanos(ns), op: Op::Noop };
        replica.store.apply(position(i), &command.encode()).unwrap();
    }
    assert_eq!(replica.store.log_time(), WallTime::from_nanos(9));
}

#[test]
fn garbage_in_the_log_changes_nothing_and_a_newer_version_stops() {
    let mut replica = Replica::new();
    replica.put("a", "1");
    for garbage in [&b""[..], &[COMMAND_VERSION], &[0, 1, 2], &[COMMAND_VERSION, 0xff, 0xff, 9]] {
        let at = position(replica.log.len());
        let answer = replica.store.apply(at, &Bytes::copy_from_slice(garbage));
        assert!(matches!(answer, Err(OpError::Malformed { .. })), "{garbage:?}");
        replica.log.push((Bytes::copy_from_slice(garbage), answer));
    }
    assert_eq!(replica.store.revision(), 2);
    let before = replica.store.applied();
    let newer = replica.store.apply(position(99), &Bytes::from_static(&[COMMAND_VERSION + 1, 0]));
    assert!(matches!(newer, Err(OpError::Stopped { .. })));
    assert!(matches!(replica.store.failure(), Some(StoreError::NewerFormat { .. })));
    assert_eq!(replica.store.applied(), before, "it is applied by the newer build");
}

#[test]
fn a_lease_that_is_due_takes_its_keys_with_it() {
    let mut replica = Replica::new();
    let mut clock = LeaseClock::new();
    let s = |n: u64| Instant::ZERO + Duration::secs(n);
    clock.lead(s(0), &mut replica.store);
    replica.run(Op::LeaseGrant { id: 4, ttl_s: 10 }).unwrap();
    clock.observe(s(1), &mut replica.store);
    let put = crate::api::PutRequest { key: "k".into(), lease: 4, ..crate::api::PutRequest::default() };
    replica.run(Op::Put(put)).unwrap();
    assert_eq!(clock.next(), Some(s(11)));
    assert_eq!(clock.due(s(11), 8, Duration::secs(1)), [4]);
    let answer = replica.run(Op::LeaseRevoke { id: 4, expired: true }).unwrap();
    assert_eq!(answer.body, Body::LeaseRevoke { deleted: 1 });
    clock.observe(s(12), &mut replica.store);
    assert_eq!((clock.next(), replica.get("k", 0)), (None, Ok(None)));
    // A follower has no opinion, and full lives are given by the next leader.
    clock.follow();
    replica.run(Op::LeaseGrant { id: 5, ttl_s: 10 }).unwrap();
    clock.observe(s(13), &mut replica.store);
    assert_eq!(clock.next(), None);
    clock.lead(s(20), &mut replica.store);
    assert_eq!(clock.next(), Some(s(30)));
}
