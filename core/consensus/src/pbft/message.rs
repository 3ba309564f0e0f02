//! What members tell each other, and what each message must carry to be believed.
//!
//! | message | says | believed because of |
//! |---|---|---|
//! | `Request` | have this bundle ordered | its origin's signature; anybody may pass it on |
//! | `PrePrepare` | in this view this place carries this batch | the primary's code |
//! | `Prepare` | I took note of it and of nothing else there | code; sent when on disk |
//! | `Commit` | a quorum has | code; sent when on disk |
//! | `Decision` | I know this place decided | code, of f + 1 who agree |
//! | `Checkpoint` | my durable state here has this digest | signature, of 2f + 1 who agree |
//! | `Stable` | those 2f + 1 signatures | themselves |
//! | `ViewChange` | I left the views below; this I prepared, this I took note of | signature; sent when on disk |
//! | `NewView` | 2f + 1 left; so these places carry these batches | the primary's signature, theirs, and doing the sum again |
//! | `Status` | this I have; send what I lack | code |
//! | `Fetch`, `Batch` | give me the batch of this digest; here | code; the digest |

use super::bundle::{Batch, Bundle, DRIVER_FRAMING};
use super::config::{GROUP_MAX, Inner, WINDOW_MAX};
use super::crypto::{Covered, Digest, Kind, Signature, Tag};
use super::select::places;
use alloc::vec::Vec;
use dwcp_env::bound::{FRAME_BODY_MAX, WAL_RECORD_MAX};
use dwcp_env::wire;
use serde::{Deserialize, Serialize};

/// Different digests of one place that a member remembers having taken note of. One more would need as
/// many views in a row that each chose another batch for it and failed; such a member takes no further
/// one there, which is safe, and waits for a view that chooses one it knows.
pub const CLAIMS_MAX: usize = 32;
/// Claims of having taken note in one leave: three a place of the widest window. A view of a lying primary leaves
/// behind claims of four pipelines of places, so this many are made only where twelve views in a row (of the
/// widest pipeline; 48 of the usual) failed without a checkpoint. Who would need more takes no further note, as above.
pub const NOTED_MAX: usize = 3 * WINDOW_MAX as usize;

/// The encoding has integers of at most ten bytes.
const CLAIM_BYTES: usize = 2 * 10 + 32;
const CERTIFICATE_BYTES: usize = 10 + 2 * 32 + 5 + GROUP_MAX * (1 + 64);
const LEAVE_BYTES: usize =
    1 + 10 + CERTIFICATE_BYTES + (WINDOW_MAX as usize + NOTED_MAX) * CLAIM_BYTES + 2 * 5 + 64;
const NEW_VIEW_BYTES: usize = 1 + 10 + 5 + GROUP_MAX * LEAVE_BYTES + 5 + WINDOW_MAX as usize * 32 + 64;
const _: () = {
    assert!(NEW_VIEW_BYTES + DRIVER_FRAMING <= WAL_RECORD_MAX.0 as usize, "a new view fits a record");
    assert!(NEW_VIEW_BYTES + DRIVER_FRAMING <= FRAME_BODY_MAX.0 as usize, "a new view fits a frame");
};

/// A place of the order, the view it was handled in, and what it carries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// The place, from 1.
    pub seq: u64,
    /// The view.
    pub view: u64,
    /// The batch's digest.
    pub digest: Digest,
}

/// One member's word for a checkpoint that is durable there.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// After which place of the order.
    pub seq: u64,
    /// The digest of its mark.
    pub mark: Digest,
    /// The digest of the state.
    pub state: Digest,
    /// The member's signature over the three.
    pub signature: Signature,
}

/// Proof that a checkpoint is right and will not be lost: words of a quorum. `Default` is the begin.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Certificate {
    /// After which place of the order; 0: the begin, which needs no proof.
    pub seq: u64,
    /// The digest of its mark.
    pub mark: Digest,
    /// The digest of the state.
    pub state: Digest,
    /// Who signed, by place, in order.
    pub votes: Vec<(u8, Signature)>,
}

/// One member's leave of all views below `view`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ViewChange {
    /// The member's place.
    pub place: u8,
    /// The view it asks for.
    pub view: u64,
    /// The newest checkpoint it can prove.
    pub stable: Certificate,
    /// Above that: what it prepared last at each place. By place, strictly.
    pub prepared: Vec<Claim>,
    /// Above that: each digest it took note of, with the last view in which it did. By place, view, digest.
    pub noted: Vec<Claim>,
    /// Its signature.
    pub signature: Signature,
}

/// The begin of a view, with all that shows its content to be the only one possible.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct NewView {
    /// The view.
    pub view: u64,
    /// A quorum's leaves of the views before; by place, strictly.
    pub changes: Vec<ViewChange>,
    /// What the places behind the newest checkpoint among them carry.
    pub chosen: Vec<Digest>,
    /// The signature of the view's primary.
    pub signature: Signature,
}

/// What a member has, for those who can help it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Status {
    /// The view it is in or asks for.
    pub view: u64,
    /// Whether it is in it.
    pub active: bool,
    /// Whether it has applied nothing since its last status.
    pub stuck: bool,
    /// The last place it has applied.
    pub executed: u64,
    /// The newest checkpoint it can prove.
    pub stable: u64,
    /// The code.
    pub tag: Tag,
}

/// What members tell each other.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "fields are named as in the structs above; the table says what each variant is"
)]
pub enum Message {
    Request(Bundle),
    PrePrepare { view: u64, seq: u64, batch: Batch, tag: Tag },
    Prepare { view: u64, seq: u64, digest: Digest, tag: Tag },
    Commit { view: u64, seq: u64, digest: Digest, tag: Tag },
    Decision { seq: u64, digest: Digest, tag: Tag },
    Checkpoint(Vote),
    Stable(Certificate),
    ViewChange(ViewChange),
    NewView(NewView),
    Status(Status),
    Fetch { digest: Digest, tag: Tag },
    Batch(Batch),
}

pub(super) const fn covered(view: u64, seq: u64, digest: Digest) -> Covered {
    Covered { numbers: [view, seq, 0, 0], digest }
}

impl Status {
    pub(super) fn covered(&self) -> Covered {
        let flags = u64::from(self.active) | u64::from(self.stuck) << 1;
        let mut digest = Digest::default();
        digest.0[0] = flags as u8;
        Covered { numbers: [self.view, self.executed, self.stable, flags], digest }
    }
}

impl Vote {
    pub(super) fn signed(seq: u64, mark: &Digest, state: &Digest, realm: &[u8; 32]) -> Digest {
        Digest::of(Kind::Checkpoint, realm, &[&seq.to_le_bytes(), &mark.0, &state.0])
    }
}

impl Certificate {
    /// Whether a quorum of different members signed it.
    pub(super) fn holds(&self, config: &Inner) -> bool {
        if self.seq == 0 {
            return *self == Self::default();
        }
        // Counted before a signature is looked at: places rise, so nobody counts twice.
        let rising = self.votes.windows(2).all(|w| w[0].0 < w[1].0);
        let of_members = self.votes.last().is_none_or(|(place, _)| usize::from(*place) < config.n());
        if !rising || !of_members {
            return false;
        }
        let who = places(self.votes.iter().map(|(place, _)| *place));
        if !config.is_quorum(who) && !super::planted::is(super::Bug::CheckpointOfOne) {
            return false;
        }
        let signed = Vote::signed(self.seq, &self.mark, &self.state, &config.realm);
        self.votes.iter().all(|(place, signature)| {
            config.signed_by(usize::from(*place), Kind::Checkpoint, &signed, signature)
        })
    }
}

impl ViewChange {
    pub(super) fn signed(&self, realm: &[u8; 32]) -> Digest {
        let content = wire::encode(&(self.place, self.view, &self.stable, &self.prepared, &self.noted));
        Digest::of(Kind::ViewChange, realm, &[&content])
    }

    fn claims_in_order(&self, config: &Inner) -> bool {
        let low = self.stable.seq;
        let fits = |c: &Claim| c.seq > low && c.seq - low <= config.window && c.view < self.view;
        let mut same = 0;
        self.noted.len() <= NOTED_MAX
            && self.prepared.iter().all(fits)
            && self.prepared.windows(2).all(|w| w[0].seq < w[1].seq)
            && self.noted.iter().all(fits)
            && self.noted.windows(2).all(|w| {
                same = if w[0].seq == w[1].seq { same + 1 } else { 0 };
                w[0] < w[1] && same < CLAIMS_MAX
            })
    }

    /// Whether its sender said it, and it is such as a correct member could say; `known` certificates hold.
    pub(super) fn holds(&self, config: &Inner, known: impl Fn(&Certificate) -> bool) -> bool {
        usize::from(self.place) < config.n()
            && self.view > 0
            && self.claims_in_order(config)
            && config.signed_by(
                usize::from(self.place),
                Kind::ViewChange,
                &self.signed(&config.realm),
                &self.signature,
            )
            && (known(&self.stable) || self.stable.holds(config))
    }
}

impl NewView {
    /// About how many bytes it is long.
    pub(super) fn size(&self) -> usize {
        let claims = self.changes.iter().map(|c| c.prepared.len() + c.noted.len()).sum::<usize>();
        claims * CLAIM_BYTES + self.changes.len() * CERTIFICATE_BYTES + self.chosen.len() * 32
    }

    pub(super) fn signed(&self, realm: &[u8; 32]) -> Digest {
        let content = wire::encode(&(self.view, &self.changes, &self.chosen));
        Digest::of(Kind::NewView, realm, &[&content])
    }
}
