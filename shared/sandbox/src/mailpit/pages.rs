//! The pages for a browser: the newest mails, and one mail.

use std::fmt::Write;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::{json, newest, one};
use crate::html::{escape, page, untrusted};
use crate::smtp::{Mail, MailAddress, Mailbox};

const SHOWN: usize = 200;

pub(super) async fn index(State(mailbox): State<Mailbox>) -> Response {
    let mails = newest(&mailbox);
    let mut body = format!(
        "<h1>Mails</h1><p class=dim>{} mails are kept; {} older ones were dropped.</p>\
         <table><tr><th>received (UTC)<th>to<th>subject<th></tr>",
        mails.len(),
        mailbox.dropped()
    );
    for mail in mails.iter().take(SHOWN) {
        _ = write!(
            body,
            "<tr><td class=num>{}<td>{}<td><a href=\"/view/{}\">{}</a><td class=dim>{}</tr>",
            mail.received_at.format("%Y-%m-%d %H:%M:%S"),
            people(&recipients(mail)),
            mail.id,
            escape(subject(mail)),
            escape(&mail.snippet(80)),
        );
    }
    body.push_str("</table>");
    page(StatusCode::OK, "Mails", "", &body)
}

/// `/view/{id}` is the page, `/view/{id}.html` the mail's own HTML in its frame, as in Mailpit.
pub(super) async fn view(State(mailbox): State<Mailbox>, Path(id): Path<String>) -> Response {
    let (id, framed) = id.strip_suffix(".html").map_or((id.as_str(), false), |id| (id, true));
    let Some(mail) = one(&mailbox, id) else {
        let body = "<p><a href=\"/\">all mails</a></p><p>No such mail.</p>";
        return page(StatusCode::NOT_FOUND, "Not found", "", body);
    };
    if framed { untrusted(mail.html.clone().unwrap_or_default()) } else { whole(&mail) }
}

fn whole(mail: &Mail) -> Response {
    let id = &mail.id;
    let mut body = format!(
        "<p><a href=\"/\">all mails</a> · <a href=\"/api/v1/message/{id}/raw\">raw</a> · \
         <a href=\"/api/v1/message/{id}\">JSON</a></p><h1>{}</h1><p>from {} to {}, \
         received {} UTC</p>",
        escape(subject(mail)),
        people(&[json::from(mail)]),
        people(&recipients(mail)),
        mail.received_at.format("%Y-%m-%d %H:%M:%S"),
    );
    body.push_str("<details><summary>headers</summary><pre>");
    for (name, value) in &mail.headers {
        _ = writeln!(body, "{}: {}", escape(name), escape(value));
    }
    body.push_str("</pre></details>");
    if let Some(text) = &mail.text {
        _ = write!(body, "<pre>{}</pre>", escape(text));
    }
    if mail.html.is_some() {
        _ = write!(body, "<iframe sandbox title=\"HTML part\" src=\"/view/{id}.html\"></iframe>");
    }
    page(StatusCode::OK, subject(mail), "", &body)
}

fn subject(mail: &Mail) -> &str {
    if mail.subject.is_empty() { "(no subject)" } else { &mail.subject }
}

fn recipients(mail: &Mail) -> Vec<MailAddress> {
    mail.header_to.iter().chain(&mail.header_cc).cloned().chain(json::unnamed(mail)).collect()
}

fn people(all: &[MailAddress]) -> String {
    let shown = all.iter().map(|one| match one.name.as_str() {
        "" => escape(&one.address),
        name => escape(&format!("{name} <{}>", one.address)),
    });
    shown.collect::<Vec<_>>().join(", ")
}
