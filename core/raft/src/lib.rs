//! openraft behind the engine trait
