//! Commands against spaces, without a disk or a network: what each means, alone and under concurrency.

use super::{Cost, Plan, View, explain, plan, stroke};
use crate::api::{Command, Expiry, Reply, Span, Type};
use crate::refusal::Refusal;
use bytes::Bytes;
use dwcp_crdt::space::{Config, Missing};
use dwcp_crdt::{ReplicaIndex, Roster, Space};
use dwcp_env::NodeId;

/// Two replicas that hear of each other when they are told to.
struct Two {
    a: Space,
    b: Space,
    ms: u64,
}

impl Two {
    fn new() -> Self {
        let roster = Roster::founding([NodeId(1), NodeId(2)]);
        let space = |i| Space::new(Config::new([7; 32]), roster.clone(), ReplicaIndex(i));
        Self { a: space(0), b: space(1), ms: 1_000_000 }
    }
    fn exchange(&mut self) {
        for (from, to) in [(false, true), (true, false)] {
            let (source, target) = if from { (&self.b, &mut self.a) } else { (&self.a, &mut self.b) };
            let _ = to;
            let Missing::Operations { batches, .. } = source.missing(target.version(), usize::MAX) else {
                panic!("nothing was trimmed")
            };
            for batch in batches {
                target.receive(&batch, self.ms).unwrap();
            }
        }
        assert_eq!(self.a.fingerprint(), self.b.fingerprint());
    }
    fn at_a(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.ms += 1;
        run(&mut self.a, self.ms, &command)
    }
    fn at_b(&mut self, command: Command) -> Result<Reply, Refusal> {
        self.ms += 1;
        run(&mut self.b, self.ms, &command)
    }
    fn both(&self, command: &Command) -> Reply {
        let read = |space| plan(View { space, millis: self.ms, draw: 3 }, command).unwrap().reply;
        assert_eq!(read(&self.a), read(&self.b));
        read(&self.a)
    }
}

fn run(space: &mut Space, millis: u64, command: &Command) -> Result<Reply, Refusal> {
    let view = View { space, millis, draw: 3 };
    let short = stroke(view, command);
    let plan = plan(view, command);
    if let Some((stroke, reply)) = short {
        let same = Plan { edits: vec![stroke.edit()], reply };
        assert_eq!(plan.as_ref(), Ok(&same), "{command:?} is planned alike in one stroke");
    }
    let plan = plan?;
    assert!(plan.edits.is_empty() || command.writes(), "{} said that it reads", command.name());
    space.transact(millis, &plan.edits).unwrap();
    Ok(plan.reply)
}

fn b(s: &str) -> Bytes {
    Bytes::copy_from_slice(s.as_bytes())
}
fn bs(all: &[&str]) -> Vec<Bytes> {
    all.iter().map(|s| b(s)).collect()
}
fn set(k: &str, v: &str) -> Command {
    Command::Set { key: b(k), value: b(v), expiry: Expiry::Never }
}
fn get(k: &str) -> Command {
    Command::Get { key: b(k) }
}
fn incr(k: &str, by: i64) -> Command {
    Command::IncrBy { key: b(k), by }
}
fn value(v: &str) -> Reply {
    Reply::Value(Some(b(v)))
}
fn sadd(k: &str, m: &[&str]) -> Command {
    Command::SAdd { key: b(k), members: bs(m) }
}
fn hset(k: &str, f: &str, v: &str) -> Command {
    Command::HSet { key: b(k), pairs: vec![(b(f), b(v))] }
}
fn del(k: &str) -> Command {
    Command::Del { keys: vec![b(k)] }
}

#[test]
fn strings_are_redis_when_nobody_else_writes() {
    let mut two = Two::new();
    assert_eq!(two.at_a(get("k")), Ok(Reply::Value(None)));
    assert_eq!(two.at_a(set("k", "v")), Ok(Reply::Done));
    assert_eq!(two.at_a(get("k")), Ok(value("v")));
    assert_eq!(two.at_a(Command::StrLen { key: b("k") }), Ok(Reply::Number(1)));
    assert_eq!(two.at_a(incr("k", 1)), Err(Refusal::NotInteger));
    assert_eq!(two.at_a(sadd("k", &["x"])), Err(Refusal::WrongType { holds: Type::String }));
    assert_eq!(two.at_a(Command::GetDel { key: b("k") }), Ok(value("v")));
    assert_eq!(two.at_a(Command::Exists { keys: bs(&["k", "k"]) }), Ok(Reply::Number(0)));
    two.at_a(set("k", "v")).unwrap();
    two.at_a(sadd("s", &["x"])).unwrap();
    assert_eq!(
        two.at_a(Command::MGet { keys: bs(&["k", "s", "none"]) }),
        Ok(Reply::Values(vec![Some(b("v")), None, None]))
    );
    assert_eq!(two.at_a(Command::Exists { keys: bs(&["k", "k", "s"]) }), Ok(Reply::Number(3)));
    assert_eq!(two.at_a(set("s", "now a string")), Ok(Reply::Done));
    assert_eq!(two.at_a(Command::Type { key: b("s") }), Ok(Reply::Type(Type::String)));
    assert_eq!(two.at_a(Command::Del { keys: bs(&["s", "s", "none"]) }), Ok(Reply::Number(1)));
}

#[test]
fn a_number_in_a_string_counts_from_where_it_was_set() {
    let mut two = Two::new();
    two.at_a(set("n", "10")).unwrap();
    two.exchange();
    assert_eq!(two.at_a(incr("n", 1)), Ok(Reply::Number(11)));
    assert_eq!(two.at_b(incr("n", -3)), Ok(Reply::Number(7)));
    two.exchange();
    assert_eq!(two.both(&get("n")), value("8"));
    two.at_a(set("n", "100")).unwrap();
    two.exchange();
    assert_eq!(two.both(&get("n")), value("100"), "what was counted before is gone");
    assert_eq!(two.at_a(incr("n", i64::MAX)), Err(Refusal::Overflow));
    assert_eq!(two.at_b(incr("fresh", 5)), Ok(Reply::Number(5)));
}

#[test]
fn of_concurrent_sets_the_later_shows_and_the_other_can_be_read() {
    let mut two = Two::new();
    two.at_a(set("k", "first")).unwrap();
    two.at_b(set("k", "second")).unwrap();
    two.exchange();
    assert_eq!(two.both(&get("k")), value("second"));
    assert_eq!(two.both(&Command::Siblings { key: b("k") }), Reply::Elements(bs(&["second", "first"])));
    two.at_a(set("k", "third")).unwrap();
    two.exchange();
    assert_eq!(two.both(&Command::Siblings { key: b("k") }), Reply::Elements(bs(&["third"])));
    two.at_a(Command::SetMulti { key: b("m"), value: b("x") }).unwrap();
    two.at_b(Command::SetMulti { key: b("m"), value: b("y") }).unwrap();
    two.exchange();
    assert_eq!(two.both(&Command::Siblings { key: b("m") }), Reply::Elements(bs(&["y", "x"])));
}

#[test]
fn an_addition_survives_a_removal_that_had_not_seen_it() {
    let mut two = Two::new();
    two.at_a(sadd("s", &["x", "y"])).unwrap();
    two.exchange();
    assert_eq!(two.at_a(Command::SRem { key: b("s"), members: bs(&["x", "y", "z"]) }), Ok(Reply::Number(2)));
    assert_eq!(two.at_b(sadd("s", &["x"])), Ok(Reply::Number(0)), "it is there already, and is added anew");
    two.exchange();
    assert_eq!(two.both(&Command::SMembers { key: b("s") }), Reply::Elements(bs(&["x"])));
    assert_eq!(two.both(&Command::SCard { key: b("s") }), Reply::Number(1));
}

#[test]
fn hashes_merge_field_by_field() {
    let mut two = Two::new();
    assert_eq!(two.at_a(hset("h", "f", "1")), Ok(Reply::Number(1)));
    two.exchange();
    two.at_a(hset("h", "g", "2")).unwrap();
    assert_eq!(two.at_b(Command::HIncrBy { key: b("h"), field: b("f"), by: 4 }), Ok(Reply::Number(5)));
    two.at_a(Command::HIncrBy { key: b("h"), field: b("f"), by: 1 }).unwrap();
    two.exchange();
    let all = vec![(b("f"), b("6")), (b("g"), b("2"))];
    assert_eq!(two.both(&Command::HGetAll { key: b("h") }), Reply::Pairs(all));
    assert_eq!(two.at_a(Command::HDel { key: b("h"), fields: bs(&["f", "g", "no"]) }), Ok(Reply::Number(2)));
    two.at_b(hset("h", "g", "kept")).unwrap();
    two.exchange();
    assert_eq!(two.both(&Command::HGetAll { key: b("h") }), Reply::Pairs(vec![(b("g"), b("kept"))]));
    assert_eq!(two.both(&Command::HLen { key: b("h") }), Reply::Number(1));
}

#[test]
fn two_types_under_one_key_are_both_kept() {
    let mut two = Two::new();
    two.at_a(sadd("k", &["x"])).unwrap();
    two.at_b(hset("k", "f", "v")).unwrap();
    two.exchange();
    assert_eq!(two.both(&Command::Type { key: b("k") }), Reply::Type(Type::Hash));
    assert_eq!(two.both(&Command::SMembers { key: b("k") }), Reply::Elements(bs(&["x"])));
    assert_eq!(two.both(&Command::HGet { key: b("k"), field: b("f") }), value("v"));
    assert_eq!(two.at_a(del("k")), Ok(Reply::Number(1)));
    two.exchange();
    assert_eq!(two.both(&Command::DbSize), Reply::Number(0));
}

#[test]
fn a_key_past_its_deadline_is_hidden_and_a_writer_begins_it_anew() {
    let mut two = Two::new();
    let in_ms = |k: &str, ms| Command::Expire { key: b(k), expiry: Expiry::In(ms) };
    two.at_a(incr("n", 7)).unwrap();
    assert_eq!(two.at_a(in_ms("n", 1_000)), Ok(Reply::Number(1)));
    assert_eq!(two.at_a(in_ms("none", 1_000)), Ok(Reply::Number(0)));
    two.exchange();
    assert_eq!(two.at_b(Command::Pttl { key: b("n") }), Ok(Reply::Number(998)));
    two.ms += 2_000;
    assert_eq!(two.both(&get("n")), Reply::Value(None));
    assert_eq!(two.both(&Command::Keys { pattern: b("*") }), Reply::Elements(Vec::new()));
    assert_eq!(two.at_b(Command::Pttl { key: b("n") }), Ok(Reply::Number(-2)));
    assert_eq!(two.at_b(incr("n", 1)), Ok(Reply::Number(1)), "another life of the key");
    two.exchange();
    assert_eq!(two.both(&get("n")), value("1"));
    assert_eq!(two.both(&Command::Pttl { key: b("n") }), Reply::Number(-1), "without the old one's deadline");
    assert_eq!(two.at_a(in_ms("n", 0)), Ok(Reply::Number(1)));
    assert_eq!(two.at_a(get("n")), Ok(Reply::Value(None)));
    assert!(two.a.is_empty(), "a deadline in the past removes at once");
}

#[test]
fn set_keeps_or_forgets_a_deadline() {
    let mut two = Two::new();
    let with = |expiry| Command::Set { key: b("k"), value: b("v"), expiry };
    let left = Command::Pttl { key: b("k") };
    two.at_a(with(Expiry::In(5_000))).unwrap();
    two.at_a(with(Expiry::Keep)).unwrap();
    assert!(matches!(two.at_a(left.clone()), Ok(Reply::Number(n)) if n > 4_000));
    two.at_a(with(Expiry::Never)).unwrap();
    assert_eq!(two.at_a(left.clone()), Ok(Reply::Number(-1)));
    two.at_a(with(Expiry::In(10))).unwrap();
    two.ms += 100;
    two.at_a(with(Expiry::Keep)).unwrap();
    assert_eq!(two.at_a(left), Ok(Reply::Number(-1)), "the deadline of a life that is over is not kept");
    two.at_a(with(Expiry::At(5))).unwrap();
    assert_eq!(two.at_a(get("k")), Ok(Reply::Value(None)));
}

#[test]
fn the_last_element_takes_the_deadline_with_it() {
    let mut two = Two::new();
    let expire = |k: &str| Command::Expire { key: b(k), expiry: Expiry::In(60_000) };
    two.at_a(sadd("s", &["x"])).unwrap();
    two.at_a(hset("h", "f", "v")).unwrap();
    two.at_a(expire("s")).unwrap();
    two.at_a(expire("h")).unwrap();
    two.at_a(Command::SRem { key: b("s"), members: bs(&["x"]) }).unwrap();
    two.at_a(Command::HDel { key: b("h"), fields: bs(&["f"]) }).unwrap();
    assert!(two.a.is_empty());
}

#[test]
fn a_scan_finds_what_stays_exactly_once_whatever_else_changes() {
    let mut two = Two::new();
    for n in 0..50 {
        two.at_a(set(&format!("stays:{n:03}"), "v")).unwrap();
        two.at_a(sadd("set", &[&format!("m{n:03}")])).unwrap();
    }
    let mut seen = Vec::new();
    let mut after = None;
    let mut round = 0;
    loop {
        let span = Span { after, count: 7, pattern: Some(b("stays:*")) };
        let Ok(Reply::Scan { next, found }) = two.at_a(Command::Scan { span, kind: None }) else { panic!() };
        seen.extend(found);
        round += 1;
        two.at_a(set(&format!("comes:{round}"), "v")).unwrap();
        two.at_a(set(&format!("stays:{round:03}:and comes"), "v")).unwrap();
        two.at_a(del(&format!("comes:{}", round - 1))).unwrap();
        after = next;
        if after.is_none() {
            break;
        }
    }
    let stayed: Vec<Bytes> = seen.into_iter().filter(|k| k.len() == 9).collect();
    assert_eq!(stayed, (0..50).map(|n| b(&format!("stays:{n:03}"))).collect::<Vec<_>>());
    let (mut n, mut after) = (0, None);
    while let Ok(Reply::Scan { next, found }) =
        two.at_a(Command::SScan { key: b("set"), span: Span { after, count: 9, pattern: None } })
    {
        n += found.len();
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(n, 50);
}

#[test]
fn what_is_too_large_is_refused_and_does_nothing() {
    let mut two = Two::new();
    let large = Bytes::from(vec![0; crate::api::VALUE_MAX + 1]);
    let refused = two.at_a(Command::Set { key: b("k"), value: large, expiry: Expiry::Never });
    assert!(matches!(refused, Err(Refusal::TooLarge { .. })));
    let pairs = (0..3).map(|n| (b(&n.to_string()), Bytes::from(vec![0; 600 * 1024]))).collect();
    assert!(matches!(two.at_a(Command::MSet { pairs }), Err(Refusal::TooLarge { .. })));
    assert!(two.a.is_empty());
}

#[test]
fn an_explanation_says_who_wrote_what_and_why_it_is_shown() {
    let mut two = Two::new();
    two.at_a(set("k", "first")).unwrap();
    two.at_b(set("k", "second")).unwrap();
    two.exchange();
    let view = View { space: &two.a, millis: two.ms, draw: 0 };
    let said = super::explain(view, &b("k"));
    assert_eq!(said.shown, Some(b("second")));
    let of: Vec<_> = said.entries.iter().map(|e| (e.writer, e.value.clone())).collect();
    assert_eq!(of, [(Some((2, 1)), Some(b("second"))), (Some((1, 1)), Some(b("first")))]);
    assert!(said.entries[0].shown.as_ref().unwrap().starts_with("shown"));
    assert!(said.entries[1].shown.as_ref().unwrap().starts_with("a sibling"));
}

fn rpush(k: &str, v: &[&str]) -> Command {
    Command::RPush { key: b(k), values: bs(v) }
}
fn lpush(k: &str, v: &[&str]) -> Command {
    Command::LPush { key: b(k), values: bs(v) }
}
fn lset(k: &str, index: i64, v: &str) -> Command {
    Command::LSet { key: b(k), index, value: b(v) }
}
fn whole(k: &str) -> Command {
    Command::LRange { key: b(k), start: 0, stop: -1 }
}
fn list(v: &[&str]) -> Reply {
    Reply::Elements(bs(v))
}

#[test]
fn lists_are_redis_when_nobody_else_writes() {
    let mut two = Two::new();
    assert_eq!(two.at_a(whole("l")), Ok(list(&[])));
    assert_eq!(two.at_a(lset("l", 0, "x")), Err(Refusal::NoSuchKey));
    assert_eq!(two.at_a(rpush("l", &["b", "c"])), Ok(Reply::Number(2)));
    assert_eq!(two.at_a(lpush("l", &["a", "z"])), Ok(Reply::Number(4)));
    assert_eq!(two.at_a(whole("l")), Ok(list(&["z", "a", "b", "c"])));
    assert_eq!(two.at_a(Command::Type { key: b("l") }), Ok(Reply::Type(Type::List)));
    assert_eq!(two.at_a(Command::LIndex { key: b("l"), index: -1 }), Ok(value("c")));
    assert_eq!(two.at_a(Command::LIndex { key: b("l"), index: 4 }), Ok(Reply::Value(None)));
    assert_eq!(two.at_a(get("l")), Err(Refusal::WrongType { holds: Type::List }));
    let insert =
        |before, pivot: &str| Command::LInsert { key: b("l"), before, pivot: b(pivot), value: b("i") };
    assert_eq!(two.at_a(insert(true, "b")), Ok(Reply::Number(5)));
    assert_eq!(two.at_a(insert(false, "c")), Ok(Reply::Number(6)));
    assert_eq!(two.at_a(insert(false, "none")), Ok(Reply::Number(-1)));
    assert_eq!(two.at_a(whole("l")), Ok(list(&["z", "a", "i", "b", "c", "i"])));
    for (index, v) in [(0, "first"), (-1, "last"), (2, "mid")] {
        assert_eq!(two.at_a(lset("l", index, v)), Ok(Reply::Done));
    }
    assert_eq!(two.at_a(lset("l", 6, "x")), Err(Refusal::IndexOutOfRange));
    assert_eq!(two.at_a(whole("l")), Ok(list(&["first", "a", "mid", "b", "c", "last"])));
    two.at_a(rpush("l", &["a", "b", "a"])).unwrap();
    let find = |rank, count| Command::LPos { key: b("l"), value: b("a"), rank, count, maxlen: 0 };
    assert_eq!(two.at_a(find(1, None)), Ok(Reply::Number(1)));
    assert_eq!(two.at_a(find(-1, None)), Ok(Reply::Number(8)));
    assert_eq!(two.at_a(find(2, Some(0))), Ok(Reply::Numbers(vec![6, 8])));
    assert_eq!(two.at_a(find(4, None)), Ok(Reply::Value(None)));
    let rem = |count, v: &str| Command::LRem { key: b("l"), count, value: b(v) };
    assert_eq!(two.at_a(rem(-2, "a")), Ok(Reply::Number(2)));
    assert_eq!(two.at_a(rem(0, "b")), Ok(Reply::Number(2)));
    assert_eq!(two.at_a(whole("l")), Ok(list(&["first", "a", "mid", "c", "last"])));
    let trim = |start, stop| Command::LTrim { key: b("l"), start, stop };
    assert_eq!(two.at_a(trim(1, -2)), Ok(Reply::Done));
    assert_eq!(two.at_a(whole("l")), Ok(list(&["a", "mid", "c"])));
    assert_eq!(two.at_a(Command::Expire { key: b("l"), expiry: Expiry::In(60_000) }), Ok(Reply::Number(1)));
    assert_eq!(two.at_a(trim(5, 9)), Ok(Reply::Done));
    assert_eq!(two.at_a(Command::DbSize), Ok(Reply::Number(0)));
    assert!(two.a.is_empty(), "the last element takes the deadline with it");
}

#[test]
fn pushes_of_two_regions_all_stay_and_do_not_mix() {
    let mut two = Two::new();
    two.at_a(rpush("l", &["0"])).unwrap();
    two.exchange();
    for n in 1..4 {
        two.at_a(rpush("l", &[&format!("a{n}")])).unwrap();
        two.at_b(rpush("l", &[&format!("b{n}"), &format!("B{n}")])).unwrap();
    }
    two.exchange();
    assert_eq!(two.both(&whole("l")), list(&["0", "a1", "a2", "a3", "b1", "B1", "b2", "B2", "b3", "B3"]));
    assert_eq!(two.both(&Command::LLen { key: b("l") }), Reply::Number(10));
}

#[test]
fn two_lsets_of_one_element_leave_both_values_in_its_place() {
    let mut two = Two::new();
    two.at_a(rpush("l", &["x", "y", "z"])).unwrap();
    two.exchange();
    two.at_a(lset("l", 1, "of a")).unwrap();
    two.at_b(lset("l", 1, "of b")).unwrap();
    two.exchange();
    assert_eq!(two.both(&whole("l")), list(&["x", "of a", "of b", "z"]));
}

#[test]
fn an_lset_of_an_end_stays_there_when_somebody_pushes_behind_it() {
    let mut two = Two::new();
    two.at_a(rpush("l", &["x", "y", "z"])).unwrap();
    two.exchange();
    two.at_a(lset("l", -1, "new z")).unwrap();
    two.at_b(rpush("l", &["pushed"])).unwrap();
    two.exchange();
    assert_eq!(two.both(&whole("l")), list(&["x", "y", "new z", "pushed"]));
    two.at_a(lset("l", 0, "new x")).unwrap();
    two.at_b(lpush("l", &["first"])).unwrap();
    two.exchange();
    assert_eq!(two.both(&whole("l")), list(&["first", "new x", "y", "new z", "pushed"]));
}

#[test]
fn what_another_region_pushes_survives_removals_that_have_not_seen_it() {
    for remove in [
        del("l"),
        Command::LTrim { key: b("l"), start: 9, stop: 9 },
        Command::LRem { key: b("l"), count: 0, value: b("x") },
        Command::FlushDb,
        set("l", "a string now"),
    ] {
        let mut two = Two::new();
        two.at_a(rpush("l", &["x", "x", "x"])).unwrap();
        two.exchange();
        two.at_a(remove.clone()).unwrap();
        two.at_b(Command::LInsert { key: b("l"), before: false, pivot: b("x"), value: b("kept") }).unwrap();
        two.exchange();
        assert_eq!(two.both(&whole("l")), list(&["kept"]), "{}", remove.name());
        let (kept, mourned) = two.a.tombstones();
        assert!(kept > 0 && mourned > 0, "the dead still say where it stands");
    }
}

#[test]
fn an_explanation_of_a_list_names_each_element() {
    let mut two = Two::new();
    two.at_a(rpush("l", &["x"])).unwrap();
    two.exchange();
    two.at_b(rpush("l", &["y"])).unwrap();
    let view = View { space: &two.b, millis: two.ms, draw: 0 };
    let said = super::explain(view, &b("l"));
    assert_eq!(said.shown, Some(b("list")));
    let of: Vec<_> =
        said.entries.iter().map(|e| (e.path.clone(), e.writer, e.value.clone(), e.kind.as_str())).collect();
    let row = |n: &str, writer, v: &str| (bs(&[n]), Some(writer), Some(b(v)), "sequence");
    assert_eq!(of, [row("0", (1, 1), "x"), row("1", (2, 1), "y")]);
}

#[test]
fn a_bounded_counter_is_never_overspent() {
    let mut two = Two::new();
    let key = || b("capacity");
    let spend = |by| Command::BSpend { key: key(), by };
    assert_eq!(two.at_a(Command::BGrant { key: key(), by: 10 }), Ok(Reply::Number(10)));
    two.exchange();
    // What was granted at one node can't be spent at the other, unless it was handed over.
    let refused = two.at_b(spend(1)).unwrap_err();
    assert_eq!(refused, Refusal::NoRights { wanted: 1, held: 0, elsewhere: Some((1, 10)) });
    assert_eq!(refused.code(), "NORIGHTS");
    assert!(refused.to_string().contains("node 1 may spend 10"), "{refused}");
    assert_eq!(two.at_a(Command::BMove { key: key(), node: 2, by: 4 }), Ok(Reply::Number(6)));
    // Both spend all that they may at the same time, and not one more.
    two.exchange();
    assert_eq!(two.at_a(spend(6)), Ok(Reply::Number(4)));
    assert_eq!(two.at_b(spend(4)), Ok(Reply::Number(6)));
    assert!(two.at_a(spend(1)).is_err() && two.at_b(spend(1)).is_err());
    two.exchange();
    assert_eq!(two.both(&Command::Get { key: key() }), Reply::Value(Some(b("0"))));
    assert_eq!(two.at_b(Command::BGrant { key: key(), by: 3 }), Ok(Reply::Number(3)));
    let pairs = [("total", "3"), ("here", "3")].map(|(n, v)| (b(n), b(v)));
    assert_eq!(two.at_b(Command::BGet { key: key() }), Ok(Reply::Pairs(pairs.into())));
    // Nothing that has no bound is taken for one that has, nor the other way round.
    two.exchange();
    for wrong in [
        Command::IncrBy { key: key(), by: 1 },
        Command::BGrant { key: key(), by: 0 },
        Command::BMove { key: key(), node: 9, by: 1 },
    ] {
        assert!(matches!(two.at_b(wrong.clone()), Err(Refusal::Argument(_))), "{wrong:?}");
    }
    two.at_a(Command::Set { key: b("plain"), value: b("5"), expiry: Expiry::Never }).unwrap();
    assert!(matches!(two.at_a(Command::BSpend { key: b("plain"), by: 1 }), Err(Refusal::Argument(_))));
}

/// Commands that are asked most look at a key once; what they see is what the others see.
#[test]
fn one_look_sees_what_many_searches_see() {
    let mut two = Two::new();
    let mut drawn = 1_u64;
    let mut draw = |below: u64| {
        drawn = drawn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (drawn >> 33) % below
    };
    for step in 0..4_000 {
        let key = b(&format!("key {}", draw(6)));
        let expiry = [Expiry::Never, Expiry::Keep, Expiry::In(40)][draw(3) as usize];
        let command = match draw(8) {
            0 => Command::Set { key: key.clone(), value: b(&step.to_string()), expiry },
            1 => Command::SetMulti { key: key.clone(), value: b("x") },
            2 | 3 => Command::IncrBy { key: key.clone(), by: 3 - draw(7) as i64 },
            4 => Command::SAdd { key: key.clone(), members: vec![b("m")] },
            5 => Command::HSet { key: key.clone(), pairs: vec![(b("f"), b("v"))] },
            6 => Command::Expire { key: key.clone(), expiry: Expiry::In(20) },
            _ => Command::Del { keys: vec![key.clone()] },
        };
        let _done = if draw(2) == 0 { two.at_a(command) } else { two.at_b(command) };
        if draw(5) == 0 {
            two.exchange();
        }
        for space in [&two.a, &two.b] {
            let view = View { space, millis: two.ms, draw: 0 };
            let held = view.look(&key);
            assert_eq!(held.ended, view.is_past(&key));
            assert_eq!(held.expires, view.deadline(&[key.to_vec()]).is_some());
            for wanted in [Type::String, Type::Hash, Type::List, Type::Set] {
                assert_eq!(held.expect(wanted), view.expect(&key, wanted), "{key:?} at step {step}");
            }
            if !held.ended {
                assert_eq!(held.text(), view.text(&[key.to_vec()]), "{key:?} at step {step}");
            }
        }
        let names = |space: &Space| space.fields(&[], None, usize::MAX).into_iter().map(|f| f.name);
        let distinct: std::collections::BTreeSet<Vec<u8>> = names(&two.a).collect();
        assert_eq!(two.a.names_in(&[]), distinct.len());
    }
}

/// An answer is made whole: it has a bound in bytes, however few its elements are.
#[test]
fn an_answer_has_a_bound_in_bytes() {
    let mut two = Two::new();
    let large = "v".repeat(crate::api::VALUE_MAX);
    two.at_a(set("k", &large)).unwrap();
    for i in 0..70 {
        two.at_a(hset("h", &i.to_string(), &large)).unwrap();
        two.at_a(Command::RPush { key: b("l"), values: vec![b(&large)] }).unwrap();
    }
    let too_large = |reply: Result<Reply, Refusal>| matches!(reply, Err(Refusal::TooLarge { .. }));
    assert!(too_large(two.at_a(Command::MGet { keys: vec![b("k"); 65] })));
    assert!(!too_large(two.at_a(Command::MGet { keys: vec![b("k"); 64] })));
    assert!(too_large(two.at_a(Command::HMGet { key: b("h"), fields: vec![b("7"); 65] })));
    assert!(too_large(two.at_a(Command::HGetAll { key: b("h") })));
    assert!(too_large(two.at_a(Command::LRange { key: b("l"), start: 0, stop: -1 })));
    for key in ["l", "h"] {
        let said = explain(View { space: &two.a, millis: two.ms, draw: 0 }, &b(key));
        assert!(said.cut && (4..=32).contains(&said.entries.len()), "{key}: {}", said.entries.len());
    }
    // A scan ends its step early instead, and misses nothing.
    let (mut after, mut seen, mut steps) = (None, 0, 0);
    loop {
        let span = Span { after, count: 1_000, pattern: None };
        let Ok(Reply::Scan { next, found }) = two.at_a(Command::HScan { key: b("h"), span }) else {
            panic!()
        };
        (seen, steps) = (seen + found.len() / 2, steps + 1);
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert!(seen == 70 && steps > 10, "{seen} in {steps}");
}

/// Nobody else is answered in a turn: what is sent together may look at so much, together.
#[test]
fn what_is_sent_together_looks_at_so_much() {
    let mut two = Two::new();
    let members: Vec<Bytes> = (0..30_000).map(|i| Bytes::from(i.to_string())).collect();
    two.at_a(Command::SAdd { key: b("s"), members }).unwrap();
    let view = View { space: &two.a, millis: two.ms, draw: 12_345 };
    let all = Command::SMembers { key: b("s") };
    let mut cost = Cost::default();
    let done = (0..1_000).take_while(|_| cost.begin(view, &all).is_ok()).count();
    assert_eq!(done, crate::api::LOOK_MAX / 30_000);
    let union = Command::SUnion { keys: vec![b("s"); 1_000] };
    assert!(matches!(Cost::default().begin(view, &union), Err(Refusal::TooLarge { .. })));
    // One by chance is no walk.
    let mut cost = Cost::default();
    let chosen: std::collections::BTreeSet<Vec<u8>> = (0..10_000)
        .map(|draw| {
            let view = View { draw: draw * 7, ..view };
            cost.begin(view, &Command::SRandMember { key: b("s") }).unwrap();
            let Ok(Plan { reply: Reply::Value(Some(member)), .. }) =
                plan(view, &Command::SRandMember { key: b("s") })
            else {
                panic!()
            };
            member.to_vec()
        })
        .collect();
    assert_eq!(chosen.len(), 10_000);
}

#[test]
fn a_key_by_chance_is_one_that_is_there() {
    let mut two = Two::new();
    assert_eq!(two.at_a(Command::RandomKey), Ok(Reply::Value(None)));
    for i in 0..20 {
        let expiry = if i % 2 == 0 { Expiry::In(50) } else { Expiry::Never };
        two.at_a(Command::Set { key: b(&format!("k{i:02}")), value: b("v"), expiry }).unwrap();
    }
    two.at_a(hset("h", "f", "v")).unwrap();
    let by_chance = |two: &Two, millis| -> std::collections::BTreeSet<String> {
        let one = |draw| match plan(View { space: &two.a, millis, draw }, &Command::RandomKey).unwrap().reply
        {
            Reply::Value(key) => key.map(|k| String::from_utf8(k.to_vec()).unwrap()),
            other => panic!("{other:?}"),
        };
        (0..200).filter_map(one).collect()
    };
    assert_eq!(by_chance(&two, two.ms).len(), 21);
    let later = by_chance(&two, two.ms + 1_000);
    assert_eq!(later.len(), 11, "{later:?}");
}
