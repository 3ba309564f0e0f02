//! Each planted bug breaks a promise that some story notices: proof that the stories can fail.

use crate::harness::{Answered, G, World, n};
use dwcp_consensus::EngineError;
use dwcp_env::{Duration, NodeId};
use dwcp_raft::RaftBugs;

fn cluster(seed: u64, bugs: RaftBugs) -> (World, NodeId, [NodeId; 2]) {
    let mut w = World::cluster(seed, 3);
    for id in [1, 2, 3].map(n) {
        w.configure(id, |c| c.bugs = bugs);
        w.crash(id);
        w.start(id);
    }
    let leader = w.elect();
    w.write(G, "a");
    w.run(Duration::secs(1));
    let others = [1, 2, 3].map(n).into_iter().filter(|i| *i != leader).collect::<Vec<_>>();
    (w, leader, others.try_into().unwrap())
}

#[test]
fn stale_read() {
    let (mut w, old, _) = cluster(1, RaftBugs { stale_read: true, ..RaftBugs::default() });
    w.isolate(old);
    w.until(Duration::secs(10), |w| w.leader(G).is_some_and(|l| l != old)).unwrap();
    w.write(G, "b");
    let token = w.barrier(old);
    assert_eq!(w.answer(token), Answered::Barrier(Ok(())), "the bug is gone");
    assert_eq!(w.commands(old, G), ["a"]);
}

#[test]
fn seal_ignored() {
    let (mut w, leader, _) = cluster(2, RaftBugs { seal_ignored: true, ..RaftBugs::default() });
    let token = w.seal(leader);
    w.answer(token);
    w.write(G, "late");
    assert_eq!(w.agree(G), ["a", "late"]);
}

/// Every disk forgets what was acknowledged to it before it was durable.
#[test]
fn ack_append_before_durable() {
    let bugs = RaftBugs { ack_append_before_durable: true, ..RaftBugs::default() };
    let (mut w, leader, _) = cluster(10, bugs);
    w.disk_slow = Duration::millis(50);
    let token = w.propose(leader, G, "b");
    w.until(Duration::secs(1), |w| w.answers.contains_key(&token)).unwrap();
    [1, 2, 3].map(n).into_iter().for_each(|id| w.crash(id));
    [1, 2, 3].map(n).into_iter().for_each(|id| w.start(id));
    w.write(G, "c");
    assert_eq!(w.agree(G), ["a", "c"], "the bug is gone");
}

/// A node votes twice in one term when its vote was never written.
#[test]
fn vote_not_saved() {
    let (mut w, leader, [x, _]) = cluster(3, RaftBugs { vote_not_saved: true, ..RaftBugs::default() });
    let term = w.host(x).group(G).unwrap().brief().term;
    w.isolate(x);
    w.crash(x);
    w.start(x);
    w.run(Duration::millis(1));
    let after = w.host(x).group(G).unwrap().brief().term;
    assert!(after < term, "the bug is gone: {x} still knows term {after} of {leader}");
}

#[test]
fn entry_not_logged() {
    let (mut w, _, _) = cluster(4, RaftBugs { entry_not_logged: true, ..RaftBugs::default() });
    w.write(G, "b");
    [1, 2, 3].map(n).into_iter().for_each(|id| w.crash(id));
    [1, 2, 3].map(n).into_iter().for_each(|id| w.start(id));
    w.run(Duration::secs(5));
    let kept = [1, 2, 3].map(n).into_iter().any(|id| w.commands(id, G).contains(&"b".into()));
    assert!(!kept, "the bug is gone");
}

/// The node that lost the only other copy votes for one that never had it.
#[test]
fn suspect_votes() {
    let (mut w, leader, [hurt, other]) = cluster(5, RaftBugs { suspect_votes: true, ..RaftBugs::default() });
    w.crash(other);
    w.write(G, "d");
    w.crash(hurt);
    w.crash(leader);
    w.start_with(hurt, |log| {
        log.entries.pop();
        log.suspect = true;
    });
    w.start(other);
    w.run(Duration::secs(10));
    w.write(G, "e");
    assert_eq!(w.commands(other, G), ["a", "e"], "the bug is gone");
}

/// The life after the one that cut the log votes for a node that never had what it lost.
#[test]
fn hole_untold() {
    let (mut w, leader, [hurt, other]) = cluster(9, RaftBugs { hole_untold: true, ..RaftBugs::default() });
    w.crash(other);
    w.write(G, "a long d");
    assert_eq!(w.crash_and_rot(hurt, "a long d"), 1);
    w.crash(leader);
    w.start(hurt);
    w.run(Duration::secs(1));
    w.crash(hurt);
    w.start(hurt);
    w.start(other);
    w.run(Duration::secs(10));
    w.write(G, "e");
    assert_eq!(w.agree(G), ["a", "e"], "the bug is gone");
}

/// State goes back to what a late snapshot holds.
#[test]
fn snapshot_out_of_order() {
    let bugs = RaftBugs { snapshot_out_of_order: true, ..RaftBugs::default() };
    let (mut w, learner, pieces) = crate::harness::with_a_late_snapshot(6, |c| c.bugs = bugs);
    for (from, _, lane, body) in pieces {
        w.inject(from, learner, lane, body);
        w.run(Duration::millis(20));
    }
    assert!(w.commands(learner, G).len() < 42, "the bug is gone");
}

/// What may have been done is answered as certainly not done.
#[test]
fn retry_unknown() {
    let (mut w, old, _) = cluster(8, RaftBugs { retry_unknown: true, ..RaftBugs::default() });
    w.isolate(old);
    let lost = w.propose(old, G, "lost");
    w.until(Duration::secs(10), |w| w.leader(G).is_some_and(|l| l != old)).unwrap();
    w.write(G, "b");
    w.cut.clear();
    let answer = w.answer(lost);
    assert_ne!(answer, Answered::Proposed(Err(EngineError::Unknown)), "the bug is gone");
}
