//! The example of the README, as a process of its own.

use std::path::PathBuf;
use std::process::Command;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::Servers;

#[tokio::test(flavor = "multi_thread")]
async fn the_example_greets_every_guest_once_in_every_world() {
    let servers = Servers::shared().await;
    let name = format!("simulate_{}", envelope::Clock::system().new_id().simple());
    let mut admin = PgConnection::connect(&servers.postgres_url("postgres")).await.unwrap();
    run(&mut admin, format!("create database {name}")).await;
    let mut command = Command::new(example("simulate"));
    command.env("DATABASE_URL", servers.postgres_url(&name));
    let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout);
    assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    assert!(said.starts_with("100 worlds, ") && said.contains("died at C12"), "{said}");
    run(&mut admin, format!("drop database {name} with (force)")).await;
}

#[test]
fn the_example_is_short() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/simulate.rs");
    let lines = std::fs::read_to_string(path).unwrap().lines().count();
    assert!(lines < 80, "{lines} lines");
}

/// Cargo builds examples before it runs tests, next to the folder of the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().unwrap().parent().unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

async fn run(admin: &mut PgConnection, sql: String) {
    sqlx::query(AssertSqlSafe(sql)).execute(admin).await.unwrap();
}
