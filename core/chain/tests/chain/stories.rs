//! A few seeded stories; thousands are a command of their own (`--example rehearse`).

use crate::trial::{Ended, Told, tell};

#[test]
fn stories_hold() {
    let mut all = Told::default();
    for seed in 0..16 {
        let Ended { told, verdict, story } = tell(seed, &|_| {});
        assert_eq!(verdict, Ok(()), "seed {seed}: {story:#?}");
        all.add(&told);
    }
    let Told { acknowledged, unknown, switches, crashes, cuts, .. } = all;
    let least = acknowledged.min(unknown * 5).min(switches * 5).min(crashes * 3).min(cuts * 3);
    assert!(least > 100, "too little happened: {all:?}");
}
