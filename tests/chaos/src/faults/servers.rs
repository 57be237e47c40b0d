//! The broker and the database.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use sandbox::process;
use serde_json::json;
use shop::verify::Service;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::time::sleep;

use super::Kind;
use crate::tap;
use crate::world::{World, topologies};

/// The event whose route goes missing.
const ORPHAN: &str = "order.placed.v1";
/// The most messages that the broker gives up on at once.
const GIVEN_UP: usize = 8;
const POLICY: &str = "chaos-full";
/// What a process has on its way may take so long to arrive at the broker.
const FLUSH: Duration = Duration::from_millis(300);

/// Does `kind` to a server for a while. True when somebody felt it.
pub(super) async fn happen(
    world: &World,
    kind: Kind,
    service: Service,
    lasts: Duration,
) -> anyhow::Result<bool> {
    match kind {
        Kind::BrokerKilled => {
            let mut broker = world.broker.lock().await;
            broker.kill();
            sleep(lasts).await;
            broker.restart().await;
            Ok(true)
        }
        Kind::BrokerRestarted => {
            let mut broker = world.broker.lock().await;
            broker.stop().await;
            broker.restart().await;
            Ok(true)
        }
        Kind::BrokerFrozen => {
            let broker = world.broker.lock().await;
            frozen(&[broker.pid()], lasts).await
        }
        Kind::BrokerAlarm => alarm(world, lasts).await,
        Kind::BrokerForgetsConnections => {
            let _mine = world.broker.lock().await;
            Ok(world.vhost.close_all_connections().await > 0)
        }
        Kind::QueueFull => full(world, service, lasts).await,
        Kind::Unroutable => unroutable(world, lasts).await,
        Kind::GivenUp => given_up(world, service, lasts).await,
        Kind::PostgresKilled => {
            let mut postgres = world.postgres.lock().await;
            postgres.kill();
            sleep(lasts).await;
            postgres.restart().await;
            Ok(true)
        }
        Kind::PostgresFrozen => {
            let postgres = world.postgres.lock().await;
            // Its backends are processes of their own, and they are what works.
            frozen(&process::with_children(postgres.pid()), lasts).await
        }
        Kind::SessionsEnded => {
            let _mine = world.postgres.lock().await;
            sessions_ended(&world.databases[service.name()].pool()).await
        }
        _ => {
            let _mine = world.postgres.lock().await;
            locked(world.databases[Service::Inventory.name()].url(), lasts).await
        }
    }
}

async fn frozen(pids: &[u32], lasts: Duration) -> anyhow::Result<bool> {
    // One that ends meanwhile is no fault.
    let stopped = pids.iter().filter(|pid| process::stop(**pid).is_ok()).count();
    sleep(lasts).await;
    pids.iter().for_each(|pid| drop(process::cont(*pid)));
    Ok(stopped > 0)
}

async fn alarm(world: &World, lasts: Duration) -> anyhow::Result<bool> {
    let broker = world.broker.lock().await;
    broker.ctl(&["set_vm_memory_high_watermark", "0.00000001"]).await;
    sleep(lasts).await;
    broker.ctl(&["set_vm_memory_high_watermark", "0.4"]).await;
    Ok(true)
}

/// A queue that takes no more while nobody takes from it. The broker refuses only on channels that are
/// new, so all are.
async fn full(world: &World, service: Service, lasts: Duration) -> anyhow::Result<bool> {
    let _mine = world.broker.lock().await;
    let both = [0, 1].map(|n| &world.replica(service, n).process);
    let _held = (both[0].in_use.lock().await, both[1].in_use.lock().await);
    let pids: Vec<u32> = both.iter().filter_map(|one| one.pid()).collect();
    pids.iter().try_for_each(|pid| process::stop(*pid))?;
    let limit = json!({ "max-length": 1, "overflow": "reject-publish" });
    world.vhost.set_policy(POLICY, &format!("^{service}\\.in$"), &limit).await;
    world.vhost.close_all_connections().await;
    sleep(lasts).await;
    let felt = some_refused(world).await;
    world.vhost.clear_policy(POLICY).await;
    pids.iter().for_each(|pid| drop(process::cont(*pid)));
    Ok(felt)
}

/// The broker gives up on messages with which nothing is wrong, while their service is away. They are
/// parked, and have their second chance by themselves.
async fn given_up(world: &World, service: Service, lasts: Duration) -> anyhow::Result<bool> {
    let broker = world.broker.lock().await;
    let both = [0, 1].map(|n| &world.replica(service, n).process);
    let _held = (both[0].in_use.lock().await, both[1].in_use.lock().await);
    both.iter().try_for_each(|one| one.kill())?;
    sleep(lasts).await;
    let queue = format!("{service}.in");
    let given_up = tap::give_up(world.vhost.amqp_url(), &queue, GIVEN_UP).await;
    drop(broker);
    both.iter().try_for_each(|one| one.start(&[]))?;
    Ok(given_up? > 0)
}

/// No queue wants one type of event any more, for a while. All are frozen while the bindings change, so
/// that each event finds every one of them or none.
async fn unroutable(world: &World, lasts: Duration) -> anyhow::Result<bool> {
    let _mine = world.broker.lock().await;
    let mut all: BTreeSet<String> = topologies().into_iter().flat_map(|one| one.bindings).collect();
    all.retain(|key| key != "#" && key != ORPHAN);
    for queue in everything() {
        for key in &all {
            bind(world, &queue, key).await?;
        }
    }
    while_frozen(world, async || {
        for (queue, key) in orphans() {
            world.vhost.unbind(tap::EVENTS, &queue, &key).await;
        }
        anyhow::Ok(())
    })
    .await?;
    sleep(lasts).await;
    let felt = some_refused(world).await;
    while_frozen(world, async || {
        for (queue, key) in orphans() {
            bind(world, &queue, &key).await?;
        }
        anyhow::Ok(())
    })
    .await?;
    for queue in everything() {
        for key in &all {
            world.vhost.unbind(tap::EVENTS, &queue, key).await;
        }
    }
    Ok(felt)
}

/// The queues that are bound to everything.
fn everything() -> [String; 2] {
    [format!("{}.in", Service::Audit), tap::QUEUE.to_owned()]
}

/// The bindings by which the orphaned event finds anybody.
fn orphans() -> Vec<(String, String)> {
    let wants = |key: &String| key == ORPHAN || key == "#";
    let mut found = vec![(tap::QUEUE.to_owned(), "#".to_owned())];
    for topology in topologies() {
        let queue = topology.work_queue();
        found.extend(topology.bindings.into_iter().filter(wants).map(|key| (queue.clone(), key)));
    }
    found
}

async fn bind(world: &World, queue: &str, key: &str) -> anyhow::Result<()> {
    let path = ["bindings", world.vhost.name(), "e", tap::EVENTS, "q", queue];
    let body = json!({ "routing_key": key, "arguments": {} });
    world.management.call(reqwest::Method::POST, &path, Some(body)).await?;
    Ok(())
}

/// Does something while nobody publishes.
async fn while_frozen(
    world: &World,
    work: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut held = Vec::new();
    for replica in &world.replicas {
        held.push(replica.process.in_use.lock().await);
    }
    let pids: Vec<u32> = world.replicas.iter().filter_map(|one| one.process.pid()).collect();
    pids.iter().try_for_each(|pid| process::stop(*pid))?;
    sleep(FLUSH).await;
    let done = work().await;
    pids.iter().for_each(|pid| drop(process::cont(*pid)));
    done
}

/// Whether some event waits because the broker would not have it.
async fn some_refused(world: &World) -> bool {
    for database in world.databases.values() {
        let waits = "select exists (select from messaging.outbox
            where published_at is null and last_error is not null)";
        let found: Result<bool, _> = sqlx::query_scalar(waits).fetch_one(&database.pool()).await;
        if found.unwrap_or(false) {
            return true;
        }
    }
    false
}

async fn sessions_ended(pool: &PgPool) -> anyhow::Result<bool> {
    let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()
          and application_name <> 'shop verify'";
    let ended: i64 = sqlx::query_scalar(end).fetch_one(pool).await.context("ending sessions")?;
    Ok(ended > 0)
}

/// Somebody holds the rows of all products, and those who want them wait.
async fn locked(url: &str, lasts: Duration) -> anyhow::Result<bool> {
    let mut holder = PgConnection::connect(url).await?;
    sqlx::raw_sql("begin; select from products order by sku for update")
        .execute(&mut holder)
        .await?;
    sleep(lasts).await;
    let waiting = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(&mut holder).await?;
    sqlx::raw_sql("rollback").execute(&mut holder).await?;
    holder.close().await?;
    Ok(waiting > 0)
}
