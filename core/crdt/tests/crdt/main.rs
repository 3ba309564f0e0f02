//! What a space and its types promise, examined from outside: one binary, because linking costs more than running.
#![allow(clippy::needless_range_loop, reason = "a replica's number indexes several things at once")]

mod anomalies;
#[path = "../../examples/histories/draw.rs"]
mod draw;
mod histories;
mod laws;
mod moving;
mod oracle;
mod pending;
mod pieces;
#[path = "../../examples/histories/rival.rs"]
mod rival;
mod salvage;
mod sequences;
#[path = "../../examples/histories/spec.rs"]
mod spec;
mod weights;
#[path = "../../examples/histories/world.rs"]
mod world;
