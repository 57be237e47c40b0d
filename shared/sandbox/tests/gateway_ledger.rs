//! The payment gateway's ledger: what a crash leaves, who may open it, and what the disk costs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod gateway_world;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gateway_world::{Folder, World, charge_body, request};
use reqwest::Method;
use sandbox::bind;
use sandbox::gateway::{Gateway, GatewayOptions, OpenError};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(30);

/// Tells the other process where its ledger is.
const LEDGER: &str = "SANDBOX_TEST_GATEWAY_LEDGER";

fn open(path: &Path) -> Result<Gateway, OpenError> {
    Gateway::open(path, GatewayOptions::default())
}

/// Stops the server and closes the ledger; the folder stays.
async fn close(world: World) -> Folder {
    let World { folder, gateway, server, client } = world;
    drop(client);
    server.stop().await.unwrap();
    drop(gateway);
    folder
}

/// Opens once connections have let go of the gateway.
async fn reopen(path: &Path) -> Gateway {
    let deadline = Instant::now() + DEADLINE;
    loop {
        match open(path) {
            Ok(gateway) => return gateway,
            Err(OpenError::InUse { .. }) if Instant::now() < deadline => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn charges_refunds_and_answers_are_the_same_after_a_restart() {
    let world = World::start().await;
    let captured = world.charge("k1", &charge_body("o1", "pm_ok")).await;
    let declined = world.charge("k2", &charge_body("o1", "pm_declined")).await;
    let refund = json!({ "charge_id": captured.1["charge_id"], "amount_minor": 98 }).to_string();
    let refunded = world.post("/refunds", "r1", &refund).await;
    let before = (world.gateway.charges(), world.gateway.refunds());
    let folder = close(world).await;

    let gateway = reopen(&folder.ledger()).await;
    assert_eq!(
        (gateway.charges(), gateway.refunds(), gateway.bytes_cut()),
        (before.0, before.1, 0)
    );
    assert_eq!(gateway.net_captured("o1"), 1900);
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let server = gateway.serve(listener, &CancellationToken::new()).unwrap();
    let world = World { folder, gateway, server, client: reqwest::Client::new() };
    assert_eq!(world.charge("k1", &charge_body("o1", "pm_ok")).await, captured);
    assert_eq!(world.charge("k2", &charge_body("o1", "pm_declined")).await, declined);
    assert_eq!(world.post("/refunds", "r1", &refund).await, refunded);
    assert_eq!((world.gateway.charges().len(), world.gateway.refunds().len()), (2, 1));
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_the_ledger_goes_on() {
    let world = World::start().await;
    world.charge("k1", &charge_body("o1", "pm_ok")).await;
    let folder = close(world).await;
    let whole = fs::metadata(folder.ledger()).unwrap().len();
    let torn = br#"{"charge":{"key":"k2","status":201,"ans"#;
    OpenOptions::new().append(true).open(folder.ledger()).unwrap().write_all(torn).unwrap();

    let gateway = reopen(&folder.ledger()).await;
    assert_eq!((gateway.charges().len(), gateway.bytes_cut()), (1, torn.len() as u64));
    assert_eq!(fs::metadata(folder.ledger()).unwrap().len(), whole);
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let server = gateway.serve(listener, &CancellationToken::new()).unwrap();
    let world = World { folder, gateway, server, client: reqwest::Client::new() };
    assert_eq!(world.charge("k2", &charge_body("o2", "pm_ok")).await.0, 201);
    let folder = close(world).await;
    assert_eq!(reopen(&folder.ledger()).await.charges().len(), 2);
}

#[tokio::test]
async fn a_file_that_is_no_sound_ledger_is_refused_and_left_as_it_was() {
    let world = World::start().await;
    world.charge("k1", &charge_body("o1", "pm_ok")).await;
    world.charge("k2", &charge_body("o2", "pm_ok")).await;
    let folder = close(world).await;
    let path = folder.ledger();
    drop(reopen(&path).await);
    let sound = fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = sound.lines().collect();
    let refund_first = r#"{"refund":{"key":"r","status":201,"answer":{},"record":{"refund_id":"re","charge_id":"ch","order_id":"o","amount_minor":1,"currency":"GBP","created_at":"2026-01-01T00:00:00Z"}}}"#;
    let cases = [
        ("a shopping list\n".to_owned(), "not a ledger"),
        (sound.replacen("\"version\":1", "\"version\":2", 1), "another version"),
        (sound.replacen(lines[1], "{\"charge\":", 1), "line 2"),
        (format!("{}\n{}\n{}\n", lines[0], lines[1], lines[1]), "line 3"),
        (format!("{}\n{refund_first}\n", lines[0]), "line 2"),
    ];
    for (content, reason) in cases {
        fs::write(&path, &content).unwrap();
        let error = open(&path).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    fs::write(&path, &sound.as_bytes()[..10]).unwrap();
    assert!(
        open(&path).unwrap().charges().is_empty(),
        "a header torn at the first start is mended"
    );
}

#[tokio::test]
async fn two_gateways_cannot_share_a_ledger() {
    let world = World::start().await;
    assert!(matches!(open(&world.folder.ledger()), Err(OpenError::InUse { .. })));
    let unusable = world.folder.ledger().join("below-a-file");
    assert!(matches!(open(&unusable), Err(OpenError::Io { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charges_that_come_at_once_share_the_synchronisation_of_the_disk() {
    let world = World::start().await;
    let mut charges = tokio::task::JoinSet::new();
    for n in 0..300 {
        let body = charge_body(&format!("o{n}"), "pm_ok");
        let request = world.request(Method::POST, "/charges", Some(&format!("k{n}")), Some(&body));
        charges.spawn(async move { request.send().await.unwrap().status().as_u16() });
    }
    assert!(charges.join_all().await.iter().all(|status| *status == 201));
    assert_eq!(world.gateway.charges().len(), 300);
    let commits = world.gateway.commits();
    assert!((1..300).contains(&commits), "{commits} synchronisations for 300 charges");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answered_charge_survives_kill_9() {
    let folder = Folder::new();
    let mut answered: Vec<(String, String)> = Vec::new();
    for round in 0..3 {
        let (mut child, url) = start_child(&folder.ledger());
        let answers = charge_until_killed(&mut child, &url, round).await;
        assert!(answers.len() >= 100, "only {} answers in round {round}", answers.len());
        answered.extend(answers);
    }
    let gateway = open(&folder.ledger()).unwrap();
    let charges = gateway.charges();
    let stored: std::collections::HashMap<_, _> = charges
        .iter()
        .map(|charge| (charge.order_id.as_str(), charge.charge_id.as_str()))
        .collect();
    assert_eq!(stored.len(), charges.len(), "an order was charged twice");
    for (order, answer) in &answered {
        let charge_id = stored.get(order.as_str()).unwrap_or_else(|| panic!("{order} was lost"));
        assert!(answer.contains(charge_id), "{order}: {answer}");
    }
}

/// Charges from many callers at once, kills the gateway in their midst, and returns what was
/// answered before.
async fn charge_until_killed(
    child: &mut OtherProcess,
    url: &str,
    round: u32,
) -> Vec<(String, String)> {
    let answers = Arc::new(Mutex::new(Vec::new()));
    let client = reqwest::Client::new();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16 {
        let (answers, client, url) = (Arc::clone(&answers), client.clone(), url.to_owned());
        callers.spawn(async move {
            for n in 0.. {
                let order = format!("r{round}-c{caller}-{n}");
                let body = charge_body(&order, "pm_ok");
                let charge =
                    request(&client, &url, Method::POST, "/charges", Some(&order), Some(&body));
                let Ok(answer) = charge.send().await else { return };
                let Ok(text) = answer.text().await else { return };
                answers.lock().unwrap().push((order, text));
            }
        });
    }
    let deadline = Instant::now() + DEADLINE;
    while answers.lock().unwrap().len() < 100 {
        assert!(Instant::now() < deadline, "the other process does not answer");
        tokio::task::yield_now().await;
    }
    child.kill_9();
    callers.join_all().await;
    std::mem::take(&mut *answers.lock().unwrap())
}

/// Does not outlive the test, however that ends.
struct OtherProcess(Child);

impl OtherProcess {
    fn kill_9(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn start_child(ledger: &Path) -> (OtherProcess, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_gateway_of_another_process", "--ignored", "--nocapture"])
        .env(LEDGER, ledger)
        .stdout(Stdio::piped())
        .spawn()
        .map(OtherProcess)
        .unwrap();
    let output = BufReader::new(child.0.stdout.take().unwrap());
    let mut lines = output.lines().map(Result::unwrap);
    let url = lines.find_map(|line| line.split_once("serving ").map(|(_, url)| url.to_owned()));
    // Reading on keeps the pipe open until the child is killed.
    std::thread::spawn(move || lines.for_each(drop));
    (child, url.expect("the other process did not start"))
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "how one test process tells another where to look")]
#[ignore = "not a test of its own: the process that kill -9 hits"]
async fn the_gateway_of_another_process() {
    let Some(ledger) = std::env::var_os(LEDGER).map(PathBuf::from) else { return };
    let gateway = open(&ledger).unwrap();
    let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let server = gateway.serve(listener, &CancellationToken::new()).unwrap();
    println!("serving {}", server.url());
    server.join().await.unwrap();
}
