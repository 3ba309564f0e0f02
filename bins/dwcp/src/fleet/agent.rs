//! `dwcp host run`: the agent of [`dwcp_fleet::agent`] on a real clock, over the simulated hypervisor.
//!
//! One loop: read the region's machines whenever something there has changed, feed the agent, carry out what it wants. The
//! process holds the machines, so its death is theirs; in a deployment the watchdog is outside (docs/fleet.md). It is one
//! life of the host's agent: when another process of the name registers, this one ends its machines and itself.

use super::ask::Doors;
use super::backstop::{Posted, Runs};
use super::hypervisor::{Epochs, Table};
use dwcp_env::{Duration, Instant, Now};
use dwcp_fleet::agent::{Agent, Input, Output, Terms};
use dwcp_fleet::announce::{Belief, Topic};
use dwcp_fleet::command::{At, Command};
use dwcp_fleet::name::{HostName, Region, VmId};
use dwcp_fleet::record::{Life, Placement, Power, Status, Vm, What};
use dwcp_fleet::refusal::Refusal;
use dwcp_runtime_real::clock::Clock;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};

/// Between two looks at the region at most: changes are heard at once, while there is a node that tells of them.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_secs(5);
/// Between two tries to hear of changes.
const HEAR_AGAIN: std::time::Duration = std::time::Duration::from_millis(500);
/// Between two times that it announces what it runs, while that does not change; whether a beat is due the door decides.
const ANNOUNCE_EVERY: Duration = Duration::secs(15);
/// Commands under way at once; what is wanted beyond is asked at the next look.
const UNDER_WAY: usize = 64;
/// What this process's calendar may be off by, as NTP keeps it.
const UNCERTAINTY: Duration = Duration::millis(250);

struct Host {
    agent: Agent,
    clock: Clock,
    epochs: Epochs,
    table: Table,
    doors: Doors,
    answers: mpsc::Sender<Input>,
    json: bool,
    /// Whether another process of the name has registered.
    superseded: bool,
    /// Whether the last look could read all machines.
    sees_all: bool,
    /// What was announced last, and when.
    announced: Option<(Belief, Instant)>,
    /// Held by the announcement that is under way.
    announcing: Arc<Semaphore>,
    /// Why the last look failed.
    blind: Option<String>,
}

/// Runs the agent until Ctrl-C or SIGTERM.
///
/// # Errors
/// What is wrong and what to do.
pub(super) async fn run(
    doors: Doors,
    region: Region,
    host: HostName,
    life: u64,
    storage: &Path,
    json: bool,
) -> Result<(), String> {
    let (answers, mut answered) = mpsc::channel(2 * UNDER_WAY);
    let agent = Agent::new(region.clone(), host, life, Terms::standard());
    let epochs = Epochs::open(storage)?;
    let mut here = Host {
        agent,
        clock: Clock::start(UNCERTAINTY),
        epochs,
        table: Table::default(),
        doors,
        answers,
        json,
        superseded: false,
        sees_all: true,
        announced: None,
        announcing: Arc::new(Semaphore::new(1)),
        blind: None,
    };
    let mut look = tokio::time::interval(LOOK_EVERY);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(|e| format!("can't listen for SIGTERM: {e}"))?;
    if json {
        println!("{}", json!({ "event": "ready" }));
    } else {
        println!("ready; Ctrl-C ends the agent and its machines");
    }
    let (found, mut looked) = mpsc::channel(1);
    let mut heard = hear(&here.doors, &region);
    // Something has changed since the look began that is under way.
    let mut stale = false;
    loop {
        if here.superseded {
            return Err(
                "another process of this host's name has registered, or the region's store was restored; \
                        its machines here have ended; let one process of a name run"
                    .into(),
            );
        }
        here.announce(&region);
        let overdue = here.wake();
        tokio::select! {
            // A look may take long; the machines' times go on meanwhile.
            _ = look.tick() => stale = !here.look(&region, &found),
            Some(()) = heard.recv() => stale = !here.look(&region, &found),
            Some(looked) = looked.recv() => {
                here.told(looked.as_ref().err());
                if let Ok(items) = looked {
                    here.take(&region, &items);
                }
                if stale {
                    stale = !here.look(&region, &found);
                }
            }
            Some(input) = answered.recv() => here.feed(input),
            () = tokio::time::sleep_until(overdue.into()) => here.pass(),
            _ = tokio::signal::ctrl_c() => return Ok(()),
            _ = terminated.recv() => return Ok(()),
        }
    }
}

impl Host {
    fn now(&self) -> Now {
        self.clock.now()
    }
    /// The next time something is over or due.
    fn wake(&self) -> std::time::Instant {
        let next = [self.agent.wake(), self.table.next()].into_iter().flatten().min();
        let far = std::time::Instant::now() + LOOK_EVERY;
        next.map_or(far, |at| self.clock.to_std(at).min(far))
    }
    fn pass(&mut self) {
        let now = self.now();
        for (vm, epoch) in self.table.overdue(now.mono) {
            self.say("killed by its watchdog", vm, epoch);
            self.feed(Input::Stopped { vm, epoch, failed: None });
        }
        self.feed(Input::Tick);
    }
    /// Announces what it runs, when that has changed and every now and then; beside everything else, one at a time.
    fn announce(&mut self, region: &Region) {
        let now = self.now();
        let believed = self.agent.belief(now);
        let stands =
            |(before, at): &(Belief, Instant)| *before == believed && now.mono.since(*at) < ANNOUNCE_EVERY;
        if self.announced.as_ref().is_some_and(stands) {
            return;
        }
        let Ok(place) = self.announcing.clone().try_acquire_owned() else { return };
        let runs = believed.iter().filter_map(|(topic, what)| match (topic, what) {
            (Topic::Vm(vm), What::Runs { epoch, seen }) => {
                Some(Runs { vm: *vm, epoch: *epoch, seen: seen.clone() })
            }
            _ => None,
        });
        let (region, host) = (region.clone(), self.agent.host().clone());
        let (at, uncertainty) = (now.wall, now.uncertainty);
        let posted = Posted { region, host, at, uncertainty, runs: runs.collect() };
        self.announced = Some((believed, now.mono));
        let doors = self.doors.clone();
        tokio::spawn(async move {
            // What does not arrive is said again.
            let _lost = doors.announce(&posted).await;
            drop(place);
        });
    }
    fn say(&self, what: &str, vm: VmId, epoch: u64) {
        if self.json {
            println!("{}", json!({ "event": what, "vm": vm, "epoch": epoch }));
        } else {
            println!("{vm} {what} (epoch {epoch})");
        }
    }

    /// Reads the region, beside everything else; one look at a time. Whether it has begun.
    fn look(&self, region: &Region, found: &mpsc::Sender<Result<Vec<Value>, String>>) -> bool {
        let Ok(place) = found.clone().try_reserve_owned() else { return false };
        let (doors, path) = (self.doors.clone(), format!("regions/{region}/vms"));
        tokio::spawn(async move {
            // What is no list says nothing, and least of all that there are no machines.
            let items = doors.get(&path).await.and_then(|read| {
                read["items"].as_array().cloned().ok_or_else(|| format!("{path} is no list"))
            });
            place.send(items);
        });
        true
    }

    /// Says when the region can't be read, and when it can again; not at each look.
    fn told(&mut self, why: Option<&String>) {
        match why {
            Some(why) if self.blind.as_ref() != Some(why) => {
                eprintln!("dwcp: the region can't be read, its leases are kept as they are known: {why}");
            }
            None if self.blind.is_some() => eprintln!("dwcp: the region can be read again"),
            _ => {}
        }
        self.blind = why.cloned();
    }

    fn take(&mut self, region: &Region, items: &[Value]) {
        let mut gone: Vec<VmId> = self.agent.known().collect();
        let Found { machines, whole } = Found::of(items);
        if self.sees_all != whole {
            self.sees_all = whole;
            let what = if whole {
                "can be read again"
            } else {
                "can't all be read: none is taken for gone meanwhile"
            };
            eprintln!("dwcp: the region's machines {what}");
        }
        for (vm, place, status) in machines {
            gone.retain(|known| *known != vm.id);
            let wanted = vm.life == Life::Active && vm.spec.power == Power::On;
            let reported = status.filter(|s| s.epoch == place.epoch).map_or(0, |s| s.index);
            let at = At { region: region.clone(), vm: vm.id };
            self.feed(Input::Seen { at, place, wanted, reported });
        }
        for vm in gone.into_iter().filter(|_| whole) {
            self.feed(Input::Unseen(vm));
        }
    }

    /// Feeds the agent, and all that follows at once.
    fn feed(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.agent.step(self.now(), input, &mut out);
            for output in out {
                inputs.extend(self.carry_out(output));
            }
        }
    }

    fn carry_out(&mut self, output: Output) -> Option<Input> {
        match output {
            Output::Admit(vm, epoch) => {
                let granted = self.epochs.admit(vm, epoch).unwrap_or_else(|e| {
                    eprintln!("dwcp: storage does not answer for {vm}: {e}");
                    false
                });
                Some(Input::Admitted { vm, epoch, granted })
            }
            Output::Start(vm, epoch, until) => {
                let now = self.now().mono;
                if self.table.start(now, vm, epoch, until) {
                    self.say("runs", vm, epoch);
                    Some(Input::Started { vm, epoch })
                } else {
                    Some(Input::Stopped {
                        vm,
                        epoch,
                        failed: Some("its time was over before it began".into()),
                    })
                }
            }
            Output::Extend(vm, epoch, until) => {
                self.table.extend(vm, epoch, until);
                None
            }
            Output::Stop(vm, epoch) | Output::Kill(vm, epoch) => {
                if self.table.end(vm, epoch) {
                    self.say("stopped", vm, epoch);
                }
                Some(Input::Stopped { vm, epoch, failed: None })
            }
            Output::Ask(command) => {
                self.ask(command);
                None
            }
            Output::Superseded => {
                self.superseded = true;
                None
            }
        }
    }

    fn ask(&self, command: Command) {
        let Ok(place) = self.answers.clone().try_reserve_owned() else { return };
        let (doors, asked) = (self.doors.clone(), self.now().mono);
        tokio::spawn(async move {
            let done: Result<Result<_, Refusal>, String> = doors.tried(&command).await;
            let (Command::Renew { seat, .. } | Command::Release { seat } | Command::Yield { seat, .. }) =
                command
            else {
                return;
            };
            if let Ok(result) = done {
                place.send(Input::Answered { seat, asked, result: result.map_err(|refusal| refusal.code) });
            }
        });
    }
}

/// Says that something has changed in a region, by whichever node tells of it; several changes may be one.
fn hear(doors: &Doors, region: &Region) -> mpsc::Receiver<()> {
    let (changed, heard) = mpsc::channel(1);
    let (doors, path) = (doors.clone(), format!("/v1/fleet/regions/{region}/watch"));
    let region = region.clone();
    tokio::spawn(async move {
        let mut again = tokio::time::interval(HEAR_AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !changed.is_closed() {
            for door in doors.places.about(Some(region.as_str())).unwrap_or_default() {
                let told = |line: &str| {
                    // Statuses are what agents tell themselves. What is full already says that there is something.
                    if line.contains("/vm/") || line.contains("/place/") {
                        let _full = changed.try_send(());
                    }
                };
                let _ended = crate::http::lines(door, &path, told).await;
            }
            again.tick().await;
        }
    });
    heard
}

/// What a look at a region found.
struct Found {
    machines: Vec<(Vm, Placement, Option<Status>)>,
    /// Every machine that has a place could be read. A damaged record, or one of a newer version, is a machine that is there: what
    /// is not read is not gone, and must not be killed for it.
    whole: bool,
}

impl Found {
    fn of(items: &[Value]) -> Self {
        let mut found = Self { machines: Vec::new(), whole: true };
        for item in items.iter().filter(|item| !item["place"].is_null()) {
            let vm = serde_json::from_value::<Vm>(item["vm"].clone());
            let place = serde_json::from_value::<Placement>(item["place"].clone());
            match (vm, place) {
                (Ok(vm), Ok(place)) => {
                    let status = serde_json::from_value::<Status>(item["status"].clone()).ok();
                    found.machines.push((vm, place, status));
                }
                _ => found.whole = false,
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_not_be_read_is_not_taken_for_gone() {
        let whole = |items: Value| Found::of(items.as_array().unwrap()).whole;
        assert!(
            whole(json!([])) && whole(json!([{ "vm": { "damaged": "x" } }])),
            "without a place nothing runs"
        );
        assert!(!whole(json!([{ "vm": { "damaged": "should be a vm" }, "place": { "epoch": 3 } }])));
        assert!(!whole(json!([{ "vm": {}, "place": { "damaged": "of a newer version" } }])));
    }
}
