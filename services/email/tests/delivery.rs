//! What customers get, and what becomes of it when the mail server is in trouble.
#![allow(clippy::unwrap_used)]

mod common;

use chassis::health::Health;
use chassis::metrics;
use chassis::service::HttpService;
use common::{ADA, SOON, World};
use contracts::order::CancelReason;
use email::presentation::http::api;
use serde_json::{Value, json};
use testkit::eventually;
use testkit::smtp::Fault;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const CONFIRMED: &str = "order_confirmed";
const CANCELLED: &str = "order_cancelled";
const REFUNDED: &str = "payment_refunded";

#[tokio::test]
async fn a_confirmed_order_is_told_to_its_customer_once_as_text_and_html() {
    let mut world = World::new().await;
    let order_id = world.order();
    world.confirmed(order_id).await;
    world.confirmed(order_id).await;
    assert!(world.told().await.is_empty());
    world.service.send_all().await;

    let mails = world.mails();
    assert_eq!(mails.len(), 1);
    let mail = &mails[0];
    assert_eq!((mail.from.as_str(), mail.to[0].as_str()), ("shop@tidings.example", ADA));
    assert!(mail.subject.starts_with("Your order is confirmed"), "{}", mail.subject);
    for form in [mail.text.as_deref().unwrap(), mail.html.as_deref().unwrap()] {
        assert!(form.contains("19.99 GBP") && form.contains(&order_id.to_string()), "{form}");
    }
    assert!(mail.html.as_deref().unwrap().contains("<table"));
    assert!(mail.header("Content-Type").unwrap().starts_with("multipart/alternative"));

    let email = world.email(order_id, CONFIRMED).await;
    assert_eq!((&email["status"], &email["attempts"]), (&json!("sent"), &json!(1)));
    let message_id = format!("{}@tidings.example", email["id"].as_str().unwrap());
    assert_eq!(mail.message_id.as_deref(), Some(message_id.as_str()));
    let told = world.told().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0]["type"], "shop.email.sent.v1");
    assert_eq!(told[0]["aggversion"], 1);
    assert_eq!(told[0]["subject"], format!("email/{}", email["id"].as_str().unwrap()));
    let data = json!({ "email_id": email["id"], "order_id": order_id, "template": CONFIRMED,
        "message_id": message_id });
    assert_eq!(told[0]["data"], data);
}

#[tokio::test]
async fn the_mail_stays_in_the_chain_and_the_trace_of_its_order() {
    let mut world = World::new().await;
    let order_id = world.order();
    let cause = world.confirmed(order_id).await;
    let wish = world.email(order_id, CONFIRMED).await;
    world.service.send_all().await;
    let told = world.told().await;
    assert_eq!(told[0]["correlationid"], wish["correlation_id"]);
    assert_eq!(told[0]["causationid"], cause.to_string());
    let trace = |traceparent: &Value| traceparent.as_str().unwrap()[3..35].to_owned();
    assert_eq!(trace(&told[0]["traceparent"]), trace(&wish["traceparent"]));
}

#[tokio::test]
async fn a_cancelled_order_is_told_with_its_reason() {
    let mut world = World::new().await;
    let reasons = [
        (CancelReason::OutOfStock, "not all of your order was in stock"),
        (CancelReason::PaymentDeclined, "payment was declined"),
        (CancelReason::CustomerRequest, "as you asked"),
        (CancelReason::TimedOut, "could not be finished in time"),
    ];
    for (reason, words) in reasons {
        world.cancelled(world.order(), reason).await;
        world.service.send_all().await;
        let mail = world.mails().pop().unwrap();
        assert!(mail.subject.starts_with("Your order is cancelled"));
        for form in [&mail.text, &mail.html] {
            let form = form.as_deref().unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(form.contains(words), "{form}");
        }
    }
    assert_eq!(world.mails().len(), 4);
}

#[tokio::test]
async fn a_refund_is_told_whether_it_comes_before_or_after_the_cancellation() {
    let mut world = World::new().await;
    let (after, before) = (world.order(), world.order());
    world.cancelled(after, CancelReason::CustomerRequest).await;
    world.refunded(after).await;
    world.refunded(before).await;
    world.service.send_all().await;
    assert_eq!(world.email(after, REFUNDED).await["status"], "sent");
    let waiting = world.email(before, REFUNDED).await;
    assert_eq!((&waiting["status"], &waiting["attempts"]), (&json!("pending"), &json!(0)));

    world.cancelled(before, CancelReason::CustomerRequest).await;
    world.service.send_all().await;
    assert_eq!(world.email(before, CANCELLED).await["status"], "sent");
    assert_eq!(world.email(before, REFUNDED).await["status"], "sent");
    let refund = world.mails().into_iter().filter(|mail| mail.subject.contains("money"));
    assert_eq!(refund.map(|mail| mail.to[0].clone()).collect::<Vec<_>>(), [ADA, ADA]);
}

#[tokio::test]
async fn a_refund_and_a_cancellation_at_the_same_moment_miss_each_other_never() {
    let mut world = World::new().await;
    let orders: Vec<Uuid> = (0..20).map(|_| world.order()).collect();
    for order_id in &orders {
        let cancelled = world.cancelled(*order_id, CancelReason::TimedOut);
        tokio::join!(world.refunded(*order_id), cancelled);
    }
    world.service.send_all().await;
    for order_id in orders {
        assert_eq!(world.email(order_id, REFUNDED).await["status"], "sent");
    }
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again() {
    let mut world = World::new().await;
    let order_id = world.order();
    world.faults().set_next(Fault::RefuseTemporarily, 2);
    world.confirmed(order_id).await;
    world.service.send_due().await;
    let email = world.email(order_id, CONFIRMED).await;
    assert_eq!(email["status"], "pending");
    assert_eq!(email["last_error"], "450 4.2.1 mailbox busy, try again later");
    world.service.send_all().await;
    let email = world.email(order_id, CONFIRMED).await;
    assert_eq!((&email["status"], &email["attempts"]), (&json!("sent"), &json!(3)));
    assert_eq!(world.mails().len(), 1);
}

#[tokio::test]
async fn a_mail_that_is_refused_for_good_fails_and_says_why_without_the_address() {
    let mut world = World::new().await;
    world.faults().set(Fault::RefusePermanently);
    world.confirmed(world.order()).await;
    world.service.send_all().await;
    world.faults().clear();
    // No address at all: the event was written by somebody who did not check it.
    world.confirmed_to(world.order(), "ada@example.com\r\nBcc: eve@example.com").await;
    world.service.send_all().await;

    let told = world.told().await;
    let reasons: Vec<&Value> = told.iter().map(|told| &told["data"]["reason"]).collect();
    let expected = ["550 5.1.1 no such mailbox", "the recipient's address is not valid"];
    assert_eq!(reasons, expected);
    assert!(told.iter().all(|told| told["type"] == "shop.email.failed.v1"));
    assert!(!format!("{told:?}").contains("example.com"));
    assert!(world.mails().is_empty());
}

#[tokio::test]
async fn a_mail_cut_off_at_its_end_goes_out_again_under_the_same_message_id() {
    let mut world = World::new().await;
    let order_id = world.order();
    world.faults().set_next(Fault::CutAfterStoring, 1);
    world.confirmed(order_id).await;
    world.service.send_all().await;
    let email = world.email(order_id, CONFIRMED).await;
    assert_eq!((&email["status"], &email["attempts"]), (&json!("sent"), &json!(2)));
    let twice = world.mailbox.by_message_id(email["message_id"].as_str().unwrap());
    assert_eq!(twice.len(), 2);
    assert_eq!(twice[0].raw, twice[1].raw);
    assert_eq!(world.told().await.len(), 1);

    let other = world.order();
    world.faults().set_next(Fault::CutBeforeStoring, 1);
    world.confirmed(other).await;
    world.service.send_all().await;
    let email = world.email(other, CONFIRMED).await;
    assert_eq!(email["status"], "sent");
    assert_eq!(world.mailbox.by_message_id(email["message_id"].as_str().unwrap()).len(), 1);
}

#[tokio::test]
async fn mails_wait_for_a_server_that_is_away_and_leave_it_alone() {
    let mut world = World::new().await;
    world.shut_server().await;
    let mut orders = Vec::new();
    for _ in 0..40 {
        let order_id = world.order();
        world.confirmed(order_id).await;
        orders.push(order_id);
    }
    let (stop, running) = world.service.run();
    let sum = async |column: &str| -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("select sum({column}) from emails"));
        sqlx::query_scalar(sql).fetch_one(&world.database.pool()).await.unwrap()
    };
    eventually(SOON, || async { sum("failures").await >= 10 }).await;
    let attempts = sum("attempts").await;
    assert!(attempts < 40, "{attempts} attempts: most should not have been tried");

    world.open_server().await;
    for order_id in orders {
        world.becomes(order_id, CONFIRMED, "sent").await;
    }
    assert_eq!(world.mails().len(), 40);
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn two_processes_at_once_send_every_mail_once() {
    let world = World::new().await;
    let other = world.replica();
    let (ours, theirs) = (world.service.live().await, other.live().await);
    let mut orders = Vec::new();
    for _ in 0..60 {
        let order_id = world.order();
        world.confirmed(order_id).await;
        orders.push(order_id);
    }
    let (stop, running) = world.service.run();
    let (stop_other, running_other) = other.run();
    for order_id in orders {
        other.app.wanted.notify();
        let email = world.becomes(order_id, CONFIRMED, "sent").await;
        assert_eq!(email["attempts"], 1);
    }
    assert_eq!(world.mails().len(), 60);
    assert_eq!(world.told().await.len(), 60);
    stop.cancel();
    stop_other.cancel();
    running.await.unwrap();
    running_other.await.unwrap();
    ours.abort();
    theirs.abort();
}

#[tokio::test]
async fn the_mail_of_a_killed_process_is_taken_over_at_once() {
    let world = World::new().await;
    let (other, order_id) = (world.replica(), world.order());
    let presence = other.live().await;
    world.confirmed(order_id).await;
    let leased = other.app.leases.take(1).await.unwrap().leased;
    assert_eq!(leased.len(), 1);
    assert!(world.service.app.leases.take(1).await.unwrap().leased.is_empty());
    let lease_until = world.email(order_id, CONFIRMED).await["lease_until"].clone();

    // It sends, and is killed before it can store that.
    let (sent, _) = other.app.mailer.send(&leased[0].attempt, &leased[0].cause).await;
    assert_eq!(sent, Ok(()));
    other.kill(presence).await;
    let (stop, running) = world.service.run();
    eventually(SOON, || async {
        world.service.app.wanted.notify();
        world.email(order_id, CONFIRMED).await["status"] == "sent"
    })
    .await;
    assert!(world.sent_within(order_id, CONFIRMED, &lease_until).await, "it waited for the lease");
    stop.cancel();
    running.await.unwrap();
    let mails = world.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0].message_id, mails[1].message_id);
    assert_eq!(world.told().await.len(), 1);
}

#[tokio::test]
async fn a_client_sees_the_mails_of_an_order_and_no_address() {
    let mut world = World::new().await;
    let metrics = metrics::install("shop").unwrap();
    let api = api().with_state(world.service.app.clone());
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let http = HttpService::bind(anywhere, api, &Health::new(), &metrics).await.unwrap();
    let (url, stop) = (format!("http://{}", http.local_addr()), CancellationToken::new());
    #[expect(clippy::disallowed_methods, reason = "the test is the supervisor")]
    let serving = tokio::spawn(http.run(stop.clone()));
    let get = async |path: String| {
        let response = reqwest::get(format!("{url}{path}")).await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };

    let order_id = world.order();
    assert_eq!(get(format!("/emails?order_id={order_id}")).await, (200, json!({ "emails": [] })));
    world.refunded(order_id).await;
    let waiting = get(format!("/emails?order_id={order_id}")).await.1;
    assert_eq!(waiting["emails"][0]["to_masked"], Value::Null);
    world.cancelled(order_id, CancelReason::TimedOut).await;
    world.service.send_all().await;
    let (_, body) = get(format!("/emails?order_id={order_id}")).await;
    let emails = body["emails"].as_array().unwrap();
    assert_eq!(emails.len(), 2);
    assert_eq!(
        (&emails[0]["template"], &emails[1]["template"]),
        (&json!(REFUNDED), &json!(CANCELLED))
    );
    for email in emails {
        assert_eq!(
            (&email["status"], &email["to_masked"]),
            (&json!("sent"), &json!("a***@example.com"))
        );
        assert!(email["sent_at"].as_str().unwrap().ends_with('Z'));
        assert!(email["message_id"].as_str().unwrap().ends_with("@tidings.example"));
    }

    let (status, problem) = get("/emails?order_id=7".into()).await;
    assert_eq!((status, &problem["code"]), (400, &json!("invalid_id")));
    let (status, problem) = get("/emails".into()).await;
    assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")));
    stop.cancel();
    serving.await.unwrap().unwrap();
}
