//! The doors of a node, and what the `dwcp` command is made of.

pub mod etcd;
