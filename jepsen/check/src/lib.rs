//! Histories and their checkers
pub mod history;
pub mod linearizable;
