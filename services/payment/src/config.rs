//! The settings of the payment service.

use chassis::config::{ConfigError, HttpUrl, Reader, ServiceConfig, Setting, Source};

use crate::DEFAULT_PORT;

const GATEWAY_URL: Setting = Setting::new("GATEWAY_URL", "the payment gateway");

/// Everything that the service is told from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
    /// Address of the payment gateway (`GATEWAY_URL`).
    pub gateway_url: HttpUrl,
}

impl Config {
    /// Reads the settings, and names every mistake at once.
    ///
    /// # Errors
    /// [`ConfigError`], which also carries the text of `--help`.
    pub fn read(source: Source) -> Result<Self, ConfigError> {
        let mut read = Reader::new(source);
        let service = ServiceConfig::read(&mut read, DEFAULT_PORT);
        let gateway_url = read.required(&GATEWAY_URL);
        read.finish(|| Some(Self { service: service?, gateway_url: gateway_url? }))
    }
}
