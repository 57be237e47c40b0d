//! The checks, one by one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::postgres::{self, Programs};
use sandbox::{ServerError, ports as sockets, rabbitmq};

use super::{Check, Status};
use crate::ports::Ports;
use crate::up::Folder;

/// RabbitMQ, Postgres and eight processes of ours use about half of it.
const MEMORY_MIB: u64 = 1024;
/// RabbitMQ blocks its publishers below 50 MB.
const DISK_MIB: u64 = 1024;

fn ok(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, status: Status::Ok, detail: detail.into(), fix: None }
}

fn not_ok(name: &'static str, status: Status, detail: String, fix: impl Into<String>) -> Check {
    Check { name, status, detail, fix: Some(fix.into()) }
}

/// The programs of Postgres and RabbitMQ.
pub(super) fn packages() -> Vec<Check> {
    servers(postgres::find_programs(), rabbitmq::find_scripts())
}

/// The checks of what was found of each server.
pub(super) fn servers(
    postgres: Result<Programs, ServerError>,
    rabbitmq: Result<PathBuf, ServerError>,
) -> Vec<Check> {
    let postgres = postgres
        .map(|found| format!("{} in {}", found.major, found.bin.display()))
        .map_or_else(|error| missing("Postgres", &error), |detail| ok("Postgres", detail));
    let rabbitmq = rabbitmq
        .map(|folder| format!("in {}", folder.display()))
        .map_or_else(|error| missing("RabbitMQ", &error), |detail| ok("RabbitMQ", detail));
    vec![postgres, rabbitmq]
}

fn missing(name: &'static str, error: &ServerError) -> Check {
    let text = error.to_string();
    let (detail, fix) = text.split_once("; fix: ").unwrap_or((&text, "install it"));
    not_ok(name, Status::Failed, detail.to_owned(), fix)
}

/// Whether all ports are free.
pub(super) fn ports(ports: &Ports, folder: &Folder) -> Check {
    const NAME: &str = "Ports";
    if let Some(pid) = folder.runs() {
        return ok(NAME, format!("in use by the running shop up (pid {pid})"));
    }
    if let Some((port, one, other)) = ports.shared() {
        let detail = format!("{one} and {other} are both {port}");
        return not_ok(NAME, Status::Failed, detail, format!("give {other} another port"));
    }
    let taken: Vec<(&str, u16)> =
        ports.all().into_iter().filter(|(_, port)| !sockets::is_free(*port)).collect();
    if taken.is_empty() {
        return ok(NAME, format!("all {} are free", ports.all().len()));
    }
    let detail: Vec<String> = taken.iter().map(|(_, port)| sockets::taken_message(*port)).collect();
    let variables: Vec<&str> = taken.iter().map(|(variable, _)| *variable).collect();
    let fix = format!("end that process, or set {}", variables.join(", "));
    not_ok(NAME, Status::Failed, detail.join("\n"), fix)
}

/// Whether the folder of the data can be used by us and by the servers' accounts, and has room.
pub(super) fn data_folder(folder: &Folder) -> Vec<Check> {
    const NAME: &str = "Data";
    let shown = folder.path().display();
    if !folder.is_usable() {
        let detail = format!("{shown} holds something else");
        return vec![not_ok(NAME, Status::Failed, detail, "choose another folder with --data")];
    }
    let existing = folder.path().ancestors().find(|parent| parent.exists());
    let existing = existing.unwrap_or_else(|| Path::new("/"));
    if let Err(error) = write_in(existing) {
        let detail = format!("{} cannot be written: {error}", existing.display());
        return vec![not_ok(NAME, Status::Failed, detail, "choose another folder with --data")];
    }
    let servers = folder.servers();
    let place = match servers.reason {
        None => ok(NAME, format!("in {shown}")),
        Some(reason) => not_ok(
            NAME,
            Status::Warning,
            format!("of Postgres and RabbitMQ goes to {}, as {reason}", servers.path.display()),
            "nothing to do, unless you want it here: choose an open folder with --data",
        ),
    };
    std::iter::once(place).chain(disk(existing)).collect()
}

fn write_in(folder: &Path) -> std::io::Result<()> {
    let probe = folder.join(format!(".tidings-doctor-{}", std::process::id()));
    File::create(&probe)?;
    fs::remove_file(&probe)
}

fn disk(folder: &Path) -> Option<Check> {
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let free = text.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()? / 1024;
    Some(room("Disk", free, DISK_MIB, "make room, or choose another folder with --data"))
}

/// Whether there is enough memory; nothing where the system does not tell.
pub(super) fn memory() -> Option<Check> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let free = line.split_whitespace().next()?.parse::<u64>().ok()? / 1024;
    Some(room("Memory", free, MEMORY_MIB, "end something that uses much of it"))
}

fn room(name: &'static str, free: u64, wanted: u64, fix: &str) -> Check {
    if free >= wanted {
        return ok(name, format!("{free} MiB free"));
    }
    not_ok(name, Status::Warning, format!("{free} MiB free, {wanted} MiB are better"), fix)
}
