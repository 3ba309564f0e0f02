//! Answers as JSON.

use super::Refused;
use dwcp_conflict::{Pointer, Value};
use dwcp_eventual::documents::ask::{
    Answer, At, Before, Clash, Open, Otherwise, Person, Resolution, Rule, Side, Verdict,
};
use hyper::StatusCode;
use serde_json::{Value as Json, json};

/// A value from its bytes.
fn value(bytes: &[u8]) -> Json {
    Value::from_bytes(bytes).ok().and_then(|v| serde_json::to_value(&v).ok()).unwrap_or(Json::Null)
}

pub(super) fn optional(bytes: Option<&bytes::Bytes>) -> Json {
    bytes.map_or(Json::Null, |b| value(b))
}

pub(super) fn dot((replica, sequence): (u16, u64)) -> String {
    format!("r{replica}:{sequence}")
}

pub(super) fn person(p: &Person) -> Json {
    json!({ "name": p.name, "role": p.role, "region": p.region })
}

pub(super) fn at(a: &At) -> Json {
    json!({ "kind": a.kind, "key": a.key, "at": a.pointer })
}

/// A place as one JSON pointer, kind and key first: what a page is asked for by.
fn page(a: &At) -> String {
    let mut names = Pointer::root();
    names.enter(&a.kind);
    names.enter(&a.key);
    format!("{names}{}", a.pointer)
}

/// The place that a page comes after.
pub(super) fn after(text: &str) -> Result<At, Refused> {
    let wrong = || (StatusCode::BAD_REQUEST, format!("after={text}: give what an answer said is `next`"));
    let all = Pointer::parse(text).map_err(|_| wrong())?;
    let mut names = all.segments();
    let (Some(kind), Some(key)) = (names.next(), names.next()) else { return Err(wrong()) };
    let mut pointer = Pointer::root();
    names.for_each(|name| {
        pointer.enter(&name);
    });
    Ok(At { kind: kind.into_owned(), key: key.into_owned(), pointer: pointer.to_string() })
}

fn side(s: &Side) -> Json {
    let deletes = s.value.is_none();
    json!({ "write": dot(s.dot), "at_ms": s.at_ms, "by": person(&s.by), "value": optional(s.value.as_ref()), "deletes": deletes })
}

fn open(o: &Open) -> Json {
    let base = match &o.base {
        Before::Value(v) => json!({ "known": true, "value": value(v) }),
        Before::Nothing => json!({ "known": true, "value": null }),
        Before::Unknown => json!({ "known": false }),
    };
    let mut out = at(&o.at);
    out["conflict"] = json!(o.conflict);
    out["class"] = json!(o.class);
    out["base"] = base;
    out["sides"] = o.sides.iter().map(side).collect();
    out["shown"] = optional(o.shown.as_ref());
    out["waits_for"] = json!(o.waits);
    if let Some((rule, strategy)) = &o.by {
        out["rule"] = json!({ "name": rule, "strategy": strategy });
    }
    if let Some((suggestion, until)) = &o.asked {
        out["asked"] = json!({ "suggestion": optional(suggestion.as_ref()), "until_ms": until });
    }
    out
}

fn resolution(r: &Resolution) -> Json {
    let mut out = at(&r.at);
    out["conflict"] = json!(r.conflict);
    out["recorded_ms"] = json!(r.at_ms);
    out["class"] = json!(r.class);
    out["policy"] = json!({ "version": r.by.0, "rule": r.by.1, "strategy": r.by.2 });
    out["why"] = json!(r.why);
    out["stands"] = optional(r.stands.as_ref());
    out["written_as"] = r.output.map_or(Json::Null, |d| json!(dot(d)));
    out["decided_by"] = r.person.as_ref().map_or(Json::Null, person);
    out["rolled_back_to"] = json!(r.back_to);
    out["asked_until_ms"] = json!(r.asked_until_ms);
    out["writes"] = r
        .inputs
        .iter()
        .map(|i| {
            let mut told = side(&i.side);
            told["prevails"] = json!(i.prevails);
            told["kept"] = json!(i.kept);
            told
        })
        .collect();
    out
}

fn clash(c: &Clash) -> Json {
    let side = |(n, value): &(u64, Option<bytes::Bytes>)| json!({ "side": n, "value": optional(value.as_ref()), "deletes": value.is_none() });
    json!({
        "at": c.at,
        "class": c.class,
        "why": c.why,
        "base": optional(c.base.as_ref()),
        "sides": c.sides.iter().map(side).collect::<Vec<_>>(),
        "stands": optional(c.stands.as_ref()),
    })
}

fn verdict(v: &Verdict) -> Json {
    json!({
        "replica": format!("r{}", v.replica),
        "node": v.node,
        "records": v.records,
        "promised": v.promised.map(|(records, at)| json!({ "records": records, "at_ms": at })),
        "missing": v.missing,
        "whole": v.fault.is_none(),
        "first_wrong": v.fault.as_ref().map(|(n, _)| n),
        "why": v.fault.as_ref().map(|(_, why)| why),
    })
}

fn rule(r: &Rule) -> Json {
    let mut out = json!({ "name": r.name, "version": r.version, "file": value(&r.file) });
    if let Some(activates) = r.activates {
        out["activates"] = json!(activates);
        out["active"] = json!(r.active);
    }
    out
}

/// An answer as the door gives it.
pub(super) fn answer(answer: Answer) -> Result<Json, Refused> {
    Ok(match answer {
        Answer::Written(n) => json!({ "written": n }),
        Answer::Document(None) => {
            return Err((StatusCode::NOT_FOUND, "there is no such document here".into()));
        }
        Answer::Document(Some((document, conflicts))) => {
            json!({ "document": value(&document), "conflicts": conflicts.iter().map(open).collect::<Vec<_>>() })
        }
        Answer::Keys(keys, next) => json!({ "keys": keys, "more": next.is_some(), "next": next }),
        Answer::Conflicts(all, next) => {
            let items: Vec<Json> = all.iter().map(open).collect();
            json!({ "items": items, "more": next.is_some(), "next": next.as_ref().map(page) })
        }
        Answer::Explained(text, records) => {
            json!({ "text": text, "records": records.iter().map(resolution).collect::<Vec<_>>() })
        }
        Answer::Rules { schemas, policies, faults, chains } => {
            let chain = |(replica, records, check): &(u16, u64, String)| json!({ "replica": replica, "records": records, "check": check });
            json!({
                "schemas": schemas.iter().map(rule).collect::<Vec<_>>(),
                "policies": policies.iter().map(rule).collect::<Vec<_>>(),
                "faults": faults,
                "audit": chains.iter().map(chain).collect::<Vec<_>>(),
            })
        }
        Answer::Taken(t) => super::checkpoints::taken(&t),
        Answer::Checkpoints(all, rolled) => json!({
            "checkpoints": all.iter().map(super::checkpoints::taken).collect::<Vec<_>>(),
            "rollbacks": rolled.iter().map(super::checkpoints::rolled).collect::<Vec<_>>(),
        }),
        Answer::Back(b) => super::checkpoints::back(&b),
        Answer::Verified(all) => json!({ "chains": all.iter().map(verdict).collect::<Vec<_>>() }),
        Answer::Joined(j) => {
            let clashes: Vec<Json> = j.clashes.iter().map(clash).collect();
            json!({ "document": optional(j.document.as_ref()), "clashes": clashes, "clashing": j.all })
        }
        Answer::Trial(t) => {
            let otherwise = |o: &Otherwise| {
                let outcome = |(value, strategy): &(Option<bytes::Bytes>, String)| json!({ "value": optional(value.as_ref()), "strategy": strategy });
                let mut out = at(&o.at);
                out["conflict"] = json!(o.conflict);
                out["stands"] = outcome(&o.stands);
                out["would"] = outcome(&o.would);
                out
            };
            json!({
                "same": t.same,
                "otherwise": t.otherwise.iter().map(otherwise).collect::<Vec<_>>(),
                "cut": t.cut,
                "unknown": t.unknown,
                "by_rule": t.by_rule.iter().map(|(name, n)| json!({ "rule": name, "conflicts": n })).collect::<Vec<_>>(),
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_after_any_place() {
        for (kind, key, pointer) in
            [("vm", "web-1", "/labels/a"), ("v~m", "a/b ~1", ""), ("vm", "", "/a~1b/~0")]
        {
            let place = At { kind: kind.into(), key: key.into(), pointer: pointer.into() };
            assert_eq!(after(&page(&place)), Ok(place));
        }
        for bad in ["", "vm/web-1", "/vm", "/~2/b"] {
            assert!(after(bad).unwrap_err().1.contains("`next`"), "{bad}");
        }
    }
}
