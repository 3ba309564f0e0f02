//! A leader whose process dies while an epoch ends: its peers are told that it is gone, and lose little time.

use crate::harness::{Answered, G, World, n};
use bytes::Bytes;
use dwcp_chain::EngineKind;
use dwcp_env::{Duration, Lane, NodeId};

const BEAT: Duration = Duration::millis(100);
const ENGINES: [EngineKind; 3] = [EngineKind::Raft, EngineKind::Paxos, EngineKind::EPaxos];

impl World {
    /// Ends a process; whoever is left is told of it a moment later, as by a reset connection.
    fn kill(&mut self, gone: NodeId) {
        self.crash(gone);
        self.run(Duration::millis(1));
        for id in self.up() {
            let now = self.at();
            self.host(id).unreachable(now, gone);
            self.turn(id);
        }
    }

    /// Asks all that are up in turn until a command is decided: how long that takes.
    fn served_again(&mut self, within: Duration) -> Duration {
        let begun = self.at().mono;
        let mut asked = Vec::new();
        loop {
            for id in self.up() {
                asked.push(self.propose(id, G, "after"));
            }
            self.run(Duration::millis(5));
            let waited = self.at().mono.since(begun);
            let done = |t| matches!(self.answers.get(t), Some(Answered::Proposed(Ok(_))));
            if asked.iter().any(done) {
                return waited;
            }
            assert!(waited < within, "nothing is decided within {within}");
        }
    }
}

#[test]
fn a_leader_that_dies_once_its_seal_is_decided_is_not_waited_for() {
    for from in ENGINES {
        for to in ENGINES.into_iter().filter(|to| *to != from) {
            for seed in 0..8 {
                let mut w = World::cluster(seed, 3, from);
                w.elect_any();
                w.write_at(n(1), "before");
                let first = w.life(n(1)).and_then(|l| l.host.brief(G).leader).unwrap();
                w.switch(first, to);
                w.until(Duration::secs(5), |w| w.up().into_iter().any(|id| id != first && w.epoch(id) == 1))
                    .unwrap();
                w.kill(first);
                // A word that was on its way is no sign of life.
                w.up()
                    .into_iter()
                    .for_each(|id| w.inject(first, id, Lane::Data, Bytes::from_static(b"late")));
                w.run(Duration::millis(1));
                let waited = w.served_again(Duration::secs(5));
                assert!(waited <= BEAT * 4, "{from} to {to}, seed {seed}: {waited}");
            }
        }
    }
}

#[test]
fn a_leader_under_paxos_whose_process_dies_is_replaced_within_two_heartbeats() {
    for seed in 0..8 {
        let mut w = World::cluster(seed, 5, EngineKind::Paxos);
        w.elect_any();
        w.write_at(n(1), "before");
        let leader = w.leader(G).unwrap();
        w.kill(leader);
        let waited = w.served_again(Duration::secs(5));
        assert!(waited <= BEAT * 2, "seed {seed}: {waited}");
    }
}
