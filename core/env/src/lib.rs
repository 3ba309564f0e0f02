//! The world as traits, and what a node owes it
