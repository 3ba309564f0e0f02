//! What everyone has, told by a few: so that logs are cut and tombstones buried in a cluster of any size.
//!
//! **Promise.** When all active members have an operation on their disks, each of them knows it within about a minute of seconds'
//! digests, without each pair of them having spoken.
//!
//! **Why not pair by pair.** A log is cut at what *every* active member acknowledged. Digests and versions acknowledge for
//! one pair, and far ones go to relays: two members of different regions, neither of them a relay, never speak at all. Were each
//! second's digest to go to the next of all the living instead, a pair would speak once in `n` seconds. With 1,000 nodes and 10,000
//! operations of 150 bytes a second that keeps 1.5 GB in every log, three times
//! [`unstable_max`](crate::EventualSpec::unstable_max).
//!
//! **Told on.** That somebody has something on its disk stays true, so anybody may say it on, and of many at once: a
//! [`Floor`] is one version that all of some members have. Whoever sends a digest to a relay sends floors along, and gets the
//! relay's in answer:
//!
//! | floor of | known from |
//! |---|---|
//! | the sender itself | its own disk |
//! | active members of its region | what they said to it, or a relay said of them |
//! | active members elsewhere | what was told |
//! | members that lag or close: the log is not kept for them, tombstones are | any of these |
//!
//! ```text
//!   members ──own version──▶ relay ◀──── floor of each region ────▶ relays of other regions
//!           ◀──all floors───                                        (and members, of whom one in eight digests goes far)
//! ```
//!
//! **How long.** With the default settings a member turns to a relay of its region every 4 s and to each of two every 8 s; with a relay of
//! another region each member speaks every 8 s, so `m` members and `k` regions make a pair of regions meet about every `8 (k-1) / m` s,
//! and one relay of the other twice as rarely; and 4 s later the members ask. Three regions of three: 8 + 8 + 4 s and what the turns add, some
//! 35 s at worst. Five of 200: 8 + 1 + 4 s: 20 MB in the log at the rate above, where `unstable_max` is 512.
//!
//! **What it costs.** A vector of `n` members is about 4.3 n bytes, and who is meant about 1 n; a message has three vectors: 17 KB at
//! 1,000 nodes, 150 bytes at nine. A member sends three in 8 s and gets as many back: 13 KB/s at 1,000 nodes under
//! load. A relay of 200 members answers 25 in a second from its region and 12 from others: 0.65 MB/s. Taking one in is a pass over
//! `n` vectors of `n` numbers, a millisecond. At rest nothing is sent: who knows that all have what it has asks nobody, and
//! answers from what equal digests told it. While somebody is silent and nothing changes, one in [`QUIET_EVERY`] is asked.
//!
//! **Invariants.** 1. A floor speaks of the sender's own version only if that is on its disk (it waits for the disk as a digest
//! does). 2. A floor never holds more than each of its members acknowledged (`dwcp_crdt::space::Floor`): believing one
//! is as safe as having heard them all. 3. It is said under the sender's roster, and counts where that is known: the sender has counted only
//! what was said under it or an earlier one.
//!
//! **Rejected.** A matrix of all members' versions at every node (4 MB to send, and again for each change); a coordinator who
//! collects and announces (someone has to elect it, and who is cut off from it keeps everything); rounds with a bit for each member (one
//! slow member holds up the round for all).

use crate::message::{self, Message};
use crate::replica::{Eventual, Intent};
use bytes::Bytes;
use dwcp_crdt::space::Floor;
use dwcp_crdt::{Standing, VersionVector};
use dwcp_env::{Lane, NodeId, PeerFault, RegionId};
use dwcp_gossip::settings::Spread;

/// While nothing changes one digest of so many asks for floors,
const QUIET_EVERY: u32 = 16;
/// after so many that did.
const QUIET_AFTER: u32 = 8;

/// What was asked for last.
#[derive(Debug, Default)]
pub(crate) struct Floors {
    /// What this replica had, what it knew that all have, and the roster's epoch.
    known: (VersionVector, VersionVector, u64),
    /// How often it asked, and nothing had changed.
    quiet: u32,
}

impl Eventual {
    /// A digest goes to this peer: floors go along if it is one who knows, and something is not known to be everywhere.
    pub(crate) fn ask_floors(&mut self, to: NodeId) {
        let tells = self.spec.gossip.spread != Spread::Tree
            || self.region_of(to).is_some_and(|region| self.gossip.relays(region).contains(&to));
        if !tells {
            return;
        }
        let stable = self.space.stable();
        let version = self.space.version();
        if &stable == version && &self.space.log_floor() == version {
            return;
        }
        let known = (version.clone(), stable, self.space.roster().epoch);
        if self.floors.known == known {
            self.floors.quiet = self.floors.quiet.saturating_add(1);
        } else {
            self.floors = Floors { known, quiet: 0 };
        }
        if self.floors.quiet < QUIET_AFTER || self.floors.quiet.is_multiple_of(QUIET_EVERY) {
            self.intents.push(Intent::Floors { to, answer: false });
        }
    }

    pub(crate) fn on_floors(
        &mut self,
        from: NodeId,
        floors: &[Bytes],
        epoch: u64,
        answer: bool,
    ) -> Result<(), PeerFault> {
        let floors: Result<Vec<Floor>, PeerFault> =
            floors.iter().map(|bytes| message::floor(from, bytes)).collect();
        let floors = floors?;
        if epoch > self.space.roster().epoch {
            // It does not count until we have that roster, and our version asks for it.
            self.intents.push(Intent::Version { to: from, answer: true });
        }
        floors.iter().for_each(|floor| self.space.told(floor, epoch));
        if !answer {
            self.intents.push(Intent::Floors { to: from, answer: true });
        }
        Ok(())
    }

    pub(crate) fn send_floors(&mut self, to: NodeId, answer: bool) {
        let floors = self.known_floors();
        let floors = floors.iter().filter(|f| !f.members.is_empty()).map(message::floor_bytes).collect();
        self.send(to, Lane::Data, &Message::Floors { floors, epoch: self.space.roster().epoch, answer });
    }

    fn known_floors(&self) -> [Floor; 4] {
        let me = self.place();
        let own = me.filter(|_| !self.unacknowledged);
        let own = own.map(|me| Floor::of_one(me, self.space.version().clone())).unwrap_or_default();
        let of = |which: &dyn Fn(Standing, Option<RegionId>) -> bool| {
            let others = self.space.roster().iter().filter(|(r, _)| Some(*r) != me);
            let those = others.filter(|(_, m)| which(m.standing, self.region_of(m.node)));
            self.space.floor_of(those.map(|(r, _)| r))
        };
        let home = Some(self.spec.region);
        [
            own,
            of(&|standing, region| standing == Standing::Active && region == home),
            of(&|standing, region| standing == Standing::Active && region != home),
            of(&|standing, _| matches!(standing, Standing::Lagging | Standing::Closing)),
        ]
    }

    fn region_of(&self, node: NodeId) -> Option<RegionId> {
        self.gossip.member(node)?.described.as_ref().map(|(_, metadata)| metadata.region)
    }
}
