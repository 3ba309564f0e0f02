//! Records as JSON: what stands under a key, by its kind.

use dwcp_fleet::key::{Key, Scope};
use dwcp_fleet::record::{
    AddressUse, Charter, Held, Host, ImageRecord, Ledger, Lent, NameUse, Owner, Past, Placement, Record,
    RegionRecord, Rights, RosterEntry, Status, Tenure, Vm,
};
use serde_json::{Value, json};

/// The kinds of records of a scope, as they stand in paths and keys.
pub(super) fn kinds(scope: &Scope) -> &'static [(&'static str, &'static str)] {
    match scope {
        Scope::Global => &[
            ("regions", "region"),
            ("roster", "host"),
            ("blocks", "block"),
            ("prefixes", "prefix"),
            ("quotas", "quota"),
            ("owners", "owner"),
        ],
        Scope::Region(_) => &[
            ("vms", "vm"),
            ("hosts", "host"),
            ("blocks", "block"),
            ("prefixes", "prefix"),
            ("quotas", "quota"),
            ("images", "image"),
            ("names", "name"),
        ],
    }
}

fn as_json<T: Record>(bytes: &[u8]) -> Value {
    match T::decode(bytes) {
        Ok(record) => serde_json::to_value(record).unwrap_or_else(|e| json!({ "damaged": e.to_string() })),
        Err(why) => json!({ "damaged": format!("should be {}, but {why}", T::NAME) }),
    }
}

/// A record as JSON; one that can't be read says so.
pub(super) fn record(key: &Key, bytes: &[u8]) -> Value {
    let global = key.scope() == Some(Scope::Global);
    let kind = key.as_str().split('/').nth(if global { 4 } else { 5 }).unwrap_or_default();
    match (kind, global) {
        ("region", true) => as_json::<RegionRecord>(bytes),
        ("host", true) => as_json::<RosterEntry>(bytes),
        ("block" | "prefix", true) => as_json::<Lent>(bytes),
        ("quota", true) => as_json::<Ledger>(bytes),
        ("owner", true) => as_json::<Owner>(bytes),
        ("vm", false) => as_json::<Vm>(bytes),
        ("place", false) => as_json::<Placement>(bytes),
        ("status", false) => as_json::<Status>(bytes),
        ("host", false) => as_json::<Host>(bytes),
        ("block" | "prefix", false) => as_json::<Held>(bytes),
        ("quota", false) => as_json::<Rights>(bytes),
        ("image", false) => as_json::<ImageRecord>(bytes),
        ("name", false) => as_json::<NameUse>(bytes),
        ("addr", false) => as_json::<AddressUse>(bytes),
        ("live", false) if key.last() == "charter" => as_json::<Charter>(bytes),
        ("live", false) => as_json::<Tenure>(bytes),
        ("past", false) => as_json::<Past>(bytes),
        _ => json!({ "damaged": "a key that this version of dwcp does not know" }),
    }
}

/// What a record is called: its key's last part, blocks as people write them.
pub(super) fn name(key: &Key) -> String {
    match key.thing() {
        Some(dwcp_fleet::record::Thing::Block(block)) => block.to_string(),
        _ => key.last().to_string(),
    }
}
