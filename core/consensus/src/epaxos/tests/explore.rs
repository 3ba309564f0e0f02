//! Every schedule of three replicas and two interfering commands, with a bounded number of recoveries and crashes.
//!
//! A message not delivered is a message lost; time stands still, and recoveries begin when the explorer says so.
//! Disks sync at once here: what a sync holds back is the golden scripts' and the rehearsal's business.

use super::super::message::{InstanceId, Message};
use super::Cluster;
use crate::quorum::System;
use core::hash::{Hash, Hasher};
use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::vec::Vec;

/// FNV-1a, 128 bits wide: collisions of states are out of the question.
struct Wide(u128);
impl Hasher for Wide {
    fn finish(&self) -> u64 {
        self.0 as u64
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u128::from(*b)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

#[derive(Clone)]
struct State {
    cluster: Cluster,
    recoveries: u8,
    crashes: u8,
}

impl State {
    /// What its future depends on: not tickets, timers or counts.
    fn key(&self) -> u128 {
        let mut h = Wide(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d);
        for node in &self.cluster.nodes {
            for (id, instance) in &node.instances {
                (id, &instance.vote, instance.announced, &instance.drive, instance.heard, instance.agreeing)
                    .hash(&mut h);
            }
            (&node.executed, &node.waits, node.next).hash(&mut h);
        }
        let mut pool: Vec<u128> = self
            .cluster
            .pool
            .iter()
            .map(|m| {
                let mut h = Wide(1);
                m.hash(&mut h);
                h.0
            })
            .collect();
        pool.sort_unstable();
        (pool, self.recoveries, self.crashes).hash(&mut h);
        for given in &self.cluster.given {
            given.hash(&mut h);
        }
        h.0
    }
    fn next(&self) -> Vec<Self> {
        let mut next = Vec::new();
        for at in 0..self.cluster.pool.len() {
            let mut s = self.clone();
            let (from, to, message) = s.cluster.pool.remove(at);
            s.cluster.step(
                to,
                crate::step::Input::Message { from: dwcp_env::NodeId(u64::from(from) + 1), message },
            );
            next.push(s);
        }
        for node in 0..3_u8 {
            if self.recoveries > 0 {
                for id in [InstanceId::new(0, 1), InstanceId::new(1, 1)] {
                    let replica = &self.cluster.nodes[usize::from(node)];
                    let known = replica.instances.get(&id);
                    if known.is_none_or(|i| !i.vote.committed() && i.drive.ballot().is_none()) {
                        let mut s = self.clone();
                        s.recoveries -= 1;
                        s.cluster.recover(node, id);
                        next.push(s);
                    }
                }
            }
            if self.crashes > 0 {
                let mut s = self.clone();
                s.crashes -= 1;
                s.cluster.crash(node);
                next.push(s);
            }
        }
        for s in &mut next {
            s.tidy();
        }
        next
    }
    /// Takes out messages that can change nothing any more, so that equal futures are equal states.
    fn tidy(&mut self) {
        let nodes = &self.cluster.nodes;
        self.cluster.pool.retain(|(_, to, message)| {
            let settled =
                |id: &InstanceId| nodes[usize::from(*to)].instances.get(id).is_some_and(|i| i.announced);
            match message {
                Message::PreAcceptOk { id, .. }
                | Message::AcceptOk { id, .. }
                | Message::PrepareOk { id, .. }
                | Message::ValidateOk { id, .. }
                | Message::Commit { id, .. }
                | Message::Nack { id, .. } => !settled(id),
                Message::Beat { .. } => false,
                _ => true,
            }
        });
    }
}

/// Visits everything reachable, up to `limit` states; says how many, and whether that was all.
fn explore(quorums: System, recoveries: u8, crashes: u8, limit: usize, deep: bool) -> (usize, bool) {
    let mut cluster = Cluster::of(quorums);
    cluster.propose(0, 1, "a=1");
    cluster.propose(1, 2, "a=2");
    let first = State { cluster, recoveries, crashes };
    let mut seen = BTreeSet::from([first.key()]);
    let mut open = VecDeque::from([first]);
    while let Some(state) = if deep { open.pop_back() } else { open.pop_front() } {
        for s in state.next() {
            if !seen.insert(s.key()) {
                continue;
            }
            if let Some(wrong) = s.cluster.contradiction() {
                panic!("after {} states: {wrong}", seen.len());
            }
            assert_eq!(s.cluster.blamed, 0, "a correct replica is blamed");
            if seen.len() >= limit {
                return (seen.len(), false);
            }
            open.push_back(s);
        }
    }
    (seen.len(), true)
}

fn say(line: core::fmt::Arguments<'_>) {
    writeln!(std::io::stdout(), "{line}").expect("somebody listens");
}

const PLAIN: System = System::Majority { members: 3 };
const ATLAS: System = System::atlas(3, 1);

#[test]
fn two_commands_without_faults_in_every_order() {
    for quorums in [PLAIN, ATLAS] {
        let (states, all) = explore(quorums.clone(), 0, 0, 200_000, false);
        say(format_args!("{quorums:?}: {states} states"));
        assert!(all, "more than {states} states");
    }
}

#[test]
fn two_commands_and_a_recovery_in_many_orders() {
    for quorums in [PLAIN, ATLAS] {
        let (states, _) = explore(quorums.clone(), 1, 0, 10_000, false);
        say(format_args!("{quorums:?}: {states} states"));
        assert!(states > 1_000);
    }
}

/// What can be seen whole, and is.
/// `cargo test --profile sim -p dwcp-consensus --features rehearsal epaxos::tests::explore -- --ignored --nocapture`
#[test]
#[ignore = "half a minute: a command of its own (docs/protocols/consensus.md)"]
fn two_commands_and_crashes_in_every_order() {
    for (quorums, recoveries, crashes) in WHOLE {
        let (states, all) = explore(quorums.clone(), recoveries, crashes, 40_000_000, true);
        say(format_args!("{quorums:?}, {recoveries} recoveries, {crashes} crashes: {states} states"));
        assert!(all, "more than {states} states");
    }
}
const WHOLE: [(System, u8, u8); 3] = [(ATLAS, 0, 1), (ATLAS, 0, 2), (PLAIN, 0, 1)];

/// What was not seen whole: up to a bound, and so far without a contradiction.
#[test]
#[ignore = "an hour: a command of its own (docs/protocols/consensus.md)"]
fn two_commands_and_more_faults_up_to_a_bound() {
    for (quorums, recoveries, crashes) in BOUNDED {
        let (states, all) = explore(quorums.clone(), recoveries, crashes, 1_500_000, true);
        say(format_args!(
            "{quorums:?}, {recoveries} recoveries, {crashes} crashes: {states} states, whole: {all}"
        ));
    }
}
const BOUNDED: [(System, u8, u8); 6] =
    [(ATLAS, 1, 0), (ATLAS, 1, 1), (ATLAS, 2, 0), (PLAIN, 1, 0), (PLAIN, 1, 1), (PLAIN, 2, 0)];
