//! All stores, a clock, and who asks: one question at a time, answered at once.

use dwcp_env::{Duration, Instant, Now, WallTime};
use dwcp_fleet::command::{Answer, At, Command, Request, Seat};
use dwcp_fleet::key::{Key, Scope};
use dwcp_fleet::name::{HostName, RequestKey};
use dwcp_fleet::plan::due;
use dwcp_fleet::record::{Disk, Nic, Power, Record, RegionState, Spec, Vm};
use dwcp_fleet::refusal::{Code, Refusal};
use dwcp_fleet::rehearsal::Store;
use dwcp_fleet::resources::Resources;
use dwcp_fleet::view::{Fetch, View};
use dwcp_fleet::work::{Next, Work};
use std::collections::BTreeMap;

pub(crate) const LEASE: Duration = Duration::secs(10);

/// All stores, a clock, and who asks.
pub(crate) struct Fleet {
    pub(crate) stores: BTreeMap<Scope, Store>,
    pub(crate) now: u64,
    asked: u128,
    /// What was found damaged when somebody last looked what is due.
    pub(crate) damaged: Vec<Refusal>,
}

pub(crate) fn name<T: std::str::FromStr<Err = String>>(text: &str) -> T {
    text.parse().unwrap()
}

impl Fleet {
    pub(crate) fn now(&self) -> Now {
        let ns = self.now * 1_000_000_000;
        let uncertainty = Duration::millis(100);
        Now { mono: Instant::from_nanos(ns), wall: WallTime::from_nanos(ns), uncertainty }
    }
    pub(crate) fn store(&mut self, scope: &Scope) -> &mut Store {
        self.stores.entry(scope.clone()).or_default()
    }
    pub(crate) fn ask(&mut self, command: Command) -> Result<Answer, Refusal> {
        self.asked += 1;
        self.again(self.asked, command)
    }
    pub(crate) fn again(&mut self, key: u128, command: Command) -> Result<Answer, Refusal> {
        self.steps(key, command, usize::MAX).expect("it ends")
    }
    /// Stops before the transaction after so many.
    pub(crate) fn steps(
        &mut self,
        key: u128,
        command: Command,
        mut commits: usize,
    ) -> Option<Result<Answer, Refusal>> {
        let mut work = Work::new(Request { key: RequestKey(key), command });
        loop {
            match work.next(self.now()) {
                Next::Done(done) => return Some(done),
                Next::Read(scope, fetches) => {
                    for (fetch, revision, found) in self.store(&scope).read(&fetches) {
                        work.read(&fetch, revision, found);
                    }
                }
                Next::Commit(_) if commits == 0 => return None,
                Next::Commit(transaction) => {
                    commits -= 1;
                    let held = self.store(&transaction.scope).commit(&transaction);
                    work.committed(held);
                }
            }
        }
    }
    pub(crate) fn ok(&mut self, command: Command) -> Answer {
        self.ask(command.clone()).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"))
    }
    pub(crate) fn refused(&mut self, command: Command) -> (Code, String) {
        let refusal = self.ask(command.clone()).err().unwrap_or_else(|| panic!("{command:?} was done"));
        assert!(!refusal.what.is_empty() && !refusal.remedy.is_empty());
        (refusal.code, refusal.to_string())
    }
    pub(crate) fn vm(&mut self, at: &At) -> Option<Vm> {
        let key = Key::vm(&at.region, at.vm);
        let found = self.store(&Scope::Region(at.region.clone())).read(&[Fetch::One(key)]);
        found[0].2.first().map(|(_, _, bytes)| Vm::decode(bytes).unwrap())
    }
    /// Does what is due until nothing is.
    pub(crate) fn settle(&mut self) {
        assert!(self.settle_until(20), "always something due");
    }
    /// The same, so many times at most; whether it is.
    pub(crate) fn settle_until(&mut self, times: usize) -> bool {
        for _ in 0..times {
            let mut due = Vec::new();
            for region in ["eu", "us"] {
                for between in [false, true] {
                    due.extend(self.due(region, between));
                }
            }
            if due.is_empty() {
                return true;
            }
            for command in due {
                let _passes = self.ask(command);
            }
        }
        false
    }
    pub(crate) fn due(&mut self, region: &str, between: bool) -> Vec<Command> {
        let mut view = View::new();
        loop {
            let now = self.now();
            let region = name(region);
            let found = if between {
                due::between(&view, &region, now)
            } else {
                due::here(&view, &region, LEASE, now)
            };
            match found {
                Ok(due) => {
                    self.damaged = due.damaged;
                    return due.commands;
                }
                Err(dwcp_fleet::plan::Stop::Refused(refusal)) => panic!("{refusal}"),
                Err(dwcp_fleet::plan::Stop::Want(wanted)) => {
                    for fetch in wanted.0 {
                        let scope = fetch.scope().unwrap();
                        for (fetch, revision, found) in self.store(&scope).read(&[fetch]) {
                            view.take(&fetch, revision, found);
                        }
                    }
                }
            }
        }
    }

    /// Two regions with a block, a prefix, an image, a host and rights each.
    pub(crate) fn small() -> Self {
        let mut fleet = Self { stores: BTreeMap::new(), now: 1_000, asked: 0, damaged: Vec::new() };
        fleet.ok(Command::QuotaTotal { group: name("red"), total: amount(8) });
        for (region, block) in [("eu", "10.0.0.0/30"), ("us", "10.0.1.0/30")] {
            let prefix = format!("{region}-");
            fleet.ok(Command::Region { region: name(region), state: RegionState::Active });
            fleet.ok(Command::PrefixAdd { prefix: name(&prefix) });
            fleet.ok(Command::BlockAdd { block: name(block) });
            for thing in [block, &prefix] {
                fleet.ok(Command::Lend { thing: name(thing), region: name(region) });
            }
            let source = Some("/images/base".into());
            fleet.ok(Command::ImageSet { region: name(region), image: name("base"), source });
            fleet.ok(Command::QuotaShare { group: name("red"), region: name(region), right: amount(4) });
            for host in ["a", "b"] {
                let host: HostName = name(&format!("{region}-{host}"));
                let capacity = Resources { vms: 2, ..amount(2) };
                fleet.ok(Command::HostJoin {
                    region: name(region),
                    host: host.clone(),
                    capacity,
                    labels: BTreeMap::new(),
                });
                let life = fleet.ok(Command::HostAttach { region: name(region), host });
                assert_eq!(life, Answer::Life { life: 1 });
            }
        }
        fleet
    }
    pub(crate) fn create(&mut self, text: &str) -> At {
        self.asked += 1;
        self.create_as(self.asked, text)
    }
    pub(crate) fn create_as(&mut self, key: u128, text: &str) -> At {
        let (region, _) = text.split_once('-').unwrap();
        match self.again(key, Command::Create { region: name(region), spec: spec(text) }) {
            Ok(Answer::Vm { at, .. }) => at,
            other => panic!("{other:?}"),
        }
    }
}

pub(crate) fn amount(n: u64) -> Resources {
    Resources { vms: n, vcpus: 2 * n, memory_mib: 1024 * n, disk_gib: 10 * n, addresses: n }
}

pub(crate) fn spec(text: &str) -> Spec {
    Spec {
        name: name(text),
        image: name("base"),
        vcpus: 1,
        memory_mib: 512,
        disks: vec![Disk { name: name("root"), gib: 4 }],
        nics: vec![Nic { name: name("eth0"), family: Default::default() }],
        power: Power::Off,
        group: name("red"),
        labels: BTreeMap::new(),
    }
}

pub(crate) fn seat(at: &At, answer: &Answer) -> Seat {
    match answer {
        Answer::Place { host, epoch, .. } => {
            Seat { at: at.clone(), host: host.clone(), epoch: *epoch, life: 1, found: false }
        }
        other => panic!("{other:?}"),
    }
}
