//! How answers look: tables for people, JSON for machines, progress on stderr and only on a terminal.

mod table;

use std::ffi::{OsStr, OsString};
use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::cli::{Format, Global};

/// To the upper left corner, and nothing below it.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done: 0.
    Done,
    /// Failed, or the check that was asked for did not pass: 1.
    Failed,
    /// Asked for in a way that cannot be understood: 2.
    WrongUse,
    /// Some of it was done: 3.
    Partly,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::WrongUse => 2,
            Exit::Partly => 3,
        })
    }
}

/// A colour with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Worth a look.
    Warning,
    /// Wrong.
    Bad,
    /// Less important than what is around it.
    Faint,
    /// More important than what is around it.
    Strong,
}

/// Where a command writes to.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    format: Format,
    terminal: bool,
    colors: bool,
    progress: bool,
    assume_yes: bool,
}

impl Output {
    /// As the command line and the terminal ask for.
    #[must_use]
    pub fn new(global: &Global) -> Self {
        let stdout = std::io::stdout().is_terminal();
        Self {
            format: global.output,
            terminal: stdout,
            colors: has_colors(stdout, global.output, no_color().as_deref()),
            progress: std::io::stderr().is_terminal(),
            assume_yes: global.yes,
        }
    }

    /// For people, without a terminal.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        let (terminal, colors, progress, assume_yes) = (false, false, false, false);
        Self { format: Format::Table, terminal, colors, progress, assume_yes }
    }

    /// Whether the answer is for machines.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether `--yes` was given.
    #[must_use]
    pub fn assumes_yes(&self) -> bool {
        self.assume_yes
    }

    /// Writes a line of the answer to stdout. A reader that went away is no error.
    pub fn line(&self, text: impl Display) {
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    /// Writes the answer: `value` as JSON for machines, what `table` gives for people.
    ///
    /// # Errors
    /// When the value cannot be written as JSON.
    pub fn answer<T: Serialize + ?Sized>(
        &self,
        value: &T,
        table: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        if self.is_json() {
            self.line(serde_json::to_string_pretty(value)?);
        } else {
            self.line(table().trim_end());
        }
        Ok(())
    }

    /// Writes an answer that is given again and again: over the one before for people at a terminal,
    /// after it elsewhere, a line each for machines.
    ///
    /// # Errors
    /// When the value cannot be written as JSON, or the reader went away.
    pub fn again<T: Serialize + ?Sized>(
        &self,
        value: &T,
        table: impl FnOnce() -> String,
    ) -> std::io::Result<()> {
        let text = if self.is_json() {
            serde_json::to_string(value)? + "\n"
        } else if self.terminal {
            format!("{CLEAR}{}\n", table().trim_end())
        } else {
            format!("{}\n\n", table().trim_end())
        };
        let mut stdout = std::io::stdout();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }

    /// Writes a remark to stderr, whoever reads: a warning, or what is being waited for.
    pub fn note(&self, text: impl Display) {
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    /// Writes an error with its causes to stderr.
    pub fn error(&self, error: &anyhow::Error) {
        self.note(format_args!("shop: {error:#}"));
    }

    /// A bar on stderr, on a terminal only; the empty bar elsewhere.
    #[must_use]
    pub fn bar(&self, length: u64, what: &'static str) -> ProgressBar {
        let bar =
            ProgressBar::with_draw_target(Some(length), self.draw_target()).with_message(what);
        match ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}") {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }

    /// A spinner on stderr, on a terminal only.
    #[must_use]
    pub fn spinner(&self, what: impl Into<String>) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, self.draw_target())
            .with_style(ProgressStyle::default_spinner())
            .with_message(what.into());
        if self.progress {
            bar.enable_steady_tick(Duration::from_millis(100));
        }
        bar
    }

    fn draw_target(&self) -> ProgressDrawTarget {
        if self.progress { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() }
    }

    /// The text in its colour, where there are colours.
    #[must_use]
    pub fn paint(&self, tone: Tone, text: impl Display) -> String {
        let text = text.to_string();
        if !self.colors || text.is_empty() {
            return text;
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A table with a line of headings (none when `headings` is empty); columns of numbers to the
    /// right, as `right` names them by their place.
    #[must_use]
    pub fn table<R, C>(&self, headings: &[&str], right: &[usize], rows: R) -> String
    where
        R: IntoIterator<Item = Vec<C>>,
        C: Display,
    {
        let head = headings.iter().map(|heading| self.paint(Tone::Faint, heading)).collect();
        let head = (!headings.is_empty()).then_some(head);
        let rows = rows.into_iter().map(|row| row.iter().map(C::to_string).collect());
        table::render(&head.into_iter().chain(rows).collect::<Vec<_>>(), right)
    }

    /// Whether somebody sits at the terminal.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && self.progress
    }

    /// Asks on the terminal before something is changed. `--yes` answers it; where nobody can be
    /// asked, the answer is no, with a hint.
    ///
    /// # Errors
    /// When the terminal cannot be read.
    pub fn confirm(&self, question: &str) -> anyhow::Result<bool> {
        if self.assume_yes {
            return Ok(true);
        }
        if !self.can_ask() {
            self.note(format_args!("{question} Nobody to ask here: add --yes."));
            return Ok(false);
        }
        let mut err = std::io::stderr();
        write!(err, "{question} [y/N] ")?;
        err.flush()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
    }
}

/// <https://no-color.org>: set and not empty means none.
fn has_colors(terminal: bool, format: Format, no_color: Option<&OsStr>) -> bool {
    terminal && format == Format::Table && no_color.is_none_or(OsStr::is_empty)
}

#[expect(clippy::disallowed_methods, reason = "a convention of terminals, no setting of ours")]
fn no_color() -> Option<OsString> {
    std::env::var_os("NO_COLOR")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_people_at_a_terminal_who_do_not_forbid_them() {
        let table = |terminal, no_color| has_colors(terminal, Format::Table, no_color);
        assert!(table(true, None));
        assert!(table(true, Some(OsStr::new(""))));
        assert!(!table(true, Some(OsStr::new("1"))));
        assert!(!table(false, None));
        assert!(!has_colors(true, Format::Json, None));
    }

    #[test]
    fn paint_without_colours_leaves_the_text_alone() {
        let plain = Output::plain();
        assert_eq!(plain.paint(Tone::Bad, "7"), "7");
        let colored = Output { colors: true, ..plain };
        assert_eq!(colored.paint(Tone::Bad, "7"), "\u{1b}[31m7\u{1b}[0m");
    }
}
