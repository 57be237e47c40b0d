//! The private servers start, crash, start again and leave nothing running.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;

use sandbox::ports::{free_port, is_free};
use sandbox::postgres::{Postgres, PostgresOptions};
use sandbox::process;
use sandbox::rabbitmq::{RabbitMq, RabbitOptions, RabbitPorts};
use sandbox::{ServerError, data_root};
use sqlx::{Connection as _, PgConnection};

/// A folder of its own, removed at the end of the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("tidings-sandbox-{}", uuid::Uuid::new_v4().simple());
        Self(data_root(&std::env::temp_dir().join(name)).path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn notes(postgres: &Postgres) -> Vec<String> {
    let mut connection = PgConnection::connect(&postgres.url("postgres")).await.unwrap();
    sqlx::query("create table if not exists note (text text)")
        .execute(&mut connection)
        .await
        .unwrap();
    let notes =
        sqlx::query_scalar("select text from note").fetch_all(&mut connection).await.unwrap();
    sqlx::query("insert into note values ('kept')").execute(&mut connection).await.unwrap();
    notes
}

#[tokio::test]
async fn postgres_keeps_its_data_over_a_stop_and_over_a_crash() {
    let folder = Folder::new();
    let mut postgres =
        Postgres::start(PostgresOptions::new(&folder.0, free_port().unwrap())).await.unwrap();
    assert!(notes(&postgres).await.is_empty());
    postgres.stop().await.unwrap();
    assert!(!postgres.is_running());
    postgres.restart().await.unwrap();
    assert_eq!(notes(&postgres).await, ["kept"]);
    postgres.kill().unwrap();
    assert!(is_free(postgres.port()));
    postgres.restart().await.unwrap();
    assert_eq!(notes(&postgres).await, ["kept", "kept"]);
    postgres.stop().await.unwrap();
}

#[tokio::test]
async fn a_postgres_that_still_runs_is_taken_over_and_one_with_other_settings_replaced() {
    let folder = Folder::new();
    let options = PostgresOptions::for_tests(&folder.0, free_port().unwrap());
    let first = Postgres::start(options.clone()).await.unwrap();
    let second = Postgres::start(options.clone()).await.unwrap();
    assert_eq!(first.pid(), second.pid());
    let moved = PostgresOptions { port: free_port().unwrap(), ..options };
    let mut third = Postgres::start(moved).await.unwrap();
    assert_ne!(first.pid(), third.pid());
    assert!(!process::is_alive(first.pid()));
    third.stop().await.unwrap();
}

#[tokio::test]
async fn a_postmaster_pid_that_now_belongs_to_another_process_does_not_stop_a_start() {
    let folder = Folder::new();
    let options = PostgresOptions::for_tests(&folder.0, free_port().unwrap());
    let mut postgres = Postgres::start(options.clone()).await.unwrap();
    let file = folder.0.join("data/postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap();
    postgres.kill().unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&file, format!("{}\n{rest}", std::process::id())).unwrap();
    Postgres::start(options).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_taken_port_is_reported_with_its_holder() {
    let folder = Folder::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let error = Postgres::start(PostgresOptions::for_tests(&folder.0, port)).await.unwrap_err();
    assert!(matches!(error, ServerError::PortTaken { .. }), "{error}");
    let expected = format!("Postgres cannot start: port {port} is held by ");
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(error.to_string().contains(&format!("(pid {})", std::process::id())), "{error}");
}

#[tokio::test]
async fn rabbitmq_survives_a_crash_and_its_stop_leaves_nothing_running() {
    let folder = Folder::new();
    let ports = RabbitPorts::free().unwrap();
    let options = RabbitOptions::for_tests(&folder.0, ports);
    let mut rabbit = RabbitMq::start(options.clone()).await.unwrap();
    assert_eq!(process::name_of(rabbit.pid()).unwrap(), "beam.smp");
    assert!(confirms(&rabbit).await);
    rabbit.kill().unwrap();
    assert!(!process::is_alive(rabbit.pid()));
    assert!(is_free(ports.amqp));
    rabbit.restart().await.unwrap();
    // Not that the message is still there: a kill right after a declaration can lose the queue.
    assert!(confirms(&rabbit).await);

    let mut again = RabbitMq::start(options).await.unwrap();
    assert_eq!(again.pid(), rabbit.pid());
    let epmd = again.epmd_pid();
    drop(rabbit);
    again.stop().await.unwrap();
    assert!(!process::is_alive(again.pid()) && !process::is_alive(epmd));
    let RabbitPorts { amqp, management, prometheus, dist, epmd } = ports;
    assert!([amqp, management, prometheus, dist, epmd].into_iter().all(is_free));
}

/// Puts a durable message into a durable queue; whether the node has taken it over.
async fn confirms(rabbit: &RabbitMq) -> bool {
    use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
    use lapin::{BasicProperties, Connection, ConnectionProperties};

    let connection =
        Connection::connect(&rabbit.url("shop"), ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare("kept".into(), durable, Default::default()).await.unwrap();
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default().with_delivery_mode(2);
    let sent = channel.basic_publish("".into(), "kept".into(), options, b"x", properties).await;
    let taken = sent.unwrap().await.unwrap().is_ack();
    connection.close(200, "done".into()).await.unwrap();
    taken
}
