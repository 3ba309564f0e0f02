//! `dwcp`: one binary that runs nodes, asks them, breaks development clusters, and simulates.

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use dwcp::{
    check, consensus, crdt, dev, documents, fleet, identity, jepsen, kv, maelstrom, member, run_node, say,
    sim, status,
};
use std::process::ExitCode;

/// A node makes and drops some fifty small things for a write, many of them on another thread's behalf.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Keeps a fleet's control-plane state alive through the loss of a region, and proves it from a seed.
#[derive(Parser, Debug)]
#[command(
    name = "dwcp",
    version,
    max_term_width = 110,
    after_help = "Begin with `dwcp dev`: a three-region cluster on this machine.\nThen `dwcp sim run region-loss`: the same code loses a region in simulation, and is judged."
)]
struct Cli {
    /// How to print.
    #[arg(long, global = true, value_enum, default_value_t)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
enum Output {
    /// For people.
    #[default]
    Text,
    /// For programs: one JSON document, or one a line.
    Json,
}

#[derive(Subcommand, Debug)]
enum Command {
    Dev(dev::Dev),
    Node(run_node::NodeArgs),
    Status(status::StatusArgs),
    Kv(kv::Kv),
    Crdt(crdt::Crdt),
    Vm(fleet::commands::VmArgs),
    Host(fleet::commands::HostArgs),
    Region(fleet::commands::RegionArgs),
    Address(fleet::commands::AddressArgs),
    Quota(fleet::commands::QuotaArgs),
    Document(documents::commands::DocumentArgs),
    Conflict(documents::commands::ConflictArgs),
    Policy(documents::commands::PolicyArgs),
    Schema(documents::commands::SchemaArgs),
    Member(member::MemberArgs),
    Consensus(consensus::ConsensusArgs),
    Sim(sim::Sim),
    Jepsen(jepsen::Jepsen),
    Maelstrom(maelstrom::MaelstromArgs),
    Check(check::Check),
    /// Draws the identity of a new cluster, for `cluster = "…"` in its nodes' configurations.
    ClusterId,
    /// Prints completions: `dwcp completions bash > /etc/bash_completion.d/dwcp`.
    Completions {
        /// For which shell.
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    say::guarded(run)
}

fn run() -> ExitCode {
    #[cfg(feature = "web")]
    let _set = sim::view::INSIDE.set(include_str!("../../web/dist/dwcp-sim.html"));
    let cli = Cli::parse();
    let json = cli.output == Output::Json;
    let done = match cli.command {
        Command::Check(args) => return check::run(&args, json),
        Command::Dev(args) => on_runtime(dev::run(args, json)),
        Command::Node(args) => run_node::run(&args),
        Command::Status(args) => on_runtime(status::run(args, json)),
        Command::Kv(args) => on_runtime(kv::run(args, json)),
        Command::Crdt(args) => on_runtime(crdt::run(args, json)),
        Command::Consensus(args) => on_runtime(consensus::run(args, json)),
        Command::Vm(args) => on_runtime(fleet::commands::vm(args, json)),
        Command::Host(args) => on_runtime(fleet::commands::host(args, json)),
        Command::Region(args) => on_runtime(fleet::commands::region(args, json)),
        Command::Address(args) => on_runtime(fleet::commands::address(args, json)),
        Command::Quota(args) => on_runtime(fleet::commands::quota(args, json)),
        Command::Document(args) => on_runtime(documents::commands::document(args, json)),
        Command::Conflict(args) => on_runtime(documents::commands::conflict(args, json)),
        Command::Policy(args) => on_runtime(documents::commands::policy(args, json)),
        Command::Schema(args) => on_runtime(documents::commands::schema(args, json)),
        Command::Member(args) => on_runtime(member::run(args, json)),
        Command::Sim(args) => sim::run(args, json),
        Command::Jepsen(args) => return jepsen::main(args, json),
        Command::Maelstrom(args) => maelstrom::run(args),
        Command::ClusterId => {
            identity::draw_cluster().map(|id| say::out(format_args!("{id}\n"))).map_err(|e| e.to_string())
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "dwcp", &mut say::stdout());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            if json {
                say::err(format_args!("{}\n", serde_json::json!({ "error": why })));
            } else {
                say::err(format_args!("dwcp: {why}\n"));
            }
            ExitCode::FAILURE
        }
    }
}

fn on_runtime(work: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|e| format!("can't start the runtime: {e}"))?.block_on(work)
}
