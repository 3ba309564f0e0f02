//! The fleet at a node's doors: HTTP/JSON for programs, the commands of `dwcp` for people, the loop that does what is due.
//!
//! **Promise.** Every request ends; what is refused says what, where, and what to do; asked again under its
//! number it is done once ([`dwcp_fleet`] says how).
//!
//! ```text
//!   dwcp vm create ─┐                                    ┌─► Ask::Range, Ask::Write(Txn) ─► the keyspace's group
//!   any program ────┴─► door ─► Request ─► Work (drive) ─┤
//!                       controller, on the leader ───────┘
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `drive` | work carried to the keyspaces |
//! | `door`, `routes`, `show` | the HTTP door: connections; paths; records as JSON |
//! | `openapi` | its description |
//! | `controller` | what is due, done by the node that leads |
//! | `commands`, `ask` | `dwcp vm`, `host`, `region`, `address`, `quota`; how they ask |
//! | `backstop`, `air` | announcements: said, heard, judged; where they lie |
//! | `agent`, `hypervisor` | `dwcp host run`: a host's agent over a simulated hypervisor |
//!
//! **Limits.** 256 connections, a request of at most 64 KiB, 10 seconds to arrive and 15 to be answered. No
//! authentication of its own: loopback or a management network, like the admin address.

mod agent;
mod air;
mod ask;
mod backstop;
pub mod commands;
mod controller;
mod door;
mod drive;
mod hypervisor;
mod openapi;
mod routes;
mod show;

pub use air::Air;
pub use ask::Places;
pub use backstop::Backstop;
pub use controller::{Damaged, control};
pub use door::Door;
pub use drive::{Fleet, Keyspaces};
