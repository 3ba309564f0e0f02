//! The original specification's way: each period, everything new to a few peers drawn from everywhere, some rounds
//! long. Kept to be compared with.

use super::{Here, Rumour, Tree};
use crate::message::Way;
use crate::settings::{MISSING_MAX, Spread};
use crate::step::Step;
use alloc::vec::Vec;
use dwcp_env::{Duration, NodeId, Purpose};

const PUSH: Purpose = Purpose::named("gossip.push");

/// A rumour that is new to this node.
#[derive(Clone, Debug)]
pub(crate) struct Hot {
    rumour: Rumour,
    rounds: u32,
}

impl Tree {
    /// Makes a rumour new; at the bound the one that was passed on longest makes room.
    pub(super) fn heat(
        &mut self,
        step: &mut Step<'_>,
        here: &Here<'_>,
        rumour: Rumour,
        every: Duration,
        rounds: u32,
    ) {
        if self.hot.len() >= MISSING_MAX {
            self.hot.remove(0);
        }
        self.hot.push(Hot { rumour, rounds });
        // Each node has its own phase of the period, drawn by its identifier.
        let phase = step.phase(here.me, every, PUSH);
        let passed = step.now.as_nanos() % every.as_nanos();
        let wait = (phase.as_nanos() + every.as_nanos() - passed) % every.as_nanos();
        if self.next_push.is_none_or(|at| at <= step.now) {
            self.next_push = Some(step.now + Duration::nanos(wait.max(1)));
        }
    }

    pub(super) fn push_round(&mut self, step: &mut Step<'_>, here: &Here<'_>) {
        let Spread::Push { fanout, every, .. } = here.settings.spread else { return };
        if self.hot.is_empty() || self.next_push.is_some_and(|at| at > step.now) {
            return;
        }
        self.next_push = Some(step.now + every);
        let mut peers: Vec<NodeId> = Vec::new();
        for _ in 0..fanout {
            peers.extend(step.pick(here.live, PUSH, |n| n != here.me && !peers.contains(&n)));
        }
        let mut hot = core::mem::take(&mut self.hot);
        for h in &mut hot {
            for to in &peers {
                if self.afford(step.now, here, *to, &h.rumour) {
                    self.send(step, here, *to, &h.rumour, Way::Direct);
                }
            }
            h.rounds -= 1;
        }
        hot.retain(|h| h.rounds > 0);
        self.hot = hot;
    }
}
