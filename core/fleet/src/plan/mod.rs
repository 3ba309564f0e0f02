//! Plans: from what was read and what is asked to one transaction, or to a refusal.
//!
//! **Promise.** [`plan`] is a pure function. What it returns is the next step of the command: a transaction in one store, or
//! the answer. A command of several steps (stores can't be written together) is planned again after each: every step is
//! read off the records, never off who took the one before, so that anybody can go on after a crash.
//!
//! **Invariants.**
//! 1. *What was read is checked*: every key of the transaction's own store that the plan looked at is compared at commit,
//!    by construction ([`Desk`]). A plan can't forget a compare.
//! 2. *What was read in another store was true beside what is checked* ([`crate::work`], 4), and is stable: it can change only
//!    after a step in the transaction's own store that makes one of its checks fail, or leaves something that everyone
//!    knows for a leftover. Each place that relies on it says why.
//! 3. *Refused is unchanged*: a refusal means that this step wrote nothing.
//! 4. *Escrow*: rights are granted by the fleet first, given back by the region first; blocks and prefixes alike.
//! 5. *A place is given only when vacant*, with an epoch higher than ever before, and taken away only by its holder
//!    after the machine has stopped, or after its lease has surely ended. A holder is one life of a host's agent.
//! 6. *A store gives only by its charter* (places, epochs, addresses, names, lives), which no backup holds.
//! 7. *Addresses, names, rights* of a machine are freed only when it has no place.
//!
//! | file | plans |
//! |---|---|
//! | `desk` | reads and writes of one plan |
//! | `fleet` | regions, images, hosts |
//! | `charter` | a region's store is opened; lives of agents |
//! | `lend` | blocks and prefixes |
//! | `quota` | totals and shares |
//! | `machine` | create, power, size, labels, delete, purge |
//! | `place` | place, migrate, recover; renew, release, yield, report |
//! | `handover` | a machine moves between regions |
//! | `due` | what should be done next in a region, by the records |
//!
//! **Rejected.** *Transactions over several stores (two-phase commit)*: a region that is cut off would hold locks.
//! *A workflow log*: the records themselves are the log; a second one can disagree with them.

mod charter;
pub(crate) mod desk;
pub mod due;
mod fleet;
mod handover;
mod lend;
mod machine;
mod place;
mod quota;

use crate::command::{Answer, Command, Request};
use crate::refusal::Refusal;
use crate::transaction::Transaction;
use crate::view::{View, Wanted};
use desk::Desk;
use dwcp_env::Now;

/// What follows once a transaction is committed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Then {
    /// The command is done.
    Answer(Answer),
    /// It is to be planned again.
    Again,
    /// The transaction tidied up behind a command that can't be done.
    Refuse(Refusal),
}

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A transaction.
    Commit(Transaction, Then),
    /// Nothing: it is so already.
    Done(Answer),
}

/// Why there is no step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stop {
    /// More is to be read first.
    Want(Wanted),
    /// It can't be done.
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

type Planned = Result<Step, Stop>;

/// The next step of a request.
///
/// # Errors
/// [`Stop`]: what is to be read first, or why it can't be done.
pub fn plan(view: &View, request: &Request, now: Now) -> Planned {
    let desk = &mut Desk::new(view, now, request.key);
    match &request.command {
        Command::Region { region, state } => fleet::region(desk, region, *state),
        Command::ImageSet { region, image, source } => fleet::image(desk, region, image, source.as_deref()),
        Command::HostJoin { region, host, capacity, labels } => {
            fleet::join(desk, region, host, capacity, labels)
        }
        Command::HostAttach { region, host } => charter::attach(desk, region, host),
        Command::Reopen { region } => charter::reopen(desk, region),
        Command::Open { region } => charter::open(desk, region),
        Command::HostState { region, host, state } => fleet::host_state(desk, region, host, *state),
        Command::BlockAdd { block } => lend::add_block(desk, *block),
        Command::BlockSplit { block, length } => lend::split(desk, *block, *length),
        Command::PrefixAdd { prefix } => lend::add_prefix(desk, prefix),
        Command::Lend { thing, region } => lend::lend(desk, thing, region),
        Command::Return { thing, region } => lend::take_back(desk, thing, region),
        Command::QuotaTotal { group, total } => quota::total(desk, group, total),
        Command::QuotaShare { group, region, right } => quota::share(desk, group, region, Some(right)),
        Command::QuotaSync { group, region } => quota::share(desk, group, region, None),
        Command::Create { region, spec } => machine::create(desk, region, spec),
        Command::SetPower { at, power } => machine::set_power(desk, at, *power),
        Command::Resize { at, vcpus, memory_mib } => machine::resize(desk, at, *vcpus, *memory_mib),
        Command::Label { at, set, remove } => machine::label(desk, at, set, remove),
        Command::Delete { at } => machine::delete(desk, at),
        Command::Purge { at } => machine::purge(desk, at),
        Command::Forget { at } => machine::forget(desk, at),
        Command::ReleaseName { region, name } => machine::release_name(desk, region, name),
        Command::Place { at, lease } => place::place(desk, at, *lease),
        Command::Migrate { at, to } => place::migrate(desk, at, to.as_ref()),
        Command::StayPut { at } => place::stay_put(desk, at),
        Command::Recover { at } => place::recover(desk, at),
        Command::Renew { seat, lease } => place::renew(desk, seat, *lease),
        Command::Release { seat } => place::release(desk, seat),
        Command::Yield { seat, lease } => place::hand_over(desk, seat, *lease),
        Command::Report { seat, index, phase, since, message } => {
            place::report(desk, seat, *index, *phase, *since, message)
        }
        Command::Move { at, to } => handover::moving(desk, at, to),
        Command::CallBack { at } => handover::call_back(desk, at),
        Command::Settle { at } => handover::settle(desk, at),
    }
}
