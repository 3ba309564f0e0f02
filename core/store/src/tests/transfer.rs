//! A checkpoint goes from one replica to another, whole or not at all.

use super::replica::{Replica, open, options, put};
use crate::StoreError;
use crate::api::{Op, PutRequest, SessionId, Stamp};
use bytes::Bytes;
use dwcp_consensus::{Checkpointed, Piece, StateMachine};
use dwcp_env::bound::SNAPSHOT_CHUNK;
use dwcp_env::{ClusterId, Duration};

/// Bytes that zstd can't make smaller.
fn noise(len: usize) -> Bytes {
    let mut x = 9_u64;
    let mut next = move || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    (0..len).map(|_| next()).collect::<Vec<u8>>().into()
}

fn full() -> Replica {
    let mut replica = Replica::new();
    replica.run(Op::OpenSession { ttl: Duration::secs(1_000_000) }).unwrap();
    replica.run(Op::LeaseGrant { id: 9, ttl_s: 30 }).unwrap();
    for i in 0..200_u64 {
        let stamp = Stamp { session: SessionId(1), seq: i, ack_below: i.saturating_sub(20) };
        replica.run_stamped(Some(stamp), put(&format!("k{i}"), &"text ".repeat(60))).unwrap();
    }
    // Larger than a piece, twice.
    for key in ["big", "huge"] {
        let put = PutRequest { key: key.into(), value: noise(700_000), lease: 9, ..PutRequest::default() };
        replica.run(Op::Put(put)).unwrap();
    }
    replica.delete("k1", "k2").unwrap();
    replica.checkpoint();
    replica
}

fn pieces(replica: &Replica, of: &Checkpointed) -> Vec<Bytes> {
    let mut pieces = Vec::new();
    let mut cursor = Bytes::new();
    loop {
        let piece = piece(replica, of, cursor).unwrap();
        assert!(piece.data.len() as u64 <= SNAPSHOT_CHUNK.0);
        pieces.push(piece.data);
        match piece.next {
            Some(next) => cursor = next,
            None => return pieces,
        }
    }
}

fn piece(replica: &Replica, of: &Checkpointed, cursor: Bytes) -> Option<Piece> {
    let work = replica.store.read_piece(of.at, cursor)?;
    Some((work.run)().downcast::<Result<Piece, String>>().unwrap().unwrap())
}

fn install(to: &mut Replica, of: &Checkpointed, pieces: &[Bytes]) -> Result<(), String> {
    to.store.begin_install(of.clone());
    for piece in pieces {
        let work = to.store.install_piece(piece.clone());
        let taken = (work.run)().downcast::<Result<(), String>>().unwrap();
        (*taken)?;
    }
    let work = to.store.finish_install();
    let done = (work.run)();
    to.store.install_done(Some(done))
}

#[test]
fn the_receiver_is_the_sender_and_stays_so() {
    let mut from = full();
    let of = from.store.current_checkpoint().unwrap();
    let pieces = pieces(&from, &of);
    assert!(pieces.len() > 5, "{}", pieces.len());
    let mut to = Replica::new();
    to.put("old", "state");
    install(&mut to, &of, &pieces).unwrap();
    assert_eq!(to.store.hash_kv(0), from.store.hash_kv(0));
    assert_eq!(to.store.applied(), from.store.applied());
    assert_eq!(to.store.lease(9).unwrap().keys.len(), 2);
    // Both go on, and a retry is known here too.
    to.log = from.log.clone();
    let stamp = Stamp { session: SessionId(1), seq: 190, ack_below: 0 };
    for replica in [&mut from, &mut to] {
        assert_eq!(replica.run_stamped(Some(stamp), put("k190", "again")), replica.log[192].1.clone());
        replica.put("k5", "more");
        replica.checkpoint();
        replica.crash(3);
    }
    assert_eq!(to.store.hash_kv(0), from.store.hash_kv(0));
    assert_eq!(to.get("old", 0), Ok(None));
}

#[test]
fn pieces_that_are_not_the_senders_are_refused_and_the_old_state_stands() {
    let from = full();
    let of = from.store.current_checkpoint().unwrap();
    let good = pieces(&from, &of);
    let mut wrong: Vec<(String, Vec<Bytes>)> = Vec::new();
    for (i, piece) in good.iter().enumerate() {
        for at in (0..60).chain((60..piece.len()).step_by(piece.len() / 20 + 1)) {
            let mut bad = piece.to_vec();
            bad[at] ^= 4;
            let mut all = good.clone();
            all[i] = bad.into();
            wrong.push((format!("byte {at} of piece {i}"), all));
        }
        for cut in [0, 10, 48, piece.len() - 1] {
            let mut all = good.clone();
            all[i] = piece.slice(..cut);
            wrong.push((format!("piece {i} cut at {cut}"), all));
        }
        let mut all = good.clone();
        all.remove(i);
        wrong.push((format!("without piece {i}"), all));
        let mut all = good.clone();
        all.insert(i, piece.clone());
        wrong.push((format!("piece {i} twice"), all));
    }
    let mut all = good.clone();
    all.swap(1, 2);
    wrong.push(("1 and 2 swapped".into(), all));
    let mut to = Replica::new();
    to.put("old", "state");
    to.checkpoint();
    let before = to.store.hash_kv(0);
    for (what, pieces) in wrong {
        assert!(install(&mut to, &of, &pieces).is_err(), "{what}");
        assert_eq!(to.store.hash_kv(0), before, "{what}");
    }
    // Announced as something else.
    let mut other = of.clone();
    other.engine_record = Bytes::from_static(b"another");
    assert!(install(&mut to, &other, &good).is_err());
    // And still able to take the right one.
    assert_eq!(install(&mut to, &of, &good), Ok(()));
    assert_eq!(to.store.hash_kv(0), from.store.hash_kv(0));
}

#[test]
fn a_machine_that_goes_down_while_installing_has_the_old_state_or_the_new() {
    let from = full();
    let of = from.store.current_checkpoint().unwrap();
    let good = pieces(&from, &of);
    let (mut old, mut new) = (0, 0);
    for operations in 0..100 {
        let mut to = Replica::new();
        to.put("old", "state");
        to.checkpoint();
        let before = to.store.hash_kv(0);
        to.disk.fail_after(operations * 8);
        let _whatever = install(&mut to, &of, &good);
        let found = open(options(), &to.disk.crashed(operations)).unwrap().hash_kv(0);
        if found == before {
            old += 1;
        } else {
            assert_eq!(found, from.store.hash_kv(0), "after {operations}");
            new += 1;
        }
    }
    assert!(old > 0 && new > 0, "old {old}, new {new}");
}

#[test]
fn a_transfer_outlives_newer_checkpoints_but_not_for_ever() {
    let mut from = full();
    let of = from.store.current_checkpoint().unwrap();
    let before = from.store.hash_kv(0);
    let mut cursor = piece(&from, &of, Bytes::new()).unwrap().next.unwrap();
    let mut all = vec![piece(&from, &of, Bytes::new()).unwrap().data];
    loop {
        from.put("k7", "changed meanwhile");
        from.checkpoint();
        let next = piece(&from, &of, cursor).expect("it is being read");
        all.push(next.data);
        match next.next {
            Some(next) => cursor = next,
            None => break,
        }
    }
    let mut to = Replica::new();
    install(&mut to, &of, &all).unwrap();
    assert_eq!(to.store.hash_kv(0), before);
    for _ in 0..9 {
        from.put("k7", "changed meanwhile");
        from.checkpoint();
    }
    assert!(from.store.read_piece(of.at, Bytes::new()).is_none(), "its view was given up");
}

#[test]
fn a_checkpoint_that_ends_behind_an_install_does_not_matter() {
    let from = full();
    let of = from.store.current_checkpoint().unwrap();
    let mut to = Replica::new();
    to.put("old", "state");
    let late = to.store.checkpoint().unwrap();
    install(&mut to, &of, &pieces(&from, &of)).unwrap();
    let done = (late.run)();
    assert_eq!(to.store.checkpoint_done(Some(done)), Ok(of));
    assert_eq!(to.store.hash_kv(0), from.store.hash_kv(0));
    to.log = from.log.clone();
    to.put("k3", "goes on");
    to.checkpoint();
    to.crash(0);
    assert_eq!(to.get("k3", 0).unwrap().unwrap().value, "goes on");
}

#[test]
fn what_is_older_or_another_clusters_is_refused() {
    let from = full();
    let of = from.store.current_checkpoint().unwrap();
    let good = pieces(&from, &of);
    let mut ahead = full();
    ahead.put("one", "more");
    let before = ahead.store.hash_kv(0);
    assert!(install(&mut ahead, &of, &good).unwrap_err().contains("older"));
    assert_eq!(ahead.store.hash_kv(0), before);
    let mut options = options();
    options.cluster = ClusterId(8);
    let mut other = Replica::with(options);
    assert!(install(&mut other, &of, &good).unwrap_err().contains("cluster"));
}

#[test]
fn a_directory_of_another_cluster_group_or_format_is_named() {
    let mut replica = Replica::new();
    replica.put("a", "1");
    replica.checkpoint();
    let mut other = options();
    other.cluster = ClusterId(8);
    let (ours, theirs) = (ClusterId(8), ClusterId(7));
    assert_eq!(open(other, &replica.disk).unwrap_err(), StoreError::OtherCluster { theirs, ours });
}

#[test]
fn a_corrupt_store_is_reset_and_filled_by_a_peer() {
    use dwcp_env::disk::{FileName, Storage};
    let from = full();
    let of = from.store.current_checkpoint().unwrap();
    let mut to = full();
    let name = FileName::new("g0-state-1.redb").unwrap();
    let file = to.disk.open(&name).unwrap();
    let len = file.len().unwrap();
    for at in (4_096..len).step_by(100) {
        file.write_at(at, &[0xee]).unwrap();
    }
    file.sync().unwrap();
    to.disk = to.disk.crashed(0);
    assert!(matches!(open(options(), &to.disk), Err(StoreError::Corrupt { .. })));
    to.store = crate::Store::reset(options(), to.disk.clone(), dwcp_env::Probe::silent()).unwrap();
    assert_eq!(to.store.applied().0, None);
    install(&mut to, &of, &pieces(&from, &of)).unwrap();
    to.crash(1);
    assert_eq!(to.store.hash_kv(0), from.store.hash_kv(0));
    let names: Vec<String> = to.disk.list().unwrap().iter().map(|n| n.as_str().into()).collect();
    assert_eq!(names, ["g0-CURRENT", "g0-state-3.redb"], "leftovers are removed at boot");
}
