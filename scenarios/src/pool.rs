//! Worker processes: started, fed, and replaced when they die.

use crate::worker::{Job, Line, Perturbed, Report};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// How a worker process is started.
#[derive(Clone, Debug)]
pub struct Program {
    /// The program.
    pub path: PathBuf,
    /// What makes it a worker; the perturbation's words follow.
    pub args: Vec<String>,
    /// Set in its environment.
    pub env: Vec<(String, String)>,
    /// Where it runs; here if nothing is said.
    pub dir: Option<PathBuf>,
    /// How it differs on purpose.
    pub perturbed: Perturbed,
}

impl Program {
    /// This program again, as `… sim worker`.
    ///
    /// # Errors
    /// That its own path can't be found.
    pub fn this() -> std::io::Result<Self> {
        let args = vec!["sim".to_owned(), "worker".to_owned()];
        Ok(Self {
            path: std::env::current_exe()?,
            args,
            env: Vec::new(),
            dir: None,
            perturbed: Perturbed::default(),
        })
    }
    /// The same, different on purpose.
    #[must_use]
    pub fn perturbed(&self, nth: u32, warm_up: u32) -> Self {
        let mut other = self.clone();
        other.perturbed = Perturbed { threads: 1 + 3 * nth, warm_up };
        other
            .env
            .push(("TZ".to_owned(), ["Pacific/Kiritimati", "America/St_Johns"][nth as usize % 2].to_owned()));
        other.env.push(("DWCP_PADDING".to_owned(), "x".repeat(100 + 3_001 * nth as usize)));
        other.dir = (nth % 2 == 1).then(std::env::temp_dir);
        other
    }
    fn start(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if self.perturbed.threads > 0 {
            command.args(["--threads", &self.perturbed.threads.to_string()]);
        }
        if self.perturbed.warm_up > 0 {
            command.args(["--warm-up", &self.perturbed.warm_up.to_string()]);
        }
        command.envs(self.env.iter().map(|(k, v)| (k, v)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command.spawn()
    }
}

/// What became of a job.
#[derive(Clone, PartialEq, Debug)]
pub enum Done {
    /// It ran.
    Ran(Box<Report>),
    /// The plan made no sense.
    Refused(String),
    /// The worker died over it: how it ended.
    Died(String),
}

/// Some workers.
pub struct Pool {
    jobs: Option<SyncSender<Job>>,
    done: Receiver<(u64, Done)>,
    threads: Vec<JoinHandle<()>>,
    waiting: VecDeque<Job>,
    under_way: usize,
}

impl Pool {
    /// Starts `workers` processes as they are needed.
    #[must_use]
    pub fn new(program: &Program, workers: usize) -> Self {
        let workers = workers.max(1);
        let (jobs, take) = sync_channel::<Job>(workers);
        let take = std::sync::Arc::new(std::sync::Mutex::new(take));
        let (tell, done) = sync_channel(workers * 2);
        let threads = (0..workers)
            .map(|_| {
                let (program, take, tell) = (program.clone(), take.clone(), tell.clone());
                std::thread::spawn(move || {
                    let mut worker = None;
                    loop {
                        // Only this thread waits for a job while it holds the lock.
                        let job = match take.lock() {
                            Ok(queue) => queue.recv(),
                            Err(_) => return,
                        };
                        let Ok(job) = job else { return };
                        let done = hand_over(&program, &mut worker, &job);
                        if tell.send((job.id, done)).is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        Self { jobs: Some(jobs), done, threads, waiting: VecDeque::new(), under_way: 0 }
    }
    /// Asks for a job to be run.
    pub fn submit(&mut self, job: Job) {
        self.waiting.push_back(job);
        self.feed();
    }
    /// Jobs not yet done.
    #[must_use]
    pub fn open(&self) -> usize {
        self.waiting.len() + self.under_way
    }
    /// The next that is done, in the order in which they end; `None` if nothing is open.
    pub fn take(&mut self) -> Option<(u64, Done)> {
        self.feed();
        if self.under_way == 0 {
            return None;
        }
        let done = self.done.recv().ok()?;
        self.under_way -= 1;
        self.feed();
        Some(done)
    }
    /// Drops what no worker has begun; what is under way still comes.
    pub fn forget(&mut self) {
        self.waiting.clear();
    }
    fn feed(&mut self) {
        let Some(jobs) = &self.jobs else { return };
        while let Some(job) = self.waiting.pop_front() {
            match jobs.try_send(job) {
                Ok(()) => self.under_way += 1,
                Err(
                    std::sync::mpsc::TrySendError::Full(job)
                    | std::sync::mpsc::TrySendError::Disconnected(job),
                ) => {
                    self.waiting.push_front(job);
                    return;
                }
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.waiting.clear();
        drop(self.jobs.take());
        while self.under_way > 0 && self.done.recv().is_ok() {
            self.under_way -= 1;
        }
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

/// Runs one job in a process of its own.
#[must_use]
pub fn alone(program: &Program, job: &Job) -> Done {
    hand_over(program, &mut None, job)
}

/// One worker for one thread: kept from job to job, and replaced when it dies.
pub struct Steady {
    program: Program,
    worker: Option<Worker>,
}

impl Steady {
    /// A worker that is started with its first job.
    #[must_use]
    pub fn new(program: &Program) -> Self {
        Self { program: program.clone(), worker: None }
    }
    /// Runs a job.
    #[must_use]
    pub fn run(&mut self, job: &Job) -> Done {
        hand_over(&self.program, &mut self.worker, job)
    }
}

struct Worker {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // End of input ends it; should it not listen, it is ended.
        drop(self.child.stdin.take());
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn start(program: &Program) -> Result<Worker, String> {
    let mut child =
        program.start().map_err(|e| format!("{} can't be started: {e}", program.path.display()))?;
    let output = child.stdout.take().ok_or("its output can't be read")?;
    Ok(Worker { child, output: BufReader::new(output) })
}

/// Gives a job to a worker, starting one if need be; a worker that fails is gone afterwards.
fn hand_over(program: &Program, worker: &mut Option<Worker>, job: &Job) -> Done {
    if worker.is_none() {
        match start(program) {
            Ok(w) => *worker = Some(w),
            Err(why) => return Done::Died(why),
        }
    }
    let Some(w) = worker else { return Done::Died("no worker".to_owned()) };
    match exchange(w, job) {
        Ok(done) => done,
        Err(why) => {
            let how = w.child.wait().map_or_else(|e| e.to_string(), |status| status.to_string());
            *worker = None;
            Done::Died(format!("{why}; the worker ended with {how}"))
        }
    }
}

fn exchange(worker: &mut Worker, job: &Job) -> Result<Done, String> {
    let mut line = serde_json::to_string(job).map_err(|e| e.to_string())?;
    line.push('\n');
    let input = worker.child.stdin.as_mut().ok_or("its input is closed")?;
    input
        .write_all(line.as_bytes())
        .and_then(|()| input.flush())
        .map_err(|e| format!("it did not take the job: {e}"))?;
    line.clear();
    let read = worker.output.read_line(&mut line).map_err(|e| format!("it could not be heard: {e}"))?;
    if read == 0 {
        return Err("it said nothing".to_owned());
    }
    let answer: Line = serde_json::from_str(&line).map_err(|e| format!("it spoke nonsense: {e}"))?;
    Ok(match (answer.report, answer.refused) {
        (Some(report), _) => Done::Ran(Box::new(report)),
        (None, Some(why)) => Done::Refused(why),
        (None, None) => Done::Died("it answered nothing".to_owned()),
    })
}
