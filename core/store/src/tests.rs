//! What must be true of the whole store.

mod digests;
mod disk;
mod etcd;
mod exactly_once;
mod model;
mod mutated;
mod replica;
mod transfer;
mod watching;

#[cfg(feature = "planted-bugs")]
mod planted;
