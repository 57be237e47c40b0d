#![allow(clippy::unwrap_used)]
mod common;
use common::*;
use std::time::*;
#[tokio::test(flavor="multi_thread")]
async fn latency() {
    let world = World::new().await;
    let (stop, running) = world.service.run();
    let mut all = vec![];
    for _ in 0..100 {
        let id = world.order_id();
        let t = Instant::now();
        world.reserved_for(id, "pm_ok").await;
        let handled = t.elapsed();
        loop { let s: String = sqlx::query_scalar("select status from payments where order_id=$1").bind(id).fetch_one(&world.database.pool()).await.unwrap(); if s=="captured" {break} }
        all.push((t.elapsed()-handled, handled));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all.sort();
    println!("p50 {:?} p90 {:?} max {:?}", all[50], all[90], all[99]);
    stop.cancel(); running.await.unwrap();
}
