//! Sequences in a space, by name: what the histories find only by luck.

use dwcp_crdt::address::{Address, Kind};
use dwcp_crdt::code::{Reader, Writer};
use dwcp_crdt::edit::{Change, Edit, EditFault};
use dwcp_crdt::range::{self, Difference};
use dwcp_crdt::space::{Config, Cursor, Missing, Received, Refused, Rejected, Restore, SnapshotHeader};
use dwcp_crdt::{Batch, Dot, ReplicaIndex, Roster, Space, Standing};
use dwcp_env::NodeId;

const NOW: u64 = 1_790_000_000_000;

fn spaces(n: usize) -> Vec<Space> {
    let roster = Roster::founding((0..n as u64).map(NodeId));
    let space = |i| {
        let mut s = Space::new(Config::new([7; 32]), roster.clone(), ReplicaIndex(i as u16));
        s.open();
        s
    };
    (0..n).map(space).collect()
}

fn list() -> Address {
    Address::key(Kind::Sequence, "list")
}
fn insert(at: usize, values: &[&str]) -> Edit {
    Edit::new(list(), Change::Insert { at, values: values.iter().map(|v| v.as_bytes().to_vec()).collect() })
}
fn erase(from: usize, count: usize) -> Edit {
    Edit::new(list(), Change::Erase { from, count })
}
fn make(s: &mut Space, edit: Edit) -> Batch {
    s.transact(NOW, &[edit]).unwrap().unwrap()
}
fn read(s: &Space) -> String {
    s.range(&list(), 0, usize::MAX)
        .into_iter()
        .map(|v| String::from_utf8(v).unwrap())
        .collect::<Vec<_>>()
        .join(" ")
}
fn send(from: &Space, to: &mut Space) {
    let Missing::Operations { batches, .. } = from.missing(to.version(), usize::MAX) else {
        panic!("trimmed")
    };
    for batch in batches {
        to.receive(&batch, NOW).unwrap();
    }
}
/// Everyone tells everyone what is on its disk, which is all it has, and forgets what all have.
fn acknowledge(all: &mut [Space]) {
    let versions: Vec<_> = all.iter().map(|s| (s.me(), s.version().clone(), s.roster().epoch)).collect();
    for s in all.iter_mut() {
        for (who, version, epoch) in &versions {
            s.acknowledged(*who, version, *epoch);
        }
        s.trim();
        s.trim();
    }
}
fn restore(
    from: &Space,
    to: ReplicaIndex,
    bytes: usize,
    mut between: impl FnMut(usize) -> Option<Batch>,
) -> Space {
    let mut source = from.clone();
    let header = source.snapshot();
    let mut written = Writer::new();
    header.encode(&mut written);
    let read = SnapshotHeader::decode(&mut Reader::new(written.as_slice())).unwrap();
    let mut restore = Restore::new(Config::new([7; 32]), source.roster().clone(), to, read);
    let (mut cursor, mut part): (Option<Cursor>, usize) = (None, 0);
    loop {
        let chunk = source.chunk(cursor.as_ref(), bytes);
        restore.absorb(&chunk.bytes).unwrap();
        let Some(next) = chunk.next else { break };
        let mut written = Writer::new();
        next.encode(&mut written);
        cursor = Some(Cursor::decode(&mut Reader::new(written.as_slice())).unwrap());
        part += 1;
        if let Some(batch) = between(part) {
            source.receive(&batch, NOW).unwrap();
        }
    }
    let Missing::Operations { batches, .. } = source.missing(&header.version, usize::MAX) else {
        panic!("trimmed")
    };
    let mut space = restore.finish(&batches, NOW).unwrap();
    assert_eq!(space.digest(), source.digest());
    assert_eq!(space.range(&list(), 0, usize::MAX), source.range(&list(), 0, usize::MAX));
    space.open();
    space
}

#[test]
fn an_insertion_takes_a_dot_for_each_element() {
    let mut all = spaces(2);
    let batch = make(&mut all[0], insert(0, &["a", "b", "c"]));
    assert_eq!((batch.count(), batch.last().sequence()), (1, 3));
    let next = make(&mut all[0], insert(3, &["d"]));
    assert_eq!(next.first().sequence(), 4);
    assert_eq!(all[1].receive(&next, NOW), Ok(Received::Early));
    assert_eq!(all[1].receive(&batch, NOW), Ok(Received::Applied(2)));
    assert_eq!(read(&all[1]), "a b c d");
    let dots: Vec<u64> = all[1].placed(&list(), 0, 9).iter().map(|e| e.dot.sequence()).collect();
    assert_eq!(dots, [1, 2, 3, 4]);
    assert_eq!(all[1].len(), 4);
}

#[test]
fn a_list_that_was_built_from_its_end_is_as_fast_as_one_built_from_its_beginning() {
    // Each element hangs left of the one before: a climb to the root for each would be two billion steps.
    let mut all = spaces(2);
    let n = 65_536;
    let edits: Vec<Edit> = (0..n).map(|_| insert(0, &["x"])).collect();
    let batch = all[0].transact(NOW, &edits).unwrap().unwrap();
    let middle: Vec<Edit> = (0..1_000).map(|k| insert(k * 60 + 1, &["y"])).collect();
    let more = all[0].transact(NOW, &middle).unwrap().unwrap();
    for batch in [&batch, &more] {
        all[1].receive(batch, NOW).unwrap();
    }
    assert_eq!((all[1].length(&list()), all[0].digest()), (n + 1_000, all[1].digest()));
}

#[test]
fn pushing_and_cutting_at_one_end_does_not_look_at_all_that_was_cut() {
    // Nobody acknowledges anything, so all of the dead stay. A look at each of them for each push would be four billion.
    for end in [false, true] {
        let mut all = spaces(3);
        make(&mut all[0], insert(0, &["first", "last"]));
        let (before, after) = if end { (2, 2) } else { (0, 0) };
        for round in 0..64 {
            let edits: Vec<Edit> =
                (0..1_000).flat_map(|_| [insert(before, &["x"]), erase(after, 1)]).collect();
            let batch = all[0].transact(NOW + round, &edits).unwrap().unwrap();
            drop(batch);
        }
        let from = all[0].clone();
        send(&from, &mut all[1]);
        assert_eq!(all[0].tombstones().0, 64_000);
        // What is pushed while another pushes at the same place stands where it stood there.
        let pushed = make(&mut all[1], insert(before, &["y"]));
        let here = make(&mut all[0], insert(before, &["z"]));
        all[0].receive(&pushed, NOW).unwrap();
        all[1].receive(&here, NOW).unwrap();
        assert_eq!(read(&all[0]), read(&all[1]));
        assert_eq!(all[0].digest(), all[1].digest());
    }
}

#[test]
fn chains_of_the_dead_are_shortened_the_same_way_whenever_it_is_done() {
    let mut all = spaces(3);
    // By turns each puts something behind what the last one put there, or between, so that nothing is one row.
    for n in 0..60 {
        let me = n % 3;
        make(&mut all[me], insert(n - n % 7, &[&n.to_string()]));
        for other in (0..3).filter(|o| *o != me) {
            let from = all[me].clone();
            send(&from, &mut all[other]);
        }
    }
    let (mut often, mut rare) = (all.clone(), all);
    for n in 0..40 {
        for group in [&mut often, &mut rare] {
            make(&mut group[n % 3], erase(n * 7 % (60 - n), 1));
            for other in (0..3).filter(|o| *o != n % 3) {
                let from = group[n % 3].clone();
                send(&from, &mut group[other]);
            }
        }
        acknowledge(&mut often);
    }
    let uncut = rare[0].tombstones().0;
    acknowledge(&mut rare);
    assert_eq!(read(&often[0]), read(&rare[0]));
    for s in often.iter().chain(&rare) {
        assert_eq!(s.to_bytes(), often[0].to_bytes());
    }
    let (kept, _) = rare[0].tombstones();
    assert!(uncut == 40 && kept < 40, "{kept} of {uncut} stay");
}

#[test]
fn a_state_is_amended_by_one_whose_chains_are_shorter() {
    let mut all = spaces(3);
    for n in 0..30 {
        let me = n % 2;
        make(&mut all[me], insert(n, &[&n.to_string()]));
        let from = all[me].clone();
        send(&from, &mut all[1 - me]);
    }
    // One that has it all uncut, and another that has heard that everyone has it.
    for n in 0..2 {
        make(&mut all[n], erase(1, 12));
        let from = all[n].clone();
        send(&from, &mut all[1 - n]);
        send(&from, &mut all[2]);
    }
    let uncut = all[2].clone();
    acknowledge(&mut all);
    assert!(all[0].tombstones().0 < uncut.tombstones().0);
    for (old, new) in [(&uncut, &all[0]), (&all[0], &uncut)] {
        let mut writer = new.clone();
        make(&mut writer, insert(3, &["new"]));
        let mut found = Difference::default();
        let ours = old.items();
        let mut question = Some(range::open(&ours));
        while let Some(q) = question {
            question =
                range::resolve(&ours, &range::answer(&writer.items(), &q).unwrap(), &mut found).unwrap();
        }
        let mut restore = Restore::amend(old, writer.snapshot(), &found.extra);
        restore.absorb(&writer.entries(&found.need, writer.version())).unwrap();
        let space = restore.finish(&[], NOW).unwrap();
        assert_eq!((space.digest(), read(&space)), (writer.digest(), read(&writer)));
    }
}

#[test]
fn a_sequence_lies_in_maps_like_anything_else() {
    let mut all = spaces(2);
    let deep = Address::key(Kind::Map, "m").field(Kind::Map, "n").field(Kind::Sequence, "list");
    let push = |v: &str| Edit::new(deep.clone(), Change::Insert { at: 0, values: vec![v.into()] });
    all[0].transact(NOW, &[push("x")]).unwrap();
    let (one, two) = all.split_at_mut(1);
    send(&one[0], &mut two[0]);
    assert_eq!(all[1].kinds(&[b"m".to_vec(), b"n".to_vec(), b"list".to_vec()]), [Kind::Sequence]);
    all[1].transact(NOW, &[push("y")]).unwrap();
    let gone = Edit::new(Address::key(Kind::Map, "m"), Change::Delete);
    all[0].transact(NOW, &[gone]).unwrap();
    assert!(all[0].is_empty() && all[0].kinds(&[b"m".to_vec()]).is_empty());
    let (one, two) = all.split_at_mut(1);
    send(&two[0], &mut one[0]);
    send(&one[0], &mut two[0]);
    for s in &all {
        assert_eq!(s.range(&deep, 0, 9), [b"y".to_vec()], "what the deletion had not seen stays");
    }
    assert_eq!(all[0].digest(), all[1].digest());
}

#[test]
fn positions_are_those_the_edits_before_leave() {
    let mut s = spaces(1).remove(0);
    let edits = [
        insert(0, &["a", "b", "c", "d"]),
        erase(1, 2),
        insert(2, &["e"]),
        Edit::new(list(), Change::Replace { at: 0, value: b"A".to_vec() }),
    ];
    s.transact(NOW, &edits).unwrap();
    assert_eq!(read(&s), "A d e");
    let before = s.to_bytes();
    for (wrong, at, len) in
        [(insert(4, &["x"]), 4, 3), (erase(2, 2), 4, 3), (erase(0, usize::MAX), usize::MAX, 3)]
    {
        let fault = s.transact(NOW, &[wrong]).unwrap_err();
        assert_eq!(fault, Rejected::Edit(0, EditFault::Beyond { at, len }));
    }
    assert_eq!(s.transact(NOW, &[insert(0, &[])]), Err(Rejected::Edit(0, EditFault::Nothing)));
    let emptied = [Edit::new(list(), Change::Delete), insert(1, &["x"])];
    assert_eq!(s.transact(NOW, &emptied), Err(Rejected::Edit(1, EditFault::Beyond { at: 1, len: 0 })));
    assert_eq!(s.to_bytes(), before, "what is refused changes nothing");
}

#[test]
fn a_removal_that_comes_first_kills_on_arrival_whatever_removed_it() {
    let deep = Edit::new(list(), Change::Delete);
    for remove in [erase(0, 2), deep] {
        let mut all = spaces(3);
        let made = make(&mut all[0], insert(0, &["a", "b"]));
        all[1].receive(&made, NOW).unwrap();
        let behind = make(&mut all[1], insert(2, &["c"]));
        let gone = make(&mut all[1], erase(2, 1));
        let all_gone = make(&mut all[1], remove);
        for batch in [&behind, &gone, &all_gone] {
            all[2].receive(batch, NOW).unwrap();
        }
        assert!(all[2].waiting().0 > 0 && read(&all[2]).is_empty());
        all[2].receive(&made, NOW).unwrap();
        assert_eq!((read(&all[2]), all[2].waiting().0), (String::new(), 0));
        assert_eq!(all[2].digest(), all[1].digest());
    }
}

#[test]
fn a_deletion_takes_what_was_shown_and_not_what_waits() {
    let mut all = spaces(3);
    let root = make(&mut all[0], insert(0, &["a"]));
    all[1].receive(&root, NOW).unwrap();
    let waits = make(&mut all[1], insert(1, &["b"]));
    let shown: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    for values in [&shown[..1], &shown] {
        let mut all = all.clone();
        let mine = make(&mut all[2], insert(0, values));
        all[2].receive(&waits, NOW).unwrap();
        assert_eq!((read(&all[2]), all[2].waiting().0), (values.join(" "), 1));
        let delete = [Edit::new(list(), Change::Delete)];
        let weight = all[2].weigh(&delete, 0);
        let gone = all[2].transact(NOW, &delete).unwrap().unwrap();
        assert!(gone.to_bytes().len() <= weight, "{} bytes, not over {weight}", gone.to_bytes().len());
        assert_eq!((read(&all[2]), all[2].waiting().0), (String::new(), 1));
        all[2].receive(&root, NOW).unwrap();
        for batch in [&mine, &gone] {
            all[0].receive(batch, NOW).unwrap();
        }
        all[0].receive(&waits, NOW).unwrap();
        assert_eq!((read(&all[2]), read(&all[0])), ("a b".to_owned(), "a b".to_owned()));
        assert_eq!(all[2].digest(), all[0].digest());
    }
}

#[test]
fn purging_shows_in_no_fingerprint_and_leaves_nothing() {
    let mut all = spaces(3);
    for n in 0..50 {
        make(&mut all[0], insert(n, &["some", "value"]));
    }
    for n in 1..3 {
        let (one, rest) = all.split_at_mut(n);
        send(&one[0], &mut rest[0]);
    }
    acknowledge(&mut all);
    make(&mut all[1], erase(10, 80));
    for n in [0, 2] {
        let from = all[1].clone();
        send(&from, &mut all[n]);
    }
    let digest = all[0].digest();
    assert_eq!(all[0].tombstones(), (80, 1));
    all[0].trim();
    all[0].trim();
    assert_eq!(all[0].tombstones(), (80, 1), "nobody has acknowledged the deletion");
    acknowledge(&mut all);
    for s in &all {
        assert_eq!(s.digest(), digest);
        let (kept, mourned) = s.tombstones();
        assert!(kept < 80 && mourned == 0, "{kept} of 80 stay because others hang on them");
    }
    make(&mut all[2], Edit::new(list(), Change::Delete));
    for n in 0..2 {
        let from = all[2].clone();
        send(&from, &mut all[n]);
    }
    acknowledge(&mut all);
    for s in &all {
        assert_eq!((s.tombstones(), s.len()), ((0, 0), 0));
    }
    // Another life of the key knows nothing of the old one.
    make(&mut all[0], insert(0, &["new"]));
    let from = all[0].clone();
    send(&from, &mut all[1]);
    assert_eq!(read(&all[1]), "new");
}

#[test]
fn nothing_is_purged_that_a_silent_member_may_still_name() {
    let mut all = spaces(3);
    make(&mut all[0], insert(0, &["a", "b", "c"]));
    for n in 1..3 {
        let from = all[0].clone();
        send(&from, &mut all[n]);
    }
    acknowledge(&mut all);
    make(&mut all[0], erase(1, 1));
    let from = all[0].clone();
    send(&from, &mut all[1]);
    // The third has not heard of it, and writes behind what is gone elsewhere; the others exchange for long.
    let late = make(&mut all[2], insert(2, &["behind b"]));
    for _ in 0..20 {
        make(&mut all[0], insert(0, &["x"]));
        make(&mut all[0], erase(0, 1));
        let from = all[0].clone();
        send(&from, &mut all[1]);
        acknowledge(&mut all[..2]);
    }
    assert!(all[1].tombstones().0 > 0);
    for n in 0..2 {
        all[n].receive(&late, NOW).unwrap();
        assert_eq!(read(&all[n]), "a behind b c");
    }
    let roster = all[0].roster().with(ReplicaIndex(2), Standing::Closing);
    let roster = roster.with(ReplicaIndex(2), Standing::Evicted { last: late.last().sequence(), heir: None });
    for n in 0..2 {
        all[n].set_roster(roster.clone()).unwrap();
    }
    acknowledge(&mut all[..2]);
    assert_eq!(all[1].tombstones().1, 0, "who is evicted holds nothing back");
}

#[test]
fn nothing_is_purged_that_a_member_may_name_of_whom_one_has_not_heard() {
    let mut all = spaces(3);
    make(&mut all[0], insert(0, &["a", "b"]));
    for n in 1..3 {
        let from = all[0].clone();
        send(&from, &mut all[n]);
    }
    acknowledge(&mut all);
    // A fourth is admitted and takes the second's state; the first hears of it last.
    let (roster, new) = all[0].roster().admit(NodeId(3)).unwrap();
    for n in 1..3 {
        all[n].set_roster(roster.clone()).unwrap();
    }
    let mut fourth = restore(&all[1], new, usize::MAX, |_| None);
    make(&mut all[0], erase(1, 1));
    for n in 1..3 {
        let from = all[0].clone();
        send(&from, &mut all[n]);
    }
    acknowledge(&mut all);
    let behind = make(&mut fourth, insert(2, &["c"]));
    all[0].set_roster(roster).unwrap();
    for s in &mut all {
        s.receive(&behind, NOW).unwrap();
        assert_eq!(read(s), "a c");
        assert_eq!(s.tombstones(), (1, 1));
    }
    let from = all[0].clone();
    send(&from, &mut fourth);
    all.push(fourth);
    acknowledge(&mut all);
    for s in &all {
        assert_eq!((s.digest(), s.tombstones()), (all[0].digest(), (1, 0)), "the new one hangs on it");
    }
}

#[test]
fn a_snapshot_in_parts_is_whole_whatever_happens_between_them() {
    let mut all = spaces(3);
    for n in 0..200 {
        make(&mut all[0], insert(n / 2, &[&n.to_string()]));
    }
    for n in 1..3 {
        let from = all[0].clone();
        send(&from, &mut all[n]);
    }
    let whole = all[0].chunk(None, usize::MAX).bytes;
    for bytes in [1, 40, 700] {
        let (mut cursor, mut parts) = (None, Vec::new());
        loop {
            let chunk = all[0].chunk(cursor.as_ref(), bytes);
            parts.extend(chunk.bytes);
            cursor = chunk.next;
            if cursor.is_none() {
                break;
            }
        }
        // Each part names the place anew; without that they are the same bytes.
        assert!(parts.len() >= whole.len() && (bytes < 700 || parts.len() < whole.len() + 100));
    }
    let mut writer = all[1].clone();
    // Everything is emptied while the state is read, and refilled, behind and before where the reading is.
    let restored = restore(&all[0], ReplicaIndex(2), 60, |part| match part % 7 {
        1 => Some(make(&mut writer, Edit::new(list(), Change::Delete))),
        3 => Some(make(&mut writer, insert(0, &["first", "second"]))),
        4 => Some(make(&mut writer, insert(1, &["between"]))),
        5 => Some(make(&mut writer, erase(0, 2))),
        _ => None,
    });
    assert_eq!(restored.digest(), writer.digest());
    assert_eq!(read(&restored), read(&writer));
}

#[test]
fn bytes_from_outside_are_refused() {
    let mut all = spaces(2);
    let good = make(&mut all[0], insert(0, &["a", "b"])).to_bytes();
    let mut refused = 0;
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let before = all[1].digest();
            match Batch::from_bytes(&bad) {
                Err(_) => refused += 1,
                Ok(batch) => {
                    let mut s = all[1].clone();
                    if s.receive(&batch, NOW).is_err() {
                        assert_eq!(s.digest(), before);
                    }
                }
            }
        }
    }
    assert!(refused > good.len());
    // An element that hangs on a replica that is not in the roster.
    let roster = Roster::founding((0..9).map(NodeId));
    let [mut strange, mut ninth] =
        [0, 8].map(|i| Space::new(Config::new([7; 32]), roster.clone(), ReplicaIndex(i)));
    strange.open();
    ninth.open();
    let of_ninth = make(&mut ninth, insert(0, &["x"]));
    strange.receive(&of_ninth, NOW).unwrap();
    let hung = make(&mut strange, insert(1, &["y"]));
    assert!(
        matches!(all[1].receive(&hung, NOW), Err(Refused::NotAdmitted(d, _)) if d == Dot::new(ReplicaIndex(8), 1))
    );
    for header in [&[9u8][..], &[]] {
        assert!(SnapshotHeader::decode(&mut Reader::new(header)).is_err());
    }
    let header = all[0].snapshot();
    let records: [(&[u8], &str); 6] = [
        (&[128, 10, 1, 1, b'l', 10, 0, 1, 2, 0], "no elements"),
        (&[128, 10, 1, 1, b'l', 10, 0, 1, 2, 17], "too many"),
        (&[128, 10, 1, 1, b'l', 10, 0, 1, 3, 1, 0], "left of the root"),
        (&[128, 10, 1, 1, b'l', 10, 7, 1, 2, 1, 0], "a stranger"),
        (&[128, 10, 1, 1, b'l', 10, 0, 1, 0, 0, 2, 1, 0], "hung on a younger one"),
        (&[128, 10, 1, 1, b'l', 2, 0, 0, 1], "another kind of entry"),
    ];
    for (bytes, what) in records {
        let mut restore =
            Restore::new(Config::new([7; 32]), all[0].roster().clone(), ReplicaIndex(1), header.clone());
        assert!(restore.absorb(bytes).is_err(), "{what}");
    }
}

#[test]
fn what_died_while_it_waited_is_buried_like_others() {
    let mut all = spaces(3);
    let first = make(&mut all[0], insert(0, &["a"]));
    all[1].receive(&first, NOW).unwrap();
    let hangs = make(&mut all[1], insert(1, &["b"]));
    let goes = make(&mut all[1], erase(1, 1));
    all[2].receive(&hangs, NOW).unwrap();
    all[2].receive(&goes, NOW).unwrap();
    assert_eq!(all[2].waiting().0, 1);
    all[2].trim();
    all[2].receive(&first, NOW).unwrap();
    let from = all[1].clone();
    send(&from, &mut all[0]);
    acknowledge(&mut all);
    for s in &all {
        assert_eq!((read(s).as_str(), s.tombstones()), ("a", (0, 0)), "{}", s.me());
    }
}
