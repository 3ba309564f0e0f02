//! What the pages show is what the code reads.

use dwcp_conflict::{Policy, Schema, Value};

const PAGE: &str = include_str!("../../../../docs/conflicts.md");

fn block(language: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("```").expect("its end").0
}

#[test]
fn the_schema_and_the_policy_of_the_page_load() {
    let file: Value = serde_json::from_str(block("json")).unwrap();
    assert_eq!(Schema::read(&file).unwrap().version(), 3);
    let file: Value = toml::from_str(block("toml")).unwrap();
    let policy = Policy::read(&file).unwrap();
    assert_eq!((policy.version(), policy.activates(), policy.rules().len()), (7, 1200, 6));
}
