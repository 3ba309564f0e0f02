//! One node, composed: groups, their stores, one write-ahead log, and the doors' questions.
pub mod api;
mod peer;
pub use api::{Answer, Ask, AskError, GroupStatus, LeaseStatus, Request, Response, WatchRequest};
