//! SMTP commands as text.

/// A command that a client sent.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Command {
    Ehlo,
    Helo,
    /// The sender's address (empty for `<>`) and the announced `SIZE` in bytes.
    Mail {
        from: String,
        size: Option<usize>,
    },
    Rcpt {
        to: String,
    },
    Data,
    Rset,
    Noop,
    Quit,
    Vrfy,
    Help,
}

/// Parses one line.
///
/// # Errors
/// The reply to send.
pub(super) fn parse(line: &[u8]) -> Result<Command, &'static str> {
    let line = std::str::from_utf8(line).map_err(|_| "500 5.5.2 not UTF-8")?;
    let (verb, rest) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), ""));
    let rest = rest.trim();
    let bare = |command| match rest {
        "" => Ok(command),
        _ => Err("501 5.5.4 this command takes no argument"),
    };
    match verb.to_ascii_uppercase().as_str() {
        "EHLO" if rest.is_empty() => Err("501 5.5.4 EHLO needs a host name"),
        "EHLO" => Ok(Command::Ehlo),
        "HELO" if rest.is_empty() => Err("501 5.5.4 HELO needs a host name"),
        "HELO" => Ok(Command::Helo),
        "MAIL" => mail(rest),
        "RCPT" => rcpt(rest),
        "DATA" => bare(Command::Data),
        "RSET" => bare(Command::Rset),
        "QUIT" => bare(Command::Quit),
        "NOOP" => Ok(Command::Noop),
        "VRFY" => Ok(Command::Vrfy),
        "HELP" => Ok(Command::Help),
        "STARTTLS" | "AUTH" | "EXPN" | "BDAT" | "TURN" | "ETRN" => {
            Err("502 5.5.1 command not implemented")
        }
        _ => Err("500 5.5.2 unknown command"),
    }
}

fn mail(rest: &str) -> Result<Command, &'static str> {
    let (from, parameters) = path(rest, "FROM:", "501 5.5.4 write MAIL FROM:<address>")?;
    if !from.is_empty() {
        check(&from)?;
    }
    let mut size = None;
    for parameter in parameters.split_ascii_whitespace() {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match (key.to_ascii_uppercase().as_str(), value) {
            ("SIZE", digits) => {
                size = Some(digits.parse().map_err(|_| "501 5.5.4 SIZE is a number of bytes")?);
            }
            ("BODY" | "SMTPUTF8", _) => {}
            _ => return Err("555 5.5.4 unknown MAIL parameter"),
        }
    }
    Ok(Command::Mail { from, size })
}

fn rcpt(rest: &str) -> Result<Command, &'static str> {
    let (to, parameters) = path(rest, "TO:", "501 5.5.4 write RCPT TO:<address>")?;
    if !to.eq_ignore_ascii_case("postmaster") {
        check(&to)?;
    }
    if !parameters.trim().is_empty() {
        return Err("555 5.5.4 unknown RCPT parameter");
    }
    Ok(Command::Rcpt { to })
}

/// The address between the angle brackets and what follows them.
fn path<'a>(
    rest: &'a str,
    keyword: &str,
    usage: &'static str,
) -> Result<(String, &'a str), &'static str> {
    let named = rest.get(..keyword.len()).filter(|head| head.eq_ignore_ascii_case(keyword));
    let after = named.and(rest.get(keyword.len()..)).ok_or(usage)?;
    let inner = after.trim_start().strip_prefix('<').ok_or(usage)?;
    let end = closing_bracket(inner).ok_or(usage)?;
    Ok((inner[..end].to_owned(), &inner[end + 1..]))
}

/// The first `>` outside a quoted local part.
fn closing_bracket(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn check(address: &str) -> Result<(), &'static str> {
    const BAD: &str = "553 5.1.3 not a mail address";
    let (local, domain) = address.rsplit_once('@').ok_or(BAD)?;
    let quoted = local.starts_with('"') && local.ends_with('"') && local.len() > 2;
    let stray = |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>');
    let fits = address.len() <= 254 && !local.is_empty() && !domain.is_empty();
    let clean = (quoted || !local.contains(stray)) && !domain.contains(stray);
    if fits && clean && !address.contains(char::is_control) { Ok(()) } else { Err(BAD) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_whatever_their_case_and_blanks() {
        assert_eq!(parse(b"ehlo client.example"), Ok(Command::Ehlo));
        let mail = Command::Mail { from: "a@b.example".to_owned(), size: Some(12) };
        assert_eq!(parse(b"MAIL from: <a@b.example> SIZE=12 BODY=8BITMIME"), Ok(mail));
        assert_eq!(parse(b"MAIL FROM:<>"), Ok(Command::Mail { from: String::new(), size: None }));
        let quoted = Command::Rcpt { to: "\"a > b\"@c.example".to_owned() };
        assert_eq!(parse(b"rcpt to:<\"a > b\"@c.example>"), Ok(quoted));
        assert_eq!(parse(b"Quit "), Ok(Command::Quit));
    }

    #[test]
    fn nonsense_gets_a_reply_and_never_a_command() {
        let nonsense: [&[u8]; 12] = [
            b"",
            b"\xff\xfe",
            b"EHLO",
            b"MAIL",
            b"MAIL FROM:a@b",
            b"MAIL FROM:<a@b",
            b"MAIL FROM:<a b@c>",
            b"MAIL FROM:<a@b> SIZE=many",
            b"RCPT TO:<>",
            b"RCPT TO:<nobody>",
            b"RCPT TO:<a@b> NOTIFY=NEVER",
            b"DATA now",
        ];
        for line in nonsense {
            let reply = parse(line).err().unwrap_or("accepted");
            assert!(reply.starts_with('5'), "{line:?}: {reply}");
        }
    }
}
