//! What was written at a place that ended is made anew at the next, each operation once and with the meaning it had.

use crate::anomalies::{NOW, all_equal, at, cluster, does, pull, r, values, write};
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::Change;
use dwcp_crdt::space::{Config, Tail};
use dwcp_crdt::{ReplicaIndex, Space, Standing};
use dwcp_env::NodeId;

fn key(kind: Kind) -> Address {
    Address::key(kind, "k")
}

/// Evicts place `of` at `last`, admits its node anew, and tells all. The new place.
fn evict(c: &mut [Space], of: ReplicaIndex, last: u64) -> ReplicaIndex {
    let roster = c[0].roster().clone();
    let node = roster.get(of).expect("a member").node;
    let (roster, next) = roster
        .with(of, Standing::Closing)
        .with(of, Standing::Evicted { last, heir: None })
        .readmit(node)
        .expect("room");
    for s in c {
        s.set_roster(roster.clone()).expect("the next");
    }
    next
}

/// The evicted one comes back: with a peer's state, at its next place, its tails to be written.
fn return_with(c: &[Space], evicted: &Space, next: ReplicaIndex) -> (Space, Tail) {
    let Some(Standing::Evicted { last, .. }) = c[0].roster().get(evicted.me()).map(|m| m.standing) else {
        panic!("evicted")
    };
    let mut back = c[0].clone();
    back.take_place(next);
    back.open();
    (back, evicted.tail_of(evicted.me(), last))
}

/// Three replicas; the third has heard all that `before` did, and goes on alone with `alone` while the others do `meanwhile`.
fn story(before: impl Fn(&mut [Space]), alone: impl Fn(&mut Space), meanwhile: impl Fn(&mut Space)) -> Space {
    let mut c = cluster(3);
    before(&mut c);
    let know = |c: &mut Vec<Space>| {
        for (a, b) in [(0, 1), (0, 2), (1, 0), (2, 0), (1, 2), (2, 1)] {
            let from = c[b].clone();
            pull(&mut c[a], &from);
        }
    };
    know(&mut c);
    let last = c[2].version().get(r(2));
    alone(&mut c[2]);
    meanwhile(&mut c[0]);
    let next = evict(&mut c, r(2), last);
    let (mut back, tail) = return_with(&c, &c[2], next);
    assert_eq!(back.write_anew(&[tail], usize::MAX), Ok(true));
    c[2] = back;
    all_equal(c)
}

#[test]
fn a_removal_takes_no_more_than_it_took() {
    let set = key(Kind::OrSet);
    let x = || b"x".to_vec();
    let s = story(
        |c| drop(does(&mut c[0], &set, Change::Add(x()))),
        |s| drop(does(s, &set, Change::Remove(x()))),
        |s| drop(does(s, &set, Change::Add(x()))),
    );
    assert!(s.contains(&set, b"x"), "what the others added since was not seen by the removal");
    let s = story(
        |c| drop(does(&mut c[0], &set, Change::Add(x()))),
        |s| {
            does(s, &set, Change::Add(b"y".to_vec()));
            does(s, &set, Change::Remove(x()));
            does(s, &set, Change::Remove(b"y".to_vec()));
        },
        |_| {},
    );
    assert_eq!(s.cardinality(&set), 0, "what was added and removed alone is not there again");
}

#[test]
fn what_was_pushed_beside_what_is_purged_comes_to_its_end_of_the_list() {
    let list = key(Kind::Sequence);
    let push = |at, v: &str| Change::Insert { at, values: vec![v.into()] };
    let mut c = cluster(3);
    // Nothing hangs on `a` and `c`.
    for (n, v) in [(0, "b"), (0, "a"), (2, "c")] {
        does(&mut c[0], &list, push(n, v));
    }
    let all = c[0].clone();
    c[1..].iter_mut().for_each(|s| pull(s, &all));
    // Alone the third pushes at both ends; the others take out what it pushed beside, and forget it after the eviction.
    does(&mut c[2], &list, push(0, "left"));
    does(&mut c[2], &list, push(4, "right"));
    does(&mut c[0], &list, Change::Erase { from: 2, count: 1 });
    does(&mut c[0], &list, Change::Erase { from: 0, count: 1 });
    let next = evict(&mut c, r(2), 0);
    let all = c[0].clone();
    pull(&mut c[1], &all);
    let (version, epoch) = (c[0].version().clone(), c[0].roster().epoch);
    for who in [r(1), next] {
        c[0].acknowledged(who, &version, epoch);
    }
    c[0].trim();
    assert_eq!(c[0].tombstones(), (0, 0), "nothing is left of what they stood beside");
    let (mut back, tail) = return_with(&c, &c[2], next);
    assert_eq!(back.write_anew(&[tail], usize::MAX), Ok(true));
    let values: Vec<Vec<u8>> = back.range(&list, 0, 9);
    assert_eq!(values, [&b"left"[..], b"b", b"right"]);
}

#[test]
fn an_older_write_does_not_win_over_a_younger_one() {
    let register = key(Kind::Lww);
    let s = story(
        |_| {},
        |s| drop(at(s, NOW + 1_000, &register, Change::Write(b"old".to_vec()))),
        |s| drop(at(s, NOW + 9_000, &register, Change::Write(b"young".to_vec()))),
    );
    assert_eq!(s.value(&register).as_deref(), Some(&b"young"[..]));
    assert_eq!(values(&s, &register).len(), 2, "and it is there as a sibling");
}

#[test]
fn increments_count_once_however_much_was_trimmed() {
    let counter = key(Kind::PnCounter);
    let s = story(
        |c| {
            does(&mut c[0], &counter, Change::Increase(100));
            let from = c[0].clone();
            pull(&mut c[2], &from);
            for _ in 0..70 {
                does(&mut c[2], &counter, Change::Increase(1));
            }
        },
        |s| {
            // All have the seventy: a log that no longer holds them must not count them again.
            let version = s.version().clone();
            for peer in [0, 1] {
                s.acknowledged(r(peer), &version, s.roster().epoch);
            }
            s.trim();
            does(s, &counter, Change::Increase(5));
            does(s, &counter, Change::Decrease(2));
        },
        |s| drop(does(s, &counter, Change::Increase(1_000))),
    );
    assert_eq!(s.counter(&counter), Some(1_173));
}

#[test]
fn a_counter_that_was_made_and_deleted_alone_stays_so() {
    let counter = key(Kind::PnCounter);
    let s = story(
        |_| {},
        |s| {
            does(s, &counter, Change::Increase(7));
            does(s, &counter, Change::Delete);
            does(s, &counter, Change::Increase(2));
        },
        |s| drop(does(s, &counter, Change::Increase(30))),
    );
    assert_eq!(s.counter(&counter), Some(32));
}

#[test]
fn an_increment_of_a_counter_that_is_gone_by_then_counts_nowhere_else() {
    let counter = key(Kind::PnCounter);
    let mut c = cluster(3);
    let three = does(&mut c[2], &counter, Change::Increase(3));
    for s in &mut c[..2] {
        s.receive(&three, NOW).expect("sound");
    }
    does(&mut c[2], &counter, Change::Increase(1));
    does(&mut c[1], &counter, Change::Delete);
    let next = evict(&mut c, r(2), 1);
    // It comes back with the state of one who knows of the deletion; another does not yet.
    let tail = c[2].tail_of(r(2), 1);
    let mut back = c[1].clone();
    back.take_place(next);
    assert_eq!(back.write_anew(&[tail], usize::MAX), Ok(true));
    let anew = back.made(next, 0, 1, usize::MAX).expect("in the log");
    c[0].receive(&anew[0], NOW).expect("sound");
    assert_eq!(c[0].counter(&counter), Some(3), "what the place that ended had added is here already");
    c[2] = back;
    assert_eq!(all_equal(c).counter(&counter), None);
}

#[test]
fn a_tail_holds_nothing_twice() {
    let mut c = cluster(2);
    (0..6).for_each(|n| drop(does(&mut c[1], &key(Kind::OrSet), Change::Add(vec![n]))));
    let piece = |after, upto| c[1].made(r(1), after, upto, usize::MAX).expect("in the log");
    let pieces = [piece(0, 6), piece(0, 2), piece(3, 5), piece(0, 6)].concat();
    let tail = Tail::new(r(1), 1, pieces);
    assert_eq!((tail.batches().len(), tail.count()), (1, 5));
}

#[test]
fn a_deleted_subtree_takes_what_its_deleter_knew() {
    let (map, inner) =
        (key(Kind::Map), Address { names: vec![b"k".to_vec(), b"f".to_vec()], kind: Kind::OrSet });
    let many = |s: &mut Space, from: u8, n: u8| {
        for i in from..from + n {
            does(s, &inner, Change::Add(vec![i]));
        }
    };
    let s = story(
        |c| many(&mut c[1], 0, 20),
        |s| {
            many(s, 20, 20);
            does(s, &map, Change::Delete);
            many(s, 40, 3);
        },
        |s| many(s, 60, 2),
    );
    let left: Vec<u8> = s.elements(&inner, None, 100).iter().map(|e| e.bytes[0]).collect();
    assert_eq!(left, [40, 41, 42, 60, 61]);
}

#[test]
fn one_that_is_evicted_again_on_the_way_loses_nothing_and_does_nothing_twice() {
    let (counter, set) = (key(Kind::PnCounter), key(Kind::OrSet));
    for (anew, taken) in (0..=8).flat_map(|a| (0..=a).map(move |t| (a, t))) {
        let mut c = cluster(3);
        write(&mut c[0], &key(Kind::Lww), "x");
        let from = c[0].clone();
        pull(&mut c[2], &from);
        for i in 0..4 {
            does(&mut c[2], &counter, Change::Increase(10));
            does(&mut c[2], &set, if i == 3 { Change::Remove(vec![0]) } else { Change::Add(vec![i]) });
        }
        let second = evict(&mut c, r(2), 0);
        let (mut back, first_tail) = return_with(&c, &c[2], second);
        for _ in 0..anew {
            back.write_anew(std::slice::from_ref(&first_tail), 1).expect("may write");
        }
        assert_eq!(back.version().get(second), anew);
        // A peer takes some of that, and the second place ends, too.
        let half = back.tail_of(second, 0);
        for batch in half.batches().iter().flat_map(one_by_one).take(taken as usize) {
            c[0].receive(&batch, NOW).expect("sound");
        }
        c[2] = back;
        let third = evict(&mut c, second, taken);
        let (mut back, second_tail) = return_with(&c, &c[2], third);
        let tails = [first_tail, second_tail];
        while !back.write_anew(&tails, 1).expect("may write") {}
        assert_eq!(back.version().get(third), 8 - taken, "each once");
        assert_eq!(back.write_anew(&tails, 1), Ok(true), "and no more");
        assert_eq!(back.version().get(third), 8 - taken);
        c[2] = back;
        let s = all_equal(c);
        assert_eq!(s.counter(&counter), Some(40), "{anew} made anew, {taken} of them taken");
        let left: Vec<u8> = s.elements(&set, None, 10).iter().map(|e| e.bytes[0]).collect();
        assert_eq!(left, [1, 2], "{anew} made anew, {taken} of them taken");
    }
}

enum Step {
    /// The latest place of a node ends, and nothing of it counts.
    End(u64),
    /// It has its next place.
    Place(u64),
    /// And makes anew what it wrote at its first.
    Anew(u64),
}

#[test]
fn what_one_evicted_replica_removed_of_another_stays_removed_whoever_returns_when() {
    use Step::{Anew, End, Place};
    let stories: [&[Step]; 6] = [
        &[End(2), End(3), Place(2), Anew(2), Place(3), Anew(3)],
        &[End(2), End(3), Place(3), Anew(3), Place(2), Anew(2)],
        // The other's end is decided later.
        &[End(2), Place(2), Anew(2), End(3), Place(3), Anew(3)],
        // The other has its next place first.
        &[End(2), Place(3), Place(2), Anew(2), End(3), Anew(3)],
        // And never uses it.
        &[End(2), End(3), Place(2), Place(3), Anew(2), End(3), Place(3), Anew(3)],
        &[End(2), End(3), Place(3), Place(2), End(3), Anew(2), Place(3), Anew(3)],
    ];
    for (i, story) in stories.iter().enumerate() {
        removed_alone_together(story, &format!("story {i}"));
    }
}

fn removed_alone_together(story: &[Step], name: &str) {
    let (counter, set, list, map) =
        (key(Kind::PnCounter), key(Kind::OrSet), key(Kind::Sequence), key(Kind::Map));
    let shared = Address::key(Kind::PnCounter, "shared");
    let field = |n: u8| Address { names: vec![b"k".to_vec(), vec![n]], kind: Kind::Lww };
    let mut c = cluster(4);
    // The fourth makes, the third takes out what it saw.
    does(&mut c[3], &set, Change::Add(b"gone".to_vec()));
    does(&mut c[3], &set, Change::Add(b"stays".to_vec()));
    does(&mut c[3], &counter, Change::Increase(5));
    does(&mut c[3], &shared, Change::Increase(30));
    does(&mut c[3], &list, Change::Insert { at: 0, values: vec![b"gone".to_vec(), b"stays".to_vec()] });
    // More than are named one by one.
    (0..12).for_each(|n| drop(does(&mut c[3], &field(n), Change::Write(b"gone".to_vec()))));
    let from = c[3].clone();
    pull(&mut c[2], &from);
    does(&mut c[2], &set, Change::Remove(b"gone".to_vec()));
    does(&mut c[2], &counter, Change::Delete);
    does(&mut c[2], &counter, Change::Increase(7));
    does(&mut c[2], &shared, Change::Increase(4));
    does(&mut c[2], &list, Change::Erase { from: 0, count: 1 });
    does(&mut c[2], &map, Change::Delete);
    let alone = [c[2].clone(), c[3].clone()];
    let mut roster = c[0].roster().clone();
    let latest = |roster: &dwcp_crdt::Roster, node: u64| {
        roster.iter().filter(|(_, m)| m.node == NodeId(node) && m.takes_part()).map(|(r, _)| r).next()
    };
    for step in story {
        match step {
            Step::End(node) => {
                let of = latest(&roster, *node).expect("it takes part");
                roster = roster.with(of, Standing::Evicted { last: 0, heir: None });
            }
            Step::Place(node) => roster = roster.readmit(NodeId(*node)).expect("room").0,
            Step::Anew(node) => {
                let place = latest(&roster, *node).expect("it takes part");
                let was = &alone[*node as usize - 2];
                let mut back = c[0].clone();
                back.take_place(place);
                back.open();
                let tail = was.tail_of(was.me(), 0);
                assert_eq!(back.write_anew(&[tail], usize::MAX), Ok(true), "{name}");
                // One takes it now, another with the later rosters.
                pull(&mut c[0], &back);
                c[*node as usize] = back;
            }
        }
        let _as_it_was = c[0].set_roster(roster.clone());
    }
    for s in &mut c {
        let _known = s.set_roster(roster.clone());
    }
    let s = all_equal(c);
    let left: Vec<Vec<u8>> = s.elements(&set, None, 10).into_iter().map(|e| e.bytes).collect();
    assert_eq!(left, [b"stays".to_vec()], "{name}");
    assert_eq!((s.counter(&counter), s.counter(&shared)), (Some(7), Some(34)), "{name}");
    assert_eq!((0..12).find(|n| s.value(&field(*n)).is_some()), None, "{name}");
    assert_eq!(s.range(&list, 0, 10), [b"stays".to_vec()], "{name}");
    assert_eq!(s.waiting().0, 0, "{name}: nothing is still expected");
}

/// A batch's transactions as batches of their own.
fn one_by_one(batch: &dwcp_crdt::Batch) -> Vec<dwcp_crdt::Batch> {
    let mut single = Space::new(
        dwcp_crdt::space::Config::new([1; 32]),
        dwcp_crdt::Roster::founding((0..8).map(NodeId)),
        batch.replica(),
    );
    single.receive(batch, NOW).expect("sound");
    (batch.first().sequence()..=batch.last().sequence())
        .map(|n| {
            let mut before = dwcp_crdt::VersionVector::new();
            before.raise(batch.replica(), n - 1);
            match single.missing(&before, 1) {
                dwcp_crdt::space::Missing::Operations { mut batches, .. } => batches.swap_remove(0),
                dwcp_crdt::space::Missing::BelowLog(_) => panic!("in the log"),
            }
        })
        .collect()
}

#[test]
fn the_only_active_one_keeps_what_it_made_until_somebody_has_it_or_there_is_too_much() {
    let counter = key(Kind::PnCounter);
    let mut c = cluster(3);
    let s = &mut c[0];
    let lagging = s.roster().with(r(1), Standing::Lagging).with(r(2), Standing::Lagging);
    s.set_roster(lagging.clone()).expect("the next");
    for _ in 0..1_000 {
        does(s, &counter, Change::Increase(1));
    }
    s.trim();
    assert_eq!(s.logged().0, 1_000, "if it is evicted now, this is made anew");
    // One that lags counts for nobody's log; and yet it has them.
    let mut version = s.version().clone();
    version.meet(&[(r(0), 600)].into_iter().collect());
    s.acknowledged(r(2), &version, lagging.epoch);
    s.trim();
    assert!((400..=464).contains(&s.logged().0), "{:?}", s.logged());
    let gone = [r(1), r(2)].into_iter().fold(lagging, |roster, of| {
        roster.with(of, Standing::Closing).with(of, Standing::Evicted { last: 0, heir: None })
    });
    s.set_roster(gone).expect("the next");
    s.trim();
    assert_eq!(s.logged().0, 0, "nobody is left who could evict it");
    let config = Config { alone_max: 4_000, ..Config::new([1; 32]) };
    let alone = cluster(2)[0].roster().with(r(1), Standing::Lagging);
    let mut bounded = Space::new(config, alone, r(0));
    bounded.open();
    for _ in 0..1_000 {
        does(&mut bounded, &counter, Change::Increase(1));
    }
    bounded.trim();
    let (operations, bytes) = bounded.logged();
    assert!(operations > 0 && bytes <= 4_000, "{operations} operations, {bytes} bytes");
}
