//! Where the programs of RabbitMQ and Erlang are, and of which version.

use std::fs;
use std::path::{Path, PathBuf};

use super::WHAT;
use crate::error::{ServerError, install_fix};
use crate::process;

/// The oldest version that will do, major and minor.
pub const NEEDED: (u32, u32) = (3, 10);
const NEEDED_TEXT: &str = "3.10";

/// The folder with the start script of the newest RabbitMQ of this machine, 3.10 or later.
///
/// # Errors
/// [`ServerError::NotInstalled`] with the command that installs it, or [`ServerError::TooOld`] with the
/// place of newer packages.
pub fn find_scripts() -> Result<PathBuf, ServerError> {
    find_scripts_in(candidates())
}

/// As [`find_scripts`], in these folders only.
///
/// # Errors
/// As [`find_scripts`].
pub fn find_scripts_in(folders: impl IntoIterator<Item = PathBuf>) -> Result<PathBuf, ServerError> {
    let mut found: Vec<((u32, u32), PathBuf)> = folders
        .into_iter()
        .filter(|folder| folder.join("rabbitmq-server").is_file())
        .map(|folder| (version_of(&folder).unwrap_or_default(), folder))
        .collect();
    found.sort();
    match found.pop() {
        None => Err(ServerError::NotInstalled {
            what: WHAT,
            needed: NEEDED_TEXT,
            fix: install_fix("rabbitmq-server", "rabbitmq"),
        }),
        Some((version, _)) if version < NEEDED => Err(ServerError::TooOld {
            what: WHAT,
            found: format!("{}.{}", version.0, version.1),
            needed: NEEDED_TEXT,
            fix: "fix: install newer packages, https://www.rabbitmq.com/docs/download".into(),
        }),
        Some((_, folder)) => Ok(folder),
    }
}

/// The Erlang port mapper: on the path, or in Erlang's own folder.
pub(super) fn find_epmd() -> Result<PathBuf, ServerError> {
    let mut folders: Vec<PathBuf> = std::env::split_paths(&process::search_path()).collect();
    for erlang in ["/usr/lib/erlang", "/usr/local/lib/erlang", "/opt/homebrew/lib/erlang"] {
        folders.extend(subfolders(Path::new(erlang), "erts-").map(|folder| folder.join("bin")));
    }
    folders.into_iter().map(|folder| folder.join("epmd")).find(|path| path.is_file()).ok_or_else(
        || ServerError::NotInstalled {
            what: "Erlang's epmd",
            needed: "24",
            fix: install_fix("erlang-base", "erlang"),
        },
    )
}

/// Debian and Red Hat, the official image and the generic archive, Homebrew on both kinds of Mac.
fn candidates() -> Vec<PathBuf> {
    let mut all = Vec::new();
    for parent in ["/usr/lib/rabbitmq/lib", "/usr/local/lib/rabbitmq/lib", "/opt"] {
        all.extend(subfolders(Path::new(parent), "rabbitmq").map(|folder| folder.join("sbin")));
    }
    all.push("/opt/homebrew/opt/rabbitmq/sbin".into());
    all.push("/usr/local/opt/rabbitmq/sbin".into());
    all
}

fn subfolders(parent: &Path, prefix: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let prefix = prefix.to_owned();
    entries
        .filter(move |entry| entry.file_name().to_str().is_some_and(|n| n.starts_with(&prefix)))
        .map(|entry| entry.path())
}

/// The name of the folder tells the version on Debian (`rabbitmq_server-3.10.8`) and, links resolved,
/// with Homebrew (`Cellar/rabbitmq/4.1.2`); the plugin `rabbit-VERSION` tells it everywhere.
fn version_of(scripts: &Path) -> Option<(u32, u32)> {
    let home = scripts.canonicalize().ok()?;
    let home = home.parent()?;
    let plugin = subfolders(&home.join("plugins"), "rabbit-").find_map(|path| {
        let name = path.file_name()?.to_str()?.strip_prefix("rabbit-")?.to_owned();
        parse(&name)
    });
    plugin.or_else(|| {
        let name = home.file_name()?.to_str()?;
        parse(name.rsplit('-').next()?)
    })
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn versions_compare_by_number_not_by_letter() {
        assert!(parse("3.9.1").unwrap() < NEEDED);
        assert!(parse("3.10.8").unwrap() >= NEEDED);
        assert!(parse("4.0.0-rc.1").unwrap() > NEEDED);
        assert_eq!(parse("server"), None);
    }

    #[test]
    fn nothing_found_is_answered_with_the_command_that_installs_it() {
        let error = find_scripts_in([]).unwrap_err();
        assert!(matches!(error, ServerError::NotInstalled { .. }), "{error}");
        let fix = install_fix("rabbitmq-server", "rabbitmq");
        assert_eq!(error.to_string(), format!("RabbitMQ 3.10 or later is not installed; {fix}"));
    }

    #[test]
    fn an_old_version_is_answered_with_the_place_of_newer_packages() {
        let root = std::env::temp_dir().join(format!("tidings-rabbitmq-{}", std::process::id()));
        let scripts = root.join("rabbitmq_server-3.8.2/sbin");
        fs::create_dir_all(&scripts).unwrap();
        fs::write(scripts.join("rabbitmq-server"), "").unwrap();
        let error = find_scripts_in([scripts]).unwrap_err();
        fs::remove_dir_all(root).unwrap();
        assert_eq!(
            error.to_string(),
            "RabbitMQ 3.8 is too old, 3.10 or later is needed; fix: install newer packages, \
             https://www.rabbitmq.com/docs/download"
        );
    }
}
