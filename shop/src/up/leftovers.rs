//! What a `shop up` that was killed has left running: found by its files, and ended.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sandbox::process;

use super::folder::Folder;
use super::pids::Pids;
use super::programs::NAMES;

const END_WITHIN: Duration = Duration::from_secs(60);

type Signal = fn(u32) -> io::Result<()>;

/// The server processes that run in the folder: Postgres, RabbitMQ's node and its port mapper.
pub(super) fn servers(root: &Path) -> Vec<u32> {
    [postgres(root), node(root), port_mapper(root)].into_iter().flatten().collect()
}

/// RabbitMQ's node that runs in the folder.
pub(super) fn node(root: &Path) -> Option<u32> {
    running(root, "rabbitmq/node.pid")
}

fn port_mapper(root: &Path) -> Option<u32> {
    running(root, "rabbitmq/epmd.pid")
}

fn postgres(root: &Path) -> Option<u32> {
    running(root, "postgres/data/postmaster.pid")
}

/// The process in a server's own pid file. The number may belong to anyone by now, so only one that
/// works inside the folder counts, where the system tells.
fn running(root: &Path, file: &str) -> Option<u32> {
    let text = fs::read_to_string(root.join(file)).ok()?;
    let pid: u32 = text.lines().next()?.trim().parse().ok()?;
    let root = root.canonicalize().ok()?;
    let works_there = match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(folder) => folder.starts_with(root),
        Err(_) => !Path::new("/proc/self").exists(),
    };
    (works_there && process::is_alive(pid)).then_some(pid)
}

/// Ends the services, gateway and sinks of an earlier start; gives their names. The servers may
/// stay: the next start takes them over.
pub(super) async fn end_programs(folder: &Folder) -> anyhow::Result<Vec<&'static str>> {
    let pids = Pids::of(&folder.part("run"));
    // All at once: each may take its time.
    let ends = NAMES.map(|name| {
        let pids = pids.clone();
        async move { pids.end(name).await.map(|ended| ended.then_some(name)) }
    });
    let ended = futures_util::future::join_all(ends).await;
    ended.into_iter().filter_map(Result::transpose).collect()
}

/// Ends the servers that run in the folder, in order.
pub(super) async fn end_servers(root: &Path) -> anyhow::Result<()> {
    // SIGINT is Postgres' fast shutdown; the port mapper ignores everything but SIGKILL.
    let order: [(Option<u32>, Signal); 3] = [
        (node(root), process::terminate),
        (port_mapper(root), process::kill),
        (postgres(root), process::interrupt),
    ];
    for (pid, signal) in order {
        let Some(pid) = pid else { continue };
        signal(pid).with_context(|| format!("cannot end the leftover process {pid}"))?;
        let ended = process::wait_gone(pid, END_WITHIN).await;
        ensure!(ended, "the leftover process {pid} does not end");
    }
    Ok(())
}

/// Ends all that an earlier start has left running.
///
/// # Errors
/// When something does not end.
pub(crate) async fn end_all(folder: &Folder) -> anyhow::Result<()> {
    end_programs(folder).await?;
    end_servers(&folder.servers().path).await
}
