//! How mistakes and help are shown.

use std::fmt::{self, Write as _};
use std::process::ExitCode;

use super::{Declared, Presence, flag_of};

/// Longer values are cut in messages.
const SHOWN: usize = 80;

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    setting: String,
    wrong: String,
    expected: Option<&'static str>,
}

impl Mistake {
    pub(super) fn new(setting: &str, wrong: String, expected: Option<&'static str>) -> Self {
        Self { setting: setting.to_owned(), wrong, expected }
    }

    /// The setting's name in the environment, or the flag or argument at fault.
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.setting)?;
        if self.setting.starts_with(|first: char| first.is_ascii_uppercase()) {
            write!(out, " ({})", flag_of(&self.setting))?;
        }
        write!(out, ": {}", self.wrong)?;
        match self.expected {
            Some(expected) => write!(out, "; expected {expected}"),
            None => Ok(()),
        }
    }
}

/// Why there is no configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// `--help` was asked for; this is its text.
    Help(String),
    /// Every mistake that was found, in the order of the declarations.
    Mistakes(Vec<Mistake>),
}

impl ConfigError {
    /// Prints help to stdout or the mistakes to stderr, and gives the exit code for `main`: 0 after
    /// help, 2 (wrong use) after mistakes.
    pub fn report(&self) -> ExitCode {
        match self {
            Self::Help(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Self::Mistakes(_) => {
                eprintln!("{self}");
                ExitCode::from(2)
            }
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Help(text) => out.write_str(text),
            Self::Mistakes(mistakes) => {
                let plural = if mistakes.len() == 1 { "" } else { "s" };
                write!(out, "{} mistake{plural} in the settings:", mistakes.len())?;
                mistakes.iter().try_for_each(|mistake| write!(out, "\n  {mistake}"))
            }
        }
    }
}

impl std::error::Error for ConfigError {}

/// The value in quotes, control characters escaped, cut to a length that fits a line.
pub(super) fn quoted(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

pub(super) fn help(program: &str, declared: &[Declared]) -> String {
    let mut text = format!("Usage: {program} [--flag value]...\n\n");
    text.push_str("Settings, each a flag or an environment variable (the flag goes before):\n");
    for Declared { setting, presence, secret } in declared {
        let state = match presence {
            Presence::Required => "required".to_owned(),
            Presence::Optional => "optional".to_owned(),
            Presence::Default(value) => format!("default: {value}"),
        };
        let file = if *secret || setting.file {
            format!("; from a file: {}_FILE", setting.name)
        } else {
            String::new()
        };
        let (flag, name, help) = (setting.flag(), setting.name, setting.help);
        // Writing to a String cannot fail.
        let _ = write!(text, "\n  {flag}, {name}\n      {help} [{state}{file}]");
    }
    text.push_str("\n\n  --help, -h\n      shows this text");
    text
}
