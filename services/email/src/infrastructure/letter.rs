//! A mail as it goes over the wire. Headers are typed, so that no value can end one and begin
//! another; the bytes of a mail are the same on every attempt.

use std::str::FromStr as _;
use std::time::SystemTime;

use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentTransferEncoding, ContentType, MessageId};
use lettre::message::{Mailbox, Message, MultiPart, SinglePart};

use super::templates::{Words, words};
use crate::application::ports::{Attempt, MailError};

/// A mail and whom the server is told it is from and to.
pub(super) struct Letter {
    pub(super) envelope: Envelope,
    pub(super) bytes: Vec<u8>,
}

/// Writes the mail of an attempt.
///
/// # Errors
/// [`MailError::Never`] when its address is none.
pub(super) fn write(attempt: &Attempt, from: &Mailbox) -> Result<Letter, MailError> {
    let to = Address::from_str(&attempt.recipient)
        .map_err(|_| MailError::Never("the recipient's address is not valid".into()))?;
    let Words { subject, text, html } = words(attempt);
    let part = |kind: ContentType, body: String| {
        SinglePart::builder()
            .header(kind)
            .header(ContentTransferEncoding::QuotedPrintable)
            .body(body)
    };
    let body = MultiPart::alternative()
        .boundary(attempt.email_id.simple().to_string())
        .singlepart(part(ContentType::TEXT_PLAIN, text))
        .singlepart(part(ContentType::TEXT_HTML, html));
    let message = Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(subject)
        .date(SystemTime::from(attempt.date))
        .header(MessageId::from(format!("<{}>", attempt.message_id)))
        .multipart(body)
        .map_err(|_| MailError::Never("the mail cannot be put together".into()))?;
    Ok(Letter { envelope: message.envelope().clone(), bytes: message.formatted() })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;
    use crate::domain::email::Content;
    use crate::domain::money::Money;

    fn attempt(recipient: &str) -> Attempt {
        Attempt {
            email_id: Uuid::from_u128(7),
            order_id: Uuid::nil(),
            content: Content::OrderConfirmed { total: Money::new(1_999, "GBP") },
            recipient: recipient.into(),
            message_id: "m@shop.example".into(),
            date: DateTime::UNIX_EPOCH,
            number: 1,
        }
    }

    fn from() -> Mailbox {
        "Tidings <shop@shop.example>".parse().unwrap()
    }

    #[test]
    fn the_bytes_of_a_mail_are_the_same_on_every_attempt() {
        let first = write(&attempt("ada@example.com"), &from()).unwrap().bytes;
        assert_eq!(write(&attempt("ada@example.com"), &from()).unwrap().bytes, first);
        let text = String::from_utf8(first).unwrap();
        assert!(text.contains("Message-ID: <m@shop.example>\r\n"), "{text}");
        assert!(text.contains("Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 78), "{text}");
    }

    #[test]
    fn an_address_that_would_be_more_than_an_address_is_no_address() {
        for hostile in
            ["a@b.example\r\nBcc: eve@example.com", "a@b.example, eve@example.com", "", "nobody"]
        {
            let refused = write(&attempt(hostile), &from());
            assert!(matches!(refused, Err(MailError::Never(_))), "{hostile}");
        }
    }
}
