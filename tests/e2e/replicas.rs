//! Two of each service at once, and they act as one.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use testkit::{Vhost, eventually};
use uuid::Uuid;

use crate::idempotency::same_key_everywhere;
use crate::stream::{Stream, Told};
use crate::tap::Tap;
use crate::world::{BY_CUSTOMER, Ending, SOON, TIMED_OUT, World};

const PRICE: i64 = 1_000;
const LAMPS: i64 = 500;
/// Requests that are each sent to both replicas.
const REQUESTS: usize = 20;
/// Orders that are cancelled as soon as they are placed.
const REGRETS: usize = 40;
const BUYERS: usize = 50;
const UNITS: i64 = 10;
/// Orders that nobody finishes in time.
const OVERDUE: usize = 12;
/// Longer than a replica waits between two looks at deadlines: so all have seen the first of these
/// orders when its time comes, and go for them at the same moment.
const PATIENCE: &str = "6s";

const ALL: &str = "/orders/events";

#[tokio::test]
async fn two_replicas_of_every_service_act_as_one() {
    let world = World::start_on(Vhost::new().await, 2).await;
    let tap = Tap::start(&world).await;
    world.stock("LAMP", PRICE, LAMPS).await;
    world.stock("PRIZE", PRICE, UNITS).await;
    let mut everything = Stream::open(&world, 1, ALL, None).await;
    let following = async move {
        let mut told = Vec::new();
        while let Some(next) = everything.next().await {
            told.push(next);
        }
        told
    };
    let shopping = async {
        let (mut paid, (), (regretted, late)) = tokio::join!(
            same_key_everywhere(&world, REQUESTS, "LAMP"),
            rush(&world),
            regret(&world)
        );
        paid.extend(late);
        join_all(paid.iter().map(|order| world.ended(*order))).await;
        both_publish(&world).await;
        let (watched, overdue) = outlive_a_replica(&world).await;
        (paid, regretted, watched, overdue)
    };
    let (seen, (paid, regretted, watched, overdue)) = tokio::join!(following, shopping);
    world.quiet().await;
    nothing_is_missed(&world, seen).await;
    world.verified().await;

    for order in paid.iter().chain(&watched) {
        assert_eq!(world.ending(*order).await, Ending::confirmed(PRICE));
    }
    for order in &regretted {
        let ending = world.ending(*order).await;
        assert!(
            ending.order == BY_CUSTOMER && Ending::lawful(PRICE).contains(&ending),
            "{ending:?}"
        );
    }
    for order in &overdue {
        assert_eq!(world.ending(*order).await, Ending::refunded(TIMED_OUT, PRICE));
        told_once(&world, *order).await;
    }
    let sent = i64::try_from(paid.len() + watched.len()).unwrap();
    assert_eq!(world.pieces("LAMP").await, (LAMPS - sent, 0));
    in_order(&world, &tap).await;
}

/// More buyers than pieces, at both replicas.
async fn rush(world: &World) {
    let placed = join_all((0..BUYERS).map(|n| world.place(n % 2, "PRIZE", 1, "pm_ok"))).await;
    let ended = join_all(placed.iter().map(|order| world.ended(*order))).await;
    let confirmed = ended.iter().filter(|order| order["status"] == "confirmed").count();
    let refused = ended.iter().filter(|order| order["cancel_reason"] == "out_of_stock").count();
    let units = usize::try_from(UNITS).unwrap();
    assert_eq!((confirmed, refused), (units, BUYERS - units));
    eventually(SOON, || async {
        let pieces = world.pieces("PRIZE").await;
        if pieces == (0, 0) { Ok(()) } else { Err(format!("{pieces:?}")) }
    })
    .await;
    let charges = placed.iter().map(|order| world.gateway.charges_of(&order.to_string()).len());
    assert_eq!(charges.sum::<usize>(), units);
}

/// Orders that are placed at one replica and at once cancelled at the other: two events of one
/// aggregate, a moment apart and from different processes. Those that were
/// cancelled, and those that were faster, as may be on a slow machine.
async fn regret(world: &World) -> (Vec<Uuid>, Vec<Uuid>) {
    let orders = join_all((0..REGRETS).map(async |_| {
        let order = world.place(1, "LAMP", 1, "pm_ok").await;
        (order, world.cancel(order).await)
    }))
    .await;
    let (cancelled, late): (Vec<_>, Vec<_>) = orders.into_iter().partition(|(_, done)| *done);
    let ids = |orders: Vec<(Uuid, bool)>| orders.into_iter().map(|(order, _)| order).collect();
    (ids(cancelled), ids(late))
}

/// The partitions are shared out, at the latest when the first holder renews.
async fn both_publish(world: &World) {
    let sql = "select count(distinct owner) from messaging.partition_lease where owner is not null";
    eventually(SOON, || async {
        let owners = world.count("order", sql).await;
        if owners == 2 { Ok(()) } else { Err(format!("{owners} own partitions")) }
    })
    .await;
}

/// One replica of order is killed while orders are on their way, which others then finish. Orders
/// that were watched at it and end well, and orders that time out.
async fn outlive_a_replica(world: &World) -> (Vec<Uuid>, Vec<Uuid>) {
    const HASTY: usize = 2;
    world.run("order", &[("ORDER_DEADLINE", PATIENCE)]);
    world.ready().await;
    world.gate.close();
    let overdue = join_all((0..OVERDUE).map(|_| world.place(HASTY, "LAMP", 1, "pm_ok")));
    let watched = world.place(0, "LAMP", 1, "pm_ok");
    let (overdue, watched) = tokio::join!(overdue, watched);
    let path = format!("/orders/{watched}/events");
    let mut stream = Stream::open(world, 1, &path, None).await;
    let first = stream.next().await.unwrap();
    assert_eq!((first.id, &first.data["status"]), (1, &"pending".into()));
    world.kill_one("order", 1);
    assert_eq!(stream.next().await, None);

    let unseen = world.place(0, "LAMP", 1, "pm_ok").await;
    join_all(overdue.iter().map(|order| world.charged(*order))).await;
    let ended = join_all(overdue.iter().map(|order| world.ended(*order))).await;
    assert!(ended.iter().all(|order| order["cancel_reason"] == "timed_out"), "{ended:?}");
    let mut resumed = Stream::open(world, 0, &path, Some(first.id)).await;
    world.gate.open();
    let rest = resumed.until(2).await;
    let statuses: Vec<_> = rest.iter().map(|told| (told.id, &told.data["status"])).collect();
    assert_eq!(statuses, [(2, &"confirmed".into())]);
    assert_eq!(resumed.next().await, None, "it ends with the order");
    world.ended(unseen).await;
    world.restart("order");
    world.ready().await;
    (vec![watched, unseen], overdue)
}

/// `seen` was told by the replica that was killed; the other goes on where it ended.
async fn nothing_is_missed(world: &World, mut seen: Vec<Told>) {
    let changes = world.count("order", "select count(*) from order_history").await;
    let last = seen.last().unwrap().id;
    assert!(last < changes, "it was killed before the end");
    seen.extend(Stream::open(world, 0, ALL, Some(last)).await.until(changes).await);
    assert!(seen.iter().map(|told| told.id).eq(1..=changes), "a gap in {seen:?}");
    let anew = Stream::open(world, 1, ALL, None).await.until(changes).await;
    assert_eq!(seen, anew, "replicas tell the same");
}

/// Several replicas found the order overdue, and one cancelled it.
async fn told_once(world: &World, order: Uuid) {
    let seen = world.get("order", &format!("/orders/{order}")).await;
    let history: Vec<_> = seen["history"].as_array().unwrap().iter().collect();
    let ends = history.iter().filter(|step| step["status"] == "cancelled").count();
    assert_eq!((ends, &seen["version"]), (1, &2.into()), "{seen}");
    let sql = "select type from messaging.outbox where subject = $1 order by aggversion";
    let told: Vec<String> = sqlx::query_scalar(sql)
        .bind(format!("order/{order}"))
        .fetch_all(&world.pg("order"))
        .await
        .unwrap();
    assert_eq!(told, ["shop.order.placed.v1", "shop.order.cancelled.v1"]);
}

/// What a listener heard of each aggregate came in the order of its versions, and was all that audit
/// knows of it.
async fn in_order(world: &World, tap: &Tap) {
    let sql = "select subject, array_agg(aggversion::bigint order by aggversion)
        from entries group by subject";
    let logged: Vec<(String, Vec<i64>)> =
        sqlx::query_as(sql).fetch_all(&world.pg("audit")).await.unwrap();
    let logged: BTreeMap<_, _> = logged.into_iter().collect();
    let events: usize = logged.values().map(Vec::len).sum();
    eventually(SOON, || async { tap.versions().values().map(Vec::len).sum::<usize>() == events })
        .await;
    let gapless = |versions: &[i64]| versions.iter().copied().eq(1..=versions.len() as i64);
    let heard = tap.versions();
    let wrong: Vec<_> = logged
        .iter()
        .filter(|(subject, versions)| !gapless(versions) || heard.get(*subject) != Some(*versions))
        .map(|(subject, versions)| (subject, versions, heard.get(subject)))
        .collect();
    assert!(wrong.is_empty(), "aggregate, versions in audit, versions as heard: {wrong:?}");
}
