//! The sequence against its textbook: order, histories, states, bytes, traces.

mod histories;
mod interleaving;
mod promises;
mod spec;
mod states;
mod traces;
mod world;
