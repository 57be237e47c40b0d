//! Where the programs of Postgres are, and of which version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{ServerError, install_fix};
use crate::process;

/// The oldest major version that will do.
pub const NEEDED: u32 = 15;
const NEEDED_TEXT: &str = "15";

/// The folder with `postgres` and `initdb` of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The folder.
    pub bin: PathBuf,
    /// The major version.
    pub major: u32,
}

impl Programs {
    pub(super) fn postgres(&self) -> PathBuf {
        self.bin.join("postgres")
    }

    pub(super) fn initdb(&self) -> PathBuf {
        self.bin.join("initdb")
    }
}

/// The newest Postgres server of this machine, 15 or later.
///
/// # Errors
/// [`ServerError::NotInstalled`] with the command that installs it, or [`ServerError::TooOld`] with the
/// place of newer packages.
pub fn find_programs() -> Result<Programs, ServerError> {
    find_programs_in(candidates())
}

/// As [`find_programs`], in these folders only.
///
/// # Errors
/// As [`find_programs`].
pub fn find_programs_in(
    folders: impl IntoIterator<Item = PathBuf>,
) -> Result<Programs, ServerError> {
    let newest = installed(folders).into_iter().max_by_key(|programs| programs.major);
    match newest {
        None => Err(ServerError::NotInstalled {
            what: super::WHAT,
            needed: NEEDED_TEXT,
            fix: install_fix("postgresql", "postgresql@17"),
        }),
        Some(found) if found.major < NEEDED => Err(ServerError::TooOld {
            what: super::WHAT,
            found: found.major.to_string(),
            needed: NEEDED_TEXT,
            fix: "fix: install newer packages, https://www.postgresql.org/download".into(),
        }),
        Some(found) => Ok(found),
    }
}

/// The programs that fit the data in a folder: of the same major version, or the newest for none.
pub(super) fn for_data(data: &Path) -> Result<Programs, ServerError> {
    let newest = find_programs()?;
    let Ok(version) = fs::read_to_string(data.join("PG_VERSION")) else { return Ok(newest) };
    let version = version.trim();
    let all = installed(candidates());
    let fitting = all.iter().find(|programs| programs.major.to_string() == version).cloned();
    fitting.ok_or_else(|| ServerError::OtherVersion {
        folder: data.to_owned(),
        found: version.to_owned(),
        installed: all.iter().map(|p| p.major.to_string()).collect::<Vec<_>>().join(", "),
    })
}

/// The path, Debian, Red Hat, Homebrew on both kinds of Mac, built from source.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&process::search_path()).collect();
    folders.extend(below("/usr/lib/postgresql", "", "bin"));
    folders.extend(below("/usr", "pgsql-", "bin"));
    folders.extend(below("/opt/homebrew/opt", "postgresql", "bin"));
    folders.extend(below("/usr/local/opt", "postgresql", "bin"));
    folders.push("/usr/local/pgsql/bin".into());
    folders
}

fn installed(folders: impl IntoIterator<Item = PathBuf>) -> Vec<Programs> {
    let mut folders: Vec<PathBuf> = folders.into_iter().collect();
    folders.retain(|bin| bin.join("postgres").is_file() && bin.join("initdb").is_file());
    folders.sort();
    folders.dedup();
    folders.into_iter().filter_map(|bin| Some(Programs { major: major_of(&bin)?, bin })).collect()
}

/// `parent/*/last` for all folders of `parent` whose name starts with `prefix`.
fn below(parent: &str, prefix: &str, last: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)))
        .map(|entry| entry.path().join(last))
        .collect()
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` -> 15.
fn major_of(bin: &Path) -> Option<u32> {
    let output = Command::new(bin.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version =
        text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn nothing_found_is_answered_with_the_command_that_installs_it() {
        let error = find_programs_in([]).unwrap_err();
        assert!(matches!(error, ServerError::NotInstalled { .. }), "{error}");
        let fix = install_fix("postgresql", "postgresql@17");
        assert_eq!(error.to_string(), format!("Postgres 15 or later is not installed; {fix}"));
    }

    #[test]
    fn an_old_version_is_answered_with_the_place_of_newer_packages() {
        let bin = std::env::temp_dir().join(format!("tidings-postgres-{}", std::process::id()));
        fs::create_dir_all(&bin).unwrap();
        for name in ["postgres", "initdb"] {
            let program = bin.join(name);
            fs::write(&program, "#!/bin/sh\necho 'postgres (PostgreSQL) 9.6.24'\n").unwrap();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let error = find_programs_in([bin.clone()]).unwrap_err();
        fs::remove_dir_all(bin).unwrap();
        assert_eq!(
            error.to_string(),
            "Postgres 9 is too old, 15 or later is needed; fix: install newer packages, \
             https://www.postgresql.org/download"
        );
    }
}
