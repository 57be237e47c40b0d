//! The listener and its connections.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse as _, Response};
use http::header::HOST;
use http::request::Parts;
use http::{Request, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::Limits;
use super::answer::{Answering, closing_answer};
use super::stall::Stalling;
use crate::problem::Problem;

/// Time in which a client may still read the answer to a request that was not read to its end.
const LINGER: Duration = Duration::from_secs(1);
/// Pause after the process ran out of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Header fields of a request: the limit is on their bytes, this only bounds what hyper sets aside.
const MOST_HEADERS: usize = 1_000;
/// What a process opens beside the connections of its clients.
const OWN_DESCRIPTORS: u64 = 256;

/// The server cannot listen. One line says it all, so there is no source beneath it.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {addr}: {cause}{}", hint(.cause))]
pub struct BindError {
    addr: SocketAddr,
    cause: io::Error,
}

fn hint(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::AddrInUse => {
            "; another process holds this port: stop it, or choose another with HTTP_ADDR"
        }
        io::ErrorKind::PermissionDenied => "; choose a port above 1023 with HTTP_ADDR",
        _ => "",
    }
}

/// An HTTP/1.1 server that already listens.
#[derive(Debug)]
pub struct Server {
    /// Shared with the door, if there is one.
    listener: Arc<TcpListener>,
    addr: SocketAddr,
    limits: Limits,
}

/// What stays of a server that stops: it hears those who come too late, and tells them to come back.
/// Without it they find a closed port, or are cut off.
#[derive(Debug)]
pub struct Door(Server);

/// A mark on requests that came through the [`Door`].
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLate;

/// Tells a handler that streams for a long time when the server stops: extract it, and end the stream
/// when the token is cancelled.
#[derive(Clone, Debug)]
pub struct Stopping(pub CancellationToken);

impl<S: Send + Sync> FromRequestParts<S> for Stopping {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let stopping = parts.extensions.get().cloned();
        Ok(stopping.unwrap_or_else(|| Self(CancellationToken::new())))
    }
}

impl Server {
    /// Listens on `addr`; port 0 takes a free one.
    ///
    /// # Errors
    /// [`BindError`], which says what to do when the port is taken.
    pub async fn bind(addr: SocketAddr, limits: Limits) -> Result<Self, BindError> {
        allow_descriptors(limits.connections);
        let failed = |cause| BindError { addr, cause };
        let listener = TcpListener::bind(addr).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        Ok(Self { listener: Arc::new(listener), addr, limits })
    }

    /// The port is held until both have ended.
    pub fn door(&self) -> Door {
        let Self { listener, addr, limits } = self;
        Door(Self { listener: Arc::clone(listener), addr: *addr, limits: *limits })
    }

    /// The address it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves `app` until `stop`; then accepts nothing more, lets requests in flight finish for
    /// [`Limits::drain`], and cuts the rest.
    pub async fn serve(self, app: Router, stop: CancellationToken) {
        let answers = Answers { app, handlers: TaskTracker::new(), stop, too_late: false };
        let mut connections = self.accept_all(&answers).await;
        let drain = self.limits.drain;
        drop(self.listener);
        if drained(&mut connections, &answers, drain).await.is_err() {
            tracing::warn!(connections = connections.len(), "requests in flight were cut off");
        }
    }

    /// Takes connections until it is time to stop, and gives those that are still open.
    async fn accept_all(&self, answers: &Answers) -> JoinSet<()> {
        let (stop, mut connections) = (&answers.stop, JoinSet::new());
        let slots = Arc::new(Semaphore::new(self.limits.connections));
        while let Some(stream) = stop.run_until_cancelled(accept(&self.listener)).await {
            let Some(Ok(slot)) = stop.run_until_cancelled(Arc::clone(&slots).acquire_owned()).await
            else {
                break;
            };
            let connection = connection(stream, answers.clone(), self.limits);
            connections.spawn(async move {
                connection.await;
                drop(slot);
            });
            while connections.try_join_next().is_some() {}
        }
        connections
    }
}

impl Door {
    /// Once the server is `stopping`, answers whoever comes until `stop`: probes and documents as
    /// always, everything else with `503` and `Retry-After`.
    pub async fn keep(self, app: Router, stopping: CancellationToken, stop: CancellationToken) {
        if stop.run_until_cancelled(stopping.cancelled()).await.is_none() {
            return;
        }
        let answers = Answers { app, handlers: TaskTracker::new(), stop, too_late: true };
        let mut connections = self.0.accept_all(&answers).await;
        let _ = drained(&mut connections, &answers, LINGER).await;
    }
}

/// Waits for what is open and what is being handled, as long as `patience` lasts.
async fn drained(
    connections: &mut JoinSet<()>,
    answers: &Answers,
    patience: Duration,
) -> Result<(), Elapsed> {
    answers.handlers.close();
    let all = async {
        while connections.join_next().await.is_some() {}
        answers.handlers.wait().await;
    };
    timeout(patience, all).await
}

/// Raises the process's own limit on open files, as far as it may, so that `connections` fit with
/// some room for what the process opens itself.
fn allow_descriptors(connections: usize) {
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(OWN_DESCRIPTORS);
    let limit = getrlimit(Resource::Nofile);
    let allowed = limit.maximum.map_or(wanted, |most| most.min(wanted));
    if limit.current.is_some_and(|current| current < allowed) {
        let raised = Rlimit { current: Some(allowed), ..limit };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit on open files stays as it is");
        }
    }
}

/// The next connection. Errors are either the client's, who has gone, or pass when descriptors or
/// memory come back; none of them ends the server.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        let error = match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => error,
        };
        let kind = error.kind();
        if !matches!(kind, io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
            tracing::warn!(%error, "cannot accept connections");
            tokio::time::sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn connection(stream: TcpStream, answers: Answers, limits: Limits) {
    let (stop, too_late) = (answers.stop.clone(), answers.too_late);
    // Answers are small and written once: waiting to fill a packet would only add latency.
    let _ = stream.set_nodelay(true);
    let used = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let used = Arc::clone(&used);
        move |request| {
            used.store(true, Ordering::Relaxed);
            answers.to(request)
        }
    });
    let stream = Stalling::new(stream, limits.write_timeout);
    let mut http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_header_size(limits.head_bytes())
        .max_headers(MOST_HEADERS)
        .keep_alive(!too_late)
        .serve_connection(TokioIo::new(Answering::new(stream, limits.line_bytes())), service);
    // Biased: a request that has arrived is seen before the stop, and answered.
    let ended = tokio::select! {
        biased;
        ended = poll_fn(|cx| http.poll_without_shutdown(cx)) => ended,
        () = stop.cancelled() => {
            // hyper would wait for the first request of a connection that has sent none.
            if !used.load(Ordering::Relaxed) {
                return;
            }
            Pin::new(&mut http).graceful_shutdown();
            poll_fn(|cx| http.poll_without_shutdown(cx)).await
        }
    };
    let parts = http.into_parts();
    let late_head =
        ended.as_ref().is_err_and(|error| error.is_timeout() && !parts.read_buf.is_empty());
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
    close(parts.io.into_inner(), late_head, &stop).await;
}

/// Closes so that the client can read the last answer: a socket closed over unread bytes is reset, and
/// a reset throws away what the client has not read yet.
async fn close(mut io: Answering<Stalling<TcpStream>>, late_head: bool, stop: &CancellationToken) {
    let farewell = async {
        if late_head {
            io.write_all(&closing_answer(&Problem::request_timeout())).await?;
        }
        io.shutdown().await?;
        let mut unread = vec![0; 8 << 10];
        while io.read(&mut unread).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = stop.run_until_cancelled(timeout(LINGER, farewell)).await;
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Answers requests; each connection has a clone.
#[derive(Clone)]
struct Answers {
    app: Router,
    handlers: TaskTracker,
    stop: CancellationToken,
    /// Whether they come through the door.
    too_late: bool,
}

impl Answers {
    /// In a task of its own: a client that goes away must not end its request between two statements
    /// of a transaction. What was begun is finished, and the client may ask what became of it.
    #[expect(clippy::disallowed_methods, reason = "the server waits for them as it stops")]
    fn to(&self, request: Request<Incoming>) -> Answer {
        if !names_its_host(&request) {
            return Box::pin(ready(Ok(Problem::malformed_request().into_response())));
        }
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Stopping(self.stop.clone()));
        if self.too_late {
            request.extensions_mut().insert(TooLate);
        }
        let answer = self.handlers.spawn(self.app.clone().oneshot(request));
        Box::pin(async move {
            // The API has caught the handler's own panics.
            let failed = |error| Ok(Problem::internal(error).into_response());
            answer.await.unwrap_or_else(failed)
        })
    }
}

/// RFC 9112, 3.2: a request of HTTP/1.1 has one `Host`, and is refused otherwise.
fn names_its_host(request: &Request<Incoming>) -> bool {
    request.version() < Version::HTTP_11 || request.headers().get_all(HOST).iter().count() == 1
}
