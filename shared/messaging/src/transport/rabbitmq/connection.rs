//! Opening and closing connections.

use std::ops::Deref;
use std::time::Duration;

use futures_util::FutureExt;
use lapin::{Connection, ConnectionProperties, ErrorKind};

use super::super::TransportError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that is closed when it is dropped, wherever that happens. The library would keep one
/// open of which a call was given up halfway, with its consumer and all that was delivered to it.
pub(crate) struct Owned(Connection);

impl Deref for Owned {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.0
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Asked for by the first poll; nobody waits for the answer.
        let _ = self.0.close(200, "dropped".into()).now_or_never();
    }
}

/// A new connection, with a heartbeat of 10 s unless the URL says otherwise, so that a peer that
/// went silent is found out within 20 s.
pub(crate) async fn connect(url: &str, name: &str) -> Result<Owned, TransportError> {
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let url = with_heartbeat(url);
    let attempt = Connection::connect(&url, properties);
    match tokio::time::timeout(CONNECT_TIMEOUT, attempt).await {
        Ok(connected) => connected.map(Owned).map_err(|error| classify(&error)),
        Err(_) => Err(TransportError::Away("no AMQP handshake within 5 s".into())),
    }
}

/// A call's outcome, or the end of waiting for it: the library does not always tell a call that its
/// connection is gone.
pub(crate) async fn answered<T>(
    call: impl Future<Output = lapin::Result<T>>,
) -> Result<T, TransportError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, call).await {
        Ok(outcome) => outcome.map_err(|error| classify(&error)),
        Err(_) => Err(TransportError::Away("no answer within 5 s".into())),
    }
}

/// Closes in order if the broker answers, and in any case soon.
pub(crate) async fn close(connection: &Connection) {
    let closing = connection.close(200, "done".into());
    if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
        tracing::debug!("broker did not answer the close in time");
    }
}

/// What an error of the client library means for us. Access and missing parts need an operator;
/// anything else may pass.
pub(crate) fn classify(error: &lapin::Error) -> TransportError {
    if let ErrorKind::ProtocolError(amqp) = error.kind() {
        // 403 access refused, 404 not found, 406 precondition failed, 530 not allowed.
        if matches!(amqp.get_id(), 403 | 404 | 406 | 530) {
            return TransportError::Topology(amqp.get_message().to_string());
        }
    }
    TransportError::Away(error.to_string())
}

fn with_heartbeat(url: &str) -> String {
    if url.contains("heartbeat=") {
        return url.to_owned();
    }
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}heartbeat=10")
}

#[cfg(test)]
mod tests {
    use super::with_heartbeat;

    #[test]
    fn a_heartbeat_is_added_only_where_none_is_named() {
        assert_eq!(with_heartbeat("amqp://h/v"), "amqp://h/v?heartbeat=10");
        assert_eq!(
            with_heartbeat("amqp://h/v?frame_max=8192"),
            "amqp://h/v?frame_max=8192&heartbeat=10"
        );
        assert_eq!(with_heartbeat("amqp://h/v?heartbeat=3"), "amqp://h/v?heartbeat=3");
    }
}
