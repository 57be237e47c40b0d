//! `kill -9` in the middle: nothing is lost, nothing happens twice.

use futures_util::future::join_all;
use serde_json::Value;
use testkit::{Broker, eventually};

use crate::world::{SERVICES, SOON, World};

const ORDERS: usize = 60;

/// Orders of all endings, at once.
async fn load(world: &World, orders: usize) -> Vec<Value> {
    let placed = join_all((0..orders).map(|n| {
        let pay = ["pm_ok", "pm_ok", "pm_declined", "pm_flaky"][n % 4];
        let (sku, quantity) = if n % 10 == 9 { ("RARE", 5) } else { ("LAMP", 1) };
        world.place(n, sku, quantity, pay)
    }))
    .await;
    join_all(placed.into_iter().map(|order| world.ended(order))).await
}

async fn placed(world: &World) -> i64 {
    world.count("order", "select count(*) from orders").await
}

async fn adds_up(world: &World, ended: &[Value]) {
    world.verified().await;
    let (mut lamps, mut mails) = (0, 0);
    for order in ended {
        let id = order["order_id"].as_str().unwrap();
        let confirmed = order["status"] == "confirmed";
        let total = order["total"]["amount_minor"].as_i64().unwrap();
        let expected = if confirmed { total } else { 0 };
        assert_eq!(world.gateway.net_captured(id), expected, "{order}");
        assert!(world.gateway.charges_of(id).len() <= 1, "{id} was charged twice");
        if confirmed && order["lines"][0]["sku"] == "LAMP" {
            lamps += 1;
        }
        let about: Vec<_> = world.mailbox.all();
        let about = about.iter().filter(|m| m.text.as_deref().is_some_and(|t| t.contains(id)));
        let ids: std::collections::BTreeSet<_> = about.map(|m| m.message_id.clone()).collect();
        assert_eq!(ids.len(), 1, "one mail for {id}, whatever crashed");
        mails += ids.len();
    }
    assert_eq!(mails, ORDERS);
    let stock = world.get("inventory", "/stock/LAMP").await;
    assert_eq!(stock["on_hand"], 1_000 - lamps, "{stock}");
    assert_eq!(stock["reserved"], 0);
}

#[tokio::test]
async fn services_killed_one_after_the_other_lose_nothing_and_repeat_nothing() {
    let world = World::start().await;
    world.stock("LAMP", 1_000, 1_000).await;
    world.stock("RARE", 1_000, 12).await;
    let mut all = Vec::new();
    for victim in SERVICES {
        let killing = async {
            // In the thick of it: some orders of this round are stored, none has to be through.
            let so_far = i64::try_from(all.len()).unwrap();
            eventually(SOON, || async { placed(&world).await > so_far + 5 }).await;
            world.kill(victim);
            world.restart(victim);
        };
        let (ended, ()) = futures_util::join!(load(&world, ORDERS / SERVICES.len()), killing);
        all.extend(ended);
    }
    adds_up(&world, &all).await;
}

#[tokio::test]
async fn a_broker_that_is_killed_and_comes_back_delays_orders_and_loses_none() {
    let mut broker = Broker::private().await;
    let world = World::start_on(broker.vhost().await, 1).await;
    world.stock("LAMP", 1_000, 1_000).await;
    world.stock("RARE", 1_000, 12).await;
    let outage = async {
        eventually(SOON, || async { placed(&world).await >= 10 }).await;
        broker.kill();
        // These are placed while it is away, the ones before are on their way.
        futures_util::join!(load(&world, ORDERS / 2), broker.restart()).0
    };
    let (mut ended, late) = futures_util::join!(load(&world, ORDERS / 2), outage);
    ended.extend(late);
    adds_up(&world, &ended).await;
}
