//! The settings of the email service.

use chassis::config::{
    ConfigError, FromSetting, Reader, ServiceConfig, Setting, Source, ToSetting,
};
use lettre::message::Mailbox;

use crate::DEFAULT_PORT;
use crate::infrastructure::SmtpServer;

const SMTP_URL: Setting = Setting::new("SMTP_URL", "the mail server");
const MAIL_FROM: Setting = Setting::new("MAIL_FROM", "who mails come from");
const DEFAULT_FROM: &str = "Tidings <shop@tidings.example>";
/// RFC 5321, 4.5.4.2.
const SMTP_PORT: u16 = 25;

/// Everything that the service is told from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
    /// The mail server (`SMTP_URL`).
    pub smtp_server: SmtpServer,
    /// The sender of all mails (`MAIL_FROM`).
    pub mail_from: Mailbox,
}

impl Config {
    /// Reads the settings, and names every mistake at once.
    ///
    /// # Errors
    /// [`ConfigError`], which also carries the text of `--help`.
    pub fn read(source: Source) -> Result<Self, ConfigError> {
        let mut read = Reader::new(source);
        let service = ServiceConfig::read(&mut read, DEFAULT_PORT);
        let smtp_server = read.required(&SMTP_URL);
        let mail_from = DEFAULT_FROM.parse().ok().map(Sender);
        let mail_from = mail_from.map(|default| read.with_default(&MAIL_FROM, default));
        read.finish(|| {
            let (smtp_server, Sender(mail_from)) = (smtp_server?, mail_from?);
            Some(Self { service: service?, smtp_server, mail_from })
        })
    }
}

impl FromSetting for SmtpServer {
    const EXPECTED: &'static str = "an SMTP URL, for example smtp://127.0.0.1:11025";

    fn from_setting(text: &str) -> Result<Self, String> {
        let uri: axum::http::Uri = text.parse().map_err(|_| "is no URL".to_owned())?;
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        match uri.scheme_str() {
            Some("smtps") => Err("asks for TLS, which this build does not have".into()),
            Some("smtp") if authority.contains('@') => {
                Err("holds credentials, which must not be sent without TLS".into())
            }
            Some("smtp") if uri.path().len() <= 1 && uri.query().is_none() => {
                let host = uri.host().filter(|host| !host.is_empty()).ok_or("names no host")?;
                let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
                Ok(Self { host, port: uri.port_u16().unwrap_or(SMTP_PORT) })
            }
            _ => Err("is no smtp:// address".into()),
        }
    }
}

struct Sender(Mailbox);

impl FromSetting for Sender {
    const EXPECTED: &'static str = "a mail address, for example Tidings <shop@tidings.example>";

    fn from_setting(text: &str) -> Result<Self, String> {
        let usable = !text.contains(char::is_control);
        let parsed = text.trim().parse().ok().filter(|_| usable);
        parsed.map(Self).ok_or_else(|| "is no mail address".to_owned())
    }
}

impl ToSetting for Sender {
    fn to_setting(&self) -> String {
        self.0.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_server_is_a_host_and_a_port_and_nothing_else() {
        let server = |host: &str, port| Ok(SmtpServer { host: host.into(), port });
        assert_eq!(SmtpServer::from_setting("smtp://127.0.0.1:11025"), server("127.0.0.1", 11_025));
        assert_eq!(SmtpServer::from_setting("smtp://mail.example/"), server("mail.example", 25));
        assert_eq!(SmtpServer::from_setting("smtp://[::1]:2525"), server("::1", 2_525));
        let wrong = [
            "mail.example",
            "smtps://mail",
            "smtp://u:p@mail",
            "smtp://",
            "smtp://a/b",
            "http://a",
        ];
        for wrong in wrong {
            assert!(SmtpServer::from_setting(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_sender_is_one_address() {
        let Sender(from) = Sender::from_setting(DEFAULT_FROM).unwrap();
        assert_eq!(
            (from.name.as_deref(), from.email.domain()),
            (Some("Tidings"), "tidings.example")
        );
        assert!(Sender::from_setting("shop@tidings.example").is_ok());
        for wrong in ["", "Tidings", "a@b.example, c@d.example", "a@b.example\r\nBcc: c@d.example"]
        {
            assert!(Sender::from_setting(wrong).is_err(), "{wrong}");
        }
    }
}
