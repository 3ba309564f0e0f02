//! What may be forgotten, and what a checkpoint of a peer must bring in return.

use super::super::executed::{Executed, Mark};
use super::super::message::{InstanceId, Message, Record, Value};
use super::super::protocol::Epaxos;
use super::{Cluster, config};
use crate::step::{Input, Output, Payload, Protocol};
use bytes::Bytes;
use dwcp_env::{Instant, NodeId};
use std::vec::Vec;

const NOW: Instant = Instant::from_nanos(1);

fn mark(executed: &[(u8, u64)], base: &[(u8, u64)]) -> Bytes {
    let set = |ids: &[(u8, u64)]| {
        let mut set = Executed::none(3);
        ids.iter().for_each(|(replica, number)| set.insert(InstanceId::new(*replica, *number)));
        set
    };
    Mark { executed: set(executed), base: set(base), ..Mark::none(3) }.write()
}

/// A replica restarts from a checkpoint that holds more than its last marker; a peer's checkpoint lacks some of that.
/// Installed, what was executed and decided is not forgotten: who asks is told.
#[test]
fn what_no_marker_covers_is_known_after_a_restart() {
    let mut c = Cluster::new(3);
    c.propose(0, 1, "a=1");
    c.settle();
    let own = c.nodes[2].mark();
    assert_eq!(c.given[2].len(), 1);
    let records: Vec<Record> = c.disks[2].clone();
    // Compacted or not, to the last record or without the decision.
    let compacted = c.nodes[2].compact();
    let undecided: Vec<Record> =
        records.iter().filter(|r| !matches!(r, Record::Decided { .. })).cloned().collect();
    for records in [records, compacted, undecided] {
        let mut node = Epaxos::recover(config(2, 3), Some(&own), records, NOW).expect("its own");
        let other = mark(&[(1, 1)], &[]);
        assert!(node.admits(&other, &[0; 32]), "it has the vote for what the checkpoint lacks");
        let mut out = Vec::new();
        node.step(NOW, Input::Installed { mark: other }, &mut out);
        let id = InstanceId::new(0, 1);
        let ballot = node.config.ballot_above(8);
        let ballot = (ballot..).find(|b| node.config.owner(0, *b) == 1).expect("every third");
        out.clear();
        node.step(
            NOW,
            Input::Message { from: NodeId(2), message: Message::Prepare { id, ballot } },
            &mut out,
        );
        let command = Payload::Command(Bytes::from_static(b"a=1"));
        let told = out.iter().any(|o| match o {
            Output::Send { message: Message::Commit { value: Value::Command(v), .. }, .. } => *v == command,
            Output::Send { message: Message::PrepareOk { vote, .. }, .. } => {
                vote.command.as_ref() == Some(&command)
            }
            _ => false,
        });
        assert!(told, "{out:?}");
        assert_eq!(node.compact().len(), 1, "and on disk it is known too");
    }
}

/// An installed checkpoint of an older marker does not make forgotten what a newer one allowed to forget.
#[test]
fn what_was_forgotten_must_come_with_every_later_checkpoint() {
    let mut node = Epaxos::recover(config(2, 3), Some(&mark(&[(0, 1)], &[(0, 1)])), [], NOW).expect("a mark");
    let older = mark(&[(0, 1), (1, 1)], &[]);
    assert!(node.admits(&older, &[0; 32]));
    let mut out = Vec::new();
    node.step(NOW, Input::Installed { mark: older.clone() }, &mut out);
    assert!(!node.admits(&mark(&[(1, 1), (1, 2)], &[]), &[0; 32]), "the votes for 0.1 are nowhere");
    assert!(node.admits(&mark(&[(0, 1), (1, 1), (1, 2)], &[]), &[0; 32]));
    // The same after a restart from what was installed.
    let node = Epaxos::recover(config(2, 3), Some(&older), node.compact(), NOW).expect("its own");
    assert!(!node.admits(&mark(&[(1, 1), (1, 2)], &[]), &[0; 32]));
}

/// A driver that swaps without asking, or with bytes that are no mark, is not obeyed.
#[test]
fn what_is_not_admitted_is_not_installed() {
    let mut node = Epaxos::recover(config(2, 3), Some(&mark(&[(0, 1)], &[(0, 1)])), [], NOW).expect("a mark");
    let before = node.mark();
    for wrong in [mark(&[(1, 1)], &[]), Bytes::from_static(b"no mark"), before.clone()] {
        let mut out = Vec::new();
        node.step(NOW, Input::Installed { mark: wrong }, &mut out);
        assert_eq!(node.mark(), before);
        assert_eq!(node.counts().not_installed, 1);
        node.counts.not_installed = 0;
    }
}

#[test]
fn looking_after_an_instance_in_vain_never_becomes_a_new_ballot_every_time() {
    let mut attempts = 0;
    let mut ballots = Vec::new();
    for look in 0..2_000 {
        attempts = super::super::recovery::next_attempt(attempts);
        if super::super::recovery::is_new_ballot(attempts) {
            ballots.push(look);
        }
    }
    assert!(ballots.windows(2).all(|w| w[1] - w[0] == 4));
}
