//! The pages of a process, as curl would ask for them.

use crate::fixture::until;
use dwcp_runtime_real::http::{Answer, Pages, serve};
use dwcp_runtime_real::{Registry, StartError};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn ask(at: SocketAddr, head: &str) -> String {
    let mut s = TcpStream::connect(at).await.unwrap();
    s.write_all(head.as_bytes()).await.unwrap();
    let mut all = String::new();
    let read = s.read_to_string(&mut all);
    tokio::time::timeout(std::time::Duration::from_secs(5), read).await.unwrap().unwrap();
    all
}

fn request(method: &str, path: &str, body: &str) -> String {
    let len = body.len();
    format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len}\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_answer() {
    let ready = Arc::new(AtomicBool::new(false));
    let is_ready = ready.clone();
    let judge = move || {
        if is_ready.load(Ordering::Relaxed) { Ok("ready".into()) } else { Err("no leader yet".into()) }
    };
    let pages = Pages::standard(&Arc::new(Registry::new()), || Ok("alive".into()), judge)
        .post("/admin/cut", |ask| Answer::text(format!("{:?} {:?}", ask.value("peer"), ask.body)));
    let server = serve("127.0.0.1:0".parse().unwrap(), pages.clone()).unwrap();
    let at = server.local_address();
    let get = async |path: &str| ask(at, &request("GET", path, "")).await;

    let metrics = get("/metrics").await;
    assert!(
        metrics.starts_with("HTTP/1.1 200 OK") && metrics.contains("dwcp_node_starts_total 0"),
        "{metrics}"
    );
    assert!(get("/healthz").await.ends_with("\r\n\r\nalive\n"));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 503 "));
    ready.store(true, Ordering::Relaxed);
    assert!(get("/readyz?x=1").await.ends_with("\r\n\r\nready\n"));
    let missing = get("/nothing").await;
    assert!(missing.starts_with("HTTP/1.1 404 ") && missing.contains("/metrics"), "{missing}");
    let wrong = get("/admin/cut").await;
    assert!(wrong.starts_with("HTTP/1.1 405 ") && wrong.contains("allow: GET, POST"), "{wrong}");
    let cut = ask(at, &request("POST", "/admin/cut?on=1&peer=3", "hi")).await;
    assert!(cut.ends_with("Some(\"3\") b\"hi\""), "{cut}");
    let large = "x".repeat(100_000);
    let refused = ask(at, &request("POST", "/admin/cut", &large)).await;
    assert!(refused.starts_with("HTTP/1.1 400 ") && refused.contains("at most 65536"), "{refused}");
    assert!(ask(at, "garbage\r\n\r\n").await.starts_with("HTTP/1.1 400 "));

    let e = serve(at, pages).unwrap_err();
    assert!(matches!(&e, StartError::Listen { .. }), "{e}");
    drop(server);
    until("closed", || std::net::TcpStream::connect(at).is_err()).await;
}
