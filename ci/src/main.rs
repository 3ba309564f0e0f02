//! The lanes of CI, as a program: the hosting only calls it, a developer calls the same.
//!
//! `cargo run -p dwcp-ci` runs every lane; `cargo run -p dwcp-ci -- LANE…` runs some.
//! A lane is a list of commands; the first that fails ends the run and is named with the command that
//! repeats it. What the tests need from Debian and PyPI a lane installs itself.

mod lane;
mod need;
mod web;

use std::process::ExitCode;
use std::time::Instant;

const HELP: &str = "\
dwcp-ci: the lanes of CI

Usage: cargo run -p dwcp-ci [-- LANE...]      (no lane: all of them, in this order)

  check   formatting, lints, cargo-deny with the offline advisories
  test    every test, real processes driven by etcdctl and the Python client included
  sim     the gate: seeds run twice in two perturbed processes; the claims of docs/claims.md still met
  second  the second opinions: madsim under our node, turmoil under our sockets
  docs    the documentation builds; every page and scenario is listed

  jepsen  (only by name) seven workloads under six nemeses on real processes, fourteen minutes
  mutants (only by name) planted bugs and leaks are found
  web     (only by name) the simulator as WebAssembly, its page, and its test in Chromium

The whole takes under 25 minutes on 2 cores from a cold build. Longer sweeps are commands of their
own: `dwcp sim sweep --minutes 480`, `cargo run --release -p dwcp-benches -- --help`.";

fn main() -> ExitCode {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if asked.iter().any(|a| a == "-h" || a == "--help") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let lanes = match lane::chosen(&asked) {
        Ok(lanes) => lanes,
        Err(unknown) => {
            eprintln!("there is no lane {unknown:?}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    for lane in lanes {
        let at = Instant::now();
        println!("== lane {}", lane.name);
        if let Err(failed) = (lane.run)() {
            eprintln!("== lane {} failed: {failed}", lane.name);
            eprintln!("   again: cargo run -p dwcp-ci -- {}", lane.name);
            return ExitCode::FAILURE;
        }
        println!("== lane {} passed in {} s", lane.name, at.elapsed().as_secs());
    }
    println!("== all lanes passed in {} s", begun.elapsed().as_secs());
    ExitCode::SUCCESS
}
