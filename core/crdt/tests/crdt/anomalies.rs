//! Published anomalies of other systems, each a story that must end well here (memo §5.5).

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit};
use dwcp_crdt::space::{Config, Missing, Received, Refused, Rejected, Restore};
use dwcp_crdt::{Batch, ReplicaIndex, Roster, Space, Standing};
use dwcp_env::NodeId;

pub(crate) const NOW: u64 = 1_790_000_000_000;

pub(crate) fn r(n: u16) -> ReplicaIndex {
    ReplicaIndex(n)
}

pub(crate) fn cluster(n: usize) -> Vec<Space> {
    let roster = Roster::founding((0..n as u64).map(NodeId));
    let space = |i: usize| {
        let mut s = Space::new(Config::new([1; 32]), roster.clone(), r(i as u16));
        s.open();
        s
    };
    (0..n).map(space).collect()
}

pub(crate) fn at(s: &mut Space, millis: u64, at: &Address, change: Change) -> Batch {
    s.transact(millis, &[Edit::new(at.clone(), change)]).expect("allowed").expect("changes something")
}

pub(crate) fn does(s: &mut Space, a: &Address, change: Change) -> Batch {
    at(s, NOW, a, change)
}

pub(crate) fn write(s: &mut Space, a: &Address, v: &str) -> Batch {
    does(s, a, Change::Write(v.into()))
}

pub(crate) fn pull(to: &mut Space, from: &Space) {
    let Missing::Operations { batches, more } = from.missing(to.version(), usize::MAX) else {
        panic!("in the log")
    };
    assert!(!more);
    for b in batches {
        to.receive(&b, NOW).expect("sound");
    }
}

pub(crate) fn all_equal(mut all: Vec<Space>) -> Space {
    for _ in 0..2 {
        for a in 0..all.len() {
            for b in 0..all.len() {
                let from = all[b].clone();
                pull(&mut all[a], &from);
            }
        }
    }
    for s in &all {
        assert_eq!(s.digest(), all[0].digest());
        assert_eq!(s.to_bytes(), all[0].to_bytes());
    }
    all.swap_remove(0)
}

pub(crate) fn values(s: &Space, a: &Address) -> Vec<String> {
    let mut v: Vec<String> =
        s.siblings(a).into_iter().map(|x| String::from_utf8(x.value).expect("text")).collect();
    v.sort();
    v
}

fn orders() -> Vec<[usize; 3]> {
    vec![[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
}

/// `crdts::Map<_, MVReg>`: one order of merging gives {v4}, another {v2, v4}.
#[test]
fn x1_a_removed_value_does_not_return_by_the_order_of_merging() {
    let k = Address::key(Kind::Mv, "k");
    let mut c = cluster(3);
    write(&mut c[0], &k, "v0");
    let from = c[0].clone();
    pull(&mut c[1], &from);
    write(&mut c[1], &k, "v2");
    write(&mut c[0], &k, "v4");
    let from = c[1].clone();
    pull(&mut c[2], &from);
    does(&mut c[1], &k, Change::Delete);
    for order in orders() {
        let mut fresh = cluster(4).swap_remove(3);
        for n in order {
            // Four places in this roster, three in theirs: the operations are the same.
            let Missing::Operations { batches, .. } = c[n].missing(fresh.version(), usize::MAX) else {
                panic!()
            };
            for b in batches {
                fresh.receive(&b, NOW).expect("sound");
            }
        }
        assert_eq!(values(&fresh, &k), ["v4"], "{order:?}");
    }
    assert_eq!(values(&all_equal(c), &k), ["v4"]);
}

/// `crdts::Orswot`: operation 2 before operation 1 drops 1 silently, and a merge then deletes it at its source.
#[test]
fn x2_operations_of_one_replica_that_come_in_the_wrong_order_all_count() {
    let set = Address::key(Kind::OrSet, "s");
    let mut c = cluster(2);
    let first = does(&mut c[0], &set, Change::Add(b"a".to_vec()));
    let second = does(&mut c[0], &set, Change::Add(b"b".to_vec()));
    assert_eq!(c[1].receive(&second, NOW), Ok(Received::Early));
    assert!(!c[1].contains(&set, b"b"), "nothing is shown before what comes before it");
    assert_eq!(c[1].receive(&first, NOW), Ok(Received::Applied(2)));
    let s = all_equal(c);
    assert!(s.contains(&set, b"a") && s.contains(&set, b"b"));
}

/// `crdts::LWWReg`: equal markers, different values, and both keep their own.
#[test]
fn x3_writes_of_one_moment_have_one_winner() {
    let k = Address::key(Kind::Lww, "k");
    let mut c = cluster(2);
    let a = write(&mut c[0], &k, "a");
    let b = write(&mut c[1], &k, "b");
    assert_eq!(a.hlc(), b.hlc(), "the clocks agree to the millisecond");
    let s = all_equal(c);
    assert_eq!(s.value(&k), Some(b"b".to_vec()), "the larger dot");
    assert_eq!(s.siblings(&k).len(), 2, "and the loser can still be read");
}

/// A replica that lost its disk goes on under its old name: old and new elements vanish everywhere.
#[test]
fn x4_a_replica_that_forgot_its_operations_is_told() {
    let set = Address::key(Kind::OrSet, "s");
    let mut c = cluster(2);
    does(&mut c[0], &set, Change::Add(b"old".to_vec()));
    let from = c[0].clone();
    pull(&mut c[1], &from);
    c[0] = cluster(2).swap_remove(0);
    let Missing::Operations { batches, .. } = c[1].missing(c[0].version(), usize::MAX) else { panic!() };
    assert!(
        matches!(c[0].receive(&batches[0], NOW), Err(Refused::OwnDot(_))),
        "it must take a new incarnation"
    );
    let (roster, me) = c[0].roster().admit(NodeId(0)).unwrap();
    c[1].set_roster(roster.clone()).expect("the next");
    let mut anew = Restore::new(Config::new([1; 32]), roster, me, c[1].snapshot());
    anew.absorb(&c[1].chunk(None, usize::MAX).bytes).expect("a state");
    let mut anew = anew.finish(&[], NOW).expect("a state");
    anew.open();
    does(&mut anew, &set, Change::Add(b"new".to_vec()));
    let s = all_equal(vec![anew, c.swap_remove(1)]);
    assert!(s.contains(&set, b"old") && s.contains(&set, b"new"));
}

/// `crdts::Map` over sets, counters and maps; riak_dt #78, #82 (a remove resurrected in six steps), #93.
#[test]
fn x5_removal_of_a_field_beside_its_update_converges_for_every_kind() {
    let map = Address::key(Kind::Map, "m");
    for kind in [
        Kind::OrSet,
        Kind::PnCounter,
        Kind::Map,
        Kind::Mv,
        Kind::Lww,
        Kind::TwoPhaseSet,
        Kind::GSet,
        Kind::Bounded,
    ] {
        let field = map.field(kind, "f");
        let (place, change) = match kind {
            k if k.is_counter() => (field.clone(), Change::Increase(3)),
            k if k.is_set() => (field.clone(), Change::Add(b"e".to_vec())),
            Kind::Map => (field.field(Kind::Mv, "g"), Change::Write(b"v".to_vec())),
            _ => (field.clone(), Change::Write(b"v".to_vec())),
        };
        let mut c = cluster(3);
        does(&mut c[0], &place, change.clone());
        let from = c[0].clone();
        pull(&mut c[1], &from);
        does(&mut c[1], &field, Change::Delete);
        let again = c[0].transact(NOW, &[Edit::new(place.clone(), change.clone())]).expect("allowed");
        let from = c[1].clone();
        pull(&mut c[2], &from);
        c[2].transact(NOW, &[Edit::new(place.clone(), change)]).expect("allowed");
        let s = all_equal(c);
        let there = s.get(&place).is_some();
        // r0's second increment goes with the instance it counted in; r2 made a new one. A G-Set's second addition
        // at r0 changed nothing, so made nothing.
        assert!(there, "{kind}: what the removal had not seen stays");
        if kind.is_counter() {
            assert_eq!(s.counter(&place), Some(3), "{kind}");
        }
        assert_eq!(again.is_none(), matches!(kind, Kind::GSet | Kind::TwoPhaseSet), "{kind}");
    }
}

/// Reset-remove of a map: nested things that the remover saw go, others stay, at any depth.
#[test]
fn riak_dt_93_a_removed_map_keeps_only_what_was_not_seen() {
    let map = Address::key(Kind::Map, "m");
    let deep = map.field(Kind::Map, "a").field(Kind::Map, "b");
    let mut c = cluster(2);
    for n in 0..20u8 {
        does(&mut c[0], &deep.field(Kind::Lww, [n]), Change::Write(vec![n]));
    }
    let from = c[0].clone();
    pull(&mut c[1], &from);
    let clear = does(&mut c[1], &map, Change::Delete);
    assert!(clear.size() < 60, "twenty entries are named by one vector: {} bytes", clear.size());
    write(&mut c[0], &deep.field(Kind::Lww, "new"), "x");
    let s = all_equal(c);
    assert_eq!(s.fields(&deep.names, None, 99).len(), 1);
}

/// Baquero et al., PaPoC 2016: reset-remove by dots lets a removed total return with the next increment.
#[test]
fn embedded_counters_do_not_return_with_the_next_increment() {
    let n = Address::key(Kind::Map, "m").field(Kind::PnCounter, "n");
    let mut c = cluster(2);
    does(&mut c[0], &n, Change::Increase(5));
    let from = c[0].clone();
    pull(&mut c[1], &from);
    does(&mut c[1], &n, Change::Delete);
    does(&mut c[0], &n, Change::Increase(1));
    let s = all_equal(c);
    assert_eq!(s.counter(&n), None, "neither 6 nor 1: the counter went as a whole");
}

/// cr-sqlite PR 299: the causal length of a row, kept per cell, did not commute.
#[test]
fn cr_sqlite_299_a_row_deleted_and_made_again_beside_an_update_commutes() {
    let row = Address::key(Kind::Map, "row");
    let (x, y) = (row.field(Kind::Lww, "x"), row.field(Kind::Lww, "y"));
    let mut c = cluster(3);
    write(&mut c[0], &x, "1");
    write(&mut c[0], &y, "1");
    let from = c[0].clone();
    pull(&mut c[1], &from);
    pull(&mut c[2], &from);
    does(&mut c[0], &row, Change::Delete);
    write(&mut c[0], &x, "2");
    write(&mut c[1], &y, "3");
    does(&mut c[2], &row, Change::Delete);
    let s = all_equal(c);
    assert_eq!((s.value(&x), s.value(&y)), (Some(b"2".to_vec()), Some(b"3".to_vec())));
}

/// corrosion PR 352: two nodes delete the same row, and the third never hears of it.
#[test]
fn corrosion_352_a_double_delete_reaches_the_third_replica() {
    let k = Address::key(Kind::Lww, "k");
    for order in [[0, 1], [1, 0]] {
        let mut c = cluster(3);
        write(&mut c[0], &k, "v");
        let from = c[0].clone();
        pull(&mut c[1], &from);
        pull(&mut c[2], &from);
        does(&mut c[0], &k, Change::Delete);
        does(&mut c[1], &k, Change::Delete);
        for n in order {
            let from = c[n].clone();
            pull(&mut c[2], &from);
        }
        assert_eq!(c[2].value(&k), None);
        assert_eq!(c[2].waiting().0, 0);
        all_equal(c);
    }
}

/// Akka #21647, akka.net #4200 (9 became 42): counts of a removed node, pruned by gossip, are counted again.
#[test]
fn akka_4200_an_evicted_members_counts_stay_what_they_were() {
    let n = Address::key(Kind::GCounter, "n");
    let mut c = cluster(3);
    for s in &mut c {
        does(s, &n, Change::Increase(3));
    }
    all_equal(c.clone());
    for a in 0..3 {
        for b in 0..3 {
            let from = c[b].clone();
            pull(&mut c[a], &from);
        }
    }
    let stale = c.pop().expect("three");
    let closing = stale.roster().with(r(2), Standing::Closing);
    let gone = closing.with(r(2), Standing::Evicted { last: 1, heir: Some(r(0)) });
    for s in &mut c {
        s.set_roster(closing.clone()).expect("the next");
        s.set_roster(gone.clone()).expect("the next");
        does(s, &n, Change::Increase(1));
    }
    let mut back = stale;
    let late = does(&mut back, &n, Change::Increase(33));
    assert!(matches!(c[0].receive(&late, NOW), Err(Refused::NotAdmitted(..))));
    assert_eq!(all_equal(c).counter(&n), Some(11));
}

/// Akka #22890: an addition is lost because a later delta was taken without it.
#[test]
fn akka_22890_a_lost_delta_is_asked_for_not_passed_over() {
    let set = Address::key(Kind::OrSet, "s");
    let mut c = cluster(2);
    let all: Vec<Batch> = (0..5u8).map(|n| does(&mut c[0], &set, Change::Add(vec![n]))).collect();
    for n in [0, 2, 4, 3] {
        c[1].receive(&all[n], NOW).expect("sound");
    }
    assert_eq!(c[1].version().get(r(0)), 1, "it says what it lacks");
    let from = c[0].clone();
    pull(&mut c[1], &from);
    assert_eq!(c[1].cardinality(&set), 5);
    all_equal(c);
}

/// Scylla #23712: a write kept for a node that was away is played again after the tombstone was collected.
#[test]
fn scylla_23712_a_write_that_comes_again_after_its_removal_was_trimmed_stays_removed() {
    let k = Address::key(Kind::Lww, "k");
    let mut c = cluster(2);
    let hint = write(&mut c[0], &k, "v");
    does(&mut c[0], &k, Change::Delete);
    let from = c[0].clone();
    pull(&mut c[1], &from);
    for a in 0..2 {
        let v = c[1 - a].version().clone();
        c[a].acknowledged(r(1 - a as u16), &v, 0);
        c[a].trim();
        assert_eq!((c[a].logged().0, c[a].len()), (0, 0), "nothing is kept, no tombstone either");
    }
    assert_eq!(c[1].receive(&hint, NOW), Ok(Received::Duplicate));
    assert_eq!(c[1].value(&k), None);
}

/// riak_core #613 (pruned clocks: siblings circulate), Riak #746 (a sibling for each client's write).
#[test]
fn riak_613_siblings_do_not_breed() {
    let k = Address::key(Kind::Mv, "k");
    let mut c = cluster(3);
    for round in 0..50 {
        for s in &mut c {
            write(s, &k, &format!("{round}"));
        }
        let from = c[round % 3].clone();
        pull(&mut c[(round + 1) % 3], &from);
        assert!(c.iter().all(|s| s.siblings(&k).len() <= 3), "at most one a replica");
    }
    let mut s = all_equal(c);
    write(&mut s, &k, "last");
    assert_eq!(values(&s, &k), ["last"]);
}

/// Jepsen on Riak: under last-write-wins a slow clock loses acknowledged writes.
#[test]
fn skew_does_not_lose_a_write_that_saw_the_other() {
    let k = Address::key(Kind::Lww, "k");
    let mut c = cluster(2);
    at(&mut c[0], NOW + 3_600_000, &k, Change::Write(b"fast clock".to_vec()));
    let from = c[0].clone();
    let Missing::Operations { batches, .. } = from.missing(c[1].version(), usize::MAX) else { panic!() };
    c[1].receive(&batches[0], NOW - 3_600_000).expect("a peer's time is never refused");
    at(&mut c[1], NOW - 3_600_000, &k, Change::Write(b"slow clock".to_vec()));
    let s = all_equal(c);
    assert_eq!(s.value(&k), Some(b"slow clock".to_vec()));
    assert_eq!(s.siblings(&k).len(), 1);
}

/// A peer that makes dots of another replica could remove what it never saw (X4, on purpose).
#[test]
fn a_forged_dot_is_refused() {
    let k = Address::key(Kind::Lww, "k");
    let mut c = cluster(3);
    let forged = write(&mut cluster(3)[0], &k, "forged");
    assert_eq!(c[1].receive_own_of(r(2), &forged, NOW), Err(Refused::Forged { sender: r(2), made_by: r(0) }));
    let mut big = cluster(5);
    let stranger = write(&mut big[4], &k, "v");
    assert!(matches!(c[1].receive(&stranger, NOW), Err(Refused::NotAdmitted(..))));
    assert!(c[1].is_empty() && c[1].version().is_empty(), "and nothing changed");
    let names_stranger = {
        let from = big[4].clone();
        pull(&mut big[0], &from);
        does(&mut big[0], &k, Change::Delete)
    };
    assert!(matches!(c[1].receive(&names_stranger, NOW), Err(Refused::NotAdmitted(..))));
    write(&mut c[0], &k, "true");
    all_equal(c);
}

/// chitchat #155, #161; VerneMQ #2343: a dead member, or what is left of one, comes back.
#[test]
fn a_dead_member_stays_dead_and_its_lost_writes_are_made_anew() {
    let set = Address::key(Kind::OrSet, "s");
    let mut c = cluster(3);
    does(&mut c[2], &set, Change::Add(b"known".to_vec()));
    let from = c[2].clone();
    pull(&mut c[0], &from);
    pull(&mut c[1], &from);
    let unsent = does(&mut c[2], &set, Change::Add(b"unsent".to_vec()));
    let closing = c[0].roster().with(r(2), Standing::Closing);
    let gone = closing.with(r(2), Standing::Evicted { last: 1, heir: None });
    for s in &mut c {
        s.set_roster(closing.clone()).expect("the next");
    }
    assert_eq!(c[0].receive(&unsent, NOW), Err(Refused::Closing(r(2))));
    assert!(matches!(c[2].transact(NOW, &[]), Err(Rejected::Standing(..))));
    for s in &mut c {
        s.set_roster(gone.clone()).expect("the next");
    }
    assert!(matches!(c[0].receive(&unsent, NOW), Err(Refused::NotAdmitted(..))));
    assert!(c[0].clone().set_roster(gone.with(r(2), Standing::Active)).is_err(), "never under the old place");
    let tail = c[2].tail_of(r(2), 1);
    assert_eq!(tail.count(), 1);
    let (roster, next) = gone.admit(NodeId(2)).expect("there is room");
    for s in &mut c {
        s.set_roster(roster.clone()).expect("the next");
    }
    c[0].take_place(next);
    assert_eq!(c[0].write_anew(&[tail], usize::MAX), Ok(true));
    let from = c[0].clone();
    pull(&mut c[1], &from);
    c.truncate(2);
    let mut s = all_equal(c);
    assert!(s.contains(&set, b"known") && s.contains(&set, b"unsent"));
    let v = s.version().clone();
    s.acknowledged(r(0), &v, 0);
    s.acknowledged(r(1), &v, 0);
    s.trim();
    assert_eq!(s.logged().0, 0, "the dead hold nothing back");
}

/// chitchat: digests beyond a datagram above some five hundred nodes.
#[test]
fn a_digest_is_thirty_two_bytes_whatever_the_roster() {
    let mut roster = Roster::founding((0..300).map(NodeId));
    for n in 0..1000 {
        roster = roster.admit(NodeId(n % 300)).unwrap().0;
    }
    let s = Space::new(Config::new([1; 32]), roster, r(0));
    assert_eq!(s.digest().to_bytes().len(), 32);
}

/// Time to live by everyone's own clock removes what was written anew elsewhere; here it is an operation of its owner.
#[test]
fn expiry_is_an_operation_and_a_concurrent_write_survives_it() {
    let k = Address::key(Kind::Lww, "k");
    let mut c = cluster(2);
    write(&mut c[0], &k, "v");
    does(&mut c[0], &k, Change::Expire(NOW + 1000));
    let from = c[0].clone();
    pull(&mut c[1], &from);
    assert!(c[1].due(NOW + 2000, 9).is_empty(), "not its owner");
    assert!(c[0].due(NOW + 999, 9).is_empty());
    let due = c[0].due(NOW + 1000, 9);
    assert_eq!(due.first(), Some(&k.names));
    write(&mut c[1], &k, "anew");
    let edits = c[0].delete_all(&due[0]);
    c[0].transact(NOW + 1000, &edits).expect("allowed");
    assert!(c[0].is_empty() && c[0].due(NOW + 2000, 9).is_empty());
    assert_eq!(values(&all_equal(c), &k), ["anew"]);
}

/// A region with many keys that were to go is away: the others keep them, and must not walk over them again and again.
#[test]
fn deadlines_of_others_cost_nothing_while_they_are_away() {
    let mut c = cluster(2);
    for i in 0..2_000 {
        let k = Address::key(Kind::Lww, format!("{i}").as_str());
        write(&mut c[0], &k, "v");
        does(&mut c[0], &k, Change::Expire(NOW + 1000));
    }
    let from = c[0].clone();
    pull(&mut c[1], &from);
    assert_eq!(c[1].next_deadline(), None, "nothing to be woken for");
    let k = Address::key(Kind::Lww, "own");
    write(&mut c[1], &k, "v");
    does(&mut c[1], &k, Change::Expire(NOW + 5000));
    assert_eq!(c[1].next_deadline(), Some(NOW + 5000));
    assert_eq!(c[1].due(NOW + 5000, 9), [k.names]);
    assert_eq!(c[0].due(NOW + 5000, usize::MAX).len(), 2_000);
    // Its owner is gone for good: it is on the other now.
    let roster =
        c[1].roster().with(r(0), Standing::Evicted { last: c[1].version().get(r(0)), heir: Some(r(1)) });
    c[1].set_roster(roster).expect("it follows");
    assert_eq!(c[1].next_deadline(), Some(NOW + 1000));
    assert_eq!(c[1].due(NOW + 1000, usize::MAX).len(), 2_000);
}

/// Two replicas spend the last unit.
#[test]
fn a_bounded_counter_is_never_overspent() {
    let n = Address::key(Kind::Bounded, "n");
    let mut c = cluster(2);
    does(&mut c[0], &n, Change::Increase(3));
    does(&mut c[0], &n, Change::Transfer { to: r(1), amount: 1 });
    let from = c[0].clone();
    pull(&mut c[1], &from);
    let spend = |n: &Address| [Edit::new(n.clone(), Change::Decrease(2))];
    assert!(c[1].transact(NOW, &spend(&n)).is_err(), "one may be spent there");
    assert!(c[0].transact(NOW, &spend(&n)).is_ok());
    let twice = [Edit::new(n.clone(), Change::Decrease(1)), Edit::new(n.clone(), Change::Decrease(1))];
    assert!(c[1].transact(NOW, &twice).is_err(), "the second edit sees the first");
    assert!(c[1].transact(NOW, &twice[..1]).is_ok());
    let s = all_equal(c);
    assert_eq!(s.counter(&n), Some(0));
}
