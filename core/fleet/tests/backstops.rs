//! Stores are written past the doors, or restored past what they had acknowledged: regions and hosts announce what they believe, every
//! node finds the same, and the lower epoch yields by ordinary commands. Told as stories on plans and stores that are real.

#[allow(dead_code, reason = "each file of tests uses its part")]
mod harness;

use bytes::Bytes;
use dwcp_env::Now;
use dwcp_fleet::announce::{Announcer, BEAT, Belief, Ear, Read, Voice, belief};
use dwcp_fleet::command::{At, Command};
use dwcp_fleet::finding::Finding;
use dwcp_fleet::key::{Key, Scope};
use dwcp_fleet::name::Region;
use dwcp_fleet::plan::{Stop, due};
use dwcp_fleet::record::{Host, HostState, Life, Power, Record, Vm, What};
use dwcp_fleet::transaction::{Transaction, Write};
use dwcp_fleet::view::{Fetch, View};
use harness::{Fleet, LEASE, amount, name, seat};
use std::collections::BTreeMap;

/// The keyspace that all announce in, and who hears it.
#[derive(Default)]
struct Air {
    keys: BTreeMap<Announcer, BTreeMap<Bytes, Bytes>>,
    ear: Ear,
}

impl Air {
    fn say(&mut self, who: Announcer, believed: &Belief, now: Now) {
        let key = self.keys.entry(who.clone()).or_default();
        let fields: Vec<_> = key.iter().map(|(field, value)| (field.clone(), value.clone())).collect();
        let saying = Voice::following(&who, &fields).say(believed, Read::between(now, now));
        if let Some(saying) = saying {
            saying.gone.iter().for_each(|field| drop(key.remove(field)));
            key.extend(saying.put);
            key.insert(Bytes::from_static(BEAT), saying.beat);
        }
    }
    /// A node hears some of those that announce, as far as a cut lets it.
    fn hear(&mut self, from: &[&str]) {
        for (who, key) in &self.keys {
            let (Announcer::Region(region) | Announcer::Host(region, _)) = who;
            if from.contains(&region.as_str()) {
                let fields: Vec<_> =
                    key.iter().map(|(field, value)| (field.clone(), value.clone())).collect();
                assert_eq!(self.ear.take(who, &fields), Ok(true));
            }
        }
    }
}

/// Plans from what they ask to be read.
fn planned<T>(fleet: &mut Fleet, mut plan: impl FnMut(&View) -> Result<T, Stop>) -> T {
    let mut view = View::new();
    loop {
        match plan(&view) {
            Ok(planned) => return planned,
            Err(Stop::Refused(refusal)) => panic!("{refusal}"),
            Err(Stop::Want(wanted)) => {
                for fetch in wanted.0 {
                    let scope = fetch.scope().unwrap();
                    for (fetch, revision, found) in fleet.store(&scope).read(&[fetch]) {
                        view.take(&fetch, revision, found);
                    }
                }
            }
        }
    }
}

fn announce(fleet: &mut Fleet, air: &mut Air) {
    let now = fleet.now();
    for region in ["eu", "us"] {
        let region: Region = name(region);
        let believed = planned(fleet, |view| belief(view, &region, now));
        air.say(Announcer::Region(region), &believed, now);
    }
}

/// Both regions announce for so long, once in ten seconds, and all is heard of `from`.
fn for_secs(fleet: &mut Fleet, air: &mut Air, secs: u64, from: &[&str]) -> Vec<Finding> {
    for _ in 0..secs / 10 {
        fleet.now += 10;
        announce(fleet, air);
        air.hear(from);
    }
    let found = air.ear.findings(fleet.now());
    assert_eq!(found, air.ear.clone().findings(fleet.now()));
    found
}

fn contested(fleet: &mut Fleet, region: &str, found: &[Finding]) -> Vec<Command> {
    let (region, now) = (name::<Region>(region), fleet.now());
    planned(fleet, |view| due::contested(view, &region, found, now)).commands
}

fn moved(fleet: &mut Fleet, at: &At) -> At {
    fleet.ok(Command::Move { at: at.clone(), to: name("us") });
    fleet.settle();
    At { region: name("us"), ..at.clone() }
}

/// Writes past the doors.
fn write(fleet: &mut Fleet, scope: &Scope, key: Key, value: Bytes) {
    let writes = vec![Write::Put(key, value)];
    let written = Transaction { scope: scope.clone(), checks: vec![], writes, rests_on: vec![] };
    assert!(fleet.store(scope).commit(&written));
}

const BOTH: [&str; 2] = ["eu", "us"];

#[test]
fn an_ordinary_day_finds_nothing() {
    let (mut fleet, mut air) = (Fleet::small(), Air::default());
    let at = fleet.create("eu-web");
    assert_eq!(for_secs(&mut fleet, &mut air, 60, &BOTH), []);
    // A move, seen by a node that is cut off from where it came from, for ten minutes.
    moved(&mut fleet, &at);
    for secs in [10, 20, 600] {
        assert_eq!(for_secs(&mut fleet, &mut air, secs, &["us"]), []);
    }
    assert_eq!(for_secs(&mut fleet, &mut air, 10, &BOTH), []);
    // Its name and address are given again, once nobody has them.
    let there = At { region: name("us"), ..at };
    fleet.ok(Command::Delete { at: there });
    fleet.settle();
    fleet.create("eu-web");
    assert_eq!(for_secs(&mut fleet, &mut air, 10, &["eu"]), [], "us was not heard yet: what it said is old");
    assert_eq!(for_secs(&mut fleet, &mut air, 600, &BOTH), []);
}

#[test]
fn a_store_that_was_restored_with_its_life_owns_what_has_left() {
    let (mut fleet, mut air) = (Fleet::small(), Air::default());
    let at = fleet.create("eu-web");
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    // A copy of the disks: nobody notices that it is one.
    let copy = fleet.store(&Scope::Region(name("eu"))).clone();
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::Off });
    let there = moved(&mut fleet, &at);
    fleet.ok(Command::SetPower { at: there.clone(), power: Power::On });
    assert_eq!(for_secs(&mut fleet, &mut air, 100, &BOTH), []);
    fleet.stores.insert(Scope::Region(name("eu")), copy);
    // Cut apart, nobody can know; healed, everybody does.
    assert_eq!(for_secs(&mut fleet, &mut air, 100, &["us"]), []);
    let found = for_secs(&mut fleet, &mut air, 100, &BOTH);
    let owned = |f: &&Finding| {
        matches!(f, Finding::OwnedTwice { keeps, quarantine, tie: false, .. }
        if *keeps == (name("us"), 2) && *quarantine == [(name("eu"), 1)])
    };
    assert_eq!(found.iter().filter(owned).count(), 1, "{found:?}");
    // The lower epoch yields: it is switched off, and stays.
    assert_eq!(contested(&mut fleet, "us", &found), []);
    let off = Command::SetPower { at: at.clone(), power: Power::Off };
    assert_eq!(contested(&mut fleet, "eu", &found), std::slice::from_ref(&off));
    fleet.ok(off);
    assert_eq!(contested(&mut fleet, "eu", &found), []);
    assert_eq!(fleet.vm(&at).map(|vm| (vm.life, vm.spec.power)), Some((Life::Active, Power::Off)));
    assert_eq!(fleet.vm(&there).map(|vm| vm.spec.power), Some(Power::On));
    // Put right, the finding ends.
    fleet.ok(Command::Reopen { region: name("eu") });
    fleet.settle();
    assert_eq!(fleet.vm(&at), None);
    assert_eq!(for_secs(&mut fleet, &mut air, 10, &BOTH), []);
}

#[test]
fn a_store_that_was_restored_and_not_opened_says_nothing() {
    let (mut fleet, mut air) = (Fleet::small(), Air::default());
    let at = fleet.create("eu-web");
    let mut backup = fleet.store(&Scope::Region(name("eu"))).backup();
    moved(&mut fleet, &at);
    for_secs(&mut fleet, &mut air, 60, &BOTH);
    core::mem::swap(fleet.store(&Scope::Region(name("eu"))), &mut backup);
    assert_eq!(for_secs(&mut fleet, &mut air, 100, &BOTH), []);
    fleet.ok(Command::Reopen { region: name("eu") });
    assert_eq!(for_secs(&mut fleet, &mut air, 200, &BOTH), []);
}

#[test]
fn an_old_finding_does_nothing() {
    let (mut fleet, _) = (Fleet::small(), Air::default());
    let at = fleet.create("eu-web");
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    // Whoever says that eu yields under an epoch that it has exceeded since, or that us has it under none that is higher.
    let said = |top| Finding::OwnedTwice {
        vm: at.vm,
        keeps: (name("us"), top),
        quarantine: vec![(name("eu"), 1)],
        tie: top == 1,
    };
    assert_eq!(contested(&mut fleet, "eu", &[said(1)]), [], "for a person");
    assert_eq!(contested(&mut fleet, "us", &[said(2)]), []);
    assert_eq!(contested(&mut fleet, "eu", &[said(2)]).len(), 1);
}

#[test]
fn an_address_and_a_name_written_twice_are_found_and_kept_by_the_higher_epoch() {
    let (mut fleet, mut air) = (Fleet::small(), Air::default());
    let (here, there) = (fleet.create("eu-web"), fleet.create("us-web"));
    assert_eq!(for_secs(&mut fleet, &mut air, 60, &BOTH), []);
    let first = fleet.vm(&here).unwrap();
    let mut second: Vm = fleet.vm(&there).unwrap();
    second.spec.name = first.spec.name.clone();
    second.addresses = first.addresses.clone();
    second.addresses[0].epoch += 1;
    write(&mut fleet, &Scope::Region(name("us")), Key::vm(&name("us"), there.vm), second.encode());
    let found = for_secs(&mut fleet, &mut air, 70, &BOTH);
    let [
        Finding::AddressTwice { ip, keeps, down, tie: false },
        Finding::NameTwice { name: called, keeps: first_of, renamed },
    ] = &found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((*ip, *keeps, &down[..]), (first.addresses[0].ip, there.vm, &[here.vm][..]));
    assert_eq!((called, *first_of), (&first.spec.name, here.vm.min(there.vm)));
    assert_eq!(renamed[0].0, here.vm.max(there.vm));
    for region in BOTH {
        assert_eq!(
            contested(&mut fleet, region, &found),
            [],
            "an interface and a name are a person's to decide"
        );
    }
}

#[test]
fn a_host_that_is_over_booked_gets_no_more() {
    let (mut fleet, mut air) = (Fleet::small(), Air::default());
    let at = fleet.create("eu-web");
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    let place = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    let host = seat(&at, &place).host;
    assert_eq!(for_secs(&mut fleet, &mut air, 60, &BOTH), []);
    let (scope, key) = (Scope::Region(name("eu")), Key::host(&name("eu"), &host));
    let (_, _, bytes) = fleet.store(&scope).read(&[Fetch::One(key.clone())])[0].2[0].clone();
    let small = Host {
        capacity: dwcp_fleet::resources::Resources { vcpus: 0, ..amount(1) },
        ..Host::decode(&bytes).unwrap()
    };
    write(&mut fleet, &scope, key, small.encode());
    let found = for_secs(&mut fleet, &mut air, 10, &BOTH);
    let over = Finding::OverCommitted { host: host.clone(), part: "vcpus".into(), claimed: 1, there: 0 };
    assert_eq!(found, [over]);
    let cordon = Command::HostState { region: name("eu"), host, state: HostState::Cordoned };
    assert_eq!(contested(&mut fleet, "eu", &found), std::slice::from_ref(&cordon));
    assert_eq!(contested(&mut fleet, "us", &found), []);
    fleet.ok(cordon);
    assert_eq!(contested(&mut fleet, "eu", &found), []);
}

#[test]
fn two_hosts_that_run_one_machine_are_found() {
    let (mut fleet, mut air) = (Fleet::small(), Air::default());
    let at = fleet.create("eu-web");
    let runs = |epoch| -> Belief {
        [(dwcp_fleet::announce::Topic::Vm(at.vm), What::Runs { epoch, seen: vec![] })].into()
    };
    for (host, epoch) in [("eu-a", 1), ("eu-b", 2)] {
        air.say(Announcer::Host(name("eu"), name(host)), &runs(epoch), fleet.now());
    }
    air.hear(&BOTH);
    assert_eq!(air.ear.findings(fleet.now()), [], "one may have ended before the other began");
    fleet.now += 60;
    for (host, epoch) in [("eu-a", 1), ("eu-b", 2)] {
        air.say(Announcer::Host(name("eu"), name(host)), &runs(epoch), fleet.now());
    }
    air.hear(&BOTH);
    let found = air.ear.findings(fleet.now());
    assert!(
        matches!(&found[..], [Finding::RunsTwice { fence, tie: false, .. }] if *fence == [(name("eu-a"), 1)]),
        "{found:?}"
    );
    // Nobody says so any more.
    fleet.now += 400;
    assert_eq!(air.ear.findings(fleet.now()), []);
}
