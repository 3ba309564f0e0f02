//! PBFT as a subject of the rehearsal.

use super::bundle::Bundle;
use super::liar::Tongue;
use super::{Config, Parameters, Pbft, Record};
use crate::quorum::NodeSet;
use crate::rehearsal::{Evidence, Liar, Place, Subject};
use crate::step::Payload;
use alloc::boxed::Box;
use bytes::Bytes;
use dwcp_env::{Duration, Instant, NodeId, Purpose, Seed};
use ed25519_dalek::SigningKey;

const SHAPE: Purpose = Purpose::named("pbft rehearsed shape");

/// How it is rehearsed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rehearsed {
    /// Ed25519 instead of signatures that only a rehearsal can trust.
    pub signed: bool,
    /// Every liar is of this kind instead of a drawn one.
    pub kind: Option<u64>,
}

/// The operator's secret: no member has it.
pub const OPERATOR: [u8; 32] = [0x0b; 32];

const REALM: [u8; 32] = [7; 32];

/// The secret that a rehearsal gives a member.
fn secret(node: NodeId) -> [u8; 32] {
    blake3::derive_key("dwcp rehearsal secret", &node.0.to_le_bytes())
}

fn shared(a: NodeId, b: NodeId) -> [u8; 32] {
    let (a, b) = (a.min(b), a.max(b));
    blake3::derive_key("dwcp rehearsal pair", &[a.0.to_le_bytes(), b.0.to_le_bytes()].concat())
}

/// Keys, bounds and times for a member of a rehearsal or a measurement.
#[must_use]
pub fn parameters(me: NodeId, members: &[NodeId], patience: Duration) -> Parameters {
    Parameters {
        realm: REALM,
        me,
        members: members.to_vec(),
        first: 0,
        shared: members.iter().map(|m| shared(me, *m)).collect(),
        secret: secret(me),
        public: members
            .iter()
            .map(|m| SigningKey::from_bytes(&secret(*m)).verifying_key().to_bytes())
            .collect(),
        operator: SigningKey::from_bytes(&OPERATOR).verifying_key().to_bytes(),
        window: 128,
        interval: 32,
        pipeline: 8,
        outstanding: 8,
        patience,
        resend: patience / 5,
        idle: patience,
    }
}

impl Subject for Rehearsed {
    type P = Pbft;

    fn name(&self) -> &'static str {
        "pbft"
    }

    fn config(&self, place: &Place<'_>) -> Config {
        let mut p = parameters(place.me, place.members, place.round_trip * 10);
        // The same on all members: the run's seed is in each one's only mixed with its name.
        let draw = |n, what| Seed(place.members.len() as u64).below(n, SHAPE, what, Instant::ZERO, 0);
        p.interval = 4 + draw(5, 1);
        p.window = p.interval * 3;
        // Where there are liars, they are at the last places: they lead first.
        p.first = place.members.len() - self.traitors(place.members.len());
        p.pipeline = 4;
        p.outstanding = 4;
        let made = if self.signed { Config::new(p) } else { Config::ideal(p) };
        made.expect("a rehearsal's parameters are consistent")
    }

    fn timeout(&self, round_trip: Duration) -> Duration {
        // Half a patience until all know, one until they leave, two for a next primary that lies, and the way.
        round_trip * 50
    }

    fn sizes(&self) -> &'static [usize] {
        &[4, 4, 4, 7]
    }

    fn leaderless(&self) -> bool {
        // Every member takes proposals; its replica sees to the primary.
        true
    }

    fn commands(&self) -> u32 {
        200
    }

    fn names_checkpoints(&self) -> bool {
        true
    }

    fn traitors(&self, members: usize) -> usize {
        (members - 1) / 3
    }

    fn bears_gone(&self, members: usize) -> usize {
        (members - 1) / 3
    }

    fn liar(&self, place: &Place<'_>, kind: u64) -> Option<Box<dyn Liar<Pbft>>> {
        let kind = self.kind.unwrap_or(kind);
        Some(Box::new(Tongue::new(self.config(place), place.seed, kind)))
    }

    fn seal(&self, record: Bytes) -> Bytes {
        super::seal::seal(&OPERATOR, &REALM, &record)
    }

    fn enough(&self, members: usize, disks: NodeSet) -> bool {
        disks.len() > (members - 1) / 3
    }

    fn holds(&self, disk: Evidence<'_, Record>, _: u64, payload: &Payload) -> Option<bool> {
        let carries = |bundle: &Bundle| bundle.payloads().is_some_and(|all| all.contains(payload));
        Some(disk.records.iter().rev().any(|record| match record {
            Record::Noted { batch: Some(batch), .. } | Record::Decided { batch: Some(batch), .. } => {
                batch.bundles.iter().any(carries)
            }
            _ => false,
        }))
    }
}
