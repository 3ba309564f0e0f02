//! A stroke is its edit: what it makes, and where it is refused.

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit, Stroke};
use dwcp_crdt::space::{Config, Missing};
use dwcp_crdt::{ReplicaIndex, Roster, Space};
use dwcp_env::NodeId;
use proptest::prelude::*;

const NOW: u64 = 1_790_000_000_000;
const KEYS: [&str; 4] = ["a", "key:0001", "key:000000001", "key:000000002"];

fn space(me: u16) -> Space {
    let mut s = Space::new(Config::new([5; 32]), Roster::founding((0..2).map(NodeId)), ReplicaIndex(me));
    s.open();
    s
}

/// What happens: somebody makes a stroke, or any other edit, or all is exchanged.
#[derive(Clone, Debug)]
enum Step {
    Stroke { by: usize, key: usize, what: u8, n: i64 },
    Edit { by: usize, key: usize, what: u8 },
    Exchange,
}

fn step() -> impl Strategy<Value = Step> {
    let n = prop_oneof![-3i64..4, Just(i64::MAX), Just(i64::MIN)];
    prop_oneof![
        8 => (0usize..2, 0..KEYS.len(), 0u8..3, n).prop_map(|(by, key, what, n)| Step::Stroke { by, key, what, n }),
        2 => (0usize..2, 0..KEYS.len(), 0u8..5).prop_map(|(by, key, what)| Step::Edit { by, key, what }),
        1 => Just(Step::Exchange),
    ]
}

fn other(key: &str, what: u8) -> Edit {
    match what {
        0 => Edit::new(Address::key(Kind::Lww, key), Change::Delete),
        1 => Edit::new(Address::key(Kind::PnCounter, key), Change::Delete),
        2 => Edit::new(Address::key(Kind::OrSet, key), Change::Delete),
        3 => Edit::new(Address::key(Kind::OrSet, key), Change::Remove(b"element 1".to_vec())),
        _ => Edit::new(Address::key(Kind::GCounter, key), Change::Increase(1)),
    }
}

fn exchange(pair: &mut [Space; 2]) {
    for (from, to) in [(0, 1), (1, 0)] {
        let Missing::Operations { batches, .. } = pair[from].missing(pair[to].version(), usize::MAX) else {
            panic!("nothing was trimmed")
        };
        for batch in batches {
            pair[to].receive(&batch, NOW).unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]
    #[test]
    fn a_stroke_makes_what_its_edit_makes(steps in proptest::collection::vec(step(), 1..80)) {
        let (mut edits, mut strokes) = ([space(0), space(1)], [space(0), space(1)]);
        for (at, step) in steps.into_iter().enumerate() {
            let now = NOW + at as u64 / 3;
            match step {
                Step::Exchange => {
                    exchange(&mut edits);
                    exchange(&mut strokes);
                }
                Step::Edit { by, key, what } => {
                    let edit = [other(KEYS[key], what)];
                    prop_assert_eq!(edits[by].make(now, &edit), strokes[by].make(now, &edit));
                }
                Step::Stroke { by, key, what, n } => {
                    let (key, value) = (KEYS[key].as_bytes(), format!("element {n}"));
                    let stroke = match what {
                        0 => Stroke::Write { key, value: value.as_bytes() },
                        1 => Stroke::Count { key, by: n },
                        _ => Stroke::Add { key, element: value.as_bytes() },
                    };
                    let made = edits[by].make(now, &[stroke.edit()]);
                    prop_assert_eq!(strokes[by].make_stroke(now, &stroke), made);
                }
            }
            for (a, b) in edits.iter().zip(&strokes) {
                prop_assert_eq!((a.version(), a.fingerprint(), a.logged()), (b.version(), b.fingerprint(), b.logged()));
            }
        }
        let made = |s: &Space| s.made(s.me(), 0, u64::MAX, usize::MAX);
        prop_assert!(edits.iter().zip(&strokes).all(|(a, b)| made(a) == made(b)), "byte for byte");
    }
}

#[test]
fn a_stroke_beyond_a_bound_is_refused_as_its_edit_is() {
    let mut s = space(0);
    let long = vec![7; dwcp_crdt::address::NAME_MAX + 1];
    let most = Stroke::Count { key: b"n", by: i64::MIN };
    for _ in 0..2 {
        // Twice half of all: the second would be one too many.
        let fits = s.clone().make(NOW, &[most.edit()]);
        assert_eq!(s.make_stroke(NOW, &most), fits);
    }
    for stroke in [
        most,
        Stroke::Write { key: &long, value: b"" },
        Stroke::Add { key: &long, element: b"" },
        Stroke::Add { key: b"s", element: &long },
        Stroke::Count { key: &long, by: 1 },
    ] {
        let (version, refused) = (s.version().clone(), s.clone().make(NOW, &[stroke.edit()]));
        assert!(refused.is_err(), "{stroke:?}");
        assert_eq!(s.make_stroke(NOW, &stroke), refused);
        assert_eq!(s.version(), &version);
    }
}
