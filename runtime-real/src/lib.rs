//! The real world
