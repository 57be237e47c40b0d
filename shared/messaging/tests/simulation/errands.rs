//! Calls to the outside world under simulation: the other side is a closure.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use anyhow::ensure;
use chrono::{DateTime, TimeDelta, Utc};
use envelope::signature::KeyRing;
use messaging::errand::{Answered, Called, Errand, Errands, Leased, Settings, Taken};
use messaging::simulation::{Process, Seat, Simulation, World, connect, empty};
use messaging::step::Signal;
use messaging::{Cause, Handlers, Messaging, Pool, Tx};
use opentelemetry::Context;
use sqlx::PgPool;
use testkit::Database;

use crate::house::{NAMESPACE, identity, signer};

const WISHES: i32 = 8;

/// How often the other side was called for each wish; it answers or it does not.
type Gateway = Arc<dyn Fn(i32) -> bool + Send + Sync>;

/// Has each wish fulfilled by the other side.
struct Fulfil {
    pool: Pool,
    wanted: Signal,
    gateway: Gateway,
}

impl Errand for Fulfil {
    type Attempt = i32;
    type Answer = bool;

    fn settings(&self) -> Settings {
        Settings::new("fulfil")
    }

    fn pool(&self) -> &Pool {
        &self.pool
    }

    fn wanted(&self) -> &Signal {
        &self.wanted
    }

    fn id(wish: &i32) -> impl Display {
        wish
    }

    async fn take(&self, most: usize) -> Result<Taken<i32>, sqlx::Error> {
        let now = self.pool.clock().now();
        let wishes: Vec<i32> = sqlx::query_scalar(
            "with due as (
                select id from wish where due_at <= $1
                  and (owner is null or leased_until < $1 or (owner <> $2
                       and owner not in (select messaging.live_instances())))
                order by id limit $3 for update skip locked)
            update wish w set owner = $2, leased_until = $1 + interval '30 s'
            from due where w.id = due.id returning w.id",
        )
        .bind(now)
        .bind(self.pool.instance().number())
        .bind(i64::try_from(most).unwrap())
        .fetch_all(self.pool.pg())
        .await?;
        let next_due = sqlx::query_scalar("select min(due_at) from wish where due_at > $1")
            .bind(now)
            .fetch_one(self.pool.pg())
            .await?;
        let cause = || Cause::request(self.pool.new_id(), Context::new());
        let leased = wishes.into_iter().map(|attempt| Leased { attempt, cause: cause() });
        Ok(Taken { leased: leased.collect(), next_due })
    }

    async fn call(&self, wish: &i32, cause: Cause) -> Called<bool> {
        let answered = (self.gateway)(*wish);
        Called { answer: answered, answered, cause }
    }

    async fn settle(
        &self,
        tx: &mut Tx,
        answered: &[Answered<i32, bool>],
    ) -> anyhow::Result<Option<DateTime<Utc>>> {
        let later = tx.now() + TimeDelta::seconds(20);
        let sql = "update wish set owner = null, leased_until = null, due_at = $2,
            fulfilled = fulfilled + (case when $2 is null then 1 else 0 end) where id = $1";
        for one in answered {
            let again = (!one.answer).then_some(later);
            sqlx::query(sql).bind(one.attempt).bind(again).execute(tx.conn()).await?;
        }
        Ok(answered.iter().any(|one| !one.answer).then_some(later))
    }
}

fn process(pg: &PgPool, seat: &Seat, gateway: &Gateway) -> Process {
    let pool = Pool::new(pg.clone(), identity("lamp"), signer("lamp"), seat.clock.clone());
    let kit = Messaging::new(
        pool.clone(),
        seat.broker.clone(),
        KeyRing::new(&Default::default()).unwrap(),
        Handlers::new(),
    );
    let wanted = Signal::new();
    let (gateway, signal) = (gateway.clone(), wanted.clone());
    let errands = Errands::new(Fulfil { pool: pool.clone(), wanted: wanted.clone(), gateway });
    Process::new(kit).step("fulfil", Some(signal), errands.in_turn()).request("wish", move |n| {
        let (pool, wanted) = (pool.clone(), wanted.clone());
        async move {
            let mut tx = Tx::begin(&pool, Cause::request(pool.new_id(), Context::new())).await?;
            let sql = "insert into wish (id, due_at) values ($1, $2) on conflict do nothing";
            let now = tx.now();
            sqlx::query(sql).bind(i32::try_from(n)?).bind(now).execute(tx.conn()).await?;
            tx.after_commit(&wanted);
            Ok(tx.commit().await?)
        }
    })
}

#[tokio::test]
async fn every_wish_is_fulfilled_however_often_a_process_dies_over_it() {
    let database = Database::new("messaging").await;
    let pg = &connect(database.local_url()).await.unwrap();
    sqlx::raw_sql(
        "create table wish (id int primary key, due_at timestamptz, owner int,
            leased_until timestamptz, fulfilled int not null default 0)",
    )
    .execute(pg)
    .await
    .unwrap();
    let calls = Rc::new(Mutex::new(Arc::new(Mutex::new(BTreeMap::<i32, u32>::new()))));
    let build = async |world: &mut World| {
        empty(pg).await?;
        sqlx::raw_sql("delete from wish").execute(pg).await?;
        let made = Arc::new(Mutex::new(BTreeMap::new()));
        *calls.lock().unwrap() = made.clone();
        let clock = world.time().clock();
        let gateway: Gateway = Arc::new(move |wish| {
            *made.lock().unwrap().entry(wish).or_default() += 1;
            clock.unit() < 0.6
        });
        for name in ["lamp-a", "lamp-b"] {
            let (pg, gateway) = (pg.clone(), gateway.clone());
            world.process(name, move |seat| process(&pg, seat, &gateway));
        }
        world.requests("lamp-a", "wish", WISHES.unsigned_abs())?;
        let pg = pg.clone();
        world.rests_when(move || left(pg.clone()));
        Ok(())
    };
    let check = async |_: &World| {
        let made = calls.lock().unwrap().clone();
        let made = made.lock().unwrap().clone();
        let fulfilled: Vec<i32> =
            sqlx::query_scalar("select fulfilled from wish order by id").fetch_all(pg).await?;
        ensure!(fulfilled.len() == made.len(), "{fulfilled:?} for {made:?}");
        ensure!(made.keys().copied().eq(0..WISHES), "{made:?}");
        ensure!(fulfilled.iter().all(|times| *times >= 1), "{fulfilled:?}");
        Ok(())
    };
    let report = Simulation::new(NAMESPACE).run(0..25, build, check).await;
    let report = report.unwrap_or_else(|failed| panic!("{failed}"));
    for point in ["C16", "C17"] {
        assert!(report.happened.contains_key(&format!("died at {point}")), "{report:?}");
    }
}

/// Whether no wish is left.
async fn left(pg: PgPool) -> anyhow::Result<bool> {
    let sql = "select count(*) from wish where due_at is not null";
    let left: i64 = sqlx::query_scalar(sql).fetch_one(&pg).await?;
    Ok(left == 0)
}
