//! The types a setting can have.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// A type that a setting's text can be read into.
pub trait FromSetting: Sized {
    /// What a good value looks like, for the message of a mistake.
    const EXPECTED: &'static str;

    /// Reads the value.
    ///
    /// # Errors
    /// What is wrong with the text, said so that it can follow the quoted text: `is no number`.
    fn from_setting(text: &str) -> Result<Self, String>;
}

/// A type whose value can stand as a default in `--help`, in the spelling a user would type.
pub trait ToSetting {
    /// The text that reads back as this value.
    fn to_setting(&self) -> String;
}

impl FromSetting for String {
    const EXPECTED: &'static str = "a text";

    fn from_setting(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl FromSetting for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn from_setting(text: &str) -> Result<Self, String> {
        Ok(Self::from(text))
    }
}

impl FromSetting for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_setting(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is neither true nor false".to_owned())
    }
}

impl FromSetting for SocketAddr {
    const EXPECTED: &'static str = "an address and a port, for example 127.0.0.1:8081";

    fn from_setting(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "is no socket address".to_owned())
    }
}

macro_rules! number {
    ($($kind:ty: $expected:literal),+ $(,)?) => {$(
        impl FromSetting for $kind {
            const EXPECTED: &'static str = $expected;

            fn from_setting(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("is not {}", $expected))
            }
        }
    )+};
}

number! {
    u16: "a whole number from 0 to 65535",
    u32: "a whole number from 0 to 4294967295",
    u64: "a whole number, 0 or more",
    NonZeroU32: "a whole number from 1 to 4294967295",
    usize: "a whole number, 0 or more",
    f64: "a number",
}

macro_rules! displayed {
    ($($kind:ty),+) => {$(
        impl ToSetting for $kind {
            fn to_setting(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

displayed!(String, bool, SocketAddr, NonZeroU32, u16, u32, u64, usize, f64);

impl ToSetting for PathBuf {
    fn to_setting(&self) -> String {
        self.display().to_string()
    }
}

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

impl FromSetting for Duration {
    const EXPECTED: &'static str = "a number with ms, s, m or h, for example 500ms or 20s";

    fn from_setting(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (amount, unit) = text.split_at(digits);
        let millis = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, millis)| millis);
        let amount: Option<u64> = amount.parse().ok();
        match (amount, millis) {
            (Some(amount), Some(millis)) => amount
                .checked_mul(*millis)
                .map(Self::from_millis)
                .ok_or_else(|| "is too long".to_owned()),
            (Some(_), None) if unit.is_empty() => Err("has no unit".to_owned()),
            _ => Err("is no duration".to_owned()),
        }
    }
}

impl ToSetting for Duration {
    fn to_setting(&self) -> String {
        let millis = self.as_millis();
        let whole = UNITS.iter().rev().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)));
        let (name, unit) = whole.unwrap_or(&UNITS[0]);
        format!("{}{name}", millis / u128::from(*unit))
    }
}

/// An `http://` address without TLS, as internal services have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The address as it was given, without a slash at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for HttpUrl {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl FromSetting for HttpUrl {
    const EXPECTED: &'static str = "an http:// address, for example http://127.0.0.1:4317";

    fn from_setting(text: &str) -> Result<Self, String> {
        let uri: http::Uri = text.parse().map_err(|_| "is no URL".to_owned())?;
        match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(host)) if !host.is_empty() => {
                Ok(Self(text.trim_end_matches('/').to_owned()))
            }
            (Some("https"), _) => Err("asks for TLS, which this build does not have".to_owned()),
            _ => Err("is no http:// address".to_owned()),
        }
    }
}

displayed!(HttpUrl);

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_back_as_they_are_shown() {
        for text in ["500ms", "20s", "90s", "15m", "2h", "1500ms"] {
            let read = Duration::from_setting(text).unwrap();
            assert_eq!(Duration::from_setting(&read.to_setting()).unwrap(), read, "{text}");
        }
        assert_eq!(Duration::from_secs(20).to_setting(), "20s");
    }

    #[test]
    fn a_duration_needs_a_number_and_a_known_unit() {
        for text in ["20", "s", "1.5s", "-1s", "20 s", "1d", "99999999999999999999s"] {
            assert!(Duration::from_setting(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_http_url_needs_its_scheme_and_a_host() {
        assert_eq!(HttpUrl::from_setting("http://a:4317/").unwrap().as_str(), "http://a:4317");
        for text in ["localhost:4317", "https://a", "ftp://a", "http://", "/x"] {
            assert!(HttpUrl::from_setting(text).is_err(), "{text}");
        }
    }
}
