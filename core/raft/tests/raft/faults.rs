//! Peers that lie, disks that forget.

use crate::harness::{Answered, G, World, n};
use bytes::Bytes;
use dwcp_env::{Duration, Lane, Purpose, Seed};

#[test]
fn nonsense_from_a_peer_is_counted_and_harmless() {
    let mut w = World::cluster(1, 3);
    let leader = w.elect();
    w.write(G, "a");
    for body in [&b""[..], b"\0", &[0; 4], &[255; 64], &[1, 0, 0, 0, 200], &[0, 0, 0, 1, 7]] {
        for lane in Lane::ALL {
            w.inject(n(2), leader, lane, Bytes::copy_from_slice(body));
        }
    }
    assert!(w.heard("peer.fault from=n2"));
    w.write(G, "b");
    assert_eq!(w.agree(G), ["a", "b"]);
}

#[test]
fn true_messages_from_the_wrong_node_are_refused() {
    let mut w = World::cluster(2, 3);
    w.elect();
    // Enough that the samples hold appends of the leader.
    for _ in 0..40 {
        w.write(G, "a");
    }
    let samples = std::mem::take(&mut w.samples);
    // Node 9 repeats what members said to each other.
    for (_, to, lane, body) in samples {
        w.inject(n(9), to, lane, body);
    }
    assert!(w.heard("peer.fault from=n9"));
    w.write(G, "b");
    let agreed = w.agree(G);
    assert_eq!((agreed.len(), agreed.last().map(|c| &c[..])), (41, Some(&b"b"[..])));
}

/// One altered byte may make a message that is well-formed and a lie. The cluster may then be
/// wrong, but no node panics, save by its own assertions on what it alone has done.
#[test]
fn altered_messages_make_no_node_panic() {
    for seed in 0..8 {
        let mut w = World::cluster(100 + seed, 3);
        w.elect();
        for command in ["a", "b", "c", "d"] {
            w.write(G, command);
        }
        let draw = |max: usize, i: usize, what| {
            let ordinal = i as u64 * 4 + what;
            Seed(seed).below(max as u64, Purpose::named("alter"), 0, dwcp_env::Instant::ZERO, ordinal)
                as usize
        };
        let samples = std::mem::take(&mut w.samples);
        for (i, (from, to, lane, body)) in samples.into_iter().enumerate() {
            let mut bytes = body.to_vec();
            let at = draw(bytes.len(), i, 0);
            bytes[at] ^= 1 << draw(8, i, 1);
            if draw(4, i, 2) == 0 {
                bytes.truncate(draw(bytes.len(), i, 3));
            }
            w.inject(from, to, lane, bytes.into());
            w.run(Duration::millis(1));
        }
        assert!(w.heard("peer.fault"));
    }
}

#[test]
fn a_node_whose_disk_lost_entries_does_not_vote_until_it_has_them_again() {
    let mut w = World::cluster(3, 3);
    let leader = w.elect();
    for command in ["a", "b", "c"] {
        w.write(G, command);
    }
    w.agree(G);
    let [hurt, other] =
        [1, 2, 3].map(n).into_iter().filter(|i| *i != leader).collect::<Vec<_>>().try_into().unwrap();
    // The other node misses "d": the hurt one and the leader alone hold it.
    w.crash(other);
    w.write(G, "d");
    w.crash(hurt);
    w.crash(leader);
    w.start_with(hurt, |log| {
        log.entries.truncate(2);
        log.suspect = true;
    });
    w.start(other);
    w.run(Duration::secs(10));
    // Those two would be a quorum, and "d" would be lost.
    assert_eq!(w.leader(G), None);
    assert!(w.host(hurt).group(G).unwrap().is_suspect());
    w.start(leader);
    w.write(G, "e");
    assert_eq!(w.agree(G), ["a", "b", "c", "d", "e"]);
    assert!(!w.host(hurt).group(G).unwrap().is_suspect());
    assert!(w.marked("raft.suspect_healed") && w.marked("raft.suspect_does_not_vote"));
    w.crash(leader);
    w.write(G, "f");
}

#[test]
fn a_hole_in_the_log_is_cut_and_filled_by_the_leader() {
    let mut w = World::cluster(4, 3);
    let leader = w.elect();
    for command in ["a", "b", "c", "d"] {
        w.write(G, command);
    }
    let hurt = [1, 2, 3].map(n).into_iter().find(|i| *i != leader).unwrap();
    w.crash(hurt);
    w.start_with(hurt, |log| drop(log.entries.remove(2)));
    assert!(w.host(hurt).group(G).unwrap().is_suspect());
    w.write(G, "e");
    assert_eq!(w.agree(G), ["a", "b", "c", "d", "e"]);
    assert!(w.marked("raft.log_cut_at_a_hole") && w.marked("raft.suspect_takes_nothing"));
    w.crash(hurt);
    w.start(hurt);
    assert_eq!(w.agree(G).len(), 5);
}

/// The log is cut at the hole, and what is left looks whole: only what is written beside it can tell the next life.
#[test]
fn what_a_disk_lost_is_known_in_every_later_life_until_it_is_held_again() {
    for seed in 30..54 {
        let rotten = ["third", "fourth"][seed as usize % 2];
        let mut w = World::cluster(seed, 3);
        // Whatever runs first: openraft, or who asks it for the voters.
        w.pick_drawn = seed > 33;
        let leader = w.elect();
        let [hurt, other] =
            [1, 2, 3].map(n).into_iter().filter(|i| *i != leader).collect::<Vec<_>>().try_into().unwrap();
        w.write(G, "first");
        w.write(G, "second");
        w.agree(G);
        if seed > 41 {
            // Its state is not from the beginning.
            let token = w.snapshot(hurt);
            w.answer(token);
        }
        w.write(G, "third");
        w.agree(G);
        // The hurt one and the leader alone hold the fourth.
        w.crash(other);
        w.write(G, "fourth");
        assert_eq!(w.crash_and_rot(hurt, rotten), 1);
        w.crash(leader);
        for life in 1..=3 {
            w.start(hurt);
            w.run(Duration::secs(1));
            assert!(w.host(hurt).group(G).unwrap().is_suspect(), "{rotten}: it has a vote in life {life}");
            w.crash(hurt);
        }
        w.start(hurt);
        w.start(other);
        w.run(Duration::secs(10));
        assert_eq!(w.leader(G), None, "{rotten}: a leader without the fourth");
        w.start(leader);
        w.write(G, "fifth");
        assert_eq!(w.agree(G), ["first", "second", "third", "fourth", "fifth"]);
        w.crash(hurt);
        w.start(hurt);
        assert!(!w.host(hurt).group(G).unwrap().is_suspect(), "{rotten}: it is well, for good");
    }
}

#[test]
fn an_old_snapshot_that_comes_late_changes_nothing() {
    let (mut w, learner, pieces) = crate::harness::with_a_late_snapshot(6, |_| {});
    for (from, _, lane, body) in pieces {
        w.inject(from, learner, lane, body);
        w.run(Duration::millis(20));
    }
    assert_eq!(w.agree(G).len(), 42);
}

#[test]
fn a_barrier_on_a_leader_cut_off_ends() {
    let mut w = World::cluster(5, 3);
    let leader = w.elect();
    w.write(G, "a");
    w.isolate(leader);
    let tokens: Vec<_> = (0..10).map(|_| w.barrier(leader)).collect();
    for token in tokens {
        assert!(matches!(w.answer(token), Answered::Barrier(Err(_))));
    }
}
