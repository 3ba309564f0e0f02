//! Documents, conflicts, policies and schemas at a node's doors: HTTP/JSON beside the fleet's, and the commands of `dwcp`.
//!
//! **Promise.** A node answers from what it has, cut off or not; what it can't do it refuses with what is wrong and what to do. Policies and schemas
//! are checked here before consensus is asked, and counted by every node when it was.
//!
//! ```text
//!   dwcp document, conflict ─┐                              ┌─► Query::Documents ─► the keyspace's replica on this node
//!   any program ─────────────┴─► the fleet's door ─► answer ┤
//!   dwcp policy, schema ─────┘                              └─► Ask::Write(Txn) ──► the default strong keyspace
//! ```
//!
//! | path | is |
//! |---|---|
//! | `GET /v1/documents/<kind>?after=<next>` | keys, by the page |
//! | `GET`, `PUT`, `PATCH`, `DELETE /v1/documents/<kind>/<key>` | a document |
//! | `/v1/checkpoints`… | what was there at a moment, and the way back ([`checkpoints`]) |
//! | `POST /v1/merge` | what versions of a document come to; nothing is written |
//! | `GET /v1/conflicts?after=<next>` | by the page, what stands beside each other, and what people are asked |
//! | `GET /v1/conflicts/<name>` | what is on record of one; its first digits will do |
//! | `GET /v1/conflicts/of/<kind>/<key>?at=<pointer>` | what is on record of an object |
//! | `POST /v1/conflicts/<name>/answer`, `…/undo` | a person decides; what did not prevail stands again |
//! | `GET /v1/audit` | the chains of records on this node, beside what was promised of them |
//! | `GET`, `POST /v1/policies`; `POST /v1/policies/check`, `…/dry-run` | policies |
//! | `GET`, `POST /v1/schemas` | schemas |
//! | `GET /v1/openapi.json` | all of this, for machines |
//!
//! **Limits** are the fleet's door's.

pub mod checkpoints;
pub mod commands;
mod files;
mod openapi;
mod rules;
mod show;

use crate::etcd::Backend;
use crate::face::Face;
use crate::redis;
use dwcp_conflict::Value;
use dwcp_env::GroupId;
use dwcp_eventual::documents::ask::{self, Answer, At, Change, Choice, Person, Question};
use dwcp_eventual::{Query, Refusal};
use dwcp_node::AskError;
use hyper::{Method, StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A question has this long.
const WITHIN: Duration = Duration::from_secs(10);

/// The keyspace of documents, behind a node.
#[derive(Clone, Debug)]
pub struct Documents {
    face: Face,
    keyspace: String,
    group: GroupId,
}

/// What can't be done: the status, and what is wrong.
type Refused = (StatusCode, String);

fn bad<T>(why: impl Into<String>) -> Result<T, Refused> {
    Err((StatusCode::BAD_REQUEST, why.into()))
}

/// Whether a path is one of these.
#[must_use]
pub fn is_ours(path: &str) -> bool {
    let ours = [
        "/v1/audit",
        "/v1/documents",
        "/v1/checkpoints",
        "/v1/merge",
        "/v1/conflicts",
        "/v1/policies",
        "/v1/schemas",
        "/v1/openapi.json",
    ];
    ours.iter().any(|o| path.strip_prefix(o).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

/// Whoever acts, in a request's body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct By {
    name: String,
    role: String,
    #[serde(default)]
    region: String,
}

impl From<By> for Person {
    fn from(by: By) -> Self {
        Self { name: by.name, role: by.role, region: by.region }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Put {
    by: By,
    document: Value,
    /// What its editor began with: then it is merged with what is there.
    #[serde(default)]
    base: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Merge {
    kind: String,
    /// Null: there was no document.
    base: Value,
    sides: Vec<Version>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Version {
    #[serde(default)]
    role: String,
    /// Null: it was deleted.
    document: Value,
}

fn some(document: &Value) -> Option<bytes::Bytes> {
    (*document != Value::Null).then(|| document.to_bytes().into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patch {
    by: By,
    /// By JSON pointer; null deletes.
    fields: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Delete {
    by: By,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
enum Chosen {
    Base,
    Suggestion,
    Default,
    Delete,
    Side(String),
    Value(Value),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Decision {
    by: By,
    kind: String,
    key: String,
    at: String,
    choice: Chosen,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Undo {
    by: By,
    #[serde(default)]
    which: Option<String>,
    #[serde(default)]
    force: bool,
}

fn read<T: for<'d> Deserialize<'d>>(body: &[u8]) -> Result<T, Refused> {
    serde_json::from_slice(body)
        .or_else(|e| bad(format!("the body: {e}; GET /v1/openapi.json has the shapes")))
}

/// `r3:17`, as answers show writes.
fn dot(text: &str) -> Result<(u16, u64), Refused> {
    let pair = text.strip_prefix('r').and_then(|rest| rest.split_once(':'));
    let read = pair.and_then(|(r, s)| Some((r.parse().ok()?, s.parse().ok()?)));
    read.map_or_else(|| bad(format!("{text:?} names no write: they look like r3:17")), Ok)
}

/// A part of a path, its escapes taken off.
fn part(text: &str) -> Result<String, Refused> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        if b != b'%' {
            out.push(b);
            continue;
        }
        let mut digit = || rest.next().and_then(|d| (d as char).to_digit(16));
        match (digit(), digit()) {
            (Some(a), Some(b)) => out.push((a * 16 + b) as u8),
            _ => return bad(format!("{text}: % and two hexadecimal digits")),
        }
    }
    String::from_utf8(out).or_else(|_| bad(format!("{text}: not UTF-8")))
}

/// What a query string says of a name.
fn asked(uri: &Uri, name: &str) -> Result<Option<String>, Refused> {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|p| p.split_once('='));
    pairs.filter(|(n, _)| *n == name).map(|(_, v)| part(v)).next().transpose()
}

/// Answers a request.
pub async fn answer(
    documents: Option<&Documents>,
    method: &Method,
    uri: &Uri,
    body: &[u8],
) -> (StatusCode, Json) {
    let Some(documents) = documents else {
        let what = "this node has no keyspace of documents: add a [[keyspace]] with `documents = true`";
        return (StatusCode::NOT_FOUND, json!({ "error": { "what": what } }));
    };
    match documents.route(method, uri, body).await {
        Ok(value) => (StatusCode::OK, value),
        Err((status, what)) => (status, json!({ "error": { "what": what } })),
    }
}

impl Documents {
    /// Those behind a node.
    #[must_use]
    pub fn new(face: Face, keyspace: &str, group: GroupId) -> Self {
        Self { face, keyspace: keyspace.into(), group }
    }

    /// Asks this node's replica.
    async fn ask(&self, question: Question) -> Result<Answer, Refused> {
        let query = Query::Documents(Box::new(question));
        match redis::Backend::ask(&self.face, self.group, query, Instant::now() + WITHIN).await {
            Ok(dwcp_eventual::Answer::Documents(answer)) => Ok(*answer),
            Ok(_) => Err((StatusCode::INTERNAL_SERVER_ERROR, "another answer than to this question".into())),
            Err(redis::Refused::Replica(refusal)) => {
                let status = match refusal {
                    Refusal::Argument(_) => StatusCode::CONFLICT,
                    Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                };
                Err((status, refusal.to_string()))
            }
            Err(redis::Refused::Node(why)) => Err((StatusCode::SERVICE_UNAVAILABLE, why.to_string())),
        }
    }

    async fn route(&self, method: &Method, uri: &Uri, body: &[u8]) -> Result<Json, Refused> {
        let parts: Vec<String> =
            uri.path().trim_matches('/').split('/').skip(1).map(part).collect::<Result<_, _>>()?;
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (method.as_str(), &parts[..]) {
            ("GET", ["openapi.json"]) => Ok(openapi::document()),
            ("GET", ["documents", kind]) => {
                let after = asked(uri, "after")?;
                show::answer(self.ask(Question::List { kind: (*kind).into(), after }).await?)
            }
            (_, ["documents", kind, key]) => self.document(method, (*kind).into(), (*key).into(), body).await,
            ("GET", ["audit"]) => show::answer(self.ask(Question::Verify).await?),
            ("GET", ["conflicts"]) => {
                let after = asked(uri, "after")?.as_deref().map(show::after).transpose()?;
                show::answer(self.ask(Question::Conflicts { after }).await?)
            }
            ("GET", ["conflicts", name]) => show::answer(self.ask(Question::Conflict((*name).into())).await?),
            ("GET", ["conflicts", "of", kind, key]) => {
                let (kind, key, pointer) = ((*kind).into(), (*key).into(), asked(uri, "at")?);
                show::answer(self.ask(Question::Explain { kind, key, pointer }).await?)
            }
            ("POST", ["conflicts", name, "answer"]) => {
                let Decision { by, kind, key, at, choice } = read(body)?;
                let choice = match choice {
                    Chosen::Base => Choice::Base,
                    Chosen::Suggestion => Choice::Suggestion,
                    Chosen::Default => Choice::Default,
                    Chosen::Delete => Choice::Value(None),
                    Chosen::Side(text) => dot(&text).map(|(r, s)| Choice::Side(r, s))?,
                    Chosen::Value(v) => Choice::Value(Some(v.to_bytes().into())),
                };
                let at = At { kind, key, pointer: at };
                let conflict = (*name).into();
                show::answer(self.ask(Question::Answer { at, conflict, choice, by: by.into() }).await?)
            }
            ("POST", ["conflicts", name, "undo"]) => {
                let Undo { by, which, force } = read(body)?;
                let which = which.as_deref().map(dot).transpose()?;
                let conflict = (*name).into();
                show::answer(self.ask(Question::Undo { conflict, which, force, by: by.into() }).await?)
            }
            ("POST", ["merge"]) => {
                let Merge { kind, base, sides } = read(body)?;
                let side = |v: Version| ask::Version { role: v.role, document: some(&v.document) };
                let sides = sides.into_iter().map(side).collect();
                show::answer(self.ask(Question::Merge { kind, base: some(&base), sides }).await?)
            }
            (_, ["checkpoints", ..]) => self.checkpoints(method, &parts, body).await,
            (_, ["policies" | "schemas", ..]) => self.rules(method, &parts, body).await,
            _ => Err((
                StatusCode::NOT_FOUND,
                format!(
                    "{method} {}: there is no such path; GET /v1/openapi.json names them all",
                    uri.path()
                ),
            )),
        }
    }

    async fn document(
        &self,
        method: &Method,
        kind: String,
        key: String,
        body: &[u8],
    ) -> Result<Json, Refused> {
        let (by, change) = match method.as_str() {
            "GET" => {
                let answer = self.ask(Question::Read { kind: kind.clone(), key: key.clone() }).await?;
                if answer == Answer::Document(None) {
                    return Err((StatusCode::NOT_FOUND, format!("there is no {kind} {key} here")));
                }
                return show::answer(answer);
            }
            "PUT" => {
                let Put { by, document, base } = read(body)?;
                let document = document.to_bytes().into();
                match base {
                    None => (by, Change::Put(document)),
                    Some(base) => (by, Change::Merge { base: base.to_bytes().into(), document }),
                }
            }
            "PATCH" => {
                let Patch { by, fields } = read(body)?;
                let field = |(at, v): (String, Value)| {
                    (at, if v == Value::Null { None } else { Some(v.to_bytes().into()) })
                };
                (by, Change::Patch(fields.into_iter().map(field).collect()))
            }
            "DELETE" => {
                let Delete { by } = read(body)?;
                (by, Change::Delete)
            }
            _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "GET, PUT, PATCH or DELETE a document".into())),
        };
        show::answer(self.ask(Question::Write { kind, key, by: by.into(), change }).await?)
    }

    /// The default strong keyspace.
    fn strong(&self) -> Result<GroupId, Refused> {
        let none = || (StatusCode::SERVICE_UNAVAILABLE, "this node has no default keyspace".to_string());
        self.face.group("").ok_or_else(none)
    }
    async fn strongly(&self, ask: dwcp_node::Ask) -> Result<dwcp_node::Answer, Refused> {
        let request = dwcp_node::Request { group: self.strong()?, ask };
        let refused = |why: AskError| (StatusCode::SERVICE_UNAVAILABLE, why.to_string());
        self.face.begin(request, Instant::now() + WITHIN).await.map_err(refused)
    }
}
