//! `dwcp document`, `conflict`, `policy`, `schema`: on the command line.
//!
//! Exit codes: 0 done; 1 refused, or no node answers, and why; 2 the command line makes no sense.

use super::checkpoints::{self, BackArgs, TakeArgs};
use super::files;
use crate::fleet::Places;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Whom a command asks, and for whom.
#[derive(Args, Clone, Debug)]
pub struct Doors {
    /// Which nodes.
    #[command(flatten)]
    pub places: Places,
    /// In whose name: as records show it.
    #[arg(long, global = true, default_value = "dwcp")]
    pub by: String,
    /// What they are: what policies rank.
    #[arg(long, global = true, default_value = "operator")]
    pub role: String,
    /// Where they are.
    #[arg(long, global = true, default_value = "")]
    pub at: String,
}

impl Doors {
    /// The answer of the first node that has one.
    pub(super) async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        match self.places.ask(method, path, &body).await? {
            (200, value) => Ok(value),
            (_, value) => {
                Err(value["error"]["what"].as_str().map_or_else(|| value.to_string(), str::to_string))
            }
        }
    }
    /// All of a list, page by page.
    async fn pages(&self, path: &str, name: &str) -> Result<Vec<Value>, String> {
        let mut all: Vec<Value> = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let after = next.as_deref().map(|n| format!("?after={}", escaped(n))).unwrap_or_default();
            let page = self.ask("GET", &format!("{path}{after}"), &Value::Null).await?;
            all.extend(list(&page, name).cloned());
            let last = std::mem::replace(&mut next, page["next"].as_str().map(str::to_owned));
            // Each page begins behind the one before.
            if next.is_none() || next == last {
                return Ok(all);
            }
        }
    }
    pub(super) fn who(&self) -> Value {
        json!({ "name": self.by, "role": self.role, "region": self.at })
    }
}

/// A part of a path.
pub(super) fn escaped(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// Documents: objects of declared kinds, written in every region, cut off or not.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  dwcp schema apply vm.json
  dwcp document put vm web-1 web-1.json
  dwcp document put vm web-1 edited.json --base web-1.json      what others changed since stays
  dwcp document merge vm base.json mine.json theirs.json
  dwcp document set vm web-1 /cpu=4 /labels/team=red
  dwcp document set vm web-1 --unset /labels/team
  dwcp document get vm web-1
  dwcp document list vm
  dwcp document checkpoint before-upgrade --kind vm
  dwcp document rollback before-upgrade --key web-1 --dry-run")]
pub struct DocumentArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: DocumentCommand,
}

/// What to do with documents.
#[derive(Subcommand, Debug)]
pub enum DocumentCommand {
    /// A document is to be as this file says; fields it leaves out go.
    Put {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
        /// JSON or TOML; `-` for standard input.
        file: PathBuf,
        /// The document as it was when you began to edit it: what others changed since stays. Refused where both changed the same.
        #[arg(long)]
        base: Option<PathBuf>,
    },
    /// Shows what two versions of a document come to beside the one both began with; nothing is written.
    ///
    /// Each field is merged as the schema says; where they clash it is told, and the exit code is 1.
    Merge {
        /// The kind.
        kind: String,
        /// What both began with: JSON or TOML.
        base: PathBuf,
        /// One version.
        a: PathBuf,
        /// The other.
        b: PathBuf,
    },
    /// Fields are to be this: `/cpu=4`, `/labels/team=red`. A value is JSON, or else text.
    ///
    /// If the schema names a lifecycle, it says that the document is there, too; a document that was deleted is brought back by it
    /// (`/lifecycle=present`), and takes no other field alone.
    Set {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
        /// A JSON pointer, `=`, and the value.
        fields: Vec<String>,
        /// Fields that are to go.
        #[arg(long)]
        unset: Vec<String>,
    },
    /// Shows a document, and where in it writes stand beside each other.
    Get {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
    },
    /// Lists the keys of a kind.
    List {
        /// Which.
        kind: String,
    },
    /// A document is to be no more.
    ///
    /// If the schema names a lifecycle, that is one write, which an edit on the other side of a cut meets as one conflict; the document stays or goes as a whole.
    /// Without one, each field that is there goes, and what others write at the same time stays alone.
    Delete {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
    },
    /// Keeps what is there now under a name, for the way back.
    ///
    /// What the node that answers shows at one moment, of all kinds or of some; it lies with the documents, so that each node has it and the loss of the one that
    /// took it takes nothing away. 8 MiB each, 64 in all.
    Checkpoint(TakeArgs),
    /// Lists the checkpoints there are, and who went back to one; rollbacks that broke off are told.
    Checkpoints,
    /// Has documents be as they were when a checkpoint was taken: shows what it writes, then writes it.
    ///
    /// These are new writes in your name and role: policies rank them, what others write at the same time stands beside them, `conflict explain` tells of each
    /// and `conflict undo` takes it back for thirty days. Documents that were made since stay unless you say otherwise; nothing is written if one does
    /// not fit its schema any more. What breaks off is gone on with by the same command.
    Rollback(BackArgs),
    /// Deletes a checkpoint.
    Forget {
        /// Its name; `NAME@ID` if two were taken under one name on two sides of a cut.
        name: String,
    },
}

/// Conflicts: what several wrote who did not see each other; what came of it, and why; the way back.
///
/// A conflict is named by its writes; six digits of its name will do. Each node answers from what it has.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  dwcp conflict list                              what is open, and what waits for whom
  dwcp conflict explain vm web-1                  what happened to it, and why it came out so
  dwcp conflict show 3f9a2c
  dwcp conflict answer 3f9a2c vm web-1 /power --side r1:17
  dwcp conflict answer 3f9a2c vm web-1 /power --value '\"on\"'
  dwcp conflict undo 3f9a2c                       what did not prevail stands again
  dwcp conflict verify                            is the audit what was written, and promised?")]
pub struct ConflictArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: ConflictCommand,
}

/// What to do with conflicts.
#[derive(Subcommand, Debug)]
pub enum ConflictCommand {
    /// Lists what stands beside each other now: both sides, what was there before, what is shown meanwhile, what is waited for.
    List,
    /// Shows what is on record of a conflict.
    Show {
        /// The first digits of its name.
        conflict: String,
    },
    /// Tells what happened to an object, and why it came out so.
    Explain {
        /// Its kind.
        kind: String,
        /// Its key.
        key: String,
        /// At this place only (a JSON pointer).
        pointer: Option<String>,
    },
    /// Decides between sides. Refused if somebody wrote there meanwhile.
    #[command(group = clap::ArgGroup::new("choice").required(true))]
    Answer {
        /// The first digits of the conflict's name.
        conflict: String,
        /// The object's kind.
        kind: String,
        /// Its key.
        key: String,
        /// The place: a JSON pointer.
        pointer: String,
        /// What this write said (`r1:17`, as `list` shows it).
        #[arg(long, group = "choice")]
        side: Option<String>,
        /// What was there before.
        #[arg(long, group = "choice")]
        base: bool,
        /// What was suggested.
        #[arg(long, group = "choice")]
        suggestion: bool,
        /// What stands now.
        #[arg(long, group = "choice")]
        default: bool,
        /// Something else, in JSON.
        #[arg(long, group = "choice")]
        value: Option<String>,
        /// Nothing: the field goes.
        #[arg(long, group = "choice")]
        delete: bool,
    },
    /// Compares the audit with what was promised of it: on each node, record by record. The exit code is 1 if anything is not as it was.
    ///
    /// Each node puts the head of its chain of records into consensus once a minute; who alters a record, makes a chain anew or cuts off its end contradicts that.
    Verify,
    /// What did not prevail stands again, as a new write; it is recorded, and can be undone in turn.
    Undo {
        /// The first digits of the conflict's name.
        conflict: String,
        /// Which write; left out: the latest that did not prevail.
        #[arg(long)]
        which: Option<String>,
        /// Even over what was written there since.
        #[arg(long)]
        force: bool,
    },
}

/// Policies: which strategy settles which conflict, as data. docs/conflicts.md has the grammar and an example.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  dwcp policy check fleet.toml        is it sound? would a rule never be reached?
  dwcp policy dry-run fleet.toml      what of the past would have come out otherwise?
  dwcp policy apply fleet.toml        through consensus; it counts from the second it names, within 30 days, or in three
  dwcp policy show")]
pub struct PolicyArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: PolicyCommand,
}

/// What to do with policies.
#[derive(Subcommand, Debug)]
pub enum PolicyCommand {
    /// Checks a file: total, no rule unreachable, the same answer on every node.
    Check {
        /// TOML or JSON; `-` for standard input.
        file: PathBuf,
    },
    /// Shows the policies there are and which one counts.
    Show,
    /// Has a policy decided by consensus.
    Apply {
        /// TOML or JSON; `-` for standard input. Without `activates` it counts in three seconds.
        file: PathBuf,
    },
    /// Tries a policy on what was recorded; nothing is written.
    DryRun {
        /// TOML or JSON; `-` for standard input.
        file: PathBuf,
    },
}

/// Schemas: what each field of a kind of documents is, and so how it is merged.
#[derive(Args, Debug)]
pub struct SchemaArgs {
    /// Whom to ask.
    #[command(flatten)]
    pub doors: Doors,
    /// What to do.
    #[command(subcommand)]
    pub command: SchemaCommand,
}

/// What to do with schemas.
#[derive(Subcommand, Debug)]
pub enum SchemaCommand {
    /// Declares a kind, or its next version.
    Apply {
        /// JSON or TOML; `-` for standard input.
        file: PathBuf,
    },
    /// Shows the schemas there are.
    Show,
}

pub(super) fn print(json: bool, value: &Value, text: impl FnOnce(&Value) -> String) {
    if json {
        println!("{value}");
    } else {
        println!("{}", text(value).trim_end());
    }
}

pub(super) fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value[name].as_array().into_iter().flatten()
}

pub(super) fn word<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap_or("")
}

fn value_of(side: &Value) -> String {
    if side["deletes"] == true { "nothing (deleted)".into() } else { side["value"].to_string() }
}

/// A moment, for people: in UTC, to the second.
pub(super) fn moment(ms: &Value) -> String {
    ms.as_u64().map_or_else(|| "?".into(), dwcp_conflict::audit::date)
}

/// Somebody, for people.
pub(super) fn somebody(by: &Value) -> String {
    let region = word(by, "region");
    let from = if region.is_empty() { String::new() } else { format!(", {region}") };
    format!("{} ({}{from})", word(by, "name"), word(by, "role"))
}

/// An open conflict, for people.
fn told(o: &Value) -> String {
    let name = word(o, "conflict");
    let mut out = format!(
        "{} {}{}  {}  {}\n",
        word(o, "kind"),
        word(o, "key"),
        word(o, "at"),
        word(o, "class"),
        &name[..name.len().min(12)]
    );
    out += &match (&o["base"]["known"], &o["base"]["value"]) {
        (Value::Bool(true), Value::Null) => "  before: nothing\n".to_string(),
        (Value::Bool(true), v) => format!("  before: {v}\n"),
        _ => "  before: not known\n".into(),
    };
    for side in list(o, "sides") {
        let (by, write) = (somebody(&side["by"]), word(side, "write"));
        out += &format!("  {write}: {by} wrote {}, {}\n", value_of(side), moment(&side["at_ms"]));
    }
    out += &format!("  shown: {}; {}\n", o["shown"], word(o, "waits_for"));
    if let Some(rule) = o["rule"]["name"].as_str() {
        out += &format!("  rule: {rule} ({})\n", word(&o["rule"], "strategy"));
    }
    if o["asked"]["until_ms"].is_u64() {
        out += &format!(
            "  asked until {}; then {} stands for good\n",
            moment(&o["asked"]["until_ms"]),
            o["shown"]
        );
    }
    if !o["asked"]["suggestion"].is_null() {
        out += &format!("  suggested: {}\n", o["asked"]["suggestion"]);
    }
    out
}

fn written(v: &Value) -> String {
    match v["written"].as_u64() {
        Some(0) => "nothing to change".into(),
        Some(1) => "1 field written".into(),
        Some(n) => format!("{n} fields written"),
        None => v.to_string(),
    }
}

/// A document from a file.
fn document_of(file: &Path) -> Result<Value, String> {
    serde_json::to_value(files::read(file)?).map_err(|e| format!("{}: {e}", file.display()))
}

/// Where versions clash, as an error.
fn clashes(v: &Value) -> Result<(), String> {
    let all = v["clashing"].as_u64().unwrap_or(0);
    if all == 0 {
        return Ok(());
    }
    let side = |s: &Value| format!("{} in version {}", value_of(s), s["side"]);
    let told = |c: &Value| {
        let sides: Vec<String> = list(c, "sides").map(side).collect();
        let at = if word(c, "at").is_empty() { "the document" } else { word(c, "at") };
        format!("\n  {at} was {}: {}; {} stands", word(c, "why"), sides.join(", "), c["stands"])
    };
    let told: String = list(v, "clashes").map(told).collect();
    Err(format!("the versions clash at {all} places:{told}"))
}

/// `dwcp document`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn document(args: DocumentArgs, json: bool) -> Result<(), String> {
    let doors = &args.doors;
    let path = |kind: &str, key: &str| format!("/v1/documents/{}/{}", escaped(kind), escaped(key));
    let (answer, show): (Value, fn(&Value) -> String) = match &args.command {
        DocumentCommand::Put { kind, key, file, base } => {
            let mut body = json!({ "by": doors.who(), "document": files::read(file)? });
            if let Some(base) = base {
                body["base"] = document_of(base)?;
            }
            (doors.ask("PUT", &path(kind, key), &body).await?, written)
        }
        DocumentCommand::Merge { kind, base, a, b } => {
            let side = |file| document_of(file).map(|d| json!({ "document": d }));
            let body = json!({ "kind": kind, "base": document_of(base)?, "sides": [side(a)?, side(b)?] });
            let answer = doors.ask("POST", "/v1/merge", &body).await?;
            print(json, &answer, |v| serde_json::to_string_pretty(&v["document"]).unwrap_or_default());
            return clashes(&answer);
        }
        DocumentCommand::Set { kind, key, fields, unset } => {
            let mut all = serde_json::Map::new();
            for field in fields {
                let (at, text) = field
                    .split_once('=')
                    .ok_or_else(|| format!("{field:?}: write a JSON pointer, =, and a value, as /cpu=4"))?;
                let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
                all.insert(at.into(), value);
            }
            all.extend(unset.iter().map(|at| (at.clone(), Value::Null)));
            let body = json!({ "by": doors.who(), "fields": all });
            (doors.ask("PATCH", &path(kind, key), &body).await?, written)
        }
        DocumentCommand::Get { kind, key } => {
            let show = |v: &Value| {
                let document = serde_json::to_string_pretty(&v["document"]).unwrap_or_default();
                let open: Vec<String> = list(v, "conflicts").map(told).collect();
                format!("{document}\n{}", open.concat())
            };
            (doors.ask("GET", &path(kind, key), &Value::Null).await?, show)
        }
        DocumentCommand::List { kind } => {
            let keys = doors.pages(&format!("/v1/documents/{}", escaped(kind)), "keys").await?;
            let show = |v: &Value| list(v, "keys").filter_map(Value::as_str).collect::<Vec<_>>().join("\n");
            (json!({ "keys": keys }), show)
        }
        DocumentCommand::Checkpoint(args) => return checkpoints::take(doors, args, json).await,
        DocumentCommand::Checkpoints => return checkpoints::show(doors, json).await,
        DocumentCommand::Rollback(args) => return checkpoints::rollback(doors, args, json).await,
        DocumentCommand::Forget { name } => return checkpoints::forget(doors, name, json).await,
        DocumentCommand::Delete { kind, key } => {
            (doors.ask("DELETE", &path(kind, key), &json!({ "by": doors.who() })).await?, written)
        }
    };
    print(json, &answer, show);
    Ok(())
}

/// `dwcp conflict`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn conflict(args: ConflictArgs, json: bool) -> Result<(), String> {
    let doors = &args.doors;
    let story: fn(&Value) -> String = |v| word(v, "text").to_string();
    let (answer, show): (Value, fn(&Value) -> String) = match args.command {
        ConflictCommand::List => {
            let show = |v: &Value| {
                let all: Vec<String> = list(v, "items").map(told).collect();
                if all.is_empty() { "nothing stands beside anything".into() } else { all.concat() }
            };
            (json!({ "items": doors.pages("/v1/conflicts", "items").await? }), show)
        }
        ConflictCommand::Verify => return verify(doors, json).await,
        ConflictCommand::Show { conflict } => {
            (doors.ask("GET", &format!("/v1/conflicts/{}", escaped(&conflict)), &Value::Null).await?, story)
        }
        ConflictCommand::Explain { kind, key, pointer } => {
            let at = pointer.map(|p| format!("?at={}", escaped(&p))).unwrap_or_default();
            let path = format!("/v1/conflicts/of/{}/{}{at}", escaped(&kind), escaped(&key));
            (doors.ask("GET", &path, &Value::Null).await?, story)
        }
        ConflictCommand::Answer {
            conflict,
            kind,
            key,
            pointer,
            side,
            base,
            suggestion,
            value,
            delete,
            ..
        } => {
            let choice = match (side, value) {
                (Some(side), _) => json!({ "side": side }),
                (None, Some(text)) => {
                    let value: Value = serde_json::from_str(&text)
                        .map_err(|e| format!("--value {text}: {e}; a text is written '\"text\"'"))?;
                    json!({ "value": value })
                }
                (None, None) if base => json!("base"),
                (None, None) if suggestion => json!("suggestion"),
                (None, None) if delete => json!("delete"),
                (None, None) => json!("default"),
            };
            let body =
                json!({ "by": doors.who(), "kind": kind, "key": key, "at": pointer, "choice": choice });
            (
                doors.ask("POST", &format!("/v1/conflicts/{}/answer", escaped(&conflict)), &body).await?,
                written,
            )
        }
        ConflictCommand::Undo { conflict, which, force } => {
            let body = json!({ "by": doors.who(), "which": which, "force": force });
            (doors.ask("POST", &format!("/v1/conflicts/{}/undo", escaped(&conflict)), &body).await?, written)
        }
    };
    print(json, &answer, show);
    Ok(())
}

/// What one node says of its chains, for people; and whether all are right.
fn verified(door: &str, v: &Value) -> (String, bool) {
    let mut out = format!("{door}:\n");
    let mut whole = true;
    for c in list(v, "chains") {
        let promised = match &c["promised"]["records"] {
            Value::Null => "nothing promised yet".to_string(),
            n => format!("{n} promised, {}", moment(&c["promised"]["at_ms"])),
        };
        out +=
            &format!("  {} (node {}): {} records, {promised}", word(c, "replica"), c["node"], c["records"]);
        out += &match (c["why"].as_str(), c["missing"].as_u64()) {
            (Some(why), _) => format!(": NOT WHOLE: {why}\n"),
            (None, Some(n)) if n > 0 => format!(": {n} of the promised have not come to this node\n"),
            _ => ": whole\n".to_string(),
        };
        whole &= c["whole"] == true;
    }
    (out, whole)
}

/// `dwcp conflict verify`.
async fn verify(doors: &Doors, json: bool) -> Result<(), String> {
    let (mut text, mut nodes, mut whole, mut silent) = (String::new(), Vec::new(), true, Vec::new());
    for (door, answer) in doors.places.ask_each("GET", "/v1/audit").await? {
        match answer {
            Ok((200, v)) => {
                let (told, right) = verified(&door, &v);
                text += &told;
                whole &= right;
                nodes.push(json!({ "door": door, "chains": v["chains"] }));
            }
            Ok((_, v)) => silent.push(format!("{door}: {}", word(&v["error"], "what"))),
            Err(why) => silent.push(format!("{door}: {why}")),
        }
    }
    if nodes.is_empty() {
        return Err(format!("no node answers: {}", silent.join("; ")));
    }
    for why in &silent {
        text += &format!("{why}\n");
    }
    print(json, &json!({ "whole": whole, "nodes": nodes, "silent": silent }), |_| text.clone());
    if whole { Ok(()) } else { Err("a chain of the audit is not what was written and promised".into()) }
}

fn rules(v: &Value) -> String {
    let names = |of: &Value| -> String {
        let all = list(of, "rules").map(|r| format!("  {} ({})\n", word(r, "name"), word(r, "strategy")));
        all.collect()
    };
    format!(
        "{} version {} is sound; it counts from second {}\n{}",
        v["policy"],
        v["version"],
        v["activates"],
        names(v)
    )
}

fn known(v: &Value) -> String {
    let mut out = String::new();
    for p in list(v, "policies") {
        let counts = if p["active"] == true { "counts" } else { "does not count" };
        out += &format!(
            "policy {} version {}: from second {}, {counts}\n",
            word(p, "name"),
            p["version"],
            p["activates"]
        );
    }
    for s in list(v, "schemas") {
        out += &format!("schema {} version {}\n", word(s, "name"), s["version"]);
    }
    for chain in list(v, "audit") {
        let check = word(chain, "check");
        out += &format!(
            "audit of r{}: {} records, {}\n",
            chain["replica"],
            chain["records"],
            &check[..check.len().min(16)]
        );
    }
    for fault in list(v, "faults").filter_map(Value::as_str) {
        out += &format!("fault: {fault}\n");
    }
    if out.is_empty() { "there is no policy and no schema yet".into() } else { out }
}

fn trial(v: &Value) -> String {
    let cut = v["cut"].as_u64().unwrap_or(0);
    let n = list(v, "otherwise").count() as u64 + cut;
    let mut out = format!(
        "{} conflicts would have come out the same, {n} otherwise, {} can't be tried\n",
        v["same"], v["unknown"]
    );
    if cut > 0 {
        out += &format!("the first {} of those that would come out otherwise:\n", n - cut);
    }
    for o in list(v, "otherwise") {
        let (was, would) = (&o["stands"], &o["would"]);
        out += &format!(
            "{} {}{}: {} by {}, would be {} by {}\n",
            word(o, "kind"),
            word(o, "key"),
            word(o, "at"),
            was["value"],
            word(was, "strategy"),
            would["value"],
            word(would, "strategy")
        );
    }
    for r in list(v, "by_rule") {
        out += &format!("  {}: {}\n", word(r, "rule"), r["conflicts"]);
    }
    out
}

/// `dwcp policy`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn policy(args: PolicyArgs, json: bool) -> Result<(), String> {
    let doors = &args.doors;
    let (answer, show): (Value, fn(&Value) -> String) = match &args.command {
        PolicyCommand::Show => (doors.ask("GET", "/v1/policies", &Value::Null).await?, known),
        PolicyCommand::Check { file } => {
            let body = json!({ "policy": files::read(file)? });
            (doors.ask("POST", "/v1/policies/check", &body).await?, rules)
        }
        PolicyCommand::Apply { file } => {
            let body = json!({ "policy": files::read(file)? });
            (doors.ask("POST", "/v1/policies", &body).await?, rules)
        }
        PolicyCommand::DryRun { file } => {
            let body = json!({ "policy": files::read(file)? });
            (doors.ask("POST", "/v1/policies/dry-run", &body).await?, trial)
        }
    };
    print(json, &answer, show);
    Ok(())
}

/// `dwcp schema`.
///
/// # Errors
/// What is wrong and what to do.
pub async fn schema(args: SchemaArgs, json: bool) -> Result<(), String> {
    let doors = &args.doors;
    let (answer, show): (Value, fn(&Value) -> String) = match &args.command {
        SchemaCommand::Show => (doors.ask("GET", "/v1/schemas", &Value::Null).await?, known),
        SchemaCommand::Apply { file } => {
            let body = json!({ "schema": files::read(file)? });
            let show = |v: &Value| {
                format!("schema {} version {}: {} fields", v["schema"], v["version"], v["fields"])
            };
            (doors.ask("POST", "/v1/schemas", &body).await?, show)
        }
    };
    print(json, &answer, show);
    Ok(())
}
