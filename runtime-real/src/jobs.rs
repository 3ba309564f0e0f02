//! The threads for work off the loop.
//!
//! **Promise.** A job runs once, on one of [`THREADS`] threads, and completes once: with what it
//! made, or with `None` if it panicked. A panic is logged; it never takes a thread along.
//! The queue is bounded by the loop's holding back ([`crate::shard::JOB_BACKLOG`]).

use crossbeam_channel::{Sender, unbounded};
use dwcp_env::{Job, JobId, JobResult};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Threads for jobs: one may compress while another writes a checkpoint.
const THREADS: usize = 2;

/// Where a job's end is told.
pub(crate) type OnJob = Arc<dyn Fn(JobId, JobResult) + Send + Sync>;

/// The threads; they end when this is dropped and their current job is done.
pub(crate) struct JobThreads {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl JobThreads {
    /// Starts the threads.
    pub(crate) fn start(done: &OnJob) -> std::io::Result<Self> {
        let (jobs, queue) = unbounded::<Job>();
        let mut threads = Vec::new();
        for n in 0..THREADS {
            let (queue, done) = (queue.clone(), done.clone());
            let run = move || {
                for job in queue {
                    let (id, name) = (job.id, job.name);
                    let result = catch_unwind(AssertUnwindSafe(job.run));
                    if result.is_err() {
                        tracing::error!(job = name, %id, "a background job panicked; its result is lost");
                    }
                    done(id, result.ok());
                }
            };
            threads.push(std::thread::Builder::new().name(format!("dwcp-job-{n}")).spawn(run)?);
        }
        Ok(Self { jobs: Some(jobs), threads })
    }

    pub(crate) fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // The threads live as long as `self`, and a job's panic does not end them.
            let _sent = jobs.send(job);
        }
    }

    /// Lets no more in, and waits until those that run have ended. Waiting jobs still run.
    pub(crate) fn finish(&mut self) {
        drop(self.jobs.take());
        for t in self.threads.drain(..) {
            let _panicked = t.join();
        }
    }
}
