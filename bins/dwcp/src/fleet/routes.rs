//! The paths of the door, each a question or a request.
//!
//! | path | is |
//! |---|---|
//! | `POST /v1/fleet/requests` | `{"key": "32 hex digits", "command": {…}}`; without a key one is drawn and answered |
//! | `GET /v1/fleet/<kind>` | the fleet's regions, roster, blocks, prefixes, quotas, owners |
//! | `GET /v1/fleet/regions/<region>/<kind>` | a region's vms (with place and status), hosts, blocks, prefixes, quotas, images, names |
//! | `GET /v1/fleet/regions/<region>/vms/<number or name>` | one machine |
//! | `GET /v1/fleet/regions/<region>/watch` | changes, a JSON object a line, until the client goes |
//! | `POST /v1/fleet/announcements` | a host's agent says what may be running there |
//! | `GET /v1/fleet/findings` | where what regions and hosts announce is contradictory, as this node hears it |
//! | `GET /v1/fleet/openapi.json` | all of this, for machines |

use super::backstop::{Backstop, Posted as Announced};
use super::drive::Fleet;
use super::{openapi, show};
use crate::etcd::Backend;
use bytes::Bytes;
use dwcp_consensus::Role;
use dwcp_fleet::command::{Command, Request};
use dwcp_fleet::key::{Key, Scope};
use dwcp_fleet::name::{Region, RequestKey, VmId, VmName};
use dwcp_fleet::record::{NameUse, Record};
use dwcp_fleet::refusal::{Code, Refusal};
use dwcp_fleet::view::Fetch;
use dwcp_node::Answer as Told;
use dwcp_store::api::EventKind;
use futures_util::{Stream, StreamExt};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a path answers.
pub(super) enum Reply<B: Backend> {
    Json(StatusCode, Value),
    Watch(B::Replies),
}

/// A request's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    key: Option<RequestKey>,
    command: Command,
}

/// The status of a refusal.
const fn status(code: Code) -> StatusCode {
    match code {
        Code::Invalid => StatusCode::BAD_REQUEST,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::QuotaExceeded | Code::NoCapacity | Code::NoAddress => StatusCode::INSUFFICIENT_STORAGE,
        Code::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
        Code::Contention | Code::NotYet => StatusCode::SERVICE_UNAVAILABLE,
        Code::Exists
        | Code::NameTaken
        | Code::NoPrefix
        | Code::NoImage
        | Code::BadState
        | Code::InvalidTransition
        | Code::LeaseLost
        | Code::Superseded
        | Code::Closed
        | Code::InUse => StatusCode::CONFLICT,
    }
}

fn refused<B: Backend>(refusal: &Refusal) -> Reply<B> {
    Reply::Json(status(refusal.code), json!({ "error": refusal }))
}

fn no_such_path(path: &str) -> Refusal {
    Refusal::new(Code::NotFound, path, "there is no such path", "GET /v1/fleet/openapi.json names them all")
}

/// Answers a question or does a request.
pub(super) async fn answer<B: Backend>(
    fleet: &Fleet<B>,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Reply<B> {
    let Some(rest) = path.strip_prefix("/v1/fleet/") else { return refused(&no_such_path(path)) };
    let parts: Vec<&str> = rest.trim_end_matches('/').split('/').collect();
    let done = match (method, parts.as_slice()) {
        (&Method::POST, ["requests"]) => post(fleet, body).await,
        (&Method::POST, ["announcements"]) => announced(fleet, body).await,
        (&Method::GET, ["findings"]) => backstop(fleet).map(Backstop::shown),
        (&Method::GET, ["openapi.json"]) => Ok(openapi::document()),
        (&Method::GET, ["known"]) => Ok(known(fleet)),
        (&Method::GET, ["regions", region, "watch"]) => {
            return match watch(fleet, region).await {
                Ok(changes) => Reply::Watch(changes),
                Err(refusal) => refused(&refusal),
            };
        }
        (&Method::GET, ["regions", region, "vms", which]) => one(fleet, region, which).await,
        (&Method::GET, ["regions", region, kind]) => match parsed::<Region>(region) {
            Ok(region) => list(fleet, &Scope::Region(region), kind, path).await,
            Err(refusal) => Err(refusal),
        },
        (&Method::GET, [kind]) => list(fleet, &Scope::Global, kind, path).await,
        _ => Err(no_such_path(path)),
    };
    match done {
        Ok(value) => Reply::Json(StatusCode::OK, value),
        Err(refusal) => refused(&refusal),
    }
}

fn parsed<T: std::str::FromStr<Err = String>>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(|why: String| Refusal::new(Code::Invalid, text, why, "correct the path"))
}

fn misread(why: &serde_json::Error) -> Refusal {
    Refusal::new(Code::Invalid, "the body", why.to_string(), "GET /v1/fleet/openapi.json has the shapes")
}

fn backstop<B: Backend>(fleet: &Fleet<B>) -> Result<&Backstop, Refusal> {
    fleet.backstop.as_ref().ok_or_else(|| {
        let what = "this node has no keyspace for announcements";
        let remedy = "name an eventual keyspace in its configuration: [fleet] announcements";
        Refusal::new(Code::NotFound, "the announcements", what, remedy)
    })
}

async fn announced<B: Backend>(fleet: &Fleet<B>, body: &[u8]) -> Result<Value, Refusal> {
    let posted: Announced = serde_json::from_slice(body).map_err(|why| misread(&why))?;
    backstop(fleet)?.host_says(posted).await
}

async fn post<B: Backend>(fleet: &Fleet<B>, body: &[u8]) -> Result<Value, Refusal> {
    let posted: Posted = serde_json::from_slice(body).map_err(|why| misread(&why))?;
    let key = match posted.key {
        Some(key) => key,
        None => RequestKey(super::ask::draw().map_err(|why| {
            Refusal::new(Code::Contention, "key", why, "give the request a key of your own")
        })?),
    };
    let answer = fleet.carry_out(Request { key, command: posted.command }).await?;
    Ok(json!({ "key": key, "answer": answer }))
}

async fn list<B: Backend>(fleet: &Fleet<B>, scope: &Scope, kind: &str, path: &str) -> Result<Value, Refusal> {
    let kinds = show::kinds(scope);
    let Some((_, stored)) = kinds.iter().find(|(name, _)| *name == kind) else {
        return Err(no_such_path(path));
    };
    if let (Scope::Region(region), "vms") = (scope, kind) {
        return vms(fleet, region).await;
    }
    let (_, found) = fleet.read(&Fetch::beginning(&Key::all(scope, stored))).await?;
    let items: Vec<Value> = found
        .iter()
        .map(|(key, _, bytes)| json!({ "name": show::name(key), "record": show::record(key, bytes) }))
        .collect();
    Ok(json!({ "items": items }))
}

/// A region's machines with their places and statuses.
async fn vms<B: Backend>(fleet: &Fleet<B>, region: &Region) -> Result<Value, Refusal> {
    let scope = Scope::Region(region.clone());
    let mut items: Map<String, Value> = Map::new();
    for (kind, field) in [("vm", "vm"), ("place", "place"), ("status", "status")] {
        let (_, found) = fleet.read(&Fetch::beginning(&Key::all(&scope, kind))).await?;
        for (key, _, bytes) in found {
            let id = key.last().to_string();
            if kind != "vm" && !items.contains_key(&id) {
                continue;
            }
            let item = items.entry(id).or_insert_with(|| json!({ "region": region }));
            item[field] = show::record(&key, &bytes);
        }
    }
    Ok(json!({ "items": items.into_iter().map(|(_, item)| item).collect::<Vec<_>>() }))
}

async fn one<B: Backend>(fleet: &Fleet<B>, region: &str, which: &str) -> Result<Value, Refusal> {
    let region: Region = parsed(region)?;
    let unknown = || {
        let what = format!("{region} has no machine {which}");
        Refusal::new(Code::NotFound, which, what, "dwcp vm list shows those there are")
    };
    let vm = if let Ok(vm) = which.parse::<VmId>() {
        vm
    } else {
        let name: VmName = parsed(which)?;
        let (_, found) = fleet.read(&Fetch::One(Key::name(&region, &name))).await?;
        let used = found.first().and_then(|(_, _, bytes)| NameUse::decode(bytes).ok());
        used.ok_or_else(unknown)?.vm
    };
    let mut item = json!({ "region": region });
    for (field, key) in [
        ("vm", Key::vm(&region, vm)),
        ("place", Key::place(&region, vm)),
        ("status", Key::status(&region, vm)),
    ] {
        let (_, found) = fleet.read(&Fetch::One(key)).await?;
        match found.first() {
            Some((key, _, bytes)) => item[field] = show::record(key, bytes),
            None if field == "vm" => return Err(unknown()),
            None => {}
        }
    }
    Ok(item)
}

/// The regions that this node knows of, from memory: right though the fleet's store is out of reach, and a second old at most else.
fn known<B: Backend>(fleet: &Fleet<B>) -> Value {
    let items: Vec<Value> = fleet.known_regions().iter().map(|name| json!({ "name": name })).collect();
    json!({ "items": items })
}

async fn watch<B: Backend>(fleet: &Fleet<B>, region: &str) -> Result<B::Replies, Refusal> {
    let scope = Scope::Region(parsed(region)?);
    if fleet.role(&scope).await? == Role::Outside {
        let what = "this node holds nothing of the region, and hears of no change there";
        return Err(Refusal::new(Code::NotYet, region, what, "watch at a node of the region"));
    }
    fleet.changes(&scope)
}

/// A watch's answers as lines of JSON; its end is told.
pub(super) fn lines<S: Stream<Item = dwcp_node::Response>>(changes: S) -> impl Stream<Item = Bytes> {
    changes.map(|told| {
        let mut out = Vec::new();
        match told {
            Ok(Told::Watched { revision, events }) => {
                for event in events {
                    let Some(key) = Key::stored(&event.kv.key) else { continue };
                    let record = match event.kind {
                        EventKind::Put => show::record(&key, &event.kv.value),
                        EventKind::Delete => Value::Null,
                    };
                    let line =
                        json!({ "revision": event.kv.mod_revision, "key": key.as_str(), "record": record });
                    out.extend_from_slice(format!("{line}\n").as_bytes());
                }
                if out.is_empty() {
                    out.extend_from_slice(format!("{}\n", json!({ "revision": revision })).as_bytes());
                }
            }
            Ok(_) => {}
            Err(why) => {
                out.extend_from_slice(format!("{}\n", json!({ "ended": why.to_string() })).as_bytes())
            }
        }
        out.into()
    })
}
