//! What is said of the size of a batch before it is made is never too little.

use crate::anomalies::{NOW, cluster, pull, r};
use dwcp_crdt::Space;
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit};

const PLACES: usize = 40;

fn edit(kind: Kind, key: &str, change: Change) -> Edit {
    Edit::new(Address::key(kind, key), change)
}

/// A replica among many that all have written much, several to the same names without seeing each other.
fn many() -> Space {
    let mut c = cluster(PLACES);
    for (i, s) in c.iter_mut().enumerate() {
        let mut edits = Vec::new();
        for k in 0..20 {
            edits.push(edit(Kind::Lww, &format!("written {k}"), Change::Write(vec![i as u8; 9])));
            edits.push(edit(Kind::PnCounter, &format!("counted {k}"), Change::Increase(1 << 58)));
            edits.push(edit(Kind::Bounded, &format!("rights {k}"), Change::Increase(1 << 50)));
            edits.push(edit(Kind::OrSet, &format!("set {k}"), Change::Add(vec![i as u8; 3])));
            edits.push(edit(Kind::OrSet, "one", Change::Add(vec![k; 3])));
            let at = Address::key(Kind::Map, format!("map {k}")).field(Kind::Lww, format!("field {i}"));
            edits.push(Edit::new(at, Change::Write(b"v".to_vec())));
            let values = (0..5).map(|v| vec![v; 7]).collect();
            edits.push(edit(Kind::Sequence, &format!("list {k}"), Change::Insert { at: 0, values }));
            edits.push(edit(Kind::Lww, &format!("written {k}"), Change::Expire(NOW + 1_000)));
        }
        (0..30).for_each(|_| drop(s.transact(NOW, &edits).expect("it is taken")));
    }
    let mut me = c.remove(0);
    c.iter().for_each(|s| pull(&mut me, s));
    me
}

#[test]
fn a_batch_is_never_larger_than_it_was_said_to_be() {
    let s = many();
    let of = |kind, name: &str, change: &dyn Fn(usize) -> Change| -> Vec<Edit> {
        (0..20).map(|k| edit(kind, &format!("{name} {k}"), change(k))).collect()
    };
    let (write, delete) = (|_| Change::Write(vec![7; 100]), |_: usize| Change::Delete);
    let cases: Vec<(&str, Vec<Edit>)> = vec![
        ("writes over concurrent ones", of(Kind::Lww, "written", &write)),
        ("writes of new names", of(Kind::Lww, "new", &write)),
        ("deletions of registers", of(Kind::Lww, "written", &delete)),
        ("deletions of counters", of(Kind::PnCounter, "counted", &delete)),
        ("deletions of sets", of(Kind::OrSet, "set", &delete)),
        ("deletions of maps", of(Kind::Map, "map", &delete)),
        ("deletions of lists", of(Kind::Sequence, "list", &delete)),
        ("deadlines", of(Kind::Lww, "written", &|k| Change::Expire(NOW + k as u64))),
        ("counts", of(Kind::PnCounter, "counted", &|_| Change::Decrease(1 << 40))),
        ("rights", of(Kind::Bounded, "rights", &|_| Change::Transfer { to: r(7), amount: 5 })),
        ("additions", (0..20).map(|k| edit(Kind::OrSet, "one", Change::Add(vec![k; 3]))).collect()),
        ("removals", (0..20).map(|k| edit(Kind::OrSet, "one", Change::Remove(vec![k; 3]))).collect()),
        ("erasures", of(Kind::Sequence, "list", &|_| Change::Erase { from: 30, count: 4 })),
        ("replacements", of(Kind::Sequence, "list", &|_| Change::Replace { at: 30, value: vec![1; 40] })),
        ("long names", vec![edit(Kind::Lww, &"n".repeat(60_000), write(0))]),
    ];
    for (what, edits) in cases {
        let (closely, roughly) = (s.weigh(&edits, 0), s.weigh(&edits, usize::MAX));
        let made = s.clone().transact(NOW + 10, &edits).expect("it is taken").expect("it changes something");
        assert!(made.size() <= closely, "{what}: {} bytes, {closely} were expected", made.size());
        assert!(closely <= roughly + 100, "{what}: {closely} closely, {roughly} roughly");
        assert!(closely < made.size() * 8, "{what}: {} bytes, {closely} were expected", made.size());
    }
}
