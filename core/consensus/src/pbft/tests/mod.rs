//! PBFT by hand: schedules told step by step, tables, and what bad input may not do.

mod bounds;
mod claims;
mod exhaustive;
mod liveness;
mod log;
mod schedule;
mod seals;
mod table;

use super::bundle::Seen;
use super::config::GROUP_MAX;
use super::reply::Replies;
use super::{Config, ConfigError, Parameters};
use dwcp_env::{Duration, NodeId};
use ed25519_dalek::SigningKey;
use std::vec::Vec;

/// The operator's secret.
pub(super) const OPERATOR: [u8; 32] = [99; 32];

pub(super) fn parameters(me: u64, n: u64) -> Parameters {
    let members: Vec<NodeId> = (1..=n).map(NodeId).collect();
    let secret = |node: u64| [node as u8; 32];
    let shared = |other: u64| {
        let mut key = [0; 32];
        (key[0], key[1]) = (me.min(other) as u8, me.max(other) as u8);
        key
    };
    Parameters {
        realm: [1; 32],
        me: NodeId(me),
        members,
        first: 0,
        shared: (1..=n).map(shared).collect(),
        secret: secret(me),
        public: (1..=n).map(|m| SigningKey::from_bytes(&secret(m)).verifying_key().to_bytes()).collect(),
        operator: SigningKey::from_bytes(&OPERATOR).verifying_key().to_bytes(),
        window: 8,
        interval: 2,
        pipeline: 2,
        outstanding: 2,
        patience: Duration::millis(100),
        resend: Duration::millis(10),
        idle: Duration::millis(50),
    }
}

#[test]
fn quorums_share_a_correct_member_and_survive_the_silence_of_liars() {
    for n in 4..=GROUP_MAX as u64 {
        let config = Config::new(parameters(1, n)).unwrap();
        let (n, f, q) = (n as usize, config.liars_max(), config.quorum);
        assert_eq!(f, (n - 1) / 3);
        assert!(2 * q - n > f, "two quorums of {q} among {n} share {} members, f is {f}", 2 * q - n);
        assert!(q <= n - f, "{f} silent liars among {n} stop quorums of {q}");
        if n == 3 * f + 1 {
            assert_eq!(q, 2 * f + 1);
        }
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = |change: fn(&mut Parameters)| {
        let mut p = parameters(1, 4);
        change(&mut p);
        Config::new(p).err()
    };
    assert_eq!(refused(|_| {}), None);
    assert_eq!(refused(|p| p.members.truncate(3)), Some(ConfigError::Members));
    assert_eq!(refused(|p| p.members[3] = NodeId(1)), Some(ConfigError::Members));
    assert_eq!(refused(|p| p.me = NodeId(9)), Some(ConfigError::Stranger));
    assert_eq!(refused(|p| p.first = 4), Some(ConfigError::First));
    assert_eq!(refused(|p| p.secret = [9; 32]), Some(ConfigError::Keys));
    assert_eq!(refused(|p| p.public.truncate(3)), Some(ConfigError::Keys));
    assert_eq!(refused(|p| p.operator = [0; 32]), Some(ConfigError::Operator));
    assert_eq!(refused(|p| p.window = 3), Some(ConfigError::Bounds));
    assert_eq!(refused(|p| p.window = 9), Some(ConfigError::Bounds));
    assert_eq!(refused(|p| (p.window, p.pipeline) = (64, 33)), Some(ConfigError::Bounds));
    assert_eq!(refused(|p| p.outstanding = 65), Some(ConfigError::Bounds));
    assert_eq!(refused(|p| p.interval = u64::MAX), Some(ConfigError::Bounds));
    assert_eq!(refused(|p| p.resend = p.patience), Some(ConfigError::Times));
}

#[test]
fn a_bundle_takes_effect_once_in_whatever_order() {
    // Numbers up to 70 in an order drawn from a seed, each three times, never more than 64 ahead.
    for seed in 0..200_u64 {
        let mut seen = Seen::default();
        let mut effects = Vec::new();
        let mut open: Vec<u64> = (1..=70).flat_map(|n| [n, n, n]).collect();
        let mut draw = seed;
        while !open.is_empty() {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (draw >> 33) as usize % open.len();
            if seen.fresh(1, open[at]) {
                assert!(!seen.past(1, open[at]));
                seen.note(1, open[at]);
                effects.push(open[at]);
            } else if !seen.past(1, open[at]) {
                continue; // too far ahead: later
            }
            open.swap_remove(at);
        }
        effects.sort_unstable();
        assert_eq!(effects, (1..=70).collect::<Vec<_>>());
        assert!(!seen.fresh(1, 3) && seen.fresh(2, 1) && !seen.fresh(0, 71) && !seen.fresh(2, 65));
        seen.note(2, 64);
        assert!(!seen.fresh(1, 71) && seen.past(1, 71) && seen.fresh(2, 1) && !seen.fresh(2, 65));
    }
}

#[test]
fn a_client_believes_f_plus_one() {
    let (right, wrong) = ([1; 32], [2; 32]);
    let mut four = Replies::of(4);
    assert_eq!(four.hear(3, wrong), None);
    assert_eq!(four.hear(3, wrong), None, "one member counts once");
    assert_eq!(four.hear(3, right), None, "and stays with what it said");
    assert_eq!(four.hear(9, wrong), None, "a stranger does not count");
    assert_eq!(four.hear(0, right), None);
    assert_eq!(four.hear(1, right), Some(right));
    let mut seven = Replies::of(7);
    for place in 0..7 {
        assert_eq!(seven.hear(place, [place as u8; 32]), None);
        assert_eq!(seven.hopeless(), place >= 5, "after {} of 7 replies, all different", place + 1);
    }
}
