//! `dwcp dev`: a three-region cluster on this machine, as real processes on loopback, with commands
//! to break it.
//!
//! One supervisor process starts a node process per node and watches them; other `dwcp dev` commands talk to it
//! through a socket in the cluster's folder. A node ends when its standard input does, so none outlives a
//! supervisor that was killed.

pub mod control;
pub mod layout;
pub mod supervisor;

use crate::config::Transport;
use clap::{Args, Subcommand};
use dwcp_eventual::SyncPolicy;
use dwcp_node::EngineKind;
use layout::{Layout, Shape};
use std::path::PathBuf;

/// A three-region cluster on this machine, with commands to break it.
///
/// Without a subcommand: makes the cluster (or continues it), runs it until Ctrl-C, and prints what to try.
/// The other commands speak to a running one, from another terminal.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  dwcp dev                          nine nodes in three regions\n  dwcp dev --nodes 3 --latency aws-2020\n  dwcp dev kill eu-west-1           kill -9 a whole region\n  dwcp dev start eu-west-1\n  dwcp dev cut eu-west-1 us-east-1  partition two regions\n  dwcp dev heal"
)]
pub struct Dev {
    /// Where the cluster lies.
    #[arg(long, global = true, default_value = ".dwcp-dev")]
    pub dir: PathBuf,
    /// How many nodes, spread over three regions.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=15))]
    pub nodes: u16,
    /// The first client port; peers use +1000, admin +2000, Redis' clients +4000.
    #[arg(long, default_value_t = 2379, value_parser = clap::value_parser!(u16).range(1024..=60000))]
    pub port: u16,
    /// What peers speak.
    #[arg(long, value_enum, default_value_t)]
    pub transport: Transport,
    /// Delay messages between regions as measured: aws-2020 or gcp-2020.
    #[arg(long)]
    pub latency: Option<String>,
    /// What the eventual keyspace's answers to writes wait for: `always` the disk, or `everysec`, as Redis names it.
    #[arg(long, default_value = "always", value_parser = sync_policy)]
    pub sync: SyncPolicy,
    /// The engine that the strong keyspace begins with: raft, paxos, epaxos or pbft; left out, that of the cluster in the
    /// folder, or paxos (change it later: `dwcp consensus switch`)
    #[arg(long)]
    pub engine: Option<EngineKind>,
    /// Let the cluster choose engine and leader by itself, by the default policy (`dwcp consensus policy`)
    #[arg(long)]
    pub adapt: bool,
    /// Make a keyspace `hybrid` too, at home in this region: eu-west-1, us-east-1 or ap-southeast-1 (`dwcp consensus hybrid --keyspace hybrid`)
    #[arg(long, value_name = "REGION", value_parser = clap::builder::PossibleValuesParser::new(layout::REGIONS))]
    pub hybrid: Option<String>,
    /// Throw the old cluster in the folder away first.
    #[arg(long)]
    pub fresh: bool,
    /// Stop by itself after this long (tests).
    #[arg(long, hide = true)]
    pub for_seconds: Option<u64>,
    /// What to do to a running cluster.
    #[command(subcommand)]
    pub command: Option<Break>,
}

/// From its name.
fn sync_policy(name: &str) -> Result<SyncPolicy, String> {
    SyncPolicy::named(name).ok_or_else(|| "there are always and everysec".to_owned())
}

/// What to do to a running cluster. NODE is a name, a number or a whole region.
#[derive(Subcommand, Debug)]
pub enum Break {
    /// Kill nodes with SIGKILL: no goodbye, no flush.
    Kill {
        /// Whom.
        #[arg(required = true)]
        node: Vec<String>,
    },
    /// Start nodes again.
    Start {
        /// Whom.
        #[arg(required = true)]
        node: Vec<String>,
    },
    /// Stop nodes well, as an upgrade would.
    Stop {
        /// Whom.
        #[arg(required = true)]
        node: Vec<String>,
    },
    /// Freeze nodes (SIGSTOP); `start` thaws them.
    Pause {
        /// Whom.
        #[arg(required = true)]
        node: Vec<String>,
    },
    /// Cut the links between two sides, both ways.
    Cut {
        /// One side.
        a: String,
        /// The other; left out: everybody else.
        b: Option<String>,
        /// Only what the first side sends is lost.
        #[arg(long)]
        one_way: bool,
    },
    /// Mend all cuts.
    Heal,
    /// Which nodes run.
    List,
}

/// Runs the command.
///
/// # Errors
/// What is wrong and what to do.
pub async fn run(dev: Dev, json: bool) -> Result<(), String> {
    if let Some(command) = &dev.command {
        let layout = Layout::existing(&dev.dir)?;
        let answer = control::ask(&layout, command).await?;
        if json {
            println!("{}", serde_json::json!({ "done": answer }));
        } else {
            println!("{answer}");
        }
        return Ok(());
    }
    if let Some(name) = &dev.latency
        && dwcp_runtime_sim::net::Matrix::named(name).is_none()
    {
        return Err(format!("there is no latency matrix {name:?}; there are aws-2020 and gcp-2020"));
    }
    if dev.fresh && dev.dir.join("cluster.toml").exists() {
        std::fs::remove_dir_all(&dev.dir).map_err(|e| format!("can't remove {}: {e}", dev.dir.display()))?;
    }
    let began = Layout::existing(&dev.dir).ok().map(|found| found.shape);
    let engine = dev.engine.or_else(|| began.as_ref().map(|shape| shape.engine)).unwrap_or(EngineKind::Paxos);
    let shape = Shape {
        cluster: crate::identity::draw_cluster().map_err(|e| format!("no randomness: {e}"))?,
        nodes: usize::from(dev.nodes),
        port: dev.port,
        transport: dev.transport,
        latency: dev.latency.clone(),
        sync: dev.sync,
        engine,
        adapt: dev.adapt,
        hybrid: dev.hybrid.clone(),
        regional: engine != EngineKind::Pbft,
    };
    let layout = Layout::open(&dev.dir, &shape)?;
    supervisor::run(layout, dev.for_seconds, json).await
}
