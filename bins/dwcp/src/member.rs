//! `dwcp member`: who is in a keyspace's group, and changes of that.
//!
//! A change goes through the group's log, one at a time. A new member begins as a learner: it is sent everything and
//! votes on nothing, so that a machine that never starts does not count against the quorum.

use crate::client::{Client, ClientError, Endpoints};
use crate::etcd::message as pb;
use clap::{Args, Subcommand};
use std::net::SocketAddr;

/// Who is in the cluster; adds, promotes and removes members.
#[derive(Args, Debug)]
#[command(
    after_help = "A fourth node:\n  dwcp member add 4 --peer 10.0.0.4:7000     then start it with `node = 4` and `join = true`\n  dwcp member list                           until it has caught up (`dwcp status`)\n  dwcp member promote 4                      from now on it votes\nEach keyspace has members of its own: repeat with --keyspace NAME."
)]
pub struct MemberArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub endpoints: Endpoints,
    /// What to do.
    #[command(subcommand)]
    pub command: MemberCommand,
}

/// What to do with members.
#[derive(Subcommand, Debug)]
pub enum MemberCommand {
    /// Lists them.
    List,
    /// Adds one as a learner, before it is started.
    Add {
        /// Its number: one that no node of this cluster ever had. Its certificate must carry it.
        #[arg(value_parser = clap::value_parser!(u64).range(1..))]
        id: u64,
        /// Where its peers reach it.
        #[arg(long)]
        peer: SocketAddr,
        /// Where clients will reach it.
        #[arg(long)]
        client: Option<SocketAddr>,
        /// Its name, for people.
        #[arg(long, default_value = "")]
        name: String,
    },
    /// Lets a learner vote: once it has caught up, or the group may wait for it.
    Promote {
        /// Its number.
        id: u64,
    },
    /// Takes one out; its number is never used again.
    Remove {
        /// Its number.
        id: u64,
    },
}

/// Does it, through the first node that answers.
///
/// # Errors
/// What is wrong and what to do.
pub async fn run(args: MemberArgs, json: bool) -> Result<(), String> {
    let client = args.endpoints.connect().await?;
    let (done, members) = match args.command {
        MemberCommand::List => (None, list(&client).await),
        MemberCommand::Add { id, peer, client: door, name } => {
            let question = pb::MemberAddRequest {
                peer_urls: vec![format!("https://{peer}")],
                is_learner: true,
                id,
                name,
                client_url: door.map(|d| format!("http://{d}")).unwrap_or_default(),
            };
            let answer = client.call("/etcdserverpb.Cluster/MemberAdd", &question).await;
            let members = answer.map(|a: pb::MemberAddResponse| a.members);
            (Some(format!("member {id} is added as a learner; start it with `join = true`")), members)
        }
        MemberCommand::Promote { id } => {
            let members = change(&client, "MemberPromote", &pb::MemberPromoteRequest { id }).await;
            (Some(format!("member {id} votes")), members)
        }
        MemberCommand::Remove { id } => {
            let members = change(&client, "MemberRemove", &pb::MemberRemoveRequest { id }).await;
            (Some(format!("member {id} is removed")), members)
        }
    };
    print(done, &members.map_err(|e| e.to_string())?, json);
    Ok(())
}

async fn list(client: &Client) -> Result<Vec<pb::Member>, ClientError> {
    change(client, "MemberList", &pb::MemberListRequest {}).await
}

async fn change<Q: prost::Message>(
    client: &Client,
    method: &str,
    question: &Q,
) -> Result<Vec<pb::Member>, ClientError> {
    let answer: pb::MembersResponse =
        client.call(&format!("/etcdserverpb.Cluster/{method}"), question).await?;
    Ok(answer.members)
}

fn print(done: Option<String>, members: &[pb::Member], json: bool) {
    if json {
        let members: Vec<_> = members
            .iter()
            .map(|m| {
                serde_json::json!({
                    "id": m.id, "name": m.name, "peer_urls": m.peer_urls, "client_urls": m.client_urls, "learner": m.is_learner,
                })
            })
            .collect();
        println!("{}", serde_json::json!({ "members": members }));
        return;
    }
    if let Some(done) = done {
        println!("{done}");
    }
    println!("{:<20} {:<20} {:<8} {:<28} CLIENTS", "ID", "NAME", "", "PEERS");
    for m in members {
        let role = if m.is_learner { "learner" } else { "voter" };
        println!(
            "{:<20} {:<20} {role:<8} {:<28} {}",
            m.id,
            m.name,
            m.peer_urls.join(","),
            m.client_urls.join(",")
        );
    }
}
