//! Clients, as the world sees them: requests go in, events come back, both at simulated times.
//!
//! The caller *is* the clients: it asks with [`crate::SimWorld::request`], lets the world run
//! with [`crate::SimWorld::advance`], and reacts to what comes back, at the time it comes
//! back. What it does must depend on nothing but that, or the run is no function of its plan.
//!
//! | a request ends with | what the client knows |
//! |---|---|
//! | [`Heard::Reply`] with `end` | the answer |
//! | [`Heard::Broken`] | the node ended or was down: it may or may not have been done |
//! | [`Heard::Expired`] | nobody answered in time: it may or may not be done yet |

use dwcp_env::{Instant, NodeId, RequestId};

/// Something a client hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientEvent<R> {
    /// Simulated time.
    pub at: Instant,
    /// Which request.
    pub id: RequestId,
    /// Who had been asked.
    pub node: NodeId,
    /// What is heard.
    pub heard: Heard<R>,
}

/// What a client hears of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Heard<R> {
    /// An answer.
    Reply {
        /// The answer.
        response: R,
        /// Whether it is the last.
        end: bool,
    },
    /// The connection broke; nothing more comes.
    Broken,
    /// The deadline passed; nothing more comes, and the node is told so.
    Expired,
}

impl<R> ClientEvent<R> {
    /// Whether nothing more comes for this request.
    #[must_use]
    pub const fn ends(&self) -> bool {
        match self.heard {
            Heard::Reply { end, .. } => end,
            Heard::Broken | Heard::Expired => true,
        }
    }
    pub(crate) const fn heard_reply(&self) -> bool {
        matches!(self.heard, Heard::Reply { .. })
    }
}

/// Why [`crate::SimWorld::advance`] came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Advance<R> {
    /// A client hears something.
    Client(ClientEvent<R>),
    /// A timer of the caller's ([`crate::SimWorld::timer`]) has come.
    Timer(u64),
    /// The time given has come.
    Limit,
    /// The condition given holds.
    Reached,
    /// An invariant broke; see [`crate::SimWorld::violation`]. The run goes no further.
    Violated,
}
