//! What the real world owes a node, a door and an operator.

mod contract;
mod doors;
mod fixture;
mod hosted;
mod pages;
mod storage;
mod suite;
