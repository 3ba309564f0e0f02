//! What a member must not forget, and before which of its messages it must be on disk.
//!
//! | record | before |
//! |---|---|
//! | `Lifetime` | the first bundle of a lifetime: names are used once |
//! | `Noted` | its `PrePrepare` or `Prepare`, and counting its own |
//! | `Prepared` | its `Commit`, and counting its own |
//! | `Asked` | its `ViewChange` |
//! | `Entered` | nothing at once; `NewView` by the primary, with its `Noted` of what is carried on; saves a view change after a restart |
//! | `Vouched` | its `Checkpoint` |
//! | `Stable` | the `Stable` output: earlier checkpoints may go then |
//! | `Decided` | nothing: what is lost is asked of peers again |

use super::bundle::Batch;
use super::crypto::Digest;
use super::message::{Certificate, NewView, Vote};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What must outlive a crash.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the table says when each is written; fields are named as in the messages")]
pub enum Record {
    /// A lifetime of this process proposes under this number.
    Lifetime(u64),
    /// Taken note of; with the batch where no earlier record has it.
    Noted { view: u64, seq: u64, digest: Digest, batch: Option<Batch> },
    /// Prepared.
    Prepared { view: u64, seq: u64, digest: Digest },
    /// Decided; with the batch where no earlier record has it.
    Decided { seq: u64, digest: Digest, batch: Option<Batch> },
    /// Left the views below.
    Asked(u64),
    /// Entered a view.
    Entered(NewView),
    /// A durable checkpoint of this member, with its word for it.
    Vouched { mark: Bytes, vote: Vote },
    /// The newest checkpoint it can prove.
    Stable(Certificate),
}
