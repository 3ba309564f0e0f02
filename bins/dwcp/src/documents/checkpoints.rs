//! Checkpoints and the way back: at the door, and on the command line.
//!
//! | path | is |
//! |---|---|
//! | `GET /v1/checkpoints` | the checkpoints there are, and who went back to one |
//! | `POST /v1/checkpoints` | one is taken |
//! | `DELETE /v1/checkpoints/<name>` | one goes; of two of one name `<name>@<id>` |
//! | `POST /v1/checkpoints/<name>/rollback` | a part of the way back; ask again with what the answer said is `next` |
//!
//! The command asks for all parts: first for what would be written, which it shows, then for its being written, at the node that has answered. What others write between the two
//! is not overlooked: each part compares again.

use super::commands::{Doors, escaped, list, moment, print, somebody, word};
use super::show::{at, dot, optional, person};
use super::{By, Documents, Refused, bad, read};
use clap::Args;
use dwcp_eventual::documents::ask::{Back, Name, Question, Rolled, Taken, Which};
use hyper::Method;
use serde::Deserialize;
use serde_json::{Value as Json, json};

/// A checkpoint of which nothing is said is kept for so many days.
const DAYS: u32 = 30;
/// Writes that the command shows; all are counted.
const SHOWN_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Take {
    by: By,
    name: String,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default = "days")]
    days: u32,
}

const fn days() -> u32 {
    DAYS
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rollback {
    by: By,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default)]
    keys: Vec<String>,
    #[serde(default)]
    delete_created: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    after: Option<After>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    kind: String,
    key: String,
    #[serde(default)]
    rollback: Option<String>,
}

impl Documents {
    pub(super) async fn checkpoints(
        &self,
        method: &Method,
        parts: &[&str],
        body: &[u8],
    ) -> Result<Json, Refused> {
        let question = match (method.as_str(), parts) {
            ("GET", ["checkpoints"]) => Question::Checkpoints,
            ("POST", ["checkpoints"]) => {
                let Take { by, name, kinds, days } = read(body)?;
                Question::Checkpoint { name, kinds, days, by: by.into() }
            }
            ("DELETE", ["checkpoints", name]) => Question::Forget { name: (*name).into() },
            ("POST", ["checkpoints", name, "rollback"]) => {
                let Rollback { by, kinds, keys, delete_created, dry_run, after } = read(body)?;
                let place = |a: After| -> Result<(Name, (u16, u64)), Refused> {
                    let id = a.rollback.as_deref().map(super::dot).transpose()?;
                    Ok(((a.kind, a.key), id.unwrap_or_default()))
                };
                Question::Rollback {
                    name: (*name).into(),
                    which: Which { kinds, keys, created: delete_created },
                    dry: dry_run,
                    after: after.map(place).transpose()?,
                    by: by.into(),
                }
            }
            _ => return bad("GET or POST checkpoints, DELETE one, or POST …/rollback to it"),
        };
        super::show::answer(self.ask(question).await?)
    }
}

fn name_of((kind, key): &Name) -> Json {
    json!({ "kind": kind, "key": key })
}

/// A checkpoint as the door shows it.
pub(super) fn taken(t: &Taken) -> Json {
    let kind = |(kind, schema, documents): &(String, u32, u64)| json!({ "kind": kind, "schema": schema, "documents": documents });
    json!({
        "name": t.name,
        "id": dot(t.id),
        "taken_ms": t.at_ms,
        "kept_until_ms": t.until_ms,
        "by": person(&t.by),
        "policy": t.policy,
        "open": t.open,
        "kinds": t.kinds.iter().map(kind).collect::<Vec<_>>(),
        "documents": t.kinds.iter().map(|k| k.2).sum::<u64>(),
        "bytes": t.bytes,
    })
}

/// A way back as the door shows it.
pub(super) fn rolled(r: &Rolled) -> Json {
    json!({
        "rollback": dot(r.id),
        "checkpoint": r.name,
        "checkpoint_id": dot(r.of),
        "kinds": r.which.kinds,
        "keys": r.which.keys,
        "delete_created": r.which.created,
        "by": person(&r.by),
        "begun_ms": r.begun_ms,
        "wrote_ms": r.at_ms,
        "documents": r.wrote.0,
        "fields": r.wrote.1,
        "done": r.done,
    })
}

/// A part of the way back as the door shows it.
pub(super) fn back(b: &Back) -> Json {
    let write = |(place, is, to): &(_, Option<bytes::Bytes>, Option<bytes::Bytes>)| {
        let mut out = at(place);
        out["is"] = optional(is.as_ref());
        out["becomes"] = optional(to.as_ref());
        out["deletes"] = json!(to.is_none());
        out
    };
    let id = b.id.map(dot);
    let next = b.next.as_ref().map(|(kind, key)| json!({ "kind": kind, "key": key, "rollback": id }));
    json!({
        "writes": b.writes.iter().map(write).collect::<Vec<_>>(),
        "documents": b.wrote.0,
        "fields": b.wrote.1,
        "created_since": b.since.iter().map(name_of).collect::<Vec<_>>(),
        "all_created_since": b.all_since,
        "rollback": id,
        "next": next,
    })
}

/// `dwcp document checkpoint`: what to keep.
#[derive(Args, Debug)]
pub struct TakeArgs {
    /// What it is to be called.
    pub name: String,
    /// Documents of this kind only; several may be given. Left out: all kinds.
    #[arg(long)]
    pub kind: Vec<String>,
    /// For how many days it is kept, 1 to 366.
    #[arg(long, default_value_t = DAYS)]
    pub days: u32,
}

/// `dwcp document rollback`: to what, and of what.
#[derive(Args, Debug)]
pub struct BackArgs {
    /// The checkpoint's name; `NAME@ID` if two were taken under one name on two sides of a cut.
    pub name: String,
    /// Documents of this kind only; several may be given.
    #[arg(long)]
    pub kind: Vec<String>,
    /// Documents of this key only; several may be given.
    #[arg(long)]
    pub key: Vec<String>,
    /// Documents that were made since are deleted. Without this they stay, and are named.
    #[arg(long)]
    pub delete_created: bool,
    /// Shows what would be written, and writes nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// `dwcp document checkpoint`.
pub(super) async fn take(doors: &Doors, args: &TakeArgs, json: bool) -> Result<(), String> {
    let body = json!({ "by": doors.who(), "name": args.name, "kinds": args.kind, "days": args.days });
    let answer = doors.ask("POST", "/v1/checkpoints", &body).await?;
    print(json, &answer, |t| {
        let mut out = format!(
            "checkpoint {} ({}): {} documents, {} bytes; kept until {}\n",
            word(t, "name"),
            word(t, "id"),
            t["documents"],
            t["bytes"],
            moment(&t["kept_until_ms"])
        );
        for k in list(t, "kinds") {
            out += &format!("  {}: {} (schema version {})\n", word(k, "kind"), k["documents"], k["schema"]);
        }
        if t["open"] != 0 {
            out += &format!(
                "  at {} places writes stood beside each other: what was shown there counts\n",
                t["open"]
            );
        }
        out
    });
    Ok(())
}

/// `dwcp document checkpoints`.
pub(super) async fn show(doors: &Doors, json: bool) -> Result<(), String> {
    let answer = doors.ask("GET", "/v1/checkpoints", &Json::Null).await?;
    print(json, &answer, told);
    Ok(())
}

fn told(all: &Json) -> String {
    let mut out = String::new();
    for t in list(all, "checkpoints") {
        let kinds: Vec<String> =
            list(t, "kinds").map(|k| format!("{} {}", k["documents"], word(k, "kind"))).collect();
        out += &format!(
            "{}  {}  by {}  {}  {} bytes  until {}  {}\n",
            word(t, "name"),
            moment(&t["taken_ms"]),
            somebody(&t["by"]),
            kinds.join(", "),
            t["bytes"],
            moment(&t["kept_until_ms"]),
            word(t, "id"),
        );
    }
    if out.is_empty() {
        out = "there is no checkpoint; `dwcp document checkpoint NAME` takes one\n".into();
    }
    for r in list(all, "rollbacks") {
        let end = if r["done"] == true {
            "done".to_string()
        } else {
            format!("NOT FINISHED, wrote last {}; ask for it again to go on", moment(&r["wrote_ms"]))
        };
        out += &format!(
            "back to {}  {}  by {}  {} documents, {} fields: {end}\n",
            word(r, "checkpoint"),
            moment(&r["begun_ms"]),
            somebody(&r["by"]),
            r["documents"],
            r["fields"],
        );
    }
    out
}

/// `dwcp document forget`.
pub(super) async fn forget(doors: &Doors, name: &str, json: bool) -> Result<(), String> {
    let answer = doors.ask("DELETE", &format!("/v1/checkpoints/{}", escaped(name)), &Json::Null).await?;
    print(json, &answer, |_| format!("checkpoint {name} is gone"));
    Ok(())
}

/// What all parts of a way back come to.
#[derive(Default)]
struct All {
    writes: Vec<Json>,
    since: Vec<Json>,
    documents: u64,
    fields: u64,
    all_since: u64,
    rollback: Json,
}

impl All {
    fn add(&mut self, part: &Json) {
        self.writes.extend(list(part, "writes").cloned());
        self.since.extend(list(part, "created_since").cloned());
        let number = |name: &str| part[name].as_u64().unwrap_or(0);
        self.documents += number("documents");
        self.fields += number("fields");
        self.all_since += number("all_created_since");
        self.rollback = part["rollback"].clone();
    }
    fn json(&self, dry: bool) -> Json {
        json!({
            "dry_run": dry, "writes": self.writes, "documents": self.documents, "fields": self.fields,
            "created_since": self.since, "all_created_since": self.all_since, "rollback": self.rollback,
        })
    }
}

/// Asks for all parts.
async fn whole(doors: &Doors, args: &BackArgs, dry: bool) -> Result<All, String> {
    let path = format!("/v1/checkpoints/{}/rollback", escaped(&args.name));
    let mut body = json!({
        "by": doors.who(), "kinds": args.kind, "keys": args.key,
        "delete_created": args.delete_created, "dry_run": dry,
    });
    let mut all = All::default();
    loop {
        let part = doors.ask("POST", &path, &body).await.map_err(|why| broken_off(&all, dry, &why))?;
        all.add(&part);
        let next = part["next"].clone();
        // Each part begins behind the one before.
        if next.is_null() || next == body["after"] {
            return Ok(all);
        }
        body["after"] = next;
    }
}

fn broken_off(all: &All, dry: bool, why: &str) -> String {
    if dry || all.fields == 0 {
        return why.to_owned();
    }
    format!(
        "{why}\n{} documents are back and stay so, the others are as they were: ask for the same again to go on; `dwcp document checkpoints` shows how far it has come",
        all.documents
    )
}

/// `dwcp document rollback`.
pub(super) async fn rollback(doors: &Doors, args: &BackArgs, json: bool) -> Result<(), String> {
    let plan = whole(doors, args, true).await?;
    if !json {
        print!("{}", planned(&plan));
    }
    if args.dry_run || plan.fields == 0 {
        if json {
            println!("{}", plan.json(args.dry_run));
        } else if args.dry_run && plan.fields > 0 {
            println!("nothing was written");
        }
        // One that broke off at its very end has nothing left to write, and is to be told from one that did not end.
        if !args.dry_run {
            whole(doors, args, false).await?;
        }
        return Ok(());
    }
    let done = whole(doors, args, false).await?;
    print(json, &done.json(false), |_| {
        format!("back to {}: {} documents, {} fields written", args.name, done.documents, done.fields)
    });
    Ok(())
}

fn planned(plan: &All) -> String {
    let mut out = String::new();
    for w in plan.writes.iter().take(SHOWN_MAX) {
        let value = |v: &Json| if v.is_null() { "nothing".to_string() } else { v.to_string() };
        let (kind, key, at) = (word(w, "kind"), word(w, "key"), word(w, "at"));
        out += &format!("{kind} {key} {at}: {} -> {}\n", value(&w["is"]), value(&w["becomes"]));
    }
    let shown = plan.writes.len().min(SHOWN_MAX) as u64;
    if plan.fields > shown {
        out += &format!("… and {} more\n", plan.fields - shown);
    }
    for name in plan.since.iter().take(SHOWN_MAX) {
        out += &format!(
            "{} {} was made since and stays (--delete-created deletes it)\n",
            word(name, "kind"),
            word(name, "key")
        );
    }
    let shown = plan.since.len().min(SHOWN_MAX) as u64;
    if plan.all_since > shown {
        out += &format!("… and {} more stay\n", plan.all_since - shown);
    }
    if plan.fields == 0 {
        out += "all is as it was then: nothing to write\n";
    }
    out
}
