//! One history for each anomaly of each checker, and some that must pass: the table that
//! `anomalies` holds the checkers to, and that `mistakes` must see turn red.

use dwcp_check::history::format::Loaded;
use dwcp_check::history::{Event, FailedCas, History, Kind, Process, sessions};
use dwcp_check::judge::{Ask, Model, judge};
use dwcp_check::level::Level;
use dwcp_check::report::{Outcome, Report};
use dwcp_check::rw::Unwritten;

/// A history, how it is judged, and the name of what must be found; nothing for a pass.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) model: &'static str,
    /// `level`, `observed`, `refuse`, `linearizable`, in words.
    pub(crate) ask: &'static str,
    /// `c0 1..4 ok: write@key 5 => result`; or one text by sessions.
    pub(crate) lines: &'static [&'static str],
    pub(crate) finds: &'static str,
}

/// Events of a script: each line is one operation with its interval, or at one instant.
fn script(lines: &[&str]) -> History {
    let mut events: Vec<(u64, Event)> = Vec::new();
    for line in lines {
        let (head, body) = line.split_once(": ").expect("a head and an operation");
        let mut words = head.split_whitespace();
        let client: u64 = words.next().expect("a client")[1..].parse().expect("a number");
        let interval = words.next().expect("an interval");
        let outcome = words.next().unwrap_or("ok");
        let (function, value) = body.split_once(' ').unwrap_or((body, "null"));
        let (function, key) = function.split_once('@').unwrap_or((function, ""));
        let (asked, told) = value.split_once(" => ").unwrap_or((value, value));
        let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        let kind = match outcome {
            "ok" => Kind::Ok,
            "fail" => Kind::Fail,
            _ => Kind::Info,
        };
        let mut push = |at: u64, kind, value: &str| {
            events.push((
                at,
                Event {
                    index: 0,
                    process: Process::Client(client),
                    kind,
                    function: function.to_owned(),
                    key: (!key.is_empty()).then(|| json(key)),
                    value: json(value),
                    time_ns: None,
                    error: None,
                },
            ));
        };
        match interval.split_once("..") {
            Some((call, ret)) => {
                push(call.parse().expect("a number"), Kind::Invoke, asked);
                push(ret.parse().expect("a number"), kind, told);
            }
            None => push(interval.parse().expect("a number"), kind, told),
        }
    }
    events.sort_by_key(|(at, _)| *at);
    let number = |(index, (_, event)): (usize, (u64, Event))| Event { index: index as u64, ..event };
    History { events: events.into_iter().enumerate().map(number).collect(), lines: Vec::new() }
}

impl Case {
    pub(crate) fn judged(&self) -> Result<Report, String> {
        let mut ask = Ask { model: Model::named(self.model), ..Ask::default() };
        for word in self.ask.split_whitespace() {
            match word {
                "observed" => ask.failed_cas = Some(FailedCas::ObservedMismatch),
                "refuse" => ask.unwritten = Some(Unwritten::Refuse),
                "linearizable" => ask.linearizable = true,
                level => ask.level = Some(Level::named(level).unwrap_or_else(|| panic!("{level}"))),
            }
        }
        let loaded = if self.lines[0].starts_with(['r', 'w']) {
            let text = self.lines.join("\n");
            Loaded::Sessions(sessions::read_awdit(text.as_bytes(), Default::default()).expect("well formed"))
        } else {
            Loaded::Events(script(self.lines))
        };
        judge(&loaded, false, &ask).map_err(|e| e.to_string())
    }

    /// Whether the checkers answer this case wrongly.
    pub(crate) fn is_red(&self) -> bool {
        match self.judged() {
            Err(_) => true,
            Ok(report) if self.finds.is_empty() => report.outcome != Outcome::Valid,
            Ok(report) => {
                report.outcome != Outcome::Invalid || !report.findings.iter().any(|f| f.name == self.finds)
            }
        }
    }
}

const fn case(
    name: &'static str,
    model: &'static str,
    ask: &'static str,
    lines: &'static [&'static str],
    finds: &'static str,
) -> Case {
    Case { name, model, ask, lines, finds }
}

const NOT: &str = "not-linearizable";

pub(crate) const TABLE: &[Case] = &[
    // --- registers ---
    case(
        "stale read",
        "register",
        "",
        &["c0 1..2: write 1", "c0 3..4: write 2", "c1 5..6: read null => 1"],
        NOT,
    ),
    case("read from the future", "register", "", &["c0 1..2: read null => 1", "c1 3..4: write 1"], NOT),
    case("null is unset", "register", "", &["c0 1..2: read null", "c0 3..4: write 1"], ""),
    case("null after a write", "register", "", &["c0 1..2: write 1", "c0 3..4: read null"], NOT),
    case("zero is not unset", "register", "", &["c0 1..2: read null => 0"], NOT),
    case(
        "a failed write did not happen",
        "register",
        "",
        &["c0 1..2 fail: write 1", "c1 3..4: read null => 1"],
        NOT,
    ),
    case(
        "an unknown write may happen late",
        "register",
        "",
        &["c0 1..2 info: write 1", "c1 3..4: read null", "c1 5..6: read null => 1"],
        "",
    ),
    case(
        "an unknown write may never happen",
        "register",
        "",
        &["c0 1..2: write 1", "c1 3..4 info: write 2", "c0 5..6: read null => 1"],
        "",
    ),
    case(
        "a refused cas observes",
        "register",
        "observed",
        &["c0 1..2: write 1", "c1 3..4 fail: cas [1,2]"],
        NOT,
    ),
    case(
        "a refused cas may tell nothing",
        "register",
        "",
        &["c0 1..2: write 1", "c1 3..4 fail: cas [1,2]"],
        "",
    ),
    case(
        "two cas from one value",
        "register",
        "",
        &["c0 1..2: write 1", "c0 3..9: cas [1,2]", "c1 3..9: cas [1,3]"],
        NOT,
    ),
    case(
        "keys are apart",
        "register",
        "",
        &["c0 1..2: write@1 1", "c0 3..4: write@2 2", "c1 5..6: read@1 null => 1"],
        "",
    ),
    case(
        "the second key counts",
        "register",
        "",
        &["c0 1..2: write@1 1", "c0 3..4: write@2 2", "c1 5..6: read@2 null"],
        NOT,
    ),
    // --- other objects ---
    case(
        "string out of order",
        "kv",
        "",
        &["c0 1..2: append@1 \"a\"", "c0 3..4: append@1 \"b\"", "c1 5..6: get@1 null => \"ba\""],
        NOT,
    ),
    case("mutex held twice", "mutex", "", &["c0 1..2: acquire", "c1 3..4: acquire"], NOT),
    case("mutex handed on", "mutex", "", &["c0 1..2: acquire", "c0 3..4: release", "c1 5..6: acquire"], ""),
    case(
        "queue out of order",
        "queue",
        "",
        &["c0 1..2: enqueue 1", "c0 3..4: enqueue 2", "c1 5..6: dequeue null => 2"],
        NOT,
    ),
    case(
        "registers torn",
        "multi-register",
        "",
        &[
            "c0 1..2: txn [[\"write\",1,5],[\"write\",2,5]]",
            "c1 3..4: txn [[\"read\",1,5],[\"read\",2,0]]",
            "c1 5..6: txn [[\"read\",2,0]]",
        ],
        NOT,
    ),
    // --- list-append ---
    case(
        "G0",
        "list-append",
        "read-uncommitted",
        &[
            "c0 1..9: txn [[\"append\",1,1],[\"append\",2,1]]",
            "c1 1..9: txn [[\"append\",1,2],[\"append\",2,2]]",
            "c2 10..11: txn [[\"r\",1,[1,2]],[\"r\",2,[2,1]]]",
        ],
        "G0",
    ),
    case(
        "G1a",
        "list-append",
        "read-committed",
        &["c0 1..2 fail: txn [[\"append\",1,1]]", "c1 3..4: txn [[\"r\",1,[1]]]"],
        "G1a",
    ),
    case(
        "G1b",
        "list-append",
        "read-committed",
        &["c0 1..9: txn [[\"append\",1,1],[\"append\",1,2]]", "c1 1..9: txn [[\"r\",1,[1]]]"],
        "G1b",
    ),
    case(
        "G1c",
        "list-append",
        "read-committed",
        &["c0 1..9: txn [[\"append\",1,1],[\"r\",2,[1]]]", "c1 1..9: txn [[\"append\",2,1],[\"r\",1,[1]]]"],
        "G1c",
    ),
    case("internal", "list-append", "", &["c0 1..9: txn [[\"append\",1,1],[\"r\",1,[]]]"], "internal"),
    case(
        "lost update",
        "list-append",
        "snapshot-isolation",
        &[
            "c0 1..9: txn [[\"r\",1,[]],[\"append\",1,1]]",
            "c1 1..9: txn [[\"r\",1,[]],[\"append\",1,2]]",
            "c2 10..11: txn [[\"r\",1,[1,2]]]",
        ],
        "lost-update",
    ),
    case(
        "read skew",
        "list-append",
        "snapshot-isolation",
        &[
            "c0 1..9: txn [[\"append\",1,1],[\"append\",2,1]]",
            "c1 1..9: txn [[\"r\",1,[]],[\"r\",2,[1]]]",
            "c2 10..11: txn [[\"r\",1,[1]]]",
        ],
        "G-single",
    ),
    case(
        "write skew",
        "list-append",
        "serializable",
        &[
            "c0 1..9: txn [[\"r\",1,[]],[\"append\",2,1]]",
            "c1 1..9: txn [[\"r\",2,[]],[\"append\",1,1]]",
            "c2 10..11: txn [[\"r\",1,[1]],[\"r\",2,[1]]]",
        ],
        "G2-item",
    ),
    case(
        "write skew is a snapshot's",
        "list-append",
        "snapshot-isolation",
        &[
            "c0 1..9: txn [[\"r\",1,[]],[\"append\",2,1]]",
            "c1 1..9: txn [[\"r\",2,[]],[\"append\",1,1]]",
            "c2 10..11: txn [[\"r\",1,[1]],[\"r\",2,[1]]]",
        ],
        "",
    ),
    case(
        "list stale in real time",
        "list-append",
        "",
        &["c0 1..2: txn [[\"append\",1,1]]", "c1 3..4: txn [[\"r\",1,[]]]", "c2 5..6: txn [[\"r\",1,[1]]]"],
        "G-single-realtime",
    ),
    case(
        "list stale in its session",
        "list-append",
        "strong-session-serializable",
        &["c0 1..2: txn [[\"append\",1,1]]", "c0 3..4: txn [[\"r\",1,[]]]", "c1 1..9: txn [[\"r\",1,[1]]]"],
        "G-single-process",
    ),
    case(
        "lost append",
        "list-append",
        "",
        &[
            "c0 1..2: txn [[\"append\",1,1]]",
            "c1 3..4: txn [[\"append\",1,2]]",
            "c2 5..6: txn [[\"r\",1,[1]]]",
        ],
        "G-single-realtime",
    ),
    case(
        "doubled element",
        "list-append",
        "",
        &["c0 1..2: txn [[\"append\",1,1]]", "c1 3..4: txn [[\"r\",1,[1,1]]]"],
        "duplicate-element",
    ),
    case(
        "orders disagree",
        "list-append",
        "read-uncommitted",
        &[
            "c0 1..9: txn [[\"append\",1,1]]",
            "c1 1..9: txn [[\"append\",1,2]]",
            "c2 1..9: txn [[\"r\",1,[1]]]",
            "c3 1..9: txn [[\"r\",1,[2,1]]]",
        ],
        "incompatible-order",
    ),
    case("element of nobody", "list-append", "", &["c1 3..4: txn [[\"r\",1,[7]]]"], "unwritten-element"),
    case(
        "unknown append seen",
        "list-append",
        "",
        &[
            "c0 1..2 info: txn [[\"append\",1,1],[\"append\",2,1]]",
            "c1 3..4: txn [[\"r\",1,[1]]]",
            "c1 5..6: txn [[\"r\",2,[]]]",
            "c1 7..8: txn [[\"r\",2,[1]]]",
        ],
        "G-single-realtime",
    ),
    // --- rw-register ---
    case(
        "register thin air",
        "rw-register",
        "refuse read-committed",
        &["c0 1..9: txn [[\"r\",1,7]]"],
        "thin-air-read",
    ),
    case("register outside writer", "rw-register", "", &["c0 1..9: txn [[\"r\",1,7]]"], ""),
    case(
        "register own write",
        "rw-register",
        "read-committed",
        &["c0 1..9: txn [[\"w\",1,1],[\"r\",1,2]]", "c1 1..9: txn [[\"w\",1,2]]"],
        "internal",
    ),
    case(
        "register G1a",
        "rw-register",
        "read-committed",
        &["c0 1..2 fail: txn [[\"w\",1,1]]", "c1 3..4: txn [[\"r\",1,1]]"],
        "G1a",
    ),
    case(
        "register G1b",
        "rw-register",
        "read-committed",
        &["c0 1..9: txn [[\"w\",1,1],[\"w\",1,2]]", "c1 1..9: txn [[\"r\",1,1]]"],
        "G1b",
    ),
    case(
        "register G1c",
        "rw-register",
        "read-committed",
        &["c0 1..9: txn [[\"w\",1,1],[\"r\",2,1]]", "c1 1..9: txn [[\"w\",2,1],[\"r\",1,1]]"],
        "G1c",
    ),
    case(
        "register lost update",
        "rw-register",
        "snapshot-isolation",
        &["c0 1..9: txn [[\"r\",1,null],[\"w\",1,1]]", "c1 1..9: txn [[\"r\",1,null],[\"w\",1,2]]"],
        "lost-update",
    ),
    case(
        "register write skew",
        "rw-register",
        "serializable",
        &["c0 1..9: txn [[\"r\",1,null],[\"w\",2,1]]", "c1 1..9: txn [[\"r\",2,null],[\"w\",1,1]]"],
        "G2-item",
    ),
    case(
        "register write skew is a snapshot's",
        "rw-register",
        "snapshot-isolation",
        &["c0 1..9: txn [[\"r\",1,null],[\"w\",2,1]]", "c1 1..9: txn [[\"r\",2,null],[\"w\",1,1]]"],
        "",
    ),
    case(
        "register stale",
        "rw-register",
        "",
        &["c0 1..2: txn [[\"w\",1,1]]", "c1 3..4: txn [[\"r\",1,null]]"],
        "G-single-realtime",
    ),
    case(
        "register unknown write",
        "rw-register",
        "",
        &[
            "c0 1..2 info: txn [[\"w\",1,1],[\"w\",2,1]]",
            "c1 3..4: txn [[\"r\",1,1]]",
            "c1 5..6: txn [[\"r\",2,null]]",
        ],
        "G-single-realtime",
    ),
    case(
        "every order of versions fails",
        "rw-register",
        "serializable",
        &[
            "c0 1..9: txn [[\"w\",1,1],[\"w\",3,1]]",
            "c1 1..9: txn [[\"w\",1,2],[\"w\",4,1]]",
            "c2 1..9: txn [[\"w\",2,1],[\"w\",5,1]]",
            "c3 1..9: txn [[\"w\",2,2],[\"w\",6,1]]",
            "c4 1..9: txn [[\"r\",1,1],[\"r\",5,1],[\"r\",6,1]]",
            "c5 1..9: txn [[\"r\",1,2],[\"r\",5,1],[\"r\",6,1]]",
            "c6 1..9: txn [[\"r\",2,1],[\"r\",3,1],[\"r\",4,1]]",
            "c7 1..9: txn [[\"r\",2,2],[\"r\",3,1],[\"r\",4,1]]",
        ],
        "no-version-order",
    ),
    case(
        "session text: demands of read committed",
        "rw-register",
        "read-committed",
        &["w 1 1\nw 2 1\n=====\nw 1 2\nw 2 2\n=====\nr 1 1\nr 2 2\nr 1 1\n=====\nr 1 2\nr 2 1\nr 1 2"],
        "read-committed-cycle",
    ),
    case(
        "session text: seen in part",
        "rw-register",
        "read-atomic",
        &["w 1 1\nw 2 1\n=====\nr 1 1\nr 2 0"],
        "fractured-read",
    ),
    case("session text: own past", "rw-register", "read-atomic", &["w 1 1\n-----\nr 1 0"], "fractured-read"),
    case(
        "session text: causality",
        "rw-register",
        "causal",
        &["w 1 1\n=====\nr 1 1\nw 2 1\n=====\nr 2 1\n-----\nr 1 0"],
        "causality-violation",
    ),
    case(
        "session text: long fork is causal",
        "rw-register",
        "causal",
        &["w 1 1\n=====\nw 2 1\n=====\nr 1 1\nr 2 0\n=====\nr 1 0\nr 2 1"],
        "",
    ),
    case(
        "session text: long fork is no snapshot",
        "rw-register",
        "snapshot-isolation",
        &["w 1 1\n=====\nw 2 1\n=====\nr 1 1\nr 2 0\n=====\nr 1 0\nr 2 1"],
        "G-nonadjacent",
    ),
    case("session text: thin air", "rw-register", "read-committed", &["r 1 5"], "thin-air-read"),
    case(
        "session text: backwards",
        "rw-register",
        "serializable",
        &["w 1 1\n-----\nr 1 0"],
        "G-single-process",
    ),
    // --- session guarantees ---
    case(
        "read your writes",
        "session-guarantees",
        "",
        &["c0 1..2: write@1 1", "c0 3..4: read@1 null"],
        "read-your-writes",
    ),
    case(
        "monotonic reads",
        "session-guarantees",
        "",
        &["c0 1..2: write@1 1", "c1 3..4: read@1 null => 1", "c1 5..6: read@1 null"],
        "monotonic-reads",
    ),
    case(
        "monotonic writes",
        "session-guarantees",
        "",
        &[
            "c0 1..2: write@1 1",
            "c0 3..4: write@1 2",
            "c1 5..6: read@1 null => 2",
            "c1 7..8: read@1 null => 1",
        ],
        "monotonic-reads+monotonic-writes",
    ),
    case(
        "writes follow reads",
        "session-guarantees",
        "",
        &[
            "c0 1..2: write@1 1",
            "c1 3..4: read@1 null => 1",
            "c1 5..6: write@1 2",
            "c2 7..8: read@1 null => 2",
            "c2 9..10: read@1 null => 1",
        ],
        "monotonic-reads+writes-follow-reads",
    ),
    case(
        "sessions may lag",
        "session-guarantees",
        "",
        &["c0 1..2: write@1 1", "c1 3..4: read@1 null", "c1 5..6: read@1 null => 1"],
        "",
    ),
    // --- sets, counters, banks, forks ---
    case("lost element", "set", "", &["c0 1..2: add 1", "c1 3..4: read null => []"], "lost"),
    case(
        "stale element",
        "set",
        "linearizable",
        &["c0 1..2: add 1", "c1 3..4: read null => []", "c1 5..6: read null => [1]"],
        "stale",
    ),
    case(
        "stale is allowed unasked",
        "set",
        "",
        &["c0 1..2: add 1", "c1 3..4: read null => []", "c1 5..6: read null => [1]"],
        "",
    ),
    case("doubled in a set", "set", "", &["c0 1..2: add 1", "c1 3..4: read null => [1,1]"], "duplicated"),
    case("element of nobody in a set", "set", "", &["c1 3..4: read null => [1]"], "unexpected"),
    case("unknown addition seen", "set", "", &["c0 1..2 info: add 1", "c1 3..4: read null => [1]"], ""),
    case(
        "refused addition seen",
        "set",
        "",
        &["c0 1..2 fail: add 1", "c1 3..4: read null => [1]"],
        "unexpected",
    ),
    case("counter too low", "counter", "", &["c0 1..2: add 5", "c1 3..4: read null => 4"], "out-of-bounds"),
    case("counter too high", "counter", "", &["c0 1..2: add 5", "c1 3..4: read null => 6"], "out-of-bounds"),
    case(
        "counter of unknown",
        "counter",
        "",
        &["c0 1..2 info: add 5", "c1 3..4: read null => 5", "c1 5..6: read null => 0"],
        "",
    ),
    case(
        "money vanishes",
        "bank",
        "",
        &["c0 1..2: read null => {\"0\":5,\"1\":5}", "c0 3..4: read null => {\"0\":4,\"1\":5}"],
        "wrong-total",
    ),
    case(
        "overdrawn",
        "bank",
        "",
        &["c0 1..2: read null => {\"0\":5,\"1\":5}", "c0 3..4: read null => {\"0\":-1,\"1\":11}"],
        "overdrawn",
    ),
    case(
        "account gone",
        "bank",
        "",
        &["c0 1..2: read null => {\"0\":5,\"1\":0}", "c0 3..4: read null => {\"0\":5}"],
        "missing-account",
    ),
    case(
        "long fork",
        "long-fork",
        "",
        &["c0 1..2: read [[\"r\",0,1],[\"r\",1,null]]", "c1 1..2: read [[\"r\",0,null],[\"r\",1,1]]"],
        "long-fork",
    ),
    case(
        "no fork",
        "long-fork",
        "",
        &["c0 1..2: read [[\"r\",0,1],[\"r\",1,null]]", "c1 1..2: read [[\"r\",0,1],[\"r\",1,1]]"],
        "",
    ),
    // --- durability ---
    case(
        "acknowledged and gone",
        "durability",
        "",
        &["c0 1..2: put@1 5", "c0 3..4: survivor@1 null"],
        "lost",
    ),
    case(
        "deleted and back",
        "durability",
        "",
        &["c0 1..2: put@1 5", "c0 3..4: delete@1", "c0 5..6: survivor@1 null => 5"],
        "resurrected",
    ),
    case("survivor of nobody", "durability", "", &["c0 5..6: survivor@1 null => 5"], "invented"),
    case(
        "unknown may survive",
        "durability",
        "",
        &["c0 1..2: put@1 5", "c1 3..4 info: put@1 6", "c0 5..6: survivor@1 null => 6"],
        "",
    ),
    // --- watch ---
    case(
        "event gap",
        "watch",
        "",
        &[
            "c0 1..2: put@1 5 => {\"revision\":1}",
            "c0 3..4: put@1 6 => {\"revision\":2}",
            "c0 5..6: put@1 7 => {\"revision\":3}",
            "c1 1: watch {\"from\":1}",
            "c1 7: event@1 {\"revision\":1,\"value\":5}",
            "c1 8: event@1 {\"revision\":3,\"value\":7}",
        ],
        "gap",
    ),
    case(
        "event twice",
        "watch",
        "",
        &[
            "c0 1..2: put@1 5 => {\"revision\":1}",
            "c1 7: event@1 {\"revision\":1,\"value\":5}",
            "c1 8: event@1 {\"revision\":1,\"value\":5}",
        ],
        "repeated",
    ),
    case(
        "events out of order",
        "watch",
        "",
        &[
            "c0 1..2: put@1 5 => {\"revision\":1}",
            "c0 3..4: put@1 6 => {\"revision\":2}",
            "c1 7: event@1 {\"revision\":2,\"value\":6}",
            "c1 8: event@1 {\"revision\":1,\"value\":5}",
        ],
        "order",
    ),
    case(
        "event of nobody",
        "watch",
        "",
        &["c0 1..2: put@1 5 => {\"revision\":1}", "c1 7: event@1 {\"revision\":1,\"value\":6}"],
        "invented",
    ),
    case(
        "resumption skips",
        "watch",
        "",
        &[
            "c0 1..2: put@1 5 => {\"revision\":1}",
            "c0 3..4: put@1 6 => {\"revision\":2}",
            "c1 1: watch {\"from\":1}",
            "c1 7: event@1 {\"revision\":1,\"value\":5}",
            "c1 8: watch {\"from\":3}",
        ],
        "resume-gap",
    ),
    // --- fencing ---
    case(
        "token twice",
        "fencing",
        "",
        &["c0 1..2: acquire@1 null => 4", "c1 3..4: acquire@1 null => 4"],
        "token-repeated",
    ),
    case(
        "token falls",
        "fencing",
        "",
        &["c0 1..2: acquire@1 null => 4", "c1 3..4: acquire@1 null => 3"],
        "token-fell",
    ),
    case(
        "old token passes",
        "fencing",
        "",
        &[
            "c0 1..2: acquire@1 null => 4",
            "c1 3..4: acquire@1 null => 5",
            "c1 5..6: use@1 5",
            "c0 7..8: use@1 4",
        ],
        "old-token",
    ),
    case(
        "old token refused",
        "fencing",
        "",
        &[
            "c0 1..2: acquire@1 null => 4",
            "c1 3..4: acquire@1 null => 5",
            "c1 5..6: use@1 5",
            "c0 7..8 fail: use@1 4",
        ],
        "",
    ),
    case(
        "two leaders",
        "fencing",
        "",
        &["c0 1..2: lead@3 null => 1", "c1 3..4: lead@3 null => 2"],
        "two-leaders",
    ),
    // --- replicated types ---
    case(
        "replicas differ",
        "pn-counter",
        "",
        &["c0 1: perform {\"number\":1,\"add\":2}", "c1 2: receive 1", "c0 3: show 2", "c1 4: show 1"],
        "diverged",
    ),
    case(
        "both replicas are wrong",
        "g-set",
        "",
        &["c0 1: perform {\"number\":1,\"insert\":2}", "c0 3: show []"],
        "wrong-state",
    ),
    case(
        "the newer write wins",
        "lww-register",
        "",
        &[
            "c0 1: perform {\"number\":1,\"write\":5,\"timestamp\":9}",
            "c0 2: perform {\"number\":2,\"write\":6,\"timestamp\":8}",
            "c0 3: show [5]",
        ],
        "",
    ),
    case(
        "the addition wins",
        "or-set",
        "",
        &[
            "c0 1: perform {\"number\":1,\"insert\":5}",
            "c0 2: perform {\"number\":2,\"insert\":5}",
            "c0 3: perform {\"number\":3,\"remove\":5,\"observed\":[1]}",
            "c0 4: show [5]",
        ],
        "",
    ),
    case(
        "sequences turn",
        "sequence",
        "",
        &[
            "c0 1: perform {\"number\":1,\"insert\":5,\"after\":null}",
            "c1 2: perform {\"number\":2,\"insert\":6,\"after\":null}",
            "c1 3: receive 1",
            "c1 4: show [5,6]",
            "c0 5: receive 2",
            "c0 6: perform {\"number\":3,\"insert\":7,\"after\":null}",
            "c0 7: show [7,6,5]",
        ],
        "no-one-order",
    ),
];
