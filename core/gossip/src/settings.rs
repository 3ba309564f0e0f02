//! Every period, fan-out and bound of the crate, with units, checked once.
//!
//! [`Settings::default`] is what is recommended and measured; [`Settings::original`] is the original
//! specification (fan-out 3 every 5 s, anti-entropy every 30 s), which works and is measured beside it
//! (docs/gossip.md). All nodes of a cluster should share them; none of them has to agree for safety.

use dwcp_env::Duration;
use thiserror::Error;

/// The largest message about members, in bytes: fits one datagram of every path we know.
pub const DATAGRAM_MAX: usize = 1_200;
/// The largest rumour, in bytes. What is larger belongs to the repair behind the digest.
pub const RUMOUR_MAX: usize = 256 * 1_024;
/// The longest address a member may state, in bytes.
pub const ADDRESS_MAX: usize = 64;
/// Members a node knows at most, the dead it remembers included.
pub const MEMBERS_MAX: usize = 16_384;
/// Dead and left members remembered; the oldest death is forgotten first.
pub const GRAVES_MAX: usize = 8_192;
/// Identifiers retired by consensus and remembered.
pub const RETIRED_MAX: usize = 65_536;
/// The highest incarnation believed: no honest member gets there.
pub const INCARNATION_MAX: u64 = 1 << 48;
/// Facts about members that wait to be passed on.
pub const UPDATES_MAX: usize = 4_096;
/// Members somebody calls dead, waiting to be asked themselves.
pub const ACCUSED_MAX: usize = 1_024;
/// Rumours remembered as seen; behind them the store is asked.
pub const SEEN_MAX: usize = 8_192;
/// Bytes of recent rumours kept to answer grafts without asking the store.
pub const CACHE_BYTES: usize = 4 * 1_024 * 1_024;
/// Rumours known to exist and not yet held.
pub const MISSING_MAX: usize = 4_096;
/// Peers remembered as able to give one missing rumour.
pub const SOURCES_MAX: usize = 8;
/// Times a missing rumour is asked for before the digest has to find it.
pub const GRAFTS_MAX: u32 = 8;
/// Identifiers in one announcement or request.
pub const IDS_MAX: usize = 64;

const _: () = {
    assert!(GRAVES_MAX < MEMBERS_MAX, "the dead must leave room for the living");
    assert!(IDS_MAX * 14 + 64 <= DATAGRAM_MAX, "an announcement must fit a datagram");
    assert!(RUMOUR_MAX < dwcp_env::bound::FRAME_BODY_MAX.0 as usize, "a rumour must fit a frame");
    assert!(RUMOUR_MAX <= CACHE_BYTES, "a rumour must fit the cache");
};

/// How rumours spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spread {
    /// Relays between regions, an eager tree inside each.
    Tree,
    /// Each `every`, all that is new to `fanout` peers anywhere, `rounds` times.
    Push {
        /// Peers a round.
        fanout: usize,
        /// Between rounds.
        every: Duration,
        /// Rounds a rumour stays new at one node.
        rounds: u32,
    },
}

/// Settings of [`crate::Gossip`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Between probes of one node.
    pub probe_every: Duration,
    /// A direct answer is waited for this long, then others are asked to probe.
    pub probe_timeout: Duration,
    /// After that, this long until the member is suspected.
    pub indirect_timeout: Duration,
    /// How many others are asked to probe.
    pub indirect: usize,
    /// A suspicion lasts at least this many probe periods times log10 of the members (at least 1).
    pub suspicion_min: u32,
    /// And at most this many times that, when nobody confirms it.
    pub suspicion_max: u32,
    /// Independent confirmations that bring it down to the least.
    pub confirmations: u32,
    /// Local health, buddies, growing suspicion and the void of late rounds (Lifeguard). Without it the
    /// detector is SWIM's, and a suspicion lasts the least time.
    pub lifeguard: bool,
    /// The local health counter's highest value.
    pub health_max: u32,
    /// A step that comes this much later than it was wished for counts as our own slowness.
    pub late: Duration,
    /// Between messages that only pass on facts about members, while there are any.
    pub pass_on_every: Duration,
    /// Peers each time.
    pub pass_on_fanout: usize,
    /// A fact is passed on this many times ceil(log10(members + 1)).
    pub retransmit: u32,
    /// Between comparisons of the whole membership with one peer.
    pub sync_every: Duration,
    /// Between tries to reach one of those thought dead.
    pub reconnect_every: Duration,

    /// How rumours spread.
    pub spread: Spread,
    /// Whether the caller ships the rumours of this region to [`Gossip::partners`](crate::Gossip::partners) over site streams;
    /// else relays push them to those of other regions.
    pub streams: bool,
    /// Relays per region.
    pub relays: usize,
    /// Rings of each region's overlay; a member has two neighbours in each.
    pub rings: usize,
    /// Announcements wait this long for company.
    pub announce_every: Duration,
    /// A rumour announced from the own region is waited for this long before it is asked for.
    pub graft_near: Duration,
    /// And this much longer for each hop this node is usually away from the relay, so that the first node of
    /// a branch that was cut repairs it, and those behind it need not.
    pub graft_hop: Duration,
    /// A rumour announced from another region is waited for this long.
    pub graft_far: Duration,
    /// A rumour longer than this is announced, never pushed.
    pub eager_max: usize,
    /// Bytes a second pushed to one peer; above it, rumours are announced only.
    pub peer_rate: u64,
    /// Bytes that may go at once after a pause.
    pub peer_burst: u64,
    /// Between digests.
    pub digest_every: Duration,
    /// Of this many digests one goes to a relay of another region (0: never; with
    /// [`Spread::Push`] peers are drawn from everywhere).
    pub digest_far: u32,
    /// Of this many one goes to a relay of the own region (0: only by chance).
    pub digest_relay: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            probe_every: Duration::secs(1),
            probe_timeout: Duration::millis(500),
            indirect_timeout: Duration::millis(900),
            indirect: 3,
            suspicion_min: 2,
            suspicion_max: 6,
            confirmations: 3,
            lifeguard: true,
            health_max: 8,
            late: Duration::millis(250),
            pass_on_every: Duration::millis(200),
            pass_on_fanout: 3,
            retransmit: 4,
            sync_every: Duration::secs(10),
            reconnect_every: Duration::secs(5),
            spread: Spread::Tree,
            streams: false,
            relays: 2,
            rings: 4,
            announce_every: Duration::millis(5),
            graft_near: Duration::millis(20),
            graft_hop: Duration::millis(4),
            graft_far: Duration::millis(150),
            eager_max: RUMOUR_MAX,
            peer_rate: 64 * 1_024 * 1_024,
            peer_burst: 4 * 1_024 * 1_024,
            digest_every: Duration::secs(1),
            digest_far: 8,
            digest_relay: 4,
        }
    }
}

impl Settings {
    /// The original specification: fan-out 3, gossip every 5 s, anti-entropy every 30 s, no regions.
    #[must_use]
    pub fn original() -> Self {
        Self {
            spread: Spread::Push { fanout: 3, every: Duration::secs(5), rounds: 4 },
            digest_every: Duration::secs(30),
            digest_far: 0,
            digest_relay: 0,
            ..Self::default()
        }
    }

    /// Refuses what can't work, saying what would.
    ///
    /// # Errors
    /// The first setting that is wrong.
    pub fn check(&self) -> Result<(), SettingsError> {
        let wrong = |name, why| Err(SettingsError { name, why });
        let periods = [
            ("probe_every", self.probe_every),
            ("probe_timeout", self.probe_timeout),
            ("indirect_timeout", self.indirect_timeout),
            ("pass_on_every", self.pass_on_every),
            ("sync_every", self.sync_every),
            ("reconnect_every", self.reconnect_every),
            ("graft_near", self.graft_near),
            ("graft_far", self.graft_far),
            ("digest_every", self.digest_every),
            ("late", self.late),
        ];
        for (name, period) in periods {
            if period < Duration::millis(1) {
                return wrong(name, "must be at least 1 ms");
            }
        }
        if self.suspicion_min == 0 || self.suspicion_max == 0 {
            return wrong("suspicion_min", "and suspicion_max must be at least 1");
        }
        if self.confirmations > 16 {
            return wrong("confirmations", "must be at most 16");
        }
        if self.health_max == 0 || self.health_max > 64 {
            return wrong("health_max", "must be 1 to 64");
        }
        if !(1..=16).contains(&self.rings) {
            return wrong("rings", "must be 1 to 16");
        }
        if !(1..=8).contains(&self.relays) {
            return wrong("relays", "must be 1 to 8");
        }
        if self.indirect > 16 || self.pass_on_fanout == 0 || self.pass_on_fanout > 16 {
            return wrong("pass_on_fanout", "must be 1 to 16, and indirect at most 16");
        }
        if self.retransmit == 0 || self.retransmit > 64 {
            return wrong("retransmit", "must be 1 to 64");
        }
        if self.eager_max > RUMOUR_MAX || self.peer_burst < RUMOUR_MAX as u64 {
            return wrong(
                "peer_burst",
                "must hold the largest rumour (256 KiB), and eager_max not exceed it",
            );
        }
        if self.streams && self.spread != Spread::Tree {
            return wrong("streams", "need relays: set spread to Tree");
        }
        match self.spread {
            Spread::Push { fanout, every, rounds }
                if fanout == 0 || fanout > 16 || rounds == 0 || every < Duration::millis(1) =>
            {
                wrong("spread", "a push needs a fan-out of 1 to 16, a round and a period of 1 ms or more")
            }
            _ => Ok(()),
        }
    }
}

/// A setting that can't work.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("gossip setting `{name}` {why}")]
pub struct SettingsError {
    /// Which.
    pub name: &'static str,
    /// What would be right.
    pub why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sets_of_settings_are_right() {
        assert_eq!(Settings::default().check(), Ok(()));
        assert_eq!(Settings::original().check(), Ok(()));
    }

    #[test]
    fn a_wrong_setting_is_named() {
        let named = |change: fn(&mut Settings)| {
            let mut s = Settings::default();
            change(&mut s);
            s.check().map_err(|e| e.name)
        };
        assert_eq!(named(|s| s.probe_every = Duration::ZERO), Err("probe_every"));
        assert_eq!(named(|s| s.rings = 0), Err("rings"));
        assert_eq!(named(|s| s.relays = 9), Err("relays"));
        assert_eq!(named(|s| s.peer_burst = 1), Err("peer_burst"));
        assert_eq!(named(|s| s.health_max = 0), Err("health_max"));
        assert_eq!(named(|s| (s.streams, s.spread) = (true, Settings::original().spread)), Err("streams"));
        let still = Spread::Push { fanout: 0, every: Duration::secs(1), rounds: 1 };
        let s = Settings { spread: still, ..Settings::default() };
        assert_eq!(s.check().map_err(|e| e.name), Err("spread"));
    }
}
