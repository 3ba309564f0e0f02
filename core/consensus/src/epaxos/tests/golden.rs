//! Golden scripts: exact schedules, told as text.

use super::super::message::InstanceId;
use super::Cluster;
use std::string::String;
use std::vec::Vec;

/// The schedule of Sutra's counter-example (*On the correctness of Egalitarian Paxos*, arXiv 1906.10917, §3 and its
/// TLA+ script of 24 steps), in the words of EPaxos\*. His p1, p2, p3 are 0, 1, 2; his c1 is 2.1, his c2 is 0.1.
///
/// The heart is the same: replica 0 votes in a low ballot (his p3, step 7: ballot 1; here ballot 0, as EPaxos\*
/// has no second `PreAccept`), another value is chosen in a higher one (his 8 to 14; here ballot 4), then 0 prepares twice
/// (his 15 and 17). With one ballot an instance its first promise passes for a vote, and its old vote, now of the
/// highest ballot, wins against what was chosen (his 21 to 24).
fn sutra() -> Cluster {
    let id = InstanceId::new(0, 1);
    let mut c = Cluster::new(3);
    c.log = Some(Vec::new());
    c.propose(2, 1, "k=1");
    c.lose(2, 0);
    c.lose(2, 1);
    c.propose(0, 2, "k=2");
    // 2 knows k=1: its answer disagrees, 0 votes for the union in ballot 0, and nobody hears of it.
    c.deliver(0, 2, "PreAccept");
    c.deliver(2, 0, "PreAcceptOk");
    c.lose(0, 1);
    c.lose(0, 2);
    // 1 recovers it with 2: nobody who answers agrees with what was proposed, so nothing is chosen, in ballot 4.
    c.recover(1, id);
    c.deliver(1, 2, "Prepare");
    c.deliver(2, 1, "PrepareOk");
    c.deliver(1, 2, "Accept");
    c.lose(1, 0);
    // 0 prepares, is told of ballot 4, prepares again above it and is not heard, and once more.
    c.recover(0, id);
    c.deliver(0, 2, "Prepare");
    c.deliver(2, 0, "Nack");
    c.recover(0, id);
    c.lose(0, 1);
    c.lose(0, 2);
    c.recover(0, id);
    c.deliver(0, 2, "Prepare");
    c.deliver(2, 0, "PrepareOk");
    c.deliver(0, 2, "Accept");
    // Both finish.
    c.deliver(2, 0, "AcceptOk");
    c.deliver(2, 1, "AcceptOk");
    c
}

const SUTRA: &str = "\
propose k=1 at 2
propose k=2 at 0
0 -> 2 PreAccept 0.1 behind [0, 0, 0]
2 -> 0 PreAcceptOk 0.1 behind [0, 0, 1]
recover 0.1 at 1
1 -> 2 Prepare 0.1 in 4
2 -> 1 PrepareOk 0.1 in 4: PreAccepted in 0 behind [0, 0, 1]
1 -> 2 Accept 0.1 in 4: nothing behind [0, 0, 0]
recover 0.1 at 0
0 -> 2 Prepare 0.1 in 3
2 -> 0 Nack 0.1 at 4
recover 0.1 at 0
recover 0.1 at 0
0 -> 2 Prepare 0.1 in 9
2 -> 0 PrepareOk 0.1 in 9: Accepted in 4 behind [0, 0, 0]
0 -> 2 Accept 0.1 in 9: nothing behind [0, 0, 0]
2 -> 0 AcceptOk 0.1 in 9
  0 executes Blank
2 -> 1 AcceptOk 0.1 in 4
  1 executes Blank";

#[test]
fn a_promise_is_no_vote() {
    let c = sutra();
    assert_eq!(c.log.as_ref().map(|l| l.join("\n")), Some(String::from(SUTRA)));
    assert_eq!(c.contradiction(), None);
    assert_eq!(c.blamed, 0);
}

#[test]
fn a_command_alone_takes_one_round_trip_and_a_meeting_two() {
    let mut c = Cluster::new(3);
    c.log = Some(Vec::new());
    c.propose(0, 1, "a=1");
    c.deliver(0, 1, "PreAccept");
    c.deliver(1, 0, "PreAcceptOk");
    c.propose(2, 2, "a=2");
    c.deliver(2, 1, "PreAccept");
    c.deliver(1, 2, "PreAcceptOk");
    c.deliver(2, 1, "Accept");
    c.deliver(1, 2, "AcceptOk");
    c.deliver(0, 2, "Commit");
    let script = "\
propose a=1 at 0
0 -> 1 PreAccept 0.1 behind [0, 0, 0]
1 -> 0 PreAcceptOk 0.1 behind [0, 0, 0]
  0 executes Command(b\"a=1\")
propose a=2 at 2
2 -> 1 PreAccept 2.1 behind [0, 0, 0]
1 -> 2 PreAcceptOk 2.1 behind [1, 0, 0]
2 -> 1 Accept 2.1 in 0: its command behind [1, 0, 0]
1 -> 2 AcceptOk 2.1 in 0
0 -> 2 Commit 0.1: its command behind [0, 0, 0]
  2 executes Command(b\"a=1\")
  2 executes Command(b\"a=2\")";
    assert_eq!(c.log.as_ref().map(|l| l.join("\n")), Some(String::from(script)));
}

#[test]
fn a_fast_decision_that_only_the_dead_knew_is_found_again() {
    // 0 decides 0.1 fast with 1 and is gone; 1 and 2 recover it: 1 agrees, nothing contradicts.
    let mut c = Cluster::new(3);
    c.propose(0, 1, "a=1");
    c.deliver(0, 1, "PreAccept");
    c.deliver(1, 0, "PreAcceptOk");
    assert_eq!(c.given[0].len(), 1, "decided and answered");
    c.lose(0, 1);
    c.lose(0, 2);
    c.log = Some(Vec::new());
    c.recover(2, InstanceId::new(0, 1));
    c.deliver(2, 1, "Prepare");
    c.deliver(1, 2, "PrepareOk");
    c.deliver(2, 1, "Validate");
    c.deliver(1, 2, "ValidateOk");
    c.deliver(2, 1, "Accept");
    c.deliver(1, 2, "AcceptOk");
    let script = "\
recover 0.1 at 2
2 -> 1 Prepare 0.1 in 5
1 -> 2 PrepareOk 0.1 in 5: PreAccepted in 0 behind [0, 0, 0]
2 -> 1 Validate 0.1 in 5 behind [0, 0, 0]
1 -> 2 ValidateOk 0.1 false []
2 -> 1 Accept 0.1 in 5: its command behind [0, 0, 0]
1 -> 2 AcceptOk 0.1 in 5
  2 executes Command(b\"a=1\")";
    assert_eq!(c.log.as_ref().map(|l| l.join("\n")), Some(String::from(script)));
    assert_eq!(c.contradiction(), None);
}

#[test]
fn a_fast_decision_not_yet_on_disk_was_none() {
    // 0 has its answer and appends the decision; before it is synced nobody hears of it, and it is not executed.
    let mut c = Cluster::new(3);
    c.quick = false;
    c.propose(0, 1, "a=1");
    assert!(c.pool.is_empty(), "its own record comes first");
    c.sync(0);
    c.deliver(0, 1, "PreAccept");
    c.sync(1);
    c.deliver(1, 0, "PreAcceptOk");
    assert!(c.given[0].is_empty(), "the decision is on its way to disk");
    c.lose(0, 2);
    assert!(c.pool.is_empty());
    // It crashes, comes back without it, and answers a recovery: nothing was decided, and nothing is what it becomes.
    c.crash(0);
    c.quick = true;
    c.recover(2, InstanceId::new(0, 1));
    c.deliver(2, 0, "Prepare");
    c.settle();
    assert_eq!(c.contradiction(), None);
    assert!(c.given[0].iter().all(|g| g.payload.is_empty()));
}

#[test]
fn a_number_that_others_heard_of_and_we_lost_is_spent() {
    // 0 tells 1 that it has a number 1 (in a beat) before the record is synced, and loses it; 1 recovers 0.1.
    let mut c = Cluster::new(3);
    c.quick = false;
    c.propose(0, 1, "a=1");
    c.step(0, crate::step::Input::Tick);
    c.deliver(0, 1, "Beat");
    c.pool.clear();
    c.crash(0);
    c.quick = true;
    c.recover(1, InstanceId::new(0, 1));
    c.deliver(1, 0, "Prepare");
    c.propose(0, 2, "a=2");
    assert!(c.nodes[0].instances.contains_key(&InstanceId::new(0, 2)), "under the next number");
    c.run(dwcp_env::Duration::millis(400));
    assert_eq!(c.contradiction(), None);
    assert!(c.given.iter().all(|g| g.iter().any(|g| !g.payload.is_empty())), "{:?}", c.given);
}

#[test]
fn a_round_goes_on_after_a_restart() {
    let mut c = Cluster::new(3);
    c.propose(0, 1, "a=1");
    c.pool.clear();
    c.crash(0);
    c.run(dwcp_env::Duration::millis(30));
    assert!(c.given.iter().all(|g| g.len() == 1 && !g[0].payload.is_empty()), "{:?}", c.given);
}

/// Alone in its process: a planted bug is everybody's.
/// `cargo test -p dwcp-consensus --features planted-bugs one_ballot -- --ignored`
#[cfg(feature = "planted-bugs")]
#[test]
#[ignore = "plants a bug in the whole process: run it alone"]
fn one_ballot_decides_twice_on_the_schedule_of_sutra() {
    use super::super::planted::{Bug, plant};
    plant(Some(Bug::OneBallot));
    let c = sutra();
    plant(None);
    assert!(c.contradiction().is_some_and(|wrong| wrong.contains("0.1 is decided as")));
}
