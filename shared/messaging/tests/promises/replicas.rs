//! Several processes over one database: each partition has one owner, nobody waits for the dead.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use messaging::step::Step;
use messaging::{Handlers, Presence, partition_of};
use testkit::eventually;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use crate::house::{House, Lit, Raw, SOON, Service, Shifted, Wire};

struct Pair {
    house: House,
    one: Service,
    other: Service,
    wire: Wire,
}

async fn pair() -> Pair {
    let house = House::new().await;
    let one = house.lamp().await;
    let other = one.replica(&house, Handlers::new());
    one.provision().await;
    let wire = house.wire().await;
    wire.queue("probe", &["#"]).await;
    Pair { house, one, other, wire }
}

/// How many partitions each of the two holds by a lease that has not run out.
async fn held(pair: &Pair) -> (usize, usize) {
    let owners: Vec<Option<i32>> =
        sqlx::query_scalar("select owner from messaging.partition_lease where expires_at > now()")
            .fetch_all(&pair.one.pg)
            .await
            .unwrap();
    let of = |service: &Service| {
        let me = Some(service.pool.instance().number());
        owners.iter().filter(|owner| **owner == me).count()
    };
    (of(&pair.one), of(&pair.other))
}

/// Moves the end of the leases of a process.
async fn let_leases_end(service: &Service, at: &'static str) {
    let sql =
        format!("update messaging.partition_lease set expires_at = now() + {at} where owner = $1");
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(service.pool.instance().number())
        .execute(&service.pg)
        .await
        .unwrap();
}

async fn both_hold_a_share(pair: &Pair) {
    eventually(SOON, || async {
        let (one, other) = held(pair).await;
        if one > 0 && other > 0 && one + other == 16 {
            Ok(())
        } else {
            Err(format!("{one} {other}"))
        }
    })
    .await;
}

async fn holds_all(pair: &Pair, which: &Service) {
    let me = which.pool.instance();
    eventually(SOON, || async {
        let (one, other) = held(pair).await;
        let mine = if pair.one.pool.instance() == me { one } else { other };
        if mine == 16 { Ok(()) } else { Err(format!("{one} {other}")) }
    })
    .await;
}

#[tokio::test]
async fn two_relays_share_the_partitions_and_publish_each_event_once_and_in_order() {
    let pair = pair().await;
    let _runs = (pair.one.run(), pair.other.run());
    both_hold_a_share(&pair).await;
    for version in 1..=10 {
        for (n, service) in (0..40).zip([&pair.one, &pair.other].into_iter().cycle()) {
            service.tell(&Lit::new(format!("lamp-{n}"), version), version).await;
        }
    }
    let told = pair.wire.take("probe", 400).await;
    let ids: BTreeSet<_> = told.iter().map(Raw::id).collect();
    assert_eq!(ids.len(), 400, "each event once");
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for (subject, version) in told.iter().map(Raw::version) {
        assert_eq!(last.insert(subject.clone(), version).unwrap_or(0) + 1, version, "{subject}");
    }
    eventually(SOON, || async { pair.one.pending().await.is_empty() }).await;
    assert!(pair.wire.drain("probe").await.is_empty());
}

#[tokio::test]
async fn clocks_that_are_hours_apart_take_no_partition_from_anybody() {
    let mut pair = pair().await;
    pair.house.clock = Shifted::default();
    pair.house.clock.set(TimeDelta::hours(2));
    pair.other = pair.one.replica(&pair.house, Handlers::new());
    let _runs = (pair.one.run(), pair.other.run());
    both_hold_a_share(&pair).await;
    let epochs = async || -> i64 {
        let sql = "select sum(epoch)::bigint from messaging.partition_lease";
        sqlx::query_scalar(sql).fetch_one(&pair.one.pg).await.unwrap()
    };
    let (before, renewed) = (epochs().await, renewed_until(&pair.one).await);
    for n in 0..40 {
        let service = if n % 2 == 0 { &pair.one } else { &pair.other };
        service.tell(&Lit::new(format!("lamp-{n}"), 1), 1).await;
    }
    let told = pair.wire.take("probe", 40).await;
    assert_eq!(told.iter().map(Raw::id).collect::<BTreeSet<_>>().len(), 40);
    // Both have renewed theirs since.
    eventually(SOON, || async { renewed_until(&pair.one).await > renewed }).await;
    let renewed = renewed_until(&pair.other).await;
    eventually(SOON, || async { renewed_until(&pair.other).await > renewed }).await;
    assert_eq!(epochs().await, before, "a partition changed hands");
    assert!(pair.wire.drain("probe").await.is_empty());
}

#[tokio::test]
async fn a_newcomer_gets_its_share_while_events_flow_and_none_is_lost_or_out_of_order() {
    let pair = pair().await;
    let _one_runs = pair.one.run();
    holds_all(&pair, &pair.one).await;
    let _other_runs = pair.other.run();
    let mut version = 0;
    let mut shared = false;
    // Until both hold a share, and once more.
    for _ in 0..2_000 {
        version += 1;
        for n in 0..8 {
            pair.one.tell(&Lit::new(format!("lamp-{n}"), version), version).await;
        }
        if shared {
            break;
        }
        // The relays are never more than a few versions behind.
        eventually(SOON, || async { pair.one.pending().await.len() <= 16 }).await;
        let (one, other) = held(&pair).await;
        shared = one > 0 && other > 0 && one + other == 16;
    }
    assert!(shared);
    let told = pair.wire.take("probe", 8 * version as usize).await;
    let mut last: BTreeMap<String, u32> = BTreeMap::new();
    for (subject, version) in told.iter().map(Raw::version) {
        assert_eq!(last.insert(subject.clone(), version).unwrap_or(0) + 1, version, "{subject}");
    }
}

#[tokio::test]
async fn what_one_writes_for_the_others_partition_leaves_long_before_a_poll() {
    let pair = pair().await;
    let _runs = (pair.one.run(), pair.other.run());
    both_hold_a_share(&pair).await;
    let theirs: Vec<i16> =
        sqlx::query_scalar("select partition from messaging.partition_lease where owner = $1")
            .bind(pair.other.pool.instance().number())
            .fetch_all(&pair.one.pg)
            .await
            .unwrap();
    let foreign =
        |name: &String| theirs.contains(&i16::from(partition_of(&format!("lamp/{name}"))));
    let names = (0..).map(|n| format!("lamp-{n}")).filter(foreign).take(20);
    // The other relay renews its leases whenever it polls, so what left between two renewals left
    // without a poll. On a busy machine a renewal may come between by chance.
    let mut at_once = 0;
    for name in names {
        let before = renewed_until(&pair.other).await;
        pair.one.tell(&Lit::new(name, 1), 1).await;
        pair.wire.take("probe", 1).await;
        at_once += usize::from(renewed_until(&pair.other).await == before);
        if at_once == 5 {
            return;
        }
    }
    panic!("only {at_once} left without a poll");
}

/// When the leases of a process run out, by its last renewal.
async fn renewed_until(service: &Service) -> Option<DateTime<Utc>> {
    sqlx::query_scalar("select max(expires_at) from messaging.partition_lease where owner = $1")
        .bind(service.pool.instance().number())
        .fetch_one(&service.pg)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_process_that_died_loses_its_partitions_long_before_its_leases_run_out() {
    let pair = pair().await;
    let _one_runs = pair.one.run();
    holds_all(&pair, &pair.one).await;
    // The other one is a process that can be killed: its presence ends with its session.
    let presence = CancellationToken::new();
    let session = tokio::spawn(Presence::new(pair.other.pool.clone()).run(presence.clone()));
    eventually(SOON, || async { live(&pair.one).await.len() == 2 }).await;
    step_until_shared(&pair, pair.other.kit.relay()).await;

    // However long this takes, they do not run out.
    let_leases_end(&pair.other, "interval '1 hour'").await;
    let until = renewed_until(&pair.other).await.unwrap();
    session.abort();
    let _ = session.await;
    terminate_sessions(&pair.other).await;
    holds_all(&pair, &pair.one).await;
    let taken = renewed_until(&pair.one).await.unwrap();
    assert!(taken < until, "{taken}: that of the dead had run out at {until}");
}

#[tokio::test]
async fn a_process_that_hangs_loses_its_partitions_when_its_leases_run_out() {
    let pair = pair().await;
    let _one_runs = pair.one.run();
    holds_all(&pair, &pair.one).await;
    // Connected, but not stepped any more once it holds its share.
    let _session = pair.other.run_only(&["presence"]);
    step_until_shared(&pair, pair.other.kit.relay()).await;
    for n in 0..50 {
        pair.one.tell(&Lit::new(format!("lamp-{n}"), 1), 1).await;
    }

    let_leases_end(&pair.other, "interval '-1 second'").await;
    holds_all(&pair, &pair.one).await;
    let told = pair.wire.take("probe", 50).await;
    assert_eq!(told.iter().map(Raw::id).collect::<BTreeSet<_>>().len(), 50);
    assert_eq!(live(&pair.one).await.len(), 2, "it was not taken for dead");
}

#[tokio::test]
async fn a_presence_that_loses_its_session_comes_back_by_itself() {
    let pair = pair().await;
    let _runs = (pair.one.run(), pair.other.run());
    both_hold_a_share(&pair).await;
    for _ in 0..3 {
        terminate_sessions(&pair.one).await;
        eventually(SOON, || async { live(&pair.other).await.len() == 2 }).await;
    }
    for n in 0..20 {
        pair.other.tell(&Lit::new(format!("lamp-{n}"), 1), 1).await;
    }
    pair.wire.take("probe", 20).await;
}

#[tokio::test]
async fn a_presence_that_ended_is_seen_no_more_while_its_process_lives_on() {
    let pair = pair().await;
    let runs = pair.one.run_only(&["presence"]);
    eventually(SOON, || async { live(&pair.other).await.len() == 1 }).await;
    runs.stop().await;
    eventually(SOON, || async { live(&pair.other).await.is_empty() }).await;
    let _again = pair.one.run_only(&["presence"]);
    eventually(SOON, || async { live(&pair.other).await.len() == 1 }).await;
}

/// Steps a relay by hand until it holds its share.
async fn step_until_shared(pair: &Pair, relay: messaging::Relay) {
    let relay = Mutex::new(relay);
    eventually(SOON, || async {
        relay.lock().await.step().await;
        let (one, other) = held(pair).await;
        one > 0 && other > 0 && one + other == 16
    })
    .await;
}

async fn live(service: &Service) -> Vec<i32> {
    sqlx::query_scalar("select messaging.live_instances()").fetch_all(&service.pg).await.unwrap()
}

/// Ends the session in which a process shows that it is alive, from the server's side.
async fn terminate_sessions(service: &Service) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_locks
        where locktype = 'advisory' and objid::bigint::integer = $1
          and database = (select oid from pg_database where datname = current_database())",
    )
    .bind(service.pool.instance().number())
    .execute(&service.pg)
    .await
    .unwrap();
}
