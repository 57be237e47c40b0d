//! Whether the address of a server can be meant. What is said of a wrong one quotes nothing of it: it
//! holds a password.

/// Parameters of an AMQP URL that the broker's client knows.
const AMQP_NUMBERS: [(&str, u64); 4] = [
    ("frame_max", u32::MAX as u64),
    ("channel_max", u16::MAX as u64),
    ("heartbeat", u16::MAX as u64),
    ("connection_timeout", u64::MAX),
];

/// Checks a Postgres URL: scheme, host, port, percent codes.
pub(super) fn postgres(url: &str) -> Result<(), &'static str> {
    let not_one = "is no Postgres URL with a host";
    let parts = Parts::of(url, &["postgres://", "postgresql://"]).ok_or(not_one)?;
    parts.check(url, not_one)
}

/// Checks an AMQP URL: scheme, host, port, percent codes, vhost, parameters.
pub(super) fn amqp(url: &str) -> Result<(), &'static str> {
    let not_one = "is no amqp:// URL with a host";
    let parts = Parts::of(url, &["amqp://"]).ok_or(not_one)?;
    parts.check(url, not_one)?;
    // The client would take another host than the one that is meant.
    if parts.host.contains(['[', '%']) {
        return Err("has a host that is neither a name nor an IPv4 address");
    }
    match parts.path.strip_prefix('/') {
        Some("") => return Err("has an empty vhost (the vhost / is written %2f)"),
        Some(vhost) if vhost.contains('/') => {
            return Err("has a / in its vhost, which must be written %2f");
        }
        _ => {}
    }
    let mut parameters = parts.query.split('&').filter(|parameter| !parameter.is_empty());
    if parameters.all(is_amqp_parameter) {
        Ok(())
    } else {
        Err("has a parameter that is not known")
    }
}

fn is_amqp_parameter(text: &str) -> bool {
    let Some((name, value)) = text.split_once('=') else { return false };
    let number = AMQP_NUMBERS.iter().find(|(known, _)| *known == name);
    match number {
        Some((_, most)) => digits(value).is_some_and(|value| value <= *most),
        None => name == "auth_mechanism" && !value.is_empty(),
    }
}

/// `scheme://user:password@host:port/path?query`, taken apart and not decoded.
struct Parts<'a> {
    user: &'a str,
    password: &'a str,
    host: &'a str,
    port: Option<&'a str>,
    /// With its slash, or empty.
    path: &'a str,
    query: &'a str,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str, schemes: &[&str]) -> Option<Self> {
        let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme))?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (user, server) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = user.split_once(':').unwrap_or((user, ""));
        // The colons of an IPv6 address stand in brackets.
        let name_end = server.find(']').unwrap_or(0);
        let colon = server[name_end..].rfind(':').map(|at| name_end + at);
        let (host, port) = match colon {
            Some(at) => (&server[..at], Some(&server[at + 1..])),
            None => (server, None),
        };
        Some(Self { user, password, host, port, path, query })
    }

    fn check(&self, url: &str, without_host: &'static str) -> Result<(), &'static str> {
        if self.host.is_empty() {
            return Err(without_host);
        }
        if self.port.is_some_and(|port| !matches!(digits(port), Some(1..=65_535))) {
            return Err("has a port that is no number from 1 to 65535");
        }
        if url.contains(|c: char| c.is_whitespace() || c.is_control() || c == '#') {
            return Err("has a blank, a control character or a #, which must be percent-encoded");
        }
        let in_brackets = self.host.starts_with('[') && self.host.ends_with(']');
        if !in_brackets && self.host.contains([':', '[', ']']) {
            return Err("has a host that is no name and no address");
        }
        if [self.user, self.password, self.host, self.path].into_iter().all(is_percent_coded) {
            Ok(())
        } else {
            Err("has a % that does not begin the percent code of UTF-8 text")
        }
    }
}

/// The value of a text of digits only.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// True when every `%` begins a code, and the codes give UTF-8.
fn is_percent_coded(text: &str) -> bool {
    let mut pieces = text.split('%');
    let mut decoded = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let Some((code, rest)) = piece.split_at_checked(2) else { return false };
        if !code.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return false;
        }
        let Ok(byte) = u8::from_str_radix(code, 16) else { return false };
        decoded.push(byte);
        decoded.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(decoded).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_postgres_url_needs_its_scheme_a_host_and_a_port_that_can_be() {
        for url in [
            "postgres://u:p@db:5432/shop_order",
            "postgresql://db/shop?sslmode=disable",
            "postgres://u@[::1]:5432/shop",
            "postgres://u:p%40%C3%A9@db/shop",
            "postgres://u:p@%2Frun%2Fpostgresql/shop",
        ] {
            assert_eq!(postgres(url), Ok(()), "{url}");
        }
        let wrong = [
            ("mysql://db/shop", "no Postgres URL"),
            ("postgres:///shop", "no Postgres URL"),
            ("postgres://u:p@:5432/shop", "no Postgres URL"),
            ("postgres://u:p@db:0/shop", "port"),
            ("postgres://u:p@db:65536/shop", "port"),
            ("postgres://u:p@db:+5/shop", "port"),
            ("postgres://u:p@db:/shop", "port"),
            ("postgres://u:p/w@db:5432/shop", "port"),
            ("postgres://u:p%4@db/shop", "%"),
            ("postgres://u:p%FF@db/shop", "%"),
            ("postgres://u:p@db/shop ", "blank"),
            ("postgres://u:p@a:1:2/shop", "host"),
        ];
        for (url, reason) in wrong {
            assert!(postgres(url).is_err_and(|said| said.contains(reason)), "{url}");
        }
    }

    #[test]
    fn an_amqp_url_has_nothing_that_its_client_would_read_otherwise() {
        for url in [
            "amqp://shop:shop@127.0.0.1:15673/shop",
            "amqp://mq",
            "amqp://mq/%2f?heartbeat=10&frame_max=131072",
            "amqp://us%20er:p%3Aw@mq/vh%C3%B6st?auth_mechanism=plain",
        ] {
            assert_eq!(amqp(url), Ok(()), "{url}");
        }
        let wrong = [
            ("amqps://mq/shop", "no amqp:// URL"),
            ("amqp://u:p@:5672/shop", "no amqp:// URL"),
            ("amqp://u:p@mq:567200/shop", "port"),
            ("amqp://u:p@mq:x/shop", "port"),
            ("amqp://u:p#w@mq/shop", "#"),
            ("amqp://u%zz:p@mq/shop", "%"),
            ("amqp://u:p%@mq/shop", "%"),
            ("amqp://u:p@mq/%ff", "%"),
            ("amqp://u:p@[::1]:5672/shop", "host"),
            ("amqp://mq/", "empty vhost"),
            ("amqp://mq/a/b", "vhost"),
            ("amqp://mq/shop?hearbeat=10", "parameter"),
            ("amqp://mq/shop?heartbeat=70000", "parameter"),
            ("amqp://mq/shop?heartbeat", "parameter"),
        ];
        for (url, reason) in wrong {
            assert!(amqp(url).is_err_and(|said| said.contains(reason)), "{url}");
        }
    }
}
