//! The log: append only, once per event, and what is changed behind its back is found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use audit::application::record_event::record_events;
use audit::domain::chain::{Break, Entry};
use audit::{store, verify_chain};
use common::{Archive, event, record, replica};
use futures_util::future::join_all;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

#[tokio::test]
async fn an_empty_log_holds() {
    assert_eq!(Archive::open().await.check().await, (0, None));
}

#[tokio::test]
async fn a_log_longer_than_a_page_holds() {
    assert_eq!(Archive::of(600).await.check().await, (600, None));
}

#[tokio::test]
async fn every_field_comes_back_as_it_was_hashed() {
    let here = Archive::open().await;
    let body: Vec<u8> = (0..=u8::MAX).collect();
    let entry = Entry {
        causation_id: Some(Uuid::from_u64_pair(4, 4)),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        subject: "product/ü",
        body: &body,
        ..event(1)
    };
    assert!(here.record(&entry).await);
    assert!(here.record(&event(2)).await);
    assert_eq!(here.check().await, (2, None));
    let stored: Vec<u8> = sqlx::query_scalar("select body from entries where seq = 1")
        .fetch_one(here.pool.pg())
        .await
        .unwrap();
    assert_eq!(stored, body);
}

#[tokio::test]
async fn an_event_is_recorded_once_and_two_sources_may_use_one_id() {
    let here = Archive::open().await;
    assert!(here.record(&event(1)).await);
    assert!(!here.record(&Entry { body: b"other", ..event(1) }).await);
    assert!(here.record(&Entry { source: "urn:shop:test:payment", ..event(1) }).await);
    assert!(here.record(&event(2)).await);
    assert_eq!((here.count().await, here.check().await), (3, (3, None)));
}

#[tokio::test]
async fn what_is_rolled_back_leaves_no_gap() {
    let here = Archive::of(1).await;
    let mut tx = here.tx().await;
    assert!(record_events(&mut store(&mut tx), &[event(2)]).await.unwrap());
    drop(tx);
    assert!(here.record(&event(3)).await);
    assert_eq!(here.check().await, (2, None));
}

#[tokio::test]
async fn replicas_append_one_after_the_other() {
    let here = Archive::open().await;
    let replicas = [replica(here.database.pool()), replica(here.database.pool())];
    let all = (0..80).map(|n| record(&replicas[n % 2], &EVENTS[n / 2]));
    let new = join_all(all).await.into_iter().filter(|new| *new).count();
    assert_eq!((new, here.check().await), (40, (40, None)));
}

static EVENTS: std::sync::LazyLock<Vec<Entry<'static>>> =
    std::sync::LazyLock::new(|| (0..40).map(event).collect());

#[tokio::test]
async fn nothing_can_be_changed_or_removed_not_even_by_the_owner() {
    let here = Archive::of(2).await;
    for (table, sql) in [
        ("entries", "update entries set subject = 'order/2' where seq = 1"),
        ("entries", "update entries set subject = 'order/2' where seq = 77"),
        ("entries", "delete from entries where seq = 2"),
        ("entries", "truncate entries"),
        (
            "entries",
            "insert into entries select * from entries where seq = 1
            on conflict (seq) do update set subject = 'order/2'",
        ),
        ("chain_head", "delete from chain_head"),
        ("chain_head", "truncate chain_head"),
    ] {
        let refused = sqlx::query(AssertSqlSafe(sql)).execute(here.pool.pg()).await.unwrap_err();
        let error = refused.as_database_error().unwrap();
        assert_eq!(error.code().as_deref(), Some("42501"), "{sql}: {error}");
        let text = format!("table {table} is append only");
        assert!(error.message().contains(&text), "{sql}: {error}");
    }
    assert_eq!((here.count().await, here.check().await), (2, (2, None)));
}

#[tokio::test]
async fn what_was_changed_behind_the_logs_back_is_found() {
    let altered = [
        "subject = 'order/2'",
        "type = 'shop.order.cancelled.v1'",
        "source = 'urn:shop:test:payment'",
        "event_id = gen_random_uuid()",
        "aggversion = 2",
        "correlation_id = gen_random_uuid()",
        "causation_id = gen_random_uuid()",
        "traceparent = ''",
        "occurred_at = occurred_at + interval '1 microsecond'",
        "received_at = received_at - interval '1 microsecond'",
        "body = '[]'",
        "signature = set_byte(signature, 0, 0)",
        "key_id = 'order-2'",
        "hash = set_byte(hash, 31, get_byte(hash, 31) # 1)",
    ];
    let here = Archive::of(5).await;
    for change in altered {
        sqlx::raw_sql("create table was as select * from entries")
            .execute(here.pool.pg())
            .await
            .unwrap();
        here.tamper(&format!("update entries set {change} where seq = 3")).await;
        assert_eq!(here.check().await, (2, Some(Break::Altered(3))), "{change}");
        here.tamper("delete from entries; insert into entries select * from was; drop table was")
            .await;
        assert_eq!(here.check().await, (5, None));
    }
}

#[tokio::test]
async fn what_was_removed_or_slipped_in_behind_the_logs_back_is_found() {
    let copy = "insert into entries select seq + 1, gen_random_uuid(), source, type, subject,
        aggversion, correlation_id, causation_id, traceparent, occurred_at, received_at, body,
        signature, key_id, prev_hash, hash from entries where seq = 5";
    let swapped = "update entries set seq = -seq where seq in (2, 3);
        update entries set seq = 5 + seq where seq < 0";
    for (sql, found) in [
        ("delete from entries where seq = 1", Break::Missing(1)),
        ("delete from entries where seq = 3", Break::Missing(3)),
        ("delete from entries where seq = 5", Break::Missing(5)),
        ("delete from entries", Break::Missing(1)),
        (copy, Break::Unlinked(6)),
        ("update entries set prev_hash = hash where seq = 2", Break::Unlinked(2)),
        ("update chain_head set hash = set_byte(hash, 0, get_byte(hash, 0) # 1)", Break::Head(5)),
        ("update chain_head set seq = 4", Break::Head(5)),
        ("update chain_head set seq = 6", Break::Missing(6)),
    ] {
        let here = Archive::of(5).await;
        here.tamper(sql).await;
        assert_eq!(here.check().await.1, Some(found), "{sql}");
    }
    let here = Archive::of(5).await;
    here.tamper("alter table entries drop constraint entries_seq_check").await;
    here.tamper(swapped).await;
    assert_eq!(here.check().await.1, Some(Break::Unlinked(2)));
}

#[tokio::test]
async fn a_report_names_the_end_of_what_holds() {
    let here = Archive::of(3).await;
    let report = verify_chain(here.pool.pg()).await.unwrap();
    let head: Vec<u8> =
        sqlx::query_scalar("select hash from chain_head").fetch_one(here.pool.pg()).await.unwrap();
    assert_eq!(report.hash.as_slice(), head);
    assert!(here.record(&event(4)).await);
    assert_ne!(verify_chain(here.pool.pg()).await.unwrap().hash, report.hash);
}
