//! A received mail, taken apart.

use chrono::{DateTime, Utc};
use mail_parser::{Address, Message, MessageParser, PartType};

use crate::clock;

/// A name and an address as they stand in a header.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct MailAddress {
    /// Empty where there is none.
    pub name: String,
    /// Such as `ada@example.org`.
    pub address: String,
}

/// A mail as it was received.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The mailbox's own id.
    pub id: String,
    /// The sender of the envelope (`MAIL FROM`), empty for `<>`.
    pub from: String,
    /// The recipients of the envelope (`RCPT TO`).
    pub to: Vec<String>,
    /// The header `Subject`, decoded; empty where there is none.
    pub subject: String,
    /// The header `Message-ID` without angle brackets.
    pub message_id: Option<String>,
    /// All headers of the mail in their order, unfolded, not decoded.
    pub headers: Vec<(String, String)>,
    /// The header `From`, decoded.
    pub header_from: Option<MailAddress>,
    /// The header `To`, decoded.
    pub header_to: Vec<MailAddress>,
    /// The header `Cc`, decoded.
    pub header_cc: Vec<MailAddress>,
    /// The header `Reply-To`, decoded.
    pub reply_to: Vec<MailAddress>,
    /// The plain text part, decoded, with `\n` as line end.
    pub text: Option<String>,
    /// The HTML part, decoded, with `\n` as line end.
    pub html: Option<String>,
    /// Parts that are neither.
    pub attachments: usize,
    /// Exactly what was sent, dots unstuffed, lines ending with CR LF.
    pub raw: Vec<u8>,
    /// When the final dot came.
    pub received_at: DateTime<Utc>,
}

impl Mail {
    /// Takes a message apart. One that cannot be parsed is kept with its raw bytes only.
    pub(super) fn new(from: String, to: Vec<String>, raw: Vec<u8>) -> Self {
        // With no header at all there is no message, and the parser's accessors would panic on it.
        let parsed = MessageParser::default().parse(&raw).filter(|m| !m.parts.is_empty());
        let parsed = parsed.as_ref();
        Self {
            id: clock::random_id(),
            subject: parsed.and_then(Message::subject).unwrap_or_default().to_owned(),
            message_id: parsed.and_then(Message::message_id).map(str::to_owned),
            headers: parsed.map(headers).unwrap_or_default(),
            header_from: addresses(parsed.and_then(Message::from)).into_iter().next(),
            header_to: addresses(parsed.and_then(Message::to)),
            header_cc: addresses(parsed.and_then(Message::cc)),
            reply_to: addresses(parsed.and_then(Message::reply_to)),
            text: parsed.and_then(texts),
            html: parsed.and_then(pages),
            attachments: parsed.map_or(0, Message::attachment_count),
            received_at: clock::now(),
            from,
            to,
            raw,
        }
    }

    /// The first header of that name, whatever its case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut fitting = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        fitting.next().map(|(_, value)| value.as_str())
    }

    /// The first characters of the text (or of the HTML's text) on one line.
    #[must_use]
    pub fn snippet(&self, characters: usize) -> String {
        let plain = match (&self.text, &self.html) {
            (Some(text), _) => text.clone(),
            (None, Some(html)) => mail_parser::decoders::html::html_to_text(html),
            (None, None) => String::new(),
        };
        let line = plain.split_whitespace().collect::<Vec<_>>().join(" ");
        line.chars().take(characters).collect()
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn weight(&self) -> usize {
        let part = |part: &Option<String>| part.as_ref().map_or(0, String::len);
        let headers: usize = self.headers.iter().map(|(k, v)| k.len() + v.len() + 48).sum();
        self.raw.len() + part(&self.text) + part(&self.html) + headers + 512
    }
}

fn headers(message: &Message<'_>) -> Vec<(String, String)> {
    let unfold = |value: &str| value.replace("\r\n", "").replace('\n', "").trim().to_owned();
    message.headers_raw().map(|(name, value)| (name.to_owned(), unfold(value))).collect()
}

fn addresses(header: Option<&Address<'_>>) -> Vec<MailAddress> {
    let all = header.into_iter().flat_map(|addresses| addresses.iter());
    let all = all.map(|one| MailAddress {
        name: one.name.as_deref().unwrap_or_default().to_owned(),
        address: one.address.as_deref().unwrap_or_default().to_owned(),
    });
    all.filter(|one| !one.address.is_empty()).collect()
}

fn texts(message: &Message<'_>) -> Option<String> {
    joined(message.text_bodies().filter_map(|part| match &part.body {
        PartType::Text(text) => Some(text.as_ref()),
        _ => None,
    }))
}

fn pages(message: &Message<'_>) -> Option<String> {
    joined(message.html_bodies().filter_map(|part| match &part.body {
        PartType::Html(html) => Some(html.as_ref()),
        _ => None,
    }))
}

fn joined<'a>(parts: impl Iterator<Item = &'a str>) -> Option<String> {
    let parts: Vec<String> = parts.map(|part| part.replace("\r\n", "\n")).collect();
    (!parts.is_empty()).then(|| parts.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mail(raw: &str) -> Mail {
        let raw = raw.replace('\n', "\r\n").into_bytes();
        Mail::new("shop@example.org".to_owned(), vec!["ada@example.org".to_owned()], raw)
    }

    #[test]
    fn encoded_headers_and_both_parts_are_decoded() {
        let mail = mail(
            "From: =?utf-8?q?Caf=C3=A9?= <shop@example.org>\nTo: Ada <ada@example.org>,\n b@example.org\n\
             Subject: =?utf-8?b?R3LDvMOfZQ==?=\nMessage-ID: <m1@example.org>\nX-Long: one\n two\n\
             Content-Type: multipart/alternative; boundary=b\n\n\
             --b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n\
             Gr=C3=BC=C3=9Fe\n--b\nContent-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: base64\n\n\
             PGI+R3LDvMOfZTwvYj4=\n--b--\n",
        );
        assert_eq!(mail.subject, "Grüße");
        assert_eq!(mail.message_id.as_deref(), Some("m1@example.org"));
        assert_eq!(mail.header_from.as_ref().map(|a| a.name.as_str()), Some("Café"));
        assert_eq!(mail.header_to.len(), 2);
        assert_eq!(mail.header("x-long"), Some("one two"));
        assert_eq!(mail.text.as_deref(), Some("Grüße"));
        assert_eq!(mail.html.as_deref(), Some("<b>Grüße</b>"));
        assert_eq!(mail.snippet(3), "Grü");
    }

    #[test]
    fn a_plain_mail_has_no_html_part() {
        let mail = mail("Subject: hi\n\nline one\nline two\n");
        assert_eq!(mail.text.as_deref(), Some("line one\nline two\n"));
        assert_eq!(mail.html, None);
    }

    #[test]
    fn bytes_that_are_no_mail_are_kept_raw() {
        for raw in [&b""[..], b"\r\n", b"\xff\x00\xfe", b"no header here\r\n"] {
            let mail = Mail::new(String::new(), Vec::new(), raw.to_vec());
            assert_eq!(mail.raw, raw);
            assert_eq!(mail.message_id, None);
        }
    }
}
