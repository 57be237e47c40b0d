//! `shop up` for real: its own servers, all services, signals, kills, bad starts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod up_world;

use std::net::TcpListener;

use envelope::Clock;
use sandbox::process;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use testkit::eventually;
use up_world::{SOON, START, World};

async fn place(world: &World) -> String {
    let order = json!({
        "customer_id": Clock::system().new_id(),
        "customer_email": "buyer@example.org",
        "lines": [{ "sku": "DEMO-1", "quantity": 2 }],
        "payment_method": "pm_ok",
    });
    // A service that was killed may still be on its way back.
    eventually(SOON, || async {
        let key = Clock::system().new_id().to_string();
        let request = world.http.post(world.url("ORDER_PORT", "/orders")).json(&order);
        let answer = request.header("Idempotency-Key", key).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let (status, body): (_, Value) = (answer.status(), answer.json().await.unwrap());
        if status == 202 {
            Ok(body["order_id"].as_str().unwrap().to_owned())
        } else {
            Err(body.to_string())
        }
    })
    .await
}

async fn ends(world: &World, order: &str, wanted: &str) {
    let url = world.url("ORDER_PORT", &format!("/orders/{order}"));
    eventually(SOON, || async {
        let answer = world.http.get(&url).send().await.map_err(|error| error.to_string())?;
        let order: Value = answer.json().await.map_err(|error| error.to_string())?;
        if order["status"] == wanted { Ok(()) } else { Err(order.to_string()) }
    })
    .await;
}

/// Kills a process and waits until `shop up` has another one of that name.
async fn kill(world: &World, name: &str) -> u32 {
    let before = world.pid(name).unwrap();
    process::kill(before).unwrap();
    let now = eventually(SOON, || async { world.pid(name).filter(|now| *now != before) }).await;
    assert!(process::is_alive(now));
    now
}

fn assert_nothing_left(world: &World) {
    let left = world.left_running();
    assert!(left.is_empty(), "still running:\n{}", left.join("\n"));
}

#[tokio::test]
async fn a_start_takes_orders_brings_back_what_is_killed_and_stops_in_order() {
    let world = World::new("whole");
    let up = world.up().await;
    let said = up.said();
    for variable in ["ORDER_PORT", "AUDIT_PORT", "GATEWAY_PORT", "TRACES_PORT", "MAIL_PORT"] {
        assert!(said.contains(&world.url(variable, "")), "{variable} is missing in:\n{said}");
    }
    let order = place(&world).await;
    ends(&world, &order, "confirmed").await;

    for name in ["order", "inventory", "payment", "email", "audit", "gateway", "traces", "mail"] {
        let now = kill(&world, name).await;
        let line = format!("started again as {now} after ");
        eventually(SOON, || async {
            let said = up.said();
            said.lines().any(|l| l.contains(&format!(" {name} (pid ")) && l.contains(&line))
        })
        .await;
    }
    eventually(START, || async { world.run(&["healthcheck"]).0 == 0 }).await;
    let order = place(&world).await;
    ends(&world, &order, "confirmed").await;

    let (code, said) = world.run(&["up"]);
    assert_eq!(code, 1);
    assert!(said.contains("already running") && said.contains(&up.pid().to_string()), "{said}");
    let (code, said) = world.run(&["reset", "--yes"]);
    assert_eq!(code, 1);
    assert!(said.contains("is running"), "{said}");

    let (status, said) = up.terminate().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert_nothing_left(&world);
}

#[tokio::test]
async fn servers_that_are_killed_come_back_and_a_second_start_goes_on_with_the_data() {
    let world = World::new("servers");
    let up = world.up().await;
    let order = place(&world).await;
    ends(&world, &order, "confirmed").await;
    let postmaster = world.data().join("postgres/data/postmaster.pid");
    let first = |text: String| text.lines().next().unwrap().parse::<u32>().unwrap();
    process::kill(first(std::fs::read_to_string(postmaster).unwrap())).unwrap();
    let node = world.data().join("rabbitmq/node.pid");
    process::kill(first(std::fs::read_to_string(node).unwrap())).unwrap();
    for name in [" postgres (pid ", " rabbitmq (pid "] {
        eventually(START, || async { up.said().contains(name) }).await;
    }
    eventually(START, || async { world.run(&["healthcheck"]).0 == 0 }).await;
    let (status, said) = up.interrupt().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert_nothing_left(&world);

    let up = world.up().await;
    ends(&world, &order, "confirmed").await;
    let after: Value = world
        .http
        .get(world.url("INVENTORY_PORT", "/stock/DEMO-1"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(after["on_hand"], 99_998, "the demo stock was not filled up again: {after}");
    assert_eq!(up.terminate().await.0.code(), Some(0));
    assert_nothing_left(&world);
}

#[tokio::test]
async fn what_a_killed_start_has_left_is_ended_by_the_next_one() {
    let world = World::new("leftovers");
    let up = world.up().await;
    let before = world.pid("order").unwrap();
    up.kill();
    assert!(process::is_alive(before), "its children outlive it");
    let up = world.up().await;
    assert!(up.said().contains("ended the order of an earlier start"), "{}", up.said());
    assert!(!process::is_alive(before));
    assert_eq!(up.terminate().await.0.code(), Some(0));
    assert_nothing_left(&world);
}

#[tokio::test]
async fn a_signal_while_starting_stops_all_that_was_started() {
    let world = World::new("early");
    let up = world.begin();
    eventually(START, || async { world.pid("order") }).await;
    let (status, said) = up.interrupt().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("ready after"), "{said}");
    assert_nothing_left(&world);
}

#[tokio::test]
async fn an_occupied_port_is_named_with_its_holder_and_nothing_is_started() {
    let world = World::new("port");
    let _taken = TcpListener::bind(("127.0.0.1", world.port("AUDIT_PORT"))).unwrap();
    let (code, said) = world.run(&["up"]);
    assert_eq!(code, 1);
    let held = format!("port {} is held by ", world.port("AUDIT_PORT"));
    assert!(said.contains(&held), "{said}");
    assert!(said.contains(&format!("(pid {})", std::process::id())), "{said}");
    assert!(said.contains("AUDIT_PORT=") && !said.contains("ORDER_PORT="), "{said}");
    assert!(!world.data().join("postgres").exists());
    assert_nothing_left(&world);
}

#[test]
fn two_variables_with_the_same_port_are_wrong_use() {
    let world = World::new("same");
    let port = world.port("ORDER_PORT").to_string();
    let output = world.shop(&["up"]).env("MAIL_PORT", &port).output().unwrap();
    let (code, said) = up_world::said(&output);
    assert_eq!(code, 2);
    assert!(said.contains("ORDER_PORT and MAIL_PORT are both"), "{said}");
    assert!(!world.data().exists());
}

#[tokio::test]
async fn a_service_that_cannot_start_fails_the_start_with_its_own_words() {
    let world = World::new("settings");
    let output = world.shop(&["up"]).env("RUST_LOG", "a=b=c").output().unwrap();
    let (code, said) = up_world::said(&output);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("ended while starting (exit code 2)"), "{said}");
    assert!(said.contains("RUST_LOG"), "{said}");
    assert_nothing_left(&world);
}

#[tokio::test]
async fn migrations_are_repeatable_and_a_newer_database_stops_the_start() {
    let world = World::new("newer");
    let up = world.up().await;
    let (admin, amqp) = (world.database("postgres"), world.port("AMQP_PORT"));
    let amqp = format!("amqp://shop:shop@127.0.0.1:{amqp}/shop");
    let migrate = ["migrate", "--admin-database-url", &admin, "--amqp-url", &amqp];
    assert_eq!(world.run(&migrate), (0, "nothing to change\n".to_owned()));

    let mut database = PgConnection::connect(&world.database("shop_payment")).await.unwrap();
    let future = "insert into _sqlx_migrations (version, description, success, checksum, \
                  execution_time) values (99, 'of the future', true, '', 0)";
    sqlx::query(future).execute(&mut database).await.unwrap();
    database.close().await.unwrap();
    let (code, said) = world.run(&migrate);
    assert_eq!(code, 1);
    assert!(said.contains("shop_payment") && said.contains("newer than this program"), "{said}");
    assert_eq!(up.terminate().await.0.code(), Some(0));

    let (status, said) = world.begin().ended().await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("newer than this program: its migration 99"), "{said}");
    assert_nothing_left(&world);
}
