//! A host's agent: it runs what the host has a place for, and nothing a moment longer.
//!
//! **Promise.** While clocks keep what they state, a machine has stopped on this host before anybody may give its place to
//! another. A dead agent keeps the promise, too: the driver's watchdog does.
//!
//! **Lives.** Each process that speaks for a host is a life of its agent, with a number that its region's store gives when it
//! registers ([`Command::HostAttach`]). Registering ends every earlier life: whatever it has asked or still asks is refused,
//! wherever it is on its way. A place is taken up by a life with its first renewal, and a later one takes it over only if it
//! *found* the machine running on its own hypervisor. So two processes that go by one name never run one machine: what
//! the older had taken up ends with its lease, and starts anew under another epoch. The price: a host that loses its power
//! and is back at once waits for the ends of its own leases, since nothing tells it from a second host of its name.
//!
//! **Model.** A value with one mutating door, [`Agent::step`]. Inputs: what the region's store says of places, answers to what
//! the agent asked, the driver's reports, time. Outputs: orders to the driver, commands for the region's store.
//!
//! **The driver's side of it.** [`Output::Start`] and [`Output::Extend`] arm a watchdog outside the agent (a
//! process of its own, or hardware): at `until` on the monotonic clock it kills the machine, which takes at most
//! [`Terms::kill`], whether the agent lives or not. A start that comes after its `until` does nothing. When a new agent is
//! told what runs ([`Input::Found`]), whatever its predecessor ordered has happened or never will. Orders take effect in the
//! order they were given, and `Stopped` is said only of what does not run: a stop that overtook its start would be answered
//! at once, and the machine would run on after its place was given up.
//!
//! ```text
//!   lease asked         graceful stop        watchdog kills     dead by       ends by any clock
//!   ├───────── renewals ──────┼────── stop ───────┼──── kill ─────┼── uncertainty ──┤
//! ```
//!
//! **Invariants.**
//! 1. A machine is started only under an epoch that storage has admitted, and under a lease that this life of the agent has
//!    renewed: the renewal makes the place its own.
//! 2. `until` is no later than the earliest point computed for the lease's end ([`crate::time`]), and no later than a lease
//!    after the latest renewal was *asked* that was answered with that end, on the monotonic clock: so that an end which a
//!    mad calendar gave binds nobody, and the store may set it back. Where the store leaves it (it can't know which leases
//!    were asked for), each renewal counts under it.
//! 3. A place is given up or yielded only after the driver has said that the machine has stopped under that epoch.
//! 4. Having asked to give a place up, the agent does not start the machine again under that epoch: the request may still
//!    be done.
//! 5. What the store says of a lower epoch than the agent knows is old news and changes nothing.
//!
//! **Limits.** One guest for each machine; as many as the host has room for, by the bookings.
//!
//! **Left to others**: memory copied ahead in a migration (the driver's); who is placed where ([`crate::plan`]).

mod guest;

use crate::announce::{Belief, Topic};
use crate::command::{Answer, At, Command, Seat};
use crate::name::{HostName, Region, VmId};
use crate::planted::{self, Bug};
use crate::record::{Hold, Placement, What};
use crate::refusal::Code;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, Now};
use guest::{Doing, Guest};

/// The agent's times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// How long a place is asked for.
    pub lease: Duration,
    /// How long a machine gets to stop by itself.
    pub stop: Duration,
    /// How long the watchdog takes at worst.
    pub kill: Duration,
}

impl Terms {
    /// Times that leave room for three renewals.
    #[must_use]
    pub const fn standard() -> Self {
        Self { lease: Duration::secs(30), stop: Duration::secs(8), kill: Duration::secs(2) }
    }
    /// Whether a lease outlasts its own end.
    #[must_use]
    pub fn fit(&self) -> bool {
        self.lease >= (self.stop + self.kill) * 2
    }
}

/// What the agent learns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The store has this place for a machine.
    Seen {
        /// Which.
        at: At,
        /// Its place.
        place: Placement,
        /// Whether it is to run.
        wanted: bool,
        /// The number of the last report of this epoch that the store has.
        reported: u64,
    },
    /// The store has no record of a machine that the agent knows.
    Unseen(VmId),
    /// How a renewal, release or yield of the agent's ended; reports need no answer.
    Answered {
        /// For which machine and epoch.
        seat: Seat,
        /// When the agent wanted it asked ([`Output::Ask`]), on the monotonic clock.
        asked: Instant,
        /// The answer, or the kind of refusal.
        result: Result<Answer, Code>,
    },
    /// Found running when the agent began, its watchdog armed for this point.
    Found {
        /// Which machine.
        vm: VmId,
        /// Under which epoch.
        epoch: u64,
        /// When the watchdog kills it.
        until: Instant,
    },
    /// Storage has admitted the epoch, or not.
    Admitted {
        /// Which machine.
        vm: VmId,
        /// Under which epoch.
        epoch: u64,
        /// Whether.
        granted: bool,
    },
    /// It runs.
    Started {
        /// Which machine.
        vm: VmId,
        /// Under which epoch.
        epoch: u64,
    },
    /// It runs no more, whether it was told to stop, killed, or ended by itself.
    Stopped {
        /// Which machine.
        vm: VmId,
        /// Under which epoch.
        epoch: u64,
        /// Why, if nobody had told it to.
        failed: Option<String>,
    },
    /// Time has passed.
    Tick,
}

/// What the agent wants done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Output {
    /// Show storage this epoch.
    Admit(VmId, u64),
    /// Start it, its watchdog armed for this point.
    Start(VmId, u64, Instant),
    /// The watchdog is to wait until this point.
    Extend(VmId, u64, Instant),
    /// Ask it to stop.
    Stop(VmId, u64),
    /// Stop it at once.
    Kill(VmId, u64),
    /// A command for the region's store; how it ended comes back as [`Input::Answered`].
    Ask(Command),
    /// A later life has registered: this one is over once its machines have stopped.
    Superseded,
}

/// A host's agent.
#[derive(Clone, Debug)]
pub struct Agent {
    host: HostName,
    region: Region,
    life: u64,
    terms: Terms,
    guests: BTreeMap<VmId, Guest>,
}

impl Agent {
    /// The agent of a host on which nothing is known to run; what does is told by [`Input::Found`]. `life`: its number, by
    /// which it was registered.
    ///
    /// # Panics
    /// If the times don't fit ([`Terms::fit`]).
    #[must_use]
    pub fn new(region: Region, host: HostName, life: u64, terms: Terms) -> Self {
        assert!(terms.fit(), "a lease must be at least twice as long as stop and kill together");
        Self { host, region, life, terms, guests: BTreeMap::new() }
    }
    /// The machines it knows of.
    pub fn known(&self) -> impl Iterator<Item = VmId> + '_ {
        self.guests.keys().copied()
    }
    /// What it announces: which machines may be running here.
    #[must_use]
    pub fn belief(&self, now: Now) -> Belief {
        let running = self.guests.iter().filter(|(_, guest)| guest.runs(now.mono));
        let runs = |guest: &Guest| What::Runs {
            epoch: guest.seat.epoch,
            seen: guest.seen.iter().rev().copied().flatten().collect(),
        };
        running.map(|(vm, guest)| (Topic::Vm(*vm), runs(guest))).collect()
    }
    /// Whose agent it is.
    #[must_use]
    pub const fn host(&self) -> &HostName {
        &self.host
    }
    /// By which number it was registered.
    #[must_use]
    pub const fn life(&self) -> u64 {
        self.life
    }
    /// When it wants a [`Input::Tick`] at the latest.
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        self.guests.values().filter_map(|guest| guest.wake(self.terms)).min()
    }
    fn seat(&self, vm: VmId, epoch: u64) -> Seat {
        let at = At { region: self.region.clone(), vm };
        Seat { at, host: self.host.clone(), epoch, life: self.life, found: planted::is(Bug::FoundUnseen) }
    }
    /// Whether a place that the store has for this host is this life's: nobody's yet, its own, or an earlier life's whose
    /// machine was found here.
    fn is_ours(&self, vm: VmId, place: &Placement) -> bool {
        let found = |guest: &Guest| guest.seat.epoch == place.epoch && guest.seat.found;
        match place.life() {
            0 => true,
            life if life == self.life => true,
            life => {
                life < self.life && self.guests.get(&vm).is_some_and(found) || planted::is(Bug::FoundUnseen)
            }
        }
    }

    /// The one door.
    pub fn step(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        match input {
            Input::Seen { at, place, wanted, reported } => {
                self.seen(now, at.vm, &place, wanted, reported, out)
            }
            Input::Unseen(vm) => self.not_ours(vm, out),
            Input::Answered { seat, asked, result } => self.answered(now, &seat, asked, result, out),
            Input::Found { vm, epoch, until } => {
                let seat = Seat { found: true, ..self.seat(vm, epoch) };
                self.guests.insert(vm, Guest::found(seat, until));
            }
            Input::Admitted { vm, epoch, granted } => {
                if let Some(guest) = self.guest(vm, epoch) {
                    guest.admitted(now, granted, out);
                }
            }
            Input::Started { vm, epoch } => {
                if let Some(guest) = self.guest(vm, epoch) {
                    guest.started(now, out);
                }
            }
            Input::Stopped { vm, epoch, failed } => {
                let terms = self.terms;
                if let Some(guest) = self.guest(vm, epoch) {
                    guest.stopped(now, failed, terms, out);
                }
            }
            Input::Tick => {}
        }
        for guest in self.guests.values_mut() {
            guest.tick(now, self.terms, out);
        }
    }

    fn guest(&mut self, vm: VmId, epoch: u64) -> Option<&mut Guest> {
        self.guests.get_mut(&vm).filter(|guest| guest.seat.epoch == epoch)
    }

    fn seen(
        &mut self,
        now: Now,
        vm: VmId,
        place: &Placement,
        wanted: bool,
        reported: u64,
        out: &mut Vec<Output>,
    ) {
        let (until, handing) = match &place.hold {
            Hold::Held { host, until, .. } if *host == self.host && self.is_ours(vm, place) => {
                (*until, false)
            }
            Hold::Handing { host, until, .. } if *host == self.host && self.is_ours(vm, place) => {
                (*until, true)
            }
            _ => {
                if self.guests.get(&vm).is_some_and(|guest| guest.seat.epoch <= place.epoch) {
                    self.not_ours(vm, out);
                }
                return;
            }
        };
        match self.guests.get(&vm) {
            Some(guest) if guest.seat.epoch > place.epoch => return,
            // Another life of the machine under a new epoch: the old one ends first, and this is seen again.
            Some(guest) if guest.seat.epoch < place.epoch && guest.doing.may_run() => {
                self.not_ours(vm, out);
                return;
            }
            Some(guest) if guest.seat.epoch == place.epoch => {}
            _ => {
                let seat = self.seat(vm, place.epoch);
                self.guests.insert(vm, Guest::new(seat));
            }
        }
        let terms = self.terms;
        if let Some(guest) = self.guests.get_mut(&vm) {
            guest.reported = guest.reported.max(reported);
            guest.wanted = wanted;
            guest.handing = handing;
            // What is not answered to a renewal of its own gives it no time.
            let asked = planted::is(Bug::StartUnrenewed).then_some(now.mono);
            guest.lease_until(now, until, asked, terms, out);
            guest.pursue(now, terms, out);
        }
    }

    /// The place is another's, or nobody's.
    fn not_ours(&mut self, vm: VmId, out: &mut Vec<Output>) {
        let Some(guest) = self.guests.get_mut(&vm) else { return };
        if guest.doing.may_run() {
            guest.doing = Doing::Stopping { lost: true };
            out.push(Output::Kill(vm, guest.seat.epoch));
        } else {
            self.guests.remove(&vm);
        }
    }

    /// Another process speaks for the host. Where it has the same hypervisor, that takes no more orders from this one.
    fn superseded(&mut self, out: &mut Vec<Output>) {
        for vm in self.known().collect::<Vec<_>>() {
            self.not_ours(vm, out);
        }
        out.push(Output::Superseded);
    }

    fn answered(
        &mut self,
        now: Now,
        seat: &Seat,
        asked: Instant,
        result: Result<Answer, Code>,
        out: &mut Vec<Output>,
    ) {
        let (terms, vm) = (self.terms, seat.at.vm);
        if result == Err(Code::Superseded) {
            return self.superseded(out);
        }
        let Some(guest) = self.guests.get_mut(&vm).filter(|guest| guest.seat.epoch == seat.epoch) else {
            return;
        };
        match result {
            Ok(Answer::Place { host, epoch, until }) if host == seat.host && epoch == seat.epoch => {
                guest.renewed = true;
                guest.lease_until(now, until, Some(asked), terms, out);
                if guest.doing == Doing::Idle {
                    guest.pursue(now, terms, out);
                }
            }
            // Yielded, or released.
            Ok(Answer::Place { .. }) => self.not_ours(vm, out),
            Ok(Answer::Done) if matches!(guest.doing, Doing::Leaving) => self.not_ours(vm, out),
            Ok(Answer::Done | Answer::Vm { .. } | Answer::Life { .. }) => {}
            Err(Code::LeaseLost | Code::NotFound) => self.not_ours(vm, out),
            // What is due is read off the store again soon.
            Err(_) => {}
        }
    }
}

/// Whether a renewal counts before it is answered.
fn unanswered_counts() -> bool {
    planted::is(Bug::RenewedUnanswered)
}
