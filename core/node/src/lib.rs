//! One node, composed
