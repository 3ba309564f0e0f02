//! What a new view carries on, by tables: n = 4, f = 1, quorums of three.

use super::super::config::Config;
use super::super::crypto::{Digest, Signature};
use super::super::message::{Certificate, Claim, ViewChange};
use super::super::select::select;
use std::vec::Vec;

const A: Digest = Digest([1; 32]);
const B: Digest = Digest([2; 32]);
const NOTHING: Digest = Digest([0; 32]);

/// A leave with claims (seq, view, digest) of having prepared, and of having taken note.
fn leave(place: u8, prepared: &[(u64, u64, Digest)], noted: &[(u64, u64, Digest)]) -> ViewChange {
    let claims = |of: &[(u64, u64, Digest)]| {
        of.iter().map(|(seq, view, digest)| Claim { seq: *seq, view: *view, digest: *digest }).collect()
    };
    ViewChange {
        place,
        view: 9,
        stable: Certificate::default(),
        prepared: claims(prepared),
        noted: claims(noted),
        signature: Signature::default(),
    }
}

fn chosen(changes: &[ViewChange]) -> Option<Vec<Digest>> {
    let config = Config::new(super::parameters(1, 4)).unwrap();
    select(&config, changes, NOTHING).map(|s| s.chosen)
}

#[test]
fn nobody_prepared_anything() {
    assert_eq!(
        chosen(&[leave(0, &[], &[]), leave(1, &[], &[]), leave(2, &[], &[(1, 0, A)])]),
        Some([].into())
    );
    assert_eq!(chosen(&[leave(0, &[], &[]), leave(1, &[], &[])]), None, "two are no quorum");
}

#[test]
fn what_may_be_decided_is_carried_on() {
    let p = [(1, 0, A)];
    assert_eq!(chosen(&[leave(0, &p, &p), leave(1, &[], &p), leave(2, &[], &[])]), Some([A].into()));
}

#[test]
fn a_claim_that_no_correct_member_bears_out_waits_and_then_falls() {
    let lie = [(1, 8, B)];
    let three = [leave(0, &lie, &lie), leave(1, &[], &[]), leave(2, &[], &[])];
    assert_eq!(chosen(&three), None, "it might be that a correct one took note, among those not heard yet");
    let four = [&three[..], &[leave(3, &[], &[])]].concat();
    assert_eq!(chosen(&four), Some([].into()));
}

#[test]
fn a_lie_does_not_hide_what_was_prepared() {
    let (p, lie) = ([(1, 0, A)], [(1, 8, B)]);
    let four = [leave(0, &lie, &lie), leave(1, &p, &p), leave(2, &p, &p), leave(3, &[], &p)];
    assert_eq!(chosen(&four), Some([A].into()));
    assert_eq!(chosen(&four[..3]), None, "whether the lie is one is known with the fourth");
}

#[test]
fn the_later_view_wins() {
    let (old, new) = ([(1, 0, A)], [(1, 0, A), (1, 3, B)]);
    let three = [leave(0, &old, &old), leave(1, &[(1, 3, B)], &new), leave(2, &[], &new)];
    assert_eq!(chosen(&three), Some([B].into()));
}

#[test]
fn gaps_are_filled_and_ends_are_left_open() {
    let p = [(3, 0, A)];
    let three = [leave(0, &p, &p), leave(1, &p, &p), leave(2, &[], &[])];
    assert_eq!(chosen(&three), Some([NOTHING, NOTHING, A].into()));
}

/// Found by the rehearsal (liars, seed 250): a primary that lies may order an empty batch, and it may be decided.
/// Cutting it off as if it were a gap let the next view decide something else there.
#[test]
fn an_empty_batch_that_was_claimed_is_no_gap() {
    let p = [(1, 0, NOTHING)];
    let three = [leave(0, &p, &p), leave(1, &[], &p), leave(2, &[], &p)];
    assert_eq!(chosen(&three), Some([NOTHING].into()));
}

#[test]
fn the_newest_checkpoint_is_the_base() {
    let mut ahead = leave(0, &[(5, 1, A)], &[(5, 1, A)]);
    ahead.stable.seq = 4;
    let old = [(1, 0, B), (5, 1, A)];
    let three = [ahead, leave(1, &old, &old), leave(2, &[(2, 0, B)], &[(2, 0, B)])];
    let config = Config::new(super::parameters(1, 4)).unwrap();
    let selected = select(&config, &three, NOTHING).unwrap();
    assert_eq!((selected.base.seq, selected.chosen), (4, [A].into()));
}
