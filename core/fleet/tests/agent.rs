//! The agent told as stories: what it learns, and what it wants done.

use dwcp_env::{Duration, Instant, Now, WallTime};
use dwcp_fleet::agent::{Agent, Input, Output, Terms};
use dwcp_fleet::command::{Answer, At, Command, Seat};
use dwcp_fleet::name::{HostName, VmId};
use dwcp_fleet::record::{Hold, Placement};
use dwcp_fleet::refusal::Code;
use dwcp_fleet::resources::Resources;

const VM: VmId = VmId(7);
/// The calendar's beginning.
const DAY: u64 = 1_000_000;

struct Story {
    agent: Agent,
    /// Seconds of the monotonic clock; the calendar runs along.
    now: u64,
    uncertainty: Duration,
}

fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

impl Story {
    fn new() -> Self {
        let terms = Terms { lease: Duration::secs(30), stop: Duration::secs(8), kill: Duration::secs(2) };
        let agent = Agent::new("eu".parse().unwrap(), host("me"), 1, terms);
        Self { agent, now: 100, uncertainty: Duration::secs(1) }
    }
    fn step(&mut self, input: Input) -> Vec<String> {
        let mono = Instant::ZERO + Duration::secs(self.now);
        let wall = WallTime::from_nanos((DAY + self.now) * 1_000_000_000);
        let mut out = Vec::new();
        self.agent.step(Now { mono, wall, uncertainty: self.uncertainty }, input, &mut out);
        out.into_iter().map(|output| told(&output)).collect()
    }
    fn at(&mut self, now: u64, input: Input) -> Vec<String> {
        self.now = now;
        self.step(input)
    }
    fn seat(epoch: u64) -> Seat {
        Seat {
            at: At { region: "eu".parse().unwrap(), vm: VM },
            host: host("me"),
            epoch,
            life: 1,
            found: false,
        }
    }
    /// The place is `who`'s until a second of the calendar.
    fn seen(who: &str, epoch: u64, until: u64, wanted: bool) -> Input {
        let until = WallTime::from_nanos((DAY + until) * 1_000_000_000);
        let (host, booked) = (host(who), Resources::NONE);
        let place = Placement { epoch, hold: Hold::Held { host, life: 0, until, booked } };
        Input::Seen { at: Self::seat(epoch).at, place, wanted, reported: 0 }
    }
    fn renewed(epoch: u64, asked: u64, until: u64) -> Input {
        let until = WallTime::from_nanos((DAY + until) * 1_000_000_000);
        let result = Ok(Answer::Place { host: host("me"), epoch, until });
        let asked = Instant::ZERO + Duration::secs(asked);
        Input::Answered { seat: Self::seat(epoch), asked, result }
    }
    /// Runs under epoch 1 until 130 of the calendar: a second of doubt and two to kill before, 127 less drift.
    fn running() -> Self {
        let mut story = Self::new();
        assert_eq!(story.step(Self::seen("me", 1, 130, true)), ["renew 1"]);
        assert_eq!(story.step(Self::renewed(1, 100, 130)), ["admit 1"]);
        assert_eq!(
            story.step(Input::Admitted { vm: VM, epoch: 1, granted: true }),
            ["start 1 until 126", "report Starting"]
        );
        assert_eq!(story.step(Input::Started { vm: VM, epoch: 1 }), ["report Running"]);
        story
    }
}

fn told(output: &Output) -> String {
    let secs = |at: &Instant| at.as_nanos() / 1_000_000_000;
    match output {
        Output::Admit(_, epoch) => format!("admit {epoch}"),
        Output::Start(_, epoch, until) => format!("start {epoch} until {}", secs(until)),
        Output::Extend(_, epoch, until) => format!("extend {epoch} until {}", secs(until)),
        Output::Stop(_, epoch) => format!("stop {epoch}"),
        Output::Kill(_, epoch) => format!("kill {epoch}"),
        Output::Ask(Command::Renew { seat, .. }) => format!("renew {}", seat.epoch),
        Output::Ask(Command::Release { seat }) => format!("release {}", seat.epoch),
        Output::Ask(Command::Yield { seat, .. }) => format!("yield {}", seat.epoch),
        Output::Ask(Command::Report { phase, .. }) => format!("report {phase:?}"),
        Output::Ask(other) => format!("{other:?}"),
        Output::Superseded => "superseded".into(),
    }
}

const NOTHING: [&str; 0] = [];
const STOPPED: Input = Input::Stopped { vm: VM, epoch: 1, failed: None };

#[test]
fn a_lease_is_renewed_long_before_its_end() {
    let mut story = Story::running();
    assert_eq!(story.at(108, Input::Tick), NOTHING);
    assert_eq!(story.at(109, Input::Tick), ["renew 1"]);
    // The answer was lost: asked again a sixth of the lease later.
    assert_eq!(story.at(113, Input::Tick), NOTHING);
    assert_eq!(story.at(114, Input::Tick), ["renew 1"]);
    assert_eq!(story.step(Story::renewed(1, 114, 144)), ["extend 1 until 140"]);
}

#[test]
fn without_renewals_it_stops_in_time() {
    let mut story = Story::running();
    assert_eq!(story.at(109, Input::Tick), ["renew 1"]);
    assert_eq!(story.at(119, Input::Tick), ["renew 1", "stop 1", "report Stopping"]);
    assert_eq!(story.step(STOPPED), ["report Stopped"]);
    // Too late to begin again under this lease.
    assert_eq!(story.at(120, Story::seen("me", 1, 130, true)), NOTHING);
}

#[test]
fn a_calendar_set_back_does_not_stretch_a_lease() {
    let mut story = Story::running();
    assert_eq!(story.at(101, Story::seen("me", 1, 130, true)), ["extend 1 until 126"]);
    let place = Story::seen("me", 1, 130, true);
    // The calendar goes back by ten seconds; the monotonic clock goes on.
    let mut out = Vec::new();
    let (mono, wall) =
        (Instant::ZERO + Duration::secs(102), WallTime::from_nanos((DAY + 92) * 1_000_000_000));
    story.agent.step(Now { mono, wall, uncertainty: story.uncertainty }, place, &mut out);
    assert_eq!(out.iter().map(told).collect::<Vec<_>>(), ["extend 1 until 126"]);
}

#[test]
fn a_place_is_given_up_after_the_stop_and_for_good() {
    let mut story = Story::running();
    assert_eq!(
        story.step(Story::seen("me", 1, 130, false)),
        ["extend 1 until 126", "stop 1", "report Stopping"]
    );
    assert_eq!(story.step(STOPPED), ["report Stopped", "release 1"]);
    // Wanted again; what was asked may still be done, so there is no way back under this epoch.
    assert_eq!(story.step(Story::seen("me", 1, 130, true)), ["release 1"]);
    assert_eq!(story.step(Story::seen("me", 2, 131, true)), ["renew 2"]);
}

#[test]
fn a_stop_that_hangs_ends_in_a_kill() {
    let mut story = Story::running();
    story.step(Story::seen("me", 1, 130, false));
    assert_eq!(story.at(107, Input::Tick), NOTHING);
    assert_eq!(story.at(108, Input::Tick), ["kill 1"]);
    assert_eq!(story.step(STOPPED), ["report Stopped", "release 1"]);
}

#[test]
fn what_is_anothers_is_killed_and_not_given_up() {
    let mut story = Story::running();
    assert_eq!(story.step(Story::seen("other", 2, 140, true)), ["kill 1"]);
    assert_eq!(story.step(STOPPED), NOTHING);
    let mut story = Story::running();
    let lost = Input::Answered { seat: Story::seat(1), asked: Instant::ZERO, result: Err(Code::LeaseLost) };
    assert_eq!(story.step(lost), ["kill 1"]);
    let mut story = Story::running();
    assert_eq!(story.step(Input::Unseen(VM)), ["kill 1"]);
    // Old news of a lower epoch changes nothing.
    let mut story = Story::running();
    assert_eq!(story.step(Story::seen("other", 0, 140, true)), NOTHING);
}

#[test]
fn what_storage_refuses_does_not_start() {
    let mut story = Story::new();
    story.step(Story::seen("me", 1, 130, true));
    story.step(Story::renewed(1, 100, 130));
    assert_eq!(story.step(Input::Admitted { vm: VM, epoch: 1, granted: false }), NOTHING);
    // Nor what is granted when the lease is over.
    let mut story = Story::new();
    story.step(Story::seen("me", 1, 130, true));
    story.step(Story::renewed(1, 100, 130));
    assert!(
        !story
            .at(127, Input::Admitted { vm: VM, epoch: 1, granted: true })
            .iter()
            .any(|o| o.starts_with("start"))
    );
}

/// The lease is left to end, so that the machine comes to where it can run: each look asked storage again, and each asking renewed.
#[test]
fn what_storage_refused_is_not_asked_again_under_that_epoch() {
    let mut story = Story::new();
    story.step(Story::seen("me", 1, 130, true));
    story.step(Story::renewed(1, 100, 130));
    story.step(Input::Admitted { vm: VM, epoch: 1, granted: false });
    for now in [105, 110, 115, 120, 125] {
        assert_eq!(story.at(now, Story::seen("me", 1, 130, true)), NOTHING, "at {now}");
        assert_eq!(story.at(now, Input::Tick), NOTHING, "at {now}");
    }
    // Under the next epoch it is.
    assert_eq!(story.at(131, Story::seen("me", 2, 161, true)), ["renew 2"]);
    assert_eq!(story.at(131, Story::renewed(2, 131, 161)), ["admit 2"]);
}

#[test]
fn a_host_whose_calendar_leaves_no_time_lets_the_lease_end() {
    let mut story = Story::new();
    // Its calendar is 25 s ahead of the store's: every end lies too near.
    assert_eq!(story.step(Story::seen("me", 1, 105, true)), ["renew 1"]);
    assert_eq!(story.step(Story::renewed(1, 100, 105)), NOTHING);
    for (asked, end) in [(106, 111), (112, 117)] {
        assert_eq!(story.at(asked, Story::seen("me", 1, end - 6, true)), ["renew 1"]);
        assert_eq!(story.at(asked, Story::renewed(1, asked, end)), NOTHING);
    }
    for now in [118, 124, 200] {
        assert_eq!(story.at(now, Story::seen("me", 1, 117, true)), NOTHING, "at {now}");
    }
    // Set right, and given the place anew, it starts.
    assert_eq!(story.at(210, Story::seen("me", 2, 240, true)), ["renew 2"]);
    assert_eq!(story.at(210, Story::renewed(2, 210, 240)), ["admit 2"]);
}

#[test]
fn a_migration_is_yielded_after_the_stop() {
    let mut story = Story::running();
    let until = WallTime::from_nanos((DAY + 130) * 1_000_000_000);
    let hold = Hold::Handing { host: host("me"), life: 1, until, booked: Resources::NONE, to: host("other") };
    let handing =
        Input::Seen { at: Story::seat(1).at, place: Placement { epoch: 1, hold }, wanted: true, reported: 0 };
    assert_eq!(story.step(handing), ["extend 1 until 126", "stop 1", "report Stopping"]);
    assert_eq!(story.step(STOPPED), ["report Stopped", "yield 1"]);
}

#[test]
fn a_new_agent_keeps_what_is_its_own_and_ends_the_rest() {
    let found = || Input::Found { vm: VM, epoch: 1, until: Instant::ZERO + Duration::secs(126) };
    let mut story = Story::new();
    assert_eq!(story.step(found()), ["renew 1"]);
    assert_eq!(story.step(Story::renewed(1, 100, 130)), ["extend 1 until 126"]);
    let mut story = Story::new();
    story.step(found());
    assert_eq!(story.step(Story::seen("other", 2, 140, true)), ["kill 1"]);
}

/// The place as it is once a life has taken it up.
fn taken_up(life: u64, until: u64) -> Input {
    let until = WallTime::from_nanos((DAY + until) * 1_000_000_000);
    let hold = Hold::Held { host: host("me"), life, until, booked: Resources::NONE };
    Input::Seen { at: Story::seat(1).at, place: Placement { epoch: 1, hold }, wanted: true, reported: 0 }
}

#[test]
fn what_an_earlier_life_took_up_and_is_not_found_here_is_not_ours() {
    let terms = Terms { lease: Duration::secs(30), stop: Duration::secs(8), kill: Duration::secs(2) };
    let later = || Story {
        agent: Agent::new("eu".parse().unwrap(), host("me"), 2, terms),
        now: 100,
        uncertainty: Duration::secs(1),
    };
    // Another process of the name may run it, wherever that is.
    assert_eq!(later().step(taken_up(1, 130)), NOTHING);
    // Found on the hypervisor here, it runs nowhere else.
    let mut story = later();
    let until = Instant::ZERO + Duration::secs(126);
    assert_eq!(story.step(Input::Found { vm: VM, epoch: 1, until }), ["renew 1"]);
    assert_eq!(story.step(taken_up(1, 130)), NOTHING);
    // And what a later life has taken up is not ours any more.
    assert_eq!(story.step(taken_up(3, 130)), ["kill 1"]);
}

#[test]
fn a_life_that_is_over_ends_its_machines() {
    let mut story = Story::running();
    let over = Input::Answered { seat: Story::seat(1), asked: Instant::ZERO, result: Err(Code::Superseded) };
    assert_eq!(story.step(over), ["kill 1", "superseded"]);
    assert_eq!(story.step(STOPPED), NOTHING);
}

#[test]
fn an_end_next_year_binds_nobody() {
    let mut story = Story::running();
    assert_eq!(story.at(109, Input::Tick), ["renew 1"]);
    // The door's calendar is a year ahead: the lease is a lease long, from when it was asked.
    assert_eq!(story.at(110, Story::renewed(1, 109, 31_536_000)), ["extend 1 until 136"]);
    // Set right by the store, it is what it says; and what was asked before comes too late to stretch it.
    assert_eq!(story.at(126, Story::renewed(1, 125, 155)), ["extend 1 until 151"]);
    assert_eq!(story.at(127, Story::renewed(1, 109, 31_536_000)), ["extend 1 until 151"]);
}

#[test]
fn renewals_count_under_an_end_that_stays_where_it_is() {
    let mut story = Story::running();
    assert_eq!(story.at(109, Input::Tick), ["renew 1"]);
    // The door's calendar is a minute ahead; right again, it leaves an end that lies within what a lease may be.
    assert_eq!(story.at(110, Story::renewed(1, 109, 190)), ["extend 1 until 136"]);
    assert_eq!(story.at(119, Input::Tick), ["renew 1"]);
    assert_eq!(story.at(120, Story::renewed(1, 119, 190)), ["extend 1 until 146"]);
    // Asked before, and come late: it takes nothing away.
    assert_eq!(story.at(121, Story::renewed(1, 109, 190)), ["extend 1 until 146"]);
    // The calendar bounds it as ever: a second of doubt, two to kill.
    assert_eq!(story.at(171, Story::renewed(1, 170, 190)), ["extend 1 until 186"]);
}

#[test]
fn what_ran_out_of_time_is_renewed_and_starts_again() {
    let mut story = Story::running();
    assert_eq!(story.at(119, Input::Tick), ["renew 1", "stop 1", "report Stopping"]);
    assert_eq!(story.at(120, STOPPED), ["report Stopped"]);
    // The place is still its own: to renew it is quicker than to wait until it is taken; but not with each look.
    assert_eq!(story.at(128, Story::seen("me", 1, 190, true)), ["renew 1"]);
    assert_eq!(story.at(129, Story::seen("me", 1, 190, true)), NOTHING);
    assert_eq!(story.at(133, Story::seen("me", 1, 190, true)), ["renew 1"]);
    assert_eq!(story.at(134, Story::renewed(1, 133, 190)), ["admit 1"]);
}

#[test]
fn what_others_bring_about_stretches_no_lease() {
    let mut story = Story::running();
    // A later end that this life has not asked for.
    assert_eq!(story.at(105, Story::seen("me", 1, 150, true)), NOTHING);
    assert_eq!(story.at(119, Input::Tick), ["renew 1", "stop 1", "report Stopping"]);
}
