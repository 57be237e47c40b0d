//! Every invariant, broken once on purpose and seen, and a shop in order in which nothing is seen.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod verify_world;

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use envelope::{Clock, TimeSource};
use serde_json::json;
use shop::verify::{Broker, Coverage, Gateway, Service, settle};
use testkit::{eventually, free_port};
use uuid::Uuid;
use verify_world::Shop;

const SOON: Duration = Duration::from_secs(20);

/// The shop breaks this one invariant, so often, and says so in such words.
async fn breaks_only(shop: &Shop, id: &str, times: u64, words: &str) {
    let complaints = shop.complaints().await;
    let [(seen, count, first)] = complaints.as_slice() else {
        panic!("{id} and nothing else was to be broken: {complaints:#?}");
    };
    assert_eq!((*seen, *count), (id, times), "{first}");
    assert!(first.contains(words), "{first}");
}

#[tokio::test]
async fn a_shop_in_order_breaks_nothing_and_everything_is_looked_at() {
    let shop = Shop::at_rest().await;
    assert_eq!(settle(&shop.world, SOON).await.unwrap(), None);
    for verdict in shop.verdicts().await {
        assert_eq!(verdict.findings.violations, 0, "{}: {verdict:#?}", verdict.id);
        let by_nature = matches!(verdict.findings.coverage, Coverage::Partial(_));
        assert_eq!(by_nature, matches!(verdict.id, "I4" | "I5"), "{verdict:#?}");
        assert!(verdict.findings.checked > 0 || verdict.id == "I4", "{verdict:#?}");
    }
}

#[tokio::test]
async fn an_order_on_its_way_breaks_nothing_but_the_shop_is_not_at_rest() {
    let shop = Shop::at_rest().await;
    shop.order_under_way().await;
    assert_eq!(shop.complaints().await, []);
    let busy = settle(&shop.world, Duration::ZERO).await.unwrap();
    assert_eq!(busy.as_deref(), Some("1 payments wait for the gateway"));
}

#[tokio::test]
async fn i1_sees_state_without_its_event_and_events_without_their_state() {
    let shop = Shop::at_rest().await;
    let sql = format!("update reservations set version = 3 where order_id = '{}'", shop.confirmed);
    shop.tamper(Service::Inventory, sql).await;
    breaks_only(&shop, "I1", 1, "is at version 3, but has 2 events up to version 2").await;

    let shop = Shop::at_rest().await;
    shop.tamper(Service::Email, "delete from emails where template = 'payment_refunded'").await;
    breaks_only(&shop, "I1", 1, "does not exist, but has 1 events up to version 1").await;
}

#[tokio::test]
async fn what_was_pruned_after_a_month_is_not_missed() {
    let mut shop = Shop::at_rest().await;
    for service in Service::ALL {
        shop.tamper(service, "delete from messaging.outbox; delete from messaging.inbox").await;
    }
    assert!(!shop.complaints().await.is_empty());
    shop.world.clock = Clock::from_source(NextMonth(Clock::system()));
    assert_eq!(shop.complaints().await, []);
}

/// The system's clock, 31 days ahead.
struct NextMonth(Clock);

impl TimeSource for NextMonth {
    fn now(&self) -> DateTime<Utc> {
        self.0.now() + TimeDelta::days(31)
    }

    fn new_id(&self) -> Uuid {
        self.0.new_id()
    }

    fn unit(&self) -> f64 {
        self.0.unit()
    }
}

#[tokio::test]
async fn i2_sees_what_was_handled_by_a_stranger() {
    let shop = Shop::at_rest().await;
    // Email is not bound to placed orders.
    let (body, id): (Vec<u8>, Uuid) = sqlx::query_as(
        "select body, event_id from messaging.outbox where type = 'shop.order.placed.v1' limit 1",
    )
    .fetch_one(shop.world.databases.of(Service::Order))
    .await
    .unwrap();
    sqlx::query(
        "insert into messaging.inbox values ('email', 'urn:shop:test:order', $1,
            'shop.order.placed.v1', 'order/1', 1, sha256($2), 'order', now())",
    )
    .bind(id)
    .bind(body)
    .execute(shop.world.databases.of(Service::Email))
    .await
    .unwrap();
    breaks_only(&shop, "I2", 1, "which order did not publish to it").await;
}

#[tokio::test]
async fn i2_sees_an_event_without_its_effect() {
    let shop = Shop::at_rest().await;
    let sql = format!(
        "update emails set template = 'payment_refunded' where order_id = '{}'",
        shop.confirmed
    );
    shop.tamper(Service::Email, sql).await;
    breaks_only(&shop, "I2", 1, "it was confirmed, and no mail was written").await;
}

#[tokio::test]
async fn a_lost_message_is_seen_by_its_id_and_in_the_count() {
    let shop = Shop::at_rest().await;
    shop.tamper(
        Service::Inventory,
        format!(
            "delete from messaging.inbox where type = 'shop.order.confirmed.v1'
            and subject = 'order/{}'",
            shop.confirmed
        ),
    )
    .await;
    let complaints = shop.complaints().await;
    let ids: Vec<_> = complaints.iter().map(|(id, count, _)| (*id, *count)).collect();
    assert_eq!(ids, [("I2", 1), ("I16", 1)], "{complaints:#?}");
    assert!(complaints[0].2.contains("never reached inventory"), "{complaints:#?}");
    let busy = settle(&shop.world, Duration::ZERO).await.unwrap();
    assert_eq!(busy.as_deref(), Some("1 events have not reached inventory"));
}

#[tokio::test]
async fn a_parked_message_is_accounted_for_and_not_handled_until_somebody_discards_it() {
    let shop = Shop::at_rest().await;
    let event =
        format!("type = 'shop.order.confirmed.v1' and subject = 'order/{}'", shop.confirmed);
    shop.tamper(
        Service::Inventory,
        format!(
            "insert into messaging.dead_letter (id, queue, source, event_id, type, body_sha256,
                body, headers, reason_code, reason, attempts, parked_at)
            select gen_random_uuid(), 'inventory.in', source, event_id, type, body_sha256, '',
                '{{}}', 'retries_exhausted', 'it would not', 6, now()
            from messaging.inbox where {event};
            delete from messaging.inbox where {event}"
        ),
    )
    .await;
    breaks_only(&shop, "I2", 1, "is parked in inventory.dlq, not handled").await;
    // One that will have its second chance by itself, before any job is made of it.
    let innocent = "update messaging.dead_letter set reason_code = 'delivery_limit'";
    shop.tamper(Service::Inventory, innocent).await;
    let busy = settle(&shop.world, Duration::ZERO).await.unwrap();
    assert_eq!(busy.as_deref(), Some("1 replays of inventory's dead letters are under way"));
    let replay = "update messaging.dead_letter set state = 'replaying';
        insert into messaging.replay_job (id, asked_by, asked_at, selection, note, rate, state)
        values (gen_random_uuid(), 'grace', now(), '{}', '', 50, 'running')";
    shop.tamper(Service::Inventory, replay).await;
    breaks_only(&shop, "I2", 1, "is parked in inventory.dlq, not handled").await;
    let busy = settle(&shop.world, Duration::ZERO).await.unwrap();
    assert_eq!(busy.as_deref(), Some("1 replays of inventory's dead letters are under way"));
    shop.tamper(Service::Inventory, "update messaging.dead_letter set state = 'discarded'").await;
    assert_eq!(shop.complaints().await, []);
}

#[tokio::test]
async fn what_came_by_a_wrong_binding_and_was_parked_is_nobodys_loss() {
    let shop = Shop::at_rest().await;
    let id: Uuid = sqlx::query_scalar(
        "select event_id from messaging.outbox where type = 'shop.order.placed.v1' limit 1",
    )
    .fetch_one(shop.world.databases.of(Service::Order))
    .await
    .unwrap();
    // Email is not bound to placed orders.
    let parked = format!(
        "insert into messaging.dead_letter (id, queue, event_id, type, body_sha256, body, headers,
            reason_code, reason, attempts, parked_at)
        values (gen_random_uuid(), 'email.in', '{id}', 'shop.order.placed.v1', '', '', '{{}}',
            'unknown_type', 'no handler', 1, now())"
    );
    shop.tamper(Service::Email, parked).await;
    assert_eq!(shop.complaints().await, []);
}

#[tokio::test]
async fn i3_sees_a_handled_message_that_is_not_what_was_written() {
    let shop = Shop::at_rest().await;
    shop.tamper(
        Service::Payment,
        "update messaging.inbox set body_sha256 = sha256('another')
        where event_id = (select max(event_id::text)::uuid from messaging.inbox)",
    )
    .await;
    breaks_only(&shop, "I3", 1, "with other bytes than").await;
}

#[tokio::test]
async fn i5_sees_a_row_that_was_refused_and_counts_as_published() {
    let shop = Shop::at_rest().await;
    let sql = "update messaging.outbox set last_error = 'no queue wants it'
        where type = 'shop.order.confirmed.v1'";
    shop.tamper(Service::Order, sql).await;
    breaks_only(&shop, "I5", 1, "no queue wants it").await;
}

#[tokio::test]
async fn i6_sees_oversold_stock_and_a_database_that_would_let_it_happen() {
    let shop = Shop::at_rest().await;
    let order = shop.order_under_way().await;
    shop.tamper(Service::Inventory, "alter table products drop constraint products_check").await;
    breaks_only(&shop, "I6", 1, "no constraint").await;
    shop.tamper(
        Service::Inventory,
        format!(
            "update reservation_lines set quantity = 1000 where order_id = '{order}';
            update products set reserved = 1000"
        ),
    )
    .await;
    breaks_only(&shop, "I6", 2, "has 1000 of 99 pieces reserved").await;
}

#[tokio::test]
async fn i7_sees_stock_that_is_reserved_for_nobody() {
    let shop = Shop::at_rest().await;
    shop.tamper(Service::Inventory, "update products set reserved = 2").await;
    breaks_only(&shop, "I7", 1, "has 2 pieces reserved, its live reservations hold 0").await;
}

#[tokio::test]
async fn i8_sees_pieces_that_appeared_from_nowhere() {
    let shop = Shop::at_rest().await;
    shop.tamper(Service::Inventory, "update products set on_hand = on_hand + 1").await;
    breaks_only(&shop, "I8", 1, "has 100 pieces on hand, its movements come to 99").await;
}

#[tokio::test]
async fn i9_sees_a_second_charge() {
    let shop = Shop::at_rest().await;
    shop.charge(shop.confirmed, "another key", "pm_ok").await;
    breaks_only(&shop, "I9", 1, "charged it 2 times").await;
}

#[tokio::test]
async fn i9_sees_a_charge_that_nobody_ordered() {
    let shop = Shop::at_rest().await;
    shop.charge(shop.world.clock.new_id(), "a key", "pm_ok").await;
    breaks_only(&shop, "I9", 1, "which nobody ordered").await;
}

#[tokio::test]
async fn i10_sees_an_order_that_nothing_will_end() {
    let shop = Shop::at_rest().await;
    let order = shop.order_under_way().await;
    let sql = format!("update payments set next_attempt_at = null where order_id = '{order}'");
    shop.tamper(Service::Payment, sql).await;
    breaks_only(&shop, "I10", 1, "nothing is under way that could end it").await;
}

#[tokio::test]
async fn i10_sees_an_order_that_takes_too_long() {
    let shop = Shop::at_rest().await;
    let order = shop.order_under_way().await;
    let sql = "update orders set deadline_at = now() - interval '1 minute'";
    shop.tamper(Service::Order, format!("{sql} where id = '{order}'")).await;
    breaks_only(&shop, "I10", 1, "after its deadline").await;
}

#[tokio::test]
async fn i11_sees_stock_that_a_cancelled_order_holds() {
    let shop = Shop::at_rest().await;
    shop.tamper(
        Service::Inventory,
        format!(
            "update reservations set status = 'reserved' where order_id = '{}';
            update products set reserved = reserved + 1",
            shop.declined
        ),
    )
    .await;
    breaks_only(&shop, "I11", 1, "its goods are reserved").await;
}

#[tokio::test]
async fn i11_sees_a_cancelled_order_that_was_confirmed_by_mail() {
    let shop = Shop::at_rest().await;
    shop.tamper(
        Service::Email,
        format!(
            "insert into emails (id, order_id, template, data, message_id, status, correlation_id,
                created_at)
            values (gen_random_uuid(), '{order}', 'order_confirmed', '{{}}', 'x@y', 'pending',
                '{order}', now() + interval '1 second')",
            order = shop.out_of_stock
        ),
    )
    .await;
    breaks_only(&shop, "I11", 1, "its confirmation mail is pending").await;
}

#[tokio::test]
async fn i12_sees_a_history_that_could_not_be() {
    let shop = Shop::at_rest().await;
    let sql = format!(
        "update order_history set status = 'confirmed' where order_id = '{}' and version = 1",
        shop.refunded
    );
    shop.tamper(Service::Order, sql).await;
    breaks_only(&shop, "I12", 2, "went from").await;
}

#[tokio::test]
async fn i16_sees_a_message_too_many() {
    let shop = Shop::at_rest().await;
    let (vhost, management) = (shop.vhost.name(), shop.vhost.management());
    let queue = Some(json!({ "durable": true, "arguments": { "x-queue-type": "quorum" } }));
    let put = reqwest::Method::PUT;
    management.call(put, &["queues", vhost, "email.in"], queue).await.unwrap();
    let stray = json!({ "properties": {}, "routing_key": "email.in", "payload": "stray",
        "payload_encoding": "string" });
    let path = ["exchanges", vhost, "amq.default", "publish"];
    management.call(reqwest::Method::POST, &path, Some(stray)).await.unwrap();
    eventually(SOON, || async {
        let busy = settle(&shop.world, Duration::ZERO).await.unwrap().unwrap_or_default();
        if busy == "1 messages are in email.in" { Ok(()) } else { Err(busy) }
    })
    .await;
    breaks_only(&shop, "I16", 1, "dead letters 0, in the broker 1").await;
}

#[tokio::test]
async fn i18_sees_an_altered_log_and_one_that_may_be_altered() {
    let shop = Shop::at_rest().await;
    shop.tamper(
        Service::Audit,
        "begin; set local session_replication_role = replica;
        update entries set received_at = received_at + interval '1 day' where seq = 3; commit",
    )
    .await;
    breaks_only(&shop, "I18", 1, "entry 3 was altered").await;
    shop.tamper(Service::Audit, "alter table entries disable trigger all").await;
    breaks_only(&shop, "I18", 3, "entry 3 was altered").await;
}

#[tokio::test]
async fn i18_sees_an_event_that_is_not_in_the_log() {
    let shop = Shop::at_rest().await;
    shop.tamper(
        Service::Audit,
        "begin; set local session_replication_role = replica;
        delete from entries where seq = (select max(seq) from entries);
        update chain_head set seq = (select max(seq) from entries),
            hash = (select hash from entries order by seq desc limit 1); commit",
    )
    .await;
    breaks_only(&shop, "I18", 1, "is not in the audit log").await;
}

#[tokio::test]
async fn what_cannot_be_asked_is_unknown_and_not_in_order() {
    let mut shop = Shop::at_rest().await;
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    shop.world.broker = Broker::new(&format!("http://a:b@{nobody}"), "shop").unwrap();
    shop.world.gateway = Gateway::new(format!("http://{nobody}"));
    let verdicts = shop.verdicts().await;
    let unknown: Vec<_> = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.findings.coverage, Coverage::Unknown(_)))
        .map(|verdict| verdict.id)
        .collect();
    assert_eq!(unknown, ["I9", "I11", "I16"]);
    assert_eq!(shop.complaints().await, []);
}

#[tokio::test]
async fn an_unpublished_event_keeps_the_shop_from_being_at_rest() {
    let shop = Shop::at_rest().await;
    let sql =
        "update messaging.outbox set published_at = null where type = 'shop.order.confirmed.v1'";
    shop.tamper(Service::Order, sql).await;
    let busy = settle(&shop.world, Duration::ZERO).await.unwrap();
    assert_eq!(busy.as_deref(), Some("1 events wait in order's outbox"));
}
