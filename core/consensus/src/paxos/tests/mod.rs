//! Interactions told as text, and tables of the small parts.

mod checks;
mod kept;
mod runs;
mod script;
mod stale;

use script::play;

macro_rules! scripts {
    ($($name:ident)*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("scripts/", stringify!($name), ".txt"));
            let played = play(text);
            assert!(played == text, "{} reads now:\n{played}", stringify!($name));
        }
    )*
        /// Writes what the scripts say now: `cargo test -p dwcp-consensus rewrite_scripts -- --ignored`.
        #[test]
        #[ignore = "writes to the source tree"]
        #[allow(clippy::disallowed_methods)]
        fn rewrite_scripts() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/paxos/tests/scripts");
            $({
                let path = std::format!("{folder}/{}.txt", stringify!($name));
                let text = std::string::String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
                std::fs::write(&path, play(&text)).unwrap();
            })*
        }
    };
}

scripts! {
    first_leader
    takeover_recovers
    takeover_fills_gaps
    promise_survives_crash
    lost_accept
    chained
    quorum_loss
    bridge
    rejoin
    reads
    handover
    gone
    behind
    seal
}
