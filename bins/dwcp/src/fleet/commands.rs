//! `dwcp vm`, `host`, `region`, `address`, `quota`: the fleet on the command line.
//!
//! Exit codes: 0 done; 1 refused, or no node answers, and why; 2 the command line makes no sense.

use super::agent;
use super::ask::Doors;
use clap::{Args, Subcommand};
use dwcp_fleet::cidr::{Cidr, Family};
use dwcp_fleet::command::{Answer, Command};
use dwcp_fleet::name::{Group, HostName, Image, Prefix, Region, VmName};
use dwcp_fleet::record::{Disk, HostState, Nic, Power, RegionState, Spec, Thing};
use dwcp_fleet::resources::Resources;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Virtual machines.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  dwcp vm create eu-web --region eu --image base --group red --vcpus 2 --memory 2048 --nics 1 --start
  dwcp vm list
  dwcp vm stop eu-web
  dwcp vm move eu-web --to us
  dwcp vm move eu-web --call-back                    # us is lost: it stays where it is
  dwcp vm watch --region eu
  dwcp vm findings                                   # does anything contradict itself?
  dwcp --output json vm show eu-web")]
pub struct VmArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: VmCommand,
}

/// A machine by name or number.
#[derive(Args, Debug)]
pub struct Which {
    /// Its name or number.
    pub vm: String,
    /// Where it is at home; left out: wherever it is found.
    #[arg(long)]
    pub region: Option<Region>,
}

/// What to do with machines.
#[derive(Subcommand, Debug)]
pub enum VmCommand {
    /// Creates a machine; it starts when it is told to.
    Create {
        /// Its name; it must begin with a prefix that the region holds.
        name: VmName,
        /// Where.
        #[arg(long)]
        region: Region,
        /// What it starts from.
        #[arg(long)]
        image: Image,
        /// Who pays.
        #[arg(long)]
        group: Group,
        /// Virtual processors.
        #[arg(long, default_value_t = 1)]
        vcpus: u64,
        /// Memory, in MiB.
        #[arg(long, default_value_t = 1024)]
        memory: u64,
        /// The sizes of its disks, in GiB.
        #[arg(long, value_delimiter = ',')]
        disks: Vec<u64>,
        /// Interfaces; each gets an address.
        #[arg(long, default_value_t = 0)]
        nics: u8,
        /// Addresses of version 6.
        #[arg(long)]
        ipv6: bool,
        /// Start it at once.
        #[arg(long)]
        start: bool,
    },
    /// Lists machines.
    List {
        /// Of this region only.
        #[arg(long)]
        region: Option<Region>,
    },
    /// Shows a machine: what it is to be, where it has its place, what it does.
    Show(Which),
    /// A machine is to run; the region finds a host for it.
    Start(Which),
    /// A machine is to stop.
    Stop(Which),
    /// Gives a stopped machine another size.
    Resize {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Virtual processors.
        #[arg(long)]
        vcpus: u64,
        /// Memory, in MiB.
        #[arg(long)]
        memory: u64,
    },
    /// Sets labels (`key=value`), or removes them (`key-`).
    Label {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// `key=value` or `key-`.
        #[arg(long = "set", required = true)]
        labels: Vec<String>,
    },
    /// Stops a machine and deletes it with all it has.
    Delete(Which),
    /// Moves a stopped machine to another region. It keeps its name and gets addresses of its new home.
    Move {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Where to.
        #[arg(long, required_unless_present = "call_back")]
        to: Option<Region>,
        /// Calls a move back that has not been committed: the machine stays where it is. For a region that is lost.
        #[arg(long, conflicts_with = "to")]
        call_back: bool,
    },
    /// Moves a running machine to another host of its region.
    Migrate {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Where to; left out: where there is most room.
        #[arg(long)]
        to: Option<HostName>,
    },
    /// Calls a migration back.
    Stay(Which),
    /// Prints what changes in a region, a JSON object a line, until Ctrl-C.
    Watch {
        /// Where.
        #[arg(long)]
        region: Region,
    },
    /// Lists where what regions and hosts announce is contradictory: a machine at home or running twice, an address or a name given
    /// twice, a host over-booked; and what follows. Each node tells what it hears.
    Findings,
}

/// Hosts.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  dwcp host join h1 --region eu --vcpus 16 --memory 65536 --vms 50
  dwcp host drain h1 --region eu
  dwcp host run h1 --region eu --storage /tmp/disks   # an agent over a simulated hypervisor")]
pub struct HostArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: HostCommand,
}

/// One host.
#[derive(Args, Debug)]
pub struct OneHost {
    /// Its name.
    pub host: HostName,
    /// Where it stands.
    #[arg(long)]
    pub region: Region,
}

/// What a host has.
#[derive(Args, Debug)]
pub struct Capacity {
    /// Virtual processors.
    #[arg(long, default_value_t = 8)]
    pub vcpus: u64,
    /// Memory, in MiB.
    #[arg(long, default_value_t = 16 * 1024)]
    pub memory: u64,
    /// Machines at once.
    #[arg(long, default_value_t = 32)]
    pub vms: u64,
}

/// What to do with hosts.
#[derive(Subcommand, Debug)]
pub enum HostCommand {
    /// A host offers itself, or comes back after it was declared lost.
    Join {
        /// Which.
        #[command(flatten)]
        host: OneHost,
        /// What it has.
        #[command(flatten)]
        capacity: Capacity,
    },
    /// Lists a region's hosts, or all.
    List {
        /// Of this region only.
        #[arg(long)]
        region: Option<Region>,
    },
    /// Nothing more is placed on it.
    Cordon(OneHost),
    /// Its machines move to other hosts.
    Drain(OneHost),
    /// It is to be used again.
    Ready(OneHost),
    /// It is held for dead: its machines start elsewhere as their leases end.
    Lost(OneHost),
    /// Joins and runs an agent over a simulated hypervisor until Ctrl-C: machines are entries in a table, storage is a
    /// folder of fencing epochs that all hosts of the machine share. One process for each name: another of the same name ends
    /// this one.
    Run {
        /// Which.
        #[command(flatten)]
        host: OneHost,
        /// What it has.
        #[command(flatten)]
        capacity: Capacity,
        /// The folder of epochs.
        #[arg(long)]
        storage: std::path::PathBuf,
    },
}

/// Regions, their images and name prefixes.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  dwcp region add eu --prefix eu-
  dwcp region image eu base --source /images/base.qcow2
  dwcp region show eu
  dwcp region reopen eu    # its store was restored from a backup")]
pub struct RegionArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: RegionCommand,
}

/// What to do with regions.
#[derive(Subcommand, Debug)]
pub enum RegionCommand {
    /// Adds a region, or makes it active again; with `--prefix` it may give names that begin so.
    Add {
        /// Which.
        region: Region,
        /// A prefix no other begins with.
        #[arg(long)]
        prefix: Option<Prefix>,
    },
    /// Nothing more is given to it.
    Drain {
        /// Which.
        region: Region,
    },
    /// Opens a region whose store was restored from a backup. It gives nothing before; and for a minute after, until what
    /// it has forgotten has surely ended. Agents of its hosts are to be started again.
    Reopen {
        /// Which.
        region: Region,
    },
    /// Lists regions.
    List,
    /// Shows what a region holds.
    Show {
        /// Which.
        region: Region,
    },
    /// Tells a region where its hosts find an image; without `--source` it has it no more.
    Image {
        /// Where.
        region: Region,
        /// Which.
        image: Image,
        /// A path or URL, in the hosts' own terms.
        #[arg(long)]
        source: Option<String>,
    },
}

/// Address blocks, and who has them.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  dwcp address add 10.0.0.0/16
  dwcp address split 10.0.0.0/16 --length 20
  dwcp address lend 10.0.0.0/20 --to eu
  dwcp address return 10.0.0.0/20 --from eu")]
pub struct AddressArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: AddressCommand,
}

/// What to do with blocks.
#[derive(Subcommand, Debug)]
pub enum AddressCommand {
    /// Adds a block to the fleet.
    Add {
        /// Such as 10.0.0.0/16.
        block: Cidr,
    },
    /// Splits a block that nobody has, at most into 64 parts.
    Split {
        /// Which.
        block: Cidr,
        /// The length of the parts' prefixes.
        #[arg(long)]
        length: u8,
    },
    /// Lends a block of at most 4096 addresses, or a name prefix, to a region.
    Lend {
        /// Which.
        thing: Thing,
        /// To whom.
        #[arg(long)]
        to: Region,
    },
    /// Takes a block or prefix back; it comes when nothing of it is in use.
    Return {
        /// Which.
        thing: Thing,
        /// From whom.
        #[arg(long)]
        from: Region,
    },
    /// Lists blocks and prefixes, and who has them.
    List,
}

/// Quotas of groups, and the regions' shares.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  dwcp quota set red --vms 100 --vcpus 400 --memory 800000 --disk 10000 --addresses 200
  dwcp quota share red --region eu --vms 50 --vcpus 200 --memory 400000 --disk 5000 --addresses 100
  dwcp quota list")]
pub struct QuotaArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: QuotaCommand,
}

/// Amounts.
#[derive(Args, Debug)]
pub struct Amount {
    /// Machines.
    #[arg(long, default_value_t = 0)]
    pub vms: u64,
    /// Virtual processors.
    #[arg(long, default_value_t = 0)]
    pub vcpus: u64,
    /// Memory, in MiB.
    #[arg(long, default_value_t = 0)]
    pub memory: u64,
    /// Disks, in GiB.
    #[arg(long, default_value_t = 0)]
    pub disk: u64,
    /// Addresses.
    #[arg(long, default_value_t = 0)]
    pub addresses: u64,
}

impl Amount {
    const fn resources(&self) -> Resources {
        Resources {
            vms: self.vms,
            vcpus: self.vcpus,
            memory_mib: self.memory,
            disk_gib: self.disk,
            addresses: self.addresses,
        }
    }
}

/// What to do with quotas.
#[derive(Subcommand, Debug)]
pub enum QuotaCommand {
    /// Sets a group's quota.
    Set {
        /// Whose.
        group: Group,
        /// How much; what is left out is none.
        #[command(flatten)]
        amount: Amount,
    },
    /// Sets a region's share of it.
    Share {
        /// Whose.
        group: Group,
        /// Where.
        #[arg(long)]
        region: Region,
        /// How much; what is left out is none.
        #[command(flatten)]
        amount: Amount,
    },
    /// Lists quotas and shares.
    List,
}

async fn told(doors: &Doors, command: Command, json: bool) -> Result<(), String> {
    let answer = doors.done(&command).await?;
    if json {
        println!("{}", json!({ "answer": answer }));
        return Ok(());
    }
    match answer {
        Answer::Done => println!("done"),
        Answer::Life { life } => println!("life {life}"),
        Answer::Vm { at, generation } => println!("{} in {} (change {generation})", at.vm, at.region),
        Answer::Place { host, epoch, .. } => println!("on {host} under epoch {epoch}"),
    }
    Ok(())
}

/// `dwcp vm`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn vm(args: VmArgs, json: bool) -> Result<(), String> {
    let doors = &args.doors;
    let at = async |which: &Which| doors.find(&which.vm, which.region.as_ref()).await.map(|(at, _)| at);
    let command = match args.command {
        VmCommand::List { region } => return list_vms(doors, region, json).await,
        VmCommand::Show(which) => return show(&doors.find(&which.vm, which.region.as_ref()).await?.1, json),
        VmCommand::Findings => return findings(doors, json).await,
        VmCommand::Watch { region } => return watch(doors, &region).await,
        VmCommand::Create { name, region, image, group, vcpus, memory, disks, nics, ipv6, start } => {
            let part = |text: String| text.parse().unwrap_or_else(|_| unreachable!("letters and digits"));
            let disks =
                disks.into_iter().enumerate().map(|(i, gib)| Disk { name: part(format!("disk{i}")), gib });
            let family = if ipv6 { Family::V6 } else { Family::V4 };
            let nics = (0..nics).map(|i| Nic { name: part(format!("eth{i}")), family });
            let power = if start { Power::On } else { Power::Off };
            let (disks, nics, labels) = (disks.collect(), nics.collect(), BTreeMap::new());
            let spec = Spec { name, image, vcpus, memory_mib: memory, disks, nics, power, group, labels };
            Command::Create { region, spec }
        }
        VmCommand::Start(which) => Command::SetPower { at: at(&which).await?, power: Power::On },
        VmCommand::Stop(which) => Command::SetPower { at: at(&which).await?, power: Power::Off },
        VmCommand::Resize { which, vcpus, memory } => {
            Command::Resize { at: at(&which).await?, vcpus, memory_mib: memory }
        }
        VmCommand::Label { which, labels } => {
            let (set, remove) = labels_of(&labels)?;
            Command::Label { at: at(&which).await?, set, remove }
        }
        VmCommand::Delete(which) => Command::Delete { at: at(&which).await? },
        VmCommand::Move { which, to: Some(to), .. } => Command::Move { at: at(&which).await?, to },
        VmCommand::Move { which, to: None, .. } => Command::CallBack { at: at(&which).await? },
        VmCommand::Migrate { which, to } => Command::Migrate { at: at(&which).await?, to },
        VmCommand::Stay(which) => Command::StayPut { at: at(&which).await? },
    };
    told(doors, command, json).await
}

fn labels_of(words: &[String]) -> Result<(BTreeMap<String, String>, BTreeSet<String>), String> {
    let (mut set, mut remove) = (BTreeMap::new(), BTreeSet::new());
    for word in words {
        match (word.split_once('='), word.strip_suffix('-')) {
            (Some((key, value)), _) => drop(set.insert(key.to_string(), value.to_string())),
            (None, Some(key)) => drop(remove.insert(key.to_string())),
            _ => return Err(format!("{word:?} is no label; write key=value to set one, key- to remove it")),
        }
    }
    Ok((set, remove))
}

/// What a machine's item says in a line.
fn line(item: &Value) -> String {
    let text = |v: &Value| v.as_str().unwrap_or("-").to_string();
    let hold = &item["place"]["hold"];
    let host =
        [&hold["held"]["host"], &hold["handing"]["host"]].into_iter().find_map(Value::as_str).unwrap_or("-");
    let vm = &item["vm"];
    let life = vm["life"].as_str().map_or_else(
        || vm["life"].as_object().and_then(|o| o.keys().next().cloned()).unwrap_or_default(),
        ToString::to_string,
    );
    let addresses: Vec<String> =
        vm["addresses"].as_array().into_iter().flatten().map(|a| text(&a["ip"])).collect();
    format!(
        "{:<24} {:<12} {:<9} {:<5} {:<9} {:<16} {:>5} {:<32} {}",
        text(&vm["spec"]["name"]),
        text(&item["region"]),
        life,
        text(&vm["spec"]["power"]),
        text(&item["status"]["phase"]),
        host,
        item["place"]["epoch"],
        text(&vm["id"]),
        addresses.join(",")
    )
}

/// The regions that did not answer, and why.
type Unanswered = Vec<(Region, String)>;

/// What each of some regions has under a kind; if none of them answers, why.
async fn each(
    doors: &Doors,
    region: Option<Region>,
    kind: &str,
) -> Result<(Vec<(Region, Value)>, Unanswered), String> {
    let regions = match region {
        Some(region) => vec![region],
        None => doors.regions().await?,
    };
    let asked = regions.into_iter().map(|region| async move {
        let answer = doors.get(&format!("regions/{region}/{kind}")).await;
        (region, answer)
    });
    let (mut found, mut unanswered) = (Vec::new(), Vec::new());
    for (region, answer) in futures_util::future::join_all(asked).await {
        match answer {
            Ok(value) => found.push((region, value)),
            Err(why) => unanswered.push((region, why)),
        }
    }
    match unanswered.first() {
        Some((_, why)) if found.is_empty() => Err(why.clone()),
        _ => Ok((found, unanswered)),
    }
}

/// Says whom nobody could ask: what is listed is not all there is.
fn missing(unanswered: &Unanswered) -> Value {
    for (region, why) in unanswered {
        eprintln!("dwcp: {region} is not listed: {why}");
    }
    unanswered.iter().map(|(region, why)| json!({ "region": region, "why": why })).collect()
}

async fn list_vms(doors: &Doors, region: Option<Region>, json: bool) -> Result<(), String> {
    let (found, unanswered) = each(doors, region, "vms").await?;
    let items = found.iter().flat_map(|(_, value)| value["items"].as_array().into_iter().flatten());
    let all: Vec<Value> = items.cloned().collect();
    let unanswered = missing(&unanswered);
    if json {
        println!("{}", json!({ "items": all, "unanswered": unanswered }));
        return Ok(());
    }
    println!(
        "{:<24} {:<12} {:<9} {:<5} {:<9} {:<16} {:>5} {:<32} ADDRESSES",
        "NAME", "REGION", "LIFE", "POWER", "PHASE", "HOST", "EPOCH", "NUMBER"
    );
    all.iter().for_each(|item| println!("{}", line(item)));
    Ok(())
}

fn show(item: &Value, json: bool) -> Result<(), String> {
    let text = if json { Ok(item.to_string()) } else { serde_json::to_string_pretty(item) };
    println!("{}", text.map_err(|e| e.to_string())?);
    Ok(())
}

async fn findings(doors: &Doors, json: bool) -> Result<(), String> {
    let found = doors.get("findings").await?;
    if json {
        println!("{found}");
        return Ok(());
    }
    for item in found["items"].as_array().into_iter().flatten() {
        let word = |name: &str| item[name].as_str().unwrap_or_default().to_string();
        println!("{}\n    {}", word("told"), word("follows"));
    }
    let count = |name: &str| found[name].as_u64().unwrap_or(0);
    println!(
        "{} findings; {} regions and hosts are heard, of {} things; {} can't be read",
        found["items"].as_array().map_or(0, Vec::len),
        count("announcers"),
        count("announced"),
        count("unreadable")
    );
    Ok(())
}

/// Between two rounds of all doors.
const ROUND_EVERY: std::time::Duration = std::time::Duration::from_millis(500);

/// Prints what changes, as told by one node; when that ends, by the next. Ends when a round of all nodes tells nothing.
async fn watch(doors: &Doors, region: &Region) -> Result<(), String> {
    let path = format!("/v1/fleet/regions/{region}/watch");
    let mut round = tokio::time::interval(ROUND_EVERY);
    loop {
        round.tick().await;
        let (mut told, mut silent) = (false, Vec::new());
        for door in doors.places.about(Some(region.as_str()))? {
            let mut stood = false;
            let each = |line: &str| {
                stood = true;
                println!("{line}");
            };
            let Err(why) = crate::http::lines(door, &path, each).await else { continue };
            if stood {
                eprintln!("dwcp: {why}");
            } else {
                silent.push(why);
            }
            told |= stood;
        }
        if !told {
            return Err(format!("no node tells of changes in {region}: {}", silent.join("; ")));
        }
    }
}

/// Lists of records, a line each, or all as one object.
async fn records(doors: &Doors, paths: &[String], json: bool) -> Result<(), String> {
    let mut found = Vec::new();
    for path in paths {
        found.push((path.clone(), doors.get(path).await?));
    }
    print_records(found, json, None);
    Ok(())
}

fn print_records(found: impl IntoIterator<Item = (String, Value)>, json: bool, unanswered: Option<Value>) {
    let mut all = serde_json::Map::new();
    for (path, found) in found {
        if !json {
            for item in found["items"].as_array().into_iter().flatten() {
                println!("{path}/{} {}", item["name"].as_str().unwrap_or("-"), item["record"]);
            }
        }
        all.insert(path, found["items"].clone());
    }
    all.extend(unanswered.map(|u| ("unanswered".to_owned(), u)));
    if json {
        println!("{}", Value::Object(all));
    }
}

/// `dwcp host`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn host(args: HostArgs, json: bool) -> Result<(), String> {
    let doors = &args.doors;
    let state = |host: OneHost, state| Command::HostState { region: host.region, host: host.host, state };
    let command = match args.command {
        HostCommand::List { region } => {
            let (found, unanswered) = each(doors, region, "hosts").await?;
            let found = found.into_iter().map(|(region, value)| (format!("regions/{region}/hosts"), value));
            print_records(found, json, Some(missing(&unanswered)));
            return Ok(());
        }
        HostCommand::Join { host, capacity } => join(&host, &capacity),
        HostCommand::Cordon(host) => state(host, HostState::Cordoned),
        HostCommand::Drain(host) => state(host, HostState::Drained),
        HostCommand::Ready(host) => state(host, HostState::Ready),
        HostCommand::Lost(host) => state(host, HostState::Lost),
        HostCommand::Run { host, capacity, storage } => {
            doors.done(&join(&host, &capacity)).await?;
            // The number that was given is the joining's: two processes that register under one would be one life.
            let doors = &Doors { key: None, ..doors.clone() };
            let attach = Command::HostAttach { region: host.region.clone(), host: host.host.clone() };
            let Answer::Life { life } = doors.done(&attach).await? else {
                return Err(
                    "the door answers a registration with something else; is it as new as this dwcp?".into(),
                );
            };
            return agent::run(doors.clone(), host.region, host.host, life, &storage, json).await;
        }
    };
    told(doors, command, json).await
}

fn join(host: &OneHost, capacity: &Capacity) -> Command {
    let capacity = Resources {
        vms: capacity.vms,
        vcpus: capacity.vcpus,
        memory_mib: capacity.memory,
        ..Resources::NONE
    };
    Command::HostJoin {
        region: host.region.clone(),
        host: host.host.clone(),
        capacity,
        labels: BTreeMap::new(),
    }
}

/// `dwcp region`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn region(args: RegionArgs, json: bool) -> Result<(), String> {
    let doors = &args.doors;
    let command = match args.command {
        RegionCommand::List => return records(doors, &["regions".into()], json).await,
        RegionCommand::Show { region } => {
            let kinds = ["hosts", "images", "blocks", "prefixes", "quotas"];
            let paths: Vec<String> = kinds.iter().map(|kind| format!("regions/{region}/{kind}")).collect();
            return records(doors, &paths, json).await;
        }
        RegionCommand::Add { region, prefix } => {
            let state = RegionState::Active;
            if let Some(prefix) = prefix {
                doors.done(&Command::Region { region: region.clone(), state }).await?;
                doors.done(&Command::PrefixAdd { prefix: prefix.clone() }).await?;
                Command::Lend { thing: Thing::Prefix(prefix), region }
            } else {
                Command::Region { region, state }
            }
        }
        RegionCommand::Reopen { region } => Command::Reopen { region },
        RegionCommand::Drain { region } => Command::Region { region, state: RegionState::Draining },
        RegionCommand::Image { region, image, source } => Command::ImageSet { region, image, source },
    };
    told(doors, command, json).await
}

/// `dwcp address`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn address(args: AddressArgs, json: bool) -> Result<(), String> {
    let command = match args.command {
        AddressCommand::List => {
            return records(&args.doors, &["blocks".into(), "prefixes".into()], json).await;
        }
        AddressCommand::Add { block } => Command::BlockAdd { block },
        AddressCommand::Split { block, length } => Command::BlockSplit { block, length },
        AddressCommand::Lend { thing, to } => Command::Lend { thing, region: to },
        AddressCommand::Return { thing, from } => Command::Return { thing, region: from },
    };
    told(&args.doors, command, json).await
}

/// `dwcp quota`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn quota(args: QuotaArgs, json: bool) -> Result<(), String> {
    let command = match args.command {
        QuotaCommand::List => return records(&args.doors, &["quotas".into()], json).await,
        QuotaCommand::Set { group, amount } => Command::QuotaTotal { group, total: amount.resources() },
        QuotaCommand::Share { group, region, amount } => {
            Command::QuotaShare { group, region, right: amount.resources() }
        }
    };
    told(&args.doors, command, json).await
}
