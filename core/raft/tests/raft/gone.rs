//! Hints that a leader's process is gone, right and wrong ones.

use crate::harness::{G, World, n};
use dwcp_env::{Duration, NodeId};
use dwcp_raft::GroupConfig;

fn others(of: NodeId) -> Vec<NodeId> {
    [1, 2, 3].map(n).into_iter().filter(|id| *id != of).collect()
}

/// How long until another leads than `old`.
fn until_replaced(w: &mut World, old: NodeId) -> Duration {
    let step = Duration::millis(5);
    let mut waited = Duration::ZERO;
    while w.leader(G).is_none_or(|l| l == old) {
        w.run(step);
        waited += step;
        assert!(waited < Duration::secs(20), "nobody leads");
    }
    waited
}

#[test]
fn a_leader_that_is_known_to_be_gone_is_replaced_within_three_heartbeats() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 3);
        let old = w.elect();
        w.write(G, "a");
        w.crash(old);
        for id in others(old) {
            w.hint(id, old);
        }
        let waited = until_replaced(&mut w, old);
        let beat = GroupConfig::lan(old).heartbeat;
        assert!(waited < beat * 3, "seed {seed}: {waited}, a heartbeat is {beat}");
        assert!(w.marked("raft.campaign_for_a_gone_leader"));
        w.write(G, "b");
        w.start(old);
        assert_eq!(w.agree(G), ["a", "b"]);
    }
}

#[test]
fn a_leader_that_lives_is_not_deposed_by_wrong_hints_to_all() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 3);
        let leader = w.elect();
        w.write(G, "a");
        for _ in 0..5 {
            for id in others(leader) {
                w.hint(id, leader);
            }
            w.run(Duration::millis(700));
            assert_eq!(w.leader(G), Some(leader), "seed {seed}");
        }
        w.run(Duration::secs(5));
        assert_eq!(w.leader(G), Some(leader), "seed {seed}");
        assert!(w.marked("raft.gone_leader_lives"));
    }
}

#[test]
fn one_that_alone_is_cut_off_from_its_leader_deposes_it_not() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 3);
        let leader = w.elect();
        w.write(G, "a");
        let apart = others(leader)[0];
        w.cut.insert((leader, apart));
        w.hint(apart, leader);
        w.run(Duration::secs(4));
        assert_eq!(w.leader(G), Some(leader), "seed {seed}: what the others hear is what counts");
        w.cut.clear();
        w.write(G, "b");
        assert_eq!(w.agree(G), ["a", "b"]);
    }
}
