//! Two of each service at once.

use futures_util::future::join_all;
use testkit::{Vhost, eventually};

use crate::world::{SOON, World};

#[tokio::test]
async fn two_replicas_of_every_service_share_the_work_and_double_nothing() {
    let world = World::start_on(Vhost::new().await, 2).await;
    world.stock("LAMP", 1_000, 1_000).await;
    let placed = join_all((0..40).map(|n| world.place(n, "LAMP", 1, "pm_ok"))).await;
    let ended = join_all(placed.iter().map(|order| world.ended(*order))).await;
    assert!(ended.iter().all(|order| order["status"] == "confirmed"));
    world.verified().await;
    for order in &placed {
        assert_eq!(world.gateway.charges_of(&order.to_string()).len(), 1);
    }
    let stock = world.get("inventory", "/stock/LAMP").await;
    assert_eq!(stock["on_hand"], 960);
    assert_eq!(world.mailbox.all().len(), 40);

    // Both replicas of a service publish: the partitions are shared out, at the latest when the
    // first holder renews.
    let (orders, sql) = (
        world.pg("order"),
        "select count(distinct owner) from messaging.partition_lease where owner is not null",
    );
    eventually(SOON, || async {
        let owners: i64 = sqlx::query_scalar(sql).fetch_one(&orders).await.unwrap();
        if owners == 2 { Ok(()) } else { Err(format!("{owners} own partitions")) }
    })
    .await;
}
