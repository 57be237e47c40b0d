//! The settings of the audit service.

use chassis::config::{ConfigError, Reader, ServiceConfig, Source};

use crate::DEFAULT_PORT;

/// Everything that the service is told from outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// What every service is told.
    pub service: ServiceConfig,
}

impl Config {
    /// Reads the settings, and names every mistake at once.
    ///
    /// # Errors
    /// [`ConfigError`], which also carries the text of `--help`.
    pub fn read(source: Source) -> Result<Self, ConfigError> {
        let mut read = Reader::new(source);
        let service = ServiceConfig::read(&mut read, DEFAULT_PORT);
        read.finish(|| Some(Self { service: service? }))
    }
}
