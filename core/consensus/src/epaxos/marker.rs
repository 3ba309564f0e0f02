//! Markers: commands that interfere with everything, so that checkpoints of different replicas can be compared.
//!
//! Replicas execute commuting commands in different orders. If each forgot what its own checkpoints hold, one could
//! have forgotten what another lacks, and the other way round; then neither's checkpoint may replace the other's
//! state, and the decisions are gone: the group stands still. A marker is ordered against every command, so what is
//! executed before it is the same everywhere. Only that may be forgotten ([`Epaxos::durable_base`]), and only
//! when it is in a durable checkpoint. Of any two markers one comes first, so of any two replicas one has all that the
//! other has forgotten, and its checkpoint will do.
//!
//! *What was decided as nothing* interferes with nothing, a marker included; so a marker executes, before itself, all
//! of those inside its dependencies, which is the same set everywhere. *The base* is what is executed inside
//! the marker's dependencies: outside, a replica may have executed nothings that others have not decided.
//!
//! A marker is an ordinary instance of [`Payload::Blank`]. A replica proposes one when `marker_every` instances are
//! executed behind the last; the replicas' thresholds differ, in turns, so that usually one does.

use super::protocol::{Epaxos, Out};
use crate::step::Payload;
use dwcp_env::Instant;

impl Epaxos {
    /// Proposes a marker if it is time.
    pub(super) fn mark_out(&mut self, now: Instant, out: &mut Out) {
        if let Some(id) = self.marker {
            let open = !self.executed.has(id)
                && self.instances.get(&id).is_some_and(|i| !i.announced || !i.vote.noop);
            if open {
                return;
            }
            self.marker = None;
        }
        let (every, n) = (self.config.set.marker_every, self.config.n as u64);
        let base = self.base.count();
        let turn = (u64::from(self.config.place) + base / every) % n;
        let wanted = every.saturating_add(every / 4 * turn);
        if self.executed.count() - base >= wanted && !self.cut_off {
            self.counts.markers += 1;
            self.marker = Some(self.begin(now, Payload::Blank, out));
        }
    }
}
