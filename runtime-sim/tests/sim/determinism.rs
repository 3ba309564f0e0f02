//! The same plan gives the same run: in one process, after other work, in another process;
//! and two runs that differ are told apart to the event.
use crate::machines::{Ask, Mixer, ms, nodes};
use dwcp_env::{Duration, Instant, Seed};
use dwcp_runtime_sim::fingerprint::{Trail, first_differing};
use dwcp_runtime_sim::plan::Rekey;
use dwcp_runtime_sim::swarm::{Family, Spec, expand};
use dwcp_runtime_sim::trace::{Event, What};
use dwcp_runtime_sim::{Advance, Fired, Keep, Latency, Plan, SimWorld, plan};
use std::collections::BTreeMap;

fn spec() -> Spec {
    let mut nodes = nodes(5);
    for (n, region) in nodes.iter_mut().zip(["eu-west-1", "us-east-1", "sa-east-1", "eu-west-1", "us-east-1"])
    {
        n.region = region.into();
    }
    Spec {
        nodes,
        latency: Latency::Measured("aws-2020".into()),
        net: plan::NetSettings::default(),
        disk: plan::DiskSettings::default(),
        process: plan::ProcessSettings { drift_ppm: 100, skew: Duration::millis(1), ..Default::default() },
        clients: 4,
        knobs: BTreeMap::new(),
        buggify: true,
        families: vec![],
        always: Family::ALL.to_vec(),
        every: Duration::millis(400),
        longest: Duration::millis(500),
        quiet_until: Instant::ZERO,
        heal_at: ms(1_500),
        horizon: ms(2_000),
        draw_core: true,
        tolerates: dwcp_runtime_sim::atlas::Tolerates { decay: true, amnesia: true, liars: 1 },
        groups: vec![],
        versions: vec![1, 2],
        faults: vec![],
    }
}

/// A run with clients that react to what they hear. Invariants of the machines may break
/// under amnesia and lies: the run then ends there, which is as good for this.
fn drive(plan: Plan, odd_at: Option<Instant>, keep: Keep) -> SimWorld<Mixer> {
    let (n, clients, end) = (plan.nodes.len() as u64, u64::from(plan.clients), plan.horizon);
    let ids = plan.node_ids();
    let mut w = SimWorld::new(plan, Mixer::boot(n, odd_at)).unwrap();
    w.keep(keep);
    for c in 0..clients {
        w.timer(ms(c), c);
    }
    let (mut value, mut of) = (0, BTreeMap::new());
    loop {
        match w.advance(end) {
            Advance::Timer(c) => {
                value += 1;
                let node = ids[(value % n) as usize];
                let ask = if value % 9 == 0 { Ask::Snapshot(value) } else { Ask::Append(value) };
                of.insert(w.request(node, ask, w.now() + Duration::millis(60)), c);
            }
            Advance::Client(e) if e.ends() => {
                let c = of.remove(&e.id).unwrap();
                w.timer(w.now() + Duration::millis(1), c);
            }
            Advance::Client(_) | Advance::Reached => {}
            Advance::Limit | Advance::Violated => return w,
        }
    }
}

fn trail(seed: u64) -> Trail {
    drive(expand(&spec(), Seed(seed)), None, Keep::Nothing).trail()
}

const SEEDS: u64 = 12;

#[test]
fn the_same_seed_twice_is_the_same_run() {
    let (mut ends, mut fired) = (std::collections::BTreeSet::new(), Fired::default());
    for seed in 0..SEEDS {
        let w = drive(expand(&spec(), Seed(seed)), None, Keep::Nothing);
        fired.merge(&w.fired());
        assert_eq!(w.trail(), trail(seed), "seed {seed}");
        ends.insert(w.trail().id());
    }
    assert_eq!(ends.len() as u64, SEEDS);
    let silent: Vec<_> = fired.iter().filter(|(_, n)| *n == 0).map(|(k, _)| k).collect();
    assert!(silent.len() <= 2, "never fired in any run: {silent:?}");
}

#[test]
fn keeping_a_trace_or_watching_changes_nothing() {
    for seed in 0..4 {
        let plan = expand(&spec(), Seed(seed));
        let kept = drive(plan.clone(), None, Keep::Everything);
        assert_eq!(kept.trail(), trail(seed));
        let places: Vec<u64> = kept.events().iter().map(|e| e.seq).collect();
        assert_eq!(places, (0..kept.trail().events).collect::<Vec<_>>(), "every event was kept, once");
    }
}

#[test]
fn a_branch_is_the_same_run_until_its_draws_are_made_anew() {
    let at = ms(700);
    let branch = |seed: u64, rekey: Vec<Rekey>| {
        drive(Plan { rekey, ..expand(&spec(), Seed(seed)) }, None, Keep::Everything)
    };
    for seed in 0..2 {
        let trunk = branch(seed, vec![]);
        let one = branch(seed, vec![Rekey { at, salt: 1 }]);
        let before = trunk.events().iter().take_while(|e| e.at < at).count();
        assert!(before > 100, "seed {seed} does something before {at}");
        assert_eq!(trunk.events()[..before], one.events()[..before], "seed {seed}: the past is the same");
        assert_ne!(trunk.trail(), one.trail(), "seed {seed}: the future is not");
        assert_eq!(
            one.trail(),
            branch(seed, vec![Rekey { at, salt: 1 }]).trail(),
            "a branch is a run as well"
        );
        assert_ne!(one.trail(), branch(seed, vec![Rekey { at, salt: 2 }]).trail());
        // A branch of a branch leaves the first one's past alone.
        let later = ms(1_000);
        let two = branch(seed, vec![Rekey { at, salt: 1 }, Rekey { at: later, salt: 1 }]);
        let before = one.events().iter().take_while(|e| e.at < later).count();
        assert_eq!(one.events()[..before], two.events()[..before], "seed {seed}");
        assert_ne!(one.trail(), two.trail());
    }
}

#[test]
fn other_runs_before_it_and_beside_it_change_nothing() {
    let alone = std::thread::spawn(|| trail(3)).join().unwrap();
    for warm in 20..24 {
        let _other = trail(warm);
    }
    let beside = std::thread::spawn(|| trail(21));
    assert_eq!(trail(3), alone);
    drop(beside.join());
}

/// Not a test of its own: what the child process below runs.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn prints_trails() {
    for seed in 0..4 {
        println!("trail {seed} {}", trail(seed).id());
    }
}

#[test]
fn another_process_gives_the_same_runs() {
    let exe = std::env::current_exe().unwrap();
    let out = std::process::Command::new(exe)
        .args(["determinism::prints_trails", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env("DWCP_A_LARGER_ENVIRONMENT", "x".repeat(10_000))
        .env("TZ", "Pacific/Auckland")
        .current_dir("/")
        .output()
        .unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let theirs: Vec<&str> = text.lines().filter_map(|l| l.rsplit_once("trail ").map(|x| x.1)).collect();
    let ours: Vec<String> = (0..4).map(|s| format!("{s} {}", trail(s).id())).collect();
    assert_eq!(theirs, ours, "{text}");
}

#[test]
fn the_first_differing_event_is_named() {
    let mut calm = spec();
    calm.always.clear();
    let plan = expand(&calm, Seed(1));
    let odd = Some(ms(700));
    let (a, b) = (drive(plan.clone(), None, Keep::Nothing), drive(plan.clone(), odd, Keep::Nothing));
    let (from, to) = a.trail().first_difference(&b.trail()).unwrap();
    let keep = Keep::Range { from, to };
    let block = |odd| -> Vec<Event> { drive(plan.clone(), odd, keep).events().to_vec() };
    let (left, right) = (block(None), block(odd));
    let (l, r) = first_differing(&left, &right).unwrap();
    let (l, r) = (l.unwrap(), r.unwrap());
    assert!(l.at >= ms(700) && l.at < ms(702), "{l:?}");
    assert!(matches!(l.what, What::Send { from, .. } if from.0 == 3), "{l:?} {r:?}");
    assert_ne!(l.digest, r.digest);
}
