//! The pages of a process: `/metrics`, `/healthz`, `/readyz`, and whatever else is added to it.
//!
//! **Promise.** Every connection ends: a request has [`REQUEST`] to arrive, at most
//! [`CONNECTIONS`] are open, a body is at most [`BODY_MAX`] bytes. A page is a function that answers at
//! once; what takes long has no place here.
//!
//! `/healthz` says that the process lives and its loop has not ended, `/readyz` that it can serve
//! (what that means the node says: a closure). Both answer 200 or 503 with a line of text.

use crate::node::StartError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// Connections at once; more are closed.
pub const CONNECTIONS: usize = 64;
/// How long a request's head, or its body, may take to arrive.
pub const REQUEST: Duration = Duration::from_secs(10);
/// The largest request body.
pub const BODY_MAX: usize = 64 * 1024;

/// What a page is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// `GET` or `POST`.
    pub method: Method,
    /// What stands behind the `?`.
    pub query: String,
    /// The body; empty for `GET`.
    pub body: Bytes,
}

impl Ask {
    /// The value of a key of the query: `a=1&b=2`; taken as it stands, nothing is unescaped.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key)).map(|(_, v)| v)
    }
}

/// What a page answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: StatusCode,
    /// Its type, as in `Content-Type`.
    pub content_type: &'static str,
    /// The text.
    pub body: String,
}

impl Answer {
    /// 200 with a text.
    #[must_use]
    pub fn text(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
    /// 200 with JSON.
    #[must_use]
    pub fn json(body: impl Into<String>) -> Self {
        Self { status: StatusCode::OK, content_type: "application/json", body: body.into() }
    }
    /// An error with a text that says what would be right.
    #[must_use]
    pub fn error(status: StatusCode, body: impl Into<String>) -> Self {
        Self { status, content_type: "text/plain; charset=utf-8", body: body.into() }
    }
}

type Page = Arc<dyn Fn(&Ask) -> Answer + Send + Sync>;

/// The pages by path; built once, then served.
#[derive(Clone, Default)]
pub struct Pages(BTreeMap<(Verb, &'static str), Page>);

/// `Method` has no order of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Get,
    Post,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.keys().map(|(_, path)| path)).finish()
    }
}

impl Pages {
    /// The three pages every process has: `healthy` and `ready` answer with a line of text, an
    /// `Err` means 503.
    #[must_use]
    pub fn standard(
        registry: &Arc<crate::Registry>,
        healthy: impl Fn() -> Result<String, String> + Send + Sync + 'static,
        ready: impl Fn() -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        let registry = registry.clone();
        let judged = |r: Result<String, String>| match r {
            Ok(line) => Answer::text(line + "\n"),
            Err(line) => Answer::error(StatusCode::SERVICE_UNAVAILABLE, line + "\n"),
        };
        Self::default()
            .get("/metrics", move |_| Answer {
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                ..Answer::text(registry.render())
            })
            .get("/healthz", move |_| judged(healthy()))
            .get("/readyz", move |_| judged(ready()))
    }
    /// Adds a page to be read.
    #[must_use]
    pub fn get(mut self, path: &'static str, page: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> Self {
        self.0.insert((Verb::Get, path), Arc::new(page));
        self
    }
    /// Adds a page that changes something.
    #[must_use]
    pub fn post(mut self, path: &'static str, page: impl Fn(&Ask) -> Answer + Send + Sync + 'static) -> Self {
        self.0.insert((Verb::Post, path), Arc::new(page));
        self
    }

    fn find(&self, method: &Method, path: &str) -> Result<&Page, Answer> {
        let wanted = match *method {
            Method::GET | Method::HEAD => Some(Verb::Get),
            Method::POST => Some(Verb::Post),
            _ => None,
        };
        let here = |m| self.0.iter().find(|((pm, p), _)| *pm == m && *p == path).map(|(_, page)| page);
        if let Some(page) = wanted.and_then(here) {
            return Ok(page);
        }
        if here(Verb::Get).is_some() || here(Verb::Post).is_some() {
            return Err(Answer::error(StatusCode::METHOD_NOT_ALLOWED, "this page takes another method\n"));
        }
        let known: Vec<&str> = self.0.keys().map(|(_, p)| *p).collect();
        Err(Answer::error(StatusCode::NOT_FOUND, format!("no such page; there are: {}\n", known.join(" "))))
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (head, body) = request.into_parts();
        let page = match self.find(&head.method, head.uri.path()) {
            Ok(page) => page,
            Err(answer) => return answer,
        };
        let body = match tokio::time::timeout(REQUEST, Limited::new(body, BODY_MAX).collect()).await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(e)) => {
                let why = format!("the body could not be read (at most {BODY_MAX} bytes are taken): {e}\n");
                return Answer::error(StatusCode::BAD_REQUEST, why);
            }
            Err(_) => return Answer::error(StatusCode::REQUEST_TIMEOUT, "the body did not come in time\n"),
        };
        let query = head.uri.query().unwrap_or_default().into();
        page(&Ask { method: head.method, query, body })
    }
}

/// A port that serves pages until this is dropped.
#[derive(Debug)]
pub struct PageServer {
    local: SocketAddr,
    _ends: watch::Sender<()>,
}

impl PageServer {
    /// Where it listens.
    #[must_use]
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }
}

/// Serves `pages` on `address`, in tasks of the tokio runtime this is called on.
///
/// # Errors
/// `Listen` if the port can't be had.
pub fn serve(address: SocketAddr, pages: Pages) -> Result<PageServer, StartError> {
    let bind = || {
        let socket = std::net::TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let listener = TcpListener::from_std(socket)?;
        Ok((listener.local_addr()?, listener))
    };
    let (local, listener) = bind().map_err(|e| crate::link::listen_error(address, &e))?;
    let (ends, mut ended) = watch::channel(());
    let pages = Arc::new(pages);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::spawn(async move {
        loop {
            let socket = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = ended.changed() => return,
            };
            let Ok((socket, _)) = socket else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let pages = pages.clone();
            let mut ended = ended.clone();
            tokio::spawn(async move {
                let _place = place;
                tokio::select! {
                    () = converse(socket, &pages) => {}
                    _ = ended.changed() => {}
                }
            });
        }
    });
    Ok(PageServer { local, _ends: ends })
}

async fn converse(socket: TcpStream, pages: &Pages) {
    let service = hyper::service::service_fn(async |request| {
        let answer = pages.answer(request).await;
        let allow = answer.status == StatusCode::METHOD_NOT_ALLOWED;
        let mut response =
            Response::builder().status(answer.status).header(CONTENT_TYPE, answer.content_type);
        if allow {
            response = response.header(ALLOW, "GET, POST");
        }
        response.body(Full::new(Bytes::from(answer.body)))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(e) = connection.await {
        tracing::debug!("a page's connection ended: {e}");
    }
}
