//! The part of RabbitMQ's management API that tests need.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Client, Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

/// How long the broker may take for one request.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What a queue holds, as the management API shows it: at most about a second old on the servers that
/// this crate starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct QueueFigures {
    /// Messages that wait for a consumer.
    #[serde(rename = "messages_ready", default)]
    pub ready: u64,
    /// Messages that a consumer holds and has not acknowledged.
    #[serde(rename = "messages_unacknowledged", default)]
    pub unacked: u64,
    /// Consumers of the queue.
    #[serde(default)]
    pub consumers: u64,
}

/// A client of the management API.
#[derive(Debug, Clone)]
pub struct Management {
    client: Client,
    host: String,
    user: String,
    password: String,
}

impl Management {
    /// A client for `http://user:password@host:port`.
    ///
    /// # Errors
    /// When the address has another form.
    pub fn new(url: &str) -> Result<Self> {
        let parts = url.trim_end_matches('/').strip_prefix("http://").and_then(|rest| {
            let (login, host) = rest.rsplit_once('@')?;
            let (user, password) = login.split_once(':')?;
            Some((user.to_owned(), password.to_owned(), host.to_owned()))
        });
        let (user, password, host) =
            parts.context("the management address is not http://user:password@host:port")?;
        let client = Client::builder().timeout(ANSWER_WITHIN).build()?;
        Ok(Self { client, host, user, password })
    }

    /// Its address, with the administrator's name and password: `http://user:password@host:port`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}:{}@{}", self.user, self.password, self.host)
    }

    /// The administrator's name.
    pub(crate) fn user(&self) -> &str {
        &self.user
    }

    /// One request below `/api`. None is the answer for something that is not there (404).
    ///
    /// # Errors
    /// When the broker does not answer, or refuses; with its reason.
    pub async fn call(
        &self,
        method: Method,
        path: &[&str],
        body: Option<Value>,
    ) -> Result<Option<Value>> {
        let url = format!("http://{}{}", self.host, path_of(path));
        let mut request = self.client.request(method.clone(), &url);
        request = request.basic_auth(&self.user, Some(&self.password));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.with_context(|| format!("{method} {}", path_of(path)))?;
        let status = answer.status();
        let text = answer.text().await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        if !status.is_success() {
            bail!("{method} {}: {status} {text}", path_of(path));
        }
        Ok(Some(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? }))
    }

    /// A deletion that blocks, for use while dropping; it waits for the answer.
    pub(crate) fn delete_blocking(&self, path: &[&str]) -> Result<()> {
        let address = self.host.to_socket_addrs()?.next().context("no such host")?;
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let login = STANDARD.encode(format!("{}:{}", self.user, self.password));
        write!(
            stream,
            "DELETE {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Basic {login}\r\nConnection: close\r\n\r\n",
            path_of(path),
            self.host
        )?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let head = String::from_utf8_lossy(&answer);
        let status = head.split_whitespace().nth(1).unwrap_or("no answer");
        if !matches!(status, "204" | "404") {
            bail!("the broker answered {status}");
        }
        Ok(())
    }
}

fn path_of(segments: &[&str]) -> String {
    let mut path = "/api".to_owned();
    for segment in segments {
        path.push('/');
        path.push_str(&escape(segment));
    }
    path
}

/// Percent-encodes everything but the characters that never mean anything in a path.
fn escape(segment: &str) -> String {
    segment.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_slash_and_a_blank_in_a_name_do_not_change_the_path() {
        assert_eq!(path_of(&["vhosts", "/"]), "/api/vhosts/%2F");
        assert_eq!(path_of(&["connections", "a -> b"]), "/api/connections/a%20-%3E%20b");
    }

    #[test]
    fn an_address_without_a_password_is_refused() {
        assert!(Management::new("http://127.0.0.1:15672").is_err());
        let management = Management::new("http://a:b@h:1/").unwrap();
        assert_eq!((management.user(), management.url()), ("a", "http://a:b@h:1".to_owned()));
    }
}
