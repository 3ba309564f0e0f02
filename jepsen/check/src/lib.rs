//! Histories and their checkers
