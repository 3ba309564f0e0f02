//! Plans told as stories: what is asked, what is answered, and each refusal with its remedy. One store at a time answers
//! at once; the rehearsal has the world in which nothing does.

#[allow(dead_code, reason = "each file of tests uses its part")]
mod harness;

use dwcp_env::WallTime;
use dwcp_fleet::command::{Answer, At, Command};
use dwcp_fleet::key::{Key, Scope};
use dwcp_fleet::name::VmId;
use dwcp_fleet::record::{HostState, Life, Nic, Phase, Power, Spec, Thing};
use dwcp_fleet::refusal::Code;
use dwcp_fleet::resources::Resources;
use harness::{Fleet, LEASE, amount, name, seat, spec};

#[test]
fn a_machine_lives_and_gives_all_back() {
    let mut fleet = Fleet::small();
    let before = fleet.stores[&Scope::Region(name("eu"))].each().count();
    let at = fleet.create_as(99, "eu-web");
    let vm = fleet.vm(&at).unwrap();
    assert_eq!((vm.generation, vm.addresses.len(), vm.life), (1, 1, Life::Active));
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    let place = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    let seat = seat(&at, &place);
    assert_eq!((seat.host.as_str(), seat.epoch), ("eu-a", 1));
    assert_eq!(
        fleet.refused(Command::Resize { at: at.clone(), vcpus: 2, memory_mib: 512 }).0,
        Code::BadState
    );
    fleet.ok(Command::Delete { at: at.clone() });
    assert_eq!(fleet.refused(Command::Purge { at: at.clone() }).0, Code::NotYet);
    assert_eq!(fleet.refused(Command::SetPower { at: at.clone(), power: Power::On }).0, Code::BadState);
    fleet.ok(Command::Release { seat });
    fleet.settle();
    assert_eq!(fleet.vm(&at), None);
    // All is as before, but that the number is remembered.
    assert_eq!(fleet.stores[&Scope::Region(name("eu"))].each().count(), before + 1);
    let late = fleet.again(99, Command::Create { region: name("eu"), spec: spec("eu-web") });
    assert_eq!(late.unwrap_err().code, Code::Exists);
    fleet.now += 90_000;
    fleet.settle();
    assert_eq!(fleet.stores[&Scope::Region(name("eu"))].each().count(), before);
}

#[test]
fn asked_twice_is_done_once() {
    let mut fleet = Fleet::small();
    let at = fleet.create_as(99, "eu-web");
    let again = fleet.again(99, Command::Create { region: name("eu"), spec: spec("eu-web") });
    assert_eq!(again, Ok(Answer::Vm { at: at.clone(), generation: 1 }));
    let on = |power| Command::SetPower { at: at.clone(), power };
    fleet.again(70, on(Power::On)).unwrap();
    fleet.again(71, on(Power::Off)).unwrap();
    // A retry of what was done before does not undo what came after.
    assert_eq!(fleet.again(70, on(Power::On)), Ok(Answer::Vm { at: at.clone(), generation: 3 }));
    assert_eq!(fleet.vm(&at).unwrap().spec.power, Power::Off);
}

#[test]
fn what_a_creation_is_refused_for() {
    let mut fleet = Fleet::small();
    fleet.create("eu-web");
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = spec("eu-db");
        change(&mut spec);
        Command::Create { region: name("eu"), spec }
    };
    let table: [(&str, Code, Command); 10] = [
        ("vcpus: ", Code::Invalid, with(&|s| s.vcpus = 0)),
        ("memory_mib: ", Code::Invalid, with(&|s| s.memory_mib = 1 << 40)),
        ("disks/1/name: ", Code::Invalid, with(&|s| s.disks = vec![s.disks[0].clone(), s.disks[0].clone()])),
        ("disks/0/gib: ", Code::Invalid, with(&|s| s.disks[0].gib = 0)),
        ("nics: ", Code::Invalid, with(&|s| s.nics = vec![s.nics[0].clone(); 9])),
        ("labels: ", Code::Invalid, with(&|s| s.labels = [(String::new(), String::new())].into())),
        ("image: ", Code::NoImage, with(&|s| s.image = name("none"))),
        ("name: ", Code::NoPrefix, with(&|s| s.name = name("web"))),
        ("name: ", Code::NameTaken, with(&|s| s.name = name("eu-web"))),
        ("group red: ", Code::QuotaExceeded, with(&|s| s.disks[0].gib = 1_000)),
    ];
    for (at, code, command) in table {
        let (found, text) = fleet.refused(command);
        assert_eq!(found, code, "{text}");
        assert!(text.starts_with(at), "{text}");
    }
    let other = with(&|s| s.group = name("blue"));
    assert_eq!(fleet.refused(other).0, Code::QuotaExceeded);
}

#[test]
fn addresses_run_out_and_come_back() {
    let mut fleet = Fleet::small();
    let four = |n: usize| {
        let mut spec = spec(&format!("eu-{n}"));
        spec.nics = vec![];
        for i in 0..n {
            spec.nics.push(Nic { name: name(&format!("e{i}")), family: Default::default() });
        }
        Command::Create { region: name("eu"), spec }
    };
    let Answer::Vm { at, .. } = fleet.ok(four(3)) else { panic!() };
    let mut ips: Vec<_> = fleet.vm(&at).unwrap().addresses.iter().map(|a| a.ip).collect();
    ips.sort();
    ips.dedup();
    assert_eq!(ips.len(), 3);
    fleet.ok(Command::QuotaShare { group: name("red"), region: name("us"), right: amount(1) });
    fleet.ok(Command::QuotaShare { group: name("red"), region: name("eu"), right: amount(7) });
    assert_eq!(fleet.refused(four(2)).0, Code::NoAddress);
    // A block goes back only when nothing of it is in use; until then nothing more is given of it.
    let back = Command::Return { thing: name("10.0.0.0/30"), region: name("eu") };
    assert_eq!(fleet.refused(back.clone()).0, Code::InUse);
    assert_eq!(fleet.refused(four(1)).0, Code::NoAddress);
    fleet.ok(Command::Delete { at });
    fleet.settle();
    fleet.ok(back);
    fleet.ok(Command::Lend { thing: name("10.0.0.0/30"), region: name("us") });
    assert_eq!(
        fleet.refused(Command::Lend { thing: name("10.0.0.0/30"), region: name("eu") }).0,
        Code::BadState
    );
}

#[test]
fn blocks_and_prefixes_share_nothing() {
    let mut fleet = Fleet::small();
    assert_eq!(fleet.refused(Command::BlockAdd { block: name("10.0.0.0/29") }).0, Code::Exists);
    assert_eq!(fleet.refused(Command::PrefixAdd { prefix: name("eu-w") }).0, Code::Exists);
    assert_eq!(fleet.refused(Command::PrefixAdd { prefix: name("e") }).0, Code::Exists);
    fleet.ok(Command::BlockAdd { block: name("10.8.0.0/16") });
    let whole: Thing = name("10.8.0.0/16");
    assert_eq!(fleet.refused(Command::Lend { thing: whole, region: name("eu") }).0, Code::Invalid);
    assert_eq!(
        fleet.refused(Command::BlockSplit { block: name("10.8.0.0/16"), length: 30 }).0,
        Code::Invalid
    );
    assert_eq!(
        fleet.refused(Command::BlockSplit { block: name("10.8.0.0/16"), length: 16 }).0,
        Code::Invalid
    );
    let split = Command::BlockSplit { block: name("10.8.0.0/16"), length: 20 };
    fleet.ok(split.clone());
    fleet.ok(split);
    fleet.ok(Command::Lend { thing: name("10.8.16.0/20"), region: name("eu") });
    assert_eq!(
        fleet.refused(Command::Lend { thing: name("10.9.0.0/20"), region: name("eu") }).0,
        Code::NotFound
    );
}

#[test]
fn rights_move_between_regions_and_are_never_spent_twice() {
    let mut fleet = Fleet::small();
    let share =
        |region: &str, n| Command::QuotaShare { group: name("red"), region: name(region), right: amount(n) };
    assert_eq!(fleet.refused(share("eu", 5)).0, Code::QuotaExceeded);
    fleet.create("us-a");
    assert_eq!(fleet.refused(share("us", 0)).0, Code::InUse);
    // Interrupted when the region has given back, and the fleet does not know: nobody can have it.
    assert_eq!(fleet.steps(900, share("us", 1), 1), None);
    assert_eq!(
        fleet.refused(Command::Create { region: name("us"), spec: spec("us-b") }).0,
        Code::QuotaExceeded
    );
    fleet.settle();
    fleet.ok(share("eu", 7));
    assert_eq!(
        fleet.refused(Command::QuotaTotal { group: name("red"), total: amount(7) }).0,
        Code::QuotaExceeded
    );
}

#[test]
fn a_lost_hosts_machine_waits_for_the_end_of_its_lease() {
    let mut fleet = Fleet::small();
    let at = fleet.create("eu-web");
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    let place = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    let seat = seat(&at, &place);
    fleet.ok(Command::HostState { region: name("eu"), host: seat.host.clone(), state: HostState::Lost });
    fleet.settle();
    assert_eq!(fleet.refused(Command::Recover { at: at.clone() }).0, Code::NotYet);
    fleet.now += 10;
    assert_eq!(fleet.refused(Command::Recover { at: at.clone() }).0, Code::NotYet, "not by every clock");
    fleet.now += 1;
    assert_eq!(fleet.refused(Command::Renew { seat: seat.clone(), lease: LEASE }).0, Code::LeaseLost);
    fleet.settle();
    let place = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    assert!(matches!(&place, Answer::Place { host, epoch: 2, .. } if host.as_str() == "eu-b"), "{place:?}");
    assert_eq!(fleet.refused(Command::Renew { seat: seat.clone(), lease: LEASE }).0, Code::LeaseLost);
    let report = Command::Report {
        seat,
        index: 9,
        phase: Phase::Running,
        since: WallTime::default(),
        message: String::new(),
    };
    assert_eq!(fleet.refused(report).0, Code::LeaseLost);
}

#[test]
fn a_migration_is_yielded_or_called_back() {
    let mut fleet = Fleet::small();
    let at = fleet.create("eu-web");
    assert_eq!(fleet.refused(Command::Migrate { at: at.clone(), to: None }).0, Code::BadState);
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    let place = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    let first = seat(&at, &place);
    fleet.ok(Command::Migrate { at: at.clone(), to: Some(name("eu-b")) });
    fleet.ok(Command::StayPut { at: at.clone() });
    assert_eq!(fleet.refused(Command::Yield { seat: first.clone(), lease: LEASE }).0, Code::BadState);
    fleet.ok(Command::Migrate { at: at.clone(), to: None });
    let place = fleet.ok(Command::Yield { seat: first.clone(), lease: LEASE });
    let second = seat(&at, &place);
    assert_eq!((second.host.as_str(), second.epoch), ("eu-b", 2));
    // Asked again it is done already; and what the first host still asks changes nothing.
    assert_eq!(fleet.ok(Command::Yield { seat: first.clone(), lease: LEASE }), Answer::Done);
    assert_eq!(fleet.ok(Command::Release { seat: first }), Answer::Done);
    fleet.ok(Command::Renew { seat: second, lease: LEASE });
}

#[test]
fn reports_go_by_the_table() {
    let mut fleet = Fleet::small();
    let at = fleet.create("eu-web");
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    let place = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    let seat = seat(&at, &place);
    let report = |index, phase| {
        let seat = seat.clone();
        Command::Report { seat, index, phase, since: WallTime::default(), message: "x".repeat(5_000) }
    };
    assert_eq!(fleet.refused(report(1, Phase::Running)).0, Code::InvalidTransition);
    fleet.ok(report(1, Phase::Starting));
    assert_eq!(fleet.refused(report(2, Phase::Starting)).0, Code::InvalidTransition);
    fleet.ok(report(2, Phase::Running));
    fleet.ok(report(1, Phase::Starting));
    // What was between was lost.
    fleet.ok(report(9, Phase::Stopped));
}

/// A move is cut off before each of its transactions in turn, and somebody else goes on.
#[test]
fn a_move_is_finished_by_others_wherever_it_stopped() {
    for steps in 0..=6 {
        let mut fleet = Fleet::small();
        let at = fleet.create("eu-web");
        let move_it = Command::Move { at: at.clone(), to: name("us") };
        let ended = fleet.steps(500, move_it.clone(), steps);
        assert_eq!(ended.is_some(), steps == 6, "a move has six transactions");
        fleet.settle();
        let there = At { region: name("us"), vm: at.vm };
        let (old, new) = (fleet.vm(&at), fleet.vm(&there));
        if steps == 0 {
            assert!(old.is_some() && new.is_none());
            continue;
        }
        let new = new.unwrap_or_else(|| panic!("after {steps}"));
        assert_eq!((old, new.life, new.epoch, new.birth.as_str()), (None, Life::Active, 2, "eu"));
        assert_eq!(new.addresses[0].block.to_string(), "10.0.1.0/30");
        // Its name is still its own where it was born.
        let thief = Command::Create { region: name("eu"), spec: spec("eu-web") };
        assert_eq!(fleet.refused(thief.clone()).0, Code::NameTaken);
        fleet.ok(Command::Delete { at: there });
        fleet.settle();
        fleet.ok(thief);
    }
}

#[test]
fn a_move_that_does_not_fit_is_called_back() {
    let mut fleet = Fleet::small();
    let at = fleet.create("eu-web");
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    let move_it = || Command::Move { at: at.clone(), to: name("us") };
    assert_eq!(fleet.refused(move_it()).0, Code::BadState);
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::Off });
    fleet.ok(Command::QuotaShare { group: name("red"), region: name("us"), right: Resources::NONE });
    assert_eq!(fleet.again(800, move_it()).unwrap_err().code, Code::QuotaExceeded);
    // Under the same number it is not begun again.
    fleet.ok(Command::QuotaShare { group: name("red"), region: name("us"), right: amount(1) });
    fleet.settle();
    assert_eq!(fleet.again(800, move_it()).unwrap_err().code, Code::BadState);
    assert_eq!(fleet.vm(&at).unwrap().life, Life::Active);
    fleet.ok(move_it());
    assert_eq!(fleet.vm(&at), None);
}

#[test]
fn a_machine_moves_there_and_back() {
    let mut fleet = Fleet::small();
    let at = fleet.create("eu-web");
    let there = At { region: name("us"), vm: at.vm };
    for _ in 0..3 {
        fleet.ok(Command::Move { at: at.clone(), to: name("us") });
        fleet.ok(Command::Move { at: there.clone(), to: name("eu") });
    }
    assert_eq!(fleet.vm(&at).unwrap().epoch, 7);
    fleet.ok(Command::Delete { at: at.clone() });
    fleet.settle();
    assert_eq!(fleet.refused(Command::Move { at, to: name("us") }).0, Code::NotFound);
}

#[test]
fn a_record_that_others_wrote_is_named_and_left() {
    let mut fleet = Fleet::small();
    let at = fleet.create("eu-web");
    let key = Key::vm(&at.region, at.vm);
    for bytes in [&b""[..], b"junk", &[2, 1, 255], &[3, 1], &[1, 1], &[2, 4, 0]] {
        let write = dwcp_fleet::transaction::Write::Put(key.clone(), bytes::Bytes::copy_from_slice(bytes));
        let scope = Scope::Region(name("eu"));
        let transaction = dwcp_fleet::transaction::Transaction {
            scope: scope.clone(),
            checks: vec![],
            writes: vec![write],
            rests_on: vec![],
        };
        assert!(fleet.store(&scope).commit(&transaction));
        let (code, text) = fleet.refused(Command::Delete { at: at.clone() });
        assert_eq!(code, Code::Damaged);
        assert!(text.starts_with(key.as_str()), "{text}");
    }
    assert_eq!(fleet.refused(Command::Delete { at: At { vm: VmId(5), ..at } }).0, Code::NotFound);
}

/// The shapes people write: unknown keys and absurd values are refused where they are read.
#[test]
fn shapes_are_read_strictly() {
    let good = r#"{"name":"eu-web","image":"base","vcpus":1,"memory_mib":512,"group":"red"}"#;
    assert!(serde_json::from_str::<Spec>(good).is_ok());
    for (bad, says) in [
        (
            r#"{"name":"eu-web","image":"base","vcpu":1,"memory_mib":512,"group":"red"}"#,
            "unknown field `vcpu`",
        ),
        (r#"{"name":"EU","image":"base","vcpus":1,"memory_mib":512,"group":"red"}"#, "names are of a-z"),
        (r#"{"name":"eu-web","image":"base","vcpus":-1,"memory_mib":512,"group":"red"}"#, "invalid value"),
        (r#"{"image":"base","vcpus":1,"memory_mib":512,"group":"red"}"#, "missing field `name`"),
    ] {
        let error = serde_json::from_str::<Spec>(bad).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
