//! One replica of the eventual keyspaces in a node.
//!
//! **Promise.** Every region reads and writes at local speed, through any partition; what was acknowledged is on
//! the disk and reaches everybody; all who have received the same hold the same.
//!
//! **Files, in reading order**: [`api`] (what is asked, and what each command means under concurrency), [`refusal`]
//! (what is not done, and what to use instead).

pub mod api;
pub mod refusal;

pub use api::{Answer, Command, Expiry, Notice, Query, Reply, Span, Subscription};
pub use refusal::{Refusal, Unkept, not_kept};
