//! Policies and schemas: checked, then decided by consensus.

use super::{Documents, Refused, bad, read, show};
use bytes::Bytes;
use dwcp_conflict::policy::Versions;
use dwcp_conflict::{Policy, Schema, Value};
use dwcp_eventual::documents::ask::Question;
use dwcp_eventual::roster::prefix;
use dwcp_node::{Answer, Ask};
use dwcp_store::api::{
    Body, Compare, CompareOp, CompareTarget, Op, PutRequest, RangeRequest, TxnOp, TxnRequest,
};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// A policy that names no epoch counts after so many seconds: by then the nodes that can be reached have it.
const SOON: i64 = 3;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    policy: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SchemaFile {
    schema: Value,
}

/// A policy's file with the epoch from which on it counts, if it names none.
fn with_epoch(file: &Value, now_s: i64) -> Value {
    if file.get("activates").is_some() || !matches!(file, Value::Map(_)) {
        return file.clone();
    }
    let epoch: (Arc<str>, Value) = ("activates".into(), Value::Int(now_s + SOON));
    Value::map(file.fields().iter().cloned().chain([epoch]))
}

fn checked(file: &Value) -> Result<Policy, Refused> {
    Policy::read(file).or_else(|e| bad(e.to_string()))
}

fn told(policy: &Policy) -> Json {
    let rules: Vec<Json> = policy
        .rules()
        .iter()
        .map(|r| json!({ "name": &*r.name, "strategy": r.then.named().name() }))
        .collect();
    json!({ "policy": &**policy.name(), "version": policy.version(), "activates": policy.activates(), "rules": rules })
}

impl Documents {
    pub(super) async fn rules(&self, method: &Method, parts: &[&str], body: &[u8]) -> Result<Json, Refused> {
        let now_s =
            i64::try_from(self.face.clock().now().wall.as_nanos() / 1_000_000_000).unwrap_or(i64::MAX);
        match (method.as_str(), parts) {
            ("GET", ["policies" | "schemas"]) => show::answer(self.ask(Question::Rules).await?),
            ("POST", ["policies", "check"]) => {
                let PolicyFile { policy } = read(body)?;
                Ok(told(&checked(&with_epoch(&policy, now_s))?))
            }
            ("POST", ["policies", "dry-run"]) => {
                let PolicyFile { policy } = read(body)?;
                let policy = with_epoch(&policy, now_s);
                checked(&policy)?;
                show::answer(self.ask(Question::DryRun(policy.to_bytes().into())).await?)
            }
            ("POST", ["policies"]) => {
                let PolicyFile { policy } = read(body)?;
                let file = with_epoch(&policy, now_s);
                let policy = checked(&file)?;
                self.follows(&policy, now_s).await?;
                self.decide(&format!("policy/{:010}", policy.version()), &file).await?;
                Ok(told(&policy))
            }
            ("POST", ["schemas"]) => {
                let SchemaFile { schema: file } = read(body)?;
                let schema = Schema::read(&file).or_else(|e| bad(e.to_string()))?;
                if schema.name().contains('/') || schema.name().starts_with('\0') {
                    return bad("a kind's name has no slash in it");
                }
                self.decide(&format!("schema/{}/{:010}", schema.name(), schema.version()), &file).await?;
                Ok(
                    json!({ "schema": &**schema.name(), "version": schema.version(), "fields": schema.fields().len() }),
                )
            }
            _ => Err((
                StatusCode::NOT_FOUND,
                "there is no such path; GET /v1/openapi.json names them all".into(),
            )),
        }
    }

    /// Whether a policy follows those that were decided.
    async fn follows(&self, policy: &Policy, now_s: i64) -> Result<(), Refused> {
        let mut key = prefix(&self.keyspace).to_vec();
        key.extend_from_slice(b"policy/");
        let mut range_end = key.clone();
        range_end.pop();
        range_end.push(b'/' + 1);
        let (key, range_end) = (key.into(), range_end.into());
        let range = RangeRequest { key, range_end, ..RangeRequest::default() };
        let Answer::Range { range, .. } = self.strongly(Ask::Range { range, serializable: false }).await?
        else {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "another answer than to this question".into()));
        };
        let mut versions = Versions::default();
        for kv in range.kvs {
            let file = Value::from_bytes(&kv.value).ok();
            if let Some(known) = file.and_then(|f| Policy::read(&f).ok()) {
                // Those before it were let in one after the other.
                let _follows = versions.add(known, 0);
            }
        }
        versions.add(policy.clone(), now_s.unsigned_abs()).map_err(|e| (StatusCode::CONFLICT, e.to_string()))
    }

    /// Has consensus decide something below the keyspace's prefix, once.
    async fn decide(&self, name: &str, file: &Value) -> Result<(), Refused> {
        let key: Bytes = [&prefix(&self.keyspace)[..], name.as_bytes()].concat().into();
        let value: Bytes = file.to_bytes().into();
        let absent = Compare {
            key: key.clone(),
            range_end: Bytes::new(),
            op: CompareOp::Equal,
            target: CompareTarget::Mod(0),
        };
        let same = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let put = PutRequest { key, value: value.clone(), ..PutRequest::default() };
        let txn = TxnRequest {
            compare: vec![absent],
            success: vec![TxnOp::Put(put)],
            failure: vec![TxnOp::Range(same)],
        };
        let answer = self.strongly(Ask::Write { session: None, op: Op::Txn(txn) }).await?;
        let Answer::Written(response) = answer else {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "another answer than to this question".into()));
        };
        match response.body {
            Body::Txn { succeeded: true, .. } => Ok(()),
            Body::Txn { responses, .. } => {
                let is_this = |r: &dwcp_store::api::Response| match &r.body {
                    Body::Range(range) => range.kvs.iter().any(|kv| kv.value == value),
                    _ => false,
                };
                // Asked again, it is done.
                if responses.iter().any(is_this) {
                    return Ok(());
                }
                let what = format!("{name} was decided already, and is another: give yours a higher version");
                Err((StatusCode::CONFLICT, what))
            }
            _ => Err((StatusCode::INTERNAL_SERVER_ERROR, "another answer than to this question".into())),
        }
    }
}
