//! Chains as a node uses them: a few hosts, a network and disks, on one clock.
#![allow(missing_docs)]

mod bent;
mod blank;
mod door;
mod gap;
mod gone;
mod harness;
mod lost;
mod members;
mod stories;
mod transfers;
mod trial;
