//! What concurrent writes mean: found where they arrive, merged by what each field is, settled by policies that are data,
//! and written down so that nothing is lost without a trace.
//!
//! **Promise.** Everyone who holds the same writes, the same schema and the same version of the policy comes to the same value, in
//! whatever order the writes came; whoever's write did not prevail can be told why, and can have it back. `docs/conflicts.md`
//! teaches it with examples.
//!
//! **Model.** A *place* is a field of an object: its kind, its key, a JSON pointer. Writes at a place name what they saw
//! ([`dwcp_crdt`]); those that did not see each other are *siblings*, and a place with several is in conflict. A
//! resolution is a view that each node computes alike; one of them persists it as a write that saw them all.
//!
//! | class | is | found by |
//! |---|---|---|
//! | C1 value | siblings at one place | [`detect`], at apply time; [`merge`](mod@merge) |
//! | C2 intent | the same, where one writer owns the field | [`merge`](mod@merge), from the schema's owners |
//! | C3 structure | deleted here, changed there; a reference to nothing; a circle; a name twice | [`merge`](mod@merge), [`reference`](mod@reference) |
//! | C4 invariant | one thing held twice, a limit passed, two leases alive | [`claim`]; [`merge`](mod@merge) for counters |
//! | C5 version | a writer with another schema | [`merge`](mod@merge), before anything else |
//!
//! **Reading order.** [`value`] and [`mod@pointer`] (documents), [`conflict`] (the words), [`detect`] and [`claim`] (what is found),
//! [`lineage`] (what was there before), [`schema`] and [`merge`](mod@merge) (what fields are, and so how they join), [`strategy`], [`policy`] and [`queue`] (how the rest is
//! settled), [`audit`] (what is written down), [`checkpoint`] (the way back).
//!
//! **Invariants of absence.** No clock, no randomness, no hash map with a seed of the process, no file, no thread: `no_std`. Time
//! comes in as [`dwcp_crdt::Hlc`]. No store, no network and no door: what is to be written comes out as values.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod audit;
pub mod checkpoint;
pub mod claim;
pub mod conflict;
pub mod detect;
pub mod lineage;
pub mod merge;
pub mod pointer;
pub mod policy;
pub mod queue;
mod reading;
pub mod reference;
pub mod schema;
mod serial;
pub mod strategy;
pub mod value;

pub use audit::Audit;
pub use conflict::{Base, Class, ConflictId, Place, Sibling, Writer};
pub use merge::{Clash, Decision, Merged, Side, merge, merge_with};
pub use pointer::Pointer;
pub use policy::{Answer, Policy, Question};
pub use queue::{Queue, Ticket, Write};
pub use reading::Fault;
pub use schema::{Document, Schema};
pub use strategy::{Outcome, Strategy};
pub use value::Value;
