//! What `dwcp-conflict` promises: laws over generated schemas and documents, tables of what must be refused.

mod audit;
mod examples;
mod laws;
mod lineage;
mod policies;
mod queue;
mod refused;
mod rollback;
mod strategies;
mod tables;
mod world;
