//! Streams of what happens to orders.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use axum::body::Body;
use chassis::http::Limits;
use common::stream::{Client, Replica, Told};
use common::{SOON, Shop, process, router};
use envelope::Clock;
use futures_util::future::join_all;
use http::Request;
use http_body_util::BodyExt as _;
use messaging::step::Signal;
use order::application::settle_orders::{Verdict, settle_orders};
use order::domain::order::CancelReason;
use order::store;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::json;
use tokio::time::timeout;
use tower::ServiceExt as _;
use uuid::Uuid;

const ALL: &str = "/orders/events";

/// A shop that sells `A`, and its replica.
async fn shop() -> (Shop, Replica) {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let replica = Replica::start(&shop.app).await;
    (shop.beside(replica.app.clone()), replica)
}

fn of(order: Uuid) -> String {
    format!("/orders/{order}/events")
}

fn brief(told: &[Told]) -> Vec<(i64, &str)> {
    told.iter().map(|told| (told.id, told.status())).collect()
}

#[tokio::test]
async fn a_stream_tells_what_has_been_then_what_happens_and_ends_with_the_order() {
    let (shop, replica) = shop().await;
    let order = shop.place().await;
    let mut client = replica.open(&of(order)).await;
    assert_eq!(client.status, 200);
    assert!(client.head.contains("content-type: text/event-stream\r\n"), "{}", client.head);
    let placed = client.next().await.unwrap();
    shop.cancel(order).await;
    let told = [vec![placed], client.rest().await].concat();
    assert!(client.ended);

    let view = shop.get(&format!("/orders/{order}")).await.body;
    let data: Vec<_> = told.iter().map(|told| told.data.clone()).collect();
    let expected = [
        json!({"order_id": order, "status": "pending", "version": 1, "at": view["placed_at"]}),
        json!({"order_id": order, "status": "cancelled", "cancel_reason": "customer_request",
            "version": 2, "at": view["updated_at"]}),
    ];
    assert_eq!(data, expected);
    assert_eq!(told.iter().map(|told| told.id).collect::<Vec<_>>(), [1, 2]);
    // Later it is the same.
    assert_eq!(replica.open(&of(order)).await.rest().await, told);
    replica.end().await;
}

#[tokio::test]
async fn a_client_comes_back_with_its_last_id_to_any_replica() {
    let (shop, one) = shop().await;
    let two = Replica::start(&process(shop.database.pool(), Clock::system())).await;
    let order = shop.place().await;
    assert_eq!(brief(&one.open(&of(order)).await.take(1).await), [(1, "pending")]);
    let mut waiting = two.resume(&of(order), "1").await;
    shop.settle(order, Verdict::Paid).await;
    assert_eq!(brief(&waiting.rest().await), [(2, "confirmed")]);
    assert_eq!(brief(&two.resume(&of(order), "1").await.rest().await), [(2, "confirmed")]);
    let over = two.resume(&of(order), "2").await;
    assert_eq!(over.status, 204, "{}", over.head);
    for unknown in ["3", "0", "-1", "01", "+1", "x", "", "99999999999999999999", "é"] {
        let told = two.resume(&of(order), unknown).await.rest().await;
        assert_eq!(brief(&told), [(1, "pending"), (2, "confirmed")], "{unknown}");
    }
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn all_orders_are_one_sequence_that_can_be_taken_up_anywhere() {
    let (shop, replica) = shop().await;
    let mut live = replica.open(ALL).await;
    let (a, b) = (shop.place().await, shop.place().await);
    shop.settle(b, Verdict::Impossible(CancelReason::OutOfStock)).await;
    // More than a page.
    for _ in 0..40 {
        shop.place().await;
    }
    let told = live.take(43).await;
    assert_eq!(told.iter().map(|told| told.id).collect::<Vec<_>>(), (1..=43).collect::<Vec<_>>());
    assert_eq!((told[0].order(), told[1].order()), (a.to_string(), b.to_string()));
    let end = told.iter().find(|told| told.status() == "cancelled").unwrap();
    assert_eq!((end.order(), &end.data["cancel_reason"]), (b.to_string(), &json!("out_of_stock")));
    for (last_id, from) in [("1", 1), ("42", 42), ("44", 0), ("x", 0)] {
        let again = replica.resume(ALL, last_id).await.take(43 - from).await;
        assert_eq!(again, told[from..], "{last_id}");
    }
    let mut up_to_date = replica.resume(ALL, "43").await;
    shop.settle(a, Verdict::Paid).await;
    assert_eq!(brief(&up_to_date.take(1).await), [(44, "confirmed")]);
    replica.end().await;
}

#[tokio::test]
async fn what_cannot_be_streamed_is_a_problem() {
    let (shop, replica) = shop().await;
    let order = shop.place().await;
    let cases = [
        (of(Uuid::nil()), "text/event-stream", 404, "not_found"),
        ("/orders/7/events".into(), "text/event-stream", 400, "invalid_id"),
        (of(order), "application/json", 406, "not_acceptable"),
        (ALL.into(), "application/json, text/html", 406, "not_acceptable"),
    ];
    for (path, accept, status, code) in cases {
        let request = Request::get(&path).header("accept", accept).body(Body::empty()).unwrap();
        let answer = shop.ask(request).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.body["code"]),
            (status, &json!(code)),
            "{path}"
        );
    }
    replica.end().await;
}

#[tokio::test]
async fn before_changes_are_followed_nobody_can_miss_one() {
    let shop = Shop::open().await;
    let answer = shop.get(ALL).await;
    assert_eq!((answer.status.as_u16(), &answer.body["code"]), (503, &json!("unavailable")));
    assert!(answer.headers.contains_key("retry-after"));
}

/// A number given inside the transaction would be overtaken by those of faster ones.
#[tokio::test]
async fn what_commits_late_comes_late_and_is_not_passed_by() {
    let (shop, replica) = shop().await;
    let (early, late) = (shop.place().await, shop.place().await);
    let mut client = replica.open(ALL).await;
    client.take(2).await;
    let mut slow = shop.tx().await;
    let now = slow.now();
    settle_orders(&mut store(&mut slow), &[late], Verdict::Paid, now).await.unwrap();
    shop.settle(early, Verdict::Paid).await;
    let first = client.next().await.unwrap();
    assert_eq!((first.id, first.order()), (3, early.to_string()));
    slow.after_commit(replica.app.feed.changed());
    slow.commit().await.unwrap();
    let second = client.next().await.unwrap();
    assert_eq!((second.id, second.order()), (4, late.to_string()));
    replica.end().await;
}

/// One after the other, as a client would that waits for each answer.
async fn write(shop: &Shop, count: usize) -> Vec<String> {
    let mut written = Vec::new();
    for n in 0..count {
        let order = shop.place().await;
        let verdict = Verdict::Impossible(CancelReason::PaymentDeclined);
        shop.settle(order, if n % 2 == 0 { Verdict::Paid } else { verdict }).await;
        written.push(order.to_string());
    }
    written
}

#[tokio::test]
async fn replicas_tell_the_same_in_the_order_of_commits_while_many_write() {
    const ORDERS: usize = 15;
    let (shop, one) = shop().await;
    let two = Replica::start(&process(shop.database.pool(), Clock::system())).await;
    let (mut here, mut there) = (one.open(ALL).await, two.open(ALL).await);
    let elsewhere = shop.beside(two.app.clone());
    let writers = [&shop, &elsewhere, &shop, &elsewhere].map(|shop| write(shop, ORDERS));
    let total = 2 * ORDERS * writers.len();
    let (written, told, same) =
        tokio::join!(join_all(writers), here.take(total), there.take(total));
    assert_eq!(told, same);
    assert!(told.iter().map(|told| told.id).eq(1..=total as i64));
    let place = |order: &String, version: i64| {
        let is_it = |told: &&Told| told.order() == *order && told.data["version"] == version;
        told.iter().find(is_it).unwrap().id
    };
    for orders in written {
        let places: Vec<i64> =
            orders.iter().flat_map(|order| [place(order, 1), place(order, 2)]).collect();
        assert!(places.is_sorted(), "{places:?}");
    }
    one.end().await;
    two.end().await;
}

#[tokio::test]
async fn a_replica_is_woken_by_what_another_has_numbered() {
    let shop = Shop::open().await;
    let other = process(shop.database.pool(), Clock::system());
    let woken = Signal::new();
    let hear = shop.app.feed.bell().hear(&woken);
    let ring = async {
        // It looks once when it begins to listen.
        woken.wait().await;
        shop.app.feed.bell().ring().await.unwrap();
        other.feed.bell().ring().await.unwrap();
        woken.wait().await;
    };
    let both = async {
        tokio::select! { () = hear => {}, () = ring => {} }
    };
    timeout(SOON, both).await.unwrap();
}

#[tokio::test]
async fn streams_end_when_the_process_stops() {
    let (shop, replica) = shop().await;
    let order = shop.place().await;
    let mut clients = [replica.open(ALL).await, replica.open(&of(order)).await];
    for client in &mut clients {
        client.take(1).await;
    }
    replica.end().await;
    for mut client in clients {
        assert_eq!(client.rest().await, []);
        assert!(client.ended, "it is told, not cut off");
    }
}

#[tokio::test]
async fn a_quiet_stream_shows_that_it_is_alive() {
    let (shop, _) = shop().await;
    let often = Duration::from_millis(10);
    let replica = Replica::with(&shop.app, Limits::default(), often).await;
    let mut client = replica.open(ALL).await;
    for _ in 0..3 {
        assert_eq!(client.block().await.unwrap(), ":");
    }
    shop.beside(replica.app.clone()).place().await;
    assert_eq!(brief(&client.take(1).await), [(1, "pending")]);
    replica.end().await;
}

/// So many changes of one order, without going through the API for each, and what `reader` is told of
/// them. Less at once than one may be behind: it is not dropped, however slow the machine.
async fn flood(shop: &Shop, order: Uuid, last: i32, reader: &mut Client) -> Vec<Told> {
    const AT_ONCE: i32 = 2_000;
    let mut told = reader.take(1).await;
    for first in (2..=last).step_by(AT_ONCE as usize) {
        let until = last.min(first + AT_ONCE - 1);
        let sql = "insert into order_history (order_id, version, status, at)
            select $1, n, 'pending', now() from generate_series($2::int, $3) as n";
        let insert = sqlx::query(sql).bind(order).bind(first).bind(until);
        insert.execute(shop.pool.pg()).await.unwrap();
        shop.app.feed.changed().notify();
        told.extend(reader.take((until - first + 1) as usize).await);
    }
    assert!(told.iter().map(|told| told.id).eq(1..=i64::from(last)));
    told
}

#[tokio::test]
async fn who_falls_too_far_behind_is_dropped_and_catches_up() {
    let (shop, replica) = shop().await;
    let order = shop.place().await;
    replica.open(ALL).await.take(1).await;
    let request = Request::get(ALL).body(Body::empty()).unwrap();
    let slow = router(replica.app.clone()).oneshot(request).await.unwrap().into_body();
    let told = flood(&shop, order, 6_000, &mut replica.open(ALL).await).await;
    let text = slow.collect().await.unwrap().to_bytes();
    let text = std::str::from_utf8(&text).unwrap();
    assert!(text.contains("\nid: 1\n") && text.matches("\n\n").count() == 1, "{text}");
    assert_eq!(replica.resume(ALL, "1").await.take(5_999).await, told[1..]);
    replica.end().await;
}

#[tokio::test]
async fn who_stops_reading_is_dropped_and_comes_back_without_a_gap() {
    // More than any socket holds.
    const LAST: i32 = 30_000;
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let limits = Limits { write_timeout: Duration::from_secs(2), ..Limits::default() };
    let replica = Replica::with(&shop.app, limits, Duration::from_secs(15)).await;
    let shop = shop.beside(replica.app.clone());
    let order = shop.place().await;
    let mut idle = Client::narrow(replica.addr, ALL).await;
    let mut busy = replica.open(ALL).await;
    idle.take(1).await;
    replica.wait_for_readers(2).await;
    let told = flood(&shop, order, LAST, &mut busy).await;
    replica.wait_for_readers(1).await;

    let mut seen = idle.rest().await;
    assert!(!idle.ended && seen.len() < told.len() - 1, "{} seen", seen.len());
    let last_id = seen.last().map_or(1, |told| told.id).to_string();
    let mut back = replica.resume(ALL, &last_id).await;
    seen.extend(back.take(told.len() - 1 - seen.len()).await);
    assert_eq!(seen, told[1..]);
    replica.end().await;
}

/// Bytes that this process has in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// Both ends of each connection are here.
fn allow_many_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[tokio::test]
async fn a_thousand_readers_are_cheap() {
    const READERS: usize = 1_000;
    allow_many_files();
    let (shop, replica) = shop().await;
    let orders = [shop.place().await, shop.place().await];
    let before = resident();
    let mut clients = Vec::new();
    for n in 0..READERS {
        let path = if n % 2 == 0 { of(orders[0]) } else { ALL.into() };
        clients.push(replica.open(&path).await);
    }
    replica.wait_for_readers(READERS).await;
    for _ in 0..50 {
        shop.place().await;
    }
    for (n, client) in clients.iter_mut().enumerate() {
        let told = client.take(if n % 2 == 0 { 1 } else { 52 }).await;
        assert_eq!(told[0].order(), orders[0].to_string());
    }
    // With the clients themselves.
    let cost = resident().saturating_sub(before);
    assert!(cost < 50 << 20, "{} KiB", cost >> 10);
    replica.end().await;
}

#[tokio::test]
async fn changes_from_before_the_sequence_are_in_it() {
    let shop = Shop::open().await;
    shop.sells("A", 250, "GBP").await;
    let orders = [shop.place().await, shop.place().await];
    shop.settle(orders[0], Verdict::Paid).await;
    let sql = "alter table order_history drop column feed";
    sqlx::query(sql).execute(shop.pool.pg()).await.unwrap();
    let migration = include_str!("../../../migrations/order/0003_feed.sql");
    sqlx::raw_sql(migration).execute(shop.pool.pg()).await.unwrap();
    let replica = Replica::start(&shop.app).await;
    let told = replica.open(ALL).await.take(3).await;
    let orders = orders.map(|order| order.to_string());
    let of: Vec<_> = told.iter().map(|told| (told.id, told.order())).collect();
    assert_eq!(of, [(1, orders[0].clone()), (2, orders[1].clone()), (3, orders[0].clone())]);
    replica.end().await;
}
