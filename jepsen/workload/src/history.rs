//! A log as a history: what a checker from outside (Elle, Knossos, Porcupine, `dwcp check`) reads.
//!
//! | operation | `f` | `v` at the invocation, at the completion |
//! |---|---|---|
//! | get | `read` | null, what was there |
//! | put | `write` | the value |
//! | compare and put | `cas` | `[expected, new]`; refused: `fail` with `"err":"mismatch"` |
//! | delete | `delete` | null, whether anything was there |
//! | lists | `txn` | `[["append", k, e], ["r", k, null or list], …]` |
//! | transfer | `transfer` | `{from, to, amount}` |
//! | audit | `audit` | null, the total |
//! | convergent types | `sadd`, `srem`, `hset`, `hdel`, `rpush`, `lpush`, `lrem`, `set`, `incrby`, `get` | the element, how much, the total |
//! | emptying one | `del` | null, all that was seen where it was done |
//! | several as one | `multi` | `[[f, k, v], …]` |
//! | locks | `acquire`, `fenced`, `release` | the token |
//! | a watcher's change | `saw` | what the key holds now |
//!
//! Whoever breaks things is a process by name, its remarks are `info`, in their place in time.

use crate::record::{Deed, Log, Micro, Outcome, Record, What};
use dwcp_check::history::{Event, History, Kind, Process};
use dwcp_env::Instant;
use serde_json::{Value, json};

/// Something a nemesis did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remark {
    /// Which nemesis.
    pub who: String,
    /// When.
    pub at: Instant,
    /// `begin` or `end`, or another word for what was done.
    pub what: &'static str,
    /// The details.
    pub detail: Value,
}

/// The history of a log, remarks included.
#[must_use]
pub fn history(log: &Log, remarks: &[Remark]) -> History {
    let mut events: Vec<((u64, u64), Event)> = Vec::with_capacity(2 * log.records.len() + remarks.len());
    for record in &log.records {
        events.push(((record.call.as_nanos(), record.call_place), invocation(record)));
        if let Some(event) = completion(record) {
            events.push(((record.ret.as_nanos(), record.ret_place), event));
        }
    }
    for remark in remarks {
        let mut event = event(Process::Nemesis(remark.who.clone()), Kind::Info, remark.what, remark.at);
        event.value = remark.detail.clone();
        // Before what clients did in the same nanosecond.
        events.push(((remark.at.as_nanos(), 0), event));
    }
    events.sort_by_key(|e| e.0);
    let number = |(i, (_, event)): (usize, (_, Event))| Event { index: i as u64, ..event };
    History { events: events.into_iter().enumerate().map(number).collect(), ..History::default() }
}

fn event(process: Process, kind: Kind, function: &str, at: Instant) -> Event {
    let time_ns = Some(at.as_nanos());
    Event {
        index: 0,
        process,
        kind,
        function: function.into(),
        key: None,
        value: Value::Null,
        time_ns,
        error: None,
    }
}

fn invocation(record: &Record) -> Event {
    let (function, key) = named(&record.what);
    let mut event = event(Process::Client(record.process), Kind::Invoke, function, record.call);
    event.key = key.map(Value::from);
    event.value = asked(&record.what);
    event
}

fn completion(record: &Record) -> Option<Event> {
    let refused =
        matches!(record.what, What::Cas { succeeded: false, .. } | What::Fenced { passed: false, .. });
    let kind = match record.outcome {
        Outcome::Open => return None,
        Outcome::Ok if refused => Kind::Fail,
        Outcome::Ok => Kind::Ok,
        Outcome::Fail => Kind::Fail,
        Outcome::Info => Kind::Info,
    };
    let (function, key) = named(&record.what);
    let mut event = event(Process::Client(record.process), kind, function, record.ret);
    event.key = key.map(Value::from);
    event.value = if kind == Kind::Ok { told(&record.what) } else { asked(&record.what) };
    event.error = (refused && record.outcome == Outcome::Ok).then(|| "mismatch".into());
    Some(event)
}

fn named(what: &What) -> (&'static str, Option<u64>) {
    match what {
        What::Get { key, .. } => ("read", Some(*key)),
        What::Put { key, .. } => ("write", Some(*key)),
        What::Cas { key, .. } => ("cas", Some(*key)),
        What::Delete { key, .. } => ("delete", Some(*key)),
        What::Lists(_) => ("txn", None),
        What::Transfer { .. } => ("transfer", None),
        What::Audit { .. } => ("audit", None),
        What::Acquire { key, .. } => ("acquire", Some(*key)),
        What::Fenced { key, .. } => ("fenced", Some(*key)),
        What::Release { key, .. } => ("release", Some(*key)),
        What::Store { write: true } => ("command", None),
        What::Store { write: false } => ("query", None),
        What::Eventual(deed) => (deed.name(), Some(deed.key())),
        What::Together(_) => ("multi", None),
        What::Saw { key, .. } => ("saw", Some(*key)),
    }
}

fn asked(what: &What) -> Value {
    match what {
        What::Get { .. }
        | What::Delete { .. }
        | What::Audit { .. }
        | What::Acquire { .. }
        | What::Saw { .. } => Value::Null,
        What::Lists(micros) => micros.iter().map(|m| micro(m, false)).collect(),
        What::Eventual(deed) => done(deed, false),
        What::Together(deeds) => together(deeds, false),
        other => told(other),
    }
}

fn told(what: &What) -> Value {
    match what {
        What::Get { seen, .. } => json!(seen),
        What::Put { value, .. } => json!(value),
        What::Cas { expected, new, .. } => json!([expected, new]),
        What::Delete { existed, .. } => json!(existed),
        What::Lists(micros) => micros.iter().map(|m| micro(m, true)).collect(),
        What::Transfer { from, to, amount } => json!({ "from": from, "to": to, "amount": amount }),
        What::Audit { total, .. } => json!(total),
        What::Acquire { token, .. } | What::Fenced { token, .. } | What::Release { token, .. } => {
            json!(token)
        }
        What::Saw { value, .. } => json!(value),
        What::Store { .. } => Value::Null,
        What::Eventual(deed) => done(deed, true),
        What::Together(deeds) => together(deeds, true),
    }
}

fn done(deed: &Deed, known: bool) -> Value {
    match deed {
        Deed::Add { element, .. } | Deed::Remove { element, .. } => json!(element),
        Deed::Count { by, .. } => json!(by),
        Deed::Write { value, .. } => json!(value),
        Deed::Field { field, .. } => json!(field),
        Deed::Push { element, many, .. } => (0..*many).map(|i| json!(element + i)).collect(),
        Deed::Empty { of, .. } if !known => json!([of.name(), null]),
        Deed::Empty { of, seen, .. } => json!([of.name(), seen]),
        Deed::Read { total, .. } => json!(total),
    }
}

fn together(deeds: &[Deed], known: bool) -> Value {
    deeds.iter().map(|d| json!([d.name(), d.key(), done(d, known)])).collect()
}

fn micro(m: &Micro, known: bool) -> Value {
    match m {
        Micro::Append { key, element } => json!(["append", key, element]),
        Micro::Read { key, .. } if !known => json!(["r", key, null]),
        Micro::Read { key, seen } => json!(["r", key, seen]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_remarks_are_in_the_order_of_time_and_a_refusal_is_a_fail() {
        let at = Instant::from_nanos;
        let mut log = Log::default();
        let put = log.begin(1, 1, at(10), What::Put { key: 7, value: 1 });
        let cas = log.begin(2, 2, at(20), What::Cas { key: 7, expected: None, new: 2, succeeded: true });
        log.end(put, at(30), Outcome::Ok, 2);
        if let What::Cas { succeeded, .. } = &mut log.records[cas].what {
            *succeeded = false;
        }
        log.end(cas, at(40), Outcome::Ok, 2);
        let lost = log.begin(1, 1, at(50), What::Lists(vec![Micro::Read { key: 1, seen: vec![] }]));
        log.end(lost, at(60), Outcome::Info, 0);
        let remark = Remark { who: "kill".into(), at: at(25), what: "begin", detail: json!("n1") };
        let history = history(&log, &[remark]);
        let mut text = Vec::new();
        dwcp_check::history::edn::write(&history, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        let kinds: Vec<&str> = text.lines().map(|l| l.split(", ").nth(1).unwrap_or("")).collect();
        assert_eq!(
            kinds,
            [
                ":type :invoke",
                ":type :invoke",
                ":type :info",
                ":type :ok",
                ":type :fail",
                ":type :invoke",
                ":type :info"
            ]
        );
        assert!(
            text.contains(":process :kill") && text.contains("mismatch") && text.contains("[:r 1 nil]"),
            "{text}"
        );
        history.pair().unwrap();
    }
}
