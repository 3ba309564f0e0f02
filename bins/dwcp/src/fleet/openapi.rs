//! The door's description in OpenAPI 3.1. Commands are described by what [`dwcp_fleet::command::Command`] takes; a test
//! holds the list against the type.

use serde_json::{Map, Value, json};

/// Fields and their shapes.
type Fields = &'static [(&'static str, &'static str)];

/// Each command: its name, what it is for, its fields.
const COMMANDS: &[(&str, &str, Fields)] = &[
    ("region", "A region is to exist in this state.", &[("region", "Name"), ("state", "RegionState")]),
    ("block_add", "A block of addresses is the fleet's to lend.", &[("block", "Block")]),
    ("block_split", "A block that nobody has becomes several.", &[("block", "Block"), ("length", "Number")]),
    ("prefix_add", "A name prefix is the fleet's to lend.", &[("prefix", "Name")]),
    ("lend", "A block or prefix goes to a region.", &[("thing", "Thing"), ("region", "Name")]),
    ("return", "A block or prefix comes back.", &[("thing", "Thing"), ("region", "Name")]),
    ("quota_total", "A group's quota is this.", &[("group", "Name"), ("total", "Resources")]),
    (
        "quota_share",
        "A region's share of it is this.",
        &[("group", "Name"), ("region", "Name"), ("right", "Resources")],
    ),
    ("quota_sync", "Both sides of an account learn of each other.", &[("group", "Name"), ("region", "Name")]),
    (
        "image_set",
        "A region has an image, or (null) has it no more.",
        &[("region", "Name"), ("image", "Name"), ("source", "OptionalText")],
    ),
    (
        "host_join",
        "A host offers itself.",
        &[("region", "Name"), ("host", "Name"), ("capacity", "Resources"), ("labels", "Labels")],
    ),
    (
        "host_state",
        "A host is to be used so.",
        &[("region", "Name"), ("host", "Name"), ("state", "HostState")],
    ),
    (
        "host_attach",
        "A new life of a host's agent begins; earlier ones are refused from now on.",
        &[("region", "Name"), ("host", "Name")],
    ),
    ("reopen", "A region whose store was restored gives again, nothing twice.", &[("region", "Name")]),
    ("open", "The next steps of a region's opening.", &[("region", "Name")]),
    (
        "create",
        "A machine is to exist; its number is made of the region's name and the request's key.",
        &[("region", "Name"), ("spec", "Spec")],
    ),
    ("set_power", "A machine is to run, or not.", &[("at", "At"), ("power", "Power")]),
    (
        "resize",
        "A stopped machine gets another size.",
        &[("at", "At"), ("vcpus", "Number"), ("memory_mib", "Number")],
    ),
    ("label", "Labels are set and removed.", &[("at", "At"), ("set", "Labels"), ("remove", "Texts")]),
    ("delete", "A machine is to stop and be no more.", &[("at", "At")]),
    ("move", "A stopped machine goes to another region.", &[("at", "At"), ("to", "Name")]),
    ("call_back", "A move that was not committed is called back.", &[("at", "At")]),
    ("migrate", "A machine moves to another host.", &[("at", "At"), ("to", "OptionalText")]),
    ("stay_put", "A migration is called back.", &[("at", "At")]),
    ("place", "A machine that is to run gets a place.", &[("at", "At"), ("lease", "Nanoseconds")]),
    ("recover", "A lease that has surely ended is taken away.", &[("at", "At")]),
    ("purge", "A deleted machine that has stopped gives all back.", &[("at", "At")]),
    ("settle", "The next steps of a handover.", &[("at", "At")]),
    ("release_name", "The name of a machine that is gone is free.", &[("region", "Name"), ("name", "Name")]),
    ("forget", "A number that was used long ago may be forgotten.", &[("at", "At")]),
    ("renew", "A host keeps a machine.", &[("seat", "Seat"), ("lease", "Nanoseconds")]),
    ("release", "A host has stopped a machine.", &[("seat", "Seat")]),
    ("yield", "A host has stopped a machine that migrates.", &[("seat", "Seat"), ("lease", "Nanoseconds")]),
    (
        "report",
        "A host tells what a machine does.",
        &[
            ("seat", "Seat"),
            ("index", "Number"),
            ("phase", "Phase"),
            ("since", "Nanoseconds"),
            ("message", "Text"),
        ],
    ),
];

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn object(fields: &[(&str, &str)], optional: &[(&str, &str)]) -> Value {
    let all = fields.iter().chain(optional);
    let properties: Map<String, Value> =
        all.map(|(name, shape)| ((*name).into(), reference(shape))).collect();
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn one_of(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

fn schemas() -> Value {
    let number = json!({ "type": "integer", "minimum": 0 });
    let key = json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" });
    let part = json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]*$", "maxLength": 63 });
    let commands: Vec<Value> = COMMANDS
        .iter()
        .map(|(name, what, fields)| {
            json!({ "type": "object", "description": what, "properties": { *name: object(fields, &[]) },
                "required": [name], "additionalProperties": false })
        })
        .collect();
    json!({
        "Key": key,
        "Name": part,
        "Block": { "type": "string", "examples": ["10.1.0.0/24", "2001:db8::/116"] },
        "Thing": { "oneOf": [
            object(&[("block", "Block")], &[]),
            object(&[("prefix", "Name")], &[]),
        ] },
        "Number": number,
        "Boolean": { "type": "boolean" },
        "Nanoseconds": number,
        "Text": { "type": "string" },
        "Texts": { "type": "array", "items": { "type": "string" } },
        "OptionalText": { "type": ["string", "null"] },
        "Labels": { "type": "object", "additionalProperties": { "type": "string" } },
        "Resources": object(&[], &[("vms", "Number"), ("vcpus", "Number"), ("memory_mib", "Number"),
            ("disk_gib", "Number"), ("addresses", "Number")]),
        "RegionState": one_of(&["active", "draining"]),
        "HostState": one_of(&["ready", "cordoned", "drained", "lost"]),
        "Power": one_of(&["off", "on"]),
        "Phase": one_of(&["stopped", "starting", "running", "stopping", "failed"]),
        "Family": one_of(&["ipv4", "ipv6"]),
        "Disks": { "type": "array", "maxItems": 16, "items": object(&[("name", "Name"), ("gib", "Number")], &[]) },
        "Nics": { "type": "array", "maxItems": 8, "items": object(&[("name", "Name")], &[("family", "Family")]) },
        "Spec": object(
            &[("name", "Name"), ("image", "Name"), ("vcpus", "Number"), ("memory_mib", "Number"), ("group", "Name")],
            &[("disks", "Disks"), ("nics", "Nics"), ("power", "Power"), ("labels", "Labels")],
        ),
        "At": object(&[("region", "Name"), ("vm", "Key")], &[]),
        "Seat": object(&[("at", "At"), ("host", "Name"), ("epoch", "Number"), ("life", "Number")], &[("found", "Boolean")]),
        "Command": { "oneOf": commands },
        "Request": object(&[("command", "Command")], &[("key", "Key")]),
        "Seen": { "type": "array", "items": { "type": "array", "prefixItems": [reference("Number"), reference("Phase")] } },
        "Runs": object(&[("vm", "Key"), ("epoch", "Number")], &[("seen", "Seen")]),
        "AllRuns": { "type": "array", "items": reference("Runs") },
        "Announcement": object(
            &[("region", "Name"), ("host", "Name"), ("at", "Nanoseconds"), ("uncertainty", "Nanoseconds"), ("runs", "AllRuns")],
            &[]),
        "Refusal": { "type": "object", "properties": { "error": object(
            &[("code", "Text"), ("at", "Text"), ("what", "Text"), ("remedy", "Text")], &[]) } },
    })
}

fn answers(what: &str) -> Value {
    let refusal = |why: &str| json!({ "description": why, "content": { "application/json": { "schema": reference("Refusal") } } });
    json!({
        "200": { "description": what, "content": { "application/json": { "schema": { "type": "object" } } } },
        "400": refusal("The request can never be right as it is."),
        "404": refusal("What it names is not there."),
        "409": refusal("Not in the state things are in."),
        "503": refusal("Not now; ask again under the same key."),
        "507": refusal("No rights, no room, or no address left."),
    })
}

fn read(what: &str, parameters: &[&str]) -> Value {
    let parameters: Vec<Value> = parameters
        .iter()
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect();
    json!({ "get": { "summary": what, "parameters": parameters, "responses": answers(what) } })
}

/// The document.
pub(super) fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "dwcp: the fleet",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Machines, hosts, addresses, regions and quotas. A request under a key is done once, however often it is asked.",
        },
        "paths": {
            "/v1/fleet/requests": { "post": {
                "summary": "Has something done.",
                "requestBody": { "required": true, "content": { "application/json": { "schema": reference("Request") } } },
                "responses": answers("Done; the key, and the answer."),
            } },
            "/v1/fleet/{kind}": read("The fleet's regions, roster, blocks, prefixes, quotas or owners.", &["kind"]),
            "/v1/fleet/known":
                read("The names of the regions that this node knows of, from memory: for when the fleet's store is out of reach.", &[]),
            "/v1/fleet/regions/{region}/{kind}":
                read("A region's vms, hosts, blocks, prefixes, quotas, images or names.", &["region", "kind"]),
            "/v1/fleet/regions/{region}/vms/{vm}": read("One machine, by number or name.", &["region", "vm"]),
            "/v1/fleet/regions/{region}/watch":
                read("Changes as lines of JSON, until the client goes.", &["region"]),
            "/v1/fleet/announcements": { "post": {
                "summary": "A host's agent says which machines may be running there, when it changes and every 15 s.",
                "requestBody": { "required": true, "content": { "application/json": { "schema": reference("Announcement") } } },
                "responses": answers("Heard; whether there was anything new to say."),
            } },
            "/v1/fleet/findings":
                read("Where what regions and hosts announce is contradictory, as this node hears it; what follows.", &[]),
            "/v1/fleet/openapi.json": read("This document.", &[]),
        },
        "components": { "schemas": schemas() },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dwcp_fleet::command::Command;
    use std::collections::BTreeSet;

    /// What serde would take, by its own words.
    fn expected(text: &str) -> BTreeSet<String> {
        let error = serde_json::from_str::<Command>(text).unwrap_err().to_string();
        error.split('`').skip(3).step_by(2).map(str::to_string).collect()
    }

    #[test]
    fn every_command_is_described_with_its_fields() {
        let named: BTreeSet<String> = COMMANDS.iter().map(|(name, _, _)| (*name).to_string()).collect();
        assert_eq!(named, expected(r#"{"nonsense":{}}"#));
        for (name, _, fields) in COMMANDS {
            let fields: BTreeSet<String> = fields.iter().map(|(field, _)| (*field).to_string()).collect();
            let taken = expected(&format!(r#"{{"{name}":{{"nonsense":1}}}}"#));
            assert_eq!(fields, taken, "{name}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"].get(name).is_some(), "{name}");
        }
    }
}
