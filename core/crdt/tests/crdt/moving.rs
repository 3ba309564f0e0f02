//! A state that is read while it moves.

use crate::anomalies::{NOW, cluster, does, r};
use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::edit::Change;
use dwcp_crdt::space::{Config, Restore};

#[test]
fn what_came_and_was_superseded_while_a_state_was_read_does_not_come_back() {
    let (one, other) = (b"one".to_vec(), b"other".to_vec());
    let cases = [
        (Kind::Mv, Change::Write(one.clone()), Change::Write(other)),
        (Kind::OrSet, Change::Add(one.clone()), Change::Remove(one)),
    ];
    for (kind, first, second) in cases {
        let at = Address::key(kind, "k");
        let mut c = cluster(3);
        let header = c[0].snapshot();
        let came = does(&mut c[2], &at, first);
        c[0].receive(&came, NOW).expect("sound");
        let mut restore = Restore::new(Config::new([1; 32]), c[0].roster().clone(), r(1), header);
        restore.absorb(&c[0].chunk(None, usize::MAX).bytes).expect("a chunk");
        let superseded = does(&mut c[0], &at, second);
        // Whoever sends the tail may send one maker after the other.
        let space = restore.finish(&[superseded, came], NOW).expect("the tail");
        assert_eq!(space.version(), c[0].version());
        assert_eq!(space.get(&Address::root()), c[0].get(&Address::root()), "{kind}");
        assert_eq!(space.to_bytes(), c[0].to_bytes(), "{kind}");
    }
}
