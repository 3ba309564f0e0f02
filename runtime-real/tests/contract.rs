//! The six invariants of `dwcp_env::contract`, each with its number. The fourth (messages are never
//! altered) is tested where links are.

use crate::fixture::{Site, Told, file, introduce, start, until};
use bytes::Bytes;
use dwcp_env::contract::Stopped;
use dwcp_env::{
    DiskError, DiskOp, DiskRequest, Duration, Input, Instant, Job, JobId, Lane, NodeId, Reply, RequestId,
    Send as ToPeer, Ticket, WallTime,
};
use dwcp_runtime_real::{DoorError, Ended};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const SECOND: Duration = Duration::secs(1);

fn reply(id: RequestId, response: u64, after: Option<Ticket>) -> Reply<u64> {
    Reply { id, response, end: true, after }
}

/// 1. Time never goes back between steps, and both clocks are told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_never_goes_back() {
    let site = Site::new();
    let mut last = Instant::ZERO;
    let node = site
        .start(1, move |now, input, out| {
            assert!(now.mono >= last);
            last = now.mono;
            assert!(now.wall > WallTime::from_nanos(1_600_000_000_000_000_000));
            assert_eq!(now.uncertainty, Duration::millis(10));
            if let Input::Request { id, deadline, .. } = input {
                assert!(deadline > now.mono);
                out.replies.push(reply(id, now.mono.as_nanos(), None));
            }
        })
        .await;
    let handle = node.handle();
    let mut before = 0;
    for n in 0..2_000 {
        let t = handle.request(n, SECOND).await.unwrap();
        assert!(t >= before);
        before = t;
    }
    assert_eq!(node.ended_early(), None);
}

trait Early {
    fn ended_early(&self) -> Option<()>;
}
impl Early for dwcp_runtime_real::Node<u64, u64> {
    fn ended_early(&self) -> Option<()> {
        self.handle().is_stopped().then_some(())
    }
}

/// 2. What names a ticket leaves only after the ticket is durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_waits_for_its_write() {
    let site = Site::new();
    let mut tickets = 0;
    let mut at = 0;
    let node = site
        .start(1, move |_, input, out| {
            let Input::Request { id, request, .. } = input else { return };
            tickets += 1;
            let mut ops = Vec::new();
            if tickets == 1 {
                ops.push(DiskOp::Create { file: file("log"), len: 1 << 20 });
                ops.push(DiskOp::SyncDir);
            }
            let data = Bytes::from(request.to_le_bytes().to_vec());
            ops.push(DiskOp::Write { file: file("log"), offset: at, data });
            ops.push(DiskOp::Sync { file: file("log") });
            at += 8;
            out.disk.push(DiskRequest { ticket: Ticket(tickets), ops });
            out.replies.push(reply(id, at - 8, Some(Ticket(tickets))));
        })
        .await;
    let handle = node.handle();
    let log = site.dir.path().join("n1/log");
    for n in 100..300_u64 {
        let at = handle.request(n, SECOND * 10).await.unwrap() as usize;
        let bytes = std::fs::read(&log).unwrap();
        assert_eq!(bytes[at..at + 8], n.to_le_bytes());
    }
}

/// 2. What names a ticket that failed never leaves, neither to a client nor to a peer; and what
///    does not name it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_after_a_write_that_failed() {
    let site = Site::new();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let ear = heard.clone();
    let peer = site
        .start(2, move |_, input, _| {
            if let Input::Message { body, .. } = input {
                ear.lock().unwrap().push(body);
            }
        })
        .await;
    let failures = Arc::new(Mutex::new(Vec::new()));
    let seen = failures.clone();
    let mut tickets = 0;
    let node = site
        .start(1, move |_, input, out| match input {
            Input::Request { id, request, .. } => {
                tickets += 1;
                let ops = vec![
                    // The file does not exist: the write fails, and what follows it is not done.
                    DiskOp::Write { file: file("none"), offset: 0, data: Bytes::from("x") },
                    DiskOp::Create { file: file("later"), len: 1 },
                ];
                let ops = if request == 0 { ops } else { vec![DiskOp::SyncDir] };
                out.disk.push(DiskRequest { ticket: Ticket(tickets), ops });
                let to = NodeId(2);
                let send = |body, after| ToPeer { to, lane: Lane::Data, body, after };
                out.sends.push(send(Bytes::from(format!("gated {request}")), Some(Ticket(tickets))));
                out.sends.push(send(Bytes::from(format!("free {request}")), None));
                out.replies.push(reply(id, request, Some(Ticket(tickets))));
            }
            Input::Disk { ticket, result: Err(e) } => {
                seen.lock().unwrap().push((ticket, e));
                // Naming it later is no better.
                out.sends.push(ToPeer {
                    to: NodeId(2),
                    lane: Lane::Data,
                    body: Bytes::from("gated later"),
                    after: Some(ticket),
                });
            }
            _ => {}
        })
        .await;
    introduce(&[&node, &peer]);
    until("linked", || node.links().status().iter().any(|s| s.connected.len() == 3)).await;
    let handle = node.handle();
    assert_eq!(handle.request(0, Duration::millis(300)).await, Err(DoorError::Deadline));
    assert_eq!(handle.request(1, SECOND * 5).await, Ok(1));
    until("heard", || heard.lock().unwrap().len() >= 3).await;
    assert_eq!(*heard.lock().unwrap(), ["free 0", "free 1", "gated 1"]);
    assert_eq!(*failures.lock().unwrap(), [(Ticket(1), DiskError::NotFound("none".into()))]);
    assert!(!site.dir.path().join("n1/later").exists());
}

/// 3. In the order of tickets, each once, while the queue is long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_requests_complete_in_order_and_once() {
    const COUNT: u64 = 5_000;
    let site = Site::new();
    let done = Arc::new(AtomicU64::new(0));
    let seen = done.clone();
    let mut asked = 0;
    let _node = site
        .start(1, move |_, input, out| match input {
            Input::Wake if asked == 0 => {
                let ops = vec![DiskOp::Create { file: file("f"), len: 8 }];
                out.disk.push(DiskRequest { ticket: Ticket(1), ops });
                for n in 2..=COUNT {
                    // Each renames what the one before it left: out of order they would fail.
                    let data = Bytes::from(n.to_le_bytes().to_vec());
                    let (from, to) = if n % 2 == 0 { (file("f"), file("g")) } else { (file("g"), file("f")) };
                    let ops = vec![
                        DiskOp::Write { file: from.clone(), offset: 0, data },
                        DiskOp::Rename { from, to },
                    ];
                    out.disk.push(DiskRequest { ticket: Ticket(n), ops });
                }
                asked = COUNT;
            }
            Input::Disk { ticket, result } => {
                assert_eq!(result, Ok(()));
                assert_eq!(seen.fetch_add(1, Ordering::Relaxed) + 1, ticket.0);
            }
            _ => {}
        })
        .await;
    until("all done", || done.load(Ordering::Relaxed) == COUNT).await;
    assert_eq!(std::fs::read(site.dir.path().join("n1/g")).unwrap(), COUNT.to_le_bytes());
}

/// 5. Awake at or soon after `wake_at`, not before; a later wish replaces an earlier one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_wakes_when_it_asked_to() {
    let site = Site::new();
    let wakes = Arc::new(Mutex::new(Vec::new()));
    let seen = wakes.clone();
    let mut wish: Option<Instant> = None;
    let node = site
        .start(1, move |now, input, out| match input {
            Input::Wake => {
                if let Some(w) = wish.take() {
                    assert!(now.mono >= w, "woken at {}, asked for {w}", now.mono);
                    seen.lock().unwrap().push(now.mono.since(w));
                }
                if seen.lock().unwrap().len() < 100 {
                    wish = Some(now.mono + Duration::millis(2));
                }
                out.wake_at = wish;
            }
            Input::Request { id, .. } => {
                wish = Some(now.mono + Duration::millis(50));
                out.wake_at = wish;
                out.replies.push(reply(id, 0, None));
            }
            _ => {}
        })
        .await;
    until("woken a hundred times", || wakes.lock().unwrap().len() == 100).await;
    let mut late = std::mem::take(&mut *wakes.lock().unwrap());
    late.sort();
    assert!(late[50] < Duration::millis(5), "{late:?}");
    // An input in between replaces the wish.
    for _ in 0..5 {
        node.handle().request(0, SECOND).await.unwrap();
    }
    until("woken again", || !wakes.lock().unwrap().is_empty()).await;
    assert_eq!(node.ended_early(), None);
}

/// 6. A new incarnation starts from the directory, and hears nothing of the old one's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_incarnation_hears_nothing_of_the_old_one() {
    let site = Site::new();
    for incarnation in 0..5_u64 {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let seen = heard.clone();
        let boot = move |world: dwcp_env::World| {
            // The meta file and the lock are not the node's to see.
            let names = world.storage.list().unwrap();
            let want = if incarnation == 0 { vec![] } else { vec![file("data")] };
            assert_eq!(names, want);
            let mut first = true;
            Ok(Told(move |_, input: Input<u64>, out: &mut dwcp_env::Outputs<u64>| {
                if std::mem::take(&mut first) {
                    // Asked for and not waited for: the node is stopped meanwhile.
                    for n in 1..=50 {
                        let ticket = Ticket(incarnation * 1_000 + n);
                        let ops = vec![DiskOp::Create { file: file("data"), len: 4_096 }, DiskOp::SyncDir];
                        out.disk.push(DiskRequest { ticket, ops });
                    }
                    out.jobs.push(Job {
                        id: JobId(incarnation),
                        name: "nap",
                        cost: Duration::ZERO,
                        run: Box::new(move || {
                            std::thread::sleep(std::time::Duration::from_millis(20));
                            Box::new(())
                        }),
                    });
                }
                match input {
                    Input::Disk { ticket, .. } => seen.lock().unwrap().push(ticket.0 / 1_000),
                    Input::Job { job, .. } => seen.lock().unwrap().push(job.0),
                    Input::Stop { .. } => out.stopped = Some(Stopped::Asked),
                    _ => {}
                }
            }))
        };
        let node = start(site.settings(1), boot).await.unwrap();
        until("at work", || !heard.lock().unwrap().is_empty()).await;
        assert_eq!(node.stop(SECOND * 5).await, Ended::Well);
        assert!(heard.lock().unwrap().iter().all(|i| *i == incarnation));
    }
}

/// A job's result comes back; a job that panics comes back lost and harms nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_come_back_once() {
    let site = Site::new();
    let results = Arc::new(Mutex::new(Vec::new()));
    let seen = results.clone();
    let mut first = true;
    let _node = site
        .start(1, move |_, input, out| {
            if std::mem::take(&mut first) {
                for n in 0..20_u64 {
                    let run = Box::new(move || -> Box<dyn std::any::Any + Send> {
                        assert!(n % 5 != 0, "a job that panics on purpose");
                        Box::new(n * n)
                    });
                    out.jobs.push(Job { id: JobId(n), name: "square", cost: Duration::ZERO, run });
                }
            }
            if let Input::Job { job, result } = input {
                let value = result.map(|r| *r.downcast::<u64>().unwrap());
                seen.lock().unwrap().push((job.0, value));
            }
        })
        .await;
    until("all back", || results.lock().unwrap().len() == 20).await;
    let mut all = results.lock().unwrap().clone();
    all.sort_unstable();
    let want: Vec<_> = (0..20).map(|n| (n, (n % 5 != 0).then_some(n * n))).collect();
    assert_eq!(all, want);
}
