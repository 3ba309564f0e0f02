//! What nodes say to each other, and what of it is believed.
//!
//! ```text
//!  message = incarnation of the sender · body · facts about members
//! ```
//!
//! Written by serde and [`dwcp_env::wire`]. Everything but a rumour's payload fits [`DATAGRAM_MAX`]; facts
//! fill what the body leaves. A message is checked whole before any of it is believed: a wrong one changes
//! nothing and is a [`PeerFault`] of its sender.
//!
//! | body | asks | answered by |
//! |---|---|---|
//! | `Ping` | are you there? | `Ack` |
//! | `PingFor` | is `target` there? I can't hear it | `Ack`, or `Nack`: I hear nothing either |
//! | `PassOn` | nothing: carries facts | – |
//! | `Compare` | the summary of my view | `Page`s of the buckets that differ; nothing if none |
//! | `Page` | members of some buckets; `want`: give me yours | `Page`s |
//! | `Rumour` | nothing: a payload | `Prune` if it came twice |
//! | `Have` | I could give you these | `Want`, later, if nobody else gave them |
//! | `Want` | give me these, and with `eager` what follows too | `Rumour`s |
//! | `Prune` | announce to me, do not push | – |

use crate::member::{Incarnation, Update};
use crate::settings::{DATAGRAM_MAX, IDS_MAX, RUMOUR_MAX};
use crate::table::BUCKETS;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use bytes::Bytes;
use dwcp_env::{NodeId, PeerFault, RegionId, wire};
use serde::{Deserialize, Serialize};

/// A rumour's name: who made it and where it stands among that replica's. The store's dots have the same
/// shape; a rumour of several dots is best named by its last, so that "holds the rumour" is "the version
/// vector covers it".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct RumourId {
    /// The replica that made it.
    pub origin: u16,
    /// Its place among that replica's, from 1; 48 bits.
    pub sequence: u64,
}

impl RumourId {
    /// From a dot: 16 bits of replica, 48 of sequence.
    #[must_use]
    pub const fn from_dot(dot: u64) -> Self {
        Self { origin: (dot >> 48) as u16, sequence: dot & ((1 << 48) - 1) }
    }
    /// As a dot.
    #[must_use]
    pub const fn dot(self) -> u64 {
        ((self.origin as u64) << 48) | (self.sequence & ((1 << 48) - 1))
    }
}

/// By which way a payload came.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Way {
    /// Along an eager link: twice over it means that the link is one too many.
    Tree,
    /// To or between relays, or pushed in rounds, or asked for.
    Direct,
}

/// What a message is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) enum Body {
    Ping { number: u32 },
    Ack { number: u32 },
    PingFor { number: u32, target: NodeId },
    Nack { number: u32 },
    PassOn,
    Compare { summary: Vec<u64> },
    Page { want: u64 },
    Rumour { id: RumourId, home: RegionId, hops: u8, way: Way, bytes: Bytes },
    Have { ids: Vec<RumourId> },
    Want { ids: Vec<RumourId>, eager: bool },
    Prune,
}

impl Body {
    /// Its name, for faults and counters.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Ping { .. } => "ping",
            Self::Ack { .. } => "ack",
            Self::PingFor { .. } => "ping-for",
            Self::Nack { .. } => "nack",
            Self::PassOn => "pass-on",
            Self::Compare { .. } => "compare",
            Self::Page { .. } => "page",
            Self::Rumour { .. } => "rumour",
            Self::Have { .. } => "have",
            Self::Want { .. } => "want",
            Self::Prune => "prune",
        }
    }
}

/// A message as it is read.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub(crate) struct Message {
    pub(crate) incarnation: Incarnation,
    pub(crate) body: Body,
    pub(crate) updates: Vec<Update>,
}

#[derive(Serialize)]
struct Writing<'a> {
    incarnation: Incarnation,
    body: &'a Body,
    updates: &'a [&'a Update],
}

/// Writes a message.
pub(crate) fn write(incarnation: Incarnation, body: &Body, updates: &[&Update]) -> Bytes {
    let payload = if let Body::Rumour { bytes, .. } = body { bytes.len() } else { 0 };
    let mut bytes = Vec::with_capacity(payload + 256);
    wire::encode_into(&Writing { incarnation, body, updates }, &mut bytes);
    debug_assert!(
        matches!(body, Body::Rumour { .. }) || bytes.len() <= DATAGRAM_MAX,
        "{} of {} bytes, at most {DATAGRAM_MAX} are allowed",
        body.name(),
        bytes.len()
    );
    bytes.into()
}

/// How many bytes of facts fit beside a body.
pub(crate) fn room(incarnation: Incarnation, body: &Body) -> usize {
    // The count of facts takes up to two bytes more than that of none.
    DATAGRAM_MAX - 2 - wire::encode(&Writing { incarnation, body, updates: &[] }).len()
}

/// Bytes of one fact.
pub(crate) fn size(update: &Update) -> usize {
    wire::encode(update).len()
}

/// Reads a message and checks all of it.
pub(crate) fn read(from: NodeId, body: &[u8]) -> Result<Message, PeerFault> {
    let fault = |what, why: String| Err(PeerFault::Body { from, what, why });
    if body.len() > RUMOUR_MAX + 128 {
        return fault("gossip message", alloc::format!("{} bytes, at most 256 KiB are allowed", body.len()));
    }
    let message: Message = match wire::decode(body) {
        Ok(m) => m,
        Err(e) => return fault("gossip message", e.to_string()),
    };
    let what = message.body.name();
    let rumour = matches!(message.body, Body::Rumour { .. });
    if body.len() > DATAGRAM_MAX && !rumour {
        return fault(what, alloc::format!("{} bytes, at most {DATAGRAM_MAX} are allowed", body.len()));
    }
    if message.incarnation.0 > crate::settings::INCARNATION_MAX {
        return fault(what, alloc::format!("incarnation {} is over the bound", message.incarnation.0));
    }
    if let Some(u) = message.updates.iter().find(|u| !u.is_right()) {
        return fault(what, alloc::format!("a fact about {} is out of bounds", u.id));
    }
    match &message.body {
        Body::Compare { summary } if summary.len() != BUCKETS => {
            fault(what, alloc::format!("a summary of {} buckets, {BUCKETS} are needed", summary.len()))
        }
        Body::Rumour { bytes, .. } if bytes.len() > RUMOUR_MAX || !message.updates.is_empty() => {
            fault(what, alloc::format!("a payload of {} bytes, or facts beside it", bytes.len()))
        }
        Body::Rumour { id, .. } if !named(*id) => fault(what, "a sequence of 0 or over 48 bits".into()),
        Body::Have { ids } | Body::Want { ids, .. }
            if ids.len() > IDS_MAX || !ids.iter().copied().all(named) =>
        {
            fault(what, alloc::format!("{} rumours named, {IDS_MAX} may be, each rightly", ids.len()))
        }
        _ => Ok(message),
    }
}

/// Whether a rumour's name is one that a replica may give.
pub(crate) const fn named(id: RumourId) -> bool {
    id.sequence > 0 && id.sequence < 1 << 48
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::{Claim, Metadata};
    use crate::settings::{ADDRESS_MAX, INCARNATION_MAX};
    use alloc::vec;
    use proptest::prelude::*;

    fn why(body: &Body, updates: &[&Update]) -> String {
        let bytes = wire::encode(&Writing { incarnation: Incarnation(0), body, updates });
        read(NodeId(7), &bytes).map_or_else(|e| e.to_string(), |_| "taken".into())
    }

    #[test]
    fn every_bound_is_checked_before_a_message_is_believed() {
        let id = |sequence| RumourId { origin: 1, sequence };
        let long = Metadata { region: RegionId(0), replica: None, address: "x".repeat(ADDRESS_MAX + 1) };
        let fact = |inc, claim| Update { id: NodeId(3), incarnation: Incarnation(inc), claim };
        assert_eq!(why(&Body::Ping { number: 1 }, &[]), "taken");
        assert!(why(&Body::Compare { summary: vec![0; 63] }, &[]).contains("63 buckets"));
        assert!(why(&Body::Have { ids: vec![id(1); IDS_MAX + 1] }, &[]).contains("65 rumours"));
        assert!(why(&Body::Want { ids: vec![id(0)], eager: true }, &[]).contains("each rightly"));
        assert!(why(&Body::PassOn, &[&fact(0, Claim::Alive(long))]).contains("out of bounds"));
        assert!(why(&Body::PassOn, &[&fact(INCARNATION_MAX + 1, Claim::Left)]).contains("out of bounds"));
        let many = vec![fact(1, Claim::Left); 700];
        assert!(why(&Body::PassOn, &many.iter().collect::<Vec<_>>()).contains("at most 1200"));
        let rumour = |n, sequence| Body::Rumour {
            id: id(sequence),
            home: RegionId(0),
            hops: 0,
            way: Way::Tree,
            bytes: vec![0; n].into(),
        };
        assert_eq!(why(&rumour(RUMOUR_MAX, 1), &[]), "taken");
        assert!(why(&rumour(RUMOUR_MAX + 1, 1), &[]).contains("payload of"));
        assert!(why(&rumour(0, 1 << 48), &[]).contains("48 bits"));
        assert!(why(&rumour(RUMOUR_MAX + 4_096, 1), &[]).contains("at most 256 KiB"));
    }

    #[test]
    fn the_fullest_messages_fit_a_datagram() {
        let far = RumourId { origin: u16::MAX, sequence: (1 << 48) - 1 };
        let inc = Incarnation(INCARNATION_MAX);
        for body in [
            Body::Have { ids: vec![far; IDS_MAX] },
            Body::Want { ids: vec![far; IDS_MAX], eager: true },
            Body::Compare { summary: vec![u64::MAX; BUCKETS] },
        ] {
            assert!(write(inc, &body, &[]).len() + 200 < DATAGRAM_MAX, "{}", body.name());
        }
    }

    #[test]
    fn dots_and_names_are_the_same_bits() {
        let id = RumourId { origin: 7, sequence: 9 };
        assert_eq!(RumourId::from_dot(id.dot()), id);
    }

    proptest! {
        #[test]
        fn garbage_is_refused_and_never_panics(junk in prop::collection::vec(any::<u8>(), 0..1_300)) {
            if let Ok(m) = read(NodeId(1), &junk) {
                prop_assert!(m.updates.iter().all(Update::is_right));
            }
        }
    }
}
