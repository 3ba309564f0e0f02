//! Benchmarks beside the peers
