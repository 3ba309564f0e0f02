//! The protocols there are, each with its planted bugs.

use crate::double::{ALL_BUGS, Double};
use crate::explored::explored;
use crate::sweep;
use crate::{Args, Format};
use dwcp_consensus::pbft::rehearsed::Rehearsed as Pbft;
use dwcp_consensus::rehearsal::{Scenario, Subject};
use dwcp_consensus::{epaxos, paxos};
use std::process::ExitCode;

/// What `--protocol list` names.
const NAMES: &[&str] = &[
    "double",
    "epaxos",
    "epaxos-7",
    "epaxos-atlas",
    "epaxos-atlas-2",
    "epaxos-store",
    "paxos",
    "paxos-uneven",
    "pbft",
    "pbft-signed",
];

const MAJORITY: paxos::Rehearsed = paxos::Rehearsed { quorum: paxos::Quorum::Majority };
const UNEVEN: paxos::Rehearsed = paxos::Rehearsed { quorum: paxos::Quorum::Uneven };

fn mutants(protocol: &str) -> Vec<String> {
    match protocol {
        "double" => ALL_BUGS.iter().map(|b| format!("{b:?}")).collect(),
        #[cfg(feature = "planted-bugs")]
        "epaxos" | "epaxos-7" | "epaxos-store" | "epaxos-atlas" | "epaxos-atlas-2" => {
            let atlas = protocol.contains("atlas");
            let harms = |b: &&epaxos::planted::Bug| b.of_atlas().is_none_or(|only| only == atlas);
            // Where one report is enough, there is none less; where one may be gone, it is not gone with who heard it alone.
            let few = [epaxos::planted::Bug::OneReportLess, epaxos::planted::Bug::MissedUnheard];
            let shows = |b: &&epaxos::planted::Bug| protocol != "epaxos-atlas" || !few.contains(*b);
            epaxos::planted::Bug::ALL.iter().filter(harms).filter(shows).map(|b| format!("{b:?}")).collect()
        }
        #[cfg(feature = "planted-bugs")]
        "paxos" => paxos::planted::Bug::ALL.iter().map(|b| format!("{b:?}")).collect(),
        #[cfg(feature = "planted-bugs")]
        "pbft" => dwcp_consensus::pbft::Bug::ALL.iter().map(|b| format!("{b:?}")).collect(),
        _ => Vec::new(),
    }
}

/// Seeds, or every state of a small group.
fn held<S: Subject + Sync>(subject: &S, args: &Args, scenarios: &[Scenario]) -> ExitCode {
    if args.explore {
        if explored(subject, None, args) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    } else {
        sweep::held(subject, args, scenarios)
    }
}

/// A planted bug must be found, by seeds or by the explorer.
fn found<S: Subject + Sync>(subject: &S, name: &str, args: &Args, scenarios: &[Scenario]) -> bool {
    if args.explore {
        explored(subject, Some(name), args)
    } else {
        sweep::found(subject, name, args, scenarios)
    }
}

fn epaxos_rehearsed(args: &Args) -> epaxos::Rehearsed {
    epaxos::Rehearsed {
        seven: args.protocol == "epaxos-7",
        store: args.protocol == "epaxos-store",
        atlas: match args.protocol.as_str() {
            "epaxos-atlas" => Some(1),
            "epaxos-atlas-2" => Some(2),
            _ => None,
        },
        ..Default::default()
    }
}

pub(crate) fn run(args: &Args, scenarios: &[Scenario]) -> ExitCode {
    let protocol = args.protocol.as_str();
    if protocol == "list" {
        return list(args.output);
    }
    if !NAMES.contains(&protocol) {
        eprintln!("no protocol is called {protocol:?}; there are: {}", NAMES.join(", "));
        return ExitCode::from(2);
    }
    let Some(wanted) = &args.mutant else {
        return match protocol {
            "double" => held(&Double::new(None), args, scenarios),
            "epaxos" | "epaxos-7" | "epaxos-atlas" | "epaxos-atlas-2" | "epaxos-store" => {
                held(&epaxos_rehearsed(args), args, scenarios)
            }
            "paxos" => held(&MAJORITY, args, scenarios),
            "paxos-uneven" => held(&UNEVEN, args, scenarios),
            "pbft" => held(&Pbft::default(), args, scenarios),
            "pbft-signed" => held(&Pbft { signed: true, ..Pbft::default() }, args, scenarios),
            other => unreachable!("{other} is in NAMES"),
        };
    };
    let all = mutants(protocol);
    let chosen: Vec<&String> = all.iter().filter(|m| wanted == "all" || *m == wanted).collect();
    if chosen.is_empty() {
        eprintln!("{protocol} has no planted bug {wanted:?}; there are: {}", all.join(", "));
        return ExitCode::from(2);
    }
    let mut code = ExitCode::SUCCESS;
    for name in chosen {
        let is_found = match protocol {
            "double" => {
                let bug = ALL_BUGS.iter().copied().find(|b| format!("{b:?}") == *name);
                found(&Double::new(bug), name, args, scenarios)
            }
            #[cfg(feature = "planted-bugs")]
            "epaxos" | "epaxos-7" | "epaxos-atlas" | "epaxos-atlas-2" | "epaxos-store" => {
                epaxos::planted::plant(epaxos::planted::Bug::named(name));
                let is_found = found(&epaxos_rehearsed(args), name, args, scenarios);
                epaxos::planted::plant(None);
                is_found
            }
            #[cfg(feature = "planted-bugs")]
            "paxos" => {
                paxos::planted::plant(paxos::planted::Bug::named(name));
                let is_found = found(&MAJORITY, name, args, scenarios);
                paxos::planted::plant(None);
                is_found
            }
            #[cfg(feature = "planted-bugs")]
            "pbft" => {
                use dwcp_consensus::pbft::{Bug, plant};
                plant(Bug::named(name));
                let is_found = found(&Pbft::default(), name, args, scenarios);
                plant(None);
                is_found
            }
            other => unreachable!("{other} has planted bugs"),
        };
        if !is_found {
            code = ExitCode::FAILURE;
        }
    }
    code
}

fn list(output: Format) -> ExitCode {
    if output == Format::Json {
        let all: Vec<_> =
            NAMES.iter().map(|n| serde_json::json!({ "protocol": n, "mutants": mutants(n) })).collect();
        say!("{}", serde_json::json!(all));
    } else {
        for name in NAMES {
            say!("{name}: planted bugs: {}", mutants(name).join(", "));
        }
    }
    ExitCode::SUCCESS
}
