//! Watches are told everything once, in order, whole revisions.

use super::replica::{Replica, put};
use crate::api::{EventKind, KeyRange, Op, TxnOp, TxnRequest, WatchEvent};
use crate::{WatchId, WatchRequest, WatchUpdate, Watchers};
use bytes::Bytes;
use dwcp_consensus::StateMachine;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What was told, as `+key@revision` and `-key@revision`.
#[derive(Default)]
struct Told(BTreeMap<WatchId, Vec<String>>);

impl Told {
    fn drain(&mut self, watchers: &mut Watchers, replica: &Replica, budget: usize) -> bool {
        watchers.drain(&replica.store, budget, &mut |id, update| {
            let told = self.0.entry(id).or_default();
            match update {
                WatchUpdate::Events { events, .. } => told.extend(events.iter().map(text)),
                WatchUpdate::Compacted { compact_revision } => {
                    told.push(format!("compacted {compact_revision}"))
                }
            }
        })
    }
    fn take(&mut self, id: u64) -> String {
        self.0.remove(&WatchId(id)).unwrap_or_default().join(" ")
    }
}

fn text(event: &WatchEvent) -> String {
    let sign = if event.kind == EventKind::Put { '+' } else { '-' };
    let prev =
        event.prev_kv.as_ref().map_or(String::new(), |p| format!("({}@{})", utf8(&p.value), p.mod_revision));
    format!("{sign}{}@{}{prev}", utf8(&event.kv.key), event.kv.mod_revision)
}
fn utf8(bytes: &Bytes) -> &str {
    str::from_utf8(bytes).unwrap()
}
fn watch(key: &str, range_end: &str, start_revision: i64) -> WatchRequest {
    let (key, range_end) = (key.to_owned().into(), range_end.to_owned().into());
    WatchRequest { key, range_end, start_revision, ..WatchRequest::default() }
}

#[test]
fn from_now_from_the_past_and_from_the_future() {
    let mut replica = Replica::new();
    let (mut watchers, mut told) = (Watchers::new(), Told::default());
    replica.put("a", "1"); // 2
    replica.put("b", "1"); // 3
    watchers.add(WatchId(1), watch("a", "\0", 0), &replica.store);
    watchers.add(WatchId(2), watch("a", "", 2), &replica.store);
    watchers.add(WatchId(3), watch("a", "c", 5), &replica.store);
    assert!(!told.drain(&mut watchers, &replica, 99));
    assert_eq!(told.take(2), "+a@2");
    replica.put("a", "2"); // 4
    replica.delete("a", "z").unwrap(); // 5
    assert!(!told.drain(&mut watchers, &replica, 99));
    assert_eq!(told.take(1), "+a@4 -a@5 -b@5");
    assert_eq!(told.take(2), "+a@4 -a@5");
    assert_eq!(told.take(3), "-a@5 -b@5");
    assert_eq!(watchers.progress(WatchId(3)), Some(5));
    assert!(watchers.remove(WatchId(1)) && !watchers.remove(WatchId(1)));
}

#[test]
fn filters_and_what_was_before() {
    let mut replica = Replica::new();
    let (mut watchers, mut told) = (Watchers::new(), Told::default());
    let all = watch("\0", "\0", 1);
    watchers.add(WatchId(1), WatchRequest { no_put: true, prev_kv: true, ..all.clone() }, &replica.store);
    watchers.add(WatchId(2), WatchRequest { no_delete: true, prev_kv: true, ..all }, &replica.store);
    replica.put("a", "1");
    replica.put("a", "2");
    replica.delete("a", "").unwrap();
    told.drain(&mut watchers, &replica, 99);
    assert_eq!(told.take(1), "-a@4(2@3)");
    assert_eq!(told.take(2), "+a@2 +a@3(1@2)");
}

#[test]
fn the_compacted_past_ends_a_watch_and_its_edge_does_not() {
    let mut replica = Replica::new();
    let (mut watchers, mut told) = (Watchers::new(), Told::default());
    replica.put("a", "1"); // 2
    replica.put("a", "2"); // 3
    replica.delete("a", "").unwrap(); // 4
    replica.put("b", "1"); // 5
    replica.run(Op::Compact { revision: 4 }).unwrap();
    replica.checkpoint();
    watchers.add(WatchId(1), watch("a", "", 3), &replica.store);
    watchers.add(WatchId(2), watch("a", "", 4), &replica.store);
    told.drain(&mut watchers, &replica, 99);
    assert_eq!(told.take(1), "compacted 4");
    assert_eq!(told.take(2), "-a@4", "the deletion at the edge is kept");
    assert_eq!(watchers.len(), 1);
}

#[test]
fn a_paused_watch_goes_on_where_it_was() {
    let mut replica = Replica::new();
    let (mut watchers, mut told) = (Watchers::new(), Told::default());
    watchers.add(WatchId(1), watch("a", "", 0), &replica.store);
    replica.put("a", "1");
    told.drain(&mut watchers, &replica, 99);
    watchers.pause(WatchId(1));
    replica.put("a", "2");
    replica.put("a", "3");
    told.drain(&mut watchers, &replica, 99);
    replica.checkpoint();
    assert_eq!((told.take(1).as_str(), watchers.progress(WatchId(1))), ("+a@2", None));
    watchers.resume(WatchId(1));
    told.drain(&mut watchers, &replica, 99);
    assert_eq!(told.take(1), "+a@3 +a@4");
}

#[derive(Clone, Debug)]
enum Step {
    Put(&'static str),
    Delete(&'static str, &'static str),
    Both(&'static str, &'static str),
    Add(&'static str, &'static str, i64),
    Drain(usize),
    Pause(prop::sample::Index),
    Resume(prop::sample::Index),
    Checkpoint,
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::sample::select(vec!["a", "b", "c"]);
    let end = || prop::sample::select(vec!["", "\0", "b", "c"]);
    prop_oneof![
        4 => key().prop_map(Step::Put),
        2 => (key(), end()).prop_map(|(a, b)| Step::Delete(a, b)),
        2 => (key(), key()).prop_map(|(a, b)| Step::Both(a, b)),
        2 => (key(), end(), 0_i64..9).prop_map(|(a, b, at)| Step::Add(a, b, at)),
        4 => (1_usize..9).prop_map(Step::Drain),
        1 => any::<prop::sample::Index>().prop_map(Step::Pause),
        1 => any::<prop::sample::Index>().prop_map(Step::Resume),
        1 => Just(Step::Checkpoint),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn each_event_once_in_order(steps in prop::collection::vec(step(), 1..60)) {
        let mut replica = Replica::new();
        let (mut watchers, mut told) = (Watchers::new(), Told::default());
        let mut watches: Vec<(WatchId, KeyRange, i64)> = Vec::new();
        for step in steps {
            match step {
                Step::Put(key) => {
                    replica.put(key, "v");
                }
                Step::Delete(a, b) => {
                    replica.delete(a, b).unwrap();
                }
                Step::Both(a, b) => {
                    let ops = [a, b].map(|k| match put(k, "both") {
                        Op::Put(put) => TxnOp::Put(put),
                        _ => unreachable!("a put"),
                    });
                    let _refused_if_the_same = replica.run(Op::Txn(TxnRequest { success: ops.into(), ..TxnRequest::default() }));
                }
                Step::Add(a, b, at) => {
                    let id = WatchId(watches.len() as u64 + 1);
                    let request = watch(a, b, at);
                    let range = KeyRange::new(&request.key, &request.range_end);
                    let from = if at > 0 { at } else { replica.store.revision() + 1 };
                    watchers.add(id, request, &replica.store);
                    watches.push((id, range, from));
                }
                Step::Drain(budget) => {
                    told.drain(&mut watchers, &replica, budget);
                }
                Step::Pause(i) if !watches.is_empty() => watchers.pause(i.get(&watches).0),
                Step::Resume(i) if !watches.is_empty() => watchers.resume(i.get(&watches).0),
                Step::Pause(_) | Step::Resume(_) => {}
                Step::Checkpoint => replica.checkpoint(),
            }
        }
        for (id, ..) in &watches {
            watchers.resume(*id);
        }
        let mut rounds = 0;
        while told.drain(&mut watchers, &replica, 3) {
            rounds += 1;
            prop_assert!(rounds < 10_000, "it ends");
        }
        // All of history, as it lies in the store.
        let mut history = Vec::new();
        replica.store.records.scan(crate::record::Rev::first(0), |rev, record| {
            history.push((rev, record));
            true
        }).unwrap();
        for (id, range, from) in watches {
            let want: Vec<String> = history
                .iter()
                .filter(|(rev, record)| rev.main >= from && range.contains(&record.key))
                .map(|(rev, record)| {
                    let sign = if record.is_tombstone() { '-' } else { '+' };
                    format!("{sign}{}@{}", utf8(&record.key), rev.main)
                })
                .collect();
            prop_assert_eq!(told.take(id.0), want.join(" "), "{} from {}", id.0, from);
            prop_assert_eq!(watchers.progress(id), Some(replica.store.revision()));
        }
        let _answer = replica.store.blank_response();
    }
}
