//! What must be true of the whole store.

mod etcd;
mod model;
mod mutated;
mod replica;
mod transfer;
mod watching;

#[cfg(feature = "planted-bugs")]
mod planted;
