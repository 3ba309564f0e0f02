//! The log is given out in batches that keep their bounds, and in parts that together are all of it.

use crate::anomalies::{NOW, cluster, r};
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::{Change, Edit};
use dwcp_crdt::space::{Config, Missing, Restore};
use dwcp_crdt::{Batch, Dot, Space, VersionVector};

/// What is gathered in one batch, with room for the spelling of one container.
const PIECE: usize = 66 * 1024;

fn writes(name: &str, values: usize, bytes: usize) -> Vec<Edit> {
    let edit =
        |i| Edit::new(Address::key(Kind::Lww, format!("{name} {i}")), Change::Write(vec![b'v'; bytes]));
    (0..values).map(edit).collect()
}

/// Two replicas; the first makes these transactions alone.
fn alone(transactions: &[Vec<Edit>]) -> (Space, Vec<usize>) {
    let mut s = cluster(2).remove(0);
    let made = transactions.iter().filter_map(|edits| s.transact(NOW, edits).expect("it is taken"));
    let sizes = made.map(|b| b.size()).collect();
    (s, sizes)
}

fn operations(batches: &[Batch]) -> Vec<String> {
    batches.iter().flat_map(|b| b.ops().flatten()).map(|op| format!("{op:?}")).collect()
}

#[test]
fn a_batch_gathers_so_much_or_is_one_transaction_as_it_was_made() {
    let mut transactions: Vec<Vec<Edit>> = (0..300).map(|i| writes(&i.to_string(), 1, 3_000)).collect();
    transactions.insert(150, writes("large", 40, 31 * 1024));
    transactions.insert(151, writes("many", 60_000, 0));
    let (s, sizes) = alone(&transactions);
    let large = *sizes.iter().max().expect("some");
    let Missing::Operations { batches, more } = s.missing(&VersionVector::new(), usize::MAX) else {
        panic!()
    };
    assert!(!more && batches.len() > 10);
    let over: Vec<usize> = batches.iter().map(Batch::size).filter(|size| *size > PIECE).collect();
    assert_eq!((over.len(), over[0]), (2, large), "{over:?}");
    for b in &batches {
        assert_eq!(Batch::from_bytes(&b.to_bytes()).as_ref(), Ok(b));
    }
    let count: usize = transactions.iter().map(Vec::len).sum();
    assert_eq!(operations(&batches).len(), count);
}

#[test]
fn the_parts_of_the_log_are_all_of_it() {
    let (s, _) = alone(&(0..200).map(|i| writes(&i.to_string(), 3, i * 20)).collect::<Vec<_>>());
    for budget in [1, 1_000, 70_000, usize::MAX] {
        let (mut parts, mut from, mut turns) = (Vec::new(), None, 0);
        loop {
            let (batches, next) = s.unstable_part(from, s.version(), budget);
            parts.extend(batches);
            turns += 1;
            from = next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(operations(&parts), operations(&s.unstable()), "budget {budget}");
        assert!(turns > 1 || budget == usize::MAX);
    }
    let upto: VersionVector = [(r(0), 300)].into_iter().collect();
    let (part, next) = s.unstable_part(Some(Dot::new(r(0), 30)), &upto, usize::MAX);
    assert_eq!((operations(&part).len(), next), (270, None));
}

/// The log may be cut between two parts: what is restored has all that came after the cut.
#[test]
fn a_log_that_is_cut_while_its_parts_are_taken_begins_after_the_cut() {
    let (mut s, _) = alone(&(0..200).map(|i| writes(&i.to_string(), 1, 1_000)).collect::<Vec<_>>());
    let header = s.snapshot();
    let state = s.chunk(None, usize::MAX);
    let (mut parts, from) = s.unstable_part(None, &header.version, 10_000);
    s.acknowledged(r(1), &[(r(0), 150)].into_iter().collect(), s.roster().epoch);
    s.trim();
    parts.extend(s.unstable_part(from, &header.version, usize::MAX).0);
    let mut restore = Restore::new(Config::new([0; 32]), s.roster().clone(), r(0), header);
    restore.absorb(&state.bytes).expect("a chunk");
    parts.into_iter().for_each(|b| restore.log(b));
    let back = restore.finish(&[], NOW).expect("it is whole");
    assert_eq!(operations(&back.unstable()), operations(&s.unstable()));
    assert!(!s.unstable().is_empty() && s.unstable().len() < 200);
}
