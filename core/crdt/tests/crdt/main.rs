//! What a space and its types promise, examined from outside: one binary, because linking costs more than running.

mod anomalies;
mod histories;
mod laws;
mod oracle;
#[path = "../../examples/histories/rival.rs"]
mod rival;
#[path = "../../examples/histories/spec.rs"]
mod spec;
#[path = "../../examples/histories/world.rs"]
mod world;
