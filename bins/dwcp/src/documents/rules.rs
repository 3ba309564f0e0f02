//! Policies and schemas: checked, then decided by consensus.

use super::{Documents, Refused, bad, read, show};
use bytes::Bytes;
use dwcp_conflict::policy::{SKIP_MAX, Versions};
use dwcp_conflict::{Policy, Schema, Value};
use dwcp_eventual::documents::ask::Question;
use dwcp_eventual::roster::prefix;
use dwcp_node::{Answer, Ask};
use dwcp_store::api::{
    Body, Compare, CompareOp, CompareTarget, Op, PutRequest, RangeRequest, Revision, TxnOp, TxnRequest,
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
                self.propose_policy(&policy, &file, now_s).await?;
                Ok(told(&policy))
            }
            ("POST", ["schemas"]) => {
                let SchemaFile { schema: file } = read(body)?;
                let schema = Schema::read(&file).or_else(|e| bad(e.to_string()))?;
                if schema.name().contains('/') || schema.name().starts_with('\0') {
                    return bad("a kind's name has no slash in it");
                }
                self.propose_schema(&schema, &file).await?;
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

    /// Has consensus decide a policy that follows those that were decided.
    async fn propose_policy(&self, policy: &Policy, file: &Value, now_s: i64) -> Result<(), Refused> {
        let known = self.decided("policy/").await?;
        let mut versions = Versions::default();
        for file in &known.files {
            if let Ok(known) = Policy::read(file) {
                // Those before it were let in one after the other.
                let _follows = versions.add(known, 0);
            }
        }
        let follows = versions.follows(policy, now_s.unsigned_abs());
        follows.map_err(|e| (StatusCode::CONFLICT, e.to_string()))?;
        self.decide(&known, &format!("policy/{:010}", policy.version()), file).await
    }

    /// Has consensus decide a kind's first schema or its next.
    async fn propose_schema(&self, schema: &Schema, file: &Value) -> Result<(), Refused> {
        let known = self.decided(&format!("schema/{}/", schema.name())).await?;
        let last = known.files.iter().filter_map(|f| Schema::read(f).ok()).map(|s| s.version()).max();
        follows(schema.version(), last.unwrap_or(0)).map_err(|why| (StatusCode::CONFLICT, why))?;
        self.decide(&known, &format!("schema/{}/{:010}", schema.name(), schema.version()), file).await
    }

    /// What was decided below a name.
    async fn decided(&self, below: &str) -> Result<Decided, Refused> {
        let key: Bytes = [&prefix(&self.keyspace)[..], below.as_bytes()].concat().into();
        let mut range_end = key.to_vec();
        // What is below a name ends with a slash.
        range_end.pop();
        range_end.push(b'/' + 1);
        let range_end = Bytes::from(range_end);
        let range =
            RangeRequest { key: key.clone(), range_end: range_end.clone(), ..RangeRequest::default() };
        let Answer::Range { range, revision } =
            self.strongly(Ask::Range { range, serializable: false }).await?
        else {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "another answer than to this question".into()));
        };
        let files = range.kvs.iter().filter_map(|kv| Value::from_bytes(&kv.value).ok()).collect();
        Ok(Decided { key, range_end, revision, files })
    }

    /// Has consensus decide something below the keyspace's prefix, once, if nothing was decided beside it since it was judged.
    async fn decide(&self, known: &Decided, name: &str, file: &Value) -> Result<(), Refused> {
        let key: Bytes = [&prefix(&self.keyspace)[..], name.as_bytes()].concat().into();
        let value: Bytes = file.to_bytes().into();
        let same = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let put = PutRequest { key: key.clone(), value: value.clone(), ..PutRequest::default() };
        let txn = TxnRequest {
            compare: vec![absent(key), known.unchanged()],
            success: vec![TxnOp::Put(put)],
            failure: vec![TxnOp::Range(same)],
        };
        let answer = self.strongly(Ask::Write { session: None, op: Op::Txn(txn) }).await?;
        let Answer::Written(response) = answer else {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "another answer than to this question".into()));
        };
        let Body::Txn { succeeded, responses } = response.body else {
            return Err((StatusCode::INTERNAL_SERVER_ERROR, "another answer than to this question".into()));
        };
        let found = responses.iter().find_map(|r| match &r.body {
            Body::Range(range) => range.kvs.first(),
            _ => None,
        });
        match found {
            _ if succeeded => Ok(()),
            // Asked again, it is done.
            Some(kv) if kv.value == value => Ok(()),
            Some(_) => {
                let what = format!("{name} was decided already, and is another: give yours a higher version");
                Err((StatusCode::CONFLICT, what))
            }
            None => {
                let what = format!(
                    "{name}: another was decided in the same moment, which this one was not judged against; nothing was done: look at what counts now, and apply it again"
                );
                Err((StatusCode::CONFLICT, what))
            }
        }
    }
}

/// What was decided below a name, as of a revision.
struct Decided {
    key: Bytes,
    range_end: Bytes,
    revision: Revision,
    files: Vec<Value>,
}

impl Decided {
    /// The condition that nothing was decided below that name since.
    fn unchanged(&self) -> Compare {
        Compare {
            key: self.key.clone(),
            range_end: self.range_end.clone(),
            op: CompareOp::Less,
            target: CompareTarget::Mod(self.revision.saturating_add(1)),
        }
    }
}

/// The condition that there is no such key.
fn absent(key: Bytes) -> Compare {
    Compare { key, range_end: Bytes::new(), op: CompareOp::Equal, target: CompareTarget::Mod(0) }
}

/// Whether a schema's version may follow the last of its kind; the last itself may come again.
fn follows(version: u32, last: u32) -> Result<(), String> {
    if version < last {
        return Err(format!(
            "version {version} is older than version {last}, which counts: nothing would come of it; give it version {}",
            last.saturating_add(1)
        ));
    }
    if version - last > SKIP_MAX {
        return Err(format!(
            "version {version} is more than {SKIP_MAX} above {last}, the latest: versions only grow, and what is skipped is lost; give it version {}",
            last.saturating_add(1)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schemas_version_follows_the_last_and_leaves_room_for_others() {
        assert!(follows(1, 0).is_ok() && follows(SKIP_MAX, 0).is_ok() && follows(7, 7).is_ok());
        let older = follows(6, 7).unwrap_err();
        assert!(older.contains("older than version 7") && older.ends_with("give it version 8"), "{older}");
        assert!(follows(SKIP_MAX + 1, 0).is_err() && follows(u32::MAX, 7).is_err());
    }
}
