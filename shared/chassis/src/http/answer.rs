//! Problems in place of the bare answers that hyper writes by itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::problem::{self, Problem};

/// A socket that replaces an answer without a body, of a kind that only hyper gives, by a problem.
#[derive(Debug)]
pub(super) struct Answering<S> {
    inner: S,
    /// A head that is too large and begins with a longer line than this has too long a URI.
    longest_line: usize,
    line: FirstLine,
    unsent: Bytes,
}

/// What the client sent first since the last answer.
#[derive(Debug, Default)]
struct FirstLine {
    length: usize,
    ended: bool,
}

impl FirstLine {
    fn see(&mut self, bytes: &[u8]) {
        if !self.ended {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            self.length += end.unwrap_or(bytes.len());
            self.ended = end.is_some();
        }
    }
}

impl<S> Answering<S> {
    pub(super) fn new(inner: S, longest_line: usize) -> Self {
        Self { inner, longest_line, line: FirstLine::default(), unsent: Bytes::new() }
    }
}

/// The whole answer, head and body; the connection closes after it.
pub(super) fn closing_answer(problem: &Problem) -> Bytes {
    let (status, body) = (problem.status(), problem.body());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        problem::MEDIA_TYPE,
        body.len(),
    );
    [head.into_bytes(), body].concat().into()
}

/// The status of an answer that hyper made without us. Ours all have a content type.
fn bare_status(written: &[u8]) -> Option<StatusCode> {
    let head = std::str::from_utf8(written).ok()?;
    let bare = head.starts_with("HTTP/1.")
        && head.ends_with("\r\n\r\n")
        && head.contains("\r\ncontent-length: 0\r\n")
        && !head.contains("\r\ncontent-type:");
    let status = StatusCode::from_bytes(head.as_bytes().get(9..12)?).ok()?;
    (bare && status.is_client_error()).then_some(status)
}

impl<S: AsyncWrite + Unpin> Answering<S> {
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.unsent))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Answering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, into))?;
        self.line.see(&into.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Answering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        written: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_unsent(cx))?;
        let line = std::mem::take(&mut self.line);
        let status = match bare_status(written) {
            Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
                if line.length > self.longest_line =>
            {
                StatusCode::URI_TOO_LONG
            }
            Some(status) => status,
            None => return Pin::new(&mut self.inner).poll_write(cx, written),
        };
        self.unsent = closing_answer(&Problem::of_status(status));
        Poll::Ready(Ok(written.len()))
    }

    /// Where there is more than a head, there is a body. Without this, hyper would copy all that waits
    /// for a client into one buffer, which it keeps.
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = slices {
            return self.poll_write(cx, only);
        }
        ready!(self.poll_unsent(cx))?;
        self.line = FirstLine::default();
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unsent(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answers_of_hyper_itself_are_replaced() {
        let bare = "HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(bare_status(bare.as_bytes()).map(|status| status.as_u16()), Some(431));
        for ours in [
            "HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-type: a\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}",
            "{\"not\":\"a head\"}",
        ] {
            assert_eq!(bare_status(ours.as_bytes()), None, "{ours}");
        }
    }
}
