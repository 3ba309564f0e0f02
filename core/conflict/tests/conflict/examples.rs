//! What the pages show is what the code reads.

use dwcp_conflict::{Pointer, Policy, Schema, Value};

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

/// What "Try it" sets can be set.
#[test]
fn the_fields_that_the_page_sets_are_those_of_its_schema() {
    let file: Value = serde_json::from_str(block("json")).unwrap();
    let schema = Schema::read(&file).unwrap();
    let lines = block("sh").lines().filter_map(|l| l.split_once("dwcp document set vm web-1 "));
    let mut set = 0;
    for (_, fields) in lines {
        let places = fields.split(" /").map(|f| f.trim_start_matches('/')).filter_map(|f| f.split_once('='));
        for (at, value) in places {
            let text = value.split(" --").next().unwrap().trim().trim_matches('\'');
            let value = serde_json::from_str(text).unwrap_or_else(|_| Value::from(text));
            let at = Pointer::parse(&format!("/{at}")).unwrap();
            schema.admit_at(&at, &value).unwrap_or_else(|e| panic!("{at}: {e}"));
            set += 1;
        }
    }
    assert_eq!(set, 4);
    assert_eq!(schema.lifecycle().map(Pointer::as_str), Some("/lifecycle"));
}
