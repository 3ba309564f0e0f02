//! The doors of a node, and what the `dwcp` command is made of.

// First: its `println!` is the one that all the others mean.
#[macro_use]
pub mod say;

pub mod admin;
mod agree;
pub mod check;
pub mod client;
pub mod config;
pub mod consensus;
pub mod consensus_key;
mod consensus_status;
pub mod crdt;
pub mod dev;
pub mod documents;
mod engines;
pub mod etcd;
pub mod face;
mod figures;
pub mod fleet;
pub mod http;
pub mod hybrid;
pub mod identity;
pub mod jepsen;
pub mod kv;
pub mod maelstrom;
pub mod member;
mod quorums;
pub mod redis;
pub mod run_node;
pub mod sim;
pub mod status;
