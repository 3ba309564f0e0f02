//! Bad input changes nothing; a million of them: `--example badinput`.
#![cfg(feature = "rehearsal")]

use dwcp_consensus::rehearsal::bad::bad_inputs;
use dwcp_consensus::{epaxos, paxos, pbft};

#[test]
fn pbft_is_not_moved_by_what_nobody_said() {
    let bad = bad_inputs(&pbft::rehearsed::Rehearsed::default(), 4, 1, 20_000, |_| ()).unwrap();
    assert!(bad.blamed > 1_000 && bad.unreadable > 1_000 && bad.ignored > 100 && bad.taken > 10, "{bad:?}");
    #[cfg(feature = "planted-bugs")]
    for bug in [pbft::Bug::CodeUnchecked, pbft::Bug::BundleUnsigned] {
        pbft::plant(Some(bug));
        let found = bad_inputs(&pbft::rehearsed::Rehearsed::default(), 4, 1, 20_000, |_| ());
        pbft::plant(None);
        assert!(found.is_err_and(|why| why.contains("had an effect")), "{bug:?}");
    }
}

#[test]
fn epaxos_is_not_moved_by_what_it_blames() {
    let bad = bad_inputs(&epaxos::Rehearsed::default(), 3, 1, 4_000, |_| ()).unwrap();
    assert!(bad.blamed > 200 && bad.unreadable > 1_000 && bad.ignored > 100 && bad.taken > 10, "{bad:?}");
}

#[test]
fn multi_paxos_is_not_moved_by_what_it_blames() {
    let bad = bad_inputs(&paxos::Rehearsed::default(), 3, 1, 20_000, |_| ()).unwrap();
    assert!(bad.blamed > 200 && bad.unreadable > 1_000 && bad.ignored > 100 && bad.taken > 10, "{bad:?}");
}
