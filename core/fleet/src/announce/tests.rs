//! Voices that go on from what stands there, ears that hear only what is whole, however it was torn on the way.

use super::*;
use proptest::prelude::*;
use std::{format, vec};

fn region(name: &str) -> Announcer {
    Announcer::Region(name.parse().unwrap())
}

fn at(secs: u64) -> Now {
    Now {
        wall: WallTime::from_nanos(secs * 1_000_000_000),
        uncertainty: Duration::millis(100),
        ..Now::default()
    }
}

fn has(epoch: u64) -> What {
    What::Has { name: "a".parse().unwrap(), epoch, addresses: vec![] }
}

/// A key as it lies in the keyspace.
#[derive(Clone, Default)]
struct Hash(BTreeMap<Bytes, Bytes>);

impl Hash {
    fn fields(&self) -> Vec<(Bytes, Bytes)> {
        self.0.iter().map(|(field, value)| (field.clone(), value.clone())).collect()
    }
    fn write(&mut self, saying: &Saying) {
        for field in &saying.gone {
            self.0.remove(field);
        }
        self.0.extend(saying.put.iter().cloned());
        self.0.insert(Bytes::from_static(BEAT), saying.beat.clone());
    }
    /// Says it by whoever goes on from what stands there.
    fn say(&mut self, who: &Announcer, believed: &Belief, now: Now) -> bool {
        let saying = Voice::following(who, &self.fields()).say(believed, Read::between(now, now));
        saying.inspect(|saying| self.write(saying)).is_some()
    }
}

fn heard(ear: &Ear) -> Vec<(u128, u64)> {
    let mut all: Vec<_> = ear.announcements().iter().map(|a| (a.vm.0, a.home.as_ref().unwrap().1)).collect();
    all.sort_unstable();
    all
}

#[test]
fn what_was_read_was_true_between_the_ends_of_the_reading() {
    let read = Read::between(at(10), at(12));
    assert_eq!(read.from, WallTime::from_nanos(9_900_000_000));
    assert_eq!(read.to, WallTime::from_nanos(12_100_000_000));
}

#[test]
fn keys_and_fields_say_whose_they_are() {
    let host = Announcer::Host("eu".parse().unwrap(), "h1".parse().unwrap());
    for who in [region("eu"), host] {
        assert_eq!(Announcer::of(who.key().as_bytes()), Some(who));
    }
    for bad in
        ["", "dwcp/fleet/said/", "dwcp/fleet/said/r/EU", "dwcp/fleet/said/h/eu", "dwcp/fleet/said/h/eu/h/1"]
    {
        assert_eq!(Announcer::of(bad.as_bytes()), None, "{bad}");
    }
    for topic in [Topic::Vm(VmId(7)), Topic::Host("h1".parse().unwrap())] {
        assert_eq!(Topic::of(&topic.field()), Some(topic));
    }
    assert!([&b""[..], b"v1", b"hH", b"x"].iter().all(|bad| Topic::of(bad).is_none()));
}

#[test]
fn what_does_not_change_is_not_said_again_and_a_beat_keeps_it() {
    let (eu, mut hash, mut ear) = (region("eu"), Hash::default(), Ear::default());
    let mut believed: Belief = (0..100).map(|n| (Topic::Vm(VmId(n)), has(1))).collect();
    assert!(hash.say(&eu, &believed, at(1_000)));
    assert!(!hash.say(&eu, &believed, at(1_059)), "nothing is due");
    let before = hash.clone();
    assert!(hash.say(&eu, &believed, at(1_060)), "a beat is");
    let changed = hash.0.iter().filter(|(field, value)| before.0.get(*field) != Some(*value)).count();
    assert_eq!(changed, 1, "and nothing but the beat");
    assert_eq!(ear.take(&eu, &hash.fields()), Ok(true));
    assert_eq!(ear.announcements()[0].since, Read::between(at(1_000), at(1_000)).to);
    assert_eq!(ear.announcements()[0].said, Read::between(at(1_060), at(1_060)).from);
    // A machine changes hands, another goes: both count from now, the rest from when it began.
    believed.insert(Topic::Vm(VmId(3)), has(2));
    believed.remove(&Topic::Vm(VmId(4)));
    let now = Read::between(at(1_061), at(1_061));
    let saying = Voice::following(&eu, &hash.fields()).say(&believed, now).unwrap();
    assert_eq!((saying.put.len(), saying.gone.len()), (1, 1));
    hash.write(&saying);
    assert_eq!(ear.beat(&eu, &saying.beat), Ok(true), "there is something to read");
    assert_eq!(ear.take(&eu, &hash.fields()), Ok(true));
    let since: BTreeSet<WallTime> = ear.announcements().iter().map(|a| a.since).collect();
    assert_eq!(since.len(), 2);
    assert_eq!(ear.size(), (1, 99));
    // What nobody says any more ends.
    ear.keep(&[eu.clone()].into(), at(1_300));
    assert_eq!(ear.size().0, 1);
    ear.keep(&[eu].into(), at(1_400));
    assert_eq!(ear.size().0, 0);
}

#[test]
fn what_can_not_be_read_changes_nothing_and_goes_with_the_next_word() {
    let (eu, mut hash, mut ear) = (region("eu"), Hash::default(), Ear::default());
    let believed: Belief = [(Topic::Vm(VmId(1)), has(1))].into();
    hash.say(&eu, &believed, at(1_000));
    assert_eq!(ear.take(&eu, &hash.fields()), Ok(true));
    let field = Topic::Vm(VmId(1)).field();
    let run = Said { what: What::Runs { epoch: 1, seen: vec![] }, since: WallTime::default() }.encode();
    let long = Bytes::from(vec![2; FIELD_MAX + 1]);
    let odd: [(Bytes, Bytes); 6] = [
        (field.clone(), Bytes::from_static(b"")),
        (field.clone(), long.clone()),
        (field, run),
        (Bytes::from_static(b"x"), Bytes::from_static(b"x")),
        (
            Topic::Host("h".parse().unwrap()).field(),
            Said { what: has(1), since: WallTime::default() }.encode(),
        ),
        (Bytes::from_static(BEAT), long),
    ];
    for (field, value) in odd {
        let mut bad = hash.clone();
        bad.0.insert(field, value);
        assert!(ear.take(&eu, &bad.fields()).is_err());
        assert_eq!(heard(&ear), [(1, 1)]);
        assert!(bad.say(&eu, &believed, at(1_001)));
        assert_eq!(ear.take(&eu, &bad.fields()), Ok(true), "it was put right");
    }
    let many = vec![(Bytes::from_static(b"x"), Bytes::new()); FIELDS_MAX + 2];
    assert!(ear.take(&eu, &many).is_err());
}

/// What is written, in bytes of fields and values: docs/fleet.md has these figures.
#[test]
fn ten_thousand_machines_cost_little_and_nothing_at_rest() {
    let (eu, mut hash) = (region("eu"), Hash::default());
    let one = |n: u32, epoch| What::Has {
        name: format!("eu-machine-{n:05}").parse().unwrap(),
        epoch,
        addresses: vec![crate::record::Assigned {
            ip: core::net::Ipv4Addr::from(0x0a00_0000 + n).into(),
            block: "10.0.0.0/18".parse().unwrap(),
            epoch: 1,
        }],
    };
    let mut believed: Belief =
        (0..10_000).map(|n| (Topic::Vm(VmId(u128::from(n) << 90)), one(n, 1))).collect();
    let mut says = |believed: &Belief, secs: u64| {
        let now = at(1_800_000_000 + secs);
        let saying = Voice::following(&eu, &hash.fields()).say(believed, Read::between(now, now))?;
        hash.write(&saying);
        let put: usize = saying.put.iter().map(|(field, value)| field.len() + value.len()).sum();
        Some((put, BEAT.len() + saying.beat.len()))
    };
    assert_eq!(says(&believed, 0), Some((600_000, 44)));
    assert_eq!((1..60).find_map(|secs| says(&believed, secs)), None);
    assert_eq!(says(&believed, 60), Some((0, 44)));
    believed.insert(Topic::Vm(VmId(7 << 90)), one(7, 2));
    assert_eq!(says(&believed, 61), Some((60, 44)));
}

#[test]
fn the_largest_machine_fits_a_field() {
    let assigned = crate::record::Assigned {
        ip: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(),
        block: "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120".parse().unwrap(),
        epoch: u64::MAX,
    };
    let name = "x".repeat(63).parse().unwrap();
    let what = What::Has { name, epoch: u64::MAX, addresses: vec![assigned; 8] };
    let said = Said { what, since: WallTime::from_nanos(u64::MAX) }.encode();
    assert!(said.len() <= FIELD_MAX, "{}", said.len());
}

/// What is written of a saying arrives field by field, in any order, some of it late.
#[derive(Clone, Debug)]
struct Step {
    believed: BTreeMap<u8, u8>,
    /// In which order the last writes arrive, and how many of them.
    order: u64,
    some: usize,
}

fn step() -> impl Strategy<Value = Step> {
    (prop::collection::btree_map(0_u8..4, 1_u8..4, 0..4), any::<u64>(), 0_usize..6)
        .prop_map(|(believed, order, some)| Step { believed, order, some })
}

proptest! {
    /// However writes are torn on the way, what is heard is what was believed at one moment.
    #[test]
    fn what_is_heard_was_believed_at_one_moment(steps in prop::collection::vec(step(), 1..12)) {
        let (eu, mut hash, mut here, mut ear) = (region("eu"), Hash::default(), Hash::default(), Ear::default());
        let mut moments: Vec<Vec<(u128, u64)>> = vec![vec![]];
        let mut late: Vec<(Bytes, Option<Bytes>)> = vec![];
        for (n, step) in steps.iter().enumerate() {
            let of = |(vm, epoch): (&u8, &u8)| (Topic::Vm(VmId(u128::from(*vm))), has(u64::from(*epoch)));
            let believed: Belief = step.believed.iter().map(of).collect();
            hash.say(&eu, &believed, at(1_000 + n as u64));
            moments.push(step.believed.iter().map(|(vm, epoch)| (u128::from(*vm), u64::from(*epoch))).collect());
            // All that differs from what is here is on its way; some of it arrives.
            late.clear();
            let keys: BTreeSet<&Bytes> = hash.0.keys().chain(here.0.keys()).collect();
            let differs = keys.into_iter().filter(|field| hash.0.get(*field) != here.0.get(*field));
            late.extend(differs.map(|field| (field.clone(), hash.0.get(field).cloned())));
            let turn = step.order as usize % late.len().max(1);
            late.rotate_left(turn);
            for (field, value) in late.iter().take(step.some) {
                match value {
                    Some(value) => here.0.insert(field.clone(), value.clone()),
                    None => here.0.remove(field),
                };
            }
            let whole = ear.take(&eu, &here.fields());
            prop_assert!(whole.is_ok());
            prop_assert!(moments.contains(&heard(&ear)), "{:?} was never believed", heard(&ear));
        }
    }
}
