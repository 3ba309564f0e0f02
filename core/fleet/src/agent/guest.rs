//! One machine on one host under one epoch.
//!
//! ```text
//!          Seen, wanted        Admitted         Started
//!   Idle ────────────► Admitting ───► Starting ───► Running
//!    ▲ ▲     renewed      │ refused       │            │  not wanted, migrating, lease ending
//!    │ └──────────────────┘               └─────┬──────┘
//!    │ still wanted                             ▼
//!    └────────────────────────────────────── Stopping
//!                         not wanted, migrating │ Stopped
//!                                               ▼
//!                                            Leaving: Release or Yield asked, until the store says so
//! ```

use super::{Output, Terms, unanswered_counts};
use crate::command::{Command, Seat};
use crate::planted::{self, Bug};
use crate::record::Phase;
use crate::time::{lease_end, surely_before, surely_within};
use alloc::string::String;
use alloc::vec::Vec;
use dwcp_env::{Duration, Instant, Now, WallTime};

/// What is being done with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Doing {
    /// Nothing.
    Idle,
    /// Storage is being shown the epoch.
    Admitting,
    /// The driver was told to start it.
    Starting,
    /// It runs.
    Running,
    /// The driver was told to stop it.
    Stopping {
        /// Whether its place is another's already.
        lost: bool,
    },
    /// It has stopped, and the place is being given up.
    Leaving,
}

impl Doing {
    /// Whether the machine may be running.
    pub(super) const fn may_run(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping { .. })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Guest {
    pub(super) seat: Seat,
    pub(super) doing: Doing,
    pub(super) wanted: bool,
    pub(super) handing: bool,
    /// The latest end of the lease that is known.
    ends: WallTime,
    /// The earliest point that was computed for that end by the calendar.
    by_calendar: Instant,
    /// A lease after the latest renewal was asked that was answered with that end.
    by_asking: Instant,
    /// When the watchdog is to kill it: before any clock reads `ends`.
    until: Instant,
    renew_at: Instant,
    /// When a machine that was asked to stop is killed: a renewed lease would keep one that hangs for ever.
    kill_at: Instant,
    /// Whether this life of the agent has renewed the lease itself.
    pub(super) renewed: bool,
    /// Whether storage has refused the epoch: it has seen a higher one, and the lease is left to end.
    refused: bool,
    /// Renewals in a row that were answered and left no time to start in: the calendar here is wrong, or very unsure.
    in_vain: u8,
    pub(super) reported: u64,
    /// What was reported last, and before that.
    pub(super) seen: [Option<(u64, Phase)>; 2],
}

/// After so many the lease is left to end, so that another host may have the machine.
const IN_VAIN_MAX: u8 = 3;

impl Guest {
    pub(super) const fn new(seat: Seat) -> Self {
        Self {
            seat,
            doing: Doing::Idle,
            wanted: false,
            handing: false,
            ends: WallTime::from_nanos(0),
            by_calendar: Instant::ZERO,
            by_asking: Instant::ZERO,
            until: Instant::ZERO,
            renew_at: Instant::ZERO,
            kill_at: Instant::FAR,
            renewed: false,
            refused: false,
            in_vain: 0,
            reported: 0,
            seen: [None; 2],
        }
    }
    pub(super) fn found(seat: Seat, until: Instant) -> Self {
        Self { doing: Doing::Running, until, wanted: true, ..Self::new(seat) }
    }

    /// Whether it may be running now: not once its watchdog must have killed it, whatever was heard of that.
    pub(super) fn runs(&self, now: Instant) -> bool {
        self.doing.may_run() && now < self.until
    }

    /// When something is due.
    pub(super) fn wake(&self, terms: Terms) -> Option<Instant> {
        match self.doing {
            Doing::Idle | Doing::Leaving | Doing::Stopping { lost: true } => None,
            Doing::Admitting => Some(self.renew_at),
            Doing::Stopping { lost: false } => Some(self.renew_at.min(self.kill_at)),
            Doing::Starting | Doing::Running => Some(self.renew_at.min(earlier(self.until, terms.stop))),
        }
    }

    /// The store says when the lease ends. `asked`: when the renewal was that this answers, if it answers one.
    pub(super) fn lease_until(
        &mut self,
        now: Now,
        ends: WallTime,
        asked: Option<Instant>,
        terms: Terms,
        out: &mut Vec<Output>,
    ) {
        let by_calendar = surely_before(ends, now).unwrap_or(Instant::ZERO);
        let by_asking = asked.map_or(Instant::ZERO, |asked| surely_within(asked, terms.lease));
        // An end that was too far ahead is set back by the store with the next renewal; an answer that comes late can't
        // stretch it again, since it counts from when it was asked.
        let (fresh, before) = (ends != self.ends, self.until);
        if !fresh {
            // Seen by a clock that has moved since: the earlier point counts. Renewed under an end that lies so far ahead that
            // the store leaves it there, it has been given a lease from this asking all the same.
            self.by_calendar = self.by_calendar.min(by_calendar);
            if !planted::is(Bug::RenewedInVain) {
                self.by_asking = self.by_asking.max(by_asking);
            }
            self.until = self.until.min(earlier(self.by_calendar, terms.kill).max(now.mono));
        } else if asked.is_some() {
            (self.ends, self.by_calendar, self.by_asking) = (ends, by_calendar, by_asking);
        } else {
            return;
        }
        let point = earlier(self.by_calendar.min(self.by_asking), terms.kill);
        self.until = self.until.max(point);
        if asked.is_some() && self.doing == Doing::Idle {
            let time = now.mono < earlier(self.until, terms.stop);
            self.in_vain = if time { 0 } else { self.in_vain.saturating_add(1) };
        }
        if fresh || self.until > before {
            // The first renewal of a fresh lease is due when a third of it is gone.
            self.renew_at = now.mono + (point.since(now.mono) / 3).max(Duration::millis(100));
        }
        if self.doing.may_run() && self.doing != (Doing::Stopping { lost: true }) {
            out.push(Output::Extend(self.seat.at.vm, self.seat.epoch, self.watchdog()));
        }
    }

    fn watchdog(&self) -> Instant {
        if planted::is(Bug::WatchdogUnarmed) { Instant::FAR } else { self.until }
    }

    /// Moves towards what is wanted.
    pub(super) fn pursue(&mut self, now: Now, terms: Terms, out: &mut Vec<Output>) {
        let (vm, epoch) = (self.seat.at.vm, self.seat.epoch);
        let stay = self.wanted && !self.handing;
        match self.doing {
            // Too close to the end nothing is begun: it would be stopped at once.
            Doing::Idle if stay && !self.renewed && !planted::is(Bug::StartUnrenewed) => {
                self.renew(terms, out)
            }
            Doing::Idle if stay && !self.refused && now.mono < earlier(self.until, terms.stop) => {
                if planted::is(Bug::StartUnadmitted) {
                    self.doing = Doing::Starting;
                    out.push(Output::Start(vm, epoch, self.watchdog()));
                    return;
                }
                self.doing = Doing::Admitting;
                out.push(Output::Admit(vm, epoch));
            }
            // Its time ran out while nothing was heard of the store, and the place is its own still: to renew it is quicker
            // than to wait until it is taken, which an end that lies too far ahead puts off.
            Doing::Idle
                if stay && !self.refused && self.in_vain < IN_VAIN_MAX && now.mono >= self.renew_at =>
            {
                self.renew_at = now.mono + terms.lease / 6;
                self.renew(terms, out);
            }
            Doing::Idle if stay => {}
            Doing::Idle => self.leave(terms, out),
            Doing::Leaving if stay && planted::is(Bug::LeavingTakenBack) => self.doing = Doing::Idle,
            // Asked before, and not answered. What was asked may still be done: there is no way back under this epoch.
            Doing::Leaving => self.leave(terms, out),
            Doing::Starting | Doing::Running if !stay => self.stop(now, terms, out),
            Doing::Admitting | Doing::Starting | Doing::Running | Doing::Stopping { .. } => {}
        }
    }

    fn renew(&self, terms: Terms, out: &mut Vec<Output>) {
        out.push(Output::Ask(Command::Renew { seat: self.seat.clone(), lease: terms.lease }));
    }

    fn stop(&mut self, now: Now, terms: Terms, out: &mut Vec<Output>) {
        self.doing = Doing::Stopping { lost: false };
        self.kill_at = now.mono + terms.stop;
        out.push(Output::Stop(self.seat.at.vm, self.seat.epoch));
        self.report(now, Phase::Stopping, String::new(), out);
        if self.handing && planted::is(Bug::YieldWhileRunning) {
            let lease = Terms::standard().lease;
            out.push(Output::Ask(Command::Yield { seat: self.seat.clone(), lease }));
        }
    }

    /// The machine has stopped: the place goes to who is next, or to nobody.
    fn leave(&mut self, terms: Terms, out: &mut Vec<Output>) {
        self.doing = Doing::Leaving;
        let seat = self.seat.clone();
        out.push(Output::Ask(if self.handing && self.wanted {
            Command::Yield { seat, lease: terms.lease }
        } else {
            Command::Release { seat }
        }));
    }

    pub(super) fn admitted(&mut self, now: Now, granted: bool, out: &mut Vec<Output>) {
        if self.doing != Doing::Admitting {
            return;
        }
        self.refused = !granted;
        if granted && self.wanted && !self.handing && now.mono < self.until {
            self.doing = Doing::Starting;
            out.push(Output::Start(self.seat.at.vm, self.seat.epoch, self.watchdog()));
            self.report(now, Phase::Starting, String::new(), out);
        } else {
            self.doing = Doing::Idle;
        }
    }

    pub(super) fn started(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.doing == Doing::Starting {
            self.doing = Doing::Running;
            self.report(now, Phase::Running, String::new(), out);
        }
    }

    pub(super) fn stopped(&mut self, now: Now, failed: Option<String>, terms: Terms, out: &mut Vec<Output>) {
        let was = self.doing;
        self.doing = Doing::Idle;
        if was == (Doing::Stopping { lost: true }) {
            return;
        }
        let phase = if failed.is_some() { Phase::Failed } else { Phase::Stopped };
        self.report(now, phase, failed.unwrap_or_default(), out);
        if !self.wanted || self.handing {
            self.leave(terms, out);
        }
    }

    fn report(&mut self, now: Now, phase: Phase, message: String, out: &mut Vec<Output>) {
        self.reported += 1;
        self.seen = [Some((self.reported, phase)), self.seen[0]];
        let seat = self.seat.clone();
        out.push(Output::Ask(Command::Report {
            seat,
            index: self.reported,
            phase,
            since: now.wall,
            message,
        }));
    }

    /// What time brings: renewals, and the end.
    pub(super) fn tick(&mut self, now: Now, terms: Terms, out: &mut Vec<Output>) {
        let ours = matches!(self.doing, Doing::Admitting | Doing::Starting | Doing::Running)
            || self.doing == (Doing::Stopping { lost: false });
        if ours && now.mono >= self.renew_at {
            self.renew_at = now.mono + terms.lease / 6;
            self.renew(terms, out);
            if unanswered_counts() {
                self.lease_until(now, lease_end(now, terms.lease), Some(now.mono), terms, out);
            }
        }
        if matches!(self.doing, Doing::Starting | Doing::Running)
            && now.mono >= earlier(self.until, terms.stop)
        {
            self.stop(now, terms, out);
        }
        if self.doing == (Doing::Stopping { lost: false }) && now.mono >= self.kill_at {
            self.kill_at = now.mono + terms.stop;
            out.push(Output::Kill(self.seat.at.vm, self.seat.epoch));
        }
    }
}

/// A point as much before another.
fn earlier(point: Instant, by: Duration) -> Instant {
    Instant::from_nanos(point.as_nanos().saturating_sub(by.as_nanos()))
}
