//! What must have happened at least once in a sweep, else it tested nothing.

use super::mirror::kind;
use super::world::World;
use crate::command::{Command, Request};
use crate::name::VmId;
use crate::record::{Life, Owner, Record};
use crate::transaction::{Transaction, Write};
use alloc::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
}

/// The hard paths: a sweep that has not taken all of them has shown little.
pub const HARD: &[&str] = &[
    "a region cut off created a machine",
    "a region cut off placed a machine",
    "a message of long ago was done",
    "a transaction met a conflict",
    "an answer was lost",
    "a request was asked twice at once",
    "a host lost its power",
    "an agent died",
    "an agent was paused",
    "an agent came back and found machines running",
    "the watchdog killed a machine",
    "a lease was taken after its end",
    "a renewal was refused",
    "storage refused a lower epoch",
    "a late write was refused",
    "a migration was yielded",
    "a migration was called back",
    "a move between regions was committed",
    "a move between regions was called back",
    "a handover was continued by another",
    "a leftover of a handover was turned away",
    "a moved machine was deleted",
    "a block was lent",
    "a block came back",
    "rights were granted",
    "rights were given back",
    "refused: quota",
    "refused: capacity",
    "refused: addresses",
    "refused: not yet stopped",
    "a lost host joined again",
    "two processes had one name",
    "a request outlived its agent",
    "an agent was superseded",
    "an earlier life was refused",
    "one number was asked in two regions",
    "a region's store was restored",
    "a restored region was opened",
    "refused: restored, and not opened yet",
    "a clock lied",
    "a calendar was a year ahead",
    "two hosts ran a machine while a clock lied",
    "doors were late, and those who take leases early",
    "a start was slow, and its machine migrates",
    "a placing was late, and its machine moved",
    "a place was given up late, and its machine wanted again",
    "an arrival was called back",
    "a settling was slow, and its machine moved again",
    "a restored store has forgotten a lease that still runs",
];

impl Tally {
    /// One more.
    pub fn add(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }
    /// How many.
    #[must_use]
    pub fn of(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }
    /// All of another run too.
    pub fn merge(&mut self, other: &Self) {
        for (name, n) in &other.counts {
            *self.counts.entry(name).or_default() += n;
        }
    }
    /// Names and counts; hard paths that were not taken count zero.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let missing = HARD.iter().filter(|name| !self.counts.contains_key(*name)).map(|name| (*name, 0));
        self.counts.iter().map(|(name, n)| (*name, *n)).chain(missing)
    }
    /// Hard paths that were not taken.
    pub fn missing(&self) -> impl Iterator<Item = &'static str> + '_ {
        HARD.iter().copied().filter(|name| self.of(name) == 0)
    }
}

impl World {
    /// Counts what a transaction is about to do.
    pub(super) fn count(&mut self, store: usize, request: &Request, transaction: &Transaction) {
        let cut = store.checked_sub(1).is_some_and(|region| self.plan.cut_off(self.now, region));
        let what = match &request.command {
            Command::Create { .. } if cut => "a region cut off created a machine",
            Command::Place { .. } if cut => "a region cut off placed a machine",
            Command::Recover { .. } => "a lease was taken after its end",
            Command::Yield { .. } => "a migration was yielded",
            Command::StayPut { .. } => "a migration was called back",
            Command::Lend { .. } if store == 0 => "a block was lent",
            Command::Return { .. } if store == 0 => "a block came back",
            Command::QuotaShare { .. } if store == 0 => "rights were granted",
            Command::QuotaShare { .. } => "rights were given back",
            Command::Move { .. } | Command::Settle { .. } => {
                return self.count_handover(store, request, transaction);
            }
            _ => return,
        };
        self.judge.tally.add(what);
    }

    fn count_handover(&mut self, store: usize, request: &Request, transaction: &Transaction) {
        for write in &transaction.writes {
            let Ok(vm) = write.key().last().parse::<VmId>() else { continue };
            let what = match (store, write) {
                (0, Write::Put(_, bytes)) => {
                    let before = self.judge.mirror.owners.get(&vm);
                    let Ok(after) = Owner::decode(bytes) else { continue };
                    match before.map(|o| (&o.to, &o.region)) {
                        _ if after.gone => "a moved machine was deleted",
                        Some((Some(to), _)) if *to == after.region => "a move between regions was committed",
                        Some((Some(_), _)) => "a move between regions was called back",
                        _ => continue,
                    }
                }
                (1.., Write::Delete(key)) if kind(key) == "vm" => {
                    let here = self.judge.mirror.regions.get(&self.regions[store - 1]);
                    match here.and_then(|h| h.vms.get(&vm)).map(|v| &v.life) {
                        Some(Life::Arriving { .. }) => "a leftover of a handover was turned away",
                        _ => continue,
                    }
                }
                _ => continue,
            };
            self.judge.tally.add(what);
        }
        if matches!(request.command, Command::Settle { .. }) {
            self.judge.tally.add("a handover was continued by another");
        }
    }
}
