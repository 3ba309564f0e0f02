//! The seeded world
