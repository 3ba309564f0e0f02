//! The disk against a model that remembers every version of every byte.

use super::inode::{Fate, Honest, Inode, SECTOR};
use super::*;
use dwcp_env::disk::Storage;
use dwcp_env::{DiskOp, DiskRequest, Ticket};
use proptest::prelude::*;
use storage::SimStorage;

#[derive(Clone, Debug)]
enum Step {
    Write { offset: u64, len: usize, job: bool },
    SetLen { len: u64, job: bool },
    Sync { job: bool },
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u64..12_000, 0_usize..6_000, any::<bool>())
            .prop_map(|(offset, len, job)| Step::Write { offset, len, job }),
        1 => (0_u64..16_000, any::<bool>()).prop_map(|(len, job)| Step::SetLen { len, job }),
        2 => any::<bool>().prop_map(|job| Step::Sync { job }),
        2 => (1_u64..40).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..30)
}

/// What the file should be: its content now, and everything that a crash at a given moment may
/// leave: the content at the last effective sync, and all contents since.
#[derive(Default)]
struct Model {
    now: Vec<u8>,
    /// When it takes effect, the content after it, and whether it is a sync.
    changes: Vec<(u64, Vec<u8>, bool)>,
    last_at: u64,
}

impl Model {
    fn change(&mut self, time: u64, at: Option<u64>, sync: bool) {
        let pending = self.changes.last().is_some_and(|c| c.0 > time);
        let mut at = at.unwrap_or(time);
        if pending {
            at = at.max(self.last_at);
        }
        self.last_at = at;
        self.changes.push((at, self.now.clone(), sync));
    }
    /// A sync outside a job carries out everything.
    fn sync_now(&mut self, time: u64) {
        for c in &mut self.changes {
            c.0 = c.0.min(time);
        }
        self.last_at = time;
        self.changes.push((time, self.now.clone(), true));
    }
    /// The last synced content and all later ones that have taken effect.
    fn possible(&self, time: u64) -> Vec<Vec<u8>> {
        let done: Vec<_> = self.changes.iter().filter(|c| c.0 <= time).collect();
        let from = done.iter().rposition(|c| c.2);
        let mut all: Vec<Vec<u8>> = done[from.unwrap_or(0)..].iter().map(|c| c.1.clone()).collect();
        if from.is_none() {
            all.insert(0, Vec::new());
        }
        all
    }
}

fn play(steps: &[Step]) -> (Inode, Model, u64) {
    let (mut inode, mut model, mut time, mut fill) = (Inode::default(), Model::default(), 0, 0_u8);
    for step in steps {
        // A job's changes take effect 15 later.
        let at = |job: bool| job.then_some(time + 15);
        match *step {
            Step::Write { offset, len, job } => {
                fill = fill.wrapping_add(1).max(1);
                let data = vec![fill; len];
                inode.write(offset, &data, time, at(job));
                let end = offset as usize + len;
                if model.now.len() < end {
                    model.now.resize(end, 0);
                }
                model.now[offset as usize..end].copy_from_slice(&data);
                model.change(time, at(job), false);
            }
            Step::SetLen { len, job } => {
                inode.set_len(len, time, at(job));
                model.now.resize(len as usize, 0);
                model.change(time, at(job), false);
            }
            Step::Sync { job } => {
                inode.sync(at(job), time, &mut Honest);
                match at(job) {
                    Some(_) => model.change(time, at(job), true),
                    None => model.sync_now(time),
                }
            }
            Step::Pass(n) => {
                time += n;
                inode.settle(time, &mut Honest);
            }
        }
    }
    (inode, model, time)
}

fn content(inode: &Inode) -> Vec<u8> {
    let mut out = vec![0; inode.len() as usize];
    inode.read(0, &mut out);
    out
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn reads_see_every_write_at_once(steps in steps()) {
        let (inode, model, _) = play(&steps);
        prop_assert!(content(&inode) == model.now);
    }

    #[test]
    fn a_crash_leaves_in_each_sector_some_version_since_the_last_sync(
        steps in steps(), torn in any::<bool>(), salt in any::<u64>(),
    ) {
        let (mut inode, model, time) = play(&steps);
        let possible = model.possible(time);
        let seed = Seed(salt);
        let p = Purpose::named("test");
        inode.crash(time, &mut Fate {
            keep: &mut |b, s| seed.draw(p, b.into(), Instant::ZERO, s.unwrap_or(99)) & 1 == 0,
            torn,
            below: &mut |n| seed.below(n, p, 7, Instant::ZERO, n),
        });
        let left = content(&inode);
        let (short, long) = (
            possible.iter().map(Vec::len).min().unwrap_or(0),
            possible.iter().map(Vec::len).max().unwrap_or(0),
        );
        prop_assert!((short..=long).contains(&left.len()), "{} of {short}..={long}", left.len());
        for (i, sector) in left.chunks(SECTOR).enumerate() {
            let start = i * SECTOR;
            // A version shorter than what is left shows zeros behind its end.
            let fits = possible.iter().any(|v| {
                sector.iter().enumerate().all(|(k, b)| *b == v.get(start + k).copied().unwrap_or(0))
            });
            prop_assert!(fits, "sector {i} is of no version");
        }
    }

    #[test]
    fn a_kill_keeps_what_had_taken_effect(steps in steps()) {
        let (mut inode, model, time) = play(&steps);
        inode.kill(time);
        let last = model.changes.iter().rfind(|c| c.0 <= time).map_or(Vec::new(), |c| c.1.clone());
        prop_assert!(content(&inode) == last);
    }
}

fn disk() -> (Arc<Shared>, Arc<AtomicU64>) {
    let time = Arc::new(AtomicU64::new(0));
    (Shared::new(1, Seed(1), DiskSettings::default(), time.clone()), time)
}

fn name(n: &str) -> FileName {
    FileName::new(n).unwrap()
}

#[test]
fn a_handle_of_an_ended_incarnation_is_stopped() {
    let (shared, _) = disk();
    let storage = SimStorage::new(shared.clone(), 0);
    let f = storage.create(&name("a")).unwrap();
    f.write_at(0, b"hello").unwrap();
    shared.lock().kill();
    assert_eq!(f.sync(), Err(DiskError::Stopped));
    assert_eq!(storage.list(), Err(DiskError::Stopped));
    drop(f);
    let again = SimStorage::new(shared.clone(), shared.lock().incarnation);
    assert_eq!(dwcp_env::disk::read_all(&again, &name("a")).unwrap(), b"hello");
}

#[test]
fn a_removed_file_lives_while_it_is_open_and_gives_its_space_back() {
    let (shared, _) = disk();
    let storage = SimStorage::new(shared.clone(), 0);
    let f = storage.create(&name("a")).unwrap();
    f.write_at(0, &[7; 10_000]).unwrap();
    storage.remove(&name("a")).unwrap();
    storage.sync_dir().unwrap();
    let mut b = [0; 4];
    f.read_at(9_996, &mut b).unwrap();
    assert_eq!(b, [7; 4]);
    assert!(matches!(storage.open(&name("a")), Err(DiskError::NotFound(_))));
    assert!(shared.lock().memory() > 0);
    drop(f);
    let disk = shared.lock();
    assert_eq!((disk.memory(), disk.used), (0, 0));
}

#[test]
fn the_directory_is_durable_after_its_own_sync_alone() {
    let mut outcomes = std::collections::BTreeSet::new();
    for at in 0..64 {
        let (shared, time) = disk();
        let storage = SimStorage::new(shared.clone(), 0);
        storage.create(&name("old")).unwrap().sync().unwrap();
        storage.sync_dir().unwrap();
        storage.create(&name("new")).unwrap().sync().unwrap();
        storage.rename(&name("old"), &name("kept")).unwrap();
        time.store(at, Ordering::Relaxed);
        shared.lock().crash(false);
        let names: Vec<_> = shared.lock().list().iter().map(|n| n.as_str().to_owned()).collect();
        assert!(names.contains(&"old".to_owned()) != names.contains(&"kept".to_owned()), "{names:?}");
        outcomes.insert(names);
    }
    assert_eq!(outcomes.len(), 4, "each change survives or not, on its own: {outcomes:?}");
}

#[test]
fn a_request_stops_at_its_first_failure() {
    let (shared, _) = disk();
    let ops = vec![
        DiskOp::Create { file: name("a"), len: 100 },
        DiskOp::Write { file: name("none"), offset: 0, data: bytes::Bytes::from_static(b"x") },
        DiskOp::Create { file: name("b"), len: 100 },
    ];
    let request = DiskRequest { ticket: Ticket(1), ops };
    let result = shared.lock().carry_out_all(&request);
    assert_eq!(result, Err(DiskError::NotFound("none".into())));
    assert_eq!(shared.lock().list(), [name("a")]);
}

/// A file of ones that a job, begun at 1,000 ns, replaces by one of twos; how long that takes.
fn replaced_by_a_job() -> (Arc<Shared>, Arc<AtomicU64>, SimStorage, u64) {
    let (shared, time) = disk();
    let storage = SimStorage::new(shared.clone(), 0);
    dwcp_env::disk::replace(&storage, &name("f"), &[1; 9_000]).unwrap();
    shared.lock().begin_work(1_000);
    dwcp_env::disk::replace(&storage, &name("f"), &[2; 9_000]).unwrap();
    let took = shared.lock().end_work();
    (shared, time, storage, took)
}

#[test]
fn a_job_that_a_crash_cuts_has_done_what_its_time_allowed() {
    // Three steps of a replacement: written, renamed, directory synced; the cut goes through all.
    let mut seen = std::collections::BTreeSet::new();
    for cut in 0..80 {
        let (shared, time, storage, took) = replaced_by_a_job();
        assert!(took > 1_000_000, "{took}");
        // Seen at once by whoever reads.
        assert_eq!(dwcp_env::disk::read_all(&storage, &name("f")).unwrap(), [2; 9_000]);
        time.store(1_000 + took * cut / 79, Ordering::Relaxed);
        shared.lock().crash(cut % 2 == 0);
        let again = SimStorage::new(shared.clone(), 1);
        let left = dwcp_env::disk::read_all(&again, &name("f")).unwrap();
        assert!(left == [1; 9_000] || left == [2; 9_000], "cut {cut}: a mixture");
        let temp = again.list().unwrap().len() == 2;
        seen.insert((left[0], temp));
        assert!(cut < 79 || left[0] == 2, "it had completed");
        assert!(cut > 0 || left[0] == 1, "it had not begun");
    }
    assert!(seen.contains(&(1, true)), "{seen:?}");
}

#[test]
fn a_sync_of_the_directory_leaves_what_a_running_job_will_rename() {
    // Found by eventual/evicted with crashes: the file was there under its final name and held zeros, because the loop had synced the
    // directory between the job's write and its sync.
    for cut in 1..79 {
        let (shared, time, storage, took) = replaced_by_a_job();
        time.store(1_000 + took * cut / 79, Ordering::Relaxed);
        storage.sync_dir().unwrap();
        shared.lock().crash(cut % 2 == 0);
        let again = SimStorage::new(shared.clone(), 1);
        let left = dwcp_env::disk::read_all(&again, &name("f")).unwrap();
        assert!(left == [1; 9_000] || left == [2; 9_000], "cut {cut}: a mixture");
    }
}
