//! What retiring promises and purging relies on, told step by step (`rga/purge.rs`).

use dwcp_crdt::rga::{Applied, Op, Purged, Text};
use dwcp_crdt::{Dot, ReplicaIndex, VersionVector};

const fn dot(r: u16, s: u64) -> Dot {
    Dot::new(ReplicaIndex(r), s)
}
fn line(all: &[(u16, u64)]) -> VersionVector {
    let mut out = VersionVector::new();
    all.iter().for_each(|(r, s)| out.raise(ReplicaIndex(*r), *s));
    out
}
fn insert(text: &mut Text, first: Dot, at: usize, content: &str) -> Op<String> {
    let hang = text.insert(first, at, content).unwrap();
    Op::Insert { first, hang, content: content.into() }
}
fn delete(text: &mut Text, by: Dot, at: usize) -> Op<String> {
    Op::Delete { by, spans: text.delete(by, at..at + 1).unwrap() }
}
/// Three replicas that have `abc`.
fn three() -> (Text, Text, Text) {
    let mut a = Text::new();
    let abc = insert(&mut a, dot(0, 1), 0, "abc");
    let (mut b, mut c) = (Text::new(), Text::new());
    for text in [&mut b, &mut c] {
        assert_eq!(text.apply(&abc), Ok(Applied::Now));
    }
    (a, b, c)
}

/// `c` is deleted by the first and, at the same time, by the second. Everyone has the first's deletion before the second's is
/// stable, and says so; the third purges. Then the second writes where `c` was.
#[test]
fn nobody_names_what_another_may_have_purged() {
    let (mut a, mut b, mut c) = three();
    let by_b = delete(&mut b, dot(1, 10), 2);
    b.retire(&line(&[]));
    let by_a = delete(&mut a, dot(0, 10), 2);
    c.apply(&by_a).unwrap();
    c.retire(&line(&[]));
    b.apply(&by_a).unwrap();
    a.apply(&by_b).unwrap();
    c.apply(&by_b).unwrap();
    let stable = line(&[(0, 10)]);
    for text in [&mut a, &mut b] {
        text.retire(&stable);
    }
    assert_eq!(c.purge(&stable), Purged { forgotten: 1, kept: 0 });
    let x = insert(&mut b, dot(1, 11), 2, "x");
    for text in [&mut a, &mut c] {
        assert_eq!(text.apply(&x), Ok(Applied::Now), "it hangs on what the third has purged");
    }
    assert_eq!([a.content(), b.content(), c.content()], ["abx", "abx", "abx"]);
}

/// The deletion's number comes with a part of a state, its effect only later, as an operation.
#[test]
fn a_deletion_that_was_known_before_it_came_kills_quietly() {
    let (mut a, mut b, mut c) = three();
    let by_a = delete(&mut a, dot(0, 10), 2);
    c.apply(&by_a).unwrap();
    // The second has the beginning of the first's state, which knows of the deletion and does not show it.
    let known = a.delta().split(1).remove(0);
    assert_eq!(known.seen(), &line(&[(0, 1)]), "the beginning only");
    b.join(&known).unwrap();
    b.retire(&line(&[]));
    b.apply(&by_a).unwrap();
    let stable = line(&[(0, 10)]);
    a.retire(&stable);
    b.retire(&stable);
    assert_eq!(c.purge(&stable).forgotten, 1);
    let x = insert(&mut b, dot(1, 11), 2, "x");
    for text in [&mut a, &mut c] {
        assert_eq!(text.apply(&x), Ok(Applied::Now), "it hangs on what the third has purged");
    }
    assert_eq!([a.content(), b.content(), c.content()], ["abx", "abx", "abx"]);
}
