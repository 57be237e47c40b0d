//! What a test may rely on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::disallowed_methods)]

use std::time::Duration;

use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
    QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use serde_json::json;
use testkit::{Broker, Database, PrivatePostgres, QueueFigures, Servers, Vhost, eventually};

const SOON: Duration = Duration::from_secs(20);

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    (connection, channel)
}

async fn declare_quorum_queue(channel: &Channel, name: &str) {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), options, arguments).await.unwrap();
}

/// True when the broker has confirmed it as taken.
async fn publish(channel: &Channel, exchange: &str, key: &str) -> bool {
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let sent = channel.basic_publish(exchange.into(), key.into(), options, b"x", properties);
    let confirm = sent.await.unwrap().await.unwrap();
    confirm.is_ack() && confirm.take_message().is_none()
}

#[tokio::test]
async fn two_databases_have_the_same_tables_and_nothing_else_in_common() {
    let (one, other) = tokio::join!(Database::new("messaging"), Database::new("messaging"));
    sqlx::query("create table only_here (x int)").execute(&one.pool()).await.unwrap();
    let seen = "select to_regclass('only_here') is not null";
    let in_one: bool = sqlx::query_scalar(seen).fetch_one(&one.pool()).await.unwrap();
    let in_other: bool = sqlx::query_scalar(seen).fetch_one(&other.pool()).await.unwrap();
    assert!(in_one && !in_other);
}

#[tokio::test]
async fn a_services_database_has_the_kits_migrations_and_its_own() {
    let database = Database::new("order").await;
    for history in ["messaging._migrations", "_sqlx_migrations"] {
        let there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(history)
            .fetch_one(&database.pool())
            .await
            .unwrap();
        assert!(there, "{history} is missing");
    }
}

#[tokio::test]
async fn a_database_and_a_vhost_are_gone_after_the_test() {
    let (database, vhost) = tokio::join!(Database::new("messaging"), Vhost::new());
    let pool = database.pool();
    sqlx::query("select 1").execute(&pool).await.unwrap();
    let (name, url) = (database.name().to_owned(), vhost.amqp_url().to_owned());
    drop((database, vhost));
    let other = Database::new("messaging").await;
    let left: bool =
        sqlx::query_scalar("select exists(select 1 from pg_database where datname = $1)")
            .bind(name)
            .fetch_one(&other.pool())
            .await
            .unwrap();
    assert!(!left);
    assert!(Connection::connect(&url, ConnectionProperties::default()).await.is_err());
}

#[tokio::test]
async fn queues_of_two_vhosts_do_not_see_each_other() {
    let (one, other) = tokio::join!(Vhost::new(), Vhost::new());
    let (connection, channel) = channel(one.amqp_url()).await;
    declare_quorum_queue(&channel, "work").await;
    assert!(publish(&channel, "", "work").await);
    assert_eq!(one.depth("work").await, Some(1));
    assert_eq!(other.depth("work").await, None);
    assert_eq!(one.queues().await, ["work"]);
    assert!(other.queues().await.is_empty());
    connection.close(200, "done".into()).await.unwrap();
}

#[tokio::test]
async fn the_figures_of_a_queue_tell_what_waits_and_what_a_consumer_holds() {
    let vhost = Vhost::new().await;
    let (_connection, channel) = channel(vhost.amqp_url()).await;
    declare_quorum_queue(&channel, "work").await;
    channel.basic_qos(1, Default::default()).await.unwrap();
    assert!(publish(&channel, "", "work").await && publish(&channel, "", "work").await);
    let options = BasicConsumeOptions::default();
    let _held = channel.basic_consume("work".into(), "me".into(), options, FieldTable::default());
    let _held = _held.await.unwrap();
    let expected = QueueFigures { ready: 1, unacked: 1, consumers: 1 };
    eventually(SOON, || async {
        let seen = vhost.queue("work").await;
        if seen == Some(expected) { Ok(()) } else { Err(format!("{seen:?}")) }
    })
    .await;
    assert_eq!(vhost.queue("no such queue").await, None);
}

#[tokio::test]
async fn a_queue_can_be_unbound_limited_and_deleted_and_its_connections_closed() {
    let vhost = Vhost::new().await;
    let (connection, channel) = channel(vhost.amqp_url()).await;
    declare_quorum_queue(&channel, "work").await;
    let bind = channel.queue_bind(
        "work".into(),
        "amq.topic".into(),
        "order.#".into(),
        QueueBindOptions::default(),
        FieldTable::default(),
    );
    bind.await.unwrap();
    assert!(publish(&channel, "amq.topic", "order.placed.v1").await);
    vhost.unbind("amq.topic", "work", "order.#").await;
    assert!(!publish(&channel, "amq.topic", "order.placed.v1").await);

    let full = json!({ "max-length": 1, "overflow": "reject-publish" });
    vhost.set_policy("small", "^work$", &full).await;
    let newcomer = connection.create_channel().await.unwrap();
    newcomer.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    eventually(SOON, || async { !publish(&newcomer, "", "work").await }).await;
    vhost.clear_policy("small").await;
    let newcomer = connection.create_channel().await.unwrap();
    newcomer.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    eventually(SOON, || publish(&newcomer, "", "work")).await;

    vhost.delete_queue("work").await;
    assert_eq!(vhost.depth("work").await, None);
    eventually(SOON, || async { vhost.close_all_connections().await > 0 }).await;
    eventually(SOON, || async { !connection.status().connected() }).await;
}

#[tokio::test]
async fn a_private_broker_is_killed_without_harm_to_the_shared_one() {
    let (mut broker, shared) = tokio::join!(Broker::private(), Vhost::new());
    let vhost = broker.vhost().await;
    let (_connection, sender) = channel(vhost.amqp_url()).await;
    declare_quorum_queue(&sender, "work").await;
    assert!(publish(&sender, "", "work").await);
    broker.kill();
    assert!(Connection::connect(vhost.amqp_url(), ConnectionProperties::default()).await.is_err());
    let (_shared, _) = channel(shared.amqp_url()).await;
    broker.restart().await;
    eventually(SOON, || async {
        let depth = vhost.depth("work").await;
        if depth == Some(1) { Ok(()) } else { Err(format!("{depth:?} messages")) }
    })
    .await;
}

#[tokio::test]
async fn a_private_postgres_keeps_committed_rows_over_a_kill() {
    let mut postgres = PrivatePostgres::start().await;
    let database = postgres.database("messaging").await;
    sqlx::query("create table kept as select 1 as x").execute(&database.pool()).await.unwrap();
    postgres.kill();
    assert!(sqlx::query("select 1").execute(&database.pool()).await.is_err());
    postgres.restart().await;
    let kept: i32 = eventually(SOON, || {
        let pool = database.pool();
        async move { sqlx::query_scalar("select x from kept").fetch_one(&pool).await }
    })
    .await;
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn the_variables_of_the_shared_servers_lead_another_process_to_the_same_ones() {
    let servers = Servers::shared().await;
    let variables = servers.env();
    assert!(variables.iter().all(|(name, _)| name.starts_with("TESTKIT_")));
    let (_, postgres) = &variables[0];
    assert_eq!(servers.local_postgres_url("postgres"), *postgres);
}
