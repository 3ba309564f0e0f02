//! Recorded edits of real documents end in the right text.
//!
//! The data (`tests/data/editing-traces`) has no two insertions at one place at once: it tests integration, not ties.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test reads its data and tells figures"
)]

use dwcp_crdt::rga::{Applied, Op, Text};
use dwcp_crdt::{Dot, ReplicaIndex};
use serde_json::Value;
use std::io::Read;
use std::path::Path;

fn load(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/editing-traces").join(name);
    let packed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).expect("gzip");
    serde_json::from_str(&text).expect("JSON")
}

struct Patch<'a> {
    at: usize,
    gone: usize,
    new: &'a str,
}

fn patches(txn: &Value) -> impl Iterator<Item = Patch<'_>> {
    txn["patches"].as_array().expect("a list").iter().map(|p| Patch {
        at: p[0].as_u64().expect("a position") as usize,
        gone: p[1].as_u64().expect("a count") as usize,
        new: p[2].as_str().expect("text"),
    })
}

/// Edits as a replica; says the operations.
fn edit(text: &mut Text, replica: ReplicaIndex, deletes: &mut u64, patch: &Patch<'_>) -> Vec<Op<String>> {
    let mut ops = Vec::new();
    if patch.gone > 0 {
        *deletes += 1;
        let by = Dot::new(replica, *deletes);
        let spans = text.delete(by, patch.at..patch.at + patch.gone).expect("in range");
        ops.push(Op::Delete { by, spans });
    }
    if !patch.new.is_empty() {
        let first = text.next(replica);
        let hang = text.insert(first, patch.at, patch.new).expect("in range");
        ops.push(Op::Insert { first, hang, content: patch.new.to_owned() });
    }
    ops
}

fn sequential(name: &str) {
    let trace = load(name);
    let end = trace["endContent"].as_str().expect("text");
    let (mut text, mut deletes) = (Text::new(), 0);
    let mut other = Text::new();
    for txn in trace["txns"].as_array().expect("a list") {
        for patch in patches(txn) {
            for op in edit(&mut text, ReplicaIndex(1), &mut deletes, &patch) {
                assert_eq!(other.apply(&op), Ok(Applied::Now));
            }
        }
    }
    assert!(text.content() == end, "{name}: the text is another");
    assert!(other == text, "{name}: who received the operations has another state");
    let bytes = text.encode();
    let mut back = Text::decode(&bytes).expect("own bytes");
    assert!(back.content() == end, "{name}: its bytes are another text");
    assert!(back.encode() == bytes, "{name}: its bytes have another form");
    let line = back.deleted().clone();
    let kept = back.purge(&line).kept;
    assert!(back.content() == end, "{name}: purging changed the text");
    eprintln!(
        "{name}: {} runs, {} bytes; dead {} of {}, runs {} and bytes {} after purging",
        text.runs(),
        bytes.len(),
        kept,
        text.dead(),
        back.runs(),
        back.encode().len()
    );
}

/// Every replica edits what it has seen, and sees what the trace says it had.
fn concurrent(name: &str) {
    let trace = load(name);
    let end = trace["endContent"].as_str().expect("text");
    let txns = trace["txns"].as_array().expect("a list");
    let agents = trace["numAgents"].as_u64().expect("a count") as usize;
    let mut texts = vec![Text::new(); agents];
    let mut deletes = vec![0; agents];
    // For each agent its transactions' operations; for each transaction and agent how many it has seen.
    let mut logs: Vec<Vec<Vec<Op<String>>>> = vec![Vec::new(); agents];
    let mut seen: Vec<Vec<usize>> = Vec::new();
    let mut has = vec![vec![0; agents]; agents];
    let catch_up = |text: &mut Text, has: &mut Vec<usize>, want: &[usize], logs: &[Vec<Vec<Op<String>>>]| {
        for (from, log) in logs.iter().enumerate() {
            for op in log.iter().take(want[from]).skip(has[from]).flatten() {
                text.apply(op).expect("a sound operation");
            }
            has[from] = has[from].max(want[from]);
        }
    };
    for txn in txns {
        let agent = txn["agent"].as_u64().expect("an agent") as usize;
        let mut want = vec![0; agents];
        for parent in txn["parents"].as_array().expect("a list") {
            let parent = &seen[parent.as_u64().expect("an index") as usize];
            want.iter_mut().zip(parent).for_each(|(w, p)| *w = (*w).max(*p));
        }
        catch_up(&mut texts[agent], &mut has[agent], &want, &logs);
        assert_eq!(has[agent], want, "{name}: an agent's transactions are in a row");
        let replica = ReplicaIndex(agent as u16);
        let text = &mut texts[agent];
        let ops = patches(txn).flat_map(|p| edit(text, replica, &mut deletes[agent], &p)).collect();
        logs[agent].push(ops);
        want[agent] += 1;
        has[agent][agent] += 1;
        seen.push(want);
    }
    let all: Vec<usize> = logs.iter().map(Vec::len).collect();
    for (text, has) in texts.iter_mut().zip(&mut has) {
        catch_up(text, has, &all, &logs);
        let is = text.content();
        let same = is.bytes().zip(end.bytes()).take_while(|(a, b)| a == b).count();
        let cut = |s: &str| s.chars().skip(same.saturating_sub(40)).take(120).collect::<String>();
        assert!(is == end, "{name}: the text is another at {same}:\n{:?}\n{:?}", cut(&is), cut(end));
    }
    assert!(texts.windows(2).all(|two| two[0] == two[1]), "{name}: the states differ");
}

macro_rules! traces {
    ($($test:ident: $kind:ident $name:literal;)*) => {
        $(#[test]
        fn $test() {
            $kind($name);
        })*
    };
}

traces! {
    automerge_paper: sequential "sequential_ascii/automerge-paper.json.gz";
    sveltecomponent: sequential "sequential_ascii/sveltecomponent.json.gz";
    rustcode: sequential "sequential_unicode/rustcode.json.gz";
    seph_blog1: sequential "sequential_unicode/seph-blog1.json.gz";
    json_crdt_patch: sequential "sequential_unicode/json-crdt-patch.json.gz";
    json_crdt_blog_post: sequential "sequential_unicode/json-crdt-blog-post.json.gz";
    friendsforever: concurrent "concurrent/friendsforever.json.gz";
    clownschool: concurrent "concurrent/clownschool.json.gz";
}
