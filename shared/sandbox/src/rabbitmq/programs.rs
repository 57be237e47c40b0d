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
/// [`ServerError::NotInstalled`] or [`ServerError::TooOld`], with the command that installs it.
pub fn find_scripts() -> Result<PathBuf, ServerError> {
    let mut found: Vec<((u32, u32), PathBuf)> = candidates()
        .into_iter()
        .filter(|folder| folder.join("rabbitmq-server").is_file())
        .map(|folder| (version_of(&folder).unwrap_or_default(), folder))
        .collect();
    found.sort();
    match found.pop() {
        None => Err(ServerError::NotInstalled {
            what: WHAT,
            needed: NEEDED_TEXT,
            fix: "newer packages: https://www.rabbitmq.com/docs/download".into(),
        }),
        Some((version, _)) if version < NEEDED => Err(ServerError::TooOld {
            what: WHAT,
            found: format!("{}.{}", version.0, version.1),
            needed: NEEDED_TEXT,
            fix: install_fix("rabbitmq-server", "rabbitmq"),
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
}
