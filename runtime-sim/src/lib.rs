//! The seeded world
pub mod fault;
pub mod net;
pub mod plan;
