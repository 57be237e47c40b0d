//! What everything was measured on and with.

use std::fmt;

use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::stage::Stage;

/// The machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_mib: u64,
}

/// What ran on it, and how durably.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Versions {
    pub(crate) tidings: String,
    pub(crate) rustc: String,
    pub(crate) postgres: String,
    pub(crate) rabbitmq: String,
    /// Name and value of every setting that decides whether what was confirmed survives.
    pub(crate) durability: Vec<(String, String)>,
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Postgres {}, RabbitMQ {}, {}", self.postgres, self.rabbitmq, self.rustc)?;
        self.durability.iter().try_for_each(|(name, value)| write!(f, ", {name}={value}"))
    }
}

/// Asks the machine and the servers.
///
/// # Errors
/// When a server does not answer.
pub(crate) async fn look(stage: &Stage) -> anyhow::Result<(Machine, Versions)> {
    let of = |file: &str, name: &str| {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or("", |(_, value)| value).trim().to_owned()
    };
    let memory = of("/proc/meminfo", "MemTotal");
    let kib = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or_default();
    let machine = Machine {
        processor: of("/proc/cpuinfo", "model name"),
        cores: std::thread::available_parallelism()?.get(),
        memory_mib: kib / 1024,
    };
    let rustc = Command::new("rustc").arg("--version").output().await?;
    let mut durability = stage.durability().await?;
    for setting in [("queues", "quorum"), ("confirms", "on"), ("mandatory", "on")] {
        durability.push((setting.0.to_owned(), setting.1.to_owned()));
    }
    let versions = Versions {
        tidings: env!("CARGO_PKG_VERSION").to_owned(),
        rustc: String::from_utf8_lossy(&rustc.stdout).trim().to_owned(),
        postgres: stage.postgres_version().await?,
        rabbitmq: stage.rabbitmq_version().await?,
        durability,
    };
    Ok((machine, versions))
}
