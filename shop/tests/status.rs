//! The program `shop status` against services and a broker whose figures are known.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use sandbox::{Running, bind, process, serve_http};
use serde_json::{Value, json};
use testkit::free_port;
use tokio_util::sync::CancellationToken;

const SERVICES: [&str; 5] = ["order", "inventory", "payment", "email", "audit"];
/// Handled between two looks at the same service.
const HANDLED: u64 = 40;

/// Five services and a broker behind one address. Payment says that it is not ready.
struct FakeShop {
    address: String,
    _running: Running,
}

impl FakeShop {
    async fn new() -> Self {
        let looks = Arc::new(SERVICES.map(|_| AtomicU64::new(0)));
        let router = Router::new()
            .route("/{service}/health/ready", get(ready))
            .route("/{service}/metrics", get(metrics))
            .route("/api/queues/shop", get(queues))
            .with_state(looks);
        let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let running = serve_http(listener, router, &CancellationToken::new()).unwrap();
        Self { address, _running: running }
    }

    /// `shop status` of this shop; payment is looked for where the service `payment` is.
    fn status(&self, payment: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command.args(["status", "--interval", "100ms"]).args(arguments);
        for service in SERVICES {
            let at = if service == "payment" { payment } else { service };
            let variable = format!("{}_URL", service.to_uppercase());
            command.env(variable, format!("http://{}/{at}", self.address));
        }
        command.env("MANAGEMENT_URL", format!("http://a:b@{}", self.address));
        command.stdin(Stdio::null());
        command
    }
}

async fn ready(Path(service): Path<String>) -> Response {
    let postgres = json!({ "status": "down", "reason": "no connection" });
    let rabbitmq = json!({ "status": "up" });
    match service.as_str() {
        "payment" => {
            let body = json!({ "dependencies": { "postgres": postgres, "rabbitmq": rabbitmq } });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body)).into_response()
        }
        _ => Json(json!({ "dependencies": { "rabbitmq": rabbitmq } })).into_response(),
    }
}

/// Every look finds more handled: half of them within 5 ms, half within 10 ms.
async fn metrics(
    State(looks): State<Arc<[AtomicU64; 5]>>,
    Path(service): Path<String>,
) -> Result<String, StatusCode> {
    let at = SERVICES.iter().position(|known| *known == service);
    let at = at.ok_or(StatusCode::NOT_FOUND)?;
    let all = HANDLED * looks[at].fetch_add(1, Ordering::SeqCst);
    let half = all / 2;
    let bucket = r#"shop_handler_duration_seconds_bucket{type="order.placed.v1",le="#;
    Ok(format!(
        "# TYPE shop_messages_total counter\n\
         shop_messages_total{{outcome=\"handled\"}} {all}\n\
         shop_messages_total{{outcome=\"duplicate\"}} 9\n\n\
         shop_outbox_pending 3\nshop_outbox_oldest_age_seconds 7.5\nshop_outbox_stuck 1\n\
         shop_broker_blocked 0\nshop_dead_letters 4\n\
         {bucket}\"0.0025\"}} 0\n{bucket}\"0.005\"}} {half}\n{bucket}\"0.01\"}} {all}\n\
         {bucket}\"+Inf\"}} {all}\n"
    ))
}

async fn queues() -> Json<Value> {
    let queue = |name: &str, ready: u64, unacked: u64, consumers: u64| {
        json!({ "name": name, "messages": ready + unacked, "messages_ready": ready,
                "messages_unacknowledged": unacked, "consumers": consumers })
    };
    let mut queues = vec![queue("order.retry.1s", 2, 0, 0), queue("order.retry.10m", 3, 0, 0)];
    for service in SERVICES.iter().filter(|service| **service != "email") {
        queues.push(queue(&format!("{service}.in"), 5, 6, 2));
        queues.push(queue(&format!("{service}.dlq"), 1, 0, 1));
    }
    Json(json!(queues))
}

fn run(mut command: Command) -> (i32, String) {
    let output = command.output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
}

/// A service's line of the table, by its columns.
fn cells<'a>(table: &'a str, service: &str) -> Vec<&'a str> {
    let line = table.lines().find(|line| line.starts_with(&format!("{service} ")));
    line.unwrap_or_else(|| panic!("{service} is missing in:\n{table}")).split("  ").collect()
}

fn nowhere() -> String {
    format!("127.0.0.1:{}", free_port().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn every_figure_is_told_by_its_name_as_its_source_has_it() {
    let shop = FakeShop::new().await;
    let (code, answer) = run(shop.status("email", &["-o", "json"]));
    let mut answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((code, &answer["ready"]), (0, &json!(true)), "{answer:#}");
    assert_eq!(answer.get("broker_error"), None);
    let order = &mut answer["services"][0];
    let rate = order["handled_per_second"].take().as_f64().unwrap();
    assert!(rate > 1.0 && rate <= HANDLED as f64 / 0.09, "40 in 100 ms or more: {rate}");
    let p95 = order["p95_ms"].take().as_f64().unwrap();
    assert!(p95 > 9.0 && p95 < 10.0, "{p95}");
    assert_eq!(
        *order,
        json!({
            "service": "order", "state": "ready",
            "handled_per_second": null, "p95_ms": null,
            "outbox_pending": 3, "outbox_oldest_age_seconds": 7.5, "outbox_stuck": 1,
            "broker_blocked": false,
            "queue_ready": 5, "queue_unacked": 6, "consumers": 2, "retry": 5,
            "dead_letter_queue": 1, "dead_letters": 4,
        })
    );
    let email = &answer["services"][3];
    assert_eq!((&email["service"], &email["queue_ready"]), (&json!("email"), &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_service_that_is_not_ready_or_away_says_why_and_its_queue_is_shown() {
    let shop = FakeShop::new().await;
    let mut command = shop.status("payment", &[]);
    command.env("AUDIT_URL", format!("http://{}", nowhere()));
    let (code, table) = run(command);
    assert_eq!(code, 1);
    assert!(table.contains("\npayment is not ready: postgres: no connection\n"), "{table}");
    assert!(table.contains("\naudit: not listening\n"), "{table}");
    assert!(table.contains("\norder: 1 event in its outbox failed to be published\n"), "{table}");
    assert!(table.contains("\nthe broker has no queue email.in"), "{table}");
    let cell = |service, text| {
        let cells = cells(&table, service);
        cells.iter().any(|cell| cell.trim() == text)
    };
    assert!(cell("payment", "not ready") && cell("order", "ready"), "{table}");
    assert!(cell("audit", "no answer") && cell("audit", "6") && cell("audit", "-"), "{table}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn without_the_broker_one_line_says_why_and_the_rest_is_shown() {
    let shop = FakeShop::new().await;
    let mut command = shop.status("email", &[]);
    let broker = nowhere();
    command.env("MANAGEMENT_URL", format!("http://a:secret@{broker}"));
    let (code, table) = run(command);
    assert_eq!(code, 0, "who is ready is ready: {table}");
    let why: Vec<_> = table.lines().filter(|line| line.contains("no queue figures: ")).collect();
    assert_eq!(why.len(), 1, "{table}");
    assert!(why[0].contains(&broker) && why[0].contains("Connection refused"), "{table}");
    assert!(!table.contains("secret") && !table.contains("has no queue"), "{table}");
    assert!(cells(&table, "order").iter().any(|cell| cell.trim() == "8 s"), "{table}");
}

/// `shop status --watch` with a pipe for a reader.
fn watch(shop: &FakeShop, arguments: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut command = shop.status("payment", &[&["--watch"], arguments].concat());
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map(|line| line.unwrap()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_watch_on_a_pipe_writes_block_after_block_and_ends_well_when_asked() {
    let shop = FakeShop::new().await;
    let (mut child, mut lines) = watch(&shop, &[]);
    for _ in 0..2 {
        let block: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
        assert!(block[0].ends_with(" UTC, every 100ms"), "{block:?}");
        assert!(block[1].starts_with("service ") && block[2].starts_with("order "), "{block:?}");
        assert!(!block.concat().contains('\u{1b}'), "{block:?}");
    }
    process::interrupt(child.id()).unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_watch_for_machines_is_a_line_each_time_and_ends_with_its_reader() {
    let shop = FakeShop::new().await;
    let (mut child, mut lines) = watch(&shop, &["-o", "json"]);
    for _ in 0..2 {
        let answer: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        assert_eq!(
            (&answer["ready"], &answer["services"][2]["state"]),
            (&json!(false), &json!("not_ready"))
        );
    }
    drop(lines);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
