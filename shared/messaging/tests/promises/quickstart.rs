//! The example of the README, as a process of its own.

use std::path::PathBuf;
use std::process::Command;

use sqlx::{AssertSqlSafe, Connection, PgConnection};
use testkit::{Servers, Vhost};

#[tokio::test(flavor = "multi_thread")]
async fn the_quickstart_makes_what_it_needs_and_greets_as_often_as_it_is_run() {
    let servers = Servers::shared().await;
    let vhost = Vhost::new().await;
    let name = format!("quickstart_{}", envelope::Clock::system().new_id().simple());
    let mut admin = PgConnection::connect(&servers.postgres_url("postgres")).await.unwrap();
    run(&mut admin, format!("create database {name}")).await;

    for round in 0..2 {
        let mut command = Command::new(example("quickstart"));
        command.env("DATABASE_URL", servers.postgres_url(&name));
        command.env("AMQP_URL", vhost.amqp_url());
        let ended = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let said = String::from_utf8_lossy(&ended.stdout);
        assert!(ended.status.success(), "{said}{}", String::from_utf8_lossy(&ended.stderr));
        assert_eq!(said.contains("made queue greeter.in"), round == 0, "{said}");
        assert!(said.contains("hello, "), "{said}");
        assert!(said.trim_end().ends_with("done"), "{said}");
    }
    assert_eq!(vhost.depth("greeter.in").await, Some(0));
    assert_eq!(vhost.depth("greeter.dlq").await, Some(0));
    run(&mut admin, format!("drop database {name} with (force)")).await;
}

#[test]
fn the_readme_shows_the_quickstart_as_it_is() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (readme, example) = (read("README.md"), read("examples/quickstart.rs"));
    let (_, code) = example.split_once("use envelope").unwrap();
    assert!(readme.contains(&format!("use envelope{code}")), "README and example differ");
    assert!(example.lines().count() < 60, "{} lines", example.lines().count());
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
