#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

use std::collections::BTreeSet;

use clap::Parser;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use testkit::{PrivatePostgres, Servers, Vhost};

use super::told::Told;
use super::{Args, databases, run, topology};
use crate::cli::Global;
use crate::services::SERVICES;
use crate::{Exit, Output};

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(flatten)]
    args: Args,
}

/// A Postgres and a vhost of the test's own, where nothing is migrated.
struct World {
    postgres: PrivatePostgres,
    vhost: Vhost,
}

impl World {
    async fn new() -> Self {
        Self { postgres: PrivatePostgres::start().await, vhost: Vhost::new().await }
    }

    fn admin(&self) -> String {
        self.postgres.url("postgres")
    }

    async fn migrate(&self, more: &[&str]) -> anyhow::Result<Exit> {
        let (admin, amqp) = (self.admin(), self.vhost.amqp_url());
        let line = ["shop", "--admin-database-url", &admin, "--amqp-url", amqp];
        let cli = Cli::try_parse_from([&line, more].concat()).unwrap();
        run(cli.args, &Output::new(&cli.global)).await
    }

    /// What a further migration would change in the databases.
    async fn changes(&self) -> Vec<String> {
        let cli = Cli::try_parse_from(["shop"]).unwrap();
        databases::migrate(&self.admin(), &Output::new(&cli.global)).await.unwrap()
    }

    async fn execute(&self, sql: &str) {
        let mut connection = PgConnection::connect(&self.admin()).await.unwrap();
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    async fn databases(&self) -> BTreeSet<String> {
        let mut connection = PgConnection::connect(&self.admin()).await.unwrap();
        let names: Vec<String> =
            sqlx::query_scalar("select datname from pg_database where datname like 'shop\\_%'")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        names.into_iter().collect()
    }

    async fn may_anybody_enter(&self, database: &str) -> bool {
        let mut connection = PgConnection::connect(&self.admin()).await.unwrap();
        sqlx::query_scalar("select has_database_privilege('public', $1, 'connect')")
            .bind(database)
            .fetch_one(&mut connection)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn a_difference_in_the_last_queue_leaves_all_queues_and_databases_as_they_were() {
    let world = World::new().await;
    let classic = "audit.retry.10m";
    let path = ["queues", world.vhost.name(), classic];
    let durable = serde_json::json!({ "durable": true });
    let management = world.vhost.management();
    management.call(reqwest::Method::PUT, &path, Some(durable)).await.unwrap();

    let error = format!("{:#}", world.migrate(&[]).await.unwrap_err());
    assert!(error.contains("audit.retry.10m exists") && error.contains("nothing was changed"));
    assert_eq!(world.vhost.queues().await, [classic]);
    assert!(world.databases().await.is_empty(), "a database was made all the same");

    world.vhost.delete_queue(classic).await;
    assert_eq!(world.migrate(&[]).await.unwrap(), Exit::Done);
    let services = SERVICES.iter().map(|service| service.database());
    assert_eq!(world.databases().await, services.collect());
    assert_eq!(world.vhost.queues().await.len(), SERVICES.len() * 7);
    assert!(world.changes().await.is_empty());
    assert!(topology::migrate(world.vhost.amqp_url()).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_newer_database_leaves_the_broker_as_it_was() {
    let world = World::new().await;
    assert_eq!(world.migrate(&["--databases-only"]).await.unwrap(), Exit::Done);
    assert!(world.vhost.queues().await.is_empty());
    let mut audit = PgConnection::connect(&world.postgres.url("shop_audit")).await.unwrap();
    let future = "insert into _sqlx_migrations (version, description, success, checksum, \
                  execution_time) values (99, 'of the future', true, '', 0)";
    sqlx::query(future).execute(&mut audit).await.unwrap();
    audit.close().await.unwrap();

    let error = format!("{:#}", world.migrate(&[]).await.unwrap_err());
    assert!(error.contains("newer than this program"), "{error}");
    assert!(world.vhost.queues().await.is_empty(), "a queue was made all the same");
}

#[tokio::test]
async fn a_database_that_a_crash_left_open_is_closed_once() {
    let world = World::new().await;
    // What there is after a crash between two statements.
    world.execute("create role shop_payment login").await;
    world.execute("create database shop_payment owner shop_payment").await;
    assert!(world.may_anybody_enter("shop_payment").await);

    let changes = world.changes().await;
    let closed = "database shop_payment: closed to all but its owner";
    assert!(changes.iter().any(|one| one == closed), "{changes:?}");
    for service in SERVICES {
        assert!(!world.may_anybody_enter(&service.database()).await, "{}", service.name);
    }
    assert_eq!(world.changes().await, Vec::<String>::new());
}

#[tokio::test]
async fn with_a_management_address_new_bindings_of_old_queues_are_told() {
    let world = World::new().await;
    assert_eq!(world.migrate(&["--topology-only"]).await.unwrap(), Exit::Done);
    let key = (SERVICES[0].bindings)().remove(0);
    let queue = format!("{}.in", SERVICES[0].name);
    world.vhost.unbind("events", &queue, &key).await;
    let management = world.vhost.management();
    let path = ["bindings", world.vhost.name(), "e", "events", "q", &queue];
    let old = serde_json::json!({ "routing_key": "of.old.v1" });
    management.call(reqwest::Method::POST, &path, Some(old)).await.unwrap();

    let management_url = Servers::shared().await.env()[2].1.clone();
    let bound = super::bindings::all(&management_url, world.vhost.name()).await.unwrap();
    let is_bound = |key: &str| bound.iter().any(|one| one.queue == queue && one.key == key);
    assert!(is_bound("of.old.v1") && !is_bound(&key), "{bound:?}");
    let (cli, mut told) = (Cli::try_parse_from(["shop"]).unwrap(), Told::silently());
    let (amqp, out) = (world.vhost.amqp_url(), Output::new(&cli.global));
    let found = topology::look(amqp, Some(&management_url), &out).await.unwrap();
    found.make(&mut told).await.unwrap();
    assert_eq!(told.all(), [format!("binding events -{key}-> {queue}")]);
}

#[tokio::test]
async fn what_was_done_before_a_failure_has_been_told() {
    let world = World::new().await;
    assert_eq!(world.migrate(&["--databases-only"]).await.unwrap(), Exit::Done);
    for name in ["shop_order", "shop_audit"] {
        world.execute(&format!("drop database {name}")).await;
    }
    // The last service's schema is taken by something else.
    world.execute("create database shop_audit owner shop_audit").await;
    let mut audit = PgConnection::connect(&world.postgres.url("shop_audit")).await.unwrap();
    sqlx::query("create table entries (id int)").execute(&mut audit).await.unwrap();
    audit.close().await.unwrap();

    let (cli, mut told) = (Cli::try_parse_from(["shop"]).unwrap(), Told::silently());
    let (admin, out) = (world.admin(), Output::new(&cli.global));
    let found = databases::look(&admin, &out).await.unwrap();
    let error = format!("{:#}", found.bring_up_to_date(&mut told).await.unwrap_err());
    assert!(error.contains("database shop_audit: own migrations"), "{error}");
    let told = told.all();
    for done in
        ["database shop_order", "shop_order: own migration 1", "shop_audit: messaging migration 1"]
    {
        assert!(told.iter().any(|one| one.starts_with(done)), "{done}: {told:?}");
    }
    assert!(!told.iter().any(|one| one.starts_with("shop_audit: own")), "{told:?}");
}

#[tokio::test]
async fn keys_and_demo_products_are_made_once() {
    let world = World::new().await;
    let folder = std::env::temp_dir().join(format!("tidings-migrate-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let keys = folder.to_string_lossy();
    let first = ["--keys", &keys, "--demo-products"];
    assert_eq!(world.migrate(&first).await.unwrap(), Exit::Done);
    let key = std::fs::read(folder.join("inventory.key")).unwrap();
    // What somebody has changed since stays as it is.
    let mut inventory = PgConnection::connect(&world.postgres.url("shop_inventory")).await.unwrap();
    let change = "update products set name = 'Mug' where sku = 'DEMO-1'";
    assert_eq!(sqlx::query(change).execute(&mut inventory).await.unwrap().rows_affected(), 1);
    assert_eq!(world.migrate(&first).await.unwrap(), Exit::Done);

    assert_eq!(std::fs::read(folder.join("inventory.key")).unwrap(), key);
    let names: Vec<String> = sqlx::query_scalar("select name from products order by sku")
        .fetch_all(&mut inventory)
        .await
        .unwrap();
    assert_eq!(names, ["Mug", "Linen tea towel"]);
    let events: i64 = sqlx::query_scalar("select count(*) from messaging.outbox")
        .fetch_one(&mut inventory)
        .await
        .unwrap();
    assert_eq!(events, 2, "each product is told of once");
    inventory.close().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_server_that_comes_late_is_waited_for_only_when_asked() {
    let world = World::new().await;
    let port = sandbox::ports::free_port().unwrap();
    let real = world.admin();
    let (host, _) = real.split_once("@").unwrap().1.split_once('/').unwrap();
    let late = real.replace(host, &format!("127.0.0.1:{port}"));
    let line = ["shop", "--admin-database-url", &late, "--databases-only"];
    let migrate = async |more: &[&str]| {
        let cli = Cli::try_parse_from([&line, more].concat()).unwrap();
        run(cli.args, &Output::new(&cli.global)).await
    };
    let error = format!("{:#}", migrate(&[]).await.unwrap_err());
    assert!(error.contains("cannot be reached"), "{error}");

    let waiting = migrate(&["--wait", "60"]);
    let coming = async {
        // It has found nobody at least once.
        tokio::time::sleep(2 * super::AGAIN).await;
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut server = tokio::net::TcpStream::connect(host).await.unwrap();
            tokio::task::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    };
    let done = tokio::select! { done = waiting => done, () = coming => unreachable!() };
    assert_eq!(done.unwrap(), Exit::Done);
}
