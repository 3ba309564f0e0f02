//! States as values: join laws, parts, bytes, and bytes from outside.

use crate::world::Rng;
use dwcp_crdt::rga::{Applied, Delta, EditError, Hang, Item, List, Op, Refused, Side, Span, Spans, Text};
use dwcp_crdt::{Dot, ReplicaIndex, VersionVector};
use proptest::prelude::*;

fn dot(replica: u16, sequence: u64) -> Dot {
    Dot::new(ReplicaIndex(replica), sequence)
}

/// A text that one replica edited for a while, from a state all share.
fn edited(base: &Text, replica: u16, seed: u64, edits: usize) -> Text {
    let mut rng = Rng::new(seed);
    let mut text = base.clone();
    for k in 0..edits {
        let len = text.len();
        if rng.below(3) > 0 || len == 0 {
            let first = text.next(ReplicaIndex(replica));
            let piece = "abcdefgh".repeat(1 + rng.below(3));
            text.insert(first, rng.below(len + 1), &piece[..1 + rng.below(piece.len())]).expect("in range");
        } else {
            let at = rng.below(len);
            let end = (at + 1 + rng.below(5)).min(len);
            text.delete(dot(replica, k as u64 + 1), at..end).expect("in range");
        }
    }
    text
}

fn joined(a: &Text, b: &Text) -> Text {
    let mut both = a.clone();
    both.join(&b.delta()).expect("a sound state");
    both
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn join_is_commutative_associative_idempotent(seed in 0u64..u64::MAX / 2, edits in 1usize..40) {
        let base = edited(&Text::new(), 9, seed, edits);
        let [a, b, c] = [1, 2, 3].map(|r| edited(&base, r, seed + u64::from(r), edits));
        let ab = joined(&a, &b);
        prop_assert_eq!(&ab, &joined(&b, &a));
        prop_assert_eq!(joined(&ab, &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(joined(&ab, &a), ab.clone());
        prop_assert_eq!(joined(&ab, &ab), ab.clone());
        prop_assert_eq!(joined(&Text::new(), &ab), ab);
    }

    #[test]
    fn parts_are_the_whole_and_bytes_are_the_state(seed in 0u64..u64::MAX / 2, limit in 1usize..400) {
        let base = edited(&Text::new(), 9, seed, 40);
        let text = joined(&edited(&base, 1, seed + 1, 30), &edited(&base, 2, seed + 2, 30));
        let mut back = Text::new();
        for part in text.delta().split(limit) {
            back.join(&Delta::decode(&part.encode()).expect("own bytes")).expect("own parts in order");
        }
        prop_assert_eq!(&back, &text);
        prop_assert_eq!(back.content(), text.content());
        let bytes = text.encode();
        let again = Text::decode(&bytes).expect("own bytes");
        prop_assert_eq!(again.encode(), bytes);
        prop_assert_eq!(again.content(), text.content());
    }

    #[test]
    fn bytes_from_outside_never_panic(seed in 0u64..u64::MAX / 2, flips in proptest::collection::vec((0usize..4000, 0u8..=255), 1..6)) {
        let text = edited(&edited(&Text::new(), 1, seed, 30), 2, seed + 1, 30);
        let mut bytes = text.encode();
        for (at, to) in &flips {
            let at = at % bytes.len();
            bytes[at] = *to;
        }
        if let Ok(state) = Text::decode(&bytes) {
            // What is taken is canonical, and one can go on with it.
            prop_assert_eq!(state.encode(), Text::decode(&state.encode()).expect("own bytes").encode());
            let mut state = state;
            state.insert(state.next(ReplicaIndex(7)), 0, "x").expect("at the start");
            let mut target = text.clone();
            let joined = target.join(&state.delta());
            let len = target.len();
            prop_assert_eq!(target.content().chars().count(), len, "{:?}", joined);
        }
        for cut in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            prop_assert!(Text::decode(&bytes[..cut]).is_err());
        }
    }
}

#[test]
fn edits_outside_the_sequence_change_nothing() {
    let mut text = Text::new();
    text.insert(dot(1, 1), 0, "abc").expect("at the start");
    let before = text.encode();
    assert_eq!(text.insert(dot(1, 4), 4, "x"), Err(EditError::Beyond { at: 4, len: 3 }));
    assert_eq!(text.insert(dot(1, 3), 0, "x"), Err(EditError::Reused { first: dot(1, 3) }));
    assert_eq!(text.insert(dot(1, 4), 0, ""), Err(EditError::Nothing));
    assert_eq!(text.delete(dot(1, 1), 2..5), Err(EditError::Beyond { at: 5, len: 3 }));
    assert_eq!(text.encode(), before);
}

#[test]
fn what_no_correct_replica_sends_is_refused_and_changes_nothing() {
    let mut text = Text::new();
    text.insert(dot(1, 1), 0, "abc").expect("at the start");
    let before = text.encode();
    let hang = |replica, sequence| Hang { origin: Some(dot(replica, sequence)), side: Side::Right };
    let insert = |first, hang| Op::Insert { first, hang, content: "x".to_owned() };
    let spans = |first, len| Op::Delete { by: dot(2, 1), spans: Spans::from_iter([Span { first, len }]) };
    let bad = [
        insert(dot(2, 0), Hang::ROOT),
        insert(dot(2, 1), hang(2, 1)),
        insert(dot(2, 1), hang(2, 7)),
        insert(dot(2, 1), hang(1, 0)),
        insert(dot(2, 1), Hang { origin: None, side: Side::Left }),
        Op::Insert { first: dot(2, 1), hang: Hang::ROOT, content: String::new() },
        Op::Insert {
            first: dot(2, dwcp_crdt::dot::SEQUENCE_MAX),
            hang: Hang::ROOT,
            content: "xy".to_owned(),
        },
        spans(dot(1, 1), 0),
        spans(dot(1, 0), 1),
        spans(dot(1, dwcp_crdt::dot::SEQUENCE_MAX), 2),
        Op::Delete { by: dot(2, 1), spans: Spans::default() },
    ];
    for op in bad {
        assert!(matches!(text.apply(&op), Err(Refused::Malformed { .. })), "{op:?}");
        assert_eq!(text.encode(), before, "{op:?}");
    }
}

#[test]
fn what_comes_early_waits_even_across_a_restart() {
    let mut a = Text::new();
    let hang = a.insert(dot(1, 1), 0, "ab").expect("at the start");
    let first = Op::Insert { first: dot(1, 1), hang, content: "ab".to_owned() };
    let mut b = a.clone();
    let hang = b.insert(dot(2, 1), 1, "xyz").expect("inside");
    let second = Op::Insert { first: dot(2, 1), hang, content: "xyz".to_owned() };
    let delete = Op::Delete { by: dot(3, 1), spans: b.clone().delete(dot(3, 1), 0..2).expect("in range") };

    let mut c = Text::new();
    assert_eq!(c.apply(&second), Ok(Applied::Waits));
    assert_eq!(c.apply(&delete), Ok(Applied::Waits));
    assert_eq!(c.len(), 0);
    let mut c = Text::decode(&c.encode()).expect("own bytes");
    assert_eq!(c.apply(&second), Ok(Applied::Known));
    assert_eq!(c.apply(&first), Ok(Applied::Now));
    assert_eq!(c.content(), "yzb");
    assert_eq!(c.apply(&delete), Ok(Applied::Known));
}

#[test]
fn a_purged_element_does_not_come_back() {
    let mut a = Text::new();
    a.insert(dot(1, 1), 0, "abcd").expect("at the start");
    let old = a.delta();
    a.delete(dot(1, 1), 2..4).expect("in range");
    assert_eq!(a.dead(), 2);
    let purged = a.purge(&VersionVector::new());
    assert_eq!((purged.forgotten, purged.kept), (0, 2));
    let purged = a.purge(&[(ReplicaIndex(1), 1)].into_iter().collect());
    assert_eq!((purged.forgotten, purged.kept), (2, 0));
    a.join(&old).expect("a sound state");
    assert_eq!((a.content().as_str(), a.dead()), ("ab", 0));
    let late = Op::Delete { by: dot(2, 1), spans: Spans::from_iter([Span { first: dot(1, 3), len: 2 }]) };
    assert_eq!(a.apply(&late), Ok(Applied::Now));
    let orphan = Op::Insert {
        first: dot(2, 1),
        hang: Hang { origin: Some(dot(1, 4)), side: Side::Right },
        content: "x".to_owned(),
    };
    assert!(matches!(a.apply(&orphan), Err(Refused::Malformed { .. })), "its maker broke the promise");
}

#[test]
fn a_dead_element_others_hang_on_stays_as_a_name() {
    let mut a = Text::new();
    a.insert(dot(1, 1), 0, "abc").expect("at the start");
    a.delete(dot(1, 1), 0..1).expect("in range");
    let all = |a: &Text| a.deleted().clone();
    let line = all(&a);
    assert_eq!(a.purge(&line).kept, 1, "b hangs on a");
    a.delete(dot(1, 2), 0..2).expect("in range");
    let line = all(&a);
    assert_eq!(a.purge(&line).forgotten, 3);
    assert_eq!((a.len(), a.runs()), (0, 0));
}

#[test]
fn lists_hold_any_bytes() {
    let item = |bytes: &[u8]| Item::from(bytes);
    let mut list = List::new();
    let r = ReplicaIndex(4);
    list.insert(list.next(r), 0, &[item(b"b"), item(b""), item(&[0xff, 0])]).expect("at the start");
    list.insert(list.next(r), 0, &[item(b"a")]).expect("at the start");
    list.delete(dot(4, 1), 2..3).expect("in range");
    assert_eq!(list.content(), [item(b"a"), item(b"b"), item(&[0xff, 0])]);
    assert_eq!(list.slice(1..9), [item(b"b"), item(&[0xff, 0])]);
    let back = List::decode(&list.encode()).expect("own bytes");
    assert_eq!(back, list);
    assert!(Text::decode(&list.encode()).is_err(), "another kind");
}

#[test]
fn large_insertions_are_cut_into_leaves_and_joined_in_bytes() {
    let mut text = Text::new();
    let r = ReplicaIndex(1);
    let big: String = ('a'..='z').cycle().take(100_000).collect();
    text.insert(text.next(r), 0, &big).expect("at the start");
    text.insert(text.next(r), 50_000, "ß").expect("inside");
    text.delete(dot(1, 1), 10..99_000).expect("in range");
    assert_eq!(text.len(), 1011);
    assert_eq!(text.slice(0..12), [&big[..10], &big[98_999..99_001]].concat());
    let back = Text::decode(&text.encode()).expect("own bytes");
    assert_eq!(back.content(), text.content());
    assert!(back.runs() <= text.runs());
    for at in [0, 9, 10, 500, 1010] {
        assert_eq!(text.position(text.name_at(at).expect("in range")), Some(at));
    }
}
