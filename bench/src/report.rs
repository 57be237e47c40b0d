//! What a run came to: on the screen and as JSON.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::figure::Measured;
use crate::machine::{Machine, Versions};

/// One run of everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) versions: Versions,
    /// With smaller loads.
    pub(crate) quick: bool,
    pub(crate) seconds: u64,
    pub(crate) figures: Vec<Measured>,
}

impl Report {
    pub(crate) fn new(
        (machine, versions): (Machine, Versions),
        figures: Vec<Measured>,
        quick: bool,
        took: Duration,
    ) -> Self {
        Self { machine, versions, quick, seconds: took.as_secs(), figures }
    }

    /// The last one.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path);
        let text =
            text.with_context(|| format!("no report in {}: run it first", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// # Errors
    /// When it cannot be written.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, cores, memory_mib } = &self.machine;
        writeln!(f, "{processor}, {cores} cores, {memory_mib} MiB; {}", self.versions)?;
        writeln!(
            f,
            "{:<26} {:>10} {:<9} {:>21} {:>10} {:>6}  goal",
            "figure", "value", "unit", "least to most", "raw", "ratio"
        )?;
        for figure in &self.figures {
            let (least, most) = figure.spread();
            writeln!(
                f,
                "{:<26} {:>10} {:<9} {:>21} {:>10} {:>6}  {} {}",
                figure.id,
                number(figure.value),
                figure.unit,
                format!("{} to {}", number(least), number(most)),
                figure.raw.map_or_else(|| "-".to_owned(), number),
                figure.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
                if figure.met { "met:" } else { "MISSED:" },
                figure.goal,
            )?;
            for note in &figure.notes {
                writeln!(f, "    {note}")?;
            }
        }
        write!(f, "{} s", self.seconds)
    }
}

/// Three digits that tell something.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
