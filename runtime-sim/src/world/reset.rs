//! Connections that are reset: who is told that a peer's process is gone, rightly or not.
//!
//! A process that ends leaves a machine that resets its connections and refuses new ones: each peer that
//! the network lets know is told ([`Input::Unreachable`]). A machine without power says nothing; as what
//! plans call a crash may be either, half of the crashes are told. Where nodes may misbehave
//! ([`Plan::buggify`](crate::Plan)), the beginning of a fault brings resets by some box in between as well:
//! most nodes are told of one that lives.

use super::process::End;
use super::{Next, SimWorld};
use crate::fault::FaultKind;
use crate::net::Fate;
use crate::trace::What;
use bytes::Bytes;
use dwcp_env::{Input, Instant, Lane, Machine, Purpose, Ratio};

const SILENCE: Purpose = Purpose::named("reset.silence");
const PAUSE: Purpose = Purpose::named("reset.pause");
const WRONG: Purpose = Purpose::named("reset.wrong");
const VICTIM: Purpose = Purpose::named("reset.victim");
const TOLD: Purpose = Purpose::named("reset.told");

/// A peer dials again after 25 to 50 ms, and finds nobody.
const PAUSE_MIN: u64 = 25_000_000;
const PAUSE_SPAN: u64 = 25_000_001;
const HALF: Ratio = Ratio { num: 1, den: 2 };
const QUARTER: Ratio = Ratio { num: 1, den: 4 };
const MOST: Ratio = Ratio { num: 3, den: 4 };

impl<M: Machine> SimWorld<M> {
    /// A process has ended: its peers find out, those that can.
    pub(super) fn links_reset(&mut self, i: usize, how: End) {
        let (seed, at, gone) = (self.plan.seed, Instant::from_nanos(self.now), self.hosts[i].id.0);
        if matches!(how, End::Power { .. }) && HALF.hit(seed.draw(SILENCE, gone, at, 0)) {
            return;
        }
        for node in (0..self.hosts.len()).filter(|n| *n != i) {
            let reset = Bytes::new();
            let passage = self.net.pass(self.now, i, node, Lane::Control, &reset, &mut self.fired);
            if let Fate::Arrives(arrives) = passage.fate {
                let pause = PAUSE_MIN + seed.below(PAUSE_SPAN, PAUSE, gone << 32 | node as u64, at, 0);
                let hint = Next::Unreachable { node: node as u16, peer: i as u16, wrong: false };
                self.queue.push(arrives + pause, hint);
            }
        }
    }

    /// A fault begins; now and then it resets connections between those that live.
    pub(super) fn reset_wrongly(&mut self, kind: FaultKind) {
        let (seed, at, entity) = (self.plan.seed, Instant::from_nanos(self.now), kind as u64);
        if !self.plan.buggify || !QUARTER.hit(seed.draw(WRONG, entity, at, 0)) {
            return;
        }
        let nodes = self.hosts.len() as u64;
        let victim = seed.below(nodes, VICTIM, entity, at, 0);
        for node in (0..nodes).filter(|n| *n != victim) {
            if MOST.hit(seed.draw(TOLD, entity, at, node)) {
                let pause = seed.below(PAUSE_MIN, PAUSE, victim << 32 | node, at, 1);
                let hint = Next::Unreachable { node: node as u16, peer: victim as u16, wrong: true };
                self.queue.push(self.now + pause, hint);
            }
        }
    }

    /// A node has found that nobody listens where a peer should.
    pub(super) fn unreachable(&mut self, i: usize, peer: usize, wrong: bool) {
        let gone = self.hosts[peer].machine.is_none();
        // Who is back in time is found at home.
        if self.hosts[i].machine.is_none() || !(gone || wrong) {
            return;
        }
        let (node, peer) = (self.hosts[i].id, self.hosts[peer].id);
        self.note(peer.0 << 1 | u64::from(gone), || What::Unreachable { node, peer, gone });
        let probe = self.witness.probe(node);
        probe.sometimes("world.unreachable", gone);
        probe.sometimes("world.unreachable_wrongly", !gone);
        self.arrive(i, Input::Unreachable { peer });
    }
}
