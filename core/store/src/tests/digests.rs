//! The digest of a checkpoint: equal for equal states, however they came about, and for no others.

use super::replica::{Replica, put};
use crate::api::{Op, SessionId, Stamp};
use bytes::Bytes;
use dwcp_consensus::{Piece, Position, StateMachine};
use dwcp_env::Duration;

fn digest(replica: &mut Replica) -> [u8; 32] {
    let work = replica.store.checkpoint_with_digest().expect("nothing is under way");
    let done = (work.run)();
    replica.store.checkpoint_done(Some(done)).unwrap();
    replica.store.digest().expect("it was asked for")
}

/// Everything a state is made of; `between` is done now and then.
fn lived(between: impl Fn(&mut Replica, u64)) -> Replica {
    let mut r = Replica::new();
    r.run(Op::OpenSession { ttl: Duration::secs(1_000_000) }).unwrap();
    r.run(Op::LeaseGrant { id: 9, ttl_s: 30 }).unwrap();
    for i in 0..300_u64 {
        let stamp = Stamp { session: SessionId(1), seq: i, ack_below: i.saturating_sub(20) };
        r.run_stamped(Some(stamp), put(&format!("k{}", i % 170), &format!("v{i}"))).unwrap();
        if i % 50 == 7 {
            r.delete(&format!("k{i}"), "").unwrap();
        }
        if i == 120 || i == 290 {
            let revision = r.store.revision() - 30;
            r.run(Op::Compact { revision }).unwrap();
        }
        between(&mut r, i);
    }
    r
}

#[test]
fn equal_states_have_one_digest_whatever_their_files_look_like() {
    let want = digest(&mut lived(|_, _| {}));
    let mut often = lived(|r, i| {
        if i % 13 == 0 {
            r.checkpoint();
        }
    });
    assert_eq!(digest(&mut often), want, "with checkpoints between");
    assert_eq!(digest(&mut often), want, "asked for again, with nothing new to be written");
    // A sweep begins anew after a restart: other superseded records are still in the file.
    let mut crashed = lived(|r, i| {
        if i == 125 || i == 292 {
            r.checkpoint();
            r.crash(i);
        }
    });
    assert_eq!(digest(&mut crashed), want, "after crashes");
    let mut reopened = lived(|_, _| {});
    reopened.checkpoint();
    reopened.crash(1);
    assert_eq!(digest(&mut reopened), want, "read back");
}

#[test]
fn whatever_differs_shows() {
    let want = digest(&mut lived(|_, _| {}));
    let mut put_more = lived(|_, _| {});
    put_more.put("k5", "other");
    let mut session = lived(|_, _| {});
    session.run(Op::OpenSession { ttl: Duration::secs(5) }).unwrap();
    let mut lease = lived(|_, _| {});
    lease.run(Op::LeaseGrant { id: 10, ttl_s: 30 }).unwrap();
    let mut record = lived(|_, _| {});
    record.store.record(Bytes::from_static(b"another epoch"));
    let mut found = vec![want];
    for (name, r) in [
        ("a put", &mut put_more),
        ("a session", &mut session),
        ("a lease", &mut lease),
        ("a record", &mut record),
    ] {
        let digest = digest(r);
        assert!(!found.contains(&digest), "{name}");
        found.push(digest);
    }
}

#[test]
fn what_is_held_can_be_read_while_a_windows_checkpoints_pile_up() {
    let mut r = lived(|_, _| {});
    let mut held = Vec::new();
    // The one that is proved, as many as a window has room for, and one whose proof is on its way to the disk.
    for i in 0..dwcp_consensus::pbft::config::INTERVALS_MAX + 2 {
        r.put("k", &format!("{i}"));
        digest(&mut r);
        r.store.hold();
        held.push(r.store.current_checkpoint().unwrap().at);
        assert!(held.iter().all(|at| r.store.read_piece(*at, Bytes::new()).is_some()), "{i}");
    }
    r.store.release_before(held[3]);
    assert!(r.store.read_piece(held[5], Bytes::new()).is_some());
    assert!(r.store.read_piece(held[2], Bytes::new()).is_none(), "let go");
}

fn transfer(from: &Replica, to: &mut Replica, expected: [u8; 32]) -> Result<(), String> {
    let of = from.store.current_checkpoint().unwrap();
    to.store.begin_install(of.clone());
    to.store.expect_digest(expected);
    let mut cursor = Bytes::new();
    loop {
        let read = from.store.read_piece(of.at, cursor).unwrap();
        let piece = (read.run)().downcast::<Result<Piece, String>>().unwrap().unwrap();
        let taken = (to.store.install_piece(piece.data).run)();
        (*taken.downcast::<Result<(), String>>().unwrap())?;
        let Some(next) = piece.next else { break };
        cursor = next;
    }
    let done = (to.store.finish_install().run)();
    to.store.install_done(Some(done))
}

#[test]
fn a_peers_state_is_taken_under_its_digest_and_no_other() {
    let mut from = lived(|_, _| {});
    let right = digest(&mut from);
    let mut to = Replica::new();
    to.put("old", "state");
    let before = to.store.applied();
    assert!(transfer(&from, &mut to, [7; 32]).unwrap_err().contains("digest"));
    assert_eq!(to.store.applied(), before, "nothing was touched");
    transfer(&from, &mut to, right).unwrap();
    assert_eq!((to.store.digest(), to.store.applied()), (Some(right), from.store.applied()));
}

#[test]
fn a_held_checkpoint_can_be_read_behind_newer_ones_until_it_is_released() {
    let mut r = lived(|_, _| {});
    let first = digest(&mut r);
    let of = r.store.current_checkpoint().unwrap();
    r.store.hold();
    for i in 0..20 {
        r.put("more", &i.to_string());
        r.checkpoint();
    }
    assert!(r.store.read_piece(of.at, Bytes::new()).is_some());
    let mut to = Replica::new();
    let now = r.store.current_checkpoint().unwrap();
    assert!(now.at > of.at);
    r.store.release_before(Position { index: of.at.index + 1, ..of.at });
    // One that is being read is kept for a while: of another store nobody has read.
    let mut fresh = lived(|_, _| {});
    assert_eq!(digest(&mut fresh), first);
    let of = fresh.store.current_checkpoint().unwrap();
    fresh.store.hold();
    fresh.put("more", "1");
    fresh.checkpoint();
    fresh.store.release_before(fresh.store.current_checkpoint().unwrap().at);
    assert!(fresh.store.read_piece(of.at, Bytes::new()).is_none());
    to.put("k", "v");
}
