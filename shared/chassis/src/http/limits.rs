//! How much a client may send, and how long it may take.

use std::time::Duration;

use axum::extract::Request;
use http::{HeaderMap, Uri};

use crate::problem::Problem;

/// Pause suggested to a client when too much is under way.
pub(super) const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// Method, version and line breaks of a request line, beyond its URI.
const LINE_SLACK: usize = 256;

/// Limits of one server. The defaults are the API's contract.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a body (default 64 KiB): `413`. [`Api::body_limit`](super::Api::body_limit) sets
    /// another for one route.
    pub body_bytes: usize,
    /// Bytes of the header block without the request line (default 16 KiB): `431`.
    pub header_bytes: usize,
    /// Bytes of the URI (default 8 KiB): `414`.
    pub uri_bytes: usize,
    /// Time for a request's head (default 10 s): `408` when it is late. An idle connection is closed
    /// after the same time.
    pub head_timeout: Duration,
    /// Time for a request's body, counted from its head (default 30 s): `408`.
    pub body_timeout: Duration,
    /// Time in which a client must take something of what is written to it (default 30 s); one that does
    /// not is cut off.
    pub write_timeout: Duration,
    /// Connections at once (default 4,096); more wait in the listener's queue. An open stream is one.
    pub connections: usize,
    /// Requests of traced routes that are being answered at once (default 512); more are told to come
    /// back: `429`. A stream counts until it begins.
    pub requests: usize,
    /// Time for requests in flight when the server stops (default 10 s); then they are cut.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 64 << 10,
            header_bytes: 16 << 10,
            uri_bytes: 8 << 10,
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            connections: 4_096,
            requests: 512,
            drain: Duration::from_secs(10),
        }
    }
}

impl Limits {
    /// What hyper may buffer of a head before it gives up by itself.
    pub(super) fn head_bytes(&self) -> usize {
        self.header_bytes.saturating_add(self.line_bytes())
    }

    pub(super) fn line_bytes(&self) -> usize {
        self.uri_bytes.saturating_add(LINE_SLACK)
    }

    /// The limits that show once the head is parsed.
    pub(super) fn check_head(&self, request: &Request) -> Result<(), Problem> {
        if uri_len(request.uri()) > self.uri_bytes {
            return Err(Problem::uri_too_long());
        }
        if header_len(request.headers()) > self.header_bytes {
            return Err(Problem::headers_too_large());
        }
        Ok(())
    }
}

fn uri_len(uri: &Uri) -> usize {
    let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    path + authority
}

/// As on the wire: `name: value` and a line break for each.
fn header_len(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}
