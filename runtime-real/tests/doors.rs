//! Requests, streams, stops and ends.

use crate::fixture::{CLUSTER, Site, Told, start, until};
use dwcp_env::bound::{REQUESTS_IN_FLIGHT, WATCH_BACKLOG};
use dwcp_env::contract::Stopped;
use dwcp_env::{ClusterId, Duration, Input, NodeId, Outputs, Reply};
use dwcp_runtime_real::{DoorError, Ended, StartError};
use std::sync::{Arc, Mutex};

const SECOND: Duration = Duration::secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_stops_waiting_tells_the_node() {
    let site = Site::new();
    let cancelled = Arc::new(Mutex::new(Vec::new()));
    let seen = cancelled.clone();
    let node = site
        .start(1, move |_, input, _| {
            if let Input::Cancel { id } = input {
                seen.lock().unwrap().push(id.0);
            }
        })
        .await;
    let handle = node.handle();
    // A dropped future, a passed deadline, a dropped stream: one cancel each.
    let request = handle.request(1, SECOND * 60);
    assert!(tokio::time::timeout(std::time::Duration::from_millis(20), request).await.is_err());
    assert_eq!(handle.request(2, Duration::millis(10)).await, Err(DoorError::Deadline));
    drop(handle.stream(3).unwrap());
    until("cancelled", || cancelled.lock().unwrap().len() == 3).await;
    assert_eq!(*cancelled.lock().unwrap(), [1, 2, 3]);
    assert_eq!(handle.in_flight(), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_has_order_an_end_and_a_bound() {
    let site = Site::new();
    let cancels = Arc::new(Mutex::new(0));
    let seen = cancels.clone();
    let node = site
        .start(1, move |_, input, out| match input {
            Input::Request { id, request, .. } => {
                for n in 0..request {
                    out.replies.push(Reply { id, response: n, end: n + 1 == request, after: None });
                }
            }
            Input::Cancel { .. } => *seen.lock().unwrap() += 1,
            _ => {}
        })
        .await;
    let handle = node.handle();
    let mut s = handle.stream(1_000).unwrap();
    for n in 0..1_000 {
        assert_eq!(s.next().await, Ok(Some(n)));
    }
    assert_eq!(s.next().await, Ok(None));
    // A reader that falls behind keeps what it was given and is told that there was more.
    let mut s = handle.stream(WATCH_BACKLOG as u64 + 10).unwrap();
    until("cut", || *cancels.lock().unwrap() == 1).await;
    for n in 0..WATCH_BACKLOG as u64 {
        assert_eq!(s.next().await, Ok(Some(n)));
    }
    assert_eq!(s.next().await, Err(DoorError::Lagged));
    assert_eq!(handle.in_flight(), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_refused_and_nobody_else_suffers() {
    let site = Site::new();
    let mut held = Vec::new();
    let node = site
        .start(1, move |_, input, out: &mut Outputs<u64>| {
            if let Input::Request { id, request, .. } = input {
                if request == 1 {
                    held.push(id);
                    return;
                }
                out.replies.push(Reply { id, response: 7, end: true, after: None });
                out.replies.extend(held.drain(..).map(|id| Reply {
                    id,
                    response: 1,
                    end: true,
                    after: None,
                }));
            }
        })
        .await;
    let handle = node.handle();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..REQUESTS_IN_FLIGHT - 1 {
        let handle = handle.clone();
        waiting.spawn(async move {
            // The queue to the loop is shorter than what may be in flight: try until let in.
            loop {
                match handle.request(1, SECOND * 60).await {
                    Err(DoorError::Overloaded) => tokio::task::yield_now().await,
                    answer => return answer,
                }
            }
        });
    }
    until("full but for one", || handle.in_flight().0 == REQUESTS_IN_FLIGHT - 1).await;
    let last = tokio::spawn({
        let handle = handle.clone();
        async move { handle.request(1, SECOND * 60).await }
    });
    until("full", || handle.in_flight().0 == REQUESTS_IN_FLIGHT).await;
    assert_eq!(handle.request(2, SECOND).await, Err(DoorError::Overloaded));
    assert!(node.registry().render().contains("\ndwcp_overloaded_total "));
    // One of them gives up, and there is room again.
    last.abort();
    until("room", || handle.in_flight().0 < REQUESTS_IN_FLIGHT).await;
    assert_eq!(handle.request(2, SECOND * 5).await, Ok(7));
    while let Some(answer) = waiting.join_next().await {
        assert_eq!(answer.unwrap(), Ok(1));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ends_are_told_apart() {
    type Out<'a> = &'a mut Outputs<u64>;
    let site = Site::new();
    let node = site.start(1, |_, _, _: Out<'_>| {}).await;
    let pending = tokio::spawn({
        let handle = node.handle();
        async move { handle.request(0, SECOND * 60).await }
    });
    let mut stream = node.handle().stream(0).unwrap();
    until("in flight", || node.handle().in_flight() == (1, 1)).await;
    assert_eq!(node.stop(Duration::millis(100)).await, Ended::Late);
    assert_eq!(pending.await.unwrap(), Err(DoorError::Stopped));
    assert_eq!(stream.next().await, Err(DoorError::Stopped));
    assert_eq!(node.handle().request(0, SECOND).await, Err(DoorError::Stopped));

    let node = site
        .start(2, |_, input, out: Out<'_>| {
            if let Input::Request { .. } = input {
                out.stopped = Some(Stopped::Failed("the disk is full; free some".into()));
            }
        })
        .await;
    assert_eq!(node.handle().request(0, SECOND).await, Err(DoorError::Stopped));
    assert_eq!(node.ended().await, Ended::Failed("the disk is full; free some".into()));

    let node = site
        .start(3, |_, input, _: Out<'_>| {
            if let Input::Request { request, .. } = input {
                assert_ne!(request, 13, "a step that panics on purpose");
            }
        })
        .await;
    assert_eq!(node.handle().request(13, SECOND).await, Err(DoorError::Stopped));
    assert!(matches!(node.ended().await, Ended::Broken(why) if why.contains("on purpose")));

    let boot = |world: dwcp_env::World| {
        Ok(Told(move |_, input, _: Out<'_>| {
            if let Input::Request { request, .. } = input {
                world.probe.always("even", request % 2 == 0, || format!("{request} is odd"));
            }
        }))
    };
    let node = start(site.settings(4), boot).await.unwrap();
    assert_eq!(node.handle().request(3, SECOND).await, Err(DoorError::Stopped));
    assert_eq!(node.ended().await, Ended::Broken("always even: 3 is odd".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_fails_says_what_to_do_and_leaves_no_trace() {
    let site = Site::new();
    let idle = |_| Ok(Told(|_, _, _: &mut Outputs<u64>| {}));
    let says = |e: StartError, what: &str| {
        let text = e.to_string();
        assert!(text.contains(what), "{text}");
    };

    let mut wrong = site.settings(1);
    wrong.node = NodeId(2);
    says(start(wrong, idle).await.unwrap_err(), "/node/1's, and dwcp://");

    let running = start(site.settings(1), idle).await.unwrap();
    says(start(site.settings(1), idle).await.unwrap_err(), "in use by another process");
    let mut occupied = site.settings(3);
    occupied.listen = running.links().local_address();
    says(start(occupied, idle).await.unwrap_err(), "another process has that port");
    drop(running);

    let e =
        start(site.settings(5), |_| Err::<Told<fn(_, _, &mut _)>, _>("its log ends in the middle".into()));
    says(e.await.unwrap_err(), "the node can't start: its log ends in the middle");

    // What failed to boot has let go of everything.
    let mut elsewhere = site.settings(5);
    elsewhere.cluster = ClusterId(9);
    let name = dwcp_runtime_real::Name { cluster: ClusterId(9), node: NodeId(5) };
    elsewhere.identity = site.authority.issue(name).unwrap().identity().unwrap();
    says(start(elsewhere, idle).await.unwrap_err(), &format!("belongs to cluster {CLUSTER}"));
    start(site.settings(5), idle).await.unwrap();
}

const CHILD: &str = "DWCP_TEST_BROKEN";

/// In production a broken invariant ends the process at once, and says which.
#[test]
fn a_broken_invariant_ends_the_process() {
    for (how, what) in [("panic", "the node panicked: on purpose"), ("always", "invariant even is broken: 3")]
    {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "doors::a_process_that_breaks", "--ignored", "--nocapture"])
            .env(CHILD, how)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(6), "{text}");
        assert!(text.contains(&format!("dwcp: {what}")), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ends its process; a_broken_invariant_ends_the_process starts it"]
async fn a_process_that_breaks() {
    let panics = std::env::var(CHILD).unwrap() == "panic";
    let site = Site::new();
    let mut settings = site.settings(1);
    settings.on_broken = dwcp_runtime_real::OnBroken::Abort;
    let boot = move |world: dwcp_env::World| {
        Ok(Told(move |_, input, _: &mut Outputs<u64>| {
            if let Input::Request { request, .. } = input {
                assert!(!panics, "on purpose");
                world.probe.always("even", request % 2 == 0, || request);
            }
        }))
    };
    let node = start(settings, boot).await.unwrap();
    let _ends = node.handle().request(3, SECOND * 5).await;
    std::process::exit(0);
}
