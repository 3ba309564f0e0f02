//! What a liar's messages may cost others.

use super::super::Record;
use super::super::bundle::{BODY_BYTES_MAX, BUNDLES_MAX, Batch, Bundle};
use super::super::config::WINDOW_MAX;
use super::super::crypto::{Digest, Kind, Signature};
use super::super::message::{Certificate, Claim, Message, NOTED_MAX, NewView, ViewChange};
use super::table::Table;
use crate::step::{Fault, Input, Payload};
use bytes::Bytes;
use dwcp_env::bound::{FRAME_BODY_MAX, VOTERS_MAX, WAL_RECORD_MAX};
use dwcp_env::{Duration, NodeId, wire};
use std::vec::Vec;

/// What a driver may add around a record or a message.
const FRAMING: usize = 64;

#[test]
fn the_largest_batch_fits_a_record_and_a_frame() {
    let name = super::super::bundle::Name { origin: 255, lifetime: u64::MAX, number: u64::MAX };
    let bundle = |bytes: usize| Bundle {
        name,
        body: Bytes::from(std::vec![0; bytes]),
        signature: Signature::default(),
    };
    let mut bundles: Vec<Bundle> = (1..BUNDLES_MAX).map(|_| bundle(0)).collect();
    bundles.push(bundle(BODY_BYTES_MAX));
    let batch = Batch { bundles };
    assert!(batch.bounded());
    let digest = Digest([255; 32]);
    let record = Record::Noted { view: u64::MAX, seq: u64::MAX, digest, batch: Some(batch.clone()) };
    assert!(wire::encode(&record).len() + FRAMING <= WAL_RECORD_MAX.0 as usize);
    let tag = super::super::crypto::Tag([255; 16]);
    let message = Message::PrePrepare { view: u64::MAX, seq: u64::MAX, batch, tag };
    assert!(wire::encode(&message).len() + FRAMING <= FRAME_BODY_MAX.0 as usize);
}

#[test]
fn the_largest_new_view_fits_a_record_and_a_frame() {
    let claim = |seq: u64| Claim { seq: u64::MAX - seq, view: u64::MAX, digest: Digest([255; 32]) };
    let stable = Certificate {
        seq: u64::MAX,
        mark: Digest([255; 32]),
        state: Digest([255; 32]),
        votes: (0..VOTERS_MAX).map(|p| (p as u8, Signature([[255; 32]; 2]))).collect(),
    };
    let leave = |place: usize| ViewChange {
        place: place as u8,
        view: u64::MAX,
        stable: stable.clone(),
        prepared: (0..WINDOW_MAX).map(claim).collect(),
        noted: (0..NOTED_MAX as u64).map(claim).collect(),
        signature: Signature([[255; 32]; 2]),
    };
    let view = NewView {
        view: u64::MAX,
        changes: (0..VOTERS_MAX).map(leave).collect(),
        chosen: (0..WINDOW_MAX).map(|_| Digest([255; 32])).collect(),
        signature: Signature([[255; 32]; 2]),
    };
    let bytes = wire::encode(&Record::Entered(view.clone())).len();
    assert!(bytes + FRAMING <= WAL_RECORD_MAX.0 as usize, "{bytes}");
    assert!(wire::encode(&Message::NewView(view)).len() + FRAMING <= FRAME_BODY_MAX.0 as usize);
}

/// One claim more than a correct member ever makes.
#[test]
fn a_leave_with_too_many_claims_is_refused() {
    let mut t = Table::of(4);
    let config = t.nodes[1].config.clone();
    for (each, fault) in [(31, None), (33, Some(Fault::Forged))] {
        let claims = (1..=8_u64)
            .flat_map(|seq| (0..each).map(move |i| Claim { seq, view: 0, digest: Digest([i as u8; 32]) }));
        let mut change = ViewChange {
            place: 1,
            view: 1,
            stable: Certificate::default(),
            prepared: Vec::new(),
            noted: claims.collect(),
            signature: Signature::default(),
        };
        change.signature = config.sign(Kind::ViewChange, &change.signed(&config.realm));
        t.blamed.clear();
        t.nodes[3].changes.clear();
        t.input(3, Input::Message { from: NodeId(2), message: Message::ViewChange(change) });
        assert_eq!(t.blamed.first().map(|b| b.2), fault);
    }
}

/// A member that does not lead keeps no list of what it might order.
#[test]
fn lifetimes_without_end_leave_nothing_behind() {
    let mut t = Table::of(4);
    for to in [0, 3] {
        for lifetime in 1..10_000 {
            let message = Message::Request(t.bundle(1, lifetime, 1, &[]));
            t.input(to, Input::Message { from: NodeId(2), message });
        }
        assert!(t.nodes[to].pool.len() <= 4, "one lifetime of an origin");
        let kept = t.nodes[to].unordered.len();
        assert!(kept <= 128, "{kept} names at {to}");
    }
}

/// Who lacks many batches asks for each once a period.
#[test]
fn what_is_lacking_is_asked_for_once_a_period() {
    let mut t = Table::of(4);
    let mut fetches = 0;
    for token in 1..=6_u64 {
        t.propose(0, token, b"x");
        t.settle(|_, to, m| to != 3 || matches!(m, Message::Commit { .. }));
    }
    assert_eq!(t.order(0).len(), 6);
    // One message after another, each batch at once when it is asked for.
    for _ in 0..2 {
        (0..4).for_each(|node| t.sync(node));
        t.wait(Duration::millis(10));
        for _ in 0..100 {
            (0..4).for_each(|node| t.sync(node));
            fetches +=
                t.wire.iter().filter(|(from, _, m)| *from == 3 && matches!(m, Message::Fetch { .. })).count();
            let before = t.wire.len();
            t.deliver(|_, to, m| to != 3 || !matches!(m, Message::PrePrepare { .. }));
            if before == 0 {
                break;
            }
        }
    }
    assert_eq!(t.order(3).len(), 6);
    assert!(fetches <= 2 * 6, "{fetches} questions for 6 batches");
}

/// A primary that fills the window with its own bundles is borne up to what a correct one has under way.
#[test]
fn a_primary_fills_no_more_than_its_pipeline() {
    let mut t = Table::of(4);
    let whole = Payload::Command(Bytes::from(std::vec![1; BODY_BYTES_MAX - 5]));
    let batch =
        |t: &Table, number| Batch { bundles: [t.bundle(0, 1, number, std::slice::from_ref(&whole))].into() };
    for seq in 1..=8 {
        let batch = batch(&t, seq);
        let message = t.pre_prepare(0, 3, 0, seq, &batch);
        t.input(3, Input::Message { from: NodeId(1), message });
    }
    let bytes: usize = t.nodes[3].batches.values().map(|held| held.batch.size()).sum();
    let pipeline = t.nodes[3].config.pipeline as usize;
    assert!(bytes <= (pipeline + 1) * BODY_BYTES_MAX, "{bytes}");
    assert_eq!(t.blamed, [], "a correct member that lags must not accuse");
    // Requests: an origin has room for what a correct one keeps under way.
    for number in 1..=20 {
        let message = Message::Request(t.bundle(1, 1, number, std::slice::from_ref(&whole)));
        t.input(2, Input::Message { from: NodeId(2), message });
    }
    let bytes: usize = t.nodes[2].pool.values().map(|w| w.bundle.body.len()).sum();
    let outstanding = t.nodes[2].config.outstanding as usize;
    assert!(bytes <= (outstanding + 1) * BODY_BYTES_MAX, "{bytes}");
}
