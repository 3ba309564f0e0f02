//! The OpenAPI description of documents, conflicts, policies and schemas.

use serde_json::{Value, json};

fn answers(what: &str) -> Value {
    let refused = |why: &str| json!({ "description": why, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Refusal" } } } });
    json!({
        "200": { "description": what, "content": { "application/json": { "schema": { "type": "object" } } } },
        "400": refused("The request can never be right as it is."),
        "404": refused("What it names is not there."),
        "409": refused("Not as things are: look again."),
        "413": refused("Too large."),
        "503": refused("Not now, or not at this node."),
    })
}

fn parameters(names: &[&str]) -> Vec<Value> {
    names
        .iter()
        .map(|name| {
            let place = if matches!(*name, "after" | "at") { "query" } else { "path" };
            json!({ "name": name, "in": place, "required": place == "path", "schema": { "type": "string" } })
        })
        .collect()
}

fn get(what: &str, names: &[&str]) -> Value {
    json!({ "summary": what, "parameters": parameters(names), "responses": answers(what) })
}

fn with_body(what: &str, names: &[&str], shape: &str) -> Value {
    let schema = json!({ "$ref": format!("#/components/schemas/{shape}") });
    json!({
        "summary": what, "parameters": parameters(names),
        "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } },
        "responses": answers(what),
    })
}

fn object(fields: &[(&str, Value)], required: &[&str]) -> Value {
    let properties: serde_json::Map<String, Value> =
        fields.iter().map(|(n, v)| ((*n).to_string(), v.clone())).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let any = json!({});
    let by = json!({ "$ref": "#/components/schemas/By" });
    let choice = json!({ "oneOf": [
        { "enum": ["base", "suggestion", "default", "delete"] },
        object(&[("side", json!({ "type": "string", "pattern": "^r[0-9]+:[0-9]+$" }))], &["side"]),
        object(&[("value", any.clone())], &["value"]),
    ] });
    let map = json!({ "type": "object" });
    let (texts, yes) =
        (json!({ "type": "array", "items": { "type": "string" } }), json!({ "type": "boolean" }));
    let after = object(
        &[("kind", text.clone()), ("key", text.clone()), ("rollback", json!({ "type": ["string", "null"] }))],
        &["kind", "key"],
    );
    let perhaps = json!({ "type": ["object", "null"] });
    let version = object(&[("role", text.clone()), ("document", perhaps.clone())], &["document"]);
    json!({
        "By": object(&[("name", text.clone()), ("role", text.clone()), ("region", text.clone())], &["name", "role"]),
        "Put": object(&[("by", by.clone()), ("document", map.clone()), ("base", map.clone())], &["by", "document"]),
        "Merge": object(
            &[("kind", text.clone()), ("base", perhaps.clone()), ("sides", json!({ "type": "array", "minItems": 2, "maxItems": 16, "items": version }))],
            &["kind", "base", "sides"],
        ),
        "Patch": object(&[("by", by.clone()), ("fields", map.clone())], &["by", "fields"]),
        "Delete": object(&[("by", by.clone())], &["by"]),
        "Decision": object(
            &[("by", by.clone()), ("kind", text.clone()), ("key", text.clone()), ("at", text.clone()), ("choice", choice)],
            &["by", "kind", "key", "at", "choice"],
        ),
        "Checkpoint": object(
            &[("by", by.clone()), ("name", text.clone()), ("kinds", texts.clone()), ("days", json!({ "type": "integer", "minimum": 1, "maximum": 366 }))],
            &["by", "name"],
        ),
        "Rollback": object(
            &[("by", by.clone()), ("kinds", texts.clone()), ("keys", texts), ("delete_created", yes.clone()), ("dry_run", yes), ("after", after)],
            &["by"],
        ),
        "Undo": object(&[("by", by), ("which", text.clone()), ("force", json!({ "type": "boolean" }))], &["by"]),
        "Policy": object(&[("policy", map.clone())], &["policy"]),
        "Schema": object(&[("schema", map)], &["schema"]),
        "Refusal": { "type": "object", "properties": { "error": object(&[("what", text)], &["what"]) } },
    })
}

/// The document.
pub(super) fn document() -> Value {
    let object = ["kind", "key"];
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "dwcp: documents and their conflicts",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Documents are written in every region, cut off or not; what stands beside each other is settled by the policy in force, recorded, and can be had back.",
        },
        "paths": {
            "/v1/documents/{kind}": { "get": get("Keys of a kind, from a thousand looked at; a page may be empty. Go on with after=next until next is null.", &["kind", "after"]) },
            "/v1/documents/{kind}/{key}": {
                "get": get("A document as this node shows it, and where in it writes stand beside each other.", &object),
                "put": with_body("It is to be this; fields that are left out go. With a base it is merged with what is there, and refused where both changed the same.", &object, "Put"),
                "patch": with_body("These fields, by JSON pointer, are to be this; null deletes. Of a document that was deleted by its lifecycle only with the lifecycle.", &object, "Patch"),
                "delete": with_body("It is to be no more: by its lifecycle if the schema names one, else field by field.", &object, "Delete"),
            },
            "/v1/checkpoints": {
                "get": get("The checkpoints there are, and who went back to one; what is not done broke off or is under way.", &[]),
                "post": with_body("What this node shows now is kept under a name: of these kinds, or of all, for so many days (30).", &[], "Checkpoint"),
            },
            "/v1/checkpoints/{name}": { "delete": get("A checkpoint is to be no more. Of two of one name: name@id.", &["name"]) },
            "/v1/checkpoints/{name}/rollback": {
                "post": with_body("Documents are to be as they were: a part of them. Go on with after=next until next is null. With dry_run nothing is written.", &["name"], "Rollback"),
            },
            "/v1/merge": { "post": with_body("What versions of a document come to beside a base, and where they clash; nothing is written.", &[], "Merge") },
            "/v1/conflicts": {
                "get": get("What stands beside each other now, and what people are asked, a thousand at a time. Go on with after=next until next is null.", &["after"]),
            },
            "/v1/conflicts/{name}": { "get": get("What is on record of a conflict.", &["name"]) },
            "/v1/conflicts/of/{kind}/{key}": {
                "get": get("What is on record of an object, or of a place in it.", &["kind", "key", "at"]),
            },
            "/v1/conflicts/{name}/answer": { "post": with_body("A person decides.", &["name"], "Decision") },
            "/v1/conflicts/{name}/undo": { "post": with_body("What did not prevail stands again.", &["name"], "Undo") },
            "/v1/audit": { "get": get("The chains of records as they lie on this node, beside the heads that consensus was promised.", &[]) },
            "/v1/policies": {
                "get": get("Policies and schemas, what of them could not be read, and the audit's heads.", &[]),
                "post": with_body("A policy is to count from the second that it names.", &[], "Policy"),
            },
            "/v1/policies/check": { "post": with_body("Whether a policy is sound.", &[], "Policy") },
            "/v1/policies/dry-run": { "post": with_body("What would have come out otherwise.", &[], "Policy") },
            "/v1/schemas": {
                "get": get("As /v1/policies.", &[]),
                "post": with_body("A kind of documents is declared, or its next version.", &[], "Schema"),
            },
            "/v1/openapi.json": { "get": get("This document.", &[]) },
        },
        "components": { "schemas": schemas() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_path_is_ours() {
        let document = document();
        for reference in document.to_string().split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
        for path in document["paths"].as_object().unwrap().keys() {
            assert!(super::super::is_ours(path), "{path}");
        }
        assert!(!super::super::is_ours("/v1/fleet/vms") && !super::super::is_ours("/v1/policiesx"));
    }
}
