//! The engine as its node uses it: one binary, because every one compiles the engine anew.
#![allow(missing_docs)]

mod cluster;
mod cost;
mod faults;
mod gone;
mod harness;
#[cfg(feature = "planted-bugs")]
mod planted;
