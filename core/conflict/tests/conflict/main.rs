//! What `dwcp-conflict` promises: laws over generated schemas and documents, tables of what must be refused.

mod laws;
mod refused;
mod tables;
mod world;
