//! Orders that nobody finishes in time.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::body::Body;
use chrono::{DateTime, TimeDelta, Utc};
use common::clock::Still;
use common::{SOON, Shop, basket, process, versions};
use envelope::Clock;
use http::Request;
use messaging::step::{Progress, Step as _};
use order::App;
use order::application::settle_orders::Verdict;
use order::presentation::deadlines::Deadlines;
use serde_json::json;
use testkit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const POLL: Duration = Duration::from_secs(5);
/// What [`process`] gives an order.
const DEADLINE: TimeDelta = TimeDelta::minutes(15);

async fn shop() -> (Shop, Still) {
    let time = Still::new();
    let shop = Shop::at(time.clock()).await;
    shop.sells("A", 250, "GBP").await;
    (shop, time)
}

/// Steps until there is nothing to do; returns for how long.
async fn drain(deadlines: &mut Deadlines) -> Duration {
    loop {
        match deadlines.step().await {
            Progress::More => {}
            Progress::Idle(until) => return until,
        }
    }
}

async fn status(shop: &Shop, id: Uuid) -> String {
    let order = shop.get(&format!("/orders/{id}")).await.body;
    format!("{} {}", order["status"].as_str().unwrap(), order["version"])
}

#[tokio::test]
async fn an_order_times_out_at_its_deadline_and_not_before() {
    let (shop, time) = shop().await;
    let mut deadlines = Deadlines::new(shop.app.clone());
    assert_eq!(drain(&mut deadlines).await, POLL, "no order waits");
    let id = shop.place().await;
    assert_eq!(drain(&mut deadlines).await, POLL, "nothing is due for a long time");
    time.pass(DEADLINE - TimeDelta::milliseconds(1_500));
    assert_eq!(drain(&mut deadlines).await, Duration::from_millis(1_500));
    assert_eq!(status(&shop, id).await, "pending 1");

    time.pass(TimeDelta::milliseconds(1_500));
    assert_eq!(drain(&mut deadlines).await, POLL);
    let order = shop.get(&format!("/orders/{id}")).await.body;
    assert_eq!(
        (&order["status"], &order["cancel_reason"]),
        (&json!("cancelled"), &json!("timed_out"))
    );
    let at = |text: &serde_json::Value| text.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!(at(&order["updated_at"]) - at(&order["placed_at"]), DEADLINE);
    drain(&mut deadlines).await;
    assert_eq!(shop.types(id).await, versions(&["placed", "cancelled"]));
}

#[tokio::test]
async fn the_time_out_is_told_within_the_chain_and_the_trace_of_the_order() {
    let (shop, time) = shop().await;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request = Request::post("/orders")
        .header("content-type", "application/json")
        .header("idempotency-key", "0123456789abcdef")
        .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .body(Body::from(basket(&[("A", 1)]).to_string()));
    let order = shop.ask(request.unwrap()).await.body;
    assert_eq!(order["trace_id"], trace_id);
    time.pass(DEADLINE);
    drain(&mut Deadlines::new(shop.app.clone())).await;
    let id: Uuid = order["order_id"].as_str().unwrap().parse().unwrap();
    let told = shop.events(id).await;
    assert_eq!(told[1]["data"]["reason"], "timed_out");
    assert_eq!(told[1]["correlationid"], order["order_id"]);
    assert!(told[1]["traceparent"].as_str().unwrap().contains(trace_id), "{}", told[1]);
}

#[tokio::test]
async fn orders_that_have_ended_stay_as_they_are() {
    let (shop, time) = shop().await;
    let (confirmed, cancelled) = (shop.place().await, shop.place().await);
    shop.settle(confirmed, Verdict::Paid).await;
    let before = shop.cancel(cancelled).await.body;
    time.pass(DEADLINE);
    drain(&mut Deadlines::new(shop.app.clone())).await;
    assert_eq!(status(&shop, confirmed).await, "confirmed 2");
    assert_eq!(shop.get(&format!("/orders/{cancelled}")).await.body, before);
}

#[tokio::test]
async fn two_tasks_on_one_database_time_each_order_out_once() {
    let (shop, time) = shop().await;
    let mut ids = Vec::new();
    for _ in 0..100 {
        ids.push(shop.place().await);
    }
    time.pass(DEADLINE);
    let other = process(shop.database.pool(), time.clock());
    let [mut one, mut two] = [shop.app.clone(), other].map(Deadlines::new);
    tokio::join!(drain(&mut one), drain(&mut two));
    // What one had locked when the other came by is its own to finish.
    assert_eq!(shop.count("orders where status = 'pending'").await, 0);
    for id in ids {
        assert_eq!(shop.types(id).await, versions(&["placed", "cancelled"]));
    }
}

#[tokio::test]
async fn an_order_that_is_being_finished_is_passed_by_and_decided_by_who_has_it() {
    let (shop, time) = shop().await;
    let (busy, left, due) = (shop.place().await, shop.place().await, shop.place().await);
    time.pass(DEADLINE);
    let mut deadlines = Deadlines::new(shop.app.clone());
    let mut holding = shop.tx().await;
    sqlx::query("select from orders where id = any($1) for update")
        .bind([busy, left])
        .execute(holding.conn())
        .await
        .unwrap();
    // It waits for nobody.
    assert_eq!(drain(&mut deadlines).await, POLL);
    assert_eq!(status(&shop, due).await, "cancelled 2");
    assert_eq!(status(&shop, busy).await, "pending 1");
    drop(holding);
    shop.settle(busy, Verdict::Paid).await;
    drain(&mut deadlines).await;
    assert_eq!(status(&shop, busy).await, "confirmed 2");
    assert_eq!(status(&shop, left).await, "cancelled 2");
}

#[tokio::test]
async fn an_order_that_cannot_be_cancelled_holds_up_no_other() {
    let (shop, time) = shop().await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(shop.place().await);
    }
    // What is to be written is there already.
    let sql = "insert into order_history (order_id, version, status, at)
        select id, 2, 'cancelled', placed_at from orders where id = any($1)";
    sqlx::query(sql).bind([ids[0], ids[2]]).execute(shop.pool.pg()).await.unwrap();
    time.pass(DEADLINE);
    let mut deadlines = Deadlines::new(shop.app.clone());
    // It pauses after each failure; the end of the sweep is the wait for the next.
    let mut pauses = Vec::new();
    loop {
        let pause = drain(&mut deadlines).await;
        if pause == POLL {
            break;
        }
        pauses.push(pause);
    }
    assert_eq!(pauses.len(), 2);
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_millis(100)), "{pauses:?}");
    for id in [ids[1], ids[3]] {
        assert_eq!(status(&shop, id).await, "cancelled 2");
    }
    // Somebody has put them right.
    let sql = "delete from order_history where version = 2 and order_id = any($1)";
    sqlx::query(sql).bind([ids[0], ids[2]]).execute(shop.pool.pg()).await.unwrap();
    drain(&mut deadlines).await;
    for id in [ids[0], ids[2]] {
        assert_eq!(status(&shop, id).await, "cancelled 2");
    }
}

#[tokio::test]
async fn the_task_runs_until_it_is_told_to_stop() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let app = App { order_deadline: TimeDelta::milliseconds(1), ..shop.app.clone() };
    let hasty = common::router(app.clone());
    let request = Request::post("/orders")
        .header("content-type", "application/json")
        .header("idempotency-key", "0123456789abcdef")
        .body(Body::from(basket(&[("A", 1)]).to_string()));
    let order = common::ask(&hasty, request.unwrap()).await.body;
    let stop = CancellationToken::new();
    let watch = async {
        let id = order["order_id"].as_str().unwrap();
        let look = || async {
            shop.get(&format!("/orders/{id}")).await.body["cancel_reason"] == "timed_out"
        };
        eventually(SOON, look).await;
        stop.cancel();
    };
    tokio::join!(Deadlines::new(app).run(stop.clone()), watch);
}

#[tokio::test]
async fn a_database_that_is_away_is_waited_for() {
    let (shop, _) = shop().await;
    let app = process(shop.database.pool(), Clock::system());
    let mut deadlines = Deadlines::new(app);
    shop.pool.close().await;
    let mut longest = Duration::ZERO;
    for _ in 0..20 {
        longest = longest.max(drain(&mut deadlines).await);
    }
    assert!(longest > POLL / 2 && longest <= POLL, "{longest:?}");
}

#[tokio::test]
async fn an_order_with_little_time_is_looked_at_within_that_time() {
    let (shop, _) = shop().await;
    for (time, pause) in [(TimeDelta::seconds(2), 2_000), (TimeDelta::zero(), 50)] {
        let app = App { order_deadline: time, ..shop.app.clone() };
        let looked = drain(&mut Deadlines::new(app)).await;
        assert_eq!(looked, Duration::from_millis(pause), "{time}");
    }
}
