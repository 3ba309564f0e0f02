//! Histories that are known to be bad, and beside each a good one that is much like it.

use super::*;
use crate::record::What;
use dwcp_env::{Instant, NodeId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
struct State {
    elements: BTreeSet<(u64, u64)>,
    totals: BTreeMap<u64, i128>,
    values: BTreeMap<u64, u64>,
    fields: BTreeSet<(u64, u64)>,
    lists: BTreeMap<u64, Vec<u64>>,
}

impl Holds for State {
    fn contains(&self, set: u64, element: u64) -> bool {
        self.elements.contains(&(set, element))
    }
    fn total(&self, counter: u64) -> Option<i128> {
        self.totals.get(&counter).copied()
    }
    fn value(&self, register: u64) -> Option<Vec<u8>> {
        self.values.get(&register).map(|v| v.to_be_bytes().to_vec())
    }
    fn field(&self, map: u64, field: u64) -> bool {
        self.fields.contains(&(map, field))
    }
    fn list(&self, list: u64) -> Vec<Vec<u8>> {
        let list = self.lists.get(&list).into_iter().flatten();
        list.map(|e| e.to_be_bytes().to_vec()).collect()
    }
}

const OK: Outcome = Outcome::Ok;
const FAIL: Outcome = Outcome::Fail;
const INFO: Outcome = Outcome::Info;

fn log(deeds: &[(Deed, Outcome)]) -> Log {
    let at = |(deed, outcome): &(Deed, Outcome)| (0, What::Eventual(deed.clone()), *outcome);
    told(deeds.iter().map(at))
}

/// What was done at which node, one after the other.
fn told(all: impl Iterator<Item = (u64, What, Outcome)>) -> Log {
    let mut log = Log::default();
    for (node, what, outcome) in all {
        let r = log.begin(0, 0, Instant::ZERO, what);
        log.records[r].node = (node > 0).then_some(NodeId(node));
        if outcome != Outcome::Open {
            log.end(r, Instant::ZERO, outcome, 0);
        }
    }
    log
}

fn add(element: u64) -> Deed {
    Deed::Add { key: 1, element }
}
fn remove(element: u64, seen: u64) -> Deed {
    Deed::Remove { of: Of::Set, key: 1, element, seen }
}
fn count(by: u64) -> Deed {
    Deed::Count { key: 1, by }
}
fn write(value: u64) -> Deed {
    Deed::Write { key: 1, value }
}
fn field(field: u64) -> Deed {
    Deed::Field { key: 1, field }
}
fn push(element: u64, many: u64) -> Deed {
    Deed::Push { key: 1, element, many, left: false }
}
fn push_left(element: u64, many: u64) -> Deed {
    Deed::Push { key: 1, element, many, left: true }
}
fn empty(of: Of, seen: &[u64]) -> Deed {
    Deed::Empty { of, key: 1, seen: seen.to_vec() }
}

#[test]
fn each_kind_of_loss_is_seen() {
    let state = State {
        elements: BTreeSet::from([(1, 10), (1, 11)]),
        totals: BTreeMap::from([(1, 5)]),
        values: BTreeMap::from([(1, 77)]),
        fields: BTreeSet::from([(1, 9)]),
        lists: BTreeMap::new(),
    };
    type Told = [(Deed, Outcome)];
    let table: &[(&Told, Option<u64>)] = &[
        (&[(add(10), OK), (add(11), INFO), (add(12), INFO), (add(13), FAIL)], None),
        (&[(add(14), OK)], Some(1)),
        (&[(add(10), FAIL)], Some(0)),
        (&[(add(14), OK), (remove(14, 1), INFO)], None),
        (&[(add(14), OK), (remove(14, 0), OK)], None),
        (&[(add(10), OK), (remove(10, 1), OK)], Some(1)),
        // The stronger promise of two is kept, whichever came first.
        (&[(add(10), OK), (remove(10, 1), OK), (remove(10, 0), OK)], Some(1)),
        (&[(add(10), OK), (remove(10, 0), INFO), (remove(10, 1), OK)], Some(1)),
        (&[(count(3), OK), (count(2), INFO), (count(9), FAIL)], None),
        (&[(count(6), OK)], Some(1)),
        (&[(count(4), OK)], Some(0)),
        (&[(write(77), INFO), (write(1), OK)], None),
        (&[(write(1), OK)], Some(1)),
        (&[(field(9), OK), (field(8), INFO)], None),
        (&[(field(8), OK)], Some(1)),
    ];
    for (deeds, want) in table {
        let (lost, broken) = eventual(&log(deeds), &state, &Excuses::NONE);
        assert_eq!(broken.is_some().then_some(lost), *want, "{deeds:?}: {broken:?}");
        // What was no promise can't be broken; what was refused must not be there all the same.
        let (lost, broken) =
            eventual(&log(deeds), &state, &Excuses { may_be_lost: &|_| true, ..Excuses::NONE });
        let false_whatever = deeds.contains(&(add(10), FAIL)) || deeds.contains(&(count(4), OK));
        assert_eq!((lost, broken.is_some()), (0, false_whatever), "{deeds:?}: {broken:?}");
    }
}

/// What is done at which node, one after the other; what is there then; a part of what is said of it.
type Row<'a> = (&'a [(u64, &'a [Deed], Outcome)], State, &'a str);

fn judged(rows: &[Row<'_>]) {
    for (deeds, state, want) in rows {
        let what = |deeds: &[Deed]| match deeds {
            [one] => What::Eventual(one.clone()),
            several => What::Together(several.to_vec()),
        };
        let log = told(deeds.iter().map(|(node, deeds, outcome)| (*node, what(deeds), *outcome)));
        let (_, broken) = eventual(&log, state, &Excuses::NONE);
        let said = broken.map(|b| b.detail).unwrap_or_default();
        assert!(
            if want.is_empty() { said.is_empty() } else { said.contains(want) },
            "{deeds:?}: {said:?}, not {want:?}"
        );
    }
}

fn elements(all: &[u64]) -> State {
    State { elements: all.iter().map(|e| (1, *e)).collect(), ..State::default() }
}
fn fields(all: &[u64]) -> State {
    State { fields: all.iter().map(|f| (1, *f)).collect(), ..State::default() }
}
fn list(all: &[u64]) -> State {
    State { lists: BTreeMap::from([(1, all.to_vec())]), ..State::default() }
}
fn shows(value: u64) -> State {
    State { values: BTreeMap::from([(1, value)]), ..State::default() }
}

#[test]
fn what_goes_again_goes_for_good_and_takes_nothing_along() {
    let gone = |of, seen| Deed::Remove { of, key: 1, element: 20, seen };
    let open = Outcome::Open;
    judged(&[
        (&[(1, &[field(20)], OK), (2, &[gone(Of::Map, 1)], OK)], fields(&[]), ""),
        (&[(1, &[field(20)], OK), (2, &[gone(Of::Map, 0)], OK)], fields(&[20]), ""),
        (
            &[(1, &[field(20)], OK), (2, &[gone(Of::Map, 1)], OK)],
            fields(&[20]),
            "field 20 of map 1 was removed",
        ),
        (
            &[(1, &[push(20, 1)], OK), (2, &[gone(Of::List, 1)], OK)],
            list(&[20]),
            "removed and is there again",
        ),
        (&[(1, &[push(20, 1)], OK), (2, &[gone(Of::List, 2)], OK)], list(&[]), "was there 2 times"),
        (&[(1, &[push(20, 2)], OK), (2, &[gone(Of::List, 1)], OK)], list(&[]), "element 21 of list 1"),
        // An emptying: what it showed is gone, what it did not show is there.
        (&[(1, &[add(20)], OK), (2, &[empty(Of::Set, &[20])], OK)], elements(&[]), ""),
        (
            &[(1, &[add(20)], OK), (2, &[empty(Of::Set, &[20])], OK)],
            elements(&[20]),
            "removed and is there again",
        ),
        (&[(1, &[add(20)], OK), (2, &[empty(Of::Set, &[])], OK)], elements(&[20]), ""),
        (
            &[(1, &[add(20)], OK), (2, &[empty(Of::Set, &[])], OK)],
            elements(&[]),
            "acknowledged and is not there",
        ),
        (
            &[(1, &[field(20)], OK), (2, &[empty(Of::Map, &[])], OK)],
            fields(&[]),
            "acknowledged and is not there",
        ),
        (
            &[(1, &[push(20, 1)], OK), (2, &[empty(Of::List, &[])], OK)],
            list(&[]),
            "acknowledged and is not there",
        ),
        // One of which nobody knows may have taken anything, also what came later; one that was not done nothing.
        (&[(2, &[empty(Of::Set, &[])], INFO), (1, &[add(20)], OK)], elements(&[]), ""),
        (&[(1, &[add(20)], OK), (2, &[empty(Of::Set, &[])], open)], elements(&[]), ""),
        (&[(1, &[add(20)], OK), (2, &[empty(Of::Map, &[])], INFO)], elements(&[]), "is not there"),
        (&[(1, &[add(20)], OK), (2, &[empty(Of::Set, &[])], FAIL)], elements(&[]), "is not there"),
        // Who empties something has seen what its own node acknowledged.
        (&[(1, &[add(20)], OK), (1, &[empty(Of::Set, &[])], OK)], elements(&[20]), "was acknowledged by n1"),
        (&[(1, &[push(20, 2)], OK), (1, &[empty(Of::List, &[20])], OK)], list(&[21]), "acknowledged by n1"),
        (&[(1, &[add(20)], INFO), (1, &[empty(Of::Set, &[])], OK)], elements(&[20]), ""),
        (
            &[(1, &[add(20)], OK), (2, &[gone(Of::Set, 1)], INFO), (1, &[empty(Of::Set, &[])], OK)],
            elements(&[]),
            "",
        ),
    ]);
}

#[test]
fn a_transaction_is_there_as_a_whole() {
    let both = [add(20), field(30)];
    let with = |set: &[u64], map: &[u64]| State { fields: fields(map).fields, ..elements(set) };
    judged(&[
        (&[(1, &both, INFO)], with(&[20], &[30]), ""),
        (&[(1, &both, INFO)], with(&[], &[]), ""),
        (&[(1, &both, INFO)], with(&[20], &[]), "half of a transaction"),
        (&[(1, &both, Outcome::Open)], with(&[], &[30]), "half of a transaction"),
        (&[(1, &both, INFO), (2, &[empty(Of::Map, &[30])], OK)], with(&[20], &[]), ""),
        (&[(1, &both, INFO), (2, &[empty(Of::Map, &[30])], OK)], with(&[], &[]), "half of a transaction"),
        (&[(1, &both, INFO), (2, &[empty(Of::Map, &[])], INFO)], with(&[20], &[]), ""),
        (&[(1, &both, OK)], with(&[20], &[]), "field 30 of map 1 was acknowledged"),
        (&[(1, &both, FAIL)], with(&[20], &[]), "was refused and is there"),
    ]);
}

#[test]
fn a_register_shows_nothing_that_its_own_node_wrote_over() {
    let removed = |seen: &[u64]| [empty(Of::Register, seen)];
    judged(&[
        (&[(1, &[write(1)], OK), (1, &[write(2)], OK)], shows(2), ""),
        (
            &[(1, &[write(1)], OK), (1, &[write(2)], OK)],
            shows(1),
            "which n1 acknowledged, and then acknowledged 2",
        ),
        (&[(1, &[write(1)], OK), (2, &[write(2)], OK)], shows(1), ""),
        (&[(1, &[write(1)], INFO), (1, &[write(2)], OK)], shows(1), ""),
        (&[(1, &[write(1)], OK), (1, &[write(2)], INFO)], shows(1), ""),
        (
            &[(1, &[write(1)], OK), (1, &[add(9), write(2)], OK)],
            State { values: shows(1).values, ..elements(&[9]) },
            "then acknowledged 2",
        ),
        (&[(1, &[write(1)], OK), (1, &removed(&[]), OK)], shows(1), "and then removed it"),
        (&[(1, &[write(1)], OK), (2, &removed(&[1]), OK)], shows(1), "was removed and is there again"),
        (&[(1, &[write(1)], OK), (2, &removed(&[]), OK)], shows(1), ""),
        (&[(1, &[write(1)], OK), (2, &removed(&[]), OK)], State::default(), ""),
        (
            &[(2, &removed(&[]), OK), (1, &[write(1)], OK)],
            State::default(),
            "was written, 1, and is not there",
        ),
        (&[(2, &removed(&[]), INFO), (1, &[write(1)], OK)], State::default(), ""),
        (&[(1, &[write(1)], OK)], shows(5), "which nobody wrote"),
    ]);
}

#[test]
fn what_a_node_shows_of_a_counter_never_falls_and_is_no_more_than_was_asked_for() {
    let reads = |total| [Deed::Read { key: 1, total: Some(total) }];
    let nothing = [Deed::Read { key: 1, total: None }];
    let all = |total: i128| State { totals: BTreeMap::from([(1, total)]), ..State::default() };
    judged(&[
        (&[(1, &[count(3)], OK), (1, &reads(3), OK), (2, &reads(0), OK), (2, &reads(3), OK)], all(3), ""),
        (&[(1, &[count(3)], OK), (1, &reads(2), OK)], all(3), "was 2 at n1, which had acknowledged 3"),
        (&[(1, &[count(3)], OK), (1, &nothing, OK)], all(3), "was 0 at n1"),
        (&[(1, &[count(3)], INFO), (1, &reads(0), OK)], all(3), ""),
        (&[(1, &[count(3)], OK), (2, &reads(3), OK), (2, &reads(0), OK)], all(3), "which had shown 3"),
        (&[(1, &[count(3)], OK), (2, &reads(3), OK), (3, &reads(0), OK)], all(3), ""),
        (&[(1, &reads(3), OK), (1, &[count(3)], OK)], all(3), "was 3 at n1 when 0 had been asked for"),
        (
            &[(1, &[count(3)], FAIL), (1, &[count(1)], OK), (2, &reads(4), OK)],
            all(1),
            "when 1 had been asked",
        ),
    ]);
}

#[test]
fn what_was_no_promise_proves_nothing_of_what_came_after_it() {
    let both = What::Together(vec![add(20), field(30)]);
    let one = |deed: Deed| What::Eventual(deed);
    let half = State { fields: fields(&[]).fields, ..elements(&[]) };
    // The first of each was answered ahead of the disk, and so, where it says so, was the second.
    let table: [(What, What, bool, &State, bool); 5] = [
        (one(push(20, 1)), one(push(30, 1)), false, &list(&[30, 20]), false),
        (one(write(1)), one(write(2)), false, &shows(1), false),
        (one(count(3)), one(Deed::Read { key: 1, total: Some(0) }), false, &State::default(), false),
        (both.clone(), one(empty(Of::Map, &[30])), true, &half, false),
        (both, one(empty(Of::Map, &[30])), false, &half, true),
    ];
    for (first, second, both, state, wrong) in table {
        let log = told([(1, first, OK), (1, second, OK)].into_iter());
        let may_be_lost = |r: &Record| both || r.call_place == 1;
        let (_, broken) = eventual(&log, state, &Excuses { may_be_lost: &may_be_lost, ..Excuses::NONE });
        assert_eq!(broken.is_some(), wrong, "{log:?}: {broken:?}");
    }
}

#[test]
fn a_list_holds_each_element_once_and_in_an_order_that_its_pushers_knew() {
    let two: &[(u64, &[Deed], Outcome)] = &[(1, &[push(20, 1)], OK), (1, &[push(30, 1)], OK)];
    let left: &[(u64, &[Deed], Outcome)] = &[(1, &[push(20, 1)], OK), (1, &[push_left(30, 1)], OK)];
    let apart: &[(u64, &[Deed], Outcome)] = &[(1, &[push(20, 1)], OK), (2, &[push(30, 1)], OK)];
    let three: &[(u64, &[Deed], Outcome)] = &[(1, &[push(20, 3)], OK), (2, &[push(30, 1)], OK)];
    let three_left: &[(u64, &[Deed], Outcome)] = &[(1, &[push_left(20, 3)], OK)];
    let without: &[(u64, &[Deed], Outcome)] = &[
        (1, &[push(20, 3)], OK),
        (2, &[push(30, 1)], OK),
        (3, &[Deed::Remove { of: Of::List, key: 1, element: 21, seen: 1 }], OK),
    ];
    judged(&[
        (two, list(&[20, 30]), ""),
        (two, list(&[30, 20]), "pushed to the right end when it had 20"),
        (left, list(&[30, 20]), ""),
        (left, list(&[20, 30]), "pushed to the left end when it had 20"),
        (apart, list(&[30, 20]), ""),
        (apart, list(&[20, 30, 20]), "element 20 of list 1 is there more than once"),
        (apart, list(&[20, 30, 99]), "which nobody pushed"),
        (three, list(&[20, 21, 22, 30]), ""),
        (three, list(&[30, 20, 21, 22]), ""),
        (three, list(&[20, 30, 21, 22]), "were pushed as one"),
        (three, list(&[20, 22, 21, 30]), "were pushed as one"),
        (three_left, list(&[22, 21, 20]), ""),
        (three_left, list(&[20, 21, 22]), "were pushed as one"),
        (without, list(&[20, 22, 30]), ""),
        (without, list(&[20, 30, 22]), "were pushed as one"),
    ]);
}

#[test]
fn what_an_evicted_node_pushed_stands_together_if_not_in_its_order() {
    let pushes = |node| [push(20, 2), push(30, 1)].map(|deed| (node, What::Eventual(deed), OK)).into_iter();
    let excuses = Excuses { was_evicted: &|n| n == NodeId(1), ..Excuses::NONE };
    let broken = |node, at_end: &[u64]| eventual(&told(pushes(node)), &list(at_end), &excuses).1.is_some();
    assert!(!broken(1, &[30, 20, 21]), "the order of its pushes is not known");
    assert!(broken(2, &[30, 20, 21]), "of another's it is");
    assert!(broken(1, &[20, 30, 21]) && broken(1, &[20, 21]), "all of each push is there, together");
}
