//! Opening and closing connections.

use std::net::{Shutdown, TcpStream};
use std::ops::Deref;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use lapin::tcp::{AMQPUriTcpExt, AsyncTcpStream};
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties, ErrorKind};

use super::super::TransportError;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that is closed when it is dropped, wherever that happens. The library would keep one
/// open of which a call was given up halfway, with its consumer and all that was delivered to it.
pub(crate) struct Owned {
    connection: Connection,
    lifeline: Lifeline,
}

impl Deref for Owned {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Asked for by the first poll; nobody waits for the answer.
        let _ = self.connection.close(200, "dropped".into()).now_or_never();
        // Under an alarm nothing is written, no close either, and afterwards all of it.
        if self.connection.status().blocked() {
            self.lifeline.cut();
        }
    }
}

/// The socket of a connection. A connect that is given up goes on in the library's thread, for as
/// long as its peer takes TCP and says nothing: a broker that is frozen would cost a thread and a
/// socket per try.
#[derive(Clone, Default)]
struct Lifeline(Arc<Mutex<Line>>);

#[derive(Default)]
enum Line {
    #[default]
    Unborn,
    Live(TcpStream),
    Cut,
}

impl Lifeline {
    /// Ends the connection, or the attempt to have one, whatever its peer does.
    fn cut(&self) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Line::Live(socket) = std::mem::replace(&mut *line, Line::Cut) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn hold(&self, socket: impl AsFd) -> std::io::Result<()> {
        let socket = TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*line, Line::Cut) {
            return Err(std::io::ErrorKind::ConnectionAborted.into());
        }
        *line = Line::Live(socket);
        Ok(())
    }
}

/// Cuts a lifeline when it is dropped, so that a connect that is given up leaves nothing.
struct Attempt(Option<Lifeline>);

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(lifeline) = &self.0 {
            lifeline.cut();
        }
    }
}

/// A new connection, with a heartbeat of 10 s unless the URL says otherwise, so that a peer that
/// went silent is found out within 20 s.
pub(crate) async fn connect(url: &str, name: &str) -> Result<Owned, TransportError> {
    let lifeline = Lifeline::default();
    let mut attempt = Attempt(Some(lifeline.clone()));
    let opening = open(with_heartbeat(url), name, lifeline.clone());
    match tokio::time::timeout(CONNECT_TIMEOUT, opening).await {
        Ok(Ok(connection)) => {
            attempt.0 = None;
            Ok(Owned { connection, lifeline })
        }
        Ok(Err(error)) => Err(classify(&error)),
        Err(_) => Err(TransportError::Away("no AMQP handshake within 5 s".into())),
    }
}

async fn open(url: String, name: &str, lifeline: Lifeline) -> lapin::Result<Connection> {
    let uri: AMQPUri = url.parse().map_err(std::io::Error::other)?;
    let properties = ConnectionProperties::default().with_connection_name(name.into());
    let runtime = lapin::runtime::default_runtime()?;
    let here = runtime.clone();
    let dial = async move |uri: AMQPUri, _| {
        let dialling = tokio::time::timeout(CONNECT_TIMEOUT, uri.connect_async(&here));
        let stream = dialling.await.map_err(std::io::Error::from)??;
        if let AsyncTcpStream::Plain(socket) = &stream {
            lifeline.hold(socket.get_ref())?;
        }
        Ok(stream)
    };
    Connection::connector(uri, runtime, dial, properties).await
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
pub(crate) async fn close(connection: &Owned) {
    let closing = connection.close(200, "done".into());
    if tokio::time::timeout(CLOSE_TIMEOUT, closing).await.is_err() {
        tracing::debug!("broker did not answer the close in time");
        // It could still come to send what waits in it, such as a message whose confirm was given up.
        connection.lifeline.cut();
    }
}

/// What an error of the client library means for us. Access and missing parts need an operator;
/// anything else may pass.
pub(crate) fn classify(error: &lapin::Error) -> TransportError {
    if let ErrorKind::ProtocolError(amqp) = error.kind() {
        // 403 access refused, 404 not found, 405 locked (exclusive), 406 precondition failed,
        // 530 not allowed.
        if matches!(amqp.get_id(), 403..=406 | 530) {
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
