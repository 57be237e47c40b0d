//! The mail server, over SMTP (RFC 5321).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lettre::message::Mailbox;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::extension::ClientId;
use messaging::{Cause, Pool, trace};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::letter::{self, Letter};
use crate::application::ports::{Attempt, MailError};

/// Until the server has greeted and said what it can do.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a whole mail. Giving up while the server still takes it in would make it come twice, so this
/// is long.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that are kept.
const MOST_KEPT: usize = 4;
/// A connection that was not used for so long is asked whether it still stands,
const ASK_AFTER: Duration = Duration::from_secs(2);
/// and after so long it is not used any more: servers hang up on silent clients.
const KEEP_FOR: Duration = Duration::from_secs(30);

/// Where the mail server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpServer {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Sends mails and keeps its connections. Cheap to clone.
#[derive(Clone)]
pub struct Mailer {
    server: SmtpServer,
    from: Mailbox,
    pool: Pool,
    kept: Arc<Mutex<Vec<(AsyncSmtpConnection, Instant)>>>,
}

impl Mailer {
    /// A mailer that sends over `server` in the name of `from`, and whose spans are made by `pool`.
    pub fn new(server: SmtpServer, from: Mailbox, pool: Pool) -> Self {
        Self { server, from, pool, kept: Arc::default() }
    }

    /// The domain in whose name Message-IDs are given.
    pub fn domain(&self) -> &str {
        self.from.email.domain()
    }

    /// Sends a mail within a span. Returns what came of it, and why what follows from it happens.
    pub async fn send(&self, attempt: &Attempt, cause: &Cause) -> (Result<(), MailError>, Cause) {
        let span = trace::call(&self.pool, cause.context(), "send_mail");
        let answer = match letter::write(attempt, &self.from) {
            Ok(letter) => self.deliver(letter, &attempt.recipient).await,
            Err(error) => Err(error),
        };
        trace::finish(&span, answer.as_ref().err().map(MailError::class));
        (answer, cause.within(span))
    }

    async fn deliver(&self, letter: Letter, recipient: &str) -> Result<(), MailError> {
        let away = |what: &str| MailError::Away(format!("the mail server {what}"));
        let mut connection = match self.kept_connection().await {
            Some(kept) => kept,
            None => match timeout(CONNECT_TIMEOUT, self.connect()).await {
                Ok(connected) => connected?,
                Err(_) => return Err(away("did not greet in time")),
            },
        };
        let sent = connection.send(&letter.envelope, &letter.bytes);
        // A connection that was cut off in the middle is dropped: its next answer would be taken for
        // that of another mail.
        let Ok(sent) = timeout(SEND_TIMEOUT, sent).await else {
            return Err(away("did not answer in time"));
        };
        sent.map_err(|error| refusal(&error, recipient))?;
        let mut kept = self.kept();
        if kept.len() < MOST_KEPT {
            kept.push((connection, Instant::now()));
        }
        Ok(())
    }

    async fn kept_connection(&self) -> Option<AsyncSmtpConnection> {
        loop {
            let (mut connection, used) = self.kept().pop()?;
            let idle = used.elapsed();
            if idle < ASK_AFTER {
                return Some(connection);
            }
            let stands = timeout(CONNECT_TIMEOUT, connection.test_connected());
            if idle < KEEP_FOR && stands.await == Ok(true) {
                return Some(connection);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, MailError> {
        let SmtpServer { host, port } = &self.server;
        let stream = TcpStream::connect((host.as_str(), *port))
            .await
            .map_err(|error| MailError::Away(format!("no connection: {}", error.kind())))?;
        // The final dot is a small write after a large one: waiting to fill a packet would cost it
        // the other side's delayed acknowledgement.
        let _ = stream.set_nodelay(true);
        let hello = ClientId::Domain(self.domain().to_owned());
        AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello)
            .await
            .map_err(|error| MailError::Away(described(&error, "")))
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(AsyncSmtpConnection, Instant)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an error says of the mail. A permanent answer about us or the session (RFC 5321, 4.2.3:
/// syntax, sequence, credentials, no mail service) says nothing of this mail, so it may pass.
fn refusal(error: &lettre::transport::smtp::Error, recipient: &str) -> MailError {
    let text = described(error, recipient);
    match error.status().map(u16::from) {
        Some(421) => MailError::Away(text),
        Some(500..=504 | 521 | 530 | 534 | 535 | 538) => MailError::Away(text),
        Some(500..=599) => MailError::Never(text),
        Some(_) => MailError::NotNow(text),
        // The server cannot do what this mail needs, such as an address that is not ASCII.
        None if error.is_client() => MailError::Never(text),
        None => MailError::Away(text),
    }
}

/// The error for people, without the recipient and whatever else could be an address.
fn described(error: &lettre::transport::smtp::Error, recipient: &str) -> String {
    let source = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
    let status = error.status().map(|code| format!("{code} ")).unwrap_or_default();
    let text = if source.is_empty() { error.to_string() } else { format!("{status}{source}") };
    without_addresses(&text, recipient)
}

fn without_addresses(text: &str, recipient: &str) -> String {
    let local = recipient.rsplit_once('@').map_or(recipient, |(local, _)| local).to_lowercase();
    let hides = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        word.contains('@') || (!bare.is_empty() && bare == local)
    };
    let words = text.split_whitespace().map(|word| if hides(word) { "(address)" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_without_the_address_that_it_quotes() {
        let shown = |text| without_addresses(text, "Ada.L@example.com");
        assert_eq!(
            shown("550 5.1.1 <ada.l@example.com>: no\r\nsuch user"),
            "550 5.1.1 (address) no such user"
        );
        assert_eq!(shown("no mailbox 'ada.L' here"), "no mailbox (address) here");
        assert_eq!(shown(&"long ".repeat(100)).len(), 300);
    }
}
