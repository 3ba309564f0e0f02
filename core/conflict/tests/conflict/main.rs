//! What `dwcp-conflict` promises: laws over generated schemas and documents, tables of what must be refused.

mod laws;
mod policies;
mod queue;
mod refused;
mod strategies;
mod tables;
mod world;
