//! One client's conversation.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::Desk;
use super::command::{self, Command};
use super::fault::Fault;
use super::lines::{Line, Lines};
use super::mail::Mail;

/// RFC 5321 4.5.3.1.4 says 512 with the line's end; extensions lengthen it.
const MAX_COMMAND: usize = 2_046;
/// RFC 5321 4.5.3.1.6, without the line's end.
const MAX_TEXT_LINE: usize = 998;
/// A client that only talks nonsense is let go.
const MAX_ERRORS: u32 = 20;
/// How far beyond the size limit a mail is read for the sake of a proper answer.
const PATIENCE: usize = 16;

type Next = ControlFlow<()>;

struct Session {
    lines: Lines<OwnedReadHalf>,
    out: BufWriter<OwnedWriteHalf>,
    desk: Arc<Desk>,
    greeted: bool,
    envelope: Option<Envelope>,
    errors: u32,
}

struct Envelope {
    from: String,
    to: Vec<String>,
}

/// What came between `DATA` and the final dot.
struct Body {
    bytes: Vec<u8>,
    refused: Option<&'static str>,
}

/// Talks to the client until one side has had enough.
pub(super) async fn run(stream: TcpStream, desk: Arc<Desk>) -> io::Result<()> {
    // Replies are small and awaited; Nagle's algorithm would only delay them.
    stream.set_nodelay(true)?;
    let (read, write) = stream.into_split();
    let (lines, out) = (Lines::new(read), BufWriter::new(write));
    let mut session =
        Session { lines, out, desk: Arc::clone(&desk), greeted: false, envelope: None, errors: 0 };
    let ended = tokio::select! {
        ended = session.talk() => ended,
        () = desk.stop.cancelled() => Ok(false),
    };
    if !ended? {
        session.reply("421 4.3.2 the server stops").await?;
        session.out.flush().await?;
    }
    session.out.shutdown().await
}

impl Session {
    /// True when the conversation came to its end by itself.
    async fn talk(&mut self) -> io::Result<bool> {
        self.reply("220 localhost ESMTP Tidings mail sink").await?;
        loop {
            if self.lines.is_drained() {
                self.out.flush().await?;
            }
            let step = match timeout(self.desk.options.idle, self.lines.next(MAX_COMMAND)).await {
                Ok(Ok(Some(line))) => self.obey(line).await?,
                Ok(Ok(None)) => Next::Break(()),
                Ok(Err(error)) => return Err(error),
                Err(_) => self.hang_up("421 4.4.2 idle for too long").await?,
            };
            if step.is_break() {
                self.out.flush().await?;
                return Ok(true);
            }
        }
    }

    async fn obey(&mut self, line: Line) -> io::Result<Next> {
        let parsed = if line.too_long {
            Err("500 5.5.2 line too long")
        } else {
            command::parse(&line.bytes)
        };
        let reply = match parsed {
            Ok(Command::Quit) => return self.hang_up("221 2.0.0 bye").await,
            Ok(Command::Data) => match self.ready_for_data() {
                Ok(()) => return self.data().await,
                Err(reply) => reply,
            },
            Ok(command) => self.answer(command),
            Err(reply) => reply.to_owned(),
        };
        let failed = reply.starts_with('5');
        self.errors = if failed { self.errors + 1 } else { 0 };
        if self.errors >= MAX_ERRORS {
            return self.hang_up("421 4.7.0 too many errors").await;
        }
        self.reply(&reply).await?;
        Ok(Next::Continue(()))
    }

    /// The reply to a command that takes no mail in.
    fn answer(&mut self, command: Command) -> String {
        let reply = match command {
            Command::Ehlo => return self.ehlo(),
            Command::Helo => {
                self.greeted = true;
                self.envelope = None;
                "250 localhost"
            }
            Command::Mail { from, size } => self.mail(from, size),
            Command::Rcpt { to } => self.rcpt(to),
            Command::Rset => {
                self.envelope = None;
                "250 2.0.0 forgotten"
            }
            Command::Vrfy => "252 2.5.2 send a mail and see",
            Command::Help => "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP VRFY QUIT",
            Command::Noop | Command::Data | Command::Quit => "250 2.0.0 ok",
        };
        reply.to_owned()
    }

    fn ehlo(&mut self) -> String {
        self.greeted = true;
        self.envelope = None;
        let size = self.desk.options.max_bytes;
        format!(
            "250-localhost\r\n250-SIZE {size}\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
             250 ENHANCEDSTATUSCODES"
        )
    }

    fn mail(&mut self, from: String, size: Option<usize>) -> &'static str {
        if !self.greeted {
            return "503 5.5.1 say EHLO first";
        }
        if self.envelope.is_some() {
            return "503 5.5.1 one mail at a time";
        }
        if size.is_some_and(|bytes| bytes > self.desk.options.max_bytes) {
            return "552 5.3.4 the mail is too big";
        }
        self.envelope = Some(Envelope { from, to: Vec::new() });
        "250 2.1.0 ok"
    }

    fn rcpt(&mut self, to: String) -> &'static str {
        let Some(envelope) = &mut self.envelope else { return "503 5.5.1 say MAIL first" };
        if envelope.to.len() >= self.desk.options.max_recipients {
            return "452 4.5.3 too many recipients";
        }
        if let Some(refusal) = self.desk.faults.at_recipient() {
            return refusal;
        }
        envelope.to.push(to);
        "250 2.1.5 ok"
    }

    fn ready_for_data(&self) -> Result<(), String> {
        match &self.envelope {
            None => Err("503 5.5.1 say MAIL first".to_owned()),
            Some(envelope) if envelope.to.is_empty() => Err("554 5.5.1 no recipients".to_owned()),
            Some(_) => Ok(()),
        }
    }

    async fn data(&mut self) -> io::Result<Next> {
        self.reply("354 end with a dot on a line of its own").await?;
        self.out.flush().await?;
        let body = match timeout(self.desk.options.data, self.body()).await {
            Ok(Ok(Some(body))) => body,
            // Closed in the middle of a mail: nothing was promised, nothing is kept.
            Ok(Ok(None)) => return Ok(Next::Break(())),
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                return self.hang_up("421 4.4.2 idle for too long").await;
            }
            Ok(Err(error)) => return Err(error),
            Err(_) => return self.hang_up("421 4.4.2 the mail took too long").await,
        };
        let Some(envelope) = self.envelope.take() else { return Ok(Next::Break(())) };
        if let Some(refusal) = body.refused {
            self.reply(refusal).await?;
            return Ok(Next::Continue(()));
        }
        let fault = self.desk.faults.at_dot();
        if fault == Some(Fault::CutBeforeStoring) {
            return Ok(Next::Break(()));
        }
        let mail = Mail::new(envelope.from, envelope.to, body.bytes);
        let reply = format!("250 2.0.0 ok: queued as {}", mail.id);
        self.desk.mailbox.add(mail);
        if fault == Some(Fault::CutAfterStoring) {
            return Ok(Next::Break(()));
        }
        self.reply(&reply).await?;
        Ok(Next::Continue(()))
    }

    /// Reads to the final dot, none if the client closed before it. What breaks a limit is read on,
    /// within reason, so that the client gets an answer and not a broken pipe.
    async fn body(&mut self) -> io::Result<Option<Body>> {
        let (idle, max) = (self.desk.options.idle, self.desk.options.max_bytes);
        let mut body = Body { bytes: Vec::new(), refused: None };
        let (mut read, mut after_crlf) = (0_usize, true);
        loop {
            // One byte more, for a stuffed dot.
            let Some(line) = timeout(idle, self.lines.next(MAX_TEXT_LINE + 1)).await?? else {
                return Ok(None);
            };
            // A dot between bare line feeds ends nothing: taking it for the end would let a mail
            // smuggle commands in.
            if line.bytes == b"." && line.crlf && after_crlf {
                return Ok(Some(body));
            }
            let text = match line.bytes.strip_prefix(b".") {
                Some(unstuffed) if after_crlf => unstuffed,
                _ => line.bytes.as_slice(),
            };
            let end: &[u8] = if line.crlf { b"\r\n" } else { b"\n" };
            after_crlf = line.crlf;
            read = read.saturating_add(text.len() + end.len());
            if line.too_long || text.len() > MAX_TEXT_LINE {
                body.refused.get_or_insert("554 5.6.0 a line is longer than 998 bytes");
            }
            if read > max {
                body.refused.get_or_insert("552 5.3.4 the mail is too big");
            }
            if read > max.saturating_mul(PATIENCE) {
                return Ok(None);
            }
            if body.refused.is_some() {
                body.bytes = Vec::new();
            } else {
                body.bytes.extend_from_slice(text);
                body.bytes.extend_from_slice(end);
            }
        }
    }

    async fn hang_up(&mut self, reply: &str) -> io::Result<Next> {
        self.reply(reply).await?;
        Ok(Next::Break(()))
    }

    async fn reply(&mut self, text: &str) -> io::Result<()> {
        self.out.write_all(text.as_bytes()).await?;
        self.out.write_all(b"\r\n").await
    }
}
