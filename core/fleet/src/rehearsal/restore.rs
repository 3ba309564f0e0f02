//! A region's store is restored from a backup, and an operator opens the region anew.

use super::world::{Event, Task, Who, World};
use crate::command::Command;
use crate::name::RequestKey;
use alloc::format;
use dwcp_env::Duration;

impl World {
    /// A region's store is again what it was when its backup was made.
    pub(super) fn restored(&mut self, region: usize) {
        let Some(backup) = self.backup.take() else { return };
        self.story(|w| format!("the store of {} is restored", w.regions[region]));
        self.judge.tally.add("a region's store was restored");
        self.stores[region + 1].restore(backup);
        let name = self.regions[region].clone();
        let records = self.stores[region + 1].each();
        self.judge.restored(&name, records);
        self.forgotten(region);
        let wait = if self.plan.hasty { 50 + self.draw(300) } else { 200 + self.draw(4_000) };
        let (key, soon) = (self.fresh_key(), self.now + Duration::millis(wait));
        self.at(soon, Event::Reopen(region, key));
    }
    /// An operator opens it, and asks again until it is open.
    pub(super) fn reopen(&mut self, region: usize, key: RequestKey) {
        let command = Command::Reopen { region: self.regions[region].clone() };
        self.reopening = Some((region, key));
        self.start(Who::Client(region), Task::work(key, command));
    }

    /// A refusal says that a region was opened by a calendar that was wrong: an operator opens it anew.
    pub(super) fn redated(&mut self) {
        let Some((region, ..)) = self.plan.restored else { return };
        if self.reopening.is_none() && self.now >= self.plan.calm {
            self.judge.tally.add("a restored region was opened anew: its opening was misdated");
            let key = self.fresh_key();
            self.reopening = Some((region, key));
            self.reopen_later();
        }
    }
    pub(super) fn reopen_later(&mut self) {
        if let Some((region, key)) = self.reopening {
            let soon = self.now + Duration::millis(500 + self.draw(3_000));
            self.at(soon, Event::Reopen(region, key));
        }
    }
}
