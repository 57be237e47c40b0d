//! The command line.

use std::path::PathBuf;

use crate::faults::Fault;

/// Brings the compose file up under a project name and on ports of its own, checks it, breaks it, and
/// takes it down again.
#[derive(Debug, clap::Parser)]
#[command(name = "compose", version, about)]
pub(crate) struct Args {
    /// Folder with a program `shop` that is built already: its image is a copy of it
    #[arg(long, value_name = "FOLDER", conflicts_with = "full", required_unless_present = "full")]
    pub(crate) program: Option<PathBuf>,
    /// Build the image from source inside Docker, and measure a rebuild
    #[arg(long)]
    pub(crate) full: bool,
    /// A command to run before anything else, such as one that makes the images available
    #[arg(long, env = "E2E_BEFORE", value_name = "COMMAND")]
    pub(crate) before: Option<String>,
    /// How long a pause or a cut lasts, in seconds
    #[arg(long, value_name = "S", default_value_t = 60)]
    pub(crate) hold: u64,
    /// Only these faults; all of them without one
    #[arg(long, value_name = "FAULT", value_delimiter = ',')]
    pub(crate) only: Option<Vec<Fault>>,
    /// Leave everything running when something fails
    #[arg(long)]
    pub(crate) keep: bool,
}

impl Args {
    /// Whether the program is the one that users run, and what it costs means something.
    pub(crate) fn is_optimised(&self) -> bool {
        self.program.as_ref().is_none_or(|folder| !folder.ends_with("debug"))
    }
}
