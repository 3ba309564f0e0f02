//! Formats: what is written is read back; what is broken is refused with its line; nothing
//! panics.

use dwcp_check::history::format::{self, Format, Loaded};
use dwcp_check::history::{Event, History, HistoryError, Kind, Limits, Process, edn, jsonl, log, sessions};
use dwcp_check::judge::{Ask, judge};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;

fn sample(file: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(file)).expect("it is there")
}

fn events(text: &[u8]) -> Vec<Event> {
    match format::read(text, Limits::default()).expect("it can be read").1 {
        Loaded::Events(history) => history.events,
        Loaded::Sessions(_) => panic!("events were expected"),
    }
}

/// The unconverted files of others hold what their conversions hold.
#[test]
fn originals_equal_their_conversions() {
    let original = events(&sample("formats/etcd_002.log"));
    let converted = events(&sample("porcupine-etcd/etcd_002.jsonl"));
    let clients = |list: &[Event]| {
        let client = |e: &&Event| matches!(e.process, Process::Client(_));
        let parts = |e: &Event| (e.process.clone(), e.kind, e.function.clone());
        list.iter().filter(client).map(parts).collect::<Vec<_>>()
    };
    assert_eq!(clients(&original), clients(&converted));
    let original = events(&sample("formats/knossos-rethink-fail-minimal.edn"));
    let converted = events(&sample("knossos/cas-register-bad-rethink-fail-minimal.jsonl"));
    let value = |list: &[Event]| list.iter().map(|e| (e.kind, e.value.clone())).collect::<Vec<_>>();
    assert_eq!(value(&original), value(&converted));
    assert_eq!(events(&sample("formats/c01-ok.txt"))[0].key, Some(json!("0")));
}

#[test]
fn edn_in_all_its_shapes() {
    let text = r##"; a comment
        [#jepsen.history.Op{:type :invoke, :f :write, :value #{1 2}, :process 0, :time -5}
         #_ {:not "an event"} {:type :ok :f :write :process 0 :value (1/2 12345678901234567890123 1.5M \a \newline)}
         ^{:meta 1} {:type :info, :f :start, :process :nemesis, :value {:a {"b" [nil true -7 ##Inf]} 3 "\u0041\n"}}]"##;
    let read = events(text.as_bytes());
    assert_eq!(read[0].value, json!([1, 2]));
    assert_eq!(read[1].value, json!(["1/2", "12345678901234567890123", "1.5", "a", "\n"]));
    assert_eq!(read[2].process, Process::Nemesis("nemesis".to_owned()));
    assert_eq!(read[2].value, json!({"a": {"b": [null, true, -7, "Inf"]}, "3": "A\n"}));
}

fn refusal(text: &[u8]) -> String {
    format::read(text, Limits::default()).expect_err("it is broken").to_string()
}

/// Golden: a person finds the place.
#[test]
fn errors_name_the_place() {
    let cases: &[(&str, &str)] = &[
        (
            "{\"i\":0,\"p\":0,\"t\":\"invoke\",\"f\":\"read\"}\n{\"i\":1,\"p\":0,\"t\"",
            "line 2, column 16: not an event: EOF while parsing an object",
        ),
        (
            "{\"p\":0,\"t\":\"begin\",\"f\":\"read\"}",
            "line 1: an event is invoke, ok, fail or info, not \"begin\"",
        ),
        ("{\"p\":-1,\"t\":\"ok\",\"f\":\"read\"}", "line 1: -1 is no process number"),
        (
            "{:type :invoke :f :read\n :process 0 :value [1 2}",
            "line 2, column 24: a closing bracket without an opening one",
        ),
        ("[{:type :invoke :process 0}\n", "line 2, column 1: the history lacks its closing ]"),
        ("{:f :read}", "line 1, column 1: an event lacks its :type"),
        (
            "w(1,2,3,4)\nw(1,2,3)\n",
            "line 2: a step is r(key,value,session,txn) or w(key,value,session,txn), not \"w(1,2,3)\"",
        ),
        (
            "w(1,2,0,1)\nw(1,3,0,2)\nr(1,2,0,1)",
            "line 3: transaction 1 of session 0 goes on after another of its session began",
        ),
        ("w 1 2\nx 1 2\n", "line 2: a step is r KEY VALUE or w KEY VALUE, not \"x 1 2\""),
        (
            "hello",
            "line 1: \"hello\" begins no known format; the formats are jsonl, json, edn, log, rw, awdit",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text.as_bytes()), *expected, "{text}");
    }
    assert!(refusal(b"{\"i\":0}\n\xff\xfe").starts_with("line 1, column 7: not an event: missing field `t`"));
}

#[test]
fn bounds_hold() {
    let deep = format!("{{:type :ok :value {}1{}}}", "[".repeat(100), "]".repeat(100));
    assert!(refusal(deep.as_bytes()).contains("nested more than 64 deep"));
    let deep = format!("{{\"t\":\"ok\",\"v\":{}1{}}}", "[".repeat(500), "]".repeat(500));
    assert!(refusal(deep.as_bytes()).contains("recursion limit"));
    let small = Limits { line: 100, bytes: 1_000, events: 3, ..Limits::default() };
    let long = format!("{{\"t\":\"ok\",\"v\":\"{}\"}}", "x".repeat(200));
    let told = |text: &str| format::read(text.as_bytes(), small).expect_err("too much").to_string();
    assert_eq!(told(&long), "line 1: the line is longer than 100 bytes");
    assert_eq!(told(&"{\"t\":\"ok\"}\n".repeat(4)), "line 4: more than 3 events");
    assert_eq!(told(&"\n{\"t\":\"info\",\"p\":\"a\"}".repeat(100)), "line 5: more than 3 events");
    assert_eq!(told(&format!("({}", " ".repeat(2_000))), "line 0: the input is longer than 1000 bytes");
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        "\\PC{0,6}".prop_map(Value::from),
        "[\\x00-\\x7f]{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z0-9 ]{0,4}", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn event() -> impl Strategy<Value = Event> {
    let process =
        prop_oneof![any::<u64>().prop_map(Process::Client), "[a-z]{1,6}".prop_map(Process::Nemesis)];
    let kind = prop::sample::select(vec![Kind::Invoke, Kind::Ok, Kind::Fail, Kind::Info]);
    let not_null = || prop::option::of(value().prop_filter("null is absence", |v| !v.is_null()));
    (
        any::<u64>(),
        process,
        kind,
        "[a-z]{1,5}",
        not_null(),
        value(),
        prop::option::of(any::<u64>()),
        not_null(),
    )
        .prop_map(|(index, process, kind, function, key, value, time_ns, error)| Event {
            index,
            process,
            kind,
            function,
            key,
            value,
            time_ns,
            error,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read(list in prop::collection::vec(event(), 0..5)) {
        let history = History { events: list, lines: Vec::new() };
        let mut text = Vec::new();
        jsonl::write(&history, &mut text).expect("a Vec grows");
        prop_assert_eq!(&jsonl::read(&text[..]).expect("ours").events, &history.events);
        text.clear();
        edn::write_as(&history, edn::Keys::Field, &mut text).expect("a Vec grows");
        let read = edn::read(&text[..], Limits::default());
        prop_assert_eq!(&read.expect("ours").events, &history.events, "{}", String::from_utf8_lossy(&text));
        text.clear();
        log::write(&history, &mut text).expect("a Vec grows");
        let plain = |event: &Event| (event.process.clone(), event.kind, event.function.clone(), event.value.clone());
        let tabs = String::from_utf8_lossy(&text).matches('\t').count() > history.events.len() * 4;
        if !tabs && !String::from_utf8_lossy(&text).contains("\\t") {
            let read = log::read(&text[..], Limits::default()).expect("ours");
            prop_assert!(read.events.iter().map(plain).eq(history.events.iter().map(plain)));
        }
    }

    #[test]
    fn sessions_are_written_and_read(
        raw in prop::collection::vec((0..3_u64, prop::collection::vec((any::<bool>(), 0..4_u64, 1..9_u64), 1..4)), 0..6),
    ) {
        let mut text = String::new();
        for (number, (session, steps)) in raw.iter().enumerate() {
            for (write, key, value) in steps {
                let head = if *write { 'w' } else { 'r' };
                text.push_str(&format!("{head}({key},{value},{session},{number})\n"));
            }
        }
        let read = sessions::read_rw(text.as_bytes(), Limits::default()).expect("well formed");
        let mut again = Vec::new();
        sessions::write_rw(&read, &mut again).expect("a Vec grows");
        prop_assert_eq!(&sessions::read_rw(&again[..], Limits::default()).expect("ours"), &read);
        again.clear();
        sessions::write_awdit(&read, &mut again).expect("a Vec grows");
        let by_session = sessions::read_awdit(&again[..], Limits::default()).expect("ours");
        let mut sorted: Vec<_> = read.iter().map(|t| (t.process, t.call, t.steps.clone())).collect();
        sorted.sort_by_key(|t| (t.0, t.1));
        prop_assert!(by_session.iter().map(|t| &t.steps).eq(sorted.iter().map(|t| &t.2)));
    }

    /// Whatever the bytes, an answer comes.
    #[test]
    fn no_text_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), head in 0..7_usize) {
        let heads: [&[u8]; 7] = [b"", b"{\"", b"{:", b"[{", b"INFO jepsen.util - 1\t", b"r(", b"w 1 "];
        let text = [heads[head], &bytes[..]].concat();
        answer(&text);
    }
}

fn answer(text: &[u8]) {
    if let Ok((format, loaded)) = format::read(text, Limits::default()) {
        let told: Result<_, HistoryError> = judge(&loaded, format == Format::Log, &Ask::default());
        if let Err(error) = told {
            assert!(!error.to_string().is_empty());
        }
    }
}

/// Recorded files with bytes changed, cut, doubled and lines moved.
#[test]
fn no_mutation_panics() {
    let mut seed = 11_u64;
    let mut draw = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below.max(1)
    };
    let files = [
        "elle/elle-cli-long-fork.edn",
        "elle/elle-cli-paper-example.edn",
        "elle/elle-cli-set.edn",
        "elle/elle-cli-bank-neg.edn",
        "knossos/cas-register-bad-bad-analysis.jsonl",
        "porcupine-kv/c01-bad.jsonl",
        "formats/etcd_002.log",
        "txn-rw/polysi-galera-si-violation.txt",
        "txn-weak/awdit-read-committed-test-rc.txt",
    ];
    for file in files {
        let whole = sample(file);
        for _ in 0..120 {
            let mut text = whole.clone();
            for _ in 0..=draw(4) {
                let at = draw(text.len());
                match draw(6) {
                    0 => text.truncate(at),
                    1 if at < text.len() => text[at] = draw(256) as u8,
                    2 if at < text.len() => text[at] = b"0123456789[]{}()\":;,\\#\n "[draw(24)],
                    3 => {
                        let end = (at + draw(60)).min(text.len());
                        let piece = text[at..end].to_vec();
                        text.splice(at..at, piece);
                    }
                    4 => {
                        let end = (at + draw(60)).min(text.len());
                        text.drain(at..end);
                    }
                    _ => {
                        let mut lines: Vec<Vec<u8>> =
                            text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
                        let (a, b) = (draw(lines.len()), draw(lines.len()));
                        lines.swap(a, b);
                        text = lines.join(&b'\n');
                    }
                }
            }
            answer(&text);
        }
    }
}
