//! What clients do
