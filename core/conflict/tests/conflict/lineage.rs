//! What was there before, read off the siblings: the same on every node, and said only where it can be told.

use crate::world::json;
use dwcp_conflict::lineage::{Envelope, Line, Name, POINTS_MAX, Written, meet};
use dwcp_conflict::{Base, Class, Place, Pointer, Policy, Question, Value, Writer};
use dwcp_crdt::{Dot, Hlc, ReplicaIndex};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A place, and all that was ever written there.
#[derive(Default)]
struct History {
    all: Vec<(Written, BTreeSet<usize>)>,
}

fn whole(n: i64) -> Value {
    Value::Int(n)
}

impl History {
    /// A write by a replica that sees these writes. Counters: its value is what it sees, and one more.
    fn write(&mut self, replica: u16, sees: &[usize]) -> usize {
        let seen: Vec<Written> = sees.iter().map(|i| self.all[*i].0.clone()).collect();
        let (name, shown) = self.shown(&seen);
        let value = whole(shown.unwrap_or(0) + 1);
        let line = Line::over(&seen, (name, shown.map(whole).as_ref()), &|_| false);
        self.add(
            replica,
            sees,
            Envelope { writer: Writer::new("w", "r", "eu"), value: Some(value), resolves: None, line },
        )
    }
    /// A resolution by a replica that sees these: the changes together.
    fn resolve(&mut self, replica: u16, sees: &[usize]) -> usize {
        let seen: Vec<Written> = sees.iter().map(|i| self.all[*i].0.clone()).collect();
        let (name, shown) = self.shown(&seen);
        let Name::Resolution(bytes) = name else { unreachable!("of several") };
        let line = meet(&seen).line_of_resolution();
        let value = shown.map(whole);
        self.add(
            replica,
            sees,
            Envelope {
                writer: Writer::new("w", "r", "eu"),
                value,
                resolves: Some((bytes, Hlc::at(1))),
                line,
            },
        )
    }
    fn add(&mut self, replica: u16, sees: &[usize], envelope: Envelope) -> usize {
        let dot = Dot::new(ReplicaIndex(replica), self.all.len() as u64 + 1);
        let bytes = envelope.to_bytes();
        let envelope = Envelope::from_bytes(&bytes).expect("what was written is read");
        assert_eq!(envelope.to_bytes(), bytes);
        let mut behind: BTreeSet<usize> = sees.iter().copied().collect();
        sees.iter().for_each(|i| behind.extend(self.all[*i].1.iter().copied()));
        self.all.push((Written { dot, at: Hlc::at(self.all.len() as u64), envelope }, behind));
        self.all.len() - 1
    }
    /// What they come to: nothing if that can't be told.
    fn shown(&self, seen: &[Written]) -> (Name, Option<i64>) {
        let m = meet(seen);
        let name = Name::resolution(m.names.iter().copied(), &[b"rules"]);
        let n = |v: &Option<Value>| if let Some(Value::Int(n)) = v { *n } else { 0 };
        let all: Vec<i64> = m.siblings.iter().map(|s| n(&s.value)).collect();
        let shown = match (&m.base, &all[..]) {
            (_, []) => None,
            (_, [one]) => Some(*one),
            (Base::Unknown, more) => more.iter().max().copied(),
            (base, more) => {
                let base = n(&base.clone().value());
                Some(base + more.iter().map(|v| v - base).sum::<i64>())
            }
        };
        (name, shown)
    }
    fn written(&self, which: &[usize]) -> Vec<Written> {
        which.iter().map(|i| self.all[*i].0.clone()).collect()
    }
}

#[test]
fn two_writes_over_one_have_it_behind_them() {
    let mut h = History::default();
    let first = h.write(1, &[]);
    let (a, b) = (h.write(1, &[first]), h.write(2, &[first]));
    let m = meet(&h.written(&[a, b]));
    assert_eq!((m.base, m.siblings.len()), (Base::Known(whole(1)), 2));
    assert_eq!(meet(&h.written(&[first])).base, Base::Nothing);
    let (x, y) = (h.write(1, &[]), h.write(2, &[]));
    assert_eq!(meet(&h.written(&[x, y])).base, Base::Nothing, "nothing was there: that is known");
    let deeper = h.write(1, &[a]);
    assert_eq!(meet(&h.written(&[deeper, b])).base, Base::Known(whole(1)));
}

/// A cut between two regions who have both siblings: each settles, each goes on, and nothing counts twice.
#[test]
fn resolutions_of_one_conflict_on_two_sides_of_a_cut_are_one() {
    let mut h = History::default();
    let first = h.write(1, &[]);
    let (a, b) = (h.write(1, &[first]), h.write(2, &[first]));
    let (r, s) = (h.resolve(3, &[a, b]), h.resolve(4, &[a, b]));
    let m = meet(&h.written(&[r, s]));
    assert_eq!((m.siblings.len(), m.siblings[0].value.clone()), (1, Some(whole(3))));
    let (x, y) = (h.write(3, &[r]), h.write(4, &[s]));
    let m = meet(&h.written(&[x, y]));
    assert_eq!(m.base, Base::Known(whole(3)), "the resolution, whoever made it");
    assert_eq!(h.shown(&h.written(&[x, y])).1, Some(5));
    // Who went on from one of them has seen the other.
    let m = meet(&h.written(&[x, s]));
    assert_eq!((m.siblings.len(), m.siblings[0].dot), (1, h.all[x].0.dot));
}

/// What was meant at 5 s was settled at 20 s; a person who wrote at 10 s wrote later than that.
#[test]
fn a_resolution_does_not_beat_what_a_person_wrote_before_it_was_settled() {
    let policy = r#"{"policy":"p","version":1,"activates":0,"rule":[{"name":"rest","use":"last-writer"}]}"#;
    let policy = Policy::read(&json(policy)).unwrap();
    let place = Place::new("vm", "a", Pointer::root().join("cpu"));
    let written = |replica: u16, second: u64, value: i64, resolves, line| Written {
        dot: Dot::new(ReplicaIndex(replica), second),
        at: Hlc::at(second * 1_000),
        envelope: Envelope { writer: Writer::new("w", "r", "eu"), value: Some(whole(value)), resolves, line },
    };
    let alone = || Line::over(&[], (Name::Beginning, None), &|_| false);
    let ask = |all: &[Written]| {
        let m = meet(all);
        let (base, siblings) = (m.base.as_ref(), &m.siblings[..]);
        let question = Question { place: &place, class: Class::Value, field: None, base, siblings };
        let answer = policy.settle(&question);
        (answer.settled.outcome.shown().cloned(), answer.meant(&question), m)
    };
    let (first, second) = (written(1, 4, 40, None, alone()), written(2, 5, 50, None, alone()));
    let (shown, meant, m) = ask(&[first, second]);
    assert_eq!((&shown, meant), (&Some(whole(50)), Hlc::at(5_000)));
    let Name::Resolution(name) = Name::resolution(m.names.iter().copied(), &[policy.digest()]) else {
        unreachable!()
    };
    let settled = |meant| written(1, 20, 50, Some((name, meant)), m.line_of_resolution());
    let person = written(3, 10, 100, None, alone());
    assert_eq!(ask(&[settled(meant), person.clone()]).0, Some(whole(100)));
    assert_eq!(ask(&[settled(Hlc::at(20_000)), person]).0, Some(whole(50)), "the mutant: it would be lost");
}

/// A criss-cross: what two siblings share besides the point that all share would count twice.
#[test]
fn what_would_count_twice_is_not_told() {
    let mut h = History::default();
    let first = h.write(1, &[]);
    let (a, b) = (h.write(1, &[first]), h.write(2, &[first]));
    let both = h.write(3, &[a, b]);
    let one = h.write(4, &[a]);
    assert_eq!(meet(&h.written(&[both, one])).base, Base::Unknown);
    assert_eq!(meet(&h.written(&[one, b])).base, Base::Known(whole(1)));
}

#[test]
fn a_line_that_is_cut_short_says_less_and_nothing_else() {
    let mut h = History::default();
    let first = h.write(1, &[]);
    let old = h.write(2, &[first]);
    let mut last = first;
    for _ in 0..POINTS_MAX {
        assert_eq!(meet(&h.written(&[last, old])).base, Base::Known(whole(1)));
        last = h.write(1, &[last]);
    }
    last = h.write(1, &[last]);
    assert_eq!(meet(&h.written(&[last, old])).base, Base::Unknown);
    // Where all are known to be, lines end.
    let dot = h.all[last].0.dot;
    let line = Line::over(&h.written(&[last]), (Name::Beginning, None), &|d| d == dot);
    assert_eq!((line.points.len(), line.points[0].name), (1, Name::Write(dot)));
}

#[test]
fn bytes_that_are_no_envelope_are_refused() {
    let mut h = History::default();
    let first = h.write(1, &[]);
    let (a, b) = (h.write(1, &[first]), h.write(2, &[first]));
    let r = h.resolve(3, &[a, b]);
    let last = h.write(3, &[r]);
    let bytes = h.all[last].0.envelope.to_bytes();
    for n in 0..bytes.len() {
        assert!(Envelope::from_bytes(&bytes[..n]).is_err(), "{n} bytes of it");
    }
    let mut more = bytes;
    more.push(0);
    assert!(Envelope::from_bytes(&more).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..Default::default() })]

    /// Counters that are written at random, seen in part at random and resolved at random: whatever siblings meet, if what was there before
    /// is told, the changes together are exactly the increments that lie behind them.
    #[test]
    fn what_is_told_never_counts_twice(steps in prop::collection::vec((0u16..4, any::<u16>(), 0u8..5), 1..24), pick in any::<u32>()) {
        let mut h = History::default();
        // Which of them are increments; and whether all behind each could be told.
        let mut plain: Vec<bool> = Vec::new();
        let mut sound: Vec<bool> = Vec::new();
        for (replica, mask, kind) in steps {
            let n = h.all.len();
            let some: Vec<usize> = (0..n).filter(|i| mask >> (i % 16) & 1 == 1).collect();
            // A register shows what nothing that is seen has superseded.
            let live: Vec<usize> =
                some.iter().copied().filter(|i| !some.iter().any(|j| h.all[*j].1.contains(i))).collect();
            let m = meet(&h.written(&live));
            let told = m.siblings.len() < 2 || m.base.is_known();
            sound.push(told && live.iter().all(|i| sound[*i]));
            plain.push(kind > 0 || m.siblings.len() < 2);
            if plain[n] { h.write(replica, &live) } else { h.resolve(replica, &live) };
        }
        let n = h.all.len();
        let some: Vec<usize> = (0..n).filter(|i| pick >> (i % 32) & 1 == 1).collect();
        let mut live: Vec<usize> =
            some.iter().copied().filter(|i| !some.iter().any(|j| h.all[*j].1.contains(i))).collect();
        let m = meet(&h.written(&live));
        live.reverse();
        prop_assert_eq!(&meet(&h.written(&live)), &m, "in any order");
        if live.iter().all(|i| sound[*i]) && (m.siblings.len() < 2 || m.base.is_known()) && !live.is_empty() {
            let mut behind: BTreeSet<usize> = live.iter().copied().collect();
            live.iter().for_each(|i| behind.extend(h.all[*i].1.iter().copied()));
            let want = behind.iter().filter(|i| plain[**i]).count() as i64;
            prop_assert_eq!(h.shown(&h.written(&live)).1, Some(want));
        }
    }
}
