//! The promise as a whole: a shop under load, of which every process is killed once, loses nothing,
//! repeats nothing, and shows it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod up_world;

use std::process::{Command, Stdio};
use std::time::Duration;

use sandbox::process;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use testkit::eventually;
use up_world::{SOON, World};

/// What is killed, and where it says that it is back.
const VICTIMS: [(&str, &str, &str); 6] = [
    ("order", "ORDER_PORT", "/health/ready"),
    ("inventory", "INVENTORY_PORT", "/health/ready"),
    ("payment", "PAYMENT_PORT", "/health/ready"),
    ("email", "EMAIL_PORT", "/health/ready"),
    ("audit", "AUDIT_PORT", "/health/ready"),
    ("gateway", "GATEWAY_PORT", "/health"),
];
const ORDERS: u64 = 120;
/// Orders that are stored between one kill and the next, at the least.
const BETWEEN: i64 = 10;
/// Far more than the load takes, killings included.
const LOADED: Duration = Duration::from_secs(120);
/// All but I4, of which stored state tells nothing.
const INVARIANTS: [&str; 13] =
    ["I1", "I2", "I3", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12", "I16", "I18"];

/// What a command answers to machines, and its exit code.
fn answer(mut command: Command) -> (i32, Value) {
    let output = command.args(["-o", "json"]).output().unwrap();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {output:?}");
    });
    (output.status.code().unwrap(), answer)
}

async fn kill_each_once(world: &World) {
    let mut orders = PgConnection::connect(&world.database("shop_order")).await.unwrap();
    for (wanted, (name, port, path)) in (1..).zip(VICTIMS) {
        let orders = tokio::sync::Mutex::new(&mut orders);
        eventually(LOADED, || async {
            let mut connection = orders.lock().await;
            let count = sqlx::query_scalar("select count(*) from orders");
            let stored: i64 = count.fetch_one(&mut **connection).await.unwrap();
            if stored >= BETWEEN * wanted { Ok(()) } else { Err(format!("{stored} orders")) }
        })
        .await;
        let before = world.pid(name).unwrap();
        process::kill(before).unwrap();
        eventually(SOON, || async { world.pid(name).is_some_and(|now| now != before) }).await;
        let url = world.url(port, path);
        eventually(SOON, || async {
            let answer = world.http.get(&url).send().await.map_err(|error| error.to_string())?;
            if answer.status().is_success() { Ok(()) } else { Err(answer.status().to_string()) }
        })
        .await;
    }
    orders.close().await.unwrap();
}

/// `shop status --watch` beside `work`: its answers, a second apart.
async fn watched(world: &World, work: impl Future<Output = ()>) -> Vec<Value> {
    let status = world.shop(&["status", "--watch", "--interval", "1", "-o", "json"]);
    let mut status = tokio::process::Command::from(status);
    let status = status.stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let status = status.spawn().unwrap();
    let pid = status.id().unwrap();
    let stop = async {
        work.await;
        process::interrupt(pid).unwrap();
    };
    let (output, ()) = tokio::join!(status.wait_with_output(), stop);
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = output.stdout.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// What was seen under load: every service at work. (The broker's figures may come later than the end.)
fn saw_all_at_work(seen: &[Value]) {
    for (at, (name, ..)) in VICTIMS[..5].iter().enumerate() {
        let rows = seen.iter().map(|report| &report["services"][at]);
        let most = |field: &str| {
            rows.clone().filter_map(|row| row[field].as_f64()).fold(f64::NAN, f64::max)
        };
        assert_eq!(seen[0]["services"][at]["service"], *name);
        assert!(most("handled_per_second") > 1.0, "{name}: {seen:#?}");
        assert!(most("p95_ms") > 0.0, "{name}: {seen:#?}");
    }
}

/// A shop at rest: all ready, nothing left to do.
async fn is_at_rest(world: &World) {
    // The broker's figures and those of the outbox come late.
    eventually(SOON, || async {
        let (code, status) = answer(world.shop(&["status", "--interval", "100ms"]));
        let none = ["outbox_pending", "queue_ready", "retry", "dead_letter_queue", "dead_letters"];
        let rests = |row: &Value| {
            row["state"] == "ready" && row["consumers"] == 1 && none.iter().all(|it| row[it] == 0)
        };
        let rests = status["services"].as_array().is_some_and(|rows| rows.iter().all(rests));
        if code == 0 && rests { Ok(()) } else { Err(format!("{code}: {status:#}")) }
    })
    .await;
}

/// A load during which everything is killed, to the end of its last order.
async fn load_and_kill(world: &World) {
    let (limit, mix) = (ORDERS.to_string(), "pm_ok:8,pm_declined:1,pm_flaky:1");
    let load = ["load", "-o", "json", "--limit", &limit, "--rate", "15", "--pay", mix];
    let mut load = tokio::process::Command::from(world.shop(&load));
    let load = load.stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let load = load.spawn().unwrap().wait_with_output();
    let load = tokio::time::timeout(LOADED, load);
    let (output, ()) = tokio::join!(load, kill_each_once(world));
    let output = output.expect("the load ends").unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    let orders = &report["orders"];
    assert_eq!((&orders["planned"], &orders["accepted"]), (&json!(ORDERS), &json!(ORDERS)));
    assert_eq!((&orders["not_terminal"], &orders["lost"]), (&json!([]), &json!([])));
    let declined = orders["cancelled"]["payment_declined"].as_u64().unwrap();
    assert_eq!(orders["confirmed"].as_u64().unwrap() + declined, ORDERS, "{orders:#}");
}

fn is_consistent(world: &World) {
    let (code, report) = answer(world.shop(&["verify", "--settle", "60s"]));
    assert_eq!((code, &report["violations"]), (0, &json!(0)), "{report:#}");
    for id in INVARIANTS {
        let verdicts = report["invariants"].as_array().unwrap();
        let verdict = verdicts.iter().find(|verdict| verdict["id"] == id).expect(id);
        assert!(verdict["checked"].as_u64().unwrap() > 0, "{verdict:#}");
        assert_eq!(verdict["violations"], 0, "{verdict:#}");
    }
}

/// The trace of an order, when all services have told what they did.
async fn trace(world: &World, order: &str) -> Value {
    eventually(SOON, || async {
        let (code, trace) = answer(world.shop(&["trace", order]));
        let services = trace["services"].as_array().map_or(0, Vec::len);
        if (code, services) == (0, 5) { Ok(trace) } else { Err(format!("{code}: {trace:#}")) }
    })
    .await
}

fn is_one_tree_with_its_waits(trace: &Value) {
    assert_eq!(trace["connected"], true, "{trace:#}");
    assert_eq!(trace["services"], json!(["audit", "email", "inventory", "order", "payment"]));
    let spans = trace["spans"].as_array().unwrap();
    let roots: Vec<_> = spans.iter().filter(|span| span["depth"] == 0).collect();
    assert_eq!((roots.len(), &roots[0]["name"]), (1, &json!("POST /orders")), "{trace:#}");
    // Each event is published after its wait, and that is a stretch of its own.
    let in_outbox = spans.iter().filter(|span| span["waited_in"] == "outbox");
    assert!(in_outbox.clone().any(|span| span["service"] == "order"), "{trace:#}");
    for span in in_outbox {
        assert!(span["wait_ms"].as_f64().unwrap() > 0.0, "{span:#}");
    }
}

async fn has_its_confirmation_mail(world: &World, order: &str) {
    let url = world.url("MAIL_PORT", &format!("/api/v1/search?query={order}"));
    let mails = eventually(SOON, || async {
        let found = world.http.get(&url).send().await.map_err(|error| error.to_string())?;
        let found: Value = found.json().await.map_err(|error| error.to_string())?;
        if found["messages_count"] == 0 { Err(found.to_string()) } else { Ok(found) }
    })
    .await;
    assert_eq!(mails["messages_count"], 1, "{mails:#}");
    let mail = &mails["messages"][0];
    assert!(mail["Subject"].as_str().unwrap().starts_with("Your order is confirmed"), "{mail:#}");
    assert_eq!(mail["To"][0]["Address"], "whole@example.com");
}

/// Places an order as a client that has a trace of its own, and gives its id.
async fn place_within(world: &World, trace_id: &str) -> String {
    let order = json!({
        "customer_id": "0192f0c4-7a1e-7c55-b6a4-3f1d2b9e0c11",
        "customer_email": "traced@example.com",
        "lines": [{ "sku": "DEMO-1", "quantity": 1 }],
        "payment_method": "pm_ok",
    });
    let request = world.http.post(world.url("ORDER_PORT", "/orders")).json(&order);
    let request = request.header("Idempotency-Key", "the-only-one-of-this-client");
    let request = request.header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"));
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    answer["order_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn a_shop_whose_every_process_is_killed_under_load_loses_and_repeats_nothing() {
    let world = World::new("promise");
    let up = world.up().await;
    // The demo product can be ordered the moment that the shop is ready.
    let (code, first) = answer(world.shop(&["place", "DEMO-1", "--watch"]));
    assert_eq!((code, &first["status"]), (0, &json!("confirmed")), "{first:#}");

    saw_all_at_work(&watched(&world, load_and_kill(&world)).await);
    is_consistent(&world);
    is_at_rest(&world).await;

    let place = ["place", "DEMO-1:2", "--watch", "--email", "whole@example.com"];
    let (code, order) = answer(world.shop(&place));
    assert_eq!((code, &order["status"]), (0, &json!("confirmed")), "{order:#}");
    let id = order["order_id"].as_str().unwrap();
    is_one_tree_with_its_waits(&trace(&world, id).await);
    has_its_confirmation_mail(&world, id).await;

    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let of_a_client = trace(&world, &place_within(&world, trace_id).await).await;
    assert_eq!(of_a_client["trace_id"], trace_id);
    is_one_tree_with_its_waits(&of_a_client);

    let (status, said) = up.terminate().await;
    assert_eq!(status.code(), Some(0), "{said}");
    assert_eq!(world.left_running(), Vec::<String>::new());
}
