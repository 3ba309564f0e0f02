//! Scenario files and what is done with them.
pub mod capsule;
pub mod catalogue;
pub mod claims;
pub mod expand;
pub mod explain;
pub mod file;
pub mod gate;
pub mod invariant;
pub mod leak;
pub mod mutants;
pub mod pool;
pub mod report;
pub mod run;
pub mod search;
pub mod shrink;
pub mod sweep;
pub mod worker;
