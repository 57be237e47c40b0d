//! Mails in Mailpit's JSON.

use std::sync::Arc;

use chrono::SecondsFormat;
use serde_json::{Map, Value, json};

use crate::smtp::{Mail, MailAddress};

/// As long as Mailpit's.
const SNIPPET: usize = 250;

pub(super) fn list<'a>(
    total: usize,
    found: usize,
    start: usize,
    shown: impl Iterator<Item = &'a Arc<Mail>>,
) -> Value {
    let messages: Vec<Value> = shown.map(|mail| summary(mail)).collect();
    json!({
        "total": total,
        // Nothing is ever marked as read here.
        "unread": total,
        "count": messages.len(),
        "messages_count": found,
        "messages_unread": found,
        "start": start,
        "tags": [],
        "messages": messages,
    })
}

fn summary(mail: &Mail) -> Value {
    let mut fields = common(mail);
    fields.extend([
        ("Read".to_owned(), Value::Bool(false)),
        ("Created".to_owned(), received(mail).into()),
        ("Attachments".to_owned(), mail.attachments.into()),
        ("Snippet".to_owned(), mail.snippet(SNIPPET).into()),
    ]);
    Value::Object(fields)
}

pub(super) fn message(mail: &Mail) -> Value {
    let mut fields = common(mail);
    fields.extend([
        ("ReturnPath".to_owned(), mail.from.as_str().into()),
        ("Date".to_owned(), received(mail).into()),
        ("Text".to_owned(), mail.text.as_deref().unwrap_or_default().into()),
        ("HTML".to_owned(), mail.html.as_deref().unwrap_or_default().into()),
        ("Inline".to_owned(), json!([])),
        ("Attachments".to_owned(), json!([])),
    ]);
    Value::Object(fields)
}

fn common(mail: &Mail) -> Map<String, Value> {
    let fields = json!({
        "ID": mail.id,
        "MessageID": mail.message_id.as_deref().unwrap_or_default(),
        "From": address(&from(mail)),
        "To": addresses(&mail.header_to),
        "Cc": addresses(&mail.header_cc),
        "Bcc": addresses(&unnamed(mail)),
        "ReplyTo": addresses(&mail.reply_to),
        "Subject": mail.subject,
        "Username": "",
        "Tags": [],
        "Size": mail.raw.len(),
    });
    match fields {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}

/// The header's sender, or the envelope's where the header names none.
pub(super) fn from(mail: &Mail) -> MailAddress {
    let envelope = || MailAddress { name: String::new(), address: mail.from.clone() };
    mail.header_from.clone().unwrap_or_else(envelope)
}

/// Recipients of the envelope that no header names: blind copies.
pub(super) fn unnamed(mail: &Mail) -> Vec<MailAddress> {
    let named = |to: &str| {
        let mut headers = mail.header_to.iter().chain(&mail.header_cc);
        headers.any(|header| header.address.eq_ignore_ascii_case(to))
    };
    let blind = mail.to.iter().filter(|to| !named(to));
    blind.map(|to| MailAddress { name: String::new(), address: to.clone() }).collect()
}

fn addresses(all: &[MailAddress]) -> Vec<Value> {
    all.iter().map(address).collect()
}

fn address(one: &MailAddress) -> Value {
    json!({ "Name": one.name, "Address": one.address })
}

fn received(mail: &Mail) -> String {
    mail.received_at.to_rfc3339_opts(SecondsFormat::Millis, true)
}
