//! The settings of the order service.

use std::time::Duration;

use chassis::config::{
    ConfigError, FromSetting, Reader, ServiceConfig, Setting, Source, ToSetting,
};
use chrono::TimeDelta;

use crate::DEFAULT_PORT;

const ORDER_DEADLINE: Setting =
    Setting::new("ORDER_DEADLINE", "how long an order may be pending before it is cancelled");
const USUAL_DEADLINE: TimeDelta = TimeDelta::minutes(15);
const LONGEST_DEADLINE: TimeDelta = TimeDelta::days(365);

/// Everything that the service is told from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
    /// How long an order may be pending (`ORDER_DEADLINE`): above 0, at most 365 days; default 15
    /// minutes. Each order keeps the deadline that it was placed with.
    pub order_deadline: TimeDelta,
}

impl Config {
    /// Reads the settings, and names every mistake at once.
    ///
    /// # Errors
    /// [`ConfigError`], which also carries the text of `--help`.
    pub fn read(source: Source) -> Result<Self, ConfigError> {
        let mut read = Reader::new(source);
        let service = ServiceConfig::read(&mut read, DEFAULT_PORT);
        let Patience(order_deadline) = read.with_default(&ORDER_DEADLINE, Patience(USUAL_DEADLINE));
        read.finish(|| Some(Self { service: service?, order_deadline }))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Patience(TimeDelta);

impl FromSetting for Patience {
    const EXPECTED: &'static str = "a time above 0 and up to 8760h, for example 15m or 90s";

    fn from_setting(text: &str) -> Result<Self, String> {
        let time = Duration::from_setting(text)?;
        match TimeDelta::from_std(time) {
            Ok(time) if time.is_zero() => Err("is no time at all".into()),
            Ok(time) if time <= LONGEST_DEADLINE => Ok(Self(time)),
            _ => Err("is longer than a year".into()),
        }
    }
}

impl ToSetting for Patience {
    fn to_setting(&self) -> String {
        self.0.to_std().unwrap_or_default().to_setting()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn orders_wait_for_some_time_and_not_for_ever() {
        let read = |text| Patience::from_setting(text).map(|Patience(time)| time);
        assert_eq!(read("1ms"), Ok(TimeDelta::milliseconds(1)));
        assert_eq!(read("8760h"), Ok(LONGEST_DEADLINE));
        assert_eq!(Patience(USUAL_DEADLINE).to_setting(), "15m");
        for wrong in ["0s", "8761h", "18446744073709551615ms", "15", "soon", "-1s"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn help_names_the_deadline_and_its_default() {
        let Err(ConfigError::Help(help)) =
            Config::read(Source::from_pairs(["--help"], Vec::<(String, String)>::new()))
        else {
            panic!("no help");
        };
        let line = help.lines().find(|line| line.contains("ORDER_DEADLINE")).unwrap();
        assert!(line.contains("--order-deadline") && help.contains("15m"), "{help}");
    }
}
