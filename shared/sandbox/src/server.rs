//! What every server of the sandbox shares: binding, running and stopping.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long open connections may go on after a server was told to stop.
pub const GRACE: Duration = Duration::from_secs(3);

/// A running server. Dropping it does not stop the server; the token does, or [`Running::stop`].
#[derive(Debug)]
pub struct Running {
    addr: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Runs `work` as a task that gets a child of `shutdown` and is cut off [`GRACE`] after that
    /// was cancelled.
    pub(crate) fn start<W, F>(addr: SocketAddr, shutdown: &CancellationToken, work: W) -> Self
    where
        W: FnOnce(CancellationToken) -> F,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let shutdown = shutdown.child_token();
        let task = spawn(within_grace(shutdown.clone(), work(shutdown.clone())));
        Self { addr, shutdown, task }
    }

    /// The bound address, with the real port where port 0 was asked for.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `http://` and the bound address, no slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Waits until the server has ended, which only its token or a failed socket brings about.
    ///
    /// # Errors
    /// The socket's error, or that the server's task panicked.
    pub async fn join(self) -> io::Result<()> {
        self.task.await.map_err(io::Error::other)?
    }

    /// Stops the server and waits for its end, at most a little over [`GRACE`].
    ///
    /// # Errors
    /// As [`Running::join`].
    pub async fn stop(self) -> io::Result<()> {
        self.shutdown.cancel();
        self.join().await
    }
}

/// Binds `addr`; port 0 takes a free one.
///
/// # Errors
/// The operating system's error with the address in its text.
pub async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr)
        .await
        .map_err(|error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}")))
}

/// Serves `router` on `listener` until `shutdown` is cancelled.
///
/// # Errors
/// When the listener has no address.
pub fn serve_http(
    listener: TcpListener,
    router: Router,
    shutdown: &CancellationToken,
) -> io::Result<Running> {
    let addr = listener.local_addr()?;
    Ok(Running::start(addr, shutdown, |stop| async move {
        axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
    }))
}

async fn within_grace(
    shutdown: CancellationToken,
    work: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let too_late = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        ended = work => ended,
        () = too_late => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "the sandbox's servers live outside a supervisor")]
fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(work)
}
