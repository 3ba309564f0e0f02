//! Every history of one place among four members, one of them a liar who leads whenever it likes, over two views
//! in CI and three by hand (371,436 states, 1,147,430 choices, 11 CPU-seconds; four were stopped after nine
//! minutes): whatever the liar says and whoever is heard, no two batches are decided there.
//!
//! The phases are reduced to what they leave behind (who took note of what in which view, who prepared); the
//! choice at the begin of a view is the real [`select`]. In each view every correct member takes note of a batch
//! its primary was entitled to propose, or of none: any, where the view began with nothing there (the liar leads
//! and shows each what it likes), else the chosen one. Who took note of a batch that a quorum did (the liar
//! included) prepares it or not. A batch is *decidable* from then on if a quorum prepared it, the liar included.
//! Then any quorum of leaves begins the next view: all sets with the liar and two correct members, the three
//! correct ones, and all four; the liar claims to have prepared anything in any view, and to have taken note of
//! nothing, of the same, or of everything in the last view.

use super::super::config::Config;
use super::super::crypto::{Digest, Signature};
use super::super::message::{Certificate, Claim, ViewChange};
use super::super::select::select;
use std::collections::{BTreeMap, BTreeSet};
use std::vec::Vec;

const NOTHING: Digest = Digest([0; 32]);
const BATCHES: [Digest; 3] = [Digest([1; 32]), Digest([2; 32]), NOTHING];

/// What one correct member has on disk about the place.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Disk {
    prepared: Option<(u64, Digest)>,
    noted: BTreeMap<Digest, u64>,
}

/// Three correct members, and what a quorum may have decided.
type Group = ([Disk; 3], Option<Digest>);

/// All that one view can leave behind, from what its begin allows.
fn play(view: u64, before: &Group, allowed: &[Digest]) -> BTreeSet<Group> {
    let mut out = BTreeSet::new();
    let choices = allowed.len() + 1;
    for code in 0..choices.pow(3) {
        let pick = |i: u32| allowed.get(code / choices.pow(i) % choices).copied();
        let picks = [pick(0), pick(1), pick(2)];
        let mut noted = before.clone();
        for (disk, digest) in noted.0.iter_mut().zip(picks) {
            digest.map(|d| disk.noted.insert(d, view));
        }
        let backed = |d: Digest| picks.iter().filter(|p| **p == Some(d)).count() + 1 >= 3;
        for prepares in 0..8_usize {
            let mut after = noted.clone();
            let mut count: BTreeMap<Digest, usize> = BTreeMap::new();
            let mut possible = true;
            for (i, disk) in after.0.iter_mut().enumerate().filter(|(i, _)| prepares >> i & 1 == 1) {
                match picks[i].filter(|d| backed(*d)) {
                    Some(digest) => {
                        disk.prepared = Some((view, digest));
                        *count.entry(digest).or_default() += 1;
                    }
                    None => possible = false,
                }
            }
            if !possible {
                continue;
            }
            for (digest, _) in count.iter().filter(|(_, n)| **n + 1 >= 3) {
                assert!(
                    after.1.is_none_or(|d| d == *digest),
                    "view {view}: {digest:?} may be decided, and {:?} was; {before:?}",
                    after.1
                );
                after.1 = Some(*digest);
            }
            out.insert(after);
        }
    }
    out
}

fn leave(place: u8, view: u64, disk: &Disk) -> ViewChange {
    let claim = |(view, digest)| Claim { seq: 1, view, digest };
    ViewChange {
        place,
        view,
        stable: Certificate::default(),
        prepared: disk.prepared.map(claim).into_iter().collect(),
        noted: disk.noted.iter().map(|(d, v)| claim((*v, *d))).collect(),
        signature: Signature::default(),
    }
}

/// Everything worth saying for a liar that leaves for `view`.
fn lies(view: u64) -> Vec<Disk> {
    let everything: BTreeMap<Digest, u64> = BATCHES.iter().map(|d| (*d, view - 1)).collect();
    let mut out = Vec::from([Disk::default(), Disk { prepared: None, noted: everything.clone() }]);
    for claimed in 0..view {
        for digest in BATCHES {
            let prepared = Some((claimed, digest));
            for noted in [BTreeMap::new(), BTreeMap::from([(digest, claimed)]), everything.clone()] {
                out.push(Disk { prepared, noted });
            }
        }
    }
    out
}

#[test]
fn no_history_of_two_views_decides_twice() {
    explore(2);
}

#[test]
#[ignore = "eleven CPU-seconds"]
fn no_history_of_three_views_decides_twice() {
    explore(3);
}

fn explore(views: u64) {
    let config = Config::new(super::parameters(1, 4)).unwrap();
    let mut groups = play(0, &Group::default(), &BATCHES);
    let (mut states, mut choices, mut waited) = (groups.len(), 0_u64, 0_u64);
    for view in 1..views {
        let mut next = BTreeSet::new();
        for group in &groups {
            let mut begins: BTreeSet<Vec<Digest>> = BTreeSet::new();
            let leaves: Vec<ViewChange> = (0..3).map(|i| leave(i as u8, view, &group.0[i])).collect();
            for lie in lies(view) {
                let lie = leave(3, view, &lie);
                for absent in 0..5 {
                    // 0..3: without that correct member; 3: without the liar; 4: all.
                    let all = leaves.iter().chain([&lie]).enumerate();
                    let heard: Vec<ViewChange> =
                        all.filter(|(i, _)| *i != absent).map(|(_, c)| c.clone()).collect();
                    choices += 1;
                    match select(&config, &heard, NOTHING) {
                        Some(selected) => {
                            begins.insert(selected.chosen);
                        }
                        None => {
                            waited += 1;
                            assert!(
                                absent != 3 && absent != 4,
                                "all correct members' leaves suffice: {group:?} {lie:?}"
                            );
                        }
                    }
                }
            }
            for chosen in begins {
                match (chosen.first(), group.1) {
                    (chosen, Some(decided)) => {
                        assert_eq!(chosen, Some(&decided), "view {view} after {group:?}");
                        next.extend(play(view, group, &[decided]));
                    }
                    (Some(digest), None) => next.extend(play(view, group, &[*digest])),
                    (None, None) => next.extend(play(view, group, &BATCHES)),
                }
            }
        }
        groups = next;
        states += groups.len();
    }
    assert!(states > 1_000 && waited > 0, "{states} states, {choices} choices, {waited} undetermined");
}
