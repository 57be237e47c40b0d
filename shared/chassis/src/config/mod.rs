//! Settings from flags and environment, with every mistake reported at once.
//!
//! `--http-addr` and `HTTP_ADDR` are one setting; the flag goes before the variable. A secret, and any
//! setting declared with [`Setting::or_file`], can also come from a file: `DATABASE_URL_FILE` or
//! `--database-url-file`. An empty value counts as missing. Nothing here ever prints the value of a
//! secret.

mod error;
mod keys;
mod retention;
mod service;
mod source;
mod suggest;
mod url;
mod value;

use std::collections::HashSet;

use secrecy::SecretString;

pub use error::{ConfigError, Mistake};
pub use retention::RetentionConfig;
pub use service::ServiceConfig;
pub use source::Source;
pub use value::{FromSetting, HttpUrl};

use source::Found;

/// The declaration of one setting; written once as a `const` beside the struct that holds its value.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    name: &'static str,
    help: &'static str,
    expected: Option<&'static str>,
    file: bool,
}

impl Setting {
    /// A setting called `name` in the environment (`HTTP_ADDR`), from which the flag follows
    /// (`--http-addr`). `help` is the line shown by `--help`.
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, expected: None, file: false }
    }

    /// Replaces the type's own description of a good value in mistakes.
    pub const fn expecting(mut self, expected: &'static str) -> Self {
        self.expected = Some(expected);
        self
    }

    /// Lets the value come from a file named by `NAME_FILE`; always on for secrets.
    pub const fn or_file(mut self) -> Self {
        self.file = true;
        self
    }

    /// The name in the environment.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    fn flag(&self) -> String {
        flag_of(self.name)
    }
}

/// `HTTP_ADDR` as a flag: `--http-addr`.
fn flag_of(name: &str) -> String {
    format!("--{}", name.to_ascii_lowercase().replace('_', "-"))
}

/// What `--help` says after a setting's own line.
#[derive(Debug)]
enum Presence {
    Required,
    Optional,
    Default(String),
}

#[derive(Debug)]
struct Declared {
    setting: Setting,
    presence: Presence,
    secret: bool,
}

/// Reads settings one by one, remembers every mistake, and reports them together in
/// [`finish`](Reader::finish).
///
/// ```
/// use chassis::config::{Reader, Setting, Source};
///
/// const WORKERS: Setting = Setting::new("WORKERS", "parallel workers");
/// const API_TOKEN: Setting = Setting::new("API_TOKEN", "token of the other side");
///
/// let source = Source::from_pairs(["--workers=4"], [("API_TOKEN", "s3cret")]);
/// let mut read = Reader::new(source);
/// let workers: u16 = read.with_default(&WORKERS, 2);
/// let token = read.secret(&API_TOKEN);
/// let config = read.finish(|| Some((workers, token?))).unwrap();
/// assert_eq!(config.0, 4);
/// ```
#[derive(Debug)]
pub struct Reader {
    source: Source,
    declared: Vec<Declared>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    /// A reader over `source`.
    pub fn new(source: Source) -> Self {
        Self { source, declared: Vec::new(), mistakes: Vec::new() }
    }

    /// A setting that may be absent.
    pub fn optional<T: FromSetting>(&mut self, setting: &Setting) -> Option<T> {
        self.declare(setting, Presence::Optional, false);
        let text = self.text(setting, false)?;
        self.parse(setting, &text)
    }

    /// A setting that must be there. `None` means that a mistake was noted.
    pub fn required<T: FromSetting>(&mut self, setting: &Setting) -> Option<T> {
        self.declare(setting, Presence::Required, false);
        match self.text(setting, false) {
            Some(text) => self.parse(setting, &text),
            None => {
                self.missing(setting, T::EXPECTED);
                None
            }
        }
    }

    /// A setting with a default, which is also what a mistaken value gives: `finish` fails anyway.
    pub fn with_default<T: FromSetting + ToSetting>(&mut self, setting: &Setting, default: T) -> T {
        self.declare(setting, Presence::Default(default.to_setting()), false);
        match self.text(setting, false) {
            Some(text) => self.parse(setting, &text).unwrap_or(default),
            None => default,
        }
    }

    /// A secret that must be there, from `NAME` or from the file that `NAME_FILE` names.
    pub fn secret(&mut self, setting: &Setting) -> Option<SecretString> {
        self.secret_checked(setting, |_| Ok(()))
    }

    /// A secret that must be there and that `check` accepts. The error of `check` is shown to the
    /// operator, so it must not quote the value.
    pub fn secret_checked(
        &mut self,
        setting: &Setting,
        check: impl FnOnce(&str) -> Result<(), &'static str>,
    ) -> Option<SecretString> {
        self.declare(setting, Presence::Required, true);
        let Some(text) = self.text(setting, true) else {
            self.missing(setting, "a value");
            return None;
        };
        match check(&text) {
            Ok(()) => Some(SecretString::from(text)),
            Err(wrong) => {
                self.mistake(setting, wrong.to_owned(), "a valid value");
                None
            }
        }
    }

    /// Notes a mistake that only shows when several settings are seen together.
    pub fn mistake(&mut self, setting: &Setting, wrong: String, expected: &'static str) {
        let expected = setting.expected.unwrap_or(expected);
        self.mistakes.push(Mistake::new(setting.name, wrong, Some(expected)));
    }

    /// Ends the reading. `build` puts the values together; it runs only when there is no mistake, so
    /// a `?` on each required value never hides one.
    ///
    /// # Errors
    /// [`ConfigError::Help`] when `--help` was asked for, else [`ConfigError::Mistakes`] with every
    /// mistake, unknown flags included.
    pub fn finish<T>(mut self, build: impl FnOnce() -> Option<T>) -> Result<T, ConfigError> {
        if self.source.help_wanted() {
            return Err(ConfigError::Help(error::help(self.source.program(), &self.declared)));
        }
        let flags = self.known_flags();
        self.mistakes.extend(self.source.leftovers(&flags));
        if self.mistakes.is_empty() {
            let value = build();
            let incomplete = "the values read do not make a whole configuration".to_owned();
            return value.ok_or_else(|| {
                ConfigError::Mistakes(vec![Mistake::new("settings", incomplete, None)])
            });
        }
        Err(ConfigError::Mistakes(self.mistakes))
    }

    fn known_flags(&self) -> HashSet<String> {
        let files = self.declared.iter().filter(|d| d.secret || d.setting.file);
        let files = files.map(|declared| format!("{}-file", declared.setting.flag()));
        self.declared.iter().map(|d| d.setting.flag()).chain(files).collect()
    }

    fn declare(&mut self, setting: &Setting, presence: Presence, secret: bool) {
        self.declared.push(Declared { setting: *setting, presence, secret });
    }

    /// The text of a setting, or `None` when it is missing or a mistake was noted.
    fn text(&mut self, setting: &Setting, secret: bool) -> Option<String> {
        let direct = self.found(setting.name)?;
        if !(secret || setting.file) {
            return direct;
        }
        let file_name = format!("{}_FILE", setting.name);
        match (direct, self.found(&file_name)?) {
            (direct, None) => direct,
            (None, Some(path)) => self.read_file(setting, &file_name, &path),
            (Some(_), Some(_)) => {
                let wrong = format!("given twice: as {} and as {file_name}", setting.name);
                self.mistake(setting, wrong, "one of the two");
                None
            }
        }
    }

    /// The outer `None` stops the reading of this setting: a mistake was noted.
    #[allow(clippy::option_option)]
    fn found(&mut self, name: &str) -> Option<Option<String>> {
        match self.source.find(name, &flag_of(name)) {
            Found::Missing => Some(None),
            Found::Text(text) => Some(Some(text)),
            Found::Mistaken(wrong) => {
                self.mistakes.push(Mistake::new(name, wrong, None));
                None
            }
        }
    }

    fn read_file(&mut self, setting: &Setting, name: &str, path: &str) -> Option<String> {
        let wrong = match std::fs::read_to_string(path) {
            Ok(text) => {
                // Editors and `echo` end files with a line break that is no part of the value.
                let text = text.trim_end_matches(['\r', '\n']);
                if !text.trim().is_empty() {
                    return Some(text.to_owned());
                }
                format!("the file {path:?} is empty")
            }
            Err(cause) => format!("cannot read the file {path:?}: {cause}"),
        };
        let expected = setting.expected.unwrap_or("a readable file with the value");
        self.mistakes.push(Mistake::new(name, wrong, Some(expected)));
        None
    }

    fn parse<T: FromSetting>(&mut self, setting: &Setting, text: &str) -> Option<T> {
        match T::from_setting(text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let wrong = format!("{} {wrong}", error::quoted(text));
                self.mistake(setting, wrong, T::EXPECTED);
                None
            }
        }
    }

    /// A value that was given but could not be used has its own mistake already.
    fn missing(&mut self, setting: &Setting, expected: &'static str) {
        let file = format!("{}_FILE", setting.name);
        let noted =
            self.mistakes.iter().any(|m| m.setting() == setting.name || m.setting() == file);
        if !noted {
            self.mistake(setting, "missing".to_owned(), expected);
        }
    }
}

pub use value::ToSetting;
