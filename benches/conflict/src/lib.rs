//! Nothing but benchmarks: `cargo bench` in this folder. A workspace of its own, because its peers would double a cold build.
