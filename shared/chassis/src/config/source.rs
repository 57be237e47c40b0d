//! Where settings come from: the command line and the environment, or pairs given by a test.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;

use super::{Mistake, suggest};

/// The flags and variables of one process.
#[derive(Default)]
pub struct Source {
    program: String,
    flags: Vec<Flag>,
    stray: Vec<usize>,
    help: bool,
    environment: HashMap<String, OsString>,
}

/// `value` is `None` for a flag with nothing after it.
struct Flag {
    name: String,
    value: Option<String>,
}

/// Any value may be a secret, and nothing here knows which.
impl std::fmt::Debug for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let flags: Vec<&str> = self.flags.iter().map(|flag| flag.name.as_str()).collect();
        out.debug_struct("Source").field("flags", &flags).finish_non_exhaustive()
    }
}

pub(super) enum Found {
    Missing,
    Text(String),
    Mistaken(String),
}

impl Source {
    /// The command line and the environment of this process.
    pub fn process() -> Self {
        let mut args = std::env::args_os();
        let program = args.next().unwrap_or_default();
        let program = std::path::Path::new(&program).file_name().unwrap_or_default();
        let program = program.to_string_lossy().into_owned();
        Self::with_args(program, args)
    }

    /// The environment of this process, and `args` as the command line behind `program`: for a program
    /// with a verb before the flags, such as `shop order`.
    #[expect(clippy::disallowed_methods, reason = "this is the reader that the ban points to")]
    pub fn with_args(
        program: impl Into<String>,
        args: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Self {
        let mut source = Self { program: program.into(), ..Self::default() };
        source.parse(args.into_iter().map(Into::into));
        for (name, value) in std::env::vars_os() {
            // A variable whose name is no UTF-8 cannot be one of ours.
            if let Ok(name) = name.into_string() {
                source.environment.insert(name, value);
            }
        }
        source
    }

    /// Arguments and variables given by the caller, nothing of the process: for tests.
    pub fn from_pairs<A, K, V>(
        args: impl IntoIterator<Item = A>,
        environment: impl IntoIterator<Item = (K, V)>,
    ) -> Self
    where
        A: Into<OsString>,
        K: Into<String>,
        V: Into<OsString>,
    {
        let mut source = Self { program: "service".to_owned(), ..Self::default() };
        source.parse(args.into_iter().map(Into::into));
        let variables = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
        source.environment.extend(variables);
        source
    }

    fn parse(&mut self, args: impl Iterator<Item = OsString>) {
        let mut args = args.map(|arg| arg.to_string_lossy().into_owned()).enumerate().peekable();
        while let Some((position, arg)) = args.next() {
            if arg == "--help" || arg == "-h" {
                self.help = true;
            } else if let Some((name, value)) = arg.split_once('=').filter(|_| is_flag(&arg)) {
                self.flags.push(Flag { name: name.to_owned(), value: Some(value.to_owned()) });
            } else if is_flag(&arg) {
                let value = args.next_if(|(_, next)| !is_flag(next)).map(|(_, value)| value);
                self.flags.push(Flag { name: arg, value });
            } else {
                self.stray.push(position + 1);
            }
        }
    }

    pub(super) fn program(&self) -> &str {
        &self.program
    }

    pub(super) fn help_wanted(&self) -> bool {
        self.help
    }

    pub(super) fn find(&self, name: &str, flag: &str) -> Found {
        let mut given = self.flags.iter().filter(|given| given.name == flag);
        match (given.next(), given.next()) {
            (Some(_), Some(_)) => return Found::Mistaken(format!("{flag} is given twice")),
            (Some(Flag { value: None, .. }), None) => {
                return Found::Mistaken(format!("{flag} stands without a value"));
            }
            (Some(Flag { value: Some(value), .. }), None) => return present(value.clone()),
            (None, _) => {}
        }
        match self.environment.get(name).map(|value| value.clone().into_string()) {
            None => Found::Missing,
            Some(Ok(value)) => present(value),
            Some(Err(_)) => Found::Mistaken("is not UTF-8".to_owned()),
        }
    }

    /// Mistakes on the command line that belong to no setting. A stray argument is named by its place
    /// only: it may be a secret that lost its flag.
    pub(super) fn leftovers(&self, known: &HashSet<String>) -> Vec<Mistake> {
        let stray = self.stray.iter().map(|position| {
            let wrong = "stands alone, without a flag before it".to_owned();
            Mistake::new(&format!("argument {position}"), wrong, Some("--flag value"))
        });
        let unknown = self.flags.iter().filter(|flag| !known.contains(&flag.name)).map(|flag| {
            let wrong = match suggest::closest(&flag.name, known) {
                Some(close) => format!("unknown flag; did you mean {close}?"),
                None => "unknown flag; --help lists the known ones".to_owned(),
            };
            Mistake::new(&flag.name, wrong, None)
        });
        stray.chain(unknown).collect()
    }
}

fn is_flag(arg: &str) -> bool {
    arg.starts_with("--")
}

fn present(value: String) -> Found {
    if value.trim().is_empty() { Found::Missing } else { Found::Text(value) }
}
