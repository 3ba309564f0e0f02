//! `dwcp consensus`: which engine orders a keyspace's commands, why, and how to put another in its place.
//!
//! `status` and `switch` ask a cluster, and so do `hybrid`, `promote`, `abandon` and `aside` (keyspaces with a home region). `explain` and `policy` need none: they show
//! what the selection (`dwcp_consensus::select`) would choose for regions, writes and conflicts that are told to it; with `--now` and
//! `--in-force` they ask the cluster what it goes by.

use crate::client::{Client, ClientError, Endpoints};
use crate::dev::layout::{Layout, OPERATOR_KEY};
use crate::etcd::message as pb;
use crate::hybrid::{self, PromoteArgs};
use crate::quorums::{self, Wanted};
use crate::{consensus_key, consensus_status};
use clap::{Args, Subcommand};
use dwcp_consensus::pbft::seal;
use dwcp_consensus::quorum::MEMBERS_MAX;
use dwcp_consensus::select::{
    self, Class, Keyspace, Link, Measurements, Member, Policy, Region, Share, Trust,
};
use dwcp_env::{Duration, NodeId, RegionId};
use dwcp_node::{ConsensusStatus, EngineKind, Switch};
use dwcp_runtime_sim::net::Matrix;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A node hears of an epoch within this after it was decided, or its status is printed as it is.
const HEARD_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);
/// How often it is asked meanwhile.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(10);

/// Which engine orders commands, why, and how to change it.
#[derive(Args, Debug)]
#[command(
    after_help = "A keyspace's commands are ordered in epochs, each under one engine: raft, paxos (Multi-Paxos, with any quorums), epaxos or pbft (up to f of 3f + 1 members may lie).\n  dwcp consensus status                      which epoch, engine and leader each node sees, since when, and who wanted it\n  dwcp consensus explain --now               why this engine: what its epoch was begun for, what the selection says of it\n  dwcp consensus policy --in-force           what the selection goes by, and on which nodes\n  dwcp consensus switch paxos                the next epoch begins; clients wait for a few round trips and lose nothing\n  dwcp consensus switch paxos --quorums 4/2  four members elect, two decide\n  dwcp consensus switch paxos --quorums regions\n                                             majorities in a majority of the regions; also grid:2x3, weights:2,1,1:3/2, in-region, witness:3\n  dwcp consensus switch epaxos --quorums atlas:1\n                                             everybody proposes; what meets others takes one round trip too, one member may be gone\n  dwcp consensus keygen operator.key         the key that ends epochs under pbft: keep it off the nodes\n  dwcp consensus switch pbft --operator operator.key.pub\n                                             from here on no single member is believed; four members at least\n  dwcp consensus switch paxos --sign-with operator.key\n                                             back: only the operator ends an epoch under pbft\n  dwcp consensus explain --latency aws-2020 --at eu-west-1=1:100 --at us-east-1=1:10 --at sa-east-1=1:10\n                                             what would be chosen for three members with these writes, and why\n  dwcp consensus hybrid --keyspace orders    home, lag of each region, what lies aside\n  dwcp consensus promote orders --to us-east-1\n                                             the home is lost: that region goes on from what was shipped to it\n  dwcp consensus promote orders --to us-east-1 --graceful\n                                             the home is there: it hands over, nothing is lost"
)]
pub struct ConsensusArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub endpoints: Endpoints,
    /// What to do.
    #[command(subcommand)]
    pub command: ConsensusCommand,
}

/// What to do with a keyspace's engine.
#[derive(Subcommand, Debug)]
pub enum ConsensusCommand {
    /// Epoch, engine, quorums and leader, as each node sees them.
    Status,
    /// Ends the epoch and begins the next one under an engine. Waits until it is decided.
    Switch(SwitchArgs),
    /// Makes an operator's key for epochs under pbft: FILE, and its public half FILE.pub.
    Keygen {
        /// Where; nothing is overwritten.
        file: PathBuf,
    },
    /// Where a hybrid keyspace (`--keyspace`) has its home, how far the other regions are behind, and what lies aside.
    Hybrid,
    /// Another region becomes home of a hybrid keyspace: because its home is lost, or as planned (`--graceful`).
    Promote(PromoteArgs),
    /// Gives up a move of a hybrid keyspace that is under way.
    Abandon,
    /// What a home that was lost had decided alone in an era, and keeps aside since it is back.
    Aside {
        /// Which era.
        era: u32,
    },
    /// What the selection would choose, which rule matched, and what speaks against each other candidate; or why the engine that
    /// runs does (`--now`).
    Explain(ExplainArgs),
    /// Prints the policy that a file makes (without one: the defaults), or says what is wrong with it; or the one in force (`--in-force`).
    Policy {
        /// The file, TOML: what is not written in it is as in the defaults.
        file: Option<PathBuf>,
        /// The policy that the cluster's nodes go by, and which nodes those are.
        #[arg(long, conflicts_with = "file")]
        in_force: bool,
    },
}

/// What the next epoch is to be.
#[derive(Args, Debug)]
pub struct SwitchArgs {
    /// raft, paxos, epaxos or pbft.
    pub engine: EngineKind,
    /// Who must answer: `majority`; under epaxos `atlas:1`, commands that meet others are decided in one round trip too, and one member
    /// may be gone (`atlas:2`: two, with a larger fast quorum); under paxos ELECT/DECIDE, how many members elect a leader and how many
    /// decide; `grid:2x3`, a row elects and a column decides; `weights:2,1,1:3/2`, votes of the voters in the order of their numbers;
    /// `regions`, majorities in a majority of the regions; `in-region`, any region's majority decides; `witness:3`, majorities with
    /// somebody who is no witness.
    #[arg(long, value_parser = quorums::parse, default_value = "majority")]
    pub quorums: Wanted,
    /// The member that leads first; left out: the one that leads now.
    #[arg(long)]
    pub leader: Option<u64>,
    /// Only if this epoch is the current one; left out: whichever is, unless it is under that engine already.
    #[arg(long)]
    pub after: Option<u32>,
    /// Into pbft: the file with the public half of the key that is to end that epoch; left out: the development cluster's.
    #[arg(long, value_name = "FILE")]
    pub operator: Option<PathBuf>,
    /// Out of pbft: the file with the operator's secret key; left out: the development cluster's. What is signed is this switch of this epoch;
    /// the key does not leave this machine.
    #[arg(long, value_name = "FILE")]
    pub sign_with: Option<PathBuf>,
}

/// What the selection is told.
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// Of the running cluster: why the epoch was begun that it is in, and what its own selection, if a policy is set, says now.
    #[arg(long, conflicts_with_all = ["at", "untrusted", "mergeable", "policy"])]
    pub now: bool,
    /// A region, how many members it has, and its clients' writes a second: `eu-west-1=1:100`. Left out: the regions of the
    /// development cluster, with equal writes.
    #[arg(long, value_parser = place)]
    pub at: Vec<At>,
    /// The measured round trips between them: aws-2020 or gcp-2020.
    #[arg(long, default_value = "aws-2020")]
    pub latency: String,
    /// Writes that meet another one to the same key before it is decided, per cent.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub conflict: u32,
    /// Members may lie.
    #[arg(long)]
    pub untrusted: bool,
    /// All data is of types that may be merged.
    #[arg(long)]
    pub mergeable: bool,
    /// How long a sync takes, microseconds.
    #[arg(long, default_value_t = 1_000)]
    pub sync_us: u64,
    /// The policy; left out: the defaults.
    #[arg(long)]
    pub policy: Option<PathBuf>,
}

/// A region of an explanation.
#[derive(Clone, Debug)]
pub struct At {
    region: String,
    members: u64,
    writes: u64,
}

fn place(text: &str) -> Result<At, String> {
    let wrong =
        || format!("{text:?} is no region with members: write eu-west-1=1:100 (one member, 100 writes/s)");
    let (region, rest) = text.split_once('=').ok_or_else(wrong)?;
    let (members, writes) = rest.split_once(':').unwrap_or((rest, "1"));
    let number = |t: &str| t.parse::<u64>().map_err(|_| wrong());
    let members = number(members)?;
    if members > MEMBERS_MAX as u64 {
        return Err(format!("{text:?} has more members than a group may have, {MEMBERS_MAX}: {}", wrong()));
    }
    Ok(At { region: region.into(), members, writes: number(writes)? })
}

/// Does it.
///
/// # Errors
/// What is wrong and what to do.
pub async fn run(args: ConsensusArgs, json: bool) -> Result<(), String> {
    match args.command {
        ConsensusCommand::Status => consensus_status::status(&args.endpoints, json).await,
        ConsensusCommand::Switch(switch) => change(&args.endpoints, switch, json).await,
        ConsensusCommand::Keygen { file } => {
            consensus_key::create(&file)?;
            if json {
                println!(
                    "{}",
                    serde_json::json!({ "secret": file, "public": consensus_key::public_file(&file) })
                );
            } else {
                println!("{} and {}", file.display(), consensus_key::public_file(&file).display());
            }
            Ok(())
        }
        ConsensusCommand::Hybrid => hybrid::status(&args.endpoints, json).await,
        ConsensusCommand::Promote(promote) => hybrid::promote(&args.endpoints, &promote, json).await,
        ConsensusCommand::Abandon => hybrid::abandon(&args.endpoints, json).await,
        ConsensusCommand::Aside { era } => hybrid::aside(&args.endpoints, era, json).await,
        ConsensusCommand::Explain(explain) if explain.now => {
            consensus_status::explain(&args.endpoints, json).await
        }
        ConsensusCommand::Explain(explain) => explained(&args.endpoints, &explain, json),
        ConsensusCommand::Policy { in_force: true, .. } => {
            consensus_status::policy(&args.endpoints, json).await
        }
        ConsensusCommand::Policy { file, .. } => print_policy(file.as_ref(), json),
    }
}

pub(crate) async fn asked(client: &Client) -> Result<ConsensusStatus, ClientError> {
    let answer: pb::ConsensusAnswer =
        client.call("/dwcp.v1.Consensus/Status", &pb::ConsensusStatusRequest {}).await?;
    serde_json::from_str(&answer.json).map_err(|e| ClientError::Lost(format!("not a status: {e}")))
}

/// What nodes said, and why others said nothing, as one document.
pub(crate) fn as_json<S: serde::Serialize>(
    found: &[(String, S)],
    silent: &[(String, String)],
) -> serde_json::Value {
    let nodes: Vec<_> =
        found.iter().map(|(name, s)| serde_json::json!({ "name": name, "status": s })).collect();
    let silent: Vec<_> =
        silent.iter().map(|(name, why)| serde_json::json!({ "name": name, "error": why })).collect();
    serde_json::json!({ "nodes": nodes, "silent": silent })
}

/// A file of the development cluster's operator, if none is named and there is such a cluster.
fn operator_file(endpoints: &Endpoints, named: Option<&PathBuf>, file: &str) -> Option<PathBuf> {
    let of_dev = || endpoints.endpoints.is_empty().then(|| endpoints.dir.join(file)).filter(|f| f.exists());
    named.cloned().or_else(of_dev)
}

/// What all nodes that answer say alike of the epoch, more of them than may lie; so that nobody signs what one node made up.
async fn agreed(endpoints: &Endpoints) -> Result<ConsensusStatus, String> {
    let mut heard: Vec<ConsensusStatus> = Vec::new();
    for (_, address) in endpoints.all()? {
        if let Ok(client) = Client::connect(address, endpoints.keyspace.clone()).await
            && let Ok(status) = asked(&client).await
            && heard.iter().all(|h| h.node != status.node)
        {
            heard.push(status);
        }
    }
    let alike = |s: &ConsensusStatus| heard.iter().filter(|h| h.spec == s.spec).count();
    let most = heard.iter().max_by_key(|s| alike(s)).ok_or("no node answers")?;
    let liars = most.spec.members.voters.len().saturating_sub(1) / 3;
    if alike(most) <= liars {
        return Err(format!(
            "{} of the nodes that answer say the same of the current epoch, and {} are needed before anything is signed: name more of them \
             (`--endpoints`)",
            alike(most),
            liars + 1
        ));
    }
    Ok(most.clone())
}

/// Puts into a switch what only an operator has.
async fn authorise(endpoints: &Endpoints, args: &mut SwitchArgs, to: &mut Switch) -> Result<(), String> {
    if to.engine == EngineKind::Pbft {
        let public = consensus_key::public_file(OPERATOR_KEY.as_ref());
        let file = operator_file(endpoints, args.operator.as_ref(), &public.to_string_lossy());
        to.operator = file.map(|f| consensus_key::load_public(&f)).transpose()?;
        return Ok(());
    }
    let Some(file) = operator_file(endpoints, args.sign_with.as_ref(), OPERATOR_KEY) else { return Ok(()) };
    let now = agreed(endpoints).await?;
    if now.spec.engine == EngineKind::Pbft {
        let secret = consensus_key::load(&file)?;
        let next = to.next(&now.spec, now.spec.members.clone(), None);
        to.signed = Some(seal::seal(&secret.0, &now.spec.realm(now.group), &next.encode()));
        args.after.get_or_insert(now.spec.epoch);
    }
    Ok(())
}

async fn change(endpoints: &Endpoints, mut args: SwitchArgs, json: bool) -> Result<(), String> {
    let client = endpoints.connect().await?;
    let before = asked(&client).await.map_err(|e| e.to_string())?;
    let mut to = Switch {
        engine: args.engine,
        quorums: args.quorums.system(args.engine, &before.spec.members)?,
        first: args.leader.map(NodeId),
        ..Switch::default()
    };
    authorise(endpoints, &mut args, &mut to).await?;
    let question = pb::ConsensusSwitchRequest {
        after: args.after,
        json: serde_json::to_string(&to).map_err(|e| e.to_string())?,
    };
    let began = std::time::Instant::now();
    let answer: Result<pb::ConsensusAnswer, _> = client.call("/dwcp.v1.Consensus/Switch", &question).await;
    let took = began.elapsed();
    answer.map_err(|e| e.to_string())?;
    // The node that is asked may hear of it a little after the one that leads.
    let mut now = asked(&client).await.map_err(|e| e.to_string())?;
    let until = began + took + HEARD_WITHIN;
    let alike = |s: &ConsensusStatus| (s.spec.engine, &s.spec.quorums) == (to.engine, &to.quorums);
    while !alike(&now) && std::time::Instant::now() < until {
        tokio::time::sleep(LOOK_EVERY).await;
        now = asked(&client).await.map_err(|e| e.to_string())?;
    }
    if json {
        println!("{}", serde_json::json!({ "took_ms": took.as_secs_f64() * 1e3, "status": now }));
    } else {
        let same = if now.spec.epoch == before.spec.epoch { "still " } else { "" };
        println!(
            "{same}epoch {} under {}, {:.1} ms after it was asked for",
            now.spec.epoch,
            now.spec.engine,
            took.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

fn read_policy(file: Option<&PathBuf>) -> Result<Policy, String> {
    let Some(file) = file else { return Ok(Policy::default()) };
    let text = std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()))?;
    let policy: Policy = toml::from_str(&text).map_err(|e| format!("{}: {e}", file.display()))?;
    policy.check().map_err(|e| format!("{}: {e}", file.display()))?;
    Ok(policy)
}

fn print_policy(file: Option<&PathBuf>, json: bool) -> Result<(), String> {
    let policy = read_policy(file)?;
    if json {
        println!("{}", serde_json::to_string(&policy).map_err(|e| e.to_string())?);
    } else {
        print!("{}", toml::to_string_pretty(&policy).map_err(|e| e.to_string())?);
    }
    Ok(())
}

/// The regions of the development cluster.
fn of_layout(endpoints: &Endpoints) -> Result<Vec<At>, String> {
    let layout = Layout::existing(&endpoints.dir)
        .map_err(|e| format!("{e}; or say which regions, members and writes: --at eu-west-1=1:100"))?;
    let mut regions: BTreeMap<&str, u64> = BTreeMap::new();
    for place in layout.places() {
        *regions.entry(place.region).or_default() += 1;
    }
    let at = |(region, members): (&str, u64)| At { region: region.into(), members, writes: 1 };
    Ok(regions.into_iter().map(at).collect())
}

fn explained(endpoints: &Endpoints, args: &ExplainArgs, json: bool) -> Result<(), String> {
    let at = if args.at.is_empty() { of_layout(endpoints)? } else { args.at.clone() };
    let policy = read_policy(args.policy.as_ref())?;
    let measured = measurements(&at, args)?;
    let choice = select::choose(&measured, &policy, None);
    if json {
        println!("{}", serde_json::to_string(&choice).map_err(|e| e.to_string())?);
        return Ok(());
    }
    println!("{}", choice.explain());
    println!("{}", choice.table());
    for (nth, a) in at.iter().enumerate() {
        println!("region {nth}: {}", a.region);
    }
    Ok(())
}

fn measurements(at: &[At], args: &ExplainArgs) -> Result<Measurements, String> {
    let matrix = Matrix::named(&args.latency)
        .ok_or_else(|| format!("{:?} names no matrix: there are aws-2020 and gcp-2020", args.latency))?;
    let mut places = Vec::new();
    for a in at {
        let place = matrix.region(&a.region);
        places.push(place.ok_or_else(|| format!("{} has no region {:?}", args.latency, a.region))?);
    }
    let mut next = 0;
    let mut member = || {
        next += 1;
        Member { node: NodeId(next), up: true }
    };
    let regions = at.iter().enumerate();
    let regions: Vec<Region> = regions
        .map(|(nth, a)| Region {
            id: RegionId(nth as u16),
            members: (0..a.members).map(|_| member()).collect(),
        })
        .collect();
    let link = |from: usize, to: usize| {
        let rtt = matrix.path(places[from], places[to]).mean * 2;
        Link { rtt: Some(rtt), rtt_p99: rtt, loss: Share::percent(0) }
    };
    let links = (0..at.len()).map(|a| (0..at.len()).map(|b| link(a, b)).collect()).collect();
    let keyspace = Keyspace {
        id: 0,
        class: if args.mergeable { Class::Mergeable } else { Class::Strong },
        writes: at.iter().map(|a| a.writes).collect(),
        conflict: Share::percent(args.conflict),
        budget: None,
    };
    let trust = if args.untrusted { Trust::Untrusted } else { Trust::Trusted };
    let sync = Duration::micros(args.sync_us);
    Ok(Measurements { regions, links, keyspaces: vec![keyspace], trust, sync })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_read_or_say_how_to_write_them() {
        let at = place("eu-west-1=2:100").unwrap();
        assert_eq!((at.region.as_str(), at.members, at.writes), ("eu-west-1", 2, 100));
        assert_eq!(place("x=1").unwrap().writes, 1);
        for bad in ["", "x", "x=", "x=a", "x=1:b", "x=99999999999:1"] {
            assert!(place(bad).unwrap_err().contains("eu-west-1=1:100"), "{bad}");
        }
    }

    #[test]
    fn the_example_of_the_help_is_explained() {
        let at = ["eu-west-1=1:100", "us-east-1=1:10", "sa-east-1=1:10"].map(|t| place(t).unwrap());
        let args = ExplainArgs {
            now: false,
            at: at.to_vec(),
            latency: "aws-2020".into(),
            conflict: 100,
            untrusted: false,
            mergeable: false,
            sync_us: 1_000,
            policy: None,
        };
        let measured = measurements(&at, &args).unwrap();
        let choice = select::choose(&measured, &Policy::default(), None);
        assert!(choice.explain().contains("Multi-Paxos"), "{}", choice.explain());
        let mut elsewhere = at.to_vec();
        elsewhere[0].region = "atlantis".into();
        assert!(measurements(&elsewhere, &args).unwrap_err().contains("atlantis"));
    }

    #[test]
    fn the_default_policy_is_a_policy_file() {
        let text = toml::to_string_pretty(&Policy::default()).unwrap();
        assert_eq!(toml::from_str::<Policy>(&text).unwrap(), Policy::default());
        assert!(toml::from_str::<Policy>("speed = 3").is_err(), "what is not known is refused");
    }
}
