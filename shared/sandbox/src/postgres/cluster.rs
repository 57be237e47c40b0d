//! The folder of a cluster: making it, and what an earlier start may have left running in it.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{PROCESS, PostgresOptions, STOP_WITHIN, WHAT, clean_command};
use crate::account::Account;
use crate::error::{Doing as _, ServerError, tail};
use crate::process::{self, Server};

/// How long backends may take to notice that their postmaster is gone.
const ORPHANS_WITHIN: Duration = Duration::from_secs(10);

/// Makes the cluster beside its place and moves it there when it is whole, so that an interrupted
/// `initdb` leaves nothing that looks like a cluster.
pub(super) fn create(
    initdb: &Path,
    options: &PostgresOptions,
    account: Option<&Account>,
) -> Result<(), ServerError> {
    let unfinished = options.dir.join("data.unfinished");
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished).doing("remove", &unfinished)?;
    }
    let secret = options.dir.join("initdb.password");
    write_secret(&secret, &options.superuser.1, account).doing("write", &secret)?;
    let log = options.dir.join("initdb.log");
    let out = fs::File::create(&log).doing("create", &log)?;
    let err = out.try_clone().doing("create", &log)?;
    let mut command = clean_command(initdb, &options.dir, account);
    command
        .arg("-D")
        .arg(&unfinished)
        .args(["-U", &options.superuser.0])
        .arg("--pwfile")
        .arg(&secret);
    command.arg(if options.cheap_logins { "--auth=md5" } else { "--auth=scram-sha-256" });
    command.args(["--encoding=UTF8", "--no-instructions"]);
    // Byte order for every comparison, the same on all machines; macOS has no C.UTF-8.
    command.arg(if cfg!(target_os = "macos") { "--locale=C" } else { "--locale=C.UTF-8" });
    if !options.fsync {
        command.arg("--no-sync");
    }
    let status = command.stdin(Stdio::null()).stdout(out).stderr(err).status();
    let _ = fs::remove_file(&secret);
    if !status.doing("start", initdb)?.success() {
        return Err(ServerError::Ended { what: "initdb", tail: tail(&log, 8), log });
    }
    let data = options.dir.join("data");
    if data.exists() {
        // Only an empty or foreign folder comes here; removing more than an empty one is not ours.
        fs::remove_dir(&data).doing("replace", &data)?;
    }
    fs::rename(&unfinished, &data).doing("move the new cluster to", &data)
}

fn write_secret(path: &Path, secret: &str, account: Option<&Account>) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, secret.as_bytes())?;
    account.map_or(Ok(()), |account| account.own(path))
}

/// A server that still runs in the folder: taken over when it was started with the wanted arguments,
/// otherwise stopped. None when none runs.
pub(super) async fn take_over(
    data: &Path,
    wanted: &[String],
) -> Result<Option<Server>, ServerError> {
    let Some(pid) = running_postmaster(data)? else { return Ok(None) };
    let mut server = Server::found(pid);
    // Postgres keeps its command line there, each argument in double quotes.
    let started_with = fs::read_to_string(data.join("postmaster.opts")).unwrap_or_default();
    let same: String = wanted.iter().map(|argument| format!(" \"{argument}\"")).collect();
    if started_with.trim_end().ends_with(&same) {
        return Ok(Some(server));
    }
    process::interrupt(pid).doing("stop the Postgres that runs in", data)?;
    if server.wait_gone(STOP_WITHIN).await {
        return Ok(None);
    }
    Err(ServerError::NotStopped { what: WHAT, pid, after: STOP_WITHIN })
}

/// The process in `postmaster.pid`, if it is alive and really this cluster's. After a crash and a
/// restart of the machine the number may belong to anyone, and Postgres would refuse to start: then
/// the file is removed.
fn running_postmaster(data: &Path) -> Result<Option<u32>, ServerError> {
    let file = data.join("postmaster.pid");
    let Ok(text) = fs::read_to_string(&file) else { return Ok(None) };
    let Some(pid) = text.lines().next().and_then(|line| line.trim().parse().ok()) else {
        return Ok(None);
    };
    if !process::is_alive(pid) {
        // Postgres itself checks for leftover backends by this file, so it stays.
        return Ok(None);
    }
    let here = process::working_in(data, PROCESS);
    // Where there is no /proc to ask, a living process is taken for the server.
    if here.contains(&pid) || process::name_of(pid).is_none() {
        return Ok(Some(pid));
    }
    if here.is_empty() {
        fs::remove_file(&file).doing("remove the stale", &file)?;
    }
    Ok(None)
}

/// Waits until the backends of a killed postmaster are gone: a new one refuses to start before.
pub(super) async fn wait_for_orphans(data: &Path) -> Result<(), ServerError> {
    let deadline = Instant::now() + ORPHANS_WITHIN;
    while let Some(pid) = process::working_in(data, PROCESS).first().copied() {
        if Instant::now() >= deadline {
            return Err(ServerError::NotStopped { what: WHAT, pid, after: ORPHANS_WITHIN });
        }
        tokio::time::sleep(super::LOOK).await;
    }
    Ok(())
}
