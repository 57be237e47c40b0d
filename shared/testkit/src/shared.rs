//! The pair of servers that the first test process starts and all others join.
//!
//! `stamp` in the home folder is touched by every process that uses them, for as long as it runs;
//! `state.json` tells where they are. A guard ends and wipes them when the stamp has been left alone.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use sandbox::data_root;
use serde::{Deserialize, Serialize};

use crate::guard;
use crate::servers::{Servers, env, start_pair};
use crate::unique;

/// How long the servers live after the last test.
const IDLE: Duration = Duration::from_secs(600);

#[derive(Serialize, Deserialize)]
struct State {
    servers: Servers,
    folder: PathBuf,
}

/// The running pair, or a new one.
pub(crate) async fn join_or_start() -> Result<Servers> {
    let home = home_folder()?;
    let idle =
        env("TESTKIT_IDLE_SECONDS").and_then(|s| s.parse().ok()).map_or(IDLE, Duration::from_secs);
    let lock = lock(&home).await?;
    keep_touching(&home, idle)?;
    let servers = match read_state(&home).await {
        Some(servers) => servers,
        None => start(&home, idle).await?,
    };
    drop(lock);
    Ok(servers)
}

fn home_folder() -> Result<PathBuf> {
    let user = sandbox::process::user_id();
    let usual = || std::env::temp_dir().join(format!("tidings-tests-{user}"));
    let home = data_root(&env("TESTKIT_FOLDER").map_or_else(usual, PathBuf::from));
    home.create().with_context(|| format!("cannot create {}", home.path.display()))?;
    Ok(home.path.canonicalize()?)
}

/// Only one process starts servers; the others wait for it.
async fn lock(home: &Path) -> Result<File> {
    let file = File::create(home.join("lock"))?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await?
        .context("lock the servers")
}

/// From now until this process ends, by a thread, as a test may block its runtime.
fn keep_touching(home: &Path, idle: Duration) -> Result<()> {
    let stamp = home.join("stamp");
    let touch = move || fs::write(&stamp, std::process::id().to_string());
    touch().context("touch the stamp of the shared servers")?;
    let pause = idle / 4;
    std::thread::Builder::new().name("testkit-stamp".into()).spawn(move || {
        loop {
            std::thread::sleep(pause);
            if touch().is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

async fn read_state(home: &Path) -> Option<Servers> {
    let text = fs::read_to_string(home.join("state.json")).ok()?;
    let state: State = serde_json::from_str(&text).ok()?;
    if state.servers.answer().await {
        return Some(state.servers);
    }
    // They died: of a restart of the machine, or someone ended them.
    let _ = fs::remove_file(home.join("state.json"));
    let _ = guard::wipe(&state.folder);
    None
}

async fn start(home: &Path, idle: Duration) -> Result<Servers> {
    let folder = home.join(unique("pair-"));
    data_root(&folder).create()?;
    // Before the servers, so that one that hangs while starting is ended, too.
    guard::wipe_when_idle(&folder, home, idle)?;
    let (postgres, rabbit) = start_pair(&folder).await?;
    let servers = Servers::of(&postgres, &rabbit);
    let state = State { servers: servers.clone(), folder };
    let unfinished = home.join("state.json.unfinished");
    fs::write(&unfinished, serde_json::to_string(&state)?)?;
    fs::rename(&unfinished, home.join("state.json"))?;
    Ok(servers)
}
