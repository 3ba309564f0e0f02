//! The lanes of CI and the tidy test
fn main() {}
