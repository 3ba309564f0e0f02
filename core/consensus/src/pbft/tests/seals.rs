//! Who may end the epoch.

use super::super::bundle::Batch;
use super::super::message::Message;
use super::super::seal::{record, seal};
use super::OPERATOR;
use super::table::Table;
use crate::engine::Token;
use crate::step::{Fault, Input, Payload, Protocol};
use bytes::Bytes;
use dwcp_env::NodeId;

const REALM: [u8; 32] = [1; 32];

fn all(_: usize, _: usize, _: &Message) -> bool {
    true
}

fn seals(t: &Table, node: usize) -> usize {
    t.decided[node].iter().filter(|(_, payload, _)| matches!(payload, Payload::Seal(_))).count()
}

/// One member signs a seal with its own key, or an operator's of another epoch, or none at all.
#[test]
fn a_liar_cannot_end_the_epoch() {
    let wrong = [
        Bytes::from_static(b"successor of my choice"),
        Bytes::new(),
        seal(&[1; 32], &REALM, b"successor"),
        seal(&OPERATOR, &[2; 32], b"successor"),
        seal(&OPERATOR, &REALM, b""),
    ];
    for bytes in wrong {
        let mut t = Table::of(4);
        let bundle = t.bundle(0, 1, 1, &[Payload::Seal(bytes.clone())]);
        let batch = Batch { bundles: [bundle.clone()].into() };
        for to in 1..4 {
            t.say(0, to, Message::Request(bundle.clone()));
            let message = t.pre_prepare(0, to, 0, 1, &batch);
            t.say(0, to, message);
        }
        t.settle(all);
        assert!((0..4).all(|node| seals(&t, node) == 0), "{bytes:?}");
        assert_eq!(t.blamed.len(), 6);
        assert!(t.blamed.iter().all(|(_, peer, fault)| (*peer, *fault) == (NodeId(1), Fault::Forged)));
        // What it proposes at its own node is refused too.
        t.input(2, Input::Propose([(Token(4), Payload::Seal(bytes))].into()));
        assert_eq!(t.refused, [(2, Token(4))]);
    }
}

#[test]
fn an_operator_ends_the_epoch_through_any_member() {
    let mut t = Table::of(4);
    let signed = seal(&OPERATOR, &REALM, b"raft of n1, n2, n3");
    let proposals = [
        (Token(1), Payload::Command(Bytes::from_static(b"before"))),
        (Token(2), Payload::Seal(signed.clone())),
        (Token(3), Payload::Command(Bytes::from_static(b"after"))),
        (Token(4), Payload::Seal(signed.clone())),
    ];
    t.input(2, Input::Propose(proposals.into()));
    t.settle(all);
    for node in 0..4 {
        assert_eq!(t.decided[node].len(), 4, "a bundle ends with a seal; the next goes on");
        let (_, payload, _) = &t.decided[node][1];
        assert_eq!(*payload, Payload::Seal(signed.clone()));
        assert_eq!(t.nodes[node].successor(&signed), Some(Bytes::from_static(b"raft of n1, n2, n3")));
        assert_eq!(t.nodes[node].successor(&Bytes::from_static(b"raft of n1, n2, n3")), None);
    }
    assert_eq!(t.blamed, []);
    assert_eq!(record(&Bytes::from_static(b"short")), None);
}
