//! The seeded world in a browser.
//!
//! **Promise.** A capsule, or a scenario and a seed, makes here the run it makes in `dwcp sim`:
//! the trace has the same hash, because it is the same code, and because nothing else can be
//! consulted: the module has no import it ever calls, so no clock, no randomness, no network.
//!
//! ```text
//! page ── JSON ──► dwcp_call ── open, go, state, catalogue ──► Session ── Live ── SimWorld
//! page ◄── JSON ── dwcp_told          (and messages as binary rows: dwcp_messages)
//! ```
//!
//! **Going back.** Time only goes forward in a run. But all that a run is lies in this module's
//! linear memory: the page copies it at checkpoints, puts a copy back and goes forward to the
//! moment wanted (page/worker.js). Nothing here knows of it. Two things keep this true: no
//! state outside the memory (no table that grows, no global but the stack pointer, which is
//! where it was at the start whenever no call is under way), and no import.
//!
//! | file | holds |
//! |---|---|
//! | `door` | the exported names; the only unsafe words |
//! | `session` | what may be asked, and the run |
//! | `gather` | a run's events as rows for the picture |
//!
//! **Limits.** Times are told in microseconds of 32 bits in rows of messages: runs up to 71
//! minutes are accepted.

mod door;
mod gather;
mod session;

/// The page calls the door; nothing is done at the start.
fn main() {}
