//! `dwcp status`: who leads, who lags, who is silent.

use crate::dev::layout::Layout;
use crate::http;
use clap::Args;
use dwcp_consensus::Role;
use dwcp_node::GroupStatus;
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Who leads, who lags, who is silent: as every node sees it.
#[derive(Args, Debug)]
pub struct StatusArgs {
    /// Admin addresses of the nodes; without them, those of the development cluster in `--dir`.
    #[arg(long, value_delimiter = ',')]
    pub admin: Vec<SocketAddr>,
    /// Where the development cluster lies.
    #[arg(long, default_value = ".dwcp-dev")]
    pub dir: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Page {
    groups: Vec<GroupStatus>,
    peers: Vec<PeerLine>,
}

#[derive(Debug, Deserialize)]
struct PeerLine {
    lanes_connected: usize,
}

/// Asks and prints. Fails if no node answers.
///
/// # Errors
/// What is wrong and what to do.
pub async fn run(args: StatusArgs, json: bool) -> Result<(), String> {
    let nodes: Vec<(String, SocketAddr)> = if args.admin.is_empty() {
        Layout::existing(&args.dir)?.places().into_iter().map(|p| (p.name, p.admin)).collect()
    } else {
        args.admin.iter().map(|a| (a.to_string(), *a)).collect()
    };
    let asked = nodes.iter().map(|(_, address)| http::get(*address, "/status"));
    let answers = futures_util::future::join_all(asked).await;
    let mut silent = 0;
    if !json {
        println!(
            "{:<20} {:<10} {:<9} {:>5} {:>9} {:>9} {:>9} {:>8}  peers",
            "NODE", "KEYSPACE", "ROLE", "TERM", "COMMITTED", "APPLIED", "REVISION", "KEYS"
        );
    }
    for ((name, address), answer) in nodes.iter().zip(answers) {
        let page = answer.and_then(|(_, body)| {
            let page =
                serde_json::from_str::<Page>(&body).map_err(|e| format!("{address}: not a status: {e}"))?;
            Ok((body, page))
        });
        match page {
            Err(why) => {
                silent += 1;
                if json {
                    println!("{}", serde_json::json!({ "node": name, "error": why }));
                } else {
                    println!("{name:<20} silent: {why}");
                }
            }
            Ok((body, _)) if json => println!("{{\"node\":{},\"status\":{body}}}", serde_json::json!(name)),
            Ok((_, page)) => print(name, &page),
        }
    }
    if silent == nodes.len() {
        return Err("no node answers; is the cluster running? (`dwcp dev`)".into());
    }
    Ok(())
}

fn print(name: &str, page: &Page) {
    let connected = page.peers.iter().filter(|p| p.lanes_connected > 0).count();
    // What is another region's is told by its nodes.
    for g in page.groups.iter().filter(|g| g.role != Role::Outside) {
        let keyspace = if g.keyspace.is_empty() { "default" } else { &g.keyspace };
        let role = format!("{:?}", g.role).to_lowercase();
        println!(
            "{name:<20} {keyspace:<10} {role:<9} {:>5} {:>9} {:>9} {:>9} {:>8}  {connected}/{}",
            g.term,
            g.committed_index,
            g.applied_index,
            g.revision,
            g.keys,
            page.peers.len(),
        );
        if let Some(why) = &g.repairing {
            println!("    {why}");
        }
        if let Some(configured) = g.configured {
            println!(
                "    the configuration says engine = \"{configured}\", and the first epoch was under another: `dwcp consensus status`"
            );
        }
    }
}
