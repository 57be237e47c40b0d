//! Connections that stay at hand: nobody gets one in which another's work is still open.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use messaging::{Cause, Tx};
use opentelemetry::Context;
use testkit::eventually;

use crate::house::{House, SOON};

/// As many times as it takes for the cut to fall on each of its waits.
const CUTS: usize = 40;

#[tokio::test]
async fn a_transaction_that_is_cut_off_while_it_begins_is_nobody_elses() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    let mut cut = 0;
    for polls in 0..CUTS {
        lamp.pool.connection().await.unwrap().put_back();
        let cause = Cause::request(lamp.pool.new_id(), Context::new());
        let mut begin = Box::pin(Tx::begin(&lamp.pool, cause));
        let mut pending = true;
        for _ in 0..=polls % 4 {
            pending = is_pending(&mut begin).await;
            if !pending {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(begin);
        cut += usize::from(pending);
        // In an open transaction this would be seen by nobody else.
        let id = format!("cut-{polls}");
        let sql = "insert into messaging.progress values ('cut', '', $1, 1)";
        let mut conn = lamp.pool.connection().await.unwrap();
        sqlx::query(sql).bind(id).execute(&mut *conn).await.unwrap();
        conn.put_back();
        let stored = lamp.count("messaging.progress where consumer = 'cut'").await;
        assert_eq!(stored, polls as i64 + 1);
    }
    assert!(cut > CUTS / 4, "only {cut} were cut off");
    eventually(SOON, || async { lamp.open_transactions().await.is_empty() }).await;
}

#[tokio::test]
async fn a_pool_closes_with_connections_at_hand_and_gives_none_afterwards() {
    let house = House::new().await;
    let lamp = house.lamp().await;
    let held = lamp.pool.connection().await.unwrap();
    lamp.pool.connection().await.unwrap().put_back();
    let (pool, mut closing) = (lamp.pool.clone(), Box::pin(lamp.pool.close()));
    assert!(is_pending(&mut closing).await, "one is in use");
    held.put_back();
    closing.await;
    assert!(matches!(pool.connection().await, Err(sqlx::Error::PoolClosed)));
}

async fn is_pending<F: Future>(future: &mut Pin<Box<F>>) -> bool {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
}
