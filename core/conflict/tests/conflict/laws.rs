//! The laws of merging, over generated schemas and documents.

use crate::world::{Source, admitted, document, edited, has_counter, schema};
use dwcp_conflict::{Clash, Class, Document, Merged, Schema, Side, merge};
use dwcp_crdt::{Dot, ReplicaIndex};
use proptest::prelude::*;

fn side(n: u16, document: Option<&Document>) -> Side<'_> {
    Side { dot: Dot::new(ReplicaIndex(n), 1), role: if n == 1 { "boss" } else { "guest" }, document }
}

fn merged(s: &Schema, base: Option<&Document>, sides: &[Side<'_>]) -> Merged {
    let m = merge(s, base, sides).expect("sides of one schema merge");
    if let Some(d) = &m.document {
        assert_eq!(&admitted(s, d.value().clone()), d, "law 5: the result fits, in its one form");
        for c in &m.clashes {
            assert_eq!(d.value().at(&c.at), c.stands.as_ref(), "a clash's pointer finds what stands: {c:?}");
        }
    }
    m
}

/// Three documents that share a base; now and then one is deleted.
struct Case {
    schema: Schema,
    base: Option<Document>,
    sides: Vec<Option<Document>>,
}

fn case(bytes: &[u8]) -> Case {
    let mut from = Source(bytes);
    let schema = schema(&mut from);
    let base = (from.below(5) > 0).then(|| document(&schema, None, &mut from));
    let sides = (0..3).map(|_| (from.below(8) > 0).then(|| document(&schema, base.as_ref(), &mut from)));
    let sides = sides.collect();
    Case { base, sides, schema }
}

fn renamed(clashes: &[Clash], names: &[usize]) -> Vec<Clash> {
    let mut all = clashes.to_vec();
    for c in &mut all {
        c.sides.iter_mut().for_each(|(n, _)| *n = names[*n]);
        c.sides.sort();
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn a_side_that_changed_nothing_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let c = case(&bytes);
        let x = c.sides[0].as_ref();
        // A copy that shares no memory.
        let copy = c.base.as_ref().map(|b| admitted(&c.schema, serde_json::from_str(&b.value().to_string()).unwrap()));
        for sides in [[side(1, x), side(2, c.base.as_ref())], [side(2, copy.as_ref()), side(1, x)]] {
            let m = merged(&c.schema, c.base.as_ref(), &sides);
            prop_assert_eq!(m.document.as_ref(), x);
            prop_assert!(m.clashes.is_empty(), "{:?}", m.clashes);
        }
    }

    #[test]
    fn what_all_did_alike_is_done(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let c = case(&bytes);
        let x = c.sides[0].as_ref();
        let m = merged(&c.schema, c.base.as_ref(), &[side(1, x), side(1, x)]);
        prop_assert_eq!(m.document.as_ref(), x, "one write twice");
        prop_assert!(m.clashes.is_empty());
        if !has_counter(&c.schema) {
            let m = merged(&c.schema, c.base.as_ref(), &[side(1, x), side(2, x), side(3, x)]);
            prop_assert_eq!(m.document.as_ref(), x);
            prop_assert!(m.clashes.is_empty());
        }
    }

    #[test]
    fn the_order_of_sides_is_a_matter_of_names(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let c = case(&bytes);
        let all: Vec<Side<'_>> = c.sides.iter().zip(1..).map(|(d, n)| side(n, d.as_ref())).collect();
        let m = merged(&c.schema, c.base.as_ref(), &all);
        for names in [[1, 0, 2], [2, 1, 0], [1, 2, 0]] {
            let other = merged(&c.schema, c.base.as_ref(), &names.map(|n| all[n]));
            prop_assert_eq!(&other.document, &m.document);
            prop_assert_eq!(renamed(&other.clashes, &names), renamed(&m.clashes, &[0, 1, 2]));
        }
    }

    #[test]
    fn edits_of_different_fields_do_not_clash(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut from = Source(&bytes);
        let s = schema(&mut from);
        let base = document(&s, None, &mut from);
        let x = edited(&s, &base, &mut from, |i| i % 2 == 0);
        let y = edited(&s, &base, &mut from, |i| i % 2 == 1);
        let m = merged(&s, Some(&base), &[side(1, Some(&x)), side(2, Some(&y))]);
        prop_assert!(m.clashes.is_empty(), "{:?}", m.clashes);
        let got = m.document.unwrap();
        for (i, (at, _)) in s.fields().iter().filter(|(at, _)| at.segments().count() == 1).enumerate() {
            let want = if i % 2 == 0 { &x } else { &y };
            prop_assert_eq!(got.value().at(at), want.value().at(at));
        }
    }

    /// C2 is said of owned fields only, and only if the owner is among those who clash and not alone.
    #[test]
    fn intent_is_the_owners_affair(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let c = case(&bytes);
        let all: Vec<Side<'_>> = c.sides.iter().zip(1..).map(|(d, n)| side(n, d.as_ref())).collect();
        for clash in merged(&c.schema, c.base.as_ref(), &all).clashes {
            let boss = clash.sides.iter().any(|(n, _)| *n == 0);
            prop_assert!(clash.class != Class::Intent || boss);
        }
    }
}
