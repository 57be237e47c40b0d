//! Lines of bounded length from a socket.

use std::io;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// A line without its end.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// At most as many bytes as the limit; the rest of a longer line is thrown away.
    pub(super) bytes: Vec<u8>,
    /// It ended with CR LF, not with a bare LF.
    pub(super) crlf: bool,
    /// It was longer than the limit.
    pub(super) too_long: bool,
}

#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader: BufReader::new(reader) }
    }

    /// True when the next line may have to be waited for, so replies must go out first.
    pub(super) fn is_drained(&self) -> bool {
        self.reader.buffer().is_empty()
    }

    /// The next line; none when the peer has closed, an unfinished last line included. `limit` is
    /// without the line's end.
    pub(super) async fn next(&mut self, limit: usize) -> io::Result<Option<Line>> {
        let mut line = Line::default();
        let mut last = 0;
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(None);
            }
            let newline = chunk.iter().position(|byte| *byte == b'\n');
            let text = &chunk[..newline.unwrap_or(chunk.len())];
            // One byte more than the limit, for the CR that is taken off below.
            let room = (limit + 1).saturating_sub(line.bytes.len());
            line.too_long |= text.len() > room;
            line.bytes.extend_from_slice(&text[..text.len().min(room)]);
            last = text.last().copied().unwrap_or(last);
            let used = newline.map_or(chunk.len(), |at| at + 1);
            self.reader.consume(used);
            if newline.is_some() {
                line.crlf = last == b'\r';
                line.too_long |= line.bytes.len() > limit && !line.crlf;
                if line.crlf && !line.too_long {
                    line.bytes.pop();
                }
                return Ok(Some(line));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn lines(text: &[u8], limit: usize) -> Vec<(Vec<u8>, bool, bool)> {
        // The smallest buffer, so that every line is put together from pieces.
        let mut lines = Lines { reader: BufReader::with_capacity(1, text) };
        let mut all = Vec::new();
        while let Some(line) = lines.next(limit).await.unwrap() {
            all.push((line.bytes, line.crlf, line.too_long));
        }
        all
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_passes_and_one_more_byte_does_not() {
        let got = lines(b"abcd\r\nabcde\r\nabcde\nabcd\nunfinished", 4).await;
        assert_eq!(got.len(), 4, "an unfinished last line is none");
        assert_eq!(got[0], (b"abcd".to_vec(), true, false));
        assert_eq!((got[1].1, got[1].2), (true, true));
        assert_eq!((got[2].1, got[2].2), (false, true));
        assert_eq!(got[3], (b"abcd".to_vec(), false, false));
    }

    #[tokio::test]
    async fn an_endless_line_takes_no_more_memory_than_the_limit() {
        let mut text = vec![b'x'; 100_000];
        text.extend_from_slice(b"\r\nok\r\n");
        let got = lines(&text, 10).await;
        assert!(got[0].2 && got[0].0.len() <= 11);
        assert_eq!(got[1], (b"ok".to_vec(), true, false));
    }
}
