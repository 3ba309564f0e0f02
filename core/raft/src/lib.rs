//! openraft behind the engine trait

pub mod runtime;
