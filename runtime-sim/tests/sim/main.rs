//! The simulator, from outside.

mod contract;
mod determinism;
mod disk_faults;
mod link_faults;
mod machines;
mod phases;
mod process_faults;
mod shrinking;
