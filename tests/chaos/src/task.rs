//! Tasks of the harness, which is no service and has no supervisor.

use std::future::Future;

use tokio::task::JoinHandle;

/// Runs `work` beside the rest.
#[expect(clippy::disallowed_methods, reason = "the harness lives outside a supervisor")]
pub(crate) fn spawn<F>(work: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(work)
}
