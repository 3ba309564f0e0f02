//! The laws of a join, for each kind alone and for each nesting to depth three.

use dwcp_crdt::address::Kind;
use dwcp_crdt::code::{Reader, Writer};
use dwcp_crdt::edit::Change;
use dwcp_crdt::fingerprint::Secret;
use dwcp_crdt::space::Field;
use dwcp_crdt::types::State;
use dwcp_crdt::{Hlc, ReplicaIndex};
use proptest::prelude::*;

const LEAVES: [Kind; 8] = [
    Kind::Lww,
    Kind::Mv,
    Kind::GCounter,
    Kind::PnCounter,
    Kind::Bounded,
    Kind::GSet,
    Kind::TwoPhaseSet,
    Kind::OrSet,
];

#[derive(Clone, Debug)]
struct Step {
    replica: usize,
    /// Which field at each level, if the state is a map.
    fields: [u8; 3],
    what: u8,
    amount: u8,
    /// Whom it joins before.
    from: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    let parts = (0usize..3, any::<[u8; 3]>(), any::<u8>(), 0u8..5, proptest::option::of(0usize..3));
    parts.prop_map(|(replica, fields, what, amount, from)| Step { replica, fields, what, amount, from })
}

fn path(depth: usize, leaf: Kind, step: &Step) -> Vec<Field> {
    let kind = |level: usize| if level + 1 == depth { leaf } else { Kind::Map };
    (0..depth).map(|l| Field { name: vec![step.fields[l] % 2], kind: kind(l) }).collect()
}

fn change(kind: Kind, step: &Step) -> Change {
    let element = vec![step.amount % 3];
    match (kind, step.what % 5) {
        (_, 0) => Change::Delete,
        (k, _) if k.is_register() => Change::Write(vec![step.amount]),
        (Kind::PnCounter | Kind::Bounded, 1) => Change::Decrease(u64::from(step.amount)),
        (Kind::Bounded, 2) => Change::Transfer {
            to: ReplicaIndex((step.replica as u16 + 1) % 3),
            amount: u64::from(step.amount),
        },
        (k, _) if k.is_counter() => Change::Increase(u64::from(step.amount)),
        (Kind::OrSet | Kind::TwoPhaseSet, 1) => Change::Remove(element),
        _ => Change::Add(element),
    }
}

/// Three replicas' states after the steps, and all the deltas that led there.
fn play(depth: usize, leaf: Kind, steps: &[Step]) -> (Vec<State>, Vec<State>) {
    let top = if depth == 0 { leaf } else { Kind::Map };
    let mut states = vec![State::new(top); 3];
    let mut deltas = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        if let Some(from) = step.from {
            let other = states[from].clone();
            states[step.replica].join(&other);
        }
        let me = ReplicaIndex(step.replica as u16);
        let hlc = Hlc::at(n as u64 / 3);
        let before = states[step.replica].clone();
        if let Ok(delta) = before.mutate(me, hlc, &path(depth, leaf, step), &change(leaf, step)) {
            states[step.replica].join(&delta);
            deltas.push(delta);
        }
    }
    (states, deltas)
}

fn joined(all: &[&State]) -> State {
    let mut out = all[0].clone();
    all[1..].iter().for_each(|s| out.join(s));
    out
}

fn bytes(s: &State) -> Vec<u8> {
    let mut w = Writer::new();
    s.encode(&mut w);
    w.into_bytes()
}

fn laws(depth: usize, leaf: Kind, steps: &[Step], shuffle: u64) -> Result<(), TestCaseError> {
    let (s, deltas) = play(depth, leaf, steps);
    let [a, b, c] = &s[..] else { unreachable!() };
    prop_assert_eq!(joined(&[a, b]), joined(&[b, a]), "commutes");
    prop_assert_eq!(joined(&[&joined(&[a, b]), c]), joined(&[a, &joined(&[b, c])]), "associates");
    prop_assert_eq!(&joined(&[a, a]), a, "is idempotent");
    let whole = joined(&[a, b, c]);
    prop_assert_eq!(bytes(&joined(&[c, b, a, b])), bytes(&whole), "equal states are equal bytes");

    let mut order: Vec<&State> = deltas.iter().chain(deltas.iter().step_by(3)).collect();
    let mut seed = shuffle;
    for i in (1..order.len()).rev() {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        order.swap(i, (seed >> 33) as usize % (i + 1));
    }
    let mut from_deltas = State::new(whole.kind());
    order.into_iter().for_each(|d| from_deltas.join(d));
    prop_assert_eq!(&from_deltas, &whole, "deltas in any order, some twice, are the state");

    let secret = Secret::new([9; 32]);
    for limit in [1, 3] {
        let parts = whole.split(limit);
        let refs: Vec<&State> = parts.iter().rev().collect();
        prop_assert_eq!(&joined(&refs), &whole, "parts in any order are the whole");
        let sum = parts.iter().fold(0u128, |s, p| s.wrapping_add(p.fingerprint(&secret)));
        prop_assert_eq!(sum, whole.fingerprint(&secret), "fingerprints add up");
        prop_assert_eq!(parts.iter().map(State::size).sum::<usize>(), whole.size());
    }
    let raw = bytes(&whole);
    let mut r = Reader::new(&raw);
    prop_assert_eq!(State::decode(&mut r), Ok(whole.clone()));
    prop_assert!(r.is_empty());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_join_is_a_join_for_each_kind_and_nesting(
        steps in proptest::collection::vec(step(), 1..24), shuffle: u64
    ) {
        for leaf in LEAVES {
            for depth in 0..=3 {
                laws(depth, leaf, &steps, shuffle)?;
            }
        }
    }

    #[test]
    fn noise_is_no_state(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(s) = State::decode(&mut Reader::new(&bytes)) {
            let mut again = s.clone();
            again.join(&s);
            prop_assert_eq!(again, s);
        }
    }
}
