//! The HTTP door: connections, bounds, answers. The paths are [`super::routes`]'s.

use super::drive::Fleet;
use super::routes::{self, Reply};
use crate::documents::{self, Documents};
use crate::etcd::Backend;
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};

/// Connections at once; more are closed.
const CONNECTIONS: usize = 256;
/// How long a request's head, or its body, may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// How long a door that can't take a connection waits at most for one of its own to end.
const ACCEPT_REST: Duration = Duration::from_millis(100);
/// The largest request.
const BODY_MAX: usize = 64 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The door.
#[derive(Clone, Debug)]
pub struct Door<B> {
    fleet: Fleet<B>,
    documents: Option<Documents>,
}

impl<B: Backend> Door<B> {
    /// A door to a fleet.
    pub const fn new(fleet: Fleet<B>) -> Self {
        Self { fleet, documents: None }
    }
    /// With a keyspace of documents beside it, whose paths are [`crate::documents`]'s.
    #[must_use]
    pub fn beside(mut self, documents: Option<Documents>) -> Self {
        self.documents = documents;
        self
    }

    /// Serves until it is told to close; then connections are dropped.
    pub async fn serve(self, listener: TcpListener, mut closing: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let freed = Arc::new(Notify::new());
        loop {
            let socket = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = closing.changed() => return,
            };
            let Ok((socket, _)) = socket else {
                // Out of descriptors: the next try would fail at once, too, until a connection ends, here or elsewhere.
                let _either = tokio::time::timeout(ACCEPT_REST, freed.notified()).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else { continue };
            let (door, mut closing, freed) = (self.clone(), closing.clone(), freed.clone());
            tokio::spawn(async move {
                let _place = place;
                tokio::select! {
                    () = converse(socket, door) => {}
                    _ = closing.changed() => {}
                }
                freed.notify_one();
            });
        }
    }
}

async fn converse<B: Backend>(socket: TcpStream, door: Door<B>) {
    let service = hyper::service::service_fn(|request| {
        let door = door.clone();
        async move { Ok::<_, Infallible>(answer(&door, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ARRIVES_WITHIN)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(socket), service);
    if let Err(e) = connection.await {
        tracing::debug!("a connection to the fleet's door ended: {e}");
    }
}

fn whole(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let body = Full::new(Bytes::from(format!("{value}\n"))).boxed_unsync();
    with(status, "application/json", body)
}

fn with(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

async fn answer<B: Backend>(door: &Door<B>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let error = |status, at: &str, what: String| {
        let remedy = format!("at most {BODY_MAX} bytes, within 10 s");
        whole(
            status,
            &serde_json::json!({ "error": { "code": "invalid", "at": at, "what": what, "remedy": remedy } }),
        )
    };
    let body = match tokio::time::timeout(ARRIVES_WITHIN, Limited::new(body, BODY_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(e)) => {
            return error(StatusCode::PAYLOAD_TOO_LARGE, "the body", format!("could not be read: {e}"));
        }
        Err(_) => return error(StatusCode::REQUEST_TIMEOUT, "the body", "did not come in time".into()),
    };
    let path = head.uri.path();
    if documents::is_ours(path) {
        let (status, value) =
            documents::answer(door.documents.as_ref(), &head.method, &head.uri, &body).await;
        return whole(status, &value);
    }
    match routes::answer(&door.fleet, &head.method, path, &body).await {
        Reply::Json(status, value) => whole(status, &value),
        Reply::Watch(changes) => {
            let frames = routes::lines(changes).map(|line| Ok(Frame::data(line)));
            with(StatusCode::OK, "application/x-ndjson", StreamBody::new(frames).boxed_unsync())
        }
    }
}
