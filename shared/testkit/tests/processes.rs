//! Many test processes at once, and what happens to the servers when there are none.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use sandbox::{data_root, process};
use testkit::{Database, Servers, Vhost, eventually};

const SOON: Duration = Duration::from_secs(60);

/// Processes that use the servers say so every quarter of it: a stalled machine needs room.
const IDLE_SECONDS: &str = "10";

/// A folder of shared servers that only these processes use, under a short idle time. Whatever still
/// runs there ends with it.
struct Home(PathBuf);

impl Home {
    fn new() -> Self {
        let name = format!("tidings-processes-{}", uuid::Uuid::new_v4().simple());
        Self(data_root(&std::env::temp_dir().join(name)).path)
    }

    /// This test binary again, as another process that is told to run one test.
    fn test_process(&self, test: &str) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", test, "--ignored", "--nocapture"]);
        command.env("TESTKIT_FOLDER", &self.0).env("TESTKIT_IDLE_SECONDS", IDLE_SECONDS);
        for name in ["TESTKIT_POSTGRES_URL", "TESTKIT_AMQP_URL", "TESTKIT_MANAGEMENT_URL"] {
            command.env_remove(name);
        }
        command.stdout(Stdio::piped());
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for pair in std::fs::read_dir(&self.0).into_iter().flatten().flatten() {
            for file in ["postgres/data/postmaster.pid", "rabbitmq/node.pid", "rabbitmq/epmd.pid"] {
                let text = std::fs::read_to_string(pair.path().join(file)).unwrap_or_default();
                if let Some(Ok(pid)) = text.lines().next().map(str::parse) {
                    let _ = process::kill(pid);
                }
            }
        }
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Not a test of its own: one of many processes that do what tests do.
#[tokio::test]
#[ignore = "a process that other tests start"]
async fn uses_the_shared_servers() {
    let (database, _vhost) = tokio::join!(Database::new("messaging"), Vhost::new());
    let sql = "select pid from pg_stat_activity where backend_type = 'checkpointer'";
    let checkpointer: i32 = sqlx::query_scalar(sql).fetch_one(&database.pool()).await.unwrap();
    println!("SERVER {checkpointer} {:?}", Servers::shared().await.env());
}

fn server_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text.lines().find_map(|line| Some(line.split_once("SERVER ")?.1.to_owned())).unwrap()
}

#[tokio::test]
async fn many_processes_share_one_pair_that_ends_after_the_last_one() {
    let home = Home::new();
    let children: Vec<_> =
        (0..8).map(|_| home.test_process("uses_the_shared_servers").spawn().unwrap()).collect();
    let outputs: Vec<_> = children.into_iter().map(|c| c.wait_with_output().unwrap()).collect();
    let mut servers: Vec<_> = outputs.iter().map(server_line).collect();
    servers.dedup();
    assert_eq!(servers.len(), 1, "more than one pair was started: {servers:?}");

    let checkpointer = servers[0].split(' ').next().unwrap().parse().unwrap();
    eventually(SOON, || async { !process::is_alive(checkpointer) }).await;
    eventually(SOON, || async {
        let left: Vec<_> = std::fs::read_dir(&home.0).unwrap().map(|e| e.unwrap().path()).collect();
        if left.iter().any(|path| path.is_dir()) { Err(format!("{left:?}")) } else { Ok(()) }
    })
    .await;

    let output = home.test_process("uses_the_shared_servers").output().unwrap();
    assert_ne!(server_line(&output), servers[0], "a new pair for whoever comes after the end");
}

fn testkit(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testkit"));
    command.args(arguments).stdin(Stdio::null());
    command
}

#[tokio::test]
async fn a_command_gets_its_own_servers_and_they_end_with_it() {
    let script = "echo $TESTKIT_POSTGRES_URL $TESTKIT_AMQP_URL $TESTKIT_MANAGEMENT_URL; exit 7";
    let output = testkit(&["run", "--", "sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let ports: Vec<u16> = text.split_whitespace().map(port_of).collect();
    assert_eq!(ports.len(), 3, "{text}");
    assert!(ports.iter().all(|port| sandbox::ports::is_free(*port)), "{text}");
}

fn port_of(url: &str) -> u16 {
    let authority = url.rsplit('@').next().unwrap().split('/').next().unwrap();
    authority.rsplit(':').next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_terminated_run_passes_the_signal_on_and_wipes_its_servers() {
    let script = "trap 'exit 9' TERM; echo $TESTKIT_POSTGRES_URL; while :; do sleep 0.05; done";
    let mut child =
        testkit(&["run", "--", "sh", "-c", script]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    process::terminate(child.id()).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert!(sandbox::ports::is_free(port_of(line.trim())));
}

#[tokio::test]
async fn a_killed_run_leaves_no_server_behind() {
    let script = "echo $TESTKIT_POSTGRES_URL; sleep 1";
    let mut command = testkit(&["run", "--", "sh", "-c", script]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    let port = port_of(line.trim());
    assert!(!sandbox::ports::is_free(port));
    process::kill(child.id()).unwrap();
    child.wait().unwrap();
    eventually(SOON, || async { sandbox::ports::is_free(port) }).await;
}

/// The processes that work in a folder below `above`, with what each was started as.
fn workers(above: &str) -> Vec<(u32, PathBuf, String)> {
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| {
        let folder = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        folder.to_str()?.starts_with(above).then_some((pid, folder, command))
    })
    .collect()
}

/// The process that started this one.
fn parent_of(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

#[tokio::test]
async fn a_run_that_is_killed_while_its_servers_start_leaves_none_behind() {
    let mut child = testkit(&["run", "--", "true"]).stderr(Stdio::null()).spawn().unwrap();
    // RabbitMQ's own pid file comes later than this.
    let folder = eventually(SOON, || async {
        let node = workers("/").into_iter().find(|(pid, folder, _)| {
            folder.ends_with("rabbitmq") && parent_of(*pid) == Some(child.id())
        });
        node.map(|(_, folder, _)| folder).ok_or("no node starts")
    })
    .await;
    let root = folder.parent().unwrap().to_str().unwrap().to_owned();
    assert!(root.contains("tidings-test-"), "{root}");
    process::kill(child.id()).unwrap();
    child.wait().unwrap();
    eventually(SOON, || async {
        let left = workers(&root);
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[test]
fn wrong_use_is_explained_with_exit_code_2() {
    for arguments in [&[][..], &["fly"], &["run"], &["dev-databases", "x", "port"]] {
        let output = testkit(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("testkit run -- COMMAND"));
    }
}
