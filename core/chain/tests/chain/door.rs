//! What nobody said changes nothing at the chain's own door; a million of it: `--example badinput`.

use crate::bent::bent;

#[test]
fn the_door_is_not_moved_by_what_it_blames() {
    let bent = bent(1, 12_000, |_| ()).expect("it held");
    assert!(bent.blamed > 2_000 && bent.passed > 1_000 && bent.epochs >= 3 && bent.written > 200, "{bent:?}");
}
