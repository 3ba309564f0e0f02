//! Recoveries that concluded from what a replica no longer told: seeds 4,001,552 of `seals` and 4,000,387 of `upheaval`, by hand.

use super::super::message::InstanceId;
use super::Cluster;
use crate::step::{Input, Payload, Protocol};

fn holds(c: &Cluster, node: usize, command: &[u8]) -> bool {
    c.given[node].iter().any(|g| matches!(&g.payload, Payload::Command(c) if c[..] == *command))
}

/// Who was given a state in which a command is executed has its vote still, and does not know how it was decided. That later
/// commands of its key are executed does not contradict it: so is it.
#[test]
fn a_command_in_a_state_that_was_given_is_not_refuted_by_those_behind_it() {
    let mut c = Cluster::new(3);
    c.propose(0, 1, "a=1");
    c.deliver(0, 1, "PreAccept");
    c.deliver(0, 2, "PreAccept");
    c.deliver(1, 0, "PreAcceptOk");
    c.lose(0, 1);
    c.propose(0, 2, "a=2");
    c.deliver(0, 1, "PreAccept");
    c.deliver(1, 0, "PreAcceptOk");
    assert_eq!(c.given[0].len(), 2, "both are decided and executed at their owner");
    c.lose(0, 1);
    c.lose(0, 2);
    let mark = c.nodes[0].mark();
    c.step(1, Input::Installed { mark });
    c.recover(2, InstanceId::new(0, 1));
    c.lose(2, 0);
    c.deliver(2, 1, "Prepare");
    c.deliver(1, 2, "PrepareOk");
    c.deliver(2, 1, "Validate");
    c.deliver(1, 2, "ValidateOk");
    c.deliver(2, 1, "Accept");
    c.deliver(1, 2, "AcceptOk");
    assert_eq!(c.contradiction(), None);
    assert!(holds(&c, 2, b"a=1"));
}

/// A command that was given up is no dependency that anybody has to wait for. But whoever had it and leaves it out of a vote says,
/// to a recovery that knows it as undecided, that the vote was before it.
#[test]
fn what_was_decided_as_nothing_stays_a_dependency() {
    let mut c = Cluster::new(3);
    c.propose(1, 1, "a=1");
    c.deliver(1, 0, "PreAccept");
    c.lose(0, 1);
    c.lose(1, 2);
    // Its owner answers, so nobody decided it fast: it is given up. 0 does not hear of that.
    c.recover(2, InstanceId::new(1, 1));
    c.lose(2, 0);
    c.deliver(2, 1, "Prepare");
    c.deliver(1, 2, "PrepareOk");
    c.deliver(2, 1, "Accept");
    c.deliver(1, 2, "AcceptOk");
    c.lose(2, 0);
    c.deliver(2, 1, "Commit");
    // Its owner proposes it again.
    c.deliver(1, 2, "PreAccept");
    c.deliver(1, 0, "PreAccept");
    c.deliver(2, 1, "PreAcceptOk");
    assert!(holds(&c, 1, b"a=1"), "it is decided fast");
    c.lose(1, 0);
    c.lose(1, 2);
    c.lose(0, 1);
    c.recover(2, InstanceId::new(1, 2));
    c.lose(2, 1);
    c.deliver(2, 0, "Prepare");
    c.deliver(0, 2, "PrepareOk");
    c.deliver(2, 0, "Validate");
    c.deliver(0, 2, "ValidateOk");
    c.deliver(2, 0, "Accept");
    c.deliver(0, 2, "AcceptOk");
    assert_eq!(c.contradiction(), None);
    assert!(holds(&c, 2, b"a=1"));
}
