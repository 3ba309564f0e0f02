//! Links.
mod matrix;
pub use matrix::{Matrix, Path};
