//! Lives told as stories: of agents, of stores that were restored, of requests that come late.

#[allow(dead_code, reason = "each file of tests uses its part")]
mod harness;

use dwcp_env::Duration;
use dwcp_fleet::command::{Answer, At, Command, Seat};
use dwcp_fleet::key::{Key, Scope};
use dwcp_fleet::record::{Host, HostState, Life, Placement, Power, Record, Thing};
use dwcp_fleet::refusal::Code;
use dwcp_fleet::resources::Resources;
use dwcp_fleet::transaction::{Transaction, Write};
use dwcp_fleet::view::Fetch;
use harness::{Fleet, LEASE, amount, name, seat, spec};

/// A machine that has a place, which nobody has taken up.
fn placed(fleet: &mut Fleet) -> Seat {
    let at = fleet.create("eu-web");
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    let place = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    seat(&at, &place)
}

/// A machine that has a place, taken up by the first life of its host's agent.
fn running(fleet: &mut Fleet) -> Seat {
    let seat = placed(fleet);
    fleet.ok(Command::Renew { seat: seat.clone(), lease: LEASE });
    seat
}

fn attach(fleet: &mut Fleet, seat: &Seat) -> u64 {
    let Answer::Life { life } = fleet.ok(Command::HostAttach { region: name("eu"), host: seat.host.clone() })
    else {
        panic!()
    };
    life
}

#[test]
fn what_an_earlier_life_asks_is_refused() {
    let mut fleet = Fleet::small();
    let first = running(&mut fleet);
    assert_eq!(attach(&mut fleet, &first), 2);
    for late in [
        Command::Release { seat: first.clone() },
        Command::Renew { seat: first.clone(), lease: LEASE },
        Command::Yield { seat: first.clone(), lease: LEASE },
    ] {
        assert_eq!(fleet.refused(late).0, Code::Superseded);
    }
    // The next one has the place if it found the machine, and only then: another may run it elsewhere.
    let second = Seat { life: 2, ..first.clone() };
    assert_eq!(fleet.refused(Command::Renew { seat: second.clone(), lease: LEASE }).0, Code::LeaseLost);
    assert_eq!(fleet.refused(Command::Release { seat: second.clone() }).0, Code::LeaseLost);
    let found = Seat { found: true, ..second.clone() };
    fleet.ok(Command::Renew { seat: found, lease: LEASE });
    fleet.ok(Command::Renew { seat: second, lease: LEASE });
}

#[test]
fn a_registration_asked_twice_ends_no_later_one() {
    let mut fleet = Fleet::small();
    let region = || name("eu");
    let attach = |host| Command::HostAttach { region: region(), host: name(host) };
    assert_eq!(fleet.again(700, attach("eu-a")), Ok(Answer::Life { life: 2 }));
    assert_eq!(fleet.again(700, attach("eu-a")), Ok(Answer::Life { life: 2 }));
    assert_eq!(fleet.again(701, attach("eu-a")), Ok(Answer::Life { life: 3 }));
    assert_eq!(fleet.again(700, attach("eu-a")).unwrap_err().code, Code::Superseded);
    assert_eq!(fleet.refused(attach("eu-z")).0, Code::NotFound);
}

#[test]
fn a_place_that_nobody_took_up_is_the_next_lifes() {
    let mut fleet = Fleet::small();
    let first = placed(&mut fleet);
    attach(&mut fleet, &first);
    fleet.ok(Command::Renew { seat: Seat { life: 2, ..first }, lease: LEASE });
}

#[test]
fn one_number_in_two_regions_makes_two_numbers() {
    let mut fleet = Fleet::small();
    let (eu, us) = (fleet.create_as(77, "eu-web"), fleet.create_as(77, "us-web"));
    assert_ne!(eu.vm, us.vm);
    assert_eq!(fleet.create_as(77, "eu-web"), eu);
}

/// The store of a region as a backup has it.
fn backup(fleet: &mut Fleet) -> dwcp_fleet::rehearsal::Store {
    fleet.store(&Scope::Region(name("eu"))).backup()
}

#[test]
fn a_restored_region_gives_nothing_until_it_is_opened_and_nothing_twice() {
    let mut fleet = Fleet::small();
    let first = running(&mut fleet);
    let at = first.at.clone();
    let moved = fleet.create("eu-gone");
    let copy = backup(&mut fleet);
    // What the backup knows nothing of: a second epoch, a machine that has moved, a block that is another's.
    fleet.ok(Command::Release { seat: first.clone() });
    let again = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    assert!(matches!(again, Answer::Place { epoch: 2, .. }));
    fleet.ok(Command::Move { at: moved.clone(), to: name("us") });
    fleet.store(&Scope::Region(name("eu"))).restore(copy);

    fleet.now += 100;
    fleet.ok(Command::Recover { at: at.clone() });
    assert_eq!(fleet.refused(Command::Place { at: at.clone(), lease: LEASE }).0, Code::Closed);
    let create = || Command::Create { region: name("eu"), spec: spec("eu-new") };
    assert_eq!(fleet.refused(create()).0, Code::Closed);
    assert_eq!(fleet.refused(Command::HostAttach { region: name("eu"), host: name("eu-a") }).0, Code::Closed);
    assert_eq!(fleet.refused(Command::Renew { seat: first.clone(), lease: LEASE }).0, Code::Superseded);
    // Asking for the region again does not open it.
    fleet.ok(Command::Region { region: name("eu"), state: Default::default() });
    assert_eq!(fleet.refused(create()).0, Code::Closed);

    fleet.ok(Command::Reopen { region: name("eu") });
    assert_eq!(fleet.refused(Command::Place { at: at.clone(), lease: LEASE }).0, Code::NotYet);
    assert!(matches!(fleet.vm(&moved).unwrap().life, Life::Leaving { .. }), "it is another region's");
    fleet.now += 100;
    fleet.settle();
    assert_eq!(fleet.vm(&moved), None);
    let Answer::Place { epoch, .. } = fleet.ok(Command::Place { at, lease: LEASE }) else { panic!() };
    assert!(epoch > 1 << 32, "{epoch}");
    assert!(attach(&mut fleet, &first) > 1 << 32);
}

/// Seed 45508 of a sweep: two machines of one host's name wrote under one epoch, since the first one's life was forgotten.
#[test]
fn what_was_given_before_a_restore_is_taken_up_by_nobody_else() {
    let mut fleet = Fleet::small();
    let first = placed(&mut fleet);
    let copy = backup(&mut fleet);
    fleet.ok(Command::Renew { seat: first.clone(), lease: LEASE });
    fleet.store(&Scope::Region(name("eu"))).restore(copy);
    fleet.ok(Command::Reopen { region: name("eu") });
    let life = attach(&mut fleet, &first);
    let twin = Seat { life, ..first.clone() };
    assert_eq!(fleet.refused(Command::Renew { seat: twin.clone(), lease: LEASE }).0, Code::LeaseLost);
    // On whose hypervisor it is found, it is its own.
    fleet.ok(Command::Renew { seat: Seat { found: true, ..twin }, lease: LEASE });
}

/// Seed 88116 of a sweep: a door whose calendar was a year ahead for a moment opened it, and it gave nothing for a year.
#[test]
fn an_opening_that_was_misdated_says_so_and_is_made_anew() {
    let mut fleet = Fleet::small();
    let first = running(&mut fleet);
    let at = first.at.clone();
    let copy = backup(&mut fleet);
    fleet.store(&Scope::Region(name("eu"))).restore(copy);
    fleet.now += 100;
    fleet.ok(Command::Recover { at: at.clone() });
    fleet.now += 365 * 86_400;
    fleet.ok(Command::Reopen { region: name("eu") });
    fleet.now -= 365 * 86_400;
    let (code, what) = fleet.refused(Command::Place { at: at.clone(), lease: LEASE });
    assert!(code == Code::NotYet && what.contains("dated by a clock that was wrong"), "{what}");
    fleet.ok(Command::Reopen { region: name("eu") });
    let (code, what) = fleet.refused(Command::Place { at: at.clone(), lease: LEASE });
    assert!(code == Code::NotYet && what.contains("may not have ended"), "{what}");
    fleet.now += 100;
    fleet.ok(Command::Place { at, lease: LEASE });
}

/// Seed 977 of a sweep: what ran when the backup was made, and had moved since, left its booking behind.
#[test]
fn what_leaves_a_restored_region_frees_its_host() {
    let mut fleet = Fleet::small();
    let first = running(&mut fleet);
    let at = first.at.clone();
    let copy = backup(&mut fleet);
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::Off });
    fleet.ok(Command::Release { seat: first.clone() });
    fleet.ok(Command::Move { at: at.clone(), to: name("us") });
    fleet.store(&Scope::Region(name("eu"))).restore(copy);
    fleet.ok(Command::Reopen { region: name("eu") });
    fleet.settle();
    assert_eq!(fleet.vm(&at), None);
    let key = Key::host(&name("eu"), &first.host);
    let found = fleet.store(&Scope::Region(name("eu"))).read(&[Fetch::One(key)]);
    assert_eq!(Host::decode(&found[0].2[0].2).unwrap().booked, Resources::NONE);
}

#[test]
fn a_restored_region_gives_back_blocks_that_it_has_no_more() {
    let mut fleet = Fleet::small();
    let copy = backup(&mut fleet);
    let block: Thing = name("10.0.0.0/30");
    fleet.ok(Command::Return { thing: block.clone(), region: name("eu") });
    fleet.ok(Command::Lend { thing: block, region: name("us") });
    fleet.store(&Scope::Region(name("eu"))).restore(copy);
    // Begun, cut off after the fleet's step, and finished by others.
    assert_eq!(fleet.steps(880, Command::Reopen { region: name("eu") }, 1), None);
    fleet.settle();
    fleet.now += 100;
    let create = Command::Create { region: name("eu"), spec: spec("eu-new") };
    assert_eq!(fleet.refused(create).0, Code::NoAddress);
}

#[test]
fn rights_that_a_restored_region_gave_back_stay_given_back() {
    let mut fleet = Fleet::small();
    let copy = backup(&mut fleet);
    fleet.ok(Command::QuotaShare { group: name("red"), region: name("eu"), right: amount(1) });
    fleet.ok(Command::QuotaShare { group: name("red"), region: name("us"), right: amount(7) });
    fleet.store(&Scope::Region(name("eu"))).restore(copy);
    fleet.ok(Command::Reopen { region: name("eu") });
    fleet.now += 100;
    fleet.settle();
    fleet.create("eu-a");
    let more = Command::Create { region: name("eu"), spec: spec("eu-b") };
    assert_eq!(fleet.refused(more).0, Code::QuotaExceeded);
}

#[test]
fn a_lease_that_ends_next_year_is_set_back_and_taken() {
    let mut fleet = Fleet::small();
    let seat = running(&mut fleet);
    let place = |fleet: &mut Fleet| {
        let key = Key::place(&name("eu"), seat.at.vm);
        let found = fleet.store(&Scope::Region(name("eu"))).read(&[Fetch::One(key)]);
        Placement::decode(&found[0].2[0].2).unwrap()
    };
    // For a second the calendar of a door is a year ahead.
    fleet.now += 31_536_000;
    // (Its leases have ended by then; the place is given anew.)
    fleet.settle();
    fleet.now -= 31_536_000;
    assert!(place(&mut fleet).holder().unwrap().1.as_nanos() > 31_536_000_000_000_000);
    fleet.now += 5;
    fleet.settle_until(2);
    fleet.now += 120;
    fleet.settle();
    let (_, until) = place(&mut fleet).holder().map(|(h, u)| (h.clone(), u)).expect("it was given anew");
    assert!(until.as_nanos() < 2_000_000_000_000, "{until:?}");
}

#[test]
fn a_move_to_a_region_that_is_lost_is_called_back() {
    let mut fleet = Fleet::small();
    let at = fleet.create("eu-web");
    let there = Command::Move { at: at.clone(), to: name("us") };
    assert_eq!(fleet.steps(600, there.clone(), 2), None, "it has left, and not arrived");
    assert!(matches!(fleet.vm(&at).unwrap().life, Life::Leaving { .. }));
    let back = Command::CallBack { at: at.clone() };
    fleet.ok(back.clone());
    fleet.settle();
    assert_eq!(fleet.vm(&at).unwrap().life, Life::Active);
    assert_eq!(fleet.again(600, there).unwrap_err().code, Code::BadState, "not begun again under its number");
    fleet.ok(Command::Move { at: at.clone(), to: name("us") });
    let from_here = At { region: name("us"), ..at };
    fleet.ok(Command::CallBack { at: from_here });
    assert_eq!(fleet.refused(back).0, Code::BadState);
}

/// A retry of what was done before does not undo what came after, whatever it was.
#[test]
fn every_order_is_remembered() {
    let mut fleet = Fleet::small();
    let host = |state| Command::HostState { region: name("eu"), host: name("eu-a"), state };
    let block: Thing = name("10.0.0.0/30");
    let lend = Command::Lend { thing: block.clone(), region: name("eu") };
    let back = Command::Return { thing: block.clone(), region: name("eu") };
    fleet.again(800, host(HostState::Drained)).unwrap();
    fleet.ok(host(HostState::Ready));
    fleet.again(800, host(HostState::Drained)).unwrap();
    fleet.again(801, back.clone()).unwrap();
    fleet.again(802, lend.clone()).unwrap();
    fleet.again(801, back.clone()).unwrap();
    let at = fleet.create("eu-web");
    // It was on already when the first was asked; and then it was switched off.
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    fleet.again(803, Command::SetPower { at: at.clone(), power: Power::On }).unwrap();
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::Off });
    fleet.again(803, Command::SetPower { at: at.clone(), power: Power::On }).unwrap();
    assert_eq!(fleet.vm(&at).unwrap().spec.power, Power::Off);
    // The host is ready: it takes the machine. There and back again.
    fleet.ok(Command::SetPower { at: at.clone(), power: Power::On });
    let place = fleet.ok(Command::Place { at: at.clone(), lease: LEASE });
    let first = seat(&at, &place);
    assert_eq!(first.host.as_str(), "eu-a");
    fleet.again(804, Command::Migrate { at: at.clone(), to: None }).unwrap();
    let place = fleet.ok(Command::Yield { seat: first, lease: LEASE });
    let second = seat(&at, &place);
    fleet.again(804, Command::Migrate { at: at.clone(), to: None }).unwrap();
    assert_eq!(fleet.refused(Command::Yield { seat: second, lease: LEASE }).0, Code::BadState);
}

#[test]
fn full_blocks_do_not_stop_creations() {
    let mut fleet = Fleet::small();
    fleet.ok(Command::QuotaTotal { group: name("red"), total: amount(500) });
    fleet.ok(Command::QuotaShare { group: name("red"), region: name("eu"), right: amount(400) });
    for i in 0..100_u8 {
        let block = format!("10.7.{i}.0/32");
        fleet.ok(Command::BlockAdd { block: name(&block) });
        fleet.ok(Command::Lend { thing: name(&block), region: name("eu") });
    }
    for i in 0..104 {
        fleet.create(&format!("eu-{i}"));
    }
    let more = Command::Create { region: name("eu"), spec: spec("eu-more") };
    assert_eq!(fleet.refused(more).0, Code::NoAddress);
}

#[test]
fn a_damaged_record_stops_itself_and_is_told() {
    let mut fleet = Fleet::small();
    let (bad, good) = (fleet.create("eu-bad"), fleet.create("eu-good"));
    let scope = Scope::Region(name("eu"));
    let writes = [
        Key::vm(&name("eu"), bad.vm),
        Key::held(&name("eu"), &name("eu-")),
        Key::host(&name("eu"), &name("eu-a")),
    ]
    .map(|key| Write::Put(key, bytes::Bytes::from_static(b"junk")));
    let junk =
        Transaction { scope: scope.clone(), checks: vec![], writes: writes.to_vec(), rests_on: vec![] };
    assert!(fleet.store(&scope).commit(&junk));
    fleet.ok(Command::SetPower { at: good.clone(), power: Power::On });
    let due = fleet.due("eu", false);
    assert_eq!(due, [Command::Place { at: good.clone(), lease: LEASE }]);
    let told: Vec<_> = fleet.damaged.iter().map(|refusal| refusal.at.clone()).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    fleet.ok(Command::Place { at: good, lease: LEASE });
    assert_eq!(fleet.refused(Command::Delete { at: bad }).0, Code::Damaged);
}

#[test]
fn leases_have_bounds() {
    let mut fleet = Fleet::small();
    let seat = running(&mut fleet);
    let long = Command::Renew { seat, lease: Duration::secs(61) };
    assert_eq!(fleet.refused(long).0, Code::Invalid);
}
