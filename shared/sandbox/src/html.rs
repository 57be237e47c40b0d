//! The few pages for a person: offline, no script, everything untrusted escaped.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

/// No script, nothing from elsewhere; frames only from this server (the HTML part of a mail).
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'self'";

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:1.5rem;color:#1c2430;background:#fff}\
a{color:#0b57d0;text-decoration:none}a:hover{text-decoration:underline}\
h1{font-size:1.3rem;margin:0 0 .5rem}table{border-collapse:collapse;width:100%}\
th,td{text-align:left;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #e3e6ea;vertical-align:top}\
.num{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.dim{color:#6b7480}.bad{color:#b3261e}\
pre{white-space:pre-wrap;background:#f5f6f8;padding:.8rem}iframe{width:100%;height:50vh;border:1px solid #e3e6ea}\
@media(prefers-color-scheme:dark){body{color:#dfe3e8;background:#16191d}a{color:#8ab4f8}th,td{border-color:#33383f}\
pre{background:#20252b}.dim{color:#9aa3ad}.bad{color:#f2b8b5}iframe{background:#fff}}";

/// `text` with the five characters that mean something in HTML replaced, quotes included.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// A whole page. `title` is escaped here, `head` and `body` must be HTML already.
pub(crate) fn page(status: StatusCode, title: &str, head: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{}</title>\
         <style>{STYLE}</style>{head}</head><body>{body}</body></html>",
        escape(title)
    );
    respond(status, POLICY, html)
}

/// A stranger's HTML, served so that nothing in it runs and nothing is fetched from elsewhere.
pub(crate) fn untrusted(html: String) -> Response {
    const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:";
    respond(StatusCode::OK, SANDBOX, html)
}

fn respond(status: StatusCode, policy: &'static str, html: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (status, headers, html).into_response()
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn markup_in_untrusted_text_is_shown_as_text() {
        assert_eq!(
            escape("<a href=\"x\" title='y'>&</a>"),
            "&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;&lt;/a&gt;"
        );
    }
}
